//! The vvar page: what the vDSO's code computes the time from, and its calibration.
//!
//! A clock is a line over the time stamp counter (TSC): `base + (tsc - tsc0) * mult`. The host steers its own
//! clocks in the same manner, but keeps its numbers to itself; so we sample the host's clocks
//! against the counter now and then and publish lines that follow them.
//!
//! Rules of a published line:
//! - **It never goes back.** A new line starts where the old one is at that moment, and an error is made up by
//!   its slope until the next update. Only forward, and only when the error is large, it jumps.
//! - **It expires.** After twice the update period the vDSO takes the system call, so a line is not
//!   followed into a suspended host or a stalled kernel. What no guest has read may be jumped over.
//! - REALTIME and BOOTTIME are MONOTONIC plus an offset, which changes only when the host's clock is
//!   set: the noise of sampling must not reach it.
//! - If the counter is not what the host itself uses, or behaves oddly, the sequence number stays
//!   odd and every reader takes the system call.
//!
//! Steady state: an update every quarter of a second, of about two microseconds.

use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base::{Pfn, PhysAddr};

use crate::clock::{self, Sample};
use crate::physmem::PhysMem;
use crate::xsave::cpuid;

/// First and longest time between updates, in nanoseconds.
const FIRST_PERIOD: u64 = 2_000_000;
const LONGEST_PERIOD: u64 = 250_000_000;
/// From here on a baseline is long enough for the kernel's own stopwatch.
const STEADY_PERIOD: u64 = 4 * FIRST_PERIOD;
/// The shortest baseline that a first estimate is made from.
const SHORTEST_BASELINE: u64 = 200_000;
/// Errors beyond this are not slewed away, but jumped over (forward only).
const JUMP: i64 = 100_000;
/// Most that a slope may differ from the true one: 1/16.
const SLEW_SHIFT: u32 = 4;
/// Offsets of REALTIME and BOOTTIME are constant but for steps; smaller differences are noise.
const OFFSET_NOISE: u64 = 500;
/// A frequency that changes by more than this fraction (1/2048, 488 ppm) is a counter gone wrong.
const WILD_SHIFT: u32 = 11;
/// So many such events, and the counter is not used any more.
const PATIENCE: u32 = 10;

const CLOCKS: PhysAddr = PhysAddr(0x20);
const REALTIME: u64 = 0;
const MONOTONIC: u64 = 1;
const MONOTONIC_RAW: u64 = 4;
const REALTIME_COARSE: u64 = 5;
const MONOTONIC_COARSE: u64 = 6;
const BOOTTIME: u64 = 7;

/// A clock as a function of the counter.
#[derive(Clone, Copy, Debug, Default)]
struct Line {
    tsc: u64,
    ns: u64,
    /// Nanoseconds per tick, 32 fractional bits.
    mult: u64,
}

impl Line {
    fn at(&self, tsc: u64) -> u64 {
        let delta = tsc.wrapping_sub(self.tsc) as i64;
        let ns = (i128::from(delta) * i128::from(self.mult)) >> 32;
        self.ns.wrapping_add(ns as u64)
    }

    /// The line from `tsc` on that starts where readers of this one are (`read_to` is the last
    /// counter value at which they may have read it) and meets the host's clock, which is at
    /// `host` and runs at `mult`, after `period` ns.
    fn follow(&self, tsc: u64, read_to: u64, host: u64, mult: u64, period: u64) -> Line {
        let shown = self.at(read_to.min(tsc));
        if read_to < tsc {
            return Line { tsc, ns: shown.max(host), mult };
        }
        let error = host.wrapping_sub(shown) as i64;
        if error > JUMP {
            return Line { tsc, ns: host, mult };
        }
        let limit = (mult >> SLEW_SHIFT) as i128;
        let slew = i128::from(error) * i128::from(mult) / i128::from(period);
        let mult = (i128::from(mult) + slew.clamp(-limit, limit)) as u64;
        Line { tsc, ns: shown, mult }
    }
}

/// What is known of the host's clocks.
#[derive(Debug)]
struct Calibration {
    /// Where the current estimate of the frequency starts.
    anchor: Sample,
    last: Sample,
    /// Estimates: ns of MONOTONIC and of MONOTONIC_RAW per tick. 0: none yet.
    mult: u64,
    raw_mult: u64,
    monotonic: Line,
    raw: Line,
    /// Ticks after which readers do not use the lines.
    max_delta: u64,
    real_offset: i64,
    boot_offset: i64,
    period: u64,
    seq: u32,
    /// Wild events so far; at PATIENCE the counter is given up.
    wild: u32,
}

/// The vvar page of a kernel.
#[derive(Debug)]
pub struct Vvar {
    pfn: Pfn,
    usable: bool,
    due: AtomicU64,
    state: Mutex<Calibration>,
}

