//! Memory mapping. `man 2 mmap` and its neighbours.

use arch::Prot;
use base::{Errno, PAGE_SIZE, Result, UserAddr, UserMemory, err};
use mm::{MapFlags, MapRequest, RemapFlags, SyncFlags};

use super::{Ctx, Fd, SysResult};

const PAGE: u64 = PAGE_SIZE as u64;

const PRIVATE: u32 = 2;
const SHARED_VALIDATE: u32 = 3;
const FIXED: u32 = 0x10;
const ANONYMOUS: u32 = 0x20;
const MAP_32BIT: u32 = 0x40;
const GROWSDOWN: u32 = 0x100;
const LOCKED: u32 = 0x2000;
const NORESERVE: u32 = 0x4000;
const POPULATE: u32 = 0x8000;
const STACK: u32 = 0x2_0000;
const HUGETLB: u32 = 0x4_0000;
const SYNC: u32 = 0x8_0000;
const FIXED_NOREPLACE: u32 = 0x10_0000;
/// Flags that have no effect any more, or none of ours: DENYWRITE, EXECUTABLE, NONBLOCK, STACK.
const IGNORED: u32 = 0x800 | 0x1000 | 0x1_0000 | STACK;

fn prot_of(bits: u32) -> Result<Prot> {
    const GROWS: u32 = 0x0100_0000 | 0x0200_0000;
    if bits & !(7 | 8 | GROWS) != 0 {
        return err(Errno::EINVAL);
    }
    let mut p = Prot::empty();
    p.set(Prot::READ, bits & 1 != 0);
    p.set(Prot::WRITE, bits & 2 != 0);
    p.set(Prot::EXEC, bits & 4 != 0);
    Ok(p)
}

fn page_up(len: u64) -> Result<u64> {
    len.checked_next_multiple_of(PAGE).ok_or_else(|| Errno::ENOMEM.into())
}

/// mmap(2).
///
/// # Errors
/// EINVAL, EACCES, EBADF, ENODEV, ENOMEM, EEXIST, EOVERFLOW, EPERM.
pub fn mmap(
    cx: &mut Ctx<'_>,
    addr: UserAddr,
    len: u64,
    prot: u32,
    flags: u32,
    fd: Fd,
    offset: u64,
) -> SysResult {
    if len == 0 || !offset.is_multiple_of(PAGE) {
        return err(Errno::EINVAL);
    }
    let kind = flags & 3;
    if kind == 0 {
        return err(Errno::EINVAL);
    }
    if kind == SHARED_VALIDATE {
        let known = SHARED_VALIDATE
            | FIXED
            | ANONYMOUS
            | MAP_32BIT
            | GROWSDOWN
            | LOCKED
            | NORESERVE
            | POPULATE
            | HUGETLB
            | FIXED_NOREPLACE
            | IGNORED;
        if flags & (!known | SYNC) != 0 {
            return err(Errno::EOPNOTSUPP);
        }
    }
    if flags & HUGETLB != 0 {
        return err(Errno::ENOMEM); // no huge pages are reserved
    }
    let len = page_up(len)?;
    let prot = prot_of(prot)?;
    let shared = kind != PRIVATE;
    let mut f = MapFlags::empty();
    f.set(MapFlags::FIXED, flags & FIXED != 0);
    f.set(MapFlags::FIXED_NOREPLACE, flags & FIXED_NOREPLACE != 0);
    f.set(MapFlags::SHARED, shared);
    f.set(MapFlags::NORESERVE, flags & NORESERVE != 0);
    f.set(MapFlags::GROWSDOWN, flags & GROWSDOWN != 0);
    f.set(MapFlags::POPULATE, flags & (POPULATE | LOCKED) != 0);
    f.set(MapFlags::LOCKED, flags & LOCKED != 0);
    f.set(MapFlags::LOW, flags & MAP_32BIT != 0);
    let mut request =
        MapRequest { addr, flags: f, max_prot: Prot::all(), ..MapRequest::anonymous(len, prot) };
    if flags & ANONYMOUS == 0 {
        let file = cx.file(fd)?;
        let open = file.flags();
        if !open.readable() || shared && prot.contains(Prot::WRITE) && !open.writable() {
            return err(Errno::EACCES);
        }
        if offset.checked_add(len).is_none_or(|e| e > i64::MAX as u64) {
            return err(Errno::EOVERFLOW);
        }
        let mut max = Prot::all();
        if shared && !open.writable() {
            max.remove(Prot::WRITE);
        }
        if file.path.mount.flags().contains(fs::MountFlags::NOEXEC) {
            if prot.contains(Prot::EXEC) {
                return err(Errno::EPERM);
            }
            max.remove(Prot::EXEC);
        }
        if !fs::memfd::check_mmap(&file, shared, prot.contains(Prot::WRITE))? {
            max.remove(Prot::WRITE);
        }
        request.max_prot = max;
        request.object = Some((file.ops.mappable(&file)?, offset));
    }
    let at = cx.mm.map(request)?;
    leave_lost_trampoline(cx);
    Ok(at.0 as i64)
}

