//! AF_UNIX: sockets between processes of one machine. `man 7 unix`.
//!
//! | file | what it is |
//! |---|---|
//! | `mod.rs` | the family: all sockets, abstract names; `UnixSocket`, which is one socket |
//! | `name.rs` | `struct sockaddr_un` |
//! | `endpoint.rs` | what a socket is to its peers: queue, flags, waiters |
//! | `connect.rs` | bind, listen, connect, accept, close |
//! | `stream.rs` | bytes: SOCK_STREAM |
//! | `packet.rs` | messages: SOCK_DGRAM, SOCK_SEQPACKET |
//! | `flight.rs` | descriptors in messages, and collecting them when nobody can receive them |

mod connect;
mod endpoint;
mod flight;
mod name;
mod packet;
mod stream;
#[cfg(test)]
mod tests;

use std::any::Any;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use base::limits::{MAX_SOCKETS, SOCKET_TOTAL};
use base::{Errno, PollEvents, PollTable, Rank, Result, Sink, Source, SpinLock, err};
use fs::ring::Budget;
use hashbrown::HashMap;

use crate::family::Family;
use crate::options::{Options, Sysctl};
use crate::socket::{Caller, Callers, Incoming, Outgoing, Socket, SocketType, Who};
use endpoint::{Endpoint, Flags, READABLE, WRITABLE};
use flight::Flight;

pub use name::AF_UNIX;

/// What the queues of all sockets may hold: host memory is one, however many kernels a process makes.
pub(crate) static BUDGET: Budget = Budget::new(SOCKET_TOTAL);

/// Endpoints by type of socket and abstract name.
type Names = HashMap<(u32, Vec<u8>), Weak<Endpoint>>;

/// The family.
pub struct Unix {
    me: Weak<Unix>,
    sysctl: Arc<Sysctl>,
    callers: Arc<dyn Callers>,
    flight: Arc<Flight>,
    next: AtomicU64,
    next_auto: AtomicU32,
    /// All endpoints.
    sockets: SpinLock<HashMap<u64, Weak<Endpoint>>>,
    /// Abstract names; each type of socket has a space of its own. An entry goes when its socket closes.
    names: SpinLock<Names>,
}

impl std::fmt::Debug for Unix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Unix({} sockets)", self.sockets.lock().len())
    }
}

impl Unix {
    /// The family, without sockets.
    pub fn new(sysctl: Arc<Sysctl>, callers: Arc<dyn Callers>) -> Arc<Unix> {
        Arc::new_cyclic(|me| Unix {
            me: me.clone(),
            sysctl,
            callers,
            flight: Arc::default(),
            next: AtomicU64::new(1),
            next_auto: AtomicU32::new(0),
            sockets: SpinLock::new(Rank::Leaf, HashMap::new()),
            names: SpinLock::new(Rank::Leaf, HashMap::new()),
        })
    }

    /// A new endpoint.
    ///
    /// # Errors
    /// ENFILE if there are too many.
    fn endpoint(self: &Arc<Self>, kind: SocketType) -> Result<Arc<Endpoint>> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let e = Arc::new(Endpoint::new(self, id, kind));
        let mut all = self.sockets.lock();
        if all.len() >= MAX_SOCKETS {
            drop(all); // the endpoint's destructor takes the lock
            return err(Errno::ENFILE);
        }
        all.insert(id, Arc::downgrade(&e));
        Ok(e)
    }

    fn forget(&self, id: u64) {
        self.sockets.lock().remove(&id);
    }

    fn next_auto(&self) -> u32 {
        self.next_auto.fetch_add(1, Ordering::Relaxed) & 0xf_ffff
    }

    /// Gives an endpoint an abstract name; false if it is taken.
    fn claim_abstract(&self, e: &Arc<Endpoint>, name: &[u8]) -> bool {
        let mut names = self.names.lock();
        let key = (e.kind.0, name.to_vec());
        if names.contains_key(&key) {
            return false;
        }
        names.insert(key, Arc::downgrade(e));
        true
    }

    fn release_abstract(&self, e: &Arc<Endpoint>, name: &[u8]) {
        let mut names = self.names.lock();
        let key = (e.kind.0, name.to_vec());
        // Accepted connections have the name of their listener, to which it belongs.
        if names.get(&key).is_some_and(|w| std::ptr::eq(w.as_ptr(), Arc::as_ptr(e))) {
            names.remove(&key);
        }
    }

    fn find_abstract(&self, kind: SocketType, name: &[u8]) -> Option<Arc<Endpoint>> {
        self.names.lock().get(&(kind.0, name.to_vec())).and_then(Weak::upgrade)
    }
}

impl Family for Unix {
    fn number(&self) -> u32 {
        AF_UNIX.into()
    }

