//! Options: getsockopt(2), setsockopt(2).

use base::{Errno, Result, UserAddr, UserMemory, err};
use net::options::{self, Value, so};

use super::cmsg::SOL_SOCKET;
use super::{Open, SysResult};
use crate::syscall::{Ctx, Fd};

/// How many bytes of an option's value are looked at.
fn size_of(name: u32) -> usize {
    match name {
        so::LINGER => 8,
        so::RCVTIMEO | so::SNDTIMEO | so::RCVTIMEO_NEW | so::SNDTIMEO_NEW => 16,
        _ => 4,
    }
}

/// setsockopt(2).
///
/// # Errors
/// EBADF, ENOTSOCK, ENOPROTOOPT, EINVAL, EFAULT, EDOM, EPERM.
pub fn setsockopt(
    cx: &mut Ctx<'_>,
    fd: Fd,
    level: u32,
    name: u32,
    at: UserAddr,
    len: i32,
) -> SysResult {
    let s = Open::get(cx, fd)?;
    let Ok(len) = usize::try_from(len) else { return err(Errno::EINVAL) };
    let read = |n: usize| -> Result<Vec<u8>> {
        let mut value = vec![0; n];
        cx.mm.read(at, &mut value)?;
        Ok(value)
    };
    if level != SOL_SOCKET {
        s.socket().set_option(level, name, &read(len.min(256))?)?;
        return Ok(0);
    }
    if len < 4 {
        return err(Errno::EINVAL);
    }
    let value = read(len.min(size_of(name)))?;
    options::set(&**s.socket(), name, &value, &cx.cred(), &cx.kernel.net.sysctl)?;
    Ok(0)
}

/// getsockopt(2).
///
/// # Errors
/// EBADF, ENOTSOCK, ENOPROTOOPT, EINVAL, EFAULT, ERANGE.
pub fn getsockopt(
    cx: &mut Ctx<'_>,
    fd: Fd,
    level: u32,
    name: u32,
    at: UserAddr,
    len_at: UserAddr,
) -> SysResult {
    let s = Open::get(cx, fd)?;
    let room: i32 = cx.read_obj(len_at)?;
    let Ok(room) = usize::try_from(room) else { return err(Errno::EINVAL) };
    let value = if level == SOL_SOCKET {
        options::get(&**s.socket(), name)?
    } else {
        Value::Bytes(s.socket().get_option(level, name)?)
    };
    let bytes = match value {
        Value::Whole(b) if b.len() > room => {
            cx.write_obj(len_at, &(b.len() as u32))?;
            return err(Errno::ERANGE);
        }
        Value::Whole(b) => b,
        Value::Bytes(mut b) => {
            b.truncate(room);
            b
        }
    };
    cx.mm.write(at, &bytes)?;
    cx.write_obj(len_at, &(bytes.len() as u32))?;
    Ok(0)
}
