//! Extended attributes: in the inode behind its last field, and in one block that inodes with the
//! same attributes may share (then copied before it is changed).
//!
//! All attributes of an inode are read into a list, the list is changed, and both places are written anew:
//! what fits goes into the inode. POSIX ACLs have a shorter form on the disk than in xattr(7) and are converted.

use base::{Errno, Result, err};

use super::alloc::Wish;
use super::cache::Kind;
use super::disk::{get8, get16, get32, iflag, put, put8, put16, put32};
use super::icore::{Core, State};
use super::txn::Txn;

const MAGIC: u32 = 0xea02_0000;
const MAX_REFS: u32 = 1024;
const PREFIXES: &[(u8, &[u8])] = &[
    (1, b"user."),
    (2, b"system.posix_acl_access"),
    (3, b"system.posix_acl_default"),
    (4, b"trusted."),
    (6, b"security."),
    (7, b"system."),
];

#[derive(Clone, Debug, PartialEq, Eq)]
struct Item {
    index: u8,
    name: Vec<u8>,
    value: Vec<u8>,
}

impl Item {
    fn bytes(&self) -> usize {
        16 + self.name.len().next_multiple_of(4) + self.value.len().next_multiple_of(4)
    }
    fn hash(&self) -> u32 {
        let h = self.name.iter().fold(0u32, |h, &c| h.rotate_left(5) ^ u32::from(c));
        self.value.chunks(4).fold(h, |h, c| {
            let mut w = [0; 4];
            w[..c.len()].copy_from_slice(c);
            h.rotate_left(16) ^ u32::from_le_bytes(w)
        })
    }
}

fn split(name: &[u8]) -> Result<(u8, Vec<u8>)> {
    for &(index, prefix) in PREFIXES {
        if let Some(rest) = name.strip_prefix(prefix) {
            let whole = index == 2 || index == 3;
            if whole != rest.is_empty() {
                continue;
            }
            if rest.len() > 255 {
                return err(Errno::ERANGE);
            }
            return Ok((index, rest.to_vec()));
        }
    }
    err(Errno::EOPNOTSUPP)
}

/// The list of attributes whose entries begin at `at`; values are relative to `base`.
fn parse(d: &[u8], mut at: usize, base: usize) -> Option<Vec<Item>> {
    let mut list = Vec::new();
    while at + 4 <= d.len() && get32(d, at) != 0 {
        let n = get8(d, at) as usize;
        let (off, len) = (get16(d, at + 2) as usize, get32(d, at + 8) as usize);
        let name = d.get(at + 16..at + 16 + n)?.to_vec();
        if get32(d, at + 4) != 0 || len > d.len() {
            return None;
        }
        let value =
            if len == 0 { Vec::new() } else { d.get(base + off..base + off + len)?.to_vec() };
        list.push(Item { index: get8(d, at + 1), name, value });
        at += 16 + n.next_multiple_of(4);
    }
    Some(list)
}

/// Writes a list; the values fill the area from its end. Returns the hash of all.
fn build(d: &mut [u8], mut at: usize, base: usize, list: &[Item]) -> u32 {
    let mut end = d.len();
    let mut all = 0u32;
    for i in list {
        let len = i.value.len();
        if len > 0 {
            end -= len.next_multiple_of(4);
            put(d, end, &i.value);
        }
        put8(d, at, i.name.len() as u8);
        put8(d, at + 1, i.index);
        put16(d, at + 2, if len > 0 { (end - base) as u16 } else { 0 });
        put32(d, at + 4, 0);
        put32(d, at + 8, len as u32);
        put32(d, at + 12, i.hash());
        put(d, at + 16, &i.name);
        at += 16 + i.name.len().next_multiple_of(4);
        all = all.rotate_left(16) ^ i.hash();
    }
    all
}

