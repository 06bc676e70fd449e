//! Writing to images: what was written is there afterwards, e2fsck finds
//! nothing to repair, and nothing is written without `rw`.

mod common;

use common::build::make_image;
use common::{Scratch, copy_of_busybox as copy, fsck, guest, sh, tool};
use std::path::Path;
use std::process::Command;

/// What debugfs, an independent reader, sees in a file of the image.
fn cat(image: &Path, file: &str) -> String {
    tool(Command::new("debugfs").arg("-R").arg(format!("cat {file}")).arg(image))
}

#[test]
fn writes_survive() {
    let dir = Scratch::new("survive");
    let image = copy(&dir);
    sh(
        &["rw"],
        &image,
        "echo hello >/root/a; mkdir -p /root/d/e; ln /root/a /root/d/hard; ln -s a /root/soft; \
         mv /root/d/e /root/moved; seq 100000 >/root/big; chmod 640 /root/a; chown 12:34 /root/a",
    );
    fsck(&image);
    assert_eq!(cat(&image, "/root/a"), "hello\n");
    assert_eq!(cat(&image, "/root/d/hard"), "hello\n");
    assert!(cat(&image, "/root/big").ends_with("\n99999\n100000\n"));
    let stat = tool(Command::new("debugfs").args(["-R", "stat /root/a"]).arg(&image));
    assert!(stat.contains("Mode:  0640") && stat.contains("Links: 2"), "{stat}");
    let seen = sh(&[], &image, "cat /root/soft; ls /root; stat -c '%u %g' /root/a");
    assert_eq!(seen, "hello\na\nbig\nd\nmoved\nsoft\n12 34\n");
}

#[test]
fn nothing_is_written_without_rw() {
    let dir = Scratch::new("throwaway");
    let image = copy(&dir);
    let before = std::fs::read(&image).expect("readable");
    let out = sh(&[], &image, "echo gone >/root/x; sync; cat /root/x");
    assert_eq!(out, "gone\n");
    assert!(std::fs::read(&image).expect("readable") == before, "the image has changed");
}

#[test]
fn read_only_means_it() {
    let dir = Scratch::new("ro");
    let image = copy(&dir);
    let before = std::fs::read(&image).expect("readable");
    let out = guest(&["ro"], &image, &["/bin/sh", "-c", "echo x >/root/x"]);
    assert_ne!(out.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&out.stderr).contains("Read-only"), "{out:?}");
    assert!(std::fs::read(&image).expect("readable") == before, "the image has changed");
}

#[test]
fn many_files_and_directories() {
    let dir = Scratch::new("many");
    let image = copy(&dir);
    sh(
        &["rw"],
        &image,
        "mkdir /m; cd /m; i=0; while [ $i -lt 3000 ]; do : >file-with-a-longer-name-$i; \
         i=$((i+1)); done; ls | wc -l; rm -f *7; mkdir d; mv *1 d; ls d | wc -l",
    );
    fsck(&image);
    let n = sh(&[], &image, "ls /m | wc -l; ls /m/d | wc -l; find /m -type f | wc -l");
    assert_eq!(n, "2401\n300\n2700\n");
    sh(&["rw"], &image, "rm -rf /m");
    fsck(&image);
}

#[test]
fn holes_truncation_and_open_unlinked_files() {
    let dir = Scratch::new("holes");
    let image = copy(&dir);
    sh(
        &["rw"],
        &image,
        "dd if=/dev/urandom of=/h bs=4k count=1 seek=20000 2>/dev/null; truncate -s 40M /h; \
         truncate -s 100M /h; exec 5>/gone; rm /gone; dd if=/dev/zero bs=1M count=5 >&5 2>/dev/null; \
         seq 50000 >/cut; truncate -s 12345 /cut",
    );
    fsck(&image);
    let out = sh(&[], &image, "stat -c %s /h /cut; ls /gone 2>&1 | wc -l; tail -c 3 /cut");
    assert_eq!(out.lines().take(3).collect::<Vec<_>>(), ["104857600", "12345", "1"]);
}

#[test]
fn a_full_disk_is_an_error_and_stays_clean() {
    let dir = Scratch::new("full");
    let image = copy(&dir);
    let out = sh(
        &["rw"],
        &image,
        "dd if=/dev/zero of=/fill bs=64k 2>&1; echo $?; rm /fill; df / | tail -1",
    );
    assert!(out.contains("No space left on device"), "{out}");
    fsck(&image);
    sh(&["rw"], &image, "dd if=/dev/zero of=/fill bs=64k 2>/dev/null; true");
    fsck(&image);
}

