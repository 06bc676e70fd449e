//! Out of memory: the process that has most is killed.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::Kernel;
use crate::signal::set::nr;
use crate::task::Process;

/// How likely a process is to be killed: its pages, shifted by oom_score_adj thousandths of memory
/// (`man 5 proc`, oom_score). None: it must not be.
pub fn badness(kernel: &Kernel, p: &Process) -> Option<i64> {
    let adj = i64::from(p.oom_score_adj.load(Ordering::Relaxed));
    if adj <= -1000 || p.pid == 1 && kernel.config.run.is_none() {
        return None;
    }
    let mm = p.any_thread()?.mm()?;
    let u = mm.usage();
    let total = kernel.memory.stats().total as i64;
    Some((u.rss + u.page_tables) as i64 + adj * total / 1000)
}

/// Called by mm when nothing is left, with the faulting space's sleeping lock held: only marks the victim.
pub fn kill_largest(kernel: &Arc<Kernel>) {
    let all: Vec<Arc<Process>> = kernel.tree.lock().nodes().map(|n| n.process.clone()).collect();
    // Somebody who is dying already will give memory back: no second victim.
    if all.iter().any(|p| {
        let s = p.lock();
        s.exiting.is_some() && !s.threads.is_empty()
    }) {
        return;
    }
    let worst = all.iter().filter_map(|p| badness(kernel, p).map(|b| (b, p))).max_by_key(|b| b.0);
    let Some((pages, p)) = worst else {
        log::error!("out of memory, and no process that may be killed");
        return;
    };
    let name = p.any_thread().map_or_else(String::new, |t| t.comm_text());
    log::error!("out of memory: killed process {} ({name}), about {} kB", p.pid, pages.max(0) * 4);
    kernel.oom_kills.fetch_add(1, Ordering::Relaxed);
    p.kill_all(nr::KILL as i32, None);
}
