//! Patching of system call sites: the analysis, without any call of the host.
//!
//! A `syscall` of a guest costs a signal: the host must be kept from executing it. A *jump* into the
//! stub costs a tenth of that. But `syscall` is two bytes long and a jump is five, so an instruction
//! beside it must make room, and it must be certain that nobody ever jumps to that instruction. This
//! module finds the `syscall`s of an ELF file for which that can be shown, ahead of time, and leaves
//! all others alone: those still work, by the signal. A wrong patch would be a wrong program, a
//! missing one is a slower one.
//!
//! # The window
//! The whole instructions that make room are the *window*: usually `mov $n,%eax` and the `syscall`,
//! or (`read` is number 0 and set by `xor %eax,%eax`) the `syscall` and glibc's comparison behind it.
//! The window becomes a jump to the site's *trampoline*, filled up with `int3`:
//!
//! ```text
//! text:                      trampoline:
//!   d5: mov  $39,%eax          mov    $39,%eax          what was in front
//!   da: syscall                lea    ret(%rip),%rcx    as the real one leaves it
//!   dc: ret                    movabs $entry,%r11       which the real one destroys, too
//! becomes                      jmp    *%r11
//!   d5: jmp trampoline         syscall                  the slow way: rcx - 2
//!   da: int3 int3        ret:  ...                      what was behind
//!   dc: ret                    jmp    dc
//! ```
//!
//! No instruction of ours touches flags, memory or the stack: the red zone stays what it is, and
//! `vfork` (the child uses its parent's stack) and `clone` (the child comes out at `ret` on a stack of
//! its own) need no exception. Everything is relative to rip, so one copy serves all processes.
//!
//! # Why it may be believed
//! - Instructions: a function's extent comes from unwind information, else from a symbol with a
//!   size. It is decoded from its first byte to its last; one invalid instruction or one branch into
//!   the middle of another, and it is left alone. The `syscall` must be reached from the function's
//!   start by following control flow: data in text may decode well, but nothing leads there.
//! - Entries: a direct branch or call from anywhere, a symbol, a function's start, a landing pad, a
//!   switch table, a pointer in data or in a relocation. None may point into a window, except to its
//!   first byte (refs.rs says how that is found without decoding everything).
//! - Instructions move only if they mean the same elsewhere. Displacements of rip-relative operands
//!   are adjusted; branches and returns only end a window; calls never move, for their return
//!   address would be a trampoline's.
//! - No window crosses a page boundary: a page is patched as a whole or not at all.
//! - `mov $15,%eax; syscall` is left alone: unwinders tell the end of a signal handler by its bytes. So are calls
//!   that need all registers, such as fork: a patched one would save little.
//! - [`verify()`] knows none of this. It decodes the original, the patched text and the trampolines anew and
//!   compares; `cargo run --release -p umbra-arch --example patchcheck -- /usr` does it for every file.
//!
//! What could still go wrong, and then how: code that computes an address in the middle of a
//! function without naming it anywhere. If it jumps to an instruction of a window, it mostly meets `int3`,
//! and the kernel can tell by [`Patch::to_trampoline`] of the trap's address where to go on.
//!
//! # Instruction pointers
//! A guest must never see a trampoline's address. [`Patch::to_original`] and [`Patch::to_trampoline`] translate, and
//! are inverse to each other at every instruction. From behind the first instruction of ours until the
//! call has returned, a thread is at the original `syscall`, about to execute it: so a signal there
//! shows what a signal just before the call shows, and its return makes the call. (rcx and r11 have
//! lost their values by then, which the `syscall` would have taken from them anyway.)
//!
//! # Intended use
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use arch::patch::Analysis;
//! let file = std::fs::read("libc.so.6")?;
//! // When a file is first mapped executable: the trampolines behind it, if that is free.
//! let analysis = Analysis::of(&file)?;
//! let (patch, _refused) = analysis.patch(&file, analysis.end(), 0x7fff_0000_0b00)?;
//! // When a page of its text, here at offset 0xd5000, is made for executable mappings:
//! let mut page = file[0xd5000..0xd6000].to_vec();
//! let addr = patch.address_of(0xd5000).ok_or("not text")?;
//! patch.apply(addr, &mut page);
//! // At every way out of and into the guest, with link-time addresses:
//! let shown = patch.to_original(patch.area + 7);
//! let resumed = shown.and_then(|ip| patch.to_trampoline(ip));
//! # Ok(()) }
//! ```
//! Never for anonymous text, the vDSO, or text that a tracer watches or has written to.
//!
//! elf.rs, unwind.rs, functions.rs: what the file says. code.rs: one function. refs.rs: entries.
//! window.rs: the choice. analysis.rs: all of it together. table.rs: trampolines and maps.
#![forbid(unsafe_code)]

mod analysis;
mod code;
mod elf;
mod functions;
mod refs;
mod table;
#[cfg(test)]
mod testelf;
#[cfg(test)]
mod tests;
mod unwind;
mod verify;
mod window;

use std::fmt;

pub use analysis::Analysis;
pub use table::{Patch, Site};
pub use verify::{Fault, Verified, verify};

/// Why a whole file is left alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotPatchable {
    /// Not an ELF64 program or library for x86-64.
    Format,
    /// Headers that contradict each other or the file's length.
    Headers,
}

impl fmt::Display for NotPatchable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NotPatchable::Format => "not an ELF64 program or library for x86-64",
            NotPatchable::Headers => "ELF headers that contradict each other",
        })
    }
}

impl std::error::Error for NotPatchable {}

/// A `syscall` that is left alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refused {
    /// Its link-time address.
    pub addr: u64,
    /// The reason. For several possible windows: that of the most promising one.
    pub reason: Reason,
}

/// Why a `syscall` is left alone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Reason {
    /// Neither unwind information nor a symbol with a size covers it.
    NoFunction,
    /// What describes its function contradicts itself or cannot be read.
    Bounds,
    /// Its function does not decode cleanly from end to end.
    Undecodable,
    /// Its function has a jump whose targets cannot be known.
    IndirectJump,
    /// No control flow leads to it from its function's start.
    NotReached,
    /// It has prefixes.
    Encoding,
    /// It returns from a signal handler, which unwinders recognise by its bytes.
    SignalReturn,
    /// The kernel needs all registers for it.
    NeedsAll,
    /// Its neighbours cannot be moved, or there are too few bytes in the function.
    Immovable,
    /// A branch or call goes into the window.
    BranchTarget,
    /// A symbol, a function's start or a landing pad is inside the window.
    EntryPoint,
    /// A pointer, a switch or an operand names an address inside the window.
    CodePointer,
    /// The window would overlap the one before.
    Overlap,
    /// The window would cross a page boundary.
    PageBoundary,
    /// The trampoline is too far away from the window or from an operand of its instructions.
    OutOfReach,
}
