//! The whole tree.

use super::tree::Dir;
use super::{SysParts, block, chars, cpu, net};

/// Builds the tree from what there is now.
pub(crate) fn tree(parts: &SysParts) -> Dir {
    let mut t = Dir::default();
    for empty in [
        "block",
        "bus/cpu/devices",
        "bus/cpu/drivers",
        "bus/node/devices",
        "bus/platform/devices",
        "bus/platform/drivers",
        "class/block",
        "class/mem",
        "class/misc",
        "class/net",
        "class/tty",
        "class/input",
        "dev/block",
        "dev/char",
        "devices/platform",
        "devices/virtual",
        "firmware",
        "fs/bpf",
        "fs/cgroup",
        "fs/fuse/connections",
        "fs/pstore",
        "kernel/debug",
        "kernel/security",
        "kernel/tracing",
        "module",
    ] {
        t.at(empty);
    }
    kernel(&mut t);
    file_systems(&mut t);
    cpu::fill(&mut t, parts);
    block::fill(&mut t, &parts.blocks);
    chars::fill(&mut t, parts);
    net::fill(&mut t, &parts.source);
    t
}

fn kernel(t: &mut Dir) {
    let k = t.at("kernel");
    k.text("address_bits", 64)
        .text("cpu_byteorder", "little")
        .text("fscaps", 1)
        .text("kexec_loaded", 0)
        .text("oops_count", 0)
        .text("profiling", 0)
        .text("rcu_expedited", 0)
        .text("rcu_normal", 0)
        .setting("uevent_helper", "")
        .text("uevent_seqnum", 0)
        .text("warn_count", 0)
        .text("cgroup/delegate", "cgroup.procs\ncgroup.threads\ncgroup.subtree_control")
        .text("cgroup/features", "nsdelegate");
    let huge = k.at("mm/transparent_hugepage");
    huge.choice("enabled", &["always", "madvise", "never"], "madvise")
        .choice("defrag", &["always", "defer", "defer+madvise", "madvise", "never"], "madvise")
        .choice(
            "shmem_enabled",
            &["always", "within_size", "advise", "never", "deny", "force"],
            "never",
        )
        .setting("use_zero_page", "1")
        .text("hpage_pmd_size", 2_097_152)
        .setting("khugepaged/defrag", "1")
        .setting("khugepaged/pages_to_scan", "4096")
        .setting("khugepaged/scan_sleep_millisecs", "10000");
    let pool = k.at("mm/hugepages/hugepages-2048kB");
    for name in ["nr_hugepages", "nr_hugepages_mempolicy", "nr_overcommit_hugepages"] {
        pool.text(name, 0);
    }
    pool.text("free_hugepages", 0).text("resv_hugepages", 0).text("surplus_hugepages", 0);
    k.at("mm/ksm").text("run", 0).text("pages_shared", 0).text("pages_sharing", 0);

    t.at("power").text("state", "").text("wakeup_count", 0);
    t.at("module/printk/parameters").setting("time", "Y").setting("console_suspend", "N");
    let clock = t.at("devices/system/clocksource/clocksource0");
    // What programs must know is that reading the clock is cheap: it is, through the vDSO.
    clock.text("available_clocksource", "tsc").setting("current_clocksource", "tsc");
    t.at("devices/system/memory").text("block_size_bytes", "8000000");
}

fn file_systems(t: &mut Dir) {
    let features = t.at("fs/ext4/features");
    // Only what the driver does: mke2fs and e2fsck read it.
    for name in ["metadata_csum_seed", "lazy_itable_init"] {
        features.text(name, "supported");
    }
    t.at("fs/tmpfs/features");
}