/// An ACL from the disk's form to that of xattr(7), or back.
fn acl(v: &[u8], to_disk: bool) -> Option<Vec<u8>> {
    let (from, to) = if to_disk { (2u32, 1u32) } else { (1, 2) };
    if v.len() < 4 || get32(v, 0) != from {
        return None;
    }
    let mut out = to.to_le_bytes().to_vec();
    let mut at = 4;
    while at < v.len() {
        let tag = get16(v, at);
        let named = tag == 2 || tag == 8;
        let size = if to_disk || named { 8 } else { 4 };
        let e = v.get(at..at + size)?;
        out.extend_from_slice(&e[..4]);
        match (to_disk, named) {
            (true, false) => {}
            (false, false) => out.extend_from_slice(&[0xff; 4]),
            _ => out.extend_from_slice(&e[4..8]),
        }
        at += size;
    }
    Some(out)
}

impl Core {
    /// Where attributes in the inode begin, if it has room for any.
    fn in_inode(&self, s: &State) -> Option<usize> {
        let at = 128 + s.extra_isize as usize;
        (s.extra_isize > 0 && at + 8 <= self.fs.geo.inode_size).then_some(at)
    }

    fn xattr_bad(&self) -> base::Error {
        self.fs.corrupt(&format!("attributes of inode {} are damaged", self.ino))
    }

    fn items(&self, s: &State) -> Result<Vec<Item>> {
        let fs = &self.fs;
        let mut list = Vec::new();
        if let Some(at) = self.in_inode(s) {
            let (block, off) = fs.inode_place(self.ino)?;
            let d = fs.read_block(block, Kind::Plain, 0, |_| Ok(()))?;
            let d = &d[off..off + fs.geo.inode_size];
            if get32(d, at) == MAGIC {
                list = parse(d, at + 4, at + 4).ok_or_else(|| self.xattr_bad())?;
            }
        }
        if s.acl != 0 {
            let d = self.xattr_block(s.acl)?;
            list.extend(parse(&d, 32, 0).ok_or_else(|| self.xattr_bad())?);
        }
        Ok(list)
    }

    fn xattr_block(&self, block: u64) -> Result<std::sync::Arc<Vec<u8>>> {
        if !self.fs.own_block(block, 1) {
            return Err(self.xattr_bad());
        }
        self.fs.read_block(block, Kind::Xattr, self.fs.geo.csum_seed, |d| {
            let ok = get32(d, 0) == MAGIC && get32(d, 8) == 1 && get32(d, 4) > 0;
            if ok { Ok(()) } else { Err(self.xattr_bad()) }
        })
    }

    /// getxattr(2).
    pub(super) fn get_xattr(&self, name: &[u8]) -> Result<Vec<u8>> {
        let (index, rest) = split(name)?;
        let list = {
            let s = self.lock();
            self.items(&s)?
        };
        match list.into_iter().find(|i| i.index == index && i.name == rest) {
            Some(i) if index == 2 || index == 3 => {
                acl(&i.value, false).ok_or_else(|| self.xattr_bad())
            }
            Some(i) => Ok(i.value),
            None => err(Errno::ENODATA),
        }
    }

    /// listxattr(2).
    pub(super) fn list_xattr(&self) -> Result<Vec<u8>> {
        let list = {
            let s = self.lock();
            self.items(&s)?
        };
        let mut out = Vec::new();
        for i in list {
            if let Some(p) = PREFIXES.iter().find(|p| p.0 == i.index) {
                out.extend_from_slice(p.1);
                out.extend_from_slice(&i.name);
                out.push(0);
            }
        }
        Ok(out)
    }

