//! A registered disk: a [`BlockDevice`] with its number, its name, its statistics and the
//! trace points. File systems hold a `Disk`; it behaves as the device that it wraps.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use base::uapi::ioctl as n;
use base::{Cap, Cred, Errno, PhysAddr, Result, UserAddr, UserMemory, err, trace};

use crate::block::{BlockDevice, SECTOR, check_range};
use crate::chardev::DevNum;

/// What a disk has done so far, in the units of /proc/diskstats.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DiskStats {
    /// Read requests.
    pub reads: u64,
    /// 512-byte sectors read.
    pub read_sectors: u64,
    /// Nanoseconds spent reading.
    pub read_ns: u64,
    /// Write requests.
    pub writes: u64,
    /// Sectors written.
    pub write_sectors: u64,
    /// Nanoseconds spent writing.
    pub write_ns: u64,
    /// Requests under way now.
    pub in_flight: u64,
    /// Discard requests.
    pub discards: u64,
    /// Sectors discarded.
    pub discard_sectors: u64,
    /// Nanoseconds spent discarding.
    pub discard_ns: u64,
    /// Flush requests.
    pub flushes: u64,
    /// Nanoseconds spent flushing.
    pub flush_ns: u64,
}

impl DiskStats {
    /// The fields of /proc/diskstats after the name, and of /sys/block/*/stat: seventeen numbers,
    /// times in milliseconds (Documentation/admin-guide/iostats.rst).
    pub fn line(&self) -> String {
        let ms = |ns: u64| ns / 1_000_000;
        let busy = ms(self.read_ns + self.write_ns + self.discard_ns + self.flush_ns);
        format!(
            "{} 0 {} {} {} 0 {} {} {} {} {} {} 0 {} {} {} {}",
            self.reads,
            self.read_sectors,
            ms(self.read_ns),
            self.writes,
            self.write_sectors,
            ms(self.write_ns),
            self.in_flight,
            busy,
            busy,
            self.discards,
            self.discard_sectors,
            ms(self.discard_ns),
            self.flushes,
            ms(self.flush_ns),
        )
    }
}

#[derive(Debug, Default)]
struct Counter {
    requests: AtomicU64,
    sectors: AtomicU64,
    ns: AtomicU64,
}

/// A disk as the registry knows it.
#[derive(Debug)]
pub struct Disk {
    dev: DevNum,
    name: String,
    device: Arc<dyn BlockDevice>,
    in_flight: AtomicU64,
    read: Counter,
    write: Counter,
    discard: Counter,
    flush: Counter,
}

impl Disk {
    /// Gives `device` a number and a name (`ubda`).
    pub fn new(dev: DevNum, name: &str, device: Arc<dyn BlockDevice>) -> Disk {
        Disk {
            dev,
            name: name.to_owned(),
            device,
            in_flight: AtomicU64::new(0),
            read: Counter::default(),
            write: Counter::default(),
            discard: Counter::default(),
            flush: Counter::default(),
        }
    }

    /// Its device number.
    pub fn dev(&self) -> DevNum {
        self.dev
    }

    /// Its name in /dev.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it has done so far.
    pub fn stats(&self) -> DiskStats {
        DiskStats {
            reads: self.read.requests.load(Relaxed),
            read_sectors: self.read.sectors.load(Relaxed),
            read_ns: self.read.ns.load(Relaxed),
            writes: self.write.requests.load(Relaxed),
            write_sectors: self.write.sectors.load(Relaxed),
            write_ns: self.write.ns.load(Relaxed),
            in_flight: self.in_flight.load(Relaxed),
            discards: self.discard.requests.load(Relaxed),
            discard_sectors: self.discard.sectors.load(Relaxed),
            discard_ns: self.discard.ns.load(Relaxed),
            flushes: self.flush.requests.load(Relaxed),
            flush_ns: self.flush.ns.load(Relaxed),
        }
    }

