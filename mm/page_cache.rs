//! The page cache: the pages of one object, by index.
//!
//! Pages live in chunks of 64 (256 KiB): an array of frames and one bit mask for each state. A page
//! is absent, *reading* (its frame is there, its contents are not: others wait), or present; a
//! present one may be *dirty* (differs from the backing), under *writeback*, *referenced* (used
//! since the clock hand came by).
//!
//! * this file: states, lookup, loading with read-ahead, whole frames
//! * cache_io.rs: read(2) and write(2)
//! * cache_sync.rs: write-back, truncation, eviction, and the reverse map
//!
//! Locks: `tree` (`Rank::PageCache`) inside an address space's spin lock and outside the frame
//! allocator's. It is never held during I/O or while user memory is touched. `mappers` is a leaf.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use arch::HUGE_PAGES;
use base::{
    Errno, PAGE_SIZE, Pfn, PhysAddr, PollEvents, Rank, Result, Sleep, SpinLock, WaitQueue, err,
};
use hashbrown::HashMap;

use crate::frame::{Frame, FrameRun, Kind, Place};
use crate::hot::HotPages;
use crate::mappable::Backing;
use crate::memory::{Memory, Need};
use crate::patch::PatchSlot;
use crate::space::AddressSpace;

/// Pages in a chunk.
pub(crate) const CHUNK: u64 = 64;
/// Longest read-ahead, pages.
const MAX_READ_AHEAD: u64 = 128;
/// First read-ahead of a sequential reader, pages.
const MIN_READ_AHEAD: u64 = 16;

/// A file of so many pages is read whole when its beginning is: then its frames are contiguous.
const SMALL: u64 = 64;

/// 64 pages and their states.
pub(crate) struct Chunk {
    pub(crate) pfns: [u32; CHUNK as usize],
    pub(crate) present: u64,
    pub(crate) reading: u64,
    pub(crate) dirty: u64,
    pub(crate) writeback: u64,
    pub(crate) referenced: u64,
}

/// All chunks of an object.
#[derive(Default)]
pub(crate) struct Tree {
    pub(crate) chunks: BTreeMap<u64, Box<Chunk>>,
    pub(crate) pages: u64,
    pub(crate) dirty: u64,
    /// Where a sequential reader would miss next, and how much was read ahead last.
    next_miss: u64,
    window: u64,
}

pub(crate) fn bit(index: u64) -> u64 {
    1 << (index % CHUNK)
}

impl Tree {
    pub(crate) fn chunk(&self, index: u64) -> Option<&Chunk> {
        self.chunks.get(&(index / CHUNK)).map(|c| &**c)
    }
    pub(crate) fn chunk_mut(&mut self, index: u64) -> Option<&mut Chunk> {
        self.chunks.get_mut(&(index / CHUNK)).map(|c| &mut **c)
    }
    fn chunk_or_new(&mut self, index: u64) -> &mut Chunk {
        self.chunks.entry(index / CHUNK).or_insert_with(|| {
            Box::new(Chunk {
                pfns: [0; CHUNK as usize],
                present: 0,
                reading: 0,
                dirty: 0,
                writeback: 0,
                referenced: 0,
            })
        })
    }
    pub(crate) fn present(&self, index: u64) -> Option<Pfn> {
        let c = self.chunk(index)?;
        (c.present & bit(index) != 0).then(|| Pfn(c.pfns[(index % CHUNK) as usize]))
    }
    /// Whether nothing is there, not even a read in flight.
    fn absent(&self, index: u64) -> bool {
        self.chunk(index).is_none_or(|c| (c.present | c.reading) & bit(index) == 0)
    }
    /// How many pages from `first` on are absent, at most `max`.
    pub(crate) fn absent_run(&self, first: u64, max: u64) -> u64 {
        (0..max).take_while(|i| self.absent(first + i)).count() as u64
    }
    pub(crate) fn insert(&mut self, index: u64, pfn: Pfn) {
        let c = self.chunk_or_new(index);
        c.pfns[(index % CHUNK) as usize] = pfn.0;
        c.present |= bit(index);
        c.referenced |= bit(index);
        self.pages += 1;
    }
    /// Takes a present page out; its reference passes to the caller. Says if it was dirty.
    pub(crate) fn remove(&mut self, index: u64) -> Option<(Pfn, bool)> {
        let n = index / CHUNK;
        let c = self.chunks.get_mut(&n)?;
        let b = bit(index);
        if c.present & b == 0 {
            return None;
        }
        let dirty = c.dirty & b != 0;
        c.present &= !b;
        c.dirty &= !b;
        c.referenced &= !b;
        let pfn = Pfn(c.pfns[(index % CHUNK) as usize]);
        if c.present | c.reading | c.writeback == 0 {
            self.chunks.remove(&n);
        }
        self.pages -= 1;
        self.dirty -= u64::from(dirty);
        Some((pfn, dirty))
    }
}

