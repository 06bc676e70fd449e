//! Messages: datagrams, and the messages of a connection (SOCK_SEQPACKET).
//!
//! A message is copied into the kernel whole before anybody is asked whether it may be delivered, and hangs
//! in the receiver's queue. Two bounds hold it there: what the *sender* has in transit (SO_SNDBUF), and how many messages of
//! strangers a *receiver* lets queue up (net.unix.max_dgram_qlen).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use base::wait::PollEvents;
use base::{Errno, Result, Sink, Sleep, Source, Timestamp, err};

use super::endpoint::{Endpoint, Flags, READABLE, WRITABLE};
use super::flight::Parcel;
use super::name::Address;
use super::{BUDGET, UnixSocket};
use crate::options::so;
use crate::socket::{Incoming, MsgFlags, Outgoing, SocketType, Ucred, deadline, wait_error};

/// What a message costs its sender beside its bytes.
const COST: usize = 768;
/// A message must leave that much of the send buffer free.
const RESERVED: usize = 32;

/// A message in a queue.
#[derive(Debug)]
pub(crate) struct Message {
    data: Vec<u8>,
    from: Arc<Endpoint>,
    creds: Option<Ucred>,
    parcel: Option<Parcel>,
    stamp: Option<Timestamp>,
}

impl Message {
    /// Copies a message in. It counts as in transit from here on.
    fn copy_in(from: &Arc<Endpoint>, source: &mut dyn Source) -> Result<Message> {
        let len = source.remaining();
        if !BUDGET.take(len) {
            return err(Errno::ENOBUFS);
        }
        from.in_transit.fetch_add(len + COST, Ordering::AcqRel);
        let mut m = Message {
            data: vec![0; len],
            from: from.clone(),
            creds: None,
            parcel: None,
            stamp: None,
        };
        let mut done = 0;
        while done < len {
            match source.read(&mut m.data[done..])? {
                0 => return err(Errno::EFAULT),
                n => done += n,
            }
        }
        Ok(m)
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        BUDGET.give(self.data.len());
        let cost = self.data.len() + COST;
        let left = self.from.in_transit.fetch_sub(cost, Ordering::AcqRel) - cost;
        if self.from.is_roomy(left) {
            self.from.can_write.wake_one(WRITABLE);
        }
    }
}

/// Why a message was not queued.
enum Refused {
    /// The queue is full.
    Full,
    /// The receiver is closed.
    Dead,
    Error(Errno),
}

impl Endpoint {
    /// Whether `from` must wait for others to be received here. Two that are connected with each other never
    /// do: the send buffer bounds them.
    pub(crate) fn full_for(&self, from: &Endpoint) -> bool {
        self.id != from.id
            && self.peer_id.load(Ordering::Acquire) != from.id
            && self.kind == SocketType::DGRAM
            && self.is_full()
    }

    fn deliver(&self, from: &Endpoint, m: &Arc<Message>) -> Result<(), Refused> {
        let mut queue = self.packets.lock();
        let flags = self.flags();
        if flags.contains(Flags::DEAD) {
            return Err(Refused::Dead);
        }
        if flags.contains(Flags::RCV_SHUT) {
            return Err(Refused::Error(Errno::EPIPE));
        }
        if self.full_for(from) {
            return Err(Refused::Full);
        }
        queue.push_back(m.clone());
        self.queued.store(queue.len(), Ordering::Release);
        Ok(())
    }

    /// The next message; with `peek` it stays.
    fn next(&self, peek: bool) -> Option<Arc<Message>> {
        let mut queue = self.packets.lock();
        if peek {
            return queue.front().cloned();
        }
        let m = queue.pop_front();
        self.queued.store(queue.len(), Ordering::Release);
        m
    }

