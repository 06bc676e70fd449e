//! The clocks of the host, through the one door for what is not deterministic.

use base::{Instant, Timestamp};

fn read(id: libc::clockid_t) -> (i64, u32) {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes the timespec that it is given.
    unsafe {
        libc::clock_gettime(id, &mut t);
    }
    (t.tv_sec, t.tv_nsec as u32)
}

/// CLOCK_MONOTONIC.
pub fn monotonic() -> Instant {
    let (s, n) = read(libc::CLOCK_MONOTONIC);
    Instant(s as u64 * 1_000_000_000 + u64::from(n))
}

/// CLOCK_REALTIME.
pub fn realtime() -> Timestamp {
    let (sec, nsec) = read(libc::CLOCK_REALTIME);
    Timestamp { sec, nsec }
}
