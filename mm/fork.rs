//! The life of address spaces: fork, exec's clean slate, the end.
//!
//! Fork copies the VMAs and the *pointers* to the page table's leaves. From then on no page of them
//! is exclusive, so the software page table lets nobody write (page_table.rs). What remains are the
//! parent's host mappings, through which guest code could still write pages that the child reads.
//! They are write-protected not by fork but by the parent's next `before_user`, and only if the child
//! (or a child of the child) still holds the fork's [`Token`]: a child that has called exec or has
//! exited by then costs the parent nothing.
//!
//! The other way round it needs no work at all: when the last sharer is gone, pages are exclusive
//! again, and a write fault re-enables a whole run of them (fault.rs).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arch::Prot;
use base::{Errno, PAGE_SHIFT, Result, UserAddr, err};

use crate::hot::Foresight;
use crate::page_table::Garbage;
use crate::space::{AddressSpace, Inner, TOP_PAGE};
use crate::vma::{Vma, VmaFlags};

/// Held by a child as long as it may share pages with the parent that made it. The parent holds it
/// weakly, and lets go when its host mappings are protected.
#[derive(Debug)]
pub(crate) struct Token;

impl AddressSpace {
    /// A copy of this address space that shares all pages until somebody writes.
    ///
    /// # Errors
    /// ENOMEM if that much may not be promised; ENOMEM or EAGAIN if the host has no process to give.
    pub fn fork(&self) -> Result<Arc<AddressSpace>> {
        let child = AddressSpace::empty(&self.memory, self.memory.machine().new_space()?);
        let _mmap = self.mmap.lock();
        let token = Arc::new(Token);
        let mut wiped = Garbage::default();
        {
            // The child's lock first: the reverse map finds it as soon as a VMA is attached, and
            // must wait until its page table is there. Nobody else locks two spaces.
            let mut c = child.inner.lock();
            let mut p = self.inner.lock_nested();
            // Each by itself, as Linux does: mode 0 looks at the size of one request.
            let mut charged = 0;
            for v in p.vmas.iter().filter(|v| inherited(v) && accounted(v)) {
                if let Err(e) = self.memory.charge(v.pages()) {
                    self.memory.uncharge(charged);
                    return Err(e);
                }
                charged += v.pages();
            }
            c.pt = p.pt.fork();
            for v in p.vmas.iter() {
                if !inherited(v) || v.flags.contains(VmaFlags::WIPEONFORK) {
                    c.pt.clear_range(v.start, v.end, &mut wiped);
                }
                if inherited(v) {
                    let mapping = v.mapping.as_ref().map(|m| m.for_space(child.id, &child.me));
                    // mlock(2): locks are not inherited.
                    let flags = v.flags - VmaFlags::LOCKED;
                    c.vmas.insert(Vma { mapping, flags, ..clone_plain(v) });
                }
            }
            c.limits = p.limits;
            c.layout = p.layout.clone();
            c.mmap_base = p.mmap_base;
            c.randomize = p.randomize;
            c.patches.clone_from(&p.patches);
            c.unpatched = p.unpatched;
            child.patches.store(!c.patches.is_empty(), Ordering::Release);
            c.peak_pages = p.vmas.pages();
            // Tokens that their makers have let go of are of no use any more.
            c.held = p.held.iter().filter(|t| Arc::weak_count(t) > 0).cloned().collect();
            c.held.push(token.clone());
            p.shares.retain(|t| t.strong_count() > 0);
            p.shares.push(Arc::downgrade(&token));
            p.cache.clear();
            c.foresight = p.foresight.for_child();
            if self.memory.smp() {
                p.protect_shared(self);
            } else {
                self.work.store(1, Ordering::Relaxed);
            }
        }
        drop(wiped);
        if self.memory.smp() && self.space.flush().is_err_and(|e| e == Errno::ESRCH) {
            return err(Errno::EAGAIN);
        }
        Ok(child)
    }

    #[cold]
    pub(crate) fn before_user_slow(&self) -> Result<()> {
        if self.memory.pressure.load(Ordering::Relaxed) != 0 {
            self.memory.relieve();
        }
        if self.work.swap(0, Ordering::Relaxed) == 0 {
            return Ok(());
        }
        let (garbage, queued) = {
            let mut g = self.inner.lock();
            if g.shares.iter().any(|t| t.strong_count() > 0) {
                g.protect_shared(self);
            }
            g.shares.clear();
            (std::mem::take(&mut g.garbage), std::mem::take(&mut g.queued))
        };
        if queued || !garbage.is_empty() {
            match self.space.flush() {
                Err(e) if e == Errno::ESRCH => return Err(e),
                _ => {}
            }
        }
        Ok(())
    }

    /// Takes all mappings away with one operation, for exec.
    pub fn clear(&self) {
        self.empty_out(true);
        self.choose_base();
    }

    /// Gives everything back. Not `alive`: nobody runs here any more, and the host's mappings need not
    /// be flushed before their frames are freed: the backend drops them before it uses the stub again.
    fn empty_out(&self, alive: bool) {
        let _mmap = self.mmap.lock();
        let mut garbage = Garbage::default();
        let (vmas, held, layout, old, patches);
        {
            let mut g = self.inner.lock();
            vmas = g.vmas.remove(0, TOP_PAGE);
            g.pt.clear_range(0, TOP_PAGE, &mut garbage);
            g.host.sync(&*self.space);
            let mapped = alive && g.host.unmap_all(&*self.space) | g.queued;
            g.queued = false;
            g.cache.clear();
            g.shares.clear();
            held = std::mem::take(&mut g.held);
            layout = std::mem::take(&mut g.layout);
            patches = std::mem::take(&mut g.patches);
            g.unpatched = false;
            self.patches.store(false, Ordering::Release);
            old = std::mem::take(&mut g.garbage);
            self.memory.locked.fetch_sub(g.locked, Ordering::Relaxed);
            g.locked = 0;
            g.lock_future = false;
            g.foresight = Foresight::default();
            drop(g);
            if mapped {
                let _ = self.space.flush();
            }
        }
        self.memory.uncharge(vmas.iter().filter(|v| accounted(v)).map(Vma::pages).sum());
        drop((garbage, old));
        drop(held); // after the leaves: only now the parent's pages are its own again
        drop((vmas, layout, patches));
    }
}

impl Drop for AddressSpace {
    fn drop(&mut self) {
        self.empty_out(false);
    }
}

impl Inner {
    /// Takes the right to write away from the host's mappings of private memory.
    pub(crate) fn protect_shared(&mut self, space: &AddressSpace) {
        self.host.sync(&*space.space);
        let shared: Vec<(u64, u64)> = self
            .vmas
            .iter()
            .filter(|v| v.shared() && v.prot.contains(Prot::WRITE))
            .map(|v| (v.start, v.end))
            .collect();
        let mut at = 0;
        for (lo, hi) in shared.into_iter().chain([(TOP_PAGE, TOP_PAGE)]) {
            self.host.protect(&*space.space, at, lo, |p| p - Prot::WRITE);
            at = hi;
        }
    }
}

fn inherited(v: &Vma) -> bool {
    !v.flags.contains(VmaFlags::DONTFORK)
}

pub(crate) fn accounted(v: &Vma) -> bool {
    v.flags.contains(VmaFlags::ACCOUNT)
}

/// A copy of everything but the object.
fn clone_plain(v: &Vma) -> Vma {
    Vma { mapping: None, ..*v }
}

/// First address of a page.
pub(crate) fn addr(vpn: u64) -> UserAddr {
    UserAddr(vpn << PAGE_SHIFT)
}
