//! Moving bytes between files.
use crate::file::File;
use base::{Errno, Result, err};
use std::sync::Arc;
/// sendfile(2): from `input` at `offset` (None: its position, which moves) to `output`.
///
/// # Errors
/// sendfile(2).
pub fn sendfile(
    _output: &Arc<File>,
    _input: &Arc<File>,
    _offset: Option<&mut u64>,
    _len: usize,
    _limit: u64,
) -> Result<usize> {
    err(Errno::ENOSYS)
}
/// copy_file_range(2).
///
/// # Errors
/// copy_file_range(2).
pub fn copy_file_range(
    _input: &Arc<File>,
    _in_off: Option<&mut u64>,
    _output: &Arc<File>,
    _out_off: Option<&mut u64>,
    _len: usize,
    _limit: u64,
) -> Result<usize> {
    err(Errno::ENOSYS)
}
/// splice(2): one of the two is a pipe. `nonblock`: SPLICE_F_NONBLOCK.
///
/// # Errors
/// splice(2).
pub fn splice(
    _input: &Arc<File>,
    _in_off: Option<&mut u64>,
    _output: &Arc<File>,
    _out_off: Option<&mut u64>,
    _len: usize,
    _nonblock: bool,
) -> Result<usize> {
    err(Errno::ENOSYS)
}
/// tee(2).
///
/// # Errors
/// tee(2).
pub fn tee(_input: &Arc<File>, _output: &Arc<File>, _len: usize, _nonblock: bool) -> Result<usize> {
    err(Errno::ENOSYS)
}
