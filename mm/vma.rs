//! VMAs: which ranges of an address space are mapped to what, with which rights.
//!
//! A [`VmaSet`] never holds overlapping or empty VMAs, and merges neighbours that differ in nothing
//! but their place. All numbers are pages (vpn = virtual page number).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Weak};

use arch::Prot;
use bitflags::bitflags;

use crate::mappable::Mappable;
use crate::page_cache::PageCache;
use crate::patch::TextPatch;
use crate::space::AddressSpace;

/// Pages kept free below a VMA that grows down (1 MiB, Linux's stack_guard_gap).
pub(crate) const GUARD: u64 = 256;

bitflags! {
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub(crate) struct VmaFlags: u32 {
        const SHARED = 1;
        const NORESERVE = 2;
        const GROWSDOWN = 4;
        const LOCKED = 8;
        const STACK = 0x10;
        /// Its pages are counted as committed.
        const ACCOUNT = 0x20;
        const DONTFORK = 0x40;
        const WIPEONFORK = 0x80;
        const DONTDUMP = 0x100;
        const HEAP = 0x200;
        const RANDOM = 0x400;
        const SEQUENTIAL = 0x800;
        /// Trampolines of patched text (patch_map.rs): not the guest's to change.
        const TRAMPOLINES = 0x1000;
    }
}

/// A VMA's hold on an object: registered in the object's reverse map as long as it lives.
pub(crate) struct Mapping {
    pub(crate) object: Arc<dyn Mappable>,
    space: Weak<AddressSpace>,
    space_id: u64,
    writable: bool,
    /// Some of its pages come from here.
    text: Option<TextPatch>,
}

impl Mapping {
    pub(crate) fn new(
        object: Arc<dyn Mappable>,
        space_id: u64,
        space: Weak<AddressSpace>,
        writable: bool,
    ) -> Mapping {
        object.cache().attach(space_id, &space, writable);
        Mapping { object, space, space_id, writable, text: None }
    }
    /// The same object in another space.
    pub(crate) fn for_space(&self, space_id: u64, space: &Weak<AddressSpace>) -> Mapping {
        let mut m = Mapping::new(self.object.clone(), space_id, space.clone(), self.writable);
        if let Some(t) = &self.text {
            m.set_text(t.clone());
        }
        m
    }
    /// The object's pages.
    pub(crate) fn cache(&self) -> &Arc<PageCache> {
        self.object.cache()
    }
    /// Shows the file's patch from now on.
    pub(crate) fn set_text(&mut self, text: TextPatch) {
        text.file.text.attach(self.space_id, &self.space, false);
        self.text = Some(text);
    }
    /// Shows the plain file from now on. The patch is for the caller to drop without a spin lock.
    pub(crate) fn take_text(&mut self) -> Option<TextPatch> {
        let text = self.text.take()?;
        text.file.text.detach(self.space_id, false);
        Some(text)
    }
    /// The cache that page `index` comes from, and for which pages around that is so.
    pub(crate) fn piece(&self, index: u64) -> (&Arc<PageCache>, u64, u64) {
        match &self.text {
            Some(t) => {
                let (patched, first, end) = t.piece(index);
                (if patched { &t.file.text } else { self.cache() }, first, end)
            }
            None => (self.cache(), 0, u64::MAX),
        }
    }
    /// Whether it shows pages of this cache.
    pub(crate) fn shows(&self, cache: u64) -> bool {
        self.cache().id() == cache || self.text.as_ref().is_some_and(|t| t.file.text.id() == cache)
    }
}
impl Clone for Mapping {
    fn clone(&self) -> Self {
        self.for_space(self.space_id, &self.space)
    }
}
impl Drop for Mapping {
    fn drop(&mut self) {
        drop(self.take_text());
        self.object.cache().detach(self.space_id, self.writable);
    }
}
impl fmt::Debug for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "object {}", self.cache().id())
    }
}

