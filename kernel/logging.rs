//! The kernel's messages: `log`'s macros write to the ring behind dmesg and, if the level or RUST_LOG says
//! so, to standard error.
//!
//! Anything may log, also with spin locks held: the ring takes a leaf lock only, and standard error is
//! written by one host call a line.

use std::io::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};

use drivers::KernelLog;
use log::{Level, LevelFilter, Log, Metadata, Record};

/// Bytes of text that the ring holds.
const CAPACITY: usize = 256 << 10;

struct Logger {
    ring: Arc<KernelLog>,
    stderr: env_logger::Logger,
    /// RUST_LOG is set: it alone says what goes to standard error.
    by_env: bool,
}

static LOGGER: OnceLock<Logger> = OnceLock::new();
/// Messages with a level below this one are shown.
static CONSOLE_LEVEL: AtomicU8 = AtomicU8::new(7);
/// Standard error is a terminal in raw mode: lines end with a carriage return, too.
static RAW: AtomicBool = AtomicBool::new(false);
/// Messages are kept from standard error for a while: see [`capture`].
static HELD: AtomicBool = AtomicBool::new(false);

/// The level of syslog(3).
fn priority(level: Level) -> u32 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

impl Log for Logger {
    fn enabled(&self, m: &Metadata<'_>) -> bool {
        m.level() <= Level::Debug || self.stderr.enabled(m)
    }

    fn log(&self, record: &Record<'_>) {
        let level = priority(record.level());
        // The ring keeps what a person would want to read later; debugging output only if it is shown.
        let shown = if self.by_env {
            self.stderr.matches(record)
        } else {
            level < u32::from(CONSOLE_LEVEL.load(Ordering::Relaxed))
                && record.level() != Level::Trace
        };
        if shown || record.level() <= Level::Info {
            self.ring.append(level, &record.args().to_string());
        }
        if shown && !HELD.load(Ordering::Relaxed) {
            self.stderr.log(record);
        }
    }

    fn flush(&self) {}
}

/// Starts logging; `console_level` as `loglevel=` has it. The ring of the first call is kept.
pub fn init(console_level: u8) -> Arc<KernelLog> {
    CONSOLE_LEVEL.store(console_level, Ordering::Relaxed);
    let logger = LOGGER.get_or_init(|| {
        let by_env = std::env::var_os("RUST_LOG").is_some_and(|v| !v.is_empty());
        let mut builder = env_logger::Builder::new();
        if by_env {
            builder.parse_env("RUST_LOG");
        } else {
            builder.filter_level(LevelFilter::Trace);
        }
        let start = arch::clock::monotonic();
        builder.format(move |f, r| {
            let t = arch::clock::monotonic() - start;
            let end = if RAW.load(Ordering::Relaxed) { "\r\n" } else { "\n" };
            let (secs, micros) = (t.as_secs(), t.subsec_micros());
            write!(f, "[{secs:5}.{micros:06}] ")?;
            if r.level() <= Level::Warn {
                let style = f.default_level_style(r.level());
                write!(f, "{style}{}{style:#}{end}", r.args())
            } else {
                write!(f, "{}{end}", r.args())
            }
        });
        Logger { ring: KernelLog::new(CAPACITY), stderr: builder.build(), by_env }
    });
    if log::set_logger(logger).is_ok() {
        log::set_max_level(if logger.by_env {
            logger.stderr.filter().max(LevelFilter::Info)
        } else {
            LevelFilter::Debug
        });
    }
    logger.ring.clone()
}

/// syslog(2) SYSLOG_ACTION_CONSOLE_LEVEL: messages below `level` are shown.
pub fn set_console_level(level: u8) {
    CONSOLE_LEVEL.store(level, Ordering::Relaxed);
}

/// Standard error is a terminal that is raw (or not any more).
pub fn set_raw(on: bool) {
    RAW.store(on, Ordering::Relaxed);
}

/// The end of a line on standard error as it is now.
pub fn line_end() -> &'static str {
    if RAW.load(Ordering::Relaxed) { "\r\n" } else { "\n" }
}

/// Runs `f` with messages kept in the ring only. Returns its result and the last error that was logged: for
/// failures that are to be told in one line.
pub fn capture<T>(f: impl FnOnce() -> T) -> (T, Option<String>) {
    let Some(logger) = LOGGER.get() else { return (f(), None) };
    let from = logger.ring.range().1;
    HELD.store(true, Ordering::Relaxed);
    let result = f();
    HELD.store(false, Ordering::Relaxed);
    let mut last = None;
    let mut seq = from;
    while let Some(r) = logger.ring.get(seq) {
        seq = r.seq + 1;
        if r.level() <= priority(Level::Error) {
            last = Some(r.text);
        }
    }
    (result, last)
}

/// Shows on standard error what [`capture`] has kept back since record `from`.
pub fn replay(from: u64) {
    let Some(logger) = LOGGER.get() else { return };
    let mut seq = from;
    while let Some(r) = logger.ring.get(seq) {
        seq = r.seq + 1;
        if r.level() < u32::from(CONSOLE_LEVEL.load(Ordering::Relaxed)) {
            let line = r.console_line();
            let _ = std::io::stderr().write_all(line.trim_end().as_bytes());
            let _ = std::io::stderr().write_all(line_end().as_bytes());
        }
    }
}
