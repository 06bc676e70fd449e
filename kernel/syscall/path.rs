//! Calls that name files: attributes, directories, links, mounts. `man 7 path_resolution`.

use base::{Errno, Result, Timestamp, UserAddr, UserMemory, err};
use drivers::DevNum;
use fs::inode::RenameFlags;
use fs::ops::{self, SetTime};
use fs::{Attr, FileType, LookupFlags, Path};

use super::args::{AT_FDCWD, Octal};
use super::{Ctx, Fd, Str, SysResult};

const AT_SYMLINK_NOFOLLOW: u32 = 0x100;
const AT_REMOVEDIR: u32 = 0x200;
const AT_EACCESS: u32 = 0x200;
const AT_SYMLINK_FOLLOW: u32 = 0x400;
const AT_NO_AUTOMOUNT: u32 = 0x800;
const AT_EMPTY_PATH: u32 = 0x1000;
const AT_STATX_SYNC: u32 = 0x6000;

/// The directory that a relative name starts from; None for AT_FDCWD and absolute names.
///
/// # Errors
/// EBADF.
pub fn base_of(cx: &Ctx<'_>, dir: Fd, name: &[u8]) -> Result<Option<Path>> {
    if dir.0 == AT_FDCWD || name.starts_with(b"/") {
        return Ok(None);
    }
    Ok(Some(cx.files().get(dir.0)?.path.clone()))
}

/// Looks a name up as the `*at` calls do; `flags` are AT_* bits, `follow` says what the call does
/// with a final link by default.
fn look(cx: &Ctx<'_>, dir: Fd, path: Str, flags: u32, follow: bool) -> Result<Path> {
    // A null pointer with AT_EMPTY_PATH means an empty name, as since Linux 6.11.
    let name =
        if path.0.is_null() && flags & AT_EMPTY_PATH != 0 { Vec::new() } else { cx.path(path)? };
    look_name(cx, dir, &name, flags, follow)
}

fn look_name(cx: &Ctx<'_>, dir: Fd, name: &[u8], flags: u32, follow: bool) -> Result<Path> {
    let mut f = LookupFlags::empty();
    let follow =
        if follow { flags & AT_SYMLINK_NOFOLLOW == 0 } else { flags & AT_SYMLINK_FOLLOW != 0 };
    f.set(LookupFlags::FOLLOW, follow);
    f.set(LookupFlags::EMPTY, flags & AT_EMPTY_PATH != 0);
    if name.is_empty() && flags & AT_EMPTY_PATH != 0 {
        return if dir.0 == AT_FDCWD {
            Ok(cx.task.fs().cwd())
        } else {
            Ok(cx.files().get(dir.0)?.path.clone())
        };
    }
    let base = base_of(cx, dir, name)?;
    fs::lookup(&cx.task.fs(), &cx.cred(), base.as_ref(), name, f)
}

fn cwd() -> Fd {
    Fd(AT_FDCWD)
}

fn only(flags: u32, known: u32) -> Result<()> {
    if flags & !known != 0 { err(Errno::EINVAL) } else { Ok(()) }
}

fn mode_of(a: &Attr) -> u32 {
    a.kind as u32 | a.perm
}

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

/// chdir(2).
///
/// # Errors
/// chdir(2).
pub fn chdir(cx: &mut Ctx<'_>, path: Str) -> SysResult {
    let p = look(cx, cwd(), path, 0, true)?;
    ops::chdir(&cx.task.fs(), &cx.cred(), p)?;
    Ok(0)
}

/// fchdir(2).
///
/// # Errors
/// chdir(2).
pub fn fchdir(cx: &mut Ctx<'_>, fd: Fd) -> SysResult {
    let f = cx.files().get(fd.0)?;
    ops::chdir(&cx.task.fs(), &cx.cred(), f.path.clone())?;
    Ok(0)
}

/// chroot(2).
///
/// # Errors
/// chroot(2).
pub fn chroot(cx: &mut Ctx<'_>, path: Str) -> SysResult {
    let p = look(cx, cwd(), path, 0, true)?;
    ops::chroot(&cx.task.fs(), &cx.cred(), p)?;
    Ok(0)
}

