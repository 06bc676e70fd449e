//! inotify(7): hearing of what happens to files.
//!
//! A watch sits as a [`Notify`] in the watcher list of its inode (`VfsInode`) and copies events that its
//! mask asks for into the queue of its instance. The VFS reports an event on a file twice: to the
//! file's own watchers, and with the name to those of the directory it was reached through.
//!
//! One convention beyond inotify(7): in a report with a name, the bit [`IN_EXCL_UNLINK`] says that the
//! entry is unlinked already; watches with that flag skip it.
//!
//! Locks: one spin lock (rank `File`) an instance, around watches and events. A watch holds its inode and
//! the inode its watch; rm_watch, IN_IGNORED and closing the instance cut that ring.

use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};

use base::limits::MAX_INOTIFY_WATCHES;
use base::{
    Errno, PollEvents, PollTable, Rank, Result, Sink, Sleep, SpinLock, UserAddr, WaitQueue, err,
};

use crate::file::{Caller, File, FileOps};
use crate::inode::{FileType, Inode};
use crate::vfs_inode::{Notify, event};

/// All that can be asked for.
pub const IN_ALL_EVENTS: u32 = 0xfff;
/// The queue was full.
pub const IN_Q_OVERFLOW: u32 = 0x4000;
/// The watch is gone.
pub const IN_IGNORED: u32 = 0x8000;
/// Only directories.
pub const IN_ONLYDIR: u32 = 0x0100_0000;
/// Do not follow a symbolic link (the caller's business).
pub const IN_DONT_FOLLOW: u32 = 0x0200_0000;
/// No events for entries that are unlinked.
pub const IN_EXCL_UNLINK: u32 = 0x0400_0000;
/// Fail if there is a watch.
pub const IN_MASK_CREATE: u32 = 0x1000_0000;
/// Add to the mask of a watch.
pub const IN_MASK_ADD: u32 = 0x2000_0000;
/// One event only.
pub const IN_ONESHOT: u32 = 0x8000_0000;

/// `fs.inotify.max_queued_events`.
pub const MAX_QUEUED_EVENTS: usize = 16384;
/// `fs.inotify.max_user_instances`.
pub const MAX_INSTANCES: usize = 128;

const FIONREAD: u32 = 0x541b;
const HEADER: usize = 16;

#[derive(Clone, PartialEq, Eq, Debug)]
struct Event {
    wd: i32,
    mask: u32,
    cookie: u32,
    name: Option<Box<[u8]>>,
}

impl Event {
    /// `len` of `struct inotify_event`: the name with at least one NUL, in multiples of 16.
    fn name_len(&self) -> usize {
        self.name.as_ref().map_or(0, |n| (n.len() + 1).next_multiple_of(HEADER))
    }
    fn size(&self) -> usize {
        HEADER + self.name_len()
    }
    fn to_bytes(&self) -> Vec<u8> {
        let mut b = Vec::with_capacity(self.size());
        b.extend_from_slice(&self.wd.to_ne_bytes());
        b.extend_from_slice(&self.mask.to_ne_bytes());
        b.extend_from_slice(&self.cookie.to_ne_bytes());
        b.extend_from_slice(&(self.name_len() as u32).to_ne_bytes());
        b.extend_from_slice(self.name.as_deref().unwrap_or_default());
        b.resize(self.size(), 0);
        b
    }
}

struct Watch {
    wd: i32,
    mask: AtomicU32,
    inode: Arc<Inode>,
    owner: Weak<Inotify>,
}

#[derive(Default)]
struct State {
    events: VecDeque<Event>,
    watches: BTreeMap<i32, Arc<Watch>>,
    last_wd: i32,
}

/// An inotify instance.
pub struct Inotify {
    me: Weak<Inotify>,
    state: SpinLock<State>,
    queue: Arc<WaitQueue>,
}

impl std::fmt::Debug for Inotify {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Inotify({} watches)", self.state.lock().watches.len())
    }
}

impl Inotify {
    /// An instance without watches.
    pub fn new() -> Arc<Inotify> {
        Arc::new_cyclic(|me| Inotify {
            me: me.clone(),
            state: SpinLock::new(Rank::File, State::default()),
            queue: Arc::new(WaitQueue::new()),
        })
    }

    /// inotify_add_watch(2): watches `inode`, or changes the mask of its watch. The caller has looked up
    /// the path (with IN_DONT_FOLLOW and IN_ONLYDIR in mind) and checked that it may be read.
    ///
    /// # Errors
    /// EINVAL for a mask without events or with both IN_MASK_ADD and IN_MASK_CREATE; EEXIST with
    /// IN_MASK_CREATE; ENOTDIR with IN_ONLYDIR; ENOSPC if there are too many watches.
    pub fn add_watch(&self, inode: &Arc<Inode>, mask: u32) -> Result<i32> {
        if mask & IN_ALL_EVENTS == 0 || mask & IN_MASK_ADD != 0 && mask & IN_MASK_CREATE != 0 {
            return err(Errno::EINVAL);
        }
        if mask & IN_ONLYDIR != 0 && inode.kind != FileType::Directory {
            return err(Errno::ENOTDIR);
        }
        let keep = mask & (IN_ALL_EVENTS | IN_EXCL_UNLINK | IN_ONESHOT);
        let mut s = self.state.lock();
        if let Some(w) = s.watches.values().find(|w| Arc::ptr_eq(&w.inode, inode)) {
            if mask & IN_MASK_CREATE != 0 {
                return err(Errno::EEXIST);
            }
            if mask & IN_MASK_ADD != 0 {
                w.mask.fetch_or(keep, Ordering::Relaxed);
            } else {
                w.mask.store(keep, Ordering::Relaxed);
            }
            return Ok(w.wd);
        }
        if s.watches.len() >= MAX_INOTIFY_WATCHES {
            return err(Errno::ENOSPC);
        }
        let wd = loop {
            s.last_wd = s.last_wd.checked_add(1).unwrap_or(1);
            if !s.watches.contains_key(&s.last_wd) {
                break s.last_wd;
            }
        };
        let watch = Arc::new(Watch {
            wd,
            mask: AtomicU32::new(keep),
            inode: inode.clone(),
            owner: self.me.clone(),
        });
        s.watches.insert(wd, watch.clone());
        drop(s);
        inode.vfs.watch(watch);
        Ok(wd)
    }

