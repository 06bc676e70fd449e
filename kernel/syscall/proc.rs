//! Processes and threads: clone, exec, exit, wait, identities, limits, prctl.

use std::sync::atomic::Ordering;

use base::{Cap, Errno, PAGE_SIZE, Result, UserAddr, UserMemory, err};
use fs::{LookupFlags, Path};

use super::time::timeval;
use super::{Ctx, Fd, Str, SysResult};
use crate::exec;
use crate::signal::queue::{Fields, SigInfo, code};
use crate::signal::set::nr;
use crate::task::clone::{CloneArgs, flag};
use crate::task::limits::{RESOURCES, Resource};
use crate::task::wait::{News, What, Who, option};
use crate::task::{clone as make, exit as end, wait as waiting};

pub use crate::task::ids::{
    capget, capset, getegid, geteuid, getgid, getgroups, getpgid, getpgrp, getresgid, getresuid,
    getsid, getuid, setfsgid, setfsuid, setgid, setgroups, setpgid, setregid, setresgid, setresuid,
    setreuid, setsid, setuid,
};

/// clone(2), x86-64 order of arguments.
///
/// # Errors
/// See `task::clone`.
pub fn clone(
    cx: &mut Ctx<'_>,
    flags: u64,
    stack: UserAddr,
    ptid: UserAddr,
    ctid: UserAddr,
    tls: u64,
) -> SysResult {
    let flags = flags & 0xffff_ffff;
    if flags & flag::PIDFD != 0 && flags & flag::PARENT_SETTID != 0 {
        return err(Errno::EINVAL);
    }
    let a = CloneArgs {
        flags: flags & !0xff,
        exit_signal: (flags & 0xff) as u32,
        stack,
        parent_tid: ptid,
        child_tid: ctid,
        tls,
        pidfd: ptid,
    };
    make::clone(cx, &a)
}

/// clone3(2).
///
/// # Errors
/// E2BIG, EINVAL, EFAULT; see `task::clone`.
pub fn clone3(cx: &mut Ctx<'_>, at: UserAddr, size: usize) -> SysResult {
    if size < 64 {
        return err(Errno::EINVAL);
    }
    if size > PAGE_SIZE {
        return err(Errno::E2BIG);
    }
    let mut raw = vec![0u8; size.max(88)];
    cx.mm.read(at, &mut raw[..size])?;
    if raw[88..].iter().any(|b| *b != 0) {
        return err(Errno::E2BIG);
    }
    let w = |i: usize| {
        let mut b = [0u8; 8];
        b.copy_from_slice(&raw[i * 8..i * 8 + 8]);
        u64::from_le_bytes(b)
    };
    let (flags, stack, stack_size) = (w(0), w(5), w(6));
    if w(4) > 64
        || flags & 0xff != 0
        || flags & flag::DETACHED != 0
        || (stack == 0) != (stack_size == 0)
        || w(9) != 0 && w(8) == 0
        || flags & (flag::THREAD | flag::PARENT) != 0 && w(4) != 0
    {
        return err(Errno::EINVAL);
    }
    let a = CloneArgs {
        flags,
        exit_signal: w(4) as u32,
        stack: UserAddr(stack.wrapping_add(stack_size)),
        parent_tid: UserAddr(w(3)),
        child_tid: UserAddr(w(2)),
        tls: w(7),
        pidfd: UserAddr(w(1)),
    };
    make::clone(cx, &a)
}

/// fork(2).
///
/// # Errors
/// EAGAIN, ENOMEM.
pub fn fork(cx: &mut Ctx<'_>) -> SysResult {
    make::clone(cx, &CloneArgs { exit_signal: nr::CHLD, ..CloneArgs::default() })
}

/// vfork(2).
///
/// # Errors
/// EAGAIN, ENOMEM.
pub fn vfork(cx: &mut Ctx<'_>) -> SysResult {
    let flags = flag::VFORK | flag::VM;
    make::clone(cx, &CloneArgs { flags, exit_signal: nr::CHLD, ..CloneArgs::default() })
}

/// execve(2).
///
/// # Errors
/// See `exec`.
pub fn execve(cx: &mut Ctx<'_>, path: Str, argv: UserAddr, envp: UserAddr) -> SysResult {
    let name = cx.path(path)?;
    exec_common(cx, None, &name, argv, envp, false)
}

