//! The shared-memory backend: no ptrace. A guest thread traps its own system calls and exceptions with
//! a signal handler, writes what happened into a page that it shares with the kernel, and waits there.
//!
//! Each address space is a host process; its first thread is the *mapping server*, the others are guest
//! threads, one for each thread of the guest, so that their FP state and segment bases stay where they are.
//! See `README.md` for the way of a call, a fault and a kick, and for what a guest could try.
//!
//! Locks: a space's own (`Rank::Machine`) is held while its server executes a batch. One batch is under way at a time: servers share the
//! descriptor that they report to.

mod context;
mod control;
mod filter;
mod handoff;
mod host;
mod layout;
mod load;
mod space;
mod stub;
mod text;
mod thread;
mod zygote;

use std::sync::Arc;

use base::{Errno, Error, Result};

use crate::machine::{Machine, Space};
use crate::physmem::PhysMem;
use crate::pool::{Pool, Zygote as _};
use crate::regs::XState;
use crate::sys;
use crate::xsave;
use handoff::Handoff;
use host::Host;
use space::ShmSpace;
use stub::Stub;
use zygote::Zygote;

pub use handoff::Policy;
pub use layout::{K_BASE, K_SIZE, S_BASE, S_SIZE, TEXT};

/// Bit of AT_HWCAP2: user code may read and write its segment bases.
const HWCAP2_FSGSBASE: u64 = 1 << 1;

/// Choices of the shm backend.
#[derive(Clone, Debug)]
pub struct Options {
    /// How virtual CPU and guest threads wait for each other.
    pub handoff: Policy,
    /// How many stubs to keep ready.
    pub ready_stubs: usize,
    /// Whether the kernel patches call sites: guests' gs base is ours then.
    pub patch: bool,
    /// Always None but in tests of the tests.
    pub control: NegativeControl,
}

/// A safety test that cannot fail proves nothing: stubs with a fault that a test must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum NegativeControl {
    /// Stubs as they should be.
    #[default]
    None,
    /// Both filters allow getpid from everywhere.
    LetGetpidThrough,
    /// The extended state is not restored.
    NoXrstor,
}

/// The stub's text as mapped at [`TEXT`], for tests that jump to certain places of it.
pub fn stub_text() -> Vec<u8> {
    text::build(NegativeControl::None).to_vec()
}

impl Default for Options {
    fn default() -> Options {
        Options {
            handoff: Policy::Auto,
            ready_stubs: 4,
            patch: false,
            control: NegativeControl::None,
        }
    }
}

/// Why the machine cannot run on this host, as one line for the user.
#[derive(Clone, Debug)]
pub struct StartError {
    step: &'static str,
    error: Error,
}

impl StartError {
    fn at(step: &'static str) -> impl Fn(Error) -> StartError {
        move |error| StartError { step, error }
    }
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the shm backend cannot start: {}: {}", self.step, self.error)
    }
}

impl std::error::Error for StartError {}

/// The shm backend. One virtual CPU: the host thread that made it.
#[derive(Debug)]
pub struct ShmMachine {
    phys: Arc<PhysMem>,
    options: Options,
    host: Arc<Host>,
    vdso: u64,
    xstate: XState,
    max_mappings: usize,
    pool: Pool<Zygote>,
    /// For the spaces, which keep their machine.
    this: std::sync::Weak<ShmMachine>,
}

impl ShmMachine {
    /// Starts the machine over `phys`. The calling host thread, a virtual CPU already, is its only one.
    ///
    /// # Errors
    /// What of the host stands in the way; its text is meant for the user.
    pub fn new(phys: Arc<PhysMem>, options: Options) -> Result<Arc<ShmMachine>, StartError> {
        let at = StartError::at;
        // SAFETY: no pointers.
        if unsafe { libc::getauxval(libc::AT_HWCAP2) } & HWCAP2_FSGSBASE == 0 {
            return Err(at("segment bases (FSGSBASE: Linux 5.9)")(Errno::ENOSYS.into()));
        }
        if xsave::layout().frame_size > layout::s::STACK - layout::s::MADE_FPSTATE {
            return Err(at("extended state of this CPU")(Errno::EOVERFLOW.into()));
        }
        let handoff = Handoff::new(options.handoff);
        let host = Arc::new(Host::new(options.control, handoff).map_err(at("control pages"))?);
        let mut zygote = Zygote::start(&host, &phys).map_err(at("zygote"))?;
        let mut first = zygote.spawn().map_err(at("first stub"))?;
        // Needs Syscall User Dispatch (Linux 5.11) and seccomp filters.
        let task = first.guest().map_err(at("first guest thread (Linux 5.11?)"))?;
        // The locks say that they are closed; once, we look from outside.
        let locked = sys::seccomp_filters(task.placed.pid, task.placed.tid);
        if locked.is_some_and(|n| n < 2) {
            return Err(at("seccomp filters of a guest thread")(Errno::EPERM.into()));
        }
        first.park(task);
        let vdso = zygote.vdso;
        let pool =
            Pool::new(zygote, first, options.ready_stubs).map_err(at("the zygote's twin"))?;
        Ok(Arc::new_cyclic(|this| ShmMachine {
            phys,
            options,
            host,
            vdso,
            xstate: xsave::initial(),
            max_mappings: crate::space::max_mappings(),
            pool,
            this: this.clone(),
        }))
    }

    /// The host's ids of all processes that belong to this machine, for diagnosis and tests.
    pub fn host_tasks(&self) -> Vec<i32> {
        self.host.processes()
    }

    fn frames(&self) -> u32 {
        self.phys.pages()
    }
    fn handoff(&self) -> &Handoff {
        &self.host.handoff
    }
    fn patching(&self) -> bool {
        self.options.patch
    }
    fn host_vdso(&self) -> u64 {
        self.vdso
    }
    fn initial_xstate(&self) -> &XState {
        &self.xstate
    }
    fn max_mappings(&self) -> usize {
        self.max_mappings
    }

    /// Called when a space is gone.
    fn give_back(&self, stub: Stub) {
        self.pool.give_back(stub);
    }

    fn start_zygote(&self) -> Result<Zygote> {
        Zygote::start(&self.host, &self.phys)
    }
}

impl Machine for ShmMachine {
    fn name(&self) -> &'static str {
        "shm"
    }

    fn phys(&self) -> &Arc<PhysMem> {
        &self.phys
    }

    fn patch_entry(&self) -> Option<u64> {
        self.options.patch.then(|| text::address(text::Label::Patched))
    }

    fn new_space(&self) -> Result<Arc<dyn Space>> {
        let stub = self.pool.take(|| self.start_zygote())?;
        let this = self.this.upgrade().ok_or(Errno::ESRCH)?;
        Ok(Arc::new(ShmSpace::new(this, stub)))
    }

    fn idle_work(&self) -> bool {
        self.handoff().idle();
        self.pool.work(|| self.start_zygote())
    }
}
