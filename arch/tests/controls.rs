//! The host calls of stubs as strace sees them, while a guest jumps to every system call instruction of the
//! text; and the negative control: a filter that lets one call through is caught by the same look.

mod common;
#[allow(unreachable_pub)]
#[path = "../../tests/common/stubcalls.rs"]
mod stubcalls;

use std::process::Command;
use std::time::Duration;

use arch::shm::{K_BASE, K_SIZE, NegativeControl, Options, S_BASE, S_SIZE, TEXT};
use arch::{Event, Regs, clock, timer};
use common::{CODE, DATA, Random, shm, space_with};

/// Not a test of its own.
#[test]
#[ignore = "run by the_filters_are_seen_from_outside"]
fn hostile_child() {
    let control = match std::env::var("UMBRA_TEST_CONTROL").as_deref() {
        Ok("getpid") => NegativeControl::LetGetpidThrough,
        _ => NegativeControl::None,
    };
    let m = shm(Options { control, ..Default::default() });
    let text = arch::shm::stub_text();
    let mut random = Random(0x00c0_ffee);
    let own = [S_BASE + S_SIZE as u64, K_BASE + K_SIZE as u64];
    for at in (0..text.len()).filter(|&i| text[i..].starts_with(b"\x0f\x05")) {
        for nr in [39, 9, 10, 11, 14, 15, 56, 59, 102, 157, 202, 231, 317] {
            let s = space_with(&m, b"\xeb\xfe");
            let mut r = Regs::initial(TEXT + at as u64, DATA + 0xf00);
            r.rax = nr;
            (r.rdi, r.rsi, r.rdx) = (CODE, 4096, random.below(8));
            (r.r10, r.r8, r.r9) = (0x11, 0, 0);
            (r.rbx, r.rbp) = (own[0], own[1]);
            let Ok(mut t) = s.new_thread(&r, None) else { continue };
            for _ in 0..3 {
                timer::arm(Some(clock::monotonic() + Duration::from_millis(2)));
                if t.run() != Event::Kicked {
                    break;
                }
            }
        }
    }
}

fn look(control: &str) -> Option<stubcalls::Seen> {
    let log = std::env::temp_dir().join(format!("umbra-controls-{}-{control}", std::process::id()));
    let me = std::env::current_exe().expect("path");
    let out = Command::new("strace")
        .args(["-f", "-qq", "-o"])
        .arg(&log)
        .arg(me)
        .args(["--ignored", "--exact", "hostile_child", "--nocapture"])
        .env("UMBRA_TEST_CONTROL", control)
        .output()
        .ok()?;
    let text = std::fs::read(&log).unwrap_or_default();
    let _ = std::fs::remove_file(&log);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stdout));
    Some(stubcalls::judge(&String::from_utf8_lossy(&text)))
}

#[test]
fn the_filters_are_seen_from_outside() {
    let Some(seen) = look("none") else {
        return println!("skipped, no strace here");
    };
    println!("{} calls, {} refused", seen.calls, seen.refused);
    assert!(seen.forbidden.is_empty(), "{:#?}", &seen.forbidden[..seen.forbidden.len().min(9)]);
    let seen = stubcalls::Seen { forbidden: Vec::new(), ..seen };
    assert!(seen.threads > 100 && seen.servers > 100 && seen.zygotes == 1, "{seen:?}");
    assert!(seen.refused > 100, "the guest has tried nothing: {seen:?}");
    let seen = look("getpid").expect("strace was there");
    assert!(!seen.forbidden.is_empty(), "a call that gets through is not seen");
    assert!(seen.forbidden.iter().all(|c| c.contains(": getpid(")), "{:?}", seen.forbidden);
}

#[test]
fn calls_that_another_line_interrupts_are_put_together() {
    let log = "7 rt_sigprocmask(SIG_SETMASK, [],  <unfinished ...>\n8 getppid() = 1\n\
               7 <... rt_sigprocmask resumed>NULL, 8) = 0\n9 getpid( <unfinished ...>\n\
               9 +++ killed by SIGSYS +++\n";
    let seen = stubcalls::calls(log);
    let says = |i: usize| (seen[i].0, seen[i].1.as_str(), seen[i].2.as_deref());
    assert_eq!(says(0), (7, "rt_sigprocmask(SIG_SETMASK, [], NULL, 8) = 0", Some("0")));
    assert_eq!(says(1), (8, "getppid() = 1", Some("1")));
    assert_eq!(says(2), (9, "getpid(", None));
}
