//! Inodes and open files of procfs: what a table entry becomes when somebody looks it up.

use std::any::Any;
use std::sync::Arc;

use base::{Errno, Mutex, PollEvents, PollTable, Result, Sink, Source, err};
use drivers::DevNum;

use super::sysctl_table::Sysctl;
use super::{Ctx, ProcFs, sysctl};
use crate::file::{File, FileOps, OpenFlags};
use crate::inode::{Attr, DirEntry, FileType, Inode, InodeOps, SetAttr};
use crate::path::Path;

/// Makes the content of a file.
pub(crate) type Read = fn(&Ctx<'_>) -> Result<Vec<u8>>;
/// Takes what was written to a file.
pub(crate) type Write = fn(&Ctx<'_>, &[u8]) -> Result<()>;

/// Who may open a file of a process, beyond its permission bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Access {
    /// Everybody.
    Any,
    /// Who may read the process's memory layout (`PTRACE_MODE_READ`).
    Look,
    /// Who may attach to the process (`PTRACE_MODE_ATTACH`).
    Attach,
}

/// What a name stands for.
#[derive(Clone, Copy)]
pub(crate) enum Node {
    /// A table of entries, and maybe names that come and go.
    Dir(&'static [Entry], Option<&'static Listing>),
    /// Text.
    File { read: Option<Read>, write: Option<Write>, access: Access },
    /// A symbolic link.
    Link(Read),
    /// A link that leads to an object and only looks like a name, with the size that lstat shows.
    Magic { text: Read, path: fn(&Ctx<'_>) -> Result<Path>, size: u64 },
    /// A file with operations of its own.
    Special { open: fn(&Ctx<'_>, OpenFlags) -> Result<Arc<dyn FileOps>>, access: Access },
    /// A directory below /proc/sys: the prefix with its slash.
    SysDir(&'static str),
    /// A variable.
    Sys(&'static Sysctl),
}

impl Node {
    fn kind(&self) -> FileType {
        match self {
            Node::Dir(..) | Node::SysDir(_) => FileType::Directory,
            Node::Link(_) | Node::Magic { .. } => FileType::Symlink,
            Node::File { .. } | Node::Special { .. } | Node::Sys(_) => FileType::Regular,
        }
    }
}

/// A name in a table.
pub(crate) struct Entry {
    pub(crate) name: &'static str,
    pub(crate) mode: u32,
    pub(crate) node: Node,
}

/// A read-only text file.
pub(crate) const fn text(name: &'static str, read: Read) -> Entry {
    let node = Node::File { read: Some(read), write: None, access: Access::Any };
    Entry { name, mode: 0o444, node }
}
/// A read-only text file with other permission bits and an access rule.
pub(crate) const fn guarded(name: &'static str, mode: u32, access: Access, read: Read) -> Entry {
    Entry { name, mode, node: Node::File { read: Some(read), write: None, access } }
}
/// A file that can be written.
pub(crate) const fn writable(name: &'static str, mode: u32, read: Read, write: Write) -> Entry {
    let node = Node::File { read: Some(read), write: Some(write), access: Access::Any };
    Entry { name, mode, node }
}
/// A directory.
pub(crate) const fn dir(name: &'static str, entries: &'static [Entry]) -> Entry {
    Entry { name, mode: 0o555, node: Node::Dir(entries, None) }
}

/// A name that a [`Listing`] made.
pub(crate) struct Child {
    pub(crate) node: Node,
    pub(crate) mode: u32,
    pub(crate) at: At,
}

/// Names that come and go: processes, descriptors. Each has a key that orders them and stays.
pub(crate) struct Listing {
    /// The keys, ascending.
    pub(crate) keys: fn(&Ctx<'_>) -> Vec<u64>,
    /// The name of a key.
    pub(crate) name: fn(&Ctx<'_>, u64) -> String,
    /// The key of a name.
    pub(crate) parse: fn(&[u8]) -> Option<u64>,
    /// What a key stands for; None if there is no such thing (any more).
    pub(crate) child: fn(&Ctx<'_>, u64) -> Option<Child>,
}

/// A number as a name: no sign, no leading zero.
pub(crate) fn parse_number(name: &[u8]) -> Option<u64> {
    let s = std::str::from_utf8(name).ok()?;
    let n: u64 = s.parse().ok()?;
    (n.to_string() == s && n <= i32::MAX as u64).then_some(n)
}

/// Which process, thread and descriptor (or other key) a node is about.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct At {
    pub(crate) pid: u32,
    pub(crate) tid: u32,
    pub(crate) key: u64,
}

/// An inode.
pub(crate) struct ProcInode {
    fs: Arc<ProcFs>,
    node: Node,
    mode: u32,
    at: At,
    ino: u64,
    parent: u64,
}

/// Positions of listed names start here: after every table.
const LISTED: u64 = 1024;

fn child_ino(parent: u64, name: &[u8]) -> u64 {
    // FNV-1a: a number that depends on the path alone.
    let mut h = parent ^ 0xcbf2_9ce4_8422_2325;
    for b in name {
        h = (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3);
    }
    ((h ^ (h >> 48)) & 0xffff_ffff_ffff) | 0x1000
}

impl ProcInode {
    pub(crate) fn make(
        fs: &Arc<ProcFs>,
        node: Node,
        mode: u32,
        at: At,
        ino: u64,
        parent: u64,
    ) -> Arc<Inode> {
        let ops = ProcInode { fs: fs.clone(), node, mode, at, ino, parent };
        Inode::new(ino, node.kind(), DevNum::default(), fs.clone(), Box::new(ops))
    }

    fn ctx(&self) -> Ctx<'_> {
        Ctx { fs: &self.fs, at: self.at }
    }

    fn child(&self, name: &[u8], node: Node, mode: u32, at: At) -> Arc<Inode> {
        ProcInode::make(&self.fs, node, mode, at, child_ino(self.ino, name), self.ino)
    }

    fn check(&self, access: Access) -> Result<()> {
        let ok = match access {
            Access::Any => true,
            Access::Look => self.fs.source().may_access(self.at.pid, false),
            Access::Attach => self.fs.source().may_access(self.at.pid, true),
        };
        if ok { Ok(()) } else { err(Errno::EACCES) }
    }

    /// Owner and group: those of the process, or root's if it hides its memory.
    fn owner(&self) -> (u32, u32) {
        if self.at.pid == 0 {
            return (0, 0);
        }
        let Some(t) = self.fs.source().task(self.at.pid, self.at.tid) else { return (0, 0) };
        let open_dir = matches!(self.node, Node::Dir(..)) && self.mode == 0o555;
        match &t.cred {
            Some(c) if t.dumpable || open_dir => (c.euid, c.egid),
            _ => (0, 0),
        }
    }
}

impl InodeOps for ProcInode {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn attr(&self) -> Result<Attr> {
        let now = arch::clock::realtime();
        let (uid, gid) = self.owner();
        let is_dir = |e: &&Entry| matches!(e.node, Node::Dir(..) | Node::SysDir(_));
        let nlink = match self.node {
            Node::Dir(entries, _) => 2 + entries.iter().filter(is_dir).count() as u32,
            Node::SysDir(_) => 2,
            _ => 1,
        };
        let size = match self.node {
            Node::Dir(_, Some(l)) if self.at.pid != 0 && self.mode == 0o500 => {
                (l.keys)(&self.ctx()).len() as u64
            }
            Node::Magic { size, .. } => size,
            _ => 0,
        };
        Ok(Attr {
            ino: self.ino,
            kind: self.node.kind(),
            perm: self.mode,
            nlink,
            uid,
            gid,
            rdev: DevNum::default(),
            size,
            blocks: 0,
            blksize: 1024,
            atime: now,
            mtime: now,
            ctime: now,
            btime: None,
            flags: 0,
        })
    }

    fn set_attr(&self, change: &SetAttr) -> Result<()> {
        // open(O_TRUNC) of a writable file must work; nothing else can change.
        if change.perm.is_some() || change.uid.is_some() || change.gid.is_some() {
            return err(Errno::EPERM);
        }
        Ok(())
    }

    fn lookup(&self, name: &[u8]) -> Result<Arc<Inode>> {
        match self.node {
            Node::Dir(entries, listing) => {
                if self.at.pid != 0 && self.fs.source().task(self.at.pid, self.at.tid).is_none() {
                    return err(Errno::ESRCH); // as the permission check of Linux's /proc/PID says
                }
                if let Some(e) = entries.iter().find(|e| e.name.as_bytes() == name) {
                    return Ok(self.child(name, e.node, e.mode, self.at));
                }
                let ctx = self.ctx();
                let found = listing.and_then(|l| (l.child)(&ctx, (l.parse)(name)?));
                match found {
                    Some(c) => Ok(self.child(name, c.node, c.mode, c.at)),
                    None => err(Errno::ENOENT),
                }
            }
            Node::SysDir(prefix) => match sysctl::lookup(prefix, name) {
                Some((node, mode)) => Ok(self.child(name, node, mode, self.at)),
                None => err(Errno::ENOENT),
            },
            _ => err(Errno::ENOTDIR),
        }
    }

    fn read_dir(&self, pos: u64, emit: &mut dyn FnMut(DirEntry<'_>) -> bool) -> Result<()> {
        let mut put = |at: u64, name: &[u8], ino: u64, kind: FileType| {
            pos > at || emit(DirEntry { name, ino, kind: Some(kind), next: at + 1 })
        };
        if !put(0, b".", self.ino, FileType::Directory)
            || !put(1, b"..", self.parent, FileType::Directory)
        {
            return Ok(());
        }
        match self.node {
            Node::Dir(entries, listing) => {
                for (i, e) in (2..).zip(entries) {
                    let name = e.name.as_bytes();
                    if !put(i, name, child_ino(self.ino, name), e.node.kind()) {
                        return Ok(());
                    }
                }
                let Some(l) = listing else { return Ok(()) };
                let ctx = self.ctx();
                for key in (l.keys)(&ctx) {
                    if pos > LISTED + key {
                        continue;
                    }
                    let name = (l.name)(&ctx, key);
                    let Some(c) = (l.child)(&ctx, key) else { continue };
                    let ino = child_ino(self.ino, name.as_bytes());
                    if !put(LISTED + key, name.as_bytes(), ino, c.node.kind()) {
                        return Ok(());
                    }
                }
                Ok(())
            }
            Node::SysDir(prefix) => {
                for (i, (name, node)) in (2..).zip(sysctl::children(prefix)) {
                    let name = name.as_bytes();
                    if !put(i, name, child_ino(self.ino, name), node.kind()) {
                        break;
                    }
                }
                Ok(())
            }
            _ => err(Errno::ENOTDIR),
        }
    }

    fn read_link(&self) -> Result<Vec<u8>> {
        match self.node {
            Node::Link(read) => read(&self.ctx()),
            Node::Magic { text, .. } => {
                self.check(Access::Look)?;
                text(&self.ctx())
            }
            _ => err(Errno::EINVAL),
        }
    }

    fn follow_magic(&self) -> Result<Option<Path>> {
        match self.node {
            Node::Magic { path, .. } => {
                self.check(Access::Look)?;
                path(&self.ctx()).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn open(&self, _inode: &Arc<Inode>, flags: OpenFlags) -> Result<Option<Arc<dyn FileOps>>> {
        match self.node {
            Node::Special { open, access } => {
                self.check(access)?;
                return open(&self.ctx(), flags).map(Some);
            }
            Node::File { access, .. } => self.check(access)?,
            // Even root cannot open a read-only variable for writing.
            Node::Sys(s) if flags.writable() && s.mode & 0o222 == 0 => return err(Errno::EACCES),
            Node::Sys(s) if flags.readable() && s.mode & 0o444 == 0 => return err(Errno::EACCES),
            Node::Sys(_) => {}
            _ => return Ok(None),
        }
        Ok(Some(Arc::new(ProcFile {
            fs: self.fs.clone(),
            node: self.node,
            at: self.at,
            text: Mutex::new(None),
        })))
    }
}

/// An open text file.
struct ProcFile {
    fs: Arc<ProcFs>,
    node: Node,
    at: At,
    /// What it said at the last read from the start.
    text: Mutex<Option<Vec<u8>>>,
}

/// The most that one write may bring.
const WRITE_MAX: usize = 4096;

impl ProcFile {
    fn make(&self) -> Result<Vec<u8>> {
        let ctx = Ctx { fs: &self.fs, at: self.at };
        match self.node {
            Node::File { read: Some(read), .. } => read(&ctx),
            Node::File { read: None, .. } => err(Errno::EINVAL),
            Node::Sys(s) => Ok(sysctl::read(&self.fs, s).into_bytes()),
            _ => err(Errno::EINVAL),
        }
    }
}

impl FileOps for ProcFile {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, _file: &File, offset: u64, sink: &mut dyn Sink) -> Result<usize> {
        let mut text = self.text.lock();
        let data = match text.take() {
            Some(t) if offset != 0 => text.insert(t),
            _ => text.insert(self.make()?),
        };
        match usize::try_from(offset).ok().and_then(|o| data.get(o..)) {
            Some(rest) if !rest.is_empty() => sink.write(rest),
            _ => Ok(0),
        }
    }

    fn write(&self, _file: &File, _offset: u64, source: &mut dyn Source) -> Result<usize> {
        let len = source.remaining();
        if len > WRITE_MAX {
            return err(Errno::EINVAL);
        }
        let mut data = vec![0; len];
        let n = source.read(&mut data)?;
        let data = &data[..n];
        match self.node {
            Node::File { write: Some(write), .. } => {
                write(&Ctx { fs: &self.fs, at: self.at }, data)?;
            }
            Node::Sys(s) => sysctl::write(&self.fs, s, data)?,
            _ => return err(Errno::EIO),
        }
        Ok(n)
    }

    fn seekable(&self) -> bool {
        true
    }

    fn seek_end(&self, _file: &File) -> Result<u64> {
        err(Errno::EINVAL)
    }

    fn poll(&self, _file: &File, _table: Option<&mut PollTable>) -> PollEvents {
        PollEvents::IN | PollEvents::OUT | PollEvents::RDNORM | PollEvents::WRNORM
    }

    fn pollable(&self) -> bool {
        matches!(self.node, Node::Sys(_))
    }
}
