//! Virtual CPUs: host threads of the kernel process, their current task, interrupts and idling.
//!
//! Interrupts are host signals: SIGALRM from the CPU's own timer (`timer.rs`), SIGURG from
//! [`kick`]. The handler sets the CPU's pending bit and, if a guest is running on this CPU, makes it
//! stop; everything else happens at safe points: after [`crate::Event::Kicked`], or where the
//! kernel looks at [`take_pending`].
//!
//! Kernel code switches stacks and may go on on another host thread, so nothing here hands out a
//! reference to thread-local data, and no accessor is inlined: the compiler may keep the address of
//! a thread-local across a switch only inside one function.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering, compiler_fence};
use std::sync::{Arc, Once};

use base::{Errno, Instant, Result, err};

use crate::sys::{self, HostPid};
use crate::{clock, fault, timer};

/// Most virtual CPUs of one host process.
pub const MAX_CPUS: usize = 64;

/// The signal of [`kick`]. Ignored by default, and gdb passes it on silently.
const SIG_KICK: i32 = libc::SIGURG;
/// The signal of the timer.
pub(crate) const SIG_TIMER: i32 = libc::SIGALRM;

/// How long a kicked guest has to come back before it is kicked again, nanoseconds.
const KICK_AGAIN_NS: u64 = 30_000;

/// What handlers and other threads see of a virtual CPU.
#[derive(Debug)]
pub(crate) struct Slot {
    /// The host thread; 0 if there is none.
    tid: AtomicI32,
    /// An interrupt has come that nobody has looked at.
    pending: AtomicBool,
    /// The [`Running`] guest, or about to run; 0 if none.
    guest: AtomicU64,
    /// How often that guest has been told to stop since it was published.
    kicks: AtomicU32,
    /// When the timer is armed for, in nanoseconds; `u64::MAX` if it is not. Reset by its expiry.
    pub(crate) armed: AtomicU64,
}

static SLOTS: [Slot; MAX_CPUS] = [const {
    Slot {
        tid: AtomicI32::new(0),
        pending: AtomicBool::new(false),
        guest: AtomicU64::new(0),
        kicks: AtomicU32::new(0),
        armed: AtomicU64::new(u64::MAX),
    }
}; MAX_CPUS];

/// Frees the slot when the host thread ends.
struct Leave(Cell<Option<usize>>);

impl Drop for Leave {
    fn drop(&mut self) {
        if let Some(i) = self.0.take() {
            timer::tear_down();
            HERE.set(None);
            SLOTS[i].tid.store(0, Ordering::SeqCst);
        }
    }
}

thread_local! {
    // Constant initialisers and no destructor, so that a signal handler may look at it.
    static HERE: Cell<Option<u32>> = const { Cell::new(None) };
    static CURRENT: RefCell<Option<Arc<dyn Any + Send + Sync>>> = const { RefCell::new(None) };
    static LEAVE: Leave = const { Leave(Cell::new(None)) };
}

#[inline(never)]
pub(crate) fn here() -> Option<&'static Slot> {
    HERE.get().map(|i| &SLOTS[i as usize])
}

/// Makes the calling host thread virtual CPU `id`: signal handlers, its timer, a stack for
/// handlers. It stays so until the thread ends.
///
/// # Errors
/// EINVAL if `id` is not below [`MAX_CPUS`] or the thread is a CPU already, EBUSY if another thread
/// is CPU `id`, and what the host says to the timer.
pub fn enter(id: u32) -> Result<()> {
    static HANDLERS: Once = Once::new();
    let Some(slot) = SLOTS.get(id as usize) else { return err(Errno::EINVAL) };
    if HERE.get().is_some() {
        return err(Errno::EINVAL);
    }
    let me = sys::gettid();
    if slot.tid.compare_exchange(0, me, Ordering::SeqCst, Ordering::SeqCst).is_err() {
        return err(Errno::EBUSY);
    }
    LEAVE.with(|l| l.0.set(Some(id as usize)));
    slot.pending.store(false, Ordering::SeqCst);
    slot.guest.store(0, Ordering::SeqCst);
    slot.armed.store(u64::MAX, Ordering::SeqCst);
    fault::own_signal_stack();
    HANDLERS.call_once(|| {
        for signal in [SIG_KICK, SIG_TIMER] {
            // SAFETY: an all-zero sigaction is valid; the handler is async-signal-safe.
            unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                action.sa_sigaction = on_interrupt as *const () as usize;
                action.sa_flags = libc::SA_RESTART | libc::SA_ONSTACK;
                libc::sigfillset(&mut action.sa_mask);
                libc::sigaction(signal, &action, std::ptr::null_mut());
            }
        }
    });
    HERE.set(Some(id));
    timer::set_up(me)?;
    mask(libc::SIG_UNBLOCK, &interrupts());
    Ok(())
}

