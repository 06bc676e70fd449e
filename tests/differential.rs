//! Every program of `tests/guest/` runs on the host and in Umbra; exit status
//! and output must be equal. A program that the host fails is a wrong test.
//!
//! `UMBRA_ONLY=name,...` (what `scripts/test NAME` sets) runs some only.

mod common;

use common::batch::{self, Report, Verdicts, clip};
use common::build::{self, Program};
use std::sync::OnceLock;

fn suite() -> &'static build::Suite {
    static SUITE: OnceLock<build::Suite> = OnceLock::new();
    SUITE.get_or_init(|| build::suite(""))
}

fn judge(p: &Program, host: Option<&Report>, guest: Option<&Report>) -> Option<String> {
    let Some(guest) = guest else { return Some("no result from Umbra".into()) };
    let Some(host) = host else {
        // Needs root and we are not: then success is all that can be asked for.
        let ok = guest.outcome == "exit:0";
        return (!ok).then(|| format!("{}\n{}", guest.outcome, clip(&guest.output)));
    };
    if host.outcome != "exit:0" {
        return Some(format!(
            "WRONG TEST, fails on the host: {}\n{}",
            host.outcome,
            clip(&host.output)
        ));
    }
    (host != guest).then(|| {
        let (o, n) = (&guest.outcome, &p.name);
        format!(
            "{o} (tests/guest/{n}.c)\n  host:\n{}  umbra:\n{}",
            clip(&host.output),
            clip(&guest.output)
        )
    })
}

/// Every second program: two batches fill two CPUs.
fn half(which: usize) {
    let all = &suite().programs;
    let mine: Vec<Program> = all.iter().skip(which).step_by(2).cloned().collect();
    if mine.is_empty() {
        return;
    }
    let on_host: Vec<Program> =
        mine.iter().filter(|p| !p.needs_root || common::is_root()).cloned().collect();
    let host = batch::native(suite(), &on_host);
    let guest = batch::in_umbra(suite(), &mine);
    let known = batch::expected_failures();
    let mut verdicts = Verdicts::default();
    for p in &mine {
        let failure = judge(p, host.get(&p.name), guest.get(&p.name));
        verdicts.add(&p.name, failure, known.get(&p.name));
    }
    verdicts.finish("guest programs");
}

#[test]
fn guest_programs_first_half() {
    half(0);
}

#[test]
fn guest_programs_second_half() {
    half(1);
}

/// The list of known failures names only programs that exist.
#[test]
fn expected_failures_exist() {
    for name in batch::expected_failures().keys() {
        let dir = common::repo().join("tests/guest");
        let there = dir.join(format!("{name}.c")).exists()
            || dir.join(format!("escape/{name}.c")).exists()
            || common::repo().join(format!("tests/{name}.sh")).exists();
        assert!(there, "tests/expected-failures.txt names {name}, which is not there");
    }
}

/// The host half alone: a program that fails natively is a wrong test.
#[test]
#[ignore = "for writing programs: scripts/test --native"]
fn natively() {
    let mine: Vec<Program> =
        suite().programs.iter().filter(|p| !p.needs_root || common::is_root()).cloned().collect();
    let host = batch::native(suite(), &mine);
    let mut verdicts = Verdicts::default();
    for p in &mine {
        let r = host.get(&p.name);
        let bad = r.is_none_or(|r| r.outcome != "exit:0");
        verdicts.add(&p.name, bad.then(|| format!("{r:?}")), None);
    }
    verdicts.finish("on the host");
}
