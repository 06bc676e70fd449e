//! Mounts: which file system shows where.
//!
//! A [`Mount`] shows a tree of one superblock (from `root` down) at a place of another mount. A
//! [`MountNamespace`] is the table of all of them; tasks refer to one through their `FsContext`.
//! Propagation types are kept and shown in mountinfo; events do not travel between peers.
//!
//! Locks: the namespace's table is one spin lock of rank `Registry`; a mount's place has one of rank
//! `Dentry`. Mounts are dropped (which may write to a disk) only without either.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use base::limits::MAX_MOUNTS;
use base::{Errno, Rank, Result, SpinLock, err};
use hashbrown::HashMap;

use crate::dentry::Dentry;
use crate::path::Path;
use crate::super_block::SuperBlock;
use crate::vfs::Vfs;

bitflags::bitflags! {
    /// Flags of one mount, with the values of mount(2).
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct MountFlags: u32 {
        /// Read-only.
        const RDONLY = 1;
        /// Set-id bits have no effect.
        const NOSUID = 2;
        /// Device files cannot be opened.
        const NODEV = 4;
        /// Nothing can be executed.
        const NOEXEC = 8;
        /// Symbolic links are not followed.
        const NOSYMFOLLOW = 256;
        /// Access times are not updated.
        const NOATIME = 1024;
        /// Nor those of directories.
        const NODIRATIME = 2048;
        /// Access times are updated when they are older than the change times, or a day.
        const RELATIME = 1 << 21;
        /// Access times are always updated (in mount(2) only; stored as the absence of the others).
        const STRICTATIME = 1 << 24;
    }
}

/// How mount events travel (`man 7 mount_namespaces`): recorded, not acted upon.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Propagation {
    /// MS_PRIVATE.
    #[default]
    Private,
    /// MS_SHARED, with the peer group.
    Shared(u32),
    /// MS_SLAVE, with the master's peer group.
    Slave(u32),
    /// MS_UNBINDABLE.
    Unbindable,
}

/// Where a mount is.
type Place = Option<(Arc<Mount>, Arc<Dentry>)>;

/// One file system shown at one place.
pub struct Mount {
    id: u32,
    sb: Arc<SuperBlock>,
    root: Arc<Dentry>,
    flags: AtomicU32,
    source: Vec<u8>,
    place: SpinLock<Place>,
    propagation: SpinLock<Propagation>,
}

impl fmt::Debug for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mount({} {:?})", self.id, self.sb)
    }
}

static NEXT_ID: AtomicU32 = AtomicU32::new(1);
static NEXT_GROUP: AtomicU32 = AtomicU32::new(1);

impl Mount {
    /// A mount that is nowhere yet, showing `sb` from `root` down.
    pub fn new(
        sb: Arc<SuperBlock>,
        root: Arc<Dentry>,
        flags: MountFlags,
        source: &[u8],
    ) -> Arc<Mount> {
        sb.get_active();
        Arc::new(Mount {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            sb,
            root,
            flags: AtomicU32::new(flags.bits()),
            source: source.to_vec(),
            place: SpinLock::new(Rank::Dentry, None),
            propagation: SpinLock::new(Rank::Leaf, Propagation::Private),
        })
    }

    /// Another mount of the same tree, from `root` down.
    fn bind(&self, root: Arc<Dentry>) -> Arc<Mount> {
        let m = Mount::new(self.sb.clone(), root, self.flags(), &self.source);
        if let p @ Propagation::Shared(_) = self.propagation() {
            *m.propagation.lock() = p;
        }
        m
    }

    /// The mount id of mountinfo and statx.
    pub fn id(&self) -> u32 {
        self.id
    }
    /// The superblock.
    pub fn sb(&self) -> &Arc<SuperBlock> {
        &self.sb
    }
    /// The topmost dentry that it shows.
    pub fn root(&self) -> &Arc<Dentry> {
        &self.root
    }
    /// Its flags, now.
    #[inline]
    pub fn flags(&self) -> MountFlags {
        MountFlags::from_bits_retain(self.flags.load(Ordering::Relaxed))
    }
    /// Replaces the flags (remount).
    pub fn set_flags(&self, flags: MountFlags) {
        self.flags.store(flags.bits(), Ordering::Relaxed);
    }
    /// Whether writes through this mount are refused, by its flag or by the file system.
    pub fn read_only(&self) -> bool {
        self.flags().contains(MountFlags::RDONLY) || self.sb.read_only()
    }
    /// What was mounted, as the caller of mount(2) wrote it.
    pub fn source(&self) -> &[u8] {
        &self.source
    }
    /// Where it is mounted: None for the root and for detached ones.
    pub fn place(&self) -> Option<Path> {
        self.place.lock().as_ref().map(|(m, d)| Path { mount: m.clone(), dentry: d.clone() })
    }
    /// Its root as a path.
    pub fn root_path(self: &Arc<Self>) -> Path {
        Path { mount: self.clone(), dentry: self.root.clone() }
    }
    /// The propagation type.
    pub fn propagation(&self) -> Propagation {
        *self.propagation.lock()
    }
    fn set_place(&self, place: Place) {
        let old = std::mem::replace(&mut *self.place.lock(), place);
        drop(old);
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        self.sb.put_active();
    }
}

