//! Sockets. What a call means is decided in net, by the socket's family; here its arguments are decoded.
//!
//! `mod.rs` has the calls that make, name and connect sockets, `msg.rs` those that move messages, `opt.rs` options,
//! `cmsg.rs` the format of control data.

mod cmsg;
mod msg;
mod opt;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use base::{Errno, Result, UserAddr, UserMemory, err};
use fs::File;
use net::{Caller, Socket, SocketFile, SocketType, Who};

use super::file::{fd_limit, install, install_two};
use super::{Ctx, Fd, SysResult};

pub use msg::{recvfrom, recvmmsg, recvmsg, sendmmsg, sendmsg, sendto};
pub use opt::{getsockopt, setsockopt};

/// sizeof(struct sockaddr_storage): no address is longer.
const ADDRESS_MAX: usize = 128;
/// SOCK_NONBLOCK.
const NONBLOCK: u32 = 0o4000;
/// SOCK_CLOEXEC.
const CLOEXEC: u32 = 0o2_000_000;

fn who(cx: &Ctx<'_>) -> Who {
    Who { pid: cx.task.pid(), cred: cx.cred() }
}

/// An open socket. The file keeps it alive.
struct Open {
    file: Arc<File>,
}

impl Open {
    fn get(cx: &Ctx<'_>, fd: Fd) -> Result<Open> {
        let file = cx.file(fd)?;
        SocketFile::of(&file)?;
        Ok(Open { file })
    }
    fn socket(&self) -> &Arc<dyn Socket> {
        SocketFile::of(&self.file).expect("looked at when it was opened")
    }
}

/// Reads a `sockaddr`.
fn read_address(cx: &Ctx<'_>, at: UserAddr, len: i32) -> Result<Vec<u8>> {
    let Some(len) = usize::try_from(len).ok().filter(|n| *n <= ADDRESS_MAX) else {
        return err(Errno::EINVAL);
    };
    let mut addr = vec![0; len];
    cx.mm.read(at, &mut addr)?;
    Ok(addr)
}

/// Stores as much of a `sockaddr` as there is room for, and its whole length.
fn write_address(cx: &Ctx<'_>, addr: &[u8], at: UserAddr, len_at: UserAddr) -> Result<()> {
    let room: i32 = cx.read_obj(len_at)?;
    let Ok(room) = usize::try_from(room) else { return err(Errno::EINVAL) };
    cx.mm.write(at, &addr[..room.min(addr.len())])?;
    cx.write_obj(len_at, &(addr.len() as u32))
}

/// The type and the flags of socket(2)'s second argument.
fn decode_type(kind: u32) -> Result<(SocketType, bool, bool)> {
    let flags = kind & !0xf;
    if flags & !(NONBLOCK | CLOEXEC) != 0 {
        return err(Errno::EINVAL);
    }
    Ok((SocketType(kind & 0xf), flags & NONBLOCK != 0, flags & CLOEXEC != 0))
}

/// socket(2).
///
/// # Errors
/// EAFNOSUPPORT, ESOCKTNOSUPPORT, EPROTONOSUPPORT, EINVAL, EMFILE, ENFILE.
pub fn socket(cx: &mut Ctx<'_>, family: i32, kind: u32, protocol: i32) -> SysResult {
    let (kind, nonblock, cloexec) = decode_type(kind)?;
    let socket = cx.kernel.net.create(family, kind, protocol)?;
    install(cx, cx.kernel.net.open(socket, nonblock, &cx.cred()), cloexec)
}

/// socketpair(2).
///
/// # Errors
/// As socket; EOPNOTSUPP, EFAULT.
pub fn socketpair(
    cx: &mut Ctx<'_>,
    family: i32,
    kind: u32,
    protocol: i32,
    fds: UserAddr,
) -> SysResult {
    let (kind, nonblock, cloexec) = decode_type(kind)?;
    let net = &cx.kernel.net;
    let (a, b) = net.pair(family, kind, protocol, &who(cx))?;
    let open = |s| net.open(s, nonblock, &cx.cred());
    install_two(cx, open(a), open(b), cloexec, fds)
}

