//! What the stub's text and the kernel agree on: addresses in every stub, and the words of the
//! pages that they share.
//!
//! Shared pages are split by writer. A *K page* is written by the kernel and read-only in the stub. An *S
//! region* is written by the stub, and so by guest code: the kernel reads each word once and believes
//! nothing. Both exist once per guest thread; number 0 is the server's (and the zygote's).

/// Where the text is mapped in every stub: exactly the range that Syscall User Dispatch
/// lets call the host.
pub const TEXT: u64 = 0x7fff_0000_0000;
/// High half of every address of the stub's own, for the filters.
pub(crate) const TEXT_HIGH: u32 = (TEXT >> 32) as u32;
/// Bytes of text.
pub(crate) const TEXT_LEN: u64 = 0x2000;
/// End of what a host process may map.
pub(crate) const HOST_TOP: u64 = 0x7fff_ffff_f000;
/// The high halves of start and length of a guest mapping are together at most this: it ends
/// below the text.
pub(crate) const GUEST_HIGH: u32 = 0x7ffd;

/// Number 0 and most guest threads of a space.
pub(crate) const REGIONS: usize = 1024;
/// Bytes of a K page.
pub const K_SIZE: usize = 0x1000;
/// Bytes of an S region, a power of two: regions are aligned, so that a signal handler finds its
/// own from the stack pointer.
pub const S_SIZE: usize = 0x8000;
/// Where K pages are mapped in every stub.
pub const K_BASE: u64 = TEXT + 0x1000_0000;
/// Bytes of all K pages.
pub(crate) const K_LEN: usize = REGIONS * K_SIZE;
/// Where S regions are mapped in every stub.
pub const S_BASE: u64 = TEXT + 0x2000_0000;
/// Bytes of all S regions.
pub(crate) const S_LEN: usize = REGIONS * S_SIZE;
/// Bytes of one space in the control memfd: its K pages, then its S regions.
pub(crate) const SLOT: usize = 64 << 20;
/// Most spaces at a time. The memfd is sparse: what is not touched costs nothing.
pub(crate) const SLOTS: u32 = 16384;
const _: () = assert!(K_LEN + S_LEN <= SLOT && S_SIZE == 8 * K_SIZE);

/// Descriptors of a new server; a guest thread has none.
pub(crate) mod fd {
    /// Guest memory.
    pub(crate) const RAM: u32 = 0;
    /// The control memfd, until the space has mapped its slot.
    pub(crate) const CONTROL: u32 = 1;
    /// The eventfd by which servers report, which no guest can reach.
    pub(crate) const REPORT: u32 = 2;
    /// The stub's image, until the zygote has mapped it.
    pub(crate) const IMAGE: u32 = 3;
}

/// System calls below this number may have an answer in the K page.
pub(crate) const ANSWERS: usize = 192;
const _: () = assert!(k::ANSWERS + ANSWERS * 8 <= K_SIZE);

/// Words of a K page, by byte offset.
pub(crate) mod k {
    /// u32. Threads: equals the event that may now continue. Servers: counts requests.
    pub(crate) const GO: usize = 0;
    /// u32: the kernel sleeps on EV and wants to be woken.
    pub(crate) const SLEEP: usize = 4;
    /// u32: how often a thread looks at GO before it sleeps.
    pub(crate) const SPIN: usize = 8;
    /// u32: how to wait while somebody else has the turn, see [`super::park`].
    pub(crate) const PARK: usize = 12;
    /// u32: the way out, see [`super::mode`].
    pub(crate) const MODE: usize = 16;
    /// u32: not 0: a kick makes the thread forget what it does and report READY.
    pub(crate) const RESET: usize = 20;
    /// u64: the `ucontext` to leave through.
    pub(crate) const CONTEXT: usize = 24;
    /// u64: its extended state.
    pub(crate) const FPSTATE: usize = 32;
    /// u64: the components to restore (never PKRU: its value would lock the stub out at once).
    pub(crate) const FEATURES: usize = 40;
    /// u64: segment bases, if the mode has BASES.
    pub(crate) const FS_BASE: usize = 48;
    /// u64.
    pub(crate) const GS_BASE: usize = 56;
    /// `stack_t` of the signal stack.
    pub(crate) const STACK: usize = 64;
    /// Server: u32, how many operations. Zygote: u64, the slot of the new space in the memfd.
    pub(crate) const COUNT: usize = 96;
    /// Zygote: u32, not 0: make a twin instead of a server.
    pub(crate) const TWIN: usize = 104;
    /// u32: the kernel's process, which must be the parent.
    pub(crate) const KERNEL: usize = 108;
    /// Threads: u32, counts batches that the server shall be woken for while the thread waits.
    pub(crate) const SERVE: usize = 112;
    /// Threads: u64 for each system call number below [`super::ANSWERS`]: 0, or its result plus one.
    pub(crate) const ANSWERS: usize = 0x400;
    /// Server: up to 64 operations of [`super::Operation`].
    pub(crate) const OPERATIONS: usize = 256;
}

