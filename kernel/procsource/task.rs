//! What /proc/PID shows of a process or thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base::Cred;
use fs::procfs::{TaskInfo, TaskState};

use crate::Kernel;
use crate::signal::queue::{Actions, sa};
use crate::signal::set::nr;
use crate::syscall::table;
use crate::task::{Process, Task};

/// PF_* flags of `include/linux/sched.h`, as far as something here stands behind them.
mod pf {
    pub(super) const EXITING: u32 = 0x4;
    pub(super) const FORKNOEXEC: u32 = 0x40;
    pub(super) const RANDOMIZE: u32 = 0x40_0000;
}
/// ADDR_NO_RANDOMIZE of `man 2 personality`.
const NO_RANDOMIZE: u32 = 0x4_0000;
const SCHED_FIFO: u32 = 1;
const SCHED_RR: u32 = 2;

fn get(a: &AtomicU64) -> u64 {
    a.load(Ordering::Relaxed)
}

/// The address space of a process; None for a zombie.
pub(super) fn mm(p: &Process) -> Option<Arc<mm::AddressSpace>> {
    let threads = p.lock().threads.clone();
    threads.iter().find_map(|t| t.mm())
}

/// The credentials of a process: those of its first thread, also after its end.
pub(super) fn cred(p: &Process) -> Option<Arc<Cred>> {
    match p.any_thread() {
        Some(t) => Some(t.cred()),
        None => p.lock().remains.as_ref().map(|r| r.cred.clone()),
    }
}

/// Whether its user may look into it: SUID_DUMP_USER.
pub(super) fn dumpable(p: &Process) -> bool {
    p.dumpable.load(Ordering::Relaxed) == 1
}

/// The part of a kernel-side name that means something.
fn until_nul(name: &[u8; 16]) -> Vec<u8> {
    name.iter().copied().take_while(|b| *b != 0).collect()
}

/// Ignored and caught signals.
fn dispositions(actions: &Actions) -> (u64, u64) {
    (1..=nr::MAX).fold((0, 0), |(ignored, caught), signo| {
        let bit = 1 << (signo - 1);
        match actions.get(signo).handler {
            sa::DFL => (ignored, caught),
            sa::IGN => (ignored | bit, caught),
            _ => (ignored, caught | bit),
        }
    })
}

/// The state, from what the scheduler and job control say. `alive`: the thread has not ended.
fn state(alive: bool, runnable: bool, uninterruptible: bool, stopped: bool) -> TaskState {
    match (alive, runnable) {
        (false, _) => TaskState::Zombie,
        (true, true) => TaskState::Running,
        (true, false) if uninterruptible => TaskState::DiskSleep,
        (true, false) if stopped => TaskState::Stopped,
        (true, false) => TaskState::Sleeping,
    }
}

/// Field 18 of stat: 20 + nice, or -1 - priority of a real-time task.
fn priority(policy: u32, rt_priority: u32, nice: i32) -> i32 {
    match policy {
        SCHED_FIFO | SCHED_RR => -1 - rt_priority as i32,
        _ => 20 + nice,
    }
}

/// oom_score: two thirds of a thousand stand for a process of no size, two thirds of two thousand for one
/// that fills memory.
fn oom_score(badness: Option<i64>, total_pages: u64) -> u32 {
    let Some(points) = badness else { return 0 };
    let score = (1000 + points * 1000 / (total_pages as i64).max(1)) * 2 / 3;
    score.clamp(0, 2000) as u32
}

/// What Linux sleeps in during a system call. Calls that sleep in many places are shown by their entry.
fn wait_channel(call: &str) -> String {
    let name = match call {
        "wait4" | "waitid" => "do_wait",
        "futex" => "futex_wait_queue",
        "poll" | "ppoll" => "do_sys_poll",
        "select" | "pselect6" => "do_select",
        "epoll_wait" | "epoll_pwait" | "epoll_pwait2" => "ep_poll",
        "nanosleep" | "clock_nanosleep" => "hrtimer_nanosleep",
        "pause" | "rt_sigsuspend" => "sigsuspend",
        "rt_sigtimedwait" => "do_sigtimedwait",
        other => return format!("__x64_sys_{other}"),
    };
    name.to_owned()
}

