//! devpts: `ptmx` and one node for each pseudo-terminal slave, straight from the drivers' registry.
//! Names are not cached: terminals come and go without us.

use std::any::Any;
use std::sync::{Arc, Weak};

use base::{Errno, Rank, Result, SpinLock, Timestamp, err};
use drivers::DevNum;
use drivers::tty::pty::PTS_MAJOR;
use drivers::tty::{PtyRegistry, PtySlot};

use crate::inode::{
    Attr, DirEntry, FileSystem, FileSystemType, FileType, Inode, InodeOps, MountArgs, SetAttr,
    StatFs,
};
use crate::tmpfs::anon_dev;
use crate::vfs::Vfs;

/// /dev/ptmx.
const PTMX: DevNum = DevNum::new(5, 2);
const PTMX_INO: u64 = 2;
/// Inode number of slave 0.
const FIRST_INO: u64 = 3;

/// Options: what a new slave's node gets.
#[derive(Clone, Copy, Debug)]
struct Options {
    ptmx_mode: u32,
    mode: Option<u32>,
    gid: Option<u32>,
}

struct DevPts {
    me: Weak<DevPts>,
    ptys: Arc<PtyRegistry>,
    dev: DevNum,
    options: SpinLock<Options>,
    created: Timestamp,
}

enum Node {
    Root,
    Ptmx,
    Slave(PtySlot),
}

struct PtsInode {
    fs: Weak<DevPts>,
    node: Node,
}

impl DevPts {
    fn inode(&self, node: Node) -> Result<Arc<Inode>> {
        let Some(me) = self.me.upgrade() else { return err(Errno::EIO) };
        let (ino, kind, rdev) = match &node {
            Node::Root => (1, FileType::Directory, DevNum::default()),
            Node::Ptmx => (PTMX_INO, FileType::CharDevice, PTMX),
            Node::Slave(s) => (
                FIRST_INO + u64::from(s.index),
                FileType::CharDevice,
                DevNum::new(PTS_MAJOR, s.index),
            ),
        };
        let ops = PtsInode { fs: self.me.clone(), node };
        Ok(Inode::new(ino, kind, rdev, me, Box::new(ops)))
    }
}

impl FileSystem for DevPts {
    fn type_name(&self) -> &'static str {
        "devpts"
    }
    fn root(&self) -> Arc<Inode> {
        self.inode(Node::Root).expect("called through an Arc")
    }
    fn dev(&self) -> DevNum {
        self.dev
    }
    fn statfs(&self) -> Result<StatFs> {
        Ok(StatFs { magic: 0x1cd1, block_size: 4096, name_max: 255, ..StatFs::default() })
    }
    fn remount(&self, _read_only: bool, options: &[u8]) -> Result<()> {
        let o = parse(*self.options.lock(), options)?;
        *self.options.lock() = o;
        Ok(())
    }
    fn options(&self) -> String {
        let o = *self.options.lock();
        let mut s = String::new();
        if let Some(g) = o.gid {
            s += &format!(",gid={g}");
        }
        s += &format!(",mode={:03o},ptmxmode={:03o}", o.mode.unwrap_or(0o600), o.ptmx_mode);
        s
    }
    fn cache_names(&self) -> bool {
        false
    }
}

impl PtsInode {
    fn fs(&self) -> Result<Arc<DevPts>> {
        match self.fs.upgrade() {
            Some(fs) => Ok(fs),
            None => err(Errno::EIO),
        }
    }
}

