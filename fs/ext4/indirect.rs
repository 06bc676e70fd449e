//! Block maps of ext2 and ext3: twelve blocks by number in the inode, then a block of numbers, a
//! block of such blocks, and a block of those.
//!
//! A block of numbers is known by its level (1 holds data blocks). Depth is fixed, so damage cannot lead in circles; a
//! block that is freed twice stops a removal, so damage cannot make it long either.

use base::Result;

use super::cache::Kind;
use super::disk::{get32, put32};
use super::icore::{Core, State};
use super::map::Map;
use super::txn::Txn;

const DIRECT: u64 = 12;

/// Where a file block's number is: the slot in the inode, then an index for each level.
struct Way {
    slot: usize,
    index: [u64; 3],
    levels: usize,
}

impl Core {
    fn per(&self) -> u64 {
        1 << (self.fs.geo.block_bits - 2)
    }

    fn way(&self, lblk: u64) -> Option<Way> {
        let p = self.per();
        if lblk < DIRECT {
            return Some(Way { slot: lblk as usize, index: [0; 3], levels: 0 });
        }
        let mut rest = lblk - DIRECT;
        let mut span = p;
        for levels in 1..=3usize {
            if rest < span {
                let mut index = [0; 3];
                for i in (0..levels).rev() {
                    index[i] = rest % p;
                    rest /= p;
                }
                return Some(Way { slot: 11 + levels, index, levels });
            }
            rest -= span;
            span *= p;
        }
        None
    }

    fn numbers(&self, block: u64) -> Result<std::sync::Arc<Vec<u8>>> {
        if !self.fs.own_block(block, 1) {
            return Err(self.fs.corrupt(&format!("block map of inode {} is damaged", self.ino)));
        }
        self.fs.read_block(block, Kind::Plain, 0, |_| Ok(()))
    }

    /// The run or hole at `lblk`, looking no further than `max` blocks.
    ///
    /// # Errors
    /// EIO; EUCLEAN.
    pub(super) fn ind_find(&self, s: &State, lblk: u64, max: u64) -> Result<Map> {
        let p = self.per();
        let Some(way) = self.way(lblk) else { return Ok(Map::hole(lblk, max.max(1))) };
        let mut n = u64::from(get32(&s.block.0, way.slot * 4));
        let mut block = None;
        for l in 0..way.levels {
            if n == 0 {
                // All below is a hole: what is left of this subtree.
                let below = way.index[l..way.levels].iter().fold(0, |a, &i| a * p + i);
                let span = p.pow((way.levels - l) as u32);
                return Ok(Map::hole(lblk, span - below));
            }
            let d = self.numbers(n)?;
            n = get32(&d, way.index[l] as usize * 4).into();
            block = Some(d);
        }
        let (list, at, end): (&[u8], u64, u64) = match &block {
            Some(d) => (d, way.index[way.levels - 1], p),
            None => (&s.block.0, lblk, DIRECT),
        };
        let mut len = 1;
        while at + len < end && len < max.max(1) {
            let next = u64::from(get32(list, (at + len) as usize * 4));
            if next != if n == 0 { 0 } else { n + len } {
                break;
            }
            len += 1;
        }
        if n == 0 {
            return Ok(Map::hole(lblk, len));
        }
        if !self.fs.own_block(n, len) {
            return Err(self.fs.corrupt(&format!("block map of inode {} is damaged", self.ino)));
        }
        Ok(Map { lblk, len, phys: Some(n), unwritten: false })
    }

    /// Enters a run where a hole is. On failure some of it may be entered: see `ind_clear`.
    ///
    /// # Errors
    /// ENOSPC; EIO; EUCLEAN.
    pub(super) fn ind_insert(&self, txn: &Txn<'_>, s: &mut State, new: Map) -> Result<()> {
        let p = self.per();
        let Some(phys) = new.phys else { return Ok(()) };
        let mut done = 0;
        while done < new.len {
            let lblk = new.lblk + done;
            let Some(way) = self.way(lblk) else { return base::err(base::Errno::EFBIG) };
            if way.levels == 0 {
                put32(&mut s.block.0, way.slot * 4, (phys + done) as u32);
                done += 1;
                continue;
            }
            let mut n = u64::from(get32(&s.block.0, way.slot * 4));
            if n == 0 {
                n = self.alloc_meta(txn, s)?;
                txn.write_new(n, Kind::Plain, 0, |_| ());
                put32(&mut s.block.0, way.slot * 4, n as u32);
            }
            for l in 0..way.levels - 1 {
                let at = way.index[l] as usize * 4;
                let mut next = u64::from(get32(&self.numbers(n)?, at));
                if next == 0 {
                    next = self.alloc_meta(txn, s)?;
                    txn.write_new(next, Kind::Plain, 0, |_| ());
                    txn.write(n, Kind::Plain, 0, |d| put32(d, at, next as u32))?;
                }
                n = next;
            }
            self.numbers(n)?;
            let first = way.index[way.levels - 1];
            let run = (p - first).min(new.len - done);
            txn.write(n, Kind::Plain, 0, |d| {
                for i in 0..run {
                    put32(d, (first + i) as usize * 4, (phys + done + i) as u32);
                }
            })?;
            done += run;
        }
        Ok(())
    }

