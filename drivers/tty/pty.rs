//! Pseudo-terminals. (Being written.)
use std::sync::Arc;

use base::{Errno, Rank, Result, SpinLock, Timestamp, err};

use super::TtySignals;
use crate::chardev::{CharFile, OpenInfo, Opener};

/// Major number of pseudo-terminal slaves.
pub const PTS_MAJOR: u32 = 136;

/// What a devpts file system shows of one slave. The inode of `/dev/pts/INDEX` lives here, so that
/// all mounts of devpts agree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PtySlot {
    /// The name under /dev/pts and the minor number.
    pub index: u32,
    /// Never used twice: tells a slave from its successor of the same index.
    pub id: u64,
    /// Owner: who opened the master.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permission bits.
    pub mode: u32,
    /// When the master was opened.
    pub created: Timestamp,
}

/// All pseudo-terminals of a kernel.
pub struct PtyRegistry {
    signals: Arc<dyn TtySignals>,
    slots: SpinLock<Vec<PtySlot>>,
}

impl std::fmt::Debug for PtyRegistry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PtyRegistry({} open)", self.list().len())
    }
}

impl PtyRegistry {
    /// None yet.
    pub fn new(signals: Arc<dyn TtySignals>) -> Arc<PtyRegistry> {
        Arc::new(PtyRegistry { signals, slots: SpinLock::new(Rank::Leaf, Vec::new()) })
    }
    /// Opens /dev/ptmx: a new pair, and its master.
    ///
    /// # Errors
    /// ENOSPC if there are too many.
    pub fn open_master(
        self: &Arc<Self>,
        _info: OpenInfo,
        _who: &dyn Opener,
    ) -> Result<Arc<dyn CharFile>> {
        let _ = self.signals.caller();
        err(Errno::ENOSPC)
    }
    /// Opens a slave by index.
    ///
    /// # Errors
    /// ENXIO if there is none; EIO while it is locked or its master is gone.
    pub fn open_slave(
        &self,
        _index: u32,
        _info: OpenInfo,
        _who: &dyn Opener,
    ) -> Result<Arc<dyn CharFile>> {
        err(Errno::ENXIO)
    }
    /// The slaves there are, by index.
    pub fn list(&self) -> Vec<PtySlot> {
        self.slots.lock().clone()
    }
    /// One slave.
    pub fn get(&self, index: u32) -> Option<PtySlot> {
        self.slots.lock().iter().find(|s| s.index == index).copied()
    }
    /// chown and chmod of a slave's inode (its `index` and `id` say which).
    ///
    /// # Errors
    /// ENOENT if it is gone.
    pub fn set(&self, slot: PtySlot) -> Result<()> {
        let mut slots = self.slots.lock();
        match slots.iter_mut().find(|s| s.index == slot.index && s.id == slot.id) {
            Some(s) => {
                *s = slot;
                Ok(())
            }
            None => err(Errno::ENOENT),
        }
    }
}
