//! Terminals: the line discipline, sessions and job control, pseudo-terminals, the console.

pub mod console;
pub mod pty;

mod core;
mod file;
pub mod hostport;
mod ioctl;
mod ldisc;
mod output;
mod readbuf;
mod termios;
#[cfg(test)]
mod testing;

use std::sync::Arc;

pub use self::core::{Tty, WinSize, open};
pub use self::file::TtyFile;
pub use self::termios::Termios;
pub use console::Console;
pub use hostport::{HostPort, open_port};
pub use pty::{PtyRegistry, PtySlot};

/// What a terminal must know of a task: the one that calls, or the one that opens. The kernel
/// implements it for its processes.
pub trait TtyContext: Send + Sync {
    /// Process id.
    fn pid(&self) -> u32;
    /// Process group.
    fn pgrp(&self) -> u32;
    /// Session id; the caller leads it if it equals `pid`.
    fn session(&self) -> u32;
    /// Whether SIGTTIN or SIGTTOU (`signo`) is blocked or ignored by the caller.
    fn ignores(&self, signo: u32) -> bool;
    /// Whether the caller's process group is orphaned.
    fn orphaned(&self) -> bool;
    /// The controlling terminal of the caller's process.
    fn ctty(&self) -> Option<Arc<Tty>>;
    /// Sets the controlling terminal of the caller's process only (children inherit it at fork).
    /// Storing a strong reference is right: the terminal forgets the session, not the reverse.
    fn set_ctty(&self, tty: Option<Arc<Tty>>);
    /// The session of a process group; None if there is no such group.
    fn session_of_group(&self, pgrp: u32) -> Option<u32>;
}

/// How terminals reach processes; the kernel implements it and passes it to [`Console::new`] and
/// [`PtyRegistry::new`]. No lock of a terminal is held during these calls.
pub trait TtySignals: Send + Sync {
    /// The calling task; None on a device thread or in the kernel itself.
    fn caller(&self) -> Option<Arc<dyn TtyContext>>;
    /// Sends `signo` to every process of a group.
    fn signal_group(&self, pgrp: u32, signo: u32);
    /// Terminal gone: SIGHUP and SIGCONT to the leader of `session` and to the foreground group.
    /// No process of the session has a controlling terminal afterwards.
    fn hangup_session(&self, session: u32, foreground: Option<u32>);
    /// No process of the session has a controlling terminal any more (no signals).
    fn forget_ctty(&self, session: u32);
}

/// For kernels without processes (tests, early boot).
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSignals;

impl TtySignals for NoSignals {
    fn caller(&self) -> Option<Arc<dyn TtyContext>> {
        None
    }
    fn signal_group(&self, _pgrp: u32, _signo: u32) {}
    fn hangup_session(&self, _session: u32, _foreground: Option<u32>) {}
    fn forget_ctty(&self, _session: u32) {}
}
