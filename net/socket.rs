//! What a socket is: the trait [`Socket`] that each family implements, the messages that go in and out,
//! and [`SocketFile`], which makes an open file of any of them.
//!
//! A family knows nothing of system calls, and the system calls know nothing of a family: addresses
//! cross the border as the bytes of a `sockaddr`, descriptors in messages as open files.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base::{
    Cred, Errno, Instant, PollEvents, PollTable, Result, Sink, Source, Timestamp, UserAddr, err,
};
use fs::{File, FileOps, FsContext};

use crate::options::Options;

/// SOCK_*: what kind of socket it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SocketType(pub u32);

impl SocketType {
    /// A stream of bytes.
    pub const STREAM: SocketType = SocketType(1);
    /// Messages, each with its own destination.
    pub const DGRAM: SocketType = SocketType(2);
    /// Packets as they are on the wire.
    pub const RAW: SocketType = SocketType(3);
    /// Messages over a connection.
    pub const SEQPACKET: SocketType = SocketType(5);
    /// Types from here on do not exist.
    pub const MAX: u32 = 11;
}

bitflags::bitflags! {
    /// MSG_* of send(2) and recv(2), both ways.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct MsgFlags: u32 {
        /// Out-of-band data.
        const OOB = 0x1;
        /// Look and leave it there.
        const PEEK = 0x2;
        /// Control data did not fit.
        const CTRUNC = 0x8;
        /// The message did not fit; as a request: tell its whole length.
        const TRUNC = 0x20;
        /// Do not wait.
        const DONTWAIT = 0x40;
        /// End of record.
        const EOR = 0x80;
        /// Wait until all that was asked for is there.
        const WAITALL = 0x100;
        /// No SIGPIPE.
        const NOSIGNAL = 0x4000;
        /// recvmmsg(2): wait for the first message only.
        const WAITFORONE = 0x1_0000;
        /// Received descriptors are close-on-exec.
        const CMSG_CLOEXEC = 0x4000_0000;
        const _ = !0;
    }
}

/// `struct ucred`: who sent a message, or who is at the other end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ucred {
    /// Process.
    pub pid: u32,
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

impl Ucred {
    /// What Linux shows where nobody has said who he is: process 0, and the ids of nobody.
    pub const NOBODY: Ucred = Ucred { pid: 0, uid: 65534, gid: 65534 };

    /// As the ABI lays it out.
    pub fn to_bytes(self) -> [u8; 12] {
        let mut b = [0; 12];
        b[..4].copy_from_slice(&self.pid.to_le_bytes());
        b[4..8].copy_from_slice(&self.uid.to_le_bytes());
        b[8..].copy_from_slice(&self.gid.to_le_bytes());
        b
    }
}

/// A process as its peers may come to know it.
#[derive(Clone, Debug)]
pub struct Who {
    /// Process id.
    pub pid: u32,
    /// Its credentials at that moment.
    pub cred: Arc<Cred>,
}

impl Who {
    /// What SO_PEERCRED tells: the effective ids.
    pub fn effective(&self) -> Ucred {
        Ucred { pid: self.pid, uid: self.cred.euid, gid: self.cred.egid }
    }
    /// What comes with a message whose sender did not say otherwise: the real ids.
    pub fn real(&self) -> Ucred {
        Ucred { pid: self.pid, uid: self.cred.uid, gid: self.cred.gid }
    }
}

/// Knows the running task. write(2) comes through fs's `File`, which brings no caller along.
pub trait Callers: Send + Sync {
    /// The process that makes the system call.
    fn current(&self) -> Who;
}

/// Who makes a call on a socket, and where its names begin.
pub struct Caller<'a> {
    /// The process.
    pub who: Who,
    /// Root, working directory and umask.
    pub fs: &'a FsContext,
}

impl fmt::Debug for Caller<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Caller({})", self.who.pid)
    }
}

/// Descriptors on their way into a message.
pub struct Rights {
    /// The open files.
    pub files: Vec<Arc<File>>,
    /// The user they are charged to.
    pub uid: u32,
    /// How many descriptors of that user may be in flight (RLIMIT_NOFILE); None: no such bound.
    pub limit: Option<u64>,
}

impl fmt::Debug for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} descriptors of user {}", self.files.len(), self.uid)
    }
}

/// What goes with the bytes of a message that is sent.
#[derive(Debug, Default)]
pub struct Outgoing<'a> {
    /// DONTWAIT, NOSIGNAL, OOB ...
    pub flags: MsgFlags,
    /// Where to, if the caller says so: a `sockaddr`, and who asks.
    pub to: Option<(&'a [u8], &'a Caller<'a>)>,
    /// SCM_RIGHTS.
    pub rights: Option<Rights>,
    /// SCM_CREDENTIALS, checked.
    pub creds: Option<Ucred>,
}

