//! Tests against e2fsprogs: images come from mke2fs, and e2fsck must find nothing to complain about after
//! every test that writes. Without mke2fs they say so and pass.

mod bench;
mod dirs;
mod files;
mod fuzz;
mod linux;
mod model;
mod threads;

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arch::fake::FakeMachine;
use base::iobuf::{SliceSource, VecSink};
use base::{PAGE_SIZE, Result};
use drivers::ramdisk::RamDisk;
use drivers::{BlockDevice, DevNum};
use mm::Memory;

use super::Ext4;
use crate::inode::{Attr, FileSystem, FileType, Inode, NewInode, RenameFlags, SetAttr};

/// Feature sets and sizes that most tests run through.
pub(super) const KINDS: &[&str] = &[
    "-t ext2 -b 1024",
    "-t ext2 -b 4096 -I 128 -O ^dir_index,^filetype",
    "-t ext3 -b 1024",
    "-t ext3 -b 4096",
    "-t ext4 -b 1024",
    "-t ext4 -b 2048",
    "-t ext4 -b 4096",
    "-t ext4 -b 4096 -O ^metadata_csum,uninit_bg",
    "-t ext4 -b 1024 -O metadata_csum_seed,^64bit,sparse_super2",
    "-t ext4 -b 4096 -I 512 -O large_dir,orphan_file",
    "-t ext4 -b 4096 -O ^has_journal",
    "-t ext4 -b 1024 -O meta_bg,^resize_inode,^flex_bg",
];

static SERIAL: AtomicU32 = AtomicU32::new(0);

/// A name in the temporary directory that nobody else has.
pub(super) fn temp(what: &str) -> PathBuf {
    let n = SERIAL.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("umbra-ext4-{}-{n}-{what}", std::process::id()))
}

fn tool(name: &str) -> Command {
    let mut c = Command::new(name);
    let path = std::env::var("PATH").unwrap_or_default();
    c.env("PATH", format!("{path}:/usr/sbin:/sbin")).env("MKE2FS_SYNC", "0");
    c
}

