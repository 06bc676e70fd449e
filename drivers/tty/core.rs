//! The terminal itself. (Being written.)
use std::sync::Arc;

use base::{Errno, Result, Sink, Source, err};

use crate::chardev::{CharFile, DevNum, OpenInfo, Opener};

/// `struct winsize`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[allow(missing_docs)]
pub struct WinSize {
    pub rows: u16,
    pub cols: u16,
    pub xpixel: u16,
    pub ypixel: u16,
}

/// A terminal.
#[derive(Debug)]
pub struct Tty {
    dev: DevNum,
    name: String,
}

impl Tty {
    /// Its device number, as `/proc/PID/stat` shows it.
    pub fn dev(&self) -> DevNum {
        self.dev
    }
    /// Its name (`console`, `pts/3`).
    pub fn name(&self) -> &str {
        &self.name
    }
    /// The session that it controls.
    pub fn session(&self) -> Option<u32> {
        None
    }
    /// The foreground process group (`tpgid` in /proc/PID/stat).
    pub fn foreground(&self) -> Option<u32> {
        None
    }
    /// The leader of `session` exits or gives the terminal up (TIOCNOTTY): SIGHUP and SIGCONT to
    /// the foreground group; nobody of the session has it as controlling terminal afterwards.
    pub fn disassociate(&self, _session: u32) {}
    /// Hangs the terminal up: readers get 0, writers EIO, the session SIGHUP (`vhangup(2)`).
    pub fn hangup(&self) {}
}

/// An open terminal.
#[derive(Debug)]
pub struct TtyFile {
    tty: Arc<Tty>,
}

/// Opens a terminal: `/dev/tty` and `/dev/console` of the file layer come here.
///
/// # Errors
/// EIO, EBUSY.
pub fn open(tty: &Arc<Tty>, _info: OpenInfo, _who: &dyn Opener) -> Result<Arc<dyn CharFile>> {
    Ok(Arc::new(TtyFile { tty: tty.clone() }))
}

impl CharFile for TtyFile {
    fn read(&self, _offset: u64, _sink: &mut dyn Sink, _nonblock: bool) -> Result<usize> {
        err(Errno::EIO)
    }
    fn write(&self, _offset: u64, _source: &mut dyn Source, _nonblock: bool) -> Result<usize> {
        err(Errno::EIO)
    }
    fn as_tty(&self) -> Option<&Arc<Tty>> {
        Some(&self.tty)
    }
}
