//! mmap(2), munmap(2), mprotect(2), mremap(2), brk(2): changes of the VMAs.
//!
//! Rights are taken from the host at once (queued); rights that are added come by faults. Nothing
//! here touches a page that is not resident, so that a reservation of terabytes costs one VMA.

use std::sync::atomic::Ordering;

use arch::{HUGE_PAGES, Prot};
use base::addr::{USER_BOTTOM, USER_TOP};
use base::limits::MAX_VMAS;
use base::{Errno, PAGE_SHIFT, Result, UserAddr, err};

use crate::fork::{accounted, addr};
use crate::hot::Use;
use crate::page_table::Garbage;
use crate::patch_map::Remains;
use crate::shm::shared_mapping;
use crate::space::{AddressSpace, Inner, TOP_PAGE, is_data};
use crate::types::{MapFlags, MapRequest, RemapFlags};
use crate::vma::{Mapping, Vma, VmaFlags};

/// Lowest page of a mapping.
const BOTTOM: u64 = USER_BOTTOM >> PAGE_SHIFT;

/// Pages of a range given by a guest: EINVAL if it does not start at a page or wraps.
pub(crate) fn page_range(at: UserAddr, len: u64) -> Result<(u64, u64)> {
    if !at.is_page_aligned() {
        return err(Errno::EINVAL);
    }
    let end = at.0.checked_add(len).map(UserAddr).and_then(UserAddr::page_up);
    match end {
        Some(e) => Ok((at.vpn(), e.vpn())),
        None => err(Errno::EINVAL),
    }
}

impl Inner {
    /// Whether `pages` more may be mapped, of which `data` count for `RLIMIT_DATA`.
    pub(crate) fn check_limits(&self, pages: u64, data: u64) -> Result<()> {
        let bytes = (self.vmas.pages() + pages) << PAGE_SHIFT;
        let have: u64 = if data > 0 && self.limits.data != u64::MAX {
            self.vmas.iter().filter(|v| is_data(v)).map(Vma::pages).sum()
        } else {
            0
        };
        let data_full = data > 0 && (have + data) << PAGE_SHIFT > self.limits.data;
        if bytes > self.limits.as_ || data_full {
            return err(Errno::ENOMEM);
        }
        Ok(())
    }

    fn check_count(&self, more: usize) -> Result<()> {
        if self.vmas.len() + more > MAX_VMAS { err(Errno::ENOMEM) } else { Ok(()) }
    }

    /// Where a mapping of `n` pages without a fixed address goes. `room`: so many pages from its first
    /// one on should be free, if that can be had. `index`: the page of a file that it begins with.
    fn place(
        &mut self,
        hint: u64,
        (n, room): (u64, u64),
        index: Option<u64>,
        low: bool,
    ) -> Result<u64> {
        let top = if low { 0x8000_0000 >> PAGE_SHIFT } else { TOP_PAGE };
        let fits = |s: u64| s >= BOTTOM && s.checked_add(n).is_some_and(|e| e <= top);
        if hint != 0 && fits(hint) && self.vmas.is_free(hint, hint + n) {
            return Ok(hint);
        }
        let ceiling = if low { 0x8000_0000 >> PAGE_SHIFT } else { self.mmap_base };
        if room > n
            && let Some(start) = self.vmas.find_gap(room, BOTTOM, ceiling)
        {
            return Ok(start);
        }
        // Where huge pages of the host's fit in: as in Linux, files and what consists of whole ones.
        let huge = u64::from(HUGE_PAGES);
        if let Some(index) = index.or(n.is_multiple_of(huge).then_some(0))
            && n >= huge
            && let Some(start) = self.vmas.find_gap(n + huge - 1, BOTTOM, ceiling)
        {
            return Ok(start + (index.wrapping_sub(start) & (huge - 1)));
        }
        self.vmas
            .find_gap(n, BOTTOM, ceiling)
            .or_else(|| self.vmas.find_gap(n, BOTTOM, top))
            .ok_or_else(|| Errno::ENOMEM.into())
    }

    /// Takes `lo..hi` out of everything; the VMAs are for `finish` to drop.
    pub(crate) fn cut(
        &mut self,
        s: &AddressSpace,
        lo: u64,
        hi: u64,
        garbage: &mut Garbage,
    ) -> Vec<Vma> {
        self.peak_pages = self.peak_pages.max(self.vmas.pages());
        let gone = self.vmas.remove(lo, hi);
        if gone.is_empty() {
            return gone;
        }
        let locked: u64 =
            gone.iter().filter(|v| v.flags.contains(VmaFlags::LOCKED)).map(Vma::pages).sum();
        self.locked -= locked;
        s.memory.locked.fetch_sub(locked, Ordering::Relaxed);
        s.memory.uncharge(gone.iter().filter(|v| accounted(v)).map(Vma::pages).sum());
        self.drop_pages(s, lo, hi, garbage);
        gone
    }

