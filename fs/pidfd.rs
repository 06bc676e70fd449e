//! The file behind pidfd_open(2) and CLONE_PIDFD: readable once the process has ended.

use std::any::Any;
use std::sync::Arc;

use base::{PollEvents, PollTable, WaitQueue};

use crate::file::{File, FileOps};

/// A process (or with PIDFD_THREAD a thread) that a pidfd refers to. The kernel implements it; the
/// number behind it is never used again for another process as long as the value lives.
pub trait PidTarget: Any + Send + Sync {
    /// Its id.
    fn pid(&self) -> u32;
    /// Whether it has ended (a zombie, or gone).
    fn exited(&self) -> bool;
    /// Whether it has been waited for: there is no such id any more.
    fn reaped(&self) -> bool;
    /// Woken when either becomes true.
    fn queue(&self) -> Arc<WaitQueue>;
    /// For the kernel to find its own type: `waitid(P_PIDFD)`, `pidfd_send_signal`.
    fn as_any(&self) -> &dyn Any;
}

/// A pidfd.
pub struct PidFd {
    target: Arc<dyn PidTarget>,
    thread: bool,
}

impl std::fmt::Debug for PidFd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PidFd({})", self.target.pid())
    }
}

impl PidFd {
    /// A file for `target`; `thread` is PIDFD_THREAD.
    pub fn new(target: Arc<dyn PidTarget>, thread: bool) -> Arc<PidFd> {
        Arc::new(PidFd { target, thread })
    }
    /// What it refers to.
    pub fn target(&self) -> &Arc<dyn PidTarget> {
        &self.target
    }
    /// Whether it refers to one thread.
    pub fn is_thread(&self) -> bool {
        self.thread
    }
}

impl FileOps for PidFd {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn poll(&self, _file: &File, table: Option<&mut PollTable>) -> PollEvents {
        if let Some(t) = table {
            t.register(&self.target.queue());
        }
        if self.target.reaped() {
            PollEvents::IN | PollEvents::RDNORM | PollEvents::HUP
        } else if self.target.exited() {
            PollEvents::IN | PollEvents::RDNORM
        } else {
            PollEvents::empty()
        }
    }

    fn fdinfo(&self, _file: &File) -> String {
        let pid = if self.target.reaped() { -1 } else { i64::from(self.target.pid()) };
        format!("Pid:\t{pid}\nNSpid:\t{pid}\n")
    }

    fn anon_name(&self) -> String {
        "anon_inode:[pidfd]".into()
    }
}
