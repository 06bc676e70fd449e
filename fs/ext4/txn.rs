//! Transactions: every change of metadata goes through a [`Txn`].
//!
//! Today a transaction is the lock that orders all changes against each other and against
//! write-back: what is written back is always a state between two transactions. When the journal comes, a
//! `Txn` becomes a handle on the running journal transaction: `write` will add the block to it,
//! `forget` (in `free_blocks`) will revoke it, `begin` will reserve credits, and write-back will
//! become commit and checkpoint. No caller will change.
//!
//! Lock order: transaction lock, inode state, groups, orphans, superblock, cache. Only holders of the
//! transaction lock take more than one inode's state.

use std::sync::Arc;

use base::lock::MutexGuard;
use base::{Errno, Result, Timestamp, err};

use super::cache::Kind;
use super::mount::Ext4;

/// The right to change metadata.
#[derive(Debug)]
pub(super) struct Txn<'a> {
    /// The file system.
    pub(super) fs: &'a Ext4,
    /// When it began: the time for the inodes that it touches.
    pub(super) now: Timestamp,
    _lock: MutexGuard<'a, ()>,
}

impl Ext4 {
    /// Begins a transaction. The first one of a mount marks the file system as in use on the disk.
    ///
    /// # Errors
    /// EROFS; EIO when too much is dirty and cannot be written.
    pub(super) fn begin(&self) -> Result<Txn<'_>> {
        if self.is_read_only() {
            return err(Errno::EROFS);
        }
        let lock = self.txn.lock();
        self.mark_in_use()?;
        let txn = Txn { fs: self, now: arch::clock::realtime(), _lock: lock };
        if self.cache.over_limit() {
            txn.write_metadata()?;
        }
        Ok(txn)
    }
}

impl Txn<'_> {
    /// Changes a block of metadata.
    ///
    /// # Errors
    /// EIO; EUCLEAN for a number outside of the file system.
    pub(super) fn write<R>(
        &self,
        block: u64,
        kind: Kind,
        seed: u32,
        f: impl FnOnce(&mut [u8]) -> R,
    ) -> Result<R> {
        self.fs.check_block(block)?;
        let buf = self.fs.cache.get(block)?;
        buf.set_verified(kind, seed);
        Ok(self.fs.cache.modify(&buf, f))
    }

    /// Fills a block that was just allocated; it starts as zeros.
    pub(super) fn write_new<R>(
        &self,
        block: u64,
        kind: Kind,
        seed: u32,
        f: impl FnOnce(&mut [u8]) -> R,
    ) -> R {
        let buf = self.fs.cache.get_new(block);
        buf.set_verified(kind, seed);
        self.fs.cache.modify(&buf, f)
    }
}

impl Ext4 {
    /// A block of metadata: its bytes now. `check` looks at a block that comes fresh from the disk
    /// (the checksum has been compared before).
    ///
    /// # Errors
    /// EIO; EUCLEAN.
    pub(super) fn read_block(
        &self,
        block: u64,
        kind: Kind,
        seed: u32,
        check: impl FnOnce(&[u8]) -> Result<()>,
    ) -> Result<Arc<Vec<u8>>> {
        self.check_block(block)?;
        let buf = self.cache.get(block)?;
        let d = buf.bytes();
        if !buf.is_verified(kind, seed) {
            if self.geo.metadata_csum()
                && let Some((want, at)) = super::cache::checksum(kind, seed, block, &d)
                && super::disk::get32(&d, at) != want
            {
                return Err(self.corrupt(&format!("checksum of {kind:?} block {block} is wrong")));
            }
            check(&d)?;
            buf.set_verified(kind, seed);
        }
        Ok(d)
    }

    /// Whether a number that came from the disk can be a block of ours.
    ///
    /// # Errors
    /// EUCLEAN.
    pub(super) fn check_block(&self, block: u64) -> Result<()> {
        if block <= self.geo.first_block || block >= self.geo.blocks {
            return Err(self.corrupt("a block number lies outside of the file system"));
        }
        Ok(())
    }
}
