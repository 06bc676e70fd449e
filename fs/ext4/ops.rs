//! What the VFS asks of an inode: attributes, pages, and the way to the other modules.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use base::{Errno, Result, Timestamp, err};
use drivers::DevNum;
use mm::PageCache;

use super::dir::code_type;
use super::disk::{get32, iflag, put32};
use super::icore::{Core, State};
use crate::inode::{Attr, DirEntry, FileType, Inode, InodeOps, NewInode, RenameFlags, SetAttr};

/// An inode of ext4 as the VFS holds it.
pub(super) struct Ext4Inode {
    pub(super) core: Arc<Core>,
    pages: Option<Arc<PageCache>>,
}

impl std::fmt::Debug for Ext4Inode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ext4Inode({})", self.core.ino)
    }
}

/// The device that a device inode names: old encoding in the first word, else new in the second.
pub(super) fn device_number(s: &State) -> DevNum {
    if !matches!(s.kind(), Some(FileType::CharDevice | FileType::BlockDevice)) {
        return DevNum::new(0, 0);
    }
    match (get32(&s.block.0, 0), get32(&s.block.0, 4)) {
        (0, new) => DevNum::new((new & 0xf_ff00) >> 8, new & 0xff | (new >> 12) & 0xf_ff00),
        (old, _) => DevNum::new(old >> 8 & 0xff, old & 0xff),
    }
}

/// The inverse of [`device_number`].
pub(super) fn put_device(s: &mut State, d: DevNum) {
    if d.major < 256 && d.minor < 256 {
        put32(&mut s.block.0, 0, d.major << 8 | d.minor);
    } else {
        put32(
            &mut s.block.0,
            4,
            d.minor & 0xff | (d.major & 0xfff) << 8 | (d.minor & 0xf_ff00) << 12,
        );
    }
}

impl Ext4Inode {
    pub(super) fn new(core: Core) -> Ext4Inode {
        let core = Arc::new(core);
        let regular = core.kind == FileType::Regular;
        let pages = regular.then(|| PageCache::new_owned(&core.fs.memory, core.clone()));
        Ext4Inode { core, pages }
    }

    /// Writes the dirty pages.
    pub(super) fn write_pages_back(&self) -> Result<()> {
        if let Some(p) = &self.pages
            && p.dirty_pages() > 0
        {
            p.sync_range(0, u64::MAX)?;
        }
        self.core.settle()
    }

    /// What a crash interrupted: truncation is finished here, removal when the inode goes.
    pub(super) fn finish_orphan(&self) -> Result<()> {
        let (links, size) = {
            let s = self.core.lock();
            (s.links, s.size)
        };
        if links > 0 {
            let r = self.core.cut_tail(size);
            self.core.fs.orphan_remove(self.core.ino);
            let txn = self.core.fs.begin()?;
            txn.store_dtime(self.core.ino, 0)?;
            return r;
        }
        Ok(())
    }

    /// Frees everything that an inode without links owns.
    fn destroy(&self) -> Result<()> {
        let core = &self.core;
        let txn = core.fs.begin()?;
        let mut s = core.lock();
        core.dead.store(true, Ordering::Release);
        core.fs.groups.lock().drop_window(core.ino);
        let mapped = matches!(core.kind, FileType::Regular | FileType::Directory)
            || (core.kind == FileType::Symlink && !fast_link(&s));
        let r = if mapped { core.unmap(&txn, &mut s, 0, super::extent::END) } else { Ok(()) };
        let x = core.drop_xattrs(&txn, &mut s);
        core.fs.orphan_remove(core.ino);
        core.set_size(&mut s, 0);
        s.links = 0;
        txn.store_inode(core.ino, &s, false, Some(txn.now.sec as u32))?;
        txn.free_inode(core.ino, core.kind == FileType::Directory)?;
        core.fs.inode_gone(core.ino);
        r.and(x)
    }
}

