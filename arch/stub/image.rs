//! The stub's text and the ELF image around it.
//!
//! The text uses registers only: there is no stack. `fail` stops with SIGILL; rax is -errno and,
//! in a batch, rbx the end of the request that failed.

use std::arch::global_asm;
use std::os::fd::{AsRawFd, OwnedFd};

use base::{PAGE_SIZE, Result};
use zerocopy::IntoBytes;

use super::{COUNT, GUEST_FLAGS, LOW, PAGE, PARK, SERVER_FLAGS, TEXT, filter};
use crate::sys::{check, last_error};

/// Offset of the code in the page, behind the ELF header and one program header.
const CODE: usize = 128;
/// Offset of the servers' filter program (`sock_fprog`, then the instructions).
const SERVER_FILTER: usize = 0x800;
/// Offset of the guest tasks' filter program.
const GUEST_FILTER: usize = 0xc00;

global_asm!(
    // One host call; falls through if it succeeded.
    ".macro umbra_stub_checked nr",
    "   mov   $\\nr, %eax",
    "   syscall",
    "   cmp   $-4096, %rax",
    "   ja    umbra_stub_fail",
    ".endm",
    ".pushsection .rodata.umbra_stub, \"a\", @progbits",
    ".balign 16",
    ".globl umbra_stub_begin, umbra_stub_call, umbra_stub_zygote, umbra_stub_park",
    ".globl umbra_stub_guest_ready, umbra_stub_fail, umbra_stub_end",
    "umbra_stub_begin:", // the ELF entry point: the tracer moves rip from here
    "   int3",
    "umbra_stub_call:", // one call with registers that the tracer has set
    "   syscall",
    "   int3",
    // The zygote. In: r12 = offset of the new server's request page. Out: rax = pid or -errno.
    "umbra_stub_zygote:",
    "   int3",
    "   mov   ${server_flags}, %edi",
    "   xor   %esi, %esi",
    "   xor   %edx, %edx",
    "   xor   %r10d, %r10d",
    "   xor   %r8d, %r8d",
    "   mov   ${clone}, %eax",
    "   syscall",
    "   test  %rax, %rax",
    "   jnz   umbra_stub_zygote",
    // A new server. Descriptors: 0 is guest memory, 1 the request pages.
    "   movabs ${page}, %rdi",
    "   mov   $4096, %esi",
    "   mov   ${prot_read}, %edx",
    "   mov   ${shared_fixed}, %r10d",
    "   mov   $1, %r8d",
    "   mov   %r12, %r9",
    "   umbra_stub_checked {mmap}",
    "   mov   $1, %edi",
    "   umbra_stub_checked {close}",
    "   umbra_stub_checked {setsid}",
    "   mov   ${pdeathsig}, %edi", // clone has cleared the zygote's
    "   mov   ${sigkill}, %esi",
    "   umbra_stub_checked {prctl}",
    "   movabs ${text}, %rdi",
    "   mov   $8192, %esi",
    "   xor   %edx, %edx",
    "   mov   ${mseal}, %eax", // since Linux 6.10; a second lock, so its failure does not matter
    "   syscall",
    "   mov   ${set_filter}, %edi",
    "   xor   %esi, %esi",
    "   movabs ${text} + {server_filter}, %rdx",
    "   umbra_stub_checked {seccomp}",
    // The server's loop. Stops in the call; r14 = result of the last request before.
    "umbra_stub_park:",
    "   mov   %rax, %r14",
    "   mov   ${park}, %eax",
    "   syscall",
    "   movabs ${page}, %rbx",
    "   mov   {count}(%rbx), %r15",
    "   test  %r15, %r15",
    "   js    2f",
    "   add   %rbx, %r15",
    "1: cmp   %r15, %rbx",
    "   je    umbra_stub_park",
    "   mov   (%rbx), %rax",
    "   mov   8(%rbx), %rdi",
    "   mov   16(%rbx), %rsi",
    "   mov   24(%rbx), %rdx",
    "   mov   32(%rbx), %r10",
    "   mov   40(%rbx), %r8",
    "   mov   48(%rbx), %r9",
    "   syscall",
    "   add   $56, %rbx",
    "   cmp   $-4096, %rax",
    "   jbe   1b",
    "umbra_stub_fail:",
    "   ud2",
    // Makes a guest task.
    "2: mov   ${guest_flags}, %edi",
    "   xor   %esi, %esi",
    "   xor   %edx, %edx",
    "   xor   %r10d, %r10d",
    "   xor   %r8d, %r8d",
    "   umbra_stub_checked {clone}",
    "   test  %rax, %rax",
    "   jnz   umbra_stub_park",
    // A new guest task: no descriptors, dies with the kernel, may call nothing.
    "   xor   %edi, %edi",
    "   mov   $-1, %esi",
    "   xor   %edx, %edx",
    "   umbra_stub_checked {close_range}",
    "   mov   ${pdeathsig}, %edi",
    "   mov   ${sigkill}, %esi",
    "   umbra_stub_checked {prctl}",
    "   mov   ${set_filter}, %edi",
    "   xor   %esi, %esi",
    "   movabs ${text} + {guest_filter}, %rdx",
    "   umbra_stub_checked {seccomp}",
    "   int3",
    "umbra_stub_guest_ready:",
    "   ud2",
    "umbra_stub_end:",
    ".popsection",
    server_flags = const SERVER_FLAGS,
    guest_flags = const GUEST_FLAGS,
    clone = const libc::SYS_clone,
    mmap = const libc::SYS_mmap,
    close = const libc::SYS_close,
    close_range = const libc::SYS_close_range,
    setsid = const libc::SYS_setsid,
    prctl = const libc::SYS_prctl,
    seccomp = const libc::SYS_seccomp,
    mseal = const 462,
    page = const PAGE,
    text = const TEXT,
    count = const COUNT,
    park = const PARK,
    prot_read = const libc::PROT_READ,
    shared_fixed = const libc::MAP_SHARED | libc::MAP_FIXED,
    pdeathsig = const libc::PR_SET_PDEATHSIG,
    sigkill = const libc::SIGKILL,
    set_filter = const libc::SECCOMP_SET_MODE_FILTER,
    server_filter = const SERVER_FILTER,
    guest_filter = const GUEST_FILTER,
    options(att_syntax),
);

