//! madvise(2), mincore(2), msync(2), mlock(2): what a program says about, or asks of, its pages.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arch::Prot;
use base::{Errno, PAGE_SHIFT, Result, UserAddr, err};

use crate::fault::Access;
use crate::mapping::page_range;
use crate::page_cache::PageCache;
use crate::page_table::Garbage;
use crate::space::{AddressSpace, TOP_PAGE};
use crate::types::SyncFlags;
use crate::vma::{Vma, VmaFlags};

/// The advice values of asm-generic/mman-common.h.
mod advice {
    pub(super) const NORMAL: i32 = 0;
    pub(super) const RANDOM: i32 = 1;
    pub(super) const SEQUENTIAL: i32 = 2;
    pub(super) const WILLNEED: i32 = 3;
    pub(super) const DONTNEED: i32 = 4;
    pub(super) const FREE: i32 = 8;
    pub(super) const REMOVE: i32 = 9;
    pub(super) const DONTFORK: i32 = 10;
    pub(super) const DOFORK: i32 = 11;
    pub(super) const MERGEABLE: i32 = 12;
    pub(super) const NOHUGEPAGE: i32 = 15;
    pub(super) const DONTDUMP: i32 = 16;
    pub(super) const DODUMP: i32 = 17;
    pub(super) const WIPEONFORK: i32 = 18;
    pub(super) const KEEPONFORK: i32 = 19;
    pub(super) const COLD: i32 = 20;
    pub(super) const PAGEOUT: i32 = 21;
    pub(super) const POPULATE_READ: i32 = 22;
    pub(super) const POPULATE_WRITE: i32 = 23;
    pub(super) const DONTNEED_LOCKED: i32 = 24;
    pub(super) const COLLAPSE: i32 = 25;
}

impl AddressSpace {
    /// madvise(2).
    ///
    /// # Errors
    /// EINVAL (misaligned, unknown advice, advice that does not suit the mapping), ENOMEM (a hole;
    /// the rest is advised all the same), EFAULT and others of POPULATE_*.
    pub fn advise(&self, at: UserAddr, len: u64, what: i32) -> Result<()> {
        use advice as a;
        let known = matches!(what, 0..=4 | 8..=25);
        let (lo, hi) = page_range(at, len)?;
        if !known {
            return err(Errno::EINVAL);
        }
        if lo == hi {
            return Ok(());
        }
        if hi > TOP_PAGE {
            return err(Errno::ENOMEM);
        }
        let set = |on: VmaFlags, off: VmaFlags| self.set_flags(lo, hi, on, off);
        let none = VmaFlags::empty();
        match what {
            a::NORMAL => set(none, VmaFlags::RANDOM | VmaFlags::SEQUENTIAL),
            a::RANDOM => set(VmaFlags::RANDOM, VmaFlags::SEQUENTIAL),
            a::SEQUENTIAL => set(VmaFlags::SEQUENTIAL, VmaFlags::RANDOM),
            a::DONTFORK => set(VmaFlags::DONTFORK, none),
            a::DOFORK => set(none, VmaFlags::DONTFORK),
            a::DONTDUMP => set(VmaFlags::DONTDUMP, none),
            a::DODUMP => set(none, VmaFlags::DONTDUMP),
            a::WIPEONFORK => {
                if self.any_vma(lo, hi, |v| v.shared() || v.mapping.is_some()) {
                    return err(Errno::EINVAL);
                }
                set(VmaFlags::WIPEONFORK, none)
            }
            a::KEEPONFORK => set(none, VmaFlags::WIPEONFORK),
            a::DONTNEED | a::DONTNEED_LOCKED | a::FREE => self.dont_need(lo, hi, what),
            a::REMOVE => self.remove_pages(lo, hi),
            a::WILLNEED => self.will_need(lo, hi),
            a::POPULATE_READ => self.populate(lo, hi, false),
            a::POPULATE_WRITE => self.populate(lo, hi, true),
            // Hints about huge pages, merging and reclaim: nothing to do but to look for holes.
            a::MERGEABLE..=a::NOHUGEPAGE | a::COLD | a::PAGEOUT | a::COLLAPSE => {
                self.check_holes(lo, hi)
            }
            _ => err(Errno::EINVAL),
        }
    }

