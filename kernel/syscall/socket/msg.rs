//! Messages: send(2) and recv(2) in all their forms.

use base::limits::SCM_MAX_FD;
use base::time::Instant;
use base::{Cap, Errno, Result, UserAddr, UserMemory, err};
use mm::IoVecs;
use net::options::so;
use net::{Caller, Incoming, MsgFlags, Outgoing, Rights, Socket, Ucred};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::cmsg::{self, ControlOut, SCM_CREDENTIALS, SCM_RIGHTS, SOL_SOCKET};
use super::{ADDRESS_MAX, Open, read_address, who, write_address};
use crate::syscall::file::fd_limit;
use crate::syscall::io::{IOV_MAX, MAX_RW, pipe_signal, read_iov};
use crate::syscall::time::{read_timeout, timespec};
use crate::syscall::{Ctx, Fd, SysResult};
use crate::task::limits::Resource;

/// Most bytes of control data that are sent with one message (`net.core.optmem_max`).
const CONTROL_MAX: usize = 131_072;
/// sizeof(struct mmsghdr).
const MMSGHDR: u64 = 64;
/// MSG_CMSG_COMPAT: for 32-bit callers, whom there are none of.
const COMPAT: u32 = 0x8000_0000;

/// `struct msghdr`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct MsgHdr {
    name: u64,
    namelen: i32,
    pad: u32,
    iov: u64,
    iovlen: u64,
    control: u64,
    controllen: u64,
    flags: u32,
    pad2: u32,
}

impl MsgHdr {
    fn read(cx: &Ctx<'_>, at: UserAddr) -> Result<MsgHdr> {
        let mut h: MsgHdr = cx.read_obj(at)?;
        if h.name == 0 {
            h.namelen = 0;
        }
        if h.namelen < 0 {
            return err(Errno::EINVAL);
        }
        Ok(h)
    }
    fn iov(&self, cx: &Ctx<'_>) -> Result<IoVecs> {
        match usize::try_from(self.iovlen) {
            Ok(1) => {
                // The usual case needs no list.
                let [at, len]: [u64; 2] = cx.read_obj(UserAddr(self.iov))?;
                if len > i64::MAX as u64 {
                    return err(Errno::EINVAL);
                }
                Ok(IoVecs::One(UserAddr(at), (len as usize).min(MAX_RW)))
            }
            Ok(n) if n <= IOV_MAX => read_iov(cx, UserAddr(self.iov), n),
            _ => err(Errno::EMSGSIZE),
        }
    }
}

fn flags_for(s: &Open, flags: u32) -> MsgFlags {
    let mut f = MsgFlags::from_bits_retain(flags);
    if s.file.nonblock() {
        f |= MsgFlags::DONTWAIT;
    }
    f
}

/// What SCM_RIGHTS and SCM_CREDENTIALS in `buf` ask for. `man 7 unix`.
fn read_control(cx: &Ctx<'_>, buf: &[u8], msg: &mut Outgoing<'_>) -> Result<()> {
    let mut files = Vec::new();
    let word = |b: &[u8]| u32::from_le_bytes([b[0], b[1], b[2], b[3]]);
    for c in cmsg::parse(buf)? {
        match (c.level, c.kind) {
            (SOL_SOCKET, SCM_RIGHTS) => {
                let fds = c.data.chunks_exact(4);
                if files.len() + fds.len() > SCM_MAX_FD {
                    return err(Errno::EINVAL);
                }
                for fd in fds {
                    files.push(cx.files().get(word(fd) as i32)?);
                }
            }
            (SOL_SOCKET, SCM_CREDENTIALS) => {
                if c.data.len() != 12 {
                    return err(Errno::EINVAL);
                }
                let creds = Ucred {
                    pid: word(&c.data[..4]),
                    uid: word(&c.data[4..8]),
                    gid: word(&c.data[8..]),
                };
                check_creds(cx, creds)?;
                msg.creds = Some(creds);
            }
            (SOL_SOCKET, _) => return err(Errno::EINVAL),
            _ => {} // of another level: not ours to understand
        }
    }
    if !files.is_empty() {
        let cred = cx.cred();
        let free = cred.capable(Cap::SysResource) || cred.capable(Cap::SysAdmin);
        let limit = (!free).then(|| cx.task.process.rlimit(Resource::Nofile));
        msg.rights = Some(Rights { files, uid: cred.uid, limit });
    }
    Ok(())
}

/// Who claims to be somebody else must be allowed to become that.
fn check_creds(cx: &Ctx<'_>, c: Ucred) -> Result<()> {
    let me = cx.cred();
    if c.uid == u32::MAX || c.gid == u32::MAX {
        return err(Errno::EINVAL);
    }
    let uid = [me.uid, me.euid, me.suid].contains(&c.uid) || me.capable(Cap::Setuid);
    let gid = [me.gid, me.egid, me.sgid].contains(&c.gid) || me.capable(Cap::Setgid);
    if !(c.pid == cx.task.pid() || me.capable(Cap::SysAdmin)) || !uid || !gid {
        return err(Errno::EPERM);
    }
    let exists = c.pid == cx.task.pid() || cx.kernel.tree.lock().process(c.pid).is_some();
    if exists { Ok(()) } else { err(Errno::ESRCH) }
}

