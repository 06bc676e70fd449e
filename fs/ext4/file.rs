//! Data of regular files: what the page cache reads and writes, and changes of size.
//!
//! A block that `prepare_write` allocates is *unwritten* until its pages have reached the device: it reads
//! as zeros, whatever the disk holds there. Extents keep that on the disk; for block maps it is kept in memory and
//! made good at sync and eviction. On the disk, the bytes between the end of a file and the end of its last
//! block are zeros; `write_pages` and `truncate` keep it so.

use base::{Errno, PAGE_SHIFT, PAGE_SIZE, PhysAddr, Result, Timestamp, err};
use mm::{Backing, PageCache};
use std::sync::Arc;

use super::disk::iflag;
use super::extent::END;
use super::icore::{Core, State};

/// Transfers to be done: device block and pieces, contiguous on the device.
#[derive(Default)]
struct Plan {
    runs: Vec<(u64, Vec<(PhysAddr, usize)>)>,
    next: u64,
}

impl Plan {
    /// Adds `len` bytes at device block `block`, which end at block `next`.
    fn add(&mut self, block: u64, next: u64, at: PhysAddr, len: usize) {
        match self.runs.last_mut() {
            Some((_, pieces)) if self.next == block => match pieces.last_mut() {
                Some(p) if p.0.0 + p.1 as u64 == at.0 => p.1 += len,
                _ => pieces.push((at, len)),
            },
            _ => self.runs.push((block, vec![(at, len)])),
        }
        self.next = next;
    }
}

impl Backing for Core {
    fn read_pages(&self, first: u64, frames: &[PhysAddr]) -> Result<()> {
        let bits = self.fs.geo.block_bits;
        let phys = self.fs.memory.machine().phys();
        let zero = |at: PhysAddr, len: usize| phys.zero_bytes(at, len);
        let mut plan = Plan::default();
        let size;
        {
            let mut s = self.lock();
            size = if self.is_dead() { 0 } else { s.size };
            let end = size.div_ceil(1 << bits);
            for (i, &frame) in frames.iter().enumerate() {
                let mut off = 0;
                while off < PAGE_SIZE {
                    let lblk = ((first + i as u64) << (PAGE_SHIFT - bits)) + (off as u64 >> bits);
                    if lblk >= end {
                        zero(PhysAddr(frame.0 + off as u64), PAGE_SIZE - off);
                        break;
                    }
                    let left = (PAGE_SIZE - off) as u64 >> bits;
                    let m = self.map(&mut s, lblk, left)?;
                    let bytes = (m.len as usize) << bits;
                    let at = PhysAddr(frame.0 + off as u64);
                    match m.readable() {
                        Some(p) => plan.add(p, p + m.len, at, bytes),
                        None => zero(at, bytes),
                    }
                    off += bytes;
                }
            }
        }
        for (block, pieces) in &plan.runs {
            self.fs.dev.read_phys(block << bits, pieces)?;
        }
        let (page, tail) = (size >> PAGE_SHIFT, size as usize & (PAGE_SIZE - 1));
        if tail != 0 && page >= first && ((page - first) as usize) < frames.len() {
            zero(PhysAddr(frames[(page - first) as usize].0 + tail as u64), PAGE_SIZE - tail);
        }
        Ok(())
    }

