//! Copy-on-write: a private page that somebody else has too is copied when it is written, and the pages
//! around it that will be written next.
//!
//! Shared are anonymous pages after fork, until one side has let go, and pages of a file under a private
//! mapping. `plan_copy` chooses the pages and `fill_copies` copies them, in the loop of fault.rs.

use base::{PAGE_SIZE, Pfn};

use crate::fault::{Fail, MAPERR, Step};
use crate::frame::{FrameRun, Kind};
use crate::mapping::prot_closure;
use crate::memory::Need;
use crate::page_table::Pte;
use crate::space::{AddressSpace, Inner};
use crate::vma::Vma;

/// First and longest run of copies.
const FIRST_COPY: u32 = 4;
const MAX_COPY: u32 = 16;
/// Largest private mapping of a file that is taken for a program's data, pages: most of it is written.
const MAX_DATA: u64 = 1024;

impl AddressSpace {
    /// Copies the pages of `start..start + len` that are still to be copied, `vpn` at least; how many the
    /// host maps then, or None if `vpn` need not be copied any more.
    pub(crate) fn fill_copies(
        &self,
        vpn: u64,
        start: u64,
        len: u32,
        need: Need,
    ) -> Result<Option<u32>, Fail> {
        let mut run = self.memory.alloc_run(len, Kind::Anon, need).map_err(|_| Fail::Oom)?;
        let end = start + u64::from(len);
        let n = u64::from(run.len());
        let start = if start + n > vpn { start } else { vpn.min(end - n) };
        let mut g = self.inner.lock();
        let Some(v) = g.vmas.find(vpn).cloned() else { return Ok(None) };
        // Look again: the reverse map may have taken file pages away.
        let mut sources = Vec::with_capacity(run.len() as usize);
        for at in start..start + n {
            match g.copy_source(&v, at) {
                Some(s) => sources.push(s),
                None if at > vpn => break,
                None => {
                    // Not contiguous with the page: only the page itself.
                    sources.clear();
                    break;
                }
            }
        }
        let start = if sources.is_empty() {
            let Some(s) = g.copy_source(&v, vpn) else {
                drop(g);
                drop(v); // an object may go with it
                return Ok(None);
            };
            sources.push(s);
            vpn
        } else {
            start
        };
        run.truncate(sources.len() as u32);
        let n = g.install_copies(self, &v, start, &sources, run);
        drop(g);
        drop(v);
        Ok(n)
    }
}

impl Inner {
    /// The frame that a private page at `vpn` is a copy of, if it must be copied to be written.
    fn copy_source(&self, v: &Vma, vpn: u64) -> Option<Source> {
        if vpn < v.start || vpn >= v.end {
            return None;
        }
        let (pte, exclusive) = self.pt.get_exclusive(vpn);
        if pte.present() {
            return (!exclusive).then_some(Source::Entry(pte.pfn()));
        }
        let m = v.mapping.as_ref()?;
        let index = v.index(vpn);
        if index >= m.cache().size_pages() {
            return None;
        }
        m.cache().pin_run(index, 1).map(Source::Pinned)
    }

    /// Chooses the run of a copy-on-write fault: sequential use doubles it.
    pub(crate) fn plan_copy(&mut self, vpn: u64) -> Step {
        let Some(v) = self.vmas.find(vpn) else { return Step::Fail(MAPERR) };
        let anon = self.pt.get(vpn).is_anon();
        // While somebody may write the file through memory, a page that nobody has written here must
        // keep showing it: only the page itself is copied then.
        if !anon && v.mapping.as_ref().is_some_and(|m| m.cache().mapped_writable()) {
            return Step::Copy { start: vpn, len: 1 };
        }
        let want = if vpn == v.next { (v.run * 2).clamp(FIRST_COPY, MAX_COPY) } else { FIRST_COPY };
        let want = if anon && want == FIRST_COPY { FIRST_COPY * 2 } else { want };
        let (lo, hi) = if !anon && v.pages() <= MAX_DATA {
            // A program's data, in whatever order it is touched.
            let block = vpn & !(u64::from(MAX_COPY) - 1);
            (block, block + u64::from(MAX_COPY))
        } else if vpn == v.next || !anon {
            (vpn, vpn + u64::from(want))
        } else {
            let block = vpn & !(u64::from(want) - 1);
            (block, block + u64::from(want))
        };
        let (lo, hi) = (lo.max(v.start), hi.min(v.end));
        // Neighbours of the same sort: shared anonymous pages, or pages of the file.
        let alike = |p: Pte, excl: bool| {
            if anon { p.present() && p.is_anon() && !excl } else { !p.is_anon() }
        };
        let (mut start, mut end) = (vpn, vpn + 1);
        self.pt.walk(vpn + 1, (lo, hi), true, |at, p, excl| {
            let take = alike(p, excl);
            end = if take { at + 1 } else { end };
            take
        });
        if vpn > lo {
            self.pt.walk(vpn - 1, (lo, hi), false, |at, p, excl| {
                let take = alike(p, excl);
                start = if take { at } else { start };
                take
            });
        }
        Step::Copy { start, len: (end - start) as u32 }
    }

    /// Copies `sources` into `run` and enters it at `start`; says how many pages the host maps now.
    fn install_copies(
        &mut self,
        s: &AddressSpace,
        v: &Vma,
        start: u64,
        sources: &[Source],
        run: FrameRun,
    ) -> Option<u32> {
        let phys = s.memory.machine().phys();
        let n = run.len();
        let pfn = run.into_pfn();
        self.host.sync(&*s.space);
        let frames = s.memory.frames.clone();
        for (i, source) in sources.iter().enumerate() {
            let (at, to) = (start + i as u64, pfn.add(i as u32));
            let from = match source {
                Source::Entry(p) => *p,
                Source::Pinned(r) => r.start(),
            };
            phys.copy(to.addr(), from.addr(), PAGE_SIZE);
            let old = self.pt.set(at, Pte::anon(to));
            if old.present() {
                if self.host.get(at).is_some() {
                    // Another thread may read through the old mapping until the next flush.
                    self.garbage.push(&frames, old.pfn());
                    self.queued = true;
                    s.work.store(1, std::sync::atomic::Ordering::Relaxed);
                } else {
                    frames.put(old.pfn());
                }
            }
        }
        self.cache.clear();
        let end = start + u64::from(n);
        let prot = prot_closure(v.prot);
        if prot.is_empty() {
            self.host.unmap(&*s.space, start, end);
        } else {
            self.host.map(&*s.space, start, pfn, n, prot, true);
        }
        if let Some(v) = self.vmas.find_mut(start) {
            (v.next, v.run) = (end, n);
        }
        (!prot.is_empty()).then_some(n)
    }
}

/// Where a copy comes from.
enum Source {
    /// The frame of the entry that is replaced.
    Entry(Pfn),
    /// A page of the cache, kept alive.
    Pinned(FrameRun),
}
