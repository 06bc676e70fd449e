//! From a new socket to a conversation: names, listening, connecting, accepting, and the end.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use base::{Errno, PollEvents, Result, Sleep, err};
use fs::FileType;

use super::endpoint::{Endpoint, Flags, READABLE};
use super::name::{self, Address};
use super::{Unix, UnixSocket};
use crate::socket::{Caller, SocketType, Who, deadline, wait_error};

/// AF_UNSPEC: connect(2) with it ends a datagram socket's connection.
const AF_UNSPEC: u16 = 0;

impl Unix {
    /// The socket of this type that has a name.
    ///
    /// # Errors
    /// ECONNREFUSED if there is none; EPROTOTYPE if it is of another type; EACCES without write
    /// permission; what looking the path up says.
    pub(super) fn find(
        &self,
        name: &Address,
        kind: SocketType,
        caller: &Caller<'_>,
    ) -> Result<Arc<Endpoint>> {
        let path = match name {
            Address::Unnamed => return err(Errno::ECONNREFUSED),
            Address::Abstract(n) => {
                return self.find_abstract(kind, n).ok_or_else(|| Errno::ECONNREFUSED.into());
            }
            Address::Path(p) => p,
        };
        let cred = &caller.who.cred;
        let at = fs::lookup(caller.fs, cred, None, path, fs::LookupFlags::FOLLOW)?;
        let inode = at.inode();
        fs::walk::permission(inode, cred, 2)?;
        if inode.kind != FileType::Socket {
            return err(Errno::ECONNREFUSED);
        }
        let bound = inode.vfs.socket().and_then(|any| any.downcast::<Endpoint>().ok());
        match bound {
            None => err(Errno::ECONNREFUSED),
            Some(e) if e.kind != kind => err(Errno::EPROTOTYPE),
            Some(e) => Ok(e),
        }
    }
}

impl UnixSocket {
    /// Gives it an abstract name of five hexadecimal digits, if it has none.
    pub(super) fn autobind(&self) -> Result<()> {
        if self.end.name().is_some() {
            return Ok(());
        }
        let _binding = self.end.binding.lock();
        if self.end.name().is_some() {
            return Ok(());
        }
        for _ in 0..=0xf_ffff {
            let n = self.end.unix.next_auto();
            let name = format!("{n:05x}").into_bytes();
            if self.end.unix.claim_abstract(&self.end, &name) {
                self.end.set_name(Arc::new(Address::Abstract(name)));
                return Ok(());
            }
        }
        err(Errno::ENOSPC)
    }

    pub(super) fn bind_to(&self, addr: &[u8], caller: &Caller<'_>, mode: u32) -> Result<()> {
        match Address::parse(addr)? {
            Address::Unnamed => self.autobind(),
            Address::Abstract(n) => {
                let _binding = self.end.binding.lock();
                if self.end.name().is_some() {
                    return err(Errno::EINVAL);
                }
                if !self.end.unix.claim_abstract(&self.end, &n) {
                    return err(Errno::EADDRINUSE);
                }
                self.end.set_name(Arc::new(Address::Abstract(n)));
                Ok(())
            }
            Address::Path(p) => self.bind_path(p, caller, mode),
        }
    }

    fn bind_path(&self, path: Vec<u8>, caller: &Caller<'_>, mode: u32) -> Result<()> {
        let _binding = self.end.binding.lock();
        let (ctx, cred) = (caller.fs, &caller.who.cred);
        let dev = drivers::DevNum::default();
        let made = fs::ops::mknod(ctx, cred, None, &path, FileType::Socket, mode, dev);
        let at = made.map_err(|e| match e.errno() {
            Errno::EEXIST => Errno::EADDRINUSE.into(),
            _ => e,
        })?;
        if self.end.name().is_some() {
            // As Linux: a second name is refused only when the path has proved to be free.
            fs::ops::unlink(ctx, cred, None, &path)?;
            return err(Errno::EINVAL);
        }
        at.inode().vfs.bind_socket(self.end.as_bound());
        *self.end.place.lock() = Some(at);
        self.end.set_name(Arc::new(Address::Path(path)));
        Ok(())
    }

