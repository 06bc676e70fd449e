//! Guest-physical memory: one sealed memfd, mapped whole into the kernel.
//!
//! Only frames that guests may see live here. Guest threads write them while we copy, so nothing
//! here ever hands out a `&[u8]`: there are only copies, and atomics for futexes.
//!
//! The host commits memory when it is touched, page by page, which costs more than what is then done with
//! the page. [`PhysMem::commit`] has it done in huge pages, at an eighth of that; and whoever maps pieces
//! of a huge page, a stub for instance, has less to pay for each page, too.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use base::{Errno, PAGE_SIZE, Pfn, PhysAddr, Result, err};
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::hosterr::host_error;
use crate::sys::last_error;

/// The guest's physical memory.
#[derive(Debug)]
pub struct PhysMem {
    fd: OwnedFd,
    base: *mut u8,
    len: usize,
    /// The host makes no huge pages of ours.
    plain: AtomicBool,
}

/// Frames of a huge page of the host, 2 MiB.
pub const HUGE_PAGES: u32 = 512;
const HUGE: usize = HUGE_PAGES as usize * PAGE_SIZE;
/// madvise(2), since Linux 6.1, whatever /sys/kernel/mm/transparent_hugepage says.
const MADV_COLLAPSE: i32 = 25;

// SAFETY: the mapping lives as long as the value, and every access to it is a raw copy or an
// atomic operation; no Rust reference to its bytes exists.
unsafe impl Send for PhysMem {}
// SAFETY: as above.
unsafe impl Sync for PhysMem {}

impl PhysMem {
    /// `bytes` (rounded down to pages) of zeroed memory. The host commits a page when it is touched.
    ///
    /// # Errors
    /// EINVAL for less than a page or more than 2^32 pages; ENOMEM and others from the host.
    pub fn new(bytes: u64) -> Result<PhysMem> {
        let len = bytes as usize & !(PAGE_SIZE - 1);
        if len == 0 || len as u64 / PAGE_SIZE as u64 > u64::from(u32::MAX) {
            return err(Errno::EINVAL);
        }
        let fd = memfd_create("umbra-ram", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)
            .map_err(|e| host_error(e))?;
        nix::unistd::ftruncate(&fd, len as i64).map_err(|e| host_error(e))?;
        fcntl(&fd, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW))
            .map_err(|e| host_error(e))?;
        let base = map_aligned(&fd, len)?;
        Ok(PhysMem { fd, base, len, plain: AtomicBool::new(false) })
    }

    /// Has the host provide the memory of frames that are about to be used for the first time, in huge
    /// pages if it can. Changes nothing that can be seen. Whole huge pages inside the range only.
    pub fn commit(&self, first: Pfn, pages: u32) {
        let start = (first.addr().0 as usize).next_multiple_of(HUGE);
        let end = (first.0.saturating_add(pages) as usize * PAGE_SIZE).min(self.len) & !(HUGE - 1);
        if start >= end || self.plain.load(Ordering::Relaxed) {
            return;
        }
        for at in (start..end).step_by(HUGE) {
            // What is not there at all cannot be collapsed.
            let p = self.span(PhysAddr(at as u64), 1);
            // SAFETY: the range was checked; a byte that somebody writes meanwhile is of no interest.
            unsafe { p.read_volatile() };
        }
        let p = self.span(PhysAddr(start as u64), end - start);
        // SAFETY: changes only how the host keeps the contents of our own mapping.
        let r = unsafe { libc::madvise(p.cast(), end - start, MADV_COLLAPSE) };
        if r != 0 {
            // No such host, or none of its memory is in one piece: it will not get better soon.
            log::debug!("no huge pages: {}", last_error());
            self.plain.store(true, Ordering::Relaxed);
        }
    }

    /// How many frames there are.
    pub fn pages(&self) -> u32 {
        (self.len / PAGE_SIZE) as u32
    }

    /// The memfd, for stubs to map.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The kernel's address of a range, for host calls that fill or read it.
    ///
    /// # Panics
    /// If the range lies outside of memory.
    #[inline]
    pub(crate) fn span(&self, at: PhysAddr, len: usize) -> *mut u8 {
        assert!(
            at.0 <= self.len as u64 && len <= self.len - at.0 as usize,
            "guest-physical range {at:?}+{len:#x} lies outside of memory"
        );
        // SAFETY: the range was just checked to lie inside the mapping.
        unsafe { self.base.add(at.0 as usize) }
    }

    /// Copies out. Bytes that a guest is writing at the same time may be old or new.
    #[inline]
    pub fn read(&self, from: PhysAddr, buf: &mut [u8]) {
        let p = self.span(from, buf.len());
        // SAFETY: both ranges are valid for their length and cannot overlap (guest memory is not
        // reachable through Rust references).
        unsafe { std::ptr::copy_nonoverlapping(p, buf.as_mut_ptr(), buf.len()) }
    }

    /// Copies in.
    #[inline]
    pub fn write(&self, to: PhysAddr, data: &[u8]) {
        let p = self.span(to, data.len());
        // SAFETY: as in `read`.
        unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), p, data.len()) }
    }

    /// Copies inside guest memory; the ranges may overlap.
    #[inline]
    pub fn copy(&self, to: PhysAddr, from: PhysAddr, len: usize) {
        let (d, s) = (self.span(to, len), self.span(from, len));
        // SAFETY: both ranges were checked.
        unsafe { std::ptr::copy(s, d, len) }
    }

    /// Fills `pages` frames with zeros.
    pub fn zero(&self, at: Pfn, pages: u32) {
        self.zero_bytes(at.addr(), pages as usize * PAGE_SIZE);
    }

    /// Fills a range with zeros.
    pub fn zero_bytes(&self, at: PhysAddr, len: usize) {
        let p = self.span(at, len);
        // SAFETY: the range was checked.
        unsafe { std::ptr::write_bytes(p, 0, len) }
    }

    /// Whether two ranges hold the same bytes right now.
    pub fn same(&self, a: PhysAddr, b: PhysAddr, len: usize) -> bool {
        let (a, b) = (self.span(a, len), self.span(b, len));
        // SAFETY: both ranges were checked; memcmp reads bytes and makes no reference.
        unsafe { libc::memcmp(a.cast(), b.cast(), len) == 0 }
    }

    /// The aligned 32-bit word at `at`, for futexes.
    ///
    /// # Panics
    /// If `at` is not a multiple of four.
    fn word(&self, at: PhysAddr) -> &AtomicU32 {
        assert!(at.0.is_multiple_of(4), "futex words are aligned");
        let p = self.span(at, 4);
        // SAFETY: aligned, inside the mapping, and an atomic tolerates concurrent writers.
        unsafe { AtomicU32::from_ptr(p.cast()) }
    }

    /// Loads a futex word.
    pub fn load_u32(&self, at: PhysAddr) -> u32 {
        self.word(at).load(Ordering::SeqCst)
    }

    /// Compares and swaps a futex word: Ok(old) if it was `old`, else Err(what it is).
    ///
    /// # Errors
    /// The value found, if it is not `old`.
    pub fn cas_u32(&self, at: PhysAddr, old: u32, new: u32) -> core::result::Result<u32, u32> {
        self.word(at).compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst)
    }

    /// The aligned 64-bit word at `at`, for pages that the kernel shares with guests.
    ///
    /// # Panics
    /// If `at` is not a multiple of eight.
    pub(crate) fn word64(&self, at: PhysAddr) -> &AtomicU64 {
        assert!(at.0.is_multiple_of(8), "shared words are aligned");
        let p = self.span(at, 8);
        // SAFETY: as in `word`.
        unsafe { AtomicU64::from_ptr(p.cast()) }
    }

    /// Gives the host its memory back; the frames read as zeros afterwards.
    pub fn discard(&self, at: Pfn, pages: u32) {
        let len = pages as usize * PAGE_SIZE;
        let p = self.span(at.addr(), len);
        // SAFETY: MADV_REMOVE on a range of our own shared mapping frees its pages.
        let r = unsafe { libc::madvise(p.cast(), len, libc::MADV_REMOVE) };
        if r != 0 {
            self.zero(at, pages);
        }
    }
}

