//! The anonymous inode file system.
use crate::dentry::DentryCache;
use crate::file::{File, FileOps, OpenFlags};
use crate::inode::FileType;
use base::Cred;
use std::sync::Arc;
/// Its name among the types.
pub const TYPE_NAME: &str = "anon_inodefs";
/// Files without names.
#[derive(Debug)]
pub struct AnonFs {}
impl AnonFs {
    pub(crate) fn new(_d: &Arc<DentryCache>) -> AnonFs {
        AnonFs {}
    }
    /// An open file that is in no directory: `kind` is its type for fstat (Fifo, Socket, or Regular
    /// for anon_inode things), `perm` its permission bits.
    pub fn file(
        &self,
        _ops: Arc<dyn FileOps>,
        _flags: OpenFlags,
        _cred: Arc<Cred>,
        _kind: FileType,
        _perm: u32,
    ) -> Arc<File> {
        todo!()
    }
}
