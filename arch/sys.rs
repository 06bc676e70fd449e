//! Raw host calls of the ptrace backend, as typed and safe functions.
//!
//! libc's `ptrace` wrapper returns what PEEK requests read; the raw call stores it at `data`. Only
//! the raw call is used here. Every request answers ESRCH when the task was killed from outside,
//! at any moment: callers never treat that as a bug.

use base::{Errno, Error, Result};

use crate::hosterr::host_error;
use crate::regs::Regs;

const SYSEMU: u32 = 31;
const SYSEMU_SINGLESTEP: u32 = 32;
const SEIZE: u32 = 0x4206;
const INTERRUPT: u32 = 0x4207;
const GET_SYSCALL_INFO: u32 = 0x420e;
const NT_PRSTATUS: usize = 1;
const NT_X86_XSTATE: usize = 0x202;

/// EXITKILL, TRACESYSGOOD, TRACEEXEC, TRACESECCOMP: inherited by every task cloned from the zygote.
const OPTIONS: usize = (1 << 20) | 1 | (1 << 4) | (1 << 7);

/// The audit number of native 64-bit calls (x32 shares it).
pub(crate) const ARCH_X86_64: u32 = 0xc000_003e;
/// `status >> 16` of a stop by PTRACE_INTERRUPT, of a group stop and of a new task.
pub(crate) const EVENT_STOP: i32 = 128;
/// `status >> 16` of a call that the filter answered with RET_TRACE.
pub(crate) const EVENT_SECCOMP: i32 = 7;
/// `status >> 16` of an exec.
pub(crate) const EVENT_EXEC: i32 = 4;

/// The signal by which a stub thread that shares memory with us is stopped.
pub(crate) const SIG_KICK: i32 = libc::SIGUSR1;

/// A process or thread id of the host.
pub(crate) type HostPid = i32;

/// The host's error of the call that has just failed.
#[track_caller]
pub(crate) fn last_error() -> Error {
    host_error(nix::errno::Errno::last())
}

/// Turns the -1 of a libc call into the error.
#[track_caller]
pub(crate) fn check(r: i64) -> Result<i64> {
    if r == -1 { Err(last_error()) } else { Ok(r) }
}

/// One raw ptrace call.
///
/// # Safety
/// `addr` and `data` must be what `request` expects: where the host writes through `data`, it
/// must point to enough writable memory.
#[inline]
#[track_caller]
unsafe fn ptrace(request: u32, pid: HostPid, addr: usize, data: usize) -> Result<i64> {
    // SAFETY: the caller vouches for the pointers; all other arguments are plain values.
    let r = unsafe { libc::syscall(libc::SYS_ptrace, request as usize, pid, addr, data) };
    check(r)
}

/// Attaches to a child that waits for it.
pub(crate) fn seize(pid: HostPid) -> Result<()> {
    // SAFETY: no pointers.
    unsafe { ptrace(SEIZE, pid, 0, OPTIONS) }.map(drop)
}

/// Lets a task run natively: its calls reach the host (through its filter). Only for tasks that
/// execute nothing but stub text.
#[inline]
pub(crate) fn cont(pid: HostPid) -> Result<()> {
    // SAFETY: no pointers.
    unsafe { ptrace(libc::PTRACE_CONT, pid, 0, 0) }.map(drop)
}

/// Lets a guest task run until its next call, which the host does not execute; or, with `step`,
/// for one instruction.
#[inline]
pub(crate) fn sysemu(pid: HostPid, step: bool) -> Result<()> {
    // SAFETY: no pointers.
    unsafe { ptrace(if step { SYSEMU_SINGLESTEP } else { SYSEMU }, pid, 0, 0) }.map(drop)
}