fn send(cx: &Ctx<'_>, s: &Open, iov: IoVecs, flags: u32, addr: &[u8], control: &[u8]) -> SysResult {
    let fs = cx.task.fs();
    let caller;
    let mut msg = Outgoing { flags: flags_for(s, flags), ..Outgoing::default() };
    if !addr.is_empty() {
        caller = Caller { who: who(cx), fs: &fs };
        msg.to = Some((addr, &caller));
    }
    if !control.is_empty() {
        read_control(cx, control, &mut msg)?;
    }
    let quiet = msg.flags.contains(MsgFlags::NOSIGNAL);
    let r = s.socket().send(&mut cx.mm.source(iov), msg);
    Ok(if quiet { r? } else { pipe_signal(cx, &s.file, r)? } as i64)
}

/// sendto(2).
///
/// # Errors
/// EBADF, ENOTSOCK, EPIPE, EAGAIN, ENOTCONN, EISCONN, EMSGSIZE, EFAULT, EINTR ...
pub fn sendto(
    cx: &mut Ctx<'_>,
    fd: Fd,
    buf: UserAddr,
    len: usize,
    flags: u32,
    addr: UserAddr,
    addrlen: i32,
) -> SysResult {
    let s = Open::get(cx, fd)?;
    let addr = if addr.is_null() { Vec::new() } else { read_address(cx, addr, addrlen)? };
    send(cx, &s, IoVecs::One(buf, len.min(MAX_RW)), flags, &addr, &[])
}

fn do_sendmsg(cx: &Ctx<'_>, s: &Open, at: UserAddr, flags: u32) -> SysResult {
    let h = MsgHdr::read(cx, at)?;
    let addr = read_address(cx, UserAddr(h.name), h.namelen.min(ADDRESS_MAX as i32))?;
    let iov = h.iov(cx)?;
    if h.controllen > CONTROL_MAX as u64 {
        return err(Errno::ENOBUFS);
    }
    let mut control = vec![0; if h.control == 0 { 0 } else { h.controllen as usize }];
    cx.mm.read(UserAddr(h.control), &mut control)?;
    send(cx, s, iov, flags, &addr, &control)
}

/// sendmsg(2).
///
/// # Errors
/// As sendto; EINVAL for bad control data, EPERM for credentials that are not the caller's, ETOOMANYREFS.
pub fn sendmsg(cx: &mut Ctx<'_>, fd: Fd, msg: UserAddr, flags: u32) -> SysResult {
    if flags & COMPAT != 0 {
        return err(Errno::EINVAL);
    }
    let s = Open::get(cx, fd)?;
    do_sendmsg(cx, &s, msg, flags)
}

/// sendmmsg(2): the number of messages that were sent; an error only if none was.
///
/// # Errors
/// As sendmsg.
pub fn sendmmsg(cx: &mut Ctx<'_>, fd: Fd, vec: UserAddr, n: u32, flags: u32) -> SysResult {
    if flags & COMPAT != 0 {
        return err(Errno::EINVAL);
    }
    let s = Open::get(cx, fd)?;
    let mut done = 0;
    for i in 0..u64::from(n.min(IOV_MAX as u32)) {
        let sent = vec.add(i * MMSGHDR).and_then(|at| {
            let sent = do_sendmsg(cx, &s, at, flags)?;
            cx.write_obj(at.add(56)?, &(sent as u32))
        });
        match sent {
            Ok(()) => done += 1,
            Err(e) if done == 0 => return Err(e),
            Err(_) => break,
        }
    }
    Ok(done)
}

/// recvfrom(2).
///
/// # Errors
/// EBADF, ENOTSOCK, EAGAIN, ENOTCONN, EINVAL, EFAULT, EINTR ...
pub fn recvfrom(
    cx: &mut Ctx<'_>,
    fd: Fd,
    buf: UserAddr,
    len: usize,
    flags: u32,
    addr: UserAddr,
    addrlen: UserAddr,
) -> SysResult {
    let s = Open::get(cx, fd)?;
    let mut msg = Incoming { flags: flags_for(&s, flags), ..Incoming::default() };
    msg.want_name = !addr.is_null();
    let n = s.socket().recv(&mut cx.mm.sink((buf, len.min(MAX_RW))), &mut msg)?;
    if !addr.is_null() {
        write_address(cx, msg.name.as_deref().unwrap_or_default(), addr, addrlen)?;
    }
    Ok(n as i64)
}

