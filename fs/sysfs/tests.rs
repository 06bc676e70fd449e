//! Tests of sysfs: what programs look for, and that every link leads somewhere.

use std::sync::Arc;

use base::Errno;
use drivers::{BlockRegistry, CharRegistry, DevNum, RamDisk};

use super::tree::{Dir, Item};
use super::{NetInterface, SysFs, SysParts, SysSource};

struct Fake;

impl SysSource for Fake {
    fn cpus(&self) -> u32 {
        2
    }
    fn memory(&self) -> mm::MemStats {
        mm::MemStats { total: 1000, free: 400, ..mm::MemStats::default() }
    }
    fn interfaces(&self) -> Vec<NetInterface> {
        vec![NetInterface {
            name: "lo".into(),
            index: 1,
            mtu: 65536,
            kind: 772,
            flags: 0x49,
            address: vec![0; 6],
            ..NetInterface::default()
        }]
    }
}

fn tree() -> Arc<Dir> {
    let blocks = Arc::new(BlockRegistry::new());
    blocks.register_ubd(0, Arc::new(RamDisk::new(vec![0; 1 << 20], false, None))).unwrap();
    let parts = SysParts { source: Arc::new(Fake), blocks, chars: Arc::new(CharRegistry::new()) };
    SysFs::new(parts, DevNum::new(0, 22)).tree()
}

/// Walks with links followed.
fn find(root: &Arc<Dir>, path: &str) -> Option<Item> {
    let mut stack = vec![root.clone()];
    let mut parts: Vec<String> =
        path.split('/').rev().filter(|p| !p.is_empty()).map(str::to_owned).collect();
    while let Some(part) = parts.pop() {
        if part == ".." {
            stack.pop();
            continue;
        }
        let item = stack.last()?.items.get(&part)?.clone();
        match item {
            Item::Dir(d) => stack.push(d),
            Item::Link(to) => parts.extend(to.split('/').rev().map(str::to_owned)),
            file if parts.is_empty() => return Some(file),
            _ => return None,
        }
    }
    stack.pop().map(Item::Dir)
}

fn read(root: &Arc<Dir>, path: &str) -> String {
    match find(root, path) {
        Some(Item::File { show, .. }) => show(),
        _ => panic!("no file {path}"),
    }
}

#[test]
fn what_programs_read() {
    let t = tree();
    assert_eq!(read(&t, "devices/system/cpu/online"), "0-1\n");
    assert_eq!(read(&t, "devices/system/cpu/cpu1/topology/core_siblings"), "3\n");
    assert_eq!(read(&t, "block/ubda/size"), "2048\n");
    assert_eq!(read(&t, "dev/block/98:0/dev"), "98:0\n");
    assert_eq!(read(&t, "class/block/ubda/queue/rotational"), "0\n");
    assert_eq!(read(&t, "kernel/mm/transparent_hugepage/enabled"), "always [madvise] never\n");
    assert_eq!(read(&t, "class/net/lo/mtu"), "65536\n");
    assert_eq!(read(&t, "class/net/lo/operstate"), "unknown\n");
    assert_eq!(read(&t, "class/tty/console/active"), "tty0\n");
    assert!(
        read(&t, "devices/system/node/node0/meminfo")
            .starts_with("Node 0 MemTotal:           4000 kB\n")
    );
    let stat = read(&t, "block/ubda/stat");
    assert_eq!(stat.split_whitespace().count(), 17);
}

#[test]
fn choices_can_be_made() {
    let t = tree();
    let Some(Item::File { show, store: Some(store), .. }) =
        find(&t, "kernel/mm/transparent_hugepage/enabled")
    else {
        panic!("it can be written")
    };
    store("never").unwrap();
    assert_eq!(show(), "always madvise [never]\n");
    assert_eq!(store("x").unwrap_err().errno(), Errno::EINVAL);
}

#[test]
fn every_link_leads_somewhere() {
    fn walk(root: &Arc<Dir>, dir: &Arc<Dir>, at: &str) -> usize {
        let mut links = 0;
        for (name, item) in &dir.items {
            let path = format!("{at}/{name}");
            match item {
                Item::Dir(d) => links += walk(root, d, &path),
                Item::Link(to) => {
                    assert!(find(root, &format!("{at}/{to}")).is_some(), "{path} -> {to}");
                    links += 1;
                }
                Item::File { .. } => {}
            }
        }
        links
    }
    let t = tree();
    assert!(walk(&t, &t, "") > 10);
}
