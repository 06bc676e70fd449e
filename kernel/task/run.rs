//! The life of a task: from the first instruction of its kernel stack to its exit.
//!
//! The loop alternates between guest code and the kernel. On each way out the order is fixed: signals,
//! then the scheduler, then what the address space has put off, then user mode. All of these can make work
//! for the ones before, so the loop looks again until nothing is left.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arch::{Event, FaultInfo, Thread};
use base::{Errno, trace};
use mm::FaultResult;

use super::{Task, exit};
use crate::Kernel;
use crate::signal::deliver::{self, Outcome};
use crate::signal::queue::SigInfo;
use crate::signal::set::nr;
use crate::syscall::{Ctx, table};

/// Bytes of a kernel stack. Only touched pages cost memory.
pub const STACK_BYTES: usize = 256 << 10;

/// What a new task does in the kernel before it first runs guest code.
pub type FirstAct = Box<dyn FnOnce(&mut Ctx<'_>) + Send>;

impl Kernel {
    /// Gives a new task its kernel stack and puts it on the run queue. `first`: before its parent.
    /// `act` is done by the task itself before guest code runs (init execs there).
    ///
    /// # Errors
    /// ENOMEM if there is no memory for a stack.
    pub fn launch(
        self: &Arc<Self>,
        task: &Arc<Task>,
        thread: Box<dyn Thread>,
        first: bool,
        act: Option<FirstAct>,
    ) -> base::Result<()> {
        let kernel = self.clone();
        let t = task.clone();
        let entry = Box::new(move || {
            run(kernel, t, thread, act);
            // Everything that the loop owned has been dropped: nothing on this stack needs it.
            crate::sched::exit_current();
        });
        let fiber = arch::switch::Fiber::new(STACK_BYTES, entry)?;
        task.fiber.call_once(|| Arc::new(fiber));
        self.sched.start(task, first);
        Ok(())
    }
}

impl Kernel {
    /// Starts a thread of the kernel's own: no address space, in no process tree. It may sleep, and
    /// is not expected to end.
    ///
    /// # Errors
    /// ENOMEM, EAGAIN.
    pub fn spawn_kernel_thread(
        self: &Arc<Self>,
        name: &[u8],
        fs: Arc<fs::FsContext>,
        body: impl FnOnce(&Kernel) + Send + 'static,
    ) -> base::Result<()> {
        let tid = self.tree.lock().alloc_id()?;
        let actions = Arc::new(base::SpinLock::new(base::Rank::Leaf, Default::default()));
        let task = super::NewTask {
            tid,
            process: super::new_process(tid, actions, super::limits::Rlimits::initial(0)),
            kernel: self.clone(),
            nice: 0,
            cred: Arc::new(base::Cred::root()),
            fs,
            files: fs::FdTable::new(),
            mm: None,
            comm: [0; 16],
        }
        .build();
        task.set_comm(name);
        let kernel = Arc::downgrade(self);
        let entry = Box::new(move || {
            if let Some(k) = kernel.upgrade() {
                body(&k);
            }
            crate::sched::exit_current();
        });
        let fiber = arch::switch::Fiber::new(STACK_BYTES, entry)?;
        task.fiber.call_once(|| Arc::new(fiber));
        self.sched.start(&task, false);
        Ok(())
    }
}

fn run(kernel: Arc<Kernel>, task: Arc<Task>, thread: Box<dyn Thread>, act: Option<FirstAct>) {
    let Some(mm) = task.mm() else { return };
    let mut cx = Ctx {
        kernel: &kernel,
        task,
        mm,
        thread,
        restart: None,
        restart_block: None,
        last_fault: (0, 0, 0),
        nr: u64::MAX,
        sp: 0,
        trapped: 0,
        registers_set: false,
        exiting: false,
    };
    if let Some(act) = act {
        act(&mut cx);
    }
    cx.task.set_answers(cx.thread.answers());
    while !cx.exiting && to_user(&mut cx) {
        cx.kernel.vdso.refresh();
        let before = arch::clock::stopwatch();
        let event = cx.thread.run();
        let spent = arch::clock::stopwatch().saturating_sub(before);
        // Only this task writes it.
        let user = cx.task.utime_ns.load(Ordering::Relaxed);
        cx.task.utime_ns.store(user + spent, Ordering::Relaxed);
        handle(&mut cx, event);
    }
    exit::exit_thread(cx);
}

/// Does everything that must be done before guest code may run. False: the task must exit.
fn to_user(cx: &mut Ctx<'_>) -> bool {
    loop {
        if cx.task.signal_pending() || cx.restart.is_some() {
            if deliver::deliver(cx) == Outcome::Exit {
                return false;
            }
            continue_if_clean(cx);
        }
        if cx.kernel.sched.need_resched() {
            let task = cx.task.clone();
            cx.kernel.sched.yield_now(&task, false);
            continue;
        }
        if cx.task.signal_pending() {
            continue;
        }
        match cx.mm.before_user() {
            Ok(()) => return true,
            Err(_) => {
                // The host side of the space is gone: nothing can run there.
                exit::exit_group(&cx.task, nr::KILL as i32);
                return false;
            }
        }
    }
}

fn continue_if_clean(cx: &mut Ctx<'_>) {
    debug_assert!(cx.restart.is_none(), "delivery settles interrupted calls");
}

fn handle(cx: &mut Ctx<'_>, event: Event) {
    match event {
        Event::Syscall { nr, args, sp, patched, .. } => {
            cx.sp = sp;
            syscall(cx, nr, &args);
            if !patched {
                cx.trapped = cx.trapped.wrapping_add(1);
                if cx.trapped.is_multiple_of(TRAPS_BEFORE_PATCHING) {
                    patch_late(cx);
                }
            }
        }
        Event::Fault(info) => fault(cx, &info),
        Event::Kicked => {
            arch::cpu::take_pending();
            cx.kernel.sched.interrupt();
        }
        Event::ForeignSyscall => {
            cx.thread.set_result(-i64::from(Errno::ENOSYS.code()));
        }
        Event::Trap { signo: nr::TRAP, code: SI_KERNEL, .. } if resumed(cx) => {}
        Event::Trap { signo, code, addr } => {
            let addr = cx.mm.original_ip(addr);
            let trapno = match (signo, code) {
                (nr::FPE, 1) => 0,
                (nr::FPE, 2) => 4,
                (nr::FPE, _) => floating_trap(cx),
                (nr::TRAP, 1 | 2) => 1,
                (nr::TRAP, _) => 3,
                (nr::ILL, _) => 6,
                _ => 13,
            };
            cx.last_fault = (trapno, 0, addr);
            cx.task.force_signal(SigInfo::fault(signo, code, addr));
        }
        Event::Dead => {
            log::warn!("{:?}: its host process is gone", cx.task);
            exit::exit_group(&cx.task, nr::KILL as i32);
            cx.exiting = true;
        }
    }
    // A timer or a device may have wanted the CPU while the kernel was busy.
    if arch::cpu::take_pending() {
        cx.kernel.sched.interrupt();
    }
}

/// After so many calls that came by a trap, text that was left alone is patched if its call sites are known:
/// they have cost as much as mapping it once more does (a trap 1.5 us more than a jump).
const TRAPS_BEFORE_PATCHING: u32 = 256;
/// After so many, the call sites are looked for (15 ms for a C library).
const TRAPS_BEFORE_ANALYSIS: u32 = 8192;

/// A long-lived process whose programs were run for the first time (`patch=auto`): makes its calls cheap.
#[cold]
fn patch_late(cx: &mut Ctx<'_>) {
    // The task's reference and ours: another thread could be in the middle of a call site.
    if !cx.kernel.memory.patches_lazily() || Arc::strong_count(&cx.mm) > 2 {
        return;
    }
    cx.mm.patch_late(!cx.trapped.is_multiple_of(TRAPS_BEFORE_ANALYSIS));
    let ip = cx.thread.regs().rip;
    if let Some(to) = cx.mm.trampoline_ip(ip) {
        cx.thread.regs_mut().rip = to;
    }
}

/// `si_code` of an `int3`.
const SI_KERNEL: i32 = 0x80;

/// After an `int3`: whether that only fills up a patched system call site, into whose middle the guest has
/// jumped. It goes on in the trampoline then.
fn resumed(cx: &mut Ctx<'_>) -> bool {
    let ip = cx.thread.regs().rip.wrapping_sub(1);
    let to = cx.mm.trampoline_ip(ip);
    if let Some(to) = to {
        cx.thread.regs_mut().rip = to;
    }
    to.is_some()
}

/// Vector of a floating-point exception: 19 if SSE has one that is not masked, else 16.
fn floating_trap(cx: &mut Ctx<'_>) -> u64 {
    let Ok(state) = cx.thread.xstate() else { return 16 };
    let mxcsr = state.0.get(24..26).map_or(0, |b| u16::from_le_bytes([b[0], b[1]]));
    let raised = mxcsr & 0x3f & !(mxcsr >> 7);
    if raised != 0 { 19 } else { 16 }
}

fn syscall(cx: &mut Ctx<'_>, nr: u64, args: &[u64; 6]) {
    cx.nr = nr;
    cx.registers_set = false;
    cx.task.enter_syscall(nr, args);
    let text = trace::enabled(trace::Category::Syscall)
        .then(|| (table::show(&cx.mm, nr, args), arch::clock::monotonic().0));
    let result = table::dispatch(cx, nr, args);
    cx.task.in_syscall.store(u32::MAX, Ordering::Relaxed);
    if let Some((text, entered)) = text {
        trace_call(cx, text, &result, entered);
    }
    match result {
        Ok(v) if !cx.registers_set => cx.thread.set_result(v),
        Ok(_) => {}
        Err(e) if e.errno().is_restart() => {
            cx.thread.set_result(-i64::from(Errno::EINTR.code()));
            cx.restart = Some((e.errno(), nr));
        }
        Err(e) => cx.thread.set_result(e.to_ret()),
    }
}

fn trace_call(cx: &Ctx<'_>, text: String, result: &base::Result<i64>, start_ns: u64) {
    let text = match result {
        Ok(v) if *v > 0x10_0000 => format!("{text} = {v:#x}"),
        Ok(v) => format!("{text} = {v}"),
        Err(e) => format!("{text} = -1 {} ({})", e.errno().name(), e.errno().text()),
    };
    let end_ns = arch::clock::monotonic().0;
    trace!(Syscall, Syscall { tid: cx.task.tid(), text: text, start_ns: start_ns, end_ns: end_ns });
}

/// `si_code` of an address where nothing is.
const MAPERR: i32 = 1;

fn fault(cx: &mut Ctx<'_>, info: &FaultInfo) {
    let sp = 0; // Linux has not looked at the stack pointer since 5.0
    let result = cx.mm.fault(info, sp);
    cx.task.minflt.fetch_add(1, Ordering::Relaxed);
    trace!(
        Fault,
        Fault {
            tid: cx.task.tid(),
            addr: info.addr.0,
            write: info.write.unwrap_or(info.present),
            exec: info.exec,
            pages: 0,
            result: match result {
                FaultResult::Resolved => "resolved",
                FaultResult::Segv { .. } => "SIGSEGV",
                FaultResult::Bus { .. } => "SIGBUS",
                FaultResult::Oom => "out of memory",
                FaultResult::Killed => "killed",
            },
        }
    );
    if result == FaultResult::Resolved {
        return;
    }
    // The guest has mapped something else over the trampoline that the thread was in.
    if let Some(ip) = cx.mm.lost_ip(cx.thread.regs().rip) {
        cx.thread.regs_mut().rip = ip;
        return;
    }
    let exec = info.exec || cx.thread.regs().rip == info.addr.0;
    // The kernel half is always mapped, as the hardware sees it; else what the host maps without rights is not.
    let mapped = !matches!(result, FaultResult::Segv { code: MAPERR, .. });
    let present = info.present && mapped || info.addr.0 >> 47 != 0;
    let write = u64::from(info.write.unwrap_or(info.present && mapped && !exec));
    let code_bits = u64::from(present) | write << 1 | 4 | u64::from(exec) << 4;
    match result {
        FaultResult::Resolved => {}
        FaultResult::Segv { addr, code } => {
            cx.last_fault = (14, code_bits, addr.0);
            cx.task.force_signal(SigInfo::fault(nr::SEGV, code, addr.0));
        }
        FaultResult::Bus { addr, code } => {
            cx.last_fault = (14, code_bits, addr.0);
            cx.task.force_signal(SigInfo::fault(nr::BUS, code, addr.0));
        }
        // Somebody has been killed for memory: perhaps us. If not, the instruction is repeated.
        FaultResult::Oom => cx.kernel.sched.yield_now(&cx.task.clone(), true),
        FaultResult::Killed => exit::exit_group(&cx.task, nr::KILL as i32),
    }
}
