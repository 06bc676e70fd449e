//! The kernel process's own seccomp allow-list, installed when boot is over.
//!
//! A guest that found a way to make the kernel run its code would find a process that can neither open a file for
//! writing, nor execute anything, nor make a socket or executable memory. The table `RULES` is the whole list, with the
//! reason for each entry; a call that is not on it raises SIGSYS, the handler (panic.rs) prints its
//! number and ends the kernel, so that a forgotten entry is noticed at once. Calls whose rule looks at no argument
//! cost nothing: the host caches the answer by number (since Linux 5.11).
//!
//! Stubs come from a process that was started before, so they do not inherit this. The process stays dumpable: gdb
//! can attach (its calls are its own), and /proc/self/fd stays ours.

use base::Result;

use crate::hosterr::cvt;

/// What a rule says about the arguments of its call. Only their low 32 bits are looked at: that is where
/// the flags are that matter here.
#[derive(Debug, Clone, Copy)]
enum Check {
    /// Nothing.
    Any,
    /// None of these bits in argument n.
    Without(u8, i32),
    /// All of these bits in argument n.
    With(u8, i32),
    /// Argument n is one of these.
    OneOf(u8, &'static [u64]),
    /// Not allowed, but harmless: answers ENOSYS, and the caller does it another way.
    Missing,
}
use Check::{Any, Missing, OneOf, With, Without};

const WRITING: i32 = libc::O_WRONLY | libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC;
const THREAD: i32 = libc::CLONE_VM | libc::CLONE_THREAD | libc::CLONE_SIGHAND;
/// BLKGETSIZE64, which libc does not have.
const BLKGETSIZE64: u64 = 0x8008_1272;
const IOCTLS: &[u64] = &[
    libc::TCGETS,
    libc::TCSETS,
    libc::TCSETSW,
    libc::TCSETSF,
    libc::TIOCGWINSZ,
    libc::TIOCGPGRP,
    libc::FIONREAD,
    BLKGETSIZE64,
];

/// The allow-list. Hot calls first, for hosts without the cache.
const RULES: &[(libc::c_long, Check)] = &[
    // The machine: resume stubs, read and write their registers, wait for them, end them.
    (libc::SYS_ptrace, Any),
    (libc::SYS_wait4, Any),
    (libc::SYS_waitid, Any),
    (libc::SYS_tgkill, Any),
    (libc::SYS_rt_tgsigqueueinfo, Any),
    (libc::SYS_kill, Any),
    (libc::SYS_pidfd_send_signal, Any),
    (libc::SYS_sched_setaffinity, Any),
    (libc::SYS_sched_getaffinity, Any),
    (libc::SYS_sched_yield, Any),
    (libc::SYS_getcpu, Any),
    // Locks and threads of the kernel process.
    (libc::SYS_futex, Any),
    (libc::SYS_clone, With(0, THREAD)),
    (libc::SYS_clone3, Missing), // its flags are in memory, out of reach of a filter; libc goes on with clone
    (libc::SYS_set_robust_list, Any),
    (libc::SYS_rseq, Any),
    (libc::SYS_prctl, OneOf(0, &[libc::PR_SET_NAME as u64, libc::PR_GET_NAME as u64])),
    (libc::SYS_exit, Any),
    (libc::SYS_exit_group, Any),
    (libc::SYS_getpid, Any),
    (libc::SYS_gettid, Any),
    (libc::SYS_getppid, Any),
    // Interrupts: signals, timers, sleeping, clocks where the vDSO cannot answer.
    (libc::SYS_rt_sigreturn, Any),
    (libc::SYS_rt_sigprocmask, Any),
    (libc::SYS_rt_sigaction, Any),
    (libc::SYS_rt_sigtimedwait, Any),
    (libc::SYS_sigaltstack, Any),
    (libc::SYS_timer_create, Any),
    (libc::SYS_timer_settime, Any),
    (libc::SYS_timer_delete, Any),
    (libc::SYS_restart_syscall, Any),
    (libc::SYS_clock_gettime, Any),
    (libc::SYS_clock_nanosleep, Any),
    (libc::SYS_nanosleep, Any),
    (libc::SYS_pause, Any), // panic: the threads that die second
    (libc::SYS_alarm, Any), // panic: not for ever
    (libc::SYS_epoll_wait, Any),
    (libc::SYS_epoll_pwait, Any),
    (libc::SYS_epoll_ctl, Any),
    (libc::SYS_ppoll, Any),
    (libc::SYS_poll, Any),
    // Disks, consoles, network card, trace files: descriptors that boot has opened.
    (libc::SYS_read, Any),
    (libc::SYS_write, Any),
    (libc::SYS_readv, Any),
    (libc::SYS_writev, Any),
    (libc::SYS_pread64, Any),
    (libc::SYS_pwrite64, Any),
    (libc::SYS_preadv, Any),
    (libc::SYS_preadv2, Any),
    (libc::SYS_pwritev, Any),
    (libc::SYS_recvfrom, Any),
    (libc::SYS_sendto, Any),
    (libc::SYS_fsync, Any),
    (libc::SYS_fdatasync, Any),
    (libc::SYS_ftruncate, Any),
    (libc::SYS_fallocate, Any),
    (libc::SYS_lseek, Any),
    (libc::SYS_ioctl, OneOf(1, IOCTLS)),
    (libc::SYS_close, Any),
    (libc::SYS_getrandom, Any),
    // Memory of the kernel process; never executable.
    (libc::SYS_mmap, Without(2, libc::PROT_EXEC)),
    (libc::SYS_mprotect, Without(2, libc::PROT_EXEC)),
    (libc::SYS_munmap, Any),
    (libc::SYS_mremap, Any),
    (libc::SYS_madvise, Any),
    (libc::SYS_brk, Any),
    // What a backtrace reads (our own executable), and the allocator (/sys/devices/system/cpu/online).
    (libc::SYS_openat, Without(2, WRITING)),
    (libc::SYS_fstat, Any),
    (libc::SYS_newfstatat, Any),
    (libc::SYS_statx, Any),
    (libc::SYS_readlink, Any),
    (libc::SYS_readlinkat, Any),
    (libc::SYS_getcwd, Any),
    (libc::SYS_prlimit64, Any),
    (libc::SYS_getrlimit, Any),
    (
        libc::SYS_fcntl,
        OneOf(1, &[libc::F_GETFL as u64, libc::F_GETFD as u64, libc::F_DUPFD_CLOEXEC as u64]),
    ),
];

const ARCH_X86_64: u32 = 0xc000_003e;
/// Numbers from here on are x32 calls.
const X32: u32 = 0x4000_0000;
const OFFSET_NR: u32 = 0;
const OFFSET_ARCH: u32 = 4;
const OFFSET_ARGS: u32 = 16;

fn statement(code: u32, k: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: 0, jf: 0, k }
}
fn load(offset: u32) -> libc::sock_filter {
    statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset)
}
fn load_arg(n: u8) -> libc::sock_filter {
    load(OFFSET_ARGS + u32::from(n) * 8)
}
fn ret(action: u32) -> libc::sock_filter {
    statement(libc::BPF_RET | libc::BPF_K, action)
}
/// Skips `jt` instructions if the comparison `op` with `k` holds, else `jf`.
fn jump(op: u32, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    libc::sock_filter { code: (libc::BPF_JMP | op | libc::BPF_K) as u16, jt, jf, k }
}

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const TRAP: u32 = libc::SECCOMP_RET_TRAP;

