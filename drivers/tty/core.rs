//! The terminal: a line discipline under a lock, the session that it controls, and the hardware
//! beneath.
//!
//! One spin lock (rank `File`) guards everything that changes. Nobody sleeps, does I/O, wakes a
//! master or sends a signal under it: [`Tty::with`] runs a step under the lock, takes the events
//! that the step left behind and acts on them afterwards.

use std::collections::VecDeque;
use std::sync::Arc;

use base::uapi::general as u;
use base::{Cap, Errno, PollEvents, Rank, Result, SpinLock, WaitQueue, err};

use super::file::TtyFile;
use super::ldisc::{Events, Ldisc};
use super::termios::Termios;
use super::{TtyContext, TtySignals};
use crate::chardev::{CharFile, DevNum, OpenInfo, Opener};

/// Bytes from the device that may wait for the line discipline to have room.
const PENDING: usize = 8192;
/// Room that makes a terminal writable for poll(2) and for a sleeping writer.
pub(crate) const WRITE_ROOM: usize = 256;

/// `struct winsize`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[allow(missing_docs)]
pub struct WinSize {
    pub rows: u16,
    pub cols: u16,
    pub xpixel: u16,
    pub ypixel: u16,
}

/// What moves the bytes of a terminal: the console's host endpoint, or a pty's master. All calls
/// come without the terminal's lock.
pub(crate) trait Hardware: Send + Sync + std::fmt::Debug {
    /// There may be output to take ([`Tty::take_output`]).
    fn output(&self, tty: &Tty);
    /// Input was consumed: the device may deliver more.
    fn input_room(&self, tty: &Tty);
    /// Sleeps until the output has reached the device (`tcdrain(3)`).
    fn drain(&self, tty: &Tty) -> Result<()>;
    /// Whether the other end is a program: then a leader's exit does not hang the terminal up.
    fn is_pty(&self) -> bool;
    /// Whether the terminal can be opened: EIO, ... if not.
    fn may_open(&self) -> Result<()> {
        Ok(())
    }
    /// The state of the other end's view changed (packet status, first open, last close).
    fn status(&self) {}
}

/// What the lock guards.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) ldisc: Ldisc,
    /// Input that the line discipline had no room for.
    pending: VecDeque<u8>,
    /// No more will come: who reads everything reads the end of a file then.
    at_end: bool,
    winsize: WinSize,
    session: Option<u32>,
    foreground: Option<u32>,
    /// Counts hang-ups. A file that was opened in an earlier generation is dead.
    generation: u64,
    opens: usize,
    ever_opened: bool,
    exclusive: bool,
    /// Packet mode, with the TIOCPKT_* bits that the master has not seen yet.
    packet: Option<u8>,
}

/// A terminal.
pub struct Tty {
    dev: DevNum,
    name: String,
    /// The settings that a hang-up goes back to.
    initial: Termios,
    state: SpinLock<State>,
    pub(crate) readers: Arc<WaitQueue>,
    pub(crate) writers: Arc<WaitQueue>,
    pub(crate) signals: Arc<dyn TtySignals>,
    pub(crate) hardware: Box<dyn Hardware>,
}

impl std::fmt::Debug for Tty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tty({} {}:{})", self.name, self.dev.major, self.dev.minor)
    }
}

impl Tty {
    pub(crate) fn new(
        dev: DevNum,
        name: String,
        termios: Termios,
        signals: Arc<dyn TtySignals>,
        hardware: Box<dyn Hardware>,
    ) -> Arc<Tty> {
        let state = State {
            ldisc: Ldisc::new(termios),
            pending: VecDeque::new(),
            at_end: false,
            winsize: WinSize::default(),
            session: None,
            foreground: None,
            generation: 0,
            opens: 0,
            ever_opened: false,
            exclusive: false,
            packet: None,
        };
        Arc::new(Tty {
            dev,
            name,
            initial: termios,
            state: SpinLock::new(Rank::File, state),
            readers: Arc::new(WaitQueue::new()),
            writers: Arc::new(WaitQueue::new()),
            signals,
            hardware,
        })
    }

