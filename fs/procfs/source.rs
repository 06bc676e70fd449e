//! What procfs asks of the rest of the kernel: one trait and plain values.
//!
//! The kernel implements [`ProcSource`] and gives it to [`super::ProcFs::new`]. A value is a copy of the state of
//! one moment; procfs formats it. Nothing here is locked while text is made.

use std::sync::Arc;

use base::{Result, UserAddr};
use drivers::BlockRegistry;

use crate::file::File;
use crate::path::{FsContext, Path};

/// State of a task, as the letter of /proc/PID/stat and the word of status.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TaskState {
    /// R: on a CPU or waiting for one.
    #[default]
    Running,
    /// S: sleeping, a signal wakes it.
    Sleeping,
    /// D: sleeping, nothing but its event wakes it.
    DiskSleep,
    /// T: stopped by a signal.
    Stopped,
    /// t: stopped by its tracer.
    Traced,
    /// Z: ended and not waited for.
    Zombie,
    /// X: gone.
    Dead,
    /// I: a kernel thread without work.
    Idle,
}

impl TaskState {
    /// The letter.
    pub fn letter(self) -> char {
        self.text().as_bytes()[0].into()
    }
    /// The letter and the word.
    pub fn text(self) -> &'static str {
        match self {
            TaskState::Running => "R (running)",
            TaskState::Sleeping => "S (sleeping)",
            TaskState::DiskSleep => "D (disk sleep)",
            TaskState::Stopped => "T (stopped)",
            TaskState::Traced => "t (tracing stop)",
            TaskState::Zombie => "Z (zombie)",
            TaskState::Dead => "X (dead)",
            TaskState::Idle => "I (idle)",
        }
    }
}

