//! Foresight: pages that will be touched soon are mapped in the batch that is due anyway.
//!
//! A fault costs five host calls and two switches of host processes, one more operation in a batch a
//! tenth of that. Programs start alike: a dynamic linker and a C library touch the same pages each time,
//! and the children of a shell the same pages of the shell's memory. So we remember
//!
//! * for each file that is mapped executable, which of its pages were read and which were copied by
//!   programs soon after exec (in its page cache, as long as that lives);
//! * for each process, which pages its children touched first (shared with its descendants until exec).
//!
//! Nothing here decides what a process may see: each page comes through `fault_in`, as if it had been
//! touched. Pages that would need I/O are left alone, and so is everything when memory is short.
//!
//! A page that is copied early does not show what is written to the file later. So files are foreseen
//! only where they are executable and nobody can write them through memory; the programs that map them
//! that way take them for constant.

use std::sync::Arc;

use arch::Prot;
use base::{Rank, SpinLock};

use crate::fault::Access;
use crate::space::{AddressSpace, Inner};
use crate::vma::{Mapping, Vma, VmaFlags};

/// Blocks that are read, and pages that are copied, of a file.
const MAX_READ: usize = 48;
const MAX_COPIED: usize = 16;
/// Pages remembered for the children of a process.
const MAX_CHILD: usize = 16;
/// Faults after exec or fork that are worth remembering.
const START_FAULTS: u32 = 64;
const CHILD_FAULTS: u32 = 16;
/// A fault on an object maps the block that it lies in, if its frames are contiguous: one page stands
/// for this many.
const BLOCK: u64 = 16;
/// Pages of a mapping that may become a habit.
const MAX_HABIT: u64 = 64;
/// Pages of a mapping that a program uses at once while it starts.
const MAX_SMALL: u64 = 4;
/// Free frames below which nothing is mapped in advance.
const MIN_FREE: u32 = 2048;
/// Longest data of a library without contents in the file, pages: a first run.
const MAX_BSS: u64 = crate::fault::FIRST_RUN as u64;

/// When memory that was just mapped will be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Use {
    AtOnce,
    Soon,
    Unknown,
}

/// What is remembered of a file.
#[derive(Debug, Default)]
pub(crate) struct HotPages {
    executable: bool,
    /// Page, and whether it was reached through an executable mapping.
    read: Vec<(u64, bool)>,
    copied: Vec<u64>,
}

impl HotPages {
    fn learn(&mut self, index: u64, write: bool, exec: bool) {
        self.executable |= exec;
        if write {
            remember(&mut self.copied, index, MAX_COPIED, |a, b| a / BLOCK == b / BLOCK);
        } else {
            let same = |a: &(u64, bool), b: &(u64, bool)| a.0 / BLOCK == b.0 / BLOCK && a.1 == b.1;
            remember(&mut self.read, (index, exec), MAX_READ, same);
        }
    }
    /// Which pages of a new mapping will be touched.
    fn foresee(&self, v: &Vma, out: &mut Vec<(u64, bool)>) {
        if !self.executable {
            return;
        }
        let inside = |index: u64| index >= v.pgoff && index < v.pgoff + v.pages();
        let exec = v.prot.contains(Prot::EXEC);
        let read = self.read.iter().filter(|r| r.1 == exec && inside(r.0));
        out.extend(read.map(|r| (v.start + (r.0 - v.pgoff), false)));
        if v.prot.contains(Prot::WRITE) {
            let copied = self.copied.iter().filter(|i| inside(**i));
            out.extend(copied.map(|i| (v.start + (i - v.pgoff), true)));
        }
    }
}

/// Adds `x` unless it is there; the oldest makes room.
fn remember<T>(list: &mut Vec<T>, x: T, max: usize, same: impl Fn(&T, &T) -> bool) {
    if list.iter().any(|y| same(y, &x)) {
        return;
    }
    if list.len() == max {
        list.remove(0);
    }
    list.push(x);
}

type Children = Arc<SpinLock<Vec<(u64, bool)>>>;

/// An address space's part.
#[derive(Debug, Default)]
pub(crate) struct Foresight {
    /// Starts of private mappings of files in which nothing has been touched yet.
    new: Vec<u64>,
    /// Faults that were remembered since exec or fork.
    faults: u32,
    /// What children touch first.
    children: Option<Children>,
    /// This is a child, and has not called exec.
    child: bool,
    /// Pages of the small anonymous mapping that was used and given back last (0: none), and whether all
    /// of it was used.
    habit: u64,
    whole: bool,
}

impl Foresight {
    /// A private mapping of a file was made at this page.
    pub(crate) fn mapped(&mut self, vpn: u64) {
        if self.new.len() < 64 {
            self.new.push(vpn);
        }
    }
    /// These are unmapped, of which `used` pages were used: who does that does it again (a buffer for each
    /// call).
    pub(crate) fn unmapped(&mut self, gone: &[Vma], used: u64) {
        if let [v] = gone
            && v.mapping.is_none()
            && v.pages() <= MAX_HABIT
            && used > 0
        {
            (self.habit, self.whole) = (v.pages(), used >= v.pages());
        }
    }
    /// How long the first run in a new mapping should be; 0: as always.
    pub(crate) fn first_run(&self, v: &Vma, used: Use) -> u32 {
        let whole = used == Use::AtOnce && self.whole && self.habit == v.pages();
        if whole { v.pages() as u32 } else { 0 }
    }
    /// When a new mapping will be used: at once, like the one before or what a dynamic linker asks for; soon,
    /// where it continues a library's data; who knows.
    pub(crate) fn use_of(&self, v: &Vma, fixed: bool) -> Use {
        if v.mapping.is_some()
            || !v.prot.contains(Prot::WRITE)
            || v.flags.contains(VmaFlags::GROWSDOWN)
        {
            return Use::Unknown;
        }
        let starting = self.faults < START_FAULTS && !self.child;
        if fixed {
            return if starting && v.pages() <= MAX_BSS { Use::Soon } else { Use::Unknown };
        }
        let habit = self.habit == v.pages() || starting && v.pages() <= MAX_SMALL;
        if habit { Use::AtOnce } else { Use::Unknown }
    }
    /// That of a child, which learns for its parent. A child that forks in turn has a life of its own:
    /// what it touches from then on tells nothing about its siblings.
    pub(crate) fn for_child(&mut self) -> Foresight {
        self.faults = u32::MAX;
        let fresh = || Arc::new(SpinLock::new(Rank::Leaf, Vec::new()));
        let children = Some(self.children.get_or_insert_with(fresh).clone());
        Foresight { children, child: true, ..Foresight::default() }
    }
}

