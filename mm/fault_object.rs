//! Faults on objects: which of their pages come in with the one that was touched.

use arch::Prot;

use crate::fault::{AROUND, FIRST_RUN, Fail, MAPERR, MAX_AROUND, MAX_RUN, Step};
use crate::page_table::{LEAF, Pte};
use crate::space::Inner;
use crate::vma::VmaFlags;

impl Inner {
    /// Enters the cached pages around `vpn`; says whether `vpn` was among them.
    pub(crate) fn enter_cached(&mut self, vpn: u64) -> bool {
        let Some(v) = self.vmas.find(vpn) else { return false };
        let Some(m) = &v.mapping else { return false };
        let shared = v.shared();
        let random = v.flags.contains(VmaFlags::RANDOM);
        let (lo, hi) = if random {
            (vpn, vpn + 1)
        } else if vpn == v.next && v.run > 0 {
            // Whole huge pages, where they begin.
            let rest = MAX_AROUND - v.index(vpn) % MAX_AROUND;
            let len = (u64::from(v.run) * 2).clamp(AROUND, MAX_AROUND);
            (vpn, vpn + if rest == MAX_AROUND { MAX_AROUND } else { len.min(rest) })
        } else {
            // By pages of the object, wherever it is mapped: its frames are contiguous that way, and what
            // hot.rs remembers of one mapping is true for the next.
            let block = vpn.saturating_sub(v.index(vpn) & (AROUND - 1));
            (block, block + AROUND)
        };
        let (lo, hi) = (lo.max(v.start), hi.min(v.end));
        let first = v.index(lo);
        let last = v.index(hi).min(m.cache().size_pages());
        let mut found = Vec::with_capacity((hi - lo) as usize);
        let pt = &self.pt;
        let mut from = first;
        while from < last {
            let (cache, _, end) = m.piece(from);
            let shm = !cache.evictable();
            // Most often one leaf for all of them: looked up once.
            let (mut number, mut leaf) = (u64::MAX, None);
            cache.for_present(from, last.min(end), |i, pfn| {
                let at = lo + (i - first);
                if number != at / LEAF {
                    (number, leaf) = (at / LEAF, pt.leaf(at));
                }
                let take = leaf.is_none_or(|l| !l.get(at).present());
                if take {
                    found.push((at, Pte::object(pfn, shm, shm && shared)));
                }
                take
            });
            from = end;
        }
        let entered = found.iter().any(|e| e.0 == vpn);
        self.pt.fill(found);
        entered
    }

    /// What to read for a fault on an absent page of an object; more, if there is `plenty` of memory.
    pub(crate) fn plan_load(&mut self, vpn: u64, plenty: bool) -> Step {
        let Some(v) = self.vmas.find_mut(vpn) else { return Step::Fail(MAPERR) };
        let index = v.index(vpn);
        let Some(m) = &v.mapping else { return Step::Fail(MAPERR) };
        let size = m.cache().size_pages();
        let (cache, first, end) = m.piece(index);
        let cache = cache.clone();
        if index >= size {
            return Step::Fail(Fail::Bus);
        }
        let room = v.end - vpn;
        if !cache.evictable() {
            // Memory only: grows like anonymous memory.
            let len = if vpn == v.next { (v.run * 2).clamp(FIRST_RUN, MAX_RUN) } else { FIRST_RUN };
            let len = u64::from(len).min(room).min(size - index);
            (v.next, v.run) = (vpn + len, len as u32);
            return Step::Load { cache, from: index, index, ahead: len };
        }
        if v.flags.contains(VmaFlags::RANDOM) {
            return Step::Load { cache, from: index, index, ahead: 1 };
        }
        // Programs are read in large pieces, so that their frames are contiguous: one mapping then shows
        // to each process that runs them what would else take one for each handful of pages.
        let program = plenty && v.prot.contains(Prot::EXEC);
        let (back, ahead) = if program { (MAX_AROUND, MAX_AROUND) } else { (16, AROUND) };
        let mut from = index;
        while from & (back - 1) != 0 && from > first && !cache.is_cached(from - 1) {
            from -= 1;
        }
        let to = if program { (index | (ahead - 1)) + 1 } else { index + ahead };
        let ahead = to.min(end) - from;
        Step::Load { cache, from, index, ahead }
    }
}
