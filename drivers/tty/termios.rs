//! Terminal settings: `struct termios` in its three ABI forms (`man 3 termios`,
//! `man 2 ioctl_tty`, asm-generic/termbits.h).

use base::uapi::general as u;

/// Number of control characters in the kernel's `struct termios`.
pub(crate) const NCCS: usize = u::NCCS as usize;

/// A control character of this value is switched off (`_POSIX_VDISABLE`).
pub(crate) const DISABLED: u8 = 0;

// Positions in `Termios::cc`.
pub(crate) const VINTR: usize = u::VINTR as usize;
pub(crate) const VQUIT: usize = u::VQUIT as usize;
pub(crate) const VERASE: usize = u::VERASE as usize;
pub(crate) const VKILL: usize = u::VKILL as usize;
pub(crate) const VEOF: usize = u::VEOF as usize;
pub(crate) const VTIME: usize = u::VTIME as usize;
pub(crate) const VMIN: usize = u::VMIN as usize;
pub(crate) const VSTART: usize = u::VSTART as usize;
pub(crate) const VSTOP: usize = u::VSTOP as usize;
pub(crate) const VSUSP: usize = u::VSUSP as usize;
pub(crate) const VEOL: usize = u::VEOL as usize;
pub(crate) const VREPRINT: usize = u::VREPRINT as usize;
pub(crate) const VWERASE: usize = u::VWERASE as usize;
pub(crate) const VLNEXT: usize = u::VLNEXT as usize;
pub(crate) const VEOL2: usize = u::VEOL2 as usize;

const CBAUD: u32 = 0o010_017;
const BOTHER: u32 = 0o010_000;

/// The settings of a terminal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Termios {
    /// Input modes (ICRNL, IXON, ...).
    pub iflag: u32,
    /// Output modes (OPOST, ONLCR, ...).
    pub oflag: u32,
    /// Control modes; only carried.
    pub cflag: u32,
    /// Local modes (ICANON, ECHO, ISIG, ...).
    pub lflag: u32,
    /// Line discipline: always N_TTY (0).
    pub line: u8,
    /// Control characters.
    pub cc: [u8; NCCS],
    /// Input speed in baud.
    pub ispeed: u32,
    /// Output speed in baud.
    pub ospeed: u32,
}

impl Default for Termios {
    /// What Linux starts a terminal with (`tty_std_termios`).
    fn default() -> Termios {
        let mut cc = [0u8; NCCS];
        for (at, c) in [
            (VINTR, 3),
            (VQUIT, 28),
            (VERASE, 127),
            (VKILL, 21),
            (VEOF, 4),
            (VSTART, 17),
            (VSTOP, 19),
            (VSUSP, 26),
            (VREPRINT, 18),
            (VWERASE, 23),
            (VLNEXT, 22),
            (VMIN, 1),
        ] {
            cc[at] = c;
        }
        cc[u::VDISCARD as usize] = 15;
        Termios {
            iflag: u::ICRNL | u::IXON,
            oflag: u::OPOST | u::ONLCR,
            cflag: u::B38400 | u::CS8 | u::CREAD | u::HUPCL,
            lflag: u::ISIG
                | u::ICANON
                | u::ECHO
                | u::ECHOE
                | u::ECHOK
                | u::ECHOCTL
                | u::ECHOKE
                | u::IEXTEN,
            line: 0,
            cc,
            ispeed: 38400,
            ospeed: 38400,
        }
    }
}

impl Termios {
    /// `struct termios` of TCGETS: 36 bytes.
    pub const TERMIOS_LEN: usize = 36;
    /// `struct termios2` of TCGETS2: 44 bytes.
    pub const TERMIOS2_LEN: usize = 44;
    /// `struct termio` of TCGETA: 18 bytes.
    pub const TERMIO_LEN: usize = 18;

    pub(crate) fn i(&self, flag: u32) -> bool {
        self.iflag & flag != 0
    }
    pub(crate) fn o(&self, flag: u32) -> bool {
        self.oflag & flag != 0
    }
    pub(crate) fn l(&self, flag: u32) -> bool {
        self.lflag & flag != 0
    }
    /// Whether `c` is the control character `which`, and that one is not switched off.
    pub(crate) fn is(&self, c: u8, which: usize) -> bool {
        c == self.cc[which] && c != DISABLED
    }

