//! Kernel stacks and the switch between them.
//!
//! A [`Fiber`] is a stack with a thread of control on it. A host thread starts on its own stack,
//! which [`Fiber::current_thread`] makes into a fiber, and goes from there to others by [`switch`].
//! Blocking kernel code looks blocking; the scheduler decides who is next.
//!
//! What makes this safe to call is checked at run time. Each host thread knows the one fiber it is
//! on, and only that one can be switched from. A fiber can be switched to only if its state says
//! that it is suspended (or new), and that state is written by the few instructions of the switch
//! itself, after the last touch of the old stack: another virtual CPU that sees it may resume the
//! fiber at once. A stack with live frames on it is never freed, only leaked.

use std::arch::global_asm;
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use base::{PAGE_SIZE, Rank, Result, SpinLock};

use crate::sys::last_error;

const SUSPENDED: u32 = 0;
const RUNNING: u32 = 1;
const FINISHED: u32 = 2;

/// How many free stacks are kept for reuse.
const MAX_CACHED: usize = 64;

global_asm!(
    ".pushsection .text.umbra_switch, \"ax\", @progbits",
    ".globl umbra_switch, umbra_fiber_start",
    // umbra_switch(rdi: where to save rsp, rsi: new rsp, rdx: old fiber's state, ecx: its new value)
    ".type umbra_switch, @function",
    "umbra_switch:",
    "   .cfi_startproc",
    "   push  rbp",
    "   .cfi_adjust_cfa_offset 8",
    "   .cfi_rel_offset rbp, 0",
    "   push  rbx",
    "   .cfi_adjust_cfa_offset 8",
    "   .cfi_rel_offset rbx, 0",
    "   push  r12",
    "   .cfi_adjust_cfa_offset 8",
    "   .cfi_rel_offset r12, 0",
    "   push  r13",
    "   .cfi_adjust_cfa_offset 8",
    "   .cfi_rel_offset r13, 0",
    "   push  r14",
    "   .cfi_adjust_cfa_offset 8",
    "   .cfi_rel_offset r14, 0",
    "   push  r15",
    "   .cfi_adjust_cfa_offset 8",
    "   .cfi_rel_offset r15, 0",
    "   sub   rsp, 8",
    "   .cfi_adjust_cfa_offset 8",
    "   stmxcsr [rsp]",
    "   fnstcw [rsp + 4]",
    "   mov   [rdi], rsp",
    "   mov   rsp, rsi",
    "   mov   [rdx], ecx", // a release store: the old stack is free for others from here on
    "   ldmxcsr [rsp]",
    "   fldcw [rsp + 4]",
    "   add   rsp, 8",
    "   .cfi_adjust_cfa_offset -8",
    "   pop   r15",
    "   .cfi_adjust_cfa_offset -8",
    "   .cfi_restore r15",
    "   pop   r14",
    "   .cfi_adjust_cfa_offset -8",
    "   .cfi_restore r14",
    "   pop   r13",
    "   .cfi_adjust_cfa_offset -8",
    "   .cfi_restore r13",
    "   pop   r12",
    "   .cfi_adjust_cfa_offset -8",
    "   .cfi_restore r12",
    "   pop   rbx",
    "   .cfi_adjust_cfa_offset -8",
    "   .cfi_restore rbx",
    "   pop   rbp",
    "   .cfi_adjust_cfa_offset -8",
    "   .cfi_restore rbp",
    "   ret",
    "   .cfi_endproc",
    // The bottom frame of a new fiber: rbx = its body. Unwinders stop here.
    ".type umbra_fiber_start, @function",
    "umbra_fiber_start:",
    "   .cfi_startproc",
    "   .cfi_undefined rip",
    "   xor   ebp, ebp",
    "   mov   rdi, rbx",
    "   call  {entry}",
    "   ud2",
    "   .cfi_endproc",
    ".popsection",
    entry = sym fiber_entry,
);

unsafe extern "C" {
    fn umbra_switch(save: *mut u64, to: u64, state: *mut u32, value: u32);
    fn umbra_fiber_start();
}

type Body = Box<dyn FnOnce() + Send>;

/// Runs a fiber's body. `extern "C"`: a panic that gets here aborts.
extern "C" fn fiber_entry(body: *mut Body) -> ! {
    // SAFETY: `Fiber::new` leaked this box for exactly one start.
    let body = unsafe { Box::from_raw(body) };
    bury();
    body();
    eprintln!("umbra: the body of a fiber returned");
    std::process::abort();
}

