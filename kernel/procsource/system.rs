//! The system as a whole: times, counters and the tables that the kernel fills.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use base::limits::MAX_FILES;
use fs::procfs::{CpuModel, CpuTimes, SystemInfo, Table};

use crate::Kernel;
use crate::task::Process;

/// Sums over all processes, the dead included (reaping adds them to their parents).
#[derive(Default)]
struct Totals {
    user: u64,
    minflt: u64,
    majflt: u64,
    blocked: u32,
}

impl Totals {
    fn add(&mut self, p: &Process) {
        let load = |a: &std::sync::atomic::AtomicU64| a.load(Ordering::Relaxed);
        self.user += p.times().0 + load(&p.past.children_utime_ns);
        self.minflt += load(&p.past.minflt) + load(&p.past.children_minflt);
        self.majflt += load(&p.past.majflt);
        for t in &p.lock().threads {
            self.minflt += load(&t.minflt);
            self.majflt += load(&t.majflt);
            self.blocked += u32::from(t.sched.is_uninterruptible());
        }
    }
}

/// The CPU's time in the fields of /proc/stat: what was not idle and not spent in programs is the kernel's.
/// Programs of raised nice level are counted as `user`.
fn cpu_times(uptime: u64, idle: u64, user: u64) -> CpuTimes {
    let busy = uptime.saturating_sub(idle);
    let user = user.min(busy);
    let mut t = CpuTimes::default();
    (t[0], t[2], t[3]) = (user, busy - user, idle.min(uptime));
    t
}

/// The state of the system.
pub(super) fn info(k: &Kernel, cpu: &CpuModel) -> SystemInfo {
    let (processes, tasks, last_pid, forks) = {
        let tree = k.tree.lock();
        let all: Vec<Arc<Process>> = tree.nodes().map(|n| n.process.clone()).collect();
        (all, tree.task_count() as u32, tree.last_id(), tree.forks)
    };
    let mut sum = Totals::default();
    for p in &processes {
        sum.add(p);
    }
    let uptime = u64::try_from(k.uptime().as_nanos()).unwrap_or(u64::MAX);
    let idle = k.sched.idle_ns.load(Ordering::Relaxed);
    // One virtual CPU has the scheduler's times; others, should there be any, have not run.
    let mut cpus = vec![CpuTimes::default(); k.online_cpus().count_ones().max(1) as usize];
    cpus[0] = cpu_times(uptime, idle, sum.user);
    let dentries = k.vfs.dcache().len() as u64;
    SystemInfo {
        uptime,
        idle,
        boot_time: u64::try_from(k.boot_time.sec).unwrap_or(0),
        loadavg: k.load.averages(),
        running: k.sched.running() as u32,
        blocked: sum.blocked,
        tasks,
        last_pid,
        cpus,
        cpu_model: cpu.clone(),
        switches: k.sched.switches.load(Ordering::Relaxed),
        forks,
        interrupts: Vec::new(),
        cmdline: k.cmdline().to_owned(),
        ostype: "Linux".into(),
        release: crate::RELEASE.into(),
        version: crate::VERSION.into(),
        builder: "(umbra@localhost) (rustc)".into(),
        faults: [sum.minflt + sum.majflt, sum.majflt],
        oom_kills: k.oom_kills.load(Ordering::Relaxed),
        files: [0, MAX_FILES as u64],
        inodes: dentries,
        dentries: [dentries, 0],
    }
}

/// Open descriptors of all processes, a shared table counted once: close to the number of open files.
pub(super) fn open_files(k: &Kernel) -> u64 {
    let processes: Vec<_> = k.tree.lock().nodes().map(|n| n.process.clone()).collect();
    let threads = processes.iter().flat_map(|p| p.lock().threads.clone());
    let mut seen = std::collections::BTreeSet::new();
    let tables = threads.filter_map(|t| t.files()).filter(|f| seen.insert(f.id()));
    tables.map(|f| f.fds().len() as u64).sum()
}

/// Text of a table; None: procfs shows an empty one.
pub(super) fn table(k: &Kernel, table: Table<'_>) -> Option<String> {
    match table {
        Table::Locks => Some(fs::lock::list(&k.vfs)),
        Table::Filesystems => Some(filesystems(k)),
        Table::Devices => Some(devices(k)),
        Table::Misc => Some(misc(k)),
        Table::Consoles => Some(consoles(k)),
        Table::Modules => Some(String::new()),
        Table::Net(name) => k.net.proc_table(name),
        // System V IPC's own part; there are no control groups.
        Table::SysvIpc(_) | Table::Timers(_) | Table::Cgroup(_) => None,
    }
}

fn filesystems(k: &Kernel) -> String {
    let mut out = String::new();
    for t in k.vfs.types() {
        let nodev = if t.needs_device() { "" } else { "nodev" };
        let _ = writeln!(out, "{nodev}\t{}", t.name());
    }
    out
}

fn devices(k: &Kernel) -> String {
    let d = &k.vfs.devices;
    let mut out = String::from("Character devices:\n");
    for (major, name) in d.chars.classes() {
        let _ = writeln!(out, "{major:3} {name}");
    }
    out.push_str("\nBlock devices:\n");
    let mut last = None;
    for disk in d.blocks.list() {
        let major = disk.dev().major;
        if last.replace(major) != Some(major) {
            // The driver's name is the disk's without the letter that tells them apart.
            let name = disk.name();
            let _ = writeln!(out, "{major:3} {}", &name[..name.len().min(3)]);
        }
    }
    out
}

fn misc(k: &Kernel) -> String {
    let all = k.vfs.devices.chars.list();
    let ours = all.iter().filter(|c| c.class == "misc");
    ours.fold(String::new(), |out, c| out + &format!("{:3} {}\n", c.dev.minor, c.name))
}

/// /proc/consoles: they write only (what is typed goes to the terminal, not to the console).
fn consoles(k: &Kernel) -> String {
    let mut out = String::new();
    for (n, c) in &k.consoles {
        let dev = c.tty().dev();
        let preferred = if *n == k.config.console { 'C' } else { ' ' };
        let (name, ma, mi) = (c.tty().name(), dev.major, dev.minor);
        let _ = writeln!(out, "{name:<20} -W- (E{preferred} p  ) {ma:4}:{mi}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_add_up_to_the_uptime() {
        assert_eq!(cpu_times(100, 60, 30)[..4], [30, 0, 10, 60]);
        // Clocks are read one after the other: nothing may come out negative.
        assert_eq!(cpu_times(100, 60, 50)[..4], [40, 0, 0, 60]);
        assert_eq!(cpu_times(100, 101, 0)[..4], [0, 0, 0, 100]);
    }
}
