//! Allocating blocks and inodes.
//!
//! Blocks: as near to a goal as possible, in runs as long as possible. A file that grows has a
//! *window*: a range that only it allocates from, kept in memory, so that files which grow at the
//! same time do not interleave on the disk. Windows are hints: when nothing else is left they are ignored.
//!
//! Inodes: a directory below the root goes to a group that has room and few directories (the
//! trees below it then spread out); everything else goes to its parent's group or the next with room.
//!
//! All functions need the transaction lock (the `Txn` is the proof); `Ext4::groups` is inside it.

use base::{Errno, Result, err};

use super::bitmap;
use super::cache::Kind;
use super::disk::gflag;
use super::group::Groups;
use super::txn::Txn;

/// Who asks for blocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish {
    /// Where best.
    pub(super) goal: u64,
    /// How many at most.
    pub(super) want: u64,
    /// For whom: its window may be used. 0: for a map, an index or attributes, which may take the last blocks.
    pub(super) ino: u64,
    /// Blocks of window to keep beyond the run.
    pub(super) window: u64,
    /// Whether the blocks reserved for root may be used.
    pub(super) privileged: bool,
}

impl Groups {
    /// The first part of `s..e` outside of other inodes' windows.
    fn clip(&self, mut s: u64, e: u64, ino: u64) -> (u64, u64) {
        if self.windows.is_empty() {
            return (s, e);
        }
        if let Some((_, &(end, who))) = self.windows.range(..=s).next_back()
            && who != ino
            && end > s
        {
            s = end.min(e);
        }
        loop {
            let Some((&ws, &(we, who))) = self.windows.range(s..e).next() else { return (s, e) };
            if who == ino {
                let next = self.windows.range(we.min(e)..e).find(|w| w.1.1 != ino).map(|w| *w.0);
                return (s, next.unwrap_or(e));
            }
            if ws > s {
                return (s, ws);
            }
            s = we.min(e);
        }
    }

    /// Drops an inode's window.
    pub(super) fn drop_window(&mut self, ino: u64) {
        self.windows.retain(|_, w| w.1 != ino);
    }

    fn set_window(&mut self, ino: u64, start: u64, len: u64) {
        self.drop_window(ino);
        let next = self.windows.range(start..).next().map_or(u64::MAX, |w| *w.0);
        if len > 0 && start < next && self.windows.len() < 1024 {
            self.windows.insert(start, (next.min(start + len), ino));
        }
    }
}

