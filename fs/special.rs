//! Device files and O_PATH descriptors: [`CharOps`] passes calls on to a driver, [`BlockOps`] puts a
//! page cache over a disk.

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Weak};

use base::iobuf::Take;
use base::{
    Cap, Errno, PAGE_SHIFT, PAGE_SIZE, PhysAddr, PollEvents, PollTable, Rank, Result, Sink, Source,
    SpinLock, UserAddr, err,
};
use drivers::{BlockDevice, CharFile, DevNum, Disk};
use mm::{Backing, Mappable, Memory, Named, ObjectName, PageCache};

use crate::file::{Caller, File, FileOps, OpenFlags};
use crate::vfs::Vfs;

/// O_PATH: a descriptor that names and does nothing. (The calls that act on objects reject it with
/// EBADF by `FdTable::get_io`.)
#[derive(Debug)]
pub struct PathOnlyOps;

impl FileOps for PathOnlyOps {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn read_dir(
        &self,
        _file: &File,
        _pos: u64,
        _emit: &mut dyn FnMut(crate::inode::DirEntry<'_>) -> bool,
    ) -> Result<()> {
        err(Errno::EBADF)
    }
    fn poll(&self, _file: &File, _table: Option<&mut PollTable>) -> PollEvents {
        PollEvents::NVAL
    }
    fn ioctl(&self, _file: &File, _cmd: u32, _arg: UserAddr, _who: &dyn Caller) -> Result<i64> {
        err(Errno::EBADF)
    }
}

/// An open character device.
pub struct CharOps {
    file: Arc<dyn CharFile>,
    dev: DevNum,
    memory: Arc<Memory>,
}

impl fmt::Debug for CharOps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CharOps({}:{})", self.dev.major, self.dev.minor)
    }
}

impl CharOps {
    /// Wraps what a driver opened.
    pub fn new(file: Arc<dyn CharFile>, dev: DevNum, memory: Arc<Memory>) -> CharOps {
        CharOps { file, dev, memory }
    }
    /// The device number.
    pub fn dev(&self) -> DevNum {
        self.dev
    }
}

impl FileOps for CharOps {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn read(&self, file: &File, offset: u64, sink: &mut dyn Sink) -> Result<usize> {
        self.file.read(offset, sink, file.nonblock())
    }
    fn write(&self, file: &File, offset: u64, source: &mut dyn Source) -> Result<usize> {
        self.file.write(offset, source, file.nonblock())
    }
    fn seekable(&self) -> bool {
        self.file.seekable()
    }
    fn seek_special(&self, _file: &File, whence: u32, offset: i64) -> Option<Result<u64>> {
        if let Some(r) = self.file.seek_special(whence, offset) {
            return Some(r);
        }
        // The memory devices: lseek succeeds and stays at 0 (null_lseek of Linux).
        self.file.seekable().then_some(Ok(0))
    }
    fn poll(&self, _file: &File, table: Option<&mut PollTable>) -> PollEvents {
        self.file.poll(table)
    }
    fn ioctl(&self, _file: &File, cmd: u32, arg: UserAddr, who: &dyn Caller) -> Result<i64> {
        self.file.ioctl(cmd, arg, who.memory(), who)
    }
    fn mappable(&self, _file: &File) -> Result<Arc<dyn Mappable>> {
        if !self.file.maps_zero() {
            return err(Errno::ENODEV);
        }
        let pages = mm::anonymous_shared(&self.memory, i64::MAX as u64);
        let path = b"/dev/zero".to_vec();
        Ok(Named::new(pages, ObjectName { path, dev: 0, ino: 0 }))
    }
    fn char_file(&self) -> Option<&Arc<dyn CharFile>> {
        Some(&self.file)
    }
}

/// The page caches of the disks that are open as files, by number.
#[derive(Debug, Default)]
pub(crate) struct OpenDisks(DiskCaches);

type DiskMap = HashMap<DevNum, (Weak<PageCache>, Weak<Disk>)>;

#[derive(Debug)]
struct DiskCaches(SpinLock<DiskMap>);

impl Default for DiskCaches {
    fn default() -> Self {
        DiskCaches(SpinLock::new(Rank::Leaf, HashMap::new()))
    }
}