/// Makes a running task stop soon. Async-signal-safe; leaves errno as it was.
pub(crate) fn interrupt_from_handler(pid: HostPid) {
    // SAFETY: no pointers; errno is the calling thread's own and is restored.
    unsafe {
        let errno = libc::__errno_location();
        let saved = *errno;
        let _ = libc::syscall(libc::SYS_ptrace, INTERRUPT as usize, pid, 0usize, 0usize);
        *errno = saved;
    }
}

/// Sends [`SIG_KICK`] to a thread of another process. Async-signal-safe; leaves errno as it was.
pub(crate) fn kick_from_handler(pid: HostPid, tid: HostPid) {
    // SAFETY: no pointers; errno is the calling thread's own and is restored.
    unsafe {
        let errno = libc::__errno_location();
        let saved = *errno;
        let _ = libc::syscall(libc::SYS_tgkill, pid, tid, SIG_KICK);
        *errno = saved;
    }
}

/// All general registers.
pub(crate) fn get_regs(pid: HostPid, regs: &mut Regs) -> Result<()> {
    // SAFETY: `Regs` has the layout of the host's user_regs_struct, which is what is written.
    unsafe { ptrace(libc::PTRACE_GETREGS, pid, 0, std::ptr::from_mut(regs) as usize) }.map(drop)
}

/// Sets all general registers. EIO if the host does not accept one; those before it are set then.
pub(crate) fn set_regs(pid: HostPid, regs: &Regs) -> Result<()> {
    // SAFETY: the host reads a user_regs_struct.
    unsafe { ptrace(libc::PTRACE_SETREGS, pid, 0, std::ptr::from_ref(regs) as usize) }.map(drop)
}

/// As [`set_regs`], but for the last registers from the segment bases on.
pub(crate) fn set_general_regs(pid: HostPid, regs: &Regs) -> Result<()> {
    let iov = libc::iovec {
        iov_base: std::ptr::from_ref(regs).cast_mut().cast(),
        iov_len: std::mem::offset_of!(Regs, fs_base),
    };
    // SAFETY: the host only reads the registers.
    unsafe { ptrace(libc::PTRACE_SETREGSET, pid, NT_PRSTATUS, &raw const iov as usize) }.map(drop)
}

/// One register, by its byte offset in [`Regs`].
pub(crate) fn peek_reg(pid: HostPid, offset: usize) -> Result<u64> {
    let mut value = 0u64;
    // SAFETY: the raw request stores one word at `data`.
    unsafe { ptrace(libc::PTRACE_PEEKUSER, pid, offset, &raw mut value as usize) }?;
    Ok(value)
}

/// Sets one register, by its byte offset in [`Regs`].
#[inline]
pub(crate) fn poke_reg(pid: HostPid, offset: usize, value: u64) -> Result<()> {
    // SAFETY: no pointers.
    unsafe { ptrace(libc::PTRACE_POKEUSER, pid, offset, value as usize) }.map(drop)
}

/// What PTRACE_GET_SYSCALL_INFO says at a call's entry (`struct ptrace_syscall_info`).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SyscallInfo {
    /// 1: at a call's entry.
    pub(crate) op: u8,
    pad: [u8; 3],
    /// Audit architecture number.
    pub(crate) arch: u32,
    /// Instruction pointer.
    pub(crate) ip: u64,
    /// Stack pointer.
    pub(crate) sp: u64,
    /// Call number.
    pub(crate) nr: u64,
    /// Arguments.
    pub(crate) args: [u64; 6],
    ret_data: u32,
    reserved: u32,
}

/// The call that a task has stopped at. The only cheap request that tells the architecture.
#[inline]
pub(crate) fn syscall_info(pid: HostPid) -> Result<SyscallInfo> {
    let mut info = SyscallInfo::default();
    let size = size_of::<SyscallInfo>();
    // SAFETY: at most `size` bytes are written to `info`.
    unsafe { ptrace(GET_SYSCALL_INFO, pid, size, &raw mut info as usize) }?;
    Ok(info)
}

