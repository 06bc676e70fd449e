//! Birth, reuse and death of stubs: by the kernel's wish, from outside, and with the kernel.

mod common;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arch::{Event, Regs, Space, Thread};
use base::{Errno, Pfn, UserAddr};
use common::{
    CODE, DATA, DATA_FRAME, Kind, Random, call_nr, guest, machine, rw, space_with, thread_at,
};

/// `1: incq (%rdi); mov $39,%eax; syscall; add $4096,%rdi; jmp 1b`
const TOUCH: &[u8] = b"\x48\xff\x07\xb8\x27\0\0\0\x0f\x05\x48\x81\xc7\0\x10\0\0\xeb\xed";
/// `mov $39,%eax; syscall; jmp back`
const CALLS: &[u8] = b"\xb8\x27\0\0\0\x0f\x05\xeb\xf7";

fn a_stub_has_nothing_of_the_host(kind: Kind) {
    let m = machine(kind);
    let known: &[&str] = match kind {
        // Text and requests.
        Kind::Ptrace => &["7fffffffd000-7fffffffe000 r-xs", "7fffffffe000-7ffffffff000 r--s"],
        // Text, K pages, S regions.
        Kind::Shm => &[
            "7fff00000000-7fff00002000 r-xs",
            "7fff10000000-7fff10400000 r--s",
            "7fff20000000-7fff22000000 rw-s",
        ],
    };
    let vsyscall = "ffffffffff600000-ffffffffff601000 --xp";
    let tasks = m.host_tasks();
    let status = |pid: i32, tid: i32| {
        std::fs::read_to_string(format!("/proc/{pid}/task/{tid}/status")).expect("status")
    };
    for &pid in &tasks {
        let maps = common::host_maps(pid);
        // The range and its rights.
        let range = |l: &str| l.split(' ').take(2).collect::<Vec<_>>().join(" ");
        let found: BTreeSet<String> = maps.lines().map(range).collect();
        assert!(found.iter().all(|r| known.contains(&&**r) || r == vsyscall), "{maps}");
        assert!(known.iter().all(|r| found.contains(*r)), "{maps}");
        assert!(status(pid, pid).contains("NoNewPrivs:\t1"));
        let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).expect("limits");
        let core = limits.lines().find(|l| l.starts_with("Max core")).expect("core");
        assert_eq!(core.split_whitespace().nth(4), Some("1"));
    }
    // Filters and descriptors of each host task, sorted.
    let mut kinds: Vec<(u32, usize)> = Vec::new();
    for &pid in &tasks {
        for tid in common::host_threads(pid) {
            let text = status(pid, tid);
            let filters = text.lines().find_map(|l| l.strip_prefix("Seccomp_filters:"));
            let fds = std::fs::read_dir(format!("/proc/{pid}/task/{tid}/fd")).expect("fds").count();
            kinds.push((filters.expect("Linux 5.9").trim().parse().expect("a number"), fds));
        }
    }
    kinds.sort_unstable();
    match kind {
        // Zygote, the zygote's twin, server, guest task.
        Kind::Ptrace => assert_eq!(kinds, [(0, 2), (0, 2), (1, 1), (2, 0)]),
        // A server has guest memory and where it reports to, the zygotes the control pages, too.
        Kind::Shm => assert_eq!(kinds, [(1, 2), (1, 3), (1, 3), (2, 0)]),
    }
    for pid in &tasks {
        let (group, session) = common::group_and_session(*pid);
        match kind {
            Kind::Ptrace => assert_eq!(group, session),
            Kind::Shm => assert!(tasks.contains(&group)),
        }
        assert!(tasks.contains(&session), "a session of its own");
    }
}

