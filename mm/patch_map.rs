//! Patched text, the process's side: where trampolines are, and what instruction pointers mean.
//!
//! A private, executable mapping of a file that is not writable shows the file's patch (patch.rs), if the
//! pages behind the image are free for the trampolines: they have a VMA of their own, `[patch]`, at a
//! fixed distance from the text, so that one copy serves all processes. That VMA is not the guest's:
//! munmap(2) and mprotect(2) pass over it.
//!
//! | what happens to the text | what becomes of it |
//! |---|---|
//! | fork | shared like everything |
//! | munmap of the last of it | the trampolines go with it |
//! | a new mapping replaces it | trampolines stay: the new text may be a copy of the old |
//! | it becomes writable, moves, a debugger writes | all of the image becomes the plain file; trampolines stay |
//! | a thread gets a GS base of its own | as before, for all images, and for those to come |
//!
//! Trampolines that stay do so because a thread may be inside of one: it comes out of it into text
//! that does what its own would have done.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arch::Prot;
use base::limits::MAX_VMAS;
use base::{PAGE_SHIFT, PAGE_SIZE, UserAddr, UserMemory};

use crate::mappable::Mappable;
use crate::page_table::Garbage;
use crate::patch::{PatchedFile, TextPatch};
use crate::space::{AddressSpace, Inner, TOP_PAGE};
use crate::types::MapFlags;
use crate::vma::{Mapping, Vma, VmaFlags};

const PAGE: u64 = PAGE_SIZE as u64;
/// Images without trampolines that are remembered for the sake of threads inside of those.
const MAX_LOST: usize = 16;
/// Pages kept free behind the image of a file that may be patched later: a C library's trampolines need 5.
/// Nothing holds them; small mappings come to lie at their far end.
const LATE_ROOM: u64 = 16;

/// The trampolines of one image.
#[derive(Clone, Debug)]
pub(crate) struct Trampolines {
    pub(crate) file: Arc<PatchedFile>,
    pub(crate) bias: u64,
    /// Their pages.
    lo: u64,
    hi: u64,
    /// They do not go with the text.
    keep: bool,
    /// Something else was mapped over them.
    lost: bool,
}

impl Trampolines {
    fn new(p: &TextPatch) -> Trampolines {
        let patch = &p.file.patch;
        let start = p.bias.wrapping_add(patch.area);
        let (lo, pages) = (start >> PAGE_SHIFT, patch.code.len() as u64 >> PAGE_SHIFT);
        let (file, bias) = (p.file.clone(), p.bias);
        Trampolines { file, bias, lo, hi: lo.saturating_add(pages), keep: false, lost: false }
    }
    fn serve(&self, v: &Vma) -> bool {
        v.text().is_some_and(|t| t.is(&self.file, self.bias))
    }
    fn original(&self, ip: u64) -> Option<u64> {
        (self.lo..self.hi).contains(&(ip >> PAGE_SHIFT)).then_some(())?;
        let original = self.file.patch.to_original(ip.wrapping_sub(self.bias))?;
        Some(original.wrapping_add(self.bias))
    }
}

/// What a change of mappings leaves behind, to be dropped without a spin lock: files may go with it.
#[derive(Debug, Default)]
pub(crate) struct Remains {
    texts: Vec<TextPatch>,
    trampolines: Vec<Trampolines>,
    vmas: Vec<Vma>,
}

impl Inner {
    /// The patch of its file for text at pages `start..end`, `fresh` of which are new to the space, and the
    /// VMA of the trampolines if they are not there already. None, and the text stays plain, without room for
    /// them.
    pub(crate) fn patch_text(
        &mut self,
        s: &AddressSpace,
        (start, end, fresh): (u64, u64, u64),
        index: u64,
        file: &Arc<PatchedFile>,
    ) -> Option<(TextPatch, Option<Vma>)> {
        let text = file.at(start, index)?;
        let there = |t: &&Trampolines| !t.lost && text.is(&t.file, t.bias);
        if self.patches.iter().any(|t| there(&t)) {
            return Some((text, None));
        }
        let t = Trampolines::new(&text);
        let bottom = base::addr::USER_BOTTOM >> PAGE_SHIFT;
        let free = t.lo >= bottom
            && t.lo < t.hi
            && t.hi <= TOP_PAGE
            && (t.hi <= start || end <= t.lo)
            && self.vmas.is_free(t.lo, t.hi);
        if !free
            || self.vmas.len() + 2 > MAX_VMAS
            || self.check_limits(fresh + t.hi - t.lo, 0).is_err()
        {
            return None;
        }
        let exec = Prot::READ | Prot::EXEC;
        let vma = Vma {
            start: t.lo,
            end: t.hi,
            prot: exec,
            max_prot: exec,
            flags: VmaFlags::TRAMPOLINES,
            mapping: Some(Mapping::new(file.code.clone(), s.id, s.me.clone(), false)),
            pgoff: 0,
            name: None,
            next: 0,
            run: 0,
        };
        self.patches.push(t);
        s.patches.store(true, Ordering::Release);
        Some((text, Some(vma)))
    }

