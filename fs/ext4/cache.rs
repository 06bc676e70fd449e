//! The buffer cache: blocks of metadata by block number, written back late.
//!
//! A buffer's bytes are an `Arc<Vec<u8>>`: a reader takes a snapshot and holds no lock, a writer
//! changes the bytes in place if nobody looks and copies them otherwise. Writers are ordered by
//! the file system's transaction lock (see `txn`), so a snapshot is never half a change of one block.
//!
//! Checksums of blocks are computed when a block is written out, not each time it changes: a
//! buffer remembers its [`Kind`] and the seed. Reading checks them once, when the block comes in.
//!
//! Locks: `load` (sleeping) orders misses against each other; `map` and each buffer are spin locks
//! that are never held over I/O. Clean buffers beyond the bound go by second chance.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicUsize, Ordering::Relaxed};

use base::{Mutex, Rank, Result, SpinLock};
use drivers::BlockDevice;
use hashbrown::HashMap;

use super::crc::crc32c;
use super::disk::{get16, put16, put32};

/// What a block holds, as far as its checksum goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Kind {
    /// Not checked here: inode tables (each inode has its own), bitmaps, descriptors, indirect blocks.
    Plain = 1,
    /// A directory block with a tail.
    DirLeaf = 2,
    /// The root of a hash tree.
    DxRoot = 3,
    /// An inner node of a hash tree.
    DxNode = 4,
    /// A node of an extent tree.
    Extent = 5,
    /// Extended attributes.
    Xattr = 6,
}

/// Bytes of buffers kept in all, and dirty at most before somebody writes them back.
const MAX_BYTES: usize = 6 << 20;
const MAX_DIRTY: usize = 2 << 20;

/// A cached block.
#[derive(Debug)]
pub(super) struct Buf {
    block: u64,
    data: SpinLock<Arc<Vec<u8>>>,
    dirty: AtomicBool,
    used: AtomicBool,
    /// The `Kind` as which it was verified or written; 0: not yet.
    kind: AtomicU8,
    seed: AtomicU32,
}

impl Buf {
    /// The bytes, now.
    pub(super) fn bytes(&self) -> Arc<Vec<u8>> {
        self.data.lock().clone()
    }
    /// Whether it was accepted as a `kind` of the owner `seed` before.
    pub(super) fn is_verified(&self, kind: Kind, seed: u32) -> bool {
        self.kind.load(Relaxed) == kind as u8 && self.seed.load(Relaxed) == seed
    }
    /// Remembers that it was accepted.
    pub(super) fn set_verified(&self, kind: Kind, seed: u32) {
        self.seed.store(seed, Relaxed);
        self.kind.store(kind as u8, Relaxed);
    }
}

#[derive(Debug, Default)]
struct Map {
    bufs: HashMap<u64, Arc<Buf>>,
    clock: VecDeque<u64>,
}

/// The cache of one device.
#[derive(Debug)]
pub(super) struct Cache {
    dev: Arc<dyn BlockDevice>,
    bits: u32,
    csum: bool,
    load: Mutex<()>,
    map: SpinLock<Map>,
    dirty: AtomicUsize,
}

impl Cache {
    pub(super) fn new(dev: Arc<dyn BlockDevice>, bits: u32, csum: bool) -> Cache {
        let map = SpinLock::new(Rank::Block, Map::default());
        Cache { dev, bits, csum, load: Mutex::new(()), map, dirty: AtomicUsize::new(0) }
    }

    fn cached(&self, block: u64) -> Option<Arc<Buf>> {
        let map = self.map.lock();
        let b = map.bufs.get(&block)?;
        b.used.store(true, Relaxed);
        Some(b.clone())
    }

    /// The buffer of `block`, read from the device if need be.
    pub(super) fn get(&self, block: u64) -> Result<Arc<Buf>> {
        if let Some(b) = self.cached(block) {
            return Ok(b);
        }
        let _one = self.load.lock();
        if let Some(b) = self.cached(block) {
            return Ok(b);
        }
        let mut data = vec![0; 1 << self.bits];
        self.dev.read(block << self.bits, &mut data)?;
        Ok(self.insert(block, data, 0))
    }

    /// A buffer of zeros for a block that was just allocated: nothing is read.
    pub(super) fn get_new(&self, block: u64) -> Arc<Buf> {
        let _one = self.load.lock();
        self.forget(block);
        self.insert(block, vec![0; 1 << self.bits], 0)
    }

    fn insert(&self, block: u64, data: Vec<u8>, kind: u8) -> Arc<Buf> {
        let buf = Arc::new(Buf {
            block,
            data: SpinLock::new(Rank::Leaf, Arc::new(data)),
            dirty: AtomicBool::new(false),
            used: AtomicBool::new(true),
            kind: AtomicU8::new(kind),
            seed: AtomicU32::new(0),
        });
        let mut map = self.map.lock();
        map.bufs.insert(block, buf.clone());
        map.clock.push_back(block);
        let max = (MAX_BYTES >> self.bits).max(64);
        let mut tries = 64.min(map.clock.len());
        while map.bufs.len() > max && tries > 0 {
            tries -= 1;
            let Some(old) = map.clock.pop_front() else { break };
            let Some(b) = map.bufs.get(&old) else { continue };
            let keep = b.dirty.load(Relaxed) || b.used.swap(false, Relaxed);
            if keep || Arc::strong_count(b) > 1 {
                map.clock.push_back(old);
            } else {
                map.bufs.remove(&old);
            }
        }
        buf
    }