    fn write_pages(&self, first: u64, frames: &[PhysAddr]) -> Result<()> {
        if self.is_dead() {
            return Ok(());
        }
        if self.fs.is_read_only() {
            return err(Errno::EROFS);
        }
        let bits = self.fs.geo.block_bits;
        let per = PAGE_SHIFT - bits;
        let start = first << per;
        let mut plan = Plan::default();
        let (end, size, convert) = {
            let mut s = self.lock();
            let size = s.size.max(s.pending);
            let mut end = size.div_ceil(1 << bits).min((first + frames.len() as u64) << per);
            if end <= start {
                return Ok(());
            }
            if self.has_holes(&mut s, start, end)? {
                // A hole that was mapped and written without a warning: allocate now.
                drop(s);
                let txn = self.fs.begin()?;
                s = self.lock();
                end = end.min(s.size.max(s.pending).div_ceil(1 << bits));
                let r = self.allocate(&txn, &mut s, start, end, true);
                self.store(&txn, &s)?;
                r?;
            }
            let convert = self.any_unwritten(&mut s, start, end)?;
            let mut at = start;
            while at < end {
                let page = ((at - start) >> per) as usize;
                let off = ((at & ((1 << per) - 1)) << bits) as usize;
                let left = (PAGE_SIZE - off) as u64 >> bits;
                let m = self.map(&mut s, at, left.min(end - at))?;
                let Some(p) = m.phys else { return err(Errno::EIO) };
                plan.add(
                    p,
                    p + m.len,
                    PhysAddr(frames[page].0 + off as u64),
                    (m.len as usize) << bits,
                );
                at += m.len;
            }
            (end, size, convert)
        };
        let tail = (size & ((1 << bits) - 1)) as usize;
        let partial = tail != 0 && end == size.div_ceil(1 << bits);
        let last = plan.runs.len().saturating_sub(1);
        for (i, (block, pieces)) in plan.runs.iter_mut().enumerate() {
            if partial && i == last {
                self.write_tail(*block, pieces, tail)?;
            }
            if !pieces.is_empty() {
                self.fs.dev.write_phys(*block << bits, pieces)?;
            }
        }
        if convert {
            let txn = self.fs.begin()?;
            let mut s = self.lock();
            if !self.is_dead() {
                self.mark_written(&txn, &mut s, start, end)?;
                self.store(&txn, &s)?;
            }
        }
        Ok(())
    }

    fn size(&self) -> u64 {
        self.size_now()
    }

    fn make_writable(&self, index: u64) -> Result<()> {
        self.reserve(index << PAGE_SHIFT, PAGE_SIZE, true)
    }
}

impl Core {
    fn has_holes(&self, s: &mut State, start: u64, end: u64) -> Result<bool> {
        let mut at = start;
        while at < end {
            let m = self.map(s, at, end - at)?;
            if m.phys.is_none() {
                return Ok(true);
            }
            at += m.len;
        }
        Ok(false)
    }

    /// Writes the last block of a file, of which only `tail` bytes count, with zeros behind them,
    /// and takes it out of the pieces.
    fn write_tail(
        &self,
        block: u64,
        pieces: &mut Vec<(PhysAddr, usize)>,
        tail: usize,
    ) -> Result<()> {
        let bs = self.fs.geo.block_size;
        let total: usize = pieces.iter().map(|p| p.1).sum();
        let Some(p) = pieces.last_mut() else { return Ok(()) };
        let mut buf = vec![0; bs];
        p.1 -= bs;
        self.fs.memory.machine().phys().read(PhysAddr(p.0.0 + p.1 as u64), &mut buf[..tail]);
        if p.1 == 0 {
            pieces.pop();
        }
        self.fs.dev.write((block << self.fs.geo.block_bits) + (total - bs) as u64, &buf)
    }

    /// Gives blocks to `len` bytes at `offset`; `inside`: only below the end of the file.
    ///
    /// # Errors
    /// ENOSPC; EFBIG; EPERM; EROFS; EIO.
    pub(super) fn reserve(&self, offset: u64, len: usize, inside: bool) -> Result<()> {
        let bits = self.fs.geo.block_bits;
        let Some(end) = offset.checked_add(len as u64) else { return err(Errno::EFBIG) };
        let (start, mut stop);
        {
            let mut s = self.lock();
            if s.flags & iflag::IMMUTABLE != 0 {
                return err(Errno::EPERM);
            }
            if end > self.fs.max_size(s.has_extents()) {
                return err(Errno::EFBIG);
            }
            if self.fs.is_read_only() {
                return err(Errno::EROFS);
            }
            stop = if inside { end.min(s.size) } else { end };
            if inside && stop <= offset {
                return Ok(());
            }
            // Write-back writes whole pages: all blocks of a page are allocated together.
            let page = !(PAGE_SIZE as u64 - 1);
            let limit = stop.max(s.size);
            stop = stop.next_multiple_of(PAGE_SIZE as u64).min(limit);
            start = offset & page;
            let (a, b) = (start >> bits, stop.div_ceil(1 << bits));
            if a >= b || !self.has_holes(&mut s, a, b)? {
                if !inside {
                    s.pending = end;
                }
                return Ok(());
            }
        }
        let txn = self.fs.begin()?;
        let mut s = self.lock();
        let r = self.allocate(&txn, &mut s, start >> bits, stop.div_ceil(1 << bits), true);
        if r.is_ok() && !inside {
            s.pending = end;
        }
        self.store(&txn, &s)?;
        r
    }

