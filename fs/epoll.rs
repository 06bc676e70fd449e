//! epoll(7): waiting for many files at a cost that does not depend on how many.
//!
//! An [`Epoll`] has an *interest list* of items, one for each (descriptor number, open file) pair, and a
//! *ready list*. An item is the [`Wake`] that sits in its file's wait queues: when the file says that
//! something happened, the item appends itself to the ready list and wakes one waiter. [`Epoll::wait`] takes
//! items from the ready list, asks each file what is really ready, and reports it; a level-triggered item
//! that was reported goes back to the end of the list and is asked again by the next call.
//!
//! ```text
//! pipe write -> WaitQueue.wake -> Item::wake -> ready list -> wake one in epoll_wait
//!     (queue's spin lock held)       (rank EpollReady)    (nested queue lock)
//! ```
//!
//! Locks: `items` (sleeping) orders ctl and wait; the ready list is a spin lock of rank `EpollReady`,
//! below the wait queue whose lock the waking file holds. Waking our own queue from there nests one
//! queue's lock in another's: safe because epolls that watch epolls form a graph without cycles, which
//! [`Epoll::ctl`] checks, at most [`base::limits::EPOLL_DEPTH`] deep.
//!
//! Lifetime: an item knows its file weakly. A file that is gone drops out when the item is next
//! looked at (by wait, by ctl on the same descriptor, or by the sweep that ctl does when the list has doubled), and a
//! weak reference keeps its address from being used again, so that (descriptor, address) is a sound key.
//!
//! In the steady state a write, an epoll_wait and a read allocate nothing.

use std::any::Any;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use base::limits::EPOLL_DEPTH;
use base::{
    Errno, Instant, Mutex, PollEvents, PollTable, Rank, Result, Sleep, SpinLock, WaitQueue, Wake,
    err,
};
use hashbrown::HashMap;

use crate::file::{File, FileOps};

/// EPOLLEXCLUSIVE: wake one of the epolls that watch the file.
pub const EPOLLEXCLUSIVE: u32 = 1 << 28;
/// EPOLLWAKEUP: keep the system awake; accepted, there is nothing to keep awake.
pub const EPOLLWAKEUP: u32 = 1 << 29;
/// EPOLLONESHOT: report once, then sleep until EPOLL_CTL_MOD.
pub const EPOLLONESHOT: u32 = 1 << 30;
/// EPOLLET: report changes, not states.
pub const EPOLLET: u32 = 1 << 31;

const PRIVATE: u32 = EPOLLEXCLUSIVE | EPOLLWAKEUP | EPOLLONESHOT | EPOLLET;
const ALWAYS: u32 = PollEvents::ERR.bits() | PollEvents::HUP.bits();
/// What may stand beside EPOLLEXCLUSIVE.
const EXCLUSIVE_OK: u32 = PollEvents::IN.bits()
    | PollEvents::OUT.bits()
    | ALWAYS
    | EPOLLWAKEUP
    | EPOLLET
    | EPOLLEXCLUSIVE;
/// Items of one instance.
const MAX_ITEMS: usize = 1 << 20;

/// `struct epoll_event`: packed on x86-64, 12 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct EpollEvent {
    /// EPOLL* bits.
    pub events: u32,
    /// What the caller wants to get back.
    pub data: u64,
}

impl EpollEvent {
    /// Bytes in user memory.
    pub const SIZE: usize = 12;
    /// As in user memory.
    pub fn to_bytes(self) -> [u8; Self::SIZE] {
        let mut b = [0; Self::SIZE];
        b[..4].copy_from_slice(&self.events.to_ne_bytes());
        b[4..].copy_from_slice(&self.data.to_ne_bytes());
        b
    }
    /// From user memory.
    pub fn from_bytes(b: [u8; Self::SIZE]) -> EpollEvent {
        let [e0, e1, e2, e3, data @ ..] = b;
        EpollEvent { events: u32::from_ne_bytes([e0, e1, e2, e3]), data: u64::from_ne_bytes(data) }
    }
}

