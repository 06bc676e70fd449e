//! The operations behind the file system calls. Each takes what it needs of the caller.
//! A `base` is the directory descriptor's path (None: AT_FDCWD). `*_path`less names are looked up here.
use std::sync::Arc;

use base::{Cred, Errno, Result, Timestamp, err};
use drivers::{DevNum, Opener};

use crate::file::{File, OpenFlags};
use crate::inode::{Attr, FileType, RenameFlags, StatFs};
use crate::path::{FsContext, Path};
use crate::walk::LookupFlags;

/// How open(2) and openat2(2) open.
#[derive(Clone, Copy, Debug, Default)]
pub struct OpenHow {
    /// O_* flags.
    pub flags: OpenFlags,
    /// Mode of a new file; the umask is applied here.
    pub mode: u32,
    /// RESOLVE_* as lookup flags.
    pub resolve: LookupFlags,
}

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

/// open(2).
///
/// # Errors
/// open(2).
pub fn open(
    _ctx: &FsContext,
    _cred: &Arc<Cred>,
    _who: &dyn Opener,
    _base: Option<&Path>,
    _name: &[u8],
    _how: &OpenHow,
) -> Result<Arc<File>> {
    err(Errno::ENOSYS)
}
/// Opens a place that was looked up (exec, magic links).
///
/// # Errors
/// open(2).
pub fn open_path(
    _ctx: &FsContext,
    _cred: &Arc<Cred>,
    _who: &dyn Opener,
    _path: &Path,
    _flags: OpenFlags,
) -> Result<Arc<File>> {
    err(Errno::ENOSYS)
}
/// mkdirat(2). `mode` before umask.
///
/// # Errors
/// mkdir(2).
pub fn mkdir(
    _ctx: &FsContext,
    _cred: &Cred,
    _base: Option<&Path>,
    _name: &[u8],
    _mode: u32,
) -> Result<()> {
    err(Errno::ENOSYS)
}
/// mknodat(2); returns the new place (AF_UNIX bind uses it with `FileType::Socket`).
///
/// # Errors
/// mknod(2).
pub fn mknod(
    _ctx: &FsContext,
    _cred: &Cred,
    _base: Option<&Path>,
    _name: &[u8],
    _kind: FileType,
    _mode: u32,
    _dev: DevNum,
) -> Result<Path> {
    err(Errno::ENOSYS)
}
/// symlinkat(2).
///
/// # Errors
/// symlink(2).
pub fn symlink(
    _ctx: &FsContext,
    _cred: &Cred,
    _target: &[u8],
    _base: Option<&Path>,
    _name: &[u8],
) -> Result<()> {
    err(Errno::ENOSYS)
}
/// linkat(2): `old` was looked up (with FOLLOW for AT_SYMLINK_FOLLOW, EMPTY for AT_EMPTY_PATH).
///
/// # Errors
/// link(2).
pub fn link(
    _ctx: &FsContext,
    _cred: &Cred,
    _old: &Path,
    _base: Option<&Path>,
    _name: &[u8],
) -> Result<()> {
    err(Errno::ENOSYS)
}
/// unlinkat(2) without AT_REMOVEDIR.
///
/// # Errors
/// unlink(2).
pub fn unlink(_ctx: &FsContext, _cred: &Cred, _base: Option<&Path>, _name: &[u8]) -> Result<()> {
    err(Errno::ENOSYS)
}
/// rmdir(2), unlinkat(2) with AT_REMOVEDIR.
///
/// # Errors
/// rmdir(2).
pub fn rmdir(_ctx: &FsContext, _cred: &Cred, _base: Option<&Path>, _name: &[u8]) -> Result<()> {
    err(Errno::ENOSYS)
}
/// renameat2(2).
///
/// # Errors
/// rename(2).
pub fn rename(
    _ctx: &FsContext,
    _cred: &Cred,
    _old_base: Option<&Path>,
    _old: &[u8],
    _new_base: Option<&Path>,
    _new: &[u8],
    _flags: RenameFlags,
) -> Result<()> {
    err(Errno::ENOSYS)
}
/// readlink(2) of a place that was looked up without FOLLOW. `ctx` for the names of magic links.
///
/// # Errors
/// EINVAL if it is no link; EACCES.
pub fn readlink(_ctx: &FsContext, _path: &Path) -> Result<Vec<u8>> {
    err(Errno::ENOSYS)
}
/// stat(2) of a place.
///
/// # Errors
/// EIO.
pub fn stat(_path: &Path) -> Result<Attr> {
    err(Errno::ENOSYS)
}
/// chmod(2).
///
/// # Errors
/// EPERM, EROFS.
pub fn chmod(_cred: &Cred, _path: &Path, _mode: u32) -> Result<()> {
    err(Errno::ENOSYS)
}
/// chown(2); None leaves an id.
///
/// # Errors
/// EPERM, EROFS.
pub fn chown(_cred: &Cred, _path: &Path, _uid: Option<u32>, _gid: Option<u32>) -> Result<()> {
    err(Errno::ENOSYS)
}
/// utimensat(2).
///
/// # Errors
/// EACCES, EPERM, EROFS.
pub fn utimens(_cred: &Cred, _path: &Path, _atime: SetTime, _mtime: SetTime) -> Result<()> {
    err(Errno::ENOSYS)
}
/// truncate(2) by place. `limit`: RLIMIT_FSIZE.
///
/// # Errors
/// EACCES, EISDIR, EINVAL, EFBIG, ETXTBSY, EROFS.
pub fn truncate(_cred: &Cred, _path: &Path, _size: u64, _limit: u64) -> Result<()> {
    err(Errno::ENOSYS)
}
/// ftruncate(2).
///
/// # Errors
/// EINVAL, EFBIG.
pub fn ftruncate(_file: &File, _size: u64, _limit: u64) -> Result<()> {
    err(Errno::ENOSYS)
}
/// fallocate(2).
///
/// # Errors
/// fallocate(2).
pub fn fallocate(_file: &File, _mode: u32, _offset: u64, _len: u64, _limit: u64) -> Result<()> {
    err(Errno::ENOSYS)
}
/// access(2), faccessat2(2) on a place; `mode` R_OK 4, W_OK 2, X_OK 1. Real ids unless `effective`.
///
/// # Errors
/// EACCES, EROFS.
pub fn access(_cred: &Cred, _path: &Path, _mode: u32, _effective: bool) -> Result<()> {
    err(Errno::ENOSYS)
}
/// statfs(2); the mount's ST_* flags come with it.
///
/// # Errors
/// EIO.
pub fn statfs(_path: &Path) -> Result<(StatFs, u64)> {
    err(Errno::ENOSYS)
}
/// getxattr(2).
///
/// # Errors
/// ENODATA, EOPNOTSUPP, EACCES.
pub fn getxattr(_cred: &Cred, _path: &Path, _name: &[u8]) -> Result<Vec<u8>> {
    err(Errno::ENOSYS)
}
/// setxattr(2), removexattr(2) (None). `flags`: XATTR_CREATE 1, XATTR_REPLACE 2.
///
/// # Errors
/// setxattr(2).
pub fn setxattr(
    _cred: &Cred,
    _path: &Path,
    _name: &[u8],
    _value: Option<&[u8]>,
    _flags: u32,
) -> Result<()> {
    err(Errno::ENOSYS)
}
/// listxattr(2): names, each followed by NUL.
///
/// # Errors
/// EOPNOTSUPP.
pub fn listxattr(_cred: &Cred, _path: &Path) -> Result<Vec<u8>> {
    err(Errno::ENOSYS)
}
/// chdir(2), fchdir(2) to a place that was looked up.
///
/// # Errors
/// ENOTDIR, EACCES.
pub fn chdir(_ctx: &FsContext, _cred: &Cred, _to: Path) -> Result<()> {
    err(Errno::ENOSYS)
}
/// chroot(2).
///
/// # Errors
/// ENOTDIR, EACCES, EPERM.
pub fn chroot(_ctx: &FsContext, _cred: &Cred, _to: Path) -> Result<()> {
    err(Errno::ENOSYS)
}
/// mount(2), all forms, by `flags` (MS_*).
///
/// # Errors
/// mount(2).
pub fn mount(
    _ctx: &FsContext,
    _cred: &Cred,
    _source: &[u8],
    _target: &[u8],
    _fstype: &[u8],
    _flags: u64,
    _data: &[u8],
) -> Result<()> {
    err(Errno::ENOSYS)
}
/// umount2(2). `flags`: MNT_FORCE 1, MNT_DETACH 2, MNT_EXPIRE 4, UMOUNT_NOFOLLOW 8.
///
/// # Errors
/// umount(2).
pub fn umount(_ctx: &FsContext, _cred: &Cred, _target: &[u8], _flags: u32) -> Result<()> {
    err(Errno::ENOSYS)
}
/// pivot_root(2); returns the old and the new root: the kernel calls `FsContext::replace` for every task.
///
/// # Errors
/// pivot_root(2).
pub fn pivot_root(
    _ctx: &FsContext,
    _cred: &Cred,
    _new: &[u8],
    _old: &[u8],
) -> Result<(Path, Path)> {
    err(Errno::ENOSYS)
}
