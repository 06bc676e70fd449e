//! open(2).

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use base::{Cred, Errno, Result, err};
use drivers::{DevNum, OpenInfo, Opener};

use super::create::{may_create, new_inode};
use super::{APPEND, IMMUTABLE, notify, owner_or_capable, want_write};
use crate::dentry::Dentry;
use crate::file::{File, FileOps, OpenFlags};
use crate::inode::{FileType, Inode};
use crate::mount::MountFlags;
use crate::path::{FsContext, Path};
use crate::special::{BlockOps, CharOps};
use crate::vfs::Vfs;
use crate::vfs_inode::event;
use crate::walk::{Last, LookupFlags, Walker};

/// How open(2) and openat2(2) open.
#[derive(Clone, Copy, Debug, Default)]
pub struct OpenHow {
    /// O_* flags.
    pub flags: OpenFlags,
    /// Mode of a new file; the umask is applied here.
    pub mode: u32,
    /// RESOLVE_* as lookup flags ([`LookupFlags::from_resolve`]).
    pub resolve: LookupFlags,
}

/// Checks combinations, and reduces O_PATH to the flags that it heeds.
fn sanitize(flags: OpenFlags) -> Result<OpenFlags> {
    if flags.contains(OpenFlags::PATH) {
        let keep =
            OpenFlags::PATH | OpenFlags::DIRECTORY | OpenFlags::NOFOLLOW | OpenFlags::CLOEXEC;
        return Ok(flags & keep);
    }
    if flags.tmpfile() {
        if !flags.contains(OpenFlags::DIRECTORY) || !flags.writable() {
            return err(Errno::EINVAL);
        }
        return Ok(flags);
    }
    if flags.contains(OpenFlags::CREAT | OpenFlags::DIRECTORY) {
        return err(Errno::EINVAL);
    }
    Ok(flags)
}

/// openat(2), openat2(2). `who` is the task, for devices; the new description keeps `cred`.
///
/// # Errors
/// open(2): ENOENT, EEXIST, EISDIR, ENOTDIR, ELOOP, EACCES, EPERM (O_NOATIME, append-only), EROFS,
/// ETXTBSY, ENXIO, ENODEV, EINVAL, ENOSPC; openat2(2): EXDEV, EAGAIN.
pub fn open(
    ctx: &FsContext,
    cred: &Arc<Cred>,
    who: &dyn Opener,
    base: Option<&Path>,
    name: &[u8],
    how: &OpenHow,
) -> Result<Arc<File>> {
    let flags = sanitize(how.flags)?;
    let mut look = how.resolve;
    if !flags.contains(OpenFlags::NOFOLLOW) {
        look |= LookupFlags::FOLLOW;
    }
    if flags.contains(OpenFlags::DIRECTORY) {
        look |= LookupFlags::DIRECTORY;
    }
    let walk = Walker::new(ctx, cred, base, name, look)?;
    let vfs = walk.vfs().clone();
    if flags.tmpfile() {
        let dir = walk.full(name)?;
        return open_tmpfile(&vfs, ctx, cred, &dir, flags, how.mode);
    }
    if !flags.contains(OpenFlags::CREAT) {
        let path = walk.full(name)?;
        return open_found(&vfs, cred, who, path, flags, false);
    }
    let (path, created) = create_or_find(walk, ctx, cred, name, flags, how.mode)?;
    open_found(&vfs, cred, who, path, flags, created)
}

/// Opens a place that was looked up: exec(2), magic links, name_to_handle.
///
/// # Errors
/// As [`open`].
pub fn open_path(
    ctx: &FsContext,
    cred: &Arc<Cred>,
    who: &dyn Opener,
    path: &Path,
    flags: OpenFlags,
) -> Result<Arc<File>> {
    let flags = sanitize(flags)?;
    open_found(ctx.ns().vfs(), cred, who, path.clone(), flags, false)
}

/// O_CREAT: the file of this name, made if it was not there.
fn create_or_find(
    mut walk: Walker<'_>,
    ctx: &FsContext,
    cred: &Cred,
    name: &[u8],
    flags: OpenFlags,
    mode: u32,
) -> Result<(Path, bool)> {
    let excl = flags.contains(OpenFlags::EXCL);
    let follow = !excl && !flags.contains(OpenFlags::NOFOLLOW);
    let mut text: Cow<'_, [u8]> = Cow::Borrowed(name);
    loop {
        let parent = walk.parent(text)?;
        if parent.slash {
            return err(Errno::EISDIR);
        }
        let Last::Name(last) = &parent.last else { return err(Errno::EISDIR) };
        let mut found = walk.at().dentry.child(last, false)?;
        if found.try_inode().is_none() {
            match create_locked(ctx, cred, &parent.dir, last, mode)? {
                (d, true) => return Ok((Path { mount: parent.dir.mount, dentry: d }, true)),
                (d, false) => found = d,
            }
        }
        if excl {
            return err(Errno::EEXIST);
        }
        match walk.enter_child(found, follow)? {
            None => return Ok((walk.at().clone(), false)),
            Some(link) => text = Cow::Owned(link),
        }
    }
}

/// Makes the file unless somebody else was faster; says whether it did.
fn create_locked(
    ctx: &FsContext,
    cred: &Cred,
    dir: &Path,
    name: &[u8],
    mode: u32,
) -> Result<(Arc<Dentry>, bool)> {
    let inode = dir.inode();
    let guard = inode.lock.lock();
    let found = dir.dentry.child_locked(name)?;
    if found.try_inode().is_some() {
        return Ok((found, false));
    }
    want_write(dir)?;
    may_create(cred, dir)?;
    let perm = mode & 0o7777 & !ctx.umask();
    let new = new_inode(cred, inode, FileType::Regular, perm, DevNum::default(), b"")?;
    let made = inode.ops.create(name, &new)?;
    let d = dir.dentry.add_child(name, Some(made));
    drop(guard);
    inode.vfs.notify(event::CREATE, 0, Some(name));
    Ok((d, true))
}

