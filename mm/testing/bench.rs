//! What things cost without a host: `cargo test --release -p umbra-mm bench -- --ignored --nocapture`.

use std::time::Instant;

use arch::Prot;
use base::{UserAddr, UserMemory};

use super::{FakeFile, PAGE, RW, World};
use crate::MapFlags;

const A: u64 = 0x20_0000_0000;

fn time(what: &str, per: u64, mut f: impl FnMut()) {
    let mut best = f64::MAX;
    for _ in 0..7 {
        let t = Instant::now();
        f();
        best = best.min(t.elapsed().as_nanos() as f64);
    }
    println!("{what:44} {:10.1} ns", best / per as f64);
}

#[test]
#[ignore = "a measurement"]
fn bench() {
    let w = World::new(131_072);
    let p = w.process();
    let small = w.process();
    for i in 0..20 {
        small.anon(A + i * 256 * PAGE, 16 * PAGE);
        small.space.write(UserAddr(A + i * 256 * PAGE), &[1; 65536]).unwrap();
    }
    time("fork of a process of 20 VMAs and exit", 1, || drop(w.fork(&small)));
    let big = 16384;
    p.anon(A, big * PAGE);
    let touch = |v| {
        let mut at = 0;
        while at < big {
            // One kernel store a page stands for the guest's touch.
            p.space.write(UserAddr(A + at * PAGE), &[v]).unwrap();
            at += 1;
        }
    };
    time("64 MB touched, per page (zeroing included)", big, || {
        p.space.unmap(UserAddr(A), big * PAGE).unwrap();
        p.space.before_user().unwrap();
        p.anon(A, big * PAGE);
        touch(1);
    });
    time("fork of 64 MB and exit of the child", 1, || drop(w.fork(&p)));
    time("fork of 64 MB, exit, before_user", 1, || {
        drop(w.fork(&p));
        p.space.before_user().unwrap();
    });
    time("a write by the kernel, 1 byte", 1_000_000, || {
        for _ in 0..1_000_000 {
            p.space.write(UserAddr(A + 77), &[1]).unwrap();
        }
    });
    let mut buf = vec![0; 65536];
    time("a read by the kernel, 64 KiB", 1000, || {
        for _ in 0..1000 {
            p.space.read(UserAddr(A), &mut buf).unwrap();
        }
    });
    let (_f, c) = FakeFile::new(&w, 1 << 20);
    c.read_ahead(0, 256).unwrap();
    time("read(2) of 64 KiB cached", 1000, || {
        for _ in 0..1000 {
            c.read(0, &mut p.space.sink((UserAddr(A), 65536)), 65536).unwrap();
        }
    });
    time("write(2) of 64 KiB cached", 1000, || {
        for _ in 0..1000 {
            c.write(0, &mut p.space.source((UserAddr(A), 65536)), 65536).unwrap();
        }
    });
    time("read(2) of 1 byte cached", 100_000, || {
        for _ in 0..100_000 {
            c.read(0, &mut p.space.sink((UserAddr(A), 1)), 1).unwrap();
        }
    });
    time("mmap, touch one, munmap of 16 pages", 1000, || {
        for _ in 0..1000 {
            let at = p.map(0, 16 * PAGE, RW, MapFlags::empty(), None).unwrap();
            p.store(at.0, 1).unwrap();
            p.space.unmap(at, 16 * PAGE).unwrap();
            p.space.before_user().unwrap();
        }
    });
    time("file fault, 64 cached pages around", 1000, || {
        for _ in 0..1000 {
            let at = p.map(0, 64 * PAGE, Prot::READ, MapFlags::empty(), Some((&c, 0))).unwrap();
            p.load(at.0).unwrap();
            p.space.unmap(at, 64 * PAGE).unwrap();
            p.space.before_user().unwrap();
        }
    });
    time("before_user with nothing to do", 1_000_000, || {
        for _ in 0..1_000_000 {
            p.space.before_user().unwrap();
        }
    });
}