    /// No more input will come from the device.
    pub(crate) fn end_input(&self) {
        self.state.lock().at_end = true;
        self.readers.wake_all(PollEvents::IN | PollEvents::RDNORM);
    }

    /// Its device number, as `/proc/PID/stat` shows it.
    pub fn dev(&self) -> DevNum {
        self.dev
    }
    /// Its name under /dev (`tty0`, `pts/3`).
    pub fn name(&self) -> &str {
        &self.name
    }
    /// The session that it controls.
    pub fn session(&self) -> Option<u32> {
        self.state.lock().session
    }
    /// The foreground process group (`tpgid` in /proc/PID/stat).
    pub fn foreground(&self) -> Option<u32> {
        self.state.lock().foreground
    }
    /// Its settings.
    pub fn termios(&self) -> Termios {
        *self.state.lock().ldisc.termios()
    }
    /// Its size.
    pub fn window_size(&self) -> WinSize {
        self.state.lock().winsize
    }
    /// Sets its size and tells the foreground group if it changed (SIGWINCH).
    pub fn set_window_size(&self, size: WinSize) {
        self.with(|s| {
            if s.winsize != size {
                s.winsize = size;
                s.ldisc.events.signals.push(u::SIGWINCH);
            }
        });
    }

    /// Runs `step` under the lock, then acts on its events.
    pub(crate) fn with<R>(&self, step: impl FnOnce(&mut State) -> R) -> R {
        let (result, events, foreground, output, status) = {
            let mut s = self.state.lock();
            let had_packet = s.packet;
            let result = step(&mut s);
            let events = std::mem::take(&mut s.ldisc.events);
            let packet = events.packet;
            if let Some(bits) = &mut s.packet {
                *bits = merge_packet(*bits, packet);
            }
            let status = s.packet != had_packet;
            (result, events, s.foreground, s.ldisc.out.deliverable() > 0, status)
        };
        self.act(&events, foreground);
        if output {
            self.hardware.output(self);
        }
        if status {
            self.hardware.status();
        }
        result
    }

    /// Looks at the state; nothing comes of it.
    pub(crate) fn look<R>(&self, look: impl FnOnce(&State) -> R) -> R {
        look(&self.state.lock())
    }

    fn act(&self, events: &Events, foreground: Option<u32>) {
        if let Some(group) = foreground {
            for &signo in &events.signals {
                self.signals.signal_group(group, signo);
            }
        }
        if events.readable {
            self.readers.wake_all(PollEvents::IN | PollEvents::RDNORM);
        }
        if events.writable {
            self.writers.wake_all(PollEvents::OUT | PollEvents::WRNORM);
        }
    }

    // ---- the device's side ----------------------------------------------------------------

    /// Bytes from the device; returns how many were taken (the rest must wait until
    /// [`Hardware::input_room`]).
    pub(crate) fn input(&self, data: &[u8]) -> usize {
        self.with(|s| {
            s.pump();
            let mut n = 0;
            if s.pending.is_empty() {
                n = s.ldisc.receive(data);
            }
            let room = PENDING - s.pending.len();
            let more = (data.len() - n).min(room);
            s.pending.extend(&data[n..n + more]);
            n + more
        })
    }

    /// How many bytes [`Tty::input`] would take for sure.
    pub(crate) fn input_space(&self) -> usize {
        PENDING - self.state.lock().pending.len()
    }

    /// Moves up to `max` bytes of output to the device and lets writers go on.
    pub(crate) fn take_output(&self, out: &mut Vec<u8>, max: usize) -> usize {
        let before = out.len();
        let room = {
            let mut s = self.state.lock();
            s.ldisc.out.take(out, max);
            s.ldisc.out.room()
        };
        if out.len() > before && room >= WRITE_ROOM {
            self.writers.wake_all(PollEvents::OUT | PollEvents::WRNORM);
        }
        out.len() - before
    }

