//! The one fork of the kernel process: a child that executes a stub's image.

use std::ffi::CStr;

use base::Result;

use crate::sys::{HostPid, check};

/// Most descriptors that an image is given.
const MAX_FDS: usize = 4;

/// Forks a child that waits for a byte from `wait` (if there is one) and then executes the image
/// `fds[image]`, with `fds` as its descriptors from 0 on and no others.
pub(crate) fn fork_stub(wait: Option<i32>, fds: &[i32], image: usize) -> Result<HostPid> {
    assert!(fds.len() <= MAX_FDS && image < fds.len());
    // The child must not run a handler of ours; what is blocked here is unblocked in it.
    let (mut all, mut old) = (empty_set(), empty_set());
    // SAFETY: fills and reads local signal sets.
    unsafe {
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut old);
    }
    // SAFETY: takes no arguments.
    let me = unsafe { libc::getpid() };
    // SAFETY: the child makes only async-signal-safe calls until it executes or ends.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        child(me, wait, fds, image as i32);
    }
    let result = check(pid.into());
    // SAFETY: restores the mask.
    unsafe {
        libc::pthread_sigmask(libc::SIG_SETMASK, &old, std::ptr::null_mut());
    }
    result.map(|pid| pid as HostPid)
}

fn empty_set() -> libc::sigset_t {
    // SAFETY: a signal set is plain data; all zeros is the empty set on Linux.
    unsafe { std::mem::zeroed() }
}

/// The child's side: host calls only, no allocation.
fn child(parent: HostPid, wait: Option<i32>, fds: &[i32], image: i32) -> ! {
    const EMPTY: &CStr = c"";
    const NAME: &CStr = c"umbra-stub"; // the host warns of programs without any argument
    // SAFETY: async-signal-safe calls with valid arguments; the process ends or becomes the stub.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        if libc::getppid() != parent {
            libc::_exit(1); // the kernel ended before the line above
        }
        libc::setsid();
        // Not 0: that is for files, and one byte neither a file nor a program of core_pattern's gets.
        let none = libc::rlimit { rlim_cur: 1, rlim_max: 1 };
        libc::setrlimit(libc::RLIMIT_CORE, &none);
        let mut byte = 0u8;
        if let Some(wait) = wait
            && libc::read(wait, (&raw mut byte).cast(), 1) != 1
        {
            libc::_exit(1);
        }
        // First out of the way of the low numbers, then there.
        let mut high = [0; MAX_FDS];
        for (h, &fd) in high.iter_mut().zip(fds) {
            *h = libc::fcntl(fd, libc::F_DUPFD, 10);
        }
        for (to, from) in (0..).zip(&high[..fds.len()]) {
            if libc::dup2(*from, to) < 0 {
                libc::_exit(2);
            }
        }
        libc::syscall(libc::SYS_close_range, fds.len(), u32::MAX, 0u32);
        let mask = empty_set();
        libc::sigprocmask(libc::SIG_SETMASK, &mask, std::ptr::null_mut());
        let args: [*const libc::c_char; 2] = [NAME.as_ptr(), std::ptr::null()];
        libc::syscall(
            libc::SYS_execveat,
            image,
            EMPTY.as_ptr(),
            args.as_ptr(),
            args[1..].as_ptr(),
            libc::AT_EMPTY_PATH,
        );
        libc::_exit(3)
    }
}
