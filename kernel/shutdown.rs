//! How a kernel ends.
//!
//! Whoever ends it (reboot(2), the exit of init, a host signal) decides a [`Fate`], once. All processes are
//! killed; when the last is gone the idle loop stops the scheduler, and boot's thread writes everything back,
//! gives the terminal back and exits. A process that does not die holds this up for a few seconds only.

use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use base::Instant;
use base::lock::{Rank, SpinLock};
use drivers::BlockDevice as _;
use fs::MountNamespace;

use crate::Kernel;
use crate::signal::set::nr;
use crate::task::Process;
use crate::time::timer::Expire;

/// How long processes have to die.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long writing back may take when a process did not die: it may hold a lock that is needed.
const LAST_PATIENCE: Duration = Duration::from_secs(20);

/// What becomes of Umbra.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// reboot(2) RB_HALT_SYSTEM.
    Halt,
    /// reboot(2) RB_POWER_OFF.
    PowerOff,
    /// reboot(2) RB_AUTOBOOT: the kernel starts anew.
    Restart,
    /// The process exits with this status.
    Exit(i32),
}

/// The end of a kernel, as far as it has come.
pub struct Life {
    fate: SpinLock<Option<Fate>>,
    /// The line to print at the end: why the system could not be booted.
    failure: SpinLock<Option<String>>,
    ending: AtomicBool,
    warden: Arc<Warden>,
    /// The first mount namespace. It outlives the processes, so that what cannot be written at
    /// the end is seen by [`Kernel::finish`] and not by whoever drops the last mount.
    mounts: SpinLock<Option<Arc<MountNamespace>>>,
}

impl std::fmt::Debug for Life {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Life({:?})", self.fate())
    }
}

/// Runs on the virtual CPU for what the device thread and the timer want.
struct Warden {
    kernel: Weak<Kernel>,
    /// A host signal that has come.
    signal: AtomicI32,
}

impl Expire for Warden {
    fn expire(&self, _now: Instant) {
        let Some(kernel) = self.kernel.upgrade() else { return };
        let signo = self.signal.swap(0, Ordering::SeqCst);
        if signo != 0 && !kernel.life.ending() {
            log::info!("host signal {signo}: shutting down");
            kernel.shut_down(Fate::Exit(128 + signo));
        } else if kernel.life.ending() {
            let left = kernel.tree.lock().task_count();
            log::error!("{left} threads do not end; shutting down without them");
            kernel.sched.stop();
        }
    }
}

impl Life {
    /// Of a kernel that is being made.
    pub fn new(kernel: &Weak<Kernel>) -> Life {
        Life {
            fate: SpinLock::new(Rank::Leaf, None),
            failure: SpinLock::new(Rank::Leaf, None),
            ending: AtomicBool::new(false),
            warden: Arc::new(Warden { kernel: kernel.clone(), signal: AtomicI32::new(0) }),
            mounts: SpinLock::new(Rank::Leaf, None),
        }
    }

    /// Whether it ends.
    #[inline]
    pub fn ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }

    /// What was decided.
    pub fn fate(&self) -> Option<Fate> {
        *self.fate.lock()
    }

    /// Why it could not be booted.
    pub fn failure(&self) -> Option<String> {
        self.failure.lock().clone()
    }

    /// Boot: keeps the mounts until the end.
    pub fn keep_mounts(&self, mounts: Arc<MountNamespace>) {
        *self.mounts.lock() = Some(mounts);
    }

    fn decide(&self, fate: Fate) -> bool {
        let mut f = self.fate.lock();
        if f.is_some() {
            return false;
        }
        *f = Some(fate);
        self.ending.store(true, Ordering::SeqCst);
        true
    }
}

impl Kernel {
    /// Ends the kernel in this way, unless its end has begun already. Returns at once; the caller's
    /// process is killed as all others are.
    pub fn shut_down(&self, fate: Fate) {
        if !self.life.decide(fate) {
            return;
        }
        self.kill_everyone();
        self.call_warden(arch::clock::monotonic() + PATIENCE);
    }

