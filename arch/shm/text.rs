//! The stub's text and the ELF image around it: everything that runs in a guest's host process and is
//! not guest code.
//!
//! Two pages, no stack but a thread's own signal stack. Four kinds of task execute it:
//! * the **zygote**, executed from a memfd at boot: unmaps everything the host has put into it, installs
//!   the signal handlers and the server's filter (all of it is inherited), then makes spaces on request;
//! * a **server** per space executes mapping batches and makes guest threads;
//! * a **guest thread**: sets itself up, reports READY, and then runs guest code until a signal;
//! * the **signal handler** of guest threads: tells the kernel, waits, and leaves without
//!   `rt_sigreturn`, which no filter allows.
//!
//! What the handler does is an *event*: the stub writes its type and number (GO + 1) into the S region, wakes
//! the kernel if that sleeps, and waits until GO equals the number. It takes GO anew at each event, so
//! that a scribbled counter cannot drift.

use std::arch::global_asm;
use std::os::fd::OwnedFd;

use base::Result;
use zerocopy::IntoBytes;

use super::NegativeControl;
use super::filter;
use super::layout::{
    self as l, HOST_TOP, K_BASE, K_LEN, S_BASE, S_LEN, S_SIZE, SPACE_FLAGS, TEXT, TEXT_LEN,
    THREAD_FLAGS, event, k, mode, park, report, s, uc,
};
use crate::stub::image::{elf_header, seal};
use crate::sys::SIG_KICK;

/// Where exec puts the image. Not at its final place: exec's stack may be there.
const LOW: u64 = 0x40_0000;
/// Offset of the code in the page, behind the ELF header and one program header.
const CODE: usize = 128;
/// Bytes of the image: the code in the first page, what it reads in the second.
const IMAGE: usize = TEXT_LEN as usize;
/// Offset of constants.
const DATA: usize = 0x1000;
/// Offset of the servers' filter program (`sock_fprog`, then the instructions).
const SERVER_FILTER: usize = 0x1100;
/// Offset of the guest threads' filter program.
const THREAD_FILTER: usize = 0x1c00;

// Constants, by offset in the page.
pub(super) const ZEROS: usize = DATA;
const ONES: usize = DATA + 8;
const DONE: usize = DATA + 16;
const FAILED: usize = DATA + 24;
const READY: usize = DATA + 32;
const SIGACTION: usize = DATA + 48;
const SIGNALS: usize = DATA + 96;

/// The signals whose handler is ours: exceptions, refused calls, kicks.
const HANDLED: [i32; 7] = [
    libc::SIGSYS,
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGILL,
    libc::SIGTRAP,
    SIG_KICK,
];

