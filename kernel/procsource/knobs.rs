//! What can be written: settings of tasks, kernel variables, sysrq.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use base::limits::{MAX_FILES, MAX_TASKS, PID_MAX};
use base::{Cap, Errno, Error, Result, err};
use fs::procfs::{ProcSource, TaskSetting};

use super::KernelSource;
use crate::shutdown::Fate;
use crate::signal::queue::SigInfo;
use crate::signal::set::nr;
use crate::task::Process;

/// Timer slack of a task that asks for 0, nanoseconds.
const DEFAULT_SLACK: u64 = 50_000;
/// Bits that coredump_filter has, `man 5 core`.
const DUMP_BITS: u32 = 0x1ff;
const NOT_SET: u32 = u32::MAX;

/// Values that are kept here.
#[derive(Debug)]
pub(super) struct Knobs {
    /// First number of kernel/printk.
    pub(super) console_level: AtomicU8,
    /// The login session numbered last.
    pub(super) sessions: AtomicU32,
}

/// Whether `key` acts on the whole system, as sysrq(8) has it, and how.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum SysRq {
    Level(u8),
    Signal(u32),
    Sync,
    Restart,
    PowerOff,
    Crash,
    Unknown,
}

impl SysRq {
    fn of(key: u8) -> SysRq {
        match key {
            b'0'..=b'9' => SysRq::Level(key - b'0'),
            b'e' => SysRq::Signal(nr::TERM),
            b'i' => SysRq::Signal(nr::KILL),
            b's' => SysRq::Sync,
            b'b' => SysRq::Restart,
            b'o' => SysRq::PowerOff,
            b'c' => SysRq::Crash,
            _ => SysRq::Unknown,
        }
    }
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T> {
    let first = text.split_whitespace().next().unwrap_or_default();
    first.parse().map_err(|_| Error::new(Errno::EINVAL))
}

impl KernelSource {
    pub(super) fn set_task(&self, pid: u32, tid: u32, setting: TaskSetting) -> Result<()> {
        let gone = || Error::new(Errno::ESRCH);
        let p = self.process(pid).ok_or_else(gone)?;
        match setting {
            TaskSetting::Comm(name) => {
                self.thread(pid, tid).ok_or_else(gone)?.set_comm(&name);
            }
            TaskSetting::OomScoreAdj(adj) => {
                let old = p.oom_score_adj.load(Ordering::Relaxed);
                if adj < old && !self.current_cred().capable(Cap::SysResource) {
                    return err(Errno::EACCES);
                }
                p.oom_score_adj.store(adj, Ordering::Relaxed);
            }
            TaskSetting::CoredumpFilter(bits) => {
                p.coredump_filter.store(bits & DUMP_BITS, Ordering::Relaxed);
            }
            TaskSetting::Loginuid(uid) => self.set_loginuid(&p, uid)?,
            TaskSetting::TimerSlack(ns) => {
                let t = self.thread(pid, tid).ok_or_else(gone)?;
                if pid != self.current_pid() && !self.current_cred().capable(Cap::SysNice) {
                    return err(Errno::EPERM);
                }
                let ns = if ns == 0 { DEFAULT_SLACK } else { ns };
                t.timer_slack_ns.store(ns, Ordering::Relaxed);
            }
            // Referenced bits are not kept; the rest would change only what smaps counts.
            TaskSetting::ClearRefs(n) if (1..=5).contains(&n) => {}
            TaskSetting::ClearRefs(_) => return err(Errno::EINVAL),
            // The first user namespace has its maps, and they are written once.
            TaskSetting::IdMap(..) | TaskSetting::Setgroups(false) => return err(Errno::EPERM),
            TaskSetting::Setgroups(true) => {}
            // What Linux answers without a security module.
            TaskSetting::Attr(..) => return err(Errno::EINVAL),
        }
        Ok(())
    }

    /// `man 3 audit_setloginuid`: a process sets its own, once unless it has CAP_AUDIT_CONTROL.
    fn set_loginuid(&self, p: &Arc<Process>, uid: u32) -> Result<()> {
        if p.pid != self.current_pid() {
            return err(Errno::EPERM);
        }
        let set = p.loginuid.load(Ordering::Relaxed) != NOT_SET;
        if (set || uid == NOT_SET) && !self.current_cred().capable(Cap::AuditControl) {
            return err(Errno::EPERM);
        }
        let session = match uid {
            NOT_SET => NOT_SET,
            _ => self.knobs.sessions.fetch_add(1, Ordering::Relaxed) + 1,
        };
        p.loginuid.store(uid, Ordering::Relaxed);
        p.sessionid.store(session, Ordering::Relaxed);
        Ok(())
    }

