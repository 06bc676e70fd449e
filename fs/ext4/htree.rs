//! Hashed directories.
//!
//! Block 0 is the root: the entries `.` and `..` (the latter covers the rest, so that old code sees an
//! ordinary block), a header that names the hash, and pairs (hash, block). Below it are up to two
//! more levels of such nodes (three with large_dir), then ordinary blocks of entries; a leaf holds the names whose hash lies
//! between its key and the next one. A key with bit 0 set says that the hash before it goes on there.

use std::sync::Arc;

use base::{Errno, Result, err};

use super::cache::Kind;
use super::dir::{Entry, Found, Listed, entries, need};
use super::disk::{feature as f, get8, get16, get32, iflag, put8, put16, put32};
use super::hash::dir_hash;
use super::icore::{Core, State};
use super::mount::Ext4;
use super::txn::Txn;

/// A node on the way to a leaf.
#[derive(Debug)]
struct Node {
    block: u64,
    data: Arc<Vec<u8>>,
    /// Where its pairs begin: 32 in the root, 8 below.
    at: usize,
    idx: usize,
    /// Keys below it are less than this.
    hi: u64,
}

impl Node {
    fn limit(&self) -> usize {
        get16(&self.data, self.at).into()
    }
    fn count(&self) -> usize {
        get16(&self.data, self.at + 2).into()
    }
    /// The key of pair `i`; the first pair has none and stands for everything below the second.
    fn key(&self, i: usize) -> u32 {
        if i == 0 { 0 } else { get32(&self.data, self.at + 8 * i) }
    }
    fn child(&self, i: usize) -> u64 {
        (get32(&self.data, self.at + 8 * i + 4) & 0x0fff_ffff).into()
    }
    fn kind(&self) -> Kind {
        if self.at == 32 { Kind::DxRoot } else { Kind::DxNode }
    }
    fn next_key(&self) -> u64 {
        if self.idx + 1 < self.count() { self.key(self.idx + 1).into() } else { self.hi }
    }
}

/// The way to a leaf.
#[derive(Debug)]
struct Way {
    nodes: Vec<Node>,
    leaf: u64,
    version: u8,
}

fn insert_pair(d: &mut [u8], at: usize, idx: usize, key: u32, block: u64) {
    let count = get16(d, at + 2) as usize;
    d.copy_within(at + 8 * idx..at + 8 * count, at + 8 * idx + 8);
    put32(d, at + 8 * idx, key);
    put32(d, at + 8 * idx + 4, block as u32);
    put16(d, at + 2, count as u16 + 1);
}

/// The position in a directory that a hash stands for; 0 and 1 are `.` and `..`.
fn position(hash: (u32, u32)) -> u64 {
    (u64::from(hash.0 >> 1) << 32 | u64::from(hash.1)).max(2)
}

const LAST: u64 = i64::MAX as u64;

impl Core {
    fn dx_bad<T>(&self) -> Result<T> {
        Err(self.fs.corrupt(&format!("hash tree of directory {} is damaged", self.ino)))
    }

    fn dx_version(&self, stored: u8) -> u8 {
        stored + if stored < 3 && self.fs.geo.hash_unsigned { 3 } else { 0 }
    }

    fn dx_limit(&self, at: usize) -> usize {
        let tail = if self.fs.geo.metadata_csum() { 8 } else { 0 };
        (self.fs.geo.block_size - at - tail) / 8
    }

    fn dx_node(&self, s: &mut State, lblk: u64, root: bool, hi: u64) -> Result<Node> {
        let (at, kind) = if root { (32, Kind::DxRoot) } else { (8, Kind::DxNode) };
        let block = self.dir_phys(s, lblk)?;
        let data = self.fs.read_block(block, kind, self.seed, |d| {
            let n = get16(d, at + 2) as usize;
            let mut ok =
                n > 0 && n <= get16(d, at) as usize && get16(d, at) as usize <= self.dx_limit(at);
            for i in 2..if ok { n } else { 0 } {
                ok &= get32(d, at + 8 * i) > get32(d, at + 8 * i - 8);
            }
            ok &= !root || (get8(d, 0x1d) == 8 && get8(d, 0x1c) < 6 && get32(d, 0x18) == 0);
            if ok { Ok(()) } else { self.dx_bad() }
        })?;
        Ok(Node { block, data, at, idx: 0, hi })
    }

