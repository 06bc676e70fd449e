//! poll(2) and select(2): waiting for one of many files.
//!
//! [`poll_files`] asks each file once with a [`PollTable`], which leaves the caller's waker in the
//! files' wait queues, and then sleeps until one of them calls it. A file that answers "ready" ends the
//! registering: the call will not sleep. Nothing is locked while the files are asked.
//!
//! [`select_files`] is the same thing behind three bit sets.

use std::sync::Arc;

use base::wait::{Woken, current};
use base::{Errno, Instant, PollEvents, PollTable, Result, Sleep, err};

use crate::file::File;

/// What select(2) calls readable: `POLLIN_SET`.
pub const SELECT_IN: PollEvents = PollEvents::from_bits_truncate(0x40 | 0x80 | 0x01 | 0x10 | 0x08);
/// What select(2) calls writable: `POLLOUT_SET`.
pub const SELECT_OUT: PollEvents = PollEvents::from_bits_truncate(0x200 | 0x100 | 0x04 | 0x08);
/// What select(2) calls exceptional: `POLLEX_SET`.
pub const SELECT_EX: PollEvents = PollEvents::PRI;

/// One entry of poll(2).
#[derive(Debug, Default)]
pub struct PollFd {
    /// The file. None: ignored (a negative descriptor), or with `bad` set not an open one.
    pub file: Option<Arc<File>>,
    /// The descriptor is not open: the answer is NVAL.
    pub bad: bool,
    /// What the caller wants to know. ERR, HUP and NVAL are always reported.
    pub events: PollEvents,
    /// The answer. The only thing that poll(2) stores back.
    pub revents: PollEvents,
}

impl PollFd {
    /// An open file.
    pub fn new(file: Arc<File>, events: PollEvents) -> PollFd {
        PollFd { file: Some(file), bad: false, events, revents: PollEvents::empty() }
    }
    /// A descriptor that is not open.
    pub fn bad() -> PollFd {
        PollFd { bad: true, ..PollFd::default() }
    }
    /// A negative descriptor.
    pub fn ignored() -> PollFd {
        PollFd::default()
    }
}

fn scan(fds: &mut [PollFd], mut table: Option<&mut PollTable>) -> usize {
    let mut ready = 0;
    for p in fds {
        p.revents = match &p.file {
            None if p.bad => PollEvents::NVAL,
            None => PollEvents::empty(),
            Some(f) => {
                let want = p.events | PollEvents::ERR | PollEvents::HUP;
                // Once something is ready nobody will sleep, and registering is for nothing.
                let t = if ready == 0 { table.as_deref_mut() } else { None };
                f.ops.poll(f, t) & want
            }
        };
        ready += usize::from(!p.revents.is_empty());
    }
    ready
}

/// Waits until at least one file has an event that its entry asks for; returns how many have.
/// `deadline` None waits for ever, one in the past does not wait. 0 means that time was up.
///
/// # Errors
/// ERESTARTNOHAND if a signal came first. (poll(2) without a time-out is restarted if no handler ran; with
/// one the caller may turn it into a restart block. A handler makes it EINTR.)
pub fn poll_files(fds: &mut [PollFd], deadline: Option<Instant>) -> Result<usize> {
    if deadline == Some(Instant(0)) {
        return Ok(scan(fds, None));
    }
    let me = current();
    let mut table = PollTable::new(me.waker());
    let mut ready = scan(fds, Some(&mut table));
    while ready == 0 {
        let woken = me.park(Sleep::Interruptible, deadline);
        ready = scan(fds, None);
        match woken {
            Woken::Woken => {}
            Woken::TimedOut => break,
            Woken::Interrupted if ready == 0 => return err(Errno::ERESTARTNOHAND),
            Woken::Interrupted => {}
        }
    }
    Ok(ready)
}

/// A set of descriptors as select(2) stores it: bit `n % 64` of word `n / 64`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FdSet {
    words: Vec<u64>,
}

