//! Advisory locks: flock(2), POSIX byte ranges and open-file-description locks (fcntl(2)).
//!
//! Each inode that was ever locked has a [`FileLocks`]: a list of held ranges and a queue of
//! waiters. flock locks and byte ranges do not see each other, as on Linux. Before a POSIX lock waits, the
//! graph of who waits for whom is searched for a cycle (EDEADLK); flock and OFD locks are not searched.
//!
//! Locks: the list is a spin lock of rank `Inode`, the graph one of rank `Leaf`; never nested.

use std::fmt::Write;
use std::sync::{Arc, Weak};

use base::{Errno, PollEvents, Rank, Result, Sleep, SpinLock, WaitQueue, err};

use crate::file::File;
use crate::vfs::Vfs;

/// The kind of a lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LockType {
    /// Shared.
    Read,
    /// Exclusive.
    Write,
}

/// Who owns a byte-range lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Owner {
    /// POSIX (F_SETLK): a descriptor table, and the process id that F_GETLK shows.
    Process {
        /// `FdTable::id`.
        table: u64,
        /// The process.
        pid: u32,
    },
    /// OFD (F_OFD_SETLK): the open file description.
    File,
}

/// A byte range, both ends inclusive; [`Range::EOF`] as the end means "to the end of file".
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Range {
    /// First byte.
    pub start: u64,
    /// Last byte.
    pub end: u64,
}

impl Range {
    /// The largest offset.
    pub const EOF: u64 = i64::MAX as u64;
    /// All of a file.
    pub const ALL: Range = Range { start: 0, end: Range::EOF };

    /// From `l_start` (whence applied) and `l_len` of struct flock.
    ///
    /// # Errors
    /// EINVAL for a negative start; EOVERFLOW beyond the largest offset.
    pub fn new(start: i64, len: i64) -> Result<Range> {
        let (first, last) = match len {
            0 => (start, i64::MAX),
            1.. => match start.checked_add(len - 1) {
                Some(e) => (start, e),
                None => return err(Errno::EOVERFLOW),
            },
            _ => match start.checked_add(len) {
                Some(s) => (s, start - 1),
                None => return err(Errno::EINVAL),
            },
        };
        match (u64::try_from(first), u64::try_from(last)) {
            (Ok(start), Ok(end)) => Ok(Range { start, end }),
            _ => err(Errno::EINVAL),
        }
    }

    fn overlaps(self, o: Range) -> bool {
        self.start <= o.end && o.start <= self.end
    }
}

/// What F_GETLK finds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Conflict {
    /// Kind.
    pub kind: LockType,
    /// Range.
    pub range: Range,
    /// The process, or -1 for an OFD lock.
    pub pid: i32,
}

/// The identity behind a lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Id {
    Table(u64),
    Ofd(u64),
    Flock(u64),
}

impl Id {
    fn is_flock(self) -> bool {
        matches!(self, Id::Flock(_))
    }
}

#[derive(Clone, Copy, Debug)]
struct Held {
    id: Id,
    pid: u32,
    kind: LockType,
    range: Range,
}

impl Held {
    fn conflicts(&self, o: &Held) -> bool {
        self.id != o.id
            && self.id.is_flock() == o.id.is_flock()
            && (self.kind == LockType::Write || o.kind == LockType::Write)
            && self.range.overlaps(o.range)
    }
}

/// The locks of one inode.
#[derive(Debug)]
pub struct FileLocks {
    held: SpinLock<Vec<Held>>,
    changed: WaitQueue,
}

impl Default for FileLocks {
    fn default() -> Self {
        FileLocks { held: SpinLock::new(Rank::Inode, Vec::new()), changed: WaitQueue::new() }
    }
}

/// Most locks of one inode.
const MAX_LOCKS: usize = 65536;

/// Descriptor tables that wait for others to give up a lock: (who, for whom).
static WAITING: SpinLock<Vec<(u64, u64)>> = SpinLock::new(Rank::Leaf, Vec::new());
/// Inodes that have locks: (list, device, inode number).
static LOCKED: SpinLock<Vec<(Weak<FileLocks>, u64, u64)>> = SpinLock::new(Rank::Leaf, Vec::new());

