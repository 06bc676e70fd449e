//! Opening, closing and controlling files. `man 2 open`, `man 2 fcntl`, `man 2 ioctl`.

use std::sync::Arc;

use base::{Cap, Errno, Result, UserAddr, UserMemory, err};
use fs::lock::{LockType, Owner, Range};
use fs::ops::OpenHow;
use fs::{File, LookupFlags, OpenFlags};

use super::args::{AT_FDCWD, Octal};
use super::path::base_of;
use super::{Ctx, Fd, Str, SysResult, TaskCaller};
use crate::task::limits::Resource;

/// RLIMIT_NOFILE.
pub fn fd_limit(cx: &Ctx<'_>) -> u64 {
    cx.task.process.rlimit(Resource::Nofile)
}

/// Gives a file the lowest free descriptor.
///
/// # Errors
/// EMFILE.
pub fn install(cx: &Ctx<'_>, file: Arc<File>, cloexec: bool) -> SysResult {
    Ok(cx.files().install(file, cloexec, fd_limit(cx))?.into())
}

/// Gives two files descriptors and stores these at `at`: both or none.
///
/// # Errors
/// EMFILE, EFAULT.
pub fn install_two(
    cx: &Ctx<'_>,
    first: Arc<File>,
    second: Arc<File>,
    cloexec: bool,
    at: UserAddr,
) -> SysResult {
    let files = cx.files();
    let a = files.install(first, cloexec, fd_limit(cx))?;
    let b = match files.install(second, cloexec, fd_limit(cx)) {
        Ok(b) => b,
        Err(e) => {
            files.close(a)?;
            return Err(e);
        }
    };
    if let Err(e) = cx.write_obj(at, &[a, b]) {
        files.close(a)?;
        files.close(b)?;
        return Err(e);
    }
    Ok(0)
}

fn open_at(cx: &Ctx<'_>, dir: Fd, path: Str, how: &OpenHow) -> SysResult {
    let name = cx.path(path)?;
    let base = base_of(cx, dir, &name)?;
    let file =
        fs::ops::open(&cx.task.fs(), &cx.cred(), &TaskCaller::new(cx), base.as_ref(), &name, how)?;
    install(cx, file, how.flags.contains(OpenFlags::CLOEXEC))
}

/// Flags that open(2) knows; others are ignored there and refused by openat2.
const KNOWN: u32 = 0o37_777_703;

fn how(flags: u32, mode: u32) -> OpenHow {
    let flags = OpenFlags::from_bits_retain(flags & KNOWN);
    OpenHow { flags, mode: mode & 0o7777, resolve: LookupFlags::empty() }
}

/// open(2).
///
/// # Errors
/// open(2).
pub fn open(cx: &mut Ctx<'_>, path: Str, flags: Octal, mode: Octal) -> SysResult {
    open_at(cx, Fd(AT_FDCWD), path, &how(flags.0, mode.0))
}

/// openat(2).
///
/// # Errors
/// open(2).
pub fn openat(cx: &mut Ctx<'_>, dir: Fd, path: Str, flags: Octal, mode: Octal) -> SysResult {
    open_at(cx, dir, path, &how(flags.0, mode.0))
}

/// creat(2).
///
/// # Errors
/// open(2).
pub fn creat(cx: &mut Ctx<'_>, path: Str, mode: Octal) -> SysResult {
    open_at(cx, Fd(AT_FDCWD), path, &how(0o1101, mode.0))
}

/// openat2(2).
///
/// # Errors
/// EINVAL for unknown flags, E2BIG; open(2).
pub fn openat2(cx: &mut Ctx<'_>, dir: Fd, path: Str, at: UserAddr, size: usize) -> SysResult {
    if size < 24 {
        return err(Errno::EINVAL);
    }
    if size > base::PAGE_SIZE {
        return err(Errno::E2BIG);
    }
    let [flags, mode, resolve]: [u64; 3] = cx.read_obj(at)?;
    let mut rest = vec![0u8; size - 24];
    cx.mm.read(at.add(24)?, &mut rest)?;
    if rest.iter().any(|b| *b != 0) {
        return err(Errno::E2BIG);
    }
    let creates = flags & 0o100 != 0 || flags & 0o20_000_000 != 0;
    if flags & !u64::from(KNOWN) != 0 || mode & !0o7777 != 0 || mode != 0 && !creates {
        return err(Errno::EINVAL);
    }
    const PATH: u64 = 0o10_000_000;
    const WITH_PATH: u64 = PATH | 0o200_000 | 0o400_000 | 0o2_000_000;
    if flags & PATH != 0 && flags & !WITH_PATH != 0 {
        return err(Errno::EINVAL);
    }
    let resolve = LookupFlags::from_resolve(resolve)?;
    let flags = OpenFlags::from_bits_retain(flags as u32);
    open_at(cx, dir, path, &OpenHow { flags, mode: mode as u32, resolve })
}

