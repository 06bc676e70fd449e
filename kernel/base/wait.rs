//! Sleeping and waking.
//!
//! A [`WaitQueue`] is a list of [`Wake`]rs. A task that must wait registers its waker, looks at
//! its condition *again*, and parks; whoever makes the condition true wakes the queue. Parking has
//! the semantics of a permit (as `std::thread::park`): a wake-up that comes between the look and
//! the park is not lost. Kernel tasks park through the scheduler that the kernel installs with
//! [`set_scheduler`]; a caller that is no task (a unit test, a device thread) parks its host thread.
//!
//! [`PollTable`] is the other customer: poll, select and epoll register a waker with many queues.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;

use bitflags::bitflags;

use crate::errno::{Errno, Result, err};
use crate::lock::{Rank, SpinLock};
use crate::time::Instant;

bitflags! {
    /// Readiness, with the bits of poll(2) and epoll(7).
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct PollEvents: u32 {
        /// Data to read.
        const IN = 0x001;
        /// Urgent data.
        const PRI = 0x002;
        /// Room to write.
        const OUT = 0x004;
        /// An error condition.
        const ERR = 0x008;
        /// The other end is gone.
        const HUP = 0x010;
        /// Not an open descriptor.
        const NVAL = 0x020;
        /// As IN.
        const RDNORM = 0x040;
        /// Priority band data.
        const RDBAND = 0x080;
        /// As OUT.
        const WRNORM = 0x100;
        /// Priority data may be written.
        const WRBAND = 0x200;
        /// A message is there (unused on Linux).
        const MSG = 0x400;
        /// The peer closed its writing half.
        const RDHUP = 0x2000;
        /// No readiness, but a hint to [`Wake::wake`]: the caller is a task that hands data on, which will have to
        /// wait for the woken one soon. That one need not take the CPU from it at once.
        const SYNC = 1 << 27;
    }
}

/// Something that can be woken: a task, an epoll item, a signalfd.
pub trait Wake: Send + Sync {
    /// Called by the queue's owner with what has become ready (empty: unspecified). Runs under the
    /// queue's spin lock: it must not sleep nor touch that queue.
    fn wake(&self, events: PollEvents);
}

/// What may end a sleep early.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sleep {
    /// A signal that is to be delivered ends it.
    Interruptible,
    /// Only SIGKILL (or what else is fatal) ends it.
    Killable,
    /// Only the wake-up. For waits on devices, which always answer.
    Uninterruptible,
}

/// Why a park came back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Woken {
    /// The waker was called (or the wake-up is spurious): look at the condition.
    Woken,
    /// The deadline has passed.
    TimedOut,
    /// A signal is pending that this kind of sleep heeds.
    Interrupted,
}

/// The running thread of control as sleeping code sees it.
pub trait Sleeper: Send + Sync {
    /// The handle that ends its park.
    fn waker(&self) -> Arc<dyn Wake>;
    /// Sleeps until the waker is called, `deadline` passes or a signal that `how` heeds is pending.
    /// Returns at once if the waker was called since the last park.
    fn park(&self, how: Sleep, deadline: Option<Instant>) -> Woken;
}

/// Finds the task that runs on the calling virtual CPU.
pub trait Scheduler: Send + Sync {
    /// The current task; None if the caller is not a task.
    fn current(&self) -> Option<Arc<dyn Sleeper>>;
}

static SCHEDULER: spin::Once<&'static dyn Scheduler> = spin::Once::new();

/// Installs the kernel's scheduler; the first call wins.
pub fn set_scheduler(s: &'static dyn Scheduler) {
    SCHEDULER.call_once(|| s);
}

struct HostSleeper(std::thread::Thread);

impl Wake for HostSleeper {
    fn wake(&self, _events: PollEvents) {
        self.0.unpark();
    }
}

impl Sleeper for HostSleeper {
    fn waker(&self) -> Arc<dyn Wake> {
        Arc::new(HostSleeper(self.0.clone()))
    }
    fn park(&self, _how: Sleep, deadline: Option<Instant>) -> Woken {
        // Host threads are no tasks: only tests and device threads come here, and their
        // deadlines are relative to the same CLOCK_MONOTONIC that std uses.
        match deadline {
            None => std::thread::park(),
            Some(d) => {
                let left = d - crate::wait::host_now();
                if left.is_zero() {
                    return Woken::TimedOut;
                }
                std::thread::park_timeout(left);
            }
        }
        Woken::Woken
    }
}

static HOST_CLOCK: spin::Once<fn() -> Instant> = spin::Once::new();

/// Tells this module how to read the monotonic clock (arch does it) for parks of host threads.
pub fn set_host_clock(now: fn() -> Instant) {
    HOST_CLOCK.call_once(|| now);
}

fn host_now() -> Instant {
    HOST_CLOCK.get().map_or(Instant(0), |f| f())
}

