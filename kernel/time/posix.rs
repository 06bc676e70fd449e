//! A process's timers: setitimer(2), timer_create(2).
//!
//! Timers on real time are entries of the kernel's timer queue. Timers on CPU time (ITIMER_VIRTUAL,
//! ITIMER_PROF, CLOCK_*_CPUTIME_ID) are looked at when the process has used CPU: the scheduler's interrupt
//! and each arming look at them.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use base::lock::{Rank, SpinLock};
use base::time::Instant;
use base::{Errno, Result, err};

use super::timer::{Expire, TimerId};
use crate::Kernel;
use crate::signal::queue::{Fields, SigInfo, code};
use crate::signal::set::nr;
use crate::syscall::Ctx;
use crate::task::limits::Resource;
use crate::task::{Process, Task};

/// Most timers of one process.
const MAX_TIMERS: usize = 1024;

/// A clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClockId {
    /// CLOCK_REALTIME, TAI and the coarse one.
    Realtime,
    /// CLOCK_MONOTONIC, RAW and the coarse one.
    Monotonic,
    /// CLOCK_BOOTTIME and the alarm clocks.
    Boottime,
    /// CPU time of a process; 0: the caller's.
    ProcessCpu(u32),
    /// CPU time of a thread; 0: the caller.
    ThreadCpu(u32),
}

impl ClockId {
    /// From a `clockid_t`.
    ///
    /// # Errors
    /// EINVAL.
    pub fn decode(id: u32) -> Result<ClockId> {
        Ok(match id as i32 {
            0 | 5 | 8 | 11 => ClockId::Realtime,
            1 | 4 | 6 => ClockId::Monotonic,
            7 | 9 => ClockId::Boottime,
            2 => ClockId::ProcessCpu(0),
            3 => ClockId::ThreadCpu(0),
            n if n < 0 => {
                // ~pid << 3 | kind, bit 2 for a thread: clock_getcpuclockid(3)
                let pid = !(n >> 3) as u32;
                if n & 3 == 3 {
                    return err(Errno::EINVAL);
                }
                if n & 4 != 0 { ClockId::ThreadCpu(pid) } else { ClockId::ProcessCpu(pid) }
            }
            _ => return err(Errno::EINVAL),
        })
    }
}

/// `struct itimerspec`: when, and how often after that.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct IntervalSpec {
    /// Until the first expiry; zero: disarmed.
    pub value: Duration,
    /// Between expiries; zero: once.
    pub interval: Duration,
}

/// Whom a timer tells.
#[derive(Clone, Debug)]
enum Target {
    Process(u32),
    Thread(u32, Weak<Task>),
    Nobody,
}

struct TimerState {
    /// Expiry on the timer's own clock, nanoseconds; None: disarmed.
    at: Option<u64>,
    interval: u64,
    queued: Option<TimerId>,
    /// Expiries since the last signal was queued.
    overrun: u32,
    last_overrun: u32,
}

struct Timer {
    id: i32,
    clock: ClockId,
    target: Target,
    value: u64,
    process: Weak<Process>,
    kernel: Weak<Kernel>,
    is_itimer: bool,
    state: SpinLock<TimerState>,
}

/// RLIMIT_CPU: looks at the process's CPU time when the limit may have been reached.
struct CpuLimit {
    process: Weak<Process>,
    kernel: Weak<Kernel>,
}

impl CpuLimit {
    /// Arms the next look. CPU time cannot pass faster than real time, so that is the earliest moment.
    fn arm(self: &Arc<Self>, kernel: &Kernel, process: &Process) {
        let (soft, hard) = process.rlimits.lock().0[Resource::Cpu as usize];
        if soft == u64::MAX && hard == u64::MAX {
            return;
        }
        let used = cpu_ns(process);
        let next_second = used / NS + 1;
        let at = if next_second <= soft { soft } else { next_second.min(hard) };
        let left = Duration::from_nanos(at.saturating_mul(NS).saturating_sub(used));
        let weak: Weak<dyn Expire> = Arc::downgrade(&(self.clone() as Arc<dyn Expire>));
        kernel.sched.timers.call(arch::clock::monotonic() + left, weak);
    }
}

