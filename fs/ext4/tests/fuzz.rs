//! Damaged images: whatever the disk says, there are errors, and no panic and no endless loop.

use std::time::{Duration, Instant};

use super::*;

/// Looks at everything, up to bounds; returns how many inodes were seen.
fn walk(dir: &Arc<Inode>, depth: usize, left: &mut usize) {
    let mut names = Vec::new();
    let mut pos = 0;
    for _ in 0..4 {
        let before = pos;
        let _ = dir.ops.read_dir(pos, &mut |e| {
            pos = e.next;
            names.push(e.name.to_vec());
            names.len() < 400
        });
        if pos == before {
            break;
        }
    }
    let _ = dir.ops.list_xattr();
    for n in names.iter().filter(|n| *n != b"." && *n != b"..") {
        if *left == 0 {
            return;
        }
        *left -= 1;
        let Ok(i) = dir.ops.lookup(n) else { continue };
        let _ = i.ops.attr();
        let _ = i.ops.read_link();
        let _ = i.ops.list_xattr();
        let _ = i.ops.get_xattr(b"user.x");
        if let Some(p) = i.ops.page_cache() {
            let size = i.ops.attr().map_or(0, |a| a.size);
            let mut sink = VecSink::new(2 << 20);
            for at in [0, size / 2, size.saturating_sub(70_000)] {
                let _ = p.read(at, &mut sink, 200_000);
            }
            let _ = i.ops.seek_hole_data(0, true);
            let _ = i.ops.seek_hole_data(0, false);
        }
        if i.kind == FileType::Directory && depth < 5 {
            walk(&i, depth + 1, left);
        }
    }
}

fn change(w: &World, rng: &mut Rng) {
    let root = w.root();
    for i in 0..8 {
        let _ = make(&root, &format!("new{i}"), FileType::Regular)
            .map(|f| write(&f, i * 50_000, &[1; 9000]));
    }
    let _ = make(&root, "newdir", FileType::Directory);
    for n in list_safe(&root) {
        let Ok(i) = lookup(&root, &n) else { continue };
        match rng.below(4) {
            0 if n != "." && n != ".." => drop(unlink(&root, &n)),
            1 if i.kind == FileType::Regular => drop(truncate(&i, rng.below(100_000))),
            2 if i.kind == FileType::Regular => drop(i.ops.fallocate(3, rng.below(50_000), 30_000)),
            3 => drop(i.ops.set_xattr(b"user.x", Some(&[3; 200]), 0)),
            _ => {}
        }
        if i.kind == FileType::Directory && n.len() > 2 {
            for (k, m) in list_safe(&i).into_iter().enumerate() {
                if k % 2 == 0 && m != "." && m != ".." {
                    let _ = unlink(&i, &m);
                }
            }
            for k in 0..20 {
                let _ = make(&i, &format!("another-new-name-{k}"), FileType::Regular);
            }
        }
    }
    drop(root);
    let _ = w.fs().sync();
}

fn list_safe(dir: &Inode) -> Vec<String> {
    let mut names = Vec::new();
    let _ = dir.ops.read_dir(0, &mut |e| {
        names.push(String::from_utf8_lossy(e.name).into_owned());
        names.len() < 300
    });
    names
}

/// Byte ranges of an image where damage tells: superblock and descriptors, inode table, directories, maps.
fn targets(image: &[u8], block: usize) -> Vec<(usize, usize)> {
    let mut list = vec![(1024, 2048), (2048, 4096)];
    for (n, b) in image.chunks(block).enumerate() {
        let words = |at: usize| u16::from_le_bytes([b[at], b[at + 1]]);
        let extent = words(0) == 0xf30a;
        let dir = words(4) == 12 && b[6] == 1 && b[8] == b'.';
        let used = b.iter().any(|&x| x != 0);
        let map = used
            && b.len() >= 8
            && b[2..4] == [0, 0]
            && b[6..8] == [0, 0]
            && words(4) == words(0).wrapping_add(1);
        if extent || dir || map {
            list.push((n * block, n * block + block));
        }
    }
    list
}

