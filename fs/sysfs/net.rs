//! Network interfaces: /sys/devices/virtual/net and /sys/class/net.

use std::sync::Arc;

use super::tree::Dir;
use super::{NetInterface, SysSource};

const IFF_UP: u32 = 1;
const IFF_RUNNING: u32 = 0x40;

fn mac(address: &[u8]) -> String {
    let bytes: Vec<_> = address.iter().map(|b| format!("{b:02x}")).collect();
    bytes.join(":")
}

pub(crate) fn fill(t: &mut Dir, source: &Arc<dyn SysSource>) {
    for i in source.interfaces() {
        let home = format!("devices/virtual/net/{}", i.name);
        one(t.at(&home), &i, source);
        t.link(&format!("class/net/{}", i.name), &format!("../../{home}"));
    }
}

/// The interface as it is when the file is read.
fn live(
    d: &mut Dir,
    path: &str,
    name: &str,
    source: &Arc<dyn SysSource>,
    show: impl Fn(&NetInterface) -> String + Send + Sync + 'static,
) {
    let (name, source) = (name.to_owned(), source.clone());
    d.live(path, move || {
        let found = source.interfaces().into_iter().find(|i| i.name == name);
        found.map_or_else(String::new, |i| show(&i) + "\n")
    });
}

fn one(d: &mut Dir, i: &NetInterface, source: &Arc<dyn SysSource>) {
    d.text("address", mac(&i.address))
        .text("addr_len", i.address.len())
        .text("broadcast", mac(&i.broadcast))
        .text("ifindex", i.index)
        .text("iflink", i.index)
        .text("type", i.kind)
        .text("dev_id", "0x0")
        .text("dev_port", 0)
        .text("dormant", 0)
        .text("link_mode", 0)
        .text("tx_queue_len", 1000)
        .text("gro_flush_timeout", 0)
        .text("name_assign_type", 3)
        .text("uevent", format_args!("INTERFACE={}\nIFINDEX={}", i.name, i.index))
        .link("subsystem", "../../../../class/net");
    d.at("queues/rx-0");
    d.at("queues/tx-0");
    let name = &i.name;
    live(d, "mtu", name, source, |i| i.mtu.to_string());
    live(d, "flags", name, source, |i| format!("{:#x}", i.flags));
    live(d, "carrier", name, source, |i| u8::from(i.flags & IFF_RUNNING != 0).to_string());
    live(d, "operstate", name, source, |i| {
        let state = match (i.flags & IFF_UP != 0, i.kind) {
            (_, 772) => "unknown", // a loopback interface has no carrier to speak of
            (true, _) => "up",
            (false, _) => "down",
        };
        state.to_owned()
    });
    for (n, what) in (0..).zip(["packets", "bytes", "errors", "dropped"]) {
        let n: usize = n;
        live(d, &format!("statistics/rx_{what}"), name, source, move |i| i.rx[n].to_string());
        live(d, &format!("statistics/tx_{what}"), name, source, move |i| i.tx[n].to_string());
    }
    for name in ["collisions", "multicast", "rx_crc_errors", "rx_fifo_errors", "tx_fifo_errors"] {
        d.text(&format!("statistics/{name}"), 0);
    }
}
