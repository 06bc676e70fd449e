//! Waiting for children: wait4(2), waitid(2).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use base::{Errno, Result, Sleep, err};

use super::Process;
use crate::Kernel;
use crate::syscall::Ctx;

/// Options of wait4 and waitid.
#[allow(missing_docs)]
pub mod option {
    pub const NOHANG: u32 = 1;
    pub const UNTRACED: u32 = 2;
    pub const STOPPED: u32 = 2;
    pub const EXITED: u32 = 4;
    pub const CONTINUED: u32 = 8;
    pub const NOWAIT: u32 = 0x0100_0000;
    pub const NOTHREAD: u32 = 0x2000_0000;
    pub const ALL: u32 = 0x4000_0000;
    pub const CLONE: u32 = 0x8000_0000;
}

/// Whom to wait for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Who {
    /// Any child.
    Any,
    /// This one.
    Pid(u32),
    /// Any of this group.
    Group(u32),
}

/// What has happened to a child.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum What {
    /// It exited with this wait status.
    Exited(i32),
    /// It was stopped by this signal.
    Stopped(u32),
    /// It goes on.
    Continued,
}

/// A child's news.
#[derive(Clone, Copy, Debug)]
pub struct News {
    /// Whose.
    pub pid: u32,
    /// Real user id.
    pub uid: u32,
    /// What.
    pub what: What,
    /// User and system time, nanoseconds, of the child and those it has waited for.
    pub times: (u64, u64),
    /// Largest resident set, pages.
    pub max_rss: u64,
    /// Faults without I/O.
    pub minflt: u64,
}

/// Takes a zombie out of the tree and adds its times to its parent's account.
pub fn reap(kernel: &Kernel, child: &Arc<Process>) {
    let mut tree = kernel.tree.lock();
    let parent = tree.node(child.pid).and_then(|n| tree.process(n.parent)).cloned();
    tree.remove_process(child.pid);
    drop(tree);
    if let Some(p) = parent {
        let c = &child.past;
        let add = |to: &std::sync::atomic::AtomicU64, v: u64| to.fetch_add(v, Ordering::Relaxed);
        let get = |a: &std::sync::atomic::AtomicU64| a.load(Ordering::Relaxed);
        add(&p.past.children_utime_ns, get(&c.utime_ns) + get(&c.children_utime_ns));
        add(&p.past.children_stime_ns, get(&c.stime_ns) + get(&c.children_stime_ns));
        add(&p.past.children_minflt, get(&c.minflt) + get(&c.children_minflt));
        p.past
            .children_max_rss
            .fetch_max(get(&c.max_rss_pages).max(get(&c.children_max_rss)), Ordering::Relaxed);
    }
}

fn news_of(child: &Arc<Process>, uid: u32, what: What) -> News {
    let c = &child.past;
    let (u, s) = child.times();
    News {
        pid: child.pid,
        uid,
        what,
        times: (
            u + c.children_utime_ns.load(Ordering::Relaxed),
            s + c.children_stime_ns.load(Ordering::Relaxed),
        ),
        max_rss: c.max_rss_pages.load(Ordering::Relaxed),
        minflt: c.minflt.load(Ordering::Relaxed),
    }
}

/// One look at the children. Ok(None): some could still have news.
fn look(kernel: &Kernel, me: &Process, who: Who, options: u32) -> Result<Option<News>> {
    let mut candidates = Vec::new();
    {
        let tree = kernel.tree.lock();
        let Some(node) = tree.node(me.pid) else { return err(Errno::ECHILD) };
        for c in &node.children {
            let Some(n) = tree.node(*c) else { continue };
            let hit = match who {
                Who::Any => true,
                Who::Pid(p) => p == *c,
                Who::Group(g) => g == n.pgrp,
            };
            let clone_child =
                n.process.exit_signal.load(Ordering::Relaxed) != crate::signal::set::nr::CHLD;
            let kind = options & option::ALL != 0 || clone_child == (options & option::CLONE != 0);
            if hit && kind {
                candidates.push(n.process.clone());
            }
        }
    }
    if candidates.is_empty() {
        return err(Errno::ECHILD);
    }
    let keep = options & option::NOWAIT != 0;
    for child in &candidates {
        let mut s = child.lock();
        let uid = s.threads.first().map_or(0, |t| t.cred().uid);
        if let Some(status) = s.zombie {
            if options & option::EXITED != 0 {
                drop(s);
                let news = news_of(child, uid, What::Exited(status));
                if !keep {
                    reap(kernel, child);
                }
                return Ok(Some(news));
            }
        } else if let Some(sig) = s.stopped
            && s.report_stop
            && options & option::STOPPED != 0
        {
            s.report_stop = keep;
            drop(s);
            return Ok(Some(news_of(child, uid, What::Stopped(sig))));
        } else if s.report_continue && options & option::CONTINUED != 0 {
            s.report_continue = keep;
            drop(s);
            return Ok(Some(news_of(child, uid, What::Continued)));
        }
    }
    Ok(None)
}

/// Waits for news of a child; None with WNOHANG and no news.
///
/// # Errors
/// ECHILD if there is no such child; ERESTARTSYS if a signal came first.
pub fn wait(cx: &Ctx<'_>, who: Who, options: u32) -> Result<Option<News>> {
    let p = &cx.task.process;
    let mut failed = None;
    let mut once = || match look(cx.kernel, p, who, options) {
        Ok(None) if options & option::NOHANG != 0 => Some(None),
        Ok(None) => None,
        Ok(news) => Some(news),
        Err(e) => {
            failed = Some(e);
            Some(None)
        }
    };
    let got = p.child_event.wait_until(Sleep::Interruptible, None, &mut once)?;
    match failed {
        Some(e) => Err(e),
        None => Ok(got),
    }
}
