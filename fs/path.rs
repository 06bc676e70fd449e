//! Names: a place in the tree of mounts, and the way back from a place to its name.

use std::sync::Arc;

use base::{Errno, Rank, Result, SpinLock, err};

use crate::dentry::Dentry;
use crate::inode::Inode;
use crate::mount::{Mount, MountNamespace};

/// A place: a dentry seen through a mount.
#[derive(Clone, Debug)]
pub struct Path {
    /// The mount.
    pub mount: Arc<Mount>,
    /// The name in it; always positive (it has an inode).
    pub dentry: Arc<Dentry>,
}

impl Path {
    /// The inode at this place.
    #[inline]
    pub fn inode(&self) -> &Arc<Inode> {
        self.dentry.inode()
    }

    /// Whether both are the same dentry through the same mount.
    #[inline]
    pub fn same(&self, other: &Path) -> bool {
        Arc::ptr_eq(&self.dentry, &other.dentry) && Arc::ptr_eq(&self.mount, &other.mount)
    }

    /// One step towards the root, through mount points; None at the top.
    pub(crate) fn up(&self) -> Option<Path> {
        let mut p = self.clone();
        while Arc::ptr_eq(&p.dentry, p.mount.root()) {
            p = p.mount.place()?;
        }
        let parent = p.dentry.parent()?;
        Some(Path { mount: p.mount, dentry: parent })
    }

    /// The absolute name as seen from `root`, and whether `root` was met on the way (it is not
    /// after chroot or a lazy umount: /proc and getcwd(2) say so). Removed names end in
    /// ` (deleted)`.
    pub fn name_from(&self, root: &Path) -> (Vec<u8>, bool) {
        let mut parts: Vec<Arc<[u8]>> = Vec::new();
        let mut p = self.clone();
        let mut met = true;
        loop {
            if p.same(root) {
                break;
            }
            if Arc::ptr_eq(&p.dentry, p.mount.root()) {
                match p.mount.place() {
                    Some(up) => {
                        p = up;
                        continue;
                    }
                    None => {
                        met = false;
                        break;
                    }
                }
            }
            let (parent, name) = p.dentry.parent_and_name();
            parts.push(name);
            match parent {
                Some(d) => p.dentry = d,
                None => {
                    met = false;
                    break;
                }
            }
        }
        let mut out = Vec::with_capacity(64);
        for name in parts.iter().rev() {
            out.push(b'/');
            out.extend_from_slice(name);
        }
        if out.is_empty() {
            out.push(b'/');
        }
        if self.dentry.is_unlinked() {
            out.extend_from_slice(b" (deleted)");
        }
        (out, met)
    }

    /// The name from the top of its mounts, whatever the caller's root (for /proc/PID/maps).
    pub fn full_name(&self) -> Vec<u8> {
        let mut top = self.mount.clone();
        while let Some(p) = top.place() {
            top = p.mount;
        }
        self.name_from(&top.root_path()).0
    }
}

/// The file-system part of a task: root, working directory, umask, mount namespace. Shared by
/// CLONE_FS.
#[derive(Debug)]
pub struct FsContext {
    state: SpinLock<FsState>,
}

/// What a [`FsContext`] holds, as a copy.
#[derive(Clone, Debug)]
pub struct FsState {
    /// What `/` means.
    pub root: Path,
    /// What a relative name starts from.
    pub cwd: Path,
    /// Permission bits that new files do not get.
    pub umask: u32,
    /// The mounts.
    pub ns: Arc<MountNamespace>,
}

impl FsContext {
    /// Root and working directory at the root of `ns`, umask 022.
    pub fn new(ns: Arc<MountNamespace>) -> Arc<FsContext> {
        let root = ns.descend(ns.root().root_path());
        FsContext::from_state(FsState { cwd: root.clone(), root, umask: 0o022, ns })
    }
    fn from_state(s: FsState) -> Arc<FsContext> {
        Arc::new(FsContext { state: SpinLock::new(Rank::Task, s) })
    }
    /// A copy for a child (fork without CLONE_FS, unshare(CLONE_FS)).
    pub fn fork(&self) -> Arc<FsContext> {
        FsContext::from_state(self.state())
    }
    /// All of it.
    pub fn state(&self) -> FsState {
        self.state.lock().clone()
    }
    /// The root.
    pub fn root(&self) -> Path {
        self.state.lock().root.clone()
    }
    /// The working directory.
    pub fn cwd(&self) -> Path {
        self.state.lock().cwd.clone()
    }
    /// The mount namespace.
    pub fn ns(&self) -> Arc<MountNamespace> {
        self.state.lock().ns.clone()
    }
    /// The umask.
    pub fn umask(&self) -> u32 {
        self.state.lock().umask
    }
    /// Sets the umask (of 0o777) and returns the old one: umask(2).
    pub fn set_umask(&self, mask: u32) -> u32 {
        std::mem::replace(&mut self.state.lock().umask, mask & 0o777)
    }
    /// Sets the working directory; permissions were checked (see `ops::chdir`).
    pub fn set_cwd(&self, cwd: Path) {
        let old = std::mem::replace(&mut self.state.lock().cwd, cwd);
        drop(old);
    }
    /// Sets the root; permissions were checked (see `ops::chroot`).
    pub fn set_root(&self, root: Path) {
        let old = std::mem::replace(&mut self.state.lock().root, root);
        drop(old);
    }
    /// Where a root or working directory was `from`, it is `to` now (pivot_root does this for every
    /// task).
    pub fn replace(&self, from: &Path, to: &Path) {
        let mut old = Vec::new();
        let mut s = self.state.lock();
        if s.root.same(from) {
            old.push(std::mem::replace(&mut s.root, to.clone()));
        }
        if s.cwd.same(from) {
            old.push(std::mem::replace(&mut s.cwd, to.clone()));
        }
        drop(s);
        drop(old);
    }
    /// A new mount namespace of its own: unshare(CLONE_NEWNS).
    pub fn unshare_ns(&self) {
        let mut s = self.state();
        let (mut root, mut cwd) = (s.root.clone(), s.cwd.clone());
        s.ns = s.ns.copy(&mut |old, new| {
            for p in [&mut root, &mut cwd] {
                if Arc::ptr_eq(&p.mount, old) {
                    p.mount = new.clone();
                }
            }
        });
        s.root = root;
        s.cwd = cwd;
        let old = std::mem::replace(&mut *self.state.lock(), s);
        drop(old);
    }
    /// getcwd(2): the name of the working directory, without NUL.
    ///
    /// # Errors
    /// ENOENT if it was removed. A directory outside of the root gets the prefix `(unreachable)`.
    pub fn getcwd(&self) -> Result<Vec<u8>> {
        let s = self.state();
        if s.cwd.dentry.is_unlinked() {
            return err(Errno::ENOENT);
        }
        let (mut name, met) = s.cwd.name_from(&s.root);
        if !met {
            name.splice(0..0, *b"(unreachable)");
        }
        Ok(name)
    }
}
