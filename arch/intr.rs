//! Device interrupts: one host thread that waits for host descriptors and host signals and calls
//! back.
//!
//! It sleeps in epoll. Every watch is one-shot: after its callback ran it says nothing more until
//! [`rearm`], so that a terminal whose input nobody takes yet does not make the thread spin.
//! What epoll does not take (regular files and /dev/null as standard input) is always ready: its
//! callback runs as soon as it is armed. Host signals arrive through a signalfd, blocked in
//! every thread ([`block_signals`] is the first thing in main), so no handler interrupts anything.
//!
//! Callbacks run on the device thread, one at a time. They must be short: take the bytes, set a
//! pending bit, wake a queue. They may call [`rearm`], [`watch`] and [`unwatch`].
//!
//! Lock: the table of watches is a leaf, never held over a callback. A watch's own `running` lock
//! is held over its callback, so that [`unwatch`] returns only when the callback cannot run any more.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{JoinHandle, ThreadId};

use base::{Errno, Result, err};
use bitflags::bitflags;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal};

use crate::cpu;
use crate::hosterr::{cvt, host_error};
use crate::hoststream::Endpoint;
use crate::hosttty;

bitflags! {
    /// What an endpoint is ready for. HANGUP is always watched, and the flags are hints: the
    /// read or write that follows says what is true.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct Ready: u32 {
        /// A read will not find nothing (end of file and errors included).
        const IN = 1;
        /// A write will take something.
        const OUT = 2;
        /// The other side is gone.
        const HANGUP = 4;
    }
}

/// A watch, for [`rearm`] and [`unwatch`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct WatchId(u64);

/// What a watch calls.
pub type Callback = Box<dyn Fn(Ready) + Send + Sync>;

/// The host signals that reach the kernel as calls.
const SIGNALS: [Signal; 7] = [
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGWINCH,
    Signal::SIGTSTP,
    Signal::SIGCONT,
];

const KICK: u64 = 0;
const SIGNALFD: u64 = 1;
const FIRST_WATCH: u64 = 2;

struct Watch {
    endpoint: Arc<dyn Endpoint>,
    callback: Callback,
    /// What it waits for; taken away bit by bit as it fires.
    armed: Mutex<Ready>,
    /// Held while the callback runs.
    running: Mutex<()>,
    gone: AtomicBool,
    /// Not for epoll: always ready.
    always: bool,
}

type SignalCallback = Arc<dyn Fn() + Send + Sync>;

struct Device {
    epoll: Epoll,
    kick: EventFd,
    watches: Mutex<BTreeMap<u64, Arc<Watch>>>,
    /// Always-ready watches that have been armed.
    ready: Mutex<VecDeque<u64>>,
    signals: Mutex<BTreeMap<i32, SignalCallback>>,
    next: AtomicU64,
    stop: AtomicBool,
    thread: Mutex<Option<JoinHandle<()>>>,
    thread_id: OnceLock<ThreadId>,
}

/// The device thread is one per process, as signals are; hence a static.
static DEVICE: OnceLock<Device> = OnceLock::new();
static STARTING: Mutex<()> = Mutex::new(());

/// A callback that panicked ends the kernel anyhow.
fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The signals among [`SIGNALS`] that are for us: what our parent ignores (nohup) stays ignored.
fn our_signals() -> SigSet {
    let mut set = SigSet::empty();
    for s in SIGNALS {
        // SAFETY: only asks; the structure is written by the host before it is read.
        let ignored = unsafe {
            let mut old: libc::sigaction = std::mem::zeroed();
            libc::sigaction(s as i32, std::ptr::null(), &mut old) == 0
                && old.sa_sigaction == libc::SIG_IGN
        };
        if !ignored {
            set.add(s);
        }
    }
    set
}

/// Blocks the signals that the device thread takes, and ignores SIGPIPE and SIGXFSZ: the calls say
/// EPIPE and EFBIG as well. Must run before any
/// other thread is started, because threads inherit the mask. (So do host processes: a stub
/// must empty its mask.)
///
/// # Errors
/// Never in practice.
pub fn block_signals() -> Result<()> {
    let ignore = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
    // SAFETY: no handler is installed.
    unsafe {
        nix::sys::signal::sigaction(Signal::SIGPIPE, &ignore).map_err(|e| host_error(e))?;
        nix::sys::signal::sigaction(Signal::SIGXFSZ, &ignore).map_err(|e| host_error(e))?;
    }
    nix::sys::signal::pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&our_signals()), None)
        .map_err(|e| host_error(e))
}