/// What epoll_ctl(2) does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EpollOp {
    /// EPOLL_CTL_ADD (1).
    Add,
    /// EPOLL_CTL_DEL (2).
    Del,
    /// EPOLL_CTL_MOD (3).
    Mod,
}

impl EpollOp {
    /// From the number; None is EINVAL.
    pub fn from_number(op: i32) -> Option<EpollOp> {
        match op {
            1 => Some(EpollOp::Add),
            2 => Some(EpollOp::Del),
            3 => Some(EpollOp::Mod),
            _ => None,
        }
    }
}

/// What items share with their epoll: they reach it without owning it.
struct Shared {
    ready: SpinLock<VecDeque<Arc<Item>>>,
    queue: Arc<WaitQueue>,
}

/// One watched file.
struct Item {
    me: Weak<Item>,
    shared: Arc<Shared>,
    file: Weak<File>,
    fd: i32,
    /// EPOLL* bits; none but the private ones while a oneshot item sleeps.
    events: AtomicU32,
    data: AtomicU64,
    /// Whether it is in the ready list.
    queued: AtomicBool,
}

impl Item {
    fn interest(&self) -> u32 {
        self.events.load(Ordering::Relaxed)
    }
    fn armed(&self) -> bool {
        self.interest() & !PRIVATE != 0
    }

    fn enqueue(&self) -> bool {
        if self.queued.swap(true, Ordering::AcqRel) {
            return false;
        }
        match self.me.upgrade() {
            Some(me) => self.shared.ready.lock().push_back(me),
            None => return false,
        }
        true
    }

    /// What of the interest is ready.
    fn poll(&self, file: &File, table: Option<&mut PollTable>) -> u32 {
        let have = file.ops.poll(file, table).bits();
        if self.armed() { have & ((self.interest() & !PRIVATE) | ALWAYS) } else { 0 }
    }
}

impl Wake for Item {
    fn wake(&self, events: PollEvents) {
        if !self.armed() {
            return;
        }
        // An empty mask says nothing about what happened.
        let hint = events & PollEvents::SYNC;
        let events = events - hint;
        if !events.is_empty() && events.bits() & (self.interest() | ALWAYS) == 0 {
            return;
        }
        // Also when it was queued already: the one who waits may have looked and gone to sleep.
        self.enqueue();
        self.shared.queue.wake_one_nested(PollEvents::IN | hint);
    }
}

/// The item in the interest list, with its registrations. Dropped, they are taken back.
struct Entry {
    item: Arc<Item>,
    _table: PollTable,
}

#[derive(Default)]
struct Items {
    map: HashMap<(i32, usize), Entry>,
    /// Sweep for dead files when the map has grown to this.
    sweep_at: usize,
}

/// An epoll instance.
pub struct Epoll {
    shared: Arc<Shared>,
    items: Mutex<Items>,
    /// Those that watch this one: for the depth check.
    parents: SpinLock<Vec<Weak<Epoll>>>,
    me: Weak<Epoll>,
}

impl std::fmt::Debug for Epoll {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Epoll")
    }
}

/// Orders the additions of epolls to epolls, so that two of them cannot close a loop together.
static NESTING: Mutex<()> = Mutex::new(());

fn key(fd: i32, file: &Arc<File>) -> (i32, usize) {
    (fd, Arc::as_ptr(file).addr())
}

impl Epoll {
    /// An empty instance.
    pub fn new() -> Arc<Epoll> {
        Arc::new_cyclic(|me| Epoll {
            shared: Arc::new(Shared {
                ready: SpinLock::new(Rank::EpollReady, VecDeque::new()),
                queue: Arc::new(WaitQueue::new()),
            }),
            items: Mutex::new(Items::default()),
            parents: SpinLock::new(Rank::File, Vec::new()),
            me: me.clone(),
        })
    }

