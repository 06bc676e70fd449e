//! Who could enter a function anywhere but at its start.
//!
//! Decoding all of a library to find the branches into a few functions would cost more than all the
//! rest. So the text outside those functions is only *scanned*: every byte is taken for the start
//! of a branch, and one that would land inside a function of interest is looked at again, by
//! decoding the function that it is in. What cannot be decoded is believed: a site is lost, no more.
//! Data is scanned for all forms of code pointer that compilers and linkers write.

use std::collections::HashMap;
use std::ops::Range;

use super::Reason;
use super::code::Body;
use super::elf::{Image, contains};
use super::functions::Functions;

/// Entries into the functions of interest, sorted by address.
pub(super) struct Entries {
    at: Vec<(u64, Reason)>,
    /// Those that are surely code: where control flow may be followed from.
    roots: Vec<u64>,
}

impl Entries {
    /// Why nothing between `r.start` and `r.end`, both excluded, may be moved.
    pub(super) fn inside(&self, r: &Range<u64>) -> Option<Reason> {
        let from = self.at.partition_point(|e| e.0 <= r.start);
        self.at.get(from).filter(|e| e.0 < r.end).map(|e| e.1)
    }

    /// Where control flow may begin in a function, besides its start.
    pub(super) fn roots(&self, r: &Range<u64>) -> impl Iterator<Item = u64> {
        let from = self.roots.partition_point(|&a| a < r.start);
        let end = r.end;
        self.roots[from..].iter().copied().take_while(move |&a| a < end)
    }

    /// Finds all entries into `bodies`, which are in ascending order.
    pub(super) fn collect(image: &Image, functions: &Functions, bodies: &[Body]) -> Entries {
        let Some(scan) = Scan::new(image, functions, bodies) else {
            return Entries { at: Vec::new(), roots: Vec::new() };
        };
        scan.run()
    }
}

/// One bit for this many bytes of text says whether a function of interest is near.
const GRANULE: u64 = 64;

struct Scan<'a, 'b> {
    image: &'a Image<'b>,
    functions: &'a Functions<'a, 'b>,
    bodies: &'a [Body],
    wanted: Vec<Range<u64>>,
    /// All of the text.
    span: Range<u64>,
    near: Vec<u64>,
    /// By start of function: what it refers to, or `None` if it does not decode.
    others: HashMap<u64, Option<Vec<u64>>>,
    found: Entries,
}

impl<'a, 'b> Scan<'a, 'b> {
    fn new(
        image: &'a Image<'b>,
        functions: &'a Functions<'a, 'b>,
        bodies: &'a [Body],
    ) -> Option<Self> {
        let wanted: Vec<_> = bodies.iter().map(|b| b.start..b.end).collect();
        let span = wanted.first()?.start..wanted.last()?.end;
        let granules = (span.end - span.start).div_ceil(GRANULE);
        let mut near = vec![0u64; granules.div_ceil(64) as usize];
        for w in &wanted {
            for g in (w.start - span.start) / GRANULE..=(w.end - 1 - span.start) / GRANULE {
                near[(g / 64) as usize] |= 1 << (g % 64);
            }
        }
        let found = Entries { at: Vec::new(), roots: Vec::new() };
        Some(Scan { image, functions, bodies, wanted, span, near, others: HashMap::new(), found })
    }

    /// Whether `addr` is inside a function of interest, its start excluded.
    fn hits(&self, addr: u64) -> bool {
        let o = addr.wrapping_sub(self.span.start);
        if o >= self.span.end - self.span.start {
            return false;
        }
        let g = o / GRANULE;
        self.near[(g / 64) as usize] & (1 << (g % 64)) != 0 && {
            let i = self.wanted.partition_point(|r| r.start < addr);
            i > 0 && addr < self.wanted[i - 1].end
        }
    }

    fn enter(&mut self, addr: u64, why: Reason, root: bool) {
        if self.hits(addr) {
            self.found.at.push((addr, why));
            if root {
                self.found.roots.push(addr);
            }
        }
    }

    fn run(mut self) -> Entries {
        for b in self.bodies {
            for &t in &b.targets {
                self.enter(t, Reason::BranchTarget, false);
            }
            for &n in &b.named {
                self.enter(n, Reason::CodePointer, false);
                self.table(n);
            }
        }
        for s in self.image.symbols() {
            self.enter(s.addr, Reason::EntryPoint, true);
        }
        for start in self.functions.unwind().starts() {
            self.enter(start, Reason::EntryPoint, true);
        }
        self.enter(self.image.entry, Reason::EntryPoint, true);
        for pad in self.functions.landing_pads() {
            self.enter(pad, Reason::EntryPoint, true);
        }
        for r in gaps(&self.image.code, &self.wanted) {
            self.text(&r);
        }
        for r in self.image.data.clone() {
            self.data(&r);
        }
        self.found.at.sort_unstable_by_key(|e| e.0);
        self.found.roots.sort_unstable();
        self.found
    }

