//! Changing directories: create, link, unlink, rename.
//!
//! Each is one transaction. It locks one inode at a time; readers may see a renamed file under both names for
//! a moment, never under none. A name is entered before the old one goes.

use base::{Errno, Result, Timestamp, err};
use drivers::DevNum;

use super::cache::Kind;
use super::disk::{feature as f, iflag};
use super::extent_edit::init_root;
use super::icore::{Core, State};
use super::txn::Txn;
use crate::inode::{FileType, NewInode, RenameFlags};

const MAX_LINKS: u32 = 65000;

impl Core {
    fn may_change(&self, s: &State, removing: bool) -> Result<()> {
        if self.kind != FileType::Directory {
            return err(Errno::ENOTDIR);
        }
        if s.flags & iflag::IMMUTABLE != 0 || (removing && s.flags & iflag::APPEND != 0) {
            return err(Errno::EPERM);
        }
        if s.links == 0 {
            return err(Errno::ENOENT);
        }
        Ok(())
    }

    /// A subdirectory more or less: with dir_nlink, 1 stands for "too many to count".
    fn count_subdir(&self, s: &mut State, up: bool) {
        if s.links == 1 {
            return;
        }
        s.links = if up { s.links + 1 } else { s.links - 1 };
        if s.links >= MAX_LINKS && up {
            s.links = 1;
        }
    }

    fn room_for_subdir(&self, s: &State) -> Result<()> {
        let full = s.links >= MAX_LINKS - 1 && self.fs.geo.ro_compat & f::RO_DIR_NLINK == 0;
        if full { err(Errno::EMLINK) } else { Ok(()) }
    }

    fn touch(s: &mut State, now: Timestamp) {
        s.mtime = now;
        s.ctime = now;
    }

    /// Makes an inode and, if it has one, its name.
    ///
    /// # Errors
    /// See `InodeOps::create`.
    pub(super) fn make(&self, name: Option<&[u8]>, new: &NewInode<'_>) -> Result<u64> {
        let fs = &self.fs;
        let is_dir = new.kind == FileType::Directory;
        if name.is_some_and(|n| n.len() > 255)
            || (new.kind == FileType::Symlink && new.target.len() >= fs.geo.block_size)
        {
            return err(Errno::ENAMETOOLONG);
        }
        let txn = fs.begin()?;
        let mut dir = self.lock();
        if name.is_some() {
            self.may_change(&dir, false)?;
        }
        if is_dir {
            self.room_for_subdir(&dir)?;
        }
        let ino = txn.alloc_inode(self.ino, is_dir)?;
        let (core, made) = self.fill(&txn, &dir, ino, new);
        let r = made.and_then(|()| match name {
            Some(n) => self.dir_add(&txn, &mut dir, n, ino, new.kind),
            None => Ok(()),
        });
        let mut s = core.lock();
        if let Err(e) = r {
            let _ = core.unmap(&txn, &mut s, 0, super::extent::END);
            s.links = 0;
            s.mode = 0;
            let _ = txn.store_inode(ino, &s, true, Some(txn.now.sec as u32));
            let _ = txn.free_inode(ino, is_dir);
            let _ = self.store(&txn, &dir);
            return Err(e);
        }
        if name.is_none() {
            s.links = 0;
            fs.orphan_add(ino);
        } else {
            Core::touch(&mut dir, txn.now);
            if is_dir {
                self.count_subdir(&mut dir, true);
            }
            self.store(&txn, &dir)?;
        }
        txn.store_inode(ino, &s, true, None)?;
        drop(s);
        drop(dir);
        Ok(ino)
    }

    /// The inode `new` asks for, with its first block if it needs one.
    fn fill(&self, txn: &Txn<'_>, dir: &State, ino: u64, new: &NewInode<'_>) -> (Core, Result<()>) {
        let fs = &self.fs;
        let data = matches!(new.kind, FileType::Regular | FileType::Directory)
            || (new.kind == FileType::Symlink && new.target.len() >= 60);
        let mut s = State {
            mode: new.kind as u32 as u16 | (new.perm & 0o7777) as u16,
            uid: new.uid,
            gid: new.gid,
            links: if new.kind == FileType::Directory { 2 } else { 1 },
            flags: dir.flags & iflag::INHERITED,
            atime: txn.now,
            ctime: txn.now,
            mtime: txn.now,
            crtime: txn.now,
            generation: (txn.now.nsec ^ txn.now.sec as u32).wrapping_mul(0x9e37_79b1) ^ ino as u32,
            extra_isize: fs.geo.extra_isize,
            ..State::default()
        };
        if data && fs.geo.incompat & f::INCOMPAT_EXTENTS != 0 {
            s.flags |= iflag::EXTENTS;
            init_root(&mut s.block.0);
        }
        if matches!(new.kind, FileType::CharDevice | FileType::BlockDevice) {
            super::ops::put_device(&mut s, new.rdev);
        }
        let core = Core::new(fs.clone(), ino, new.kind, s);
        let r = {
            let mut s = core.lock();
            match new.kind {
                FileType::Directory => core.dir_init(txn, &mut s, self.ino),
                FileType::Symlink => core.set_target(txn, &mut s, new.target),
                _ => Ok(()),
            }
        };
        (core, r)
    }