/// The caller as a [`Sleeper`].
pub fn current() -> Arc<dyn Sleeper> {
    SCHEDULER
        .get()
        .and_then(|s| s.current())
        .unwrap_or_else(|| Arc::new(HostSleeper(std::thread::current())))
}

struct Entry {
    ticket: u64,
    waker: Arc<dyn Wake>,
    exclusive: bool,
}

struct Entries {
    next: u64,
    list: VecDeque<Entry>,
}

/// A registration in a [`WaitQueue`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ticket(u64);

/// Those who wait for one condition.
pub struct WaitQueue {
    entries: SpinLock<Entries>,
    len: core::sync::atomic::AtomicUsize,
}

impl core::fmt::Debug for WaitQueue {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "WaitQueue({} waiting)", self.waiters())
    }
}

impl Default for WaitQueue {
    fn default() -> Self {
        WaitQueue::new()
    }
}

impl WaitQueue {
    /// An empty queue.
    pub const fn new() -> WaitQueue {
        WaitQueue {
            entries: SpinLock::new(Rank::WaitQueue, Entries { next: 0, list: VecDeque::new() }),
            len: core::sync::atomic::AtomicUsize::new(0),
        }
    }

    /// How many are registered.
    pub fn waiters(&self) -> usize {
        // What the caller stored before (a lock it released, a condition it made true) must be
        // visible before the count is read: else a waiter that registers and looks at the
        // condition in between is missed, for a processor may do a load before an older store.
        core::sync::atomic::fence(core::sync::atomic::Ordering::SeqCst);
        self.len.load(core::sync::atomic::Ordering::SeqCst)
    }

    /// Adds a waker. `exclusive` ones are woken one at a time by [`WaitQueue::wake_one`].
    pub fn register(&self, waker: Arc<dyn Wake>, exclusive: bool) -> Ticket {
        let mut e = self.entries.lock();
        let ticket = e.next;
        e.next += 1;
        e.list.push_back(Entry { ticket, waker, exclusive });
        self.len.store(e.list.len(), core::sync::atomic::Ordering::SeqCst);
        Ticket(ticket)
    }

    /// Takes a registration back. Harmless if it is gone.
    pub fn remove(&self, ticket: Ticket) {
        let mut e = self.entries.lock();
        if let Some(i) = e.list.iter().position(|x| x.ticket == ticket.0) {
            let gone = e.list.remove(i);
            self.len.store(e.list.len(), core::sync::atomic::Ordering::SeqCst);
            drop(e);
            drop(gone); // the waker's destructor may do anything: not under the lock
        }
    }

    /// Wakes everyone. The registrations stay: each waiter removes its own.
    pub fn wake_all(&self, events: PollEvents) {
        self.wake(events, usize::MAX);
    }

    /// Wakes all who are not exclusive, and one who is.
    pub fn wake_one(&self, events: PollEvents) {
        self.wake(events, 1);
    }

    /// Hands a wake-up on to the next exclusive waiter: something is left for it, but nothing new has
    /// happened that others should hear of.
    pub fn pass_on(&self) {
        if self.waiters() == 0 {
            return;
        }
        let mut e = self.entries.lock();
        if let Some(i) = e.list.iter().position(|x| x.exclusive)
            && let Some(x) = e.list.remove(i)
        {
            x.waker.wake(PollEvents::empty());
            e.list.push_back(x);
        }
    }

    /// Wakes all who are not exclusive and up to `n` who are.
    pub fn wake(&self, events: PollEvents, n: usize) {
        if self.waiters() != 0 {
            Self::wake_entries(&mut self.entries.lock(), events, n);
        }
    }

    /// As [`WaitQueue::wake_one`], for a caller that runs in a [`Wake::wake`]: it holds the lock of
    /// another queue. That cannot deadlock as long as queues wake each other along a graph without
    /// cycles, which epoll's check for loops guarantees.
    pub fn wake_one_nested(&self, events: PollEvents) {
        if self.waiters() != 0 {
            Self::wake_entries(&mut self.entries.lock_nested(), events, 1);
        }
    }

    fn wake_entries(e: &mut Entries, events: PollEvents, n: usize) {
        let mut left = n;
        let mut i = 0;
        // Each entry is visited once: those that move to the back end up behind the count.
        for _ in 0..e.list.len() {
            if e.list[i].exclusive {
                if left == 0 {
                    i += 1;
                    continue;
                }
                left -= 1;
                // Move it to the back, so that exclusive waiters take turns.
                if n != usize::MAX
                    && let Some(x) = e.list.remove(i)
                {
                    x.waker.wake(events);
                    e.list.push_back(x);
                    continue;
                }
            }
            e.list[i].waker.wake(events);
            i += 1;
        }
    }