/// A process (`tid` = `pid`) or one of its threads; None if there is none.
pub(super) fn info(k: &Kernel, pid: u32, tid: u32) -> Option<TaskInfo> {
    let mut i = TaskInfo { tid, tgid: pid, ..TaskInfo::default() };
    let (p, task) = {
        let tree = k.tree.lock();
        let node = tree.node(pid)?;
        (i.ppid, i.pgid, i.sid) = (node.parent, node.pgrp, node.session);
        i.children.clone_from(&node.children);
        (node.process.clone(), tree.task(tid))
    };
    let task = task.filter(|t| t.pid() == pid);
    if task.is_none() && tid != pid {
        return None;
    }
    (i.tty, i.tpgid) = terminal(k, pid, i.sid);
    of_process(k, &p, &mut i);
    match &task {
        Some(t) => of_thread(k, t, &mut i),
        None => of_remains(&p, &mut i),
    }
    if tid == pid {
        (i.utime, i.stime) = p.times();
    } else {
        i.exit_signal = -1;
    }
    Some(i)
}

/// Number of the controlling terminal, 0 for none, and its foreground group, -1 for none.
fn terminal(k: &Kernel, pid: u32, session: u32) -> (u64, i32) {
    match k.sessions.ctty(pid, session) {
        Some(t) => (t.dev().to_user(), t.foreground().map_or(-1, |g| g as i32)),
        None => (0, -1),
    }
}

/// What all threads share.
fn of_process(k: &Kernel, p: &Arc<Process>, i: &mut TaskInfo) {
    let (threads, execed, zombie) = {
        let s = p.lock();
        (s.threads.clone(), s.execed, s.zombie)
    };
    let sum = |past: &AtomicU64, of: fn(&Task) -> u64| -> u64 {
        get(past) + threads.iter().map(|t| of(t)).sum::<u64>()
    };
    i.threads = threads.len().max(1) as u32;
    i.min_flt = sum(&p.past.minflt, |t| get(&t.minflt));
    i.maj_flt = sum(&p.past.majflt, |t| get(&t.majflt));
    i.cmin_flt = get(&p.past.children_minflt);
    i.cutime = get(&p.past.children_utime_ns);
    i.cstime = get(&p.past.children_stime_ns);
    i.start_time = p.start_ns.saturating_sub(k.boot_instant.0);
    i.dumpable = dumpable(p);
    i.personality = p.personality.load(Ordering::Relaxed);
    if !execed {
        i.flags |= pf::FORKNOEXEC;
    }
    if k.memory.randomize() != 0 && i.personality & NO_RANDOMIZE == 0 {
        i.flags |= pf::RANDOMIZE;
    }
    i.exit_signal = p.exit_signal.load(Ordering::Relaxed) as i32;
    i.exit_code = zombie.unwrap_or(0);
    {
        let pending = p.pending.lock();
        i.shared_pending = pending.set().0;
        i.sig_queued = pending.len() as u64;
    }
    (i.sig_ignored, i.sig_caught) = dispositions(&p.sig_actions().lock());
    i.rlimits = p.rlimits.lock().0;
    i.oom_score_adj = p.oom_score_adj.load(Ordering::Relaxed);
    i.oom_score = oom_score(crate::oom::badness(k, p), k.memory.stats().total);
    i.coredump_filter = p.coredump_filter.load(Ordering::Relaxed);
    i.loginuid = p.loginuid.load(Ordering::Relaxed);
    i.sessionid = p.sessionid.load(Ordering::Relaxed);
    if let Some(mm) = threads.iter().find_map(|t| t.mm()) {
        i.usage = Some(mm.usage());
        i.layout = Some(mm.layout());
    }
}

