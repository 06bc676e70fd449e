//! [`AddressSpace`]: the memory of one process.
//!
//! Neighbours: mapping.rs (mmap and its family), advise.rs (madvise, mincore, msync, mlock),
//! fault.rs (page faults), uaccess.rs (the kernel's access to user memory), fork.rs (fork, exec and
//! exit). This file has the type, its life, and what it says about itself.
//!
//! **Locks.** `mmap` sleeps and is held for every change of the VMAs and for a whole fault with its
//! I/O. `inner` is a spin lock around the data; it is held for lookups and changes in memory, and
//! for the copying of user data. The reverse map of page caches takes only `inner`, and only takes
//! pages away: so what a fault has looked up must be looked up again after `inner` was let go, but a
//! page that is absent stays absent until the holder of `mmap` puts it there.
//!
//! **Garbage.** A frame that guest code might still reach through a host mapping waits in
//! `garbage` until the host's queue has been flushed.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Weak};

use arch::{Prot, Space};
use base::addr::USER_TOP;
use base::{Mutex, PAGE_SHIFT, Rank, Result, SpinLock, UserAddr};

use crate::fork::Token;
use crate::host_map::HostMap;
use crate::hot::Foresight;
use crate::mappable::ObjectName;
use crate::memory::Memory;
use crate::page_table::{Garbage, PageTable};
use crate::patch_map::Trampolines;
use crate::types::{Layout, MmLimits, Usage, VmaInfo};
use crate::uaccess::TransCache;
use crate::vma::{Vma, VmaFlags, VmaSet};

/// First page that no mapping reaches.
pub(crate) const TOP_PAGE: u64 = USER_TOP >> PAGE_SHIFT;
/// More frames than this in `garbage`, and they are flushed at once.
const LAZY_FRAMES: u64 = 512;

/// The memory of one process: VMAs, page table, and the host side of both.
pub struct AddressSpace {
    pub(crate) id: u64,
    pub(crate) me: Weak<AddressSpace>,
    pub(crate) memory: Arc<Memory>,
    pub(crate) space: Arc<dyn Space>,
    /// Non-zero: `before_user` has something to do.
    pub(crate) work: AtomicU32,
    /// It has or had patched text: instruction pointers need a look.
    pub(crate) patches: AtomicBool,
    pub(crate) mmap: Mutex<()>,
    pub(crate) inner: SpinLock<Inner>,
}

/// What the spin lock protects.
pub(crate) struct Inner {
    pub(crate) vmas: VmaSet,
    pub(crate) pt: PageTable,
    pub(crate) host: HostMap,
    pub(crate) cache: TransCache,
    pub(crate) garbage: Garbage,
    /// Rights were taken away in the host's queue and nobody has flushed it since.
    pub(crate) queued: bool,
    /// Forks whose children may still share pages that our host mappings let us write.
    pub(crate) shares: Vec<Weak<Token>>,
    /// Our part in forks of our ancestors.
    pub(crate) held: Vec<Arc<Token>>,
    pub(crate) limits: MmLimits,
    pub(crate) layout: Layout,
    /// Page below which mappings without a fixed address go.
    pub(crate) mmap_base: u64,
    pub(crate) locked: u64,
    pub(crate) lock_future: bool,
    pub(crate) randomize: bool,
    pub(crate) peak_pages: u64,
    pub(crate) foresight: Foresight,
    /// Trampolines of patched text.
    pub(crate) patches: Vec<Trampolines>,
    /// Nothing is patched until exec.
    pub(crate) unpatched: bool,
}

impl fmt::Debug for AddressSpace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let g = self.inner.lock();
        write!(f, "AddressSpace({}: {} VMAs, {} resident", self.id, g.vmas.len(), g.pt.resident())?;
        write!(f, ", {} host ranges)", if g.host.is_empty() { "no" } else { "some" })
    }
}

impl AddressSpace {
    /// An empty address space.
    ///
    /// # Errors
    /// ENOMEM or EAGAIN if the host has no process to give.
    pub fn new(memory: &Arc<Memory>) -> Result<Arc<AddressSpace>> {
        let s = AddressSpace::empty(memory, memory.machine().new_space()?);
        s.choose_base();
        Ok(s)
    }

