//! Birth, reuse and death of stubs: by the kernel's wish, from outside, and with the kernel.

mod common;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arch::{Event, Machine, Regs, Space, Thread};
use base::{Errno, Pfn, UserAddr};
use common::{CODE, DATA, DATA_FRAME, Random, call_nr, guest, machine, rw, space_with, thread_at};

/// `1: incq (%rdi); mov $39,%eax; syscall; add $4096,%rdi; jmp 1b`
const TOUCH: &[u8] = b"\x48\xff\x07\xb8\x27\0\0\0\x0f\x05\x48\x81\xc7\0\x10\0\0\xeb\xed";
/// `mov $39,%eax; syscall; jmp back`
const CALLS: &[u8] = b"\xb8\x27\0\0\0\x0f\x05\xeb\xf7";

fn lines(maps: &str) -> Vec<&str> {
    maps.lines().collect()
}

#[test]
fn a_stub_has_nothing_of_the_host() {
    let m = machine();
    for pid in m.host_tasks() {
        let maps = common::host_maps(pid);
        let ranges: BTreeSet<&str> =
            lines(&maps).iter().filter_map(|l| l.split(' ').next()).collect();
        let known = [
            "7fffffffd000-7fffffffe000",
            "7fffffffe000-7ffffffff000",
            "ffffffffff600000-ffffffffff601000",
        ];
        assert!(ranges.iter().all(|r| known.contains(r)), "{maps}");
        assert!(!maps.contains("rw") && !maps.contains("-w"), "{maps}");
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
        assert!(status.contains("NoNewPrivs:\t1"), "{status}");
        let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).expect("limits");
        let core = limits.lines().find(|l| l.starts_with("Max core")).expect("core");
        assert_eq!(core.split_whitespace().nth(4), Some("0"));
    }
    let filtered = |pid: &i32| {
        let s = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
        s.contains("Seccomp:\t2")
    };
    let fds = |pid: &i32| std::fs::read_dir(format!("/proc/{pid}/fd")).expect("fds").count();
    let tasks = m.host_tasks();
    // Zygote, server, guest task, the zygote's twin.
    assert_eq!(tasks.len(), 4);
    let mut kinds: Vec<(bool, usize)> = tasks.iter().map(|p| (filtered(p), fds(p))).collect();
    kinds.sort_unstable();
    assert_eq!(kinds, [(false, 2), (false, 2), (true, 0), (true, 1)]);
    for pid in &tasks {
        // Fields of stat behind the name in parentheses: state, parent, group, session.
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("stat");
        let fields: Vec<&str> =
            stat.rsplit(") ").next().expect("fields").split_whitespace().collect();
        let (group, session) = (fields[2], fields[3]);
        assert_eq!(group, session);
        assert!(tasks.iter().any(|t| t.to_string() == session), "a session of its own");
    }
}

#[test]
fn pages_appear_change_and_vanish() {
    let (m, s, _) = guest(TOUCH);
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
            assert_eq!((f.present, f.write, f.exec), (true, Some(true), false));
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

#[test]
fn a_refused_batch_drops_everything_and_says_so() {
    let (_m, s, mut t) = guest(CALLS);
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

#[test]
fn too_many_host_mappings_are_dropped_in_time() {
    let m = machine();
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

#[test]
fn threads_share_a_space_and_are_reused() {
    let (m, s, _) = guest(CALLS);
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

#[test]
fn spaces_are_reused_empty() {
    let m = machine();
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

#[test]
fn death_of_any_task_is_an_event() {
    for victim in 0..2 {
        let m = machine();
        let before: BTreeSet<i32> = m.host_tasks().into_iter().collect();
        let keep = m.new_space().expect("the pooled stub");
        let s = space_with(&m, CALLS);
        let mut t = thread_at(&s, CODE);
        let mut sibling = thread_at(&s, CODE);
        assert_eq!(call_nr(common::run(&mut t)), 39);
        let mine: Vec<i32> = m.host_tasks().into_iter().filter(|p| !before.contains(p)).collect();
        assert_eq!(mine.len(), 3);
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

#[test]
fn the_zygote_is_replaced() {
    let m = machine();
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
        let unfiltered = |pid: &i32| {
            std::fs::read_to_string(format!("/proc/{pid}/status"))
                .is_ok_and(|s| s.contains("Seccomp:\t0"))
        };
        victims = m.host_tasks().into_iter().filter(unfiltered).collect();
        assert_eq!(victims.len(), 2, "{before:?} {:?}", m.host_tasks());
    }
}

#[test]
fn death_storm() {
    let m = machine();
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
    assert!(deaths > 10 && calls > 1000, "{deaths} deaths, {calls} calls");
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

/// Not a test of its own.
#[test]
#[ignore = "run by the_backend_works_behind_the_allow_list"]
fn locked_kernel() {
    use std::io::Write;
    arch::panic::install(Box::new(|_| ()));
    common::enter_cpu();
    let m = machine();
    arch::lockdown::install().expect("filters");
    for round in 0..3 {
        println!("zygote {}", m.host_tasks()[0]);
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

#[test]
fn the_backend_works_behind_the_allow_list() {
    use std::io::Write;
    let mut child = Command::new(std::env::current_exe().expect("path"))
        .args(["--ignored", "--exact", "locked_kernel", "--nocapture"])
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
    let m = machine();
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

#[test]
fn no_stub_outlives_the_kernel() {
    let me = std::env::current_exe().expect("path");
    let mut random = Random(42);
    for _ in 0..15 {
        let mut child = Command::new(&me)
            .args(["--ignored", "--exact", "victim_kernel", "--nocapture"])
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
        assert!(tasks.len() >= 3, "{tasks:?}");
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
