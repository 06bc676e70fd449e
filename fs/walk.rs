//! The path walk: from a name to a [`Path`]. `man 7 path_resolution`, `man 2 openat2`.
//!
//! The walk is a loop over components. A step asks the dentry cache, follows mounts down, and, if it
//! met a symbolic link that is to be followed, puts the link's text before the rest of the name and goes on.
//! Nothing is allocated unless there are links or misses.
//!
//! `fs.protected_symlinks`, `protected_hardlinks`, `protected_fifos` and `protected_regular` are 0, as
//! in a kernel whose init has not set them.

use std::borrow::Cow;
use std::sync::Arc;

use base::limits::{MAX_SYMLINKS, NAME_MAX, PATH_MAX};
use base::{Cred, Errno, Result, err};

use crate::dentry::Dentry;
use crate::inode::{FileType, Inode};
use crate::mount::{MountFlags, MountNamespace};
use crate::path::{FsContext, Path};

bitflags::bitflags! {
    /// How a name is looked up.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct LookupFlags: u32 {
        /// Follow a symbolic link in the last component.
        const FOLLOW = 1 << 0;
        /// The result must be a directory (ENOTDIR).
        const DIRECTORY = 1 << 1;
        /// AT_EMPTY_PATH: an empty name means the start itself.
        const EMPTY = 1 << 2;
        /// RESOLVE_NO_XDEV: crossing a mount is EXDEV.
        const NO_XDEV = 1 << 3;
        /// RESOLVE_NO_MAGICLINKS: ELOOP.
        const NO_MAGICLINKS = 1 << 4;
        /// RESOLVE_NO_SYMLINKS: ELOOP.
        const NO_SYMLINKS = 1 << 5;
        /// RESOLVE_BENEATH: leaving the start is EXDEV.
        const BENEATH = 1 << 6;
        /// RESOLVE_IN_ROOT: the start is the root.
        const IN_ROOT = 1 << 7;
        /// RESOLVE_CACHED: EAGAIN if the dentry cache does not know.
        const CACHED = 1 << 8;
    }
}

impl LookupFlags {
    /// From the `resolve` field of openat2(2).
    ///
    /// # Errors
    /// EINVAL for unknown bits, and for BENEATH with IN_ROOT.
    pub fn from_resolve(resolve: u64) -> Result<LookupFlags> {
        let map = [
            (0x01, LookupFlags::NO_XDEV),
            (0x02, LookupFlags::NO_MAGICLINKS),
            (0x04, LookupFlags::NO_SYMLINKS),
            (0x08, LookupFlags::BENEATH),
            (0x10, LookupFlags::IN_ROOT),
            (0x20, LookupFlags::CACHED),
        ];
        if resolve & !0x3f != 0 || resolve & 0x18 == 0x18 {
            return err(Errno::EINVAL);
        }
        let set = map.iter().filter(|(bit, _)| resolve & bit != 0);
        Ok(set.fold(LookupFlags::empty(), |f, (_, x)| f | *x))
    }
}

/// The last component of a name, before it is looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Last<'a> {
    /// A name.
    Name(Cow<'a, [u8]>),
    /// `.`
    Dot,
    /// `..`
    DotDot,
    /// The name was `/` (or slashes only).
    Root,
}

/// A directory and what the last component names in it.
#[derive(Debug)]
pub struct Parent<'a> {
    /// The directory; searchable by the caller.
    pub dir: Path,
    /// The last component.
    pub last: Last<'a>,
    /// Slashes follow it: it must be (or become) a directory.
    pub slash: bool,
}

