//! ext2, ext3 and ext4: read and write, without a journal yet.
//!
//! See README.md in this folder for the layout on the disk and the way of an operation. From the bottom:
//! `disk`, `crc`, `hash`, `bitmap` (pure functions); `superblock`, `group` (geometry); `cache`, `txn`
//! (blocks of metadata and changes to them); `alloc`; `icore` (inodes); `map`, `extent`, `extent_edit`,
//! `indirect` (where a file's blocks are); `dir`, `htree`, `xattr`; `file`, `ops`, `names` (what the VFS calls);
//! `mount` (the file system as a whole).

mod alloc;
mod bitmap;
mod cache;
mod crc;
mod dir;
mod disk;
mod extent;
mod extent_edit;
mod file;
mod group;
mod hash;
mod htree;
mod icore;
mod indirect;
mod map;
mod mount;
mod names;
mod ops;
mod superblock;
mod txn;
mod xattr;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

pub use mount::{Ext4, Ext4Type};
