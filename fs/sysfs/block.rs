//! Disks: /sys/devices/virtual/block, /sys/block, /sys/class/block, /sys/dev/block. What lsblk, mke2fs and udev read.

use std::sync::Arc;

use drivers::{BlockDevice as _, BlockRegistry, Disk};

use super::tree::Dir;

pub(crate) fn fill(t: &mut Dir, blocks: &BlockRegistry) {
    for (i, disk) in (1..).zip(blocks.list()) {
        let (name, dev) = (disk.name().to_owned(), disk.dev());
        one(t.at(&format!("devices/virtual/block/{name}")), &disk, i);
        let (ma, mi) = (dev.major, dev.minor);
        t.link(&format!("block/{name}"), &format!("../devices/virtual/block/{name}"));
        t.link(&format!("class/block/{name}"), &format!("../../devices/virtual/block/{name}"));
        t.link(&format!("dev/block/{ma}:{mi}"), &format!("../../devices/virtual/block/{name}"));
    }
}

fn one(d: &mut Dir, disk: &Arc<Disk>, seq: u32) {
    let dev = disk.dev();
    d.text("dev", format_args!("{}:{}", dev.major, dev.minor))
        .text("ro", u8::from(disk.read_only()))
        .text("removable", 0)
        .text("range", drivers::registry::UBD_MINORS)
        .text("ext_range", 256)
        .text("hidden", 0)
        .text("capability", 0)
        .text("alignment_offset", 0)
        .text("discard_alignment", 0)
        .text("diskseq", seq)
        .text("partscan", 0)
        .text("events", "")
        .text("events_async", "")
        .text("events_poll_msecs", -1)
        .link("subsystem", "../../../../class/block");
    d.text(
        "uevent",
        format_args!(
            "MAJOR={}\nMINOR={}\nDEVNAME={}\nDEVTYPE=disk\nDISKSEQ={seq}",
            dev.major,
            dev.minor,
            disk.name()
        ),
    );
    for empty in ["holders", "slaves", "power", "trace"] {
        d.at(empty);
    }
    let of = disk.clone();
    d.live("size", move || format!("{}\n", of.len() / 512));
    let of = disk.clone();
    d.live("inflight", move || format!("{:8} {:8}\n", of.stats().in_flight, 0));
    let of = disk.clone();
    d.live("stat", move || {
        let fields = of.stats().line();
        let padded: Vec<_> = fields.split(' ').map(|f| format!("{f:>8}")).collect();
        padded.join(" ") + "\n"
    });
    let q = d.at("queue");
    for (name, value) in [
        ("add_random", "0"),
        ("chunk_sectors", "0"),
        ("dax", "0"),
        ("discard_granularity", "4096"),
        ("discard_max_bytes", "2147479552"),
        ("discard_max_hw_bytes", "2147479552"),
        ("discard_zeroes_data", "0"),
        ("dma_alignment", "511"),
        ("fua", "0"),
        ("hw_sector_size", "512"),
        ("io_poll", "0"),
        ("iostats", "1"),
        ("logical_block_size", "512"),
        ("max_discard_segments", "1"),
        ("max_hw_sectors_kb", "1280"),
        ("max_sectors_kb", "1280"),
        ("max_segment_size", "65536"),
        ("max_segments", "128"),
        ("minimum_io_size", "512"),
        ("nomerges", "0"),
        ("nr_requests", "128"),
        ("nr_zones", "0"),
        ("optimal_io_size", "0"),
        ("physical_block_size", "512"),
        ("rotational", "0"),
        ("rq_affinity", "1"),
        ("stable_writes", "0"),
        ("write_cache", "write back"),
        ("write_same_max_bytes", "0"),
        ("write_zeroes_max_bytes", "0"),
        ("zone_append_max_bytes", "0"),
        ("zoned", "none"),
    ] {
        q.text(name, value);
    }
    q.setting("read_ahead_kb", "128");
    q.choice("scheduler", &["none"], "none");
}
