//! Terminals. (To be filled: line discipline, sessions, foreground group.)

/// What a terminal must know of the calling task.
pub trait TtyContext {
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
}

/// How terminals send signals; the kernel implements it and installs it at boot.
pub trait TtySignals: Send + Sync {
    /// Sends `signo` to every process of a group.
    fn signal_group(&self, pgrp: u32, signo: u32);
    /// The session `session` lost its terminal: SIGHUP and SIGCONT to its leader, and to the foreground group.
    fn hangup_session(&self, session: u32, foreground: Option<u32>);
}

/// A terminal.
#[derive(Debug)]
pub struct Tty {}
