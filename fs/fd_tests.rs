//! Tests of timerfd, signalfd, pidfd, inotify and memfd.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::thread;
use std::time::Duration;

use base::iobuf::{SliceSource, VecSink};
use base::{Errno, Instant, PollEvents, Result, WaitQueue};

use crate::epoll::EpollOp;
use crate::event_tests::{cred, ctl, ep, get, open, pipe, soon, test_vfs, wait_now};
use crate::file::{File, OpenFlags};
use crate::poll::{PollFd, poll_files};

const IN: u32 = 1;

mod timers {
    use super::*;
    use crate::timerfd::ClockWatch as _;
    use crate::timerfd::{
        Fire, TFD_TIMER_ABSTIME, TFD_TIMER_CANCEL_ON_SET, TimerClock, TimerFd, TimerHandle,
        TimerService, TimerSpec,
    };

    /// Number, time, what to call.
    type Armed = (u64, u64, Weak<dyn Fire>);

    #[derive(Default)]
    struct FakeTimers {
        now: AtomicU64,
        wall: AtomicU64,
        armed: Mutex<Vec<Armed>>,
        next: AtomicU64,
    }

    impl FakeTimers {
        fn advance(&self, ns: u64) {
            let now = self.now.fetch_add(ns, Ordering::SeqCst) + ns;
            self.wall.fetch_add(ns, Ordering::SeqCst);
            let mut due = Vec::new();
            self.armed.lock().unwrap().retain(|t| {
                if t.1 <= now {
                    due.push(t.2.clone());
                }
                t.1 > now
            });
            for d in due {
                d.upgrade().unwrap().fire();
            }
        }
    }

    impl TimerService for FakeTimers {
        fn now(&self) -> Instant {
            Instant(self.now.load(Ordering::SeqCst))
        }
        fn realtime_ns(&self) -> u64 {
            self.wall.load(Ordering::SeqCst)
        }
        fn arm(&self, at: Instant, cb: Weak<dyn Fire>) -> TimerHandle {
            let id = self.next.fetch_add(1, Ordering::SeqCst);
            self.armed.lock().unwrap().push((id, at.0, cb));
            TimerHandle(id)
        }
        fn cancel(&self, timer: TimerHandle) {
            self.armed.lock().unwrap().retain(|t| t.0 != timer.0);
        }
    }

    fn ticks(f: &File) -> Option<u64> {
        get(f, 8).ok().map(|b| u64::from_ne_bytes(b.try_into().unwrap()))
    }

    #[test]
    fn periods_and_overruns() {
        let vfs = test_vfs();
        let clock = Arc::new(FakeTimers::default());
        let t = TimerFd::new(TimerClock::Monotonic, clock.clone());
        let f = open(&vfs, t.clone(), OpenFlags::NONBLOCK);
        t.set(0, TimerSpec { value: 100, interval: 10 }).unwrap();
        assert_eq!(ticks(&f), None);
        assert_eq!(t.get(), TimerSpec { value: 100, interval: 10 });
        clock.advance(100);
        assert_eq!(ticks(&f), Some(1));
        clock.advance(35);
        assert_eq!(ticks(&f), Some(3));
        assert_eq!(t.get().value, 5);
        clock.advance(5);
        assert_eq!(ticks(&f), Some(1));
        assert_eq!(t.set(0, TimerSpec::default()).unwrap(), TimerSpec { value: 10, interval: 10 });
        clock.advance(1000);
        assert_eq!(ticks(&f), None);
        assert_eq!(clock.armed.lock().unwrap().len(), 0);
        assert_eq!(t.set(8, TimerSpec::default()).unwrap_err().errno(), Errno::EINVAL);
    }

    #[test]
    fn absolute_wall_clock() {
        let vfs = test_vfs();
        let clock = Arc::new(FakeTimers::default());
        clock.wall.store(1_000_000, Ordering::SeqCst);
        let t = TimerFd::new(TimerClock::Realtime, clock.clone());
        let f = open(&vfs, t.clone(), OpenFlags::NONBLOCK);
        let flags = TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET;
        t.set(flags, TimerSpec { value: 1_000_500, interval: 0 }).unwrap();
        // Somebody sets the clock forward by 400.
        clock.wall.fetch_add(400, Ordering::SeqCst);
        t.clock_was_set();
        assert_eq!(get(&f, 8).unwrap_err().errno(), Errno::ECANCELED);
        clock.advance(100);
        assert_eq!(ticks(&f), Some(1));
        let info = f.ops.fdinfo(&f);
        assert_eq!(
            info,
            "clockid: 0\nticks: 0\nsettime flags: 03\nit_value: (0, 0)\nit_interval: (0, 0)\n"
        );
    }
}

mod signals {
    use super::*;
    use crate::pidfd::{PidFd, PidTarget};
    use crate::signalfd::{SIGINFO_SIZE, SignalFd, SignalSource};

