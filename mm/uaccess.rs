//! The kernel's access to user memory: through the software page table and the kernel's own mapping
//! of physical memory, never through the stub.
//!
//! A copy holds the space's spin lock, so that no page can go while it is used; pages that are not
//! there are faulted in between, without it. A small translation cache in front of the page table
//! makes copies of a few bytes cheap. Ranges are looked at late: a copy that meets a bad page after
//! some bytes reports the bytes.

use arch::Prot;
use base::addr::USER_TOP;
use base::{Errno, PAGE_SIZE, Pfn, PhysAddr, Result, Sink, Source, UserAddr, UserMemory, err};

use crate::fault::Access;
use crate::space::{AddressSpace, Inner};
use crate::types::{FutexKey, IoVecs};

/// Pages copied under one hold of the lock.
const HOLD: usize = 32;
const SLOTS: usize = 16;

/// Translations that were right when they were entered; emptied whenever one may have become wrong.
#[derive(Debug)]
pub(crate) struct TransCache {
    slots: [(u64, Pfn, bool); SLOTS],
    used: bool,
}

impl Default for TransCache {
    fn default() -> Self {
        TransCache { slots: [(u64::MAX, Pfn(0), false); SLOTS], used: false }
    }
}

impl TransCache {
    pub(crate) fn clear(&mut self) {
        if self.used {
            *self = TransCache::default();
        }
    }
    #[inline]
    fn get(&self, vpn: u64, write: bool) -> Option<Pfn> {
        let (v, pfn, w) = self.slots[vpn as usize % SLOTS];
        (v == vpn && (w || !write)).then_some(pfn)
    }
    fn put(&mut self, vpn: u64, pfn: Pfn, write: bool) {
        self.slots[vpn as usize % SLOTS] = (vpn, pfn, write);
        self.used = true;
    }
}

impl Inner {
    /// The frame behind a page, if it may be accessed as it is.
    #[inline]
    fn translate(&mut self, vpn: u64, write: bool) -> Option<Pfn> {
        if let Some(p) = self.cache.get(vpn, write) {
            return Some(p);
        }
        let v = self.vmas.find(vpn)?;
        let allowed = if write { v.prot.contains(Prot::WRITE) } else { !v.prot.is_empty() };
        if !allowed {
            return None;
        }
        let (pte, exclusive) = self.pt.get_exclusive(vpn);
        let writable = if v.shared() { pte.writable() } else { exclusive };
        if !pte.present() || (write && !writable) {
            return None;
        }
        let can_write = writable && v.prot.contains(Prot::WRITE);
        self.cache.put(vpn, pte.pfn(), can_write);
        Some(pte.pfn())
    }

    /// The frame behind a page for a debugger, whose rights the VMA does not limit.
    fn translate_forced(&mut self, vpn: u64, write: bool) -> Option<Pfn> {
        let v = self.vmas.find(vpn)?;
        let (pte, exclusive) = self.pt.get_exclusive(vpn);
        let writable = if v.shared() { pte.writable() } else { exclusive };
        (pte.present() && (!write || writable)).then(|| pte.pfn())
    }
}

impl AddressSpace {
    /// Calls `f(frame address, offset, bytes)` for the pieces of a range, in order, each contiguous
    /// in physical memory. Returns how many bytes it got through; an error only if none.
    #[inline]
    fn pieces(
        &self,
        at: UserAddr,
        len: usize,
        write: bool,
        force: bool,
        mut f: impl FnMut(PhysAddr, usize, usize),
    ) -> Result<usize> {
        if len == 0 {
            return Ok(0);
        }
        let mut done = 0;
        while done < len {
            let pos = at.0.wrapping_add(done as u64);
            let fits = at.0.checked_add(len as u64).is_some();
            if pos >= USER_TOP || !fits && pos < at.0 {
                return if done > 0 { Ok(done) } else { err(Errno::EFAULT) };
            }
            {
                let mut g = self.inner.lock();
                let mut piece: Option<(PhysAddr, usize, usize)> = None;
                for _ in 0..HOLD {
                    if done >= len {
                        break;
                    }
                    let pos = at.0 + done as u64;
                    let vpn = pos >> base::PAGE_SHIFT;
                    let pfn = if force {
                        g.translate_forced(vpn, write)
                    } else {
                        g.translate(vpn, write)
                    };
                    let Some(pfn) = pfn else { break };
                    let in_page = UserAddr(pos).page_offset();
                    let n = (PAGE_SIZE - in_page).min(len - done);
                    let phys = pfn.addr().add(in_page);
                    match &mut piece {
                        Some((p, _, l)) if p.add(*l) == phys => *l += n,
                        _ => {
                            if let Some((p, o, l)) = piece {
                                f(p, o, l);
                            }
                            piece = Some((phys, done, n));
                        }
                    }
                    done += n;
                }
                if let Some((p, o, l)) = piece {
                    f(p, o, l);
                    continue;
                }
            }
            let access = Access { user: false, force, later: true, ..Access::of_user(write) };
            let vpn = (at.0 + done as u64) >> base::PAGE_SHIFT;
            if let Err(e) = self.fault_in(vpn, access) {
                return if done > 0 { Ok(done) } else { Err(e.errno()) };
            }
        }
        Ok(done)
    }

