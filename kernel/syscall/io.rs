//! Moving bytes: read, write and their relatives. `man 2 read`, `man 2 readv`, `man 2 sendfile`.

use std::sync::Arc;

use base::{Errno, Result, UserAddr, UserMemory, err};
use fs::{File, OpenFlags, splice as moving};
use mm::IoVecs;

use super::{Ctx, Fd, SysResult};
use crate::signal::queue::SigInfo;
use crate::signal::set::nr;
use crate::task::limits::Resource;

/// Most bytes that one call moves, as Linux has it.
pub(super) const MAX_RW: usize = 0x7fff_f000;
/// Most elements of an iovec.
pub(super) const IOV_MAX: usize = 1024;

/// RLIMIT_FSIZE.
fn limit(cx: &Ctx<'_>) -> u64 {
    cx.task.process.rlimit(Resource::Fsize)
}

/// A write beyond RLIMIT_FSIZE is also a signal.
fn size_signal<T>(cx: &Ctx<'_>, r: Result<T>) -> Result<T> {
    if let Err(e) = &r
        && *e == Errno::EFBIG
        && limit(cx) != u64::MAX
    {
        let me = cx.task.clone();
        // The thread's own queue has room for one of each ordinary signal.
        let _ = cx.kernel.signal_task(&me, SigInfo::kernel(nr::XFSZ));
    }
    r
}

/// A write to what nobody reads is also a signal, to the thread that wrote.
pub(super) fn pipe_signal<T>(cx: &Ctx<'_>, file: &File, r: Result<T>) -> Result<T> {
    if let Err(e) = &r
        && *e == Errno::EPIPE
        && file.ops.sigpipe()
    {
        let me = cx.task.clone();
        // A queue has room for one of each ordinary signal.
        let _ = cx.kernel.signal_task(&me, SigInfo::user(nr::PIPE, 0, me.pid(), cx.cred().uid));
    }
    r
}

/// Reads an iovec: lengths are checked, addresses are not.
pub(super) fn read_iov(cx: &Ctx<'_>, iov: UserAddr, n: usize) -> Result<IoVecs> {
    if n > IOV_MAX {
        return err(Errno::EINVAL);
    }
    let mut raw = vec![0u8; n * 16];
    cx.mm.read(iov, &mut raw)?;
    let word = |b: &[u8]| {
        let mut w = [0u8; 8];
        w.copy_from_slice(b);
        u64::from_le_bytes(w)
    };
    let mut total = 0usize;
    let mut list = Vec::with_capacity(n);
    for e in raw.chunks_exact(16) {
        let (at, len) = (word(&e[..8]), word(&e[8..]));
        if len > i64::MAX as u64 {
            return err(Errno::EINVAL);
        }
        let len = (len as usize).min(MAX_RW - total);
        total += len;
        list.push((UserAddr(at), len));
    }
    Ok(list.into())
}

fn do_read(cx: &Ctx<'_>, fd: Fd, iov: impl Into<IoVecs>, at: Option<u64>) -> SysResult {
    let file = cx.file(fd)?;
    let mut sink = cx.mm.sink(iov);
    let n = match at {
        None => file.read(&mut sink)?,
        Some(o) => file.read_at(o, &mut sink)?,
    };
    Ok(n as i64)
}

fn do_write(cx: &Ctx<'_>, fd: Fd, iov: impl Into<IoVecs>, at: Option<u64>) -> SysResult {
    let file = cx.file(fd)?;
    let mut source = cx.mm.source(iov);
    let r = match at {
        None => file.write(&mut source, limit(cx)),
        Some(o) => file.write_at(o, &mut source, limit(cx)),
    };
    Ok(size_signal(cx, pipe_signal(cx, &file, r))? as i64)
}

fn offset(o: i64) -> Result<u64> {
    u64::try_from(o).map_err(|_| Errno::EINVAL.into())
}

