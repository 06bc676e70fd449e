//! Moving bytes between files without a user buffer: sendfile, copy_file_range, splice, tee.
//!
//! Bytes go through a bounce buffer in the kernel. What was taken from the input and could not be
//! given to the output is put back by not moving the input's position; from a pipe only as many
//! bytes are taken as the output took.

use std::sync::Arc;

use base::iobuf::{SliceSource, VecSink};
use base::{Errno, Result, err};

use crate::file::{File, OpenFlags};
use crate::inode::FileType;
use crate::pipe::PipeEnd;

/// Bytes moved at a time.
const CHUNK: usize = 128 << 10;
/// Most bytes of one call (`MAX_RW_COUNT`).
const MAX_RW: usize = 0x7fff_f000;
/// splice(2) and tee(2) know no RLIMIT_FSIZE.
const LIMIT: u64 = u64::MAX;

/// A position that is the caller's or the file's own.
struct At<'a> {
    file: &'a File,
    own: Option<&'a mut u64>,
    pos: u64,
}

impl<'a> At<'a> {
    fn new(file: &'a File, own: Option<&'a mut u64>) -> At<'a> {
        let pos = own.as_ref().map_or_else(|| *file.pos.lock(), |p| **p);
        At { file, own, pos }
    }
    fn advance(&mut self, n: usize) {
        self.pos += n as u64;
        match &mut self.own {
            Some(p) => **p = self.pos,
            None => *self.file.pos.lock() = self.pos,
        }
    }
}

/// Reads up to `len` bytes at the position (or from the stream).
fn read_chunk(at: &At<'_>, len: usize) -> Result<Vec<u8>> {
    let mut sink = VecSink::new(len);
    at.file.ops.read(at.file, at.pos, &mut sink)?;
    Ok(sink.data)
}

fn write_all(file: &File, mut at: Option<&mut At<'_>>, data: &[u8], limit: u64) -> Result<usize> {
    let mut source = SliceSource(data);
    let mut done = 0;
    while done < data.len() {
        let r = match &mut at {
            Some(a) if file.ops.seekable() => file
                .ops
                .write_limited(file, a.pos, &mut source, limit)
                .map(|(n, _)| n)
                .inspect(|n| a.advance(*n)),
            _ => file.write(&mut source, limit),
        };
        match r {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(e) if done == 0 => return Err(e),
            Err(_) => break,
        }
    }
    Ok(done)
}

fn check_modes(input: &File, output: &File) -> Result<()> {
    if !input.flags().readable() || !output.flags().writable() {
        return err(Errno::EBADF);
    }
    Ok(())
}

/// sendfile(2): from `input` at `offset` (None: its position, which moves) to `output`. `limit` is
/// RLIMIT_FSIZE.
///
/// # Errors
/// EBADF; EINVAL if the input cannot be mapped or the output appends; ESPIPE; EAGAIN; EIO.
pub fn sendfile(
    output: &Arc<File>,
    input: &Arc<File>,
    offset: Option<&mut u64>,
    len: usize,
    limit: u64,
) -> Result<usize> {
    check_modes(input, output)?;
    if offset.is_some() && !input.ops.seekable() {
        return err(Errno::ESPIPE);
    }
    if input.inode().kind == FileType::Directory || !input.ops.seekable() {
        return err(Errno::EINVAL);
    }
    if output.flags().contains(OpenFlags::APPEND) {
        return err(Errno::EINVAL);
    }
    let mut from = At::new(input, offset);
    move_bytes(&mut from, output, None, len.min(MAX_RW), limit)
}

fn move_bytes(
    from: &mut At<'_>,
    output: &File,
    mut to: Option<At<'_>>,
    len: usize,
    limit: u64,
) -> Result<usize> {
    let mut done = 0;
    while done < len {
        let step = read_chunk(from, CHUNK.min(len - done)).and_then(|data| {
            if data.is_empty() {
                return Ok((0, 0));
            }
            let n = write_all(output, to.as_mut(), &data, limit)?;
            Ok((n, data.len()))
        });
        match step {
            Ok((n, had)) => {
                from.advance(n);
                done += n;
                if n < had || had == 0 {
                    break;
                }
            }
            Err(e) if done == 0 => return Err(e),
            Err(_) => break,
        }
    }
    Ok(done)
}

