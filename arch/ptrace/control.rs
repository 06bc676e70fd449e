//! Request pages: one page of a memfd for each stub. The kernel has them mapped read-write; the
//! stub maps its own one through a descriptor that is open for reading only.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;

use base::{Errno, PAGE_SIZE, Rank, Result, SpinLock, err};

use crate::stub::{COUNT, MAX_REQUESTS, Request};
use crate::sys::{check, last_error};

/// Most stubs at a time. The memfd is sparse: unused pages cost nothing.
const SLOTS: u32 = 32768;

/// A memfd.
pub(crate) fn memfd(name: &std::ffi::CStr, flags: u32) -> Result<OwnedFd> {
    // SAFETY: a nul-terminated name.
    let fd = check(unsafe { libc::memfd_create(name.as_ptr(), flags) }.into())?;
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// All request pages.
#[derive(Debug)]
pub(super) struct ControlPages {
    /// What stubs map from: read-only if the host has /proc.
    stub_fd: OwnedFd,
    base: *mut u8,
    slots: SpinLock<Slots>,
}

#[derive(Debug)]
struct Slots {
    free: Vec<u32>,
    next: u32,
}

// SAFETY: the mapping lives as long as the value, and each page of it is written only through the
// one `RequestPage` that owns its slot.
unsafe impl Send for ControlPages {}
// SAFETY: as above.
unsafe impl Sync for ControlPages {}

impl ControlPages {
    pub(super) fn new() -> Result<ControlPages> {
        let fd = memfd(c"umbra-requests", libc::MFD_CLOEXEC)?;
        let len = SLOTS as usize * PAGE_SIZE;
        // SAFETY: no pointers.
        check(unsafe { libc::ftruncate(fd.as_raw_fd(), len as i64) }.into())?;
        // SAFETY: a new shared mapping at an address of the host's choice.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_NORESERVE,
                fd.as_raw_fd(),
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(last_error());
        }
        // Opened for reading only, so that no mprotect could ever make a stub's page writable.
        let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
        let stub_fd = std::fs::File::open(path).map_or(fd, OwnedFd::from);
        let slots = SpinLock::new(Rank::Leaf, Slots { free: Vec::new(), next: 0 });
        Ok(ControlPages { stub_fd, base: base.cast(), slots })
    }

    pub(super) fn stub_fd(&self) -> i32 {
        self.stub_fd.as_raw_fd()
    }

    /// A page for a new stub; EAGAIN if all are taken.
    pub(super) fn take(self: &Arc<Self>) -> Result<RequestPage> {
        let mut s = self.slots.lock();
        let slot = match s.free.pop() {
            Some(slot) => slot,
            None if s.next < SLOTS => {
                s.next += 1;
                s.next - 1
            }
            None => return err(Errno::EAGAIN),
        };
        Ok(RequestPage { pages: self.clone(), slot })
    }
}

impl Drop for ControlPages {
    fn drop(&mut self) {
        // SAFETY: unmaps exactly what `new` mapped; request pages keep `self` alive.
        unsafe {
            libc::munmap(self.base.cast(), SLOTS as usize * PAGE_SIZE);
        }
    }
}

/// The page that one stub reads its requests from.
#[derive(Debug)]
pub(super) struct RequestPage {
    pages: Arc<ControlPages>,
    slot: u32,
}

impl RequestPage {
    /// Its offset in the memfd.
    pub(super) fn offset(&self) -> u64 {
        u64::from(self.slot) * PAGE_SIZE as u64
    }

    fn at(&self, offset: usize) -> *mut u8 {
        debug_assert!(offset < PAGE_SIZE);
        // SAFETY: the slot and the offset lie inside the mapping.
        unsafe { self.pages.base.add(self.slot as usize * PAGE_SIZE + offset) }
    }

    /// Writes request number `index` of the next batch.
    #[inline]
    pub(super) fn put(&mut self, index: usize, request: &Request) {
        assert!(index < MAX_REQUESTS);
        let to = self.at(index * size_of::<Request>()).cast::<Request>();
        // SAFETY: inside the page, 8-byte aligned, and nobody else writes it; the stub that reads
        // it is stopped.
        unsafe { to.write_volatile(*request) }
    }

    /// Writes how much the server shall do: so many requests, or `MAKE_GUEST`.
    #[inline]
    pub(super) fn set_count(&mut self, word: u64) {
        // SAFETY: as in `put`.
        unsafe { self.at(COUNT).cast::<u64>().write_volatile(word) }
    }
}

impl Drop for RequestPage {
    fn drop(&mut self) {
        self.pages.slots.lock().free.push(self.slot);
    }
}
