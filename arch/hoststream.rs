//! Byte streams that Umbra was given: its standard input, output and error, or `fd:N`.
//!
//! The open file behind such a descriptor is shared with the shell and with whoever else has it,
//! so O_NONBLOCK must not be set on it: it would stay set in the shell. A stream therefore
//! opens terminals and pipes afresh through /proc/self/fd, which gives an open file of our own
//! without waiting; sockets have MSG_DONTWAIT; regular files never wait. Where the host refuses
//! the fresh open (a terminal of another user after `su`), it asks poll(2) first.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use base::{Errno, Result, err};
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::{Mode, fstat};

use crate::hosterr::{cvt, cvt_len, host_error};

/// What an endpoint is to the device thread: a descriptor that nobody outside of arch can use.
#[derive(Clone, Copy, Debug)]
pub struct HostFd<'a>(pub(crate) BorrowedFd<'a>);

/// Something of the host that becomes ready: see [`crate::intr::watch`].
pub trait Endpoint: Send + Sync + std::fmt::Debug {
    /// Its descriptor.
    fn host_fd(&self) -> HostFd<'_>;
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    /// An open file of our own with O_NONBLOCK.
    Own,
    /// A shared socket: MSG_DONTWAIT.
    Socket,
    /// Regular files: they do not wait.
    File,
    /// A shared open file: poll before each call.
    Poll,
}

/// A stream of bytes from or to the host. Reads and writes never wait.
#[derive(Debug)]
pub struct HostStream {
    fd: OwnedFd,
    way: Way,
    tty: bool,
    /// The number that it was given as, for messages.
    given: RawFd,
}

/// Bytes that a pipe takes for sure once poll says that it is writable (PIPE_BUF).
const PIPE_BUF: usize = 4096;

impl HostStream {
    /// Standard input.
    ///
    /// # Errors
    /// EBADF if it is closed.
    pub fn stdin() -> Result<HostStream> {
        HostStream::inherited(0)
    }
    /// Standard output.
    ///
    /// # Errors
    /// EBADF if it is closed.
    pub fn stdout() -> Result<HostStream> {
        HostStream::inherited(1)
    }
    /// Standard error.
    ///
    /// # Errors
    /// EBADF if it is closed.
    pub fn stderr() -> Result<HostStream> {
        HostStream::inherited(2)
    }

    /// The descriptor `n` that Umbra was started with (`con1=fd:N`). The descriptor itself stays
    /// open and unchanged.
    ///
    /// # Errors
    /// EBADF if it is not open; EISDIR for a directory.
    pub fn inherited(n: i32) -> Result<HostStream> {
        // SAFETY: F_DUPFD_CLOEXEC takes no memory; a wrong number gives EBADF.
        let copy = cvt(unsafe { libc::fcntl(n, libc::F_DUPFD_CLOEXEC, 3) })?;
        // SAFETY: just made, and nobody else owns it.
        let copy = unsafe { OwnedFd::from_raw_fd(copy) };
        Self::from_fd(copy, n)
    }

    pub(crate) fn from_fd(fd: OwnedFd, given: RawFd) -> Result<HostStream> {
        let mode = fstat(&fd).map_err(|e| host_error(e))?.st_mode & libc::S_IFMT;
        let tty = nix::unistd::isatty(&fd).unwrap_or(false);
        let way = match mode {
            libc::S_IFDIR => return err(Errno::EISDIR),
            libc::S_IFREG | libc::S_IFBLK => Way::File,
            libc::S_IFSOCK => Way::Socket,
            _ => {
                if let Some(own) = reopen(&fd) {
                    return Ok(HostStream { fd: own, way: Way::Own, tty, given });
                }
                Way::Poll
            }
        };
        Ok(HostStream { fd, way, tty, given })
    }

    /// Whether it is a terminal.
    pub fn is_tty(&self) -> bool {
        self.tty
    }

