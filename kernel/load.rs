//! The load averages of /proc/loadavg and sysinfo(2): how many tasks run or wait for a CPU, averaged with
//! weights that fall exponentially over one, five and fifteen minutes.
//!
//! A sample is taken every five seconds while the system does something. Time without samples counts as
//! time without load, so that an idle system needs no timer.

use base::lock::{Rank, SpinLock};
use base::time::Instant;

/// Nanoseconds between samples.
pub const PERIOD_NS: u64 = 5_000_000_000;
const MINUTE_NS: f64 = 60e9;

#[derive(Debug)]
struct State {
    at: Instant,
    averages: [f64; 3],
}

/// The averages.
#[derive(Debug)]
pub struct LoadAverage {
    state: SpinLock<State>,
}

impl LoadAverage {
    /// Zero at `now`.
    pub fn new(now: Instant) -> LoadAverage {
        LoadAverage { state: SpinLock::new(Rank::Leaf, State { at: now, averages: [0.0; 3] }) }
    }

    /// `active` tasks run or wait now, and have done so for the last period. What lies before that and
    /// after the last sample was idle.
    pub fn sample(&self, now: Instant, active: usize) {
        let mut s = self.state.lock();
        let passed = now.0.saturating_sub(s.at.0);
        let busy = passed.min(PERIOD_NS + PERIOD_NS / 2);
        s.decay(passed - busy, 0.0);
        s.decay(busy, active as f64);
        s.at = now;
    }

    /// The averages over 1, 5 and 15 minutes at `now`.
    pub fn at(&self, now: Instant) -> [f64; 3] {
        let s = self.state.lock();
        let idle = now.0.saturating_sub(s.at.0);
        // The current period is not over: what it brings is not known yet.
        let mut copy = State { at: s.at, averages: s.averages };
        drop(s);
        copy.decay(idle.saturating_sub(PERIOD_NS), 0.0);
        copy.averages
    }

    /// The averages now.
    pub fn averages(&self) -> [f64; 3] {
        self.at(arch::clock::monotonic())
    }
}

impl State {
    fn decay(&mut self, ns: u64, active: f64) {
        for (avg, minutes) in self.averages.iter_mut().zip([1.0, 5.0, 15.0]) {
            let keep = (-(ns as f64) / (minutes * MINUTE_NS)).exp();
            *avg = *avg * keep + active * (1.0 - keep);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    #[test]
    fn one_task_for_a_minute() {
        let l = LoadAverage::new(Instant(0));
        for i in 1..=12 {
            l.sample(Instant(i * PERIOD_NS), 1);
        }
        let [one, five, fifteen] = l.at(Instant(60 * S));
        // 1 - 1/e, 1 - e^(-1/5), 1 - e^(-1/15)
        assert!((one - 0.632).abs() < 0.001, "{one}");
        assert!((five - 0.181).abs() < 0.001, "{five}");
        assert!((fifteen - 0.064).abs() < 0.001, "{fifteen}");
    }

    #[test]
    fn idle_time_needs_no_samples() {
        let sampled = LoadAverage::new(Instant(0));
        let lazy = LoadAverage::new(Instant(0));
        for l in [&sampled, &lazy] {
            l.sample(Instant(PERIOD_NS), 4);
        }
        for i in 2..=20 {
            sampled.sample(Instant(i * PERIOD_NS), 0);
        }
        lazy.sample(Instant(20 * PERIOD_NS), 0);
        let (a, b) = (sampled.at(Instant(100 * S)), lazy.at(Instant(100 * S)));
        for (x, y) in a.iter().zip(b) {
            assert!((x - y).abs() < 1e-9);
        }
        assert!(lazy.at(Instant(3600 * S))[0] < 1e-6);
    }
}