fn campaign(kind: &str, count: u64, seed: u64, fix_sums: bool) {
    let tree = temp("fuzztree");
    std::fs::create_dir_all(tree.join("dir")).unwrap();
    for i in 0..120 {
        std::fs::write(tree.join(format!("dir/file-with-some-name-{i}")), format!("{i}")).unwrap();
    }
    std::fs::write(tree.join("big"), pattern(400_000, 1)).unwrap();
    let holes = std::fs::File::create(tree.join("holes")).unwrap();
    for i in 0..20u64 {
        std::os::unix::fs::FileExt::write_at(&holes, b"data", i * 20_000).unwrap();
    }
    std::os::unix::fs::symlink("y".repeat(100), tree.join("link")).unwrap();
    let Some(image) = mke2fs(kind, 2, Some(&tree)) else { return };
    std::fs::remove_dir_all(&tree).unwrap();
    let block = if kind.contains("4096") { 4096 } else { 1024 };
    let spots = targets(&image, block);
    // The first blocks hold the inode table of the first group somewhere: find it by the root's mode.
    let mut rng = Rng(seed | 1);
    let table =
        (0..image.len() - 4).step_by(128).find(|&i| i > 4096 && image[i..i + 2] == [0xed, 0x41]);
    // A longer campaign: UMBRA_FUZZ=ROUNDS with another seed each.
    let rounds: u64 = std::env::var("UMBRA_FUZZ").ok().and_then(|v| v.parse().ok()).unwrap_or(1);
    let (mut mounted, mut writable) = (0, 0);
    for n in 0..count * rounds {
        let mut bad = image.clone();
        for _ in 0..1 + rng.below(6) {
            let (a, b) = match (rng.below(3), table) {
                (0, Some(t)) => (t, (t + 40 * 256).min(bad.len())),
                _ => spots[rng.below(spots.len() as u64) as usize],
            };
            let at = a + rng.below((b - a) as u64) as usize;
            match rng.below(4) {
                0 => bad[at] ^= 1 << rng.below(8),
                1 => bad[at] = rng.next() as u8,
                2 => bad[at..(at + 4).min(b)].fill(0xff),
                _ => {
                    let n = rng.below(16) as usize + 1;
                    for x in &mut bad[at..(at + n).min(b)] {
                        *x = rng.next() as u8;
                    }
                }
            }
        }
        if fix_sums {
            bad[1024 + 0x38..1024 + 0x3a].copy_from_slice(&[0x53, 0xef]);
        }
        let start = Instant::now();
        for read_only in [true, false] {
            if let Ok(w) = World::try_new(bad.clone(), read_only) {
                let mut left = 2000;
                mounted += 1;
                walk(&w.root(), 0, &mut left);
                let _ = w.fs().statfs();
                if !w.fs().is_read_only() {
                    writable += 1;
                    change(&w, &mut rng);
                    let mut left = 2000;
                    walk(&w.root(), 0, &mut left);
                }
                let _ = w.fs().unmount();
            }
        }
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "mutation {n} of {kind} took {:?}",
            start.elapsed()
        );
    }
    println!("{kind}: {mounted} mounts, {writable} of them for writing");
    assert!(writable > 0);
}

#[test]
fn damaged_ext4_without_checksums() {
    campaign("-t ext4 -b 1024 -O ^metadata_csum,^has_journal,^resize_inode -N 256", 400, 11, true);
}

#[test]
fn damaged_ext4_with_checksums() {
    campaign("-t ext4 -b 1024 -O ^has_journal,^resize_inode -N 256", 200, 22, false);
}

#[test]
fn damaged_ext2() {
    campaign("-t ext2 -b 1024 -O ^resize_inode -N 256", 300, 33, true);
}

#[test]
fn damaged_ext3_of_large_blocks() {
    campaign("-t ext2 -b 4096 -O ^resize_inode -N 256", 100, 44, true);
}