#[derive(Default)]
struct Table {
    /// By the mount and the dentry that they hide.
    at: HashMap<(u32, usize), Arc<Mount>>,
    /// All, the root first, in the order of mounting.
    all: Vec<Arc<Mount>>,
}

/// A set of mounts.
pub struct MountNamespace {
    vfs: Arc<Vfs>,
    id: u64,
    table: SpinLock<Table>,
    /// Counts changes: /proc/mounts is polled for them.
    events: AtomicU64,
    changed: Arc<base::WaitQueue>,
}

impl fmt::Debug for MountNamespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MountNamespace({})", self.id)
    }
}

fn key(mount: &Mount, dentry: &Arc<Dentry>) -> (u32, usize) {
    (mount.id, Arc::as_ptr(dentry) as usize)
}

impl MountNamespace {
    /// A namespace whose root is `root`.
    pub fn new(vfs: Arc<Vfs>, root: Arc<Mount>) -> Arc<MountNamespace> {
        static NEXT: AtomicU64 = AtomicU64::new(0xF000_0000);
        let table = Table { at: HashMap::new(), all: vec![root] };
        Arc::new(MountNamespace {
            vfs,
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            table: SpinLock::new(Rank::Registry, table),
            events: AtomicU64::new(0),
            changed: Arc::default(),
        })
    }

    /// The VFS that it belongs to.
    pub fn vfs(&self) -> &Arc<Vfs> {
        &self.vfs
    }
    /// Its inode number in /proc/PID/ns.
    pub fn id(&self) -> u64 {
        self.id
    }
    /// All mounts, the root first.
    pub fn list(&self) -> Vec<Arc<Mount>> {
        self.table.lock().all.clone()
    }
    /// Its root mount.
    pub fn root(&self) -> Arc<Mount> {
        self.table.lock().all[0].clone()
    }
    /// How often it has changed, and the queue that is woken then (POLLPRI|POLLERR on /proc/mounts).
    pub fn events(&self) -> (u64, &Arc<base::WaitQueue>) {
        (self.events.load(Ordering::Acquire), &self.changed)
    }

    fn touch(&self) {
        self.events.fetch_add(1, Ordering::AcqRel);
        self.changed.wake_all(base::PollEvents::PRI | base::PollEvents::ERR);
    }

    /// The mount that hides this place, if there is one.
    #[inline]
    pub fn mounted_at(&self, mount: &Mount, dentry: &Arc<Dentry>) -> Option<Arc<Mount>> {
        if !dentry.is_mountpoint() {
            return None;
        }
        self.table.lock().at.get(&key(mount, dentry)).cloned()
    }

    /// Follows mounts down to what is visible at `path`.
    #[inline]
    pub(crate) fn descend(&self, mut path: Path) -> Path {
        while let Some(m) = self.mounted_at(&path.mount, &path.dentry) {
            path = m.root_path();
        }
        path
    }

    /// Whether the mount is in this namespace.
    pub fn contains(&self, mount: &Arc<Mount>) -> bool {
        self.table.lock().all.iter().any(|m| Arc::ptr_eq(m, mount))
    }

