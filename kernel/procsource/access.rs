//! Who may look into a process: `man 2 ptrace`, "Ptrace access mode checking".

use base::{Cap, Cred};

/// Whether a caller may look into another process (PTRACE_MODE_*_FSCREDS: as files under /proc ask).
/// `dumpable`: the target has no memory, or memory that its user may see.
pub(super) fn may_trace(caller: &Cred, target: &Cred, dumpable: bool) -> bool {
    if caller.capable(Cap::SysPtrace) {
        return true;
    }
    let same = [target.uid, target.euid, target.suid].iter().all(|id| *id == caller.fsuid)
        && [target.gid, target.egid, target.sgid].iter().all(|id| *id == caller.fsgid);
    // commoncap: what the target might do, the caller must be able to do already.
    let covers = target.permitted.0 & !caller.effective.0 == 0;
    same && dumpable && covers
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::cred::CapSet;

    fn user(id: u32) -> Cred {
        let mut c = Cred::root();
        (c.uid, c.euid, c.suid, c.fsuid) = (id, id, id, id);
        (c.gid, c.egid, c.sgid, c.fsgid) = (id, id, id, id);
        (c.permitted, c.effective) = (CapSet::EMPTY, CapSet::EMPTY);
        c
    }

    #[test]
    fn own_processes_only_and_only_if_they_are_dumpable() {
        let (me, other) = (user(1000), user(1001));
        assert!(may_trace(&me, &user(1000), true));
        assert!(!may_trace(&me, &user(1000), false));
        assert!(!may_trace(&me, &other, true));
        let mut setuid = user(1000);
        setuid.suid = 0;
        assert!(!may_trace(&me, &setuid, true));
    }

    #[test]
    fn capabilities() {
        let mut strong = user(1000);
        strong.permitted = CapSet(1 << Cap::NetRaw as u8);
        assert!(!may_trace(&user(1000), &strong, true));
        assert!(may_trace(&Cred::root(), &strong, false));
        let mut tracer = user(1);
        tracer.effective = CapSet(1 << Cap::SysPtrace as u8);
        assert!(may_trace(&tracer, &user(2), false));
    }
}
