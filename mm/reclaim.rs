//! Getting frames back, and writing dirty pages.
//!
//! A clock over all page caches: the hand goes from cache to cache by id, and in a cache from page
//! to page. A page that was used since the hand came by last loses its *referenced* mark and stays;
//! others go, if they are clean. Four rounds, each harder: unused and unmapped pages; the same with
//! the marks ignored; mapped pages too (they are unmapped from all spaces first); and, where the
//! caller may do I/O, dirty pages are written and then given up.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use base::Result;

use crate::cache_sync::Evict;
use crate::frame::Kind;
use crate::memory::{Memory, Need};
use crate::page_cache::PageCache;

/// Pages written by one call of `before_user`.
const WRITE_BATCH: u64 = 1024;

impl Memory {
    /// Up to 16 caches after the hand, in order; the hand moves on.
    fn next_caches(&self) -> Vec<Arc<PageCache>> {
        let caches = self.caches.lock();
        let hand = self.hand.load(Ordering::Relaxed);
        let found: Vec<_> = caches
            .range(hand..)
            .chain(caches.range(..hand))
            .take(16)
            .filter_map(|(id, c)| Some((*id, c.upgrade()?)))
            .collect();
        drop(caches);
        if let Some((id, _)) = found.last() {
            self.hand.store(id + 1, Ordering::Relaxed);
        }
        found.into_iter().map(|(_, c)| c).collect()
    }

    /// Calls `f` for caches in turn, each at most once, until it returns false.
    fn for_caches(&self, mut f: impl FnMut(&Arc<PageCache>) -> bool) {
        let total = self.caches.lock().len();
        let mut seen = 0;
        while seen < total {
            let batch = self.next_caches();
            if batch.is_empty() {
                return;
            }
            seen += batch.len();
            for c in &batch {
                if !f(c) {
                    return;
                }
            }
        }
    }

    /// Frees up to about `target` frames; returns how many. Pages that are mapped go only if `mapped`.
    pub(crate) fn reclaim(&self, target: u64, need: Need, mapped: bool) -> u64 {
        if self.frames.used(Kind::Cache) == 0 {
            return 0;
        }
        let mut freed = 0;
        for how in [Evict::Unused, Evict::Unmapped, Evict::Any] {
            if how == Evict::Any && !mapped {
                break;
            }
            self.for_caches(|c| {
                freed += c.evict(target - freed, how);
                freed < target
            });
            if freed >= target {
                return freed;
            }
        }
        if freed == 0 && need == Need::Write && self.write_back(target.max(64)) > 0 {
            self.for_caches(|c| {
                freed += c.evict(target - freed, if mapped { Evict::Any } else { Evict::Unmapped });
                freed < target
            });
        }
        freed
    }

    /// More dirty pages than this, and those who make them have to help writing.
    pub(crate) fn dirty_limit(&self) -> u64 {
        u64::from(self.frames.total()) / 4
    }

    /// Writes dirty pages of all files, up to about `max`; returns how many were written. For a
    /// flusher, sync(2) and the way back to user mode: the caller holds no lock.
    pub fn write_back(&self, max: u64) -> u64 {
        // Whoever comes second leaves it to the first: a file system that allocates memory inside
        // of `write_pages` must not start over.
        let Some(_turn) = self.writer.try_lock() else { return 0 };
        let mut left = max;
        self.for_caches(|c| {
            left -= c.write_some(left).unwrap_or(0).min(left);
            left > 0
        });
        max - left
    }

    /// Writes all dirty pages of all files (sync(2)).
    ///
    /// # Errors
    /// The first error of a backing; the others are tried all the same.
    pub fn sync_all(&self) -> Result<()> {
        let mut result = Ok(());
        let all: Vec<_> =
            self.caches.lock().values().filter_map(std::sync::Weak::upgrade).collect();
        for c in all {
            if c.dirty_pages() > 0 {
                result = result.and(c.sync_range(0, u64::MAX));
            }
        }
        result
    }

    /// Gives up clean pages (`/proc/sys/vm/drop_caches`); returns how many.
    pub fn drop_caches(&self) -> u64 {
        let all: Vec<_> =
            self.caches.lock().values().filter_map(std::sync::Weak::upgrade).collect();
        all.iter().map(|c| c.drop_clean()).sum()
    }

    /// Work that waited for a moment without locks: keep dirty pages bounded and frames free.
    #[cold]
    pub(crate) fn relieve(&self) {
        self.pressure.store(0, Ordering::Relaxed);
        if self.dirty.load(Ordering::Relaxed) > self.dirty_limit() {
            self.write_back(WRITE_BATCH);
        }
        if self.frames.free_pages() < self.reserve() * 2 {
            // What is mapped stays: the page that the last fault has just brought in is among it.
            self.reclaim(u64::from(self.reserve()), Need::Write, false);
        }
    }

    /// A page became dirty.
    pub(crate) fn count_dirty(&self, pages: u64) {
        let now = self.dirty.fetch_add(pages, Ordering::Relaxed) + pages;
        if now > self.dirty_limit() {
            self.pressure.store(1, Ordering::Relaxed);
        }
    }
}
