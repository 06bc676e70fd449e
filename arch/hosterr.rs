//! What raw host calls return, as results. The conversion of error numbers itself is in sys.rs.

use base::Result;

pub(crate) use crate::sys::host_error;
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
