//! The software page table: the truth about which frame is where. (The stub's host mappings are
//! only a TLB in front of it, see host_map.rs.)
//!
//! A radix of two levels: a sorted directory of *leaves* of 512 entries (2 MiB). Leaves are behind
//! `Arc`, so that fork copies pointers and not entries; whoever changes a leaf that is shared
//! copies it first (`Arc::make_mut`), which takes one reference more on each of its frames.
//!
//! So a frame may be written through an anonymous entry only if it is **exclusive**: the leaf is
//! held by this table alone, and the frame's count is one. No entry has a "writable" bit that could
//! become wrong: fork changes nothing in the entries.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use base::Pfn;

use crate::frame::FrameTable;

/// Entries in a leaf.
pub(crate) const LEAF: u64 = 512;

/// One entry.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Pte(u64);

impl Pte {
    const PRESENT: u64 = 1;
    const ANON: u64 = 2;
    const WRITABLE: u64 = 4;
    const SHM: u64 = 8;

    /// A private page: nobody's but the process's (and of those it was forked from).
    pub(crate) fn anon(pfn: Pfn) -> Pte {
        Pte(u64::from(pfn.0) << 32 | Self::PRESENT | Self::ANON)
    }
    /// A page of an object. `writable`: the object counts it as dirty, so it may be written.
    pub(crate) fn object(pfn: Pfn, shm: bool, writable: bool) -> Pte {
        let mut v = u64::from(pfn.0) << 32 | Self::PRESENT;
        if shm {
            v |= Self::SHM;
        }
        if writable {
            v |= Self::WRITABLE;
        }
        Pte(v)
    }
    #[inline]
    pub(crate) fn present(self) -> bool {
        self.0 & Self::PRESENT != 0
    }
    #[inline]
    pub(crate) fn is_anon(self) -> bool {
        self.0 & Self::ANON != 0
    }
    /// Object page that may be written now.
    #[inline]
    pub(crate) fn writable(self) -> bool {
        self.0 & Self::WRITABLE != 0
    }
    pub(crate) fn with_writable(self, on: bool) -> Pte {
        if on { Pte(self.0 | Self::WRITABLE) } else { Pte(self.0 & !Self::WRITABLE) }
    }
    #[inline]
    pub(crate) fn pfn(self) -> Pfn {
        Pfn((self.0 >> 32) as u32)
    }
    fn class(self) -> usize {
        if self.is_anon() {
            0
        } else if self.0 & Self::SHM != 0 {
            2
        } else {
            1
        }
    }
}

/// 512 entries; holds one reference to the frame of each present one.
#[derive(Debug)]
pub(crate) struct Leaf {
    frames: Arc<FrameTable>,
    ptes: [Pte; LEAF as usize],
    counts: [u16; 3],
}

impl Leaf {
    fn new(frames: &Arc<FrameTable>) -> Leaf {
        frames.leaves.fetch_add(1, Ordering::Relaxed);
        Leaf { frames: frames.clone(), ptes: [Pte::default(); LEAF as usize], counts: [0; 3] }
    }
    fn is_empty(&self) -> bool {
        self.counts == [0; 3]
    }
    /// The entry of a page that lies here.
    #[inline]
    pub(crate) fn get(&self, vpn: u64) -> Pte {
        self.ptes[(vpn % LEAF) as usize]
    }
    fn set(&mut self, i: usize, pte: Pte) -> Pte {
        let old = std::mem::replace(&mut self.ptes[i], pte);
        if old.present() {
            self.counts[old.class()] -= 1;
        }
        if pte.present() {
            self.counts[pte.class()] += 1;
        }
        old
    }
    /// How many pages are present.
    pub(crate) fn pages(&self) -> u64 {
        self.counts.iter().map(|c| u64::from(*c)).sum()
    }
}

impl Clone for Leaf {
    fn clone(&self) -> Self {
        for p in self.ptes.iter().filter(|p| p.present()) {
            self.frames.get(p.pfn());
        }
        self.frames.leaves.fetch_add(1, Ordering::Relaxed);
        Leaf { frames: self.frames.clone(), ptes: self.ptes, counts: self.counts }
    }
}

