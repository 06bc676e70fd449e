//! The operations behind the file system calls, one family a file. Each takes what it needs of the
//! caller: its [`FsContext`](crate::FsContext), its credentials. A `base` is the path of the
//! directory descriptor (None: AT_FDCWD); operations on what is there already take the [`Path`] that
//! [`lookup`](crate::lookup) found, or that of an open file (`file.path`).

mod attr;
mod create;
mod mount;
mod open;
mod remove;
mod rename;
mod xattr;

use base::{Cap, Cred, Errno, Result, Timestamp, err};

use crate::inode::{Attr, FileType, Inode};
use crate::path::Path;
use crate::vfs_inode::event;
use crate::walk::permission;

pub use attr::{
    SetTime, access, chdir, chmod, chown, chroot, fallocate, ftruncate, readlink, remove_privs,
    stat, statfs, sync_file, truncate, utimens,
};
pub use create::{link, mkdir, mknod, symlink};
pub use mount::{mount, pivot_root, umount};
pub use open::{OpenHow, open, open_path};
pub use remove::{rmdir, unlink};
pub use rename::rename;
pub use xattr::{getxattr, listxattr, setxattr};

/// STATX_ATTR_IMMUTABLE.
pub(crate) const IMMUTABLE: u64 = 0x10;
/// STATX_ATTR_APPEND.
pub(crate) const APPEND: u64 = 0x20;

/// The time for inode stamps.
pub(crate) fn now() -> Timestamp {
    arch::clock::realtime()
}

/// EROFS if the mount or the file system refuses writes.
pub(crate) fn want_write(at: &Path) -> Result<()> {
    if at.mount.read_only() { err(Errno::EROFS) } else { Ok(()) }
}

/// Whether the caller owns the inode or may act as if.
pub(crate) fn owner_or_capable(cred: &Cred, a: &Attr) -> bool {
    cred.fsuid == a.uid || cred.capable(Cap::Fowner)
}

/// Whether the caller may take `victim` out of `dir`, whose lock it holds (path_resolution(7), sticky
/// directories).
pub(crate) fn may_remove(cred: &Cred, dir: &Path, victim: &Inode) -> Result<()> {
    permission(dir.inode(), cred, 3)?;
    let d = dir.inode().ops.attr()?;
    let v = victim.ops.attr()?;
    let sticky = d.perm & 0o1000 != 0
        && cred.fsuid != v.uid
        && cred.fsuid != d.uid
        && !cred.capable(Cap::Fowner);
    if sticky || d.flags & APPEND != 0 || v.flags & (IMMUTABLE | APPEND) != 0 {
        return err(Errno::EPERM);
    }
    Ok(())
}

/// An event on the inode at `path`, which its directory's watchers see, too.
pub(crate) fn notify(path: &Path, mask: u32) {
    if !crate::vfs_inode::any_watchers() {
        return;
    }
    let inode = path.inode();
    let dir_bit = if inode.kind == FileType::Directory { event::ISDIR } else { 0 };
    inode.vfs.notify(mask | dir_bit, 0, None);
    if let (Some(p), name) = path.dentry.parent_and_name()
        && let Some(dir) = p.try_inode()
    {
        dir.vfs.notify(mask | dir_bit, 0, Some(&name));
    }
}
