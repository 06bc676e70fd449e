//! maps, smaps, smaps_rollup, numa_maps: the mappings of a process. Formats: `man 5 proc`.

use std::io::Write as _;

use arch::Prot;
use base::{Errno, Error, Result};
use drivers::DevNum;
use mm::VmaInfo;

use super::Ctx;

fn vmas(c: &Ctx<'_>, detailed: bool) -> Result<Vec<VmaInfo>> {
    if let Some(v) = c.source().maps(c.pid(), detailed) {
        return Ok(v);
    }
    // Zombies and kernel threads have none; a process that is gone is an error.
    c.task().map(|_| Vec::new()).map_err(|_| Error::new(Errno::ESRCH))
}

/// The line of maps. The name starts in column 74 if the numbers leave room.
fn map_line(out: &mut Vec<u8>, v: &VmaInfo) {
    let bit = |p: Prot, c: char| if v.prot.contains(p) { c } else { '-' };
    let dev = DevNum::from_user(v.name.dev);
    let head = format!(
        "{:08x}-{:08x} {}{}{}{} {:08x} {:02x}:{:02x} {} ",
        v.start.0,
        v.end.0,
        bit(Prot::READ, 'r'),
        bit(Prot::WRITE, 'w'),
        bit(Prot::EXEC, 'x'),
        if v.shared { 's' } else { 'p' },
        v.offset,
        dev.major,
        dev.minor,
        v.name.ino
    );
    if v.name.path.is_empty() {
        out.extend_from_slice(head.as_bytes());
    } else {
        out.extend_from_slice(format!("{head:<73}").as_bytes());
        for b in &v.name.path {
            match b {
                b'\n' => out.extend_from_slice(b"\\012"),
                _ => out.push(*b),
            }
        }
    }
    out.push(b'\n');
}

/// /proc/PID/maps.
pub(crate) fn maps(c: &Ctx<'_>) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    for v in vmas(c, false)? {
        map_line(&mut out, &v);
    }
    Ok(out)
}

/// What smaps says of a mapping, in KiB.
#[derive(Default)]
struct Sums {
    rss: u64,
    pss: u64,
    pss_anon: u64,
    pss_file: u64,
    pss_shmem: u64,
    shared_clean: u64,
    private_clean: u64,
    private_dirty: u64,
    anon: u64,
    locked: u64,
}

impl Sums {
    fn add(&mut self, v: &VmaInfo) {
        let (rss, anon) = (v.rss * 4, v.anon * 4);
        let file = rss - anon.min(rss);
        self.rss += rss;
        self.anon += anon;
        // Who else maps a page is not counted: anonymous pages are taken to be the process's own
        // and file pages of private mappings to be shared.
        self.pss += rss;
        self.pss_anon += anon;
        self.private_dirty += anon;
        if v.shared && v.prot.contains(Prot::WRITE) {
            self.pss_shmem += file;
            self.private_clean += file;
        } else {
            self.pss_file += file;
            self.shared_clean += file;
        }
        if v.locked {
            self.locked += rss;
        }
    }

    fn rows(&self, out: &mut Vec<u8>, rollup: bool) {
        let mut row = |name: &str, kb: u64| {
            let _ = writeln!(out, "{:<16}{kb:8} kB", format!("{name}:"));
        };
        row("Rss", self.rss);
        row("Pss", self.pss);
        row("Pss_Dirty", self.private_dirty);
        if rollup {
            row("Pss_Anon", self.pss_anon);
            row("Pss_File", self.pss_file);
            row("Pss_Shmem", self.pss_shmem);
        }
        row("Shared_Clean", self.shared_clean);
        row("Shared_Dirty", 0);
        row("Private_Clean", self.private_clean);
        row("Private_Dirty", self.private_dirty);
        row("Referenced", self.rss);
        row("Anonymous", self.anon);
        for name in [
            "KSM",
            "LazyFree",
            "AnonHugePages",
            "ShmemPmdMapped",
            "FilePmdMapped",
            "Shared_Hugetlb",
            "Private_Hugetlb",
            "Swap",
            "SwapPss",
        ] {
            row(name, 0);
        }
        row("Locked", self.locked);
    }
}

fn flags(v: &VmaInfo) -> String {
    let all = [
        (v.prot.contains(Prot::READ), "rd"),
        (v.prot.contains(Prot::WRITE), "wr"),
        (v.prot.contains(Prot::EXEC), "ex"),
        (v.shared, "sh"),
        (v.max_prot.contains(Prot::READ), "mr"),
        (v.max_prot.contains(Prot::WRITE), "mw"),
        (v.max_prot.contains(Prot::EXEC), "me"),
        (v.shared && v.max_prot.contains(Prot::WRITE), "ms"),
        (v.growsdown, "gd"),
        (v.locked, "lo"),
        (v.dontfork, "dc"),
        (!v.noreserve && v.prot.contains(Prot::WRITE) && !v.shared, "ac"),
        (v.noreserve, "nr"),
        (v.wipeonfork, "wf"),
        (v.dontdump, "dd"),
    ];
    all.iter().filter(|f| f.0).map(|f| format!("{} ", f.1)).collect()
}

/// /proc/PID/smaps.
pub(crate) fn smaps(c: &Ctx<'_>) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    for v in vmas(c, true)? {
        map_line(&mut out, &v);
        let kb = (v.end.0 - v.start.0) / 1024;
        let _ = writeln!(out, "{:<16}{kb:8} kB", "Size:");
        let _ = writeln!(out, "KernelPageSize:        4 kB\nMMUPageSize:           4 kB");
        let mut sums = Sums::default();
        sums.add(&v);
        sums.rows(&mut out, false);
        let _ = writeln!(out, "THPeligible:           0\nVmFlags: {}", flags(&v));
    }
    Ok(out)
}

/// /proc/PID/smaps_rollup.
pub(crate) fn rollup(c: &Ctx<'_>) -> Result<Vec<u8>> {
    let list = vmas(c, true)?;
    let mut out = Vec::new();
    let (Some(first), Some(last)) = (list.first(), list.last()) else { return Ok(out) };
    let head = format!("{:08x}-{:08x} ---p 00000000 00:00 0 ", first.start.0, last.end.0);
    let _ = writeln!(out, "{head:<73}[rollup]");
    let mut sums = Sums::default();
    for v in &list {
        sums.add(v);
    }
    sums.rows(&mut out, true);
    Ok(out)
}

/// /proc/PID/numa_maps: one node.
pub(crate) fn numa_maps(c: &Ctx<'_>) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    for v in vmas(c, true)? {
        let _ = write!(out, "{:x} default", v.start.0);
        match v.name.path.as_slice() {
            b"[heap]" => out.extend_from_slice(b" heap"),
            b"[stack]" => out.extend_from_slice(b" stack"),
            p if v.file && !p.is_empty() => {
                out.extend_from_slice(b" file=");
                out.extend_from_slice(p);
            }
            _ => {}
        }
        if v.anon > 0 {
            let _ = write!(out, " anon={} dirty={}", v.anon, v.anon);
        }
        if v.rss > v.anon {
            let _ = write!(out, " mapped={}", v.rss);
        }
        if v.rss > 0 {
            let _ = write!(out, " N0={} kernelpagesize_kB=4", v.rss);
        }
        out.push(b'\n');
    }
    Ok(out)
}
