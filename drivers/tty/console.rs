//! Consoles: terminals whose keyboard and screen belong to the host.
//!
//! A console is a [`Tty`] (`tty0`, `tty1`, ...) over a [`ConsolePort`]: the host terminal in raw
//! mode, a host pseudo-terminal, a descriptor, or nothing. Input: when the port has bytes, a
//! device thread calls [`Console::input_ready`], which moves them into the line discipline; when
//! that is full the port is left alone until a program reads. Output: whoever writes moves the
//! output to the port at once; what the host does not take now waits until the device thread
//! calls [`Console::output_ready`].
//!
//! Locks: a sleeping mutex each way (outside the terminal's spin lock) keeps the bytes in order.

use std::sync::{Arc, OnceLock, Weak};

use base::{Errno, Mutex, PollEvents, Result, Sleep, err};

use super::TtySignals;
use super::core::{self, Hardware, Tty, WinSize};
use super::termios::Termios;
use crate::chardev::{CharDriver, CharFile, DevNum, OpenInfo, Opener};
use crate::registry::{CharDev, CharRegistry};

/// Major number of the consoles; the minor is the console's number.
pub const TTY_MAJOR: u32 = 4;
/// /dev/tty: the caller's controlling terminal.
pub const DEV_TTY: DevNum = DevNum::new(5, 0);
/// /dev/console: the system console.
pub const DEV_CONSOLE: DevNum = DevNum::new(5, 1);

/// What a person types for the end of the input: ^D, the usual VEOF.
const END_OF_FILE: u8 = 4;

/// Bytes moved in one host call.
const CHUNK: usize = 4096;

/// The host's end of a console. Nothing here waits.
pub trait ConsolePort: Send + Sync + std::fmt::Debug {
    /// Reads what was typed. 0 is the end: the host's terminal is gone.
    ///
    /// # Errors
    /// EAGAIN if there is nothing now; EIO.
    fn read(&self, buf: &mut [u8]) -> Result<usize>;
    /// Shows what it can of `data`.
    ///
    /// # Errors
    /// EAGAIN if it takes nothing now; anything else loses the output.
    fn write(&self, data: &[u8]) -> Result<usize>;
    /// Its size, if it has one.
    fn size(&self) -> Option<WinSize>;
    /// Asks for one call of [`Console::input_ready`] when there is something to read.
    fn want_input(&self, console: &Arc<Console>);
    /// Asks for one call of [`Console::output_ready`] when it takes output again.
    fn want_output(&self, console: &Arc<Console>);
    /// Output that it does not take now is dropped instead of kept (a pseudo-terminal to which
    /// nobody is attached).
    fn lossy(&self) -> bool {
        false
    }
    /// Whether the end of its input is a line that drops (SIGHUP), as with a terminal. Else it is the
    /// end of a file, which programs read after all that came before.
    fn end_is_hangup(&self) -> bool {
        true
    }
}

/// A console without host: it never has input, and its output is lost (`con0=null`).
#[derive(Clone, Copy, Debug, Default)]
pub struct NullPort;

impl ConsolePort for NullPort {
    fn read(&self, _buf: &mut [u8]) -> Result<usize> {
        err(Errno::EAGAIN)
    }
    fn write(&self, data: &[u8]) -> Result<usize> {
        Ok(data.len())
    }
    fn size(&self) -> Option<WinSize> {
        None
    }
    fn want_input(&self, _console: &Arc<Console>) {}
    fn want_output(&self, _console: &Arc<Console>) {}
}

/// A console.
#[derive(Debug)]
pub struct Console {
    tty: Arc<Tty>,
    wire: Arc<Wire>,
}

/// What lies between the terminal and the port.
#[derive(Debug)]
struct Wire {
    port: Box<dyn ConsolePort>,
    /// Taken from the terminal's queue, not yet by the host.
    unsent: Mutex<Vec<u8>>,
    /// Read from the host, not yet taken by the terminal.
    unread: Mutex<Input>,
    console: OnceLock<Weak<Console>>,
}

