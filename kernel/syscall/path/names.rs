//! Names that come, go and move: directories, nodes, links, renames; reading a link.

use base::{Errno, UserAddr, UserMemory, err};
use drivers::DevNum;
use fs::inode::RenameFlags;
use fs::{FileType, ops};

use super::{AT_EMPTY_PATH, AT_REMOVEDIR, AT_SYMLINK_FOLLOW, base_of, cwd, look_name, only};
use crate::syscall::args::{AT_FDCWD, Octal};
use crate::syscall::{Ctx, Fd, Str, SysResult};

/// mkdir(2).
///
/// # Errors
/// mkdir(2).
pub fn mkdir(cx: &mut Ctx<'_>, path: Str, mode: Octal) -> SysResult {
    mkdirat(cx, cwd(), path, mode)
}

/// mkdirat(2).
///
/// # Errors
/// mkdir(2).
pub fn mkdirat(cx: &mut Ctx<'_>, dir: Fd, path: Str, mode: Octal) -> SysResult {
    let name = cx.path(path)?;
    let base = base_of(cx, dir, &name)?;
    ops::mkdir(&cx.task.fs(), &cx.cred(), base.as_ref(), &name, mode.0 & 0o1777)?;
    Ok(0)
}

/// mknod(2).
///
/// # Errors
/// mknod(2).
pub fn mknod(cx: &mut Ctx<'_>, path: Str, mode: Octal, dev: u64) -> SysResult {
    mknodat(cx, cwd(), path, mode, dev)
}

/// mknodat(2).
///
/// # Errors
/// mknod(2).
pub fn mknodat(cx: &mut Ctx<'_>, dir: Fd, path: Str, mode: Octal, dev: u64) -> SysResult {
    let kind = match mode.0 & 0o170_000 {
        0 => FileType::Regular,
        m => FileType::from_mode(m).ok_or(Errno::EINVAL)?,
    };
    match kind {
        FileType::Directory => return err(Errno::EPERM),
        FileType::Symlink => return err(Errno::EINVAL),
        _ => {}
    }
    let name = cx.path(path)?;
    let base = base_of(cx, dir, &name)?;
    let dev = DevNum::from_user(dev);
    ops::mknod(&cx.task.fs(), &cx.cred(), base.as_ref(), &name, kind, mode.0 & 0o7777, dev)?;
    Ok(0)
}

/// rmdir(2).
///
/// # Errors
/// rmdir(2).
pub fn rmdir(cx: &mut Ctx<'_>, path: Str) -> SysResult {
    unlinkat(cx, cwd(), path, AT_REMOVEDIR)
}

/// unlink(2).
///
/// # Errors
/// unlink(2).
pub fn unlink(cx: &mut Ctx<'_>, path: Str) -> SysResult {
    unlinkat(cx, cwd(), path, 0)
}

/// unlinkat(2).
///
/// # Errors
/// unlink(2), rmdir(2).
pub fn unlinkat(cx: &mut Ctx<'_>, dir: Fd, path: Str, flags: u32) -> SysResult {
    only(flags, AT_REMOVEDIR)?;
    let name = cx.path(path)?;
    let base = base_of(cx, dir, &name)?;
    let (ctx, cred) = (cx.task.fs(), cx.cred());
    if flags == 0 {
        ops::unlink(&ctx, &cred, base.as_ref(), &name)?;
    } else {
        ops::rmdir(&ctx, &cred, base.as_ref(), &name)?;
    }
    Ok(0)
}

/// link(2).
///
/// # Errors
/// link(2).
pub fn link(cx: &mut Ctx<'_>, old: Str, new: Str) -> SysResult {
    linkat(cx, cwd(), old, cwd(), new, 0)
}

