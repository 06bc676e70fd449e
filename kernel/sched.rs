//! The scheduler: which task runs on a virtual CPU.
//!
//! Fair queueing by virtual run time: a task's clock advances at a rate that falls with its weight
//! (nice level), and the runnable task that is furthest behind runs next. A slice is armed only
//! while somebody else waits. Kernel code is never preempted: a task leaves the CPU where it parks, or on
//! its way back to user mode when [`Sched::need_resched`] is set.
//!
//! Locks: everything of the scheduler's is under the run queue's lock (`Rank::RunQueue`), which is taken
//! under wait queues' locks; wakers therefore never call back into a wait queue.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};

use arch::switch::Fiber;
use base::lock::{Rank, SpinLock};
use base::time::Instant;
use base::wait::{PollEvents, Scheduler, Sleep, Sleeper, Wake, Woken};
use base::{Errno, Result, trace};

use crate::task::Task;

/// Weights by nice level -20..=19: each step is 1.25 times the next, 1024 at nice 0.
const WEIGHTS: [u32; 40] = [
    88761, 71755, 56483, 46273, 36291, 29154, 23254, 18705, 14949, 11916, 9548, 7620, 6100, 4904,
    3906, 3121, 2501, 1991, 1586, 1277, 1024, 820, 655, 526, 423, 335, 272, 215, 172, 137, 110, 87,
    70, 56, 45, 36, 29, 23, 18, 15,
];

/// Longest stretch a task runs while others wait, nanoseconds.
const SLICE_NS: u64 = 4_000_000;
/// A woken task preempts the running one only if it is this far behind, nanoseconds.
const WAKEUP_GRANULARITY_NS: u64 = 1_000_000;

const RUNNING: u8 = 0;
const RUNNABLE: u8 = 1;
const SLEEPING: u8 = 2;
const DEAD: u8 = 3;

/// The scheduler's part of a task. Written under the run queue's lock.
#[derive(Debug)]
pub struct Entity {
    state: AtomicU8,
    /// A wake-up that came while the task was not parked.
    permit: AtomicBool,
    /// How the task sleeps, for a signal to know whether to end it: see [`Sleep`].
    depth: AtomicU8,
    vruntime: AtomicU64,
    seq: AtomicU64,
    nice: AtomicU8,
    /// Nanoseconds on a CPU.
    pub runtime: AtomicU64,
    /// Switches away by own will (it slept) and by the scheduler's.
    pub voluntary: AtomicU64,
    /// See `voluntary`.
    pub involuntary: AtomicU64,
}

impl Entity {
    /// A new task's part, `nice` as its parent's.
    pub fn new(nice: i32) -> Entity {
        Entity {
            state: AtomicU8::new(SLEEPING),
            permit: AtomicBool::new(false),
            depth: AtomicU8::new(0),
            vruntime: AtomicU64::new(0),
            seq: AtomicU64::new(0),
            nice: AtomicU8::new((nice.clamp(-20, 19) + 20) as u8),
            runtime: AtomicU64::new(0),
            voluntary: AtomicU64::new(0),
            involuntary: AtomicU64::new(0),
        }
    }
    /// -20..=19.
    pub fn nice(&self) -> i32 {
        i32::from(self.nice.load(Ordering::Relaxed)) - 20
    }
    /// Changes the nice level, clamped.
    pub fn set_nice(&self, nice: i32) {
        self.nice.store((nice.clamp(-20, 19) + 20) as u8, Ordering::Relaxed);
    }
    fn weight(&self) -> u64 {
        u64::from(WEIGHTS[usize::from(self.nice.load(Ordering::Relaxed))])
    }
    /// Whether it is on a CPU or waits for one.
    pub fn is_runnable(&self) -> bool {
        self.state.load(Ordering::Relaxed) <= RUNNABLE
    }
    /// Whether it sleeps in a way that no signal ends (`D` in ps).
    pub fn is_uninterruptible(&self) -> bool {
        self.state.load(Ordering::Relaxed) == SLEEPING && self.depth.load(Ordering::Relaxed) == 2
    }
}

