//! The one place where a host's error number becomes an error of ours.

use base::{Errno, Error, Result};

/// A host call failed with `e`.
#[track_caller]
pub(crate) fn host_error(e: nix::errno::Errno) -> Error {
    Errno::from_code(e as i32).into()
}

/// The result of a raw libc call: -1 is the error in `errno`.
#[track_caller]
pub(crate) fn cvt(ret: libc::c_int) -> Result<libc::c_int> {
    if ret == -1 { Err(host_error(nix::errno::Errno::last())) } else { Ok(ret) }
}

/// As [`cvt`], for calls that return a byte count.
#[track_caller]
pub(crate) fn cvt_len(ret: isize) -> Result<usize> {
    usize::try_from(ret).map_err(|_| host_error(nix::errno::Errno::last()))
}
