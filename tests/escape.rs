//! Hostile guests (`tests/guest/escape/`). Each states what Umbra does to it
//! (`// expect: exit N`, `// expect: signal NAME...`); natively some of them
//! behave differently, since the host has entries that Umbra closes.

mod common;

use common::batch::{self, Verdicts, clip};
use common::build;

fn number(signal: &str) -> Option<u32> {
    let known = [("ILL", 4), ("TRAP", 5), ("BUS", 7), ("FPE", 8), ("SEGV", 11), ("SYS", 31)];
    known.iter().find(|(n, _)| *n == signal).map(|(_, v)| *v)
}

/// `exit 0` or `signal ILL SEGV`, against `exit:0` or `signal:11`.
fn meets(expect: &str, outcome: &str) -> bool {
    let mut words = expect.split_whitespace();
    let kind = words.next().unwrap_or_default();
    words.any(|w| match kind {
        "signal" => number(w).is_some_and(|n| outcome == format!("signal:{n}")),
        _ => outcome == format!("{kind}:{w}"),
    })
}

#[test]
fn expectations_are_understood() {
    assert!(meets("exit 0", "exit:0"));
    assert!(!meets("exit 0", "exit:1"));
    assert!(meets("signal ILL SEGV", "signal:11"));
    assert!(!meets("signal ILL", "signal:11"));
}

#[test]
fn probes_end_as_documented() {
    let suite = build::suite("escape");
    if suite.programs.is_empty() {
        return;
    }
    let reports = batch::in_umbra(&suite, &suite.programs);
    let known = batch::expected_failures();
    let mut verdicts = Verdicts::default();
    for p in &suite.programs {
        let failure = match reports.get(&p.name) {
            None => Some("no result".to_owned()),
            Some(r) if meets(&p.expect, &r.outcome) => None,
            Some(r) => Some(format!(
                "{} instead of {} (tests/guest/escape/{}.c)\n{}",
                r.outcome,
                p.expect,
                p.name,
                clip(&r.output)
            )),
        };
        verdicts.add(&p.name, failure, known.get(&p.name));
    }
    verdicts.finish("escape probes");
}
