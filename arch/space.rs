//! What the address spaces of every backend that runs guests in host processes share: the queue of mapping
//! operations, its execution in batches by a *mapping server*, the estimate of how many mappings the
//! host keeps, and the way out when the host refuses one: forget them all.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use base::lock::SpinGuard;
use base::{Errno, Pfn, Rank, Result, SpinLock, UserAddr, err};

use crate::machine::Prot;
use crate::queue::{Kind, Op, Queue};
use crate::sys::HostPid;

/// Most operations that a server executes at a time.
pub(crate) const MAX_BATCH: usize = 64;
/// Mappings of an empty space: the stub's own.
const OWN_MAPPINGS: usize = 4;

/// Why native execution in a stub did not get where it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Halt {
    /// The task is dead and reaped.
    Dead,
    /// A host call failed: errno, and which one (in a batch: the index of the operation).
    Failed(Errno, u64),
}

impl From<Halt> for base::Error {
    #[track_caller]
    fn from(h: Halt) -> base::Error {
        match h {
            Halt::Dead => Errno::ESRCH.into(),
            Halt::Failed(e, _) => e.into(),
        }
    }
}

/// The host side of one space: whoever executes mapping operations in it.
pub(crate) trait MappingServer: std::fmt::Debug + Send {
    /// Its host process, for messages and /proc.
    fn host_pid(&self) -> HostPid;
    /// Executes up to [`MAX_BATCH`] operations in order. `Failed` carries the errno and the index
    /// of the operation; those before it have been executed.
    fn batch(&mut self, ops: &[Op]) -> Result<(), Halt>;
    /// Unmaps everything that is the guest's.
    fn unmap_all(&mut self) -> Result<(), Halt>;
}

/// So many operations wait at most until somebody demands them.
const MAX_WAITING: usize = 8 * MAX_BATCH;

/// One space: a server `S` and what waits for it.
#[derive(Debug)]
pub(crate) struct SpaceCore<S> {
    inner: SpinLock<Inner<S>>,
    queued: AtomicBool,
    /// Whether the queue must be executed before guest code runs: looked at on every way there.
    due: AtomicBool,
    dead: AtomicBool,
    generation: AtomicU64,
    /// First page behind what guests may have mapped, and how many frames there are.
    top_vpn: u64,
    frames: u32,
    max_mappings: usize,
}

#[derive(Debug)]
pub(crate) struct Inner<S> {
    /// None only while the space is being dropped, or when it could not even be emptied.
    pub(crate) server: Option<S>,
    queue: Queue,
    /// Upper estimate of the host's mappings; corrected by counting when it gets high.
    mappings: usize,
}

impl<S: MappingServer> SpaceCore<S> {
    /// An empty space. Guest mappings end below `top`; there are `frames` frames.
    pub(crate) fn new(server: S, top: u64, frames: u32, max_mappings: usize) -> SpaceCore<S> {
        let inner = Inner { server: Some(server), queue: Queue::default(), mappings: OWN_MAPPINGS };
        SpaceCore {
            inner: SpinLock::new(Rank::Machine, inner),
            queued: AtomicBool::new(false),
            due: AtomicBool::new(false),
            dead: AtomicBool::new(false),
            generation: AtomicU64::new(0),
            top_vpn: top >> 12,
            frames,
            max_mappings,
        }
    }

