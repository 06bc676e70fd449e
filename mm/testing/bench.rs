//! What things cost without a host: `cargo test --release -p umbra-mm bench -- --ignored --nocapture`.

use std::sync::Arc;
use std::time::Instant;

use arch::fake::FakeMachine;
use arch::{FaultInfo, Machine, PhysMem, Prot, Regs, Space, Thread, XState};
use base::{Errno, Pfn, Result, UserAddr, UserMemory, err};

use super::{FakeFile, PAGE, RW, World};
use crate::{AddressSpace, FaultResult, MapFlags, MapRequest, Memory};

/// A host that costs nothing.
#[derive(Debug)]
struct NoHost(Arc<FakeMachine>);

impl Machine for NoHost {
    fn name(&self) -> &'static str {
        "none"
    }
    fn phys(&self) -> &Arc<PhysMem> {
        self.0.phys()
    }
    fn new_space(&self) -> Result<Arc<dyn Space>> {
        Ok(Arc::new(NoSpace))
    }
}

#[derive(Debug)]
struct NoSpace;

impl Space for NoSpace {
    fn add(&self, _: UserAddr, _: Pfn, _: u32, _: Prot, _: bool) {}
    fn has_queued(&self) -> bool {
        false
    }
    fn demand(&self) {}
    fn map(&self, _: UserAddr, _: Pfn, _: u32, _: Prot, _: bool) {}
    fn unmap(&self, _: UserAddr, _: u64) {}
    fn protect(&self, _: UserAddr, _: u64, _: Prot) {}
    fn flush(&self) -> Result<()> {
        Ok(())
    }
    fn generation(&self) -> u64 {
        0
    }
    fn new_thread(self: Arc<Self>, _: &Regs, _: Option<&XState>) -> Result<Box<dyn Thread>> {
        err(Errno::ENOSYS)
    }
}

fn touch(p: &AddressSpace, at: u64, write: bool) {
    let info = FaultInfo { addr: UserAddr(at), present: false, write: Some(write), exec: false };
    assert_eq!(p.fault(&info, 0), FaultResult::Resolved);
}

const A: u64 = 0x20_0000_0000;

fn time(what: &str, per: u64, mut f: impl FnMut()) {
    let mut best = f64::MAX;
    f(); // the first time touches fresh memory
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
    let fake = FakeMachine::new(131_072);
    let w = World::new(1024);
    let m = Memory::new(Arc::new(NoHost(fake)));
    let p = AddressSpace::new(&m).unwrap();
    let small = AddressSpace::new(&m).unwrap();
    let map = |p: &AddressSpace, at: u64, pages: u64| {
        let flags = if at == 0 { MapFlags::empty() } else { MapFlags::FIXED };
        let r = MapRequest { addr: UserAddr(at), flags, ..MapRequest::anonymous(pages * PAGE, RW) };
        p.map(r).unwrap().0
    };
    for i in 0..20 {
        map(&small, A + i * 256 * PAGE, 16);
        small.write(UserAddr(A + i * 256 * PAGE), &[1; 65536]).unwrap();
    }
    time("fork of a process of 20 VMAs and exit", 1, || drop(small.fork()));
    let big = 16384;
    map(&p, A, big);
    time("64 MB of faults, per page, zeroing included", big, || {
        p.unmap(UserAddr(A), big * PAGE).unwrap();
        p.before_user().unwrap();
        map(&p, A, big);
        let mut at = 16;
        touch(&p, A, true);
        let mut run = 16;
        while at < big {
            touch(&p, A + at * PAGE, true);
            run = (run * 2).min(512);
            at += run;
        }
    });
    p.write(UserAddr(A), &vec![1; (big * PAGE) as usize]).unwrap();
    time("fork of 64 MB and exit of the child", 1, || drop(p.fork()));
    time("fork of 64 MB, before_user, exit", 1, || {
        let c = p.fork().unwrap();
        p.before_user().unwrap();
        drop(c);
    });
    time("refill of a run of 512, per fault", 1000, || {
        for _ in 0..1000 {
            touch(&p, A + 600 * PAGE, false);
        }
    });
    time("fork, 8 pages copied on write, exit", 1, || {
        let c = p.fork().unwrap();
        touch(&c, A + 40 * PAGE, true);
    });
    time("a write by the kernel, 1 byte", 1_000_000, || {
        for _ in 0..1_000_000 {
            p.write(UserAddr(A + 77), &[1]).unwrap();
        }
    });
    let mut buf = vec![0; 65536];
    time("a read by the kernel, 64 KiB", 1000, || {
        for _ in 0..1000 {
            p.read(UserAddr(A), &mut buf).unwrap();
        }
    });
    let (_f, c) = FakeFile::new(&w, 1 << 20);
    c.read_ahead(0, 256).unwrap();
    let q = AddressSpace::new(&w.memory).unwrap();
    map(&q, A, 64);
    time("read(2) of 64 KiB cached", 1000, || {
        for _ in 0..1000 {
            c.read(0, &mut q.sink((UserAddr(A), 65536)), 65536).unwrap();
        }
    });
    time("write(2) of 64 KiB cached", 1000, || {
        for _ in 0..1000 {
            c.write(0, &mut q.source((UserAddr(A), 65536)), 65536).unwrap();
        }
    });
    time("read(2) of 1 byte cached", 100_000, || {
        for _ in 0..100_000 {
            c.read(0, &mut q.sink((UserAddr(A), 1)), 1).unwrap();
        }
    });
    time("mmap, one fault, munmap of 16 pages", 1000, || {
        for _ in 0..1000 {
            let at = map(&p, 0, 16);
            touch(&p, at, true);
            p.unmap(UserAddr(at), 16 * PAGE).unwrap();
            p.before_user().unwrap();
        }
    });
    let fs = anonymous_file(&m);
    time("mmap, one fault, munmap of 64 cached pages", 1000, || {
        for _ in 0..1000 {
            let r = MapRequest {
                object: Some((Arc::new(fs.clone()), 0)),
                ..MapRequest::anonymous(64 * PAGE, Prot::READ)
            };
            let at = p.map(r).unwrap();
            touch(&p, at.0, false);
            p.unmap(at, 64 * PAGE).unwrap();
            p.before_user().unwrap();
        }
    });
    time("before_user with nothing to do", 1_000_000, || {
        for _ in 0..1_000_000 {
            p.before_user().unwrap();
        }
    });
}

/// 64 cached pages.
fn anonymous_file(m: &Arc<Memory>) -> Arc<crate::PageCache> {
    let c = crate::anonymous_shared(m, 64 * PAGE);
    c.read_ahead(0, 64).unwrap();
    c
}