    /// Puts a new mount at `at`.
    ///
    /// # Errors
    /// ENOENT if the directory was removed; ENOTDIR if one is a directory and the other is not;
    /// ENOSPC with too many mounts; EINVAL if `at` is not in this namespace.
    pub fn attach(&self, mount: Arc<Mount>, at: &Path) -> Result<()> {
        use crate::inode::FileType::Directory;
        let at = self.descend(at.clone());
        if at.dentry.is_unlinked() {
            return err(Errno::ENOENT);
        }
        if (at.inode().kind == Directory) != (mount.root.inode().kind == Directory) {
            return err(Errno::ENOTDIR);
        }
        if !self.contains(&at.mount) {
            return err(Errno::EINVAL);
        }
        let k = key(&at.mount, &at.dentry);
        at.dentry.add_mount();
        mount.set_place(Some((at.mount.clone(), at.dentry.clone())));
        let full = {
            let mut t = self.table.lock();
            if t.all.len() >= MAX_MOUNTS || t.at.contains_key(&k) {
                true
            } else {
                t.at.insert(k, mount.clone());
                t.all.push(mount.clone());
                false
            }
        };
        if full {
            mount.set_place(None);
            at.dentry.sub_mount();
            return err(Errno::ENOSPC);
        }
        self.touch();
        Ok(())
    }

    /// Takes one mount out of the table, without looking whether it is busy.
    fn detach(&self, mount: &Arc<Mount>) {
        let place = std::mem::take(&mut *mount.place.lock());
        let gone = {
            let mut t = self.table.lock();
            let i = t.all.iter().position(|m| Arc::ptr_eq(m, mount));
            let gone = i.map(|i| t.all.remove(i));
            (gone, place.as_ref().and_then(|(m, d)| t.at.remove(&key(m, d))))
        };
        drop(gone);
        if let Some((_, d)) = &place {
            d.sub_mount();
        }
        self.touch();
    }

    /// The mounts directly on `mount`.
    pub fn children(&self, mount: &Arc<Mount>) -> Vec<Arc<Mount>> {
        let is_child =
            |m: &Arc<Mount>| m.place.lock().as_ref().is_some_and(|(p, _)| Arc::ptr_eq(p, mount));
        self.table.lock().all.iter().filter(|m| is_child(m)).cloned().collect()
    }

    /// `mount` and everything mounted below it, parents first.
    pub fn subtree(&self, mount: &Arc<Mount>) -> Vec<Arc<Mount>> {
        let mut all = vec![mount.clone()];
        let mut i = 0;
        while i < all.len() {
            let more = self.children(&all[i]);
            all.extend(more);
            i += 1;
        }
        all
    }

    /// bind mount of `source` at `target`; with `recursive` of the mounts below it, too.
    ///
    /// # Errors
    /// As [`MountNamespace::attach`]; EINVAL if the source is unbindable or not in this namespace.
    pub fn bind(&self, source: &Path, target: &Path, recursive: bool) -> Result<()> {
        if !self.contains(&source.mount) || source.mount.propagation() == Propagation::Unbindable {
            return err(Errno::EINVAL);
        }
        let below = if recursive { self.subtree(&source.mount) } else { Vec::new() };
        let top = source.mount.bind(source.dentry.clone());
        self.attach(top.clone(), target)?;
        let mut map = vec![(source.mount.clone(), top)];
        for m in below.iter().skip(1) {
            let Some(place) = m.place() else { continue };
            let under =
                !Arc::ptr_eq(&place.mount, &source.mount) || place.dentry.is_below(&source.dentry);
            let Some((_, new)) = map.iter().find(|(o, _)| Arc::ptr_eq(o, &place.mount)) else {
                continue;
            };
            if !under || m.propagation() == Propagation::Unbindable {
                continue;
            }
            let at = Path { mount: new.clone(), dentry: place.dentry };
            let copy = m.bind(m.root.clone());
            self.attach(copy.clone(), &at)?;
            map.push((m.clone(), copy));
        }
        Ok(())
    }

    /// Moves the mount at `source` (its root) to `target`.
    ///
    /// # Errors
    /// EINVAL if `source` is not the root of a mount, or the namespace's root; ELOOP if `target` is
    /// below it.
    pub fn move_mount(&self, source: &Path, target: &Path) -> Result<()> {
        let m = &source.mount;
        if !Arc::ptr_eq(&source.dentry, &m.root) || m.place().is_none() || !self.contains(m) {
            return err(Errno::EINVAL);
        }
        let mut up = Some(target.clone());
        while let Some(p) = up {
            if Arc::ptr_eq(&p.mount, m) {
                return err(Errno::ELOOP);
            }
            up = p.mount.place();
        }
        self.detach(m);
        self.attach(m.clone(), target)
    }