    fn create(&self, kind: SocketType, protocol: i32) -> Result<Arc<dyn Socket>> {
        Ok(Arc::new(self.socket(kind, protocol)?))
    }

    fn pair(
        &self,
        kind: SocketType,
        protocol: i32,
        who: &Who,
    ) -> Result<(Arc<dyn Socket>, Arc<dyn Socket>)> {
        let (a, b) = (self.socket(kind, protocol)?, self.socket(kind, protocol)?);
        for (x, y) in [(&a, &b), (&b, &a)] {
            x.end.raise(Flags::CONNECTED);
            *x.end.peer.lock() = Some(who.clone());
            if x.is_connected_type() {
                x.tie(y.end.clone());
            } else {
                x.set_peer(Some(y.end.clone()));
            }
        }
        Ok((Arc::new(a), Arc::new(b)))
    }

    fn proc_table(&self, name: &str) -> Option<String> {
        (name == "unix").then(|| self.list())
    }
}

impl Unix {
    fn socket(&self, kind: SocketType, protocol: i32) -> Result<UnixSocket> {
        if protocol != 0 && protocol != i32::from(AF_UNIX) {
            return err(Errno::EPROTONOSUPPORT);
        }
        let kind = match kind {
            SocketType::RAW => SocketType::DGRAM, // BSD's name for it
            SocketType::STREAM | SocketType::DGRAM | SocketType::SEQPACKET => kind,
            _ => return err(Errno::ESOCKTNOSUPPORT),
        };
        UnixSocket::new(&self.me.upgrade().expect("called through an Arc"), kind)
    }

    /// /proc/net/unix.
    fn list(&self) -> String {
        let mut all: Vec<Arc<Endpoint>> =
            self.sockets.lock().values().filter_map(Weak::upgrade).collect();
        all.retain(|e| !e.has(Flags::DEAD));
        all.sort_unstable_by_key(|e| e.id);
        let mut out = String::from("Num       RefCount Protocol Flags    Type St Inode Path\n");
        for e in all {
            let ino = e.ino.load(Ordering::Relaxed);
            let listening = if e.has(Flags::LISTENING) { 0x1_0000 } else { 0 };
            // SS_UNCONNECTED, SS_CONNECTING (to be accepted), SS_CONNECTED
            let state = match (e.has(Flags::CONNECTED), ino) {
                (true, 0) => 2,
                (true, _) => 3,
                (false, _) => 1,
            };
            let (id, refs) = (e.id, Arc::strong_count(&e));
            let _ = write!(out, "{id:016x}: {refs:08X} 00000000 {listening:08X} ");
            let _ = write!(out, "{:04X} {state:02X} {ino:5}", e.kind.0);
            if let Some(n) = e.name() {
                let _ = write!(out, " {}", String::from_utf8_lossy(&n.display()));
            }
            out.push('\n');
        }
        out
    }
}

/// A socket: its own end, and the end that it talks to.
pub(crate) struct UnixSocket {
    end: Arc<Endpoint>,
    /// Streams and message connections: set once.
    tied: OnceLock<Arc<Endpoint>>,
    /// Datagrams: may change.
    loose: SpinLock<Option<Arc<Endpoint>>>,
}

impl std::fmt::Debug for UnixSocket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "UnixSocket({:?})", self.end)
    }
}

impl UnixSocket {
    fn new(unix: &Arc<Unix>, kind: SocketType) -> Result<UnixSocket> {
        let end = unix.endpoint(kind)?;
        Ok(UnixSocket { end, tied: OnceLock::new(), loose: SpinLock::new(Rank::File, None) })
    }

    pub(crate) fn end(&self) -> &Arc<Endpoint> {
        &self.end
    }

    fn is_connected_type(&self) -> bool {
        self.end.kind != SocketType::DGRAM
    }

    /// The other end of a connection.
    #[inline]
    fn connection(&self) -> Option<&Arc<Endpoint>> {
        self.tied.get()
    }

    fn tie(&self, far: Arc<Endpoint>) {
        // A second attempt to connect ties the same two ends: the first value may stay.
        let _ = self.tied.set(far);
    }

    /// Whom messages go to.
    fn peer_end(&self) -> Option<Arc<Endpoint>> {
        match self.tied.get() {
            Some(p) => Some(p.clone()),
            None => self.loose.lock().clone(),
        }
    }

    fn set_peer(&self, to: Option<Arc<Endpoint>>) -> Option<Arc<Endpoint>> {
        let mut l = self.loose.lock();
        self.end.peer_id.store(to.as_ref().map_or(0, |p| p.id), Ordering::Release);
        std::mem::replace(&mut *l, to)
    }

