//! From a block of a file to a block of the device: what extent trees and block maps share.

use base::{Errno, Result, err};

use super::alloc::Wish;
use super::icore::{Core, State};
use super::txn::Txn;

/// A run of file blocks and where it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Map {
    /// First file block.
    pub(super) lblk: u64,
    /// Blocks, at least one.
    pub(super) len: u64,
    /// First device block; None: a hole.
    pub(super) phys: Option<u64>,
    /// Allocated but never written: reads as zeros.
    pub(super) unwritten: bool,
}

impl Map {
    /// A hole.
    pub(super) fn hole(lblk: u64, len: u64) -> Map {
        Map { lblk, len, phys: None, unwritten: false }
    }
    /// The device block to read, None for zeros.
    pub(super) fn readable(&self) -> Option<u64> {
        if self.unwritten { None } else { self.phys }
    }
    fn from(&self, lblk: u64) -> Map {
        let d = lblk - self.lblk;
        Map { lblk, len: self.len - d, phys: self.phys.map(|p| p + d), unwritten: self.unwritten }
    }
}

/// The mappings that an inode looked up last, so that sequential I/O does not walk the tree each time.
#[derive(Clone, Debug, Default)]
pub(super) struct MapCache {
    slots: Vec<Map>,
    next: usize,
}

const SLOTS: usize = 8;

impl MapCache {
    fn find(&self, lblk: u64) -> Option<Map> {
        self.slots.iter().find(|m| m.lblk <= lblk && lblk - m.lblk < m.len).map(|m| m.from(lblk))
    }
    fn add(&mut self, m: Map) {
        if self.slots.len() < SLOTS {
            self.slots.push(m);
        } else {
            self.slots[self.next] = m;
            self.next = (self.next + 1) % SLOTS;
        }
    }
    /// The tree changed.
    pub(super) fn clear(&mut self) {
        self.slots.clear();
        self.next = 0;
    }
}

impl Core {
    /// The run that starts at `lblk`, at most `max` blocks of it.
    ///
    /// # Errors
    /// EIO; EUCLEAN.
    pub(super) fn map(&self, s: &mut State, lblk: u64, max: u64) -> Result<Map> {
        let mut m = match s.maps.find(lblk) {
            Some(m) => m,
            None => {
                let m = if s.has_extents() {
                    self.ext_find(s, lblk)?
                } else {
                    self.ind_find(s, lblk, max)?
                };
                s.maps.add(m);
                m.from(lblk)
            }
        };
        m.len = m.len.min(max);
        // Blocks that an indirect file was given but never wrote.
        if let (false, Some(_)) = (s.fresh.is_empty(), m.phys) {
            match s.fresh.range(..=lblk).next_back() {
                Some((_, &end)) if end > lblk => {
                    m.unwritten = true;
                    m.len = m.len.min(end - lblk);
                }
                _ => {
                    if let Some((&start, _)) = s.fresh.range(lblk..).next() {
                        m.len = m.len.min(start - lblk);
                    }
                }
            }
        }
        Ok(m)
    }

    /// Gives blocks to every hole of `lblk..end`; `unwritten`: they read as zeros until written
    /// (see `mark_written`). On failure what this call allocated is freed again.
    ///
    /// # Errors
    /// ENOSPC; EFBIG; EIO; EUCLEAN.
    pub(super) fn allocate(
        &self,
        txn: &Txn<'_>,
        s: &mut State,
        lblk: u64,
        end: u64,
        unwritten: bool,
    ) -> Result<()> {
        if end > self.fs.max_size(s.has_extents()).div_ceil(self.fs.geo.block_size as u64) {
            return err(Errno::EFBIG);
        }
        let mut done: Vec<(u64, u64)> = Vec::new();
        let mut at = lblk;
        while at < end {
            let r = self.map(s, at, end - at).and_then(|m| {
                if m.phys.is_some() {
                    Ok(m.len)
                } else {
                    self.fill_hole(txn, s, m, unwritten, &mut done)
                }
            });
            match r {
                Ok(n) => at += n,
                Err(e) => {
                    for (a, b) in done {
                        let _ = self.unmap(txn, s, a, b);
                    }
                    return Err(e);
                }
            }
        }
        Ok(())
    }

