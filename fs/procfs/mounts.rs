//! mounts, mountinfo, mountstats: the mounts that a process can see, from its root down. Formats: `man 5 proc`.
//! poll(2) reports PRI and ERR when the table has changed since the last time.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base::{Errno, Error, Mutex, PollEvents, PollTable, Result, Sink, err};

use super::Ctx;
use crate::file::{File, FileOps, OpenFlags};
use crate::mount::{Mount, MountFlags, MountNamespace, Propagation};
use crate::path::Path;

type Format = fn(&mut Vec<u8>, &Arc<Mount>, &[u8]);

struct MountsFile {
    ns: Arc<MountNamespace>,
    root: Path,
    format: Format,
    seen: AtomicU64,
    text: Mutex<Option<Vec<u8>>>,
}

fn open(c: &Ctx<'_>, format: Format) -> Result<Arc<dyn FileOps>> {
    let ctx = c.source().fs_context(c.pid(), c.tid());
    let ctx = ctx.ok_or_else(|| Error::new(Errno::EINVAL))?;
    let ns = ctx.ns();
    let seen = AtomicU64::new(ns.events().0);
    Ok(Arc::new(MountsFile { root: ctx.root(), ns, format, seen, text: Mutex::new(None) }))
}

/// /proc/PID/mounts.
pub(crate) fn mounts(c: &Ctx<'_>, _: OpenFlags) -> Result<Arc<dyn FileOps>> {
    open(c, fstab_line)
}
/// /proc/PID/mountinfo.
pub(crate) fn mountinfo(c: &Ctx<'_>, _: OpenFlags) -> Result<Arc<dyn FileOps>> {
    open(c, info_line)
}
/// /proc/PID/mountstats.
pub(crate) fn mountstats(c: &Ctx<'_>, _: OpenFlags) -> Result<Arc<dyn FileOps>> {
    open(c, stats_line)
}

/// Octal for what would end the field.
fn escape(out: &mut Vec<u8>, text: &[u8], hash: bool) {
    for &b in text {
        if matches!(b, b' ' | b'\t' | b'\n' | b'\\') || hash && b == b'#' {
            out.extend_from_slice(format!("\\{b:03o}").as_bytes());
        } else {
            out.push(b);
        }
    }
}

fn mount_options(m: &Mount) -> String {
    let f = m.flags();
    let mut s = String::new();
    let names = [
        (MountFlags::NOSUID, ",nosuid"),
        (MountFlags::NODEV, ",nodev"),
        (MountFlags::NOEXEC, ",noexec"),
        (MountFlags::NOATIME, ",noatime"),
        (MountFlags::NODIRATIME, ",nodiratime"),
        (MountFlags::RELATIME, ",relatime"),
        (MountFlags::NOSYMFOLLOW, ",nosymfollow"),
    ];
    for (flag, name) in names {
        // noatime hides relatime.
        let hidden = flag == MountFlags::RELATIME && f.contains(MountFlags::NOATIME);
        if f.contains(flag) && !hidden {
            s.push_str(name);
        }
    }
    s
}

fn rw(read_only: bool) -> &'static str {
    if read_only { "ro" } else { "rw" }
}

fn source(m: &Mount) -> &[u8] {
    if m.source().is_empty() { b"none" } else { m.source() }
}

fn fstab_line(out: &mut Vec<u8>, m: &Arc<Mount>, at: &[u8]) {
    escape(out, source(m), true);
    out.push(b' ');
    escape(out, at, true);
    let fs = m.sb().fs();
    let ro = m.flags().contains(MountFlags::RDONLY) || m.sb().read_only();
    let rest = format!(" {} {}{}{} 0 0\n", fs.type_name(), rw(ro), mount_options(m), fs.options());
    out.extend_from_slice(rest.as_bytes());
}

fn stats_line(out: &mut Vec<u8>, m: &Arc<Mount>, at: &[u8]) {
    out.extend_from_slice(b"device ");
    escape(out, source(m), true);
    out.extend_from_slice(b" mounted on ");
    escape(out, at, true);
    out.extend_from_slice(format!(" with fstype {}\n", m.sb().fs().type_name()).as_bytes());
}

/// The directory of the file system that the mount shows.
fn inner_root(m: &Mount) -> Vec<u8> {
    let mut parts = Vec::new();
    let mut d = m.root().clone();
    while let Some(parent) = d.parent() {
        parts.push(d.name());
        d = parent;
    }
    let mut path = Vec::new();
    for name in parts.iter().rev() {
        path.push(b'/');
        path.extend_from_slice(name);
    }
    if path.is_empty() { b"/".to_vec() } else { path }
}

fn info_line(out: &mut Vec<u8>, m: &Arc<Mount>, at: &[u8]) {
    let parent = m.place().map_or(m.id(), |p| p.mount.id());
    let fs = m.sb().fs();
    let dev = fs.dev();
    let head = format!("{} {parent} {}:{} ", m.id(), dev.major, dev.minor);
    out.extend_from_slice(head.as_bytes());
    escape(out, &inner_root(m), false);
    out.push(b' ');
    escape(out, at, false);
    let ro = m.flags().contains(MountFlags::RDONLY);
    let optional = match m.propagation() {
        Propagation::Private => String::new(),
        Propagation::Shared(g) => format!(" shared:{g}"),
        Propagation::Slave(g) => format!(" master:{g}"),
        Propagation::Unbindable => " unbindable".into(),
    };
    let middle = format!(" {}{}{optional} - {} ", rw(ro), mount_options(m), fs.type_name());
    out.extend_from_slice(middle.as_bytes());
    escape(out, source(m), false);
    out.extend_from_slice(format!(" {}{}\n", rw(m.sb().read_only()), fs.options()).as_bytes());
}

impl MountsFile {
    fn make(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for m in self.ns.list() {
            // Where it is mounted, if that lies below the process's root.
            let (at, met) = m.root_path().name_from(&self.root);
            if met {
                (self.format)(&mut out, &m, &at);
            }
        }
        out
    }
}

impl FileOps for MountsFile {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn read(&self, _file: &File, offset: u64, sink: &mut dyn Sink) -> Result<usize> {
        let mut text = self.text.lock();
        let data = match text.take() {
            Some(t) if offset != 0 => text.insert(t),
            _ => text.insert(self.make()),
        };
        match usize::try_from(offset).ok().and_then(|o| data.get(o..)) {
            Some(rest) if !rest.is_empty() => sink.write(rest),
            _ => Ok(0),
        }
    }
    fn seekable(&self) -> bool {
        true
    }
    fn seek_end(&self, _file: &File) -> Result<u64> {
        err(Errno::EINVAL)
    }
    fn poll(&self, _file: &File, table: Option<&mut PollTable>) -> PollEvents {
        if let Some(t) = table {
            t.register(self.ns.events().1);
        }
        let now = self.ns.events().0;
        let mut e = PollEvents::IN | PollEvents::RDNORM;
        if self.seen.swap(now, Ordering::AcqRel) != now {
            e |= PollEvents::ERR | PollEvents::PRI;
        }
        e
    }
}
