//! What a hostile guest executes, in assembly that runs anywhere: `hostile.rs` puts all of it at [`CODE`].
#![allow(unreachable_pub)]

use std::arch::global_asm;

use arch::Regs;
use arch::shm::{K_BASE, K_SIZE, S_BASE, S_SIZE};

use super::common::{CODE, DATA};

global_asm!(
    ".pushsection .rodata.hostile, \"a\", @progbits",
    ".globl hostile_begin, hostile_end, hostile_scribble, hostile_store, hostile_forge, hostile_scan, hostile_fill",
    ".globl hostile_calls, hostile_reset",
    "hostile_begin:",
    // A kick that never came, then on: rdi = own S region, rsi = own K page.
    ".macro run_away",
    "   mov dword ptr [rdi + 8], 10", // TYPE = SIGUSR1
    "   lea rax, [rdi + 0x4000]",
    "   mov [rdi + 16], rax", // CONTEXT
    "   lea rcx, [rdi + 0x5000]",
    "   mov [rax + 224], rcx", // its extended state
    "   mov eax, [rsi]",
    "   inc eax",
    "   xchg [rdi], eax", // EV = GO + 1
    ".endm",
    // Random numbers all over [r8, r8 + r9); r14 counts.
    "hostile_scribble:",
    "   run_away",
    "   movabs rbx, 0x9e3779b97f4a7c15",
    "1: mov rax, rbx",
    "   shl rax, 13",
    "   xor rbx, rax",
    "   mov rax, rbx",
    "   shr rax, 7",
    "   xor rbx, rax",
    "   mov rax, rbx",
    "   shl rax, 17",
    "   xor rbx, rax",
    "   lea rdx, [r9 - 1]",
    "   and rdx, rbx",
    "   and rdx, -8",
    "   mov rax, rbx",
    "   shr rax, 32",
    "   test rbx, 0x70000000", // small numbers mean more than large ones
    "   jz 2f",
    "   and eax, 0xfff",
    "2: mov [r8 + rdx], rax",
    "   inc qword ptr [r14]",
    "   jmp 1b",
    // The same two words again and again: [r8] = r9, [r10] = r12.
    "hostile_store:",
    "   run_away",
    "1: mov [r8], r9d",
    "   mov [r10], r12d",
    "   inc qword ptr [r14]",
    "   jmp 1b",
    // One event of type edx, si_code r8d, with r9 as si_addr and error code; then for ever nothing.
    "hostile_forge:",
    "   lea rax, [rdi + 0x4000]",
    "   mov [rdi + 16], rax",
    "   lea rcx, [rdi + 0x5000]",
    "   mov [rax + 224], rcx",
    "   mov [rax + 192], r9",
    "   mov [rax + 304 + 8], r8",
    "   mov [rax + 304 + 16], r9",
    "   mov [rax + 304 + 24], r9",
    "   mov qword ptr [rax + 184], 0x33",
    "   mov [rdi + 8], edx",
    "   mov eax, [rsi]",
    "   inc eax",
    "   xchg [rdi], eax",
    "1: pause",
    "   jmp 1b",
    // Double words from rdi to rsi whose complement has the bits rcx as rdx has them: counted in r12.
    "hostile_scan:",
    "   xor r12d, r12d",
    "1: mov rax, [rdi]",
    "   not rax",
    "   and rax, rcx",
    "   cmp rax, rdx",
    "   jne 2f",
    "   inc r12",
    "2: add rdi, 8",
    "   cmp rdi, rsi",
    "   jb 1b",
    "   mov eax, 500",
    "   syscall",
    // Fills from rdi to rsi with rdx.
    "hostile_fill:",
    "   mov [rdi], rdx",
    "   add rdi, 8",
    "   cmp rdi, rsi",
    "   jb hostile_fill",
    "   mov eax, 500",
    "   syscall",
    // Calls and stores, for ever: call rbx + 39, count at r14, fault at r15.
    "hostile_calls:",
    "   inc rbx",
    "   mov eax, 39",
    "   syscall",
    "   inc qword ptr [r14]",
    "   mov [r15], rbx",
    "   jmp hostile_calls",
    // Waits in the stub's text, r15, until EV becomes zero, which is the first act of a reset; then the text goes on at
    // rip of the context at r8, which reports READY. Before that it has reported call 501.
    "hostile_reset:",
    "   lea rax, [rdi + 0x4000]",
    "   lea rcx, [rdi + 0x5000]",
    "   mov [rax + 224], rcx",
    "   mov dword ptr [rax + 304 + 8], 2", // SYS_USER_DISPATCH
    "   mov rcx, 0xc000003e00000000",
    "   mov [rax + 304 + 24], rcx",
    "   mov qword ptr [rax + 184], 0x33",
    "   mov qword ptr [rax + 40 + 104], 501",
    "   mov qword ptr [rax + 40 + 136], 0x202",
    "   mov [rdi + 16], rax", // CONTEXT, and MODE as the loop will see it: 0
    "   mov dword ptr [rdi + 12], 0", // PARK
    "   mov [rdi + 24], r8",  // CONTEXT as the loop will see it
    "   lea rcx, [rdi + 0x6000]",
    "   mov [rdi + 32], rcx",         // FPSTATE
    "   mov qword ptr [rdi + 40], 0", // FEATURES: none
    "   mov dword ptr [rdi + 8], 31", // TYPE = SIGSYS
    "   mov rbx, rdi",
    "   mov rbp, rdi",
    "   xor r13d, r13d",
    "   mov ecx, 0x7fffffff",
    "   mov eax, [rsi]",
    "   inc eax",
    "   xchg [rdi], eax",
    "   jmp r15",
    "hostile_end:",
    ".popsection",
);

