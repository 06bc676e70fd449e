//! What happens to cached pages behind the backs of those who use them: write-back, truncation,
//! eviction. All of it needs the *reverse map*: the address spaces that map the object.
//!
//! **Write-back** clears the dirty marks first, then takes the right to write away from all shared
//! mappings, and writes last: a store after that faults and marks the page dirty again, so nothing
//! is lost. **Truncation and eviction** take the page out of the tree or the mappings away first and
//! look at the count of the frame afterwards; a frame that somebody still pins stays until then.
//!
//! The reverse map works with the spin lock of an address space only, never with its sleeping lock:
//! reclaim runs inside of a page fault.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use base::{PAGE_SIZE, Pfn, PhysAddr, PollEvents, Result};

use crate::frame::FrameRun;
use crate::page_cache::{CHUNK, PageCache, bit};
use crate::space::AddressSpace;

/// Most pages of one write to the backing.
const WRITE_RUN: u64 = 256;

/// How hard eviction tries.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Evict {
    /// Pages that nobody used since the hand came by; takes the marks off the others.
    Unused,
    /// Pages that are not mapped.
    Unmapped,
    /// Clean pages, mapped or not.
    Any,
}

impl PageCache {
    /// A VMA of `space` maps this object now.
    pub(crate) fn attach(&self, id: u64, space: &Weak<AddressSpace>, writable: bool) {
        self.mappers.lock().entry(id).or_insert_with(|| (space.clone(), 0)).1 += 1;
        if writable {
            self.writable_maps.fetch_add(1, Ordering::AcqRel);
        }
    }
    /// One VMA less.
    pub(crate) fn detach(&self, id: u64, writable: bool) {
        let mut m = self.mappers.lock();
        if let Some(e) = m.get_mut(&id) {
            e.1 -= 1;
            if e.1 == 0 {
                m.remove(&id);
            }
        }
        drop(m);
        if writable {
            self.writable_maps.fetch_sub(1, Ordering::AcqRel);
        }
    }
    /// Whether some address space maps it shared and may write (F_SEAL_WRITE, ETXTBSY).
    pub fn mapped_writable(&self) -> bool {
        self.writable_maps.load(Ordering::Acquire) > 0
    }
    /// Whether some address space maps it at all.
    pub fn mapped(&self) -> bool {
        !self.mappers.lock().is_empty()
    }
    fn spaces(&self) -> Vec<Arc<AddressSpace>> {
        let m = self.mappers.lock();
        let weak: Vec<Weak<AddressSpace>> = m.values().map(|v| v.0.clone()).collect();
        drop(m); // a space that goes with our reference detaches itself
        weak.iter().filter_map(Weak::upgrade).collect()
    }

    /// Takes the next dirty pages of `from..=last` that are not being written: clears their marks.
    fn take_dirty(&self, from: u64, last: u64) -> Option<(u64, Vec<Pfn>)> {
        let size_pages = self.size_pages();
        let mut t = self.tree.lock();
        let limit = last.min(size_pages.checked_sub(1)?);
        if from > limit {
            return None; // BTreeMap::range takes no range that runs backwards
        }
        let (_, first) = t
            .chunks
            .range(from / CHUNK..=limit / CHUNK)
            .filter_map(|(n, c)| {
                let base = n * CHUNK;
                let mut m = c.dirty & !c.writeback;
                if base < from {
                    m &= !0 << (from - base);
                }
                (m != 0).then(|| (n, base + u64::from(m.trailing_zeros())))
            })
            .next()?;
        if first > limit {
            return None;
        }
        let mut pfns = Vec::new();
        for i in first..=limit.min(first + WRITE_RUN - 1) {
            let Some(c) = t.chunk_mut(i) else { break };
            if c.dirty & !c.writeback & bit(i) == 0 {
                break;
            }
            c.dirty &= !bit(i);
            c.writeback |= bit(i);
            let pfn = Pfn(c.pfns[(i % CHUNK) as usize]);
            self.memory.frames.get(pfn);
            pfns.push(pfn);
        }
        t.dirty -= pfns.len() as u64;
        drop(t);
        self.memory.dirty.fetch_sub(pfns.len() as u64, Ordering::Relaxed);
        Some((first, pfns))
    }

