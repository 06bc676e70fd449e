//! The two traits that keep mm and fs apart.
//!
//! A VMA holds an `Arc<dyn Mappable>` and never sees an inode: a [`Mappable`] is "the pages of an
//! object by index" (in practice a page cache, a device, or anonymous shared memory). A page cache in
//! turn knows its file only as a [`Backing`]: how to read and write pages.

use base::{PhysAddr, Result};

/// Where a page cache's pages come from and go to. fs implements it for each inode.
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

    /// Size of the object in bytes, now.
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

/// An object that can be mapped: pages by index. `Frame` is mm's counted reference to a frame; the
/// trait is completed by mm (see page_cache.rs for the main implementation).
pub trait Mappable: Send + Sync {
    /// For /proc/PID/maps.
    fn name(&self) -> ObjectName;
}
