//! Control data of messages: `struct cmsghdr`. `man 3 cmsg`.

use base::{Errno, Result, err};

/// SOL_SOCKET.
pub(super) const SOL_SOCKET: u32 = 1;
/// Descriptors.
pub(super) const SCM_RIGHTS: u32 = 1;
/// `struct ucred`.
pub(super) const SCM_CREDENTIALS: u32 = 2;
/// sizeof(struct cmsghdr).
pub(super) const HEADER: usize = 16;

fn align(n: usize) -> usize {
    n.next_multiple_of(8)
}

/// One element.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Cmsg<'a> {
    /// SOL_*.
    pub(super) level: u32,
    /// SCM_*.
    pub(super) kind: u32,
    /// What follows the header.
    pub(super) data: &'a [u8],
}

/// The elements of a buffer.
///
/// # Errors
/// EINVAL if a length is too small or reaches beyond the end.
pub(super) fn parse(buf: &[u8]) -> Result<Vec<Cmsg<'_>>> {
    let mut out = Vec::new();
    let mut rest = buf;
    while let Some((head, _)) = rest.split_at_checked(HEADER) {
        let word = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|i| head[at + i]));
        let len =
            usize::try_from(u64::from(word(0)) | u64::from(word(4)) << 32).unwrap_or(usize::MAX);
        if len < HEADER || len > rest.len() {
            return err(Errno::EINVAL);
        }
        out.push(Cmsg { level: word(8), kind: word(12), data: &rest[HEADER..len] });
        rest = rest.get(align(len)..).unwrap_or_default();
    }
    Ok(out)
}

/// Control data on its way to a caller who has room for so much.
#[derive(Debug)]
pub(super) struct ControlOut {
    /// What was written.
    pub(super) bytes: Vec<u8>,
    room: usize,
    /// Something did not fit: MSG_CTRUNC.
    pub(super) truncated: bool,
}

impl ControlOut {
    /// An empty one.
    pub(super) fn new(room: usize) -> ControlOut {
        ControlOut { bytes: Vec::new(), room, truncated: false }
    }

    /// How many descriptors fit.
    pub(super) fn max_fds(&self) -> usize {
        self.room.saturating_sub(HEADER) / 4
    }

    /// Appends an element of SOL_SOCKET, or as much of it as fits.
    pub(super) fn put(&mut self, kind: u32, data: &[u8]) {
        if self.room < HEADER {
            self.truncated = true;
            return;
        }
        let whole = HEADER + data.len();
        let len = whole.min(self.room);
        self.truncated |= len < whole;
        self.bytes.extend_from_slice(&(len as u64).to_le_bytes());
        self.bytes.extend_from_slice(&SOL_SOCKET.to_le_bytes());
        self.bytes.extend_from_slice(&kind.to_le_bytes());
        self.bytes.extend_from_slice(&data[..len - HEADER]);
        let space = align(whole).min(self.room);
        self.bytes.resize(self.bytes.len() + space - len, 0);
        self.room -= space;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_is_parsed() {
        let mut o = ControlOut::new(100);
        o.put(SCM_CREDENTIALS, &[1; 12]);
        o.put(SCM_RIGHTS, &7u32.to_le_bytes());
        assert!(!o.truncated);
        assert_eq!(o.bytes.len(), 32 + 24);
        let all = parse(&o.bytes).unwrap();
        assert_eq!(all.len(), 2);
        assert_eq!((all[0].kind, all[0].data), (SCM_CREDENTIALS, &[1u8; 12][..]));
        assert_eq!(all[1], Cmsg { level: 1, kind: SCM_RIGHTS, data: &7u32.to_le_bytes() });
    }

    #[test]
    fn what_does_not_fit_is_cut() {
        let mut o = ControlOut::new(22);
        assert_eq!(o.max_fds(), 1);
        o.put(SCM_CREDENTIALS, &[1; 12]);
        assert!(o.truncated);
        assert_eq!((o.bytes.len(), o.bytes[0]), (22, 22));
        let mut none = ControlOut::new(15);
        none.put(SCM_RIGHTS, &[0; 4]);
        assert!(none.truncated && none.bytes.is_empty());
    }

    #[test]
    fn lengths_are_not_believed() {
        for len in [0u64, 15, 25, u64::MAX] {
            let mut b = vec![0u8; 24];
            b[..8].copy_from_slice(&len.to_le_bytes());
            assert_eq!(parse(&b).unwrap_err(), Errno::EINVAL, "{len}");
        }
        assert!(parse(&[1; 15]).unwrap().is_empty());
        // A last element need not be padded.
        let mut b = vec![0u8; 17];
        b[0] = 17;
        assert_eq!(parse(&b).unwrap()[0].data, &[0]);
    }
}
