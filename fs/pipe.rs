//! Pipes and FIFOs: `man 7 pipe`, `man 7 fifo`.
//!
//! A [`Pipe`] is a ring of bytes that grows with its content up to its capacity. Its state is under
//! a sleeping mutex, since bytes are copied from and to the caller's memory with it held; the numbers
//! that sleepers and poll look at are atomics besides. Whoever changes them wakes the other side,
//! which costs one load when nobody sleeps.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use base::limits::{PIPE_DEFAULT, PIPE_MAX, PIPE_TOTAL};
use base::{
    Cap, Cred, Errno, Mutex, PAGE_SIZE, PollEvents, PollTable, Result, Sink, Sleep, Source,
    UserAddr, WaitQueue, err,
};

use crate::file::{Caller, File, FileOps, OpenFlags};
use crate::inode::{FileType, Inode};
use crate::ring::{Budget, Ring};
use crate::vfs::Vfs;

/// Writes of up to this many bytes are not torn.
const PIPE_BUF: usize = 4096;

/// What all pipes may hold.
static BUDGET: Budget = Budget::new(PIPE_TOTAL);

/// A pipe.
pub struct Pipe {
    ring: Mutex<Ring>,
    /// A copy of the ring's length for who must not sleep.
    len: AtomicUsize,
    /// Changes with the ring's lock held.
    capacity: AtomicUsize,
    readers: AtomicU32,
    writers: AtomicU32,
    /// How often each side was opened: a FIFO's openers wait for the other side to change.
    reader_opens: AtomicU32,
    writer_opens: AtomicU32,
    can_read: Arc<WaitQueue>,
    can_write: Arc<WaitQueue>,
}

impl fmt::Debug for Pipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pipe({} bytes)", self.len.load(Ordering::Relaxed))
    }
}

const READABLE: PollEvents = PollEvents::IN.union(PollEvents::RDNORM);
const WRITABLE: PollEvents = PollEvents::OUT.union(PollEvents::WRNORM);

impl Pipe {
    fn new() -> Pipe {
        let capacity = PIPE_DEFAULT;
        Pipe {
            ring: Mutex::new(Ring::new(&BUDGET)),
            len: AtomicUsize::new(0),
            capacity: AtomicUsize::new(capacity),
            readers: AtomicU32::new(0),
            writers: AtomicU32::new(0),
            reader_opens: AtomicU32::new(0),
            writer_opens: AtomicU32::new(0),
            can_read: Arc::default(),
            can_write: Arc::default(),
        }
    }

    fn free(&self) -> usize {
        self.capacity.load(Ordering::Acquire).saturating_sub(self.len.load(Ordering::Acquire))
    }

    /// Room by the ring's own numbers; its lock is held.
    fn room_in(&self, ring: &Ring) -> usize {
        self.capacity.load(Ordering::Relaxed).saturating_sub(ring.len())
    }

    fn publish(&self, ring: &Ring) {
        self.len.store(ring.len(), Ordering::Release);
    }

    /// After bytes went out: wakes writers if there was little room.
    fn taken(&self, free_before: usize) {
        if free_before < PIPE_BUF {
            self.can_write.wake_one(WRITABLE | PollEvents::SYNC);
        }
        if self.len.load(Ordering::Acquire) > 0 {
            self.can_read.pass_on(); // the next reader's turn
        }
    }

    /// Waits until there are bytes; false at the end (no writers).
    fn wait_readable(&self, nonblock: bool) -> Result<bool> {
        let look = || {
            if self.len.load(Ordering::Acquire) > 0 {
                Some(true)
            } else if self.writers.load(Ordering::Acquire) == 0 {
                // A writer may have written and gone between the two looks.
                Some(self.len.load(Ordering::Acquire) > 0)
            } else {
                None
            }
        };
        match look() {
            Some(r) => Ok(r),
            None if nonblock => err(Errno::EAGAIN),
            None => self.can_read.wait_exclusive(Sleep::Interruptible, None, look),
        }
    }