/// read(2).
///
/// # Errors
/// EBADF, EFAULT, EISDIR, EAGAIN, EINTR, EIO.
pub fn read(cx: &mut Ctx<'_>, fd: Fd, buf: UserAddr, count: usize) -> SysResult {
    do_read(cx, fd, (buf, count.min(MAX_RW)), None)
}

/// write(2).
///
/// # Errors
/// EBADF, EFAULT, EFBIG, ENOSPC, EPIPE, EAGAIN, EINTR, EIO.
pub fn write(cx: &mut Ctx<'_>, fd: Fd, buf: UserAddr, count: usize) -> SysResult {
    do_write(cx, fd, (buf, count.min(MAX_RW)), None)
}

/// pread(2).
///
/// # Errors
/// As read; EINVAL, ESPIPE.
pub fn pread64(cx: &mut Ctx<'_>, fd: Fd, buf: UserAddr, count: usize, at: i64) -> SysResult {
    do_read(cx, fd, (buf, count.min(MAX_RW)), Some(offset(at)?))
}

/// pwrite(2).
///
/// # Errors
/// As write; EINVAL, ESPIPE.
pub fn pwrite64(cx: &mut Ctx<'_>, fd: Fd, buf: UserAddr, count: usize, at: i64) -> SysResult {
    do_write(cx, fd, (buf, count.min(MAX_RW)), Some(offset(at)?))
}

/// readv(2).
///
/// # Errors
/// As read; EINVAL.
pub fn readv(cx: &mut Ctx<'_>, fd: Fd, iov: UserAddr, n: usize) -> SysResult {
    cx.file(fd)?;
    let v = read_iov(cx, iov, n)?;
    do_read(cx, fd, v, None)
}

/// writev(2).
///
/// # Errors
/// As write; EINVAL.
pub fn writev(cx: &mut Ctx<'_>, fd: Fd, iov: UserAddr, n: usize) -> SysResult {
    cx.file(fd)?;
    let v = read_iov(cx, iov, n)?;
    do_write(cx, fd, v, None)
}

/// preadv(2).
///
/// # Errors
/// As pread.
pub fn preadv(cx: &mut Ctx<'_>, fd: Fd, iov: UserAddr, n: usize, lo: u64, _hi: u64) -> SysResult {
    let v = read_iov(cx, iov, n)?;
    do_read(cx, fd, v, Some(offset(lo as i64)?))
}

/// pwritev(2).
///
/// # Errors
/// As pwrite.
pub fn pwritev(cx: &mut Ctx<'_>, fd: Fd, iov: UserAddr, n: usize, lo: u64, _hi: u64) -> SysResult {
    let v = read_iov(cx, iov, n)?;
    do_write(cx, fd, v, Some(offset(lo as i64)?))
}

const RWF_HIPRI: u32 = 1;
const RWF_DSYNC: u32 = 2;
const RWF_SYNC: u32 = 4;
const RWF_APPEND: u32 = 16;

/// preadv2(2).
///
/// # Errors
/// As preadv; EOPNOTSUPP for flags beyond RWF_HIPRI.
pub fn preadv2(
    cx: &mut Ctx<'_>,
    fd: Fd,
    iov: UserAddr,
    n: usize,
    lo: u64,
    hi: u64,
    flags: u32,
) -> SysResult {
    if flags & !(RWF_HIPRI | RWF_DSYNC | RWF_SYNC) != 0 {
        return err(Errno::EOPNOTSUPP);
    }
    if lo as i64 == -1 { readv(cx, fd, iov, n) } else { preadv(cx, fd, iov, n, lo, hi) }
}

/// pwritev2(2).
///
/// # Errors
/// As pwritev; EOPNOTSUPP for flags beyond HIPRI, DSYNC, SYNC and APPEND.
pub fn pwritev2(
    cx: &mut Ctx<'_>,
    fd: Fd,
    iov: UserAddr,
    n: usize,
    lo: u64,
    hi: u64,
    flags: u32,
) -> SysResult {
    if flags & !(RWF_HIPRI | RWF_DSYNC | RWF_SYNC | RWF_APPEND) != 0 {
        return err(Errno::EOPNOTSUPP);
    }
    let done = if flags & RWF_APPEND != 0 {
        append(cx, fd, iov, n)?
    } else if lo as i64 == -1 {
        writev(cx, fd, iov, n)?
    } else {
        pwritev(cx, fd, iov, n, lo, hi)?
    };
    if flags & (RWF_DSYNC | RWF_SYNC) != 0 {
        let file = cx.file(fd)?;
        file.ops.sync(&file, flags & RWF_SYNC == 0)?;
    }
    Ok(done)
}

