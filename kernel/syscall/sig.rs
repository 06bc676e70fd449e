//! Signals: actions, masks, sending, waiting. `man 7 signal`.

use base::wait::Sleep;
use base::{Errno, Result, UserAddr, UserMemory, err};

use super::args::Signo;
use super::time::read_timespec;
use super::{Ctx, Fd, SysResult};
use crate::signal::queue::{Action, SigInfo, code, sa};
use crate::signal::send::may_signal;
use crate::signal::set::{SigSet, nr};
use crate::signal::{frame, send};

const SET_SIZE: usize = 8;

fn read_set(cx: &Ctx<'_>, at: UserAddr, size: usize) -> Result<SigSet> {
    if size != SET_SIZE {
        return err(Errno::EINVAL);
    }
    Ok(SigSet(cx.read_obj(at)?))
}

/// rt_sigaction(2).
///
/// # Errors
/// EINVAL for SIGKILL, SIGSTOP and bad numbers; EFAULT.
pub fn rt_sigaction(
    cx: &mut Ctx<'_>,
    sig: Signo,
    act: UserAddr,
    old: UserAddr,
    size: usize,
) -> SysResult {
    let signo = sig.0;
    if size != SET_SIZE || !(1..=nr::MAX).contains(&signo) {
        return err(Errno::EINVAL);
    }
    let new = if act.is_null() {
        None
    } else {
        let [handler, flags, restorer, mask]: [u64; 4] = cx.read_obj(act)?;
        if SigSet::UNBLOCKABLE.has(signo) {
            return err(Errno::EINVAL);
        }
        let flags = flags & !sa::UNSUPPORTED & !sa::EXPOSE_TAGBITS;
        let mask = SigSet(mask).minus(SigSet::UNBLOCKABLE);
        Some(Action { handler, flags, restorer, mask })
    };
    let actions = cx.task.process.sig_actions();
    let was = match new {
        Some(a) => {
            let mut actions = actions.lock();
            let was = actions.set(signo, a);
            if actions.ignores(signo) {
                drop(actions);
                // POSIX: a pending signal that becomes ignored is forgotten.
                cx.task.process.forget(signo);
                cx.task.recalc_sigpending();
            }
            was
        }
        None => actions.lock().get(signo),
    };
    cx.write_opt(old, &[was.handler, was.flags, was.restorer, was.mask.0])?;
    Ok(0)
}

/// rt_sigprocmask(2).
///
/// # Errors
/// EINVAL, EFAULT.
pub fn rt_sigprocmask(
    cx: &mut Ctx<'_>,
    how: u32,
    set: UserAddr,
    old: UserAddr,
    size: usize,
) -> SysResult {
    if size != SET_SIZE {
        return err(Errno::EINVAL);
    }
    let now = cx.task.signals.lock().blocked;
    if !set.is_null() {
        let s = read_set(cx, set, size)?;
        let new = match how {
            0 => now.or(s),
            1 => now.minus(s),
            2 => s,
            _ => return err(Errno::EINVAL),
        };
        cx.task.set_blocked(new);
    }
    cx.write_opt(old, &now.0)?;
    Ok(0)
}

/// rt_sigpending(2).
///
/// # Errors
/// EINVAL, EFAULT.
pub fn rt_sigpending(cx: &mut Ctx<'_>, set: UserAddr, size: usize) -> SysResult {
    if size > SET_SIZE {
        return err(Errno::EINVAL);
    }
    let shared = cx.task.process.pending.lock().set();
    let s = cx.task.signals.lock();
    let waiting = s.pending.set().or(shared).and(s.blocked);
    drop(s);
    cx.mm.write(set, &waiting.0.to_le_bytes()[..size])?;
    Ok(0)
}

/// rt_sigreturn(2).
///
/// # Errors
/// A bad frame is a SIGSEGV, not an error.
pub fn rt_sigreturn(cx: &mut Ctx<'_>) -> SysResult {
    cx.registers_set = true;
    if let Err(e) = frame::pop(cx, cx.sp) {
        log::debug!("{:?}: bad signal frame: {e:?}", cx.task);
        send::force(&cx.task, SigInfo::kernel(nr::SEGV));
    }
    Ok(0)
}