/// copy_file_range(2): between regular files.
///
/// # Errors
/// EBADF (also for an output that appends); EISDIR; EINVAL for what is no regular file and for
/// overlapping ranges of one file; EFBIG; ENOSPC; EIO.
pub fn copy_file_range(
    input: &Arc<File>,
    in_off: Option<&mut u64>,
    output: &Arc<File>,
    out_off: Option<&mut u64>,
    len: usize,
    limit: u64,
) -> Result<usize> {
    check_modes(input, output)?;
    let (a, b) = (input.inode(), output.inode());
    if a.kind == FileType::Directory || b.kind == FileType::Directory {
        return err(Errno::EISDIR);
    }
    if a.kind != FileType::Regular || b.kind != FileType::Regular {
        return err(Errno::EINVAL);
    }
    if output.flags().contains(OpenFlags::APPEND) {
        return err(Errno::EBADF);
    }
    let mut from = At::new(input, in_off);
    let to = At::new(output, out_off);
    let len = len.min(MAX_RW);
    let end = |p: u64| p.saturating_add(len as u64);
    if Arc::ptr_eq(a, b) && from.pos < end(to.pos) && to.pos < end(from.pos) {
        return err(Errno::EINVAL);
    }
    move_bytes(&mut from, output, Some(to), len, limit)
}

/// splice(2): one of the two is a pipe. `nonblock`: SPLICE_F_NONBLOCK, about pipes only.
///
/// # Errors
/// EBADF; EINVAL if neither is a pipe, both are the same one, the output appends, or an offset is given for
/// what has none; ESPIPE for an offset of a pipe; EAGAIN; EPIPE; ERESTARTSYS.
pub fn splice(
    input: &Arc<File>,
    in_off: Option<&mut u64>,
    output: &Arc<File>,
    out_off: Option<&mut u64>,
    len: usize,
    nonblock: bool,
) -> Result<usize> {
    check_modes(input, output)?;
    let (from, to) = (input.ops_as::<PipeEnd>(), output.ops_as::<PipeEnd>());
    if (from.is_some() && in_off.is_some()) || (to.is_some() && out_off.is_some()) {
        return err(Errno::ESPIPE);
    }
    if len == 0 {
        return Ok(0);
    }
    let len = len.min(MAX_RW);
    match (from, to) {
        (None, None) => err(Errno::EINVAL),
        (Some(a), Some(b)) => {
            if Arc::ptr_eq(a.pipe(), b.pipe()) {
                return err(Errno::EINVAL);
            }
            let room = b.pipe().room(nonblock || output.nonblock())?;
            a.pipe().drain(len.min(room), nonblock || input.nonblock(), false, |data| {
                output.write(&mut SliceSource(data), LIMIT)
            })
        }
        (Some(a), None) => {
            if output.flags().contains(OpenFlags::APPEND) {
                return err(Errno::EINVAL);
            }
            if out_off.is_some() && !output.ops.seekable() {
                return err(Errno::EINVAL);
            }
            let mut at = At::new(output, out_off);
            a.pipe().drain(len, nonblock || input.nonblock(), false, |data| {
                write_all(output, Some(&mut at), data, LIMIT)
            })
        }
        (None, Some(b)) => {
            if in_off.is_some() && !input.ops.seekable() {
                return err(Errno::EINVAL);
            }
            let room = b.pipe().room(nonblock || output.nonblock())?;
            let mut at = At::new(input, in_off);
            let data = read_chunk(&at, len.min(room))?;
            let n = if data.is_empty() { 0 } else { write_all(output, None, &data, LIMIT)? };
            if input.ops.seekable() {
                at.advance(n);
            }
            Ok(n)
        }
    }
}

/// tee(2): copies what is in one pipe to another without taking it.
///
/// # Errors
/// EBADF; EINVAL if either is no pipe or both are the same; EAGAIN; EPIPE.
pub fn tee(input: &Arc<File>, output: &Arc<File>, len: usize, nonblock: bool) -> Result<usize> {
    check_modes(input, output)?;
    let (Some(a), Some(b)) = (input.ops_as::<PipeEnd>(), output.ops_as::<PipeEnd>()) else {
        return err(Errno::EINVAL);
    };
    if Arc::ptr_eq(a.pipe(), b.pipe()) {
        return err(Errno::EINVAL);
    }
    if len == 0 {
        return Ok(0);
    }
    let room = b.pipe().room(nonblock || output.nonblock())?;
    a.pipe().drain(len.min(room), nonblock || input.nonblock(), true, |data| {
        output.write(&mut SliceSource(data), LIMIT)
    })
}
