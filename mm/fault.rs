//! Page faults.
//!
//! [`AddressSpace::fault_in`] makes one page usable for one access, and a run of its neighbours with
//! it, because a host mapping costs per run and not per page. It goes round a loop: `step` looks,
//! under the spin lock, what is there and either finishes or names what it needs (frames, a page of
//! a file, the permission to write one); that is fetched without the spin lock, and `step` looks
//! again. The sleeping lock `mmap` is held all the way, so nobody else maps or faults meanwhile;
//! only the reverse map may take pages of objects away.
//!
//! | what is there | what happens |
//! |---|---|
//! | nothing, anonymous | a run of zeroed contiguous frames: 16, doubling to 512 with sequential use |
//! | nothing, object | all cached pages of the 128 around are entered, up to 512 with sequential use; missing ones are read |
//! | a page, write to a private one that is shared | copied, with up to 16 neighbours like it |
//! | a page, write to a shared object | the backing is asked, the page marked dirty |
//! | a page that allows it | the host lacks it: the surrounding run is mapped or gets its rights back |

use std::sync::Arc;

use arch::{FaultInfo, Prot};
use base::{Errno, Error, Pfn, trace};

use crate::frame::{Kind, Place};
use crate::mapping::prot_closure;
use crate::memory::Need;
use crate::page_cache::PageCache;
use crate::page_table::Pte;
use crate::space::{AddressSpace, Inner};
use crate::types::FaultResult;
use crate::vma::{Vma, VmaFlags};

/// First and longest run of anonymous memory, pages.
pub(crate) const FIRST_RUN: u32 = 16;
pub(crate) const MAX_RUN: u32 = arch::HUGE_PAGES;
/// A run that would be so long becomes a whole huge page where one begins.
const HUGE_FROM: u32 = 64;
/// Pages around a fault on an object that are entered if they are cached; sequential use doubles it.
pub(crate) const AROUND: u64 = 128;
pub(crate) const MAX_AROUND: u64 = 512;
/// Runs up to so many pages get page-table entries of the host's together with their mapping, longer ones
/// only if they can be written: an entry made in advance costs a tenth of a fault of the host's, but the
/// fault makes sixteen of them, unless it is one that writes.
const POPULATE: u64 = 8;
/// Host mappings that one fault on an object makes at most, if its frames are not contiguous.
const MAX_RUNS: usize = 8;
/// How far a change of rights or a refill looks in each direction.
const REFILL: u64 = 1024;

/// What somebody wants to do with a page.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Access {
    pub(crate) write: bool,
    pub(crate) exec: bool,
    /// Guest code: the host must map it in the end. Else the kernel copies.
    pub(crate) user: bool,
    /// A debugger: the VMA's rights do not count.
    pub(crate) force: bool,
    /// Nobody waits for it: the host need not map it before guest code runs.
    pub(crate) later: bool,
}

impl Access {
    /// By guest code.
    pub(crate) fn of_user(write: bool) -> Access {
        Access { write, exec: false, user: true, force: false, later: false }
    }
}

/// Why a page cannot be had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fail {
    /// SIGSEGV with this code.
    Segv(i32),
    /// SIGBUS: beyond the end of the object, or it cannot be read.
    Bus,
    Oom,
}

pub(crate) const MAPERR: Fail = Fail::Segv(1);
const ACCERR: Fail = Fail::Segv(2);

impl Fail {
    /// What a system call says that copies to or from user memory.
    pub(crate) fn errno(self) -> Error {
        match self {
            Fail::Oom => Errno::ENOMEM.into(),
            _ => Errno::EFAULT.into(),
        }
    }
    /// madvise(2) MADV_POPULATE_*.
    pub(crate) fn errno_of_populate(self) -> Error {
        match self {
            Fail::Segv(_) | Fail::Oom => Errno::ENOMEM.into(),
            Fail::Bus => Errno::EFAULT.into(),
        }
    }
    fn from_error(e: Error) -> Fail {
        if e == Errno::ENOMEM { Fail::Oom } else { Fail::Bus }
    }
}

