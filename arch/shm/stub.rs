//! One stub: a host process whose first thread is the mapping server, the others guest threads.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use base::{Errno, PAGE_SIZE, Result, err};

use super::control::{Region, Slot};
use super::handoff::{Lost, Placed};
use super::host::{self, Host, futex_wake};
use super::layout::{K_SIZE, Operation, REGIONS, S_SIZE, TEXT, THREAD_FLAGS, event, k, report, s};
use crate::pool::PooledStub;
use crate::queue::{Kind, Op, host_prot};
use crate::space::{Halt, MappingServer};
use crate::sys::{self, HostPid};
use crate::xsave;

/// A stub with more guest threads than this does not go into the pool.
const KEEP_THREADS: usize = 4;
/// PKRU in the feature masks: guests have no protection keys.
const PKRU: u64 = 1 << 9;

/// A host thread for a guest thread.
#[derive(Debug)]
pub(super) struct GuestTask {
    pub(super) region: Region,
    pub(super) placed: Placed,
    /// Number of the last event.
    pub(super) event: u32,
}

/// An address space of the host with its server.
#[derive(Debug)]
pub(super) struct Stub {
    host: Arc<Host>,
    pid: HostPid,
    slot: Slot,
    server: Region,
    /// The host CPU that the server is bound to, as far as known.
    on: Option<usize>,
    /// Number of the last batch.
    go: u32,
    /// `host::deaths` when the process was last looked at.
    deaths: u32,
    /// The guest threads, parked or not.
    tids: Vec<HostPid>,
    parked: Vec<GuestTask>,
    dead: bool,
    /// Something in it did what it never does: not for another guest.
    suspect: bool,
}

impl Stub {
    pub(super) fn new(host: Arc<Host>, pid: HostPid, slot: Slot) -> Stub {
        let server = slot.region(0);
        Stub {
            host,
            pid,
            slot,
            server,
            on: None,
            go: 0,
            deaths: host::deaths().wrapping_sub(1),
            tids: Vec::new(),
            parked: Vec::new(),
            dead: false,
            suspect: false,
        }
    }

    pub(super) fn is_dead(&self) -> bool {
        self.dead
    }

    /// Lets the server execute `n` operations of its page.
    fn execute(&mut self, n: usize) -> Result<(), Halt> {
        let deaths = host::deaths();
        if self.deaths != deaths {
            // Others may have read the news.
            self.deaths = deaths;
            self.is_alive();
        }
        if self.dead {
            return Err(Halt::Dead);
        }
        self.server.k32(k::COUNT).store(n as u32, Ordering::Relaxed);
        self.go = self.go.wrapping_add(1);
        self.server.k32(k::GO).swap(self.go, Ordering::SeqCst);
        let done = |sum| sum & (report::FAILED | report::DONE) != 0;
        let (pid, server) = (self.pid, &self.server);
        let handoff = &self.host.handoff;
        let looked = handoff.call_server(&self.slot, server, (pid, &mut self.on), self.go);
        // What was seen is a hint that a guest can write, and it may have woken nobody.
        let wake = looked.then_some(|| futex_wake(server.k32(k::GO)));
        let result = self.host.wait(done, wake, || host::lives(pid));
        handoff.served(&self.slot);
        match result {
            Ok(sum) if sum & report::FAILED == 0 => Ok(()),
            Ok(_) => {
                // A hint: a guest can write it. That something failed is certain.
                let word = self.server.s64(s::RESULT).load(Ordering::Relaxed);
                let errno = Errno::from_code((word as i32 & 0xfff).max(1));
                Err(Halt::Failed(errno, (n as u64).saturating_sub(word >> 32)))
            }
            Err(_) => {
                self.bury();
                Err(Halt::Dead)
            }
        }
    }

    /// A guest task: a parked one, else a new one.
    pub(super) fn guest(&mut self) -> Result<GuestTask> {
        if self.dead {
            return err(Errno::ESRCH);
        }
        if let Some(task) = self.parked.pop() {
            return Ok(task);
        }
        let number = self.tids.len() + 1;
        if number >= REGIONS {
            return err(Errno::EAGAIN);
        }
        let region = self.slot.region(number);
        region.k32(k::SLEEP).store(1, Ordering::Relaxed);
        region.k64(k::FEATURES).store(xsave::layout().features & !PKRU, Ordering::Relaxed);
        region.k64(k::STACK).store(region.s_address() + s::STACK as u64, Ordering::Relaxed);
        region.k64(k::STACK + 16).store((S_SIZE - s::STACK) as u64, Ordering::Relaxed);
        self.server.put(
            0,
            Operation {
                addr: THREAD_FLAGS.into(),
                len: 0,
                offset: number as u64,
                nr: libc::SYS_clone as u16,
                prot: 0,
                flags: 0,
            },
        );
        match self.execute(1) {
            Ok(()) => {}
            Err(Halt::Failed(e, _)) => return err(e),
            Err(Halt::Dead) => return err(Errno::ESRCH),
        }
        let tid = self.server.s64(s::RESULT).load(Ordering::Relaxed) as HostPid;
        let placed = Placed { pid: self.pid, tid, on: None };
        // Siblings can write both the id and the report. But one that is a thread of this process, and
        // none of the others, is the right one; and before its locks are closed it takes no signal.
        let known = tid == self.pid || self.tids.contains(&tid);
        let ready = !known
            && sys::is_thread_of(self.pid, tid)
            && self.host.handoff.wait_soon(&region, &placed, 1).is_ok()
            && region.s32(s::TYPE).load(Ordering::Relaxed) == event::READY;
        self.tids.push(tid);
        if !ready {
            log::error!("stub {}: a guest thread could not be armed", self.pid);
            self.bury();
            return err(Errno::ESRCH);
        }
        Ok(GuestTask { region, placed, event: 1 })
    }

