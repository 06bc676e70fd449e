//! Reading and writing open files: what read(2), pwrite(2), lseek(2) and getdents64(2) do before and
//! after the [`crate::FileOps`].

use base::{Errno, Result, Sink, Source, err};

use crate::file::File;
use crate::inode::DirEntry;

impl File {
    /// read(2): at the position, which moves.
    ///
    /// # Errors
    /// EBADF if it is not open for reading; what the object says.
    pub fn read(&self, sink: &mut dyn Sink) -> Result<usize> {
        if !self.flags().readable() {
            return err(Errno::EBADF);
        }
        if !self.ops.seekable() {
            return self.ops.read(self, 0, sink);
        }
        let mut pos = self.pos.lock();
        let n = self.ops.read(self, *pos, sink)?;
        *pos += n as u64;
        Ok(n)
    }

    /// pread(2).
    ///
    /// # Errors
    /// EBADF; ESPIPE.
    pub fn read_at(&self, offset: u64, sink: &mut dyn Sink) -> Result<usize> {
        if !self.flags().readable() {
            return err(Errno::EBADF);
        }
        if !self.ops.seekable() {
            return err(Errno::ESPIPE);
        }
        if i64::try_from(offset).is_err() {
            return err(Errno::EINVAL);
        }
        self.ops.read(self, offset, sink)
    }

    /// write(2): at the position (or the end), which moves. `limit` is RLIMIT_FSIZE: at or over it a
    /// regular file gives EFBIG, and the caller sends SIGXFSZ.
    ///
    /// # Errors
    /// EBADF if it is not open for writing; EFBIG; what the object says.
    pub fn write(&self, source: &mut dyn Source, limit: u64) -> Result<usize> {
        if !self.flags().writable() {
            return err(Errno::EBADF);
        }
        if !self.ops.seekable() {
            return self.ops.write(self, 0, source);
        }
        let mut pos = self.pos.lock();
        let (n, end) = self.ops.write_limited(self, *pos, source, limit)?;
        if n > 0 {
            *pos = end;
        }
        Ok(n)
    }

    /// pwrite(2). With O_APPEND it appends, as on Linux.
    ///
    /// # Errors
    /// EBADF; ESPIPE; EFBIG.
    pub fn write_at(&self, offset: u64, source: &mut dyn Source, limit: u64) -> Result<usize> {
        if !self.flags().writable() {
            return err(Errno::EBADF);
        }
        if !self.ops.seekable() {
            return err(Errno::ESPIPE);
        }
        if i64::try_from(offset).is_err() {
            return err(Errno::EINVAL);
        }
        Ok(self.ops.write_limited(self, offset, source, limit)?.0)
    }

    /// lseek(2), `whence` as in the ABI (0 SET, 1 CUR, 2 END, 3 DATA, 4 HOLE).
    ///
    /// # Errors
    /// ESPIPE; EINVAL; ENXIO for DATA and HOLE beyond the end; EOVERFLOW.
    pub fn seek(&self, whence: u32, offset: i64) -> Result<u64> {
        if let Some(r) = self.ops.seek_special(self, whence, offset) {
            return r;
        }
        if !self.ops.seekable() {
            return err(Errno::ESPIPE);
        }
        let mut pos = self.pos.lock();
        let base = match whence {
            0 => 0,
            1 => *pos,
            2 => self.ops.seek_end(self)?,
            3 | 4 => {
                let Ok(from) = u64::try_from(offset) else { return err(Errno::ENXIO) };
                *pos = self.ops.seek_hole_data(self, from, whence == 3)?;
                return Ok(*pos);
            }
            _ => return err(Errno::EINVAL),
        };
        let Ok(base) = i64::try_from(base) else { return err(Errno::EOVERFLOW) };
        let Some(new) = base.checked_add(offset) else { return err(Errno::EOVERFLOW) };
        let Ok(new) = u64::try_from(new) else { return err(Errno::EINVAL) };
        *pos = new;
        Ok(new)
    }

    /// getdents64(2): entries from the position on, until `emit` says false; the position moves
    /// behind the last entry that it took.
    ///
    /// # Errors
    /// ENOTDIR; ENOENT if the directory was removed; EIO.
    pub fn read_dir(&self, emit: &mut dyn FnMut(DirEntry<'_>) -> bool) -> Result<()> {
        let mut pos = self.pos.lock();
        let mut next = *pos;
        let r = self.ops.read_dir(self, *pos, &mut |e| {
            let after = e.next;
            let more = emit(e);
            if more {
                next = after;
            }
            more
        });
        *pos = next;
        r
    }
}
