//! getrusage(2), getrlimit(2) and prlimit(2).

use std::sync::atomic::Ordering;

use base::{Cap, Errno, UserAddr, err};

use crate::exec;
use crate::syscall::time::timeval;
use crate::syscall::{Ctx, SysResult};
use crate::task::limits::{RESOURCES, Resource};

/// getrusage(2).
///
/// # Errors
/// EINVAL, EFAULT.
pub fn getrusage(cx: &mut Ctx<'_>, who: i32, at: UserAddr) -> SysResult {
    let p = &cx.task.process;
    let past = &p.past;
    let get = |a: &std::sync::atomic::AtomicU64| a.load(Ordering::Relaxed);
    let ns = std::time::Duration::from_nanos;
    let mut u = [0i64; 18];
    let (ut, st, rss, flt, vol, invol) = match who {
        0 => {
            let (ut, st) = p.times();
            let threads = cx.task.threads();
            let sum =
                |f: &dyn Fn(&crate::task::Task) -> u64| threads.iter().map(|t| f(t)).sum::<u64>();
            (
                ut,
                st,
                cx.mm.usage().peak_rss.max(get(&past.max_rss_pages)),
                get(&past.minflt) + sum(&|t| get(&t.minflt)),
                get(&past.voluntary) + sum(&|t| get(&t.sched.voluntary)),
                get(&past.involuntary) + sum(&|t| get(&t.sched.involuntary)),
            )
        }
        1 => {
            let t = &cx.task;
            let rss = cx.mm.usage().peak_rss;
            let s = &t.sched;
            (
                get(&t.utime_ns),
                t.stime_ns(),
                rss,
                get(&t.minflt),
                get(&s.voluntary),
                get(&s.involuntary),
            )
        }
        -1 => (
            get(&past.children_utime_ns),
            get(&past.children_stime_ns),
            get(&past.children_max_rss),
            get(&past.children_minflt),
            0,
            0,
        ),
        _ => return err(Errno::EINVAL),
    };
    u[..2].copy_from_slice(&timeval(ns(ut)));
    u[2..4].copy_from_slice(&timeval(ns(st)));
    u[4] = rss as i64 * 4;
    u[8] = flt as i64;
    u[16] = vol as i64;
    u[17] = invol as i64;
    cx.write_obj(at, &u)?;
    Ok(0)
}

/// getrlimit(2).
///
/// # Errors
/// EINVAL, EFAULT.
pub fn getrlimit(cx: &mut Ctx<'_>, which: u32, at: UserAddr) -> SysResult {
    prlimit64(cx, 0, which, UserAddr::NULL, at)
}

/// setrlimit(2).
///
/// # Errors
/// EINVAL, EPERM, EFAULT.
pub fn setrlimit(cx: &mut Ctx<'_>, which: u32, at: UserAddr) -> SysResult {
    if at.is_null() {
        return err(Errno::EFAULT);
    }
    prlimit64(cx, 0, which, at, UserAddr::NULL)
}

/// prlimit(2).
///
/// # Errors
/// EINVAL, EPERM, ESRCH, EFAULT.
pub fn prlimit64(
    cx: &mut Ctx<'_>,
    pid: i32,
    which: u32,
    new: UserAddr,
    old: UserAddr,
) -> SysResult {
    if which as usize >= RESOURCES {
        return err(Errno::EINVAL);
    }
    let p = if pid == 0 || pid as u32 == cx.task.pid() {
        cx.task.process.clone()
    } else {
        cx.kernel.tree.lock().process(pid as u32).cloned().ok_or(Errno::ESRCH)?
    };
    if p.pid != cx.task.pid() {
        let (me, it) = (cx.cred(), p.any_thread().ok_or(Errno::ESRCH)?.cred());
        let same = [it.uid, it.euid, it.suid].iter().all(|u| *u == me.uid)
            && [it.gid, it.egid, it.sgid].iter().all(|g| *g == me.gid);
        if !same {
            cx.require(Cap::SysResource)?;
        }
    }
    let wanted: Option<[u64; 2]> = if new.is_null() { None } else { Some(cx.read_obj(new)?) };
    let was = p.rlimits.lock().0[which as usize];
    if let Some([soft, hard]) = wanted {
        if soft > hard {
            return err(Errno::EINVAL);
        }
        if which == Resource::Nofile as u32 && hard > base::limits::NR_OPEN {
            return err(Errno::EPERM);
        }
        if hard > was.1 {
            cx.require(Cap::SysResource)?;
        }
        p.rlimits.lock().0[which as usize] = (soft, hard);
        if which == Resource::Cpu as u32 {
            p.timers.watch_cpu(cx.kernel, &p);
        }
        if let Some(mm) = p.any_thread().and_then(|t| t.mm()) {
            mm.set_limits(exec::mm_limits(&p));
        }
    }
    cx.write_opt(old, &[was.0, was.1])?;
    Ok(0)
}