    /// Empties `lo..hi` in the page table and the host.
    pub(crate) fn drop_pages(&mut self, s: &AddressSpace, lo: u64, hi: u64, out: &mut Garbage) {
        self.pt.clear_range(lo, hi, out);
        self.host.sync(&*s.space);
        if self.host.unmap(&*s.space, lo, hi) {
            self.queued = true;
        }
        self.cache.clear();
    }
}

impl AddressSpace {
    /// Maps a range. `man 2 mmap`.
    ///
    /// # Errors
    /// EINVAL (no length, misaligned, write access that `max_prot` forbids is EACCES), ENOMEM (no
    /// room, limits, promises), EEXIST (FIXED_NOREPLACE), EPERM (below `vm.mmap_min_addr`),
    /// EOVERFLOW (offset + length), EAGAIN (LOCKED and `RLIMIT_MEMLOCK`).
    pub fn map(&self, request: MapRequest) -> Result<UserAddr> {
        let MapRequest { addr: want, len, prot, max_prot, flags, object, name } = request;
        let n = base::addr::pages_for(len);
        if len == 0 {
            return err(Errno::EINVAL);
        }
        if len > USER_TOP {
            return err(Errno::ENOMEM);
        }
        if !max_prot.contains(prot) {
            return err(Errno::EACCES);
        }
        let fixed = flags.intersects(MapFlags::FIXED | MapFlags::FIXED_NOREPLACE);
        if fixed && !want.is_page_aligned() {
            return err(Errno::EINVAL);
        }
        let shared = flags.contains(MapFlags::SHARED);
        let noreserve = flags.contains(MapFlags::NORESERVE) && self.memory.overcommit() != 2;
        let (object, offset) = match object {
            Some((_, o)) if o & 0xfff != 0 => return err(Errno::EINVAL),
            Some((_, o)) if o.checked_add(n << PAGE_SHIFT).is_none() => {
                return err(Errno::EOVERFLOW);
            }
            Some((object, o)) => (Some(object), o >> PAGE_SHIFT),
            None if shared => {
                let cache = shared_mapping(&self.memory, n, noreserve)?;
                let name = crate::mappable::ObjectName {
                    path: b"/dev/zero (deleted)".to_vec(),
                    dev: 1,
                    ino: cache.id(),
                };
                (Some(crate::mappable::Named::new(cache, name)), 0)
            }
            None => (None, 0),
        };
        let mut vf = VmaFlags::empty();
        vf.set(VmaFlags::SHARED, shared);
        vf.set(VmaFlags::NORESERVE, noreserve);
        vf.set(VmaFlags::STACK, flags.contains(MapFlags::STACK));
        vf.set(VmaFlags::GROWSDOWN, flags.intersects(MapFlags::GROWSDOWN | MapFlags::STACK));
        vf.set(VmaFlags::ACCOUNT, !shared && prot.contains(Prot::WRITE) && !noreserve);

        let (patch, room) = self.patch_for(object.as_ref(), prot, flags, offset, n);
        let mut old = Remains::default();
        let _mmap = self.mmap.lock();
        let mut garbage = Garbage::default();
        let mut gone = Vec::new();
        let may_write = shared && max_prot.contains(Prot::WRITE);
        let mapping = object.map(|o| Mapping::new(o, self.id, self.me.clone(), may_write));
        if let (Some(m), true) = (&mapping, may_write) {
            m.cache().count_change();
        }
        let mut g = self.inner.lock();
        let lock = flags.contains(MapFlags::LOCKED) || g.lock_future;
        if lock && (g.locked + n) << PAGE_SHIFT > g.limits.memlock {
            drop(g); // before the object, which may go
            return err(Errno::EAGAIN);
        }
        vf.set(VmaFlags::LOCKED, lock);
        let mut v = Vma {
            start: 0,
            end: 0,
            prot,
            max_prot,
            flags: vf,
            mapping,
            pgoff: offset,
            name,
            next: 0,
            run: 0,
        };
        let placed = self.place_new(&mut g, want, (n, room), flags, &v);
        let start = match placed {
            Ok(s) => s,
            Err(e) => {
                drop(g);
                drop(v); // not under the lock: the object may go with it
                return Err(e);
            }
        };
        if fixed {
            gone = g.cut_replaced(self, (start, start + n), &mut garbage, &mut old);
        }
        (v.start, v.end) = (start, start + n);
        if v.mapping.is_none() {
            v.pgoff = 0;
        }
        let trampolines = match &patch {
            Some(p) if prot.contains(Prot::EXEC) && !prot.contains(Prot::WRITE) => {
                g.patch_text(self, (v.start, v.end, n), v.pgoff, p)
            }
            _ => None,
        };
        let trampolines = trampolines.and_then(|(text, trampolines)| {
            v.set_text(text);
            trampolines
        });
        let used = g.foresight.use_of(&v, fixed);
        v.run = g.foresight.first_run(&v, used);
        if v.mapping.is_some() && !shared {
            g.foresight.mapped(start);
        }
        g.vmas.insert(v);
        if let Some(t) = trampolines {
            g.foresight.mapped(t.start);
            g.vmas.insert(t);
        }
        if lock {
            g.locked += n;
            self.memory.locked.fetch_add(n, Ordering::Relaxed);
        }
        self.finish(g, garbage, gone);
        drop(_mmap);
        if (lock || flags.contains(MapFlags::POPULATE)) && !prot.is_empty() {
            let write = prot.contains(Prot::WRITE) && !shared;
            let _ = self.populate(start, start + n, write);
        } else {
            match used {
                Use::AtOnce => {
                    self.foresee_files(); // with the batch that is due anyway
                    self.foresee_use(start);
                }
                Use::Soon => self.foresee_later(start),
                Use::Unknown => {}
            }
        }
        Ok(addr(start))
    }

