//! Names: a place in the tree of mounts.

use std::sync::Arc;

use crate::dentry::Dentry;
use crate::inode::Inode;
use crate::mount::Mount;

/// A place: a dentry seen through a mount.
#[derive(Clone, Debug)]
pub struct Path {
    /// The mount.
    pub mount: Arc<Mount>,
    /// The name in it; always positive (it has an inode).
    pub dentry: Arc<Dentry>,
}

impl Path {
    /// The inode at this place.
    pub fn inode(&self) -> &Arc<Inode> {
        self.dentry.inode()
    }
}