    /// Sleeps until `ready` gives a value. `ready` runs without the queue's lock and may run often.
    ///
    /// # Errors
    /// ERESTARTSYS if a signal came first (the way out turns it into EINTR or a restart),
    /// ETIMEDOUT when `deadline` has passed.
    pub fn wait_until<T>(
        &self,
        how: Sleep,
        deadline: Option<Instant>,
        ready: impl FnMut() -> Option<T>,
    ) -> Result<T> {
        self.wait_inner(how, deadline, false, ready)
    }

    /// As [`WaitQueue::wait_until`], registered as exclusive.
    ///
    /// # Errors
    /// As [`WaitQueue::wait_until`].
    pub fn wait_exclusive<T>(
        &self,
        how: Sleep,
        deadline: Option<Instant>,
        ready: impl FnMut() -> Option<T>,
    ) -> Result<T> {
        self.wait_inner(how, deadline, true, ready)
    }

    fn wait_inner<T>(
        &self,
        how: Sleep,
        deadline: Option<Instant>,
        exclusive: bool,
        mut ready: impl FnMut() -> Option<T>,
    ) -> Result<T> {
        if let Some(v) = ready() {
            return Ok(v);
        }
        let me = current();
        let ticket = self.register(me.waker(), exclusive);
        let result = loop {
            if let Some(v) = ready() {
                break Ok(v);
            }
            match me.park(how, deadline) {
                Woken::Woken => {}
                // The last look: what came together with the signal or the deadline counts.
                Woken::Interrupted => {
                    break ready().map_or_else(|| err(Errno::ERESTARTSYS), Ok);
                }
                Woken::TimedOut => break ready().map_or_else(|| err(Errno::ETIMEDOUT), Ok),
            }
        };
        self.remove(ticket);
        if exclusive && result.is_err() {
            // A wake-up that was meant for one and hit us must not be lost.
            self.wake_one(PollEvents::empty());
        }
        result
    }
}

/// The registrations of one poll(2), select(2) or epoll item; dropped, they are taken back.
pub struct PollTable {
    waker: Arc<dyn Wake>,
    exclusive: bool,
    held: Vec<(Arc<WaitQueue>, Ticket)>,
}

impl core::fmt::Debug for PollTable {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "PollTable({} queues)", self.held.len())
    }
}

impl PollTable {
    /// A table whose queues call `waker`.
    pub fn new(waker: Arc<dyn Wake>) -> PollTable {
        PollTable { waker, exclusive: false, held: Vec::new() }
    }
    /// As [`PollTable::new`], for EPOLLEXCLUSIVE.
    pub fn exclusive(waker: Arc<dyn Wake>) -> PollTable {
        PollTable { waker, exclusive: true, held: Vec::new() }
    }
    /// Called by a file's `poll`: wake me when `queue` is woken.
    pub fn register(&mut self, queue: &Arc<WaitQueue>) {
        let ticket = queue.register(self.waker.clone(), self.exclusive);
        self.held.push((queue.clone(), ticket));
    }
}

impl Drop for PollTable {
    fn drop(&mut self) {
        for (q, t) in self.held.drain(..) {
            q.remove(t);
        }
    }
}

#[cfg(test)]
mod tests {
    use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

    use super::*;

    #[derive(Default)]
    struct Counter(AtomicU32);

    impl Wake for Counter {
        fn wake(&self, _events: PollEvents) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn exclusive_waiters_are_woken_one_at_a_time_the_others_all() {
        let q = WaitQueue::new();
        let all: [Arc<Counter>; 4] = Default::default();
        let tickets: Vec<Ticket> =
            all.iter().enumerate().map(|(i, c)| q.register(c.clone(), i % 2 == 1)).collect();
        let seen = || all.each_ref().map(|c| c.0.load(Ordering::SeqCst));
        q.wake_one(PollEvents::IN);
        let now = seen();
        assert_eq!((now[0], now[2], now[1] + now[3]), (1, 1, 1));
        q.wake_all(PollEvents::IN);
        assert_eq!((seen()[0], seen()[2]), (2, 2));
        tickets.into_iter().for_each(|t| q.remove(t));
        assert_eq!(q.waiters(), 0);
        q.wake_all(PollEvents::IN);
        assert_eq!(seen()[0], 2, "who has left hears nothing");
    }

    /// Host threads as tasks: however the two interleave, no wake-up is lost.
    #[test]
    fn no_wake_up_is_lost() {
        for _ in 0..200 {
            let q = WaitQueue::new();
            let there = AtomicBool::new(false);
            std::thread::scope(|s| {
                let waiter = s.spawn(|| {
                    q.wait_until(Sleep::Uninterruptible, None, || {
                        there.load(Ordering::SeqCst).then_some(7)
                    })
                });
                there.store(true, Ordering::SeqCst);
                q.wake_all(PollEvents::empty());
                assert_eq!(waiter.join().ok().and_then(|r| r.ok()), Some(7));
            });
        }
    }
}
