//! Extent trees: inserting, removing, splitting nodes.
//!
//! Every edit walks anew from the root, changes one leaf, and repairs the keys above it; a full
//! leaf is split first and the walk repeated. An index entry's key is always the first key of its child.

use base::{Errno, Result, err};

use super::cache::Kind;
use super::disk::{put16, put32};
use super::extent::{
    END, MAGIC, MAX_DEPTH, MAX_LEN, Step, child, depth, entries, extent, key, room,
};
use super::icore::{Core, State};
use super::map::Map;
use super::txn::Txn;

fn put_extent(d: &mut [u8], i: usize, e: Map) {
    let (at, p) = (12 + 12 * i, e.phys.unwrap_or(0));
    put32(d, at, e.lblk as u32);
    put16(d, at + 4, (e.len + if e.unwritten { MAX_LEN } else { 0 }) as u16);
    put16(d, at + 6, (p >> 32) as u16);
    put32(d, at + 8, p as u32);
}

fn put_index(d: &mut [u8], i: usize, key: u64, block: u64) {
    let at = 12 + 12 * i;
    put32(d, at, key as u32);
    put32(d, at + 4, block as u32);
    put16(d, at + 8, (block >> 32) as u16);
    put16(d, at + 10, 0);
}

fn open_slot(d: &mut [u8], i: usize) {
    let n = entries(d);
    d.copy_within(12 + 12 * i..12 + 12 * n, 24 + 12 * i);
    put16(d, 2, n as u16 + 1);
}

fn close_slot(d: &mut [u8], i: usize) {
    let n = entries(d);
    d.copy_within(24 + 12 * i..12 + 12 * n, 12 + 12 * i);
    put16(d, 2, n as u16 - 1);
}

fn header(d: &mut [u8], n: usize, max: usize, depth: u16) {
    put16(d, 0, MAGIC);
    put16(d, 2, n as u16);
    put16(d, 4, max as u16);
    put16(d, 6, depth);
    put32(d, 8, 0);
}

/// Makes `i_block` an empty extent tree.
pub(super) fn init_root(block: &mut [u8; 60]) {
    block.fill(0);
    header(block, 0, 4, 0);
}

/// Whether `b` continues `a`.
fn joins(a: Map, b: Map) -> bool {
    a.unwritten == b.unwritten
        && a.lblk + a.len == b.lblk
        && a.phys.map(|p| p + a.len) == b.phys
        && a.len + b.len <= if a.unwritten { MAX_LEN - 1 } else { MAX_LEN }
}

impl Core {
    fn node<R>(
        &self,
        txn: &Txn<'_>,
        s: &mut State,
        block: u64,
        f: impl FnOnce(&mut [u8]) -> R,
    ) -> Result<R> {
        if block == 0 {
            Ok(f(&mut s.block.0))
        } else {
            txn.write(block, Kind::Extent, self.seed, f)
        }
    }

    /// The first key of the last node of `path` is `first` now: repairs the keys above.
    fn fix_keys(&self, txn: &Txn<'_>, s: &mut State, path: &[Step], first: u64) -> Result<()> {
        for step in path.iter().rev().skip(1) {
            let i = step.idx as usize;
            if key(&step.data, i) != first {
                self.node(txn, s, step.block, |d| put32(d, 12 + 12 * i, first as u32))?;
            }
            if i != 0 {
                break;
            }
        }
        Ok(())
    }

    /// Enters a run where a hole is.
    ///
    /// # Errors
    /// ENOSPC; EFBIG; EIO; EUCLEAN.
    pub(super) fn ext_insert(&self, txn: &Txn<'_>, s: &mut State, mut new: Map) -> Result<()> {
        let whole = new;
        while new.len > 0 {
            let part = Map { len: new.len.min(MAX_LEN - 1), ..new };
            if let Err(e) = self.insert_one(txn, s, part) {
                if new.lblk > whole.lblk {
                    self.ext_remove(txn, s, whole.lblk, new.lblk, false)?;
                }
                return Err(e);
            }
            new.lblk += part.len;
            new.phys = new.phys.map(|p| p + part.len);
            new.len -= part.len;
        }
        Ok(())
    }

