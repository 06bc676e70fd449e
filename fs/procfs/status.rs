//! stat, statm, status, limits, io, sched of a process or thread. Formats: `man 5 proc`, fs/proc/array.c.

use std::fmt::Write as _;

use base::Result;
use mm::{Layout, Usage};

use super::Ctx;
use super::cpu::TICK;
use super::root::line;
use super::source::{TaskInfo, TaskState};

/// /proc/PID/stat.
pub(crate) fn stat_process(c: &Ctx<'_>) -> Result<Vec<u8>> {
    stat(c, c.task()?)
}
/// /proc/PID/task/TID/stat.
pub(crate) fn stat_thread(c: &Ctx<'_>) -> Result<Vec<u8>> {
    stat(c, c.task()?)
}

/// The 52 fields.
fn stat(c: &Ctx<'_>, t: TaskInfo) -> Result<Vec<u8>> {
    let u = t.usage.unwrap_or_default();
    let l = t.layout.clone().unwrap_or_default();
    // Addresses are for those who may look into the process; others see 0 (and 1 for code).
    let may = c.source().may_access(t.tgid, false);
    let hide = |a: base::UserAddr| if may { a.0 } else { 0 };
    let (esp, eip) = if may { (t.kstkesp, t.kstkeip) } else { (0, 0) };
    let live = t.usage.is_some();
    let code = |a: base::UserAddr| if may { a.0 } else { u64::from(live) };
    let mut out = format!("{} (", t.tid).into_bytes();
    out.extend_from_slice(&t.comm);
    let rss_limit = t.rlimits[5].0;
    let _ = std::io::Write::write_fmt(
        &mut out,
        format_args!(
            ") {} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {} 0 {} {} {} {} {} {} {} {} {} \
             {} {} {} {} 0 0 0 {} {} {} {} 0 0 0 {} {} {} {} {} {} {} {}\n",
            t.state.letter(),
            t.ppid,
            t.pgid,
            t.sid,
            t.tty as i64,
            t.tpgid,
            t.flags,
            t.min_flt,
            t.cmin_flt,
            t.maj_flt,
            t.cmaj_flt,
            t.utime / TICK,
            t.stime / TICK,
            t.cutime / TICK,
            t.cstime / TICK,
            t.priority,
            t.nice,
            t.threads,
            t.start_time / TICK,
            u.vsize * 4096,
            u.rss,
            rss_limit,
            code(l.start_code),
            code(l.end_code),
            hide(l.start_stack),
            esp,
            eip,
            // Signals as status has them, cut to 31 bits.
            t.sig_pending & 0x7fff_ffff,
            t.sig_blocked & 0x7fff_ffff,
            t.sig_ignored & 0x7fff_ffff,
            t.sig_caught & 0x7fff_ffff,
            // wchan: only whether it sleeps in the kernel (since Linux 4.2).
            t.exit_signal,
            t.cpu,
            t.rt_priority,
            t.policy,
            hide(l.start_data),
            hide(l.end_data),
            hide(l.start_brk),
            hide(l.arg_start),
            hide(l.arg_end),
            hide(l.env_start),
            hide(l.env_end),
            if may { t.exit_code } else { 0 },
        ),
    );
    Ok(out)
}

/// /proc/PID/statm.
pub(crate) fn statm(c: &Ctx<'_>) -> Result<Vec<u8>> {
    let u = c.task()?.usage.unwrap_or_default();
    let shared = u.rss_file + u.rss_shmem;
    line(format_args!("{} {} {shared} {} 0 {} 0", u.vsize, u.rss, u.text, u.data + u.stack))
}

fn id_line(out: &mut String, name: &str, ids: [u32; 4]) {
    let _ = writeln!(out, "{name}:\t{}\t{}\t{}\t{}", ids[0], ids[1], ids[2], ids[3]);
}

