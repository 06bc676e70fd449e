//! What the host shows of a running Umbra: its processes, as /proc lists them.

use super::Guard;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

/// One host process, from /proc/PID/stat.
#[derive(Debug, Clone)]
pub(crate) struct Proc {
    pub(crate) pid: u32,
    pub(crate) comm: String,
    pub(crate) state: char,
    pub(crate) parent: u32,
    pub(crate) session: u32,
}

impl Proc {
    fn read(pid: u32) -> Option<Self> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name is in parentheses and may contain some itself.
        let (open, close) = (text.find('(')?, text.rfind(')')?);
        let rest: Vec<_> = text[close + 1..].split_whitespace().collect();
        Some(Self {
            pid,
            comm: text[open + 1..close].to_owned(),
            state: rest.first()?.chars().next()?,
            parent: rest.get(1)?.parse().ok()?,
            session: rest.get(3)?.parse().ok()?,
        })
    }

    /// A stub executes a memfd of that name, and the host calls it after its file.
    pub(crate) fn is_stub(&self) -> bool {
        self.comm.starts_with("memfd:umbra-st")
    }

    /// A zombie executes nothing: it only waits for init, which may take its time.
    pub(crate) fn lives(&self) -> bool {
        !matches!(self.state, 'Z' | 'X')
    }

    /// A line of /proc/PID/status.
    pub(crate) fn status(&self, key: &str) -> Option<String> {
        let text = std::fs::read_to_string(self.path("status")).ok()?;
        let line = text.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix(':'))?;
        Some(line.trim().to_owned())
    }

    pub(crate) fn path(&self, what: &str) -> PathBuf {
        format!("/proc/{}/{what}", self.pid).into()
    }

    /// Its threads.
    pub(crate) fn threads(&self) -> Vec<u32> {
        let dir = std::fs::read_dir(self.path("task")).into_iter().flatten().flatten();
        dir.filter_map(|e| e.file_name().to_str()?.parse().ok()).collect()
    }

    /// What its descriptors are; none if it is gone or not ours to see.
    pub(crate) fn descriptors(&self) -> Option<Vec<String>> {
        let mut all = Vec::new();
        for e in std::fs::read_dir(self.path("fd")).ok()?.flatten() {
            all.push(std::fs::read_link(e.path()).ok()?.to_string_lossy().into_owned());
        }
        Some(all)
    }
}

/// Everything that runs.
pub(crate) fn processes() -> Vec<Proc> {
    let dir = std::fs::read_dir("/proc").expect("the host has /proc");
    dir.flatten()
        .filter_map(|e| e.file_name().to_str()?.parse().ok())
        .filter_map(Proc::read)
        .collect()
}

/// The living stubs of one kernel.
pub(crate) fn stubs_of(kernel: u32) -> Vec<Proc> {
    let all = processes().into_iter();
    all.filter(|p| p.parent == kernel && p.is_stub() && p.lives()).collect()
}

/// The sessions of a kernel's stubs. They are how stubs are known when it is dead.
pub(crate) fn sessions_of(kernel: u32) -> BTreeSet<u32> {
    stubs_of(kernel).iter().map(|p| p.session).collect()
}

/// Living stubs in these sessions, whoever is their parent now.
pub(crate) fn survivors(sessions: &BTreeSet<u32>) -> Vec<Proc> {
    let all = processes().into_iter();
    all.filter(|p| p.is_stub() && p.lives() && sessions.contains(&p.session)).collect()
}

/// Waits until it holds; false if it does not in time.
pub(crate) fn until(limit: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    loop {
        if holds() {
            return true;
        }
        if start.elapsed() > limit {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Sends a signal to one process.
pub(crate) fn signal(pid: u32, name: &str) {
    // It may have ended by itself: then there is nobody to tell.
    let kill = Command::new("kill").args(["-s", name, &pid.to_string()]).output();
    kill.expect("kill(1) runs");
}

/// Waits for its end; none if it does not come in time.
pub(crate) fn ended(child: &mut Guard, limit: Duration) -> Option<std::process::ExitStatus> {
    let mut status = None;
    until(limit, || {
        status = child.0.try_wait().expect("our own child can be waited for");
        status.is_some()
    });
    status
}
