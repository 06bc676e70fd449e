//! What may be changed about a file: mode, owner, times; umask(2).

use base::{Errno, Result, Timestamp, UserAddr, err};
use fs::ops::{self, SetTime};
use fs::{FileType, Path};

use super::{AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW, cwd, look, only};
use crate::syscall::args::{AT_FDCWD, Octal};
use crate::syscall::{Ctx, Fd, Str, SysResult};

/// chmod(2).
///
/// # Errors
/// chmod(2).
pub fn chmod(cx: &mut Ctx<'_>, path: Str, mode: Octal) -> SysResult {
    fchmodat2(cx, cwd(), path, mode, 0)
}

/// fchmod(2).
///
/// # Errors
/// chmod(2).
pub fn fchmod(cx: &mut Ctx<'_>, fd: Fd, mode: Octal) -> SysResult {
    let f = cx.file(fd)?;
    ops::chmod(&cx.cred(), &f.path, mode.0 & 0o7777)?;
    Ok(0)
}

/// fchmodat(2), the old call without flags.
///
/// # Errors
/// chmod(2).
pub fn fchmodat(cx: &mut Ctx<'_>, dir: Fd, path: Str, mode: Octal) -> SysResult {
    fchmodat2(cx, dir, path, mode, 0)
}

/// fchmodat2(2).
///
/// # Errors
/// chmod(2); EOPNOTSUPP for a symbolic link.
pub fn fchmodat2(cx: &mut Ctx<'_>, dir: Fd, path: Str, mode: Octal, flags: u32) -> SysResult {
    only(flags, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)?;
    let p = look(cx, dir, path, flags, true)?;
    if p.inode().kind == FileType::Symlink {
        return err(Errno::EOPNOTSUPP);
    }
    ops::chmod(&cx.cred(), &p, mode.0 & 0o7777)?;
    Ok(0)
}

fn do_chown(cx: &Ctx<'_>, p: &Path, uid: u32, gid: u32) -> SysResult {
    let some = |id: u32| (id != u32::MAX).then_some(id);
    ops::chown(&cx.cred(), p, some(uid), some(gid))?;
    Ok(0)
}

/// chown(2).
///
/// # Errors
/// chown(2).
pub fn chown(cx: &mut Ctx<'_>, path: Str, uid: u32, gid: u32) -> SysResult {
    fchownat(cx, cwd(), path, uid, gid, 0)
}

/// lchown(2).
///
/// # Errors
/// chown(2).
pub fn lchown(cx: &mut Ctx<'_>, path: Str, uid: u32, gid: u32) -> SysResult {
    fchownat(cx, cwd(), path, uid, gid, AT_SYMLINK_NOFOLLOW)
}

/// fchown(2).
///
/// # Errors
/// chown(2).
pub fn fchown(cx: &mut Ctx<'_>, fd: Fd, uid: u32, gid: u32) -> SysResult {
    let f = cx.file(fd)?;
    do_chown(cx, &f.path, uid, gid)
}

/// fchownat(2).
///
/// # Errors
/// chown(2).
pub fn fchownat(cx: &mut Ctx<'_>, dir: Fd, path: Str, uid: u32, gid: u32, flags: u32) -> SysResult {
    only(flags, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)?;
    do_chown(cx, &look(cx, dir, path, flags, true)?, uid, gid)
}

/// umask(2).
///
/// # Errors
/// None.
pub fn umask(cx: &mut Ctx<'_>, mask: Octal) -> SysResult {
    Ok(cx.task.fs().set_umask(mask.0 & 0o777).into())
}

fn stamp(sec: i64, nsec: i64) -> Result<SetTime> {
    const NOW: i64 = 0x3fff_ffff;
    const OMIT: i64 = 0x3fff_fffe;
    Ok(match nsec {
        NOW => SetTime::Now,
        OMIT => SetTime::Omit,
        0..1_000_000_000 => SetTime::At(Timestamp { sec, nsec: nsec as u32 }),
        _ => return err(Errno::EINVAL),
    })
}

/// utimensat(2).
///
/// # Errors
/// utimensat(2).
pub fn utimensat(cx: &mut Ctx<'_>, dir: Fd, path: Str, times: UserAddr, flags: u32) -> SysResult {
    only(flags, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)?;
    let (a, m) = if times.is_null() {
        (SetTime::Now, SetTime::Now)
    } else {
        let [s, n, ms, mn]: [i64; 4] = cx.read_obj(times)?;
        (stamp(s, n)?, stamp(ms, mn)?)
    };
    if (a, m) == (SetTime::Omit, SetTime::Omit) {
        return Ok(0);
    }
    let p = if path.0.is_null() && dir.0 != AT_FDCWD {
        cx.file(dir)?.path.clone()
    } else {
        look(cx, dir, path, flags, true)?
    };
    ops::utimens(&cx.cred(), &p, a, m)?;
    Ok(0)
}

fn set_micro(cx: &Ctx<'_>, p: &Path, times: UserAddr) -> SysResult {
    let (a, m) = if times.is_null() {
        (SetTime::Now, SetTime::Now)
    } else {
        let [s, u, ms, mu]: [i64; 4] = cx.read_obj(times)?;
        if !(0..1_000_000).contains(&u) || !(0..1_000_000).contains(&mu) {
            return err(Errno::EINVAL);
        }
        (stamp(s, u * 1000)?, stamp(ms, mu * 1000)?)
    };
    ops::utimens(&cx.cred(), p, a, m)?;
    Ok(0)
}

/// utimes(2).
///
/// # Errors
/// utimes(2).
pub fn utimes(cx: &mut Ctx<'_>, path: Str, times: UserAddr) -> SysResult {
    set_micro(cx, &look(cx, cwd(), path, 0, true)?, times)
}

/// futimesat(2).
///
/// # Errors
/// utimes(2).
pub fn futimesat(cx: &mut Ctx<'_>, dir: Fd, path: Str, times: UserAddr) -> SysResult {
    set_micro(cx, &look(cx, dir, path, 0, true)?, times)
}

/// utime(2).
///
/// # Errors
/// utime(2).
pub fn utime(cx: &mut Ctx<'_>, path: Str, times: UserAddr) -> SysResult {
    let p = look(cx, cwd(), path, 0, true)?;
    let (a, m) = if times.is_null() {
        (SetTime::Now, SetTime::Now)
    } else {
        let [a, m]: [i64; 2] = cx.read_obj(times)?;
        (stamp(a, 0)?, stamp(m, 0)?)
    };
    ops::utimens(&cx.cred(), &p, a, m)?;
    Ok(0)
}
