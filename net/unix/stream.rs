//! Streams: bytes in a ring, and marks beside it.
//!
//! Plain bytes are a ring and nothing else: one copy in, one copy out, no allocation, and a wake-up costs a load
//! unless somebody waits. What a stream carries besides, descriptors and credentials, lies in *marks*, which say
//! to which bytes it belongs. A reader is stopped by marks as on Linux: bytes of different
//! senders do not come in one read, and a read ends behind bytes that brought descriptors.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use base::wait::PollEvents;
use base::{Errno, Result, Sink, Sleep, Source, err};
use fs::ring::{Budget, Ring};

use super::UnixSocket;
use super::endpoint::{Endpoint, Flags, READABLE, WRITABLE};
use super::flight::Parcel;
use crate::socket::{Incoming, MsgFlags, Outgoing, Ucred, deadline, wait_error};

/// What a mark counts for, in bytes of the send buffer.
const MARK_COST: usize = 128;

/// Bytes `start..end` of the stream, counted from its beginning, came with this.
#[derive(Debug)]
struct Mark {
    start: u64,
    end: u64,
    creds: Option<Ucred>,
    parcel: Option<Parcel>,
}

/// What waits to be read.
#[derive(Debug)]
pub(crate) struct Stream {
    ring: Ring,
    /// Bytes that were read, ever.
    taken: u64,
    /// Ascending, not overlapping; each ends behind `taken`.
    marks: VecDeque<Mark>,
}

/// Bytes that are alike, from some position on.
struct Run {
    len: usize,
    creds: Option<Ucred>,
    parcel: bool,
}

