//! memfd_create(2): files that live in memory and have no name, and their seals.
//!
//! All of them are inodes of one internal file system (`MemfdFs`); its pages are a page cache that is never
//! written anywhere. The VFS reads, writes and maps them as any page-cached file; what is special is that
//! each change of size or content first asks the seals (`man 2 fcntl`, "File Sealing").
//!
//! Locks: seals and attributes are behind one leaf lock; the size is an atomic, because a page cache asks
//! for it under spin locks.

use std::any::Any;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use base::{Cred, Errno, PAGE_SIZE, PhysAddr, Rank, Result, SpinLock, Timestamp, err};
use drivers::DevNum;
use mm::{Backing, Memory, PageCache};

use crate::dentry::Dentry;
use crate::file::{File, OpenFlags};
use crate::inode::{Attr, FileSystem, FileType, Inode, InodeOps, SetAttr, StatFs};
use crate::mount::{Mount, MountFlags};
use crate::path::Path;
use crate::vfs::Vfs;

/// No more seals.
pub const F_SEAL_SEAL: u32 = 1;
/// The file does not shrink.
pub const F_SEAL_SHRINK: u32 = 2;
/// The file does not grow.
pub const F_SEAL_GROW: u32 = 4;
/// No writes.
pub const F_SEAL_WRITE: u32 = 8;
/// No writes but through mappings that exist.
pub const F_SEAL_FUTURE_WRITE: u32 = 0x10;
/// The execute bits do not change.
pub const F_SEAL_EXEC: u32 = 0x20;
const ALL_SEALS: u32 = 0x3f;

/// Seals may be added.
pub const MFD_ALLOW_SEALING: u32 = 2;
/// Not executable, and sealed so.
pub const MFD_NOEXEC_SEAL: u32 = 8;
/// Executable.
pub const MFD_EXEC: u32 = 0x10;
const MFD_CLOEXEC: u32 = 1;
/// Longest name, without `memfd:`.
pub const MFD_NAME_MAX: usize = 249;

const MAX_SIZE: u64 = i64::MAX as u64;

/// The file system of all memfds.
pub struct MemfdFs {
    me: Weak<MemfdFs>,
    memory: Arc<Memory>,
    dev: DevNum,
    next_ino: AtomicU64,
}

impl std::fmt::Debug for MemfdFs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MemfdFs({:?})", self.dev)
    }
}

struct Size(AtomicU64, Arc<Memory>);

impl Backing for Size {
    fn read_pages(&self, _first: u64, frames: &[PhysAddr]) -> Result<()> {
        for f in frames {
            self.1.machine().phys().zero_bytes(*f, PAGE_SIZE);
        }
        Ok(())
    }
    fn write_pages(&self, _first: u64, _frames: &[PhysAddr]) -> Result<()> {
        Ok(())
    }
    fn size(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
    fn evictable(&self) -> bool {
        false
    }
}

#[derive(Clone, Copy)]
struct Meta {
    perm: u32,
    uid: u32,
    gid: u32,
    atime: Timestamp,
    mtime: Timestamp,
    ctime: Timestamp,
    btime: Timestamp,
}

/// The inode of a memfd.
struct MemfdInode {
    ino: u64,
    size: Arc<Size>,
    cache: Arc<PageCache>,
    meta: SpinLock<Meta>,
    seals: AtomicU32,
}

impl MemfdFs {
    /// The file system, with the device number that fstat(2) shows.
    pub fn new(memory: &Arc<Memory>, dev: DevNum) -> Arc<MemfdFs> {
        Arc::new_cyclic(|me| MemfdFs {
            me: me.clone(),
            memory: memory.clone(),
            dev,
            next_ino: AtomicU64::new(1),
        })
    }

    /// An empty file for memfd_create(2) with these flags.
    ///
    /// # Errors
    /// EINVAL for unknown flags (huge pages among them).
    pub fn create(&self, flags: u32, uid: u32, gid: u32, now: Timestamp) -> Result<Arc<Inode>> {
        let known = MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL | MFD_EXEC;
        if flags & !known != 0 || flags & MFD_NOEXEC_SEAL != 0 && flags & MFD_EXEC != 0 {
            return err(Errno::EINVAL);
        }
        let (perm, seals) = if flags & MFD_NOEXEC_SEAL != 0 {
            (0o666, F_SEAL_EXEC)
        } else if flags & MFD_ALLOW_SEALING != 0 {
            (0o777, 0)
        } else {
            (0o777, F_SEAL_SEAL)
        };
        let ino = self.next_ino.fetch_add(1, Ordering::Relaxed);
        let size = Arc::new(Size(AtomicU64::new(0), self.memory.clone()));
        let backing: Arc<dyn Backing> = size.clone();
        let inode = MemfdInode {
            ino,
            size,
            cache: PageCache::new_owned(&self.memory, backing),
            meta: SpinLock::new(
                Rank::Inode,
                Meta { perm, uid, gid, atime: now, mtime: now, ctime: now, btime: now },
            ),
            seals: AtomicU32::new(seals),
        };
        Ok(Inode::new(ino, FileType::Regular, DevNum::default(), self.arc(), Box::new(inode)))
    }

