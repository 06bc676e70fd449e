//! Signal numbers and sets. `man 7 signal`.

/// SIGHUP and so on, x86-64 numbers.
#[allow(missing_docs)]
pub mod nr {
    pub const HUP: u32 = 1;
    pub const INT: u32 = 2;
    pub const QUIT: u32 = 3;
    pub const ILL: u32 = 4;
    pub const TRAP: u32 = 5;
    pub const ABRT: u32 = 6;
    pub const BUS: u32 = 7;
    pub const FPE: u32 = 8;
    pub const KILL: u32 = 9;
    pub const USR1: u32 = 10;
    pub const SEGV: u32 = 11;
    pub const USR2: u32 = 12;
    pub const PIPE: u32 = 13;
    pub const ALRM: u32 = 14;
    pub const TERM: u32 = 15;
    pub const STKFLT: u32 = 16;
    pub const CHLD: u32 = 17;
    pub const CONT: u32 = 18;
    pub const STOP: u32 = 19;
    pub const TSTP: u32 = 20;
    pub const TTIN: u32 = 21;
    pub const TTOU: u32 = 22;
    pub const URG: u32 = 23;
    pub const XCPU: u32 = 24;
    pub const XFSZ: u32 = 25;
    pub const VTALRM: u32 = 26;
    pub const PROF: u32 = 27;
    pub const WINCH: u32 = 28;
    pub const IO: u32 = 29;
    pub const PWR: u32 = 30;
    pub const SYS: u32 = 31;
    pub const RTMIN: u32 = 32;
    pub const MAX: u32 = 64;
}

/// The name without SIG, or RT with its offset.
pub fn name(signo: u32) -> String {
    const NAMES: [&str; 32] = [
        "0", "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV",
        "USR2", "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU",
        "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
    ];
    match NAMES.get(signo as usize) {
        Some(n) => format!("SIG{n}"),
        None => format!("SIGRT_{}", signo - nr::RTMIN),
    }
}

/// A set of signals: bit N-1 stands for signal N, as in the kernel's `sigset_t`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SigSet(pub u64);

impl SigSet {
    /// No signal.
    pub const EMPTY: SigSet = SigSet(0);
    /// SIGKILL and SIGSTOP: cannot be caught, blocked or ignored.
    pub const UNBLOCKABLE: SigSet = SigSet(1 << (nr::KILL - 1) | 1 << (nr::STOP - 1));
    /// Signals that instructions raise: these are taken before others.
    pub const SYNCHRONOUS: SigSet = SigSet(
        1 << (nr::SEGV - 1)
            | 1 << (nr::BUS - 1)
            | 1 << (nr::ILL - 1)
            | 1 << (nr::TRAP - 1)
            | 1 << (nr::FPE - 1)
            | 1 << (nr::SYS - 1),
    );
    /// Job control stops.
    pub const STOPS: SigSet = SigSet(
        1 << (nr::STOP - 1) | 1 << (nr::TSTP - 1) | 1 << (nr::TTIN - 1) | 1 << (nr::TTOU - 1),
    );

    /// The set of one.
    pub const fn one(signo: u32) -> SigSet {
        SigSet(1 << (signo - 1))
    }
    /// Whether `signo` is in it.
    pub const fn has(self, signo: u32) -> bool {
        self.0 & (1 << (signo - 1)) != 0
    }
    /// With `signo`.
    pub fn add(&mut self, signo: u32) {
        self.0 |= 1 << (signo - 1);
    }
    /// Without `signo`.
    pub fn remove(&mut self, signo: u32) {
        self.0 &= !(1 << (signo - 1));
    }
    /// Those that are in `self` and not in `other`.
    pub const fn minus(self, other: SigSet) -> SigSet {
        SigSet(self.0 & !other.0)
    }
    /// Union.
    pub const fn or(self, other: SigSet) -> SigSet {
        SigSet(self.0 | other.0)
    }
    /// Intersection.
    pub const fn and(self, other: SigSet) -> SigSet {
        SigSet(self.0 & other.0)
    }
    /// Whether it is empty.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
    /// The signal to take first: synchronous ones, then by number.
    pub fn first(self) -> Option<u32> {
        let sync = self.and(SigSet::SYNCHRONOUS);
        let s = if sync.is_empty() { self } else { sync };
        if s.is_empty() { None } else { Some(s.0.trailing_zeros() + 1) }
    }
}