/// Images of the other families and feature sets mount, or are refused by name.
#[test]
fn other_layouts() {
    let dir = Scratch::new("layouts");
    let tree = dir.path("tree");
    for d in ["bin", "dev", "proc", "sys", "tmp"] {
        std::fs::create_dir_all(tree.join(d)).expect("the scratch directory is writable");
    }
    std::fs::copy("/bin/busybox", tree.join("bin/busybox")).expect("busybox-static is installed");
    let deep = tree.join("a/b/c/d");
    std::fs::create_dir_all(&deep).expect("writable");
    std::fs::write(deep.join("f"), "deep\n").expect("writable");
    let script = "busybox cat /a/b/c/d/f; busybox seq 200000 >/new; busybox mkdir /n; \
                  busybox mv /a /n/a; busybox sync";
    let plain = dir.path("plain");
    make_image(&tree, &plain);
    let layouts: [&[&str]; 7] = [
        &["-t", "ext2"],
        &["-t", "ext3"],
        &["-t", "ext4", "-b", "1024"],
        &["-t", "ext4", "-O", "^64bit,^metadata_csum"],
        &["-t", "ext4", "-O", "^flex_bg,^64bit,^extent"],
        &["-t", "ext4", "-O", "^has_journal", "-I", "128"],
        &["-t", "ext4", "-O", "metadata_csum_seed,uninit_bg"],
    ];
    for (i, layout) in layouts.iter().enumerate() {
        let image = dir.path(&format!("{i}.img"));
        let mut mke2fs = Command::new("mke2fs");
        mke2fs.arg("-q").args(*layout).arg("-d").arg(&tree).arg(&image).arg("48M");
        tool(&mut mke2fs);
        let out = guest(&["rw"], &image, &["/bin/busybox", "sh", "-c", script]);
        let err = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(0), "{layout:?}: {err}");
        assert_eq!(String::from_utf8_lossy(&out.stdout), "deep\n", "{layout:?}");
        fsck(&image);
        assert_eq!(cat(&image, "/n/a/b/c/d/f"), "deep\n", "{layout:?}");
    }
    let strange = dir.path("strange.img");
    tool(
        Command::new("mke2fs")
            .args(["-q", "-t", "ext4", "-O", "encrypt,casefold"])
            .arg(&strange)
            .arg("32M"),
    );
    let out = guest(&["rw"], &strange, &["true"]);
    assert_ne!(out.status.code(), Some(0));
    assert!(!String::from_utf8_lossy(&out.stderr).contains("panicked"), "{out:?}");
}

/// The journal is not replayed: the image is mounted read-only, the message says what to do even
/// to those who want quiet, and nothing is written.
#[test]
fn an_image_whose_journal_needs_replay() {
    let dir = Scratch::new("replay");
    let image = copy(&dir);
    tool(Command::new("debugfs").args(["-w", "-R", "feature needs_recovery"]).arg(&image));
    let before = std::fs::read(&image).expect("readable");
    let script = "touch /x; cat /etc/hostname >/dev/null && echo read";
    let out = guest(&["rw", "quiet"], &image, &["/bin/sh", "-c", script]);
    let err = String::from_utf8_lossy(&out.stderr);
    assert!(err.contains("needs replay") && err.contains("e2fsck -y"), "{err}");
    assert!(err.contains("Read-only file system"), "{err}");
    assert_eq!(String::from_utf8_lossy(&out.stdout), "read\n");
    assert!(before == std::fs::read(&image).expect("readable"), "it was written to");
}

#[test]
fn an_image_in_use_is_locked() {
    let dir = Scratch::new("locked");
    let image = copy(&dir);
    let mut first = common::umbra(&["rw"], &image, &["/bin/sh", "-c", "echo up; read x"]);
    let child =
        first.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).spawn();
    let mut child = common::Guard(child.expect("umbra starts"));
    let mut up = [0; 3];
    let out = child.0.stdout.as_mut().expect("stdout is piped");
    std::io::Read::read_exact(out, &mut up).expect("the first one comes up");
    let second = guest(&["rw"], &image, &["true"]);
    assert_ne!(second.status.code(), Some(0), "two writers of one image");
    drop(child.0.stdin.take());
    let _ = child.0.wait();
    fsck(&image);
}
