//! sysfs: devices and kernel objects as files.
//!
//! The tree is a value (`tree::Dir`): directories, links, and files whose text is fixed or made by a closure that
//! holds what it describes (a disk, a device). [`SysFs`] builds it from the registries of the drivers and
//! from a [`SysSource`], and again when [`SysSource::generation`] says that devices have come or gone.
//!
//! Files: `tree` (the value), `node` (inodes and open files), `build` (the whole tree), `block`, `chars`,
//! `cpu`, `net` (parts of it).
//!
//! Locks: one sleeping mutex around the current tree; nothing is locked while text is made.

mod block;
mod build;
mod chars;
mod cpu;
mod net;
mod node;
#[cfg(test)]
mod tests;
mod tree;

use std::sync::{Arc, Weak};

use base::{Mutex, Result};
use drivers::{BlockRegistry, CharRegistry, DevNum};

use crate::inode::{FileSystem, FileSystemType, Inode, MountArgs, StatFs};
use tree::Dir;

const SYSFS_MAGIC: u64 = 0x6265_6572;

/// A network interface as /sys/class/net shows it.
#[derive(Clone, Debug, Default)]
pub struct NetInterface {
    /// `lo`, `eth0`.
    pub name: String,
    /// Its number.
    pub index: u32,
    /// Hardware address.
    pub address: Vec<u8>,
    /// Broadcast address.
    pub broadcast: Vec<u8>,
    /// Largest packet.
    pub mtu: u32,
    /// IFF_* flags.
    pub flags: u32,
    /// ARPHRD_*: 1 Ethernet, 772 loopback.
    pub kind: u32,
    /// Packets, bytes, errors, drops received.
    pub rx: [u64; 4],
    /// Packets, bytes, errors, drops sent.
    pub tx: [u64; 4],
}

/// The kernel, as sysfs sees it.
pub trait SysSource: Send + Sync {
    /// Virtual CPUs.
    fn cpus(&self) -> u32;
    /// The state of memory, in pages, for node0/meminfo.
    fn memory(&self) -> mm::MemStats;
    /// Network interfaces, now.
    fn interfaces(&self) -> Vec<NetInterface> {
        Vec::new()
    }
    /// Names of the active consoles, the one of /dev/console last.
    fn consoles(&self) -> Vec<String> {
        vec!["tty0".into()]
    }
    /// Changes whenever a device or an interface comes or goes.
    fn generation(&self) -> u64 {
        0
    }
}

/// What sysfs is built from.
pub struct SysParts {
    /// The kernel.
    pub source: Arc<dyn SysSource>,
    /// The disks.
    pub blocks: Arc<BlockRegistry>,
    /// The character devices.
    pub chars: Arc<CharRegistry>,
}

impl std::fmt::Debug for SysParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SysParts")
    }
}

/// The file system.
#[derive(Debug)]
pub struct SysFs {
    me: Weak<SysFs>,
    parts: SysParts,
    dev: DevNum,
    current: Mutex<Option<(u64, Arc<Dir>)>>,
}

impl SysFs {
    /// A sysfs over these parts, with the device number that stat(2) shows.
    pub fn new(parts: SysParts, dev: DevNum) -> Arc<SysFs> {
        Arc::new_cyclic(|me| SysFs { me: me.clone(), parts, dev, current: Mutex::new(None) })
    }

    /// The type for `Vfs::register_type`: every mount shows this instance.
    pub fn into_type(self: Arc<Self>) -> Arc<dyn FileSystemType> {
        Arc::new(SysType(self))
    }

    /// The tree as it is now.
    pub(crate) fn tree(&self) -> Arc<Dir> {
        let generation = self.parts.source.generation();
        let mut current = self.current.lock();
        match &*current {
            Some((g, tree)) if *g == generation => tree.clone(),
            _ => {
                let tree = Arc::new(build::tree(&self.parts));
                *current = Some((generation, tree.clone()));
                tree
            }
        }
    }

    fn arc(&self) -> Arc<SysFs> {
        self.me.upgrade().expect("it is being called through an Arc")
    }
}

impl FileSystem for SysFs {
    fn type_name(&self) -> &'static str {
        "sysfs"
    }
    fn root(&self) -> Arc<Inode> {
        node::root(&self.arc())
    }
    fn dev(&self) -> DevNum {
        self.dev
    }
    fn statfs(&self) -> Result<StatFs> {
        Ok(StatFs { magic: SYSFS_MAGIC, block_size: 4096, name_max: 255, ..StatFs::default() })
    }
    fn cache_names(&self) -> bool {
        false
    }
}

struct SysType(Arc<SysFs>);

impl FileSystemType for SysType {
    fn name(&self) -> &'static str {
        "sysfs"
    }
    fn needs_device(&self) -> bool {
        false
    }
    fn mount(&self, _args: &MountArgs<'_>) -> Result<Arc<dyn FileSystem>> {
        Ok(self.0.clone())
    }
}