    /// Output that the device could take now.
    pub(crate) fn output_len(&self) -> usize {
        self.state.lock().ldisc.out.deliverable()
    }

    /// For the other end of a pty: nobody has the slave open though somebody had.
    pub(crate) fn deserted(&self) -> bool {
        let s = self.state.lock();
        s.ever_opened && s.opens == 0
    }

    pub(crate) fn set_packet_mode(&self, on: bool) {
        let mut s = self.state.lock();
        if on != s.packet.is_some() {
            s.packet = on.then_some(0);
        }
    }

    /// Whether packet mode is on, and the status bits not read yet.
    pub(crate) fn packet(&self) -> Option<u8> {
        self.state.lock().packet
    }

    /// Reads and clears the status bits.
    pub(crate) fn take_packet(&self) -> u8 {
        self.state.lock().packet.as_mut().map_or(0, std::mem::take)
    }

    // ---- sessions -------------------------------------------------------------------------

    /// Makes this the controlling terminal of `who`, which leads a session without one, and its
    /// group the foreground group. Boot does it for init on the console.
    pub fn set_controlling(self: &Arc<Tty>, who: &dyn TtyContext) {
        // The processes' locks come before the terminal's.
        let (session, pgrp) = (who.session(), who.pgrp());
        {
            let mut s = self.state.lock();
            s.session = Some(session);
            s.foreground = Some(pgrp);
        }
        who.set_ctty(Some(self.clone()));
    }

    /// The leader of `session`, which this terminal controls, exits. A console is hung up; a
    /// pty's foreground group gets SIGHUP. Afterwards the session has no terminal, and the
    /// terminal no session.
    pub fn disassociate(&self, session: u32) {
        if self.session() != Some(session) {
            self.signals.forget_ctty(session);
        } else if self.hardware.is_pty() {
            self.release(session, &[u::SIGHUP]);
        } else {
            self.hangup();
        }
    }

    /// TIOCNOTTY of a leader: the foreground group gets SIGHUP and SIGCONT.
    pub(crate) fn give_up(&self, session: u32) {
        self.release(session, &[u::SIGHUP, u::SIGCONT]);
    }

    fn release(&self, session: u32, signals: &[u32]) {
        let foreground = {
            let mut s = self.state.lock();
            if s.session == Some(session) {
                s.session = None;
                s.foreground.take()
            } else {
                None
            }
        };
        for &signo in signals {
            if let Some(group) = foreground {
                self.signals.signal_group(group, signo);
            }
        }
        self.signals.forget_ctty(session);
    }

    /// Hangs the terminal up (`vhangup(2)`, the master's close, the host's terminal gone): readers
    /// of files that are open now get 0, writers EIO; the session gets SIGHUP and SIGCONT and has
    /// no terminal any more. It can be opened again afresh.
    pub fn hangup(&self) {
        let (session, foreground) = {
            let mut s = self.state.lock();
            s.generation += 1;
            s.exclusive = false;
            s.pending.clear();
            s.ldisc = Ldisc::new(self.initial);
            (s.session.take(), s.foreground.take())
        };
        if let Some(session) = session {
            self.signals.hangup_session(session, foreground);
        }
        let all = PollEvents::IN | PollEvents::OUT | PollEvents::HUP | PollEvents::ERR;
        self.readers.wake_all(all);
        self.writers.wake_all(all);
        self.hardware.input_room(self);
        self.hardware.status();
    }

