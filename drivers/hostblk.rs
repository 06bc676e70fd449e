//! A disk whose bytes are a file (or a block device) of the host: `ubd0=IMAGE`.
//!
//! The whole file is locked against other Umbras as long as the disk exists: shared for reading,
//! exclusively for writing. What is wrong with an image is said in one line ([`DiskError`]).

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use arch::PhysMem;
use arch::hostfile::{HostFile, LockKind, OpenError};
use base::{Errno, PhysAddr, Result, err};

use crate::block::{BlockDevice, SECTOR, check_range};

/// Why a host file cannot be a disk. Displays as one line that names the file.
#[derive(Clone, Debug)]
pub struct DiskError {
    line: String,
    errno: Errno,
}

impl DiskError {
    fn new(path: &Path, why: impl fmt::Display, errno: Errno) -> DiskError {
        DiskError { line: format!("{}: {why}", path.display()), errno }
    }
    /// The error number that fits.
    pub fn errno(&self) -> Errno {
        self.errno
    }
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line)
    }
}

impl std::error::Error for DiskError {}

impl From<OpenError> for DiskError {
    fn from(e: OpenError) -> DiskError {
        DiskError { line: e.to_string(), errno: e.errno() }
    }
}

/// A disk on the host.
#[derive(Debug)]
pub struct HostDisk {
    file: HostFile,
    len: u64,
    phys: Arc<PhysMem>,
}

impl HostDisk {
    /// Opens the image at `path` and locks it.
    ///
    /// # Errors
    /// One line for: missing, no permission, a directory or another thing that is no disk, empty,
    /// not a multiple of 512 bytes, in use by another Umbra (EBUSY).
    pub fn open(path: &Path, read_only: bool, phys: Arc<PhysMem>) -> Result<HostDisk, DiskError> {
        let file = HostFile::open(path, read_only)?;
        let bad = |e: base::Error| DiskError::new(path, e.errno().text(), e.errno());
        let len = file.len().map_err(bad)?;
        if len == 0 {
            return Err(DiskError::new(path, "is empty, not a disk image", Errno::EINVAL));
        }
        if !len.is_multiple_of(SECTOR) {
            let why = format!("has {len} bytes, no multiple of {SECTOR}: not a disk image, or cut");
            return Err(DiskError::new(path, why, Errno::EINVAL));
        }
        let kind = if read_only { LockKind::Shared } else { LockKind::Exclusive };
        match file.lock(kind) {
            Ok(()) => Ok(HostDisk { file, len, phys }),
            Err(e) if e == Errno::EAGAIN => {
                Err(DiskError::new(path, "is in use by another Umbra", Errno::EBUSY))
            }
            Err(e) => Err(bad(e)),
        }
    }

    fn check_write(&self, offset: u64, len: usize) -> Result<()> {
        if self.file.read_only() {
            return err(Errno::EROFS);
        }
        check_range(self.len, offset, len)
    }
}

/// The host's words for a full disk, as a guest's disk says it.
#[track_caller]
pub(crate) fn write_error(e: base::Error) -> base::Error {
    match e.errno() {
        Errno::ENOSPC | Errno::EDQUOT | Errno::EFBIG => Errno::ENOSPC.into(),
        Errno::ENOMEM => e,
        _ => Errno::EIO.into(),
    }
}

impl BlockDevice for HostDisk {
    fn len(&self) -> u64 {
        self.len
    }
    fn read_only(&self) -> bool {
        self.file.read_only()
    }
    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        check_range(self.len, offset, buf.len())?;
        self.file.read_at(offset, buf)
    }
    fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
        self.check_write(offset, data.len())?;
        self.file.write_at(offset, data).map_err(|e| write_error(e))
    }
    fn read_phys(&self, offset: u64, pieces: &[(PhysAddr, usize)]) -> Result<()> {
        check_range(self.len, offset, pieces.iter().map(|p| p.1).sum())?;
        self.file.read_at_phys(offset, &self.phys, pieces)
    }
    fn write_phys(&self, offset: u64, pieces: &[(PhysAddr, usize)]) -> Result<()> {
        self.check_write(offset, pieces.iter().map(|p| p.1).sum())?;
        self.file.write_at_phys(offset, &self.phys, pieces).map_err(|e| write_error(e))
    }
    fn flush(&self) -> Result<()> {
        if self.file.read_only() {
            Ok(())
        } else {
            self.file.sync(true).map_err(|e| write_error(e))
        }
    }
    fn discard(&self, offset: u64, len: u64) -> Result<()> {
        self.check_write(offset, usize::try_from(len).unwrap_or(usize::MAX))?;
        if len == 0 { Ok(()) } else { self.file.punch_hole(offset, len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &Path, read_only: bool) -> Result<HostDisk, DiskError> {
        HostDisk::open(path, read_only, Arc::new(PhysMem::new(1 << 20).unwrap()))
    }

    #[test]
    fn every_bad_image_has_its_line() {
        let dir = std::env::temp_dir().join(format!("umbra-hostblk-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("empty"), b"").unwrap();
        std::fs::write(dir.join("odd"), [0; 513]).unwrap();
        for (name, errno, words) in [
            ("absent", Errno::ENOENT, "No such file"),
            ("", Errno::EISDIR, "is a directory"),
            ("empty", Errno::EINVAL, "is empty"),
            ("odd", Errno::EINVAL, "513 bytes"),
        ] {
            let e = open(&dir.join(name), true).unwrap_err();
            assert_eq!(e.errno(), errno);
            let line = e.to_string();
            assert!(line.contains(words) && line.contains(name) && !line.contains('\n'), "{line}");
        }

        let image = dir.join("image");
        std::fs::write(&image, [7; 4096]).unwrap();
        let writer = open(&image, false).unwrap();
        let e = open(&image, true).unwrap_err();
        assert_eq!((e.errno(), e.to_string().contains("in use")), (Errno::EBUSY, true));
        writer.write(512, &[9; 512]).unwrap();
        writer.flush().unwrap();
        assert_eq!(writer.write(4096, &[0; 512]).unwrap_err(), Errno::EINVAL);
        assert_eq!(writer.write(1, &[0; 512]).unwrap_err(), Errno::EINVAL);
        drop(writer);
        let (a, b) = (open(&image, true).unwrap(), open(&image, true).unwrap());
        assert_eq!(open(&image, false).unwrap_err().errno(), Errno::EBUSY);
        let mut s = [0; 1024];
        a.read(0, &mut s).unwrap();
        assert_eq!((s[511], s[512]), (7, 9));
        assert_eq!(a.write(0, &[0; 512]).unwrap_err(), Errno::EROFS);
        // Cut behind our back: an error, no garbage.
        std::fs::write(&image, [7; 512]).unwrap();
        assert_eq!(b.read(0, &mut s).unwrap_err(), Errno::EIO);
        std::fs::remove_dir_all(dir).unwrap();
    }
}
