//! Waiting for files: poll, select, epoll, and the files that are only for waiting. `man 2 poll`,
//! `man 7 epoll`.

use std::sync::Arc;
use std::time::Duration;

use base::time::Instant;
use base::{Errno, PollEvents, Result, UserAddr, UserMemory, err};
use fs::epoll::{Epoll, EpollEvent, EpollOp};
use fs::eventfd::EventFd;
use fs::inotify::Inotify;
use fs::poll::{FdSet, PollFd};
use fs::signalfd::SignalFd;
use fs::timerfd::{TimerClock, TimerFd, TimerSpec};
use fs::{File, FileOps, FileType, LookupFlags, OpenFlags};

use super::file::{fd_limit, install};
use super::time::{RestartBlock, read_timeout, read_timespec, timespec, timeval};
use super::{Ctx, Fd, Str, SysResult};
use crate::services::{Signals, Timers};
use crate::signal::set::SigSet;

/// Milliseconds as an absolute time; negative: for ever; 0: do not wait at all.
fn deadline_ms(ms: i32) -> Option<Instant> {
    match ms {
        0 => Some(Instant(0)),
        n if n < 0 => None,
        n => Some(arch::clock::monotonic() + Duration::from_millis(n as u64)),
    }
}

fn do_poll(cx: &Ctx<'_>, fds: UserAddr, n: u32, deadline: Option<Instant>) -> Result<usize> {
    if u64::from(n) > fd_limit(cx) {
        return err(Errno::EINVAL);
    }
    let mut raw = vec![0u8; n as usize * 8];
    cx.mm.read(fds, &mut raw)?;
    let files = cx.files();
    let mut list: Vec<PollFd> = raw
        .chunks_exact(8)
        .map(|e| {
            let fd = i32::from_le_bytes([e[0], e[1], e[2], e[3]]);
            let events = u32::from(u16::from_le_bytes([e[4], e[5]]));
            if fd < 0 {
                return PollFd::ignored();
            }
            match files.get_io(fd) {
                Ok(f) => PollFd::new(f, PollEvents::from_bits_truncate(events)),
                Err(_) => PollFd::bad(),
            }
        })
        .collect();
    let ready = fs::poll::poll_files(&mut list, deadline)?;
    // Only `revents` is written back: the rest is the caller's.
    for (i, p) in list.iter().enumerate() {
        let at = fds.add(i as u64 * 8 + 6)?;
        cx.mm.write(at, &(p.revents.bits() as u16).to_le_bytes())?;
    }
    Ok(ready)
}

/// poll(2).
///
/// # Errors
/// EFAULT, EINTR, EINVAL, ENOMEM.
pub fn poll(cx: &mut Ctx<'_>, fds: UserAddr, n: u32, timeout: i32) -> SysResult {
    poll_until(cx, fds, n, deadline_ms(timeout))
}

fn poll_until(cx: &mut Ctx<'_>, fds: UserAddr, n: u32, deadline: Option<Instant>) -> SysResult {
    match do_poll(cx, fds, n, deadline) {
        Err(e) if e.errno().is_restart() => match deadline {
            Some(deadline) => {
                cx.restart_block = Some(RestartBlock::Poll { fds, n, deadline });
                err(Errno::ERESTART_RESTARTBLOCK)
            }
            None => err(Errno::ERESTARTNOHAND),
        },
        r => Ok(r? as i64),
    }
}

/// Goes on with an interrupted poll.
///
/// # Errors
/// As poll.
pub fn resume_poll(cx: &mut Ctx<'_>, fds: UserAddr, n: u32, deadline: Instant) -> SysResult {
    poll_until(cx, fds, n, Some(deadline))
}

