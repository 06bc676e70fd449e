//! What a hostile guest could reach on the host, seen from the host. strace cannot
//! look at stubs, which have a tracer already (Umbra). So the observables are
//! what the host says of each stub: filters, mappings, descriptors, limits; and
//! for the kernel process, strace itself, against the list in arch/lockdown.rs.

mod common;

use common::host::{Proc, processes, stubs_of, until};
use common::{Scratch, build, busybox_image, have, repo, run, skipped, start, umbra};
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

/// What a stub may have mapped: its text, its requests (never writable), guest memory, and
/// the page that no process can get rid of, whose use its filter catches.
fn foreign_mappings(p: &Proc) -> Vec<String> {
    let Ok(maps) = std::fs::read_to_string(p.path("maps")) else { return Vec::new() };
    let known = |l: &&str| {
        let words: Vec<_> = l.split_whitespace().collect();
        let rights = words.get(1).copied().unwrap_or_default();
        let name = words.get(5).copied().unwrap_or_default();
        match name {
            "/memfd:umbra-stub" => rights == "r-xs",
            "/memfd:umbra-requests" => rights == "r--s",
            "/memfd:umbra-ram" => rights.ends_with('s'),
            "[vsyscall]" => rights == "--xp",
            _ => false,
        }
    };
    maps.lines().filter(|l| !known(l)).map(str::to_owned).collect()
}

/// The hostile programs; the tests of this file run side by side and must build them once.
fn escape() -> &'static build::Suite {
    static SUITE: OnceLock<build::Suite> = OnceLock::new();
    SUITE.get_or_init(|| build::suite("escape"))
}

/// A guest with processes, threads and files in several states, then silence.
const BUSY: &str = "sleep 1000 & sleep 1000 | cat & (sleep 1000; true) & for i in 1 2 3 4 5 6 7 8 9; do /bin/true; \
                    echo x | cat >/dev/null; done; echo up; read forever";

/// Every stub at rest: a task of guest code has two filters and no descriptor; a server has one filter and
/// guest memory; the zygotes, which never have guest memory mapped, may have the two files.
#[test]
fn stubs_hold_nothing_of_the_host() {
    if !common::is_root() && std::fs::read_to_string("/proc/self/maps").is_err() {
        return skipped("stubs_hold_nothing_of_the_host", "/proc shows nothing here");
    }
    let mut kernel = start(&mut umbra(&["quiet"], &busybox_image(), &["/bin/sh", "-c", BUSY]));
    // The last ones made are still being set up; idle work fills the pool.
    std::thread::sleep(Duration::from_millis(500));
    let stubs = stubs_of(kernel.0.id());
    assert!(stubs.len() >= 8, "{stubs:?}");
    let mut kinds = BTreeMap::new();
    for p in &stubs {
        let exe = std::fs::read_link(p.path("exe")).unwrap_or_default();
        assert!(exe.to_string_lossy().starts_with("/memfd:umbra-stub"), "{p:?}: {exe:?}");
        assert_eq!(p.state, 't', "not stopped by its tracer: {p:?}");
        assert_eq!(p.status("TracerPid"), Some(kernel.0.id().to_string()), "{p:?}");
        assert_eq!(p.status("NoNewPrivs").as_deref(), Some("1"), "{p:?}");
        assert_eq!(p.status("Threads").as_deref(), Some("1"), "{p:?}");
        assert_ne!(p.session, kernel.0.id(), "in the session of its kernel: {p:?}");
        let limits = std::fs::read_to_string(p.path("limits")).unwrap_or_default();
        let core = limits.lines().find(|l| l.starts_with("Max core file size")).unwrap_or_default();
        assert!(core.split_whitespace().nth(4) == Some("0"), "core dumps: {core}");
        assert_eq!(foreign_mappings(p), Vec::<String>::new(), "{p:?}");
        let maps = std::fs::read_to_string(p.path("maps")).unwrap_or_default();
        let has_memory = maps.contains("umbra-ram");
        let mut fds = p.descriptors().unwrap_or_default();
        fds.sort();
        fds.iter_mut().for_each(|f| *f = f.replace(" (deleted)", ""));
        let filters = p.status("Seccomp_filters").unwrap_or_default();
        let kind = match filters.as_str() {
            "0" => "zygote",
            "1" => "server",
            _ => "guest",
        };
        *kinds.entry(kind).or_insert(0) += 1;
        match kind {
            "zygote" => {
                assert!(!has_memory, "a zygote with guest memory: {p:?}");
                assert!(fds.iter().all(|f| f.starts_with("/memfd:umbra-")), "{p:?}: {fds:?}");
            }
            "server" => assert_eq!(fds, ["/memfd:umbra-ram"], "{p:?}"),
            _ => assert!(fds.is_empty(), "{p:?}: {fds:?}"),
        }
        if kind != "zygote" {
            assert_eq!(p.status("Seccomp").as_deref(), Some("2"), "{p:?}");
        }
    }
    assert!(kinds["guest"] >= 6 && kinds["server"] >= 5 && kinds["zygote"] <= 2, "{kinds:?}");
    // The kernel process: its own filter, and no privileges to gain.
    let all = processes();
    let me = all.iter().find(|p| p.pid == kernel.0.id()).expect("it runs");
    assert_eq!(me.status("Seccomp").as_deref(), Some("2"), "no lockdown");
    assert_eq!(me.status("NoNewPrivs").as_deref(), Some("1"));
    drop(kernel.0.stdin.take());
    let _ = kernel.0.kill();
}

