//! Which function an address is in. Unwind information decides; where there is none, a symbol with
//! a size does; where there is neither, nobody knows where instructions begin.

use super::Reason;
use super::elf::{Image, Symbol};
use super::unwind::{Frame, Unwind};

/// A function's extent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Function {
    pub(super) start: u64,
    pub(super) end: u64,
}

/// All functions of a file, found on demand.
pub(super) struct Functions<'a, 'b> {
    image: &'a Image<'b>,
    unwind: Unwind,
    /// Symbols with a size, ascending.
    symbols: Vec<Symbol>,
}

impl<'a, 'b> Functions<'a, 'b> {
    pub(super) fn of(image: &'a Image<'b>) -> Functions<'a, 'b> {
        let mut symbols: Vec<_> = image.symbols().filter(|s| s.size > 0).collect();
        // Of several with one start the longest is first and is kept.
        symbols.sort_unstable_by_key(|s| (s.addr, u64::MAX - s.size));
        symbols.dedup_by_key(|s| s.addr);
        Functions { image, unwind: Unwind::of(image), symbols }
    }

    pub(super) fn unwind(&self) -> &Unwind {
        &self.unwind
    }

    /// The function around `addr`.
    pub(super) fn around(&self, addr: u64) -> Result<Function, Reason> {
        match self.unwind.around(self.image, addr) {
            Some(Some(Frame { signal: true, .. })) => Err(Reason::SignalReturn),
            Some(Some(f)) => Ok(Function { start: f.start, end: f.end }),
            Some(None) => Err(Reason::Bounds),
            None => self.by_symbol(addr).or_else(|why| self.gap(addr).ok_or(why)),
        }
    }

    /// The gap behind a function whose unwind information ends early, as that of glibc's `clone` does
    /// at the `syscall`: nobody shall unwind a thread past its beginning. The function then
    /// goes on until the next one; that control really runs into the gap is found out later.
    fn gap(&self, addr: u64) -> Option<Function> {
        let (start, end) = self.unwind.gap_around(self.image, addr)?;
        (end - addr <= 64).then_some(Function { start, end })
    }

    fn by_symbol(&self, addr: u64) -> Result<Function, Reason> {
        let next = self.symbols.partition_point(|s| s.addr <= addr);
        let s = next.checked_sub(1).map(|i| self.symbols[i]).ok_or(Reason::NoFunction)?;
        let end = s.addr.checked_add(s.size).ok_or(Reason::Bounds)?;
        if addr >= end {
            return Err(Reason::NoFunction);
        }
        let overlaps = self.symbols.get(next).is_some_and(|n| n.addr < end)
            || self.unwind.next_after(s.addr).is_some_and(|n| n < end);
        if overlaps { Err(Reason::Bounds) } else { Ok(Function { start: s.addr, end }) }
    }

    /// Where exceptions resume, in all functions: a pad may be in another function than its call,
    /// one that the compiler split off as cold.
    /// `None` if there are more than the file could hold: tables that overlap, made to take for ever.
    pub(super) fn landing_pads(&self) -> Option<Vec<u64>> {
        let mut budget = self.image.span() as usize;
        let mut pads = Vec::new();
        for f in self.unwind.frames(self.image) {
            pads.extend(f.landing_pads(self.image, &mut budget).unwrap_or_default());
        }
        (budget > 0).then_some(pads)
    }

    /// Whether its landing pads are known, be it that there are none.
    pub(super) fn landing_pads_known(&self, start: u64) -> bool {
        let mut budget = self.image.span() as usize;
        let known = |f: Frame| f.landing_pads(self.image, &mut budget).is_some();
        self.frame(start).is_none_or(known)
    }

    fn frame(&self, start: u64) -> Option<Frame> {
        self.unwind.around(self.image, start).flatten()
    }
}