    /// The ioctls of block devices (linux/fs.h).
    ///
    /// # Errors
    /// ENOTTY for what a disk does not know; EFAULT; EACCES without the right to; and as the
    /// device says. (An open file that is not writable must be refused BLKDISCARD and
    /// BLKZEROOUT with EBADF before.)
    pub fn ioctl(&self, cmd: u32, arg: UserAddr, mem: &dyn UserMemory, cred: &Cred) -> Result<i64> {
        const BLKPBSZGET: u32 = 0x127b;
        const BLKIOMIN: u32 = 0x1278;
        const BLKIOOPT: u32 = 0x1279;
        const BLKALIGNOFF: u32 = 0x127a;
        const BLKDISCARDZEROES: u32 = 0x127c;
        const BLKROTATIONAL: u32 = 0x127e;
        const BLKZEROOUT: u32 = 0x127f;
        const BLKGETDISKSEQ: u32 = 0x8008_1280;
        let put32 = |v: u32| mem.write(arg, &v.to_ne_bytes()).map(|()| 0);
        let put64 = |v: u64| mem.write(arg, &v.to_ne_bytes()).map(|()| 0);
        match cmd {
            n::BLKGETSIZE64 => put64(self.len()),
            n::BLKGETSIZE => put64(self.len() / SECTOR),
            n::BLKSSZGET => put32(SECTOR as u32),
            BLKPBSZGET | BLKIOMIN => put32(SECTOR as u32),
            n::BLKBSZGET => put64(4096),
            n::BLKBSZSET | n::BLKRASET | n::BLKFRASET => Ok(0),
            n::BLKRAGET | n::BLKFRAGET => put64(256),
            n::BLKROGET => put32(self.read_only().into()),
            n::BLKSECTGET => mem.write(arg, &2560u16.to_ne_bytes()).map(|()| 0),
            BLKIOOPT | BLKALIGNOFF | BLKDISCARDZEROES => put32(0),
            BLKROTATIONAL => mem.write(arg, &0u16.to_ne_bytes()).map(|()| 0),
            BLKGETDISKSEQ => put64(u64::from(self.dev.minor) + 1),
            n::BLKFLSBUF if !cred.capable(Cap::SysAdmin) => err(Errno::EACCES),
            n::BLKFLSBUF => self.flush().map(|()| 0),
            // No partitions: a re-read finds none.
            n::BLKRRPART => err(Errno::EINVAL),
            n::BLKDISCARD | BLKZEROOUT => {
                let mut b = [0; 16];
                mem.read(arg, &mut b)?;
                let (start, len) = b.split_at(8);
                let word = |b: &[u8]| b.iter().rev().fold(0u64, |v, x| v << 8 | u64::from(*x));
                let (start, len) = (word(start), word(len));
                check_range(self.len(), start, usize::try_from(len).unwrap_or(usize::MAX))?;
                if cmd == n::BLKDISCARD {
                    return self.discard(start, len).map(|()| 0);
                }
                let zeros = [0; 65536];
                let mut at = start;
                while at < start + len {
                    let step = (start + len - at).min(zeros.len() as u64);
                    self.write(at, &zeros[..step as usize])?;
                    at += step;
                }
                Ok(0)
            }
            _ => err(Errno::ENOTTY),
        }
    }

    fn request(
        &self,
        counter: &Counter,
        write: bool,
        offset: u64,
        bytes: u64,
        work: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let start = arch::clock::monotonic().0;
        self.in_flight.fetch_add(1, Relaxed);
        let result = work();
        self.in_flight.fetch_sub(1, Relaxed);
        let end = arch::clock::monotonic().0;
        if result.is_ok() {
            counter.requests.fetch_add(1, Relaxed);
            counter.sectors.fetch_add(bytes / SECTOR, Relaxed);
            counter.ns.fetch_add(end.saturating_sub(start), Relaxed);
        }
        trace!(
            Block,
            Block {
                dev: self.dev.to_user() as u32,
                write,
                sector: offset / SECTOR,
                bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
                start_ns: start,
                end_ns: end,
            }
        );
        result
    }
}

impl BlockDevice for Disk {
    fn len(&self) -> u64 {
        self.device.len()
    }
    fn read_only(&self) -> bool {
        self.device.read_only()
    }
    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let bytes = buf.len() as u64;
        self.request(&self.read, false, offset, bytes, || self.device.read(offset, buf))
    }
    fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
        let bytes = data.len() as u64;
        self.request(&self.write, true, offset, bytes, || self.device.write(offset, data))
    }
    fn read_phys(&self, offset: u64, pieces: &[(PhysAddr, usize)]) -> Result<()> {
        let bytes = pieces.iter().map(|p| p.1 as u64).sum();
        self.request(&self.read, false, offset, bytes, || self.device.read_phys(offset, pieces))
    }
    fn write_phys(&self, offset: u64, pieces: &[(PhysAddr, usize)]) -> Result<()> {
        let bytes = pieces.iter().map(|p| p.1 as u64).sum();
        self.request(&self.write, true, offset, bytes, || self.device.write_phys(offset, pieces))
    }
    fn flush(&self) -> Result<()> {
        self.request(&self.flush, true, 0, 0, || self.device.flush())
    }
    fn discard(&self, offset: u64, len: u64) -> Result<()> {
        self.request(&self.discard, true, offset, len, || self.device.discard(offset, len))
    }
}