enum Origin {
    Weak(Weak<dyn Backing>),
    Owned(Arc<dyn Backing>),
}

/// The cached pages of one object.
pub struct PageCache {
    id: u64,
    pub(crate) memory: Arc<Memory>,
    origin: Origin,
    evictable: bool,
    pub(crate) tree: SpinLock<Tree>,
    /// Those who wait for a page that is being read or written.
    pub(crate) waiters: WaitQueue,
    /// The address spaces that map it, with how many VMAs.
    pub(crate) mappers: SpinLock<HashMap<u64, (Weak<AddressSpace>, usize)>>,
    /// How many VMAs map it shared and may write.
    pub(crate) writable_maps: AtomicUsize,
    /// End of what `write` has stored, until the owner has raised the size to it.
    pub(crate) high: AtomicU64,
    /// What programs touch of it soon after they start.
    pub(crate) hot: SpinLock<HotPages>,
    /// Its patch, if it is a program.
    pub(crate) slot: PatchSlot,
    me: Weak<PageCache>,
}

impl fmt::Debug for PageCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let t = self.tree.lock();
        write!(f, "PageCache({}: {} pages, {} dirty)", self.id, t.pages, t.dirty)
    }
}

impl PageCache {
    fn build(memory: &Arc<Memory>, origin: Origin, evictable: bool) -> Arc<PageCache> {
        Arc::new_cyclic(|me| PageCache {
            id: memory.next_id(),
            memory: memory.clone(),
            origin,
            evictable,
            tree: SpinLock::new(Rank::PageCache, Tree::default()),
            waiters: WaitQueue::new(),
            mappers: SpinLock::new(Rank::Leaf, HashMap::new()),
            writable_maps: AtomicUsize::new(0),
            high: AtomicU64::new(0),
            hot: SpinLock::new(Rank::Leaf, HotPages::default()),
            slot: PatchSlot::new(),
            me: me.clone(),
        })
    }

    /// An evictable cache of a file. The backing is held weakly, since the inode owns the cache: it
    /// must be written (`sync_range`) before the inode goes, or what is dirty is lost.
    pub fn new(memory: &Arc<Memory>, backing: Weak<dyn Backing>) -> Arc<PageCache> {
        let evictable = backing.upgrade().is_none_or(|b| b.evictable());
        PageCache::build(memory, Origin::Weak(backing), evictable)
    }

    /// As [`PageCache::new`] for a backing that is still being built (`Arc::new_cyclic`) and cannot
    /// be asked whether it is evictable.
    pub fn new_cyclic(
        memory: &Arc<Memory>,
        backing: Weak<dyn Backing>,
        evictable: bool,
    ) -> Arc<PageCache> {
        PageCache::build(memory, Origin::Weak(backing), evictable)
    }

    /// A cache that keeps its backing alive.
    pub fn new_owned(memory: &Arc<Memory>, backing: Arc<dyn Backing>) -> Arc<PageCache> {
        let evictable = backing.evictable();
        PageCache::build(memory, Origin::Owned(backing), evictable)
    }