pub(crate) enum Step {
    Done(u32),
    Fail(Fail),
    /// Zeroed frames for `start..start + len`, which contains the page.
    Anon {
        start: u64,
        len: u32,
        /// How long the run wanted to be.
        grow: u32,
        place: Place,
    },
    /// Frames for copies of `start..start + len`, which contains the page.
    Copy {
        start: u64,
        len: u32,
    },
    /// Page `index` of an object, from `from` on and `ahead` pages.
    Load {
        cache: Arc<PageCache>,
        from: u64,
        index: u64,
        ahead: u64,
    },
    /// The permission to write page `index` of an object.
    MakeWritable {
        cache: Arc<PageCache>,
        index: u64,
    },
    /// The plain file in place of its patch.
    Unpatch,
}

impl AddressSpace {
    /// Resolves a page fault of guest code. `_sp` is not looked at: since Linux 5.0 a stack grows
    /// wherever it is touched.
    pub fn fault(&self, info: &FaultInfo, _sp: u64) -> FaultResult {
        let vpn = info.addr.vpn();
        let present = info.present && !self.inner.lock().host.is_parked(vpn);
        let write = info.write.unwrap_or(present && !info.exec);
        let access = Access { exec: info.exec, ..Access::of_user(write) };
        let result = self.fault_in(vpn, access);
        trace!(
            Fault,
            Fault {
                tid: 0,
                addr: info.addr.0,
                write,
                exec: info.exec,
                pages: *result.as_ref().unwrap_or(&0),
                result: match result {
                    Ok(_) => "ok",
                    Err(Fail::Segv(_)) => "SIGSEGV",
                    Err(Fail::Bus) => "SIGBUS",
                    Err(Fail::Oom) => "OOM",
                },
            }
        );
        let addr = info.addr;
        match result {
            Ok(_) => {
                self.learn(vpn, access);
                FaultResult::Resolved
            }
            Err(Fail::Segv(code)) => FaultResult::Segv { addr, code },
            Err(Fail::Bus) => FaultResult::Bus { addr, code: 2 },
            Err(Fail::Oom) => FaultResult::Oom,
        }
    }

    /// Makes page `vpn` usable for `access`; says how many pages were mapped along the way.
    pub(crate) fn fault_in(&self, vpn: u64, access: Access) -> Result<u32, Fail> {
        let _mmap = self.mmap.lock();
        let need = if access.user { Need::Write } else { Need::Clean };
        let mut granted = false;
        let result = loop {
            let step = self.inner.lock().step(self, vpn, access, granted);
            // How many pages the host maps now, `vpn` among them; None: look again.
            let r = match step {
                Step::Done(n) => Ok(Some(n)),
                Step::Fail(f) => Err(f),
                Step::Anon { start, len, grow, place } => {
                    self.fill_anon(vpn, (start, len), grow, place, need)
                }
                Step::Copy { start, len } => self.fill_copies(vpn, start, len, need),
                Step::Load { cache, from, index, ahead } => cache
                    .load(from, ahead, need)
                    .or_else(|e| if from == index { Err(e) } else { cache.load(index, 1, need) })
                    .map(|()| None)
                    .map_err(Fail::from_error),
                Step::MakeWritable { cache, index } => {
                    granted = true;
                    let b = cache.backing().and_then(|b| b.make_writable(index));
                    b.map(|()| None).map_err(Fail::from_error)
                }
                Step::Unpatch => {
                    self.unpatch_page(vpn);
                    Ok(None)
                }
            };
            match r {
                Ok(None) => {}
                Ok(Some(n)) => break Ok(n),
                Err(f) => break Err(f),
            }
        };
        if !access.later {
            self.space.demand();
        }
        if result == Err(Fail::Oom) {
            self.memory.call_oom();
        }
        result
    }

    fn fill_anon(
        &self,
        vpn: u64,
        (start, len): (u64, u32),
        grow: u32,
        place: Place,
        need: Need,
    ) -> Result<Option<u32>, Fail> {
        let run = self.memory.alloc_placed(len, place, Kind::Anon, need);
        let mut run = run.map_err(|_| Fail::Oom)?;
        run.zero();
        let n = run.len();
        // A shorter run than wanted: let it reach the page.
        let end = start + u64::from(len);
        let start = if start + u64::from(n) > vpn { start } else { vpn.min(end - u64::from(n)) };
        let mut g = self.inner.lock();
        let pfn = run.into_pfn();
        g.pt.set_anon_run(start, pfn, n);
        let end = start + u64::from(n);
        if let Some(v) = g.vmas.find_mut(vpn) {
            // Cut at a huge page's edge, it grows on behind it; cut for want of memory, it does not.
            (v.next, v.run) = (end, if n == len { grow.max(n) } else { n });
            let prot = v.prot;
            if !prot.is_empty() {
                g.host.sync(&*self.space);
                let prot = prot_closure(prot);
                g.host.map(&*self.space, start, pfn, n, prot, true);
                return Ok(Some(n));
            }
        }
        Ok(None)
    }
}