    /// Waits until `n` bytes fit, or no reader is left (EPIPE).
    fn wait_writable(&self, n: usize, nonblock: bool) -> Result<()> {
        let look = || {
            if self.readers.load(Ordering::Acquire) == 0 {
                Some(err(Errno::EPIPE))
            } else {
                (self.free() >= n).then_some(Ok(()))
            }
        };
        match look() {
            Some(r) => r,
            None if nonblock => err(Errno::EAGAIN),
            None => self.can_write.wait_exclusive(Sleep::Interruptible, None, look)?,
        }
    }

    fn read(&self, sink: &mut dyn Sink, nonblock: bool) -> Result<usize> {
        if sink.remaining() == 0 {
            return Ok(0);
        }
        loop {
            {
                let mut ring = self.ring.lock();
                if !ring.is_empty() {
                    let free = self.room_in(&ring);
                    let r = ring.pop_to(sink, usize::MAX);
                    self.publish(&ring);
                    drop(ring);
                    self.taken(free);
                    return r;
                }
            }
            if !self.wait_readable(nonblock)? {
                return Ok(0);
            }
        }
    }

    fn write(&self, source: &mut dyn Source, nonblock: bool) -> Result<usize> {
        let total = source.remaining();
        if total == 0 {
            return Ok(0);
        }
        let whole = if total <= PIPE_BUF { total } else { 1 };
        let mut done = 0;
        loop {
            if self.readers.load(Ordering::Acquire) == 0 {
                return if done > 0 { Ok(done) } else { err(Errno::EPIPE) };
            }
            {
                let mut ring = self.ring.lock();
                let free = self.room_in(&ring);
                if free >= whole {
                    let want = (total - done).min(free);
                    ring.reserve(want, self.capacity.load(Ordering::Relaxed));
                    if ring.is_packed() {
                        return if done > 0 { Ok(done) } else { err(Errno::ENOMEM) };
                    }
                    let r = ring.push_from(source, want);
                    self.publish(&ring);
                    drop(ring);
                    self.can_read.wake_one(READABLE | PollEvents::SYNC);
                    match r {
                        Ok(0) => return Ok(done),
                        Ok(n) => done += n,
                        Err(_) if done > 0 => return Ok(done),
                        Err(e) => return Err(e),
                    }
                    if done == total {
                        if self.free() > 0 {
                            self.can_write.pass_on(); // the next writer's turn
                        }
                        return Ok(done);
                    }
                }
            }
            match self.wait_writable(whole, nonblock) {
                Ok(()) => {}
                Err(_) if done > 0 => return Ok(done),
                Err(e) => return Err(e),
            }
        }
    }

    /// Copies up to `max` bytes of the content without taking them, and lets `take` say how many it
    /// could use; those are consumed. For splice and tee.
    pub(crate) fn drain(
        &self,
        max: usize,
        nonblock: bool,
        keep: bool,
        mut take: impl FnMut(&[u8]) -> Result<usize>,
    ) -> Result<usize> {
        loop {
            {
                let mut ring = self.ring.lock();
                if !ring.is_empty() {
                    let free = self.room_in(&ring);
                    let part = ring.first();
                    let n = take(&part[..part.len().min(max)])?;
                    if !keep {
                        ring.consume(n);
                        self.publish(&ring);
                        drop(ring);
                        self.taken(free);
                    }
                    return Ok(n);
                }
            }
            if !self.wait_readable(nonblock)? {
                return Ok(0);
            }
        }
    }

    /// Waits for room and says how much there is.
    pub(crate) fn room(&self, nonblock: bool) -> Result<usize> {
        self.wait_writable(1, nonblock)?;
        Ok(self.free())
    }

