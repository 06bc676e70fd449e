//! Trace events as text: a line each, with the time since boot and the thread, as strace prints it.

use std::io::Write as _;

use base::trace::Event;

use super::Format;

/// The text format.
#[derive(Debug)]
pub(super) struct Text;

struct Seconds(u64);

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let us = self.0 / 1000;
        write!(f, "{}.{:06}", us / 1_000_000, us % 1_000_000)
    }
}

/// `ubda` of a disk's number as the trace has it.
pub(super) fn disk(dev: u32) -> String {
    format!("{}:{}", dev >> 8, dev & 0xff)
}

impl Format for Text {
    fn begin(&mut self, _out: &mut Vec<u8>) {}

    fn event(&mut self, now: u64, event: &Event, out: &mut Vec<u8>) {
        let t = Seconds(now);
        // Writing to a vector cannot fail.
        let _ = match event {
            Event::Syscall { tid, text, start_ns, end_ns } => {
                let took = Seconds(end_ns.saturating_sub(*start_ns));
                writeln!(out, "{} [{tid}] {text} <{took}>", Seconds(*start_ns))
            }
            Event::Switch { cpu, from, to } => {
                writeln!(out, "{t} [{from}] cpu{cpu}: switch to {to}")
            }
            Event::Wakeup { tid } => writeln!(out, "{t} [{tid}] wakeup"),
            Event::Fault { tid, addr, write, exec, pages, result } => {
                let kind = if *exec {
                    "fetch"
                } else if *write {
                    "store"
                } else {
                    "load"
                };
                writeln!(out, "{t} [{tid}] fault: {kind} {addr:#x}, {pages} pages: {result}")
            }
            Event::SignalSent { from, to, signo } => {
                writeln!(
                    out,
                    "{t} [{from}] --- {} sent to {to} ---",
                    crate::signal::set::name(*signo)
                )
            }
            Event::SignalDelivered { tid, signo, handler } => {
                let name = crate::signal::set::name(*signo);
                match handler {
                    0 => writeln!(out, "{t} [{tid}] --- {name}: default action ---"),
                    1 => writeln!(out, "{t} [{tid}] --- {name}: ignored ---"),
                    h => writeln!(out, "{t} [{tid}] --- {name}: handler {h:#x} ---"),
                }
            }
            Event::Block { dev, write, sector, bytes, start_ns, end_ns } => {
                let what = if *write { "write" } else { "read" };
                let took = Seconds(end_ns.saturating_sub(*start_ns));
                let (at, disk) = (Seconds(*start_ns), disk(*dev));
                writeln!(out, "{at} [disk {disk}] {what} sector {sector}, {bytes} bytes <{took}>")
            }
            Event::Note { category, tid, text } => {
                writeln!(out, "{t} [{tid}] {category:?}: {text}")
            }
        };
    }

    fn end(&mut self, _now: u64, _out: &mut Vec<u8>) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let show = |e: Event| {
            let mut b = Vec::new();
            Text.event(1_500_000_000, &e, &mut b);
            String::from_utf8(b).unwrap()
        };
        let call = Event::Syscall {
            tid: 7,
            text: "read(3, 0x10, 5) = 5".into(),
            start_ns: 1_234_567_890,
            end_ns: 1_234_580_000,
        };
        assert_eq!(show(call), "1.234567 [7] read(3, 0x10, 5) = 5 <0.000012>\n");
        assert_eq!(
            show(Event::Switch { cpu: 0, from: 1, to: 2 }),
            "1.500000 [1] cpu0: switch to 2\n"
        );
        let fault = Event::Fault {
            tid: 3,
            addr: 0x1000,
            write: true,
            exec: false,
            pages: 16,
            result: "resolved",
        };
        assert_eq!(show(fault), "1.500000 [3] fault: store 0x1000, 16 pages: resolved\n");
        let block = Event::Block {
            dev: 98 << 8,
            write: false,
            sector: 8,
            bytes: 4096,
            start_ns: 1_000_000_000,
            end_ns: 1_000_100_000,
        };
        assert_eq!(show(block), "1.000000 [disk 98:0] read sector 8, 4096 bytes <0.000100>\n");
    }
}
