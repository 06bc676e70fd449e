//! Pending signals and their information, and what a process does about each signal.

use std::collections::VecDeque;

use super::set::{SigSet, nr};

/// The kernel's siginfo: what goes into the 128 bytes of `siginfo_t`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SigInfo {
    /// Signal number.
    pub signo: u32,
    /// si_errno.
    pub errno: i32,
    /// si_code.
    pub code: i32,
    /// The rest, by kind.
    pub fields: Fields,
}

/// The union part of `siginfo_t`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Fields {
    /// kill, tgkill and the kernel.
    Kill { pid: u32, uid: u32 },
    /// sigqueue and message queues.
    Queue { pid: u32, uid: u32, value: u64 },
    /// POSIX timers.
    Timer { id: i32, overrun: i32, value: u64 },
    /// SIGCHLD.
    Child { pid: u32, uid: u32, status: i32, utime: u64, stime: u64 },
    /// SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP.
    Fault { addr: u64 },
    /// SIGIO.
    Poll { band: i64, fd: i32 },
    /// SIGSYS.
    Sys { addr: u64, nr: i32, arch: u32 },
    /// The caller's own bytes (rt_sigqueueinfo), from offset 16.
    Raw([u64; 4]),
}

/// si_code values.
#[allow(missing_docs)]
pub mod code {
    pub const USER: i32 = 0;
    pub const KERNEL: i32 = 0x80;
    pub const QUEUE: i32 = -1;
    pub const TIMER: i32 = -2;
    pub const TKILL: i32 = -6;
    pub const CLD_EXITED: i32 = 1;
    pub const CLD_KILLED: i32 = 2;
    pub const CLD_DUMPED: i32 = 3;
    pub const CLD_STOPPED: i32 = 5;
    pub const CLD_CONTINUED: i32 = 6;
    pub const SEGV_MAPERR: i32 = 1;
    pub const SEGV_ACCERR: i32 = 2;
    pub const BUS_ADRERR: i32 = 2;
}

impl SigInfo {
    /// From the kernel itself.
    pub fn kernel(signo: u32) -> SigInfo {
        SigInfo { signo, errno: 0, code: code::KERNEL, fields: Fields::Kill { pid: 0, uid: 0 } }
    }
    /// By kill(2) or tgkill(2).
    pub fn user(signo: u32, code: i32, pid: u32, uid: u32) -> SigInfo {
        SigInfo { signo, errno: 0, code, fields: Fields::Kill { pid, uid } }
    }
    /// By an instruction.
    pub fn fault(signo: u32, code: i32, addr: u64) -> SigInfo {
        SigInfo { signo, errno: 0, code, fields: Fields::Fault { addr } }
    }

    /// As `siginfo_t`.
    pub fn to_bytes(&self) -> [u8; 128] {
        let mut b = [0u8; 128];
        let mut put = |at: usize, v: &[u8]| b[at..at + v.len()].copy_from_slice(v);
        put(0, &(self.signo as i32).to_le_bytes());
        put(4, &self.errno.to_le_bytes());
        put(8, &self.code.to_le_bytes());
        match self.fields {
            Fields::Kill { pid, uid } => {
                put(16, &pid.to_le_bytes());
                put(20, &uid.to_le_bytes());
            }
            Fields::Queue { pid, uid, value } => {
                put(16, &pid.to_le_bytes());
                put(20, &uid.to_le_bytes());
                put(24, &value.to_le_bytes());
            }
            Fields::Timer { id, overrun, value } => {
                put(16, &id.to_le_bytes());
                put(20, &overrun.to_le_bytes());
                put(24, &value.to_le_bytes());
            }
            Fields::Child { pid, uid, status, utime, stime } => {
                put(16, &pid.to_le_bytes());
                put(20, &uid.to_le_bytes());
                put(24, &status.to_le_bytes());
                put(32, &utime.to_le_bytes());
                put(40, &stime.to_le_bytes());
            }
            Fields::Fault { addr } => put(16, &addr.to_le_bytes()),
            Fields::Poll { band, fd } => {
                put(16, &band.to_le_bytes());
                put(24, &fd.to_le_bytes());
            }
            Fields::Sys { addr, nr, arch } => {
                put(16, &addr.to_le_bytes());
                put(24, &nr.to_le_bytes());
                put(28, &arch.to_le_bytes());
            }
            Fields::Raw(words) => {
                for (i, w) in words.iter().enumerate() {
                    put(16 + i * 8, &w.to_le_bytes());
                }
            }
        }
        b
    }

