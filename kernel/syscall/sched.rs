//! Priorities, policies, affinity. `man 7 sched`.
//!
//! All tasks are scheduled fairly by nice level; the real-time policies are recorded and shown.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use base::{Cap, Errno, Result, UserAddr, UserMemory, err};

use super::{Ctx, SysResult};
use crate::task::Task;
use crate::task::limits::Resource;

fn find(cx: &Ctx<'_>, pid: i32) -> Result<Arc<Task>> {
    match pid {
        0 => Ok(cx.task.clone()),
        p if p < 0 => err(Errno::EINVAL),
        p => cx.kernel.tree.lock().task(p as u32).ok_or_else(|| Errno::ESRCH.into()),
    }
}

/// As `find`, for the affinity calls: they say ESRCH of a negative id, too.
fn find_any(cx: &Ctx<'_>, pid: i32) -> Result<Arc<Task>> {
    if pid < 0 { err(Errno::ESRCH) } else { find(cx, pid) }
}

fn may_change(cx: &Ctx<'_>, t: &Task) -> Result<()> {
    let (me, it) = (cx.cred(), t.cred());
    if me.euid == it.euid || me.euid == it.uid { Ok(()) } else { cx.require(Cap::SysNice) }
}

/// sched_yield(2).
///
/// # Errors
/// None.
pub fn sched_yield(cx: &mut Ctx<'_>) -> SysResult {
    let me = cx.task.clone();
    cx.kernel.sched.yield_now(&me, true);
    Ok(0)
}

fn chosen(cx: &Ctx<'_>, which: u32, who: u32) -> Result<Vec<Arc<Task>>> {
    let tree = cx.kernel.tree.lock();
    let me = cx.task.pid();
    let list: Vec<Arc<Task>> = match which {
        0 if who == 0 => vec![cx.task.clone()],
        0 => tree.task(who).into_iter().collect(),
        1 => {
            let g = if who == 0 { tree.node(me).map_or(0, |n| n.pgrp) } else { who };
            tree.group(g).iter().flat_map(|p| p.lock().threads.clone()).collect()
        }
        2 => {
            let uid = if who == 0 { cx.cred().uid } else { who };
            let all = tree.nodes().flat_map(|n| n.process.lock().threads.clone());
            all.filter(|t| t.cred().uid == uid).collect()
        }
        _ => return err(Errno::EINVAL),
    };
    if list.is_empty() { err(Errno::ESRCH) } else { Ok(list) }
}

/// getpriority(2): 20 less the lowest nice level, as the raw call returns it.
///
/// # Errors
/// EINVAL, ESRCH.
pub fn getpriority(cx: &mut Ctx<'_>, which: u32, who: u32) -> SysResult {
    let best = chosen(cx, which, who)?.iter().map(|t| t.sched.nice()).min().unwrap_or(0);
    Ok((20 - best).into())
}

/// setpriority(2).
///
/// # Errors
/// EINVAL, ESRCH, EPERM, EACCES.
pub fn setpriority(cx: &mut Ctx<'_>, which: u32, who: u32, nice: i32) -> SysResult {
    let nice = nice.clamp(-20, 19);
    for t in chosen(cx, which, who)? {
        may_change(cx, &t)?;
        let limit = t.process.rlimit(Resource::Nice);
        let privileged = cx.cred().capable(Cap::SysNice);
        if crate::sched::may_set_nice(t.sched.nice(), nice, limit, privileged).is_err() {
            return err(Errno::EACCES);
        }
        t.sched.set_nice(nice);
    }
    Ok(0)
}

/// Lowest and highest priority of a policy.
fn range(policy: u32) -> Result<(u32, u32)> {
    match policy {
        1 | 2 => Ok((1, 99)),
        0 | 3 | 5 | 6 => Ok((0, 0)),
        _ => err(Errno::EINVAL),
    }
}

fn set(cx: &Ctx<'_>, pid: i32, policy: Option<u32>, prio: u32) -> SysResult {
    const RESET_ON_FORK: u32 = 0x4000_0000;
    let t = find(cx, pid)?;
    let policy = policy.map_or_else(|| t.policy.load(Ordering::Relaxed), |p| p & !RESET_ON_FORK);
    let (lo, hi) = range(policy)?;
    if policy == 6 || prio < lo || prio > hi {
        return err(Errno::EINVAL);
    }
    may_change(cx, &t)?;
    if prio > 0 && u64::from(prio) > t.process.rlimit(Resource::Rtprio) {
        cx.require(Cap::SysNice)?;
    }
    t.policy.store(policy, Ordering::Relaxed);
    t.rt_priority.store(prio, Ordering::Relaxed);
    Ok(0)
}

/// sched_setparam(2).
///
/// # Errors
/// EINVAL, ESRCH, EPERM, EFAULT.
pub fn sched_setparam(cx: &mut Ctx<'_>, pid: i32, param: UserAddr) -> SysResult {
    if param.is_null() {
        return err(Errno::EINVAL);
    }
    let prio: i32 = cx.read_obj(param)?;
    set(cx, pid, None, prio as u32)
}

/// sched_getparam(2).
///
/// # Errors
/// EINVAL, ESRCH, EFAULT.
pub fn sched_getparam(cx: &mut Ctx<'_>, pid: i32, param: UserAddr) -> SysResult {
    if param.is_null() {
        return err(Errno::EINVAL);
    }
    let t = find(cx, pid)?;
    cx.write_obj(param, &t.rt_priority.load(Ordering::Relaxed))?;
    Ok(0)
}