/// The device thread, started by its first user.
fn device() -> Result<&'static Device> {
    if let Some(d) = DEVICE.get() {
        return Ok(d);
    }
    let _one = lock(&STARTING);
    if let Some(d) = DEVICE.get() {
        return Ok(d);
    }
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(|e| host_error(e))?;
    let kick = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
        .map_err(|e| host_error(e))?;
    epoll.add(&kick, EpollEvent::new(EpollFlags::EPOLLIN, KICK)).map_err(|e| host_error(e))?;
    // Only what this thread has blocked: a test program that never called `block_signals` keeps
    // its ^C.
    let blocked = SigSet::thread_get_mask().map_err(|e| host_error(e))?;
    let mut set = SigSet::empty();
    for s in SIGNALS.into_iter().filter(|s| blocked.contains(*s)) {
        set.add(s);
    }
    // SAFETY: reads the set and makes a new descriptor.
    let fd =
        cvt(unsafe { libc::signalfd(-1, set.as_ref(), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) })?;
    // SAFETY: just made, and nobody else owns it.
    let signalfd = unsafe { OwnedFd::from_raw_fd(fd) };
    epoll
        .add(&signalfd, EpollEvent::new(EpollFlags::EPOLLIN, SIGNALFD))
        .map_err(|e| host_error(e))?;
    let device = DEVICE.get_or_init(|| Device {
        epoll,
        kick,
        watches: Mutex::default(),
        ready: Mutex::default(),
        signals: Mutex::default(),
        next: AtomicU64::new(FIRST_WATCH),
        stop: AtomicBool::new(false),
        thread: Mutex::new(None),
        thread_id: OnceLock::new(),
    });
    let thread = cpu::device_thread("umbra-dev", move || device.run(&signalfd))?;
    *lock(&device.thread) = Some(thread);
    Ok(device)
}

/// Starts the device thread now; otherwise the first [`watch`] or [`on_signal`] does. Must come before
/// [`crate::lockdown`].
///
/// # Errors
/// EAGAIN, EMFILE, ENOMEM from the host.
pub fn start() -> Result<()> {
    device().map(drop)
}

/// Calls `callback` once, when `endpoint` is ready for something in `interest` (empty: not before
/// [`rearm`]). One endpoint has one watch.
///
/// # Errors
/// EEXIST if the endpoint is being watched already; ENOSPC, ENOMEM from the host.
pub fn watch(endpoint: Arc<dyn Endpoint>, interest: Ready, callback: Callback) -> Result<WatchId> {
    let d = device()?;
    let id = d.next.fetch_add(1, Ordering::Relaxed);
    let fd = endpoint.host_fd().0;
    let always = match d.epoll.add(fd, EpollEvent::new(EpollFlags::EPOLLONESHOT, id)) {
        Ok(()) => false,
        Err(nix::errno::Errno::EPERM) => true,
        Err(e) => return Err(host_error(e)),
    };
    let watch = Watch {
        endpoint,
        callback,
        armed: Mutex::new(Ready::empty()),
        running: Mutex::new(()),
        gone: AtomicBool::new(false),
        always,
    };
    lock(&d.watches).insert(id, Arc::new(watch));
    rearm(WatchId(id), interest)?;
    Ok(WatchId(id))
}

/// Lets the watch fire once more, for `interest` in addition to what it still waits for.
///
/// # Errors
/// ENOENT if it was taken away.
pub fn rearm(id: WatchId, interest: Ready) -> Result<()> {
    let d = device()?;
    let Some(w) = lock(&d.watches).get(&id.0).cloned() else { return err(Errno::ENOENT) };
    let interest = interest & (Ready::IN | Ready::OUT);
    if interest.is_empty() {
        return Ok(());
    }
    let mut armed = lock(&w.armed);
    *armed |= interest;
    if w.always {
        lock(&d.ready).push_back(id.0);
        let _ = d.kick.write(1);
        return Ok(());
    }
    d.arm(id.0, w.endpoint.host_fd().0, *armed)
}

/// Takes a watch away. When it returns, its callback is not running and will not run, unless it is
/// this very callback that called.
pub fn unwatch(id: WatchId) {
    let Some(d) = DEVICE.get() else { return };
    let Some(w) = lock(&d.watches).remove(&id.0) else { return };
    w.gone.store(true, Ordering::Release);
    if !w.always {
        let _ = d.epoll.delete(w.endpoint.host_fd().0);
    }
    if d.thread_id.get() != Some(&std::thread::current().id()) {
        drop(lock(&w.running));
    }
}

/// Calls `callback` when the host signal `signo` (SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGWINCH,
/// SIGTSTP, SIGCONT) has come; a later callback replaces it. Without one: SIGTERM, SIGINT, SIGHUP
/// and SIGQUIT restore the terminal and end Umbra, SIGTSTP restores it and stops Umbra. The
/// terminal goes raw again on SIGCONT before its callback.
///
/// # Errors
/// EINVAL for other signals.
pub fn on_signal(signo: i32, callback: impl Fn() + Send + Sync + 'static) -> Result<()> {
    if !SIGNALS.iter().any(|s| *s as i32 == signo) {
        return err(Errno::EINVAL);
    }
    lock(&device()?.signals).insert(signo, Arc::new(callback));
    Ok(())
}

/// Ends the device thread and waits for it (not if it is the caller). Nothing is called afterwards.
pub fn shutdown() {
    let Some(d) = DEVICE.get() else { return };
    d.stop.store(true, Ordering::Release);
    let _ = d.kick.write(1);
    let thread = lock(&d.thread).take();
    if let Some(t) = thread.filter(|t| t.thread().id() != std::thread::current().id()) {
        // A panic of the thread has ended the process already.
        let _ = t.join();
    }
}