    /// epoll_ctl(2) for descriptor `fd`, which is `file`. `event` is not looked at by `Del`.
    ///
    /// # Errors
    /// EPERM if the file cannot be polled; EINVAL for this epoll itself and for bad uses of EPOLLEXCLUSIVE;
    /// EEXIST, ENOENT; ELOOP if epolls would watch each other in a circle or too deep; ENOSPC. (EBADF is the
    /// caller's, who looks up both descriptors.)
    pub fn ctl(&self, op: EpollOp, fd: i32, file: &Arc<File>, event: EpollEvent) -> Result<()> {
        if !file.ops.pollable() {
            return err(Errno::EPERM);
        }
        let target = file.ops_as::<Epoll>();
        if target.is_some_and(|t| std::ptr::eq(t, self)) {
            return err(Errno::EINVAL);
        }
        if op != EpollOp::Del && event.events & EPOLLEXCLUSIVE != 0 {
            let bad = event.events & !EXCLUSIVE_OK != 0;
            if op == EpollOp::Mod || target.is_some() || bad {
                return err(Errno::EINVAL);
            }
        }
        match op {
            EpollOp::Add => match target {
                Some(t) => {
                    let _order = NESTING.lock();
                    self.check_nesting(t)?;
                    self.add(fd, file, event)?;
                    t.parents.lock().push(self.me.clone());
                    Ok(())
                }
                None => self.add(fd, file, event),
            },
            EpollOp::Del => self.remove(fd, file, target),
            EpollOp::Mod => self.modify(fd, file, event),
        }
    }

    fn add(&self, fd: i32, file: &Arc<File>, event: EpollEvent) -> Result<()> {
        let mut items = self.items.lock();
        if items.map.contains_key(&key(fd, file)) {
            return err(Errno::EEXIST);
        }
        if items.map.len() >= items.sweep_at.max(16) {
            self.sweep(&mut items);
        }
        if items.map.len() >= MAX_ITEMS {
            return err(Errno::ENOSPC);
        }
        let item = Arc::new_cyclic(|me| Item {
            me: me.clone(),
            shared: self.shared.clone(),
            file: Arc::downgrade(file),
            fd,
            events: AtomicU32::new(event.events | ALWAYS),
            data: AtomicU64::new(event.data),
            queued: AtomicBool::new(false),
        });
        let mut table = if event.events & EPOLLEXCLUSIVE != 0 {
            PollTable::exclusive(item.clone())
        } else {
            PollTable::new(item.clone())
        };
        let ready = item.poll(file, Some(&mut table)) != 0;
        items.map.insert(key(fd, file), Entry { item: item.clone(), _table: table });
        drop(items);
        if ready && item.enqueue() {
            self.shared.queue.wake_one(PollEvents::IN);
        }
        Ok(())
    }

    fn modify(&self, fd: i32, file: &Arc<File>, event: EpollEvent) -> Result<()> {
        let items = self.items.lock();
        let Some(entry) = items.map.get(&key(fd, file)) else { return err(Errno::ENOENT) };
        let item = &entry.item;
        if item.interest() & EPOLLEXCLUSIVE != 0 {
            return err(Errno::EINVAL);
        }
        item.data.store(event.data, Ordering::Relaxed);
        item.events.store(event.events | ALWAYS, Ordering::SeqCst);
        if item.poll(file, None) != 0 && item.enqueue() {
            self.shared.queue.wake_one(PollEvents::IN);
        }
        Ok(())
    }

    fn remove(&self, fd: i32, file: &Arc<File>, target: Option<&Epoll>) -> Result<()> {
        let gone = self.items.lock().map.remove(&key(fd, file));
        let Some(entry) = gone else { return err(Errno::ENOENT) };
        self.forget(&entry.item);
        if let Some(t) = target {
            let mut parents = t.parents.lock();
            if let Some(i) = parents.iter().position(|p| p.ptr_eq(&self.me)) {
                parents.swap_remove(i);
            }
        }
        Ok(())
    }