/// Writes at the end of a file whatever its flags say; the position stays.
fn append(cx: &Ctx<'_>, fd: Fd, iov: UserAddr, n: usize) -> SysResult {
    let file = cx.file(fd)?;
    if !file.ops.seekable() {
        return do_write(cx, fd, read_iov(cx, iov, n)?, None);
    }
    // A second description with O_APPEND makes finding the end and writing one step.
    let flags = file.flags() | OpenFlags::APPEND;
    let twin = File::new(file.ops.clone(), file.path.clone(), flags, file.cred.clone());
    let mut source = cx.mm.source(read_iov(cx, iov, n)?);
    let r = twin.write_at(0, &mut source, limit(cx));
    Ok(size_signal(cx, r)? as i64)
}

/// lseek(2).
///
/// # Errors
/// EBADF, EINVAL, ESPIPE, ENXIO, EOVERFLOW.
pub fn lseek(cx: &mut Ctx<'_>, fd: Fd, offset: i64, whence: u32) -> SysResult {
    Ok(cx.file(fd)?.seek(whence, offset)? as i64)
}

/// An optional offset in the guest: read before, written back after.
fn with_offset<T>(
    cx: &Ctx<'_>,
    at: UserAddr,
    f: impl FnOnce(Option<&mut u64>) -> Result<T>,
) -> Result<T> {
    if at.is_null() {
        return f(None);
    }
    let mut o = offset(cx.read_obj(at)?)?;
    let r = f(Some(&mut o))?;
    cx.write_obj(at, &o)?;
    Ok(r)
}

/// sendfile(2).
///
/// # Errors
/// EBADF, EINVAL, EFAULT, EAGAIN, ESPIPE, EIO.
pub fn sendfile(cx: &mut Ctx<'_>, out: Fd, input: Fd, at: UserAddr, count: usize) -> SysResult {
    let (i, o) = (readable(cx, input)?, writable(cx, out)?);
    let count = count.min(MAX_RW);
    let r = with_offset(cx, at, |off| moving::sendfile(&o, &i, off, count, limit(cx)));
    Ok(size_signal(cx, pipe_signal(cx, &o, r))? as i64)
}

fn readable(cx: &Ctx<'_>, fd: Fd) -> Result<Arc<File>> {
    let f = cx.file(fd)?;
    if f.flags().readable() { Ok(f) } else { err(Errno::EBADF) }
}

fn writable(cx: &Ctx<'_>, fd: Fd) -> Result<Arc<File>> {
    let f = cx.file(fd)?;
    if f.flags().writable() { Ok(f) } else { err(Errno::EBADF) }
}

/// copy_file_range(2).
///
/// # Errors
/// EBADF, EINVAL, EISDIR, EXDEV, EFBIG, ENOSPC, EIO.
pub fn copy_file_range(
    cx: &mut Ctx<'_>,
    fd_in: Fd,
    off_in: UserAddr,
    fd_out: Fd,
    off_out: UserAddr,
    len: usize,
    flags: u32,
) -> SysResult {
    if flags != 0 {
        return err(Errno::EINVAL);
    }
    let (i, o) = (readable(cx, fd_in)?, writable(cx, fd_out)?);
    if o.flags().contains(OpenFlags::APPEND) {
        return err(Errno::EBADF);
    }
    let len = len.min(MAX_RW);
    let r = with_offset(cx, off_in, |a| {
        with_offset(cx, off_out, |b| moving::copy_file_range(&i, a, &o, b, len, limit(cx)))
    });
    Ok(size_signal(cx, r)? as i64)
}

