//! Descriptor tables: small integers to open files.
//!
//! A [`FdTable`] belongs to a process (or is shared by CLONE_FILES). Free numbers are found through a
//! bitmap; RLIMIT_NOFILE is the caller's and comes with each call that needs a new number. Lock: one spin lock of rank
//! `FdTable`; files are dropped (which may write to disks) only without it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base::limits::NR_OPEN;
use base::{Errno, Rank, Result, SpinLock, err};

use crate::file::File;

struct Slot {
    file: Arc<File>,
    cloexec: bool,
}

#[derive(Default)]
struct Slots {
    slots: Vec<Option<Slot>>,
    /// A set bit: the number is taken.
    used: Vec<u64>,
    /// No number below this one is free.
    lowest: usize,
}

impl Slots {
    fn free_from(&self, min: usize) -> usize {
        let from = min.max(self.lowest);
        let mut word = from / 64;
        let mut mask = !0u64 << (from % 64);
        while let Some(w) = self.used.get(word) {
            let free = !w & mask;
            if free != 0 {
                return word * 64 + free.trailing_zeros() as usize;
            }
            mask = !0;
            word += 1;
        }
        from.max(word * 64)
    }

    fn put(&mut self, fd: usize, slot: Slot) -> Option<Slot> {
        if fd >= self.slots.len() {
            self.slots.resize_with((fd + 1).next_power_of_two().max(16), || None);
            self.used.resize(self.slots.len().div_ceil(64), 0);
        }
        self.used[fd / 64] |= 1 << (fd % 64);
        if fd == self.lowest {
            self.lowest = fd + 1;
        }
        self.slots[fd].replace(slot)
    }

    fn take(&mut self, fd: usize) -> Option<Slot> {
        let slot = self.slots.get_mut(fd)?.take()?;
        self.used[fd / 64] &= !(1 << (fd % 64));
        self.lowest = self.lowest.min(fd);
        Some(slot)
    }

    fn get(&self, fd: i32) -> Result<&Slot> {
        match usize::try_from(fd).ok().and_then(|fd| self.slots.get(fd)) {
            Some(Some(s)) => Ok(s),
            _ => err(Errno::EBADF),
        }
    }
}

/// A table of descriptors.
pub struct FdTable {
    id: u64,
    slots: SpinLock<Slots>,
}

impl fmt::Debug for FdTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FdTable({})", self.id)
    }
}

impl Default for FdTable {
    fn default() -> Self {
        FdTable::with(Slots::default())
    }
}

impl FdTable {
    fn with(slots: Slots) -> FdTable {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        FdTable { id, slots: SpinLock::new(Rank::FdTable, slots) }
    }

    /// An empty table.
    pub fn new() -> Arc<FdTable> {
        Arc::new(FdTable::default())
    }

    /// A number that no other table has: the owner of POSIX locks.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The file behind a descriptor.
    ///
    /// # Errors
    /// EBADF.
    #[inline]
    pub fn get(&self, fd: i32) -> Result<Arc<File>> {
        self.slots.lock().get(fd).map(|s| s.file.clone())
    }

    /// As [`FdTable::get`], but O_PATH descriptors are EBADF: for what acts on the object.
    ///
    /// # Errors
    /// EBADF.
    #[inline]
    pub fn get_io(&self, fd: i32) -> Result<Arc<File>> {
        let f = self.get(fd)?;
        if f.flags().contains(crate::OpenFlags::PATH) {
            return err(Errno::EBADF);
        }
        Ok(f)
    }

    /// Gives `file` the lowest free number of at least `min`; `limit` is RLIMIT_NOFILE.
    ///
    /// # Errors
    /// EMFILE.
    pub fn install_from(
        &self,
        min: usize,
        file: Arc<File>,
        cloexec: bool,
        limit: u64,
    ) -> Result<i32> {
        let mut s = self.slots.lock();
        let fd = s.free_from(min);
        if fd as u64 >= limit.min(NR_OPEN) {
            drop(s); // `file` may be the last reference: not under the lock
            return err(Errno::EMFILE);
        }
        s.put(fd, Slot { file, cloexec });
        Ok(fd as i32)
    }

    /// Whether there is a free number now: for who must not begin what it cannot give a number to.
    ///
    /// # Errors
    /// EMFILE.
    pub fn check_room(&self, limit: u64) -> Result<()> {
        let full = self.slots.lock().free_from(0) as u64 >= limit.min(NR_OPEN);
        if full { err(Errno::EMFILE) } else { Ok(()) }
    }

    /// Gives `file` the lowest free number.
    ///
    /// # Errors
    /// EMFILE.
    pub fn install(&self, file: Arc<File>, cloexec: bool, limit: u64) -> Result<i32> {
        self.install_from(0, file, cloexec, limit)
    }

    /// F_DUPFD and F_DUPFD_CLOEXEC; dup(2) with `min` 0.
    ///
    /// # Errors
    /// EBADF; EMFILE; EINVAL if `min` is at or over the limit.
    pub fn dup(&self, fd: i32, min: u64, cloexec: bool, limit: u64) -> Result<i32> {
        let file = self.get(fd)?;
        if min >= limit {
            return err(Errno::EINVAL);
        }
        self.install_from(min as usize, file, cloexec, limit)
    }

