//! Descriptors in flight: sent with SCM_RIGHTS and not received yet.
//!
//! A message does not hold its open files itself: it holds a [`Parcel`], a ticket for an entry of the one
//! table of all that is in flight. So the whole graph of "this socket's queue holds that file" can be seen in
//! one place under one lock, and that is what collecting garbage needs.
//!
//! # Garbage
//! A socket can be sent, even to itself: then its queue holds the last reference to it, and nobody will ever receive
//! it. Reference counts alone never free such a cycle. [`Flight::collect`] finds it: a socket
//! *may* be garbage if all references to its open file lie in parcels; it *is* garbage unless one of these parcels
//! is in the queue of a socket that is not. Parcels in queues of garbage are opened and their files dropped, which closes the
//! sockets. It runs when a socket is closed, as in Linux.
//!
//! # Dropping
//! Dropping a file may close a socket, whose queue has files, and so on, as deep as a guest likes: the
//! kernel's stack would not like it. [`Flight::bury`] makes a loop of that recursion.
//!
//! Locks: both are leaves; no file is dropped under them.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use base::limits::MAX_IN_FLIGHT;
use base::{Errno, Rank, Result, SpinLock, err};
use fs::File;
use hashbrown::HashMap;

use crate::socket::{Rights, SocketFile};
use crate::unix::UnixSocket;

/// Whose queue a parcel lies in: the number of the socket that can receive it. It changes when a connection
/// is accepted: before, only the listener's owner can get at it.
pub(crate) type Holder = Arc<AtomicU64>;

struct Entry {
    holder: Holder,
    files: Vec<Arc<File>>,
    uid: u32,
    /// The AF_UNIX sockets among the files.
    sockets: Vec<u64>,
}

#[derive(Default)]
struct Table {
    next: u64,
    parcels: HashMap<u64, Entry>,
    /// Descriptors in flight by user.
    users: HashMap<u32, usize>,
    total: usize,
    /// How often each socket is in flight.
    sockets: HashMap<u64, usize>,
}

impl Table {
    fn add(&mut self, e: Entry) -> u64 {
        *self.users.entry(e.uid).or_default() += e.files.len();
        self.total += e.files.len();
        for s in &e.sockets {
            *self.sockets.entry(*s).or_default() += 1;
        }
        let id = self.next;
        self.next += 1;
        self.parcels.insert(id, e);
        id
    }

    fn take(&mut self, id: u64) -> Option<Entry> {
        let e = self.parcels.remove(&id)?;
        self.total -= e.files.len();
        if let Some(n) = self.users.get_mut(&e.uid) {
            *n -= e.files.len();
            if *n == 0 {
                self.users.remove(&e.uid);
            }
        }
        for s in &e.sockets {
            if let Some(n) = self.sockets.get_mut(s) {
                *n -= 1;
                if *n == 0 {
                    self.sockets.remove(s);
                }
            }
        }
        Some(e)
    }
}

#[derive(Default)]
struct Grave {
    files: Vec<Arc<File>>,
    digging: bool,
}

/// All descriptors in flight.
pub(crate) struct Flight {
    table: SpinLock<Table>,
    /// Whether a parcel lies in the queue of a socket that is in flight itself: without one there is no
    /// circle, and no garbage.
    maybe_cyclic: AtomicBool,
    grave: SpinLock<Grave>,
}

impl Default for Flight {
    fn default() -> Self {
        Flight {
            table: SpinLock::new(Rank::Leaf, Table::default()),
            maybe_cyclic: AtomicBool::new(false),
            grave: SpinLock::new(Rank::Leaf, Grave::default()),
        }
    }
}

impl fmt::Debug for Flight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Flight({} descriptors)", self.table.lock().total)
    }
}

/// The number of the AF_UNIX socket behind an open file.
fn socket_id(file: &File) -> Option<u64> {
    let socket = file.ops_as::<SocketFile>()?.socket();
    Some(socket.as_any().downcast_ref::<UnixSocket>()?.end().id)
}

/// Descriptors of one message. Dropped unopened, they are closed.
pub(crate) struct Parcel {
    id: u64,
    flight: Arc<Flight>,
}

impl fmt::Debug for Parcel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Parcel({})", self.id)
    }
}

impl Parcel {
    /// Takes the files out; none the second time.
    pub(crate) fn open(&self) -> Vec<Arc<File>> {
        let entry = self.flight.table.lock().take(self.id);
        entry.map_or_else(Vec::new, |e| e.files)
    }