/// Ticks to nanoseconds for the first moment, before anything was measured.
const NOMINAL_MULT: u64 = (1 << 32) / 3;

impl Vvar {
    /// Makes `pfn` the vvar page. Without an [`Vvar::update`] readers take the system call. `cpus` is the
    /// number of virtual CPUs: with one, getcpu needs no system call. Make it early in boot: time that
    /// passes until the first update is a baseline for it.
    pub fn new(phys: &PhysMem, pfn: Pfn, cpus: u32) -> Vvar {
        phys.zero(pfn, 1);
        let cpu = if cpus == 1 { 0 } else { u32::MAX };
        phys.word64(pfn.addr()).store(1 | u64::from(cpu) << 32, Ordering::Release);
        let first = clock::sample(NOMINAL_MULT);
        let usable = counter_is_usable();
        Vvar {
            pfn,
            usable,
            due: AtomicU64::new(if usable { 0 } else { u64::MAX }),
            state: Mutex::new(Calibration {
                anchor: first,
                last: first,
                mult: 0,
                raw_mult: 0,
                monotonic: Line::default(),
                raw: Line::default(),
                max_delta: 0,
                real_offset: 0,
                boot_offset: 0,
                period: FIRST_PERIOD,
                seq: 1,
                wild: 0,
            }),
        }
    }

    /// The frame, to be mapped read-only in front of [`crate::vdso::image`].
    pub fn pfn(&self) -> Pfn {
        self.pfn
    }

    /// Whether guests read the counter at all.
    pub fn uses_counter(&self) -> bool {
        self.due.load(Ordering::Relaxed) != u64::MAX
    }

    /// Updates the page if it is time to. Cheap (one read of the counter) if not: call it on every way
    /// into user mode, or at least after each sleep of a virtual CPU and on each timer tick.
    #[inline]
    pub fn refresh(&self, phys: &PhysMem) {
        let due = self.due.load(Ordering::Relaxed);
        if due != u64::MAX && clock::tsc() >= due {
            self.update(phys);
        }
    }

    /// Publishes lines that follow the host's clocks; says when to do so again.
    pub fn update(&self, phys: &PhysMem) -> Duration {
        // No other work is done under this lock, and a panic ends the kernel.
        let mut c = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.usable || c.wild >= PATIENCE {
            return Duration::MAX;
        }
        let now = c.take_sample();
        let read_to = c.monotonic.tsc.saturating_add(c.max_delta);
        if !c.estimate(now) {
            // Readers take the system call until there is a new baseline.
            if c.seq & 1 == 0 {
                c.seq = c.seq.wrapping_add(1);
                self.store_seq(phys, c.seq);
            }
            let give_up = c.wild >= PATIENCE;
            let wait = c.ticks(SHORTEST_BASELINE);
            self.due.store(if give_up { u64::MAX } else { now.tsc + wait }, Ordering::Relaxed);
            return if give_up { Duration::MAX } else { Duration::from_nanos(SHORTEST_BASELINE) };
        }
        c.follow_offsets(now);
        if c.seq & 1 == 0 {
            c.seq = c.seq.wrapping_add(1);
            self.store_seq(phys, c.seq);
        }
        fence(Ordering::SeqCst);
        // From here on no reader gets a value of the old line.
        let tsc = clock::tsc();
        let period = c.period;
        let host = Line { tsc: now.tsc, ns: now.monotonic, mult: c.mult };
        let raw_now = now.monotonic.wrapping_add_signed(now.raw_offset);
        let host_raw = Line { tsc: now.tsc, ns: raw_now, mult: c.raw_mult };
        c.monotonic = c.monotonic.follow(tsc, read_to, host.at(tsc), c.mult, period);
        c.raw = c.raw.follow(tsc, read_to, host_raw.at(tsc), c.raw_mult, period);
        c.max_delta = c.ticks(2 * period);
        self.publish(phys, &c);
        c.seq = c.seq.wrapping_add(1);
        self.store_seq(phys, c.seq);
        if period >= STEADY_PERIOD {
            clock::set_tick(c.mult);
        }
        c.period = (2 * period).min(LONGEST_PERIOD);
        self.due.store(tsc + c.ticks(period), Ordering::Relaxed);
        Duration::from_nanos(period)
    }

    fn store_seq(&self, phys: &PhysMem, seq: u32) {
        let word = phys.word64(self.pfn.addr());
        let cpu = word.load(Ordering::Relaxed) & !0xffff_ffff;
        word.store(cpu | u64::from(seq), Ordering::Release);
    }

