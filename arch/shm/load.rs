//! Whether the host has a CPU to spare for the guests' threads.
//!
//! How many tasks want to run says little: a pipeline has several threads of ours on their way to sleep at any
//! moment. What counts is measured instead. While a virtual CPU has two host CPUs, somebody else's need shows as time
//! that its thread, bound to one of them, waited to run: a task that shares the other one is moved here by
//! the host as soon as the virtual CPU sleeps. While it has only one, a free CPU shows as idle time.

use crate::sys;

/// Nanoseconds between two looks.
const LOOK: u64 = 20_000_000;
/// Of the time between two looks, what part waiting means contention: one in so many.
const WAITED: u64 = 5;
/// So many looks in a row must show contention.
const LOOKS: u32 = 4;
/// Nanoseconds over which idle time is taken; the host counts it in hundredths of a second.
const IDLE_SPAN: u64 = 200_000_000;
/// Nanoseconds until a CPU that was taken away is asked for again, at first and at most: it doubles each time that
/// the second CPU did not last as long as that.
const HOLD: std::ops::RangeInclusive<u64> = 1_000_000_000..=16_000_000_000;

/// What the host says at one moment, in nanoseconds since some start.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sample {
    /// The clock.
    pub(super) at: u64,
    /// How long the calling thread has waited to run.
    pub(super) waited: u64,
    /// How long the host's CPUs have been idle, their sum.
    pub(super) idle: u64,
}

impl Sample {
    /// Of the calling thread, now; None if the host does not say (no CONFIG_SCHED_INFO, no /proc).
    pub(super) fn take(at: u64) -> Option<Sample> {
        Some(Sample { at, waited: sys::run_delay()?, idle: sys::idle_time()? })
    }
}

/// Decides from one sample to the next.
#[derive(Debug)]
pub(super) struct Load {
    last: Sample,
    /// Looks in a row that showed contention.
    contended: u32,
    /// When the arrangement changed last, and what the host said then or at the start of the span.
    since: u64,
    span: Sample,
    hold: u64,
}

impl Load {
    pub(super) fn new() -> Load {
        let none = Sample::default();
        Load { last: none, contended: 0, since: 0, span: none, hold: *HOLD.start() }
    }

    /// When to look again.
    pub(super) fn next(&self) -> u64 {
        self.last.at + LOOK
    }

    /// Whether guests shall have a second CPU from now on, given whether they have.
    pub(super) fn look(&mut self, now: Sample, split: bool) -> bool {
        let first = self.last.at == 0;
        let before = std::mem::replace(&mut self.last, now);
        if first {
            (self.since, self.span) = (now.at, now);
            return split;
        }
        let change = if split { self.is_contended(before, now) } else { self.has_free(now) };
        if change {
            if split {
                // It did not last: ask less often.
                let short = now.at - self.since < self.hold;
                self.hold = if short { (self.hold * 2).min(*HOLD.end()) } else { *HOLD.start() };
            }
            (self.since, self.span, self.contended) = (now.at, now, 0);
        }
        split != change
    }

    fn is_contended(&mut self, before: Sample, now: Sample) -> bool {
        let waited = now.waited.saturating_sub(before.waited);
        self.contended = match waited * WAITED > now.at - before.at {
            true => self.contended + 1,
            false => 0,
        };
        self.contended >= LOOKS
    }

    /// Three quarters of a CPU were idle over the last span.
    fn has_free(&mut self, now: Sample) -> bool {
        let span = now.at - self.span.at;
        if span < IDLE_SPAN {
            return false;
        }
        let idle = now.idle.saturating_sub(self.span.idle);
        self.span = now;
        idle * 4 >= span * 3 && now.at - self.since >= self.hold
    }
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
