//! The zygote: the one process that is made by fork and exec. All stubs are its clones, and
//! children of the kernel.

use std::mem::offset_of;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use base::{Errno, Error, Result};

use super::StartError;
use super::stub::Stub;
use super::task::{Goal, Halt, Host, ServerTask, dead, peek, run_native, wait_stop};
use crate::hosterr::host_error;
use crate::physmem::PhysMem;
use crate::pool;
use crate::regs::Regs;
use crate::stub::image::{Label, address, offset};
use crate::stub::spawn::fork_stub;
use crate::stub::{LOW, PAGE, SERVER_FLAGS, TEXT};
use crate::sys::{self, HostPid, last_error};

/// Room for any extended state.
const XSTATE_ROOM: usize = 64 << 10;
/// AT_SYSINFO_EHDR of the auxiliary vector.
const AT_SYSINFO_EHDR: u64 = 33;

/// The zygote, at rest.
#[derive(Debug)]
pub(super) struct Zygote {
    pid: HostPid,
    host: Arc<Host>,
    /// It is dead, and its id may be somebody else's.
    reaped: bool,
    /// Where the host had put its vDSO. It is unmapped, but a 32-bit sysenter still "returns" there.
    pub(super) vdso: u64,
    /// The extended state of a task that has not touched it.
    pub(super) xstate: Box<[u8]>,
}

impl Drop for Zygote {
    fn drop(&mut self) {
        if !self.reaped {
            sys::kill_and_reap(self.pid);
        }
        self.host.gone(self.pid);
        self.host.kill_strays();
    }
}

impl Zygote {
    /// Makes the first one, at boot: forking the kernel is dear, and forbidden later.
    pub(super) fn start(host: &Arc<Host>, phys: &PhysMem) -> Result<Zygote, StartError> {
        let fail = StartError::at;
        let (wait_end, go_end) = pipe().map_err(fail("pipe"))?;
        let fds = [phys.fd().as_raw_fd(), host.control.stub_fd(), host.image.as_raw_fd()];
        let pid = fork_stub(Some(wait_end.as_raw_fd()), &fds, 2).map_err(fail("fork"))?;
        host.born(pid);
        let mut z =
            Zygote { pid, host: host.clone(), reaped: false, vdso: 0, xstate: Box::default() };
        sys::seize(pid).map_err(fail("PTRACE_SEIZE"))?;
        // SAFETY: writes one byte from a static string.
        let n = unsafe { libc::write(go_end.as_raw_fd(), c"x".as_ptr().cast(), 1) };
        if n != 1 {
            return Err(StartError::at("write to the stub")(last_error()));
        }
        drop(wait_end);
        z.set_up().map_err(fail("set-up of the first stub"))?;
        Ok(z)
    }

    fn set_up(&mut self) -> Result<()> {
        loop {
            let stopped = wait_stop(self.pid);
            if self.note(stopped)?.event() == sys::EVENT_EXEC {
                break;
            }
            sys::cont(self.pid)?;
        }
        // Here execve has not returned yet and would overwrite rax: go on to the entry's int3.
        let code = offset(Label::Call);
        self.run_to(LOW + code)?;
        self.vdso = vdso_of(self.pid);
        let mut x = vec![0; XSTATE_ROOM];
        let len = sys::get_xstate(self.pid, &mut x)?;
        x.truncate(len);
        self.xstate = x.into();

        let fixed = (libc::MAP_SHARED | libc::MAP_FIXED) as u64;
        let read_exec = (libc::PROT_READ | libc::PROT_EXEC) as u64;
        self.call(LOW, libc::SYS_mmap, [TEXT, 4096, read_exec, fixed, 2, 0])?;
        let read = libc::PROT_READ as u64;
        self.call(TEXT, libc::SYS_mmap, [PAGE, 4096, read, fixed, 1, 0])?;
        self.call(TEXT, libc::SYS_munmap, [0, TEXT, 0, 0, 0, 0])?;
        self.call(TEXT, libc::SYS_close, [2, 0, 0, 0, 0, 0])?;
        let no_new_privs = libc::PR_SET_NO_NEW_PRIVS as u64;
        self.call(TEXT, libc::SYS_prctl, [no_new_privs, 1, 0, 0, 0, 0])?;

        self.rest()
    }

