//! Regular files over the page cache: the operations for every file system whose inodes have one.
//!
//! A write holds the inode's lock from finding its position to raising the size, so that appends do
//! not mix and a reader sees a write whole or, page by page, not at all (as on Linux). Reads take no
//! lock: the page cache bounds them by the size. The user's buffer may fault while the lock is held;
//! the fault may read pages of this very file, which needs no inode lock (see `mm::Backing`).

use std::any::Any;
use std::sync::Arc;

use base::iobuf::Take;
use base::{Errno, PAGE_SHIFT, Result, Sink, Source, err};
use mm::{Mappable, ObjectName, PageCache};

use crate::file::{File, FileOps, OpenFlags};
use crate::inode::{FileType, SetAttr};
use crate::mount::MountFlags;
use crate::ops::{notify, now, remove_privs};
use crate::path::Path;
use crate::vfs_inode::event;

/// Bytes that are reserved and copied at a time, so that ENOSPC in the middle gives a short write.
const CHUNK: usize = 1 << 20;
/// Most bytes of one call (`MAX_RW_COUNT`).
const MAX_RW: usize = 0x7fff_f000;

/// Updates the access time as the mount wants it: `man 8 mount`, relatime and noatime.
pub(crate) fn touch_atime(path: &Path, no_atime: bool) {
    let inode = path.inode();
    if no_atime || inode.vfs.atime_fresh() {
        return;
    }
    let flags = path.mount.flags();
    let dir = inode.kind == FileType::Directory;
    if flags.contains(MountFlags::NOATIME)
        || (dir && flags.contains(MountFlags::NODIRATIME))
        || path.mount.read_only()
    {
        return;
    }
    let Ok(a) = inode.ops.attr() else { return };
    let t = now();
    if flags.contains(MountFlags::RELATIME) {
        let day_old = t.sec - a.atime.sec >= 86400;
        if a.atime > a.mtime && a.atime > a.ctime && !day_old {
            inode.vfs.set_atime_fresh(true);
            return;
        }
    }
    let _guard = inode.lock.lock();
    // What cannot be stored (EROFS, ENOSPC) is not the reader's trouble.
    let _ = inode.ops.set_attr(&SetAttr { atime: Some(t), ..SetAttr::default() });
    inode.vfs.set_atime_fresh(flags.contains(MountFlags::RELATIME));
}

/// The operations; all state is in the inode.
#[derive(Debug)]
pub struct RegularOps;

fn cache(file: &File) -> Result<&Arc<PageCache>> {
    match file.inode().ops.page_cache() {
        Some(c) => Ok(c),
        None => err(Errno::EINVAL),
    }
}

impl FileOps for RegularOps {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, file: &File, offset: u64, sink: &mut dyn Sink) -> Result<usize> {
        let want = sink.remaining().min(MAX_RW);
        let pages = cache(file)?;
        let n = match file.inode().ops.hole_at(offset) {
            None => pages.read(offset, sink, want)?,
            Some(hole) => {
                // Memory-only file systems do not fill their holes for readers.
                sink.write_zeros(want.min(usize::try_from(hole).unwrap_or(usize::MAX)))?
            }
        };
        touch_atime(&file.path, file.flags().contains(OpenFlags::NOATIME));
        if n > 0 {
            notify(&file.path, event::ACCESS);
        }
        Ok(n)
    }

    fn write(&self, file: &File, offset: u64, source: &mut dyn Source) -> Result<usize> {
        Ok(self.write_limited(file, offset, source, u64::MAX)?.0)
    }

    fn write_limited(
        &self,
        file: &File,
        offset: u64,
        source: &mut dyn Source,
        limit: u64,
    ) -> Result<(usize, u64)> {
        let inode = file.inode();
        let pages = cache(file)?;
        let flags = file.flags();
        let want = source.remaining().min(MAX_RW);
        if want == 0 {
            return Ok((0, offset));
        }
        let guard = inode.lock.lock();
        let a = inode.ops.attr()?;
        let start = if flags.contains(OpenFlags::APPEND) { a.size } else { offset };
        let room = limit.min(i64::MAX as u64).saturating_sub(start);
        if room == 0 {
            return err(Errno::EFBIG);
        }
        let want = want.min(usize::try_from(room).unwrap_or(usize::MAX));
        remove_privs(inode, &file.cred, a.perm)?;
        let mut done = 0;
        let mut failed = None;
        while done < want {
            let at = start + done as u64;
            let n = CHUNK.min(want - done);
            let step = inode.ops.prepare_write(at, n).and_then(|()| {
                let got = pages.write(at, &mut Take::new(source, n), n)?;
                if got > 0 {
                    inode.ops.commit_write(at + got as u64, now())?;
                }
                Ok(got)
            });
            match step {
                Ok(got) => {
                    done += got;
                    if got < n {
                        break;
                    }
                }
                Err(e) => {
                    failed = Some(e);
                    break;
                }
            }
        }
        inode.vfs.set_atime_fresh(false);
        drop(guard);
        if done == 0
            && let Some(e) = failed
        {
            return Err(e);
        }
        let end = start + done as u64;
        if flags.contains(OpenFlags::DSYNC) && done > 0 {
            pages.sync_range(start >> PAGE_SHIFT, (end - 1) >> PAGE_SHIFT)?;
            inode.ops.sync(!flags.contains(OpenFlags::SYNC_BIT))?;
        }
        notify(&file.path, event::MODIFY);
        Ok((done, end))
    }

    fn seekable(&self) -> bool {
        true
    }

    fn seek_end(&self, file: &File) -> Result<u64> {
        Ok(file.inode().ops.attr()?.size)
    }

    fn seek_hole_data(&self, file: &File, offset: u64, data: bool) -> Result<u64> {
        file.inode().ops.seek_hole_data(offset, data)
    }

    fn pollable(&self) -> bool {
        false
    }

    fn mappable(&self, file: &File) -> Result<Arc<dyn Mappable>> {
        let cache = match file.inode().ops.page_cache() {
            Some(c) => c.clone(),
            None => return err(Errno::ENODEV),
        };
        touch_atime(&file.path, file.flags().contains(OpenFlags::NOATIME));
        Ok(Arc::new(MappedFile { path: file.path.clone(), cache }))
    }

    fn sync(&self, file: &File, data_only: bool) -> Result<()> {
        cache(file)?.sync_range(0, u64::MAX >> PAGE_SHIFT)?;
        file.inode().ops.sync(data_only)
    }
}

/// A file as a VMA sees it. It keeps the mount busy.
struct MappedFile {
    path: Path,
    cache: Arc<PageCache>,
}

impl Mappable for MappedFile {
    fn name(&self) -> ObjectName {
        let inode = self.path.inode();
        ObjectName { path: self.path.full_name(), dev: inode.fs.dev().to_user(), ino: inode.ino }
    }
    fn cache(&self) -> &Arc<PageCache> {
        &self.cache
    }
    fn is_program(&self) -> bool {
        self.path.inode().kind == FileType::Regular
    }
}