/// getcwd(2): bytes with the NUL.
///
/// # Errors
/// ERANGE, ENOENT, EFAULT.
pub fn getcwd(cx: &mut Ctx<'_>, buf: UserAddr, size: usize) -> SysResult {
    let mut name = cx.task.fs().getcwd()?;
    name.push(0);
    if name.len() > size {
        return err(Errno::ERANGE);
    }
    cx.mm.write(buf, &name)?;
    Ok(name.len() as i64)
}

fn put_statfs(cx: &Ctx<'_>, p: &Path, at: UserAddr) -> SysResult {
    let (s, flags) = ops::statfs(p)?;
    let raw = [
        s.magic,
        s.block_size.into(),
        s.blocks,
        s.free,
        s.available,
        s.files,
        s.files_free,
        s.fsid,
        s.name_max.into(),
        s.block_size.into(),
        flags,
        0,
        0,
        0,
        0,
    ];
    cx.write_obj(at, &raw)?;
    Ok(0)
}

/// statfs(2).
///
/// # Errors
/// statfs(2).
pub fn statfs(cx: &mut Ctx<'_>, path: Str, buf: UserAddr) -> SysResult {
    put_statfs(cx, &look(cx, cwd(), path, 0, true)?, buf)
}

/// fstatfs(2).
///
/// # Errors
/// statfs(2).
pub fn fstatfs(cx: &mut Ctx<'_>, fd: Fd, buf: UserAddr) -> SysResult {
    let f = cx.files().get(fd.0)?;
    put_statfs(cx, &f.path, buf)
}

fn optional_string(cx: &Ctx<'_>, at: UserAddr) -> Result<Vec<u8>> {
    if at.is_null() { Ok(Vec::new()) } else { cx.mm.read_cstr(at, base::PAGE_SIZE) }
}

/// mount(2).
///
/// # Errors
/// mount(2).
pub fn mount(
    cx: &mut Ctx<'_>,
    source: UserAddr,
    target: Str,
    fstype: UserAddr,
    flags: u64,
    data: UserAddr,
) -> SysResult {
    let source = optional_string(cx, source)?;
    let fstype = optional_string(cx, fstype)?;
    let data = optional_string(cx, data)?;
    let target = cx.path(target)?;
    ops::mount(&cx.task.fs(), &cx.cred(), &source, &target, &fstype, flags, &data)?;
    Ok(0)
}

/// umount2(2).
///
/// # Errors
/// umount(2).
pub fn umount2(cx: &mut Ctx<'_>, target: Str, flags: u32) -> SysResult {
    let target = cx.path(target)?;
    ops::umount(&cx.task.fs(), &cx.cred(), &target, flags)?;
    Ok(0)
}

/// pivot_root(2): every task whose root or working directory was the old root gets the new one.
///
/// # Errors
/// pivot_root(2).
pub fn pivot_root(cx: &mut Ctx<'_>, new: Str, old: Str) -> SysResult {
    let (new, old) = (cx.path(new)?, cx.path(old)?);
    let (from, to) = ops::pivot_root(&cx.task.fs(), &cx.cred(), &new, &old)?;
    let tasks: Vec<_> = {
        let tree = cx.kernel.tree.lock();
        tree.nodes().flat_map(|n| n.process.lock().threads.clone()).collect()
    };
    for t in tasks {
        t.fs().replace(&from, &to);
    }
    Ok(0)
}

const XATTR_MAX: usize = 65536;

fn xattr_name(cx: &Ctx<'_>, name: Str) -> Result<Vec<u8>> {
    let n = cx
        .mm
        .read_cstr(name.0, 256)
        .map_err(|e| if e == Errno::ENAMETOOLONG { Errno::ERANGE.into() } else { e })?;
    if n.is_empty() { err(Errno::ERANGE) } else { Ok(n) }
}

fn put_sized(cx: &Ctx<'_>, data: &[u8], at: UserAddr, size: usize) -> SysResult {
    if size != 0 {
        if data.len() > size {
            return err(Errno::ERANGE);
        }
        cx.mm.write(at, data)?;
    }
    Ok(data.len() as i64)
}