    /// Goes to where `spawn` continues.
    fn rest(&mut self) -> Result<()> {
        let at = address(Label::Zygote);
        if sys::set_regs(self.pid, &Regs::initial(at, 0)).is_err() {
            self.reaped = true;
            return Err(dead(self.pid).into());
        }
        self.run_to(at + 1)
    }

    /// Remembers whether the zygote is gone.
    fn note<T>(&mut self, result: Result<T, Halt>) -> Result<T> {
        self.reaped |= matches!(result, Err(Halt::Dead));
        Ok(result?)
    }

    /// Lets it run until the int3 in front of `at`.
    fn run_to(&mut self, at: u64) -> Result<()> {
        let result = run_native(self.pid, Goal::Trap(at));
        self.note(result)
    }

    fn rax(&mut self) -> Result<u64> {
        let rax = peek(self.pid, offset_of!(Regs, rax));
        host_result(self.note(rax)?)
    }

    /// One host call in the zygote, whose text is mapped at `base`.
    fn call(&mut self, base: u64, nr: i64, args: [u64; 6]) -> Result<u64> {
        let at = base + offset(Label::Call);
        let mut r = Regs::initial(at, 0);
        r.rax = nr.cast_unsigned();
        [r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9] = args;
        sys::set_regs(self.pid, &r)?;
        self.run_to(at + 3)?;
        self.rax()
    }
}

impl pool::Zygote for Zygote {
    type Stub = Stub;

    fn lives(&mut self) -> bool {
        self.reaped |= match sys::wait_nohang(self.pid) {
            Ok(status) => status.is_some_and(|s| !s.is_stopped()),
            Err(_) => true,
        };
        !self.reaped
    }

    fn spawn(&mut self) -> Result<Stub> {
        let page = self.host.control.take()?;
        sys::poke_reg(self.pid, offset_of!(Regs, r12), page.offset())?;
        self.run_to(address(Label::Zygote) + 1)?;
        let pid = self.rax()? as HostPid;
        self.host.born(pid);
        let server = || -> Result<(), Halt> {
            wait_stop(pid)?;
            run_native(pid, Goal::Park).map_err(|h| match h {
                Halt::Failed(e, _) => {
                    log::error!("set-up of stub {pid} failed: {e}");
                    dead(pid)
                }
                Halt::Dead => h,
            })
        };
        if server().is_err() {
            self.host.gone(pid);
            return Err(Error::new(Errno::EAGAIN));
        }
        Ok(Stub::new(self.host.clone(), ServerTask(pid), page))
    }

    fn twin(&mut self) -> Result<Zygote> {
        let pid = self.call(TEXT, libc::SYS_clone, [SERVER_FLAGS.into(), 0, 0, 0, 0, 0]);
        self.rest()?;
        let pid = pid? as HostPid;
        self.host.born(pid);
        let mut twin = Zygote {
            pid,
            host: self.host.clone(),
            reaped: false,
            vdso: self.vdso,
            xstate: self.xstate.clone(),
        };
        // It is new and stands behind the clone, in front of the int3.
        let stopped = wait_stop(pid);
        twin.note(stopped)?;
        twin.run_to(TEXT + offset(Label::Call) + 3)?;
        twin.call(TEXT, libc::SYS_setsid, [0; 6])?;
        let die = libc::PR_SET_PDEATHSIG as u64;
        twin.call(TEXT, libc::SYS_prctl, [die, libc::SIGKILL as u64, 0, 0, 0, 0])?;
        twin.rest()?;
        Ok(twin)
    }
}

fn host_result(rax: u64) -> Result<u64> {
    match rax.cast_signed() {
        e @ -4095..0 => Err(Errno::from_code(-(e as i32)).into()),
        _ => Ok(rax),
    }
}

/// AT_SYSINFO_EHDR of a process; 0 if it cannot be had.
fn vdso_of(pid: HostPid) -> u64 {
    let auxv = std::fs::read(format!("/proc/{pid}/auxv")).unwrap_or_default();
    let words: Vec<u64> = auxv.as_chunks::<8>().0.iter().map(|w| u64::from_ne_bytes(*w)).collect();
    words.chunks(2).find(|e| e[0] == AT_SYSINFO_EHDR).map_or(0, |e| e[1])
}

fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).map_err(|e| host_error(e))
}
