//! What unit tests of this crate share: files without a disk on a machine without a host process.

use std::sync::Arc;

use arch::fake::FakeMachine;
use base::iobuf::{NoUserMemory, SliceSource};
use base::{Cred, Rank, SpinLock, UserMemory};
use drivers::tty::{NoSignals, PtyRegistry};
use drivers::{BlockRegistry, CharRegistry, Opener};
use fs::ops::{self, OpenHow};
use fs::path::{FsContext, Path};
use fs::tmpfs::TmpFs;
use fs::vfs::{Devices, Vfs};
use fs::{Caller, File, LookupFlags, MountFlags, MountNamespace, OpenFlags};
use mm::Memory;

use crate::task::limits::Rlimits;
use crate::task::{Process, new_process};

struct Root(Arc<Cred>);

impl Opener for Root {
    fn cred(&self) -> &Cred {
        &self.0
    }
}
impl Caller for Root {
    fn memory(&self) -> &dyn UserMemory {
        &NoUserMemory
    }
}

/// Memory, and a tmpfs as the root.
pub(crate) struct Files {
    pub(crate) memory: Arc<Memory>,
    ctx: Arc<FsContext>,
    cred: Arc<Cred>,
}

impl Files {
    pub(crate) fn new() -> Files {
        let memory = Memory::new(FakeMachine::new(4096));
        let devices = Devices {
            chars: Arc::new(CharRegistry::new()),
            blocks: Arc::new(BlockRegistry::new()),
            ptys: PtyRegistry::new(Arc::new(NoSignals)),
        };
        let vfs = Vfs::new(memory.clone(), devices);
        let root = TmpFs::new(&memory, b"mode=755").unwrap();
        let mount = vfs.mount_fs(root, MountFlags::RELATIME, b"root");
        let ctx = FsContext::new(MountNamespace::new(vfs, mount));
        Files { memory, ctx, cred: Arc::new(Cred::root()) }
    }

    fn open(&self, name: &str, flags: OpenFlags) -> Arc<File> {
        let how = OpenHow { flags, mode: 0o755, resolve: LookupFlags::empty() };
        let who = Root(self.cred.clone());
        ops::open(&self.ctx, &self.cred, &who, None, name.as_bytes(), &how).unwrap()
    }

    /// A file with these bytes, open for reading.
    pub(crate) fn put(&self, name: &str, data: &[u8]) -> (Arc<File>, Path) {
        let f = self.open(name, OpenFlags::RDWR | OpenFlags::CREAT | OpenFlags::TRUNC);
        assert_eq!(f.write_at(0, &mut SliceSource(data), u64::MAX).unwrap(), data.len());
        drop(f);
        let f = self.open(name, OpenFlags::empty());
        let path = f.path.clone();
        (f, path)
    }
}

/// A process without threads.
pub(crate) fn process(pid: u32) -> Arc<Process> {
    let actions = Arc::new(SpinLock::new(Rank::Leaf, Default::default()));
    new_process(pid, actions, Rlimits::initial(1000))
}

/// Numbers that are the same in every run (xorshift64*).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}
