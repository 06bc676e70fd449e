//! Address spaces: what single system calls and faults do.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arch::Prot;
use base::{Errno, Sink, Source, UserAddr, UserMemory};

use super::{PAGE, RW, World};
use crate::{FaultResult, FutexKey, MapFlags, MapRequest, MmLimits, RemapFlags};

const A: u64 = 0x20_0000_0000;
const NOWHERE: MapFlags = MapFlags::empty();

#[test]
fn runs_double_with_sequential_use() {
    let w = World::new(65536);
    let p = w.process();
    p.anon(A, 4096 * PAGE);
    for i in 0..4096 {
        p.store(A + i * PAGE, 1).unwrap();
    }
    // 16, 32, ..., 512, 512, ...
    assert!(p.fault_count() <= 16, "{} faults", p.fault_count());
    p.check();
    p.space.unmap(UserAddr(A), 4096 * PAGE).unwrap();
    p.space.before_user().unwrap();
    assert_eq!(w.free(), 65536);
}

#[test]
fn faults_say_what_is_wrong() {
    let w = World::new(256);
    let p = w.process();
    assert_eq!(p.load(A), Err(FaultResult::Segv { addr: UserAddr(A), code: 1 }));
    p.map(A, PAGE, Prot::READ, MapFlags::FIXED, None).unwrap();
    assert_eq!(p.load(A), Ok(0));
    assert_eq!(p.store(A, 1), Err(FaultResult::Segv { addr: UserAddr(A), code: 2 }));
    assert_eq!(p.exec(A), Err(FaultResult::Segv { addr: UserAddr(A), code: 2 }));
    p.space.protect(UserAddr(A), PAGE, Prot::empty()).unwrap();
    assert_eq!(p.load(A), Err(FaultResult::Segv { addr: UserAddr(A), code: 2 }));
    p.space.protect(UserAddr(A), PAGE, Prot::READ | Prot::EXEC).unwrap();
    p.exec(A).unwrap();
    p.check();
}

#[test]
fn the_stack_grows_to_its_limit_and_keeps_its_gap() {
    let w = World::new(4096);
    let p = w.process();
    let limits = MmLimits { stack: 64 * PAGE, ..MmLimits::default() };
    p.space.set_limits(limits);
    let top = A + 1024 * PAGE;
    p.map(top - PAGE, PAGE, RW, MapFlags::FIXED | MapFlags::STACK, None).unwrap();
    p.store(top - 8 * PAGE, 7).unwrap();
    p.store(top - 64 * PAGE, 7).unwrap();
    assert!(p.store(top - 65 * PAGE, 7).is_err());
    assert_eq!(p.space.usage().stack, 64);
    p.space.set_limits(MmLimits { stack: 1 << 30, ..limits });
    p.anon(top - 512 * PAGE, PAGE);
    assert!(p.store(top - 400 * PAGE, 7).is_err());
    assert!(p.store(top - 200 * PAGE, 7).is_ok());
    assert_eq!(&p.space.vmas()[1].name.path, b"[stack]");
}

#[test]
fn placement_is_top_down_and_heeds_hints() {
    let w = World::new(256);
    let p = w.process();
    let a = p.map(0, PAGE, RW, NOWHERE, None).unwrap();
    let b = p.map(0, PAGE, RW, NOWHERE, None).unwrap();
    assert_eq!(b.0 + PAGE, a.0);
    assert_eq!(p.map(A, PAGE, RW, NOWHERE, None).unwrap().0, A);
    assert!(p.map(A, PAGE, RW, NOWHERE, None).unwrap().0 != A);
    assert!(p.map(0, PAGE, RW, MapFlags::LOW, None).unwrap().0 < 1 << 31);
    let replace = p.map(A, PAGE, RW, MapFlags::FIXED_NOREPLACE, None).unwrap_err();
    assert_eq!(replace, Errno::EEXIST);
    // Adjacent mappings of the same sort are one.
    assert_eq!(p.space.vmas().iter().filter(|v| v.start.0 <= b.0 && v.end.0 > a.0).count(), 1);
}