/// One mapped range.
#[derive(Clone, Debug)]
pub(crate) struct Vma {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) prot: Prot,
    pub(crate) max_prot: Prot,
    pub(crate) flags: VmaFlags,
    pub(crate) mapping: Option<Mapping>,
    /// Page of the object at `start`.
    pub(crate) pgoff: u64,
    pub(crate) name: Option<&'static str>,
    /// Where sequential use would fault next (0: nothing was used yet), and how long the last run was
    /// (the first one should be).
    pub(crate) next: u64,
    pub(crate) run: u32,
}

impl Vma {
    pub(crate) fn pages(&self) -> u64 {
        self.end - self.start
    }
    pub(crate) fn shared(&self) -> bool {
        self.flags.contains(VmaFlags::SHARED)
    }
    /// The file's patch, if it shows that.
    pub(crate) fn text(&self) -> Option<&TextPatch> {
        self.mapping.as_ref().and_then(|m| m.text.as_ref())
    }
    pub(crate) fn set_text(&mut self, text: TextPatch) {
        if let Some(m) = &mut self.mapping {
            m.set_text(text);
        }
    }
    /// Page of the object at `vpn`.
    pub(crate) fn index(&self, vpn: u64) -> u64 {
        self.pgoff + (vpn - self.start)
    }
    fn continues(&self, next: &Vma) -> bool {
        let same_object = match (&self.mapping, &next.mapping) {
            (None, None) => true,
            (Some(a), Some(b)) => {
                let same_text = match (&a.text, &b.text) {
                    (None, None) => true,
                    (Some(a), Some(b)) => a.same(b),
                    _ => false,
                };
                same_text && Arc::ptr_eq(&a.object, &b.object) && self.index(self.end) == next.pgoff
            }
            _ => false,
        };
        same_object
            && self.end == next.start
            && self.prot == next.prot
            && self.max_prot == next.max_prot
            && self.flags == next.flags
            && self.name == next.name
    }
}

/// All VMAs of an address space, by start.
#[derive(Debug, Default)]
pub(crate) struct VmaSet {
    map: BTreeMap<u64, Vma>,
    pages: u64,
    /// There is no hole of `hole` pages or more above this (0: not known).
    hint: u64,
    hole: u64,
    hint_for: u64,
}

impl VmaSet {
    pub(crate) fn len(&self) -> usize {
        self.map.len()
    }
    /// Pages of all VMAs.
    pub(crate) fn pages(&self) -> u64 {
        self.pages
    }
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &Vma> {
        self.map.values()
    }
    /// The VMA that `vpn` lies in.
    pub(crate) fn find(&self, vpn: u64) -> Option<&Vma> {
        self.map.range(..=vpn).next_back().map(|e| e.1).filter(|v| vpn < v.end)
    }
    pub(crate) fn find_mut(&mut self, vpn: u64) -> Option<&mut Vma> {
        self.map.range_mut(..=vpn).next_back().map(|e| e.1).filter(|v| vpn < v.end)
    }
    /// The first VMA that starts above `vpn`.
    pub(crate) fn above(&self, vpn: u64) -> Option<&Vma> {
        self.map.range(vpn + 1..).next().map(|e| e.1)
    }
    /// The last VMA that starts below `vpn`.
    pub(crate) fn below(&self, vpn: u64) -> Option<&Vma> {
        self.map.range(..vpn).next_back().map(|e| e.1)
    }
    /// The VMAs that touch `lo..hi`, in order.
    pub(crate) fn range(&self, lo: u64, hi: u64) -> impl Iterator<Item = &Vma> {
        let from = self.find(lo).map_or(lo, |v| v.start);
        self.map.range(from..hi.max(from)).map(|e| e.1)
    }
    /// Whether every page of `lo..hi` is mapped.
    pub(crate) fn covers(&self, lo: u64, hi: u64) -> bool {
        let mut at = lo;
        for v in self.range(lo, hi) {
            if v.start > at {
                return false;
            }
            at = v.end;
        }
        at >= hi
    }

    fn split(&mut self, at: u64) {
        let Some(v) = self.find_mut(at) else { return };
        if v.start == at {
            return;
        }
        let mut upper = v.clone();
        upper.start = at;
        upper.pgoff = v.index(at);
        v.end = at;
        self.map.insert(at, upper);
    }