/// Runs `wait` with another signal mask. If a signal ended it the old mask is restored only after its
/// handler's frame has been built (with the old mask in it).
fn with_mask<T>(
    cx: &mut Ctx<'_>,
    mask: UserAddr,
    size: usize,
    wait: impl FnOnce(&mut Ctx<'_>) -> Result<T>,
) -> Result<T> {
    if mask.is_null() {
        return wait(cx);
    }
    if size != 8 {
        return err(Errno::EINVAL);
    }
    let new = SigSet(cx.read_obj(mask)?);
    let old = cx.task.set_blocked(new);
    let r = wait(cx);
    match &r {
        Err(e) if e.errno().is_restart() || *e == Errno::EINTR => {
            cx.task.signals.lock().saved = Some(old);
        }
        _ => {
            cx.task.set_blocked(old);
        }
    }
    r
}

/// The rest of a timeout is stored for ppoll and pselect.
fn store_left(cx: &Ctx<'_>, at: UserAddr, deadline: Option<Instant>) {
    if let Some(d) = deadline
        && !at.is_null()
    {
        let left = d - arch::clock::monotonic();
        // Linux ignores a bad pointer here, too: the result is what counts.
        let _ = cx.write_obj(at, &timespec(left));
    }
}

/// ppoll(2).
///
/// # Errors
/// As poll.
pub fn ppoll(
    cx: &mut Ctx<'_>,
    fds: UserAddr,
    n: u32,
    timeout: UserAddr,
    mask: UserAddr,
    size: usize,
) -> SysResult {
    let deadline = read_timeout(cx, timeout)?;
    let r = with_mask(cx, mask, size, |cx| do_poll(cx, fds, n, deadline));
    store_left(cx, timeout, deadline);
    match r {
        Err(e) if e.errno().is_restart() => err(Errno::ERESTARTNOHAND),
        r => Ok(r? as i64),
    }
}

fn do_select(
    cx: &Ctx<'_>,
    n: i32,
    sets: [UserAddr; 3],
    deadline: Option<Instant>,
) -> Result<usize> {
    let n = usize::try_from(n).map_err(|_| Errno::EINVAL)?;
    let files = cx.files();
    let n = n.min(files.capacity().max(1024));
    let read = |at: UserAddr| -> Result<Option<FdSet>> {
        if at.is_null() {
            return Ok(None);
        }
        let mut raw = vec![0u8; FdSet::bytes_for(n)];
        cx.mm.read(at, &mut raw)?;
        Ok(Some(FdSet::from_bytes(&raw)))
    };
    let mut s = [read(sets[0])?, read(sets[1])?, read(sets[2])?];
    let [a, b, c] = &mut s;
    let lookup = |fd: usize| files.get_io(fd as i32).ok();
    let ready = fs::poll::select_files(n, [a.as_mut(), b.as_mut(), c.as_mut()], &lookup, deadline)?;
    for (at, set) in sets.iter().zip(&s) {
        if let Some(set) = set {
            let mut raw = set.to_bytes();
            raw.truncate(FdSet::bytes_for(n));
            cx.mm.write(*at, &raw)?;
        }
    }
    Ok(ready)
}

/// select(2).
///
/// # Errors
/// EBADF, EFAULT, EINTR, EINVAL.
pub fn select(
    cx: &mut Ctx<'_>,
    n: i32,
    r: UserAddr,
    w: UserAddr,
    e: UserAddr,
    timeout: UserAddr,
) -> SysResult {
    let deadline = if timeout.is_null() {
        None
    } else {
        let [s, us]: [i64; 2] = cx.read_obj(timeout)?;
        if s < 0 || us < 0 {
            return err(Errno::EINVAL);
        }
        let d = Duration::from_secs(s as u64).saturating_add(Duration::from_micros(us as u64));
        Some(arch::clock::monotonic() + d)
    };
    let result = do_select(cx, n, [r, w, e], deadline);
    if let Some(d) = deadline {
        let left = timeval(d - arch::clock::monotonic());
        let _ = cx.write_obj(timeout, &left); // as Linux: a bad pointer is ignored here
    }
    Ok(result? as i64)
}

/// pselect(2).
///
/// # Errors
/// As select.
pub fn pselect6(
    cx: &mut Ctx<'_>,
    n: i32,
    r: UserAddr,
    w: UserAddr,
    e: UserAddr,
    timeout: UserAddr,
    sig: UserAddr,
) -> SysResult {
    let deadline = read_timeout(cx, timeout)?;
    let (mask, size) = if sig.is_null() {
        (UserAddr::NULL, 0)
    } else {
        let [m, s]: [u64; 2] = cx.read_obj(sig)?;
        (UserAddr(m), s as usize)
    };
    let result = with_mask(cx, mask, size, |cx| do_select(cx, n, [r, w, e], deadline));
    store_left(cx, timeout, deadline);
    Ok(result? as i64)
}

/// An anonymous file with a descriptor.
fn install_anon(cx: &Ctx<'_>, ops: Arc<dyn FileOps>, flags: OpenFlags) -> SysResult {
    let cloexec = flags.contains(OpenFlags::CLOEXEC);
    let open = (flags & OpenFlags::NONBLOCK) | OpenFlags::RDWR;
    let file = cx.kernel.vfs.anon().file(ops, open, cx.cred(), FileType::Regular, 0o600);
    install(cx, file, cloexec)
}

fn checked_flags(flags: u32, known: OpenFlags) -> Result<OpenFlags> {
    let f = OpenFlags::from_bits_retain(flags);
    if known.contains(f) { Ok(f) } else { err(Errno::EINVAL) }
}

const BOTH: OpenFlags = OpenFlags::CLOEXEC.union(OpenFlags::NONBLOCK);

/// epoll_create(2).
///
/// # Errors
/// EINVAL, EMFILE.
pub fn epoll_create(cx: &mut Ctx<'_>, size: i32) -> SysResult {
    if size <= 0 {
        return err(Errno::EINVAL);
    }
    epoll_create1(cx, 0)
}

/// epoll_create1(2).
///
/// # Errors
/// EINVAL, EMFILE.
pub fn epoll_create1(cx: &mut Ctx<'_>, flags: u32) -> SysResult {
    let f = checked_flags(flags, OpenFlags::CLOEXEC)?;
    install_anon(cx, Epoll::new(), f)
}

fn with_epoll<T>(cx: &Ctx<'_>, fd: Fd, f: impl FnOnce(&Epoll) -> Result<T>) -> Result<T> {
    let file = cx.file(fd)?;
    match file.ops_as::<Epoll>() {
        Some(e) => f(e),
        None => err(Errno::EINVAL),
    }
}

/// epoll_ctl(2).
///
/// # Errors
/// EBADF, EEXIST, EINVAL, ELOOP, ENOENT, EPERM, EFAULT.
pub fn epoll_ctl(cx: &mut Ctx<'_>, epfd: Fd, op: u32, fd: Fd, event: UserAddr) -> SysResult {
    let op = EpollOp::from_number(op as i32);
    let ev = if op == Some(EpollOp::Del) {
        EpollEvent::from_bytes([0; EpollEvent::SIZE])
    } else {
        let mut raw = [0u8; EpollEvent::SIZE];
        cx.mm.read(event, &mut raw)?;
        EpollEvent::from_bytes(raw)
    };
    let ep = cx.file(epfd)?;
    let target = cx.file(fd)?;
    if Arc::ptr_eq(&ep, &target) {
        return err(Errno::EINVAL);
    }
    let op = op.ok_or(Errno::EINVAL)?;
    with_epoll(cx, epfd, |e| e.ctl(op, fd.0, &target, ev))?;
    Ok(0)
}

fn do_epoll(
    cx: &Ctx<'_>,
    epfd: Fd,
    events: UserAddr,
    max: i32,
    deadline: Option<Instant>,
) -> Result<usize> {
    if max <= 0 || max > i32::MAX / EpollEvent::SIZE as i32 {
        return err(Errno::EINVAL);
    }
    let mut at = events;
    with_epoll(cx, epfd, |e| {
        e.wait(max as usize, deadline, &mut |ev| {
            cx.mm.write(at, &ev.to_bytes())?;
            at = at.add(EpollEvent::SIZE as u64)?;
            Ok(())
        })
    })
}

/// epoll_wait(2).
///
/// # Errors
/// EBADF, EFAULT, EINTR, EINVAL.
pub fn epoll_wait(
    cx: &mut Ctx<'_>,
    epfd: Fd,
    events: UserAddr,
    max: i32,
    timeout: i32,
) -> SysResult {
    Ok(do_epoll(cx, epfd, events, max, deadline_ms(timeout))? as i64)
}

/// epoll_pwait(2).
///
/// # Errors
/// As epoll_wait.
pub fn epoll_pwait(
    cx: &mut Ctx<'_>,
    epfd: Fd,
    events: UserAddr,
    max: i32,
    timeout: i32,
    mask: UserAddr,
    size: usize,
) -> SysResult {
    let d = deadline_ms(timeout);
    Ok(with_mask(cx, mask, size, |cx| do_epoll(cx, epfd, events, max, d))? as i64)
}

/// epoll_pwait2(2).
///
/// # Errors
/// As epoll_wait.
pub fn epoll_pwait2(
    cx: &mut Ctx<'_>,
    epfd: Fd,
    events: UserAddr,
    max: i32,
    timeout: UserAddr,
    mask: UserAddr,
    size: usize,
) -> SysResult {
    let d = read_timeout(cx, timeout)?;
    Ok(with_mask(cx, mask, size, |cx| do_epoll(cx, epfd, events, max, d))? as i64)
}

/// eventfd(2), the old call without flags.
///
/// # Errors
/// EMFILE.
pub fn eventfd(cx: &mut Ctx<'_>, count: u32) -> SysResult {
    eventfd2(cx, count, 0)
}

/// eventfd(2).
///
/// # Errors
/// EINVAL, EMFILE.
pub fn eventfd2(cx: &mut Ctx<'_>, count: u32, flags: u32) -> SysResult {
    const SEMAPHORE: u32 = 1;
    let f = checked_flags(flags & !SEMAPHORE, BOTH)?;
    install_anon(cx, EventFd::new(count, flags & SEMAPHORE != 0), f)
}

/// timerfd_create(2).
///
/// # Errors
/// EINVAL, EMFILE.
pub fn timerfd_create(cx: &mut Ctx<'_>, clock: u32, flags: u32) -> SysResult {
    let f = checked_flags(flags, BOTH)?;
    let clock = TimerClock::from_id(clock as i32).ok_or(Errno::EINVAL)?;
    install_anon(cx, TimerFd::new(clock, Arc::new(Timers::new(cx.kernel))), f)
}

fn with_timerfd<T>(cx: &Ctx<'_>, fd: Fd, f: impl FnOnce(&TimerFd) -> Result<T>) -> Result<T> {
    let file = cx.file(fd)?;
    match file.ops_as::<TimerFd>() {
        Some(t) => f(t),
        None => err(Errno::EINVAL),
    }
}

fn put_spec(cx: &Ctx<'_>, at: UserAddr, s: &TimerSpec) -> Result<()> {
    let ns = Duration::from_nanos;
    let ([is, iu], [vs, vu]) = (timespec(ns(s.interval)), timespec(ns(s.value)));
    cx.write_obj(at, &[is, iu, vs, vu])
}

/// timerfd_settime(2).
///
/// # Errors
/// EBADF, EFAULT, EINVAL, ECANCELED.
pub fn timerfd_settime(
    cx: &mut Ctx<'_>,
    fd: Fd,
    flags: u32,
    new: UserAddr,
    old: UserAddr,
) -> SysResult {
    let interval = read_timespec(cx, new)?;
    let value = read_timespec(cx, new.add(16)?)?;
    let ns = |d: Duration| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX);
    let spec = TimerSpec { interval: ns(interval), value: ns(value) };
    let was = with_timerfd(cx, fd, |t| t.set(flags, spec))?;
    if !old.is_null() {
        put_spec(cx, old, &was)?;
    }
    Ok(0)
}