impl Inner {
    fn step(&mut self, s: &AddressSpace, vpn: u64, access: Access, granted: bool) -> Step {
        if self.vmas.find(vpn).is_none() && !self.grow_stack(s, vpn) {
            return Step::Fail(MAPERR);
        }
        let Some(v) = self.vmas.find(vpn) else { return Step::Fail(MAPERR) };
        let shared = v.shared();
        let wrong = (access.write && !v.prot.contains(Prot::WRITE))
            || (access.exec && !v.prot.contains(Prot::EXEC))
            || v.prot.is_empty();
        // A debugger may not write what is shared and read-only.
        if wrong && !(access.force && !(access.write && shared)) {
            return Step::Fail(ACCERR);
        }
        if access.write && v.text().is_some() {
            return Step::Unpatch; // a debugger's
        }
        let (pte, exclusive) = self.pt.get_exclusive(vpn);
        if pte.present() {
            if access.write {
                if shared
                    && !pte.writable()
                    && let Some(step) = self.make_writable(vpn, pte, granted)
                {
                    return step;
                }
                if !shared && !exclusive {
                    return self.plan_copy(vpn);
                }
            }
            return Step::Done(if access.user { self.refill(s, vpn) } else { 1 });
        }
        let Some(m) = &v.mapping else { return self.plan_anon(vpn) };
        let cache = m.cache().clone();
        let index = v.index(vpn);
        if access.write && !shared && cache.is_cached(index) && index < cache.size_pages() {
            return self.plan_copy(vpn);
        }
        if self.enter_cached(vpn) {
            return self.step(s, vpn, access, granted);
        }
        let frames = &s.memory.frames;
        self.plan_load(vpn, frames.free_pages() > frames.total() / 4)
    }

    /// The rights that the host may give for a page.
    fn rights(v: &Vma, pte: Pte, exclusive: bool) -> Prot {
        let mut p = prot_closure(v.prot);
        let write = if v.shared() { pte.writable() } else { exclusive };
        if !write {
            p -= Prot::WRITE;
        }
        p
    }

    /// Lets a page of a shared object be written; None when that is done.
    fn make_writable(&mut self, vpn: u64, pte: Pte, granted: bool) -> Option<Step> {
        let v = self.vmas.find(vpn)?;
        let (cache, index) = (v.mapping.as_ref()?.cache().clone(), v.index(vpn));
        if !granted {
            return Some(Step::MakeWritable { cache, index });
        }
        // Marked first: write-back clears the mark before it takes the right away.
        cache.mark_dirty(index);
        self.pt.set(vpn, pte.with_writable(true));
        None
    }

    /// Chooses the run of a fault on anonymous memory.
    fn plan_anon(&self, vpn: u64) -> Step {
        let Some(v) = self.vmas.find(vpn) else { return Step::Fail(MAPERR) };
        let mut grow = 0;
        let (mut lo, mut hi) = if vpn == v.next || (v.next == 0 && vpn == v.start) {
            let want = if v.next == 0 { v.run } else { v.run * 2 };
            grow = want.clamp(FIRST_RUN, MAX_RUN);
            // A whole huge page costs the host no more than a few small ones.
            let rest = u64::from(MAX_RUN) - vpn % u64::from(MAX_RUN);
            if grow >= HUGE_FROM && rest == u64::from(MAX_RUN) {
                grow = MAX_RUN;
            }
            (vpn, vpn + rest.min(grow.into()))
        } else if v.flags.contains(VmaFlags::GROWSDOWN) {
            (vpn.saturating_sub(u64::from(FIRST_RUN) - 1), vpn + 1)
        } else {
            let block = vpn & !(u64::from(FIRST_RUN) - 1);
            (block, block + u64::from(FIRST_RUN))
        };
        (lo, hi) = (lo.max(v.start), hi.min(v.end));
        if v.flags.contains(VmaFlags::RANDOM) {
            (lo, hi) = (vpn, vpn + 1);
        }
        // Only what is absent.
        let (mut start, mut end) = (vpn, vpn);
        self.pt.walk(vpn, (lo, hi), true, |at, p, _| {
            end = if p.present() { end } else { at + 1 };
            !p.present()
        });
        self.pt.walk(vpn, (lo, hi), false, |at, p, _| {
            start = if p.present() { start } else { at };
            !p.present()
        });
        let len = (end - start) as u32;
        let place = self.host.parked(start, len).map_or(Place::Any, |pfn| Place::At(pfn, 0));
        Step::Anon { start, len, grow, place }
    }

