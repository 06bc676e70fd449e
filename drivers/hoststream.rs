//! Umbra's own standard input, output and error, handed to the guest when they are pipes or
//! files: three separate streams without a line discipline in between, so that
//! `umbra run IMAGE -- cat < a > b` moves every byte as it is.
//!
//! Host calls never wait ([`arch::hoststream`]). A guest that must wait sleeps on a wait queue;
//! the device thread wakes it when the host descriptor is ready. The watch is armed after a call
//! said EAGAIN, so a change in between is never missed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arch::hoststream::HostStream;
use arch::intr::{self, Ready, WatchId};
use base::{Errno, Mutex, PollEvents, PollTable, Result, Sink, Sleep, Source, WaitQueue, err};

use crate::chardev::CharFile;

/// Bytes moved in one host call.
const CHUNK: usize = 65536;

/// What the watch's callback needs: not the file itself, which must be able to go away.
#[derive(Debug, Default)]
struct Ends {
    readers: Arc<WaitQueue>,
    writers: Arc<WaitQueue>,
    /// A write was refused and the host has not said yet that it takes more.
    full: AtomicBool,
}

impl Ends {
    fn fired(&self, ready: Ready) {
        let gone = ready.contains(Ready::HANGUP);
        if ready.contains(Ready::OUT) || gone {
            self.full.store(false, Ordering::Release);
            self.writers.wake_all(PollEvents::OUT | PollEvents::WRNORM);
        }
        if ready.contains(Ready::IN) || gone {
            self.readers.wake_all(PollEvents::IN | PollEvents::RDNORM);
        }
    }
}

/// What poll(2) had to find out by reading.
#[derive(Debug)]
enum Ahead {
    Nothing,
    Byte(u8),
    End,
    Error(Errno),
}

/// A stream of the host as a file of the guest. Not a terminal: every ioctl gives ENOTTY.
#[derive(Debug)]
pub struct StreamFile {
    stream: Arc<HostStream>,
    read: bool,
    write: bool,
    ends: Arc<Ends>,
    watch: WatchId,
    ahead: Mutex<Ahead>,
}

impl StreamFile {
    /// `stream` for reading (standard input), for writing (output and error), or both.
    ///
    /// # Errors
    /// From the host, if it cannot be watched.
    pub fn new(stream: HostStream, read: bool, write: bool) -> Result<Arc<StreamFile>> {
        let stream = Arc::new(stream);
        let ends = Arc::new(Ends::default());
        let called = ends.clone();
        let callback = Box::new(move |ready| called.fired(ready));
        let watch = intr::watch(stream.clone(), Ready::empty(), callback)?;
        let ahead = Mutex::new(Ahead::Nothing);
        Ok(Arc::new(StreamFile { stream, read, write, ends, watch, ahead }))
    }

    fn arm(&self, ready: Ready) {
        // Gone only when the file is dropped.
        let _ = intr::rearm(self.watch, ready);
    }

    /// One attempt. None: nothing there, and the watch is armed.
    fn try_read(&self, buf: &mut [u8]) -> Option<Result<usize>> {
        let mut ahead = self.ahead.lock();
        match *ahead {
            Ahead::Nothing => {}
            Ahead::Byte(b) => {
                buf[0] = b;
                *ahead = Ahead::Nothing;
                let more = self.stream.read(&mut buf[1..]);
                return Some(Ok(1 + more.unwrap_or(0)));
            }
            Ahead::End => {
                *ahead = Ahead::Nothing;
                return Some(Ok(0));
            }
            Ahead::Error(e) => {
                *ahead = Ahead::Nothing;
                return Some(err(e));
            }
        }
        match self.stream.read(buf) {
            Err(e) if e == Errno::EAGAIN => {
                self.arm(Ready::IN);
                None
            }
            r => Some(r),
        }
    }

    /// Whether a read would find something. One byte may have to be read for that; never more,
    /// since what this Umbra does not use belongs to whoever shares the stream.
    fn readable(&self) -> bool {
        let mut ahead = self.ahead.lock();
        if matches!(*ahead, Ahead::Nothing) {
            let mut byte = [0];
            *ahead = match self.stream.read(&mut byte) {
                Ok(0) => Ahead::End,
                Ok(_) => Ahead::Byte(byte[0]),
                Err(e) if e == Errno::EAGAIN => {
                    self.arm(Ready::IN);
                    return false;
                }
                Err(e) => Ahead::Error(e.errno()),
            };
        }
        true
    }
}

impl CharFile for StreamFile {
    fn read(&self, _offset: u64, sink: &mut dyn Sink, nonblock: bool) -> Result<usize> {
        if !self.read {
            return err(Errno::EBADF);
        }
        let want = sink.remaining().min(CHUNK);
        if want == 0 {
            return Ok(0);
        }
        let mut buf = vec![0; want];
        let n = if nonblock {
            self.try_read(&mut buf).unwrap_or_else(|| err(Errno::EAGAIN))?
        } else {
            let attempt = || self.try_read(&mut buf);
            self.ends.readers.wait_until(Sleep::Interruptible, None, attempt)??
        };
        if n == 0 { Ok(0) } else { sink.write(&buf[..n]) }
    }