/// An image of `mb` MiB, or None without mke2fs.
pub(super) fn mke2fs(options: &str, mb: u32, tree: Option<&std::path::Path>) -> Option<Vec<u8>> {
    let file = temp("img");
    let mut c = tool("mke2fs");
    c.args(["-q", "-F"]).args(options.split_whitespace());
    if let Some(t) = tree {
        c.arg("-d").arg(t);
    }
    c.arg(&file).arg(format!("{mb}M")).stdin(Stdio::null());
    let out = match c.output() {
        Ok(o) => o,
        Err(e) => {
            println!("skipped: no mke2fs ({e})");
            return None;
        }
    };
    assert!(out.status.success(), "mke2fs {options}: {}", String::from_utf8_lossy(&out.stderr));
    let bytes = std::fs::read(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    Some(bytes)
}

/// What a file system on a RAM disk needs.
pub(super) struct World {
    pub(super) disk: Arc<RamDisk>,
    pub(super) memory: Arc<Memory>,
    pub(super) fs: Option<Arc<Ext4>>,
}

impl World {
    pub(super) fn try_new(image: Vec<u8>, read_only: bool) -> Result<World> {
        let machine = FakeMachine::new(16384);
        let memory = Memory::new(machine);
        let phys = memory.machine().phys().clone();
        let disk = Arc::new(RamDisk::new(image, false, Some(phys)));
        let fs = Ext4::mount("ext4", DevNum::new(98, 0), disk.clone(), &memory, read_only)?;
        Ok(World { disk, memory, fs: Some(fs) })
    }
    pub(super) fn new(image: Vec<u8>) -> World {
        World::try_new(image, false).unwrap()
    }
    pub(super) fn fs(&self) -> &Arc<Ext4> {
        self.fs.as_ref().unwrap()
    }
    pub(super) fn root(&self) -> Arc<Inode> {
        self.fs().root()
    }
    /// Unmounts and mounts again; e2fsck looks at the image between.
    pub(super) fn remount(&mut self) {
        self.unmount();
        let dev: Arc<dyn BlockDevice> = self.disk.clone();
        self.fs = Some(Ext4::mount("ext4", DevNum::new(98, 0), dev, &self.memory, false).unwrap());
    }
    pub(super) fn unmount(&mut self) {
        let fs = self.fs.take().unwrap();
        fs.unmount().unwrap();
        assert_eq!(Arc::strong_count(&fs), 1, "inodes are still in memory");
        fsck(&self.disk.contents());
    }
    pub(super) fn memory_sink(inode: &Inode, off: u64, len: usize) -> Vec<u8> {
        let size = inode.ops.attr().unwrap().size;
        let len = len.min(size.saturating_sub(off) as usize);
        let mut sink = VecSink::new(len);
        let pages = inode.ops.page_cache().unwrap();
        while sink.data.len() < len {
            let at = off + sink.data.len() as u64;
            let n = len - sink.data.len();
            assert!(pages.read(at, &mut sink, n).unwrap() > 0);
        }
        sink.data
    }
}

/// Runs e2fsck over an image; it must find nothing.
pub(super) fn fsck(image: &[u8]) {
    let file = temp("fsck");
    std::fs::write(&file, image).unwrap();
    let out = tool("e2fsck").args(["-fn"]).arg(&file).stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    if !out.status.success() {
        let keep = temp("bad");
        std::fs::rename(&file, &keep).unwrap();
        panic!("e2fsck -fn {}: {:?}\n{text}", keep.display(), out.status);
    }
    std::fs::remove_file(&file).unwrap();
}

/// Runs a debugfs command over an image.
pub(super) fn debugfs(image: &[u8], command: &str) -> String {
    let file = temp("debugfs");
    std::fs::write(&file, image).unwrap();
    let out =
        tool("debugfs").args(["-R", command]).arg(&file).stdin(Stdio::null()).output().unwrap();
    std::fs::remove_file(&file).unwrap();
    String::from_utf8_lossy(&out.stdout).into_owned()
}

pub(super) fn make(dir: &Inode, name: &str, kind: FileType) -> Result<Arc<Inode>> {
    let new = NewInode { kind, perm: 0o755, uid: 0, gid: 0, rdev: DevNum::new(0, 0), target: &[] };
    dir.ops.create(name.as_bytes(), &new)
}
pub(super) fn file(dir: &Inode, name: &str) -> Arc<Inode> {
    make(dir, name, FileType::Regular).unwrap()
}
pub(super) fn mkdir(dir: &Inode, name: &str) -> Arc<Inode> {
    make(dir, name, FileType::Directory).unwrap()
}
pub(super) fn lookup(dir: &Inode, name: &str) -> Result<Arc<Inode>> {
    dir.ops.lookup(name.as_bytes())
}
pub(super) fn unlink(dir: &Inode, name: &str) -> Result<()> {
    let victim = lookup(dir, name)?;
    if victim.kind == FileType::Directory {
        dir.ops.rmdir(name.as_bytes(), &victim)
    } else {
        dir.ops.unlink(name.as_bytes(), &victim)
    }
}
pub(super) fn rename(a: &Inode, from: &str, b: &Inode, to: &str, flags: RenameFlags) -> Result<()> {
    let moved = lookup(a, from)?;
    let replaced = lookup(b, to).ok();
    a.ops.rename(from.as_bytes(), &moved, b, to.as_bytes(), replaced.as_deref(), flags)
}
/// As the VFS writes: in chunks of 64 KiB.
pub(super) fn write(inode: &Inode, off: u64, data: &[u8]) -> Result<()> {
    let pages = inode.ops.page_cache().unwrap();
    let mut done = 0;
    while done < data.len() {
        let n = (data.len() - done).min(65536);
        let at = off + done as u64;
        inode.ops.prepare_write(at, n)?;
        let got = pages.write(at, &mut SliceSource(&data[done..done + n]), n)?;
        inode.ops.commit_write(at + got as u64, arch::clock::realtime())?;
        done += got;
    }
    Ok(())
}
pub(super) fn read(inode: &Inode) -> Vec<u8> {
    World::memory_sink(inode, 0, usize::MAX)
}
pub(super) fn truncate(inode: &Inode, size: u64) -> Result<()> {
    inode.ops.set_attr(&SetAttr { size: Some(size), ..SetAttr::default() })
}
pub(super) fn attr(inode: &Inode) -> Attr {
    inode.ops.attr().unwrap()
}
/// Names in a directory, read `step` at a time.
pub(super) fn list(dir: &Inode, step: usize) -> Vec<String> {
    let mut names = Vec::new();
    let mut pos = 0;
    loop {
        let mut n = 0;
        dir.ops
            .read_dir(pos, &mut |e| {
                if n == step {
                    return false;
                }
                n += 1;
                pos = e.next;
                names.push(String::from_utf8_lossy(e.name).into_owned());
                true
            })
            .unwrap();
        if n < step {
            return names;
        }
    }
}
/// Bytes that tell their place.
pub(super) fn pattern(len: usize, seed: u64) -> Vec<u8> {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            (x >> 24) as u8
        })
        .collect()
}
/// A small generator for choices.
pub(super) struct Rng(pub(super) u64);
impl Rng {
    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }
}

const _: () = assert!(PAGE_SIZE == 4096);
