//! Patched text, the file's side: which files have one, and where its pages come from.
//!
//! `arch::patch` finds the system call sites of an ELF file that may be rewritten into jumps. This
//! module keeps the result with the file's page cache: found once, when the file is mapped executable for the
//! first time (with `patch=auto` the second), remembered (also that there is nothing to do) until the file's
//! contents change.
//!
//! A [`PatchedFile`] has two caches of its own, filled by copying: the pages of text that differ from the
//! file, at the file's page numbers, and the trampolines. Both are given up under pressure like any clean
//! page of a file, and made again when they are touched. All other pages of the text stay the file's.
//! (Gaps between patched pages are copied too: a host mapping costs per run, not per page.)
//!
//! When the contents change, the patch is *stale* at once: its pages are taken from all processes, which
//! see the file's own from then on, and the next mapping starts anew. A change is counted before and
//! after it is made, so that an analysis that read while somebody wrote is thrown away.
//!
//! The process's side is in patch_map.rs.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use arch::patch::{Analysis, Patch};
use base::iobuf::SliceSink;
use base::{Errno, PAGE_SHIFT, PAGE_SIZE, PhysAddr, Rank, Result, SpinLock, err};

use crate::mappable::{Backing, Mappable, Named, ObjectName};
use crate::memory::Memory;
use crate::page_cache::PageCache;

/// Larger files are left alone: they are read whole once.
const MAX_FILE: u64 = 64 << 20;
/// A file with more bytes that look like `syscall` was made to waste the kernel's memory.
const MAX_PAIRS: usize = 1 << 14;
/// Patches that are remembered beside those that somebody maps.
const MAX_KEPT: usize = 256;
/// Unpatched pages between patched ones that are copied with them.
const BRIDGE: u64 = 128;
const PAGE: u64 = PAGE_SIZE as u64;

/// What is known of a file.
#[derive(Debug, Default)]
enum State {
    #[default]
    Unknown,
    /// Nothing to patch.
    Nothing,
    Patched(Arc<PatchedFile>),
}

/// A page cache's part.
#[derive(Debug)]
pub(crate) struct PatchSlot {
    /// How often the contents have begun or ended to change.
    changes: AtomicU64,
    /// `state` is not `Unknown`.
    known: AtomicBool,
    /// Its text has been mapped before.
    seen: AtomicBool,
    state: SpinLock<State>,
}

impl PatchSlot {
    pub(crate) fn new() -> PatchSlot {
        PatchSlot {
            changes: AtomicU64::new(0),
            known: AtomicBool::new(false),
            seen: AtomicBool::new(false),
            state: SpinLock::new(Rank::Leaf, State::default()),
        }
    }
}

/// Pages `first..end` of the file that come from the patch, for mappings with this difference between
/// address and offset.
#[derive(Debug)]
struct Segment {
    delta: u64,
    runs: Vec<(u64, u64)>,
}

/// A file's patch and its pages.
pub(crate) struct PatchedFile {
    pub(crate) patch: Arc<Patch>,
    segments: Vec<Segment>,
    /// Patched pages of text, by the file's page numbers.
    pub(crate) text: Arc<PageCache>,
    /// The trampolines.
    pub(crate) code: Arc<dyn Mappable>,
    stale: AtomicBool,
}

impl fmt::Debug for PatchedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PatchedFile({} sites)", self.patch.sites.len())
    }
}

impl PatchedFile {
    fn new(base: &Arc<PageCache>, patch: Patch) -> PatchedFile {
        let patch = Arc::new(patch);
        let memory = &base.memory;
        let text =
            TextPages { base: Arc::downgrade(base), patch: patch.clone(), size: base.size() };
        let phys = memory.machine().phys().clone();
        let code = PageCache::new_owned(memory, Arc::new(CodePages { patch: patch.clone(), phys }));
        let name = ObjectName { path: b"[patch]".to_vec(), ..ObjectName::default() };
        PatchedFile {
            segments: segments(&patch),
            text: PageCache::new_owned(memory, Arc::new(text)),
            code: Named::new(code, name),
            stale: AtomicBool::new(false),
            patch,
        }
    }

    /// How many pages from the image's first on it needs: its segments and the trampolines behind.
    pub(crate) fn span(&self) -> u64 {
        (self.patch.area + self.patch.code.len() as u64 - self.patch.base) >> PAGE_SHIFT
    }