    fn write(&self, _offset: u64, source: &mut dyn Source, nonblock: bool) -> Result<usize> {
        if !self.write {
            return err(Errno::EBADF);
        }
        let mut buf = vec![0; source.remaining().min(CHUNK)];
        let mut done = 0;
        while source.remaining() > 0 {
            let n = match source.read(&mut buf) {
                Ok(0) => break,
                Ok(n) => n,
                Err(e) if done == 0 => return Err(e),
                Err(_) => break,
            };
            let mut rest = &buf[..n];
            while !rest.is_empty() {
                let attempt = || match self.stream.write(rest) {
                    Err(e) if e == Errno::EAGAIN => {
                        self.ends.full.store(true, Ordering::Release);
                        self.arm(Ready::OUT);
                        nonblock.then_some(Err(e))
                    }
                    r => Some(r),
                };
                let r = self.ends.writers.wait_until(Sleep::Interruptible, None, attempt);
                match r.and_then(|r| r) {
                    Ok(k) => {
                        done += k;
                        rest = &rest[k..];
                    }
                    Err(e) if done == 0 => return Err(e),
                    Err(_) => return Ok(done),
                }
            }
        }
        Ok(done)
    }

    fn poll(&self, table: Option<&mut PollTable>) -> PollEvents {
        if let Some(t) = table {
            t.register(&self.ends.readers);
            t.register(&self.ends.writers);
        }
        let mut ev = PollEvents::empty();
        if self.read && self.readable() {
            ev |= PollEvents::IN | PollEvents::RDNORM;
        }
        if self.write {
            if self.ends.full.load(Ordering::Acquire) {
                self.arm(Ready::OUT);
            } else {
                ev |= PollEvents::OUT | PollEvents::WRNORM;
            }
        }
        ev
    }
}

impl Drop for StreamFile {
    fn drop(&mut self) {
        intr::unwatch(self.watch);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::fd::AsRawFd as _;
    use std::time::Duration;

    use base::iobuf::{SliceSource, VecSink};

    use super::*;

    fn reading(fd: &impl std::os::fd::AsRawFd) -> Arc<StreamFile> {
        StreamFile::new(HostStream::inherited(fd.as_raw_fd()).unwrap(), true, false).unwrap()
    }

    fn read(f: &StreamFile, n: usize, nonblock: bool) -> Result<Vec<u8>> {
        let mut s = VecSink::new(n);
        f.read(0, &mut s, nonblock)?;
        Ok(s.data)
    }

    #[test]
    fn a_pipe_in() {
        let (r, mut w) = std::io::pipe().unwrap();
        let f = reading(&r);
        assert_eq!(read(&f, 9, true).unwrap_err(), Errno::EAGAIN);
        assert_eq!(f.poll(None), PollEvents::empty());
        let reader = {
            let f = f.clone();
            std::thread::spawn(move || read(&f, 100, false))
        };
        std::thread::sleep(Duration::from_millis(20));
        w.write_all(b"a\0\xff\n").unwrap();
        assert_eq!(reader.join().unwrap().unwrap(), b"a\0\xff\n");
        // poll looks one byte ahead and loses nothing.
        w.write_all(b"xyz").unwrap();
        assert!(f.poll(None).contains(PollEvents::IN));
        assert_eq!(read(&f, 2, false).unwrap(), b"xy");
        assert_eq!(read(&f, 2, false).unwrap(), b"z");
        drop(w);
        assert!(f.poll(None).contains(PollEvents::IN));
        assert_eq!(read(&f, 2, false).unwrap(), b"");
        assert_eq!(read(&f, 2, false).unwrap(), b"");
        let no = f.ioctl(0x5401, base::UserAddr(0), &base::iobuf::NoUserMemory, &NoOne);
        assert_eq!(no.unwrap_err(), Errno::ENOTTY);
    }

    struct NoOne;
    impl crate::chardev::Opener for NoOne {
        fn cred(&self) -> &base::Cred {
            unreachable!("nobody asks")
        }
    }

    #[test]
    fn a_pipe_out_and_nobody_reading() {
        let (mut r, w) = std::io::pipe().unwrap();
        let f =
            StreamFile::new(HostStream::inherited(w.as_raw_fd()).unwrap(), false, true).unwrap();
        drop(w);
        let data: Vec<u8> = (0..300_000u32).map(|i| (i % 251) as u8).collect();
        let writer = {
            let (f, data) = (f.clone(), data.clone());
            std::thread::spawn(move || f.write(0, &mut SliceSource(&data), false))
        };
        std::thread::sleep(Duration::from_millis(20));
        assert!(!f.poll(None).contains(PollEvents::OUT));
        let mut got = vec![0; data.len()];
        r.read_exact(&mut got).unwrap();
        assert_eq!(writer.join().unwrap().unwrap(), data.len());
        assert!(got == data);
        drop(r);
        arch::intr::block_signals().unwrap();
        let e = f.write(0, &mut SliceSource(b"x"), false).unwrap_err();
        assert_eq!(e, Errno::EPIPE);
        assert_eq!(read(&f, 1, true).unwrap_err(), Errno::EBADF);
    }

    #[test]
    fn a_file_in() {
        let path = std::env::temp_dir().join(format!("umbra-stream-{}", std::process::id()));
        std::fs::write(&path, b"hello").unwrap();
        let file = std::fs::File::open(&path).unwrap();
        let f = reading(&file);
        assert!(f.poll(None).contains(PollEvents::IN));
        assert_eq!(read(&f, 100, false).unwrap(), b"hello");
        assert_eq!(read(&f, 100, false).unwrap(), b"");
        assert!(f.poll(None).contains(PollEvents::IN));
        std::fs::remove_file(path).unwrap();
    }
}
