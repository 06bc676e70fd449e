//! What all stubs of a machine share, and what the kernel hears from them: the eventfd to which servers report
//! and to which our own SIGCHLD handler adds that a child has died or stopped.
//!
//! The eventfd is what frame reuse rests on. A word in shared memory can be written by a guest; this descriptor is
//! held by servers and the kernel only, and a server's text and requests cannot be written by anybody.

use std::hash::{BuildHasher, RandomState};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use base::{Errno, Rank, Result, SpinLock};

use super::NegativeControl;
use super::control::ControlArea;
use super::handoff::Handoff;
use super::layout::report;
use crate::cpu;
use crate::sys::{HostPid, check};

/// Machines of one process: more than one only in tests.
const MACHINES: usize = 32;
/// Where the SIGCHLD handler reports to; 0: nowhere.
static REPORTS: [AtomicI32; MACHINES] = [const { AtomicI32::new(0) }; MACHINES];
/// Whether it has, and nobody has read it: an eventfd that is full would block a handler for ever.
static TOLD: [AtomicBool; MACHINES] = [const { AtomicBool::new(false) }; MACHINES];
/// How many machines listen.
static USERS: Mutex<u32> = Mutex::new(0);
/// How often a child has died or stopped.
static DEATHS: AtomicU32 = AtomicU32::new(0);

/// What all stubs of a machine share.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) area: Arc<ControlArea>,
    report: OwnedFd,
    /// Its place in `REPORTS`.
    number: usize,
    /// Every host process that has not been reaped.
    processes: SpinLock<Vec<HostPid>>,
    /// Key and counter of numbers that no guest can guess.
    secret: RandomState,
    /// What is wrong with the stubs on purpose.
    pub(super) control: NegativeControl,
    pub(super) handoff: Handoff,
    count: AtomicU64,
}

/// For [`Host::wait`]: nobody needs to be woken.
pub(super) const NO_WAKE: Option<fn()> = None;

/// How a child is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Child {
    Lives,
    Stopped,
    Dead,
}

impl Host {
    pub(super) fn new(control: NegativeControl, handoff: Handoff) -> Result<Host> {
        // SAFETY: no pointers; the new descriptor has no other owner.
        let report = unsafe {
            OwnedFd::from_raw_fd(check(libc::eventfd(0, libc::EFD_CLOEXEC).into())? as i32)
        };
        let area = Arc::new(ControlArea::new()?);
        let number = listen(report.as_raw_fd())?;
        let processes = SpinLock::new(Rank::Leaf, Vec::new());
        let (secret, count) = (RandomState::new(), AtomicU64::new(0));
        Ok(Host { area, report, number, processes, secret, count, control, handoff })
    }

    pub(super) fn report_fd(&self) -> i32 {
        self.report.as_raw_fd()
    }
    /// A number that nobody can guess. Not from the kernel's own source: when a stub is reset depends on
    /// the host, and what a seeded run draws must not.
    pub(super) fn secret(&self) -> u64 {
        self.secret.hash_one(self.count.fetch_add(1, Ordering::Relaxed))
    }
    pub(super) fn born(&self, pid: HostPid) {
        self.processes.lock().push(pid);
    }
    pub(super) fn gone(&self, pid: HostPid) {
        self.processes.lock().retain(|&p| p != pid);
    }
    pub(super) fn processes(&self) -> Vec<HostPid> {
        self.processes.lock().clone()
    }

    /// Reads what has been reported, waiting for it unless `flags` say RWF_NOWAIT. None: nothing can be read.
    /// And whether a child has died or stopped: whose it is must be looked at after this.
    fn read(&self, flags: i32) -> (Option<u64>, bool) {
        let mut word = 0u64;
        let to = libc::iovec { iov_base: (&raw mut word).cast(), iov_len: 8 };
        // SAFETY: the host writes eight bytes to a local.
        let n = unsafe { libc::preadv2(self.report_fd(), &raw const to, 1, -1, flags) };
        let child = word >= report::CHILD || n != 8 && flags == 0;
        if child {
            TOLD[self.number].store(false, Ordering::SeqCst);
        }
        ((n == 8).then_some(word % report::CHILD), child)
    }

    /// Waits until `enough` of the sum of reports. `wake` is called before the first sleep. `alive` is asked
    /// when a child has died or stopped: false ends the waiting. Deaths before that may have been heard by
    /// others: look first (`deaths`).
    ///
    /// # Errors
    /// ESRCH if `alive` said so.
    pub(super) fn wait(
        &self,
        enough: impl Fn(u64) -> bool,
        wake: Option<impl FnOnce()>,
        mut alive: impl FnMut() -> bool,
    ) -> Result<u64> {
        let mut sum = 0;
        if let Some(wake) = wake {
            let (word, child) = self.read(libc::RWF_NOWAIT);
            sum += word.unwrap_or(0);
            if !enough(sum) {
                if child && !alive() {
                    return Err(Errno::ESRCH.into());
                }
                wake();
            }
        }
        while !enough(sum) {
            let (word, child) = self.read(0);
            sum += word.unwrap_or(0);
            if child && !enough(sum) && !alive() {
                return Err(Errno::ESRCH.into());
            }
        }
        Ok(sum)
    }

