//! /proc itself: the table of its files, and the processes.

use base::{Cap, Errno, Result, err};

use super::node::{Access, At, Child, Entry, Listing, Node, dir, guarded, parse_number, text};
use super::source::Table;
use super::{Ctx, cpu, memory, net, pid};

/// The files of /proc.
pub(crate) static ENTRIES: [Entry; 45] = [
    text("buddyinfo", memory::buddyinfo),
    dir("bus", &[]),
    text("cgroups", |_| Ok(b"#subsys_name\thierarchy\tnum_cgroups\tenabled\n".to_vec())),
    text("cmdline", |c| line(c.source().system().cmdline)),
    text("consoles", |c| table(c, Table::Consoles, "tty0                 -WU (ECp  )    4:1\n")),
    text("cpuinfo", cpu::cpuinfo),
    text("crypto", |_| Ok(Vec::new())),
    text("devices", |c| table(c, Table::Devices, "Character devices:\n\nBlock devices:\n")),
    text("diskstats", diskstats),
    text("dma", |_| Ok(b" 4: cascade\n".to_vec())),
    dir("driver", &[]),
    text("execdomains", |_| Ok(b"0-0\tLinux           \t[kernel]\n".to_vec())),
    text("filesystems", |c| table(c, Table::Filesystems, "nodev\tproc\n")),
    dir("fs", &[]),
    text("interrupts", cpu::interrupts),
    guarded("iomem", 0o400, Access::Any, memory::iomem),
    text("ioports", |_| Ok(Vec::new())),
    dir("irq", &[]),
    text("kallsyms", |_| Ok(Vec::new())),
    text("key-users", |_| Ok(Vec::new())),
    text("keys", |_| Ok(Vec::new())),
    Entry {
        name: "kmsg",
        mode: 0o400,
        node: Node::Special { open: |c, _| c.source().open_kmsg(), access: Access::Any },
    },
    text("loadavg", cpu::loadavg),
    text("locks", |c| table(c, Table::Locks, "")),
    text("meminfo", memory::meminfo),
    text("misc", |c| table(c, Table::Misc, "")),
    text("modules", |c| table(c, Table::Modules, "")),
    Entry { name: "mounts", mode: 0o777, node: Node::Link(|_| Ok(b"self/mounts".to_vec())) },
    Entry { name: "net", mode: 0o777, node: Node::Link(|_| Ok(b"self/net".to_vec())) },
    guarded("pagetypeinfo", 0o400, Access::Any, |_| Ok(Vec::new())),
    text("partitions", partitions),
    text("schedstat", cpu::schedstat),
    Entry { name: "self", mode: 0o777, node: Node::Link(own_pid) },
    guarded("slabinfo", 0o400, Access::Any, memory::slabinfo),
    text("softirqs", cpu::softirqs),
    text("stat", cpu::stat),
    text("swaps", |_| Ok(b"Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n".to_vec())),
    Entry { name: "sys", mode: 0o555, node: Node::SysDir("") },
    Entry {
        name: "sysrq-trigger",
        mode: 0o200,
        node: Node::File { read: None, write: Some(sysrq), access: Access::Any },
    },
    dir("sysvipc", &net::SYSVIPC),
    Entry { name: "thread-self", mode: 0o777, node: Node::Link(own_tid) },
    dir("tty", &TTY),
    text("uptime", cpu::uptime),
    text("version", cpu::version),
    text("vmstat", memory::vmstat),
];

static TTY: [Entry; 2] = [
    text("drivers", |_| {
        Ok(b"/dev/tty             /dev/tty        5       0 system:/dev/tty\n\
/dev/console         /dev/console    5       1 system:console\n\
/dev/ptmx            /dev/ptmx       5       2 system\n\
pty_slave            /dev/pts      136 0-1048575 pty:slave\n\
pty_master           /dev/ptm      128 0-1048575 pty:master\n"
            .to_vec())
    }),
    text("ldiscs", |_| Ok(b"n_tty       0\n".to_vec())),
];

/// The processes.
pub(crate) static PIDS: Listing = Listing {
    keys: |c| c.source().pids().into_iter().map(u64::from).collect(),
    name: |_, key| key.to_string(),
    parse: parse_number,
    child: |c, key| {
        let tid = key as u32;
        // A thread that leads no process is not listed, but can be looked up.
        let pid = match c.source().task(tid, tid) {
            Some(_) => tid,
            None => c.source().tgid_of(tid)?,
        };
        let at = At { pid, tid, key: 0 };
        Some(Child { node: Node::Dir(&pid::PROCESS, None), mode: 0o555, at })
    },
};

fn own_pid(c: &Ctx<'_>) -> Result<Vec<u8>> {
    Ok(c.source().current_pid().to_string().into_bytes())
}

fn own_tid(c: &Ctx<'_>) -> Result<Vec<u8>> {
    let s = c.source();
    Ok(format!("{}/task/{}", s.current_pid(), s.current_tid()).into_bytes())
}

/// One line of text.
pub(crate) fn line(s: impl std::fmt::Display) -> Result<Vec<u8>> {
    Ok(format!("{s}\n").into_bytes())
}

/// A table that another part of the kernel fills.
pub(crate) fn table(c: &Ctx<'_>, which: Table<'_>, empty: &str) -> Result<Vec<u8>> {
    Ok(c.source().table(which).unwrap_or_else(|| empty.to_owned()).into_bytes())
}

fn diskstats(c: &Ctx<'_>) -> Result<Vec<u8>> {
    let mut out = String::new();
    for d in c.source().disks().map(|r| r.list()).unwrap_or_default() {
        let n = d.dev();
        out += &format!("{:4} {:7} {} {}\n", n.major, n.minor, d.name(), d.stats().line());
    }
    Ok(out.into_bytes())
}

fn partitions(c: &Ctx<'_>) -> Result<Vec<u8>> {
    use drivers::BlockDevice as _;
    let mut out = String::from("major minor  #blocks  name\n\n");
    for d in c.source().disks().map(|r| r.list()).unwrap_or_default() {
        let n = d.dev();
        out += &format!("{:4}  {:7} {:10} {}\n", n.major, n.minor, d.len() / 1024, d.name());
    }
    Ok(out.into_bytes())
}

fn sysrq(c: &Ctx<'_>, data: &[u8]) -> Result<()> {
    if !c.source().current_cred().capable(Cap::SysAdmin) {
        return err(Errno::EPERM);
    }
    data.first().map_or(Ok(()), |key| c.source().sysrq(*key))
}