const NS: u64 = 1_000_000_000;

fn cpu_ns(p: &Process) -> u64 {
    let (u, s) = p.times();
    u + s
}

impl Expire for CpuLimit {
    fn expire(&self, _now: Instant) {
        let (Some(kernel), Some(process)) = (self.kernel.upgrade(), self.process.upgrade()) else {
            return;
        };
        let me = process.timers.cpu_limit.lock().clone();
        let Some(me) = me.filter(|m| std::ptr::eq(&**m, self)) else { return };
        let (soft, hard) = process.rlimits.lock().0[Resource::Cpu as usize];
        let used = cpu_ns(&process) / NS;
        if used >= hard {
            // SIGKILL has no queue that could be full.
            let _ = kernel.signal_process(&process, SigInfo::kernel(nr::KILL));
            return;
        }
        if used >= soft {
            let _ = kernel.signal_process(&process, SigInfo::kernel(nr::XCPU)); // kept once if pending
        }
        me.arm(&kernel, &process);
    }
}

/// All timers of a process. Numbers from 0 are POSIX timers; interval timers are apart.
pub struct ProcessTimers {
    posix: SpinLock<BTreeMap<i32, Arc<Timer>>>,
    itimers: SpinLock<[Option<Arc<Timer>>; 3]>,
    cpu_limit: SpinLock<Option<Arc<CpuLimit>>>,
}

impl Default for ProcessTimers {
    fn default() -> Self {
        ProcessTimers {
            posix: SpinLock::new(Rank::Signal, BTreeMap::new()),
            itimers: SpinLock::new(Rank::Signal, [None, None, None]),
            cpu_limit: SpinLock::new(Rank::Signal, None),
        }
    }
}

impl std::fmt::Debug for ProcessTimers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ProcessTimers")
    }
}

/// After an expiry that was due at `at`, seen at `now`: when the next one is due, if the timer is
/// periodic, and how many were missed in between (its overruns).
fn next_expiry(at: u64, interval: u64, now: u64) -> (Option<u64>, u64) {
    let missed = now.saturating_sub(at).checked_div(interval).unwrap_or(0);
    // A time that does not fit never comes.
    let next = interval.saturating_mul(missed + 1).saturating_add(at);
    ((interval != 0).then_some(next), missed)
}

impl Timer {
    fn now(&self) -> u64 {
        match self.clock {
            ClockId::Realtime => {
                let t = arch::clock::realtime();
                t.sec.max(0) as u64 * 1_000_000_000 + u64::from(t.nsec)
            }
            ClockId::Monotonic | ClockId::Boottime => arch::clock::monotonic().0,
            ClockId::ProcessCpu(_) => self.process.upgrade().map_or(0, |p| {
                let (u, s) = p.times();
                if self.is_itimer && matches!(self.target, Target::Process(nr::VTALRM)) {
                    u
                } else {
                    u + s
                }
            }),
            ClockId::ThreadCpu(_) => match &self.target {
                Target::Thread(_, t) => t
                    .upgrade()
                    .map_or(0, |t| t.sched.runtime.load(std::sync::atomic::Ordering::Relaxed)),
                _ => 0,
            },
        }
    }

    fn arm(self: &Arc<Self>, kernel: &Kernel, s: &mut TimerState) {
        if let Some(id) = s.queued.take() {
            kernel.sched.timers.cancel(id);
        }
        let Some(at) = s.at else { return };
        // On CPU clocks the process cannot get there before that much real time has passed.
        let left = at.saturating_sub(self.now());
        let when = arch::clock::monotonic() + Duration::from_nanos(left);
        let weak: Weak<dyn Expire> = Arc::downgrade(&(self.clone() as Arc<dyn Expire>));
        s.queued = Some(kernel.sched.timers.call(when, weak));
    }

