//! An address space: a stub and what waits for it.

use std::sync::Arc;

use base::{Errno, Pfn, Result, UserAddr};

use super::PtraceMachine;
use super::stub::Stub;
use super::task::GuestTask;
use super::thread::PtraceThread;
use crate::machine::{Prot, Space, Thread};
use crate::regs::{Regs, XState};
use crate::space::SpaceCore;
use crate::stub::TEXT;
use crate::sys::HostPid;

/// The ptrace backend's [`Space`].
#[derive(Debug)]
pub(super) struct PtraceSpace {
    machine: Arc<PtraceMachine>,
    core: SpaceCore<Stub>,
}

impl PtraceSpace {
    pub(super) fn new(machine: Arc<PtraceMachine>, stub: Stub) -> PtraceSpace {
        let core = SpaceCore::new(stub, TEXT, machine.frames(), machine.max_mappings());
        PtraceSpace { machine, core }
    }

    pub(super) fn machine(&self) -> &PtraceMachine {
        &self.machine
    }

    #[inline]
    pub(super) fn is_dead(&self) -> bool {
        self.core.is_dead()
    }

    #[inline]
    pub(super) fn is_due(&self) -> bool {
        self.core.is_due()
    }

    /// Task `pid` of this space was found dead and has been reaped.
    #[cold]
    pub(super) fn task_died(&self, pid: HostPid) {
        self.core.set_dead();
        if let Some(stub) = &mut self.core.lock().server {
            stub.task_died(pid);
        }
    }

    /// A thread is gone; its host task waits for the next one.
    pub(super) fn park(&self, task: GuestTask) {
        if let Some(stub) = &mut self.core.lock().server {
            stub.park(task);
        }
    }
}

impl Space for PtraceSpace {
    fn map(&self, at: UserAddr, pfn: Pfn, pages: u32, prot: Prot, populate: bool) {
        self.core.map(at, pfn, pages, prot, populate);
    }
    fn add(&self, at: UserAddr, pfn: Pfn, pages: u32, prot: Prot, populate: bool) {
        self.core.add(at, pfn, pages, prot, populate);
    }
    fn unmap(&self, at: UserAddr, pages: u64) {
        self.core.unmap(at, pages);
    }
    fn protect(&self, at: UserAddr, pages: u64, prot: Prot) {
        self.core.protect(at, pages, prot);
    }
    fn has_queued(&self) -> bool {
        self.core.has_queued()
    }
    fn demand(&self) {
        self.core.demand();
    }
    fn flush(&self) -> Result<()> {
        self.machine.assert_owner();
        self.core.flush()
    }
    fn generation(&self) -> u64 {
        self.core.generation()
    }
    fn new_thread(
        self: Arc<Self>,
        regs: &Regs,
        xstate: Option<&XState>,
    ) -> Result<Box<dyn Thread>> {
        self.machine.assert_owner();
        let task = {
            let mut inner = self.core.lock();
            let stub = inner.server.as_mut().ok_or(Errno::ESRCH)?;
            let task = stub.guest();
            if stub.is_dead() {
                self.core.set_dead();
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
        if let Some(stub) = self.core.take_server() {
            self.machine.give_back(stub);
        }
    }
}
