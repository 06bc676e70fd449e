//! The control memfd: K pages and S regions of all spaces, mapped whole into the kernel.
//!
//! Nothing here hands out a reference to bytes that a guest may write: words are atomics, the rest
//! is copied.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use base::{Errno, Rank, Result, SpinLock, err};

use super::layout::{
    ANSWERS, K_BASE, K_LEN, K_SIZE, Operation, REGIONS, S_BASE, S_LEN, S_SIZE, SLOT, SLOTS, k,
};
use crate::machine::Answers;
use crate::ptrace::control::memfd;
use crate::sys::{check, last_error};

const BYTES: usize = SLOTS as usize * SLOT;

/// All slots.
#[derive(Debug)]
pub(super) struct ControlArea {
    fd: OwnedFd,
    base: *mut u8,
    slots: SpinLock<Slots>,
}

#[derive(Debug)]
struct Slots {
    free: Vec<u32>,
    next: u32,
    /// Whether number 0 is free. Only a zygote that is executed, not cloned, has that one.
    first: bool,
}

// SAFETY: the mapping lives as long as the value, and every access to it is an atomic operation or
// a copy through a raw pointer.
unsafe impl Send for ControlArea {}
// SAFETY: as above.
unsafe impl Sync for ControlArea {}

impl ControlArea {
    pub(super) fn new() -> Result<ControlArea> {
        let fd = memfd(c"umbra-control", libc::MFD_CLOEXEC)?;
        // SAFETY: no pointers.
        check(unsafe { libc::ftruncate(fd.as_raw_fd(), BYTES as i64) }.into())?;
        // SAFETY: a new shared mapping at an address of the host's choice.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                BYTES,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_NORESERVE,
                fd.as_raw_fd(),
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(last_error());
        }
        let slots = SpinLock::new(Rank::Leaf, Slots { free: Vec::new(), next: 1, first: true });
        Ok(ControlArea { fd, base: base.cast(), slots })
    }

    pub(super) fn fd(&self) -> i32 {
        self.fd.as_raw_fd()
    }

    /// The first slot; EAGAIN if it is taken.
    pub(super) fn take_first(self: &Arc<Self>) -> Result<Slot> {
        if !std::mem::take(&mut self.slots.lock().first) {
            return err(Errno::EAGAIN);
        }
        Ok(Slot { area: self.clone(), index: 0 })
    }

    /// A slot of zeros for a new space; EAGAIN if all are taken.
    pub(super) fn take(self: &Arc<Self>) -> Result<Slot> {
        let mut s = self.slots.lock();
        let index = match s.free.pop() {
            Some(i) => i,
            None if s.next < SLOTS => {
                s.next += 1;
                s.next - 1
            }
            None => return err(Errno::EAGAIN),
        };
        Ok(Slot { area: self.clone(), index })
    }
}

impl Drop for ControlArea {
    fn drop(&mut self) {
        // SAFETY: unmaps exactly what `new` mapped; slots keep `self` alive.
        unsafe {
            libc::munmap(self.base.cast(), BYTES);
        }
    }
}

/// The pages of one space.
#[derive(Debug)]
pub(super) struct Slot {
    area: Arc<ControlArea>,
    index: u32,
}

impl Slot {
    /// Its offset in the memfd.
    pub(super) fn offset(&self) -> u64 {
        u64::from(self.index) * SLOT as u64
    }

    /// Whether nobody has touched the S regions from number `region` on, from byte `skip` of it: not
    /// even by reading, which makes the host take a page.
    pub(super) fn untouched(&self, region: usize, skip: usize, end: usize) -> bool {
        let s = self.offset() + K_LEN as u64;
        let (from, to) = (s + (region * S_SIZE + skip) as u64, s + (end * S_SIZE) as u64);
        // SAFETY: no pointers. Nobody uses the position of this descriptor.
        let data = unsafe { libc::lseek(self.area.fd(), from.cast_signed(), libc::SEEK_DATA) };
        data < 0 || data.cast_unsigned() >= to
    }

    /// The region whose K page `word` lies in, if it is one of this space's.
    pub(super) fn region_of(&self, word: *const u32) -> Option<Region> {
        let at = word.addr().checked_sub(self.area.base.addr() + self.index as usize * SLOT)?;
        (at < K_LEN).then(|| self.region(at / K_SIZE))
    }

    /// The shared pages of number `region`.
    pub(super) fn region(&self, region: usize) -> Region {
        assert!(region < REGIONS);
        let slot = self.index as usize * SLOT;
        // SAFETY: slot and region lie inside the mapping.
        let (k, s) = unsafe {
            (
                self.area.base.add(slot + region * K_SIZE),
                self.area.base.add(slot + K_LEN + region * S_SIZE),
            )
        };
        Region { _area: self.area.clone(), k, s, number: region as u32 }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let at = self.index as usize * SLOT;
        // SAFETY: MADV_REMOVE on a part of our own shared mapping frees its pages: nothing of a guest
        // is left for the next one.
        let r = unsafe {
            libc::madvise(self.area.base.add(at).cast(), K_LEN + S_LEN, libc::MADV_REMOVE)
        };
        if r != 0 {
            return;
        }
        let mut slots = self.area.slots.lock();
        match self.index {
            0 => slots.first = true,
            index => slots.free.push(index),
        }
    }
}