    /// The patch of a mapping of page `index` at `vpn`. None if no site is in that segment.
    pub(crate) fn at(self: &Arc<Self>, vpn: u64, index: u64) -> Option<TextPatch> {
        let offset = index << PAGE_SHIFT;
        let address = self.patch.address_of(offset)?;
        let delta = address.wrapping_sub(offset);
        let segment = self.segments.iter().position(|s| s.delta == delta)?;
        let bias = (vpn << PAGE_SHIFT).wrapping_sub(address);
        bias.is_multiple_of(PAGE).then(|| TextPatch { file: self.clone(), bias, segment })
    }
}

/// The patch of one mapping of text.
#[derive(Clone, Debug)]
pub(crate) struct TextPatch {
    pub(crate) file: Arc<PatchedFile>,
    /// Running address minus link-time address.
    pub(crate) bias: u64,
    segment: usize,
}

impl TextPatch {
    /// Whether it is the same image at the same place.
    pub(crate) fn same(&self, other: &TextPatch) -> bool {
        self.is(&other.file, self.bias) && self.bias == other.bias
    }
    pub(crate) fn is(&self, file: &Arc<PatchedFile>, bias: u64) -> bool {
        Arc::ptr_eq(&self.file, file) && self.bias == bias
    }
    /// The pages around `index` that come from the same place: whether that is the patch, and from
    /// where to where.
    pub(crate) fn piece(&self, index: u64) -> (bool, u64, u64) {
        if self.file.stale.load(Ordering::Acquire) {
            return (false, 0, u64::MAX);
        }
        let runs = &self.file.segments[self.segment].runs;
        let next = runs.partition_point(|r| r.1 <= index);
        match runs.get(next) {
            Some(r) if r.0 <= index => (true, r.0, r.1),
            r => {
                let from = next.checked_sub(1).map_or(0, |i| runs[i].1);
                (false, from, r.map_or(u64::MAX, |r| r.0))
            }
        }
    }
}

/// Which pages the windows are in.
fn segments(patch: &Patch) -> Vec<Segment> {
    let mut out: Vec<Segment> = Vec::new();
    for &(offset, addr, len) in &patch.text {
        let delta = addr.wrapping_sub(offset);
        let inside = patch.sites.iter().map(|s| patch.window(s).start);
        let pages = inside
            .filter(|a| (addr..addr.saturating_add(len)).contains(a))
            .map(|a| a.wrapping_sub(delta) >> PAGE_SHIFT);
        let i = out.iter().position(|s| s.delta == delta).unwrap_or_else(|| {
            out.push(Segment { delta, runs: Vec::new() });
            out.len() - 1
        });
        for page in pages {
            match out[i].runs.last_mut() {
                Some(r) if page < r.1 + BRIDGE => r.1 = r.1.max(page + 1),
                _ => out[i].runs.push((page, page + 1)),
            }
        }
    }
    out.retain(|s| !s.runs.is_empty());
    out
}

/// Patched text: the file's pages with the windows written over.
struct TextPages {
    base: Weak<PageCache>,
    patch: Arc<Patch>,
    /// The file's; if that changes, the patch is stale.
    size: u64,
}

impl Backing for TextPages {
    fn read_pages(&self, first: u64, frames: &[PhysAddr]) -> Result<()> {
        let Some(base) = self.base.upgrade() else { return err(Errno::EIO) };
        base.read_ahead(first, frames.len() as u64)?;
        let phys = base.memory.machine().phys().clone();
        let mut page = [0; PAGE_SIZE];
        for (index, to) in (first..).zip(frames) {
            phys.read(base.frame(index, false)?.addr(), &mut page);
            if let Some(addr) = self.patch.address_of(index << PAGE_SHIFT) {
                self.patch.apply(addr, &mut page);
            }
            phys.write(*to, &page);
        }
        Ok(())
    }
    fn write_pages(&self, _: u64, _: &[PhysAddr]) -> Result<()> {
        err(Errno::EROFS) // nobody can make them dirty
    }
    fn size(&self) -> u64 {
        self.size
    }
}

/// The trampolines.
struct CodePages {
    patch: Arc<Patch>,
    phys: Arc<arch::PhysMem>,
}

impl Backing for CodePages {
    fn read_pages(&self, first: u64, frames: &[PhysAddr]) -> Result<()> {
        for (page, to) in self.patch.code.chunks(PAGE_SIZE).skip(first as usize).zip(frames) {
            self.phys.write(*to, page);
        }
        Ok(())
    }
    fn write_pages(&self, _: u64, _: &[PhysAddr]) -> Result<()> {
        err(Errno::EROFS)
    }
    fn size(&self) -> u64 {
        self.patch.code.len() as u64
    }
}

/// A change of a file's contents, counted when it begins and when it ends.
pub(crate) struct Changing<'a>(&'a PageCache);

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        self.0.count_change();
    }
}

