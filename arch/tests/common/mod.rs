//! A small kernel for tests: one machine, guest code as bytes, pages mapped by hand. The same tests run on
//! every backend: each is a function that takes the [`Kind`], and `both!` makes the tests.
#![allow(dead_code, unreachable_pub)] // each test program uses its part

use std::sync::{Arc, Condvar, Mutex, PoisonError};

use arch::ptrace::{Options, PtraceMachine};
use arch::shm::ShmMachine;
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

/// A backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Ptrace,
    Shm,
}

/// Makes the tests `ptrace::NAME` and `shm::NAME` of functions that take a [`Kind`].
#[macro_export]
macro_rules! both {
    ($($name:ident)*) => {
        mod ptrace {
            $(#[test] fn $name() { super::$name(super::common::Kind::Ptrace) })*
        }
        mod shm {
            $(#[test] fn $name() { super::$name(super::common::Kind::Shm) })*
        }
    };
}

/// Machines of one kind at a time in this process: shm wants to hear of children that stop, and under
/// ptrace they stop at every call.
struct Turn;

/// The kind whose turn it is, and how many machines there are of it.
static TURN: (Mutex<(Kind, usize)>, Condvar) = (Mutex::new((Kind::Ptrace, 0)), Condvar::new());

impl Turn {
    fn of(kind: Kind) -> Arc<Turn> {
        let mut now = TURN.0.lock().unwrap_or_else(PoisonError::into_inner);
        while now.0 != kind && now.1 > 0 {
            now = TURN.1.wait(now).unwrap_or_else(PoisonError::into_inner);
        }
        *now = (kind, now.1 + 1);
        Arc::new(Turn)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        TURN.0.lock().unwrap_or_else(PoisonError::into_inner).1 -= 1;
        TURN.1.notify_all();
    }
}

/// A machine of any kind.
#[derive(Clone)]
pub struct TestMachine {
    pub kind: Kind,
    machine: Arc<dyn Machine>,
    tasks: Arc<dyn Fn() -> Vec<i32> + Send + Sync>,
    initial: Arc<[u8]>,
    _turn: Arc<Turn>,
}

impl std::ops::Deref for TestMachine {
    type Target = dyn Machine;
    fn deref(&self) -> &Self::Target {
        &*self.machine
    }
}

impl TestMachine {
    /// All host processes of it.
    pub fn host_tasks(&self) -> Vec<i32> {
        (self.tasks)()
    }
    /// The extended state that a thread starts with.
    pub fn initial_xstate(&self) -> &[u8] {
        &self.initial
    }
}

/// A machine of 64 MiB; the calling thread is its CPU.
pub fn machine(kind: Kind) -> TestMachine {
    match kind {
        Kind::Ptrace => {
            let options = Options { pin: false, ready_stubs: 2 };
            let _turn = Turn::of(kind);
            let m = PtraceMachine::new(memory(), options).expect("this host lets us trace");
            let (initial, host) = (m.initial_xstate(), m.clone());
            let tasks = Arc::new(move || host.host_tasks());
            TestMachine { kind, machine: m, tasks, initial, _turn }
        }
        Kind::Shm => shm(arch::shm::Options { ready_stubs: 2, ..Default::default() }),
    }
}

/// One of the shm backend with these choices.
pub fn shm(options: arch::shm::Options) -> TestMachine {
    enter_cpu();
    let _turn = Turn::of(Kind::Shm);
    let m = ShmMachine::new(memory(), options).expect("this host has what it takes");
    let host = m.clone();
    let tasks = Arc::new(move || host.host_tasks());
    let initial = arch::xsave::initial().0[..arch::xsave::layout().frame_size].into();
    TestMachine { kind: Kind::Shm, machine: m, tasks, initial, _turn }
}

fn memory() -> Arc<PhysMem> {
    Arc::new(PhysMem::new(64 << 20).expect("memory"))
}

/// Makes the calling thread a CPU with a number that is free in this process, if it is none.
pub fn enter_cpu() -> u32 {
    if let Some(id) = arch::cpu::id() {
        return id;
    }
    let free = |id: &u32| arch::cpu::enter(*id).is_ok();
    (0..arch::cpu::MAX_CPUS as u32).find(free).expect("a free CPU number")
}

/// A space with `code` at [`CODE`] and a data page.
pub fn space_with(m: &TestMachine, code: &[u8]) -> Arc<dyn Space> {
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
pub fn guest(kind: Kind, code: &[u8]) -> (TestMachine, Arc<dyn Space>, Box<dyn Thread>) {
    let m = machine(kind);
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

/// The host's threads of a process.
pub fn host_threads(pid: i32) -> Vec<i32> {
    let Ok(dir) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    dir.flatten().filter_map(|e| e.file_name().to_str()?.parse().ok()).collect()
}

/// Process group and session of a host process; zeros if it is gone.
pub fn group_and_session(pid: i32) -> (i32, i32) {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // Behind the name in parentheses: state, parent, group, session.
    let rest = stat.rsplit(") ").next().unwrap_or_default();
    let number = |n| rest.split_whitespace().nth(n).and_then(|w: &str| w.parse().ok()).unwrap_or(0);
    (number(2), number(3))
}
