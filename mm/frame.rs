//! Frames: pages of guest-physical memory, each with a reference count in a side table.
//!
//! [`FrameTable`] owns the counts and the allocator. [`Frame`] is one counted reference,
//! [`FrameRun`] one reference to each of several contiguous frames. Page tables and page caches
//! store bare [`Pfn`]s and carry the counts by hand ([`FrameRun::into_pfn`], [`FrameTable::put`]): a
//! bare Pfn in such a table *is* a reference.
//!
//! Locks: `Rank::Frames` around the buddy allocator; counts are atomics.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use arch::{HUGE_PAGES, PhysMem};
use base::{Pfn, PhysAddr, Rank, SpinLock};

use crate::buddy::Buddy;

/// What a frame is used for, for the statistics.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Kind {
    Anon = 1,
    Cache = 2,
    Shm = 3,
    Kernel = 4,
}

/// Where frames should lie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    Any,
    /// From this one on; else as with `Room`.
    At(Pfn, u32),
    /// In a block of so many, whose rest then waits for those who continue.
    Room(u32),
}

/// Most frames that are committed ahead of their use.
const MAX_COMMIT: u32 = 2 * HUGE_PAGES;

/// Counts of all frames, and the free ones.
pub(crate) struct FrameTable {
    phys: Arc<PhysMem>,
    counts: Box<[AtomicU32]>,
    kinds: Box<[AtomicU8]>,
    buddy: SpinLock<Buddy>,
    /// Frames below this one have memory of the host's.
    committed: AtomicU32,
    free: AtomicU32,
    used: [AtomicU64; 5],
    /// Leaves of page tables, one page of host memory each.
    pub(crate) leaves: AtomicU64,
    /// Pages of objects that are mapped, once for each mapping.
    pub(crate) mapped: AtomicU64,
}

impl fmt::Debug for FrameTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FrameTable({} of {} free)", self.free_pages(), self.counts.len())
    }
}

impl FrameTable {
    pub(crate) fn new(phys: Arc<PhysMem>) -> Arc<FrameTable> {
        let n = phys.pages();
        Arc::new(FrameTable {
            counts: (0..n).map(|_| AtomicU32::new(0)).collect(),
            kinds: (0..n).map(|_| AtomicU8::new(0)).collect(),
            buddy: SpinLock::new(Rank::Frames, Buddy::new(n)),
            committed: AtomicU32::new(0),
            free: AtomicU32::new(n),
            used: Default::default(),
            leaves: AtomicU64::new(0),
            mapped: AtomicU64::new(0),
            phys,
        })
    }
    #[cfg(test)]
    pub(crate) fn phys(&self) -> &Arc<PhysMem> {
        &self.phys
    }
    pub(crate) fn total(&self) -> u32 {
        self.counts.len() as u32
    }
    pub(crate) fn free_pages(&self) -> u32 {
        self.free.load(Ordering::Relaxed)
    }
    pub(crate) fn used(&self, kind: Kind) -> u64 {
        self.used[kind as usize].load(Ordering::Relaxed)
    }

    /// Up to `want` contiguous frames with one reference each, leaving `reserve` frames alone.
    /// `place`: where they should lie, if that can be had.
    pub(crate) fn alloc(
        self: &Arc<Self>,
        want: u32,
        place: Place,
        kind: Kind,
        reserve: u32,
    ) -> Option<FrameRun> {
        let spare = self.free_pages().checked_sub(reserve)?;
        if spare == 0 {
            return None;
        }
        let want = want.min(spare);
        let (start, len, pristine) = {
            let mut buddy = self.buddy.lock();
            let mut found = None;
            let mut room = 0;
            match place {
                Place::Any => {}
                Place::At(start, n) => {
                    let run = buddy.alloc_at(start.0, want);
                    found = run.map(|(len, pristine)| (start.0, len, pristine));
                    room = n;
                }
                Place::Room(n) => room = n,
            }
            if found.is_none() && room > want && spare > room * 16 {
                let block = buddy.alloc(room);
                found = block.map(|(start, len, pristine)| {
                    let used = want.min(len);
                    buddy.free(start + used, len - used);
                    (start, used, pristine)
                });
            }
            found.or_else(|| buddy.alloc(want))?
        };
        if start + len > self.committed.load(Ordering::Relaxed) {
            self.commit(start + len);
        }
        self.free.fetch_sub(len, Ordering::Relaxed);
        self.used[kind as usize].fetch_add(u64::from(len), Ordering::Relaxed);
        for i in start..start + len {
            self.counts[i as usize].store(1, Ordering::Relaxed);
            self.kinds[i as usize].store(kind as u8, Ordering::Relaxed);
        }
        Some(FrameRun { table: self.clone(), start: Pfn(start), len, pristine })
    }

