//! The stub's text and the ELF image around it: everything that runs in a guest's host process and is
//! not guest code.
//!
//! One page, no stack but a thread's own signal stack. Four kinds of task execute it:
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

use base::{PAGE_SIZE, Result};
use zerocopy::IntoBytes;

use super::NegativeControl;
use super::filter;
use super::layout::{
    self as l, HOST_TOP, K_BASE, K_LEN, S_BASE, S_LEN, S_SIZE, SPACE_FLAGS, TEXT, TEXT_LEN,
    THREAD_FLAGS, event, k, mode, report, s, uc,
};
use crate::stub::image::{elf_header, seal};
use crate::sys::SIG_KICK;

/// Where exec puts the image. Not at its final place: exec's stack may be there.
const LOW: u64 = 0x40_0000;
/// Offset of the code in the page, behind the ELF header and one program header.
const CODE: usize = 128;
/// Offset of constants.
const DATA: usize = 0x880;
/// Offset of the servers' filter program (`sock_fprog`, then the instructions).
const SERVER_FILTER: usize = 0x900;
/// Offset of the guest threads' filter program.
const THREAD_FILTER: usize = 0xe30;

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
    ".macro umbra_shm_call nr",
    "   mov eax, \\nr",
    "   syscall",
    ".endm",
    // A set-up call must succeed: without one of its locks a stub does not live on.
    ".macro umbra_shm_must nr",
    "   mov eax, \\nr",
    "   syscall",
    "   cmp rax, -4096",
    "   ja umbra_shm_dead",
    ".endm",
    ".pushsection .rodata.umbra_shm, \"a\", @progbits",
    ".balign 16",
    ".globl umbra_shm_begin, umbra_shm_end, umbra_shm_handler",
    ".globl umbra_shm_space, umbra_shm_space_end, umbra_shm_thread, umbra_shm_thread_end",
    ".globl umbra_shm_at_space_clone, umbra_shm_at_thread_clone, umbra_shm_at_server",
    ".globl umbra_shm_at_wake, umbra_shm_at_wait, umbra_shm_at_unmask, umbra_shm_patched",
    // ---- the zygote: executed with descriptors 0 to 3 as in `layout::fd` ----
    "umbra_shm_begin:",
    // The auxiliary vector says where the host has put its vDSO: a 32-bit sysenter "returns" there
    // long after it is unmapped. r13 = AT_SYSINFO_EHDR, or 0.
    "   mov rsi, rsp",
    "1: lodsq", // argc, argv
    "   test rax, rax",
    "   jnz 1b",
    "2: lodsq", // environment
    "   test rax, rax",
    "   jnz 2b",
    "3: lodsq",
    "   mov rcx, rax",
    "   lodsq",
    "   cmp ecx, 33",
    "   je 4f",
    "   test ecx, ecx",
    "   jnz 3b",
    "   xor eax, eax",
    "4: mov r13, rax",
    "   movabs rdi, {text}",
    "   mov esi, {text_len}",
    "   mov edx, 5", // PROT_READ | PROT_EXEC
    "   mov r10d, 0x11", // MAP_SHARED | MAP_FIXED
    "   mov r8d, {fd_image}",
    "   xor r9d, r9d",
    "   umbra_shm_must {mmap}",
    "   lea rax, [rip + 5f]",
    "   lea rcx, [rip + umbra_shm_begin]",
    "   sub rax, rcx",
    "   movabs rcx, {text} + {code}",
    "   add rax, rcx",
    "   jmp rax",
    // Executing at the final place: everything else goes.
    "5: xor edi, edi",
    "   movabs rsi, {text}",
    "   umbra_shm_must {munmap}",
    "   movabs rdi, {text} + {text_len}",
    "   movabs rsi, {host_top} - {text} - {text_len}",
    "   umbra_shm_must {munmap}",
    "   mov edi, {fd_image}",
    "   umbra_shm_must {close}",
    "   xor r14d, r14d", // slot 0 is the zygote's
    "   lea r15, [rip + 6f]",
    "   jmp umbra_shm_map",
    "6: movabs r14, {text} + {signals}",
    "7: movzx edi, byte ptr [r14]",
    "   test edi, edi",
    "   jz 8f",
    "   movabs rsi, {text} + {sigaction}",
    "   xor edx, edx",
    "   mov r10d, 8",
    "   umbra_shm_must {rt_sigaction}",
    "   inc r14",
    "   jmp 7b",
    "8: mov edi, {no_new_privs}",
    "   mov esi, 1",
    "   xor edx, edx",
    "   xor r10d, r10d",
    "   xor r8d, r8d",
    "   umbra_shm_must {prctl}",
    "   mov edi, {set_dumpable}",
    "   xor esi, esi",
    "   umbra_shm_must {prctl}",
    // Servers and the zygote take no signal; guest threads unblock them for themselves.
    "   mov edi, 2", // SIG_SETMASK
    "   movabs rsi, {text} + {ones}",
    "   xor edx, edx",
    "   mov r10d, 8",
    "   umbra_shm_must {rt_sigprocmask}",
    "   mov edi, {set_filter}",
    "   xor esi, esi",
    "   movabs rdx, {text} + {server_filter}",
    "   umbra_shm_must {seccomp}",
    "   mov rax, r13",
    "umbra_shm_zygote:", // rax = what to report
    "   movabs rbx, {s_base}",
    "   movabs rbp, {k_base}",
    "   xor r12d, r12d", // number of the last request
    "1: mov [rbx + {s_result}], rax",
    "   mov edi, {fd_report}",
    "   movabs rsi, {text} + {done}",
    "   mov edx, 8",
    "   umbra_shm_call {write}",
    "2: mov eax, [rbp + {k_go}]",
    "   cmp eax, r12d",
    "   jne 3f",
    "   mov rdi, rbp",
    "   xor esi, esi", // FUTEX_WAIT
    "   mov edx, r12d",
    "   xor r10d, r10d",
    "   umbra_shm_call {futex}",
    "   jmp 2b",
    "3: mov r12d, eax",
    "   mov r14, [rbp + {k_count}]", // the slot
    "   mov r13d, [rbp + {k_twin}]",
    "   mov edi, {space_flags}",
    "   xor esi, esi",
    "   xor edx, edx",
    "   xor r10d, r10d",
    "   xor r8d, r8d",
    "   umbra_shm_call {clone}",
    "umbra_shm_at_space_clone:",
    "   test rax, rax",
    "   jnz 1b",
    // ---- a new space, or a twin of the zygote ----
    "umbra_shm_space:",
    "   lea r15, [rip + 4f]",
    "umbra_shm_map:", // maps the control pages of slot r14 over whatever is there, goes on at r15
    "   movabs rdi, {k_base}",
    "   mov esi, {k_len}",
    "   mov edx, 1", // PROT_READ
    "   mov r10d, 0x11",
    "   mov r8d, {fd_control}",
    "   mov r9, r14",
    "   umbra_shm_must {mmap}",
    "   movabs rdi, {s_base}",
    "   mov esi, {s_len}",
    "   mov edx, 3",
    "   lea r9, [r14 + {k_len}]",
    "   umbra_shm_must {mmap}",
    "   jmp r15",
    "4: mov edi, {pdeathsig}", // clone has cleared it
    "   mov esi, {sigkill}",
    "   umbra_shm_must {prctl}",
    "   movabs rbp, {k_base}",
    "   umbra_shm_call {getppid}", // or the kernel ended before the line above
    "   cmp eax, [rbp + {k_kernel}]",
    "   jne umbra_shm_dead",
    "   test r13d, r13d",
    "   jz 5f",
    "   umbra_shm_must {setsid}",
    "   xor eax, eax",
    "   jmp umbra_shm_zygote",
    "5: mov edi, {fd_control}",
    "   umbra_shm_must {close}",
    "umbra_shm_space_end:",
    "   movabs rbx, {s_base}",
    "   xor r12d, r12d",
    "   movabs rsi, {text} + {ready}",
    // ---- the server: rsi = what to report ----
    "umbra_shm_server:",
    "   mov edi, {fd_report}",
    "   mov edx, 8",
    "   umbra_shm_call {write}",
    "1: mov eax, [rbp + {k_go}]",
    "   cmp eax, r12d",
    "   jne 2f",
    "   mov rdi, rbp",
    "   xor esi, esi",
    "   mov edx, r12d",
    "   xor r10d, r10d",
    "   umbra_shm_call {futex}",
    "   jmp 1b",
    "2: mov r12d, eax",
    "   lea r14, [rbp + {k_operations}]",
    "   mov r13d, [rbp + {k_count}]",
    "3: test r13d, r13d",
    "   jz 4f",
    "   movzx eax, word ptr [r14 + 24]",
    "   mov rdi, [r14]",
    "   mov rsi, [r14 + 8]",
    "   movzx edx, word ptr [r14 + 26]",
    "   mov r10d, [r14 + 28]",
    "   mov r8d, {fd_ram}",
    "   mov r9, [r14 + 16]",
    "   cmp eax, {clone}",
    "   je 6f",
    "   syscall",
    "umbra_shm_at_server:",
    "   cmp rax, -4096",
    "   ja 5f",
    "   add r14, 32",
    "   dec r13d",
    "   jmp 3b",
    "4: movabs rsi, {text} + {done}",
    "   jmp umbra_shm_server",
    "5: neg eax", // how many are left, and the errno
    "   shl r13, 32",
    "   or rax, r13",
    "   mov [rbx + {s_result}], rax",
    "   movabs rsi, {text} + {failed}",
    "   jmp umbra_shm_server",
    "6: xor edx, edx", // r9 says which region the new thread has
    "   xor r8d, r8d",
    "   xor r10d, r10d",
    "   syscall",
    "umbra_shm_at_thread_clone:",
    "   test rax, rax",
    "   jz umbra_shm_thread",
    "   cmp rax, -4096",
    "   ja 5b",
    "   mov [rbx + {s_result}], rax",
    "   jmp 4b",
    // ---- a guest thread: arms itself. Everything it reads is in the text or in its K page ----
    "umbra_shm_thread:",
    "   mov rbx, r9",
    "   shl rbx, {s_shift}",
    "   movabs rax, {s_base}",
    "   add rbx, rax",
    "   mov rbp, r9",
    "   shl rbp, 12",
    "   movabs rax, {k_base}",
    "   add rbp, rax",
    "   xor edi, edi",
    "   mov esi, -1",
    "   xor edx, edx",
    "   umbra_shm_must {close_range}", // its own table, now empty
    "   lea rdi, [rbp + {k_stack}]",
    "   xor esi, esi",
    "   umbra_shm_must {sigaltstack}",
    "   mov edi, {set_dispatch}",
    "   mov esi, 1",
    "   movabs rdx, {text}",
    "   mov r10d, {text_len}",
    "   xor r8d, r8d",
    "   umbra_shm_must {prctl}",
    "   mov edi, {set_filter}",
    "   xor esi, esi",
    "   movabs rdx, {text} + {thread_filter}",
    "   umbra_shm_must {seccomp}",
    // Signals last. Their frames can be written by siblings, so that the first one may go on
    // anywhere: all locks must be closed by then.
    "   mov edi, 2",
    "   movabs rsi, {text} + {zeros}",
    "   xor edx, edx",
    "   mov r10d, 8",
    "   umbra_shm_call {rt_sigprocmask}",
    "umbra_shm_at_unmask:",
    "   test rax, rax",
    "   jnz umbra_shm_dead",
    "umbra_shm_thread_end:",
    "   mov edi, {ev_ready}",
    "   jmp umbra_shm_post",
    "umbra_shm_dead:", // servers have all signals blocked: this ends the process
    "   ud2",
    // ---- a signal: edi = number, rdx = ucontext. The frame has all registers: they are free ----
    "umbra_shm_handler:",
    "   mov rbx, rsp",
    "   and rbx, -{s_size}",
    "   mov ebp, ebx",
    "   sub ebp, {s_base_low}",
    "   shr ebp, 3",
    "   movabs rax, {k_base}",
    "   add rbp, rax",
    "   mov rax, [rdx + {uc_rip}]",
    "   movabs rcx, {text}",
    "   sub rax, rcx",
    "   cmp rax, {text_len}", // exactly the text: an old vDSO address is a guest's
    "   jb umbra_shm_in_text",
    "umbra_shm_event:",
    "   mov [rbx + {s_context}], rdx",
    "umbra_shm_post:", // rbx = S region, rbp = K page, edi = type; rsp below anything of worth
    "   mov [rbx + {s_type}], edi",
    "   rdfsbase rax",
    "   mov [rbx + {s_fs_base}], rax",
    "   rdgsbase rax",
    "   mov [rbx + {s_gs_base}], rax",
    "umbra_shm_report:",
    "   mov r12d, [rbp + {k_go}]",
    "   lea r13d, [r12 + 1]",
    "   mov eax, r13d",
    "   xchg [rbx + {s_ev}], eax", // a full barrier: SLEEP is looked at after it
    "   cmp dword ptr [rbp + {k_sleep}], 0",
    "   je 1f",
    "   lea rdi, [rbx + {s_ev}]",
    "   mov esi, 1", // FUTEX_WAKE
    "   mov edx, 1",
    "   umbra_shm_call {futex}",
    "umbra_shm_at_wake:",
    "1: mov ecx, [rbp + {k_spin}]",
    "2: cmp [rbp + {k_go}], r13d",
    "   je umbra_shm_leave",
    "   cmp dword ptr [rbp + {k_park}], 0",
    "   jne 3f",
    "   dec ecx",
    "   js 3f",
    "   pause",
    "   jmp 2b",
    "3: mov eax, 1",
    "   xchg [rbx + {s_sleep}], eax",
    "   cmp [rbp + {k_go}], r13d",
    "   je 4f",
    "   mov rdi, rbp",
    "   xor esi, esi", // FUTEX_WAIT works on a read-only page
    "   mov edx, r12d",
    "   xor r10d, r10d",
    "   umbra_shm_call {futex}",
    "umbra_shm_at_wait:",
    "   jmp 3b",
    "4: mov dword ptr [rbx + {s_sleep}], 0",
    // ---- the way out. rsp stays at the frame until the last move: what a kick pushes lands below it
    "umbra_shm_leave:",
    "   mov ecx, [rbp + {k_mode}]",
    "   test ecx, {m_bases}",
    "   jz 1f",
    "   mov rax, [rbp + {k_fs_base}]",
    "   wrfsbase rax",
    "   mov rax, [rbp + {k_gs_base}]",
    "   wrgsbase rax",
    "1: mov rsp, [rbp + {k_context}]",
    "   mov rsi, [rbp + {k_fpstate}]",
    "   mov eax, [rbp + {k_features}]",
    "   mov edx, [rbp + {k_features} + 4]",
    "   cmp cl, {m_full}",
    "   je umbra_shm_leave_full",
    "   ja umbra_shm_leave_patched",
    "   xrstor64 [rsi]",
    ".macro umbra_shm_restore",
    "   mov r8, [rsp + {uc_regs}]",
    "   mov r9, [rsp + {uc_regs} + 8]",
    "   mov r10, [rsp + {uc_regs} + 16]",
    "   mov r12, [rsp + {uc_regs} + 32]",
    "   mov r13, [rsp + {uc_regs} + 40]",
    "   mov r14, [rsp + {uc_regs} + 48]",
    "   mov r15, [rsp + {uc_regs} + 56]",
    "   mov rdi, [rsp + {uc_regs} + 64]",
    "   mov rsi, [rsp + {uc_regs} + 72]",
    "   mov rbp, [rsp + {uc_regs} + 80]",
    "   mov rbx, [rsp + {uc_regs} + 88]",
    "   mov rdx, [rsp + {uc_regs} + 96]",
    "   mov rax, [rsp + {uc_regs} + 104]",
    ".endm",
    "   umbra_shm_restore",
    "   mov rcx, [rsp + {uc_regs} + 128]",
    "   mov r11, [rsp + {uc_regs} + 136]",
    "   push r11",
    "   popfq",
    "   mov rsp, [rsp + {uc_regs} + 120]",
    "   jmp rcx",
    "umbra_shm_leave_full:", // rsp = context, rsi = extended state, edx:eax = what of it
    "   push 2", // NT survives signal delivery, and iretq with NT set faults
    "   popfq",
    "   xrstor64 [rsi]",
    "   mov rbp, rsp",
    "   push 0x2b",
    "   push [rbp + {uc_regs} + 120]",
    "   push [rbp + {uc_regs} + 136]",
    "   push 0x33",
    "   push [rbp + {uc_regs} + 128]", // what iretq pops, in the red zone below the context
    "   mov rsp, rbp",
    "   umbra_shm_restore",
    "   mov r11, [rsp + {uc_regs} + 24]",
    "   mov rcx, [rsp + {uc_regs} + 112]",
    "   lea rsp, [rsp - 40]",
    "   iretq",
    // The host interrupted the stub itself.
    "umbra_shm_in_text:",
    "   cmp edi, {sig_kick}",
    "   jne 2f",
    "   cmp dword ptr [rbp + {k_reset}], 0",
    "   jne 1f",
    "   mov rsp, rdx", // an event or a resume is on its way: go on. The kernel kicks again if it must
    "   mov rsi, [rdx + {uc_fpstate}]",
    "   mov eax, [rbp + {k_features}]",
    "   mov edx, [rbp + {k_features} + 4]",
    "   jmp umbra_shm_leave_full",
    // Whatever it was doing: start anew. What came with the kick says that we have been here.
    "1: mov rax, [rsi + {si_value}]",
    "   mov [rbx + {s_result}], rax",
    "   xor eax, eax", // selectors of the last guest
    "   mov ds, eax",
    "   mov es, eax",
    "   mov fs, eax",
    "   mov gs, eax",
    "   lea rsp, [rbx + {s_size} - 16]",
    "   mov edi, {ev_ready}",
    "   jmp umbra_shm_post",
    "2: or edi, {ev_broken}",
    "   jmp umbra_shm_event",
    // ---- a patched call site: rcx = where to go on, r11 is dead, the gs base is our S region ----
    "umbra_shm_patched:",
    "   rdgsbase r11",
    "   mov [r11 + {s_regs} + 56], rsp",
    "   lea rsp, [r11 + {s_size} - 16]",
    "   pushfq",
    "   pop [r11 + {s_regs} + 128]",
    "   mov [r11 + {s_regs}], rax",
    "   mov [r11 + {s_regs} + 8], rbx",
    "   mov [r11 + {s_regs} + 16], rcx",
    "   mov [r11 + {s_regs} + 24], rdx",
    "   mov [r11 + {s_regs} + 32], rsi",
    "   mov [r11 + {s_regs} + 40], rdi",
    "   mov [r11 + {s_regs} + 48], rbp",
    "   mov [r11 + {s_regs} + 64], r8",
    "   mov [r11 + {s_regs} + 72], r9",
    "   mov [r11 + {s_regs} + 80], r10",
    "   mov [r11 + {s_regs} + 96], r12",
    "   mov [r11 + {s_regs} + 104], r13",
    "   mov [r11 + {s_regs} + 112], r14",
    "   mov [r11 + {s_regs} + 120], r15",
    "   mov rbx, r11",
    "   mov ebp, ebx",
    "   sub ebp, {s_base_low}",
    "   shr ebp, 3",
    "   movabs rax, {k_base}",
    "   add rbp, rax",
    "   mov dword ptr [rbx + {s_type}], {ev_patched}",
    "   jmp umbra_shm_report",
    "umbra_shm_leave_patched:",
    "   lea rsp, [rbx + {s_size} - 16]",
    "   cmp cl, {m_patched}",
    "   je 1f",
    "   sub qword ptr [rbx + {s_regs} + 16], 2",
    "1: push [rbx + {s_regs} + 128]",
    "   mov rax, [rbx + {s_regs}]",
    "   mov rcx, [rbx + {s_regs} + 16]",
    "   mov rdx, [rbx + {s_regs} + 24]",
    "   mov rsi, [rbx + {s_regs} + 32]",
    "   mov rdi, [rbx + {s_regs} + 40]",
    "   mov rbp, [rbx + {s_regs} + 48]",
    "   mov r8, [rbx + {s_regs} + 64]",
    "   mov r9, [rbx + {s_regs} + 72]",
    "   mov r10, [rbx + {s_regs} + 80]",
    "   mov r12, [rbx + {s_regs} + 96]",
    "   mov r13, [rbx + {s_regs} + 104]",
    "   mov r14, [rbx + {s_regs} + 112]",
    "   mov r15, [rbx + {s_regs} + 120]",
    "   mov r11, [rsp]", // the flags, as a system call leaves them there
    "   popfq",
    "   mov rsp, [rbx + {s_regs} + 56]",
    "   mov rbx, [rbx + {s_regs} + 8]",
    "   jmp rcx",
    "umbra_shm_end:",
    ".popsection",
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
    k_mode = const k::MODE,
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
    m_full = const mode::FULL,
    m_patched = const mode::PATCHED,
    m_bases = const mode::BASES,
    ev_ready = const event::READY,
    ev_patched = const event::PATCHED,
    ev_broken = const event::BROKEN,
    uc_regs = const uc::REGS,
    uc_rip = const uc::REGS + 128,
    uc_fpstate = const uc::FPSTATE,
    sig_kick = const SIG_KICK,
    sigkill = const libc::SIGKILL,
    pdeathsig = const libc::PR_SET_PDEATHSIG,
    no_new_privs = const libc::PR_SET_NO_NEW_PRIVS,
    set_dumpable = const libc::PR_SET_DUMPABLE,
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

/// The page.
pub(crate) fn build(control: NegativeControl) -> [u8; PAGE_SIZE] {
    let mut page = [0u8; PAGE_SIZE];
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
        let room = if at == SERVER_FILTER { THREAD_FILTER } else { PAGE_SIZE } - at;
        let len = 16 + program.len() * 8;
        assert!(len <= room, "the filter at {at:#x} outgrew its place: {len} of {room}");
    }
    page
}

/// The page in a memfd that nobody can change any more.
pub(crate) fn sealed_memfd(control: NegativeControl) -> Result<OwnedFd> {
    seal(&build(control))
}

const _: () = assert!(ZEROS % 8 == 0 && SIGNALS + HANDLED.len() < SERVER_FILTER);
const _: () = assert!(THREAD_FLAGS != SPACE_FLAGS);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_is_a_page_with_everything_in_it() {
        let page = build(NegativeControl::None);
        let at = |l| (address(l) - TEXT) as usize;
        assert_eq!(&page[..4], b"\x7fELF");
        // A system call is two bytes, and what a filter sees is the address behind it.
        for l in [
            Label::AtWait,
            Label::AtWake,
            Label::AtUnmask,
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
