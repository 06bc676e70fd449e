//! Memory: frames, address spaces, faults, the page cache, and access to user memory.
//!
//! See README.md in this folder for the course; the modules in reading order:
//!
//! | module | what |
//! |---|---|
//! | buddy, frame | free frames in runs; counted references |
//! | memory, reclaim | all of memory: promises, pressure, giving pages up |
//! | page_table, host_map | the truth about pages, and the host's mappings as a TLB of it |
//! | vma | ranges and what they map |
//! | space, mapping, advise, fork | address spaces and the system calls on them |
//! | fault, fault_object, cow, stack | page faults; copy-on-write; stacks that grow |
//! | patch, patch_map | text whose system call sites are jumps |
//! | hot | pages that are mapped before they are touched |
//! | uaccess | copying to and from user memory |
//! | page_cache, cache_io, cache_sync, rmap, shm | the pages of files and of shared memory |
#![forbid(unsafe_code)]
#![warn(missing_docs)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod advise;
mod buddy;
mod cache_io;
mod cache_sync;
mod cow;
mod fault;
mod fault_object;
mod fork;
mod frame;
mod host_map;
mod hot;
mod mappable;
mod mapping;
mod memory;
mod page_cache;
mod page_table;
mod patch;
mod patch_map;
mod reclaim;
mod rmap;
mod shm;
mod space;
mod stack;
mod types;
mod uaccess;
mod vma;

#[cfg(test)]
mod testing;

pub use frame::Frame;
pub use mappable::{Backing, Mappable, Named, ObjectName};
pub use memory::{Memory, Random};
pub use page_cache::PageCache;
pub use shm::{ZeroBacking, anonymous_shared};
pub use space::AddressSpace;
pub use types::{
    FaultResult, FutexKey, IoVecs, Layout, MapFlags, MapRequest, MemStats, MmLimits, RemapFlags,
    SyncFlags, Usage, VmaInfo,
};
pub use uaccess::{UserSink, UserSource};