/// What was only foreseen is mapped with the first batch that has a reason, and not before.
fn what_is_added_waits_until_it_is_demanded(kind: Kind) {
    let (m, s, _) = guest(kind, TOUCH);
    let mut r = Regs::initial(CODE, 0);
    r.rdi = 0x100_0000;
    let mut t = s.clone().new_thread(&r, None).expect("task");
    m.phys().zero(Pfn(100), 2);
    s.flush().expect("alive"); // the code
    s.add(UserAddr(0x100_0000), Pfn(100), 1, rw(), true);
    assert!(s.has_queued());
    assert!(matches!(common::run(&mut t), Event::Fault(f) if f.addr == UserAddr(0x100_0000)));
    assert!(s.has_queued(), "nobody has demanded it");
    s.demand();
    assert_eq!(call_nr(common::run(&mut t)), 39);
    assert!(!s.has_queued());
    s.add(UserAddr(0x100_1000), Pfn(101), 1, rw(), true);
    s.unmap(UserAddr(0x200_0000), 1); // this cannot wait, and takes the other along
    assert_eq!(call_nr(common::run(&mut t)), 39);
    let mut word = [0; 8];
    m.phys().read(Pfn(101).addr(), &mut word);
    assert_eq!(u64::from_le_bytes(word), 1);
}

fn pages_appear_change_and_vanish(kind: Kind) {
    let (m, s, _) = guest(kind, TOUCH);
    let mut r = Regs::initial(CODE, 0);
    r.rdi = 0x100_0000;
    let mut t = s.clone().new_thread(&r, None).expect("task");
    m.phys().zero(Pfn(100), 300);
    let mut faults = 0;
    let mut calls = 0;
    while calls < 256 {
        match common::run(&mut t) {
            Event::Fault(f) => {
                assert!(!f.present);
                let page = (f.addr.0 - 0x100_0000) >> 12;
                s.map(f.addr.page_down(), Pfn(100 + page as u32), 16, rw(), true);
                faults += 1;
            }
            Event::Syscall { .. } => calls += 1,
            e => panic!("{e:?}"),
        }
    }
    assert_eq!(faults, 16);
    for page in 0..256 {
        let mut word = [0; 8];
        m.phys().read(Pfn(100 + page).addr(), &mut word);
        assert_eq!(u64::from_le_bytes(word), 1);
    }
    // Write-protected: the store faults as one; given back, it happens exactly once.
    t.regs_mut().rdi = 0x100_0000 - 4096;
    t.set_result(0);
    s.protect(UserAddr(0x100_0000), 256, arch::Prot::READ);
    match common::run(&mut t) {
        Event::Fault(f) => {
            assert!(f.present && f.write != Some(false) && !f.exec);
            s.protect(f.addr.page_down(), 1, rw());
        }
        e => panic!("{e:?}"),
    }
    assert_eq!(call_nr(common::run(&mut t)), 39);
    let mut word = [0; 8];
    m.phys().read(Pfn(100).addr(), &mut word);
    assert_eq!(u64::from_le_bytes(word), 2);
    // The later operation wins: mapped, unmapped, mapped to another frame in one flush.
    let at = UserAddr(0x200_0000);
    s.map(at, Pfn(1), 1, rw(), true);
    s.unmap(at, 1);
    s.map(at, Pfn(400), 1, rw(), true);
    m.phys().write(Pfn(400).addr(), &7u64.to_le_bytes());
    t.regs_mut().rdi = at.0 - 4096;
    assert_eq!(call_nr(common::run(&mut t)), 39);
    m.phys().read(Pfn(400).addr(), &mut word);
    assert_eq!(u64::from_le_bytes(word), 8);
}

fn a_refused_batch_drops_everything_and_says_so(kind: Kind) {
    let (_m, s, mut t) = guest(kind, CALLS);
    assert_eq!(call_nr(common::run(&mut t)), 39);
    let before = s.generation();
    // mprotect of nothing: the host answers ENOMEM.
    s.protect(UserAddr(0x900_0000), 4, rw());
    assert_eq!(s.flush().expect_err("refused"), Errno::ENOMEM);
    assert_eq!(s.generation(), before + 1);
    assert!(matches!(common::run(&mut t), Event::Fault(f) if !f.present));
    s.map(UserAddr(CODE), Pfn(0), 2, common::rx(), true);
    assert_eq!(call_nr(common::run(&mut t)), 39);
}

