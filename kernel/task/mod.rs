//! Tasks and processes.
//!
//! A [`Task`] is a thread: a kernel stack, credentials, and references to what it shares with
//! others (address space, descriptors, root and working directory, signal actions). A [`Process`] is a
//! thread group: what wait(2), kill(2) and job control speak of. How processes hang together (parents,
//! children, groups, sessions) is in the [`tree::Tree`], under one lock.
//!
//! Locks: tree (`ProcessTree`), then a process or task (`Task`), then signals (`Signal`).

pub mod clone;
pub mod exit;
pub mod ids;
pub mod limits;
pub mod run;
pub mod tree;
pub mod wait;

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use arch::Answers;
use arch::switch::Fiber;
use base::lock::{Rank, SpinGuard, SpinLock};
use base::wait::WaitQueue;
use base::{Cred, trace};
use fs::FsContext;
use fs::fdtable::FdTable;
use mm::AddressSpace;

use crate::Kernel;
use crate::sched::Entity;
use crate::signal::queue::{Actions, Pending, SigInfo};
use crate::signal::set::SigSet;
use limits::Rlimits;

/// What a process's threads have in common.
pub struct Process {
    /// Process id: the tid of its first thread.
    pub pid: u32,
    /// The changing part.
    pub state: SpinLock<ProcessState>,
    /// Signals sent to the process as a whole.
    pub pending: SpinLock<Pending>,
    /// What it does about signals; shared by CLONE_SIGHAND.
    pub actions: SpinLock<Arc<SpinLock<Actions>>>,
    /// Woken when a child changes state.
    pub child_event: Arc<WaitQueue>,
    /// Woken when this process exits (pidfd) or its threads change.
    pub exit_event: Arc<WaitQueue>,
    /// Woken to end a job control stop.
    pub stop_event: WaitQueue,
    /// Woken when a signal is queued: signalfd, sigtimedwait.
    pub signal_event: Arc<WaitQueue>,
    /// Resource limits.
    pub rlimits: SpinLock<Rlimits>,
    /// ITIMER_*, timer_create.
    pub timers: crate::time::posix::ProcessTimers,
    /// When it started, monotonic nanoseconds.
    pub start_ns: u64,
    /// The times of threads that are gone.
    pub past: PastTimes,
    /// `/proc/PID/oom_score_adj`.
    pub oom_score_adj: AtomicI32,
    /// Whether descendants are reparented to it.
    pub subreaper: AtomicBool,
    /// `prctl(PR_SET_DUMPABLE)`.
    pub dumpable: AtomicU32,
    /// As Linux's init: signals that it does not handle do not end it.
    pub unkillable: AtomicBool,
    /// personality(2).
    pub personality: AtomicU32,
    /// `/proc/PID/coredump_filter`.
    pub coredump_filter: AtomicU32,
    /// `/proc/PID/loginuid` and `sessionid`; `u32::MAX`: not set.
    pub loginuid: AtomicU32,
    /// See `loginuid`.
    pub sessionid: AtomicU32,
    /// Who gets its exit signal may have been changed by CLONE_PARENT; 0: none.
    pub exit_signal: AtomicU32,
}

/// Times of threads that have exited, for getrusage and times.
#[derive(Debug, Default)]
#[allow(missing_docs)]
pub struct PastTimes {
    pub utime_ns: AtomicU64,
    pub stime_ns: AtomicU64,
    pub children_utime_ns: AtomicU64,
    pub children_stime_ns: AtomicU64,
    pub minflt: AtomicU64,
    pub majflt: AtomicU64,
    pub voluntary: AtomicU64,
    pub involuntary: AtomicU64,
    pub children_minflt: AtomicU64,
    pub max_rss_pages: AtomicU64,
    pub children_max_rss: AtomicU64,
}