/// How a handler stops the guest that runs on its CPU. One word, so that handlers see all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Running(u64);

impl Running {
    /// A task that this host thread traces: PTRACE_INTERRUPT, which also works on a task that is
    /// not resumed yet.
    pub(crate) fn traced(pid: HostPid) -> Running {
        Running(u64::from(pid.cast_unsigned()))
    }
    /// A thread of a stub that shares memory with us: a signal. Whoever waits for it signals
    /// again if it came before the guest had been entered.
    pub(crate) fn thread(pid: HostPid, tid: HostPid) -> Running {
        Running(u64::from(pid.cast_unsigned()) << 32 | u64::from(tid.cast_unsigned()))
    }
    /// The process that it belongs to; for a traced one, 0.
    pub(crate) fn pid(self) -> HostPid {
        (self.0 >> 32) as HostPid
    }
    fn stop(self, slot: &Slot) {
        match self.pid() {
            0 => sys::interrupt_from_handler(self.0 as HostPid),
            pid => {
                sys::kick_from_handler(pid, self.0 as HostPid);
                // It has no effect in the stub's own text: again, until the guest is back.
                let n = slot.kicks.fetch_add(1, Ordering::Relaxed);
                timer::arm_from_handler(slot, KICK_AGAIN_NS << n.min(6));
            }
        }
    }
}

/// The handler of both signals. No allocation, no locks, errno kept.
extern "C" fn on_interrupt(signal: i32) {
    if signal == SIG_TIMER
        && let Some(slot) = here()
    {
        slot.armed.store(u64::MAX, Ordering::Relaxed);
    }
    interrupt_from_handler();
}

/// Makes an interrupt pending on this host thread, if it is a CPU, and stops its guest.
pub(crate) fn interrupt_from_handler() {
    let Some(slot) = here() else { return };
    slot.pending.store(true, Ordering::SeqCst);
    compiler_fence(Ordering::SeqCst);
    let guest = slot.guest.load(Ordering::Relaxed);
    if guest != 0 {
        Running(guest).stop(slot);
    }
}

/// Tells the handler which guest is about to run, and then looks at the pending bit. False: an
/// interrupt has come (and is taken now), the guest must not be entered.
///
/// The order decides. An interrupt before the look is seen by the look. One after it finds the
/// guest published and stops it, whether it has been resumed yet or not. Looking first would leave
/// a gap in which a kick is lost, and a guest that never traps would keep the CPU for ever.
#[inline(never)]
pub(crate) fn publish_guest(guest: Running) -> bool {
    let Some(slot) = here() else { return true };
    slot.kicks.store(0, Ordering::Relaxed);
    slot.guest.store(guest.0, Ordering::Relaxed);
    compiler_fence(Ordering::SeqCst);
    if slot.pending.load(Ordering::Relaxed) {
        slot.guest.store(0, Ordering::Relaxed);
        slot.pending.swap(false, Ordering::SeqCst);
        return false;
    }
    true
}

/// How often the published guest has been told to stop and has not.
#[inline(never)]
pub(crate) fn kicks() -> u32 {
    here().map_or(0, |s| s.kicks.load(Ordering::Relaxed))
}

