//! What raw host calls return, as results. The conversion of error numbers itself is in sys.rs.

use base::{Errno, Error, Result};

/// A host call failed with `e`.
#[track_caller]
pub(crate) fn host_error(e: nix::errno::Errno) -> Error {
    Errno::from_code(e as i32).into()
}
use crate::sys::{check, last_error};

/// The result of a raw libc call: -1 is the error in `errno`.
#[track_caller]
pub(crate) fn cvt(ret: libc::c_int) -> Result<libc::c_int> {
    check(ret.into()).map(|_| ret)
}

/// As [`cvt`], for calls that return a byte count.
#[track_caller]
pub(crate) fn cvt_len(ret: isize) -> Result<usize> {
    usize::try_from(ret).map_err(|_| last_error())
}
