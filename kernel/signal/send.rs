//! Sending signals. `man 7 signal`, `man 2 kill`.
//!
//! A signal goes to a thread or to a process; the latter is taken by any thread that does not block
//! it. SIGCONT and the stop signals cancel each other when they are sent, whatever is blocked.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use base::{Cap, Cred, Errno, PollEvents, Result, Wake, err, trace};

use super::queue::{Actions, Fields, SigInfo, code, sa};
use super::set::{DefaultAction, SigSet, default_action, nr};
use crate::Kernel;
use crate::task::limits::Resource;
use crate::task::{Process, Task};

impl Process {
    /// What it does about signals, as a copy of the reference.
    pub fn sig_actions(&self) -> Arc<base::SpinLock<Actions>> {
        self.actions.lock().clone()
    }

    fn discard(&self, which: SigSet) {
        self.pending.lock().discard(which);
        for t in &self.state.lock().threads {
            t.signals.lock().pending.discard(which);
        }
    }

    /// Ends a job control stop.
    fn resume(self: &Arc<Self>, kernel: &Kernel) {
        let threads = {
            let mut s = self.state.lock();
            let was = s.stopped.take();
            if was.is_some() {
                s.report_continue = true;
                s.report_stop = false;
            }
            if was.is_none() { Vec::new() } else { s.threads.clone() }
        };
        if threads.is_empty() {
            return;
        }
        self.stop_event.wake_all(PollEvents::empty());
        for t in threads {
            t.wake(PollEvents::empty());
        }
        kernel.notify_parent(self, code::CLD_CONTINUED, nr::CONT as i32);
    }

    /// Fixes the exit status of the whole process and makes every thread exit. False if it was
    /// exiting already.
    pub fn kill_all(&self, status: i32, except: Option<u32>) -> bool {
        let threads = {
            let mut s = self.state.lock();
            if s.exiting.is_some() {
                return false;
            }
            s.exiting = Some(status);
            s.stopped = None;
            s.threads.clone()
        };
        self.stop_event.wake_all(PollEvents::empty());
        for t in threads {
            if Some(t.tid()) != except {
                t.set_fatal();
                t.wake(PollEvents::empty());
            }
        }
        true
    }
}

/// What all senders do first. Returns false if the signal has no further effect.
fn prepare(kernel: &Kernel, p: &Arc<Process>, signo: u32) -> bool {
    match signo {
        nr::CONT => {
            p.discard(SigSet::STOPS);
            p.resume(kernel);
        }
        nr::STOP | nr::TSTP | nr::TTIN | nr::TTOU => p.discard(SigSet::one(nr::CONT)),
        _ => {}
    }
    true
}

/// Whether it would be thrown away on delivery, so that it need not be queued.
fn is_ignored(p: &Process, t: &Task, signo: u32) -> bool {
    let s = t.signals.lock();
    if s.blocked.has(signo) || s.waiting_for.has(signo) {
        return false;
    }
    drop(s);
    let actions = p.sig_actions();
    let ignored = actions.lock().ignores(signo);
    // init is spared what it does not handle, except from its own faults.
    let init = p.unkillable.load(Ordering::Relaxed);
    ignored
        || init
            && (signo == nr::KILL || {
                let a = actions.lock().get(signo);
                a.handler == sa::DFL && default_action(signo) != DefaultAction::Continue
            })
}

fn room(p: &Process, info: &SigInfo) -> bool {
    let shared = p.pending.lock().len();
    let queued = shared
        + p.state.lock().threads.iter().map(|t| t.signals.lock().pending.len()).sum::<usize>();
    // The kernel's own and kill(2)'s always find room: they are kept once each.
    (queued as u64) < p.rlimit(Resource::Sigpending) || info.signo < nr::RTMIN
}

impl Kernel {
    /// Sends to a process.
    ///
    /// # Errors
    /// EAGAIN if a real-time signal's queue is full.
    pub fn signal_process(&self, p: &Arc<Process>, info: SigInfo) -> Result<()> {
        let signo = info.signo;
        trace!(
            Signal,
            SignalSent {
                from: crate::sched::current().map_or(0, |t| t.tid()),
                to: p.pid,
                signo: signo
            }
        );
        prepare(self, p, signo);
        let Some(main) = p.any_thread() else { return Ok(()) };
        if is_ignored(p, &main, signo) {
            return Ok(());
        }
        if signo == nr::KILL {
            p.kill_all(nr::KILL as i32, None);
            return Ok(());
        }
        let room = room(p, &info);
        if !p.pending.lock().push(info, room) {
            return err(Errno::EAGAIN);
        }
        p.signal_event.wake_all(PollEvents::IN);
        // A thread that does not block it takes it; the main one if it may.
        let threads = p.state.lock().threads.clone();
        let wants = |t: &Arc<Task>| !t.signals.lock().blocked.has(signo);
        let target = std::iter::once(&main).chain(&threads).find(|t| wants(t));
        if let Some(t) = target {
            t.set_sigpending();
            t.wake(PollEvents::empty());
            self.sched.nudge(t);
        }
        Ok(())
    }