/// The changing part of a process.
#[derive(Debug, Default)]
pub struct ProcessState {
    /// Its threads that have not exited.
    pub threads: Vec<Arc<Task>>,
    /// The status that exit_group or a fatal signal has fixed, as wait(2) encodes it.
    pub exiting: Option<i32>,
    /// A job control stop is in force; the signal that caused it.
    pub stopped: Option<u32>,
    /// The stop (or the continuation) has not been reported to wait(2) yet.
    pub report_stop: bool,
    /// See `report_stop`.
    pub report_continue: bool,
    /// All threads are gone: what wait(2) will say.
    pub zombie: Option<i32>,
    /// execve has been done (setpgid is refused then).
    pub execed: bool,
    /// A thread is about to kill its siblings for execve.
    pub exec_leader: Option<u32>,
    /// What /proc shows of the first thread after its end.
    pub remains: Option<Remains>,
}

/// What stays of a thread that has ended, until its process is waited for.
#[derive(Clone, Debug)]
pub struct Remains {
    /// Its name.
    pub comm: [u8; 16],
    /// Its credentials.
    pub cred: Arc<Cred>,
}

/// A thread.
pub struct Task {
    /// Thread id; changes once, if a thread that is not the first one execs.
    id: AtomicU32,
    /// Its process.
    pub process: Arc<Process>,
    pub(crate) me: Weak<Task>,
    kernel: Weak<Kernel>,
    /// The scheduler's part.
    pub sched: Entity,
    fiber: spin::Once<Arc<Fiber>>,
    cred: SpinLock<Arc<Cred>>,
    /// Root, working directory, umask; shared by CLONE_FS.
    pub fs: SpinLock<Arc<FsContext>>,
    files: SpinLock<Option<Arc<FdTable>>>,
    mm: SpinLock<Option<Arc<AddressSpace>>>,
    /// Signals.
    pub signals: SpinLock<TaskSignals>,
    /// A signal waits that is not blocked: looked at on the way to user mode.
    sigpending: AtomicBool,
    /// It must exit: SIGKILL, or its group is exiting.
    fatal: AtomicBool,
    /// `set_tid_address`, CLONE_CHILD_CLEARTID.
    pub clear_child_tid: AtomicU64,
    /// `set_robust_list`.
    pub robust_list: AtomicU64,
    /// `prctl(PR_SET_NAME)`.
    pub comm: SpinLock<[u8; 16]>,
    /// `prctl(PR_SET_PDEATHSIG)`.
    pub pdeathsig: AtomicU32,
    /// Timer slack (kept, not used).
    pub timer_slack_ns: AtomicU64,
    /// The vfork parent waits here until the child has its own space or is gone.
    pub vfork_done: SpinLock<Option<Arc<VforkDone>>>,
    /// Time in user mode, nanoseconds.
    pub utime_ns: AtomicU64,
    /// Page faults without and with I/O.
    pub minflt: AtomicU64,
    /// See `minflt`.
    pub majflt: AtomicU64,
    /// Where its machine thread finds results without a system call.
    answers: SpinLock<Option<Arc<dyn Answers>>>,
    /// The system call that it is in, for /proc and the panic report.
    pub in_syscall: AtomicU32,
    syscall_args: [AtomicU64; 6],
    /// sched_setscheduler's policy and priority, as set.
    pub policy: AtomicU32,
    /// See `policy`.
    pub rt_priority: AtomicU32,
    /// I/O priority.
    pub ioprio: AtomicU32,
    /// Affinity mask as set.
    pub affinity: AtomicU64,
    /// Seccomp strict or filters: not there; kept for prctl's answers.
    pub exit_status: AtomicI32,
}

/// What a vfork parent waits for.
#[derive(Debug, Default)]
pub struct VforkDone {
    done: AtomicBool,
    queue: WaitQueue,
}

impl VforkDone {
    /// The child does not use its parent's memory any more.
    pub fn complete(&self) {
        self.done.store(true, Ordering::SeqCst);
        self.queue.wake_all(base::PollEvents::empty());
    }
    /// Waits for that; a fatal signal ends it early.
    pub fn wait(&self) {
        let _ = self.queue.wait_until(base::Sleep::Killable, None, || {
            self.done.load(Ordering::SeqCst).then_some(())
        });
    }
}