    /// After a write: size and times.
    pub(super) fn wrote(&self, end: u64, now: Timestamp) -> Result<()> {
        let txn = self.fs.begin()?;
        let mut s = self.lock();
        if end > s.size {
            if end >= 1 << 31 {
                self.fs.need_large_file();
            }
            self.set_size(&mut s, end);
        }
        s.pending = 0;
        s.mtime = now;
        s.ctime = now;
        self.store(&txn, &s)
    }

    /// Sets the size: `ftruncate(2)`. Shrinking frees blocks and clears the rest of the last one.
    ///
    /// # Errors
    /// EFBIG; EROFS; EIO; EUCLEAN.
    pub(super) fn resize(&self, pages: Option<&Arc<PageCache>>, size: u64) -> Result<()> {
        let old = {
            let txn = self.fs.begin()?;
            let mut s = self.lock();
            if size > self.fs.max_size(s.has_extents()) {
                return err(Errno::EFBIG);
            }
            if size >= 1 << 31 {
                self.fs.need_large_file();
            }
            let old = s.size;
            s.pending = 0;
            self.set_size(&mut s, size);
            self.store(&txn, &s)?;
            old
        };
        if size > old {
            return Ok(());
        }
        if let Some(p) = pages
            && size < old
        {
            p.truncate(size);
        }
        self.cut_tail(size)
    }

    /// Frees all blocks beyond `size` and clears the rest of the last one.
    pub(super) fn cut_tail(&self, size: u64) -> Result<()> {
        let bits = self.fs.geo.block_bits;
        let txn = self.fs.begin()?;
        let mut s = self.lock();
        self.fs.groups.lock().drop_window(self.ino);
        let r = self.unmap(&txn, &mut s, size.div_ceil(1 << bits), END);
        self.store(&txn, &s)?;
        r?;
        let tail = (size & ((1 << bits) - 1)) as usize;
        if tail != 0
            && let Some(p) = self.map(&mut s, size >> bits, 1)?.readable()
        {
            let mut buf = vec![0; 1 << bits];
            self.fs.dev.read(p << bits, &mut buf)?;
            if buf[tail..].iter().any(|&b| b != 0) {
                buf[tail..].fill(0);
                self.fs.dev.write(p << bits, &buf)?;
            }
        }
        Ok(())
    }

    /// Makes good what is only known in memory: blocks of an indirect file that were never written are
    /// cleared, those beyond the end freed.
    pub(super) fn settle(&self) -> Result<()> {
        {
            let s = self.lock();
            if s.fresh.is_empty() || self.is_dead() {
                return Ok(());
            }
        }
        let bits = self.fs.geo.block_bits;
        let txn = self.fs.begin()?;
        let mut s = self.lock();
        let end = s.size.div_ceil(1 << bits);
        if s.fresh.last_key_value().is_some_and(|l| *l.1 > end) {
            self.unmap(&txn, &mut s, end, END)?;
        }
        let zeros = vec![0; 1 << bits];
        while let Some((a, b)) = s.fresh.pop_first() {
            s.maps.clear();
            for l in a..b {
                if let Some(p) = self.map(&mut s, l, 1)?.phys {
                    self.fs.dev.write(p << bits, &zeros)?;
                }
            }
        }
        self.store(&txn, &s)
    }