impl OpenDisks {
    /// The one cache of a disk, whoever has it open.
    fn cache(&self, memory: &Arc<Memory>, disk: &Arc<Disk>) -> Arc<PageCache> {
        let same = |w: &(Weak<PageCache>, Weak<Disk>)| {
            let c = w.0.upgrade()?;
            (Weak::as_ptr(&w.1) == Arc::as_ptr(disk)).then_some(c)
        };
        if let Some(c) = self.0.0.lock().get(&disk.dev()).and_then(same) {
            return c;
        }
        let backing = Arc::new(DiskPages { disk: disk.clone(), memory: memory.clone() });
        let new = PageCache::new_owned(memory, backing);
        let mut map = self.0.0.lock();
        if let Some(c) = map.get(&disk.dev()).and_then(same) {
            return c;
        }
        map.insert(disk.dev(), (Arc::downgrade(&new), Arc::downgrade(disk)));
        new
    }
}

/// A disk as the source of pages.
struct DiskPages {
    disk: Arc<Disk>,
    memory: Arc<Memory>,
}

impl DiskPages {
    /// The frames of `first..` cut to the device, as pieces.
    fn pieces(&self, first: u64, frames: &[PhysAddr]) -> Vec<(PhysAddr, usize)> {
        let mut left = self.disk.len().saturating_sub(first << PAGE_SHIFT);
        let mut out = Vec::with_capacity(frames.len());
        for f in frames {
            let n = left.min(PAGE_SIZE as u64);
            if n == 0 {
                break;
            }
            out.push((*f, n as usize));
            left -= n;
        }
        out
    }
}

impl Backing for DiskPages {
    fn read_pages(&self, first: u64, frames: &[PhysAddr]) -> Result<()> {
        let pieces = self.pieces(first, frames);
        let phys = self.memory.machine().phys();
        for (i, f) in frames.iter().enumerate() {
            let n = pieces.get(i).map_or(0, |p| p.1);
            if n < PAGE_SIZE {
                phys.zero_bytes(f.add(n), PAGE_SIZE - n);
            }
        }
        if pieces.is_empty() {
            return Ok(());
        }
        self.disk.read_phys(first << PAGE_SHIFT, &pieces)
    }
    fn write_pages(&self, first: u64, frames: &[PhysAddr]) -> Result<()> {
        let pieces = self.pieces(first, frames);
        if pieces.is_empty() {
            return Ok(());
        }
        self.disk.write_phys(first << PAGE_SHIFT, &pieces)
    }
    fn size(&self) -> u64 {
        self.disk.len()
    }
}

/// An open block device.
pub struct BlockOps {
    disk: Arc<Disk>,
    cache: Arc<PageCache>,
}

impl fmt::Debug for BlockOps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlockOps({})", self.disk.name())
    }
}

const LAST_PAGE: u64 = u64::MAX >> PAGE_SHIFT;

impl BlockOps {
    /// Opens the disk with this number.
    pub(crate) fn open(vfs: &Vfs, dev: DevNum, flags: OpenFlags) -> Result<BlockOps> {
        let Some(disk) = vfs.devices.blocks.get(dev) else { return err(Errno::ENXIO) };
        if flags.writable() && disk.read_only() {
            return err(Errno::EACCES);
        }
        let cache = vfs.open_disks.cache(&vfs.memory, &disk);
        Ok(BlockOps { disk, cache })
    }

    /// The disk.
    pub fn disk(&self) -> &Arc<Disk> {
        &self.disk
    }

    fn flush_all(&self) -> Result<()> {
        self.cache.sync_range(0, LAST_PAGE)?;
        self.disk.flush()
    }

    /// BLKDISCARD, BLKZEROOUT: a pair of offset and length.
    fn discard(&self, file: &File, arg: UserAddr, who: &dyn Caller, zero: bool) -> Result<i64> {
        if !file.flags().writable() {
            return err(Errno::EBADF);
        }
        let mut raw = [0; 16];
        who.memory().read(arg, &mut raw)?;
        let word = |i: usize| {
            u64::from_le_bytes(raw[i..i + 8].try_into().expect("a slice of eight bytes"))
        };
        let (offset, len) = (word(0), word(8));
        let end = offset.checked_add(len).filter(|e| *e <= self.disk.len());
        if end.is_none() || !offset.is_multiple_of(512) || !len.is_multiple_of(512) {
            return err(Errno::EINVAL);
        }
        if zero {
            self.cache.zero_range(offset, len)?;
            return Ok(0);
        }
        self.cache.sync_range(offset >> PAGE_SHIFT, (offset + len) >> PAGE_SHIFT)?;
        self.disk.discard(offset, len)?;
        self.cache.invalidate(offset >> PAGE_SHIFT, (offset + len).saturating_sub(1) >> PAGE_SHIFT);
        Ok(0)
    }
}