    fn join(&self, read: bool, write: bool) {
        if read {
            self.readers.fetch_add(1, Ordering::AcqRel);
            self.reader_opens.fetch_add(1, Ordering::AcqRel);
        }
        if write {
            self.writers.fetch_add(1, Ordering::AcqRel);
            self.writer_opens.fetch_add(1, Ordering::AcqRel);
        }
        self.can_read.wake_all(PollEvents::empty());
        self.can_write.wake_all(PollEvents::empty());
    }

    fn leave(&self, read: bool, write: bool) {
        if write && self.writers.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.can_read.wake_all(READABLE | PollEvents::HUP);
        }
        if read && self.readers.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.can_write.wake_all(WRITABLE | PollEvents::ERR);
        }
    }
}

/// One open end.
pub struct PipeEnd {
    pipe: Arc<Pipe>,
    read: bool,
    write: bool,
    /// A FIFO opened before any writer came: no hang-up until one was there.
    no_writer_yet: Option<u32>,
}

impl fmt::Debug for PipeEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PipeEnd({:?}, read {}, write {})", self.pipe, self.read, self.write)
    }
}

impl PipeEnd {
    /// The pipe.
    pub(crate) fn pipe(&self) -> &Arc<Pipe> {
        &self.pipe
    }
}

impl Drop for PipeEnd {
    fn drop(&mut self) {
        self.pipe.leave(self.read, self.write);
    }
}

impl FileOps for PipeEnd {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn read(&self, file: &File, _offset: u64, sink: &mut dyn Sink) -> Result<usize> {
        if !self.read {
            return err(Errno::EBADF);
        }
        self.pipe.read(sink, file.nonblock())
    }
    fn write(&self, file: &File, _offset: u64, source: &mut dyn Source) -> Result<usize> {
        if !self.write {
            return err(Errno::EBADF);
        }
        self.pipe.write(source, file.nonblock())
    }
    fn poll(&self, _file: &File, table: Option<&mut PollTable>) -> PollEvents {
        let p = &self.pipe;
        if let Some(t) = table {
            if self.read {
                t.register(&p.can_read);
            }
            if self.write {
                t.register(&p.can_write);
            }
        }
        let mut ev = PollEvents::empty();
        if self.read {
            if p.len.load(Ordering::Acquire) > 0 {
                ev |= READABLE;
            }
            let opens = p.writer_opens.load(Ordering::Acquire);
            if p.writers.load(Ordering::Acquire) == 0 && self.no_writer_yet != Some(opens) {
                ev |= PollEvents::HUP;
            }
        }
        if self.write {
            if p.free() >= PIPE_BUF {
                ev |= WRITABLE;
            }
            if p.readers.load(Ordering::Acquire) == 0 {
                ev |= PollEvents::ERR;
            }
        }
        ev
    }
    fn ioctl(&self, _file: &File, cmd: u32, arg: UserAddr, who: &dyn Caller) -> Result<i64> {
        if cmd != 0x541b {
            return err(Errno::ENOTTY); // all but FIONREAD
        }
        let n = self.pipe.len.load(Ordering::Acquire) as u32;
        who.memory().write(arg, &n.to_le_bytes())?;
        Ok(0)
    }
}

/// pipe2(2): the reading and the writing end. Of `flags` NONBLOCK counts.
///
/// # Errors
/// EINVAL for O_DIRECT (packet mode) and unknown flags; ENFILE if pipes hold too much memory.
pub fn pipe(vfs: &Vfs, cred: &Arc<Cred>, flags: OpenFlags) -> Result<(Arc<File>, Arc<File>)> {
    let nonblock = flags & OpenFlags::NONBLOCK;
    if !(flags - OpenFlags::NONBLOCK - OpenFlags::CLOEXEC).is_empty() {
        return err(Errno::EINVAL);
    }
    if BUDGET.exhausted() {
        return err(Errno::ENFILE);
    }
    let pipe = Arc::new(Pipe::new());
    pipe.join(true, true);
    let end = |read: bool| -> Arc<dyn FileOps> {
        Arc::new(PipeEnd { pipe: pipe.clone(), read, write: !read, no_writer_yet: None })
    };
    let ops = [end(true), end(false)];
    let modes = [nonblock, nonblock | OpenFlags::WRONLY];
    let (reader, writer) = vfs.anon().pair(ops, modes, cred, FileType::Fifo, 0o600);
    // Opening /proc/self/fd/N finds this pipe again.
    reader.path.inode().vfs.fifo(|| pipe);
    Ok((reader, writer))
}

