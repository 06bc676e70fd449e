//! What every part of the kernel shares and none may be without: error numbers, addresses, byte
//! streams, locks, sleeping and waking, credentials, limits, trace points. Imports nothing of ours.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

extern crate alloc;

pub mod addr;
pub mod cred;
pub mod errno;
pub mod iobuf;
pub mod limits;
pub mod lock;
pub mod time;
pub mod trace;
pub mod wait;

pub use addr::{PAGE_SHIFT, PAGE_SIZE, Pfn, PhysAddr, UserAddr};
pub use cred::{Cap, Cred};
pub use errno::{Errno, Error, Result, err};
pub use iobuf::{Sink, Source, UserMemory};
pub use linux_raw_sys as uapi;
pub use lock::{Mutex, Rank, SpinLock};
pub use time::{Instant, Timestamp};
pub use wait::{PollEvents, PollTable, Sleep, WaitQueue, Wake};
