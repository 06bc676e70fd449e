//! Addresses: guest-virtual, guest-physical, and page arithmetic.
//!
//! A [`UserAddr`] cannot be dereferenced; it is a claim of the guest until an address space
//! has confirmed it. Arithmetic that could wrap is checked and yields `EFAULT`.

use core::fmt;

use crate::errno::{Errno, Error, Result};

/// Bytes in a page.
pub const PAGE_SIZE: usize = 4096;
/// log2 of [`PAGE_SIZE`].
pub const PAGE_SHIFT: u32 = 12;
/// First address that no guest mapping may reach: 4 GiB below the stub's pages at
/// 0x7fff_ffff_d000, so that a stray range can never wrap into them.
pub const USER_TOP: u64 = 0x7ffe_0000_0000;
/// Lowest address a mapping may have (`vm.mmap_min_addr`).
pub const USER_BOTTOM: u64 = 0x1_0000;

/// An address in a guest's virtual address space.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct UserAddr(pub u64);

impl UserAddr {
    /// Address zero.
    pub const NULL: UserAddr = UserAddr(0);

    /// Whether this is the null pointer.
    pub const fn is_null(self) -> bool {
        self.0 == 0
    }
    /// This address plus `n` bytes.
    ///
    /// # Errors
    /// EFAULT if that wraps.
    #[track_caller]
    #[expect(clippy::should_implement_trait, reason = "it can fail, as `+` cannot")]
    pub fn add(self, n: u64) -> Result<UserAddr> {
        self.0.checked_add(n).map(UserAddr).ok_or_else(|| Error::new(Errno::EFAULT))
    }
    /// Rounded down to its page.
    pub const fn page_down(self) -> UserAddr {
        UserAddr(self.0 & !(PAGE_SIZE as u64 - 1))
    }
    /// Rounded up to a page boundary; None if that wraps.
    pub const fn page_up(self) -> Option<UserAddr> {
        match self.0.checked_add(PAGE_SIZE as u64 - 1) {
            Some(v) => Some(UserAddr(v & !(PAGE_SIZE as u64 - 1))),
            None => None,
        }
    }
    /// Offset inside its page.
    pub const fn page_offset(self) -> usize {
        (self.0 & (PAGE_SIZE as u64 - 1)) as usize
    }
    /// Whether it is a multiple of the page size.
    pub const fn is_page_aligned(self) -> bool {
        self.page_offset() == 0
    }
    /// Virtual page number.
    pub const fn vpn(self) -> u64 {
        self.0 >> PAGE_SHIFT
    }
}

impl fmt::Debug for UserAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}
impl fmt::Display for UserAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}
impl fmt::LowerHex for UserAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::LowerHex::fmt(&self.0, f)
    }
}

/// A page frame number: a page of guest-physical memory.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(transparent)]
pub struct Pfn(pub u32);

impl Pfn {
    /// Address of the frame's first byte.
    pub const fn addr(self) -> PhysAddr {
        PhysAddr((self.0 as u64) << PAGE_SHIFT)
    }
    /// The frame `n` further on.
    pub const fn add(self, n: u32) -> Pfn {
        Pfn(self.0 + n)
    }
}

/// A byte address in guest-physical memory.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(transparent)]
pub struct PhysAddr(pub u64);

impl PhysAddr {
    /// This address plus `n` bytes.
    pub const fn add(self, n: usize) -> PhysAddr {
        PhysAddr(self.0 + n as u64)
    }
    /// The frame it lies in.
    pub const fn pfn(self) -> Pfn {
        Pfn((self.0 >> PAGE_SHIFT) as u32)
    }
}

/// Pages that `bytes` bytes take.
pub const fn pages_for(bytes: u64) -> u64 {
    bytes.div_ceil(PAGE_SIZE as u64)
}