fn too_many_host_mappings_are_dropped_in_time(kind: Kind) {
    let m = machine(kind);
    let s = m.new_space().expect("stub");
    let frames = u64::from(m.phys().pages());
    // Every other page, each with a frame that does not continue the last one's.
    for i in 0..70_000u64 {
        let frame = Pfn(((i * 7) % frames) as u32);
        s.map(UserAddr(0x1000_0000 + i * 8192), frame, 1, rw(), false);
        if i % 1000 == 999 {
            s.flush().expect("the host's limit is never met");
        }
    }
    assert!(s.generation() >= 1);
    // Mapping and unmapping the same page for ever is no reason to drop anything.
    let s = m.new_space().expect("stub");
    s.map(UserAddr(0x9000_0000), Pfn(5), 1, rw(), false);
    for i in 0..70_000u64 {
        s.map(UserAddr(0x1000_0000), Pfn((i & 1) as u32), 1, rw(), false);
        s.map(UserAddr(0x2000_0000), Pfn((i & 1) as u32), 1, rw(), false);
        if i % 30 == 0 {
            s.flush().expect("alive");
        }
    }
    assert_eq!(s.generation(), 0);
}

fn threads_share_a_space_and_are_reused(kind: Kind) {
    let (m, s, _) = guest(kind, CALLS);
    let mut threads: Vec<_> = (0..8).map(|_| thread_at(&s, CODE)).collect();
    for round in 0..20i64 {
        for t in &mut threads {
            assert_eq!(call_nr(common::run(t)), 39);
            t.set_result(round);
        }
    }
    let tasks = m.host_tasks().len();
    threads.clear();
    let mut again: Vec<_> = (0..8).map(|_| thread_at(&s, CODE)).collect();
    assert_eq!(m.host_tasks().len(), tasks, "parked host tasks are taken first");
    for t in &mut again {
        assert_eq!(call_nr(common::run(t)), 39);
        assert_eq!(t.regs().r12, 0);
    }
}

fn spaces_are_reused_empty(kind: Kind) {
    let m = machine(kind);
    for round in 0..30u64 {
        let s = space_with(&m, CALLS);
        let mut t = thread_at(&s, CODE);
        assert_eq!(call_nr(common::run(&mut t)), 39);
        s.map(UserAddr(0x300_0000 + round * 0x1_0000), Pfn(9), 1, rw(), true);
        s.flush().expect("alive");
        drop((t, s));
        if round % 3 == 0 {
            while m.idle_work() {}
        }
        let fresh = m.new_space().expect("stub");
        let mut t = thread_at(&fresh, 0x300_0000);
        assert!(matches!(common::run(&mut t), Event::Fault(f) if !f.present));
        assert!(m.host_tasks().len() < 12, "{:?}", m.host_tasks());
    }
}

/// A guest process as the death storm keeps it.
type Process = (Arc<dyn Space>, Vec<Box<dyn Thread>>);

fn kill(pid: i32, signal: &str) {
    let ok = Command::new("/bin/kill").args([signal, &pid.to_string()]).status();
    ok.expect("a kill program");
}

fn death_of_any_task_is_an_event(kind: Kind) {
    // Under ptrace server and two guest tasks: one of the last is not looked at.
    let (tasks, victims) = match kind {
        Kind::Ptrace => (3, 2),
        Kind::Shm => (1, 1),
    };
    for victim in 0..victims {
        let m = machine(kind);
        let before: BTreeSet<i32> = m.host_tasks().into_iter().collect();
        let keep = m.new_space().expect("the pooled stub");
        let s = space_with(&m, CALLS);
        let mut t = thread_at(&s, CODE);
        let mut sibling = thread_at(&s, CODE);
        assert_eq!(call_nr(common::run(&mut t)), 39);
        let mine: Vec<i32> = m.host_tasks().into_iter().filter(|p| !before.contains(p)).collect();
        assert_eq!(mine.len(), tasks);
        kill(mine[victim], "-KILL");
        std::thread::sleep(Duration::from_millis(20));
        s.map(UserAddr(DATA), DATA_FRAME, 1, rw(), true);
        let end = Instant::now() + Duration::from_secs(5);
        while t.run() != Event::Dead {
            assert!(Instant::now() < end, "victim {victim}");
        }
        assert_eq!(sibling.run(), Event::Dead);
        assert_eq!(s.flush().expect_err("dead"), Errno::ESRCH);
        assert_eq!(t.xstate().expect_err("dead"), Errno::ESRCH);
        assert_eq!(
            s.clone().new_thread(&Regs::initial(0, 0), None).expect_err("dead"),
            Errno::ESRCH
        );
        assert!(m.host_tasks().iter().all(|p| before.contains(p)), "all are reaped");
        let _ = (t.regs().rip, sibling.regs_mut().rip);
        drop((keep, t, sibling, s));
    }
}