/// close(2).
///
/// # Errors
/// EBADF; what flushing says.
pub fn close(cx: &mut Ctx<'_>, fd: Fd) -> SysResult {
    cx.files().close(fd.0)?;
    Ok(0)
}

/// close_range(2).
///
/// # Errors
/// EINVAL.
pub fn close_range(cx: &mut Ctx<'_>, first: u32, last: u32, flags: u32) -> SysResult {
    const UNSHARE: u32 = 2;
    const CLOEXEC: u32 = 4;
    if flags & !(UNSHARE | CLOEXEC) != 0 || first > last {
        return err(Errno::EINVAL);
    }
    if flags & UNSHARE != 0 {
        let own = cx.files().fork();
        cx.task.set_files(Some(own));
    }
    let files = cx.files();
    if flags & CLOEXEC != 0 {
        files.cloexec_range(first, last);
    } else {
        files.close_range(first, last);
    }
    Ok(0)
}

/// dup(2).
///
/// # Errors
/// EBADF, EMFILE.
pub fn dup(cx: &mut Ctx<'_>, fd: Fd) -> SysResult {
    Ok(cx.files().dup(fd.0, 0, false, fd_limit(cx))?.into())
}

/// dup2(2).
///
/// # Errors
/// EBADF.
pub fn dup2(cx: &mut Ctx<'_>, old: Fd, new: Fd) -> SysResult {
    if old == new {
        cx.files().get(old.0)?;
        return Ok(new.0.into());
    }
    Ok(cx.files().dup3(old.0, new.0, false, fd_limit(cx))?.into())
}

/// dup3(2).
///
/// # Errors
/// EBADF, EINVAL.
pub fn dup3(cx: &mut Ctx<'_>, old: Fd, new: Fd, flags: u32) -> SysResult {
    let cloexec = OpenFlags::CLOEXEC.bits();
    if flags & !cloexec != 0 || old == new {
        return err(Errno::EINVAL);
    }
    Ok(cx.files().dup3(old.0, new.0, flags & cloexec != 0, fd_limit(cx))?.into())
}

/// pipe(2).
///
/// # Errors
/// EMFILE, ENFILE, EFAULT.
pub fn pipe(cx: &mut Ctx<'_>, fds: UserAddr) -> SysResult {
    pipe2(cx, fds, 0)
}

/// pipe2(2).
///
/// # Errors
/// EINVAL, EMFILE, ENFILE, EFAULT.
pub fn pipe2(cx: &mut Ctx<'_>, fds: UserAddr, flags: u32) -> SysResult {
    let f = OpenFlags::from_bits_retain(flags);
    let known = OpenFlags::CLOEXEC | OpenFlags::NONBLOCK | OpenFlags::DIRECT;
    if !known.contains(f) {
        return err(Errno::EINVAL);
    }
    let (r, w) = fs::pipe::pipe(&cx.kernel.vfs, &cx.cred(), f - OpenFlags::CLOEXEC)?;
    install_two(cx, r, w, f.contains(OpenFlags::CLOEXEC), fds)
}

/// ioctl(2). The generic commands are done here, the rest by the file.
///
/// # Errors
/// EBADF, ENOTTY, EFAULT, EINVAL.
pub fn ioctl(cx: &mut Ctx<'_>, fd: Fd, cmd: u32, arg: UserAddr) -> SysResult {
    const FIONCLEX: u32 = 0x5450;
    const FIOCLEX: u32 = 0x5451;
    const FIONBIO: u32 = 0x5421;
    const FIOASYNC: u32 = 0x5452;
    const FIOQSIZE: u32 = 0x5460;
    let file = cx.file(fd)?;
    match cmd {
        FIOCLEX | FIONCLEX => {
            cx.files().set_cloexec(fd.0, cmd == FIOCLEX)?;
            Ok(0)
        }
        FIOASYNC => {
            // No file of ours sends SIGIO: what Linux says of a file without that operation.
            let on: i32 = cx.read_obj(arg)?;
            if on == 0 { Ok(0) } else { err(Errno::ENOTTY) }
        }
        FIONBIO => {
            let on: i32 = cx.read_obj(arg)?;
            let mut f = file.flags();
            f.set(OpenFlags::NONBLOCK, on != 0);
            file.ops.set_flags(&file, f)?;
            file.set_flags(f);
            Ok(0)
        }
        FIOQSIZE => {
            let size = file.path.inode().ops.attr()?.size;
            cx.write_obj(arg, &size)?;
            Ok(0)
        }
        _ => file.ops.ioctl(&file, cmd, arg, &TaskCaller::new(cx)),
    }
}

