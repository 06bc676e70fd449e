//! Choosing a window: the whole instructions around a `syscall` that make room for a jump.

use iced_x86::{Code, FlowControl, Instruction, Mnemonic, Register};

use super::Reason;
use super::code::{Body, Flow, decoder};
use super::refs::Entries;

/// `jmp rel32`.
pub(super) const JUMP: u32 = 5;

/// A choice, by link-time address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) start: u64,
    pub(super) len: u8,
    /// Where the `syscall` is.
    pub(super) syscall: u8,
    /// Bit n: an instruction starts at byte n.
    pub(super) starts: u32,
}

impl Window {
    pub(super) fn end(&self) -> u64 {
        self.start + u64::from(self.len)
    }
}

/// Calls that the kernel cannot make without all registers, which a patched one has to save one by one: clone, fork,
/// vfork, execve, clone3, execveat.
const NEED_ALL: [u32; 6] = [56, 57, 58, 59, 435, 322];

/// How many instructions in front of the `syscall` and behind it.
#[derive(Clone, Copy)]
struct Shape {
    before: usize,
    after: usize,
}

/// The best window for instruction `index` of `body`, a `syscall`, that begins at or behind `free`.
pub(super) fn choose(
    body: &Body,
    bytes: &[u8],
    index: usize,
    entries: &Entries,
    free: u64,
) -> Result<Window, Reason> {
    match number(body, bytes, index) {
        Some(15) => return Err(Reason::SignalReturn),
        Some(n) if NEED_ALL.contains(&n) => return Err(Reason::NeedsAll),
        _ => {}
    }
    let before = movable_before(body, bytes, index);
    let after = movable_after(body, bytes, index);
    let mut shapes: Vec<(u32, Shape)> = Vec::new();
    for b in 0..=before {
        for a in 0..=after {
            let s = Shape { before: b, after: a };
            if size(body, index, s) < JUMP {
                continue;
            }
            // Only what is needed: without its first or its last instruction it would be too short.
            let less = [(b > 0).then(|| (b - 1, a)), (a > 0).then(|| (b, a.saturating_sub(1)))];
            let minimal = less
                .iter()
                .flatten()
                .all(|&(before, after)| size(body, index, Shape { before, after }) < JUMP);
            if minimal {
                shapes.push((cost(body, bytes, index, s), s));
            }
            break;
        }
    }
    shapes.sort_by_key(|s| s.0);
    let mut first = None;
    for (_, s) in shapes {
        match admit(body, index, s, entries, free) {
            Ok(w) => return Ok(w),
            Err(why) => first = first.or(Some(why)),
        }
    }
    Err(first.unwrap_or(Reason::Immovable))
}

/// Setting the number right in front is the usual shape, and then what follows stays in place;
/// failing that, what follows; mixtures last.
fn cost(body: &Body, bytes: &[u8], index: usize, s: Shape) -> u32 {
    let size = size(body, index, s);
    match s {
        Shape { before: 1, after: 0 } if number(body, bytes, index).is_some() => 0,
        Shape { before: 0, .. } => size,
        Shape { after: 0, .. } => 32 + size,
        _ => 64 + size,
    }
}

fn size(body: &Body, index: usize, s: Shape) -> u32 {
    body.insns[index - s.before..=index + s.after].iter().map(|i| u32::from(i.len)).sum()
}

fn admit(
    body: &Body,
    index: usize,
    s: Shape,
    entries: &Entries,
    free: u64,
) -> Result<Window, Reason> {
    let insns = &body.insns[index - s.before..=index + s.after];
    let at = insns[0].at;
    let start = body.start + u64::from(at);
    let len = size(body, index, s);
    let end = start + u64::from(len);
    if let Some(why) = entries.inside(&(start..end)) {
        return Err(why);
    }
    if start < free {
        return Err(Reason::Overlap);
    }
    // A page is patched or it is not: whoever exchanges one page of text must find whole windows.
    if start >> 12 != (end - 1) >> 12 {
        return Err(Reason::PageBoundary);
    }
    let starts = insns.iter().fold(0, |bits, i| bits | 1 << (i.at - at));
    Ok(Window { start, len: len as u8, syscall: (body.insns[index].at - at) as u8, starts })
}

/// How many instructions in front can be moved, at most those that could ever be needed.
fn movable_before(body: &Body, bytes: &[u8], index: usize) -> usize {
    let candidates = body.insns[..index].iter().rev().take(3);
    candidates
        .take_while(|i| {
            i.flow == Flow::Next && decoded(body, bytes, i.at).is_some_and(|d| movable(&d.0, d.1))
        })
        .count()
}

/// How many behind. The last may be a branch or a return: nothing of the window is behind it then.
fn movable_after(body: &Body, bytes: &[u8], index: usize) -> usize {
    let mut n = 0;
    for i in body.insns[index + 1..].iter().take(3) {
        match decoded(body, bytes, i.at) {
            Some(d) if i.flow == Flow::Next && movable(&d.0, d.1) => n += 1,
            Some(d) if movable_end(&d.0, d.1) => return n + 1,
            _ => break,
        }
    }
    n
}

fn decoded<'a>(body: &Body, bytes: &'a [u8], at: u32) -> Option<(Instruction, &'a [u8])> {
    let rest = bytes.get(at as usize..)?;
    let d = decoder(rest, body.start + u64::from(at)).decode();
    (!d.is_invalid()).then(|| (d, &rest[..d.len()]))
}

/// Whether its bytes mean the same elsewhere, but for the displacement of a rip-relative operand.
pub(super) fn movable(i: &Instruction, bytes: &[u8]) -> bool {
    i.flow_control() == FlowControl::Next
        && !matches!(i.code(), Code::Endbr64 | Code::Endbr32)
        && i.memory_base() != Register::EIP
        && (!i.is_ip_rel_memory_operand() || displacement(i, bytes).is_some())
}

/// Whether it can end a window: a direct jump in one of its two usual forms, or a near return.
pub(super) fn movable_end(i: &Instruction, bytes: &[u8]) -> bool {
    match bytes {
        [0x70..=0x7f | 0xeb, _] | [0x0f, 0x80..=0x8f, _, _, _, _] | [0xe9, _, _, _, _] => true,
        _ => i.mnemonic() == Mnemonic::Ret,
    }
}

/// Where in an instruction the 4 bytes of its rip-relative displacement are.
pub(super) fn displacement(i: &Instruction, bytes: &[u8]) -> Option<usize> {
    let mut d = decoder(bytes, i.ip());
    let again = d.decode();
    let offsets = d.get_constant_offsets(&again);
    (offsets.displacement_size() == 4).then(|| offsets.displacement_offset())
}

/// The number, if the instruction in front of the `syscall` sets it.
fn number(body: &Body, bytes: &[u8], index: usize) -> Option<u32> {
    let before = body.insns.get(index.checked_sub(1)?)?;
    let (i, _) = decoded(body, bytes, before.at)?;
    let sets =
        matches!(i.code(), Code::Mov_r32_imm32 | Code::Mov_rm64_imm32 | Code::Mov_rm32_imm32)
            && matches!(i.op0_register(), Register::EAX | Register::RAX);
    sets.then(|| i.immediate(1) as u32)
}
