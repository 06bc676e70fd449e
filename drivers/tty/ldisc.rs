//! The line discipline N_TTY: what stands between a device that delivers and takes bytes and
//! programs that read lines. `man 3 termios` describes it from the outside; the behaviour in
//! detail, down to what is echoed, is that of Linux's drivers/tty/n_tty.c.
//!
//! This is a plain state machine without locks, sleeping or I/O: bytes in, bytes out, and
//! [`Events`] that say whom to wake and which signals to send. The terminal (`core.rs`) owns it
//! under its lock and acts on the events after it has let the lock go.

use base::uapi::general as u;

use super::output::{Output, is_continuation, is_control};
use super::readbuf::{ReadBuf, SIZE};
use super::termios::{
    DISABLED, Termios, VEOF, VEOL, VEOL2, VERASE, VINTR, VKILL, VLNEXT, VMIN, VQUIT, VREPRINT,
    VSTART, VSTOP, VSUSP, VTIME, VWERASE,
};

/// What became of a step: to be acted upon when the lock is gone.
#[derive(Debug, Default)]
pub(crate) struct Events {
    /// There is something to read.
    pub(crate) readable: bool,
    /// There may be room to write.
    pub(crate) writable: bool,
    /// Signals to the foreground group, in order.
    pub(crate) signals: Vec<u32>,
    /// TIOCPKT_* bits for a packet-mode master.
    pub(crate) packet: u8,
}

/// How a read waits in the mode that is set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ReadTerms {
    /// Bytes that end the wait (1 in canonical mode).
    pub(crate) min: usize,
    /// Deciseconds: of the whole wait if `min` is 0 in VMIN, else between bytes. 0: no limit,
    /// or with `poll` no wait at all.
    pub(crate) time: u8,
    /// VMIN is 0: give what is there, wait at most `time` for the first byte.
    pub(crate) poll: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kill {
    Char,
    Word,
    Line,
}

/// The state of N_TTY for one terminal.
#[derive(Debug)]
pub(crate) struct Ldisc {
    termios: Termios,
    buf: ReadBuf,
    pub(crate) out: Output,
    /// The next character is taken literally (VLNEXT).
    lnext: bool,
    /// In the middle of an ECHOPRT erasure (`\xyz/`).
    erasing: bool,
    /// Stopped by TCXONC, which only TCXONC undoes.
    tco_stopped: bool,
    pub(crate) events: Events,
}

impl Ldisc {
    pub(crate) fn new(termios: Termios) -> Ldisc {
        Ldisc {
            termios,
            buf: ReadBuf::new(),
            out: Output::default(),
            lnext: false,
            erasing: false,
            tco_stopped: false,
            events: Events::default(),
        }
    }

    pub(crate) fn termios(&self) -> &Termios {
        &self.termios
    }

    /// Whether reads give lines. With EXTPROC the other end of the connection makes the lines.
    fn icanon(&self) -> bool {
        self.termios.l(u::ICANON) && !self.termios.l(u::EXTPROC)
    }

    /// New settings; what was typed stays, and is complete if canonical mode goes on or off.
    pub(crate) fn set_termios(&mut self, new: Termios) {
        let lines = self.icanon();
        let old = std::mem::replace(&mut self.termios, new);
        self.termios.line = 0;
        if lines != self.icanon() {
            self.buf.switch_mode(!lines);
            self.lnext = false;
            self.erasing = false;
            self.events.readable = true;
        }
        if !new.i(u::IXON) && old.i(u::IXON) && self.out.stopped() && !self.tco_stopped {
            self.start();
        }
        if old.standard_flow() != new.standard_flow() {
            self.events.packet &= !((u::TIOCPKT_DOSTOP | u::TIOCPKT_NOSTOP) as u8);
            self.events.packet |=
                if new.standard_flow() { u::TIOCPKT_DOSTOP } else { u::TIOCPKT_NOSTOP } as u8;
        }
        if (old.lflag | new.lflag) & u::EXTPROC != 0 {
            self.events.packet |= u::TIOCPKT_IOCTL as u8;
        }
    }

    // ---- flow of output -------------------------------------------------------------------

    fn stop(&mut self) {
        if !self.out.stopped() {
            self.out.stop();
            self.events.packet &= !(u::TIOCPKT_START as u8);
            self.events.packet |= u::TIOCPKT_STOP as u8;
        }
    }

