//! The hand-off between a virtual CPU and a guest thread.
//!
//! Both sides wait for a word that the other writes: the thread for GO, the CPU for EV. Waiting costs least
//! by looking again and again, if each has a host CPU of its own (*split*: a round trip of 0.3 us); if there is
//! only one for both, by a futex (*shared*: 1.5 us and more). Sleeping across host CPUs costs most (7 to 20 us): it
//! is what both arrangements avoid. Whoever has looked for long enough sleeps all the same, so that a
//! guest that computes costs no second host CPU, and an idle one none at all.
//!
//! `auto` splits while the host has a CPU to spare (load.rs), and shares without it.

use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering};

use spin::Mutex;

use super::control::{Region, Slot};
use super::host::{futex_wait, futex_wake, lives};
use super::layout::{k, park, s};
use super::load::{Load, Sample};
use crate::cpu;
use crate::sys::{self, HostPid};

/// How often a guest thread looks at GO before it sleeps, split: about a millisecond.
const THREAD_LOOKS: u32 = 20_000;
/// Nanoseconds that a CPU looks at EV before it sleeps, split.
const CPU_LOOKS_NS: u64 = 400_000;
/// Nanoseconds that a CPU looks for a server's answer before it sleeps, split.
const SERVER_LOOKS_NS: u64 = 200_000;
/// Longest sleep of a CPU whose guest does not come back. An interrupt ends it at once: this is
/// for a child whose death nobody has announced.
const LONG_NS: u64 = 500_000_000;
/// Unanswered kicks before the watchdog looks closely.
const PATIENCE: u32 = 12;
/// Nanoseconds of the process's own CPU time in which a kick must be answered.
const WATCHDOG_NS: u64 = 100_000_000;

/// Nanoseconds between two looks at a thread that should answer by itself.
const SOON_NS: u64 = 1_000_000;
/// How often to look at it before sleeping.
const SOON_LOOKS: u32 = 2_000;

/// What the user asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Policy {
    /// By the host's load.
    #[default]
    Auto,
    /// Always split (shared if there is one host CPU only).
    Spin,
    /// Always shared.
    Futex,
}

/// The arrangement of one virtual CPU.
#[derive(Debug)]
pub(super) struct Handoff {
    policy: Policy,
    split: AtomicBool,
    /// The host CPU of the kernel's thread, and another one, if there is.
    cpus: (usize, Option<usize>),
    /// PARK of the thread that was entered last: it may be looking at GO.
    last: AtomicPtr<u32>,
    /// PARK of the one before: it may be yielding.
    before: AtomicPtr<u32>,
    /// When the load is looked at next, nanoseconds.
    look_at: AtomicU64,
    load: Mutex<Load>,
}

/// The thread does not come back and must be killed, or is dead.
#[derive(Debug)]
pub(super) struct Lost;

impl Handoff {
    /// To be called on the thread of the virtual CPU, before it is bound.
    pub(super) fn new(policy: Policy) -> Handoff {
        let (here, other) = cpu::pin_to_one_host_cpu();
        let split = policy != Policy::Futex && other.is_some();
        Handoff {
            policy,
            split: AtomicBool::new(split),
            cpus: (here, other),
            last: AtomicPtr::new(std::ptr::null_mut()),
            before: AtomicPtr::new(std::ptr::null_mut()),
            look_at: AtomicU64::new(0),
            load: Mutex::new(Load::new()),
        }
    }

    /// Whether guest threads have a host CPU of their own now.
    #[inline]
    pub(super) fn is_split(&self) -> bool {
        self.split.load(Ordering::Relaxed)
    }

    /// The host CPU where guest threads belong now.
    fn place(&self) -> usize {
        match self.cpus {
            (_, Some(other)) if self.is_split() => other,
            (here, _) => here,
        }
    }

