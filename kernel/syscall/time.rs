//! Clocks, sleeping, interval timers. `man 2 clock_gettime`, `man 2 nanosleep`, `man 2 timer_create`.

use std::sync::atomic::Ordering;
use std::time::Duration;

use base::time::Instant;
use base::wait::{Sleep, WaitQueue};
use base::{Errno, Result, Timestamp, UserAddr, err};

use super::{Ctx, SysResult};
use crate::time::posix::{ClockId, IntervalSpec};

/// How restart_syscall(2) goes on with a call that a signal without a handler has interrupted.
#[derive(Clone, Copy, Debug)]
pub enum RestartBlock {
    /// clock_nanosleep: until then, and where the rest goes.
    Sleep {
        /// Wake-up time.
        deadline: Instant,
        /// Remaining time is stored here on the next interruption.
        rem: UserAddr,
    },
    /// futex(FUTEX_WAIT) with a timeout.
    Futex {
        /// The word.
        at: UserAddr,
        /// Between processes.
        shared: bool,
        /// Expected value.
        val: u32,
        /// Wake mask.
        bitset: u32,
        /// Absolute.
        deadline: Instant,
    },
    /// poll(2) with a timeout.
    Poll {
        /// The array.
        fds: UserAddr,
        /// Its length.
        n: u32,
        /// Absolute.
        deadline: Instant,
    },
}

/// Reads a `struct timespec` as a duration.
///
/// # Errors
/// EFAULT; EINVAL if it is negative or has a bad nanosecond part.
pub fn read_timespec(cx: &Ctx<'_>, at: UserAddr) -> Result<Duration> {
    let [sec, nsec]: [i64; 2] = cx.read_obj(at)?;
    if sec < 0 || !(0..1_000_000_000).contains(&nsec) {
        return err(Errno::EINVAL);
    }
    Ok(Duration::new(sec as u64, nsec as u32))
}

/// Reads an optional timeout (null: none) as an absolute time.
///
/// # Errors
/// As [`read_timespec`].
pub fn read_timeout(cx: &Ctx<'_>, at: UserAddr) -> Result<Option<Instant>> {
    if at.is_null() {
        return Ok(None);
    }
    Ok(Some(arch::clock::monotonic() + read_timespec(cx, at)?))
}

/// A duration as `struct timespec`.
pub fn timespec(d: Duration) -> [i64; 2] {
    [d.as_secs() as i64, i64::from(d.subsec_nanos())]
}

/// A duration as `struct timeval`.
pub fn timeval(d: Duration) -> [i64; 2] {
    [d.as_secs() as i64, i64::from(d.subsec_micros())]
}

/// The monotonic time at which CLOCK_REALTIME shows `t`.
pub fn realtime_to_monotonic(t: Duration) -> Instant {
    let now = wall(arch::clock::realtime());
    if t >= now {
        arch::clock::monotonic() + (t - now)
    } else {
        Instant(arch::clock::monotonic().0.saturating_sub((now - t).as_nanos() as u64))
    }
}

fn wall(t: Timestamp) -> Duration {
    Duration::new(t.sec.max(0) as u64, t.nsec)
}

/// What a clock shows.
///
/// # Errors
/// EINVAL for clocks that are not there.
pub fn read_clock(cx: &Ctx<'_>, id: ClockId) -> Result<Duration> {
    let since_boot = || Duration::from_nanos(arch::clock::monotonic().0);
    Ok(match id {
        ClockId::Realtime => wall(arch::clock::realtime()),
        ClockId::Monotonic | ClockId::Boottime => since_boot(),
        ClockId::ProcessCpu(pid) => {
            let p = if pid == 0 {
                cx.task.process.clone()
            } else {
                cx.kernel.tree.lock().process(pid).cloned().ok_or(Errno::EINVAL)?
            };
            let (u, s) = p.times();
            Duration::from_nanos(u + s)
        }
        ClockId::ThreadCpu(tid) => {
            let t = if tid == 0 {
                cx.task.clone()
            } else {
                cx.kernel.tree.lock().task(tid).ok_or(Errno::EINVAL)?
            };
            Duration::from_nanos(t.sched.runtime.load(Ordering::Relaxed))
        }
    })
}