impl Drop for Leaf {
    fn drop(&mut self) {
        self.frames.leaves.fetch_sub(1, Ordering::Relaxed);
        if !self.is_empty() {
            self.frames.put_all(self.ptes.iter().filter(|p| p.present()).map(|p| p.pfn()));
        }
    }
}

/// References that were taken out of a table and may be dropped only when the host no longer maps
/// the frames.
#[derive(Debug, Default)]
pub(crate) struct Garbage {
    leaves: Vec<Arc<Leaf>>,
    pfns: Vec<Pfn>,
    frames: Option<Arc<FrameTable>>,
    /// An estimate of how many frames wait here.
    pub(crate) pages: u64,
}

impl Garbage {
    pub(crate) fn is_empty(&self) -> bool {
        self.leaves.is_empty() && self.pfns.is_empty()
    }
    pub(crate) fn push(&mut self, frames: &Arc<FrameTable>, pfn: Pfn) {
        if self.frames.is_none() {
            self.frames = Some(frames.clone());
        }
        self.pfns.push(pfn);
        self.pages += 1;
    }
    /// Both together.
    pub(crate) fn and(mut self, mut other: Garbage) -> Garbage {
        self.leaves.append(&mut other.leaves);
        self.pfns.append(&mut other.pfns);
        self.pages += other.pages;
        if self.frames.is_none() {
            self.frames = other.frames.take();
        }
        self
    }
    fn push_leaf(&mut self, leaf: Arc<Leaf>) {
        self.pages += leaf.pages();
        self.leaves.push(leaf);
    }
}

impl Drop for Garbage {
    fn drop(&mut self) {
        if let Some(f) = &self.frames {
            f.put_all(self.pfns.drain(..));
        }
    }
}

/// The page table of one address space.
#[derive(Debug)]
pub(crate) struct PageTable {
    frames: Arc<FrameTable>,
    leaves: BTreeMap<u64, Arc<Leaf>>,
    counts: [u64; 3],
    peak: u64,
}

impl PageTable {
    pub(crate) fn new(frames: &Arc<FrameTable>) -> PageTable {
        PageTable { frames: frames.clone(), leaves: BTreeMap::new(), counts: [0; 3], peak: 0 }
    }

    /// A table that shares all leaves with this one.
    pub(crate) fn fork(&self) -> PageTable {
        self.frames.mapped.fetch_add(self.counts[1] + self.counts[2], Ordering::Relaxed);
        PageTable {
            frames: self.frames.clone(),
            leaves: self.leaves.clone(),
            counts: self.counts,
            peak: self.resident(),
        }
    }

    /// Resident pages: anonymous, of files, of shared memory.
    pub(crate) fn counts(&self) -> [u64; 3] {
        self.counts
    }
    pub(crate) fn resident(&self) -> u64 {
        self.counts.iter().sum()
    }
    pub(crate) fn peak(&self) -> u64 {
        self.peak.max(self.resident())
    }
    pub(crate) fn leaf_count(&self) -> u64 {
        self.leaves.len() as u64
    }

    /// The leaf that has the entry of `vpn`.
    #[inline]
    pub(crate) fn leaf(&self, vpn: u64) -> Option<&Leaf> {
        self.leaves.get(&(vpn / LEAF)).map(|l| &**l)
    }

    #[inline]
    pub(crate) fn get(&self, vpn: u64) -> Pte {
        match self.leaves.get(&(vpn / LEAF)) {
            Some(l) => l.ptes[(vpn % LEAF) as usize],
            None => Pte::default(),
        }
    }

    /// The entry, and whether it is anonymous and exclusive (see the module's header).
    #[inline]
    pub(crate) fn get_exclusive(&self, vpn: u64) -> (Pte, bool) {
        match self.leaves.get(&(vpn / LEAF)) {
            Some(l) => {
                let pte = l.ptes[(vpn % LEAF) as usize];
                (pte, self.exclusive(l, pte))
            }
            None => (Pte::default(), false),
        }
    }

