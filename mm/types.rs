//! The plain values of mm's interface: requests, flags, results and statistics.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use arch::Prot;
use base::UserAddr;
use bitflags::bitflags;

use crate::mappable::{Mappable, ObjectName};

bitflags! {
    /// How a range is mapped. The kernel decodes mmap(2)'s flags into these.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct MapFlags: u32 {
        /// At exactly this address; what was there is unmapped.
        const FIXED = 1;
        /// At exactly this address, EEXIST if something is there.
        const FIXED_NOREPLACE = 2;
        /// Writes go to the object and are seen by all who map it.
        const SHARED = 4;
        /// Not counted against the commit limit (in overcommit modes 0 and 1).
        const NORESERVE = 8;
        /// Grows down when the pages below are touched.
        const GROWSDOWN = 0x10;
        /// Fault all pages in at once.
        const POPULATE = 0x20;
        /// As after mlock(2).
        const LOCKED = 0x40;
        /// The main stack: named `[stack]`, grows down to `RLIMIT_STACK`.
        const STACK = 0x80;
        /// Below 2 GiB (`MAP_32BIT`).
        const LOW = 0x100;
    }
}

bitflags! {
    /// Flags of mremap(2), with its bits.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct RemapFlags: u32 {
        /// The mapping may move.
        const MAYMOVE = 1;
        /// It moves to exactly the new address.
        const FIXED = 2;
        /// The old range stays mapped, empty.
        const DONTUNMAP = 4;
    }
}

bitflags! {
    /// Flags of msync(2), with its bits.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct SyncFlags: u32 {
        /// Start writing.
        const ASYNC = 1;
        /// Drop other cached copies.
        const INVALIDATE = 2;
        /// Write and wait.
        const SYNC = 4;
    }
}

/// What [`crate::AddressSpace::map`] is asked for.
#[derive(Clone)]
pub struct MapRequest {
    /// Where: binding with FIXED, else a hint (null: anywhere).
    pub addr: UserAddr,
    /// Bytes; rounded up to pages.
    pub len: u64,
    /// Rights of the pages.
    pub prot: Prot,
    /// Rights that mprotect(2) may give later.
    pub max_prot: Prot,
    /// How.
    pub flags: MapFlags,
    /// The object and the byte offset in it (a multiple of the page size); None: anonymous memory.
    pub object: Option<(Arc<dyn Mappable>, u64)>,
    /// What /proc/PID/maps calls an anonymous range, for example `[vdso]`.
    pub name: Option<&'static str>,
}

impl MapRequest {
    /// A private anonymous mapping anywhere.
    pub fn anonymous(len: u64, prot: Prot) -> MapRequest {
        MapRequest {
            addr: UserAddr::NULL,
            len,
            prot,
            max_prot: Prot::all(),
            flags: MapFlags::empty(),
            object: None,
            name: None,
        }
    }
}

impl fmt::Debug for MapRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MapRequest")
            .field("addr", &self.addr)
            .field("len", &self.len)
            .field("prot", &self.prot)
            .field("flags", &self.flags)
            .field("offset", &self.object.as_ref().map(|o| o.1))
            .finish_non_exhaustive()
    }
}

/// What became of a page fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FaultResult {
    /// The instruction can be repeated.
    Resolved,
    /// SIGSEGV with this `si_code` (1 = SEGV_MAPERR, 2 = SEGV_ACCERR).
    Segv {
        /// `si_addr`.
        addr: UserAddr,
        /// `si_code`.
        code: i32,
    },
    /// SIGBUS with this `si_code` (2 = BUS_ADRERR).
    Bus {
        /// `si_addr`.
        addr: UserAddr,
        /// `si_code`.
        code: i32,
    },
    /// No memory is left; the out-of-memory handler has been called. Deliver signals, then let the
    /// instruction fault again.
    Oom,
    /// The host side of the space is dead: the process cannot go on.
    Killed,
}

/// The resource limits that memory heeds, in bytes (`u64::MAX`: none). `man 2 getrlimit`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MmLimits {
    /// `RLIMIT_AS`: all mappings.
    pub as_: u64,
    /// `RLIMIT_STACK`: the main stack.
    pub stack: u64,
    /// `RLIMIT_DATA`: private writable mappings and the heap.
    pub data: u64,
    /// `RLIMIT_MEMLOCK`; unlimited for the holder of CAP_IPC_LOCK.
    pub memlock: u64,
    /// `RLIMIT_FSIZE`; carried for the caller, mm does not look at it.
    pub fsize: u64,
}

impl Default for MmLimits {
    fn default() -> Self {
        MmLimits {
            as_: u64::MAX,
            stack: 8 << 20,
            data: u64::MAX,
            memlock: 8 << 20,
            fsize: u64::MAX,
        }
    }
}

