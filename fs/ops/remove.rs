//! unlink and rmdir.

use base::{Cred, Errno, Result, err};

use super::{may_remove, want_write};
use crate::inode::FileType;
use crate::path::{FsContext, Path};
use crate::vfs_inode::event;
use crate::walk::{Last, LookupFlags, Parent, lookup_parent};

/// unlinkat(2) without AT_REMOVEDIR.
///
/// # Errors
/// ENOENT, EISDIR, EACCES, EPERM (sticky directory, immutable), EBUSY (mount point), EROFS: unlink(2).
pub fn unlink(ctx: &FsContext, cred: &Cred, base: Option<&Path>, name: &[u8]) -> Result<()> {
    let Parent { dir, last, slash } = lookup_parent(ctx, cred, base, name, LookupFlags::empty())?;
    let Last::Name(name) = last else { return err(Errno::EISDIR) };
    let dir_inode = dir.inode().clone();
    let guard = dir_inode.lock.lock();
    let victim = dir.dentry.child_locked(&name)?;
    let Some(inode) = victim.try_inode() else { return err(Errno::ENOENT) };
    let is_dir = inode.kind == FileType::Directory;
    if slash {
        return err(if is_dir { Errno::EISDIR } else { Errno::ENOTDIR });
    }
    want_write(&dir)?;
    may_remove(cred, &dir, inode)?;
    if is_dir {
        return err(Errno::EISDIR);
    }
    if victim.is_mountpoint() {
        return err(Errno::EBUSY);
    }
    dir_inode.ops.unlink(&name, inode)?;
    victim.unlink();
    drop(guard);
    if crate::vfs_inode::any_watchers() {
        let gone = inode.ops.attr().is_ok_and(|a| a.nlink == 0);
        inode.vfs.notify(if gone { event::DELETE_SELF } else { event::ATTRIB }, 0, None);
        dir_inode.vfs.notify(event::DELETE, 0, Some(&name));
    }
    Ok(())
}

/// rmdir(2); unlinkat(2) with AT_REMOVEDIR.
///
/// # Errors
/// ENOTEMPTY, ENOTDIR, EINVAL (`.`), EBUSY (mount point, root), EACCES, EPERM, EROFS: rmdir(2).
pub fn rmdir(ctx: &FsContext, cred: &Cred, base: Option<&Path>, name: &[u8]) -> Result<()> {
    let Parent { dir, last, .. } = lookup_parent(ctx, cred, base, name, LookupFlags::empty())?;
    let name = match last {
        Last::Name(n) => n,
        Last::Dot => return err(Errno::EINVAL),
        Last::DotDot => return err(Errno::ENOTEMPTY),
        Last::Root => return err(Errno::EBUSY),
    };
    let dir_inode = dir.inode().clone();
    let guard = dir_inode.lock.lock();
    let victim = dir.dentry.child_locked(&name)?;
    let Some(inode) = victim.try_inode() else { return err(Errno::ENOENT) };
    want_write(&dir)?;
    may_remove(cred, &dir, inode)?;
    if inode.kind != FileType::Directory {
        return err(Errno::ENOTDIR);
    }
    if victim.is_mountpoint() {
        return err(Errno::EBUSY);
    }
    // Nobody makes a name in it between the check that it is empty and its end.
    let inner = inode.lock.lock();
    dir_inode.ops.rmdir(&name, inode)?;
    victim.unlink();
    drop(inner);
    drop(guard);
    inode.vfs.notify(event::DELETE_SELF, 0, None);
    dir_inode.vfs.notify(event::DELETE | event::ISDIR, 0, Some(&name));
    Ok(())
}
