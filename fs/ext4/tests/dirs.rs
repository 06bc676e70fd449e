//! Names: large directories, renames, links, attributes.

use base::Errno;

use super::super::hash::dir_hash;
use super::*;

#[test]
fn hashes_agree_with_debugfs() {
    let Some(image) = mke2fs("-t ext4", 8, None) else { return };
    for name in ["a", "hello", "a-name-that-is-longer-than-thirty-two-bytes.txt", "\u{e9}\u{e8}"] {
        for (v, option) in [(0u8, "legacy"), (1, "half_md4"), (2, "tea")] {
            let text = debugfs(&image, &format!("dx_hash -h {option} \"{name}\""));
            let got = dir_hash(name.as_bytes(), v, &[0; 4]);
            let want = format!("{:#x}", got.0);
            let full = format!("{:#x} (minor {:#x})", got.0, got.1);
            assert!(
                text.contains(&want) && (v == 0 || text.contains(&full)),
                "{option} {name}: {full} but {text}"
            );
        }
    }
}

#[test]
fn thousands_of_names() {
    for kind in KINDS {
        let Some(image) = mke2fs(&format!("{kind} -N 8000"), 32, None) else { return };
        let mut w = World::new(image);
        let count = if kind.contains("^dir_index") || kind.contains("ext2") { 1500 } else { 5000 };
        {
            let d = mkdir(&w.root(), "d");
            for i in 0..count {
                file(&d, &format!("file-with-a-name-{i}"));
            }
        }
        w.remount();
        {
            let d = lookup(&w.root(), "d").unwrap();
            let mut names = list(&d, 100);
            names.sort();
            names.dedup();
            assert_eq!(names.len(), count + 2, "{kind}");
            for i in (0..count).step_by(2) {
                unlink(&d, &format!("file-with-a-name-{i}")).unwrap();
            }
            for i in 0..count {
                let found = lookup(&d, &format!("file-with-a-name-{i}"));
                assert_eq!(found.is_ok(), i % 2 == 1, "{kind} {i}");
            }
            assert_eq!(unlink(&w.root(), "d").unwrap_err(), Errno::ENOTEMPTY);
        }
        w.remount();
        {
            // As rm -r does: read some, remove them, go on from the position.
            let d = lookup(&w.root(), "d").unwrap();
            let (mut pos, mut removed) = (0, 0);
            loop {
                let mut batch = Vec::new();
                d.ops
                    .read_dir(pos, &mut |e| {
                        if batch.len() == 37 {
                            return false;
                        }
                        pos = e.next;
                        batch.push(String::from_utf8(e.name.to_vec()).unwrap());
                        true
                    })
                    .unwrap();
                if batch.is_empty() {
                    break;
                }
                for n in batch.iter().filter(|n| *n != "." && *n != "..") {
                    unlink(&d, n).unwrap();
                    removed += 1;
                }
            }
            assert_eq!(removed, count / 2, "{kind}");
            unlink(&w.root(), "d").unwrap();
        }
        w.unmount();
    }
}

#[test]
fn a_hash_tree_of_three_levels() {
    let Some(image) = mke2fs("-t ext4 -b 1024 -N 40000 -O ^has_journal,large_dir", 64, None) else {
        return;
    };
    let mut w = World::new(image);
    {
        let d = mkdir(&w.root(), "d");
        let target = file(&w.root(), "target");
        // One inode with many long names: a big tree without many inodes.
        for i in 0..30_000 {
            d.ops.link(format!("{i:0>200}").as_bytes(), &target).unwrap();
        }
        assert!(lookup(&d, &format!("{:0>200}", 29_999)).is_ok());
    }
    w.remount();
    {
        let d = lookup(&w.root(), "d").unwrap();
        assert_eq!(list(&d, 1000).len(), 30_002);
        for i in (0..30_000).step_by(7) {
            assert!(lookup(&d, &format!("{i:0>200}")).is_ok());
        }
    }
    w.unmount();
}

#[test]
fn renames() {
    for kind in KINDS {
        let Some(image) = mke2fs(kind, 16, None) else { return };
        let mut w = World::new(image);
        {
            let root = w.root();
            let (a, b) = (mkdir(&root, "a"), mkdir(&root, "b"));
            let sub = mkdir(&a, "sub");
            file(&sub, "f");
            rename(&a, "sub", &b, "moved", RenameFlags::empty()).unwrap();
            assert_eq!((attr(&a).nlink, attr(&b).nlink), (2, 3));
            assert_eq!(lookup(&sub, "..").unwrap().ino, b.ino);
            file(&root, "x");
            file(&root, "y");
            rename(&root, "x", &root, "y", RenameFlags::empty()).unwrap();
            assert_eq!(lookup(&root, "x").unwrap_err(), Errno::ENOENT);
            rename(&root, "y", &b, "moved", RenameFlags::EXCHANGE).unwrap();
            assert_eq!(lookup(&root, "y").unwrap().ino, sub.ino);
            assert_eq!(lookup(&sub, "..").unwrap().ino, root.ino);
            assert_eq!((attr(&b).nlink, attr(&root).nlink), (2, 6));
            mkdir(&a, "empty");
            assert_eq!(
                rename(&a, "empty", &root, "y", RenameFlags::empty()).unwrap_err(),
                Errno::ENOTEMPTY
            );
            unlink(&sub, "f").unwrap();
            rename(&a, "empty", &root, "y", RenameFlags::empty()).unwrap();
            rename(&b, "moved", &a, "w", RenameFlags::WHITEOUT).unwrap();
            assert_eq!(lookup(&b, "moved").unwrap().kind, FileType::CharDevice);
        }
        w.unmount();
    }
}