    fn spec(&self, s: &TimerState) -> IntervalSpec {
        let left = s.at.map_or(0, |at| at.saturating_sub(self.now()).max(1));
        IntervalSpec {
            value: Duration::from_nanos(left),
            interval: Duration::from_nanos(s.interval),
        }
    }

    fn set(self: &Arc<Self>, kernel: &Kernel, absolute: bool, spec: IntervalSpec) -> IntervalSpec {
        let ns = |d: Duration| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX);
        let mut s = self.state.lock();
        let old = self.spec(&s);
        s.at = match ns(spec.value) {
            0 => None,
            v if absolute => Some(v),
            v => Some(self.now().saturating_add(v)),
        };
        s.interval = ns(spec.interval);
        s.overrun = 0;
        self.arm(kernel, &mut s);
        old
    }

    fn send(&self, kernel: &Kernel) {
        let (signo, fields) = match &self.target {
            Target::Nobody => return,
            Target::Process(n) | Target::Thread(n, _) => {
                let f = Fields::Timer { id: self.id, overrun: 0, value: self.value };
                (*n, f)
            }
        };
        if signo == 0 {
            return;
        }
        let info = if self.is_itimer {
            SigInfo::kernel(signo)
        } else {
            SigInfo { signo, errno: 0, code: code::TIMER, fields }
        };
        // A full queue means that the signal is pending already: an overrun, not an error.
        let _ = match &self.target {
            Target::Thread(_, t) => match t.upgrade() {
                Some(t) => kernel.signal_task(&t, info),
                None => Ok(()),
            },
            _ => match self.process.upgrade() {
                Some(p) => kernel.signal_process(&p, info),
                None => Ok(()),
            },
        };
    }

    fn signal_still_pending(&self) -> bool {
        let Some(p) = self.process.upgrade() else { return false };
        match &self.target {
            Target::Process(n) => p.pending.lock().set().has((*n).max(1)),
            Target::Thread(n, t) => {
                t.upgrade().is_some_and(|t| t.signals.lock().pending.set().has((*n).max(1)))
            }
            Target::Nobody => false,
        }
    }
}

impl Expire for Timer {
    fn expire(&self, _now: Instant) {
        let Some(kernel) = self.kernel.upgrade() else { return };
        let Some(process) = self.process.upgrade() else { return };
        let Some(me) = process.timers.find(self) else { return };
        let now = self.now();
        let pending = self.signal_still_pending();
        {
            let mut s = self.state.lock();
            s.queued = None;
            let Some(at) = s.at else { return };
            if now < at {
                me.arm(&kernel, &mut s);
                return;
            }
            let missed;
            (s.at, missed) = next_expiry(at, s.interval, now);
            me.arm(&kernel, &mut s);
            let missed = u32::try_from(missed).unwrap_or(i32::MAX as u32);
            let more = if pending { missed.saturating_add(1) } else { missed };
            s.overrun = s.overrun.saturating_add(more);
        }
        if !pending {
            self.send(&kernel);
        }
    }
}

impl ProcessTimers {
    fn find(&self, t: &Timer) -> Option<Arc<Timer>> {
        if t.is_itimer {
            let list = self.itimers.lock();
            return list.iter().flatten().find(|x| std::ptr::eq(&***x, t)).cloned();
        }
        self.posix.lock().get(&t.id).filter(|x| std::ptr::eq(&***x, t)).cloned()
    }

    fn posix_timer(&self, id: i32) -> Result<Arc<Timer>> {
        self.posix.lock().get(&id).cloned().ok_or_else(|| Errno::EINVAL.into())
    }

    /// RLIMIT_CPU was set or inherited: watches the CPU time from now on.
    pub fn watch_cpu(&self, kernel: &Arc<Kernel>, process: &Arc<Process>) {
        let watch =
            Arc::new(CpuLimit { process: Arc::downgrade(process), kernel: Arc::downgrade(kernel) });
        *self.cpu_limit.lock() = Some(watch.clone());
        watch.arm(kernel, process);
    }