/// Where exec put things: what /proc/PID/stat, cmdline, environ, auxv and exe show, and prctl(2)
/// PR_SET_MM changes.
#[derive(Clone, Default)]
#[allow(missing_docs)]
pub struct Layout {
    pub start_code: UserAddr,
    pub end_code: UserAddr,
    pub start_data: UserAddr,
    pub end_data: UserAddr,
    pub start_brk: UserAddr,
    pub brk: UserAddr,
    pub start_stack: UserAddr,
    pub arg_start: UserAddr,
    pub arg_end: UserAddr,
    pub env_start: UserAddr,
    pub env_end: UserAddr,
    /// The auxiliary vector as it lies on the stack.
    pub auxv: Vec<u8>,
    /// The executed file, of a type that the kernel knows.
    pub exe: Option<Arc<dyn Any + Send + Sync>>,
}

impl fmt::Debug for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Layout")
            .field("start_code", &self.start_code)
            .field("start_brk", &self.start_brk)
            .field("brk", &self.brk)
            .field("start_stack", &self.start_stack)
            .finish_non_exhaustive()
    }
}

/// One line of /proc/PID/maps, and what smaps adds.
#[derive(Clone, Debug)]
pub struct VmaInfo {
    /// First address.
    pub start: UserAddr,
    /// First address after it.
    pub end: UserAddr,
    /// Rights.
    pub prot: Prot,
    /// Rights it may get.
    pub max_prot: Prot,
    /// Whether it is MAP_SHARED.
    pub shared: bool,
    /// Byte offset in the object.
    pub offset: u64,
    /// The object's name, device and inode; path `[heap]`, `[stack]`, `[vdso]` or empty without one.
    pub name: ObjectName,
    /// Whether an object is mapped.
    pub file: bool,
    /// Locked in memory.
    pub locked: bool,
    /// Grows down.
    pub growsdown: bool,
    /// Not counted as committed.
    pub noreserve: bool,
    /// madvise(2) MADV_DONTFORK.
    pub dontfork: bool,
    /// madvise(2) MADV_WIPEONFORK.
    pub wipeonfork: bool,
    /// madvise(2) MADV_DONTDUMP.
    pub dontdump: bool,
    /// Resident pages; filled in by [`crate::AddressSpace::vmas_detailed`] only.
    pub rss: u64,
    /// Resident anonymous pages; as `rss`.
    pub anon: u64,
}

/// Sizes of an address space in pages: /proc/PID/statm and status.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Usage {
    /// All mappings (VmSize).
    pub vsize: u64,
    /// Resident (VmRSS) = anon + file + shmem.
    pub rss: u64,
    /// Resident anonymous pages.
    pub rss_anon: u64,
    /// Resident pages of files.
    pub rss_file: u64,
    /// Resident pages of shared memory.
    pub rss_shmem: u64,
    /// Private writable mappings without the stack (VmData).
    pub data: u64,
    /// The stack (VmStk).
    pub stack: u64,
    /// Executable file mappings (VmExe + VmLib).
    pub text: u64,
    /// Locked (VmLck).
    pub locked: u64,
    /// Always 0: there is no swap.
    pub swap: u64,
    /// Pages of page tables (VmPTE).
    pub page_tables: u64,
    /// Largest `vsize` so far (VmPeak).
    pub peak_vsize: u64,
    /// Largest `rss` so far (VmHWM).
    pub peak_rss: u64,
}

/// All of memory, in pages: /proc/meminfo.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MemStats {
    /// Frames there are.
    pub total: u64,
    /// Frames that nobody has.
    pub free: u64,
    /// Free and what reclaim could free without writing.
    pub available: u64,
    /// Pages of files and shared memory (Cached).
    pub cached: u64,
    /// Pages that differ from their file.
    pub dirty: u64,
    /// Pages being written.
    pub writeback: u64,
    /// Anonymous pages (AnonPages).
    pub anon: u64,
    /// File pages that are mapped (Mapped), counted once for each mapping.
    pub mapped: u64,
    /// Shared memory and tmpfs (Shmem); part of `cached`.
    pub shmem: u64,
    /// Frames given out for other purposes.
    pub kernel: u64,
    /// Software page tables, in pages of kernel (host) memory.
    pub page_tables: u64,
    /// Pages promised (Committed_AS).
    pub committed: u64,
    /// How many may be promised in mode 2 (CommitLimit).
    pub commit_limit: u64,
    /// Pages locked by mlock(2) (Mlocked).
    pub locked: u64,
}

/// The name of a futex. Two words are the same futex if their keys are equal.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum FutexKey {
    /// In private memory: the space and the address.
    Private {
        /// [`crate::AddressSpace::id`].
        space: u64,
        /// The address.
        addr: u64,
    },
    /// In shared memory: the object and the byte offset.
    Shared {
        /// [`crate::PageCache::id`].
        object: u64,
        /// Page in it.
        index: u64,
        /// Byte in the page.
        offset: u16,
    },
}

/// Ranges of user memory that a stream runs over, one after the other.
#[derive(Clone, Debug)]
pub enum IoVecs {
    /// One range; needs no allocation.
    One(UserAddr, usize),
    /// As readv(2) has it.
    Many(Vec<(UserAddr, usize)>),
}

impl From<(UserAddr, usize)> for IoVecs {
    fn from((addr, len): (UserAddr, usize)) -> IoVecs {
        IoVecs::One(addr, len)
    }
}
impl From<Vec<(UserAddr, usize)>> for IoVecs {
    fn from(v: Vec<(UserAddr, usize)>) -> IoVecs {
        IoVecs::Many(v)
    }
}