/// Whether a symbolic link's target is in the inode.
pub(super) fn fast_link(s: &State) -> bool {
    s.size < 60 && !s.has_extents()
}

impl InodeOps for Ext4Inode {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn attr(&self) -> Result<Attr> {
        let s = self.core.lock();
        Ok(Attr {
            ino: self.core.ino,
            kind: self.core.kind,
            perm: u32::from(s.mode) & 0o7777,
            nlink: s.links,
            uid: s.uid,
            gid: s.gid,
            rdev: device_number(&s),
            size: s.size,
            blocks: s.sectors,
            blksize: self.core.fs.geo.block_size as u32,
            atime: s.atime,
            mtime: s.mtime,
            ctime: s.ctime,
            btime: (s.extra_isize >= 24).then_some(s.crtime),
            flags: u64::from(s.flags & (iflag::IMMUTABLE | iflag::APPEND | iflag::NODUMP)),
        })
    }

    fn set_attr(&self, c: &SetAttr) -> Result<()> {
        let core = &self.core;
        let only_atime = *c == SetAttr { atime: c.atime, ..SetAttr::default() };
        {
            let s = core.lock();
            let shut = s.flags & iflag::IMMUTABLE != 0
                || (s.flags & iflag::APPEND != 0 && c.size.is_some());
            if shut && !only_atime {
                return err(Errno::EPERM);
            }
        }
        if let Some(size) = c.size {
            if core.kind != FileType::Regular {
                return err(if core.kind == FileType::Directory {
                    Errno::EISDIR
                } else {
                    Errno::EINVAL
                });
            }
            core.resize(self.pages.as_ref(), size)?;
        }
        let txn = core.fs.begin()?;
        let mut s = core.lock();
        if let Some(p) = c.perm {
            s.mode = s.mode & 0o170_000 | (p & 0o7777) as u16;
        }
        s.uid = c.uid.unwrap_or(s.uid);
        s.gid = c.gid.unwrap_or(s.gid);
        s.atime = c.atime.unwrap_or(s.atime);
        s.mtime = c.mtime.unwrap_or(s.mtime);
        s.ctime = c.ctime.unwrap_or(s.ctime);
        core.store(&txn, &s)
    }

    fn lookup(&self, name: &[u8]) -> Result<Arc<Inode>> {
        if self.core.kind != FileType::Directory {
            return err(Errno::ENOTDIR);
        }
        let found = {
            let mut s = self.core.lock();
            self.core.dir_find(&mut s, name)?
        };
        self.core.fs.inode(found.ino, false)
    }

    fn create(&self, name: &[u8], new: &NewInode<'_>) -> Result<Arc<Inode>> {
        let ino = self.core.make(Some(name), new)?;
        self.core.fs.inode(ino, false)
    }

    fn create_unnamed(&self, new: &NewInode<'_>) -> Result<Arc<Inode>> {
        let ino = self.core.make(None, new)?;
        self.core.fs.inode(ino, true)
    }

    fn link(&self, name: &[u8], target: &Inode) -> Result<()> {
        self.core.link(name, other(target)?)
    }

    fn unlink(&self, name: &[u8], victim: &Inode) -> Result<()> {
        self.core.remove(name, other(victim)?)
    }

    fn rmdir(&self, name: &[u8], victim: &Inode) -> Result<()> {
        self.core.remove(name, other(victim)?)
    }

    fn rename(
        &self,
        old_name: &[u8],
        moved: &Inode,
        new_dir: &Inode,
        new_name: &[u8],
        replaced: Option<&Inode>,
        flags: RenameFlags,
    ) -> Result<()> {
        let replaced = replaced.map(other).transpose()?;
        self.core.rename(old_name, other(moved)?, other(new_dir)?, new_name, replaced, flags)
    }

