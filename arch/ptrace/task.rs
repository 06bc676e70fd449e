//! Host tasks under ptrace, as two types that cannot be mixed up: a [`ServerTask`] is only ever
//! resumed natively (PTRACE_CONT), a [`GuestTask`] only by SYSEMU. The third kind of task, one that
//! is still being set up, has no type of its own: it lives inside the functions here and in
//! `zygote.rs`.
//!
//! Whoever gets [`Halt::Dead`] may rely on the task having been reaped.

use std::collections::BTreeSet;
use std::mem::offset_of;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use base::{Errno, Rank, SpinLock};

use super::control::ControlPages;
use crate::regs::Regs;
pub(super) use crate::space::Halt;
use crate::stub::image::{Label, address};
use crate::sys::{self, HostPid};

/// What all stubs of a machine share.
#[derive(Debug)]
pub(super) struct Host {
    /// The stub image.
    pub(super) image: OwnedFd,
    pub(super) control: Arc<ControlPages>,
    /// Every host task that has not been reaped, for `host_tasks` and the search for strays.
    tasks: SpinLock<BTreeSet<HostPid>>,
}

impl Host {
    pub(super) fn new(image: OwnedFd, control: Arc<ControlPages>) -> Host {
        Host { image, control, tasks: SpinLock::new(Rank::Leaf, BTreeSet::new()) }
    }
    pub(super) fn born(&self, pid: HostPid) {
        self.tasks.lock().insert(pid);
    }
    pub(super) fn gone(&self, pid: HostPid) {
        self.tasks.lock().remove(&pid);
    }
    pub(super) fn tasks(&self) -> Vec<HostPid> {
        self.tasks.lock().iter().copied().collect()
    }

    /// Kills children that were cloned by a task that died before it could tell their id. They
    /// are stopped, have executed nothing and would stay until the kernel ends. Best effort: it
    /// needs the host's /proc.
    pub(super) fn kill_strays(&self) {
        let me = sys::gettid();
        let Ok(list) = std::fs::read_to_string(format!("/proc/self/task/{me}/children")) else {
            return;
        };
        for pid in list.split_ascii_whitespace().filter_map(|w| w.parse::<HostPid>().ok()) {
            if self.tasks.lock().contains(&pid) {
                continue;
            }
            let status = std::fs::read_to_string(format!("/proc/{pid}/status"));
            let tracer = format!("TracerPid:\t{me}\n");
            if status.is_ok_and(|s| s.contains(&tracer)) {
                log::debug!("killing stray stub task {pid}");
                sys::kill_and_reap(pid);
            }
        }
    }
}

/// Reaps a task that no longer answers.
#[cold]
pub(super) fn dead(pid: HostPid) -> Halt {
    sys::kill_and_reap(pid);
    Halt::Dead
}

/// Waits for any stop.
#[inline]
pub(super) fn wait_stop(pid: HostPid) -> Result<sys::Status, Halt> {
    match sys::wait(pid) {
        Ok(s) if s.is_stopped() => Ok(s),
        _ => Err(Halt::Dead),
    }
}

/// One register, by offset.
pub(super) fn peek(pid: HostPid, offset: usize) -> Result<u64, Halt> {
    sys::peek_reg(pid, offset).map_err(|_| dead(pid))
}

/// Where native execution shall end.
#[derive(Clone, Copy)]
pub(super) enum Goal {
    /// In the parking call, a stop that only the filter can make.
    Park,
    /// Behind the int3 in front of this address.
    Trap(u64),
}

/// Lets a task that executes stub text run until it has reached its goal. Foreign stops on the way
/// (signals from outside, group stops) are swallowed.
#[inline]
pub(super) fn run_native(pid: HostPid, goal: Goal) -> Result<(), Halt> {
    loop {
        sys::cont(pid).map_err(|_| dead(pid))?;
        let status = wait_stop(pid)?;
        match status.event() {
            sys::EVENT_SECCOMP if matches!(goal, Goal::Park) => return Ok(()),
            0 => {}
            _ => continue,
        }
        // Anybody on the host can send any signal. One that the task has met by itself says so.
        if sys::sig_info(pid).map_err(|_| dead(pid))?.code <= 0 {
            continue;
        }
        let rip = peek(pid, offset_of!(Regs, rip))?;
        match (status.signal(), goal) {
            (libc::SIGTRAP, Goal::Trap(at)) if rip == at => return Ok(()),
            (libc::SIGILL, _) if rip == address(Label::Fail) => {
                let errno = peek(pid, offset_of!(Regs, rax))?.cast_signed().wrapping_neg();
                let errno = Errno::from_code(i32::try_from(errno).unwrap_or(0));
                return Err(Halt::Failed(errno, peek(pid, offset_of!(Regs, rbx))?));
            }
            // A limit of the host's: SIGXCPU and the like.
            (signal, _) if !EXCEPTIONS.contains(&signal) => {}
            _ => {
                // The stub's text does no such thing: whoever made it so, the stub is lost.
                log::error!("stub task {pid}: {status:?} at {rip:#x} in stub text, killed");
                return Err(dead(pid));
            }
        }
    }
}

/// The signals of a CPU exception.
const EXCEPTIONS: [i32; 6] =
    [libc::SIGSEGV, libc::SIGBUS, libc::SIGSYS, libc::SIGFPE, libc::SIGTRAP, libc::SIGILL];

/// The task that executes mapping batches and makes guest tasks.
#[derive(Debug)]
pub(super) struct ServerTask(pub(super) HostPid);

impl ServerTask {
    /// Executes what the request page says: two host calls.
    #[inline]
    pub(super) fn run(&self) -> Result<(), Halt> {
        match run_native(self.0, Goal::Park) {
            Err(Halt::Failed(errno, rbx)) => {
                // Back to the loop. At an exception orig_rax is -1 already: no call restarts.
                let park = address(Label::Park);
                sys::poke_reg(self.0, offset_of!(Regs, rip), park).map_err(|_| dead(self.0))?;
                run_native(self.0, Goal::Park)?;
                Err(Halt::Failed(errno, rbx))
            }
            r => r,
        }
    }

    /// The result of the last host call of the last run.
    pub(super) fn last_result(&self) -> Result<u64, Halt> {
        peek(self.0, offset_of!(Regs, r14))
    }
}

/// A task that executes guest code, and only under SYSEMU.
#[derive(Debug)]
pub(super) struct GuestTask {
    pub(super) pid: HostPid,
    /// It has executed nothing yet: its extended state is the initial one.
    pub(super) fresh: bool,
}

impl GuestTask {
    /// Takes over a newly cloned task, which has not run yet, and lets it set itself up.
    pub(super) fn set_up(pid: HostPid) -> Result<GuestTask, Halt> {
        wait_stop(pid)?;
        match run_native(pid, Goal::Trap(address(Label::GuestReady))) {
            Ok(()) => Ok(GuestTask { pid, fresh: true }),
            Err(Halt::Failed(e, _)) => {
                log::error!("set-up of guest task {pid} failed: {e}");
                Err(dead(pid))
            }
            Err(h) => Err(h),
        }
    }
}
