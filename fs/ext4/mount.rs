//! A mounted file system: what holds it together, mounting, write-back, unmounting.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Weak};

use base::{Errno, Error, Mutex, PollEvents, Rank, Result, Sleep, SpinLock, WaitQueue, err};
use drivers::{BlockDevice, DevNum};

use super::cache::{Cache, Kind};
use super::disk::{
    ROOT_INO, STATE_ERROR, STATE_VALID, feature as f, get8, get16, get32, put16, put32,
};
use super::group::{self, Groups};
use super::icore::Core;
use super::ops::Ext4Inode;
use super::superblock::{self, Geometry};
use super::txn::Txn;
use crate::inode::{FileSystem, FileSystemType, FileType, Inode, InodeCache, MountArgs, StatFs};

/// Inodes that have no name but are in use, or whose removal is under way.
#[derive(Debug, Default)]
pub(super) struct Orphans {
    list: BTreeSet<u64>,
    changed: bool,
}

/// A mounted ext2, ext3 or ext4 file system.
pub struct Ext4 {
    me: Weak<Ext4>,
    pub(super) geo: Geometry,
    pub(super) dev: Arc<dyn BlockDevice>,
    number: DevNum,
    pub(super) memory: Arc<mm::Memory>,
    pub(super) cache: Cache,
    zones: Vec<(u64, u64)>,
    /// See `txn` for the order of locks.
    pub(super) txn: Mutex<()>,
    pub(super) groups: Mutex<Groups>,
    orphans: Mutex<Orphans>,
    sb: Mutex<Vec<u8>>,
    pub(super) inodes: InodeCache,
    root: Mutex<Option<Arc<Inode>>>,
    read_only: AtomicBool,
    /// Why it must stay read-only.
    forced: Option<String>,
    /// The superblock on the device says "in use".
    in_use: AtomicBool,
    damage: AtomicU32,
    /// Something could not be written and its only copy is gone.
    pub(super) lost: AtomicBool,
    /// Inodes in memory, or on their way out of it.
    live: SpinLock<hashbrown::HashSet<u64>>,
    gone: WaitQueue,
    name: &'static str,
}

impl std::fmt::Debug for Ext4 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}({:?})", self.name, self.number)
    }
}

/// The types that one implementation serves: `ext4`, and `ext3` and `ext2` by name.
#[derive(Clone, Copy, Debug)]
pub struct Ext4Type(pub &'static str);

impl FileSystemType for Ext4Type {
    fn name(&self) -> &'static str {
        self.0
    }
    fn needs_device(&self) -> bool {
        true
    }
    fn mount(&self, args: &MountArgs<'_>) -> Result<Arc<dyn FileSystem>> {
        let Some((number, dev)) = &args.device else { return err(Errno::ENOTBLK) };
        check_options(args.options)?;
        let fs = Ext4::mount(self.0, *number, dev.clone(), args.memory, args.read_only)?;
        Ok(fs)
    }
}

fn check_options(options: &[u8]) -> Result<()> {
    const KNOWN: &[&str] = &[
        "errors",
        "data",
        "commit",
        "barrier",
        "nobarrier",
        "acl",
        "noacl",
        "user_xattr",
        "nouser_xattr",
        "journal_checksum",
        "nojournal_checksum",
        "discard",
        "nodiscard",
        "delalloc",
        "nodelalloc",
        "noload",
        "norecovery",
        "init_itable",
        "noinit_itable",
        "stripe",
        "auto_da_alloc",
        "noauto_da_alloc",
        "lazytime",
    ];
    for o in options.split(|&c| c == b',').filter(|o| !o.is_empty()) {
        let name = o.split(|&c| c == b'=').next().unwrap_or(o);
        if !KNOWN.iter().any(|k| k.as_bytes() == name) {
            log::error!("ext4: unknown mount option {}", String::from_utf8_lossy(o));
            return err(Errno::EINVAL);
        }
    }
    Ok(())
}