/// sched_setscheduler(2).
///
/// # Errors
/// EINVAL, ESRCH, EPERM, EFAULT.
pub fn sched_setscheduler(cx: &mut Ctx<'_>, pid: i32, policy: u32, param: UserAddr) -> SysResult {
    if param.is_null() {
        return err(Errno::EINVAL);
    }
    let prio: i32 = cx.read_obj(param)?;
    set(cx, pid, Some(policy), prio as u32)
}

/// sched_getscheduler(2).
///
/// # Errors
/// EINVAL, ESRCH.
pub fn sched_getscheduler(cx: &mut Ctx<'_>, pid: i32) -> SysResult {
    Ok(find(cx, pid)?.policy.load(Ordering::Relaxed).into())
}

/// sched_get_priority_max(2).
///
/// # Errors
/// EINVAL.
pub fn sched_get_priority_max(_cx: &mut Ctx<'_>, policy: u32) -> SysResult {
    Ok(range(policy)?.1.into())
}

/// sched_get_priority_min(2).
///
/// # Errors
/// EINVAL.
pub fn sched_get_priority_min(_cx: &mut Ctx<'_>, policy: u32) -> SysResult {
    Ok(range(policy)?.0.into())
}

/// sched_rr_get_interval(2).
///
/// # Errors
/// EINVAL, ESRCH, EFAULT.
pub fn sched_rr_get_interval(cx: &mut Ctx<'_>, pid: i32, ts: UserAddr) -> SysResult {
    find(cx, pid)?;
    cx.write_obj(ts, &[0i64, 4_000_000])?;
    Ok(0)
}

/// sched_setaffinity(2): the mask must name the one CPU there is.
///
/// # Errors
/// EINVAL, ESRCH, EPERM, EFAULT.
pub fn sched_setaffinity(cx: &mut Ctx<'_>, pid: i32, len: usize, mask: UserAddr) -> SysResult {
    let t = find_any(cx, pid)?;
    may_change(cx, &t)?;
    let mut raw = [0u8; 8];
    let n = len.min(8);
    cx.mm.read(mask, &mut raw[..n])?;
    let m = u64::from_le_bytes(raw) & cx.kernel.online_cpus();
    if m == 0 {
        return err(Errno::EINVAL);
    }
    t.affinity.store(m, Ordering::Relaxed);
    Ok(0)
}

/// sched_getaffinity(2): bytes stored.
///
/// # Errors
/// EINVAL if `len` is too small or odd; ESRCH; EFAULT.
pub fn sched_getaffinity(cx: &mut Ctx<'_>, pid: i32, len: usize, mask: UserAddr) -> SysResult {
    if len < 8 || !len.is_multiple_of(8) {
        return err(Errno::EINVAL);
    }
    let t = find_any(cx, pid)?;
    cx.write_obj(mask, &(t.affinity.load(Ordering::Relaxed) & cx.kernel.online_cpus()))?;
    Ok(8)
}

/// sched_setattr(2).
///
/// # Errors
/// EINVAL, E2BIG, ESRCH, EPERM, EFAULT.
pub fn sched_setattr(cx: &mut Ctx<'_>, pid: i32, at: UserAddr, flags: u32) -> SysResult {
    if at.is_null() || flags != 0 {
        return err(Errno::EINVAL);
    }
    let size: u32 = cx.read_obj(at)?;
    if size != 0 && size < 48 {
        cx.write_obj(at, &56u32)?;
        return err(Errno::E2BIG);
    }
    let a: [u32; 12] = cx.read_obj(at)?;
    let (policy, nice, prio) = (a[1], a[4] as i32, a[5]);
    set(cx, pid, Some(policy), prio)?;
    if matches!(policy, 0 | 3) {
        let t = find(cx, pid)?;
        let limit = t.process.rlimit(Resource::Nice);
        crate::sched::may_set_nice(t.sched.nice(), nice, limit, cx.cred().capable(Cap::SysNice))?;
        t.sched.set_nice(nice);
    }
    Ok(0)
}

/// sched_getattr(2).
///
/// # Errors
/// EINVAL, ESRCH, EFAULT.
pub fn sched_getattr(cx: &mut Ctx<'_>, pid: i32, at: UserAddr, size: u32, flags: u32) -> SysResult {
    if at.is_null() || flags != 0 || size < 48 {
        return err(Errno::EINVAL);
    }
    let t = find(cx, pid)?;
    let mut a = [0u32; 12];
    a[0] = 48;
    a[1] = t.policy.load(Ordering::Relaxed);
    a[4] = t.sched.nice() as u32;
    a[5] = t.rt_priority.load(Ordering::Relaxed);
    cx.write_obj(at, &a)?;
    Ok(0)
}

/// ioprio_set(2): recorded; the block layer has one queue.
///
/// # Errors
/// EINVAL, ESRCH, EPERM.
pub fn ioprio_set(cx: &mut Ctx<'_>, which: u32, who: i32, prio: u32) -> SysResult {
    if !(1..=3).contains(&which) || prio >> 13 > 3 {
        return err(Errno::EINVAL);
    }
    if prio >> 13 == 1 {
        cx.require(Cap::SysAdmin)?;
    }
    for t in chosen(cx, which - 1, who as u32)? {
        may_change(cx, &t)?;
        t.ioprio.store(prio, Ordering::Relaxed);
    }
    Ok(0)
}

/// ioprio_get(2).
///
/// # Errors
/// EINVAL, ESRCH.
pub fn ioprio_get(cx: &mut Ctx<'_>, which: u32, who: i32) -> SysResult {
    if !(1..=3).contains(&which) {
        return err(Errno::EINVAL);
    }
    let all = chosen(cx, which - 1, who as u32)?;
    let set = all.iter().map(|t| t.ioprio.load(Ordering::Relaxed));
    Ok(set.filter(|p| *p != 0).min().unwrap_or(4).into())
}
