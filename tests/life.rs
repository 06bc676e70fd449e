//! How Umbra ends: killed, asked to stop, its terminal or its disk gone. No
//! stub outlives the kernel, and an image is left as orderly as can be.
//!
//! `UMBRA_ROUNDS=100` makes the killing longer.

mod common;

use common::host::{self, sessions_of, stubs_of, survivors, until};
use common::{
    Rng, Scratch, busybox_image, copy_of_busybox, crashed, fsck, have, one_clear_line, rounds, run,
    sh, skipped, start, tool, umbra, umbra_bin,
};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// What a build does to a kernel: short processes, pipes, several at a time.
const FORKS: &str = "work() { while :; do /bin/true; echo x | cat >/dev/null; \
                     /bin/sh -c '/bin/true; exit 3'; done; }; \
                     work & work & work & echo up; work";

/// Waits for a second, as acceptance has it, and names the stubs that are left.
fn no_stub_is_left(sessions: &std::collections::BTreeSet<u32>, what: &str) {
    assert!(!sessions.is_empty(), "{what}: no stub was seen while it lived");
    let gone = until(Duration::from_secs(1), || survivors(sessions).is_empty());
    assert!(gone, "{what}: a second later live {:?}", survivors(sessions));
}

#[test]
fn kill_nine_leaves_no_stub() {
    let mut rng = Rng::new(1);
    for round in 0..rounds(10) {
        let mut kernel = start(&mut umbra(&["quiet"], &busybox_image(), &["/bin/sh", "-c", FORKS]));
        std::thread::sleep(Duration::from_millis(rng.below(250)));
        let sessions = sessions_of(kernel.0.id());
        kernel.0.kill().expect("it is our child");
        kernel.0.wait().expect("it is our child");
        no_stub_is_left(&sessions, &format!("round {round}"));
    }
}

/// One stub is killed under the kernel's feet: that guest dies, the kernel goes on.
#[test]
fn the_death_of_a_stub_is_the_guests() {
    let script = "echo up; while :; do /bin/sh -c 'n=0; while [ $n -lt 2000 ]; do n=$((n+1)); done'; \
                  [ -e /tmp/enough ] && exit 0; done";
    let mut kernel = start(&mut umbra(&["quiet"], &busybox_image(), &["/bin/sh", "-c", script]));
    let mut rng = Rng::new(2);
    for _ in 0..20 {
        let stubs = stubs_of(kernel.0.id());
        if stubs.is_empty() {
            break;
        }
        host::signal(stubs[rng.below(stubs.len() as u64) as usize].pid, "KILL");
        std::thread::sleep(Duration::from_millis(20));
    }
    // The first process may have been among them: then this is its end, and 128 + KILL.
    let sessions = sessions_of(kernel.0.id());
    host::signal(kernel.0.id(), "TERM");
    let status = host::ended(&mut kernel, Duration::from_secs(10)).expect("it ends when asked to");
    let mut err = String::new();
    let mut stderr = kernel.0.stderr.take().expect("stderr is piped");
    std::io::Read::read_to_string(&mut stderr, &mut err).expect("it has ended");
    assert!(status.code().is_some_and(|c| c != 134) && !crashed(&err), "{status}: {err}");
    assert!(until(Duration::from_secs(1), || survivors(&sessions).is_empty()));
}

#[test]
fn sigterm_is_an_orderly_shutdown() {
    for (script, name) in [
        ("echo kept >/root/kept; echo up; sleep 1000", "asleep"),
        ("echo kept >/root/kept; echo up; while :; do date >>/root/log; done", "writing"),
    ] {
        let dir = Scratch::new("sigterm");
        let image = copy_of_busybox(&dir);
        let mut kernel = start(&mut umbra(&["quiet", "rw"], &image, &["/bin/sh", "-c", script]));
        std::thread::sleep(Duration::from_millis(300));
        let sessions = sessions_of(kernel.0.id());
        host::signal(kernel.0.id(), "TERM");
        let status = host::ended(&mut kernel, Duration::from_secs(15));
        let status = status.unwrap_or_else(|| panic!("{name}: SIGTERM does not end it"));
        assert!(status.code().is_some_and(|c| c != 134), "{name}: not an orderly end: {status}");
        no_stub_is_left(&sessions, name);
        fsck(&image);
        let kept = Command::new("debugfs").args(["-R", "cat /root/kept"]).arg(&image).output();
        assert_eq!(kept.expect("debugfs runs").stdout, b"kept\n", "{name}");
    }
}