impl FdSet {
    /// Bytes that a set of descriptors below `nfds` takes in user memory: whole words of 8.
    pub fn bytes_for(nfds: usize) -> usize {
        nfds.div_ceil(64) * 8
    }
    /// An empty set for descriptors below `nfds`.
    pub fn empty(nfds: usize) -> FdSet {
        FdSet { words: vec![0; nfds.div_ceil(64)] }
    }
    /// From user memory, [`FdSet::bytes_for`] bytes.
    pub fn from_bytes(bytes: &[u8]) -> FdSet {
        let word = |c: &[u8]| {
            let mut w = [0; 8];
            w[..c.len()].copy_from_slice(c);
            u64::from_le_bytes(w)
        };
        FdSet { words: bytes.chunks(8).map(word).collect() }
    }
    /// For user memory.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.words.iter().flat_map(|w| w.to_le_bytes()).collect()
    }
    /// Whether `fd` is in it.
    pub fn has(&self, fd: usize) -> bool {
        self.words.get(fd / 64).is_some_and(|w| w & (1 << (fd % 64)) != 0)
    }
    /// Puts `fd` in, if the set is large enough.
    pub fn insert(&mut self, fd: usize) {
        if let Some(w) = self.words.get_mut(fd / 64) {
            *w |= 1 << (fd % 64);
        }
    }
}

/// select(2): waits for the descriptors below `nfds` in `sets` (readable, writable, exceptional), which
/// then hold those that are ready. Returns how many bits are set.
///
/// # Errors
/// EBADF if `lookup` does not know a descriptor of a set; ERESTARTNOHAND after a signal, the
/// sets unchanged.
pub fn select_files(
    nfds: usize,
    sets: [Option<&mut FdSet>; 3],
    lookup: &dyn Fn(usize) -> Option<Arc<File>>,
    deadline: Option<Instant>,
) -> Result<usize> {
    const KINDS: [PollEvents; 3] = [SELECT_IN, SELECT_OUT, SELECT_EX];
    let mut entries = Vec::new();
    let mut numbers = Vec::new();
    for fd in 0..nfds {
        let mut events = PollEvents::empty();
        for (set, kind) in sets.iter().zip(KINDS) {
            if set.as_ref().is_some_and(|s| s.has(fd)) {
                events |= kind;
            }
        }
        if events.is_empty() {
            continue;
        }
        let Some(file) = lookup(fd) else { return err(Errno::EBADF) };
        // What is asked for decides: ERR and HUP count only where the kind has them.
        entries.push(PollFd::new(file, events));
        numbers.push(fd);
    }
    wait_select(&mut entries, deadline)?;
    let mut count = 0;
    for (set, kind) in sets.into_iter().zip(KINDS) {
        let Some(set) = set else { continue };
        let mut out = FdSet::empty(nfds);
        for (p, &fd) in entries.iter().zip(&numbers) {
            if set.has(fd) && p.revents.intersects(kind) {
                out.insert(fd);
                count += 1;
            }
        }
        *set = out;
    }
    Ok(count)
}

/// As [`poll_files`], but HUP and ERR wake only those who asked for a kind that has them: a hung-up
/// pipe in the exceptional set alone must not spin.
fn wait_select(fds: &mut [PollFd], deadline: Option<Instant>) -> Result<()> {
    let me = current();
    let mut table = PollTable::new(me.waker());
    let mut first = true;
    loop {
        let mut ready = false;
        for p in fds.iter_mut() {
            let Some(f) = &p.file else { continue };
            let t = (first && !ready).then_some(&mut table);
            p.revents = f.ops.poll(f, t) & p.events;
            ready |= !p.revents.is_empty();
        }
        first = false;
        if ready || deadline == Some(Instant(0)) {
            return Ok(());
        }
        match me.park(Sleep::Interruptible, deadline) {
            Woken::Woken => {}
            Woken::TimedOut => {
                poll_again(fds);
                return Ok(());
            }
            Woken::Interrupted => {
                return if poll_again(fds) { Ok(()) } else { err(Errno::ERESTARTNOHAND) };
            }
        }
    }
}

fn poll_again(fds: &mut [PollFd]) -> bool {
    for p in fds.iter_mut() {
        if let Some(f) = &p.file {
            p.revents = f.ops.poll(f, None) & p.events;
        }
    }
    fds.iter().any(|p| !p.revents.is_empty())
}