impl Device {
    /// Sets what epoll watches an endpoint for.
    fn arm(&self, id: u64, fd: BorrowedFd<'_>, armed: Ready) -> Result<()> {
        let mut flags = EpollFlags::EPOLLONESHOT;
        flags.set(EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP, armed.contains(Ready::IN));
        flags.set(EpollFlags::EPOLLOUT, armed.contains(Ready::OUT));
        self.epoll.modify(fd, &mut EpollEvent::new(flags, id)).map_err(|e| host_error(e))
    }

    fn run(&self, signalfd: &OwnedFd) {
        let _ = self.thread_id.set(std::thread::current().id());
        // A blocked fault would kill the process without a word (panic.rs).
        let mut faults = SigSet::empty();
        for s in [
            Signal::SIGSEGV,
            Signal::SIGBUS,
            Signal::SIGILL,
            Signal::SIGFPE,
            Signal::SIGSYS,
            Signal::SIGABRT,
        ] {
            faults.add(s);
        }
        let _ = faults.thread_unblock();
        let mut events = [EpollEvent::empty(); 32];
        while !self.stop.load(Ordering::Acquire) {
            let n = match self.epoll.wait(&mut events, nix::sys::epoll::EpollTimeout::NONE) {
                Ok(n) => n,
                Err(nix::errno::Errno::EINTR) => 0,
                Err(e) => panic!("the device thread cannot wait: {e}"),
            };
            for e in &events[..n] {
                if self.stop.load(Ordering::Acquire) {
                    return;
                }
                match e.data() {
                    KICK => {
                        let _ = self.kick.read();
                    }
                    SIGNALFD => self.take_signals(signalfd.as_fd()),
                    id => self.fire(id, Some(e.events())),
                }
            }
            // Only as many as there are now: a callback may arm its watch again.
            let count = lock(&self.ready).len();
            for _ in 0..count {
                let next = lock(&self.ready).pop_front();
                if let Some(id) = next {
                    self.fire(id, None);
                }
            }
        }
    }

    /// Calls a watch back. `events` is None for one that is always ready.
    fn fire(&self, id: u64, events: Option<EpollFlags>) {
        let Some(w) = lock(&self.watches).get(&id).cloned() else { return };
        let running = lock(&w.running);
        if w.gone.load(Ordering::Acquire) {
            return;
        }
        let fired = {
            let mut armed = lock(&w.armed);
            let fired = match events {
                None => *armed,
                Some(e) => {
                    let mut r = Ready::empty();
                    let gone = e.intersects(EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR);
                    r.set(Ready::HANGUP, gone || e.contains(EpollFlags::EPOLLRDHUP));
                    r.set(Ready::IN, e.contains(EpollFlags::EPOLLIN) || !r.is_empty());
                    r.set(Ready::OUT, e.contains(EpollFlags::EPOLLOUT) || gone);
                    r & (*armed | Ready::HANGUP)
                }
            };
            if armed.is_empty() || fired.is_empty() {
                return;
            }
            armed.remove(fired);
            if events.is_some() && !armed.is_empty() {
                // It waits for the other direction still.
                let _ = self.arm(id, w.endpoint.host_fd().0, *armed);
            }
            fired
        };
        (w.callback)(fired);
        drop(running);
    }

    fn take_signals(&self, signalfd: BorrowedFd<'_>) {
        loop {
            let mut info = std::mem::MaybeUninit::<libc::signalfd_siginfo>::zeroed();
            let size = size_of::<libc::signalfd_siginfo>();
            // SAFETY: reads at most one structure into memory of its size.
            let n = unsafe { libc::read(signalfd.as_raw_fd(), info.as_mut_ptr().cast(), size) };
            if n != size as isize {
                return;
            }
            // SAFETY: plain integers, zeroed and then written.
            let signo = unsafe { info.assume_init() }.ssi_signo as i32;
            if signo == libc::SIGCONT {
                hosttty::resumed();
            }
            let callback = lock(&self.signals).get(&signo).cloned();
            match callback {
                Some(f) => f(),
                None => default_action(signo),
            }
        }
    }
}

/// What a signal does that nobody has asked for.
fn default_action(signo: i32) {
    match signo {
        libc::SIGTSTP => hosttty::suspend(),
        libc::SIGTERM | libc::SIGINT | libc::SIGHUP | libc::SIGQUIT => {
            hosttty::restore();
            // SAFETY: the signal's default action, unblocked in this thread, ends the process: our
            // parent sees by which signal.
            unsafe {
                libc::signal(signo, libc::SIG_DFL);
                let mut set = std::mem::zeroed();
                libc::sigemptyset(&mut set);
                libc::sigaddset(&mut set, signo);
                libc::pthread_sigmask(libc::SIG_UNBLOCK, &set, std::ptr::null_mut());
                libc::raise(signo);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
#[path = "intr_tests.rs"]
mod tests;
