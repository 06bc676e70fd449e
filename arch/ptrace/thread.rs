//! A guest thread: entering it, and finding out why it came back.

use std::mem::offset_of;
use std::sync::Arc;

use base::{Errno, Result, UserAddr, err};

use super::space::PtraceSpace;
use super::task::GuestTask;
use crate::cpu;
use crate::machine::{Event, FaultInfo, Space, Thread};
use crate::regs::{Regs, XState};
use crate::sys::{self, HostPid, SigInfo, Status};
use crate::xsave::{self, Difference};

/// First address that no segment base may have (TASK_SIZE_MAX of the host).
const TASK_SIZE: u64 = 0x7fff_ffff_f000;
/// No less than the size of the host's vDSO.
const VDSO_SIZE: u64 = 0x8000;
/// How often in a row the host may refuse mappings, with nothing else happening, before the thread
/// is given up.
const MAX_REFUSALS: u32 = 64;

const SEGV_MAPERR: i32 = 1;
const SEGV_ACCERR: i32 = 2;
const SI_KERNEL: i32 = 128;
const TRAP_TRACE: i32 = 2;
const ILL_ILLOPN: i32 = 2;

/// The ptrace backend's [`Thread`].
///
/// Registers have three places: the host task, the copy `regs` (valid if `fetched`, and newer than
/// the host's if `dirty`), and `result`, an rax that is not written to the host task yet. In a copy that is `dirty`
/// but not `fetched` the general registers are newer, and the segments and their bases not known.
#[derive(Debug)]
pub(super) struct PtraceThread {
    space: Arc<PtraceSpace>,
    /// None once the host task is known to be dead.
    task: Option<GuestTask>,
    regs: Regs,
    fetched: bool,
    dirty: bool,
    result: Option<i64>,
    /// The extended state, if it is known.
    extended: Option<XState>,
    step: bool,
    /// A call was reported while single-stepping: the step's own trap is due.
    step_due: bool,
    /// Flushes in a row that the host refused.
    refusals: u32,
}

impl PtraceThread {
    pub(super) fn new(space: Arc<PtraceSpace>, task: GuestTask, regs: &Regs) -> PtraceThread {
        PtraceThread {
            space,
            task: Some(task),
            regs: *regs,
            fetched: true,
            dirty: true,
            result: None,
            extended: None,
            step: false,
            step_due: false,
            refusals: 0,
        }
    }

    /// The initial extended state.
    pub(super) fn reset_xstate(&mut self) -> Result<()> {
        let initial = self.space.machine().initial_xstate();
        self.write_with(sys::set_xstate, &initial)
    }

    fn write_with(&mut self, set: fn(HostPid, &[u8]) -> Result<()>, bytes: &[u8]) -> Result<()> {
        self.extended = None;
        let pid = self.live()?;
        match set(pid, bytes) {
            Ok(()) => Ok(()),
            Err(e) if e == Errno::ESRCH => {
                self.died();
                err(Errno::ESRCH)
            }
            Err(_) => err(Errno::EINVAL),
        }
    }

    /// The host task's id, as long as it is known to be alive (so that the id is its own).
    fn live(&self) -> Result<HostPid> {
        match &self.task {
            Some(t) if !self.space.is_dead() => Ok(t.pid),
            _ => err(Errno::ESRCH),
        }
    }

    /// A request failed: the task is dying. Reaps it and ends its space.
    #[cold]
    fn died(&mut self) -> Event {
        if let Some(task) = self.task.take()
            && !self.space.is_dead()
        {
            sys::kill_and_reap(task.pid);
            self.space.task_died(task.pid);
        }
        Event::Dead
    }

    /// `wait` has reaped the task.
    #[cold]
    fn reaped(&mut self) -> Event {
        if let Some(task) = self.task.take() {
            self.space.task_died(task.pid);
        }
        Event::Dead
    }

    fn fetch(&mut self) {
        if self.fetched {
            return;
        }
        let mut regs = self.regs;
        if let Ok(pid) = self.live()
            && sys::get_regs(pid, &mut regs).is_err()
        {
            self.died();
        }
        if self.dirty {
            regs = regs.with_general(&self.regs);
        }
        if let Some(v) = self.result {
            regs.rax = v.cast_unsigned();
        }
        self.regs = regs;
        self.fetched = true;
    }

