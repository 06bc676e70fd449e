//! Inodes of tmpfs.
//!
//! Locks: the attributes and a directory's tables have one spin lock each, of rank `Inode`, never
//! nested; what changes comes under the VFS's inode locks besides. Inodes are dropped without one.

use std::any::Any;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use base::{Errno, Rank, Result, SpinLock, Timestamp, err};
use drivers::DevNum;
use hashbrown::HashMap;
use mm::{Backing, PageCache};

use super::TmpFs;
use super::data::Data;
use crate::inode::{Attr, DirEntry, FileType, Inode, InodeOps, NewInode, RenameFlags, SetAttr};
use crate::ops::now;

/// All extended attributes of one inode together.
const XATTR_MAX: usize = 1 << 20;

#[derive(Clone, Copy)]
struct Meta {
    perm: u32,
    uid: u32,
    gid: u32,
    nlink: u32,
    atime: Timestamp,
    mtime: Timestamp,
    ctime: Timestamp,
    btime: Timestamp,
}

struct Entry {
    name: Arc<[u8]>,
    inode: Arc<Inode>,
}

/// Entries by name, and by the cookie that each got when it was made: readdir goes by cookies, which
/// never change nor come back.
#[derive(Default)]
struct Dir {
    by_name: HashMap<Arc<[u8]>, u64>,
    by_cookie: BTreeMap<u64, Entry>,
    last_cookie: u64,
}

impl Dir {
    fn insert(&mut self, name: &[u8], inode: Arc<Inode>) {
        // 1 and 2 are `.` and `..`.
        self.last_cookie = self.last_cookie.max(2) + 1;
        let name: Arc<[u8]> = name.into();
        self.by_name.insert(name.clone(), self.last_cookie);
        self.by_cookie.insert(self.last_cookie, Entry { name, inode });
    }
    fn remove(&mut self, name: &[u8]) -> Option<Arc<Inode>> {
        let cookie = self.by_name.remove(name)?;
        self.by_cookie.remove(&cookie).map(|e| e.inode)
    }
    fn replace(&mut self, name: &[u8], inode: Arc<Inode>) -> Option<Arc<Inode>> {
        let cookie = *self.by_name.get(name)?;
        let e = self.by_cookie.get_mut(&cookie)?;
        Some(std::mem::replace(&mut e.inode, inode))
    }
    fn get(&self, name: &[u8]) -> Option<Arc<Inode>> {
        let cookie = self.by_name.get(name)?;
        self.by_cookie.get(cookie).map(|e| e.inode.clone())
    }
}

enum Body {
    Dir(SpinLock<Dir>),
    File(Arc<Data>, Arc<PageCache>),
    Symlink(Vec<u8>),
    Other,
}

/// An inode of tmpfs.
pub(crate) struct Node {
    fs: Weak<TmpFs>,
    ino: u64,
    kind: FileType,
    rdev: DevNum,
    parent: AtomicU64,
    meta: SpinLock<Meta>,
    body: Body,
    xattrs: SpinLock<BTreeMap<Vec<u8>, Vec<u8>>>,
}

impl Node {
    pub(super) fn new(fs: &Arc<TmpFs>, ino: u64, new: &NewInode<'_>, parent: u64) -> Node {
        let t = now();
        let body = match new.kind {
            FileType::Directory => Body::Dir(SpinLock::new(Rank::Inode, Dir::default())),
            FileType::Regular => {
                let data = Data::new(fs);
                let backing: Arc<dyn Backing> = data.clone();
                let cache = PageCache::new(&fs.memory, Arc::downgrade(&backing));
                Body::File(data, cache)
            }
            FileType::Symlink => Body::Symlink(new.target.to_vec()),
            _ => Body::Other,
        };
        let meta = Meta {
            perm: new.perm,
            uid: new.uid,
            gid: new.gid,
            nlink: if new.kind == FileType::Directory { 2 } else { 1 },
            atime: t,
            mtime: t,
            ctime: t,
            btime: t,
        };
        Node {
            fs: Arc::downgrade(fs),
            ino,
            kind: new.kind,
            rdev: new.rdev,
            parent: AtomicU64::new(parent),
            meta: SpinLock::new(Rank::Inode, meta),
            body,
            xattrs: SpinLock::new(Rank::Inode, BTreeMap::new()),
        }
    }