    /// As TCGETS2 gives it; TCGETS is the first 36 bytes of it.
    pub fn encode2(&self) -> [u8; Self::TERMIOS2_LEN] {
        let mut b = [0; Self::TERMIOS2_LEN];
        for (i, v) in [self.iflag, self.oflag, self.cflag, self.lflag].into_iter().enumerate() {
            b[i * 4..i * 4 + 4].copy_from_slice(&v.to_ne_bytes());
        }
        b[16] = self.line;
        b[17..36].copy_from_slice(&self.cc);
        b[36..40].copy_from_slice(&self.ispeed.to_ne_bytes());
        b[40..44].copy_from_slice(&self.ospeed.to_ne_bytes());
        b
    }

    /// From the bytes of TCSETS2 (44) or TCSETS (36): then the speeds follow from `cflag`.
    pub fn decode(b: &[u8]) -> Termios {
        let word = |i: usize| u32::from_ne_bytes([b[i], b[i + 1], b[i + 2], b[i + 3]]);
        let mut cc = [0; NCCS];
        cc.copy_from_slice(&b[17..36]);
        let mut t = Termios {
            iflag: word(0),
            oflag: word(4),
            cflag: word(8),
            lflag: word(12),
            line: b[16],
            cc,
            ispeed: 0,
            ospeed: 0,
        };
        if b.len() >= Self::TERMIOS2_LEN && t.cflag & CBAUD == BOTHER {
            (t.ispeed, t.ospeed) = (word(36), word(40));
        } else {
            t.ospeed = baud(t.cflag);
            t.ispeed = t.ospeed;
        }
        t
    }

    /// `struct termio`: the low halves of the flags and eight control characters.
    pub fn encode_termio(&self) -> [u8; Self::TERMIO_LEN] {
        let mut b = [0; Self::TERMIO_LEN];
        for (i, v) in [self.iflag, self.oflag, self.cflag, self.lflag].into_iter().enumerate() {
            b[i * 2..i * 2 + 2].copy_from_slice(&(v as u16).to_ne_bytes());
        }
        b[8] = self.line;
        b[9..17].copy_from_slice(&self.cc[..8]);
        b
    }

    /// These settings with what a `struct termio` says put over them.
    pub fn with_termio(&self, b: &[u8; Self::TERMIO_LEN]) -> Termios {
        let mut t = *self;
        let low = |old: u32, i: usize| {
            (old & 0xffff_0000) | u32::from(u16::from_ne_bytes([b[i], b[i + 1]]))
        };
        t.iflag = low(t.iflag, 0);
        t.oflag = low(t.oflag, 2);
        t.cflag = low(t.cflag, 4);
        t.lflag = low(t.lflag, 6);
        t.line = b[8];
        t.cc[..8].copy_from_slice(&b[9..17]);
        t.ospeed = baud(t.cflag);
        t.ispeed = t.ospeed;
        t
    }

    /// Whether ^S and ^Q are handled here, in the sense of packet mode.
    pub(crate) fn standard_flow(&self) -> bool {
        self.i(u::IXON) && self.cc[VSTOP] == 19 && self.cc[VSTART] == 17
    }
}

/// The speed that the CBAUD bits mean.
fn baud(cflag: u32) -> u32 {
    const LOW: [u32; 16] =
        [0, 50, 75, 110, 134, 150, 200, 300, 600, 1200, 1800, 2400, 4800, 9600, 19200, 38400];
    const HIGH: [u32; 16] = [
        0, 57600, 115_200, 230_400, 460_800, 500_000, 576_000, 921_600, 1_000_000, 1_152_000,
        1_500_000, 2_000_000, 2_500_000, 3_000_000, 3_500_000, 4_000_000,
    ];
    let i = (cflag & 0o17) as usize;
    if cflag & BOTHER != 0 { HIGH[i] } else { LOW[i] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_round_trip() {
        let t = Termios::default();
        assert_eq!(Termios::decode(&t.encode2()), t);
        assert_eq!(Termios::decode(&t.encode2()[..36]), t);
        assert_eq!(t.with_termio(&t.encode_termio()), t);
        assert_eq!(baud(0o010_002), 115_200);
    }
}