/// A mapped stack; its lowest page is the guard.
#[derive(Debug)]
struct Stack {
    base: usize,
    len: usize,
}

impl Stack {
    /// One of at least `bytes`, reused if possible.
    fn new(bytes: usize) -> Result<Stack> {
        let len = bytes.next_multiple_of(PAGE_SIZE) + PAGE_SIZE;
        {
            let mut cache = CACHE.lock();
            if let Some(i) = cache.iter().rposition(|s| s.len == len) {
                return Ok(cache.swap_remove(i));
            }
        }
        // SAFETY: a new private mapping, of which the first page is then made inaccessible.
        unsafe {
            let base = libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_STACK,
                -1,
                0,
            );
            if base == libc::MAP_FAILED {
                return Err(last_error());
            }
            let stack = Stack { base: base as usize, len };
            if libc::mprotect(base, PAGE_SIZE, libc::PROT_NONE) != 0 {
                return Err(last_error());
            }
            Ok(stack)
        }
    }

    fn top(&self) -> usize {
        self.base + self.len
    }

    /// For the next fiber.
    fn recycle(self) {
        let mut cache = CACHE.lock();
        if cache.len() < MAX_CACHED {
            cache.push(self);
        }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: unmaps what `new` mapped; whoever drops it knows that nothing runs on it.
        unsafe {
            libc::munmap(self.base as *mut libc::c_void, self.len);
        }
    }
}

static CACHE: SpinLock<Vec<Stack>> = SpinLock::new(Rank::Leaf, Vec::new());

