//! Every way of guest code into the host's kernel, and what of the machine's state it can spoil.

mod common;

use arch::{Event, FaultInfo, Prot, Regs, Thread, XState};
use base::{Errno, Pfn, UserAddr};
use common::{CODE, DATA, DATA_FRAME, Kind, call_nr, guest, rw, rx, space_with, thread_at};

/// `mov $500,%eax; syscall`: tells the test that the code got there.
const DONE: &[u8] = b"\xb8\xf4\x01\0\0\x0f\x05";
/// Goes on in 32-bit code right behind it:
/// `lea 5(%rip),%rax; push $0x23; push %rax; lretq`.
const TO_32: &[u8] = b"\x48\x8d\x05\x05\0\0\0\x6a\x23\x50\x48\xcb";

fn code(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

fn first(kind: Kind, parts: &[&[u8]]) -> (Event, Box<dyn Thread>, impl Sized + use<>) {
    let (m, s, mut t) = guest(kind, &code(parts));
    let e = common::run(&mut t);
    (e, t, (m, s))
}

fn calls_are_counted_and_answered(kind: Kind) {
    // inc r12; mov $39,%eax; syscall; cmp %r12,%rax; je back; ud2
    let body = b"\x49\xff\xc4\xb8\x27\0\0\0\x0f\x05\x4c\x39\xe0\x74\xf1\x0f\x0b";
    let (_m, _s, mut t) = guest(kind, body);
    for i in 1..5000i64 {
        match common::run(&mut t) {
            Event::Syscall { nr: 39, ip, sp, .. } => {
                assert_eq!((ip, sp), (CODE + 10, DATA + 0xf00));
                match i % 3 {
                    0 => t.set_result(i),
                    1 => t.regs_mut().rax = i as u64,
                    _ => {
                        assert_eq!(t.regs().rax as i64, -38);
                        t.set_result(i);
                        assert_eq!(t.regs().rax as i64, i);
                    }
                }
            }
            e => panic!("{e:?} at {:#x}", t.regs().rip),
        }
    }
    assert_eq!(t.regs().r12, 4999);
}

fn arguments_arrive_in_order(kind: Kind) {
    let (_m, s, _) = guest(kind, DONE);
    let mut r = Regs::initial(CODE, 0);
    (r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9) = (1, 2, 3, 4, 5, 6);
    let mut t = s.new_thread(&r, None).expect("task");
    let Event::Syscall { nr: 500, args, .. } = common::run(&mut t) else { panic!() };
    assert_eq!(args, [1, 2, 3, 4, 5, 6]);
}

fn vsyscall_page_is_a_call(kind: Kind) {
    // mov $0xffffffffff600400,%rax (time); xor %edi,%edi; call *%rax
    let (e, mut t, _keep) = first(kind, &[b"\x48\xc7\xc0\0\x04\x60\xff\x31\xff\xff\xd0", DONE]);
    match e {
        Event::Syscall { nr: 201, ip, sp, .. } => {
            assert_eq!((ip, sp), (CODE + 11, DATA + 0xf00));
            t.set_result(77);
            let e = common::run(&mut t);
            assert_eq!(call_nr(e), 500);
        }
        // A host with vsyscall=none.
        Event::Fault(f) => assert_eq!(f.addr.0, 0xffff_ffff_ff60_0400),
        e => panic!("{e:?}"),
    }
}

fn int80_is_foreign(kind: Kind) {
    // mov $20,%eax (getpid there, writev here); int $0x80
    let (e, mut t, _keep) = first(kind, &[b"\xb8\x14\0\0\0\xcd\x80", DONE]);
    assert!(matches!(e, Event::ForeignSyscall | Event::Trap { signo: 11, .. }), "{e:?}");
    if e == Event::ForeignSyscall {
        assert_eq!(t.regs().rax as i64, -38);
        t.set_result(-38);
        assert_eq!(call_nr(common::run(&mut t)), 500);
        assert_eq!(t.regs().rip, CODE + 7 + 7);
    }
}

fn x32_numbers_keep_their_bit(kind: Kind) {
    let (e, _t, _keep) = first(kind, &[b"\xb8\x27\0\0\x40\x0f\x05"]);
    assert_eq!(call_nr(e), 0x4000_0027);
}

fn uretprobe_is_a_call(kind: Kind) {
    let (e, mut t, _keep) = first(kind, &[b"\xb8\x4f\x01\0\0\x0f\x05", DONE]);
    assert_eq!(call_nr(e), 335);
    assert_eq!(call_nr(common::run(&mut t)), 500);
}

/// The address at which the host would resume must never be shown.
fn assert_no_host_address(t: &mut Box<dyn Thread>) {
    let rip = t.regs().rip;
    assert!(rip == 0 || (CODE..CODE + 0x2000).contains(&rip), "rip {rip:#x} is the host's");
}

fn sysenter_is_a_trap(kind: Kind) {
    // mov $20,%eax; mov %rsp,%rbp; sysenter
    let (e, mut t, _keep) = first(kind, &[b"\xb8\x14\0\0\0\x48\x89\xe5\x0f\x34"]);
    assert!(matches!(e, Event::Trap { signo: 4 | 11, .. }), "{e:?}");
    assert_no_host_address(&mut t);
    // It may go on, and finds itself at nothing.
    t.regs_mut();
    let e = common::run(&mut t);
    assert!(matches!(e, Event::Trap { .. } | Event::Fault(_)), "{e:?}");
    assert_no_host_address(&mut t);
}

fn code_of_32_bits_gets_no_call(kind: Kind) {
    // mov $20,%eax; then int $0x80 / mov %esp,%ebp; sysenter / syscall; hlt
    for body in [
        &b"\xb8\x14\0\0\0\xcd\x80\xf4"[..],
        b"\xb8\x14\0\0\0\x89\xe5\x0f\x34\xf4",
        b"\xb8\x14\0\0\0\x0f\x05\xf4",
    ] {
        let (e, mut t, _keep) = first(kind, &[TO_32, body]);
        assert!(
            matches!(e, Event::ForeignSyscall | Event::Trap { signo: 4 | 11, .. }),
            "{body:x?}: {e:?}"
        );
        assert_no_host_address(&mut t);
        let e = common::run(&mut t);
        assert!(matches!(e, Event::Trap { .. } | Event::Fault(_)), "{body:x?}: then {e:?}");
    }
}

fn registers_that_the_host_refuses_are_cleaned(kind: Kind) {
    // wrfsbase of a kernel-half address: mov $0xffff888000000000,%rdi; wrfsbase %rdi
    let kernel_fs = b"\x48\xbf\0\0\0\0\x80\x88\xff\xff\xf3\x48\x0f\xae\xd7";
    // mov $1,%eax; mov %eax,%ds
    let null_ds = b"\xb8\x01\0\0\0\x8e\xd8";
    for body in [&kernel_fs[..], null_ds] {
        let (e, mut t, _keep) = first(kind, &[body, DONE, DONE]);
        assert_eq!(call_nr(e), 500, "{body:x?}");
        t.regs_mut().rbx = 0x1234;
        assert_eq!(call_nr(common::run(&mut t)), 500);
        assert_eq!(t.regs().rbx, 0x1234);
    }
    // Selectors that no GDT has, and an address that is none.
    let (e, mut t, _keep) = first(kind, &[DONE, DONE]);
    assert_eq!(call_nr(e), 500);
    let r = t.regs_mut();
    (r.cs, r.ss, r.ds, r.es, r.fs, r.gs) = (0x37, 0x10, 0x7f, 0x10, 3, 0xffff);
    (r.fs_base, r.gs_base, r.eflags) = (u64::MAX, 1 << 63, !0x100);
    let e = common::run(&mut t);
    assert!(matches!(e, Event::Syscall { nr: 500, .. } | Event::Trap { .. }), "{e:?}");
    t.regs_mut().rip = 1 << 63;
    let e = common::run(&mut t);
    assert!(matches!(e, Event::Trap { signo: 11, code: 128, .. } | Event::Fault(_)), "{e:?}");
    t.regs_mut().rip = CODE;
    t.regs_mut().eflags = 0x202;
    assert_eq!(call_nr(common::run(&mut t)), 500);
}

fn segment_bases_read_back(kind: Kind) {
    // wrfsbase %rdi; wrgsbase %rsi
    let (_m, s, _) = guest(kind, &code(&[b"\xf3\x48\x0f\xae\xd7\xf3\x48\x0f\xae\xde", DONE]));
    let mut r = Regs::initial(CODE, 0);
    (r.rdi, r.rsi) = (0x7fff_0000_1230, 0x11_1111_1000);
    let mut t = s.new_thread(&r, None).expect("task");
    assert_eq!(call_nr(common::run(&mut t)), 500);
    assert_eq!((t.regs().fs_base, t.regs().gs_base), (0x7fff_0000_1230, 0x11_1111_1000));
}

fn flags_of_the_guest_do_no_harm(kind: Kind) {
    // pushfq; orq $TF,(%rsp); popfq; nop; mov $500..
    let (_m, s, mut t) =
        guest(kind, &code(&[b"\x9c\x48\x81\x0c\x24\0\x01\0\0\x9d\x90", DONE, DONE]));
    let mut traps = 0;
    loop {
        match common::run(&mut t) {
            Event::Trap { signo: 5, code: 2, .. } => traps += 1,
            Event::Syscall { nr: 500, .. } => break,
            e => panic!("{e:?}"),
        }
        // A batch in between is not disturbed.
        s.map(UserAddr(0x90_0000), Pfn(40), 1, rw(), true);
        s.flush().expect("the batch has its own flags");
    }
    assert!(traps >= 2, "{traps}");
    // DF, NT, AC
    let (e, mut t, _keep) = first(kind, &[b"\x9c\x48\x81\x0c\x24\0\x44\x04\0\x9d", DONE, DONE]);
    assert_eq!(call_nr(e), 500);
    assert_eq!(t.regs().eflags & 0x44400, 0x44400);
    assert_eq!(call_nr(common::run(&mut t)), 500);
    // With AC, an unaligned load: mov 1(%rsp),%rax
    let (e, _t, _keep) =
        first(kind, &[b"\x9c\x48\x81\x0c\x24\0\0\x04\0\x9d\x48\x8b\x44\x24\x01", DONE]);
    assert!(matches!(e, Event::Trap { signo: 7, code: 1, .. }), "{e:?}");
}

fn protection_keys_and_tiles(kind: Kind) {
    // xor %ecx,%ecx; xor %edx,%edx; mov $1,%eax; wrpkru
    let pkru = b"\x31\xc9\x31\xd2\xb8\x01\0\0\0\x0f\x01\xef";
    let (m, s, mut t) = guest(kind, &code(&[pkru, DONE, DONE]));
    match common::run(&mut t) {
        Event::Syscall { nr: 500, .. } => {
            s.map(UserAddr(0x90_0000), Pfn(40), 1, rw(), true);
            s.flush().expect("the server has its own PKRU");
            assert_eq!(call_nr(common::run(&mut t)), 500);
        }
        Event::Trap { signo: 4, .. } => {} // a CPU without keys
        e => panic!("{e:?}"),
    }
    // tilerelease
    let s2 = space_with(&m, &code(&[b"\xc4\xe2\x78\x49\xc0", DONE]));
    let mut t = thread_at(&s2, CODE);
    match common::run(&mut t) {
        Event::Syscall { nr: 500, .. } | Event::Trap { signo: 4, .. } => {}
        e => panic!("{e:?}"),
    }
}

fn exceptions_become_their_signals(kind: Kind) {
    for (body, signo) in [
        (&b"\x0f\x0b"[..], 4),                         // ud2
        (b"\xcc", 5),                                  // int3
        (b"\xf4", 11),                                 // hlt
        (b"\x31\xc9\xf7\xf1", 8),                      // xor %ecx,%ecx; div %ecx
        (b"\x48\xb8\0\0\0\0\0\0\0\x80\x48\x8b\0", 11), // a load from no canonical address
    ] {
        let (e, mut t, _keep) = first(kind, &[body]);
        let Event::Trap { signo: got, .. } = e else { panic!("{body:x?}: {e:?}") };
        assert_eq!(got, signo, "{body:x?}");
        t.regs_mut().rip = CODE;
        assert_eq!(common::run(&mut t), e, "it can go on");
    }
}

fn faults_are_classified(kind: Kind) {
    let none = Prot::empty();
    let store = b"\x48\x89\x07\x0f\x0b"; // mov %rax,(%rdi)
    let movabs = b"\x48\xb8\x01\x02\x03\x04\x05\x06\x07\x08";
    let (a, b) = (0x70_0000u64, 0x70_1000u64);
    // rights of page a and of page b, rip, rdi -> present, exec, address
    let cases = [
        (none, none, a, 0, false, false, a),
        (rw(), none, a, 0, true, true, a),
        (rx(), none, b - 5, 0, false, false, b),
        (rx(), rw(), b - 5, 0, true, true, b),
        (Prot::READ, none, 0, a, true, false, a),
        (none, none, 0, a, false, false, a),
        (rw(), Prot::READ, 0, b - 3, true, false, b),
    ];
    for (i, (pa, pb, rip, rdi, present, exec, addr)) in cases.into_iter().enumerate() {
        let (m, s, _) = guest(kind, store);
        m.phys().write(Pfn(50).addr().add(4091), &movabs[..5]);
        m.phys().write(Pfn(51).addr(), &movabs[5..]);
        for (at, prot, frame) in [(a, pa, Pfn(50)), (b, pb, Pfn(51))] {
            if !prot.is_empty() {
                s.map(UserAddr(at), frame, 1, prot, true);
            }
        }
        let mut r = Regs::initial(if rip == 0 { CODE } else { rip }, 0);
        r.rdi = rdi;
        let mut t = s.new_thread(&r, None).expect("task");
        let e = common::run(&mut t);
        let mut want = FaultInfo { addr: UserAddr(addr), present, write: None, exec };
        if kind == Kind::Shm {
            // It has the CPU's error code.
            want.exec = rip != 0;
            want.write = Some(!want.exec);
        }
        assert_eq!(e, Event::Fault(want), "case {i}");
    }
}

fn single_step_counts_calls_once(kind: Kind) {
    // mov $39,%eax; syscall; jmp back
    let (_m, _s, mut t) = guest(kind, b"\xb8\x27\0\0\0\x0f\x05\xeb\xf7");
    t.set_single_step(true);
    let mut seen = Vec::new();
    for _ in 0..8 {
        let e = common::run(&mut t);
        match e {
            Event::Trap { signo: 5, code: 2, .. } => seen.push(t.regs().rip - CODE),
            Event::Syscall { .. } => seen.push(100),
            e => panic!("{e:?}"),
        }
    }
    assert_eq!(seen, [5, 100, 7, 0, 5, 100, 7, 0], "as on hardware, with the call before its step");
    assert_eq!(t.regs().eflags & 0x100, 0, "the debugger's TF is not the guest's");
    t.set_single_step(false);
    assert_eq!(call_nr(common::run(&mut t)), 39);
}

fn results_that_look_like_restarts_are_left_alone(kind: Kind) {
    // mov $39,%eax; syscall; mov %rax,%rdi; DONE
    let cpu = common::enter_cpu();
    for value in [-516i64, -514, -513, -512, -511, -517] {
        for whole in [false, true] {
            for kicked in [false, true] {
                let (_m, _s, mut t) =
                    guest(kind, &code(&[b"\xb8\x27\0\0\0\x0f\x05\x48\x89\xc7", DONE]));
                assert_eq!(call_nr(common::run(&mut t)), 39);
                if whole {
                    t.regs_mut().rax = value as u64;
                } else {
                    t.set_result(value);
                }
                if kicked {
                    arch::cpu::kick(cpu);
                }
                let Event::Syscall { nr, args, .. } = common::run(&mut t) else { panic!() };
                assert_eq!((nr, args[0] as i64), (500, value), "{whole} {kicked}");
            }
        }
    }
}

fn extended_state_of_full_size_survives(kind: Kind) {
    let (m, s, mut t) = guest(kind, &code(&[DONE, b"\xeb\xf7"]));
    assert_eq!(call_nr(common::run(&mut t)), 500);
    let mut x = t.xstate().expect("alive");
    assert_eq!(x.0.len(), m.initial_xstate().len());
    // A CPU may or may not say that a component in its initial state is in use (XSTATE_BV).
    let same = |a: &[u8], b: &[u8]| a[..512] == b[..512] && a[520..] == b[520..];
    assert!(same(&x.0, m.initial_xstate()), "nothing has touched it");
    assert_eq!(x.0[24..28], 0x1f80u32.to_le_bytes());
    x.0[160..416].fill(0xa5); // xmm0..15
    x.0[512] |= 2; // XSTATE_BV: SSE
    x.0[576..832].fill(0x5a); // the upper halves of ymm
    x.0[512] |= 4;
    t.set_xstate(&x).expect("valid");
    for _ in 0..10 {
        assert_eq!(call_nr(common::run(&mut t)), 500);
    }
    let after = t.xstate().expect("alive");
    assert_eq!(after.0[160..416], x.0[160..416]);
    assert_eq!(after.0[576..832], x.0[576..832]);
    // What the host refuses is an error and changes nothing.
    let mut bad = x.clone();
    bad.0[527] |= 0x80; // XCOMP_BV: compacted
    assert_eq!(t.set_xstate(&bad).expect_err("refused"), Errno::EINVAL);
    assert_eq!(t.set_xstate(&XState(vec![0; 512].into())).expect_err("refused"), Errno::EINVAL);
    // Handed on to a child, and not to the next user of the host task.
    let mut child = s.clone().new_thread(&Regs::initial(CODE, 0), Some(&x)).expect("task");
    assert_eq!(call_nr(common::run(&mut child)), 500);
    assert_eq!(child.xstate().expect("alive").0[160..416], x.0[160..416]);
    drop(child);
    let mut next = thread_at(&s, CODE);
    assert!(same(&next.xstate().expect("alive").0, m.initial_xstate()));
}

#[test]
fn jumps_into_the_ptrace_stub_make_no_mapping() {
    let kind = Kind::Ptrace; // hostile.rs has them for shm
    const STUB: u64 = 0x7fff_ffff_d000;
    const WANTED: u64 = 0x50_0000;
    let (m, _s, _) = guest(kind, DONE);
    // The guest's own request: map frame 0, writable and executable.
    let words = [9u64, WANTED, 4096, 7, 0x11, 0, 0];
    let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
    m.phys().write(DATA_FRAME.addr(), &bytes);
    let mut s = space_with(&m, DONE);
    for offset in 0..4096u64 {
        let mut r = Regs::initial(STUB + offset, DATA + 0xf00);
        (r.rbx, r.r15) = (DATA, DATA + 56);
        // And as if a mapping call stood right there.
        (r.rax, r.rdi, r.rsi, r.rdx, r.r10, r.r8) = (9, WANTED, 4096, 7, 0x11, 0);
        (r.r12, r.r14) = (0, DATA);
        let Ok(mut t) = s.clone().new_thread(&r, None) else {
            s = space_with(&m, DONE);
            continue;
        };
        for _ in 0..6 {
            match common::run(&mut t) {
                Event::Syscall { nr, .. } => {
                    assert_ne!(nr, 500);
                    t.set_result(0);
                }
                Event::Dead => panic!("the guest killed its stub at offset {offset:#x}"),
                _ => break,
            }
        }
    }
    // The server still works, and nothing was mapped.
    s.flush().expect("alive");
    for pid in m.host_tasks() {
        let maps = common::host_maps(pid);
        assert!(!maps.contains("00500000-"), "{maps}");
    }
}

both! {
    calls_are_counted_and_answered
    arguments_arrive_in_order
    vsyscall_page_is_a_call
    int80_is_foreign
    x32_numbers_keep_their_bit
    uretprobe_is_a_call
    sysenter_is_a_trap
    code_of_32_bits_gets_no_call
    registers_that_the_host_refuses_are_cleaned
    segment_bases_read_back
    flags_of_the_guest_do_no_harm
    protection_keys_and_tiles
    exceptions_become_their_signals
    faults_are_classified
    single_step_counts_calls_once
    results_that_look_like_restarts_are_left_alone
    extended_state_of_full_size_survives
}
