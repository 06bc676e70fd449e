//! Directory blocks: entries of variable length, one after the other, that fill a block. With metadata
//! checksums the last 12 bytes are a tail that looks like an unused entry.
//!
//! Here are the operations on a directory as a whole; a hashed one goes through `htree`.

use std::sync::Arc;

use base::{Errno, Result, err};

use super::cache::Kind;
use super::disk::{feature as f, get8, get16, get32, iflag, put, put8, put16, put32};
use super::icore::{Core, State};
use super::mount::Ext4;
use super::txn::Txn;
use crate::inode::FileType;

/// An entry in its block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<'a> {
    pub(super) at: usize,
    pub(super) ino: u64,
    pub(super) len: usize,
    pub(super) name: &'a [u8],
    pub(super) ftype: u8,
}

/// The entries of `d[..end]`, used or not; ends early where the chain is broken.
pub(super) fn entries(d: &[u8], end: usize) -> impl Iterator<Item = Entry<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        if at + 8 > end {
            return None;
        }
        let len = get16(d, at + 4) as usize;
        let name_len = get8(d, at + 6) as usize;
        if len < 8 || !len.is_multiple_of(4) || at + len > end || 8 + name_len > len {
            return None;
        }
        let e = Entry {
            at,
            ino: get32(d, at).into(),
            len,
            name: &d[at + 8..at + 8 + name_len],
            ftype: get8(d, at + 7),
        };
        at += len;
        Some(e)
    })
}

/// Bytes that an entry needs.
pub(super) fn need(name_len: usize) -> usize {
    (8 + name_len + 3) & !3
}

/// The on-disk number of a type.
pub(super) fn type_code(kind: FileType) -> u8 {
    match kind {
        FileType::Regular => 1,
        FileType::Directory => 2,
        FileType::CharDevice => 3,
        FileType::BlockDevice => 4,
        FileType::Fifo => 5,
        FileType::Socket => 6,
        FileType::Symlink => 7,
    }
}

/// The type of an on-disk number.
pub(super) fn code_type(code: u8) -> Option<FileType> {
    Some(match code {
        1 => FileType::Regular,
        2 => FileType::Directory,
        3 => FileType::CharDevice,
        4 => FileType::BlockDevice,
        5 => FileType::Fifo,
        6 => FileType::Socket,
        7 => FileType::Symlink,
        _ => return None,
    })
}

impl Ext4 {
    /// Bytes of a directory block that hold entries.
    pub(super) fn dir_room(&self) -> usize {
        self.geo.block_size - if self.geo.metadata_csum() { 12 } else { 0 }
    }

    /// Checks a block of entries.
    fn check_leaf(&self, d: &[u8]) -> Result<()> {
        let end = self.dir_room();
        let mut at = 0;
        for e in entries(d, end) {
            at = e.at + e.len;
            let bad = e.ino > self.geo.inodes
                || (e.ino != 0
                    && (e.name.is_empty() || e.name.contains(&b'/') || e.name.contains(&0)));
            if bad {
                return Err(self.corrupt("a directory entry is damaged"));
            }
        }
        if at != end { Err(self.corrupt("a directory block is damaged")) } else { Ok(()) }
    }

    fn entry_type(&self, kind: FileType) -> u8 {
        if self.geo.incompat & f::INCOMPAT_FILETYPE != 0 { type_code(kind) } else { 0 }
    }

    /// Writes one entry that takes `len` bytes.
    pub(super) fn put_entry(d: &mut [u8], at: usize, len: usize, ino: u64, name: &[u8], ftype: u8) {
        put32(d, at, ino as u32);
        put16(d, at + 4, len as u16);
        put8(d, at + 6, name.len() as u8);
        put8(d, at + 7, ftype);
        put(d, at + 8, name);
    }

    /// Makes a block an empty directory block.
    pub(super) fn init_leaf(&self, d: &mut [u8]) {
        let room = self.dir_room();
        d.fill(0);
        put16(d, 4, room as u16);
        if room < d.len() {
            put16(d, room + 4, 12);
            put8(d, room + 7, 0xde);
        }
    }

    /// Enters a name where there is room; whether there was.
    pub(super) fn leaf_insert(&self, d: &mut [u8], name: &[u8], ino: u64, ftype: u8) -> bool {
        let want = need(name.len());
        let spot = entries(d, self.dir_room()).find_map(|e| {
            let used = if e.ino == 0 { 0 } else { need(e.name.len()) };
            (e.len - used.min(e.len) >= want).then_some((e.at, e.len, used))
        });
        let Some((at, len, used)) = spot else { return false };
        if used > 0 {
            put16(d, at + 4, used as u16);
        }
        Self::put_entry(d, at + used, len - used, ino, name, ftype);
        true
    }

