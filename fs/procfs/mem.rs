//! Files that look into a process's memory: mem, pagemap, cmdline, environ, auxv.

use std::any::Any;
use std::sync::Arc;

use base::{Errno, PAGE_SIZE, Result, Sink, Source, UserAddr, err};

use super::node::At;
use super::{Ctx, ProcFs};
use crate::file::{File, FileOps, OpenFlags};

/// The most of the arguments or the environment that is shown.
const STRINGS_MAX: u64 = 32 << 20;

/// Up to `len` bytes at `addr`; stops where nothing is mapped.
fn read(c: &Ctx<'_>, addr: u64, len: u64) -> Vec<u8> {
    let mut out = vec![0; len.min(STRINGS_MAX) as usize];
    let mut done = 0;
    while done < out.len() {
        let at = addr.wrapping_add(done as u64);
        match c.source().read_mem(c.pid(), at, &mut out[done..]) {
            Some(Ok(n)) if n > 0 => done += n,
            _ => break,
        }
    }
    out.truncate(done);
    out
}

/// /proc/PID/cmdline: the arguments as they are in memory now. A process that has written its title over
/// them, without a NUL where the last one ended, may have gone on into the environment: then up to the NUL.
pub(crate) fn cmdline(c: &Ctx<'_>) -> Result<Vec<u8>> {
    let Some(l) = c.task()?.layout else { return Ok(Vec::new()) };
    let (start, end) = (l.arg_start.0, l.arg_end.0);
    let mut text = read(c, start, end.saturating_sub(start));
    if text.last().is_some_and(|b| *b != 0) && l.env_start.0 == end {
        text.extend(read(c, end, l.env_end.0.saturating_sub(end)));
        let len = text.iter().position(|b| *b == 0).unwrap_or(text.len());
        text.truncate(len);
        text.push(0);
    }
    Ok(text)
}

/// /proc/PID/environ.
pub(crate) fn environ(c: &Ctx<'_>) -> Result<Vec<u8>> {
    let Some(l) = c.task()?.layout else { return Ok(Vec::new()) };
    Ok(read(c, l.env_start.0, l.env_end.0.saturating_sub(l.env_start.0)))
}

/// /proc/PID/auxv.
pub(crate) fn auxv(c: &Ctx<'_>) -> Result<Vec<u8>> {
    Ok(c.task()?.layout.map(|l| l.auxv).unwrap_or_default())
}

struct Mem {
    fs: Arc<ProcFs>,
    at: At,
}

/// /proc/PID/mem.
pub(crate) fn open(c: &Ctx<'_>, _: OpenFlags) -> Result<Arc<dyn FileOps>> {
    Ok(Arc::new(Mem { fs: c.fs.arc(), at: c.at }))
}

impl Mem {
    /// Rights may have changed since open: exec of a set-id program.
    fn check(&self) -> Result<()> {
        if self.fs.source().may_access(self.at.pid, true) { Ok(()) } else { err(Errno::EACCES) }
    }
}

impl FileOps for Mem {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, _file: &File, offset: u64, sink: &mut dyn Sink) -> Result<usize> {
        self.check()?;
        let mut buf = [0; PAGE_SIZE];
        let mut done = 0;
        while sink.remaining() > 0 {
            let at = offset.wrapping_add(done as u64);
            let want = sink.remaining().min(PAGE_SIZE - (at as usize % PAGE_SIZE));
            let n = match self.fs.source().read_mem(self.at.pid, at, &mut buf[..want]) {
                None => return Ok(0), // the process is gone
                Some(Ok(n)) if n > 0 => n,
                _ if done > 0 => break,
                _ => return err(Errno::EIO),
            };
            let stored = match sink.write(&buf[..n]) {
                Err(e) if done == 0 => return Err(e),
                other => other.unwrap_or(0),
            };
            done += stored;
            if stored < n {
                break;
            }
        }
        Ok(done)
    }

    fn write(&self, _file: &File, offset: u64, source: &mut dyn Source) -> Result<usize> {
        self.check()?;
        let mut buf = [0; PAGE_SIZE];
        let mut done = 0;
        while source.remaining() > 0 {
            let at = offset.wrapping_add(done as u64);
            let want = source.remaining().min(PAGE_SIZE - (at as usize % PAGE_SIZE));
            let got = match source.read(&mut buf[..want]) {
                Err(e) if done == 0 => return Err(e),
                other => other.unwrap_or(0),
            };
            if got == 0 {
                break;
            }
            match self.fs.source().write_mem(self.at.pid, at, &buf[..got]) {
                None => return Ok(0),
                Some(Ok(n)) if n > 0 => done += n,
                _ if done > 0 => break,
                _ => return err(Errno::EIO),
            }
        }
        Ok(done)
    }

    fn seekable(&self) -> bool {
        true
    }
    fn pollable(&self) -> bool {
        false
    }
}

struct PageMap {
    fs: Arc<ProcFs>,
    at: At,
}

/// /proc/PID/pagemap: which pages are present; frame numbers are not told.
pub(crate) fn open_pagemap(c: &Ctx<'_>, _: OpenFlags) -> Result<Arc<dyn FileOps>> {
    Ok(Arc::new(PageMap { fs: c.fs.arc(), at: c.at }))
}

impl FileOps for PageMap {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, _file: &File, offset: u64, sink: &mut dyn Sink) -> Result<usize> {
        const PRESENT: u64 = 1 << 63;
        if !offset.is_multiple_of(8) || !sink.remaining().is_multiple_of(8) {
            return err(Errno::EINVAL);
        }
        let Some(mm) = self.fs.source().mm(self.at.pid) else { return Ok(0) };
        let mut done = 0;
        while sink.remaining() >= 8 {
            let page = offset / 8 + done as u64 / 8;
            let addr = page * PAGE_SIZE as u64;
            if addr >= base::addr::USER_TOP {
                break;
            }
            let entry = match mm.mincore(UserAddr(addr), PAGE_SIZE as u64) {
                Ok(v) if v.first().is_some_and(|b| b & 1 != 0) => PRESENT,
                _ => 0,
            };
            done += sink.write(&entry.to_ne_bytes())?;
        }
        Ok(done)
    }

    fn seekable(&self) -> bool {
        true
    }
    fn pollable(&self) -> bool {
        false
    }
}