    /// setitimer(2): gives the old setting.
    ///
    /// # Errors
    /// EINVAL for an unknown timer.
    pub fn set_itimer(
        &self,
        kernel: &Arc<Kernel>,
        process: &Arc<Process>,
        which: u32,
        spec: IntervalSpec,
    ) -> Result<IntervalSpec> {
        let (clock, signo) = match which {
            0 => (ClockId::Monotonic, nr::ALRM),
            1 => (ClockId::ProcessCpu(0), nr::VTALRM),
            2 => (ClockId::ProcessCpu(0), nr::PROF),
            _ => return err(Errno::EINVAL),
        };
        let timer = self.itimers.lock()[which as usize]
            .get_or_insert_with(|| {
                Arc::new(Timer {
                    id: 0,
                    clock,
                    target: Target::Process(signo),
                    value: 0,
                    process: Arc::downgrade(process),
                    kernel: Arc::downgrade(kernel),
                    is_itimer: true,
                    state: SpinLock::new(Rank::Registry, TimerState::new()),
                })
            })
            .clone();
        Ok(timer.set(kernel, false, spec))
    }

    /// getitimer(2).
    ///
    /// # Errors
    /// EINVAL for an unknown timer.
    pub fn get_itimer(&self, _process: &Process, which: u32) -> Result<IntervalSpec> {
        if which > 2 {
            return err(Errno::EINVAL);
        }
        let t = self.itimers.lock()[which as usize].clone();
        Ok(t.map_or_else(IntervalSpec::default, |t| t.spec(&t.state.lock())))
    }

    /// timer_settime(2): gives the old setting.
    ///
    /// # Errors
    /// EINVAL for an unknown timer.
    pub fn set(
        &self,
        k: &Kernel,
        id: i32,
        absolute: bool,
        spec: IntervalSpec,
    ) -> Result<IntervalSpec> {
        Ok(self.posix_timer(id)?.set(k, absolute, spec))
    }

    /// timer_gettime(2).
    ///
    /// # Errors
    /// EINVAL for an unknown timer.
    pub fn get(&self, id: i32) -> Result<IntervalSpec> {
        let t = self.posix_timer(id)?;
        let s = t.state.lock();
        Ok(t.spec(&s))
    }

    /// timer_getoverrun(2).
    ///
    /// # Errors
    /// EINVAL for an unknown timer.
    pub fn overrun(&self, id: i32) -> Result<i32> {
        Ok(self.posix_timer(id)?.state.lock().last_overrun as i32)
    }

    /// A timer's signal is being taken: how often it has expired since it was queued.
    pub fn delivered(&self, id: i32) -> i32 {
        let Ok(t) = self.posix_timer(id) else { return 0 };
        let mut s = t.state.lock();
        s.last_overrun = std::mem::take(&mut s.overrun);
        s.last_overrun.min(i32::MAX as u32) as i32
    }

    /// timer_delete(2).
    ///
    /// # Errors
    /// EINVAL for an unknown timer.
    pub fn delete(&self, kernel: &Kernel, id: i32) -> Result<()> {
        let t = self.posix.lock().remove(&id).ok_or(Errno::EINVAL)?;
        if let Some(q) = t.state.lock().queued.take() {
            kernel.sched.timers.cancel(q);
        }
        Ok(())
    }

    /// execve: POSIX timers are deleted, interval timers go on.
    pub fn clear_posix(&self, kernel: &Kernel) {
        let ids: Vec<i32> = self.posix.lock().keys().copied().collect();
        for id in ids {
            let _ = self.delete(kernel, id);
        }
    }

    /// The process exits.
    pub fn clear(&self, kernel: &Kernel) {
        self.clear_posix(kernel);
        let itimers = std::mem::take(&mut *self.itimers.lock());
        for t in itimers.into_iter().flatten() {
            if let Some(q) = t.state.lock().queued.take() {
                kernel.sched.timers.cancel(q);
            }
        }
    }
}