/// What is used of a siginfo.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SigInfo {
    /// si_code; zero or less means that a process sent it.
    pub(crate) code: i32,
    /// si_addr of a fault.
    pub(crate) addr: u64,
    /// si_syscall of SIGSYS.
    pub(crate) syscall: u32,
}

/// Why the task has stopped for a signal.
pub(crate) fn sig_info(pid: HostPid) -> Result<SigInfo> {
    let mut raw = [0u64; 16];
    const { assert!(size_of::<[u64; 16]>() == size_of::<libc::siginfo_t>()) }
    // SAFETY: a siginfo_t of 128 bytes is written.
    unsafe { ptrace(libc::PTRACE_GETSIGINFO, pid, 0, &raw mut raw as usize) }?;
    // si_signo, si_errno, si_code, pad; then the union at byte 16: si_addr for faults; for SIGSYS
    // si_call_addr, and si_syscall behind it.
    Ok(SigInfo { code: raw[1] as i32, addr: raw[2], syscall: raw[3] as u32 })
}

/// Reads the extended state into `buf`, returns its length.
pub(crate) fn get_xstate(pid: HostPid, buf: &mut [u8]) -> Result<usize> {
    let mut iov = libc::iovec { iov_base: buf.as_mut_ptr().cast(), iov_len: buf.len() };
    // SAFETY: the host writes at most iov_len bytes to the buffer and the length to `iov`.
    unsafe { ptrace(libc::PTRACE_GETREGSET, pid, NT_X86_XSTATE, &raw mut iov as usize) }?;
    Ok(iov.iov_len)
}

/// Sets x87 and SSE: the first 512 bytes of an extended state. At a quarter of the price of all of it.
pub(crate) fn set_fxsave(pid: HostPid, buf: &[u8]) -> Result<()> {
    assert!(buf.len() >= 512);
    // SAFETY: the host reads 512 bytes.
    unsafe { ptrace(libc::PTRACE_SETFPREGS, pid, 0, buf.as_ptr() as usize) }.map(drop)
}

/// Sets the extended state; it must have its full size.
pub(crate) fn set_xstate(pid: HostPid, buf: &[u8]) -> Result<()> {
    let iov = libc::iovec { iov_base: buf.as_ptr().cast_mut().cast(), iov_len: buf.len() };
    // SAFETY: the host only reads the buffer.
    unsafe { ptrace(libc::PTRACE_SETREGSET, pid, NT_X86_XSTATE, &raw const iov as usize) }.map(drop)
}

/// A wait status.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Status(pub(crate) i32);

impl Status {
    /// Stopped, as opposed to dead and reaped.
    #[inline]
    pub(crate) fn is_stopped(self) -> bool {
        self.0 & 0xff == 0x7f
    }
    /// The signal of the stop; with bit 7 set for a system call.
    #[inline]
    pub(crate) fn signal(self) -> i32 {
        (self.0 >> 8) & 0xff
    }
    /// The ptrace event, or 0.
    #[inline]
    pub(crate) fn event(self) -> i32 {
        self.0 >> 16
    }
    /// Whether it is a system call under SYSEMU.
    #[inline]
    pub(crate) fn is_syscall(self) -> bool {
        self.0 == 0x857f
    }
}

impl std::fmt::Debug for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// Waits until `pid` stops or dies. ECHILD if it is not ours (any more).
#[inline]
pub(crate) fn wait(pid: HostPid) -> Result<Status> {
    loop {
        let mut status = 0i32;
        // SAFETY: the status is written to a local.
        let r =
            unsafe { libc::syscall(libc::SYS_wait4, pid, &raw mut status, libc::__WALL, 0usize) };
        if r == i64::from(pid) {
            return Ok(Status(status));
        }
        let e = last_error();
        if e != Errno::EINTR {
            return Err(e);
        }
    }
}

