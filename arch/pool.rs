//! Stubs that are ready for use, and the zygotes that make them: what all backends share that run guests in
//! host processes.
//!
//! A new host process costs a hundred microseconds and more. So a [`Pool`] makes stubs when there is nothing
//! else to do, and has those of spaces that are gone emptied for the next one. Stubs are clones of a *zygote*,
//! a process that has everything ready. If somebody kills it, its twin takes over.
//!
//! The lock (`Rank::Leaf`) is never held across a host call.

use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, Ordering};

use base::{Errno, Rank, Result, SpinLock, err};

/// Most stubs kept ready beyond the wanted number, when many processes have ended.
const MAX_READY: usize = 16;

/// Set when the kernel process may no longer fork.
static FORK_FORBIDDEN: AtomicBool = AtomicBool::new(false);

/// The kernel process is about to install its allow-list: lost zygotes are replaced by their twins
/// from now on, or not at all.
pub(crate) fn forbid_fork() {
    FORK_FORBIDDEN.store(true, Ordering::SeqCst);
}

/// The process that stubs are clones of.
pub(crate) trait Zygote: Sized + Debug {
    /// What it makes.
    type Stub: PooledStub;
    /// Whether nobody has killed it.
    fn lives(&mut self) -> bool;
    /// A new stub, with nothing mapped.
    ///
    /// # Errors
    /// ESRCH if the zygote was killed, others if the host has no process to give.
    fn spawn(&mut self) -> Result<Self::Stub>;
    /// A second zygote, cloned from this one.
    ///
    /// # Errors
    /// As `spawn`.
    fn twin(&mut self) -> Result<Self>;
}

/// A host process that one space after the other lives in.
pub(crate) trait PooledStub: Debug {
    /// Whether nobody has killed it while it rested.
    fn is_alive(&mut self) -> bool;
    /// Makes it ready for the next space: everything unmapped, nothing of the guest left. False if it cannot be.
    fn reset(&mut self) -> bool;
    /// Makes the tasks that the next space will need, as far as that can be done in advance.
    fn prepare(&mut self);
}

/// See the module's header.
#[derive(Debug)]
pub(crate) struct Pool<Z: Zygote> {
    /// So many stubs should be ready.
    target: usize,
    inner: SpinLock<Inner<Z>>,
}

#[derive(Debug)]
struct Inner<Z: Zygote> {
    /// None while it is in use or lost.
    zygote: Option<Z>,
    /// Takes over when the zygote is killed: when the kernel has installed its allow-list, it can
    /// fork no more.
    twin: Option<Z>,
    /// Empty stubs.
    ready: Vec<Z::Stub>,
    /// Stubs of spaces that are gone, with everything still mapped.
    used: Vec<Z::Stub>,
}

impl<Z: Zygote> Pool<Z> {
    /// A pool with a stub in it, which is to keep `target` of them ready.
    ///
    /// # Errors
    /// That of [`Zygote::twin`].
    pub(crate) fn new(mut zygote: Z, first: Z::Stub, target: usize) -> Result<Pool<Z>> {
        let twin = Some(zygote.twin()?);
        let inner = Inner { zygote: Some(zygote), twin, ready: vec![first], used: Vec::new() };
        Ok(Pool { target, inner: SpinLock::new(Rank::Leaf, inner) })
    }

    /// An empty stub: one that is ready, else a used one, else a new one. `start` makes a zygote from nothing.
    ///
    /// # Errors
    /// EAGAIN if there is none to be had, or what `start` says.
    pub(crate) fn take(&self, start: impl Fn() -> Result<Z>) -> Result<Z::Stub> {
        loop {
            let ready = self.inner.lock().ready.pop();
            match ready {
                Some(mut stub) => {
                    if stub.is_alive() {
                        return Ok(stub);
                    }
                }
                None => {
                    return match self.recycle() {
                        Some(stub) => Ok(stub),
                        None => self.spawn(start),
                    };
                }
            }
        }
    }

    /// To be called when a space is gone. Emptying the stub costs tens of microseconds: not now.
    pub(crate) fn give_back(&self, stub: Z::Stub) {
        self.inner.lock().used.push(stub);
    }

    /// One piece of work for a moment when there is nothing else to do; false if there is none.
    pub(crate) fn work(&self, start: impl Fn() -> Result<Z>) -> bool {
        if let Some(stub) = self.recycle() {
            let mut inner = self.inner.lock();
            if inner.ready.len() < self.target.max(MAX_READY) {
                inner.ready.push(stub);
            } else {
                drop(inner);
                drop(stub);
            }
            return true;
        }
        if self.inner.lock().ready.len() >= self.target {
            return false;
        }
        match self.spawn(start) {
            Ok(mut stub) => {
                stub.prepare();
                self.inner.lock().ready.push(stub);
                true
            }
            Err(_) => false,
        }
    }

    /// A used stub, made ready. None if there is none that can be.
    fn recycle(&self) -> Option<Z::Stub> {
        loop {
            let mut stub = self.inner.lock().used.pop()?;
            if stub.reset() {
                return Some(stub);
            }
        }
    }

    /// A new stub from the zygote; from its twin if it was killed.
    fn spawn(&self, start: impl Fn() -> Result<Z>) -> Result<Z::Stub> {
        for _ in 0..3 {
            let mut zygote = self.zygote(&start)?;
            match zygote.spawn() {
                Err(e) if e == Errno::ESRCH => log::warn!("the zygote was killed"),
                result => {
                    self.look_after_twin(&mut zygote);
                    self.inner.lock().zygote = Some(zygote);
                    return result;
                }
            }
        }
        err(Errno::EAGAIN)
    }

    /// Replaces the twin if somebody has killed it: both must not be lost.
    fn look_after_twin(&self, zygote: &mut Z) {
        let mut twin = self.inner.lock().twin.take();
        if twin.take_if(|t| !t.lives()).is_some() {
            log::warn!("the zygote's twin was killed");
        }
        let twin = twin.or_else(|| zygote.twin().ok());
        self.inner.lock().twin = twin;
    }

    /// Takes the zygote out of the pool; if it is lost, its twin, which gets a twin in turn.
    fn zygote(&self, start: impl Fn() -> Result<Z>) -> Result<Z> {
        let twin = {
            let mut inner = self.inner.lock();
            if let Some(zygote) = inner.zygote.take() {
                return Ok(zygote);
            }
            inner.twin.take()
        };
        let mut zygote = match twin {
            Some(z) => z,
            None if FORK_FORBIDDEN.load(Ordering::SeqCst) => {
                log::error!("the zygote and its twin were both killed: no more processes");
                return err(Errno::EAGAIN);
            }
            None => start().inspect_err(|e| log::error!("a new zygote: {e}"))?,
        };
        let twin = zygote.twin().ok();
        self.inner.lock().twin = twin;
        Ok(zygote)
    }
}
