//! Stacks that grow by being touched.
//!
//! Linux looks at no stack pointer: a page below a MAP_GROWSDOWN mapping belongs to it if the limit
//! allows it and the guard gap to what is below remains.

use std::sync::atomic::Ordering;

use base::PAGE_SHIFT;

use crate::space::{AddressSpace, Inner};
use crate::vma::{GUARD, VmaFlags};

impl Inner {
    /// Grows the stack above `vpn` down to it, if there is one and it may. `man 2 mmap`,
    /// MAP_GROWSDOWN.
    pub(crate) fn grow_stack(&mut self, s: &AddressSpace, vpn: u64) -> bool {
        let Some(v) = self.vmas.above(vpn) else { return false };
        let (start, end) = (v.start, v.end);
        let limit = self.limits.stack >> PAGE_SHIFT;
        if !v.flags.contains(VmaFlags::GROWSDOWN) || end - vpn > limit {
            return false;
        }
        // The gap is for mappings that are no stacks themselves and can be touched.
        let bottom = match self.vmas.below(vpn) {
            Some(b) if b.flags.contains(VmaFlags::GROWSDOWN) || b.prot.is_empty() => b.end,
            Some(b) => b.end + GUARD,
            None => 16,
        };
        if vpn < bottom {
            return false;
        }
        // By 16 pages at a time, so that the run below is one fault.
        let new = (vpn & !15).max(bottom).max(end.saturating_sub(limit));
        let more = start - new;
        let locked = v.flags.contains(VmaFlags::LOCKED);
        let account = v.flags.contains(VmaFlags::ACCOUNT);
        if (self.vmas.pages() + more) << PAGE_SHIFT > self.limits.as_
            || (locked && (self.locked + more) << PAGE_SHIFT > self.limits.memlock)
            || (account && s.memory.charge(more).is_err())
        {
            return false;
        }
        if locked {
            self.locked += more;
            s.memory.locked.fetch_add(more, Ordering::Relaxed);
        }
        self.vmas.grow_down(start, new);
        true
    }
}
