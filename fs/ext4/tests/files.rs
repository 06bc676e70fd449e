//! Data: what mke2fs -d put there, writing, growing, shrinking, holes, full disks.

use base::Errno;

use super::*;

#[test]
fn reads_a_tree_made_by_mke2fs() {
    let tree = temp("tree");
    std::fs::create_dir_all(tree.join("a/b")).unwrap();
    for (i, n) in [0usize, 1, 59, 4096, 70_001, 3 << 20].iter().enumerate() {
        std::fs::write(tree.join(format!("a/f{i}")), pattern(*n, i as u64)).unwrap();
    }
    for i in 0..700 {
        std::fs::write(tree.join(format!("a/b/some-longer-name-{i}")), format!("{i}")).unwrap();
    }
    std::os::unix::fs::symlink("a/f1", tree.join("short")).unwrap();
    std::os::unix::fs::symlink("x".repeat(200), tree.join("long")).unwrap();
    for kind in KINDS {
        let Some(image) = mke2fs(kind, 24, Some(&tree)) else { return };
        let w = World::try_new(image.clone(), true).unwrap();
        let a = lookup(&w.root(), "a").unwrap();
        for (i, n) in [0usize, 1, 59, 4096, 70_001, 3 << 20].iter().enumerate() {
            assert_eq!(
                read(&lookup(&a, &format!("f{i}")).unwrap()),
                pattern(*n, i as u64),
                "{kind}"
            );
        }
        let b = lookup(&a, "b").unwrap();
        assert_eq!(list(&b, 17).len(), 702, "{kind}");
        for i in 0..700 {
            let f = lookup(&b, &format!("some-longer-name-{i}")).unwrap();
            assert_eq!(read(&f), format!("{i}").as_bytes());
        }
        assert_eq!(lookup(&b, "none").unwrap_err(), Errno::ENOENT);
        assert_eq!(lookup(&w.root(), "short").unwrap().ops.read_link().unwrap(), b"a/f1");
        assert_eq!(lookup(&w.root(), "long").unwrap().ops.read_link().unwrap(), [b'x'; 200]);
        assert_eq!(make(&a, "no", FileType::Regular).unwrap_err(), Errno::EROFS);
        assert_eq!(w.disk.contents(), image, "a read-only mount writes nothing");
    }
    std::fs::remove_dir_all(&tree).unwrap();
}

#[test]
fn writes_survive_a_remount() {
    for kind in KINDS {
        let Some(image) = mke2fs(kind, 32, None) else { return };
        let mut w = World::new(image);
        let data = pattern(5_000_123, 1);
        {
            let root = w.root();
            let f = file(&root, "big");
            write(&f, 0, &data).unwrap();
            let g = file(&root, "sparse");
            write(&g, 9_000_000, b"end").unwrap();
            write(&g, 70_000, b"middle").unwrap();
            assert!(attr(&g).blocks < 100);
            let h = file(&root, "cut");
            write(&h, 0, &data[..300_000]).unwrap();
            truncate(&h, 100_001).unwrap();
            truncate(&h, 200_000).unwrap();
        }
        w.remount();
        {
            let root = w.root();
            assert!(read(&lookup(&root, "big").unwrap()) == data, "{kind}");
            let g = read(&lookup(&root, "sparse").unwrap());
            assert_eq!(
                (g.len(), &g[9_000_000..], &g[70_000..70_006]),
                (9_000_003, &b"end"[..], &b"middle"[..])
            );
            assert_eq!(g.iter().filter(|&&b| b != 0).count(), 9);
            let h = read(&lookup(&root, "cut").unwrap());
            assert!(h[..100_001] == data[..100_001] && h[100_001..].iter().all(|&b| b == 0));
            let before = w.fs().statfs().unwrap().free;
            for n in ["big", "sparse", "cut"] {
                unlink(&root, n).unwrap();
            }
            assert!(w.fs().statfs().unwrap().free > before + 4_000_000 / 4096);
        }
        w.unmount();
    }
}

#[test]
fn interleaved_writers_stay_contiguous() {
    let Some(image) = mke2fs("-t ext4 -b 4096", 256, None) else { return };
    let mut w = World::new(image);
    {
        let root = w.root();
        let files: Vec<_> = (0..4).map(|i| file(&root, &format!("f{i}"))).collect();
        for i in 0..256u64 {
            for f in &files {
                write(f, i * 65536, &vec![i as u8; 65536]).unwrap();
            }
        }
        w.fs().sync().unwrap();
    }
    w.unmount();
    for i in 0..4 {
        let text = debugfs(&w.disk.contents(), &format!("stat f{i}"));
        let extents = text.split("EXTENTS:").nth(1).unwrap().matches("):").count();
        assert!(extents <= 12, "{extents} extents of f{i}:\n{text}");
    }
}

