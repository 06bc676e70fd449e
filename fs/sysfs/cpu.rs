//! /sys/devices/system/cpu and node: processors and memory as glibc, lscpu and numactl look for them.

use std::fmt::Write as _;
use std::sync::Arc;

use super::tree::Dir;
use super::{SysParts, SysSource};

/// `0` or `0-3`.
fn list(n: u32) -> String {
    if n <= 1 { "0".into() } else { format!("0-{}", n - 1) }
}

/// A mask of CPUs in hexadecimal words, the highest first.
fn mask(bits: u64, n: u32) -> String {
    let width = n.min(32).div_ceil(4) as usize;
    if n <= 32 {
        format!("{bits:0width$x}")
    } else {
        format!("{:08x},{:08x}", bits >> 32, bits & 0xffff_ffff)
    }
}

pub(crate) fn fill(t: &mut Dir, parts: &SysParts) {
    let n = parts.source.cpus().clamp(1, 64);
    let all = list(n);
    let all_bits = u64::MAX >> (64 - n);
    let cpus = t.at("devices/system/cpu");
    cpus.text("online", &all)
        .text("possible", &all)
        .text("present", &all)
        .text("enabled", &all)
        .text("offline", "")
        .text("isolated", "")
        .text("kernel_max", 63)
        .text("modalias", "cpu:type:x86")
        .text("smt/active", 0)
        .text("smt/control", "notsupported");
    cpus.at("vulnerabilities");
    for i in 0..n {
        let one = 1u64 << i;
        let c = cpus.at(&format!("cpu{i}"));
        c.text("uevent", format_args!("DRIVER=processor\nMODALIAS=cpu:type:x86"));
        let topology = c.at("topology");
        topology.text("core_id", i).text("physical_package_id", 0).text("die_id", 0);
        topology.text("cluster_id", 65535);
        for name in ["core_cpus", "thread_siblings", "cluster_cpus"] {
            topology.text(name, mask(one, n)).text(&format!("{name}_list"), i);
        }
        for name in ["core_siblings", "die_cpus", "package_cpus"] {
            topology.text(name, mask(all_bits, n)).text(&format!("{name}_list"), &all);
        }
        c.link("subsystem", "../../../../bus/cpu").link("node0", "../../node/node0");
    }
    for i in 0..n {
        let target = format!("../../../devices/system/cpu/cpu{i}");
        t.link(&format!("bus/cpu/devices/cpu{i}"), &target);
    }

    let nodes = t.at("devices/system/node");
    nodes.text("online", 0).text("possible", 0).text("has_cpu", 0).text("has_memory", 0);
    nodes.text("has_normal_memory", 0);
    let node = nodes.at("node0");
    node.text("cpulist", &all).text("cpumap", mask(all_bits, n)).text("distance", 10);
    node.text(
        "numastat",
        "numa_hit 0\nnuma_miss 0\nnuma_foreign 0\ninterleave_hit 0\nlocal_node 0\nother_node 0",
    );
    let source = parts.source.clone();
    node.live("meminfo", move || meminfo(&source));
    let pool = node.at("hugepages/hugepages-2048kB");
    pool.text("nr_hugepages", 0).text("free_hugepages", 0).text("surplus_hugepages", 0);
    for i in 0..n {
        node.link(&format!("cpu{i}"), &format!("../../cpu/cpu{i}"));
    }
    t.link("bus/node/devices/node0", "../../../devices/system/node/node0");
}

fn meminfo(source: &Arc<dyn SysSource>) -> String {
    let m = source.memory();
    let file = m.cached.saturating_sub(m.shmem);
    let rows = [
        ("MemTotal", m.total),
        ("MemFree", m.free),
        ("MemUsed", m.total.saturating_sub(m.free)),
        ("Active", m.anon),
        ("Inactive", file + m.shmem),
        ("Active(anon)", m.anon),
        ("Inactive(anon)", m.shmem),
        ("Active(file)", 0),
        ("Inactive(file)", file),
        ("Mlocked", m.locked),
        ("Dirty", m.dirty),
        ("Writeback", m.writeback),
        ("FilePages", m.cached),
        ("Mapped", m.mapped),
        ("AnonPages", m.anon),
        ("Shmem", m.shmem),
        ("PageTables", m.page_tables),
        ("Slab", m.kernel),
    ];
    let mut out = String::new();
    for (name, pages) in rows {
        let _ = writeln!(out, "Node 0 {:<16}{:8} kB", format!("{name}:"), pages * 4);
    }
    for name in ["HugePages_Total", "HugePages_Free", "HugePages_Surp"] {
        let _ = writeln!(out, "Node 0 {name}: {:5}", 0);
    }
    out
}