    fn fs(&self) -> Result<Arc<TmpFs>> {
        match self.fs.upgrade() {
            Some(fs) => Ok(fs),
            None => err(Errno::EIO),
        }
    }

    fn dir(&self) -> Result<&SpinLock<Dir>> {
        match &self.body {
            Body::Dir(d) => Ok(d),
            _ => err(Errno::ENOTDIR),
        }
    }

    fn of(inode: &Inode) -> Result<&Node> {
        match inode.ops_as::<Node>() {
            Some(n) => Ok(n),
            None => err(Errno::EXDEV),
        }
    }

    /// Entries changed: mtime and ctime, and `links` more subdirectories.
    fn changed(&self, links: i32) {
        let t = now();
        let mut m = self.meta.lock();
        m.mtime = t;
        m.ctime = t;
        m.nlink = m.nlink.saturating_add_signed(links);
    }

    fn add_links(&self, n: i32) {
        let mut m = self.meta.lock();
        m.nlink = m.nlink.saturating_add_signed(n);
        m.ctime = now();
    }

    /// A directory's name is gone: it has no links left.
    fn dead(&self) {
        let mut m = self.meta.lock();
        m.nlink = 0;
        m.ctime = now();
    }

    fn is_dir(&self) -> bool {
        self.kind == FileType::Directory
    }

    fn is_empty(&self) -> bool {
        matches!(&self.body, Body::Dir(d) if d.lock().by_name.is_empty())
    }
}

impl InodeOps for Node {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn attr(&self) -> Result<Attr> {
        let (size, blocks) = match &self.body {
            Body::File(d, _) => (d.size.load(Ordering::Acquire), d.count() * 8),
            Body::Symlink(t) => (t.len() as u64, 0),
            Body::Dir(d) => (d.lock().by_name.len() as u64 * 20 + 40, 0),
            Body::Other => (0, 0),
        };
        let m = *self.meta.lock();
        Ok(Attr {
            ino: self.ino,
            kind: self.kind,
            perm: m.perm,
            nlink: m.nlink,
            uid: m.uid,
            gid: m.gid,
            rdev: self.rdev,
            size,
            blocks,
            blksize: 4096,
            atime: m.atime,
            mtime: m.mtime,
            ctime: m.ctime,
            btime: Some(m.btime),
            flags: 0,
        })
    }

    fn set_attr(&self, c: &SetAttr) -> Result<()> {
        if let Some(size) = c.size {
            let Body::File(data, cache) = &self.body else { return err(Errno::EINVAL) };
            let old = data.size.swap(size, Ordering::AcqRel);
            cache.truncate(size);
            if size < old {
                data.release(size.div_ceil(4096), u64::MAX);
            }
        }
        let mut m = self.meta.lock();
        m.perm = c.perm.unwrap_or(m.perm);
        m.uid = c.uid.unwrap_or(m.uid);
        m.gid = c.gid.unwrap_or(m.gid);
        m.atime = c.atime.unwrap_or(m.atime);
        m.mtime = c.mtime.unwrap_or(m.mtime);
        m.ctime = c.ctime.unwrap_or(m.ctime);
        Ok(())
    }

    fn lookup(&self, name: &[u8]) -> Result<Arc<Inode>> {
        match self.dir()?.lock().get(name) {
            Some(i) => Ok(i),
            None => err(Errno::ENOENT),
        }
    }

    fn create(&self, name: &[u8], new: &NewInode<'_>) -> Result<Arc<Inode>> {
        let dir = self.dir()?;
        let inode = self.fs()?.inode(new, Some(self.ino))?;
        dir.lock().insert(name, inode.clone());
        self.changed(i32::from(new.kind == FileType::Directory));
        Ok(inode)
    }

    fn create_unnamed(&self, new: &NewInode<'_>) -> Result<Arc<Inode>> {
        let inode = self.fs()?.inode(new, Some(self.ino))?;
        Node::of(&inode)?.meta.lock().nlink = 0;
        Ok(inode)
    }

    fn link(&self, name: &[u8], target: &Inode) -> Result<()> {
        let node = Node::of(target)?;
        let me = target.me();
        self.dir()?.lock().insert(name, me);
        node.add_links(1);
        self.changed(0);
        Ok(())
    }

    fn unlink(&self, name: &[u8], victim: &Inode) -> Result<()> {
        let gone = self.dir()?.lock().remove(name);
        Node::of(victim)?.add_links(-1);
        self.changed(0);
        drop(gone);
        Ok(())
    }