/// Control data for what came, in the order of Linux: stamp, credentials, descriptors.
fn write_control(cx: &Ctx<'_>, s: &dyn Socket, msg: &mut Incoming, out: &mut ControlOut) {
    if let Some(t) = msg.stamp {
        let (kind, fraction) = if s.options().is_on(so::TIMESTAMPNS) {
            (so::TIMESTAMPNS, u64::from(t.nsec))
        } else {
            (so::TIMESTAMP, u64::from(t.nsec) / 1000)
        };
        out.put(kind, &[t.sec.to_le_bytes(), fraction.to_le_bytes()].concat());
    }
    if let Some(c) = msg.creds {
        out.put(SCM_CREDENTIALS, &c.to_bytes());
    }
    if msg.files.is_empty() {
        return;
    }
    let cloexec = msg.flags.contains(MsgFlags::CMSG_CLOEXEC);
    let table = cx.files();
    let count = msg.files.len();
    let mut numbers = Vec::new();
    for file in msg.files.drain(..).take(out.max_fds()) {
        match table.install(file, cloexec, fd_limit(cx)) {
            Ok(fd) => numbers.extend_from_slice(&fd.to_le_bytes()),
            Err(_) => break, // no number is free: the rest is closed, and MSG_CTRUNC says so
        }
    }
    if !numbers.is_empty() {
        out.put(SCM_RIGHTS, &numbers);
    }
    out.truncated |= numbers.len() / 4 < count;
}

fn do_recvmsg(cx: &Ctx<'_>, s: &Open, at: UserAddr, flags: u32) -> SysResult {
    let h = MsgHdr::read(cx, at)?;
    let iov = h.iov(cx)?;
    let mut msg = Incoming { flags: flags_for(s, flags), ..Incoming::default() };
    msg.want_name = h.name != 0;
    let n = s.socket().recv(&mut cx.mm.sink(iov), &mut msg)?;
    let room = if h.control == 0 { 0 } else { h.controllen };
    let mut out = ControlOut::new(usize::try_from(room).unwrap_or(usize::MAX));
    write_control(cx, &**s.socket(), &mut msg, &mut out);
    if h.name != 0 {
        let name = msg.name.as_deref().unwrap_or_default();
        write_address(cx, name, UserAddr(h.name), at.add(8)?)?;
    }
    cx.mm.write(UserAddr(h.control), &out.bytes)?;
    let mut flags = msg.out_flags | msg.flags & MsgFlags::CMSG_CLOEXEC;
    flags.set(MsgFlags::CTRUNC, out.truncated);
    cx.write_obj(at.add(48)?, &flags.bits())?;
    cx.write_obj(at.add(40)?, &(out.bytes.len() as u64))?;
    Ok(n as i64)
}

/// recvmsg(2).
///
/// # Errors
/// As recvfrom; EMSGSIZE.
pub fn recvmsg(cx: &mut Ctx<'_>, fd: Fd, msg: UserAddr, flags: u32) -> SysResult {
    if flags & COMPAT != 0 {
        return err(Errno::EINVAL);
    }
    let s = Open::get(cx, fd)?;
    do_recvmsg(cx, &s, msg, flags)
}

/// recvmmsg(2). The time-out is looked at between messages only, as on Linux.
///
/// # Errors
/// As recvmsg, if there was no message.
pub fn recvmmsg(
    cx: &mut Ctx<'_>,
    fd: Fd,
    vec: UserAddr,
    n: u32,
    flags: u32,
    timeout: UserAddr,
) -> SysResult {
    if flags & COMPAT != 0 {
        return err(Errno::EINVAL);
    }
    let until: Option<Instant> = read_timeout(cx, timeout)?;
    let s = Open::get(cx, fd)?;
    s.socket().options().check_error()?;
    let wait_for_one = flags & MsgFlags::WAITFORONE.bits() != 0;
    let mut flags = flags & !MsgFlags::WAITFORONE.bits();
    let mut done = 0i64;
    for i in 0..u64::from(n.min(IOV_MAX as u32)) {
        let got = vec.add(i * MMSGHDR).and_then(|at| {
            let got = do_recvmsg(cx, &s, at, flags)?;
            cx.write_obj(at.add(56)?, &(got as u32))
        });
        match got {
            Ok(()) => done += 1,
            Err(e) if done == 0 => return Err(e),
            Err(e) => {
                // It will be told by the next call.
                if e != Errno::EAGAIN && !e.errno().is_restart() {
                    s.socket().options().set_error(e.errno());
                }
                break;
            }
        }
        if wait_for_one {
            flags |= MsgFlags::DONTWAIT.bits();
        }
        if until.is_some_and(|u| arch::clock::monotonic() >= u) {
            break;
        }
    }
    if let Some(u) = until {
        cx.write_obj(timeout, &timespec(u - arch::clock::monotonic()))?;
    }
    Ok(done)
}