    /// Frames below `end` are used for the first time: has the host provide memory up to there, and as much
    /// again as there was, for what will be used next (the allocator takes the lowest first).
    #[cold]
    fn commit(&self, end: u32) {
        let have = self.committed.load(Ordering::Relaxed);
        let ahead = have + have.clamp(HUGE_PAGES, MAX_COMMIT);
        let to = end.max(ahead).next_multiple_of(HUGE_PAGES).min(self.total());
        let claim = self.committed.compare_exchange(have, to, Ordering::Relaxed, Ordering::Relaxed);
        // Else another CPU is about it.
        if claim.is_ok() && have < to {
            self.phys.commit(Pfn(have), to - have);
        }
    }

    #[inline]
    pub(crate) fn count(&self, pfn: Pfn) -> u32 {
        self.counts[pfn.0 as usize].load(Ordering::Acquire)
    }
    /// One reference more to a frame that somebody holds.
    #[inline]
    pub(crate) fn get(&self, pfn: Pfn) {
        self.counts[pfn.0 as usize].fetch_add(1, Ordering::Relaxed);
    }
    /// One reference less.
    #[inline]
    pub(crate) fn put(&self, pfn: Pfn) {
        if self.drop_ref(pfn) {
            self.free_run(pfn.0, 1);
        }
    }
    /// One reference less to each; contiguous ones are freed together.
    pub(crate) fn put_all(&self, pfns: impl IntoIterator<Item = Pfn>) {
        let (mut start, mut len) = (0, 0);
        for p in pfns {
            if !self.drop_ref(p) {
                continue;
            }
            if len > 0 && start + len == p.0 {
                len += 1;
            } else {
                self.free_run(start, len);
                (start, len) = (p.0, 1);
            }
        }
        self.free_run(start, len);
    }
    fn drop_ref(&self, pfn: Pfn) -> bool {
        let old = self.counts[pfn.0 as usize].fetch_sub(1, Ordering::AcqRel);
        debug_assert!(old > 0, "frame {pfn:?} has no reference to drop");
        if old != 1 {
            return false;
        }
        let kind = self.kinds[pfn.0 as usize].swap(0, Ordering::Relaxed);
        self.used[usize::from(kind)].fetch_sub(1, Ordering::Relaxed);
        true
    }
    fn free_run(&self, start: u32, len: u32) {
        if len > 0 {
            self.buddy.lock().free(start, len);
            self.free.fetch_add(len, Ordering::Relaxed);
        }
    }
}

const GONE: Pfn = Pfn(u32::MAX);

/// A counted reference to one frame. Cloning counts up, dropping counts down; the last one frees
/// the frame.
pub struct Frame {
    table: Arc<FrameTable>,
    pfn: Pfn,
}

impl Frame {
    /// Which frame it is.
    pub fn pfn(&self) -> Pfn {
        self.pfn
    }
    /// Its first byte.
    pub fn addr(&self) -> PhysAddr {
        self.pfn.addr()
    }
}

impl Clone for Frame {
    fn clone(&self) -> Self {
        self.table.get(self.pfn);
        Frame { table: self.table.clone(), pfn: self.pfn }
    }
}
impl Drop for Frame {
    fn drop(&mut self) {
        if self.pfn != GONE {
            self.table.put(self.pfn);
        }
    }
}
impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frame({:#x})", self.pfn.0)
    }
}

/// One reference to each of `len` contiguous frames.
pub(crate) struct FrameRun {
    table: Arc<FrameTable>,
    start: Pfn,
    len: u32,
    pristine: bool,
}

