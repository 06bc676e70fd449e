//! Open directories. The position is a cookie of the file system: any value that `read_dir` has
//! reported may be sought to, and 0 rewinds.

use std::any::Any;

use base::{Errno, Result, Sink, err};

use crate::file::{File, FileOps, OpenFlags};
use crate::inode::DirEntry;
use crate::regular::touch_atime;

/// The operations; all state is in the inode.
#[derive(Debug)]
pub struct DirOps;

impl FileOps for DirOps {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, _file: &File, _offset: u64, _sink: &mut dyn Sink) -> Result<usize> {
        err(Errno::EISDIR)
    }

    fn seekable(&self) -> bool {
        true
    }

    fn seek_special(&self, file: &File, whence: u32, offset: i64) -> Option<Result<u64>> {
        let mut pos = file.pos.lock();
        let new = match whence {
            0 => Some(offset),
            1 => i64::try_from(*pos).ok().and_then(|p| p.checked_add(offset)),
            _ => None,
        };
        Some(match new.and_then(|n| u64::try_from(n).ok()) {
            Some(n) => {
                *pos = n;
                Ok(n)
            }
            None => err(Errno::EINVAL),
        })
    }

    fn read_dir(
        &self,
        file: &File,
        pos: u64,
        emit: &mut dyn FnMut(DirEntry<'_>) -> bool,
    ) -> Result<()> {
        if file.path.dentry.is_unlinked() {
            return err(Errno::ENOENT);
        }
        file.inode().ops.read_dir(pos, emit)?;
        touch_atime(&file.path, file.flags().contains(OpenFlags::NOATIME));
        Ok(())
    }

    fn pollable(&self) -> bool {
        false
    }

    fn sync(&self, file: &File, data_only: bool) -> Result<()> {
        file.inode().ops.sync(data_only)
    }
}
