//! The result: which bytes of text change, the trampolines, and what stands for what.

use std::ops::Range;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::analysis::Analysis;
use super::code::decoder;
use super::elf::Image;
use super::window::{JUMP, Window, displacement};
use super::{NotPatchable, Reason, Refused};

/// `lea ret(%rip),%rcx; movabs $entry,%r11; jmp *%r11; syscall`: what stands for the `syscall`.
pub(super) const CALL: u32 = 7 + 10 + 3 + 2;
/// Its last instruction, the real one.
pub(super) const SYSCALL: u32 = 2;

/// One patched system call site: plain data, 16 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Site {
    /// Where its window begins, from [`Patch::base`].
    pub start: u32,
    /// Where its trampoline begins, from [`Patch::area`].
    pub code: u32,
    /// Bit n: an instruction of the original begins at byte n of the window.
    pub starts: u32,
    /// Length of the window.
    pub len: u8,
    /// Where in the window the `syscall` is.
    pub syscall: u8,
    /// Length of the trampoline.
    pub code_len: u8,
    /// Length of the jump back at its end: 0 if the window ends in a jump or a return.
    pub back: u8,
}

/// A file's patch: what is needed while it is mapped. All addresses are the file's link-time
/// addresses; whoever has a running one subtracts the load bias first and adds it again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Patch {
    /// What the sites' windows are relative to: the file's lowest page.
    pub base: u64,
    /// Where the trampolines are.
    pub area: u64,
    /// The executable segments: (offset in the file, address, length).
    pub text: Vec<(u64, u64, u64)>,
    /// Ascending, by window as well as by trampoline.
    pub sites: Vec<Site>,
    /// The trampolines, whole pages, filled up with `int3`.
    pub code: Vec<u8>,
}

impl Analysis {
    /// Builds the patch of `file`, the same bytes that were analysed. `area` is the link-time address
    /// at which the trampolines will be (they move with the file, so that all processes can share
    /// them), a multiple of the page size; `entry` is the absolute address of the stub's entry.
    /// Sites that cannot be reached from there, or reach their operands, are refused in addition.
    pub fn patch(
        &self,
        file: &[u8],
        area: u64,
        entry: u64,
    ) -> Result<(Patch, Vec<Refused>), NotPatchable> {
        let image = Image::parse(file)?;
        let text = image.text().collect();
        let mut patch = Patch { base: self.base, area, text, sites: Vec::new(), code: Vec::new() };
        let mut refused = Vec::new();
        for w in &self.windows {
            let bytes = image.range(&(w.start..w.end())).ok_or(NotPatchable::Headers)?;
            if patch.add(w, bytes, entry).is_none() {
                let addr = w.start + u64::from(w.syscall);
                refused.push(Refused { addr, reason: Reason::OutOfReach });
            }
        }
        patch.code.resize(patch.code.len().next_multiple_of(4096), 0xcc);
        Ok((patch, refused))
    }
}

impl Patch {
    /// Appends a site; `None`, and nothing changed, if a displacement does not fit into 32 bits.
    fn add(&mut self, w: &Window, bytes: &[u8], entry: u64) -> Option<()> {
        let from = self.code.len();
        let code = u32::try_from(from).ok()?;
        let start = u32::try_from(w.start - self.base).ok()?;
        relative(w.start + u64::from(JUMP), self.area + from as u64)?;
        let emitted = self.emit(w, bytes, entry);
        let Some(back) = emitted else {
            self.code.truncate(from);
            return None;
        };
        let code_len = (self.code.len() - from) as u8;
        self.sites.push(Site {
            start,
            code,
            starts: w.starts,
            len: w.len,
            syscall: w.syscall,
            code_len,
            back,
        });
        Some(())
    }

    /// Writes one trampoline and returns the length of its jump back.
    fn emit(&mut self, w: &Window, bytes: &[u8], entry: u64) -> Option<u8> {
        let syscall = usize::from(w.syscall);
        self.relocate(w.start, &bytes[..syscall])?;
        self.code.extend(b"\x48\x8d\x0d");
        self.code.extend((CALL - 7).to_le_bytes());
        self.code.extend(b"\x49\xbb");
        self.code.extend(entry.to_le_bytes());
        self.code.extend(b"\x41\xff\xe3\x0f\x05");
        let ends = self.relocate(w.start + syscall as u64 + 2, &bytes[syscall + 2..])?;
        if !ends {
            self.jump(&[0xe9], w.end())?;
        }
        Some(if ends { 0 } else { JUMP as u8 })
    }

    /// Copies whole instructions, so that they do in their new place what they did at `at`. Says
    /// whether the last one goes elsewhere unconditionally.
    fn relocate(&mut self, at: u64, bytes: &[u8]) -> Option<bool> {
        let mut d = decoder(bytes, at);
        let mut ends = false;
        while d.can_decode() {
            let from = d.position();
            let i = d.decode();
            let raw = &bytes[from..from + i.len()];
            let target = super::code::target(&i);
            ends = false;
            match (raw, target) {
                ([0x70..=0x7f, _], Some(t)) => self.jump(&[0x0f, raw[0] + 0x10], t)?,
                ([0x0f, op, ..], Some(t)) => self.jump(&[0x0f, *op], t)?,
                (_, Some(t)) => {
                    self.jump(&[0xe9], t)?;
                    ends = true;
                }
                (_, None) if i.is_ip_rel_memory_operand() => {
                    let field = displacement(&i, raw)?;
                    let next = self.here() + raw.len() as u64;
                    let by = relative(next, i.ip_rel_memory_address())?;
                    self.code.extend(raw);
                    let field = self.code.len() - raw.len() + field;
                    self.code[field..field + 4].copy_from_slice(&by.to_le_bytes());
                }
                (_, None) => {
                    ends = i.mnemonic() == iced_x86::Mnemonic::Ret;
                    self.code.extend(raw);
                }
            }
        }
        Some(ends)
    }

