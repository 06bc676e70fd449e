//! Decoding of system call arguments by type, and how a trace shows them.

use base::limits::PATH_MAX;
use base::{UserAddr, UserMemory};
use mm::AddressSpace;

/// A file descriptor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fd(pub i32);

/// The descriptor that stands for the working directory.
pub const AT_FDCWD: i32 = -100;

/// A pointer to a NUL-terminated string.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Str(pub UserAddr);

/// A signal number: 0 or 1..=64 after the handler's own check.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Signo(pub u32);

/// Flags or modes that read best in octal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Octal(pub u32);

/// A register's value as an argument of some type.
pub trait Arg: Sized {
    /// Takes the bits that the type has, as C's calling convention does.
    fn decode(raw: u64) -> Self;
    /// For the trace.
    fn show(raw: u64, _mm: &AddressSpace) -> String {
        format!("{}", raw as i64)
    }
}

macro_rules! plain {
    ($($t:ty),*) => {$(
        impl Arg for $t {
            #[inline(always)]
            fn decode(raw: u64) -> Self {
                raw as $t
            }
            fn show(raw: u64, _mm: &AddressSpace) -> String {
                format!("{}", raw as $t)
            }
        }
    )*};
}
plain!(i32, u32, i64, u64, usize);

impl Arg for Fd {
    #[inline(always)]
    fn decode(raw: u64) -> Self {
        Fd(raw as i32)
    }
    fn show(raw: u64, _mm: &AddressSpace) -> String {
        match raw as i32 {
            AT_FDCWD => "AT_FDCWD".into(),
            fd => fd.to_string(),
        }
    }
}

impl Arg for UserAddr {
    #[inline(always)]
    fn decode(raw: u64) -> Self {
        UserAddr(raw)
    }
    fn show(raw: u64, _mm: &AddressSpace) -> String {
        if raw == 0 { "NULL".into() } else { format!("{raw:#x}") }
    }
}

impl Arg for Str {
    #[inline(always)]
    fn decode(raw: u64) -> Self {
        Str(UserAddr(raw))
    }
    fn show(raw: u64, mm: &AddressSpace) -> String {
        match mm.read_cstr(UserAddr(raw), PATH_MAX) {
            Ok(s) => format!("{:?}", String::from_utf8_lossy(&s)),
            Err(_) => format!("{raw:#x}"),
        }
    }
}

impl Arg for Signo {
    #[inline(always)]
    fn decode(raw: u64) -> Self {
        Signo(raw as u32)
    }
    fn show(raw: u64, _mm: &AddressSpace) -> String {
        crate::signal::set::name(raw as u32)
    }
}

impl Arg for Octal {
    #[inline(always)]
    fn decode(raw: u64) -> Self {
        Octal(raw as u32)
    }
    fn show(raw: u64, _mm: &AddressSpace) -> String {
        format!("{:#o}", raw as u32)
    }
}

/// Reads a little-endian `u64` from the guest.
///
/// # Errors
/// EFAULT.
pub fn read_u64(mm: &AddressSpace, at: UserAddr) -> base::Result<u64> {
    let mut b = [0u8; 8];
    mm.read(at, &mut b)?;
    Ok(u64::from_le_bytes(b))
}

/// Reads a little-endian `u32` from the guest.
///
/// # Errors
/// EFAULT.
pub fn read_u32(mm: &AddressSpace, at: UserAddr) -> base::Result<u32> {
    let mut b = [0u8; 4];
    mm.read(at, &mut b)?;
    Ok(u32::from_le_bytes(b))
}