    fn start(&mut self) {
        if self.out.stopped() && !self.tco_stopped {
            self.out.start();
            self.events.packet &= !(u::TIOCPKT_STOP as u8);
            self.events.packet |= u::TIOCPKT_START as u8;
            self.events.writable = true;
        }
    }

    /// TCXONC with TCOOFF and TCOON.
    pub(crate) fn set_output_stopped(&mut self, stopped: bool) {
        if stopped {
            self.stop();
            self.tco_stopped = true;
        } else if self.tco_stopped {
            self.tco_stopped = false;
            self.start();
        }
    }

    /// What programs write, through output processing; returns how many bytes found room.
    pub(crate) fn write(&mut self, data: &[u8]) -> usize {
        self.out.write(data, &self.termios)
    }

    /// TCFLSH of output.
    pub(crate) fn flush_output(&mut self) {
        self.out.clear();
        self.events.packet |= u::TIOCPKT_FLUSHWRITE as u8;
        self.events.writable = true;
    }

    /// TCFLSH of input.
    pub(crate) fn flush_input(&mut self) {
        self.buf.clear();
        self.lnext = false;
        self.erasing = false;
        self.events.packet |= u::TIOCPKT_FLUSHREAD as u8;
    }

    // ---- reading --------------------------------------------------------------------------

    /// Whether a read has something to take. `poll`: as poll(2) asks, where VMIN counts.
    pub(crate) fn readable(&self, poll: bool) -> bool {
        if self.icanon() {
            return self.buf.complete() > 0;
        }
        let cc = &self.termios.cc;
        let enough = if poll && cc[VTIME] == 0 && cc[VMIN] > 0 { cc[VMIN].into() } else { 1 };
        self.buf.len() >= enough
    }

    /// Takes up to `max` bytes. Some(n) with n = 0 is an end of file; None: nothing there.
    pub(crate) fn take(&mut self, out: &mut Vec<u8>, max: usize) -> Option<usize> {
        if !self.readable(false) {
            return None;
        }
        let before = out.len();
        if self.icanon() {
            self.buf.take_line(out, max);
        } else {
            self.buf.take_raw(out, max);
        }
        Some(out.len() - before)
    }

    pub(crate) fn read_terms(&self) -> ReadTerms {
        let cc = &self.termios.cc;
        if self.icanon() {
            ReadTerms { min: 1, time: 0, poll: false }
        } else {
            ReadTerms { min: usize::from(cc[VMIN].max(1)), time: cc[VTIME], poll: cc[VMIN] == 0 }
        }
    }

    /// FIONREAD.
    pub(crate) fn input_len(&self) -> usize {
        if self.icanon() { self.buf.complete_without_eof() } else { self.buf.len() }
    }

    // ---- input from the device ------------------------------------------------------------

    /// Takes bytes from the device; returns how many. It takes fewer only when complete input
    /// fills the buffer; an unfinished line never blocks, its excess is dropped, so that erasing,
    /// signals and the end of the line get through.
    pub(crate) fn receive(&mut self, data: &[u8]) -> usize {
        let mut done = 0;
        while done < data.len() {
            let len = self.buf.len();
            if len < SIZE - 1 {
                done += self.receive_some(&data[done..], SIZE - 1 - len);
                continue;
            }
            if !self.icanon() || self.buf.complete() > 0 {
                break;
            }
            if len == SIZE {
                self.buf.truncate(self.buf.head() - 1);
            }
            self.character(data[done]);
            done += 1;
        }
        self.events.readable |= done > 0 && self.readable(false);
        done
    }

    /// At most `room` bytes of `data` (each adds at most one to the buffer without PARMRK).
    fn receive_some(&mut self, data: &[u8], room: usize) -> usize {
        let t = &self.termios;
        let plain =
            !t.i(u::ISTRIP | u::IUCLC | u::IGNCR | u::ICRNL | u::INLCR | u::IXON | u::PARMRK)
                && !t.l(u::ICANON | u::ISIG | u::ECHO);
        let n = data.len().min(if t.i(u::PARMRK) { room.div_ceil(2) } else { room });
        if plain {
            return self.buf.extend(&data[..n]);
        }
        for (i, &c) in data[..n].iter().enumerate() {
            // A line may have become complete, or the mode's limits reached, in between.
            if i > 0 && self.buf.len() >= SIZE - 1 {
                return i;
            }
            self.character(c);
        }
        n
    }