/// A thread's signal state.
#[derive(Debug, Default)]
pub struct TaskSignals {
    /// Blocked signals.
    pub blocked: SigSet,
    /// To be restored after a handler or sigsuspend's return.
    pub saved: Option<SigSet>,
    /// Signals sent to this thread.
    pub pending: Pending,
    /// sigaltstack(2): base, size, flags.
    pub alt_base: u64,
    /// See `alt_base`.
    pub alt_size: u64,
    /// See `alt_base`.
    pub alt_flags: u32,
    /// Signals that sigtimedwait is waiting for (not to be thrown away as ignored).
    pub waiting_for: SigSet,
}

impl Task {
    /// The kernel it belongs to.
    pub fn kernel(&self) -> Arc<Kernel> {
        self.kernel.upgrade().expect("tasks do not outlive their kernel")
    }

    /// Thread id.
    #[inline]
    pub fn tid(&self) -> u32 {
        self.id.load(Ordering::Relaxed)
    }

    /// A thread that execs takes over its process's id.
    pub(crate) fn set_tid(&self, tid: u32) {
        self.id.store(tid, Ordering::Relaxed);
    }

    /// Its kernel stack.
    pub fn fiber(&self) -> &Fiber {
        self.fiber.get().expect("a task that runs has a stack")
    }

    /// A counted reference to its kernel stack.
    pub fn fiber_handle(&self) -> Arc<Fiber> {
        self.fiber.get().expect("a task that runs has a stack").clone()
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.process.pid
    }

    /// Its credentials, now.
    pub fn cred(&self) -> Arc<Cred> {
        self.cred.lock().clone()
    }

    /// Replaces the credentials.
    pub fn set_cred(&self, cred: Cred) {
        let ids = [cred.uid, cred.euid, cred.gid, cred.egid];
        *self.cred.lock() = Arc::new(cred);
        self.answer_ids(ids);
    }

    fn answer_ids(&self, ids: [u32; 4]) {
        if let Some(a) = &*self.answers.lock() {
            for (nr, id) in [102, 107, 104, 108].into_iter().zip(ids) {
                a.set(nr, Some(id));
            }
        }
    }

    /// Its machine thread looks for the results of getpid(2) and its like there from now on; None: it
    /// is about to end. Not while system calls are traced: they would not be seen.
    pub(crate) fn set_answers(&self, answers: Option<Arc<dyn Answers>>) {
        let answers = answers.filter(|_| !trace::enabled(trace::Category::Syscall));
        let some = answers.is_some();
        if let Some(a) = &answers {
            a.set(39, Some(self.pid()));
            a.set(186, Some(self.tid()));
        }
        *self.answers.lock() = answers;
        if !some {
            return;
        }
        let c = self.cred();
        self.answer_ids([c.uid, c.euid, c.gid, c.egid]);
        // Under the tree's lock, so that who is given a new parent meanwhile hears of it later.
        let kernel = self.kernel();
        let tree = kernel.tree.lock();
        self.answer_parent(tree.node(self.pid()).map_or(0, |n| n.parent));
    }

    /// The result of getppid(2).
    pub(crate) fn answer_parent(&self, parent: u32) {
        if let Some(a) = &*self.answers.lock() {
            a.set(110, Some(parent));
        }
    }

    /// Its address space; None while it exits.
    pub fn mm(&self) -> Option<Arc<AddressSpace>> {
        self.mm.lock().clone()
    }

    /// Replaces the address space; gives the old one.
    pub fn set_mm(&self, mm: Option<Arc<AddressSpace>>) -> Option<Arc<AddressSpace>> {
        std::mem::replace(&mut *self.mm.lock(), mm)
    }

    /// Its descriptors; an empty table while it exits.
    pub fn files(&self) -> Option<Arc<FdTable>> {
        self.files.lock().clone()
    }

    /// Replaces the descriptors; gives the old table.
    pub fn set_files(&self, files: Option<Arc<FdTable>>) -> Option<Arc<FdTable>> {
        std::mem::replace(&mut *self.files.lock(), files)
    }

