//! A guest thread: entering it, and finding out why it came back.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use base::{Errno, Result, UserAddr, err};

use super::context::{self, Context, EFLAGS, RAX, RIP, RSP, TF};
use super::layout::{event, k, mode, s, saved, uc};
use super::space::ShmSpace;
use super::stub::GuestTask;
use crate::cpu::{self, Running};
use crate::machine::{Answers, Event, FaultInfo, Space, Thread};
use crate::regs::{Regs, XState};
use crate::sys::{ARCH_X86_64, SIG_KICK};
use crate::xsave;

/// How often in a row the host may refuse mappings, with nothing else happening, before the thread
/// is given up.
const MAX_REFUSALS: u32 = 64;
/// No less than the size of the host's vDSO.
const VDSO_SIZE: u64 = 0x8000;
/// First address that is no user code's.
const CANONICAL: u64 = 1 << 47;

const SEGV_MAPERR: i32 = 1;
const SEGV_ACCERR: i32 = 2;
const SI_KERNEL: i32 = 128;
const TRAP_TRACE: i32 = 2;
const ILL_ILLOPN: i32 = 2;
/// si_code of SIGSYS: refused by a filter, by Syscall User Dispatch.
const SYS_SECCOMP: i32 = 1;
const SYS_USER_DISPATCH: i32 = 2;
/// Bits of a page fault's error code.
const ERROR_WRITE: u64 = 2;
const ERROR_FETCH: u64 = 16;
/// Code segment of 64-bit user code.
const USER_CS: u64 = 0x33;

/// The shm backend's [`Thread`].
///
/// The registers are in the stub's context (`context`); `regs` is a copy, valid if `fetched`, newer
/// if `dirty`.
#[derive(Debug)]
pub(super) struct ShmThread {
    space: Arc<ShmSpace>,
    /// None once it is lost.
    task: Option<GuestTask>,
    context: Context,
    /// It is in a call from a patched site: no context, but the registers in `s::REGS`.
    patched: bool,
    /// The result of that call, if there is one already.
    result: Option<i64>,
    /// How to leave the stub.
    mode: u32,
    /// Number of the call that it is in, for orig_rax.
    nr: u64,
    regs: Regs,
    fetched: bool,
    dirty: bool,
    step: bool,
    /// A call was reported while single-stepping: the step's own trap is due.
    step_due: bool,
    /// Flushes in a row that the host refused.
    refusals: u32,
}

impl ShmThread {
    /// Takes a waiting task over. `xstate` must be this module's or xsave's (of full length).
    pub(super) fn new(
        space: Arc<ShmSpace>,
        task: GuestTask,
        regs: &Regs,
        xstate: Option<&XState>,
    ) -> ShmThread {
        let initial = space.machine().initial_xstate();
        let r = &task.region;
        r.s64(s::K).store(r.k_address(), Ordering::Relaxed);
        r.forget_answers();
        if xstate.is_none_or(|x| context::make_xstate(r, x).is_err()) {
            r.s_write(s::MADE_FPSTATE, &initial.0[..xsave::layout().frame_size]);
        }
        ShmThread {
            space,
            task: Some(task),
            context: Context::MADE,
            patched: false,
            result: None,
            mode: mode::FULL,
            nr: u64::MAX,
            regs: *regs,
            fetched: true,
            dirty: true,
            step: false,
            step_due: false,
            refusals: 0,
        }
    }

    fn live(&self) -> Result<&GuestTask> {
        match &self.task {
            Some(t) if !self.space.is_dead() => Ok(t),
            _ => err(Errno::ESRCH),
        }
    }

    /// The task is gone, or did what no stub does: its process ends.
    #[cold]
    fn lost(&mut self) -> Event {
        self.task = None;
        self.space.lost();
        Event::Dead
    }