    fn set_target(&self, txn: &Txn<'_>, s: &mut State, target: &[u8]) -> Result<()> {
        if target.len() < 60 {
            s.block.0[..target.len()].copy_from_slice(target);
        } else {
            self.allocate(txn, s, 0, 1, false)?;
            let p = self.dir_phys(s, 0)?;
            txn.write_new(p, Kind::Plain, 0, |d| d[..target.len()].copy_from_slice(target));
        }
        self.set_size(s, target.len() as u64);
        Ok(())
    }

    /// Enters another name for `target`.
    ///
    /// # Errors
    /// See `InodeOps::link`.
    pub(super) fn link(&self, name: &[u8], target: &Core) -> Result<()> {
        let txn = self.fs.begin()?;
        {
            let t = target.lock();
            if t.links >= MAX_LINKS {
                return err(Errno::EMLINK);
            }
            if target.kind == FileType::Directory
                || t.flags & (iflag::IMMUTABLE | iflag::APPEND) != 0
            {
                return err(Errno::EPERM);
            }
        }
        {
            let mut dir = self.lock();
            self.may_change(&dir, false)?;
            let r = self.dir_add(&txn, &mut dir, name, target.ino, target.kind);
            if r.is_ok() {
                Core::touch(&mut dir, txn.now);
            }
            self.store(&txn, &dir)?;
            r?;
        }
        let mut t = target.lock();
        t.links += 1;
        t.ctime = txn.now;
        if t.links == 1 {
            self.fs.orphan_remove(target.ino);
            return txn.store_inode(target.ino, &t, false, Some(0));
        }
        target.store(&txn, &t)
    }

    /// Takes a link from an inode; without links it becomes an orphan, freed when it leaves memory.
    fn drop_link(&self, txn: &Txn<'_>) -> Result<()> {
        let mut s = self.lock();
        s.links = if self.kind == FileType::Directory { 0 } else { s.links.saturating_sub(1) };
        s.ctime = txn.now;
        if s.links == 0 {
            self.fs.orphan_add(self.ino);
        }
        self.store(txn, &s)
    }

    /// Removes `name`, which is `victim`: a file, or an empty directory.
    ///
    /// # Errors
    /// See `InodeOps::unlink` and `InodeOps::rmdir`.
    pub(super) fn remove(&self, name: &[u8], victim: &Core) -> Result<()> {
        let txn = self.fs.begin()?;
        self.check_victim(victim)?;
        {
            let mut dir = self.lock();
            self.may_change(&dir, true)?;
            let found = self.dir_find(&mut dir, name)?;
            if found.ino != victim.ino {
                return err(Errno::ENOENT);
            }
            self.dir_remove(&txn, &mut dir, found)?;
            if victim.kind == FileType::Directory {
                self.count_subdir(&mut dir, false);
            }
            Core::touch(&mut dir, txn.now);
            self.store(&txn, &dir)?;
        }
        victim.drop_link(&txn)
    }

    /// Whether an inode may lose a name.
    fn check_victim(&self, victim: &Core) -> Result<()> {
        let mut v = victim.lock();
        if v.flags & (iflag::IMMUTABLE | iflag::APPEND) != 0 {
            return err(Errno::EPERM);
        }
        if victim.kind == FileType::Directory && !victim.dir_is_empty(&mut v)? {
            return err(Errno::ENOTEMPTY);
        }
        Ok(())
    }

