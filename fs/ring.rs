//! A ring of bytes that grows with its content: what pipes and stream sockets are made of.
//!
//! A [`Ring`] holds no lock and nobody waits for it; its owner has both. Bytes are copied once on the
//! way in ([`Ring::push_from`]) and once on the way out ([`Ring::pop_to`]), straight from and to the
//! caller's memory. The buffer doubles as it fills, never beyond the limit that the owner names, and what all
//! rings of a kind hold together is bounded by their [`Budget`].

use std::sync::atomic::{AtomicUsize, Ordering};

use base::{PAGE_SIZE, Result, Sink, Source};

/// How much host memory the buffers of one kind may take together.
#[derive(Debug)]
pub struct Budget {
    used: AtomicUsize,
    max: usize,
}

impl Budget {
    /// At most `max` bytes.
    pub const fn new(max: usize) -> Budget {
        Budget { used: AtomicUsize::new(0), max }
    }
    /// Takes `n` bytes if they are there.
    pub fn take(&self, n: usize) -> bool {
        let fits = self.used.fetch_add(n, Ordering::Relaxed).saturating_add(n) <= self.max;
        if !fits {
            self.give(n);
        }
        fits
    }
    /// Gives `n` bytes back.
    pub fn give(&self, n: usize) {
        self.used.fetch_sub(n, Ordering::Relaxed);
    }
    /// Whether nothing is left.
    pub fn exhausted(&self) -> bool {
        self.used.load(Ordering::Relaxed) >= self.max
    }
    /// Whether more than half is in use: time not to keep what is empty.
    fn tight(&self) -> bool {
        self.used.load(Ordering::Relaxed) > self.max / 2
    }
}

/// A queue of bytes.
#[derive(Debug)]
pub struct Ring {
    buf: Vec<u8>,
    head: usize,
    len: usize,
    budget: &'static Budget,
}

impl Ring {
    /// An empty ring; it takes no memory until something is put in.
    pub const fn new(budget: &'static Budget) -> Ring {
        Ring { buf: Vec::new(), head: 0, len: 0, budget }
    }

    /// Bytes in it.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }
    /// Whether it is empty.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
    /// Whether not one more byte fits before the buffer grows.
    pub fn is_packed(&self) -> bool {
        self.len == self.buf.len()
    }

    /// Makes room for `n` more bytes as far as `limit` (bytes in the ring) and the budget allow: the
    /// buffer doubles.
    pub fn reserve(&mut self, n: usize, limit: usize) {
        let need = (self.len + n).min(limit);
        if need <= self.buf.len() {
            return;
        }
        let size = need.next_power_of_two().max(PAGE_SIZE).min(limit);
        if self.budget.take(size - self.buf.len()) {
            self.relocate(size);
        }
    }

    /// Gives memory back: the buffer shall be no larger than `size`, which the content fits in.
    pub fn shrink(&mut self, size: usize) {
        if self.buf.len() > size.max(self.len) {
            self.budget.give(self.buf.len() - size.max(self.len));
            self.relocate(size.max(self.len));
        }
    }

    fn relocate(&mut self, size: usize) {
        let mut new = vec![0; size];
        let (a, b) = self.filled();
        new[..a.len()].copy_from_slice(a);
        new[a.len()..a.len() + b.len()].copy_from_slice(b);
        self.buf = new;
        self.head = 0;
    }

    /// The content, in two parts.
    fn filled(&self) -> (&[u8], &[u8]) {
        let end = self.head + self.len;
        if end <= self.buf.len() {
            (&self.buf[self.head..end], &[])
        } else {
            (&self.buf[self.head..], &self.buf[..end - self.buf.len()])
        }
    }

    /// The first part of the content; empty only if the ring is.
    pub fn first(&self) -> &[u8] {
        self.filled().0
    }

    /// The first free part.
    fn free_part(&mut self) -> &mut [u8] {
        if self.is_packed() {
            return &mut [];
        }
        let mut start = self.head + self.len;
        if start >= self.buf.len() {
            start -= self.buf.len();
        }
        let end = if start < self.head { self.head } else { self.buf.len() };
        &mut self.buf[start..end]
    }

    /// Drops the first `n` bytes.
    pub fn consume(&mut self, n: usize) {
        self.len -= n;
        self.head += n;
        if self.head >= self.buf.len() {
            self.head -= self.buf.len();
        }
        if self.len == 0 {
            // From the start again: the memory that was used last is the one in the caches.
            self.head = 0;
            if self.buf.len() > PAGE_SIZE && self.budget.tight() {
                self.budget.give(self.buf.len());
                self.buf = Vec::new();
            }
        }
    }

    /// Appends up to `want` bytes of `source`, as many as there is room for now.
    ///
    /// # Errors
    /// What the source says, if not one byte came.
    pub fn push_from(&mut self, source: &mut dyn Source, want: usize) -> Result<usize> {
        let mut done = 0;
        while done < want {
            let part = self.free_part();
            let n = part.len().min(want - done);
            if n == 0 {
                break;
            }
            match source.read(&mut part[..n]) {
                Ok(0) => break,
                Ok(got) => {
                    self.len += got;
                    done += got;
                }
                Err(e) if done == 0 => return Err(e),
                Err(_) => break,
            }
        }
        Ok(done)
    }