#[test]
fn large_mappings_begin_where_huge_pages_do() {
    let w = World::new(2048);
    let p = w.process();
    let huge = u64::from(arch::HUGE_PAGES) << 12;
    let map = |bytes| p.map(0, bytes, RW, NOWHERE, None).unwrap().0;
    map(PAGE);
    assert_eq!(map(3 * huge) % huge, 0);
    // What huge pages do not fit in lies close, as ever.
    let a = map(huge + PAGE);
    assert_eq!(map(2 * PAGE) + 2 * PAGE, a);
}

#[test]
fn a_buffer_that_comes_and_goes_keeps_its_mapping() {
    let w = World::new(8192);
    let p = w.process();
    let len = 48 * PAGE;
    let buffer = || {
        let a = p.map(0, len, RW, NOWHERE, None).unwrap().0;
        let faults = p.fault_count();
        for at in (a..a + len).step_by(4096) {
            assert_eq!(p.load(at), Ok(0));
            p.store(at, 1).unwrap();
        }
        p.check();
        let frame = p.host.lookup(UserAddr(a)).unwrap().0;
        p.space.unmap(UserAddr(a), len).unwrap();
        p.space.before_user().unwrap();
        assert!(p.load(a).is_err() && w.free() == 8192);
        (a, frame, p.fault_count() - faults - 1)
    };
    buffer();
    let first = buffer();
    // No fault, and the host has it still, without any right.
    assert_eq!(first.2, 0);
    let parked = || p.host.lookup(UserAddr(first.0));
    assert_eq!(parked(), Some((first.1, Prot::empty())));
    assert_eq!(buffer(), first);
    // Somebody else has got the frames meanwhile: others then, and nothing of theirs is seen.
    let q = w.process();
    q.anon(A, 512 * PAGE);
    q.store(A, 7).unwrap();
    q.store(A + PAGE, 7).unwrap();
    let frames: Vec<u64> = q.host.all().values().map(|f| u64::from(f.0.0)).collect();
    assert!(frames.contains(&u64::from(first.1.0)));
    let a = p.map(0, len, RW, NOWHERE, None).unwrap().0;
    assert_eq!((a, p.load(a)), (first.0, Ok(0)));
    assert_ne!(p.host.lookup(UserAddr(a)).unwrap().0, first.1);
    p.store(a, 1).unwrap();
    assert_eq!(q.load(A), Ok(7));
    p.check();
    // Parked, and exec.
    p.space.unmap(UserAddr(a), len).unwrap();
    p.space.clear();
    assert!(p.host.all().is_empty());
}

#[test]
fn terabytes_cost_nothing() {
    let w = World::new(64);
    let p = w.process();
    let tb = 1 << 40;
    let a = p.map(0, 16 * tb, Prot::empty(), MapFlags::NORESERVE, None).unwrap();
    p.space.protect(UserAddr(a.0 + tb), PAGE, RW).unwrap();
    p.store(a.0 + tb, 1).unwrap();
    p.space.unmap(a, 16 * tb).unwrap();
    p.space.before_user().unwrap();
    assert_eq!(w.free(), 64);
    // Heuristic overcommit refuses what memory can never hold.
    assert_eq!(p.map(0, tb, RW, NOWHERE, None).unwrap_err(), Errno::ENOMEM);
}

#[test]
fn limits_are_heeded() {
    let w = World::new(256);
    let p = w.process();
    p.space.set_limits(MmLimits { as_: 10 * PAGE, data: 4 * PAGE, ..MmLimits::default() });
    assert_eq!(p.map(0, 11 * PAGE, Prot::READ, NOWHERE, None).unwrap_err(), Errno::ENOMEM);
    p.map(0, 3 * PAGE, RW, NOWHERE, None).unwrap();
    assert_eq!(p.map(0, 2 * PAGE, RW, NOWHERE, None).unwrap_err(), Errno::ENOMEM);
    p.map(0, 2 * PAGE, Prot::READ, NOWHERE, None).unwrap();
    w.memory.set_overcommit(2).unwrap();
    p.space.set_limits(MmLimits::default());
    assert_eq!(p.map(0, 200 * PAGE, RW, NOWHERE, None).unwrap_err(), Errno::ENOMEM);
    w.memory.set_overcommit(1).unwrap();
    p.map(0, 2000 * PAGE, RW, NOWHERE, None).unwrap();
}