impl Txn<'_> {
    /// Up to `wish.want` contiguous blocks (at least one): start and length.
    ///
    /// # Errors
    /// ENOSPC; EIO.
    pub(super) fn alloc_blocks(&self, wish: Wish) -> Result<(u64, u64)> {
        let fs = self.fs;
        let geo = &fs.geo;
        let mut all = fs.groups.lock();
        let reserve = match (wish.ino, wish.privileged) {
            (0, _) => 0,
            (_, true) => fs.map_reserve(),
            _ => fs.map_reserve() + fs.reserved_blocks(),
        };
        let want = wish.want.min(all.free_blocks.saturating_sub(reserve)).min(geo.per_group);
        if want == 0 {
            return err(Errno::ENOSPC);
        }
        let goal = if (geo.first_block..geo.blocks).contains(&wish.goal) {
            wish.goal
        } else {
            geo.first_block
        };
        let home = (goal - geo.first_block) / geo.per_group;
        // Pass 0: a run that is long enough, or good. Pass 1: anything. Pass 2: windows too.
        for pass in 0..3 {
            let good = if pass == 0 { want.min(64) } else { 1 };
            let ino = if pass == 2 { None } else { Some(wish.ino) };
            for i in 0..geo.groups {
                let n = (home + i) % geo.groups;
                let g = &all.list[n as usize];
                if g.corrupt || g.free_blocks == 0 || u64::from(g.free_blocks) < good {
                    continue;
                }
                let Ok(buf) = all.block_bitmap(geo, &fs.cache, n) else { continue };
                let from = if i == 0 { (goal - geo.group_start(n)) as usize } else { 0 };
                let bits = buf.bytes();
                let Some((s, len)) = search(
                    &all,
                    geo.group_start(n),
                    &bits,
                    geo.group_blocks(n) as usize,
                    from,
                    want,
                    good,
                    ino,
                ) else {
                    continue;
                };
                drop(bits);
                let first = geo.group_start(n) + s as u64;
                if all.in_zone(first, len) {
                    let _ = fs.corrupt("fixed metadata is marked free in a block bitmap");
                    all.list[n as usize].corrupt = true;
                    continue;
                }
                fs.cache.modify(&buf, |d| bitmap::fill(d, s, s + len as usize, true));
                let g = &mut all.list[n as usize];
                g.free_blocks = g.free_blocks.saturating_sub(len as u32);
                g.dirty = true;
                all.free_blocks = all.free_blocks.saturating_sub(len);
                if wish.window > 0 {
                    all.set_window(wish.ino, first + len, wish.window);
                }
                return Ok((first, len));
            }
        }
        err(Errno::ENOSPC)
    }

    /// Frees `len` blocks from `start`; `meta` if they may be in the buffer cache.
    ///
    /// # Errors
    /// EUCLEAN if some are fixed metadata, free already or outside of the file system.
    pub(super) fn free_blocks(&self, start: u64, len: u64, meta: bool) -> Result<()> {
        let fs = self.fs;
        let geo = &fs.geo;
        let end = start.saturating_add(len);
        let mut all = fs.groups.lock();
        if start < geo.first_block || end > geo.blocks || all.in_zone(start, len) {
            return Err(fs.corrupt("an inode owns blocks that it cannot own"));
        }
        if meta {
            (start..end).for_each(|b| fs.cache.forget(b));
        }
        let mut at = start;
        while at < end {
            let n = (at - geo.first_block) / geo.per_group;
            let s = (at - geo.group_start(n)) as usize;
            let e = ((end - geo.group_start(n)) as usize).min(geo.group_blocks(n) as usize);
            let buf = all.block_bitmap(geo, &fs.cache, n)?;
            if bitmap::next_zero(&buf.bytes(), s, e) != e {
                return Err(fs.corrupt("blocks of an inode are free already"));
            }
            fs.cache.modify(&buf, |d| bitmap::fill(d, s, e, false));
            let g = &mut all.list[n as usize];
            g.free_blocks += (e - s) as u32;
            g.dirty = true;
            all.free_blocks += (e - s) as u64;
            at += (e - s) as u64;
        }
        Ok(())
    }

    /// A free inode number near `parent`'s; its table slot holds garbage.
    ///
    /// # Errors
    /// ENOSPC; EIO.
    pub(super) fn alloc_inode(&self, parent: u64, dir: bool) -> Result<u64> {
        let fs = self.fs;
        let geo = &fs.geo;
        let mut all = fs.groups.lock();
        let mut home = (parent - 1) / geo.inodes_per_group;
        if dir && parent == super::disk::ROOT_INO {
            home = top_dir_group(&mut all, geo.groups);
        }
        for i in 0..geo.groups {
            let n = (home + i) % geo.groups;
            let g = &all.list[n as usize];
            let crowded =
                i + 1 < geo.groups && dir && u64::from(g.free_blocks) < geo.per_group / 64;
            if g.corrupt || g.free_inodes == 0 || (crowded && i < 64) {
                continue;
            }
            if let Some(ino) = self.take_inode(&mut all, n, dir)? {
                return Ok(ino);
            }
        }
        for n in 0..geo.groups {
            if all.list[n as usize].free_inodes > 0
                && let Some(ino) = self.take_inode(&mut all, n, dir)?
            {
                return Ok(ino);
            }
        }
        err(Errno::ENOSPC)
    }

    fn take_inode(&self, all: &mut Groups, n: u64, dir: bool) -> Result<Option<u64>> {
        let fs = self.fs;
        let geo = &fs.geo;
        let Ok(buf) = all.inode_bitmap(geo, &fs.cache, n) else { return Ok(None) };
        let first = if n == 0 { geo.first_ino as usize - 1 } else { 0 };
        let valid = geo.inodes_per_group as usize;
        let bit = bitmap::next_zero(&buf.bytes(), first.min(valid), valid);
        if bit == valid {
            return Ok(None);
        }
        // A group of which only the inode bitmap is made needs its block bitmap made as well.
        if all.list[n as usize].flags & gflag::BLOCK_UNINIT != 0 {
            all.block_bitmap(geo, &fs.cache, n)?;
        }
        fs.cache.modify(&buf, |d| bitmap::fill(d, bit, bit + 1, true));
        let g = &mut all.list[n as usize];
        g.free_inodes -= 1;
        g.dirs += u32::from(dir);
        g.unused_inodes = g.unused_inodes.min((valid - bit - 1) as u32);
        g.dirty = true;
        all.free_inodes = all.free_inodes.saturating_sub(1);
        Ok(Some(n * geo.inodes_per_group + bit as u64 + 1))
    }

    /// Frees an inode number.
    ///
    /// # Errors
    /// EUCLEAN if it is free already.
    pub(super) fn free_inode(&self, ino: u64, dir: bool) -> Result<()> {
        let fs = self.fs;
        let mut all = fs.groups.lock();
        let n = (ino - 1) / fs.geo.inodes_per_group;
        let bit = ((ino - 1) % fs.geo.inodes_per_group) as usize;
        let buf = all.inode_bitmap(&fs.geo, &fs.cache, n)?;
        debug_assert!(buf.is_verified(Kind::Plain, n as u32));
        if !bitmap::test(&buf.bytes(), bit) {
            return Err(fs.corrupt("an inode is free already"));
        }
        fs.cache.modify(&buf, |d| bitmap::fill(d, bit, bit + 1, false));
        let g = &mut all.list[n as usize];
        g.free_inodes += 1;
        g.dirs = g.dirs.saturating_sub(u32::from(dir));
        g.dirty = true;
        all.free_inodes += 1;
        Ok(())
    }
}

