//! /proc/PID/ns: the namespaces of a process.

/// Kinds and numbers of the initial namespaces, as Linux has them.
pub(crate) const KINDS: [(&str, u64); 10] = [
    ("cgroup", 0xeffffffb),
    ("ipc", 0xefffffff),
    ("mnt", 0xeffffff8),
    ("net", 0xeffffff9),
    ("pid", 0xeffffffc),
    ("pid_for_children", 0xeffffffc),
    ("time", 0xeffffffa),
    ("time_for_children", 0xeffffffa),
    ("user", 0xeffffffd),
    ("uts", 0xeffffffe),
];

/// The number of an initial namespace.
pub(crate) fn default_ino(kind: &str) -> Option<u64> {
    KINDS.iter().find(|k| k.0 == kind).map(|k| k.1)
}