/// The new mapping may lie over the trampoline that the call came through: it returns to the original.
fn leave_lost_trampoline(cx: &mut Ctx<'_>) {
    // To ask a patched call for all its registers is dear: only if there is a reason.
    if cx.mm.has_lost_patches()
        && let Some(ip) = cx.mm.lost_ip(cx.thread.regs().rip)
    {
        cx.thread.regs_mut().rip = ip;
    }
}

/// munmap(2).
///
/// # Errors
/// EINVAL, ENOMEM.
pub fn munmap(cx: &mut Ctx<'_>, addr: UserAddr, len: u64) -> SysResult {
    if !addr.is_page_aligned() || len == 0 {
        return err(Errno::EINVAL);
    }
    let len = len.checked_next_multiple_of(PAGE).ok_or(Errno::EINVAL)?;
    cx.mm.unmap(addr, len)?;
    Ok(0)
}

/// mprotect(2).
///
/// # Errors
/// EINVAL, EACCES, ENOMEM.
pub fn mprotect(cx: &mut Ctx<'_>, addr: UserAddr, len: u64, prot: u32) -> SysResult {
    if !addr.is_page_aligned() {
        return err(Errno::EINVAL);
    }
    let p = prot_of(prot)?;
    if len == 0 {
        return Ok(0);
    }
    cx.mm.protect(addr, page_up(len)?, p)?;
    Ok(0)
}

/// brk(2): the break, changed or not.
///
/// # Errors
/// None.
pub fn brk(cx: &mut Ctx<'_>, addr: UserAddr) -> SysResult {
    Ok(cx.mm.set_brk(addr).0 as i64)
}

/// mremap(2).
///
/// # Errors
/// EINVAL, EFAULT, ENOMEM, EAGAIN.
pub fn mremap(
    cx: &mut Ctx<'_>,
    addr: UserAddr,
    old: u64,
    new: u64,
    flags: u32,
    to: UserAddr,
) -> SysResult {
    let f = RemapFlags::from_bits(flags).ok_or(Errno::EINVAL)?;
    if !addr.is_page_aligned() || new == 0 {
        return err(Errno::EINVAL);
    }
    let at = cx.mm.remap(addr, page_up(old)?, page_up(new)?, f, to)?;
    leave_lost_trampoline(cx);
    Ok(at.0 as i64)
}

/// msync(2).
///
/// # Errors
/// EINVAL, EBUSY, ENOMEM, EIO.
pub fn msync(cx: &mut Ctx<'_>, addr: UserAddr, len: u64, flags: u32) -> SysResult {
    let f = SyncFlags::from_bits(flags).ok_or(Errno::EINVAL)?;
    if !addr.is_page_aligned() || flags & 5 == 5 {
        return err(Errno::EINVAL);
    }
    cx.mm.sync(addr, page_up(len)?, f)?;
    Ok(0)
}

