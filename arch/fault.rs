//! Overflow of a kernel stack: the guard page is hit, SIGSEGV arrives on the signal stack, and the
//! process says which stack it was before it dies.

use std::cell::Cell;
use std::sync::Once;
use std::sync::OnceLock;

use crate::switch;

/// Room for a frame with the largest extended state, for handlers of all kinds nested, and for the
/// backtrace that a panic prints from there.
const SIGNAL_STACK: usize = 512 << 10;

thread_local! {
    static HAS_STACK: Cell<bool> = const { Cell::new(false) };
}

/// What was there before, for faults that are none of ours.
static BEFORE: OnceLock<[libc::sigaction; 2]> = OnceLock::new();

/// Gives the calling host thread a stack for signal handlers: kernel stacks are small, and a
/// handler's frame can be larger than 11 KiB. It is never freed: CPUs are few and live long.
pub(crate) fn own_signal_stack() {
    if HAS_STACK.replace(true) {
        return;
    }
    // SAFETY: a new private mapping becomes this thread's signal stack, if there is none as large.
    unsafe {
        let mut old: libc::stack_t = std::mem::zeroed();
        libc::sigaltstack(std::ptr::null(), &mut old);
        if old.ss_flags & libc::SS_DISABLE == 0 && old.ss_size >= SIGNAL_STACK {
            return;
        }
        let base = libc::mmap(
            std::ptr::null_mut(),
            SIGNAL_STACK,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
            -1,
            0,
        );
        if base != libc::MAP_FAILED {
            let stack = libc::stack_t { ss_sp: base, ss_flags: 0, ss_size: SIGNAL_STACK };
            libc::sigaltstack(&stack, std::ptr::null_mut());
        }
    }
}

/// Installs the handler (once) and gives the calling thread a signal stack.
pub(crate) fn install() {
    static ONCE: Once = Once::new();
    own_signal_stack();
    ONCE.call_once(|| {
        let install = |signal: i32| {
            // SAFETY: an all-zero sigaction is valid; the handler is async-signal-safe.
            unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                let mut old: libc::sigaction = std::mem::zeroed();
                action.sa_sigaction = on_fault as *const () as usize;
                action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
                libc::sigaction(signal, &action, &mut old);
                old
            }
        };
        let _ = BEFORE.set([install(libc::SIGSEGV), install(libc::SIGBUS)]);
    });
}

extern "C" fn on_fault(signal: i32, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    // SAFETY: with SA_SIGINFO the host passes a valid siginfo.
    let addr = unsafe { (*info).si_addr() } as usize;
    if switch::is_current_guard(addr) {
        let text = b"umbra: kernel stack overflow: a fiber ran into its guard page\n";
        // SAFETY: writes a static string, then ends the process.
        unsafe {
            libc::write(2, text.as_ptr().cast(), text.len());
            libc::abort();
        }
    }
    // Not ours: the handler from before gets it when the instruction is executed again.
    let before = BEFORE.get().map(|b| if signal == libc::SIGSEGV { b[0] } else { b[1] });
    // SAFETY: restores a disposition that was in force, or the default.
    unsafe {
        let action = before.unwrap_or_else(|| std::mem::zeroed());
        libc::sigaction(signal, &action, std::ptr::null_mut());
    }
}
