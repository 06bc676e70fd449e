//! procfs: the kernel's state as files. See `README.md` in this folder.
//!
//! A directory is a table of `Entry` values, a file a function that makes its text. Nothing is kept between
//! looks: `ProcInode` is made by each lookup (the VFS does not cache names of this file system), text by the
//! first read of an open file and again by each read at offset 0.
//!
//! What is shown comes from a [`ProcSource`]. Files here: `source` (the trait), `node` (inodes and open
//! files), `root` (/proc/*), `pid` (/proc/PID/*), `status`, `smaps`, `links`, `mem`, `mounts`, `memory`
//! (meminfo, vmstat), `cpu` (stat, cpuinfo), `net`, `sysctl` (/proc/sys), `ns`.
//!
//! Locks: only the text of an open file (sleeping) and the values of variables that nobody else keeps (leaf).

mod cpu;
mod fdinfo;
mod links;
mod mem;
mod memory;
mod mounts;
mod net;
mod node;
pub(crate) mod ns;
mod pid;
mod root;
mod smaps;
pub mod source;
mod status;
mod sysctl;
mod sysctl_table;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Weak};

use base::{Errno, Error, Rank, Result, SpinLock};
use drivers::DevNum;
use hashbrown::HashMap;

use crate::inode::{FileSystem, FileSystemType, Inode, MountArgs, StatFs};
use node::{At, Node, ProcInode};
pub use source::{
    CpuModel, CpuTimes, ProcSource, SystemInfo, Table, TaskInfo, TaskSetting, TaskState,
};

/// Inode number of the root: what tools that look for a real /proc expect.
const ROOT_INO: u64 = 1;
const PROC_SUPER_MAGIC: u64 = 0x9fa0;

/// The file system.
pub struct ProcFs {
    me: Weak<ProcFs>,
    source: Arc<dyn ProcSource>,
    dev: DevNum,
    /// Variables below /proc/sys that only procfs knows.
    values: SpinLock<HashMap<&'static str, String>>,
}

impl std::fmt::Debug for ProcFs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ProcFs({:?})", self.dev)
    }
}

impl ProcFs {
    /// A procfs over `source`, with the device number that stat(2) shows.
    pub fn new(source: Arc<dyn ProcSource>, dev: DevNum) -> Arc<ProcFs> {
        Arc::new_cyclic(|me| ProcFs {
            me: me.clone(),
            source,
            dev,
            values: SpinLock::new(Rank::Leaf, HashMap::new()),
        })
    }

    /// The type for `Vfs::register_type`: every mount shows this instance.
    pub fn into_type(self: Arc<Self>) -> Arc<dyn FileSystemType> {
        Arc::new(ProcType(self))
    }

    /// A kernel variable as sysctl(2) would give it: for parts of the kernel whose setting procfs keeps.
    pub fn sysctl(&self, name: &str) -> Option<String> {
        sysctl::get(self, name)
    }

    /// Sets a kernel variable as a write to /proc/sys does (`sysctl.NAME=` on the command line).
    ///
    /// # Errors
    /// ENOENT; EINVAL.
    pub fn set_sysctl(&self, name: &str, value: &str) -> Result<()> {
        sysctl::set(self, name, value)
    }

    pub(crate) fn source(&self) -> &dyn ProcSource {
        &*self.source
    }

    fn arc(&self) -> Arc<ProcFs> {
        self.me.upgrade().expect("it is being called through an Arc")
    }
}

impl FileSystem for ProcFs {
    fn type_name(&self) -> &'static str {
        "proc"
    }
    fn root(&self) -> Arc<Inode> {
        let node = Node::Dir(&root::ENTRIES, Some(&root::PIDS));
        ProcInode::make(&self.arc(), node, 0o555, At::default(), ROOT_INO, ROOT_INO)
    }
    fn dev(&self) -> DevNum {
        self.dev
    }
    fn statfs(&self) -> Result<StatFs> {
        Ok(StatFs { magic: PROC_SUPER_MAGIC, block_size: 4096, name_max: 255, ..StatFs::default() })
    }
    fn cache_names(&self) -> bool {
        false
    }
}

struct ProcType(Arc<ProcFs>);

impl FileSystemType for ProcType {
    fn name(&self) -> &'static str {
        "proc"
    }
    fn needs_device(&self) -> bool {
        false
    }
    fn mount(&self, _args: &MountArgs<'_>) -> Result<Arc<dyn FileSystem>> {
        Ok(self.0.clone())
    }
}

/// Where a file is: what its generator gets.
pub(crate) struct Ctx<'a> {
    pub(crate) fs: &'a ProcFs,
    pub(crate) at: At,
}

impl Ctx<'_> {
    pub(crate) fn source(&self) -> &dyn ProcSource {
        self.fs.source()
    }
    /// The task of this directory.
    ///
    /// # Errors
    /// ESRCH if it is gone.
    #[track_caller]
    pub(crate) fn task(&self) -> Result<TaskInfo> {
        self.source().task(self.at.pid, self.at.tid).ok_or_else(|| Error::new(Errno::ESRCH))
    }
    pub(crate) fn pid(&self) -> u32 {
        self.at.pid
    }
    pub(crate) fn tid(&self) -> u32 {
        self.at.tid
    }
}
