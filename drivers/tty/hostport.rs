//! The ports of consoles that lead to the host: the terminal that Umbra was started on, a host
//! pseudo-terminal, or any descriptor. [`open_port`] reads what `con0=` and `con1=` say.

use std::sync::{Arc, OnceLock};

use arch::hoststream::{Endpoint, HostStream};
use arch::hosttty::{HostPty, HostTerminal, WindowSize};
use arch::intr::{self, Ready, WatchId};
use base::{Errno, Result};

use super::console::{Console, ConsolePort, NullPort};
use super::core::WinSize;

/// SIGWINCH on the host.
const HOST_SIGWINCH: i32 = base::uapi::general::SIGWINCH as i32;

#[derive(Clone, Debug)]
enum End {
    Stream(Arc<HostStream>),
    Terminal(Arc<HostTerminal>),
    Pty(Arc<HostPty>),
}

impl End {
    fn read(&self, buf: &mut [u8]) -> Result<usize> {
        match self {
            End::Stream(s) => s.read(buf),
            End::Terminal(t) => t.stream().read(buf),
            End::Pty(p) => p.read(buf),
        }
    }
    fn write(&self, data: &[u8]) -> Result<usize> {
        match self {
            End::Stream(s) => s.write(data),
            End::Terminal(t) => t.stream().write(data),
            End::Pty(p) => p.write(data),
        }
    }
    fn endpoint(&self) -> Arc<dyn Endpoint> {
        match self {
            End::Stream(s) => s.clone(),
            End::Terminal(t) => t.clone(),
            End::Pty(p) => p.clone(),
        }
    }
    fn size(&self) -> Option<WindowSize> {
        match self {
            End::Stream(_) => None,
            End::Terminal(t) => t.window_size().ok(),
            End::Pty(p) => p.window_size().ok().filter(|w| w.rows > 0),
        }
    }
}

/// A console's way to the host.
#[derive(Debug)]
pub struct HostPort {
    input: End,
    /// None: the same as the input.
    output: Option<End>,
    input_watch: OnceLock<Option<WatchId>>,
    output_watch: OnceLock<Option<WatchId>>,
}

impl HostPort {
    fn with(input: End, output: Option<End>) -> HostPort {
        HostPort { input, output, input_watch: OnceLock::new(), output_watch: OnceLock::new() }
    }
    /// A host terminal, raw from now on and restored when the console goes, with the stream that
    /// shows output (usually standard input's terminal and standard output).
    ///
    /// # Errors
    /// EBUSY, EIO: it cannot be made raw.
    pub fn terminal(terminal: HostTerminal, output: HostStream) -> Result<HostPort> {
        terminal.set_raw(true)?;
        let output = End::Stream(Arc::new(output));
        Ok(HostPort::with(End::Terminal(Arc::new(terminal)), Some(output)))
    }
    /// Two streams.
    pub fn streams(input: HostStream, output: HostStream) -> HostPort {
        let (input, output) = (Arc::new(input), Arc::new(output));
        HostPort::with(End::Stream(input), Some(End::Stream(output)))
    }
    /// One stream for both directions.
    pub fn stream(both: HostStream) -> HostPort {
        HostPort::with(End::Stream(Arc::new(both)), None)
    }
    /// A host pseudo-terminal to which a person attaches `screen`.
    pub fn pty(pty: HostPty) -> HostPort {
        HostPort::with(End::Pty(Arc::new(pty)), None)
    }

    fn want(&self, output: bool, ready: Ready, console: &Arc<Console>) {
        let (cell, end) = match &self.output {
            Some(end) if output => (&self.output_watch, end),
            _ => (&self.input_watch, &self.input),
        };
        let id = cell.get_or_init(|| {
            let console = Arc::downgrade(console);
            let callback = Box::new(move |ready: Ready| {
                let Some(console) = console.upgrade() else { return };
                if ready.contains(Ready::OUT) {
                    console.output_ready();
                }
                if ready.contains(Ready::IN) {
                    console.input_ready();
                }
            });
            intr::watch(end.endpoint(), Ready::empty(), callback)
                .inspect_err(|e| log::error!("a console cannot watch the host: {e}"))
                .ok()
        });
        if let Some(id) = id {
            let _ = intr::rearm(*id, ready);
        }
    }
}