    fn is_writable(&self) -> bool {
        let end = &*self.end;
        if end.has(Flags::LISTENING) {
            return false;
        }
        if end.kind == SocketType::STREAM {
            let used = self.connection().map_or(0, |p| p.used.load(Ordering::Acquire));
            return end.is_roomy(used);
        }
        if !end.is_roomy(end.in_transit.load(Ordering::Acquire)) {
            return false;
        }
        if end.kind == SocketType::SEQPACKET {
            return true;
        }
        match self.peer_end() {
            Some(p) if p.full_for(end) => {
                end.relay_from(&p);
                !p.full_for(end)
            }
            _ => true,
        }
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        self.shut(false);
    }
}

impl Socket for UnixSocket {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn domain(&self) -> u32 {
        AF_UNIX.into()
    }
    fn kind(&self) -> SocketType {
        self.end.kind
    }
    fn options(&self) -> &Options {
        &self.end.options
    }
    fn bind(&self, addr: &[u8], caller: &Caller<'_>, mode: u32) -> Result<()> {
        self.bind_to(addr, caller, mode)
    }
    fn connect(&self, addr: &[u8], caller: &Caller<'_>, nonblock: bool) -> Result<()> {
        if self.is_connected_type() {
            self.connect_stream(addr, caller, nonblock)
        } else {
            self.connect_datagram(addr, caller)
        }
    }
    fn listen(&self, backlog: u32, who: &Who) -> Result<()> {
        self.start_listening(backlog, who)
    }
    fn accept(&self, nonblock: bool) -> Result<Arc<dyn Socket>> {
        Ok(Arc::new(self.accept_next(nonblock)?))
    }
    fn local_name(&self) -> Result<Vec<u8>> {
        Ok(self.end.sockaddr())
    }
    fn peer_name(&self) -> Result<Vec<u8>> {
        match self.peer_end() {
            Some(p) => Ok(p.sockaddr()),
            None => err(Errno::ENOTCONN),
        }
    }
    fn send(&self, source: &mut dyn Source, msg: Outgoing<'_>) -> Result<usize> {
        if self.end.kind == SocketType::STREAM {
            self.send_stream(source, msg)
        } else {
            self.send_packet(source, msg)
        }
    }
    fn recv(&self, sink: &mut dyn Sink, msg: &mut Incoming) -> Result<usize> {
        if self.end.kind == SocketType::STREAM {
            self.recv_stream(sink, msg)
        } else {
            self.recv_packet(sink, msg)
        }
    }
    fn shutdown(&self, read: bool, write: bool) -> Result<()> {
        let flags = |r: bool, w: bool| {
            let mut f = Flags::empty();
            f.set(Flags::RCV_SHUT, r);
            f.set(Flags::SEND_SHUT, w);
            f
        };
        self.end.raise(flags(read, write));
        self.end.state_changed();
        self.end.room.wake_all(PollEvents::empty());
        if let Some(p) = self.connection() {
            p.raise(flags(write, read));
            p.state_changed();
        }
        Ok(())
    }
    fn poll(&self, table: Option<&mut PollTable>) -> PollEvents {
        let end = &*self.end;
        if let Some(t) = table {
            t.register(&end.can_read);
            t.register(&end.can_write);
        }
        let flags = end.flags();
        let mut ev = PollEvents::empty();
        if end.options.has_error() {
            ev |= PollEvents::ERR;
        }
        if flags.contains(Flags::RCV_SHUT) {
            ev |= PollEvents::RDHUP | READABLE;
            if flags.contains(Flags::SEND_SHUT) {
                ev |= PollEvents::HUP;
            }
        }
        let unread = end.unread.load(Ordering::Acquire) + end.queued.load(Ordering::Acquire);
        if unread > 0 {
            ev |= READABLE;
        }
        if self.is_connected_type() && !flags.intersects(Flags::CONNECTED | Flags::LISTENING) {
            ev |= PollEvents::HUP;
        }
        if self.is_writable() {
            ev |= WRITABLE;
        }
        ev
    }
    fn unread(&self) -> Result<usize> {
        let end = &*self.end;
        if end.has(Flags::LISTENING) {
            return err(Errno::EINVAL);
        }
        Ok(match end.kind {
            SocketType::STREAM => end.unread.load(Ordering::Acquire),
            _ => end.unread_packets(),
        })
    }
    fn unsent(&self) -> Result<usize> {
        Ok(match self.end.kind {
            SocketType::STREAM => self.connection().map_or(0, |p| p.used.load(Ordering::Acquire)),
            _ => self.end.in_transit.load(Ordering::Acquire),
        })
    }
    fn listening(&self) -> bool {
        self.end.has(Flags::LISTENING)
    }
    fn peer(&self) -> Option<Who> {
        self.end.peer.lock().clone()
    }
    fn options_changed(&self) {
        self.end.can_write.wake_all(PollEvents::empty());
    }
    fn opened(&self, ino: u64) {
        self.end.ino.store(ino, Ordering::Relaxed);
    }
    fn close(&self) {
        self.shut(false);
    }
}
