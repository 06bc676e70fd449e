//! The system call table: one line a call. It drives dispatch, the trace and `umbra --syscalls`.

use base::{Errno, UserAddr, err};
use mm::AddressSpace;

use super::args::{Arg, Fd, Octal, Signo, Str};
use super::{Ctx, SysResult, file, io, mem, misc, path, poll, proc, sched, sig, socket, time};

/// How much of a call is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Level {
    /// As Linux has it.
    Full,
    /// With the exceptions that the note names.
    Partial,
    /// Answers ENOSYS, as a Linux kernel built without it.
    Missing,
}

/// Shows one argument.
type Show = fn(u64, &AddressSpace) -> String;

/// One line of the table.
#[derive(Clone, Copy)]
pub struct Entry {
    /// Number in rax.
    pub nr: u64,
    /// Name.
    pub name: &'static str,
    /// Names of the arguments, and how to show each.
    pub args: &'static [(&'static str, Show)],
    /// Support level.
    pub level: Level,
    /// What is different.
    pub note: &'static str,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.nr, self.name)
    }
}

macro_rules! syscalls {
    (
        implemented {
            $($nr:literal $name:ident($($arg:ident: $ty:ty),*) => $handler:path, $level:ident, $note:literal;)*
        }
        missing { $($mnr:literal $mname:ident $mnote:literal;)* }
    ) => {
        /// Calls the handler of number `nr` with the arguments decoded by type.
        ///
        /// # Errors
        /// ENOSYS for numbers that are not there; else what the handler says.
        pub fn dispatch(cx: &mut Ctx<'_>, nr: u64, a: &[u64; 6]) -> SysResult {
            match nr {
                $($nr => {
                    let mut _raw = a.iter().copied();
                    $handler(cx $(, <$ty as Arg>::decode(_raw.next().unwrap_or(0)))*)
                })*
                _ => unknown(cx, nr),
            }
        }

        /// The table, by number.
        pub static TABLE: &[Entry] = &[
            $(Entry {
                nr: $nr,
                name: stringify!($name),
                args: &[$((stringify!($arg), <$ty as Arg>::show as Show)),*],
                level: Level::$level,
                note: $note,
            },)*
            $(Entry { nr: $mnr, name: stringify!($mname), args: &[], level: Level::Missing, note: $mnote },)*
        ];
    };
}

fn unknown(cx: &Ctx<'_>, nr: u64) -> SysResult {
    if cx.kernel.log_unknown_once(nr) {
        let name = find(nr).map_or("unknown", |e| e.name);
        log::info!(
            "{} ({}): system call {nr} ({name}) is not there",
            cx.task.comm_text(),
            cx.task.tid()
        );
    }
    err(Errno::ENOSYS)
}

/// The entry of a number.
pub fn find(nr: u64) -> Option<&'static Entry> {
    TABLE.iter().find(|e| e.nr == nr)
}

/// A call as strace prints it, without its result.
pub fn show(mm: &AddressSpace, nr: u64, a: &[u64; 6]) -> String {
    let Some(e) = find(nr) else { return format!("syscall_{nr:#x}()") };
    let args: Vec<String> = e.args.iter().zip(a).map(|((_, show), v)| show(*v, mm)).collect();
    format!("{}({})", e.name, args.join(", "))
}

