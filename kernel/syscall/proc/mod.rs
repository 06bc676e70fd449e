//! Processes and threads. Here: their beginning and end, and who they are; [`wait`](mod@wait) has the end of
//! children, [`limits`] usage and limits, [`control`] prctl(2) and its like, `task::ids` identities.

pub mod control;
pub mod limits;
pub mod wait;

use std::sync::atomic::Ordering;

use base::{Cap, Errno, PAGE_SIZE, UserAddr, UserMemory, err};
use fs::Path;

use super::{Ctx, Fd, Str, SysResult};
use crate::exec;
use crate::signal::set::nr;
use crate::task::clone::{CloneArgs, flag};
use crate::task::{clone as make, exit as end};

pub use crate::task::ids::{
    capget, capset, getegid, geteuid, getgid, getgroups, getpgid, getpgrp, getresgid, getresuid,
    getsid, getuid, setfsgid, setfsuid, setgid, setgroups, setpgid, setregid, setresgid, setresuid,
    setreuid, setsid, setuid,
};
pub use control::{arch_prctl, personality, prctl};
pub use limits::{getrlimit, getrusage, prlimit64, setrlimit};
pub use wait::{wait4, waitid};

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
