//! [`Memory`]: the one value for all of memory. Frames, promises (commit accounting), the registry
//! of page caches, and what to do when frames run short.
//!
//! **Allocation.** `alloc_run` takes frames; below the reserve it asks reclaim (reclaim.rs) for
//! clean page-cache pages, writes dirty ones if the caller may do that, and at last says ENOMEM.
//! **Pressure.** Writing files from deep inside a file system could meet the locks of that file
//! system. So most of it is done where nobody holds a lock: [`crate::AddressSpace::before_user`]
//! looks at `pressure` and works there.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use arch::Machine;
use base::{Errno, Mutex, Rank, Result, SpinLock, err};

use crate::frame::{Frame, FrameRun, FrameTable, Kind, Place};
use crate::page_cache::PageCache;
use crate::types::MemStats;

/// What an allocation may do when memory is short.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Need {
    /// The caller may hold locks of a file system: give up clean pages, use the reserve.
    Clean,
    /// The caller holds no lock but its address space's: dirty pages may be written.
    Write,
}

/// A source of random bytes.
pub type Random = Box<dyn Fn(&mut [u8]) + Send + Sync>;
type OomHandler = Box<dyn Fn() + Send + Sync>;

/// All of memory.
pub struct Memory {
    machine: Arc<dyn Machine>,
    pub(crate) frames: Arc<FrameTable>,
    /// Page caches that hold pages, by id.
    pub(crate) caches: SpinLock<BTreeMap<u64, Weak<PageCache>>>,
    /// Where the clock hand of reclaim stands.
    pub(crate) hand: AtomicU64,
    /// One reclaimer writes at a time.
    pub(crate) writer: Mutex<()>,
    /// Non-zero: `before_user` should work on memory.
    pub(crate) pressure: AtomicU32,
    pub(crate) dirty: AtomicU64,
    pub(crate) writeback: AtomicU64,
    pub(crate) locked: AtomicU64,
    committed: AtomicU64,
    overcommit: AtomicU32,
    ratio: AtomicU32,
    smp: AtomicBool,
    randomize: AtomicU32,
    next_id: AtomicU64,
    /// Where patched system call sites enter the machine; 0: nothing is patched.
    pub(crate) patch_entry: AtomicU64,
    /// Files are patched when they are mapped for the second time only.
    pub(crate) patch_lazily: AtomicBool,
    /// Files that have a patch.
    pub(crate) patched: SpinLock<Vec<Weak<PageCache>>>,
    oom: SpinLock<Option<Arc<OomHandler>>>,
    random: SpinLock<Option<Arc<Random>>>,
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Memory({:?})", self.frames)
    }
}

impl Memory {
    /// All of `machine`'s memory, free. Address space layout is not random.
    pub fn new(machine: Arc<dyn Machine>) -> Arc<Memory> {
        Arc::new(Memory {
            frames: FrameTable::new(machine.phys().clone()),
            machine,
            caches: SpinLock::new(Rank::Leaf, BTreeMap::new()),
            hand: AtomicU64::new(0),
            writer: Mutex::new(()),
            pressure: AtomicU32::new(0),
            dirty: AtomicU64::new(0),
            writeback: AtomicU64::new(0),
            locked: AtomicU64::new(0),
            committed: AtomicU64::new(0),
            overcommit: AtomicU32::new(0),
            ratio: AtomicU32::new(50),
            smp: AtomicBool::new(false),
            randomize: AtomicU32::new(2),
            next_id: AtomicU64::new(1),
            patch_entry: AtomicU64::new(0),
            patch_lazily: AtomicBool::new(false),
            patched: SpinLock::new(Rank::Leaf, Vec::new()),
            oom: SpinLock::new(Rank::Leaf, None),
            random: SpinLock::new(Rank::Leaf, None),
        })
    }

    /// As [`Memory::new`], with a source of random bytes for address space layout.
    pub fn with_random(machine: Arc<dyn Machine>, random: Random) -> Arc<Memory> {
        let m = Memory::new(machine);
        m.set_random(random);
        m
    }

    /// The machine.
    pub fn machine(&self) -> &Arc<dyn Machine> {
        &self.machine
    }

    /// Numbers for /proc/meminfo, in pages.
    pub fn stats(&self) -> MemStats {
        let load = |a: &AtomicU64| a.load(Ordering::Relaxed);
        let f = &self.frames;
        let (total, free) = (u64::from(f.total()), u64::from(f.free_pages()));
        let (cache, shmem, dirty) = (f.used(Kind::Cache), f.used(Kind::Shm), load(&self.dirty));
        MemStats {
            total,
            free,
            available: (free + cache.saturating_sub(dirty))
                .saturating_sub(u64::from(self.reserve())),
            cached: cache + shmem,
            dirty,
            writeback: load(&self.writeback),
            anon: f.used(Kind::Anon),
            mapped: load(&f.mapped),
            shmem,
            kernel: f.used(Kind::Kernel),
            page_tables: load(&f.leaves),
            committed: load(&self.committed),
            commit_limit: self.commit_limit(),
            locked: load(&self.locked),
        }
    }

    /// What to do when nothing is left: the kernel kills the largest process. Called without spin
    /// locks, but with the sleeping lock of the faulting address space held: it must only mark the
    /// victim, not take its memory down.
    pub fn set_oom(&self, f: Box<dyn Fn() + Send + Sync>) {
        *self.oom.lock() = Some(Arc::new(f));
    }

    /// Where random bytes come from; without, layout is not random.
    pub fn set_random(&self, f: Random) {
        *self.random.lock() = Some(Arc::new(f));
    }

