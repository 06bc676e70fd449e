//! Directory entries in memory: the dentry cache.
//!
//! A [`Dentry`] is one name in one directory, with its inode (positive) or the knowledge that there
//! is none (negative). Whether it is positive never changes: creating a file replaces the negative
//! dentry, so that [`Dentry::inode`] needs no lock. Name and parent change with rename.
//!
//! A parent holds its children in a hash table, a child holds its parent; the ring is cut when a
//! dentry is *unhashed*: by unlink, by the shrinker, or when the last mount of the file system goes.
//!
//! Locks: each dentry has two spin locks of rank `Dentry` (its link, its table); they are never
//! nested. **Entries are added, moved and removed under the directory's `Inode::lock`**, only the
//! shrinker removes without it, and only what nobody uses. A hit takes the table's spin lock alone.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Weak};

use base::limits::MAX_UNUSED_DENTRIES;
use base::{Errno, Rank, Result, SpinLock, err};
use hashbrown::HashTable;

use crate::inode::Inode;
use crate::super_block::SuperBlock;

/// Hash of a name: multiply and rotate, eight bytes at a time (the "Fx" hash of rustc).
#[inline]
pub(crate) fn hash_name(name: &[u8]) -> u64 {
    const K: u64 = 0x517c_c1b7_2722_0a95;
    let mut h = name.len() as u64;
    let mut words = name.chunks_exact(8);
    for w in &mut words {
        let w = u64::from_le_bytes(w.try_into().expect("chunks of eight"));
        h = (h.rotate_left(5) ^ w).wrapping_mul(K);
    }
    for b in words.remainder() {
        h = (h.rotate_left(5) ^ u64::from(*b)).wrapping_mul(K);
    }
    h ^ (h >> 32)
}

struct Link {
    /// None: the root of its file system, or a disconnected inode.
    parent: Option<Arc<Dentry>>,
    name: Arc<[u8]>,
}

struct Child {
    hash: u64,
    name: Arc<[u8]>,
    dentry: Arc<Dentry>,
}

/// A name in a directory.
pub struct Dentry {
    sb: Arc<SuperBlock>,
    inode: Option<Arc<Inode>>,
    link: SpinLock<Link>,
    children: SpinLock<HashTable<Child>>,
    /// How many mounts hide it.
    mounted: AtomicU32,
    unlinked: AtomicBool,
    /// Used since the shrinker last passed.
    referenced: AtomicBool,
}

impl fmt::Debug for Dentry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?}", String::from_utf8_lossy(&self.name()), self.inode)
    }
}

impl Dentry {
    fn make(
        sb: Arc<SuperBlock>,
        inode: Option<Arc<Inode>>,
        parent: Option<Arc<Dentry>>,
        name: Arc<[u8]>,
    ) -> Arc<Dentry> {
        Arc::new(Dentry {
            sb,
            inode,
            link: SpinLock::new(Rank::Dentry, Link { parent, name }),
            children: SpinLock::new(Rank::Dentry, HashTable::new()),
            mounted: AtomicU32::new(0),
            unlinked: AtomicBool::new(false),
            referenced: AtomicBool::new(false),
        })
    }

    /// A dentry without parent: the root of a file system, or an object without a name.
    pub fn root(sb: Arc<SuperBlock>, inode: Arc<Inode>, name: &[u8]) -> Arc<Dentry> {
        Dentry::make(sb, Some(inode), None, name.into())
    }

    /// As [`Dentry::root`] with a shared name.
    pub(crate) fn nameless(sb: Arc<SuperBlock>, inode: Arc<Inode>, name: Arc<[u8]>) -> Arc<Dentry> {
        Dentry::make(sb, Some(inode), None, name)
    }

    /// A dentry that no table knows: for a file system whose names are not cached, and for
    /// O_TMPFILE.
    pub(crate) fn unhashed(parent: &Arc<Dentry>, name: &[u8], inode: Arc<Inode>) -> Arc<Dentry> {
        Dentry::make(parent.sb.clone(), Some(inode), Some(parent.clone()), name.into())
    }