    /// Takes a guest task back that no thread needs any more.
    pub(super) fn park(&mut self, task: GuestTask) {
        if !self.dead {
            self.parked.push(task);
        }
    }

    /// Makes every guest thread start anew and waits for it. That a thread has is not proved by its
    /// event, which could be its own work: it is by a number that comes with the signal, which the
    /// handler copies when it has looked at RESET. Until then only the host knows it.
    fn start_anew(&mut self) -> bool {
        let mut numbers = [0; KEEP_THREADS];
        for (t, number) in self.parked.iter().zip(&mut numbers) {
            *number = self.host.secret();
            let r = &t.region;
            r.k32(k::SLEEP).store(1, Ordering::Relaxed);
            r.s32(s::EV).swap(0, Ordering::SeqCst);
            if sys::kick_with(t.placed.pid, t.placed.tid, *number).is_err() {
                return false;
            }
        }
        for (t, number) in self.parked.iter_mut().zip(numbers) {
            let r = &t.region;
            let want = r.k32(k::GO).load(Ordering::Relaxed).wrapping_add(1);
            if self.host.handoff.wait_soon(r, &t.placed, want).is_err()
                || r.s32(s::TYPE).load(Ordering::Relaxed) != event::READY
                || r.s64(s::RESULT).load(Ordering::Relaxed) != number
            {
                log::debug!("stub {}: a thread does not start anew", self.pid);
                return false;
            }
            t.event = want;
        }
        true
    }

    /// It did what no honest guest does, or does not answer: it must not live on.
    #[cold]
    pub(super) fn lost(&mut self) {
        self.suspect = true;
        self.bury();
    }

    fn bury(&mut self) {
        if !self.dead {
            self.dead = true;
            self.parked.clear();
            host::end(self.pid);
            self.host.gone(self.pid);
            self.host.forget();
        }
    }
}

impl From<Lost> for Halt {
    fn from(_: Lost) -> Halt {
        Halt::Dead
    }
}

impl PooledStub for Stub {
    fn is_alive(&mut self) -> bool {
        if !self.dead && !host::lives(self.pid) {
            self.bury();
        }
        !self.dead
    }

    /// Everything unmapped, every thread at the place where it waits, nothing of the guest left in the
    /// shared pages.
    fn reset(&mut self) -> bool {
        if self.dead
            || self.suspect
            || self.tids.len() > KEEP_THREADS
            || self.parked.len() != self.tids.len()
            || self.unmap_all().is_err()
        {
            return false;
        }
        // No guest code can run any more. A thread can only be in the stub's text, perhaps with
        // registers of its own choice: a kick with RESET makes it start anew, from what the host has
        // put into its stack pointer.
        for t in &self.parked {
            t.region.k32(k::RESET).store(1, Ordering::SeqCst);
        }
        // A second time if there are several: in the first one each may have answered for another.
        // In the second no thread is left that would: all have at least begun to start anew.
        let rounds = self.parked.len().min(2);
        if (0..rounds).any(|_| !self.start_anew()) {
            return false;
        }
        for t in &self.parked {
            let r = &t.region;
            r.k32(k::RESET).store(0, Ordering::SeqCst);
            r.s_clear(s::TYPE, S_SIZE - s::TYPE);
            r.k_clear(k::FS_BASE, k::STACK);
        }
        self.server.s_clear(0, PAGE_SIZE);
        self.server.k_clear(k::COUNT, K_SIZE);
        // What is left in the other regions the next guest could read, and a thread in the text use.
        self.slot.untouched(0, PAGE_SIZE, 1) && self.slot.untouched(self.tids.len() + 1, 0, REGIONS)
    }

    fn prepare(&mut self) {
        // Every space needs one guest thread, vfork a second.
        let tasks = [self.guest(), self.guest()];
        for task in tasks.into_iter().flatten() {
            self.park(task);
        }
    }
}

impl MappingServer for Stub {
    fn host_pid(&self) -> HostPid {
        self.pid
    }

    fn batch(&mut self, ops: &[Op]) -> Result<(), Halt> {
        for (i, op) in ops.iter().enumerate() {
            self.server.put(i, operation(op));
        }
        self.execute(ops.len())
    }

    /// Everything but the stub's own.
    fn unmap_all(&mut self) -> Result<(), Halt> {
        let nr = libc::SYS_munmap as u16;
        self.server.put(0, Operation { addr: 0, len: TEXT, offset: 0, nr, prot: 0, flags: 0 });
        self.execute(1)
    }
}

/// The host call for an operation.
#[inline]
fn operation(op: &Op) -> Operation {
    let page = PAGE_SIZE as u64;
    let (mut addr, mut len) = (op.vpn * page, op.pages * page);
    if addr == 0 && len > page {
        // Nothing is ever mapped there, and the filter does not take all of user space at once.
        (addr, len) = (page, len - page);
    }
    let plain = |nr: i64, prot| Operation { addr, len, offset: 0, nr: nr as u16, prot, flags: 0 };
    match op.kind {
        Kind::Map { pfn, prot, populate } => {
            let populate = if populate { libc::MAP_POPULATE } else { 0 };
            Operation {
                offset: pfn.addr().0,
                flags: (libc::MAP_SHARED | libc::MAP_FIXED | populate).cast_unsigned(),
                ..plain(libc::SYS_mmap, host_prot(prot) as u16)
            }
        }
        Kind::Unmap => plain(libc::SYS_munmap, 0),
        Kind::Protect { prot } => plain(libc::SYS_mprotect, host_prot(prot) as u16),
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.bury();
    }
}

#[cfg(test)]
#[path = "stub_tests.rs"]
mod tests;