/// The zygote and its twin.
fn zygotes(m: &common::TestMachine) -> Vec<i32> {
    let is_one = |&pid: &i32| match m.kind {
        Kind::Ptrace => std::fs::read_to_string(format!("/proc/{pid}/status"))
            .is_ok_and(|s| s.contains("Seccomp:\t0")),
        // Both lead a session, and so does nobody else.
        Kind::Shm => common::group_and_session(pid).1 == pid,
    };
    m.host_tasks().into_iter().filter(is_one).collect()
}

fn the_zygote_is_replaced(kind: Kind) {
    let m = machine(kind);
    let original = m.host_tasks();
    let use_a_stub = || {
        let s = space_with(&m, CALLS);
        let mut t = thread_at(&s, CODE);
        assert_eq!(call_nr(common::run(&mut t)), 39);
        (s, t)
    };
    let mut held = vec![use_a_stub()]; // the pooled one
    // The zygote; its twin, the youngest; then both that are there by then.
    let mut victims = vec![original[0]];
    for _ in 0..3 {
        for &pid in &victims {
            kill(pid, "-KILL");
        }
        std::thread::sleep(Duration::from_millis(20));
        let before = m.host_tasks();
        held.push(use_a_stub());
        held.push(use_a_stub());
        assert!(victims.iter().all(|v| !m.host_tasks().contains(v)));
        victims = zygotes(&m);
        assert_eq!(victims.len(), 2, "{before:?} {:?}", m.host_tasks());
    }
}