    pub(crate) fn empty(memory: &Arc<Memory>, space: Arc<dyn Space>) -> Arc<AddressSpace> {
        let inner = Inner {
            vmas: VmaSet::default(),
            pt: PageTable::new(&memory.frames),
            host: HostMap::new(&*space),
            cache: TransCache::default(),
            garbage: Garbage::default(),
            queued: false,
            shares: Vec::new(),
            held: Vec::new(),
            limits: MmLimits::default(),
            layout: Layout::default(),
            mmap_base: TOP_PAGE,
            locked: 0,
            lock_future: false,
            randomize: true,
            peak_pages: 0,
            foresight: Foresight::default(),
            patches: Vec::new(),
            unpatched: false,
        };
        Arc::new_cyclic(|me| AddressSpace {
            id: memory.next_id(),
            me: me.clone(),
            memory: memory.clone(),
            space,
            work: AtomicU32::new(0),
            patches: AtomicBool::new(false),
            mmap: Mutex::new(()),
            inner: SpinLock::new(Rank::AddressSpace, inner),
        })
    }

    /// A number that no other address space has had.
    pub fn id(&self) -> u64 {
        self.id
    }
    /// All of memory.
    pub fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }
    /// The host side, to start threads in.
    pub fn space(&self) -> &Arc<dyn Space> {
        &self.space
    }

    /// Called before each entry to user mode, without any lock held: write-protects what a child of
    /// fork still shares, frees what waited for a flush, helps when memory is short. Two relaxed
    /// loads when there is nothing to do.
    ///
    /// # Errors
    /// ESRCH if the host side is dead.
    #[inline]
    pub fn before_user(&self) -> Result<()> {
        if self.work.load(Ordering::Relaxed) | self.memory.pressure.load(Ordering::Relaxed) == 0 {
            return Ok(());
        }
        self.before_user_slow()
    }

    /// Ends an operation that took pages away: `garbage` is freed now if the host cannot reach it,
    /// else after the next flush, which is now if there is much of it.
    pub(crate) fn finish(
        &self,
        mut g: base::lock::SpinGuard<'_, Inner>,
        garbage: Garbage,
        vmas: Vec<Vma>,
    ) {
        let mut flushed = None;
        let mut old = None;
        if g.queued {
            let lazy = g.garbage.pages + garbage.pages <= LAZY_FRAMES;
            let before = std::mem::take(&mut g.garbage);
            if lazy {
                g.garbage = before.and(garbage);
                self.work.store(1, Ordering::Relaxed);
            } else {
                g.queued = false;
                flushed = Some(before);
                old = Some(garbage);
            }
        } else {
            old = Some(garbage);
        }
        drop(g);
        if flushed.is_some() {
            // An error means that the space is dead or that everything is unmapped: both will do.
            let _ = self.space.flush();
        }
        drop((flushed, old));
        drop(vmas); // objects may go with them: no spin lock is held
    }

    /// Sets the resource limits; later calls heed them.
    pub fn set_limits(&self, limits: MmLimits) {
        self.inner.lock().limits = limits;
    }
    /// The resource limits.
    pub fn limits(&self) -> MmLimits {
        self.inner.lock().limits
    }
    /// Replaces the record of what lies where. `start_brk` and `brk` are taken too: the heap's VMA
    /// itself is not touched (prctl(2) PR_SET_MM).
    pub fn set_layout(&self, layout: Layout) {
        let old = std::mem::replace(&mut self.inner.lock().layout, layout);
        drop(old); // outside of the lock: the executable may go with it
    }
    /// What lies where.
    pub fn layout(&self) -> Layout {
        self.inner.lock().layout.clone()
    }

    /// All mappings in order, without counting pages.
    pub fn vmas(&self) -> Vec<VmaInfo> {
        let copies: Vec<Vma> = self.inner.lock().vmas.iter().cloned().collect();
        copies.iter().map(info).collect()
    }

    /// All mappings in order with their resident pages (/proc/PID/smaps).
    pub fn vmas_detailed(&self) -> Vec<VmaInfo> {
        let copies: Vec<(Vma, u64, u64)> = {
            let g = self.inner.lock();
            let count = |v: &Vma| {
                let (mut rss, mut anon) = (0, 0);
                g.pt.for_each(v.start, v.end, |_, p| {
                    rss += 1;
                    anon += u64::from(p.is_anon());
                });
                (v.clone(), rss, anon)
            };
            g.vmas.iter().map(count).collect()
        };
        copies.iter().map(|(v, rss, anon)| VmaInfo { rss: *rss, anon: *anon, ..info(v) }).collect()
    }

    /// Sizes in pages.
    pub fn usage(&self) -> Usage {
        let g = self.inner.lock();
        let [rss_anon, rss_file, rss_shmem] = g.pt.counts();
        let mut u = Usage {
            vsize: g.vmas.pages(),
            rss: g.pt.resident(),
            rss_anon,
            rss_file,
            rss_shmem,
            locked: g.locked,
            page_tables: g.pt.leaf_count(),
            peak_vsize: g.peak_pages.max(g.vmas.pages()),
            peak_rss: g.pt.peak(),
            ..Usage::default()
        };
        for v in g.vmas.iter() {
            if v.flags.contains(VmaFlags::STACK) {
                u.stack += v.pages();
            } else if is_data(v) {
                u.data += v.pages();
            } else if v.prot.contains(Prot::EXEC) && v.mapping.is_some() {
                u.text += v.pages();
            }
        }
        u
    }

    /// personality(2) ADDR_NO_RANDOMIZE: `false` makes the layout predictable from the next
    /// [`AddressSpace::clear`] on. Inherited by fork.
    pub fn set_randomize(&self, on: bool) {
        self.inner.lock().randomize = on;
    }

    fn random_pages(&self, bound: u64, level: u32) -> u64 {
        if self.memory.randomize() < level || !self.inner.lock().randomize {
            return 0;
        }
        self.memory.random_below(bound)
    }

    /// Chooses where mappings go: below the stack's greatest size, like Linux's mmap_base().
    pub(crate) fn choose_base(&self) {
        let random = self.random_pages(1 << 28, 1);
        let mut g = self.inner.lock();
        // The gap holds the stack, its guard and the 16 GiB by which the stack's top is random.
        let gap = (g.limits.stack >> PAGE_SHIFT).clamp(1 << 15, TOP_PAGE / 6 * 5) + (1 << 22);
        let base = TOP_PAGE.saturating_sub(gap + crate::vma::GUARD);
        g.mmap_base = base.saturating_sub(random.min(base / 2));
    }

    /// Where exec puts the top of the stack (the end of its VMA), page aligned.
    pub fn pick_stack_top(&self) -> UserAddr {
        UserAddr((TOP_PAGE - self.random_pages(1 << 22, 1)) << PAGE_SHIFT)
    }
    /// Where exec loads a position independent program that has an interpreter: from two thirds of
    /// the address space on.
    pub fn pick_pie_base(&self) -> UserAddr {
        let base = TOP_PAGE / 3 * 2;
        UserAddr((base + self.random_pages(1 << 28, 1)) << PAGE_SHIFT)
    }
    /// Where the heap starts if the program's data ends at `end`.
    pub fn pick_brk(&self, end: UserAddr) -> UserAddr {
        let at = end.page_up().unwrap_or(end);
        UserAddr(at.0 + (self.random_pages(1 << 13, 2) << PAGE_SHIFT))
    }
}