    /// Brings the host task's registers up to date. The event is for when that fails.
    #[inline]
    fn write_back(&mut self, pid: HostPid) -> Option<Event> {
        if self.dirty {
            return self.write_all(pid);
        }
        if let Some(v) = self.result.take() {
            let mut r = sys::poke_reg(pid, offset_of!(Regs, rax), v.cast_unsigned());
            if (-516..=-512).contains(&v) {
                // With a kick pending the host would take it for its own restart code, and run
                // the call again.
                r = r.and(sys::poke_reg(pid, offset_of!(Regs, orig_rax), u64::MAX));
            }
            if r.is_err() {
                return Some(self.died());
            }
        }
        None
    }

    fn write_all(&mut self, pid: HostPid) -> Option<Event> {
        self.result = None;
        let regs = acceptable(&self.regs);
        let set = if self.fetched { sys::set_regs } else { sys::set_general_regs };
        match set(pid, &regs) {
            Ok(()) => {
                self.dirty = false;
                None
            }
            Err(e) if e == Errno::ESRCH => Some(self.died()),
            // The guest's own fault: it chose the values.
            Err(_) => Some(Event::Trap { signo: 11, code: SI_KERNEL, addr: 0 }),
        }
    }

    /// Executes what is queued for the space. False if it is dead.
    #[cold]
    fn flush(&mut self) -> bool {
        match self.space.flush() {
            Ok(()) => self.refusals = 0,
            Err(e) if e == Errno::ESRCH => return false,
            // All mappings are gone and the queue is empty: the guest will fault again.
            Err(_) => self.refusals += 1,
        }
        self.refusals < MAX_REFUSALS
    }

    /// Finds out why the task stopped. None: it was nothing to do with the guest, go on.
    #[inline]
    fn classify(&mut self, pid: HostPid, status: Status) -> Option<Event> {
        if status.is_syscall() {
            let Ok(info) = sys::syscall_info(pid) else { return Some(self.died()) };
            debug_assert_eq!(info.op, 1, "a stop of SYSEMU is at a call's entry");
            self.step_due = self.step;
            if info.arch == sys::ARCH_X86_64 {
                let (nr, args, ip, sp) = (info.nr, info.args, info.ip, info.sp);
                return Some(Event::Syscall { nr, args, ip, sp, patched: false });
            }
            return Some(self.foreign(info.ip));
        }
        if status.event() != 0 {
            // A group stop (SIGSTOP and the like from outside) is not the guest's business.
            let kick = status.event() == sys::EVENT_STOP && status.signal() == libc::SIGTRAP;
            if kick {
                cpu::take_pending();
            }
            return kick.then_some(Event::Kicked);
        }
        let Ok(info) = sys::sig_info(pid) else { return Some(self.died()) };
        if info.code <= 0 {
            return None; // sent by somebody on the host
        }
        self.exception(pid, status.signal(), info)
    }

    /// A call of the 32-bit architecture. From `int 0x80` the registers are honest. `sysenter` (and
    /// on some CPUs a 32-bit `syscall`) leaves rip at a landing pad in the host's vDSO: the guest
    /// can neither go on nor be shown that address.
    #[cold]
    fn foreign(&mut self, ip: u64) -> Event {
        let vdso = self.space.machine().host_vdso();
        if ip.wrapping_sub(vdso) >= VDSO_SIZE {
            return Event::ForeignSyscall;
        }
        self.fetch();
        (self.regs.rip, self.regs.cs) = (0, 0x33);
        self.dirty = true;
        Event::Trap { signo: 4, code: ILL_ILLOPN, addr: 0 }
    }

    fn exception(&mut self, pid: HostPid, signal: i32, info: SigInfo) -> Option<Event> {
        let trap = Event::Trap { signo: signal.cast_unsigned(), code: info.code, addr: info.addr };
        match (signal, info.code) {
            (libc::SIGSEGV, SEGV_MAPERR) => Some(Event::Fault(FaultInfo {
                addr: UserAddr(info.addr),
                present: false,
                write: None,
                exec: false,
            })),
            (libc::SIGSEGV, SEGV_ACCERR) => {
                let Ok(ip) = sys::peek_reg(pid, offset_of!(Regs, rip)) else {
                    return Some(self.died());
                };
                let addr = UserAddr(info.addr);
                // The error code is not to be had. An instruction is fetched at rip or, if it
                // straddles, at the start of the next page.
                let ahead = addr.0.wrapping_sub(ip);
                let exec = ahead == 0 || (addr.is_page_aligned() && ahead < 15);
                Some(Event::Fault(FaultInfo { addr, present: true, write: None, exec }))
            }
            (libc::SIGSEGV, SI_KERNEL) => Some(Event::Trap { signo: 11, code: SI_KERNEL, addr: 0 }),
            // The vsyscall page: the host has "returned" already, rip and rsp are the caller's.
            (libc::SIGSYS, _) => {
                self.fetch();
                let r = &self.regs;
                let args = [r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9];
                let nr = info.syscall.into();
                Some(Event::Syscall { nr, args, ip: r.rip, sp: r.rsp, patched: false })
            }
            (libc::SIGSEGV | libc::SIGBUS | libc::SIGILL | libc::SIGFPE | libc::SIGTRAP, _) => {
                Some(trap)
            }
            _ => None, // a limit of the host's (SIGXCPU) or the like
        }
    }
}

