//! An address space: a stub, a queue of mapping operations for it, and an estimate of how many
//! mappings the host keeps for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use base::{Errno, Pfn, Rank, Result, SpinLock, UserAddr, err};

use super::PtraceMachine;
use super::queue::{Kind, Op, Queue};
use super::stub::Stub;
use super::task::{GuestTask, Halt};
use super::thread::PtraceThread;
use crate::machine::{Prot, Space, Thread};
use crate::regs::{Regs, XState};
use crate::stub::{MAX_REQUESTS, TEXT};
use crate::sys::HostPid;

/// The ptrace backend's [`Space`].
#[derive(Debug)]
pub(super) struct PtraceSpace {
    machine: Arc<PtraceMachine>,
    inner: SpinLock<Inner>,
    /// Whether the queue holds anything: looked at on every way into the guest.
    queued: AtomicBool,
    dead: AtomicBool,
    generation: AtomicU64,
}

#[derive(Debug)]
struct Inner {
    /// None only while the space is being dropped.
    stub: Option<Stub>,
    queue: Queue,
    /// Upper estimate of the host's mappings; corrected by counting when it gets high.
    mappings: usize,
}

impl PtraceSpace {
    pub(super) fn new(machine: Arc<PtraceMachine>, stub: Stub) -> PtraceSpace {
        let inner = Inner { stub: Some(stub), queue: Queue::default(), mappings: 2 };
        PtraceSpace {
            machine,
            inner: SpinLock::new(Rank::Machine, inner),
            queued: AtomicBool::new(false),
            dead: AtomicBool::new(false),
            generation: AtomicU64::new(0),
        }
    }

    pub(super) fn machine(&self) -> &PtraceMachine {
        &self.machine
    }

    #[inline]
    pub(super) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn has_queued(&self) -> bool {
        self.queued.load(Ordering::Relaxed)
    }

    /// Task `pid` of this space was found dead and has been reaped.
    #[cold]
    pub(super) fn task_died(&self, pid: HostPid) {
        self.dead.store(true, Ordering::Relaxed);
        if let Some(stub) = &mut self.inner.lock().stub {
            stub.task_died(pid);
        }
    }

    /// A thread is gone; its host task waits for the next one.
    pub(super) fn park(&self, task: GuestTask) {
        if let Some(stub) = &mut self.inner.lock().stub {
            stub.park(task);
        }
    }

    fn push(&self, at: UserAddr, pages: u64, kind: Kind) {
        assert!(
            at.is_page_aligned() && at.vpn().checked_add(pages).is_some_and(|e| e <= TEXT >> 12),
            "mapping operation outside of user space: {at}+{pages} pages"
        );
        self.inner.lock().queue.push(Op { vpn: at.vpn(), pages, kind });
        self.queued.store(true, Ordering::Relaxed);
    }

    /// Forgets all host mappings.
    fn drop_all(&self, inner: &mut Inner) -> Result<()> {
        inner.queue.clear();
        inner.mappings = 2;
        self.generation.fetch_add(1, Ordering::Relaxed);
        let stub = inner.stub.as_mut().ok_or(Errno::ESRCH)?;
        let gone = match stub.unmap_all() {
            Ok(()) => return Ok(()),
            Err(Halt::Failed(e, _)) => {
                log::error!("stub {}: cannot unmap: {e}", stub.server_pid());
                true
            }
            Err(Halt::Dead) => false,
        };
        if gone {
            inner.stub = None; // its drop ends every task
        }
        self.dead.store(true, Ordering::Relaxed);
        err(Errno::ESRCH)
    }

    fn flush_queue(&self, inner: &mut Inner) -> Result<()> {
        self.queued.store(false, Ordering::Relaxed);
        if self.is_dead() {
            inner.queue.clear();
            return err(Errno::ESRCH);
        }
        let mut from = 0;
        while from < inner.queue.ops().len() {
            let Inner { stub, queue, mappings } = &mut *inner;
            let stub = stub.as_mut().ok_or(Errno::ESRCH)?;
            let end = queue.ops().len().min(from + MAX_REQUESTS);
            let batch = &queue.ops()[from..end];
            *mappings += batch.iter().map(Op::adds).sum::<usize>();
            if *mappings >= self.machine.max_mappings() {
                *mappings = count_mappings(stub.server_pid()) + 2 * MAX_REQUESTS;
                if *mappings >= self.machine.max_mappings() - self.machine.max_mappings() / 8 {
                    log::debug!("stub {}: {mappings} mappings, dropped", stub.server_pid());
                    return self.drop_all(inner);
                }
            }
            match stub.batch(batch.iter().map(Op::request)) {
                Ok(()) => {}
                Err(Halt::Dead) => {
                    inner.queue.clear();
                    self.dead.store(true, Ordering::Relaxed);
                    return err(Errno::ESRCH);
                }
                Err(Halt::Failed(e, index)) => {
                    let op = batch.get(index as usize);
                    log::debug!("stub {}: {op:x?}: {e}", stub.server_pid());
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

impl Space for PtraceSpace {
    fn map(&self, at: UserAddr, pfn: Pfn, pages: u32, prot: Prot, populate: bool) {
        let end = u64::from(pfn.0) + u64::from(pages);
        assert!(end <= u64::from(self.machine.frames()), "frames outside of memory are mapped");
        self.push(at, pages.into(), Kind::Map { pfn, prot, populate });
    }
    fn unmap(&self, at: UserAddr, pages: u64) {
        self.push(at, pages, Kind::Unmap);
    }
    fn protect(&self, at: UserAddr, pages: u64, prot: Prot) {
        self.push(at, pages, Kind::Protect { prot });
    }
    fn flush(&self) -> Result<()> {
        if self.is_dead() {
            return err(Errno::ESRCH);
        }
        if !self.has_queued() {
            return Ok(());
        }
        self.machine.assert_owner();
        self.flush_queue(&mut self.inner.lock())
    }
    fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }
    fn host_mappings(&self) -> usize {
        self.inner.lock().mappings
    }
    fn new_thread(
        self: Arc<Self>,
        regs: &Regs,
        xstate: Option<&XState>,
    ) -> Result<Box<dyn Thread>> {
        self.machine.assert_owner();
        let task = {
            let mut inner = self.inner.lock();
            let stub = inner.stub.as_mut().ok_or(Errno::ESRCH)?;
            let task = stub.guest();
            if stub.is_dead() {
                self.dead.store(true, Ordering::Relaxed);
            }
            task?
        };
        let fresh = task.fresh;
        let mut thread = PtraceThread::new(self, task, regs);
        match xstate {
            Some(x) => thread.set_xstate(x)?,
            None if !fresh => thread.reset_xstate()?,
            None => {}
        }
        Ok(Box::new(thread))
    }
}

impl Drop for PtraceSpace {
    fn drop(&mut self) {
        // Unmapping costs tens of microseconds: not now.
        if let Some(stub) = self.inner.get_mut().stub.take() {
            self.machine.give_back(stub);
        }
    }
}