    #[inline]
    fn exclusive(&self, leaf: &Arc<Leaf>, pte: Pte) -> bool {
        // A count of one cannot grow behind our back: only a holder can clone.
        pte.present()
            && pte.is_anon()
            && Arc::strong_count(leaf) == 1
            && self.frames.count(pte.pfn()) == 1
    }

    /// Calls `f(vpn, pte, exclusive)` for the pages from `vpn` on, upwards or downwards, while it
    /// returns true and the page lies in `lo..hi`. Absent pages come as such.
    pub(crate) fn walk(
        &self,
        vpn: u64,
        (lo, hi): (u64, u64),
        up: bool,
        mut f: impl FnMut(u64, Pte, bool) -> bool,
    ) {
        let mut v = vpn;
        let mut cached: Option<(u64, Option<&Arc<Leaf>>)> = None;
        while v >= lo && v < hi {
            let n = v / LEAF;
            let leaf = match cached {
                Some((m, l)) if m == n => l,
                _ => {
                    let l = self.leaves.get(&n);
                    cached = Some((n, l));
                    l
                }
            };
            let (pte, excl) = match leaf {
                Some(l) => {
                    let p = l.ptes[(v % LEAF) as usize];
                    (p, self.exclusive(l, p))
                }
                None => (Pte::default(), false),
            };
            if !f(v, pte, excl) {
                return;
            }
            if up {
                v += 1;
            } else if v == 0 {
                return;
            } else {
                v -= 1;
            }
        }
    }

    /// Calls `f` for each present page of `lo..hi`; skips what has no leaf.
    pub(crate) fn for_each(&self, lo: u64, hi: u64, mut f: impl FnMut(u64, Pte)) {
        if lo >= hi {
            return;
        }
        for (n, leaf) in self.leaves.range(lo / LEAF..=(hi - 1) / LEAF) {
            let base = n * LEAF;
            for v in lo.max(base)..hi.min(base + LEAF) {
                let p = leaf.ptes[(v - base) as usize];
                if p.present() {
                    f(v, p);
                }
            }
        }
    }

    /// Puts an entry, which takes over a reference to its frame; the old one's passes to the caller.
    pub(crate) fn set(&mut self, vpn: u64, pte: Pte) -> Pte {
        let leaf =
            self.leaves.entry(vpn / LEAF).or_insert_with(|| Arc::new(Leaf::new(&self.frames)));
        let old = Arc::make_mut(leaf).set((vpn % LEAF) as usize, pte);
        if old.present() {
            self.forget(old.class(), 1);
        }
        if pte.present() {
            self.counts[pte.class()] += 1;
            if !pte.is_anon() {
                self.frames.mapped.fetch_add(1, Ordering::Relaxed);
            }
        }
        old
    }

    fn forget(&mut self, class: usize, n: u64) {
        self.counts[class] -= n;
        if class > 0 {
            self.frames.mapped.fetch_sub(n, Ordering::Relaxed);
        }
    }

    /// Puts entries where nothing was, in the order of their pages. They take over a reference each.
    pub(crate) fn fill(&mut self, entries: impl IntoIterator<Item = (u64, Pte)>) {
        let mut entries = entries.into_iter().peekable();
        while let Some(&(first, _)) = entries.peek() {
            let n = first / LEAF;
            let leaf = self.leaves.entry(n).or_insert_with(|| Arc::new(Leaf::new(&self.frames)));
            let leaf = Arc::make_mut(leaf);
            let before = leaf.counts;
            while let Some((vpn, pte)) = entries.next_if(|e| e.0 / LEAF == n) {
                let old = leaf.set((vpn % LEAF) as usize, pte);
                debug_assert!(!old.present(), "a new run covers nothing");
            }
            let added = [0, 1, 2].map(|c| u64::from(leaf.counts[c] - before[c]));
            for (count, n) in self.counts.iter_mut().zip(added) {
                *count += n;
            }
            if added[1] + added[2] > 0 {
                self.frames.mapped.fetch_add(added[1] + added[2], Ordering::Relaxed);
            }
        }
    }