/// Maps the memory so that huge pages can be mapped as such.
fn map_aligned(fd: &OwnedFd, len: usize) -> Result<*mut u8> {
    // SAFETY: a new mapping at an address of the host's choice, which holds nothing.
    let room = unsafe {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        libc::mmap(std::ptr::null_mut(), len + HUGE, libc::PROT_NONE, flags, -1, 0)
    };
    if room == libc::MAP_FAILED {
        return Err(last_error());
    }
    let skip = room.align_offset(HUGE);
    // SAFETY: replaces a part of the room that was just made; what is before and behind it goes.
    unsafe {
        let base = room.byte_add(skip);
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_SHARED | libc::MAP_NORESERVE | libc::MAP_FIXED;
        if libc::mmap(base, len, prot, flags, fd.as_raw_fd(), 0) == libc::MAP_FAILED {
            let e = last_error();
            libc::munmap(room, len + HUGE);
            return Err(e);
        }
        let end = base.byte_add(len);
        if skip > 0 {
            libc::munmap(room, skip);
        }
        if HUGE > skip {
            libc::munmap(end, HUGE - skip);
        }
        Ok(base.cast())
    }
}

impl Drop for PhysMem {
    fn drop(&mut self) {
        // SAFETY: unmaps exactly what `new` mapped; no reference to it outlives the value.
        unsafe {
            libc::munmap(self.base.cast(), self.len);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_is_committed_keeps_its_contents() {
        let phys = PhysMem::new(9 << 20).expect("memory");
        let pages = phys.pages();
        for p in (0..pages).step_by(100) {
            phys.write(Pfn(p).addr(), &p.to_le_bytes());
        }
        std::thread::scope(|s| {
            // Others go on writing meanwhile.
            s.spawn(|| {
                for n in 0..20_000u32 {
                    let at = Pfn(n % 62 * 37).addr().add(8);
                    assert!(phys.cas_u32(at, phys.load_u32(at), n).is_ok());
                }
            });
            // More than there is, and not in whole huge pages: what fits is done.
            phys.commit(Pfn(1), u32::MAX);
            phys.commit(Pfn(0), pages);
        });
        for p in 0..pages {
            let mut word = [0; 4];
            phys.read(Pfn(p).addr(), &mut word);
            assert_eq!(u32::from_le_bytes(word), if p % 100 == 0 { p } else { 0 }, "frame {p}");
        }
    }
}
