//! Extended attributes: `man 7 xattr`. Who may touch which namespace is decided here; file systems
//! store what they are told.

use base::{Cap, Cred, Errno, Result, err};

use super::{notify, now, owner_or_capable, want_write};
use crate::inode::{FileType, SetAttr};
use crate::path::Path;
use crate::vfs_inode::event;
use crate::walk::permission;

fn check(cred: &Cred, path: &Path, name: &[u8], write: bool) -> Result<()> {
    if name.is_empty() || name.len() > 255 {
        return err(Errno::ERANGE);
    }
    let inode = path.inode();
    if write {
        want_write(path)?;
        let a = inode.ops.attr()?;
        if a.flags & (super::IMMUTABLE | super::APPEND) != 0 {
            return err(Errno::EPERM);
        }
    }
    if name.starts_with(b"trusted.") {
        let ok = cred.capable(Cap::SysAdmin);
        return match (ok, write) {
            (true, _) => Ok(()),
            (false, true) => err(Errno::EPERM),
            (false, false) => err(Errno::ENODATA),
        };
    }
    if name.starts_with(b"security.") {
        let cap = if name == b"security.capability" { Cap::Setfcap } else { Cap::SysAdmin };
        return if write && !cred.capable(cap) { err(Errno::EPERM) } else { Ok(()) };
    }
    if name.starts_with(b"user.") {
        let dir = inode.kind == FileType::Directory;
        if !dir && inode.kind != FileType::Regular {
            return err(if write { Errno::EPERM } else { Errno::ENODATA });
        }
        if write && dir {
            let a = inode.ops.attr()?;
            if a.perm & 0o1000 != 0 && !owner_or_capable(cred, &a) {
                return err(Errno::EPERM);
            }
        }
        return permission(inode, cred, if write { 2 } else { 4 });
    }
    err(Errno::EOPNOTSUPP)
}

/// getxattr(2): the value.
///
/// # Errors
/// ENODATA; EOPNOTSUPP; EACCES; ERANGE for an impossible name.
pub fn getxattr(cred: &Cred, path: &Path, name: &[u8]) -> Result<Vec<u8>> {
    check(cred, path, name, false)?;
    path.inode().ops.get_xattr(name)
}

/// setxattr(2), removexattr(2) (None). `flags`: XATTR_CREATE 1, XATTR_REPLACE 2.
///
/// # Errors
/// EEXIST, ENODATA, E2BIG, ENOSPC, EPERM, EACCES, EROFS, EOPNOTSUPP, EINVAL: setxattr(2).
pub fn setxattr(
    cred: &Cred,
    path: &Path,
    name: &[u8],
    value: Option<&[u8]>,
    flags: u32,
) -> Result<()> {
    if flags & !3 != 0 {
        return err(Errno::EINVAL);
    }
    if value.is_some_and(|v| v.len() > 65536) {
        return err(Errno::E2BIG);
    }
    check(cred, path, name, true)?;
    let inode = path.inode();
    {
        let _guard = inode.lock.lock();
        let flags = if value.is_none() { 2 } else { flags };
        inode.ops.set_xattr(name, value, flags)?;
        // Where the file system keeps no ctime that is no reason to fail.
        let _ = inode.ops.set_attr(&SetAttr { ctime: Some(now()), ..SetAttr::default() });
    }
    notify(path, event::ATTRIB);
    Ok(())
}

/// listxattr(2): names, each followed by NUL. `trusted.` ones are shown to CAP_SYS_ADMIN only.
///
/// # Errors
/// EOPNOTSUPP; EIO.
pub fn listxattr(cred: &Cred, path: &Path) -> Result<Vec<u8>> {
    let all = path.inode().ops.list_xattr()?;
    if cred.capable(Cap::SysAdmin) {
        return Ok(all);
    }
    let names = all.split_inclusive(|b| *b == 0).filter(|n| !n.starts_with(b"trusted."));
    Ok(names.flatten().copied().collect())
}
