//! Resource limits, getrlimit(2).

/// A resource, with its number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
#[allow(missing_docs)]
pub enum Resource {
    Cpu = 0,
    Fsize = 1,
    Data = 2,
    Stack = 3,
    Core = 4,
    Rss = 5,
    Nproc = 6,
    Nofile = 7,
    Memlock = 8,
    As = 9,
    Locks = 10,
    Sigpending = 11,
    Msgqueue = 12,
    Nice = 13,
    Rtprio = 14,
    Rttime = 15,
}

/// Number of resources.
pub const RESOURCES: usize = 16;
/// No limit.
pub const INFINITY: u64 = u64::MAX;

/// Soft and hard limit of each resource.
#[derive(Clone, Debug)]
pub struct Rlimits(pub [(u64, u64); RESOURCES]);

impl Rlimits {
    /// What init starts with, as Linux gives it.
    pub fn initial(max_tasks: u64) -> Rlimits {
        let mut l = [(INFINITY, INFINITY); RESOURCES];
        l[Resource::Stack as usize] = (8 << 20, INFINITY);
        l[Resource::Core as usize] = (0, INFINITY);
        l[Resource::Nproc as usize] = (max_tasks / 2, max_tasks / 2);
        l[Resource::Nofile as usize] = (1024, 4096);
        l[Resource::Memlock as usize] = (8 << 20, 8 << 20);
        l[Resource::Sigpending as usize] = (max_tasks / 2, max_tasks / 2);
        l[Resource::Msgqueue as usize] = (819_200, 819_200);
        l[Resource::Nice as usize] = (0, 0);
        l[Resource::Rtprio as usize] = (0, 0);
        Rlimits(l)
    }

    /// The soft limit.
    pub fn soft(&self, r: Resource) -> u64 {
        self.0[r as usize].0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn init_starts_with_linux_limits() {
        let l = Rlimits::initial(1000);
        assert_eq!(l.0[Resource::Stack as usize], (8 << 20, INFINITY));
        assert_eq!(l.0[Resource::Nofile as usize], (1024, 4096));
        assert_eq!(l.soft(Resource::Core), 0);
        assert_eq!(l.soft(Resource::Nproc), 500);
        assert_eq!(l.soft(Resource::Cpu), INFINITY);
        assert!(l.0.iter().all(|(soft, hard)| soft <= hard));
    }

    #[test]
    fn numbers_are_those_of_linux() {
        use linux_raw_sys::general as k;
        for (ours, linux) in [
            (Resource::Cpu, k::RLIMIT_CPU),
            (Resource::Stack, k::RLIMIT_STACK),
            (Resource::Nofile, k::RLIMIT_NOFILE),
            (Resource::As, k::RLIMIT_AS),
            (Resource::Sigpending, k::RLIMIT_SIGPENDING),
            (Resource::Rttime, k::RLIMIT_RTTIME),
        ] {
            assert_eq!(ours as u32, linux, "{ours:?}");
        }
    }
}
