//! Files: the VFS, ext4, tmpfs, procfs, devtmpfs, pipes, epoll. See `README.md`.
#![forbid(unsafe_code)]
#![warn(missing_docs)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod anon;
pub mod dentry;
pub mod devpts;
pub mod devtmpfs;
pub mod dir;
pub mod epoll;
pub mod eventfd;
pub mod ext4;
pub mod fdtable;
pub mod file;
mod file_io;
pub mod initramfs;
pub mod inode;
pub mod inotify;
pub mod lock;
pub mod memfd;
pub mod mount;
pub mod ops;
pub mod path;
pub mod pidfd;
pub mod pipe;
pub mod poll;
pub mod procfs;
pub mod regular;
pub mod ring;
pub mod signalfd;
pub mod special;
pub mod splice;
pub mod super_block;
pub mod sysfs;
pub mod timerfd;
pub mod tmpfs;
pub mod vfs;
pub mod vfs_inode;
pub mod walk;

#[cfg(test)]
mod dentry_tests;
#[cfg(test)]
mod event_tests;
#[cfg(test)]
mod fd_tests;
#[cfg(test)]
mod file_tests;
#[cfg(test)]
mod ops_tests;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod walk_tests;

pub use fdtable::FdTable;
pub use file::{Caller, File, FileOps, OpenFlags};
pub use inode::{Attr, DirEntry, FileSystem, FileSystemType, FileType, Inode, InodeOps, SetAttr};
pub use mount::{Mount, MountFlags, MountNamespace};
pub use path::{FsContext, Path};
pub use vfs::{Devices, Vfs};
pub use walk::{LookupFlags, lookup, lookup_parent};