/// The classic BPF program of the list.
fn program() -> Vec<libc::sock_filter> {
    let mut p = vec![
        load(OFFSET_ARCH),
        jump(libc::BPF_JEQ, ARCH_X86_64, 1, 0),
        ret(TRAP),
        load(OFFSET_NR),
        jump(libc::BPF_JGE, X32, 0, 1),
        ret(TRAP),
    ];
    for (nr, check) in RULES {
        let body = match *check {
            Any => vec![ret(ALLOW)],
            Missing => vec![ret(libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32)],
            Without(n, bits) => {
                vec![load_arg(n), jump(libc::BPF_JSET, bits as u32, 0, 1), ret(TRAP), ret(ALLOW)]
            }
            With(n, bits) => vec![
                load_arg(n),
                statement(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, bits as u32),
                jump(libc::BPF_JEQ, bits as u32, 0, 1),
                ret(ALLOW),
                ret(TRAP),
            ],
            OneOf(n, values) => {
                let mut b = vec![load_arg(n)];
                for v in values {
                    b.extend([jump(libc::BPF_JEQ, *v as u32, 0, 1), ret(ALLOW)]);
                }
                b.push(ret(TRAP));
                b
            }
        };
        p.push(jump(libc::BPF_JEQ, *nr as u32, 0, body.len() as u8));
        p.extend(body);
    }
    p.push(ret(TRAP));
    p
}