impl Stream {
    pub(crate) fn new(budget: &'static Budget) -> Stream {
        Stream { ring: Ring::new(budget), taken: 0, marks: VecDeque::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    /// What it costs the sender.
    fn used(&self) -> usize {
        self.ring.len() + self.marks.len() * MARK_COST
    }

    /// Marks the `n` bytes that were put in last.
    fn mark(&mut self, n: usize, creds: Option<Ucred>, parcel: Option<Parcel>) {
        let end = self.taken + self.ring.len() as u64;
        let start = end - n as u64;
        if parcel.is_none()
            && let Some(m) = self.marks.back_mut()
            && m.end == start
            && m.creds == creds
            && m.parcel.is_none()
        {
            m.end = end;
        } else {
            self.marks.push_back(Mark { start, end, creds, parcel });
        }
    }

    /// The mark on or behind the `skip`th byte.
    #[inline]
    fn mark_from(&mut self, skip: usize) -> Option<&mut Mark> {
        let pos = self.taken + skip as u64;
        self.marks.iter_mut().find(|m| m.end > pos)
    }

    /// The bytes from the `skip`th on that have one sender and one parcel.
    #[inline]
    fn run(&mut self, skip: usize) -> Run {
        let left = self.ring.len().saturating_sub(skip);
        let pos = self.taken + skip as u64;
        match self.mark_from(skip) {
            None => Run { len: left, creds: None, parcel: false },
            Some(m) if m.start > pos => {
                Run { len: (m.start - pos) as usize, creds: None, parcel: false }
            }
            Some(m) => {
                let parcel = m.parcel.is_some();
                Run { len: (m.end - pos) as usize, creds: m.creds, parcel }
            }
        }
    }

    /// `n` bytes were taken out: marks that are used up go.
    fn took(&mut self, n: usize) {
        self.taken += n as u64;
        while self.marks.front().is_some_and(|m| m.end <= self.taken) {
            self.marks.pop_front();
        }
    }
}

/// What one call has gathered so far.
struct Reading {
    done: usize,
    creds: Option<Option<Ucred>>,
    /// A border that this call must not cross.
    stop: bool,
}

impl Endpoint {
    fn publish(&self, s: &Stream) {
        self.unread.store(s.ring.len(), Ordering::Release);
        self.used.store(s.used(), Ordering::Release);
    }

    /// Takes what is there, up to the first border.
    fn take(
        &self,
        s: &mut Stream,
        sink: &mut dyn Sink,
        msg: &mut Incoming,
        r: &mut Reading,
    ) -> Result<()> {
        let peek = msg.flags.contains(MsgFlags::PEEK);
        loop {
            let skip = if peek { r.done } else { 0 };
            let run = s.run(skip);
            if run.len == 0 {
                return Ok(());
            }
            if self.wants_creds() {
                match r.creds {
                    Some(c) if c != run.creds => {
                        r.stop = true;
                        return Ok(());
                    }
                    _ => r.creds = Some(run.creds),
                }
            }
            let n = run.len;
            let got = if peek { s.ring.peek_to(sink, skip, n) } else { s.ring.pop_to(sink, n) };
            let got = match got {
                Ok(got) => got,
                Err(_) if r.done > 0 => {
                    r.stop = true;
                    return Ok(());
                }
                Err(e) => return Err(e),
            };
            r.done += got;
            if run.parcel
                && let Some(m) = s.mark_from(skip)
            {
                // Whoever takes the first bytes of a mark takes its descriptors; a read of no bytes does, too.
                let parcel = if peek { None } else { m.parcel.take() };
                let files = match (&parcel, &m.parcel) {
                    (Some(p), _) => p.open(),
                    (None, Some(p)) => p.look(),
                    (None, None) => Vec::new(),
                };
                msg.files = files;
            }
            if !peek {
                s.took(got);
            }
            if got < n || run.parcel {
                r.stop = true;
            }
            if r.stop || sink.remaining() == 0 {
                return Ok(());
            }
        }
    }

    /// Throws away what nobody will read. True if there was something.
    pub(crate) fn drain_stream(&self) -> bool {
        let old = {
            let mut s = self.stream.lock();
            let old = std::mem::replace(&mut *s, Stream::new(&super::BUDGET));
            self.publish(&s);
            old
        };
        !old.is_empty() // and its parcels are dropped here, without the lock
    }
}

impl UnixSocket {
    pub(super) fn recv_stream(&self, sink: &mut dyn Sink, msg: &mut Incoming) -> Result<usize> {
        let end = &*self.end;
        let Some(peer) = self.connection() else { return err(Errno::EINVAL) };
        if msg.flags.contains(MsgFlags::OOB) {
            return err(Errno::EOPNOTSUPP);
        }
        let want = sink.remaining();
        let all = msg.flags.contains(MsgFlags::WAITALL);
        let target = if all { want } else { end.options.rcvlowat().min(want) }.max(1);
        let peek = msg.flags.contains(MsgFlags::PEEK);
        let mut r = Reading { done: 0, creds: None, stop: false };
        let mut until = None;
        // A read of no bytes waits for some all the same.
        let mut seen = false;
        let result = loop {
            {
                let mut s = end.stream.lock();
                if !s.is_empty() {
                    seen = true;
                    let before = s.used();
                    let taken = end.take(&mut s, sink, msg, &mut r);
                    let after = s.used();
                    end.publish(&s);
                    drop(s);
                    if peer.is_roomy(after) && !peer.is_roomy(before) {
                        peer.can_write.wake_one(WRITABLE | PollEvents::SYNC);
                    }
                    if after > 0 && !peek {
                        end.can_read.pass_on(); // the next reader's turn
                    }
                    if let Err(e) = taken {
                        break Err(e);
                    }
                }
            }
            if r.stop || r.done >= target || seen && (peek || sink.remaining() == 0) {
                break Ok(());
            }
            // In the order that POSIX asks for: data, then an error, then the end.
            if let Err(e) = end.options.check_error() {
                break Err(e);
            }
            let look = || {
                let more = end.unread.load(Ordering::Acquire) > 0;
                let ended = end.has(Flags::RCV_SHUT) || end.options.has_error();
                (more || ended).then_some(())
            };
            if end.has(Flags::RCV_SHUT) {
                // A writer may have written and gone between the two looks.
                if end.unread.load(Ordering::Acquire) > 0 {
                    continue;
                }
                break Ok(());
            }
            if msg.flags.contains(MsgFlags::DONTWAIT) {
                break err(Errno::EAGAIN);
            }
            until = until.or_else(|| deadline(end.options.rcvtimeo()));
            if let Err(e) = end.can_read.wait_exclusive(Sleep::Interruptible, until, look) {
                break Err(wait_error(e, until));
            }
        };
        if r.done > 0 || !msg.files.is_empty() {
            if msg.want_name {
                msg.name = peer.name().map(|n| n.to_sockaddr());
            }
            msg.creds = r.creds.map(|c| c.unwrap_or(Ucred::NOBODY));
            return Ok(r.done);
        }
        result.map(|()| 0)
    }

    pub(super) fn send_stream(
        &self,
        source: &mut dyn Source,
        mut msg: Outgoing<'_>,
    ) -> Result<usize> {
        let end = &*self.end;
        if msg.flags.contains(MsgFlags::OOB) {
            return err(Errno::EOPNOTSUPP);
        }
        let connection = self.connection();
        if msg.to.is_some() {
            return err(if connection.is_some() { Errno::EISCONN } else { Errno::EOPNOTSUPP });
        }
        let Some(peer) = connection else { return err(Errno::ENOTCONN) };
        if end.has(Flags::SEND_SHUT) {
            return err(Errno::EPIPE);
        }
        let total = source.remaining();
        if total == 0 {
            return Ok(0);
        }
        let mut parcel = match msg.rights.take() {
            None => None,
            Some(r) => Some(end.unix.flight.pack(r, &peer.holder)?),
        };
        let creds = match msg.creds {
            None if end.wants_creds() || peer.wants_creds() => {
                Some(end.unix.callers.current().real())
            }
            c => c,
        };
        let mut done = 0;
        let mut until = None;
        loop {
            match self.put(peer, source, total - done, creds, &mut parcel) {
                Ok(n) => done += n,
                Err(e) => return if done > 0 { Ok(done) } else { Err(e) },
            }
            if done == total {
                if end.is_roomy(peer.used.load(Ordering::Acquire)) {
                    end.can_write.pass_on(); // the next writer's turn
                }
                return Ok(done);
            }
            let look = || {
                let roomy = end.is_roomy(peer.used.load(Ordering::Acquire));
                (roomy || end.has(Flags::SEND_SHUT) || peer.has(Flags::RCV_SHUT)).then_some(())
            };
            let waited = if msg.flags.contains(MsgFlags::DONTWAIT) {
                err(Errno::EAGAIN)
            } else {
                until = until.or_else(|| deadline(end.options.sndtimeo()));
                end.can_write
                    .wait_exclusive(Sleep::Interruptible, until, look)
                    .map_err(|e| wait_error(e, until))
            };
            if let Err(e) = waited {
                return if done > 0 { Ok(done) } else { Err(e) };
            }
        }
    }

    /// Puts in what there is room for; 0 if there is none.
    fn put(
        &self,
        peer: &Arc<Endpoint>,
        source: &mut dyn Source,
        want: usize,
        creds: Option<Ucred>,
        parcel: &mut Option<Parcel>,
    ) -> Result<usize> {
        let end = &*self.end;
        let mut s = peer.stream.lock();
        if end.has(Flags::SEND_SHUT) || peer.has(Flags::DEAD | Flags::RCV_SHUT) {
            return err(Errno::EPIPE);
        }
        end.options.check_error()?;
        let sndbuf = end.options.sndbuf();
        let room = sndbuf.saturating_sub(s.used());
        if room == 0 {
            return Ok(0);
        }
        let want = want.min(room);
        s.ring.reserve(want, sndbuf);
        if s.ring.is_packed() {
            // No memory. Only where so much is queued that a writer sleeps is it worth waiting for.
            return if end.is_roomy(s.used()) { err(Errno::ENOBUFS) } else { Ok(0) };
        }
        let n = s.ring.push_from(source, want)?;
        if n > 0 && (creds.is_some() || parcel.is_some()) {
            s.mark(n, creds, parcel.take());
        }
        peer.publish(&s);
        drop(s);
        peer.can_read.wake_one(READABLE | PollEvents::SYNC);
        Ok(n)
    }
}
