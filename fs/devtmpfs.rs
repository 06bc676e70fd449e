//! devtmpfs: a tmpfs that starts with a node for every registered device. One instance for all
//! mounts of a kernel; each mount adds the nodes of devices that came since.

use std::sync::{Arc, Weak};

use base::{Mutex, Result};
use drivers::DevNum;

use crate::inode::{FileSystem, FileSystemType, FileType, Inode, MountArgs, NewInode};
use crate::tmpfs::{TmpFs, TmpfsOptions};
use crate::vfs::{Devices, Vfs};

/// Links and directories that udev or init would make.
const LINKS: [(&[u8], &[u8]); 5] = [
    (b"fd", b"/proc/self/fd"),
    (b"stdin", b"/proc/self/fd/0"),
    (b"stdout", b"/proc/self/fd/1"),
    (b"stderr", b"/proc/self/fd/2"),
    (b"core", b"/proc/kcore"),
];
const DIRS: [(&[u8], u32); 3] = [(b"pts", 0o755), (b"shm", 0o1777), (b"mqueue", 0o1777)];

struct DevTmpFsType {
    devices: Devices,
    instance: Mutex<Option<Arc<TmpFs>>>,
    vfs: Weak<Vfs>,
}

fn make(
    dir: &Arc<Inode>,
    name: &[u8],
    kind: FileType,
    perm: u32,
    gid: u32,
    rdev: DevNum,
    target: &[u8],
) -> Result<Arc<Inode>> {
    if let Ok(i) = dir.ops.lookup(name) {
        return Ok(i);
    }
    let _guard = dir.lock.lock();
    dir.ops.create(name, &NewInode { kind, perm, uid: 0, gid, rdev, target })
}

/// Makes a node at a path below `root`, with its directories.
fn node(
    root: &Arc<Inode>,
    path: &str,
    kind: FileType,
    perm: u32,
    gid: u32,
    dev: DevNum,
) -> Result<()> {
    let mut dir = root.clone();
    let mut parts = path.split('/').peekable();
    while let Some(part) = parts.next() {
        let part = part.as_bytes();
        if parts.peek().is_none() {
            make(&dir, part, kind, perm, gid, dev, b"")?;
            break;
        }
        dir = make(&dir, part, FileType::Directory, 0o755, 0, DevNum::default(), b"")?;
    }
    Ok(())
}

impl DevTmpFsType {
    fn populate(&self, root: &Arc<Inode>) -> Result<()> {
        let none = DevNum::default();
        for (name, perm) in DIRS {
            make(root, name, FileType::Directory, perm, 0, none, b"")?;
        }
        for (name, target) in LINKS {
            make(root, name, FileType::Symlink, 0o777, 0, none, target)?;
        }
        for c in self.devices.chars.list() {
            // What belongs to devpts is shown there.
            if c.name.starts_with("pts/") {
                continue;
            }
            let tty = c.dev.major == 4 || c.dev.major == 5;
            let gid = if tty { 5 } else { 0 };
            node(root, &c.name, FileType::CharDevice, c.mode, gid, c.dev)?;
        }
        for d in self.devices.blocks.list() {
            node(root, d.name(), FileType::BlockDevice, 0o660, 6, d.dev())?;
        }
        Ok(())
    }
}

impl FileSystemType for DevTmpFsType {
    fn name(&self) -> &'static str {
        "devtmpfs"
    }
    fn needs_device(&self) -> bool {
        false
    }
    fn mount(&self, args: &MountArgs<'_>) -> Result<Arc<dyn FileSystem>> {
        let mut instance = self.instance.lock();
        let fs = instance.get_or_insert_with(|| {
            let size = u64::from(args.memory.machine().phys().pages()) / 2 * 4096;
            let o = TmpfsOptions { size, nr_inodes: 65536, mode: 0o755, uid: 0, gid: 0 };
            TmpFs::make(args.memory, "devtmpfs", o, true)
        });
        self.populate(&fs.root())?;
        // Names that somebody looked for in vain may exist now.
        if let Some(vfs) = self.vfs.upgrade() {
            let fs: Arc<dyn FileSystem> = fs.clone();
            for sb in vfs.superblocks().iter().filter(|s| Arc::ptr_eq(s.fs(), &fs)) {
                if let Some(root) = sb.root() {
                    root.forget_negative();
                }
            }
        }
        Ok(fs.clone())
    }
}

pub(crate) fn register(vfs: &Arc<Vfs>) {
    vfs.register_type(Arc::new(DevTmpFsType {
        devices: vfs.devices.clone(),
        instance: Mutex::new(None),
        vfs: Arc::downgrade(vfs),
    }));
}