    /// `fallocate(2)`.
    pub(super) fn fallocate(
        &self,
        pages: Option<&Arc<PageCache>>,
        mode: u32,
        offset: u64,
        len: u64,
    ) -> Result<()> {
        const KEEP: u32 = 1;
        const PUNCH: u32 = 2;
        const ZERO: u32 = 0x10;
        let Some(end) = offset.checked_add(len) else { return err(Errno::EFBIG) };
        let bits = self.fs.geo.block_bits;
        {
            let s = self.lock();
            if s.flags & (iflag::IMMUTABLE | if mode & PUNCH != 0 { iflag::APPEND } else { 0 }) != 0
            {
                return err(Errno::EPERM);
            }
            let fits = mode & !(KEEP | PUNCH | ZERO) == 0
                && !(mode & PUNCH != 0 && mode & (KEEP | ZERO) != KEEP);
            if !fits || (mode & PUNCH == 0 && !s.has_extents()) {
                return err(Errno::EOPNOTSUPP);
            }
            if mode & PUNCH == 0 && end > self.fs.max_size(true) {
                return err(Errno::EFBIG);
            }
        }
        if mode & (PUNCH | ZERO) != 0 {
            self.punch(pages, offset, end)?;
        }
        if mode & PUNCH != 0 {
            return Ok(());
        }
        let txn = self.fs.begin()?;
        let mut s = self.lock();
        let r = self.allocate(&txn, &mut s, offset >> bits, end.div_ceil(1 << bits), true);
        if r.is_ok() {
            if mode & KEEP == 0 && end > s.size {
                if end >= 1 << 31 {
                    self.fs.need_large_file();
                }
                self.set_size(&mut s, end);
            }
            s.ctime = txn.now;
            s.mtime = txn.now;
        }
        self.store(&txn, &s)?;
        r
    }

    /// Frees the whole blocks of a range and clears the rest of it.
    fn punch(&self, pages: Option<&Arc<PageCache>>, offset: u64, end: u64) -> Result<()> {
        let bits = self.fs.geo.block_bits;
        let size = self.size_now();
        if let Some(p) = pages {
            // Edges are cleared in the cache, whole pages between are dropped.
            let page = PAGE_SIZE as u64;
            let stop = end.min(size);
            let (a, b) = (offset.next_multiple_of(page), stop / page * page);
            if offset < stop {
                if a >= b {
                    p.zero_range(offset, stop - offset)?;
                } else {
                    if offset < a {
                        p.zero_range(offset, a - offset)?;
                    }
                    if b < stop {
                        p.zero_range(b, stop - b)?;
                    }
                    p.invalidate(a >> PAGE_SHIFT, (b >> PAGE_SHIFT) - 1);
                }
                // The edges go out first, so that clearing them does not fill the hole again.
                p.sync_range(offset >> PAGE_SHIFT, stop >> PAGE_SHIFT)?;
            }
        }
        let txn = self.fs.begin()?;
        let mut s = self.lock();
        let (a, b) = (
            offset.div_ceil(1 << bits),
            if end >= size { end.div_ceil(1 << bits) } else { end >> bits },
        );
        let r = if a < b { self.unmap(&txn, &mut s, a, b) } else { Ok(()) };
        s.ctime = txn.now;
        s.mtime = txn.now;
        self.store(&txn, &s)?;
        r
    }

    /// `SEEK_DATA` and `SEEK_HOLE`; the caller has written the pages.
    pub(super) fn seek(&self, offset: u64, data: bool) -> Result<u64> {
        let bits = self.fs.geo.block_bits;
        let mut s = self.lock();
        if offset >= s.size {
            return err(Errno::ENXIO);
        }
        let end = s.size.div_ceil(1 << bits);
        let mut at = offset >> bits;
        while at < end {
            let m = self.map(&mut s, at, end - at)?;
            if m.readable().is_some() == data {
                return Ok((at << bits).max(offset));
            }
            at += m.len;
        }
        if data { err(Errno::ENXIO) } else { Ok(s.size) }
    }
}
