//! A throw-away layer over a disk: writes go to a nameless temporary file of the host, the disk
//! below is never touched.
//!
//! The file is sparse and as long as the disk; a block of it holds data once its bit in the map
//! is set, and until then the disk below does. A bit is set after its block is complete in the
//! file, so readers need no lock; writers take turns, because two of them may complete one block.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arch::PhysMem;
use arch::hostfile::HostFile;
use base::{Errno, Mutex, PhysAddr, Result};

use crate::block::{BlockDevice, check_range};
use crate::hostblk::write_error;

/// Bytes that one bit of the map stands for.
pub const COW_BLOCK: u64 = 4096;

/// A disk whose changes vanish with it.
#[derive(Debug)]
pub struct CowDisk {
    below: Arc<dyn BlockDevice>,
    file: HostFile,
    phys: Arc<PhysMem>,
    map: Vec<AtomicU64>,
    writer: Mutex<()>,
}

impl CowDisk {
    /// A layer over `below`, its file in `dir` ($TMPDIR, /var/tmp or memory if None).
    ///
    /// # Errors
    /// From the host, if it gives no temporary file of that size.
    pub fn new(
        below: Arc<dyn BlockDevice>,
        phys: Arc<PhysMem>,
        dir: Option<&Path>,
    ) -> Result<CowDisk> {
        let file = HostFile::temporary(dir)?;
        file.set_len(below.len())?;
        let words = below.len().div_ceil(COW_BLOCK).div_ceil(64);
        let map = (0..words).map(|_| AtomicU64::new(0)).collect();
        Ok(CowDisk { below, file, phys, map, writer: Mutex::new(()) })
    }

    /// Bytes that differ from the disk below, at most.
    pub fn changed(&self) -> u64 {
        let blocks: u64 =
            self.map.iter().map(|w| u64::from(w.load(Ordering::Relaxed).count_ones())).sum();
        blocks * COW_BLOCK
    }

    fn has(&self, block: u64) -> bool {
        let word = self.map[(block / 64) as usize].load(Ordering::Acquire);
        word & (1 << (block % 64)) != 0
    }

    fn set(&self, offset: u64, len: u64) {
        for block in offset / COW_BLOCK..(offset + len).div_ceil(COW_BLOCK) {
            self.map[(block / 64) as usize].fetch_or(1 << (block % 64), Ordering::Release);
        }
    }

    /// Calls `each(offset, length, in the layer)` for the runs of `offset..offset + len`.
    fn runs(
        &self,
        offset: u64,
        len: u64,
        mut each: impl FnMut(u64, u64, bool) -> Result<()>,
    ) -> Result<()> {
        let end = offset + len;
        let mut at = offset;
        while at < end {
            let layer = self.has(at / COW_BLOCK);
            let mut to = ((at / COW_BLOCK + 1) * COW_BLOCK).min(end);
            while to < end && self.has(to / COW_BLOCK) == layer {
                to = (to + COW_BLOCK).min(end);
            }
            each(at, to - at, layer)?;
            at = to;
        }
        Ok(())
    }

    /// Brings the blocks at both ends of a write, if it covers them only in part, into the file.
    fn complete_ends(&self, offset: u64, len: u64) -> Result<()> {
        let mut buf = [0; COW_BLOCK as usize];
        let end = offset + len;
        let (first, last) = (offset / COW_BLOCK, (end - 1) / COW_BLOCK);
        for block in [first, last] {
            let start = block * COW_BLOCK;
            let stop = (start + COW_BLOCK).min(self.below.len());
            let covered = offset <= start && end >= stop;
            if !covered && !self.has(block) && (block == first || first != last) {
                let buf = &mut buf[..(stop - start) as usize];
                self.below.read(start, buf)?;
                self.file.write_at(start, buf).map_err(write_error)?;
            }
        }
        Ok(())
    }

    /// A write of `len` bytes at `offset` that `store` does.
    fn change(&self, offset: u64, len: usize, store: impl FnOnce() -> Result<()>) -> Result<()> {
        check_range(self.below.len(), offset, len)?;
        if len == 0 {
            return Ok(());
        }
        let _turn = self.writer.lock();
        self.complete_ends(offset, len as u64)?;
        store().map_err(write_error)?;
        self.set(offset, len as u64);
        Ok(())
    }
}

/// The part `from..from + len` of scattered memory.
fn part(pieces: &[(PhysAddr, usize)], from: u64, len: u64) -> Vec<(PhysAddr, usize)> {
    let (mut skip, mut left) = (from as usize, len as usize);
    let mut out = Vec::new();
    for &(at, n) in pieces {
        let cut = skip.min(n);
        skip -= cut;
        let take = (n - cut).min(left);
        if take > 0 {
            out.push((at.add(cut), take));
            left -= take;
        }
    }
    out
}

