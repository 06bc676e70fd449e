//! Inodes: from the table to memory and back.
//!
//! [`Core`] is an inode in memory; what can change is its [`State`], under a sleeping lock. Each change is stored
//! in the table's buffer at once (with the inode's checksum), so an inode that leaves memory has
//! nothing left to write. `i_dtime` is not part of the state: it belongs to the orphan list and to freeing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use base::lock::MutexGuard;
use base::{Mutex, Result, Timestamp};

use super::cache::Kind;
use super::crc::crc32c;
use super::disk::{feature as f, get16, get32, iflag, put, put16, put32};
use super::map::MapCache;
use super::mount::Ext4;
use super::txn::Txn;
use crate::inode::FileType;

/// What can change of an inode.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
pub(super) struct State {
    pub mode: u16,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    pub links: u32,
    /// In units of 512 bytes.
    pub sectors: u64,
    pub flags: u32,
    pub atime: Timestamp,
    pub ctime: Timestamp,
    pub mtime: Timestamp,
    pub crtime: Timestamp,
    pub block: Root,
    /// Block of extended attributes, or 0.
    pub acl: u64,
    pub generation: u32,
    pub extra_isize: u16,
    /// Mappings looked up last.
    pub maps: MapCache,
    /// Last block allocated: the next goal.
    pub last_block: u64,
    /// Allocated blocks of an indirect file that were never written: start -> end.
    pub fresh: std::collections::BTreeMap<u64, u64>,
    /// A write under way ends here: its pages may go out before the size says so.
    pub pending: u64,
    /// Directories: no block before this one has much room.
    pub dir_hint: u64,
}

/// `i_block`: 15 block numbers, an extent tree's root, a short symbolic link, or a device number.
#[derive(Clone, Debug)]
pub(super) struct Root(pub(super) [u8; 60]);
impl Default for Root {
    fn default() -> Self {
        Root([0; 60])
    }
}

/// An inode in memory.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) fs: Arc<Ext4>,
    pub(super) ino: u64,
    pub(super) kind: FileType,
    /// Seed of the checksums of everything that belongs to it.
    pub(super) seed: u32,
    state: Mutex<State>,
    size: AtomicU64,
    /// Freed: nothing is read or written any more.
    pub(super) dead: AtomicBool,
}

fn read_time(d: &[u8], at: usize, extra: Option<usize>) -> Timestamp {
    let sec = i64::from(get32(d, at) as i32);
    match extra {
        Some(x) => {
            let e = get32(d, x);
            Timestamp { sec: sec + (i64::from(e & 3) << 32), nsec: (e >> 2).min(999_999_999) }
        }
        None => Timestamp { sec, nsec: 0 },
    }
}

fn write_time(d: &mut [u8], at: usize, extra: Option<usize>, t: Timestamp) {
    match extra {
        Some(x) => {
            let sec = t.sec.clamp(-(1 << 31), (1 << 34) - (1 << 31) - 1);
            put32(d, at, sec as u32);
            let epoch = ((sec - i64::from(sec as i32)) >> 32) as u32 & 3;
            put32(d, x, epoch | t.nsec << 2);
        }
        None => put32(d, at, t.sec.clamp(i32::MIN.into(), i32::MAX.into()) as u32),
    }
}

/// Offsets of the fields beyond byte 128, as far as `extra_isize` reaches.
fn extra_at(extra_isize: u16, at: usize) -> Option<usize> {
    (128 + extra_isize as usize >= at + 4).then_some(at)
}

impl State {
    pub(super) fn decode(fs: &Ext4, d: &[u8]) -> State {
        let extra = if fs.geo.inode_size > 128 {
            get16(d, 0x80).min(fs.geo.inode_size as u16 - 128)
        } else {
            0
        };
        let flags = get32(d, 0x20);
        let mut sectors = u64::from(get32(d, 0x1c));
        if fs.geo.ro_compat & f::RO_HUGE_FILE != 0 {
            sectors |= u64::from(get16(d, 0x74)) << 32;
            if flags & iflag::HUGE_FILE != 0 {
                sectors <<= fs.geo.block_bits - 9;
            }
        }
        let mode = get16(d, 0);
        let mut size = u64::from(get32(d, 4));
        if matches!(mode & 0o170_000, 0o100_000 | 0o040_000) {
            size |= u64::from(get32(d, 0x6c)) << 32;
        }
        let mut block = Root::default();
        block.0.copy_from_slice(&d[0x28..0x64]);
        State {
            mode,
            uid: u32::from(get16(d, 2)) | u32::from(get16(d, 0x78)) << 16,
            gid: u32::from(get16(d, 0x18)) | u32::from(get16(d, 0x7a)) << 16,
            size,
            links: get16(d, 0x1a).into(),
            sectors,
            flags,
            atime: read_time(d, 8, extra_at(extra, 0x8c)),
            ctime: read_time(d, 0xc, extra_at(extra, 0x84)),
            mtime: read_time(d, 0x10, extra_at(extra, 0x88)),
            crtime: extra_at(extra, 0x90)
                .map_or(Timestamp::default(), |at| read_time(d, at, extra_at(extra, 0x94))),
            block,
            acl: u64::from(get32(d, 0x68)) | u64::from(get16(d, 0x76)) << 32,
            generation: get32(d, 0x64),
            extra_isize: extra,
            ..State::default()
        }
    }