    /// Unique number of the object, for futex keys.
    pub fn id(&self) -> u64 {
        self.id
    }
    pub(crate) fn weak(&self) -> Weak<PageCache> {
        self.me.clone()
    }
    /// Whether it belongs to a file; false: it lives in memory only.
    pub(crate) fn evictable(&self) -> bool {
        self.evictable
    }
    pub(crate) fn backing(&self) -> Result<Arc<dyn Backing>> {
        match &self.origin {
            Origin::Owned(b) => Ok(b.clone()),
            Origin::Weak(b) => b.upgrade().ok_or_else(|| Errno::EIO.into()),
        }
    }
    /// Pages that the object has now.
    pub(crate) fn size_pages(&self) -> u64 {
        base::addr::pages_for(self.size())
    }
    pub(crate) fn size(&self) -> u64 {
        match &self.origin {
            Origin::Owned(b) => b.size(),
            Origin::Weak(b) => b.upgrade().map_or(0, |b| b.size()),
        }
    }
    pub(crate) fn kind(&self) -> Kind {
        if self.evictable { Kind::Cache } else { Kind::Shm }
    }

    /// How many pages are dirty.
    pub fn dirty_pages(&self) -> u64 {
        self.tree.lock().dirty
    }
    /// How many pages are cached.
    pub fn cached_pages(&self) -> u64 {
        self.tree.lock().pages
    }
    /// Whether page `index` is cached (mincore(2), cachestat(2)).
    pub fn is_cached(&self, index: u64) -> bool {
        self.tree.lock().present(index).is_some()
    }
    /// The first cached page in `first..`, for lseek(2) SEEK_DATA in memory-only objects.
    pub fn next_cached(&self, first: u64) -> Option<u64> {
        let t = self.tree.lock();
        for (n, c) in t.chunks.range(first / CHUNK..) {
            let base = n * CHUNK;
            let mask = if base < first { !0 << (first - base) } else { !0 };
            if c.present & mask != 0 {
                return Some(base + u64::from((c.present & mask).trailing_zeros()));
            }
        }
        None
    }

    /// Puts the cache on the list that reclaim walks. Called when the first page comes.
    pub(crate) fn register(&self) {
        self.memory.caches.lock().entry(self.id).or_insert_with(|| self.me.clone());
    }

    /// References to the present pages from `first` on whose frames are contiguous, at most `max`.
    pub(crate) fn pin_run(&self, first: u64, max: u64) -> Option<FrameRun> {
        let mut t = self.tree.lock();
        let start = t.present(first)?;
        let mut n = 0;
        while u64::from(n) < max {
            let index = first + u64::from(n);
            let Some(c) = t.chunk_mut(index) else { break };
            let i = (index % CHUNK) as usize;
            if c.present & bit(index) == 0 || c.pfns[i] != start.0 + n {
                break;
            }
            c.referenced |= bit(index);
            self.memory.frames.get(start.add(n));
            n += 1;
        }
        Some(FrameRun::from_raw(&self.memory.frames, start, n))
    }

    /// Calls `f(index, frame)` for present pages of `first..last` under the tree's lock; if `f`
    /// returns true, the frame has got one reference more, which is the caller's.
    pub(crate) fn for_present(&self, first: u64, last: u64, mut f: impl FnMut(u64, Pfn) -> bool) {
        let mut t = self.tree.lock();
        let mut index = first;
        while index < last {
            let Some(c) = t.chunk_mut(index) else {
                index = (index / CHUNK + 1) * CHUNK;
                continue;
            };
            let end = last.min((index / CHUNK + 1) * CHUNK);
            while index < end {
                if c.present & bit(index) != 0 {
                    let pfn = Pfn(c.pfns[(index % CHUNK) as usize]);
                    if f(index, pfn) {
                        self.memory.frames.get(pfn);
                        c.referenced |= bit(index);
                    }
                }
                index += 1;
            }
        }
    }

