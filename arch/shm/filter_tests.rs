//! The filters, interpreted over made-up calls.

use super::*;
use crate::shm::layout::{K_BASE, S_BASE, TEXT};
use crate::stub::filter::tests::run;

const NONE: [u64; 6] = [0; 6];

fn server_says(nr: i64, ip: u64, args: [u64; 6]) -> u32 {
    run(&server(NegativeControl::None), nr as u32, ARCH_X86_64, ip, args)
}
fn thread_says(nr: i64, ip: u64, args: [u64; 6]) -> u32 {
    run(&thread(NegativeControl::None), nr as u32, ARCH_X86_64, ip, args)
}

#[test]
fn threads_may_wait_and_wake_and_nothing_else() {
    let (wait, wake) = (address(Label::AtWait), address(Label::AtWake));
    assert_eq!(thread_says(libc::SYS_futex, wait, [K_BASE, 0, 7, 0, 0, 0]), ALLOW);
    assert_eq!(thread_says(libc::SYS_futex, wake, [S_BASE, 1, 1, 0, 0, 0]), ALLOW);
    assert_eq!(thread_says(libc::SYS_futex, wait, [S_BASE, 0, 7, 0, 0, 0]), KILL);
    assert_eq!(thread_says(libc::SYS_futex, wake, [K_BASE, 1, 1, 0, 0, 0]), KILL);
    assert_eq!(thread_says(libc::SYS_futex, wake, [S_BASE, 1, 2, 0, 0, 0]), KILL);
    assert_eq!(thread_says(libc::SYS_futex, wait, [K_BASE, 1, 1, 0, 0, 0]), KILL);
    assert_eq!(thread_says(libc::SYS_futex, wait, [0x1000_0000, 0, 7, 0, 0, 0]), KILL);
    assert_eq!(thread_says(libc::SYS_futex, TEXT + 4, [K_BASE, 0, 7, 0, 0, 0]), KILL);
    assert_eq!(thread_says(libc::SYS_futex, 0x40_0000, [K_BASE, 0, 7, 0, 0, 0]), TRAP);
    assert_eq!(thread_says(libc::SYS_sched_yield, address(Label::AtYield), NONE), ALLOW);
    assert_eq!(server_says(libc::SYS_sched_yield, address(Label::AtYield), NONE), ALLOW);
    let unmask =
        |at, how, set| thread_says(libc::SYS_rt_sigprocmask, address(at), [how, set, 0, 8, 0, 0]);
    let none = TEXT + ZEROS as u64;
    assert_eq!(unmask(Label::AtUnmask, 2, none), ALLOW);
    assert_eq!(unmask(Label::AtUnmask, 0, none), KILL);
    assert_eq!(unmask(Label::AtUnmask, 2, none + 8), KILL, "all of them");
    assert_eq!(unmask(Label::AtUnmask, 2, 0x40_0000), KILL);
    assert_eq!(unmask(Label::AtWait, 2, none), KILL);
    let vsyscall = 0xffff_ffff_ff60_0009;
    for nr in 0..600 {
        if nr != libc::SYS_futex {
            assert_eq!(thread_says(nr, wait, NONE), KILL, "call {nr}");
        }
        assert_eq!(thread_says(nr, 0x40_0000, NONE), TRAP, "call {nr}");
        assert_eq!(thread_says(nr, vsyscall, NONE), TRAP, "call {nr}");
        assert_eq!(run(&thread(NegativeControl::None), nr as u32, 0x4000_0003, wait, NONE), KILL);
        assert_eq!(thread_says(nr | 0x4000_0000, wait, NONE), KILL);
    }
}

