//! The clocks of the host, through the one door for what is not deterministic.

use std::arch::x86_64::{_mm_lfence, _rdtsc};
use std::sync::atomic::{AtomicU64, Ordering};

use base::{Instant, Timestamp};

fn read(id: libc::clockid_t) -> (i64, u32) {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes the timespec that it is given.
    unsafe {
        libc::clock_gettime(id, &mut t);
    }
    (t.tv_sec, t.tv_nsec as u32)
}

fn read_ns(id: libc::clockid_t) -> u64 {
    let (s, n) = read(id);
    s as u64 * 1_000_000_000 + u64::from(n)
}

/// CLOCK_MONOTONIC.
pub fn monotonic() -> Instant {
    Instant(read_ns(libc::CLOCK_MONOTONIC))
}

/// CLOCK_REALTIME.
pub fn realtime() -> Timestamp {
    let (sec, nsec) = read(libc::CLOCK_REALTIME);
    Timestamp { sec, nsec }
}

/// CLOCK_BOOTTIME: as [`monotonic`], with the time that the host was suspended.
pub fn boot() -> Instant {
    Instant(read_ns(libc::CLOCK_BOOTTIME))
}

/// CLOCK_MONOTONIC_RAW: not steered by the host's NTP.
pub fn monotonic_raw() -> Instant {
    Instant(read_ns(libc::CLOCK_MONOTONIC_RAW))
}

/// CPU time of the kernel process, in nanoseconds.
pub fn process_cpu() -> u64 {
    read_ns(libc::CLOCK_PROCESS_CPUTIME_ID)
}

/// CPU time of the calling host thread (a virtual CPU), in nanoseconds.
pub fn thread_cpu() -> u64 {
    read_ns(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// Nanoseconds a tick of the time stamp counter, times 2^32; 0: not known, or no counter to trust.
static TICK: AtomicU64 = AtomicU64::new(0);
/// Where [`stopwatch`] begins: the counter, and the monotonic clock in nanoseconds.
static START: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];

/// What the calibration of the counter has found. The first call counts.
pub(crate) fn set_tick(mult: u64) {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        START[0].store(tsc(), Ordering::Relaxed);
        START[1].store(monotonic().0, Ordering::Relaxed);
        TICK.store(mult, Ordering::Release);
    });
}

/// Nanoseconds as [`monotonic`], but not steered, so that it departs from it in time: for durations
/// within the kernel, as cheap as can be.
#[inline]
pub fn stopwatch() -> u64 {
    let tick = TICK.load(Ordering::Acquire);
    if tick == 0 {
        return monotonic().0;
    }
    let [start, ns] = [0, 1].map(|i: usize| START[i].load(Ordering::Relaxed));
    // SAFETY: as in `tsc`.
    let ticks = unsafe { _rdtsc() }.saturating_sub(start);
    ns + ((u128::from(ticks) * u128::from(tick)) >> 32) as u64
}

/// The time stamp counter, not read before what precedes it in the program.
#[inline]
pub(crate) fn tsc() -> u64 {
    // SAFETY: every x86-64 CPU has LFENCE and RDTSC. A host that forbids RDTSC (PR_SET_TSC)
    // forbids it to its own vDSO too.
    unsafe {
        _mm_lfence();
        _rdtsc()
    }
}

/// All clocks and the counter at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sample {
    /// The counter at the moment of `monotonic`.
    pub(crate) tsc: u64,
    /// CLOCK_MONOTONIC, ns.
    pub(crate) monotonic: u64,
    /// CLOCK_MONOTONIC_RAW less CLOCK_MONOTONIC, ns.
    pub(crate) raw_offset: i64,
    /// CLOCK_REALTIME less CLOCK_MONOTONIC, ns.
    pub(crate) real_offset: i64,
    /// CLOCK_BOOTTIME less CLOCK_MONOTONIC, ns.
    pub(crate) boot_offset: i64,
}

/// One clock against the counter: (counter, clock), from the tightest of a few tries.
fn bracket(id: libc::clockid_t) -> (u64, u64) {
    let mut best = (u64::MAX, 0, 0);
    for _ in 0..5 {
        let before = tsc();
        let ns = read_ns(id);
        let width = tsc().wrapping_sub(before);
        if width < best.0 {
            best = (width, before.wrapping_add(width / 2), ns);
        }
    }
    (best.1, best.2)
}

/// Reads all clocks against the counter; `ns_per_tick` (32 fractional bits) relates them to
/// each other. About a microsecond.
pub(crate) fn sample(ns_per_tick: u64) -> Sample {
    let (tsc, monotonic) = bracket(libc::CLOCK_MONOTONIC);
    let offset = |id| {
        let (t, ns) = bracket(id);
        let later = (u128::from(t.wrapping_sub(tsc)) * u128::from(ns_per_tick)) >> 32;
        ns as i64 - (monotonic as i64 + later as i64)
    };
    Sample {
        tsc,
        monotonic,
        raw_offset: offset(libc::CLOCK_MONOTONIC_RAW),
        real_offset: offset(libc::CLOCK_REALTIME),
        boot_offset: offset(libc::CLOCK_BOOTTIME),
    }
}
