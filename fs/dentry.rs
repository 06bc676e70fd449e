//! Directory entries in memory (to be written).

use std::sync::Arc;

use crate::inode::Inode;

/// A name in a directory.
#[derive(Debug)]
pub struct Dentry {
    inode: Arc<Inode>,
}

impl Dentry {
    /// Its inode.
    pub fn inode(&self) -> &Arc<Inode> {
        &self.inode
    }
}
