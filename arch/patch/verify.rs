//! The proof, file by file: decodes everything again and compares.
//!
//! It uses the reader of ELF files and the decoder, and nothing of what chose the windows and wrote
//! the trampolines. Unlike the analysis it decodes *all* text: function by function where they are
//! known, and in between from wherever the last one ended, byte by byte until something decodes.

use std::ops::Range;

use iced_x86::{Code, FlowControl, Instruction, Mnemonic, OpKind, Register};

use super::NotPatchable;
use super::code::{decoder, target};
use super::elf::Image;
use super::table::{Patch, Site};
use super::unwind::Unwind;

/// What was looked at.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Verified {
    /// Sites whose trampolines mean what their windows meant.
    pub sites: usize,
    /// Instructions of the original text.
    pub instructions: usize,
    /// Branches, operands, symbols and landing pads that do not lead into a window.
    pub references: usize,
}

/// What is wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The file cannot be read.
    File(NotPatchable),
    /// A byte outside of all windows differs.
    ByteChanged(u64),
    /// An instruction outside of all windows begins only in one of both.
    BoundaryMoved(u64),
    /// A window begins or ends within an instruction, or is not a jump to its trampoline and `int3`.
    Window(u64),
    /// Something refers to an address in a window.
    Entry {
        /// What refers to it.
        from: u64,
        /// The address.
        to: u64,
    },
    /// An instruction of a trampoline, at this address, is not what it stands for.
    Trampoline(u64),
    /// The two maps disagree at this address.
    Map(u64),
    /// Sites overlap, or are not in order, or what is between trampolines is not `int3`.
    Table,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Fault::File(e) => write!(f, "{e}"),
            Fault::ByteChanged(at) => write!(f, "{at:#x}: a byte outside the windows has changed"),
            Fault::BoundaryMoved(at) => write!(f, "{at:#x}: an instruction boundary has moved"),
            Fault::Window(at) => write!(f, "{at:#x}: the window is not as it should be"),
            Fault::Entry { from, to } => write!(f, "{from:#x}: leads into a window, to {to:#x}"),
            Fault::Trampoline(at) => write!(f, "{at:#x}: the trampoline does something else"),
            Fault::Map(at) => write!(f, "{at:#x}: the address maps disagree"),
            Fault::Table => f.write_str("the sites overlap or are out of order"),
        }
    }
}

impl std::error::Error for Fault {}

/// Proves that `file` patched with `patch` does what it did, if a jump to `entry` with the address
/// to return to in rcx does what a `syscall` does.
pub fn verify(file: &[u8], patch: &Patch, entry: u64) -> Result<Verified, Fault> {
    let image = Image::parse(file).map_err(Fault::File)?;
    let v = Verifier { image, patch, entry };
    let mut seen = Verified { sites: patch.sites.len(), ..Verified::default() };
    v.table()?;
    let starts = v.known_starts(&mut seen)?;
    for code in &v.image.code {
        let original = v.image.range(code).ok_or(Fault::File(NotPatchable::Headers))?;
        let patched = v.patched(code.start, original);
        v.unchanged(code.start, original, &patched)?;
        let from = starts.partition_point(|&s| s <= code.start);
        let upto = starts.partition_point(|&s| s < code.end);
        let mut at = code.start;
        for &end in starts[from..upto].iter().chain([&code.end]) {
            let r = (at - code.start) as usize..(end - code.start) as usize;
            v.function(at, &original[r.clone()], &patched[r], &mut seen)?;
            at = end;
        }
    }
    for s in &patch.sites {
        v.trampoline(s)?;
        v.maps(s)?;
    }
    Ok(seen)
}

struct Verifier<'a> {
    image: Image<'a>,
    patch: &'a Patch,
    entry: u64,
}

