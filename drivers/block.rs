//! Block devices: what a disk can do, whatever it is made of.

use base::{Errno, PhysAddr, Result, err};

/// A disk. Offsets and lengths are in bytes and must be multiples of 512 (the logical sector).
/// Calls may sleep; no spin lock may be held.
pub trait BlockDevice: Send + Sync + std::fmt::Debug {
    /// Size in bytes.
    fn len(&self) -> u64;
    /// Whether writes are refused (with EROFS).
    fn read_only(&self) -> bool;
    /// Reads into kernel memory.
    ///
    /// # Errors
    /// EIO from the host; EINVAL for a range outside of the device.
    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()>;
    /// Writes from kernel memory. Done when the device has it; safe only after [`BlockDevice::flush`].
    ///
    /// # Errors
    /// EIO, ENOSPC from the host; EROFS; EINVAL as for `read`.
    fn write(&self, offset: u64, data: &[u8]) -> Result<()>;
    /// Reads a contiguous device range into guest frames, piece after piece.
    ///
    /// # Errors
    /// As `read`.
    fn read_phys(&self, offset: u64, pieces: &[(PhysAddr, usize)]) -> Result<()>;
    /// Writes a contiguous device range from guest frames.
    ///
    /// # Errors
    /// As `write`.
    fn write_phys(&self, offset: u64, pieces: &[(PhysAddr, usize)]) -> Result<()>;
    /// Makes everything written so far survive a power cut.
    ///
    /// # Errors
    /// EIO.
    fn flush(&self) -> Result<()>;
    /// Tells the device that a range is not needed any more; it reads as zeros or old data.
    ///
    /// # Errors
    /// EOPNOTSUPP where it cannot.
    fn discard(&self, offset: u64, len: u64) -> Result<()>;
    /// Whether the device has no bytes at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Bytes in a logical sector.
pub const SECTOR: u64 = 512;

/// Checks that `offset..offset + len` consists of whole sectors of a device of `size` bytes.
///
/// # Errors
/// EINVAL.
pub fn check_range(size: u64, offset: u64, len: usize) -> Result<()> {
    let end = offset.checked_add(len as u64);
    if offset.is_multiple_of(SECTOR)
        && (len as u64).is_multiple_of(SECTOR)
        && end.is_some_and(|e| e <= size)
    {
        Ok(())
    } else {
        err(Errno::EINVAL)
    }
}