    /// Drops a block that was freed: whatever was to be written is not.
    pub(super) fn forget(&self, block: u64) {
        let mut map = self.map.lock();
        if let Some(b) = map.bufs.remove(&block)
            && b.dirty.swap(false, Relaxed)
        {
            self.dirty.fetch_sub(1, Relaxed);
        }
        // The clock keeps the number: skipped when its turn comes, bounded here.
        if map.clock.len() > 4 * map.bufs.len() + 1024 {
            let Map { bufs, clock } = &mut *map;
            let mut seen = hashbrown::HashSet::new();
            clock.retain(|n| bufs.contains_key(n) && seen.insert(*n));
        }
    }

    /// Changes a buffer in place and marks it dirty. The caller holds the transaction lock.
    pub(super) fn modify<R>(&self, buf: &Buf, f: impl FnOnce(&mut [u8]) -> R) -> R {
        let r = f(Arc::make_mut(&mut *buf.data.lock()).as_mut_slice());
        if !buf.dirty.swap(true, Relaxed) {
            self.dirty.fetch_add(1, Relaxed);
        }
        r
    }

    /// Whether so much is dirty that the next transaction should write it back first.
    pub(super) fn over_limit(&self) -> bool {
        self.dirty.load(Relaxed) << self.bits > MAX_DIRTY
    }

    /// Writes every dirty buffer, in runs; does not flush the device. The caller holds the
    /// transaction lock.
    pub(super) fn write_back(&self) -> Result<()> {
        if self.dirty.load(Relaxed) == 0 {
            return Ok(());
        }
        let mut list: Vec<Arc<Buf>> = {
            let map = self.map.lock();
            map.bufs.values().filter(|b| b.dirty.load(Relaxed)).cloned().collect()
        };
        list.sort_unstable_by_key(|b| b.block);
        let mut at = 0;
        let mut bytes = Vec::new();
        while at < list.len() {
            let mut n = 1;
            while at + n < list.len() && n < 64 && list[at + n].block == list[at].block + n as u64 {
                n += 1;
            }
            bytes.clear();
            for b in &list[at..at + n] {
                let mut d = b.data.lock();
                if self.csum {
                    seal(b, Arc::make_mut(&mut *d).as_mut_slice());
                }
                bytes.extend_from_slice(&d);
            }
            self.dev.write(list[at].block << self.bits, &bytes)?;
            for b in &list[at..at + n] {
                if b.dirty.swap(false, Relaxed) {
                    self.dirty.fetch_sub(1, Relaxed);
                }
            }
            at += n;
        }
        Ok(())
    }
}

/// The checksum that a block of this kind should carry, and where.
pub(super) fn checksum(kind: Kind, seed: u32, block: u64, d: &[u8]) -> Option<(u32, usize)> {
    let end = d.len();
    match kind {
        Kind::Plain => None,
        Kind::DirLeaf => Some((crc32c(seed, &d[..end - 12]), end - 4)),
        Kind::DxRoot | Kind::DxNode => {
            let at = if kind == Kind::DxRoot { 32 } else { 8 };
            let (limit, count) = (get16(d, at) as usize, get16(d, at + 2) as usize);
            let tail = at + limit * 8;
            if count > limit || tail + 8 > end {
                return None;
            }
            let c = crc32c(seed, &d[..at + count * 8]);
            Some((crc32c(crc32c(c, &d[tail..tail + 4]), &[0; 4]), tail + 4))
        }
        Kind::Extent => {
            let tail = 12 + 12 * get16(d, 4) as usize;
            if tail + 4 > end { None } else { Some((crc32c(seed, &d[..tail]), tail)) }
        }
        Kind::Xattr => {
            let c = crc32c(crc32c(seed, &block.to_le_bytes()), &d[..16]);
            Some((crc32c(crc32c(c, &[0; 4]), &d[20..]), 16))
        }
    }
}

fn seal(b: &Buf, d: &mut [u8]) {
    let kind = match b.kind.load(Relaxed) {
        2 => Kind::DirLeaf,
        3 => Kind::DxRoot,
        4 => Kind::DxNode,
        5 => Kind::Extent,
        6 => Kind::Xattr,
        _ => return,
    };
    if let Some((c, at)) = checksum(kind, b.seed.load(Relaxed), b.block, d) {
        put32(d, at, c);
    }
}

/// A bitmap's checksum goes into the group descriptor: low and, in wide ones, high half.
pub(super) fn put_split(desc: &mut [u8], lo: usize, hi: Option<usize>, csum: u32) {
    put16(desc, lo, csum as u16);
    if let Some(hi) = hi {
        put16(desc, hi, (csum >> 16) as u16);
    }
}