    /// umount2(2) of the mount whose root is `path`. `detach`: MNT_DETACH.
    ///
    /// # Errors
    /// EINVAL if `path` is not the root of a mount of this namespace; EBUSY if it is in use (files
    /// open, working directories, mounts below) or the root.
    pub fn umount(&self, path: Path, detach: bool) -> Result<()> {
        let m = path.mount.clone();
        if !Arc::ptr_eq(&path.dentry, &m.root) || !self.contains(&m) {
            return err(Errno::EINVAL);
        }
        drop(path);
        if m.place().is_none() {
            return err(Errno::EBUSY);
        }
        if detach {
            for x in self.subtree(&m).iter().rev() {
                self.detach(x);
            }
            return Ok(());
        }
        // References: two of the table and ours.
        if Arc::strong_count(&m) > 3 {
            return err(Errno::EBUSY);
        }
        self.detach(&m);
        Ok(())
    }

    /// Sets the propagation type; with `recursive` of all mounts below, too.
    pub fn set_propagation(&self, mount: &Arc<Mount>, kind: Propagation, recursive: bool) {
        let all = if recursive { self.subtree(mount) } else { vec![mount.clone()] };
        for m in all {
            let mut p = m.propagation.lock();
            *p = match (kind, *p) {
                (Propagation::Shared(_), Propagation::Shared(g)) => Propagation::Shared(g),
                (Propagation::Shared(_), _) => {
                    Propagation::Shared(NEXT_GROUP.fetch_add(1, Ordering::Relaxed))
                }
                (Propagation::Slave(_), Propagation::Shared(g)) => Propagation::Slave(g),
                (Propagation::Slave(_), old) => old,
                (k, _) => k,
            };
        }
        self.touch();
    }

    /// pivot_root(2): `new_root`'s mount becomes the root, the old one moves to `put_old`. The caller
    /// then moves the tasks whose root or working directory was the old root.
    ///
    /// # Errors
    /// EINVAL if `new_root` is not the root of a mount, or `put_old` not below it; EBUSY if either is
    /// on the current root mount.
    pub fn pivot_root(&self, new_root: &Path, put_old: &Path) -> Result<Arc<Mount>> {
        let old = self.root();
        let new = &new_root.mount;
        if Arc::ptr_eq(new, &old) || Arc::ptr_eq(&put_old.mount, &old) {
            return err(Errno::EBUSY);
        }
        if !Arc::ptr_eq(&new_root.dentry, &new.root) || !self.contains(new) {
            return err(Errno::EINVAL);
        }
        let mut up = Some(put_old.clone());
        let below = loop {
            match up {
                Some(p) if Arc::ptr_eq(&p.mount, new) => break true,
                Some(p) => up = p.mount.place(),
                None => break false,
            }
        };
        if !below {
            return err(Errno::EINVAL);
        }
        self.detach(new);
        let gone = {
            let mut t = self.table.lock();
            t.all.insert(0, new.clone());
            t.all.iter().skip(1).position(|m| Arc::ptr_eq(m, &old)).map(|i| t.all.remove(i + 1))
        };
        drop(gone);
        self.attach(old.clone(), put_old)?;
        Ok(old)
    }

    /// A copy for CLONE_NEWNS. `moved` is told each mount and its copy, so that the caller can carry
    /// roots and working directories over.
    pub fn copy(&self, moved: &mut dyn FnMut(&Arc<Mount>, &Arc<Mount>)) -> Arc<MountNamespace> {
        let old = self.list();
        let root = old[0].bind(old[0].root.clone());
        moved(&old[0], &root);
        let ns = MountNamespace::new(self.vfs.clone(), root.clone());
        let mut map = vec![(old[0].clone(), root)];
        for m in self.subtree(&old[0]).iter().skip(1) {
            let Some(place) = m.place() else { continue };
            let Some((_, new)) = map.iter().find(|(o, _)| Arc::ptr_eq(o, &place.mount)) else {
                continue;
            };
            let at = Path { mount: new.clone(), dentry: place.dentry };
            let copy = m.bind(m.root.clone());
            if ns.attach(copy.clone(), &at).is_ok() {
                moved(m, &copy);
                map.push((m.clone(), copy));
            }
        }
        ns
    }
}

impl Drop for MountNamespace {
    fn drop(&mut self) {
        // Children before parents: places refer upwards.
        let all = std::mem::take(&mut *self.table.lock());
        for m in all.all.iter().rev() {
            let place = std::mem::take(&mut *m.place.lock());
            if let Some((_, d)) = &place {
                d.sub_mount();
            }
        }
    }
}