    fn arc(&self) -> Arc<dyn FileSystem> {
        self.me.upgrade().expect("it is being called through an Arc")
    }
}

/// Where memfd_create(2) finds what it needs: the file system, mounted where no path leads.
#[derive(Debug)]
pub struct Memfds {
    fs: Arc<MemfdFs>,
    mount: Arc<Mount>,
    vfs: Arc<Vfs>,
}

impl Memfds {
    /// A file system for the memfds of a kernel, with the device number that fstat(2) shows.
    pub fn new(vfs: &Arc<Vfs>, dev: DevNum) -> Memfds {
        let fs = MemfdFs::new(&vfs.memory, dev);
        let mount = vfs.mount_fs(fs.clone(), MountFlags::NOATIME, b"none");
        Memfds { fs, mount, vfs: vfs.clone() }
    }

    /// memfd_create(2): an empty file, open for reading and writing. MFD_CLOEXEC is the caller's business.
    ///
    /// # Errors
    /// EINVAL for unknown flags (huge pages among them) and for names longer than [`MFD_NAME_MAX`].
    pub fn create(&self, name: &[u8], flags: u32, cred: &Arc<Cred>) -> Result<Arc<File>> {
        if name.len() > MFD_NAME_MAX {
            return err(Errno::EINVAL);
        }
        let inode = self.fs.create(flags, cred.fsuid, cred.fsgid, arch::clock::realtime())?;
        let dentry = Dentry::root(self.mount.sb().clone(), inode, &[b"memfd:", name].concat());
        dentry.set_unlinked(true);
        let path = Path { mount: self.mount.clone(), dentry };
        let how = OpenFlags::RDWR | OpenFlags::LARGEFILE;
        Ok(File::new(self.vfs.regular_ops.clone(), path, how, cred.clone()))
    }
}

impl FileSystem for MemfdFs {
    fn type_name(&self) -> &'static str {
        "tmpfs"
    }
    fn root(&self) -> Arc<Inode> {
        Inode::new(0, FileType::Directory, DevNum::default(), self.arc(), Box::new(Root))
    }
    fn dev(&self) -> DevNum {
        self.dev
    }
    fn statfs(&self) -> Result<StatFs> {
        Ok(StatFs {
            magic: 0x0102_1994,
            block_size: PAGE_SIZE as u32,
            name_max: 255,
            ..StatFs::default()
        })
    }
}

/// Nobody walks this file system, but it must have a root.
struct Root;

impl InodeOps for Root {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn attr(&self) -> Result<Attr> {
        let t = Timestamp::default();
        Ok(Attr {
            ino: 0,
            kind: FileType::Directory,
            perm: 0o555,
            nlink: 2,
            uid: 0,
            gid: 0,
            rdev: DevNum::default(),
            size: 0,
            blocks: 0,
            blksize: PAGE_SIZE as u32,
            atime: t,
            mtime: t,
            ctime: t,
            btime: None,
            flags: 0,
        })
    }
}

impl MemfdInode {
    fn sealed(&self, seals: u32) -> bool {
        self.seals.load(Ordering::Acquire) & seals != 0
    }
    fn resize(&self, new: u64) -> Result<()> {
        let old = self.size.size();
        if new > MAX_SIZE {
            return err(Errno::EFBIG);
        }
        if new < old && self.sealed(F_SEAL_SHRINK) || new > old && self.sealed(F_SEAL_GROW) {
            return err(Errno::EPERM);
        }
        self.size.0.store(new, Ordering::Release);
        if new < old {
            self.cache.truncate(new);
        }
        Ok(())
    }
}

impl InodeOps for MemfdInode {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn attr(&self) -> Result<Attr> {
        let m = *self.meta.lock();
        Ok(Attr {
            ino: self.ino,
            kind: FileType::Regular,
            perm: m.perm,
            nlink: 0,
            uid: m.uid,
            gid: m.gid,
            rdev: DevNum::default(),
            size: self.size.size(),
            blocks: self.cache.cached_pages() * (PAGE_SIZE as u64 / 512),
            blksize: PAGE_SIZE as u32,
            atime: m.atime,
            mtime: m.mtime,
            ctime: m.ctime,
            btime: Some(m.btime),
            flags: 0,
        })
    }

