//! Kernel stacks, and idling: what of a virtual CPU needs no machine. (Machines have children, whose SIGCHLD is an
//! interrupt to any virtual CPU of the process.)

mod common;

use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arch::switch::{Fiber, exit_to, switch};
use arch::{clock, cpu, timer};
use common::{Random, enter_cpu};

type Slot = Arc<OnceLock<Arc<Fiber>>>;

/// A fiber that knows itself.
fn spawn(stack: usize, body: impl FnOnce(&Fiber) + Send + 'static) -> Arc<Fiber> {
    let slot = Slot::default();
    let mine = slot.clone();
    let fiber =
        Fiber::new(stack, Box::new(move || body(mine.get().expect("set before the first switch"))));
    let fiber = Arc::new(fiber.expect("stack"));
    let _ = slot.set(fiber.clone());
    fiber
}

#[test]
fn control_and_state_go_back_and_forth() {
    let main = Arc::new(Fiber::current_thread());
    let sum = Arc::new(AtomicU64::new(0));
    let (back, s) = (main.clone(), sum.clone());
    let fiber = spawn(64 << 10, move |me| {
        let mut local = 1.5f64;
        for i in 0..1000u64 {
            local *= 1.000_1;
            s.fetch_add(i, Ordering::Relaxed);
            switch(me, &back);
        }
        s.fetch_add(local as u64, Ordering::Relaxed);
        exit_to(me, &back);
    });
    for i in 0..=1000u64 {
        assert!(!fiber.is_finished());
        switch(&main, &fiber);
        let expected = (0..=i.min(999)).sum::<u64>() + u64::from(i == 1000);
        assert_eq!(sum.load(Ordering::Relaxed), expected);
    }
    assert!(fiber.is_finished());
}

#[test]
fn misuse_is_refused() {
    let main = Arc::new(Fiber::current_thread());
    let back = main.clone();
    let fiber = spawn(64 << 10, move |me| {
        let again = std::panic::catch_unwind(|| switch(me, me));
        assert!(again.is_err(), "a running fiber was resumed");
        exit_to(me, &back);
    });
    assert!(std::panic::catch_unwind(|| switch(&fiber, &main)).is_err(), "from another's stack");
    switch(&main, &fiber);
    assert!(std::panic::catch_unwind(|| switch(&main, &fiber)).is_err(), "a finished fiber");
    assert!(std::panic::catch_unwind(Fiber::current_thread).is_err());
    // One that never started gives its body back.
    let token = Arc::new(());
    let theirs = token.clone();
    drop(Fiber::new(1, Box::new(move || drop(theirs))));
    assert_eq!(Arc::strong_count(&token), 1);
}

#[test]
fn a_fiber_moves_between_host_threads() {
    let steps = Arc::new(AtomicU64::new(0));
    let homes: Arc<std::sync::Mutex<Vec<Arc<Fiber>>>> = Arc::default();
    let (s, h) = (steps.clone(), homes.clone());
    let fiber = spawn(64 << 10, move |me| {
        loop {
            s.fetch_add(1, Ordering::SeqCst);
            let home = h.lock().expect("no panic").pop().expect("who resumed us");
            switch(me, &home);
        }
    });
    for round in 1..=20u64 {
        let (f, h) = (fiber.clone(), homes.clone());
        std::thread::spawn(move || {
            let home = Arc::new(Fiber::current_thread());
            h.lock().expect("no panic").push(home.clone());
            switch(&home, &f);
        })
        .join()
        .expect("no panic");
        assert_eq!(steps.load(Ordering::SeqCst), round);
    }
}

#[test]
fn backtraces_end_at_the_bottom() {
    let main = Arc::new(Fiber::current_thread());
    let back = main.clone();
    let text = Arc::new(OnceLock::new());
    let out = text.clone();
    let fiber = spawn(512 << 10, move |me| {
        let _ = out.set(std::backtrace::Backtrace::force_capture().to_string());
        exit_to(me, &back);
    });
    switch(&main, &fiber);
    let text = text.get().expect("captured");
    assert!(text.contains("fiber_entry"), "{text}");
}

#[test]
fn current_is_what_was_set() {
    assert!(arch::cpu::current().is_none());
    assert!(arch::cpu::set_current(Some(Arc::new(5u32))).is_none());
    let now = arch::cpu::current().expect("set");
    assert_eq!(now.downcast_ref::<u32>(), Some(&5));
    assert!(arch::cpu::set_current(None).is_some());
    assert!(arch::cpu::current().is_none());
}

#[inline(never)]
fn dig(n: u64) -> u64 {
    let page = std::hint::black_box([n; 256]);
    if n == 0 { page[0] } else { dig(n - 1) + page[(n % 256) as usize] }
}

/// Not a test of its own.
#[test]
#[ignore = "run by overflow_is_named"]
fn overflowing_kernel() {
    arch::cpu::install_fault_handler();
    let main = Arc::new(Fiber::current_thread());
    let fiber = spawn(64 << 10, |_| {
        std::hint::black_box(dig(1 << 20));
    });
    switch(&main, &fiber);
}

#[test]
fn overflow_is_named() {
    let out = Command::new(std::env::current_exe().expect("path"))
        .args(["--ignored", "--exact", "overflowing_kernel", "--nocapture"])
        .output()
        .expect("self");
    assert!(!out.status.success());
    let text = String::from_utf8_lossy(&out.stderr);
    assert!(text.contains("kernel stack overflow"), "{text}");
}

#[test]
fn idling_ends_by_deadline_and_by_kick() {
    let id = enter_cpu();
    let start = clock::monotonic();
    cpu::idle(Some(start + Duration::from_millis(20)));
    assert!(clock::monotonic() >= start + Duration::from_millis(20));
    assert!(!cpu::pending());
    // The timer ends it, too.
    timer::arm(Some(clock::monotonic() + Duration::from_millis(5)));
    cpu::idle(None);
    assert!(cpu::take_pending() && !cpu::take_pending());
    // And kicks, at any moment.
    let round = Arc::new(AtomicU64::new(0));
    let theirs = round.clone();
    let n = 5_000;
    let kicker = cpu::device_thread("kicker", move || {
        let mut random = Random(5);
        for i in 0..n {
            while theirs.load(Ordering::SeqCst) != i {
                std::thread::yield_now();
            }
            for _ in 0..random.below(3000) {
                std::hint::spin_loop();
            }
            cpu::kick(id);
        }
    })
    .expect("thread");
    for i in 0..n {
        while !cpu::take_pending() {
            cpu::idle(None);
        }
        round.store(i + 1, Ordering::SeqCst);
    }
    kicker.join().expect("no panic");
    assert_eq!(cpu::id(), Some(id));
    assert!(cpu::enter(id).is_err());
}