    fn fill_hole(
        &self,
        txn: &Txn<'_>,
        s: &mut State,
        m: Map,
        unwritten: bool,
        done: &mut Vec<(u64, u64)>,
    ) -> Result<u64> {
        let fs = &self.fs;
        let goal = self.goal(s, m.lblk);
        let regular = self.kind == crate::inode::FileType::Regular;
        let appended = m.lblk >= 16 && m.lblk << fs.geo.block_bits >= s.size;
        let window = if regular && appended { m.lblk.clamp(16, 2048) } else { 0 };
        let wish = Wish {
            goal,
            want: m.len,
            ino: self.ino,
            window,
            privileged: !regular || s.uid == 0 || s.uid == fs.geo.reserved_uid,
        };
        let (start, len) = txn.alloc_blocks(wish)?;
        let new = Map { lblk: m.lblk, len, phys: Some(start), unwritten };
        let r = if s.has_extents() {
            self.ext_insert(txn, s, new)
        } else {
            self.ind_insert(txn, s, new)
        };
        s.maps.clear();
        if let Err(e) = r {
            if !s.has_extents() {
                let _ = self.ind_clear(txn, s, m.lblk, m.lblk + len, false);
            }
            let _ = txn.free_blocks(start, len, !regular);
            return Err(e);
        }
        if unwritten && !s.has_extents() {
            s.fresh.insert(m.lblk, m.lblk + len);
        }
        s.sectors += len << (fs.geo.block_bits - 9);
        s.last_block = start + len - 1;
        done.push((m.lblk, m.lblk + len));
        Ok(len)
    }

    /// Where block `lblk` should go: after the block before it, else near the inode.
    fn goal(&self, s: &mut State, lblk: u64) -> u64 {
        if lblk > 0
            && let Ok(Map { phys: Some(p), .. }) = self.map(s, lblk - 1, 1)
        {
            return p + 1;
        }
        if s.last_block != 0 {
            return s.last_block + 1;
        }
        let geo = &self.fs.geo;
        geo.group_start((self.ino - 1) / geo.inodes_per_group)
    }

    /// Makes `lblk..end`, as far as allocated, read as what is on the device.
    ///
    /// # Errors
    /// ENOSPC; EIO; EUCLEAN.
    pub(super) fn mark_written(
        &self,
        txn: &Txn<'_>,
        s: &mut State,
        lblk: u64,
        end: u64,
    ) -> Result<()> {
        if !s.has_extents() {
            cut(&mut s.fresh, lblk, end);
            return Ok(());
        }
        let mut at = lblk;
        while at < end {
            let m = self.map(s, at, end - at)?;
            if m.unwritten {
                self.ext_convert(txn, s, m)?;
                s.maps.clear();
            }
            at += m.len;
        }
        Ok(())
    }

    /// Whether anything of `lblk..end` has to be converted after it was written.
    pub(super) fn any_unwritten(&self, s: &mut State, lblk: u64, end: u64) -> Result<bool> {
        let mut at = lblk;
        while at < end {
            let m = self.map(s, at, end - at)?;
            if m.unwritten {
                return Ok(true);
            }
            at += m.len;
        }
        Ok(false)
    }

    /// Frees the blocks of `lblk..end`.
    ///
    /// # Errors
    /// EIO; EUCLEAN; ENOSPC if an extent must be cut in two and there is no room for its other half.
    pub(super) fn unmap(&self, txn: &Txn<'_>, s: &mut State, lblk: u64, end: u64) -> Result<()> {
        s.maps.clear();
        cut(&mut s.fresh, lblk, end);
        s.last_block = 0;
        if s.has_extents() {
            self.ext_remove(txn, s, lblk, end, true)
        } else {
            self.ind_clear(txn, s, lblk, end, true)
        }
    }

    /// Accounts for and frees a run of the file's own blocks.
    pub(super) fn release(
        &self,
        txn: &Txn<'_>,
        s: &mut State,
        start: u64,
        len: u64,
        meta: bool,
    ) -> Result<()> {
        s.sectors = s.sectors.saturating_sub(len << (self.fs.geo.block_bits - 9));
        let meta = meta || self.kind != crate::inode::FileType::Regular;
        txn.free_blocks(start, len, meta)
    }

    /// One block for the file's own map.
    ///
    /// # Errors
    /// ENOSPC; EIO.
    pub(super) fn alloc_meta(&self, txn: &Txn<'_>, s: &mut State) -> Result<u64> {
        let goal = if s.last_block != 0 {
            s.last_block
        } else {
            let geo = &self.fs.geo;
            geo.group_start((self.ino - 1) / geo.inodes_per_group)
        };
        let wish = Wish { goal, want: 1, ino: 0, window: 0, privileged: true };
        let (b, _) = txn.alloc_blocks(wish)?;
        s.sectors += 1 << (self.fs.geo.block_bits - 9);
        Ok(b)
    }
}

/// Removes `a..b` from a set of ranges.
fn cut(set: &mut std::collections::BTreeMap<u64, u64>, a: u64, b: u64) {
    let hit: Vec<(u64, u64)> =
        set.range(..b).rev().take_while(|r| *r.1 > a).map(|r| (*r.0, *r.1)).collect();
    for (s, e) in hit {
        set.remove(&s);
        if s < a {
            set.insert(s, a);
        }
        if e > b {
            set.insert(b, e);
        }
    }
}
