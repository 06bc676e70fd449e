//! Nothing of a guest's state is lost, whatever takes it out of its code: all registers, flags, segment bases
//! and the x87, SSE and AVX state, at random, across every kind of event.

mod common;

use std::time::Duration;

use arch::{Event, Prot, Regs, Thread, XState, clock, timer, xsave};
use base::{Pfn, UserAddr};
use common::{CODE, Kind, Random, TestMachine, enter_cpu, machine, rw, rx};

/// Where the data page for faults is, and its frame.
const PAGE: u64 = 0x300_0000;
const FRAME: Pfn = Pfn(60);
/// First address that no segment base may have.
const TASK_SIZE: u64 = 0x7fff_ffff_f000;

/// What takes the guest out, and what takes it out a second time without anything in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Call,
    Ud2,
    Int3,
    Segv,
    Divide,
    Kick,
}

impl Way {
    /// The instruction. Then always ud2, where the state is compared.
    fn code(self) -> &'static [u8] {
        match self {
            Way::Call => b"\x0f\x05",       // syscall
            Way::Ud2 => b"\x0f\x0b",        // ud2
            Way::Int3 => b"\xcc\x90",       // int3; nop
            Way::Segv => b"\x48\x89\x18",   // mov %rbx,(%rax)
            Way::Divide => b"\x48\xf7\xf1", // div %rcx
            Way::Kick => b"\xeb\xfe",       // jmp to itself
        }
    }
}

/// Random extended state, and its bytes that must come back.
fn random_xstate(r: &mut Random) -> (XState, Vec<std::ops::Range<usize>>) {
    let mut x = xsave::initial();
    let b = &mut x.0;
    let mut fill = |b: &mut [u8]| b.iter_mut().for_each(|b| *b = r.next() as u8);
    let mut ranges = vec![0..5, 24..28];
    let mut word = [0; 2];
    fill(&mut word);
    // Control word: rounding and precision; all exceptions masked. Status: top, conditions, flags.
    b[0..2].copy_from_slice(&(0x7f | u16::from_le_bytes(word) & 0xf00).to_le_bytes());
    fill(&mut word);
    b[2..4].copy_from_slice(&(u16::from_le_bytes(word) & 0x7f3f).to_le_bytes());
    fill(&mut b[4..5]);
    let mut mxcsr = [0; 4];
    fill(&mut mxcsr);
    b[24..28].copy_from_slice(&(0x1f80 | u32::from_le_bytes(mxcsr) & 0x603f).to_le_bytes());
    for i in 0..8 {
        let st = 32 + i * 16..42 + i * 16;
        fill(&mut b[st.clone()]);
        ranges.push(st);
    }
    fill(&mut b[160..416]); // xmm
    ranges.push(160..416);
    // AVX, and AVX-512 where there is.
    for i in [2, 5, 6, 7] {
        if let Some((at, len)) = xsave::layout().component(i) {
            fill(&mut b[at..at + len]);
            ranges.push(at..at + len);
            b[512] |= 1 << i;
        }
    }
    b[512] |= 3;
    (x, ranges)
}

fn random_regs(r: &mut Random, kind: Kind, way: Way) -> Regs {
    let mut wide = || r.next() << 21 ^ r.next() << 7 ^ r.next() >> 40;
    let mut regs = Regs::initial(CODE, wide() & 0x7fff_ffff_fff0);
    (regs.rax, regs.rbx, regs.rcx, regs.rdx) = (wide(), wide(), wide(), wide());
    (regs.rsi, regs.rdi, regs.rbp) = (wide(), wide(), wide());
    (regs.r8, regs.r9, regs.r10, regs.r11) = (wide(), wide(), wide(), wide());
    (regs.r12, regs.r13, regs.r14, regs.r15) = (wide(), wide(), wide(), wide());
    // CF PF AF ZF SF DF OF, and ID, which ptrace does not set.
    let flags = if kind == Kind::Ptrace { 0xcd5 } else { 0x20_0cd5 };
    regs.eflags = wide() & flags | 0x202;
    regs.fs_base = wide() % TASK_SIZE;
    regs.gs_base = wide() % TASK_SIZE;
    match way {
        Way::Segv => regs.rax = PAGE + 8,
        Way::Divide => regs.rcx = 0,
        _ => {}
    }
    regs
}

/// Everything that a program can see of its registers.
fn visible(r: &Regs) -> [u64; 20] {
    let undefined = 0x1_0000; // RF
    [
        r.rax,
        r.rbx,
        r.rcx,
        r.rdx,
        r.rsi,
        r.rdi,
        r.rbp,
        r.rsp,
        r.r8,
        r.r9,
        r.r10,
        r.r11,
        r.r12,
        r.r13,
        r.r14,
        r.r15,
        r.rip,
        r.eflags & !undefined,
        r.fs_base,
        r.gs_base,
    ]
}