/// What happens to a signal that nobody handles.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DefaultAction {
    /// Ends the process.
    Terminate,
    /// Ends it, with a core dump where those are made.
    Core,
    /// Nothing.
    Ignore,
    /// Stops the process.
    Stop,
    /// Continues it (done when it is sent).
    Continue,
}

/// The default action, signal(7).
pub fn default_action(signo: u32) -> DefaultAction {
    match signo {
        nr::CHLD | nr::URG | nr::WINCH => DefaultAction::Ignore,
        nr::CONT => DefaultAction::Continue,
        nr::STOP | nr::TSTP | nr::TTIN | nr::TTOU => DefaultAction::Stop,
        nr::QUIT
        | nr::ILL
        | nr::TRAP
        | nr::ABRT
        | nr::BUS
        | nr::FPE
        | nr::SEGV
        | nr::XCPU
        | nr::XFSZ
        | nr::SYS => DefaultAction::Core,
        _ => DefaultAction::Terminate,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bit_n_minus_one_is_signal_n() {
        assert_eq!(SigSet::one(1).0, 1);
        assert_eq!(SigSet::one(64).0, 1 << 63);
        let mut s = SigSet::EMPTY;
        s.add(nr::INT);
        s.add(nr::MAX);
        assert!(s.has(nr::INT) && s.has(64) && !s.has(63));
        s.remove(nr::INT);
        assert_eq!(s, SigSet::one(64));
        assert!(s.minus(SigSet::one(64)).is_empty());
        assert_eq!(SigSet(6).and(SigSet(3)), SigSet(2));
        assert_eq!(SigSet(6).or(SigSet(3)), SigSet(7));
    }

    #[test]
    fn faults_go_first_then_the_lowest_number() {
        assert_eq!(SigSet::EMPTY.first(), None);
        assert_eq!(SigSet::one(nr::HUP).or(SigSet::one(nr::TERM)).first(), Some(nr::HUP));
        assert_eq!(SigSet::one(nr::HUP).or(SigSet::one(nr::SEGV)).first(), Some(nr::SEGV));
        assert_eq!(SigSet::one(64).first(), Some(64));
    }

    #[test]
    fn numbers_are_those_of_linux() {
        use linux_raw_sys::general as k;
        for (ours, linux) in [
            (nr::HUP, k::SIGHUP),
            (nr::BUS, k::SIGBUS),
            (nr::KILL, k::SIGKILL),
            (nr::CHLD, k::SIGCHLD),
            (nr::CONT, k::SIGCONT),
            (nr::STOP, k::SIGSTOP),
            (nr::SYS, k::SIGSYS),
            (nr::RTMIN, k::SIGRTMIN),
        ] {
            assert_eq!(ours, linux);
        }
        assert_eq!(name(nr::SEGV), "SIGSEGV");
        assert_eq!(name(nr::SYS), "SIGSYS");
        assert_eq!(name(34), "SIGRT_2");
    }

    #[test]
    fn default_actions() {
        let with = |a| (1..=64).filter(|n| default_action(*n) == a).collect::<Vec<u32>>();
        assert_eq!(with(DefaultAction::Ignore), [nr::CHLD, nr::URG, nr::WINCH]);
        assert_eq!(with(DefaultAction::Continue), [nr::CONT]);
        assert_eq!(with(DefaultAction::Stop), [nr::STOP, nr::TSTP, nr::TTIN, nr::TTOU]);
        assert_eq!(with(DefaultAction::Core), [3, 4, 5, 6, 7, 8, 11, 24, 25, 31]);
        assert_eq!(default_action(nr::RTMIN), DefaultAction::Terminate);
    }
}