struct RunQueue {
    queue: BTreeMap<(u64, u64), Arc<Task>>,
    current: Option<Arc<Task>>,
    /// Runs next whatever its clock says: the child of a fork, the target of a hand-over.
    next: Option<Arc<Task>>,
    min_vruntime: u64,
    seq: u64,
    /// When the current task got the CPU.
    since: u64,
}

/// The scheduler of one kernel (one virtual CPU).
pub struct Sched {
    rq: SpinLock<RunQueue>,
    idle: Arc<Fiber>,
    need_resched: AtomicBool,
    idling: AtomicBool,
    stopping: AtomicBool,
    /// Context switches since boot.
    pub switches: AtomicU64,
    /// Nanoseconds without a runnable task.
    pub idle_ns: AtomicU64,
    cpu: AtomicU32,
    /// What runs before each look for work: expired timers, device work.
    pub timers: crate::time::timer::TimerQueue,
}

impl std::fmt::Debug for Sched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sched")
    }
}

impl Sched {
    /// A scheduler whose idle loop will run on the calling host thread.
    pub fn new() -> Sched {
        Sched::on(Arc::new(Fiber::current_thread()))
    }

    /// A scheduler whose idle loop will run on `idle`, which is a host thread's own stack.
    pub fn on(idle: Arc<Fiber>) -> Sched {
        Sched {
            rq: SpinLock::new(
                Rank::RunQueue,
                RunQueue {
                    queue: BTreeMap::new(),
                    current: None,
                    next: None,
                    min_vruntime: 0,
                    seq: 0,
                    since: 0,
                },
            ),
            idle,
            need_resched: AtomicBool::new(false),
            idling: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            switches: AtomicU64::new(0),
            idle_ns: AtomicU64::new(0),
            cpu: AtomicU32::new(0),
            timers: crate::time::timer::TimerQueue::new(),
        }
    }

    /// Whether the current task should leave the CPU on its way to user mode.
    #[inline]
    pub fn need_resched(&self) -> bool {
        self.need_resched.load(Ordering::Relaxed)
    }

    /// How many tasks run or wait for a CPU.
    pub fn running(&self) -> usize {
        let rq = self.rq.lock();
        rq.queue.len() + usize::from(rq.next.is_some()) + usize::from(rq.current.is_some())
    }

    fn enqueue(rq: &mut RunQueue, task: Arc<Task>) {
        let e = &task.sched;
        e.state.store(RUNNABLE, Ordering::Relaxed);
        rq.seq += 1;
        let v = e.vruntime.load(Ordering::Relaxed);
        e.seq.store(rq.seq, Ordering::Relaxed);
        rq.queue.insert((v, rq.seq), task);
    }

    /// Makes a sleeping task runnable, or leaves it a permit. `sync`: it does not preempt the running one,
    /// see [`PollEvents::SYNC`].
    pub fn wake(&self, task: &Arc<Task>, sync: bool) {
        let mut rq = self.rq.lock();
        let e = &task.sched;
        e.permit.store(true, Ordering::Relaxed);
        if e.state.load(Ordering::Relaxed) != SLEEPING {
            return;
        }
        trace!(Sched, Wakeup { tid: task.tid() });
        // A sleeper comes back at most half a slice behind the others, so that it gets the CPU
        // soon but cannot hoard the time it slept.
        let floor = rq.min_vruntime.saturating_sub(SLICE_NS / 2);
        let v = e.vruntime.load(Ordering::Relaxed).max(floor);
        e.vruntime.store(v, Ordering::Relaxed);
        Self::enqueue(&mut rq, task.clone());
        if let Some(cur) = &rq.current {
            let ran = arch::clock::monotonic().0.saturating_sub(rq.since);
            let cur_v =
                cur.sched.vruntime.load(Ordering::Relaxed) + ran * 1024 / cur.sched.weight();
            if !sync && v + WAKEUP_GRANULARITY_NS < cur_v {
                self.need_resched.store(true, Ordering::Relaxed);
            }
            if rq.queue.len() == 1 {
                // The current task was alone and had no slice: it has one from now on.
                let end = Instant(rq.since + SLICE_NS);
                drop(rq);
                self.timers.arm_slice(end);
                self.kick_from_outside();
                return;
            }
        }
        drop(rq);
        self.kick_from_outside();
    }

