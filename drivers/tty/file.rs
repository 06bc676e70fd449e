//! An open terminal: read(2), write(2) and poll(2), with the four ways of VMIN and VTIME.

use std::sync::Arc;
use std::time::Duration;

use base::uapi::general as u;
use base::{Errno, PollEvents, PollTable, Result, Sink, Sleep, Source, UserAddr, UserMemory, err};

use super::core::{Tty, WRITE_ROOM};
use crate::chardev::{CharFile, OpenInfo, Opener};

/// Bytes that a write moves in one step, without anybody else's between them.
const CHUNK: usize = 2048;

/// An open terminal.
#[derive(Debug)]
pub struct TtyFile {
    tty: Arc<Tty>,
    generation: u64,
    pub(super) info: OpenInfo,
}

impl TtyFile {
    pub(super) fn new(tty: Arc<Tty>, generation: u64, info: OpenInfo) -> TtyFile {
        TtyFile { tty, generation, info }
    }

    pub(super) fn tty(&self) -> &Arc<Tty> {
        &self.tty
    }

    /// Whether the terminal was hung up since this file was opened.
    pub fn hung_up(&self) -> bool {
        self.tty.hung_up(self.generation)
    }

    /// One attempt. None: nothing there. Some(0): end of file or hang-up.
    fn try_read(&self, buf: &mut Vec<u8>, max: usize) -> Option<usize> {
        let got = self.tty.with(|s| {
            if s.generation() != self.generation {
                return Some(0);
            }
            let got = s.ldisc.take(buf, max);
            if got.is_some() {
                s.pump();
            }
            if got.is_none() && s.exhausted() { Some(0) } else { got }
        });
        if got.is_some() {
            self.tty.hardware.input_room(&self.tty);
        }
        got
    }

    /// The reading part of read(2), without the copy to the caller.
    fn collect(&self, want: usize, nonblock: bool) -> Result<Vec<u8>> {
        let terms = self.tty.look(|s| s.ldisc.read_terms());
        let time = Duration::from_millis(100 * u64::from(terms.time));
        let after = |d: Duration| (!d.is_zero()).then(|| arch::clock::monotonic() + d);
        let mut deadline = if terms.poll { after(time) } else { None };
        let mut buf = Vec::new();
        loop {
            let room = want - buf.len();
            if let Some(n) = self.try_read(&mut buf, room) {
                if n == 0 || buf.len() >= terms.min.min(want) {
                    break;
                }
                deadline = after(time);
                continue;
            }
            if terms.poll && terms.time == 0 {
                break;
            }
            if nonblock {
                if buf.is_empty() {
                    return err(Errno::EAGAIN);
                }
                break;
            }
            let ready = || {
                self.tty
                    .look(|s| {
                        s.generation() != self.generation
                            || s.ldisc.readable(false)
                            || s.exhausted()
                    })
                    .then_some(())
            };
            match self.tty.readers.wait_until(Sleep::Interruptible, deadline, ready) {
                Ok(()) => {}
                Err(e) if e == Errno::ETIMEDOUT => break,
                Err(e) if buf.is_empty() => return Err(e),
                Err(_) => break,
            }
        }
        Ok(buf)
    }

    /// Writes all of `data`, sleeping where there is no room; returns how much went.
    fn write_chunk(&self, data: &[u8], nonblock: bool) -> (usize, Result<()>) {
        let mut done = 0;
        loop {
            let (n, dead) = self.tty.with(|s| {
                if s.generation() == self.generation {
                    (s.ldisc.write(&data[done..]), false)
                } else {
                    (0, true)
                }
            });
            done += n;
            if dead {
                return (done, err(Errno::EIO));
            }
            if done == data.len() {
                return (done, Ok(()));
            }
            if n > 0 {
                continue; // the device may have taken it meanwhile
            }
            if nonblock {
                return (done, err(Errno::EAGAIN));
            }
            let ready = || {
                self.tty
                    .look(|s| s.generation() != self.generation || s.ldisc.out.room() >= WRITE_ROOM)
                    .then_some(())
            };
            let r = self.tty.writers.wait_until(Sleep::Interruptible, None, ready);
            if r.is_err() {
                return (done, r);
            }
        }
    }
}

impl CharFile for TtyFile {
    fn read(&self, _offset: u64, sink: &mut dyn Sink, nonblock: bool) -> Result<usize> {
        if self.hung_up() {
            return Ok(0);
        }
        let caller = self.tty.signals.caller();
        self.tty.check_foreground(caller.as_deref(), u::SIGTTIN)?;
        let want = sink.remaining();
        if want == 0 {
            return Ok(0);
        }
        let buf = self.collect(want, nonblock)?;
        if buf.is_empty() { Ok(0) } else { sink.write(&buf) }
    }

    fn write(&self, _offset: u64, source: &mut dyn Source, nonblock: bool) -> Result<usize> {
        if self.hung_up() {
            return err(Errno::EIO);
        }
        if self.tty.termios().l(u::TOSTOP) {
            let caller = self.tty.signals.caller();
            self.tty.check_foreground(caller.as_deref(), u::SIGTTOU)?;
        }
        let mut chunk = [0u8; CHUNK];
        let mut done = 0;
        while source.remaining() > 0 {
            let n = match source.read(&mut chunk) {
                Ok(0) => break,
                Ok(n) => n,
                Err(e) if done == 0 => return Err(e),
                Err(_) => break,
            };
            let (went, r) = self.write_chunk(&chunk[..n], nonblock);
            done += went;
            match r {
                Ok(()) => {}
                Err(e) if done == 0 => return Err(e),
                Err(_) => break,
            }
        }
        Ok(done)
    }

    fn poll(&self, table: Option<&mut PollTable>) -> PollEvents {
        if let Some(t) = table {
            t.register(&self.tty.readers);
            t.register(&self.tty.writers);
        }
        self.tty.look(|s| {
            let mut ev = PollEvents::empty();
            if s.generation() != self.generation {
                return PollEvents::IN
                    | PollEvents::OUT
                    | PollEvents::ERR
                    | PollEvents::HUP
                    | PollEvents::RDNORM
                    | PollEvents::WRNORM;
            }
            if s.ldisc.readable(true) || s.exhausted() {
                ev |= PollEvents::IN | PollEvents::RDNORM;
            }
            if s.ldisc.out.room() >= WRITE_ROOM {
                ev |= PollEvents::OUT | PollEvents::WRNORM;
            }
            ev
        })
    }

    fn ioctl(
        &self,
        cmd: u32,
        arg: UserAddr,
        mem: &dyn UserMemory,
        who: &dyn Opener,
    ) -> Result<i64> {
        if self.hung_up() {
            // As a hung-up terminal of Linux: TIOCSPGRP has its own error.
            let gone = if cmd == base::uapi::ioctl::TIOCSPGRP { Errno::ENOTTY } else { Errno::EIO };
            return err(gone);
        }
        super::ioctl::slave(self, cmd, arg, mem, who)
    }

    fn as_tty(&self) -> Option<&Arc<Tty>> {
        Some(&self.tty)
    }
}

impl Drop for TtyFile {
    fn drop(&mut self) {
        self.tty.close();
    }
}
