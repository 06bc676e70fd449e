//! One end of a conversation: what a socket is to those who talk to it.
//!
//! An [`Endpoint`] has the queue that its socket reads from, and what its peers need: its name, its options,
//! whether it is shut down, who waits. It never refers to another endpoint; the socket that owns it does. So there
//! are no cycles of references to break, and a message may keep its sender's endpoint for its name.
//!
//! Flags are one atomic, so that the hot paths read them without a lock. They change under
//! no lock either; what must see a change in time (a sender, that the reader is gone) looks at them with the lock of
//! the queue held, which [`UnixSocket`](super::UnixSocket)'s `close` takes after it has set them.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use base::wait::Ticket;
use base::{Mutex, PollEvents, Rank, Result, SpinLock, WaitQueue, Wake};
use fs::Path;

use super::flight::Holder;
use super::name::Address;
use super::packet::Message;
use super::stream::Stream;
use super::{BUDGET, Unix, UnixSocket};
use crate::options::{Options, so};
use crate::socket::{SocketType, Who};

bitflags::bitflags! {
    /// What an endpoint has come to.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub(crate) struct Flags: u8 {
        /// Nothing more is read here.
        const RCV_SHUT = 1;
        /// Nothing more is sent from here.
        const SEND_SHUT = 2;
        /// The socket is closed.
        const DEAD = 4;
        /// It accepts connections.
        const LISTENING = 8;
        /// It is (or was) connected.
        const CONNECTED = 16;
    }
}

/// There is something to read.
pub(crate) const READABLE: PollEvents = PollEvents::IN.union(PollEvents::RDNORM);
/// There is room to write.
pub(crate) const WRITABLE: PollEvents =
    PollEvents::OUT.union(PollEvents::WRNORM).union(PollEvents::WRBAND);

/// Connections that wait to be accepted.
#[derive(Default)]
pub(crate) struct Backlog {
    pub(crate) queue: VecDeque<UnixSocket>,
    /// Who listens: what the other side's SO_PEERCRED shows.
    pub(crate) who: Option<Who>,
}

/// Wakes the writers of one endpoint when another one, which it is connected to, has room.
pub(crate) struct Relay(Arc<WaitQueue>);

impl Wake for Relay {
    fn wake(&self, _events: PollEvents) {
        // Under the lock of a `room` queue; no waker of a `can_write` queue comes back to one of those.
        self.0.wake_one_nested(WRITABLE);
    }
}

/// One end.
pub(crate) struct Endpoint {
    /// Unique; never 0.
    pub(crate) id: u64,
    pub(crate) kind: SocketType,
    pub(crate) unix: Arc<Unix>,
    pub(crate) options: Options,
    flags: AtomicU8,
    /// The inode number; 0 as long as it is no open file.
    pub(crate) ino: AtomicU64,
    /// Serialises what gives it a name.
    pub(crate) binding: Mutex<()>,
    name: SpinLock<Option<Arc<Address>>>,
    /// Where a path name lies: keeps the inode, and with it what connects by it, alive.
    pub(crate) place: SpinLock<Option<Path>>,
    /// Datagrams: the endpoint this one is connected to, 0 for none.
    pub(crate) peer_id: AtomicU64,
    /// Who is at the other end.
    pub(crate) peer: SpinLock<Option<Who>>,
    /// Who can receive what is queued here.
    pub(crate) holder: Holder,

    /// Who waits for something to read, or to accept.
    pub(crate) can_read: Arc<WaitQueue>,
    /// Who waits for room to write.
    pub(crate) can_write: Arc<WaitQueue>,
    /// Others who wait for room here: to connect, or to send a datagram.
    pub(crate) room: Arc<WaitQueue>,

    /// Bytes to read. Copies to and from user memory are made with it held.
    pub(crate) stream: Mutex<Stream>,
    /// Bytes in `stream`, for who does not take its lock.
    pub(crate) unread: AtomicUsize,
    /// As `unread`, with what bookkeeping costs: what the writer's SO_SNDBUF bounds.
    pub(crate) used: AtomicUsize,
    /// Messages to read.
    pub(crate) packets: SpinLock<VecDeque<Arc<Message>>>,
    /// Connections to accept.
    pub(crate) backlog: SpinLock<Backlog>,
    /// Messages or connections that wait.
    pub(crate) queued: AtomicUsize,
    /// How many may wait before others are put off.
    pub(crate) queue_max: AtomicU32,
    /// What messages sent from here, and not received yet, cost.
    pub(crate) in_transit: AtomicUsize,
    /// Registered with the peer's `room` since a poll found that full.
    relay: SpinLock<Option<(Arc<WaitQueue>, Ticket)>>,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({}, {:?}, {:?})", self.id, self.kind, self.flags())
    }
}

