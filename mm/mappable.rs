//! The two traits that keep mm and fs apart.
//!
//! A VMA holds an `Arc<dyn Mappable>` and never sees an inode: a [`Mappable`] is a name and a
//! [`PageCache`]. A page cache in turn knows its file only as a [`Backing`]: how to read and write
//! pages.

use std::sync::Arc;

use base::{PhysAddr, Result};

use crate::page_cache::PageCache;

/// Where a page cache's pages come from and go to. fs implements it for each inode.
///
/// Locks: all of these are called with the sleeping lock of an address space held when a page
/// fault needs the page, and a fault happens inside of `PageCache::read` and `write` when the
/// user's buffer is not there. So none of them may take a lock that the caller of
/// `PageCache::{read,write,truncate}` holds (the inode's `i_rwsem`, in Linux's words).
pub trait Backing: Send + Sync {
    /// Reads pages `first..first + frames.len()` of the object into whole frames; what lies beyond
    /// the end of the object, and holes, become zeros.
    ///
    /// # Errors
    /// EIO and what the device says. Nothing is cached then.
    fn read_pages(&self, first: u64, frames: &[PhysAddr]) -> Result<()>;

    /// Writes pages `first..` from whole frames; bytes beyond the object's size are not written.
    ///
    /// # Errors
    /// EIO, ENOSPC, and what the device says. The pages stay dirty.
    fn write_pages(&self, first: u64, frames: &[PhysAddr]) -> Result<()>;

    /// Size of the object in bytes, now. Called under spin locks: it must not sleep nor take a
    /// lock (an atomic load).
    fn size(&self) -> u64;

    /// Called before a page of a shared writable mapping becomes writable: reserves or allocates
    /// what a later write-back needs, so that it cannot fail for want of space.
    ///
    /// # Errors
    /// ENOSPC, EDQUOT: the guest gets SIGBUS.
    fn make_writable(&self, _index: u64) -> Result<()> {
        Ok(())
    }

    /// False for what lives in memory only (tmpfs): its pages cannot be given up.
    fn evictable(&self) -> bool {
        true
    }
}

/// What a VMA shows of a file: for /proc/PID/maps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectName {
    /// Path, or a name like `[heap]` or `/dev/zero (deleted)`.
    pub path: Vec<u8>,
    /// Device number (major << 8 | minor in the kernel's own encoding).
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
}

/// An object that can be mapped. fs makes one for each open file (the name is that of the path it
/// was opened by), all on the one page cache of the inode.
pub trait Mappable: Send + Sync {
    /// For /proc/PID/maps.
    fn name(&self) -> ObjectName;
    /// Its pages.
    fn cache(&self) -> &Arc<PageCache>;
    /// Whether it may be a program or library whose system call sites are worth patching: a regular file.
    fn is_program(&self) -> bool {
        false
    }
}

/// A page cache under no name.
impl Mappable for Arc<PageCache> {
    fn name(&self) -> ObjectName {
        ObjectName::default()
    }
    fn cache(&self) -> &Arc<PageCache> {
        self
    }
}

/// A page cache under a fixed name.
#[derive(Debug)]
pub struct Named {
    name: ObjectName,
    cache: Arc<PageCache>,
}

impl Named {
    /// `cache`, called `name` in /proc/PID/maps.
    #[allow(clippy::new_ret_no_self)]
    pub fn new(cache: Arc<PageCache>, name: ObjectName) -> Arc<dyn Mappable> {
        Arc::new(Named { name, cache })
    }
}

impl Mappable for Named {
    fn name(&self) -> ObjectName {
        self.name.clone()
    }
    fn cache(&self) -> &Arc<PageCache> {
        &self.cache
    }
}