#[derive(Debug, Default)]
struct Input {
    bytes: Vec<u8>,
    /// The port is watched, and will call.
    armed: bool,
    ended: bool,
}

impl Console {
    /// Console number `index` (`/dev/ttyINDEX`) on `port`. Input starts to flow at once.
    pub fn new(
        index: u32,
        port: Box<dyn ConsolePort>,
        signals: Arc<dyn TtySignals>,
    ) -> Arc<Console> {
        let size = port.size();
        let wire = Arc::new(Wire {
            port,
            unsent: Mutex::new(Vec::new()),
            unread: Mutex::new(Input::default()),
            console: OnceLock::new(),
        });
        let tty = Tty::new(
            DevNum::new(TTY_MAJOR, index),
            format!("tty{index}"),
            console_termios(),
            signals,
            Box::new(ConsoleHardware(wire.clone())),
        );
        let console = Arc::new(Console { tty, wire });
        let _ = console.wire.console.set(Arc::downgrade(&console));
        if let Some(size) = size {
            console.tty.set_window_size(size);
        }
        console.wire.fetch(&console);
        console
    }

    /// Its terminal.
    pub fn tty(&self) -> &Arc<Tty> {
        &self.tty
    }

    /// Device thread: the port has something to read, or is at its end.
    pub fn input_ready(self: &Arc<Console>) {
        self.wire.unread.lock().armed = false;
        self.wire.fetch(self);
    }

    /// Device thread: the port takes output again.
    pub fn output_ready(&self) {
        self.wire.send(&self.tty);
    }

    /// Device thread: the host's terminal has another size (SIGWINCH).
    pub fn resized(&self) {
        if let Some(size) = self.wire.port.size() {
            self.tty.set_window_size(size);
        }
    }

    /// Shows text of the kernel's own (log lines, a panic's report), after what programs have
    /// written, with `\n` as a new line.
    pub fn print(&self, text: &str) {
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            let n = self.tty.with(|s| s.ldisc.write(rest));
            if n == 0 {
                break; // stopped or full: the log has it
            }
            rest = &rest[n..];
        }
    }

    /// Registers `/dev/ttyINDEX`.
    ///
    /// # Errors
    /// EBUSY if it is taken.
    pub fn register(self: &Arc<Console>, devices: &CharRegistry) -> Result<()> {
        devices.register(CharDev {
            dev: self.tty.dev(),
            name: self.tty.name().to_owned(),
            class: "tty",
            mode: 0o620,
            driver: Arc::new(ConsoleDriver { console: self.clone(), noctty: false }),
        })
    }

    /// Registers this console as /dev/console. Opening that never makes it a controlling terminal.
    ///
    /// # Errors
    /// EBUSY if it is taken.
    pub fn register_as_system_console(self: &Arc<Console>, devices: &CharRegistry) -> Result<()> {
        devices.register(CharDev {
            dev: DEV_CONSOLE,
            name: "console".to_owned(),
            class: "/dev/console",
            mode: 0o600,
            driver: Arc::new(ConsoleDriver { console: self.clone(), noctty: true }),
        })
    }
}

/// Registers /dev/tty, which opens the caller's controlling terminal.
///
/// # Errors
/// EBUSY if it is taken.
pub fn register_dev_tty(devices: &CharRegistry) -> Result<()> {
    devices.register(CharDev {
        dev: DEV_TTY,
        name: "tty".to_owned(),
        class: "/dev/tty",
        mode: 0o666,
        driver: Arc::new(CurrentTty),
    })
}

fn console_termios() -> Termios {
    use base::uapi::general as u;
    let mut t = Termios::default();
    t.iflag |= u::IUTF8; // host terminals speak UTF-8
    t
}