    fn phys(&self) -> &arch::PhysMem {
        self.memory.machine().phys()
    }

    /// Copies out as much as can be had; at least one byte.
    fn copy_from(&self, at: UserAddr, buf: &mut [u8], force: bool) -> Result<usize> {
        let phys = self.phys();
        self.pieces(at, buf.len(), false, force, |p, o, n| phys.read(p, &mut buf[o..o + n]))
    }
    fn copy_to(&self, at: UserAddr, data: &[u8], force: bool) -> Result<usize> {
        let phys = self.phys();
        self.pieces(at, data.len(), true, force, |p, o, n| phys.write(p, &data[o..o + n]))
    }

    /// As `read`, for ptrace(2) and /proc/PID/mem: mappings without rights can be read too. Returns
    /// how many bytes could.
    ///
    /// # Errors
    /// EFAULT if not one byte could.
    pub fn read_forced(&self, from: UserAddr, buf: &mut [u8]) -> Result<usize> {
        self.copy_from(from, buf, true)
    }
    /// As `write`, for ptrace(2) and /proc/PID/mem: read-only private pages are copied and written.
    /// Returns how many bytes could.
    ///
    /// # Errors
    /// EFAULT if not one byte could.
    pub fn write_forced(&self, to: UserAddr, data: &[u8]) -> Result<usize> {
        self.copy_to(to, data, true)
    }

    /// A string that ends with a NUL, without it.
    ///
    /// # Errors
    /// EFAULT; ENAMETOOLONG if the first `max` bytes have no NUL.
    pub fn read_cstr(&self, at: UserAddr, max: usize) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        let mut buf = [0; 256];
        while out.len() < max {
            let pos = at.add(out.len() as u64)?;
            // Not beyond the page: what follows the NUL may not be there.
            let n = (PAGE_SIZE - pos.page_offset()).min(max - out.len()).min(buf.len());
            let n = self.copy_from(pos, &mut buf[..n], false)?;
            if let Some(end) = buf[..n].iter().position(|b| *b == 0) {
                out.extend_from_slice(&buf[..end]);
                return Ok(out);
            }
            out.extend_from_slice(&buf[..n]);
        }
        err(Errno::ENAMETOOLONG)
    }

    /// The name of the futex at `at`. `shared`: without FUTEX_PRIVATE_FLAG, so that a word in a
    /// shared mapping is known by its object. `man 2 futex`.
    ///
    /// # Errors
    /// EINVAL if `at` is not a multiple of four, EFAULT if nothing readable is mapped there.
    pub fn futex_key(&self, at: UserAddr, shared: bool) -> Result<FutexKey> {
        if !at.0.is_multiple_of(4) {
            return err(Errno::EINVAL);
        }
        let private = FutexKey::Private { space: self.id, addr: at.0 };
        if !shared {
            return if at.0 < USER_TOP { Ok(private) } else { err(Errno::EFAULT) };
        }
        let g = self.inner.lock();
        match g.vmas.find(at.vpn()) {
            Some(v) if v.prot.is_empty() => err(Errno::EFAULT),
            Some(v) => Ok(match &v.mapping {
                Some(m) if v.shared() => FutexKey::Shared {
                    object: m.cache().id(),
                    index: v.index(at.vpn()),
                    offset: at.page_offset() as u16,
                },
                _ => private,
            }),
            None => err(Errno::EFAULT),
        }
    }

    /// Loads an aligned word.
    ///
    /// # Errors
    /// EINVAL if it is not aligned, EFAULT.
    pub fn load_u32(&self, at: UserAddr) -> Result<u32> {
        let mut v = 0;
        self.word(at, false, |phys, p| v = phys.load_u32(p))?;
        Ok(v)
    }

    /// Stores `new` in an aligned word if it holds `old`; returns what it held.
    ///
    /// # Errors
    /// EINVAL if it is not aligned, EFAULT.
    pub fn cas_u32(&self, at: UserAddr, old: u32, new: u32) -> Result<u32> {
        let mut v = 0;
        self.word(at, true, |phys, p| {
            v = match phys.cas_u32(p, old, new) {
                Ok(x) | Err(x) => x,
            }
        })?;
        Ok(v)
    }

    fn word(
        &self,
        at: UserAddr,
        write: bool,
        mut f: impl FnMut(&arch::PhysMem, PhysAddr),
    ) -> Result<()> {
        if !at.0.is_multiple_of(4) {
            return err(Errno::EINVAL);
        }
        let phys = self.phys();
        self.pieces(at, 4, write, false, |p, _, _| f(phys, p)).map(|_| ())
    }

    /// A stream into these ranges.
    pub fn sink(&self, iov: impl Into<IoVecs>) -> UserSink<'_> {
        UserSink { space: self, iov: Cursor::new(iov.into()) }
    }
    /// A stream out of these ranges.
    pub fn source(&self, iov: impl Into<IoVecs>) -> UserSource<'_> {
        UserSource { space: self, iov: Cursor::new(iov.into()) }
    }
}