#[test]
fn brk_moves_and_stops_at_neighbours() {
    let w = World::new(256);
    let p = w.process();
    p.space.init_brk(UserAddr(A));
    assert_eq!(p.space.set_brk(UserAddr::NULL).0, A);
    assert_eq!(p.space.set_brk(UserAddr(A + 100)).0, A + 100);
    p.store(A + 50, 9).unwrap();
    p.space.set_brk(UserAddr(A + 3 * PAGE));
    assert_eq!(p.space.vmas().len(), 1);
    assert_eq!(p.space.vmas()[0].name.path, b"[heap]");
    p.anon(A + 8 * PAGE, PAGE);
    assert_eq!(p.space.set_brk(UserAddr(A + 9 * PAGE)).0, A + 3 * PAGE);
    p.space.set_brk(UserAddr(A));
    assert!(p.load(A).is_err());
    p.check();
}

#[test]
fn mremap_grows_moves_and_duplicates() {
    let w = World::new(1024);
    let p = w.process();
    p.anon(A, 4 * PAGE);
    for i in 0..4 {
        p.store(A + i * PAGE, i as u8 + 1).unwrap();
    }
    let remap = |from, old: u64, new: u64, f| {
        p.space.remap(UserAddr(from), old * PAGE, new * PAGE, f, UserAddr::NULL)
    };
    assert_eq!(remap(A, 4, 8, RemapFlags::empty()).unwrap().0, A);
    p.anon(A + 8 * PAGE, PAGE);
    p.space.protect(UserAddr(A + 8 * PAGE), PAGE, Prot::READ).unwrap();
    assert_eq!(remap(A, 8, 9, RemapFlags::empty()).unwrap_err(), Errno::ENOMEM);
    let b = remap(A, 8, 16, RemapFlags::MAYMOVE).unwrap().0;
    assert!(p.load(A).is_err());
    assert_eq!(p.load(b + 3 * PAGE), Ok(4));
    assert_eq!(remap(b, 16, 2, RemapFlags::empty()).unwrap().0, b);
    assert!(p.load(b + 3 * PAGE).is_err());
    let keep = RemapFlags::MAYMOVE | RemapFlags::DONTUNMAP;
    let c = remap(b, 2, 2, keep).unwrap().0;
    assert_eq!((p.load(b), p.load(c)), (Ok(0), Ok(1)));
    p.check();
    let s = p.map(0, PAGE, RW, MapFlags::SHARED, None).unwrap().0;
    p.store(s, 77).unwrap();
    let d = remap(s, 0, 1, RemapFlags::MAYMOVE).unwrap().0;
    assert_eq!(p.load(d), Ok(77));
}

#[test]
fn shared_memory_is_shared_across_fork_and_private_is_not() {
    let w = World::new(1024);
    let p = w.process();
    let s = p.map(0, 4 * PAGE, RW, MapFlags::SHARED, None).unwrap().0;
    p.anon(A, PAGE);
    p.store(s, 1).unwrap();
    p.store(A, 1).unwrap();
    let c = w.fork(&p);
    c.store(s, 2).unwrap();
    c.store(A, 2).unwrap();
    assert_eq!((p.load(s), p.load(A)), (Ok(2), Ok(1)));
    let key = |x: &super::Process, at| x.space.futex_key(UserAddr(at), true).unwrap();
    assert_eq!(key(&p, s), key(&c, s));
    assert!(key(&p, A) != key(&c, A));
    assert!(matches!(key(&p, A), FutexKey::Private { .. }));
    p.check();
    c.check();
    assert!(w.memory.stats().shmem > 0);
    drop((p, c));
    assert_eq!(w.free(), 1024);
}

