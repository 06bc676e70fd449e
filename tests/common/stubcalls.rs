//! Reads what `strace -f` says of an Umbra with the shm backend, and tells every host call of a stub that is
//! not on the list below.
//!
//! A call that the filter refuses is in the log, too, since strace looks first: it has no result, or its own number
//! for one, and the process ends by SIGSYS. Calls that Syscall User Dispatch turns into a signal strace does not see.

use std::collections::{BTreeMap, BTreeSet};

/// Where guests may map, and the stub's own pages (arch/shm/layout.rs).
const GUEST_END: u64 = 0x7ffe_0000_0000;
const TEXT: u64 = 0x7fff_0000_0000;
const K: std::ops::Range<u64> = 0x7fff_1000_0000..0x7fff_1040_0000;
const S: std::ops::Range<u64> = 0x7fff_2000_0000..0x7fff_2200_0000;

/// What a guest thread does before anything else, in this order.
const ARMING: [&str; 5] = ["close_range(", "sigaltstack(", "prctl(", "seccomp(", "rt_sigprocmask("];

/// What a log shows.
#[derive(Debug, Default)]
pub struct Seen {
    /// Calls that no stub may make, as strace has them.
    pub forbidden: Vec<String>,
    /// Guest threads that were armed as they should, servers, zygotes.
    pub threads: usize,
    pub servers: usize,
    pub zygotes: usize,
    /// Calls with a result, and calls that a filter has ended.
    pub calls: usize,
    pub refused: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// From fork to exec: still a copy of the kernel.
    Unborn,
    Zygote,
    Server,
    /// How many of `ARMING` it has done.
    Guest(usize),
}

/// One call: who, `name(arguments`, result.
pub fn calls(log: &str) -> Vec<(u32, String, Option<String>)> {
    let mut all: Vec<(u32, String, Option<String>)> = Vec::new();
    let mut unfinished = BTreeMap::<u32, usize>::new();
    for line in log.lines() {
        let Some((pid, rest)) = line.split_once(char::is_whitespace) else { continue };
        let Ok(pid) = pid.parse::<u32>() else { continue };
        let rest = rest.trim_start();
        if rest.starts_with("+++ killed by SIGSYS") {
            // The last one of this thread, if it was that.
            if let Some(last) = all.iter_mut().rfind(|c| c.0 == pid) {
                last.2.take_if(|r| refused(&last.1, r));
            }
        }
        if rest.starts_with(['-', '+', '[', '?']) {
            continue;
        }
        let result = |text: &str| text.rsplit_once(" = ").map(|(_, r)| r.trim().to_owned());
        if rest.starts_with("<...") {
            if let Some(i) = unfinished.remove(&pid) {
                all[i].2 = result(rest).filter(|r| !r.starts_with('?'));
                // What was not known before comes now, after "resumed>": arguments that the host fills.
                let more = rest.split_once("resumed>").map_or("", |(_, m)| m);
                all[i].1.push_str(more);
            }
        } else if let Some(call) = rest.strip_suffix(" <unfinished ...>") {
            unfinished.insert(pid, all.len());
            all.push((pid, call.to_owned(), None));
        } else {
            let result = result(rest).filter(|r| !r.starts_with('?'));
            all.push((pid, rest.to_owned(), result));
        }
    }
    all
}

/// Whether the result of a thread's last call is what the host leaves there when a filter refuses: the number.
fn refused(call: &str, result: &str) -> bool {
    let numbers = [
        ("read", 0),
        ("write", 1),
        ("mmap", 9),
        ("mprotect", 10),
        ("munmap", 11),
        ("rt_sigaction", 13),
        ("rt_sigprocmask", 14),
        ("rt_sigreturn", 15),
        ("getpid", 39),
        ("clone", 56),
        ("execve", 59),
        ("ptrace", 101),
        ("getuid", 102),
        ("prctl", 157),
        ("futex", 202),
        ("exit_group", 231),
        ("seccomp", 317),
    ];
    let name = call.split('(').next().unwrap_or_default();
    let word = result.split_whitespace().next().unwrap_or_default();
    let value = match word.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => word.parse().ok(),
    };
    // The host takes the low half of rax for the number, and leaves all of it.
    let value = value.map(|v: u64| v & 0xffff_ffff);
    numbers.iter().find(|(n, _)| *n == name).is_none_or(|(_, nr)| value == Some(*nr))
}

/// The first number in hexadecimal among the arguments.
fn address(call: &str) -> Option<u64> {
    let args = call.split_once('(')?.1;
    let first = args.split([',', ')']).next()?.trim();
    match first {
        "NULL" => Some(0),
        _ => u64::from_str_radix(first.strip_prefix("0x")?, 16).ok(),
    }
}

