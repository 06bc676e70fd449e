//! Descriptor tables, pipes, locks and splice.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use base::iobuf::{SliceSource, VecSink};
use base::{Errno, PollEvents};
use proptest::prelude::*;

use crate::lock::{self, LockType, Owner, Range};
use crate::testing::Fixture;
use crate::{FdTable, File, FileType, OpenFlags as O, ops, pipe, splice};

fn put(f: &File, data: &[u8]) -> base::Result<usize> {
    f.write(&mut SliceSource(data), u64::MAX)
}

fn take(f: &File, n: usize) -> base::Result<Vec<u8>> {
    let mut s = VecSink::new(n);
    f.read(&mut s)?;
    Ok(s.data)
}

fn pair(k: &Fixture, flags: O) -> (Arc<File>, Arc<File>) {
    pipe::pipe(&k.vfs, &k.cred, flags).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn fd_tables_behave_as_maps(steps in proptest::collection::vec((0u8..6, 0i32..80, 0i32..80), 1..120)) {
        let k = Fixture::new();
        let file = k.open("/", O::DIRECTORY).unwrap();
        let t = FdTable::new();
        let mut model: BTreeMap<i32, bool> = BTreeMap::new();
        let lowest = |m: &BTreeMap<i32, bool>, min: i32| (min..).find(|n| !m.contains_key(n)).unwrap();
        const LIMIT: u64 = 70;
        for (what, a, b) in steps {
            match what {
                0 | 1 => {
                    let want = lowest(&model, 0);
                    let got = t.install(file.clone(), what == 1, LIMIT);
                    if want as u64 >= LIMIT {
                        prop_assert_eq!(got.unwrap_err(), Errno::EMFILE);
                    } else {
                        prop_assert_eq!(got.unwrap(), want);
                        model.insert(want, what == 1);
                    }
                }
                2 => prop_assert_eq!(t.close(a).is_ok(), model.remove(&a).is_some()),
                3 => {
                    let r = t.dup3(a, b, false, LIMIT);
                    let ok = a != b && model.contains_key(&a) && (b as u64) < LIMIT;
                    prop_assert_eq!(r.is_ok(), ok);
                    if ok { model.insert(b, false); }
                }
                4 => {
                    let r = t.dup(a, b as u64, true, LIMIT);
                    if model.contains_key(&a) && (b as u64) < LIMIT && (lowest(&model, b) as u64) < LIMIT {
                        let want = lowest(&model, b);
                        prop_assert_eq!(r.unwrap(), want);
                        model.insert(want, true);
                    } else {
                        prop_assert!(r.is_err());
                    }
                }
                _ => {
                    t.close_on_exec();
                    model.retain(|_, c| !*c);
                }
            }
            prop_assert_eq!(t.fds(), model.keys().copied().collect::<Vec<_>>());
        }
        let copy = t.fork();
        prop_assert_eq!(copy.fds(), t.fds());
        prop_assert_eq!(copy.install(file, false, 1000).unwrap(), lowest(&model, 0));
        t.close_range(3, 40);
        prop_assert!(t.fds().iter().all(|f| !(3..=40).contains(f)));
    }
}

#[test]
fn pipes_carry_bytes_between_threads() {
    let k = Fixture::new();
    let (r, w) = pair(&k, O::empty());
    let data: Vec<u8> = (0..1_000_000u32).map(|i| (i % 253) as u8).collect();
    let sent = data.clone();
    let t = thread::spawn(move || {
        for part in sent.chunks(70_001) {
            assert_eq!(put(&w, part).unwrap(), part.len());
        }
    });
    let mut got = Vec::new();
    loop {
        let part = take(&r, 9_000).unwrap();
        if part.is_empty() {
            break;
        }
        got.extend(part);
    }
    t.join().unwrap();
    assert!(got == data);
}

#[test]
fn ping_pong_does_not_stall() {
    let k = Fixture::new();
    let (r1, w1) = pair(&k, O::empty());
    let (r2, w2) = pair(&k, O::empty());
    let t = thread::spawn(move || {
        while !take(&r1, 1).unwrap().is_empty() {
            put(&w2, b"y").unwrap();
        }
    });
    for _ in 0..2000 {
        put(&w1, b"x").unwrap();
        assert_eq!(take(&r2, 1).unwrap(), b"y");
    }
    drop(w1);
    t.join().unwrap();
    assert!(take(&r2, 1).unwrap().is_empty());
}