impl PageCache {
    /// The contents change from now until the value is dropped. The caller holds no spin lock.
    pub(crate) fn changing(&self) -> Changing<'_> {
        self.count_change();
        Changing(self)
    }

    /// As the beginning of [`PageCache::changing`], where the end is not known: a mapping that may write.
    pub(crate) fn count_change(&self) {
        self.slot.changes.fetch_add(1, Ordering::SeqCst);
        if self.slot.known.load(Ordering::SeqCst) {
            self.forget_patch();
        }
    }

    #[cold]
    fn forget_patch(&self) {
        let old = {
            let mut s = self.slot.state.lock();
            self.slot.known.store(false, Ordering::SeqCst);
            std::mem::take(&mut *s)
        };
        if let State::Patched(p) = old {
            p.stale.store(true, Ordering::Release);
            // Whoever looks from now on finds it stale; what was entered before is taken away here.
            p.text.invalidate(0, u64::MAX);
        }
    }

    /// The file's patch, if it has one: found now if that has not been done yet and is to be done. `text`: what
    /// is about to be mapped is its text.
    pub(crate) fn patched(&self, text: bool) -> Option<Arc<PatchedFile>> {
        let entry = self.memory.patch_entry()?;
        let me = self.weak().upgrade()?;
        if self.mapped_writable() {
            return None;
        }
        match &*self.slot.state.lock() {
            State::Unknown => {}
            State::Nothing => return None,
            State::Patched(p) => return Some(p.clone()),
        }
        let lazily = self.memory.patch_lazily.load(Ordering::Relaxed);
        if lazily && !self.slot.seen.fetch_or(text, Ordering::Relaxed) {
            return None;
        }
        let before = self.slot.changes.load(Ordering::SeqCst);
        // What cannot be read now, or changes meanwhile, is looked at again by the next mapping.
        let found = analyse(&me, entry).ok()?.map(Arc::new);
        let mut s = self.slot.state.lock();
        // Either the writer sees `known`, or we see its change.
        self.slot.known.store(true, Ordering::SeqCst);
        if self.slot.changes.load(Ordering::SeqCst) != before || self.mapped_writable() {
            self.slot.known.store(!matches!(*s, State::Unknown), Ordering::SeqCst);
            return None;
        }
        match &*s {
            State::Unknown => {}
            State::Nothing => return None,
            State::Patched(p) => return Some(p.clone()), // somebody else was faster
        }
        *s = found.clone().map_or(State::Nothing, State::Patched);
        drop(s);
        if found.is_some() {
            self.memory.remember_patched(self.weak());
        }
        found
    }

    /// Whether nobody has looked, and it has an ELF file's first bytes.
    pub(crate) fn may_have_patch(&self) -> bool {
        let mut magic = [0; 4];
        (64..=MAX_FILE).contains(&self.size())
            && !self.slot.known.load(Ordering::Relaxed)
            && read(self, 0, &mut magic).is_ok()
            && magic == *b"\x7fELF"
    }

    /// Whether it has one that was found already.
    pub(crate) fn has_patch(&self) -> bool {
        self.slot.known.load(Ordering::Relaxed)
            && matches!(&*self.slot.state.lock(), State::Patched(_))
    }

    /// Forgets the patch if nobody maps it.
    fn drop_unused_patch(&self) -> bool {
        let mut s = self.slot.state.lock();
        let unused = matches!(&*s, State::Patched(p) if Arc::strong_count(p) == 1);
        let old = if unused { std::mem::take(&mut *s) } else { State::Unknown };
        if unused {
            self.slot.known.store(false, Ordering::SeqCst);
        }
        drop(s);
        drop(old); // pages go with it
        unused
    }
}

impl Memory {
    /// Has the text of files patched (`arch::patch`) when it is mapped from now on; `entry` is the
    /// machine's. Without a call, or with None, nothing is patched.
    pub fn set_patch_entry(&self, entry: Option<u64>) {
        self.patch_entry.store(entry.unwrap_or(0), Ordering::Relaxed);
    }
    /// Leaves files alone when they are mapped for the first time: finding their call sites takes milliseconds
    /// (15 for a C library), which a short run does not get back. [`AddressSpace::patch_late`] is for those
    /// that turn out long.
    ///
    /// [`AddressSpace::patch_late`]: crate::AddressSpace::patch_late
    pub fn set_patch_lazily(&self, on: bool) {
        self.patch_lazily.store(on, Ordering::Relaxed);
    }
    /// Whether text is patched, and not when it is first mapped.
    pub fn patches_lazily(&self) -> bool {
        self.patch_lazily.load(Ordering::Relaxed) && self.patch_entry().is_some()
    }
    /// See [`Memory::set_patch_entry`].
    pub fn patch_entry(&self) -> Option<u64> {
        Some(self.patch_entry.load(Ordering::Relaxed)).filter(|e| *e != 0)
    }