impl InodeOps for PtsInode {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn attr(&self) -> Result<Attr> {
        let fs = self.fs()?;
        let o = *fs.options.lock();
        let (ino, kind, perm, uid, gid, rdev, nlink, time) = match &self.node {
            Node::Root => (1, FileType::Directory, 0o755, 0, 0, DevNum::default(), 2, fs.created),
            Node::Ptmx => (PTMX_INO, FileType::CharDevice, o.ptmx_mode, 0, 0, PTMX, 1, fs.created),
            Node::Slave(s) => {
                let s = fs.ptys.get(s.index).filter(|n| n.id == s.id).unwrap_or(*s);
                let dev = DevNum::new(PTS_MAJOR, s.index);
                let ino = FIRST_INO + u64::from(s.index);
                (ino, FileType::CharDevice, s.mode, s.uid, s.gid, dev, 1, s.created)
            }
        };
        Ok(Attr {
            ino,
            kind,
            perm,
            nlink,
            uid,
            gid,
            rdev,
            size: 0,
            blocks: 0,
            blksize: 1024,
            atime: time,
            mtime: time,
            ctime: time,
            btime: None,
            flags: 0,
        })
    }
    fn set_attr(&self, c: &SetAttr) -> Result<()> {
        let Node::Slave(s) = &self.node else { return err(Errno::EPERM) };
        let fs = self.fs()?;
        let Some(mut slot) = fs.ptys.get(s.index).filter(|n| n.id == s.id) else {
            return err(Errno::EIO);
        };
        slot.mode = c.perm.unwrap_or(slot.mode);
        slot.uid = c.uid.unwrap_or(slot.uid);
        slot.gid = c.gid.unwrap_or(slot.gid);
        fs.ptys.set(slot)
    }
    fn lookup(&self, name: &[u8]) -> Result<Arc<Inode>> {
        let Node::Root = self.node else { return err(Errno::ENOTDIR) };
        let fs = self.fs()?;
        if name == b"ptmx" {
            return fs.inode(Node::Ptmx);
        }
        let text = std::str::from_utf8(name).unwrap_or("");
        let index = text.parse::<u32>().ok().filter(|n| n.to_string() == text);
        match index.and_then(|i| fs.ptys.get(i)) {
            Some(slot) => fs.inode(Node::Slave(slot)),
            None => err(Errno::ENOENT),
        }
    }
    fn read_dir(&self, pos: u64, emit: &mut dyn FnMut(DirEntry<'_>) -> bool) -> Result<()> {
        let Node::Root = self.node else { return err(Errno::ENOTDIR) };
        let fixed = [
            (&b"."[..], 1, FileType::Directory),
            (b"..", 1, FileType::Directory),
            (b"ptmx", PTMX_INO, FileType::CharDevice),
        ];
        for (i, (name, ino, kind)) in fixed.into_iter().enumerate() {
            let next = i as u64 + 1;
            if pos < next && !emit(DirEntry { name, ino, kind: Some(kind), next }) {
                return Ok(());
            }
        }
        for s in self.fs()?.ptys.list() {
            let ino = FIRST_INO + u64::from(s.index);
            let next = ino + 1;
            let name = s.index.to_string();
            let e = DirEntry { name: name.as_bytes(), ino, kind: Some(FileType::CharDevice), next };
            if pos < next && !emit(e) {
                return Ok(());
            }
        }
        Ok(())
    }
}

fn parse(mut o: Options, text: &[u8]) -> Result<Options> {
    let Ok(text) = std::str::from_utf8(text) else { return err(Errno::EINVAL) };
    for option in text.split(',').filter(|o| !o.is_empty()) {
        let (key, value) = option.split_once('=').unwrap_or((option, ""));
        let octal = || u32::from_str_radix(value, 8).ok().map(|m| m & 0o7777);
        let ok = match key {
            "gid" => value.parse().ok().map(|g| o.gid = Some(g)),
            "mode" => octal().map(|m| o.mode = Some(m)),
            "ptmxmode" => octal().map(|m| o.ptmx_mode = m),
            "uid" | "newinstance" | "max" => Some(()),
            _ => None,
        };
        if ok.is_none() {
            return err(Errno::EINVAL);
        }
    }
    Ok(o)
}

struct DevPtsType {
    ptys: Arc<PtyRegistry>,
}

impl FileSystemType for DevPtsType {
    fn name(&self) -> &'static str {
        "devpts"
    }
    fn needs_device(&self) -> bool {
        false
    }
    fn mount(&self, args: &MountArgs<'_>) -> Result<Arc<dyn FileSystem>> {
        let o = parse(Options { ptmx_mode: 0, mode: None, gid: None }, args.options)?;
        Ok(Arc::new_cyclic(|me| DevPts {
            me: me.clone(),
            ptys: self.ptys.clone(),
            dev: anon_dev(),
            options: SpinLock::new(Rank::Leaf, o),
            created: crate::ops::now(),
        }))
    }
}

pub(crate) fn register(vfs: &Vfs) {
    vfs.register_type(Arc::new(DevPtsType { ptys: vfs.devices.ptys.clone() }));
}