    #[inline]
    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }
    pub(crate) fn set_dead(&self) {
        self.dead.store(true, Ordering::Relaxed);
    }
    #[inline]
    pub(crate) fn has_queued(&self) -> bool {
        self.queued.load(Ordering::Relaxed)
    }
    pub(crate) fn lock(&self) -> SpinGuard<'_, Inner<S>> {
        self.inner.lock()
    }
    /// The server, of a space that nobody else can reach any more.
    pub(crate) fn take_server(&mut self) -> Option<S> {
        self.inner.get_mut().server.take()
    }

    #[inline]
    pub(crate) fn is_due(&self) -> bool {
        self.due.load(Ordering::Relaxed)
    }
    /// See [`crate::Space::demand`].
    pub(crate) fn demand(&self) {
        if self.has_queued() {
            self.due.store(true, Ordering::Relaxed);
        }
    }
    fn push(&self, at: UserAddr, pages: u64, kind: Kind) {
        assert!(
            at.is_page_aligned() && at.vpn().checked_add(pages).is_some_and(|e| e <= self.top_vpn),
            "mapping operation outside of user space: {at}+{pages} pages"
        );
        let mut inner = self.inner.lock();
        inner.queue.push(Op { vpn: at.vpn(), pages, kind });
        if inner.queue.ops().len() >= MAX_WAITING {
            self.due.store(true, Ordering::Relaxed);
        }
        drop(inner);
        self.queued.store(true, Ordering::Relaxed);
    }
    /// See [`crate::Space::map`].
    pub(crate) fn map(&self, at: UserAddr, pfn: Pfn, pages: u32, prot: Prot, populate: bool) {
        self.add(at, pfn, pages, prot, populate);
        self.demand();
    }
    /// See [`crate::Space::add`].
    pub(crate) fn add(&self, at: UserAddr, pfn: Pfn, pages: u32, prot: Prot, populate: bool) {
        let end = u64::from(pfn.0) + u64::from(pages);
        assert!(end <= u64::from(self.frames), "frames outside of memory are mapped");
        self.push(at, pages.into(), Kind::Map { pfn, prot, populate });
    }
    /// See [`crate::Space::unmap`].
    pub(crate) fn unmap(&self, at: UserAddr, pages: u64) {
        self.push(at, pages, Kind::Unmap);
        self.demand();
    }
    /// See [`crate::Space::protect`].
    pub(crate) fn protect(&self, at: UserAddr, pages: u64, prot: Prot) {
        self.push(at, pages, Kind::Protect { prot });
        self.demand();
    }
    /// See [`crate::Space::generation`].
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }
    /// See [`crate::Space::flush`].
    pub(crate) fn flush(&self) -> Result<()> {
        if self.is_dead() {
            return err(Errno::ESRCH);
        }
        if !self.has_queued() {
            return Ok(());
        }
        self.flush_queue(&mut self.inner.lock())
    }

    /// Forgets all host mappings.
    fn drop_all(&self, inner: &mut Inner<S>) -> Result<()> {
        inner.queue.clear();
        inner.mappings = OWN_MAPPINGS;
        self.generation.fetch_add(1, Ordering::Relaxed);
        let server = inner.server.as_mut().ok_or(Errno::ESRCH)?;
        let gone = match server.unmap_all() {
            Ok(()) => return Ok(()),
            Err(Halt::Failed(e, _)) => {
                log::error!("stub {}: cannot unmap: {e}", server.host_pid());
                true
            }
            Err(Halt::Dead) => false,
        };
        if gone {
            inner.server = None; // its drop ends every task
        }
        self.set_dead();
        err(Errno::ESRCH)
    }

    fn flush_queue(&self, inner: &mut Inner<S>) -> Result<()> {
        self.queued.store(false, Ordering::Relaxed);
        self.due.store(false, Ordering::Relaxed);
        if self.is_dead() {
            inner.queue.clear();
            return err(Errno::ESRCH);
        }
        let mut from = 0;
        while from < inner.queue.ops().len() {
            let Inner { server, queue, mappings } = &mut *inner;
            let server = server.as_mut().ok_or(Errno::ESRCH)?;
            let end = queue.ops().len().min(from + MAX_BATCH);
            let batch = &queue.ops()[from..end];
            *mappings += batch.iter().map(Op::adds).sum::<usize>();
            if *mappings >= self.max_mappings {
                *mappings = count_mappings(server.host_pid()) + 2 * MAX_BATCH;
                if *mappings >= self.max_mappings - self.max_mappings / 8 {
                    log::debug!("stub {}: {mappings} mappings, dropped", server.host_pid());
                    return self.drop_all(inner);
                }
            }
            match server.batch(batch) {
                Ok(()) => {}
                Err(Halt::Dead) => {
                    inner.queue.clear();
                    self.set_dead();
                    return err(Errno::ESRCH);
                }
                Err(Halt::Failed(e, index)) => {
                    let op = batch.get(index as usize);
                    log::debug!("stub {}: {op:x?}: {e}", server.host_pid());
                    self.drop_all(inner)?;
                    return err(Errno::ENOMEM);
                }
            }
            from = end;
        }
        inner.queue.clear();
        Ok(())
    }
}

/// How many mappings the host has for a process; more than any limit if it does not tell.
fn count_mappings(pid: HostPid) -> usize {
    std::fs::read(format!("/proc/{pid}/maps"))
        .map_or(usize::MAX / 2, |m| m.iter().filter(|&&b| b == b'\n').count())
}

/// How many mappings a space may have: the host's limit (vm.max_map_count) with room to spare, and
/// no more than 60,000.
pub(crate) fn max_mappings() -> usize {
    std::fs::read_to_string("/proc/sys/vm/max_map_count")
        .ok()
        .and_then(|s| s.trim().parse::<usize>().ok())
        .map_or(50_000, |n| (n - n / 12).clamp(512, 60_000))
}
