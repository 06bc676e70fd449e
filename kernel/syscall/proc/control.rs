//! personality(2), arch_prctl(2), prctl(2).

use std::sync::atomic::Ordering;

use base::{Cap, Errno, Result, UserAddr, UserMemory, err};

use crate::syscall::{Ctx, SysResult};

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
        SET_GS => {
            if addr.0 != 0 {
                cx.mm.drop_patches(); // the stub's entry finds its thread by the GS base
            }
            cx.thread.regs_mut().gs_base = addr.0;
        }
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