    pub(super) fn start_listening(&self, backlog: u32, who: &Who) -> Result<()> {
        let end = &self.end;
        if !self.is_connected_type() {
            return err(Errno::EOPNOTSUPP);
        }
        if end.name().is_none() {
            return err(Errno::EINVAL);
        }
        if end.raise_unless(Flags::LISTENING, Flags::CONNECTED).is_err() {
            return err(Errno::EINVAL);
        }
        end.backlog.lock().who = Some(who.clone());
        end.queue_max.store(backlog, Ordering::Relaxed);
        end.room.wake_all(PollEvents::empty()); // perhaps it is longer than it was
        Ok(())
    }

    /// connect(2) of what has connections.
    pub(super) fn connect_stream(
        &self,
        addr: &[u8],
        caller: &Caller<'_>,
        nonblock: bool,
    ) -> Result<()> {
        let end = &self.end;
        let name = Address::parse_named(addr)?;
        if end.wants_creds() {
            self.autobind()?;
        }
        let until = deadline(end.options.sndtimeo());
        let mut embryo = None;
        loop {
            let other = end.unix.find(&name, end.kind, caller)?;
            // Made before any lock is taken; it is the far end of the connection to be.
            let far = match embryo.take() {
                Some(e) => e,
                None => UnixSocket::new(&end.unix, end.kind)?,
            };
            match self.join(&other, far, &caller.who) {
                Joined::Yes => {
                    other.can_read.wake_one(READABLE);
                    return Ok(());
                }
                Joined::Error(e) => return err(e),
                Joined::Full(_) if nonblock => return err(Errno::EAGAIN),
                Joined::Full(far) => embryo = Some(far),
            }
            let waited = other.room.wait_exclusive(Sleep::Interruptible, until, || {
                let gone = !other.has(Flags::LISTENING) || other.has(Flags::DEAD | Flags::RCV_SHUT);
                (gone || !other.is_full()).then_some(())
            });
            waited.map_err(|e| wait_error(e, until))?;
        }
    }

    /// The far end of a connection to be: what it has from its listener.
    fn take_after(&self, listener: &Endpoint, who: &Who) {
        let end = &self.end;
        end.raise(Flags::CONNECTED);
        end.options.inherit(&listener.options);
        // Until it is accepted, who can accept it is who can read what is sent to it.
        end.holder.store(listener.id, Ordering::Relaxed);
        if let Some(name) = listener.name() {
            end.set_name(name);
        }
        *end.peer.lock() = Some(who.clone());
    }

    /// Ties `self` and the embryo `far` together and puts that into the backlog of `other`.
    fn join(&self, other: &Arc<Endpoint>, far: UnixSocket, who: &Who) -> Joined {
        let end = &self.end;
        far.take_after(other, who);
        let far_end = far.end.clone();
        let mut backlog = other.backlog.lock();
        if !other.has(Flags::LISTENING) || other.has(Flags::DEAD | Flags::RCV_SHUT) {
            drop(backlog);
            return Joined::Error(Errno::ECONNREFUSED);
        }
        if other.is_full() {
            drop(backlog);
            return Joined::Full(far);
        }
        if let Err(was) = end.raise_unless(Flags::CONNECTED, Flags::CONNECTED | Flags::LISTENING) {
            drop(backlog);
            let connected = was.contains(Flags::CONNECTED);
            return Joined::Error(if connected { Errno::EISCONN } else { Errno::EINVAL });
        }
        let listener = backlog.who.clone();
        // Not before it is sure: what is tied hangs up on its peer when it is dropped.
        far.tie(end.clone());
        backlog.queue.push_back(far);
        other.queued.store(backlog.queue.len(), Ordering::Release);
        drop(backlog);
        *end.peer.lock() = listener;
        self.tie(far_end);
        Joined::Yes
    }