/// After a power cut e2fsck repairs, what was synced is there, and the image boots again.
#[test]
fn kill_nine_while_writing_can_be_repaired() {
    let script = "echo kept >/root/kept; sync; echo up; n=0; while :; do n=$((n+1)); mkdir /root/d$n; \
                  seq 2000 >/root/d$n/f; mv /root/d$n/f /root/f$n; [ $((n % 7)) = 0 ] && sync; \
                  rm -f /root/f$((n-3)); done";
    let mut rng = Rng::new(3);
    for round in 0..rounds(10).div_ceil(3) {
        let dir = Scratch::new("powercut");
        let image = copy_of_busybox(&dir);
        let mut kernel = start(&mut umbra(&["quiet", "rw"], &image, &["/bin/sh", "-c", script]));
        std::thread::sleep(Duration::from_millis(100 + rng.below(1500)));
        kernel.0.kill().expect("it is our child");
        kernel.0.wait().expect("it is our child");
        let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
        let repair = Command::new("e2fsck").env("PATH", path).arg("-fy").arg(&image).output();
        let repair = repair.expect("e2fsck runs");
        let said = String::from_utf8_lossy(&repair.stdout);
        // 1: errors were corrected.
        assert!(repair.status.code().is_some_and(|c| c <= 1), "round {round}: {said}");
        fsck(&image);
        assert_eq!(
            sh(&["rw"], &image, "cat /root/kept; echo again >/root/new"),
            "kept\n",
            "{said}"
        );
        fsck(&image);
    }
}

/// Runs a script with mounts of its own, where we may make them; they go when it ends.
fn with_mounts(script: &str, args: &[&Path]) -> Option<Command> {
    let flags: &[&str] =
        if common::is_root() { &["--mount"] } else { &["--user", "--map-root-user", "--mount"] };
    let test = Command::new("unshare").args(flags).arg("true").output();
    if !test.is_ok_and(|o| o.status.success()) {
        return None;
    }
    let mut cmd = Command::new("unshare");
    cmd.args(flags).args(["sh", "-euc", script, "sh", &umbra_bin()]).args(args);
    Some(cmd)
}

/// The image is a sparse file on a small file system. The guest sees an error, and goes on.
#[test]
fn a_full_host_disk_is_an_error_in_the_guest() {
    let dir = Scratch::new("hostfull");
    let script = "mount -t tmpfs -o size=16m none \"$3\"; cp --sparse=always \"$2\" \"$3/i\"; \
        s=0; \"$1\" run quiet rw \"$3/i\" -- /bin/sh -c \
        'dd if=/dev/urandom of=/big bs=64k count=500 conv=fsync; echo dd $?; echo x >/small; sync; \
        cat /etc/passwd >/dev/null; echo alive' || s=$?; echo status $s; \
        PATH=$PATH:/usr/sbin:/sbin; r=0; rm -f \"$3/room\"; e2fsck -fy \"$3/i\" >/dev/null 2>&1 || r=$?; echo repaired $r";
    let Some(mut cmd) = with_mounts(script, &[&busybox_image(), &dir.0]) else {
        return skipped("a_full_host_disk_is_an_error_in_the_guest", "no mounts here");
    };
    let out = run(&mut cmd, b"", Duration::from_secs(90));
    let (text, err) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(text.contains("alive"), "{text}{err}");
    assert!(text.contains("dd 1"), "dd noticed nothing: {text}{err}");
    let named = ["No space left", "Input/output error", "I/O error"];
    assert!(named.iter().any(|n| err.contains(n)), "{err}");
    assert!(
        text.contains("status 1\n"),
        "what was lost at the end shows in the status: {text}{err}"
    );
    assert!(!crashed(&err), "{text}{err}");
}