    /// Waits until page `index` is neither being read nor (if `written`) being written.
    pub(crate) fn wait_idle(&self, index: u64, written: bool) {
        let ready = || {
            let t = self.tree.lock();
            let busy = t.chunk(index).is_some_and(|c| {
                let m = if written { c.reading | c.writeback } else { c.reading };
                m & bit(index) != 0
            });
            (!busy).then_some(())
        };
        // Uninterruptible: ends only when it is ready.
        let _ = self.waiters.wait_until(Sleep::Uninterruptible, None, ready);
    }

    /// Makes page `index` present, reading it and up to `ahead - 1` pages after it.
    ///
    /// # Errors
    /// ENXIO beyond the end of the object, ENOMEM, and what the backing says.
    pub(crate) fn load(&self, index: u64, ahead: u64, need: Need) -> Result<()> {
        loop {
            // Not under the lock: the backing might go with the reference taken to ask it.
            let left = self.size_pages().saturating_sub(index);
            let absent = {
                let t = self.tree.lock();
                if t.present(index).is_some() {
                    return Ok(());
                }
                if left == 0 {
                    return err(Errno::ENXIO);
                }
                t.absent_run(index, ahead.clamp(1, left))
            };
            if absent == 0 {
                self.wait_idle(index, false);
                continue;
            }
            let place = self.place(index);
            let run = self.memory.alloc_placed(absent as u32, place, self.kind(), need)?;
            self.fill(index, run)?;
        }
    }

    /// Where the frames of new pages from `index` on should lie: behind the one before, so that one mapping
    /// of the host's shows many of them, and so that a huge page of it could.
    pub(crate) fn place(&self, index: u64) -> Place {
        let huge = u64::from(HUGE_PAGES);
        if index.is_multiple_of(huge) {
            // A file that has filled one will fill another.
            let whole = index > 0 || self.size_pages() >= huge;
            return if whole { Place::Room(HUGE_PAGES) } else { Place::Any };
        }
        match self.tree.lock().present(index - 1) {
            // Two files that grow side by side: room for as much again as there is.
            Some(before) => Place::At(before.add(1), index.next_power_of_two().min(huge) as u32),
            None => Place::Any,
        }
    }

    /// Reads pages into `run` and makes them present, as far as they are still absent.
    fn fill(&self, index: u64, mut run: FrameRun) -> Result<()> {
        let backing = self.backing()?;
        {
            let mut t = self.tree.lock();
            let n = t.absent_run(index, u64::from(run.len()));
            run.truncate(n as u32);
            for i in 0..n {
                let c = t.chunk_or_new(index + i);
                c.pfns[((index + i) % CHUNK) as usize] = run.start().0 + i as u32;
                c.reading |= bit(index + i);
            }
        }
        if run.len() == 0 {
            return Ok(());
        }
        self.register();
        let addrs: Vec<PhysAddr> = (0..run.len()).map(|i| run.start().add(i).addr()).collect();
        let result = backing.read_pages(index, &addrs);
        let n = u64::from(run.len());
        {
            let mut t = self.tree.lock();
            for i in index..index + n {
                if let Some(c) = t.chunk_mut(i) {
                    c.reading &= !bit(i);
                }
                if result.is_ok() {
                    t.insert(i, run.start().add((i - index) as u32));
                } else if t.chunk(i).is_some_and(|c| c.present | c.reading | c.writeback == 0) {
                    t.chunks.remove(&(i / CHUNK));
                }
            }
            if result.is_ok() {
                run.into_pfn();
            }
        }
        self.waiters.wake_all(PollEvents::empty());
        result
    }

    /// How far to read ahead for a read that misses at `index` and wants `want` pages: a sequential
    /// reader's window doubles, a random one gets what it asks for.
    pub(crate) fn read_window(&self, index: u64, want: u64) -> u64 {
        let size = self.size_pages();
        let mut t = self.tree.lock();
        let sequential = index == t.next_miss || index == 0;
        t.window = if sequential {
            (t.window * 2).clamp(MIN_READ_AHEAD, MAX_READ_AHEAD).max(want)
        } else {
            want.max(4)
        };
        if index == 0 && size <= SMALL {
            t.window = size;
        }
        t.window = t.window.min(1024);
        t.next_miss = index + t.window;
        t.window
    }

