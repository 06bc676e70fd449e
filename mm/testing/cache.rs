//! The page cache: reading, writing, mapping, truncation, reclaim.

use std::sync::atomic::Ordering;

use arch::Prot;
use base::iobuf::{SliceSource, VecSink};
use base::{Errno, UserAddr, UserMemory};
use proptest::prelude::*;

use super::{FakeFile, PAGE, RW, World};
use crate::{FaultResult, MapFlags, SyncFlags, anonymous_shared};

const A: u64 = 0x20_0000_0000;

#[test]
fn reads_short_files_and_reads_ahead() {
    let w = World::new(1024);
    let (f, c) = FakeFile::new(&w, 100_001);
    let mut got = Vec::new();
    for i in 0..30 {
        let mut s = VecSink::new(4000);
        let n = c.read(i * 4000, &mut s, 4000).unwrap();
        assert_eq!(n, s.data.len());
        got.extend(s.data);
    }
    assert_eq!(got, *f.data.lock().unwrap());
    assert!(f.reads.load(Ordering::SeqCst) <= 3, "{:?} reads", f.reads);
    assert_eq!(c.cached_pages(), 25);
    f.broken.store(1, Ordering::SeqCst);
    assert_eq!(c.drop_clean(), 25);
    assert_eq!(c.read(0, &mut VecSink::new(10), 10).unwrap_err(), Errno::EIO);
    f.broken.store(0, Ordering::SeqCst);
    assert_eq!(c.read(0, &mut VecSink::new(10), 10).unwrap(), 10);
}

#[test]
fn a_write_is_not_lost_when_the_size_comes_late() {
    let w = World::new(1024);
    let (f, c) = FakeFile::new(&w, 100);
    assert_eq!(c.write(100, &mut SliceSource(&[7; 200]), 200).unwrap(), 200);
    c.sync_range(0, u64::MAX).unwrap();
    f.set_size(300);
    c.sync_range(0, u64::MAX).unwrap();
    assert_eq!(f.data.lock().unwrap()[100..300], [7; 200]);
    assert_eq!(f.data.lock().unwrap()[99], FakeFile::byte(99));
    assert_eq!(c.dirty_pages(), 0);
    assert_eq!(w.memory.stats().dirty, 0);
}

#[test]
fn a_file_that_grows_stays_in_one_piece() {
    let w = World::new(16384);
    let (f, c) = FakeFile::new(&w, 0);
    let (g, d) = FakeFile::new(&w, 0);
    // Two writers take turns, as two compilers do.
    let mut end = 0;
    while end < 3 << 20 {
        for (file, cache) in [(&f, &c), (&g, &d)] {
            cache.write(end, &mut SliceSource(&[7; 12288]), 12288).unwrap();
            file.set_size(end + 12288);
        }
        end += 12288;
    }
    let mut runs = 0;
    let mut at = 0;
    while let Some(run) = c.pin_run(at, u64::MAX) {
        (runs, at) = (runs + 1, at + u64::from(run.len()));
    }
    assert_eq!(at, end / PAGE);
    assert!(runs < 16, "{runs} runs of frames");
    c.sync_range(0, u64::MAX).unwrap();
    d.sync_range(0, u64::MAX).unwrap();
}

#[test]
fn failed_writes_stay_dirty() {
    let w = World::new(1024);
    let (f, c) = FakeFile::new(&w, 8192);
    c.write(0, &mut SliceSource(&[1; 8192]), 8192).unwrap();
    f.broken.store(2, Ordering::SeqCst);
    assert_eq!(c.sync_range(0, 1).unwrap_err(), Errno::EIO);
    assert_eq!((c.dirty_pages(), w.memory.stats().dirty), (2, 2));
    f.broken.store(0, Ordering::SeqCst);
    c.sync_range(0, 1).unwrap();
    assert_eq!(f.data.lock().unwrap()[..], [1; 8192]);
}

