//! The command line: one command in an image, its status and its streams, and
//! what happens with bad input (one clear line, a non-zero status, no panic).

mod common;

use common::{BACKENDS, Scratch, busybox_image, guest, one_clear_line, run, sh, umbra, umbra_bin};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn uname_and_parameters() {
    let image = busybox_image();
    let out = sh(&[], &image, "uname -a; cat /proc/cmdline");
    assert!(out.starts_with("Linux umbra 6."), "{out}");
    assert!(out.lines().next().is_some_and(|l| l.contains("x86_64")), "{out}");
    let out = sh(&["hostname=elsewhere", "mem=128M"], &image, "hostname; cat /proc/meminfo");
    assert!(out.starts_with("elsewhere\n"), "{out}");
    let total = out.lines().find_map(|l| l.strip_prefix("MemTotal:"));
    let kib: u64 = total
        .and_then(|t| t.split_whitespace().next()?.parse().ok())
        .unwrap_or_else(|| panic!("no MemTotal in {out}"));
    assert!((100_000..=131_072).contains(&kib), "mem=128M gives {kib} kB");
}

#[test]
fn status_becomes_ours() {
    let image = busybox_image();
    for (script, status) in
        [("exit 0", 0), ("exit 7", 7), ("exit 255", 255), ("sh -c 'kill -9 $$'; exit $?", 137)]
    {
        let out = guest(&[], &image, &["/bin/sh", "-c", script]);
        assert_eq!(out.status.code(), Some(status), "{script}");
    }
    let out = guest(&[], &image, &["/no/such/command"]);
    assert!(out.status.code().is_some_and(|c| c != 0));
    one_clear_line(&out);
}

