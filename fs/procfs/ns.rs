//! /proc/PID/ns: the namespaces of a process.

use base::{Errno, Error, Result};

use super::Ctx;
use super::node::{At, Child, Listing, Node};
use crate::path::Path;

/// Kinds and numbers of the initial namespaces, as Linux has them.
pub(crate) const KINDS: [(&str, u64); 10] = [
    ("cgroup", 0xefff_fffb),
    ("ipc", 0xefff_ffff),
    ("mnt", 0xefff_fff8),
    ("net", 0xefff_fff9),
    ("pid", 0xefff_fffc),
    ("pid_for_children", 0xefff_fffc),
    ("time", 0xefff_fffa),
    ("time_for_children", 0xefff_fffa),
    ("user", 0xefff_fffd),
    ("uts", 0xefff_fffe),
];

/// The number of an initial namespace.
pub(crate) fn default_ino(kind: &str) -> Option<u64> {
    KINDS.iter().find(|k| k.0 == kind).map(|k| k.1)
}

fn kind(key: u64) -> Option<&'static str> {
    KINDS.get(usize::try_from(key).ok()?).map(|k| k.0)
}

/// The links of the directory; the key is the place in [`KINDS`].
pub(crate) static LINKS: Listing = Listing {
    keys: |_| (0..KINDS.len() as u64).collect(),
    name: |_, key| kind(key).unwrap_or_default().to_owned(),
    parse: |name| KINDS.iter().position(|k| k.0.as_bytes() == name).map(|i| i as u64),
    child: |c, key| {
        kind(key)?;
        let node = Node::Magic { text, path, size: 0 };
        Some(Child { node, mode: 0o777, at: At { key, ..c.at } })
    },
};

fn text(c: &Ctx<'_>) -> Result<Vec<u8>> {
    let gone = || Error::new(Errno::ENOENT);
    let kind = kind(c.at.key).ok_or_else(gone)?;
    let ino = c.source().namespace(c.pid(), kind).ok_or_else(gone)?;
    let family = kind.strip_suffix("_for_children").unwrap_or(kind);
    Ok(format!("{family}:[{ino}]").into_bytes())
}

fn path(c: &Ctx<'_>) -> Result<Path> {
    kind(c.at.key)
        .and_then(|k| c.source().namespace_path(c.pid(), k))
        .ok_or_else(|| Error::new(Errno::ENOENT))
}
