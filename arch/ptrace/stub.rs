//! One stub: a server task and the guest tasks that share its address space.
//!
//! Every task is a process of its own to the host (never a thread group, see `GUEST_FLAGS`), so
//! they die independently. The rule here: as soon as one of them is found dead, all of them are
//! killed and reaped, and the stub is dead for good.

use std::sync::Arc;

use base::{Errno, PAGE_SIZE, Result, err};

use super::control::RequestPage;
use super::task::{GuestTask, Halt, Host, ServerTask};
use crate::pool::PooledStub;
use crate::queue::{Kind, Op, host_prot};
use crate::space::MappingServer;
use crate::stub::{MAKE_GUEST, Request, TEXT};
use crate::sys::{self, HostPid};

/// Parked guest tasks that a stub may take along into its next life.
const KEEP_PARKED: usize = 2;
/// Parked guest tasks that a living space may have.
const MAX_PARKED: usize = 16;

/// An address space of the host and its tasks.
#[derive(Debug)]
pub(super) struct Stub {
    host: Arc<Host>,
    server: ServerTask,
    page: RequestPage,
    /// All guest tasks, parked or not.
    guests: Vec<HostPid>,
    parked: Vec<GuestTask>,
    dead: bool,
}

impl Stub {
    pub(super) fn new(host: Arc<Host>, server: ServerTask, page: RequestPage) -> Stub {
        Stub { host, server, page, guests: Vec::new(), parked: Vec::new(), dead: false }
    }

    pub(super) fn is_dead(&self) -> bool {
        self.dead
    }

    /// Lets the server execute requests.
    fn execute(&mut self, requests: impl Iterator<Item = Request>) -> Result<(), Halt> {
        if self.dead {
            return Err(Halt::Dead);
        }
        let mut n = 0;
        for r in requests {
            self.page.put(n, &r);
            n += 1;
        }
        self.page.set_count((n * size_of::<Request>()) as u64);
        match self.server.run() {
            Ok(()) => Ok(()),
            Err(Halt::Failed(e, rbx)) => {
                let done = (rbx & 0xfff) / size_of::<Request>() as u64;
                Err(Halt::Failed(e, done.wrapping_sub(1)))
            }
            Err(Halt::Dead) => {
                self.task_died(self.server.0);
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
        self.page.set_count(MAKE_GUEST);
        let pid = match self.server.run().and_then(|()| self.server.last_result()) {
            Ok(pid) => pid as HostPid,
            Err(Halt::Failed(e, _)) => return err(e),
            Err(Halt::Dead) => {
                self.task_died(self.server.0);
                self.host.kill_strays();
                return err(Errno::ESRCH);
            }
        };
        self.host.born(pid);
        self.guests.push(pid);
        match GuestTask::set_up(pid) {
            Ok(task) => Ok(task),
            Err(_) => {
                self.task_died(pid);
                err(Errno::ESRCH)
            }
        }
    }

    /// Keeps a guest task that has executed nothing for the first thread.
    pub(super) fn park_fresh(&mut self, task: GuestTask) {
        if !self.dead {
            self.parked.push(task);
        }
    }

    /// Takes a guest task back that no thread needs any more.
    pub(super) fn park(&mut self, mut task: GuestTask) {
        task.fresh = false;
        if self.parked.len() < MAX_PARKED {
            self.park_fresh(task);
        } else if !self.dead {
            self.end(task);
        }
    }

    /// To be called when task `pid` was found dead and has been reaped: ends all the others.
    #[cold]
    pub(super) fn task_died(&mut self, pid: HostPid) {
        if self.dead {
            return;
        }
        log::debug!("stub {}: task {pid} is gone", self.server.0);
        self.bury(Some(pid));
    }

    /// Kills and reaps every task but the `reaped` one. Ids are still their own: nobody else reaps.
    fn bury(&mut self, reaped: Option<HostPid>) {
        self.dead = true;
        self.parked.clear();
        for pid in self.guests.drain(..).chain([self.server.0]) {
            if Some(pid) != reaped {
                sys::kill_and_reap(pid);
            }
            self.host.gone(pid);
        }
    }

    fn end(&mut self, task: GuestTask) {
        sys::kill_and_reap(task.pid);
        self.guests.retain(|&p| p != task.pid);
        self.host.gone(task.pid);
    }
}

impl PooledStub for Stub {
    fn is_alive(&mut self) -> bool {
        let tasks: Vec<HostPid> = self.guests.iter().copied().chain([self.server.0]).collect();
        for pid in tasks {
            if self.dead {
                break;
            }
            match sys::wait_nohang(pid) {
                Ok(Some(s)) if !s.is_stopped() => self.task_died(pid),
                // A group stop reported to a task that rests in a ptrace stop cannot be; ignore.
                Ok(_) => {}
                Err(_) => self.task_died(pid),
            }
        }
        !self.dead
    }

    fn reset(&mut self) -> bool {
        debug_assert!(self.dead || self.parked.len() == self.guests.len(), "threads are gone");
        if !self.is_alive() || self.unmap_all().is_err() {
            return false;
        }
        while self.parked.len() > KEEP_PARKED
            && let Some(task) = self.parked.pop()
        {
            self.end(task);
        }
        true
    }

    fn prepare(&mut self) {
        if let Ok(task) = self.guest() {
            self.park_fresh(task);
        }
    }
}

impl MappingServer for Stub {
    fn host_pid(&self) -> HostPid {
        self.server.0
    }
    fn batch(&mut self, ops: &[Op]) -> Result<(), Halt> {
        self.execute(ops.iter().map(request))
    }
    /// Everything but the stub's own two pages.
    fn unmap_all(&mut self) -> Result<(), Halt> {
        let nr = libc::SYS_munmap.cast_unsigned();
        self.execute(std::iter::once(Request { nr, args: [0, TEXT, 0, 0, 0, 0] }))
    }
}

/// The host call for an operation.
#[inline]
fn request(op: &Op) -> Request {
    let page = PAGE_SIZE as u64;
    let (at, len) = (op.vpn * page, op.pages * page);
    match op.kind {
        Kind::Map { pfn, prot, populate } => {
            let populate = if populate { libc::MAP_POPULATE } else { 0 };
            let flags = libc::MAP_SHARED | libc::MAP_FIXED | populate;
            Request {
                nr: libc::SYS_mmap.cast_unsigned(),
                args: [at, len, host_prot(prot), flags as u64, 0, pfn.addr().0],
            }
        }
        Kind::Unmap => {
            Request { nr: libc::SYS_munmap.cast_unsigned(), args: [at, len, 0, 0, 0, 0] }
        }
        Kind::Protect { prot } => Request {
            nr: libc::SYS_mprotect.cast_unsigned(),
            args: [at, len, host_prot(prot), 0, 0, 0],
        },
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        if !self.dead {
            self.bury(None);
        }
    }
}