    /// Sends to one thread.
    ///
    /// # Errors
    /// EAGAIN if a real-time signal's queue is full.
    pub fn signal_task(&self, t: &Arc<Task>, info: SigInfo) -> Result<()> {
        let signo = info.signo;
        let p = &t.process;
        trace!(
            Signal,
            SignalSent {
                from: crate::sched::current().map_or(0, |t| t.tid()),
                to: t.tid(),
                signo: signo
            }
        );
        prepare(self, p, signo);
        if is_ignored(p, t, signo) {
            return Ok(());
        }
        if signo == nr::KILL {
            p.kill_all(nr::KILL as i32, None);
            return Ok(());
        }
        let room = room(p, &info);
        let blocked = {
            let mut s = t.signals.lock();
            if !s.pending.push(info, room) {
                return err(Errno::EAGAIN);
            }
            s.blocked.has(signo)
        };
        p.signal_event.wake_all(PollEvents::IN);
        if !blocked {
            t.set_sigpending();
            t.wake(PollEvents::empty());
            self.sched.nudge(t);
        }
        Ok(())
    }

    /// Sends to every process of a group; the number of processes there were.
    pub fn signal_group(&self, pgrp: u32, info: SigInfo) -> usize {
        let group = self.tree.lock().group(pgrp);
        for p in &group {
            // A full queue is the receiver's loss, as for the kernel's own signals.
            let _ = self.signal_process(p, info);
        }
        group.len()
    }

    /// SIGCHLD (or what clone asked for) to the parent of `p`, and a wake-up for its wait(2).
    pub fn notify_parent(&self, p: &Arc<Process>, why: i32, status: i32) {
        let (parent, uid) = {
            let tree = self.tree.lock();
            let parent = tree.node(p.pid).and_then(|n| tree.process(n.parent)).cloned();
            (parent, p.any_thread().map_or(0, |t| t.cred().uid))
        };
        let Some(parent) = parent else { return };
        let stop = matches!(why, code::CLD_STOPPED | code::CLD_CONTINUED);
        let actions = parent.sig_actions();
        let action = actions.lock().get(nr::CHLD);
        let (u, s) = p.times();
        let signo = match p.exit_signal.load(std::sync::atomic::Ordering::Relaxed) {
            _ if stop => nr::CHLD,
            n => n,
        };
        if signo != 0 && !(stop && action.flags & sa::NOCLDSTOP != 0) {
            let tick = 10_000_000;
            let info = SigInfo {
                signo,
                errno: 0,
                code: why,
                fields: Fields::Child { pid: p.pid, uid, status, utime: u / tick, stime: s / tick },
            };
            let _ = self.signal_process(&parent, info);
        }
        parent.child_event.wake_all(PollEvents::IN);
    }
}

/// A signal that the thread's own instruction has caused: it cannot be blocked or ignored.
pub fn force(t: &Task, info: SigInfo) {
    let signo = info.signo;
    let actions = t.process.sig_actions();
    {
        let mut a = actions.lock();
        let mut s = t.signals.lock();
        let ignored = a.get(signo).handler == sa::IGN;
        if ignored || s.blocked.has(signo) {
            a.set(signo, Default::default());
            s.blocked.remove(signo);
        }
        // The forced one replaces an equal one that waits: its information is about this fault.
        s.pending.discard(SigSet::one(signo));
        s.pending.push(info, true);
    }
    t.set_sigpending();
}

/// Whether `from` may send `signo` to `p`: kill(2).
///
/// # Errors
/// EPERM.
pub fn may_signal(from: &Cred, sender: &Task, p: &Arc<Process>, signo: u32) -> Result<()> {
    let Some(t) = p.any_thread() else { return Ok(()) };
    let to = t.cred();
    if from.capable(Cap::Kill)
        || [to.uid, to.suid].iter().any(|u| *u == from.uid || *u == from.euid)
    {
        return Ok(());
    }
    if signo == nr::CONT {
        let kernel = sender.kernel();
        let tree = kernel.tree.lock();
        let session = |pid| tree.node(pid).map(|n| n.session);
        if session(sender.pid()) == session(p.pid) {
            return Ok(());
        }
    }
    err(Errno::EPERM)
}

impl Process {
    /// A signal that waits is forgotten: it is ignored from now on.
    pub fn forget(&self, signo: u32) {
        self.discard(SigSet::one(signo));
    }
}
