//! The reverse map's end in an address space: page caches take pages away. Only the spin lock is
//! taken, and the host is flushed before the frames are let go.

use arch::Prot;

use crate::page_table::Garbage;
use crate::space::{AddressSpace, Inner};

impl Inner {
    /// Where pages `first..=last` of an object are mapped: ranges of pages.
    fn places(&self, object: u64, first: u64, last: u64) -> Vec<(u64, u64)> {
        let part = |v: &crate::vma::Vma| {
            v.mapping.as_ref().filter(|m| m.shows(object))?;
            let end = v.index(v.end);
            let (a, b) = (first.max(v.pgoff), last.saturating_add(1).min(end));
            (a < b).then(|| (v.start + (a - v.pgoff), v.start + (b - v.pgoff)))
        };
        self.vmas.iter().filter_map(part).collect()
    }
}

impl AddressSpace {
    /// Unmaps pages `first..=last` of an object; with `even_copies` the private copies too.
    pub(crate) fn unmap_object(&self, object: u64, first: u64, last: u64, even_copies: bool) {
        let mut garbage = Garbage::default();
        let mut g = self.inner.lock();
        g.host.sync(&*self.space);
        let mut mapped = false;
        for (lo, hi) in g.places(object, first, last) {
            if even_copies {
                g.pt.clear_range(lo, hi, &mut garbage);
                mapped |= g.host.unmap(&*self.space, lo, hi);
                continue;
            }
            let mut runs: Vec<(u64, u64)> = Vec::new();
            g.pt.for_each(lo, hi, |v, p| {
                if !p.is_anon() {
                    match runs.last_mut() {
                        Some(r) if r.1 == v => r.1 = v + 1,
                        _ => runs.push((v, v + 1)),
                    }
                }
            });
            for (a, b) in runs {
                g.pt.clear_range(a, b, &mut garbage);
                mapped |= g.host.unmap(&*self.space, a, b);
            }
        }
        g.cache.clear();
        let mapped = mapped | g.queued;
        drop(g);
        if mapped && !garbage.is_empty() {
            // An error means that the space is dead or that nothing is mapped any more.
            let _ = self.space.flush();
        }
        drop(garbage);
    }

    /// Pages `first..last` of an object are about to be written back: whoever stores to them from
    /// now on must fault.
    pub(crate) fn clean_object(&self, object: u64, first: u64, last: u64) {
        let mut g = self.inner.lock();
        g.host.sync(&*self.space);
        let mut changed = false;
        for (lo, hi) in g.places(object, first, last - 1) {
            let mut dirty = Vec::new();
            g.pt.for_each(lo, hi, |v, p| {
                if !p.is_anon() && p.writable() {
                    dirty.push((v, p));
                }
            });
            if let (Some(a), Some(b)) = (dirty.first(), dirty.last()) {
                let (a, b) = (a.0, b.0 + 1);
                for (v, p) in dirty {
                    g.pt.set(v, p.with_writable(false));
                }
                // Pages between that are not writable lose nothing.
                changed |= g.host.protect(&*self.space, a, b, |p| p - Prot::WRITE);
            }
        }
        g.cache.clear();
        drop(g);
        if changed {
            let _ = self.space.flush();
        }
    }
}
