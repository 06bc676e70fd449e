//! Decoding one function: from its first byte to its last, or not at all.

use std::ops::Range;

use iced_x86::{Code, Decoder, DecoderOptions, FlowControl, Instruction, OpKind, Register};

use super::elf::Image;

/// Where control goes after an instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Flow {
    /// To the next one.
    Next,
    /// To the next one, but the instruction's own address matters: calls, interrupts, `loop`.
    Fixed,
    /// To the next one or to the target.
    Branch,
    /// To the target.
    Jump,
    /// Nowhere that is written here: return, indirect jump, `ud2`.
    End,
    /// `syscall`.
    Syscall,
}

/// One instruction, as much of it as the analysis keeps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Insn {
    /// From the function's start.
    pub(super) at: u32,
    pub(super) len: u8,
    pub(super) flow: Flow,
    /// Direct target from the function's start, if it is inside the function.
    target: Option<u32>,
}

/// A function that decodes without a doubt.
pub(super) struct Body {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) insns: Vec<Insn>,
    /// All direct targets of branches and calls, in the function and out of it.
    pub(super) targets: Vec<u64>,
    /// All addresses that rip-relative operands name.
    pub(super) named: Vec<u64>,
    /// `jmp` through a register.
    pub(super) register_jump: bool,
}

/// A decoder for `bytes` at `addr`.
pub(super) fn decoder(bytes: &[u8], addr: u64) -> Decoder<'_> {
    Decoder::with_ip(64, bytes, addr, DecoderOptions::NONE)
}

pub(super) fn flow(i: &Instruction) -> Flow {
    match i.flow_control() {
        _ if i.code() == Code::Syscall => Flow::Syscall,
        // `endbr64` marks the target of an indirect jump, so it stays where it is.
        FlowControl::Next if matches!(i.code(), Code::Endbr64 | Code::Endbr32) => Flow::Fixed,
        FlowControl::Next => Flow::Next,
        FlowControl::ConditionalBranch if i.is_jcc_short_or_near() => Flow::Branch,
        FlowControl::UnconditionalBranch => Flow::Jump,
        FlowControl::Return | FlowControl::IndirectBranch | FlowControl::Exception => Flow::End,
        _ => Flow::Fixed,
    }
}

/// The direct target of a branch, call, `loop` or `xbegin`.
pub(super) fn target(i: &Instruction) -> Option<u64> {
    matches!(i.op0_kind(), OpKind::NearBranch64).then(|| i.near_branch64())
}

impl Body {
    /// Decodes `range` from its start. `None` if an instruction is invalid, if the last one does not
    /// end where the function does, or if a branch goes into the middle of one (then one of two
    /// readings is wrong, or both are right, and neither can be moved).
    pub(super) fn decode(image: &Image, range: &Range<u64>) -> Option<Body> {
        let bytes = image.range(range).filter(|b| b.len() < u32::MAX as usize)?;
        let mut body = Body {
            start: range.start,
            end: range.end,
            insns: Vec::with_capacity(bytes.len() / 4),
            targets: Vec::new(),
            named: Vec::new(),
            register_jump: false,
        };
        let mut decoder = decoder(bytes, range.start);
        let mut i = Instruction::default();
        while decoder.can_decode() {
            decoder.decode_out(&mut i);
            if i.is_invalid() {
                return None;
            }
            let target = target(&i);
            body.targets.extend(target);
            if i.is_ip_rel_memory_operand() {
                body.named.push(i.ip_rel_memory_address());
            } else if image.absolute {
                body.named.extend(absolute_operands(&i));
            }
            body.register_jump |= i.code() == Code::Jmp_rm64 && i.op0_kind() == OpKind::Register;
            body.insns.push(Insn {
                at: (i.ip() - range.start) as u32,
                len: i.len() as u8,
                flow: flow(&i),
                target: target.filter(|t| range.contains(t)).map(|t| (t - range.start) as u32),
            });
        }
        let inside = body.insns.iter().filter_map(|i| i.target);
        inside.clone().all(|t| body.boundary(t, bytes)).then_some(body)
    }

    /// Whether an instruction starts at `t`, or ends where an instruction around `t` ends: the usual
    /// jump over a `lock` prefix.
    fn boundary(&self, t: u32, bytes: &[u8]) -> bool {
        let Some(i) = self.index_at_or_before(t) else { return false };
        let around = self.insns[i];
        let end = around.at + u32::from(around.len);
        around.at == t || {
            let rest = &bytes[t as usize..];
            let again = decoder(rest, 0).decode();
            !again.is_invalid() && t + again.len() as u32 == end && around.flow == Flow::Next
        }
    }

    fn index_at_or_before(&self, at: u32) -> Option<usize> {
        self.insns.partition_point(|i| i.at <= at).checked_sub(1)
    }

    /// The instruction that starts at `addr`.
    pub(super) fn index_of(&self, addr: u64) -> Option<usize> {
        let at = u32::try_from(addr.checked_sub(self.start)?).ok()?;
        self.insns.binary_search_by_key(&at, |i| i.at).ok()
    }

    /// Marks every instruction that control can reach from `roots` by falling through and by direct
    /// branches. Data between instructions may decode cleanly, but nothing leads there.
    pub(super) fn reached(&self, roots: impl Iterator<Item = u64>) -> Vec<bool> {
        let mut reached = vec![false; self.insns.len()];
        let mut todo: Vec<usize> = roots.filter_map(|r| self.index_of(r)).collect();
        while let Some(mut i) = todo.pop() {
            while i < self.insns.len() && !reached[i] {
                reached[i] = true;
                let insn = self.insns[i];
                todo.extend(insn.target.and_then(|t| self.index_at_or_before(t)));
                if matches!(insn.flow, Flow::Jump | Flow::End) {
                    break;
                }
                i += 1;
            }
        }
        reached
    }
}

/// What a program at a fixed address may name without rip: immediates and displacements.
fn absolute_operands(i: &Instruction) -> impl Iterator<Item = u64> {
    let immediate = (0..i.op_count()).find_map(|n| match i.op_kind(n) {
        OpKind::Immediate32 | OpKind::Immediate32to64 | OpKind::Immediate64 => Some(i.immediate(n)),
        _ => None,
    });
    let memory = (i.memory_displ_size() >= 4 && i.memory_base() == Register::None)
        .then(|| i.memory_displacement64());
    immediate.into_iter().chain(memory)
}