    /// Takes up to `max` bytes out into `sink`.
    ///
    /// # Errors
    /// What the sink says, if it took nothing.
    pub fn pop_to(&mut self, sink: &mut dyn Sink, max: usize) -> Result<usize> {
        let mut done = 0;
        while self.len > 0 && done < max && sink.remaining() > 0 {
            let part = self.filled().0;
            match sink.write(&part[..part.len().min(max - done)]) {
                Ok(0) => break,
                Ok(n) => {
                    self.consume(n);
                    done += n;
                }
                Err(e) if done == 0 => return Err(e),
                Err(_) => break,
            }
        }
        Ok(done)
    }

    /// Copies up to `max` bytes, from the byte number `skip` on, and leaves them.
    ///
    /// # Errors
    /// As [`Ring::pop_to`].
    pub fn peek_to(&self, sink: &mut dyn Sink, skip: usize, max: usize) -> Result<usize> {
        let (a, b) = self.filled();
        let a_part = &a[skip.min(a.len())..];
        let b_part = &b[skip.saturating_sub(a.len()).min(b.len())..];
        let mut done = 0;
        for part in [a_part, b_part] {
            let n = part.len().min(max - done);
            if n == 0 {
                continue;
            }
            match sink.write(&part[..n]) {
                Ok(got) => {
                    done += got;
                    if got < n {
                        break;
                    }
                }
                Err(e) if done == 0 => return Err(e),
                Err(_) => break,
            }
        }
        Ok(done)
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        self.budget.give(self.buf.len());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use base::iobuf::{SliceSource, VecSink};
    use proptest::prelude::*;

    use super::*;

    static PLENTY: Budget = Budget::new(1 << 30);

    #[derive(Clone, Debug)]
    enum Step {
        Push(usize),
        Pop(usize),
        Peek(usize, usize),
        Shrink(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0usize..9000).prop_map(Step::Push),
            (0usize..9000).prop_map(Step::Pop),
            (0usize..9000, 0usize..9000).prop_map(|(a, b)| Step::Peek(a, b)),
            (0usize..9000).prop_map(Step::Shrink),
        ]
    }

    proptest! {
        /// A ring is a queue of bytes, whatever wraps around.
        #[test]
        fn as_a_queue(steps in prop::collection::vec(step(), 1..60)) {
            const LIMIT: usize = 20_000;
            let (mut ring, mut model) = (Ring::new(&PLENTY), VecDeque::new());
            let mut next = 0u8;
            for s in steps {
                match s {
                    Step::Push(n) => {
                        let data: Vec<u8> = (0..n).map(|_| { next = next.wrapping_add(7); next }).collect();
                        let room = LIMIT - ring.len();
                        ring.reserve(n, LIMIT);
                        let got = ring.push_from(&mut SliceSource(&data), n.min(room)).unwrap();
                        prop_assert_eq!(got, n.min(room));
                        model.extend(&data[..got]);
                    }
                    Step::Pop(n) => {
                        let mut sink = VecSink::new(n);
                        ring.pop_to(&mut sink, 8000).unwrap();
                        let want: Vec<u8> = (0..n.min(8000).min(model.len())).filter_map(|_| model.pop_front()).collect();
                        prop_assert_eq!(sink.data, want);
                    }
                    Step::Peek(skip, n) => {
                        let mut sink = VecSink::new(n);
                        ring.peek_to(&mut sink, skip, n).unwrap();
                        let want: Vec<u8> = model.iter().copied().skip(skip).take(n).collect();
                        prop_assert_eq!(sink.data, want);
                    }
                    Step::Shrink(n) => ring.shrink(n),
                }
                prop_assert_eq!(ring.len(), model.len());
            }
        }
    }

    #[test]
    fn the_budget_bounds_all_rings_and_gets_everything_back() {
        static SMALL: Budget = Budget::new(3 * PAGE_SIZE);
        let data = [1; 4 * PAGE_SIZE];
        let (mut a, mut b) = (Ring::new(&SMALL), Ring::new(&SMALL));
        a.reserve(2 * PAGE_SIZE, usize::MAX);
        assert_eq!(a.push_from(&mut SliceSource(&data), data.len()).unwrap(), 2 * PAGE_SIZE);
        b.reserve(2 * PAGE_SIZE, usize::MAX);
        assert!(b.is_packed(), "two more pages are not there");
        b.reserve(1, usize::MAX);
        assert!(!b.is_packed());
        assert!(SMALL.exhausted());
        a.consume(2 * PAGE_SIZE); // empty, and memory is short: it is given back
        assert!(!SMALL.exhausted() && a.is_packed());
        drop((a, b));
        assert!(SMALL.take(3 * PAGE_SIZE) && !SMALL.take(1));
    }
}