fn word(call: &str, n: usize) -> &str {
    let args = call.split_once('(').map_or("", |(_, a)| a);
    args.split([',', ')']).nth(n).unwrap_or_default().trim()
}

fn server_may(call: &str) -> bool {
    let name = call.split('(').next().unwrap_or_default();
    let at = address(call);
    let below = at.is_some_and(|a| a < GUEST_END);
    match name {
        "futex" => at.is_some_and(|a| K.contains(&a)) && word(call, 1).starts_with("FUTEX_WAIT"),
        "write" => word(call, 0) == "2" && call.contains("\", 8"),
        // Guest memory; a new space takes its control pages.
        "mmap" => {
            let shared = call.contains("MAP_SHARED") && call.contains("MAP_FIXED");
            let control = at == Some(K.start) || at == Some(S.start);
            shared && (below && word(call, 4) == "0" || control && word(call, 4) == "1")
        }
        "munmap" | "mprotect" => below,
        "clone" => !call.contains("CLONE_FILES"),
        "close" => word(call, 0) == "1",
        "prctl" => call.contains("PR_SET_PDEATHSIG, SIGKILL"),
        "getppid" | "setsid" => true,
        _ => false,
    }
}

/// From exec on.
fn zygote_may(call: &str) -> bool {
    let name = call.split('(').next().unwrap_or_default();
    match name {
        "mmap" | "munmap" => address(call).is_some_and(|a| a == 0 || a >= TEXT),
        "close" => word(call, 0) == "3",
        "rt_sigaction" | "rt_sigprocmask" | "seccomp" => true,
        "prctl" => call.contains("PR_SET_NO_NEW_PRIVS") || call.contains("PR_SET_PDEATHSIG"),
        _ => server_may(call),
    }
}

fn guest_may(call: &str) -> bool {
    if call.starts_with("rt_sigprocmask(SIG_SETMASK, [], NULL, 8") {
        return true; // lets signals in
    }
    if call.starts_with("sched_yield(") {
        return true; // another guest thread has the turn
    }
    let Some(at) = address(call).filter(|_| call.starts_with("futex(")) else { return false };
    match word(call, 1) {
        "FUTEX_WAIT" => K.contains(&at),
        // The kernel, or the server of its own process.
        "FUTEX_WAKE" => (S.contains(&at) || at == K.start) && word(call, 2) == "1",
        _ => false,
    }
}

/// Judges a log of `strace -f -o`.
pub fn judge(log: &str) -> Seen {
    let all = calls(log);
    // A child's first call may be in the log before its parent's clone has its result.
    let mut parents = BTreeMap::<u32, (u32, bool)>::new();
    for (pid, call, result) in &all {
        let made = ["clone(", "clone3(", "fork(", "vfork("].iter().any(|c| call.starts_with(c));
        let child = result.as_ref().and_then(|r| r.split_whitespace().next()?.parse().ok());
        if let Some(child) = child.filter(|_| made) {
            parents.insert(child, (*pid, call.contains("CLONE_THREAD")));
        }
    }
    let executed: BTreeSet<u32> =
        all.iter().filter(|c| c.1.starts_with("execveat(")).map(|c| c.0).collect();
    let mut roles = BTreeMap::<u32, Role>::new();
    // Parents come before children.
    loop {
        let before = roles.len();
        for (&child, &(parent, thread)) in &parents {
            let role = match roles.get(&parent) {
                _ if roles.contains_key(&child) => continue,
                None if executed.contains(&child) => Role::Unborn,
                Some(Role::Unborn) => Role::Server,
                Some(Role::Server) if thread => Role::Guest(0),
                Some(Role::Server) => Role::Server, // of a twin
                _ => continue,
            };
            roles.insert(child, role);
        }
        if roles.len() == before {
            break;
        }
    }
    let mut seen = Seen::default();
    for (pid, call, result) in all {
        let Some(role) = roles.get_mut(&pid) else { continue };
        if result.is_none() {
            let sleeps = call.starts_with("futex(") || call.starts_with("write(");
            seen.refused += usize::from(!sleeps);
            continue;
        }
        seen.calls += 1;
        let fine = match role {
            Role::Unborn => {
                if call.starts_with("execveat(") {
                    *role = Role::Zygote;
                }
                true
            }
            Role::Zygote => zygote_may(&call),
            Role::Server => server_may(&call),
            Role::Guest(done) if *done < ARMING.len() => {
                let right = call.starts_with(ARMING[*done]);
                *done += 1;
                right
            }
            Role::Guest(_) => guest_may(&call),
        };
        if !fine {
            seen.forbidden.push(format!("{role:?} {pid}: {call}"));
        }
    }
    for role in roles.values() {
        match role {
            Role::Guest(5) => seen.threads += 1,
            Role::Server => seen.servers += 1,
            Role::Zygote => seen.zygotes += 1,
            _ => {}
        }
    }
    seen
}