#[test]
fn a_child_that_is_gone_costs_the_parent_nothing() {
    let w = World::new(4096);
    let p = w.process();
    p.anon(A, 512 * PAGE);
    for i in 0..512 {
        p.store(A + i * PAGE, 1).unwrap();
    }
    let before = p.fault_count();
    drop(w.fork(&p));
    for i in 0..512 {
        p.store(A + i * PAGE, 2).unwrap();
    }
    assert_eq!(p.fault_count(), before, "the host still lets it write");
    // With the child alive it is protected; when the child goes, a few faults re-arm all of it.
    let c = w.fork(&p);
    p.store(A, 3).unwrap();
    drop(c);
    let before = p.fault_count();
    for i in 0..512 {
        p.store(A + i * PAGE, 4).unwrap();
    }
    assert!(p.fault_count() - before <= 4, "{} faults", p.fault_count() - before);
    p.check();
}

#[test]
fn a_grandchild_counts_as_a_sharer() {
    let w = World::new(1024);
    let p = w.process();
    p.anon(A, PAGE);
    p.store(A, 1).unwrap();
    let c = w.fork(&p);
    let g = w.fork(&c);
    c.space.clear();
    p.store(A, 2).unwrap();
    assert_eq!(g.load(A), Ok(1));
}

#[test]
fn streams_cross_pages_and_stop_where_memory_ends() {
    let w = World::new(1024);
    let p = w.process();
    p.anon(A, 3 * PAGE);
    let data: Vec<u8> = (0..3 * PAGE).map(|i| i as u8).collect();
    assert_eq!(p.space.sink((UserAddr(A + 5), 100_000)).write(&data).unwrap(), 3 * 4096 - 5);
    let mut back = vec![0; 20_000];
    let iov = vec![(UserAddr(A + 5), 10), (UserAddr(0), 0), (UserAddr(A + 15), 20_000)];
    let mut src = p.space.source(iov);
    assert_eq!(src.remaining(), 20_010);
    assert_eq!(src.read(&mut back).unwrap(), 3 * 4096 - 5);
    assert_eq!(back[..3 * 4096 - 5], data[..3 * 4096 - 5]);
    assert_eq!(src.read(&mut back).unwrap_err(), Errno::EFAULT);
    let end = p.space.sink((UserAddr(u64::MAX - 3), 8)).write(&[0; 8]).unwrap_err();
    assert_eq!(end, Errno::EFAULT);
    p.space.write(UserAddr(A + PAGE - 3), b"hello\0").unwrap();
    assert_eq!(p.space.read_cstr(UserAddr(A + PAGE - 3), 6).unwrap(), b"hello");
    let long = p.space.read_cstr(UserAddr(A + PAGE - 3), 5).unwrap_err();
    assert_eq!(long, Errno::ENAMETOOLONG);
    assert_eq!(p.space.cas_u32(UserAddr(A), 0, 5).unwrap(), 0);
    assert_eq!(p.space.load_u32(UserAddr(A)).unwrap(), 5);
    assert_eq!(p.space.load_u32(UserAddr(A + 1)).unwrap_err(), Errno::EINVAL);
    assert_eq!(p.space.load_u32(UserAddr(8)).unwrap_err(), Errno::EFAULT);
}

#[test]
fn a_debugger_writes_read_only_memory() {
    let w = World::new(64);
    let p = w.process();
    p.map(A, PAGE, Prot::READ | Prot::EXEC, MapFlags::FIXED, None).unwrap();
    p.exec(A).unwrap();
    assert_eq!(p.space.write_forced(UserAddr(A), &[0xcc]).unwrap(), 1);
    assert_eq!(p.load(A), Ok(0xcc));
    p.check();
    assert!(p.store(A, 1).is_err());
}

#[test]
fn running_out_calls_the_killer_and_says_so() {
    let w = World::new(128);
    let p = w.process();
    let calls = Arc::new(AtomicU32::new(0));
    let seen = calls.clone();
    w.memory.set_oom(Box::new(move || {
        seen.fetch_add(1, Ordering::SeqCst);
    }));
    p.anon(A, 128 * PAGE);
    let fault = (0..128).find_map(|i| p.store(A + i * PAGE, 1).err());
    assert_eq!((fault, calls.load(Ordering::SeqCst)), (Some(FaultResult::Oom), 1));
    p.space.advise(UserAddr(A), 128 * PAGE, 4).unwrap();
    p.space.before_user().unwrap();
    p.store(A + 127 * PAGE, 1).unwrap();
}