/// Words of an S region, by byte offset. The signal stack is behind them.
pub(crate) mod s {
    /// u32: number of the last event, GO + 1 while the thread waits.
    pub(crate) const EV: usize = 0;
    /// u32: the thread sleeps on GO.
    pub(crate) const SLEEP: usize = 4;
    /// u32: the signal, or one of [`super::event`].
    pub(crate) const TYPE: usize = 8;
    /// u64: address of the signal's `ucontext`.
    pub(crate) const CONTEXT: usize = 16;
    /// u64: segment bases at the event.
    pub(crate) const FS_BASE: usize = 24;
    /// u64.
    pub(crate) const GS_BASE: usize = 32;
    /// u64: a result: the new process or thread, or what a failed operation said. Only a hint where
    /// a guest could write it. Threads: what came with the last RESET.
    pub(crate) const RESULT: usize = 40;
    /// u64: address of the thread's K page, for a patched call to find quickly.
    pub(crate) const K: usize = 48;
    /// u32: a kick has hit the stub's text: no more answers without the kernel.
    pub(crate) const KICKED: usize = 56;
    /// Registers of a patched call: rax rbx rcx rdx rsi rdi rbp rsp r8..r15 flags. rcx is where to
    /// go on.
    pub(crate) const REGS: usize = 64;
    /// A `ucontext` that the kernel makes up, 8 bytes behind a multiple of 16 as in a signal frame.
    /// No signal frame can land here.
    pub(crate) const MADE_CONTEXT: usize = 0x408;
    /// Its extended state.
    pub(crate) const MADE_FPSTATE: usize = 0x800;
    /// The signal stack.
    pub(crate) const STACK: usize = 0x2000;
}
const _: () = assert!(s::MADE_FPSTATE + 0x1800 <= s::STACK);

/// Values of [`k::PARK`].
pub(crate) mod park {
    /// It is this thread's turn: look at GO.
    pub(crate) const TURN: u32 = 0;
    /// Another thread's on the same host CPU, but probably soon again this one's: yield.
    pub(crate) const YIELD: u32 = 1;
    /// Sleep at once.
    pub(crate) const SLEEP: u32 = 2;
    /// So many looks at GO does a yield count for: a look costs tens of nanoseconds, a yield about
    /// one microsecond.
    pub(crate) const YIELD_COST: u32 = 64;
}

/// Words of [`s::REGS`].
pub(crate) mod saved {
    pub(crate) const RAX: usize = 0;
    /// Where to go on.
    pub(crate) const RCX: usize = 2;
    pub(crate) const RSP: usize = 7;
    pub(crate) const FLAGS: usize = 16;
    /// rbx, rbp, r12 to r15.
    pub(crate) const KEPT: [usize; 6] = [1, 6, 12, 13, 14, 15];
    /// rdi, rsi, rdx, r10, r8, r9.
    pub(crate) const ARGS: [usize; 6] = [5, 4, 3, 10, 8, 9];
}

/// Ways out of the stub.
pub(crate) mod mode {
    /// Everything from the context, by `iretq`.
    pub(crate) const FULL: u32 = 1;
    /// All but rcx and r11, which a system call destroys: cheaper.
    pub(crate) const SYSCALL: u32 = 0;
    /// From the S region's registers, to behind a patched call site. FP state never left the CPU.
    pub(crate) const PATCHED: u32 = 2;
    /// Not out: from a patched call, to save what such a call does not show, and report [`super::event::SAVED`].
    pub(crate) const SAVE: u32 = 3;
    /// The segment bases first.
    pub(crate) const BASES: u32 = 0x100;
}

/// Events that are no signal.
pub(crate) mod event {
    /// A system call from a patched site.
    pub(crate) const PATCHED: u32 = 0x100;
    /// The thread is armed and waits.
    pub(crate) const READY: u32 = 0x200;
    /// The extended state of a patched call is in [`s::MADE_FPSTATE`].
    pub(crate) const SAVED: u32 = 0x300;
    /// A signal that hit the stub's own text, its number added: something wrote what it must not, or
    /// jumped where it must not.
    pub(crate) const BROKEN: u32 = 0x400;
}

/// What servers write to the eventfd. Sums can be told apart.
pub(crate) mod report {
    /// A batch is done. The zygote: it has made a process.
    pub(crate) const DONE: u64 = 1;
    /// A batch has stopped at an operation that failed.
    pub(crate) const FAILED: u64 = 1 << 16;
    /// A new server waits for its first batch.
    pub(crate) const READY: u64 = 1 << 32;
    /// Written by our own handler: a child has died or stopped.
    pub(crate) const CHILD: u64 = 1 << 48;
}

/// `ucontext`, as the host writes it (arch/x86/include/uapi/asm/sigcontext.h): offsets in it.
pub(crate) mod uc {
    /// General registers: r8..r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, eflags.
    pub(crate) const REGS: usize = 40;
    /// Segment selectors: cs in the low 16 bits.
    pub(crate) const CS: usize = 184;
    /// Error code of the exception.
    pub(crate) const ERROR: usize = 192;
    /// Address of the extended state.
    pub(crate) const FPSTATE: usize = 224;
    /// The siginfo lies behind it in a signal frame.
    pub(crate) const SIGINFO: usize = 304;
    /// si_value in it.
    pub(crate) const SI_VALUE: usize = 24;
    /// Bytes of both.
    pub(crate) const LEN: usize = SIGINFO + 128;
}

/// One operation of a batch.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operation {
    pub(crate) addr: u64,
    pub(crate) len: u64,
    pub(crate) offset: u64,
    pub(crate) nr: u16,
    pub(crate) prot: u16,
    pub(crate) flags: u32,
}
const _: () = assert!(size_of::<Operation>() == 32);
const _: () = assert!(k::OPERATIONS + crate::space::MAX_BATCH * 32 <= K_SIZE);

/// What the zygote clones a space with: a process of its own, child of the kernel.
pub(crate) const SPACE_FLAGS: u32 = (libc::CLONE_PARENT | libc::SIGCHLD).cast_unsigned();
/// What a server clones a guest thread with: not its descriptors.
pub(crate) const THREAD_FLAGS: u32 = (libc::CLONE_VM
    | libc::CLONE_FS
    | libc::CLONE_SIGHAND
    | libc::CLONE_THREAD
    | libc::CLONE_SYSVSEM)
    .cast_unsigned();
