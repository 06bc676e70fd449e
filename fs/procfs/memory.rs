//! Files about memory: meminfo, vmstat, buddyinfo.

use std::fmt::Write as _;

use base::Result;

use super::Ctx;

/// /proc/meminfo: every line that Linux has, those without a counterpart here as 0.
pub(crate) fn meminfo(c: &Ctx<'_>) -> Result<Vec<u8>> {
    let m = c.source().memory();
    let kb = |pages: u64| pages * 4;
    // Linux splits files into active and inactive; here all file pages may be given up alike.
    let file = m.cached.saturating_sub(m.shmem);
    let rows: [(&str, u64); 53] = [
        ("MemTotal", kb(m.total)),
        ("MemFree", kb(m.free)),
        ("MemAvailable", kb(m.available)),
        ("Buffers", 0),
        ("Cached", kb(m.cached)),
        ("SwapCached", 0),
        ("Active", kb(m.anon)),
        ("Inactive", kb(file + m.shmem)),
        ("Active(anon)", kb(m.anon)),
        ("Inactive(anon)", kb(m.shmem)),
        ("Active(file)", 0),
        ("Inactive(file)", kb(file)),
        ("Unevictable", kb(m.locked)),
        ("Mlocked", kb(m.locked)),
        ("SwapTotal", 0),
        ("SwapFree", 0),
        ("Zswap", 0),
        ("Zswapped", 0),
        ("Dirty", kb(m.dirty)),
        ("Writeback", kb(m.writeback)),
        ("AnonPages", kb(m.anon)),
        ("Mapped", kb(m.mapped)),
        ("Shmem", kb(m.shmem)),
        ("KReclaimable", 0),
        ("Slab", kb(m.kernel)),
        ("SReclaimable", 0),
        ("SUnreclaim", kb(m.kernel)),
        ("KernelStack", 0),
        ("PageTables", kb(m.page_tables)),
        ("SecPageTables", 0),
        ("NFS_Unstable", 0),
        ("Bounce", 0),
        ("WritebackTmp", 0),
        ("CommitLimit", kb(m.commit_limit)),
        ("Committed_AS", kb(m.committed)),
        ("VmallocTotal", 34_359_738_367),
        ("VmallocUsed", 0),
        ("VmallocChunk", 0),
        ("Percpu", 0),
        ("AnonHugePages", 0),
        ("ShmemHugePages", 0),
        ("ShmemPmdMapped", 0),
        ("FileHugePages", 0),
        ("FilePmdMapped", 0),
        ("HugePages_Total", 0),
        ("HugePages_Free", 0),
        ("HugePages_Rsvd", 0),
        ("HugePages_Surp", 0),
        ("Hugepagesize", 2048),
        ("Hugetlb", 0),
        ("DirectMap4k", kb(m.total)),
        ("DirectMap2M", 0),
        ("DirectMap1G", 0),
    ];
    let mut out = String::new();
    for (name, n) in rows {
        let unit = if name.starts_with("HugePages_") { "" } else { " kB" };
        let _ = writeln!(out, "{:<16}{n:8}{unit}", format!("{name}:"));
    }
    Ok(out.into_bytes())
}

/// /proc/vmstat.
pub(crate) fn vmstat(c: &Ctx<'_>) -> Result<Vec<u8>> {
    use drivers::BlockDevice as _;
    let m = c.source().memory();
    let s = c.source().system();
    let file = m.cached.saturating_sub(m.shmem);
    let (mut paged_in, mut paged_out) = (0, 0);
    for d in c.source().disks().map(|r| r.list()).unwrap_or_default() {
        let st = d.stats();
        // Sectors to KiB.
        paged_in += st.read_sectors / 2;
        paged_out += if d.read_only() { 0 } else { st.write_sectors / 2 };
    }
    let [faults, major] = s.faults;
    let rows = [
        ("nr_free_pages", m.free),
        ("nr_zone_inactive_anon", m.shmem),
        ("nr_zone_active_anon", m.anon),
        ("nr_zone_inactive_file", file),
        ("nr_zone_active_file", 0),
        ("nr_zone_unevictable", m.locked),
        ("nr_zone_write_pending", m.dirty + m.writeback),
        ("nr_mlock", m.locked),
        ("nr_bounce", 0),
        ("nr_free_cma", 0),
        ("nr_inactive_anon", m.shmem),
        ("nr_active_anon", m.anon),
        ("nr_inactive_file", file),
        ("nr_active_file", 0),
        ("nr_unevictable", m.locked),
        ("nr_slab_reclaimable", 0),
        ("nr_slab_unreclaimable", m.kernel),
        ("nr_isolated_anon", 0),
        ("nr_isolated_file", 0),
        ("nr_anon_pages", m.anon),
        ("nr_mapped", m.mapped),
        ("nr_file_pages", m.cached),
        ("nr_dirty", m.dirty),
        ("nr_writeback", m.writeback),
        ("nr_writeback_temp", 0),
        ("nr_shmem", m.shmem),
        ("nr_kernel_stack", 0),
        ("nr_page_table_pages", m.page_tables),
        ("nr_anon_transparent_hugepages", 0),
        ("nr_swapcached", 0),
        ("pgpgin", paged_in),
        ("pgpgout", paged_out),
        ("pswpin", 0),
        ("pswpout", 0),
        ("pgalloc_normal", 0),
        ("pgfree", 0),
        ("pgfault", faults),
        ("pgmajfault", major),
        ("pgsteal_kswapd", 0),
        ("pgsteal_direct", 0),
        ("pgscan_kswapd", 0),
        ("pgscan_direct", 0),
        ("drop_pagecache", 0),
        ("drop_slab", 0),
        ("oom_kill", s.oom_kills),
        ("thp_fault_alloc", 0),
        ("swap_ra", 0),
        ("swap_ra_hit", 0),
        ("nr_unstable", 0),
    ];
    let mut out = String::new();
    for (name, n) in rows {
        let _ = writeln!(out, "{name} {n}");
    }
    Ok(out.into_bytes())
}

/// /proc/buddyinfo: free memory as if it were one block of each size that its number of pages has.
pub(crate) fn buddyinfo(c: &Ctx<'_>) -> Result<Vec<u8>> {
    let free = c.source().memory().free;
    let mut out = String::from("Node 0, zone   Normal ");
    for order in 0..11 {
        let n = if order == 10 { free >> 10 } else { (free >> order) & 1 };
        let _ = write!(out, "{n:6} ");
    }
    out.push('\n');
    Ok(out.into_bytes())
}

/// /proc/slabinfo: there are no slabs, only the header.
pub(crate) fn slabinfo(_: &Ctx<'_>) -> Result<Vec<u8>> {
    Ok(b"slabinfo - version: 2.1\n\
# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> : tunables \
<limit> <batchcount> <sharedfactor> : slabdata <active_slabs> <num_slabs> <sharedavail>\n"
        .to_vec())
}

/// /proc/iomem.
pub(crate) fn iomem(c: &Ctx<'_>) -> Result<Vec<u8>> {
    let end = c.source().memory().total * 4096;
    Ok(format!("00000000-{:08x} : System RAM\n", end.saturating_sub(1)).into_bytes())
}
