//! Files of the host, as disks, COW layers and logs use them.
//!
//! A [`HostFile`] is a regular file or a block device of the host. Its offsets are explicit, and
//! every transfer is whole or an error, so that a block driver need not think about short counts
//! and interrupted calls. Transfers to and from guest frames go by preadv/pwritev on the kernel's
//! own mapping of physical memory: the bytes are copied once, by the host.
//!
//! Opening is where a person's mistakes arrive, so it has an error type of its own that reads as
//! one line: [`OpenError`].

use std::fmt;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use base::{Errno, Error, PhysAddr, Result, err};
use nix::fcntl::{FallocateFlags, OFlag, fallocate};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::{Mode, SFlag, fstat};

use crate::hosterr::{cvt, host_error};
use crate::physmem::PhysMem;

mod ioctl {
    #![allow(missing_docs, unreachable_pub)]
    nix::ioctl_read!(blkgetsize64, 0x12, 114, u64);
}

/// Most pieces of one preadv/pwritev (the host's UIO_MAXIOV).
const MAX_PIECES: usize = 1024;

/// An open file or block device of the host.
#[derive(Debug)]
pub struct HostFile {
    fd: OwnedFd,
    path: PathBuf,
    read_only: bool,
    block_device: bool,
}

/// Why a host file could not be had. Displays as `PATH: reason`.
#[derive(Debug, Clone)]
pub struct OpenError {
    path: PathBuf,
    reason: Reason,
    error: Error,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    Host,
    Kind(&'static str),
}

impl OpenError {
    fn host(path: &Path, e: nix::errno::Errno) -> OpenError {
        OpenError { path: path.to_owned(), reason: Reason::Host, error: host_error(e) }
    }
    /// The error number: EISDIR for a directory, ENOTBLK for a FIFO, socket or character device.
    pub fn errno(&self) -> Errno {
        self.error.errno()
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reason {
            Reason::Host => write!(f, "{}: {}", self.path.display(), self.error.errno().text()),
            Reason::Kind(what) => {
                write!(f, "{}: is {what}, not a file or block device", self.path.display())
            }
        }
    }
}

impl std::error::Error for OpenError {}

impl From<OpenError> for Error {
    fn from(e: OpenError) -> Error {
        e.error
    }
}

/// How much of a file others may still do while we hold it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LockKind {
    /// Others may hold shared locks too: for readers.
    Shared,
    /// Nobody else: for a writer.
    Exclusive,
}

impl HostFile {
    /// Opens an existing regular file or block device.
    ///
    /// # Errors
    /// What open(2) says (ENOENT, EACCES, EROFS, ETXTBSY ...), or the kind of thing it is.
    pub fn open(path: &Path, read_only: bool) -> Result<HostFile, OpenError> {
        let access = if read_only { OFlag::O_RDONLY } else { OFlag::O_RDWR };
        Self::open_with(path, access, read_only)
    }

    /// Makes a file, or empties the one that is there.
    ///
    /// # Errors
    /// As [`HostFile::open`].
    pub fn create(path: &Path) -> Result<HostFile, OpenError> {
        Self::open_with(path, OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_TRUNC, false)
    }

    fn open_with(path: &Path, flags: OFlag, read_only: bool) -> Result<HostFile, OpenError> {
        // O_NONBLOCK: a FIFO without a peer would hold us forever; it means nothing to files.
        let flags = flags | OFlag::O_CLOEXEC | OFlag::O_NOCTTY | OFlag::O_NONBLOCK;
        let kind_error = |mode: SFlag| {
            let (what, errno) = match mode {
                SFlag::S_IFDIR => ("a directory", Errno::EISDIR),
                SFlag::S_IFIFO => ("a FIFO", Errno::ENOTBLK),
                SFlag::S_IFSOCK => ("a socket", Errno::ENOTBLK),
                _ => ("a character device", Errno::ENOTBLK),
            };
            OpenError { path: path.to_owned(), reason: Reason::Kind(what), error: errno.into() }
        };
        let fd = match nix::fcntl::open(path, flags, Mode::from_bits_truncate(0o644)) {
            Ok(fd) => fd,
            Err(e) => {
                // Sockets, directories and FIFOs refuse some modes with less helpful words.
                return Err(match nix::sys::stat::stat(path).map(|s| kind_of(s.st_mode)) {
                    Ok(SFlag::S_IFREG | SFlag::S_IFBLK) | Err(_) => OpenError::host(path, e),
                    Ok(kind) => kind_error(kind),
                });
            }
        };
        let stat = fstat(&fd).map_err(|e| OpenError::host(path, e))?;
        match kind_of(stat.st_mode) {
            kind @ (SFlag::S_IFREG | SFlag::S_IFBLK) => Ok(HostFile {
                fd,
                path: path.to_owned(),
                read_only,
                block_device: kind == SFlag::S_IFBLK,
            }),
            kind => Err(kind_error(kind)),
        }
    }