/// Opens a FIFO: waits for the other side unless O_NONBLOCK or O_RDWR (fifo(7)).
pub(crate) fn open_fifo(inode: &Arc<Inode>, flags: OpenFlags) -> Result<Arc<dyn FileOps>> {
    let pipe = inode.vfs.fifo(|| Arc::new(Pipe::new()));
    let (read, write) = (flags.readable(), flags.writable());
    // Only a FIFO's open waits for the other end: an unnamed pipe that is opened again by its
    // descriptor does not.
    let named = inode.fs.type_name() != crate::anon::TYPE_NAME;
    let nonblock = flags.contains(OpenFlags::NONBLOCK) || !named;
    if named && write && !read && nonblock && pipe.readers.load(Ordering::Acquire) == 0 {
        return err(Errno::ENXIO);
    }
    let readers_were = pipe.reader_opens.load(Ordering::Acquire);
    let writers_were = pipe.writer_opens.load(Ordering::Acquire);
    pipe.join(read, write);
    let mut end = PipeEnd { pipe, read, write, no_writer_yet: None };
    // From here on an error drops `end`, which leaves again.
    if named && read && !write && end.pipe.writers.load(Ordering::Acquire) == 0 {
        if nonblock {
            end.no_writer_yet = Some(writers_were);
        } else {
            let p = &end.pipe;
            p.can_read.wait_until(Sleep::Interruptible, None, || {
                (p.writer_opens.load(Ordering::Acquire) != writers_were).then_some(())
            })?;
        }
    }
    if write && !read && !nonblock && end.pipe.readers.load(Ordering::Acquire) == 0 {
        let p = &end.pipe;
        p.can_write.wait_until(Sleep::Interruptible, None, || {
            (p.reader_opens.load(Ordering::Acquire) != readers_were).then_some(())
        })?;
    }
    Ok(Arc::new(end))
}

/// F_GETPIPE_SZ.
///
/// # Errors
/// EBADF if it is no pipe.
pub fn get_size(file: &File) -> Result<usize> {
    match file.ops_as::<PipeEnd>() {
        Some(e) => Ok(e.pipe.capacity.load(Ordering::Acquire)),
        None => err(Errno::EBADF),
    }
}

/// F_SETPIPE_SZ: rounds up to a power of two of pages; returns the new capacity.
///
/// # Errors
/// EBADF if it is no pipe; EINVAL for absurd sizes; EPERM over `fs.pipe-max-size` without
/// CAP_SYS_RESOURCE; EBUSY if the content would not fit.
pub fn set_size(file: &File, cred: &Cred, size: usize) -> Result<usize> {
    let Some(end) = file.ops_as::<PipeEnd>() else { return err(Errno::EBADF) };
    if size > 1 << 31 {
        return err(Errno::EINVAL);
    }
    let size = size.max(PAGE_SIZE).next_power_of_two();
    if size > PIPE_MAX && !cred.capable(Cap::SysResource) {
        return err(Errno::EPERM);
    }
    if size > PIPE_TOTAL / 4 {
        return err(Errno::ENOMEM);
    }
    let p = &end.pipe;
    let mut ring = p.ring.lock();
    if ring.len() > size {
        return err(Errno::EBUSY);
    }
    ring.shrink(size);
    p.capacity.store(size, Ordering::Release);
    drop(ring);
    p.can_write.wake_one(WRITABLE);
    Ok(size)
}
