//! Trace events as Chrome trace JSON (the "Trace Event Format"), which Perfetto and chrome://tracing open.
//!
//! Three groups of tracks: tasks (system calls as slices; faults and signals as instants), virtual CPUs (what
//! runs when), disks (requests, which overlap, as asynchronous slices). Times are microseconds.

use std::io::Write as _;

use base::trace::Event;
use hashbrown::{HashMap, HashSet};

use super::Format;
use super::text::disk;

const TASKS: u32 = 1;
const CPUS: u32 = 2;
const DISKS: u32 = 3;

/// The JSON format.
#[derive(Debug, Default)]
pub(super) struct Chrome {
    /// Something was written: the next one needs a comma.
    some: bool,
    /// What each CPU runs, and since when.
    running: HashMap<u32, (u32, u64)>,
    named: HashSet<(u32, u32)>,
    requests: u64,
}

struct Micros(u64);

impl std::fmt::Display for Micros {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1000, self.0 % 1000)
    }
}

/// A JSON string with its quotes.
fn quoted(s: &str) -> String {
    let mut out = String::with_capacity(s.len() + 2);
    out.push('"');
    for c in s.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if (c as u32) < 0x20 => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

impl Chrome {
    fn put(&mut self, out: &mut Vec<u8>, event: std::fmt::Arguments<'_>) {
        let comma = if std::mem::replace(&mut self.some, true) { ",\n" } else { "\n" };
        // Writing to a vector cannot fail.
        let _ = write!(out, "{comma}{{{event}}}");
    }

    /// Names a track when it is first used.
    fn track(&mut self, out: &mut Vec<u8>, pid: u32, tid: u32, name: &str) {
        if self.named.insert((pid, tid)) {
            let name = quoted(name);
            self.put(
                out,
                format_args!(
                    r#""name":"thread_name","ph":"M","pid":{pid},"tid":{tid},"args":{{"name":{name}}}"#
                ),
            );
        }
    }

    fn instant(&mut self, out: &mut Vec<u8>, now: u64, tid: u32, category: &str, name: &str) {
        self.track(out, TASKS, tid, &format!("task {tid}"));
        let (ts, name) = (Micros(now), quoted(name));
        self.put(
            out,
            format_args!(
                r#""name":{name},"cat":"{category}","ph":"i","s":"t","ts":{ts},"pid":{TASKS},"tid":{tid}"#
            ),
        );
    }

    fn stop_running(&mut self, out: &mut Vec<u8>, now: u64, cpu: u32) {
        let Some((tid, since)) = self.running.remove(&cpu) else { return };
        if tid == 0 {
            return; // idle: a gap
        }
        let (ts, dur) = (Micros(since), Micros(now.saturating_sub(since)));
        self.put(
            out,
            format_args!(
                r#""name":"task {tid}","cat":"sched","ph":"X","ts":{ts},"dur":{dur},"pid":{CPUS},"tid":{cpu}"#
            ),
        );
    }
}

impl Format for Chrome {
    fn begin(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(br#"{"displayTimeUnit":"ns","traceEvents":["#);
        for (pid, name) in [(TASKS, "tasks"), (CPUS, "CPUs"), (DISKS, "disks")] {
            self.put(
                out,
                format_args!(
                    r#""name":"process_name","ph":"M","pid":{pid},"args":{{"name":"{name}"}}"#
                ),
            );
        }
    }

    fn event(&mut self, now: u64, event: &Event, out: &mut Vec<u8>) {
        match event {
            Event::Syscall { tid, text, start_ns, end_ns } => {
                self.track(out, TASKS, *tid, &format!("task {tid}"));
                let name = quoted(text.split('(').next().unwrap_or(text));
                let (ts, dur) = (Micros(*start_ns), Micros(end_ns.saturating_sub(*start_ns)));
                let call = quoted(text);
                self.put(
                    out,
                    format_args!(
                        r#""name":{name},"cat":"syscall","ph":"X","ts":{ts},"dur":{dur},"pid":{TASKS},"tid":{tid},"args":{{"call":{call}}}"#
                    ),
                );
            }
            Event::Switch { cpu, to, .. } => {
                self.track(out, CPUS, *cpu, &format!("CPU {cpu}"));
                self.stop_running(out, now, *cpu);
                self.running.insert(*cpu, (*to, now));
            }
            Event::Wakeup { tid } => self.instant(out, now, *tid, "sched", "wakeup"),
            Event::Fault { tid, addr, write, exec, result, .. } => {
                let kind = if *exec {
                    "fetch"
                } else if *write {
                    "store"
                } else {
                    "load"
                };
                self.instant(out, now, *tid, "fault", &format!("fault {kind} {addr:#x}: {result}"));
            }
            Event::SignalSent { from, to, signo } => {
                let name = crate::signal::set::name(*signo);
                self.instant(out, now, *from, "signal", &format!("{name} to {to}"));
            }
            Event::SignalDelivered { tid, signo, .. } => {
                let name = crate::signal::set::name(*signo);
                self.instant(out, now, *tid, "signal", &format!("takes {name}"));
            }
            Event::Block { dev, write, sector, bytes, start_ns, end_ns } => {
                self.requests += 1;
                let id = self.requests;
                let what = if *write { "write" } else { "read" };
                let disk = disk(*dev);
                for (ph, at) in [('b', Micros(*start_ns)), ('e', Micros(*end_ns))] {
                    self.put(
                        out,
                        format_args!(
                            r#""name":"{what}","cat":"block","ph":"{ph}","id":{id},"ts":{at},"pid":{DISKS},"tid":0,"args":{{"disk":"{disk}","sector":{sector},"bytes":{bytes}}}"#
                        ),
                    );
                }
            }
            Event::Note { category, tid, text } => {
                let category = format!("{category:?}");
                self.instant(out, now, *tid, &category, text);
            }
        }
    }

    fn end(&mut self, now: u64, out: &mut Vec<u8>) {
        let cpus: Vec<u32> = self.running.keys().copied().collect();
        for cpu in cpus {
            self.stop_running(out, now, cpu);
        }
        out.extend_from_slice(b"\n]}\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As much of a JSON reader as shows that brackets and strings fit.
    fn balanced(s: &str) -> bool {
        let (mut stack, mut string, mut escape) = (Vec::new(), false, false);
        for c in s.chars() {
            match (string, escape, c) {
                (true, true, _) => escape = false,
                (true, _, '\\') => escape = true,
                (_, _, '"') => string = !string,
                (true, _, c) if (c as u32) < 0x20 => return false,
                (true, _, _) => {}
                (_, _, '{' | '[') => stack.push(c),
                (_, _, '}') if stack.pop() != Some('{') => return false,
                (_, _, ']') if stack.pop() != Some('[') => return false,
                _ => {}
            }
        }
        stack.is_empty() && !string
    }

    #[test]
    fn a_trace_is_json() {
        let (mut c, mut out) = (Chrome::default(), Vec::new());
        c.begin(&mut out);
        for e in [
            Event::Switch { cpu: 0, from: 0, to: 4 },
            Event::Syscall {
                tid: 4,
                text: "write(1, \"a\\n\u{1}\") = 2".into(),
                start_ns: 1000,
                end_ns: 3500,
            },
            Event::SignalSent { from: 4, to: 5, signo: 15 },
            Event::Block {
                dev: 0x6200,
                write: true,
                sector: 1,
                bytes: 512,
                start_ns: 10,
                end_ns: 20,
            },
            Event::Switch { cpu: 0, from: 4, to: 0 },
            Event::Switch { cpu: 0, from: 0, to: 9 },
        ] {
            c.event(5000, &e, &mut out);
        }
        c.end(9000, &mut out);
        let s = String::from_utf8(out).unwrap();
        assert!(balanced(&s), "{s}");
        assert!(!s.contains(",\n]") && !s.contains("[,"));
        assert!(
            s.contains(r#""name":"write","cat":"syscall","ph":"X","ts":1.000,"dur":2.500"#),
            "{s}"
        );
        assert!(
            s.contains(r#""name":"task 9","cat":"sched","ph":"X","ts":5.000,"dur":4.000"#),
            "{s}"
        );
        assert_eq!(s.matches(r#""cat":"block""#).count(), 2);
        assert_eq!(quoted("a\"\\\u{2}"), r#""a\"\\\u0002""#);
    }
}