    fn read_link(&self) -> Result<Vec<u8>> {
        let core = &self.core;
        if core.kind != FileType::Symlink {
            return err(Errno::EINVAL);
        }
        let mut s = core.lock();
        let n = s.size as usize;
        if fast_link(&s) {
            return Ok(s.block.0[..n].to_vec());
        }
        if s.size >= core.fs.geo.block_size as u64 {
            return Err(core.fs.corrupt(&format!("symbolic link {} is too long", core.ino)));
        }
        let p = core.dir_phys(&mut s, 0)?;
        let d = core.fs.read_block(p, super::cache::Kind::Plain, 0, |_| Ok(()))?;
        Ok(d[..n].to_vec())
    }

    fn read_dir(&self, mut pos: u64, emit: &mut dyn FnMut(DirEntry<'_>) -> bool) -> Result<()> {
        if self.core.kind != FileType::Directory {
            return err(Errno::ENOTDIR);
        }
        let mut batch = Vec::new();
        loop {
            // `emit` may fault on user memory, so it runs without the lock.
            let end = {
                let mut s = self.core.lock();
                self.core.dir_batch(&mut s, pos, &mut batch)?
            };
            for e in batch.drain(..) {
                if !emit(DirEntry {
                    name: &e.name,
                    ino: e.ino,
                    kind: code_type(e.ftype),
                    next: e.next,
                }) {
                    return Ok(());
                }
            }
            match end {
                Some(next) => pos = next,
                None => return Ok(()),
            }
        }
    }

    fn page_cache(&self) -> Option<&Arc<PageCache>> {
        self.pages.as_ref()
    }

    fn prepare_write(&self, offset: u64, len: usize) -> Result<()> {
        self.core.reserve(offset, len, false)
    }

    fn commit_write(&self, end: u64, now: Timestamp) -> Result<()> {
        self.core.wrote(end, now)
    }

    fn fallocate(&self, mode: u32, offset: u64, len: u64) -> Result<()> {
        if self.core.kind != FileType::Regular {
            return err(Errno::ENODEV);
        }
        self.core.fallocate(self.pages.as_ref(), mode, offset, len)
    }

    fn seek_hole_data(&self, offset: u64, data: bool) -> Result<u64> {
        if let Some(p) = &self.pages
            && p.dirty_pages() > 0
            && !self.core.fs.is_read_only()
        {
            // A block is known to hold data once it has been written.
            p.sync_range(0, u64::MAX)?;
        }
        self.core.seek(offset, data)
    }

    fn sync(&self, _data_only: bool) -> Result<()> {
        if self.core.fs.is_read_only() {
            return Ok(());
        }
        self.write_pages_back()?;
        self.core.fs.sync_metadata()?;
        self.core.fs.dev.flush()
    }

    fn get_xattr(&self, name: &[u8]) -> Result<Vec<u8>> {
        self.core.get_xattr(name)
    }

    fn set_xattr(&self, name: &[u8], value: Option<&[u8]>, flags: u32) -> Result<()> {
        self.core.set_xattr(name, value, flags)
    }

    fn list_xattr(&self) -> Result<Vec<u8>> {
        self.core.list_xattr()
    }

    fn evict(&self) {
        let core = &self.core;
        let links = core.lock().links;
        let read_only = core.fs.is_read_only();
        let r = if read_only {
            Ok(())
        } else if links > 0 {
            let r = self.write_pages_back();
            core.fs.groups.lock().drop_window(core.ino);
            r
        } else {
            if let Some(p) = &self.pages {
                p.truncate(0);
            }
            self.destroy()
        };
        if let Err(e) = r {
            log::error!("ext4: inode {}: {e:?} while it left memory", core.ino);
            core.fs.lost.store(true, Ordering::Release);
        }
        // A destroyed inode was let go under the transaction lock: its number may live again.
        if links > 0 || read_only || r.is_err() {
            core.fs.inode_gone(core.ino);
        }
        core.fs.inodes.forget(core.ino);
    }
}

fn other(i: &Inode) -> Result<&Core> {
    match i.ops_as::<Ext4Inode>() {
        Some(e) => Ok(&e.core),
        None => err(Errno::EXDEV),
    }
}