#[test]
fn links_attributes_and_devices() {
    for kind in KINDS {
        let Some(image) = mke2fs(kind, 16, None) else { return };
        let mut w = World::new(image);
        let old = base::Timestamp { sec: -5, nsec: 0 };
        let late = base::Timestamp { sec: 1 << 33, nsec: 123_456_789 };
        {
            let root = w.root();
            let f = file(&root, "f");
            root.ops.link(b"g", &f).unwrap();
            let set = SetAttr {
                perm: Some(0o4711),
                uid: Some(100_000),
                gid: Some(70_000),
                atime: Some(old),
                mtime: Some(late),
                ..SetAttr::default()
            };
            f.ops.set_attr(&set).unwrap();
            for (name, kind, dev) in [
                ("c", FileType::CharDevice, (4, 64)),
                ("d", FileType::BlockDevice, (300, 70_000)),
                ("p", FileType::Fifo, (0, 0)),
                ("s", FileType::Socket, (0, 0)),
            ] {
                let new = NewInode {
                    kind,
                    perm: 0o600,
                    uid: 1,
                    gid: 2,
                    rdev: DevNum::new(dev.0, dev.1),
                    target: &[],
                };
                root.ops.create(name.as_bytes(), &new).unwrap();
            }
            for (name, n) in [("l1", 59), ("l2", 60), ("l3", 1000)] {
                let target = vec![b't'; n];
                let new = NewInode {
                    kind: FileType::Symlink,
                    perm: 0o777,
                    uid: 0,
                    gid: 0,
                    rdev: DevNum::new(0, 0),
                    target: &target,
                };
                root.ops.create(name.as_bytes(), &new).unwrap();
            }
        }
        w.remount();
        {
            let root = w.root();
            let a = attr(&lookup(&root, "g").unwrap());
            assert_eq!((a.nlink, a.perm, a.uid, a.gid, a.atime), (2, 0o4711, 100_000, 70_000, old));
            assert!(
                kind.contains("-I 128")
                    || kind.contains("ext2")
                    || kind.contains("ext3")
                    || a.mtime == late,
                "{kind} {a:?}"
            );
            assert_eq!(lookup(&root, "c").unwrap().rdev, DevNum::new(4, 64));
            assert_eq!(lookup(&root, "d").unwrap().rdev, DevNum::new(300, 70_000));
            for (name, n) in [("l1", 59), ("l2", 60), ("l3", 1000)] {
                assert_eq!(lookup(&root, name).unwrap().ops.read_link().unwrap().len(), n);
            }
            for n in ["l1", "l2", "l3", "c", "d", "f"] {
                unlink(&root, n).unwrap();
            }
        }
        w.unmount();
    }
}

#[test]
fn extended_attributes() {
    for kind in ["-t ext2 -b 1024", "-t ext4 -b 1024", "-t ext4 -b 4096 -I 512"] {
        let Some(image) = mke2fs(kind, 16, None) else { return };
        let mut w = World::new(image);
        let acl = [
            2u8, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 4, 0, 232, 3, 0, 0, 4, 0, 4, 0,
            255, 255, 255, 255, 16, 0, 4, 0, 255, 255, 255, 255, 32, 0, 4, 0, 255, 255, 255, 255,
        ];
        {
            let f = file(&w.root(), "f");
            let o = &f.ops;
            o.set_xattr(b"user.small", Some(b"1"), 1).unwrap();
            assert_eq!(o.set_xattr(b"user.small", Some(b"1"), 1).unwrap_err(), Errno::EEXIST);
            assert_eq!(o.set_xattr(b"user.none", Some(b"1"), 2).unwrap_err(), Errno::ENODATA);
            o.set_xattr(b"trusted.big", Some(&[9; 500]), 0).unwrap();
            o.set_xattr(b"security.capability", Some(&[1; 20]), 0).unwrap();
            o.set_xattr(b"system.posix_acl_access", Some(&acl), 0).unwrap();
            assert_eq!(o.set_xattr(b"user.huge", Some(&[9; 5000]), 0).unwrap_err(), Errno::ENOSPC);
            assert_eq!(o.set_xattr(b"nonsense", Some(b""), 0).unwrap_err(), Errno::EOPNOTSUPP);
            o.set_xattr(b"user.small", Some(b"22"), 0).unwrap();
            o.set_xattr(b"user.empty", Some(b""), 0).unwrap();
        }
        w.remount();
        {
            let f = lookup(&w.root(), "f").unwrap();
            let o = &f.ops;
            assert_eq!(o.get_xattr(b"user.small").unwrap(), b"22");
            assert_eq!(o.get_xattr(b"user.empty").unwrap(), b"");
            assert_eq!(o.get_xattr(b"trusted.big").unwrap(), [9; 500]);
            assert_eq!(o.get_xattr(b"system.posix_acl_access").unwrap(), acl);
            assert_eq!(o.list_xattr().unwrap().iter().filter(|&&b| b == 0).count(), 5);
            o.set_xattr(b"trusted.big", None, 0).unwrap();
            assert_eq!(o.get_xattr(b"trusted.big").unwrap_err(), Errno::ENODATA);
        }
        w.remount();
        unlink(&w.root(), "f").unwrap();
        w.unmount();
    }
}
