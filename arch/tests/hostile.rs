//! Guests that attack the shm backend with all that they have: every instruction, every register, and each
//! word of the pages that their process can write. At worst such a process dies; the kernel never waits
//! for it without a bound, and nobody else notices.
//!
//! A thread that has reported an event is not stopped: it can report by itself and run on. The tests use such
//! *runaways* as siblings that write while the kernel believes that they wait.

#[path = "common/attacks.rs"]
mod attacks;
mod common;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use arch::shm::{Options, Policy, S_SIZE, TEXT};
use arch::{Event, Regs, Space, Thread, clock, timer, xsave};
use attacks::{Routine, all_code, at, k_page, regs_for, s_region};
use base::{Pfn, UserAddr};
use common::{CODE, DATA, DATA_FRAME, Random, TestMachine, host_maps, rw, rx, shm, thread_at};
use std::sync::Arc;

/// Longest that the kernel may be kept waiting, on a machine as busy as one that runs tests.
const BOUND: Duration = Duration::from_secs(20);

fn machine(policy: Policy) -> TestMachine {
    shm(Options { handoff: policy, ready_stubs: 1, ..Default::default() })
}

fn hostile_space(m: &TestMachine) -> Arc<dyn Space> {
    m.phys().zero(DATA_FRAME, 1);
    common::space_with(m, all_code())
}

/// The stub of a space with something at [`CODE`], the youngest.
fn stub_of(m: &TestMachine, s: &Arc<dyn Space>) -> i32 {
    s.flush().expect("alive");
    let has_it = |pid: &i32| host_maps(*pid).contains("00010000-");
    m.host_tasks().into_iter().rfind(has_it).expect("there is one")
}

/// Runs with a timer behind it, as the kernel does. Panics if the CPU does not come back.
fn run(t: &mut Box<dyn Thread>) -> Event {
    let start = Instant::now();
    arch::cpu::take_pending(); // of a timer that nobody waited for
    timer::arm(Some(clock::monotonic() + Duration::from_micros(300)));
    let e = t.run();
    assert!(start.elapsed() < BOUND, "the CPU was gone for {:?}: {e:?}", start.elapsed());
    e
}

/// Lets a sibling run away. None if it does not: on a busy machine a real kick may come first, always.
fn runaway(m: &TestMachine, s: &Arc<dyn Space>, regs: &Regs) -> Option<Box<dyn Thread>> {
    let count = || {
        let mut word = [0; 8];
        m.phys().read(DATA_FRAME.addr(), &mut word);
        u64::from_le_bytes(word)
    };
    let mut t = s.clone().new_thread(regs, None).ok()?;
    for _ in 0..20 {
        let first = count();
        let e = run(&mut t);
        if e == Event::Dead {
            return None;
        }
        let soon = Instant::now() + Duration::from_millis(20);
        while Instant::now() < soon {
            std::thread::sleep(Duration::from_millis(1));
            let second = count();
            std::thread::sleep(Duration::from_millis(1));
            if second > first && count() > second {
                return Some(t);
            }
        }
        *t.regs_mut() = *regs;
    }
    None
}

/// Only what the kernel has mapped, and the stub's own.
fn assert_no_foreign_mapping(pid: i32) {
    for l in host_maps(pid).lines() {
        let range = l.split(' ').next().unwrap_or_default();
        let known = ["7fff00000000", "7fff10000000", "7fff20000000", "ffffffffff600000"];
        let ours = l.contains("umbra-ram")
            && (l.starts_with("00010000")
                || l.starts_with("00020000")
                || l.starts_with("00900000"));
        assert!(ours || known.iter().any(|k| range.starts_with(k)), "{l}");
    }
}

/// `ROUNDS=` in the environment makes the jumps more.
fn rounds() -> u64 {
    std::env::var("ROUNDS").ok().and_then(|s| s.parse().ok()).unwrap_or(1)
}

/// A space that is not expected to live long, and its threads.
type Victim = (Arc<dyn Space>, Vec<Box<dyn Thread>>);

