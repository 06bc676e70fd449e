//! tmpfs: files that live in the page cache and nowhere else. `man 5 tmpfs`. `ramfs` is the same
//! without a bound.
//!
//! | file | |
//! |---|---|
//! | `tmpfs.rs` | the instance: limits, options, its type |
//! | `tmpfs/node.rs` | inodes: attributes, directories, links, extended attributes |
//! | `tmpfs/data.rs` | the content of a regular file: which pages there are |
//!
//! A directory holds its children's inodes, so they live as long as they are linked. The ring of
//! instance and root is cut by `unmount`.

mod data;
mod node;

use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use base::{Errno, Rank, Result, SpinLock, err};
use drivers::DevNum;
use mm::Memory;

use crate::inode::{FileSystem, FileSystemType, FileType, Inode, MountArgs, NewInode, StatFs};
use crate::vfs::Vfs;

pub(crate) use node::Node;

/// What `man 5 tmpfs` calls options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TmpfsOptions {
    /// Bytes; 0: no bound.
    pub size: u64,
    /// Inodes; 0: no bound.
    pub nr_inodes: u64,
    /// Permission bits of the root.
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

/// A mounted tmpfs.
pub struct TmpFs {
    me: Weak<TmpFs>,
    type_name: &'static str,
    dev: DevNum,
    memory: Arc<Memory>,
    root: SpinLock<Option<Arc<Inode>>>,
    /// Kept when the last mount goes (devtmpfs).
    keep: bool,
    next_ino: AtomicU64,
    max_pages: AtomicU64,
    used_pages: AtomicU64,
    max_inodes: AtomicU64,
    used_inodes: AtomicU64,
    read_only: AtomicU32,
    shown: SpinLock<TmpfsOptions>,
}

impl fmt::Debug for TmpFs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({} pages)", self.type_name, self.used_pages.load(Ordering::Relaxed))
    }
}

