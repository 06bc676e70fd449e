//! A small kernel for the tests of this crate: a fake machine, a tmpfs as root, and callers of
//! either kind.

use std::sync::Arc;

use arch::fake::FakeMachine;
use base::cred::CapSet;
use base::iobuf::NoUserMemory;
use base::iobuf::{SliceSource, VecSink};
use base::{Cred, Result, UserMemory};
use drivers::tty::{NoSignals, PtyRegistry};
use drivers::{BlockRegistry, CharRegistry, Opener};
use mm::Memory;

use crate::file::{Caller, File, OpenFlags};
use crate::mount::{MountFlags, MountNamespace};
use crate::ops::{self, OpenHow};
use crate::path::{FsContext, Path};
use crate::tmpfs::TmpFs;
use crate::vfs::{Devices, Vfs};
use crate::walk::{LookupFlags, lookup};

/// A kernel's files, and who uses them.
#[derive(Clone)]
pub(crate) struct Fixture {
    pub(crate) vfs: Arc<Vfs>,
    pub(crate) ctx: Arc<FsContext>,
    pub(crate) cred: Arc<Cred>,
}

pub(crate) struct Who(pub(crate) Arc<Cred>);

impl Opener for Who {
    fn cred(&self) -> &Cred {
        &self.0
    }
}
impl Caller for Who {
    fn memory(&self) -> &dyn UserMemory {
        &NoUserMemory
    }
}

pub(crate) fn user(uid: u32) -> Arc<Cred> {
    let mut c = Cred::root();
    (c.uid, c.euid, c.suid, c.fsuid) = (uid, uid, uid, uid);
    (c.gid, c.egid, c.sgid, c.fsgid) = (uid, uid, uid, uid);
    (c.permitted, c.effective) = (CapSet::EMPTY, CapSet::EMPTY);
    Arc::new(c)
}

impl Fixture {
    pub(crate) fn new() -> Fixture {
        let memory = Memory::new(FakeMachine::new(4096));
        let devices = Devices {
            chars: Arc::new(CharRegistry::new()),
            blocks: Arc::new(BlockRegistry::new()),
            ptys: PtyRegistry::new(Arc::new(NoSignals)),
        };
        let vfs = Vfs::new(memory.clone(), devices);
        let root = TmpFs::new(&memory, b"mode=755").unwrap();
        let mount = vfs.mount_fs(root, MountFlags::RELATIME, b"root");
        let ns = MountNamespace::new(vfs.clone(), mount);
        Fixture { vfs, ctx: FsContext::new(ns), cred: Arc::new(Cred::root()) }
    }
    /// The same kernel for another user, with a context of its own.
    pub(crate) fn as_user(&self, uid: u32) -> Fixture {
        Fixture { vfs: self.vfs.clone(), ctx: self.ctx.fork(), cred: user(uid) }
    }
    pub(crate) fn open(&self, name: &str, flags: OpenFlags) -> Result<Arc<File>> {
        let how = OpenHow { flags, mode: 0o644, resolve: LookupFlags::empty() };
        let who = Who(self.cred.clone());
        ops::open(&self.ctx, &self.cred, &who, None, name.as_bytes(), &how)
    }
    pub(crate) fn find(&self, name: &str) -> Result<Path> {
        lookup(&self.ctx, &self.cred, None, name.as_bytes(), LookupFlags::FOLLOW)
    }
    pub(crate) fn find_with(&self, name: &str, flags: LookupFlags) -> Result<Path> {
        lookup(&self.ctx, &self.cred, None, name.as_bytes(), flags)
    }
    pub(crate) fn mkdir(&self, name: &str) -> Result<()> {
        ops::mkdir(&self.ctx, &self.cred, None, name.as_bytes(), 0o777)
    }
    pub(crate) fn symlink(&self, to: &str, name: &str) -> Result<()> {
        ops::symlink(&self.ctx, &self.cred, to.as_bytes(), None, name.as_bytes())
    }
    pub(crate) fn unlink(&self, name: &str) -> Result<()> {
        ops::unlink(&self.ctx, &self.cred, None, name.as_bytes())
    }
    pub(crate) fn rmdir(&self, name: &str) -> Result<()> {
        ops::rmdir(&self.ctx, &self.cred, None, name.as_bytes())
    }
    pub(crate) fn rename(&self, a: &str, b: &str) -> Result<()> {
        self.rename_with(a, b, crate::inode::RenameFlags::empty())
    }
    pub(crate) fn rename_with(
        &self,
        a: &str,
        b: &str,
        flags: crate::inode::RenameFlags,
    ) -> Result<()> {
        ops::rename(&self.ctx, &self.cred, None, a.as_bytes(), None, b.as_bytes(), flags)
    }
    pub(crate) fn mount(&self, source: &str, at: &str, kind: &str, flags: u64) -> Result<()> {
        self.mount_with(source, at, kind, flags, "")
    }
    pub(crate) fn mount_with(
        &self,
        source: &str,
        at: &str,
        kind: &str,
        flags: u64,
        data: &str,
    ) -> Result<()> {
        let (s, a, k, d) = (source.as_bytes(), at.as_bytes(), kind.as_bytes(), data.as_bytes());
        ops::mount(&self.ctx, &self.cred, s, a, k, flags, d)
    }
    pub(crate) fn umount(&self, at: &str, flags: u32) -> Result<()> {
        ops::umount(&self.ctx, &self.cred, at.as_bytes(), flags)
    }
    pub(crate) fn write(&self, name: &str, data: &str) -> Result<()> {
        let f = self.open(name, OpenFlags::WRONLY | OpenFlags::CREAT | OpenFlags::TRUNC)?;
        f.write(&mut SliceSource(data.as_bytes()), u64::MAX).map(|_| ())
    }
    pub(crate) fn read(&self, name: &str) -> Result<String> {
        let f = self.open(name, OpenFlags::empty())?;
        let mut sink = VecSink::new(1 << 20);
        f.read(&mut sink)?;
        Ok(String::from_utf8_lossy(&sink.data).into_owned())
    }
    pub(crate) fn names(&self, dir: &str) -> Vec<String> {
        let f = self.open(dir, OpenFlags::DIRECTORY).unwrap();
        let mut out = Vec::new();
        f.read_dir(&mut |e| {
            out.push(String::from_utf8_lossy(e.name).into_owned());
            true
        })
        .unwrap();
        out.retain(|n| n != "." && n != "..");
        out.sort();
        out
    }
    pub(crate) fn path_of(&self, name: &str) -> String {
        let p = self.find(name).unwrap();
        String::from_utf8(p.name_from(&self.ctx.root()).0).unwrap()
    }
}