    /// Checks everything that can fail, chooses the place and charges the promise.
    fn place_new(
        &self,
        g: &mut Inner,
        want: UserAddr,
        (n, room): (u64, u64),
        flags: MapFlags,
        v: &Vma,
    ) -> Result<u64> {
        let fixed = flags.intersects(MapFlags::FIXED | MapFlags::FIXED_NOREPLACE);
        let mut replaced = 0;
        let start = if fixed {
            let (lo, hi) = (want.vpn(), want.vpn() + n);
            if hi > TOP_PAGE {
                return err(Errno::ENOMEM);
            }
            if lo < BOTTOM {
                return err(Errno::EPERM);
            }
            if flags.contains(MapFlags::FIXED_NOREPLACE) && g.vmas.range(lo, hi).next().is_some() {
                return err(Errno::EEXIST);
            }
            replaced = g.vmas.range(lo, hi).map(|x| x.end.min(hi) - x.start.max(lo)).sum();
            lo
        } else {
            let hint = want.page_up().unwrap_or_default().vpn();
            {
                let index = v.mapping.is_some().then_some(v.pgoff);
                g.place(hint, (n, room), index, flags.contains(MapFlags::LOW))?
            }
        };
        g.check_count(1 + g.vmas.splits(start, start + n))?;
        g.check_limits(n - replaced, if is_data(v) { n } else { 0 })?;
        if accounted(v) {
            self.memory.charge(n)?;
        }
        Ok(start)
    }

    /// Unmaps what is mapped in the range. `man 2 munmap`.
    ///
    /// # Errors
    /// EINVAL (no length, misaligned, outside of the address space), ENOMEM (too many VMAs).
    pub fn unmap(&self, at: UserAddr, len: u64) -> Result<()> {
        let (lo, hi) = page_range(at, len)?;
        if len == 0 || hi > TOP_PAGE {
            return err(Errno::EINVAL);
        }
        let mut old = Remains::default();
        let _mmap = self.mmap.lock();
        let mut g = self.inner.lock();
        g.check_count(g.vmas.splits(lo, hi).saturating_sub(1))?;
        let mut garbage = Garbage::default();
        g.park(self, lo, hi);
        let gone = if g.patches.is_empty() {
            g.cut(self, lo, hi, &mut garbage)
        } else {
            g.cut_patched(self, (lo, hi), &mut garbage, &mut old)
        };
        g.foresight.unmapped(&gone, garbage.pages);
        self.finish(g, garbage, gone);
        Ok(())
    }

