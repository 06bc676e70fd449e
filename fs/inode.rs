//! Inodes and file systems: the traits that every file system implements, and the common part
//! that the VFS keeps for each of them.
//!
//! A file system implements [`FileSystem`] (one value for each mounted instance) and [`InodeOps`] (one
//! value for each inode in memory). The VFS wraps the latter in an [`Inode`], which carries what all
//! inodes have: type, identity, the lock that orders changes to it, advisory locks, watchers.
//!
//! Locking: the VFS holds `Inode::lock` of a directory while it calls the operations that change
//! it (create, link, unlink, rmdir, rename: both directories, parent first, else by address) and of a
//! file while it calls `set_attr`, `prepare_write`, `commit_write`, `fallocate`. `lookup`,
//! `read_dir`, `attr` and reads come without it and may run at the same time: a file system protects
//! its own data.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, Weak};

use base::{Errno, Mutex, Result, Timestamp, err};
use drivers::DevNum;
use mm::PageCache;

use crate::file::{FileOps, OpenFlags};

/// The type of an inode, with its S_IFMT bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u32)]
pub enum FileType {
    /// FIFO.
    Fifo = 0o010_000,
    /// Character device.
    CharDevice = 0o020_000,
    /// Directory.
    Directory = 0o040_000,
    /// Block device.
    BlockDevice = 0o060_000,
    /// Regular file.
    Regular = 0o100_000,
    /// Symbolic link.
    Symlink = 0o120_000,
    /// Socket.
    Socket = 0o140_000,
}

impl FileType {
    /// From the S_IFMT bits of a mode; None if they name no type.
    pub fn from_mode(mode: u32) -> Option<FileType> {
        Some(match mode & 0o170_000 {
            0o010_000 => FileType::Fifo,
            0o020_000 => FileType::CharDevice,
            0o040_000 => FileType::Directory,
            0o060_000 => FileType::BlockDevice,
            0o100_000 => FileType::Regular,
            0o120_000 => FileType::Symlink,
            0o140_000 => FileType::Socket,
            _ => return None,
        })
    }
    /// The d_type of getdents64(2).
    pub fn dirent_type(self) -> u8 {
        (self as u32 >> 12) as u8
    }
}

/// What stat(2) tells of an inode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attr {
    /// Inode number.
    pub ino: u64,
    /// Type.
    pub kind: FileType,
    /// Permission bits, 0..=0o7777.
    pub perm: u32,
    /// Hard links.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// The device that a device inode stands for.
    pub rdev: DevNum,
    /// Bytes.
    pub size: u64,
    /// Allocated 512-byte units.
    pub blocks: u64,
    /// Preferred I/O size.
    pub blksize: u32,
    /// Last access.
    pub atime: Timestamp,
    /// Last change of content.
    pub mtime: Timestamp,
    /// Last change of the inode.
    pub ctime: Timestamp,
    /// Creation, where it is known.
    pub btime: Option<Timestamp>,
    /// STATX_ATTR_* bits (immutable, append, nodump, compressed ...).
    pub flags: u64,
}

/// A change of attributes; None leaves one as it is. The VFS has checked permissions and applied
/// the rules of chown and write for set-id bits; `ctime` is always given.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct SetAttr {
    /// Permission bits.
    pub perm: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Truncate or extend to this size.
    pub size: Option<u64>,
    /// Last access.
    pub atime: Option<Timestamp>,
    /// Last modification.
    pub mtime: Option<Timestamp>,
    /// Last change.
    pub ctime: Option<Timestamp>,
}

/// What a new inode shall be.
#[derive(Clone, Debug)]
pub struct NewInode<'a> {
    /// Type; for `Symlink` see `target`.
    pub kind: FileType,
    /// Permission bits, umask applied.
    pub perm: u32,
    /// Owner (fsuid of the creator).
    pub uid: u32,
    /// Group (fsgid, or the directory's if that is set-gid).
    pub gid: u32,
    /// For device inodes.
    pub rdev: DevNum,
    /// For symbolic links.
    pub target: &'a [u8],
}

/// One directory entry as `read_dir` reports it.
#[derive(Clone, Copy, Debug)]
pub struct DirEntry<'a> {
    /// Name, without NUL. `.` and `..` are reported by the file system, too.
    pub name: &'a [u8],
    /// Inode number.
    pub ino: u64,
    /// Type, or None where the file system does not know it (DT_UNKNOWN).
    pub kind: Option<FileType>,
    /// The position *after* this entry: where a later `read_dir` goes on. Stays valid while
    /// entries are added and removed.
    pub next: u64,
}

bitflags::bitflags! {
    /// Flags of renameat2(2).
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct RenameFlags: u32 {
        /// Fail if the new name exists.
        const NOREPLACE = 1;
        /// Swap the two.
        const EXCHANGE = 2;
        /// Leave a whiteout.
        const WHITEOUT = 4;
    }
}