/// The guest has stopped.
#[inline(never)]
pub(crate) fn unpublish_guest() {
    if let Some(slot) = here() {
        slot.guest.store(0, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
    }
}

/// The number of the virtual CPU that the caller runs on; None on any other host thread.
#[inline(never)]
pub fn id() -> Option<u32> {
    HERE.get()
}

/// Sets what [`current`] returns on this host thread; returns what it was.
#[inline(never)]
pub fn set_current(task: Option<Arc<dyn Any + Send + Sync>>) -> Option<Arc<dyn Any + Send + Sync>> {
    // The old value is returned, not dropped here: its destructor may come back to this cell.
    CURRENT.with(|c| c.replace(task))
}

/// What runs on this virtual CPU, as the kernel has set it.
#[inline(never)]
pub fn current() -> Option<Arc<dyn Any + Send + Sync>> {
    CURRENT.with(|c| c.borrow().clone())
}

/// Whether an interrupt has come that nobody has taken.
#[inline(never)]
pub fn pending() -> bool {
    here().is_some_and(|s| s.pending.load(Ordering::Relaxed))
}

/// Takes the pending interrupt. What was stored before a [`kick`] is visible after this has
/// returned true for it. `Event::Kicked` has taken it already.
#[inline(never)]
pub fn take_pending() -> bool {
    here().is_some_and(|s| {
        s.pending.load(Ordering::Relaxed) && s.pending.swap(false, Ordering::SeqCst)
    })
}

/// Interrupts virtual CPU `id`, from any host thread: its guest comes back with `Kicked`, its
/// idling ends, its pending bit is set. Kicks are not counted: many may be seen as one.
pub fn kick(id: u32) {
    let Some(slot) = SLOTS.get(id as usize) else { return };
    std::sync::atomic::fence(Ordering::SeqCst);
    // If it is pending already, that CPU will look before it enters a guest or sleeps.
    if slot.pending.load(Ordering::SeqCst) {
        return;
    }
    let tid = slot.tid.load(Ordering::SeqCst);
    if tid != 0 {
        // SAFETY: no pointers. A thread that has just ended gives ESRCH.
        unsafe {
            libc::syscall(libc::SYS_tgkill, libc::getpid(), tid, SIG_KICK);
        }
    }
}

fn interrupts() -> libc::sigset_t {
    // SAFETY: a local signal set.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigaddset(&mut set, SIG_KICK);
        libc::sigaddset(&mut set, SIG_TIMER);
        libc::sigaddset(&mut set, libc::SIGCHLD);
        set
    }
}

fn mask(how: i32, set: &libc::sigset_t) -> libc::sigset_t {
    // SAFETY: reads one signal set and fills another.
    unsafe {
        let mut old: libc::sigset_t = std::mem::zeroed();
        libc::pthread_sigmask(how, set, &mut old);
        old
    }
}

/// Sleeps in the host until an interrupt is pending or `deadline` has passed. Returns at once if
/// one is pending; leaves it pending. No wake-up is lost: the signals are blocked while the bit is
/// looked at, and `ppoll` lets them in and sleeps in one step.
pub fn idle(deadline: Option<Instant>) {
    let old = mask(libc::SIG_BLOCK, &interrupts());
    if !pending() {
        let left = deadline.map(|d| d - clock::monotonic());
        let timeout = left.map(|l| libc::timespec {
            tv_sec: l.as_secs().min(1 << 30) as i64,
            tv_nsec: l.subsec_nanos().into(),
        });
        let timeout = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: no descriptors; the timeout and the mask are locals or null.
        unsafe {
            libc::ppoll(std::ptr::null_mut(), 0, timeout, &old);
        }
    }
    mask(libc::SIG_SETMASK, &old);
}

/// The CPUs that the process may use, from before the first [`pin_to_one_host_cpu`].
static ALLOWED: std::sync::OnceLock<libc::cpu_set_t> = std::sync::OnceLock::new();

/// Binds the calling host thread to the host CPU that it runs on now. What it forks is bound, too.
/// Returns that CPU, and another one that the process may use, if there is.
pub(crate) fn pin_to_one_host_cpu() -> (usize, Option<usize>) {
    // SAFETY: CPU sets are plain data; the calls fill and read locals.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        let size = size_of::<libc::cpu_set_t>();
        if libc::sched_getaffinity(0, size, &mut set) != 0 {
            return (0, None);
        }
        let allowed = *ALLOWED.get_or_init(|| set);
        let here = libc::sched_getcpu().max(0) as usize;
        if here < size * 8 {
            sys::bind(0, here);
        }
        let others = (here + 1..size * 8).chain(0..here.min(size * 8));
        (here, others.into_iter().find(|&c| libc::CPU_ISSET(c, &allowed)))
    }
}

/// Starts a host thread that is no virtual CPU (a device, a helper): free to run on every host CPU
/// that the process was given, and with all signals blocked, so that they reach the CPUs.
///
/// # Errors
/// EAGAIN if the host has no thread to give.
pub fn device_thread(
    name: &str,
    body: impl FnOnce() + Send + 'static,
) -> Result<std::thread::JoinHandle<()>> {
    // SAFETY: a local signal set.
    let all = unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&mut set);
        set
    };
    let old = mask(libc::SIG_SETMASK, &all); // inherited
    let handle = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        if let Some(set) = ALLOWED.get() {
            // SAFETY: reads the set.
            unsafe {
                libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), set);
            }
        }
        body();
    });
    mask(libc::SIG_SETMASK, &old);
    handle.map_err(|_| Errno::EAGAIN.into())
}

/// Makes an overflow of a kernel stack end the process with a message that says so.
pub fn install_fault_handler() {
    fault::install();
}