    /// Takes an item that has left the interest list out of the ready list.
    fn forget(&self, item: &Arc<Item>) {
        // Nothing that wakes it from now on may queue it.
        item.events.store(0, Ordering::SeqCst);
        if item.queued.load(Ordering::Acquire) {
            let mut ready = self.shared.ready.lock();
            if let Some(i) = ready.iter().position(|x| Arc::ptr_eq(x, item)) {
                let gone = ready.remove(i);
                drop(ready);
                drop(gone);
            }
        }
    }

    /// Drops the items of files that are gone.
    fn sweep(&self, items: &mut Items) {
        items.map.retain(|_, e| {
            let alive = e.item.file.strong_count() != 0;
            if !alive {
                self.forget(&e.item);
            }
            alive
        });
        items.sweep_at = items.map.len() * 2;
    }

    fn drop_item(&self, items: &mut Items, item: &Arc<Item>) {
        let key = (item.fd, item.file.as_ptr().addr());
        if items.map.get(&key).is_some_and(|e| Arc::ptr_eq(&e.item, item)) {
            items.map.remove(&key);
        }
        item.events.store(0, Ordering::SeqCst);
    }

    /// epoll_wait(2): reports up to `max` events through `emit`, waiting until `deadline` (None: for
    /// ever; in the past: not at all) for the first. If `emit` fails (EFAULT) the event stays for the next
    /// call, and what was emitted before is the result. 0 means that time was up.
    ///
    /// # Errors
    /// EINVAL if `max` is 0; EINTR after a signal, which epoll_wait never restarts; what `emit` says.
    pub fn wait(
        &self,
        max: usize,
        deadline: Option<Instant>,
        emit: &mut dyn FnMut(EpollEvent) -> Result<()>,
    ) -> Result<usize> {
        if max == 0 {
            return err(Errno::EINVAL);
        }
        let mut scan = || match self.collect(max, emit) {
            Ok(0) => None,
            other => Some(other),
        };
        if let Some(r) = scan() {
            return r;
        }
        if deadline == Some(Instant(0)) {
            return Ok(0);
        }
        match self.shared.queue.wait_exclusive(Sleep::Interruptible, deadline, scan) {
            Ok(r) => r,
            Err(e) if e.errno() == Errno::ETIMEDOUT => Ok(0),
            Err(e) if e.errno() == Errno::ERESTARTSYS => err(Errno::EINTR),
            Err(e) => Err(e),
        }
    }

    fn collect(&self, max: usize, emit: &mut dyn FnMut(EpollEvent) -> Result<()>) -> Result<usize> {
        if self.shared.ready.lock().is_empty() {
            return Ok(0);
        }
        let mut items = self.items.lock();
        // Items that go back to the end are not looked at again in this call.
        let mut left = self.shared.ready.lock().len();
        let mut done = 0;
        while left > 0 && done < max {
            left -= 1;
            let Some(item) = self.shared.ready.lock().pop_front() else { break };
            // Before the file is asked: what happens from here on queues it again.
            item.queued.store(false, Ordering::SeqCst);
            let Some(file) = item.file.upgrade() else {
                self.drop_item(&mut items, &item);
                continue;
            };
            let ready = item.poll(&file, None);
            if ready == 0 {
                continue;
            }
            let event = EpollEvent { events: ready, data: item.data.load(Ordering::Relaxed) };
            if let Err(e) = emit(event) {
                if !item.queued.swap(true, Ordering::AcqRel) {
                    self.shared.ready.lock().push_front(item);
                }
                return if done > 0 { Ok(done) } else { Err(e) };
            }
            done += 1;
            let interest = item.interest();
            if interest & EPOLLONESHOT != 0 {
                item.events.store(interest & PRIVATE, Ordering::SeqCst);
            } else if interest & EPOLLET == 0 && !item.queued.swap(true, Ordering::AcqRel) {
                self.shared.ready.lock().push_back(item);
            }
        }
        drop(items);
        // More is there than this caller takes: the next one may come.
        if done == max && !self.shared.ready.lock().is_empty() {
            self.shared.queue.wake_one(PollEvents::IN);
        }
        Ok(done)
    }

