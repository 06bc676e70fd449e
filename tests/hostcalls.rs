//! What a hostile guest could reach on the host, seen from the host, for each backend. Under ptrace strace
//! cannot look at stubs, which have a tracer already (Umbra): the observables are what the host
//! says of each: filters, mappings, descriptors, limits. Under shm strace shows each of their host calls.
//! And for the kernel process, strace itself, against the list in arch/lockdown.rs.

mod common;

use common::host::{Proc, processes, stubs_of, until};
use common::stubcalls;
use common::{
    BACKENDS, Scratch, build, busybox_image, have, repo, run, skipped, start, umbra, umbra_bin,
};
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

/// What a stub may have mapped: its text, its requests (never writable), under shm its pages for events, guest memory, and
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
            "/memfd:umbra-control" if words[0].starts_with("7fff1") => rights == "r--s",
            "/memfd:umbra-control" => words[0].starts_with("7fff2") && rights == "rw-s",
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

/// A file of one thread of a process.
fn of_thread(p: &Proc, tid: u32, what: &str) -> String {
    std::fs::read_to_string(p.path(&format!("task/{tid}/{what}"))).unwrap_or_default()
}

/// How many filters a thread has.
fn filters(p: &Proc, tid: u32) -> u32 {
    let status = of_thread(p, tid, "status");
    let line = status.lines().find_map(|l| l.strip_prefix("Seccomp_filters:"));
    line.and_then(|l| l.trim().parse().ok()).unwrap_or(0)
}

/// What a thread has open, sorted.
fn descriptors(p: &Proc, tid: u32) -> Vec<String> {
    let dir = std::fs::read_dir(p.path(&format!("task/{tid}/fd"))).into_iter().flatten().flatten();
    let mut all: Vec<String> = dir
        .filter_map(|e| Some(std::fs::read_link(e.path()).ok()?.to_string_lossy().into_owned()))
        .map(|f| f.replace(" (deleted)", ""))
        .collect();
    all.sort();
    all
}

/// Every stub at rest. A host task of guest code has two filters and no descriptor; a server one filter and guest
/// memory; zygotes never have guest memory mapped.
#[test]
fn stubs_hold_nothing_of_the_host() {
    for backend in BACKENDS {
        at_rest(backend);
    }
}

