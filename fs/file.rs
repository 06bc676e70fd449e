//! Open files.
//!
//! A [`File`] is an open file description (`man 2 open`): what dup(2) and fork(2) share. Its
//! position, flags and owner are here; what it does is a [`FileOps`]: a page-cached regular file, a
//! directory, a pipe, a device, a socket, an epoll instance.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use base::{
    Cred, Errno, Mutex, PollEvents, PollTable, Result, Sink, Source, UserAddr, UserMemory, err,
};
use mm::Mappable;

use crate::inode::FileType;
use crate::path::Path;

bitflags::bitflags! {
    /// Flags of open(2) and F_SETFL, x86-64 values.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct OpenFlags: u32 {
        /// Write only (access mode 1).
        const WRONLY = 0o1;
        /// Read and write (access mode 2).
        const RDWR = 0o2;
        /// Create if absent.
        const CREAT = 0o100;
        /// Fail if present.
        const EXCL = 0o200;
        /// Do not make a terminal the controlling one.
        const NOCTTY = 0o400;
        /// Truncate.
        const TRUNC = 0o1000;
        /// Each write goes to the end.
        const APPEND = 0o2000;
        /// Do not block.
        const NONBLOCK = 0o4000;
        /// Data reaches the device before write returns.
        const DSYNC = 0o10000;
        /// SIGIO on readiness.
        const ASYNC = 0o20000;
        /// Bypass the page cache (accepted, treated as a hint).
        const DIRECT = 0o40000;
        /// Accepted; all our files are large.
        const LARGEFILE = 0o100_000;
        /// Must be a directory.
        const DIRECTORY = 0o200_000;
        /// Must not be a symbolic link.
        const NOFOLLOW = 0o400_000;
        /// Do not update atime.
        const NOATIME = 0o1_000_000;
        /// Close on exec (a property of the descriptor).
        const CLOEXEC = 0o2_000_000;
        /// Data and metadata reach the device before write returns (with DSYNC: O_SYNC).
        const SYNC_BIT = 0o4_000_000;
        /// Only a name for the inode.
        const PATH = 0o10_000_000;
        /// Unnamed file (with DIRECTORY: O_TMPFILE).
        const TMPFILE_BIT = 0o20_000_000;
    }
}

impl OpenFlags {
    /// Whether reads are allowed.
    pub fn readable(self) -> bool {
        self.bits() & 3 != 1 && !self.contains(OpenFlags::PATH)
    }
    /// Whether writes are allowed.
    pub fn writable(self) -> bool {
        matches!(self.bits() & 3, 1 | 2) && !self.contains(OpenFlags::PATH)
    }
    /// O_TMPFILE.
    pub fn tmpfile(self) -> bool {
        self.contains(OpenFlags::TMPFILE_BIT)
    }
}

/// Who makes a call, as far as files need to know: ioctls of terminals, permission checks.
pub trait Caller: drivers::Opener {
    /// The caller's memory.
    fn memory(&self) -> &dyn UserMemory;
}

/// What an open file does. Methods get the [`File`] for its flags.
pub trait FileOps: Any + Send + Sync {
    /// For code that needs the concrete type (epoll, pipes in splice, sockets in net).
    fn as_any(&self) -> &dyn Any;

    /// Reads at `offset` (streams ignore it) into `sink`; 0 at the end.
    ///
    /// # Errors
    /// EAGAIN with O_NONBLOCK; ERESTARTSYS; EISDIR; EINVAL if it cannot be read; EIO.
    fn read(&self, _file: &File, _offset: u64, _sink: &mut dyn Sink) -> Result<usize> {
        err(Errno::EINVAL)
    }

    /// Writes from `source` at `offset` (streams ignore it; with O_APPEND a seekable file goes to
    /// its end and reports where through the returned end position). Returns bytes taken.
    ///
    /// # Errors
    /// EAGAIN; ERESTARTSYS; EPIPE (the system call layer sends SIGPIPE); ENOSPC; EFBIG; EIO; EINVAL.
    fn write(&self, _file: &File, _offset: u64, _source: &mut dyn Source) -> Result<usize> {
        err(Errno::EINVAL)
    }

