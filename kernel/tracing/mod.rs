//! Sinks for the trace points of `base::trace`: what `trace=` writes.
//!
//! Events become text in strace's manner (`text`) or Chrome trace JSON (`chrome`) in a buffer that is
//! written where the emitter holds no lock (system calls), at idle moments and at the end. The last events
//! are also kept for the report of a kernel panic.
//!
//! Events come with spin locks held, so the sink's own lock is an ordinary host mutex, outside of the ranks:
//! nothing else is taken under it.

mod chrome;
mod text;

use std::collections::VecDeque;
use std::io::Write as _;
use std::sync::{Mutex, OnceLock, PoisonError};

use arch::hostfile::HostFile;
use base::trace::{Event, Sink};

use crate::config::TraceConfig;

/// Events kept for a panic.
const KEEP: usize = 64;
/// Bytes in the buffer after which it is written at the next good moment, and at any moment.
const FULL: usize = 64 << 10;
const OVERFULL: usize = 4 << 20;

/// Makes bytes of events.
trait Format: Send {
    /// What comes first.
    fn begin(&mut self, out: &mut Vec<u8>);
    /// One event at `now_ns`.
    fn event(&mut self, now_ns: u64, event: &Event, out: &mut Vec<u8>);
    /// What comes last.
    fn end(&mut self, now_ns: u64, out: &mut Vec<u8>);
}

enum Target {
    Stderr,
    File(HostFile, u64),
}

struct State {
    format: Box<dyn Format>,
    buffer: Vec<u8>,
    target: Target,
    last: VecDeque<(u64, Event)>,
    /// Writing failed: said once, then silent.
    broken: bool,
    ended: bool,
}

struct Tracer {
    start_ns: u64,
    state: Mutex<State>,
}

static TRACER: OnceLock<Tracer> = OnceLock::new();

impl State {
    fn write(&mut self) {
        if self.buffer.is_empty() || self.broken {
            self.buffer.clear();
            return;
        }
        let data = std::mem::take(&mut self.buffer);
        let failed = match &mut self.target {
            Target::Stderr if crate::logging::line_end() == "\n" => {
                std::io::stderr().write_all(&data).err().map(|e| e.to_string())
            }
            Target::Stderr => {
                let text = String::from_utf8_lossy(&data).replace('\n', "\r\n");
                std::io::stderr().write_all(text.as_bytes()).err().map(|e| e.to_string())
            }
            Target::File(f, at) => {
                let r = f.write_at(*at, &data);
                *at += data.len() as u64;
                r.err().map(|e| e.errno().text().to_owned())
            }
        };
        if let Some(why) = failed {
            self.broken = true;
            eprint!("umbra: the trace ends here: {why}{}", crate::logging::line_end());
        }
        // Keep the allocation.
        self.buffer = data;
        self.buffer.clear();
    }
}

impl Sink for Tracer {
    fn event(&self, now_ns: u64, event: &Event) {
        let mut guard = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let s = &mut *guard;
        if s.ended {
            return;
        }
        let now = now_ns.saturating_sub(self.start_ns);
        let event = shifted(event, self.start_ns);
        s.format.event(now, &event, &mut s.buffer);
        let unlocked = matches!(event, Event::Syscall { .. });
        let limit = match (&s.target, unlocked) {
            (Target::Stderr, true) => 1,
            (_, true) => FULL,
            (_, false) => OVERFULL,
        };
        if s.buffer.len() >= limit {
            s.write();
        }
        if s.last.len() == KEEP {
            s.last.pop_front();
        }
        s.last.push_back((now, event));
    }
}

/// The event with its own times relative to the start.
fn shifted(event: &Event, by: u64) -> Event {
    let mut e = event.clone();
    match &mut e {
        Event::Syscall { start_ns, end_ns, .. } | Event::Block { start_ns, end_ns, .. } => {
            *start_ns = start_ns.saturating_sub(by);
            *end_ns = end_ns.saturating_sub(by);
        }
        _ => {}
    }
    e
}

/// Opens what `trace=` asks for; times count from `start_ns` on the monotonic clock.
///
/// # Errors
/// One line: the file cannot be made.
pub fn install(config: &TraceConfig, start_ns: u64) -> Result<(), String> {
    let json = config.file.as_ref().is_some_and(|f| f.extension().is_some_and(|e| e == "json"));
    let target = match &config.file {
        None => Target::Stderr,
        Some(path) => Target::File(HostFile::create(path).map_err(|e| format!("trace=: {e}"))?, 0),
    };
    let format: Box<dyn Format> =
        if json { Box::new(chrome::Chrome::default()) } else { Box::new(text::Text) };
    let mut state = State {
        format,
        buffer: Vec::new(),
        target,
        last: VecDeque::new(),
        broken: false,
        ended: false,
    };
    state.format.begin(&mut state.buffer);
    let tracer = TRACER.get_or_init(|| Tracer { start_ns, state: Mutex::new(state) });
    base::trace::install(tracer, || arch::clock::monotonic().0, config.mask);
    Ok(())
}

/// Writes what waits. The caller holds no spin lock.
pub fn flush() {
    if let Some(t) = TRACER.get() {
        t.state.lock().unwrap_or_else(PoisonError::into_inner).write();
    }
}

/// Completes the output; later events are lost.
pub fn finish() {
    if let Some(t) = TRACER.get() {
        let now = arch::clock::monotonic().0.saturating_sub(t.start_ns);
        let mut guard = t.state.lock().unwrap_or_else(PoisonError::into_inner);
        let s = &mut *guard;
        if !s.ended {
            s.ended = true;
            s.format.end(now, &mut s.buffer);
            s.write();
        }
    }
}

/// The last events, for a panic's report; takes no lock that is held.
pub fn last_events(out: &mut String) {
    let Some(t) = TRACER.get() else {
        out.push_str("no trace events (trace= is off)\n");
        return;
    };
    let Ok(mut s) = t.state.try_lock() else { return };
    s.write();
    out.push_str("last trace events:\n");
    let mut buffer = Vec::new();
    for (now, e) in &s.last {
        text::Text.event(*now, e, &mut buffer);
    }
    out.push_str(&String::from_utf8_lossy(&buffer));
}
