//! The buddy allocator: which frames are free, as aligned blocks of 2^order frames.
//!
//! Free blocks of each order are bits of a two-level bitmap, so that the lowest free block is found
//! with a few word scans and merging with the buddy is one bit test. Taking the lowest address first
//! keeps memory compact at the bottom: the runs at the top stay long, and frames above the
//! *watermark* have never been handed out, so that the memfd still reads as zeros there and nobody
//! has to zero them.

/// Largest block: 2^10 frames, 4 MiB.
pub(crate) const MAX_ORDER: usize = 10;

/// The free blocks of one order.
#[derive(Debug)]
struct OrderMap {
    bits: Vec<u64>,
    summary: Vec<u64>,
    count: u32,
}

impl OrderMap {
    fn new(blocks: usize) -> OrderMap {
        let words = blocks.div_ceil(64).max(1);
        OrderMap { bits: vec![0; words], summary: vec![0; words.div_ceil(64)], count: 0 }
    }
    fn set(&mut self, i: usize) {
        debug_assert!(!self.get(i), "block freed twice");
        self.bits[i / 64] |= 1 << (i % 64);
        self.summary[i / 4096] |= 1 << (i / 64 % 64);
        self.count += 1;
    }
    fn clear(&mut self, i: usize) {
        let w = i / 64;
        self.bits[w] &= !(1 << (i % 64));
        if self.bits[w] == 0 {
            self.summary[w / 64] &= !(1 << (w % 64));
        }
        self.count -= 1;
    }
    fn get(&self, i: usize) -> bool {
        self.bits.get(i / 64).is_some_and(|w| w & (1 << (i % 64)) != 0)
    }
    fn first(&self) -> Option<usize> {
        if self.count == 0 {
            return None;
        }
        let (s, word) = self.summary.iter().enumerate().find(|(_, w)| **w != 0)?;
        let w = s * 64 + word.trailing_zeros() as usize;
        Some(w * 64 + self.bits[w].trailing_zeros() as usize)
    }
}

/// All free frames of a memory of `pages` frames.
#[derive(Debug)]
pub(crate) struct Buddy {
    orders: Vec<OrderMap>,
    pages: u32,
    free: u32,
    watermark: u32,
}

impl Buddy {
    /// Everything is free and has never been used.
    pub(crate) fn new(pages: u32) -> Buddy {
        let orders = (0..=MAX_ORDER).map(|o| OrderMap::new((pages as usize >> o) + 1)).collect();
        let mut b = Buddy { orders, pages, free: 0, watermark: 0 };
        b.free(0, pages);
        b
    }

    /// How many frames are free.
    #[cfg(test)]
    pub(crate) fn free_pages(&self) -> u32 {
        self.free
    }

    /// Takes a block of 2^order frames, from the smallest block that is large enough.
    fn take(&mut self, order: usize) -> Option<u32> {
        let from = (order..=MAX_ORDER).find(|&o| self.orders[o].count > 0)?;
        let i = self.orders[from].first()?;
        self.orders[from].clear(i);
        let start = (i << from) as u32;
        // Give the upper halves back until the block has the size that was asked for.
        for o in (order..from).rev() {
            self.orders[o].set((start as usize >> o) + 1);
        }
        self.free -= 1 << order;
        Some(start)
    }

    /// Takes up to `want` contiguous frames, as many as there are in one block.
    /// Returns the first, how many, and whether they were never used (and hence are zero).
    pub(crate) fn alloc(&mut self, want: u32) -> Option<(u32, u32, bool)> {
        let want = want.clamp(1, 1 << MAX_ORDER);
        let mut order = want.next_power_of_two().trailing_zeros() as usize;
        loop {
            if let Some(start) = self.take(order) {
                let len = want.min(1 << order);
                if len < 1 << order {
                    self.free(start + len, (1 << order) - len);
                }
                let pristine = start >= self.watermark;
                self.watermark = self.watermark.max(start + len);
                return Some((start, len, pristine));
            }
            order = order.checked_sub(1)?;
        }
    }