/// The operations of one inode. Those that make no sense for a type keep their default.
pub trait InodeOps: Any + Send + Sync {
    /// For a file system to find its own type behind the VFS's: `(&*ops as &dyn Any)`.
    fn as_any(&self) -> &dyn Any;

    /// stat(2).
    ///
    /// # Errors
    /// EIO, EUCLEAN for a corrupted inode.
    fn attr(&self) -> Result<Attr>;

    /// chmod, chown, utimensat, truncate.
    ///
    /// # Errors
    /// EROFS, ENOSPC, EFBIG, EIO, EPERM for what the file system cannot store.
    fn set_attr(&self, _change: &SetAttr) -> Result<()> {
        err(Errno::EPERM)
    }

    /// The inode of `name` in this directory.
    ///
    /// # Errors
    /// ENOENT; ENOTDIR; EIO, EUCLEAN.
    fn lookup(&self, _name: &[u8]) -> Result<Arc<Inode>> {
        err(Errno::ENOTDIR)
    }

    /// Makes an inode of any type and enters it as `name`, which the VFS has found to be absent.
    ///
    /// # Errors
    /// ENOSPC, EDQUOT, EMLINK, EROFS, EIO, ENAMETOOLONG, EEXIST.
    fn create(&self, _name: &[u8], _new: &NewInode<'_>) -> Result<Arc<Inode>> {
        err(Errno::EPERM)
    }

    /// Makes an inode with no name (O_TMPFILE); `link` may give it one.
    ///
    /// # Errors
    /// EOPNOTSUPP where the file system cannot; as `create`.
    fn create_unnamed(&self, _new: &NewInode<'_>) -> Result<Arc<Inode>> {
        err(Errno::EOPNOTSUPP)
    }

    /// Enters `target`, an inode of this file system, as `name`.
    ///
    /// # Errors
    /// EMLINK, ENOSPC, EROFS, EIO, EPERM.
    fn link(&self, _name: &[u8], _target: &Inode) -> Result<()> {
        err(Errno::EPERM)
    }

    /// Removes `name`, which is `victim` and no directory.
    ///
    /// # Errors
    /// EROFS, EIO, EPERM.
    fn unlink(&self, _name: &[u8], _victim: &Inode) -> Result<()> {
        err(Errno::EPERM)
    }

    /// Removes `name`, which is the directory `victim`.
    ///
    /// # Errors
    /// ENOTEMPTY; as `unlink`.
    fn rmdir(&self, _name: &[u8], _victim: &Inode) -> Result<()> {
        err(Errno::EPERM)
    }

    /// Moves `old_name` (the inode `moved`) to `new_name` of `new_dir`, where `replaced` is now.
    /// The VFS has checked types, permissions, cycles and the flags; only EXCHANGE and WHITEOUT are left
    /// for the file system.
    ///
    /// # Errors
    /// ENOTEMPTY if `replaced` is a directory with entries; ENOSPC, EMLINK, EROFS, EIO; EINVAL
    /// for flags that it cannot.
    fn rename(
        &self,
        _old_name: &[u8],
        _moved: &Inode,
        _new_dir: &Inode,
        _new_name: &[u8],
        _replaced: Option<&Inode>,
        _flags: RenameFlags,
    ) -> Result<()> {
        err(Errno::EPERM)
    }

    /// The target of a symbolic link.
    ///
    /// # Errors
    /// EINVAL if it is none; EIO.
    fn read_link(&self) -> Result<Vec<u8>> {
        err(Errno::EINVAL)
    }

    /// Where following a *magic* link (/proc/PID/fd/N, /proc/PID/cwd) leads; None for ordinary ones.
    ///
    /// # Errors
    /// ENOENT if the object is gone; EACCES.
    fn follow_magic(&self) -> Result<Option<crate::path::Path>> {
        Ok(None)
    }