    fn insert_one(&self, txn: &Txn<'_>, s: &mut State, new: Map) -> Result<()> {
        for _ in 0..4 * MAX_DEPTH {
            let path = self.ext_path(s, new.lblk)?;
            let Some(leaf) = path.last() else { break };
            let n = entries(&leaf.data);
            let at = (leaf.idx + 1) as usize;
            let left = (at > 0).then(|| extent(&leaf.data, at - 1));
            let right = (at < n).then(|| extent(&leaf.data, at));
            if left.is_some_and(|l| l.lblk + l.len > new.lblk)
                || right.is_some_and(|r| r.lblk < new.lblk + new.len)
            {
                return Err(self.fs.corrupt("an extent overlaps its neighbour"));
            }
            if let Some(l) = left.filter(|&l| joins(l, new)) {
                let mut whole = Map { len: l.len + new.len, ..l };
                return self.node(txn, s, leaf.block, |d| {
                    if let Some(r) = right.filter(|&r| joins(whole, r)) {
                        whole.len += r.len;
                        close_slot(d, at);
                    }
                    put_extent(d, at - 1, whole);
                });
            }
            if let Some(r) = right.filter(|&r| joins(new, r)) {
                let whole = Map { len: new.len + r.len, ..new };
                self.node(txn, s, leaf.block, |d| put_extent(d, at, whole))?;
                return if at == 0 { self.fix_keys(txn, s, &path, new.lblk) } else { Ok(()) };
            }
            if n < room(&leaf.data) {
                self.node(txn, s, leaf.block, |d| {
                    open_slot(d, at);
                    put_extent(d, at, new);
                })?;
                return if at == 0 { self.fix_keys(txn, s, &path, new.lblk) } else { Ok(()) };
            }
            self.make_room(txn, s, &path)?;
        }
        err(Errno::EFBIG)
    }

    /// Splits the lowest full node of `path` whose parent has room, or makes the tree deeper.
    fn make_room(&self, txn: &Txn<'_>, s: &mut State, path: &[Step]) -> Result<()> {
        let fs = &self.fs;
        let max = (fs.geo.block_size - 12) / 12;
        let split =
            (1..path.len()).rev().find(|&l| entries(&path[l - 1].data) < room(&path[l - 1].data));
        let Some(l) = split else {
            let old = s.block.0;
            if depth(&old) >= MAX_DEPTH {
                return err(Errno::EFBIG);
            }
            let block = self.alloc_meta(txn, s)?;
            txn.write_new(block, Kind::Extent, self.seed, |d| {
                d[..60].copy_from_slice(&old);
                put16(d, 4, max as u16);
            });
            header(&mut s.block.0, 1, 4, depth(&old) + 1);
            put_index(&mut s.block.0, 0, key(&old, 0), block);
            return Ok(());
        };
        let (parent, node) = (&path[l - 1], &path[l]);
        let n = entries(&node.data);
        // Files mostly grow at the end: leave the old node full then.
        let at = if node.idx + 1 >= n as isize { n - 1 } else { n / 2 };
        let block = self.alloc_meta(txn, s)?;
        let moved = node.data[12 + 12 * at..12 + 12 * n].to_vec();
        txn.write_new(block, Kind::Extent, self.seed, |d| {
            header(d, n - at, max, depth(&node.data));
            d[12..12 + moved.len()].copy_from_slice(&moved);
        });
        self.node(txn, s, node.block, |d| put16(d, 2, at as u16))?;
        let first = key(&node.data, at);
        self.node(txn, s, parent.block, |d| {
            open_slot(d, parent.idx as usize + 1);
            put_index(d, parent.idx as usize + 1, first, block);
        })
    }

    /// Whether the metadata of one more edit surely fits.
    fn ensure_room(&self, s: &State) -> Result<()> {
        let need = 2 * (u64::from(depth(&s.block.0)) + 2);
        if self.fs.groups.lock().free_blocks < need { err(Errno::ENOSPC) } else { Ok(()) }
    }