    fn set_attr(&self, change: &SetAttr) -> Result<()> {
        if let Some(p) = change.perm
            && (p ^ self.meta.lock().perm) & 0o111 != 0
            && self.sealed(F_SEAL_EXEC)
        {
            return err(Errno::EPERM);
        }
        if let Some(n) = change.size {
            self.resize(n)?;
        }
        let mut m = self.meta.lock();
        m.perm = change.perm.unwrap_or(m.perm);
        m.uid = change.uid.unwrap_or(m.uid);
        m.gid = change.gid.unwrap_or(m.gid);
        m.atime = change.atime.unwrap_or(m.atime);
        m.mtime = change.mtime.unwrap_or(m.mtime);
        m.ctime = change.ctime.unwrap_or(m.ctime);
        Ok(())
    }

    fn page_cache(&self) -> Option<&Arc<PageCache>> {
        Some(&self.cache)
    }

    fn prepare_write(&self, offset: u64, len: usize) -> Result<()> {
        if self.sealed(F_SEAL_WRITE | F_SEAL_FUTURE_WRITE) {
            return err(Errno::EPERM);
        }
        let end = offset.saturating_add(len as u64);
        if end > MAX_SIZE {
            return err(Errno::EFBIG);
        }
        if end > self.size.size() && self.sealed(F_SEAL_GROW) {
            return err(Errno::EPERM);
        }
        Ok(())
    }

    fn commit_write(&self, end: u64, now: Timestamp) -> Result<()> {
        self.size.0.fetch_max(end, Ordering::AcqRel);
        let mut m = self.meta.lock();
        m.mtime = now;
        m.ctime = now;
        Ok(())
    }

    fn fallocate(&self, mode: u32, offset: u64, len: u64) -> Result<()> {
        const KEEP_SIZE: u32 = 1;
        const PUNCH_HOLE: u32 = 2;
        let end = offset.checked_add(len).filter(|e| *e <= MAX_SIZE);
        let Some(end) = end else { return err(Errno::EFBIG) };
        match mode {
            m if m == PUNCH_HOLE | KEEP_SIZE => {
                if self.sealed(F_SEAL_WRITE | F_SEAL_FUTURE_WRITE) {
                    return err(Errno::EPERM);
                }
                let end = end.min(self.size.size());
                if offset < end { self.cache.zero_range(offset, end - offset) } else { Ok(()) }
            }
            KEEP_SIZE => Ok(()),
            0 if end > self.size.size() => self.resize(end),
            0 => Ok(()),
            _ => err(Errno::EOPNOTSUPP),
        }
    }
}

fn inode_of(file: &File) -> Result<&MemfdInode> {
    match file.path.inode().ops_as::<MemfdInode>() {
        Some(m) => Ok(m),
        None => err(Errno::EINVAL),
    }
}

/// F_GET_SEALS.
///
/// # Errors
/// EINVAL if the file is no memfd.
pub fn get_seals(file: &File) -> Result<u32> {
    Ok(inode_of(file)?.seals.load(Ordering::Acquire))
}

/// F_ADD_SEALS.
///
/// # Errors
/// EINVAL if the file is no memfd or for unknown seals; EPERM if it is not open for writing or sealed
/// against seals; EBUSY for F_SEAL_WRITE while somebody has it mapped shared and writable.
pub fn add_seals(file: &File, seals: u32) -> Result<()> {
    let m = inode_of(file)?;
    if !file.flags().writable() {
        return err(Errno::EPERM);
    }
    if seals & !ALL_SEALS != 0 {
        return err(Errno::EINVAL);
    }
    // A write that is under way finishes before the seal takes hold.
    let _order = file.path.inode().lock.lock();
    if m.sealed(F_SEAL_SEAL) {
        return err(Errno::EPERM);
    }
    if seals & F_SEAL_WRITE != 0 && !m.sealed(F_SEAL_WRITE) && m.cache.mapped_writable() {
        return err(Errno::EBUSY);
    }
    // Sealing the execute bits of an executable file seals its content, too (Linux 6.3).
    let more = if seals & F_SEAL_EXEC != 0 && m.meta.lock().perm & 0o111 != 0 {
        F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_FUTURE_WRITE
    } else {
        0
    };
    m.seals.fetch_or(seals | more, Ordering::AcqRel);
    Ok(())
}

/// Whether mmap(2) may map the file so. The result says whether mprotect(2) may make the mapping writable
/// later. For other files than memfds: always.
///
/// # Errors
/// EPERM for a shared writable mapping of a file that is sealed against writes.
pub fn check_mmap(file: &File, shared: bool, write: bool) -> Result<bool> {
    let Some(m) = file.path.inode().ops_as::<MemfdInode>() else { return Ok(true) };
    let sealed = shared && m.sealed(F_SEAL_WRITE | F_SEAL_FUTURE_WRITE);
    if sealed && write {
        return err(Errno::EPERM);
    }
    Ok(!sealed)
}
