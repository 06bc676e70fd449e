//! Where a task stands and what it sees: working directory, root, mounts, statfs(2).

use base::{Errno, Result, UserAddr, UserMemory, err};
use fs::{Path, ops};

use super::{cwd, look};
use crate::syscall::{Ctx, Fd, Str, SysResult};

/// chdir(2).
///
/// # Errors
/// chdir(2).
pub fn chdir(cx: &mut Ctx<'_>, path: Str) -> SysResult {
    let p = look(cx, cwd(), path, 0, true)?;
    ops::chdir(&cx.task.fs(), &cx.cred(), p)?;
    Ok(0)
}

/// fchdir(2).
///
/// # Errors
/// chdir(2).
pub fn fchdir(cx: &mut Ctx<'_>, fd: Fd) -> SysResult {
    let f = cx.files().get(fd.0)?;
    ops::chdir(&cx.task.fs(), &cx.cred(), f.path.clone())?;
    Ok(0)
}

/// chroot(2).
///
/// # Errors
/// chroot(2).
pub fn chroot(cx: &mut Ctx<'_>, path: Str) -> SysResult {
    let p = look(cx, cwd(), path, 0, true)?;
    ops::chroot(&cx.task.fs(), &cx.cred(), p)?;
    Ok(0)
}

/// getcwd(2): bytes with the NUL.
///
/// # Errors
/// ERANGE, ENOENT, EFAULT.
pub fn getcwd(cx: &mut Ctx<'_>, buf: UserAddr, size: usize) -> SysResult {
    let mut name = cx.task.fs().getcwd()?;
    name.push(0);
    if name.len() > size {
        return err(Errno::ERANGE);
    }
    cx.mm.write(buf, &name)?;
    Ok(name.len() as i64)
}

fn put_statfs(cx: &Ctx<'_>, p: &Path, at: UserAddr) -> SysResult {
    let (s, flags) = ops::statfs(p)?;
    let raw = [
        s.magic,
        s.block_size.into(),
        s.blocks,
        s.free,
        s.available,
        s.files,
        s.files_free,
        s.fsid,
        s.name_max.into(),
        s.block_size.into(),
        flags,
        0,
        0,
        0,
        0,
    ];
    cx.write_obj(at, &raw)?;
    Ok(0)
}

/// statfs(2).
///
/// # Errors
/// statfs(2).
pub fn statfs(cx: &mut Ctx<'_>, path: Str, buf: UserAddr) -> SysResult {
    put_statfs(cx, &look(cx, cwd(), path, 0, true)?, buf)
}

/// fstatfs(2).
///
/// # Errors
/// statfs(2).
pub fn fstatfs(cx: &mut Ctx<'_>, fd: Fd, buf: UserAddr) -> SysResult {
    let f = cx.files().get(fd.0)?;
    put_statfs(cx, &f.path, buf)
}

fn optional_string(cx: &Ctx<'_>, at: UserAddr) -> Result<Vec<u8>> {
    if at.is_null() { Ok(Vec::new()) } else { cx.mm.read_cstr(at, base::PAGE_SIZE) }
}

/// mount(2).
///
/// # Errors
/// mount(2).
pub fn mount(
    cx: &mut Ctx<'_>,
    source: UserAddr,
    target: Str,
    fstype: UserAddr,
    flags: u64,
    data: UserAddr,
) -> SysResult {
    let source = optional_string(cx, source)?;
    let fstype = optional_string(cx, fstype)?;
    let data = optional_string(cx, data)?;
    let target = cx.path(target)?;
    ops::mount(&cx.task.fs(), &cx.cred(), &source, &target, &fstype, flags, &data)?;
    Ok(0)
}

/// umount2(2).
///
/// # Errors
/// umount(2).
pub fn umount2(cx: &mut Ctx<'_>, target: Str, flags: u32) -> SysResult {
    let target = cx.path(target)?;
    ops::umount(&cx.task.fs(), &cx.cred(), &target, flags)?;
    Ok(0)
}

/// pivot_root(2): every task whose root or working directory was the old root gets the new one.
///
/// # Errors
/// pivot_root(2).
pub fn pivot_root(cx: &mut Ctx<'_>, new: Str, old: Str) -> SysResult {
    let (new, old) = (cx.path(new)?, cx.path(old)?);
    let (from, to) = ops::pivot_root(&cx.task.fs(), &cx.cred(), &new, &old)?;
    let tasks: Vec<_> = {
        let tree = cx.kernel.tree.lock();
        tree.nodes().flat_map(|n| n.process.lock().threads.clone()).collect()
    };
    for t in tasks {
        t.fs().replace(&from, &to);
    }
    Ok(0)
}
