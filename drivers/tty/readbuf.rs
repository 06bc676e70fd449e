//! The input buffer of the line discipline: a ring of bytes with a mark on those that end a line.
//!
//! Three positions count up for ever: `tail <= canon <= head`. What lies before `canon` is
//! complete (lines, in canonical mode); what lies after it can still be edited.

/// Bytes in the ring: `N_TTY_BUF_SIZE`.
pub(crate) const SIZE: usize = 4096;

#[derive(Clone)]
pub(crate) struct ReadBuf {
    data: Box<[u8; SIZE]>,
    marks: Box<[u64; SIZE / 64]>,
    head: usize,
    tail: usize,
    canon: usize,
}

impl std::fmt::Debug for ReadBuf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ReadBuf({} bytes, {} complete)", self.len(), self.complete())
    }
}

impl ReadBuf {
    pub(crate) fn new() -> ReadBuf {
        ReadBuf {
            data: Box::new([0; SIZE]),
            marks: Box::new([0; SIZE / 64]),
            head: 0,
            tail: 0,
            canon: 0,
        }
    }
    pub(crate) fn len(&self) -> usize {
        self.head - self.tail
    }
    pub(crate) fn is_empty(&self) -> bool {
        self.head == self.tail
    }
    /// Bytes before `canon`.
    pub(crate) fn complete(&self) -> usize {
        self.canon - self.tail
    }
    /// Position of the first byte that can be edited.
    pub(crate) fn canon(&self) -> usize {
        self.canon
    }
    pub(crate) fn head(&self) -> usize {
        self.head
    }
    /// The byte at a position between `tail` and `head`.
    pub(crate) fn at(&self, position: usize) -> u8 {
        self.data[position % SIZE]
    }
    fn mark(&mut self, position: usize, on: bool) {
        let p = position % SIZE;
        if on {
            self.marks[p / 64] |= 1 << (p % 64);
        } else {
            self.marks[p / 64] &= !(1 << (p % 64));
        }
    }
    fn marked(&self, position: usize) -> bool {
        let p = position % SIZE;
        self.marks[p / 64] & (1 << (p % 64)) != 0
    }
    /// Appends a byte; one that does not fit is lost.
    pub(crate) fn push(&mut self, c: u8) {
        if self.len() < SIZE {
            self.data[self.head % SIZE] = c;
            self.mark(self.head, false);
            self.head += 1;
        }
    }
    /// Appends the byte that ends a line. A full buffer gives its last byte for it.
    pub(crate) fn push_end(&mut self, c: u8) {
        if self.len() == SIZE {
            self.head -= 1;
        }
        self.push(c);
        self.mark(self.head - 1, true);
        self.canon = self.head;
    }
    /// Appends what fits; returns how many bytes that were.
    pub(crate) fn extend(&mut self, bytes: &[u8]) -> usize {
        let n = bytes.len().min(SIZE - self.len());
        for &c in &bytes[..n] {
            self.push(c);
        }
        n
    }
    /// Takes back what was typed up to position `to`, not before `canon`.
    pub(crate) fn truncate(&mut self, to: usize) {
        self.head = self.head.min(to.max(self.canon));
    }
    pub(crate) fn clear(&mut self) {
        self.tail = self.head;
        self.canon = self.head;
        self.marks.fill(0);
    }
    /// The mode changes between lines and bytes: whatever is there counts as complete.
    pub(crate) fn switch_mode(&mut self, to_lines: bool) {
        self.marks.fill(0);
        if to_lines && !self.is_empty() {
            self.mark(self.head - 1, true);
        }
        self.canon = if to_lines { self.head } else { self.tail };
    }

    /// Takes one line, or what fits of it. The second value: the line's end was reached.
    pub(crate) fn take_line(&mut self, out: &mut Vec<u8>, max: usize) -> bool {
        let mut left = max;
        while left > 0 && self.tail < self.canon {
            let (c, end) = (self.at(self.tail), self.marked(self.tail));
            self.tail += 1;
            if end {
                self.mark(self.tail - 1, false);
                if c != super::termios::DISABLED {
                    out.push(c);
                }
                return true;
            }
            out.push(c);
            left -= 1;
        }
        // The caller's buffer is full: an end of file right behind belongs to this read, or the
        // next one would give 0 in the middle of a stream.
        if self.tail < self.canon && self.marked(self.tail) && self.at(self.tail) == 0 && max > 0 {
            self.mark(self.tail, false);
            self.tail += 1;
            return true;
        }
        false
    }

    /// Takes up to `max` bytes.
    pub(crate) fn take_raw(&mut self, out: &mut Vec<u8>, max: usize) {
        let n = max.min(self.len());
        let start = self.tail % SIZE;
        let first = n.min(SIZE - start);
        out.extend_from_slice(&self.data[start..start + first]);
        out.extend_from_slice(&self.data[..n - first]);
        self.tail += n;
        self.canon = self.canon.max(self.tail);
    }

    /// What FIONREAD says in canonical mode: complete bytes without the end-of-file marks.
    pub(crate) fn complete_without_eof(&self) -> usize {
        (self.tail..self.canon).filter(|&p| !(self.marked(p) && self.at(p) == 0)).count()
    }
}
