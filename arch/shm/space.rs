//! The shm backend's [`Space`]: a stub and what waits for it.

use std::sync::Arc;

use base::{Errno, Pfn, Result, UserAddr};

use super::ShmMachine;
use super::stub::{GuestTask, Stub};
use super::thread::ShmThread;
use crate::machine::{Prot, Space, Thread};
use crate::regs::{Regs, XState};
use crate::space::SpaceCore;

/// An address space.
#[derive(Debug)]
pub(super) struct ShmSpace {
    machine: Arc<ShmMachine>,
    core: SpaceCore<Stub>,
}

impl ShmSpace {
    pub(super) fn new(machine: Arc<ShmMachine>, stub: Stub) -> ShmSpace {
        let top = base::addr::USER_TOP;
        let core = SpaceCore::new(stub, top, machine.frames(), machine.max_mappings());
        ShmSpace { machine, core }
    }

    pub(super) fn machine(&self) -> &ShmMachine {
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

    /// A thread of this space is dead, or must be.
    #[cold]
    pub(super) fn lost(&self) {
        self.core.set_dead();
        if let Some(stub) = &mut self.core.lock().server {
            stub.lost();
        }
    }

    /// A thread is gone; its host task waits for the next one.
    pub(super) fn park(&self, task: GuestTask) {
        if let Some(stub) = &mut self.core.lock().server {
            stub.park(task);
        }
    }
}

impl Space for ShmSpace {
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
        let task = {
            let mut inner = self.core.lock();
            let stub = inner.server.as_mut().ok_or(Errno::ESRCH)?;
            let task = stub.guest();
            if stub.is_dead() {
                self.core.set_dead();
            }
            task?
        };
        Ok(Box::new(ShmThread::new(self, task, regs, xstate)))
    }
}

impl Drop for ShmSpace {
    fn drop(&mut self) {
        // Unmapping costs tens of microseconds: not now.
        if let Some(stub) = self.core.take_server() {
            self.machine.give_back(stub);
        }
    }
}