impl Endpoint {
    /// A new one, entered into the list of all. See [`Unix::endpoint`], which counts.
    pub(super) fn new(unix: &Arc<Unix>, id: u64, kind: SocketType) -> Endpoint {
        Endpoint {
            id,
            kind,
            options: Options::new(&unix.sysctl),
            flags: AtomicU8::new(0),
            ino: AtomicU64::new(0),
            binding: Mutex::new(()),
            name: SpinLock::new(Rank::File, None),
            place: SpinLock::new(Rank::File, None),
            peer_id: AtomicU64::new(0),
            peer: SpinLock::new(Rank::File, None),
            holder: Arc::new(AtomicU64::new(id)),
            can_read: Arc::default(),
            can_write: Arc::default(),
            room: Arc::default(),
            stream: Mutex::new(Stream::new(&BUDGET)),
            unread: AtomicUsize::new(0),
            used: AtomicUsize::new(0),
            packets: SpinLock::new(Rank::File, VecDeque::new()),
            backlog: SpinLock::new(Rank::File, Backlog::default()),
            queued: AtomicUsize::new(0),
            queue_max: AtomicU32::new(unix.sysctl.max_dgram_qlen.load(Ordering::Relaxed)),
            in_transit: AtomicUsize::new(0),
            relay: SpinLock::new(Rank::File, None),
            unix: unix.clone(),
        }
    }

    #[inline]
    pub(crate) fn flags(&self) -> Flags {
        Flags::from_bits_retain(self.flags.load(Ordering::Acquire))
    }
    #[inline]
    pub(crate) fn has(&self, f: Flags) -> bool {
        self.flags().intersects(f)
    }
    /// Sets flags; returns what they were.
    pub(crate) fn raise(&self, f: Flags) -> Flags {
        Flags::from_bits_retain(self.flags.fetch_or(f.bits(), Ordering::AcqRel))
    }
    pub(crate) fn lower(&self, f: Flags) {
        self.flags.fetch_and(!f.bits(), Ordering::AcqRel);
    }
    /// Sets `f` if none of `unless` is set; else tells what is.
    pub(crate) fn raise_unless(&self, f: Flags, unless: Flags) -> Result<(), Flags> {
        let set = |old: u8| (old & unless.bits() == 0).then_some(old | f.bits());
        match self.flags.fetch_update(Ordering::AcqRel, Ordering::Acquire, set) {
            Ok(_) => Ok(()),
            Err(old) => Err(Flags::from_bits_retain(old)),
        }
    }

    pub(crate) fn name(&self) -> Option<Arc<Address>> {
        self.name.lock().clone()
    }
    pub(crate) fn set_name(&self, name: Arc<Address>) {
        *self.name.lock() = Some(name);
    }
    /// As getsockname(2) shows it.
    pub(crate) fn sockaddr(&self) -> Vec<u8> {
        self.name().map_or_else(|| Address::Unnamed.to_sockaddr(), |n| n.to_sockaddr())
    }

    /// Whether the socket wants to know who sends.
    #[inline]
    pub(crate) fn wants_creds(&self) -> bool {
        self.options.is_on(so::PASSCRED)
    }

    /// Whether so much is queued that others shall wait.
    pub(crate) fn is_full(&self) -> bool {
        self.queued.load(Ordering::Acquire) > self.queue_max.load(Ordering::Relaxed) as usize
    }

    /// Whether `used` bytes are little enough for a socket with this endpoint to count as writable: at
    /// least three quarters are free, so that a writer that is woken has something to do.
    #[inline]
    pub(crate) fn is_roomy(&self, used: usize) -> bool {
        used.saturating_mul(4) <= self.options.sndbuf()
    }

    /// Something has changed that everybody here may want to look at.
    pub(crate) fn state_changed(&self) {
        self.can_read.wake_all(PollEvents::empty());
        self.can_write.wake_all(PollEvents::empty());
    }

    /// Lets the writers here hear when there is room at `other`.
    pub(crate) fn relay_from(&self, other: &Endpoint) {
        let mut r = self.relay.lock();
        if r.is_none() {
            let ticket = other.room.register(Arc::new(Relay(self.can_write.clone())), false);
            *r = Some((other.room.clone(), ticket));
        }
    }

    /// Undoes [`Endpoint::relay_from`].
    pub(crate) fn relay_end(&self) {
        let old = self.relay.lock().take();
        if let Some((queue, ticket)) = old {
            queue.remove(ticket);
        }
    }

    /// For the inode that it is bound to.
    pub(crate) fn as_bound(self: &Arc<Self>) -> Weak<dyn std::any::Any + Send + Sync> {
        let any: Arc<dyn std::any::Any + Send + Sync> = self.clone();
        Arc::downgrade(&any)
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.relay_end();
        self.unix.forget(self.id);
    }
}