/// rt_sigsuspend(2).
///
/// # Errors
/// EINTR, EINVAL, EFAULT.
pub fn rt_sigsuspend(cx: &mut Ctx<'_>, set: UserAddr, size: usize) -> SysResult {
    let mask = read_set(cx, set, size)?;
    let old = cx.task.set_blocked(mask);
    cx.task.signals.lock().saved = Some(old);
    pause(cx)
}

/// pause(2).
///
/// # Errors
/// EINTR.
pub fn pause(_cx: &mut Ctx<'_>) -> SysResult {
    let nobody = base::WaitQueue::new();
    let r: Result<()> = nobody.wait_until(Sleep::Interruptible, None, || None);
    r.map(|()| 0).map_err(|_| Errno::ERESTARTNOHAND.into())
}

/// rt_sigtimedwait(2).
///
/// # Errors
/// EAGAIN at the timeout, EINTR, EINVAL, EFAULT.
pub fn rt_sigtimedwait(
    cx: &mut Ctx<'_>,
    set: UserAddr,
    info: UserAddr,
    timeout: UserAddr,
    size: usize,
) -> SysResult {
    let wanted = read_set(cx, set, size)?.minus(SigSet::UNBLOCKABLE);
    let deadline = if timeout.is_null() {
        None
    } else {
        Some(arch::clock::monotonic() + read_timespec(cx, timeout)?)
    };
    let task = cx.task.clone();
    // While it waits the signals count as not blocked, so that a sender wakes this thread, and as
    // wanted, so that a default "ignore" does not throw them away.
    let old = {
        let mut s = task.signals.lock();
        s.waiting_for = wanted;
        s.blocked
    };
    let mut got = task.take_signal(wanted);
    let mut why = None;
    if got.is_none() {
        task.set_blocked(old.minus(wanted));
        let queue = task.process.signal_event.clone();
        let r = queue.wait_until(Sleep::Interruptible, deadline, || task.take_signal(wanted));
        match r {
            Ok(i) => got = Some(i),
            Err(e) => {
                got = task.take_signal(wanted);
                why = Some(e);
            }
        }
        task.set_blocked(old);
    }
    task.signals.lock().waiting_for = SigSet::EMPTY;
    task.recalc_sigpending();
    let Some(i) = got else {
        let timed_out = why.is_some_and(|e| e == Errno::ETIMEDOUT);
        return err(if timed_out { Errno::EAGAIN } else { Errno::EINTR });
    };
    if !info.is_null() {
        cx.mm.write(info, &i.to_bytes())?;
    }
    Ok(i.signo.into())
}

/// sigaltstack(2).
///
/// # Errors
/// EPERM while on it, EINVAL, ENOMEM if it is too small, EFAULT.
pub fn sigaltstack(cx: &mut Ctx<'_>, new: UserAddr, old: UserAddr) -> SysResult {
    const ONSTACK: u32 = 1;
    const DISABLE: u32 = 2;
    const AUTODISARM: u32 = 1 << 31;
    let sp = cx.thread.regs().rsp;
    let (base, size, flags) = {
        let s = cx.task.signals.lock();
        (s.alt_base, s.alt_size, s.alt_flags)
    };
    let on = flags & AUTODISARM == 0 && frame::on_alt_stack(sp, base, size);
    let shown = if size == 0 {
        DISABLE
    } else if on {
        flags | ONSTACK
    } else {
        flags
    };
    if !new.is_null() {
        let [b, f, s]: [u64; 3] = cx.read_obj(new)?;
        let f = f as u32;
        if on {
            return err(Errno::EPERM);
        }
        let mode = f & !AUTODISARM;
        if !matches!(mode, 0 | ONSTACK | DISABLE) {
            return err(Errno::EINVAL);
        }
        let mut sig = cx.task.signals.lock();
        if mode == DISABLE {
            (sig.alt_base, sig.alt_size, sig.alt_flags) = (0, 0, 0);
        } else {
            if s < 2048 {
                return err(Errno::ENOMEM);
            }
            (sig.alt_base, sig.alt_size, sig.alt_flags) = (b, s, f & AUTODISARM);
        }
    }
    cx.write_opt(old, &[base, u64::from(shown), size])?;
    Ok(0)
}