const SPLICE_F_NONBLOCK: u32 = 2;
const SPLICE_F_ALL: u32 = 0xf;

/// splice(2).
///
/// # Errors
/// EBADF, EINVAL if neither is a pipe, ESPIPE, EAGAIN, EPIPE.
pub fn splice(
    cx: &mut Ctx<'_>,
    fd_in: Fd,
    off_in: UserAddr,
    fd_out: Fd,
    off_out: UserAddr,
    len: usize,
    flags: u32,
) -> SysResult {
    if flags & !SPLICE_F_ALL != 0 {
        return err(Errno::EINVAL);
    }
    if len == 0 {
        return Ok(0);
    }
    let (i, o) = (readable(cx, fd_in)?, writable(cx, fd_out)?);
    let nonblock = flags & SPLICE_F_NONBLOCK != 0;
    let len = len.min(MAX_RW);
    let r = with_offset(cx, off_in, |a| {
        with_offset(cx, off_out, |b| moving::splice(&i, a, &o, b, len, nonblock))
    });
    Ok(pipe_signal(cx, &o, r)? as i64)
}

/// tee(2).
///
/// # Errors
/// EBADF, EINVAL if they are not two different pipes, EAGAIN.
pub fn tee(cx: &mut Ctx<'_>, fd_in: Fd, fd_out: Fd, len: usize, flags: u32) -> SysResult {
    if flags & !SPLICE_F_ALL != 0 {
        return err(Errno::EINVAL);
    }
    let (i, o) = (readable(cx, fd_in)?, writable(cx, fd_out)?);
    let r = moving::tee(&i, &o, len.min(MAX_RW), flags & SPLICE_F_NONBLOCK != 0);
    Ok(pipe_signal(cx, &o, r)? as i64)
}

/// vmsplice(2): the bytes are copied, whatever SPLICE_F_GIFT says.
///
/// # Errors
/// EBADF if it is no pipe, EINVAL, EAGAIN, EPIPE, EFAULT.
pub fn vmsplice(cx: &mut Ctx<'_>, fd: Fd, iov: UserAddr, n: usize, flags: u32) -> SysResult {
    if flags & !SPLICE_F_ALL != 0 {
        return err(Errno::EINVAL);
    }
    let file = cx.file(fd)?;
    if fs::pipe::get_size(&file).is_err() {
        return err(Errno::EBADF);
    }
    let v = read_iov(cx, iov, n)?;
    if file.flags().writable() { do_write(cx, fd, v, None) } else { do_read(cx, fd, v, None) }
}

/// readahead(2).
///
/// # Errors
/// EBADF, EINVAL for what has no pages.
pub fn readahead(cx: &mut Ctx<'_>, fd: Fd, at: i64, count: usize) -> SysResult {
    let f = readable(cx, fd)?;
    let (at, page) = (offset(at)?, base::PAGE_SIZE as u64);
    let Some(pages) = f.path.inode().ops.page_cache() else { return err(Errno::EINVAL) };
    pages.read_ahead(at / page, (count as u64).div_ceil(page).min(512))?;
    Ok(0)
}

/// posix_fadvise(2): WILLNEED reads ahead, DONTNEED gives clean pages up; the rest are hints.
///
/// # Errors
/// EBADF, EINVAL, ESPIPE for pipes.
pub fn fadvise64(cx: &mut Ctx<'_>, fd: Fd, at: i64, len: i64, advice: u32) -> SysResult {
    let f = cx.file(fd)?;
    if advice > 5 || len < 0 {
        return err(Errno::EINVAL);
    }
    if !f.ops.seekable() {
        return err(Errno::ESPIPE);
    }
    let page = base::PAGE_SIZE as u64;
    if let Some(pages) = f.path.inode().ops.page_cache() {
        let first = at.max(0) as u64 / page;
        match advice {
            3 => pages.read_ahead(first, (len as u64).div_ceil(page).min(512))?,
            4 => {
                pages.drop_clean();
            }
            _ => {}
        }
    }
    Ok(0)
}
