//! System calls: the table, the decoding of arguments, and one file for each family of handlers.
//!
//! A handler gets a [`Ctx`] and typed arguments, and returns a number or an error. It is short: decode
//! what the pointers point to, call a subsystem, encode the answer. Pointers are validated late, where
//! bytes are moved.

pub mod args;
pub mod file;
pub mod io;
pub mod mem;
pub mod misc;
pub mod path;
pub mod poll;
pub mod proc;
pub mod sched;
pub mod sig;
pub mod socket;
pub mod table;
pub mod time;

use std::sync::Arc;

use arch::Thread;
use base::limits::PATH_MAX;
use base::{Cred, Errno, Error, Result, UserAddr, UserMemory, err};
use fs::fdtable::FdTable;
use fs::{Caller, File};
use mm::AddressSpace;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::Kernel;
use crate::task::Task;
pub use args::{Fd, Str};

/// What a handler returns.
pub type SysResult = Result<i64>;

/// The running task's view of itself while it is in the kernel. Lives on its kernel stack.
#[derive(Debug)]
pub struct Ctx<'k> {
    /// The kernel.
    pub kernel: &'k Arc<Kernel>,
    /// The task.
    pub task: Arc<Task>,
    /// Its address space: a second reference, so that hot paths need no lock.
    pub mm: Arc<AddressSpace>,
    /// Its registers and floating-point state.
    pub thread: Box<dyn Thread>,
    /// A call that ended with a restart code: that code and the call's number.
    pub restart: Option<(Errno, u64)>,
    /// What restart_syscall(2) goes on with.
    pub restart_block: Option<time::RestartBlock>,
    /// trapno, error code and cr2 of the last fault: signal frames show them.
    pub last_fault: (u64, u64, u64),
    /// The call in progress.
    pub nr: u64,
    /// The guest's stack pointer at that call.
    pub sp: u64,
    /// Calls that came by a trap and not from a patched site.
    pub trapped: u32,
    /// The handler has set all registers itself (sigreturn, execve): no result is stored.
    pub registers_set: bool,
    /// Called exit: the thread ends instead of returning.
    pub exiting: bool,
}

impl Ctx<'_> {
    /// Reads a plain structure from the guest.
    ///
    /// # Errors
    /// EFAULT.
    pub fn read_obj<T: FromBytes + IntoBytes>(&self, at: UserAddr) -> Result<T> {
        let mut v = T::new_zeroed();
        self.mm.read(at, v.as_mut_bytes())?;
        Ok(v)
    }

    /// Writes a plain structure to the guest.
    ///
    /// # Errors
    /// EFAULT.
    pub fn write_obj<T: IntoBytes + Immutable>(&self, at: UserAddr, v: &T) -> Result<()> {
        self.mm.write(at, v.as_bytes())
    }

    /// Writes a structure unless the pointer is null.
    ///
    /// # Errors
    /// EFAULT.
    pub fn write_opt<T: IntoBytes + Immutable>(&self, at: UserAddr, v: &T) -> Result<()> {
        if at.is_null() { Ok(()) } else { self.write_obj(at, v) }
    }

    /// A path argument.
    ///
    /// # Errors
    /// EFAULT; ENAMETOOLONG if it has no NUL within PATH_MAX bytes.
    pub fn path(&self, s: Str) -> Result<Vec<u8>> {
        self.mm.read_cstr(s.0, PATH_MAX)
    }

    /// The descriptor table.
    pub fn files(&self) -> Arc<FdTable> {
        self.task.files().expect("only an exiting task has no table")
    }

    /// The open file behind a descriptor. O_PATH descriptors count as not open here.
    ///
    /// # Errors
    /// EBADF.
    pub fn file(&self, fd: Fd) -> Result<Arc<File>> {
        let f = self.files().get(fd.0)?;
        if f.flags().contains(fs::OpenFlags::PATH) {
            return err(Errno::EBADF);
        }
        Ok(f)
    }

    /// Credentials.
    pub fn cred(&self) -> Arc<Cred> {
        self.task.cred()
    }

    /// Fails with EPERM unless the caller has the capability.
    ///
    /// # Errors
    /// EPERM.
    #[track_caller]
    pub fn require(&self, cap: base::Cap) -> Result<()> {
        if self.cred().capable(cap) { Ok(()) } else { Err(Error::new(Errno::EPERM)) }
    }
}

/// The caller as files and terminals see it.
#[derive(Debug)]
pub struct TaskCaller<'a> {
    pub(crate) cred: Arc<Cred>,
    pub(crate) mm: &'a AddressSpace,
    pub(crate) tty: crate::tty::TtyView,
}

impl<'a> TaskCaller<'a> {
    /// The caller of this context.
    pub fn new(cx: &'a Ctx<'_>) -> TaskCaller<'a> {
        TaskCaller {
            cred: cx.cred(),
            mm: &cx.mm,
            tty: crate::tty::TtyView::new(cx.kernel, &cx.task),
        }
    }
}

impl drivers::Opener for TaskCaller<'_> {
    fn cred(&self) -> &Cred {
        &self.cred
    }
    fn tty_context(&self) -> Option<&dyn drivers::tty::TtyContext> {
        Some(&self.tty)
    }
}

impl Caller for TaskCaller<'_> {
    fn memory(&self) -> &dyn UserMemory {
        self.mm
    }
}