/// Device numbers of file systems without a device.
pub(crate) fn anon_dev() -> DevNum {
    static NEXT: AtomicU32 = AtomicU32::new(20);
    DevNum::new(0, NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A size with k, m, g or t; `%` is of all memory.
fn parse_size(text: &str, total: u64) -> Option<u64> {
    if let Some(p) = text.strip_suffix('%') {
        return Some(total / 100 * p.parse::<u64>().ok()?);
    }
    let (digits, shift) = match text.as_bytes().last()?.to_ascii_lowercase() {
        b'k' => (&text[..text.len() - 1], 10),
        b'm' => (&text[..text.len() - 1], 20),
        b'g' => (&text[..text.len() - 1], 30),
        b't' => (&text[..text.len() - 1], 40),
        _ => (text, 0),
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

impl TmpfsOptions {
    fn defaults(memory: &Memory, bounded: bool) -> TmpfsOptions {
        let pages = u64::from(memory.machine().phys().pages());
        let (size, nr_inodes) = if bounded { (pages / 2 * 4096, pages / 2) } else { (0, 0) };
        TmpfsOptions { size, nr_inodes, mode: 0o1777, uid: 0, gid: 0 }
    }

    /// Reads a comma-separated list over the present values.
    fn parse(mut self, text: &[u8], memory: &Memory) -> Result<TmpfsOptions> {
        let Ok(text) = std::str::from_utf8(text) else { return err(Errno::EINVAL) };
        let total = u64::from(memory.machine().phys().pages()) * 4096;
        for option in text.split(',').filter(|o| !o.is_empty()) {
            let (key, value) = option.split_once('=').unwrap_or((option, ""));
            let ok = match key {
                "size" => parse_size(value, total).map(|v| self.size = v),
                "nr_blocks" => parse_size(value, total)
                    .and_then(|v| v.checked_mul(4096))
                    .map(|v| self.size = v),
                "nr_inodes" => parse_size(value, total).map(|v| self.nr_inodes = v),
                "mode" => u32::from_str_radix(value, 8).ok().map(|v| self.mode = v & 0o7777),
                "uid" => value.parse().ok().map(|v| self.uid = v),
                "gid" => value.parse().ok().map(|v| self.gid = v),
                "huge" | "mpol" | "inode32" | "inode64" | "noswap" => Some(()),
                _ => None,
            };
            if ok.is_none() {
                return err(Errno::EINVAL);
            }
        }
        Ok(self)
    }
}

impl TmpFs {
    /// An empty instance with these options (as of mount(2)).
    ///
    /// # Errors
    /// EINVAL for unknown options.
    pub fn new(memory: &Arc<Memory>, options: &[u8]) -> Result<Arc<TmpFs>> {
        let o = TmpfsOptions::defaults(memory, true).parse(options, memory)?;
        Ok(TmpFs::make(memory, "tmpfs", o, false))
    }

    pub(crate) fn make(
        memory: &Arc<Memory>,
        type_name: &'static str,
        o: TmpfsOptions,
        keep: bool,
    ) -> Arc<TmpFs> {
        let fs = Arc::new_cyclic(|me| TmpFs {
            me: me.clone(),
            type_name,
            dev: anon_dev(),
            memory: memory.clone(),
            root: SpinLock::new(Rank::Inode, None),
            keep,
            next_ino: AtomicU64::new(1),
            max_pages: AtomicU64::new(o.size.div_ceil(4096)),
            used_pages: AtomicU64::new(0),
            max_inodes: AtomicU64::new(o.nr_inodes),
            used_inodes: AtomicU64::new(0),
            read_only: AtomicU32::new(0),
            shown: SpinLock::new(Rank::Leaf, o),
        });
        let new = NewInode {
            kind: FileType::Directory,
            perm: o.mode,
            uid: o.uid,
            gid: o.gid,
            rdev: DevNum::default(),
            target: b"",
        };
        let root = fs.inode(&new, None).expect("the first inode is within any bound");
        *fs.root.lock() = Some(root);
        fs
    }

    /// A new inode, in no directory yet.
    fn inode(&self, new: &NewInode<'_>, parent: Option<u64>) -> Result<Arc<Inode>> {
        let max = self.max_inodes.load(Ordering::Relaxed);
        let used = self.used_inodes.fetch_add(1, Ordering::Relaxed);
        if max != 0 && used >= max.max(1) {
            self.used_inodes.fetch_sub(1, Ordering::Relaxed);
            return err(Errno::ENOSPC);
        }
        let ino = self.next_ino.fetch_add(1, Ordering::Relaxed);
        let Some(me) = self.me.upgrade() else { return err(Errno::EIO) };
        let node = Node::new(&me, ino, new, parent.unwrap_or(ino));
        Ok(Inode::new(ino, new.kind, new.rdev, me, Box::new(node)))
    }

    fn inode_gone(&self) {
        self.used_inodes.fetch_sub(1, Ordering::Relaxed);
    }

    /// Takes pages from the bound.
    fn take_pages(&self, n: u64) -> Result<()> {
        let max = self.max_pages.load(Ordering::Relaxed);
        let used = self.used_pages.fetch_add(n, Ordering::Relaxed);
        if max != 0 && used + n > max {
            self.used_pages.fetch_sub(n, Ordering::Relaxed);
            return err(Errno::ENOSPC);
        }
        Ok(())
    }

    fn give_pages(&self, n: u64) {
        self.used_pages.fetch_sub(n, Ordering::Relaxed);
    }
}

impl FileSystem for TmpFs {
    fn type_name(&self) -> &'static str {
        self.type_name
    }
    fn root(&self) -> Arc<Inode> {
        self.root.lock().clone().expect("root is asked for at mount, and cut at unmount")
    }
    fn dev(&self) -> DevNum {
        self.dev
    }
    fn statfs(&self) -> Result<StatFs> {
        let blocks = self.max_pages.load(Ordering::Relaxed);
        let free = blocks.saturating_sub(self.used_pages.load(Ordering::Relaxed));
        let files = self.max_inodes.load(Ordering::Relaxed);
        Ok(StatFs {
            magic: if self.type_name == "ramfs" { 0x8584_58f6 } else { 0x0102_1994 },
            block_size: 4096,
            blocks,
            free,
            available: free,
            files,
            files_free: files.saturating_sub(self.used_inodes.load(Ordering::Relaxed)),
            fsid: self.dev.to_user(),
            name_max: 255,
        })
    }
    fn remount(&self, read_only: bool, options: &[u8]) -> Result<()> {
        let shown = *self.shown.lock();
        let o = shown.parse(options, &self.memory)?;
        let pages = o.size.div_ceil(4096);
        let too_small = |max: u64, used: &AtomicU64| max != 0 && max < used.load(Ordering::Relaxed);
        if too_small(pages, &self.used_pages) || too_small(o.nr_inodes, &self.used_inodes) {
            return err(Errno::EINVAL);
        }
        self.max_pages.store(pages, Ordering::Relaxed);
        self.max_inodes.store(o.nr_inodes, Ordering::Relaxed);
        self.read_only.store(u32::from(read_only), Ordering::Relaxed);
        *self.shown.lock() = o;
        Ok(())
    }
    fn read_only(&self) -> bool {
        self.read_only.load(Ordering::Relaxed) != 0
    }
    fn unmount(&self) -> Result<()> {
        if !self.keep {
            let root = self.root.lock().take();
            drop(root);
        }
        Ok(())
    }
    fn options(&self) -> String {
        let o = *self.shown.lock();
        let mut s = String::new();
        if o.size != 0 {
            s += &format!(",size={}k", o.size / 1024);
        }
        if o.nr_inodes != 0 {
            s += &format!(",nr_inodes={}", o.nr_inodes);
        }
        if o.mode != 0o1777 {
            s += &format!(",mode={:o}", o.mode);
        }
        if o.uid != 0 {
            s += &format!(",uid={}", o.uid);
        }
        if o.gid != 0 {
            s += &format!(",gid={}", o.gid);
        }
        s
    }
}

struct TmpFsType {
    name: &'static str,
}

impl FileSystemType for TmpFsType {
    fn name(&self) -> &'static str {
        self.name
    }
    fn needs_device(&self) -> bool {
        false
    }
    fn mount(&self, args: &MountArgs<'_>) -> Result<Arc<dyn FileSystem>> {
        let mut defaults = TmpfsOptions::defaults(args.memory, self.name == "tmpfs");
        if self.name == "ramfs" {
            defaults.mode = 0o755;
        }
        let o = defaults.parse(args.options, args.memory)?;
        let fs = TmpFs::make(args.memory, self.name, o, false);
        fs.read_only.store(u32::from(args.read_only), Ordering::Relaxed);
        Ok(fs)
    }
}

pub(crate) fn register(vfs: &Vfs) {
    vfs.register_type(Arc::new(TmpFsType { name: "tmpfs" }));
    vfs.register_type(Arc::new(TmpFsType { name: "ramfs" }));
}