/// All that stat, status, limits, io and the small files show of a task. The threads of a process have the
/// same value but for the id, the name, the state, the times, the private signals and what lies next to those.
#[derive(Clone, Debug, Default)]
pub struct TaskInfo {
    /// Thread id (of a process: its pid).
    pub tid: u32,
    /// Process id: that of the thread group.
    pub tgid: u32,
    /// The parent.
    pub ppid: u32,
    /// Process group.
    pub pgid: u32,
    /// Session.
    pub sid: u32,
    /// The tracer, or 0.
    pub tracer: u32,
    /// Controlling terminal as `DevNum::to_user` has it, 0 for none.
    pub tty: u64,
    /// Foreground process group of the terminal, -1 for none.
    pub tpgid: i32,
    /// Name, at most 15 bytes.
    pub comm: Vec<u8>,
    /// State.
    pub state: TaskState,
    /// PF_* flags of `man 5 proc` field 9 (PF_FORKNOEXEC 0x40, PF_SUPERPRIV 0x100, PF_KTHREAD 0x200000 ...).
    pub flags: u32,
    /// Whether it is a kernel thread.
    pub kthread: bool,
    /// Credentials. None only for a task that is just being made.
    pub cred: Option<Arc<base::Cred>>,
    /// Whether /proc/PID belongs to the user (`PR_SET_DUMPABLE`); else it belongs to root.
    pub dumpable: bool,
    /// Faults without and with I/O; of the task (or process) and its waited-for children.
    pub min_flt: u64,
    /// As `min_flt`, of children.
    pub cmin_flt: u64,
    /// Faults with I/O.
    pub maj_flt: u64,
    /// As `maj_flt`, of children.
    pub cmaj_flt: u64,
    /// User time in nanoseconds.
    pub utime: u64,
    /// System time in nanoseconds.
    pub stime: u64,
    /// User time of waited-for children.
    pub cutime: u64,
    /// System time of waited-for children.
    pub cstime: u64,
    /// Kernel priority as field 18 shows it: 20 + nice, or -1 - rt_priority.
    pub priority: i32,
    /// -20..=19.
    pub nice: i32,
    /// Threads of the process.
    pub threads: u32,
    /// Start, in nanoseconds since boot.
    pub start_time: u64,
    /// Sizes of the address space; None for kernel threads and zombies.
    pub usage: Option<mm::Usage>,
    /// Where exec put things; None as `usage`.
    pub layout: Option<mm::Layout>,
    /// Stack pointer and program counter, if the task is stopped or the reader may see them; else 0.
    pub kstkesp: u64,
    /// As `kstkesp`.
    pub kstkeip: u64,
    /// The signal sent to the parent at the end.
    pub exit_signal: i32,
    /// As waitpid(2) reports it; 0 while alive.
    pub exit_code: i32,
    /// Virtual CPU it ran on last.
    pub cpu: u32,
    /// Real-time priority, 0 for none.
    pub rt_priority: u32,
    /// SCHED_*.
    pub policy: u32,
    /// Nanoseconds on a CPU, waiting for one, and time slices run (schedstat).
    pub sched: [u64; 3],
    /// Voluntary and involuntary context switches.
    pub switches: [u64; 2],
    /// Which virtual CPUs it may use, bit by bit.
    pub cpus_allowed: u64,
    /// Signals pending for the thread.
    pub sig_pending: u64,
    /// Signals pending for the process.
    pub shared_pending: u64,
    /// Blocked signals.
    pub sig_blocked: u64,
    /// Ignored signals.
    pub sig_ignored: u64,
    /// Caught signals.
    pub sig_caught: u64,
    /// Queued signals of the user.
    pub sig_queued: u64,
    /// umask; None for kernel threads and zombies.
    pub umask: Option<u32>,
    /// Size of the descriptor table.
    pub fd_size: u32,
    /// Resource limits, soft and hard, in the order of RLIMIT_*; `u64::MAX` is no limit.
    pub rlimits: [(u64, u64); 16],
    /// 0 none, 1 strict, 2 filter.
    pub seccomp: u32,
    /// Seccomp filters.
    pub seccomp_filters: u32,
    /// `oom_score_adj`, -1000..=1000.
    pub oom_score_adj: i32,
    /// 0..=2000: how likely it is to be killed for its memory.
    pub oom_score: u32,
    /// Personality of `man 2 personality`.
    pub personality: u32,
    /// `loginuid`; `u32::MAX`: not set.
    pub loginuid: u32,
    /// `sessionid`; `u32::MAX`: not set.
    pub sessionid: u32,
    /// Which mappings a core dump holds.
    pub coredump_filter: u32,
    /// `timerslack_ns`.
    pub timer_slack: u64,
    /// The system call it is in (number, six arguments), for `syscall`; None if it runs.
    pub syscall: Option<(u64, [u64; 6])>,
    /// Name of the kernel function it sleeps in, empty if it runs.
    pub wchan: String,
    /// Ids of its children, for task/TID/children.
    pub children: Vec<u32>,
}

/// One CPU's times in nanoseconds, in the order of /proc/stat: user, nice, system, idle, iowait, irq,
/// softirq, steal, guest, guest_nice.
pub type CpuTimes = [u64; 10];

/// What /proc/cpuinfo shows of a CPU; all CPUs are alike but for the number.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
pub struct CpuModel {
    /// `GenuineIntel`, `AuthenticAMD`.
    pub vendor: String,
    pub family: u32,
    pub model: u32,
    pub name: String,
    pub stepping: u32,
    pub microcode: u32,
    pub mhz: f64,
    pub cache_kb: u32,
    pub cpuid_level: u32,
    /// The words of `flags`.
    pub flags: Vec<String>,
    pub bugs: Vec<String>,
    pub clflush: u32,
    pub phys_bits: u32,
    pub virt_bits: u32,
}