impl FrameRun {
    /// Takes over references, one to each frame.
    pub(crate) fn from_raw(table: &Arc<FrameTable>, start: Pfn, len: u32) -> FrameRun {
        FrameRun { table: table.clone(), start, len, pristine: false }
    }
    /// The first frame.
    pub(crate) fn start(&self) -> Pfn {
        self.start
    }
    /// How many there are.
    #[allow(clippy::len_without_is_empty)]
    pub(crate) fn len(&self) -> u32 {
        self.len
    }
    /// Makes all of them zero, which costs nothing if they were never used.
    pub(crate) fn zero(&mut self) {
        if !self.pristine && self.len > 0 {
            self.table.phys.zero(self.start, self.len);
        }
        self.pristine = true;
    }
    /// Drops all but the first `len`.
    pub(crate) fn truncate(&mut self, len: u32) {
        if len < self.len {
            self.table.put_all((len..self.len).map(|i| self.start.add(i)));
            self.len = len;
        }
    }
    /// Drops the first `n`.
    pub(crate) fn skip(&mut self, n: u32) {
        let n = n.min(self.len);
        self.table.put_all((0..n).map(|i| self.start.add(i)));
        self.start = self.start.add(n);
        self.len -= n;
    }
    /// Hands the references over: from here on they are the caller's to count.
    pub(crate) fn into_pfn(mut self) -> Pfn {
        self.len = 0;
        self.start
    }
    /// The only frame of a run of one.
    pub(crate) fn into_frame(mut self) -> Frame {
        self.truncate(1);
        let table = self.table.clone();
        Frame { pfn: self.into_pfn(), table }
    }
}
impl Drop for FrameRun {
    fn drop(&mut self) {
        self.truncate(0);
    }
}
impl fmt::Debug for FrameRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FrameRun({:#x}+{})", self.start.0, self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_reference_frees() {
        let t = FrameTable::new(Arc::new(PhysMem::new(64 * 4096).unwrap()));
        let f = t.alloc(1, Place::Any, Kind::Kernel, 0).unwrap().into_frame();
        let g = f.clone();
        drop(f);
        assert_eq!((t.free_pages(), t.used(Kind::Kernel)), (63, 1));
        drop(g);
        assert_eq!((t.free_pages(), t.used(Kind::Kernel)), (64, 0));
    }

    #[test]
    fn frames_lie_where_they_are_wanted() {
        let t = FrameTable::new(Arc::new(PhysMem::new(64 << 20).unwrap()));
        let alloc = |n, place| t.alloc(n, place, Kind::Cache, 0).unwrap();
        let _low = alloc(3, Place::Any);
        let a = alloc(16, Place::Room(HUGE_PAGES));
        assert_eq!((a.start().0 % HUGE_PAGES, a.len()), (0, 16));
        let b = alloc(100, Place::At(a.start().add(16), 0));
        assert_eq!((b.start(), b.len()), (a.start().add(16), 100));
        // What is taken cannot be had, nor what does not exist: somewhere else then.
        let c = alloc(5, Place::At(a.start().add(2), 0));
        assert!(c.start() < a.start() || c.start() >= b.start().add(100));
        let d = alloc(2, Place::At(a.start().add(2), 32));
        assert_eq!(alloc(2, Place::At(d.start().add(2), 0)).start(), d.start().add(2));
        assert_eq!(alloc(5, Place::At(Pfn(u32::MAX), 64)).len(), 5);
        drop((a, b, c, d));
        assert_eq!(t.free_pages(), t.total() - 3);
    }

    #[test]
    fn used_frames_are_zeroed_when_asked() {
        let t = FrameTable::new(Arc::new(PhysMem::new(4 * 4096).unwrap()));
        let r = t.alloc(4, Place::Any, Kind::Anon, 0).unwrap();
        t.phys().write(r.start().addr(), b"dirt");
        drop(r);
        let mut r = t.alloc(4, Place::Any, Kind::Anon, 0).unwrap();
        r.zero();
        let mut b = [1; 4];
        t.phys().read(r.start().addr(), &mut b);
        assert_eq!(b, [0; 4]);
        assert!(t.alloc(1, Place::Any, Kind::Anon, 0).is_none());
    }
}