/// execveat(2).
///
/// # Errors
/// See `exec`; EBADF.
pub fn execveat(
    cx: &mut Ctx<'_>,
    dir: Fd,
    path: Str,
    argv: UserAddr,
    envp: UserAddr,
    flags: u32,
) -> SysResult {
    const EMPTY_PATH: u32 = 0x1000;
    const NOFOLLOW: u32 = 0x100;
    if flags & !(EMPTY_PATH | NOFOLLOW) != 0 {
        return err(Errno::EINVAL);
    }
    let name = cx.path(path)?;
    if name.is_empty() && flags & EMPTY_PATH == 0 {
        return err(Errno::ENOENT);
    }
    let base = super::path::base_of(cx, dir, &name)?;
    exec_common(cx, base.as_ref(), &name, argv, envp, flags & NOFOLLOW != 0)
}

fn exec_common(
    cx: &mut Ctx<'_>,
    base: Option<&Path>,
    name: &[u8],
    argv: UserAddr,
    envp: UserAddr,
    nofollow: bool,
) -> SysResult {
    let mut budget = exec::strings_budget(&cx.task);
    let argv = exec::read_strings(&cx.mm, argv, &mut budget)?;
    let envp = exec::read_strings(&cx.mm, envp, &mut budget)?;
    let _ = LookupFlags::FOLLOW;
    exec::execve(cx, base, name, argv, envp, nofollow)?;
    Ok(0)
}

/// exit(2): ends the calling thread.
///
/// # Errors
/// Does not return.
pub fn exit(cx: &mut Ctx<'_>, status: i32) -> SysResult {
    cx.task.exit_status.store((status & 0xff) << 8, Ordering::Relaxed);
    cx.exiting = true;
    Ok(0)
}

/// exit_group(2).
///
/// # Errors
/// Does not return.
pub fn exit_group(cx: &mut Ctx<'_>, status: i32) -> SysResult {
    end::exit_group(&cx.task, (status & 0xff) << 8);
    cx.exiting = true;
    Ok(0)
}

fn wait_status(w: What) -> i32 {
    match w {
        What::Exited(s) => s,
        What::Stopped(sig) => (sig as i32) << 8 | 0x7f,
        What::Continued => 0xffff,
    }
}

fn usage_of(n: &News) -> [i64; 18] {
    let mut u = [0i64; 18];
    let ns = std::time::Duration::from_nanos;
    u[..2].copy_from_slice(&timeval(ns(n.times.0)));
    u[2..4].copy_from_slice(&timeval(ns(n.times.1)));
    u[4] = n.max_rss as i64 * 4;
    u[8] = n.minflt as i64;
    u
}

/// wait4(2).
///
/// # Errors
/// ECHILD, EINTR, EINVAL, EFAULT.
pub fn wait4(
    cx: &mut Ctx<'_>,
    pid: i32,
    status: UserAddr,
    options: u32,
    usage: UserAddr,
) -> SysResult {
    let known = option::NOHANG
        | option::UNTRACED
        | option::CONTINUED
        | option::NOTHREAD
        | option::ALL
        | option::CLONE;
    if options & !known != 0 {
        return err(Errno::EINVAL);
    }
    let who = match pid {
        i32::MIN => return err(Errno::ESRCH),
        -1 => Who::Any,
        0 => Who::Group(own_group(cx)),
        p if p < -1 => Who::Group(-p as u32),
        p => Who::Pid(p as u32),
    };
    let Some(news) = waiting::wait(cx, who, options | option::EXITED)? else { return Ok(0) };
    cx.write_opt(status, &wait_status(news.what))?;
    cx.write_opt(usage, &usage_of(&news))?;
    Ok(news.pid.into())
}

fn own_group(cx: &Ctx<'_>) -> u32 {
    cx.kernel.tree.lock().node(cx.task.pid()).map_or(0, |n| n.pgrp)
}

/// waitid(2).
///
/// # Errors
/// ECHILD, EINTR, EINVAL, EFAULT, EBADF.
pub fn waitid(
    cx: &mut Ctx<'_>,
    which: u32,
    id: i32,
    info: UserAddr,
    options: u32,
    usage: UserAddr,
) -> SysResult {
    let known = option::NOHANG
        | option::NOWAIT
        | option::STOPPED
        | option::EXITED
        | option::CONTINUED
        | option::NOTHREAD
        | option::ALL
        | option::CLONE;
    let wanted = option::STOPPED | option::EXITED | option::CONTINUED;
    if options & !known != 0 || options & wanted == 0 {
        return err(Errno::EINVAL);
    }
    let who = match which {
        0 => Who::Any,
        1 if id > 0 => Who::Pid(id as u32),
        2 if id == 0 => Who::Group(own_group(cx)),
        2 if id > 0 => Who::Group(id as u32),
        3 => Who::Pid(crate::services::pid_of(&*cx.file(Fd(id))?)?),
        _ => return err(Errno::EINVAL),
    };
    let news = waiting::wait(cx, who, options)?;
    if let Some(n) = &news {
        cx.write_opt(usage, &usage_of(n))?;
    }
    if !info.is_null() {
        let bytes = match &news {
            None => [0u8; 128],
            Some(n) => {
                let (why, status) = match n.what {
                    What::Exited(s) if s & 0x7f == 0 => (code::CLD_EXITED, s >> 8 & 0xff),
                    What::Exited(s) => (code::CLD_KILLED, s & 0x7f),
                    What::Stopped(sig) => (code::CLD_STOPPED, sig as i32),
                    What::Continued => (code::CLD_CONTINUED, nr::CONT as i32),
                };
                let fields = Fields::Child { pid: n.pid, uid: n.uid, status, utime: 0, stime: 0 };
                SigInfo { signo: nr::CHLD, errno: 0, code: why, fields }.to_bytes()
            }
        };
        // Only the named fields are written, as Linux does: the rest of the buffer stays.
        cx.mm.write(info, &bytes[..12])?;
        cx.mm.write(info.add(16)?, &bytes[16..28])?;
    }
    Ok(0)
}

