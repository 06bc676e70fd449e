//! Block devices: what a disk can do, whatever it is made of.

use base::{PhysAddr, Result};

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