    /// Moves a name; see `InodeOps::rename`.
    ///
    /// # Errors
    /// See there.
    pub(super) fn rename(
        &self,
        old_name: &[u8],
        moved: &Core,
        new_dir: &Core,
        new_name: &[u8],
        replaced: Option<&Core>,
        flags: RenameFlags,
    ) -> Result<()> {
        if flags.contains(RenameFlags::EXCHANGE) {
            let Some(replaced) = replaced else { return err(Errno::ENOENT) };
            return self.exchange(old_name, moved, new_dir, new_name, replaced);
        }
        if replaced.is_some_and(|r| r.ino == moved.ino) {
            return Ok(());
        }
        let whiteout = if flags.contains(RenameFlags::WHITEOUT) {
            let s = self.lock();
            let new = NewInode {
                kind: FileType::CharDevice,
                perm: 0,
                uid: s.uid,
                gid: s.gid,
                rdev: DevNum::new(0, 0),
                target: &[],
            };
            drop(s);
            Some(self.make(None, &new)?)
        } else {
            None
        };
        let is_dir = moved.kind == FileType::Directory;
        let across = self.ino != new_dir.ino;
        let txn = self.fs.begin()?;
        if let Some(r) = replaced {
            self.check_victim(r)?;
        }
        if moved.lock().flags & (iflag::IMMUTABLE | iflag::APPEND) != 0 {
            return err(Errno::EPERM);
        }
        {
            let mut old = self.lock();
            self.may_change(&old, true)?;
            if self.dir_find(&mut old, old_name)?.ino != moved.ino {
                return err(Errno::ENOENT);
            }
        }
        {
            let mut dir = new_dir.lock();
            new_dir.may_change(&dir, replaced.is_some())?;
            if is_dir && across && replaced.is_none() {
                new_dir.room_for_subdir(&dir)?;
            }
            let r = match replaced {
                Some(_) => {
                    let found = new_dir.dir_find(&mut dir, new_name)?;
                    new_dir.dir_retarget(&txn, found, moved.ino, moved.kind)
                }
                None => new_dir.dir_add(&txn, &mut dir, new_name, moved.ino, moved.kind),
            };
            if r.is_ok() {
                Core::touch(&mut dir, txn.now);
                if replaced.is_some_and(|r| r.kind == FileType::Directory) {
                    new_dir.count_subdir(&mut dir, false);
                }
                if is_dir && across {
                    new_dir.count_subdir(&mut dir, true);
                }
            }
            new_dir.store(&txn, &dir)?;
            r?;
        }
        {
            let mut dir = self.lock();
            let found = self.dir_find(&mut dir, old_name)?;
            match whiteout {
                Some(ino) => {
                    self.dir_retarget(&txn, found, ino, FileType::CharDevice)?;
                    self.fs.orphan_remove(ino);
                    let mut w = self.fs.read_inode(ino)?;
                    w.links = 1;
                    txn.store_inode(ino, &w, false, Some(0))?;
                }
                None => self.dir_remove(&txn, &mut dir, found)?,
            }
            Core::touch(&mut dir, txn.now);
            if is_dir && across {
                self.count_subdir(&mut dir, false);
            }
            self.store(&txn, &dir)?;
        }
        {
            let mut m = moved.lock();
            if is_dir && across {
                let dots = moved.dir_find(&mut m, b"..")?;
                moved.dir_retarget(&txn, dots, new_dir.ino, FileType::Directory)?;
            }
            m.ctime = txn.now;
            moved.store(&txn, &m)?;
        }
        match replaced {
            Some(r) => r.drop_link(&txn),
            None => Ok(()),
        }
    }

    /// Swaps two names.
    fn exchange(
        &self,
        a_name: &[u8],
        a: &Core,
        dir_b: &Core,
        b_name: &[u8],
        b: &Core,
    ) -> Result<()> {
        let txn = self.fs.begin()?;
        for (dir, name, from, to) in [(self, a_name, a, b), (dir_b, b_name, b, a)] {
            let mut d = dir.lock();
            dir.may_change(&d, true)?;
            let found = dir.dir_find(&mut d, name)?;
            if found.ino != from.ino {
                return err(Errno::ENOENT);
            }
            dir.dir_retarget(&txn, found, to.ino, to.kind)?;
            if self.ino != dir_b.ino && from.kind != to.kind {
                if from.kind == FileType::Directory {
                    dir.count_subdir(&mut d, false);
                } else if to.kind == FileType::Directory {
                    dir.count_subdir(&mut d, true);
                }
            }
            Core::touch(&mut d, txn.now);
            dir.store(&txn, &d)?;
        }
        for (moved, home) in [(a, dir_b), (b, self)] {
            let mut m = moved.lock();
            if moved.kind == FileType::Directory && self.ino != dir_b.ino {
                let dots = moved.dir_find(&mut m, b"..")?;
                moved.dir_retarget(&txn, dots, home.ino, FileType::Directory)?;
            }
            m.ctime = txn.now;
            moved.store(&txn, &m)?;
        }
        Ok(())
    }
}