    /// Takes pair `idx` of the last node and goes down to the leaf, by hash or leftmost.
    fn dx_descend(
        &self,
        s: &mut State,
        way: &mut Way,
        levels: usize,
        hash: Option<u32>,
    ) -> Result<()> {
        loop {
            let Some(top) = way.nodes.last() else { return self.dx_bad() };
            let child = top.child(top.idx);
            if child == 0 || child >= self.dir_blocks(s) {
                return self.dx_bad();
            }
            if way.nodes.len() > levels {
                way.leaf = child;
                return Ok(());
            }
            let (lo, hi) = (top.key(top.idx), top.next_key());
            let mut node = self.dx_node(s, child, false, hi)?;
            let n = node.count();
            if n > 1 && (node.key(1) < lo || u64::from(node.key(n - 1)) >= hi) {
                return self.dx_bad();
            }
            node.idx = hash.map_or(0, |h| pick(&node, h));
            way.nodes.push(node);
        }
    }

    fn dx_levels(&self, root: &Node) -> Result<usize> {
        let levels = get8(&root.data, 0x1e) as usize;
        let max = if self.fs.geo.incompat & f::INCOMPAT_LARGEDIR != 0 { 2 } else { 1 };
        if levels > max { self.dx_bad() } else { Ok(levels) }
    }

    /// The way to the leaf for a hash, which `hash` computes from the version.
    fn dx_way(&self, s: &mut State, hash: impl FnOnce(u8) -> u32) -> Result<(Way, u32)> {
        let mut root = self.dx_node(s, 0, true, 1 << 32)?;
        let levels = self.dx_levels(&root)?;
        let version = self.dx_version(get8(&root.data, 0x1c));
        let h = hash(version);
        root.idx = pick(&root, h);
        let mut way = Way { nodes: vec![root], leaf: 0, version };
        self.dx_descend(s, &mut way, levels, Some(h))?;
        Ok((way, h))
    }

    /// Moves to the next leaf; its key, or None at the end.
    fn dx_next(&self, s: &mut State, way: &mut Way) -> Result<Option<u32>> {
        let levels = way.nodes.len() - 1;
        while let Some(top) = way.nodes.last_mut() {
            if top.idx + 1 < top.count() {
                top.idx += 1;
                let key = top.key(top.idx);
                self.dx_descend(s, way, levels, None)?;
                return Ok(Some(key));
            }
            way.nodes.pop();
        }
        Ok(None)
    }

    /// Finds `.` or `..` in the root.
    pub(super) fn dx_dots(&self, s: &mut State, name: &[u8]) -> Result<Found> {
        let root = self.dx_node(s, 0, true, 1 << 32)?;
        let at = if name == b"." { 0 } else { 12 };
        let n = name.len();
        if get8(&root.data, at + 6) as usize != n || root.data[at + 8..at + 8 + n] != *name {
            return self.dx_bad();
        }
        Ok(Found { block: root.block, at, ino: get32(&root.data, at).into(), kind: Kind::DxRoot })
    }

    /// Finds a name by its hash.
    pub(super) fn dx_find(&self, s: &mut State, name: &[u8]) -> Result<Found> {
        let seed = self.fs.geo.hash_seed;
        let (mut way, hash) = self.dx_way(s, |v| dir_hash(name, v, &seed).0)?;
        loop {
            let leaf = way.leaf;
            if let Some(f) = self.find_in(s, leaf, name)? {
                return Ok(f);
            }
            match self.dx_next(s, &mut way)? {
                Some(key) if key & 1 != 0 && key & !1 == hash => {}
                _ => return err(Errno::ENOENT),
            }
        }
    }

    /// Turns a full directory of one block into a hashed one.
    pub(super) fn dx_make(&self, txn: &Txn<'_>, s: &mut State) -> Result<()> {
        let fs = &self.fs;
        let (root, old) = self.dir_leaf(s, 0)?;
        let all: Vec<Entry<'_>> = entries(&old, fs.dir_room()).filter(|e| e.ino != 0).collect();
        let [dot, dots, rest @ ..] = all.as_slice() else { return self.dx_bad() };
        if dot.name != b"." || dots.name != b".." || dots.at != 12 {
            return self.dx_bad();
        }
        let (lblk, block) = self.dir_grow(txn, s)?;
        txn.write_new(block, Kind::DirLeaf, self.seed, |d| fill_leaf(fs, d, rest));
        let (limit, csum) = (self.dx_limit(32), fs.geo.metadata_csum());
        txn.write(root, Kind::DxRoot, self.seed, |d| {
            d[24..].fill(0);
            put16(d, 16, (fs.geo.block_size - 12) as u16);
            put8(d, 0x1c, fs.geo.hash_version);
            put8(d, 0x1d, 8);
            put16(d, 32, limit as u16);
            put16(d, 34, 1);
            put32(d, 36, lblk as u32);
            debug_assert!(!csum || 32 + limit * 8 + 8 <= d.len());
        })?;
        s.flags |= iflag::INDEX;
        Ok(())
    }

