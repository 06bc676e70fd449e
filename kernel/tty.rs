//! What terminals must know of processes: the kernel's side of `drivers::tty`.
//!
//! Linux keeps the controlling terminal in each process's signal structure and children inherit it. All
//! processes of a session have the same one or none, so here it is kept by session, together with the few
//! processes that have renounced it (TIOCNOTTY of one that is no leader).

use std::sync::{Arc, Weak};

use base::lock::{Rank, SpinLock};
use drivers::tty::{Tty, TtyContext, TtySignals};
use hashbrown::{HashMap, HashSet};

use crate::Kernel;
use crate::signal::queue::{SigInfo, sa};
use crate::signal::set::nr;
use crate::task::Task;

#[derive(Debug, Default)]
struct State {
    ttys: HashMap<u32, Arc<Tty>>,
    /// (process, session) without the session's terminal.
    renounced: HashSet<(u32, u32)>,
}

/// The controlling terminals of all sessions.
#[derive(Debug)]
pub struct Sessions {
    state: SpinLock<State>,
}

impl Default for Sessions {
    fn default() -> Self {
        Sessions { state: SpinLock::new(Rank::Leaf, State::default()) }
    }
}

impl Sessions {
    /// The controlling terminal of a process.
    pub fn ctty(&self, pid: u32, session: u32) -> Option<Arc<Tty>> {
        let s = self.state.lock();
        if s.renounced.contains(&(pid, session)) {
            return None;
        }
        s.ttys.get(&session).cloned()
    }

    fn set(&self, pid: u32, session: u32, tty: Option<Arc<Tty>>) {
        let mut s = self.state.lock();
        let old = match tty {
            Some(t) => {
                s.renounced.remove(&(pid, session));
                s.ttys.insert(session, t)
            }
            None if pid == session => s.ttys.remove(&session),
            None => {
                s.renounced.insert((pid, session));
                None
            }
        };
        drop(s);
        drop(old); // a terminal's end may do anything: not under the lock
    }

    fn forget(&self, session: u32) -> Option<Arc<Tty>> {
        let mut s = self.state.lock();
        s.renounced.retain(|(_, of)| *of != session);
        s.ttys.remove(&session)
    }
}

/// A task, as terminals see it.
#[derive(Debug)]
pub struct TtyView {
    kernel: Arc<Kernel>,
    task: Arc<Task>,
}

impl TtyView {
    /// The view of `task`.
    pub fn new(kernel: &Arc<Kernel>, task: &Arc<Task>) -> TtyView {
        TtyView { kernel: kernel.clone(), task: task.clone() }
    }
}

impl TtyContext for TtyView {
    fn pid(&self) -> u32 {
        self.task.pid()
    }
    fn pgrp(&self) -> u32 {
        self.kernel.tree.lock().node(self.task.pid()).map_or(0, |n| n.pgrp)
    }
    fn session(&self) -> u32 {
        self.kernel.tree.lock().node(self.task.pid()).map_or(0, |n| n.session)
    }
    fn ignores(&self, signo: u32) -> bool {
        let blocked = self.task.signals.lock().blocked.has(signo);
        blocked || self.task.process.sig_actions().lock().get(signo).handler == sa::IGN
    }
    fn orphaned(&self) -> bool {
        let tree = self.kernel.tree.lock();
        let pgrp = tree.node(self.task.pid()).map_or(0, |n| n.pgrp);
        tree.is_orphaned(pgrp, None)
    }
    fn ctty(&self) -> Option<Arc<Tty>> {
        self.kernel.sessions.ctty(self.task.pid(), self.session())
    }
    fn set_ctty(&self, tty: Option<Arc<Tty>>) {
        self.kernel.sessions.set(self.task.pid(), self.session(), tty);
    }
    fn session_of_group(&self, pgrp: u32) -> Option<u32> {
        let tree = self.kernel.tree.lock();
        tree.nodes().find(|n| n.pgrp == pgrp).map(|n| n.session)
    }
}

/// How terminals reach processes. Made before the kernel, because the consoles are.
#[derive(Debug)]
pub struct KernelTtySignals {
    kernel: SpinLock<Weak<Kernel>>,
}

impl Default for KernelTtySignals {
    fn default() -> Self {
        KernelTtySignals { kernel: SpinLock::new(Rank::Leaf, Weak::new()) }
    }
}

impl KernelTtySignals {
    /// From now on signals go to the processes of this kernel.
    pub fn connect(&self, kernel: &Arc<Kernel>) {
        *self.kernel.lock() = Arc::downgrade(kernel);
    }
    fn kernel(&self) -> Option<Arc<Kernel>> {
        self.kernel.lock().upgrade()
    }
}

impl TtySignals for KernelTtySignals {
    fn caller(&self) -> Option<Arc<dyn TtyContext>> {
        let task = crate::sched::current()?;
        let kernel = self.kernel()?;
        Some(Arc::new(TtyView { kernel, task }))
    }

    fn signal_group(&self, pgrp: u32, signo: u32) {
        if let Some(k) = self.kernel() {
            k.signal_group(pgrp, SigInfo::kernel(signo));
        }
    }

    fn hangup_session(&self, session: u32, foreground: Option<u32>) {
        let Some(k) = self.kernel() else { return };
        let leader = k.tree.lock().process(session).cloned();
        for signo in [nr::HUP, nr::CONT] {
            if let Some(p) = &leader {
                // The queue of a standard signal is never full.
                let _ = k.signal_process(p, SigInfo::kernel(signo));
            }
            if let Some(g) = foreground.filter(|g| *g != session) {
                k.signal_group(g, SigInfo::kernel(signo));
            }
        }
        drop(k.sessions.forget(session));
    }

    fn forget_ctty(&self, session: u32) {
        if let Some(k) = self.kernel() {
            drop(k.sessions.forget(session));
        }
    }
}

/// The leader of `session` exits: its terminal is hung up or given back.
pub fn session_leader_exits(kernel: &Arc<Kernel>, session: u32) {
    let tty = kernel.sessions.state.lock().ttys.get(&session).cloned();
    if let Some(tty) = tty {
        tty.disassociate(session);
    }
    drop(kernel.sessions.forget(session));
}