fn lock_type(n: i16) -> Result<Option<LockType>> {
    Ok(match n {
        0 => Some(LockType::Read),
        1 => Some(LockType::Write),
        2 => None,
        _ => return err(Errno::EINVAL),
    })
}

/// `struct flock` of x86-64.
struct Flock {
    kind: i16,
    whence: i16,
    start: i64,
    len: i64,
    pid: i32,
}

impl Flock {
    fn read(cx: &Ctx<'_>, at: UserAddr) -> Result<Flock> {
        let w: [u64; 4] = cx.read_obj(at)?;
        Ok(Flock {
            kind: w[0] as i16,
            whence: (w[0] >> 16) as i16,
            start: w[1] as i64,
            len: w[2] as i64,
            pid: w[3] as i32,
        })
    }
    fn write(&self, cx: &Ctx<'_>, at: UserAddr) -> Result<()> {
        let head = u64::from(self.kind as u16) | u64::from(self.whence as u16) << 16;
        cx.write_obj(at, &[head, self.start as u64, self.len as u64])?;
        cx.write_obj(at.add(24)?, &self.pid)
    }
    fn range(&self, file: &File) -> Result<Range> {
        let base = match self.whence {
            0 => 0,
            1 => *file.pos.lock() as i64,
            2 => file.path.inode().ops.attr()?.size as i64,
            _ => return err(Errno::EINVAL),
        };
        let start = base.checked_add(self.start).ok_or(Errno::EOVERFLOW)?;
        let (start, end) = match self.len {
            0 => (start, i64::MAX),
            n if n > 0 => (start, start.checked_add(n - 1).ok_or(Errno::EOVERFLOW)?),
            n => (start.checked_add(n).ok_or(Errno::EINVAL)?, start - 1),
        };
        if start < 0 {
            return err(Errno::EINVAL);
        }
        Ok(Range { start: start as u64, end: end as u64 })
    }
}

fn range_lock(cx: &Ctx<'_>, file: &Arc<File>, cmd: u32, at: UserAddr) -> SysResult {
    let ofd = cmd >= 36;
    let mut l = Flock::read(cx, at)?;
    if ofd && l.pid != 0 {
        return err(Errno::EINVAL);
    }
    let owner = if ofd {
        Owner::File
    } else {
        Owner::Process { table: cx.files().id(), pid: cx.task.pid() }
    };
    let range = l.range(file)?;
    let kind = lock_type(l.kind)?;
    if matches!(cmd, 5 | 36) {
        let Some(k) = kind else { return err(Errno::EINVAL) };
        match fs::lock::get(file, owner, k, range)? {
            None => l.kind = 2,
            Some(c) => {
                l.kind = if c.kind == LockType::Read { 0 } else { 1 };
                l.whence = 0;
                l.start = c.range.start as i64;
                l.len = if c.range.end >= i64::MAX as u64 {
                    0
                } else {
                    (c.range.end - c.range.start + 1) as i64
                };
                l.pid = c.pid;
            }
        }
        l.write(cx, at)?;
        return Ok(0);
    }
    let open = file.flags();
    match kind {
        Some(LockType::Read) if !open.readable() => return err(Errno::EBADF),
        Some(LockType::Write) if !open.writable() => return err(Errno::EBADF),
        _ => {}
    }
    fs::lock::set(file, owner, kind, range, matches!(cmd, 7 | 38))?;
    Ok(0)
}