syscalls! {
    implemented {
        0 read(fd: Fd, buf: UserAddr, count: usize) => io::read, Full, "";
        1 write(fd: Fd, buf: UserAddr, count: usize) => io::write, Full, "";
        2 open(path: Str, flags: Octal, mode: Octal) => file::open, Full, "";
        3 close(fd: Fd) => file::close, Full, "";
        4 stat(path: Str, buf: UserAddr) => path::stat, Full, "";
        5 fstat(fd: Fd, buf: UserAddr) => path::fstat, Full, "";
        6 lstat(path: Str, buf: UserAddr) => path::lstat, Full, "";
        7 poll(fds: UserAddr, nfds: u32, timeout: i32) => poll::poll, Full, "";
        8 lseek(fd: Fd, offset: i64, whence: u32) => io::lseek, Full, "";
        9 mmap(addr: UserAddr, len: u64, prot: u32, flags: u32, fd: Fd, offset: u64) => mem::mmap, Full, "";
        10 mprotect(addr: UserAddr, len: u64, prot: u32) => mem::mprotect, Full, "";
        11 munmap(addr: UserAddr, len: u64) => mem::munmap, Full, "";
        12 brk(addr: UserAddr) => mem::brk, Full, "";
        13 rt_sigaction(sig: Signo, act: UserAddr, old: UserAddr, size: usize) => sig::rt_sigaction, Full, "";
        14 rt_sigprocmask(how: u32, set: UserAddr, old: UserAddr, size: usize) => sig::rt_sigprocmask, Full, "";
        15 rt_sigreturn() => sig::rt_sigreturn, Full, "";
        16 ioctl(fd: Fd, cmd: u32, arg: UserAddr) => file::ioctl, Full, "";
        17 pread64(fd: Fd, buf: UserAddr, count: usize, offset: i64) => io::pread64, Full, "";
        18 pwrite64(fd: Fd, buf: UserAddr, count: usize, offset: i64) => io::pwrite64, Full, "";
        19 readv(fd: Fd, iov: UserAddr, n: usize) => io::readv, Full, "";
        20 writev(fd: Fd, iov: UserAddr, n: usize) => io::writev, Full, "";
        21 access(path: Str, mode: u32) => path::access, Full, "";
        22 pipe(fds: UserAddr) => file::pipe, Full, "";
        23 select(n: i32, r: UserAddr, w: UserAddr, e: UserAddr, timeout: UserAddr) => poll::select, Full, "";
        24 sched_yield() => sched::sched_yield, Full, "";
        25 mremap(addr: UserAddr, old: u64, new: u64, flags: u32, to: UserAddr) => mem::mremap, Full, "";
        26 msync(addr: UserAddr, len: u64, flags: u32) => mem::msync, Full, "";
        27 mincore(addr: UserAddr, len: u64, vec: UserAddr) => mem::mincore, Full, "";
        28 madvise(addr: UserAddr, len: u64, advice: i32) => mem::madvise, Full, "";
        32 dup(fd: Fd) => file::dup, Full, "";
        33 dup2(old: Fd, new: Fd) => file::dup2, Full, "";
        34 pause() => sig::pause, Full, "";
        35 nanosleep(req: UserAddr, rem: UserAddr) => time::nanosleep, Full, "";
        36 getitimer(which: u32, value: UserAddr) => time::getitimer, Full, "";
        37 alarm(seconds: u32) => time::alarm, Full, "";
        38 setitimer(which: u32, new: UserAddr, old: UserAddr) => time::setitimer, Full, "";
        39 getpid() => proc::getpid, Full, "";
        40 sendfile(out: Fd, input: Fd, offset: UserAddr, count: usize) => io::sendfile, Full, "";
        41 socket(family: i32, kind: u32, protocol: i32) => socket::socket, Partial, "AF_UNIX only, else EAFNOSUPPORT";
        42 connect(fd: Fd, addr: UserAddr, len: i32) => socket::connect, Full, "";
        43 accept(fd: Fd, addr: UserAddr, len: UserAddr) => socket::accept, Full, "";
        44 sendto(fd: Fd, buf: UserAddr, len: usize, flags: u32, addr: UserAddr, addrlen: i32) => socket::sendto, Partial, "no MSG_OOB";
        45 recvfrom(fd: Fd, buf: UserAddr, len: usize, flags: u32, addr: UserAddr, addrlen: UserAddr) => socket::recvfrom, Partial, "no MSG_OOB";
        46 sendmsg(fd: Fd, msg: UserAddr, flags: u32) => socket::sendmsg, Partial, "no MSG_OOB";
        47 recvmsg(fd: Fd, msg: UserAddr, flags: u32) => socket::recvmsg, Partial, "no MSG_OOB";
        48 shutdown(fd: Fd, how: u32) => socket::shutdown, Full, "";
        49 bind(fd: Fd, addr: UserAddr, len: i32) => socket::bind, Full, "";
        50 listen(fd: Fd, backlog: i32) => socket::listen, Full, "";
        51 getsockname(fd: Fd, addr: UserAddr, len: UserAddr) => socket::getsockname, Full, "";
        52 getpeername(fd: Fd, addr: UserAddr, len: UserAddr) => socket::getpeername, Full, "";
        53 socketpair(family: i32, kind: u32, protocol: i32, fds: UserAddr) => socket::socketpair, Partial, "AF_UNIX only, else EAFNOSUPPORT";
        54 setsockopt(fd: Fd, level: u32, name: u32, value: UserAddr, len: i32) => socket::setsockopt, Partial, "no SO_PEEK_OFF, SO_PASSPIDFD, SO_PASSRIGHTS, socket filters";
        55 getsockopt(fd: Fd, level: u32, name: u32, value: UserAddr, len: UserAddr) => socket::getsockopt, Partial, "no SO_PEEK_OFF, SO_PEERPIDFD, SO_MEMINFO, SO_COOKIE";
        56 clone(flags: u64, stack: UserAddr, ptid: UserAddr, ctid: UserAddr, tls: u64) => proc::clone, Partial, "no new namespaces";
        57 fork() => proc::fork, Full, "";
        58 vfork() => proc::vfork, Full, "";
        59 execve(path: Str, argv: UserAddr, envp: UserAddr) => proc::execve, Full, "";
        60 exit(status: i32) => proc::exit, Full, "";
        61 wait4(pid: i32, status: UserAddr, options: u32, usage: UserAddr) => proc::wait4, Full, "";
        62 kill(pid: i32, sig: Signo) => sig::kill, Full, "";
        63 uname(buf: UserAddr) => misc::uname, Full, "";
        72 fcntl(fd: Fd, cmd: u32, arg: u64) => file::fcntl, Full, "";
        73 flock(fd: Fd, op: u32) => file::flock, Full, "";
        74 fsync(fd: Fd) => file::fsync, Full, "";
        75 fdatasync(fd: Fd) => file::fdatasync, Full, "";
        76 truncate(path: Str, len: i64) => file::truncate, Full, "";
        77 ftruncate(fd: Fd, len: i64) => file::ftruncate, Full, "";
        78 getdents(fd: Fd, buf: UserAddr, count: usize) => file::getdents, Full, "";
        79 getcwd(buf: UserAddr, size: usize) => path::getcwd, Full, "";
        80 chdir(path: Str) => path::chdir, Full, "";
        81 fchdir(fd: Fd) => path::fchdir, Full, "";
        82 rename(old: Str, new: Str) => path::rename, Full, "";
        83 mkdir(path: Str, mode: Octal) => path::mkdir, Full, "";
        84 rmdir(path: Str) => path::rmdir, Full, "";
        85 creat(path: Str, mode: Octal) => file::creat, Full, "";
        86 link(old: Str, new: Str) => path::link, Full, "";
        87 unlink(path: Str) => path::unlink, Full, "";
        88 symlink(target: Str, path: Str) => path::symlink, Full, "";
        89 readlink(path: Str, buf: UserAddr, size: i32) => path::readlink, Full, "";
        90 chmod(path: Str, mode: Octal) => path::chmod, Full, "";
        91 fchmod(fd: Fd, mode: Octal) => path::fchmod, Full, "";
        92 chown(path: Str, uid: u32, gid: u32) => path::chown, Full, "";
        93 fchown(fd: Fd, uid: u32, gid: u32) => path::fchown, Full, "";
        94 lchown(path: Str, uid: u32, gid: u32) => path::lchown, Full, "";
        95 umask(mask: Octal) => path::umask, Full, "";
        96 gettimeofday(tv: UserAddr, tz: UserAddr) => time::gettimeofday, Full, "";
        97 getrlimit(which: u32, limit: UserAddr) => proc::getrlimit, Full, "";
        98 getrusage(who: i32, usage: UserAddr) => proc::getrusage, Full, "";
        99 sysinfo(info: UserAddr) => misc::sysinfo, Full, "";
        100 times(buf: UserAddr) => time::times, Full, "";
        102 getuid() => proc::getuid, Full, "";
        103 syslog(op: i32, buf: UserAddr, len: i32) => misc::syslog, Full, "";
        104 getgid() => proc::getgid, Full, "";
        105 setuid(uid: u32) => proc::setuid, Full, "";
        106 setgid(gid: u32) => proc::setgid, Full, "";
        107 geteuid() => proc::geteuid, Full, "";
        108 getegid() => proc::getegid, Full, "";
        109 setpgid(pid: i32, pgid: i32) => proc::setpgid, Full, "";
        110 getppid() => proc::getppid, Full, "";
        111 getpgrp() => proc::getpgrp, Full, "";
        112 setsid() => proc::setsid, Full, "";
        113 setreuid(r: u32, e: u32) => proc::setreuid, Full, "";
        114 setregid(r: u32, e: u32) => proc::setregid, Full, "";
        115 getgroups(n: i32, list: UserAddr) => proc::getgroups, Full, "";
        116 setgroups(n: i32, list: UserAddr) => proc::setgroups, Full, "";
        117 setresuid(r: u32, e: u32, s: u32) => proc::setresuid, Full, "";
        118 getresuid(r: UserAddr, e: UserAddr, s: UserAddr) => proc::getresuid, Full, "";
        119 setresgid(r: u32, e: u32, s: u32) => proc::setresgid, Full, "";
        120 getresgid(r: UserAddr, e: UserAddr, s: UserAddr) => proc::getresgid, Full, "";
        121 getpgid(pid: i32) => proc::getpgid, Full, "";
        122 setfsuid(uid: u32) => proc::setfsuid, Full, "";
        123 setfsgid(gid: u32) => proc::setfsgid, Full, "";
        124 getsid(pid: i32) => proc::getsid, Full, "";
        125 capget(hdr: UserAddr, data: UserAddr) => proc::capget, Full, "";
        126 capset(hdr: UserAddr, data: UserAddr) => proc::capset, Full, "";
        127 rt_sigpending(set: UserAddr, size: usize) => sig::rt_sigpending, Full, "";
        128 rt_sigtimedwait(set: UserAddr, info: UserAddr, timeout: UserAddr, size: usize) => sig::rt_sigtimedwait, Full, "";
        129 rt_sigqueueinfo(pid: i32, sig: Signo, info: UserAddr) => sig::rt_sigqueueinfo, Full, "";
        130 rt_sigsuspend(set: UserAddr, size: usize) => sig::rt_sigsuspend, Full, "";
        131 sigaltstack(new: UserAddr, old: UserAddr) => sig::sigaltstack, Full, "";
        132 utime(path: Str, times: UserAddr) => path::utime, Full, "";
        133 mknod(path: Str, mode: Octal, dev: u64) => path::mknod, Full, "";
        135 personality(persona: u32) => proc::personality, Full, "";
        137 statfs(path: Str, buf: UserAddr) => path::statfs, Full, "";
        138 fstatfs(fd: Fd, buf: UserAddr) => path::fstatfs, Full, "";
        140 getpriority(which: u32, who: u32) => sched::getpriority, Full, "";
        141 setpriority(which: u32, who: u32, nice: i32) => sched::setpriority, Full, "";
        142 sched_setparam(pid: i32, param: UserAddr) => sched::sched_setparam, Full, "";
        143 sched_getparam(pid: i32, param: UserAddr) => sched::sched_getparam, Full, "";
        144 sched_setscheduler(pid: i32, policy: u32, param: UserAddr) => sched::sched_setscheduler, Full, "";
        145 sched_getscheduler(pid: i32) => sched::sched_getscheduler, Full, "";
        146 sched_get_priority_max(policy: u32) => sched::sched_get_priority_max, Full, "";
        147 sched_get_priority_min(policy: u32) => sched::sched_get_priority_min, Full, "";
        148 sched_rr_get_interval(pid: i32, ts: UserAddr) => sched::sched_rr_get_interval, Full, "";
        149 mlock(addr: UserAddr, len: u64) => mem::mlock, Full, "";
        150 munlock(addr: UserAddr, len: u64) => mem::munlock, Full, "";
        151 mlockall(flags: u32) => mem::mlockall, Full, "";
        152 munlockall() => mem::munlockall, Full, "";
        155 pivot_root(new: Str, old: Str) => path::pivot_root, Full, "";
        157 prctl(op: i32, a: u64, b: u64, c: u64, d: u64) => proc::prctl, Partial, "see the handler";
        158 arch_prctl(op: u32, addr: UserAddr) => proc::arch_prctl, Full, "";
        159 adjtimex(buf: UserAddr) => time::adjtimex, Partial, "read only";
        160 setrlimit(which: u32, limit: UserAddr) => proc::setrlimit, Full, "";
        161 chroot(path: Str) => path::chroot, Full, "";
        162 sync() => file::sync, Full, "";
        164 settimeofday(tv: UserAddr, tz: UserAddr) => time::settimeofday, Partial, "EPERM";
        165 mount(source: UserAddr, target: Str, fstype: UserAddr, flags: u64, data: UserAddr) => path::mount, Full, "";
        166 umount2(target: Str, flags: u32) => path::umount2, Full, "";
        169 reboot(magic1: u32, magic2: u32, cmd: u32, arg: UserAddr) => misc::reboot, Full, "";
        170 sethostname(name: UserAddr, len: usize) => misc::sethostname, Full, "";
        171 setdomainname(name: UserAddr, len: usize) => misc::setdomainname, Full, "";
        186 gettid() => proc::gettid, Full, "";
        187 readahead(fd: Fd, offset: i64, count: usize) => io::readahead, Full, "";
        188 setxattr(path: Str, name: Str, value: UserAddr, size: usize, flags: u32) => path::setxattr, Full, "";
        189 lsetxattr(path: Str, name: Str, value: UserAddr, size: usize, flags: u32) => path::lsetxattr, Full, "";
        190 fsetxattr(fd: Fd, name: Str, value: UserAddr, size: usize, flags: u32) => path::fsetxattr, Full, "";
        191 getxattr(path: Str, name: Str, value: UserAddr, size: usize) => path::getxattr, Full, "";
        192 lgetxattr(path: Str, name: Str, value: UserAddr, size: usize) => path::lgetxattr, Full, "";
        193 fgetxattr(fd: Fd, name: Str, value: UserAddr, size: usize) => path::fgetxattr, Full, "";
        194 listxattr(path: Str, list: UserAddr, size: usize) => path::listxattr, Full, "";
        195 llistxattr(path: Str, list: UserAddr, size: usize) => path::llistxattr, Full, "";
        196 flistxattr(fd: Fd, list: UserAddr, size: usize) => path::flistxattr, Full, "";
        197 removexattr(path: Str, name: Str) => path::removexattr, Full, "";
        198 lremovexattr(path: Str, name: Str) => path::lremovexattr, Full, "";
        199 fremovexattr(fd: Fd, name: Str) => path::fremovexattr, Full, "";
        200 tkill(tid: i32, sig: Signo) => sig::tkill, Full, "";
        201 time(t: UserAddr) => time::time, Full, "";
        202 futex(uaddr: UserAddr, op: u32, val: u32, timeout: UserAddr, uaddr2: UserAddr, val3: u32) => crate::futex::sys_futex, Full, "";
        203 sched_setaffinity(pid: i32, len: usize, mask: UserAddr) => sched::sched_setaffinity, Partial, "one CPU";
        204 sched_getaffinity(pid: i32, len: usize, mask: UserAddr) => sched::sched_getaffinity, Full, "";
        213 epoll_create(size: i32) => poll::epoll_create, Full, "";
        217 getdents64(fd: Fd, buf: UserAddr, count: usize) => file::getdents64, Full, "";
        218 set_tid_address(addr: UserAddr) => proc::set_tid_address, Full, "";
        219 restart_syscall() => time::restart_syscall, Full, "";
        221 fadvise64(fd: Fd, offset: i64, len: i64, advice: u32) => io::fadvise64, Partial, "hints are taken as such";
        222 timer_create(clock: u32, event: UserAddr, id: UserAddr) => time::timer_create, Full, "";
        223 timer_settime(id: i32, flags: u32, new: UserAddr, old: UserAddr) => time::timer_settime, Full, "";
        224 timer_gettime(id: i32, value: UserAddr) => time::timer_gettime, Full, "";
        225 timer_getoverrun(id: i32) => time::timer_getoverrun, Full, "";
        226 timer_delete(id: i32) => time::timer_delete, Full, "";
        227 clock_settime(clock: u32, ts: UserAddr) => time::clock_settime, Partial, "CLOCK_REALTIME cannot be set: EPERM";
        228 clock_gettime(clock: u32, ts: UserAddr) => time::clock_gettime, Full, "";
        229 clock_getres(clock: u32, ts: UserAddr) => time::clock_getres, Full, "";
        230 clock_nanosleep(clock: u32, flags: u32, req: UserAddr, rem: UserAddr) => time::clock_nanosleep, Full, "";
        231 exit_group(status: i32) => proc::exit_group, Full, "";
        232 epoll_wait(epfd: Fd, events: UserAddr, max: i32, timeout: i32) => poll::epoll_wait, Full, "";
        233 epoll_ctl(epfd: Fd, op: u32, fd: Fd, event: UserAddr) => poll::epoll_ctl, Full, "";
        234 tgkill(tgid: i32, tid: i32, sig: Signo) => sig::tgkill, Full, "";
        235 utimes(path: Str, times: UserAddr) => path::utimes, Full, "";
        247 waitid(which: u32, id: i32, info: UserAddr, options: u32, usage: UserAddr) => proc::waitid, Full, "";
        251 ioprio_set(which: u32, who: i32, prio: u32) => sched::ioprio_set, Full, "";
        252 ioprio_get(which: u32, who: i32) => sched::ioprio_get, Full, "";
        253 inotify_init() => poll::inotify_init, Full, "";
        254 inotify_add_watch(fd: Fd, path: Str, mask: u32) => poll::inotify_add_watch, Full, "";
        255 inotify_rm_watch(fd: Fd, wd: i32) => poll::inotify_rm_watch, Full, "";
        257 openat(dir: Fd, path: Str, flags: Octal, mode: Octal) => file::openat, Full, "";
        258 mkdirat(dir: Fd, path: Str, mode: Octal) => path::mkdirat, Full, "";
        259 mknodat(dir: Fd, path: Str, mode: Octal, dev: u64) => path::mknodat, Full, "";
        260 fchownat(dir: Fd, path: Str, uid: u32, gid: u32, flags: u32) => path::fchownat, Full, "";
        261 futimesat(dir: Fd, path: Str, times: UserAddr) => path::futimesat, Full, "";
        262 newfstatat(dir: Fd, path: Str, buf: UserAddr, flags: u32) => path::newfstatat, Full, "";
        263 unlinkat(dir: Fd, path: Str, flags: u32) => path::unlinkat, Full, "";
        264 renameat(odir: Fd, old: Str, ndir: Fd, new: Str) => path::renameat, Full, "";
        265 linkat(odir: Fd, old: Str, ndir: Fd, new: Str, flags: u32) => path::linkat, Full, "";
        266 symlinkat(target: Str, dir: Fd, path: Str) => path::symlinkat, Full, "";
        267 readlinkat(dir: Fd, path: Str, buf: UserAddr, size: i32) => path::readlinkat, Full, "";
        268 fchmodat(dir: Fd, path: Str, mode: Octal) => path::fchmodat, Full, "";
        269 faccessat(dir: Fd, path: Str, mode: u32) => path::faccessat, Full, "";
        270 pselect6(n: i32, r: UserAddr, w: UserAddr, e: UserAddr, timeout: UserAddr, sig: UserAddr) => poll::pselect6, Full, "";
        271 ppoll(fds: UserAddr, nfds: u32, timeout: UserAddr, mask: UserAddr, size: usize) => poll::ppoll, Full, "";
        272 unshare(flags: u64) => proc::unshare, Partial, "CLONE_FS, CLONE_FILES and CLONE_SYSVSEM";
        273 set_robust_list(head: UserAddr, len: usize) => proc::set_robust_list, Full, "";
        274 get_robust_list(pid: i32, head: UserAddr, len: UserAddr) => proc::get_robust_list, Full, "";
        275 splice(fd_in: Fd, off_in: UserAddr, fd_out: Fd, off_out: UserAddr, len: usize, flags: u32) => io::splice, Full, "";
        276 tee(fd_in: Fd, fd_out: Fd, len: usize, flags: u32) => io::tee, Partial, "";
        277 sync_file_range(fd: Fd, offset: i64, len: i64, flags: u32) => file::sync_file_range, Partial, "whole file";
        278 vmsplice(fd: Fd, iov: UserAddr, n: usize, flags: u32) => io::vmsplice, Partial, "copies; SPLICE_F_NONBLOCK is the pipe's own";
        280 utimensat(dir: Fd, path: Str, times: UserAddr, flags: u32) => path::utimensat, Full, "";
        281 epoll_pwait(epfd: Fd, events: UserAddr, max: i32, timeout: i32, mask: UserAddr, size: usize) => poll::epoll_pwait, Full, "";
        282 signalfd(fd: Fd, mask: UserAddr, size: usize) => poll::signalfd, Full, "";
        283 timerfd_create(clock: u32, flags: u32) => poll::timerfd_create, Full, "";
        284 eventfd(count: u32) => poll::eventfd, Full, "";
        285 fallocate(fd: Fd, mode: u32, offset: i64, len: i64) => file::fallocate, Full, "";
        286 timerfd_settime(fd: Fd, flags: u32, new: UserAddr, old: UserAddr) => poll::timerfd_settime, Full, "";
        287 timerfd_gettime(fd: Fd, value: UserAddr) => poll::timerfd_gettime, Full, "";
        288 accept4(fd: Fd, addr: UserAddr, len: UserAddr, flags: u32) => socket::accept4, Full, "";
        289 signalfd4(fd: Fd, mask: UserAddr, size: usize, flags: u32) => poll::signalfd4, Full, "";
        290 eventfd2(count: u32, flags: u32) => poll::eventfd2, Full, "";
        291 epoll_create1(flags: u32) => poll::epoll_create1, Full, "";
        292 dup3(old: Fd, new: Fd, flags: u32) => file::dup3, Full, "";
        293 pipe2(fds: UserAddr, flags: u32) => file::pipe2, Full, "";
        294 inotify_init1(flags: u32) => poll::inotify_init1, Full, "";
        295 preadv(fd: Fd, iov: UserAddr, n: usize, lo: u64, hi: u64) => io::preadv, Full, "";
        296 pwritev(fd: Fd, iov: UserAddr, n: usize, lo: u64, hi: u64) => io::pwritev, Full, "";
        297 rt_tgsigqueueinfo(tgid: i32, tid: i32, sig: Signo, info: UserAddr) => sig::rt_tgsigqueueinfo, Full, "";
        299 recvmmsg(fd: Fd, vec: UserAddr, n: u32, flags: u32, timeout: UserAddr) => socket::recvmmsg, Partial, "no MSG_OOB";
        302 prlimit64(pid: i32, which: u32, new: UserAddr, old: UserAddr) => proc::prlimit64, Full, "";
        305 clock_adjtime(clock: u32, buf: UserAddr) => time::clock_adjtime, Partial, "read only";
        306 syncfs(fd: Fd) => file::syncfs, Full, "";
        307 sendmmsg(fd: Fd, vec: UserAddr, n: u32, flags: u32) => socket::sendmmsg, Partial, "no MSG_OOB";
        309 getcpu(cpu: UserAddr, node: UserAddr, cache: UserAddr) => misc::getcpu, Full, "";
        314 sched_setattr(pid: i32, attr: UserAddr, flags: u32) => sched::sched_setattr, Full, "";
        315 sched_getattr(pid: i32, attr: UserAddr, size: u32, flags: u32) => sched::sched_getattr, Full, "";
        316 renameat2(odir: Fd, old: Str, ndir: Fd, new: Str, flags: u32) => path::renameat2, Full, "";
        318 getrandom(buf: UserAddr, count: usize, flags: u32) => misc::getrandom, Full, "";
        319 memfd_create(name: Str, flags: u32) => file::memfd_create, Full, "";
        322 execveat(dir: Fd, path: Str, argv: UserAddr, envp: UserAddr, flags: u32) => proc::execveat, Full, "";
        324 membarrier(cmd: u32, flags: u32, cpu: u32) => mem::membarrier, Partial, "one CPU: a no-op with the right answers";
        325 mlock2(addr: UserAddr, len: u64, flags: u32) => mem::mlock2, Full, "";
        326 copy_file_range(fd_in: Fd, off_in: UserAddr, fd_out: Fd, off_out: UserAddr, len: usize, flags: u32) => io::copy_file_range, Full, "";
        327 preadv2(fd: Fd, iov: UserAddr, n: usize, lo: u64, hi: u64, flags: u32) => io::preadv2, Full, "";
        328 pwritev2(fd: Fd, iov: UserAddr, n: usize, lo: u64, hi: u64, flags: u32) => io::pwritev2, Full, "";
        332 statx(dir: Fd, path: Str, flags: u32, mask: u32, buf: UserAddr) => path::statx, Full, "";
        424 pidfd_send_signal(fd: Fd, sig: Signo, info: UserAddr, flags: u32) => sig::pidfd_send_signal, Full, "";
        434 pidfd_open(pid: i32, flags: u32) => sig::pidfd_open, Full, "";
        435 clone3(args: UserAddr, size: usize) => proc::clone3, Partial, "no new namespaces";
        436 close_range(first: u32, last: u32, flags: u32) => file::close_range, Full, "";
        437 openat2(dir: Fd, path: Str, how: UserAddr, size: usize) => file::openat2, Full, "";
        438 pidfd_getfd(pidfd: Fd, fd: Fd, flags: u32) => sig::pidfd_getfd, Full, "";
        439 faccessat2(dir: Fd, path: Str, mode: u32, flags: u32) => path::faccessat2, Full, "";
        441 epoll_pwait2(epfd: Fd, events: UserAddr, max: i32, timeout: UserAddr, mask: UserAddr, size: usize) => poll::epoll_pwait2, Full, "";
        452 fchmodat2(dir: Fd, path: Str, mode: Octal, flags: u32) => path::fchmodat2, Full, "";
    }
    missing {
        29 shmget "System V IPC is planned";
        30 shmat "";
        31 shmctl "";
        64 semget "";
        65 semop "";
        66 semctl "";
        67 shmdt "";
        68 msgget "";
        69 msgsnd "";
        70 msgrcv "";
        71 msgctl "";
        101 ptrace "guest debugging is planned";
        134 uselib "";
        136 ustat "";
        139 sysfs "";
        153 vhangup "";
        154 modify_ldt "";
        156 _sysctl "";
        163 acct "";
        167 swapon "";
        168 swapoff "";
        172 iopl "";
        173 ioperm "";
        175 init_module "";
        176 delete_module "";
        179 quotactl "";
        206 io_setup "asynchronous I/O is not there";
        207 io_destroy "";
        208 io_getevents "";
        209 io_submit "";
        210 io_cancel "";
        216 remap_file_pages "";
        220 semtimedop "";
        237 mbind "";
        238 set_mempolicy "";
        239 get_mempolicy "";
        240 mq_open "planned";
        241 mq_unlink "";
        242 mq_timedsend "";
        243 mq_timedreceive "";
        244 mq_notify "";
        245 mq_getsetattr "";
        246 kexec_load "";
        248 add_key "";
        249 request_key "";
        250 keyctl "";
        256 migrate_pages "";
        279 move_pages "";
        298 perf_event_open "";
        300 fanotify_init "";
        301 fanotify_mark "";
        303 name_to_handle_at "";
        304 open_by_handle_at "";
        308 setns "namespaces are planned";
        310 process_vm_readv "";
        311 process_vm_writev "";
        312 kcmp "";
        313 finit_module "";
        317 seccomp "planned";
        320 kexec_file_load "";
        321 bpf "";
        323 userfaultfd "";
        329 pkey_mprotect "";
        330 pkey_alloc "";
        331 pkey_free "";
        333 io_pgetevents "";
        334 rseq "glibc does without";
        425 io_uring_setup "";
        426 io_uring_enter "";
        427 io_uring_register "";
        428 open_tree "";
        429 move_mount "";
        430 fsopen "";
        431 fsconfig "";
        432 fsmount "";
        433 fspick "";
        440 process_madvise "";
        442 mount_setattr "new mount API is planned";
        443 quotactl_fd "";
        444 landlock_create_ruleset "";
        445 landlock_add_rule "";
        446 landlock_restrict_self "";
        447 memfd_secret "";
        448 process_mrelease "";
        449 futex_waitv "";
        450 set_mempolicy_home_node "";
        451 cachestat "";
        453 map_shadow_stack "";
        454 futex_wake "";
        455 futex_wait "";
        456 futex_requeue "";
        457 statmount "";
        458 listmount "";
        459 lsm_get_self_attr "";
        460 lsm_set_self_attr "";
        461 lsm_list_modules "";
        462 mseal "";
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