/// One K page and one S region.
#[derive(Debug, Clone)]
pub(super) struct Region {
    _area: Arc<ControlArea>,
    k: *mut u8,
    s: *mut u8,
    number: u32,
}

// SAFETY: the area lives as long as the value, and accesses are atomic or raw copies.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Region {
    /// Where the stub has its S region.
    pub(super) fn s_address(&self) -> u64 {
        S_BASE + u64::from(self.number) * S_SIZE as u64
    }

    /// Where the stub has its K page.
    pub(super) fn k_address(&self) -> u64 {
        K_BASE + u64::from(self.number) * K_SIZE as u64
    }

    /// Forgets what the thread before has been answered.
    pub(super) fn forget_answers(&self) {
        for nr in 0..ANSWERS {
            let word = self.k64(k::ANSWERS + nr * 8);
            // A page that nobody has touched stays so.
            if word.load(Ordering::Relaxed) != 0 {
                word.store(0, Ordering::Relaxed);
            }
        }
    }

    /// A word of the K page.
    #[inline]
    pub(super) fn k32(&self, offset: usize) -> &AtomicU32 {
        assert!(offset.is_multiple_of(4) && offset + 4 <= K_SIZE);
        // SAFETY: inside the page, aligned, and an atomic tolerates other readers and writers.
        unsafe { AtomicU32::from_ptr(self.k.add(offset).cast()) }
    }
    /// A double word of the K page.
    #[inline]
    pub(super) fn k64(&self, offset: usize) -> &AtomicU64 {
        assert!(offset.is_multiple_of(8) && offset + 8 <= K_SIZE);
        // SAFETY: as in `k32`.
        unsafe { AtomicU64::from_ptr(self.k.add(offset).cast()) }
    }
    /// A word of the S region.
    #[inline]
    pub(super) fn s32(&self, offset: usize) -> &AtomicU32 {
        assert!(offset.is_multiple_of(4) && offset + 4 <= S_SIZE);
        // SAFETY: as in `k32`.
        unsafe { AtomicU32::from_ptr(self.s.add(offset).cast()) }
    }
    /// A double word of the S region.
    #[inline]
    pub(super) fn s64(&self, offset: usize) -> &AtomicU64 {
        assert!(offset.is_multiple_of(8) && offset + 8 <= S_SIZE);
        // SAFETY: as in `k32`.
        unsafe { AtomicU64::from_ptr(self.s.add(offset).cast()) }
    }
    /// Copies out of the S region. A guest may be writing it.
    pub(super) fn s_read(&self, offset: usize, buf: &mut [u8]) {
        assert!(offset <= S_SIZE && buf.len() <= S_SIZE - offset);
        // SAFETY: the range lies inside the region, and the buffer is ours.
        unsafe { std::ptr::copy_nonoverlapping(self.s.add(offset), buf.as_mut_ptr(), buf.len()) }
    }
    /// Copies into the S region.
    pub(super) fn s_write(&self, offset: usize, data: &[u8]) {
        assert!(offset <= S_SIZE && data.len() <= S_SIZE - offset);
        // SAFETY: as in `s_read`.
        unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), self.s.add(offset), data.len()) }
    }
    /// Zeroes a part of the S region.
    pub(super) fn s_clear(&self, offset: usize, len: usize) {
        assert!(offset <= S_SIZE && len <= S_SIZE - offset);
        // SAFETY: as in `s_read`.
        unsafe { std::ptr::write_bytes(self.s.add(offset), 0, len) }
    }
    /// Zeroes a part of the K page.
    pub(super) fn k_clear(&self, from: usize, to: usize) {
        assert!(from <= to && to <= K_SIZE);
        // SAFETY: inside the page, which only the kernel writes.
        unsafe { std::ptr::write_bytes(self.k.add(from), 0, to - from) }
    }
    /// Writes operation `index` of the next batch.
    #[inline]
    pub(super) fn put(&self, index: usize, op: Operation) {
        assert!(index < crate::space::MAX_BATCH);
        let to = super::layout::k::OPERATIONS + index * size_of::<Operation>();
        // SAFETY: inside the page (see `layout`), aligned to 8, and only the kernel writes it.
        unsafe { self.k.add(to).cast::<Operation>().write_volatile(op) }
    }
}

impl Answers for Region {
    fn set(&self, nr: u32, value: Option<u32>) {
        if (nr as usize) < ANSWERS {
            let word = value.map_or(0, |v| u64::from(v) + 1);
            self.k64(k::ANSWERS + nr as usize * 8).store(word, Ordering::Relaxed);
        }
    }
}