    fn any_vma(&self, lo: u64, hi: u64, f: impl Fn(&Vma) -> bool) -> bool {
        self.inner.lock().vmas.range(lo, hi).any(f)
    }

    fn check_holes(&self, lo: u64, hi: u64) -> Result<()> {
        if self.inner.lock().vmas.covers(lo, hi) { Ok(()) } else { err(Errno::ENOMEM) }
    }

    fn set_flags(&self, lo: u64, hi: u64, on: VmaFlags, off: VmaFlags) -> Result<()> {
        let _mmap = self.mmap.lock();
        let mut g = self.inner.lock();
        if g.vmas.len() + g.vmas.splits(lo, hi) > base::limits::MAX_VMAS {
            return err(Errno::ENOMEM);
        }
        let whole = g.vmas.covers(lo, hi);
        g.vmas.change(lo, hi, |v| {
            // A child needs its trampolines wherever it has the text.
            if !v.flags.contains(VmaFlags::TRAMPOLINES) {
                v.flags = (v.flags | on) - off;
            }
        });
        if whole { Ok(()) } else { err(Errno::ENOMEM) }
    }

    /// MADV_DONTNEED; MADV_FREE is the same, at once: the man page lets the kernel free the pages at
    /// any time.
    fn dont_need(&self, lo: u64, hi: u64, what: i32) -> Result<()> {
        let _mmap = self.mmap.lock();
        let mut g = self.inner.lock();
        let unsuited = |v: &Vma| match what {
            advice::FREE => v.shared() || v.mapping.is_some(),
            advice::DONTNEED => v.flags.contains(VmaFlags::LOCKED),
            _ => false,
        };
        if g.vmas.range(lo, hi).any(unsuited) {
            return err(Errno::EINVAL);
        }
        let whole = g.vmas.covers(lo, hi);
        let mut garbage = Garbage::default();
        g.drop_pages(self, lo, hi, &mut garbage);
        for at in g.vmas.range(lo, hi).map(|v| v.start).collect::<Vec<_>>() {
            if let Some(v) = g.vmas.find_mut(at) {
                (v.next, v.run) = (0, 0);
            }
        }
        self.finish(g, garbage, Vec::new());
        if whole { Ok(()) } else { err(Errno::ENOMEM) }
    }

    /// The objects of `lo..hi` with their pages: (cache, first, last).
    fn objects(&self, lo: u64, hi: u64) -> Vec<(Arc<PageCache>, u64, u64, bool)> {
        let g = self.inner.lock();
        let part = |v: &Vma| {
            let m = v.mapping.as_ref()?;
            let (a, b) = (v.start.max(lo), v.end.min(hi));
            Some((m.cache().clone(), v.index(a), v.index(b) - 1, v.shared()))
        };
        g.vmas.range(lo, hi).filter_map(part).collect()
    }

    /// MADV_REMOVE: punches a hole into shared memory.
    fn remove_pages(&self, lo: u64, hi: u64) -> Result<()> {
        let suited = |v: &Vma| {
            let object = v.mapping.as_ref().is_some_and(|m| !m.cache().evictable());
            object && v.shared() && v.prot.contains(Prot::WRITE)
        };
        if self.any_vma(lo, hi, |v| !suited(v)) {
            return err(Errno::EINVAL);
        }
        for (cache, first, last, _) in self.objects(lo, hi) {
            cache.invalidate(first, last);
        }
        self.check_holes(lo, hi)
    }

