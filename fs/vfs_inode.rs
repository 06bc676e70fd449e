//! What the VFS attaches to each inode: inotify watchers, the count of writers, advisory locks, the
//! pipe of a FIFO, the socket bound to a name, and two small caches that keep `attr` off the hot paths.
//!
//! Locks: all of them are leaves of rank `Inode`; watchers are called without one.

use std::any::Any;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use base::{Errno, Rank, Result, SpinLock, err};

use crate::inode::Attr;
use crate::lock::FileLocks;
use crate::pipe::Pipe;

/// Events of inotify(7), for [`VfsInode::notify`].
#[allow(missing_docs)]
pub mod event {
    pub const ACCESS: u32 = 0x1;
    pub const MODIFY: u32 = 0x2;
    pub const ATTRIB: u32 = 0x4;
    pub const CLOSE_WRITE: u32 = 0x8;
    pub const CLOSE_NOWRITE: u32 = 0x10;
    pub const OPEN: u32 = 0x20;
    pub const MOVED_FROM: u32 = 0x40;
    pub const MOVED_TO: u32 = 0x80;
    pub const CREATE: u32 = 0x100;
    pub const DELETE: u32 = 0x200;
    pub const DELETE_SELF: u32 = 0x400;
    pub const MOVE_SELF: u32 = 0x800;
    pub const UNMOUNT: u32 = 0x2000;
    pub const ISDIR: u32 = 0x4000_0000;
}

/// Someone who watches an inode: inotify implements it.
pub trait Notify: Send + Sync {
    /// `mask` (see [`event`]) happened to the inode, or, with a name, to an entry of that directory.
    /// `cookie` ties the two halves of a rename together. May take leaf locks; must not sleep.
    fn notify(&self, mask: u32, cookie: u32, name: Option<&[u8]>);
}

/// Watchers of all inodes: while it is 0, events cost one load.
static WATCHERS: AtomicUsize = AtomicUsize::new(0);

/// Whether anybody watches any inode.
#[inline]
pub fn any_watchers() -> bool {
    WATCHERS.load(Ordering::Relaxed) != 0
}

/// The VFS's part of an inode.
pub struct VfsInode {
    watchers: SpinLock<Vec<Arc<dyn Notify>>>,
    watched: AtomicBool,
    /// Open for writing (positive) or protected from it because it is being executed (negative).
    writers: AtomicI32,
    /// Whether everybody may search this directory: 0 unknown, 1 yes, 2 no.
    search: AtomicU8,
    /// Whether relatime has nothing to do until the next change.
    atime_fresh: AtomicBool,
    /// Made by O_TMPFILE without O_EXCL and not named yet: link(2) may name it.
    pub(crate) linkable: AtomicBool,
    locks: SpinLock<Option<Arc<FileLocks>>>,
    has_locks: AtomicBool,
    pipe: SpinLock<Weak<Pipe>>,
    socket: SpinLock<Option<Weak<dyn Any + Send + Sync>>>,
}

impl Default for VfsInode {
    fn default() -> Self {
        VfsInode {
            watchers: SpinLock::new(Rank::Inode, Vec::new()),
            watched: AtomicBool::new(false),
            writers: AtomicI32::new(0),
            search: AtomicU8::new(0),
            atime_fresh: AtomicBool::new(false),
            linkable: AtomicBool::new(false),
            locks: SpinLock::new(Rank::Inode, None),
            has_locks: AtomicBool::new(false),
            pipe: SpinLock::new(Rank::Inode, Weak::new()),
            socket: SpinLock::new(Rank::Inode, None),
        }
    }
}

impl fmt::Debug for VfsInode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VfsInode(writers {})", self.writers.load(Ordering::Relaxed))
    }
}

