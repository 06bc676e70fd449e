//! Linux's own ext4 as the other reader and writer, where this machine lets root mount loop devices.

use super::*;

fn mounted(image: &std::path::Path, f: impl FnOnce(&std::path::Path)) -> bool {
    let at = temp("mnt");
    std::fs::create_dir_all(&at).unwrap();
    let ok = Command::new("mount")
        .args(["-o", "loop"])
        .arg(image)
        .arg(&at)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success());
    if ok {
        f(&at);
        assert!(Command::new("umount").arg(&at).status().unwrap().success());
    } else {
        println!("skipped: cannot mount a loop device here");
    }
    std::fs::remove_dir(&at).unwrap();
    ok
}

#[test]
fn linux_reads_what_we_write_and_the_other_way_round() {
    for kind in ["-t ext4 -b 4096", "-t ext4 -b 1024", "-t ext2 -b 1024"] {
        let Some(image) = mke2fs(kind, 32, None) else { return };
        let mut w = World::new(image);
        {
            let d = mkdir(&w.root(), "ours");
            for i in 0..1000 {
                write(&file(&d, &format!("file number {i}")), 0, format!("{i}").as_bytes())
                    .unwrap();
            }
            let f = file(&d, "big");
            write(&f, 500_000, &pattern(2_000_000, 4)).unwrap();
            f.ops.set_xattr(b"user.a", Some(b"b"), 0).unwrap();
        }
        w.unmount();
        let path = temp("linux");
        std::fs::write(&path, w.disk.contents()).unwrap();
        let ok = mounted(&path, |m| {
            for i in 0..1000 {
                let text = std::fs::read(m.join(format!("ours/file number {i}"))).unwrap();
                assert_eq!(text, format!("{i}").as_bytes());
            }
            assert!(std::fs::read(m.join("ours/big")).unwrap()[500_000..] == pattern(2_000_000, 4));
            for i in 0..1000 {
                if i % 3 == 0 {
                    std::fs::remove_file(m.join(format!("ours/file number {i}"))).unwrap();
                }
                std::fs::write(m.join(format!("ours/theirs {i}")), format!("{i}")).unwrap();
            }
        });
        if ok {
            let mut w = World::new(std::fs::read(&path).unwrap());
            {
                let d = lookup(&w.root(), "ours").unwrap();
                for i in 0..1000 {
                    assert_eq!(
                        read(&lookup(&d, &format!("theirs {i}")).unwrap()),
                        format!("{i}").as_bytes()
                    );
                    assert_eq!(lookup(&d, &format!("file number {i}")).is_ok(), i % 3 != 0);
                }
                assert_eq!(list(&d, 64).len(), 2 + 1 + 1000 + 666);
                for n in list(&d, 4000).iter().filter(|n| *n != "." && *n != "..") {
                    unlink(&d, n).unwrap();
                }
                unlink(&w.root(), "ours").unwrap();
            }
            w.unmount();
        }
        std::fs::remove_file(&path).unwrap();
    }
}