/// Checks `want` (4 read, 2 write, 1 execute or search) against an inode, with the file-system ids
/// and the effective capabilities of `cred`.
///
/// # Errors
/// EACCES; EIO from the file system.
pub fn permission(inode: &Inode, cred: &Cred, want: u32) -> Result<()> {
    let dir = inode.kind == FileType::Directory;
    if dir && want == 1 && inode.vfs.search_all() == Some(true) {
        return Ok(());
    }
    let a = inode.ops.attr()?;
    if dir && inode.fs.cache_names() {
        inode.vfs.learn_search(&a);
    }
    if cred.may_access(want, a.uid, a.gid, a.perm, dir) { Ok(()) } else { err(Errno::EACCES) }
}

/// One walk.
pub(crate) struct Walker<'c> {
    cred: &'c Cred,
    ns: Arc<MountNamespace>,
    root: Path,
    at: Path,
    flags: LookupFlags,
    links: usize,
}

impl<'c> Walker<'c> {
    /// A walk from `base` (None: the working directory).
    pub(crate) fn new(
        ctx: &FsContext,
        cred: &'c Cred,
        base: Option<&Path>,
        name: &[u8],
        flags: LookupFlags,
    ) -> Result<Walker<'c>> {
        if name.len() >= PATH_MAX {
            return err(Errno::ENAMETOOLONG);
        }
        if name.is_empty() && !flags.contains(LookupFlags::EMPTY) {
            return err(Errno::ENOENT);
        }
        let s = ctx.state();
        let start = base.cloned().unwrap_or(s.cwd);
        let scoped = flags.intersects(LookupFlags::BENEATH | LookupFlags::IN_ROOT);
        let root = if scoped { start.clone() } else { s.root };
        let absolute = name.first() == Some(&b'/');
        if absolute && flags.contains(LookupFlags::BENEATH) {
            return err(Errno::EXDEV);
        }
        let at = if absolute { root.clone() } else { start };
        Ok(Walker { cred, ns: s.ns, root, at, flags, links: 0 })
    }

    /// The current place must be a directory that the caller may search.
    fn enter(&self) -> Result<()> {
        let inode = self.at.inode();
        if inode.kind != FileType::Directory {
            return err(Errno::ENOTDIR);
        }
        permission(inode, self.cred, 1)
    }

    /// Walks all but the last component.
    pub(crate) fn parent<'a>(&mut self, name: Cow<'a, [u8]>) -> Result<Parent<'a>> {
        match name {
            Cow::Borrowed(n) => {
                let (last, slash) = self.walk_to_last(n)?;
                self.finish_parent(last, slash, n)
            }
            Cow::Owned(n) => {
                let (last, slash) = self.walk_to_last(&n)?;
                let p = self.finish_parent(last, slash, &n)?;
                let last = match p.last {
                    Last::Name(n) => Last::Name(Cow::Owned(n.into_owned())),
                    Last::Dot => Last::Dot,
                    Last::DotDot => Last::DotDot,
                    Last::Root => Last::Root,
                };
                Ok(Parent { dir: p.dir, last, slash: p.slash })
            }
        }
    }

    fn finish_parent<'a>(&mut self, last: Tail, slash: bool, n: &'a [u8]) -> Result<Parent<'a>> {
        let last = match last {
            Tail::None => {
                return Ok(Parent { dir: self.at.clone(), last: Last::Root, slash });
            }
            Tail::Borrowed(a, b) => Cow::Borrowed(&n[a..b]),
            Tail::Owned(v) => Cow::Owned(v),
        };
        self.enter()?;
        let last = match &*last {
            b"." => Last::Dot,
            b".." => Last::DotDot,
            _ => Last::Name(last),
        };
        Ok(Parent { dir: self.at.clone(), last, slash })
    }

    /// Walks to the last component, following links in the others, and returns it.
    fn walk_to_last(&mut self, name: &[u8]) -> Result<(Tail, bool)> {
        // While no link was met, `rest` is a part of `name`.
        let mut owned: Option<Vec<u8>> = None;
        let mut pos = 0;
        loop {
            let text: &[u8] = owned.as_deref().unwrap_or(name);
            while text.get(pos) == Some(&b'/') {
                pos += 1;
            }
            if pos == text.len() {
                return Ok((Tail::None, false));
            }
            let start = pos;
            while pos < text.len() && text[pos] != b'/' {
                pos += 1;
            }
            let end = pos;
            while text.get(pos) == Some(&b'/') {
                pos += 1;
            }
            if end - start > NAME_MAX {
                self.enter()?;
                return err(Errno::ENAMETOOLONG);
            }
            if pos == text.len() {
                let slash = pos != end;
                let tail = match owned {
                    None => Tail::Borrowed(start, end),
                    Some(v) => Tail::Owned(v[start..end].to_vec()),
                };
                return Ok((tail, slash));
            }
            let comp = &text[start..end];
            if let Some(mut link) = self.step(comp, true)? {
                link.push(b'/');
                link.extend_from_slice(&text[pos..]);
                owned = Some(link);
                pos = 0;
            }
        }
    }

    /// Goes through one component. Returns the text of a symbolic link that the caller must walk first
    /// (an absolute one has moved `at` to the root already).
    fn step(&mut self, comp: &[u8], follow: bool) -> Result<Option<Vec<u8>>> {
        self.enter()?;
        match comp {
            b"." => Ok(None),
            b".." => self.dot_dot().map(|()| None),
            _ => {
                let d = self.at.dentry.child(comp, self.flags.contains(LookupFlags::CACHED))?;
                self.enter_child(d, follow)
            }
        }
    }

    /// `at` becomes the child; links are resolved as for `step`.
    pub(crate) fn enter_child(&mut self, d: Arc<Dentry>, follow: bool) -> Result<Option<Vec<u8>>> {
        let Some(inode) = d.try_inode() else { return err(Errno::ENOENT) };
        if inode.kind == FileType::Symlink && follow {
            let inode = inode.clone();
            return self.follow(&inode);
        }
        if d.is_mountpoint()
            && let Some(m) = self.ns.mounted_at(&self.at.mount, &d)
        {
            if self.flags.contains(LookupFlags::NO_XDEV) {
                return err(Errno::EXDEV);
            }
            self.at = self.ns.descend(m.root_path());
        } else {
            self.at.dentry = d;
        }
        Ok(None)
    }

    fn follow(&mut self, link: &Arc<Inode>) -> Result<Option<Vec<u8>>> {
        self.links += 1;
        let forbidden = self.flags.contains(LookupFlags::NO_SYMLINKS)
            || self.at.mount.flags().contains(MountFlags::NOSYMFOLLOW);
        if self.links > MAX_SYMLINKS || forbidden {
            return err(Errno::ELOOP);
        }
        if let Some(to) = link.ops.follow_magic()? {
            if self.flags.contains(LookupFlags::NO_MAGICLINKS) {
                return err(Errno::ELOOP);
            }
            let scoped = self.flags.intersects(LookupFlags::BENEATH | LookupFlags::IN_ROOT);
            let crosses = self.flags.contains(LookupFlags::NO_XDEV)
                && !Arc::ptr_eq(&to.mount, &self.at.mount);
            if scoped || crosses {
                return err(Errno::EXDEV);
            }
            self.at = to;
            return Ok(None);
        }
        let text = link.ops.read_link()?;
        match text.first() {
            None => return err(Errno::ENOENT),
            Some(b'/') => {
                let crosses = self.flags.contains(LookupFlags::NO_XDEV)
                    && !Arc::ptr_eq(&self.root.mount, &self.at.mount);
                if self.flags.contains(LookupFlags::BENEATH) || crosses {
                    return err(Errno::EXDEV);
                }
                self.at = self.root.clone();
            }
            Some(_) => {}
        }
        Ok(Some(text))
    }

    fn dot_dot(&mut self) -> Result<()> {
        if self.at.same(&self.root) {
            // At the root `..` stays; beneath a start it would leave it.
            let beneath = self.flags.contains(LookupFlags::BENEATH);
            return if beneath { err(Errno::EXDEV) } else { Ok(()) };
        }
        let Some(up) = self.at.up() else { return Ok(()) };
        let crosses = !Arc::ptr_eq(&up.mount, &self.at.mount);
        if crosses && self.flags.contains(LookupFlags::NO_XDEV) {
            return err(Errno::EXDEV);
        }
        // A mount point on the way up may itself be the root of a chroot.
        if crosses && self.passes_root() {
            return Ok(());
        }
        self.at = self.ns.descend(up);
        Ok(())
    }

    /// Whether the climb from a mount's root through its mount points meets the root.
    fn passes_root(&mut self) -> bool {
        let mut p = self.at.clone();
        while Arc::ptr_eq(&p.dentry, p.mount.root()) {
            match p.mount.place() {
                Some(up) => p = up,
                None => return true,
            }
            if p.same(&self.root) {
                self.at = self.ns.descend(p);
                return true;
            }
        }
        false
    }

    /// Resolves a last component whose directory is `at`. Gives back link text as `step` does.
    pub(crate) fn last(&mut self, last: &Last<'_>, follow: bool) -> Result<Option<Vec<u8>>> {
        match last {
            Last::Root | Last::Dot => Ok(None),
            Last::DotDot => self.dot_dot().map(|()| None),
            Last::Name(n) => {
                let d = self.at.dentry.child(n, self.flags.contains(LookupFlags::CACHED))?;
                self.enter_child(d, follow)
            }
        }
    }

    /// The VFS of the caller's namespace.
    pub(crate) fn vfs(&self) -> &Arc<crate::vfs::Vfs> {
        self.ns.vfs()
    }

    /// Where the walk is.
    pub(crate) fn at(&self) -> &Path {
        &self.at
    }

    /// Walks the whole name.
    pub(crate) fn full(mut self, name: &[u8]) -> Result<Path> {
        let follow = self.flags.contains(LookupFlags::FOLLOW);
        let mut text: Cow<'_, [u8]> = Cow::Borrowed(name);
        let mut must_be_dir = self.flags.contains(LookupFlags::DIRECTORY);
        loop {
            let p = self.parent(text)?;
            must_be_dir |= p.slash;
            match self.last(&p.last, follow || p.slash)? {
                None => break,
                Some(link) => text = Cow::Owned(link),
            }
        }
        if must_be_dir && self.at.inode().kind != FileType::Directory {
            return err(Errno::ENOTDIR);
        }
        Ok(self.at)
    }
}