impl Wire {
    /// Moves input from the port to the terminal until one of them stops it.
    fn fetch(&self, console: &Arc<Console>) {
        let tty = &console.tty;
        let mut input = self.unread.lock();
        let mut buf = [0u8; CHUNK];
        loop {
            if !input.bytes.is_empty() {
                let n = tty.input(&input.bytes);
                input.bytes.drain(..n);
                if !input.bytes.is_empty() {
                    return; // `input_room` goes on
                }
            }
            if input.ended && !self.port.end_is_hangup() {
                tty.end_input();
            }
            if input.ended || input.armed {
                return;
            }
            match self.port.read(&mut buf) {
                Ok(n) if n > 0 => input.bytes.extend_from_slice(&buf[..n]),
                Err(e) if e == Errno::EAGAIN => {
                    input.armed = true;
                    self.port.want_input(console);
                    return;
                }
                _ if !self.port.end_is_hangup() => {
                    input.ended = true;
                    // It completes a last line without its newline.
                    input.bytes.push(END_OF_FILE);
                }
                _ => {
                    input.ended = true;
                    drop(input);
                    tty.hangup();
                    return;
                }
            }
        }
    }

    /// Moves output from the terminal to the port. Whether all of it went.
    fn send(&self, tty: &Tty) -> bool {
        let mut unsent = self.unsent.lock();
        let mut moved = false;
        loop {
            if unsent.is_empty() && tty.take_output(&mut unsent, CHUNK) == 0 {
                drop(unsent);
                if moved {
                    tty.writers.wake_all(PollEvents::OUT | PollEvents::WRNORM); // `drain` waits
                }
                return true;
            }
            moved = true;
            match self.port.write(&unsent) {
                Ok(n) if n > 0 => {
                    unsent.drain(..n);
                }
                Err(e) if e == Errno::EAGAIN && !self.port.lossy() => {
                    drop(unsent);
                    if let Some(console) = self.console.get().and_then(Weak::upgrade) {
                        self.port.want_output(&console);
                    }
                    return false;
                }
                // The host's end is gone or broken: a screen that is switched off.
                _ => unsent.clear(),
            }
        }
    }
}

#[derive(Debug)]
struct ConsoleHardware(Arc<Wire>);

impl Hardware for ConsoleHardware {
    fn output(&self, tty: &Tty) {
        self.0.send(tty);
    }
    fn input_room(&self, _tty: &Tty) {
        // If nothing waits the port is armed, and calls by itself.
        let waits = !self.0.unread.lock().bytes.is_empty();
        if waits && let Some(console) = self.0.console.get().and_then(Weak::upgrade) {
            self.0.fetch(&console);
        }
    }
    fn drain(&self, tty: &Tty) -> Result<()> {
        let done = || {
            // Stopped output (^S) does not drain: then this waits, as tcdrain(3) does.
            (self.0.send(tty) && tty.look(|s| s.ldisc.out.len() == 0)).then_some(())
        };
        tty.writers.wait_until(Sleep::Interruptible, None, done)
    }
    fn is_pty(&self) -> bool {
        false
    }
}

struct ConsoleDriver {
    console: Arc<Console>,
    noctty: bool,
}

impl CharDriver for ConsoleDriver {
    fn open(&self, _dev: DevNum, info: OpenInfo, who: &dyn Opener) -> Result<Arc<dyn CharFile>> {
        let info = OpenInfo { noctty: info.noctty || self.noctty, ..info };
        core::open(&self.console.tty, info, who)
    }
}

struct CurrentTty;

impl CharDriver for CurrentTty {
    fn open(&self, _dev: DevNum, info: OpenInfo, who: &dyn Opener) -> Result<Arc<dyn CharFile>> {
        match who.tty_context().and_then(|c| c.ctty()) {
            Some(tty) => core::open(&tty, OpenInfo { noctty: true, ..info }, who),
            None => err(Errno::ENXIO),
        }
    }
}

#[cfg(test)]
#[path = "console_tests.rs"]
mod tests;
