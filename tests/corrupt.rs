//! Damaged input through the real binary: file systems and programs with bytes
//! changed at random, by seed. Errors are right; a panic, a hang or a loop is not.
//!
//! A thousand images and more are mutated in-process by fs/ext4/tests/fuzz.rs; here are
//! a few whole systems (`UMBRA_ROUNDS=1000` makes them many). Programs with absurd headers
//! are guest/exec_mutations.c.

mod common;

use common::{Rng, Scratch, crashed, rounds, tool, umbra};
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const BLOCK: usize = 4096;

fn word(image: &[u8], at: usize) -> usize {
    let bytes = image[at..at + 4].try_into().expect("four bytes");
    u32::from_le_bytes(bytes) as usize
}

/// Where the structures of the first group are, as (start, length).
struct Layout {
    superblock: (usize, usize),
    group: (usize, usize),
    bitmaps: (usize, usize),
    inodes: (usize, usize),
    /// First blocks of directories.
    directories: Vec<(usize, usize)>,
}

impl Layout {
    fn of(image: &[u8]) -> Self {
        let group = BLOCK;
        let (bitmap, table) = (word(image, group) * BLOCK, word(image, group + 8) * BLOCK);
        let inode = |n: usize| table + (n - 1) * 256;
        let mut directories = Vec::new();
        for n in std::iter::once(2).chain(11..40) {
            let at = inode(n);
            if image[at + 1] >> 4 != 4 {
                continue;
            }
            // An extent in the inode (header, then block, length, start), or the old list of blocks.
            let extents = image[at + 40] == 0x0a && image[at + 41] == 0xf3;
            let block = word(image, at + if extents { 60 } else { 40 });
            directories.push((block * BLOCK, 600));
        }
        Self {
            superblock: (1024, 360),
            group: (group, 64),
            bitmaps: (bitmap, 64),
            inodes: (table, 40 * 256),
            directories,
        }
    }

    /// One to eight changes somewhere in the metadata.
    fn mutate(&self, image: &mut [u8], rng: &mut Rng) {
        for _ in 0..=rng.below(8) {
            let (start, len) = match rng.below(10) {
                0 => self.superblock,
                1 => self.group,
                2 => self.bitmaps,
                3..=6 => self.inodes,
                _ => self.directories[rng.below(self.directories.len() as u64) as usize],
            };
            let at = start + rng.below(len as u64 - 4) as usize;
            match rng.below(4) {
                0 => image[at] ^= 1 << rng.below(8),
                1 => image[at] = rng.below(256) as u8,
                2 => image[at..at + 4].fill(0xff),
                _ => image[at..at + 4].fill(0),
            }
        }
    }
}

/// Everything a system does with its files, each step whatever became of the one before. A file may
/// have become one of terabytes, nearly all hole: of such a one the beginning is read, and it goes.
const USE: &str = "b=/bin/busybox; $b find / -xdev | $b wc -l; \
    $b find / -xdev -type f ! -size +32768 | $b xargs -n 1 $b md5sum; \
    $b find / -xdev -type f -size +32768 -exec $b dd if={} of=/dev/null bs=64k count=64 \\;; \
    $b find / -xdev -type f -size +32768 -exec $b rm {} \\;; \
    $b ls -laR /a; $b df; $b mkdir /new; $b seq 5000 >/new/f; $b cp -r /a /new; $b mv /a/b /moved; \
    $b truncate -s 100 /a/big; $b rm -rf /a; $b sync; echo end";

/// Images as mke2fs makes them, with and without checksums (which catch nearly every change).
fn originals(dir: &Scratch) -> Vec<Vec<u8>> {
    let tree = dir.path("tree");
    for d in ["bin", "dev", "proc", "sys", "tmp", "a/b/c"] {
        std::fs::create_dir_all(tree.join(d)).expect("the scratch directory is writable");
    }
    std::fs::copy("/bin/busybox", tree.join("bin/busybox")).expect("busybox-static is installed");
    for n in 0..30 {
        std::fs::write(tree.join(format!("a/file-{n}")), vec![n; n as usize * 999])
            .expect("writable");
    }
    std::fs::write(tree.join("a/big"), vec![7; 300_000]).expect("writable");
    std::os::unix::fs::symlink("../file-3", tree.join("a/b/link")).expect("writable");
    std::os::unix::fs::symlink("x".repeat(100), tree.join("a/b/long")).expect("writable");
    let image = dir.path("plain");
    let mut all = Vec::new();
    for features in
        ["^metadata_csum,^has_journal", "metadata_csum", "^metadata_csum,^64bit,^extent"]
    {
        let _ = std::fs::remove_file(&image);
        let mut mke2fs = Command::new("mke2fs");
        mke2fs.args(["-q", "-t", "ext4", "-b", "4096", "-O", features, "-d"]);
        tool(mke2fs.arg(&tree).arg(&image).arg("12M"));
        all.push(std::fs::read(&image).expect("just made"));
    }
    all
}

/// What is wrong with how Umbra takes this image, if anything.
fn judge(image: &Path, rw: bool) -> Option<String> {
    let params: &[&str] = if rw { &["quiet", "mem=64M", "rw"] } else { &["quiet", "mem=64M"] };
    let mut cmd = umbra(params, image, &["/bin/busybox", "sh", "-c", USE]);
    // timeout(1) and not our own limit: a hang is one finding among others.
    let mut limited = Command::new("timeout");
    limited.args(["-s", "KILL", "60"]).arg(cmd.get_program()).args(cmd.get_args());
    cmd = limited;
    let out = common::run(&mut cmd, b"", Duration::from_secs(90));
    let err = String::from_utf8_lossy(&out.stderr);
    let tail: Vec<_> = err.lines().rev().take(12).collect();
    let tail: String = tail.into_iter().rev().map(|l| format!("    {l}\n")).collect();
    match out.status.code() {
        Some(137) | None => Some(format!("hangs\n{tail}")),
        Some(134) => Some(format!("dies\n{tail}")),
        _ if crashed(&err) => Some(format!("panics\n{tail}")),
        _ => None,
    }
}

#[test]
fn damaged_images() {
    let dir = Scratch::new("damaged");
    let originals = originals(&dir);
    for (n, o) in originals.iter().enumerate() {
        let image = dir.path("sound");
        std::fs::write(&image, o).expect("writable");
        assert_eq!(judge(&image, true), None, "the sound original {n}");
    }
    let (next, bad) = (AtomicU64::new(0), Mutex::new(String::new()));
    let total = rounds(60);
    std::thread::scope(|s| {
        for _ in 0..2 {
            s.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= total {
                        return;
                    }
                    let mut bytes = originals[seed as usize % originals.len()].clone();
                    let layout = Layout::of(&bytes);
                    layout.mutate(&mut bytes, &mut Rng::new(seed + 1));
                    let image = dir.path(&format!("{seed}.ext4"));
                    std::fs::write(&image, &bytes).expect("writable");
                    if let Some(how) = judge(&image, seed / 3 % 2 == 0) {
                        // As it was before the kernel wrote to it.
                        let kept = common::cache().join(format!("damaged-{seed}.ext4"));
                        std::fs::write(&kept, &bytes).expect("the cache is writable");
                        let mut bad = bad.lock().expect("nobody panics with it");
                        let _ = writeln!(bad, "seed {seed}, {}: {how}", kept.display());
                    }
                    let _ = std::fs::remove_file(&image);
                }
            });
        }
    });
    let bad = bad.into_inner().expect("all threads are done");
    assert!(bad.is_empty(), "{bad}");
}
