//! /proc/PID/fdinfo: position, flags, mount and what the file itself has to say.

use base::Result;

use super::Ctx;
use super::links::fd_keys;
use super::node::{Access, At, Child, Listing, Node, parse_number};
use crate::file::OpenFlags;

/// The files of the directory.
pub(crate) static FDINFO: Listing = Listing {
    keys: fd_keys,
    name: |_, key| key.to_string(),
    parse: parse_number,
    child: |c, key| {
        c.source().file(c.pid(), c.tid(), key as u32)?;
        let node = Node::File { read: Some(show), write: None, access: Access::Look };
        Some(Child { node, mode: 0o444, at: At { key, ..c.at } })
    },
};

fn show(c: &Ctx<'_>) -> Result<Vec<u8>> {
    let (file, cloexec) = c.file()?;
    let mut flags = file.flags() | OpenFlags::LARGEFILE;
    if cloexec {
        flags |= OpenFlags::CLOEXEC;
    }
    // Somebody who reads holds the position; Linux looks at it without asking, too.
    let pos = file.pos.try_lock().map_or(0, |p| *p);
    let mut out = format!(
        "pos:\t{pos}\nflags:\t0{:o}\nmnt_id:\t{}\nino:\t{}\n",
        flags.bits(),
        file.path.mount.id(),
        file.path.inode().ino
    );
    out += &c.source().fd_locks(&file);
    out += &file.ops.fdinfo(&file);
    Ok(out.into_bytes())
}
