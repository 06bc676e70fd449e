//! eventfd(2): a counter that can be waited for.
//!
//! write adds, read takes all (or one, as a semaphore). One spin lock around the counter; waiters of
//! both directions share a queue, as a poller wants to hear of both.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use base::{
    Errno, PollEvents, PollTable, Rank, Result, Sink, Sleep, Source, SpinLock, WaitQueue, err,
};

use crate::file::{File, FileOps};

static NEXT_ID: AtomicU32 = AtomicU32::new(0);

/// An eventfd.
#[derive(Debug)]
pub struct EventFd {
    count: SpinLock<u64>,
    semaphore: bool,
    id: u32,
    queue: Arc<WaitQueue>,
}

impl EventFd {
    /// A counter of `initial`; `semaphore` is EFD_SEMAPHORE.
    pub fn new(initial: u32, semaphore: bool) -> Arc<EventFd> {
        Arc::new(EventFd {
            count: SpinLock::new(Rank::File, u64::from(initial)),
            semaphore,
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            queue: Arc::new(WaitQueue::new()),
        })
    }

    /// Adds `n` from inside the kernel (completions of asynchronous I/O); stops at the largest value.
    pub fn signal(&self, n: u64) {
        let mut c = self.count.lock();
        *c = c.saturating_add(n);
        drop(c);
        self.queue.wake_one(PollEvents::IN | PollEvents::RDNORM);
    }

    fn take(&self) -> Option<u64> {
        let mut c = self.count.lock();
        let n = if self.semaphore { (*c).min(1) } else { *c };
        *c -= n;
        (n != 0).then_some(n)
    }

    fn put(&self, n: u64) -> Option<()> {
        let mut c = self.count.lock();
        // The largest value that a counter reaches by writes is u64::MAX - 1.
        let sum = c.checked_add(n).filter(|s| *s != u64::MAX)?;
        *c = sum;
        Some(())
    }
}

impl FileOps for EventFd {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, file: &File, _offset: u64, sink: &mut dyn Sink) -> Result<usize> {
        if sink.remaining() < 8 {
            return err(Errno::EINVAL);
        }
        let n = match self.take() {
            Some(n) => n,
            None if file.nonblock() => return err(Errno::EAGAIN),
            None => self.queue.wait_until(Sleep::Interruptible, None, || self.take())?,
        };
        self.queue.wake_one(PollEvents::OUT | PollEvents::WRNORM);
        sink.write(&n.to_ne_bytes())
    }

    fn write(&self, file: &File, _offset: u64, source: &mut dyn Source) -> Result<usize> {
        let mut b = [0; 8];
        if source.remaining() < 8 {
            return err(Errno::EINVAL);
        }
        if source.read(&mut b)? < 8 {
            return err(Errno::EFAULT);
        }
        let n = u64::from_ne_bytes(b);
        if n == u64::MAX {
            return err(Errno::EINVAL);
        }
        match self.put(n) {
            Some(()) => {}
            None if file.nonblock() => return err(Errno::EAGAIN),
            None => self.queue.wait_until(Sleep::Interruptible, None, || self.put(n))?,
        }
        self.queue.wake_one(PollEvents::IN | PollEvents::RDNORM);
        Ok(8)
    }

    fn poll(&self, _file: &File, table: Option<&mut PollTable>) -> PollEvents {
        if let Some(t) = table {
            t.register(&self.queue);
        }
        let c = *self.count.lock();
        let mut e = PollEvents::empty();
        if c > 0 {
            e |= PollEvents::IN;
        }
        if c == u64::MAX {
            e |= PollEvents::ERR;
        }
        if c < u64::MAX - 1 {
            e |= PollEvents::OUT;
        }
        e
    }

    fn fdinfo(&self, _file: &File) -> String {
        format!(
            "eventfd-count: {:16x}\neventfd-id: {}\neventfd-semaphore: {}\n",
            *self.count.lock(),
            self.id,
            u8::from(self.semaphore)
        )
    }

    fn anon_name(&self) -> String {
        "anon_inode:[eventfd]".into()
    }
}