impl UserMemory for AddressSpace {
    fn read(&self, from: UserAddr, buf: &mut [u8]) -> Result<()> {
        if self.copy_from(from, buf, false)? < buf.len() { err(Errno::EFAULT) } else { Ok(()) }
    }
    fn write(&self, to: UserAddr, data: &[u8]) -> Result<()> {
        if self.copy_to(to, data, false)? < data.len() { err(Errno::EFAULT) } else { Ok(()) }
    }
}

/// A position in ranges of user memory.
#[derive(Debug)]
struct Cursor {
    iov: IoVecs,
    /// Which range, and how far into it.
    at: usize,
    off: usize,
    left: usize,
}

impl Cursor {
    fn new(iov: IoVecs) -> Cursor {
        let left = match &iov {
            IoVecs::One(_, n) => *n,
            IoVecs::Many(v) => v.iter().fold(0, |a: usize, x| a.saturating_add(x.1)),
        };
        Cursor { iov, at: 0, off: 0, left }
    }
    /// The rest of the present range, at most `max` bytes. Not empty unless nothing is left.
    fn next(&mut self, max: usize) -> (UserAddr, usize) {
        let (addr, len) = match &self.iov {
            IoVecs::One(a, n) => (*a, *n),
            IoVecs::Many(v) => {
                while self.at < v.len() && self.off >= v[self.at].1 {
                    self.at += 1;
                    self.off = 0;
                }
                v.get(self.at).copied().unwrap_or_default()
            }
        };
        // A range that wraps ends in an address that is no user address.
        (UserAddr(addr.0.saturating_add(self.off as u64)), (len - self.off.min(len)).min(max))
    }
    fn advance(&mut self, n: usize) {
        self.off += n;
        self.left -= n;
    }
    /// Runs `f(address, bytes, done before)` over the next `len` bytes.
    fn run(
        &mut self,
        len: usize,
        mut f: impl FnMut(UserAddr, usize, usize) -> Result<usize>,
    ) -> Result<usize> {
        let len = len.min(self.left);
        let mut done = 0;
        while done < len {
            let (at, n) = self.next(len - done);
            match f(at, n, done) {
                Ok(got) => {
                    self.advance(got);
                    done += got;
                    if got < n {
                        break;
                    }
                }
                Err(e) if done == 0 => return Err(e),
                Err(_) => break,
            }
        }
        Ok(done)
    }
}

/// Stores a stream in ranges of user memory.
#[derive(Debug)]
pub struct UserSink<'a> {
    space: &'a AddressSpace,
    iov: Cursor,
}

impl Sink for UserSink<'_> {
    fn remaining(&self) -> usize {
        self.iov.left
    }
    fn write(&mut self, data: &[u8]) -> Result<usize> {
        let s = self.space;
        self.iov.run(data.len(), |at, n, done| s.copy_to(at, &data[done..done + n], false))
    }
    fn write_phys(&mut self, from: PhysAddr, len: usize) -> Option<Result<usize>> {
        let s = self.space;
        let phys = s.phys();
        Some(self.iov.run(len, |at, n, done| {
            s.pieces(at, n, true, false, |p, o, l| phys.copy(p, from.add(done + o), l))
        }))
    }
    fn write_zeros(&mut self, len: usize) -> Result<usize> {
        let s = self.space;
        let phys = s.phys();
        self.iov.run(len, |at, n, _| s.pieces(at, n, true, false, |p, _, l| phys.zero_bytes(p, l)))
    }
}

/// Fetches a stream from ranges of user memory.
#[derive(Debug)]
pub struct UserSource<'a> {
    space: &'a AddressSpace,
    iov: Cursor,
}

impl Source for UserSource<'_> {
    fn remaining(&self) -> usize {
        self.iov.left
    }
    fn read(&mut self, buf: &mut [u8]) -> Result<usize> {
        let s = self.space;
        self.iov.run(buf.len(), |at, n, done| s.copy_from(at, &mut buf[done..done + n], false))
    }
    fn read_phys(&mut self, to: PhysAddr, len: usize) -> Option<Result<usize>> {
        let s = self.space;
        let phys = s.phys();
        Some(self.iov.run(len, |at, n, done| {
            s.pieces(at, n, false, false, |p, o, l| phys.copy(to.add(done + o), p, l))
        }))
    }
}
