//! A disk in the kernel's own memory: for tests, and for small scratch volumes.

use std::sync::Arc;

use arch::PhysMem;
use base::{Errno, Mutex, PhysAddr, Result, err};

use crate::block::{BlockDevice, check_range};

/// A disk whose bytes are a vector.
#[derive(Debug)]
pub struct RamDisk {
    data: Mutex<Vec<u8>>,
    len: u64,
    read_only: bool,
    phys: Option<Arc<PhysMem>>,
}

impl RamDisk {
    /// A disk with these bytes, filled up to a whole sector. `phys` is needed only for
    /// [`BlockDevice::read_phys`] and [`BlockDevice::write_phys`].
    pub fn new(mut data: Vec<u8>, read_only: bool, phys: Option<Arc<PhysMem>>) -> RamDisk {
        data.resize(data.len().next_multiple_of(512), 0);
        RamDisk { len: data.len() as u64, data: Mutex::new(data), read_only, phys }
    }

    /// A copy of everything on it.
    pub fn contents(&self) -> Vec<u8> {
        self.data.lock().clone()
    }

    fn phys(&self) -> Result<&PhysMem> {
        self.phys.as_deref().ok_or_else(|| Errno::EOPNOTSUPP.into())
    }
}

impl BlockDevice for RamDisk {
    fn len(&self) -> u64 {
        self.len
    }
    fn read_only(&self) -> bool {
        self.read_only
    }
    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        check_range(self.len, offset, buf.len())?;
        let at = offset as usize;
        buf.copy_from_slice(&self.data.lock()[at..at + buf.len()]);
        Ok(())
    }
    fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
        if self.read_only {
            return err(Errno::EROFS);
        }
        check_range(self.len, offset, data.len())?;
        let at = offset as usize;
        self.data.lock()[at..at + data.len()].copy_from_slice(data);
        Ok(())
    }
    fn read_phys(&self, offset: u64, pieces: &[(PhysAddr, usize)]) -> Result<()> {
        check_range(self.len, offset, pieces.iter().map(|p| p.1).sum())?;
        let phys = self.phys()?;
        let data = self.data.lock();
        let mut at = offset as usize;
        for &(to, len) in pieces {
            phys.write(to, &data[at..at + len]);
            at += len;
        }
        Ok(())
    }
    fn write_phys(&self, offset: u64, pieces: &[(PhysAddr, usize)]) -> Result<()> {
        if self.read_only {
            return err(Errno::EROFS);
        }
        check_range(self.len, offset, pieces.iter().map(|p| p.1).sum())?;
        let phys = self.phys()?;
        let mut data = self.data.lock();
        let mut at = offset as usize;
        for &(from, len) in pieces {
            phys.read(from, &mut data[at..at + len]);
            at += len;
        }
        Ok(())
    }
    fn flush(&self) -> Result<()> {
        Ok(())
    }
    fn discard(&self, offset: u64, len: u64) -> Result<()> {
        if self.read_only {
            return err(Errno::EROFS);
        }
        check_range(self.len, offset, len as usize)?;
        self.data.lock()[offset as usize..(offset + len) as usize].fill(0);
        Ok(())
    }
}