    fn publish(&self, phys: &PhysMem, c: &Calibration) {
        let base = self.pfn.addr();
        let put = |at: usize, v: u64| phys.word64(base.add(at)).store(v, Ordering::Release);
        put(0x08, c.monotonic.tsc);
        put(0x10, c.max_delta);
        let monotonic =
            |offset: i64| (c.monotonic.ns.wrapping_add_signed(offset), c.monotonic.mult);
        for (id, (ns, mult)) in [
            (REALTIME, monotonic(c.real_offset)),
            (MONOTONIC, monotonic(0)),
            (MONOTONIC_RAW, (c.raw.ns, c.raw.mult)),
            (REALTIME_COARSE, monotonic(c.real_offset)),
            (MONOTONIC_COARSE, monotonic(0)),
            (BOOTTIME, monotonic(c.boot_offset)),
        ] {
            let at = (CLOCKS.0 + id * 32) as usize;
            put(at, ns / 1_000_000_000);
            put(at + 8, ns % 1_000_000_000);
            put(at + 16, mult);
        }
    }
}

impl Calibration {
    fn ticks(&self, ns: u64) -> u64 {
        let mult = if self.mult == 0 { NOMINAL_MULT } else { self.mult };
        ((u128::from(ns) << 32) / u128::from(mult)) as u64
    }

    /// A sample with a baseline that is long enough for an estimate.
    fn take_sample(&self) -> Sample {
        let mut mult = if self.mult == 0 { NOMINAL_MULT } else { self.mult };
        loop {
            let s = clock::sample(mult);
            let ns = s.monotonic.wrapping_sub(self.anchor.monotonic);
            if ns < SHORTEST_BASELINE {
                std::hint::spin_loop();
            } else if self.mult != 0 || mult != NOMINAL_MULT {
                return s;
            } else {
                // The parts of a sample are related by the frequency: take it again with a better one.
                let ticks = s.tsc.wrapping_sub(self.anchor.tsc).max(1);
                mult = ((u128::from(ns) << 32) / u128::from(ticks)) as u64;
            }
        }
    }

    /// Brings the estimates of the frequencies up to date. False: the counter cannot be trusted
    /// just now; the measuring starts anew from here.
    fn estimate(&mut self, now: Sample) -> bool {
        let ticks = now.tsc.wrapping_sub(self.anchor.tsc);
        let ns = now.monotonic.wrapping_sub(self.anchor.monotonic);
        let raw = ns.wrapping_add_signed(now.raw_offset - self.anchor.raw_offset);
        let sane = (ticks as i64) > 0 && ns / ticks < 100;
        let per_tick = |ns: u64| ((u128::from(ns) << 32) / u128::from(ticks.max(1))) as u64;
        let (mult, raw_mult) = (per_tick(ns), per_tick(raw));
        // The first estimates are rough; later ones agree to a few parts in a million.
        let settled = self.mult != 0 && self.period > 8 * FIRST_PERIOD;
        let wild = settled && mult.abs_diff(self.mult) > self.mult >> WILD_SHIFT;
        if !sane || mult == 0 || wild {
            self.wild += 1;
            self.anchor = now;
            self.last = now;
            self.period = FIRST_PERIOD;
            self.mult = 0;
            return false;
        }
        if self.mult == 0 {
            // The anchor's offset was computed before any frequency was known. The two clocks
            // differ by some parts in a million: nothing over this short baseline.
            self.anchor.raw_offset = now.raw_offset;
            self.raw_mult = mult;
        } else {
            self.raw_mult = raw_mult;
        }
        self.mult = mult;
        if ns >= 2 * self.period.min(LONGEST_PERIOD) {
            // The host may have changed its slope: forget what is older than the last period or two.
            self.anchor = self.last;
        }
        self.last = now;
        true
    }

    fn follow_offsets(&mut self, now: Sample) {
        if now.real_offset.abs_diff(self.real_offset) > OFFSET_NOISE {
            self.real_offset = now.real_offset;
        }
        if now.boot_offset.abs_diff(self.boot_offset) > OFFSET_NOISE {
            self.boot_offset = now.boot_offset;
        }
    }
}

/// Whether the counter runs evenly, always and alike on all CPUs: best known by whether the host itself
/// keeps time by it, directly or (in a virtual machine) through a page of the hypervisor's.
fn counter_is_usable() -> bool {
    let path = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    let source = std::fs::read_to_string(path).unwrap_or_default();
    let invariant =
        cpuid(0x8000_0000, 0).eax >= 0x8000_0007 && cpuid(0x8000_0007, 0).edx & 1 << 8 != 0;
    let rdtscp = cpuid(0x8000_0001, 0).edx & 1 << 27 != 0;
    let paravirtual = ["kvm-clock", "hyperv_clocksource_tsc_page", "xen"];
    let source = source.trim();
    rdtscp && (source == "tsc" || invariant && paravirtual.contains(&source))
}

#[cfg(test)]
#[path = "vvar_tests.rs"]
mod tests;
