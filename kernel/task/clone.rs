//! Making tasks: clone(2), clone3(2), fork(2), vfork(2).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use base::{Cap, Errno, Result, SpinLock, UserAddr, UserMemory, err};

use super::limits::Resource;
use super::{NewTask, Task, VforkDone, new_process};
use crate::syscall::Ctx;

/// Flags of clone(2), sched.h.
#[allow(missing_docs)]
pub mod flag {
    pub const VM: u64 = 0x100;
    pub const FS: u64 = 0x200;
    pub const FILES: u64 = 0x400;
    pub const SIGHAND: u64 = 0x800;
    pub const PIDFD: u64 = 0x1000;
    pub const PTRACE: u64 = 0x2000;
    pub const VFORK: u64 = 0x4000;
    pub const PARENT: u64 = 0x8000;
    pub const THREAD: u64 = 0x1_0000;
    pub const NEWNS: u64 = 0x2_0000;
    pub const SYSVSEM: u64 = 0x4_0000;
    pub const SETTLS: u64 = 0x8_0000;
    pub const PARENT_SETTID: u64 = 0x10_0000;
    pub const CHILD_CLEARTID: u64 = 0x20_0000;
    pub const DETACHED: u64 = 0x40_0000;
    pub const UNTRACED: u64 = 0x80_0000;
    pub const CHILD_SETTID: u64 = 0x100_0000;
    pub const NEWCGROUP: u64 = 0x200_0000;
    pub const NEWUTS: u64 = 0x400_0000;
    pub const NEWIPC: u64 = 0x800_0000;
    pub const NEWUSER: u64 = 0x1000_0000;
    pub const NEWPID: u64 = 0x2000_0000;
    pub const NEWNET: u64 = 0x4000_0000;
    pub const IO: u64 = 0x8000_0000;
    pub const CLEAR_SIGHAND: u64 = 0x1_0000_0000;
    pub const INTO_CGROUP: u64 = 0x2_0000_0000;
    /// What makes a namespace.
    pub const NAMESPACES: u64 = NEWNS | NEWCGROUP | NEWUTS | NEWIPC | NEWUSER | NEWPID | NEWNET;
}

/// What clone is asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct CloneArgs {
    /// `flag::*`, without the exit signal.
    pub flags: u64,
    /// Signal to the parent when the child exits.
    pub exit_signal: u32,
    /// Top of the child's stack; null: as the parent's.
    pub stack: UserAddr,
    /// Where CLONE_PARENT_SETTID writes.
    pub parent_tid: UserAddr,
    /// Where CLONE_CHILD_SETTID and CLEARTID write.
    pub child_tid: UserAddr,
    /// Thread pointer of CLONE_SETTLS.
    pub tls: u64,
    /// Where CLONE_PIDFD stores the descriptor.
    pub pidfd: UserAddr,
}

fn check(flags: u64, exit_signal: u32) -> Result<()> {
    let has = |f| flags & f != 0;
    if exit_signal > 64
        || has(flag::SIGHAND) && !has(flag::VM)
        || has(flag::THREAD) && !has(flag::SIGHAND)
        || has(flag::CLEAR_SIGHAND) && has(flag::SIGHAND)
        || has(flag::FS) && has(flag::NEWNS)
        || has(flag::PIDFD) && has(flag::DETACHED | flag::THREAD)
    {
        return err(Errno::EINVAL);
    }
    // Namespaces are compiled out: what Linux answers without CONFIG_*_NS.
    if has(flag::NAMESPACES | flag::INTO_CGROUP) {
        return err(Errno::EINVAL);
    }
    Ok(())
}