/// Puts every thread of the kernel process behind the list, for good. Comes last in boot: files, terminals, the
/// network card, the device thread and the process that makes stubs exist by now, and
/// [`crate::panic::install`] was called.
///
/// # Errors
/// EINVAL or ENOSYS on a host without seccomp filters; the kernel can go on without.
pub fn install() -> Result<()> {
    crate::pool::forbid_fork();
    let mut program = program();
    let filter =
        libc::sock_fprog { len: program.len() as libc::c_ushort, filter: program.as_mut_ptr() };
    // SAFETY: prctl takes plain numbers; seccomp reads the program, which is alive.
    unsafe {
        cvt(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))?;
        let r = libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_TSYNC,
            &raw const filter,
        );
        // A positive number is a thread that has a filter of its own.
        if r > 0 {
            return base::err(base::Errno::EBUSY);
        }
        cvt(r as libc::c_int).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hostfile::HostFile;

    fn work() {
        let phys = crate::PhysMem::new(4 << 20).expect("memory");
        let f = HostFile::temporary(None).expect("file");
        let p = crate::hosttty::HostPty::open().expect("pty");
        crate::intr::start().expect("device thread");
        let out = crate::hoststream::HostStream::stdout().expect("stream");
        install().expect("the list");

        f.write_at(0, &[1; 9000]).expect("write");
        let mut b = [0; 9000];
        f.read_at(0, &mut b).expect("read");
        f.read_at_phys(0, &phys, &[(base::PhysAddr(0), 4096)]).expect("read");
        f.write_at_phys(0, &phys, &[(base::PhysAddr(0), 4096)]).expect("write");
        f.sync(true).expect("sync");
        f.sync(false).expect("sync");
        f.punch_hole(0, 4096).expect("punch");
        f.set_len(100).expect("truncate");
        assert_eq!(f.len(), Ok(100));
        phys.discard(base::Pfn(0), 1);
        phys.commit(base::Pfn(0), 1024);
        assert_eq!(p.write(b"x"), Ok(1));
        p.window_size().expect("size");
        let id =
            crate::intr::watch(std::sync::Arc::new(p), crate::intr::Ready::IN, Box::new(|_| ()));
        crate::intr::unwatch(id.expect("watch"));
        crate::random::fill(&mut b).expect("random");
        let big = std::thread::spawn(|| vec![1u8; 10 << 20].len());
        assert_eq!(big.join().expect("thread"), 10 << 20);
        std::thread::sleep(std::time::Duration::from_millis(1));
        crate::intr::shutdown();
        out.write_all(b"all of it works\n", std::time::Duration::from_secs(1)).expect("write");
    }

    /// The bodies of processes of their own, run by `the_list_holds`.
    #[test]
    #[ignore = "only as the child of the_list_holds"]
    fn child() {
        crate::panic::install(Box::new(|_| ()));
        work();
        // SAFETY: none of these calls can do harm here; most end the process.
        unsafe {
            match std::env::var("UMBRA_LOCKDOWN_CHILD").unwrap_or_default().as_str() {
                "socket" => drop(libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0)),
                // fork(3) holds the allocator's locks, and the backtrace would wait for them: clone.
                "clone" => drop(libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0)),
                "fork" => drop(libc::syscall(libc::SYS_fork)),
                "exec" => drop(libc::execl(c"/bin/true".as_ptr(), std::ptr::null::<i8>())),
                "create" => drop(std::fs::File::create("/tmp/umbra-lockdown-must-not-exist")),
                "mmap" => {
                    let rwx = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
                    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
                    libc::mmap(std::ptr::null_mut(), 4096, rwx, flags, -1, 0);
                }
                "x32" => drop(libc::syscall(0x4000_0000 | libc::SYS_getpid)),
                "int80" => std::arch::asm!("int 0x80", inout("eax") 20 => _),
                _ => {}
            }
        }
        std::process::exit(0);
    }

    #[test]
    fn the_list_holds() {
        for (what, nr) in [
            ("nothing", None),
            ("socket", Some(41)),
            ("fork", Some(57)),
            ("clone", Some(56)),
            ("exec", Some(59)),
            ("create", Some(257)),
            ("mmap", Some(9)),
            ("x32", Some(0x4000_0027)),
            ("int80", Some(20)),
        ] {
            let out = std::process::Command::new(std::env::current_exe().expect("own path"))
                .args(["--exact", "lockdown::tests::child", "--ignored", "--nocapture"])
                .env("UMBRA_LOCKDOWN_CHILD", what)
                .output()
                .expect("run");
            let (err, text) =
                (String::from_utf8_lossy(&out.stderr), String::from_utf8_lossy(&out.stdout));
            assert!(text.contains("all of it works"), "{what}: {text} {err}");
            match nr {
                None => assert_eq!(out.status.code(), Some(0), "{err}"),
                Some(nr) => {
                    assert_eq!(out.status.code(), Some(134), "{what}: {err}");
                    assert!(
                        err.contains(&format!("host system call {nr} is not")),
                        "{what}: {err}"
                    );
                    assert!(err.contains("lockdown::tests::child"), "a backtrace, {what}: {err}");
                }
            }
        }
    }
}