/// mincore(2).
///
/// # Errors
/// EINVAL, ENOMEM, EFAULT.
pub fn mincore(cx: &mut Ctx<'_>, addr: UserAddr, len: u64, vec: UserAddr) -> SysResult {
    if !addr.is_page_aligned() {
        return err(Errno::EINVAL);
    }
    let total = page_up(len)?;
    // In pieces, so that a huge range needs no huge buffer.
    let mut done = 0;
    while done < total {
        let n = (total - done).min(PAGE * PAGE);
        let bits = cx.mm.mincore(addr.add(done)?, n)?;
        cx.mm.write(vec.add(done / PAGE)?, &bits)?;
        done += n;
    }
    Ok(0)
}

/// madvise(2).
///
/// # Errors
/// EINVAL, ENOMEM, EIO.
pub fn madvise(cx: &mut Ctx<'_>, addr: UserAddr, len: u64, advice: i32) -> SysResult {
    if !addr.is_page_aligned() {
        return err(Errno::EINVAL);
    }
    let len = len.checked_next_multiple_of(PAGE).ok_or(Errno::EINVAL)?;
    cx.mm.advise(addr, len, advice)?;
    Ok(0)
}

fn page_range(addr: UserAddr, len: u64) -> Result<(UserAddr, u64)> {
    let start = addr.page_down();
    let end = addr.0.checked_add(len).and_then(|e| UserAddr(e).page_up()).ok_or(Errno::EINVAL)?;
    Ok((start, end.0 - start.0))
}

/// mlock(2).
///
/// # Errors
/// ENOMEM, EPERM, EINVAL.
pub fn mlock(cx: &mut Ctx<'_>, addr: UserAddr, len: u64) -> SysResult {
    mlock2(cx, addr, len, 0)
}

/// mlock2(2).
///
/// # Errors
/// ENOMEM, EPERM, EINVAL.
pub fn mlock2(cx: &mut Ctx<'_>, addr: UserAddr, len: u64, flags: u32) -> SysResult {
    if flags & !1 != 0 {
        return err(Errno::EINVAL);
    }
    let (start, len) = page_range(addr, len)?;
    cx.mm.lock(start, len, flags & 1 != 0)?;
    Ok(0)
}

/// munlock(2).
///
/// # Errors
/// ENOMEM, EINVAL.
pub fn munlock(cx: &mut Ctx<'_>, addr: UserAddr, len: u64) -> SysResult {
    let (start, len) = page_range(addr, len)?;
    cx.mm.unlock(start, len)?;
    Ok(0)
}

/// mlockall(2).
///
/// # Errors
/// EINVAL, ENOMEM, EPERM.
pub fn mlockall(cx: &mut Ctx<'_>, flags: u32) -> SysResult {
    if flags == 0 || flags & !7 != 0 || flags == 4 {
        return err(Errno::EINVAL);
    }
    cx.mm.lock_all(flags & 1 != 0, flags & 2 != 0, flags & 4 != 0)?;
    Ok(0)
}

/// munlockall(2).
///
/// # Errors
/// None.
pub fn munlockall(cx: &mut Ctx<'_>) -> SysResult {
    cx.mm.unlock_all();
    Ok(0)
}

/// membarrier(2). With one virtual CPU every switch is a full barrier: the commands have nothing to do.
///
/// # Errors
/// EINVAL for unknown commands, EPERM for one that was not registered (not tracked: none).
pub fn membarrier(_cx: &mut Ctx<'_>, cmd: u32, flags: u32, _cpu: u32) -> SysResult {
    const SUPPORTED: u32 = 1 | 2 | 4 | 8 | 16;
    match cmd {
        0 if flags == 0 => Ok(SUPPORTED.into()),
        c if flags == 0 && c.is_power_of_two() && c & SUPPORTED != 0 => Ok(0),
        _ => err(Errno::EINVAL),
    }
}