    /// What a task may do that belongs to a background group (`tty_check_change` of Linux): with
    /// `signo` SIGTTIN for reading, SIGTTOU for changing something.
    ///
    /// # Errors
    /// ERESTARTSYS after `signo` was sent to the caller's group; EIO if that would make no sense.
    pub(crate) fn check_foreground(
        self: &Arc<Tty>,
        who: Option<&dyn TtyContext>,
        signo: u32,
    ) -> Result<()> {
        let Some(who) = who else { return Ok(()) };
        let (session, foreground) = {
            let s = self.state.lock();
            (s.session, s.foreground)
        };
        let Some(foreground) = foreground else { return Ok(()) };
        if session != Some(who.session()) || who.pgrp() == foreground || !self.controls(who) {
            return Ok(());
        }
        if who.ignores(signo) {
            return if signo == u::SIGTTIN { err(Errno::EIO) } else { Ok(()) };
        }
        if who.orphaned() {
            return err(Errno::EIO);
        }
        self.signals.signal_group(who.pgrp(), signo);
        err(Errno::ERESTARTSYS)
    }

    /// Whether this is the controlling terminal of `who`.
    pub(crate) fn controls(self: &Arc<Tty>, who: &dyn TtyContext) -> bool {
        who.ctty().is_some_and(|t| Arc::ptr_eq(&t, self))
    }

    /// Whether the open file of `generation` has been hung up.
    pub(crate) fn hung_up(&self, generation: u64) -> bool {
        self.state.lock().generation != generation
    }

    pub(crate) fn close(&self) {
        let last = {
            let mut s = self.state.lock();
            s.opens -= 1;
            if s.opens == 0 {
                s.exclusive = false;
            }
            s.opens == 0
        };
        if last {
            self.hardware.status();
        }
    }
}

impl State {
    /// Gives the line discipline what it had no room for.
    pub(crate) fn pump(&mut self) {
        while !self.pending.is_empty() {
            let n = self.ldisc.receive(self.pending.as_slices().0);
            if n == 0 {
                break;
            }
            self.pending.drain(..n);
        }
    }
    pub(crate) fn flush_input(&mut self) {
        self.pending.clear();
        self.ldisc.flush_input();
    }
    pub(crate) fn set_exclusive(&mut self, on: bool) {
        self.exclusive = on;
    }
    pub(crate) fn exclusive(&self) -> bool {
        self.exclusive
    }
    pub(crate) fn set_foreground(&mut self, group: u32) {
        self.foreground = Some(group);
    }
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }
    /// Everything was read, and no more will come.
    pub(crate) fn exhausted(&self) -> bool {
        self.at_end && self.pending.is_empty()
    }
}

/// Adds status bits: of two that contradict each other the later one counts.
fn merge_packet(old: u8, new: u8) -> u8 {
    let mut old = old;
    for pair in [u::TIOCPKT_STOP | u::TIOCPKT_START, u::TIOCPKT_DOSTOP | u::TIOCPKT_NOSTOP] {
        if u32::from(new) & pair != 0 {
            old &= !(pair as u8);
        }
    }
    old | new
}

/// Opens a terminal: the drivers of this layer, `/dev/tty` and the kernel at boot come here.
/// Without `noctty` a session leader that has no terminal gets it as its controlling one.
///
/// # Errors
/// EIO if a pty's master is gone or has it locked; EBUSY if it is in exclusive use.
pub fn open(tty: &Arc<Tty>, info: OpenInfo, who: &dyn Opener) -> Result<Arc<dyn CharFile>> {
    tty.hardware.may_open()?;
    let (generation, session) = {
        let mut s = tty.state.lock();
        if s.exclusive && s.opens > 0 && !who.cred().capable(Cap::SysAdmin) {
            return err(Errno::EBUSY);
        }
        s.opens += 1;
        s.ever_opened = true;
        (s.generation, s.session)
    };
    let file = Arc::new(TtyFile::new(tty.clone(), generation, info));
    tty.hardware.status();
    if let Some(ctx) = who.tty_context()
        && !info.noctty
        && info.read
        && session.is_none()
        && ctx.session() == ctx.pid()
        && ctx.ctty().is_none()
    {
        tty.set_controlling(ctx);
    }
    Ok(file)
}
