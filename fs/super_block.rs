//! Superblocks: one [`SuperBlock`] for each mounted instance of a file system, however many mounts
//! show it. When the last mount goes, its cached names are dropped and the file system is unmounted.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use base::{Mutex, Rank, SpinLock};
use drivers::DevNum;

use crate::dentry::{Dentry, DentryCache};
use crate::inode::FileSystem;

/// A file system instance as the VFS sees it.
pub struct SuperBlock {
    fs: Arc<dyn FileSystem>,
    dcache: Arc<DentryCache>,
    cache_names: bool,
    root: SpinLock<Weak<Dentry>>,
    /// Mounts that show it.
    active: AtomicUsize,
    /// Held by renames between directories: nothing moves in the tree while it is.
    pub(crate) rename: Mutex<()>,
    /// The block device it is on.
    device: Option<DevNum>,
}

impl fmt::Debug for SuperBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SuperBlock({})", self.fs.type_name())
    }
}

impl SuperBlock {
    /// Wraps an instance and makes its root dentry.
    pub fn new(
        fs: Arc<dyn FileSystem>,
        dcache: Arc<DentryCache>,
        device: Option<DevNum>,
    ) -> (Arc<SuperBlock>, Arc<Dentry>) {
        let cache_names = fs.cache_names();
        let inode = fs.root();
        let sb = Arc::new(SuperBlock {
            fs,
            dcache,
            cache_names,
            root: SpinLock::new(Rank::Dentry, Weak::new()),
            active: AtomicUsize::new(0),
            rename: Mutex::new(()),
            device,
        });
        let root = Dentry::root(sb.clone(), inode, b"/");
        *sb.root.lock() = Arc::downgrade(&root);
        (sb, root)
    }

    /// The file system.
    pub fn fs(&self) -> &Arc<dyn FileSystem> {
        &self.fs
    }
    /// The block device below, for types that need one.
    pub fn device(&self) -> Option<DevNum> {
        self.device
    }
    /// Whether the instance refuses writes.
    pub fn read_only(&self) -> bool {
        self.fs.read_only()
    }
    /// Its root, while it is mounted.
    pub fn root(&self) -> Option<Arc<Dentry>> {
        self.root.lock().upgrade()
    }
    /// Whether any mount shows it.
    pub fn is_mounted(&self) -> bool {
        self.active.load(Ordering::Acquire) != 0
    }
    #[inline]
    pub(crate) fn cache_names(&self) -> bool {
        self.cache_names
    }
    pub(crate) fn dcache(&self) -> &DentryCache {
        &self.dcache
    }
    pub(crate) fn get_active(&self) {
        self.active.fetch_add(1, Ordering::AcqRel);
    }
    /// A mount is gone. The last one ends the instance.
    pub(crate) fn put_active(&self) {
        if self.active.fetch_sub(1, Ordering::AcqRel) != 1 {
            return;
        }
        if let Some(root) = self.root() {
            root.prune_tree();
        }
        if let Err(e) = self.fs.unmount() {
            log::error!("unmounting {}: {e}", self.fs.type_name());
        }
    }
}