    /// One character from the device (`n_tty_receive_char_special` and its friends).
    fn character(&mut self, c: u8) {
        let mut c = c;
        let t = self.termios;
        if t.i(u::ISTRIP) {
            c &= 0x7f;
        }
        if t.i(u::IUCLC) && t.l(u::IEXTEN) {
            c.make_ascii_lowercase();
        }
        if std::mem::take(&mut self.lnext) {
            self.ordinary(c);
            return;
        }
        if t.l(u::EXTPROC) {
            self.put(c);
            return;
        }
        if t.i(u::IXON) && (t.is(c, VSTART) || t.is(c, VSTOP)) {
            if t.is(c, VSTART) {
                self.start()
            } else {
                self.stop()
            }
            return;
        }
        if t.l(u::ISIG) && self.signal_character(c) {
            return;
        }
        if t.i(u::IXON) && t.i(u::IXANY) {
            self.start();
        }
        let typed = c;
        match c {
            b'\r' if t.i(u::IGNCR) => return,
            b'\r' if t.i(u::ICRNL) => c = b'\n',
            b'\n' if t.i(u::INLCR) => c = b'\r',
            _ => {}
        }
        if t.l(u::ICANON) && self.editing_character(c) {
            return;
        }
        // A newline that got here by translation is shown as one, not as ^J.
        if c == b'\n' && typed == b'\r' && t.l(u::ECHO) {
            self.finish_erasing();
            self.out.echo(c, &t);
            self.put(c);
        } else {
            self.ordinary(c);
        }
    }

    /// A character without meaning: echo it and keep it.
    fn ordinary(&mut self, c: u8) {
        if self.termios.l(u::ECHO) {
            self.finish_erasing();
            self.start_of_line_column();
            self.echo_char(c);
        }
        self.put(c);
    }

    fn put(&mut self, c: u8) {
        if c == 0xff && self.termios.i(u::PARMRK) {
            self.buf.push(c);
        }
        self.buf.push(c);
    }

    /// INTR, QUIT and SUSP. Whether `c` was one.
    fn signal_character(&mut self, c: u8) -> bool {
        let t = self.termios;
        let signo = match c {
            _ if t.is(c, VINTR) => u::SIGINT,
            _ if t.is(c, VQUIT) => u::SIGQUIT,
            _ if t.is(c, VSUSP) => u::SIGTSTP,
            _ => return false,
        };
        self.events.signals.push(signo);
        if !t.l(u::NOFLSH) {
            self.flush_output();
            self.flush_input();
        }
        if t.i(u::IXON) {
            self.start();
        }
        if t.l(u::ECHO) {
            self.echo_char(c);
        }
        true
    }

    /// The characters that canonical mode gives a meaning. Whether `c` was one.
    fn editing_character(&mut self, c: u8) -> bool {
        let t = self.termios;
        let (echo, extended) = (t.l(u::ECHO), t.l(u::IEXTEN));
        if t.is(c, VERASE) {
            self.erase(Kill::Char);
        } else if t.is(c, VKILL) {
            self.erase(Kill::Line);
        } else if extended && t.is(c, VWERASE) {
            self.erase(Kill::Word);
        } else if extended && t.is(c, VLNEXT) {
            self.lnext = true;
            if echo {
                self.finish_erasing();
                if t.l(u::ECHOCTL) {
                    self.out.echo(b'^', &t);
                    self.out.echo(8, &t);
                }
            }
        } else if extended && echo && t.is(c, VREPRINT) {
            self.finish_erasing();
            self.echo_char(c);
            self.out.echo(b'\n', &t);
            for at in self.buf.canon()..self.buf.head() {
                let c = self.buf.at(at);
                self.echo_char(c);
            }
        } else if c == b'\n' {
            if t.l(u::ECHO | u::ECHONL) {
                self.out.echo(c, &t);
            }
            self.end_line(c);
        } else if t.is(c, VEOF) {
            self.end_line(DISABLED);
        } else if t.is(c, VEOL) || (extended && t.is(c, VEOL2)) {
            if echo {
                self.start_of_line_column();
                self.echo_char(c);
            }
            if c == 0xff && t.i(u::PARMRK) {
                self.buf.push(c);
            }
            self.end_line(c);
        } else {
            return false;
        }
        true
    }

    fn end_line(&mut self, c: u8) {
        self.buf.push_end(c);
        self.events.readable = true;
    }

    // ---- echo and erasing -----------------------------------------------------------------

    /// Where a new line of input starts on the screen.
    fn start_of_line_column(&mut self) {
        if self.buf.canon() == self.buf.head() {
            self.out.canon_column = self.out.column;
        }
    }