/// linkat(2).
///
/// # Errors
/// link(2).
pub fn linkat(cx: &mut Ctx<'_>, odir: Fd, old: Str, ndir: Fd, new: Str, flags: u32) -> SysResult {
    only(flags, AT_SYMLINK_FOLLOW | AT_EMPTY_PATH)?;
    let old_name = cx.path(old)?;
    if old_name.is_empty() && flags & AT_EMPTY_PATH != 0 {
        cx.require(base::Cap::DacReadSearch).map_err(|_| Errno::ENOENT)?;
    }
    let target = look_name(cx, odir, &old_name, flags, false)?;
    let name = cx.path(new)?;
    let base = base_of(cx, ndir, &name)?;
    ops::link(&cx.task.fs(), &cx.cred(), &target, base.as_ref(), &name)?;
    Ok(0)
}

/// symlink(2).
///
/// # Errors
/// symlink(2).
pub fn symlink(cx: &mut Ctx<'_>, target: Str, path: Str) -> SysResult {
    symlinkat(cx, target, cwd(), path)
}

/// symlinkat(2).
///
/// # Errors
/// symlink(2).
pub fn symlinkat(cx: &mut Ctx<'_>, target: Str, dir: Fd, path: Str) -> SysResult {
    let target = cx.path(target)?;
    if target.is_empty() {
        return err(Errno::ENOENT);
    }
    let name = cx.path(path)?;
    let base = base_of(cx, dir, &name)?;
    ops::symlink(&cx.task.fs(), &cx.cred(), &target, base.as_ref(), &name)?;
    Ok(0)
}

/// rename(2).
///
/// # Errors
/// rename(2).
pub fn rename(cx: &mut Ctx<'_>, old: Str, new: Str) -> SysResult {
    renameat2(cx, cwd(), old, cwd(), new, 0)
}

/// renameat(2).
///
/// # Errors
/// rename(2).
pub fn renameat(cx: &mut Ctx<'_>, odir: Fd, old: Str, ndir: Fd, new: Str) -> SysResult {
    renameat2(cx, odir, old, ndir, new, 0)
}

/// renameat2(2).
///
/// # Errors
/// rename(2).
pub fn renameat2(
    cx: &mut Ctx<'_>,
    odir: Fd,
    old: Str,
    ndir: Fd,
    new: Str,
    flags: u32,
) -> SysResult {
    let f = RenameFlags::from_bits(flags).ok_or(Errno::EINVAL)?;
    if f.contains(RenameFlags::EXCHANGE)
        && f.intersects(RenameFlags::NOREPLACE | RenameFlags::WHITEOUT)
    {
        return err(Errno::EINVAL);
    }
    let (old, new) = (cx.path(old)?, cx.path(new)?);
    let (ob, nb) = (base_of(cx, odir, &old)?, base_of(cx, ndir, &new)?);
    ops::rename(&cx.task.fs(), &cx.cred(), ob.as_ref(), &old, nb.as_ref(), &new, f)?;
    Ok(0)
}

/// readlink(2).
///
/// # Errors
/// readlink(2).
pub fn readlink(cx: &mut Ctx<'_>, path: Str, buf: UserAddr, size: i32) -> SysResult {
    readlinkat(cx, cwd(), path, buf, size)
}

/// readlinkat(2).
///
/// # Errors
/// readlink(2).
pub fn readlinkat(cx: &mut Ctx<'_>, dir: Fd, path: Str, buf: UserAddr, size: i32) -> SysResult {
    if size <= 0 {
        return err(Errno::EINVAL);
    }
    let name = cx.path(path)?;
    let flags = if name.is_empty() && dir.0 != AT_FDCWD { AT_EMPTY_PATH } else { 0 };
    let p = look_name(cx, dir, &name, flags, false)?;
    if p.inode().kind != FileType::Symlink {
        return err(if name.is_empty() { Errno::ENOENT } else { Errno::EINVAL });
    }
    let target = ops::readlink(&cx.task.fs(), &p)?;
    let n = target.len().min(size as usize);
    cx.mm.write(buf, &target[..n])?;
    Ok(n as i64)
}
