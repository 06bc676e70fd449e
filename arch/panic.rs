//! The end of the kernel that nobody wanted: a Rust panic or a fatal host signal in the kernel process.
//!
//! Either way: the host terminal is restored, the reason and a backtrace go to standard error, the hook adds
//! what it knows (the last trace events), and the process exits with status 134, as after abort(3),
//! but without a core file. Stubs die with us (PTRACE_O_EXITKILL). A debugger sees the signal first, so
//! `gdb --args umbra` stops where it happened; `UMBRA_ABORT=1` asks for a real abort with its core.
//!
//! [`install`] comes before anything else that handles SIGSEGV or SIGBUS (the guard pages of kernel stacks),
//! so that what those do not know falls through to here.

use std::backtrace::Backtrace;
use std::fmt::Write as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, AtomicU64, AtomicUsize, Ordering};

use crate::hosttty;

/// Exit status of a kernel panic: 128 + SIGABRT.
pub const EXIT_STATUS: i32 = 134;

/// What the hook may do with text: it is printed below the backtrace.
pub type Hook = Box<dyn Fn(&mut String) + Send + Sync>;

static HOOK: OnceLock<Hook> = OnceLock::new();
/// The host thread that is dying; others that follow wait for its end.
static DYING: AtomicI32 = AtomicI32::new(0);
static REAL_ABORT: OnceLock<bool> = OnceLock::new();

/// The signals that mean the kernel is broken.
const FATAL: [i32; 6] =
    [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGABRT, libc::SIGSYS];

/// Room for a backtrace with its parsing of debug information.
const STACK: usize = 512 << 10;

/// Installs the panic hook and the handlers. `hook` appends the last trace events and the like; it
/// must not take locks that a panicking kernel may hold (try_lock). The first call counts.
pub fn install(hook: Hook) {
    if HOOK.set(hook).is_err() {
        return;
    }
    REAL_ABORT.get_or_init(|| std::env::var_os("UMBRA_ABORT").is_some());
    std::panic::set_hook(Box::new(|info| {
        let payload = info.payload();
        let reason = payload
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("(no text)");
        let place = info.location().map(|l| format!(" at {l}")).unwrap_or_default();
        die_on_big_stack(&format!("{reason}{place}"));
    }));
    make_stack();
    for signo in FATAL {
        // SAFETY: an all-zero sigaction is valid; the handler ends the process.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_fatal as *const () as usize;
            // SA_NODEFER: a fault while we print is seen by `die` and ends it.
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
            libc::sigaction(signo, &action, std::ptr::null_mut());
        }
    }
}

// Calls rdi(rdx) on the stack that ends at rsi; never returns. The frame pointer keeps the caller's frame
// within reach of the unwinder, so that the backtrace goes on across the two stacks.
std::arch::global_asm!(
    ".balign 16",
    ".globl umbra_die_on_stack",
    ".hidden umbra_die_on_stack",
    "umbra_die_on_stack:",
    ".cfi_startproc",
    "push rbp",
    ".cfi_def_cfa_offset 16",
    ".cfi_offset rbp, -16",
    "mov rbp, rsp",
    ".cfi_def_cfa_register rbp",
    "mov rax, rdi",
    "mov rdi, rdx",
    "mov rsp, rsi",
    "call rax",
    "ud2",
    ".cfi_endproc",
);

unsafe extern "C" {
    fn umbra_die_on_stack(
        f: extern "C" fn(*const libc::c_void) -> !,
        top: usize,
        reason: *const libc::c_void,
    ) -> !;
}

/// The top of the emergency stack: the signal stacks of threads are as small as the host allows, far too small
/// for a backtrace.
static STACK_TOP: AtomicUsize = AtomicUsize::new(0);

fn make_stack() {
    let rw = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a new mapping at an address of the host's choice.
    let base = unsafe { libc::mmap(std::ptr::null_mut(), STACK, rw, flags, -1, 0) };
    if base != libc::MAP_FAILED {
        STACK_TOP.store(base.addr() + STACK, Ordering::Relaxed);
    }
}

extern "C" fn die_here(reason: *const libc::c_void) -> ! {
    // SAFETY: a string in the frame that called, which does not return.
    die(unsafe { &*reason.cast::<String>() })
}

extern "C" fn on_fatal(signo: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: with SA_SIGINFO the host passes a valid siginfo and ucontext.
    let (addr, code, regs) = unsafe {
        let context = context.cast::<libc::ucontext_t>();
        ((*info).si_addr() as u64, (*info).si_code, (*context).uc_mcontext.gregs)
    };
    let ip = regs[libc::REG_RIP as usize] as u64;
    let mut reason = String::with_capacity(256);
    let _ = match signo {
        libc::SIGSYS => {
            // SIGSYS with SYS_SECCOMP (1): our own filter. The number is still in rax.
            let nr = regs[libc::REG_RAX as usize];
            write!(reason, "host system call {nr} is not on the kernel's list (lockdown.rs)")
        }
        libc::SIGABRT => write!(reason, "abort"),
        libc::SIGBUS => write!(
            reason,
            "SIGBUS (code {code}) at address {addr:#x}: the host may be out of memory for mem="
        ),
        _ => write!(reason, "host signal {signo} (code {code}) at address {addr:#x}"),
    };
    let _ = write!(reason, ", rip {ip:#x}, rsp {:#x}", regs[libc::REG_RSP as usize]);
    die_on_big_stack(&reason)
}