    pub(super) fn read_sysctl(&self, name: &str) -> Option<String> {
        let k = self.kernel()?;
        Some(match name {
            "kernel/hostname" => k.names.lock().host.clone(),
            "kernel/domainname" => k.names.lock().domain.clone(),
            "kernel/pid_max" => PID_MAX.to_string(),
            "kernel/threads-max" => MAX_TASKS.to_string(),
            "kernel/randomize_va_space" => k.memory.randomize().to_string(),
            "kernel/ctrl-alt-del" => u8::from(k.ctrl_alt_del.load(Ordering::Relaxed)).to_string(),
            "kernel/printk" => {
                format!("{}\t4\t1\t7", self.knobs.console_level.load(Ordering::Relaxed))
            }
            "kernel/pty/nr" => k.vfs.devices.ptys.list().len().to_string(),
            "fs/file-max" => MAX_FILES.to_string(),
            "fs/file-nr" => format!("{}\t0\t{MAX_FILES}", super::system::open_files(&k)),
            "vm/overcommit_memory" => k.memory.overcommit().to_string(),
            "vm/overcommit_ratio" => k.memory.overcommit_ratio().to_string(),
            _ => k.net.sysctl.find(name)?.load(Ordering::Relaxed).to_string(),
        })
    }

    pub(super) fn write_sysctl(&self, name: &str, value: &str) -> Result<()> {
        let k = self.kernel().ok_or(Errno::EINVAL)?;
        match name {
            "kernel/hostname" => value.clone_into(&mut k.names.lock().host),
            "kernel/domainname" => value.clone_into(&mut k.names.lock().domain),
            "kernel/randomize_va_space" => k.memory.set_randomize(number(value)?),
            "kernel/ctrl-alt-del" => {
                k.ctrl_alt_del.store(number::<u8>(value)? != 0, Ordering::Relaxed);
            }
            "kernel/printk" => self.set_console_level(number::<u32>(value)?.min(15) as u8),
            "vm/overcommit_memory" => k.memory.set_overcommit(number(value)?)?,
            "vm/overcommit_ratio" => k.memory.set_overcommit_ratio(number(value)?),
            "vm/drop_caches" => {
                let what: u32 = number(value)?;
                // Names first: an inode that nobody names gives its pages back as a whole.
                if what & 2 != 0 {
                    k.vfs.dcache().shrink_all();
                }
                if what & 1 != 0 {
                    k.memory.drop_caches();
                }
            }
            // Bounds of this kernel, which nothing moves: writing what they are is fine.
            "kernel/pid_max" | "kernel/threads-max" | "fs/file-max"
                if self.read_sysctl(name).as_deref() != Some(value) =>
            {
                return err(Errno::EPERM);
            }
            "kernel/pty/nr" | "fs/file-nr" => return err(Errno::EACCES),
            _ => {
                // What else is known is vm/compact_memory: there is nothing to move.
                if let Some(v) = k.net.sysctl.find(name) {
                    v.store(number(value)?, Ordering::Relaxed);
                }
            }
        }
        Ok(())
    }

    fn set_console_level(&self, level: u8) {
        self.knobs.console_level.store(level, Ordering::Relaxed);
        crate::logging::set_console_level(level);
    }

    pub(super) fn do_sysrq(&self, key: u8) {
        let Some(k) = self.kernel() else { return };
        let action = SysRq::of(key);
        log::info!("sysrq: {action:?}");
        match action {
            SysRq::Level(n) => self.set_console_level(n),
            SysRq::Sync => {
                if let Err(e) = k.vfs.sync_all() {
                    log::warn!("sysrq: {e:?}");
                }
            }
            SysRq::Signal(signo) => {
                let all: Vec<_> = k.tree.lock().nodes().map(|n| n.process.clone()).collect();
                for p in all.iter().filter(|p| p.pid != 1) {
                    // The queue of a standard signal is never full.
                    let _ = k.signal_process(p, SigInfo::kernel(signo));
                }
            }
            SysRq::Restart => k.shut_down(Fate::Restart),
            SysRq::PowerOff => k.shut_down(Fate::PowerOff),
            // As asked, by the guest's root: to see what a panic leaves behind.
            SysRq::Crash => panic!("sysrq triggered crash"),
            SysRq::Unknown => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys() {
        assert_eq!(SysRq::of(b'8'), SysRq::Level(8));
        assert_eq!(SysRq::of(b'i'), SysRq::Signal(9));
        assert_eq!(SysRq::of(b'?'), SysRq::Unknown);
    }

    #[test]
    fn the_first_number_counts() {
        assert_eq!(number::<u32>("7\t4\t1\t7").unwrap(), 7);
        assert!(number::<u32>("").is_err() && number::<u8>("256").is_err());
    }
}