    #[derive(Default)]
    struct Pending {
        set: AtomicU64,
        queue: Arc<WaitQueue>,
    }

    impl SignalSource for Pending {
        fn dequeue(&self, mask: u64) -> Option<[u8; SIGINFO_SIZE]> {
            let have = self.set.load(Ordering::SeqCst) & mask;
            let sig = (have != 0).then(|| have.trailing_zeros())?;
            self.set.fetch_and(!(1 << sig), Ordering::SeqCst);
            let mut b = [0; SIGINFO_SIZE];
            b[0] = sig as u8 + 1;
            Some(b)
        }
        fn pending(&self, mask: u64) -> bool {
            self.set.load(Ordering::SeqCst) & mask != 0
        }
        fn queue(&self) -> Arc<WaitQueue> {
            self.queue.clone()
        }
    }

    #[test]
    fn signals_as_data() {
        let vfs = test_vfs();
        let p = Arc::new(Pending::default());
        let f = open(&vfs, SignalFd::new(u64::MAX, p.clone()), OpenFlags::NONBLOCK);
        assert_eq!(f.ops.fdinfo(&f), "sigmask:\tfffffffffffbfeff\n");
        assert_eq!(get(&f, 128).unwrap_err().errno(), Errno::EAGAIN);
        let e = ep(&vfs);
        ctl(&e, EpollOp::Add, &f, IN).unwrap();
        p.set.store(0b110, Ordering::SeqCst);
        p.queue.wake_all(PollEvents::IN);
        assert_eq!(wait_now(&e), [IN]);
        let data = get(&f, 1000).unwrap();
        assert_eq!((data.len(), data[0], data[128]), (256, 2, 3));
        f.ops_as::<SignalFd>().unwrap().set_mask(1);
        p.set.store(0b110, Ordering::SeqCst);
        assert_eq!(wait_now(&e), []);
    }

    #[derive(Default)]
    struct Child {
        exited: AtomicBool,
        queue: Arc<WaitQueue>,
    }

    impl PidTarget for Child {
        fn pid(&self) -> u32 {
            42
        }
        fn exited(&self) -> bool {
            self.exited.load(Ordering::SeqCst)
        }
        fn reaped(&self) -> bool {
            false
        }
        fn queue(&self) -> Arc<WaitQueue> {
            self.queue.clone()
        }
        fn as_any(&self) -> &dyn std::any::Any {
            self
        }
    }

    #[test]
    fn pidfd_reports_the_end() {
        let vfs = test_vfs();
        let child = Arc::new(Child::default());
        let f = open(&vfs, PidFd::new(child.clone(), false), OpenFlags::empty());
        assert_eq!(f.ops.fdinfo(&f), "Pid:\t42\nNSpid:\t42\n");
        let t = thread::spawn(move || {
            let mut fds = [PollFd::new(f, PollEvents::IN)];
            poll_files(&mut fds, soon(5000)).unwrap()
        });
        thread::sleep(Duration::from_millis(10));
        child.exited.store(true, Ordering::SeqCst);
        child.queue.wake_all(PollEvents::IN);
        assert_eq!(t.join().unwrap(), 1);
    }
}

mod watches {
    use super::*;
    use crate::inotify::{IN_EXCL_UNLINK, IN_MASK_ADD, IN_MASK_CREATE, IN_ONESHOT, Inotify};
    use crate::vfs_inode::event;

    fn events(f: &File) -> Vec<(i32, u32, String)> {
        let Ok(data) = get(f, 65536) else { return Vec::new() };
        let mut rest = &data[..];
        let mut out = Vec::new();
        while !rest.is_empty() {
            let word = |i: usize| u32::from_ne_bytes(rest[i..i + 4].try_into().unwrap());
            let len = word(12) as usize;
            assert_eq!(len % 16, 0);
            let name = rest[16..16 + len].split(|b| *b == 0).next().unwrap();
            out.push((word(0) as i32, word(4), String::from_utf8(name.to_vec()).unwrap()));
            rest = &rest[16 + len..];
        }
        out
    }

