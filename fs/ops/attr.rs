//! Attributes: stat, chmod, chown, times, size, access; and the working and root directory.

use base::{Cap, Cred, Errno, Result, Timestamp, err};

use super::{APPEND, IMMUTABLE, notify, now, owner_or_capable, want_write};
use crate::file::File;
use crate::inode::{Attr, FileType, Inode, SetAttr, StatFs};
use crate::mount::MountFlags;
use crate::path::{FsContext, Path};
use crate::vfs_inode::event;
use crate::walk::permission;

/// A time for utimensat(2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SetTime {
    /// UTIME_OMIT.
    Omit,
    /// UTIME_NOW.
    Now,
    /// This time.
    At(Timestamp),
}

/// stat(2) of a place. `st_dev` is `path.inode().fs.dev()`.
///
/// # Errors
/// EIO, EUCLEAN.
pub fn stat(path: &Path) -> Result<Attr> {
    path.inode().ops.attr()
}

/// readlink(2) of a place that was looked up without FOLLOW. A magic link without text gives the
/// name of its target as `ctx` sees it.
///
/// # Errors
/// EINVAL if it is no link; EACCES, ENOENT from magic links.
pub fn readlink(ctx: &FsContext, path: &Path) -> Result<Vec<u8>> {
    let inode = path.inode();
    if inode.kind != FileType::Symlink {
        return err(Errno::EINVAL);
    }
    match inode.ops.read_link() {
        Err(e) if e == Errno::EINVAL => match inode.ops.follow_magic()? {
            Some(to) => Ok(to.name_from(&ctx.root()).0),
            None => Err(e),
        },
        r => {
            crate::regular::touch_atime(path, false);
            r
        }
    }
}

/// Applies a change under the inode's lock and tells the watchers.
fn apply(path: &Path, make: impl FnOnce(&Attr) -> Result<SetAttr>) -> Result<()> {
    want_write(path)?;
    let inode = path.inode();
    {
        let _guard = inode.lock.lock();
        let a = inode.ops.attr()?;
        if a.flags & (IMMUTABLE | APPEND) != 0 {
            return err(Errno::EPERM);
        }
        let mut change = make(&a)?;
        change.ctime = Some(now());
        inode.ops.set_attr(&change)?;
        inode.vfs.attr_changed();
    }
    notify(path, event::ATTRIB);
    Ok(())
}

/// chmod(2), fchmod(2). The set-group-ID bit is dropped for callers outside of the group.
///
/// # Errors
/// EPERM for who is not the owner; EROFS; EOPNOTSUPP for symbolic links.
pub fn chmod(cred: &Cred, path: &Path, mode: u32) -> Result<()> {
    if path.inode().kind == FileType::Symlink {
        return err(Errno::EOPNOTSUPP);
    }
    apply(path, |a| {
        if !owner_or_capable(cred, a) {
            return err(Errno::EPERM);
        }
        let mut perm = mode & 0o7777;
        if !cred.in_group(a.gid) && !cred.capable(Cap::Fsetid) {
            perm &= !0o2000;
        }
        Ok(SetAttr { perm: Some(perm), ..SetAttr::default() })
    })
}

/// chown(2), lchown(2), fchown(2); None leaves an id as it is. Set-id bits of files are cleared.
///
/// # Errors
/// EPERM without the right to; EROFS.
pub fn chown(cred: &Cred, path: &Path, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
    apply(path, |a| {
        let owner = cred.fsuid == a.uid;
        let uid_ok = uid.is_none_or(|u| owner && u == a.uid);
        let gid_ok = gid.is_none_or(|g| owner && (g == a.gid || cred.in_group(g)));
        let free = uid_ok && gid_ok;
        if !free && !cred.capable(Cap::Chown) {
            return err(Errno::EPERM);
        }
        let mut perm = None;
        if a.kind != FileType::Directory {
            perm = cleared(a.perm);
        }
        Ok(SetAttr { uid, gid, perm, ..SetAttr::default() })
    })
}

/// The mode without set-user-ID, and without set-group-ID if the group may execute (else that bit
/// means mandatory locking); None if that changes nothing.
fn cleared(perm: u32) -> Option<u32> {
    let mut new = perm & !0o4000;
    if perm & 0o010 != 0 {
        new &= !0o2000;
    }
    (new != perm).then_some(new)
}

