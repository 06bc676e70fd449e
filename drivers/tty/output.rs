//! Output processing: from what programs write to what the device gets (OPOST), with the column
//! that tabs and erasing need, and the bounded queue in front of the device.

use std::collections::VecDeque;

use base::uapi::general as u;

use super::termios::Termios;

/// Bytes that programs may have waiting for the device.
pub(crate) const CAPACITY: usize = 16384;
/// Further bytes that echo may add; beyond that echo is lost.
const ECHO_RESERVE: usize = 4096;
/// Most bytes that one character becomes (a tab).
const MAX_EXPANSION: usize = 8;

/// The column of the cursor and the queue to the device.
#[derive(Debug, Default)]
pub(crate) struct Output {
    queue: VecDeque<u8>,
    pub(crate) column: usize,
    /// Column where the line being typed began.
    pub(crate) canon_column: usize,
    /// Some while output is stopped: how many of the queue's bytes were released before.
    released: Option<usize>,
}

/// Whether `c` continues a UTF-8 character.
pub(crate) fn is_continuation(c: u8, t: &Termios) -> bool {
    t.i(u::IUTF8) && c & 0xc0 == 0x80
}

/// C's iscntrl, as Linux's ctype table has it: bytes above 0x7f are none.
pub(crate) fn is_control(c: u8) -> bool {
    c < 32 || c == 127
}

impl Output {
    /// Bytes in the queue.
    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }
    /// How many more bytes programs may add.
    pub(crate) fn room(&self) -> usize {
        if self.released.is_some() { 0 } else { CAPACITY.saturating_sub(self.queue.len()) }
    }
    fn echo_room(&self) -> usize {
        (CAPACITY + ECHO_RESERVE).saturating_sub(self.queue.len())
    }
    /// Bytes that the device may take now.
    pub(crate) fn deliverable(&self) -> usize {
        self.released.unwrap_or(self.queue.len())
    }
    /// Moves up to `max` bytes to the device.
    pub(crate) fn take(&mut self, out: &mut Vec<u8>, max: usize) {
        let n = max.min(self.deliverable());
        out.extend(self.queue.drain(..n));
        if let Some(r) = &mut self.released {
            *r -= n;
        }
    }
    pub(crate) fn clear(&mut self) {
        self.queue.clear();
        if let Some(r) = &mut self.released {
            *r = 0;
        }
    }
    pub(crate) fn stop(&mut self) {
        let len = self.queue.len();
        self.released.get_or_insert(len);
    }
    pub(crate) fn start(&mut self) {
        self.released = None;
    }
    pub(crate) fn stopped(&self) -> bool {
        self.released.is_some()
    }

    /// Takes what programs write; returns how many bytes found room.
    pub(crate) fn write(&mut self, data: &[u8], t: &Termios) -> usize {
        if !t.o(u::OPOST) {
            let n = data.len().min(self.room());
            self.queue.extend(&data[..n]);
            return n;
        }
        for (i, &c) in data.iter().enumerate() {
            if self.room() < MAX_EXPANSION {
                return i;
            }
            self.process(c, t);
        }
        data.len()
    }

    /// Queues a character of an echo, processed as output is; lost if there is no room.
    pub(crate) fn echo(&mut self, c: u8, t: &Termios) {
        if self.echo_room() < MAX_EXPANSION {
        } else if t.o(u::OPOST) {
            self.process(c, t);
        } else {
            self.queue.push_back(c);
        }
    }

    /// Queues a byte as it is; the caller keeps the column.
    pub(crate) fn raw(&mut self, c: u8) {
        if self.echo_room() > 0 {
            self.queue.push_back(c);
        }
    }

    /// One character through OPOST (`do_output_char` of Linux).
    fn process(&mut self, c: u8, t: &Termios) {
        let mut c = c;
        match c {
            b'\n' => {
                if t.o(u::ONLRET) {
                    self.column = 0;
                }
                if t.o(u::ONLCR) {
                    self.column = 0;
                    self.queue.push_back(b'\r');
                }
                self.canon_column = self.column;
            }
            b'\r' => {
                if t.o(u::ONOCR) && self.column == 0 {
                    return;
                }
                if t.o(u::OCRNL) {
                    c = b'\n';
                }
                if !t.o(u::OCRNL) || t.o(u::ONLRET) {
                    self.column = 0;
                    self.canon_column = 0;
                }
            }
            b'\t' => {
                let spaces = 8 - (self.column & 7);
                self.column += spaces;
                if t.oflag & u::TABDLY == u::XTABS {
                    self.queue.extend(std::iter::repeat_n(b' ', spaces));
                    return;
                }
            }
            8 => self.column = self.column.saturating_sub(1),
            _ if !is_control(c) => {
                if t.o(u::OLCUC) {
                    c.make_ascii_uppercase();
                }
                if !is_continuation(c, t) {
                    self.column += 1;
                }
            }
            _ => {}
        }
        self.queue.push_back(c);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(oflag: u32, input: &[u8]) -> Vec<u8> {
        let t = Termios { oflag, ..Termios::default() };
        let mut o = Output::default();
        assert_eq!(o.write(input, &t), input.len());
        let mut out = Vec::new();
        o.take(&mut out, usize::MAX);
        out
    }

    #[test]
    fn the_output_modes() {
        let cases: &[(u32, &[u8], &[u8])] = &[
            (0, b"a\nb\r\t", b"a\nb\r\t"),
            (u::OPOST, b"a\nb", b"a\nb"),
            (u::OPOST | u::ONLCR, b"a\nb", b"a\r\nb"),
            (u::OPOST | u::OCRNL, b"a\rb", b"a\nb"),
            (u::OPOST | u::ONOCR, b"\ra\r", b"a\r"),
            (u::OPOST | u::ONLRET | u::ONOCR, b"a\n\rb", b"a\nb"),
            (u::OPOST | u::OLCUC, b"aB1", b"AB1"),
            (u::OPOST | u::XTABS, b"ab\tc", b"ab      c"),
            (u::OPOST | u::XTABS, b"\r\t|", b"\r        |"),
            (u::OPOST | u::XTABS, b"abc\x08\x08\x08\t|", b"abc\x08\x08\x08        |"),
        ];
        for (flags, input, want) in cases {
            assert_eq!(run(*flags, input), *want, "{flags:o} {input:?}");
        }
    }

    #[test]
    fn bounded_and_stoppable() {
        let t = Termios::default();
        let mut o = Output::default();
        assert!(o.write(&[b'x'; 2 * CAPACITY], &t) <= CAPACITY);
        for _ in 0..100_000 {
            o.echo(b'e', &t);
            o.raw(b'r');
        }
        assert!(o.len() <= CAPACITY + ECHO_RESERVE);
        let before = o.len();
        o.stop();
        o.stop();
        assert_eq!((o.room(), o.deliverable()), (0, before));
        let mut v = Vec::new();
        o.take(&mut v, 100);
        assert_eq!(o.deliverable(), before - 100);
        o.clear();
        o.echo(b'z', &t);
        assert_eq!(o.deliverable(), 0);
        o.start();
        assert_eq!(o.deliverable(), 1);
    }
}