fn valid(sig: Signo) -> Result<u32> {
    if sig.0 > nr::MAX { err(Errno::EINVAL) } else { Ok(sig.0) }
}

/// kill(2).
///
/// # Errors
/// EINVAL, EPERM, ESRCH.
pub fn kill(cx: &mut Ctx<'_>, pid: i32, sig: Signo) -> SysResult {
    let signo = valid(sig)?;
    let cred = cx.cred();
    let info = SigInfo::user(signo, code::USER, cx.task.pid(), cred.uid);
    let targets: Vec<_> = {
        let tree = cx.kernel.tree.lock();
        match pid {
            i32::MIN => return err(Errno::ESRCH),
            -1 => {
                let me = cx.task.pid();
                tree.nodes()
                    .map(|n| n.process.clone())
                    .filter(|p| p.pid > 1 && p.pid != me)
                    .collect()
            }
            0 => tree.group(tree.node(cx.task.pid()).map_or(0, |n| n.pgrp)),
            p if p < 0 => tree.group(-p as u32),
            p => {
                // A thread's id names its process here, too.
                let by_tid = || tree.task(p as u32).map(|t| t.process.clone());
                tree.process(p as u32).cloned().or_else(by_tid).into_iter().collect()
            }
        }
    };
    if targets.is_empty() {
        return err(Errno::ESRCH);
    }
    let mut sent = false;
    let mut last = Ok(());
    for p in &targets {
        let r = may_signal(&cred, &cx.task, p, signo)
            .and_then(|()| if signo == 0 { Ok(()) } else { cx.kernel.signal_process(p, info) });
        match r {
            Ok(()) => sent = true,
            Err(e) => last = Err(e),
        }
    }
    if sent { Ok(0) } else { last.map(|()| 0) }
}

fn to_thread(cx: &Ctx<'_>, tgid: Option<i32>, tid: i32, info: SigInfo) -> SysResult {
    if tid <= 0 || tgid.is_some_and(|g| g <= 0) {
        return err(Errno::EINVAL);
    }
    let t = cx.kernel.tree.lock().task(tid as u32).ok_or(Errno::ESRCH)?;
    if tgid.is_some_and(|g| g as u32 != t.pid()) {
        return err(Errno::ESRCH);
    }
    may_signal(&cx.cred(), &cx.task, &t.process, info.signo)?;
    if info.signo != 0 {
        cx.kernel.signal_task(&t, info)?;
    }
    Ok(0)
}

/// tkill(2).
///
/// # Errors
/// EINVAL, EPERM, ESRCH, EAGAIN.
pub fn tkill(cx: &mut Ctx<'_>, tid: i32, sig: Signo) -> SysResult {
    let info = SigInfo::user(valid(sig)?, code::TKILL, cx.task.pid(), cx.cred().uid);
    to_thread(cx, None, tid, info)
}

/// tgkill(2).
///
/// # Errors
/// EINVAL, EPERM, ESRCH, EAGAIN.
pub fn tgkill(cx: &mut Ctx<'_>, tgid: i32, tid: i32, sig: Signo) -> SysResult {
    let info = SigInfo::user(valid(sig)?, code::TKILL, cx.task.pid(), cx.cred().uid);
    to_thread(cx, Some(tgid), tid, info)
}

fn queued_info(cx: &Ctx<'_>, sig: Signo, at: UserAddr, to_self: bool) -> Result<SigInfo> {
    let signo = valid(sig)?;
    let mut raw = [0u8; 128];
    cx.mm.read(at, &mut raw)?;
    let info = SigInfo::from_bytes(signo, &raw);
    // Nobody may pretend to be the kernel or kill(2).
    if (info.code >= 0 || info.code == code::TKILL) && !to_self {
        return err(Errno::EPERM);
    }
    Ok(info)
}