/// clock_gettime(2).
///
/// # Errors
/// EINVAL, EFAULT.
pub fn clock_gettime(cx: &mut Ctx<'_>, clock: u32, at: UserAddr) -> SysResult {
    let t = read_clock(cx, ClockId::decode(clock)?)?;
    cx.write_obj(at, &timespec(t))?;
    Ok(0)
}

/// clock_getres(2).
///
/// # Errors
/// EINVAL, EFAULT.
pub fn clock_getres(cx: &mut Ctx<'_>, clock: u32, at: UserAddr) -> SysResult {
    ClockId::decode(clock)?;
    let coarse = matches!(clock, 5 | 6);
    cx.write_opt(at, &[0i64, if coarse { 4_000_000 } else { 1 }])?;
    Ok(0)
}

/// clock_settime(2): the host's clock is not ours to set.
///
/// # Errors
/// EINVAL for clocks that cannot be set; EPERM.
pub fn clock_settime(cx: &mut Ctx<'_>, clock: u32, at: UserAddr) -> SysResult {
    if ClockId::decode(clock)? != ClockId::Realtime {
        return err(Errno::EINVAL);
    }
    read_timespec(cx, at)?;
    err(Errno::EPERM)
}

/// gettimeofday(2).
///
/// # Errors
/// EFAULT.
pub fn gettimeofday(cx: &mut Ctx<'_>, tv: UserAddr, tz: UserAddr) -> SysResult {
    cx.write_opt(tv, &timeval(wall(arch::clock::realtime())))?;
    cx.write_opt(tz, &[0i32; 2])?;
    Ok(0)
}

/// settimeofday(2).
///
/// # Errors
/// EPERM.
pub fn settimeofday(_cx: &mut Ctx<'_>, _tv: UserAddr, _tz: UserAddr) -> SysResult {
    err(Errno::EPERM)
}

/// time(2).
///
/// # Errors
/// EFAULT.
pub fn time(cx: &mut Ctx<'_>, at: UserAddr) -> SysResult {
    let t = arch::clock::realtime().sec;
    cx.write_opt(at, &t)?;
    Ok(t)
}

/// times(2), in ticks of 10 ms.
///
/// # Errors
/// EFAULT.
pub fn times(cx: &mut Ctx<'_>, at: UserAddr) -> SysResult {
    const TICK: u64 = 10_000_000;
    let p = &cx.task.process;
    let (u, s) = p.times();
    let cu = p.past.children_utime_ns.load(Ordering::Relaxed);
    let cs = p.past.children_stime_ns.load(Ordering::Relaxed);
    cx.write_opt(at, &[u / TICK, s / TICK, cu / TICK, cs / TICK])?;
    Ok((arch::clock::monotonic().0 / TICK) as i64)
}

/// adjtimex(2): read only.
///
/// # Errors
/// EPERM if something is to be changed; EFAULT.
pub fn adjtimex(cx: &mut Ctx<'_>, buf: UserAddr) -> SysResult {
    let mut t: [u64; 26] = cx.read_obj(buf)?;
    if t[0] as u32 != 0 {
        return err(Errno::EPERM);
    }
    let now = arch::clock::realtime();
    t = [0; 26];
    t[4] = 5; // TIME_ERROR: nobody disciplines this clock
    t[9] = now.sec as u64;
    t[10] = u64::from(now.nsec / 1000);
    t[11] = 10_000;
    t[5] = 0x40; // STA_UNSYNC
    cx.write_obj(buf, &t)?;
    Ok(5)
}