unsafe extern "C" {
    static hostile_begin: u8;
    static hostile_end: u8;
    static hostile_scribble: u8;
    static hostile_store: u8;
    static hostile_forge: u8;
    static hostile_scan: u8;
    static hostile_fill: u8;
    static hostile_calls: u8;
    static hostile_reset: u8;
}

/// One of the routines above.
#[derive(Clone, Copy, Debug)]
pub enum Routine {
    Scribble,
    Store,
    Forge,
    Scan,
    Fill,
    Calls,
    Reset,
}

/// Its guest address, when all of them are at [`CODE`].
pub fn at(routine: Routine) -> u64 {
    let at = match routine {
        Routine::Scribble => &raw const hostile_scribble,
        Routine::Store => &raw const hostile_store,
        Routine::Forge => &raw const hostile_forge,
        Routine::Scan => &raw const hostile_scan,
        Routine::Fill => &raw const hostile_fill,
        Routine::Calls => &raw const hostile_calls,
        Routine::Reset => &raw const hostile_reset,
    };
    CODE + (at.addr() - (&raw const hostile_begin).addr()) as u64
}

/// The bytes of them all.
pub fn all_code() -> &'static [u8] {
    let len = (&raw const hostile_end).addr() - (&raw const hostile_begin).addr();
    // SAFETY: both symbols delimit one read-only section of this program.
    unsafe { std::slice::from_raw_parts(&raw const hostile_begin, len) }
}

/// S region of thread `n`; 0 is the server's.
pub fn s_region(n: u64) -> u64 {
    S_BASE + n * S_SIZE as u64
}
/// Its K page.
pub fn k_page(n: u64) -> u64 {
    K_BASE + n * K_SIZE as u64
}

/// `r` for a routine of thread number `n` of its space.
pub fn regs_for(routine: Routine, n: u64) -> Regs {
    let mut r = Regs::initial(at(routine), DATA + 0xf00);
    (r.rdi, r.rsi, r.r14, r.r15) = (s_region(n), k_page(n), DATA, DATA + 8);
    r
}