    /// As `struct signalfd_siginfo`.
    pub fn to_signalfd(&self) -> [u8; 128] {
        let mut b = [0u8; 128];
        let mut put = |at: usize, v: &[u8]| b[at..at + v.len()].copy_from_slice(v);
        put(0, &self.signo.to_le_bytes());
        put(4, &self.errno.to_le_bytes());
        put(8, &self.code.to_le_bytes());
        let value = |put: &mut dyn FnMut(usize, &[u8]), v: u64| {
            put(44, &(v as u32).to_le_bytes());
            put(48, &v.to_le_bytes());
        };
        match self.fields {
            Fields::Kill { pid, uid } => {
                put(12, &pid.to_le_bytes());
                put(16, &uid.to_le_bytes());
            }
            Fields::Queue { pid, uid, value: v } => {
                put(12, &pid.to_le_bytes());
                put(16, &uid.to_le_bytes());
                value(&mut put, v);
            }
            Fields::Raw([who, v, ..]) => {
                put(12, &(who as u32).to_le_bytes());
                put(16, &((who >> 32) as u32).to_le_bytes());
                value(&mut put, v);
            }
            Fields::Timer { id, overrun, value: v } => {
                put(24, &id.to_le_bytes());
                put(32, &overrun.to_le_bytes());
                value(&mut put, v);
            }
            Fields::Child { pid, uid, status, utime, stime } => {
                put(12, &pid.to_le_bytes());
                put(16, &uid.to_le_bytes());
                put(40, &status.to_le_bytes());
                put(56, &utime.to_le_bytes());
                put(64, &stime.to_le_bytes());
            }
            Fields::Fault { addr } => put(72, &addr.to_le_bytes()),
            Fields::Poll { band, fd } => {
                put(20, &fd.to_le_bytes());
                put(28, &(band as u32).to_le_bytes());
            }
            Fields::Sys { addr, nr, arch } => {
                put(84, &nr.to_le_bytes());
                put(88, &addr.to_le_bytes());
                put(96, &arch.to_le_bytes());
            }
        }
        b
    }

    /// From a caller's `siginfo_t` (rt_sigqueueinfo): the union is kept as it is.
    pub fn from_bytes(signo: u32, b: &[u8; 128]) -> SigInfo {
        let word = |at: usize| {
            let mut w = [0u8; 8];
            w.copy_from_slice(&b[at..at + 8]);
            u64::from_le_bytes(w)
        };
        SigInfo {
            signo,
            errno: (word(0) >> 32) as i32,
            code: word(8) as i32,
            fields: Fields::Raw([word(16), word(24), word(32), word(40)]),
        }
    }
}

/// Signals that wait to be taken: for one thread or for a whole process.
#[derive(Debug, Default)]
pub struct Pending {
    set: SigSet,
    queue: VecDeque<SigInfo>,
}

impl Pending {
    /// Which signals wait.
    pub fn set(&self) -> SigSet {
        self.set
    }

    /// Queues a signal. Ordinary ones are kept once; real-time ones each, while `room` allows;
    /// beyond it only the number is kept, without information. Returns false if a real-time signal had
    /// no room (sigqueue gives EAGAIN then).
    pub fn push(&mut self, info: SigInfo, room: bool) -> bool {
        let signo = info.signo;
        if signo < nr::RTMIN {
            if self.set.has(signo) {
                return true;
            }
            self.set.add(signo);
            self.queue.push_back(info);
            return true;
        }
        if !room {
            return false;
        }
        self.set.add(signo);
        self.queue.push_back(info);
        true
    }

    /// Takes the first signal that is in `wanted`.
    pub fn take(&mut self, wanted: SigSet) -> Option<SigInfo> {
        let signo = self.set.and(wanted).first()?;
        let i = self.queue.iter().position(|q| q.signo == signo);
        let info = match i {
            Some(i) => self.queue.remove(i)?,
            None => SigInfo::user(signo, code::USER, 0, 0),
        };
        if !self.queue.iter().any(|q| q.signo == signo) {
            self.set.remove(signo);
        }
        Some(info)
    }

    /// Forgets signals.
    pub fn discard(&mut self, which: SigSet) {
        self.set = self.set.minus(which);
        self.queue.retain(|q| !which.has(q.signo));
    }

    /// How many entries are queued.
    pub fn len(&self) -> usize {
        self.queue.len()
    }
    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty()
    }
}

/// sigaction(2), kernel layout of x86-64.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Action {
    /// SIG_DFL (0), SIG_IGN (1) or an address.
    pub handler: u64,
    /// SA_*.
    pub flags: u64,
    /// Where a handler returns to.
    pub restorer: u64,
    /// Blocked while it runs.
    pub mask: SigSet,
}

/// Values of [`Action::flags`] and of the handler.
#[allow(missing_docs)]
pub mod sa {
    pub const DFL: u64 = 0;
    pub const IGN: u64 = 1;
    pub const NOCLDSTOP: u64 = 1;
    pub const NOCLDWAIT: u64 = 2;
    pub const SIGINFO: u64 = 4;
    pub const UNSUPPORTED: u64 = 0x400;
    pub const EXPOSE_TAGBITS: u64 = 0x800;
    pub const RESTORER: u64 = 0x0400_0000;
    pub const ONSTACK: u64 = 0x0800_0000;
    pub const RESTART: u64 = 0x1000_0000;
    pub const NODEFER: u64 = 0x4000_0000;
    pub const RESETHAND: u64 = 0x8000_0000;
}

/// What a process does about each signal.
#[derive(Clone, Debug)]
pub struct Actions([Action; 64]);

