//! The host's terminal, and pseudo-terminals that Umbra makes for further consoles.
//!
//! With the guest's own line discipline at work the host terminal must be raw, and it must be
//! given back as it was however Umbra ends. The modes to restore therefore live in one static
//! place that a signal handler may read: [`restore`] is async-signal-safe, idempotent, and called
//! on drop, by the panic hook and fatal signal handlers (`panic.rs`), and by the default actions
//! of the device thread for SIGTERM, SIGHUP, SIGINT and SIGQUIT (`intr.rs`). Stopping Umbra
//! (SIGTSTP) restores the modes and continuing (SIGCONT) takes them again: [`suspend`], [`resumed`].
//! There is one controlling terminal, so there is one [`HostTerminal`] in raw mode at a time.
//! SIGKILL is the one end that nothing can follow: `stty sane` is the user's then.

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicI32, AtomicU8, Ordering};

use base::{Errno, Result, err};
use nix::fcntl::OFlag;
use nix::pty::{PtyMaster, grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::stat::Mode;

use crate::hosterr::{cvt, host_error};
use crate::hoststream::{Endpoint, HostFd, HostStream};

/// Size of a terminal in characters.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct WindowSize {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub cols: u16,
}

/// The terminal is as we found it; what `SAVED` holds means nothing.
const COOKED: u8 = 0;
/// Somebody is changing the modes.
const BUSY: u8 = 1;
/// Raw: `SAVED` is to be restored.
const RAW: u8 = 2;
/// Restored for a stop; raw again when Umbra continues.
const SUSPENDED: u8 = 3;

static STATE: AtomicU8 = AtomicU8::new(COOKED);
static FD: AtomicI32 = AtomicI32::new(-1);

struct Saved(UnsafeCell<MaybeUninit<libc::termios>>);
// SAFETY: written only in state BUSY by the one thread that set it, read only in states that
// follow that write (release/acquire on STATE).
unsafe impl Sync for Saved {}
static SAVED: Saved = Saved(UnsafeCell::new(MaybeUninit::uninit()));

/// tcsetattr that neither stops us when we are in the background (SIGTTOU) nor waits for output.
/// Async-signal-safe.
fn set_modes(fd: i32, modes: &libc::termios) -> libc::c_int {
    // SAFETY: plain host calls on values of this frame; all are async-signal-safe (signal-safety(7)).
    unsafe {
        let (mut ttou, mut old) = (std::mem::zeroed(), std::mem::zeroed());
        libc::sigemptyset(&mut ttou);
        libc::sigaddset(&mut ttou, libc::SIGTTOU);
        libc::pthread_sigmask(libc::SIG_BLOCK, &ttou, &mut old);
        let mut r;
        loop {
            r = libc::tcsetattr(fd, libc::TCSANOW, modes);
            if r != -1 || *libc::__errno_location() != libc::EINTR {
                break;
            }
        }
        libc::pthread_sigmask(libc::SIG_SETMASK, &old, std::ptr::null_mut());
        r
    }
}

/// Goes from state `from` to `to` by setting the saved modes. Async-signal-safe.
fn restore_from(from: u8, to: u8) {
    if STATE.compare_exchange(from, BUSY, Ordering::Acquire, Ordering::Relaxed).is_ok() {
        // SAFETY: state RAW or SUSPENDED means that SAVED was written, and BUSY makes us its owner.
        let saved = unsafe { (*SAVED.0.get()).assume_init_ref() };
        set_modes(FD.load(Ordering::Relaxed), saved);
        STATE.store(to, Ordering::Release);
    }
}

/// Gives the terminal back as it was before raw mode, if it is raw. Async-signal-safe; calling it
/// twice does no harm.
pub fn restore() {
    restore_from(RAW, COOKED);
    // A stopped Umbra has restored it already, and others may have changed it since.
    let _ = STATE.compare_exchange(SUSPENDED, COOKED, Ordering::Relaxed, Ordering::Relaxed);
}

/// Stops Umbra as SIGTSTP would have: restores the terminal, stops, and when somebody continues
/// it, is raw again. For the device thread.
pub fn suspend() {
    restore_from(RAW, SUSPENDED);
    // To this thread, which therefore stops before it gets here again; kill(2) may let another
    // thread take the signal, and this one would go on for a moment.
    // SAFETY: no memory involved. It returns when SIGCONT came.
    unsafe { libc::raise(libc::SIGSTOP) };
    resumed();
}

