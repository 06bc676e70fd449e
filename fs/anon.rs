//! The anonymous inode file system: pipes, sockets, epoll instances and what else has a descriptor
//! but no name. Each file gets an inode of its own, so that fstat, fchmod and fchown work on it.

use std::any::Any;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use base::{Cred, Errno, Rank, Result, SpinLock, Timestamp, err};
use drivers::DevNum;

use crate::dentry::{Dentry, DentryCache};
use crate::file::{File, FileOps, OpenFlags};
use crate::inode::{Attr, FileSystem, FileType, Inode, InodeOps, SetAttr, StatFs};
use crate::mount::{Mount, MountFlags};
use crate::path::Path;
use crate::super_block::SuperBlock;

/// Its name among the types.
pub const TYPE_NAME: &str = "anon_inodefs";

/// The file system, mounted where no path leads.
pub struct AnonFs {
    fs: Arc<Instance>,
    mount: Arc<Mount>,
    name: Arc<[u8]>,
}

impl fmt::Debug for AnonFs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnonFs")
    }
}

struct Instance {
    me: Weak<Instance>,
    next: AtomicU64,
}

struct AnonInode {
    ino: u64,
    kind: FileType,
    /// What opening /proc/PID/fd/N gives: the same object again. None: what its kind gives.
    again: Option<Arc<dyn FileOps>>,
    meta: SpinLock<Meta>,
}

#[derive(Clone, Copy)]
struct Meta {
    perm: u32,
    uid: u32,
    gid: u32,
    atime: Timestamp,
    mtime: Timestamp,
    ctime: Timestamp,
}

impl Instance {
    fn inode(
        &self,
        kind: FileType,
        perm: u32,
        cred: &Cred,
        again: Option<Arc<dyn FileOps>>,
    ) -> Arc<Inode> {
        let ino = self.next.fetch_add(1, Ordering::Relaxed);
        let t = crate::ops::now();
        let meta = Meta { perm, uid: cred.fsuid, gid: cred.fsgid, atime: t, mtime: t, ctime: t };
        let ops = AnonInode { ino, kind, again, meta: SpinLock::new(Rank::Inode, meta) };
        let fs = self.me.upgrade().expect("called through an Arc");
        Inode::new(ino, kind, DevNum::default(), fs, Box::new(ops))
    }
}

impl FileSystem for Instance {
    fn type_name(&self) -> &'static str {
        TYPE_NAME
    }
    fn root(&self) -> Arc<Inode> {
        self.inode(FileType::Directory, 0o700, &Cred::root(), None)
    }
    fn dev(&self) -> DevNum {
        DevNum::new(0, 15)
    }
    fn statfs(&self) -> Result<StatFs> {
        Ok(StatFs { magic: 0x0904_1934, block_size: 4096, name_max: 255, ..StatFs::default() })
    }
    fn sync(&self) -> Result<()> {
        Ok(())
    }
}

impl InodeOps for AnonInode {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn attr(&self) -> Result<Attr> {
        let m = *self.meta.lock();
        Ok(Attr {
            ino: self.ino,
            kind: self.kind,
            perm: m.perm,
            nlink: 1,
            uid: m.uid,
            gid: m.gid,
            rdev: DevNum::default(),
            size: 0,
            blocks: 0,
            blksize: 4096,
            atime: m.atime,
            mtime: m.mtime,
            ctime: m.ctime,
            btime: None,
            flags: 0,
        })
    }
    fn open(&self, _inode: &Arc<Inode>, _flags: OpenFlags) -> Result<Option<Arc<dyn FileOps>>> {
        match (&self.again, self.kind) {
            (Some(ops), _) => Ok(Some(ops.clone())),
            // A counter, a timer and the like are whole in their one description.
            (None, FileType::Regular) => err(Errno::ENXIO),
            (None, _) => Ok(None),
        }
    }
    fn set_attr(&self, c: &SetAttr) -> Result<()> {
        let mut m = self.meta.lock();
        m.perm = c.perm.unwrap_or(m.perm);
        m.uid = c.uid.unwrap_or(m.uid);
        m.gid = c.gid.unwrap_or(m.gid);
        m.atime = c.atime.unwrap_or(m.atime);
        m.mtime = c.mtime.unwrap_or(m.mtime);
        m.ctime = c.ctime.unwrap_or(m.ctime);
        Ok(())
    }
}

impl AnonFs {
    pub(crate) fn new(dcache: &Arc<DentryCache>) -> AnonFs {
        let fs = Arc::new_cyclic(|me| Instance { me: me.clone(), next: AtomicU64::new(1) });
        let (sb, root) = SuperBlock::new(fs.clone(), dcache.clone(), None);
        let mount = Mount::new(sb, root, MountFlags::NOATIME, b"none");
        AnonFs { fs, mount, name: Arc::from(&b"anon"[..]) }
    }

    /// A place for a new object.
    fn place(
        &self,
        kind: FileType,
        perm: u32,
        cred: &Cred,
        again: Option<Arc<dyn FileOps>>,
    ) -> Path {
        let inode = self.fs.inode(kind, perm, cred, again);
        let dentry = Dentry::nameless(self.mount.sb().clone(), inode, self.name.clone());
        Path { mount: self.mount.clone(), dentry }
    }

    /// An open file that is in no directory: `kind` is its type for fstat (Fifo, Socket; Regular for
    /// the anon_inode family), `perm` its permission bits.
    pub fn file(
        &self,
        ops: Arc<dyn FileOps>,
        flags: OpenFlags,
        cred: Arc<Cred>,
        kind: FileType,
        perm: u32,
    ) -> Arc<File> {
        let path = self.place(kind, perm, &cred, None);
        File::new(ops, path, flags, cred)
    }

    /// As [`AnonFs::file`], of something without a name that can be opened again all the same, by its
    /// descriptor (`/dev/stdout`): the host's streams. The new description shares `ops` and has a
    /// mode of its own; what the object cannot do it refuses when it is asked to.
    pub fn shared_file(
        &self,
        ops: Arc<dyn FileOps>,
        flags: OpenFlags,
        cred: Arc<Cred>,
        kind: FileType,
        perm: u32,
    ) -> Arc<File> {
        let path = self.place(kind, perm, &cred, Some(ops.clone()));
        File::new(ops, path, flags, cred)
    }

    /// Two open files of one inode: the ends of a pipe.
    pub(crate) fn pair(
        &self,
        ops: [Arc<dyn FileOps>; 2],
        flags: [OpenFlags; 2],
        cred: &Arc<Cred>,
        kind: FileType,
        perm: u32,
    ) -> (Arc<File>, Arc<File>) {
        let path = self.place(kind, perm, cred, None);
        let [a, b] = ops;
        let first = File::new(a, path.clone(), flags[0], cred.clone());
        (first, File::new(b, path, flags[1], cred.clone()))
    }
}