/// What comes with the bytes of a message that is received.
#[derive(Debug, Default)]
pub struct Incoming {
    /// DONTWAIT, PEEK, WAITALL, TRUNC ...
    pub flags: MsgFlags,
    /// TRUNC if the message was longer than the buffer.
    pub out_flags: MsgFlags,
    /// Whether the sender's address is wanted.
    pub want_name: bool,
    /// The sender's `sockaddr`; None: it has no name.
    pub name: Option<Vec<u8>>,
    /// Descriptors. Who does not install them drops them.
    pub files: Vec<Arc<File>>,
    /// Who sent it, if the socket asks for that (SO_PASSCRED).
    pub creds: Option<Ucred>,
    /// When it was sent, if the socket asks for that (SO_TIMESTAMP).
    pub stamp: Option<Timestamp>,
}

/// A socket of some family.
pub trait Socket: Any + Send + Sync + fmt::Debug {
    /// For a family to find its own type.
    fn as_any(&self) -> &dyn Any;
    /// AF_*.
    fn domain(&self) -> u32;
    /// SOCK_*.
    fn kind(&self) -> SocketType;
    /// IPPROTO_*, or 0.
    fn protocol(&self) -> u32 {
        0
    }
    /// The options that all families share.
    fn options(&self) -> &Options;

    /// bind(2). `mode`: permission bits of the socket, for names in a file system.
    ///
    /// # Errors
    /// EINVAL, EADDRINUSE; what the path says.
    fn bind(&self, addr: &[u8], caller: &Caller<'_>, mode: u32) -> Result<()>;

    /// connect(2).
    ///
    /// # Errors
    /// ECONNREFUSED, EISCONN, EAGAIN, EPROTOTYPE, EINVAL, ERESTARTSYS.
    fn connect(&self, addr: &[u8], caller: &Caller<'_>, nonblock: bool) -> Result<()>;

    /// listen(2). `backlog` is bounded by somaxconn already.
    ///
    /// # Errors
    /// EOPNOTSUPP for what knows no connections; EINVAL.
    fn listen(&self, _backlog: u32, _who: &Who) -> Result<()> {
        err(Errno::EOPNOTSUPP)
    }

    /// accept(2): the next connection.
    ///
    /// # Errors
    /// EOPNOTSUPP, EINVAL if it does not listen, EAGAIN, ERESTARTSYS.
    fn accept(&self, _nonblock: bool) -> Result<Arc<dyn Socket>> {
        err(Errno::EOPNOTSUPP)
    }

    /// getsockname(2): a `sockaddr`.
    ///
    /// # Errors
    /// What the family says.
    fn local_name(&self) -> Result<Vec<u8>>;

    /// getpeername(2).
    ///
    /// # Errors
    /// ENOTCONN.
    fn peer_name(&self) -> Result<Vec<u8>>;

    /// Sends; returns how many bytes were taken.
    ///
    /// # Errors
    /// EPIPE, EAGAIN, ENOTCONN, EISCONN, EMSGSIZE, ENOBUFS, ETOOMANYREFS, EFAULT, ERESTARTSYS ...
    fn send(&self, source: &mut dyn Source, msg: Outgoing<'_>) -> Result<usize>;

    /// Receives; returns how many bytes there were, 0 at the end.
    ///
    /// # Errors
    /// EAGAIN, ENOTCONN, EINVAL, EFAULT, ERESTARTSYS ...
    fn recv(&self, sink: &mut dyn Sink, msg: &mut Incoming) -> Result<usize>;

    /// Whether EPIPE comes with SIGPIPE.
    fn sigpipe(&self) -> bool {
        self.kind() == SocketType::STREAM
    }

    /// shutdown(2): no more reading, no more writing.
    ///
    /// # Errors
    /// ENOTCONN.
    fn shutdown(&self, read: bool, write: bool) -> Result<()>;

    /// What is ready; with a table, registers for changes.
    fn poll(&self, table: Option<&mut PollTable>) -> PollEvents;

    /// SIOCINQ: bytes that can be read.
    ///
    /// # Errors
    /// EINVAL while it listens.
    fn unread(&self) -> Result<usize>;

    /// SIOCOUTQ: bytes that were sent and not taken yet.
    ///
    /// # Errors
    /// EINVAL while it listens.
    fn unsent(&self) -> Result<usize>;

    /// SO_ACCEPTCONN.
    fn listening(&self) -> bool {
        false
    }

    /// SO_PEERCRED and SO_PEERGROUPS.
    fn peer(&self) -> Option<Who> {
        None
    }

    /// The options of another level than SOL_SOCKET.
    ///
    /// # Errors
    /// EOPNOTSUPP if there are none; ENOPROTOOPT.
    fn get_option(&self, _level: u32, _name: u32) -> Result<Vec<u8>> {
        err(Errno::EOPNOTSUPP)
    }

    /// As [`Socket::get_option`].
    ///
    /// # Errors
    /// EOPNOTSUPP, ENOPROTOOPT, EINVAL.
    fn set_option(&self, _level: u32, _name: u32, _value: &[u8]) -> Result<()> {
        err(Errno::EOPNOTSUPP)
    }

    /// An option of SOL_SOCKET has changed: buffers may be larger, who sleeps for room looks again.
    fn options_changed(&self) {}

    /// It is an open file now, with this inode number.
    fn opened(&self, _ino: u64) {}

    /// The open file is gone.
    fn close(&self);
}

/// The moment until which a call on a socket waits: now plus its time-out, or never.
pub(crate) fn deadline(timeout_ns: u64) -> Option<Instant> {
    (timeout_ns != 0)
        .then(|| arch::clock::monotonic() + std::time::Duration::from_nanos(timeout_ns))
}

/// What a wait with a time-out ends with, in the words of a socket call: EAGAIN when time is up, and EINTR
/// for a signal, since the call would have to begin its time anew if it were restarted.
pub(crate) fn wait_error(e: base::Error, deadline: Option<Instant>) -> base::Error {
    match e.errno() {
        Errno::ETIMEDOUT => Errno::EAGAIN.into(),
        Errno::ERESTARTSYS if deadline.is_some() => Errno::EINTR.into(),
        _ => e,
    }
}

/// An open socket.
pub struct SocketFile {
    socket: Arc<dyn Socket>,
    ino: AtomicU64,
}

impl fmt::Debug for SocketFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SocketFile({:?})", self.socket)
    }
}

impl SocketFile {
    pub(crate) fn new(socket: Arc<dyn Socket>) -> SocketFile {
        SocketFile { socket, ino: AtomicU64::new(0) }
    }