impl Default for Actions {
    fn default() -> Self {
        Actions([Action::default(); 64])
    }
}

impl Actions {
    /// The action for `signo` (1..=64).
    pub fn get(&self, signo: u32) -> Action {
        self.0[signo as usize - 1]
    }
    /// Replaces it; gives the old one.
    pub fn set(&mut self, signo: u32, action: Action) -> Action {
        std::mem::replace(&mut self.0[signo as usize - 1], action)
    }
    /// execve(2): handlers become SIG_DFL; ignored signals stay ignored.
    pub fn reset_for_exec(&mut self) {
        for a in &mut self.0 {
            if a.handler != sa::IGN {
                *a = Action::default();
            } else {
                *a = Action { handler: sa::IGN, ..Action::default() };
            }
        }
    }
    /// Whether sending `signo` has no effect: explicitly or by default ignored.
    pub fn ignores(&self, signo: u32) -> bool {
        let h = self.get(signo).handler;
        h == sa::IGN
            || (h == sa::DFL
                && super::set::default_action(signo) == super::set::DefaultAction::Ignore)
    }
    /// CLONE_CLEAR_SIGHAND: handlers become default.
    pub fn clear_handlers(&mut self) {
        self.reset_for_exec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_signals_are_kept_once_and_real_time_ones_in_order() {
        let mut p = Pending::default();
        for v in 0..3 {
            p.push(
                SigInfo {
                    fields: Fields::Queue { pid: 1, uid: 0, value: v },
                    ..SigInfo::kernel(40)
                },
                true,
            );
            p.push(SigInfo::kernel(nr::USR1), true);
        }
        assert_eq!(p.len(), 4);
        assert_eq!(p.take(SigSet(u64::MAX)).map(|i| i.signo), Some(nr::USR1));
        for v in 0..3 {
            let i = p.take(SigSet(u64::MAX)).expect("three were queued");
            assert_eq!(i.fields, Fields::Queue { pid: 1, uid: 0, value: v });
        }
        assert!(p.is_empty() && p.take(SigSet(u64::MAX)).is_none());
    }

    #[test]
    fn faults_come_before_other_signals() {
        let mut p = Pending::default();
        p.push(SigInfo::kernel(nr::HUP), true);
        p.push(SigInfo::kernel(nr::SEGV), true);
        assert_eq!(p.take(SigSet(u64::MAX)).map(|i| i.signo), Some(nr::SEGV));
    }

    #[test]
    fn a_full_queue_refuses_real_time_signals_only() {
        let mut p = Pending::default();
        assert!(p.push(SigInfo::kernel(nr::TERM), false));
        assert!(!p.push(SigInfo::kernel(nr::RTMIN + 2), false));
        assert_eq!(p.set(), SigSet::one(nr::TERM));
        assert!(p.take(SigSet::one(nr::HUP)).is_none(), "not what is wanted");
        p.push(SigInfo::kernel(nr::CONT), true);
        p.discard(SigSet::one(nr::TERM));
        assert_eq!(p.take(SigSet(u64::MAX)).map(|i| i.signo), Some(nr::CONT));
    }

    #[test]
    fn siginfo_has_its_fields_where_the_abi_wants_them() {
        let word = |b: &[u8; 128], at: usize| i32::from_le_bytes(b[at..at + 4].try_into().unwrap());
        let child = Fields::Child { pid: 7, uid: 8, status: 9, utime: 10, stime: 11 };
        let info = SigInfo { signo: nr::CHLD, errno: 0, code: code::CLD_EXITED, fields: child };
        let b = info.to_bytes();
        assert_eq!([0, 8, 16, 20, 24].map(|at| word(&b, at)), [17, 1, 7, 8, 9]);
        let b = info.to_signalfd();
        assert_eq!([0, 8, 12, 16, 40].map(|at| word(&b, at)), [17, 1, 7, 8, 9]);
        let b = SigInfo::fault(nr::SEGV, code::SEGV_MAPERR, 0x1234).to_bytes();
        assert_eq!(word(&b, 16), 0x1234);
        // rt_sigqueueinfo: what a program wrote is what another reads.
        let q = Fields::Queue { pid: 1, uid: 2, value: 3 };
        let b = SigInfo { signo: 40, errno: 5, code: code::QUEUE, fields: q }.to_bytes();
        assert_eq!(SigInfo::from_bytes(40, &b).to_bytes(), b);
    }

    #[test]
    fn execve_keeps_only_what_is_ignored() {
        let mut a = Actions::default();
        let handler = Action { handler: 0x1000, flags: sa::RESTART, ..Action::default() };
        assert_eq!(a.set(nr::INT, handler), Action::default());
        a.set(nr::QUIT, Action { handler: sa::IGN, flags: sa::NODEFER, ..Action::default() });
        assert!(!a.ignores(nr::INT) && a.ignores(nr::QUIT) && a.ignores(nr::CHLD));
        a.reset_for_exec();
        assert_eq!(a.get(nr::INT), Action::default());
        assert_eq!(a.get(nr::QUIT), Action { handler: sa::IGN, ..Action::default() });
    }
}