impl VfsInode {
    /// Adds a watcher.
    pub fn watch(&self, watcher: Arc<dyn Notify>) {
        self.watchers.lock().push(watcher);
        self.watched.store(true, Ordering::Release);
        WATCHERS.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes a watcher away (the same `Arc`). Harmless if it is gone.
    pub fn unwatch(&self, watcher: &Arc<dyn Notify>) {
        let mut list = self.watchers.lock();
        if let Some(i) = list.iter().position(|w| Arc::ptr_eq(w, watcher)) {
            let gone = list.swap_remove(i);
            self.watched.store(!list.is_empty(), Ordering::Release);
            WATCHERS.fetch_sub(1, Ordering::Relaxed);
            drop(list);
            drop(gone);
        }
    }

    /// Tells the watchers. Nearly free without any.
    #[inline]
    pub fn notify(&self, mask: u32, cookie: u32, name: Option<&[u8]>) {
        if self.watched.load(Ordering::Acquire) {
            self.notify_slow(mask, cookie, name);
        }
    }

    #[cold]
    fn notify_slow(&self, mask: u32, cookie: u32, name: Option<&[u8]>) {
        let list: Vec<_> = self.watchers.lock().clone();
        for w in list {
            w.notify(mask, cookie, name);
        }
    }

    /// Counts a writer.
    ///
    /// # Errors
    /// ETXTBSY while the file is being executed.
    pub fn get_write(&self) -> Result<()> {
        self.count(1, |n| n >= 0)
    }

    /// The writer is gone.
    pub fn put_write(&self) {
        self.writers.fetch_sub(1, Ordering::AcqRel);
    }

    /// Keeps writers out (exec(2) of this file).
    ///
    /// # Errors
    /// ETXTBSY while it is open for writing.
    pub fn deny_write(&self) -> Result<()> {
        self.count(-1, |n| n <= 0)
    }

    /// Undoes [`VfsInode::deny_write`].
    pub fn allow_write(&self) {
        self.writers.fetch_add(1, Ordering::AcqRel);
    }

    fn count(&self, by: i32, ok: impl Fn(i32) -> bool) -> Result<()> {
        let done = self
            .writers
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |n| ok(n).then_some(n + by));
        if done.is_err() { err(Errno::ETXTBSY) } else { Ok(()) }
    }

    /// What is known about search permission for everybody.
    #[inline]
    pub(crate) fn search_all(&self) -> Option<bool> {
        match self.search.load(Ordering::Relaxed) {
            0 => None,
            x => Some(x == 1),
        }
    }

    pub(crate) fn learn_search(&self, attr: &Attr) {
        let v = if attr.perm & 0o111 == 0o111 { 1 } else { 2 };
        self.search.store(v, Ordering::Relaxed);
    }

    /// Forgets what was derived from the attributes. Whoever changes them outside of the VFS's
    /// `ops` (a file system by itself) calls it afterwards.
    pub fn attr_changed(&self) {
        self.search.store(0, Ordering::Relaxed);
        self.atime_fresh.store(false, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn atime_fresh(&self) -> bool {
        self.atime_fresh.load(Ordering::Relaxed)
    }

    pub(crate) fn set_atime_fresh(&self, fresh: bool) {
        if self.atime_fresh.load(Ordering::Relaxed) != fresh {
            self.atime_fresh.store(fresh, Ordering::Relaxed);
        }
    }

    /// The advisory locks, if there ever were any.
    #[inline]
    pub(crate) fn locks(&self) -> Option<Arc<FileLocks>> {
        if !self.has_locks.load(Ordering::Acquire) {
            return None;
        }
        self.locks.lock().clone()
    }

    pub(crate) fn locks_or_new(&self) -> Arc<FileLocks> {
        let mut l = self.locks.lock();
        let locks = l.get_or_insert_with(Default::default).clone();
        self.has_locks.store(true, Ordering::Release);
        locks
    }

    /// The pipe of a FIFO; made by the first opener, gone with the last.
    pub(crate) fn fifo(&self, make: impl FnOnce() -> Arc<Pipe>) -> Arc<Pipe> {
        let mut p = self.pipe.lock();
        if let Some(p) = p.upgrade() {
            return p;
        }
        let new = make();
        *p = Arc::downgrade(&new);
        new
    }

    /// Binds a socket to this inode (net does, for AF_UNIX).
    pub fn bind_socket(&self, socket: Weak<dyn Any + Send + Sync>) {
        *self.socket.lock() = Some(socket);
    }

    /// The socket bound here, if it is alive.
    pub fn socket(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        self.socket.lock().as_ref().and_then(Weak::upgrade)
    }
}

impl Drop for VfsInode {
    fn drop(&mut self) {
        let n = self.watchers.get_mut().len();
        if n != 0 {
            WATCHERS.fetch_sub(n, Ordering::Relaxed);
        }
    }
}

/// A file that is being executed: nobody can open it for writing while this lives.
#[derive(Debug)]
pub struct Executing(crate::path::Path);

impl Executing {
    /// Keeps writers of the file at `path` out.
    ///
    /// # Errors
    /// ETXTBSY while it is open for writing.
    pub fn new(path: crate::path::Path) -> Result<Executing> {
        path.inode().vfs.deny_write()?;
        Ok(Executing(path))
    }
    /// The file.
    pub fn path(&self) -> &crate::path::Path {
        &self.0
    }
}

impl Drop for Executing {
    fn drop(&mut self) {
        self.0.inode().vfs.allow_write();
    }
}