    /// An unwritten run (all of it inside one extent) becomes a written one.
    ///
    /// # Errors
    /// ENOSPC; EIO; EUCLEAN.
    pub(super) fn ext_convert(&self, txn: &Txn<'_>, s: &mut State, m: Map) -> Result<()> {
        self.ensure_room(s)?;
        self.ext_remove(txn, s, m.lblk, m.lblk + m.len, false)?;
        self.ext_insert(txn, s, Map { unwritten: false, ..m })
    }

    /// Takes `lblk..end` out of the tree; with `free` the blocks are freed.
    ///
    /// # Errors
    /// ENOSPC if an extent is to be cut in two; EIO; EUCLEAN.
    pub(super) fn ext_remove(
        &self,
        txn: &Txn<'_>,
        s: &mut State,
        mut lblk: u64,
        end: u64,
        free: bool,
    ) -> Result<()> {
        let end = end.min(END);
        while lblk < end {
            let path = self.ext_path(s, lblk)?;
            let Some(leaf) = path.last() else { break };
            let mut i = leaf.idx.max(0) as usize;
            let n = entries(&leaf.data);
            if i < n && extent(&leaf.data, i).lblk + extent(&leaf.data, i).len <= lblk {
                i += 1;
            }
            if i >= n {
                lblk = leaf.hi.max(lblk + 1);
                continue;
            }
            let e = extent(&leaf.data, i);
            if e.lblk >= end {
                break;
            }
            let (a, b) = (e.lblk.max(lblk), (e.lblk + e.len).min(end));
            let Some(phys) = e.phys else { break };
            let tail =
                Map { lblk: b, len: e.lblk + e.len - b, phys: Some(phys + (b - e.lblk)), ..e };
            let head = Map { len: a - e.lblk, ..e };
            match (head.len > 0, tail.len > 0) {
                (false, false) => self.delete_entry(txn, s, &path, i)?,
                (true, false) => self.node(txn, s, leaf.block, |d| put_extent(d, i, head))?,
                (false, true) => {
                    self.node(txn, s, leaf.block, |d| put_extent(d, i, tail))?;
                    if i == 0 {
                        self.fix_keys(txn, s, &path, b)?;
                    }
                }
                (true, true) => {
                    self.ensure_room(s)?;
                    self.node(txn, s, leaf.block, |d| put_extent(d, i, head))?;
                    self.insert_one(txn, s, tail)?;
                }
            }
            if free {
                self.release(txn, s, phys + (a - e.lblk), b - a, false)?;
            }
            lblk = b;
        }
        self.shrink(txn, s)
    }

    fn delete_entry(&self, txn: &Txn<'_>, s: &mut State, path: &[Step], i: usize) -> Result<()> {
        let mut i = i;
        for l in (0..path.len()).rev() {
            let step = &path[l];
            let n = entries(&step.data);
            if n == 1 && l > 0 {
                self.release(txn, s, step.block, 1, true)?;
                i = path[l - 1].idx as usize;
                continue;
            }
            self.node(txn, s, step.block, |d| close_slot(d, i))?;
            if n == 1 {
                init_root(&mut s.block.0);
            } else if i == 0 {
                self.fix_keys(txn, s, &path[..=l], key(&step.data, 1))?;
            }
            break;
        }
        Ok(())
    }

    /// A tree of one leaf that fits into the inode moves there.
    fn shrink(&self, txn: &Txn<'_>, s: &mut State) -> Result<()> {
        while depth(&s.block.0) == 1 && entries(&s.block.0) == 1 {
            let path = self.ext_path(s, 0)?;
            let Some(leaf) = path.last().filter(|l| l.block != 0 && entries(&l.data) <= 4) else {
                break;
            };
            let n = entries(&leaf.data);
            let block = child(&s.block.0, 0);
            s.block.0.fill(0);
            s.block.0[..12 + 12 * n].copy_from_slice(&leaf.data[..12 + 12 * n]);
            put16(&mut s.block.0, 4, 4);
            self.release(txn, s, block, 1, true)?;
        }
        Ok(())
    }
}