global_asm!(
    include_str!("stub.s"),
    text = const TEXT,
    text_len = const TEXT_LEN,
    host_top = const HOST_TOP,
    code = const CODE,
    signals = const SIGNALS,
    sigaction = const SIGACTION,
    zeros = const ZEROS,
    ones = const ONES,
    done = const DONE,
    failed = const FAILED,
    ready = const READY,
    server_filter = const SERVER_FILTER,
    thread_filter = const THREAD_FILTER,
    k_base = const K_BASE,
    k_len = const K_LEN,
    s_base = const S_BASE,
    s_base_low = const S_BASE as u32,
    s_len = const S_LEN,
    s_size = const S_SIZE,
    s_shift = const S_SIZE.trailing_zeros(),
    fd_ram = const l::fd::RAM,
    fd_control = const l::fd::CONTROL,
    fd_report = const l::fd::REPORT,
    fd_image = const l::fd::IMAGE,
    k_go = const k::GO,
    k_sleep = const k::SLEEP,
    k_spin = const k::SPIN,
    k_park = const k::PARK,
    park_yield = const park::YIELD,
    yield_cost = const park::YIELD_COST,
    k_mode = const k::MODE,
    k_serve = const k::SERVE,
    k_reset = const k::RESET,
    k_context = const k::CONTEXT,
    k_fpstate = const k::FPSTATE,
    k_features = const k::FEATURES,
    k_fs_base = const k::FS_BASE,
    k_gs_base = const k::GS_BASE,
    k_stack = const k::STACK,
    k_count = const k::COUNT,
    k_twin = const k::TWIN,
    k_kernel = const k::KERNEL,
    k_operations = const k::OPERATIONS,
    s_ev = const s::EV,
    s_sleep = const s::SLEEP,
    s_type = const s::TYPE,
    s_context = const s::CONTEXT,
    s_fs_base = const s::FS_BASE,
    s_gs_base = const s::GS_BASE,
    s_result = const s::RESULT,
    si_value = const uc::SI_VALUE,
    s_regs = const s::REGS,
    s_k = const s::K,
    s_kicked = const s::KICKED,
    answers = const l::ANSWERS,
    k_answers = const k::ANSWERS,
    m_full = const mode::FULL,
    m_patched = const mode::PATCHED,
    m_bases = const mode::BASES,
    ev_ready = const event::READY,
    ev_patched = const event::PATCHED,
    ev_saved = const event::SAVED,
    ev_broken = const event::BROKEN,
    uc_regs = const uc::REGS,
    uc_rip = const uc::REGS + 128,
    uc_rcx = const uc::REGS + 112,
    uc_fpstate = const uc::FPSTATE,
    sig_kick = const SIG_KICK,
    sigkill = const libc::SIGKILL,
    pdeathsig = const libc::PR_SET_PDEATHSIG,
    no_new_privs = const libc::PR_SET_NO_NEW_PRIVS,
    set_dispatch = const 59,
    set_filter = const libc::SECCOMP_SET_MODE_FILTER,
    space_flags = const SPACE_FLAGS,
    mmap = const libc::SYS_mmap,
    munmap = const libc::SYS_munmap,
    close = const libc::SYS_close,
    close_range = const libc::SYS_close_range,
    rt_sigaction = const libc::SYS_rt_sigaction,
    rt_sigprocmask = const libc::SYS_rt_sigprocmask,
    sigaltstack = const libc::SYS_sigaltstack,
    prctl = const libc::SYS_prctl,
    seccomp = const libc::SYS_seccomp,
    clone = const libc::SYS_clone,
    futex = const libc::SYS_futex,
    sched_yield = const libc::SYS_sched_yield,
    write = const libc::SYS_write,
    setsid = const libc::SYS_setsid,
    getppid = const libc::SYS_getppid,
);

unsafe extern "C" {
    static umbra_shm_begin: u8;
    static umbra_shm_end: u8;
    static umbra_shm_handler: u8;
    static umbra_shm_space: u8;
    static umbra_shm_space_end: u8;
    static umbra_shm_thread: u8;
    static umbra_shm_thread_end: u8;
    static umbra_shm_at_space_clone: u8;
    static umbra_shm_at_thread_clone: u8;
    static umbra_shm_at_server: u8;
    static umbra_shm_at_wake: u8;
    static umbra_shm_at_wait: u8;
    static umbra_shm_at_serve: u8;
    static umbra_shm_at_yield: u8;
    static umbra_shm_at_unmask: u8;
    static umbra_shm_patched: u8;
}

/// A place in the stub's text. The `At` ones are what a filter sees as the instruction pointer of
/// the call before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Label {
    /// The signal handler.
    Handler,
    /// Set-up of a space: from here,
    Space,
    /// to here.
    SpaceEnd,
    /// Set-up of a guest thread: from here,
    Thread,
    /// to here.
    ThreadEnd,
    /// The zygote's clone.
    AtSpaceClone,
    /// The server's clone.
    AtThreadClone,
    /// The server's mapping operations.
    AtServer,
    /// A guest thread wakes the kernel.
    AtWake,
    /// A guest thread sleeps.
    AtWait,
    /// A guest thread wakes the server.
    AtServe,
    /// A guest thread lets another one run.
    AtYield,
    /// A guest thread lets signals in.
    AtUnmask,
    /// Where patched call sites enter.
    Patched,
}

