//! What a stub may not be talked into. Real stubs; what a hostile guest would write, the tests write.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::*;
use crate::PhysMem;
use crate::pool::Zygote as _;
use crate::shm::handoff::Handoff;
use crate::shm::zygote::Zygote;
use crate::shm::{NegativeControl, Policy};

fn stub() -> (Zygote, Stub) {
    if crate::cpu::id().is_none() {
        let id = (0..crate::cpu::MAX_CPUS as u32).find(|id| crate::cpu::enter(*id).is_ok());
        id.expect("a free CPU number");
    }
    let handoff = Handoff::new(Policy::Spin);
    let host = Arc::new(Host::new(NegativeControl::None, handoff).expect("pages"));
    let phys = PhysMem::new(1 << 20).expect("memory");
    let mut zygote = Zygote::start(&host, &phys).expect("zygote");
    let stub = zygote.spawn().expect("stub");
    (zygote, stub)
}

fn with_threads(stub: &mut Stub, n: usize) {
    let tasks: Vec<_> = (0..n).map(|_| stub.guest().expect("a thread")).collect();
    tasks.into_iter().for_each(|t| stub.park(t));
}

#[test]
fn honest_threads_start_anew() {
    let (_zygote, mut stub) = stub();
    with_threads(&mut stub, 3);
    for _ in 0..50 {
        assert!(stub.reset());
    }
    let mut kicks = 0;
    for t in &stub.parked {
        kicks += t.event;
        assert_eq!(t.region.k32(k::RESET).load(Ordering::Relaxed), 0);
    }
    assert_eq!(kicks, 3, "no event counts");
    assert_eq!(stub.tids.len(), 3);
}

/// A thread that answers by itself, before the signal has come: it is as if its signal never came.
#[test]
fn an_answer_of_its_own_is_none() {
    for n in 1..3 {
        let (_zygote, mut stub) = stub();
        with_threads(&mut stub, n);
        // The signal goes to the server, which has all blocked.
        stub.parked[0].placed.tid = stub.pid;
        let r = stub.parked[0].region.clone();
        let done = Arc::new(AtomicBool::new(false));
        let quit = done.clone();
        let forger = std::thread::spawn(move || {
            while !quit.load(Ordering::SeqCst) {
                let want = r.k32(k::GO).load(Ordering::Relaxed).wrapping_add(1);
                if r.s32(s::EV).load(Ordering::SeqCst) == 0 {
                    r.s32(s::TYPE).store(event::READY, Ordering::SeqCst);
                    r.s32(s::EV).store(want, Ordering::SeqCst);
                }
            }
        });
        assert!(!stub.reset(), "{n} threads");
        done.store(true, Ordering::SeqCst);
        forger.join().expect("no panic");
    }
}

#[test]
fn regions_that_nobody_has_are_looked_at() {
    for (region, at) in [(2, 0), (1023, S_SIZE - 8), (0, 2 * PAGE_SIZE)] {
        let (_zygote, mut stub) = stub();
        with_threads(&mut stub, 1);
        assert!(stub.reset());
        stub.slot.region(region).s64(at).store(1, Ordering::SeqCst);
        assert!(!stub.reset(), "{region} {at:#x}");
    }
}

#[test]
fn what_the_server_did_is_forgotten() {
    let (_zygote, mut stub) = stub();
    with_threads(&mut stub, 1);
    let ops = [Op { vpn: 0x5ca1, pages: 1, kind: Kind::Unmap }; 3];
    stub.batch(&ops).expect("nothing is mapped there");
    stub.parked[0].region.k64(k::FS_BASE).store(0x5ca1_b000, Ordering::SeqCst);
    assert!(stub.reset());
    for region in 0..2 {
        let r = stub.slot.region(region);
        let words = k::COUNT.div_ceil(8)..K_SIZE / 8;
        let left = words.filter(|w| r.k64(w * 8).load(Ordering::SeqCst) != 0).count();
        assert_eq!(left, 0, "region {region}");
        assert_eq!(r.k64(k::FS_BASE).load(Ordering::SeqCst), 0);
    }
}

/// Ids come through a word that guests can write.
#[test]
fn the_id_of_a_new_thread_is_checked() {
    for forged in 0..2 {
        let (_zygote, mut stub) = stub();
        with_threads(&mut stub, 1);
        let wrong = if forged == 0 { stub.pid } else { stub.tids[0] };
        let result = stub.slot.region(0);
        let done = Arc::new(AtomicBool::new(false));
        let quit = done.clone();
        let forger = std::thread::spawn(move || {
            while !quit.load(Ordering::SeqCst) {
                result.s64(s::RESULT).store(wrong as u64, Ordering::SeqCst);
            }
        });
        let parked = stub.parked.pop();
        // It may lose the race: then the right id was seen.
        let ok = stub.guest().map(|t| t.placed.tid);
        done.store(true, Ordering::SeqCst);
        forger.join().expect("no panic");
        assert!(ok.is_err() == stub.is_dead());
        assert!(ok.is_err() || ok.is_ok_and(|tid| tid != wrong));
        drop(parked);
    }
}