/// A name as status shows it: newlines and backslashes escaped.
fn escape(name: &[u8]) -> String {
    let mut s = String::new();
    for part in String::from_utf8_lossy(name).chars() {
        match part {
            '\n' => s.push_str("\\n"),
            '\\' => s.push_str("\\\\"),
            other => s.push(other),
        }
    }
    s
}

fn memory_lines(out: &mut String, u: &Usage, l: &Layout) {
    let program = (l.end_code.0.saturating_sub(l.start_code.0)).div_ceil(4096).min(u.text);
    let rows = [
        ("VmPeak", u.peak_vsize.max(u.vsize)),
        ("VmSize", u.vsize),
        ("VmLck", u.locked),
        ("VmPin", 0),
        ("VmHWM", u.peak_rss.max(u.rss)),
        ("VmRSS", u.rss),
        ("RssAnon", u.rss_anon),
        ("RssFile", u.rss_file),
        ("RssShmem", u.rss_shmem),
        ("VmData", u.data),
        ("VmStk", u.stack),
        ("VmExe", program),
        ("VmLib", u.text - program),
        ("VmPTE", u.page_tables),
        ("VmSwap", u.swap),
        ("HugetlbPages", 0),
    ];
    for (name, pages) in rows {
        let _ = writeln!(out, "{name}:\t{:8} kB", pages * 4);
    }
    let _ = writeln!(out, "CoreDumping:\t0\nTHP_enabled:\t0\nuntag_mask:\t0xffffffffffffffff");
}

/// Bits as ranges: `0-3,5`.
pub(crate) fn ranges(mask: u64) -> String {
    let mut parts = Vec::new();
    let mut i = 0;
    while i < 64 {
        if mask >> i & 1 == 0 {
            i += 1;
            continue;
        }
        let start = i;
        while i < 64 && mask >> i & 1 == 1 {
            i += 1;
        }
        parts.push(if i - start == 1 { start.to_string() } else { format!("{start}-{}", i - 1) });
    }
    parts.join(",")
}

/// /proc/PID/status.
pub(crate) fn status(c: &Ctx<'_>) -> Result<Vec<u8>> {
    let t = c.task()?;
    let mut o = format!("Name:\t{}\n", escape(&t.comm));
    if let Some(mask) = t.umask {
        let _ = writeln!(o, "Umask:\t{mask:04o}");
    }
    let _ = writeln!(
        o,
        "State:\t{}\nTgid:\t{}\nNgid:\t0\nPid:\t{}\nPPid:\t{}\nTracerPid:\t{}",
        t.state.text(),
        t.tgid,
        t.tid,
        t.ppid,
        t.tracer
    );
    let root = std::sync::Arc::new(base::Cred::root());
    let k = t.cred.as_ref().unwrap_or(&root);
    id_line(&mut o, "Uid", [k.uid, k.euid, k.suid, k.fsuid]);
    id_line(&mut o, "Gid", [k.gid, k.egid, k.sgid, k.fsgid]);
    let groups: String = k.groups.iter().map(|g| format!("{g} ")).collect();
    // Each group is followed by a space; without any there is one, too.
    let groups = if groups.is_empty() { " ".to_owned() } else { groups };
    let _ = writeln!(
        o,
        "FDSize:\t{}\nGroups:\t{groups}\nNStgid:\t{}\nNSpid:\t{}\nNSpgid:\t{}\nNSsid:\t{}\nKthread:\t{}",
        t.fd_size,
        t.tgid,
        t.tid,
        t.pgid,
        t.sid,
        u8::from(t.kthread)
    );
    if let Some(u) = &t.usage {
        memory_lines(&mut o, u, &t.layout.clone().unwrap_or_default());
    }
    let _ = writeln!(
        o,
        "Threads:\t{}\nSigQ:\t{}/{}\nSigPnd:\t{:016x}\nShdPnd:\t{:016x}\nSigBlk:\t{:016x}\n\
         SigIgn:\t{:016x}\nSigCgt:\t{:016x}",
        t.threads,
        t.sig_queued,
        // RLIMIT_SIGPENDING; no limit shows as the largest number.
        t.rlimits[11].0,
        t.sig_pending,
        t.shared_pending,
        t.sig_blocked,
        t.sig_ignored,
        t.sig_caught
    );
    let _ = writeln!(
        o,
        "CapInh:\t{:016x}\nCapPrm:\t{:016x}\nCapEff:\t{:016x}\nCapBnd:\t{:016x}\nCapAmb:\t{:016x}",
        k.inheritable.0, k.permitted.0, k.effective.0, k.bounding.0, k.ambient.0
    );
    let _ = writeln!(
        o,
        "NoNewPrivs:\t{}\nSeccomp:\t{}\nSeccomp_filters:\t{}\n\
         Speculation_Store_Bypass:\tvulnerable\nSpeculationIndirectBranch:\talways enabled\n\
         Cpus_allowed:\t{:x}\nCpus_allowed_list:\t{}\nMems_allowed:\t00000000,00000001\n\
         Mems_allowed_list:\t0\nvoluntary_ctxt_switches:\t{}\nnonvoluntary_ctxt_switches:\t{}",
        u8::from(k.no_new_privs),
        t.seccomp,
        t.seccomp_filters,
        t.cpus_allowed,
        ranges(t.cpus_allowed),
        t.switches[0],
        t.switches[1]
    );
    Ok(o.into_bytes())
}