    /// Root, working directory and umask.
    pub fn fs(&self) -> Arc<FsContext> {
        self.fs.lock().clone()
    }

    /// A signal waits that it should look at.
    #[inline]
    pub fn signal_pending(&self) -> bool {
        self.sigpending.load(Ordering::Relaxed) || self.fatal.load(Ordering::Relaxed)
    }

    /// It must exit soon.
    #[inline]
    pub fn fatal_pending(&self) -> bool {
        self.fatal.load(Ordering::Relaxed)
    }

    /// Makes it exit at its next look.
    pub fn set_fatal(&self) {
        self.fatal.store(true, Ordering::SeqCst);
    }

    /// Recomputes whether a signal waits. Call it after any change of the mask or the queues.
    pub fn recalc_sigpending(&self) {
        let shared = self.process.pending.lock().set();
        let s = self.signals.lock();
        let waiting = !s.pending.set().or(shared).minus(s.blocked).is_empty();
        drop(s);
        let stopped = self.process.state.lock_nested().stopped.is_some();
        self.sigpending.store(waiting || stopped, Ordering::SeqCst);
    }

    /// Marks that a signal waits.
    pub fn set_sigpending(&self) {
        self.sigpending.store(true, Ordering::SeqCst);
    }

    /// The name as text.
    pub fn comm_text(&self) -> String {
        let c = self.comm.lock();
        let n = c.iter().position(|b| *b == 0).unwrap_or(15);
        String::from_utf8_lossy(&c[..n]).into_owned()
    }

    /// Sets the name from a path's last component or a given one: 15 bytes are kept.
    pub fn set_comm(&self, name: &[u8]) {
        let mut c = [0u8; 16];
        let n = name.len().min(15);
        c[..n].copy_from_slice(&name[..n]);
        *self.comm.lock() = c;
    }

    /// Time in kernel mode, nanoseconds: what it ran less what it ran in user mode.
    pub fn stime_ns(&self) -> u64 {
        let run = self.sched.runtime.load(Ordering::Relaxed);
        run.saturating_sub(self.utime_ns.load(Ordering::Relaxed))
    }

    /// Notes the system call that it enters, for /proc/PID/syscall.
    #[inline]
    pub(crate) fn enter_syscall(&self, nr: u64, args: &[u64; 6]) {
        for (slot, arg) in self.syscall_args.iter().zip(args) {
            slot.store(*arg, Ordering::Relaxed);
        }
        self.in_syscall.store(nr as u32, Ordering::Relaxed);
    }

    /// The arguments of the system call that it is in.
    pub fn syscall_args(&self) -> [u64; 6] {
        std::array::from_fn(|i| self.syscall_args[i].load(Ordering::Relaxed))
    }

    /// Its siblings and itself.
    pub fn threads(&self) -> Vec<Arc<Task>> {
        self.process.state.lock().threads.clone()
    }

    /// Queues a signal for this thread alone: what its own instruction has caused. If it is blocked or
    /// ignored the process ends by it, as Linux forces it.
    pub fn force_signal(&self, info: SigInfo) {
        crate::signal::send::force(self, info);
    }
}

impl std::fmt::Debug for Task {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "task {} of {} ({})", self.tid(), self.process.pid, self.comm_text())
    }
}

impl Process {
    /// Locks the changing part.
    pub fn lock(&self) -> SpinGuard<'_, ProcessState> {
        self.state.lock()
    }

    /// Any thread that lives.
    pub fn any_thread(&self) -> Option<Arc<Task>> {
        let s = self.state.lock();
        s.threads.iter().find(|t| t.tid() == self.pid).or_else(|| s.threads.first()).cloned()
    }

    /// CPU time of all threads, past and present: (user, system) nanoseconds.
    pub fn times(&self) -> (u64, u64) {
        let mut u = self.past.utime_ns.load(Ordering::Relaxed);
        let mut s = self.past.stime_ns.load(Ordering::Relaxed);
        for t in &self.state.lock().threads {
            u += t.utime_ns.load(Ordering::Relaxed);
            s += t.stime_ns();
        }
        (u, s)
    }

    /// Soft limit of a resource.
    pub fn rlimit(&self, which: limits::Resource) -> u64 {
        self.rlimits.lock().soft(which)
    }
}