    /// Writes what `take_dirty` took.
    fn write_taken(&self, first: u64, pfns: Vec<Pfn>) -> Result<()> {
        let n = pfns.len() as u64;
        if self.mapped_writable() {
            for s in self.spaces() {
                s.clean_object(self.id(), first, first + n);
            }
        }
        self.count_io(&self.memory.writeback, n, true);
        let addrs: Vec<PhysAddr> = pfns.iter().map(|p| p.addr()).collect();
        let result = self.backing().and_then(|b| b.write_pages(first, &addrs));
        self.count_io(&self.memory.writeback, n, false);
        {
            let mut t = self.tree.lock();
            for i in first..first + n {
                let Some(c) = t.chunk_mut(i) else { continue };
                c.writeback &= !bit(i);
                if c.present | c.reading | c.writeback == 0 {
                    t.chunks.remove(&(i / CHUNK));
                }
            }
        }
        // What `write` stored beyond the size of now was not written: it must stay dirty.
        let (size, high) = (self.size(), self.high.load(Ordering::Acquire));
        if result.is_err() {
            self.mark_dirty_run(first, n);
        } else if high > size && !size.is_multiple_of(PAGE_SIZE as u64) {
            let page = size / PAGE_SIZE as u64;
            if page >= first && page < first + n {
                self.mark_dirty(page);
            }
        }
        self.waiters.wake_all(PollEvents::empty());
        self.memory.frames.put_all(pfns);
        result
    }

    /// Writes the dirty pages of `first..=last` and waits for those that somebody else is writing.
    ///
    /// # Errors
    /// What the backing says; the pages stay dirty. The rest is tried all the same.
    pub fn sync_range(&self, first: u64, last: u64) -> Result<()> {
        let mut result = Ok(());
        let mut from = first;
        while let Some((at, pfns)) = self.take_dirty(from, last) {
            from = at + pfns.len() as u64;
            result = result.and(self.write_taken(at, pfns));
        }
        let busy: Vec<u64> = {
            let t = self.tree.lock();
            let chunks = t.chunks.range(first / CHUNK..=last / CHUNK);
            chunks.filter(|c| c.1.writeback != 0).map(|c| *c.0).collect()
        };
        for n in busy {
            for i in (n * CHUNK).max(first)..(n * CHUNK + CHUNK).min(last.saturating_add(1)) {
                self.wait_idle(i, true);
            }
        }
        result
    }

    /// Writes up to about `max` dirty pages; returns how many.
    pub(crate) fn write_some(&self, max: u64) -> Result<u64> {
        let (mut from, mut done) = (0, 0);
        while done < max
            && let Some((at, pfns)) = self.take_dirty(from, u64::MAX)
        {
            let n = pfns.len() as u64;
            from = at + n;
            self.write_taken(at, pfns)?;
            done += n;
        }
        Ok(done)
    }

    /// The object has `new_size` bytes now (its backing says so already): pages beyond are dropped
    /// and unmapped from every address space, private copies included, and the rest of the last
    /// page becomes zeros. Growing, it forgets nothing.
    pub fn truncate(&self, new_size: u64) {
        const PAGE: u64 = PAGE_SIZE as u64;
        let _changing = self.changing();
        self.high.fetch_min(new_size, Ordering::AcqRel);
        let first = base::addr::pages_for(new_size);
        self.drop_range(first, u64::MAX, true);
        if !new_size.is_multiple_of(PAGE)
            && let Some(run) = self.pin_run(new_size / PAGE, 1)
        {
            let from = run.start().addr().add((new_size % PAGE) as usize);
            let len = (PAGE - new_size % PAGE) as usize;
            self.memory.machine().phys().zero_bytes(from, len);
        }
    }