/// fcntl(2).
///
/// # Errors
/// EBADF, EINVAL, EAGAIN, EDEADLK, EMFILE, EPERM, EFAULT.
pub fn fcntl(cx: &mut Ctx<'_>, fd: Fd, cmd: u32, arg: u64) -> SysResult {
    let files = cx.files();
    let file = files.get(fd.0)?;
    if file.flags().contains(OpenFlags::PATH) && !matches!(cmd, 0..=3 | 1030) {
        return err(Errno::EBADF);
    }
    match cmd {
        0 | 1030 => {
            if arg >= fd_limit(cx) {
                return err(Errno::EINVAL);
            }
            Ok(files.dup(fd.0, arg, cmd == 1030, fd_limit(cx))?.into())
        }
        1 => Ok(files.cloexec(fd.0)?.into()),
        2 => {
            files.set_cloexec(fd.0, arg & 1 != 0)?;
            Ok(0)
        }
        3 => {
            // open(2) sets it for every 64-bit caller; what has no name was not opened.
            let named = file.inode().fs.type_name() != fs::anon::TYPE_NAME;
            let large = if named { OpenFlags::LARGEFILE } else { OpenFlags::empty() };
            Ok((file.flags() | large).bits().into())
        }
        4 => {
            let settable =
                OpenFlags::APPEND | OpenFlags::NONBLOCK | OpenFlags::DIRECT | OpenFlags::NOATIME;
            let wanted = OpenFlags::from_bits_retain(arg as u32) & settable;
            let new = (file.flags() - settable) | wanted;
            if wanted.contains(OpenFlags::NOATIME) && !file.flags().contains(OpenFlags::NOATIME) {
                let owner = file.path.inode().ops.attr()?.uid;
                if cx.cred().fsuid != owner {
                    cx.require(Cap::Fowner)?;
                }
            }
            file.ops.set_flags(&file, new)?;
            file.set_flags(new);
            Ok(0)
        }
        5..=7 | 36..=38 => range_lock(cx, &file, cmd, UserAddr(arg)),
        // F_SETOWN, F_GETOWN, F_SETSIG, F_GETSIG: SIGIO is not sent, nobody owns a file.
        9 => Ok(0),
        11 => Ok(0),
        8 | 10 | 15 | 16 => err(Errno::EINVAL),
        1024 => err(Errno::EINVAL), // F_SETLEASE: leases are not there
        1025 => Ok(2),              // F_GETLEASE: F_UNLCK
        1031 => {
            let n = usize::try_from(arg as u32).unwrap_or(usize::MAX);
            Ok(fs::pipe::set_size(&file, &cx.cred(), n)? as i64)
        }
        1032 => Ok(fs::pipe::get_size(&file)? as i64),
        1033 => {
            fs::memfd::add_seals(&file, arg as u32)?;
            Ok(0)
        }
        1034 => Ok(fs::memfd::get_seals(&file)?.into()),
        _ => err(Errno::EINVAL),
    }
}

/// flock(2).
///
/// # Errors
/// EBADF, EINVAL, EWOULDBLOCK, EINTR.
pub fn flock(cx: &mut Ctx<'_>, fd: Fd, op: u32) -> SysResult {
    let file = cx.file(fd)?;
    let kind = match op & !4 {
        1 => Some(LockType::Read),
        2 => Some(LockType::Write),
        8 => None,
        _ => return err(Errno::EINVAL),
    };
    fs::lock::flock(&file, cx.task.pid(), kind, op & 4 == 0)?;
    Ok(0)
}

/// fsync(2).
///
/// # Errors
/// EBADF, EINVAL, EIO, ENOSPC.
pub fn fsync(cx: &mut Ctx<'_>, fd: Fd) -> SysResult {
    let f = cx.file(fd)?;
    f.ops.sync(&f, false)?;
    Ok(0)
}

/// fdatasync(2).
///
/// # Errors
/// As fsync.
pub fn fdatasync(cx: &mut Ctx<'_>, fd: Fd) -> SysResult {
    let f = cx.file(fd)?;
    f.ops.sync(&f, true)?;
    Ok(0)
}

/// sync(2).
///
/// # Errors
/// None: Linux reports none either; they are logged.
pub fn sync(cx: &mut Ctx<'_>) -> SysResult {
    if let Err(e) = cx.kernel.vfs.sync_all() {
        log::error!("sync: {e:?}");
    }
    Ok(0)
}

/// syncfs(2).
///
/// # Errors
/// EBADF, EIO, ENOSPC.
pub fn syncfs(cx: &mut Ctx<'_>, fd: Fd) -> SysResult {
    let f = cx.file(fd)?;
    f.path.inode().fs.sync()?;
    Ok(0)
}