    /// Text that was not decoded: every byte may be the last of an opcode.
    fn text(&mut self, range: &Range<u64>) {
        let Some(bytes) = self.image.range(range) else { return };
        for (i, w) in bytes.windows(4).enumerate() {
            let value = i32::from_le_bytes(w.try_into().expect("4 bytes"));
            let at = range.start + i as u64;
            let target = (at + 4).wrapping_add_signed(value.into());
            // Opcode and operands end in front of the field: call, jmp, jcc, or rip-relative.
            let before = if i > 0 { bytes[i - 1] } else { 0 };
            if before & 0xc7 == 0x05 && i > 1 && bytes[i - 2] == 0x8d {
                self.table(target);
            }
            if self.hits(target)
                && (matches!(before, 0xe8 | 0xe9 | 0x80..=0x8f) || before & 0xc7 == 0x05)
            {
                self.confirm(at, target);
            }
            if self.image.absolute && self.hits(value as u32 as u64) {
                self.confirm(at, value as u32 as u64);
            }
        }
        self.short_branches(range, bytes);
    }

    /// Branches of one byte's reach: only from beside a function of interest.
    fn short_branches(&mut self, range: &Range<u64>, bytes: &[u8]) {
        let len = bytes.len();
        for i in (0..len.min(130)).chain(len.saturating_sub(130).max(130)..len) {
            let (Some(&op), Some(&by)) = (bytes.get(i), bytes.get(i + 1)) else { continue };
            if matches!(op, 0x70..=0x7f | 0xe0..=0xe3 | 0xeb) {
                let at = range.start + i as u64;
                let target = (at + 2).wrapping_add_signed((by as i8).into());
                if self.hits(target) {
                    self.confirm(at, target);
                }
            }
        }
    }

    /// The bytes at `at` look like a reference to `target`: is it one?
    fn confirm(&mut self, at: u64, target: u64) {
        let Some(f) = self.functions.around(at).ok().map(|f| f.start..f.end) else {
            self.enter(target, Reason::BranchTarget, false);
            return;
        };
        let image = self.image;
        let refers = self
            .others
            .entry(f.start)
            .or_insert_with(|| Body::decode(image, &f).map(|b| [b.targets, b.named].concat()));
        if refers.as_ref().is_none_or(|r| r.contains(&target)) {
            self.enter(target, Reason::BranchTarget, true);
        }
    }

    /// A switch: 4-byte offsets from the table's own start, for as long as they lead into code.
    fn table(&mut self, at: u64) {
        if !at.is_multiple_of(4) || self.image.in_code(at) {
            return;
        }
        for word in self.image.at(at).chunks_exact(4) {
            let target = at
                .wrapping_add_signed(i32::from_le_bytes(word.try_into().expect("4 bytes")).into());
            if !self.image.in_code(target) {
                break;
            }
            self.enter(target, Reason::CodePointer, true);
        }
    }

    /// Data: absolute pointers of 8 bytes (also as addends of relocations), and of 4 bytes relative
    /// to themselves.
    fn data(&mut self, range: &Range<u64>) {
        let from = range.start.next_multiple_of(4);
        let Some(bytes) = self.image.range(&(from..range.end)) else { return };
        for (i, w) in bytes.chunks_exact(4).enumerate() {
            let at = from + 4 * i as u64;
            let value = i32::from_le_bytes(w.try_into().expect("4 bytes"));
            let target = at.wrapping_add_signed(value.into());
            if self.hits(target) {
                self.enter(target, Reason::CodePointer, false);
            }
            if at.is_multiple_of(8) {
                if let Some(w) = bytes[4 * i..].first_chunk() {
                    let target = u64::from_le_bytes(*w);
                    if self.hits(target) {
                        self.enter(target, Reason::CodePointer, true);
                    }
                }
            }
        }
    }
}

/// What of `all` is not in `without`; both ascend.
fn gaps(all: &[Range<u64>], without: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut rest = Vec::new();
    for r in all {
        let mut from = r.start;
        for w in without.iter().filter(|w| w.start < r.end && w.end > r.start) {
            if from < w.start {
                rest.push(from..w.start);
            }
            from = w.end;
        }
        if from < r.end {
            rest.push(from..r.end);
        }
    }
    debug_assert!(rest.iter().all(|r| !contains(without, r.start)));
    rest
}