    /// A wake-up by a device thread must reach a virtual CPU that idles or runs a guest.
    fn kick_from_outside(&self) {
        if arch::cpu::id().is_none() {
            arch::cpu::kick(self.cpu.load(Ordering::Relaxed));
        }
    }

    /// A signal was queued for a task: if it runs on another CPU (or we are a device thread), that
    /// CPU must look.
    pub fn nudge(&self, _task: &Arc<Task>) {
        self.kick_from_outside();
    }

    /// Puts a new task on the queue. With `first` it runs before everyone else.
    pub fn start(&self, task: &Arc<Task>, first: bool) {
        let mut rq = self.rq.lock();
        let e = &task.sched;
        let base = rq
            .current
            .as_ref()
            .map_or(rq.min_vruntime, |c| c.sched.vruntime.load(Ordering::Relaxed));
        e.vruntime.store(base, Ordering::Relaxed);
        if first && rq.next.is_none() {
            e.state.store(RUNNABLE, Ordering::Relaxed);
            rq.next = Some(task.clone());
            self.need_resched.store(true, Ordering::Relaxed);
        } else {
            Self::enqueue(&mut rq, task.clone());
        }
    }

    fn charge(rq: &mut RunQueue, now: u64) {
        let Some(cur) = rq.current.clone() else { return };
        let ran = now.saturating_sub(rq.since);
        rq.since = now;
        let e = &cur.sched;
        e.runtime.fetch_add(ran, Ordering::Relaxed);
        let v = e.vruntime.load(Ordering::Relaxed) + ran * 1024 / e.weight();
        e.vruntime.store(v, Ordering::Relaxed);
        let first = rq.queue.first_key_value().map_or(v, |((q, _), _)| (*q).min(v));
        rq.min_vruntime = rq.min_vruntime.max(first);
    }

    fn pick(rq: &mut RunQueue) -> Option<Arc<Task>> {
        rq.next.take().or_else(|| rq.queue.pop_first().map(|(_, t)| t))
    }

    /// Gives the CPU to whoever should have it; comes back when that is the caller again. The
    /// caller has set its own state: RUNNABLE and queued, SLEEPING, or DEAD.
    fn switch_away(&self, mut rq: base::lock::SpinGuard<'_, RunQueue>, me: &Arc<Task>) {
        let now = arch::clock::monotonic().0;
        Self::charge(&mut rq, now);
        self.need_resched.store(false, Ordering::Relaxed);
        let next = Self::pick(&mut rq);
        if let Some(n) = &next
            && Arc::ptr_eq(n, me)
        {
            n.sched.state.store(RUNNING, Ordering::Relaxed);
            // The others wait for the end of a new slice: nothing else might ever interrupt it.
            let waiting = !rq.queue.is_empty();
            drop(rq);
            if waiting {
                self.timers.arm_slice(Instant(now + SLICE_NS));
            }
            return;
        }
        self.switches.fetch_add(1, Ordering::Relaxed);
        trace!(Sched, Switch { cpu: 0, from: me.tid(), to: next.as_ref().map_or(0, |t| t.tid()) });
        let waiting = !rq.queue.is_empty();
        rq.current.clone_from(&next);
        rq.since = now;
        if let Some(n) = &next {
            n.sched.state.store(RUNNING, Ordering::Relaxed);
        }
        drop(rq);
        let to = next.as_ref().map_or_else(|| self.idle.clone(), |n| n.fiber_handle());
        // The queue's `current` holds the next task; a count on this stack would live as long as
        // we sleep.
        arch::cpu::set_current(next.map(|t| t as _));
        if waiting {
            self.timers.arm_slice(Instant(now + SLICE_NS));
        }
        arch::switch::switch_owned(me.fiber(), to);
    }