/// The state of the whole system.
#[derive(Clone, Debug, Default)]
pub struct SystemInfo {
    /// Nanoseconds since boot.
    pub uptime: u64,
    /// Nanoseconds that CPUs were idle, summed.
    pub idle: u64,
    /// Seconds since 1970 of the boot.
    pub boot_time: u64,
    /// Averages over 1, 5 and 15 minutes.
    pub loadavg: [f64; 3],
    /// Tasks on a run queue.
    pub running: u32,
    /// Tasks in uninterruptible sleep.
    pub blocked: u32,
    /// Tasks in all.
    pub tasks: u32,
    /// The youngest pid.
    pub last_pid: u32,
    /// Times of each virtual CPU.
    pub cpus: Vec<CpuTimes>,
    /// What the CPUs are.
    pub cpu_model: CpuModel,
    /// Context switches since boot.
    pub switches: u64,
    /// Tasks made since boot.
    pub forks: u64,
    /// Interrupts since boot, by source and CPU: (label, counts, description).
    pub interrupts: Vec<(String, Vec<u64>, String)>,
    /// The kernel's command line.
    pub cmdline: String,
    /// `ostype`, `osrelease`, `version` of uname(2).
    pub ostype: String,
    /// As `ostype`.
    pub release: String,
    /// As `ostype`.
    pub version: String,
    /// Who built it and with what: the middle of /proc/version.
    pub builder: String,
    /// Page faults, and those with I/O, for vmstat.
    pub faults: [u64; 2],
    /// Processes killed for want of memory.
    pub oom_kills: u64,
    /// Open files, and how many there may be.
    pub files: [u64; 2],
    /// Inodes and dentries in memory.
    pub inodes: u64,
    /// Dentries: all, and the unused ones.
    pub dentries: [u64; 2],
}