    fn here(&self) -> u64 {
        self.area + self.code.len() as u64
    }

    /// `opcode rel32` to `target`.
    fn jump(&mut self, opcode: &[u8], target: u64) -> Option<()> {
        let by = relative(self.here() + opcode.len() as u64 + 4, target)?;
        self.code.extend(opcode);
        self.code.extend(by.to_le_bytes());
        Some(())
    }

    /// Writes the jumps of all windows into `text`, bytes of the file's loaded image that begin at
    /// `addr`: a page of it, as a rule. No window crosses a page boundary.
    pub fn apply(&self, addr: u64, text: &mut [u8]) {
        let end = addr + text.len() as u64;
        let first = self.sites.partition_point(|s| self.window(s).end <= addr);
        for s in &self.sites[first..] {
            let w = self.window(s);
            if w.start >= end {
                break;
            }
            for (at, byte) in w.zip(self.patched(s)) {
                if (addr..end).contains(&at) {
                    text[(at - addr) as usize] = byte;
                }
            }
        }
    }

    /// The address of a byte of the file in its executable segments. What is mapped executable is
    /// mapped with a load bias of its own address minus this one.
    pub fn address_of(&self, offset: u64) -> Option<u64> {
        // Mappings are whole pages, and a segment's first one begins in front of the segment.
        let page = |&&(at, _, len): &&(u64, u64, u64)| offset >= at & !0xfff && offset < at + len;
        self.text.iter().find(page).map(|&(at, addr, _)| addr.wrapping_add(offset.wrapping_sub(at)))
    }

    /// Whether any window is in these bytes.
    pub fn touches(&self, range: Range<u64>) -> bool {
        let first = self.sites.partition_point(|s| self.window(s).end <= range.start);
        self.sites.get(first).is_some_and(|s| self.window(s).start < range.end)
    }

    fn patched(&self, s: &Site) -> impl Iterator<Item = u8> + use<> {
        let from = self.base + u64::from(s.start) + u64::from(JUMP);
        let by = (self.area + u64::from(s.code)).wrapping_sub(from) as u32;
        std::iter::once(0xe9).chain(by.to_le_bytes()).chain(std::iter::repeat(0xcc))
    }

    /// The addresses of a site's window.
    pub fn window(&self, s: &Site) -> Range<u64> {
        let start = self.base + u64::from(s.start);
        start..start + u64::from(s.len)
    }

    /// The addresses of a site's trampoline.
    pub fn trampoline(&self, s: &Site) -> Range<u64> {
        let start = self.area + u64::from(s.code);
        start..start + u64::from(s.code_len)
    }

    /// The original address that an instruction pointer in a trampoline stands for: what a signal
    /// frame, a ptrace stop or a core file shows. `None` outside of all trampolines. Within an
    /// instruction: as at its start.
    pub fn to_original(&self, ip: u64) -> Option<u64> {
        let o = u32::try_from(ip.checked_sub(self.area)?).ok()?;
        let s = &self.sites[self.sites.partition_point(|s| s.code <= o).checked_sub(1)?];
        let off = o - s.code;
        let (syscall, code_len) = (u32::from(s.syscall), u32::from(s.code_len));
        if off >= code_len {
            return None;
        }
        let original = if off < syscall {
            s.round(off)
        } else if off < syscall + CALL {
            syscall
        } else if off >= code_len - u32::from(s.back) {
            s.len.into()
        } else {
            s.round(off + SYSCALL - CALL)
        };
        Some(self.window(s).start + u64::from(original))
    }

    /// Where to go on for an original address in a window: the restarted `syscall`, the instruction
    /// behind it, any other. `None` outside of all windows and within an instruction. The address of
    /// the window's first byte may also stay as it is: there the jump is.
    pub fn to_trampoline(&self, original: u64) -> Option<u64> {
        let o = u32::try_from(original.checked_sub(self.base)?).ok()?;
        let s = &self.sites[self.sites.partition_point(|s| s.start <= o).checked_sub(1)?];
        let off = o - s.start;
        if off >= s.len.into() || s.starts & (1 << off) == 0 {
            return None;
        }
        // At the call itself: the real instruction, not the way to the stub in front of it. Whoever
        // single-steps would otherwise be sent back to the first of its instructions again and again.
        let beyond = off >= s.syscall.into();
        let moved = if beyond { off + CALL - SYSCALL } else { off };
        Some(self.trampoline(s).start + u64::from(moved))
    }
}

impl Site {
    /// The start of the instruction of the window that `off` is in.
    fn round(&self, off: u32) -> u32 {
        let off = off.min(u32::from(self.len) - 1);
        let upto = self.starts & (u32::MAX >> (31 - off));
        31 - upto.leading_zeros()
    }
}

/// The displacement from `from` to `to`.
fn relative(from: u64, to: u64) -> Option<i32> {
    i32::try_from(to.wrapping_sub(from) as i64).ok()
}