    /// SIOCINQ: the next datagram's length; of a connection, that of all messages.
    pub(crate) fn unread_packets(&self) -> usize {
        let queue = self.packets.lock();
        let all = queue.iter().map(|m| m.data.len());
        if self.kind == SocketType::DGRAM { all.take(1).sum() } else { all.sum() }
    }

    /// Throws away what nobody will read. True if there was something.
    pub(crate) fn drain_packets(&self) -> bool {
        let old = std::mem::take(&mut *self.packets.lock());
        self.queued.store(0, Ordering::Release);
        !old.is_empty() // dropped here, without the lock
    }
}

impl UnixSocket {
    /// Whom a message goes to.
    fn receiver(&self, to: Option<&Address>, msg: &Outgoing<'_>) -> Result<Arc<Endpoint>> {
        match (to, &msg.to) {
            (Some(name), Some((_, caller))) => self.end.unix.find(name, self.end.kind, caller),
            _ => match self.peer_end() {
                Some(p) => Ok(p),
                None => err(Errno::ENOTCONN),
            },
        }
    }

    fn wait_for_transit(&self, msg: &Outgoing<'_>, until: Option<base::Instant>) -> Result<()> {
        let end = &*self.end;
        let look = || {
            let fits = end.in_transit.load(Ordering::Acquire) < end.options.sndbuf();
            (fits || end.has(Flags::SEND_SHUT)).then_some(())
        };
        if look().is_none() {
            if msg.flags.contains(MsgFlags::DONTWAIT) {
                return err(Errno::EAGAIN);
            }
            let waited = end.can_write.wait_exclusive(Sleep::Interruptible, until, look);
            waited.map_err(|e| wait_error(e, until))?;
        }
        if end.has(Flags::SEND_SHUT) { err(Errno::EPIPE) } else { Ok(()) }
    }

    pub(super) fn send_packet(
        &self,
        source: &mut dyn Source,
        mut msg: Outgoing<'_>,
    ) -> Result<usize> {
        let end = &self.end;
        if msg.flags.contains(MsgFlags::OOB) {
            return err(Errno::EOPNOTSUPP);
        }
        if end.kind == SocketType::SEQPACKET {
            end.options.check_error()?;
            if !end.has(Flags::CONNECTED) {
                return err(Errno::ENOTCONN);
            }
            msg.to = None; // it goes to the other end, whatever the caller says
        }
        let to = msg.to.as_ref().map(|(a, _)| Address::parse_named(a)).transpose()?;
        if to.is_none() {
            self.receiver(None, &msg)?;
        }
        if end.wants_creds() {
            self.autobind()?;
        }
        let len = source.remaining();
        if len > end.options.sndbuf() - RESERVED {
            return err(Errno::EMSGSIZE);
        }
        end.options.check_error()?;
        let until = deadline(end.options.sndtimeo());
        self.wait_for_transit(&msg, until)?;
        let mut message = Message::copy_in(end, source)?;
        let mut receiver = self.receiver(to.as_ref(), &msg)?;
        if let Some(r) = msg.rights.take() {
            message.parcel = Some(end.unix.flight.pack(r, &receiver.holder)?);
        }
        message.creds = match msg.creds {
            None if end.wants_creds() || receiver.wants_creds() => {
                Some(end.unix.callers.current().real())
            }
            c => c,
        };
        let o = &receiver.options;
        message.stamp =
            (o.is_on(so::TIMESTAMP) || o.is_on(so::TIMESTAMPNS)).then(arch::clock::realtime);
        let message = Arc::new(message);
        loop {
            // Who is connected to somebody hears nobody else.
            let theirs = receiver.peer_id.load(Ordering::Acquire);
            if end.kind == SocketType::DGRAM && theirs != 0 && theirs != end.id {
                return err(Errno::EPERM);
            }
            match receiver.deliver(end, &message) {
                Ok(()) => break,
                Err(Refused::Error(e)) => return err(e),
                Err(Refused::Dead) => {
                    self.peer_died(&receiver);
                    return err(Errno::ECONNREFUSED);
                }
                Err(Refused::Full) if msg.flags.contains(MsgFlags::DONTWAIT) => {
                    return err(Errno::EAGAIN);
                }
                Err(Refused::Full) => {
                    let look = || {
                        let gone = receiver.has(Flags::DEAD | Flags::RCV_SHUT);
                        (gone || !receiver.full_for(end)).then_some(())
                    };
                    let waited = receiver.room.wait_exclusive(Sleep::Interruptible, until, look);
                    waited.map_err(|e| wait_error(e, until))?;
                    // The name may belong to another socket by now.
                    let now = self.receiver(to.as_ref(), &msg)?;
                    if !Arc::ptr_eq(&now, &receiver) && message.parcel.is_some() {
                        return err(Errno::ECONNREFUSED); // the parcel is addressed to the old one
                    }
                    receiver = now;
                }
            }
        }
        receiver.can_read.wake_one(READABLE | PollEvents::SYNC);
        Ok(len)
    }