impl ConsolePort for HostPort {
    fn read(&self, buf: &mut [u8]) -> Result<usize> {
        self.input.read(buf)
    }
    fn write(&self, data: &[u8]) -> Result<usize> {
        self.output.as_ref().unwrap_or(&self.input).write(data)
    }
    fn size(&self) -> Option<WinSize> {
        let w = self.input.size()?;
        Some(WinSize { rows: w.rows, cols: w.cols, xpixel: 0, ypixel: 0 })
    }
    fn want_input(&self, console: &Arc<Console>) {
        self.want(false, Ready::IN, console);
    }
    fn want_output(&self, console: &Arc<Console>) {
        self.want(true, Ready::OUT, console);
    }
    fn lossy(&self) -> bool {
        matches!(self.input, End::Pty(_))
    }
    fn end_is_hangup(&self) -> bool {
        !matches!(self.input, End::Stream(_))
    }
}

impl Drop for HostPort {
    fn drop(&mut self) {
        for cell in [&self.input_watch, &self.output_watch] {
            if let Some(Some(id)) = cell.get() {
                intr::unwatch(*id);
            }
        }
    }
}

/// What `conN=` asks for, opened.
#[derive(Debug)]
pub struct OpenedPort {
    /// For [`Console::new`].
    pub port: Box<dyn ConsolePort>,
    /// What to tell the user: where the console is (`pts`).
    pub note: Option<String>,
}

/// Opens the port that a `conN=` value names: `fd:IN,fd:OUT`, `fd:N`, `pts` or `null`. A terminal
/// on the input side becomes raw.
///
/// # Errors
/// One line that says what is wrong.
pub fn open_port(spec: &str) -> Result<OpenedPort, String> {
    let plain = |port: HostPort| OpenedPort { port: Box::new(port), note: None };
    let fd = |text: &str| {
        let number = text.strip_prefix("fd:").and_then(|n| n.parse::<i32>().ok());
        let number = number.ok_or_else(|| {
            format!("console `{spec}`: expected `fd:N`, `fd:IN,fd:OUT`, `pts` or `null`")
        })?;
        HostStream::inherited(number)
            .map_err(|e| format!("console `{spec}`: descriptor {number}: {}", e.errno().text()))
    };
    match spec {
        "null" => Ok(OpenedPort { port: Box::new(NullPort), note: None }),
        "pts" => {
            let pty = HostPty::open()
                .map_err(|e| format!("console `pts`: no host terminal: {}", e.errno().text()))?;
            let note = Some(pty.name().to_owned());
            Ok(OpenedPort { port: Box::new(HostPort::pty(pty)), note })
        }
        _ => {
            let (input, output) = spec.split_once(',').unwrap_or((spec, spec));
            let (input, output) = (fd(input)?, fd(output)?);
            if !input.is_tty() {
                return Ok(plain(HostPort::streams(input, output)));
            }
            HostTerminal::new(input).and_then(|t| HostPort::terminal(t, output)).map(plain).map_err(
                |e| match e.errno() {
                    Errno::EBUSY => format!("console `{spec}`: another console has the terminal"),
                    e => format!("console `{spec}`: {}", e.text()),
                },
            )
        }
    }
}

impl Console {
    /// From now on the guest's window follows the host's (the host signal SIGWINCH). For one
    /// console: the last one wins.
    ///
    /// # Errors
    /// From the host.
    pub fn follow_window_size(self: &Arc<Console>) -> Result<()> {
        let console = Arc::downgrade(self);
        intr::on_signal(HOST_SIGWINCH, move || {
            if let Some(console) = console.upgrade() {
                console.resized();
            }
        })
    }
}