    /// Puts `n` anonymous entries for contiguous frames where nothing was.
    pub(crate) fn set_anon_run(&mut self, vpn: u64, pfn: Pfn, n: u32) {
        self.fill((0..n).map(|i| (vpn + u64::from(i), Pte::anon(pfn.add(i)))));
    }

    /// Empties `lo..hi`; the references go to `out`.
    pub(crate) fn clear_range(&mut self, lo: u64, hi: u64, out: &mut Garbage) {
        if lo >= hi {
            return;
        }
        self.peak = self.peak();
        let numbers: Vec<u64> =
            self.leaves.range(lo / LEAF..=(hi - 1) / LEAF).map(|l| *l.0).collect();
        for n in numbers {
            let base = n * LEAF;
            let (a, b) = (lo.max(base) - base, hi.min(base + LEAF) - base);
            if a > 0 || b < LEAF {
                let leaf = self.leaves.get_mut(&n).expect("listed above");
                if leaf.ptes[a as usize..b as usize].iter().all(|p| !p.present()) {
                    continue;
                }
                let leaf = Arc::make_mut(leaf);
                let before = leaf.counts;
                for i in a..b {
                    let old = leaf.set(i as usize, Pte::default());
                    if old.present() {
                        out.push(&self.frames, old.pfn());
                    }
                }
                let (after, empty) = (leaf.counts, leaf.is_empty());
                for class in 0..3 {
                    self.forget(class, u64::from(before[class] - after[class]));
                }
                if !empty {
                    continue;
                }
            }
            if let Some(leaf) = self.leaves.remove(&n) {
                for class in 0..3 {
                    self.forget(class, u64::from(leaf.counts[class]));
                }
                out.push_leaf(leaf);
            }
        }
    }

    /// Moves the entries of `from..from + n` to `to`, where nothing may be.
    pub(crate) fn move_range(&mut self, from: u64, to: u64, n: u64) {
        let mut moved = Vec::new();
        self.for_each(from, from + n, |v, p| moved.push((v, p)));
        for (v, p) in moved {
            // The reference moves along with the entry.
            self.set(v, Pte::default());
            self.set(to + (v - from), p);
        }
        let empty: Vec<u64> = self
            .leaves
            .range(from / LEAF..=(from + n.max(1) - 1) / LEAF)
            .filter(|l| l.1.is_empty())
            .map(|l| *l.0)
            .collect();
        for n in empty {
            self.leaves.remove(&n);
        }
    }
}

impl Drop for PageTable {
    fn drop(&mut self) {
        self.frames.mapped.fetch_sub(self.counts[1] + self.counts[2], Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Kind, Place};
    use arch::PhysMem;

    #[test]
    fn fork_shares_leaves_until_one_side_writes() {
        let t = FrameTable::new(Arc::new(PhysMem::new(1024 * 4096).unwrap()));
        let mut a = PageTable::new(&t);
        let run = t.alloc(16, Place::Any, Kind::Anon, 0).unwrap();
        let (pfn, n) = (run.start(), run.len());
        run.into_pfn();
        a.set_anon_run(1000, pfn, n);
        assert!(a.get_exclusive(1003).1);
        let mut b = a.fork();
        assert!(!a.get_exclusive(1003).1);
        let f = t.alloc(1, Place::Any, Kind::Anon, 0).unwrap().into_pfn();
        let old = b.set(1003, Pte::anon(f));
        t.put(old.pfn());
        assert_eq!(a.get(1003).pfn(), pfn.add(3));
        assert!(a.get_exclusive(1003).1 && !a.get_exclusive(1004).1);
        drop(b);
        assert!(a.get_exclusive(1004).1);
        let mut g = Garbage::default();
        a.clear_range(0, 1 << 30, &mut g);
        assert_eq!((a.resident(), a.peak()), (0, 16));
        drop(g);
        assert_eq!(t.free_pages(), 1024);
    }
}