    /// Takes up to `want` frames from `start` on, as far as they are free. Returns how many, and
    /// whether they were never used; None: `start` itself is not free.
    pub(crate) fn alloc_at(&mut self, start: u32, want: u32) -> Option<(u32, bool)> {
        let last = start.saturating_add(want.max(1)).min(self.pages);
        let mut at = start;
        while at < last {
            let free = |o: &usize| self.orders[*o].get(at as usize >> o);
            let Some(order) = (0..=MAX_ORDER).find(free) else { break };
            self.orders[order].clear(at as usize >> order);
            let block = at >> order << order;
            let end = block + (1 << order);
            self.free -= end - block;
            let next = last.min(end);
            self.free(block, at - block);
            self.free(next, end - next);
            at = next;
        }
        let pristine = start >= self.watermark;
        self.watermark = self.watermark.max(at);
        (at > start).then_some((at - start, pristine))
    }

    /// Gives frames back.
    pub(crate) fn free(&mut self, mut start: u32, mut len: u32) {
        debug_assert!(start + len <= self.pages, "freed frames that do not exist");
        self.free += len;
        while len > 0 {
            let align = if start == 0 { MAX_ORDER as u32 } else { start.trailing_zeros() };
            let order = align.min(len.ilog2()).min(MAX_ORDER as u32) as usize;
            self.free_block(start as usize, order);
            start += 1 << order;
            len -= 1 << order;
        }
    }

    fn free_block(&mut self, mut start: usize, mut order: usize) {
        while order < MAX_ORDER {
            let buddy = (start >> order) ^ 1;
            if !self.orders[order].get(buddy) {
                break;
            }
            self.orders[order].clear(buddy);
            start &= !(1 << order);
            order += 1;
        }
        self.orders[order].set(start >> order);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn merges_back_to_one_run() {
        let mut b = Buddy::new(1024);
        let all: Vec<u32> = (0..1024).map(|_| b.alloc(1).unwrap().0).collect();
        assert!(b.alloc(1).is_none());
        for f in all.iter().rev() {
            b.free(*f, 1);
        }
        assert_eq!(b.alloc(1024), Some((0, 1024, false)));
    }

    #[test]
    fn the_untouched_is_known_to_be_zero() {
        let mut b = Buddy::new(64);
        assert_eq!(b.alloc(3), Some((0, 3, true)));
        b.free(0, 3);
        assert_eq!(b.alloc(1), Some((0, 1, false)));
    }

    proptest! {
        #[test]
        fn behaves_like_a_set(pages in 1u32..3000, ops in prop::collection::vec((1u32..600, any::<u16>()), 1..200)) {
            let mut b = Buddy::new(pages);
            let mut used = vec![false; pages as usize];
            let mut held: Vec<(u32, u32)> = Vec::new();
            let mut high = 0;
            for (n, pick) in ops {
                if pick % 3 != 0 || held.is_empty() {
                    let at = u32::from(pick) % pages;
                    let got = match pick % 2 {
                        0 => b.alloc(n),
                        _ => b.alloc_at(at, n).map(|(l, pristine)| (at, l, pristine)),
                    };
                    match got {
                        Some((s, l, pristine)) => {
                            prop_assert!(l >= 1 && l <= n);
                            for p in s..s + l {
                                prop_assert!(!used[p as usize]);
                                used[p as usize] = true;
                            }
                            prop_assert!(!pristine || s >= high);
                            high = high.max(s + l);
                            held.push((s, l));
                        }
                        None if pick % 2 == 1 => prop_assert!(used[at as usize]),
                        None => prop_assert!(used.iter().all(|u| *u)),
                    }
                } else {
                    let i = pick as usize % held.len();
                    let (s, l) = held.swap_remove(i);
                    let cut = n % (l + 1);
                    b.free(s, cut);
                    b.free(s + cut, l - cut);
                    for p in s..s + l {
                        used[p as usize] = false;
                    }
                }
                prop_assert_eq!(b.free_pages() as usize, used.iter().filter(|u| !**u).count());
            }
        }
    }
}