/// One state through one event. What differs, or nothing.
fn once(m: &TestMachine, t: &mut Box<dyn Thread>, way: Way, r: &mut Random) -> Option<String> {
    let len = way.code().len();
    m.phys().write(Pfn(0).addr(), &[way.code(), b"\x0f\x0b"].concat());
    let (x, ranges) = random_xstate(r);
    let mut regs = random_regs(r, m.kind, way);
    t.set_xstate(&x).expect("a valid state");
    *t.regs_mut() = regs;
    if way == Way::Kick {
        timer::arm(Some(clock::monotonic() + Duration::from_nanos(r.below(20_000))));
    }
    let e = t.run();
    let skip = |m: &TestMachine| m.phys().write(Pfn(0).addr(), &[0x90; 3][..len]);
    match (way, e) {
        (Way::Call, Event::Syscall { nr, args, ip, sp, .. }) => {
            let number = i64::from(regs.rax as i32).cast_unsigned(); // an int, as Linux takes it
            assert_eq!((nr, args[0], ip, sp), (number, regs.rdi, CODE + 2, regs.rsp));
            let result = r.next();
            t.set_result(result.cast_signed());
            (regs.rax, regs.rcx, regs.r11) = (result, CODE + 2, regs.eflags);
        }
        (Way::Ud2, Event::Trap { signo: 4, .. }) | (Way::Divide, Event::Trap { signo: 8, .. }) => {
            skip(m)
        }
        (Way::Int3, Event::Trap { signo: 5, .. }) => {}
        (Way::Segv, Event::Fault(f)) => {
            assert_eq!((f.addr.0, f.present), (PAGE + 8, true));
            skip(m);
        }
        (Way::Kick, Event::Kicked) => {
            // Now and then there is nothing to do but to go on, again and again.
            for _ in 0..r.below(3) {
                timer::arm(Some(clock::monotonic() + Duration::from_nanos(r.below(20_000))));
                assert_eq!(t.run(), Event::Kicked);
            }
            skip(m);
        }
        (_, Event::Kicked) => {} // a late one of another round
        (_, e) => return Some(format!("{e:?}")),
    }
    let mut e = t.run();
    while e == Event::Kicked || (way == Way::Call && matches!(e, Event::Syscall { .. })) {
        e = t.run();
    }
    if !matches!(e, Event::Trap { signo: 4, .. }) {
        return Some(format!("then {e:?}"));
    }
    regs.rip = CODE + len as u64;
    let (now, then) = (visible(t.regs()), visible(&regs));
    if now != then {
        return Some(format!("registers {then:x?}, now {now:x?}"));
    }
    let after = t.xstate().expect("alive");
    let lost = ranges.into_iter().find(|r| after.0[r.clone()] != x.0[r.clone()]);
    lost.map(|r| {
        format!("extended state at {r:?}: {:x?}, now {:x?}", &x.0[r.clone()], &after.0[r.clone()])
    })
}

/// How many states for each way: `ROUNDS=` in the environment.
fn rounds() -> u64 {
    std::env::var("ROUNDS").ok().and_then(|s| s.parse().ok()).unwrap_or(10_000)
}

/// How many of `n` states do not survive, and the first that does not.
fn damage(m: &TestMachine, n: u64) -> (u64, Option<String>) {
    let s = m.new_space().expect("a stub");
    s.map(UserAddr(CODE), Pfn(0), 1, rx(), true);
    s.map(UserAddr(PAGE), FRAME, 1, Prot::READ, true);
    let mut t = s.clone().new_thread(&Regs::initial(CODE, 0), None).expect("a task");
    let mut r = Random(0x5eed_1234_5678);
    let (mut count, mut first) = (0, None);
    for way in [Way::Call, Way::Ud2, Way::Int3, Way::Segv, Way::Divide, Way::Kick] {
        for i in 0..n {
            if let Some(text) = once(m, &mut t, way, &mut r) {
                count += 1;
                first.get_or_insert(format!("{way:?}, round {i}: {text}"));
            }
        }
    }
    s.unmap(UserAddr(PAGE), 1);
    s.map(UserAddr(PAGE), FRAME, 1, rw(), true);
    (count, first)
}

fn random_states_survive_every_event(kind: Kind) {
    enter_cpu();
    // Under ptrace each state costs a dozen host calls, and its frames are the host's own work.
    let n = if kind == Kind::Ptrace { rounds().div_ceil(10) } else { rounds() };
    let (count, first) = damage(&machine(kind), n);
    assert_eq!(count, 0, "{first:?}");
}

both! {
    random_states_survive_every_event
}

/// A way out that forgets XRSTOR is seen by the test above.
#[test]
fn without_xrstor_states_are_lost() {
    let control = arch::shm::NegativeControl::NoXrstor;
    let m = common::shm(arch::shm::Options { control, ..Default::default() });
    let (count, _) = damage(&m, 100);
    assert!(count > 500, "{count} of 600 are lost");
}