    /// The descriptor number that it came from.
    pub fn number(&self) -> i32 {
        self.given
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Reads what is there, at most `buf.len()` bytes. 0 is the end.
    ///
    /// # Errors
    /// EAGAIN if there is nothing now; EIO if the terminal is gone.
    pub fn read(&self, buf: &mut [u8]) -> Result<usize> {
        if self.way == Way::Poll && !self.ready(PollFlags::POLLIN, 0)? {
            return err(Errno::EAGAIN);
        }
        loop {
            let r = if self.way == Way::Socket {
                let (p, n) = (buf.as_mut_ptr().cast(), buf.len());
                // SAFETY: writes at most `n` bytes to a buffer of that length.
                cvt_len(unsafe { libc::recv(self.fd.as_raw_fd(), p, n, libc::MSG_DONTWAIT) })
            } else {
                nix::unistd::read(&self.fd, buf).map_err(|e| host_error(e))
            };
            match r {
                Err(e) if e == Errno::EINTR => {}
                // A peer that is gone for good reads as the end of the stream.
                Err(e) if e == Errno::ECONNRESET => return Ok(0),
                r => return r,
            }
        }
    }

    /// Writes as much as it takes now.
    ///
    /// # Errors
    /// EAGAIN if it takes nothing now; EPIPE if nobody will ever read it; EIO, ENOSPC.
    pub fn write(&self, data: &[u8]) -> Result<usize> {
        let mut data = data;
        if self.way == Way::Poll {
            if !self.ready(PollFlags::POLLOUT, 0)? {
                return err(Errno::EAGAIN);
            }
            data = &data[..data.len().min(PIPE_BUF)];
        }
        loop {
            let r = if self.way == Way::Socket {
                let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
                let (p, n) = (data.as_ptr().cast(), data.len());
                // SAFETY: reads `n` bytes from a buffer of that length.
                cvt_len(unsafe { libc::send(self.fd.as_raw_fd(), p, n, flags) })
            } else {
                // SIGPIPE is ignored in the kernel process (`intr::block_signals`).
                nix::unistd::write(&self.fd, data).map_err(|e| host_error(e))
            };
            match r {
                Err(e) if e == Errno::EINTR => {}
                Err(e) if e == Errno::ECONNRESET => return err(Errno::EPIPE),
                r => return r,
            }
        }
    }

    /// Writes all, waiting (on the host) where the reader is slow: for messages outside of the
    /// running kernel, a panic among them. `timeout` bounds each wait.
    ///
    /// # Errors
    /// EPIPE, EIO, ENOSPC; EAGAIN if the reader did not take anything for `timeout`.
    pub fn write_all(&self, mut data: &[u8], timeout: Duration) -> Result<()> {
        while !data.is_empty() {
            match self.write(data) {
                Ok(n) => data = &data[n..],
                Err(e) if e == Errno::EAGAIN => {
                    let ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
                    if !self.ready(PollFlags::POLLOUT, ms)? {
                        return err(Errno::EAGAIN);
                    }
                }
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Waits at most `ms` for one of `flags`; an error or a hang-up counts as ready.
    fn ready(&self, flags: PollFlags, ms: i32) -> Result<bool> {
        let mut fds = [PollFd::new(self.fd.as_fd(), flags)];
        loop {
            let timeout = PollTimeout::try_from(ms).unwrap_or(PollTimeout::MAX);
            match poll(&mut fds, timeout) {
                Ok(n) => return Ok(n > 0),
                Err(nix::errno::Errno::EINTR) => {}
                Err(e) => return Err(host_error(e)),
            }
        }
    }
}

impl Endpoint for HostStream {
    fn host_fd(&self) -> HostFd<'_> {
        HostFd(self.fd.as_fd())
    }
}

/// A second open file for the same pipe or terminal, with the same access and O_NONBLOCK.
fn reopen(fd: &OwnedFd) -> Option<OwnedFd> {
    let flags = nix::fcntl::fcntl(fd, nix::fcntl::FcntlArg::F_GETFL).ok()?;
    let access = OFlag::from_bits_truncate(flags) & OFlag::O_ACCMODE;
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let flags = access | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let own = nix::fcntl::open(path.as_str(), flags, Mode::empty()).ok()?;
    // Opening /dev/tty or a pty master by its name would give another object than the one at hand.
    let (a, b) = (fstat(fd).ok()?, fstat(&own).ok()?);
    let same = (a.st_dev, a.st_ino, a.st_rdev) == (b.st_dev, b.st_ino, b.st_rdev);
    // 5:2 is /dev/ptmx: each open makes a new pseudo-terminal.
    (same && a.st_rdev != libc::makedev(5, 2)).then_some(own)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn again<T: std::fmt::Debug>(r: Result<T>) {
        assert_eq!(r.map_err(|e| e.errno()).expect_err("nothing there"), Errno::EAGAIN);
    }

    fn flags_of(fd: impl AsFd) -> OFlag {
        OFlag::from_bits_truncate(
            nix::fcntl::fcntl(fd, nix::fcntl::FcntlArg::F_GETFL).expect("flags"),
        )
    }

    #[test]
    fn a_pipe_does_not_wait_and_stays_as_it_was() {
        let (r, w) = nix::unistd::pipe().expect("pipe");
        let s = HostStream::inherited(r.as_raw_fd()).expect("stream");
        assert_eq!(s.way, Way::Own);
        let mut b = [0; 16];
        again(s.read(&mut b));
        assert!(!flags_of(&r).contains(OFlag::O_NONBLOCK));
        nix::unistd::write(&w, b"a\0b").expect("write");
        assert_eq!(s.read(&mut b), Ok(3));
        drop(w);
        assert_eq!(s.read(&mut b), Ok(0));

        let (r, w) = nix::unistd::pipe().expect("pipe");
        let s = HostStream::inherited(w.as_raw_fd()).expect("stream");
        let big = vec![7; 1 << 20];
        let n = s.write(&big).expect("some of it");
        assert!(n < big.len());
        again(s.write(&big));
        again(s.write_all(&big, Duration::from_millis(20)));
        drop(r);
        assert_eq!(s.write(&big).map_err(|e| e.errno()), Err(Errno::EPIPE));
    }

    #[test]
    fn sockets_and_files() {
        let (a, mut b) = std::os::unix::net::UnixStream::pair().expect("pair");
        let s = HostStream::inherited(a.as_raw_fd()).expect("stream");
        assert_eq!(s.way, Way::Socket);
        let mut buf = [0; 4];
        again(s.read(&mut buf));
        b.write_all(b"xy").expect("write");
        assert_eq!(s.read(&mut buf), Ok(2));
        drop(b);
        assert_eq!(s.read(&mut buf), Ok(0));
        assert_eq!(s.write(b"z").map_err(|e| e.errno()), Err(Errno::EPIPE));
        assert_eq!(HostStream::inherited(9999).map_err(|e| e.errno()).err(), Some(Errno::EBADF));
    }

    #[test]
    fn poll_first_where_nothing_else_works() {
        let (r, w) = nix::unistd::pipe().expect("pipe");
        let (rd, wr) = (r.as_raw_fd(), w.as_raw_fd());
        let s = HostStream { fd: r, way: Way::Poll, tty: false, given: rd };
        let t = HostStream { fd: w, way: Way::Poll, tty: false, given: wr };
        let mut b = [0; 8192];
        again(s.read(&mut b));
        assert_eq!(t.write(&b), Ok(PIPE_BUF));
        while t.write(&b).is_ok() {}
        again(t.write(&b));
        assert_eq!(s.read(&mut b), Ok(8192));
    }
}