    /// Removes the entry at `at`: its space goes to the one before it.
    fn leaf_remove(&self, d: &mut [u8], at: usize) {
        let prev =
            entries(d, self.dir_room()).take_while(|e| e.at < at).last().map(|e| (e.at, e.len));
        let len = get16(d, at + 4) as usize;
        match prev {
            Some((p, plen)) if p + plen == at => put16(d, p + 4, (plen + len) as u16),
            _ => put32(d, at, 0),
        }
    }
}

/// Where an entry was found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) block: u64,
    pub(super) at: usize,
    pub(super) ino: u64,
    /// What kind of block it is in.
    pub(super) kind: Kind,
}

impl Core {
    /// Blocks of a directory.
    pub(super) fn dir_blocks(&self, s: &State) -> u64 {
        s.size >> self.fs.geo.block_bits
    }

    /// The device block of a directory's block.
    pub(super) fn dir_phys(&self, s: &mut State, lblk: u64) -> Result<u64> {
        match self.map(s, lblk, 1)?.readable() {
            Some(p) => Ok(p),
            None => Err(self.fs.corrupt(&format!("directory {} has a hole", self.ino))),
        }
    }

    /// A block of entries and where it is.
    pub(super) fn dir_leaf(&self, s: &mut State, lblk: u64) -> Result<(u64, Arc<Vec<u8>>)> {
        let fs = &self.fs;
        let phys = self.dir_phys(s, lblk)?;
        let d = fs.read_block(phys, Kind::DirLeaf, self.seed, |d| fs.check_leaf(d))?;
        Ok((phys, d))
    }

    /// Finds a name.
    ///
    /// # Errors
    /// ENOENT; EIO; EUCLEAN.
    pub(super) fn dir_find(&self, s: &mut State, name: &[u8]) -> Result<Found> {
        if name.len() > 255 {
            return err(Errno::ENAMETOOLONG);
        }
        if s.flags & iflag::INDEX != 0 && self.fs.geo.dir_index() {
            if name == b"." || name == b".." {
                return self.dx_dots(s, name);
            }
            return self.dx_find(s, name);
        }
        for l in 0..self.dir_blocks(s) {
            if let Some(f) = self.find_in(s, l, name)? {
                return Ok(f);
            }
        }
        err(Errno::ENOENT)
    }

    /// Finds a name in one block.
    pub(super) fn find_in(&self, s: &mut State, lblk: u64, name: &[u8]) -> Result<Option<Found>> {
        let (block, d) = self.dir_leaf(s, lblk)?;
        Ok(entries(&d, self.fs.dir_room()).find(|e| e.ino != 0 && e.name == name).map(|e| Found {
            block,
            at: e.at,
            ino: e.ino,
            kind: Kind::DirLeaf,
        }))
    }

    /// Enters a name that is not there.
    ///
    /// # Errors
    /// ENOSPC; ENAMETOOLONG; EIO; EUCLEAN.
    pub(super) fn dir_add(
        &self,
        txn: &Txn<'_>,
        s: &mut State,
        name: &[u8],
        ino: u64,
        kind: FileType,
    ) -> Result<()> {
        if name.len() > 255 {
            return err(Errno::ENAMETOOLONG);
        }
        let fs = &self.fs;
        let ftype = fs.entry_type(kind);
        if s.flags & iflag::INDEX != 0 {
            if fs.geo.dir_index() {
                return self.dx_add(txn, s, name, ino, ftype);
            }
            // The index cannot be kept up: the directory becomes a linear one.
            s.flags &= !iflag::INDEX;
        }
        let blocks = self.dir_blocks(s);
        if s.dir_hint >= blocks {
            s.dir_hint = 0;
        }
        for l in s.dir_hint..blocks {
            let (block, d) = self.dir_leaf(s, l)?;
            let want = need(name.len());
            let fits = entries(&d, fs.dir_room())
                .any(|e| e.len >= want + if e.ino == 0 { 0 } else { need(e.name.len()) });
            drop(d);
            if fits {
                txn.write(block, Kind::DirLeaf, self.seed, |d| {
                    fs.leaf_insert(d, name, ino, ftype)
                })?;
                s.dir_hint = if want <= 64 { l } else { s.dir_hint };
                return Ok(());
            }
        }
        if blocks == 1 && fs.geo.dir_index() {
            self.dx_make(txn, s)?;
            return self.dx_add(txn, s, name, ino, ftype);
        }
        let (_, block) = self.dir_grow(txn, s)?;
        txn.write_new(block, Kind::DirLeaf, self.seed, |d| {
            fs.init_leaf(d);
            fs.leaf_insert(d, name, ino, ftype);
        });
        Ok(())
    }