    /// Shows `c`, control characters as ^X if ECHOCTL says so.
    fn echo_char(&mut self, c: u8) {
        if self.termios.l(u::ECHOCTL) && is_control(c) && c != b'\t' {
            self.out.raw(b'^');
            self.out.raw(c ^ 0o100);
            self.out.column += 2;
        } else {
            self.out.echo(c, &self.termios);
        }
    }

    fn finish_erasing(&mut self) {
        if std::mem::take(&mut self.erasing) {
            self.out.echo(b'/', &self.termios);
        }
    }

    fn rub_out(&mut self) {
        for c in [8, b' ', 8] {
            self.out.echo(c, &self.termios);
        }
    }

    /// Takes back a character, a word or the line, and shows it (`eraser` of Linux).
    fn erase(&mut self, kill: Kill) {
        let t = self.termios;
        let canon = self.buf.canon();
        if self.buf.head() == canon {
            return;
        }
        if kill == Kill::Line {
            if !t.l(u::ECHO) {
                self.buf.truncate(canon);
                return;
            }
            if !(t.l(u::ECHOK) && t.l(u::ECHOKE) && t.l(u::ECHOE)) {
                self.buf.truncate(canon);
                self.finish_erasing();
                self.echo_char(t.cc[VKILL]);
                if t.l(u::ECHOK) {
                    self.out.echo(b'\n', &t);
                }
                return;
            }
        }
        let mut in_word = false;
        while self.buf.head() > canon {
            // One character, which may have many bytes; half a one stays.
            let mut at = self.buf.head() - 1;
            while is_continuation(self.buf.at(at), &t) && at > canon {
                at -= 1;
            }
            let c = self.buf.at(at);
            if is_continuation(c, &t) {
                break;
            }
            if kill == Kill::Word {
                if c.is_ascii_alphanumeric() || c == b'_' || is_latin1_letter(c) {
                    in_word = true;
                } else if in_word {
                    break;
                }
            }
            let bytes: Vec<u8> = (at..self.buf.head()).map(|p| self.buf.at(p)).collect();
            self.buf.truncate(at);
            if t.l(u::ECHO) {
                self.show_erased(&bytes, kill);
            }
            if kill == Kill::Char {
                break;
            }
        }
        if self.buf.head() == canon && t.l(u::ECHO) {
            self.finish_erasing();
        }
    }

    /// Shows that the character `bytes`, the last one on the line, is gone.
    fn show_erased(&mut self, bytes: &[u8], kill: Kill) {
        let t = self.termios;
        let c = bytes[0];
        if t.l(u::ECHOPRT) {
            if !self.erasing {
                self.out.echo(b'\\', &t);
                self.erasing = true;
            }
            self.echo_char(c);
            for &b in &bytes[1..] {
                self.out.echo(b, &t);
            }
        } else if kill == Kill::Char && !t.l(u::ECHOE) {
            self.echo_char(t.cc[VERASE]);
        } else if c == b'\t' {
            self.rub_out_tab();
        } else {
            if is_control(c) && t.l(u::ECHOCTL) {
                self.rub_out();
            }
            if !is_control(c) || t.l(u::ECHOCTL) {
                self.rub_out();
            }
        }
    }

    /// Moves the cursor back over a tab: as far as the characters before it, back to the previous
    /// tab or the start of the line, leave of its eight columns.
    fn rub_out_tab(&mut self) {
        let t = self.termios;
        let mut columns = 0;
        let mut after_tab = false;
        for at in (self.buf.canon()..self.buf.head()).rev() {
            let c = self.buf.at(at);
            if c == b'\t' {
                after_tab = true;
                break;
            } else if is_control(c) {
                columns += if t.l(u::ECHOCTL) { 2 } else { 0 };
            } else if !is_continuation(c, &t) {
                columns += 1;
            }
        }
        if !after_tab {
            columns += self.out.canon_column;
        }
        for _ in 0..8 - (columns & 7) {
            self.out.raw(8);
            self.out.column = self.out.column.saturating_sub(1);
        }
    }
}

/// Letters above 0x7f as Linux's (Latin-1) ctype table has them. Every byte that can begin a
/// character in UTF-8 is one, so that word erase takes words of any script.
fn is_latin1_letter(c: u8) -> bool {
    c >= 0xc0 && c != 0xd7 && c != 0xf7
}

#[cfg(test)]
#[path = "ldisc_tests.rs"]
mod tests;