/// A file that fs does not know how to fill: net and System V IPC have them. What the kernel returns is shown as it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Table<'a> {
    /// /proc/net/NAME.
    Net(&'a str),
    /// /proc/sysvipc/NAME: msg, sem, shm.
    SysvIpc(&'a str),
    /// /proc/locks.
    Locks,
    /// /proc/filesystems.
    Filesystems,
    /// /proc/devices.
    Devices,
    /// /proc/misc.
    Misc,
    /// /proc/consoles.
    Consoles,
    /// /proc/modules.
    Modules,
    /// /proc/PID/timers.
    Timers(u32),
    /// /proc/PID/cgroup.
    Cgroup(u32),
}

/// Settings of a task that can be written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TaskSetting {
    /// comm, at most 15 bytes.
    Comm(Vec<u8>),
    /// oom_score_adj.
    OomScoreAdj(i32),
    /// coredump_filter.
    CoredumpFilter(u32),
    /// loginuid.
    Loginuid(u32),
    /// timerslack_ns.
    TimerSlack(u64),
    /// clear_refs.
    ClearRefs(u32),
    /// uid_map, gid_map (false, true): the text.
    IdMap(bool, Vec<u8>),
    /// setgroups: allow.
    Setgroups(bool),
    /// attr/NAME.
    Attr(&'static str, Vec<u8>),
}

/// The kernel, as procfs sees it. "The caller" is the task that makes the system call.
pub trait ProcSource: Send + Sync {
    /// Processes (thread groups) that the caller's namespace shows, ascending.
    fn pids(&self) -> Vec<u32>;
    /// Threads of a process, ascending; empty if it is gone.
    fn threads(&self, pid: u32) -> Vec<u32>;
    /// A process (`tid` = `pid`) or one of its threads.
    fn task(&self, pid: u32, tid: u32) -> Option<TaskInfo>;
    /// The caller's process.
    fn current_pid(&self) -> u32;
    /// The caller's thread.
    fn current_tid(&self) -> u32;
    /// The caller's credentials.
    fn current_cred(&self) -> Arc<base::Cred>;
    /// Whether the caller may look into the process as ptrace(2) would (`PTRACE_MODE_READ`; `attach`:
    /// `PTRACE_MODE_ATTACH`, for mem). Always true for the caller's own process.
    fn may_access(&self, pid: u32, attach: bool) -> bool;
    /// The memory of a process; None for kernel threads and zombies.
    fn mm(&self, pid: u32) -> Option<Arc<mm::AddressSpace>>;
    /// Mappings of a process, with `rss` and `anon` if `detailed`. None as `mm`.
    fn maps(&self, pid: u32, detailed: bool) -> Option<Vec<mm::VmaInfo>> {
        let mm = self.mm(pid)?;
        Some(if detailed { mm.vmas_detailed() } else { mm.vmas() })
    }
    /// Reads memory of a process from `addr`, as much as is mapped; None as `mm`.
    fn read_mem(&self, pid: u32, addr: u64, buf: &mut [u8]) -> Option<Result<usize>> {
        Some(self.mm(pid)?.read_forced(UserAddr(addr), buf))
    }
    /// Writes memory of a process; None as `mm`.
    fn write_mem(&self, pid: u32, addr: u64, data: &[u8]) -> Option<Result<usize>> {
        Some(self.mm(pid)?.write_forced(UserAddr(addr), data))
    }
    /// Open descriptors of a task, ascending. (Threads may have tables of their own.)
    fn fds(&self, pid: u32, tid: u32) -> Vec<u32>;
    /// An open file and whether it is close-on-exec.
    fn file(&self, pid: u32, tid: u32, fd: u32) -> Option<(Arc<File>, bool)>;
    /// Root, working directory and mounts of a task; None if it is gone or a zombie.
    fn fs_context(&self, pid: u32, tid: u32) -> Option<Arc<FsContext>>;
    /// The file that a process executes; None for kernel threads and zombies.
    fn exe(&self, pid: u32) -> Option<Path>;
    /// The thread group of a thread, for /proc/TID, which exists but is not listed.
    fn tgid_of(&self, _tid: u32) -> Option<u32> {
        None
    }
    /// Advisory locks that a file description holds: `lock:` lines of fdinfo.
    fn fd_locks(&self, _file: &File) -> String {
        String::new()
    }
    /// The number of a namespace (`pid`, `net`, `mnt` ...) of a process.
    fn namespace(&self, _pid: u32, kind: &str) -> Option<u64> {
        super::ns::default_ino(kind)
    }
    /// The file to open for /proc/PID/ns/KIND; None: it cannot be opened.
    fn namespace_path(&self, _pid: u32, _kind: &str) -> Option<Path> {
        None
    }
    /// Changes a setting of a task (`pid`, `tid`).
    ///
    /// # Errors
    /// EPERM, EACCES, EINVAL as `man 5 proc` says; ESRCH if it is gone.
    fn set(&self, pid: u32, tid: u32, setting: TaskSetting) -> Result<()>;
    /// The state of the system.
    fn system(&self) -> SystemInfo;
    /// The state of memory, in pages.
    fn memory(&self) -> mm::MemStats;
    /// The disks.
    fn disks(&self) -> Option<Arc<BlockRegistry>>;
    /// Text of a table that another part of the kernel fills; None: it has none, and procfs shows the
    /// header of an empty one.
    fn table(&self, table: Table<'_>) -> Option<String>;
    /// Opens /proc/kmsg, as /dev/kmsg's older sibling.
    ///
    /// # Errors
    /// EPERM without CAP_SYSLOG.
    fn open_kmsg(&self) -> Result<Arc<dyn crate::file::FileOps>>;
    /// The value of a kernel variable by its path below /proc/sys (`kernel/hostname`), without a newline. None:
    /// procfs keeps the value itself, starting with its default.
    fn sysctl(&self, name: &str) -> Option<String>;
    /// Sets a kernel variable that [`ProcSource::sysctl`] knows; the value has been checked for form and range.
    ///
    /// # Errors
    /// EINVAL, EPERM.
    fn set_sysctl(&self, name: &str, value: &str) -> Result<()>;
    /// Random bytes, for kernel/random/uuid.
    fn random(&self, buf: &mut [u8]);
    /// A write to /proc/sysrq-trigger.
    ///
    /// # Errors
    /// EPERM.
    fn sysrq(&self, _key: u8) -> Result<()> {
        Ok(())
    }
}
