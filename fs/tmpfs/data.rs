//! The content of a regular file of tmpfs: the set of pages that were ever written, each counted
//! against the instance's bound, and the size. The bytes are in the page cache, which may not give
//! them up.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use base::{PAGE_SIZE, PhysAddr, Rank, Result, SpinLock};
use mm::{Backing, Memory};

use super::TmpFs;

/// Disjoint ranges of page numbers: start to end (exclusive).
#[derive(Debug, Default)]
pub(super) struct PageSet {
    ranges: BTreeMap<u64, u64>,
    count: u64,
}

impl PageSet {
    /// How many pages of `start..end` are not in it.
    fn missing(&self, start: u64, end: u64) -> u64 {
        let mut n = end - start;
        let before = self.ranges.range(..start).next_back();
        let inside = self.ranges.range(start..end);
        for (s, e) in before.into_iter().chain(inside) {
            n -= (*e).min(end).saturating_sub((*s).max(start));
        }
        n
    }

    fn insert(&mut self, start: u64, end: u64) {
        self.count += self.missing(start, end);
        let (mut s, mut e) = (start, end);
        // Merge with the neighbours that overlap or touch.
        if let Some((ps, pe)) = self.ranges.range(..=start).next_back().map(|(a, b)| (*a, *b))
            && pe >= start
        {
            s = ps;
            e = e.max(pe);
        }
        let gone: Vec<u64> = self.ranges.range(s..=e).map(|(a, _)| *a).collect();
        for g in gone {
            if let Some(ge) = self.ranges.remove(&g) {
                e = e.max(ge);
            }
        }
        self.ranges.insert(s, e);
    }

    /// Takes `start..end` out; returns how many pages were there.
    fn remove(&mut self, start: u64, end: u64) -> u64 {
        if start >= end {
            return 0;
        }
        let n = (end - start) - self.missing(start, end);
        let mut touched: Vec<(u64, u64)> =
            self.ranges.range(start..end).map(|(a, b)| (*a, *b)).collect();
        if let Some((a, b)) = self.ranges.range(..start).next_back().map(|(a, b)| (*a, *b))
            && b > start
        {
            touched.push((a, b));
        }
        for (a, b) in touched {
            self.ranges.remove(&a);
            if a < start {
                self.ranges.insert(a, start);
            }
            if b > end {
                self.ranges.insert(end, b);
            }
        }
        self.count -= n;
        n
    }

    /// The first page at or after `page` that is in it (`present`) or not.
    fn next(&self, page: u64, present: bool) -> Option<u64> {
        let at = self.ranges.range(..=page).next_back().filter(|(_, e)| **e > page);
        match (at, present) {
            (Some(_), true) => Some(page),
            (Some((_, e)), false) => Some(*e),
            (None, false) => Some(page),
            (None, true) => self.ranges.range(page..).next().map(|(s, _)| *s),
        }
    }
}

pub(super) struct Data {
    fs: Weak<TmpFs>,
    memory: Arc<Memory>,
    pub(super) size: AtomicU64,
    pages: SpinLock<PageSet>,
}

const PAGE: u64 = PAGE_SIZE as u64;

impl Data {
    pub(super) fn new(fs: &Arc<TmpFs>) -> Arc<Data> {
        Arc::new(Data {
            fs: Arc::downgrade(fs),
            memory: fs.memory.clone(),
            size: AtomicU64::new(0),
            pages: SpinLock::new(Rank::Inode, PageSet::default()),
        })
    }

    /// Counts the pages of a byte range as present.
    pub(super) fn reserve(&self, offset: u64, len: u64) -> Result<()> {
        if len == 0 {
            return Ok(());
        }
        let (first, last) = (offset / PAGE, (offset + len - 1) / PAGE);
        let mut p = self.pages.lock();
        let n = p.missing(first, last + 1);
        if n > 0 {
            if let Some(fs) = self.fs.upgrade() {
                fs.take_pages(n)?;
            }
            p.insert(first, last + 1);
        }
        Ok(())
    }

    /// Pages `first..end` are gone.
    pub(super) fn release(&self, first: u64, end: u64) {
        let n = self.pages.lock().remove(first, end);
        if let Some(fs) = self.fs.upgrade() {
            fs.give_pages(n);
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.pages.lock().count
    }

    /// As `seek_hole_data`, without looking at the size.
    pub(super) fn next(&self, offset: u64, data: bool) -> Option<u64> {
        let page = self.pages.lock().next(offset / PAGE, data)?;
        Some((page * PAGE).max(offset))
    }

    /// Bytes of the hole at `offset`; None if there is a page.
    pub(super) fn hole(&self, offset: u64) -> Option<u64> {
        let size = self.size.load(Ordering::Acquire);
        let p = self.pages.lock();
        let first = p.ranges.range(..=offset / PAGE).next_back();
        if first.is_some_and(|(_, e)| *e > offset / PAGE) || offset >= size {
            return None;
        }
        let end = p.next(offset / PAGE, true).map_or(size, |n| (n * PAGE).min(size));
        Some(end - offset)
    }
}

impl Backing for Data {
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
    fn make_writable(&self, index: u64) -> Result<()> {
        self.reserve(index * PAGE, 1)
    }
    fn evictable(&self) -> bool {
        false
    }
}

impl Drop for Data {
    fn drop(&mut self) {
        if let Some(fs) = self.fs.upgrade() {
            fs.give_pages(self.pages.get_mut().count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::PageSet;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn page_set_behaves_as_a_set(ops in proptest::collection::vec((any::<bool>(), 0u64..60, 1u64..20), 1..60)) {
            let (mut set, mut model) = (PageSet::default(), BTreeSet::new());
            for (add, start, len) in ops {
                let end = start + len;
                let missing = (start..end).filter(|p| !model.contains(p)).count() as u64;
                prop_assert_eq!(set.missing(start, end), missing);
                if add {
                    set.insert(start, end);
                    model.extend(start..end);
                } else {
                    let n = set.remove(start, end);
                    prop_assert_eq!(n, len - missing);
                    model.retain(|p| *p < start || *p >= end);
                }
                prop_assert_eq!(set.count, model.len() as u64);
                for p in 0..80 {
                    prop_assert_eq!(set.next(p, true), model.range(p..).next().copied());
                    prop_assert_eq!(set.next(p, false), (p..).find(|x| !model.contains(x)));
                }
            }
        }
    }
}
