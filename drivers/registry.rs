//! Which devices there are: two tables that boot fills and devtmpfs, sysfs and /proc/devices
//! read. They are values, so that a test can build a kernel with the devices that it wants.
//!
//! Locks: each table has one leaf lock; lookups clone an `Arc` and never call a driver under it.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use base::{Errno, Rank, Result, SpinLock, err};

use crate::block::BlockDevice;
use crate::chardev::{CharDriver, CharFile, DevNum, OpenInfo, Opener};
use crate::disk::Disk;

/// Major number of `ubda`, `ubdb`, ...: as in User Mode Linux.
pub const UBD_MAJOR: u32 = 98;
/// Minors between two disks (room for partitions).
pub const UBD_MINORS: u32 = 16;

/// A character device with a name in /dev.
#[derive(Clone)]
pub struct CharDev {
    /// Its number.
    pub dev: DevNum,
    /// Its path under /dev (`null`, `pts/ptmx`).
    pub name: String,
    /// The driver's name in /proc/devices (`mem`, `tty`).
    pub class: &'static str,
    /// Permission bits of its node.
    pub mode: u32,
    /// Who opens it.
    pub driver: Arc<dyn CharDriver>,
}

impl std::fmt::Debug for CharDev {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CharDev({} {}:{})", self.name, self.dev.major, self.dev.minor)
    }
}

struct CharRange {
    major: u32,
    minors: RangeInclusive<u32>,
    class: &'static str,
    driver: Arc<dyn CharDriver>,
}

#[derive(Default)]
struct CharTables {
    named: BTreeMap<DevNum, CharDev>,
    ranges: Vec<CharRange>,
}

/// The character devices.
pub struct CharRegistry {
    tables: SpinLock<CharTables>,
}

impl std::fmt::Debug for CharRegistry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.list()).finish()
    }
}

impl Default for CharRegistry {
    fn default() -> Self {
        CharRegistry::new()
    }
}

impl CharRegistry {
    /// No devices.
    pub fn new() -> CharRegistry {
        CharRegistry { tables: SpinLock::new(Rank::Leaf, CharTables::default()) }
    }

    /// Adds a device.
    ///
    /// # Errors
    /// EBUSY if its number or its name is taken.
    pub fn register(&self, device: CharDev) -> Result<()> {
        let mut t = self.tables.lock();
        if t.named.contains_key(&device.dev) || t.named.values().any(|d| d.name == device.name) {
            return err(Errno::EBUSY);
        }
        t.named.insert(device.dev, device);
        Ok(())
    }

    /// Adds a driver for many minors that devtmpfs shows no nodes of (pseudo-terminal slaves).
    pub fn register_range(
        &self,
        major: u32,
        minors: RangeInclusive<u32>,
        class: &'static str,
        driver: Arc<dyn CharDriver>,
    ) {
        self.tables.lock().ranges.push(CharRange { major, minors, class, driver });
    }

    /// Takes a device away; open files stay usable. Returns whether it was there.
    pub fn unregister(&self, dev: DevNum) -> bool {
        let gone = self.tables.lock().named.remove(&dev);
        gone.is_some()
    }

    /// The driver of a number.
    pub fn driver(&self, dev: DevNum) -> Option<Arc<dyn CharDriver>> {
        let t = self.tables.lock();
        if let Some(d) = t.named.get(&dev) {
            return Some(d.driver.clone());
        }
        t.ranges
            .iter()
            .find(|r| r.major == dev.major && r.minors.contains(&dev.minor))
            .map(|r| r.driver.clone())
    }

    /// Opens the device with this number: what open(2) does with a character special file.
    ///
    /// # Errors
    /// ENXIO if there is none, and what the driver says.
    pub fn open(&self, dev: DevNum, info: OpenInfo, who: &dyn Opener) -> Result<Arc<dyn CharFile>> {
        match self.driver(dev) {
            Some(driver) => driver.open(dev, info, who),
            None => err(Errno::ENXIO),
        }
    }

    /// The device with this name.
    pub fn by_name(&self, name: &str) -> Option<CharDev> {
        self.tables.lock().named.values().find(|d| d.name == name).cloned()
    }

    /// All named devices by number.
    pub fn list(&self) -> Vec<CharDev> {
        self.tables.lock().named.values().cloned().collect()
    }