/// A thread of control of the kernel.
#[derive(Debug)]
pub struct Fiber {
    id: u64,
    state: AtomicU32,
    /// The saved stack pointer while suspended. Written by the switch only.
    rsp: AtomicU64,
    /// None: the host thread's own stack.
    stack: Option<Stack>,
    /// The body, until the first start.
    body: AtomicU64,
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

thread_local! {
    // Read by signal handlers: constant initialisers, no destructors.
    static CURRENT: Cell<u64> = const { Cell::new(0) };
    static GUARD: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

#[inline(never)]
fn current_id() -> u64 {
    CURRENT.get()
}

#[inline(never)]
fn set_current(fiber: &Fiber) {
    CURRENT.set(fiber.id);
    GUARD.set(fiber.stack.as_ref().map_or((0, 0), |s| (s.base, s.base + PAGE_SIZE)));
}

/// Whether `addr` lies in the guard page of the stack that this host thread is on.
#[inline(never)]
pub(crate) fn is_current_guard(addr: usize) -> bool {
    let (from, to) = GUARD.get();
    (from..to).contains(&addr)
}

impl Fiber {
    fn with(state: u32, rsp: u64, stack: Option<Stack>, body: *mut Body) -> Fiber {
        Fiber {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            state: AtomicU32::new(state),
            rsp: AtomicU64::new(rsp),
            stack,
            body: AtomicU64::new(body.expose_provenance() as u64),
        }
    }

    /// A fiber that will execute `body` on a stack of `stack_bytes` when it is first switched to.
    /// `body` must never return (it ends by [`exit_to`]); if it does, or panics, the process aborts.
    ///
    /// # Errors
    /// ENOMEM if the host has no memory or no mappings left.
    pub fn new(stack_bytes: usize, body: Box<dyn FnOnce() + Send>) -> Result<Fiber> {
        let stack = Stack::new(stack_bytes.max(4 * PAGE_SIZE))?;
        let body = Box::into_raw(Box::new(body));
        // What `umbra_switch` pops: mxcsr and the x87 control word, r15, r14, r13, r12, rbx, rbp,
        // the return address. The word above keeps the stack aligned as the ABI wants it.
        let frame: [u64; 9] = [
            0x1f80 | 0x037f << 32,
            0,
            0,
            0,
            0,
            body as u64,
            0,
            umbra_fiber_start as *const () as u64,
            0,
        ];
        let rsp = stack.top() - 16 - size_of_val(&frame) + 8;
        // SAFETY: the top of a new stack that nobody else uses.
        unsafe { (rsp as *mut [u64; 9]).write(frame) };
        Ok(Fiber::with(SUSPENDED, rsp as u64, Some(stack), body))
    }

    /// The calling host thread's own stack as a fiber: the idle loop of a CPU.
    ///
    /// # Panics
    /// If this thread has been made into one before.
    pub fn current_thread() -> Fiber {
        assert_eq!(current_id(), 0, "this host thread is a fiber already");
        let fiber = Fiber::with(RUNNING, 0, None, std::ptr::null_mut());
        set_current(&fiber);
        fiber
    }

    /// Whether it has ended by [`exit_to`].
    pub fn is_finished(&self) -> bool {
        self.state.load(Ordering::Acquire) == FINISHED
    }
}

impl Drop for Fiber {
    fn drop(&mut self) {
        let Some(stack) = self.stack.take() else { return };
        let body = *self.body.get_mut();
        match *self.state.get_mut() {
            FINISHED => stack.recycle(),
            SUSPENDED if body != 0 => {
                // SAFETY: it never started, so the body is still where `new` leaked it.
                drop(unsafe { Box::from_raw(body as *mut Body) });
                stack.recycle();
            }
            // Live frames: others may hold references into them.
            _ => {
                log::warn!("a fiber is dropped in the middle; its stack is leaked");
                std::mem::forget(stack);
            }
        }
    }
}

/// Saves the calling fiber, `from`, and resumes `to`. Returns when somebody switches back.
///
/// # Panics
/// If `from` is not the calling fiber or `to` is running or has finished.
#[inline]
pub fn switch(from: &Fiber, to: &Fiber) {
    transfer(from, to, SUSPENDED);
}

/// Resumes `to`; `from`, the calling fiber, has finished. What its frames own is never dropped:
/// drop it before. Its stack is reused when the `Fiber` is dropped (by another fiber).
///
/// # Panics
/// As [`switch`].
pub fn exit_to(from: &Fiber, to: &Fiber) -> ! {
    transfer(from, to, FINISHED);
    unreachable!("a finished fiber cannot be resumed");
}

fn transfer(from: &Fiber, to: &Fiber, left_as: u32) {
    assert_eq!(current_id(), from.id, "only the running fiber can be switched from");
    let rsp = claim(to);
    // SAFETY: `to` was suspended and is ours now, so its stack pointer is valid and nobody else
    // uses its stack. `from` is the stack we are on; its state changes only after it was left.
    // `from` itself is not touched between that store and our resumption.
    unsafe {
        umbra_switch(from.rsp.as_ptr(), rsp, from.state.as_ptr(), left_as);
    }
    bury();
}

/// Makes a suspended fiber the running one; where its stack stands.
fn claim(to: &Fiber) -> u64 {
    let claimed =
        to.state.compare_exchange(SUSPENDED, RUNNING, Ordering::Acquire, Ordering::Relaxed);
    assert!(claimed.is_ok(), "the fiber to resume is running or has finished");
    to.body.store(0, Ordering::Relaxed);
    set_current(to);
    to.rsp.load(Ordering::Relaxed)
}

/// As [`switch`], without keeping `to` alive while the caller is suspended: whoever owns the running
/// fiber (a scheduler's table) must hold it, else its stack is leaked.
pub fn switch_owned(from: &Fiber, to: Arc<Fiber>) {
    assert_eq!(current_id(), from.id, "only the running fiber can be switched from");
    let rsp = claim(&to);
    drop(to);
    // SAFETY: as in `transfer`; `to`'s stack is alive because its state is RUNNING: dropping a
    // running fiber leaks the stack instead of freeing it.
    unsafe {
        umbra_switch(from.rsp.as_ptr(), rsp, from.state.as_ptr(), SUSPENDED);
    }
    bury();
}

/// As [`exit_to`], giving up the last references: `from` is dropped by whoever runs next on this host
/// thread, when nobody stands on its stack any more.
pub fn exit_owned(from: Arc<Fiber>, to: Arc<Fiber>) -> ! {
    assert_eq!(current_id(), from.id, "only the running fiber can be switched from");
    let rsp = claim(&to);
    drop(to);
    let (save, state) = (from.rsp.as_ptr(), from.state.as_ptr());
    leave(from);
    // SAFETY: as in `switch_owned`; `from` is kept by LEAVING until the other side has arrived.
    unsafe {
        umbra_switch(save, rsp, state, FINISHED);
    }
    unreachable!("a finished fiber cannot be resumed");
}

thread_local! {
    /// The fiber that exited last on this host thread.
    static LEAVING: Cell<Option<Arc<Fiber>>> = const { Cell::new(None) };
}

#[inline(never)]
fn leave(fiber: Arc<Fiber>) {
    LEAVING.set(Some(fiber));
}

/// Frees the fiber that exited into the running one.
#[inline(never)]
fn bury() {
    drop(LEAVING.take());
}
