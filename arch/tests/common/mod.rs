//! A small kernel for tests: one machine, guest code as bytes, pages mapped by hand.
#![allow(dead_code, unreachable_pub)] // each test program uses its part

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arch::ptrace::{Options, PtraceMachine};
use arch::{Event, Machine, PhysMem, Prot, Regs, Space, Thread};
use base::{Pfn, UserAddr};

/// Where guest code is mapped (frame 0, two pages).
pub const CODE: u64 = 0x1_0000;
/// A page of data (frame 16).
pub const DATA: u64 = 0x2_0000;
/// Frame of [`DATA`].
pub const DATA_FRAME: Pfn = Pfn(16);

pub fn rx() -> Prot {
    Prot::READ | Prot::EXEC
}
pub fn rw() -> Prot {
    Prot::READ | Prot::WRITE
}

/// A machine of 64 MiB; the calling thread is its CPU.
pub fn machine() -> Arc<PtraceMachine> {
    machine_with(Options { pin: false, ready_stubs: 2 })
}

pub fn machine_with(options: Options) -> Arc<PtraceMachine> {
    let phys = Arc::new(PhysMem::new(64 << 20).expect("memory"));
    PtraceMachine::new(phys, options).expect("this host lets us trace")
}

/// Makes the calling thread a CPU with a number of its own in this process.
pub fn enter_cpu() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let id = NEXT.fetch_add(1, Ordering::SeqCst);
    arch::cpu::enter(id).expect("a free CPU number");
    id
}

/// A space with `code` at [`CODE`] and a data page.
pub fn space_with(m: &Arc<PtraceMachine>, code: &[u8]) -> Arc<dyn Space> {
    m.phys().write(Pfn(0).addr(), code);
    let space = m.new_space().expect("a stub");
    space.map(UserAddr(CODE), Pfn(0), 2, rx(), true);
    space.map(UserAddr(DATA), DATA_FRAME, 1, rw(), true);
    space
}

pub fn thread_at(space: &Arc<dyn Space>, ip: u64) -> Box<dyn Thread> {
    space.clone().new_thread(&Regs::initial(ip, DATA + 0xf00), None).expect("a task")
}

/// A machine, a space and a thread that is about to execute `code`.
pub fn guest(code: &[u8]) -> (Arc<PtraceMachine>, Arc<dyn Space>, Box<dyn Thread>) {
    let m = machine();
    let space = space_with(&m, code);
    let thread = thread_at(&space, CODE);
    (m, space, thread)
}

/// Runs until something other than a kick happens.
pub fn run(t: &mut Box<dyn Thread>) -> Event {
    loop {
        match t.run() {
            Event::Kicked => {}
            e => return e,
        }
    }
}

/// The call number of an event that must be a call.
pub fn call_nr(e: Event) -> u64 {
    match e {
        Event::Syscall { nr, .. } => nr,
        e => panic!("not a call: {e:?}"),
    }
}

/// A deterministic random sequence (xorshift).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 11
    }
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

/// The host's list of mappings of a task.
pub fn host_maps(pid: i32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default()
}