impl Ext4 {
    /// Mounts what is on `dev`. A file system that cannot be written safely is mounted read-only
    /// with a message.
    ///
    /// # Errors
    /// EINVAL for a foreign or unsupported one; EUCLEAN for a damaged one; EIO.
    pub fn mount(
        name: &'static str,
        number: DevNum,
        dev: Arc<dyn BlockDevice>,
        memory: &Arc<mm::Memory>,
        read_only: bool,
    ) -> Result<Arc<Ext4>> {
        if dev.len() < 4096 {
            log::error!("ext4: a device of {} bytes holds no file system", dev.len());
            return err(Errno::EINVAL);
        }
        let mut sb = vec![0; 1024];
        dev.read(1024, &mut sb)?;
        let verdict = superblock::check(&sb, dev.len())?;
        let geo = verdict.geo;
        let mut forced = verdict.read_only;
        if forced.is_none() && dev.read_only() {
            forced = Some("the device is read-only".into());
        }
        if let Some(why) = &forced
            && !read_only
        {
            // Somebody asked for writing: they hear of it even with `quiet`.
            log::error!("ext4: {why}");
        }
        if forced.is_none() && !read_only && get16(&sb, 0x3a) & STATE_VALID == 0 {
            log::warn!("ext4: not cleanly unmounted; e2fsck -y IMAGE is advised");
        }
        let groups = group::load(&geo, dev.as_ref())?;
        let fs = Arc::new_cyclic(|me| Ext4 {
            me: me.clone(),
            cache: Cache::new(dev.clone(), geo.block_bits, geo.metadata_csum()),
            zones: groups.zones.clone(),
            geo,
            dev,
            number,
            memory: memory.clone(),
            txn: Mutex::new(()),
            groups: Mutex::new(groups),
            orphans: Mutex::new(Orphans::default()),
            sb: Mutex::new(sb),
            inodes: InodeCache::default(),
            root: Mutex::new(None),
            read_only: AtomicBool::new(read_only || forced.is_some()),
            forced,
            in_use: AtomicBool::new(false),
            damage: AtomicU32::new(0),
            lost: AtomicBool::new(false),
            live: SpinLock::new(Rank::Leaf, hashbrown::HashSet::new()),
            gone: WaitQueue::new(),
            name,
        });
        let root = fs.inode(ROOT_INO, false)?;
        if root.kind != FileType::Directory {
            return Err(fs.corrupt("the root is no directory"));
        }
        *fs.root.lock() = Some(root);
        if !fs.is_read_only() {
            fs.process_orphans()?;
        }
        Ok(fs)
    }

    pub(super) fn me(&self) -> Arc<Ext4> {
        self.me.upgrade().expect("a method runs on a value that an Arc holds")
    }

    pub(super) fn is_read_only(&self) -> bool {
        self.read_only.load(Ordering::Acquire)
    }

    /// An error of the disk's content: logged (the first few), remembered, EUCLEAN.
    #[track_caller]
    pub(super) fn corrupt(&self, what: &str) -> Error {
        let n = self.damage.fetch_add(1, Ordering::Relaxed);
        if n < 8 {
            log::error!("ext4: {what}; run e2fsck -y IMAGE");
        } else if n == 8 {
            log::error!("ext4: more damage; no further messages");
        }
        Error::new(Errno::EUCLEAN)
    }

    /// Whether `start..start + len` can belong to an inode.
    pub(super) fn own_block(&self, start: u64, len: u64) -> bool {
        let i = self.zones.partition_point(|z| z.1 <= start);
        start > self.geo.first_block
            && start.saturating_add(len) <= self.geo.blocks
            && self.zones.get(i).is_none_or(|z| z.0 >= start + len)
    }

    /// Blocks kept for root.
    pub(super) fn reserved_blocks(&self) -> u64 {
        let sb = self.sb.lock();
        let hi = if self.geo.incompat & f::INCOMPAT_64BIT != 0 { get32(&sb, 0x154) } else { 0 };
        u64::from(get32(&sb, 8)) | u64::from(hi) << 32
    }

    /// Blocks that data may not have: write-back may have to cut an extent in two, and its other half needs a
    /// place even on a full disk.
    pub(super) fn map_reserve(&self) -> u64 {
        (self.geo.blocks / 50).min(4096)
    }