    /// Its inode.
    ///
    /// # Panics
    /// If it is negative; a [`crate::Path`] never is.
    #[inline]
    pub fn inode(&self) -> &Arc<Inode> {
        self.inode.as_ref().expect("paths hold positive dentries")
    }

    /// Its inode; None if there is no such file.
    #[inline]
    pub fn try_inode(&self) -> Option<&Arc<Inode>> {
        self.inode.as_ref()
    }

    /// The mounted file system it belongs to.
    pub fn sb(&self) -> &Arc<SuperBlock> {
        &self.sb
    }

    /// Its name in its parent.
    pub fn name(&self) -> Arc<[u8]> {
        self.link.lock().name.clone()
    }

    /// The directory it is in; None for a root.
    pub fn parent(&self) -> Option<Arc<Dentry>> {
        self.link.lock().parent.clone()
    }

    pub(crate) fn parent_and_name(&self) -> (Option<Arc<Dentry>>, Arc<[u8]>) {
        let l = self.link.lock();
        (l.parent.clone(), l.name.clone())
    }

    /// Whether the name is gone (`(deleted)` in /proc); a directory takes no new entries then.
    pub fn is_unlinked(&self) -> bool {
        self.unlinked.load(Ordering::Acquire)
    }

    pub(crate) fn set_unlinked(&self, gone: bool) {
        self.unlinked.store(gone, Ordering::Release);
    }

    /// Whether something may be mounted on it (in some namespace).
    #[inline]
    pub(crate) fn is_mountpoint(&self) -> bool {
        self.mounted.load(Ordering::Acquire) != 0
    }

    /// One mount more on it. A dentry of a file system that does not cache names is pinned in its
    /// parent's table, so that the next walk finds the same one.
    pub(crate) fn add_mount(self: &Arc<Self>) {
        self.mounted.fetch_add(1, Ordering::AcqRel);
        let (parent, name) = self.parent_and_name();
        if let Some(p) = parent
            && !self.sb.cache_names()
        {
            p.hash_child(&name, self);
        }
    }

    pub(crate) fn sub_mount(&self) {
        self.mounted.fetch_sub(1, Ordering::AcqRel);
        if !self.sb.cache_names()
            && let (Some(p), name) = self.parent_and_name()
        {
            p.forget_child(&name);
        }
    }

    /// Whether `self` is `other` or lies below it.
    pub fn is_below(self: &Arc<Self>, other: &Arc<Dentry>) -> bool {
        let mut d = self.clone();
        loop {
            if Arc::ptr_eq(&d, other) {
                return true;
            }
            match d.parent() {
                Some(p) => d = p,
                None => return false,
            }
        }
    }

    /// The cached child, positive or negative.
    #[inline]
    pub(crate) fn cached(&self, hash: u64, name: &[u8]) -> Option<Arc<Dentry>> {
        let t = self.children.lock();
        let c = t.find(hash, |c| *c.name == *name)?;
        if !c.dentry.referenced.load(Ordering::Relaxed) {
            c.dentry.referenced.store(true, Ordering::Relaxed);
        }
        Some(c.dentry.clone())
    }

    /// The child `name`, which may be negative. Takes the directory's lock if it must ask the
    /// file system.
    ///
    /// # Errors
    /// ENOENT in a removed directory; EAGAIN if only the cache may be used (`cached_only`) and it
    /// does not know; what `InodeOps::lookup` says.
    #[inline]
    pub(crate) fn child(self: &Arc<Self>, name: &[u8], cached_only: bool) -> Result<Arc<Dentry>> {
        let hash = hash_name(name);
        if let Some(d) = self.cached(hash, name)
            && (self.sb.cache_names() || d.is_mountpoint())
        {
            return Ok(d);
        }
        if cached_only {
            return err(Errno::EAGAIN);
        }
        if !self.sb.cache_names() {
            return self.ask(name);
        }
        let _dir = self.inode().lock.lock();
        self.child_locked(name)
    }

