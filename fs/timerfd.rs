//! timerfd(2): timers as data.
//!
//! The kernel's [`TimerService`] calls [`Fire::fire`] once when a timer is due. A periodic timer
//! is *not* armed again there but when somebody reads (or asks) and the missed periods are counted:
//! a period of a microsecond then costs a busy reader's time and not everybody's. That is what Linux does.

use std::any::Any;
use std::sync::{Arc, Weak};
use std::time::Duration;

use base::{
    Errno, Instant, PollEvents, PollTable, Rank, Result, Sink, Sleep, SpinLock, WaitQueue, err,
};

use crate::file::{File, FileOps};

/// The clocks that a timer can follow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(i32)]
pub enum TimerClock {
    /// CLOCK_REALTIME (0) and CLOCK_REALTIME_ALARM (8).
    Realtime = 0,
    /// CLOCK_MONOTONIC (1).
    Monotonic = 1,
    /// CLOCK_BOOTTIME (7) and CLOCK_BOOTTIME_ALARM (9); a guest is never suspended.
    Boottime = 7,
}

impl TimerClock {
    /// From timerfd_create(2)'s number; None is EINVAL. The alarm clocks (8, 9) are let through as
    /// what they count; the caller checks CAP_WAKE_ALARM.
    pub fn from_id(id: i32) -> Option<TimerClock> {
        match id {
            0 | 8 => Some(TimerClock::Realtime),
            1 => Some(TimerClock::Monotonic),
            7 | 9 => Some(TimerClock::Boottime),
            _ => None,
        }
    }
}

/// Something that happens at a time.
pub trait Fire: Send + Sync {
    /// The time has come. Called without any lock; may wake, must not sleep.
    fn fire(&self);
}

/// Hears of clock_settime(2).
pub trait ClockWatch: Send + Sync {
    /// CLOCK_REALTIME jumped. Called without any lock.
    fn clock_was_set(&self);
}

/// An armed timer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TimerHandle(pub u64);

/// The kernel's timers. Times are on the monotonic clock of [`TimerService::now`].
pub trait TimerService: Send + Sync {
    /// CLOCK_MONOTONIC, now.
    fn now(&self) -> Instant;
    /// CLOCK_REALTIME, now, in nanoseconds since 1970.
    fn realtime_ns(&self) -> u64;
    /// Calls `cb` once at `at` (at once if that has passed), unless it is cancelled or gone.
    fn arm(&self, at: Instant, cb: Weak<dyn Fire>) -> TimerHandle;
    /// Takes a timer back. Harmless if it has fired; it may be firing right now.
    fn cancel(&self, timer: TimerHandle);
    /// Asks to hear of jumps of CLOCK_REALTIME.
    fn watch_clock(&self, _watch: Weak<dyn ClockWatch>) {}
}

/// `struct itimerspec`, in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TimerSpec {
    /// The first expiration: from now on, or absolute; 0 disarms. As a result: the time left.
    pub value: u64,
    /// The period; 0: once.
    pub interval: u64,
}

/// TFD_TIMER_ABSTIME.
pub const TFD_TIMER_ABSTIME: u32 = 1;
/// TFD_TIMER_CANCEL_ON_SET.
pub const TFD_TIMER_CANCEL_ON_SET: u32 = 2;

#[derive(Debug, Default)]
struct State {
    /// The next expiration, on the monotonic clock.
    next: Option<Instant>,
    interval: u64,
    /// Expirations not read yet.
    ticks: u64,
    /// A periodic timer has fired and waits for a reader to be armed again.
    stalled: bool,
    handle: Option<TimerHandle>,
    /// The value was absolute on CLOCK_REALTIME: this many nanoseconds since 1970.
    wall: Option<u64>,
    cancel_on_set: bool,
    cancelled: bool,
    /// Of the last settime, for fdinfo.
    flags: u32,
}

/// A timerfd.
pub struct TimerFd {
    me: Weak<TimerFd>,
    clock: TimerClock,
    service: Arc<dyn TimerService>,
    state: SpinLock<State>,
    queue: Arc<WaitQueue>,
}

impl std::fmt::Debug for TimerFd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TimerFd({:?})", self.clock)
    }
}

fn advance(t: Instant, ns: u64) -> Instant {
    t + Duration::from_nanos(ns)
}

impl TimerFd {
    /// A disarmed timer.
    pub fn new(clock: TimerClock, service: Arc<dyn TimerService>) -> Arc<TimerFd> {
        Arc::new_cyclic(|me| TimerFd {
            me: me.clone(),
            clock,
            service,
            state: SpinLock::new(Rank::File, State::default()),
            queue: Arc::new(WaitQueue::new()),
        })
    }

    /// timerfd_settime(2); returns the old setting.
    ///
    /// # Errors
    /// EINVAL for unknown flags; ECANCELED if the clock was set since the last read and this one asks
    /// to hear of it.
    pub fn set(&self, flags: u32, spec: TimerSpec) -> Result<TimerSpec> {
        if flags & !(TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET) != 0 {
            return err(Errno::EINVAL);
        }
        let absolute = flags & TFD_TIMER_ABSTIME != 0;
        let realtime = self.clock == TimerClock::Realtime;
        let on_set = realtime && absolute && flags & TFD_TIMER_CANCEL_ON_SET != 0;
        let now = self.service.now();
        let wall_now = self.service.realtime_ns();
        let at = match (spec.value, absolute) {
            (0, _) => None,
            (v, false) => Some(advance(now, v)),
            (v, true) if realtime => Some(advance(now, v.saturating_sub(wall_now))),
            (v, true) => Some(Instant(v)),
        };
        let mut s = self.state.lock();
        self.forward(&mut s, now);
        let old = Self::left(&s, now);
        let stale = s.handle.take();
        let was_cancelled = on_set && s.cancelled;
        *s = State {
            next: at,
            interval: spec.interval,
            wall: (realtime && absolute).then_some(spec.value),
            cancel_on_set: on_set,
            flags,
            ..State::default()
        };
        drop(s);
        if let Some(h) = stale {
            self.service.cancel(h);
        }
        if realtime && absolute {
            let me: Weak<dyn ClockWatch> = self.me.clone();
            self.service.watch_clock(me);
        }
        self.arm(at);
        if was_cancelled { err(Errno::ECANCELED) } else { Ok(old) }
    }