/// Jumps to every byte of the text (or every `step`th), with registers that mean something there.
fn jump_everywhere(with_sibling: bool, step: usize, seed: u64) {
    let m = machine(if with_sibling { Policy::Spin } else { Policy::Auto });
    let mut random = Random(seed);
    let interesting = [
        0,
        1,
        3,
        9,
        10,
        11,
        14,
        15,
        16,
        39,
        56,
        157,
        202,
        231,
        317,
        u64::MAX,
        0x200,
        0x7fff_ffff,
        DATA,
        DATA + 0x800,
        CODE,
        0x50_0000,
        4096,
        TEXT,
        TEXT + 0x1000,
        k_page(0),
        k_page(1),
        k_page(2),
        s_region(0),
        s_region(1),
        s_region(1) + 0x4000,
        s_region(2),
        s_region(500),
        0x11,
        7,
        2,
    ];
    let (mut deaths, mut events, mut longest, mut runaways) = (0, 0, Duration::ZERO, 0);
    let mut space: Option<Victim> = None;
    for offset in (0..arch::shm::stub_text().len() as u64).step_by(step) {
        let (s, threads) = space.get_or_insert_with(|| {
            let s = hostile_space(&m);
            let mut threads = vec![thread_at(&s, CODE)];
            if with_sibling {
                let mut r = regs_for(Routine::Scribble, 2);
                (r.r8, r.r9) = (s_region(1), S_SIZE as u64);
                let t = runaway(&m, &s, &r);
                runaways += u32::from(t.is_some());
                threads.extend(t);
            }
            (s, threads)
        });
        let t = &mut threads[0];
        let mut r = Regs::initial(TEXT + offset, DATA + 0xf00);
        let (own, foreign_stack) = (random.below(2) == 0, random.below(3) == 0);
        let mut pick = || interesting[random.below(interesting.len() as u64) as usize];
        (r.rax, r.rbx, r.rcx, r.rdx, r.rsi, r.rdi) =
            (pick(), pick(), pick(), pick(), pick(), pick());
        (r.rbp, r.r8, r.r9, r.r10, r.r11, r.r12) = (pick(), pick(), pick(), pick(), pick(), pick());
        (r.r13, r.r14, r.r15) = (pick(), pick(), pick());
        if own {
            // As the text itself would have them.
            (r.rbx, r.rbp) = (s_region(1), k_page(1));
            r.rsp = s_region(1) + 0x6000;
        }
        if foreign_stack {
            r.rsp = pick();
        }
        *t.regs_mut() = r;
        let start = Instant::now();
        let mut dead = false;
        for _ in 0..4 {
            match run(t) {
                Event::Dead => {
                    dead = true;
                    break;
                }
                Event::Kicked => {}
                _ => {
                    events += 1;
                    break;
                }
            }
        }
        if !dead && offset % 16 == 0 {
            // The server does what it is told, and nothing else.
            s.map(UserAddr(0x90_0000), Pfn(40), 1, rw(), true);
            dead = s.flush().is_err();
            if !dead {
                assert_no_foreign_mapping(stub_of(&m, s));
            }
        }
        longest = longest.max(start.elapsed());
        if dead {
            deaths += 1;
            space = None;
        }
    }
    println!("{events} events, {deaths} deaths, {runaways} runaways, longest {longest:?}");
    // A fault of the text itself is the end, too: nothing honest makes one.
    assert!(deaths > 1000 / step && (with_sibling || events > 0));
    drop(space);
    // Nobody else noticed.
    let s = hostile_space(&m);
    let mut r = regs_for(Routine::Fill, 1);
    (r.rdi, r.rsi) = (DATA + 64, DATA + 128);
    let mut t = s.new_thread(&r, None).expect("alive");
    assert!(matches!(common::run(&mut t), Event::Syscall { nr: 500, .. }));
}

#[test]
fn jumps_to_every_byte_of_the_text() {
    for round in 0..rounds() {
        jump_everywhere(false, 1, 0x1357_9bdf + round);
    }
}

#[test]
fn jumps_while_a_sibling_scribbles() {
    for round in 0..rounds() {
        jump_everywhere(true, 61, 0xfeed_f00d + round);
    }
}

/// Where in the text a sequence of bytes is first.
fn find(bytes: &[u8]) -> u64 {
    let text = arch::shm::stub_text();
    TEXT + text.windows(bytes.len()).position(|w| w == bytes).expect("it is there") as u64
}

