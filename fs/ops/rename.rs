//! renameat2(2).
//!
//! Locks, in this order: the file system's rename lock (only for two different directories: while it
//! is held no directory changes its parent), the directories (an ancestor before its descendant, else
//! by address), a directory that is to be replaced.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use base::{Cap, Cred, Errno, Result, err};

use super::create::may_create;
use super::{may_remove, want_write};
use crate::dentry::Dentry;
use crate::inode::{FileType, RenameFlags};
use crate::path::{FsContext, Path};
use crate::vfs_inode::event;
use crate::walk::{Last, LookupFlags, lookup_parent, permission};

/// renameat2(2).
///
/// # Errors
/// ENOENT, EXDEV (another mount), EINVAL (into itself; flags), ENOTEMPTY, EEXIST (NOREPLACE),
/// EISDIR, ENOTDIR, EBUSY (mount point, `.`, `..`), EACCES, EPERM, EROFS, ENOSPC: rename(2).
pub fn rename(
    ctx: &FsContext,
    cred: &Cred,
    old_base: Option<&Path>,
    old_name: &[u8],
    new_base: Option<&Path>,
    new_name: &[u8],
    flags: RenameFlags,
) -> Result<()> {
    let exchange = flags.contains(RenameFlags::EXCHANGE);
    if exchange && flags.intersects(RenameFlags::NOREPLACE | RenameFlags::WHITEOUT)
        || flags.bits() & !7 != 0
    {
        return err(Errno::EINVAL);
    }
    if flags.contains(RenameFlags::WHITEOUT) && !cred.capable(Cap::Mknod) {
        return err(Errno::EPERM);
    }
    let old = lookup_parent(ctx, cred, old_base, old_name, LookupFlags::empty())?;
    let new = lookup_parent(ctx, cred, new_base, new_name, LookupFlags::empty())?;
    if !Arc::ptr_eq(&old.dir.mount, &new.dir.mount) {
        return err(Errno::EXDEV);
    }
    let Last::Name(old_name) = &old.last else { return err(Errno::EBUSY) };
    let Last::Name(new_name) = &new.last else {
        let no = flags.contains(RenameFlags::NOREPLACE);
        return err(if no { Errno::EEXIST } else { Errno::EBUSY });
    };
    want_write(&old.dir)?;

    let (from, to) = (old.dir.dentry.clone(), new.dir.dentry.clone());
    let same_dir = Arc::ptr_eq(&from, &to);
    let sb = from.sb().clone();
    let tree = if same_dir { None } else { Some(sb.rename.lock()) };
    let (i1, i2) = (from.inode().clone(), to.inode().clone());
    let from_first = !same_dir && {
        if to.is_below(&from) {
            true
        } else if from.is_below(&to) {
            false
        } else {
            Arc::as_ptr(&i1) < Arc::as_ptr(&i2)
        }
    };
    let (first, second) = if from_first || same_dir { (&i1, &i2) } else { (&i2, &i1) };
    let guard1 = first.lock.lock();
    let guard2 = if same_dir { None } else { Some(second.lock.lock()) };

    let source = from.child_locked(old_name)?;
    let Some(moved) = source.try_inode() else { return err(Errno::ENOENT) };
    let target = to.child_locked(new_name)?;
    let replaced = target.try_inode();
    let is_dir = moved.kind == FileType::Directory;
    if flags.contains(RenameFlags::NOREPLACE) && replaced.is_some() {
        return err(Errno::EEXIST);
    }
    if exchange {
        let Some(other) = replaced else { return err(Errno::ENOENT) };
        if new.slash && other.kind != FileType::Directory {
            return err(Errno::ENOTDIR);
        }
    }
    if !is_dir && (old.slash || (new.slash && !exchange)) {
        return err(Errno::ENOTDIR);
    }
    if to.is_below(&source) {
        return err(Errno::EINVAL);
    }
    if replaced.is_some() && from.is_below(&target) {
        return err(if exchange { Errno::EINVAL } else { Errno::ENOTEMPTY });
    }
    if replaced.is_some_and(|r| Arc::ptr_eq(r, moved)) {
        return Ok(()); // two names of one file: nothing to do (rename(2))
    }
    may_remove(cred, &old.dir, moved)?;
    match replaced {
        None => may_create(cred, &new.dir)?,
        Some(r) => {
            may_remove(cred, &new.dir, r)?;
            let r_dir = r.kind == FileType::Directory;
            if !exchange && is_dir && !r_dir {
                return err(Errno::ENOTDIR);
            }
            if !exchange && !is_dir && r_dir {
                return err(Errno::EISDIR);
            }
            if exchange && r_dir && !same_dir {
                permission(r, cred, 2)?;
            }
        }
    }
    if is_dir && !same_dir {
        permission(moved, cred, 2)?; // its `..` changes
    }
    if source.is_mountpoint() || target.is_mountpoint() {
        return err(Errno::EBUSY);
    }
    let victim_dir = replaced.filter(|r| !exchange && r.kind == FileType::Directory);
    let guard3 = victim_dir.map(|r| r.lock.lock());
    i1.ops.rename(
        old_name,
        moved,
        &i2,
        new_name,
        replaced.map(|r| &**r),
        flags & (RenameFlags::EXCHANGE | RenameFlags::WHITEOUT),
    )?;
    if exchange {
        Dentry::exchanged(&source, &target);
    } else {
        if replaced.is_some() {
            target.unlink();
        }
        source.moved(&to, new_name);
    }
    drop((guard3, guard2, guard1, tree));

    if crate::vfs_inode::any_watchers() {
        static COOKIE: AtomicU32 = AtomicU32::new(1);
        let cookie = COOKIE.fetch_add(1, Ordering::Relaxed);
        let bit = if is_dir { event::ISDIR } else { 0 };
        i1.vfs.notify(event::MOVED_FROM | bit, cookie, Some(old_name));
        i2.vfs.notify(event::MOVED_TO | bit, cookie, Some(new_name));
        moved.vfs.notify(event::MOVE_SELF, 0, None);
        if let Some(r) = replaced.filter(|_| !exchange) {
            r.vfs.notify(event::DELETE_SELF, 0, None);
        }
    }
    Ok(())
}
