//! What file objects ask of the kernel: timers for timerfd, signals for signalfd, processes for pidfd,
//! memory files. Each is a small adapter between a trait of fs and the kernel's own types.

use std::sync::{Arc, Weak};

use base::time::Instant;
use base::{Cred, Errno, Rank, Result, SpinLock, WaitQueue, err};
use fs::pidfd::{PidFd, PidTarget};
use fs::signalfd::SignalSource;
use fs::timerfd::{Fire, TimerHandle, TimerService};
use fs::{File, FileType, OpenFlags};
use hashbrown::HashMap;

use crate::Kernel;
use crate::signal::set::SigSet;
use crate::task::Process;
use crate::time::timer::{Expire, TimerId};

/// Who writes to a socket.
#[derive(Debug)]
pub struct SocketCallers;

impl net::Callers for SocketCallers {
    fn current(&self) -> net::Who {
        // The kernel's own threads speak as root, should one ever hold a socket.
        crate::sched::current().map_or_else(
            || net::Who { pid: 0, cred: Arc::new(Cred::root()) },
            |t| net::Who { pid: t.pid(), cred: t.cred() },
        )
    }
}

/// Timers for timerfd.
pub struct Timers {
    kernel: Weak<Kernel>,
    pending: SpinLock<TimerTable>,
}

impl std::fmt::Debug for Timers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} timers of files", self.pending.lock().map.len())
    }
}

#[derive(Default)]
struct TimerTable {
    next: u64,
    map: HashMap<u64, (TimerId, Arc<OneShot>)>,
}

struct OneShot(Weak<dyn Fire>);

impl Expire for OneShot {
    fn expire(&self, _now: Instant) {
        if let Some(f) = self.0.upgrade() {
            f.fire();
        }
    }
}

impl Timers {
    /// For the timers of one file.
    pub fn new(kernel: &Arc<Kernel>) -> Timers {
        Timers {
            kernel: Arc::downgrade(kernel),
            pending: SpinLock::new(Rank::Timer, TimerTable::default()),
        }
    }
}

impl TimerService for Timers {
    fn now(&self) -> Instant {
        arch::clock::monotonic()
    }
    fn realtime_ns(&self) -> u64 {
        let t = arch::clock::realtime();
        t.sec.max(0) as u64 * 1_000_000_000 + u64::from(t.nsec)
    }
    fn arm(&self, at: Instant, cb: Weak<dyn Fire>) -> TimerHandle {
        let shot = Arc::new(OneShot(cb));
        let id = self.kernel.upgrade().map(|k| {
            let weak: Weak<dyn Expire> = Arc::downgrade(&(shot.clone() as Arc<dyn Expire>));
            k.sched.timers.call(at, weak)
        });
        let mut t = self.pending.lock();
        t.next += 1;
        let n = t.next;
        if let Some(id) = id {
            t.map.insert(n, (id, shot));
        }
        TimerHandle(n)
    }
    fn cancel(&self, timer: TimerHandle) {
        let gone = self.pending.lock().map.remove(&timer.0);
        if let (Some((id, _)), Some(k)) = (gone, self.kernel.upgrade()) {
            k.sched.timers.cancel(id);
        }
    }
}

/// Signals for signalfd: those of whoever reads.
#[derive(Debug)]
pub struct Signals {
    nobody: Arc<WaitQueue>,
}

impl Signals {
    /// A source that follows the calling task.
    pub fn new(_kernel: &Arc<Kernel>) -> Signals {
        Signals { nobody: Arc::new(WaitQueue::new()) }
    }
}

impl SignalSource for Signals {
    fn dequeue(&self, mask: u64) -> Option<[u8; 128]> {
        let me = crate::sched::current()?;
        let info = me.take_signal(SigSet(mask))?;
        me.recalc_sigpending();
        Some(info.to_signalfd())
    }
    fn pending(&self, mask: u64) -> bool {
        crate::sched::current().is_some_and(|me| {
            let shared = me.process.pending.lock().set();
            let own = me.signals.lock().pending.set();
            !own.or(shared).and(SigSet(mask)).is_empty()
        })
    }
    fn queue(&self) -> Arc<WaitQueue> {
        let me = crate::sched::current();
        me.map_or_else(|| self.nobody.clone(), |me| me.process.signal_event.clone())
    }
}

struct Target {
    process: Arc<Process>,
    kernel: Weak<Kernel>,
}

impl PidTarget for Target {
    fn pid(&self) -> u32 {
        self.process.pid
    }
    fn exited(&self) -> bool {
        self.process.lock().zombie.is_some()
    }
    fn reaped(&self) -> bool {
        self.kernel.upgrade().is_none_or(|k| k.tree.lock().process(self.process.pid).is_none())
    }
    fn queue(&self) -> Arc<WaitQueue> {
        self.process.exit_event.clone()
    }
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

/// A pidfd for a process.
///
/// # Errors
/// ENFILE.
pub fn open_pidfd(
    kernel: &Arc<Kernel>,
    process: &Arc<Process>,
    nonblock: bool,
) -> Result<Arc<File>> {
    let target = Arc::new(Target { process: process.clone(), kernel: Arc::downgrade(kernel) });
    let mut flags = OpenFlags::RDWR;
    flags.set(OpenFlags::NONBLOCK, nonblock);
    let ops = PidFd::new(target, false);
    let cred = crate::sched::current().map_or_else(|| Arc::new(Cred::root()), |t| t.cred());
    Ok(kernel.vfs.anon().file(ops, flags, cred, FileType::Regular, 0o600))
}

/// The process behind a pidfd.
///
/// # Errors
/// EBADF if the file is none.
pub fn pid_of(file: &File) -> Result<u32> {
    match file.ops_as::<PidFd>() {
        Some(p) => Ok(p.target().pid()),
        None => err(Errno::EBADF),
    }
}