/// timerfd_gettime(2).
///
/// # Errors
/// EBADF, EFAULT, EINVAL.
pub fn timerfd_gettime(cx: &mut Ctx<'_>, fd: Fd, at: UserAddr) -> SysResult {
    let now = with_timerfd(cx, fd, |t| Ok(t.get()))?;
    put_spec(cx, at, &now)?;
    Ok(0)
}

/// signalfd(2), the old call without flags.
///
/// # Errors
/// As signalfd4.
pub fn signalfd(cx: &mut Ctx<'_>, fd: Fd, mask: UserAddr, size: usize) -> SysResult {
    signalfd4(cx, fd, mask, size, 0)
}

/// signalfd(2).
///
/// # Errors
/// EBADF, EINVAL, EMFILE, EFAULT.
pub fn signalfd4(cx: &mut Ctx<'_>, fd: Fd, mask: UserAddr, size: usize, flags: u32) -> SysResult {
    let f = checked_flags(flags, BOTH)?;
    if size != 8 {
        return err(Errno::EINVAL);
    }
    let set = SigSet(cx.read_obj(mask)?).minus(SigSet::UNBLOCKABLE);
    if fd.0 == -1 {
        let source = Arc::new(Signals::new(cx.kernel));
        return install_anon(cx, SignalFd::new(set.0, source), f);
    }
    let file = cx.file(fd)?;
    let Some(s) = file.ops_as::<SignalFd>() else { return err(Errno::EINVAL) };
    s.set_mask(set.0);
    Ok(fd.0.into())
}