    /// setxattr(2), removexattr(2).
    pub(super) fn set_xattr(&self, name: &[u8], value: Option<&[u8]>, flags: u32) -> Result<()> {
        let (index, rest) = split(name)?;
        let value = match value {
            Some(v) if index == 2 || index == 3 => {
                Some(acl(v, true).ok_or_else(|| base::Error::new(Errno::EINVAL))?)
            }
            v => v.map(<[u8]>::to_vec),
        };
        let txn = self.fs.begin()?;
        let mut s = self.lock();
        if s.flags & (iflag::IMMUTABLE | iflag::APPEND) != 0 {
            return err(Errno::EPERM);
        }
        let mut list = self.items(&s)?;
        let at = list.iter().position(|i| i.index == index && i.name == rest);
        match (at, value) {
            (Some(_), Some(_)) if flags & 1 != 0 => return err(Errno::EEXIST),
            (None, Some(_)) if flags & 2 != 0 => return err(Errno::ENODATA),
            (None, None) => return err(Errno::ENODATA),
            (Some(i), Some(v)) => list[i].value = v,
            (None, Some(value)) => list.push(Item { index, name: rest, value }),
            (Some(i), None) => {
                list.remove(i);
            }
        }
        self.place(&txn, &mut s, list)?;
        s.ctime = txn.now;
        self.store(&txn, &s)
    }

    /// Writes the whole list: into the inode what fits, into a block the rest.
    fn place(&self, txn: &Txn<'_>, s: &mut State, list: Vec<Item>) -> Result<()> {
        let geo = &self.fs.geo;
        let at = self.in_inode(s);
        let mut room = at.map_or(0, |at| geo.inode_size - at - 8);
        let (mut inside, mut outside) = (Vec::new(), Vec::new());
        for i in list {
            if i.bytes() <= room {
                room -= i.bytes();
                inside.push(i);
            } else {
                outside.push(i);
            }
        }
        if 32 + 4 + outside.iter().map(Item::bytes).sum::<usize>() > geo.block_size {
            return err(Errno::ENOSPC);
        }
        outside.sort_by(|a, b| {
            (a.index, a.name.len(), &a.name).cmp(&(b.index, b.name.len(), &b.name))
        });
        self.place_block(txn, s, &outside)?;
        if let Some(at) = at {
            txn.edit_inode(self.ino, |d| {
                d[at..].fill(0);
                if !inside.is_empty() {
                    put32(d, at, MAGIC);
                    build(d, at + 4, at + 4, &inside);
                }
            })?;
        }
        Ok(())
    }

    fn place_block(&self, txn: &Txn<'_>, s: &mut State, list: &[Item]) -> Result<()> {
        let seed = self.fs.geo.csum_seed;
        let shared = s.acl != 0 && get32(&self.xattr_block(s.acl)?, 4) > 1;
        if list.is_empty() {
            return self.drop_xattrs(txn, s);
        }
        let mut block = s.acl;
        if block == 0 || shared {
            let goal = self.fs.geo.group_start((self.ino - 1) / self.fs.geo.inodes_per_group);
            let wish = Wish { goal, want: 1, ino: 0, window: 0, privileged: true };
            block = txn.alloc_blocks(wish)?.0;
            self.drop_xattrs(txn, s)?;
            s.acl = block;
            s.sectors += 1 << (self.fs.geo.block_bits - 9);
        }
        txn.write_new(block, Kind::Xattr, seed, |d| {
            put32(d, 0, MAGIC);
            put32(d, 4, 1);
            put32(d, 8, 1);
            let hash = build(d, 32, 0, list);
            put32(d, 12, hash);
        });
        Ok(())
    }

    /// Gives up the block of attributes.
    pub(super) fn drop_xattrs(&self, txn: &Txn<'_>, s: &mut State) -> Result<()> {
        let block = std::mem::take(&mut s.acl);
        if block == 0 {
            return Ok(());
        }
        s.sectors = s.sectors.saturating_sub(1 << (self.fs.geo.block_bits - 9));
        let refs = get32(&self.xattr_block(block)?, 4);
        if refs > 1 && refs <= MAX_REFS {
            return txn.write(block, Kind::Xattr, self.fs.geo.csum_seed, |d| put32(d, 4, refs - 1));
        }
        txn.free_blocks(block, 1, true)
    }
}