#[test]
fn pipe_edges() {
    let k = Fixture::new();
    let (r, w) = pair(&k, O::NONBLOCK);
    assert_eq!(take(&r, 1).unwrap_err(), Errno::EAGAIN);
    assert!(r.ops.poll(&r, None).is_empty());
    assert!(w.ops.poll(&w, None).contains(PollEvents::OUT));
    assert_eq!(put(&w, &[1; 100_000]).unwrap(), 65_536);
    assert_eq!(put(&w, b"x").unwrap_err(), Errno::EAGAIN);
    assert!(!w.ops.poll(&w, None).contains(PollEvents::OUT));
    take(&r, 4000).unwrap();
    assert_eq!(put(&w, &[2; 4096]).unwrap_err(), Errno::EAGAIN, "atomic or not at all");
    assert_eq!(put(&w, &[2; 4097]).unwrap(), 4000, "larger ones may be torn");
    assert_eq!(pipe::set_size(&w, &k.cred, 4096).unwrap_err(), Errno::EBUSY);
    assert_eq!(pipe::set_size(&w, &k.cred, 100_000).unwrap(), 131_072);
    assert_eq!(pipe::get_size(&r).unwrap(), 131_072);
    assert_eq!(take(&r, 100_000).unwrap().len(), 65_536);
    assert_eq!(put(&r, b"x").unwrap_err(), Errno::EBADF);
    assert_eq!(ops::stat(&r.path).unwrap().kind, FileType::Fifo);
    drop(r);
    assert_eq!(put(&w, b"x").unwrap_err(), Errno::EPIPE);
    assert!(w.ops.poll(&w, None).contains(PollEvents::ERR));
    let (r, w) = pair(&k, O::empty());
    put(&w, b"last").unwrap();
    drop(w);
    assert!(r.ops.poll(&r, None).contains(PollEvents::IN | PollEvents::HUP));
    assert_eq!(take(&r, 10).unwrap(), b"last");
    assert!(take(&r, 10).unwrap().is_empty());
}

#[test]
fn fifos_wait_for_the_other_side() {
    let k = Fixture::new();
    let dev = drivers::DevNum::default();
    ops::mknod(&k.ctx, &k.cred, None, b"/p", FileType::Fifo, 0o600, dev).unwrap();
    assert_eq!(k.open("/p", O::WRONLY | O::NONBLOCK).unwrap_err(), Errno::ENXIO);
    let early = k.open("/p", O::NONBLOCK).unwrap();
    assert!(early.ops.poll(&early, None).is_empty(), "no hang-up before the first writer");
    drop(early);
    let k2 = k.clone();
    let t = thread::spawn(move || take(&k2.open("/p", O::empty()).unwrap(), 9).unwrap());
    let w = k.open("/p", O::WRONLY).unwrap();
    put(&w, b"through").unwrap();
    assert_eq!(t.join().unwrap(), b"through");
}