    /// Takes `a..b` out of the map; with `free` the data blocks are freed. Blocks of numbers that
    /// become empty are freed always.
    ///
    /// # Errors
    /// EIO; EUCLEAN.
    pub(super) fn ind_clear(
        &self,
        txn: &Txn<'_>,
        s: &mut State,
        a: u64,
        b: u64,
        free: bool,
    ) -> Result<()> {
        for i in a.min(DIRECT)..b.min(DIRECT) {
            let n = u64::from(get32(&s.block.0, i as usize * 4));
            put32(&mut s.block.0, i as usize * 4, 0);
            if n != 0 && free {
                self.free_run(txn, s, n, 1)?;
            }
        }
        let p = self.per();
        let (mut base, mut span) = (DIRECT, p);
        for level in 1..=3usize {
            let n = u64::from(get32(&s.block.0, (11 + level) * 4));
            if n != 0
                && a < base + span
                && b > base
                && self.clear_below(txn, s, n, level, base, span, (a, b), free)?
            {
                put32(&mut s.block.0, (11 + level) * 4, 0);
                self.release(txn, s, n, 1, true)?;
            }
            base += span;
            span *= p;
        }
        Ok(())
    }

    fn free_run(&self, txn: &Txn<'_>, s: &mut State, n: u64, len: u64) -> Result<()> {
        if !self.fs.own_block(n, len) {
            return Err(self.fs.corrupt(&format!("block map of inode {} is damaged", self.ino)));
        }
        self.release(txn, s, n, len, false)
    }

    /// Clears `range` below the block of numbers `n`, which covers `base..base + span`; whether `n` is empty now.
    #[allow(clippy::too_many_arguments)]
    fn clear_below(
        &self,
        txn: &Txn<'_>,
        s: &mut State,
        n: u64,
        level: usize,
        base: u64,
        span: u64,
        range: (u64, u64),
        free: bool,
    ) -> Result<bool> {
        let p = self.per();
        let each = span / p;
        let list = self.numbers(n)?;
        let first = range.0.saturating_sub(base) / each;
        let last = ((range.1 - base).div_ceil(each)).min(p);
        let mut cleared = Vec::new();
        let mut failed = None;
        let mut run = (0u64, 0u64);
        for i in first..last {
            let c = u64::from(get32(&list, i as usize * 4));
            if c == 0 {
                continue;
            }
            let start = base + i * each;
            let r = if level > 1 {
                match self.clear_below(txn, s, c, level - 1, start, each, range, free) {
                    Ok(true) => self.release(txn, s, c, 1, true).map(|()| true),
                    other => other,
                }
            } else if free && run.1 > 0 && c == run.0 + run.1 {
                run.1 += 1;
                Ok(true)
            } else {
                let (at, len) = std::mem::replace(&mut run, (c, 1));
                if free && len > 0 {
                    self.free_run(txn, s, at, len).map(|()| true)
                } else {
                    Ok(true)
                }
            };
            match r {
                Ok(true) => cleared.push(i as usize),
                Ok(false) => {}
                Err(e) => {
                    failed = Some(e);
                    break;
                }
            }
        }
        if failed.is_none() && free && run.1 > 0 {
            failed = self.free_run(txn, s, run.0, run.1).err();
        }
        let empty = txn.write(n, Kind::Plain, 0, |d| {
            for i in cleared {
                put32(d, i * 4, 0);
            }
            d.iter().all(|&x| x == 0)
        })?;
        match failed {
            Some(e) => Err(e),
            None => Ok(empty),
        }
    }
}