impl Inner {
    /// `lo..hi` is about to be unmapped. If it is a buffer that comes and goes, the host keeps its mapping
    /// without rights (host_map.rs).
    pub(crate) fn park(&mut self, s: &AddressSpace, lo: u64, hi: u64) {
        let pages = hi - lo;
        let buffer = |v: &Vma| v.mapping.is_none() && v.end >= hi;
        let first = self.pt.get(lo);
        if self.foresight.habit != pages
            || !first.present()
            || !self.vmas.find(lo).is_some_and(buffer)
        {
            return;
        }
        let mut run = 0;
        self.pt.walk(lo, (lo, hi), true, |_, p, _| {
            let next = p.present() && p.pfn() == first.pfn().add(run);
            run += u32::from(next);
            next
        });
        self.host.sync(&*s.space);
        if u64::from(run) == pages && self.host.park(&*s.space, lo, run, first.pfn()) {
            self.queued = true;
        }
    }

    /// Whether a page can be had without waiting for a device.
    fn at_hand(&self, vpn: u64) -> bool {
        let Some(v) = self.vmas.find(vpn) else { return false };
        if self.pt.get(vpn).present() || v.mapping.is_none() {
            return true;
        }
        let index = v.index(vpn);
        // A patched page is made of the file's.
        let cached = |m: &Mapping| m.cache().is_cached(index) || m.piece(index).0.is_cached(index);
        v.mapping.as_ref().is_some_and(cached)
    }
}

impl AddressSpace {
    /// A fault of guest code was resolved: remembers it, and maps what usually comes with it.
    pub(crate) fn learn(&self, vpn: u64, access: Access) {
        let new = {
            let mut g = self.inner.lock();
            let Inner { vmas, foresight: f, .. } = &mut *g;
            if f.child {
                if f.faults < CHILD_FAULTS
                    && let Some(list) = &f.children
                {
                    f.faults += 1;
                    let mut list = list.lock();
                    match list.iter_mut().find(|x| x.0 == vpn) {
                        Some(x) => x.1 |= access.write,
                        None => remember(&mut list, (vpn, access.write), MAX_CHILD, |_, _| false),
                    }
                }
            } else if f.faults < START_FAULTS
                && let Some(v) = vmas.find(vpn)
                && let Some(m) = &v.mapping
                && !v.shared()
                && m.cache().evictable()
            {
                f.faults += 1;
                let exec = v.prot.contains(Prot::EXEC);
                m.cache().hot.lock().learn(v.index(vpn), access.write, exec);
            }
            !f.new.is_empty()
        };
        if new {
            self.foresee_files();
        }
    }

    /// Maps what a program that has just been loaded touches first.
    pub fn foresee_start(&self) {
        self.foresee_files();
        self.space.demand();
    }

    /// Maps what programs usually touch of the files that were mapped lately.
    pub(crate) fn foresee_files(&self) {
        let mut pages = Vec::new();
        {
            let mut g = self.inner.lock();
            let new = std::mem::take(&mut g.foresight.new);
            for v in new.iter().filter_map(|start| g.vmas.find(*start)) {
                if let Some(m) = &v.mapping
                    && m.cache().evictable()
                    && !m.cache().mapped_writable()
                {
                    m.cache().hot.lock().foresee(v, &mut pages);
                }
            }
        }
        self.touch(&pages);
    }

    /// Maps what a new child will touch first: what its siblings did, and `more` (page, whether it
    /// will be written).
    pub fn foresee_child(&self, more: &[(u64, bool)]) {
        let known = self.inner.lock().foresight.children.clone();
        let mut pages = more.to_vec();
        if let Some(list) = known {
            pages.extend(list.lock().iter().filter(|x| !more.contains(x)));
        }
        self.touch(&pages);
        self.space.demand();
    }

    /// New memory that is about to be used, from `vpn` on: the heap has grown, or it is a habit.
    pub(crate) fn foresee_use(&self, vpn: u64) {
        if self.memory.frames.free_pages() >= MIN_FREE {
            let _ = self.fault_in(vpn, Access::of_user(true));
        }
    }

    /// New memory that will be used soon.
    pub(crate) fn foresee_later(&self, vpn: u64) {
        self.touch(&[(vpn, true)]);
    }

    fn touch(&self, pages: &[(u64, bool)]) {
        for &(vpn, write) in pages {
            if self.memory.frames.free_pages() < MIN_FREE {
                return;
            }
            {
                let g = self.inner.lock();
                let mapped = g.host.get(vpn).is_some_and(|h| !write || h.2.contains(Prot::WRITE));
                if mapped || !g.at_hand(vpn) {
                    continue;
                }
            }
            // Whatever is wrong with the page will be said when it is touched.
            let _ = self.fault_in(vpn, Access { later: true, ..Access::of_user(write) });
        }
    }
}