/// What the host takes from the registers: SETREGS refuses some values that GETREGS returns and
/// that a guest can load (`mov %ds`, `wrfsbase`, a far jump), after having set the ones before.
fn acceptable(regs: &Regs) -> Regs {
    let selector = |s: u64| if s & 3 == 3 { s & 0xffff } else { 0 };
    let segment_base = |b: u64| if b < TASK_SIZE { b } else { 0 };
    Regs {
        cs: 0x33,
        ss: 0x2b,
        ds: selector(regs.ds),
        es: selector(regs.es),
        fs: selector(regs.fs),
        gs: selector(regs.gs),
        fs_base: segment_base(regs.fs_base),
        gs_base: segment_base(regs.gs_base),
        // Else the host may take rax for a restart code of its own and step rip back.
        orig_rax: u64::MAX,
        ..*regs
    }
}

impl Thread for PtraceThread {
    fn run(&mut self) -> Event {
        self.space.machine().assert_owner();
        if self.space.is_due() && !self.flush() {
            return self.died();
        }
        let Ok(pid) = self.live() else { return Event::Dead };
        if self.step && std::mem::take(&mut self.step_due) {
            // SYSEMU_SINGLESTEP stops at the call instead of behind it, and next behind the
            // instruction after: the step over the call itself is reported here.
            self.fetch();
            return Event::Trap { signo: 5, code: TRAP_TRACE, addr: self.regs.rip };
        }
        if let Some(event) = self.write_back(pid) {
            return event;
        }
        self.extended = None;
        loop {
            // This order is what keeps kicks from being lost: see `cpu::publish_guest`.
            if !cpu::publish_guest(cpu::Running::traced(pid)) {
                return Event::Kicked;
            }
            let resumed = sys::sysemu(pid, self.step);
            if resumed.is_err() {
                cpu::unpublish_guest();
                return self.died();
            }
            let status = sys::wait(pid);
            cpu::unpublish_guest();
            self.fetched = false;
            match status {
                Ok(s) if s.is_stopped() => {
                    if let Some(event) = self.classify(pid, s) {
                        return event;
                    }
                }
                _ => return self.reaped(),
            }
        }
    }

    fn regs(&mut self) -> &Regs {
        self.fetch();
        &self.regs
    }

    fn regs_mut(&mut self) -> &mut Regs {
        self.fetch();
        self.dirty = true;
        &mut self.regs
    }

    fn set_general(&mut self, regs: &Regs) {
        // Fetching the rest would cost as much as what is set.
        let rest = if self.fetched { self.regs } else { Regs::initial(0, 0) };
        self.regs = rest.with_general(regs);
        self.dirty = true;
        self.result = None;
    }

    #[inline]
    fn set_result(&mut self, value: i64) {
        if self.fetched || self.dirty {
            self.regs.rax = value.cast_unsigned();
        }
        if !self.dirty {
            self.result = Some(value);
        }
    }

    fn xstate(&mut self) -> Result<XState> {
        let pid = self.live()?;
        let mut buf = vec![0; self.space.machine().initial_xstate().len()];
        match sys::get_xstate(pid, &mut buf) {
            Ok(len) => {
                buf.truncate(len);
                let state = XState(buf.into());
                self.extended = Some(state.clone());
                Ok(state)
            }
            Err(_) => {
                self.died();
                err(Errno::ESRCH)
            }
        }
    }

    fn set_xstate(&mut self, state: &XState) -> Result<()> {
        // Signal handlers seldom use more than SSE: to look costs half of what setting everything does.
        let now = match self.extended.take() {
            Some(now) => now,
            None => self.xstate()?,
        };
        match xsave::difference(&now.0, &state.0) {
            Difference::Nothing => Ok(()),
            Difference::Legacy => self.write_with(sys::set_fxsave, &state.0),
            Difference::More => self.write_with(sys::set_xstate, &state.0),
        }
    }

    fn set_single_step(&mut self, on: bool) {
        self.step = on;
        if !on {
            self.step_due = false;
        }
    }
}

impl Drop for PtraceThread {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            self.space.park(task);
        }
    }
}