unsafe extern "C" {
    static umbra_stub_begin: u8;
    static umbra_stub_call: u8;
    static umbra_stub_zygote: u8;
    static umbra_stub_park: u8;
    static umbra_stub_guest_ready: u8;
    static umbra_stub_fail: u8;
    static umbra_stub_end: u8;
}

/// A place in the stub's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Label {
    /// `syscall; int3`.
    Call,
    /// The zygote's resting place, at its int3.
    Zygote,
    /// The server's loop.
    Park,
    /// Behind the int3 that ends a guest task's set-up.
    GuestReady,
    /// The ud2 of a failed call.
    Fail,
}

/// Byte offset of a label in the page.
pub(crate) fn offset(label: Label) -> u64 {
    // Only addresses are taken; the bytes are not read through these statics.
    let at = match label {
        Label::Call => &raw const umbra_stub_call,
        Label::Zygote => &raw const umbra_stub_zygote,
        Label::Park => &raw const umbra_stub_park,
        Label::GuestReady => &raw const umbra_stub_guest_ready,
        Label::Fail => &raw const umbra_stub_fail,
    };
    (at.addr() - (&raw const umbra_stub_begin).addr() + CODE) as u64
}

/// Address of a label in every stub.
pub(crate) fn address(label: Label) -> u64 {
    TEXT + offset(label)
}

fn code() -> &'static [u8] {
    let (begin, end) = (&raw const umbra_stub_begin, &raw const umbra_stub_end);
    // SAFETY: both labels lie in one section of read-only data, which was assembled above.
    unsafe { std::slice::from_raw_parts(begin, end.addr() - begin.addr()) }
}

/// Writes an ELF header and one program header: an executable of whole pages, read and executed at
/// `base`, that starts at `entry`.
pub(crate) fn elf_header(page: &mut [u8], base: u64, entry: u64) {
    let len = page.len() as u64;
    let mut put = |at: usize, bytes: &[u8]| page[at..at + bytes.len()].copy_from_slice(bytes);
    // Elf64_Ehdr: ET_EXEC, EM_X86_64, one program header right behind.
    put(0, b"\x7fELF\x02\x01\x01");
    put(16, &2u16.to_le_bytes());
    put(18, &62u16.to_le_bytes());
    put(20, &1u32.to_le_bytes());
    put(24, &entry.to_le_bytes());
    put(32, &64u64.to_le_bytes());
    put(52, &64u16.to_le_bytes());
    put(54, &56u16.to_le_bytes());
    put(56, &1u16.to_le_bytes());
    // Elf64_Phdr: PT_LOAD, R+X, all of it.
    put(64, &1u32.to_le_bytes());
    put(68, &5u32.to_le_bytes());
    put(80, &base.to_le_bytes());
    put(88, &base.to_le_bytes());
    put(96, &len.to_le_bytes());
    put(104, &len.to_le_bytes());
    put(112, &(PAGE_SIZE as u64).to_le_bytes());
}

/// The page.
pub(crate) fn build() -> [u8; PAGE_SIZE] {
    let mut page = [0u8; PAGE_SIZE];
    elf_header(&mut page, LOW, LOW + CODE as u64);
    let mut put = |at: usize, bytes: &[u8]| page[at..at + bytes.len()].copy_from_slice(bytes);
    let code = code();
    assert!(CODE + code.len() <= SERVER_FILTER, "the stub's text outgrew its place");
    put(CODE, code);
    for (at, program) in [(SERVER_FILTER, filter::server()), (GUEST_FILTER, filter::guest())] {
        put(at, &(program.len() as u64).to_le_bytes());
        put(at + 8, &(TEXT + at as u64 + 16).to_le_bytes());
        put(at + 16, program.as_bytes());
    }
    page
}

/// The page in a memfd that nobody can change any more.
pub(crate) fn sealed_memfd() -> Result<OwnedFd> {
    seal(&build())
}

/// A stub's image in a sealed memfd.
pub(crate) fn seal(page: &[u8]) -> Result<OwnedFd> {
    const MFD_EXEC: u32 = 0x10;
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // Hosts since 6.3 may want to hear that it is for executing; older ones refuse the flag.
    let fd = crate::ptrace::control::memfd(c"umbra-stub", flags | MFD_EXEC)
        .or_else(|_| crate::ptrace::control::memfd(c"umbra-stub", flags))?;
    // SAFETY: writes from an array.
    let n = unsafe { libc::write(fd.as_raw_fd(), page.as_ptr().cast(), page.len()) };
    if n != page.len() as isize {
        return Err(last_error());
    }
    let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE | libc::F_SEAL_SEAL;
    // SAFETY: no pointers.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_ADD_SEALS, seals) }.into())?;
    Ok(fd)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_is_a_page_with_everything_in_it() {
        let page = build();
        assert_eq!(&page[..4], b"\x7fELF");
        assert_eq!(page[CODE], 0xcc);
        let at = offset(Label::Fail) as usize;
        assert_eq!(&page[at..at + 2], b"\x0f\x0b");
        assert_eq!(page[offset(Label::GuestReady) as usize - 1], 0xcc);
        let at = offset(Label::Call) as usize;
        assert_eq!(&page[at..at + 3], b"\x0f\x05\xcc");
    }
}