/// Whether `from` waits, over any number of others, for `to`.
fn waits_for(graph: &[(u64, u64)], from: u64, to: u64) -> bool {
    let mut seen = vec![from];
    let mut i = 0;
    while i < seen.len() {
        let at = seen[i];
        i += 1;
        for (_, next) in graph.iter().filter(|(w, _)| *w == at) {
            if *next == to {
                return true;
            }
            if !seen.contains(next) {
                seen.push(*next);
            }
        }
    }
    false
}

/// Takes the table out of the graph when the wait ends, however it ends.
struct Edge(u64);

impl Drop for Edge {
    fn drop(&mut self) {
        WAITING.lock().retain(|(w, _)| *w != self.0);
    }
}

/// `new` (or nothing) replaces what its owner holds of `range`: the rest is cut, equal neighbours
/// grow together.
fn replace(held: &mut Vec<Held>, id: Id, range: Range, new: Option<Held>) {
    let mut add: Vec<Held> = Vec::new();
    let mut merged = new;
    held.retain(|h| {
        if h.id != id {
            return true;
        }
        if let Some(m) = &mut merged
            && h.kind == m.kind
            && h.range.start <= m.range.end.saturating_add(1)
            && m.range.start <= h.range.end.saturating_add(1)
        {
            m.range.start = m.range.start.min(h.range.start);
            m.range.end = m.range.end.max(h.range.end);
            return false;
        }
        if !h.range.overlaps(range) {
            return true;
        }
        if h.range.start < range.start {
            add.push(Held { range: Range { start: h.range.start, end: range.start - 1 }, ..*h });
        }
        if h.range.end > range.end {
            add.push(Held { range: Range { start: range.end + 1, end: h.range.end }, ..*h });
        }
        false
    });
    held.extend(add);
    held.extend(merged);
}

impl FileLocks {
    fn unlock(&self, id: Id, range: Range) {
        replace(&mut self.held.lock(), id, range, None);
        self.changed.wake_all(PollEvents::empty());
    }

    fn drop_all(&self, mine: impl Fn(Id) -> bool) {
        let found = {
            let mut held = self.held.lock();
            let before = held.len();
            held.retain(|h| !mine(h.id));
            held.len() != before
        };
        if found {
            self.changed.wake_all(PollEvents::empty());
        }
    }

    /// A descriptor table closed a descriptor of this file: its POSIX locks go (fcntl(2)).
    pub(crate) fn release_process(&self, table: u64) {
        self.drop_all(|id| id == Id::Table(table));
    }

    /// An open file description ended.
    pub(crate) fn release_file(&self, file: u64) {
        self.drop_all(|id| id == Id::Ofd(file) || id == Id::Flock(file));
    }

    /// Tries once: Ok(None) taken, Ok(Some) who is in the way.
    fn try_take(&self, want: &Held) -> Result<Option<Held>> {
        let mut held = self.held.lock();
        if let Some(h) = held.iter().find(|h| h.conflicts(want)) {
            return Ok(Some(*h));
        }
        if held.len() >= MAX_LOCKS {
            return err(Errno::ENOLCK);
        }
        let had = held.iter().any(|h| h.id == want.id && h.range.overlaps(want.range));
        replace(&mut held, want.id, want.range, Some(*want));
        drop(held);
        if had {
            // A write lock may have become a read lock.
            self.changed.wake_all(PollEvents::empty());
        }
        Ok(None)
    }

    fn take(&self, want: &Held, wait: bool) -> Result<()> {
        let mut edge = None;
        let mut attempt = || match self.try_take(want) {
            Err(e) => Some(Err(e)),
            Ok(None) => Some(Ok(())),
            Ok(Some(_)) if !wait => Some(err(Errno::EAGAIN)),
            Ok(Some(blocker)) => {
                if let (Id::Table(me), Id::Table(other)) = (want.id, blocker.id) {
                    let mut graph = WAITING.lock();
                    graph.retain(|(w, _)| *w != me);
                    if waits_for(&graph, other, me) {
                        return Some(err(Errno::EDEADLK));
                    }
                    graph.push((me, other));
                    drop(graph); // an Edge's end takes it
                    edge.get_or_insert_with(|| Edge(me));
                }
                None
            }
        };
        match attempt() {
            Some(r) => r,
            None => self.changed.wait_until(Sleep::Interruptible, None, attempt)?,
        }
    }
}

