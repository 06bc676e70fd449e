//! Devices: disks, terminals, memory devices, network cards. Host endpoints come from arch.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod block;
pub mod chardev;
pub mod tty;

pub use block::BlockDevice;
pub use chardev::{CharDriver, CharFile, DevNum, Opener};
