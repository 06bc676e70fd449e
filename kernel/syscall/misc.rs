//! The system as a whole: names, numbers, log, randomness, reboot.

use std::sync::atomic::Ordering;

use base::{Cap, Errno, Result, UserAddr, UserMemory, err};

use super::{Ctx, SysResult};
use crate::shutdown::Fate;

/// uname(2).
///
/// # Errors
/// EFAULT.
pub fn uname(cx: &mut Ctx<'_>, at: UserAddr) -> SysResult {
    let names = cx.kernel.names.lock().clone();
    let mut raw = [0u8; 65 * 6];
    let fields = ["Linux", &names.host, crate::RELEASE, crate::VERSION, "x86_64", &names.domain];
    for (i, f) in fields.iter().enumerate() {
        let n = f.len().min(64);
        raw[i * 65..i * 65 + n].copy_from_slice(&f.as_bytes()[..n]);
    }
    cx.mm.write(at, &raw)?;
    Ok(0)
}

fn read_name(cx: &Ctx<'_>, name: UserAddr, len: usize) -> Result<String> {
    cx.require(Cap::SysAdmin)?;
    if len > 64 {
        return err(Errno::EINVAL);
    }
    let mut raw = vec![0u8; len];
    cx.mm.read(name, &mut raw)?;
    Ok(String::from_utf8_lossy(&raw).into_owned())
}

/// sethostname(2).
///
/// # Errors
/// EPERM, EINVAL, EFAULT.
pub fn sethostname(cx: &mut Ctx<'_>, name: UserAddr, len: usize) -> SysResult {
    let n = read_name(cx, name, len)?;
    cx.kernel.names.lock().host = n;
    Ok(0)
}

/// setdomainname(2).
///
/// # Errors
/// EPERM, EINVAL, EFAULT.
pub fn setdomainname(cx: &mut Ctx<'_>, name: UserAddr, len: usize) -> SysResult {
    let n = read_name(cx, name, len)?;
    cx.kernel.names.lock().domain = n;
    Ok(0)
}

/// sysinfo(2).
///
/// # Errors
/// EFAULT.
pub fn sysinfo(cx: &mut Ctx<'_>, at: UserAddr) -> SysResult {
    let k = cx.kernel;
    let m = k.memory.stats();
    let page = base::PAGE_SIZE as u64;
    let load = k.load.averages();
    let mut raw = [0u8; 112];
    let mut put = |i: usize, v: u64| raw[i..i + 8].copy_from_slice(&v.to_le_bytes());
    put(0, k.uptime().as_secs());
    for (i, l) in load.iter().enumerate() {
        put(8 + i * 8, (l * 65536.0) as u64);
    }
    put(32, m.total * page);
    put(40, m.free * page);
    put(48, m.shmem * page);
    put(56, 0);
    let procs = k.tree.lock().task_count() as u16;
    raw[80..82].copy_from_slice(&procs.to_le_bytes());
    raw[104..108].copy_from_slice(&1u32.to_le_bytes());
    cx.mm.write(at, &raw)?;
    Ok(0)
}

/// syslog(2): the kernel's log.
///
/// # Errors
/// EINVAL, EPERM, EFAULT.
pub fn syslog(cx: &mut Ctx<'_>, op: i32, buf: UserAddr, len: i32) -> SysResult {
    let log = &cx.kernel.log;
    match op {
        3 | 4 => {
            if buf.is_null() || len < 0 {
                return err(Errno::EINVAL);
            }
            let text = log.read_all(len as usize);
            cx.mm.write(buf, &text)?;
            if op == 4 {
                cx.require(Cap::Syslog)?;
                log.clear();
            }
            Ok(text.len() as i64)
        }
        2 => err(Errno::ENOSYS), // reading as a stream is /dev/kmsg's business
        0 | 1 => Ok(0),
        5 => {
            cx.require(Cap::Syslog)?;
            log.clear();
            Ok(0)
        }
        6 | 7 => {
            cx.require(Cap::Syslog)?;
            // Off: only emergencies reach the console; on: the default level again.
            crate::logging::set_console_level(if op == 6 { 1 } else { 7 });
            Ok(0)
        }
        8 => {
            cx.require(Cap::Syslog)?;
            if !(1..=8).contains(&len) {
                return err(Errno::EINVAL);
            }
            crate::logging::set_console_level(len as u8);
            Ok(0)
        }
        9 => Ok(log.read_all(log.capacity()).len() as i64),
        10 => Ok(log.capacity() as i64),
        _ => err(Errno::EINVAL),
    }
}

/// reboot(2).
///
/// # Errors
/// EPERM, EINVAL, EFAULT.
pub fn reboot(cx: &mut Ctx<'_>, magic1: u32, magic2: u32, cmd: u32, arg: UserAddr) -> SysResult {
    cx.require(Cap::SysBoot)?;
    let known = [672_274_793, 85_072_278, 369_367_448, 537_993_216];
    if magic1 != 0xfee1_dead || !known.contains(&magic2) {
        return err(Errno::EINVAL);
    }
    let fate = match cmd {
        0 | 0x89ab_cdef => {
            cx.kernel.ctrl_alt_del.store(cmd != 0, Ordering::Relaxed);
            return Ok(0);
        }
        0x0123_4567 => Fate::Restart,
        0xcdef_0123 => Fate::Halt,
        0x4321_fedc => Fate::PowerOff,
        0xa1b2_c3d4 => {
            cx.mm.read_cstr(arg, 256)?;
            Fate::Restart
        }
        _ => return err(Errno::EINVAL),
    };
    cx.kernel.shut_down(fate);
    // The other tasks are ended by the shutdown; this one ends here.
    cx.task.set_fatal();
    cx.exiting = true;
    Ok(0)
}

/// getrandom(2).
///
/// # Errors
/// EINVAL for unknown flags; EFAULT.
pub fn getrandom(cx: &mut Ctx<'_>, buf: UserAddr, count: usize, flags: u32) -> SysResult {
    const NONBLOCK: u32 = 1;
    const RANDOM: u32 = 2;
    const INSECURE: u32 = 4;
    if flags & !(NONBLOCK | RANDOM | INSECURE) != 0
        || flags & (RANDOM | INSECURE) == RANDOM | INSECURE
    {
        return err(Errno::EINVAL);
    }
    let count = count.min(0x1ff_ffff);
    let mut piece = [0u8; 256];
    let mut done = 0;
    while done < count {
        let n = (count - done).min(piece.len());
        cx.kernel.random(&mut piece[..n]);
        match cx.mm.write(buf.add(done as u64)?, &piece[..n]) {
            Ok(()) => done += n,
            Err(e) if done == 0 => return Err(e),
            Err(_) => break,
        }
        if done < count && cx.task.signal_pending() {
            break;
        }
    }
    Ok(done as i64)
}

/// getcpu(2).
///
/// # Errors
/// EFAULT.
pub fn getcpu(cx: &mut Ctx<'_>, cpu: UserAddr, node: UserAddr, _cache: UserAddr) -> SysResult {
    cx.write_opt(cpu, &0u32)?;
    cx.write_opt(node, &0u32)?;
    Ok(0)
}
