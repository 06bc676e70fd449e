//! Pseudo-terminals: a terminal whose device is a program (`man 7 pty`, `man 4 pts`).
//!
//! Opening /dev/ptmx makes a pair. The *slave* is a [`Tty`] like any other; the *master* plays
//! its hardware: what is written to the master is typed at the slave, what the slave prints is
//! read from the master. [`PtyRegistry`] knows the slaves, which devpts lists under /dev/pts.
//!
//! Closing the master hangs the slave up. When the last opener of the slave is gone, reads of
//! the master give EIO (after what is left to read) until somebody opens it again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use base::uapi::{general as u, ioctl as n};
use base::{
    Errno, PollEvents, PollTable, Rank, Result, Sink, Sleep, Source, SpinLock, Timestamp, UserAddr,
    UserMemory, WaitQueue, err,
};

use super::TtySignals;
use super::core::{self, Hardware, Tty};
use super::ioctl::{both, flush, get_i32};
use super::termios::Termios;
use crate::chardev::{CharDriver, CharFile, DevNum, OpenInfo, Opener};
use crate::registry::{CharDev, CharRegistry};

/// Major number of pseudo-terminal slaves.
pub const PTS_MAJOR: u32 = 136;
/// /dev/ptmx.
pub const PTMX: DevNum = DevNum::new(5, 2);
/// Pairs at one time: `kernel.pty.max`.
pub const MAX_PTYS: u32 = 4096;

/// What a devpts file system shows of one slave. The inode of `/dev/pts/INDEX` lives here, so that
/// all mounts of devpts agree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PtySlot {
    /// The name under /dev/pts and the minor number.
    pub index: u32,
    /// Never used twice: tells a slave from its successor of the same index.
    pub id: u64,
    /// Owner: who opened the master.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permission bits.
    pub mode: u32,
    /// When the master was opened.
    pub created: Timestamp,
}

struct Entry {
    slot: PtySlot,
    tty: Arc<Tty>,
}

/// All pseudo-terminals of a kernel.
pub struct PtyRegistry {
    signals: Arc<dyn TtySignals>,
    entries: SpinLock<BTreeMap<u32, Entry>>,
    next_id: AtomicU64,
}

impl std::fmt::Debug for PtyRegistry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PtyRegistry({} open)", self.list().len())
    }
}

impl PtyRegistry {
    /// None yet.
    pub fn new(signals: Arc<dyn TtySignals>) -> Arc<PtyRegistry> {
        Arc::new(PtyRegistry {
            signals,
            entries: SpinLock::new(Rank::Leaf, BTreeMap::new()),
            next_id: AtomicU64::new(1),
        })
    }

    /// Registers /dev/ptmx and the driver of the slaves' numbers.
    ///
    /// # Errors
    /// EBUSY if they are taken.
    pub fn register(self: &Arc<Self>, devices: &CharRegistry) -> Result<()> {
        let driver: Arc<dyn CharDriver> = Arc::new(PtyDriver(self.clone()));
        devices.register(CharDev {
            dev: PTMX,
            name: "ptmx".to_owned(),
            class: "/dev/ptmx",
            mode: 0o666,
            driver: driver.clone(),
        })?;
        devices.register_range(PTS_MAJOR, 0..=MAX_PTYS - 1, "pts", driver);
        Ok(())
    }

    /// Opens /dev/ptmx: a new pair, and its master. The slave is locked until TIOCSPTLCK.
    ///
    /// # Errors
    /// ENOSPC if there are too many.
    pub fn open_master(
        self: &Arc<Self>,
        _info: OpenInfo,
        who: &dyn Opener,
    ) -> Result<Arc<dyn CharFile>> {
        let mut entries = self.entries.lock();
        let Some(index) = (0..MAX_PTYS).find(|i| !entries.contains_key(i)) else {
            return err(Errno::ENOSPC);
        };
        let link = Arc::new(Link {
            readers: Arc::new(WaitQueue::new()),
            writers: Arc::new(WaitQueue::new()),
            locked: AtomicBool::new(true),
            master_open: AtomicBool::new(true),
        });
        let termios = Termios { cflag: u::B38400 | u::CS8 | u::CREAD, ..Termios::default() };
        let tty = Tty::new(
            DevNum::new(PTS_MAJOR, index),
            format!("pts/{index}"),
            termios,
            self.signals.clone(),
            Box::new(PtyHardware(link.clone())),
        );
        let slot = PtySlot {
            index,
            id: self.next_id.fetch_add(1, Ordering::Relaxed),
            uid: who.cred().fsuid,
            gid: who.cred().fsgid,
            mode: 0o620,
            created: arch::clock::realtime(),
        };
        entries.insert(index, Entry { slot, tty: tty.clone() });
        Ok(Arc::new(PtyMaster { registry: self.clone(), tty, link, index }))
    }