#[test]
fn a_full_disk_says_so_and_recovers() {
    for kind in ["-t ext4 -b 1024 -m 0", "-t ext2 -b 1024 -m 0", "-t ext4 -b 4096 -m 5"] {
        let Some(image) = mke2fs(kind, 8, None) else { return };
        let mut w = World::new(image);
        {
            let root = w.root();
            let free = w.fs().statfs().unwrap().free;
            let f = file(&root, "fill");
            let mut at = 0;
            let e = loop {
                match write(&f, at, &[7; 65536]) {
                    Ok(()) => at += 65536,
                    Err(e) => break e,
                }
            };
            assert_eq!(e, Errno::ENOSPC);
            assert!(at > 2 << 20);
            while write(&f, at, &[7; 512]).is_ok() {
                at += 512;
            }
            let mut n = 0;
            while make(&root, &format!("directory{n}"), FileType::Directory).is_ok() {
                n += 1;
            }
            w.fs().sync().unwrap();
            unlink(&root, "fill").unwrap();
            drop(f);
            for i in 0..n {
                unlink(&root, &format!("directory{i}")).unwrap();
            }
            let now = w.fs().statfs().unwrap().free;
            assert!(now + 80 >= free, "{now} of {free} blocks are free again");
        }
        w.unmount();
    }
}

#[test]
fn unlinked_files_live_until_they_are_closed() {
    let Some(image) = mke2fs("-t ext4", 8, None) else { return };
    let mut w = World::new(image);
    {
        let root = w.root();
        let f = file(&root, "x");
        write(&f, 0, &pattern(100_000, 3)).unwrap();
        unlink(&root, "x").unwrap();
        assert_eq!(read(&f), pattern(100_000, 3));
        let new = NewInode {
            kind: FileType::Regular,
            perm: 0o600,
            uid: 5,
            gid: 6,
            rdev: DevNum::new(0, 0),
            target: &[],
        };
        let t = root.ops.create_unnamed(&new).unwrap();
        write(&t, 0, b"named later").unwrap();
        root.ops.link(b"tmp", &t).unwrap();
        // A crash now: the orphan is on the list of the image.
        w.fs().sync().unwrap();
        let crashed = World::new(w.disk.contents());
        assert_eq!(lookup(&crashed.root(), "x").unwrap_err(), Errno::ENOENT);
        assert_eq!(read(&lookup(&crashed.root(), "tmp").unwrap()), b"named later");
        let mut crashed = crashed;
        crashed.unmount();
    }
    w.unmount();
}

#[test]
fn holes_and_preallocation() {
    let Some(image) = mke2fs("-t ext4 -b 1024", 16, None) else { return };
    let mut w = World::new(image);
    {
        let root = w.root();
        let f = file(&root, "f");
        let data = pattern(200_000, 9);
        write(&f, 0, &data).unwrap();
        f.ops.fallocate(3, 50_000, 60_000).unwrap();
        let mut want = data.clone();
        want[50_000..110_000].fill(0);
        assert!(read(&f) == want);
        assert_eq!(f.ops.seek_hole_data(0, false).unwrap(), 50_176);
        assert_eq!(f.ops.seek_hole_data(60_000, true).unwrap(), 109_568);
        f.ops.fallocate(0, 300_000, 100_000).unwrap();
        want.resize(400_000, 0);
        assert!(read(&f) == want);
        f.ops.fallocate(0x10, 1000, 3000).unwrap();
        want[1000..4000].fill(0);
        assert!(read(&f) == want);
        assert_eq!(f.ops.fallocate(8, 0, 4096).unwrap_err(), Errno::EOPNOTSUPP);
        w.fs().sync().unwrap();
        drop(f);
        assert!(read(&lookup(&root, "f").unwrap()) == want);
    }
    w.remount();
    w.unmount();
}

#[test]
fn features_are_judged_by_name() {
    let Some(image) = mke2fs("-t ext4 -O encrypt", 8, None) else { return };
    assert_eq!(World::try_new(image, true).err().unwrap(), Errno::EINVAL);
    let image = mke2fs("-t ext4 -O quota", 8, None).unwrap();
    assert!(World::new(image).fs().is_read_only());
    let mut image = mke2fs("-t ext4 -O ^metadata_csum", 8, None).unwrap();
    image[1024 + 0x60] |= 4; // needs recovery
    let w = World::new(image);
    assert!(w.fs().is_read_only());
    assert_eq!(w.fs().remount(false, b"").unwrap_err(), Errno::EROFS);
    assert_eq!(World::try_new(vec![0; 1 << 20], true).err().unwrap(), Errno::EINVAL);
    let mut image = mke2fs("-t ext4", 8, None).unwrap();
    image.truncate(4 << 20);
    assert_eq!(World::try_new(image, true).err().unwrap(), Errno::EINVAL);
}