    /// `kernel.randomize_va_space`: 0 nothing, 1 without the heap, 2 everything.
    pub fn set_randomize(&self, level: u32) {
        self.randomize.store(level, Ordering::Relaxed);
    }
    /// See [`Memory::set_randomize`].
    pub fn randomize(&self) -> u32 {
        self.randomize.load(Ordering::Relaxed)
    }

    /// A random number below `bound` (a power of two); 0 without a source.
    pub(crate) fn random_below(&self, bound: u64) -> u64 {
        let source = self.random.lock().clone();
        let Some(source) = source else { return 0 };
        let mut b = [0; 8];
        source(&mut b);
        u64::from_le_bytes(b) & (bound - 1)
    }

    /// `vm.overcommit_memory`: 0 heuristic, 1 always, 2 never.
    pub fn overcommit(&self) -> u32 {
        self.overcommit.load(Ordering::Relaxed)
    }
    /// Sets `vm.overcommit_memory`.
    ///
    /// # Errors
    /// EINVAL for more than 2.
    pub fn set_overcommit(&self, mode: u32) -> Result<()> {
        if mode > 2 {
            return err(Errno::EINVAL);
        }
        self.overcommit.store(mode, Ordering::Relaxed);
        Ok(())
    }
    /// `vm.overcommit_ratio`, percent of memory.
    pub fn overcommit_ratio(&self) -> u32 {
        self.ratio.load(Ordering::Relaxed)
    }
    /// Sets `vm.overcommit_ratio`.
    pub fn set_overcommit_ratio(&self, percent: u32) {
        self.ratio.store(percent, Ordering::Relaxed);
    }
    fn commit_limit(&self) -> u64 {
        u64::from(self.frames.total()) * u64::from(self.overcommit_ratio()) / 100
    }

    /// Promises `pages` more. `man 5 proc_sys_vm`, overcommit_memory.
    pub(crate) fn charge(&self, pages: u64) -> Result<()> {
        let now = self.committed.fetch_add(pages, Ordering::Relaxed) + pages;
        let fine = match self.overcommit() {
            0 => pages <= u64::from(self.frames.total()),
            1 => true,
            _ => now <= self.commit_limit(),
        };
        if !fine {
            self.uncharge(pages);
            return err(Errno::ENOMEM);
        }
        Ok(())
    }
    pub(crate) fn uncharge(&self, pages: u64) {
        self.committed.fetch_sub(pages, Ordering::Relaxed);
    }

    /// Several virtual CPUs run guests: fork must write-protect the parent at once, because another
    /// thread of it may be in user mode.
    pub fn set_smp(&self, on: bool) {
        self.smp.store(on, Ordering::Relaxed);
    }
    pub(crate) fn smp(&self) -> bool {
        self.smp.load(Ordering::Relaxed)
    }

    pub(crate) fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Frames that only allocations may take which help to free others.
    pub(crate) fn reserve(&self) -> u32 {
        (self.frames.total() / 128).clamp(4, 256)
    }

    /// One zeroed frame for the kernel's own use (a vDSO page, a bounce buffer).
    ///
    /// # Errors
    /// ENOMEM.
    pub fn alloc(self: &Arc<Self>) -> Result<Frame> {
        let mut run = self.alloc_run(1, Kind::Kernel, Need::Clean)?;
        run.zero();
        Ok(run.into_frame())
    }

    /// Up to `want` contiguous frames, fewer if memory is short; not zeroed.
    ///
    /// # Errors
    /// ENOMEM if not even one can be had. The out-of-memory handler is not called.
    pub(crate) fn alloc_run(
        self: &Arc<Self>,
        want: u32,
        kind: Kind,
        need: Need,
    ) -> Result<FrameRun> {
        self.alloc_placed(want, Place::Any, kind, need)
    }

    /// As [`Memory::alloc_run`], in a certain place if that can be had.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn alloc_placed(
        self: &Arc<Self>,
        want: u32,
        place: Place,
        kind: Kind,
        need: Need,
    ) -> Result<FrameRun> {
        let reserve = self.reserve();
        for _ in 0..16 {
            let free = self.frames.free_pages();
            // Long runs only while there is plenty.
            let spare = free.saturating_sub(reserve);
            let want = want.min((spare / 16).max(1));
            if free < reserve * 2 {
                self.pressure.store(1, Ordering::Relaxed);
            }
            if let Some(run) = self.frames.alloc(want, place, kind, reserve) {
                return Ok(run);
            }
            let target = u64::from(want.max((self.frames.total() / 64).clamp(32, 256)));
            // Mapped file pages may make room for other file pages. For anonymous memory they do only
            // while there are many: programs need their text to run at all, and taking the last of it
            // would trade one fault for the next for ever instead of saying that memory is out.
            let mapped = kind == Kind::Cache || self.frames.used(Kind::Cache) > self.text_floor();
            if self.reclaim(target, need, mapped) == 0 {
                break;
            }
        }
        if need == Need::Clean
            && let Some(run) = self.frames.alloc(1, place, kind, 0)
        {
            return Ok(run);
        }
        err(Errno::ENOMEM)
    }

    /// Pages of the page cache that anonymous memory cannot push out while they are mapped.
    fn text_floor(&self) -> u64 {
        u64::from((self.frames.total() / 32).max(512).min(self.frames.total() / 16))
    }

    /// Tells the kernel that nothing is left.
    pub(crate) fn call_oom(&self) {
        let f = self.oom.lock().clone();
        log::warn!("out of memory: {:?}", self.stats());
        if let Some(f) = f {
            f();
        }
    }
}
