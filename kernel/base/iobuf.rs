//! Byte streams between the kernel and a caller whose memory we do not know.
//!
//! `read(2)` ends in a [`Sink`] and `write(2)` starts from a [`Source`]. File systems, devices
//! and sockets see only these traits; mm implements them over user memory (an iovec of guest
//! ranges), tests over slices. Addresses are validated late, where the copy happens, as Linux
//! does: a stream that fails after some bytes reports the bytes, and EFAULT only when nothing
//! could be moved.

use alloc::vec::Vec;

use crate::addr::{PhysAddr, UserAddr};
use crate::errno::{Errno, Result, err};

/// Where bytes go to (the buffer of a `read`).
pub trait Sink {
    /// How many more bytes fit.
    fn remaining(&self) -> usize;

    /// Appends `data`, or the part of it that fits; returns how many bytes were taken.
    ///
    /// # Errors
    /// EFAULT if not a single byte could be stored though `data` is not empty and room is left.
    fn write(&mut self, data: &[u8]) -> Result<usize>;

    /// Appends `len` bytes of guest-physical memory without a bounce buffer. None: this sink
    /// cannot, and the caller copies through [`Sink::write`].
    fn write_phys(&mut self, _from: PhysAddr, _len: usize) -> Option<Result<usize>> {
        None
    }

    /// Appends `len` zero bytes.
    ///
    /// # Errors
    /// As [`Sink::write`].
    fn write_zeros(&mut self, len: usize) -> Result<usize> {
        const ZEROS: [u8; 4096] = [0; 4096];
        let mut done = 0;
        while done < len && self.remaining() > 0 {
            let n = (len - done).min(ZEROS.len());
            match self.write(&ZEROS[..n]) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(e) if done == 0 => return Err(e),
                Err(_) => break,
            }
        }
        Ok(done)
    }
}

/// Where bytes come from (the buffer of a `write`).
pub trait Source {
    /// How many bytes are left.
    fn remaining(&self) -> usize;

    /// Takes up to `buf.len()` bytes; returns how many (0 only at the end or for an empty `buf`).
    ///
    /// # Errors
    /// EFAULT if not a single byte could be fetched though some remain.
    fn read(&mut self, buf: &mut [u8]) -> Result<usize>;

    /// Takes `len` bytes straight into guest-physical memory. None: copy through
    /// [`Source::read`].
    fn read_phys(&mut self, _to: PhysAddr, _len: usize) -> Option<Result<usize>> {
        None
    }
}

/// Random access to the memory of the calling guest process, for what is not a stream:
/// ioctl arguments, iovecs, paths.
pub trait UserMemory {
    /// Copies `buf.len()` bytes out of the guest.
    ///
    /// # Errors
    /// EFAULT if any byte is not readable.
    fn read(&self, from: UserAddr, buf: &mut [u8]) -> Result<()>;

    /// Copies `data` into the guest.
    ///
    /// # Errors
    /// EFAULT if any byte is not writable; a prefix may have been stored.
    fn write(&self, to: UserAddr, data: &[u8]) -> Result<()>;
}

/// A sink that fills a slice.
#[derive(Debug)]
pub struct SliceSink<'a> {
    buf: &'a mut [u8],
    len: usize,
}

impl<'a> SliceSink<'a> {
    /// A sink over all of `buf`.
    pub fn new(buf: &'a mut [u8]) -> Self {
        SliceSink { buf, len: 0 }
    }
    /// Bytes stored so far.
    pub fn filled(&self) -> usize {
        self.len
    }
}

impl Sink for SliceSink<'_> {
    fn remaining(&self) -> usize {
        self.buf.len() - self.len
    }
    fn write(&mut self, data: &[u8]) -> Result<usize> {
        let n = data.len().min(self.remaining());
        self.buf[self.len..self.len + n].copy_from_slice(&data[..n]);
        self.len += n;
        Ok(n)
    }
}

/// A sink that grows a vector up to a limit.
#[derive(Debug)]
pub struct VecSink {
    /// What was written.
    pub data: Vec<u8>,
    limit: usize,
}

impl VecSink {
    /// An empty sink that takes at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        VecSink { data: Vec::new(), limit }
    }
}

impl Sink for VecSink {
    fn remaining(&self) -> usize {
        self.limit - self.data.len()
    }
    fn write(&mut self, data: &[u8]) -> Result<usize> {
        let n = data.len().min(self.remaining());
        self.data.extend_from_slice(&data[..n]);
        Ok(n)
    }
}

/// A source over a slice.
#[derive(Debug)]
pub struct SliceSource<'a>(pub &'a [u8]);

impl Source for SliceSource<'_> {
    fn remaining(&self) -> usize {
        self.0.len()
    }
    fn read(&mut self, buf: &mut [u8]) -> Result<usize> {
        let n = buf.len().min(self.0.len());
        let (head, tail) = self.0.split_at(n);
        buf[..n].copy_from_slice(head);
        self.0 = tail;
        Ok(n)
    }
}

/// A source that ends after `limit` bytes of another one.
#[allow(missing_debug_implementations)]
pub struct Take<'a> {
    inner: &'a mut dyn Source,
    limit: usize,
}

impl<'a> Take<'a> {
    /// At most `limit` bytes of `inner`.
    pub fn new(inner: &'a mut dyn Source, limit: usize) -> Self {
        Take { inner, limit }
    }
}

impl Source for Take<'_> {
    fn remaining(&self) -> usize {
        self.inner.remaining().min(self.limit)
    }
    fn read(&mut self, buf: &mut [u8]) -> Result<usize> {
        let n = buf.len().min(self.limit);
        let n = self.inner.read(&mut buf[..n])?;
        self.limit -= n;
        Ok(n)
    }
    fn read_phys(&mut self, to: PhysAddr, len: usize) -> Option<Result<usize>> {
        let r = self.inner.read_phys(to, len.min(self.limit));
        if let Some(Ok(n)) = &r {
            self.limit -= n;
        }
        r
    }
}

/// User memory for callers inside the kernel and for tests: address = offset into a vector.
#[derive(Debug, Default)]
pub struct NoUserMemory;

impl UserMemory for NoUserMemory {
    fn read(&self, _from: UserAddr, _buf: &mut [u8]) -> Result<()> {
        err(Errno::EFAULT)
    }
    fn write(&self, _to: UserAddr, _data: &[u8]) -> Result<()> {
        err(Errno::EFAULT)
    }
}
