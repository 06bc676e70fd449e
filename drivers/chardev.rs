//! Character devices, as the file layer meets them.

use std::sync::Arc;

use base::{Cred, Errno, PollEvents, PollTable, Result, Sink, Source, UserAddr, UserMemory, err};

/// A device number. Guests see `(major & 0xfff) << 8 | minor & 0xff | ...` (`makedev(3)`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct DevNum {
    /// The driver.
    pub major: u32,
    /// The instance.
    pub minor: u32,
}

impl DevNum {
    /// major:minor.
    pub const fn new(major: u32, minor: u32) -> DevNum {
        DevNum { major, minor }
    }
    /// As `st_dev` and `st_rdev` carry it (glibc's 64-bit makedev).
    pub const fn to_user(self) -> u64 {
        let (ma, mi) = (self.major as u64, self.minor as u64);
        (mi & 0xff) | ((ma & 0xfff) << 8) | ((mi & !0xff) << 12) | ((ma & !0xfff) << 32)
    }
    /// The inverse of [`DevNum::to_user`].
    pub const fn from_user(d: u64) -> DevNum {
        DevNum {
            major: (((d >> 8) & 0xfff) | ((d >> 32) & 0xffff_f000)) as u32,
            minor: ((d & 0xff) | ((d >> 12) & 0xffff_ff00)) as u32,
        }
    }
}

/// The task that opens or uses a device, as far as a driver may know it.
pub trait Opener {
    /// Its credentials.
    fn cred(&self) -> &Cred;
    /// Its process group, session and controlling terminal: see the tty layer.
    fn tty_context(&self) -> Option<&dyn crate::tty::TtyContext> {
        None
    }
}

/// A driver: makes an open instance.
pub trait CharDriver: Send + Sync {
    /// Opens the device.
    ///
    /// # Errors
    /// ENXIO if there is no such instance, EIO, EBUSY, EPERM as the device's man page says.
    fn open(&self, dev: DevNum, flags: OpenInfo, who: &dyn Opener) -> Result<Arc<dyn CharFile>>;
}

/// How a device is opened.
#[derive(Clone, Copy, Debug, Default)]
pub struct OpenInfo {
    /// O_RDONLY or O_RDWR.
    pub read: bool,
    /// O_WRONLY or O_RDWR.
    pub write: bool,
    /// O_NOCTTY.
    pub noctty: bool,
    /// O_NONBLOCK.
    pub nonblock: bool,
}

/// An open character device. The file layer calls it for each system call.
pub trait CharFile: Send + Sync {
    /// read(2) at `offset` (ignored by streams).
    ///
    /// # Errors
    /// EAGAIN if it would block and `nonblock`; ERESTARTSYS if a signal came; EIO.
    fn read(&self, offset: u64, sink: &mut dyn Sink, nonblock: bool) -> Result<usize>;
    /// write(2).
    ///
    /// # Errors
    /// As `read`; ENOSPC for /dev/full.
    fn write(&self, offset: u64, source: &mut dyn Source, nonblock: bool) -> Result<usize>;
    /// Readiness now, and registration for changes.
    fn poll(&self, _table: Option<&mut PollTable>) -> PollEvents {
        PollEvents::IN | PollEvents::OUT | PollEvents::RDNORM | PollEvents::WRNORM
    }
    /// ioctl(2).
    ///
    /// # Errors
    /// ENOTTY for commands that it does not know; EFAULT.
    fn ioctl(
        &self,
        _cmd: u32,
        _arg: UserAddr,
        _mem: &dyn UserMemory,
        _who: &dyn Opener,
    ) -> Result<i64> {
        err(Errno::ENOTTY)
    }
    /// Whether lseek and pread make sense (memory devices) or give ESPIPE.
    fn seekable(&self) -> bool {
        false
    }
    /// lseek(2) on a device with positions of its own (/dev/kmsg). None: the file layer does it by
    /// [`CharFile::seekable`].
    fn seek_special(&self, _whence: u32, _offset: i64) -> Option<Result<u64>> {
        None
    }
    /// Whether the object is a terminal (`/dev/tty` reopens, TIOCGWINSZ ...).
    fn as_tty(&self) -> Option<&Arc<crate::tty::Tty>> {
        None
    }
    /// Whether mmap(2) gives zero pages (`/dev/zero`).
    fn maps_zero(&self) -> bool {
        false
    }
    /// `ioctl(TIOCGPTPEER)` on a pseudo-terminal master: opens its slave. The file layer calls this
    /// instead of [`CharFile::ioctl`], since the answer is a new descriptor; it shows the slave as
    /// the file `/dev/pts/MINOR`.
    ///
    /// # Errors
    /// ENOTTY if this is no master; EIO as for opening the slave by name.
    fn open_peer(&self, _info: OpenInfo, _who: &dyn Opener) -> Result<(DevNum, Arc<dyn CharFile>)> {
        err(Errno::ENOTTY)
    }
}