    /// A file without a name that vanishes with its last descriptor, for a copy-on-write layer:
    /// in `dir` if given, else in $TMPDIR or /var/tmp (which is on a disk), else in memory.
    ///
    /// # Errors
    /// From the host, if it can do none of these.
    pub fn temporary(dir: Option<&Path>) -> Result<HostFile> {
        let from_env = std::env::var_os("TMPDIR").map(PathBuf::from);
        let candidates = dir
            .map(Path::to_owned)
            .into_iter()
            .chain(from_env)
            .chain([PathBuf::from("/var/tmp"), PathBuf::from("/tmp")]);
        let flags = OFlag::O_TMPFILE | OFlag::O_RDWR | OFlag::O_CLOEXEC | OFlag::O_EXCL;
        for path in candidates {
            if let Ok(fd) = nix::fcntl::open(&path, flags, Mode::from_bits_truncate(0o600)) {
                return Ok(HostFile { fd, path, read_only: false, block_device: false });
            }
        }
        let fd = memfd_create("umbra-cow", MFdFlags::MFD_CLOEXEC).map_err(|e| host_error(e))?;
        Ok(HostFile { fd, path: "memory".into(), read_only: false, block_device: false })
    }

    /// The path it was opened by, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it was opened for reading only.
    pub fn read_only(&self) -> bool {
        self.read_only
    }

    /// Whether it is a block device of the host.
    pub fn is_block_device(&self) -> bool {
        self.block_device
    }

    /// Its size in bytes now.
    ///
    /// # Errors
    /// From the host.
    pub fn len(&self) -> Result<u64> {
        if self.block_device {
            let mut bytes = 0u64;
            // SAFETY: BLKGETSIZE64 writes one u64 to the address given.
            unsafe { ioctl::blkgetsize64(self.fd.as_raw_fd(), &mut bytes) }
                .map_err(|e| host_error(e))?;
            return Ok(bytes);
        }
        Ok(fstat(&self.fd).map_err(|e| host_error(e))?.st_size as u64)
    }

