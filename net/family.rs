//! Families of sockets, and the registry of those that this kernel has.

use std::fmt;
use std::sync::Arc;

use base::{Cred, Errno, Result, err};
use fs::{File, FileType, OpenFlags, Vfs};

use crate::options::Sysctl;
use crate::socket::{Callers, Socket, SocketFile, SocketType, Who};
use crate::unix::Unix;

/// An address family: AF_UNIX, AF_INET ...
pub trait Family: Send + Sync {
    /// AF_*.
    fn number(&self) -> u32;

    /// A new socket.
    ///
    /// # Errors
    /// ESOCKTNOSUPPORT, EPROTONOSUPPORT, EPERM, ENFILE.
    fn create(&self, kind: SocketType, protocol: i32) -> Result<Arc<dyn Socket>>;

    /// Two sockets that are connected with each other.
    ///
    /// # Errors
    /// EOPNOTSUPP if the family has no pairs; as [`Family::create`].
    fn pair(
        &self,
        _kind: SocketType,
        _protocol: i32,
        _who: &Who,
    ) -> Result<(Arc<dyn Socket>, Arc<dyn Socket>)> {
        err(Errno::EOPNOTSUPP)
    }

    /// The text of /proc/net/NAME, if it is this family's.
    fn proc_table(&self, _name: &str) -> Option<String> {
        None
    }
}

/// The network of one kernel.
pub struct Net {
    families: Vec<Arc<dyn Family>>,
    /// Variables in /proc/sys/net.
    pub sysctl: Arc<Sysctl>,
    vfs: Arc<Vfs>,
}

impl fmt::Debug for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Net({} families)", self.families.len())
    }
}

impl Net {
    /// A network with all families. Open sockets live in the anonymous file system of `vfs`.
    pub fn new(vfs: Arc<Vfs>, callers: Arc<dyn Callers>) -> Net {
        let sysctl = Arc::new(Sysctl::default());
        let families: Vec<Arc<dyn Family>> = vec![Unix::new(sysctl.clone(), callers)];
        Net { families, sysctl, vfs }
    }

    fn family(&self, number: i32, kind: SocketType) -> Result<&dyn Family> {
        /// AF_MAX: numbers from here on are no family of any kernel.
        const AF_MAX: i32 = 46;
        if !(0..AF_MAX).contains(&number) {
            return err(Errno::EAFNOSUPPORT);
        }
        if kind.0 >= SocketType::MAX {
            return err(Errno::EINVAL);
        }
        let found = self.families.iter().find(|f| f.number() == number as u32);
        found.map_or_else(|| err(Errno::EAFNOSUPPORT), |f| Ok(&**f))
    }

    /// socket(2).
    ///
    /// # Errors
    /// EAFNOSUPPORT for a family that is not there; EINVAL; what the family says.
    pub fn create(&self, family: i32, kind: SocketType, protocol: i32) -> Result<Arc<dyn Socket>> {
        self.family(family, kind)?.create(kind, protocol)
    }

    /// socketpair(2).
    ///
    /// # Errors
    /// As [`Net::create`]; EOPNOTSUPP.
    pub fn pair(
        &self,
        family: i32,
        kind: SocketType,
        protocol: i32,
        who: &Who,
    ) -> Result<(Arc<dyn Socket>, Arc<dyn Socket>)> {
        self.family(family, kind)?.pair(kind, protocol, who)
    }

    /// An open file of a socket.
    pub fn open(&self, socket: Arc<dyn Socket>, nonblock: bool, cred: &Arc<Cred>) -> Arc<File> {
        let mut flags = OpenFlags::RDWR;
        flags.set(OpenFlags::NONBLOCK, nonblock);
        let ops = Arc::new(SocketFile::new(socket));
        let file = self.vfs.anon().file(ops.clone(), flags, cred.clone(), FileType::Socket, 0o777);
        ops.opened(file.inode().ino);
        file
    }

    /// The text of /proc/net/NAME, if a family has one.
    pub fn proc_table(&self, name: &str) -> Option<String> {
        self.families.iter().find_map(|f| f.proc_table(name))
    }
}
