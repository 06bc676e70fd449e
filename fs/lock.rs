//! Advisory locks.
use crate::file::File;
use crate::vfs::Vfs;
use base::{Errno, Result, err};
use std::sync::Arc;
/// Locks of one inode.
#[derive(Debug, Default)]
pub struct FileLocks {}
impl FileLocks {
    pub(crate) fn release_process(&self, _table: u64) {}
    pub(crate) fn release_file(&self, _file: u64) {}
}
/// The kind of a lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LockType {
    /// Shared.
    Read,
    /// Exclusive.
    Write,
}
/// Who owns a byte-range lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Owner {
    /// POSIX (F_SETLK): a descriptor table (`FdTable::id`) and the process id for F_GETLK.
    Process {
        /// FdTable::id.
        table: u64,
        /// The process.
        pid: u32,
    },
    /// OFD (F_OFD_SETLK): the open file description.
    File,
}
/// A byte range, `end` inclusive (u64::MAX >> 1 for "to the end").
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Range {
    /// First byte.
    pub start: u64,
    /// Last byte.
    pub end: u64,
}
/// What F_GETLK finds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Conflict {
    /// Kind.
    pub kind: LockType,
    /// Range.
    pub range: Range,
    /// Process, or -1 for an OFD lock.
    pub pid: i32,
}
/// flock(2): None unlocks.
///
/// # Errors
/// EWOULDBLOCK without `wait`; ERESTARTSYS.
pub fn flock(_file: &Arc<File>, _pid: u32, _kind: Option<LockType>, _wait: bool) -> Result<()> {
    err(Errno::ENOSYS)
}
/// fcntl(2) F_SETLK, F_SETLKW, F_OFD_SETLK(W): None unlocks.
///
/// # Errors
/// EAGAIN without `wait`; EDEADLK; ERESTARTSYS; EBADF for the wrong access mode; ENOLCK.
pub fn set(
    _file: &Arc<File>,
    _owner: Owner,
    _kind: Option<LockType>,
    _range: Range,
    _wait: bool,
) -> Result<()> {
    err(Errno::ENOSYS)
}
/// F_GETLK, F_OFD_GETLK: the first lock that conflicts.
///
/// # Errors
/// EBADF.
pub fn get(
    _file: &Arc<File>,
    _owner: Owner,
    _kind: LockType,
    _range: Range,
) -> Result<Option<Conflict>> {
    err(Errno::ENOSYS)
}
/// The lines of /proc/locks.
pub fn list(_vfs: &Vfs) -> String {
    String::new()
}
