//! Files: the VFS, ext4, tmpfs, procfs, devtmpfs, pipes, epoll.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod dentry;
pub mod ext4;
pub mod file;
pub mod inode;
pub mod mount;
pub mod path;
pub mod vfs_inode;

pub use file::{Caller, File, FileOps, OpenFlags};
pub use inode::{Attr, DirEntry, FileSystem, FileSystemType, FileType, Inode, InodeOps, SetAttr};
pub use path::Path;
