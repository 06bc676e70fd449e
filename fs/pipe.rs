//! Pipes.
use crate::file::{File, OpenFlags};
use crate::vfs::Vfs;
use base::{Cred, Errno, Result, err};
use std::sync::Arc;
/// A pipe.
#[derive(Debug)]
pub struct Pipe {}
/// pipe2(2): the reading and the writing end. `flags` of NONBLOCK, DIRECT (EINVAL).
///
/// # Errors
/// ENFILE; EINVAL.
pub fn pipe(_vfs: &Vfs, _cred: &Arc<Cred>, _flags: OpenFlags) -> Result<(Arc<File>, Arc<File>)> {
    err(Errno::ENOSYS)
}
/// F_GETPIPE_SZ.
///
/// # Errors
/// EBADF if it is no pipe.
pub fn get_size(_file: &File) -> Result<usize> {
    err(Errno::ENOSYS)
}
/// F_SETPIPE_SZ; returns the size that it has now.
///
/// # Errors
/// EBADF if it is no pipe; EPERM over `fs.pipe-max-size` without CAP_SYS_RESOURCE; EBUSY.
pub fn set_size(_file: &File, _cred: &Cred, _size: usize) -> Result<usize> {
    err(Errno::ENOSYS)
}
