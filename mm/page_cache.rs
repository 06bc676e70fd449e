//! The page cache (signatures; bodies follow).
use std::sync::{Arc, Weak};

use base::{Result, Sink, Source};

use crate::frame::Frame;
use crate::mappable::Backing;
use crate::memory::Memory;

/// The cached pages of one object.
#[derive(Debug)]
pub struct PageCache {
    id: u64,
}

impl PageCache {
    /// A cache over `backing`, which outlives it no longer than the inode does.
    pub fn new(_memory: &Arc<Memory>, _backing: Weak<dyn Backing>) -> Arc<PageCache> {
        todo!()
    }
    /// A cache that keeps its backing alive.
    pub fn new_owned(_memory: &Arc<Memory>, _backing: Arc<dyn Backing>) -> Arc<PageCache> {
        todo!()
    }
    /// Unique number of the object.
    pub fn id(&self) -> u64 {
        self.id
    }
    /// Copies up to `len` bytes from `off` to `sink`.
    ///
    /// # Errors
    /// EFAULT, EIO, ENOMEM, if nothing could be copied.
    pub fn read(self: &Arc<Self>, _off: u64, _sink: &mut dyn Sink, _len: usize) -> Result<usize> {
        todo!()
    }
    /// Copies up to `len` bytes from `source` to `off`; the caller updates the size.
    ///
    /// # Errors
    /// EFAULT, EIO, ENOMEM, if nothing could be copied.
    pub fn write(
        self: &Arc<Self>,
        _off: u64,
        _source: &mut dyn Source,
        _len: usize,
    ) -> Result<usize> {
        todo!()
    }
    /// The frame of a page, read if need be.
    ///
    /// # Errors
    /// EIO, ENOMEM.
    pub fn frame(self: &Arc<Self>, _index: u64, _for_write: bool) -> Result<Frame> {
        todo!()
    }
    /// Writes dirty pages `first..=last`.
    ///
    /// # Errors
    /// What the backing says; the pages stay dirty.
    pub fn sync_range(self: &Arc<Self>, _first: u64, _last: u64) -> Result<()> {
        todo!()
    }
    /// How many pages are dirty.
    pub fn dirty_pages(&self) -> u64 {
        todo!()
    }
    /// How many pages are cached.
    pub fn cached_pages(&self) -> u64 {
        todo!()
    }
    /// The object has `new_size` bytes now: drops and unmaps what lies beyond, zeroes the tail.
    pub fn truncate(self: &Arc<Self>, _new_size: u64) {
        todo!()
    }
    /// Drops pages `first..=last`, dirty or not, and unmaps them.
    pub fn invalidate(self: &Arc<Self>, _first: u64, _last: u64) {
        todo!()
    }
    /// Drops clean pages that nobody uses; returns how many.
    pub fn drop_clean(self: &Arc<Self>) -> u64 {
        todo!()
    }
    /// Marks a cached page dirty.
    pub fn mark_dirty(&self, _index: u64) {
        todo!()
    }
    /// Zeroes a byte range of the object's pages (fallocate ZERO_RANGE, PUNCH_HOLE).
    ///
    /// # Errors
    /// EIO, ENOMEM.
    pub fn zero_range(self: &Arc<Self>, _off: u64, _len: u64) -> Result<()> {
        todo!()
    }
    /// Reads pages `first..first + pages` into the cache as far as they are not there.
    ///
    /// # Errors
    /// EIO, ENOMEM.
    pub fn read_ahead(self: &Arc<Self>, _first: u64, _pages: u64) -> Result<()> {
        todo!()
    }
    /// Whether some address space maps it shared and writable.
    pub fn mapped_writable(&self) -> bool {
        todo!()
    }
}
