//! The [`Vfs`]: what all mount namespaces of one kernel share. Boot builds one.

use std::fmt;
use std::sync::{Arc, Weak};

use base::{Rank, Result, SpinLock};
use drivers::tty::PtyRegistry;
use drivers::{BlockRegistry, CharRegistry, DevNum};
use mm::Memory;

use crate::anon::AnonFs;
use crate::dentry::{Dentry, DentryCache};
use crate::file::FileOps;
use crate::inode::{FileSystem, FileSystemType, MountArgs};
use crate::mount::{Mount, MountFlags};
use crate::special::OpenDisks;
use crate::super_block::SuperBlock;

/// What boot gives to the VFS.
#[derive(Clone, Debug)]
pub struct Devices {
    /// Character devices.
    pub chars: Arc<CharRegistry>,
    /// Disks.
    pub blocks: Arc<BlockRegistry>,
    /// Pseudo-terminals.
    pub ptys: Arc<PtyRegistry>,
}

/// The core of all file systems.
pub struct Vfs {
    /// Memory for page caches.
    pub memory: Arc<Memory>,
    /// Devices.
    pub devices: Devices,
    types: SpinLock<Vec<Arc<dyn FileSystemType>>>,
    supers: SpinLock<Vec<Weak<SuperBlock>>>,
    dcache: Arc<DentryCache>,
    anon: AnonFs,
    pub(crate) open_disks: OpenDisks,
    pub(crate) regular_ops: Arc<dyn FileOps>,
    pub(crate) dir_ops: Arc<dyn FileOps>,
    pub(crate) path_ops: Arc<dyn FileOps>,
}

impl fmt::Debug for Vfs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Vfs({:?})", self.dcache)
    }
}

impl Vfs {
    /// A VFS that knows tmpfs, ramfs, devtmpfs and devpts; the others are registered by boot.
    pub fn new(memory: Arc<Memory>, devices: Devices) -> Arc<Vfs> {
        let dcache = Arc::new(DentryCache::default());
        let vfs = Arc::new(Vfs {
            anon: AnonFs::new(&dcache),
            types: SpinLock::new(Rank::Registry, Vec::new()),
            supers: SpinLock::new(Rank::Registry, Vec::new()),
            dcache,
            memory,
            open_disks: OpenDisks::default(),
            regular_ops: Arc::new(crate::regular::RegularOps),
            dir_ops: Arc::new(crate::dir::DirOps),
            path_ops: Arc::new(crate::special::PathOnlyOps),
            devices,
        });
        crate::tmpfs::register(&vfs);
        crate::devtmpfs::register(&vfs);
        crate::devpts::register(&vfs);
        vfs
    }

    /// Adds a type; one with the same name is replaced.
    pub fn register_type(&self, t: Arc<dyn FileSystemType>) {
        let mut types = self.types.lock();
        types.retain(|o| o.name() != t.name());
        types.push(t);
    }

    /// All types in the order of registration (/proc/filesystems).
    pub fn types(&self) -> Vec<Arc<dyn FileSystemType>> {
        self.types.lock().clone()
    }

    /// The type with this name.
    pub fn fs_type(&self, name: &[u8]) -> Option<Arc<dyn FileSystemType>> {
        self.types.lock().iter().find(|t| t.name().as_bytes() == name).cloned()
    }

    /// The dentry cache.
    pub fn dcache(&self) -> &Arc<DentryCache> {
        &self.dcache
    }

    /// The file system of pipes, sockets, epoll instances and the like.
    pub fn anon(&self) -> &AnonFs {
        &self.anon
    }

    /// All superblocks that are mounted (or still open).
    pub fn superblocks(&self) -> Vec<Arc<SuperBlock>> {
        self.supers.lock().iter().filter_map(Weak::upgrade).collect()
    }

    /// Gives an instance a superblock.
    pub fn add_super(
        &self,
        fs: Arc<dyn FileSystem>,
        device: Option<DevNum>,
    ) -> (Arc<SuperBlock>, Arc<Dentry>) {
        let (sb, root) = SuperBlock::new(fs, self.dcache.clone(), device);
        let mut s = self.supers.lock();
        s.retain(|w| w.strong_count() > 0);
        s.push(Arc::downgrade(&sb));
        drop(s);
        (sb, root)
    }

    /// A mount of an instance that is nowhere yet: for boot's root and for kernel-internal ones.
    pub fn mount_fs(
        &self,
        fs: Arc<dyn FileSystem>,
        flags: MountFlags,
        source: &[u8],
    ) -> Arc<Mount> {
        let (sb, root) = self.add_super(fs, None);
        Mount::new(sb, root, flags, source)
    }

    /// Makes a file system of type `t` from a source, or finds the one that is mounted from that
    /// device already, and mounts it (nowhere yet).
    ///
    /// # Errors
    /// What the type's `mount` says; EBUSY if the device is mounted with another read-only state.
    pub fn mount_type(
        &self,
        t: &dyn FileSystemType,
        args: &MountArgs<'_>,
        flags: MountFlags,
    ) -> Result<Arc<Mount>> {
        let device = args.device.as_ref().map(|d| d.0);
        if let Some(dev) = device {
            let same = self.superblocks().into_iter().find(|s| s.device() == Some(dev));
            if let Some(sb) = same
                && sb.is_mounted()
                && let Some(root) = sb.root()
            {
                if sb.fs().type_name() != t.name() || (sb.read_only() && !args.read_only) {
                    return base::err(base::Errno::EBUSY);
                }
                return Ok(Mount::new(sb, root, flags, args.source));
            }
        }
        let fs = t.mount(args)?;
        // A type with one instance for all mounts (devtmpfs) gives the same again.
        let known = self.superblocks().into_iter().find(|s| Arc::ptr_eq(s.fs(), &fs));
        if let Some(sb) = known
            && let Some(root) = sb.root()
        {
            return Ok(Mount::new(sb, root, flags, args.source));
        }
        let (sb, root) = self.add_super(fs, device);
        Ok(Mount::new(sb, root, flags, args.source))
    }

    /// sync(2): every file system. The first error is returned, the others are still synced.
    ///
    /// # Errors
    /// EIO, ENOSPC.
    pub fn sync_all(&self) -> Result<()> {
        let mut result = Ok(());
        for sb in self.superblocks() {
            if sb.is_mounted()
                && let r @ Err(_) = sb.fs().sync()
                && result.is_ok()
            {
                result = r;
            }
        }
        result
    }
}
