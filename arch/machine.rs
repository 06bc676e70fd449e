//! The machine traits: what the kernel asks of a backend (ptrace, shm, ...).
//!
//! A [`Machine`] makes address spaces. A [`Space`] is the host side of one address space: host
//! mappings of guest frames, used as a TLB, which the software page table in mm may drop and refill
//! at any time. A [`Thread`] is one guest thread: registers and floating-point state live in a host
//! task, and [`Thread::run`] lets it execute until it needs the kernel.
//!
//! Mapping operations are queued, merged with their neighbours and executed in one batch by
//! [`Space::flush`] or on the way into [`Thread::run`]. Whoever takes a frame away from a space must
//! `flush` before the frame is given to somebody else.

use std::sync::Arc;

use base::{Pfn, Result, UserAddr};
use bitflags::bitflags;

use crate::physmem::PhysMem;
use crate::regs::{Regs, XState};

bitflags! {
    /// What a host mapping lets guest code do. Write implies read, as on x86.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct Prot: u8 {
        /// Load.
        const READ = 1;
        /// Store.
        const WRITE = 2;
        /// Fetch instructions.
        const EXEC = 4;
    }
}

/// A page fault of guest code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FaultInfo {
    /// The address that could not be reached.
    pub addr: UserAddr,
    /// True: the host has a mapping there, with fewer rights than asked (SEGV_ACCERR). False:
    /// there was nothing.
    pub present: bool,
    /// Whether it was a store, where the backend can tell. With `present` set and no `exec` it is
    /// a store for certain, unless the host's mapping allows nothing at all.
    pub write: Option<bool>,
    /// Whether it was an instruction fetch, as far as the backend can tell.
    pub exec: bool,
}

/// Why a guest thread came back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// A native system call. The result is set with [`Thread::set_result`]; it is -ENOSYS until then.
    Syscall {
        /// Number, as in rax.
        nr: u64,
        /// rdi, rsi, rdx, r10, r8, r9.
        args: [u64; 6],
        /// Address of the instruction after the call.
        ip: u64,
        /// Stack pointer.
        sp: u64,
        /// It came from a patched call site.
        patched: bool,
    },
    /// A system call of another architecture (int 0x80). The kernel answers -ENOSYS.
    ForeignSyscall,
    /// A page fault.
    Fault(FaultInfo),
    /// Another exception, as the signal that Linux would send for it.
    Trap {
        /// SIGILL, SIGFPE, SIGTRAP, SIGBUS or SIGSEGV (general protection).
        signo: u32,
        /// si_code.
        code: i32,
        /// si_addr.
        addr: u64,
    },
    /// The timer or another CPU wants the kernel's attention. May be spurious.
    Kicked,
    /// The host task is gone (killed from outside, or after a protocol violation): the process
    /// cannot go on.
    Dead,
}

/// A backend.
pub trait Machine: Send + Sync + std::fmt::Debug {
    /// Its name on the command line.
    fn name(&self) -> &'static str;
    /// Guest-physical memory.
    fn phys(&self) -> &Arc<PhysMem>;
    /// An address space without mappings, from the pool of ready stubs if there is one.
    ///
    /// # Errors
    /// ENOMEM or EAGAIN if the host has no process to give.
    fn new_space(&self) -> Result<Arc<dyn Space>>;
    /// Where patched system call sites (`arch::patch`) enter the stub; None if the backend has no
    /// such entry.
    fn patch_entry(&self) -> Option<u64> {
        None
    }
    /// Background work while the CPU is idle: refill the pool, finish torn-down stubs. Returns
    /// whether there is more to do.
    fn idle_work(&self) -> bool {
        false
    }
}

