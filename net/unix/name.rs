//! Names of sockets: `struct sockaddr_un`. `man 7 unix`.

use base::{Errno, Result, err};

/// AF_UNIX.
pub const AF_UNIX: u16 = 1;
/// Bytes before `sun_path`.
const HEAD: usize = 2;
/// sizeof(struct sockaddr_un).
const SIZE: usize = 110;

/// What an address that a caller gives can mean.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Address {
    /// Only the family: bind(2) chooses a name.
    Unnamed,
    /// A path.
    Path(Vec<u8>),
    /// A name in the abstract namespace, without the leading NUL. Every byte counts.
    Abstract(Vec<u8>),
}

/// The family of a `sockaddr`, if there is one.
pub(crate) fn family(addr: &[u8]) -> Option<u16> {
    addr.first_chunk::<2>().map(|b| u16::from_le_bytes(*b))
}

impl Address {
    /// Reads a `sockaddr_un`.
    ///
    /// # Errors
    /// EINVAL for another family, for one that is too long, and for one without even a family.
    pub(crate) fn parse(addr: &[u8]) -> Result<Address> {
        if family(addr) != Some(AF_UNIX) || addr.len() > SIZE {
            return err(Errno::EINVAL);
        }
        Ok(match &addr[HEAD..] {
            [] => Address::Unnamed,
            [0, rest @ ..] => Address::Abstract(rest.to_vec()),
            path => {
                let end = path.iter().position(|b| *b == 0).unwrap_or(path.len());
                Address::Path(path[..end].to_vec())
            }
        })
    }

    /// As [`Address::parse`], for calls that need a name.
    ///
    /// # Errors
    /// EINVAL also if there is none.
    pub(crate) fn parse_named(addr: &[u8]) -> Result<Address> {
        match Address::parse(addr)? {
            Address::Unnamed => err(Errno::EINVAL),
            named => Ok(named),
        }
    }

    /// As getsockname(2) shows it.
    pub(crate) fn to_sockaddr(&self) -> Vec<u8> {
        let mut out = AF_UNIX.to_le_bytes().to_vec();
        match self {
            Address::Unnamed => {}
            Address::Path(p) => {
                out.extend_from_slice(p);
                out.push(0);
            }
            Address::Abstract(n) => {
                out.push(0);
                out.extend_from_slice(n);
            }
        }
        out
    }

    /// As /proc/net/unix shows it: NULs of abstract names as `@`.
    pub(crate) fn display(&self) -> Vec<u8> {
        match self {
            Address::Unnamed => Vec::new(),
            Address::Path(p) => p.clone(),
            Address::Abstract(n) => {
                let shown = n.iter().map(|b| if *b == 0 { b'@' } else { *b });
                std::iter::once(b'@').chain(shown).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn un(path: &[u8]) -> Vec<u8> {
        [&1u16.to_le_bytes()[..], path].concat()
    }

    #[test]
    fn three_kinds_of_names() {
        assert_eq!(Address::parse(&un(b"")).unwrap(), Address::Unnamed);
        assert_eq!(Address::parse(&un(b"/a\0rest")).unwrap(), Address::Path(b"/a".to_vec()));
        let a = Address::parse(&un(b"\0a\0b")).unwrap();
        assert_eq!(a, Address::Abstract(b"a\0b".to_vec()));
        assert_eq!(a.to_sockaddr(), un(b"\0a\0b"));
        assert_eq!(a.display(), b"@a@b");
        assert_eq!(Address::Path(b"/a".to_vec()).to_sockaddr(), un(b"/a\0"));
    }

    #[test]
    fn a_full_path_needs_no_nul() {
        let full = [b'x'; 108];
        assert_eq!(Address::parse(&un(&full)).unwrap(), Address::Path(full.to_vec()));
        assert_eq!(Address::parse(&un(&[b'x'; 109])).unwrap_err(), Errno::EINVAL);
    }

    #[test]
    fn what_is_no_name() {
        for bad in [&b""[..], b"\x01", &2u16.to_le_bytes()] {
            assert_eq!(Address::parse(bad).unwrap_err(), Errno::EINVAL);
        }
        assert_eq!(Address::parse_named(&un(b"")).unwrap_err(), Errno::EINVAL);
    }
}