impl BlockDevice for CowDisk {
    fn len(&self) -> u64 {
        self.below.len()
    }
    fn read_only(&self) -> bool {
        false
    }
    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        check_range(self.len(), offset, buf.len())?;
        self.runs(offset, buf.len() as u64, |at, n, layer| {
            let start = (at - offset) as usize;
            let piece = &mut buf[start..start + n as usize];
            if layer { self.file.read_at(at, piece) } else { self.below.read(at, piece) }
        })
    }
    fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
        self.change(offset, data.len(), || self.file.write_at(offset, data))
    }
    fn read_phys(&self, offset: u64, pieces: &[(PhysAddr, usize)]) -> Result<()> {
        let len = pieces.iter().map(|p| p.1).sum();
        check_range(self.len(), offset, len)?;
        self.runs(offset, len as u64, |at, n, layer| {
            let piece = part(pieces, at - offset, n);
            if layer {
                self.file.read_at_phys(at, &self.phys, &piece)
            } else {
                self.below.read_phys(at, &piece)
            }
        })
    }
    fn write_phys(&self, offset: u64, pieces: &[(PhysAddr, usize)]) -> Result<()> {
        let len = pieces.iter().map(|p| p.1).sum();
        self.change(offset, len, || self.file.write_at_phys(offset, &self.phys, pieces))
    }
    fn flush(&self) -> Result<()> {
        Ok(()) // nothing here outlives the process anyway
    }
    fn discard(&self, offset: u64, len: u64) -> Result<()> {
        check_range(self.len(), offset, usize::try_from(len).unwrap_or(usize::MAX))?;
        // Whole blocks only: they read as zeros from then on.
        let start = offset.next_multiple_of(COW_BLOCK);
        let end = (offset + len) / COW_BLOCK * COW_BLOCK;
        if start >= end {
            return Ok(());
        }
        let _turn = self.writer.lock();
        match self.file.punch_hole(start, end - start) {
            Ok(()) => {
                self.set(start, end - start);
                Ok(())
            }
            Err(_) => base::err(Errno::EOPNOTSUPP),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ramdisk::RamDisk;

    const SIZE: usize = 40 * 512 + 4096 * 3; // ends in the middle of a block

    #[derive(Debug, Clone)]
    enum Op {
        Write(usize, usize, u8),
        WritePhys(usize, usize, u8),
        Read(usize, usize),
        ReadPhys(usize, usize),
        Discard(usize, usize),
    }

    fn op() -> impl Strategy<Value = Op> {
        let range = || (0..SIZE / 512).prop_flat_map(|s| (Just(s), 0..=SIZE / 512 - s));
        prop_oneof![
            (range(), any::<u8>()).prop_map(|((s, n), c)| Op::Write(s, n, c)),
            (range(), any::<u8>()).prop_map(|((s, n), c)| Op::WritePhys(s, n, c)),
            range().prop_map(|(s, n)| Op::Read(s, n)),
            range().prop_map(|(s, n)| Op::ReadPhys(s, n)),
            range().prop_map(|(s, n)| Op::Discard(s, n)),
        ]
    }

    /// Memory in two parts, in the reverse order.
    fn scattered(len: usize) -> Vec<(PhysAddr, usize)> {
        let head = len / 3;
        vec![(PhysAddr(0x40000), head), (PhysAddr(0x100), len - head)]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn behaves_as_a_vector(ops in proptest::collection::vec(op(), 1..40)) {
            let phys = Arc::new(PhysMem::new(1 << 20).unwrap());
            let original: Vec<u8> = (0..SIZE).map(|i| (i / 512) as u8).collect();
            let below = Arc::new(RamDisk::new(original.clone(), true, Some(phys.clone())));
            let cow = CowDisk::new(below.clone(), phys.clone(), None).unwrap();
            let mut model = original.clone();
            for op in ops {
                match op {
                    Op::Write(s, n, c) => {
                        cow.write(s as u64 * 512, &vec![c; n * 512]).unwrap();
                        model[s * 512..(s + n) * 512].fill(c);
                    }
                    Op::WritePhys(s, n, c) => {
                        let pieces = scattered(n * 512);
                        let mut value = c;
                        let mut at = s * 512;
                        for &(p, len) in &pieces {
                            phys.write(p, &vec![value; len]);
                            model[at..at + len].fill(value);
                            at += len;
                            value = value.wrapping_add(1);
                        }
                        cow.write_phys(s as u64 * 512, &pieces).unwrap();
                    }
                    Op::Read(s, n) => {
                        let mut buf = vec![0xee; n * 512];
                        cow.read(s as u64 * 512, &mut buf).unwrap();
                        prop_assert!(buf == model[s * 512..(s + n) * 512]);
                    }
                    Op::ReadPhys(s, n) => {
                        let pieces = scattered(n * 512);
                        cow.read_phys(s as u64 * 512, &pieces).unwrap();
                        let mut buf = Vec::new();
                        for &(p, len) in &pieces {
                            let mut b = vec![0; len];
                            phys.read(p, &mut b);
                            buf.extend(b);
                        }
                        prop_assert!(buf == model[s * 512..(s + n) * 512]);
                    }
                    Op::Discard(s, n) => {
                        cow.discard(s as u64 * 512, n as u64 * 512).unwrap();
                        let start = (s * 512).next_multiple_of(4096);
                        let end = (s + n) * 512 / 4096 * 4096;
                        if start < end {
                            model[start..end].fill(0);
                        }
                    }
                }
            }
            let mut all = vec![0; SIZE];
            cow.read(0, &mut all).unwrap();
            prop_assert!(all == model);
            prop_assert!(below.contents() == original);
        }
    }

    #[test]
    fn refuses_what_lies_outside() {
        let phys = Arc::new(PhysMem::new(1 << 20).unwrap());
        let below = Arc::new(RamDisk::new(vec![0; 4096], true, None));
        let cow = CowDisk::new(below, phys, None).unwrap();
        assert_eq!(cow.write(4096, &[0; 512]).unwrap_err(), Errno::EINVAL);
        assert_eq!(cow.read(u64::MAX - 511, &mut [0; 512]).unwrap_err(), Errno::EINVAL);
        assert_eq!(cow.discard(0, u64::MAX).unwrap_err(), Errno::EINVAL);
        assert_eq!(cow.changed(), 0);
        cow.write(0, &[]).unwrap();
    }
}