    /// Enters a name.
    pub(super) fn dx_add(
        &self,
        txn: &Txn<'_>,
        s: &mut State,
        name: &[u8],
        ino: u64,
        ftype: u8,
    ) -> Result<()> {
        let fs = self.fs.clone();
        let seed = fs.geo.hash_seed;
        for _ in 0..16 {
            let (way, _) = self.dx_way(s, |v| dir_hash(name, v, &seed).0)?;
            let leaf = way.leaf;
            let (block, d) = self.dir_leaf(s, leaf)?;
            let want = need(name.len());
            let fits = entries(&d, fs.dir_room())
                .any(|e| e.len >= want + if e.ino == 0 { 0 } else { need(e.name.len()) });
            if fits {
                drop(d);
                txn.write(block, Kind::DirLeaf, self.seed, |d| {
                    fs.leaf_insert(d, name, ino, ftype)
                })?;
                return Ok(());
            }
            let Some(parent) = way.nodes.last() else { return self.dx_bad() };
            if parent.count() >= parent.limit() {
                self.dx_room(txn, s, &way)?;
                continue;
            }
            if self.dx_split(txn, s, &way, block, &d)? {
                continue;
            }
            break;
        }
        err(Errno::ENOSPC)
    }

    /// Splits a leaf by hash; false if that gains nothing.
    fn dx_split(
        &self,
        txn: &Txn<'_>,
        s: &mut State,
        way: &Way,
        block: u64,
        d: &[u8],
    ) -> Result<bool> {
        let fs = &self.fs;
        let seed = fs.geo.hash_seed;
        let mut all: Vec<(u32, Entry<'_>)> = entries(d, fs.dir_room())
            .filter(|e| e.ino != 0)
            .map(|e| (dir_hash(e.name, way.version, &seed).0, e))
            .collect();
        all.sort_by_key(|e| e.0);
        if all.len() < 2 {
            return Ok(false);
        }
        let total: usize = all.iter().map(|e| need(e.1.name.len())).sum();
        let mut left = 0;
        let mut at = 0;
        while at < all.len() - 1 && (at == 0 || left < total / 2) {
            left += need(all[at].1.name.len());
            at += 1;
        }
        let goes_on = all[at].0 == all[at - 1].0;
        let key = all[at].0 | u32::from(goes_on);
        let Some(parent) = way.nodes.last() else { return self.dx_bad() };
        // A key must grow strictly; a chain of one hash may not be split further.
        if parent.key(parent.idx) >= key || u64::from(key) >= parent.next_key() {
            return Ok(false);
        }
        let (lblk, fresh) = self.dir_grow(txn, s)?;
        let (a, b): (Vec<_>, Vec<_>) = all.iter().map(|e| e.1).enumerate().partition(|e| e.0 < at);
        let bare =
            |v: Vec<(usize, Entry<'_>)>| fill_image(fs, &v.iter().map(|e| e.1).collect::<Vec<_>>());
        let (a, b) = (bare(a), bare(b));
        txn.write_new(fresh, Kind::DirLeaf, self.seed, |d| d.copy_from_slice(&b));
        txn.write(block, Kind::DirLeaf, self.seed, |d| d.copy_from_slice(&a))?;
        txn.write(parent.block, parent.kind(), self.seed, |d| {
            insert_pair(d, parent.at, parent.idx + 1, key, lblk);
        })?;
        Ok(true)
    }

    /// Makes room for one more pair above the leaves: splits the lowest full node whose parent
    /// has room, or puts a level below the root.
    fn dx_room(&self, txn: &Txn<'_>, s: &mut State, way: &Way) -> Result<()> {
        let nodes = &way.nodes;
        let max = if self.fs.geo.incompat & f::INCOMPAT_LARGEDIR != 0 { 2 } else { 1 };
        let limit = self.dx_limit(8);
        let blank = |d: &mut [u8], pairs: &[u8], count: usize| {
            put16(d, 4, d.len() as u16);
            d[8..8 + pairs.len()].copy_from_slice(pairs);
            put16(d, 8, limit as u16);
            put16(d, 10, count as u16);
        };
        let split = (1..nodes.len()).rev().find(|&l| nodes[l - 1].count() < nodes[l - 1].limit());
        let Some(l) = split else {
            let root = &nodes[0];
            if nodes.len() > max {
                log::warn!("ext4: directory {} is full", self.ino);
                return err(Errno::ENOSPC);
            }
            let (lblk, block) = self.dir_grow(txn, s)?;
            let n = root.count();
            txn.write_new(block, Kind::DxNode, self.seed, |d| {
                blank(d, &root.data[32..32 + 8 * n], n);
            });
            return txn.write(root.block, Kind::DxRoot, self.seed, |d| {
                put8(d, 0x1e, nodes.len() as u8);
                put16(d, 34, 1);
                put32(d, 36, lblk as u32);
            });
        };
        let (parent, node) = (&nodes[l - 1], &nodes[l]);
        let n = node.count();
        let half = n / 2;
        if half == 0 {
            return self.dx_bad();
        }
        let (lblk, block) = self.dir_grow(txn, s)?;
        txn.write_new(block, Kind::DxNode, self.seed, |d| {
            blank(d, &node.data[8 + 8 * half..8 + 8 * n], n - half);
        });
        txn.write(node.block, Kind::DxNode, self.seed, |d| put16(d, 10, half as u16))?;
        txn.write(parent.block, parent.kind(), self.seed, |d| {
            insert_pair(d, parent.at, parent.idx + 1, node.key(half), lblk);
        })
    }

    /// `read_dir` in the order of hashes: the entries of one leaf, and of those that go on with its last hash.
    pub(super) fn dx_batch(
        &self,
        s: &mut State,
        pos: u64,
        out: &mut Vec<Listed>,
    ) -> Result<Option<u64>> {
        if pos >= LAST {
            return Ok(None);
        }
        let seed = self.fs.geo.hash_seed;
        let room = self.fs.dir_room();
        let indexed = s.flags & iflag::INDEX != 0;
        let mut keyed: Vec<(u64, Listed)> = Vec::new();
        let mut take = |d: &[u8], version: u8| {
            for e in entries(d, room).filter(|e| e.ino != 0 && e.name != b"." && e.name != b"..") {
                let p = position(dir_hash(e.name, version, &seed));
                if p >= pos {
                    keyed.push((p, Listed::new(&e, p + 1)));
                }
            }
        };
        let mut end = None;
        if indexed {
            let (mut way, _) = self.dx_way(s, |_| (pos >> 31) as u32 & !1)?;
            loop {
                let leaf = way.leaf;
                take(&self.dir_leaf(s, leaf)?.1, way.version);
                match self.dx_next(s, &mut way)? {
                    Some(key) if key & 1 != 0 => {}
                    Some(key) => {
                        end = Some(position((key, 0)));
                        break;
                    }
                    None => break,
                }
            }
        } else if self.dir_blocks(s) > 0 {
            take(&self.dir_leaf(s, 0)?.1, self.dx_version(self.fs.geo.hash_version));
        }
        if pos < 2 {
            for (i, name) in [(0u64, &b"."[..]), (1, &b".."[..])] {
                if i >= pos
                    && let Ok(f) = self.dir_find(s, name)
                {
                    out.push(Listed { name: name.to_vec(), ino: f.ino, ftype: 2, next: i + 1 });
                }
            }
        }
        keyed.sort_by_key(|e| e.0);
        out.extend(keyed.into_iter().map(|e| e.1));
        Ok(Some(end.unwrap_or(LAST).max(pos + 1)))
    }
}

/// The pair for a hash: the last one whose key is not above it.
fn pick(node: &Node, hash: u32) -> usize {
    let (mut lo, mut hi) = (1, node.count());
    while lo < hi {
        let mid = (lo + hi) / 2;
        if node.key(mid) <= hash { lo = mid + 1 } else { hi = mid }
    }
    lo - 1
}

fn fill_leaf(fs: &Ext4, d: &mut [u8], list: &[Entry<'_>]) {
    fs.init_leaf(d);
    let mut at = 0;
    for (i, e) in list.iter().enumerate() {
        let len = if i + 1 == list.len() { fs.dir_room() - at } else { need(e.name.len()) };
        Ext4::put_entry(d, at, len, e.ino, e.name, e.ftype);
        at += len;
    }
}

fn fill_image(fs: &Ext4, list: &[Entry<'_>]) -> Vec<u8> {
    let mut d = vec![0; fs.geo.block_size];
    fill_leaf(fs, &mut d, list);
    d
}
