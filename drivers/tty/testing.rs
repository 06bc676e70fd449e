//! A kernel for the tests of terminals: processes that are only numbers, and a list of the signals
//! that they were sent. Each host thread says who it is with [`Process::run`].

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use base::uapi::general as u;
use base::{Cred, Errno, Result, UserAddr, UserMemory, err};

use super::core::Tty;
use super::{TtyContext, TtySignals};
use crate::chardev::{CharFile, Opener};

thread_local! {
    static CALLER: RefCell<Option<Arc<Process>>> = const { RefCell::new(None) };
}

/// A process of a session. Its group is its own number unless said otherwise.
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) pgrp: u32,
    pub(crate) session: u32,
    pub(crate) ignores: Mutex<Vec<u32>>,
    pub(crate) orphaned: bool,
    pub(crate) cred: Cred,
    ctty: Mutex<Option<Arc<Tty>>>,
    groups: BTreeMap<u32, u32>,
}

impl Process {
    pub(crate) fn new(pid: u32, pgrp: u32, session: u32) -> Process {
        // Groups 100..200 belong to session 100, and so on.
        let groups = (1..1000).map(|g| (g, g / 100 * 100)).collect();
        Process {
            pid,
            pgrp,
            session,
            ignores: Mutex::new(Vec::new()),
            orphaned: false,
            cred: Cred::root(),
            ctty: Mutex::new(None),
            groups,
        }
    }
    pub(crate) fn leader(pid: u32) -> Arc<Process> {
        Arc::new(Process::new(pid, pid, pid))
    }
    /// Another group of a leader's session, with its terminal.
    pub(crate) fn job(of: &Process, pid: u32) -> Arc<Process> {
        let p = Process::new(pid, pid, of.session);
        *p.ctty.lock().unwrap() = of.ctty();
        Arc::new(p)
    }
    /// The calling thread is this process from now on.
    pub(crate) fn run(self: &Arc<Process>) {
        CALLER.with(|c| *c.borrow_mut() = Some(self.clone()));
    }
}

impl TtyContext for Process {
    fn pid(&self) -> u32 {
        self.pid
    }
    fn pgrp(&self) -> u32 {
        self.pgrp
    }
    fn session(&self) -> u32 {
        self.session
    }
    fn ignores(&self, signo: u32) -> bool {
        self.ignores.lock().unwrap().contains(&signo)
    }
    fn orphaned(&self) -> bool {
        self.orphaned
    }
    fn ctty(&self) -> Option<Arc<Tty>> {
        self.ctty.lock().unwrap().clone()
    }
    fn set_ctty(&self, tty: Option<Arc<Tty>>) {
        *self.ctty.lock().unwrap() = tty;
    }
    fn session_of_group(&self, pgrp: u32) -> Option<u32> {
        self.groups.get(&pgrp).copied()
    }
}

impl Opener for Process {
    fn cred(&self) -> &Cred {
        &self.cred
    }
    fn tty_context(&self) -> Option<&dyn TtyContext> {
        Some(self)
    }
}

/// Records what terminals tell processes: (group, signal); a hang-up is (session, -SIGHUP).
#[derive(Default)]
pub(crate) struct Signals(Mutex<Vec<(u32, i32)>>);

impl Signals {
    pub(crate) fn take(&self) -> Vec<(u32, i32)> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl TtySignals for Signals {
    fn caller(&self) -> Option<Arc<dyn TtyContext>> {
        CALLER.with(|c| c.borrow().clone()).map(|p| p as Arc<dyn TtyContext>)
    }
    fn signal_group(&self, pgrp: u32, signo: u32) {
        self.0.lock().unwrap().push((pgrp, signo as i32));
    }
    fn hangup_session(&self, session: u32, _foreground: Option<u32>) {
        self.0.lock().unwrap().push((session, -(u::SIGHUP as i32)));
    }
    fn forget_ctty(&self, _session: u32) {}
}

/// Memory of a guest: addresses 0 to 255.
pub(crate) struct Memory(pub(crate) Mutex<[u8; 256]>);

impl Memory {
    pub(crate) fn new() -> Memory {
        Memory(Mutex::new([0; 256]))
    }
    pub(crate) fn set(&self, v: i32) {
        self.0.lock().unwrap()[..4].copy_from_slice(&v.to_ne_bytes());
    }
    pub(crate) fn get(&self) -> i32 {
        let m = self.0.lock().unwrap();
        i32::from_ne_bytes([m[0], m[1], m[2], m[3]])
    }
}

impl UserMemory for Memory {
    fn read(&self, from: UserAddr, buf: &mut [u8]) -> Result<()> {
        let m = self.0.lock().unwrap();
        let at = from.0 as usize;
        match m.get(at..at + buf.len()) {
            Some(b) => buf.copy_from_slice(b),
            None => return err(Errno::EFAULT),
        }
        Ok(())
    }
    fn write(&self, to: UserAddr, data: &[u8]) -> Result<()> {
        let mut m = self.0.lock().unwrap();
        let at = to.0 as usize;
        match m.get_mut(at..at + data.len()) {
            Some(b) => b.copy_from_slice(data),
            None => return err(Errno::EFAULT),
        }
        Ok(())
    }
}

/// ioctl with an integer behind a pointer: sets it, calls, gives what is there then.
pub(crate) fn ioctl(f: &dyn CharFile, cmd: u32, value: i32, who: &dyn Opener) -> Result<i32> {
    let m = Memory::new();
    m.set(value);
    f.ioctl(cmd, UserAddr(0), &m, who)?;
    Ok(m.get())
}

pub(crate) fn read(f: &dyn CharFile, max: usize, nonblock: bool) -> Result<Vec<u8>> {
    let mut s = base::iobuf::VecSink::new(max);
    f.read(0, &mut s, nonblock)?;
    Ok(s.data)
}

pub(crate) fn write(f: &dyn CharFile, data: &[u8]) -> Result<usize> {
    f.write(0, &mut base::iobuf::SliceSource(data), false)
}

/// Deadlines of host threads need the clock of the machine.
pub(crate) fn clock() {
    base::wait::set_host_clock(arch::clock::monotonic);
}