/// A kernel panic says why and where, shows the last trace events, and leaves nobody behind.
#[test]
fn a_panic_tells_its_story() {
    let (image, dir) = (busybox_image(), Scratch::new("panic"));
    let script = "echo up; echo c >/proc/sysrq-trigger; echo not reached";
    let traced = format!("trace=syscall:{}", dir.path("trace").display());
    for trace in [traced.as_str(), "quiet"] {
        let mut cmd = umbra(&[trace], &image, &["/bin/sh", "-c", script]);
        let out = run(&mut cmd, b"", Duration::from_secs(60));
        let (text, err) =
            (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        assert_eq!(out.status.code(), Some(134), "{text}{err}");
        assert_eq!(text, "up\n");
        assert!(err.contains("sysrq triggered crash"), "{err}");
        assert!(err.contains("do_sysrq"), "no backtrace: {err}");
        if trace != "quiet" {
            assert!(err.contains("write(1"), "no trace events: {err}");
        }
    }
}

#[test]
fn an_image_that_cannot_be_written() {
    let dir = Scratch::new("unwritable");
    let script = "mount -t tmpfs -o size=80m none \"$3\"; cp --sparse=always \"$2\" \"$3/i\"; \
        mount -o remount,bind,ro \"$3\"; exec \"$1\" run quiet rw \"$3/i\" -- /bin/true";
    let Some(mut cmd) = with_mounts(script, &[&busybox_image(), &dir.0]) else {
        return skipped("an_image_that_cannot_be_written", "no mounts here");
    };
    let out = run(&mut cmd, b"", Duration::from_secs(30));
    one_clear_line(&out);
    let err = String::from_utf8_lossy(&out.stderr);
    assert!(err.contains("umbra: ") && err.contains("Read-only"), "{err}");
    let read_only = script.replace(" rw ", " ");
    let mut cmd = with_mounts(&read_only, &[&busybox_image(), &dir.0]).expect("worked just now");
    let out = run(&mut cmd, b"", Duration::from_secs(30));
    assert_eq!(out.status.code(), Some(0), "without rw nothing is written: {out:?}");
}

/// The one line names the image and says that somebody has it.
#[test]
fn an_image_in_use_says_so() {
    let dir = Scratch::new("inuse");
    let image = copy_of_busybox(&dir);
    let wait = ["/bin/sh", "-c", "echo up; read x"];
    let _first = start(&mut umbra(&["quiet", "rw"], &image, &wait));
    for second in [&["quiet", "rw"][..], &["quiet"]] {
        let out = run(&mut umbra(second, &image, &["/bin/true"]), b"", Duration::from_secs(30));
        one_clear_line(&out);
        let err = String::from_utf8_lossy(&out.stderr).to_lowercase();
        assert!(err.contains("image.ext4"), "{err}");
        assert!(err.contains("use") || err.contains("lock"), "{err}");
    }
}

/// The window of the terminal is closed: the kernel ends, and with rw in order.
#[test]
fn the_terminal_is_gone() {
    if !have("script") {
        return skipped("the_terminal_is_gone", "no script(1) here");
    }
    let dir = Scratch::new("hangup");
    let image = copy_of_busybox(&dir);
    for command in
        ["", "-- /bin/sh -c 'sleep 1000'", "-- /bin/sh -c 'trap \"\" HUP; while :; do :; done'"]
    {
        // Whatever this was started by (nohup): a terminal that goes says so by SIGHUP.
        let umbra = format!("env --default-signal=HUP {}", umbra_bin());
        let line = format!("exec {umbra} run quiet rw {} {command}", image.display());
        let mut script = Command::new("script");
        script.args(["-q", "-c", &line, "/dev/null"]).stdin(Stdio::piped());
        script.stdout(Stdio::null()).stderr(Stdio::null());
        let mut script = common::Guard(script.spawn().expect("script(1) starts"));
        let id = script.0.id();
        let kernel = || host::processes().into_iter().find(|p| p.parent == id && p.lives());
        let is_up = || kernel().is_some_and(|k| stubs_of(k.pid).len() > 2);
        assert!(until(Duration::from_secs(20), is_up), "no stubs: {line}");
        std::thread::sleep(Duration::from_millis(500));
        let kernel = kernel().unwrap_or_else(|| panic!("it ended early: {line}"));
        let sessions = sessions_of(kernel.pid);
        script.0.kill().expect("it is our child");
        script.0.wait().expect("it is our child");
        let lives = || host::processes().iter().any(|p| p.pid == kernel.pid && p.lives());
        if !until(Duration::from_secs(10), || !lives()) {
            host::signal(kernel.pid, "KILL");
            panic!("it lives on without its terminal: {line}");
        }
        no_stub_is_left(&sessions, &line);
        fsck(&image);
    }
}

/// The reader of our output goes away: no crash, and the kernel ends when the guest does.
#[test]
fn a_reader_that_leaves() {
    let line = format!(
        "{} run quiet {} -- /bin/sh -c 'yes | head -c 3000000; exit 0' | head -c 10; echo \" ${{PIPESTATUS[0]}}\"",
        umbra_bin(),
        busybox_image().display()
    );
    let out = run(Command::new("bash").args(["-c", &line]), b"", Duration::from_secs(30));
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(text.starts_with("y\ny\ny\ny\ny\n "), "{text}");
    assert!(!text.contains("134") && !crashed(&String::from_utf8_lossy(&out.stderr)), "{out:?}");
}

/// Where every stub is traced by somebody else already, ptrace is refused to us.
fn under_strace(backend: &str) -> Option<std::process::Output> {
    if !have("strace") {
        return None;
    }
    let mut cmd = Command::new("strace");
    cmd.args(["-f", "-o", "/dev/null", &umbra_bin(), "run", "quiet", backend]).arg(busybox_image());
    let script = "/bin/true; echo x | cat; exit 5";
    Some(run(cmd.args(["--", "/bin/sh", "-c", script]), b"", Duration::from_secs(60)))
}

#[test]
fn ptrace_forbidden() {
    let Some(out) = under_strace("backend=ptrace") else {
        return skipped("ptrace_forbidden", "no strace here");
    };
    one_clear_line(&out);
    let err = String::from_utf8_lossy(&out.stderr);
    assert!(err.contains("ptrace") || err.contains("PTRACE"), "{err}");
}

/// The other backend needs none.
#[test]
fn without_ptrace_it_runs() {
    for backend in ["backend=auto", "backend=shm"] {
        let Some(out) = under_strace(backend) else {
            return skipped("without_ptrace_it_runs", "no strace here");
        };
        assert_eq!(out.status.code(), Some(5), "{out:?}");
        assert_eq!(out.stdout, b"x\n", "{out:?}");
    }
}

/// Closed standard streams are no reason to crash, and must not become a disk or guest memory.
#[test]
fn closed_streams() {
    let dir = Scratch::new("closed");
    let image = copy_of_busybox(&dir);
    for closed in ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"] {
        let line = format!(
            "{} run quiet rw {} -- /bin/sh -c 'echo x; echo y >&2; read z; echo z >/root/z' {closed}; echo $?",
            umbra_bin(),
            image.display()
        );
        let out = run(Command::new("sh").args(["-c", &line]), b"", Duration::from_secs(30));
        let text = String::from_utf8_lossy(&out.stdout);
        let status = text.lines().last().unwrap_or_default().to_owned();
        assert_ne!(status, "134", "{closed}: {out:?}");
        tool(Command::new("e2fsck").arg("-fn").arg(&image));
    }
}
