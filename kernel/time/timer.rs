//! The timer queue: what is to happen at which monotonic time.
//!
//! One queue for the kernel, ordered by expiry. The earliest one is armed in the host
//! (`arch::timer`), together with the end of the running task's slice; expiry kicks the virtual CPU,
//! and the scheduler calls [`TimerQueue::run_expired`] at the next safe point.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use base::lock::{Rank, SpinLock};
use base::time::Instant;
use base::wait::{PollEvents, Wake};

/// What a timer does when it expires: runs on a virtual CPU, without locks, and must not sleep.
pub trait Expire: Send + Sync {
    /// The time has come (`now` may be later).
    fn expire(&self, now: Instant);
}

enum Action {
    Wake(Arc<dyn Wake>),
    Call(Weak<dyn Expire>),
}

/// Names a pending timer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TimerId(Instant, u64);

/// All pending timers.
pub struct TimerQueue {
    queue: SpinLock<BTreeMap<(Instant, u64), Action>>,
    seq: AtomicU64,
    /// The earliest expiry in the queue (u64::MAX: none): looked at without the lock.
    earliest: AtomicU64,
    slice_end: AtomicU64,
}

impl std::fmt::Debug for TimerQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TimerQueue")
    }
}

impl Default for TimerQueue {
    fn default() -> Self {
        TimerQueue::new()
    }
}

impl TimerQueue {
    /// No timers.
    pub const fn new() -> TimerQueue {
        TimerQueue {
            queue: SpinLock::new(Rank::Timer, BTreeMap::new()),
            seq: AtomicU64::new(0),
            earliest: AtomicU64::new(u64::MAX),
            slice_end: AtomicU64::new(u64::MAX),
        }
    }

    fn insert(&self, at: Instant, action: Action) -> TimerId {
        let id = TimerId(at, self.seq.fetch_add(1, Ordering::Relaxed));
        let mut q = self.queue.lock();
        q.insert((id.0, id.1), action);
        if at.0 < self.earliest.load(Ordering::Relaxed) {
            self.earliest.store(at.0, Ordering::Relaxed);
            drop(q);
            self.rearm();
        }
        id
    }

    /// Wakes `who` at `at`.
    pub fn add(&self, at: Instant, who: Arc<dyn Wake>) -> TimerId {
        self.insert(at, Action::Wake(who))
    }

    /// Calls `what` at `at`, if it still exists then.
    pub fn call(&self, at: Instant, what: Weak<dyn Expire>) -> TimerId {
        self.insert(at, Action::Call(what))
    }

    /// Takes a timer back; false if it has expired already.
    pub fn cancel(&self, id: TimerId) -> bool {
        let mut q = self.queue.lock();
        let gone = q.remove(&(id.0, id.1));
        let next = q.first_key_value().map_or(u64::MAX, |((at, _), _)| at.0);
        self.earliest.store(next, Ordering::Relaxed);
        drop(q);
        // The host timer may still fire for it: one spurious interrupt is cheaper than re-arming.
        gone.is_some()
    }

    /// The earliest expiry.
    pub fn next(&self) -> Option<Instant> {
        match self.earliest.load(Ordering::Relaxed) {
            u64::MAX => None,
            at => Some(Instant(at)),
        }
    }

    /// The running task's slice ends at `end`.
    pub fn arm_slice(&self, end: Instant) {
        self.slice_end.store(end.0, Ordering::Relaxed);
        self.rearm();
    }

    fn rearm(&self) {
        let at = self.earliest.load(Ordering::Relaxed).min(self.slice_end.load(Ordering::Relaxed));
        if at != u64::MAX {
            arch::timer::arm(Some(Instant(at)));
        }
    }

    /// Does what is due, and arms the host timer for what is next.
    pub fn run_expired(&self, now: Instant) {
        if self.slice_end.load(Ordering::Relaxed) <= now.0 {
            self.slice_end.store(u64::MAX, Ordering::Relaxed);
        }
        while self.earliest.load(Ordering::Relaxed) <= now.0 {
            let mut q = self.queue.lock();
            let Some(e) = q.first_entry() else { break };
            if e.key().0 > now {
                break;
            }
            let action = e.remove();
            let next = q.first_key_value().map_or(u64::MAX, |((at, _), _)| at.0);
            self.earliest.store(next, Ordering::Relaxed);
            drop(q);
            match action {
                Action::Wake(w) => w.wake(PollEvents::empty()),
                Action::Call(c) => {
                    if let Some(c) = c.upgrade() {
                        c.expire(now);
                    }
                }
            }
        }
        self.rearm();
    }
}
