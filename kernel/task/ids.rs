//! Identities: user and group ids, capabilities, process groups and sessions.
//! `man 7 credentials`, `man 7 capabilities`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use base::cred::{CAP_LAST, CapSet};
use base::{Cap, Cred, Errno, Result, UserAddr, err};

use crate::syscall::{Ctx, SysResult};

const KEEP: u32 = u32::MAX;

/// The capabilities that concern files: they follow the file-system user id.
const FS_CAPS: u64 = 1 << Cap::Chown as u8
    | 1 << Cap::DacOverride as u8
    | 1 << Cap::DacReadSearch as u8
    | 1 << Cap::Fowner as u8
    | 1 << Cap::Fsetid as u8
    | 1 << Cap::LinuxImmutable as u8
    | 1 << Cap::Mknod as u8
    | 1 << Cap::MacOverride as u8;

/// Capabilities follow the change of user ids ("Effect of user ID changes on capabilities").
fn fix_caps(old: &Cred, new: &mut Cred) {
    const NO_SETUID_FIXUP: u32 = 1 << 2;
    const KEEP_CAPS: u32 = 1 << 4;
    if old.securebits & NO_SETUID_FIXUP != 0 {
        return;
    }
    let had_root = old.uid == 0 || old.euid == 0 || old.suid == 0;
    let has_root = new.uid == 0 || new.euid == 0 || new.suid == 0;
    if had_root && !has_root {
        if old.securebits & KEEP_CAPS == 0 {
            new.permitted = CapSet::EMPTY;
            new.effective = CapSet::EMPTY;
        }
        new.ambient = CapSet::EMPTY;
    }
    if old.euid == 0 && new.euid != 0 {
        new.effective = CapSet::EMPTY;
    }
    if old.euid != 0 && new.euid == 0 {
        new.effective = new.permitted;
    }
}

fn change(cx: &Ctx<'_>, edit: impl FnOnce(&Cred, &mut Cred) -> Result<()>) -> SysResult {
    let old = cx.cred();
    let mut new = (*old).clone();
    edit(&old, &mut new)?;
    let uid_changed = (new.uid, new.euid, new.suid) != (old.uid, old.euid, old.suid);
    if uid_changed {
        fix_caps(&old, &mut new);
    }
    if new.euid != old.euid || new.egid != old.egid {
        cx.task.process.dumpable.store(0, Ordering::Relaxed);
        cx.task.pdeathsig.store(0, Ordering::Relaxed);
    }
    cx.task.set_cred(new);
    Ok(0)
}

