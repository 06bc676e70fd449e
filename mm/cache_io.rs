//! read(2) and write(2) through the page cache.
//!
//! Both copy straight between frames and the caller's stream, whole contiguous runs at a time, with
//! the frames pinned and no lock held: the stream may fault, and the fault may want a page of this
//! very cache.

use base::{Errno, PAGE_SIZE, PhysAddr, Result, Sink, Source};

use crate::frame::FrameRun;
use crate::memory::Need;
use crate::page_cache::PageCache;
use std::sync::atomic::Ordering;

const PAGE: u64 = PAGE_SIZE as u64;
/// Pages of one copy.
const BATCH: u64 = 64;

impl PageCache {
    /// Copies up to `len` bytes from byte `off` on to `sink`; fewer at the end of the object, 0
    /// beyond it.
    ///
    /// # Errors
    /// EFAULT, EIO and others of the backing, ENOMEM; only if nothing could be copied.
    pub fn read(&self, off: u64, sink: &mut dyn Sink, len: usize) -> Result<usize> {
        let end = self.size().min(off.saturating_add(len.min(sink.remaining()) as u64));
        let mut pos = off;
        while pos < end {
            let (index, in_page) = (pos / PAGE, pos % PAGE);
            let last = (end - 1) / PAGE;
            let step = match self.pin_run(index, (last - index + 1).min(BATCH)) {
                Some(run) => {
                    let n = (u64::from(run.len()) * PAGE - in_page).min(end - pos) as usize;
                    let r = self.copy_out(run.start().addr().add(in_page as usize), sink, n);
                    r.map(|got| (got, got < n))
                }
                // A hole in memory-only files needs no memory to be read.
                None if !self.evictable() => {
                    let next = self.next_cached(index).map_or(end, |i| i * PAGE).min(end);
                    let n = (next - pos).min(1 << 20) as usize;
                    sink.write_zeros(n).map(|got| (got, got < n))
                }
                None => {
                    let window = self.read_window(index, last - index + 1);
                    match self.load(index, window, Need::Clean) {
                        Err(e) if e == Errno::ENXIO => break, // truncated meanwhile
                        r => r.map(|()| (0, false)),
                    }
                }
            };
            match step {
                Ok((n, short)) => {
                    pos += n as u64;
                    if short {
                        break;
                    }
                }
                Err(e) if pos == off => return Err(e),
                Err(_) => break,
            }
        }
        Ok(pos.saturating_sub(off) as usize)
    }

    fn copy_out(&self, from: PhysAddr, sink: &mut dyn Sink, len: usize) -> Result<usize> {
        if let Some(r) = sink.write_phys(from, len) {
            return r;
        }
        let phys = self.memory.machine().phys();
        let mut buf = [0; PAGE_SIZE];
        let mut done = 0;
        while done < len {
            let n = Self::bounce(len - done);
            phys.read(from.add(done), &mut buf[..n]);
            match sink.write(&buf[..n]) {
                Ok(got) => {
                    done += got;
                    if got < n {
                        break;
                    }
                }
                Err(e) if done == 0 => return Err(e),
                Err(_) => break,
            }
        }
        Ok(done)
    }

    fn copy_in(&self, to: PhysAddr, source: &mut dyn Source, len: usize) -> Result<usize> {
        if let Some(r) = source.read_phys(to, len) {
            return r;
        }
        let phys = self.memory.machine().phys();
        let mut buf = [0; PAGE_SIZE];
        let mut done = 0;
        while done < len {
            let n = Self::bounce(len - done);
            match source.read(&mut buf[..n]) {
                Ok(0) => break,
                Ok(got) => {
                    phys.write(to.add(done), &buf[..got]);
                    done += got;
                }
                Err(e) if done == 0 => return Err(e),
                Err(_) => break,
            }
        }
        Ok(done)
    }

    /// Copies up to `len` bytes from `source` to byte `off` on, and marks the pages dirty. Pages
    /// that are written in part are read first unless they lie beyond the end. The caller raises
    /// the object's size afterwards; until then the new part is not written back.
    ///
    /// # Errors
    /// EFAULT, EIO and others of the backing, ENOMEM, ENOSPC of a memory-only backing; only if
    /// nothing could be copied.
    pub fn write(&self, off: u64, source: &mut dyn Source, len: usize) -> Result<usize> {
        let _changing = self.changing();
        let end = off.saturating_add(len.min(source.remaining()) as u64);
        let size = self.size();
        if off > size && !size.is_multiple_of(PAGE) && end > off {
            // What a mapping stored behind the old end must not show up.
            let gap = (PAGE - size % PAGE).min(off - size);
            if let Some(run) = self.pin_run(size / PAGE, 1) {
                let at = run.start().addr().add((size % PAGE) as usize);
                self.memory.machine().phys().zero_bytes(at, gap as usize);
            }
        }
        let mut pos = off;
        while pos < end {
            self.high.fetch_max(end.min(pos + BATCH * PAGE), Ordering::AcqRel);
            match self.write_step(pos, end, source) {
                Ok(Some(n)) => {
                    pos += n as u64;
                    if n == 0 {
                        break;
                    }
                }
                Ok(None) => {} // something was brought in: look again
                Err(e) if pos == off => return Err(e),
                Err(_) => break,
            }
        }
        Ok((pos - off) as usize)
    }

