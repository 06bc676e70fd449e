//! Memory: frames, address spaces, faults, the page cache, and access to user memory.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod frame;
pub mod mappable;
pub mod memory;
pub mod page_cache;
pub mod shm;
pub mod space;
pub mod types;

pub use frame::Frame;
pub use mappable::{Backing, Mappable, Named, ObjectName};
pub use memory::Memory;
pub use page_cache::PageCache;
pub use shm::anonymous_shared;
pub use space::{AddressSpace, UserSink, UserSource};
pub use types::{
    FaultResult, FutexKey, IoVecs, Layout, MapFlags, MapRequest, MemStats, MmLimits, RemapFlags,
    SyncFlags, Usage, VmaInfo,
};