#[test]
fn sitting_down_in_the_waiting_loops_costs_the_process_its_life() {
    for policy in [Policy::Auto, Policy::Futex] {
        let m = machine(policy);
        // cmp [rbp],r13d in the loop that looks; xchg [rbx+4],eax before the one that sleeps.
        for place in [find(b"\x44\x39\x6d\x00"), find(b"\x87\x43\x04")] {
            let s = hostile_space(&m);
            let pid = stub_of(&m, &s);
            let mut r = Regs::initial(place, DATA + 0xf00);
            (r.rbx, r.rbp, r.r12, r.r13) = (s_region(1), k_page(1), u64::MAX, 0xdead_beef);
            (r.rcx, r.rax) = (0x7fff_ffff, 1);
            // The sleep must be one: GO as it will be.
            r.r12 = 1;
            let mut t = s.clone().new_thread(&r, None).expect("a task");
            let start = Instant::now();
            while run(&mut t) != Event::Dead {
                assert!(start.elapsed() < BOUND);
            }
            println!("{policy:?}: the watchdog took {:?}", start.elapsed());
            assert!(!m.host_tasks().contains(&pid), "it is still there");
        }
    }
}

#[test]
fn events_of_a_guests_own_making_are_events() {
    let m = machine(Policy::Auto);
    let mut s = hostile_space(&m);
    let (mut kinds, mut deaths) = (BTreeSet::new(), 0);
    let addresses =
        [0, 1, DATA, 0x7fff_ffff_ffff, 1 << 47, u64::MAX, 0xffff_8000_0000_0000, TEXT, s_region(1)];
    let mut round = 0;
    for kind in (0..72u64).chain([
        0x100,
        0x101,
        0x1ff,
        0x200,
        0x201,
        0x37d,
        0x400,
        0x405,
        0x41f,
        0xffff_ffff,
    ]) {
        for code in [i32::MIN, -6, -1, 0, 1, 2, 3, 4, 6, 128, i32::MAX] {
            let mut r = regs_for(Routine::Forge, 1);
            (r.rdx, r.r8) = (kind, u64::from(code.cast_unsigned()));
            round += 1;
            r.r9 = addresses[round % addresses.len()];
            let Ok(mut t) = s.clone().new_thread(&r, None) else {
                s = hostile_space(&m);
                continue;
            };
            let e = run(&mut t);
            kinds.insert(format!("{e:?}").split([' ', '(']).next().unwrap_or_default().to_owned());
            match e {
                Event::Trap { signo, .. } => assert!([4, 5, 7, 8, 11].contains(&signo), "{e:?}"),
                Event::Dead => {
                    deaths += 1;
                    s = hostile_space(&m);
                    continue;
                }
                _ => {}
            }
            // Whatever it was: it can be asked for everything.
            let _ = (t.regs().rip, t.xstate().map(|x| t.set_xstate(&x)));
        }
    }
    println!("{kinds:?}, {deaths} deaths");
    assert!(
        deaths > 10 && ["Syscall", "Fault", "Trap", "Kicked"].iter().all(|k| kinds.contains(*k))
    );
}

#[test]
fn revocations_are_true_whatever_is_written() {
    let m = machine(Policy::Spin);
    let mut revoked = 0;
    for _ in 0..5 {
        let s = hostile_space(&m);
        let pid = stub_of(&m, &s);
        let _first = thread_at(&s, CODE);
        // All of the server's region, or what a failed operation says.
        let mut r = regs_for(Routine::Scribble, 2);
        (r.r8, r.r9) = (s_region(0), 4096);
        let Some(_sibling) = runaway(&m, &s, &r) else { continue };
        for i in 0..300u32 {
            s.map(UserAddr(0x90_0000), Pfn(40 + i % 8), 4, rw(), true);
            s.flush().expect("the server is honest");
            s.unmap(UserAddr(0x90_0000), 4);
            s.flush().expect("the server is honest");
            assert!(!host_maps(pid).contains("00900000-"), "a frame that is taken is still there");
            revoked += 1;
        }
    }
    println!("{revoked} revocations");
}

#[test]
fn a_new_thread_is_armed_or_its_process_dies() {
    let m = machine(Policy::Spin);
    let (mut armed, mut refused, mut none) = (0, 0, 0);
    for i in 0..24u64 {
        let s = hostile_space(&m);
        let _first = thread_at(&s, CODE);
        let mut r = regs_for(Routine::Store, 2);
        // Its event word is never what it was; it is ready at once; its id is another's.
        (r.r8, r.r9, r.r10, r.r12) = match i % 3 {
            0 => (s_region(3), 0x1234_5678, s_region(3), 0x8765_4321),
            1 => (s_region(3), 1, s_region(3) + 8, 0x200),
            _ => (s_region(0) + 40, 1, s_region(0) + 40, 2),
        };
        let Some(_sibling) = runaway(&m, &s, &r) else {
            none += 1;
            continue;
        };
        let start = Instant::now();
        match s.clone().new_thread(&Regs::initial(at(Routine::Calls), DATA), None) {
            Ok(mut t) => {
                armed += 1;
                t.regs_mut().r14 = DATA;
                t.regs_mut().r15 = DATA + 8;
                for _ in 0..100 {
                    if run(&mut t) == Event::Dead {
                        break;
                    }
                }
            }
            Err(_) => refused += 1,
        }
        assert!(start.elapsed() < BOUND, "case {}: {:?}", i % 3, start.elapsed());
    }
    println!("{armed} armed, {refused} refused, {none} without a sibling");
    assert!(none == 24 || refused > 0);
}