    /// As [`FileOps::write`] for what has positions: no byte goes to or beyond `limit`
    /// (RLIMIT_FSIZE; only regular files heed it). Returns the bytes taken and the position after them.
    ///
    /// # Errors
    /// EFBIG at the limit; as `write`.
    fn write_limited(
        &self,
        file: &File,
        offset: u64,
        source: &mut dyn Source,
        _limit: u64,
    ) -> Result<(usize, u64)> {
        let n = self.write(file, offset, source)?;
        Ok((n, offset + n as u64))
    }

    /// lseek(2) of what has rules of its own (directories, /dev/kmsg). None: the usual ones.
    fn seek_special(&self, _file: &File, _whence: u32, _offset: i64) -> Option<Result<u64>> {
        None
    }

    /// SEEK_DATA (`data`) or SEEK_HOLE from `offset`. The default knows no holes.
    ///
    /// # Errors
    /// ENXIO beyond the end; EINVAL where there is no end.
    fn seek_hole_data(&self, file: &File, offset: u64, data: bool) -> Result<u64> {
        let size = self.seek_end(file)?;
        if offset >= size {
            return err(Errno::ENXIO);
        }
        Ok(if data { offset } else { size })
    }

    /// The character device behind it, for what the tty layer's callers ask (TIOCGPTPEER, /dev/tty).
    fn char_file(&self) -> Option<&Arc<dyn drivers::CharFile>> {
        None
    }

    /// Whether there is a position: lseek, pread and pwrite. Streams give ESPIPE.
    fn seekable(&self) -> bool {
        false
    }

    /// lseek(2) beyond SEEK_SET and SEEK_CUR: the end of the object, or data and holes.
    ///
    /// # Errors
    /// ESPIPE, ENXIO, EINVAL.
    fn seek_end(&self, _file: &File) -> Result<u64> {
        err(Errno::ESPIPE)
    }

    /// Directory entries from `pos`: see `InodeOps::read_dir`.
    ///
    /// # Errors
    /// ENOTDIR; EIO.
    fn read_dir(
        &self,
        _file: &File,
        _pos: u64,
        _emit: &mut dyn FnMut(crate::inode::DirEntry<'_>) -> bool,
    ) -> Result<()> {
        err(Errno::ENOTDIR)
    }

    /// What is ready now; with a table, registers for changes. Regular files are always ready.
    fn poll(&self, _file: &File, _table: Option<&mut PollTable>) -> PollEvents {
        PollEvents::IN | PollEvents::OUT | PollEvents::RDNORM | PollEvents::WRNORM
    }

    /// Whether epoll takes it (EPERM for regular files and directories).
    fn pollable(&self) -> bool {
        true
    }

    /// ioctl(2). The generic ones (FIONBIO, FIOCLEX, FIOASYNC) never come here.
    ///
    /// # Errors
    /// ENOTTY for unknown commands; EFAULT; what the device says.
    fn ioctl(&self, _file: &File, _cmd: u32, _arg: UserAddr, _who: &dyn Caller) -> Result<i64> {
        err(Errno::ENOTTY)
    }

    /// ftruncate(2) of what is no page-cached file of a file system (memfd with seals). None: the
    /// usual way, through the inode.
    fn truncate(&self, _file: &File, _size: u64) -> Option<Result<()>> {
        None
    }

    /// The object to map for mmap(2).
    ///
    /// # Errors
    /// ENODEV if it cannot be mapped.
    fn mappable(&self, _file: &File) -> Result<Arc<dyn Mappable>> {
        err(Errno::ENODEV)
    }

    /// fsync(2), fdatasync(2).
    ///
    /// # Errors
    /// EINVAL for what has no device behind it; EIO; ENOSPC.
    fn sync(&self, _file: &File, _data_only: bool) -> Result<()> {
        err(Errno::EINVAL)
    }

    /// A descriptor for it is being closed (each close(2), not only the last): `flush` of Linux.
    fn flush(&self, _file: &File) {}

    /// The last reference is gone.
    fn release(&self, _file: &File) {}

    /// Whether the status flags may be set to this (O_APPEND on ..., O_DIRECT). Default: yes.
    ///
    /// # Errors
    /// EINVAL, EPERM.
    fn set_flags(&self, _file: &File, _flags: OpenFlags) -> Result<()> {
        Ok(())
    }

    /// Extra lines of /proc/PID/fdinfo/N.
    fn fdinfo(&self, _file: &File) -> String {
        String::new()
    }

    /// Whether a write that fails with EPIPE is answered with SIGPIPE, too (pipe(7); sockets of messages
    /// have only the error).
    fn sigpipe(&self) -> bool {
        true
    }

    /// The name for /proc/PID/fd of what has no path and is no pipe: `anon_inode:[eventpoll]`.
    fn anon_name(&self) -> String {
        "anon_inode:[unknown]".into()
    }
}

/// An open file description.
pub struct File {
    /// What it does.
    pub ops: Arc<dyn FileOps>,
    /// Where it was opened: mount and dentry. Anonymous files have a path on the kernel's own
    /// anonymous file system, so fstat works on everything.
    pub path: Path,
    flags: AtomicU32,
    /// Counted as a writer of its inode.
    counted: bool,
    /// The position.
    pub pos: Mutex<u64>,
    /// Credentials of the opener.
    pub cred: Arc<Cred>,
}

impl File {
    /// An open file at position 0. Access mode and status flags are kept; O_CREAT, O_EXCL, O_TRUNC,
    /// O_NOCTTY and O_CLOEXEC are dropped as F_GETFL does.
    pub fn new(ops: Arc<dyn FileOps>, path: Path, flags: OpenFlags, cred: Arc<Cred>) -> Arc<File> {
        File::counted(ops, path, flags, cred, false)
    }