    /// Has the VMA of text that is mapped already show the patch of its file, unless the process has copies of
    /// pages there (a debugger's, relocations).
    fn patch_mapped(
        &mut self,
        s: &AddressSpace,
        start: u64,
        file: &Arc<PatchedFile>,
        garbage: &mut Garbage,
    ) {
        let Some(v) = self.vmas.find(start).filter(|v| v.start == start && is_plain_text(v)) else {
            return;
        };
        let (end, index) = (v.end, v.pgoff);
        let mut copies = false;
        self.pt.for_each(start, end, |_, p| copies |= p.is_anon());
        if copies {
            return;
        }
        let Some((text, trampolines)) = self.patch_text(s, (start, end, 0), index, file) else {
            return;
        };
        self.drop_pages(s, start, end, garbage);
        self.vmas.change(start, end, |v| v.set_text(text.clone()));
        if let Some(t) = trampolines {
            self.vmas.insert(t);
        }
    }

    /// Turns all text of an image into the plain file.
    fn unpatch(&mut self, s: &AddressSpace, i: usize, garbage: &mut Garbage, old: &mut Remains) {
        self.patches[i].keep = true;
        let t = self.patches[i].clone();
        let ranges: Vec<(u64, u64)> =
            self.vmas.iter().filter(|v| t.serve(v)).map(|v| (v.start, v.end)).collect();
        for (lo, hi) in ranges {
            self.drop_pages(s, lo, hi, garbage);
            self.vmas.change(lo, hi, |v| {
                old.texts.extend(v.mapping.as_mut().and_then(Mapping::take_text));
            });
        }
        old.trampolines.push(t); // not to be dropped here
    }

    /// Turns the images whose text is in `lo..hi` into plain files. Says whether there were any.
    pub(crate) fn unpatch_range(
        &mut self,
        s: &AddressSpace,
        (lo, hi): (u64, u64),
        garbage: &mut Garbage,
        old: &mut Remains,
    ) -> bool {
        let mut any = false;
        let first = |i: &Inner| i.vmas.range(lo, hi).find_map(Vma::text).cloned();
        while let Some(text) = first(self) {
            let Some(i) = self.patches.iter().position(|t| text.is(&t.file, t.bias)) else { break };
            old.texts.push(text);
            self.unpatch(s, i, garbage, old);
            any = true;
        }
        any
    }

    /// munmap(2): `lo..hi` goes, but for trampolines; those go that serve nothing any more.
    pub(crate) fn cut_patched(
        &mut self,
        s: &AddressSpace,
        (lo, hi): (u64, u64),
        garbage: &mut Garbage,
        old: &mut Remains,
    ) -> Vec<Vma> {
        let mut gone = Vec::new();
        let mut from = lo;
        let ours = |v: &&Vma| v.flags.contains(VmaFlags::TRAMPOLINES);
        let skip: Vec<(u64, u64)> = self
            .vmas
            .range(lo, hi)
            .filter(ours)
            .map(|v| (v.start.max(lo), v.end.min(hi)))
            .collect();
        for (a, b) in skip.into_iter().chain([(hi, hi)]) {
            if from < a {
                gone.extend(self.cut(s, from, a, garbage));
            }
            from = b;
        }
        for text in gone.iter().filter_map(Vma::text).cloned().collect::<Vec<_>>() {
            let Some(i) = self.patches.iter().position(|t| text.is(&t.file, t.bias)) else {
                continue;
            };
            if !self.patches[i].keep && !self.vmas.iter().any(|v| self.patches[i].serve(v)) {
                let t = self.patches.remove(i);
                gone.extend(self.cut(s, t.lo, t.hi, garbage));
                old.trampolines.push(t);
            }
            old.texts.push(text);
        }
        gone
    }