    /// Whether it has no bytes now.
    ///
    /// # Errors
    /// From the host.
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Fills `buf` from `offset`.
    ///
    /// # Errors
    /// EIO from the host, also if the file ends before `buf` is full.
    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let mut done = 0;
        while done < buf.len() {
            let at = file_offset(offset, done)?;
            match nix::sys::uio::pread(&self.fd, &mut buf[done..], at) {
                Ok(0) => return err(Errno::EIO),
                Ok(n) => done += n,
                Err(nix::errno::Errno::EINTR) => {}
                Err(e) => return Err(host_error(e)),
            }
        }
        Ok(())
    }

    /// Writes all of `data` at `offset`.
    ///
    /// # Errors
    /// EIO, ENOSPC, EDQUOT, EFBIG from the host (a part may have been written); EBADF if the file
    /// is read-only.
    pub fn write_at(&self, offset: u64, data: &[u8]) -> Result<()> {
        let mut done = 0;
        while done < data.len() {
            let at = file_offset(offset, done)?;
            match nix::sys::uio::pwrite(&self.fd, &data[done..], at) {
                // At the end of a block device.
                Ok(0) => return err(Errno::ENOSPC),
                Ok(n) => done += n,
                Err(nix::errno::Errno::EINTR) => {}
                Err(e) => return Err(host_error(e)),
            }
        }
        Ok(())
    }

    /// Fills the pieces of guest memory, one after the other, from `offset`.
    ///
    /// # Errors
    /// As [`HostFile::read_at`]; ENOMEM if the host has no memory for a frame.
    pub fn read_at_phys(
        &self,
        offset: u64,
        phys: &PhysMem,
        pieces: &[(PhysAddr, usize)],
    ) -> Result<()> {
        self.transfer(offset, phys, pieces, Errno::EIO, |fd, iov, n, at| {
            // SAFETY: the vectors describe ranges of guest memory that `PhysMem::span` has
            // checked, alive for the call, and never seen as Rust references.
            unsafe { libc::preadv(fd, iov, n, at) }
        })
    }

    /// Writes the pieces of guest memory, one after the other, at `offset`.
    ///
    /// # Errors
    /// As [`HostFile::write_at`].
    pub fn write_at_phys(
        &self,
        offset: u64,
        phys: &PhysMem,
        pieces: &[(PhysAddr, usize)],
    ) -> Result<()> {
        self.transfer(offset, phys, pieces, Errno::ENOSPC, |fd, iov, n, at| {
            // SAFETY: as in `read_at_phys`.
            unsafe { libc::pwritev(fd, iov, n, at) }
        })
    }

    /// Runs `call` over `pieces` until all is done. `end` is the error of a call that moved nothing.
    fn transfer(
        &self,
        offset: u64,
        phys: &PhysMem,
        pieces: &[(PhysAddr, usize)],
        end: Errno,
        call: impl Fn(libc::c_int, *const libc::iovec, libc::c_int, i64) -> isize,
    ) -> Result<()> {
        let mut iov: Vec<libc::iovec> = Vec::with_capacity(pieces.len());
        let mut last_end = None;
        for &(at, len) in pieces.iter().filter(|p| p.1 != 0) {
            let base = phys.span(at, len);
            match iov.last_mut() {
                Some(last) if last_end == Some(at.0) => last.iov_len += len,
                _ => iov.push(libc::iovec { iov_base: base.cast(), iov_len: len }),
            }
            last_end = Some(at.0 + len as u64);
        }
        let mut rest = &mut iov[..];
        let mut done = 0;
        while !rest.is_empty() {
            let count = rest.len().min(MAX_PIECES) as libc::c_int;
            let at = file_offset(offset, done)?;
            let mut n = match call(self.fd.as_raw_fd(), rest.as_ptr(), count, at) {
                0 => return err(end),
                n if n > 0 => n as usize,
                _ => match nix::errno::Errno::last() {
                    nix::errno::Errno::EINTR => continue,
                    // The mapping is ours and valid: the host could not give the frame a page.
                    nix::errno::Errno::EFAULT => return err(Errno::ENOMEM),
                    e => return Err(host_error(e)),
                },
            };
            done += n;
            while n > 0 {
                if n < rest[0].iov_len {
                    // SAFETY: n is less than the length of this piece.
                    rest[0].iov_base = unsafe { rest[0].iov_base.cast::<u8>().add(n) }.cast();
                    rest[0].iov_len -= n;
                    break;
                }
                n -= rest[0].iov_len;
                rest = &mut rest[1..];
            }
        }
        Ok(())
    }

    /// Makes what was written survive a power cut of the host: data only (and what is needed to
    /// find it), or all attributes too.
    ///
    /// # Errors
    /// EIO, ENOSPC. After an error the host may have dropped the data: repeating it proves nothing.
    pub fn sync(&self, data_only: bool) -> Result<()> {
        let call = if data_only { nix::unistd::fdatasync } else { nix::unistd::fsync };
        loop {
            match call(&self.fd) {
                Err(nix::errno::Errno::EINTR) => {}
                r => return r.map_err(|e| host_error(e)),
            }
        }
    }

    /// Cuts or extends the file.
    ///
    /// # Errors
    /// EFBIG, ENOSPC, EINVAL (not a regular file).
    pub fn set_len(&self, len: u64) -> Result<()> {
        nix::unistd::ftruncate(&self.fd, file_offset(len, 0)?).map_err(|e| host_error(e))
    }

    /// Gives a range back to the host; it reads as zeros afterwards. The size stays.
    ///
    /// # Errors
    /// EOPNOTSUPP where the host's file system or device cannot.
    pub fn punch_hole(&self, offset: u64, len: u64) -> Result<()> {
        let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        fallocate(&self.fd, flags, file_offset(offset, 0)?, file_offset(len, 0)?)
            .map_err(|e| host_error(e))
    }

    /// Locks the whole file against other Umbras until it is closed (flock(2): it belongs to the
    /// open file, so opening the same image twice in one kernel conflicts too).
    ///
    /// # Errors
    /// EAGAIN if somebody else has it: "image already in use".
    pub fn lock(&self, kind: LockKind) -> Result<()> {
        let op = match kind {
            LockKind::Shared => libc::LOCK_SH,
            LockKind::Exclusive => libc::LOCK_EX,
        };
        // SAFETY: flock takes no memory.
        cvt(unsafe { libc::flock(self.fd.as_raw_fd(), op | libc::LOCK_NB) }).map(drop)
    }

    /// Whether two values are the same file of the host, by whatever name.
    ///
    /// # Errors
    /// From the host.
    pub fn same_file(&self, other: &HostFile) -> Result<bool> {
        let (a, b) =
            (fstat(&self.fd).map_err(|e| host_error(e))?, fstat(&other.fd).map_err(host_error)?);
        Ok((a.st_dev, a.st_ino) == (b.st_dev, b.st_ino))
    }
}

fn kind_of(mode: libc::mode_t) -> SFlag {
    SFlag::from_bits_truncate(mode & libc::S_IFMT)
}