impl Verifier<'_> {
    /// The window that holds `addr`.
    fn window(&self, addr: u64) -> Option<(Range<u64>, &Site)> {
        let sites = &self.patch.sites;
        let i = sites.partition_point(|s| self.patch.base + u64::from(s.start) <= addr);
        let s = &sites[i.checked_sub(1)?];
        let w = self.patch.window(s);
        (addr < w.end).then_some((w, s))
    }

    fn table(&self) -> Result<(), Fault> {
        let (p, mut window, mut code) = (self.patch, 0, 0);
        for s in &p.sites {
            let (w, t) = (p.window(s), p.trampoline(s));
            let from = s.code as usize;
            let filled = p.code.get(code..from).is_some_and(|gap| gap.iter().all(|&b| b == 0xcc));
            let one_page = w.start >> 12 == (w.end - 1) >> 12;
            if w.start < window || !filled || !one_page || s.len < 5 || s.len > 32 {
                return Err(Fault::Table);
            }
            window = w.end;
            code = from + (t.end - t.start) as usize;
        }
        let rest = p.code.get(code..).ok_or(Fault::Table)?;
        if rest.iter().all(|&b| b == 0xcc) { Ok(()) } else { Err(Fault::Table) }
    }

    /// All places where instructions are known to begin, ascending; none of them in a window.
    fn known_starts(&self, seen: &mut Verified) -> Result<Vec<u64>, Fault> {
        let unwind = Unwind::of(&self.image);
        let mut starts: Vec<u64> = self.image.symbols().map(|s| s.addr).collect();
        let (mut ends, mut budget) = (Vec::new(), usize::MAX);
        for f in unwind.frames(&self.image) {
            starts.push(f.start);
            ends.push(f.end);
            let pads = f.landing_pads(&self.image, &mut budget);
            for pad in pads.unwrap_or_default() {
                self.reference(f.start, pad, seen)?;
            }
        }
        starts.push(self.image.entry);
        starts.iter().try_for_each(|&s| self.reference(s, s, seen))?;
        // Where a description ends something may begin, but nothing enters.
        starts.extend(ends.iter().filter(|&&e| self.window(e).is_none_or(|(w, _)| w.start == e)));
        starts.sort_unstable();
        starts.dedup();
        Ok(starts)
    }

    fn reference(&self, from: u64, to: u64, seen: &mut Verified) -> Result<(), Fault> {
        seen.references += 1;
        match self.window(to) {
            Some((w, _)) if w.start != to => Err(Fault::Entry { from, to }),
            _ => Ok(()),
        }
    }

    /// The text as the guest will have it, made page by page.
    fn patched(&self, addr: u64, original: &[u8]) -> Vec<u8> {
        let mut text = original.to_vec();
        let mut done = 0;
        while done < text.len() {
            let at = addr + done as u64;
            let end = text.len().min(done + (4096 - at % 4096) as usize);
            self.patch.apply(at, &mut text[done..end]);
            done = end;
        }
        text
    }

    fn unchanged(&self, addr: u64, original: &[u8], patched: &[u8]) -> Result<(), Fault> {
        for (i, (a, b)) in original.iter().zip(patched).enumerate() {
            if a != b && self.window(addr + i as u64).is_none() {
                return Err(Fault::ByteChanged(addr + i as u64));
            }
        }
        Ok(())
    }

    /// Decodes one function in both versions.
    fn function(
        &self,
        addr: u64,
        original: &[u8],
        patched: &[u8],
        seen: &mut Verified,
    ) -> Result<(), Fault> {
        let mut old = self.decode(addr, original);
        let mut new = self.decode(addr, patched).peekable();
        let mut until = 0;
        for i in old.by_ref() {
            seen.instructions += 1;
            let named = i.is_ip_rel_memory_operand().then(|| i.ip_rel_memory_address());
            for to in target(&i).into_iter().chain(named) {
                self.reference(i.ip(), to, seen)?;
            }
            if let Some((w, s)) = self.window(i.ip()) {
                if i.ip() == w.start {
                    let jump = new.next().ok_or(Fault::Window(w.start))?;
                    self.window_replaced(&w, s, &jump)?;
                    until = w.end;
                    while new.next_if(|n| n.ip() < w.end && n.code() == Code::Int3).is_some() {}
                }
                let bit = i.ip() - w.start;
                if until != w.end || i.next_ip() > w.end || s.starts & (1 << bit) == 0 {
                    return Err(Fault::Window(i.ip()));
                }
                continue;
            }
            let n = new.next().ok_or(Fault::BoundaryMoved(i.ip()))?;
            if n.ip() != i.ip()
                || n != i
                || n.len() != i.len()
                || self.window(i.next_ip() - 1).is_some()
            {
                return Err(Fault::BoundaryMoved(i.ip()));
            }
        }
        new.next().map_or(Ok(()), |n| Err(Fault::BoundaryMoved(n.ip())))
    }

    fn window_replaced(&self, w: &Range<u64>, s: &Site, jump: &Instruction) -> Result<(), Fault> {
        let mut text = vec![0; (w.end - w.start) as usize];
        self.patch.apply(w.start, &mut text);
        let goes = jump.code() == Code::Jmp_rel32_64
            && (jump.ip(), jump.len()) == (w.start, 5)
            && jump.near_branch64() == self.patch.trampoline(s).start;
        let filled = text[5..].iter().all(|&b| b == 0xcc);
        if goes && filled { Ok(()) } else { Err(Fault::Window(w.start)) }
    }

    /// Valid instructions; what is none is passed over bytewise.
    fn decode<'b>(
        &self,
        addr: u64,
        bytes: &'b [u8],
    ) -> impl Iterator<Item = Instruction> + use<'b> {
        let mut d = decoder(bytes, addr);
        std::iter::from_fn(move || {
            while d.can_decode() {
                let (at, ip) = (d.position(), d.ip());
                let i = d.decode();
                if !i.is_invalid() {
                    return Some(i);
                }
                d.set_position(at + 1).ok()?;
                d.set_ip(ip + 1);
            }
            None
        })
    }

    /// A window's instructions against its trampoline's, one by one.
    fn trampoline(&self, s: &Site) -> Result<(), Fault> {
        let (w, t) = (self.patch.window(s), self.patch.trampoline(s));
        let bytes = self.image.range(&w).ok_or(Fault::Window(w.start))?;
        let code = &self.patch.code[s.code as usize..][..s.code_len.into()];
        let (mut old, mut new) = (decoder(bytes, w.start), decoder(code, t.start));
        let mut calls = 0;
        let mut last = None;
        while old.can_decode() {
            let o = old.decode();
            if o.code() == Code::Syscall && o.len() == 2 {
                self.call(&mut new)?;
                calls += 1;
            } else {
                let n = new.decode();
                // A jump to the window's own start is one to its trampoline, by way of the text.
                let branch = o.op0_kind() == OpKind::NearBranch64;
                let same = if branch { same_branch(&o, &n, &w) } else { n == o && plain(&o) };
                if !same || last.is_some_and(|l: Instruction| l.flow_control() != FlowControl::Next)
                {
                    return Err(Fault::Trampoline(n.ip()));
                }
                last = Some(o);
                continue;
            }
            last = None;
        }
        if calls != 1 {
            return Err(Fault::Trampoline(t.start));
        }
        let leaves = last.is_some_and(|l| {
            matches!(l.flow_control(), FlowControl::UnconditionalBranch | FlowControl::Return)
        });
        if !leaves {
            let back = new.decode();
            if back.code() != Code::Jmp_rel32_64 || back.near_branch64() != w.end {
                return Err(Fault::Trampoline(back.ip()));
            }
        }
        if new.can_decode() { Err(Fault::Trampoline(new.ip())) } else { Ok(()) }
    }

    /// `lea ret(%rip),%rcx; movabs $entry,%r11; jmp *%r11; syscall`, with ret behind it.
    fn call(&self, new: &mut iced_x86::Decoder<'_>) -> Result<(), Fault> {
        let i: [Instruction; 4] = std::array::from_fn(|_| new.decode());
        let good = i[0].code() == Code::Lea_r64_m
            && i[0].op0_register() == Register::RCX
            && i[0].is_ip_rel_memory_operand()
            && i[0].ip_rel_memory_address() == i[3].next_ip()
            && i[1].code() == Code::Mov_r64_imm64
            && i[1].op0_register() == Register::R11
            && i[1].immediate64() == self.entry
            && i[2].code() == Code::Jmp_rm64
            && i[2].op0_register() == Register::R11
            && i[3].code() == Code::Syscall
            && i[3].len() == 2;
        if good { Ok(()) } else { Err(Fault::Trampoline(i[0].ip())) }
    }

    /// Both maps over all of a window and all of a trampoline.
    fn maps(&self, s: &Site) -> Result<(), Fault> {
        let (p, w, t) = (self.patch, self.patch.window(s), self.patch.trampoline(s));
        let syscall = w.start + u64::from(s.syscall);
        let bytes = self.image.range(&w).ok_or(Fault::Window(w.start))?;
        let starts: Vec<u64> = decoder(bytes, w.start).into_iter().map(|i| i.ip()).collect();
        for at in w.clone() {
            let there = p.to_trampoline(at);
            let back = there.and_then(|t| p.to_original(t));
            let expected = starts.contains(&at).then_some(at);
            if back != expected || there.is_some_and(|a| !t.contains(&a)) {
                return Err(Fault::Map(at));
            }
        }
        // Instruction by instruction: each stands for the next of the original, ours for the syscall.
        let code = &p.code[s.code as usize..][..s.code_len.into()];
        let mut originals = starts.iter().copied().chain([w.end]);
        let mut ours = 0;
        for i in decoder(code, t.start) {
            let stands_for = match (i.code(), ours) {
                (Code::Lea_r64_m, 0) if p.to_original(i.ip()) == Some(syscall) => {
                    ours = 4;
                    originals.next()
                }
                (_, 2..=4) => {
                    ours -= 1;
                    Some(syscall)
                }
                _ => originals.next(),
            };
            if stands_for.is_none()
                || (i.ip()..i.next_ip()).any(|ip| p.to_original(ip) != stands_for)
            {
                return Err(Fault::Map(i.ip()));
            }
        }
        Ok(())
    }
}

/// Whether an instruction that is not a branch can be moved at all.
fn plain(i: &Instruction) -> bool {
    i.flow_control() == FlowControl::Next && i.mnemonic() != Mnemonic::Endbr64
        || i.mnemonic() == Mnemonic::Ret
}

/// A direct jump, perhaps in its long form, to the same place under the same condition.
fn same_branch(o: &Instruction, n: &Instruction, w: &Range<u64>) -> bool {
    let jump = o.is_jcc_short_or_near() || o.is_jmp_short_or_near();
    jump && n.mnemonic() == o.mnemonic()
        && n.op0_kind() == OpKind::NearBranch64
        && n.near_branch64() == o.near_branch64()
        && !(w.start + 1..w.end).contains(&n.near_branch64())
}
