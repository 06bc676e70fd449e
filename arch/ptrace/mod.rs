//! The ptrace backend: portable, the reference, always there.
//!
//! Each address space is a host process (the *server* task) and each guest thread another host
//! task in the same address space; all are traced by the one host thread that made the machine,
//! which is its only virtual CPU. Guest tasks run under SYSEMU: the host stops them at each call
//! without executing it. See `README.md` for the way of a call, a fault and a kick.
//!
//! Locks: a space's own (`Rank::Machine`) is held while its server executes a batch.

pub(crate) mod control;
mod space;
mod stub;
mod task;
mod thread;
mod zygote;

use std::sync::Arc;

use base::{Errno, Error, Result};

use crate::cpu;
use crate::machine::{Machine, Space};
use crate::physmem::PhysMem;
use crate::pool::{Pool, Zygote as _};
use crate::stub::image;
use crate::sys::{self, HostPid};
use control::ControlPages;
use space::PtraceSpace;
use stub::Stub;
use task::Host;
use zygote::Zygote;

/// Choices of the ptrace backend.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bind the calling thread and all stubs to one host CPU. A round trip to a stub on another
    /// CPU costs four times as much.
    pub pin: bool,
    /// How many stubs to keep ready.
    pub ready_stubs: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options { pin: true, ready_stubs: 4 }
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
    /// The host's error number.
    pub fn errno(&self) -> Errno {
        self.error.errno()
    }
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the ptrace backend cannot start: {}: {}", self.step, self.error)?;
        match (self.step, self.errno()) {
            ("PTRACE_SEIZE", Errno::EPERM) => write!(
                f,
                "; this host forbids ptrace (kernel.yama.ptrace_scope above 1, or a container's \
                 seccomp profile)"
            ),
            ("set-up of the first stub", Errno::ESRCH) => {
                write!(f, "; the stub ended early (is vm.memfd_noexec 2 here?)")
            }
            _ => Ok(()),
        }
    }
}

impl std::error::Error for StartError {}

/// The ptrace backend. One virtual CPU: the host thread that made it.
#[derive(Debug)]
pub struct PtraceMachine {
    phys: Arc<PhysMem>,
    host: Arc<Host>,
    /// The tracer: ptrace belongs to a host thread.
    owner: HostPid,
    vdso: u64,
    xstate: Arc<[u8]>,
    max_mappings: usize,
    pool: Pool<Zygote>,
    /// For the spaces, which keep their machine.
    this: std::sync::Weak<PtraceMachine>,
}

impl PtraceMachine {
    /// Starts the machine over `phys`. The calling host thread becomes its only virtual CPU: every
    /// later call that reaches a stub must come from it, and it must outlive the machine's use.
    ///
    /// # Errors
    /// What of the host stands in the way; its text is meant for the user.
    pub fn new(phys: Arc<PhysMem>, options: Options) -> Result<Arc<PtraceMachine>, StartError> {
        default_sigchld();
        if options.pin {
            cpu::pin_to_one_host_cpu();
        }
        let image = image::sealed_memfd().map_err(StartError::at("stub image"))?;
        let control = ControlPages::new().map_err(StartError::at("request pages"))?;
        let host = Arc::new(Host::new(image, Arc::new(control)));
        let mut zygote = Zygote::start(&host, &phys)?;
        let mut first = zygote.spawn().map_err(StartError::at("first stub"))?;
        let task = first.guest().map_err(StartError::at("first guest task"))?;
        first.park_fresh(task);
        let (vdso, xstate) = (zygote.vdso, Arc::from(&*zygote.xstate));
        let pool = Pool::new(zygote, first, options.ready_stubs);
        let pool = pool.map_err(StartError::at("the zygote's twin"))?;
        Ok(Arc::new_cyclic(|this| PtraceMachine {
            phys,
            host,
            owner: sys::gettid(),
            vdso,
            xstate,
            max_mappings: crate::space::max_mappings(),
            pool,
            this: this.clone(),
        }))
    }

    /// The host's ids of all tasks that belong to this machine, for diagnosis and tests.
    pub fn host_tasks(&self) -> Vec<i32> {
        self.host.tasks()
    }

    /// The size of the extended state in bytes.
    pub fn xstate_size(&self) -> usize {
        self.xstate.len()
    }

    /// The initial extended state, as a new thread has it.
    pub fn initial_xstate(&self) -> Arc<[u8]> {
        self.xstate.clone()
    }

    fn frames(&self) -> u32 {
        self.phys.pages()
    }
    fn host_vdso(&self) -> u64 {
        self.vdso
    }
    /// How many host mappings a space may have.
    fn max_mappings(&self) -> usize {
        self.max_mappings
    }
    #[inline]
    fn assert_owner(&self) {
        debug_assert_eq!(self.owner, sys::gettid(), "ptrace belongs to one host thread");
    }

    /// Called when a space is gone.
    fn give_back(&self, stub: Stub) {
        self.pool.give_back(stub);
    }

    fn start_zygote(&self) -> Result<Zygote> {
        Zygote::start(&self.host, &self.phys).map_err(|e| e.error)
    }
}

impl Machine for PtraceMachine {
    fn name(&self) -> &'static str {
        "ptrace"
    }

    fn phys(&self) -> &Arc<PhysMem> {
        &self.phys
    }

    fn new_space(&self) -> Result<Arc<dyn Space>> {
        self.assert_owner();
        let stub = self.pool.take(|| self.start_zygote())?;
        let this = self.this.upgrade().ok_or(Errno::ESRCH)?;
        Ok(Arc::new(PtraceSpace::new(this, stub)))
    }

    fn idle_work(&self) -> bool {
        self.assert_owner();
        self.pool.work(|| self.start_zygote())
    }
}

/// Stopped children are not announced by SIGCHLD (it would cost time on every stop), and dead ones
/// are not reaped by the host.
fn default_sigchld() {
    // SAFETY: reads and writes the disposition of SIGCHLD through a local, all-zero sigaction.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(libc::SIGCHLD, std::ptr::null(), &mut action);
        if action.sa_sigaction == libc::SIG_DFL || action.sa_sigaction == libc::SIG_IGN {
            action.sa_sigaction = libc::SIG_DFL;
            action.sa_flags = libc::SA_NOCLDSTOP;
            libc::sigaction(libc::SIGCHLD, &action, std::ptr::null_mut());
        }
    }
}