    fn will_need(&self, lo: u64, hi: u64) -> Result<()> {
        for (cache, first, last, _) in self.objects(lo, hi) {
            // Advice: that a page cannot be read shows when it is touched.
            let _ = cache.read_ahead(first, (last - first + 1).min(4096));
        }
        self.check_holes(lo, hi)
    }

    /// Faults pages in. Stops at the first that cannot be had.
    pub(crate) fn populate(&self, lo: u64, hi: u64, write: bool) -> Result<()> {
        let mut v = lo;
        while v < hi {
            let access = Access::of_user(write);
            self.fault_in(v, access).map_err(|f| f.errno_of_populate())?;
            let mut next = v + 1;
            let g = self.inner.lock();
            g.pt.walk(next, (lo, hi), true, |_, pte, excl| {
                let done = pte.present() && (!write || excl || pte.writable());
                next += u64::from(done);
                done
            });
            v = next;
        }
        Ok(())
    }

    /// One byte for each page: bit 0 says that it is resident. `man 2 mincore`.
    ///
    /// # Errors
    /// EINVAL (misaligned), ENOMEM (a hole in the range).
    pub fn mincore(&self, at: UserAddr, len: u64) -> Result<Vec<u8>> {
        let (lo, hi) = page_range(at, len)?;
        if hi > TOP_PAGE {
            return err(Errno::ENOMEM);
        }
        let mut out = {
            let g = self.inner.lock();
            if !g.vmas.covers(lo, hi) {
                return err(Errno::ENOMEM);
            }
            let mut out = vec![0; (hi - lo) as usize];
            g.pt.for_each(lo, hi, |v, _| out[(v - lo) as usize] = 1);
            out
        };
        // A page of an object counts when it is cached.
        let spans: Vec<(Arc<PageCache>, u64, u64, u64)> = {
            let g = self.inner.lock();
            let part = |v: &Vma| {
                let m = v.mapping.as_ref()?;
                let (a, b) = (v.start.max(lo), v.end.min(hi));
                Some((m.cache().clone(), v.index(a), v.index(b), a - lo))
            };
            g.vmas.range(lo, hi).filter_map(part).collect()
        };
        for (cache, first, last, base) in spans {
            cache.for_present(first, last, |i, _| {
                out[(base + i - first) as usize] = 1;
                false
            });
        }
        Ok(out)
    }

    /// msync(2).
    ///
    /// # Errors
    /// EINVAL (misaligned, SYNC with ASYNC), ENOMEM (a hole; the rest is written), EBUSY (INVALIDATE
    /// of locked memory), EIO and others of the backing.
    pub fn sync(&self, at: UserAddr, len: u64, flags: SyncFlags) -> Result<()> {
        let (lo, hi) = page_range(at, len)?;
        if flags.contains(SyncFlags::SYNC | SyncFlags::ASYNC) || flags.bits() & !7 != 0 {
            return err(Errno::EINVAL);
        }
        let invalidate = flags.contains(SyncFlags::INVALIDATE);
        if invalidate && self.any_vma(lo, hi, |v| v.flags.contains(VmaFlags::LOCKED)) {
            return err(Errno::EBUSY);
        }
        if flags.contains(SyncFlags::SYNC) {
            for (cache, first, last, shared) in self.objects(lo, hi) {
                if shared {
                    cache.sync_range(first, last)?;
                }
            }
        }
        self.check_holes(lo, hi)
    }

    /// mlock(2) and mlock2(2) (`on_fault`: MLOCK_ONFAULT).
    ///
    /// # Errors
    /// ENOMEM (a hole, `RLIMIT_MEMLOCK`), EPERM (that limit is 0), EINVAL (wraps).
    pub fn lock(&self, at: UserAddr, len: u64, on_fault: bool) -> Result<()> {
        let (lo, hi) = page_range(at.page_down(), len + at.page_offset() as u64)?;
        self.lock_range(lo, hi)?;
        if !on_fault {
            let _ = self.populate_all(lo, hi);
        }
        Ok(())
    }

