//! Calls that name files. `man 7 path_resolution`.
//!
//! This file has what they share: the AT_* flags and the look-up that obeys them. The families:
//! [`stat`](mod@stat) (what a file is), [`names`] (directories and links), [`attrs`] (mode, owner, times),
//! [`mounts`] (working directory, root, mounts), [`xattr`].

pub mod attrs;
pub mod mounts;
pub mod names;
pub mod stat;
pub mod xattr;

use base::{Errno, Result, err};
use fs::{Attr, LookupFlags, Path};

use super::args::AT_FDCWD;
use super::{Ctx, Fd, Str};

pub use attrs::*;
pub use mounts::*;
pub use names::*;
pub use stat::*;
pub use xattr::*;

const AT_SYMLINK_NOFOLLOW: u32 = 0x100;
const AT_REMOVEDIR: u32 = 0x200;
const AT_EACCESS: u32 = 0x200;
const AT_SYMLINK_FOLLOW: u32 = 0x400;
const AT_NO_AUTOMOUNT: u32 = 0x800;
const AT_EMPTY_PATH: u32 = 0x1000;
const AT_STATX_SYNC: u32 = 0x6000;

/// The directory that a relative name starts from; None for AT_FDCWD and absolute names.
///
/// # Errors
/// EBADF.
pub fn base_of(cx: &Ctx<'_>, dir: Fd, name: &[u8]) -> Result<Option<Path>> {
    if dir.0 == AT_FDCWD || name.starts_with(b"/") {
        return Ok(None);
    }
    Ok(Some(cx.files().get(dir.0)?.path.clone()))
}

/// Looks a name up as the `*at` calls do; `flags` are AT_* bits, `follow` says what the call does
/// with a final link by default.
fn look(cx: &Ctx<'_>, dir: Fd, path: Str, flags: u32, follow: bool) -> Result<Path> {
    // A null pointer with AT_EMPTY_PATH means an empty name, as since Linux 6.11.
    let name =
        if path.0.is_null() && flags & AT_EMPTY_PATH != 0 { Vec::new() } else { cx.path(path)? };
    look_name(cx, dir, &name, flags, follow)
}

fn look_name(cx: &Ctx<'_>, dir: Fd, name: &[u8], flags: u32, follow: bool) -> Result<Path> {
    let mut f = LookupFlags::empty();
    let follow =
        if follow { flags & AT_SYMLINK_NOFOLLOW == 0 } else { flags & AT_SYMLINK_FOLLOW != 0 };
    f.set(LookupFlags::FOLLOW, follow);
    f.set(LookupFlags::EMPTY, flags & AT_EMPTY_PATH != 0);
    if name.is_empty() && flags & AT_EMPTY_PATH != 0 {
        return if dir.0 == AT_FDCWD {
            Ok(cx.task.fs().cwd())
        } else {
            Ok(cx.files().get(dir.0)?.path.clone())
        };
    }
    let base = base_of(cx, dir, name)?;
    fs::lookup(&cx.task.fs(), &cx.cred(), base.as_ref(), name, f)
}

fn cwd() -> Fd {
    Fd(AT_FDCWD)
}

fn only(flags: u32, known: u32) -> Result<()> {
    if flags & !known != 0 { err(Errno::EINVAL) } else { Ok(()) }
}

fn mode_of(a: &Attr) -> u32 {
    a.kind as u32 | a.perm
}