/// rt_sigqueueinfo(2).
///
/// # Errors
/// EAGAIN, EINVAL, EPERM, ESRCH, EFAULT.
pub fn rt_sigqueueinfo(cx: &mut Ctx<'_>, pid: i32, sig: Signo, info: UserAddr) -> SysResult {
    let i = queued_info(cx, sig, info, pid as u32 == cx.task.pid())?;
    let p = cx.kernel.tree.lock().process(pid as u32).cloned().ok_or(Errno::ESRCH)?;
    may_signal(&cx.cred(), &cx.task, &p, i.signo)?;
    if i.signo != 0 {
        cx.kernel.signal_process(&p, i)?;
    }
    Ok(0)
}

/// rt_tgsigqueueinfo(2).
///
/// # Errors
/// EAGAIN, EINVAL, EPERM, ESRCH, EFAULT.
pub fn rt_tgsigqueueinfo(
    cx: &mut Ctx<'_>,
    tgid: i32,
    tid: i32,
    sig: Signo,
    info: UserAddr,
) -> SysResult {
    let i = queued_info(cx, sig, info, tid as u32 == cx.task.tid())?;
    to_thread(cx, Some(tgid), tid, i)
}

/// pidfd_open(2).
///
/// # Errors
/// EINVAL, ESRCH, EMFILE.
pub fn pidfd_open(cx: &mut Ctx<'_>, pid: i32, flags: u32) -> SysResult {
    const NONBLOCK: u32 = 0o4000;
    if flags & !NONBLOCK != 0 || pid <= 0 {
        return err(Errno::EINVAL);
    }
    let tree = cx.kernel.tree.lock();
    let p = tree.process(pid as u32).cloned();
    let is_thread = p.is_none() && tree.task(pid as u32).is_some();
    drop(tree);
    let p = p.ok_or(if is_thread { Errno::EINVAL } else { Errno::ESRCH })?;
    let file = crate::services::open_pidfd(cx.kernel, &p, flags & NONBLOCK != 0)?;
    super::file::install(cx, file, true)
}

/// pidfd_send_signal(2).
///
/// # Errors
/// EBADF, EINVAL, EPERM, ESRCH, EFAULT.
pub fn pidfd_send_signal(
    cx: &mut Ctx<'_>,
    fd: Fd,
    sig: Signo,
    info: UserAddr,
    flags: u32,
) -> SysResult {
    if flags != 0 {
        return err(Errno::EINVAL);
    }
    let pid = crate::services::pid_of(&*cx.file(fd)?)?;
    let i = if info.is_null() {
        SigInfo::user(valid(sig)?, code::USER, cx.task.pid(), cx.cred().uid)
    } else {
        let i = queued_info(cx, sig, info, pid == cx.task.pid())?;
        let mut claimed = [0u8; 4];
        cx.mm.read(info, &mut claimed)?;
        if u32::from_le_bytes(claimed) != i.signo {
            return err(Errno::EINVAL);
        }
        i
    };
    let p = cx.kernel.tree.lock().process(pid).cloned().ok_or(Errno::ESRCH)?;
    if p.lock().zombie.is_some() {
        return err(Errno::ESRCH);
    }
    may_signal(&cx.cred(), &cx.task, &p, i.signo)?;
    if i.signo != 0 {
        cx.kernel.signal_process(&p, i)?;
    }
    Ok(0)
}

/// pidfd_getfd(2).
///
/// # Errors
/// EBADF, EINVAL, EPERM, ESRCH, EMFILE.
pub fn pidfd_getfd(cx: &mut Ctx<'_>, pidfd: Fd, fd: Fd, flags: u32) -> SysResult {
    if flags != 0 {
        return err(Errno::EINVAL);
    }
    let pid = crate::services::pid_of(&*cx.file(pidfd)?)?;
    let p = cx.kernel.tree.lock().process(pid).cloned().ok_or(Errno::ESRCH)?;
    let t = p.any_thread().ok_or(Errno::ESRCH)?;
    let (me, it) = (cx.cred(), t.cred());
    if me.uid != it.uid || me.euid != it.euid {
        cx.require(base::Cap::SysPtrace)?;
    }
    let file = t.files().ok_or(Errno::ESRCH)?.get(fd.0)?;
    super::file::install(cx, file, true)
}