    /// Lets a thread go on from the event that it has reported.
    #[inline]
    pub(super) fn resume(&self, r: &Region, thread: &mut Placed, event: u32) {
        let split = self.is_split();
        if thread.on != Some(self.place()) {
            self.settle(thread);
        }
        r.k32(k::PARK).store(park::TURN, Ordering::Relaxed);
        r.k32(k::SPIN).store(if split { THREAD_LOOKS } else { 0 }, Ordering::Relaxed);
        r.k32(k::SLEEP).store(u32::from(!split), Ordering::Relaxed);
        // A full barrier: SLEEP of the other side is looked at behind it.
        r.k32(k::GO).swap(event, Ordering::SeqCst);
        if r.s32(s::SLEEP).load(Ordering::SeqCst) != 0 {
            futex_wake(r.k32(k::GO));
        }
        let me = r.k32(k::PARK).as_ptr();
        if self.last.load(Ordering::Relaxed) != me {
            self.turn(me);
        }
    }

    /// The turn goes to another thread on the guests' host CPU. Two that hand it to each other (a pipe, a
    /// mutex, a parent and its child) should not have to sleep and be woken each time: the last one yields
    /// for a while, and only the one before it sleeps.
    fn turn(&self, me: *mut u32) {
        let last = self.last.swap(me, Ordering::Relaxed);
        let before = self.before.swap(last, Ordering::Relaxed);
        set_park(last, park::YIELD);
        if before != me {
            set_park(before, park::SLEEP);
        }
    }

    /// Has a server execute the batch `go` that is in its K page. Split, servers run on the guests' host CPU:
    /// there a change of its mappings interrupts no other CPU. If the thread that was entered last is of the same space,
    /// it looks at GO now, and wakes the server by itself. Returns whether the answer was looked for;
    /// false: the server was woken, and will report.
    pub(super) fn call_server(
        &self,
        slot: &Slot,
        server: &Region,
        (pid, on): (HostPid, &mut Option<usize>),
        go: u32,
    ) -> bool {
        if *on != Some(self.place()) {
            sys::bind(pid, self.place());
            *on = Some(self.place());
        }
        if !self.is_split() {
            futex_wake(server.k32(k::GO));
            return false;
        }
        let last = self.last.load(Ordering::Relaxed);
        let waiting = slot.region_of(last);
        if let Some(r) = &waiting {
            r.k32(k::SERVE).fetch_add(1, Ordering::Relaxed);
        }
        set_park(last, park::YIELD);
        if waiting.is_none_or(|r| r.s32(s::SLEEP).load(Ordering::SeqCst) != 0) {
            futex_wake(server.k32(k::GO));
        }
        let ev = server.s32(s::EV);
        let start = now();
        loop {
            for _ in 0..256 {
                if ev.load(Ordering::Acquire) == go {
                    return true;
                }
                std::hint::spin_loop();
            }
            if now() - start > SERVER_LOOKS_NS {
                return true;
            }
        }
    }

    /// The server is done: the thread of its space that waits has the turn again.
    pub(super) fn served(&self, slot: &Slot) {
        let last = self.last.load(Ordering::Relaxed);
        if slot.region_of(last).is_some() {
            set_park(last, park::TURN);
        }
    }

    /// The virtual CPU is about to idle: no thread shall look for work that does not come.
    pub(super) fn idle(&self) {
        for word in [&self.last, &self.before] {
            set_park(word.swap(std::ptr::null_mut(), Ordering::Relaxed), park::SLEEP);
        }
    }

    /// Waits until the thread has reported event number `want`.
    #[inline]
    pub(super) fn wait(&self, r: &Region, t: &Placed, want: u32) -> Result<(), Lost> {
        let ev = r.s32(s::EV);
        if self.is_split() {
            let mut start = None;
            loop {
                for _ in 0..1024 {
                    if ev.load(Ordering::Acquire) == want {
                        return Ok(());
                    }
                    std::hint::spin_loop();
                }
                // A quick answer costs no look at the clock.
                let t = now();
                if t - *start.get_or_insert(t) > CPU_LOOKS_NS {
                    break;
                }
            }
        }
        self.wait_asleep(r, t, want)
    }