/// sync_file_range(2): writes the whole file's data.
///
/// # Errors
/// EBADF, EINVAL, ESPIPE, EIO.
pub fn sync_file_range(cx: &mut Ctx<'_>, fd: Fd, at: i64, len: i64, flags: u32) -> SysResult {
    let f = cx.file(fd)?;
    if flags & !7 != 0 || at < 0 || len < 0 {
        return err(Errno::EINVAL);
    }
    match f.path.inode().ops.page_cache() {
        Some(pages) => {
            let first = at as u64 / base::PAGE_SIZE as u64;
            let last = if len == 0 {
                u64::MAX
            } else {
                (at as u64 + len as u64 - 1) / base::PAGE_SIZE as u64
            };
            pages.sync_range(first, last)?;
            Ok(0)
        }
        None => err(Errno::ESPIPE),
    }
}

/// truncate(2).
///
/// # Errors
/// truncate(2).
pub fn truncate(cx: &mut Ctx<'_>, path: Str, len: i64) -> SysResult {
    let size = u64::try_from(len).map_err(|_| Errno::EINVAL)?;
    let name = cx.path(path)?;
    let p = fs::lookup(&cx.task.fs(), &cx.cred(), None, &name, LookupFlags::FOLLOW)?;
    fs::ops::truncate(&cx.cred(), &p, size, cx.task.process.rlimit(Resource::Fsize))?;
    Ok(0)
}

/// ftruncate(2).
///
/// # Errors
/// truncate(2).
pub fn ftruncate(cx: &mut Ctx<'_>, fd: Fd, len: i64) -> SysResult {
    let size = u64::try_from(len).map_err(|_| Errno::EINVAL)?;
    fs::ops::ftruncate(&*cx.file(fd)?, size, cx.task.process.rlimit(Resource::Fsize))?;
    Ok(0)
}

/// fallocate(2).
///
/// # Errors
/// fallocate(2).
pub fn fallocate(cx: &mut Ctx<'_>, fd: Fd, mode: u32, at: i64, len: i64) -> SysResult {
    if at < 0 || len <= 0 {
        return err(Errno::EINVAL);
    }
    let limit = cx.task.process.rlimit(Resource::Fsize);
    fs::ops::fallocate(&*cx.file(fd)?, mode, at as u64, len as u64, limit)?;
    Ok(0)
}

fn dents(cx: &Ctx<'_>, fd: Fd, buf: UserAddr, count: usize, old: bool) -> SysResult {
    let file = cx.file(fd)?;
    let mut out: Vec<u8> = Vec::new();
    let count = count.min(1 << 20);
    let mut short = false;
    file.read_dir(&mut |e| {
        // struct linux_dirent64: ino 8, off 8, reclen 2, type 1, name; the old one has its type last.
        let header = if old { 18 } else { 19 };
        let tail = if old { 2 } else { 1 };
        let len = (header + e.name.len() + tail).next_multiple_of(8);
        if out.len() + len > count {
            short = true;
            return false;
        }
        let kind = e.kind.map_or(0, fs::FileType::dirent_type);
        let start = out.len();
        out.extend(e.ino.to_le_bytes());
        out.extend(e.next.to_le_bytes());
        out.extend((len as u16).to_le_bytes());
        if !old {
            out.push(kind);
        }
        out.extend(e.name);
        out.resize(start + len, 0);
        if old {
            out[start + len - 1] = kind;
        }
        true
    })?;
    if out.is_empty() && short {
        return err(Errno::EINVAL);
    }
    cx.mm.write(buf, &out)?;
    Ok(out.len() as i64)
}

/// getdents(2).
///
/// # Errors
/// EBADF, EFAULT, EINVAL, ENOENT, ENOTDIR.
pub fn getdents(cx: &mut Ctx<'_>, fd: Fd, buf: UserAddr, count: usize) -> SysResult {
    dents(cx, fd, buf, count, true)
}

/// getdents64(2).
///
/// # Errors
/// As getdents.
pub fn getdents64(cx: &mut Ctx<'_>, fd: Fd, buf: UserAddr, count: usize) -> SysResult {
    dents(cx, fd, buf, count, false)
}

/// memfd_create(2).
///
/// # Errors
/// EINVAL, EFAULT, EMFILE, ENOMEM.
pub fn memfd_create(cx: &mut Ctx<'_>, name: Str, flags: u32) -> SysResult {
    const CLOEXEC: u32 = 1;
    let name = cx
        .mm
        .read_cstr(name.0, 250)
        .map_err(|e| if e == Errno::ENAMETOOLONG { Errno::EINVAL.into() } else { e })?;
    let file = cx.kernel.memfds.create(&name, flags, &cx.cred())?;
    install(cx, file, flags & CLOEXEC != 0)
}