impl TimerState {
    fn new() -> TimerState {
        TimerState { at: None, interval: 0, queued: None, overrun: 0, last_overrun: 0 }
    }
}

/// timer_create(2) with a `struct sigevent` (None: SIGALRM to the process).
///
/// # Errors
/// EINVAL for a bad event, EAGAIN for too many timers.
pub fn create(cx: &Ctx<'_>, clock: ClockId, event: Option<&[u8; 64]>) -> Result<i32> {
    let process = &cx.task.process;
    let word = |b: &[u8; 64], at: usize| {
        let mut w = [0u8; 4];
        w.copy_from_slice(&b[at..at + 4]);
        u32::from_le_bytes(w)
    };
    let (target, value) = match event {
        None => (Target::Process(nr::ALRM), None),
        Some(b) => {
            let value = u64::from(word(b, 0)) | u64::from(word(b, 4)) << 32;
            let (signo, notify, tid) = (word(b, 8), word(b, 12), word(b, 16));
            if notify != 1 && !(1..=nr::MAX).contains(&signo) {
                return err(Errno::EINVAL);
            }
            let target = match notify {
                0 => Target::Process(signo),
                1 => Target::Nobody,
                4 => {
                    let t = cx.kernel.tree.lock().task(tid).ok_or(Errno::EINVAL)?;
                    if t.pid() != process.pid {
                        return err(Errno::EINVAL);
                    }
                    Target::Thread(signo, Arc::downgrade(&t))
                }
                _ => return err(Errno::EINVAL),
            };
            (target, Some(value))
        }
    };
    let target = match (clock, target) {
        // A thread's clock needs the thread to be known.
        (ClockId::ThreadCpu(_), Target::Process(n)) => Target::Thread(n, Arc::downgrade(&cx.task)),
        (_, t) => t,
    };
    let mut list = process.timers.posix.lock();
    if list.len() >= MAX_TIMERS {
        return err(Errno::EAGAIN);
    }
    let id = (0..).find(|i| !list.contains_key(i)).ok_or(Errno::EAGAIN)?;
    let timer = Timer {
        id,
        clock,
        target,
        value: value.unwrap_or(id as u64),
        process: Arc::downgrade(process),
        kernel: Arc::downgrade(cx.kernel),
        is_itimer: false,
        state: SpinLock::new(Rank::Registry, TimerState::new()),
    };
    list.insert(id, Arc::new(timer));
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_keep_their_phase_and_count_what_was_missed() {
        assert_eq!(next_expiry(100, 0, 100), (None, 0));
        assert_eq!(next_expiry(100, 0, 900), (None, 0));
        assert_eq!(next_expiry(100, 10, 100), (Some(110), 0));
        assert_eq!(next_expiry(100, 10, 109), (Some(110), 0));
        assert_eq!(next_expiry(100, 10, 110), (Some(120), 1));
        assert_eq!(next_expiry(100, 10, 1234), (Some(1240), 113));
        assert_eq!(next_expiry(100, u64::MAX, 200), (Some(u64::MAX), 0), "never, not at once");
    }

    #[test]
    fn clock_ids() {
        let d = |id: i32| ClockId::decode(id as u32).map_err(|e| e.errno());
        assert_eq!(d(0), Ok(ClockId::Realtime));
        assert_eq!(d(1), Ok(ClockId::Monotonic));
        assert_eq!(d(7), Ok(ClockId::Boottime));
        assert_eq!(d(2), Ok(ClockId::ProcessCpu(0)));
        assert_eq!(d(3), Ok(ClockId::ThreadCpu(0)));
        // As clock_getcpuclockid(3) and pthread_getcpuclockid(3) make them.
        assert_eq!(d(!42 << 3 | 2), Ok(ClockId::ProcessCpu(42)));
        assert_eq!(d(!42 << 3 | 6), Ok(ClockId::ThreadCpu(42)));
        for bad in [10, 12, 99, !42 << 3 | 3] {
            assert_eq!(d(bad), Err(Errno::EINVAL), "{bad}");
        }
    }
}
