//! mkdir, mknod, symlink, link: new names.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use base::limits::PATH_MAX;
use base::{Cap, Cred, Errno, Result, err};
use drivers::DevNum;

use super::{APPEND, IMMUTABLE, want_write};
use crate::inode::{FileType, Inode, NewInode};
use crate::path::{FsContext, Path};
use crate::vfs_inode::event;
use crate::walk::{Last, LookupFlags, Parent, lookup_parent, permission};

/// Owner, group and mode of a new inode in `dir` (inode(7): set-group-ID directories).
pub(super) fn new_inode<'a>(
    cred: &Cred,
    dir: &Inode,
    kind: FileType,
    perm: u32,
    rdev: DevNum,
    target: &'a [u8],
) -> Result<NewInode<'a>> {
    let d = dir.ops.attr()?;
    let (mut gid, mut perm) = (cred.fsgid, perm);
    if d.perm & 0o2000 != 0 {
        gid = d.gid;
        if kind == FileType::Directory {
            perm |= 0o2000;
        } else if perm & 0o2010 == 0o2010 && !cred.in_group(gid) && !cred.capable(Cap::Fsetid) {
            perm &= !0o2000;
        }
    }
    Ok(NewInode { kind, perm, uid: cred.fsuid, gid, rdev, target })
}

/// Whether the caller may make a name in `dir`.
pub(super) fn may_create(cred: &Cred, dir: &Path) -> Result<()> {
    if dir.dentry.is_unlinked() {
        return err(Errno::ENOENT);
    }
    permission(dir.inode(), cred, 3)?;
    if dir.inode().ops.attr()?.flags & IMMUTABLE != 0 { err(Errno::EPERM) } else { Ok(()) }
}

/// What all four share: finds the directory, checks that the name is free, calls `make` under the
/// directory's lock, and enters the new inode into the dentry cache.
fn create(
    ctx: &FsContext,
    cred: &Cred,
    base: Option<&Path>,
    name: &[u8],
    is_dir: bool,
    make: impl FnOnce(&Path, &[u8]) -> Result<Arc<Inode>>,
) -> Result<Path> {
    let Parent { dir, last, slash } = lookup_parent(ctx, cred, base, name, LookupFlags::empty())?;
    let Last::Name(name) = last else { return err(Errno::EEXIST) };
    let inode = dir.inode().clone();
    let guard = inode.lock.lock();
    let found = dir.dentry.child_locked(&name)?;
    if found.try_inode().is_some() {
        return err(Errno::EEXIST);
    }
    if slash && !is_dir {
        return err(Errno::ENOENT);
    }
    want_write(&dir)?;
    may_create(cred, &dir)?;
    let new = make(&dir, &name)?;
    let dentry = dir.dentry.add_child(&name, Some(new));
    drop(guard);
    let bit = if is_dir { event::ISDIR } else { 0 };
    inode.vfs.notify(event::CREATE | bit, 0, Some(&name));
    Ok(Path { mount: dir.mount, dentry })
}

/// mkdirat(2). `mode` is the caller's; the umask is applied here.
///
/// # Errors
/// EEXIST, ENOENT, ENOTDIR, EACCES, EROFS, ENOSPC, EMLINK, ENAMETOOLONG, ELOOP: mkdir(2).
pub fn mkdir(
    ctx: &FsContext,
    cred: &Cred,
    base: Option<&Path>,
    name: &[u8],
    mode: u32,
) -> Result<()> {
    let perm = mode & 0o1777 & !ctx.umask();
    create(ctx, cred, base, name, true, |dir, name| {
        let d = dir.inode();
        let new = new_inode(cred, d, FileType::Directory, perm, DevNum::default(), b"")?;
        d.ops.create(name, &new)
    })?;
    Ok(())
}

/// mknodat(2), for any type but directories and links; returns the new place (bind(2) of AF_UNIX
/// uses it with `FileType::Socket`). The umask is applied here.
///
/// # Errors
/// EPERM for devices without CAP_MKNOD (a 0:0 character device, a whiteout, needs none) and for
/// directories; otherwise as [`mkdir`].
pub fn mknod(
    ctx: &FsContext,
    cred: &Cred,
    base: Option<&Path>,
    name: &[u8],
    kind: FileType,
    mode: u32,
    dev: DevNum,
) -> Result<Path> {
    let perm = mode & 0o7777 & !ctx.umask();
    let whiteout = kind == FileType::CharDevice && dev == DevNum::default();
    match kind {
        FileType::Directory | FileType::Symlink => return err(Errno::EPERM),
        _ => {}
    }
    let device = matches!(kind, FileType::CharDevice | FileType::BlockDevice) && !whiteout;
    create(ctx, cred, base, name, false, |dir, name| {
        // After the directory's own refusals, as Linux orders them.
        if device && !cred.capable(Cap::Mknod) {
            return err(Errno::EPERM);
        }
        let d = dir.inode();
        d.ops.create(name, &new_inode(cred, d, kind, perm, dev, b"")?)
    })
}

/// symlinkat(2).
///
/// # Errors
/// ENOENT for an empty target; ENAMETOOLONG; otherwise as [`mkdir`].
pub fn symlink(
    ctx: &FsContext,
    cred: &Cred,
    target: &[u8],
    base: Option<&Path>,
    name: &[u8],
) -> Result<()> {
    if target.is_empty() {
        return err(Errno::ENOENT);
    }
    if target.len() >= PATH_MAX {
        return err(Errno::ENAMETOOLONG);
    }
    create(ctx, cred, base, name, false, |dir, name| {
        let d = dir.inode();
        let new = new_inode(cred, d, FileType::Symlink, 0o777, DevNum::default(), target)?;
        d.ops.create(name, &new)
    })?;
    Ok(())
}

/// linkat(2). `old` was looked up: with FOLLOW for AT_SYMLINK_FOLLOW; for AT_EMPTY_PATH it is the
/// descriptor's path (whether the caller may use that flag, CAP_DAC_READ_SEARCH, is the caller's
/// check). An O_TMPFILE file gets its first name this way.
///
/// # Errors
/// EXDEV; EPERM for directories, immutable and append-only files; ENOENT if `old` has no name any
/// more; EEXIST; EMLINK; otherwise as [`mkdir`].
pub fn link(
    ctx: &FsContext,
    cred: &Cred,
    old: &Path,
    base: Option<&Path>,
    name: &[u8],
) -> Result<()> {
    create(ctx, cred, base, name, false, |dir, name| {
        if !Arc::ptr_eq(&dir.mount, &old.mount) {
            return err(Errno::EXDEV);
        }
        let inode = old.inode();
        let a = inode.ops.attr()?;
        if inode.kind == FileType::Directory || a.flags & (IMMUTABLE | APPEND) != 0 {
            return err(Errno::EPERM);
        }
        // The directory's lock is held, and that of a file comes after it.
        let _file = inode.lock.lock();
        if a.nlink == 0 && !inode.vfs.linkable.swap(false, Ordering::AcqRel) {
            return err(Errno::ENOENT);
        }
        let r = dir.inode().ops.link(name, inode);
        if r.is_err() && a.nlink == 0 {
            inode.vfs.linkable.store(true, Ordering::Release);
        }
        r?;
        inode.vfs.notify(event::ATTRIB, 0, None);
        Ok(inode.clone())
    })?;
    Ok(())
}