/// The same of mappings at any moment while processes come and go and hostile programs run.
#[test]
fn stubs_hold_nothing_while_they_change() {
    let suite = escape();
    let list = build::Suite::list(&suite.programs).replace('\n', ";");
    let mut cmd = umbra(&["mem=512M", "quiet"], &suite.image, &["/t/runner", "-l", &list]);
    cmd.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut kernel = common::Guard(cmd.spawn().expect("umbra starts"));
    let (mut looks, mut most) = (0, 0);
    // Long enough for most probes; escape.rs lets them end.
    until(Duration::from_secs(15), || {
        // Before the zygote's exec its child is a copy of the kernel, by another name.
        let stubs = stubs_of(kernel.0.id());
        for p in stubs.iter().filter(|p| p.status("Seccomp").as_deref() == Some("2")) {
            let strange = foreign_mappings(p);
            assert!(strange.is_empty(), "{p:?}: {strange:?}");
            // Servers have guest memory; in between, a new one still has its page. Never anything else.
            for fd in p.descriptors().unwrap_or_default() {
                assert!(fd.starts_with("/memfd:umbra-"), "{p:?} has {fd}");
            }
            looks += 1;
        }
        most = most.max(stubs.len());
        kernel.0.try_wait().expect("our child").is_some()
    });
    assert!(looks > 100 && most > 6, "{looks} looks at {most} stubs");
}

/// Names and times of everything in a folder, with contents' lengths.
fn listing(dir: &Path, into: &mut BTreeSet<String>) {
    for e in std::fs::read_dir(dir).expect("it is ours").flatten() {
        let m = e.path().symlink_metadata().expect("it is ours");
        let times = (m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec());
        into.insert(format!(
            "{:?} {:o} {} {} {} {times:?}",
            e.path(),
            m.mode(),
            m.uid(),
            m.gid(),
            m.len()
        ));
        if m.is_dir() {
            listing(&e.path(), into);
        }
    }
}