    /// Whether any item is ready; drops those from the ready list that are not.
    fn any_ready(&self) -> bool {
        let mut items = self.items.lock();
        let n = self.shared.ready.lock().len();
        for _ in 0..n {
            let Some(item) = self.shared.ready.lock().pop_front() else { break };
            item.queued.store(false, Ordering::SeqCst);
            let Some(file) = item.file.upgrade() else {
                self.drop_item(&mut items, &item);
                continue;
            };
            if item.poll(&file, None) != 0 {
                if !item.queued.swap(true, Ordering::AcqRel) {
                    self.shared.ready.lock().push_front(item);
                }
                return true;
            }
        }
        false
    }

    /// ELOOP if watching `target` closed a circle, or made a chain of more than EPOLL_DEPTH epolls.
    fn check_nesting(&self, target: &Epoll) -> Result<()> {
        let below = target.depth_below(self, EPOLL_DEPTH)?;
        if below + self.depth_above(EPOLL_DEPTH) > EPOLL_DEPTH {
            return err(Errno::ELOOP);
        }
        Ok(())
    }

    /// The longest chain of epolls from here down, itself counted.
    fn depth_below(&self, never: &Epoll, left: usize) -> Result<usize> {
        if std::ptr::eq(self, never) || left == 0 {
            return err(Errno::ELOOP);
        }
        // The list is copied: no lock is held while the next one's is taken.
        let files: Vec<_> =
            self.items.lock().map.values().filter_map(|e| e.item.file.upgrade()).collect();
        let mut deepest = 0;
        for f in &files {
            if let Some(e) = f.ops_as::<Epoll>() {
                deepest = deepest.max(e.depth_below(never, left - 1)?);
            }
        }
        Ok(deepest + 1)
    }

    /// The longest chain of epolls from here up, itself counted.
    fn depth_above(&self, left: usize) -> usize {
        if left == 0 {
            return 1;
        }
        let parents: Vec<_> = {
            let mut p = self.parents.lock();
            p.retain(|w| w.strong_count() != 0);
            p.iter().filter_map(Weak::upgrade).collect()
        };
        1 + parents.iter().map(|p| p.depth_above(left - 1)).max().unwrap_or(0)
    }
}

impl FileOps for Epoll {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn poll(&self, _file: &File, table: Option<&mut PollTable>) -> PollEvents {
        if let Some(t) = table {
            t.register(&self.shared.queue);
        }
        if self.any_ready() { PollEvents::IN | PollEvents::RDNORM } else { PollEvents::empty() }
    }

    fn release(&self, _file: &File) {
        // Items hold the ready list and the ready list holds items: cut the ring.
        let map = std::mem::take(&mut self.items.lock().map);
        let ready = std::mem::take(&mut *self.shared.ready.lock());
        for e in map.values() {
            e.item.events.store(0, Ordering::SeqCst);
        }
        drop(map);
        drop(ready);
        // Whatever slipped in between the two.
        let late = std::mem::take(&mut *self.shared.ready.lock());
        drop(late);
    }

    fn fdinfo(&self, _file: &File) -> String {
        let items = self.items.lock();
        let mut list: Vec<_> = items
            .map
            .values()
            .filter_map(|e| e.item.file.upgrade().map(|f| (e.item.clone(), f)))
            .collect();
        list.sort_by_key(|(i, _)| i.fd);
        let mut out = String::new();
        for (i, f) in list {
            let inode = f.path.inode();
            let (ino, dev) = (inode.ino, inode.fs.dev().to_user());
            out.push_str(&format!(
                "tfd: {:8} events: {:8x} data: {:16x}  pos:{} ino:{ino:x} sdev:{dev:x}\n",
                i.fd,
                i.interest(),
                i.data.load(Ordering::Relaxed),
                f.pos.try_lock().map_or(0, |p| *p),
            ));
        }
        out
    }

    fn anon_name(&self) -> String {
        "anon_inode:[eventpoll]".into()
    }
}