/// Address of a label in every stub.
pub(crate) fn address(label: Label) -> u64 {
    // Only addresses are taken; the bytes are not read through these statics.
    let at = match label {
        Label::Handler => &raw const umbra_shm_handler,
        Label::Space => &raw const umbra_shm_space,
        Label::SpaceEnd => &raw const umbra_shm_space_end,
        Label::Thread => &raw const umbra_shm_thread,
        Label::ThreadEnd => &raw const umbra_shm_thread_end,
        Label::AtSpaceClone => &raw const umbra_shm_at_space_clone,
        Label::AtThreadClone => &raw const umbra_shm_at_thread_clone,
        Label::AtServer => &raw const umbra_shm_at_server,
        Label::AtWake => &raw const umbra_shm_at_wake,
        Label::AtWait => &raw const umbra_shm_at_wait,
        Label::AtServe => &raw const umbra_shm_at_serve,
        Label::AtYield => &raw const umbra_shm_at_yield,
        Label::AtUnmask => &raw const umbra_shm_at_unmask,
        Label::Patched => &raw const umbra_shm_patched,
    };
    TEXT + (at.addr() - (&raw const umbra_shm_begin).addr() + CODE) as u64
}

fn code() -> &'static [u8] {
    let (begin, end) = (&raw const umbra_shm_begin, &raw const umbra_shm_end);
    // SAFETY: both labels lie in one section of read-only data, which was assembled above.
    unsafe { std::slice::from_raw_parts(begin, end.addr() - begin.addr()) }
}

/// The image.
pub(crate) fn build(control: NegativeControl) -> [u8; IMAGE] {
    let mut page = [0u8; IMAGE];
    elf_header(&mut page, LOW, LOW + CODE as u64);
    let mut put = |at: usize, bytes: &[u8]| page[at..at + bytes.len()].copy_from_slice(bytes);
    let code = code();
    assert!(CODE + code.len() <= DATA, "the stub's text outgrew its place");
    put(CODE, code);
    if control == NegativeControl::NoXrstor {
        for at in (0..code.len()).filter(|&at| code[at..].starts_with(b"\x48\x0f\xae\x2e")) {
            put(CODE + at, b"\x90\x90\x90\x90");
        }
    }
    put(ONES, &u64::MAX.to_le_bytes());
    put(DONE, &report::DONE.to_le_bytes());
    put(FAILED, &report::FAILED.to_le_bytes());
    put(READY, &report::READY.to_le_bytes());
    // struct sigaction as the host takes it: handler, flags, restorer, mask. SA_RESTORER with 0: who
    // returns from the handler faults.
    let flags = (libc::SA_SIGINFO | libc::SA_NODEFER | libc::SA_ONSTACK) as u64 | 0x0400_0000;
    put(SIGACTION, &address(Label::Handler).to_le_bytes());
    put(SIGACTION + 8, &flags.to_le_bytes());
    put(SIGNALS, &HANDLED.map(|s| s as u8));
    for (at, program) in
        [(SERVER_FILTER, filter::server(control)), (THREAD_FILTER, filter::thread(control))]
    {
        put(at, &(program.len() as u64).to_le_bytes());
        put(at + 8, &(TEXT + at as u64 + 16).to_le_bytes());
        put(at + 16, program.as_bytes());
        let room = if at == SERVER_FILTER { THREAD_FILTER } else { IMAGE } - at;
        assert!(16 + program.len() * 8 <= room, "the filter at {at:#x} outgrew its place");
    }
    page
}

/// It in a memfd that nobody can change any more.
pub(crate) fn sealed_memfd(control: NegativeControl) -> Result<OwnedFd> {
    seal(&build(control))
}

const _: () = assert!(ZEROS.is_multiple_of(8) && SIGNALS + HANDLED.len() < SERVER_FILTER);
const _: () = assert!(THREAD_FLAGS != SPACE_FLAGS);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_has_everything_in_it() {
        let page = build(NegativeControl::None);
        let at = |l| (address(l) - TEXT) as usize;
        assert_eq!(&page[..4], b"\x7fELF");
        // A system call is two bytes, and what a filter sees is the address behind it.
        for l in [
            Label::AtWait,
            Label::AtWake,
            Label::AtServe,
            Label::AtYield,
            Label::AtServer,
            Label::AtThreadClone,
            Label::AtSpaceClone,
        ] {
            assert_eq!(&page[at(l) - 2..at(l)], b"\x0f\x05", "{l:?}");
        }
        assert_eq!(page[SIGACTION..SIGACTION + 8], address(Label::Handler).to_le_bytes());
        assert!(at(Label::Space) < at(Label::SpaceEnd) && at(Label::ThreadEnd) < DATA);
    }
}