/// Drops the set-id bits of a file that `cred` has changed (write(2), truncate(2)); CAP_FSETID keeps
/// them. The caller holds the inode's lock.
///
/// # Errors
/// What `set_attr` says.
pub fn remove_privs(inode: &Inode, cred: &Cred, perm: u32) -> Result<()> {
    if perm & 0o6000 == 0 || cred.capable(Cap::Fsetid) {
        return Ok(());
    }
    let Some(perm) = cleared(perm) else { return Ok(()) };
    let change = SetAttr { perm: Some(perm), ctime: Some(now()), ..SetAttr::default() };
    inode.ops.set_attr(&change)?;
    inode.vfs.attr_changed();
    Ok(())
}

/// utimensat(2).
///
/// # Errors
/// EACCES (now) or EPERM (a given time) for who is not the owner; EROFS.
pub fn utimens(cred: &Cred, path: &Path, atime: SetTime, mtime: SetTime) -> Result<()> {
    if atime == SetTime::Omit && mtime == SetTime::Omit {
        return Ok(());
    }
    let both_now = atime == SetTime::Now && mtime == SetTime::Now;
    let t = now();
    let pick = |s: SetTime| match s {
        SetTime::Omit => None,
        SetTime::Now => Some(t),
        SetTime::At(x) => Some(x),
    };
    apply(path, |a| {
        if !owner_or_capable(cred, a) {
            if !both_now {
                return err(Errno::EPERM);
            }
            let dir = a.kind == FileType::Directory;
            if !cred.may_access(2, a.uid, a.gid, a.perm, dir) {
                return err(Errno::EACCES);
            }
        }
        Ok(SetAttr { atime: pick(atime), mtime: pick(mtime), ..SetAttr::default() })
    })
}

/// Sets the size: under the inode's lock, the page cache after the file system.
pub(super) fn do_truncate(inode: &Inode, cred: &Cred, size: u64) -> Result<()> {
    let _guard = inode.lock.lock();
    let a = inode.ops.attr()?;
    remove_privs(inode, cred, a.perm)?;
    let t = now();
    inode.ops.set_attr(&SetAttr {
        size: Some(size),
        mtime: Some(t),
        ctime: Some(t),
        ..SetAttr::default()
    })?;
    inode.vfs.attr_changed();
    if let Some(cache) = inode.ops.page_cache() {
        cache.truncate(size);
    }
    Ok(())
}

fn check_size(size: u64, old: u64, limit: u64) -> Result<()> {
    if i64::try_from(size).is_err() {
        return err(Errno::EINVAL);
    }
    if size > old && size > limit { err(Errno::EFBIG) } else { Ok(()) }
}

/// truncate(2) of a place. `limit` is RLIMIT_FSIZE; on EFBIG the caller sends SIGXFSZ.
///
/// # Errors
/// EISDIR, EINVAL, EACCES, EPERM, EROFS, ETXTBSY, EFBIG, ENOSPC.
pub fn truncate(cred: &Cred, path: &Path, size: u64, limit: u64) -> Result<()> {
    let inode = path.inode();
    match inode.kind {
        FileType::Directory => return err(Errno::EISDIR),
        FileType::Regular => {}
        _ => return err(Errno::EINVAL),
    }
    want_write(path)?;
    permission(inode, cred, 2)?;
    let a = inode.ops.attr()?;
    if a.flags & (IMMUTABLE | APPEND) != 0 {
        return err(Errno::EPERM);
    }
    check_size(size, a.size, limit)?;
    inode.vfs.get_write()?;
    let r = do_truncate(inode, cred, size);
    inode.vfs.put_write();
    r?;
    notify(path, event::MODIFY);
    Ok(())
}

/// ftruncate(2).
///
/// # Errors
/// EINVAL if it is not a regular file open for writing; EPERM; EFBIG; ENOSPC.
pub fn ftruncate(file: &File, size: u64, limit: u64) -> Result<()> {
    let inode = file.inode();
    if inode.kind != FileType::Regular || !file.flags().writable() {
        return err(Errno::EINVAL);
    }
    if let Some(r) = file.ops.truncate(file, size) {
        return r;
    }
    let a = inode.ops.attr()?;
    if a.flags & (IMMUTABLE | APPEND) != 0 {
        return err(Errno::EPERM);
    }
    check_size(size, a.size, limit)?;
    do_truncate(inode, &file.cred, size)?;
    notify(&file.path, event::MODIFY);
    Ok(())
}