    /// Opens a slave by index.
    ///
    /// # Errors
    /// ENXIO if there is none; EIO while it is locked or when its master is gone.
    pub fn open_slave(
        &self,
        index: u32,
        info: OpenInfo,
        who: &dyn Opener,
    ) -> Result<Arc<dyn CharFile>> {
        let tty = self.entries.lock().get(&index).map(|e| e.tty.clone());
        match tty {
            Some(tty) => core::open(&tty, info, who),
            None => err(Errno::ENXIO),
        }
    }

    /// The slaves there are, by index.
    pub fn list(&self) -> Vec<PtySlot> {
        self.entries.lock().values().map(|e| e.slot).collect()
    }

    /// One slave.
    pub fn get(&self, index: u32) -> Option<PtySlot> {
        self.entries.lock().get(&index).map(|e| e.slot)
    }

    /// chown and chmod of a slave's inode (its `index` and `id` say which).
    ///
    /// # Errors
    /// ENOENT if it is gone.
    pub fn set(&self, slot: PtySlot) -> Result<()> {
        match self.entries.lock().get_mut(&slot.index) {
            Some(e) if e.slot.id == slot.id => {
                e.slot = slot;
                Ok(())
            }
            _ => err(Errno::ENOENT),
        }
    }
}

struct PtyDriver(Arc<PtyRegistry>);

impl CharDriver for PtyDriver {
    fn open(&self, dev: DevNum, info: OpenInfo, who: &dyn Opener) -> Result<Arc<dyn CharFile>> {
        if dev == PTMX {
            self.0.open_master(info, who)
        } else {
            self.0.open_slave(dev.minor, info, who)
        }
    }
}

/// What the two ends share beside the terminal.
#[derive(Debug)]
struct Link {
    /// Who reads the master.
    readers: Arc<WaitQueue>,
    /// Who writes the master.
    writers: Arc<WaitQueue>,
    /// The slave cannot be opened yet (TIOCSPTLCK).
    locked: AtomicBool,
    master_open: AtomicBool,
}

#[derive(Debug)]
struct PtyHardware(Arc<Link>);

impl Hardware for PtyHardware {
    fn output(&self, _tty: &Tty) {
        self.0.readers.wake_all(PollEvents::IN | PollEvents::RDNORM);
    }
    fn input_room(&self, _tty: &Tty) {
        self.0.writers.wake_all(PollEvents::OUT | PollEvents::WRNORM);
    }
    fn drain(&self, _tty: &Tty) -> Result<()> {
        Ok(()) // what the master could read has arrived
    }
    fn is_pty(&self) -> bool {
        true
    }
    fn may_open(&self) -> Result<()> {
        if self.0.locked.load(Ordering::Acquire) || !self.0.master_open.load(Ordering::Acquire) {
            return err(Errno::EIO);
        }
        Ok(())
    }
    fn status(&self) {
        let events = PollEvents::IN | PollEvents::PRI | PollEvents::HUP;
        self.0.readers.wake_all(events);
    }
}

/// An open master.
#[derive(Debug)]
struct PtyMaster {
    registry: Arc<PtyRegistry>,
    tty: Arc<Tty>,
    link: Arc<Link>,
    index: u32,
}

impl PtyMaster {
    /// One attempt. None: nothing to read.
    fn try_read(&self, max: usize) -> Option<Vec<u8>> {
        let mut buf = Vec::new();
        match self.tty.packet() {
            Some(0) if self.tty.output_len() > 0 => {
                buf.push(u::TIOCPKT_DATA as u8);
                self.tty.take_output(&mut buf, max - 1);
            }
            Some(0) => {}
            Some(_) => buf.push(self.tty.take_packet()),
            None => {
                self.tty.take_output(&mut buf, max);
            }
        }
        (!buf.is_empty()).then_some(buf)
    }
}

impl CharFile for PtyMaster {
    fn read(&self, _offset: u64, sink: &mut dyn Sink, nonblock: bool) -> Result<usize> {
        let max = sink.remaining();
        if max == 0 {
            return Ok(0);
        }
        let attempt = || match self.try_read(max) {
            Some(buf) => Some(Ok(buf)),
            None if self.tty.deserted() => Some(err(Errno::EIO)),
            None if nonblock => Some(err(Errno::EAGAIN)),
            None => None,
        };
        let buf = self.link.readers.wait_until(Sleep::Interruptible, None, attempt)??;
        sink.write(&buf)
    }