#[test]
fn servers_map_below_the_text_only() {
    let ip = address(Label::AtServer);
    let map = |at: u64, len, prot, flags, fd| {
        server_says(libc::SYS_mmap, ip, [at, len, prot, flags, fd, 0])
    };
    assert_eq!(map(0x40_0000, 4096, 5, 0x11, 0), ALLOW);
    assert_eq!(map(0x7ffd_ffff_f000, 4096, 7, 0x8011, 0), ALLOW);
    assert_eq!(map(0x7ffe_0000_0000, 4096, 3, 0x11, 0), KILL);
    assert_eq!(map(K_BASE, 4096, 3, 0x11, 0), KILL);
    assert_eq!(map(0x40_0000, 1 << 40, 3, 0x11, 0), ALLOW);
    assert_eq!(map(0x7ff0_0000_0000, 0xe_0000_0000, 3, 0x11, 0), KILL);
    assert_eq!(map(0x7ff0_0000_0000, 0xd_ffff_f000, 3, 0x11, 0), ALLOW);
    assert_eq!(map(0xffff_ff00_0000_0000, 0x100_0000_1000, 3, 0x11, 0), KILL);
    assert_eq!(map(0x1000, 0xffff_ffff_ffff_f000, 3, 0x11, 0), KILL);
    assert_eq!(map(0x40_0000, 4096, 3, 0x11, 1), KILL, "only guest memory");
    assert_eq!(map(0x40_0000, 4096, 8, 0x11, 0), KILL);
    assert_eq!(map(0x40_0000, 4096, 3, 0x22, 0), KILL, "only shared and fixed");
    let other = address(Label::AtWait);
    assert_eq!(server_says(libc::SYS_mmap, other, [0x40_0000, 4096, 3, 0x11, 0, 0]), KILL);
    let unmap = |at, len| server_says(libc::SYS_munmap, ip, [at, len, 0, 0, 0, 0]);
    assert_eq!(unmap(0, TEXT), ALLOW);
    assert_eq!(unmap(0, TEXT + 4096), KILL);
    assert_eq!(unmap(4096, TEXT), KILL);
    assert_eq!(unmap(0x40_0000, 4096), ALLOW);
    assert_eq!(unmap(K_BASE, 4096), KILL);
    assert_eq!(unmap(0x1000, 0x7ffd_ffff_f000), ALLOW);
    assert_eq!(unmap(0x1_0000_0000, 0x7ffd_0000_0000), KILL);
    let protect = |at, len| server_says(libc::SYS_mprotect, ip, [at, len, 7, 0, 0, 0]);
    assert_eq!(protect(0x40_0000, 4096), ALLOW);
    assert_eq!(protect(TEXT, 4096), KILL);
    assert_eq!(protect(K_BASE, 4096), KILL);
}

#[test]
fn everything_else_is_pinned() {
    let write = |fd, at, len| server_says(libc::SYS_write, TEXT + 9, [fd, at, len, 0, 0, 0]);
    assert_eq!(write(2, TEXT + 0x900, 8), ALLOW);
    assert_eq!(write(2, S_BASE, 8), KILL);
    assert_eq!(write(2, TEXT + 0x900, 9), KILL);
    assert_eq!(write(1, TEXT + 0x900, 8), KILL);
    let clone = |place, flags, stack| {
        server_says(libc::SYS_clone, address(place), [flags, stack, 0, 0, 0, 0])
    };
    assert_eq!(clone(Label::AtThreadClone, THREAD_FLAGS.into(), 0), ALLOW);
    assert_eq!(clone(Label::AtSpaceClone, SPACE_FLAGS.into(), 0), ALLOW);
    assert_eq!(clone(Label::AtThreadClone, SPACE_FLAGS.into(), 0), KILL);
    assert_eq!(clone(Label::AtSpaceClone, THREAD_FLAGS.into(), 0), KILL);
    assert_eq!(clone(Label::AtThreadClone, THREAD_FLAGS.into(), 1 << 40), KILL);
    assert_eq!(clone(Label::AtThreadClone, u64::from(THREAD_FLAGS) | 1 << 40, 0), KILL);
    for (nr, inside, outside) in [
        (libc::SYS_prctl, Label::Space, Label::AtServer),
        (libc::SYS_prctl, Label::Thread, Label::AtWait),
        (libc::SYS_seccomp, Label::ThreadEnd, Label::Space),
        (libc::SYS_close, Label::Space, Label::Thread),
        (libc::SYS_rt_sigprocmask, Label::Thread, Label::Handler),
    ] {
        assert_eq!(server_says(nr, address(inside), NONE), ALLOW, "{nr} {inside:?}");
        assert_eq!(server_says(nr, address(outside), NONE), KILL, "{nr} {outside:?}");
        assert_eq!(server_says(nr, 0x40_0000, NONE), TRAP);
    }
    for nr in 0..600 {
        let ours = [
            libc::SYS_futex,
            libc::SYS_prctl,
            libc::SYS_seccomp,
            libc::SYS_close_range,
            libc::SYS_sigaltstack,
            libc::SYS_rt_sigprocmask,
        ];
        if !ours.contains(&nr) {
            for at in [Label::Handler, Label::AtServer, Label::AtWait, Label::Thread] {
                assert_eq!(server_says(nr, address(at), [u64::MAX; 6]), KILL, "{nr} at {at:?}");
            }
        }
    }
}