    /// A new mapping takes the place of `lo..hi`.
    pub(crate) fn cut_replaced(
        &mut self,
        s: &AddressSpace,
        (lo, hi): (u64, u64),
        garbage: &mut Garbage,
        old: &mut Remains,
    ) -> Vec<Vma> {
        if self.patches.is_empty() {
            return self.cut(s, lo, hi, garbage);
        }
        for i in 0..self.patches.len() {
            let t = &self.patches[i];
            if !t.lost && t.lo < hi && lo < t.hi {
                self.unpatch(s, i, garbage, old);
                self.patches[i].lost = true;
                // What the new mapping leaves of them is of no use.
                let (a, b) = (self.patches[i].lo, self.patches[i].hi);
                old.vmas.extend(self.cut(s, a, b, garbage));
            }
        }
        if self.patches.iter().filter(|t| t.lost).count() > MAX_LOST
            && let Some(first) = self.patches.iter().position(|t| t.lost)
        {
            old.trampolines.push(self.patches.remove(first));
        }
        let gone = self.cut(s, lo, hi, garbage);
        for t in &mut self.patches {
            t.keep |= gone.iter().any(|v| t.serve(v)) && !self.vmas.iter().any(|v| t.serve(v));
        }
        gone
    }
}

/// Text of a file that could be patched and is not.
fn is_plain_text(v: &Vma) -> bool {
    let text = v.prot.contains(Prot::EXEC) && !v.prot.contains(Prot::WRITE);
    let other = VmaFlags::SHARED | VmaFlags::TRAMPOLINES | VmaFlags::LOCKED;
    text && !v.flags.intersects(other) && v.mapping.is_some() && v.text().is_none()
}

impl AddressSpace {
    /// The patch that a new mapping of `pages` pages may get, and how many pages from its start on should be
    /// free (0: it does not matter): for the first mapping of a file, which reserves the place of the others.
    pub(crate) fn patch_for(
        &self,
        object: Option<&Arc<dyn Mappable>>,
        prot: Prot,
        flags: MapFlags,
        index: u64,
        pages: u64,
    ) -> (Option<Arc<PatchedFile>>, u64) {
        let fixed = flags.intersects(MapFlags::FIXED | MapFlags::FIXED_NOREPLACE);
        let text = prot.contains(Prot::EXEC) && !prot.contains(Prot::WRITE);
        let first = !fixed && index == 0;
        let Some(object) = object.filter(|_| !flags.contains(MapFlags::SHARED) && (text || first))
        else {
            return (None, 0);
        };
        match self.patch_of(object, text) {
            Some(p) => {
                let span = p.span();
                (Some(p), span)
            }
            None if first && self.is_for_later(object) => (None, pages + LATE_ROOM),
            None => (None, 0),
        }
    }

    /// Whether nobody has looked yet for what can be patched in the file, and somebody may later.
    fn is_for_later(&self, object: &Arc<dyn Mappable>) -> bool {
        self.memory.patches_lazily() && object.is_program() && object.cache().may_have_patch()
    }

    fn patch_of(&self, object: &Arc<dyn Mappable>, text: bool) -> Option<Arc<PatchedFile>> {
        self.memory.patch_entry()?;
        if !object.is_program() || self.inner.lock().unpatched {
            return None;
        }
        object.cache().patched(text)
    }

    /// Bytes that should stay free behind the last page of an ELF image, for the file's trampolines.
    /// Finds out what can be patched, if that is not known.
    pub fn patch_room(&self, object: &Arc<dyn Mappable>) -> u64 {
        match self.patch_of(object, false) {
            Some(p) => p.patch.code.len() as u64,
            None if self.is_for_later(object) => LATE_ROOM << PAGE_SHIFT,
            None => 0,
        }
    }

    /// Patches what was mapped while the files were left alone (`Memory::set_patch_lazily`), for a process
    /// that turns out to make many calls: what is `known` already, or all, which may read files. The caller is
    /// the only thread, so that nobody is between two instructions of a call site, and goes on where
    /// `trampoline_ip` says.
    pub fn patch_late(&self, known: bool) {
        let plain: Vec<(u64, Arc<dyn Mappable>)> = {
            let g = self.inner.lock();
            let object = |v: &Vma| Some((v.start, v.mapping.as_ref()?.object.clone()));
            g.vmas.iter().filter(|v| is_plain_text(v)).filter_map(object).collect()
        };
        let found = |(start, o): (u64, Arc<dyn Mappable>)| {
            let look = !known || o.cache().has_patch();
            Some((start, look.then(|| self.patch_of(&o, true)).flatten()?, o))
        };
        let found: Vec<_> = plain.into_iter().filter_map(found).collect();
        if found.is_empty() {
            return;
        }
        let _mmap = self.mmap.lock();
        let mut garbage = Garbage::default();
        let mut g = self.inner.lock();
        for (start, file, object) in &found {
            let same = |v: &Vma| v.mapping.as_ref().is_some_and(|m| Arc::ptr_eq(&m.object, object));
            if g.vmas.find(*start).is_some_and(same) {
                g.patch_mapped(self, *start, file, &mut garbage);
            }
        }
        self.finish(g, garbage, Vec::new());
    }

