//! Inodes and open files of sysfs.

use std::any::Any;
use std::sync::Arc;

use base::{Errno, Mutex, Result, Sink, Source, err};
use drivers::DevNum;

use super::SysFs;
use super::tree::{Dir, Item, Show, Store};
use crate::file::{File, FileOps, OpenFlags};
use crate::inode::{Attr, DirEntry, FileType, Inode, InodeOps, SetAttr};

struct SysInode {
    fs: Arc<SysFs>,
    item: Item,
    ino: u64,
    parent: u64,
}

const ROOT_INO: u64 = 1;

fn kind(item: &Item) -> FileType {
    match item {
        Item::Dir(_) => FileType::Directory,
        Item::Link(_) => FileType::Symlink,
        Item::File { .. } => FileType::Regular,
    }
}

/// A number that depends on the path alone.
fn child_ino(parent: u64, name: &[u8]) -> u64 {
    let mut h = parent ^ 0xcbf2_9ce4_8422_2325;
    for b in name {
        h = (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3);
    }
    ((h ^ (h >> 48)) & 0xffff_ffff_ffff) | 0x1000
}

fn make(fs: &Arc<SysFs>, item: Item, ino: u64, parent: u64) -> Arc<Inode> {
    let kind = kind(&item);
    let ops = SysInode { fs: fs.clone(), item, ino, parent };
    Inode::new(ino, kind, DevNum::default(), fs.clone(), Box::new(ops))
}

/// The root directory.
pub(crate) fn root(fs: &Arc<SysFs>) -> Arc<Inode> {
    make(fs, Item::Dir(fs.tree()), ROOT_INO, ROOT_INO)
}

impl SysInode {
    /// The directory; the root looks for a newer tree each time.
    fn dir(&self) -> Result<Arc<Dir>> {
        match &self.item {
            Item::Dir(_) if self.ino == ROOT_INO => Ok(self.fs.tree()),
            Item::Dir(d) => Ok(d.clone()),
            _ => err(Errno::ENOTDIR),
        }
    }
}

impl InodeOps for SysInode {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn attr(&self) -> Result<Attr> {
        let now = arch::clock::realtime();
        let (perm, size, nlink) = match &self.item {
            Item::Dir(d) => {
                let dirs = d.items.values().filter(|i| matches!(i, Item::Dir(_))).count();
                (0o755, 0, 2 + dirs as u32)
            }
            Item::Link(t) => (0o777, t.len() as u64, 1),
            Item::File { mode, .. } => (*mode, 4096, 1),
        };
        Ok(Attr {
            ino: self.ino,
            kind: kind(&self.item),
            perm,
            nlink,
            uid: 0,
            gid: 0,
            rdev: DevNum::default(),
            size,
            blocks: 0,
            blksize: 4096,
            atime: now,
            mtime: now,
            ctime: now,
            btime: None,
            flags: 0,
        })
    }

    fn set_attr(&self, change: &SetAttr) -> Result<()> {
        // open(O_TRUNC) must work.
        if change.perm.is_some() || change.uid.is_some() || change.gid.is_some() {
            return err(Errno::EPERM);
        }
        Ok(())
    }

    fn lookup(&self, name: &[u8]) -> Result<Arc<Inode>> {
        let dir = self.dir()?;
        let found = std::str::from_utf8(name).ok().and_then(|n| dir.items.get(n));
        match found {
            Some(item) => Ok(make(&self.fs, item.clone(), child_ino(self.ino, name), self.ino)),
            None => err(Errno::ENOENT),
        }
    }

    fn read_dir(&self, pos: u64, emit: &mut dyn FnMut(DirEntry<'_>) -> bool) -> Result<()> {
        let dir = self.dir()?;
        let dots = [(".", self.ino, FileType::Directory), ("..", self.parent, FileType::Directory)];
        let all = dots.into_iter().chain(
            dir.items.iter().map(|(n, i)| (n.as_str(), child_ino(self.ino, n.as_bytes()), kind(i))),
        );
        for (at, (name, ino, kind)) in (0..).zip(all) {
            let e = DirEntry { name: name.as_bytes(), ino, kind: Some(kind), next: at + 1 };
            if at >= pos && !emit(e) {
                break;
            }
        }
        Ok(())
    }

    fn read_link(&self) -> Result<Vec<u8>> {
        match &self.item {
            Item::Link(t) => Ok(t.clone().into_bytes()),
            _ => err(Errno::EINVAL),
        }
    }

    fn open(&self, _inode: &Arc<Inode>, flags: OpenFlags) -> Result<Option<Arc<dyn FileOps>>> {
        let Item::File { show, store, mode } = &self.item else { return Ok(None) };
        // Bits that are not there bind root, too.
        if flags.writable() && mode & 0o222 == 0 || flags.readable() && mode & 0o444 == 0 {
            return err(Errno::EACCES);
        }
        let file = SysFile { show: show.clone(), store: store.clone(), text: Mutex::new(None) };
        Ok(Some(Arc::new(file)))
    }
}

/// An open file.
struct SysFile {
    show: Show,
    store: Option<Store>,
    text: Mutex<Option<String>>,
}

impl FileOps for SysFile {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, _file: &File, offset: u64, sink: &mut dyn Sink) -> Result<usize> {
        let mut text = self.text.lock();
        let data = match text.take() {
            Some(t) if offset != 0 => text.insert(t),
            _ => text.insert((self.show)()),
        };
        match usize::try_from(offset).ok().and_then(|o| data.as_bytes().get(o..)) {
            Some(rest) if !rest.is_empty() => sink.write(rest),
            _ => Ok(0),
        }
    }

    fn write(&self, _file: &File, _offset: u64, source: &mut dyn Source) -> Result<usize> {
        let Some(store) = &self.store else { return err(Errno::EIO) };
        let mut data = vec![0; source.remaining().min(4096)];
        let n = source.read(&mut data)?;
        match std::str::from_utf8(&data[..n]) {
            Ok(text) => store(text.trim_end_matches('\n'))?,
            Err(_) => return err(Errno::EINVAL),
        }
        Ok(n)
    }

    fn seekable(&self) -> bool {
        true
    }
    fn seek_end(&self, _file: &File) -> Result<u64> {
        Ok(4096)
    }
}
