//! Runs many guest programs through `runner` and reads what it reports.

use super::build::{Program, Suite};
use super::{Guard, Scratch, repo, umbra};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// How a program ended, and what it printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Report {
    /// `exit:N`, `signal:N`, `timeout`, or what became of the kernel.
    pub(crate) outcome: String,
    pub(crate) output: String,
}

/// What one run of the runner got through.
#[derive(Debug, Default)]
struct Progress {
    done: Vec<(String, Report)>,
    /// The program that had started last.
    current: Option<String>,
    ended: bool,
    stderr: String,
    hung: bool,
}

/// Takes complete reports off the front of the runner's output.
fn parse(buf: &mut Vec<u8>, p: &mut Progress) {
    loop {
        let Some(eol) = buf.iter().position(|&b| b == b'\n') else { return };
        let line = String::from_utf8_lossy(&buf[..eol]).into_owned();
        let words: Vec<_> = line.split(' ').collect();
        let mut used = eol + 1;
        match words[..] {
            ["@>", name] => p.current = Some(name.to_owned()),
            ["@<", name, outcome, len] => {
                let len: usize = len.parse().unwrap_or(0);
                if buf.len() < used + len + 1 {
                    return;
                }
                let output = String::from_utf8_lossy(&buf[used..used + len]).into_owned();
                let report = Report { outcome: outcome.to_owned(), output };
                p.done.push((name.to_owned(), report));
                p.current = None;
                used += len + 1;
            }
            ["@.", ..] => p.ended = true,
            // Not the runner's: a message of the kernel or of a stray process.
            _ => {
                let _ = writeln!(p.stderr, "{line}");
            }
        }
        buf.drain(..used);
    }
}

/// Starts the command, and gives up when it is silent for longer than the limit.
fn drive(cmd: &mut Command, silence: Duration) -> Progress {
    let child = cmd.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = Guard(child.unwrap_or_else(|e| panic!("{cmd:?}: {e}")));
    let mut stdout = child.0.stdout.take().expect("stdout is piped");
    let mut stderr = child.0.stderr.take().expect("stderr is piped");
    let (tx, rx) = mpsc::channel::<Vec<u8>>();
    let out = std::thread::spawn(move || {
        let mut b = [0; 65536];
        while let Ok(n @ 1..) = stdout.read(&mut b) {
            if tx.send(b[..n].to_vec()).is_err() {
                return;
            }
        }
    });
    let err = std::thread::spawn(move || {
        let mut all = Vec::new();
        let _ = stderr.read_to_end(&mut all);
        all
    });
    let mut p = Progress::default();
    let mut buf = Vec::new();
    loop {
        match rx.recv_timeout(silence) {
            Ok(bytes) => {
                buf.extend(bytes);
                parse(&mut buf, &mut p);
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {
                p.hung = true;
                break;
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
        }
    }
    if p.hung {
        let _ = child.0.kill();
    }
    let status = child.0.wait();
    // A stub that outlived its kernel would hold the pipes open for ever: do not wait for it.
    if !p.hung {
        let _ = out.join();
        if let Ok(e) = err.join() {
            p.stderr.push_str(&String::from_utf8_lossy(&e));
        }
    }
    if let Ok(s) = status {
        let _ = write!(p.stderr, "({s})");
    }
    p
}

/// Longest silence between two lines of the runner.
fn silence(programs: &[Program]) -> Duration {
    let longest = programs.iter().map(|p| p.seconds).max().unwrap_or(20);
    Duration::from_secs(u64::from(longest) + 30)
}

/// Runs them on the host.
pub(crate) fn native(suite: &Suite, programs: &[Program]) -> BTreeMap<String, Report> {
    let scratch = Scratch::new("native");
    let list = scratch.path("list");
    std::fs::write(&list, Suite::list(programs)).expect("the scratch directory is writable");
    let mut cmd = Command::new(&suite.runner);
    cmd.arg("-d").arg(scratch.path("t")).arg("-b").arg(&suite.bin).arg(&list);
    let p = drive(&mut cmd, silence(programs));
    assert!(p.ended, "the runner failed on the host: {}", p.stderr);
    p.done.into_iter().collect()
}

/// Runs them in Umbra: in one boot, or in as many as it takes when a program
/// takes the kernel down with it.
pub(crate) fn in_umbra(suite: &Suite, programs: &[Program]) -> BTreeMap<String, Report> {
    let mut reports = BTreeMap::new();
    let mut first = 0;
    while first < programs.len() {
        let list = Suite::list(&programs[first..]);
        // As an argument, so that one image serves every selection.
        let list = list.replace('\n', ";");
        let mut cmd =
            umbra(&["mem=512M", "quiet"], &suite.image, &["/t/runner", "-l", list.as_str()]);
        let p = drive(&mut cmd, silence(programs));
        let got = p.done.len();
        reports.extend(p.done);
        first += got;
        if p.ended {
            break;
        }
        let tail: Vec<&str> = p.stderr.lines().rev().take(30).collect();
        let tail: String = tail.into_iter().rev().map(|l| format!("    {l}\n")).collect();
        let Some(name) = p.current else {
            assert!(got > 0, "Umbra did not get as far as the first program:\n{tail}");
            continue;
        };
        let outcome = if p.hung { "the kernel hangs" } else { "the kernel died" };
        reports.insert(name, Report { outcome: outcome.to_owned(), output: tail });
        first += 1;
    }
    reports
}

/// Known failures: `NAME  REASON` lines of tests/expected-failures.txt.
pub(crate) fn expected_failures() -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(repo().join("tests/expected-failures.txt"));
    text.expect("the list of expected failures is there")
        .lines()
        .filter(|l| !l.starts_with('#'))
        .filter_map(|l| l.split_once(char::is_whitespace))
        .map(|(name, why)| (name.to_owned(), why.trim().to_owned()))
        .collect()
}

/// Gathers verdicts and panics with all of them at the end.
#[derive(Debug, Default)]
pub(crate) struct Verdicts {
    bad: String,
    counts: [usize; 3],
}

impl Verdicts {
    /// A program passed or failed (with the text that shows how).
    pub(crate) fn add(&mut self, name: &str, failure: Option<String>, known: Option<&String>) {
        match (failure, known) {
            (None, None) => self.counts[0] += 1,
            (Some(_), Some(_)) => self.counts[1] += 1,
            (None, Some(why)) => {
                self.counts[2] += 1;
                let _ = writeln!(self.bad, "== {name}: passes, but is listed as failing: {why}");
            }
            (Some(text), None) => {
                self.counts[2] += 1;
                let _ = writeln!(self.bad, "== {name}: {text}");
            }
        }
    }

    pub(crate) fn finish(self, what: &str) {
        let [good, known, bad] = self.counts;
        // Straight to the terminal: libtest hides what a passing test prints.
        let line = format!("{what}: {good} passed, {known} failed as expected, {bad} failed\n");
        let _ = std::io::stderr().write_all(line.as_bytes());
        assert!(bad == 0, "{line}{}", self.bad);
    }
}

/// At most this much of an output is shown.
pub(crate) fn clip(text: &str) -> String {
    let cut: String = text.chars().take(3000).collect();
    cut.lines().map(|l| format!("    {l}\n")).collect()
}
