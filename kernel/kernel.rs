//! The [`Kernel`]: the one value that holds everything. Boot makes it; tasks refer to it.
//!
//! There are no statics with state of a kernel, so that a test can make a small one.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use arch::Machine;
use arch::switch::Fiber;
use base::lock::{Rank, SpinLock};
use base::{Instant, Timestamp};
use drivers::KernelLog;
use drivers::tty::Console;
use fs::Vfs;
use mm::Memory;
use std::sync::atomic::{AtomicBool, AtomicU64};

use crate::config::Config;
use crate::futex::Futexes;
use crate::housekeeping::Housekeeping;
use crate::load::LoadAverage;
use crate::sched::Sched;
use crate::shutdown::Life;
use crate::task::tree::Tree;
use crate::tty::Sessions;
use crate::vdso::Vdso;
use fs::memfd::Memfds;
use net::Net;

/// Numbers above this are not remembered by [`Kernel::log_unknown_once`].
const MAX_UNKNOWN: usize = 256;

/// What uname(2) tells and sethostname(2) changes.
#[derive(Clone, Debug)]
pub struct Names {
    /// Host name.
    pub host: String,
    /// NIS domain name.
    pub domain: String,
}

/// A kernel.
#[derive(Debug)]
pub struct Kernel {
    /// The scheduler, with the timer queue.
    pub sched: Arc<Sched>,
    /// Processes and threads.
    pub tree: SpinLock<Tree>,
    /// Futexes that somebody waits for.
    pub futexes: Futexes,
    /// Memory.
    pub memory: Arc<Memory>,
    /// The backend.
    pub machine: Arc<dyn Machine>,
    /// File systems and devices.
    pub vfs: Arc<Vfs>,
    /// The file system of memfd_create(2).
    pub memfds: Memfds,
    /// Sockets.
    pub net: Net,
    /// Host and domain name.
    pub names: SpinLock<Names>,
    /// The log behind dmesg.
    pub log: Arc<KernelLog>,
    /// Load averages.
    pub load: LoadAverage,
    /// The vDSO.
    pub vdso: Vdso,
    /// Whether ctrl-alt-del restarts at once (reboot(2)).
    pub ctrl_alt_del: AtomicBool,
    /// Controlling terminals.
    pub sessions: Sessions,
    /// Consoles by number.
    pub consoles: Vec<(u32, Arc<Console>)>,
    /// The parameters.
    pub config: Config,
    /// When it started, on the monotonic clock.
    pub boot_instant: Instant,
    /// When it started, as a date.
    pub boot_time: Timestamp,
    /// Processes killed for want of memory.
    pub oom_kills: AtomicU64,
    /// How it ends.
    pub life: Life,
    /// Work at leisure.
    pub housekeeping: Housekeeping,
    unknown: SpinLock<BTreeSet<u64>>,
    me: Weak<Kernel>,
}

/// What a kernel is made from.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct Parts {
    pub config: Config,
    pub machine: Arc<dyn Machine>,
    pub memory: Arc<Memory>,
    pub vfs: Arc<Vfs>,
    pub vdso: Vdso,
    pub log: Arc<KernelLog>,
    pub consoles: Vec<(u32, Arc<Console>)>,
    pub idle: Arc<Fiber>,
    pub started: Instant,
}

impl Kernel {
    /// A kernel without processes. Its idle loop will run on the calling host thread, whose stack is
    /// `parts.idle`.
    pub fn new(parts: Parts) -> Arc<Kernel> {
        let names = Names { host: parts.config.hostname.clone(), domain: "(none)".into() };
        let now = arch::clock::monotonic();
        Arc::new_cyclic(|me| Kernel {
            sched: Arc::new(Sched::on(parts.idle)),
            tree: SpinLock::new(Rank::ProcessTree, Tree::default()),
            futexes: Futexes::default(),
            memfds: Memfds::new(&parts.vfs, drivers::DevNum::new(0, 14)),
            net: Net::new(parts.vfs.clone(), Arc::new(crate::services::SocketCallers)),
            memory: parts.memory,
            machine: parts.machine,
            vfs: parts.vfs,
            names: SpinLock::new(Rank::Leaf, names),
            log: parts.log,
            load: LoadAverage::new(now),
            vdso: parts.vdso,
            ctrl_alt_del: AtomicBool::new(true),
            sessions: Sessions::default(),
            consoles: parts.consoles,
            config: parts.config,
            boot_instant: parts.started,
            boot_time: arch::clock::realtime(),
            oom_kills: AtomicU64::new(0),
            life: Life::new(me),
            housekeeping: Housekeeping::new(me),
            unknown: SpinLock::new(Rank::Leaf, BTreeSet::new()),
            me: me.clone(),
        })
    }

    /// A counted reference to itself.
    pub fn me(&self) -> Arc<Kernel> {
        self.me.upgrade().expect("a method runs on a value that an Arc holds")
    }

    /// /proc/cmdline.
    pub fn cmdline(&self) -> &str {
        &self.config.cmdline
    }

    /// Time since boot.
    pub fn uptime(&self) -> Duration {
        arch::clock::monotonic() - self.boot_instant
    }

    /// Random bytes.
    pub fn random(&self, buf: &mut [u8]) {
        fill_random(buf);
    }

    /// The virtual CPUs, one bit each.
    pub fn online_cpus(&self) -> u64 {
        u64::MAX >> (64 - self.config.cpus.clamp(1, 64))
    }

    /// How many threads a user has (real user id): for RLIMIT_NPROC.
    pub fn tasks_of(&self, uid: u32) -> usize {
        let all: Vec<_> = self.tree.lock().nodes().map(|n| n.process.clone()).collect();
        all.iter().map(|p| p.lock().threads.iter().filter(|t| t.cred().uid == uid).count()).sum()
    }

    /// Whether a missing system call is to be logged: the first time it is called.
    pub fn log_unknown_once(&self, nr: u64) -> bool {
        let mut seen = self.unknown.lock();
        seen.len() < MAX_UNKNOWN && seen.insert(nr)
    }
}

/// Random bytes of the host, or of the seeded generator.
pub fn fill_random(buf: &mut [u8]) {
    if arch::random::fill(buf).is_err() {
        // A host without getrandom(2) runs no Rust program either: HashMap would have failed.
        log::error!("the host gives no random bytes");
    }
}
