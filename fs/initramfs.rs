//! The initial file system: a cpio archive in the "newc" format (`070701`, with checksums `070702`;
//! Documentation/driver-api/early-userspace/buffer-format.rst) unpacked through the VFS.
//!
//! The archive is not compressed. Names may not climb (`..` is an error). Files with several
//! names share an inode: the first name makes it, the others are links to it.

use std::collections::HashMap;
use std::sync::Arc;

use base::iobuf::SliceSource;
use base::{Cred, Errno, Result, Timestamp, err};
use drivers::{DevNum, Opener};

use crate::file::OpenFlags;
use crate::inode::FileType;
use crate::ops::{self, OpenHow, SetTime};
use crate::path::{FsContext, Path};
use crate::walk::{LookupFlags, lookup};

/// One entry's header, in the order of its thirteen fields of eight hex digits.
struct Header {
    ino: u32,
    mode: u32,
    uid: u32,
    gid: u32,
    nlink: u32,
    mtime: u32,
    size: u32,
    dev: (u32, u32),
    rdev: DevNum,
    name_len: u32,
}

const HEADER: usize = 110;

fn header(raw: &[u8]) -> Result<Header> {
    if raw.len() < HEADER || !(raw.starts_with(b"070701") || raw.starts_with(b"070702")) {
        return err(Errno::EINVAL);
    }
    let mut f = [0u32; 13];
    for (i, v) in f.iter_mut().enumerate() {
        let digits = std::str::from_utf8(&raw[6 + i * 8..14 + i * 8]).unwrap_or("");
        match u32::from_str_radix(digits, 16) {
            Ok(n) => *v = n,
            Err(_) => return err(Errno::EINVAL),
        }
    }
    Ok(Header {
        ino: f[0],
        mode: f[1],
        uid: f[2],
        gid: f[3],
        nlink: f[4],
        mtime: f[5],
        size: f[6],
        dev: (f[7], f[8]),
        rdev: DevNum::new(f[9], f[10]),
        name_len: f[11],
    })
}

struct Boot(Arc<Cred>);

impl Opener for Boot {
    fn cred(&self) -> &Cred {
        &self.0
    }
}

/// Unpacks an archive into the root of `ctx`. The root credentials are used whatever the umask.
///
/// # Errors
/// EINVAL for what is no such archive or is cut short; what creating the files says (ENOSPC).
pub fn unpack(ctx: &FsContext, archive: &[u8]) -> Result<()> {
    let cred = Arc::new(Cred::root());
    let umask = ctx.set_umask(0);
    let r = unpack_all(ctx, &cred, archive);
    ctx.set_umask(umask);
    r
}

fn unpack_all(ctx: &FsContext, cred: &Arc<Cred>, archive: &[u8]) -> Result<()> {
    let mut at = 0;
    let mut names: HashMap<(u32, (u32, u32)), Vec<u8>> = HashMap::new();
    let pad = |n: usize| n.next_multiple_of(4);
    loop {
        // Archives may be joined, with zeros between them.
        while archive.get(at) == Some(&0) {
            at += 1;
        }
        if at >= archive.len() {
            return Ok(());
        }
        let h = header(&archive[at..])?;
        let name_at = at + HEADER;
        let data_at = pad(name_at + h.name_len as usize);
        let end = data_at + h.size as usize;
        if h.name_len == 0 || end > archive.len() {
            return err(Errno::EINVAL);
        }
        let name = &archive[name_at..name_at + h.name_len as usize - 1];
        let data = &archive[data_at..end];
        at = pad(end);
        if name == b"TRAILER!!!" {
            names.clear();
            continue;
        }
        if name.split(|b| *b == b'/').any(|c| c == b"..") {
            return err(Errno::EINVAL);
        }
        let mut path = b"/".to_vec();
        path.extend_from_slice(name);
        entry(ctx, cred, &h, &path, data, &mut names)?;
    }
}

fn entry(
    ctx: &FsContext,
    cred: &Arc<Cred>,
    h: &Header,
    name: &[u8],
    data: &[u8],
    names: &mut HashMap<(u32, (u32, u32)), Vec<u8>>,
) -> Result<()> {
    let Some(kind) = FileType::from_mode(h.mode) else { return err(Errno::EINVAL) };
    let perm = h.mode & 0o7777;
    let find = || lookup(ctx, cred, None, name, LookupFlags::empty());
    match kind {
        FileType::Directory => match ops::mkdir(ctx, cred, None, name, perm) {
            Err(e) if e == Errno::EEXIST => {}
            r => r?,
        },
        FileType::Symlink => ops::symlink(ctx, cred, data, None, name)?,
        FileType::Regular => {
            let key = (h.ino, h.dev);
            match names.get(&key).filter(|_| h.nlink > 1) {
                Some(first) => {
                    let old = lookup(ctx, cred, None, first, LookupFlags::empty())?;
                    ops::link(ctx, cred, &old, None, name)?;
                }
                None => {
                    names.insert(key, name.to_vec());
                }
            }
            if !data.is_empty() || h.nlink <= 1 || names.get(&key).is_some_and(|n| n == name) {
                write_file(ctx, cred, name, perm, data)?;
            }
        }
        _ => {
            ops::mknod(ctx, cred, None, name, kind, perm, h.rdev)?;
        }
    }
    finish(cred, &find()?, h, perm)
}

fn write_file(
    ctx: &FsContext,
    cred: &Arc<Cred>,
    name: &[u8],
    mode: u32,
    data: &[u8],
) -> Result<()> {
    let flags = OpenFlags::WRONLY | OpenFlags::CREAT | OpenFlags::TRUNC;
    let how = OpenHow { flags, mode, resolve: LookupFlags::empty() };
    let file = ops::open(ctx, cred, &Boot(cred.clone()), None, name, &how)?;
    let mut source = SliceSource(data);
    while !source.0.is_empty() {
        if file.write(&mut source, u64::MAX)? == 0 {
            return err(Errno::ENOSPC);
        }
    }
    Ok(())
}

/// Owner, mode and time, in the order in which they do not undo each other.
fn finish(cred: &Cred, path: &Path, h: &Header, perm: u32) -> Result<()> {
    ops::chown(cred, path, Some(h.uid), Some(h.gid))?;
    if path.inode().kind != FileType::Symlink {
        ops::chmod(cred, path, perm)?;
    }
    let t = SetTime::At(Timestamp { sec: i64::from(h.mtime), nsec: 0 });
    ops::utimens(cred, path, t, t)
}