    /// inotify_rm_watch(2).
    ///
    /// # Errors
    /// EINVAL if there is no such watch.
    pub fn rm_watch(&self, wd: i32) -> Result<()> {
        if self.drop_watch(wd) { Ok(()) } else { err(Errno::EINVAL) }
    }

    /// Takes a watch away and says so in the queue.
    fn drop_watch(&self, wd: i32) -> bool {
        let Some(watch) = self.state.lock().watches.remove(&wd) else { return false };
        let as_notify: Arc<dyn Notify> = watch.clone();
        watch.inode.vfs.unwatch(&as_notify);
        self.push(Event { wd, mask: IN_IGNORED, cookie: 0, name: None });
        true
    }

    fn push(&self, e: Event) {
        let mut s = self.state.lock();
        if s.events.back() == Some(&e) {
            return; // equal to the one before it: the reader learns nothing new
        }
        if s.events.len() >= MAX_QUEUED_EVENTS {
            let full = Event { wd: -1, mask: IN_Q_OVERFLOW, cookie: 0, name: None };
            if s.events.back() == Some(&full) {
                return;
            }
            s.events.push_back(full);
        } else {
            s.events.push_back(e);
        }
        drop(s);
        self.queue.wake_all(PollEvents::IN | PollEvents::RDNORM);
    }

    /// The next event, if it fits into `room` bytes.
    fn pop(&self, room: usize) -> Option<Result<Event>> {
        let mut s = self.state.lock();
        let size = s.events.front()?.size();
        if size > room {
            return Some(err(Errno::EINVAL));
        }
        s.events.pop_front().map(Ok)
    }
}

impl Notify for Watch {
    fn notify(&self, mask: u32, cookie: u32, name: Option<&[u8]>) {
        let Some(owner) = self.owner.upgrade() else { return };
        let want = self.mask.load(Ordering::Relaxed);
        if want & IN_EXCL_UNLINK != 0 && mask & IN_EXCL_UNLINK != 0 && name.is_some() {
            return;
        }
        let mask = mask & !IN_EXCL_UNLINK;
        let what = mask & (IN_ALL_EVENTS | event::UNMOUNT);
        if what & (want | event::UNMOUNT) == 0 {
            // Even unasked for, the end of the inode ends the watch.
            if what & event::DELETE_SELF != 0 && name.is_none() {
                owner.drop_watch(self.wd);
            }
            return;
        }
        if want & IN_ONESHOT != 0 && self.mask.swap(0, Ordering::AcqRel) & IN_ALL_EVENTS == 0 {
            return; // another event was the one
        }
        owner.push(Event { wd: self.wd, mask, cookie, name: name.map(Box::from) });
        let over = what & (event::DELETE_SELF | event::UNMOUNT) != 0 && name.is_none();
        if over || want & IN_ONESHOT != 0 {
            owner.drop_watch(self.wd);
        }
    }
}

impl FileOps for Inotify {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, file: &File, _offset: u64, sink: &mut dyn Sink) -> Result<usize> {
        let room = sink.remaining();
        let first = match self.pop(room) {
            Some(e) => e,
            None if file.nonblock() => return err(Errno::EAGAIN),
            None => self.queue.wait_until(Sleep::Interruptible, None, || self.pop(room))?,
        }?;
        let mut done = sink.write(&first.to_bytes())?;
        while let Some(Ok(e)) = self.pop(sink.remaining()) {
            done += sink.write(&e.to_bytes())?;
        }
        Ok(done)
    }

    fn poll(&self, _file: &File, table: Option<&mut PollTable>) -> PollEvents {
        if let Some(t) = table {
            t.register(&self.queue);
        }
        if self.state.lock().events.is_empty() {
            PollEvents::empty()
        } else {
            PollEvents::IN | PollEvents::RDNORM
        }
    }

    fn ioctl(&self, _file: &File, cmd: u32, arg: UserAddr, who: &dyn Caller) -> Result<i64> {
        if cmd != FIONREAD {
            return err(Errno::ENOTTY);
        }
        let n: usize = self.state.lock().events.iter().map(Event::size).sum();
        who.memory().write(arg, &(n as u32).to_ne_bytes())?;
        Ok(0)
    }

    fn release(&self, _file: &File) {
        let watches = std::mem::take(&mut self.state.lock().watches);
        for (_, w) in watches {
            let as_notify: Arc<dyn Notify> = w.clone();
            w.inode.vfs.unwatch(&as_notify);
        }
    }

    fn fdinfo(&self, _file: &File) -> String {
        let s = self.state.lock();
        let mut out = String::new();
        for w in s.watches.values() {
            let (ino, dev) = (w.inode.ino, w.inode.fs.dev().to_user());
            let mask = w.mask.load(Ordering::Relaxed);
            out.push_str(&format!(
                "inotify wd:{:x} ino:{ino:x} sdev:{dev:x} mask:{mask:x} ignored_mask:0 \n",
                w.wd
            ));
        }
        out
    }

    fn anon_name(&self) -> String {
        "anon_inode:inotify".into()
    }
}