/// inotify_init(2).
///
/// # Errors
/// EMFILE.
pub fn inotify_init(cx: &mut Ctx<'_>) -> SysResult {
    inotify_init1(cx, 0)
}

/// inotify_init1(2).
///
/// # Errors
/// EINVAL, EMFILE.
pub fn inotify_init1(cx: &mut Ctx<'_>, flags: u32) -> SysResult {
    let f = checked_flags(flags, BOTH)?;
    install_anon(cx, Inotify::new(), f)
}

fn with_inotify<T>(file: &File, f: impl FnOnce(&Inotify) -> Result<T>) -> Result<T> {
    match file.ops_as::<Inotify>() {
        Some(i) => f(i),
        None => err(Errno::EINVAL),
    }
}

/// inotify_add_watch(2).
///
/// # Errors
/// inotify_add_watch(2).
pub fn inotify_add_watch(cx: &mut Ctx<'_>, fd: Fd, path: Str, mask: u32) -> SysResult {
    const ONLYDIR: u32 = 0x0100_0000;
    const DONT_FOLLOW: u32 = 0x0200_0000;
    let file = cx.file(fd)?;
    let name = cx.path(path)?;
    let mut flags = LookupFlags::empty();
    flags.set(LookupFlags::FOLLOW, mask & DONT_FOLLOW == 0);
    flags.set(LookupFlags::DIRECTORY, mask & ONLYDIR != 0);
    let p = fs::lookup(&cx.task.fs(), &cx.cred(), None, &name, flags)?;
    fs::ops::access(&cx.cred(), &p, 4, true)?;
    Ok(with_inotify(&file, |i| i.add_watch(p.inode(), mask))?.into())
}

/// inotify_rm_watch(2).
///
/// # Errors
/// EBADF, EINVAL.
pub fn inotify_rm_watch(cx: &mut Ctx<'_>, fd: Fd, wd: i32) -> SysResult {
    with_inotify(&*cx.file(fd)?, |i| i.rm_watch(wd))?;
    Ok(0)
}