    #[test]
    fn masks_names_and_ends() {
        let vfs = test_vfs();
        let i = Inotify::new();
        let f = open(&vfs, i.clone(), OpenFlags::NONBLOCK);
        let (dir, _keep) = pipe(&vfs); // any inode will do
        let dir = dir.inode();
        let wd = i.add_watch(dir, event::CREATE | event::MODIFY | IN_EXCL_UNLINK).unwrap();
        assert_eq!(wd, 1);
        dir.vfs.notify(event::CREATE, 0, Some(b"a"));
        dir.vfs.notify(event::CREATE, 0, Some(b"a"));
        dir.vfs.notify(event::DELETE, 0, Some(b"a"));
        dir.vfs.notify(event::MODIFY | IN_EXCL_UNLINK, 0, Some(b"gone"));
        assert_eq!(events(&f), [(1, event::CREATE, "a".into())], "equal events are one");
        let e = i.add_watch(dir, event::OPEN | IN_MASK_CREATE).unwrap_err();
        assert_eq!(e.errno(), Errno::EEXIST);
        assert_eq!(i.add_watch(dir, event::OPEN | IN_MASK_ADD).unwrap(), 1);
        dir.vfs.notify(event::OPEN | event::ISDIR, 0, None);
        assert_eq!(events(&f), [(1, event::OPEN | event::ISDIR, String::new())]);
        assert_eq!(i.add_watch(dir, 0).unwrap_err().errno(), Errno::EINVAL);
        dir.vfs.notify(event::DELETE_SELF, 0, None);
        assert_eq!(events(&f), [(1, crate::inotify::IN_IGNORED, String::new())]);
        assert_eq!(i.rm_watch(1).unwrap_err().errno(), Errno::EINVAL);
        assert_eq!(i.add_watch(dir, event::OPEN | IN_ONESHOT).unwrap(), 2);
        dir.vfs.notify(event::OPEN, 0, None);
        dir.vfs.notify(event::OPEN, 0, None);
        let ignored = (2, crate::inotify::IN_IGNORED, String::new());
        assert_eq!(events(&f), [(2, event::OPEN, String::new()), ignored]);
    }

    #[test]
    fn overflow_is_told_once() {
        let vfs = test_vfs();
        let i = Inotify::new();
        let f = open(&vfs, i.clone(), OpenFlags::NONBLOCK);
        let (file, _keep) = pipe(&vfs);
        i.add_watch(file.inode(), event::OPEN | event::MODIFY).unwrap();
        for n in 0..20_000 {
            let what = if n % 2 == 0 { event::OPEN } else { event::MODIFY };
            file.inode().vfs.notify(what, 0, None);
        }
        let mut all = Vec::new();
        loop {
            let some = events(&f);
            if some.is_empty() {
                break;
            }
            all.extend(some);
        }
        assert_eq!(all.len(), 16384 + 1);
        assert_eq!(all[16384], (-1, crate::inotify::IN_Q_OVERFLOW, String::new()));
    }
}

mod memfds {
    use super::*;
    use crate::memfd::{
        F_SEAL_GROW, F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_WRITE, MFD_ALLOW_SEALING, Memfds,
        add_seals, check_mmap, get_seals,
    };
    use crate::ops::ftruncate;

    fn write_at(f: &File, at: u64, data: &[u8]) -> Result<usize> {
        f.ops.write(f, at, &mut SliceSource(data))
    }

    #[test]
    fn seals() {
        let vfs = test_vfs();
        let all = Memfds::new(&vfs, drivers::DevNum::new(0, 1));
        let f = all.create(b"x", MFD_ALLOW_SEALING, &cred()).unwrap();
        assert_eq!(f.path.full_name(), b"/memfd:x (deleted)");
        assert_eq!(write_at(&f, 0, b"hello").unwrap(), 5);
        let mut sink = VecSink::new(100);
        f.ops.read(&f, 1, &mut sink).unwrap();
        assert_eq!(sink.data, b"ello");
        let no = |r: Result<usize>| r.unwrap_err().errno();
        add_seals(&f, F_SEAL_GROW).unwrap();
        assert_eq!(no(write_at(&f, 5, b"!")), Errno::EPERM);
        assert_eq!(write_at(&f, 0, b"H").unwrap(), 1);
        assert_eq!(ftruncate(&f, 10, u64::MAX).unwrap_err().errno(), Errno::EPERM);
        ftruncate(&f, 4, u64::MAX).unwrap();
        add_seals(&f, F_SEAL_SHRINK | F_SEAL_WRITE).unwrap();
        assert_eq!(ftruncate(&f, 0, u64::MAX).unwrap_err().errno(), Errno::EPERM);
        assert_eq!(no(write_at(&f, 0, b"h")), Errno::EPERM);
        assert_eq!(check_mmap(&f, true, true).unwrap_err().errno(), Errno::EPERM);
        assert!(!check_mmap(&f, true, false).unwrap());
        assert!(check_mmap(&f, false, true).unwrap());
        add_seals(&f, F_SEAL_SEAL).unwrap();
        assert_eq!(add_seals(&f, F_SEAL_GROW).unwrap_err().errno(), Errno::EPERM);
        assert_eq!(get_seals(&f).unwrap(), 0xf);
        let plain = all.create(b"", 0, &cred()).unwrap();
        assert_eq!(get_seals(&plain).unwrap(), F_SEAL_SEAL);
        assert_eq!(all.create(b"", 4, &cred()).unwrap_err().errno(), Errno::EINVAL);
        let (r, _w) = pipe(&vfs);
        assert_eq!(get_seals(&r).unwrap_err().errno(), Errno::EINVAL);
    }
}