    /// One run of pages. None: nothing was copied yet, but it will go on now.
    fn write_step(&self, pos: u64, end: u64, source: &mut dyn Source) -> Result<Option<usize>> {
        let (index, in_page) = (pos / PAGE, pos % PAGE);
        let last = (end - 1) / PAGE;
        if let Some(run) = self.pin_run(index, (last - index + 1).min(BATCH)) {
            let n = (u64::from(run.len()) * PAGE - in_page).min(end - pos) as usize;
            let r = self.copy_in(run.start().addr().add(in_page as usize), source, n);
            let got = *r.as_ref().unwrap_or(&0);
            if got > 0 {
                let pages = (in_page + got as u64).div_ceil(PAGE);
                self.mark_dirty_run(index, pages);
            }
            return r.map(Some);
        }
        let size = self.size();
        let page_start = index * PAGE;
        let beyond = page_start >= size;
        if !beyond && (in_page > 0 || (end < page_start + PAGE && end < size)) {
            self.load(index, 1, Need::Clean)?;
            return Ok(None);
        }
        // New pages: overwritten whole, or nothing of them existed.
        let mut want = if in_page > 0 { 1 } else { (end - pos).div_ceil(PAGE).min(BATCH) };
        if !beyond && want > 1 && !end.is_multiple_of(PAGE) && end < size && last < index + want {
            want -= 1; // the last one is partial and exists: read it in its turn
        }
        want = self.tree.lock().absent_run(index, want);
        if want == 0 {
            self.wait_idle(index, false);
            return Ok(None);
        }
        if !self.evictable() {
            // A memory-only backing counts its pages in read_pages.
            self.load_new(index, want)?;
            return Ok(None);
        }
        let place = self.place(index);
        let run = self.memory.alloc_placed(want as u32, place, self.kind(), Need::Clean)?;
        self.write_new(index, in_page, run, end, source).map(Some)
    }

    /// Has a memory-only backing make pages, also beyond its present size.
    fn load_new(&self, index: u64, want: u64) -> Result<()> {
        let run = self.memory.alloc_run(want as u32, self.kind(), Need::Clean)?;
        let addrs: Vec<PhysAddr> = (0..run.len()).map(|i| run.start().add(i).addr()).collect();
        self.backing()?.read_pages(index, &addrs)?;
        self.insert_run(index, run);
        Ok(())
    }

    /// Fills new frames from `source` and makes them pages of the object.
    fn write_new(
        &self,
        index: u64,
        in_page: u64,
        mut run: FrameRun,
        end: u64,
        source: &mut dyn Source,
    ) -> Result<usize> {
        let phys = self.memory.machine().phys().clone();
        let base = run.start().addr();
        let room = (u64::from(run.len()) * PAGE - in_page).min(end - index * PAGE - in_page);
        phys.zero_bytes(base, in_page as usize);
        let got = self.copy_in(base.add(in_page as usize), source, room as usize)?;
        if got == 0 {
            return Ok(0);
        }
        let filled = in_page + got as u64;
        let pages = filled.div_ceil(PAGE);
        run.truncate(pages as u32);
        let tail = (pages - 1) * PAGE;
        let part = filled - tail;
        let mut kept = got;
        if part < PAGE {
            phys.zero_bytes(base.add(filled as usize), (PAGE - part) as usize);
            let at = index * PAGE + filled;
            if at < self.size() {
                // The stream broke off inside a page that exists: what follows in it must be read.
                let (from, len) = (base.add(tail as usize), part as usize);
                if self.merge_part(index + pages - 1, from, len).is_err() {
                    kept -= len.min(kept);
                }
                run.truncate(pages as u32 - 1);
            }
        }
        let n = u64::from(run.len());
        let start = run.start();
        // Somebody may have brought pages in meanwhile: then the bytes go into theirs.
        let mut i = self.insert_run(index, self.reborrow(&run));
        while i < n {
            if let Some(theirs) = self.pin_run(index + i, 1) {
                phys.copy(theirs.start().addr(), start.add(i as u32).addr(), PAGE_SIZE);
                i += 1;
            } else {
                self.wait_idle(index + i, false);
                let mut one = self.reborrow(&run);
                one.skip(i as u32);
                one.truncate(1);
                i += self.insert_run(index + i, one);
            }
        }
        self.mark_dirty_run(index, n);
        Ok(kept)
    }

    /// More references to the frames of `run`.
    fn reborrow(&self, run: &FrameRun) -> FrameRun {
        for i in 0..run.len() {
            self.memory.frames.get(run.start().add(i));
        }
        FrameRun::from_raw(&self.memory.frames, run.start(), run.len())
    }

    fn merge_part(&self, index: u64, from: PhysAddr, len: usize) -> Result<()> {
        let frame = self.frame(index, false)?;
        self.memory.machine().phys().copy(frame.addr(), from, len);
        self.mark_dirty(index);
        Ok(())
    }

    /// Zeroes the cached or backed bytes `off..off + len` (fallocate ZERO_RANGE and PUNCH_HOLE,
    /// inside the object's size).
    ///
    /// # Errors
    /// EIO and others of the backing, ENOMEM.
    pub fn zero_range(&self, off: u64, len: u64) -> Result<()> {
        let _changing = self.changing();
        let end = off.saturating_add(len).min(self.size());
        let mut pos = off;
        while pos < end {
            let n = (PAGE - pos % PAGE).min(end - pos);
            // What a memory-only file does not hold reads as zeros already.
            if !self.evictable() && !self.is_cached(pos / PAGE) {
                match self.next_cached(pos / PAGE) {
                    Some(i) => pos = i * PAGE,
                    None => break,
                }
                continue;
            }
            let frame = self.frame(pos / PAGE, false)?;
            let at = frame.addr().add((pos % PAGE) as usize);
            self.memory.machine().phys().zero_bytes(at, n as usize);
            self.mark_dirty(pos / PAGE);
            pos += n;
        }
        Ok(())
    }
}
