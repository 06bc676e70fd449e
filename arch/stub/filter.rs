//! The stubs' seccomp filters, as classic BPF programs.
//!
//! They answer RET_TRAP to whatever is not allowed, never RET_KILL: a trap is a stop that the
//! kernel sees and classifies. SYSEMU hides a guest's calls from the host before a filter is
//! asked; the filter is what stands when the entry path has no ptrace stop (the vsyscall page) or
//! should the kernel ever resume a guest task with the wrong request.

use zerocopy::{Immutable, IntoBytes};

use super::{GUEST_FLAGS, PARK, TEXT};
use crate::sys::ARCH_X86_64;

/// `struct sock_filter`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoBytes, Immutable)]
pub(crate) struct Insn {
    code: u16,
    jt: u8,
    jf: u8,
    k: u32,
}

// Offsets in struct seccomp_data.
pub(crate) const NR: u32 = 0;
pub(crate) const ARCH: u32 = 4;
pub(crate) const IP_LOW: u32 = 8;
pub(crate) const IP_HIGH: u32 = 12;
pub(crate) const fn arg_low(n: u32) -> u32 {
    16 + 8 * n
}
pub(crate) const fn arg_high(n: u32) -> u32 {
    20 + 8 * n
}

pub(crate) const ALLOW: u32 = 0x7fff_0000;
const TRACE: u32 = 0x7ff0_0000;
pub(crate) const TRAP: u32 = 0x0003_0000;

/// Loads a word of seccomp_data.
pub(crate) const fn load(offset: u32) -> Insn {
    Insn { code: 0x20, jt: 0, jf: 0, k: offset }
}
/// Skips `jt` instructions if the word is `k`, else `jf`.
pub(crate) const fn if_equal(k: u32, jt: u8, jf: u8) -> Insn {
    Insn { code: 0x15, jt, jf, k }
}
/// Skips `jt` instructions if the word is at least `k`, else `jf`.
pub(crate) const fn if_at_least(k: u32, jt: u8, jf: u8) -> Insn {
    Insn { code: 0x35, jt, jf, k }
}
/// Keeps the word.
pub(crate) const fn to_index() -> Insn {
    Insn { code: 0x07, jt: 0, jf: 0, k: 0 }
}
/// Adds the kept word.
pub(crate) const fn add_index() -> Insn {
    Insn { code: 0x0c, jt: 0, jf: 0, k: 0 }
}
pub(crate) const fn answer(k: u32) -> Insn {
    Insn { code: 0x06, jt: 0, jf: 0, k }
}

/// Guest tasks: nothing is allowed, from nowhere.
pub(crate) fn guest() -> Vec<Insn> {
    vec![answer(TRAP)]
}