    fn rmdir(&self, name: &[u8], victim: &Inode) -> Result<()> {
        let node = Node::of(victim)?;
        if !node.is_empty() {
            return err(Errno::ENOTEMPTY);
        }
        let gone = self.dir()?.lock().remove(name);
        node.dead();
        self.changed(-1);
        drop(gone);
        Ok(())
    }

    fn rename(
        &self,
        old_name: &[u8],
        moved: &Inode,
        new_dir: &Inode,
        new_name: &[u8],
        replaced: Option<&Inode>,
        flags: RenameFlags,
    ) -> Result<()> {
        let (node, to) = (Node::of(moved)?, Node::of(new_dir)?);
        let other = replaced.map(Node::of).transpose()?;
        let (from_dir, to_dir) = (self.dir()?, to.dir()?);
        let same = std::ptr::eq(self, to);
        if flags.contains(RenameFlags::EXCHANGE) {
            let Some((other_inode, other)) = replaced.zip(other) else {
                return err(Errno::ENOENT);
            };
            let a = from_dir.lock().replace(old_name, other_inode.me());
            let b = to_dir.lock().replace(new_name, moved.me());
            node.parent.store(to.ino, Ordering::Relaxed);
            other.parent.store(self.ino, Ordering::Relaxed);
            let shift = i32::from(node.is_dir()) - i32::from(other.is_dir());
            self.changed(if same { 0 } else { -shift });
            to.changed(if same { 0 } else { shift });
            node.add_links(0);
            other.add_links(0);
            drop((a, b));
            return Ok(());
        }
        if let Some(o) = other
            && o.is_dir()
            && !o.is_empty()
        {
            return err(Errno::ENOTEMPTY);
        }
        let whiteout = if flags.contains(RenameFlags::WHITEOUT) {
            let m = *self.meta.lock();
            let new = NewInode {
                kind: FileType::CharDevice,
                perm: 0,
                uid: m.uid,
                gid: m.gid,
                rdev: DevNum::default(),
                target: b"",
            };
            Some(self.fs()?.inode(&new, Some(self.ino))?)
        } else {
            None
        };
        let old = {
            let mut d = from_dir.lock();
            let old = d.remove(old_name);
            if let Some(w) = whiteout {
                d.insert(old_name, w);
            }
            old
        };
        let gone = {
            let mut d = to_dir.lock();
            let gone = d.remove(new_name);
            d.insert(new_name, moved.me());
            gone
        };
        node.parent.store(to.ino, Ordering::Relaxed);
        node.add_links(0);
        if let Some(o) = other {
            if o.is_dir() { o.dead() } else { o.add_links(-1) }
        }
        let dir = i32::from(node.is_dir());
        let lost = i32::from(other.is_some_and(Node::is_dir));
        if same {
            self.changed(-lost);
        } else {
            self.changed(-dir);
            to.changed(dir - lost);
        }
        drop((old, gone));
        Ok(())
    }

    fn read_link(&self) -> Result<Vec<u8>> {
        match &self.body {
            Body::Symlink(t) => Ok(t.clone()),
            _ => err(Errno::EINVAL),
        }
    }