    /// Changes the rights of a range. `man 2 mprotect`.
    ///
    /// # Errors
    /// EINVAL (misaligned), ENOMEM (a hole in the range, too many VMAs, promises), EACCES (more than
    /// `max_prot`).
    pub fn protect(&self, at: UserAddr, len: u64, prot: Prot) -> Result<()> {
        let (lo, hi) = page_range(at, len)?;
        if lo == hi {
            return Ok(());
        }
        let mut old = Remains::default();
        let mut garbage = Garbage::default();
        let _mmap = self.mmap.lock();
        let mut g = self.inner.lock();
        if hi > TOP_PAGE || !g.vmas.covers(lo, hi) {
            return err(Errno::ENOMEM);
        }
        let ours = |v: &Vma| v.flags.contains(VmaFlags::TRAMPOLINES);
        if g.vmas.range(lo, hi).any(|v| !v.max_prot.contains(prot) && !ours(v)) {
            return err(Errno::EACCES);
        }
        g.check_count(g.vmas.splits(lo, hi))?;
        // Private memory that becomes writable counts as promised from then on.
        let fresh = |v: &Vma| {
            prot.contains(Prot::WRITE)
                && !v.shared()
                && !v.flags.intersects(VmaFlags::ACCOUNT | VmaFlags::NORESERVE)
        };
        let inside = |v: &Vma| v.end.min(hi) - v.start.max(lo);
        let charge: u64 = g.vmas.range(lo, hi).filter(|v| fresh(v)).map(inside).sum();
        let no_data = |v: &&Vma| prot.contains(Prot::WRITE) && !is_data(v) && !v.shared();
        let data: u64 = g.vmas.range(lo, hi).filter(no_data).map(inside).sum();
        g.check_limits(0, data)?;
        self.memory.charge(charge)?;
        let plain = !g.patches.is_empty()
            && prot.contains(Prot::WRITE)
            && g.unpatch_range(self, (lo, hi), &mut garbage, &mut old);
        g.vmas.change(lo, hi, |v| {
            if ours(v) {
                return;
            }
            if fresh(v) {
                v.flags |= VmaFlags::ACCOUNT;
            }
            v.prot = prot;
        });
        g.cache.clear();
        g.host.sync(&*self.space);
        let changed = if prot.is_empty() {
            g.host.unmap(&*self.space, lo, hi)
        } else {
            g.host.protect(&*self.space, lo, hi, |old| old & prot_closure(prot))
        };
        if changed {
            g.queued = true;
            self.work.store(1, Ordering::Relaxed);
        }
        if plain {
            self.finish(g, garbage, Vec::new());
        }
        Ok(())
    }

    /// Resizes or moves a mapping. `man 2 mremap`.
    ///
    /// # Errors
    /// EINVAL (alignment, flags, overlap), EFAULT (not one mapping), ENOMEM (no room, limits),
    /// EAGAIN (locked).
    pub fn remap(
        &self,
        old: UserAddr,
        old_len: u64,
        new_len: u64,
        flags: RemapFlags,
        new_addr: UserAddr,
    ) -> Result<UserAddr> {
        let (lo, hi) = page_range(old, old_len)?;
        let n = base::addr::pages_for(new_len);
        let fixed = flags.contains(RemapFlags::FIXED);
        let keep = flags.contains(RemapFlags::DONTUNMAP);
        if n == 0
            || new_len > USER_TOP
            || flags.bits() & !7 != 0
            || ((fixed || keep) && !flags.contains(RemapFlags::MAYMOVE))
            || (keep && n != hi - lo)
        {
            return err(Errno::EINVAL);
        }
        let (to, to_end) = (new_addr.vpn(), new_addr.vpn().saturating_add(n));
        if fixed && (!new_addr.is_page_aligned() || to_end > TOP_PAGE || (to < hi && lo < to_end)) {
            return err(Errno::EINVAL);
        }
        let mut old_text = Remains::default();
        let mut garbage = Garbage::default();
        let _mmap = self.mmap.lock();
        let mut g = self.inner.lock();
        let Some(v) = g.vmas.find(lo) else { return err(Errno::EFAULT) };
        if v.flags.contains(VmaFlags::TRAMPOLINES) {
            return err(Errno::EFAULT);
        }
        if lo == hi && !v.shared() {
            return err(Errno::EINVAL); // only shared memory can be duplicated
        }
        if hi > v.end {
            return err(Errno::EFAULT);
        }
        let grow = n.saturating_sub(hi - lo);
        let (is_account, locked) = (accounted(v), v.flags.contains(VmaFlags::LOCKED));
        let (ends_vma, data) = (hi == v.end, is_data(v));
        let v_is_patched = v.text().is_some();
        if locked && (g.locked + grow) << PAGE_SHIFT > g.limits.memlock {
            return err(Errno::EAGAIN);
        }
        if !fixed && !keep && n <= hi - lo && lo != hi {
            let rest = (lo + n, hi);
            let gone = if rest.0 < hi {
                g.cut_patched(self, rest, &mut garbage, &mut old_text)
            } else {
                Vec::new()
            };
            self.finish(g, garbage, gone);
            return Ok(old);
        }
        g.check_limits(grow, if data { grow } else { 0 })?;
        if v_is_patched {
            g.unpatch_range(self, (lo, lo + 1), &mut garbage, &mut old_text);
        }
        if !fixed
            && !keep
            && ends_vma
            && lo != hi
            && lo + n <= TOP_PAGE
            && g.vmas.is_free(hi, lo + n)
        {
            if is_account {
                self.memory.charge(grow)?;
            }
            let mut gone = g.vmas.remove(hi - 1, hi);
            if let Some(last) = gone.pop() {
                g.vmas.insert(Vma { end: lo + n, ..last });
            }
            if locked {
                g.locked += grow;
                self.memory.locked.fetch_add(grow, Ordering::Relaxed);
            }
            return Ok(old);
        }
        if !flags.contains(RemapFlags::MAYMOVE) {
            return err(Errno::ENOMEM);
        }
        g.check_count(3)?;
        // Moving: charge for the new range; the old one is uncharged when it is cut.
        let start = if fixed { to } else { g.place(new_addr.vpn(), (n, n), None, false)? };
        if start < BOTTOM {
            return err(Errno::EINVAL);
        }
        if is_account {
            self.memory.charge(n)?;
        }
        let mut gone = Vec::new();
        if fixed {
            gone = g.cut_replaced(self, (start, start + n), &mut garbage, &mut old_text);
        }
        let Some(v) = g.vmas.find(lo).cloned() else { return err(Errno::EFAULT) };
        let moved = Vma {
            start,
            end: start + n,
            pgoff: if v.mapping.is_some() { v.index(lo) } else { 0 },
            next: 0,
            ..v
        };
        g.host.sync(&*self.space);
        if g.host.unmap(&*self.space, lo, hi) {
            g.queued = true;
            self.work.store(1, Ordering::Relaxed);
        }
        g.cache.clear();
        g.pt.move_range(lo, start, (hi - lo).min(n));
        if locked {
            g.locked += n;
            self.memory.locked.fetch_add(n, Ordering::Relaxed);
        }
        if !keep && lo != hi {
            gone.extend(g.cut(self, lo, hi, &mut garbage));
        }
        g.vmas.insert(moved);
        self.finish(g, garbage, gone);
        Ok(addr(start))
    }