#[test]
fn wipe_dont_fork_and_locks() {
    let w = World::new(1024);
    let p = w.process();
    for (i, advice) in [(0, 18), (1, 10), (2, 0)] {
        p.anon(A + i * 64 * PAGE, PAGE);
        p.store(A + i * 64 * PAGE, 5).unwrap();
        p.space.advise(UserAddr(A + i * 64 * PAGE), PAGE, advice).unwrap();
    }
    p.space.lock(UserAddr(A + 128 * PAGE), PAGE, false).unwrap();
    assert_eq!((p.space.usage().locked, w.memory.stats().locked), (1, 1));
    let c = w.fork(&p);
    assert_eq!(c.load(A), Ok(0));
    assert!(c.load(A + 64 * PAGE).is_err());
    assert_eq!(c.load(A + 128 * PAGE), Ok(5));
    assert_eq!(c.space.usage().locked, 0);
    assert_eq!(p.space.advise(UserAddr(A), PAGE, 77).unwrap_err(), Errno::EINVAL);
    assert_eq!(p.space.advise(UserAddr(A), 2 * PAGE, 3).unwrap_err(), Errno::ENOMEM);
    assert_eq!(p.space.mincore(UserAddr(A), PAGE).unwrap(), [1]);
    p.space.clear();
    assert_eq!(w.memory.stats().locked, 0);
}

#[test]
fn layout_is_random_when_asked() {
    let w = World::new(64);
    let n = std::sync::atomic::AtomicU8::new(1);
    w.memory.set_random(Box::new(move |b| b.fill(n.fetch_add(37, Ordering::SeqCst))));
    let (a, b) = (w.process(), w.process());
    let map = |p: &super::Process| p.space.map(MapRequest::anonymous(PAGE, RW)).unwrap();
    assert!(map(&a) != map(&b));
    assert!(a.space.pick_stack_top() != a.space.pick_stack_top());
    a.space.set_randomize(false);
    a.space.clear();
    assert_eq!(a.space.pick_pie_base(), a.space.pick_pie_base());
}

#[test]
fn two_host_threads_in_one_memory() {
    // Faults, reclaim, fork and write-back from two threads at once: no deadlock, nothing lost.
    let w = World::new(512);
    w.memory.set_smp(true);
    let (f, c) = super::FakeFile::new(&w, 300 * 4096);
    let spaces: Vec<_> = (0..2).map(|_| w.process()).collect();
    std::thread::scope(|t| {
        for (n, p) in spaces.iter().enumerate() {
            let (c, w, f) = (&c, &w, &f);
            t.spawn(move || {
                let shared = MapFlags::FIXED | MapFlags::SHARED;
                p.map(A, 300 * PAGE, RW, shared, Some((c, 0))).unwrap();
                p.anon(A + (1 << 30), 64 * PAGE);
                for i in 0..3000u64 {
                    let page = (i * 7 + n as u64 * 131) % 300;
                    let at = A + page * PAGE + 64 * (n as u64 + 1);
                    p.space.write(UserAddr(at), &[i as u8]).unwrap();
                    p.space.write(UserAddr(A + (1 << 30) + i % 64 * PAGE), &[i as u8]).unwrap();
                    match i % 50 {
                        7 => c.sync_range(0, 299).unwrap(),
                        13 => drop(p.space.fork().unwrap()),
                        29 => {
                            w.memory.drop_caches();
                        }
                        31 => c.invalidate(1000, 2000),
                        _ => p.space.before_user().unwrap(),
                    }
                }
                let _ = f;
            });
        }
    });
    c.sync_range(0, 299).unwrap();
    let data = f.data.lock().unwrap();
    for n in 0..2u64 {
        let last = |page| (0..3000u64).rev().find(|i| (i * 7 + n * 131) % 300 == page);
        for page in 0..300 {
            if let Some(i) = last(page) {
                assert_eq!(data[(page * PAGE + 64 * (n + 1)) as usize], i as u8, "page {page}");
            }
        }
    }
}