    fn encode(&self, fs: &Ext4, d: &mut [u8]) {
        let x = self.extra_isize;
        put16(d, 0, self.mode);
        put16(d, 2, self.uid as u16);
        put16(d, 0x78, (self.uid >> 16) as u16);
        put16(d, 0x18, self.gid as u16);
        put16(d, 0x7a, (self.gid >> 16) as u16);
        put32(d, 4, self.size as u32);
        if matches!(self.mode & 0o170_000, 0o100_000 | 0o040_000) {
            put32(d, 0x6c, (self.size >> 32) as u32);
        }
        put16(d, 0x1a, self.links as u16);
        let mut flags = self.flags & !iflag::HUGE_FILE;
        let mut sectors = self.sectors;
        if fs.geo.ro_compat & f::RO_HUGE_FILE != 0 {
            if sectors >= 1 << 48 {
                flags |= iflag::HUGE_FILE;
                sectors >>= fs.geo.block_bits - 9;
            }
            put16(d, 0x74, (sectors >> 32) as u16);
        }
        put32(d, 0x1c, sectors as u32);
        put32(d, 0x20, flags);
        write_time(d, 8, extra_at(x, 0x8c), self.atime);
        write_time(d, 0xc, extra_at(x, 0x84), self.ctime);
        write_time(d, 0x10, extra_at(x, 0x88), self.mtime);
        if let Some(at) = extra_at(x, 0x90) {
            write_time(d, at, extra_at(x, 0x94), self.crtime);
        }
        put(d, 0x28, &self.block.0);
        put32(d, 0x68, self.acl as u32);
        put16(d, 0x76, (self.acl >> 32) as u16);
        put32(d, 0x64, self.generation);
        if fs.geo.inode_size > 128 {
            put16(d, 0x80, x);
        }
    }

    /// Whether data is mapped by extents.
    pub(super) fn has_extents(&self) -> bool {
        self.flags & iflag::EXTENTS != 0
    }
    /// The file type bits.
    pub(super) fn kind(&self) -> Option<FileType> {
        FileType::from_mode(self.mode.into())
    }
}

/// The seed for checksums of what an inode owns.
pub(super) fn inode_seed(fs: &Ext4, ino: u64, generation: u32) -> u32 {
    let c = crc32c(fs.geo.csum_seed, &(ino as u32).to_le_bytes());
    crc32c(c, &generation.to_le_bytes())
}

/// The inode's own checksum, and whether the high half is stored, too.
fn inode_csum(seed: u32, d: &[u8]) -> (u32, bool) {
    let wide = d.len() > 128 && get16(d, 0x80) >= 4;
    let mut c = crc32c(crc32c(seed, &d[..0x7c]), &[0; 2]);
    c = crc32c(c, &d[0x7e..d.len().min(0x82)]);
    if d.len() > 0x82 {
        c = if wide { crc32c(c, &[0; 2]) } else { crc32c(c, &d[0x82..0x84]) };
        c = crc32c(c, &d[0x84..]);
    }
    (c, wide)
}

impl Ext4 {
    /// Where an inode lies: block and offset.
    ///
    /// # Errors
    /// EUCLEAN for a number that cannot be.
    pub(super) fn inode_place(&self, ino: u64) -> Result<(u64, usize)> {
        let geo = &self.geo;
        if ino == 0 || ino > geo.inodes {
            return Err(self.corrupt(&format!("inode number {ino} is out of range")));
        }
        let (n, i) = ((ino - 1) / geo.inodes_per_group, (ino - 1) % geo.inodes_per_group);
        let byte = i * geo.inode_size as u64;
        let table = self.groups.lock().list[n as usize].inode_table;
        Ok((table + (byte >> geo.block_bits), (byte as usize) & (geo.block_size - 1)))
    }