/// Names and units of RLIMIT_*, in their order.
const LIMITS: [(&str, &str); 16] = [
    ("Max cpu time", "seconds"),
    ("Max file size", "bytes"),
    ("Max data size", "bytes"),
    ("Max stack size", "bytes"),
    ("Max core file size", "bytes"),
    ("Max resident set", "bytes"),
    ("Max processes", "processes"),
    ("Max open files", "files"),
    ("Max locked memory", "bytes"),
    ("Max address space", "bytes"),
    ("Max file locks", "locks"),
    ("Max pending signals", "signals"),
    ("Max msgqueue size", "bytes"),
    ("Max nice priority", ""),
    ("Max realtime priority", ""),
    ("Max realtime timeout", "us"),
];

/// /proc/PID/limits.
pub(crate) fn limits(c: &Ctx<'_>) -> Result<Vec<u8>> {
    let t = c.task()?;
    let show = |n: u64| if n == u64::MAX { "unlimited".to_owned() } else { n.to_string() };
    let mut o = String::from(
        "Limit                     Soft Limit           Hard Limit           Units     \n",
    );
    for ((name, unit), (soft, hard)) in LIMITS.iter().zip(t.rlimits) {
        let _ = write!(o, "{name:<25} {:<20} {:<20} ", show(soft), show(hard));
        if !unit.is_empty() {
            let _ = write!(o, "{unit:<10}");
        }
        o.push('\n');
    }
    Ok(o.into_bytes())
}

/// /proc/PID/sched: the lines that people look for.
pub(crate) fn sched(c: &Ctx<'_>) -> Result<Vec<u8>> {
    let t = c.task()?;
    let mut o = format!(
        "{} ({}, #threads: {})\n{}\n",
        String::from_utf8_lossy(&t.comm),
        t.tid,
        t.threads,
        "-".repeat(67)
    );
    let ms = |ns: u64| format!("{}.{:06}", ns / 1_000_000, ns % 1_000_000);
    let rows = [
        ("se.exec_start", ms(t.start_time)),
        ("se.sum_exec_runtime", ms(t.sched[0])),
        ("nr_switches", (t.switches[0] + t.switches[1]).to_string()),
        ("nr_voluntary_switches", t.switches[0].to_string()),
        ("nr_involuntary_switches", t.switches[1].to_string()),
        ("policy", t.policy.to_string()),
        ("prio", (100 + t.priority).to_string()),
    ];
    for (name, value) in rows {
        let _ = writeln!(o, "{name:<45}:{value:>21}");
    }
    debug_assert!(t.state != TaskState::Dead || t.usage.is_none());
    Ok(o.into_bytes())
}