/// clock_adjtime(2).
///
/// # Errors
/// As adjtimex; EINVAL for what is no clock, EOPNOTSUPP for one that nobody can adjust.
pub fn clock_adjtime(cx: &mut Ctx<'_>, clock: u32, buf: UserAddr) -> SysResult {
    if ClockId::decode(clock)? != ClockId::Realtime {
        return err(Errno::EOPNOTSUPP);
    }
    adjtimex(cx, buf)
}

fn sleep_until(cx: &mut Ctx<'_>, deadline: Instant, rem: UserAddr) -> SysResult {
    let nobody = WaitQueue::new();
    let r: Result<()> = nobody.wait_until(Sleep::Interruptible, Some(deadline), || None);
    match r {
        Err(e) if e == Errno::ETIMEDOUT => Ok(0),
        _ => {
            let left = deadline - arch::clock::monotonic();
            cx.write_opt(rem, &timespec(left))?;
            cx.restart_block = Some(RestartBlock::Sleep { deadline, rem });
            err(Errno::ERESTART_RESTARTBLOCK)
        }
    }
}

/// nanosleep(2).
///
/// # Errors
/// EINTR with the rest in `rem`; EINVAL; EFAULT.
pub fn nanosleep(cx: &mut Ctx<'_>, req: UserAddr, rem: UserAddr) -> SysResult {
    let d = read_timespec(cx, req)?;
    sleep_until(cx, arch::clock::monotonic() + d, rem)
}

/// clock_nanosleep(2).
///
/// # Errors
/// EINTR, EINVAL, EFAULT, EOPNOTSUPP for CPU clocks.
pub fn clock_nanosleep(
    cx: &mut Ctx<'_>,
    clock: u32,
    flags: u32,
    req: UserAddr,
    rem: UserAddr,
) -> SysResult {
    let id = ClockId::decode(clock)?;
    if matches!(id, ClockId::ProcessCpu(_) | ClockId::ThreadCpu(_)) {
        return err(Errno::EOPNOTSUPP);
    }
    let d = read_timespec(cx, req)?;
    if flags & 1 == 0 {
        return sleep_until(cx, arch::clock::monotonic() + d, rem);
    }
    let deadline = match id {
        ClockId::Realtime => realtime_to_monotonic(d),
        _ => Instant(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)),
    };
    match sleep_until(cx, deadline, UserAddr::NULL) {
        Err(e) if e == Errno::ERESTART_RESTARTBLOCK => err(Errno::ERESTARTNOHAND),
        r => r,
    }
}

/// restart_syscall(2): only the kernel makes programs call it.
///
/// # Errors
/// EINTR if there is nothing to go on with.
pub fn restart_syscall(cx: &mut Ctx<'_>) -> SysResult {
    match cx.restart_block.take() {
        Some(RestartBlock::Sleep { deadline, rem }) => sleep_until(cx, deadline, rem),
        Some(RestartBlock::Futex { at, shared, val, bitset, deadline }) => {
            crate::futex::resume_wait(cx, at, shared, val, bitset, deadline)
        }
        Some(RestartBlock::Poll { fds, n, deadline }) => {
            super::poll::resume_poll(cx, fds, n, deadline)
        }
        None => err(Errno::EINTR),
    }
}

/// alarm(2): seconds.
///
/// # Errors
/// None.
pub fn alarm(cx: &mut Ctx<'_>, seconds: u32) -> SysResult {
    let spec =
        IntervalSpec { value: Duration::from_secs(seconds.into()), interval: Duration::ZERO };
    let old = cx.task.process.timers.set_itimer(cx.kernel, &cx.task.process, 0, spec)?;
    let left = old.value;
    // As Linux: rounded to the nearest second, but never to zero while something is left.
    let secs = left.as_secs() + u64::from(left.subsec_micros() >= 500_000);
    Ok(if secs == 0 && !left.is_zero() { 1 } else { secs as i64 })
}