fn locks_of(file: &File) -> Arc<FileLocks> {
    let inode = file.inode();
    if let Some(l) = inode.vfs.locks() {
        return l;
    }
    let l = inode.vfs.locks_or_new();
    let mut all = LOCKED.lock();
    all.retain(|(w, ..)| w.strong_count() > 0);
    all.push((Arc::downgrade(&l), inode.fs.dev().to_user(), inode.ino));
    l
}

/// flock(2); None unlocks. Changing the kind gives the old lock up first, as on Linux.
///
/// # Errors
/// EWOULDBLOCK without `wait`; ERESTARTSYS; ENOLCK.
pub fn flock(file: &Arc<File>, pid: u32, kind: Option<LockType>, wait: bool) -> Result<()> {
    let id = Id::Flock(file.id());
    let Some(kind) = kind else {
        if let Some(l) = file.inode().vfs.locks() {
            l.unlock(id, Range::ALL);
        }
        return Ok(());
    };
    let locks = locks_of(file);
    let want = Held { id, pid, kind, range: Range::ALL };
    let converts = locks.held.lock().iter().any(|h| h.id == id && h.kind != kind);
    if converts {
        locks.unlock(id, Range::ALL);
    }
    locks.take(&want, wait)
}

fn identity(file: &File, owner: Owner) -> (Id, u32) {
    match owner {
        Owner::Process { table, pid } => (Id::Table(table), pid),
        Owner::File => (Id::Ofd(file.id()), 0),
    }
}

/// fcntl(2) F_SETLK, F_SETLKW (`wait`), F_OFD_SETLK, F_OFD_SETLKW; None unlocks.
///
/// # Errors
/// EAGAIN without `wait`; EDEADLK; ERESTARTSYS; ENOLCK; EBADF if the access mode does not allow
/// that kind of lock.
pub fn set(
    file: &Arc<File>,
    owner: Owner,
    kind: Option<LockType>,
    range: Range,
    wait: bool,
) -> Result<()> {
    let (id, pid) = identity(file, owner);
    match kind {
        None => {
            if let Some(l) = file.inode().vfs.locks() {
                l.unlock(id, range);
            }
            Ok(())
        }
        Some(LockType::Read) if !file.flags().readable() => err(Errno::EBADF),
        Some(LockType::Write) if !file.flags().writable() => err(Errno::EBADF),
        Some(kind) => locks_of(file).take(&Held { id, pid, kind, range }, wait),
    }
}

/// F_GETLK, F_OFD_GETLK: the first lock that would be in the way.
///
/// # Errors
/// None now; the signature leaves room for file systems with locks of their own.
pub fn get(
    file: &Arc<File>,
    owner: Owner,
    kind: LockType,
    range: Range,
) -> Result<Option<Conflict>> {
    let (id, pid) = identity(file, owner);
    let Some(locks) = file.inode().vfs.locks() else { return Ok(None) };
    let want = Held { id, pid, kind, range };
    let held = locks.held.lock();
    Ok(held.iter().filter(|h| h.conflicts(&want)).min_by_key(|h| h.range.start).map(|h| {
        let pid = if matches!(h.id, Id::Ofd(_)) { -1 } else { h.pid as i32 };
        Conflict { kind: h.kind, range: h.range, pid }
    }))
}

/// The lines of /proc/locks.
pub fn list(_vfs: &Vfs) -> String {
    let all: Vec<_> = LOCKED.lock().clone();
    let mut out = String::new();
    let mut n = 0;
    for (locks, dev, ino) in all {
        let Some(locks) = locks.upgrade() else { continue };
        let held = locks.held.lock().clone();
        for h in held {
            n += 1;
            let (class, pid) = match h.id {
                Id::Table(_) => ("POSIX ", i64::from(h.pid)),
                Id::Ofd(_) => ("OFDLCK", -1),
                Id::Flock(_) => ("FLOCK ", i64::from(h.pid)),
            };
            let kind = if h.kind == LockType::Read { "READ " } else { "WRITE" };
            let end = match h.range.end {
                Range::EOF => "EOF".to_owned(),
                e => e.to_string(),
            };
            let d = drivers::DevNum::from_user(dev);
            // Writing to a string cannot fail.
            let _ = writeln!(
                out,
                "{n}: {class} ADVISORY  {kind} {pid} {:02x}:{:02x}:{ino} {} {end}",
                d.major, d.minor, h.range.start
            );
        }
    }
    out
}