    /// As [`File::new`]; `counted`: `VfsInode::get_write` was called for it.
    pub(crate) fn counted(
        ops: Arc<dyn FileOps>,
        path: Path,
        flags: OpenFlags,
        cred: Arc<Cred>,
        counted: bool,
    ) -> Arc<File> {
        let drop = OpenFlags::CREAT
            | OpenFlags::EXCL
            | OpenFlags::TRUNC
            | OpenFlags::NOCTTY
            | OpenFlags::CLOEXEC;
        Arc::new(File {
            ops,
            path,
            flags: AtomicU32::new((flags & !drop).bits()),
            counted,
            pos: Mutex::new(0),
            cred,
        })
    }

    /// Access mode and status flags, now.
    pub fn flags(&self) -> OpenFlags {
        OpenFlags::from_bits_retain(self.flags.load(Ordering::Relaxed))
    }

    /// Replaces the status flags (F_SETFL has masked them).
    pub fn set_flags(&self, flags: OpenFlags) {
        self.flags.store(flags.bits(), Ordering::Relaxed);
    }

    /// A number that no other open file has now: the owner of its flock(2) and OFD locks.
    pub fn id(&self) -> u64 {
        std::ptr::from_ref(self).addr() as u64
    }

    /// O_NONBLOCK.
    pub fn nonblock(&self) -> bool {
        self.flags().contains(OpenFlags::NONBLOCK)
    }

    /// A descriptor of the table `table` is gone (close, dup2, exec, exit): flushes, and releases
    /// the POSIX locks of that table on the file.
    pub fn close_one(self: Arc<Self>, table: u64) {
        self.ops.flush(&self);
        if let Some(locks) = self.path.inode().vfs.locks() {
            locks.release_process(table);
        }
    }

    /// The inode.
    #[inline]
    pub fn inode(&self) -> &Arc<crate::inode::Inode> {
        self.path.inode()
    }

    /// What /proc/PID/fd/N shows, as seen from `root`.
    pub fn display_name(&self, root: &Path) -> Vec<u8> {
        if self.path.dentry.sb().fs().type_name() == crate::anon::TYPE_NAME {
            let inode = self.path.inode();
            if inode.kind == FileType::Fifo {
                return format!("pipe:[{}]", inode.ino).into_bytes();
            }
            return self.ops.anon_name().into_bytes();
        }
        self.path.name_from(root).0
    }

    /// The concrete operations, if they are a `T`.
    pub fn ops_as<T: FileOps>(&self) -> Option<&T> {
        self.ops.as_any().downcast_ref::<T>()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let ops = self.ops.clone();
        if let Some(locks) = self.path.inode().vfs.locks() {
            locks.release_file(self.id());
        }
        ops.release(self);
        if self.counted {
            self.path.inode().vfs.put_write();
        }
        if crate::vfs_inode::any_watchers() && !self.flags().contains(OpenFlags::PATH) {
            use crate::vfs_inode::event::{CLOSE_NOWRITE, CLOSE_WRITE};
            let w = self.flags().writable();
            crate::ops::notify(&self.path, if w { CLOSE_WRITE } else { CLOSE_NOWRITE });
        }
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "File({:?}, {:?})", self.path, self.flags())
    }
}