    /// Lists a file that has a patch; if there are many, those that nobody maps lose theirs.
    fn remember_patched(&self, file: Weak<PageCache>) {
        let files = {
            let mut list = self.patched.lock();
            list.push(file);
            if list.len() <= MAX_KEPT {
                return;
            }
            std::mem::take(&mut *list)
        };
        let used = |w: &Weak<PageCache>| w.upgrade().is_some_and(|f| !f.drop_unused_patch());
        let kept: Vec<_> = files.into_iter().filter(used).collect();
        self.patched.lock().extend(kept);
    }
}

/// Reads exactly `buf`.
fn read(cache: &PageCache, at: u64, buf: &mut [u8]) -> Result<()> {
    let len = buf.len();
    if cache.read(at, &mut SliceSink::new(buf), len)? < len {
        return err(Errno::EIO); // it has become shorter
    }
    Ok(())
}

fn word(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes)
}

/// Analyses a file; None if there is nothing to patch.
fn analyse(cache: &Arc<PageCache>, entry: u64) -> Result<Option<PatchedFile>> {
    let size = cache.size();
    let mut head = [0; 64];
    if !(64..=MAX_FILE).contains(&size) {
        return Ok(None);
    }
    read(cache, 0, &mut head)?;
    // ELF64, little endian; ET_EXEC or ET_DYN; x86-64.
    let elf = head[..6] == *b"\x7fELF\x02\x01" && matches!(head[16], 2 | 3) && head[18] == 62;
    if !elf || !any_syscall(cache, &head, size)? {
        return Ok(None);
    }
    let start = arch::clock::monotonic();
    let mut file = vec![0; size as usize];
    read(cache, 0, &mut file)?;
    let Ok(analysis) = Analysis::of(&file) else { return Ok(None) };
    if analysis.sites().len() == 0 {
        return Ok(None);
    }
    let Ok((patch, _)) = analysis.patch(&file, analysis.end(), entry) else { return Ok(None) };
    let took = arch::clock::monotonic().0 - start.0;
    log::debug!("patch: {} sites in {size} bytes, {} us", patch.sites.len(), took / 1000);
    let placed = patch.area.checked_add(patch.code.len() as u64).is_some();
    Ok((placed && !patch.sites.is_empty()).then(|| PatchedFile::new(cache, patch)))
}

/// Whether the bytes of a `syscall` are in the executable segments at all: most files stop here,
/// and nothing else of them has been read.
fn any_syscall(cache: &PageCache, head: &[u8], size: u64) -> Result<bool> {
    const ENTRY: usize = 56;
    const BLOCK: u64 = 1 << 16;
    let (at, count) = (word(head, 32), usize::from(head[56]) | usize::from(head[57]) << 8);
    if word(head, 54) & 0xffff != ENTRY as u64 || at > size || count * ENTRY > (size - at) as usize
    {
        return Ok(false);
    }
    let mut table = vec![0; count * ENTRY];
    read(cache, at, &mut table)?;
    let mut found = 0;
    let mut buf = vec![0; BLOCK as usize];
    for h in table.chunks(ENTRY) {
        // PT_LOAD with PF_X.
        if word(h, 0) & 0x1_ffff_ffff != 1 | 1 << 32 {
            continue;
        }
        let (mut from, len) = (word(h, 8), word(h, 32));
        let end = from.saturating_add(len).min(size);
        while from < end {
            let part = &mut buf[..(end - from).min(BLOCK) as usize];
            read(cache, from, part)?;
            found += pairs(part);
            // The next block begins with this one's last byte.
            from += (part.len() as u64 - 1).max(1);
        }
    }
    Ok((1..=MAX_PAIRS).contains(&found))
}

/// How often `0f 05` is in there. A block without is passed over by a loop that becomes vector code.
fn pairs(bytes: &[u8]) -> usize {
    let count = |b: &[u8]| b.windows(2).filter(|w| *w == [0x0f, 5]).count();
    let mut n = 0;
    for from in (0..bytes.len()).step_by(256) {
        let b = &bytes[from..(from + 257).min(bytes.len())];
        let any =
            b.iter().zip(b.iter().skip(1)).fold(false, |x, (a, b)| x | ((*a == 0x0f) & (*b == 5)));
        n += if any { count(b) } else { 0 };
    }
    n
}