    /// Reports entries from position `pos` (0: the start) until `emit` says false.
    ///
    /// # Errors
    /// ENOTDIR; EIO, EUCLEAN.
    fn read_dir(&self, _pos: u64, _emit: &mut dyn FnMut(DirEntry<'_>) -> bool) -> Result<()> {
        err(Errno::ENOTDIR)
    }

    /// The pages of a regular file. None: the file system's `open` gives a [`FileOps`] of its own.
    fn page_cache(&self) -> Option<&Arc<PageCache>> {
        None
    }

    /// Opens the inode with the file system's own file operations. None: the VFS's for the type
    /// (page cache, directory, device, FIFO).
    ///
    /// # Errors
    /// EACCES, ENXIO, EIO: what the object says.
    fn open(&self, _inode: &Arc<Inode>, _flags: OpenFlags) -> Result<Option<Arc<dyn FileOps>>> {
        Ok(None)
    }

    /// Before `len` bytes at `offset` are written through the page cache: allocates or reserves
    /// space, so that ENOSPC comes now and not at write-back.
    ///
    /// # Errors
    /// ENOSPC, EDQUOT, EFBIG, EROFS, EIO.
    fn prepare_write(&self, _offset: u64, _len: usize) -> Result<()> {
        Ok(())
    }

    /// After bytes up to `end` were written: sets the size to at least `end`, and mtime and ctime
    /// to `now`.
    ///
    /// # Errors
    /// EIO.
    fn commit_write(&self, _end: u64, _now: Timestamp) -> Result<()> {
        Ok(())
    }

    /// fallocate(2).
    ///
    /// # Errors
    /// EOPNOTSUPP for modes that it cannot; ENOSPC; EFBIG.
    fn fallocate(&self, _mode: u32, _offset: u64, _len: u64) -> Result<()> {
        err(Errno::EOPNOTSUPP)
    }

    /// lseek(2) with SEEK_DATA (`data`) or SEEK_HOLE from `offset`. The default knows no holes.
    ///
    /// # Errors
    /// ENXIO beyond the end.
    fn seek_hole_data(&self, offset: u64, data: bool) -> Result<u64> {
        let size = self.attr()?.size;
        if offset >= size {
            return err(Errno::ENXIO);
        }
        Ok(if data { offset } else { size })
    }

    /// If `offset` lies in a hole that is not in the page cache and need not be: how many zero bytes
    /// come from there (up to the end of file at most). For file systems that live in memory.
    fn hole_at(&self, _offset: u64) -> Option<u64> {
        None
    }

    /// Writes the inode (and unless `data_only` all of its metadata) to the device and flushes it.
    /// The VFS has written the dirty pages before.
    ///
    /// # Errors
    /// EIO, ENOSPC.
    fn sync(&self, _data_only: bool) -> Result<()> {
        Ok(())
    }

    /// getxattr(2). `name` with its prefix (`user.x`).
    ///
    /// # Errors
    /// ENODATA; EOPNOTSUPP.
    fn get_xattr(&self, _name: &[u8]) -> Result<Vec<u8>> {
        err(Errno::EOPNOTSUPP)
    }

    /// setxattr(2): None removes.
    ///
    /// # Errors
    /// EEXIST or ENODATA after XATTR_CREATE (1) or XATTR_REPLACE (2) in `flags`; ENOSPC; EOPNOTSUPP.
    fn set_xattr(&self, _name: &[u8], _value: Option<&[u8]>, _flags: u32) -> Result<()> {
        err(Errno::EOPNOTSUPP)
    }

    /// listxattr(2): names, each followed by NUL.
    ///
    /// # Errors
    /// EOPNOTSUPP; EIO.
    fn list_xattr(&self) -> Result<Vec<u8>> {
        err(Errno::EOPNOTSUPP)
    }

    /// The last reference is going away. If the inode has no links, its space is freed now.
    /// Errors can only be logged.
    fn evict(&self) {}
}

/// An inode in memory.
pub struct Inode {
    /// Inode number, unique in its file system.
    pub ino: u64,
    /// Type; never changes.
    pub kind: FileType,
    /// For device inodes.
    pub rdev: DevNum,
    /// The file system.
    pub fs: Arc<dyn FileSystem>,
    /// The file system's part.
    pub ops: Box<dyn InodeOps>,
    /// Orders changes (see the head of this file).
    pub lock: Mutex<()>,
    me: Weak<Inode>,
    /// What the VFS attaches: advisory locks, inotify watches, the pipe of a FIFO, the count of writers.
    pub vfs: crate::vfs_inode::VfsInode,
}

impl Inode {
    /// Wraps a file system's inode.
    pub fn new(
        ino: u64,
        kind: FileType,
        rdev: DevNum,
        fs: Arc<dyn FileSystem>,
        ops: Box<dyn InodeOps>,
    ) -> Arc<Inode> {
        Arc::new_cyclic(|me| Inode {
            ino,
            kind,
            rdev,
            fs,
            ops,
            lock: Mutex::new(()),
            me: me.clone(),
            vfs: Default::default(),
        })
    }

    /// The counted reference to it.
    ///
    /// # Panics
    /// Never while a reference to it exists outside of `Drop`.
    pub fn me(&self) -> Arc<Inode> {
        self.me.upgrade().expect("a borrowed inode is alive")
    }

    /// The file system's own type behind it, if it is a `T`.
    pub fn ops_as<T: InodeOps>(&self) -> Option<&T> {
        self.ops.as_any().downcast_ref::<T>()
    }
}

impl Drop for Inode {
    fn drop(&mut self) {
        self.ops.evict();
    }
}

impl fmt::Debug for Inode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} ({:?})", self.fs.type_name(), self.ino, self.kind)
    }
}