    /// As [`Dentry::child`]; the caller holds the directory's lock.
    pub(crate) fn child_locked(self: &Arc<Self>, name: &[u8]) -> Result<Arc<Dentry>> {
        if !self.sb.cache_names() {
            return match self.cached(hash_name(name), name) {
                Some(d) if d.is_mountpoint() => Ok(d),
                _ => self.ask(name),
            };
        }
        if let Some(d) = self.cached(hash_name(name), name) {
            return Ok(d);
        }
        if self.is_unlinked() {
            return err(Errno::ENOENT);
        }
        match self.inode().ops.lookup(name) {
            Ok(inode) => Ok(self.add_child(name, Some(inode))),
            Err(e) if e == Errno::ENOENT => Ok(self.add_child(name, None)),
            Err(e) => Err(e),
        }
    }

    /// Asks a file system whose names are not cached.
    fn ask(self: &Arc<Self>, name: &[u8]) -> Result<Arc<Dentry>> {
        let inode = match self.inode().ops.lookup(name) {
            Ok(i) => Some(i),
            Err(e) if e == Errno::ENOENT => None,
            Err(e) => return Err(e),
        };
        Ok(Dentry::make(self.sb.clone(), inode, Some(self.clone()), name.into()))
    }

    /// Enters a name (replacing what was cached under it). Under the directory's lock.
    pub(crate) fn add_child(
        self: &Arc<Self>,
        name: &[u8],
        inode: Option<Arc<Inode>>,
    ) -> Arc<Dentry> {
        let d = Dentry::make(self.sb.clone(), inode, Some(self.clone()), name.into());
        if self.sb.cache_names() {
            let key = d.name();
            self.hash_child(&key, &d);
            self.sb.dcache().added(&d);
        }
        d
    }

    fn hash_child(&self, name: &Arc<[u8]>, dentry: &Arc<Dentry>) {
        let hash = hash_name(name);
        let mut t = self.children.lock();
        let old = match t.find_mut(hash, |c| *c.name == **name) {
            Some(c) => Some(std::mem::replace(&mut c.dentry, dentry.clone())),
            None => {
                let child = Child { hash, name: name.clone(), dentry: dentry.clone() };
                t.insert_unique(hash, child, |c| c.hash);
                None
            }
        };
        drop(t);
        drop(old);
    }

    /// Drops what is cached under `name`. Under the directory's lock.
    pub(crate) fn forget_child(&self, name: &[u8]) -> Option<Arc<Dentry>> {
        let mut t = self.children.lock();
        let gone = t.find_entry(hash_name(name), |c| *c.name == *name).ok()?.remove().0;
        drop(t);
        Some(gone.dentry)
    }

    /// The name was removed from the file system. Under the directory's lock.
    pub(crate) fn unlink(&self) {
        self.set_unlinked(true);
        if let (Some(p), name) = self.parent_and_name() {
            p.forget_child(&name);
        }
        let children = std::mem::take(&mut *self.children.lock());
        drop(children);
    }

    /// The name was moved. Under the locks of both directories and the file system's rename lock.
    pub(crate) fn moved(self: &Arc<Self>, new_parent: &Arc<Dentry>, new_name: &[u8]) {
        let (old_parent, old_name) = self.parent_and_name();
        if let Some(p) = &old_parent {
            p.forget_child(&old_name);
        }
        let name: Arc<[u8]> = new_name.into();
        let old = {
            let mut l = self.link.lock();
            l.name = name.clone();
            l.parent.replace(new_parent.clone())
        };
        drop(old);
        if self.sb.cache_names() {
            new_parent.hash_child(&name, self);
        }
    }

    /// Two names changed places. Locks as for [`Dentry::moved`].
    pub(crate) fn exchanged(a: &Arc<Dentry>, b: &Arc<Dentry>) {
        let (pa, na) = a.parent_and_name();
        let (pb, nb) = b.parent_and_name();
        if let (Some(pa), Some(pb)) = (pa, pb) {
            a.moved(&pb, &nb);
            // `b` lost its place in pb's table to `a`; its link still names it.
            let (name, parent): (Arc<[u8]>, _) = (na, pa);
            let old = {
                let mut l = b.link.lock();
                l.name = name.clone();
                l.parent.replace(parent.clone())
            };
            drop(old);
            if b.sb.cache_names() {
                parent.hash_child(&name, b);
            }
        }
    }

