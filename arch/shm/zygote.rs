//! The zygote: the one process that is made by fork and exec. All spaces are its clones, and
//! children of the kernel.

use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use base::{Errno, Error, Result};

use super::control::Slot;
use super::host::{self, Host, NO_WAKE, futex_wake};
use super::layout::{k, report, s};
use super::stub::Stub;
use super::text;
use crate::physmem::PhysMem;
use crate::pool::{self, Zygote as _};
use crate::stub::spawn::fork_stub;
use crate::sys::HostPid;

/// The zygote, waiting.
#[derive(Debug)]
pub(super) struct Zygote {
    pid: HostPid,
    host: Arc<Host>,
    slot: Slot,
    /// Number of the last request.
    go: u32,
    /// Where the host had put its vDSO. It is unmapped, but a 32-bit sysenter still "returns" there.
    pub(super) vdso: u64,
}

impl Drop for Zygote {
    fn drop(&mut self) {
        host::end(self.pid);
        self.host.gone(self.pid);
        self.host.forget();
    }
}

impl Zygote {
    /// Makes the first one, at boot: forking the kernel is dear, and forbidden later.
    pub(super) fn start(host: &Arc<Host>, phys: &PhysMem) -> Result<Zygote> {
        let image = text::sealed_memfd(host.control)?;
        let slot = host.area.take_first()?; // the one that the image maps
        let fds = [phys.fd().as_raw_fd(), host.area.fd(), host.report_fd(), image.as_raw_fd()];
        let pid = fork_stub(None, &fds, 3)?;
        host.born(pid);
        let mut z = Zygote { pid, host: host.clone(), slot, go: 0, vdso: 0 };
        host.wait(|sum| sum >= report::DONE, NO_WAKE, || host::lives(pid))?;
        z.vdso = z.result();
        Ok(z)
    }

    /// Only the zygote itself can write its S region.
    fn result(&self) -> u64 {
        self.slot.region(0).s64(s::RESULT).load(Ordering::Acquire)
    }

    /// Asks for a process in `slot`, which is cleared: a twin, or a space. Its id, when it has
    /// reported that it waits.
    fn clone_into(&mut self, slot: &Slot, twin: bool) -> Result<HostPid> {
        if !self.lives() {
            return Err(Errno::ESRCH.into());
        }
        let kernel = std::process::id();
        slot.region(0).k32(k::KERNEL).store(kernel, Ordering::Relaxed);
        let mine = self.slot.region(0);
        mine.k64(k::COUNT).store(slot.offset(), Ordering::Relaxed);
        mine.k32(k::TWIN).store(u32::from(twin), Ordering::Relaxed);
        mine.s64(s::RESULT).store(0, Ordering::Release);
        self.go = self.go.wrapping_add(1);
        mine.k32(k::GO).swap(self.go, Ordering::SeqCst);
        futex_wake(mine.k32(k::GO));
        let ready = if twin { report::DONE } else { report::READY };
        let result = || mine.s64(s::RESULT).load(Ordering::Acquire).cast_signed();
        let enough = |sum| sum >= report::DONE + ready || (sum == report::DONE && result() < 0);
        // The new process may be the one that has died; the zygote has told its id before it waits.
        let alive = || host::lives(self.pid) && (result() <= 0 || host::lives(result() as HostPid));
        self.host.wait(enough, NO_WAKE, alive)?;
        match result() {
            e @ -4095..0 => Err(Errno::from_code(-(e as i32)).into()),
            pid => {
                let pid = pid as HostPid;
                self.host.born(pid);
                Ok(pid)
            }
        }
    }

    /// It was killed, perhaps behind a clone that it has told nobody of: a process that waits in `slot`, for
    /// what the next one there is told. That one must not live; if it cannot be found, the slot is given up.
    fn forsake(&self, slot: Slot) {
        let known = self.host.processes();
        match host::stubs_in_group(self.pid) {
            Some(children) => {
                children.into_iter().filter(|c| !known.contains(c)).for_each(host::end);
            }
            None => std::mem::forget(slot),
        }
    }
}

impl pool::Zygote for Zygote {
    type Stub = Stub;

    fn lives(&mut self) -> bool {
        host::lives(self.pid)
    }

    fn twin(&mut self) -> Result<Zygote> {
        let slot = self.host.area.take()?;
        match self.clone_into(&slot, true) {
            Ok(pid) => Ok(Zygote { pid, host: self.host.clone(), slot, go: 0, vdso: self.vdso }),
            Err(e) => {
                if !self.lives() {
                    self.forsake(slot);
                }
                Err(e)
            }
        }
    }

    fn spawn(&mut self) -> Result<Stub> {
        let slot = self.host.area.take()?;
        match self.clone_into(&slot, false) {
            Ok(pid) => Ok(Stub::new(self.host.clone(), pid, slot)),
            Err(e) if e == Errno::ESRCH && host::lives(self.pid) => {
                // The new process died as it was made.
                host::end(self.result() as HostPid);
                self.host.forget();
                Err(Error::new(Errno::EAGAIN))
            }
            Err(e) => {
                if !self.lives() {
                    self.forsake(slot);
                }
                Err(e)
            }
        }
    }
}