impl std::fmt::Debug for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "process {}", self.pid)
    }
}

/// What a new task is made from.
pub struct NewTask {
    pub(crate) tid: u32,
    pub(crate) process: Arc<Process>,
    pub(crate) kernel: Arc<Kernel>,
    pub(crate) nice: i32,
    pub(crate) cred: Arc<Cred>,
    pub(crate) fs: Arc<FsContext>,
    pub(crate) files: Arc<FdTable>,
    /// None: a kernel thread.
    pub(crate) mm: Option<Arc<AddressSpace>>,
    pub(crate) comm: [u8; 16],
}

impl std::fmt::Debug for NewTask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "new task {} of {:?}", self.tid, self.process)
    }
}

impl NewTask {
    pub(crate) fn build(self) -> Arc<Task> {
        Arc::new_cyclic(|me| Task {
            id: AtomicU32::new(self.tid),
            process: self.process,
            me: me.clone(),
            kernel: Arc::downgrade(&self.kernel),
            sched: Entity::new(self.nice),
            fiber: spin::Once::new(),
            cred: SpinLock::new(Rank::Leaf, self.cred),
            fs: SpinLock::new(Rank::Leaf, self.fs),
            files: SpinLock::new(Rank::Leaf, Some(self.files)),
            mm: SpinLock::new(Rank::Leaf, self.mm),
            signals: SpinLock::new(Rank::Signal, TaskSignals::default()),
            sigpending: AtomicBool::new(false),
            fatal: AtomicBool::new(false),
            clear_child_tid: AtomicU64::new(0),
            robust_list: AtomicU64::new(0),
            comm: SpinLock::new(Rank::Leaf, self.comm),
            pdeathsig: AtomicU32::new(0),
            timer_slack_ns: AtomicU64::new(50_000),
            vfork_done: SpinLock::new(Rank::Leaf, None),
            utime_ns: AtomicU64::new(0),
            minflt: AtomicU64::new(0),
            majflt: AtomicU64::new(0),
            answers: SpinLock::new(Rank::Leaf, None),
            in_syscall: AtomicU32::new(u32::MAX),
            syscall_args: Default::default(),
            policy: AtomicU32::new(0),
            rt_priority: AtomicU32::new(0),
            ioprio: AtomicU32::new(0),
            affinity: AtomicU64::new(u64::MAX),
            exit_status: AtomicI32::new(0),
        })
    }
}

/// A new process without threads.
pub(crate) fn new_process(
    pid: u32,
    actions: Arc<SpinLock<Actions>>,
    rlimits: Rlimits,
) -> Arc<Process> {
    Arc::new(Process {
        pid,
        state: SpinLock::new(Rank::Task, ProcessState::default()),
        pending: SpinLock::new(Rank::Leaf, Pending::default()),
        actions: SpinLock::new(Rank::Leaf, actions),
        child_event: Arc::new(WaitQueue::new()),
        exit_event: Arc::new(WaitQueue::new()),
        stop_event: WaitQueue::new(),
        signal_event: Arc::new(WaitQueue::new()),
        rlimits: SpinLock::new(Rank::Leaf, rlimits),
        timers: crate::time::posix::ProcessTimers::default(),
        start_ns: arch::clock::monotonic().0,
        past: PastTimes::default(),
        oom_score_adj: AtomicI32::new(0),
        subreaper: AtomicBool::new(false),
        unkillable: AtomicBool::new(false),
        dumpable: AtomicU32::new(1),
        personality: AtomicU32::new(0),
        coredump_filter: AtomicU32::new(0x33),
        loginuid: AtomicU32::new(u32::MAX),
        sessionid: AtomicU32::new(u32::MAX),
        exit_signal: AtomicU32::new(crate::signal::set::nr::CHLD),
    })
}