#[test]
fn mapped_files_are_read_copied_and_written() {
    let w = World::new(4096);
    let (f, c) = FakeFile::new(&w, 64 * 4096);
    let p = w.process();
    p.map(A, 64 * PAGE, Prot::READ | Prot::EXEC, MapFlags::FIXED, Some((&c, 0))).unwrap();
    for i in 0..64 {
        assert_eq!(p.load(A + i * PAGE + 1), Ok(FakeFile::byte(i as usize * 4096 + 1)));
    }
    assert!(p.fault_count() <= 2, "{} faults", p.fault_count());
    // Private: a copy.
    let b = A + (1 << 30);
    p.map(b, 64 * PAGE, RW, MapFlags::FIXED, Some((&c, 0))).unwrap();
    p.store(b + 10 * PAGE, 200).unwrap();
    assert_eq!(p.load(A + 10 * PAGE), Ok(FakeFile::byte(10 * 4096)));
    // Shared: the file.
    let s = A + (2 << 30);
    p.map(s, 64 * PAGE, RW, MapFlags::FIXED | MapFlags::SHARED, Some((&c, 0))).unwrap();
    assert_eq!(p.load(s + 10 * PAGE), Ok(FakeFile::byte(10 * 4096)));
    assert_eq!(c.dirty_pages(), 0);
    p.store(s + 10 * PAGE, 99).unwrap();
    assert_eq!((c.dirty_pages(), p.load(A + 10 * PAGE)), (1, Ok(99)));
    p.space.sync(UserAddr(s), 64 * PAGE, SyncFlags::SYNC).unwrap();
    assert_eq!((c.dirty_pages(), f.data.lock().unwrap()[10 * 4096]), (0, 99));
    p.check();
    p.store(s + 10 * PAGE, 98).unwrap();
    assert_eq!(c.dirty_pages(), 1);
    // A fork's child writes the file too.
    let child = w.fork(&p);
    c.sync_range(0, 63).unwrap();
    child.store(s + 10 * PAGE, 97).unwrap();
    assert_eq!((p.load(s + 10 * PAGE), c.dirty_pages()), (Ok(97), 1));
    p.check();
    child.check();
}

#[test]
fn truncation_while_mapped_gives_sigbus() {
    let w = World::new(4096);
    let (f, c) = FakeFile::new(&w, 8 * 4096);
    let p = w.process();
    p.map(A, 8 * PAGE, RW, MapFlags::FIXED | MapFlags::SHARED, Some((&c, 0))).unwrap();
    let b = A + (1 << 30);
    p.map(b, 8 * PAGE, RW, MapFlags::FIXED, Some((&c, 0))).unwrap();
    for i in 0..8 {
        p.store(A + i * PAGE, 1).unwrap();
        p.store(b + i * PAGE, 2).unwrap();
    }
    f.set_size(2 * 4096 + 10);
    c.truncate(2 * 4096 + 10);
    p.check();
    let bus = |at| Err(FaultResult::Bus { addr: UserAddr(at), code: 2 });
    assert_eq!(p.load(A + 3 * PAGE), bus(A + 3 * PAGE));
    assert_eq!(p.load(b + 3 * PAGE), bus(b + 3 * PAGE));
    assert_eq!(p.load(A + 2 * PAGE + 10), Ok(0));
    assert_eq!((p.load(A), p.load(b)), (Ok(1), Ok(2)));
    let mut buf = [0];
    assert_eq!(p.space.read(UserAddr(A + 3 * PAGE), &mut buf).unwrap_err(), Errno::EFAULT);
    drop(p);
    drop(c);
    assert_eq!((w.free(), w.memory.stats().dirty), (4096, 0));
}

#[test]
fn clean_pages_are_given_up_and_dirty_ones_written_first() {
    let w = World::new(256);
    let (f, c) = FakeFile::new(&w, 200 * 4096);
    c.read(0, &mut VecSink::new(200 * 4096), 200 * 4096).unwrap();
    c.write(0, &mut SliceSource(&[5; 40 * 4096]), 40 * 4096).unwrap();
    let p = w.process();
    p.map(A + (1 << 30), 200 * PAGE, Prot::READ, MapFlags::FIXED, Some((&c, 0))).unwrap();
    for i in 0..200 {
        p.load(A + (1 << 30) + i * PAGE).unwrap();
    }
    p.anon(A, 230 * PAGE);
    for i in 0..230 {
        p.store(A + i * PAGE, i as u8).unwrap();
    }
    p.check();
    for i in 0..230 {
        assert_eq!(p.load(A + i * PAGE), Ok(i as u8));
    }
    assert_eq!(f.data.lock().unwrap()[..40 * 4096], vec![5; 40 * 4096]);
    assert!(c.cached_pages() < 30);
    // And come back when they are wanted.
    assert_eq!(p.load(A + (1 << 30) + 50 * PAGE), Ok(FakeFile::byte(50 * 4096)));
}

