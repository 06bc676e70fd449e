//! Extent trees: looking up.
//!
//! A node is a header (magic, entries, room, depth) and entries of 12 bytes: in a leaf runs of blocks, else
//! (first file block, child). The root lives in the inode and has four entries. A node that comes
//! from the disk is checked whole, once; each walk checks depth and key range of the child against its
//! parent, so that no damage can make a walk go round in circles.

use std::sync::Arc;

use base::Result;

use super::cache::Kind;
use super::disk::{get16, get32};
use super::icore::{Core, State};
use super::map::Map;

pub(super) const MAGIC: u16 = 0xf30a;
pub(super) const MAX_DEPTH: u16 = 5;
/// Longest run of a written extent; one less for an unwritten one, whose length is stored plus this.
pub(super) const MAX_LEN: u64 = 32768;
/// File block numbers end here.
pub(super) const END: u64 = 1 << 32;

pub(super) fn entries(d: &[u8]) -> usize {
    get16(d, 2) as usize
}
pub(super) fn room(d: &[u8]) -> usize {
    get16(d, 4) as usize
}
pub(super) fn depth(d: &[u8]) -> u16 {
    get16(d, 6)
}
/// First file block of an entry of any node.
pub(super) fn key(d: &[u8], i: usize) -> u64 {
    get32(d, 12 + 12 * i).into()
}
/// Child of an index entry.
pub(super) fn child(d: &[u8], i: usize) -> u64 {
    u64::from(get32(d, 16 + 12 * i)) | u64::from(get16(d, 20 + 12 * i)) << 32
}
/// A leaf's entry.
pub(super) fn extent(d: &[u8], i: usize) -> Map {
    let at = 12 + 12 * i;
    let raw = u64::from(get16(d, at + 4));
    let unwritten = raw > MAX_LEN;
    Map {
        lblk: get32(d, at).into(),
        len: if unwritten { raw - MAX_LEN } else { raw },
        phys: Some(u64::from(get32(d, at + 8)) | u64::from(get16(d, at + 6)) << 32),
        unwritten,
    }
}
/// How many entries start at or before `lblk`.
pub(super) fn upto(d: &[u8], lblk: u64) -> usize {
    let (mut lo, mut hi) = (0, entries(d));
    while lo < hi {
        let mid = (lo + hi) / 2;
        if key(d, mid) <= lblk { lo = mid + 1 } else { hi = mid }
    }
    lo
}

/// One node on the way from the root to a leaf.
#[derive(Debug)]
pub(super) struct Step {
    /// Its block; 0: the root in the inode.
    pub(super) block: u64,
    /// What it holds.
    pub(super) data: Arc<Vec<u8>>,
    /// The entry taken. In a leaf: the last one at or before the block, -1 if there is none.
    pub(super) idx: isize,
    /// Where the next node's keys begin.
    pub(super) hi: u64,
}

impl Core {
    fn check_node(&self, d: &[u8], root: bool) -> Result<()> {
        let fs = &self.fs;
        let (n, max) = (entries(d), room(d));
        let mut ok = get16(d, 0) == MAGIC
            && n <= max
            && 12 + 12 * max <= d.len()
            && depth(d) <= MAX_DEPTH
            && (root || max >= 4)
            && (n > 0 || (root && depth(d) == 0));
        let mut end = 0;
        for i in 0..if ok { n } else { 0 } {
            if depth(d) > 0 {
                let c = child(d, i);
                ok &= (i == 0 || key(d, i) >= end) && fs.own_block(c, 1);
                end = key(d, i) + 1;
            } else {
                let e = extent(d, i);
                ok &= e.len > 0
                    && e.lblk >= end
                    && e.lblk + e.len <= END
                    && fs.own_block(e.phys.unwrap_or(0), e.len);
                end = e.lblk + e.len;
            }
        }
        if ok {
            Ok(())
        } else {
            Err(fs.corrupt(&format!("extent tree of inode {} is damaged", self.ino)))
        }
    }

    /// The way to the leaf for `lblk`.
    ///
    /// # Errors
    /// EIO; EUCLEAN.
    pub(super) fn ext_path(&self, s: &State, lblk: u64) -> Result<Vec<Step>> {
        self.check_node(&s.block.0, true)?;
        let mut path = Vec::with_capacity(3);
        let (mut block, mut data, mut hi) = (0, Arc::new(s.block.0.to_vec()), END);
        loop {
            let at = upto(&data, lblk) as isize - 1;
            if depth(&data) == 0 {
                path.push(Step { block, data, idx: at, hi });
                return Ok(path);
            }
            let i = at.max(0) as usize;
            let lo = key(&data, i);
            let next_hi = if i + 1 < entries(&data) { key(&data, i + 1) } else { hi };
            let next = child(&data, i);
            let want = depth(&data) - 1;
            path.push(Step { block, data, idx: i as isize, hi });
            hi = next_hi;
            data =
                self.fs.read_block(next, Kind::Extent, self.seed, |d| self.check_node(d, false))?;
            block = next;
            let n = entries(&data);
            if depth(&data) != want || n == 0 || key(&data, 0) < lo || key(&data, n - 1) >= hi {
                return Err(self
                    .fs
                    .corrupt(&format!("extent tree of inode {} is damaged", self.ino)));
            }
        }
    }

    /// The extent or the hole at `lblk`.
    ///
    /// # Errors
    /// EIO; EUCLEAN.
    pub(super) fn ext_find(&self, s: &State, lblk: u64) -> Result<Map> {
        let path = self.ext_path(s, lblk)?;
        let Some(leaf) = path.last() else { return Ok(Map::hole(lblk, 1)) };
        if leaf.idx >= 0 {
            let e = extent(&leaf.data, leaf.idx as usize);
            if lblk - e.lblk < e.len {
                return Ok(e);
            }
        }
        let next = (leaf.idx + 1) as usize;
        let end = if next < entries(&leaf.data) { key(&leaf.data, next) } else { leaf.hi };
        Ok(Map::hole(lblk, end.max(lblk + 1) - lblk))
    }
}