impl FileOps for BlockOps {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn read(&self, _file: &File, offset: u64, sink: &mut dyn Sink) -> Result<usize> {
        let n = sink.remaining();
        self.cache.read(offset, sink, n)
    }
    fn write(&self, file: &File, offset: u64, source: &mut dyn Source) -> Result<usize> {
        let want = source.remaining();
        if want == 0 {
            return Ok(0);
        }
        let room = self.disk.len().saturating_sub(offset);
        if room == 0 {
            return err(Errno::ENOSPC);
        }
        let n = want.min(usize::try_from(room).unwrap_or(usize::MAX));
        let n = self.cache.write(offset, &mut Take::new(source, n), n)?;
        if file.flags().contains(OpenFlags::DSYNC) {
            self.flush_all()?;
        }
        Ok(n)
    }
    fn seekable(&self) -> bool {
        true
    }
    fn seek_end(&self, _file: &File) -> Result<u64> {
        Ok(self.disk.len())
    }
    fn pollable(&self) -> bool {
        false
    }
    fn mappable(&self, file: &File) -> Result<Arc<dyn Mappable>> {
        let inode = file.inode();
        let name = ObjectName {
            path: file.path.full_name(),
            dev: inode.fs.dev().to_user(),
            ino: inode.ino,
        };
        Ok(Named::new(self.cache.clone(), name))
    }
    fn sync(&self, _file: &File, _data_only: bool) -> Result<()> {
        self.flush_all()
    }
    fn release(&self, file: &File) {
        if file.flags().writable()
            && let Err(e) = self.flush_all()
        {
            log::error!("{}: {e}", self.disk.name());
        }
    }
    fn ioctl(&self, file: &File, cmd: u32, arg: UserAddr, who: &dyn Caller) -> Result<i64> {
        let put = |bytes: &[u8]| who.memory().write(arg, bytes).map(|()| 0);
        let size = self.disk.len();
        match cmd {
            0x125d => err(Errno::EACCES), // BLKROSET
            0x125e => put(&u32::from(self.disk.read_only()).to_le_bytes()), // BLKROGET
            0x125f => err(Errno::EINVAL), // BLKRRPART: no partitions
            0x1260 => put(&(size / 512).to_le_bytes()), // BLKGETSIZE
            0x1261 => {
                // BLKFLSBUF
                if !who.cred().capable(Cap::SysAdmin) {
                    return err(Errno::EACCES);
                }
                self.flush_all()?;
                self.cache.drop_clean();
                Ok(0)
            }
            0x1263 => put(&256u64.to_le_bytes()), // BLKRAGET, sectors
            0x1267 => put(&2560u16.to_le_bytes()), // BLKSECTGET
            0x1268 => put(&512u32.to_le_bytes()), // BLKSSZGET
            0x8008_1270 => put(&4096u32.to_le_bytes()), // BLKBSZGET
            0x4008_1271 => Ok(0),                 // BLKBSZSET: accepted, the cache works in pages
            0x8008_1272 => put(&size.to_le_bytes()), // BLKGETSIZE64
            0x1277 => self.discard(file, arg, who, false), // BLKDISCARD
            0x127f => self.discard(file, arg, who, true), // BLKZEROOUT
            0x1278 => put(&4096u32.to_le_bytes()), // BLKIOMIN
            0x1279 | 0x127a | 0x127c => put(&0u32.to_le_bytes()), // IOOPT, ALIGNOFF, DISCARDZEROES
            0x127b => put(&4096u32.to_le_bytes()), // BLKPBSZGET
            0x127e => put(&0u16.to_le_bytes()),   // BLKROTATIONAL
            _ => err(Errno::ENOTTY),              // among them HDIO_GETGEO
        }
    }
}
