//! Devices: disks, terminals, memory devices. Host endpoints come from arch. See `README.md`.
#![forbid(unsafe_code)]
#![warn(missing_docs)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod block;
pub mod chardev;
pub mod cow;
pub mod disk;
pub mod hostblk;
pub mod hoststream;
pub mod kmsg;
pub mod memdev;
pub mod ramdisk;
pub mod registry;
pub mod tty;

pub use block::BlockDevice;
pub use chardev::{CharDriver, CharFile, DevNum, OpenInfo, Opener};
pub use cow::CowDisk;
pub use disk::{Disk, DiskStats};
pub use hostblk::{DiskError, HostDisk};
pub use hoststream::StreamFile;
pub use kmsg::KernelLog;
pub use ramdisk::RamDisk;
pub use registry::{BlockRegistry, CharDev, CharRegistry};