/// The group for a directory below the root: more free inodes and blocks than the average, and few
/// directories; the search starts at another group each time.
fn top_dir_group(all: &mut Groups, groups: u64) -> u64 {
    let start = all.next_top;
    all.next_top = (start + 1) % groups;
    let (inodes, blocks) = (all.free_inodes / groups, all.free_blocks / groups);
    (0..groups)
        .map(|i| (start + i) % groups)
        .filter(|&n| {
            let g = &all.list[n as usize];
            !g.corrupt
                && g.free_inodes > 0
                && u64::from(g.free_inodes) >= inodes
                && u64::from(g.free_blocks) >= blocks
        })
        .min_by_key(|&n| all.list[n as usize].dirs)
        .unwrap_or(start)
}

/// A free run of one group: at the goal if that is free, else the first of `want` blocks after and
/// then before it, else the longest. None if that is shorter than `good`.
#[allow(clippy::too_many_arguments)]
fn search(
    all: &Groups,
    base: u64,
    bits: &[u8],
    end: usize,
    from: usize,
    want: u64,
    good: u64,
    ino: Option<u64>,
) -> Option<(usize, u64)> {
    let mut best = (0, 0u64);
    for (mut at, stop) in [(from.min(end), end), (0, from.min(end))] {
        let goal = at;
        while at < stop {
            let s = bitmap::next_zero(bits, at, stop);
            if s >= stop {
                break;
            }
            let e =
                bitmap::next_set(bits, s, end.min(s.saturating_add(want as usize * 2).max(s + 1)));
            let (cs, ce) = match ino {
                Some(ino) => {
                    let (a, b) = all.clip(base + s as u64, base + e as u64, ino);
                    ((a - base) as usize, (b - base) as usize)
                }
                None => (s, e),
            };
            let len = ce.saturating_sub(cs) as u64;
            if len >= want || (len > 0 && cs == goal && from > 0 && goal == from) {
                return Some((cs, len.min(want)));
            }
            if len > best.1 {
                best = (cs, len);
            }
            at = ce.max(s + 1);
        }
    }
    (best.1 >= good && best.1 > 0).then_some(best)
}