/// After SIGCONT: raw again, also after a SIGSTOP that could not be seen (the shell has put its
/// own modes in place meanwhile).
pub fn resumed() {
    for from in [SUSPENDED, RAW] {
        if STATE.compare_exchange(from, BUSY, Ordering::Acquire, Ordering::Relaxed).is_ok() {
            // SAFETY: as in `restore_from`.
            let mut modes = unsafe { (*SAVED.0.get()).assume_init_read() };
            // SAFETY: changes the termios it is given.
            unsafe { libc::cfmakeraw(&mut modes) };
            set_modes(FD.load(Ordering::Relaxed), &modes);
            STATE.store(RAW, Ordering::Release);
            return;
        }
    }
}

fn window_size(fd: BorrowedFd<'_>) -> Result<WindowSize> {
    let mut w = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ writes one winsize.
    cvt(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCGWINSZ, &mut w) })?;
    Ok(WindowSize { rows: w.ws_row, cols: w.ws_col })
}

/// The terminal that Umbra runs on. Dropped, it is as it was.
#[derive(Debug)]
pub struct HostTerminal {
    stream: HostStream,
}

impl HostTerminal {
    /// The terminal that `stream` is.
    ///
    /// # Errors
    /// ENOTTY if it is none.
    pub fn new(stream: HostStream) -> Result<HostTerminal> {
        if stream.is_tty() { Ok(HostTerminal { stream }) } else { err(Errno::ENOTTY) }
    }

    /// Its bytes.
    pub fn stream(&self) -> &HostStream {
        &self.stream
    }

    /// Raw mode on (every byte comes through as typed, nothing is echoed, no signals) or off.
    ///
    /// # Errors
    /// EBUSY if another terminal is raw; EIO if the terminal is gone.
    pub fn set_raw(&self, on: bool) -> Result<()> {
        let fd = self.stream.as_fd().as_raw_fd();
        if !on {
            if FD.load(Ordering::Relaxed) == fd {
                restore();
            }
            return Ok(());
        }
        match STATE.compare_exchange(COOKED, BUSY, Ordering::Acquire, Ordering::Relaxed) {
            Ok(_) => {}
            Err(_) if FD.load(Ordering::Relaxed) == fd => return Ok(()),
            Err(_) => return err(Errno::EBUSY),
        }
        let mut modes = MaybeUninit::<libc::termios>::uninit();
        // SAFETY: writes a termios.
        let r = cvt(unsafe { libc::tcgetattr(fd, modes.as_mut_ptr()) });
        if let Err(e) = r {
            STATE.store(COOKED, Ordering::Release);
            return Err(e);
        }
        // SAFETY: tcgetattr filled it. In state BUSY the cell is ours.
        let mut modes = unsafe {
            (*SAVED.0.get()).write(modes.assume_init());
            modes.assume_init()
        };
        // SAFETY: changes the termios it is given.
        unsafe { libc::cfmakeraw(&mut modes) };
        FD.store(fd, Ordering::Relaxed);
        let r = cvt(set_modes(fd, &modes));
        STATE.store(if r.is_ok() { RAW } else { COOKED }, Ordering::Release);
        r.map(drop)
    }

    /// Its size now. SIGWINCH says when it has changed ([`crate::intr::on_signal`]).
    ///
    /// # Errors
    /// EIO if the terminal is gone.
    pub fn window_size(&self) -> Result<WindowSize> {
        window_size(self.stream.as_fd())
    }
}

impl Endpoint for HostTerminal {
    fn host_fd(&self) -> HostFd<'_> {
        self.stream.host_fd()
    }
}

impl Drop for HostTerminal {
    fn drop(&mut self) {
        if FD.load(Ordering::Relaxed) == self.stream.as_fd().as_raw_fd() {
            restore();
            FD.store(-1, Ordering::Relaxed);
        }
    }
}

/// A host pseudo-terminal for a console (`con1=pts`): the user attaches `screen NAME` to it.
///
/// Its slave is kept open here: without any opener the master would report a hang-up for ever,
/// and the modes and size that the first user left would be lost with the last close.
#[derive(Debug)]
pub struct HostPty {
    master: PtyMaster,
    _slave: OwnedFd,
    name: String,
}

impl HostPty {
    /// A new one, in raw mode (the guest's line discipline does the editing).
    ///
    /// # Errors
    /// ENOSPC or others, if the host has none to give.
    pub fn open() -> Result<HostPty> {
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let master = posix_openpt(flags).map_err(|e| host_error(e))?;
        grantpt(&master).map_err(|e| host_error(e))?;
        unlockpt(&master).map_err(|e| host_error(e))?;
        let name = ptsname_r(&master).map_err(|e| host_error(e))?;
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let slave =
            nix::fcntl::open(name.as_str(), flags, Mode::empty()).map_err(|e| host_error(e))?;
        let mut modes = nix::sys::termios::tcgetattr(&slave).map_err(|e| host_error(e))?;
        nix::sys::termios::cfmakeraw(&mut modes);
        nix::sys::termios::tcsetattr(&slave, nix::sys::termios::SetArg::TCSANOW, &modes)
            .map_err(|e| host_error(e))?;
        Ok(HostPty { master, _slave: slave, name })
    }

