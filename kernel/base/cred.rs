//! Credentials: who a task is and what it may do. `man 7 credentials`, `man 7 capabilities`.
//!
//! A [`Cred`] is immutable once shared; a change makes a new one. Every permission check in the
//! kernel goes through [`Cred::capable`] and [`Cred::may_access`].

use alloc::sync::Arc;
use alloc::vec::Vec;

/// Capability numbers, as in linux/capability.h.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum Cap {
    Chown = 0,
    DacOverride = 1,
    DacReadSearch = 2,
    Fowner = 3,
    Fsetid = 4,
    Kill = 5,
    Setgid = 6,
    Setuid = 7,
    Setpcap = 8,
    LinuxImmutable = 9,
    NetBindService = 10,
    NetBroadcast = 11,
    NetAdmin = 12,
    NetRaw = 13,
    IpcLock = 14,
    IpcOwner = 15,
    SysModule = 16,
    SysRawio = 17,
    SysChroot = 18,
    SysPtrace = 19,
    SysPacct = 20,
    SysAdmin = 21,
    SysBoot = 22,
    SysNice = 23,
    SysResource = 24,
    SysTime = 25,
    SysTtyConfig = 26,
    Mknod = 27,
    Lease = 28,
    AuditWrite = 29,
    AuditControl = 30,
    Setfcap = 31,
    MacOverride = 32,
    MacAdmin = 33,
    Syslog = 34,
    WakeAlarm = 35,
    BlockSuspend = 36,
    AuditRead = 37,
    Perfmon = 38,
    Bpf = 39,
    CheckpointRestore = 40,
}

/// The last capability there is (`/proc/sys/kernel/cap_last_cap`).
pub const CAP_LAST: u32 = 40;

/// A set of capabilities, one bit each.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CapSet(pub u64);

impl CapSet {
    /// All there are.
    pub const FULL: CapSet = CapSet((1 << (CAP_LAST + 1)) - 1);
    /// None.
    pub const EMPTY: CapSet = CapSet(0);
    /// Whether `cap` is in it.
    pub const fn has(self, cap: Cap) -> bool {
        self.0 & (1 << cap as u8) != 0
    }
}

/// The credentials of a task.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub struct Cred {
    pub uid: u32,
    pub euid: u32,
    pub suid: u32,
    pub fsuid: u32,
    pub gid: u32,
    pub egid: u32,
    pub sgid: u32,
    pub fsgid: u32,
    /// Supplementary groups.
    pub groups: Arc<Vec<u32>>,
    pub permitted: CapSet,
    pub effective: CapSet,
    pub inheritable: CapSet,
    pub bounding: CapSet,
    pub ambient: CapSet,
    /// `prctl(PR_SET_SECUREBITS)`.
    pub securebits: u32,
    /// `prctl(PR_SET_NO_NEW_PRIVS)`.
    pub no_new_privs: bool,
}

impl Cred {
    /// The superuser with every capability.
    pub fn root() -> Cred {
        Cred {
            uid: 0,
            euid: 0,
            suid: 0,
            fsuid: 0,
            gid: 0,
            egid: 0,
            sgid: 0,
            fsgid: 0,
            groups: Arc::new(Vec::new()),
            permitted: CapSet::FULL,
            effective: CapSet::FULL,
            inheritable: CapSet::EMPTY,
            bounding: CapSet::FULL,
            ambient: CapSet::EMPTY,
            securebits: 0,
            no_new_privs: false,
        }
    }

    /// Whether the effective set has `cap`.
    pub fn capable(&self, cap: Cap) -> bool {
        self.effective.has(cap)
    }

    /// Whether `gid` is the file-system group or a supplementary one.
    pub fn in_group(&self, gid: u32) -> bool {
        self.fsgid == gid || self.groups.contains(&gid)
    }

    /// The permission check of path_resolution(7): `want` is a mask of 4 (read), 2 (write) and
    /// 1 (execute or search) against the owner, group and mode of an object.
    pub fn may_access(&self, want: u32, uid: u32, gid: u32, mode: u32, is_dir: bool) -> bool {
        let bits = if self.fsuid == uid {
            mode >> 6
        } else if self.in_group(gid) {
            mode >> 3
        } else {
            mode
        } & 7;
        if bits & want == want {
            return true;
        }
        // CAP_DAC_OVERRIDE: all of a directory; of a file everything but executing one that
        // nobody may execute.
        if self.capable(Cap::DacOverride) && (is_dir || want & 1 == 0 || mode & 0o111 != 0) {
            return true;
        }
        self.capable(Cap::DacReadSearch) && (want == 4 || (is_dir && want & 2 == 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owner_bits_win_over_group_bits() {
        let mut c = Cred::root();
        c.effective = CapSet::EMPTY;
        c.fsuid = 5;
        assert!(!c.may_access(4, 5, 0, 0o070, false));
        assert!(c.may_access(4, 6, 0, 0o070, false));
    }

    #[test]
    fn root_executes_only_what_somebody_may() {
        let c = Cred::root();
        assert!(!c.may_access(1, 1, 1, 0o644, false));
        assert!(c.may_access(1, 1, 1, 0o001, false));
        assert!(c.may_access(7, 1, 1, 0, true));
    }
}