fn open_tmpfile(
    vfs: &Vfs,
    ctx: &FsContext,
    cred: &Arc<Cred>,
    dir: &Path,
    flags: OpenFlags,
    mode: u32,
) -> Result<Arc<File>> {
    want_write(dir)?;
    may_create(cred, dir)?;
    let d = dir.inode();
    let perm = mode & 0o7777 & !ctx.umask();
    let new = new_inode(cred, d, FileType::Regular, perm, DevNum::default(), b"")?;
    let inode = d.ops.create_unnamed(&new)?;
    inode.vfs.linkable.store(!flags.contains(OpenFlags::EXCL), Ordering::Release);
    let name = format!("#{}", inode.ino);
    let dentry = Dentry::unhashed(&dir.dentry, name.as_bytes(), inode);
    dentry.set_unlinked(true);
    let path = Path { mount: dir.mount.clone(), dentry };
    finish(vfs, cred, path, flags, vfs.regular_ops.clone())
}

/// What is left once the place is known: permissions, the operations, truncation.
fn open_found(
    vfs: &Arc<Vfs>,
    cred: &Arc<Cred>,
    who: &dyn Opener,
    path: Path,
    flags: OpenFlags,
    created: bool,
) -> Result<Arc<File>> {
    let inode = path.inode();
    let kind = inode.kind;
    if flags.contains(OpenFlags::DIRECTORY) && kind != FileType::Directory {
        return err(Errno::ENOTDIR);
    }
    if flags.contains(OpenFlags::PATH) {
        return Ok(File::new(vfs.path_ops.clone(), path, flags, cred.clone()));
    }
    match kind {
        FileType::Symlink => return err(Errno::ELOOP),
        FileType::Directory if flags.writable() || flags.contains(OpenFlags::CREAT) => {
            return err(Errno::EISDIR);
        }
        FileType::CharDevice | FileType::BlockDevice
            if path.mount.flags().contains(MountFlags::NODEV) =>
        {
            return err(Errno::EACCES);
        }
        _ => {}
    }
    let truncate = flags.contains(OpenFlags::TRUNC) && kind == FileType::Regular && !created;
    if !created {
        may_open(&path, cred, flags, truncate)?;
    }
    let ops = operations(vfs, inode, who, flags)?;
    let file = finish(vfs, cred, path, flags, ops)?;
    notify(&file.path, event::OPEN);
    if truncate {
        super::attr::do_truncate(file.inode(), cred, 0)?;
        notify(&file.path, event::MODIFY);
    }
    Ok(file)
}

fn may_open(path: &Path, cred: &Cred, flags: OpenFlags, truncate: bool) -> Result<()> {
    let inode = path.inode();
    let mut want = match flags.bits() & 3 {
        0 => 4,
        1 => 2,
        _ => 6,
    };
    if flags.contains(OpenFlags::TRUNC) {
        want |= 2;
    }
    if want & 2 != 0 && matches!(inode.kind, FileType::Regular | FileType::Directory) {
        want_write(path)?;
    }
    let a = inode.ops.attr()?;
    let dir = inode.kind == FileType::Directory;
    if !cred.may_access(want, a.uid, a.gid, a.perm, dir) {
        return err(Errno::EACCES);
    }
    if want & 2 != 0 && a.flags & IMMUTABLE != 0 {
        return err(Errno::EPERM);
    }
    if a.flags & APPEND != 0 && want & 2 != 0 && (truncate || !flags.contains(OpenFlags::APPEND)) {
        return err(Errno::EPERM);
    }
    if flags.contains(OpenFlags::NOATIME) && !owner_or_capable(cred, &a) {
        return err(Errno::EPERM);
    }
    Ok(())
}

/// The operations of an inode: its file system's own, else those of its type.
fn operations(
    vfs: &Arc<Vfs>,
    inode: &Arc<Inode>,
    who: &dyn Opener,
    flags: OpenFlags,
) -> Result<Arc<dyn FileOps>> {
    if let Some(ops) = inode.ops.open(inode, flags)? {
        return Ok(ops);
    }
    Ok(match inode.kind {
        FileType::Regular => vfs.regular_ops.clone(),
        FileType::Directory => vfs.dir_ops.clone(),
        FileType::Fifo => crate::pipe::open_fifo(inode, flags)?,
        FileType::CharDevice => {
            let info = OpenInfo {
                read: flags.readable(),
                write: flags.writable(),
                noctty: flags.contains(OpenFlags::NOCTTY),
                nonblock: flags.contains(OpenFlags::NONBLOCK),
            };
            let file = vfs.devices.chars.open(inode.rdev, info, who)?;
            Arc::new(CharOps::new(file, inode.rdev, vfs.memory.clone()))
        }
        FileType::BlockDevice => Arc::new(BlockOps::open(vfs, inode.rdev, flags)?),
        FileType::Socket | FileType::Symlink => return err(Errno::ENXIO),
    })
}

/// Counts a writer and makes the description.
fn finish(
    _vfs: &Vfs,
    cred: &Arc<Cred>,
    path: Path,
    flags: OpenFlags,
    ops: Arc<dyn FileOps>,
) -> Result<Arc<File>> {
    let counted = flags.writable() && path.inode().kind == FileType::Regular;
    if counted {
        path.inode().vfs.get_write()?;
    }
    Ok(File::counted(ops, path, flags, cred.clone(), counted))
}