/// As [`wait`], without waiting: None if there is nothing new.
pub(crate) fn wait_nohang(pid: HostPid) -> Result<Option<Status>> {
    let mut status = 0i32;
    // SAFETY: the status is written to a local.
    let r = unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL | libc::WNOHANG) };
    match r {
        0 => Ok(None),
        r if r == pid => Ok(Some(Status(status))),
        _ => Err(last_error()),
    }
}

/// Kills a task that has not been reaped yet (so that its id is still its own) and reaps it.
pub(crate) fn kill_and_reap(pid: HostPid) {
    // SAFETY: no pointers.
    unsafe {
        libc::kill(pid, libc::SIGKILL);
    }
    while let Ok(status) = wait(pid) {
        if !status.is_stopped() {
            break;
        }
    }
}

/// The id of the calling host thread.
pub(crate) fn gettid() -> HostPid {
    // SAFETY: no arguments.
    unsafe { libc::gettid() }
}

/// Whether `tid` is a living thread of process `pid`.
pub(crate) fn is_thread_of(pid: HostPid, tid: HostPid) -> bool {
    // SAFETY: no pointers; signal 0 only asks.
    unsafe { libc::syscall(libc::SYS_tgkill, pid, tid, 0) == 0 }
}

/// Sends [`SIG_KICK`] with a value to a thread of another process. Nothing comes of it if one is pending there.
pub(crate) fn kick_with(pid: HostPid, tid: HostPid, value: u64) -> Result<()> {
    // si_signo, si_errno; si_code, padding; si_pid, si_uid; si_value
    let code = u64::from(libc::SI_QUEUE.cast_unsigned());
    let info: [u64; 16] =
        std::array::from_fn(|i| [SIG_KICK as u64, code, 0, value].get(i).copied().unwrap_or(0));
    // SAFETY: the host reads a siginfo_t of 128 bytes.
    let r =
        unsafe { libc::syscall(libc::SYS_rt_tgsigqueueinfo, pid, tid, SIG_KICK, info.as_ptr()) };
    check(r).map(drop)
}

/// Binds a host thread (0: the caller) to one host CPU. Best effort: it is about speed only.
pub(crate) fn bind(tid: HostPid, cpu: usize) {
    // SAFETY: a CPU set is plain data, which the host reads.
    unsafe {
        let mut one: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut one);
        libc::sched_setaffinity(tid, size_of::<libc::cpu_set_t>(), &one);
    }
}

/// CPU time that a process has used, nanoseconds.
pub(crate) fn process_cpu_time(pid: HostPid) -> Option<u64> {
    let clock = (!pid << 3) | 2; // CPUCLOCK_SCHED of a process, as clock_getcpuclockid(3) makes it
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the host writes a local.
    let r = unsafe { libc::clock_gettime(clock, &mut t) };
    (r == 0).then(|| t.tv_sec.cast_unsigned() * 1_000_000_000 + t.tv_nsec.cast_unsigned())
}

/// Whether a thread sleeps (state S in /proc).
pub(crate) fn sleeps(pid: HostPid, tid: HostPid) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/task/{tid}/stat"))
        .is_ok_and(|s| s.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('S')))
}

/// How long the calling thread has waited to run while it could, nanoseconds; None if the host does not say.
pub(crate) fn run_delay() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split_whitespace().nth(1)?.parse().ok()
}

/// How long the host's CPUs have been idle since it started, their sum, nanoseconds; None if it does not say.
pub(crate) fn idle_time() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/uptime").ok()?;
    let (whole, hundredths) = text.split_whitespace().nth(1)?.split_once('.')?;
    Some((whole.parse::<u64>().ok()? * 100 + hundredths.parse::<u64>().ok()?) * 10_000_000)
}

/// How many seccomp filters a thread has; None if the host does not say (before Linux 5.9).
pub(crate) fn seccomp_filters(pid: HostPid, tid: HostPid) -> Option<u32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{tid}/status")).ok()?;
    text.lines().find_map(|l| l.strip_prefix("Seccomp_filters:")?.trim().parse().ok())
}