macro_rules! getters {
    ($($(#[$doc:meta])* $name:ident => $field:ident;)*) => {$(
        $(#[$doc])*
        ///
        /// # Errors
        /// None.
        pub fn $name(cx: &mut Ctx<'_>) -> SysResult {
            Ok(cx.cred().$field.into())
        }
    )*};
}
getters! {
    /// getuid(2).
    getuid => uid;
    /// geteuid(2).
    geteuid => euid;
    /// getgid(2).
    getgid => gid;
    /// getegid(2).
    getegid => egid;
}

/// setuid(2).
///
/// # Errors
/// EPERM, EINVAL.
pub fn setuid(cx: &mut Ctx<'_>, uid: u32) -> SysResult {
    if uid == KEEP {
        return err(Errno::EINVAL);
    }
    change(cx, |old, new| {
        if old.capable(Cap::Setuid) {
            (new.uid, new.suid) = (uid, uid);
        } else if uid != old.uid && uid != old.suid {
            return err(Errno::EPERM);
        }
        (new.euid, new.fsuid) = (uid, uid);
        Ok(())
    })
}

/// setgid(2).
///
/// # Errors
/// EPERM, EINVAL.
pub fn setgid(cx: &mut Ctx<'_>, gid: u32) -> SysResult {
    if gid == KEEP {
        return err(Errno::EINVAL);
    }
    change(cx, |old, new| {
        if old.capable(Cap::Setgid) {
            (new.gid, new.sgid) = (gid, gid);
        } else if gid != old.gid && gid != old.sgid {
            return err(Errno::EPERM);
        }
        (new.egid, new.fsgid) = (gid, gid);
        Ok(())
    })
}

/// The common rules of setreuid and setregid: new (real, effective, saved).
fn set_re(now: [u32; 3], r: u32, e: u32, privileged: bool) -> Result<[u32; 3]> {
    let [real, eff, saved] = now;
    let mut out = now;
    if r != KEEP {
        if !privileged && r != real && r != eff {
            return err(Errno::EPERM);
        }
        out[0] = r;
    }
    if e != KEEP {
        if !privileged && e != real && e != eff && e != saved {
            return err(Errno::EPERM);
        }
        out[1] = e;
    }
    if r != KEEP || (e != KEEP && e != real) {
        out[2] = out[1];
    }
    Ok(out)
}

fn set_res(now: [u32; 3], want: [u32; 3], privileged: bool) -> Result<[u32; 3]> {
    let mut out = now;
    for i in 0..3 {
        if want[i] != KEEP {
            if !privileged && !now.contains(&want[i]) {
                return err(Errno::EPERM);
            }
            out[i] = want[i];
        }
    }
    Ok(out)
}

/// setreuid(2).
///
/// # Errors
/// EPERM.
pub fn setreuid(cx: &mut Ctx<'_>, r: u32, e: u32) -> SysResult {
    change(cx, |old, new| {
        let v = set_re([old.uid, old.euid, old.suid], r, e, old.capable(Cap::Setuid))?;
        [new.uid, new.euid, new.suid] = v;
        new.fsuid = new.euid;
        Ok(())
    })
}

/// setregid(2).
///
/// # Errors
/// EPERM.
pub fn setregid(cx: &mut Ctx<'_>, r: u32, e: u32) -> SysResult {
    change(cx, |old, new| {
        let v = set_re([old.gid, old.egid, old.sgid], r, e, old.capable(Cap::Setgid))?;
        [new.gid, new.egid, new.sgid] = v;
        new.fsgid = new.egid;
        Ok(())
    })
}

/// setresuid(2).
///
/// # Errors
/// EPERM.
pub fn setresuid(cx: &mut Ctx<'_>, r: u32, e: u32, s: u32) -> SysResult {
    change(cx, |old, new| {
        let v = set_res([old.uid, old.euid, old.suid], [r, e, s], old.capable(Cap::Setuid))?;
        [new.uid, new.euid, new.suid] = v;
        new.fsuid = new.euid;
        Ok(())
    })
}

/// setresgid(2).
///
/// # Errors
/// EPERM.
pub fn setresgid(cx: &mut Ctx<'_>, r: u32, e: u32, s: u32) -> SysResult {
    change(cx, |old, new| {
        let v = set_res([old.gid, old.egid, old.sgid], [r, e, s], old.capable(Cap::Setgid))?;
        [new.gid, new.egid, new.sgid] = v;
        new.fsgid = new.egid;
        Ok(())
    })
}

/// getresuid(2).
///
/// # Errors
/// EFAULT.
pub fn getresuid(cx: &mut Ctx<'_>, r: UserAddr, e: UserAddr, s: UserAddr) -> SysResult {
    let c = cx.cred();
    cx.write_obj(r, &c.uid)?;
    cx.write_obj(e, &c.euid)?;
    cx.write_obj(s, &c.suid)?;
    Ok(0)
}

/// getresgid(2).
///
/// # Errors
/// EFAULT.
pub fn getresgid(cx: &mut Ctx<'_>, r: UserAddr, e: UserAddr, s: UserAddr) -> SysResult {
    let c = cx.cred();
    cx.write_obj(r, &c.gid)?;
    cx.write_obj(e, &c.egid)?;
    cx.write_obj(s, &c.sgid)?;
    Ok(0)
}

/// setfsuid(2): returns the old value whether it changed or not.
///
/// # Errors
/// None.
pub fn setfsuid(cx: &mut Ctx<'_>, uid: u32) -> SysResult {
    let old = cx.cred();
    let was = old.fsuid;
    if uid != KEEP
        && (old.capable(Cap::Setuid) || [old.uid, old.euid, old.suid, was].contains(&uid))
    {
        let mut new = (*old).clone();
        new.fsuid = uid;
        if was == 0 && uid != 0 {
            new.effective.0 &= !FS_CAPS;
        } else if was != 0 && uid == 0 {
            new.effective.0 |= new.permitted.0 & FS_CAPS;
        }
        cx.task.set_cred(new);
    }
    Ok(was.into())
}

/// setfsgid(2).
///
/// # Errors
/// None.
pub fn setfsgid(cx: &mut Ctx<'_>, gid: u32) -> SysResult {
    let old = cx.cred();
    let was = old.fsgid;
    if gid != KEEP
        && (old.capable(Cap::Setgid) || [old.gid, old.egid, old.sgid, was].contains(&gid))
    {
        let mut new = (*old).clone();
        new.fsgid = gid;
        cx.task.set_cred(new);
    }
    Ok(was.into())
}

/// getgroups(2).
///
/// # Errors
/// EINVAL if the list is too short; EFAULT.
pub fn getgroups(cx: &mut Ctx<'_>, n: i32, list: UserAddr) -> SysResult {
    let c = cx.cred();
    if n < 0 {
        return err(Errno::EINVAL);
    }
    if n != 0 {
        if (n as usize) < c.groups.len() {
            return err(Errno::EINVAL);
        }
        let raw: Vec<u8> = c.groups.iter().flat_map(|g| g.to_le_bytes()).collect();
        base::UserMemory::write(&*cx.mm, list, &raw)?;
    }
    Ok(c.groups.len() as i64)
}

/// setgroups(2).
///
/// # Errors
/// EPERM, EINVAL, EFAULT.
pub fn setgroups(cx: &mut Ctx<'_>, n: i32, list: UserAddr) -> SysResult {
    cx.require(Cap::Setgid)?;
    if !(0..=65536).contains(&n) {
        return err(Errno::EINVAL);
    }
    let mut raw = vec![0u8; n as usize * 4];
    base::UserMemory::read(&*cx.mm, list, &mut raw)?;
    let mut groups: Vec<u32> =
        raw.chunks_exact(4).map(|c| u32::from_le_bytes([c[0], c[1], c[2], c[3]])).collect();
    groups.sort_unstable();
    let mut new = (*cx.cred()).clone();
    new.groups = Arc::new(groups);
    cx.task.set_cred(new);
    Ok(0)
}

const CAP_V1: u32 = 0x1998_0330;
const CAP_V2: u32 = 0x2007_1026;
const CAP_V3: u32 = 0x2008_0522;

/// capget(2).
///
/// # Errors
/// EINVAL for an unknown version (the one we know is stored), ESRCH, EFAULT.
pub fn capget(cx: &mut Ctx<'_>, hdr: UserAddr, data: UserAddr) -> SysResult {
    let [version, pid]: [u32; 2] = cx.read_obj(hdr)?;
    if !matches!(version, CAP_V1 | CAP_V2 | CAP_V3) {
        cx.write_obj(hdr, &CAP_V3)?;
        return if data.is_null() { Ok(0) } else { err(Errno::EINVAL) };
    }
    let c = if pid == 0 {
        cx.cred()
    } else {
        cx.kernel.tree.lock().task(pid).ok_or(Errno::ESRCH)?.cred()
    };
    if data.is_null() {
        return Ok(0);
    }
    let (e, p, i) = (c.effective.0, c.permitted.0, c.inheritable.0);
    let lo = [e as u32, p as u32, i as u32];
    if version == CAP_V1 {
        cx.write_obj(data, &lo)?;
    } else {
        let hi = [(e >> 32) as u32, (p >> 32) as u32, (i >> 32) as u32];
        cx.write_obj(data, &[lo, hi])?;
    }
    Ok(0)
}

/// capset(2).
///
/// # Errors
/// EPERM, EINVAL, EFAULT.
pub fn capset(cx: &mut Ctx<'_>, hdr: UserAddr, data: UserAddr) -> SysResult {
    let [version, pid]: [u32; 2] = cx.read_obj(hdr)?;
    if !matches!(version, CAP_V1 | CAP_V2 | CAP_V3) {
        cx.write_obj(hdr, &CAP_V3)?;
        return err(Errno::EINVAL);
    }
    if pid != 0 && pid != cx.task.tid() {
        return err(Errno::EPERM);
    }
    let words: [[u32; 3]; 2] =
        if version == CAP_V1 { [cx.read_obj(data)?, [0; 3]] } else { cx.read_obj(data)? };
    let set =
        |k: usize| CapSet((u64::from(words[0][k]) | u64::from(words[1][k]) << 32) & CapSet::FULL.0);
    let (e, p, i) = (set(0), set(1), set(2));
    let old = cx.cred();
    let within = |a: CapSet, b: u64| a.0 & !b == 0;
    let ok = within(p, old.permitted.0)
        && within(e, p.0)
        && within(i, old.inheritable.0 | old.bounding.0)
        && (old.capable(Cap::Setpcap) || within(i, old.inheritable.0 | old.permitted.0));
    if !ok {
        return err(Errno::EPERM);
    }
    let mut new = (*old).clone();
    (new.effective, new.permitted, new.inheritable) = (e, p, i);
    new.ambient.0 &= p.0 & i.0;
    cx.task.set_cred(new);
    Ok(0)
}

/// prctl(PR_CAP_AMBIENT).
///
/// # Errors
/// EINVAL, EPERM.
pub fn ambient(cx: &Ctx<'_>, op: u64, cap: u64) -> SysResult {
    let old = cx.cred();
    let mut new = (*old).clone();
    if op == 4 {
        new.ambient = CapSet::EMPTY;
        cx.task.set_cred(new);
        return Ok(0);
    }
    if cap > u64::from(CAP_LAST) {
        return err(Errno::EINVAL);
    }
    match op {
        1 => return Ok((old.ambient.0 >> cap & 1) as i64),
        2 => {
            if (old.permitted.0 & old.inheritable.0) >> cap & 1 == 0 {
                return err(Errno::EPERM);
            }
            new.ambient.0 |= 1 << cap;
        }
        3 => new.ambient.0 &= !(1 << cap),
        _ => return err(Errno::EINVAL),
    }
    cx.task.set_cred(new);
    Ok(0)
}

fn target(cx: &Ctx<'_>, pid: i32) -> u32 {
    if pid == 0 { cx.task.pid() } else { pid as u32 }
}

/// getpgid(2).
///
/// # Errors
/// ESRCH.
pub fn getpgid(cx: &mut Ctx<'_>, pid: i32) -> SysResult {
    let pid = target(cx, pid);
    Ok(cx.kernel.tree.lock().node(pid).ok_or(Errno::ESRCH)?.pgrp.into())
}

/// getpgrp(2).
///
/// # Errors
/// None.
pub fn getpgrp(cx: &mut Ctx<'_>) -> SysResult {
    getpgid(cx, 0)
}

/// getsid(2).
///
/// # Errors
/// ESRCH.
pub fn getsid(cx: &mut Ctx<'_>, pid: i32) -> SysResult {
    let pid = target(cx, pid);
    Ok(cx.kernel.tree.lock().node(pid).ok_or(Errno::ESRCH)?.session.into())
}

/// setpgid(2).
///
/// # Errors
/// EINVAL, ESRCH, EACCES after the child's exec, EPERM.
pub fn setpgid(cx: &mut Ctx<'_>, pid: i32, pgid: i32) -> SysResult {
    if pgid < 0 {
        return err(Errno::EINVAL);
    }
    let me = cx.task.pid();
    let pid = target(cx, pid);
    let pgid = if pgid == 0 { pid } else { pgid as u32 };
    let mut tree = cx.kernel.tree.lock();
    let my_session = tree.node(me).map_or(0, |n| n.session);
    let n = tree.node(pid).ok_or(Errno::ESRCH)?;
    if pid != me {
        if n.parent != me {
            return err(Errno::ESRCH);
        }
        if n.session != my_session {
            return err(Errno::EPERM);
        }
        if n.process.lock().execed {
            return err(Errno::EACCES);
        }
    }
    if n.session == pid {
        return err(Errno::EPERM); // a session leader stays in its group
    }
    let session = n.session;
    if pgid != pid && !tree.group_in_session(pgid, session) {
        return err(Errno::EPERM);
    }
    if let Some(n) = tree.node_mut(pid) {
        n.pgrp = pgid;
    }
    Ok(0)
}

/// setsid(2).
///
/// # Errors
/// EPERM for the leader of a process group.
pub fn setsid(cx: &mut Ctx<'_>) -> SysResult {
    let me = cx.task.pid();
    let mut tree = cx.kernel.tree.lock();
    if tree.nodes().any(|n| n.pgrp == me) {
        return err(Errno::EPERM);
    }
    let n = tree.node_mut(me).ok_or(Errno::ESRCH)?;
    n.pgrp = me;
    n.session = me;
    Ok(me.into())
}

#[cfg(test)]
mod tests {
    use super::{KEEP, set_re, set_res};

    #[test]
    fn setreuid_saves_the_effective_id() {
        assert_eq!(set_re([1, 2, 3], KEEP, 1, false).ok(), Some([1, 1, 3]));
        assert_eq!(set_re([1, 2, 3], 2, KEEP, false).ok(), Some([2, 2, 2]));
        assert!(set_re([1, 2, 3], 3, KEEP, false).is_err());
        assert_eq!(set_re([1, 2, 3], KEEP, 3, false).ok(), Some([1, 3, 3]));
    }

    #[test]
    fn setresuid_permutes_only() {
        assert_eq!(set_res([1, 2, 3], [3, KEEP, 1], false).ok(), Some([3, 2, 1]));
        assert!(set_res([1, 2, 3], [4, KEEP, KEEP], false).is_err());
    }
}