/// Whether a VMA counts for `RLIMIT_DATA` and VmData.
pub(crate) fn is_data(v: &Vma) -> bool {
    !v.shared() && v.prot.contains(Prot::WRITE) && !v.flags.contains(VmaFlags::STACK)
}

fn info(v: &Vma) -> VmaInfo {
    let name = match &v.mapping {
        Some(m) => m.object.name(),
        None => {
            let text = if v.flags.contains(VmaFlags::STACK) {
                "[stack]"
            } else if v.flags.contains(VmaFlags::HEAP) {
                "[heap]"
            } else {
                v.name.unwrap_or("")
            };
            ObjectName { path: text.as_bytes().to_vec(), ..ObjectName::default() }
        }
    };
    VmaInfo {
        start: UserAddr(v.start << PAGE_SHIFT),
        end: UserAddr(v.end << PAGE_SHIFT),
        prot: v.prot,
        max_prot: v.max_prot,
        shared: v.shared(),
        offset: v.pgoff << PAGE_SHIFT,
        name,
        file: v.mapping.is_some(),
        locked: v.flags.contains(VmaFlags::LOCKED),
        growsdown: v.flags.contains(VmaFlags::GROWSDOWN),
        noreserve: v.flags.contains(VmaFlags::NORESERVE),
        dontfork: v.flags.contains(VmaFlags::DONTFORK),
        wipeonfork: v.flags.contains(VmaFlags::WIPEONFORK),
        dontdump: v.flags.contains(VmaFlags::DONTDUMP),
        rss: 0,
        anon: 0,
    }
}