    /// One more block at the end: file block and device block. The caller fills it.
    pub(super) fn dir_grow(&self, txn: &Txn<'_>, s: &mut State) -> Result<(u64, u64)> {
        let l = self.dir_blocks(s);
        self.allocate(txn, s, l, l + 1, false)?;
        let phys = self.dir_phys(s, l)?;
        self.set_size(s, (l + 1) << self.fs.geo.block_bits);
        Ok((l, phys))
    }

    /// Removes the entry at `f`.
    pub(super) fn dir_remove(&self, txn: &Txn<'_>, s: &mut State, f: Found) -> Result<()> {
        s.dir_hint = 0;
        txn.write(f.block, Kind::DirLeaf, self.seed, |d| self.fs.leaf_remove(d, f.at))
    }

    /// Makes the entry at `f` name another inode.
    pub(super) fn dir_retarget(
        &self,
        txn: &Txn<'_>,
        f: Found,
        ino: u64,
        kind: FileType,
    ) -> Result<()> {
        let ftype = self.fs.entry_type(kind);
        txn.write(f.block, f.kind, self.seed, |d| {
            put32(d, f.at, ino as u32);
            put8(d, f.at + 7, ftype);
        })
    }

    /// Makes a new directory's only block.
    pub(super) fn dir_init(&self, txn: &Txn<'_>, s: &mut State, parent: u64) -> Result<()> {
        let fs = &self.fs;
        let ftype = fs.entry_type(FileType::Directory);
        let (_, block) = self.dir_grow(txn, s)?;
        txn.write_new(block, Kind::DirLeaf, self.seed, |d| {
            fs.init_leaf(d);
            Ext4::put_entry(d, 0, 12, self.ino, b".", ftype);
            Ext4::put_entry(d, 12, fs.dir_room() - 12, parent, b"..", ftype);
        });
        Ok(())
    }

    /// Whether there is nothing but `.` and `..`.
    ///
    /// # Errors
    /// EIO; EUCLEAN.
    pub(super) fn dir_is_empty(&self, s: &mut State) -> Result<bool> {
        let mut pos = 0;
        let mut batch = Vec::new();
        loop {
            let end = self.dir_batch(s, pos, &mut batch)?;
            if batch.iter().any(|e| e.name != b"." && e.name != b"..") {
                return Ok(false);
            }
            match end {
                Some(next) => pos = next,
                None => return Ok(true),
            }
            batch.clear();
        }
    }

    /// Some entries from position `pos` on; the position to go on at, None at the end.
    ///
    /// A hashed directory, and one of a single block that may become one, is read in the order of its
    /// hashes, so that positions outlive splits; a linear one by byte offset.
    ///
    /// # Errors
    /// EIO; EUCLEAN.
    pub(super) fn dir_batch(
        &self,
        s: &mut State,
        pos: u64,
        out: &mut Vec<Listed>,
    ) -> Result<Option<u64>> {
        let geo = &self.fs.geo;
        if geo.dir_index() && (s.flags & iflag::INDEX != 0 || self.dir_blocks(s) == 1) {
            return self.dx_batch(s, pos, out);
        }
        let lblk = pos >> geo.block_bits;
        if lblk >= self.dir_blocks(s) {
            return Ok(None);
        }
        let (_, d) = self.dir_leaf(s, lblk)?;
        let base = lblk << geo.block_bits;
        let room = self.fs.dir_room();
        for e in entries(&d, room).filter(|e| e.ino != 0 && base + e.at as u64 >= pos) {
            let end = e.at + e.len;
            let next = if end >= room { base + geo.block_size as u64 } else { base + end as u64 };
            out.push(Listed::new(&e, next));
        }
        Ok(Some(base + geo.block_size as u64))
    }
}

/// An entry as `read_dir` reports it.
#[derive(Clone, Debug)]
pub(super) struct Listed {
    pub(super) name: Vec<u8>,
    pub(super) ino: u64,
    pub(super) ftype: u8,
    pub(super) next: u64,
}

impl Listed {
    pub(super) fn new(e: &Entry<'_>, next: u64) -> Listed {
        Listed { name: e.name.to_vec(), ino: e.ino, ftype: e.ftype, next }
    }
}