/// What a stray system call of a guest's would change first.
fn host_state(dirs: &[&Path]) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for d in dirs {
        listing(d, &mut all);
    }
    for dev in ["/dev/null", "/dev/zero", "/dev/full", "/dev/urandom", "/dev/tty", "/dev/ptmx"] {
        if let Ok(m) = std::fs::metadata(dev) {
            // Their times change with use; the ctime of /dev/null with a chmod and nothing else.
            all.insert(format!("{dev} {:o} {} {} {}", m.mode(), m.uid(), m.gid(), m.rdev()));
        }
    }
    for file in [
        "/proc/sys/kernel/hostname",
        "/proc/sys/kernel/domainname",
        "/proc/self/mountinfo",
        "/proc/swaps",
    ] {
        all.insert(format!("{file} {}", std::fs::read_to_string(file).unwrap_or_default()));
    }
    // Others on this machine may use shared memory; ours would be by our user. Only count of all kinds.
    for kind in ["shm", "sem", "msg"] {
        let text = std::fs::read_to_string(format!("/proc/sysvipc/{kind}")).unwrap_or_default();
        all.insert(format!("sysvipc {kind} {}", text.lines().count()));
    }
    all
}

/// All system calls with hostile arguments, by root in the guest: files beside the image, the
/// working directory, home, devices and names of the host are as before.
#[test]
fn a_hostile_guest_leaves_the_host_alone() {
    let suite = escape();
    let dir = Scratch::new("hostile");
    let (cwd, home, tmp) = (dir.path("cwd"), dir.path("home"), dir.path("tmp"));
    for d in [&cwd, &home, &tmp] {
        std::fs::create_dir(d).expect("the scratch directory is writable");
        std::fs::write(d.join("precious"), "data").expect("writable");
    }
    let image = dir.path("image.ext4");
    std::fs::copy(&suite.image, &image).expect("the image can be copied");
    let dirs = [cwd.as_path(), &home, dir.0.as_path()];
    let before = host_state(&dirs);
    let programs: Vec<_> = suite
        .programs
        .iter()
        .filter(|p| {
            matches!(p.name.as_str(), "enter_everything" | "high_numbers" | "int80" | "x32")
        })
        .cloned()
        .collect();
    let list = build::Suite::list(&programs).replace('\n', ";");
    let mut cmd = umbra(&["mem=512M", "quiet"], &image, &["/t/runner", "-l", &list]);
    cmd.current_dir(&cwd).env("HOME", &home);
    let out = run(&mut cmd, b"", Duration::from_secs(120));
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(text.contains("@< enter_everything exit:0"), "{text}");
    let after = host_state(&dirs);
    let changed: Vec<_> = before.symmetric_difference(&after).collect();
    assert!(changed.is_empty(), "{changed:#?}");
}

/// The names on the kernel's allow-list, as arch/lockdown.rs has them.
fn allowed() -> BTreeSet<String> {
    let text = std::fs::read_to_string(repo().join("arch/lockdown.rs")).expect("it is there");
    let rules = text.split("const RULES").nth(1).expect("the table is there");
    let rules = rules.split("];").next().expect("the table ends");
    let names = rules.split("libc::SYS_").skip(1);
    names.map(|r| r.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()).collect()
}