    fn lock_range(&self, lo: u64, hi: u64) -> Result<()> {
        let _mmap = self.mmap.lock();
        let mut g = self.inner.lock();
        if g.limits.memlock == 0 {
            return err(Errno::EPERM);
        }
        let unlocked = |v: &&Vma| !v.flags.contains(VmaFlags::LOCKED);
        let inside = |v: &Vma| v.end.min(hi) - v.start.max(lo);
        let more: u64 = g.vmas.range(lo, hi).filter(unlocked).map(inside).sum();
        let too_many =
            g.limits.memlock != u64::MAX && (g.locked + more) << PAGE_SHIFT > g.limits.memlock;
        if too_many || !g.vmas.covers(lo, hi) {
            return err(Errno::ENOMEM);
        }
        g.locked += more;
        self.memory.locked.fetch_add(more, Ordering::Relaxed);
        g.vmas.change(lo, hi, |v| v.flags |= VmaFlags::LOCKED);
        Ok(())
    }

    /// Faults in what is mapped with any rights in `lo..hi`.
    fn populate_all(&self, lo: u64, hi: u64) -> Result<()> {
        let parts: Vec<(u64, u64, bool)> = {
            let g = self.inner.lock();
            let usable = g.vmas.range(lo, hi).filter(|v| !v.prot.is_empty());
            usable
                .map(|v| {
                    let write = v.prot.contains(Prot::WRITE) && !v.shared();
                    (v.start.max(lo), v.end.min(hi), write)
                })
                .collect()
        };
        for (a, b, write) in parts {
            self.populate(a, b, write)?;
        }
        Ok(())
    }

    /// munlock(2).
    ///
    /// # Errors
    /// ENOMEM (a hole), EINVAL (wraps).
    pub fn unlock(&self, at: UserAddr, len: u64) -> Result<()> {
        let (lo, hi) = page_range(at.page_down(), len + at.page_offset() as u64)?;
        self.unlock_range(lo, hi);
        self.check_holes(lo, hi)
    }

    fn unlock_range(&self, lo: u64, hi: u64) {
        let _mmap = self.mmap.lock();
        let mut g = self.inner.lock();
        let locked = |v: &&Vma| v.flags.contains(VmaFlags::LOCKED);
        let inside = |v: &Vma| v.end.min(hi) - v.start.max(lo);
        let less: u64 = g.vmas.range(lo, hi).filter(locked).map(inside).sum();
        g.locked -= less;
        self.memory.locked.fetch_sub(less, Ordering::Relaxed);
        g.vmas.change(lo, hi, |v| v.flags -= VmaFlags::LOCKED);
    }

    /// mlockall(2): `current` and `future` are MCL_CURRENT and MCL_FUTURE, `on_fault` MCL_ONFAULT.
    ///
    /// # Errors
    /// ENOMEM (`RLIMIT_MEMLOCK`), EPERM (that limit is 0).
    pub fn lock_all(&self, current: bool, future: bool, on_fault: bool) -> Result<()> {
        let ranges: Vec<(u64, u64)> = {
            let mut g = self.inner.lock();
            if g.limits.memlock == 0 {
                return err(Errno::EPERM);
            }
            let all = g.vmas.pages() << PAGE_SHIFT;
            if current && all > g.limits.memlock {
                return err(Errno::ENOMEM);
            }
            g.lock_future = future;
            g.vmas.iter().map(|v| (v.start, v.end)).collect()
        };
        if current {
            for (lo, hi) in ranges {
                self.lock_range(lo, hi)?;
                if !on_fault {
                    let _ = self.populate_all(lo, hi);
                }
            }
        }
        Ok(())
    }

    /// munlockall(2).
    pub fn unlock_all(&self) {
        self.inner.lock().lock_future = false;
        self.unlock_range(0, TOP_PAGE);
    }
}
