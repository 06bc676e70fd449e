//! /proc/PID: the table of a process's files, and the small ones.

use base::{Errno, Error, Result, err};

use super::node::{
    Access, At, Child, Entry, Listing, Node, dir, guarded, parse_number, text, writable,
};
use super::root::{line, table};
use super::source::{Table, TaskSetting};
use super::{Ctx, fdinfo, links, mem, mounts, net, ns, smaps, status};

const fn special(
    name: &'static str,
    mode: u32,
    access: Access,
    open: fn(&Ctx<'_>, crate::OpenFlags) -> Result<std::sync::Arc<dyn crate::FileOps>>,
) -> Entry {
    Entry { name, mode, node: Node::Special { open, access } }
}
const fn magic(
    name: &'static str,
    text: super::node::Read,
    path: fn(&Ctx<'_>) -> Result<crate::Path>,
) -> Entry {
    Entry { name, mode: 0o777, node: Node::Magic { text, path, size: 0 } }
}
const fn listed(name: &'static str, mode: u32, listing: &'static Listing) -> Entry {
    Entry { name, mode, node: Node::Dir(&[], Some(listing)) }
}
const fn write_only(name: &'static str, write: super::node::Write) -> Entry {
    let node = Node::File { read: None, write: Some(write), access: Access::Any };
    Entry { name, mode: 0o200, node }
}

/// The files of a process.
pub(crate) static PROCESS: [Entry; 50] = [
    listed("task", 0o555, &TASKS),
    ATTR,
    AUTOGROUP,
    AUXV,
    text("cgroup", cgroup),
    CLEAR_REFS,
    text("cmdline", mem::cmdline),
    COMM,
    COREDUMP_FILTER,
    text("cpuset", |_| Ok(b"/\n".to_vec())),
    magic("cwd", links::cwd_text, links::cwd),
    ENVIRON,
    magic("exe", links::exe_text, links::exe),
    listed("fd", 0o500, &links::FDS),
    listed("fdinfo", 0o555, &fdinfo::FDINFO),
    GID_MAP,
    text("limits", status::limits),
    LOGINUID,
    listed("map_files", 0o500, &links::MAP_FILES),
    guarded("maps", 0o444, Access::Look, smaps::maps),
    special("mem", 0o600, Access::Attach, mem::open),
    special("mountinfo", 0o444, Access::Any, mounts::mountinfo),
    special("mounts", 0o444, Access::Any, mounts::mounts),
    special("mountstats", 0o400, Access::Any, mounts::mountstats),
    dir("net", &net::NET),
    listed("ns", 0o511, &ns::LINKS),
    guarded("numa_maps", 0o444, Access::Look, smaps::numa_maps),
    OOM_ADJ,
    text("oom_score", |c| line(c.task()?.oom_score)),
    OOM_SCORE_ADJ,
    special("pagemap", 0o400, Access::Look, mem::open_pagemap),
    guarded("personality", 0o400, Access::Look, |c| {
        line(format_args!("{:08x}", c.task()?.personality))
    }),
    PROJID_MAP,
    magic("root", links::root_text, links::root),
    text("sched", status::sched),
    text("schedstat", schedstat),
    text("sessionid", |c| bare(c.task()?.sessionid)),
    SETGROUPS,
    guarded("smaps", 0o444, Access::Look, smaps::smaps),
    guarded("smaps_rollup", 0o444, Access::Look, smaps::rollup),
    guarded("stack", 0o400, Access::Attach, |_| Ok(Vec::new())),
    text("stat", status::stat_process),
    text("statm", status::statm),
    text("status", status::status),
    guarded("syscall", 0o400, Access::Attach, syscall),
    text("timens_offsets", |_| {
        Ok(b"monotonic           0         0\nboottime            0         0\n".to_vec())
    }),
    text("timers", |c| table(c, Table::Timers(c.pid()), "")),
    writable(
        "timerslack_ns",
        0o666,
        |c| line(c.task()?.timer_slack),
        |c, d| set(c, TaskSetting::TimerSlack(number(d)?)),
    ),
    UID_MAP,
    text("wchan", wchan),
];

/// The files of a thread.
pub(crate) static THREAD: [Entry; 43] = [
    ATTR,
    AUXV,
    text("cgroup", cgroup),
    CLEAR_REFS,
    text("children", children),
    text("cmdline", mem::cmdline),
    COMM,
    text("cpuset", |_| Ok(b"/\n".to_vec())),
    magic("cwd", links::cwd_text, links::cwd),
    ENVIRON,
    magic("exe", links::exe_text, links::exe),
    listed("fd", 0o500, &links::FDS),
    listed("fdinfo", 0o555, &fdinfo::FDINFO),
    GID_MAP,
    text("limits", status::limits),
    LOGINUID,
    guarded("maps", 0o444, Access::Look, smaps::maps),
    special("mem", 0o600, Access::Attach, mem::open),
    special("mountinfo", 0o444, Access::Any, mounts::mountinfo),
    special("mounts", 0o444, Access::Any, mounts::mounts),
    dir("net", &net::NET),
    listed("ns", 0o511, &ns::LINKS),
    guarded("numa_maps", 0o444, Access::Look, smaps::numa_maps),
    OOM_ADJ,
    text("oom_score", |c| line(c.task()?.oom_score)),
    OOM_SCORE_ADJ,
    special("pagemap", 0o400, Access::Look, mem::open_pagemap),
    guarded("personality", 0o400, Access::Look, |c| {
        line(format_args!("{:08x}", c.task()?.personality))
    }),
    PROJID_MAP,
    magic("root", links::root_text, links::root),
    text("sched", status::sched),
    text("schedstat", schedstat),
    text("sessionid", |c| bare(c.task()?.sessionid)),
    SETGROUPS,
    guarded("smaps", 0o444, Access::Look, smaps::smaps),
    guarded("smaps_rollup", 0o444, Access::Look, smaps::rollup),
    guarded("stack", 0o400, Access::Attach, |_| Ok(Vec::new())),
    text("stat", status::stat_thread),
    text("statm", status::statm),
    text("status", status::status),
    guarded("syscall", 0o400, Access::Attach, syscall),
    UID_MAP,
    text("wchan", wchan),
];

const ATTR: Entry = dir("attr", &ATTRS);
const AUXV: Entry = guarded("auxv", 0o400, Access::Look, mem::auxv);
const ENVIRON: Entry = guarded("environ", 0o400, Access::Look, mem::environ);
const AUTOGROUP: Entry =
    writable("autogroup", 0o644, |_| Ok(b"/autogroup-0 nice 0\n".to_vec()), |_, _| Ok(()));
const CLEAR_REFS: Entry =
    write_only("clear_refs", |c, d| set(c, TaskSetting::ClearRefs(number(d)? as u32)));
const COMM: Entry = writable("comm", 0o644, comm, set_comm);
const COREDUMP_FILTER: Entry = writable(
    "coredump_filter",
    0o644,
    |c| line(format_args!("{:08x}", c.task()?.coredump_filter)),
    |c, d| set(c, TaskSetting::CoredumpFilter(number(d)? as u32)),
);
const LOGINUID: Entry = writable(
    "loginuid",
    0o644,
    |c| bare(c.task()?.loginuid),
    |c, d| set(c, TaskSetting::Loginuid(number(d)? as u32)),
);
const OOM_ADJ: Entry = writable(
    "oom_adj",
    0o644,
    |c| {
        let adj = c.task()?.oom_score_adj;
        line(if adj == 1000 { 15 } else { adj * 17 / 1000 })
    },
    |c, d| {
        let n = signed(d)?;
        if !(-17..=15).contains(&n) {
            return err(Errno::EINVAL);
        }
        set(c, TaskSetting::OomScoreAdj(if n == 15 { 1000 } else { n as i32 * 1000 / 17 }))
    },
);
const OOM_SCORE_ADJ: Entry = writable(
    "oom_score_adj",
    0o644,
    |c| line(c.task()?.oom_score_adj),
    |c, d| {
        let n = signed(d)?;
        if !(-1000..=1000).contains(&n) {
            return err(Errno::EINVAL);
        }
        set(c, TaskSetting::OomScoreAdj(n as i32))
    },
);
const ID_MAP: &[u8] = b"         0          0 4294967295\n";
const UID_MAP: Entry = writable(
    "uid_map",
    0o644,
    |_| Ok(ID_MAP.to_vec()),
    |c, d| set(c, TaskSetting::IdMap(false, d.to_vec())),
);
const GID_MAP: Entry = writable(
    "gid_map",
    0o644,
    |_| Ok(ID_MAP.to_vec()),
    |c, d| set(c, TaskSetting::IdMap(true, d.to_vec())),
);
const PROJID_MAP: Entry =
    writable("projid_map", 0o644, |_| Ok(ID_MAP.to_vec()), |_, _| err(Errno::EPERM));
const SETGROUPS: Entry = writable(
    "setgroups",
    0o644,
    |_| Ok(b"allow\n".to_vec()),
    |c, d| match d.trim_ascii() {
        b"allow" => set(c, TaskSetting::Setgroups(true)),
        b"deny" => set(c, TaskSetting::Setgroups(false)),
        _ => err(Errno::EINVAL),
    },
);

/// Security modules fill these; without one they cannot be read (EINVAL, as Linux without one).
static ATTRS: [Entry; 6] = [
    writable("current", 0o666, |_| err(Errno::EINVAL), |c, d| attr(c, "current", d)),
    writable("exec", 0o666, |_| err(Errno::EINVAL), |c, d| attr(c, "exec", d)),
    writable("fscreate", 0o666, |_| err(Errno::EINVAL), |c, d| attr(c, "fscreate", d)),
    writable("keycreate", 0o666, |_| err(Errno::EINVAL), |c, d| attr(c, "keycreate", d)),
    guarded("prev", 0o444, Access::Any, |_| err(Errno::EINVAL)),
    writable("sockcreate", 0o666, |_| err(Errno::EINVAL), |c, d| attr(c, "sockcreate", d)),
];

fn attr(c: &Ctx<'_>, name: &'static str, data: &[u8]) -> Result<()> {
    set(c, TaskSetting::Attr(name, data.to_vec()))
}

/// The threads.
static TASKS: Listing = Listing {
    keys: |c| c.source().threads(c.pid()).into_iter().map(u64::from).collect(),
    name: |_, key| key.to_string(),
    parse: parse_number,
    child: |c, key| {
        let tid = key as u32;
        c.source().task(c.pid(), tid)?;
        let at = At { pid: c.pid(), tid, key: 0 };
        Some(Child { node: Node::Dir(&THREAD, None), mode: 0o555, at })
    },
};

fn set(c: &Ctx<'_>, what: TaskSetting) -> Result<()> {
    c.source().set(c.pid(), c.tid(), what)
}

fn signed(data: &[u8]) -> Result<i64> {
    let s = std::str::from_utf8(data).ok();
    s.and_then(|s| s.trim_matches(['\n', ' ', '\0']).parse().ok())
        .ok_or_else(|| Error::new(Errno::EINVAL))
}

/// A number as `kstrtoul(..., 0)` takes it.
fn number(data: &[u8]) -> Result<u64> {
    let s = std::str::from_utf8(data).unwrap_or_default().trim_matches(['\n', ' ', '\0']);
    let n = if let Some(h) = s.strip_prefix("0x") {
        u64::from_str_radix(h, 16)
    } else if s.len() > 1 && s.starts_with('0') {
        u64::from_str_radix(s, 8)
    } else if s.starts_with('-') {
        s.parse::<i64>().map(|n| n as u64)
    } else {
        s.parse()
    };
    n.map_err(|_| Error::new(Errno::EINVAL))
}

/// A number without newline, as loginuid has it.
fn bare(n: u32) -> Result<Vec<u8>> {
    Ok(n.to_string().into_bytes())
}

fn comm(c: &Ctx<'_>) -> Result<Vec<u8>> {
    let mut name = c.task()?.comm;
    name.push(b'\n');
    Ok(name)
}

fn set_comm(c: &Ctx<'_>, data: &[u8]) -> Result<()> {
    if c.source().current_pid() != c.pid() {
        return err(Errno::EINVAL); // only threads of the same process
    }
    let end = data.iter().position(|b| *b == 0).unwrap_or(data.len());
    set(c, TaskSetting::Comm(data[..end.min(15)].to_vec()))
}

fn cgroup(c: &Ctx<'_>) -> Result<Vec<u8>> {
    table(c, Table::Cgroup(c.pid()), "0::/\n")
}

fn schedstat(c: &Ctx<'_>) -> Result<Vec<u8>> {
    let [run, wait, slices] = c.task()?.sched;
    line(format_args!("{run} {wait} {slices}"))
}

fn wchan(c: &Ctx<'_>) -> Result<Vec<u8>> {
    let w = c.task()?.wchan;
    Ok(if w.is_empty() || !c.source().may_access(c.pid(), false) {
        b"0".to_vec()
    } else {
        w.into_bytes()
    })
}

fn children(c: &Ctx<'_>) -> Result<Vec<u8>> {
    Ok(c.task()?.children.iter().map(|p| format!("{p} ")).collect::<String>().into_bytes())
}

fn syscall(c: &Ctx<'_>) -> Result<Vec<u8>> {
    let t = c.task()?;
    let Some((nr, args)) = t.syscall else { return line("running") };
    let args: String = args.iter().map(|a| format!(" {a:#x}")).collect();
    line(format_args!("{nr}{args} {:#x} {:#x}", t.kstkesp, t.kstkeip))
}