/// `offset + done` as the host wants it.
fn file_offset(offset: u64, done: usize) -> Result<i64> {
    offset
        .checked_add(done as u64)
        .and_then(|o| i64::try_from(o).ok())
        .ok_or_else(|| Errno::EFBIG.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dir() -> PathBuf {
        let n = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .expect("after 1970")
            .as_nanos();
        let d = std::env::temp_dir().join(format!("umbra-hostfile-{}-{n}", std::process::id()));
        std::fs::create_dir(&d).expect("temporary directory");
        d
    }

    #[test]
    fn whole_transfers_and_ends() {
        let f = HostFile::temporary(None).expect("temporary file");
        f.write_at(4096, b"hello").expect("write");
        assert_eq!(f.len(), Ok(4101));
        let mut b = [9; 8];
        f.read_at(4094, &mut b[..7]).expect("read");
        assert_eq!(&b, b"\0\0hello\x09");
        assert_eq!(f.read_at(4094, &mut b).map_err(|e| e.errno()), Err(Errno::EIO));
        assert_eq!(f.write_at(1 << 63, b"ab").map_err(|e| e.errno()), Err(Errno::EFBIG));
        f.punch_hole(4096, 4096).expect("punch");
        f.set_len(4096).expect("truncate");
        f.sync(true).expect("sync");
        assert_eq!(f.len(), Ok(4096));
    }

    #[test]
    fn guest_frames_without_a_bounce() {
        let phys = PhysMem::new(4 << 20).expect("memory");
        let f = HostFile::temporary(None).expect("temporary file");
        // More pieces than one call takes, scattered, with empty and adjacent ones.
        let pieces: Vec<(PhysAddr, usize)> = (0..2500u64)
            .map(|i| (PhysAddr((2499 - i) * 512 + i % 2), (i % 7) as usize * 64))
            .collect();
        let mut expect = Vec::new();
        for (i, &(at, len)) in pieces.iter().enumerate() {
            let data: Vec<u8> = (0..len).map(|k| (i * 31 + k) as u8).collect();
            phys.write(at, &data);
        }
        for &(at, len) in &pieces {
            let mut b = vec![0; len];
            phys.read(at, &mut b);
            expect.extend(b);
        }
        f.write_at_phys(1000, &phys, &pieces).expect("write");
        let mut got = vec![0; expect.len()];
        f.read_at(1000, &mut got).expect("read");
        assert!(got == expect);
        let run = [(PhysAddr(2 << 20), 4096), (PhysAddr((2 << 20) + 4096), got.len() - 4096)];
        f.read_at_phys(1000, &phys, &run).expect("read");
        let mut back = vec![0; got.len()];
        phys.read(PhysAddr(2 << 20), &mut back);
        assert!(back == expect);
        let past = [(PhysAddr(0), 4096)];
        let r = f.read_at_phys(1000 + got.len() as u64 - 5, &phys, &past);
        assert_eq!(r.map_err(|e| e.errno()), Err(Errno::EIO));
    }

    #[test]
    fn what_cannot_be_a_disk_says_so() {
        let d = dir();
        let fifo = d.join("fifo");
        nix::unistd::mkfifo(&fifo, Mode::from_bits_truncate(0o600)).expect("mkfifo");
        let _socket = std::os::unix::net::UnixListener::bind(d.join("s")).expect("bind");
        for (path, read_only, errno, text) in [
            (d.clone(), true, Errno::EISDIR, "is a directory"),
            (d.clone(), false, Errno::EISDIR, "is a directory"),
            (fifo.clone(), true, Errno::ENOTBLK, "is a FIFO"),
            (fifo, false, Errno::ENOTBLK, "is a FIFO"),
            (d.join("s"), false, Errno::ENOTBLK, "is a socket"),
            ("/dev/null".into(), false, Errno::ENOTBLK, "is a character device"),
            (d.join("absent"), false, Errno::ENOENT, "No such file"),
        ] {
            let e = HostFile::open(&path, read_only).expect_err("must be refused");
            assert_eq!(e.errno(), errno, "{e}");
            assert!(e.to_string().contains(text), "{e}");
        }
        std::fs::remove_dir_all(d).expect("clean up");
    }

    #[test]
    fn locks_exclude() {
        let d = dir();
        let p = d.join("image");
        let a = HostFile::create(&p).expect("create");
        let b = HostFile::open(&p, true).expect("open");
        assert_eq!(a.same_file(&b), Ok(true));
        a.lock(LockKind::Exclusive).expect("first");
        let taken = |r: Result<()>| assert_eq!(r.map_err(|e| e.errno()), Err(Errno::EAGAIN));
        taken(b.lock(LockKind::Shared));
        drop(a);
        b.lock(LockKind::Shared).expect("free again");
        let c = HostFile::open(&p, false).expect("open");
        c.lock(LockKind::Shared).expect("readers share");
        taken(c.lock(LockKind::Exclusive));
        std::fs::remove_dir_all(d).expect("clean up");
    }
}