#[test]
fn scribbling_over_siblings_frames_harms_the_process_only() {
    let m = machine(Policy::Spin);
    let (mut deaths, mut calls, mut faults, mut round) = (0, 0, 0, 0u64);
    let end = Instant::now() + Duration::from_secs(4);
    while Instant::now() < end {
        let s = hostile_space(&m);
        let mut r = regs_for(Routine::Calls, 1);
        r.r15 = 0x90_0000;
        let mut t = s.clone().new_thread(&r, None).expect("a task");
        let mut r = regs_for(Routine::Scribble, 2);
        // Everything; frames; the words that say where they are.
        round += 1;
        (r.r8, r.r9) = match round % 3 {
            0 => (s_region(1), S_SIZE as u64),
            1 => (s_region(1) + 0x6000, 0x2000),
            _ => (s_region(1), 64),
        };
        let Some(_sibling) = runaway(&m, &s, &r) else { continue };
        for _ in 0..2000 {
            match run(&mut t) {
                Event::Syscall { .. } => {
                    calls += 1;
                    t.set_result(1);
                    s.unmap(UserAddr(0x90_0000), 1);
                }
                Event::Fault(_) => {
                    faults += 1;
                    s.map(UserAddr(0x90_0000), Pfn(40), 1, rw(), true);
                }
                Event::Dead => {
                    deaths += 1;
                    break;
                }
                _ => {
                    let _ = t.xstate();
                }
            }
        }
    }
    println!("{calls} calls, {faults} faults, {deaths} deaths");
}

/// All of a process's life that could stay behind has this in it.
const CANARY: u64 = 0x0000_5ca1_ab1e_5000;

/// One process full of canaries, and whether what came next was the same stub.
fn leave_canaries(m: &TestMachine, touch: Option<(u64, u64)>) -> bool {
    let s = hostile_space(m);
    let pid = stub_of(m, &s);
    let mut x = xsave::initial();
    x.0[32..416].chunks_exact_mut(8).for_each(|c| c.copy_from_slice(&CANARY.to_le_bytes()));
    if let Some((at, len)) = xsave::layout().component(2) {
        x.0[at..at + len]
            .chunks_exact_mut(8)
            .for_each(|c| c.copy_from_slice(&CANARY.to_le_bytes()));
        x.0[512] |= 4;
    }
    let mut r = regs_for(Routine::Calls, 1);
    (r.rbx, r.r8, r.r9, r.r10, r.r12, r.r13, r.rbp) =
        (CANARY, CANARY, CANARY, CANARY, CANARY, CANARY, CANARY);
    (r.rdx, r.rdi, r.rsi, r.fs_base, r.gs_base) = (CANARY, CANARY, CANARY, CANARY, CANARY);
    (r.r14, r.r15) = (DATA, 0x90_0000);
    let mut t = s.clone().new_thread(&r, Some(&x)).expect("a task");
    for i in 0..64u64 {
        s.map(UserAddr(CANARY + i * 0x2000), Pfn(40), 1, rw(), true);
    }
    for _ in 0..10 {
        assert!(matches!(common::run(&mut t), Event::Syscall { .. } | Event::Fault(_)));
        s.map(UserAddr(0x90_0000), Pfn(40), 1, rw(), true);
        t.set_result(CANARY.cast_signed());
        let _ = t.xstate().map(|x| t.set_xstate(&x));
    }
    if let Some((from, to)) = touch {
        *t.regs_mut() = regs_for(Routine::Fill, 1);
        (t.regs_mut().rdi, t.regs_mut().rsi, t.regs_mut().rdx) = (from, to, CANARY);
        common::run(&mut t);
    }
    drop((t, s));
    while m.idle_work() {}
    let mut same = false;
    let mut spaces = Vec::new();
    for _ in 0..3 {
        m.phys().write(Pfn(0).addr(), all_code());
        let before: BTreeSet<i32> = m.host_tasks().into_iter().collect();
        let s = m.new_space().expect("a stub");
        s.map(UserAddr(CODE), Pfn(0), 2, rx(), true);
        for (from, to) in [
            (k_page(0), k_page(4)),
            (k_page(499), k_page(502)),
            (s_region(0), s_region(4)),
            (s_region(499), s_region(502)),
        ] {
            let mut r = Regs::initial(at(Routine::Scan), 0);
            (r.rdi, r.rsi) = (from, to);
            // Its own registers are in its own frames: they must not look like canaries.
            (r.rdx, r.rcx) = (!CANARY & !0xf_ffff, !0xf_ffff);
            let mut t = s.clone().new_thread(&r, None).expect("a task");
            assert_eq!(
                common::run(&mut t),
                Event::Syscall {
                    nr: 500,
                    args: [to, to, !CANARY & !0xf_ffff, 0, 0, 0],
                    ip: at(Routine::Fill),
                    sp: 0,
                    patched: false
                }
            );
            assert_eq!(t.regs().r12, 0, "something of another process at {from:#x}");
            let fresh = xsave::initial();
            let now = t.xstate().expect("alive");
            assert_eq!(now.0[32..416], fresh.0[32..416], "its FP registers");
        }
        same |= before.contains(&pid) && host_maps(pid).contains("00010000-");
        spaces.push(s);
    }
    same
}