#[test]
fn streams_are_separate_and_binary_clean() {
    let image = busybox_image();
    let all: Vec<u8> =
        (0..200_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let out = run(&mut umbra(&[], &image, &["cat"]), &all, MINUTE);
    assert_eq!(out.status.code(), Some(0));
    assert!(out.stdout == all, "cat gave {} bytes of {}", out.stdout.len(), all.len());
    let out = guest(&[], &image, &["/bin/sh", "-c", "echo out; echo err >&2"]);
    assert_eq!(out.stdout, b"out\n");
    assert!(String::from_utf8_lossy(&out.stderr).lines().any(|l| l == "err"));
}

/// What shells and programs do with /dev/stdin, /dev/stdout and /dev/stderr, whatever is behind them.
#[test]
fn streams_are_found_again_by_name() {
    let script = "cat /dev/stdin; echo a >/dev/stdout; echo b >/proc/self/fd/1; echo c >>/dev/stderr; \
                  echo d | tee /dev/fd/2; case $(readlink /proc/self/fd/0) in pipe:*) ;; *) echo no pipe;; esac";
    let mut cmd = umbra(&["quiet"], &busybox_image(), &["/bin/sh", "-c", script]);
    let out = run(&mut cmd, b"in\n", MINUTE);
    assert_eq!(out.status.code(), Some(0), "{out:?}");
    assert_eq!(String::from_utf8_lossy(&out.stdout), "in\na\nb\nd\n");
    assert_eq!(String::from_utf8_lossy(&out.stderr), "c\nd\n");
}

#[test]
fn the_usual_mounts_are_there() {
    let out = sh(&[], &busybox_image(), "cat /proc/mounts; ls /dev; echo x >/tmp/x; cat /tmp/x");
    for what in [" / ext4 ", " /proc proc ", " /sys sysfs ", " /tmp tmpfs "] {
        assert!(out.contains(what), "no{what}in {out}");
    }
    for dev in ["null", "zero", "tty", "urandom", "ptmx"] {
        assert!(out.lines().any(|l| l == dev), "no /dev/{dev} in {out}");
    }
}

#[test]
fn shell_work() {
    let out = sh(
        &[],
        &busybox_image(),
        "for i in 1 2 3; do echo $i; done | sort -r; seq 1000 | wc -l; \
         find /etc -xdev -name passwd; echo $(( $(ls /proc | grep -c '^[0-9]') > 0 ))",
    );
    assert_eq!(out, "3\n2\n1\n1000\n/etc/passwd\n1\n");
}

/// A reader that is woken by each small piece of data does not take the CPU each time: the writer goes on until
/// the pipe is full.
#[test]
fn a_pipe_is_filled_before_it_is_drained() {
    let script = "n() { sed -n 's/^ctxt //p' /proc/stat; }; a=$(n); \
                  dd if=/dev/zero bs=512 count=20000 2>/dev/null | cat >/dev/null; echo $(($(n) - a))";
    for backend in BACKENDS {
        let out = sh(&[backend], &busybox_image(), script);
        let switches: u32 = out.trim().parse().unwrap_or_else(|_| panic!("no number: {out}"));
        assert!(switches < 4_000, "{backend}: {switches} switches for 160 pipes full of data");
    }
}

/// With `patch=auto` a program is left alone in its first run, until it turns out to make many calls.
#[test]
fn a_long_first_run_is_patched() {
    let script = |n| {
        format!(
            "i=0; while [ $i -lt {n} ]; do cd /; i=$((i + 1)); done; grep -c '\\[patch\\]' /proc/$$/maps; :"
        )
    };
    let patched = |n| sh(&["backend=shm", "patch=auto"], &busybox_image(), &script(n));
    assert_eq!(patched(1), "0\n");
    assert_eq!(patched(20_000), "1\n");
}

/// A machine has its disk for itself, and the tests of this file run side by side: a copy, and its parameter.
fn own_disk(name: &str) -> (Scratch, String) {
    let dir = Scratch::new(name);
    let image = dir.path("image.ext4");
    std::fs::copy(busybox_image(), &image).expect("the image can be copied");
    let ubd = format!("ubd0={}", image.display());
    (dir, ubd)
}

#[test]
fn machine_mode_powers_off() {
    let (_dir, ubd) = own_disk("machine");
    let mut cmd = Command::new(umbra_bin());
    cmd.args(["mem=128M", &ubd, "root=/dev/ubda", "ro", "quiet"]);
    cmd.args(["init=/bin/sh", "--", "-c", "echo init is $$"]);
    let out = run(&mut cmd, b"", MINUTE);
    assert!(String::from_utf8_lossy(&out.stdout).contains("init is 1"), "{out:?}");
}

#[test]
fn help_version_and_table() {
    for (flag, what) in [("--help", "umbra run"), ("--version", "umbra"), ("--syscalls", "openat")]
    {
        let out = run(Command::new(umbra_bin()).arg(flag), b"", MINUTE);
        assert_eq!(out.status.code(), Some(0), "{flag}");
        assert!(String::from_utf8_lossy(&out.stdout).contains(what), "{flag}");
    }
}

#[test]
fn bad_images() {
    let dir = Scratch::new("bad");
    let good = std::fs::read(busybox_image()).expect("the image is readable");
    let cases: [(&str, Vec<u8>); 5] = [
        ("empty", Vec::new()),
        ("tiny", good[..512].to_vec()),
        ("truncated", good[..good.len() / 4].to_vec()),
        ("zeros", vec![0; 1 << 20]),
        ("text", b"not an image\n".repeat(10_000)),
    ];
    one_clear_line(&guest(&[], Path::new("/no/such/image"), &["true"]));
    one_clear_line(&guest(&[], &dir.0, &["true"]));
    for (name, bytes) in cases {
        let path = dir.path(name);
        std::fs::write(&path, bytes).expect("the scratch directory is writable");
        // A truncated one may still hold all that `true` needs; it must only not crash.
        let out = guest(&[], &path, &["true"]);
        if out.status.code() != Some(0) {
            one_clear_line(&out);
        }
    }
}

#[test]
fn bad_parameters() {
    let image = busybox_image();
    for bad in ["mem=1K", "mem=lots", "mem=99999G", "hostnme=x", "backend=none", "ncpus=0"] {
        one_clear_line(&guest(&[bad], &image, &["true"]));
    }
    let out = guest(&["hostnme=x"], &image, &["true"]);
    assert!(String::from_utf8_lossy(&out.stderr).contains("hostname"), "the near key is suggested");
}

/// As a machine: what is missing or cannot be executed is one line too.
#[test]
fn nothing_to_start() {
    let (_dir, ubd) = own_disk("nothing");
    let cases: [(&[&str], &str); 6] = [
        (&["quiet"], "no root file system"),
        (&["quiet", "root=/dev/ubda"], "there is no disk"),
        (&["quiet", &ubd, "root=/dev/ubdx"], "there are: ubda"),
        (&["quiet", &ubd, "init=/nosuch"], "No such file"),
        (&["quiet", &ubd, "init=/etc/passwd"], "Permission denied"),
        (&["quiet", &ubd, "init=/etc"], "Permission denied"),
    ];
    for (args, words) in cases {
        let out = run(Command::new(umbra_bin()).args(args), b"", MINUTE);
        one_clear_line(&out);
        assert!(String::from_utf8_lossy(&out.stderr).contains(words), "{args:?}: {out:?}");
    }
}