    fn write(&self, _offset: u64, source: &mut dyn Source, nonblock: bool) -> Result<usize> {
        let mut chunk = [0u8; 2048];
        let mut done = 0;
        while source.remaining() > 0 {
            let n = match source.read(&mut chunk) {
                Ok(0) => break,
                Ok(n) => n,
                Err(e) if done == 0 => return Err(e),
                Err(_) => break,
            };
            let mut at = 0;
            while at < n {
                let took = self.tty.input(&chunk[at..n]);
                at += took;
                done += took;
                if took > 0 {
                    continue;
                }
                let r = if nonblock {
                    err(Errno::EAGAIN)
                } else {
                    let ready = || (self.tty.input_space() > 0).then_some(());
                    self.link.writers.wait_until(Sleep::Interruptible, None, ready)
                };
                if let Err(e) = r {
                    return if done == 0 { Err(e) } else { Ok(done) };
                }
            }
        }
        Ok(done)
    }

    fn poll(&self, table: Option<&mut PollTable>) -> PollEvents {
        if let Some(t) = table {
            t.register(&self.link.readers);
            t.register(&self.link.writers);
        }
        let mut ev = PollEvents::empty();
        if self.tty.output_len() > 0 {
            ev |= PollEvents::IN | PollEvents::RDNORM;
        }
        if self.tty.packet().is_some_and(|bits| bits != 0) {
            ev |= PollEvents::PRI | PollEvents::IN | PollEvents::RDNORM;
        }
        if self.tty.deserted() {
            ev |= PollEvents::HUP;
        }
        if self.tty.input_space() > 0 {
            ev |= PollEvents::OUT | PollEvents::WRNORM;
        }
        ev
    }

    fn ioctl(
        &self,
        cmd: u32,
        arg: UserAddr,
        mem: &dyn UserMemory,
        who: &dyn Opener,
    ) -> Result<i64> {
        let put = |v: i32| mem.write(arg, &v.to_ne_bytes()).map(|()| 0);
        match cmd {
            n::TIOCGPTN => put(self.index as i32),
            n::TIOCSPTLCK => {
                self.link.locked.store(get_i32(mem, arg)? != 0, Ordering::Release);
                Ok(0)
            }
            n::TIOCGPTLCK => put(self.link.locked.load(Ordering::Acquire).into()),
            n::TIOCPKT => {
                self.tty.set_packet_mode(get_i32(mem, arg)? != 0);
                Ok(0)
            }
            n::TIOCGPKT => put(self.tty.packet().is_some().into()),
            n::TIOCSIG => match u32::try_from(arg.0).unwrap_or(0) {
                signo @ (u::SIGINT | u::SIGQUIT | u::SIGTSTP) => {
                    self.tty.with(|s| s.ldisc.events.signals.push(signo));
                    Ok(0)
                }
                _ => err(Errno::EINVAL),
            },
            n::FIONREAD => put(self.tty.output_len() as i32),
            n::TIOCOUTQ => put(0),
            // The master's input is the slave's output, and the other way round.
            n::TCFLSH => {
                let (input, output) = match arg.0 as u32 {
                    u::TCIFLUSH => (false, true),
                    u::TCOFLUSH => (true, false),
                    u::TCIOFLUSH => (true, true),
                    _ => return err(Errno::EINVAL),
                };
                flush(&self.tty, input, output);
                Ok(0)
            }
            n::TCSBRK | n::TCSBRKP | n::TCXONC => Ok(0),
            n::TIOCGDEV => put(PTMX.to_user() as i32),
            _ => both(&self.tty, false, cmd, arg, mem, who).unwrap_or_else(|| err(Errno::ENOTTY)),
        }
    }

    fn open_peer(&self, info: OpenInfo, who: &dyn Opener) -> Result<(DevNum, Arc<dyn CharFile>)> {
        Ok((self.tty.dev(), core::open(&self.tty, info, who)?))
    }
}

impl Drop for PtyMaster {
    fn drop(&mut self) {
        self.link.master_open.store(false, Ordering::Release);
        let gone = self.registry.entries.lock().remove(&self.index);
        drop(gone);
        self.tty.hangup();
    }
}

#[cfg(test)]
#[path = "pty_tests.rs"]
mod tests;