/// getpid(2).
///
/// # Errors
/// None.
pub fn getpid(cx: &mut Ctx<'_>) -> SysResult {
    Ok(cx.task.pid().into())
}

/// gettid(2).
///
/// # Errors
/// None.
pub fn gettid(cx: &mut Ctx<'_>) -> SysResult {
    Ok(cx.task.tid().into())
}

/// getppid(2).
///
/// # Errors
/// None.
pub fn getppid(cx: &mut Ctx<'_>) -> SysResult {
    Ok(cx.kernel.tree.lock().node(cx.task.pid()).map_or(0, |n| n.parent).into())
}

/// set_tid_address(2).
///
/// # Errors
/// None.
pub fn set_tid_address(cx: &mut Ctx<'_>, at: UserAddr) -> SysResult {
    cx.task.clear_child_tid.store(at.0, Ordering::Relaxed);
    Ok(cx.task.tid().into())
}

/// set_robust_list(2).
///
/// # Errors
/// EINVAL for another size of the head.
pub fn set_robust_list(cx: &mut Ctx<'_>, head: UserAddr, len: usize) -> SysResult {
    if len != 24 {
        return err(Errno::EINVAL);
    }
    cx.task.robust_list.store(head.0, Ordering::Relaxed);
    Ok(0)
}

/// get_robust_list(2).
///
/// # Errors
/// ESRCH, EPERM, EFAULT.
pub fn get_robust_list(cx: &mut Ctx<'_>, pid: i32, head: UserAddr, len: UserAddr) -> SysResult {
    let t = if pid == 0 {
        cx.task.clone()
    } else {
        cx.kernel.tree.lock().task(pid as u32).ok_or(Errno::ESRCH)?
    };
    if t.cred().uid != cx.cred().euid {
        cx.require(Cap::SysPtrace)?;
    }
    cx.write_obj(head, &t.robust_list.load(Ordering::Relaxed))?;
    cx.write_obj(len, &24u64)?;
    Ok(0)
}

/// unshare(2): files, root and working directory.
///
/// # Errors
/// EINVAL for namespaces, which are not there, and for CLONE_VM and CLONE_SIGHAND with several threads.
pub fn unshare(cx: &mut Ctx<'_>, flags: u64) -> SysResult {
    let known = flag::FS | flag::FILES | flag::SYSVSEM | flag::THREAD | flag::SIGHAND | flag::VM;
    if flags & !known != 0 {
        return err(Errno::EINVAL);
    }
    if flags & (flag::THREAD | flag::SIGHAND | flag::VM) != 0
        && cx.task.process.lock().threads.len() > 1
    {
        return err(Errno::EINVAL);
    }
    if flags & flag::FS != 0 {
        let own = cx.task.fs().fork();
        *cx.task.fs.lock() = own;
    }
    if flags & flag::FILES != 0 {
        let own = cx.files().fork();
        cx.task.set_files(Some(own));
    }
    Ok(0)
}

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

/// personality(2).
///
/// # Errors
/// None.
pub fn personality(cx: &mut Ctx<'_>, persona: u32) -> SysResult {
    let p = &cx.task.process.personality;
    let old = p.load(Ordering::Relaxed);
    if persona != u32::MAX {
        p.store(persona, Ordering::Relaxed);
    }
    Ok(old.into())
}