    pub(super) fn recv_packet(&self, sink: &mut dyn Sink, msg: &mut Incoming) -> Result<usize> {
        let end = &*self.end;
        let connected = end.kind == SocketType::SEQPACKET;
        if connected && !end.has(Flags::CONNECTED) {
            return err(Errno::ENOTCONN);
        }
        if msg.flags.contains(MsgFlags::OOB) {
            return err(Errno::EOPNOTSUPP);
        }
        let peek = msg.flags.contains(MsgFlags::PEEK);
        let nonblock = msg.flags.contains(MsgFlags::DONTWAIT);
        let mut until = None;
        let message = loop {
            end.options.check_error()?;
            if let Some(m) = end.next(peek) {
                break m;
            }
            if end.has(Flags::RCV_SHUT) {
                // A sender may have sent and gone between the two looks.
                if end.queued.load(Ordering::Acquire) > 0 {
                    continue;
                }
                return if connected || !nonblock { Ok(0) } else { err(Errno::EAGAIN) };
            }
            if nonblock {
                return err(Errno::EAGAIN);
            }
            until = until.or_else(|| deadline(end.options.rcvtimeo()));
            let waited = end.can_read.wait_exclusive(Sleep::Interruptible, until, || {
                let ended = end.has(Flags::RCV_SHUT) || end.options.has_error();
                (ended || end.queued.load(Ordering::Acquire) > 0).then_some(())
            });
            waited.map_err(|e| wait_error(e, until))?;
        };
        if !peek {
            end.room.wake_one(WRITABLE);
            if end.queued.load(Ordering::Acquire) > 0 {
                end.can_read.pass_on();
            }
        }
        self.copy_out(&message, sink, msg)
    }

    fn copy_out(&self, m: &Message, sink: &mut dyn Sink, msg: &mut Incoming) -> Result<usize> {
        let n = m.data.len().min(sink.remaining());
        let mut done = 0;
        while done < n {
            match sink.write(&m.data[done..n])? {
                0 => return err(Errno::EFAULT),
                got => done += got,
            }
        }
        if n < m.data.len() {
            msg.out_flags |= MsgFlags::TRUNC;
        }
        if msg.want_name {
            msg.name = m.from.name().map(|a| a.to_sockaddr());
        }
        if self.end.wants_creds() {
            msg.creds = Some(m.creds.unwrap_or(Ucred::NOBODY));
        }
        let stamps = &self.end.options;
        if stamps.is_on(so::TIMESTAMP) || stamps.is_on(so::TIMESTAMPNS) {
            msg.stamp = Some(m.stamp.unwrap_or_else(arch::clock::realtime));
        }
        if let Some(p) = &m.parcel {
            msg.files = if msg.flags.contains(MsgFlags::PEEK) { p.look() } else { p.open() };
        }
        Ok(if msg.flags.contains(MsgFlags::TRUNC) { m.data.len() } else { n })
    }
}
