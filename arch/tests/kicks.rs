//! Taking the guest back: no kick is lost, wherever it comes.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arch::{Event, clock, cpu, timer};
use base::UserAddr;
use common::{CODE, DATA, DATA_FRAME, Kind, Random, enter_cpu, guest, rw};

/// `1: inc %r12; jmp 1b`
const SPIN: &[u8] = b"\x49\xff\xc4\xeb\xfb";

/// How many kicks: `KICKS=` in the environment, a short run otherwise.
fn rounds(default: u64) -> u64 {
    std::env::var("KICKS").ok().and_then(|s| s.parse().ok()).unwrap_or(default)
}

/// Ends the process if the test hangs: a lost kick would.
fn watchdog(seconds: u64) -> Arc<AtomicBool> {
    let done = Arc::new(AtomicBool::new(false));
    let seen = done.clone();
    cpu::device_thread("watchdog", move || {
        for _ in 0..seconds * 10 {
            if seen.load(Ordering::SeqCst) {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        eprintln!("a kick was lost: the guest spins for ever");
        std::process::abort();
    })
    .expect("thread");
    done
}

fn timer_takes_a_spinning_guest_back(kind: Kind) {
    enter_cpu();
    // The turn of this kind of machine may be long in coming: the watch begins behind it.
    let (_m, _s, mut t) = guest(kind, SPIN);
    let done = watchdog(60);
    for _ in 0..200 {
        let due = clock::monotonic() + Duration::from_micros(100);
        timer::arm(Some(due));
        assert_eq!(t.run(), Event::Kicked);
        while clock::monotonic() < due {
            assert_eq!(t.run(), Event::Kicked, "a spurious one");
            timer::arm(Some(due));
        }
    }
    assert!(t.regs().r12 > 0);
    done.store(true, Ordering::SeqCst);
}

fn no_kick_around_the_entry_is_lost(kind: Kind) {
    enter_cpu();
    let done = watchdog(500);
    let (_m, _s, mut t) = guest(kind, SPIN);
    let mut random = Random(0x1234_5678_9abc);
    // Each round arms one expiry near the moment of entry and must come back by it: the guest never
    // traps by itself.
    for _ in 0..rounds(100_000) {
        timer::arm(Some(clock::monotonic() + Duration::from_nanos(100 + random.below(20_000))));
        assert_eq!(t.run(), Event::Kicked);
    }
    done.store(true, Ordering::SeqCst);
}

fn kicks_from_another_thread_arrive_with_what_they_announce(kind: Kind) {
    let id = enter_cpu();
    // The turn of this kind of machine may be long in coming: the watch begins behind it.
    let (_m, _s, mut t) = guest(kind, SPIN);
    let done = watchdog(60);
    let (sent, seen) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let n = rounds(20_000);
    let (tell, answer) = (sent.clone(), seen.clone());
    let kicker = cpu::device_thread("kicker", move || {
        let mut random = Random(99);
        for i in 1..=n {
            tell.store(i, Ordering::SeqCst);
            cpu::kick(id);
            while answer.load(Ordering::SeqCst) != i {
                std::hint::spin_loop();
                std::thread::yield_now();
            }
            for _ in 0..random.below(3000) {
                std::hint::spin_loop();
            }
        }
    })
    .expect("thread");
    while seen.load(Ordering::SeqCst) < n {
        assert_eq!(t.run(), Event::Kicked);
        seen.store(sent.load(Ordering::SeqCst), Ordering::SeqCst);
    }
    kicker.join().expect("no panic");
    done.store(true, Ordering::SeqCst);
}

fn kicks_disturb_nothing(kind: Kind) {
    // 1: inc %r12; mov $39,%eax; syscall; cmp %r12,%rax; jne 9f; mov %r13,%rcx; 2: dec %rcx; jnz 2b;
    // incq (%r14); jmp 1b; 9: ud2
    let body = b"\x49\xff\xc4\xb8\x27\0\0\0\x0f\x05\x4c\x39\xe0\x75\x0d\x4c\x89\xe9\x48\xff\xc9\
                 \x75\xfb\x49\xff\x06\xeb\xe4\x0f\x0b";
    enter_cpu();
    let done = watchdog(300);
    let (m, s, mut t) = guest(kind, body);
    m.phys().write(DATA_FRAME.addr(), &[0; 8]);
    (t.regs_mut().r13, t.regs_mut().r14) = (1, DATA);
    let mut random = Random(7);
    let (mut calls, mut kicks, mut mapped, mut faults, mut unmaps) = (0u64, 0, true, 0, 0);
    while kicks < rounds(20_000) {
        timer::arm(Some(clock::monotonic() + Duration::from_nanos(1000 + random.below(30_000))));
        match t.run() {
            Event::Kicked => kicks += 1,
            Event::Syscall { nr: 39, .. } => {
                calls += 1;
                if random.below(8) == 0 {
                    t.regs_mut().r13 = 1 + random.below(3000);
                }
                t.set_result(calls.cast_signed());
                if mapped && random.below(4) == 0 {
                    s.unmap(UserAddr(DATA), 1);
                    (mapped, unmaps) = (false, unmaps + 1);
                }
            }
            Event::Fault(f) => {
                assert!(!mapped && f.addr == UserAddr(DATA) && !f.present);
                s.map(UserAddr(DATA), DATA_FRAME, 1, rw(), true);
                (mapped, faults) = (true, faults + 1);
            }
            e => panic!("{e:?}: a call was lost or done twice ({calls} calls)"),
        }
    }
    let mut stores = [0; 8];
    m.phys().read(DATA_FRAME.addr(), &mut stores);
    let stores = u64::from_le_bytes(stores);
    let loops = t.regs().r12;
    assert!(loops == calls || loops == calls + 1, "{loops} loops, {calls} calls");
    assert!(stores == calls || stores + 1 == calls, "{stores} stores, {calls} calls");
    assert!(faults == unmaps || faults + 1 == unmaps);
    assert_eq!(t.regs().rip & !0xfff, CODE);
    done.store(true, Ordering::SeqCst);
}

both! {
    timer_takes_a_spinning_guest_back
    no_kick_around_the_entry_is_lost
    kicks_from_another_thread_arrive_with_what_they_announce
    kicks_disturb_nothing
}