    /// The process cannot use trampolines any more (a thread has a GS base of its own): its text becomes
    /// the plain files, now and until exec.
    pub fn drop_patches(&self) {
        let mut old = Remains::default();
        let _mmap = self.mmap.lock();
        let mut garbage = Garbage::default();
        let mut g = self.inner.lock();
        g.unpatched = true;
        for i in 0..g.patches.len() {
            g.unpatch(self, i, &mut garbage, &mut old);
        }
        self.finish(g, garbage, Vec::new());
    }

    /// A debugger writes to the page: its image becomes the plain file.
    pub(crate) fn unpatch_page(&self, vpn: u64) {
        let mut old = Remains::default();
        let mut garbage = Garbage::default();
        let mut g = self.inner.lock();
        g.unpatch_range(self, (vpn, vpn + 1), &mut garbage, &mut old);
        self.finish(g, garbage, Vec::new());
    }

    /// Whether there is or was patched text: whether instruction pointers may need a look.
    pub fn has_patches(&self) -> bool {
        self.patches.load(Ordering::Acquire)
    }

    /// What guests see of an instruction pointer: that of the original text for one in a trampoline.
    pub fn original_ip(&self, ip: u64) -> u64 {
        if !self.has_patches() {
            return ip;
        }
        let g = self.inner.lock();
        // Where something else was mapped over trampolines, that counts.
        let mut live = g.patches.iter().filter(|t| !t.lost);
        live.find_map(|t| t.original(ip)).unwrap_or(ip)
    }

    /// As [`AddressSpace::original_ip`], for a thread whose trampolines have been mapped over: where it
    /// goes on instead.
    pub fn lost_ip(&self, ip: u64) -> Option<u64> {
        if !self.has_patches() {
            return None;
        }
        let g = self.inner.lock();
        g.patches.iter().filter(|t| t.lost).find_map(|t| t.original(ip))
    }

    /// Whether the guest has mapped something else over trampolines.
    pub fn has_lost_patches(&self) -> bool {
        self.has_patches() && self.inner.lock().patches.iter().any(|t| t.lost)
    }

    /// Where a thread goes on that shall continue at `ip`, if that is an instruction that was moved into a
    /// trampoline.
    pub fn trampoline_ip(&self, ip: u64) -> Option<u64> {
        if !self.has_patches() {
            return None;
        }
        let (t, here) = {
            let g = self.inner.lock();
            let moved = |t: &&Trampolines| {
                !t.lost && t.file.patch.to_trampoline(ip.wrapping_sub(t.bias)).is_some()
            };
            let t = g.patches.iter().find(moved)?.clone();
            let v = g.vmas.find(ip >> PAGE_SHIFT)?;
            let piece = v.text().map(|x| x.piece(v.index(ip >> PAGE_SHIFT)).0);
            (t.clone(), v.text().is_some_and(|x| x.is(&t.file, t.bias)) && piece == Some(true))
        };
        let to = t.file.patch.to_trampoline(ip.wrapping_sub(t.bias))?.wrapping_add(t.bias);
        // Text that was the file's patch and is memory of the process now may still jump there.
        (here || self.is_copy(&t, ip)).then_some(to)
    }

    /// Whether the bytes around `ip` are those of the patched text.
    fn is_copy(&self, t: &Trampolines, ip: u64) -> bool {
        let mut have = [0; PAGE_SIZE];
        if self.read(UserAddr(ip & !(PAGE - 1)), &mut have).is_err() {
            return false;
        }
        let mut want = have;
        t.file.patch.apply((ip & !(PAGE - 1)).wrapping_sub(t.bias), &mut want);
        let at = (ip % PAGE) as usize;
        // No window is longer.
        let around = at.saturating_sub(31)..(at + 32).min(PAGE_SIZE);
        have[around.clone()] == want[around]
    }
}