    /// Reads an inode of the table and checks it.
    ///
    /// # Errors
    /// EIO; EUCLEAN for a free or damaged inode.
    pub(super) fn read_inode(&self, ino: u64) -> Result<State> {
        let (block, at) = self.inode_place(ino)?;
        let bytes = self.read_block(block, Kind::Plain, 0, |_| Ok(()))?;
        let d = &bytes[at..at + self.geo.inode_size];
        if self.geo.metadata_csum() {
            let (c, wide) = inode_csum(inode_seed(self, ino, get32(d, 0x64)), d);
            if get16(d, 0x7c) != c as u16 || (wide && get16(d, 0x82) != (c >> 16) as u16) {
                return Err(self.corrupt(&format!("checksum of inode {ino} is wrong")));
            }
        }
        let s = State::decode(self, d);
        let what = if s.kind().is_none() {
            "has no type"
        } else if s.flags & (iflag::INLINE_DATA | iflag::ENCRYPT | iflag::EA_INODE) != 0 {
            "has flags of features that the file system has not"
        } else if s.has_extents() && self.geo.incompat & f::INCOMPAT_EXTENTS == 0 {
            "has extents but the file system has not"
        } else if s.size > self.max_size(s.has_extents()) {
            "has an impossible size"
        } else if s.acl != 0 && (s.acl <= self.geo.first_block || s.acl >= self.geo.blocks) {
            "has attributes outside of the file system"
        } else if s.extra_isize & 3 != 0 {
            "has an odd extra size"
        } else {
            return Ok(s);
        };
        Err(self.corrupt(&format!("inode {ino} {what}")))
    }

    /// Largest size of a file: 2^32 blocks by extents; what four levels of block numbers reach otherwise.
    pub(super) fn max_size(&self, extents: bool) -> u64 {
        let bits = self.geo.block_bits;
        if extents {
            return ((1u64 << 32) - 1) << bits;
        }
        let p = 1u64 << (bits - 2);
        let by_map = (12 + p + p * p + p * p * p) << bits;
        // Without huge_file, i_blocks counts 512-byte units in 32 bits.
        by_map.min(if self.geo.ro_compat & f::RO_HUGE_FILE != 0 {
            u64::MAX
        } else {
            (1 << 41) - (1 << 32)
        })
    }
}

impl Txn<'_> {
    /// Stores an inode; `fresh` clears the slot first. `dtime` sets i_dtime.
    ///
    /// # Errors
    /// EIO.
    pub(super) fn store_inode(
        &self,
        ino: u64,
        s: &State,
        fresh: bool,
        dtime: Option<u32>,
    ) -> Result<()> {
        let fs = self.fs;
        let (block, at) = fs.inode_place(ino)?;
        self.write(block, Kind::Plain, 0, |b| {
            let d = &mut b[at..at + fs.geo.inode_size];
            if fresh {
                d.fill(0);
            }
            s.encode(fs, d);
            if let Some(t) = dtime {
                put32(d, 0x14, t);
            }
            seal(fs, ino, d);
        })
    }

    /// Sets i_dtime alone: the link to the next orphan, or 0.
    ///
    /// # Errors
    /// EIO.
    pub(super) fn store_dtime(&self, ino: u64, value: u32) -> Result<()> {
        self.edit_inode(ino, |d| put32(d, 0x14, value))
    }

    /// Changes an inode's raw bytes (in-inode attributes).
    ///
    /// # Errors
    /// EIO.
    pub(super) fn edit_inode<R>(&self, ino: u64, f: impl FnOnce(&mut [u8]) -> R) -> Result<R> {
        let fs = self.fs;
        let (block, at) = fs.inode_place(ino)?;
        self.write(block, Kind::Plain, 0, |b| {
            let d = &mut b[at..at + fs.geo.inode_size];
            let r = f(d);
            seal(fs, ino, d);
            r
        })
    }
}

fn seal(fs: &Ext4, ino: u64, d: &mut [u8]) {
    if fs.geo.metadata_csum() {
        let (c, wide) = inode_csum(inode_seed(fs, ino, get32(d, 0x64)), d);
        put16(d, 0x7c, c as u16);
        if wide {
            put16(d, 0x82, (c >> 16) as u16);
        }
    }
}

impl Core {
    pub(super) fn new(fs: Arc<Ext4>, ino: u64, kind: FileType, state: State) -> Core {
        let seed = inode_seed(&fs, ino, state.generation);
        let size = AtomicU64::new(state.size);
        Core { fs, ino, kind, seed, state: Mutex::new(state), size, dead: AtomicBool::new(false) }
    }
    /// Locks the state.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
    /// The size without the lock.
    pub(super) fn size_now(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }
    /// Changes the size, in memory only.
    pub(super) fn set_size(&self, s: &mut State, size: u64) {
        s.size = size;
        self.size.store(size, Ordering::Release);
    }
    /// Stores the state in the table.
    ///
    /// # Errors
    /// EIO.
    pub(super) fn store(&self, txn: &Txn<'_>, s: &State) -> Result<()> {
        txn.store_inode(self.ino, s, false, None)
    }
    /// Whether it was freed.
    pub(super) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Acquire)
    }
}
