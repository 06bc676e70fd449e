//! What is done at leisure: load averages, write-back of dirty pages, waking readers of the log.
//!
//! A tick comes every five seconds while the system does something; when nothing has run for a minute it
//! stops, and the idle loop starts it again when something has run. So an idle Umbra sleeps in the host
//! without end. Pages are written by a kernel thread (`kflushd`), since that may sleep; every half minute
//! it also syncs the file systems whose changes are to last.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use base::{Instant, PollEvents, Sleep, WaitQueue};

use crate::Kernel;
use crate::config::{DiskAccess, DiskConfig};
use crate::load;
use crate::time::timer::Expire;

const PERIOD: Duration = Duration::from_nanos(load::PERIOD_NS);
/// Between two moments at which everything becomes durable.
const SYNC_PERIOD: Duration = Duration::from_secs(30);
/// Ticks without anything to do after which there are no more.
const QUIET_TICKS: u32 = 12;
/// Pages written before others get the CPU.
const BATCH: u64 = 256;

/// The state of housekeeping.
#[derive(Debug)]
pub struct Housekeeping {
    tick: Arc<Tick>,
    armed: AtomicBool,
    /// Context switches at the last tick.
    switches: AtomicU64,
    quiet: AtomicU32,
    flush: WaitQueue,
    flush_wanted: AtomicBool,
    threads: AtomicU32,
    /// When everything was made durable last, monotonic nanoseconds.
    synced: AtomicU64,
}

#[derive(Debug)]
struct Tick(Weak<Kernel>);

impl Expire for Tick {
    fn expire(&self, now: Instant) {
        if let Some(k) = self.0.upgrade() {
            k.tick(now);
        }
    }
}

impl Housekeeping {
    /// Of a kernel that is being made.
    pub fn new(kernel: &Weak<Kernel>) -> Housekeeping {
        Housekeeping {
            tick: Arc::new(Tick(kernel.clone())),
            armed: AtomicBool::new(false),
            switches: AtomicU64::new(0),
            quiet: AtomicU32::new(0),
            flush: WaitQueue::new(),
            flush_wanted: AtomicBool::new(false),
            threads: AtomicU32::new(0),
            synced: AtomicU64::new(arch::clock::monotonic().0),
        }
    }
}

impl Kernel {
    fn tick(&self, now: Instant) {
        let h = &self.housekeeping;
        h.armed.store(false, Ordering::Relaxed);
        let running = self.sched.running();
        self.load.sample(now, running);
        self.log.wake_readers();
        if self.memory.stats().dirty > 0 || self.sync_is_due(now) {
            h.flush_wanted.store(true, Ordering::SeqCst);
            h.flush.wake_all(PollEvents::empty());
        }
        crate::tracing::flush();
        let switches = self.sched.switches.load(Ordering::Relaxed);
        // The tick itself, and the flusher, are a few switches.
        let busy = running > 0 || switches > h.switches.swap(switches, Ordering::Relaxed) + 4;
        let quiet = if busy { 0 } else { h.quiet.load(Ordering::Relaxed) + 1 };
        h.quiet.store(quiet, Ordering::Relaxed);
        if quiet < QUIET_TICKS {
            self.arm_tick(now);
        }
    }

    fn arm_tick(&self, now: Instant) {
        let h = &self.housekeeping;
        if !h.armed.swap(true, Ordering::Relaxed) {
            let tick: Arc<dyn Expire> = h.tick.clone();
            self.sched.timers.call(now + PERIOD, Arc::downgrade(&tick));
        }
    }

    /// The idle loop has nothing to run. Says whether it should look again before it sleeps.
    pub fn idle_work(&self) -> bool {
        if self.life.ending() && self.all_gone() {
            self.sched.stop();
            return true;
        }
        if self.machine.idle_work() {
            return true;
        }
        let h = &self.housekeeping;
        if !h.armed.load(Ordering::Relaxed) {
            let switches = self.sched.switches.load(Ordering::Relaxed);
            if switches > h.switches.load(Ordering::Relaxed) + 4 {
                h.quiet.store(0, Ordering::Relaxed);
                self.arm_tick(arch::clock::monotonic());
            }
        }
        self.log.wake_readers();
        crate::tracing::flush();
        self.sched.running() > 0
    }

    /// The body of the kernel thread that writes dirty pages back. Ends with the kernel.
    pub fn flusher(&self) {
        let h = &self.housekeeping;
        h.threads.fetch_add(1, Ordering::SeqCst);
        while !self.life.ending() {
            let _ = h.flush.wait_until(Sleep::Uninterruptible, None, || {
                h.flush_wanted.swap(false, Ordering::SeqCst).then_some(())
            });
            while !self.life.ending() && self.memory.write_back(BATCH) > 0 {
                if let Some(me) = crate::sched::current() {
                    self.sched.yield_now(&me, true);
                }
            }
            let now = arch::clock::monotonic();
            if !self.life.ending() && self.sync_is_due(now) {
                h.synced.store(now.0, Ordering::Relaxed);
                if let Err(e) = self.vfs.sync_all() {
                    log::error!("writing back: {}", e.errno().text());
                }
            }
        }
        h.threads.fetch_sub(1, Ordering::SeqCst);
    }

    /// Whether it is time for what is kept in memory to become durable: names and attributes, too.
    /// Not where changes are thrown away in the end.
    fn sync_is_due(&self, now: Instant) -> bool {
        let keeps = |d: &DiskConfig| !matches!(d.access, DiskAccess::Cow | DiskAccess::ReadOnly);
        self.config.disks.iter().any(keeps)
            && now - Instant(self.housekeeping.synced.load(Ordering::Relaxed)) >= SYNC_PERIOD
    }

    /// Ends the kernel's own threads.
    pub fn end_housekeeping(&self) {
        self.housekeeping.flush_wanted.store(true, Ordering::SeqCst);
        self.housekeeping.flush.wake_all(PollEvents::empty());
    }

    /// Whether they have ended.
    pub fn no_kernel_threads(&self) -> bool {
        self.housekeeping.threads.load(Ordering::SeqCst) == 0
    }
}