/// What statfs(2) tells.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub struct StatFs {
    pub magic: u64,
    pub block_size: u32,
    pub blocks: u64,
    pub free: u64,
    pub available: u64,
    pub files: u64,
    pub files_free: u64,
    pub fsid: u64,
    pub name_max: u32,
}

/// A mounted instance of a file system.
pub trait FileSystem: Send + Sync + 'static {
    /// Its name in /proc/filesystems.
    fn type_name(&self) -> &'static str;
    /// The root directory.
    fn root(&self) -> Arc<Inode>;
    /// The device number that st_dev shows.
    fn dev(&self) -> DevNum;
    /// statfs(2).
    ///
    /// # Errors
    /// EIO.
    fn statfs(&self) -> Result<StatFs>;
    /// Writes everything dirty and flushes the device.
    ///
    /// # Errors
    /// EIO, ENOSPC.
    fn sync(&self) -> Result<()> {
        Ok(())
    }
    /// Whether something could not be written back and had to be dropped since the mount: its
    /// writer was told by write, fsync or close if it asked, but may be gone.
    fn lost_data(&self) -> bool {
        false
    }
    /// Changes between read-only and read-write, or options.
    ///
    /// # Errors
    /// EROFS if it must stay read-only; EINVAL for unknown options.
    fn remount(&self, _read_only: bool, _options: &[u8]) -> Result<()> {
        Ok(())
    }
    /// Whether the instance is read-only (whatever its mounts say).
    fn read_only(&self) -> bool {
        false
    }
    /// The last mount is gone: write everything, mark the device clean.
    ///
    /// # Errors
    /// EIO; the device may be left marked as in use then.
    fn unmount(&self) -> Result<()> {
        self.sync()
    }
    /// The options column of /proc/mounts beyond ro/rw, with a leading comma for each.
    fn options(&self) -> String {
        String::new()
    }
    /// Whether names may be kept in the dentry cache without asking again (not for procfs).
    fn cache_names(&self) -> bool {
        true
    }
}

/// A file system that can be mounted: `ext4`, `tmpfs`, `proc` ...
pub trait FileSystemType: Send + Sync {
    /// Name for mount(2).
    fn name(&self) -> &'static str;
    /// Whether it needs a block device (no `nodev` in /proc/filesystems).
    fn needs_device(&self) -> bool;
    /// Makes an instance.
    ///
    /// # Errors
    /// EINVAL for a foreign or damaged superblock and for unknown options; EIO; EUCLEAN.
    fn mount(&self, args: &MountArgs<'_>) -> Result<Arc<dyn FileSystem>>;
}

/// What mount(2) gives to a file system.
pub struct MountArgs<'a> {
    /// The source as the caller wrote it.
    pub source: &'a [u8],
    /// The block device behind it, for types that need one.
    pub device: Option<(DevNum, Arc<dyn drivers::BlockDevice>)>,
    /// MS_RDONLY.
    pub read_only: bool,
    /// The comma-separated options.
    pub options: &'a [u8],
    /// Memory for page caches.
    pub memory: &'a Arc<mm::Memory>,
}

impl fmt::Debug for MountArgs<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mount {}", String::from_utf8_lossy(self.source))
    }
}

/// Inodes of one file system that are in memory, by number: each inode exists once.
pub struct InodeCache {
    map: Mutex<hashbrown::HashMap<u64, Weak<Inode>>>,
}

impl Default for InodeCache {
    fn default() -> Self {
        InodeCache { map: Mutex::new(hashbrown::HashMap::new()) }
    }
}

impl fmt::Debug for InodeCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InodeCache")
    }
}

impl InodeCache {
    /// The inode `ino`, read by `load` if it is not in memory. `load` may sleep; two callers for
    /// one inode wait for each other.
    ///
    /// # Errors
    /// What `load` says.
    pub fn get(&self, ino: u64, load: impl FnOnce() -> Result<Arc<Inode>>) -> Result<Arc<Inode>> {
        let mut map = self.map.lock();
        if let Some(i) = map.get(&ino).and_then(Weak::upgrade) {
            return Ok(i);
        }
        let inode = load()?;
        map.insert(ino, Arc::downgrade(&inode));
        Ok(inode)
    }

    /// Forgets an inode number that was freed. Call it from `evict`.
    pub fn forget(&self, ino: u64) {
        let mut map = self.map.lock();
        if map.get(&ino).is_some_and(|w| w.strong_count() == 0) {
            map.remove(&ino);
        }
    }

    /// All inodes in memory.
    pub fn all(&self) -> Vec<Arc<Inode>> {
        self.map.lock().values().filter_map(Weak::upgrade).collect()
    }
}