    /// Reads pages `first..first + pages` into the cache as far as they are not there; what lies
    /// beyond the end of the object is ignored.
    ///
    /// # Errors
    /// EIO and others of the backing, ENOMEM.
    pub fn read_ahead(&self, first: u64, pages: u64) -> Result<()> {
        let end = first.saturating_add(pages).min(self.size_pages());
        let mut i = first;
        while i < end {
            if self.is_cached(i) {
                i += 1;
                continue;
            }
            match self.load(i, (end - i).min(MAX_READ_AHEAD), Need::Clean) {
                Err(e) if e == Errno::ENXIO => break, // truncated meanwhile
                r => r?,
            }
        }
        Ok(())
    }

    /// The frame of page `index`, read if need be. `for_write`: it is marked dirty, and beyond the
    /// end of the object a page of zeros is made. For file systems that keep data structures
    /// (directories, bitmaps) in a page cache.
    ///
    /// # Errors
    /// ENXIO beyond the end of the object, EIO and others of the backing, ENOMEM.
    pub fn frame(&self, index: u64, for_write: bool) -> Result<Frame> {
        loop {
            if let Some(run) = self.pin_run(index, 1) {
                if for_write {
                    self.mark_dirty(index);
                }
                return Ok(run.into_frame());
            }
            if for_write && index >= self.size_pages() {
                let mut run = self.memory.alloc_run(1, self.kind(), Need::Clean)?;
                run.zero();
                self.insert_run(index, run);
            } else {
                self.load(index, 1, Need::Clean)?;
            }
        }
    }

    /// Makes `run` the pages from `index` on, as far as they are absent; returns how many were.
    pub(crate) fn insert_run(&self, index: u64, mut run: FrameRun) -> u64 {
        let n = {
            let mut t = self.tree.lock();
            let n = t.absent_run(index, u64::from(run.len()));
            run.truncate(n as u32);
            for i in 0..n {
                t.insert(index + i, run.start().add(i as u32));
            }
            run.into_pfn();
            n
        };
        self.register();
        n
    }

    /// Marks a cached page dirty: it differs from the backing. Without effect on an absent page and
    /// in an object that lives in memory only.
    pub fn mark_dirty(&self, index: u64) {
        self.mark_dirty_run(index, 1);
    }

    pub(crate) fn mark_dirty_run(&self, first: u64, n: u64) {
        if !self.evictable {
            return;
        }
        let mut t = self.tree.lock();
        let mut fresh = 0;
        for i in first..first + n {
            if let Some(c) = t.chunk_mut(i)
                && c.present & !c.dirty & bit(i) != 0
            {
                c.dirty |= bit(i);
                fresh += 1;
            }
        }
        t.dirty += fresh;
        drop(t);
        if fresh > 0 {
            self.memory.count_dirty(fresh);
        }
    }

    /// Copies of a frame's bytes by way of a buffer on the stack, for streams that cannot do better.
    pub(crate) fn bounce(len: usize) -> usize {
        len.min(PAGE_SIZE)
    }
    pub(crate) fn count_io(&self, counter: &AtomicU64, pages: u64, add: bool) {
        if add {
            counter.fetch_add(pages, Ordering::Relaxed);
        } else {
            counter.fetch_sub(pages, Ordering::Relaxed);
        }
    }
}

impl Drop for PageCache {
    fn drop(&mut self) {
        self.memory.caches.lock().remove(&self.id);
        let t = self.tree.get_mut();
        if t.dirty > 0 {
            log::warn!("page cache {} dropped with {} dirty pages", self.id, t.dirty);
            self.memory.dirty.fetch_sub(t.dirty, Ordering::Relaxed);
        }
        for c in t.chunks.values() {
            let present = (0..CHUNK).filter(|i| c.present & (1 << i) != 0);
            self.memory.frames.put_all(present.map(|i| Pfn(c.pfns[i as usize])));
        }
    }
}
