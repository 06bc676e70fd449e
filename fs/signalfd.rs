//! signalfd(2): signals as data.
//!
//! The file holds a mask; the signals are those of the task that *reads* or polls, not of the one that
//! made it. The kernel's [`SignalSource`] knows who that is.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base::{Errno, PollEvents, PollTable, Result, Sink, Sleep, WaitQueue, err};

use crate::file::{File, FileOps};

/// Bytes of one `struct signalfd_siginfo`.
pub const SIGINFO_SIZE: usize = 128;
/// SIGKILL and SIGSTOP: never to be had.
const UNBLOCKABLE: u64 = (1 << (9 - 1)) | (1 << (19 - 1));

/// The pending signals of the calling task. The kernel implements it.
pub trait SignalSource: Send + Sync {
    /// Takes the next pending signal (private, then shared) of `mask` (bit `n - 1` for signal `n`) as
    /// a `struct signalfd_siginfo`. None: nothing is pending.
    fn dequeue(&self, mask: u64) -> Option<[u8; SIGINFO_SIZE]>;
    /// Whether a signal of `mask` is pending.
    fn pending(&self, mask: u64) -> bool;
    /// Woken (with IN) whenever a signal is queued to the calling process or task, blocked or not.
    fn queue(&self) -> Arc<WaitQueue>;
}

/// A signalfd.
pub struct SignalFd {
    mask: AtomicU64,
    source: Arc<dyn SignalSource>,
}

impl std::fmt::Debug for SignalFd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SignalFd({:#x})", self.mask.load(Ordering::Relaxed))
    }
}

impl SignalFd {
    /// A file for the signals of `mask`; SIGKILL and SIGSTOP are left out silently.
    pub fn new(mask: u64, source: Arc<dyn SignalSource>) -> Arc<SignalFd> {
        Arc::new(SignalFd { mask: AtomicU64::new(mask & !UNBLOCKABLE), source })
    }

    /// signalfd4(2) on an existing descriptor.
    pub fn set_mask(&self, mask: u64) {
        self.mask.store(mask & !UNBLOCKABLE, Ordering::Relaxed);
        self.source.queue().wake_all(PollEvents::IN);
    }

    fn mask(&self) -> u64 {
        self.mask.load(Ordering::Relaxed)
    }
}

impl FileOps for SignalFd {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, file: &File, _offset: u64, sink: &mut dyn Sink) -> Result<usize> {
        if sink.remaining() < SIGINFO_SIZE {
            return err(Errno::EINVAL);
        }
        let first = match self.source.dequeue(self.mask()) {
            Some(s) => s,
            None if file.nonblock() => return err(Errno::EAGAIN),
            None => self
                .source
                .queue()
                .wait_until(Sleep::Interruptible, None, || self.source.dequeue(self.mask()))?,
        };
        let mut done = sink.write(&first)?;
        while sink.remaining() >= SIGINFO_SIZE {
            let Some(s) = self.source.dequeue(self.mask()) else { break };
            done += sink.write(&s)?;
        }
        Ok(done)
    }

    fn poll(&self, _file: &File, table: Option<&mut PollTable>) -> PollEvents {
        if let Some(t) = table {
            t.register(&self.source.queue());
        }
        if self.source.pending(self.mask()) { PollEvents::IN } else { PollEvents::empty() }
    }

    fn fdinfo(&self, _file: &File) -> String {
        format!("sigmask:\t{:016x}\n", self.mask())
    }

    fn anon_name(&self) -> String {
        "anon_inode:[signalfd]".into()
    }
}