fn death_storm(kind: Kind) {
    let m = machine(kind);
    let stop = Arc::new(AtomicBool::new(false));
    let (quit, pids) = (stop.clone(), Arc::new(std::sync::Mutex::new(Vec::<i32>::new())));
    let targets = pids.clone();
    // One shell does the killing: a process start for each signal would be too slow.
    let killer = std::thread::spawn(move || {
        use std::io::Write;
        let mut shell = Command::new("/bin/sh")
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh");
        let mut input = shell.stdin.take().expect("piped");
        let mut random = Random(0xdead_beef);
        let signals =
            ["KILL", "KILL", "STOP", "CONT", "SEGV", "TRAP", "TERM", "CHLD", "SYS", "URG", "ILL"];
        while !quit.load(Ordering::SeqCst) {
            let list = targets.lock().expect("no panic").clone();
            if !list.is_empty() {
                let pid = list[random.below(list.len() as u64) as usize];
                let signal = signals[random.below(signals.len() as u64) as usize];
                let _ = writeln!(input, "kill -{signal} {pid}");
            }
            std::thread::sleep(Duration::from_micros(50 + random.below(400)));
        }
        drop(input);
        let _ = shell.wait();
    });
    let seconds = std::env::var("STORM").ok().and_then(|s| s.parse().ok()).unwrap_or(4);
    let end = Instant::now() + Duration::from_secs(seconds);
    let watch = stop.clone();
    std::thread::spawn(move || {
        while Instant::now() < end + Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(100));
            if watch.load(Ordering::SeqCst) {
                return;
            }
        }
        eprintln!("the death storm hangs");
        std::process::abort();
    });
    let mut random = Random(4711);
    let mut guests: Vec<Option<Process>> = (0..6).map(|_| None).collect();
    let (mut deaths, mut calls) = (0, 0);
    while Instant::now() < end {
        let slot = &mut guests[random.below(6) as usize];
        *pids.lock().expect("no panic") = m.host_tasks();
        let Some((space, threads)) = slot else {
            let Ok(space) = m.new_space() else { continue };
            space.map(UserAddr(CODE), Pfn(0), 2, common::rx(), true);
            m.phys().write(Pfn(0).addr(), CALLS);
            let threads: Vec<_> = (0..=random.below(3))
                .map_while(|_| space.clone().new_thread(&Regs::initial(CODE, DATA), None).ok())
                .collect();
            if !threads.is_empty() {
                *slot = Some((space, threads));
            }
            continue;
        };
        let i = random.below(threads.len() as u64) as usize;
        let t = &mut threads[i];
        let mut dead = false;
        match random.below(6) {
            0..3 => {
                for _ in 0..20 {
                    match t.run() {
                        Event::Syscall { nr: 39, .. } => {
                            t.set_result(1);
                            calls += 1;
                        }
                        Event::Dead => {
                            dead = true;
                            break;
                        }
                        Event::Kicked => {} // SIGCONT from outside looks like it
                        e => panic!("{e:?}"),
                    }
                }
            }
            3 => {
                for k in 0..30 {
                    space.map(UserAddr(0x1000_0000 + k * 0x10_0000), Pfn(1000), 16, rw(), true);
                }
                dead = space.flush().is_err();
                space.unmap(UserAddr(0x1000_0000), 0x2000);
                dead |= space.flush().is_err();
            }
            4 => dead = t.xstate().and_then(|x| t.set_xstate(&x)).is_err(),
            _ => {
                threads.remove(i);
                match space.clone().new_thread(&Regs::initial(CODE, DATA), None) {
                    Ok(new) => threads.push(new),
                    Err(_) => dead = true,
                }
                if random.below(20) == 0 {
                    *slot = None;
                    m.idle_work();
                    continue;
                }
            }
        }
        if dead {
            deaths += 1;
            *slot = None;
        }
    }
    stop.store(true, Ordering::SeqCst);
    killer.join().expect("no panic");
    guests.clear();
    println!("{deaths} deaths, {calls} calls");
    assert!(deaths > 10 && calls > 100, "{deaths} deaths, {calls} calls");
    let tasks = m.host_tasks();
    drop(m);
    // Not even one whose birth was interrupted, and that nobody knows of.
    let me = std::fs::read_link("/proc/thread-self").expect("proc");
    let children = std::fs::read_to_string(format!("/proc/{}/children", me.display()));
    assert_eq!(children.unwrap_or_default(), "");
    for pid in tasks {
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "{pid} is left");
    }
}

/// What the parent test says.
fn kind_from_environment() -> Kind {
    match std::env::var("UMBRA_TEST_KIND").as_deref() {
        Ok("Shm") => Kind::Shm,
        _ => Kind::Ptrace,
    }
}

/// Not a test of its own.
#[test]
#[ignore = "run by the_backend_works_behind_the_allow_list"]
fn locked_kernel() {
    use std::io::Write;
    let kind = kind_from_environment();
    arch::panic::install(Box::new(|_| ()));
    common::enter_cpu();
    let m = machine(kind);
    arch::lockdown::install().expect("filters");
    for round in 0..3 {
        println!("zygote {}", zygotes(&m)[0]);
        std::io::stdout().flush().expect("parent listens");
        std::io::stdin().read_line(&mut String::new()).expect("parent writes");
        let mut held = Vec::new();
        for _ in 0..6 {
            let s = space_with(&m, CALLS);
            let mut threads: Vec<_> = (0..3).map(|_| thread_at(&s, CODE)).collect();
            for t in &mut threads {
                assert_eq!(call_nr(common::run(t)), 39);
                let x = t.xstate().expect("alive");
                t.set_xstate(&x).expect("same");
            }
            for i in 0..6000u64 {
                s.map(UserAddr(0x1000_0000 + i * 8192), Pfn(5), 1, rw(), false);
            }
            s.flush().expect("alive");
            held.push((s, threads));
        }
        drop(held);
        while m.idle_work() {}
        arch::timer::arm(Some(arch::clock::monotonic() + Duration::from_millis(1)));
        arch::cpu::idle(None);
        let fiber = arch::switch::Fiber::new(1 << 16, Box::new(|| ()));
        drop(fiber);
        println!("round {round} is over");
    }
}