/// The host side of one address space. Dropping the last reference gives the stub back.
pub trait Space: Send + Sync + std::fmt::Debug {
    /// Queues: pages `at..at+pages` show frames `pfn..` with `prot`, whatever was there before.
    /// `populate` asks for host page-table entries at once (no host fault at first touch).
    fn map(&self, at: UserAddr, pfn: Pfn, pages: u32, prot: Prot, populate: bool);
    /// As `map`, where nothing was mapped before: guest code may run without it, and fault, until it is
    /// demanded.
    fn add(&self, at: UserAddr, pfn: Pfn, pages: u32, prot: Prot, populate: bool);
    /// Queues: nothing is mapped in `at..at+pages` any more.
    fn unmap(&self, at: UserAddr, pages: u64);
    /// Queues: what is mapped in `at..at+pages` has `prot` now. The range must be fully mapped.
    fn protect(&self, at: UserAddr, pages: u64, prot: Prot);
    /// Whether anything is queued.
    fn has_queued(&self) -> bool;
    /// Demands that the queue is executed before guest code runs next: all but `add` imply it.
    fn demand(&self);
    /// Executes the queue now. After it returns no guest code can use what was taken away.
    ///
    /// # Errors
    /// ESRCH if the space is dead. ENOMEM if the host ran out of mappings: everything has been
    /// unmapped then, and the caller's page table must be treated as not loaded (see `generation`).
    fn flush(&self) -> Result<()>;
    /// Counts how often the backend has dropped all mappings by itself; mm compares it after
    /// `flush` and before trusting that a page is mapped.
    fn generation(&self) -> u64;
    /// A guest thread with these registers and extended state (None: the initial one). Taken from
    /// parked host tasks of this space if there is one.
    ///
    /// # Errors
    /// EAGAIN or ENOMEM if the host has no task to give, ESRCH if the space is dead.
    fn new_thread(self: Arc<Self>, regs: &Regs, xstate: Option<&XState>)
    -> Result<Box<dyn Thread>>;
}

/// Results of system calls that a guest thread finds for itself, without coming back: what does not
/// change from call to call, such as its own id. Any task may set them at any time.
pub trait Answers: Send + Sync + std::fmt::Debug {
    /// System call `nr` gives `value` from now on; None: it comes to the kernel. Numbers that the
    /// backend keeps no room for always come.
    fn set(&self, nr: u32, value: Option<u32>);
}

/// One guest thread. Only the task that owns it calls it, on whatever virtual CPU that task is.
/// Dropped, its host task is parked in the space or ended.
pub trait Thread: Send + std::fmt::Debug {
    /// Executes guest code until something happens. Queued mapping operations are flushed before, if
    /// that was demanded.
    fn run(&mut self) -> Event;
    /// The registers of the stopped thread, fetched when first asked for after a `run`.
    fn regs(&mut self) -> &Regs;
    /// As `regs`, to be written back (made acceptable to the host) before the next `run`.
    fn regs_mut(&mut self) -> &mut Regs;
    /// Replaces the general registers, rip and of the flags [`Regs::USER_FLAGS`]; segments and their bases stay
    /// as they are.
    fn set_general(&mut self, regs: &Regs) {
        let now = self.regs_mut();
        *now = now.with_general(regs);
    }
    /// Sets rax only: the cheap way to finish a system call.
    fn set_result(&mut self, value: i64);
    /// The extended (x87, SSE, AVX, ...) state in the host's standard XSAVE format.
    ///
    /// # Errors
    /// ESRCH if the thread is dead.
    fn xstate(&mut self) -> Result<XState>;
    /// Replaces the extended state.
    ///
    /// # Errors
    /// EINVAL if the host does not take it (the guest gets SIGSEGV), ESRCH if the thread is dead.
    fn set_xstate(&mut self, state: &XState) -> Result<()>;
    /// Where this thread looks for answers, if the backend has such a place. There are none at first.
    fn answers(&self) -> Option<Arc<dyn Answers>> {
        None
    }
    /// Executes one instruction at a time from now on (TF as the debugger's, not the guest's).
    fn set_single_step(&mut self, on: bool);
}
