//! Extended attributes. `man 7 xattr`.

use base::{Errno, Result, UserAddr, UserMemory, err};
use fs::{Path, ops};

use super::{cwd, look, only};
use crate::syscall::{Ctx, Fd, Str, SysResult};

const XATTR_MAX: usize = 65536;

fn xattr_name(cx: &Ctx<'_>, name: Str) -> Result<Vec<u8>> {
    let n = cx
        .mm
        .read_cstr(name.0, 256)
        .map_err(|e| if e == Errno::ENAMETOOLONG { Errno::ERANGE.into() } else { e })?;
    if n.is_empty() { err(Errno::ERANGE) } else { Ok(n) }
}

fn put_sized(cx: &Ctx<'_>, data: &[u8], at: UserAddr, size: usize) -> SysResult {
    if size != 0 {
        if data.len() > size {
            return err(Errno::ERANGE);
        }
        cx.mm.write(at, data)?;
    }
    Ok(data.len() as i64)
}

fn set_x(cx: &Ctx<'_>, p: &Path, name: Str, value: UserAddr, size: usize, flags: u32) -> SysResult {
    only(flags, 3)?;
    let n = xattr_name(cx, name)?;
    if size > XATTR_MAX {
        return err(Errno::E2BIG);
    }
    let mut v = vec![0u8; size];
    cx.mm.read(value, &mut v)?;
    ops::setxattr(&cx.cred(), p, &n, Some(&v), flags)?;
    Ok(0)
}

fn get_x(cx: &Ctx<'_>, p: &Path, name: Str, value: UserAddr, size: usize) -> SysResult {
    let n = xattr_name(cx, name)?;
    put_sized(cx, &ops::getxattr(&cx.cred(), p, &n)?, value, size)
}

fn remove_x(cx: &Ctx<'_>, p: &Path, name: Str) -> SysResult {
    let n = xattr_name(cx, name)?;
    ops::setxattr(&cx.cred(), p, &n, None, 2)?;
    Ok(0)
}

macro_rules! xattrs {
    ($($set:ident $get:ident $list:ident $remove:ident $how:literal;)*) => {$(
        #[doc = concat!(stringify!($set), "(2).")]
        ///
        /// # Errors
        /// setxattr(2).
        pub fn $set(cx: &mut Ctx<'_>, path: Str, name: Str, value: UserAddr, size: usize, flags: u32) -> SysResult {
            let p = look(cx, cwd(), path, $how, true)?;
            set_x(cx, &p, name, value, size, flags)
        }
        #[doc = concat!(stringify!($get), "(2).")]
        ///
        /// # Errors
        /// getxattr(2).
        pub fn $get(cx: &mut Ctx<'_>, path: Str, name: Str, value: UserAddr, size: usize) -> SysResult {
            let p = look(cx, cwd(), path, $how, true)?;
            get_x(cx, &p, name, value, size)
        }
        #[doc = concat!(stringify!($list), "(2).")]
        ///
        /// # Errors
        /// listxattr(2).
        pub fn $list(cx: &mut Ctx<'_>, path: Str, list: UserAddr, size: usize) -> SysResult {
            let p = look(cx, cwd(), path, $how, true)?;
            put_sized(cx, &ops::listxattr(&cx.cred(), &p)?, list, size)
        }
        #[doc = concat!(stringify!($remove), "(2).")]
        ///
        /// # Errors
        /// removexattr(2).
        pub fn $remove(cx: &mut Ctx<'_>, path: Str, name: Str) -> SysResult {
            let p = look(cx, cwd(), path, $how, true)?;
            remove_x(cx, &p, name)
        }
    )*};
}
xattrs! {
    setxattr getxattr listxattr removexattr 0;
    lsetxattr lgetxattr llistxattr lremovexattr 0x100;
}

/// fsetxattr(2).
///
/// # Errors
/// setxattr(2).
pub fn fsetxattr(
    cx: &mut Ctx<'_>,
    fd: Fd,
    name: Str,
    value: UserAddr,
    size: usize,
    flags: u32,
) -> SysResult {
    let f = cx.file(fd)?;
    set_x(cx, &f.path, name, value, size, flags)
}

/// fgetxattr(2).
///
/// # Errors
/// getxattr(2).
pub fn fgetxattr(cx: &mut Ctx<'_>, fd: Fd, name: Str, value: UserAddr, size: usize) -> SysResult {
    let f = cx.file(fd)?;
    get_x(cx, &f.path, name, value, size)
}

/// flistxattr(2).
///
/// # Errors
/// listxattr(2).
pub fn flistxattr(cx: &mut Ctx<'_>, fd: Fd, list: UserAddr, size: usize) -> SysResult {
    let f = cx.file(fd)?;
    put_sized(cx, &ops::listxattr(&cx.cred(), &f.path)?, list, size)
}

/// fremovexattr(2).
///
/// # Errors
/// removexattr(2).
pub fn fremovexattr(cx: &mut Ctx<'_>, fd: Fd, name: Str) -> SysResult {
    let f = cx.file(fd)?;
    remove_x(cx, &f.path, name)
}