fn the_backend_works_behind_the_allow_list(kind: Kind) {
    use std::io::Write;
    let mut child = Command::new(std::env::current_exe().expect("path"))
        .args(["--ignored", "--exact", "locked_kernel", "--nocapture"])
        .env("UMBRA_TEST_KIND", format!("{kind:?}"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("self");
    let mut to = child.stdin.take().expect("piped");
    let mut rounds = 0;
    for line in BufReader::new(child.stdout.take().expect("piped")).lines() {
        let line = line.expect("text");
        if let Some(at) = line.find("zygote ") {
            if rounds > 0 {
                kill(line[at + 7..].parse().expect("a pid"), "-KILL");
                std::thread::sleep(Duration::from_millis(20));
            }
            to.write_all(b"\n").expect("child reads");
        }
        rounds += u32::from(line.starts_with("round"));
    }
    let out = child.wait_with_output().expect("ends");
    assert_eq!(rounds, 3, "{}", String::from_utf8_lossy(&out.stderr));
}

/// Not a test of its own: the kernel that `no_stub_outlives_the_kernel` kills.
#[test]
#[ignore = "run by no_stub_outlives_the_kernel"]
fn victim_kernel() {
    let kind = kind_from_environment();
    let m = machine(kind);
    let mut held = Vec::new();
    loop {
        if held.len() < 6 {
            let s = space_with(&m, CALLS);
            let t = thread_at(&s, CODE);
            held.push((s, t));
            let list: Vec<String> = m.host_tasks().iter().map(i32::to_string).collect();
            println!("tasks {}", list.join(" "));
        }
        for (s, t) in &mut held {
            t.run();
            t.set_result(0);
            s.map(UserAddr(0x500_0000), Pfn(7), 16, rw(), true);
        }
    }
}

fn no_stub_outlives_the_kernel(kind: Kind) {
    let me = std::env::current_exe().expect("path");
    let mut random = Random(42);
    for _ in 0..15 {
        let mut child = Command::new(&me)
            .args(["--ignored", "--exact", "victim_kernel", "--nocapture"])
            .env("UMBRA_TEST_KIND", format!("{kind:?}"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("self");
        let mut out = BufReader::new(child.stdout.take().expect("piped"));
        let mut tasks = BTreeSet::new();
        let lines = 1 + random.below(6);
        let mut line = String::new();
        let mut seen = 0;
        while seen < lines && out.read_line(&mut line).expect("readable") > 0 {
            if let Some(at) = line.find("tasks ") {
                tasks.extend(line[at + 6..].split_whitespace().map(str::to_owned));
                seen += 1;
            }
            line.clear();
        }
        std::thread::sleep(Duration::from_micros(random.below(3000)));
        child.kill().expect("killed");
        child.wait().expect("reaped");
        assert!(tasks.len() >= if kind == Kind::Ptrace { 3 } else { 2 }, "{tasks:?}");
        let end = Instant::now() + Duration::from_secs(1);
        for pid in &tasks {
            // A zombie that nobody has reaped yet lives no more.
            let lives = || {
                std::fs::read_to_string(format!("/proc/{pid}/stat"))
                    .is_ok_and(|s| !s.contains(") Z ") && !s.contains(") X "))
            };
            while lives() {
                assert!(Instant::now() < end, "stub task {pid} outlives the kernel");
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

both! {
    a_stub_has_nothing_of_the_host
    pages_appear_change_and_vanish
    what_is_added_waits_until_it_is_demanded
    a_refused_batch_drops_everything_and_says_so
    too_many_host_mappings_are_dropped_in_time
    threads_share_a_space_and_are_reused
    spaces_are_reused_empty
    death_of_any_task_is_an_event
    the_zygote_is_replaced
    death_storm
    the_backend_works_behind_the_allow_list
    no_stub_outlives_the_kernel
}