    /// Gives the host what the page table allows around `vpn`; says how many pages.
    pub(crate) fn refill(&mut self, s: &AddressSpace, vpn: u64) -> u32 {
        self.host.sync(&*s.space);
        let Some(v) = self.vmas.find(vpn) else { return 0 };
        let (pte, exclusive) = self.pt.get_exclusive(vpn);
        let rights = Self::rights(v, pte, exclusive);
        if rights.is_empty() {
            return 0; // a debugger's access to a PROT_NONE page
        }
        let (lo, hi) = (v.start.max(vpn.saturating_sub(REFILL)), v.end.min(vpn + REFILL));
        // Mapped already with too few rights: one change of rights, whatever the frames.
        if let Some((a, b, old)) = self.host.get(vpn) {
            if old == rights {
                // Foreseen and about to be mapped; else the host has lost it.
                if !s.space.has_queued() {
                    self.host.map(&*s.space, vpn, pte.pfn(), 1, rights, true);
                }
                return 1;
            }
            let range = (lo.max(a), hi.min(b));
            let (start, end) = self.same_rights(v, vpn, range, rights, None);
            self.host.protect(&*s.space, start, end, |_| rights);
            return (end - start) as u32;
        }
        let populate = |n: u64| n <= POPULATE || rights.contains(Prot::WRITE);
        let (start, mut end) = self.same_rights(v, vpn, (lo, hi), rights, Some(pte.pfn()));
        let first = Pfn(pte.pfn().0 - (vpn - start) as u32);
        let n = end - start;
        self.host.map(&*s.space, start, first, n as u32, rights, populate(n));
        if pte.is_anon() {
            return (end - start) as u32;
        }
        // What was entered with the page and lies behind it, in other frames: an operation more in a
        // batch costs a fraction of a fault.
        for _ in 1..MAX_RUNS {
            let Some(v) = self.vmas.find(end) else { break };
            let (pte, exclusive) = self.pt.get_exclusive(end);
            let rights = Self::rights(v, pte, exclusive);
            if end >= hi || !pte.present() || rights.is_empty() || self.host.get(end).is_some() {
                break;
            }
            let (_, next) = self.same_rights(v, end, (end, hi), rights, Some(pte.pfn()));
            let n = next - end;
            let populate = n <= POPULATE || rights.contains(Prot::WRITE);
            self.host.map(&*s.space, end, pte.pfn(), n as u32, rights, populate);
            end = next;
        }
        if let Some(v) = self.vmas.find_mut(vpn) {
            (v.next, v.run) = (end, (end - vpn) as u32);
        }
        (end - start) as u32
    }

    /// The largest range around `vpn` inside `range` whose pages have these rights and, with `pfn`
    /// given (the frame at `vpn`), contiguous frames that the host has not got yet.
    fn same_rights(
        &self,
        v: &Vma,
        vpn: u64,
        range: (u64, u64),
        rights: Prot,
        pfn: Option<Pfn>,
    ) -> (u64, u64) {
        let (mut start, mut end) = (vpn, vpn + 1);
        let range = match pfn {
            // Do not map over what the host has already: that would cut its mapping in two.
            Some(_) => self.host.hole(vpn, range),
            None => range,
        };
        let may_write = |p: Pte, excl: bool| if v.shared() { p.writable() } else { excl };
        let all = prot_closure(v.prot);
        let (with, without) = (all == rights, all - Prot::WRITE == rights);
        let fits = |at: u64, p: Pte, excl: bool| {
            let contiguous =
                pfn.is_none_or(|f| i64::from(p.pfn().0) - i64::from(f.0) == at as i64 - vpn as i64);
            p.present() && contiguous && if may_write(p, excl) { with } else { without }
        };
        self.pt.walk(vpn + 1, range, true, |at, p, excl| {
            let take = fits(at, p, excl);
            end = if take { at + 1 } else { end };
            take
        });
        if vpn > range.0 {
            self.pt.walk(vpn - 1, range, false, |at, p, excl| {
                let take = fits(at, p, excl);
                start = if take { at } else { start };
                take
            });
        }
        (start, end)
    }
}
