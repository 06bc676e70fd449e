//! Memory: frames, address spaces, faults, the page cache, and access to user memory.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod mappable;

pub use mappable::{Backing, Mappable};