    fn read_dir(&self, pos: u64, emit: &mut dyn FnMut(DirEntry<'_>) -> bool) -> Result<()> {
        let dir = self.dir()?;
        let d = Some(FileType::Directory);
        if pos < 1 && !emit(DirEntry { name: b".", ino: self.ino, kind: d, next: 1 }) {
            return Ok(());
        }
        let up = self.parent.load(Ordering::Relaxed);
        if pos < 2 && !emit(DirEntry { name: b"..", ino: up, kind: d, next: 2 }) {
            return Ok(());
        }
        let mut at = pos.max(2);
        loop {
            // `emit` may sleep: entries are taken out in batches, without the lock.
            let batch: Vec<(u64, Arc<[u8]>, u64, FileType)> = {
                let t = dir.lock();
                let rest = t.by_cookie.range((Bound::Excluded(at), Bound::Unbounded));
                rest.take(64)
                    .map(|(c, e)| (*c, e.name.clone(), e.inode.ino, e.inode.kind))
                    .collect()
            };
            if batch.is_empty() {
                return Ok(());
            }
            for (next, name, ino, kind) in batch {
                if !emit(DirEntry { name: &name, ino, kind: Some(kind), next }) {
                    return Ok(());
                }
                at = next;
            }
        }
    }

    fn page_cache(&self) -> Option<&Arc<PageCache>> {
        match &self.body {
            Body::File(_, c) => Some(c),
            _ => None,
        }
    }

    fn prepare_write(&self, offset: u64, len: usize) -> Result<()> {
        match &self.body {
            Body::File(d, _) => d.reserve(offset, len as u64),
            _ => err(Errno::EINVAL),
        }
    }

    fn commit_write(&self, end: u64, now: Timestamp) -> Result<()> {
        if let Body::File(d, _) = &self.body {
            d.size.fetch_max(end, Ordering::AcqRel);
        }
        let mut m = self.meta.lock();
        m.mtime = now;
        m.ctime = now;
        Ok(())
    }

    fn fallocate(&self, mode: u32, offset: u64, len: u64) -> Result<()> {
        let Body::File(data, cache) = &self.body else { return err(Errno::EOPNOTSUPP) };
        let end = offset + len;
        match mode {
            0 | 1 => data.reserve(offset, len)?,
            3 => {
                // PUNCH_HOLE | KEEP_SIZE: whole pages go, the edges become zeros.
                let (first, last) = (offset.div_ceil(4096), end / 4096);
                cache.zero_range(offset, len)?;
                if first < last {
                    cache.invalidate(first, last - 1);
                    data.release(first, last);
                }
            }
            0x10 | 0x11 => {
                data.reserve(offset, len)?;
                cache.zero_range(offset, len)?;
            }
            _ => return err(Errno::EOPNOTSUPP),
        }
        if mode & 1 == 0 {
            data.size.fetch_max(end, Ordering::AcqRel);
        }
        let t = now();
        let mut m = self.meta.lock();
        m.mtime = t;
        m.ctime = t;
        Ok(())
    }

    fn seek_hole_data(&self, offset: u64, data: bool) -> Result<u64> {
        let Body::File(d, _) = &self.body else { return err(Errno::EINVAL) };
        let size = d.size.load(Ordering::Acquire);
        if offset >= size {
            return err(Errno::ENXIO);
        }
        match d.next(offset, data) {
            Some(at) if at < size => Ok(at),
            _ if data => err(Errno::ENXIO),
            _ => Ok(size),
        }
    }

    fn hole_at(&self, offset: u64) -> Option<u64> {
        match &self.body {
            Body::File(d, _) => d.hole(offset),
            _ => None,
        }
    }

    fn get_xattr(&self, name: &[u8]) -> Result<Vec<u8>> {
        match self.xattrs.lock().get(name) {
            Some(v) => Ok(v.clone()),
            None => err(Errno::ENODATA),
        }
    }

    fn set_xattr(&self, name: &[u8], value: Option<&[u8]>, flags: u32) -> Result<()> {
        let mut x = self.xattrs.lock();
        let there = x.contains_key(name);
        if flags & 1 != 0 && there {
            return err(Errno::EEXIST);
        }
        if flags & 2 != 0 && !there {
            return err(Errno::ENODATA);
        }
        match value {
            None => {
                x.remove(name);
            }
            Some(v) => {
                let used: usize = x.iter().map(|(k, v)| k.len() + v.len()).sum();
                if used + name.len() + v.len() > XATTR_MAX {
                    return err(Errno::ENOSPC);
                }
                x.insert(name.to_vec(), v.to_vec());
            }
        }
        Ok(())
    }

    fn list_xattr(&self) -> Result<Vec<u8>> {
        let x = self.xattrs.lock();
        Ok(x.keys().flat_map(|k| k.iter().copied().chain([0])).collect())
    }

    fn evict(&self) {
        if let Some(fs) = self.fs.upgrade() {
            fs.inode_gone();
        }
    }
}

impl Drop for Node {
    /// A tree may be as deep as somebody made it: it is taken apart with a list, not by recursion.
    fn drop(&mut self) {
        let Body::Dir(d) = &mut self.body else { return };
        let take = |d: Dir| d.by_cookie.into_values().map(|e| e.inode);
        let mut todo: Vec<Arc<Inode>> = take(std::mem::take(d.get_mut())).collect();
        while let Some(inode) = todo.pop() {
            if Arc::strong_count(&inode) == 1
                && let Some(Node { body: Body::Dir(d), .. }) = inode.ops_as::<Node>()
            {
                let inner = std::mem::take(&mut *d.lock());
                todo.extend(take(inner));
            }
        }
    }
}