/// fallocate(2).
///
/// # Errors
/// EBADF; EINVAL; ESPIPE, ENODEV for what is no file; EFBIG; ENOSPC; EOPNOTSUPP; EPERM.
pub fn fallocate(file: &File, mode: u32, offset: u64, len: u64, limit: u64) -> Result<()> {
    const KEEP_SIZE: u32 = 1;
    const PUNCH_HOLE: u32 = 2;
    if !file.flags().writable() {
        return err(Errno::EBADF);
    }
    let inode = file.inode();
    match inode.kind {
        FileType::Regular => {}
        FileType::Fifo => return err(Errno::ESPIPE),
        FileType::Directory => return err(Errno::EISDIR),
        _ => return err(Errno::ENODEV),
    }
    if len == 0 {
        return err(Errno::EINVAL);
    }
    if mode & !0x7f != 0 || (mode & PUNCH_HOLE != 0 && mode & KEEP_SIZE == 0) {
        return err(Errno::EOPNOTSUPP);
    }
    let Some(end) = offset.checked_add(len).filter(|e| i64::try_from(*e).is_ok()) else {
        return err(Errno::EFBIG);
    };
    let _guard = inode.lock.lock();
    let a = inode.ops.attr()?;
    if a.flags & IMMUTABLE != 0 || (a.flags & APPEND != 0 && mode & !KEEP_SIZE != 0) {
        return err(Errno::EPERM);
    }
    if mode & KEEP_SIZE == 0 && end > a.size && end > limit {
        return err(Errno::EFBIG);
    }
    remove_privs(inode, &file.cred, a.perm)?;
    inode.ops.fallocate(mode, offset, len)?;
    inode.vfs.attr_changed();
    Ok(())
}

/// access(2), faccessat2(2): `mode` of R_OK 4, W_OK 2, X_OK 1 (0: it exists). With the real ids unless
/// `effective` (AT_EACCESS).
///
/// # Errors
/// EACCES; EROFS; EINVAL for other bits.
pub fn access(cred: &Cred, path: &Path, mode: u32, effective: bool) -> Result<()> {
    if mode & !7 != 0 {
        return err(Errno::EINVAL);
    }
    let inode = path.inode();
    if mode == 0 {
        return Ok(());
    }
    if mode & 1 != 0
        && inode.kind == FileType::Regular
        && path.mount.flags().contains(MountFlags::NOEXEC)
    {
        return err(Errno::EACCES);
    }
    if effective {
        permission(inode, cred, mode)?;
    } else {
        let mut real = cred.clone();
        real.fsuid = cred.uid;
        real.fsgid = cred.gid;
        // Without SECBIT_NO_SETUID_FIXUP a user who is not root has no capabilities here.
        if cred.securebits & 4 == 0 {
            real.effective = if cred.uid == 0 { cred.permitted } else { base::cred::CapSet::EMPTY };
        }
        permission(inode, &real, mode)?;
    }
    let special = !matches!(inode.kind, FileType::Regular | FileType::Directory);
    if mode & 2 != 0 && !special {
        want_write(path)?;
    }
    Ok(())
}

/// statfs(2): the numbers, and the ST_* flags of the mount.
///
/// # Errors
/// EIO.
pub fn statfs(path: &Path) -> Result<(StatFs, u64)> {
    let s = path.mount.sb().fs().statfs()?;
    let f = path.mount.flags();
    let mut st = u64::from((f & MountFlags::from_bits_truncate(0xc0f)).bits()) | 0x20;
    if path.mount.read_only() {
        st |= 1;
    }
    if f.contains(MountFlags::RELATIME) {
        st |= 4096;
    }
    if f.contains(MountFlags::NOSYMFOLLOW) {
        st |= 8192;
    }
    Ok((s, st))
}

/// fsync(2), fdatasync(2).
///
/// # Errors
/// EINVAL for what has no device; EIO; ENOSPC.
pub fn sync_file(file: &File, data_only: bool) -> Result<()> {
    file.ops.sync(file, data_only)
}

/// chdir(2) and fchdir(2) to a place that was looked up.
///
/// # Errors
/// ENOTDIR; EACCES.
pub fn chdir(ctx: &FsContext, cred: &Cred, to: Path) -> Result<()> {
    if to.inode().kind != FileType::Directory {
        return err(Errno::ENOTDIR);
    }
    permission(to.inode(), cred, 1)?;
    ctx.set_cwd(to);
    Ok(())
}

/// chroot(2) to a place that was looked up.
///
/// # Errors
/// ENOTDIR; EACCES; EPERM without CAP_SYS_CHROOT.
pub fn chroot(ctx: &FsContext, cred: &Cred, to: Path) -> Result<()> {
    if to.inode().kind != FileType::Directory {
        return err(Errno::ENOTDIR);
    }
    permission(to.inode(), cred, 1)?;
    if !cred.capable(Cap::SysChroot) {
        return err(Errno::EPERM);
    }
    ctx.set_root(to);
    Ok(())
}