    /// The files, which stay (MSG_PEEK).
    pub(crate) fn look(&self) -> Vec<Arc<File>> {
        self.flight.table.lock().parcels.get(&self.id).map_or_else(Vec::new, |e| e.files.clone())
    }
}

impl Drop for Parcel {
    fn drop(&mut self) {
        let files = self.open();
        self.flight.bury(files);
    }
}

impl Flight {
    /// Makes a parcel for the queue of `holder`.
    ///
    /// # Errors
    /// ETOOMANYREFS if the user has too many descriptors in flight already, or the kernel has.
    pub(crate) fn pack(self: &Arc<Self>, rights: Rights, holder: &Holder) -> Result<Parcel> {
        let sockets: Vec<u64> = rights.files.iter().filter_map(|f| socket_id(f)).collect();
        let mut t = self.table.lock();
        let of_user = t.users.get(&rights.uid).copied().unwrap_or(0);
        if rights.limit.is_some_and(|l| of_user as u64 > l)
            || t.total + rights.files.len() > MAX_IN_FLIGHT
        {
            drop(t);
            self.bury(rights.files);
            return err(Errno::ETOOMANYREFS);
        }
        let holder_id = holder.load(Ordering::Relaxed);
        let Rights { files, uid, .. } = rights;
        let id = t.add(Entry { holder: holder.clone(), files, uid, sockets });
        // The last link of a circle is put into the queue of a socket that is in flight by then.
        if t.sockets.contains_key(&holder_id) {
            self.maybe_cyclic.store(true, Ordering::Relaxed);
        }
        drop(t);
        Ok(Parcel { id, flight: self.clone() })
    }

    /// Drops files, however many others each of them drags along.
    pub(crate) fn bury(&self, files: Vec<Arc<File>>) {
        if files.is_empty() {
            return;
        }
        {
            let mut g = self.grave.lock();
            g.files.extend(files);
            if g.digging {
                return; // whoever is digging drops these, too
            }
            g.digging = true;
        }
        loop {
            let next = {
                let mut g = self.grave.lock();
                let next = g.files.pop();
                g.digging = next.is_some();
                next
            };
            match next {
                Some(file) => drop(file),
                None => return,
            }
        }
    }

    /// Frees sockets that only each other's queues hold.
    pub(crate) fn collect(&self) {
        if !self.maybe_cyclic.load(Ordering::Relaxed) {
            return;
        }
        let mut garbage = Vec::new();
        {
            let mut t = self.table.lock();
            for id in t.unreachable() {
                garbage.extend(t.take(id).into_iter().flat_map(|e| e.files));
            }
            self.maybe_cyclic.store(t.has_links(), Ordering::Relaxed);
        }
        self.bury(garbage);
    }

    /// Descriptors in flight.
    #[cfg(test)]
    pub(crate) fn total(&self) -> usize {
        self.table.lock().total
    }
}

impl Table {
    /// Whether a parcel lies in the queue of a socket that is in flight.
    fn has_links(&self) -> bool {
        let linked = |e: &Entry| self.sockets.contains_key(&e.holder.load(Ordering::Relaxed));
        self.parcels.values().any(linked)
    }

    /// Parcels that nobody can ever receive.
    fn unreachable(&self) -> Vec<u64> {
        let mut nodes: HashMap<u64, usize> = HashMap::new();
        let mut held: HashMap<u64, Vec<&Entry>> = HashMap::new();
        for e in self.parcels.values() {
            for f in &e.files {
                if let Some(id) = socket_id(f) {
                    nodes.insert(id, Arc::strong_count(f));
                }
            }
            held.entry(e.holder.load(Ordering::Relaxed)).or_default().push(e);
        }
        // Suspects: who is in flight and nowhere else. Everybody else can receive.
        nodes.retain(|id, strong| self.sockets.get(id) == Some(strong));
        let mut work: Vec<u64> = held.keys().copied().filter(|h| !nodes.contains_key(h)).collect();
        while let Some(holder) = work.pop() {
            for e in held.get(&holder).into_iter().flatten() {
                for id in &e.sockets {
                    if nodes.remove(id).is_some() {
                        work.push(*id);
                    }
                }
            }
        }
        let lost = |e: &Entry| nodes.contains_key(&e.holder.load(Ordering::Relaxed));
        self.parcels.iter().filter(|(_, e)| lost(e)).map(|(id, _)| *id).collect()
    }
}