    fn fetch(&mut self) {
        if self.fetched {
            return;
        }
        if self.patched {
            self.save();
        }
        self.fetched = true;
        let Ok(task) = self.live() else { return };
        let r = &task.region;
        let mut regs = self.context.registers(r);
        regs.fs_base = r.s64(s::FS_BASE).load(Ordering::Relaxed);
        regs.gs_base = r.s64(s::GS_BASE).load(Ordering::Relaxed);
        if regs.gs_base == r.s_address() {
            regs.gs_base = 0; // ours, see `write_back`
        }
        regs.orig_rax = self.nr;
        self.regs = regs;
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

    /// Brings the stub's copy of the registers up to date. The event is for when that cannot be.
    fn write_back(&mut self) -> Option<Event> {
        let (regs, context) = (self.regs, self.context);
        if regs.rip >= CANONICAL {
            // iretq would fault inside the stub: the trap is the guest's own.
            return Some(Event::Trap { signo: 11, code: SI_KERNEL, addr: 0 });
        }
        let Ok(task) = self.live() else { return Some(Event::Dead) };
        let r = &task.region;
        context.set_registers(r, &regs);
        r.k64(k::FS_BASE).store(context::segment_base(regs.fs_base), Ordering::Relaxed);
        let gs_base = match regs.gs_base {
            // Where a patched call site finds its thread. The guest never sees it.
            0 if self.space.machine().patching() => r.s_address(),
            base => context::segment_base(base),
        };
        r.k64(k::GS_BASE).store(gs_base, Ordering::Relaxed);
        self.mode = mode::FULL | mode::BASES;
        self.dirty = false;
        None
    }

    /// Lets it run until its next event.
    #[inline]
    fn go(&mut self) -> Result<(), ()> {
        let (context, mode) = (self.context, self.mode);
        let Self { space, task: Some(task), .. } = self else { return Err(()) };
        let handoff = space.machine().handoff();
        let r = &task.region;
        r.k32(k::MODE).store(mode, Ordering::Relaxed);
        r.k64(k::CONTEXT).store(r.s_address() + context.at as u64, Ordering::Relaxed);
        r.k64(k::FPSTATE).store(r.s_address() + context.fpstate as u64, Ordering::Relaxed);
        handoff.resume(r, &mut task.placed, task.event);
        let want = task.event.wrapping_add(1);
        handoff.wait(r, &task.placed, want).map_err(drop)?;
        task.event = want;
        Ok(())
    }

    /// A call from a patched site shows what a call needs, and no more. Whoever wants more (a
    /// signal, a fork) has the stub save the rest as well.
    #[cold]
    fn save(&mut self) {
        self.patched = false;
        let result = self.result.unwrap_or(-38);
        let Self { space, task: Some(task), .. } = self else { return };
        let r = &task.region;
        r.k32(k::MODE).store(mode::SAVE, Ordering::Relaxed);
        let fpstate = r.s_address() + Context::MADE.fpstate as u64;
        r.k64(k::FPSTATE).store(fpstate, Ordering::Relaxed);
        let handoff = space.machine().handoff();
        handoff.resume(r, &mut task.placed, task.event);
        let want = task.event.wrapping_add(1);
        let came = handoff.wait_soon(r, &task.placed, want).is_ok();
        task.event = want;
        let mut regs = context::of_patched_call(r);
        regs.rax = result.cast_unsigned();
        if !came || r.s32(s::TYPE).load(Ordering::Acquire) != event::SAVED || regs.rip >= CANONICAL
        {
            log::debug!("stub: the rest of a call was not saved: at {:#x}", regs.rip);
            self.lost();
            return;
        }
        Context::MADE.set_registers(r, &regs);
        self.context = Context::MADE;
        self.mode = mode::FULL;
    }

    /// Why it came back. None: it was nothing to do with the guest, go on.
    #[inline]
    fn classify(&mut self) -> Option<Event> {
        let Some(task) = &self.task else { return Some(Event::Dead) };
        let r = &task.region;
        let kind = r.s32(s::TYPE).load(Ordering::Acquire);
        if kind == event::PATCHED {
            let word = |w: usize| r.s64(s::REGS + w * 8).load(Ordering::Relaxed);
            self.nr = word(saved::RAX) & 0xffff_ffff; // an int, as Linux takes it
            let args = saved::ARGS.map(word);
            let (ip, sp) = (word(saved::RCX), word(saved::RSP));
            (self.patched, self.result, self.mode) = (true, None, mode::PATCHED);
            return Some(Event::Syscall { nr: self.nr, args, ip, sp, patched: true });
        }
        let Some(c) = Context::reported(r) else {
            log::debug!("stub: event {kind:#x} without a context");
            return Some(self.lost());
        };
        self.context = c;
        (self.patched, self.mode) = (false, mode::FULL);
        self.nr = u64::MAX;
        let info = |offset| c.word(r, uc::SIGINFO + offset);
        let code = (info(8) & 0xffff_ffff) as i32;
        if self.step {
            let flags = c.load(r, EFLAGS);
            c.store(r, EFLAGS, flags & !TF);
        }
        if kind == libc::SIGSYS as u32 {
            let (nr, arch) = (info(24) & 0xffff_ffff, (info(24) >> 32) as u32);
            let (ip, sp) = (c.load(r, RIP), c.load(r, RSP));
            let native = match code {
                SYS_USER_DISPATCH if arch == ARCH_X86_64 => {
                    // A call needs neither rcx nor r11 back. With TF set there would be a trap
                    // in the stub's text.
                    if c.load(r, EFLAGS) & TF == 0 && ip < CANONICAL {
                        self.mode = mode::SYSCALL;
                    }
                    true
                }
                // The vsyscall page: the host has "returned" already, rip and rsp are the caller's.
                SYS_SECCOMP => arch == ARCH_X86_64,
                SYS_USER_DISPATCH => false,
                _ => return None, // sent by somebody on the host
            };
            // As Linux takes it: an int.
            let number = |rax: u64| i64::from(rax as i32).cast_unsigned();
            let nr = number(if code == SYS_SECCOMP { nr } else { c.load(r, RAX) });
            // rdi, rsi, rdx, r10, r8, r9
            let args = [8, 9, 12, 2, 0, 1].map(|w| c.load(r, w));
            let wide = c.word(r, uc::CS) & 0xffff == USER_CS;
            c.store(r, RAX, (-38i64).cast_unsigned());
            self.step_due = self.step;
            if native && wide {
                self.nr = nr;
                return Some(Event::Syscall { nr, args, ip, sp, patched: false });
            }
            return Some(self.foreign(ip, wide));
        }
        if kind == SIG_KICK as u32 {
            cpu::take_pending();
            return Some(Event::Kicked);
        }
        if kind >= event::READY {
            log::debug!("stub: event {kind:#x} at {:#x}", c.load(r, RIP));
            return Some(self.lost());
        }
        if code <= 0 {
            return None; // sent by somebody on the host
        }
        let trap = Event::Trap { signo: kind, code, addr: info(16) };
        match kind as i32 {
            // By the code, not by the vector: a refused vsyscall leaves that of an older fault.
            libc::SIGSEGV if matches!(code, SEGV_MAPERR | SEGV_ACCERR) => {
                let error = c.word(r, uc::ERROR);
                Some(Event::Fault(FaultInfo {
                    addr: UserAddr(info(16)),
                    present: code == SEGV_ACCERR,
                    write: Some(error & ERROR_WRITE != 0),
                    exec: error & ERROR_FETCH != 0,
                }))
            }
            libc::SIGSEGV => Some(Event::Trap { signo: 11, code: SI_KERNEL, addr: 0 }),
            libc::SIGBUS | libc::SIGILL | libc::SIGFPE | libc::SIGTRAP => Some(trap),
            _ => Some(self.lost()),
        }
    }

    /// A call of the 32-bit architecture. From `int 0x80` in 64-bit code the registers are honest.
    /// `sysenter` leaves rip at a landing pad in the host's vDSO, which the guest must not be shown,
    /// and 32-bit code is none that we go on with.
    #[cold]
    fn foreign(&mut self, ip: u64, wide: bool) -> Event {
        if wide && ip.wrapping_sub(self.space.machine().host_vdso()) >= VDSO_SIZE {
            return Event::ForeignSyscall;
        }
        self.fetch();
        self.regs.rip = 0;
        self.dirty = true;
        Event::Trap { signo: 4, code: ILL_ILLOPN, addr: 0 }
    }
}

impl Thread for ShmThread {
    fn run(&mut self) -> Event {
        if self.space.is_due() && !self.flush() {
            return self.lost();
        }
        let Ok(task) = self.live() else { return Event::Dead };
        let guest = Running::thread(task.placed.pid, task.placed.tid);
        self.space.machine().handoff().adapt();
        if self.step && std::mem::take(&mut self.step_due) {
            self.fetch();
            return Event::Trap { signo: 5, code: TRAP_TRACE, addr: self.regs.rip };
        }
        if self.dirty
            && let Some(event) = self.write_back()
        {
            return event;
        }
        if self.step
            && let Ok(task) = self.live()
        {
            let flags = self.context.load(&task.region, EFLAGS);
            self.context.store(&task.region, EFLAGS, flags | TF);
            self.mode = self.mode & mode::BASES | mode::FULL;
        }
        loop {
            // This order is what keeps kicks from being lost: see `cpu::publish_guest`.
            if !cpu::publish_guest(guest) {
                return Event::Kicked;
            }
            let came = self.go();
            cpu::unpublish_guest();
            self.fetched = false;
            if came.is_err() {
                log::debug!("stub {}: a thread does not come back", guest.pid());
                return self.lost();
            }
            if let Some(event) = self.classify() {
                return event;
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

    #[inline]
    fn set_result(&mut self, value: i64) {
        if self.fetched {
            self.regs.rax = value.cast_unsigned();
        }
        let Some(task) = &self.task else { return };
        if self.patched {
            self.result = Some(value);
            task.region
                .s64(s::REGS + saved::RAX * 8)
                .store(value.cast_unsigned(), Ordering::Relaxed);
        } else {
            self.context.store(&task.region, RAX, value.cast_unsigned());
        }
    }

    fn xstate(&mut self) -> Result<XState> {
        self.fetch();
        let task = self.live()?;
        Ok(self.context.xstate(&task.region))
    }

    fn set_xstate(&mut self, state: &XState) -> Result<()> {
        self.fetch();
        let task = self.live()?;
        context::make_xstate(&task.region, state)?;
        self.context = Context::MADE;
        self.dirty = true; // the registers follow
        Ok(())
    }

    fn answers(&self) -> Option<Arc<dyn Answers>> {
        // Only patched call sites look for them.
        let task = self.task.as_ref().filter(|_| self.space.machine().patching())?;
        Some(Arc::new(task.region.clone()))
    }

    fn set_single_step(&mut self, on: bool) {
        self.step = on;
        if !on {
            self.step_due = false;
        }
    }
}

impl Drop for ShmThread {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            self.space.park(task);
        }
    }
}