fn set_x(cx: &Ctx<'_>, p: &Path, name: Str, value: UserAddr, size: usize, flags: u32) -> SysResult {
    only(flags, 3)?;
    let n = xattr_name(cx, name)?;
    if size > XATTR_MAX {
        return err(Errno::E2BIG);
    }
    let mut v = vec![0u8; size];
    cx.mm.read(value, &mut v)?;
    ops::setxattr(&cx.cred(), p, &n, Some(&v), flags)?;
    Ok(0)
}

fn get_x(cx: &Ctx<'_>, p: &Path, name: Str, value: UserAddr, size: usize) -> SysResult {
    let n = xattr_name(cx, name)?;
    put_sized(cx, &ops::getxattr(&cx.cred(), p, &n)?, value, size)
}

fn remove_x(cx: &Ctx<'_>, p: &Path, name: Str) -> SysResult {
    let n = xattr_name(cx, name)?;
    ops::setxattr(&cx.cred(), p, &n, None, 2)?;
    Ok(0)
}

macro_rules! xattrs {
    ($($set:ident $get:ident $list:ident $remove:ident $how:literal;)*) => {$(
        #[doc = concat!(stringify!($set), "(2).")]
        ///
        /// # Errors
        /// setxattr(2).
        pub fn $set(cx: &mut Ctx<'_>, path: Str, name: Str, value: UserAddr, size: usize, flags: u32) -> SysResult {
            let p = look(cx, cwd(), path, $how, true)?;
            set_x(cx, &p, name, value, size, flags)
        }
        #[doc = concat!(stringify!($get), "(2).")]
        ///
        /// # Errors
        /// getxattr(2).
        pub fn $get(cx: &mut Ctx<'_>, path: Str, name: Str, value: UserAddr, size: usize) -> SysResult {
            let p = look(cx, cwd(), path, $how, true)?;
            get_x(cx, &p, name, value, size)
        }
        #[doc = concat!(stringify!($list), "(2).")]
        ///
        /// # Errors
        /// listxattr(2).
        pub fn $list(cx: &mut Ctx<'_>, path: Str, list: UserAddr, size: usize) -> SysResult {
            let p = look(cx, cwd(), path, $how, true)?;
            put_sized(cx, &ops::listxattr(&cx.cred(), &p)?, list, size)
        }
        #[doc = concat!(stringify!($remove), "(2).")]
        ///
        /// # Errors
        /// removexattr(2).
        pub fn $remove(cx: &mut Ctx<'_>, path: Str, name: Str) -> SysResult {
            let p = look(cx, cwd(), path, $how, true)?;
            remove_x(cx, &p, name)
        }
    )*};
}
xattrs! {
    setxattr getxattr listxattr removexattr 0;
    lsetxattr lgetxattr llistxattr lremovexattr 0x100;
}

/// fsetxattr(2).
///
/// # Errors
/// setxattr(2).
pub fn fsetxattr(
    cx: &mut Ctx<'_>,
    fd: Fd,
    name: Str,
    value: UserAddr,
    size: usize,
    flags: u32,
) -> SysResult {
    let f = cx.file(fd)?;
    set_x(cx, &f.path, name, value, size, flags)
}

/// fgetxattr(2).
///
/// # Errors
/// getxattr(2).
pub fn fgetxattr(cx: &mut Ctx<'_>, fd: Fd, name: Str, value: UserAddr, size: usize) -> SysResult {
    let f = cx.file(fd)?;
    get_x(cx, &f.path, name, value, size)
}

/// flistxattr(2).
///
/// # Errors
/// listxattr(2).
pub fn flistxattr(cx: &mut Ctx<'_>, fd: Fd, list: UserAddr, size: usize) -> SysResult {
    let f = cx.file(fd)?;
    put_sized(cx, &ops::listxattr(&cx.cred(), &f.path)?, list, size)
}

/// fremovexattr(2).
///
/// # Errors
/// removexattr(2).
pub fn fremovexattr(cx: &mut Ctx<'_>, fd: Fd, name: Str) -> SysResult {
    let f = cx.file(fd)?;
    remove_x(cx, &f.path, name)
}