    /// Inode `ino`; `unlinked` accepts one without links (orphans, new unnamed files).
    pub(super) fn inode(&self, ino: u64, unlinked: bool) -> Result<Arc<Inode>> {
        self.inodes.get(ino, || {
            // An earlier life of it may still be writing its pages.
            let _ = self.gone.wait_until(Sleep::Uninterruptible, None, || {
                (!self.live.lock().contains(&ino)).then_some(())
            });
            let s = self.read_inode(ino)?;
            let Some(kind) = s.kind().filter(|_| s.links > 0 || unlinked) else {
                return Err(self.corrupt(&format!("a name leads to the free inode {ino}")));
            };
            if ino != ROOT_INO && ino < self.geo.first_ino {
                return Err(self.corrupt(&format!("a name leads to the reserved inode {ino}")));
            }
            self.live.lock().insert(ino);
            let rdev = super::ops::device_number(&s);
            let ops = Ext4Inode::new(Core::new(self.me(), ino, kind, s));
            Ok(Inode::new(ino, kind, rdev, self.me(), Box::new(ops)))
        })
    }

    /// An inode has left memory.
    pub(super) fn inode_gone(&self, ino: u64) {
        self.live.lock().remove(&ino);
        self.gone.wake_all(PollEvents::empty());
    }

    /// Marks the file system as in use on the device, once. The caller holds the transaction lock.
    pub(super) fn mark_in_use(&self) -> Result<()> {
        if self.in_use.load(Ordering::Acquire) {
            return Ok(());
        }
        {
            let mut sb = self.sb.lock();
            let state = get16(&sb, 0x3a) & !STATE_VALID;
            put16(&mut sb, 0x3a, state);
            let mounts = get16(&sb, 0x34);
            put16(&mut sb, 0x34, mounts.saturating_add(1));
            let now = arch::clock::realtime().sec as u32;
            put32(&mut sb, 0x2c, now);
        }
        self.write_super()?;
        self.dev.flush()?;
        self.in_use.store(true, Ordering::Release);
        Ok(())
    }

    fn write_super(&self) -> Result<()> {
        let groups = self.groups.lock();
        let mut sb = self.sb.lock();
        groups.totals(&self.geo, &mut sb);
        put32(&mut sb, 0x30, arch::clock::realtime().sec as u32);
        if self.damage.load(Ordering::Relaxed) > 0 {
            let state = get16(&sb, 0x3a) | STATE_ERROR;
            put16(&mut sb, 0x3a, state);
        }
        superblock::seal(&mut sb, &self.geo);
        self.dev.write(1024, &sb)?;
        if self.geo.block_size > 1024 {
            // Block 0 may be cached because descriptors or boot code share it: never, but be sure.
            self.cache.forget(0);
        }
        Ok(())
    }

    /// Writes all metadata; the caller flushes the device.
    pub(super) fn sync_metadata(&self) -> Result<()> {
        if self.in_use.load(Ordering::Acquire) && !self.is_read_only() {
            self.begin()?.write_metadata()?;
        }
        Ok(())
    }

    /// Sets a feature bit that says what the file system now contains.
    pub(super) fn need_large_file(&self) {
        let mut sb = self.sb.lock();
        let ro = get32(&sb, 0x64);
        if get32(&sb, 0x4c) != 0 && ro & f::RO_LARGE_FILE == 0 {
            put32(&mut sb, 0x64, ro | f::RO_LARGE_FILE);
        }
    }

    /// Adds an inode to the orphans.
    pub(super) fn orphan_add(&self, ino: u64) {
        let mut o = self.orphans.lock();
        o.changed |= o.list.insert(ino);
    }

    /// Takes an inode from the orphans.
    pub(super) fn orphan_remove(&self, ino: u64) {
        let mut o = self.orphans.lock();
        o.changed |= o.list.remove(&ino);
    }