    /// As [`Kernel::shut_down`], because the first program could not be started.
    pub fn fail_boot(&self, status: i32, why: String) {
        *self.life.failure.lock() = Some(why);
        self.shut_down(Fate::Exit(status));
    }

    /// Kills all processes. Again from the idle loop, since a fork may have been on its way.
    pub fn kill_everyone(&self) {
        let all: Vec<Arc<Process>> = self.tree.lock().nodes().map(|n| n.process.clone()).collect();
        for p in all {
            p.kill_all(nr::KILL as i32, None);
        }
        self.end_housekeeping();
    }

    fn call_warden(&self, at: Instant) {
        let warden: Arc<dyn Expire> = self.life.warden.clone();
        self.sched.timers.call(at, Arc::downgrade(&warden));
    }

    /// Device thread: a host signal that ends Umbra.
    pub fn host_signal(&self, signo: i32) {
        self.life.warden.signal.store(signo, Ordering::SeqCst);
        self.call_warden(arch::clock::monotonic());
        arch::cpu::kick(0);
    }

    /// The first process has exited with this wait status: so does Umbra.
    pub fn init_exited(&self, status: i32) {
        let (code, signal) = exit_status(status);
        if self.life.ending() {
            return;
        }
        match signal {
            Some(s) if self.config.run.is_none() => {
                log::error!("init was killed by signal {s} (exitcode={status:#010x})");
            }
            _ => log::info!("the first process exited with status {code}"),
        }
        self.shut_down(Fate::Exit(code));
    }

    /// Idle loop: whether the scheduler can stop now.
    pub fn all_gone(&self) -> bool {
        let gone = || self.tree.lock().task_count() == 0 && self.no_kernel_threads();
        if gone() {
            return true;
        }
        self.kill_everyone();
        gone()
    }

    /// The orderly end, on boot's thread, when no task runs any more. Returns the exit status:
    /// it is never 0 if something could not be written back, whatever the first process thinks.
    pub fn finish(&self) -> i32 {
        if self.tree.lock().task_count() != 0 {
            watchdog();
        }
        let mut lost = false;
        let mut disk = |r: base::Result<()>, what: &str| {
            if let Err(e) = r {
                log::error!("{what}: {}", e.errno().text());
                lost = true;
            }
        };
        disk(self.vfs.sync_all(), "writing back at the end");
        for sb in self.vfs.superblocks() {
            if sb.device().is_some() && !sb.read_only() {
                disk(sb.fs().remount(true, b""), "unmounting");
                if sb.fs().lost_data() {
                    disk(base::err(base::Errno::EIO), "data was lost before the end");
                }
            }
        }
        for d in self.vfs.devices.blocks.list() {
            if !d.read_only() {
                disk(d.flush(), d.name());
            }
        }
        for (_, c) in &self.consoles {
            c.output_ready();
        }
        crate::tracing::flush();
        match self.life.fate() {
            Some(Fate::Exit(code)) if code != 0 => code,
            _ => i32::from(lost),
        }
    }
}

/// Exit status of Umbra for a wait status, and the signal if it was one.
pub fn exit_status(status: i32) -> (i32, Option<i32>) {
    match status & 0x7f {
        0 => (status >> 8 & 0xff, None),
        s => (128 + s, Some(s)),
    }
}

/// Writing back may wait for a lock that a stuck task holds: not for ever.
fn watchdog() {
    // Without the thread the wait has no end but the user's patience.
    let _ = arch::cpu::device_thread("umbra-end", || {
        std::thread::sleep(LAST_PATIENCE);
        arch::hosttty::restore();
        eprintln!("umbra: the shutdown hangs; ended without it");
        std::process::exit(1);
    });
}

#[cfg(test)]
mod tests {
    use super::exit_status;

    #[test]
    fn statuses() {
        assert_eq!(exit_status(0), (0, None));
        assert_eq!(exit_status(7 << 8), (7, None));
        assert_eq!(exit_status(255 << 8), (255, None));
        assert_eq!(exit_status(9), (137, Some(9)));
        assert_eq!(exit_status(11 | 0x80), (139, Some(11)));
    }
}