    /// dup3(2): `new` becomes `old`; what was there is closed. For dup2(2) with equal numbers the
    /// caller only checks that it is open.
    ///
    /// # Errors
    /// EBADF if `old` is not open or `new` is out of range; EINVAL if they are equal.
    pub fn dup3(&self, old: i32, new: i32, cloexec: bool, limit: u64) -> Result<i32> {
        if old == new {
            return err(Errno::EINVAL);
        }
        let file = self.get(old)?;
        self.place(new, file, cloexec, limit)?;
        Ok(new)
    }

    /// Puts `file` at exactly this number (SCM_RIGHTS and boot do it); what was there is closed.
    ///
    /// # Errors
    /// EBADF if the number is out of range.
    pub fn place(&self, fd: i32, file: Arc<File>, cloexec: bool, limit: u64) -> Result<()> {
        let Some(n) = usize::try_from(fd).ok().filter(|n| (*n as u64) < limit.min(NR_OPEN)) else {
            return err(Errno::EBADF);
        };
        let old = self.slots.lock().put(n, Slot { file, cloexec });
        if let Some(old) = old {
            self.closed(old);
        }
        Ok(())
    }

    /// close(2): also releases the process's POSIX locks on the file.
    ///
    /// # Errors
    /// EBADF.
    pub fn close(&self, fd: i32) -> Result<()> {
        let n = usize::try_from(fd).unwrap_or(usize::MAX);
        let Some(slot) = self.slots.lock().take(n) else { return err(Errno::EBADF) };
        self.closed(slot);
        Ok(())
    }

    fn closed(&self, slot: Slot) {
        slot.file.close_one(self.id);
    }

    /// close_range(2) without CLOSE_RANGE_CLOEXEC: closes what is open in `first..=last`.
    pub fn close_range(&self, first: u32, last: u32) {
        let mut fd = first as usize;
        loop {
            let slot = {
                let mut s = self.slots.lock();
                let end = s.slots.len().min((last as usize).saturating_add(1));
                let Some(next) = (fd..end).find(|i| s.slots[*i].is_some()) else { return };
                fd = next + 1;
                s.take(next)
            };
            if let Some(slot) = slot {
                self.closed(slot);
            }
        }
    }

    /// close_range(2) with CLOSE_RANGE_CLOEXEC.
    pub fn cloexec_range(&self, first: u32, last: u32) {
        let mut s = self.slots.lock();
        let end = s.slots.len().min((last as usize).saturating_add(1));
        let Some(range) = s.slots.get_mut(first as usize..end) else { return };
        for slot in range.iter_mut().flatten() {
            slot.cloexec = true;
        }
    }

    /// F_GETFD: whether it is closed on exec.
    ///
    /// # Errors
    /// EBADF.
    pub fn cloexec(&self, fd: i32) -> Result<bool> {
        self.slots.lock().get(fd).map(|s| s.cloexec)
    }

    /// F_SETFD.
    ///
    /// # Errors
    /// EBADF.
    pub fn set_cloexec(&self, fd: i32, on: bool) -> Result<()> {
        let mut s = self.slots.lock();
        s.get(fd)?;
        if let Some(Some(slot)) = s.slots.get_mut(fd as usize) {
            slot.cloexec = on;
        }
        Ok(())
    }

    /// Closes what is to be closed on exec.
    pub fn close_on_exec(&self) {
        let gone: Vec<Slot> = {
            let mut s = self.slots.lock();
            let fds: Vec<usize> = (0..s.slots.len())
                .filter(|i| s.slots[*i].as_ref().is_some_and(|x| x.cloexec))
                .collect();
            fds.into_iter().filter_map(|fd| s.take(fd)).collect()
        };
        for slot in gone {
            self.closed(slot);
        }
    }

    /// Closes everything: exit(2).
    pub fn close_all(&self) {
        self.close_range(0, u32::MAX);
    }

    /// A copy for fork(2) without CLONE_FILES, unshare(2) and exec of a shared table.
    pub fn fork(&self) -> Arc<FdTable> {
        self.fork_below(u32::MAX)
    }

    /// A copy of the descriptors below `end` (CLOSE_RANGE_UNSHARE).
    pub fn fork_below(&self, end: u32) -> Arc<FdTable> {
        let s = self.slots.lock();
        let mut new = Slots::default();
        let last = s.slots.iter().rposition(Option::is_some).map_or(0, |i| i + 1);
        for (fd, slot) in s.slots.iter().take(last.min(end as usize)).enumerate() {
            if let Some(x) = slot {
                new.put(fd, Slot { file: x.file.clone(), cloexec: x.cloexec });
            }
        }
        new.lowest = new.free_from(0);
        Arc::new(FdTable::with(new))
    }

    /// The open descriptors, ascending.
    pub fn fds(&self) -> Vec<i32> {
        let s = self.slots.lock();
        (0..s.slots.len()).filter(|i| s.slots[*i].is_some()).map(|i| i as i32).collect()
    }

    /// How many numbers the table has room for (FDSize of /proc/PID/status).
    pub fn capacity(&self) -> usize {
        self.slots.lock().slots.len()
    }
}

impl Drop for FdTable {
    fn drop(&mut self) {
        self.close_all();
    }
}