#[test]
fn shared_memory_objects_keep_their_pages() {
    let w = World::new(512);
    let c = anonymous_shared(&w.memory, 16 * PAGE);
    c.write(100, &mut SliceSource(b"hello"), 5).unwrap();
    assert_eq!(c.drop_clean(), 0);
    let mut s = VecSink::new(10);
    assert_eq!(c.read(99, &mut s, 7).unwrap(), 7);
    assert_eq!(s.data, b"\0hello\0");
    let p = w.process();
    p.map(A, 17 * PAGE, RW, MapFlags::FIXED | MapFlags::SHARED, Some((&c, 0))).unwrap();
    assert_eq!(p.load(A + 100), Ok(b'h'));
    assert!(p.store(A + 16 * PAGE, 1).is_err());
    p.space.advise(UserAddr(A), PAGE, 9).unwrap();
    assert_eq!(p.load(A + 100), Ok(0));
    p.check();
}

#[test]
fn a_read_into_its_own_mapping_works() {
    let w = World::new(512);
    let (_f, c) = FakeFile::new(&w, 20 * 4096);
    let p = w.process();
    p.map(A, 20 * PAGE, RW, MapFlags::FIXED | MapFlags::SHARED, Some((&c, 0))).unwrap();
    let n = c.read(0, &mut p.space.sink((UserAddr(A + 10 * PAGE), 3 * 4096)), 3 * 4096).unwrap();
    assert_eq!(n, 3 * 4096);
    assert_eq!(p.load(A + 11 * PAGE + 3), Ok(FakeFile::byte(4096 + 3)));
    let n = c.write(5, &mut p.space.source((UserAddr(A + 4 * PAGE), 9000)), 9000).unwrap();
    assert_eq!(n, 9000);
    // A source that breaks off inside a page keeps the rest of the page.
    let (g, d) = FakeFile::new(&w, 3 * 4096);
    let edge = UserAddr(A + 19 * PAGE + 1000);
    assert_eq!(d.write(0, &mut p.space.source((edge, 8192)), 8192).unwrap(), 3096);
    d.sync_range(0, 9).unwrap();
    assert_eq!(g.data.lock().unwrap()[3096], FakeFile::byte(3096));
    assert_eq!(g.data.lock().unwrap()[0], FakeFile::byte(19 * 4096 + 1000));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn behaves_like_a_vector(
        size in 0usize..50_000,
        ops in prop::collection::vec((0..6u8, 0usize..80_000, 0usize..30_000, any::<u8>()), 1..40),
    ) {
        let w = World::new(64);
        let (f, c) = FakeFile::new(&w, size);
        let mut model = f.data.lock().unwrap().clone();
        for (what, off, len, value) in ops {
            match what {
                0 | 1 => {
                    let mut s = VecSink::new(len);
                    let n = c.read(off as u64, &mut s, len).unwrap();
                    let end = (off + len).min(model.len());
                    prop_assert_eq!(&s.data[..n], &model[off.min(end)..end]);
                }
                2 | 3 => {
                    let data: Vec<u8> = (0..len).map(|i| value.wrapping_add(i as u8)).collect();
                    let n = c.write(off as u64, &mut SliceSource(&data), len).unwrap();
                    prop_assert_eq!(n, len);
                    if off + n > model.len() && n > 0 {
                        model.resize(off + n, 0);
                        f.set_size((off + n) as u64);
                    }
                    let at = off.min(model.len());
                    model[at..][..n].copy_from_slice(&data);
                    w.memory.relieve();
                }
                4 => {
                    model.resize(off, 0);
                    f.set_size(off as u64);
                    c.truncate(off as u64);
                }
                _ => {
                    c.sync_range(0, u64::MAX).unwrap();
                    prop_assert_eq!(&*f.data.lock().unwrap(), &model);
                    if value % 2 == 0 {
                        c.drop_clean();
                    }
                }
            }
            prop_assert!(w.memory.stats().dirty == c.dirty_pages());
        }
        c.sync_range(0, u64::MAX).unwrap();
        prop_assert_eq!(&*f.data.lock().unwrap(), &model);
    }
}
