//! Who could enter a function anywhere but at its start.
//!
//! Decoding all of a library to find the branches into a few functions would cost more than all the
//! rest. So the text outside those functions is only *scanned*: every byte is taken for the start
//! of a branch, and one that would land inside a function of interest is looked at again, by
//! decoding the function that it is in. What cannot be decoded is believed: a site is lost, no more.
//! Data is scanned for all forms of code pointer that compilers and linkers write.

use std::collections::HashMap;
use std::ops::Range;

use super::code::Body;
use super::elf::{Image, contains};
use super::functions::Functions;
use super::{NotPatchable, Reason};

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
    pub(super) fn collect(
        image: &Image,
        functions: &Functions,
        bodies: &[Body],
    ) -> Result<Entries, NotPatchable> {
        let Some(scan) = Scan::new(image, functions, bodies) else {
            return Ok(Entries { at: Vec::new(), roots: Vec::new() });
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
    /// The largest distance within the file, in units of 16 MB.
    reach: u8,
    /// By start of function: what it refers to, or `None` if it does not decode.
    others: HashMap<u64, Option<Vec<u64>>>,
    /// Addresses of data that `lea` takes and that may be switch tables.
    tables: Vec<u64>,
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
        let reach = (image.span() >> 24).min(126) as u8 + 1;
        let (others, tables) = (HashMap::new(), Vec::new());
        Some(Scan { image, functions, bodies, wanted, span, near, reach, others, tables, found })
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

    fn run(mut self) -> Result<Entries, NotPatchable> {
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
        for pad in self.functions.landing_pads().ok_or(NotPatchable::Headers)? {
            self.enter(pad, Reason::EntryPoint, true);
        }
        for r in gaps(&self.image.code, &self.wanted) {
            self.text(&r);
        }
        let switches = self.switches();
        for r in self.image.data.clone() {
            self.data(&r, &switches);
        }
        self.found.at.sort_unstable_by_key(|e| e.0);
        self.found.roots.sort_unstable();
        Ok(self.found)
    }

    /// Text that was not decoded: every byte may be the last of an opcode.
    fn text(&mut self, range: &Range<u64>) {
        let Some(bytes) = self.image.range(range) else { return };
        // A jump may be the very first instruction.
        if let [0xe8 | 0xe9, field @ ..] = bytes
            && let Some(field) = field.first_chunk()
        {
            let target = (range.start + 5).wrapping_add_signed(i32::from_le_bytes(*field).into());
            if self.hits(target) {
                self.confirm(range.start, target);
            }
        }
        for i in fields(bytes, self.reach) {
            let at = range.start + i as u64;
            let by = i32::from_le_bytes(*bytes[i..].first_chunk().expect("a field"));
            let target = (at + 4).wrapping_add_signed(by.into());
            if bytes[i - 2] == 0x8d && bytes[i - 1] & 0xc7 == 0x05 {
                self.table(target);
            }
            if self.hits(target) {
                self.confirm(at, target);
            }
        }
        if self.image.absolute {
            for (i, w) in bytes.windows(4).enumerate() {
                let target = u32::from_le_bytes(w.try_into().expect("4 bytes")).into();
                if self.hits(target) {
                    self.confirm(range.start + i as u64, target);
                }
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

    /// An address that `lea` takes may be that of a switch table: 4-byte offsets from its own start.
    fn table(&mut self, at: u64) {
        if at.is_multiple_of(4) && self.case(at, at).is_some() {
            self.tables.push(at);
        }
    }

    /// The target of the offset at `at` in the table at `table`, if it leads into code.
    fn case(&self, table: u64, at: u64) -> Option<u64> {
        let word = *self.image.at(at).first_chunk()?;
        let target = table.wrapping_add_signed(i32::from_le_bytes(word).into());
        (!self.image.in_code(at) && self.image.in_code(target)).then_some(target)
    }

    /// Enters all targets of all switches. Nothing says how long a table is, but it ends where
    /// the next one begins, and where an offset does not lead into code. Returns the extents.
    fn switches(&mut self) -> Vec<Range<u64>> {
        let mut tables = std::mem::take(&mut self.tables);
        tables.sort_unstable();
        tables.dedup();
        let mut extents = Vec::with_capacity(tables.len());
        for (i, &table) in tables.iter().enumerate() {
            let next = tables.get(i + 1).copied().unwrap_or(u64::MAX);
            let mut at = table;
            while let Some(target) = self.case(table, at).filter(|_| at < next) {
                self.enter(target, Reason::CodePointer, true);
                at += 4;
            }
            extents.push(table..at);
        }
        extents
    }

    /// Data: absolute pointers of 8 bytes (also as addends of relocations), and of 4 bytes relative
    /// to themselves.
    fn data(&mut self, range: &Range<u64>, switches: &[Range<u64>]) {
        let from = range.start.next_multiple_of(4);
        let Some(bytes) = self.image.range(&(from..range.end)) else { return };
        for (i, w) in bytes.chunks_exact(4).enumerate() {
            let at = from + 4 * i as u64;
            let value = i32::from_le_bytes(w.try_into().expect("4 bytes"));
            let target = at.wrapping_add_signed(value.into());
            // Tables are read for what they are. Their words mean something else.
            let known = |at| contains(&self.image.tables, at) || contains(switches, at);
            if self.hits(target) && !known(at) {
                self.enter(target, Reason::CodePointer, false);
            }
            if at.is_multiple_of(8)
                && let Some(w) = bytes[4 * i..].first_chunk()
            {
                let target = u64::from_le_bytes(*w);
                self.enter(target, Reason::CodePointer, true);
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

/// Where in `bytes` a 4-byte field may be relative to its own end: behind the opcodes of call, jmp
/// and jcc, and behind a rip-relative operand's first byte. Of one that leads anywhere in this file the highest
/// byte is within `reach` of 0. Without branches, so that it becomes vector code: this passes over all text.
fn fields(bytes: &[u8], reach: u8) -> impl Iterator<Item = usize> {
    const BLOCK: usize = 64;
    let padded = |from: usize| {
        let mut last = [0; BLOCK + 5];
        let rest = &bytes[from..bytes.len().min(from + BLOCK + 5)];
        last[..rest.len()].copy_from_slice(rest);
        last
    };
    let starts = (0..bytes.len().saturating_sub(5)).step_by(BLOCK);
    starts.flat_map(move |from| {
        let b: [u8; BLOCK + 5] = match bytes[from..].first_chunk() {
            Some(b) => *b,
            None => padded(from),
        };
        let mut maybe = [0u8; BLOCK];
        for (i, m) in maybe.iter_mut().enumerate() {
            let (before, last) = (b[i], b[i + 1]);
            let call = last & 0xfe == 0xe8;
            let cond = (last & 0xf0 == 0x80) & (before == 0x0f);
            let operand = last & 0xc7 == 0x05;
            let close = b[i + 5].wrapping_add(reach) <= 2 * reach;
            *m = u8::from((call | cond | operand) & close);
        }
        let end = bytes.len() - 5;
        (0..BLOCK / 8)
            .flat_map(move |word| {
                let m = maybe[8 * word..].first_chunk().expect("whole words");
                let mut bits = u64::from_le_bytes(*m);
                std::iter::from_fn(move || {
                    let i = (bits != 0).then(|| bits.trailing_zeros() as usize / 8)?;
                    bits &= bits - 1;
                    Some(from + 8 * word + i)
                })
            })
            .filter(move |&i| i < end)
            .map(|i| i + 2)
    })
}
