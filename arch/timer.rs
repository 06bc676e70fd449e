//! The virtual CPU's timer: one POSIX timer on CLOCK_MONOTONIC whose signal goes to the CPU's own
//! host thread.
//!
//! Arming is lazy. The kernel arms for its next event at every turn, mostly for one that is later
//! than what is armed already; then there is nothing to tell the host. The earlier expiry comes as
//! a spurious interrupt, at which the kernel arms again.

use std::cell::Cell;
use std::sync::atomic::Ordering;

use base::{Instant, Result};

use crate::cpu::{self, SIG_TIMER};
use crate::sys::{HostPid, check};

thread_local! {
    static TIMER: Cell<Option<libc::timer_t>> = const { Cell::new(None) };
}

#[inline(never)]
fn timer() -> Option<libc::timer_t> {
    TIMER.get()
}

/// Makes the timer of the calling host thread.
pub(crate) fn set_up(tid: HostPid) -> Result<()> {
    // SAFETY: a sigevent is plain data; the call reads it and writes the id.
    let id = unsafe {
        let mut event: libc::sigevent = std::mem::zeroed();
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_signo = SIG_TIMER;
        event.sigev_notify_thread_id = tid;
        let mut id: libc::timer_t = std::ptr::null_mut();
        check(libc::timer_create(libc::CLOCK_MONOTONIC, &mut event, &mut id).into())?;
        id
    };
    TIMER.set(Some(id));
    Ok(())
}

/// Deletes it.
pub(crate) fn tear_down() {
    if let Some(id) = TIMER.take() {
        // SAFETY: made by `set_up` and deleted once.
        unsafe {
            libc::timer_delete(id);
        }
    }
}

/// Asks for an interrupt at `when` on the calling virtual CPU (at once if that has passed), or for
/// none. There may be earlier ones, too. No host call is made if an earlier or equal expiry is
/// armed; `None` leaves what is armed as it is.
pub fn arm(when: Option<Instant>) {
    let (Some(Instant(when)), Some(slot), Some(id)) = (when, cpu::here(), timer()) else {
        return;
    };
    // The handler resets `armed` when the timer expires, and it is set before the timer is: an
    // expiry in between leaves it as "not armed", which costs at most one more call.
    if slot.armed.load(Ordering::Relaxed) <= when {
        return;
    }
    set(slot, id, when);
}

/// From an interrupt handler on a virtual CPU: an interrupt in `nanoseconds`, unless there is one
/// earlier. Async-signal-safe; leaves errno as it was.
pub(crate) fn arm_from_handler(slot: &cpu::Slot, nanoseconds: u64) {
    let Some(id) = timer() else { return };
    let when = crate::clock::monotonic().0 + nanoseconds;
    if slot.armed.load(Ordering::Relaxed) > when {
        // SAFETY: errno is the calling thread's own and is restored.
        unsafe {
            let errno = libc::__errno_location();
            let saved = *errno;
            set(slot, id, when);
            *errno = saved;
        }
    }
}

fn set(slot: &cpu::Slot, id: libc::timer_t, when: u64) {
    let when = when.max(1); // zero would disarm
    slot.armed.store(when, Ordering::Relaxed);
    let at = libc::timespec {
        tv_sec: (when / 1_000_000_000) as i64,
        tv_nsec: (when % 1_000_000_000) as i64,
    };
    let none = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let spec = libc::itimerspec { it_interval: none, it_value: at };
    // SAFETY: the timer is this thread's own; the specification is only read.
    unsafe {
        libc::timer_settime(id, libc::TIMER_ABSTIME, &spec, std::ptr::null_mut());
    }
}