/// Servers: from the stub's text, in the native architecture, the mapping calls, the parking call,
/// and with these very arguments what a new guest task needs on top.
pub(crate) fn server() -> Vec<Insn> {
    let mut f = vec![
        load(ARCH),
        if_equal(ARCH_X86_64, 1, 0),
        answer(TRAP),
        load(IP_HIGH),
        if_equal((TEXT >> 32) as u32, 1, 0),
        answer(TRAP),
        load(IP_LOW),
        if_at_least(TEXT as u32, 1, 0),
        answer(TRAP),
        if_at_least(TEXT as u32 + 4096, 0, 1),
        answer(TRAP),
        load(NR),
    ];
    for nr in [libc::SYS_mmap, libc::SYS_munmap, libc::SYS_mprotect, libc::SYS_madvise] {
        f.extend([if_equal(nr as u32, 0, 1), answer(ALLOW)]);
    }
    f.extend([if_equal(PARK, 0, 1), answer(TRACE)]);
    let pinned: [(i64, &[(u32, u32)]); 4] = [
        // clone(flags, no stack)
        (libc::SYS_clone, &[(0, GUEST_FLAGS), (1, 0)]),
        (libc::SYS_close_range, &[(0, 0), (2, 0)]),
        (
            libc::SYS_prctl,
            &[(0, libc::PR_SET_PDEATHSIG.cast_unsigned()), (1, libc::SIGKILL.cast_unsigned())],
        ),
        (libc::SYS_seccomp, &[(0, libc::SECCOMP_SET_MODE_FILTER), (1, 0)]),
    ];
    for (nr, args) in pinned {
        // Per argument: two loads, two tests, two answers; then the final ALLOW.
        f.push(if_equal(nr as u32, 0, args.len() as u8 * 6 + 1));
        for &(n, value) in args {
            f.extend([
                load(arg_low(n)),
                if_equal(value, 1, 0),
                answer(TRAP),
                load(arg_high(n)),
                if_equal(0, 1, 0),
                answer(TRAP),
            ]);
        }
        f.push(answer(ALLOW));
    }
    f.push(answer(TRAP));
    f
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Interprets a program over one seccomp_data.
    pub(crate) fn run(program: &[Insn], nr: u32, arch: u32, ip: u64, args: [u64; 6]) -> u32 {
        let mut data = Vec::new();
        data.extend(nr.to_le_bytes());
        data.extend(arch.to_le_bytes());
        data.extend(ip.to_le_bytes());
        args.iter().for_each(|a| data.extend(a.to_le_bytes()));
        let (mut acc, mut index, mut pc) = (0u32, 0u32, 0usize);
        loop {
            let i = program[pc];
            pc += 1;
            match i.code {
                0x20 => {
                    let at = i.k as usize;
                    acc = u32::from_le_bytes(data[at..at + 4].try_into().expect("four bytes"));
                }
                0x07 => index = acc,
                0x0c => acc = acc.wrapping_add(index),
                0x15 => pc += usize::from(if acc == i.k { i.jt } else { i.jf }),
                0x35 => pc += usize::from(if acc >= i.k { i.jt } else { i.jf }),
                _ => return i.k,
            }
        }
    }

    #[test]
    fn server_filter_allows_only_its_own() {
        let f = server();
        let ip = TEXT + 200;
        let go = |nr: i64, ip, args| run(&f, nr as u32, ARCH_X86_64, ip, args);
        let none = [0; 6];
        assert_eq!(go(libc::SYS_mmap, ip, none), ALLOW);
        assert_eq!(go(libc::SYS_munmap, ip, none), ALLOW);
        assert_eq!(go(999, ip, none), TRACE);
        assert_eq!(go(libc::SYS_mmap, TEXT - 1, none), TRAP);
        assert_eq!(go(libc::SYS_mmap, TEXT + 4096, none), TRAP);
        assert_eq!(go(libc::SYS_mmap, 0x40_0000, none), TRAP);
        assert_eq!(run(&f, libc::SYS_mmap as u32, 0x4000_0003, ip, none), TRAP);
        assert_eq!(go(libc::SYS_mmap | 0x4000_0000, ip, none), TRAP);
        let clone = [u64::from(GUEST_FLAGS), 0, 0, 0, 0, 0];
        assert_eq!(go(libc::SYS_clone, ip, clone), ALLOW);
        assert_eq!(go(libc::SYS_clone, ip, [17, 0, 0, 0, 0, 0]), TRAP);
        assert_eq!(go(libc::SYS_clone, ip, [clone[0], 1 << 40, 0, 0, 0, 0]), TRAP);
        assert_eq!(go(libc::SYS_clone, ip, [clone[0] | 1 << 32, 0, 0, 0, 0, 0]), TRAP);
        assert_eq!(go(libc::SYS_prctl, ip, [1, 9, 0, 0, 0, 0]), ALLOW);
        assert_eq!(go(libc::SYS_prctl, ip, [1, 0, 0, 0, 0, 0]), TRAP);
        assert_eq!(go(libc::SYS_seccomp, ip, [1, 0, 0, 0, 0, 0]), ALLOW);
        assert_eq!(go(libc::SYS_seccomp, ip, [1, 8, 0, 0, 0, 0]), TRAP);
        assert_eq!(go(libc::SYS_close_range, ip, [0, 0xffff_ffff, 0, 0, 0, 0]), ALLOW);
        for nr in 0..600 {
            let known = [
                libc::SYS_mmap,
                libc::SYS_munmap,
                libc::SYS_mprotect,
                libc::SYS_madvise,
                libc::SYS_close_range,
            ];
            if !known.contains(&nr) {
                assert_eq!(go(nr, ip, none), TRAP, "call {nr}");
            }
            assert_eq!(run(&guest(), nr as u32, ARCH_X86_64, ip, none), TRAP);
        }
    }
}