fn at_rest(backend: &str) {
    let shm = backend == "backend=shm";
    let mut kernel =
        start(&mut umbra(&[backend, "quiet"], &busybox_image(), &["/bin/sh", "-c", BUSY]));
    // The last ones made are still being set up; idle work fills the pool.
    std::thread::sleep(Duration::from_millis(500));
    let stubs = stubs_of(kernel.0.id());
    assert!(stubs.len() >= 8, "{stubs:?}");
    let mut kinds = BTreeMap::new();
    for p in &stubs {
        let exe = std::fs::read_link(p.path("exe")).unwrap_or_default();
        assert!(exe.to_string_lossy().starts_with("/memfd:umbra-stub"), "{p:?}: {exe:?}");
        let tracer = if shm { 0 } else { kernel.0.id() };
        assert_eq!(p.status("TracerPid"), Some(tracer.to_string()), "{p:?}");
        assert_eq!(p.status("NoNewPrivs").as_deref(), Some("1"), "{p:?}");
        assert!(shm || p.status("Threads").as_deref() == Some("1"), "{p:?}");
        assert_ne!(p.session, kernel.0.id(), "in the session of its kernel: {p:?}");
        let limits = std::fs::read_to_string(p.path("limits")).unwrap_or_default();
        let core = limits.lines().find(|l| l.starts_with("Max core file size")).unwrap_or_default();
        assert!(core.split_whitespace().nth(4) == Some("1"), "core dumps: {core}");
        assert_eq!(foreign_mappings(p), Vec::<String>::new(), "{p:?}");
        let maps = std::fs::read_to_string(p.path("maps")).unwrap_or_default();
        let has_memory = maps.contains("umbra-ram");
        for tid in p.threads() {
            let stat = of_thread(p, tid, "stat");
            let state = stat.rsplit(") ").next().and_then(|r| r.chars().next());
            // At rest: stopped by the tracer; asleep in a futex (202) on a K page.
            assert_eq!(state, Some(if shm { 'S' } else { 't' }), "{p:?}: {stat}");
            let call = of_thread(p, tid, "syscall");
            assert!(!shm || call.starts_with("202 0x7fff10"), "{p:?}: in {call}");
            let kind = match filters(p, tid) {
                0 => "zygote",
                1 if shm && p.session == p.pid => "zygote",
                1 => "server",
                _ => "guest",
            };
            *kinds.entry(kind).or_insert(0) += 1;
            let open = descriptors(p, tid);
            let server: &[&str] = match shm {
                true => &["/memfd:umbra-ram", "anon_inode:[eventfd]"],
                false => &["/memfd:umbra-ram"],
            };
            match kind {
                "zygote" => {
                    assert!(!has_memory, "a zygote with guest memory: {p:?}");
                    let ours = |f: &String| {
                        f.starts_with("/memfd:umbra-") || shm && f == "anon_inode:[eventfd]"
                    };
                    assert!(open.iter().all(ours) && open.len() <= 3, "{p:?}: {open:?}");
                }
                "server" => assert_eq!(open, server, "{p:?}"),
                _ => assert!(open.is_empty(), "{p:?}: {open:?}"),
            }
            if kind != "zygote" || shm {
                assert!(of_thread(p, tid, "status").contains("Seccomp:\t2"), "{p:?}");
            }
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
    for backend in BACKENDS {
        while_they_change(backend);
    }
}

fn while_they_change(backend: &str) {
    let suite = escape();
    let list = build::Suite::list(&suite.programs).replace('\n', ";");
    let mut cmd = umbra(&[backend, "mem=512M", "quiet"], &suite.image, &["/t/runner", "-l", &list]);
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
                let ours = fd.starts_with("/memfd:umbra-") || fd == "anon_inode:[eventfd]";
                assert!(ours, "{p:?} has {fd}");
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
    for backend in BACKENDS {
        leaves_the_host_alone(backend);
    }
}

fn leaves_the_host_alone(backend: &str) {
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
    let mut cmd = umbra(&[backend, "mem=512M", "quiet"], &image, &["/t/runner", "-l", &list]);
    cmd.current_dir(&cwd).env("HOME", &home);
    let out = run(&mut cmd, b"", Duration::from_secs(120));
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(text.contains("@< enter_everything exit:0"), "{text}");
    let after = host_state(&dirs);
    let changed: Vec<_> = before.symmetric_difference(&after).collect();
    assert!(changed.is_empty(), "{changed:#?}");
}

/// Programs that would take minutes where each call is shown to strace.
fn slow(name: &str) -> bool {
    name == "stub_pages" || name.starts_with("shm_")
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
    for backend in BACKENDS {
        keeps_to_its_list(name, backend);
    }
}

fn keeps_to_its_list(name: &str, backend: &str) {
    let suite = escape();
    let dir = Scratch::new("strace");
    let log = dir.path("log");
    let mut programs: Vec<_> = suite.programs.iter().filter(|p| !slow(&p.name)).cloned().collect();
    // The longest one last.
    programs.sort_by_key(|p| p.name == "enter_everything");
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
    let mut kernel =
        start(&mut umbra(&[backend, "mem=256M", "quiet"], &image, &["/bin/sh", "-c", &go]));
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
    let mut killed = BTreeSet::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let (Some(tid), Some(call)) = (words.next(), words.next()) else { continue };
        let Some((call, _)) = call.split_once('(') else { continue };
        if call.starts_with(['<', '+', '-']) {
            continue;
        }
        // A thread that was killed at the entry of a call, before strace could look: a call that is never made.
        if call == "???" {
            killed.insert(tid);
            continue;
        }
        assert!(!killed.contains(tid), "not the last of its thread: {line}");
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
                "SETFPREGS",
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
    let most = if backend == "backend=shm" { "futex" } else { "ptrace" };
    assert!(seen.get(most).is_some_and(|n| *n > 1000), "{seen:?}");
    assert!(backend != "backend=shm" || !seen.contains_key("ptrace"), "{seen:?}");
}

/// Every host call of every stub, from the first one, while hostile programs run. arch/tests/controls.rs has
/// the negative control: a filter that lets a call through is found by the same look.
#[test]
fn stubs_call_what_is_listed_and_nothing_else() {
    let name = "stubs_call_what_is_listed_and_nothing_else";
    if !have("strace") {
        return skipped(name, "no strace here");
    }
    let suite = escape();
    let dir = Scratch::new("stubcalls");
    let log = dir.path("log");
    // Those whose calls filters end come first, the longest one last: how far it gets is the host's speed.
    let wanted =
        ["shm_jump", "int80", "x32", "sysenter", "vsyscall", "shm_scribble", "enter_everything"];
    let programs: Vec<_> = wanted
        .iter()
        .filter_map(|w| suite.programs.iter().find(|p| p.name == *w).cloned())
        .collect();
    let list = build::Suite::list(&programs).replace('\n', ";");
    let mut cmd = Command::new("strace");
    cmd.args(["-f", "-qq", "-o"]).arg(&log).arg(umbra_bin());
    cmd.args(["run", "backend=shm", "mem=256M", "quiet"]).arg(&suite.image);
    cmd.args(["--", "/t/runner", "-l", &list]);
    cmd.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut strace = common::Guard(cmd.spawn().expect("strace starts"));
    // What has not been tried by then need not be.
    if common::host::ended(&mut strace, Duration::from_secs(45)).is_none() {
        let kernel = processes().into_iter().find(|p| p.parent == strace.0.id());
        common::host::signal(kernel.expect("it runs").pid, "KILL");
        common::host::ended(&mut strace, Duration::from_secs(20)).expect("strace ends with it");
    }
    let text = std::fs::read(&log).expect("strace wrote it");
    let seen = stubcalls::judge(&String::from_utf8_lossy(&text));
    assert!(seen.forbidden.is_empty(), "{:#?}", &seen.forbidden[..seen.forbidden.len().min(9)]);
    assert!(seen.zygotes == 1 && seen.servers > 10 && seen.threads > 10, "{seen:?}");
    assert!(seen.calls > 1000 && seen.refused > 10, "{seen:?}");
    common::say(&format!("stubs' host calls: {} as listed, {} refused", seen.calls, seen.refused));
}