    /// Majors and driver names, as /proc/devices lists them.
    pub fn classes(&self) -> Vec<(u32, String)> {
        let t = self.tables.lock();
        let named = t.named.values().map(|d| (d.dev.major, d.class.to_owned()));
        let mut all: Vec<_> =
            named.chain(t.ranges.iter().map(|r| (r.major, r.class.to_owned()))).collect();
        all.sort();
        all.dedup();
        all
    }
}

/// The disks.
#[derive(Debug)]
pub struct BlockRegistry {
    disks: SpinLock<BTreeMap<DevNum, Arc<Disk>>>,
}

impl Default for BlockRegistry {
    fn default() -> Self {
        BlockRegistry::new()
    }
}

impl BlockRegistry {
    /// No disks.
    pub fn new() -> BlockRegistry {
        BlockRegistry { disks: SpinLock::new(Rank::Leaf, BTreeMap::new()) }
    }

    /// Adds a disk.
    ///
    /// # Errors
    /// EBUSY if its number or its name is taken.
    pub fn register(
        &self,
        dev: DevNum,
        name: &str,
        device: Arc<dyn BlockDevice>,
    ) -> Result<Arc<Disk>> {
        let disk = Arc::new(Disk::new(dev, name, device));
        let mut disks = self.disks.lock();
        if disks.contains_key(&dev) || disks.values().any(|d| d.name() == name) {
            return err(Errno::EBUSY);
        }
        disks.insert(dev, disk.clone());
        Ok(disk)
    }

    /// Adds the disk of `ubdINDEX=` as `ubda`, `ubdb`, ... (major 98, minor 16 times the index).
    ///
    /// # Errors
    /// EINVAL for an index over 25; EBUSY if it is taken.
    pub fn register_ubd(&self, index: u32, device: Arc<dyn BlockDevice>) -> Result<Arc<Disk>> {
        let Some(letter) = u8::try_from(index).ok().filter(|i| *i < 26).map(|i| b'a' + i) else {
            return err(Errno::EINVAL);
        };
        let name = format!("ubd{}", char::from(letter));
        self.register(DevNum::new(UBD_MAJOR, index * UBD_MINORS), &name, device)
    }

    /// Takes a disk away; who holds it keeps it.
    pub fn unregister(&self, dev: DevNum) -> Option<Arc<Disk>> {
        self.disks.lock().remove(&dev)
    }

    /// The disk with this number.
    pub fn get(&self, dev: DevNum) -> Option<Arc<Disk>> {
        self.disks.lock().get(&dev).cloned()
    }

    /// The disk with this name (without `/dev/`).
    pub fn by_name(&self, name: &str) -> Option<Arc<Disk>> {
        self.disks.lock().values().find(|d| d.name() == name).cloned()
    }

    /// All disks by number.
    pub fn list(&self) -> Vec<Arc<Disk>> {
        self.disks.lock().values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ramdisk::RamDisk;

    #[test]
    fn disks_by_number_and_by_name() {
        let disks = BlockRegistry::new();
        let ram = || Arc::new(RamDisk::new(vec![0; 8192], false, None));
        let a = disks.register_ubd(0, ram()).unwrap();
        let b = disks.register_ubd(1, ram()).unwrap();
        assert_eq!((a.dev(), a.name()), (DevNum::new(98, 0), "ubda"));
        assert_eq!((b.dev(), b.name()), (DevNum::new(98, 16), "ubdb"));
        assert_eq!(disks.register_ubd(1, ram()).unwrap_err(), Errno::EBUSY);
        assert_eq!(disks.register_ubd(26, ram()).unwrap_err(), Errno::EINVAL);
        assert_eq!(disks.by_name("ubdb").unwrap().dev(), b.dev());
        assert_eq!(disks.list().len(), 2);
        a.write(512, &[1; 1024]).unwrap();
        a.read(0, &mut [0; 512]).unwrap();
        assert!(a.read(1, &mut [0; 512]).is_err());
        let s = a.stats();
        assert_eq!((s.reads, s.read_sectors, s.writes, s.write_sectors), (1, 1, 1, 2));
        assert_eq!(s.line().split(' ').count(), 17);
        disks.unregister(a.dev()).unwrap();
        assert!(disks.get(a.dev()).is_none() && a.read(0, &mut [0; 512]).is_ok());
    }

    #[test]
    fn device_numbers_as_users_see_them() {
        for (ma, mi) in [(1, 3), (136, 4095), (4095, 255), (4096, 1 << 20)] {
            let d = DevNum::new(ma, mi);
            assert_eq!(DevNum::from_user(d.to_user()), d);
        }
        assert_eq!(DevNum::new(98, 16).to_user(), 0x6210);
    }
}
