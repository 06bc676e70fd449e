//! The end of threads and processes. `man 2 _exit`, `man 2 exit_group`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use base::{PollEvents, UserMemory};

use super::{Remains, Task};
use crate::Kernel;
use crate::signal::queue::{SigInfo, code, sa};
use crate::signal::set::nr;
use crate::syscall::Ctx;

/// Ends the whole process with a wait status (`code << 8`, or a signal number). The caller exits too.
pub fn exit_group(task: &Arc<Task>, status: i32) {
    task.process.kill_all(status, Some(task.tid()));
    task.set_fatal();
}

/// Ends the calling thread: gives back what it holds, and if it was the last, makes its process a
/// zombie.
pub fn exit_thread(cx: Ctx<'_>) {
    let Ctx { kernel, task, mm, thread, .. } = cx;
    let process = task.process.clone();
    task.set_fatal();
    release_user_side(kernel, &task, &mm);
    let last_user = mm.usage();
    process.past.max_rss_pages.fetch_max(last_user.peak_rss, Ordering::Relaxed);
    task.set_answers(None);
    drop(thread);
    task.set_mm(None);
    drop(mm);
    let waiting = task.vfork_done.lock().take();
    if let Some(v) = waiting {
        v.complete();
    }
    let files = task.set_files(None);
    drop_files(files);

    let past = &process.past;
    past.utime_ns.fetch_add(task.utime_ns.load(Ordering::Relaxed), Ordering::Relaxed);
    past.stime_ns.fetch_add(task.stime_ns(), Ordering::Relaxed);
    past.minflt.fetch_add(task.minflt.load(Ordering::Relaxed), Ordering::Relaxed);
    past.voluntary.fetch_add(task.sched.voluntary.load(Ordering::Relaxed), Ordering::Relaxed);
    past.involuntary.fetch_add(task.sched.involuntary.load(Ordering::Relaxed), Ordering::Relaxed);
    // Its times are in `past` now: a later look at the living must not count them again.
    task.utime_ns.store(0, Ordering::Relaxed);
    task.sched.runtime.store(0, Ordering::Relaxed);

    if task.tid() == process.pid {
        let comm = *task.comm.lock();
        let remains = Remains { comm, cred: task.cred() };
        process.lock().remains = Some(remains);
    }
    kernel.tree.lock().remove_task(task.tid());
    let last = {
        let mut s = process.lock();
        s.threads.retain(|t| t.tid() != task.tid());
        if s.threads.is_empty() {
            let own = task.exit_status.load(Ordering::Relaxed);
            Some(s.exiting.unwrap_or(own))
        } else {
            None
        }
    };
    process.exit_event.wake_all(PollEvents::IN);
    if let Some(status) = last {
        exit_process(kernel, &task, status);
    }
}

fn drop_files(files: Option<Arc<fs::fdtable::FdTable>>) {
    let Some(files) = files else { return };
    if Arc::strong_count(&files) == 1 {
        files.close_all();
    }
}

/// Robust futexes, then the word that pthread_join waits for.
fn release_user_side(kernel: &Kernel, task: &Task, mm: &Arc<mm::AddressSpace>) {
    let head = task.robust_list.swap(0, Ordering::Relaxed);
    if head != 0 {
        crate::futex::exit_robust_list(kernel, task, mm, head);
    }
    let clear = task.clear_child_tid.swap(0, Ordering::Relaxed);
    if clear != 0 && Arc::strong_count(mm) > 1 {
        let at = base::UserAddr(clear);
        if mm.write(at, &0u32.to_le_bytes()).is_ok() {
            kernel.futexes.wake_addr(mm, at, 1);
        }
    }
}

fn exit_process(kernel: &Arc<Kernel>, task: &Arc<Task>, status: i32) {
    let p = &task.process;
    p.timers.clear(kernel);
    if p.pid == 1 {
        kernel.init_exited(status);
    }
    let (pgrp, session) = kernel.tree.lock().node(p.pid).map_or((0, 0), |n| (n.pgrp, n.session));
    if session == p.pid {
        crate::tty::session_leader_exits(kernel, session);
    }
    // Children go to a subreaper or init; groups that lose their last link to a parent outside of
    // them are told, if a member is stopped.
    let (children, heir, orphans) = {
        let mut tree = kernel.tree.lock();
        let mut orphans = Vec::new();
        let own_orphaned_before = tree.is_orphaned(pgrp, None);
        if !own_orphaned_before && tree.is_orphaned(pgrp, Some(p.pid)) && tree.has_stopped(pgrp) {
            orphans.push(pgrp);
        }
        let groups: Vec<u32> = tree
            .node(p.pid)
            .map(|n| n.children.clone())
            .unwrap_or_default()
            .into_iter()
            .filter_map(|c| {
                tree.node(c).filter(|n| n.session == session && n.pgrp != pgrp).map(|n| n.pgrp)
            })
            .collect();
        let (children, heir) = tree.reparent_children(p.pid);
        for g in groups {
            if !orphans.contains(&g) && tree.is_orphaned(g, None) && tree.has_stopped(g) {
                orphans.push(g);
            }
        }
        (children, heir, orphans)
    };
    for g in orphans {
        kernel.signal_group(g, SigInfo::kernel(nr::HUP));
        kernel.signal_group(g, SigInfo::kernel(nr::CONT));
    }
    for c in children {
        let (child, zombie) = {
            let tree = kernel.tree.lock();
            let Some(n) = tree.node(c) else { continue };
            (n.process.clone(), n.process.lock().zombie.is_some())
        };
        let threads = child.lock().threads.clone();
        for t in threads {
            t.answer_parent(heir);
            let sig = t.pdeathsig.load(Ordering::Relaxed);
            if sig != 0 {
                let _ = kernel.signal_task(&t, SigInfo::user(sig, code::USER, p.pid, 0));
            }
        }
        if zombie {
            kernel.child_became_zombie(&child, heir);
        }
    }
    p.lock().zombie = Some(status);
    p.exit_event.wake_all(PollEvents::IN | PollEvents::RDNORM);
    let parent = kernel.tree.lock().node(p.pid).map_or(0, |n| n.parent);
    kernel.child_became_zombie(p, parent);
}

impl Kernel {
    /// Tells the parent of a zombie, or reaps it at once if the parent ignores its children.
    pub fn child_became_zombie(&self, child: &Arc<super::Process>, parent: u32) {
        let Some(status) = child.lock().zombie else { return };
        let Some(up) = self.tree.lock().process(parent).cloned() else {
            return;
        };
        let (why, value) = match status & 0x7f {
            0 => (code::CLD_EXITED, status >> 8 & 0xff),
            s if status & 0x80 != 0 => (code::CLD_DUMPED, s),
            s => (code::CLD_KILLED, s),
        };
        let actions = up.sig_actions();
        let action = actions.lock().get(nr::CHLD);
        let unwanted = child.exit_signal.load(Ordering::Relaxed) == nr::CHLD
            && (action.handler == sa::IGN || action.flags & sa::NOCLDWAIT != 0);
        self.notify_parent(child, why, value);
        if unwanted {
            super::wait::reap(self, child);
            up.child_event.wake_all(PollEvents::IN);
        }
    }
}