    /// Drops pages `first..=last`, dirty or not, and unmaps them (punched holes, O_DIRECT writes,
    /// an inode that is deleted). Private copies of processes stay.
    pub fn invalidate(&self, first: u64, last: u64) {
        let _changing = self.changing();
        self.drop_range(first, last, false);
    }

    fn drop_range(&self, first: u64, last: u64, even_copies: bool) {
        loop {
            let mut busy = None;
            let mut gone = Vec::new();
            {
                let mut t = self.tree.lock();
                let numbers: Vec<u64> =
                    t.chunks.range(first / CHUNK..=last / CHUNK).map(|c| *c.0).collect();
                let dirty = t.dirty;
                for i in numbers.iter().flat_map(|n| n * CHUNK..(n + 1) * CHUNK) {
                    if i < first || i > last {
                        continue;
                    }
                    let Some(c) = t.chunk(i) else { continue };
                    if (c.reading | c.writeback) & bit(i) != 0 {
                        busy = Some(i);
                    } else if let Some((pfn, _)) = t.remove(i) {
                        gone.push(pfn);
                    }
                }
                let cleaned = dirty - t.dirty;
                self.memory.dirty.fetch_sub(cleaned, Ordering::Relaxed);
            }
            // The tree's references keep the frames until nobody maps them any more.
            for s in self.spaces() {
                s.unmap_object(self.id(), first, last, even_copies);
            }
            self.memory.frames.put_all(gone);
            match busy {
                Some(i) => self.wait_idle(i, true),
                None => return,
            }
        }
    }

    /// Drops clean pages that nobody uses; returns how many.
    pub fn drop_clean(&self) -> u64 {
        self.evict(u64::MAX, Evict::Unmapped)
    }

    /// Gives up to `max` clean pages back.
    pub(crate) fn evict(&self, max: u64, how: Evict) -> u64 {
        if !self.evictable() || max == 0 {
            return 0;
        }
        if how == Evict::Any {
            self.unmap_clean(max);
        }
        let mut out: Vec<FrameRun> = Vec::new();
        let frames = &self.memory.frames;
        let mut t = self.tree.lock();
        let numbers: Vec<u64> = t.chunks.keys().copied().collect();
        'all: for n in numbers {
            let Some(c) = t.chunks.get_mut(&n) else { continue };
            let mut m = c.present & !c.dirty & !c.writeback;
            if how == Evict::Unused {
                m &= !c.referenced;
                c.referenced = 0;
            }
            while m != 0 {
                if out.len() as u64 >= max {
                    break 'all;
                }
                let i = u64::from(m.trailing_zeros());
                m &= m - 1;
                let index = n * CHUNK + i;
                let alone = t.present(index).is_some_and(|p| frames.count(p) == 1);
                if alone && let Some((pfn, _)) = t.remove(index) {
                    out.push(FrameRun::from_raw(frames, pfn, 1));
                }
            }
        }
        drop(t);
        let n = out.len() as u64;
        frames.put_all(out.into_iter().map(FrameRun::into_pfn));
        n
    }

    /// Unmaps some clean pages from all spaces, so that `evict` can take them.
    fn unmap_clean(&self, max: u64) {
        if !self.mapped() {
            return;
        }
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        let mut left = max;
        {
            let t = self.tree.lock();
            for (n, c) in &t.chunks {
                let clean = c.present & !c.dirty;
                if clean != 0 && left > 0 {
                    left = left.saturating_sub(u64::from(clean.count_ones()));
                    match ranges.last_mut() {
                        Some(r) if r.1 + 1 == n * CHUNK => r.1 = n * CHUNK + CHUNK - 1,
                        _ => ranges.push((n * CHUNK, n * CHUNK + CHUNK - 1)),
                    }
                }
            }
        }
        for s in self.spaces() {
            for &(a, b) in &ranges {
                s.unmap_object(self.id(), a, b, false);
            }
        }
    }
}
