//! Files about the processors and the system's time: stat, cpuinfo, loadavg, uptime, interrupts.

use std::fmt::Write as _;

use base::Result;

use super::Ctx;
use super::source::CpuTimes;

/// Nanoseconds of a tick of USER_HZ (100 a second), the unit of stat files.
pub(crate) const TICK: u64 = 10_000_000;

fn times(out: &mut String, name: &str, t: &CpuTimes) {
    out.push_str(name);
    for ns in t {
        let _ = write!(out, " {}", ns / TICK);
    }
    out.push('\n');
}

/// /proc/stat.
pub(crate) fn stat(c: &Ctx<'_>) -> Result<Vec<u8>> {
    let s = c.source().system();
    let mut sum = CpuTimes::default();
    for cpu in &s.cpus {
        for (a, b) in sum.iter_mut().zip(cpu) {
            *a += b;
        }
    }
    let mut out = String::new();
    // The sum's name is padded to the width of `cpu0`.
    times(&mut out, "cpu ", &sum);
    for (i, cpu) in s.cpus.iter().enumerate() {
        times(&mut out, &format!("cpu{i}"), cpu);
    }
    let per_source: Vec<u64> = s.interrupts.iter().map(|i| i.1.iter().sum()).collect();
    let _ = write!(out, "intr {}", per_source.iter().sum::<u64>());
    for n in &per_source {
        let _ = write!(out, " {n}");
    }
    let _ = write!(
        out,
        "\nctxt {}\nbtime {}\nprocesses {}\nprocs_running {}\nprocs_blocked {}\n\
         softirq 0 0 0 0 0 0 0 0 0 0 0\n",
        s.switches, s.boot_time, s.forks, s.running, s.blocked
    );
    Ok(out.into_bytes())
}

/// /proc/cpuinfo.
pub(crate) fn cpuinfo(c: &Ctx<'_>) -> Result<Vec<u8>> {
    let s = c.source().system();
    let m = &s.cpu_model;
    let n = s.cpus.len().max(1);
    let mut out = String::new();
    for i in 0..n {
        let _ = write!(
            out,
            "processor\t: {i}\nvendor_id\t: {}\ncpu family\t: {}\nmodel\t\t: {}\n\
             model name\t: {}\nstepping\t: {}\nmicrocode\t: {:#x}\ncpu MHz\t\t: {:.3}\n\
             cache size\t: {} KB\nphysical id\t: 0\nsiblings\t: {n}\ncore id\t\t: {i}\n\
             cpu cores\t: {n}\napicid\t\t: {i}\ninitial apicid\t: {i}\nfpu\t\t: yes\n\
             fpu_exception\t: yes\ncpuid level\t: {}\nwp\t\t: yes\nflags\t\t: {}\nbugs\t\t: {}\n\
             bogomips\t: {:.2}\nclflush size\t: {}\ncache_alignment\t: {}\n\
             address sizes\t: {} bits physical, {} bits virtual\npower management:\n\n",
            m.vendor,
            m.family,
            m.model,
            m.name,
            m.stepping,
            m.microcode,
            m.mhz,
            m.cache_kb,
            m.cpuid_level,
            m.flags.join(" "),
            m.bugs.join(" "),
            m.mhz * 2.0,
            m.clflush,
            m.clflush,
            m.phys_bits,
            m.virt_bits,
        );
    }
    Ok(out.into_bytes())
}

/// /proc/loadavg.
pub(crate) fn loadavg(c: &Ctx<'_>) -> Result<Vec<u8>> {
    let s = c.source().system();
    let [a, b, d] = s.loadavg;
    Ok(format!("{a:.2} {b:.2} {d:.2} {}/{} {}\n", s.running, s.tasks, s.last_pid).into_bytes())
}

/// /proc/uptime.
pub(crate) fn uptime(c: &Ctx<'_>) -> Result<Vec<u8>> {
    let s = c.source().system();
    let part = |ns: u64| format!("{}.{:02}", ns / 1_000_000_000, ns / TICK % 100);
    Ok(format!("{} {}\n", part(s.uptime), part(s.idle)).into_bytes())
}

/// /proc/version.
pub(crate) fn version(c: &Ctx<'_>) -> Result<Vec<u8>> {
    let s = c.source().system();
    Ok(format!("{} version {} {} {}\n", s.ostype, s.release, s.builder, s.version).into_bytes())
}

/// /proc/interrupts.
pub(crate) fn interrupts(c: &Ctx<'_>) -> Result<Vec<u8>> {
    let s = c.source().system();
    let mut out = String::from("    ");
    for i in 0..s.cpus.len() {
        let _ = write!(out, "{:>11}", format!("CPU{i}"));
    }
    out.push('\n');
    for (label, counts, what) in &s.interrupts {
        let _ = write!(out, "{label:>3}:");
        for n in counts {
            let _ = write!(out, " {n:10}");
        }
        let _ = writeln!(out, "   {what}");
    }
    Ok(out.into_bytes())
}

/// /proc/softirqs: the rows that tools look for.
pub(crate) fn softirqs(c: &Ctx<'_>) -> Result<Vec<u8>> {
    let n = c.source().system().cpus.len();
    let mut out = String::from("                ");
    for i in 0..n {
        let _ = write!(out, "{:>10} ", format!("CPU{i}"));
    }
    for row in [
        "HI", "TIMER", "NET_TX", "NET_RX", "BLOCK", "IRQ_POLL", "TASKLET", "SCHED", "HRTIMER",
        "RCU",
    ] {
        let _ = write!(out, "\n{:>12}:", row);
        for _ in 0..n {
            let _ = write!(out, " {:>10}", 0);
        }
    }
    out.push('\n');
    Ok(out.into_bytes())
}

/// /proc/schedstat.
pub(crate) fn schedstat(c: &Ctx<'_>) -> Result<Vec<u8>> {
    let s = c.source().system();
    let mut out = format!("version 16\ntimestamp {}\n", s.uptime / TICK);
    for (i, t) in s.cpus.iter().enumerate() {
        let _ = writeln!(out, "cpu{i} 0 0 0 0 0 0 {} 0 0", t[0] + t[1] + t[2]);
    }
    Ok(out.into_bytes())
}