/// What a thread has for itself.
fn of_thread(k: &Kernel, t: &Task, i: &mut TaskInfo) {
    let stopped = t.process.lock().stopped.is_some();
    let runnable = t.sched.is_runnable();
    i.state = state(true, runnable, t.sched.is_uninterruptible(), stopped);
    i.comm = until_nul(&t.comm.lock());
    i.cred = Some(t.cred());
    (i.utime, i.stime) = (get(&t.utime_ns), t.stime_ns());
    i.nice = t.sched.nice();
    i.policy = t.policy.load(Ordering::Relaxed);
    i.rt_priority = t.rt_priority.load(Ordering::Relaxed);
    i.priority = priority(i.policy, i.rt_priority, i.nice);
    i.switches = [get(&t.sched.voluntary), get(&t.sched.involuntary)];
    i.sched = [get(&t.sched.runtime), 0, i.switches.iter().sum()];
    i.cpus_allowed = get(&t.affinity) & k.online_cpus();
    {
        let s = t.signals.lock();
        i.sig_pending = s.pending.set().0;
        i.sig_blocked = s.blocked.0;
        i.sig_queued += s.pending.len() as u64;
    }
    i.umask = Some(t.fs().umask());
    i.fd_size = t.files().map_or(0, |f| f.capacity() as u32);
    i.timer_slack = get(&t.timer_slack_ns);
    let call = t.in_syscall.load(Ordering::Relaxed);
    if !runnable && call != u32::MAX {
        let nr = u64::from(call);
        i.syscall = Some((nr, t.syscall_args()));
        i.wchan = match table::find(nr) {
            _ if i.state == TaskState::Stopped => "do_signal_stop".into(),
            Some(entry) => wait_channel(entry.name),
            None => String::new(),
        };
    }
}

/// What is left of a first thread that has ended.
fn of_remains(p: &Process, i: &mut TaskInfo) {
    i.state = state(false, false, false, false);
    i.flags |= pf::EXITING;
    i.priority = 20;
    if let Some(r) = &p.lock().remains {
        i.comm = until_nul(&r.comm);
        i.cred = Some(r.cred.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::queue::Action;

    #[test]
    fn state_letters() {
        let letter = |a, r, u, s| state(a, r, u, s).letter();
        assert_eq!(letter(true, true, false, false), 'R');
        // A stopped process whose thread has not come to the stop yet still runs.
        assert_eq!(letter(true, true, false, true), 'R');
        assert_eq!(letter(true, false, false, false), 'S');
        assert_eq!(letter(true, false, true, true), 'D');
        assert_eq!(letter(true, false, false, true), 'T');
        assert_eq!(letter(false, false, false, false), 'Z');
    }

    #[test]
    fn masks_of_what_a_process_does_about_signals() {
        let mut a = Actions::default();
        assert_eq!(dispositions(&a), (0, 0));
        a.set(nr::PIPE, Action { handler: sa::IGN, ..Action::default() });
        a.set(nr::INT, Action { handler: 0x40_1000, ..Action::default() });
        a.set(nr::MAX, Action { handler: 0x40_1000, ..Action::default() });
        assert_eq!(dispositions(&a), (1 << 12, 1 << 1 | 1 << 63));
    }

    #[test]
    fn numbers_of_stat() {
        assert_eq!(priority(0, 0, -5), 15);
        assert_eq!(priority(SCHED_RR, 99, 0), -100);
        assert_eq!(oom_score(Some(0), 1000), 666);
        assert_eq!(oom_score(Some(1000), 1000), 1333);
        assert_eq!(oom_score(Some(-2000), 1000), 0);
        assert_eq!(oom_score(None, 1000), 0);
        assert_eq!(until_nul(b"bash\0garbage\0\0\0\0"), b"bash");
    }

    #[test]
    fn where_a_call_sleeps() {
        assert_eq!(wait_channel("wait4"), "do_wait");
        assert_eq!(wait_channel("read"), "__x64_sys_read");
    }
}