/// Where the last component lies.
enum Tail {
    None,
    Borrowed(usize, usize),
    Owned(Vec<u8>),
}

/// The place that `name` names, from `base` (None: the working directory).
///
/// # Errors
/// ENOENT, ENOTDIR, EACCES, ELOOP, ENAMETOOLONG (path_resolution(7)); EXDEV and EAGAIN for the
/// RESOLVE flags (openat2(2)); what the file system says.
pub fn lookup(
    ctx: &FsContext,
    cred: &Cred,
    base: Option<&Path>,
    name: &[u8],
    flags: LookupFlags,
) -> Result<Path> {
    if name.is_empty() && flags.contains(LookupFlags::EMPTY) {
        return Ok(base.cloned().unwrap_or_else(|| ctx.cwd()));
    }
    Walker::new(ctx, cred, base, name, flags)?.full(name)
}

/// The directory in which `name`'s last component lies, for what creates or removes names. The
/// caller may search it; whether it may write is for the caller to check.
///
/// # Errors
/// As [`lookup`].
pub fn lookup_parent<'a>(
    ctx: &FsContext,
    cred: &Cred,
    base: Option<&Path>,
    name: &'a [u8],
    flags: LookupFlags,
) -> Result<Parent<'a>> {
    Walker::new(ctx, cred, base, name, flags)?.parent(Cow::Borrowed(name))
}