    /// Offers the CPU: the caller stays runnable.
    pub fn yield_now(&self, me: &Arc<Task>, to_the_end: bool) {
        let mut rq = self.rq.lock();
        Self::charge(&mut rq, arch::clock::monotonic().0);
        if to_the_end && let Some(((last, _), _)) = rq.queue.last_key_value() {
            let v = me.sched.vruntime.load(Ordering::Relaxed).max(*last);
            me.sched.vruntime.store(v, Ordering::Relaxed);
        }
        me.sched.involuntary.fetch_add(1, Ordering::Relaxed);
        Self::enqueue(&mut rq, me.clone());
        self.switch_away(rq, me);
    }

    /// Ends the current task's time on any CPU. Takes the last reference to it off this stack.
    pub fn exit_last(self: Arc<Self>, me: Arc<Task>) -> ! {
        let mut rq = self.rq.lock();
        me.sched.state.store(DEAD, Ordering::Relaxed);
        let now = arch::clock::monotonic().0;
        Self::charge(&mut rq, now);
        self.need_resched.store(false, Ordering::Relaxed);
        let next = Self::pick(&mut rq);
        self.switches.fetch_add(1, Ordering::Relaxed);
        trace!(Sched, Switch { cpu: 0, from: me.tid(), to: next.as_ref().map_or(0, |t| t.tid()) });
        let waiting = !rq.queue.is_empty();
        let old = std::mem::replace(&mut rq.current, next.clone());
        rq.since = now;
        if let Some(n) = &next {
            n.sched.state.store(RUNNING, Ordering::Relaxed);
        }
        drop(rq);
        let to = next.as_ref().map_or_else(|| self.idle.clone(), |n| n.fiber_handle());
        drop(arch::cpu::set_current(next.map(|t| t as _)));
        drop(old);
        if waiting {
            self.timers.arm_slice(Instant(now + SLICE_NS));
        }
        let from = me.fiber_handle();
        drop(me);
        drop(self);
        arch::switch::exit_owned(from, to);
    }

    /// Called when the CPU took an interrupt: runs expired timers and looks whether the slice is over.
    pub fn interrupt(&self) {
        let now = arch::clock::monotonic();
        self.timers.run_expired(now);
        let rq = self.rq.lock();
        if !rq.queue.is_empty() || rq.next.is_some() {
            if now.0.saturating_sub(rq.since) >= SLICE_NS {
                self.need_resched.store(true, Ordering::Relaxed);
            } else {
                let end = Instant(rq.since + SLICE_NS);
                drop(rq);
                self.timers.arm_slice(end);
            }
        }
    }

    /// Ends [`Sched::run`] at the next idle moment or interrupt.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.kick_from_outside();
    }

    /// The idle loop: runs tasks until the kernel stops. `idle_work` is done when there is
    /// nothing to run; it says whether there is more of it.
    pub fn run(&self, mut idle_work: impl FnMut() -> bool) {
        while !self.stopping.load(Ordering::SeqCst) {
            // The bit first: a timer that fires while the expired ones run must leave it set.
            arch::cpu::take_pending();
            self.timers.run_expired(arch::clock::monotonic());
            let mut rq = self.rq.lock();
            if let Some(next) = Self::pick(&mut rq) {
                let now = arch::clock::monotonic().0;
                next.sched.state.store(RUNNING, Ordering::Relaxed);
                rq.current = Some(next.clone());
                rq.since = now;
                self.need_resched.store(false, Ordering::Relaxed);
                let waiting = !rq.queue.is_empty();
                drop(rq);
                self.switches.fetch_add(1, Ordering::Relaxed);
                trace!(Sched, Switch { cpu: 0, from: 0, to: next.tid() });
                arch::cpu::set_current(Some(next.clone() as _));
                if waiting {
                    self.timers.arm_slice(Instant(now + SLICE_NS));
                }
                let to = next.fiber_handle();
                drop(next);
                arch::switch::switch_owned(&self.idle, to);
                continue;
            }
            drop(rq);
            if idle_work() {
                continue;
            }
            let start = arch::clock::monotonic().0;
            self.idling.store(true, Ordering::SeqCst);
            arch::cpu::idle(self.timers.next());
            self.idling.store(false, Ordering::SeqCst);
            let end = arch::clock::monotonic().0;
            self.idle_ns.fetch_add(end - start, Ordering::Relaxed);
        }
    }
}

