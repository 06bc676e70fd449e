//! What we believe the host maps: the TLB's contents by range and rights, without frames.
//!
//! Every mapping operation of a space goes through here, so that an unmap of what was never mapped
//! costs nothing, a protect covers only what is mapped (as [`Space::protect`] demands), and
//! neighbours with the same rights count as one range: fork's write-protect is one operation for
//! each range, however many runs of frames it consists of.
//!
//! A buffer that comes and goes, mapped and unmapped around each use, costs the host new page tables each
//! time. So one range may be *parked*: it stays mapped, but without any rights, and for us it is unmapped.
//! Its frames are free, and others may have them: nobody can reach them this way. If the same range gets
//! the same frames once more, it gets its rights back; if anything else is mapped there, it goes.
//!
//! The backend may drop everything at any time; `sync` notices it by the generation.

use std::collections::BTreeMap;

use arch::{Prot, Space};
use base::{Pfn, UserAddr};

fn addr(vpn: u64) -> UserAddr {
    UserAddr(vpn << base::PAGE_SHIFT)
}

/// Ranges of pages that the host maps: start -> (end, rights).
#[derive(Debug, Default)]
pub(crate) struct HostMap {
    runs: BTreeMap<u64, (u64, Prot)>,
    /// Not among the runs.
    parked: Option<Parked>,
    generation: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Parked {
    vpn: u64,
    pages: u32,
    pfn: Pfn,
}

impl Parked {
    fn end(self) -> u64 {
        self.vpn + u64::from(self.pages)
    }
}

impl HostMap {
    pub(crate) fn new(space: &dyn Space) -> HostMap {
        HostMap { runs: BTreeMap::new(), parked: None, generation: space.generation() }
    }
    /// Forgets everything if the backend has dropped its mappings.
    pub(crate) fn sync(&mut self, space: &dyn Space) {
        let g = space.generation();
        if g != self.generation {
            self.generation = g;
            self.runs.clear();
            self.parked = None;
        }
    }
    pub(crate) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }
    /// The range that `vpn` lies in.
    pub(crate) fn get(&self, vpn: u64) -> Option<(u64, u64, Prot)> {
        let (s, (e, p)) = self.runs.range(..=vpn).next_back()?;
        (vpn < *e).then_some((*s, *e, *p))
    }
    /// The part of the range around `vpn` that is not mapped; `vpn` alone if it is.
    pub(crate) fn hole(&self, vpn: u64, (lo, hi): (u64, u64)) -> (u64, u64) {
        if self.get(vpn).is_some() {
            return (vpn, vpn + 1);
        }
        let below = self.runs.range(..=vpn).next_back().map_or(lo, |r| r.1.0.max(lo));
        let above = self.runs.range(vpn..).next().map_or(hi, |r| (*r.0).min(hi));
        (below, above)
    }
    /// Takes `lo..hi` out; returns the extent of what was mapped there.
    fn carve(&mut self, lo: u64, hi: u64) -> Option<(u64, u64)> {
        let mut extent: Option<(u64, u64)> = None;
        while let Some((&s, &(e, p))) = self.runs.range(..hi).next_back() {
            if e <= lo {
                break;
            }
            self.runs.remove(&s);
            if s < lo {
                self.runs.insert(s, (lo, p));
            }
            if e > hi {
                self.runs.insert(hi, (e, p));
            }
            let (a, b) = (s.max(lo), e.min(hi));
            extent = Some(extent.map_or((a, b), |x| (x.0.min(a), x.1.max(b))));
        }
        extent
    }

    fn insert(&mut self, mut lo: u64, mut hi: u64, prot: Prot) {
        if let Some((&s, &(e, p))) = self.runs.range(..lo).next_back()
            && e == lo
            && p == prot
        {
            self.runs.remove(&s);
            lo = s;
        }
        if let Some(&(e, p)) = self.runs.get(&hi)
            && p == prot
        {
            self.runs.remove(&hi);
            hi = e;
        }
        self.runs.insert(lo, (hi, prot));
    }