    pub(crate) fn opened(&self, ino: u64) {
        self.ino.store(ino, Ordering::Relaxed);
        self.socket.opened(ino);
    }

    /// The socket.
    pub fn socket(&self) -> &Arc<dyn Socket> {
        &self.socket
    }

    /// The socket behind an open file.
    ///
    /// # Errors
    /// ENOTSOCK.
    pub fn of(file: &File) -> Result<&Arc<dyn Socket>> {
        match file.ops_as::<SocketFile>() {
            Some(s) => Ok(&s.socket),
            None => err(Errno::ENOTSOCK),
        }
    }
}

fn wait_flag(file: &File) -> MsgFlags {
    if file.nonblock() { MsgFlags::DONTWAIT } else { MsgFlags::empty() }
}

impl FileOps for SocketFile {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn read(&self, file: &File, _offset: u64, sink: &mut dyn Sink) -> Result<usize> {
        if sink.remaining() == 0 {
            return Ok(0);
        }
        // Descriptors that come with the bytes are lost to who reads without looking for them.
        self.socket.recv(sink, &mut Incoming { flags: wait_flag(file), ..Incoming::default() })
    }
    fn write(&self, file: &File, _offset: u64, source: &mut dyn Source) -> Result<usize> {
        self.socket.send(source, Outgoing { flags: wait_flag(file), ..Outgoing::default() })
    }
    fn sigpipe(&self) -> bool {
        self.socket.sigpipe()
    }
    fn poll(&self, _file: &File, table: Option<&mut PollTable>) -> PollEvents {
        self.socket.poll(table)
    }
    fn ioctl(&self, _file: &File, cmd: u32, arg: UserAddr, who: &dyn fs::Caller) -> Result<i64> {
        const SIOCOUTQ: u32 = 0x5411;
        const SIOCINQ: u32 = 0x541b;
        let n = match cmd {
            SIOCINQ => self.socket.unread()?,
            SIOCOUTQ => self.socket.unsent()?,
            _ => return err(Errno::ENOTTY),
        };
        who.memory().write(arg, &(n as i32).to_le_bytes())?;
        Ok(0)
    }
    fn release(&self, _file: &File) {
        self.socket.close();
    }
    fn anon_name(&self) -> String {
        format!("socket:[{}]", self.ino.load(Ordering::Relaxed))
    }
}