/// bind(2).
///
/// # Errors
/// EBADF, ENOTSOCK, EINVAL, EADDRINUSE, EACCES and what else the path says.
pub fn bind(cx: &mut Ctx<'_>, fd: Fd, addr: UserAddr, len: i32) -> SysResult {
    let s = Open::get(cx, fd)?;
    let addr = read_address(cx, addr, len)?;
    // fchmod(2) before bind(2) chooses the mode of what is made.
    let mode = s.file.inode().ops.attr()?.perm;
    let caller = Caller { who: who(cx), fs: &cx.task.fs() };
    s.socket().bind(&addr, &caller, mode)?;
    Ok(0)
}

/// connect(2).
///
/// # Errors
/// EBADF, ENOTSOCK, ECONNREFUSED, EISCONN, EAGAIN, EINTR ...
pub fn connect(cx: &mut Ctx<'_>, fd: Fd, addr: UserAddr, len: i32) -> SysResult {
    let s = Open::get(cx, fd)?;
    let addr = read_address(cx, addr, len)?;
    let caller = Caller { who: who(cx), fs: &cx.task.fs() };
    s.socket().connect(&addr, &caller, s.file.nonblock())?;
    Ok(0)
}

/// listen(2).
///
/// # Errors
/// EBADF, ENOTSOCK, EOPNOTSUPP, EINVAL.
pub fn listen(cx: &mut Ctx<'_>, fd: Fd, backlog: i32) -> SysResult {
    let s = Open::get(cx, fd)?;
    let most = cx.kernel.net.sysctl.somaxconn.load(Ordering::Relaxed);
    // A negative number is a very large one.
    s.socket().listen((backlog as u32).min(most), &who(cx))?;
    Ok(0)
}

/// accept(2).
///
/// # Errors
/// EBADF, ENOTSOCK, EOPNOTSUPP, EINVAL, EAGAIN, EINTR, EMFILE.
pub fn accept(cx: &mut Ctx<'_>, fd: Fd, addr: UserAddr, len: UserAddr) -> SysResult {
    accept4(cx, fd, addr, len, 0)
}

/// accept4(2).
///
/// # Errors
/// As accept.
pub fn accept4(cx: &mut Ctx<'_>, fd: Fd, addr: UserAddr, len: UserAddr, flags: u32) -> SysResult {
    if flags & !(NONBLOCK | CLOEXEC) != 0 {
        return err(Errno::EINVAL);
    }
    let s = Open::get(cx, fd)?;
    // Before a connection is taken: without a number for it, it stays where it is.
    cx.files().check_room(fd_limit(cx))?;
    let new = s.socket().accept(s.file.nonblock())?;
    let name = new.peer_name();
    let file = cx.kernel.net.open(new, flags & NONBLOCK != 0, &cx.cred());
    if !addr.is_null() {
        let Ok(name) = name else { return err(Errno::ECONNABORTED) };
        write_address(cx, &name, addr, len)?;
    }
    install(cx, file, flags & CLOEXEC != 0)
}

/// getsockname(2).
///
/// # Errors
/// EBADF, ENOTSOCK, EINVAL, EFAULT.
pub fn getsockname(cx: &mut Ctx<'_>, fd: Fd, addr: UserAddr, len: UserAddr) -> SysResult {
    let name = Open::get(cx, fd)?.socket().local_name()?;
    write_address(cx, &name, addr, len)?;
    Ok(0)
}

/// getpeername(2).
///
/// # Errors
/// EBADF, ENOTSOCK, ENOTCONN, EINVAL, EFAULT.
pub fn getpeername(cx: &mut Ctx<'_>, fd: Fd, addr: UserAddr, len: UserAddr) -> SysResult {
    let name = Open::get(cx, fd)?.socket().peer_name()?;
    write_address(cx, &name, addr, len)?;
    Ok(0)
}

/// shutdown(2).
///
/// # Errors
/// EBADF, ENOTSOCK, EINVAL, ENOTCONN.
pub fn shutdown(cx: &mut Ctx<'_>, fd: Fd, how: u32) -> SysResult {
    let s = Open::get(cx, fd)?;
    let (read, write) = match how {
        0 => (true, false),
        1 => (false, true),
        2 => (true, true),
        _ => return err(Errno::EINVAL),
    };
    s.socket().shutdown(read, write)?;
    Ok(0)
}