/// arch_prctl(2).
///
/// # Errors
/// EINVAL, EPERM for an address outside of user space, EFAULT.
pub fn arch_prctl(cx: &mut Ctx<'_>, op: u32, addr: UserAddr) -> SysResult {
    const SET_GS: u32 = 0x1001;
    const SET_FS: u32 = 0x1002;
    const GET_FS: u32 = 0x1003;
    const GET_GS: u32 = 0x1004;
    if matches!(op, SET_FS | SET_GS) && addr.0 >= base::addr::USER_TOP {
        return err(Errno::EPERM);
    }
    match op {
        SET_FS => cx.thread.regs_mut().fs_base = addr.0,
        SET_GS => cx.thread.regs_mut().gs_base = addr.0,
        GET_FS => {
            let v = cx.thread.regs().fs_base;
            cx.write_obj(addr, &v)?;
        }
        GET_GS => {
            let v = cx.thread.regs().gs_base;
            cx.write_obj(addr, &v)?;
        }
        _ => return err(Errno::EINVAL),
    }
    Ok(0)
}

/// prctl(2).
///
/// # Errors
/// EINVAL for what is not there; EFAULT; EPERM.
pub fn prctl(cx: &mut Ctx<'_>, op: i32, a: u64, b: u64, c: u64, d: u64) -> SysResult {
    let p = &cx.task.process;
    let rest = || if b | c | d == 0 { Ok(()) } else { err(Errno::EINVAL) };
    match op {
        1 => {
            if a > 64 {
                return err(Errno::EINVAL);
            }
            cx.task.pdeathsig.store(a as u32, Ordering::Relaxed);
        }
        2 => cx.write_obj(UserAddr(a), &cx.task.pdeathsig.load(Ordering::Relaxed))?,
        3 => return Ok(p.dumpable.load(Ordering::Relaxed).into()),
        4 => {
            if a > 1 {
                return err(Errno::EINVAL);
            }
            p.dumpable.store(a as u32, Ordering::Relaxed);
        }
        7 => return Ok((cx.cred().securebits >> 4 & 1).into()),
        8 => {
            if a > 1 {
                return err(Errno::EINVAL);
            }
            let mut cred = (*cx.cred()).clone();
            cred.securebits = cred.securebits & !(1 << 4) | (a as u32) << 4;
            cx.task.set_cred(cred);
        }
        15 => {
            let mut name = [0u8; 16];
            read_name(cx, UserAddr(a), &mut name)?;
            *cx.task.comm.lock() = name;
        }
        16 => {
            let name = *cx.task.comm.lock();
            cx.mm.write(UserAddr(a), &name)?;
        }
        23 => {
            if a > u64::from(base::cred::CAP_LAST) {
                return err(Errno::EINVAL);
            }
            return Ok((cx.cred().bounding.0 >> a & 1) as i64);
        }
        24 => {
            if a > u64::from(base::cred::CAP_LAST) {
                return err(Errno::EINVAL);
            }
            cx.require(Cap::Setpcap)?;
            let mut cred = (*cx.cred()).clone();
            cred.bounding.0 &= !(1 << a);
            cx.task.set_cred(cred);
        }
        27 => return Ok(cx.cred().securebits.into()),
        28 => {
            cx.require(Cap::Setpcap)?;
            let mut cred = (*cx.cred()).clone();
            cred.securebits = a as u32 & 0xff;
            cx.task.set_cred(cred);
        }
        29 => {
            let ns = if a == 0 { 50_000 } else { a };
            cx.task.timer_slack_ns.store(ns, Ordering::Relaxed);
        }
        30 => return Ok(cx.task.timer_slack_ns.load(Ordering::Relaxed) as i64),
        36 => p.subreaper.store(a != 0, Ordering::Relaxed),
        37 => cx.write_obj(UserAddr(a), &i32::from(p.subreaper.load(Ordering::Relaxed)))?,
        38 => {
            rest()?;
            if a != 1 {
                return err(Errno::EINVAL);
            }
            let mut cred = (*cx.cred()).clone();
            cred.no_new_privs = true;
            cx.task.set_cred(cred);
        }
        39 => {
            rest()?;
            return Ok(cx.cred().no_new_privs.into());
        }
        40 => cx.write_obj(UserAddr(a), &cx.task.clear_child_tid.load(Ordering::Relaxed))?,
        41 | 42 => return err(Errno::EINVAL), // transparent huge pages are not there
        47 => return crate::task::ids::ambient(cx, a, b),
        _ => return err(Errno::EINVAL),
    }
    Ok(0)
}

/// Up to 15 bytes and a NUL, as PR_SET_NAME takes them.
fn read_name(cx: &Ctx<'_>, at: UserAddr, name: &mut [u8; 16]) -> Result<()> {
    for i in 0..15u64 {
        let mut b = [0u8];
        cx.mm.read(at.add(i)?, &mut b)?;
        if b[0] == 0 {
            break;
        }
        name[i as usize] = b[0];
    }
    Ok(())
}
