//! From a file to the list of its windows.

use std::ops::Range;

use super::code::{Body, Flow};
use super::elf::Image;
use super::functions::{Function, Functions};
use super::refs::Entries;
use super::window::{self, Window};
use super::{NotPatchable, Reason, Refused};

/// What can be patched in a file and what cannot.
#[derive(Debug)]
pub struct Analysis {
    pub(super) base: u64,
    end: u64,
    pub(super) windows: Vec<Window>,
    pub(super) refused: Vec<Refused>,
    /// Byte pairs `0f 05` that belong to other instructions.
    coincidences: usize,
}

impl Analysis {
    /// Analyses the bytes of a whole ELF file.
    pub fn of(file: &[u8]) -> Result<Analysis, NotPatchable> {
        let image = Image::parse(file)?;
        let mut analysis = Analysis {
            base: image.base(),
            end: image.end,
            windows: Vec::new(),
            refused: Vec::new(),
            coincidences: 0,
        };
        let pairs: Vec<u64> = image.code.iter().flat_map(|r| pairs(&image, r)).collect();
        if pairs.is_empty() {
            return Ok(analysis);
        }
        let functions = Functions::of(&image);
        let bodies = analysis.decode(&image, &functions, &pairs);
        if !bodies.is_empty() {
            let entries = Entries::collect(&image, &functions, &bodies)?;
            for body in &bodies {
                analysis.choose(&image, body, &entries);
            }
        }
        analysis.refused.sort_by_key(|r| r.addr);
        Ok(analysis)
    }

    /// Where the file's `syscall` instructions are that can be patched, ascending, as link-time addresses.
    pub fn sites(&self) -> impl ExactSizeIterator<Item = u64> {
        self.windows.iter().map(|w| w.start + u64::from(w.syscall))
    }

    /// Those that cannot, ascending.
    pub fn refused(&self) -> &[Refused] {
        &self.refused
    }

    /// The first page behind the file's last segment: a place for the trampolines, if it is free.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// How often `0f 05` was no `syscall` but a part of another instruction.
    pub fn coincidences(&self) -> usize {
        self.coincidences
    }

    /// The functions that have a `syscall`, decoded.
    fn decode(&mut self, image: &Image, functions: &Functions, pairs: &[u64]) -> Vec<Body> {
        let mut bodies: Vec<Body> = Vec::new();
        let mut done = 0;
        for &addr in pairs {
            if addr < done {
                continue;
            }
            let f = match functions.around(addr) {
                Ok(f) if f.start < done => {
                    self.refused.push(Refused { addr, reason: Reason::Bounds });
                    continue;
                }
                Ok(f) => f,
                Err(reason) => {
                    self.refused.push(Refused { addr, reason });
                    continue;
                }
            };
            done = f.end;
            let first = pairs.partition_point(|&p| p < f.start);
            let inside = || pairs[first..].iter().copied().take_while(|&p| p < f.end);
            match self.body(image, functions, f) {
                Err(reason) => self.refused.extend(inside().map(|addr| Refused { addr, reason })),
                Ok(body) => {
                    let real = body.insns.iter().filter(|i| i.flow == Flow::Syscall).count();
                    self.coincidences += inside().count().saturating_sub(real);
                    bodies.extend((real > 0).then_some(body));
                }
            }
        }
        bodies
    }

    fn body(&self, image: &Image, functions: &Functions, f: Function) -> Result<Body, Reason> {
        if !functions.landing_pads_known(f.start) {
            return Err(Reason::Bounds);
        }
        let body = Body::decode(image, &(f.start..f.end)).ok_or(Reason::Undecodable)?;
        // A switch by differences of code labels: its targets are written in no form known here.
        let own_label = |&n: &u64| n > body.start && n < body.end;
        if body.register_jump && body.named.iter().any(own_label) {
            return Err(Reason::IndirectJump);
        }
        Ok(body)
    }

    fn choose(&mut self, image: &Image, body: &Body, entries: &Entries) {
        let range = body.start..body.end;
        let bytes = image.range(&range).expect("it was decoded");
        let reached = body.reached(std::iter::once(body.start).chain(entries.roots(&range)));
        for (index, i) in body.insns.iter().enumerate().filter(|(_, i)| i.flow == Flow::Syscall) {
            let addr = body.start + u64::from(i.at);
            let free = self.windows.last().map_or(0, Window::end);
            let chosen = if !reached[index] {
                Err(Reason::NotReached)
            } else if i.len != 2 {
                Err(Reason::Encoding)
            } else {
                window::choose(body, bytes, index, entries, free)
            };
            match chosen {
                Ok(w) => self.windows.push(w),
                Err(reason) => self.refused.push(Refused { addr, reason }),
            }
        }
    }
}

/// Where `0f 05` is. A block without one is passed over with a loop that becomes vector code.
fn pairs(image: &Image, range: &Range<u64>) -> Vec<u64> {
    const BLOCK: usize = 256;
    let Some(bytes) = image.range(range) else { return Vec::new() };
    let mut found = Vec::new();
    for from in (0..bytes.len()).step_by(BLOCK) {
        let first = &bytes[from..(from + BLOCK).min(bytes.len())];
        let second = &bytes[(from + 1).min(bytes.len())..(from + 1 + BLOCK).min(bytes.len())];
        let pair = |(a, b): (&u8, &u8)| (*a == 0x0f) & (*b == 0x05);
        if first.iter().zip(second).fold(false, |any, ab| any | pair(ab)) {
            let hits = first.iter().zip(second).enumerate().filter(|(_, ab)| pair(*ab));
            found.extend(hits.map(|(i, _)| range.start + (from + i) as u64));
        }
    }
    found
}