    /// timerfd_gettime(2).
    pub fn get(&self) -> TimerSpec {
        let now = self.service.now();
        let mut s = self.state.lock();
        let rearm = self.forward(&mut s, now);
        let left = Self::left(&s, now);
        drop(s);
        self.arm(rearm);
        left
    }

    /// TFD_IOC_SET_TICKS.
    pub fn set_ticks(&self, ticks: u64) {
        self.state.lock().ticks = ticks;
        self.queue.wake_all(PollEvents::IN);
    }

    fn left(s: &State, now: Instant) -> TimerSpec {
        let value = s.next.map_or(0, |t| (t - now).as_nanos() as u64);
        TimerSpec {
            // An armed timer that is due but has not fired yet has "1 ns" left, never 0.
            value: if s.next.is_some() { value.max(1) } else { 0 },
            interval: s.interval,
        }
    }

    /// Counts the periods that a stalled timer has missed; says when to arm it again.
    fn forward(&self, s: &mut State, now: Instant) -> Option<Instant> {
        if !s.stalled || s.interval == 0 {
            return None;
        }
        let last = s.next?;
        s.stalled = false;
        let periods = (now - last).as_nanos() as u64 / s.interval + 1;
        // One of them was counted when the timer fired.
        s.ticks = s.ticks.saturating_add(periods - 1);
        s.next = Some(advance(last, periods.saturating_mul(s.interval)));
        s.next
    }

    fn arm(&self, at: Option<Instant>) {
        if let Some(at) = at {
            let me: Weak<dyn Fire> = self.me.clone();
            let handle = self.service.arm(at, me);
            self.state.lock().handle = Some(handle);
        }
    }

    fn take(&self) -> Option<Result<u64>> {
        let now = self.service.now();
        let mut s = self.state.lock();
        if s.cancelled && s.cancel_on_set {
            s.cancelled = false;
            return Some(err(Errno::ECANCELED));
        }
        if s.ticks == 0 {
            return None;
        }
        let rearm = self.forward(&mut s, now);
        let n = std::mem::take(&mut s.ticks);
        drop(s);
        self.arm(rearm);
        Some(Ok(n))
    }
}

impl Fire for TimerFd {
    fn fire(&self) {
        let mut s = self.state.lock();
        // A call that set(..) overtook finds a later time, or none.
        match s.next {
            Some(t) if t <= self.service.now() && !s.stalled => {}
            _ => return,
        }
        s.ticks += 1;
        s.handle = None;
        if s.interval == 0 {
            s.next = None;
        } else {
            s.stalled = true;
        }
        drop(s);
        self.queue.wake_all(PollEvents::IN);
    }
}

impl ClockWatch for TimerFd {
    fn clock_was_set(&self) {
        let now = self.service.now();
        let wall_now = self.service.realtime_ns();
        let mut s = self.state.lock();
        let Some(wall) = s.wall else { return };
        s.cancelled |= s.cancel_on_set;
        // Only a timer that has not fired keeps to the wall clock's first value.
        let mut stale = None;
        let mut at = None;
        if s.next.is_some() && !s.stalled && s.ticks == 0 {
            at = Some(advance(now, wall.saturating_sub(wall_now)));
            s.next = at;
            stale = s.handle.take();
        }
        let wake = s.cancelled;
        drop(s);
        if let Some(h) = stale {
            self.service.cancel(h);
        }
        self.arm(at);
        if wake {
            self.queue.wake_all(PollEvents::IN);
        }
    }
}

impl FileOps for TimerFd {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, file: &File, _offset: u64, sink: &mut dyn Sink) -> Result<usize> {
        if sink.remaining() < 8 {
            return err(Errno::EINVAL);
        }
        let n = match self.take() {
            Some(n) => n,
            None if file.nonblock() => return err(Errno::EAGAIN),
            None => self.queue.wait_until(Sleep::Interruptible, None, || self.take())?,
        }?;
        sink.write(&n.to_ne_bytes())
    }

    fn poll(&self, _file: &File, table: Option<&mut PollTable>) -> PollEvents {
        if let Some(t) = table {
            t.register(&self.queue);
        }
        let s = self.state.lock();
        if s.ticks > 0 || s.cancelled { PollEvents::IN } else { PollEvents::empty() }
    }

    fn release(&self, _file: &File) {
        let handle = self.state.lock().handle.take();
        if let Some(h) = handle {
            self.service.cancel(h);
        }
    }

    fn fdinfo(&self, _file: &File) -> String {
        let now = self.service.now();
        let s = self.state.lock();
        let left = Self::left(&s, now);
        let split = |ns: u64| (ns / 1_000_000_000, ns % 1_000_000_000);
        let (vs, vn) = split(left.value);
        let (is, in_) = split(left.interval);
        format!(
            "clockid: {}\nticks: {}\nsettime flags: 0{:o}\nit_value: ({vs}, {vn})\nit_interval: ({is}, {in_})\n",
            self.clock as i32, s.ticks, s.flags
        )
    }

    fn anon_name(&self) -> String {
        "anon_inode:[timerfd]".into()
    }
}
