//! Memory that has no file: MAP_SHARED|MAP_ANONYMOUS, and the contents of memfd and tmpfs files.
//!
//! It is a page cache whose backing has nothing but zeros and never takes pages back.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base::{PAGE_SIZE, PhysAddr, Result};

use crate::mappable::Backing;
use crate::memory::Memory;
use crate::page_cache::PageCache;

/// A backing of zeros with a size that can be set; for objects that live in memory only.
pub struct ZeroBacking {
    memory: Arc<Memory>,
    size: AtomicU64,
    charged: u64,
}

impl fmt::Debug for ZeroBacking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ZeroBacking({} bytes)", self.size())
    }
}

impl ZeroBacking {
    /// An object of `size` bytes, not counted as committed.
    pub fn new(memory: &Arc<Memory>, size: u64) -> Arc<ZeroBacking> {
        let memory = memory.clone();
        Arc::new(ZeroBacking { memory, size: AtomicU64::new(size), charged: 0 })
    }
    /// Changes the size. Shrinking, call [`PageCache::truncate`] afterwards.
    pub fn set_size(&self, size: u64) {
        self.size.store(size, Ordering::Release);
    }
}

impl Backing for ZeroBacking {
    fn read_pages(&self, _first: u64, frames: &[PhysAddr]) -> Result<()> {
        for f in frames {
            self.memory.machine().phys().zero_bytes(*f, PAGE_SIZE);
        }
        Ok(())
    }
    fn write_pages(&self, _first: u64, _frames: &[PhysAddr]) -> Result<()> {
        Ok(())
    }
    fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }
    fn evictable(&self) -> bool {
        false
    }
}

impl Drop for ZeroBacking {
    fn drop(&mut self) {
        self.memory.uncharge(self.charged);
    }
}

/// An object of `size` bytes of zeros that lives in memory only, not counted as committed.
pub fn anonymous_shared(memory: &Arc<Memory>, size: u64) -> Arc<PageCache> {
    PageCache::new_owned(memory, ZeroBacking::new(memory, size))
}

/// As [`anonymous_shared`], counted as committed unless `noreserve`.
///
/// # Errors
/// ENOMEM if that much may not be promised.
pub(crate) fn shared_mapping(
    memory: &Arc<Memory>,
    pages: u64,
    noreserve: bool,
) -> Result<Arc<PageCache>> {
    let charged = if noreserve { 0 } else { pages };
    memory.charge(charged)?;
    let size = AtomicU64::new(pages * PAGE_SIZE as u64);
    let backing = Arc::new(ZeroBacking { memory: memory.clone(), size, charged });
    Ok(PageCache::new_owned(memory, backing))
}