/// The kernel's own host calls while hostile programs run: all on the list, no file opened but the few it
/// names, nothing executed, no process made, no signal to a process that is not a stub.
#[test]
fn the_kernel_keeps_to_its_list() {
    let name = "the_kernel_keeps_to_its_list";
    if !have("strace") {
        return skipped(name, "no strace here");
    }
    let suite = escape();
    let dir = Scratch::new("strace");
    let log = dir.path("log");
    let programs: Vec<_> =
        suite.programs.iter().filter(|p| p.name != "stub_pages").cloned().collect();
    let list = build::Suite::list(&programs).replace('\n', ";");
    // strace stops the kernel while boot still makes its zygotes: it waits until boot is over.
    let script = format!("/t/runner -d /tmp/t -l '{list}'");
    let image = dir.path("image.ext4");
    std::fs::copy(busybox_image(), &image).expect("the image can be copied");
    let write = |from: &Path, to: &str| {
        common::tool(
            Command::new("debugfs")
                .args(["-w", "-R", &format!("write {} {to}", from.display())])
                .arg(&image),
        )
    };
    common::tool(Command::new("debugfs").args(["-w", "-R", "mkdir /t"]).arg(&image));
    common::tool(Command::new("debugfs").args(["-w", "-R", "mkdir /t/bin"]).arg(&image));
    write(&suite.runner, "/t/runner");
    for p in &programs {
        write(&suite.bin.join(&p.name), &format!("/t/bin/{}", p.name));
    }
    let go = format!("echo up; read go; chmod -R 755 /t; {script}");
    let mut kernel = start(&mut umbra(&["mem=256M", "quiet"], &image, &["/bin/sh", "-c", &go]));
    let mut strace = Command::new("strace");
    strace
        .args(["-f", "-qq", "-e", "signal=none", "-p", &kernel.0.id().to_string(), "-o"])
        .arg(&log);
    strace.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut strace = common::Guard(strace.spawn().expect("strace starts"));
    let attached = || {
        let p = processes().into_iter().find(|p| p.pid == kernel.0.id());
        p.and_then(|p| p.status("TracerPid")).is_some_and(|t| t != "0")
    };
    if !until(Duration::from_secs(5), attached) {
        return skipped(name, "strace may not attach here");
    }
    std::thread::sleep(Duration::from_millis(200));
    let mut out = kernel.0.stdout.take().expect("stdout is piped");
    let reader = std::thread::spawn(move || {
        let mut all = String::new();
        let _ = std::io::Read::read_to_string(&mut out, &mut all);
        all
    });
    drop(kernel.0.stdin.take());
    // Under strace each call of the kernel costs a hundred times more: what it has not done by then it need not do.
    common::host::ended(&mut kernel, Duration::from_secs(40));
    let _ = kernel.0.kill();
    let _ = kernel.0.wait();
    common::host::ended(&mut strace, Duration::from_secs(5));
    let said = reader.join().expect("the reader does not panic");
    assert!(said.matches("@<").count() >= 5, "hardly anything ran: {said}");
    let allowed = allowed();
    assert!(allowed.len() > 40 && allowed.contains("ptrace"), "{allowed:?}");
    let text = std::fs::read(&log).expect("strace wrote it");
    let text = String::from_utf8_lossy(&text);
    let mut seen = BTreeMap::<String, usize>::new();
    for line in text.lines() {
        let Some(call) = line.split_whitespace().nth(1) else { continue };
        let Some((call, _)) = call.split_once('(') else { continue };
        if call.starts_with(['<', '+', '-']) {
            continue;
        }
        *seen.entry(call.to_owned()).or_default() += 1;
        assert!(allowed.contains(call), "not on the list: {line}");
        if matches!(call, "openat" | "readlink" | "newfstatat" | "statx") {
            let fine =
                ["/proc/", "/sys/devices/system/cpu", "\"\""].iter().any(|f| line.contains(f));
            assert!(fine, "the guest makes the kernel look at files: {line}");
        }
        if call == "ptrace" {
            let known = [
                "SYSEMU",
                "CONT",
                "GETREGS",
                "SETREGS",
                "GETREGSET",
                "SETREGSET",
                "POKEUSER",
                "PEEKUSER",
                "GETSIGINFO",
                "GET_SYSCALL_INFO",
                "INTERRUPT",
                "LISTEN",
                "GETEVENTMSG",
                "SETOPTIONS",
                "SINGLESTEP",
                "POKEUSR",
                "PEEKUSR",
            ];
            let request = line.split("PTRACE_").nth(1).unwrap_or_default();
            assert!(known.iter().any(|k| request.starts_with(k)), "{line}");
        }
    }
    assert!(seen.get("ptrace").is_some_and(|n| *n > 1000), "{seen:?}");
}
