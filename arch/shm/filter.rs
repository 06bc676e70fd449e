//! The stubs' seccomp filters.
//!
//! Syscall User Dispatch turns every call from outside of the text into SIGSYS, but a filter stands behind it,
//! for entries that it does not see (the vsyscall page) and for jumps into the text. Filters are inherited
//! and the strictest verdict wins: a guest thread has both. Every allowed call is pinned to its instruction
//! where the arguments do not say enough. From the text what is not allowed kills the process, from elsewhere it is a
//! signal: a guest that calls the vsyscall page gets its answer.

use super::NegativeControl;
use super::layout::{
    GUEST_HIGH, K_BASE, K_LEN, S_BASE, S_LEN, SPACE_FLAGS, TEXT, TEXT_HIGH, TEXT_LEN, THREAD_FLAGS,
    fd,
};
use super::text::{Label, ZEROS, address};
use crate::stub::filter::{
    ALLOW, ARCH, IP_HIGH, IP_LOW, Insn, NR, TRAP, add_index, answer, arg_high, arg_low,
    if_at_least, if_equal, load, to_index,
};
use crate::sys::ARCH_X86_64;

const KILL: u32 = 0x8000_0000;

/// Goes on if the word at `offset` is `value`, else answers.
fn must_be(f: &mut Vec<Insn>, offset: u32, value: u32, verdict: u32) {
    f.extend([load(offset), if_equal(value, 1, 0), answer(verdict)]);
}

/// Goes on if `low <= word at offset < high`, else answers.
fn must_lie(f: &mut Vec<Insn>, offset: u32, low: u64, high: u64, verdict: u32) {
    f.extend([
        load(offset),
        if_at_least(low as u32, 0, 1),
        if_at_least(high as u32, 0, 1),
        answer(verdict),
    ]);
}

/// In front of all: native calls, and from the text only.
fn head(control: NegativeControl) -> Vec<Insn> {
    let mut f = Vec::new();
    if control == NegativeControl::LetGetpidThrough {
        on(&mut f, libc::SYS_getpid, vec![answer(ALLOW)]);
    }
    must_be(&mut f, ARCH, ARCH_X86_64, KILL);
    must_be(&mut f, IP_HIGH, TEXT_HIGH, TRAP);
    must_lie(&mut f, IP_LOW, TEXT, TEXT + TEXT_LEN, TRAP);
    f
}

/// If the number is `nr`, `body` decides.
fn on(f: &mut Vec<Insn>, nr: i64, body: Vec<Insn>) {
    f.extend([load(NR), if_equal(nr as u32, 0, body.len() as u8)]);
    f.extend(body);
}

/// sched_yield(2), from one instruction.
fn yields() -> Vec<Insn> {
    let mut f = Vec::new();
    must_be(&mut f, IP_LOW, address(Label::AtYield) as u32, KILL);
    f.push(answer(ALLOW));
    f
}

/// Guest threads: three futex calls, each from its instruction and on its pages, to yield, and what lets signals in when
/// all locks are closed: a guest that does it again has changed nothing.
pub(crate) fn thread(control: NegativeControl) -> Vec<Insn> {
    let mut f = head(control);
    on(&mut f, libc::SYS_sched_yield, yields());
    let mut unmask = Vec::new();
    must_be(&mut unmask, IP_LOW, address(Label::AtUnmask) as u32, KILL);
    must_be(&mut unmask, arg_low(0), libc::SIG_SETMASK as u32, KILL);
    must_be(&mut unmask, arg_low(1), TEXT as u32 + ZEROS as u32, KILL);
    must_be(&mut unmask, arg_high(1), TEXT_HIGH, KILL);
    unmask.push(answer(ALLOW));
    on(&mut f, libc::SYS_rt_sigprocmask, unmask);
    must_be(&mut f, NR, libc::SYS_futex as u32, KILL);
    must_be(&mut f, arg_high(0), TEXT_HIGH, KILL);
    let mut wait = Vec::new();
    must_be(&mut wait, arg_low(1), libc::FUTEX_WAIT as u32, KILL);
    must_lie(&mut wait, arg_low(0), K_BASE, K_BASE + K_LEN as u64, KILL);
    wait.push(answer(ALLOW));
    f.extend([load(IP_LOW), if_equal(address(Label::AtWait) as u32, 0, wait.len() as u8)]);
    f.extend(wait);
    must_be(&mut f, arg_low(1), libc::FUTEX_WAKE as u32, KILL);
    must_be(&mut f, arg_low(2), 1, KILL);
    // The server sleeps on the first word of its K page. Woken for nothing, it sleeps again.
    let mut serve = Vec::new();
    must_be(&mut serve, arg_low(0), K_BASE as u32, KILL);
    serve.push(answer(ALLOW));
    f.extend([load(IP_LOW), if_equal(address(Label::AtServe) as u32, 0, serve.len() as u8)]);
    f.extend(serve);
    must_be(&mut f, IP_LOW, address(Label::AtWake) as u32, KILL);
    must_lie(&mut f, arg_low(0), S_BASE, S_BASE + S_LEN as u64, KILL);
    f.push(answer(ALLOW));
    f
}