    /// How many VMAs more there would be after cutting `lo..hi` out or changing it.
    pub(crate) fn splits(&self, lo: u64, hi: u64) -> usize {
        let cut = |at| usize::from(self.find(at).is_some_and(|v| v.start < at));
        cut(lo) + cut(hi)
    }

    /// Takes the VMAs of `lo..hi` out, cutting those that reach beyond. The caller drops them when
    /// it holds no spin lock: an object may go with the last one.
    pub(crate) fn remove(&mut self, lo: u64, hi: u64) -> Vec<Vma> {
        self.split(lo);
        self.split(hi);
        let starts: Vec<u64> = self.map.range(lo..hi).map(|e| *e.0).collect();
        let out: Vec<Vma> = starts.iter().filter_map(|s| self.map.remove(s)).collect();
        self.pages -= out.iter().map(Vma::pages).sum::<u64>();
        (self.hint, self.hole) = (0, 0);
        out
    }

    /// Adds a VMA where nothing is, and merges it with its neighbours.
    pub(crate) fn insert(&mut self, mut v: Vma) {
        debug_assert!(v.start < v.end && self.range(v.start, v.end).next().is_none());
        self.pages += v.pages();
        if let Some(b) = self.map.range(..v.start).next_back().map(|e| e.1)
            && b.continues(&v)
        {
            let s = b.start;
            if let Some(mut below) = self.map.remove(&s) {
                below.end = v.end;
                v = below;
            }
        }
        if let Some(a) = self.map.get(&v.end)
            && v.continues(a)
        {
            let s = a.start;
            v.end = a.end;
            self.map.remove(&s);
        }
        self.map.insert(v.start, v);
    }

    /// Changes the VMAs of `lo..hi` with `f`, cutting at the ends and merging afterwards.
    pub(crate) fn change(&mut self, lo: u64, hi: u64, mut f: impl FnMut(&mut Vma)) {
        let (hint, hole) = (self.hint, self.hole);
        let mut changed = self.remove(lo, hi);
        changed.iter_mut().for_each(&mut f);
        for v in changed {
            self.insert(v);
        }
        (self.hint, self.hole) = (hint, hole);
    }

    /// Lets the VMA that starts at `old` start lower (stack growth).
    pub(crate) fn grow_down(&mut self, old: u64, new: u64) {
        if let Some(mut v) = self.map.remove(&old) {
            self.pages += old - new;
            v.start = new;
            self.map.insert(new, v);
        }
    }

    /// Whether `lo..hi` is free, guard gaps counted as taken.
    pub(crate) fn is_free(&self, lo: u64, hi: u64) -> bool {
        self.range(lo, hi).next().is_none()
            && self.map.range(hi..).next().is_none_or(|(_, v)| floor(v) >= hi)
    }

    /// The highest free range of `n` pages in `lo..hi`.
    pub(crate) fn find_gap(&mut self, n: u64, lo: u64, hi: u64) -> Option<u64> {
        let known = self.hint > 0 && n >= self.hole && self.hint_for == hi;
        let mut top = if known { self.hint } else { hi };
        let mut largest = if known { self.hole } else { 1 };
        self.hint_for = hi;
        let above = self.map.range(top..).next().map_or(u64::MAX, |e| floor(e.1));
        top = top.min(above);
        for v in self.map.range(..top).rev().map(|e| e.1) {
            if v.end <= top {
                if top - v.end >= n && top >= lo + n && top - n >= v.end {
                    (self.hint, self.hole) = (top - n, largest);
                    return Some(top - n);
                }
                largest = largest.max(top - v.end + 1);
            }
            top = top.min(floor(v));
            if top < lo + n {
                self.hint = 0;
                return None;
            }
        }
        self.hint = 0;
        (top >= lo + n).then(|| {
            (self.hint, self.hole) = (top - n, largest);
            top - n
        })
    }
}

/// The lowest page that belongs to a VMA, its guard gap included.
fn floor(v: &Vma) -> u64 {
    if v.flags.contains(VmaFlags::GROWSDOWN) { v.start.saturating_sub(GUARD) } else { v.start }
}
