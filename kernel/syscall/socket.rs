//! Sockets: no address family is there yet. Programs hear so in the words of a kernel that has the socket
//! calls but none of the families, which they know how to live with.

use base::{Errno, UserAddr, err};

use super::{Ctx, Fd, SysResult};

/// socket(2).
///
/// # Errors
/// EAFNOSUPPORT.
pub fn socket(_cx: &mut Ctx<'_>, _family: i32, _kind: i32, _protocol: i32) -> SysResult {
    err(Errno::EAFNOSUPPORT)
}

/// socketpair(2).
///
/// # Errors
/// EAFNOSUPPORT.
pub fn socketpair(
    _cx: &mut Ctx<'_>,
    _family: i32,
    _kind: i32,
    _protocol: i32,
    _fds: UserAddr,
) -> SysResult {
    err(Errno::EAFNOSUPPORT)
}

/// Every call on a socket: no descriptor is one.
///
/// # Errors
/// EBADF, ENOTSOCK.
pub fn not_a_socket(cx: &mut Ctx<'_>, fd: Fd) -> SysResult {
    cx.file(fd)?;
    err(Errno::ENOTSOCK)
}