/// [`die`] on the emergency stack: a kernel stack may be as small as a signal stack. Only the first to die
/// has it.
fn die_on_big_stack(reason: &String) -> ! {
    match STACK_TOP.swap(0, Ordering::SeqCst) {
        0 => die(reason),
        // SAFETY: the top of a mapping that nobody uses yet; the string outlives us.
        top => unsafe { umbra_die_on_stack(die_here, top, std::ptr::from_ref(reason).cast()) },
    }
}

/// Prints as far as that works and ends the process.
fn die(reason: &str) -> ! {
    hosttty::restore();
    // SAFETY: no memory involved.
    let me = unsafe { libc::gettid() };
    match DYING.compare_exchange(0, me, Ordering::SeqCst, Ordering::SeqCst) {
        Ok(_) => {}
        Err(first) if first == me => {
            // A panic while we die: say that much, and end.
            print("umbra: and again while printing: ");
            print(reason);
            print("\n");
            end();
        }
        Err(_) => loop {
            // SAFETY: no memory involved. The first one ends the process.
            unsafe { libc::pause() };
        },
    }
    // If a lock of the allocator or the unwinder is held, printing would hang: not for ever.
    let end_at = crate::clock::monotonic().0 + PATIENCE * 1_000_000_000;
    END_AT.store(end_at, Ordering::Relaxed);
    // SAFETY: the handler only reads a clock and ends the process.
    unsafe {
        libc::signal(libc::SIGALRM, on_alarm as *const () as usize);
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, libc::SIGALRM);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &set, std::ptr::null_mut());
        libc::alarm(PATIENCE as u32 + 1);
    }
    print("umbra: kernel panic: ");
    print(reason);
    print("\n");
    print(&Backtrace::force_capture().to_string());
    if let Some(hook) = HOOK.get() {
        let mut text = String::new();
        hook(&mut text);
        print(&text);
    }
    end()
}

/// Seconds that printing may take.
const PATIENCE: u64 = 5;
/// When it is over, monotonic nanoseconds.
static END_AT: AtomicU64 = AtomicU64::new(0);

/// The printing hangs, or the CPU's own timer has expired, which has the same signal.
extern "C" fn on_alarm(_: i32) {
    if crate::clock::monotonic().0 >= END_AT.load(Ordering::Relaxed) {
        end()
    }
}

/// To standard error, by bare writes: no lock of the standard library, a broken pipe does not matter.
fn print(text: &str) {
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        // SAFETY: reads `rest.len()` bytes there.
        let n = unsafe { libc::write(2, rest.as_ptr().cast(), rest.len()) };
        match n {
            n if n > 0 => rest = &rest[n as usize..],
            -1 if nix::errno::Errno::last() == nix::errno::Errno::EINTR => {}
            _ => return,
        }
    }
}

fn end() -> ! {
    // SAFETY: ends the process; SIGABRT's default action first if a core is wanted.
    unsafe {
        if REAL_ABORT.get() == Some(&true) {
            libc::signal(libc::SIGABRT, libc::SIG_DFL);
            libc::abort();
        }
        libc::_exit(EXIT_STATUS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[inline(never)]
    fn in_a_thread() {
        // SAFETY: sends a signal to this thread.
        std::hint::black_box(unsafe { libc::raise(libc::SIGBUS) });
    }

    /// Bodies of processes of their own, run by `every_bad_end_says_why`.
    #[test]
    #[ignore = "only as the child of every_bad_end_says_why"]
    fn child() {
        let what = std::env::var("UMBRA_PANIC_CHILD").unwrap_or_default();
        install(Box::new(|text| text.push_str("last events: none\n")));
        match what.as_str() {
            "panic" => panic!("no inode"),
            "abort" => std::process::abort(),
            "hook" => {
                // SAFETY: the process is about to die of it.
                unsafe { std::ptr::null_mut::<u8>().add(0x123).write_volatile(1) }
            }
            _ => {
                // In a thread without preparation.
                let _ = std::thread::spawn(in_a_thread).join();
            }
        }
    }

    #[test]
    fn every_bad_end_says_why() {
        for (what, text) in [
            ("panic", "no inode at "),
            ("abort", "kernel panic: abort"),
            ("hook", "address 0x123"),
            ("thread", "SIGBUS"),
        ] {
            let out = std::process::Command::new(std::env::current_exe().expect("own path"))
                .args(["--exact", "panic::tests::child", "--ignored", "--nocapture"])
                .env("UMBRA_PANIC_CHILD", what)
                .output()
                .expect("run");
            let err = String::from_utf8_lossy(&out.stderr);
            assert_eq!(out.status.code(), Some(EXIT_STATUS), "{what}: {err}");
            assert!(err.contains(text), "{what}: {err}");
            assert!(err.contains("last events: none"), "{what}: {err}");
            let deep = if what == "thread" { "in_a_thread" } else { "panic::tests::child" };
            assert!(err.contains(deep), "a backtrace down to the culprit, {what}: {err}");
        }
    }
}
