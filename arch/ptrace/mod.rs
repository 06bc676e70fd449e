//! The ptrace backend: portable, the reference, always there.
//!
//! Each address space is a host process (the *server* task) and each guest thread another host
//! task in the same address space; all are traced by the one host thread that made the machine,
//! which is its only virtual CPU. Guest tasks run under SYSEMU: the host stops them at each call
//! without executing it. See `README.md` for the way of a call, a fault and a kick.
//!
//! Locks: a space's own (`Rank::Machine`) is held while its server executes a batch; the pool's
//! (`Rank::Leaf`) never across a host call.

pub(crate) mod control;
mod space;
mod stub;
mod task;
mod thread;
mod zygote;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base::{Errno, Error, Rank, Result, SpinLock, err};

use crate::cpu;
use crate::machine::{Machine, Space};
use crate::physmem::PhysMem;
use crate::stub::image;
use crate::sys::{self, HostPid};
use control::ControlPages;
use space::PtraceSpace;
use stub::Stub;
use task::Host;
use zygote::Zygote;

/// Most stubs kept ready beyond the wanted number, when many processes have ended.
const MAX_READY: usize = 16;

/// Set when the kernel process may no longer fork.
static FORK_FORBIDDEN: AtomicBool = AtomicBool::new(false);

/// The kernel process is about to install its allow-list: lost zygotes are replaced by their twins
/// from now on, or not at all.
pub(crate) fn forbid_fork() {
    FORK_FORBIDDEN.store(true, Ordering::SeqCst);
}

/// Whether it is so.
pub(crate) fn fork_is_forbidden() -> bool {
    FORK_FORBIDDEN.load(Ordering::SeqCst)
}

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
    options: Options,
    host: Arc<Host>,
    /// The tracer: ptrace belongs to a host thread.
    owner: HostPid,
    vdso: u64,
    xstate: Arc<[u8]>,
    max_mappings: usize,
    pool: SpinLock<Pool>,
    /// For the spaces, which keep their machine.
    this: std::sync::Weak<PtraceMachine>,
}

#[derive(Debug)]
struct Pool {
    /// None while it is in use or lost.
    zygote: Option<Zygote>,
    /// Takes over when the zygote is killed: when the kernel has installed its allow-list, it can
    /// fork no more.
    twin: Option<Zygote>,
    /// Empty stubs.
    ready: Vec<Stub>,
    /// Stubs of spaces that are gone, with everything still mapped.
    used: Vec<Stub>,
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
        let twin = Some(zygote.twin().map_err(StartError::at("the zygote's twin"))?);
        let pool = Pool { zygote: Some(zygote), twin, ready: vec![first], used: Vec::new() };
        Ok(Arc::new_cyclic(|this| PtraceMachine {
            phys,
            options,
            host,
            owner: sys::gettid(),
            vdso,
            xstate,
            max_mappings: crate::space::max_mappings(),
            pool: SpinLock::new(Rank::Leaf, pool),
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
        self.pool.lock().used.push(stub);
    }

    /// A new stub from the zygote; from its twin if it was killed.
    fn spawn(&self) -> Result<Stub> {
        for _ in 0..3 {
            let mut zygote = self.zygote()?;
            match zygote.spawn() {
                Err(e) if e == Errno::ESRCH => log::warn!("the zygote was killed"),
                result => {
                    self.pool.lock().zygote = Some(zygote);
                    return result;
                }
            }
        }
        err(Errno::EAGAIN)
    }

    /// Takes the zygote out of the pool; if it is lost, its twin, which gets a twin in turn.
    fn zygote(&self) -> Result<Zygote> {
        let twin = {
            let mut pool = self.pool.lock();
            if let Some(zygote) = pool.zygote.take() {
                return Ok(zygote);
            }
            pool.twin.take()
        };
        let mut zygote = match twin {
            Some(z) => z,
            None if fork_is_forbidden() => {
                log::error!("the zygote and its twin were both killed: no more processes");
                return err(Errno::EAGAIN);
            }
            None => Zygote::start(&self.host, &self.phys).map_err(|e| {
                log::error!("{e}");
                e.error
            })?,
        };
        let twin = zygote.twin().ok();
        self.pool.lock().twin = twin;
        Ok(zygote)
    }

    /// A used stub, made ready. None if there is none that can be.
    fn recycle(&self) -> Option<Stub> {
        loop {
            let mut stub = self.pool.lock().used.pop()?;
            if stub.reset() {
                return Some(stub);
            }
        }
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
        let stub = loop {
            let ready = self.pool.lock().ready.pop();
            match ready {
                Some(mut stub) => {
                    if stub.is_alive() {
                        break stub;
                    }
                }
                None => match self.recycle() {
                    Some(stub) => break stub,
                    None => break self.spawn()?,
                },
            }
        };
        let this = self.this.upgrade().ok_or(Errno::ESRCH)?;
        Ok(Arc::new(PtraceSpace::new(this, stub)))
    }

    fn idle_work(&self) -> bool {
        self.assert_owner();
        if let Some(stub) = self.recycle() {
            let mut pool = self.pool.lock();
            if pool.ready.len() < self.options.ready_stubs.max(MAX_READY) {
                pool.ready.push(stub);
            } else {
                drop(pool);
                drop(stub);
            }
            return true;
        }
        if self.pool.lock().ready.len() >= self.options.ready_stubs {
            return false;
        }
        match self.spawn() {
            Ok(mut stub) => {
                // With its first guest task: every space needs one.
                if let Ok(task) = stub.guest() {
                    stub.park_fresh(task);
                }
                self.pool.lock().ready.push(stub);
                true
            }
            Err(_) => false,
        }
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