/// clone(2): returns the child's thread id.
///
/// # Errors
/// EINVAL for flags that do not go together; EAGAIN at a limit; ENOMEM.
pub fn clone(cx: &mut Ctx<'_>, a: &CloneArgs) -> Result<i64> {
    let has = |f| a.flags & f != 0;
    check(a.flags, a.exit_signal)?;
    let kernel = cx.kernel.clone();
    let parent = cx.task.clone();
    let cred = parent.cred();

    let nproc = parent.process.rlimit(Resource::Nproc);
    if cred.uid != 0
        && !cred.capable(Cap::SysResource)
        && !cred.capable(Cap::SysAdmin)
        && kernel.tasks_of(cred.uid) as u64 >= nproc
    {
        return err(Errno::EAGAIN);
    }

    let tid = kernel.tree.lock().alloc_id()?;
    let process = if has(flag::THREAD) {
        parent.process.clone()
    } else {
        let old = parent.process.sig_actions();
        let actions = if has(flag::SIGHAND) {
            old
        } else {
            let mut copy = old.lock().clone();
            if has(flag::CLEAR_SIGHAND) {
                copy.clear_handlers();
            }
            Arc::new(SpinLock::new(base::Rank::Leaf, copy))
        };
        let limits = parent.process.rlimits.lock().clone();
        let p = new_process(tid, actions, limits);
        p.exit_signal.store(a.exit_signal, Ordering::Relaxed);
        let old = &parent.process;
        p.oom_score_adj.store(old.oom_score_adj.load(Ordering::Relaxed), Ordering::Relaxed);
        p.personality.store(old.personality.load(Ordering::Relaxed), Ordering::Relaxed);
        p.dumpable.store(old.dumpable.load(Ordering::Relaxed), Ordering::Relaxed);
        for (from, to) in [
            (&old.coredump_filter, &p.coredump_filter),
            (&old.loginuid, &p.loginuid),
            (&old.sessionid, &p.sessionid),
        ] {
            to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        p
    };

    let mm = if has(flag::VM) { cx.mm.clone() } else { cx.mm.fork()? };
    let files = cx.files();
    let files = if has(flag::FILES) { files } else { files.fork() };
    let fs = parent.fs();
    let fs = if has(flag::FS) { fs } else { fs.fork() };

    let mut regs = *cx.thread.regs();
    regs.rax = 0;
    regs.orig_rax = u64::MAX;
    if !a.stack.is_null() {
        regs.rsp = a.stack.0;
    }
    if has(flag::SETTLS) {
        if a.tls >= base::addr::USER_TOP {
            return err(Errno::EPERM);
        }
        regs.fs_base = a.tls;
    }
    let xstate = cx.thread.xstate()?;
    let thread = mm.space().clone().new_thread(&regs, Some(&xstate))?;

    let child = NewTask {
        tid,
        process: process.clone(),
        kernel: kernel.clone(),
        nice: parent.sched.nice(),
        cred,
        fs,
        files: files.clone(),
        mm: Some(mm.clone()),
        comm: *parent.comm.lock(),
    }
    .build();
    inherit(&parent, &child, a);

    // What can fail comes before the child is visible.
    let mut pidfd = None;
    if has(flag::PIDFD) {
        let file = crate::services::open_pidfd(&kernel, &process, false)?;
        let max = parent.process.rlimit(Resource::Nofile);
        let fd = cx.files().install(file, true, max)?;
        pidfd = Some(fd);
        if let Err(e) = cx.mm.write(a.pidfd, &fd.to_le_bytes()) {
            let _ = cx.files().close(fd);
            return Err(e);
        }
    }
    if has(flag::PARENT_SETTID) {
        // Linux ignores a bad pointer here as well: the child exists already.
        let _ = cx.mm.write(a.parent_tid, &tid.to_le_bytes());
    }
    if has(flag::CHILD_SETTID) {
        let _ = mm.write(a.child_tid, &tid.to_le_bytes());
    }
    if !has(flag::VM) {
        // Where it goes on, its stack, and its thread pointer.
        let page = |a: u64| UserAddr(a).vpn();
        mm.foresee_child(&[
            (page(regs.rip), false),
            (page(regs.rsp), true),
            (page(regs.fs_base), true),
        ]);
    }
    let vfork = has(flag::VFORK).then(|| Arc::new(VforkDone::default()));
    child.vfork_done.lock().clone_from(&vfork);

    {
        let mut tree = kernel.tree.lock();
        if !has(flag::THREAD) {
            let me = tree.node(parent.pid()).map(|n| (n.parent, n.pgrp, n.session));
            let (grand, pgrp, session) = me.unwrap_or((0, 0, 0));
            let up = if has(flag::PARENT) { grand } else { parent.pid() };
            tree.add_process(&process, up, pgrp, session);
        }
        tree.add_task(&child);
        let mut s = process.lock();
        if s.exiting.is_some() {
            drop(s);
            tree.remove_task(tid);
            if let Some(fd) = pidfd {
                drop(tree);
                let _ = cx.files().close(fd);
            }
            return err(Errno::ERESTARTNOINTR);
        }
        s.threads.push(child.clone());
    }
    if !has(flag::THREAD) && process.rlimit(Resource::Cpu) != u64::MAX {
        process.timers.watch_cpu(&kernel, &process);
    }
    // A process's child runs first: it will exec or exit, and then the parent's pages need not be
    // write-protected. A new thread takes its turn.
    if let Err(e) = kernel.launch(&child, thread, !has(flag::THREAD), None) {
        process.lock().threads.retain(|t| t.tid() != tid);
        let mut tree = kernel.tree.lock();
        tree.remove_task(tid);
        if !has(flag::THREAD) {
            tree.remove_process(tid);
        }
        return Err(e);
    }
    drop(child);
    drop(mm);
    if let Some(v) = vfork {
        v.wait();
    }
    Ok(i64::from(tid))
}

fn inherit(parent: &Task, child: &Task, a: &CloneArgs) {
    let has = |f| a.flags & f != 0;
    {
        let p = parent.signals.lock();
        let (blocked, alt) = (p.blocked, (p.alt_base, p.alt_size, p.alt_flags));
        drop(p);
        let mut c = child.signals.lock();
        c.blocked = blocked;
        // The alternate stack is inherited unless the child shares the memory (and is no vfork).
        if !has(flag::VM) || has(flag::VFORK) {
            (c.alt_base, c.alt_size, c.alt_flags) = alt;
        }
    }
    if has(flag::CHILD_CLEARTID) {
        child.clear_child_tid.store(a.child_tid.0, Ordering::Relaxed);
    }
    for (from, to) in [
        (&parent.policy, &child.policy),
        (&parent.rt_priority, &child.rt_priority),
        (&parent.ioprio, &child.ioprio),
    ] {
        to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
    }
    child.affinity.store(parent.affinity.load(Ordering::Relaxed), Ordering::Relaxed);
    child.timer_slack_ns.store(parent.timer_slack_ns.load(Ordering::Relaxed), Ordering::Relaxed);
}