/// The zygote and servers. A guest thread sets itself up behind it, too.
pub(crate) fn server(control: NegativeControl) -> Vec<Insn> {
    let mut f = head(control);
    let mut futex = Vec::new();
    futex.extend([load(arg_low(1)), if_at_least(2, 0, 1), answer(KILL), answer(ALLOW)]);
    on(&mut f, libc::SYS_futex, futex);
    on(&mut f, libc::SYS_sched_yield, yields());

    // A report: one of the constants in the text.
    let mut write = Vec::new();
    must_be(&mut write, arg_low(0), fd::REPORT, KILL);
    must_be(&mut write, arg_low(2), 8, KILL);
    must_be(&mut write, arg_high(1), TEXT_HIGH, KILL);
    must_lie(&mut write, arg_low(1), TEXT, TEXT + TEXT_LEN, KILL);
    write.push(answer(ALLOW));
    on(&mut f, libc::SYS_write, write);

    // Operations: from one instruction, and ending below the text: the sum of the high halves of
    // start and length is at most GUEST_HIGH, so the end is below GUEST_HIGH + 2 of them.
    let mut range = Vec::new();
    must_be(&mut range, IP_LOW, address(Label::AtServer) as u32, KILL);
    let high_at_most = [if_at_least(GUEST_HIGH + 1, 0, 1), answer(KILL)];
    range.push(load(arg_high(1)));
    range.extend(high_at_most);
    range.extend([to_index(), load(arg_high(0))]);
    range.extend(high_at_most);
    range.push(add_index());
    range.extend(high_at_most);
    range.push(answer(ALLOW));

    let mut mmap = Vec::new();
    // A new space maps its control pages.
    mmap.extend([
        load(IP_LOW),
        if_at_least(address(Label::Space) as u32, 0, 2),
        if_at_least(address(Label::SpaceEnd) as u32 + 1, 1, 0),
        answer(ALLOW),
    ]);
    mmap.extend([load(arg_low(2)), if_at_least(8, 0, 1), answer(KILL)]);
    must_be(&mut mmap, arg_low(4), fd::RAM, KILL);
    let flags = (libc::MAP_SHARED | libc::MAP_FIXED) as u32;
    mmap.extend([
        load(arg_low(3)),
        if_equal(flags, 2, 0),
        if_equal(flags | libc::MAP_POPULATE as u32, 1, 0),
        answer(KILL),
    ]);
    mmap.extend_from_slice(&range);
    on(&mut f, libc::SYS_mmap, mmap);
    on(&mut f, libc::SYS_mprotect, range.clone());

    // munmap(0, TEXT): everything that is the guest's.
    let mut munmap = vec![load(arg_high(1)), if_equal(TEXT_HIGH, 0, 0)];
    let mut all = Vec::new();
    must_be(&mut all, IP_LOW, address(Label::AtServer) as u32, KILL);
    for (offset, value) in [(arg_low(1), TEXT as u32), (arg_low(0), 0), (arg_high(0), 0)] {
        must_be(&mut all, offset, value, KILL);
    }
    all.push(answer(ALLOW));
    munmap[1] = if_equal(TEXT_HIGH, 0, all.len() as u8);
    munmap.extend(all);
    munmap.extend(range);
    on(&mut f, libc::SYS_munmap, munmap);

    let mut clone = Vec::new();
    must_be(&mut clone, arg_high(0), 0, KILL);
    must_be(&mut clone, arg_low(1), 0, KILL);
    must_be(&mut clone, arg_high(1), 0, KILL);
    clone.extend([load(IP_LOW), if_equal(address(Label::AtThreadClone) as u32, 0, 3)]);
    clone.extend([load(arg_low(0)), if_equal(THREAD_FLAGS, 0, 1), answer(ALLOW)]);
    must_be(&mut clone, IP_LOW, address(Label::AtSpaceClone) as u32, KILL);
    must_be(&mut clone, arg_low(0), SPACE_FLAGS, KILL);
    clone.push(answer(ALLOW));
    on(&mut f, libc::SYS_clone, clone);

    // The rest is set-up, by number and place.
    let space = [libc::SYS_prctl, libc::SYS_getppid, libc::SYS_setsid, libc::SYS_close];
    let thread = [
        libc::SYS_close_range,
        libc::SYS_sigaltstack,
        libc::SYS_rt_sigprocmask,
        libc::SYS_prctl,
        libc::SYS_seccomp,
    ];
    for (calls, from, to) in [
        (&space[..], Label::Space, Label::SpaceEnd),
        (&thread[..], Label::Thread, Label::ThreadEnd),
    ] {
        let mut body = vec![load(NR)];
        for &nr in calls {
            body.extend([if_equal(nr as u32, 0, 1), answer(ALLOW)]);
        }
        let skip = body.len() as u8;
        f.extend([
            load(IP_LOW),
            if_at_least(address(from) as u32, 0, skip + 1),
            if_at_least(address(to) as u32 + 1, skip, 0),
        ]);
        f.extend(body);
    }
    f.push(answer(KILL));
    f
}

#[cfg(test)]
#[path = "filter_tests.rs"]
mod tests;
