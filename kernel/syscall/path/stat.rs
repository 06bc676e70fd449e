//! What a file is: stat(2) and its family, statx(2), access(2).

use base::{Errno, Timestamp, UserAddr, UserMemory, err};
use fs::ops;
use fs::{LookupFlags, Path};

use super::{
    AT_EACCESS, AT_EMPTY_PATH, AT_NO_AUTOMOUNT, AT_STATX_SYNC, AT_SYMLINK_NOFOLLOW, base_of, cwd,
    look, look_name, mode_of, only,
};
use crate::syscall::{Ctx, Fd, Str, SysResult};

fn put_stat(cx: &Ctx<'_>, p: &Path, at: UserAddr) -> SysResult {
    let a = ops::stat(p)?;
    let dev = p.inode().fs.dev().to_user();
    let t = |t: Timestamp| [t.sec as u64, u64::from(t.nsec)];
    let mut s = [0u64; 18];
    s[0] = dev;
    s[1] = a.ino;
    s[2] = a.nlink.into();
    s[3] = u64::from(mode_of(&a)) | u64::from(a.uid) << 32;
    s[4] = a.gid.into();
    s[5] = a.rdev.to_user();
    s[6] = a.size;
    s[7] = a.blksize.into();
    s[8] = a.blocks;
    s[9..11].copy_from_slice(&t(a.atime));
    s[11..13].copy_from_slice(&t(a.mtime));
    s[13..15].copy_from_slice(&t(a.ctime));
    cx.write_obj(at, &s)?;
    Ok(0)
}

/// stat(2).
///
/// # Errors
/// stat(2).
pub fn stat(cx: &mut Ctx<'_>, path: Str, buf: UserAddr) -> SysResult {
    put_stat(cx, &look(cx, cwd(), path, 0, true)?, buf)
}

/// lstat(2).
///
/// # Errors
/// stat(2).
pub fn lstat(cx: &mut Ctx<'_>, path: Str, buf: UserAddr) -> SysResult {
    put_stat(cx, &look(cx, cwd(), path, AT_SYMLINK_NOFOLLOW, true)?, buf)
}

/// fstat(2).
///
/// # Errors
/// stat(2).
pub fn fstat(cx: &mut Ctx<'_>, fd: Fd, buf: UserAddr) -> SysResult {
    let f = cx.files().get(fd.0)?;
    put_stat(cx, &f.path, buf)
}

/// fstatat(2).
///
/// # Errors
/// stat(2).
pub fn newfstatat(cx: &mut Ctx<'_>, dir: Fd, path: Str, buf: UserAddr, flags: u32) -> SysResult {
    only(flags, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH | AT_NO_AUTOMOUNT)?;
    put_stat(cx, &look(cx, dir, path, flags, true)?, buf)
}

/// statx(2).
///
/// # Errors
/// stat(2), EINVAL.
pub fn statx(
    cx: &mut Ctx<'_>,
    dir: Fd,
    path: Str,
    flags: u32,
    mask: u32,
    buf: UserAddr,
) -> SysResult {
    const BASIC: u32 = 0x7ff;
    const BTIME: u32 = 0x800;
    const MNT_ID: u32 = 0x1000;
    const ATTRIBUTES: u64 = 0x10 | 0x20 | 0x40 | 0x2000; // immutable, append, nodump, mount root
    only(flags, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH | AT_NO_AUTOMOUNT | AT_STATX_SYNC)?;
    if mask & 0x8000_0000 != 0 || flags & AT_STATX_SYNC == AT_STATX_SYNC {
        return err(Errno::EINVAL);
    }
    let p = look(cx, dir, path, flags, true)?;
    let a = ops::stat(&p)?;
    let dev = p.inode().fs.dev();
    let mut b = [0u8; 256];
    let mut put = |at: usize, v: &[u8]| b[at..at + v.len()].copy_from_slice(v);
    let has = BASIC | MNT_ID | if a.btime.is_some() { BTIME } else { 0 };
    let is_root = std::sync::Arc::ptr_eq(&p.dentry, p.mount.root());
    let attributes = a.flags & ATTRIBUTES | if is_root { 0x2000 } else { 0 };
    put(0, &has.to_le_bytes());
    put(4, &a.blksize.to_le_bytes());
    put(8, &attributes.to_le_bytes());
    put(16, &a.nlink.to_le_bytes());
    put(20, &a.uid.to_le_bytes());
    put(24, &a.gid.to_le_bytes());
    put(28, &(mode_of(&a) as u16).to_le_bytes());
    put(32, &a.ino.to_le_bytes());
    put(40, &a.size.to_le_bytes());
    put(48, &a.blocks.to_le_bytes());
    put(56, &ATTRIBUTES.to_le_bytes());
    for (at, t) in [(64, Some(a.atime)), (80, a.btime), (96, Some(a.ctime)), (112, Some(a.mtime))] {
        let t = t.unwrap_or_default();
        put(at, &t.sec.to_le_bytes());
        put(at + 8, &t.nsec.to_le_bytes());
    }
    put(128, &a.rdev.major.to_le_bytes());
    put(132, &a.rdev.minor.to_le_bytes());
    put(136, &dev.major.to_le_bytes());
    put(140, &dev.minor.to_le_bytes());
    put(144, &u64::from(p.mount.id()).to_le_bytes());
    cx.mm.write(buf, &b)?;
    Ok(0)
}

fn check_access(cx: &Ctx<'_>, dir: Fd, path: Str, mode: u32, flags: u32) -> SysResult {
    only(mode, 7)?;
    only(flags, AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)?;
    let effective = flags & AT_EACCESS != 0;
    let name = cx.path(path)?;
    let mut cred = (*cx.cred()).clone();
    if !effective {
        // access(2) asks for the real ids; the walk itself is done with them, too.
        cred.fsuid = cred.uid;
        cred.fsgid = cred.gid;
        if cred.uid != 0 {
            cred.effective = Default::default();
        } else {
            cred.effective = cred.permitted;
        }
    }
    let mut f = LookupFlags::empty();
    f.set(LookupFlags::FOLLOW, flags & AT_SYMLINK_NOFOLLOW == 0);
    f.set(LookupFlags::EMPTY, flags & AT_EMPTY_PATH != 0);
    let p = if name.is_empty() && flags & AT_EMPTY_PATH != 0 {
        look_name(cx, dir, &name, flags, true)?
    } else {
        let base = base_of(cx, dir, &name)?;
        fs::lookup(&cx.task.fs(), &cred, base.as_ref(), &name, f)?
    };
    ops::access(&cred, &p, mode, true)?;
    Ok(0)
}

/// access(2).
///
/// # Errors
/// access(2).
pub fn access(cx: &mut Ctx<'_>, path: Str, mode: u32) -> SysResult {
    check_access(cx, cwd(), path, mode, 0)
}

/// faccessat(2), the old call without flags.
///
/// # Errors
/// access(2).
pub fn faccessat(cx: &mut Ctx<'_>, dir: Fd, path: Str, mode: u32) -> SysResult {
    check_access(cx, dir, path, mode, 0)
}

/// faccessat2(2).
///
/// # Errors
/// access(2).
pub fn faccessat2(cx: &mut Ctx<'_>, dir: Fd, path: Str, mode: u32, flags: u32) -> SysResult {
    check_access(cx, dir, path, mode, flags)
}