#[test]
fn byte_range_locks() {
    let k = Fixture::new();
    k.write("/f", "0123456789").unwrap();
    let f = k.open("/f", O::RDWR).unwrap();
    let a = Owner::Process { table: 1_000_001, pid: 1 };
    let b = Owner::Process { table: 1_000_002, pid: 2 };
    let r = |start, end| Range { start, end };
    let w = Some(LockType::Write);
    lock::set(&f, a, w, r(0, 9), false).unwrap();
    assert_eq!(lock::set(&f, b, w, r(5, 5), false).unwrap_err(), Errno::EAGAIN);
    let c = lock::get(&f, b, LockType::Read, r(5, 5)).unwrap().unwrap();
    assert_eq!((c.pid, c.range), (1, r(0, 9)));
    lock::set(&f, a, None, r(3, 5), false).unwrap();
    lock::set(&f, b, w, r(3, 5), false).unwrap();
    let c = lock::get(&f, b, LockType::Read, r(0, 99)).unwrap().unwrap();
    assert_eq!(c.range, r(0, 2));
    lock::set(&f, a, Some(LockType::Read), r(6, 9), false).unwrap();
    lock::set(&f, b, Some(LockType::Read), r(6, 9), false).unwrap();
    assert_eq!(lock::set(&f, Owner::File, w, r(6, 6), false).unwrap_err(), Errno::EAGAIN);
    let ro = k.open("/f", O::empty()).unwrap();
    assert_eq!(lock::set(&ro, a, w, Range::ALL, false).unwrap_err(), Errno::EBADF);
    assert_eq!(lock::list(&k.vfs).lines().filter(|l| l.contains("POSIX")).count(), 4);
    // Deadlock: a waits for b, b for a.
    let f2 = f.clone();
    let t = thread::spawn(move || lock::set(&f2, a, w, r(3, 3), true));
    while lock::get(&f, b, LockType::Write, r(0, 0)).unwrap().is_none() {}
    let mut last = Ok(());
    for _ in 0..200 {
        last = lock::set(&f, b, w, r(0, 0), false);
        thread::sleep(std::time::Duration::from_millis(1));
    }
    assert_eq!(last.unwrap_err(), Errno::EAGAIN);
    assert_eq!(lock::set(&f, b, w, r(0, 0), true).unwrap_err(), Errno::EDEADLK);
    // Closing any descriptor of b's table frees a.
    f.clone().close_one(1_000_002);
    t.join().unwrap().unwrap();
}

#[test]
fn flocks_belong_to_descriptions() {
    let k = Fixture::new();
    k.write("/f", "").unwrap();
    let a = k.open("/f", O::empty()).unwrap();
    let b = k.open("/f", O::empty()).unwrap();
    lock::flock(&a, 1, Some(LockType::Write), false).unwrap();
    lock::flock(&a, 1, Some(LockType::Read), false).unwrap();
    lock::flock(&b, 2, Some(LockType::Read), false).unwrap();
    let up = lock::flock(&b, 2, Some(LockType::Write), false);
    assert_eq!(up.unwrap_err(), Errno::EAGAIN);
    let done = Arc::new(AtomicBool::new(false));
    let (b2, d2) = (b.clone(), done.clone());
    let t = thread::spawn(move || {
        lock::flock(&b2, 2, Some(LockType::Write), true).unwrap();
        assert!(d2.load(Ordering::SeqCst));
    });
    thread::sleep(std::time::Duration::from_millis(20));
    done.store(true, Ordering::SeqCst);
    drop(a);
    t.join().unwrap();
}

#[test]
fn bytes_move_between_files() {
    let k = Fixture::new();
    k.write("/in", "0123456789").unwrap();
    let input = k.open("/in", O::empty()).unwrap();
    let out = k.open("/out", O::RDWR | O::CREAT).unwrap();
    let mut off = 4;
    assert_eq!(splice::sendfile(&out, &input, Some(&mut off), 100, u64::MAX).unwrap(), 6);
    assert_eq!((off, *input.pos.lock()), (10, 0));
    assert_eq!(k.read("/out").unwrap(), "456789");
    let (mut a, mut b) = (0, 2);
    let n = splice::copy_file_range(&input, Some(&mut a), &out, Some(&mut b), 2, u64::MAX);
    assert_eq!((n.unwrap(), a, b), (2, 2, 4));
    assert_eq!(k.read("/out").unwrap(), "450189");
    let (r, w) = pair(&k, O::empty());
    assert_eq!(splice::splice(&input, None, &w, None, 5, false).unwrap(), 5);
    assert_eq!(*input.pos.lock(), 5);
    let (r2, w2) = pair(&k, O::empty());
    assert_eq!(splice::tee(&r, &w2, 100, false).unwrap(), 5);
    assert_eq!(take(&r2, 9).unwrap(), b"01234");
    let mut at = 1;
    assert_eq!(splice::splice(&r, None, &out, Some(&mut at), 3, false).unwrap(), 3);
    assert_eq!(k.read("/out").unwrap(), "401289");
    assert_eq!(take(&r, 9).unwrap(), b"34");
    assert_eq!(splice::splice(&r, None, &w2, None, 3, true).unwrap_err(), Errno::EAGAIN);
}