    /// Drops the negative entries below: names have appeared without the VFS's doing.
    pub(crate) fn forget_negative(&self) {
        let mut gone = Vec::new();
        let mut t = self.children.lock();
        t.retain(|c| {
            let keep = c.dentry.inode.is_some();
            if !keep {
                gone.push(c.dentry.clone());
            }
            keep
        });
        drop(t);
        drop(gone);
    }

    /// Drops the cached tree below: the last mount is gone. What is still open stays alive by itself.
    pub(crate) fn prune_tree(self: &Arc<Self>) {
        let mut todo = vec![self.clone()];
        while let Some(d) = todo.pop() {
            let children = std::mem::take(&mut *d.children.lock());
            todo.extend(children.into_iter().map(|c| c.dentry));
        }
    }
}

impl Drop for Dentry {
    /// A chain of parents that only their children held goes by a loop: it may be as long as
    /// somebody made it.
    fn drop(&mut self) {
        let mut up = self.link.get_mut().parent.take();
        while let Some(mut d) = up.and_then(Arc::into_inner) {
            up = d.link.get_mut().parent.take();
        }
    }
}

/// Bounds the dentries that nobody uses, over all file systems: a clock over all cached ones.
pub struct DentryCache {
    clock: SpinLock<VecDeque<Weak<Dentry>>>,
    limit: usize,
}

impl fmt::Debug for DentryCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DentryCache({} of {})", self.clock.lock().len(), self.limit)
    }
}

impl Default for DentryCache {
    fn default() -> Self {
        DentryCache::with_limit(MAX_UNUSED_DENTRIES)
    }
}

impl DentryCache {
    /// A cache that starts to shrink at `limit` dentries.
    pub fn with_limit(limit: usize) -> DentryCache {
        DentryCache { clock: SpinLock::new(Rank::Leaf, VecDeque::new()), limit }
    }

    /// How many dentries it knows (some may be gone already).
    pub fn len(&self) -> usize {
        self.clock.lock().len()
    }

    /// Whether it knows none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn added(&self, d: &Arc<Dentry>) {
        let over = {
            let mut c = self.clock.lock();
            c.push_back(Arc::downgrade(d));
            c.len() > self.limit
        };
        if over {
            self.shrink(8);
        }
    }

    /// Looks at up to `scan` dentries, the oldest first, and drops those that nobody uses and that were not
    /// found since the last look. Returns how many went.
    pub fn shrink(&self, scan: usize) -> usize {
        let mut dropped = 0;
        for _ in 0..scan {
            let Some(weak) = self.clock.lock().pop_front() else { break };
            let Some(d) = weak.upgrade() else {
                dropped += 1;
                continue;
            };
            if d.referenced.swap(false, Ordering::Relaxed) || !DentryCache::evict(&d) {
                if !d.is_unlinked() {
                    self.clock.lock().push_back(weak);
                }
            } else {
                dropped += 1;
            }
        }
        dropped
    }

    /// Everything that nobody uses (`/proc/sys/vm/drop_caches`).
    pub fn shrink_all(&self) -> usize {
        let mut total = 0;
        for _ in 0..64 {
            let n = self.shrink(self.len());
            total += n;
            if n == 0 && total > 0 {
                break;
            }
        }
        total
    }

    fn evict(d: &Arc<Dentry>) -> bool {
        let (Some(parent), name) = d.parent_and_name() else { return false };
        if d.is_mountpoint() || !d.children.lock().is_empty() {
            return false;
        }
        let mut t = parent.children.lock();
        // References: the table's and ours. New ones are only made under this lock.
        if Arc::strong_count(d) != 2 {
            return false;
        }
        let Ok(e) = t.find_entry(hash_name(&name), |c| Arc::ptr_eq(&c.dentry, d)) else {
            return false;
        };
        let gone = e.remove().0;
        drop(t);
        drop(gone);
        true
    }
}
