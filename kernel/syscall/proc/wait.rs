//! wait4(2) and waitid(2).

use base::{Errno, UserAddr, UserMemory, err};

use crate::signal::queue::{Fields, SigInfo, code};
use crate::signal::set::nr;
use crate::syscall::time::timeval;
use crate::syscall::{Ctx, Fd, SysResult};
use crate::task::wait::{self as waiting, News, What, Who, option};

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

#[cfg(test)]
mod tests {
    use super::*;

    /// As the macros of `<sys/wait.h>` take it apart.
    #[test]
    fn wait_status() {
        let s = super::wait_status;
        assert_eq!(s(What::Exited(7 << 8)), 0x700); // WIFEXITED, WEXITSTATUS 7
        assert_eq!(s(What::Exited(9)), 9); // WIFSIGNALED, WTERMSIG 9
        assert_eq!(s(What::Stopped(nr::TSTP)), 20 << 8 | 0x7f); // WIFSTOPPED, WSTOPSIG 20
        assert_eq!(s(What::Continued), 0xffff); // WIFCONTINUED
    }
}
