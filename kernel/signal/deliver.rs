//! Taking signals, on the way to user mode.

use std::sync::atomic::Ordering;

use base::{Errno, Sleep, trace};

use super::frame;
use super::queue::{Action, Fields, SigInfo, code, sa};
use super::set::{DefaultAction, SigSet, default_action, nr};
use crate::syscall::Ctx;
use crate::task::{Task, exit};

/// What the delivery decided.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Go on to user mode.
    Continue,
    /// The thread must exit.
    Exit,
}

impl Task {
    /// Takes the next signal that is in `wanted`: faults first, then the thread's own, then the
    /// process's.
    pub fn take_signal(&self, wanted: SigSet) -> Option<SigInfo> {
        let mut s = self.signals.lock();
        let info = s.pending.take(wanted);
        drop(s);
        let mut info = info.or_else(|| self.process.pending.lock().take(wanted))?;
        if info.code == code::TIMER
            && let Fields::Timer { id, overrun, .. } = &mut info.fields
        {
            *overrun = self.process.timers.delivered(*id);
        }
        Some(info)
    }

    /// Changes the mask; signals that become deliverable are seen at once.
    pub fn set_blocked(&self, mask: SigSet) -> SigSet {
        let old = {
            let mut s = self.signals.lock();
            std::mem::replace(&mut s.blocked, mask.minus(SigSet::UNBLOCKABLE))
        };
        self.recalc_sigpending();
        old
    }
}

/// Delivers what is pending. Runs until no signal is left that the thread must look at, or a handler's
/// frame has been built for each.
pub fn deliver(cx: &mut Ctx) -> Outcome {
    let task = cx.task.clone();
    let mut handled = false;
    loop {
        if task.fatal_pending() {
            return Outcome::Exit;
        }
        if task.process.lock().stopped.is_some() {
            wait_while_stopped(&task);
            continue;
        }
        let mask = task.signals.lock().blocked;
        let Some(info) = task.take_signal(SigSet(!mask.0)) else { break };
        let signo = info.signo;
        let actions = task.process.sig_actions();
        let action = actions.lock().get(signo);
        trace!(Signal, SignalDelivered { tid: task.tid(), signo: signo, handler: action.handler });
        match action.handler {
            sa::IGN => continue,
            sa::DFL => match default_action(signo) {
                DefaultAction::Ignore | DefaultAction::Continue => continue,
                DefaultAction::Stop => {
                    stop(cx, signo);
                    continue;
                }
                DefaultAction::Terminate | DefaultAction::Core => {
                    if task.process.unkillable.load(Ordering::Relaxed) && info.code <= 0 {
                        continue; // only the kernel can end init by a signal
                    }
                    exit::exit_group(&task, signo as i32);
                    return Outcome::Exit;
                }
            },
            _ => {}
        }
        if action.flags & sa::RESETHAND != 0 {
            actions.lock().set(signo, Action { handler: sa::DFL, ..action });
        }
        finish_call_for_handler(cx, &action);
        if frame::push(cx, &info, &action).is_err() {
            // No room for the frame: Linux forces SIGSEGV, by default action if that was it.
            if signo == nr::SEGV {
                actions.lock().set(nr::SEGV, Action::default());
            }
            task.force_signal(SigInfo::kernel(nr::SEGV));
            continue;
        }
        let mut blocked = action.mask.or(mask);
        if action.flags & sa::NODEFER == 0 {
            blocked.add(signo);
        }
        task.signals.lock().saved = None;
        task.set_blocked(blocked);
        handled = true;
    }
    if !handled {
        finish_call_without_handler(cx);
        let saved = task.signals.lock().saved.take();
        if let Some(mask) = saved {
            task.set_blocked(mask);
        }
    }
    task.recalc_sigpending();
    Outcome::Continue
}

/// A handler runs: an interrupted call fails with EINTR or is repeated after the handler.
fn finish_call_for_handler(cx: &mut Ctx, action: &Action) {
    let Some((errno, nr)) = cx.restart.take() else { return };
    let again = match errno {
        Errno::ERESTARTNOINTR => true,
        Errno::ERESTARTSYS => action.flags & sa::RESTART != 0,
        _ => false,
    };
    let regs = cx.thread.regs_mut();
    if again {
        regs.rax = nr;
        regs.rip = regs.rip.wrapping_sub(2);
    } else {
        regs.rax = (-i64::from(Errno::EINTR.code())) as u64;
    }
}

/// No handler runs: the interrupted call is repeated as if nothing had happened.
fn finish_call_without_handler(cx: &mut Ctx) {
    let Some((errno, nr)) = cx.restart.take() else { return };
    let regs = cx.thread.regs_mut();
    regs.rax = if errno == Errno::ERESTART_RESTARTBLOCK {
        linux_raw_sys::general::__NR_restart_syscall.into()
    } else {
        nr
    };
    regs.rip = regs.rip.wrapping_sub(2);
}

/// A stop signal's default action, unless the process group is orphaned (then only SIGSTOP stops).
fn stop(cx: &Ctx, signo: u32) {
    let task = &cx.task;
    let kernel = cx.kernel;
    let p = &task.process;
    if signo != nr::STOP {
        let tree = kernel.tree.lock();
        let pgrp = tree.node(p.pid).map_or(0, |n| n.pgrp);
        if tree.is_orphaned(pgrp, None) {
            return;
        }
    }
    let threads = {
        let mut s = p.lock();
        if s.exiting.is_some() || s.stopped.is_some() {
            return;
        }
        s.stopped = Some(signo);
        s.report_stop = true;
        s.report_continue = false;
        s.threads.clone()
    };
    for t in threads {
        if t.tid() != task.tid() {
            t.set_sigpending();
            base::Wake::wake(&*t, base::PollEvents::empty());
        }
    }
    kernel.notify_parent(p, code::CLD_STOPPED, signo as i32);
    wait_while_stopped(task);
}

fn wait_while_stopped(task: &Task) {
    let p = &task.process;
    let _ = p.stop_event.wait_until(Sleep::Killable, None, || {
        (p.lock().stopped.is_none() || task.fatal_pending()).then_some(())
    });
}
