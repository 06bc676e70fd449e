//! What the ptrace backend costs on this host:
//! `cargo run --release -p umbra-arch --example roundtrip`.
//! Each row is the minimum and the median of several repeats; compare rows of one run only.

use std::sync::Arc;
use std::time::Instant;

use arch::ptrace::{Options, PtraceMachine};
use arch::switch::{Fiber, switch};
use arch::{Event, Machine, PhysMem, Prot, Regs, Space, Thread};
use base::{Pfn, UserAddr};

const CODE: u64 = 0x1_0000;
const AREA: u64 = 0x1000_0000;

/// `mov $39,%eax; syscall; jmp -9`
const CALLS: &[u8] = b"\xb8\x27\0\0\0\x0f\x05\xeb\xf7";
/// `1: movb $1,(%rdi); add $4096,%rdi; jmp 1b`
const TOUCH: &[u8] = b"\xc6\x07\x01\x48\x81\xc7\0\x10\0\0\xeb\xf4";

fn row(name: &str, per: usize, mut once: impl FnMut()) {
    let mut times: Vec<f64> = (0..15)
        .map(|_| {
            let t = Instant::now();
            once();
            t.elapsed().as_nanos() as f64 / per as f64
        })
        .collect();
    times.sort_by(f64::total_cmp);
    println!("{name:<44} {:>9.0} {:>9.0} ns", times[0], times[times.len() / 2]);
}

fn space(m: &Arc<PtraceMachine>) -> Arc<dyn Space> {
    let s = m.new_space().expect("stub");
    s.map(UserAddr(CODE), Pfn(0), 1, Prot::READ | Prot::EXEC, true);
    s
}

fn thread(s: &Arc<dyn Space>, ip: u64) -> Box<dyn Thread> {
    let mut r = Regs::initial(ip, 0);
    r.rdi = AREA;
    s.clone().new_thread(&r, None).expect("task")
}

fn main() {
    let phys = Arc::new(PhysMem::new(256 << 20).expect("memory"));
    arch::cpu::enter(0).expect("cpu");
    let started = Instant::now();
    let m = PtraceMachine::new(phys, Options::default()).unwrap_or_else(|e| {
        eprintln!("{e}");
        std::process::exit(1);
    });
    println!("machine ready after {:?}; xstate {} bytes", started.elapsed(), m.xstate_size());
    m.phys().write(Pfn(0).addr(), CALLS);
    m.phys().write(Pfn(0).addr().add(0x800), TOUCH);
    m.phys().zero(Pfn(16), 32 << 8);

    row("native getppid", 100_000, || {
        for _ in 0..100_000 {
            std::hint::black_box(std::os::unix::process::parent_id());
        }
    });
    let s = space(&m);
    let mut t = thread(&s, CODE);
    row("system call, result by set_result", 20_000, || {
        for _ in 0..20_000 {
            assert!(matches!(t.run(), Event::Syscall { nr: 39, .. }));
            t.set_result(1);
        }
    });
    row("system call, all registers read and written", 5_000, || {
        for _ in 0..5_000 {
            assert!(matches!(t.run(), Event::Syscall { .. }));
            t.regs_mut().rax = 1;
        }
    });
    row("extended state, get and set", 2_000, || {
        for _ in 0..2_000 {
            let x = t.xstate().expect("alive");
            t.set_xstate(&x).expect("same");
        }
    });
    for pages in [1u32, 4, 16, 64] {
        let prot = Prot::READ | Prot::WRITE;
        row(&format!("fault that maps {pages} pages"), 32, || {
            s.unmap(UserAddr(AREA), 1 << 16);
            s.flush().expect("alive");
            let mut toucher = thread(&s, CODE + 0x800);
            for _ in 0..32 {
                let Event::Fault(f) = toucher.run() else { panic!("no fault") };
                let at = UserAddr(f.addr.0 & !0xfff);
                let frame = 16 + ((at.0 - AREA) >> 12) as u32;
                s.map(at, Pfn(frame), pages, prot, true);
            }
        });
    }
    drop((t, s));
    while m.idle_work() {}
    row("space from the pool", 1, || drop(m.new_space().expect("stub")));
    row("space recycled (nothing mapped)", 1, || {
        let held: Vec<_> = (0..2).map(|_| m.new_space().expect("stub")).collect();
        drop(held);
    });
    let mut held = Vec::new();
    while m.idle_work() {}
    for _ in 0..16 {
        held.push(m.new_space().expect("stub"));
    }
    row("new stub from the zygote", 1, || held.push(m.new_space().expect("stub")));
    let s = m.new_space().expect("stub");
    let mut threads = Vec::new();
    row("first use of a new guest task", 1, || threads.push(thread(&s, CODE)));
    threads.clear();
    row("thread on a parked task", 1, || drop(thread(&s, CODE)));
    drop(s);
    let s = m.new_space().expect("stub");
    let prot = Prot::READ | Prot::WRITE;
    row("fill 12 runs of 16 pages, empty them", 1, || {
        for i in 0..12u32 {
            let at = UserAddr(AREA + u64::from(i) * 0x10_0000);
            s.map(at, Pfn(16 + i * 16), 16, prot, true);
        }
        s.flush().expect("alive");
        s.unmap(UserAddr(AREA), 1 << 16);
        s.flush().expect("alive");
    });
    row("drop a stub (kill and reap)", 1, || drop(held.pop()));

    let main = Arc::new(Fiber::current_thread());
    let (back, slot) = (main.clone(), Arc::new(std::sync::OnceLock::<Arc<Fiber>>::new()));
    let me = slot.clone();
    let body = move || {
        let me = me.get().expect("set before the first switch").clone();
        loop {
            switch(&me, &back);
        }
    };
    let fiber = Arc::new(Fiber::new(64 << 10, Box::new(body)).expect("stack"));
    let _ = slot.set(fiber.clone());
    row("fiber switch there and back", 100_000, || {
        for _ in 0..100_000 {
            switch(&main, &fiber);
        }
    });
    row("fiber made and dropped", 1_000, || {
        for _ in 0..1_000 {
            drop(Fiber::new(64 << 10, Box::new(|| ())).expect("stack"));
        }
    });
}