impl Default for Sched {
    fn default() -> Self {
        Sched::new()
    }
}

impl Wake for Task {
    fn wake(&self, events: PollEvents) {
        if let Some(me) = self.me.upgrade() {
            self.kernel().sched.wake(&me, events.contains(PollEvents::SYNC));
        }
    }
}

impl Sleeper for Task {
    fn waker(&self) -> Arc<dyn Wake> {
        self.me.upgrade().expect("a running task is referenced by the scheduler")
    }

    fn park(&self, how: Sleep, deadline: Option<Instant>) -> Woken {
        base::lock::assert_may_sleep();
        let me = self.me.upgrade().expect("a running task is referenced by the scheduler");
        let kernel = self.kernel();
        let sched = &kernel.sched;
        if let Some(d) = deadline
            && arch::clock::monotonic() >= d
        {
            return Woken::TimedOut;
        }
        let timer = deadline.map(|d| sched.timers.add(d, me.clone()));
        let interrupted = || match how {
            Sleep::Interruptible => me.signal_pending(),
            Sleep::Killable => me.fatal_pending(),
            Sleep::Uninterruptible => false,
        };
        {
            let rq = sched.rq.lock();
            if me.sched.permit.swap(false, Ordering::Relaxed) {
                drop(rq);
                if let Some(t) = timer {
                    sched.timers.cancel(t);
                }
                return if interrupted() { Woken::Interrupted } else { Woken::Woken };
            }
            if interrupted() {
                drop(rq);
                if let Some(t) = timer {
                    sched.timers.cancel(t);
                }
                return Woken::Interrupted;
            }
            me.sched.state.store(SLEEPING, Ordering::Relaxed);
            me.sched.depth.store(how as u8, Ordering::Relaxed);
            me.sched.voluntary.fetch_add(1, Ordering::Relaxed);
            sched.switch_away(rq, &me);
        }
        me.sched.permit.store(false, Ordering::Relaxed);
        if let Some(t) = timer {
            sched.timers.cancel(t);
        }
        if interrupted() {
            return Woken::Interrupted;
        }
        match deadline {
            Some(d) if arch::clock::monotonic() >= d => Woken::TimedOut,
            _ => Woken::Woken,
        }
    }
}

/// Finds the current task for base's wait queues.
#[derive(Debug)]
pub struct CurrentTask;

impl Scheduler for CurrentTask {
    fn current(&self) -> Option<Arc<dyn Sleeper>> {
        current().map(|t| t as Arc<dyn Sleeper>)
    }
}

/// The task that runs on the calling virtual CPU.
pub fn current() -> Option<Arc<Task>> {
    arch::cpu::current().and_then(|t| t.downcast::<Task>().ok())
}

/// The end of a task's stack: the calling task never runs again.
pub fn exit_current() -> ! {
    let me = current().expect("only tasks exit");
    // The scheduler is a field of the kernel, which outlives all of its tasks: run() of boot holds it.
    let kernel = me.kernel();
    let sched = kernel.sched.clone();
    drop(kernel);
    sched.exit_last(me)
}

/// Checks a nice value change against RLIMIT_NICE (`limit` = 20 - lowest nice).
///
/// # Errors
/// EPERM if the task may not become that important.
pub fn may_set_nice(old: i32, new: i32, rlimit_nice: u64, privileged: bool) -> Result<()> {
    if new < old && !privileged && (20 - new) as u64 > rlimit_nice {
        return Err(Errno::EPERM.into());
    }
    Ok(())
}