    /// Frees what a crash left behind: unnamed inodes, and blocks beyond the end of truncated ones.
    fn process_orphans(&self) -> Result<()> {
        let mut next = u64::from(get32(&self.sb.lock(), 0xe8));
        let mut list = Vec::new();
        while next != 0 && list.len() < 100_000 {
            if list.contains(&next) || next < self.geo.first_ino || next > self.geo.inodes {
                let _ = self.corrupt("the orphan list is damaged");
                break;
            }
            list.push(next);
            self.orphan_add(next);
            let (block, at) = self.inode_place(next)?;
            next = get32(&self.read_block(block, Kind::Plain, 0, |_| Ok(()))?, at + 0x14).into();
        }
        if list.is_empty() {
            return Ok(());
        }
        log::info!("ext4: {} orphan inodes are cleaned up", list.len());
        for ino in list {
            match self.inode(ino, true) {
                Ok(inode) => {
                    if let Some(e) = inode.ops_as::<Ext4Inode>()
                        && let Err(error) = e.finish_orphan()
                    {
                        log::error!("ext4: orphan inode {ino}: {error}");
                    }
                }
                Err(_) => self.orphan_remove(ino),
            }
        }
        Ok(())
    }
}

impl Txn<'_> {
    /// Writes all dirty metadata: orphan list, descriptors, buffers, superblock.
    pub(super) fn write_metadata(&self) -> Result<()> {
        let fs = self.fs;
        {
            let mut o = fs.orphans.lock();
            if std::mem::take(&mut o.changed) {
                let mut next = 0;
                for &ino in o.list.iter().rev() {
                    self.store_dtime(ino, next)?;
                    next = ino as u32;
                }
                put32(&mut fs.sb.lock(), 0xe8, next);
            }
        }
        fs.groups.lock().flush(&fs.geo, &fs.cache)?;
        fs.cache.write_back()?;
        fs.write_super()
    }
}

impl FileSystem for Ext4 {
    fn type_name(&self) -> &'static str {
        self.name
    }
    fn root(&self) -> Arc<Inode> {
        self.root.lock().clone().expect("the root is dropped by unmount, which is the last call")
    }
    fn dev(&self) -> DevNum {
        self.number
    }
    fn read_only(&self) -> bool {
        self.is_read_only()
    }
    fn statfs(&self) -> Result<StatFs> {
        let reserved = self.reserved_blocks();
        let g = self.groups.lock();
        let geo = &self.geo;
        let overhead: u64 = g.zones.iter().map(|z| z.1 - z.0).sum();
        let id = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| get8(&geo.uuid, at + i)));
        Ok(StatFs {
            magic: 0xef53,
            block_size: geo.block_size as u32,
            blocks: geo.blocks.saturating_sub(overhead),
            free: g.free_blocks,
            available: g.free_blocks.saturating_sub(reserved + self.map_reserve()),
            files: geo.inodes,
            files_free: g.free_inodes,
            fsid: id(0) ^ id(8),
            name_max: 255,
        })
    }
    fn lost_data(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }
    fn sync(&self) -> Result<()> {
        if self.is_read_only() {
            return Ok(());
        }
        let mut failed = None;
        for inode in self.inodes.all() {
            if let Some(e) = inode.ops_as::<Ext4Inode>()
                && let Err(error) = e.write_pages_back()
            {
                failed = Some(error);
            }
        }
        self.sync_metadata()?;
        self.dev.flush()?;
        failed.map_or(Ok(()), Err)
    }
    fn remount(&self, read_only: bool, options: &[u8]) -> Result<()> {
        check_options(options)?;
        if read_only {
            self.sync()?;
            self.mark_clean()?;
            self.read_only.store(true, Ordering::Release);
        } else if self.is_read_only() {
            if let Some(why) = &self.forced {
                log::error!("ext4: {why}");
                return err(Errno::EROFS);
            }
            self.read_only.store(false, Ordering::Release);
            self.process_orphans()?;
        }
        Ok(())
    }
    fn unmount(&self) -> Result<()> {
        let root = self.root.lock().take();
        drop(root);
        self.sync()?;
        self.mark_clean()
    }
    fn options(&self) -> String {
        String::new()
    }
}

impl Ext4 {
    /// Everything is written: says so in the superblock.
    fn mark_clean(&self) -> Result<()> {
        if !self.in_use.load(Ordering::Acquire) {
            return Ok(());
        }
        let _lock = self.txn.lock();
        {
            let mut sb = self.sb.lock();
            let state = get16(&sb, 0x3a) | STATE_VALID;
            put16(&mut sb, 0x3a, state);
        }
        self.write_super()?;
        self.dev.flush()?;
        self.in_use.store(false, Ordering::Release);
        Ok(())
    }
}
