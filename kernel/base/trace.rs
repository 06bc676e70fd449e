//! Trace points: what the kernel does, event by event, for a person or for Perfetto.
//!
//! Every subsystem says what happens with [`trace!`](crate::trace!). With its category off that is
//! one relaxed load and a branch that is not taken. The kernel installs a [`Sink`] (text or Chrome
//! JSON) and switches categories on from `trace=`; the last events are kept for a panic's report.

use alloc::string::String;
use core::sync::atomic::{AtomicU32, Ordering};

/// Groups of trace points that are switched together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Category {
    /// System calls: entry and result.
    Syscall = 1,
    /// Context switches, wake-ups, task life.
    Sched = 2,
    /// Page faults.
    Fault = 4,
    /// Signals sent and delivered.
    Signal = 8,
    /// Block device requests.
    Block = 16,
    /// Network packets.
    Net = 32,
}

/// One thing that happened.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum Event {
    /// A system call has returned. `text` is the call as strace prints it, with its result.
    Syscall { tid: u32, text: String, start_ns: u64, end_ns: u64 },
    /// A CPU goes from one task to another.
    Switch { cpu: u32, from: u32, to: u32 },
    /// A task became runnable.
    Wakeup { tid: u32 },
    /// A page fault and what became of it.
    Fault { tid: u32, addr: u64, write: bool, exec: bool, pages: u32, result: &'static str },
    /// A signal was sent.
    SignalSent { from: u32, to: u32, signo: u32 },
    /// A signal was delivered, to a handler or by default action.
    SignalDelivered { tid: u32, signo: u32, handler: u64 },
    /// A block request.
    Block { dev: u32, write: bool, sector: u64, bytes: u32, start_ns: u64, end_ns: u64 },
    /// Anything else worth a line.
    Note { category: Category, tid: u32, text: String },
}

/// Takes events. Called from any context that may hold spin locks: it must not sleep.
pub trait Sink: Send + Sync {
    /// One event, at monotonic time `now_ns`.
    fn event(&self, now_ns: u64, event: &Event);
}

static ENABLED: AtomicU32 = AtomicU32::new(0);
/// A sink and the clock that its events are dated by.
type Installed = (&'static dyn Sink, fn() -> u64);

static SINK: spin::Once<Installed> = spin::Once::new();

/// Whether a category is on.
#[inline(always)]
pub fn enabled(c: Category) -> bool {
    ENABLED.load(Ordering::Relaxed) & c as u32 != 0
}

/// Installs the sink and its clock, and switches on the categories of `mask`.
pub fn install(sink: &'static dyn Sink, clock: fn() -> u64, mask: u32) {
    SINK.call_once(|| (sink, clock));
    ENABLED.store(mask, Ordering::Relaxed);
}

/// Hands an event to the sink. Use [`trace!`](crate::trace!), which looks first.
#[cold]
#[inline(never)]
pub fn emit(event: &Event) {
    if let Some((sink, clock)) = SINK.get() {
        sink.event(clock(), event);
    }
}

/// `trace!(Sched, Switch { cpu, from, to })`: records the event if its category is on. The fields
/// are evaluated only then.
#[macro_export]
macro_rules! trace {
    ($category:ident, $event:ident { $($body:tt)* }) => {
        if $crate::trace::enabled($crate::trace::Category::$category) {
            $crate::trace::emit(&$crate::trace::Event::$event { $($body)* });
        }
    };
}
