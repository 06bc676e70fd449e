//! The links of a process that lead to objects: cwd, root, exe, fd/N, and map_files.

use std::sync::Arc;

use base::{Errno, Error, Result};

use super::Ctx;
use super::node::{At, Child, Listing, Node, parse_number};
use crate::file::{File, OpenFlags};
use crate::path::Path;

#[track_caller]
fn gone() -> Error {
    Error::new(Errno::ENOENT)
}

impl Ctx<'_> {
    /// The root directory of the caller, from which names are shown.
    pub(crate) fn caller_root(&self) -> Option<Path> {
        let s = self.source();
        s.fs_context(s.current_pid(), s.current_tid()).map(|f| f.root())
    }

    fn name(&self, path: &Path) -> Vec<u8> {
        match self.caller_root() {
            Some(root) => path.name_from(&root).0,
            None => path.full_name(),
        }
    }

    pub(crate) fn file(&self) -> Result<(Arc<File>, bool)> {
        self.source().file(self.pid(), self.tid(), self.at.key as u32).ok_or_else(gone)
    }
}

pub(crate) fn cwd(c: &Ctx<'_>) -> Result<Path> {
    c.source().fs_context(c.pid(), c.tid()).map(|f| f.cwd()).ok_or_else(gone)
}
pub(crate) fn cwd_text(c: &Ctx<'_>) -> Result<Vec<u8>> {
    Ok(c.name(&cwd(c)?))
}

pub(crate) fn root(c: &Ctx<'_>) -> Result<Path> {
    c.source().fs_context(c.pid(), c.tid()).map(|f| f.root()).ok_or_else(gone)
}
pub(crate) fn root_text(c: &Ctx<'_>) -> Result<Vec<u8>> {
    Ok(c.name(&root(c)?))
}

pub(crate) fn exe(c: &Ctx<'_>) -> Result<Path> {
    c.source().exe(c.pid()).ok_or_else(gone)
}
pub(crate) fn exe_text(c: &Ctx<'_>) -> Result<Vec<u8>> {
    Ok(c.name(&exe(c)?))
}

/// The open descriptors of a task, which only those see who may look into it.
pub(crate) fn fd_keys(c: &Ctx<'_>) -> Vec<u64> {
    if !c.source().may_access(c.pid(), false) {
        return Vec::new();
    }
    c.source().fds(c.pid(), c.tid()).into_iter().map(u64::from).collect()
}

/// /proc/PID/fd.
pub(crate) static FDS: Listing = Listing {
    keys: fd_keys,
    name: |_, key| key.to_string(),
    parse: parse_number,
    child: |c, key| {
        let (file, _) = c.source().file(c.pid(), c.tid(), key as u32)?;
        let flags = file.flags();
        let (r, w) = (flags.readable(), flags.writable());
        // The permission bits of the link show how the file is open; O_PATH shows none.
        let mode = 0o100 * (4 * u32::from(r) + 2 * u32::from(w) + u32::from(r || w));
        let node = Node::Magic { text: fd_text, path: fd_path, size: 64 };
        Some(Child { node, mode, at: At { key, ..c.at } })
    },
};

fn fd_text(c: &Ctx<'_>) -> Result<Vec<u8>> {
    let (file, _) = c.file()?;
    Ok(match c.caller_root() {
        Some(root) => file.display_name(&root),
        None => file.path.full_name(),
    })
}

fn fd_path(c: &Ctx<'_>) -> Result<Path> {
    let (file, _) = c.file()?;
    debug_assert!(!file.flags().contains(OpenFlags::CREAT));
    Ok(file.path.clone())
}

/// /proc/PID/map_files: a link for each mapped file, named by its addresses. The key is the first page.
pub(crate) static MAP_FILES: Listing = Listing {
    keys: |c| {
        if !c.source().may_access(c.pid(), false) {
            return Vec::new();
        }
        let all = c.source().maps(c.pid(), false).unwrap_or_default();
        all.iter().filter(|v| v.file).map(|v| v.start.vpn()).collect()
    },
    name: |c, key| map_of(c, key).map_or_else(String::new, |v| map_name(&v)),
    parse: |name| {
        let (start, _) = std::str::from_utf8(name).ok()?.split_once('-')?;
        Some(u64::from_str_radix(start, 16).ok()? >> 12)
    },
    child: |c, key| {
        map_of(c, key)?;
        let node = Node::Link(|c| map_of(c, c.at.key).map(|v| v.name.path).ok_or_else(gone));
        Some(Child { node, mode: 0o400, at: At { key, ..c.at } })
    },
};

fn map_name(v: &mm::VmaInfo) -> String {
    format!("{:x}-{:x}", v.start.0, v.end.0)
}

fn map_of(c: &Ctx<'_>, page: u64) -> Option<mm::VmaInfo> {
    let all = c.source().maps(c.pid(), false)?;
    all.into_iter().find(|v| v.file && v.start.vpn() == page)
}