    /// The slave's path on the host, to tell the user.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Reads what the user typed.
    ///
    /// # Errors
    /// EAGAIN if there is nothing.
    pub fn read(&self, buf: &mut [u8]) -> Result<usize> {
        loop {
            match nix::unistd::read(&self.master, buf) {
                Err(nix::errno::Errno::EINTR) => {}
                r => return r.map_err(|e| host_error(e)),
            }
        }
    }

    /// Writes as much as the buffer takes. If nobody is attached it fills up: drop the output then.
    ///
    /// # Errors
    /// EAGAIN if it takes nothing now.
    pub fn write(&self, data: &[u8]) -> Result<usize> {
        loop {
            match nix::unistd::write(&self.master, data) {
                Err(nix::errno::Errno::EINTR) => {}
                r => return r.map_err(|e| host_error(e)),
            }
        }
    }

    /// The size that the attached program has set; 0 by 0 before.
    ///
    /// # Errors
    /// From the host.
    pub fn window_size(&self) -> Result<WindowSize> {
        window_size(self.master.as_fd())
    }
}

impl Endpoint for HostPty {
    fn host_fd(&self) -> HostFd<'_> {
        HostFd(self.master.as_fd())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::termios::{LocalFlags, tcgetattr};
    use std::os::fd::AsRawFd;

    fn slave(p: &HostPty) -> OwnedFd {
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        nix::fcntl::open(p.name(), flags, Mode::empty()).expect("slave")
    }

    /// One test for the one static terminal.
    #[test]
    fn raw_mode_is_always_given_back() {
        let p = HostPty::open().expect("pty");
        let fd = slave(&p);
        let cooked = |fd: &OwnedFd| {
            tcgetattr(fd)
                .expect("modes")
                .local_flags
                .contains(LocalFlags::ICANON | LocalFlags::ECHO)
        };
        // Make it an ordinary cooked terminal first.
        let mut m = tcgetattr(&fd).expect("modes");
        m.local_flags |= LocalFlags::ICANON | LocalFlags::ECHO;
        nix::sys::termios::tcsetattr(&fd, nix::sys::termios::SetArg::TCSANOW, &m).expect("set");
        assert!(cooked(&fd));

        let stream = HostStream::inherited(fd.as_raw_fd()).expect("stream");
        assert!(stream.is_tty());
        let t = HostTerminal::new(stream).expect("terminal");
        t.set_raw(true).expect("raw");
        t.set_raw(true).expect("twice is once");
        assert!(!cooked(&fd));
        let p2 = HostPty::open().expect("pty");
        let s2 = HostStream::inherited(slave(&p2).as_raw_fd()).expect("stream");
        let t2 = HostTerminal::new(s2).expect("terminal");
        assert_eq!(t2.set_raw(true).map_err(|e| e.errno()), Err(Errno::EBUSY));
        drop(t2);
        assert!(!cooked(&fd), "another terminal's end is not ours");

        // A stop and its end, without stopping the test.
        restore_from(RAW, SUSPENDED);
        assert!(cooked(&fd));
        resumed();
        assert!(!cooked(&fd));
        restore();
        restore();
        assert!(cooked(&fd));
        resumed();
        assert!(cooked(&fd), "nothing to resume");
        t.set_raw(true).expect("raw");
        drop(t);
        assert!(cooked(&fd));
    }

    #[test]
    fn pty_moves_bytes_raw() {
        let p = HostPty::open().expect("pty");
        let mut b = [0; 16];
        assert_eq!(p.read(&mut b).map_err(|e| e.errno()), Err(Errno::EAGAIN));
        let fd = slave(&p);
        nix::unistd::write(&fd, b"\x03\n").expect("write");
        assert_eq!(p.read(&mut b), Ok(2));
        assert_eq!(&b[..2], b"\x03\n");
        assert_eq!(p.write(b"hi\n"), Ok(3));
        assert_eq!(nix::unistd::read(&fd, &mut b), Ok(3));
        drop(fd);
        assert_eq!(p.read(&mut b).map_err(|e| e.errno()), Err(Errno::EAGAIN), "no hang-up");
        assert_eq!(p.window_size(), Ok(WindowSize { rows: 0, cols: 0 }));
    }
}