fn read_itimerval(cx: &Ctx<'_>, at: UserAddr) -> Result<IntervalSpec> {
    let [is, iu, vs, vu]: [i64; 4] = cx.read_obj(at)?;
    let one = |s: i64, u: i64| {
        if s < 0 || !(0..1_000_000).contains(&u) {
            return err(Errno::EINVAL);
        }
        Ok(Duration::new(s as u64, u as u32 * 1000))
    };
    Ok(IntervalSpec { interval: one(is, iu)?, value: one(vs, vu)? })
}

fn itimerval(s: &IntervalSpec) -> [i64; 4] {
    let ([is, iu], [vs, vu]) = (timeval(s.interval), timeval(s.value));
    [is, iu, vs, vu]
}

/// getitimer(2).
///
/// # Errors
/// EINVAL, EFAULT.
pub fn getitimer(cx: &mut Ctx<'_>, which: u32, at: UserAddr) -> SysResult {
    let now = cx.task.process.timers.get_itimer(&cx.task.process, which)?;
    cx.write_obj(at, &itimerval(&now))?;
    Ok(0)
}

/// setitimer(2).
///
/// # Errors
/// EINVAL, EFAULT.
pub fn setitimer(cx: &mut Ctx<'_>, which: u32, new: UserAddr, old: UserAddr) -> SysResult {
    let spec = if new.is_null() { IntervalSpec::default() } else { read_itimerval(cx, new)? };
    let was = cx.task.process.timers.set_itimer(cx.kernel, &cx.task.process, which, spec)?;
    cx.write_opt(old, &itimerval(&was))?;
    Ok(0)
}

fn read_itimerspec(cx: &Ctx<'_>, at: UserAddr) -> Result<IntervalSpec> {
    let interval = read_timespec(cx, at)?;
    let value = read_timespec(cx, at.add(16)?)?;
    Ok(IntervalSpec { interval, value })
}

fn itimerspec(s: &IntervalSpec) -> [i64; 4] {
    let ([is, iu], [vs, vu]) = (timespec(s.interval), timespec(s.value));
    [is, iu, vs, vu]
}

/// timer_create(2).
///
/// # Errors
/// EINVAL, EAGAIN, EFAULT.
pub fn timer_create(cx: &mut Ctx<'_>, clock: u32, event: UserAddr, id: UserAddr) -> SysResult {
    let clock = ClockId::decode(clock)?;
    let event: Option<[u8; 64]> = if event.is_null() { None } else { Some(cx.read_obj(event)?) };
    let n = crate::time::posix::create(cx, clock, event.as_ref())?;
    if let Err(e) = cx.write_obj(id, &n) {
        let _ = cx.task.process.timers.delete(cx.kernel, n);
        return Err(e);
    }
    Ok(0)
}

/// timer_settime(2).
///
/// # Errors
/// EINVAL, EFAULT.
pub fn timer_settime(
    cx: &mut Ctx<'_>,
    id: i32,
    flags: u32,
    new: UserAddr,
    old: UserAddr,
) -> SysResult {
    if new.is_null() {
        return err(Errno::EINVAL);
    }
    let spec = read_itimerspec(cx, new)?;
    let was = cx.task.process.timers.set(cx.kernel, id, flags & 1 != 0, spec)?;
    cx.write_opt(old, &itimerspec(&was))?;
    Ok(0)
}

/// timer_gettime(2).
///
/// # Errors
/// EINVAL, EFAULT.
pub fn timer_gettime(cx: &mut Ctx<'_>, id: i32, at: UserAddr) -> SysResult {
    let now = cx.task.process.timers.get(id)?;
    cx.write_obj(at, &itimerspec(&now))?;
    Ok(0)
}

/// timer_getoverrun(2).
///
/// # Errors
/// EINVAL.
pub fn timer_getoverrun(cx: &mut Ctx<'_>, id: i32) -> SysResult {
    Ok(cx.task.process.timers.overrun(id)?.into())
}

/// timer_delete(2).
///
/// # Errors
/// EINVAL.
pub fn timer_delete(cx: &mut Ctx<'_>, id: i32) -> SysResult {
    cx.task.process.timers.delete(cx.kernel, id)?;
    Ok(0)
}