#[test]
fn nothing_is_left_for_the_next_process() {
    let m = machine(Policy::Auto);
    let mut again = 0;
    for _ in 0..5 {
        again += u32::from(leave_canaries(&m, None));
    }
    assert!(again >= 3, "the pool is not used: {again} of 5");
    // What the kernel would not zero again: then the stub is not used again.
    for (from, to) in [
        (s_region(500), s_region(500) + 0x100),
        (s_region(1023), s_region(1024)),
        (s_region(0) + 0x4000, s_region(0) + 0x4100),
    ] {
        assert!(!leave_canaries(&m, Some((from, to))), "{from:#x}");
    }
    // Its own region is zeroed.
    leave_canaries(&m, Some((s_region(1) + 0x2000, s_region(2))));
}

#[test]
fn a_thread_that_fakes_its_reset_dies_or_is_reset() {
    let m = machine(Policy::Spin);
    let look = find(b"\x44\x39\x6d\x00"); // cmp [rbp],r13d; je leave; ...
    let post = find(b"\x89\x7b\x08"); // mov [rbx+8],edi: reports edi
    let (mut again, mut killed) = (0, 0);
    for _ in 0..20 {
        let s = hostile_space(&m);
        let pid = stub_of(&m, &s);
        let made = s_region(1) + 0x7000;
        // The context that the text will go on from: reports READY.
        let words = [
            (40 + 64, 0x200),                 // rdi
            (40 + 80, k_page(1)),             // rbp
            (40 + 88, s_region(1)),           // rbx
            (40 + 120, s_region(1) + 0x7ff0), // rsp
            (40 + 128, post),                 // rip, and rcx
            (40 + 136, 0x202),
        ];
        for (offset, value) in words {
            let mut r = regs_for(Routine::Fill, 1);
            (r.rdi, r.rsi, r.rdx) = (made + offset, made + offset + 8, value);
            let mut t = s.clone().new_thread(&r, None).expect("a task");
            assert!(matches!(common::run(&mut t), Event::Syscall { nr: 500, .. }));
        }
        let mut r = regs_for(Routine::Reset, 1);
        (r.r8, r.r15) = (made, look);
        let mut t = s.clone().new_thread(&r, None).expect("a task");
        let e = common::run(&mut t);
        let gone_wrong = !matches!(e, Event::Syscall { nr: 501, .. });
        drop((t, s));
        let s = hostile_space(&m);
        if gone_wrong {
            continue;
        }
        match m.host_tasks().contains(&pid) {
            true => again += 1,
            false => killed += 1,
        }
        // Whoever has the stub now is served.
        let mut t = s.clone().new_thread(&regs_for(Routine::Calls, 1), None).expect("a task");
        for i in 1..200u64 {
            assert!(matches!(common::run(&mut t), Event::Syscall { nr: 39, .. }));
            assert_eq!(t.regs().rbx, i);
            t.set_result(0);
        }
    }
    println!("{again} reset, {killed} killed");
    assert!(again + killed > 0);
}