    /// Maps frames.
    pub(crate) fn map(
        &mut self,
        space: &dyn Space,
        vpn: u64,
        pfn: Pfn,
        pages: u32,
        prot: Prot,
        populate: bool,
    ) {
        let end = vpn + u64::from(pages);
        if let Some(p) = self.parked
            && p.vpn < end
            && vpn < p.end()
        {
            if p == (Parked { vpn, pages, pfn }) {
                self.parked = None;
                space.protect(addr(vpn), pages.into(), prot);
                self.insert(vpn, end, prot);
                return;
            }
            self.unpark(space);
        }
        let replaces = self.carve(vpn, end).is_some();
        if replaces {
            space.map(addr(vpn), pfn, pages, prot, populate);
        } else {
            space.add(addr(vpn), pfn, pages, prot, populate);
        }
        self.insert(vpn, end, prot);
    }

    /// Unmaps what is mapped in `lo..hi`; returns whether there was anything.
    pub(crate) fn unmap(&mut self, space: &dyn Space, lo: u64, hi: u64) -> bool {
        match self.carve(lo, hi) {
            Some((a, b)) => {
                space.unmap(addr(a), b - a);
                true
            }
            None => false,
        }
    }

    /// Parks `pages` pages from `vpn` on, which show frames from `pfn` on; false if not all of them are
    /// mapped. For the caller it is an unmap: the rights are gone after the next flush.
    pub(crate) fn park(&mut self, space: &dyn Space, vpn: u64, pages: u32, pfn: Pfn) -> bool {
        let end = vpn + u64::from(pages);
        if self.get(vpn).is_none_or(|r| r.1 < end) {
            return false;
        }
        self.unpark(space);
        self.carve(vpn, end);
        space.protect(addr(vpn), pages.into(), Prot::empty());
        self.parked = Some(Parked { vpn, pages, pfn });
        true
    }

    /// The first of the frames that would be cheap to map in these pages.
    pub(crate) fn parked(&self, vpn: u64, pages: u32) -> Option<Pfn> {
        let p = self.parked.filter(|p| p.vpn == vpn && p.pages == pages)?;
        Some(p.pfn)
    }

    /// Whether the page is parked: faults say then that it is mapped.
    pub(crate) fn is_parked(&self, vpn: u64) -> bool {
        self.parked.is_some_and(|p| p.vpn <= vpn && vpn < p.end())
    }

    fn unpark(&mut self, space: &dyn Space) {
        if let Some(p) = self.parked.take() {
            space.unmap(addr(p.vpn), p.pages.into());
        }
    }

    /// Unmaps everything with one operation.
    pub(crate) fn unmap_all(&mut self, space: &dyn Space) -> bool {
        self.unpark(space);
        let (Some((&a, _)), Some((_, &(b, _)))) =
            (self.runs.first_key_value(), self.runs.last_key_value())
        else {
            return false;
        };
        space.unmap(addr(a), b - a);
        self.runs.clear();
        true
    }

    /// Gives what is mapped in `lo..hi` the rights `f(old)`; returns whether anything changed.
    pub(crate) fn protect(
        &mut self,
        space: &dyn Space,
        lo: u64,
        hi: u64,
        f: impl Fn(Prot) -> Prot,
    ) -> bool {
        let mut todo: Vec<(u64, u64, Prot)> = Vec::new();
        let from = self.get(lo).map_or(lo, |r| r.0);
        for (&s, &(e, p)) in self.runs.range(from..hi) {
            let new = f(p);
            if new == p {
                continue;
            }
            let (a, b) = (s.max(lo), e.min(hi));
            match todo.last_mut() {
                Some(t) if t.1 == a && t.2 == new => t.1 = b,
                _ => todo.push((a, b, new)),
            }
        }
        for &(a, b, p) in &todo {
            self.carve(a, b);
            space.protect(addr(a), b - a, p);
            self.insert(a, b, p);
        }
        !todo.is_empty()
    }
}