    /// Forgets what a server has reported that is dead now.
    pub(super) fn forget(&self) {
        let mut p = libc::pollfd { fd: self.report_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one descriptor, no waiting.
        if unsafe { libc::poll(&mut p, 1, 0) } == 1 {
            self.read(0);
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let mut users = USERS.lock().unwrap_or_else(PoisonError::into_inner);
        REPORTS[self.number].store(0, Ordering::SeqCst);
        *users -= 1;
        if *users == 0 {
            // As the ptrace backend wants it, should it take over: each of its stops would be told.
            handle(libc::SIG_DFL, libc::SA_NOCLDSTOP);
        }
    }
}

/// Counts the children that have died or stopped, as far as the host has said so.
#[inline]
pub(super) fn deaths() -> u32 {
    DEATHS.load(Ordering::SeqCst)
}

/// Lets the SIGCHLD handler report to `fd`; where it is in `REPORTS`.
fn listen(fd: i32) -> Result<usize> {
    let mut users = USERS.lock().unwrap_or_else(PoisonError::into_inner);
    let free =
        |slot: &AtomicI32| slot.compare_exchange(0, fd, Ordering::SeqCst, Ordering::SeqCst).is_ok();
    let number = REPORTS.iter().position(free).ok_or(Errno::EMFILE)?;
    TOLD[number].store(false, Ordering::SeqCst);
    *users += 1;
    if *users == 1 {
        handle(on_child as *const () as usize, libc::SA_RESTART | libc::SA_ONSTACK);
    }
    Ok(number)
}

/// Sets what SIGCHLD does.
fn handle(handler: usize, flags: i32) {
    // SAFETY: an all-zero sigaction is valid; the handler is async-signal-safe.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler;
        action.sa_flags = flags;
        libc::sigfillset(&mut action.sa_mask);
        libc::sigaction(libc::SIGCHLD, &action, std::ptr::null_mut());
    }
}

/// A child has died or stopped: whoever waits for a server hears it, and a CPU that waits for a
/// guest looks.
extern "C" fn on_child(_: i32) {
    // SAFETY: errno is the thread's own; write(2) of a local is async-signal-safe.
    unsafe {
        let errno = libc::__errno_location();
        let saved = *errno;
        DEATHS.fetch_add(1, Ordering::SeqCst);
        let word = report::CHILD;
        for (slot, told) in REPORTS.iter().zip(&TOLD) {
            let fd = slot.load(Ordering::SeqCst);
            if fd != 0 && !told.swap(true, Ordering::SeqCst) {
                libc::write(fd, (&raw const word).cast(), 8);
            }
        }
        *errno = saved;
    }
    cpu::interrupt_from_handler();
}

/// How a child is, without reaping it.
pub(super) fn child(pid: HostPid) -> Child {
    // SAFETY: a siginfo_t is plain data; the host fills it.
    unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        let flags = libc::WEXITED | libc::WSTOPPED | libc::WNOHANG | libc::WNOWAIT;
        if libc::waitid(libc::P_PID, pid.cast_unsigned(), &mut info, flags) != 0 {
            return Child::Dead;
        }
        match (info.si_pid(), info.si_code) {
            (0, _) => Child::Lives,
            (_, libc::CLD_STOPPED) => Child::Stopped,
            _ => Child::Dead,
        }
    }
}

/// Whether a child lives. One that somebody has stopped is let go on: the kernel waits for it.
pub(super) fn lives(pid: HostPid) -> bool {
    match child(pid) {
        Child::Lives => true,
        Child::Dead => false,
        Child::Stopped => {
            // SAFETY: no pointers; the child has not been reaped, so the id is its own.
            unsafe {
                libc::kill(pid, libc::SIGCONT);
            }
            true
        }
    }
}

/// The living and dead stubs among the children of the calling host thread that are in process group `group`, or in
/// one of their own as twins are; None if the host does not say.
pub(super) fn stubs_in_group(group: HostPid) -> Option<Vec<HostPid>> {
    let text = std::fs::read_to_string("/proc/thread-self/children").ok()?;
    let in_group = |pid: &HostPid| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // Behind the name in parentheses: state, parent, group.
        let Some((name, rest)) = stat.rsplit_once(") ") else { return false };
        let of = rest.split_whitespace().nth(2).and_then(|g| g.parse().ok());
        name.contains("(memfd:umbra-st") && (of == Some(group) || of == Some(*pid))
    };
    Some(text.split_whitespace().filter_map(|w| w.parse().ok()).filter(in_group).collect())
}

/// Kills a process that has not been reaped and reaps it.
pub(super) fn end(pid: HostPid) {
    crate::sys::kill_and_reap(pid);
}

/// Wakes who sleeps on a word that another process maps, too.
#[inline]
pub(super) fn futex_wake(word: &std::sync::atomic::AtomicU32) {
    // SAFETY: the word outlives the call; the host does not write it.
    unsafe {
        libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, 1, 0usize, 0usize, 0usize);
    }
}

/// Sleeps while the word is `value`, for `nanoseconds` at most.
pub(super) fn futex_wait(word: &std::sync::atomic::AtomicU32, value: u32, nanoseconds: u64) {
    let timeout = libc::timespec {
        tv_sec: (nanoseconds / 1_000_000_000) as i64,
        tv_nsec: (nanoseconds % 1_000_000_000) as i64,
    };
    // SAFETY: the word and the time outlive the call.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT,
            value,
            &raw const timeout,
            0usize,
            0usize,
        );
    }
}
