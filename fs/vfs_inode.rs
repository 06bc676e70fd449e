//! What the VFS attaches to each inode (to be written).

/// The VFS's part of an inode.
#[derive(Debug, Default)]
pub struct VfsInode {}