    pub(super) fn accept_next(&self, nonblock: bool) -> Result<UnixSocket> {
        let end = &*self.end;
        if !self.is_connected_type() {
            return err(Errno::EOPNOTSUPP);
        }
        if !end.has(Flags::LISTENING) {
            return err(Errno::EINVAL);
        }
        let mut until = None;
        loop {
            let next = {
                let mut b = end.backlog.lock();
                let next = b.queue.pop_front();
                end.queued.store(b.queue.len(), Ordering::Release);
                next
            };
            if let Some(s) = next {
                s.end.holder.store(s.end.id, Ordering::Relaxed);
                end.room.wake_one(PollEvents::empty());
                if end.queued.load(Ordering::Acquire) > 0 {
                    end.can_read.pass_on();
                }
                return Ok(s);
            }
            if end.has(Flags::RCV_SHUT) {
                return err(Errno::EINVAL);
            }
            if nonblock {
                return err(Errno::EAGAIN);
            }
            until = until.or_else(|| deadline(end.options.rcvtimeo()));
            let waited = end.can_read.wait_exclusive(Sleep::Interruptible, until, || {
                (end.queued.load(Ordering::Acquire) > 0 || end.has(Flags::RCV_SHUT)).then_some(())
            });
            waited.map_err(|e| wait_error(e, until))?;
        }
    }

    /// connect(2) of datagram sockets: where messages go, and whom they come from.
    pub(super) fn connect_datagram(&self, addr: &[u8], caller: &Caller<'_>) -> Result<()> {
        let end = &self.end;
        if name::family(addr) == Some(AF_UNSPEC) {
            let old = self.set_peer(None);
            self.part_from(old);
            end.lower(Flags::CONNECTED);
            return Ok(());
        }
        let name = Address::parse_named(addr)?;
        if end.wants_creds() {
            self.autobind()?;
        }
        let other = end.unix.find(&name, end.kind, caller)?;
        let theirs = other.peer_id.load(Ordering::Acquire);
        if theirs != 0 && theirs != end.id {
            return err(Errno::EPERM);
        }
        if other.has(Flags::DEAD) {
            return err(Errno::ECONNREFUSED);
        }
        end.raise(Flags::CONNECTED);
        let old = self.set_peer(Some(other));
        self.part_from(old);
        Ok(())
    }

    /// What a change of the peer means to the old one: what it sent is thrown away, and it hears of it.
    fn part_from(&self, old: Option<Arc<Endpoint>>) {
        let end = &self.end;
        end.relay_end();
        if let Some(old) = old
            && self.peer_end().is_none_or(|p| p.id != old.id)
            && end.drain_packets()
        {
            end.room.wake_all(PollEvents::empty());
            if !old.has(Flags::DEAD) && old.peer_id.load(Ordering::Acquire) == end.id {
                old.options.set_error(Errno::ECONNRESET);
                old.state_changed();
            }
        }
        // Who polls for room asks the new peer.
        end.can_write.wake_all(PollEvents::empty());
    }

    /// A datagram socket finds that its peer is closed.
    pub(super) fn peer_died(&self, dead: &Arc<Endpoint>) {
        if self.end.kind == SocketType::DGRAM && self.peer_end().is_some_and(|p| p.id == dead.id) {
            let old = self.set_peer(None);
            self.end.lower(Flags::CONNECTED);
            self.part_from(old);
        }
    }

    /// The socket is closed. `unborn`: nobody has ever accepted it.
    pub(super) fn shut(&self, unborn: bool) {
        let end = &self.end;
        if end.raise(Flags::DEAD | Flags::RCV_SHUT | Flags::SEND_SHUT).contains(Flags::DEAD) {
            return;
        }
        if let Some(name) = end.name()
            && let Address::Abstract(n) = &*name
        {
            end.unix.release_abstract(end, n);
        }
        let place = end.place.lock().take();
        drop(place); // perhaps the last reference to an unlinked inode
        end.relay_end();

        let unread = end.drain_stream() | end.drain_packets();
        if let Some(peer) = self.connection() {
            if unread || unborn {
                peer.options.set_error(Errno::ECONNRESET);
            }
            peer.raise(Flags::RCV_SHUT | Flags::SEND_SHUT);
            peer.state_changed();
        }
        let waiting = {
            let mut b = end.backlog.lock();
            end.queued.store(0, Ordering::Release);
            std::mem::take(&mut b.queue)
        };
        for s in &waiting {
            s.shut(true);
        }
        end.room.wake_all(PollEvents::empty());
        end.state_changed();
        end.unix.flight.collect();
    }
}

/// How joining a listener's backlog went.
enum Joined {
    Yes,
    Full(UnixSocket),
    Error(Errno),
}