    /// Says where the heap starts, with nothing in it yet. For exec.
    pub fn init_brk(&self, start: UserAddr) {
        let mut g = self.inner.lock();
        g.layout.start_brk = start;
        g.layout.brk = start;
    }

    /// Moves the end of the heap and returns where it is now: the old place if that could not be
    /// done. `man 2 brk`.
    pub fn set_brk(&self, new: UserAddr) -> UserAddr {
        let (start, old) = {
            let g = self.inner.lock();
            (g.layout.start_brk, g.layout.brk)
        };
        if new < start || new.0 >= USER_TOP {
            return old;
        }
        let page = |a: UserAddr| base::addr::pages_for(a.0);
        let (a, b) = (page(old), page(new));
        let done = if b < a {
            self.unmap(addr(b), (a - b) << PAGE_SHIFT)
        } else {
            self.grow_brk(a, b, new.0 - start.0)
        };
        if done.is_err() {
            return old;
        }
        self.inner.lock().layout.brk = new;
        if b > a {
            self.foresee_use(a);
        }
        new
    }

    fn grow_brk(&self, a: u64, b: u64, heap: u64) -> Result<()> {
        if a == b {
            return Ok(());
        }
        let _mmap = self.mmap.lock();
        let mut g = self.inner.lock();
        if heap > g.limits.data || !g.vmas.is_free(a, b) {
            return err(Errno::ENOMEM);
        }
        g.check_count(1)?;
        g.check_limits(b - a, b - a)?;
        if g.lock_future && (g.locked + b - a) << PAGE_SHIFT > g.limits.memlock {
            return err(Errno::EAGAIN);
        }
        self.memory.charge(b - a)?;
        let mut flags = VmaFlags::ACCOUNT | VmaFlags::HEAP;
        if g.lock_future {
            flags |= VmaFlags::LOCKED;
            g.locked += b - a;
            self.memory.locked.fetch_add(b - a, Ordering::Relaxed);
        }
        g.vmas.insert(Vma {
            start: a,
            end: b,
            prot: Prot::READ | Prot::WRITE,
            max_prot: Prot::all(),
            flags,
            mapping: None,
            pgoff: 0,
            name: None,
            next: 0,
            run: 0,
        });
        Ok(())
    }
}

/// `prot` with what it implies: who may write or execute may read, as on x86.
pub(crate) fn prot_closure(prot: Prot) -> Prot {
    if prot.is_empty() { prot } else { prot | Prot::READ }
}