    /// As `wait`, for what a thread does by itself in no time (start anew, save its state): no
    /// interrupt kicks it, so that the watchdog counts looks.
    #[cold]
    pub(super) fn wait_soon(&self, r: &Region, t: &Placed, want: u32) -> Result<(), Lost> {
        // It needs the guests' host CPU: whoever looks at GO there, in the middle of a long call, yields.
        set_park(self.last.load(Ordering::Relaxed), park::YIELD);
        let mut dog = Watchdog::default();
        for looks in 0.. {
            let seen = r.s32(s::EV).load(Ordering::SeqCst);
            if seen == want {
                break;
            }
            if looks < SOON_LOOKS && self.is_split() {
                std::hint::spin_loop();
                continue;
            }
            r.k32(k::SLEEP).swap(1, Ordering::SeqCst);
            futex_wait(r.s32(s::EV), seen, SOON_NS);
            if !lives(t.pid) || dog.bites(t, looks.saturating_sub(SOON_LOOKS)) {
                return Err(Lost);
            }
        }
        Ok(())
    }

    #[cold]
    fn wait_asleep(&self, r: &Region, t: &Placed, want: u32) -> Result<(), Lost> {
        let ev = r.s32(s::EV);
        r.k32(k::SLEEP).swap(1, Ordering::SeqCst);
        let mut dog = Watchdog::default();
        loop {
            let seen = ev.load(Ordering::SeqCst);
            if seen == want {
                return Ok(());
            }
            // A kick that hits the stub's own text has no effect. The handler repeats it, by the CPU's
            // timer, which ends this sleep, too.
            futex_wait(ev, seen, LONG_NS);
            if ev.load(Ordering::SeqCst) == want {
                return Ok(());
            }
            if !lives(t.pid) || dog.bites(t, cpu::kicks()) {
                return Err(Lost);
            }
        }
    }

    /// Moves a thread to where it belongs.
    #[cold]
    fn settle(&self, thread: &mut Placed) {
        let at = self.place();
        // Only a thread that is certainly its process's: ids in shared memory can be forged.
        if sys::is_thread_of(thread.pid, thread.tid) {
            sys::bind(thread.tid, at);
        }
        thread.on = Some(at);
    }

    /// Looks at the host's load now and then. To be called before a guest is entered.
    #[inline]
    pub(super) fn adapt(&self) {
        if self.policy == Policy::Auto && self.cpus.1.is_some() {
            let t = now();
            if t >= self.look_at.load(Ordering::Relaxed) {
                self.look(t);
            }
        }
    }

    #[cold]
    fn look(&self, t: u64) {
        let Some(sample) = Sample::take(t) else {
            // A host that says nothing: as it began.
            self.look_at.store(u64::MAX, Ordering::Relaxed);
            return;
        };
        let mut load = self.load.lock();
        let split = load.look(sample, self.is_split());
        self.look_at.store(load.next(), Ordering::Relaxed);
        if split != self.is_split() {
            self.split.store(split, Ordering::Relaxed);
            log::debug!("hand-off: {}", if split { "split" } else { "shared" });
        }
    }
}

/// Tells a thread how to wait from now on.
fn set_park(word: *mut u32, how: u32) {
    if !word.is_null() {
        // SAFETY: control pages are mapped as long as any machine value lives, and the word is only a
        // hint whoever owns it now.
        unsafe { AtomicU32::from_ptr(word) }.store(how, Ordering::Relaxed);
    }
}

/// A guest's host thread and where it runs.
#[derive(Debug)]
pub(super) struct Placed {
    pub(super) pid: HostPid,
    pub(super) tid: HostPid,
    /// The host CPU that it is bound to, as far as known.
    pub(super) on: Option<usize>,
}

/// Nanoseconds, for durations.
#[inline]
fn now() -> u64 {
    crate::clock::stopwatch()
}

/// Notices a thread that answers no kick. A guest can do that: it jumps to the stub's own waiting loop,
/// where kicks mean nothing. Its process pays with its life. Measured in the process's own CPU time,
/// so that a busy host kills nobody; one that sleeps with a kick pending sleeps by its own choice.
#[derive(Debug, Default)]
struct Watchdog {
    since: Option<u64>,
    asleep: u32,
}

impl Watchdog {
    fn bites(&mut self, t: &Placed, unanswered: u32) -> bool {
        if unanswered < PATIENCE {
            return false;
        }
        let used = sys::process_cpu_time(t.pid).unwrap_or(u64::MAX);
        let since = *self.since.get_or_insert(used);
        self.asleep = if sys::sleeps(t.pid, t.tid) { self.asleep + 1 } else { 0 };
        used - since.min(used) > WATCHDOG_NS || self.asleep > 4
    }
}
