//! Tests of poll, epoll, eventfd, timerfd, signalfd, pidfd, inotify and memfd, on host threads.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::thread;
use std::time::Duration;

use base::iobuf::{SliceSource, VecSink};
use base::{Cred, Errno, Instant, PollEvents, Result, WaitQueue};

use crate::epoll::{EPOLLET, EPOLLEXCLUSIVE, EPOLLONESHOT, Epoll, EpollEvent, EpollOp};
use crate::eventfd::EventFd;
use crate::file::{File, FileOps, OpenFlags};
use crate::inode::FileType;
use crate::poll::{FdSet, PollFd, poll_files, select_files};
use crate::testing;
use crate::vfs::Vfs;

const IN: u32 = 1;
const OUT: u32 = 4;
const RDHUP: u32 = 0x2000;
const HUP: u32 = 0x10;

fn cred() -> Arc<Cred> {
    Arc::new(Cred::root())
}

fn open(vfs: &Vfs, ops: Arc<dyn FileOps>, flags: OpenFlags) -> Arc<File> {
    vfs.anon().file(ops, OpenFlags::RDWR | flags, cred(), FileType::Regular, 0o600)
}

fn pipe(vfs: &Vfs) -> (Arc<File>, Arc<File>) {
    crate::pipe::pipe(vfs, &cred(), OpenFlags::NONBLOCK).unwrap()
}

fn put(f: &File, data: &[u8]) {
    assert_eq!(f.ops.write(f, 0, &mut SliceSource(data)).unwrap(), data.len());
}

fn get(f: &File, len: usize) -> Result<Vec<u8>> {
    let mut sink = VecSink::new(len);
    f.ops.read(f, 0, &mut sink)?;
    Ok(sink.data)
}

fn ep(vfs: &Vfs) -> Arc<File> {
    open(vfs, Epoll::new(), OpenFlags::empty())
}

fn of(f: &Arc<File>) -> &Epoll {
    f.ops_as::<Epoll>().unwrap()
}

fn ctl(e: &Arc<File>, op: EpollOp, f: &Arc<File>, events: u32) -> Result<()> {
    of(e).ctl(op, 3, f, EpollEvent { events, data: 7 })
}

fn wait_now(e: &Arc<File>) -> Vec<u32> {
    let mut got = Vec::new();
    let n = of(e)
        .wait(8, Some(Instant(0)), &mut |ev| {
            got.push(ev.events);
            Ok(())
        })
        .unwrap();
    assert_eq!(n, got.len());
    got
}

fn soon(ms: u64) -> Option<Instant> {
    base::wait::set_host_clock(arch::clock::monotonic);
    Some(arch::clock::monotonic() + Duration::from_millis(ms))
}

#[test]
fn level_edge_oneshot() {
    let vfs = testing::vfs();
    for (mode, after_first, after_more) in
        [(0, vec![IN], vec![IN]), (EPOLLET, vec![], vec![IN]), (EPOLLONESHOT, vec![], vec![])]
    {
        let (r, w) = pipe(&vfs);
        let e = ep(&vfs);
        ctl(&e, EpollOp::Add, &r, IN | mode).unwrap();
        assert_eq!(wait_now(&e), []);
        put(&w, b"a");
        assert_eq!(wait_now(&e), [IN], "mode {mode:x}");
        assert_eq!(wait_now(&e), after_first, "mode {mode:x}");
        put(&w, b"b");
        assert_eq!(wait_now(&e), after_more, "mode {mode:x}");
        ctl(&e, EpollOp::Mod, &r, IN | mode).unwrap();
        assert_eq!(wait_now(&e), [IN], "MOD arms again, mode {mode:x}");
        get(&r, 10).unwrap();
        assert_eq!(wait_now(&e), []);
    }
}

#[test]
fn hangup_is_always_told() {
    let vfs = testing::vfs();
    let (r, w) = pipe(&vfs);
    let e = ep(&vfs);
    ctl(&e, EpollOp::Add, &r, RDHUP).unwrap();
    assert_eq!(wait_now(&e), []);
    drop(w);
    assert_eq!(wait_now(&e)[0] & HUP, HUP);
}

#[test]
fn ctl_errors() {
    let vfs = testing::vfs();
    let (r, _w) = pipe(&vfs);
    let e = ep(&vfs);
    let no = |r: Result<()>| r.unwrap_err().errno();
    assert_eq!(no(ctl(&e, EpollOp::Mod, &r, IN)), Errno::ENOENT);
    assert_eq!(no(ctl(&e, EpollOp::Del, &r, IN)), Errno::ENOENT);
    ctl(&e, EpollOp::Add, &r, IN).unwrap();
    assert_eq!(no(ctl(&e, EpollOp::Add, &r, IN)), Errno::EEXIST);
    assert_eq!(no(ctl(&e, EpollOp::Add, &e, IN)), Errno::EINVAL);
    assert_eq!(no(ctl(&e, EpollOp::Mod, &r, IN | EPOLLEXCLUSIVE)), Errno::EINVAL);
    ctl(&e, EpollOp::Del, &r, 0).unwrap();
    let bad = IN | EPOLLEXCLUSIVE | EPOLLONESHOT;
    assert_eq!(no(ctl(&e, EpollOp::Add, &r, bad)), Errno::EINVAL);
    assert_eq!(of(&e).wait(0, None, &mut |_| Ok(())).unwrap_err().errno(), Errno::EINVAL);
}

#[test]
fn nesting_wakes_and_is_bounded() {
    let vfs = testing::vfs();
    let (r, w) = pipe(&vfs);
    let all: Vec<_> = (0..6).map(|_| ep(&vfs)).collect();
    ctl(&all[0], EpollOp::Add, &r, IN).unwrap();
    for i in 0..4 {
        ctl(&all[i + 1], EpollOp::Add, &all[i], IN).unwrap();
    }
    let e = ctl(&all[5], EpollOp::Add, &all[4], IN).unwrap_err();
    assert_eq!(e.errno(), Errno::ELOOP, "a chain of six");
    let e = ctl(&all[0], EpollOp::Add, &all[4], IN).unwrap_err();
    assert_eq!(e.errno(), Errno::ELOOP, "a circle");
    assert_eq!(wait_now(&all[4]), []);
    let top = all[4].clone();
    let sleeper = thread::spawn(move || of(&top).wait(1, soon(5000), &mut |_| Ok(())).unwrap());
    thread::sleep(Duration::from_millis(20));
    put(&w, b"x");
    assert_eq!(sleeper.join().unwrap(), 1);
    get(&r, 1).unwrap();
    assert_eq!(wait_now(&all[4]), []);
}

#[test]
fn closed_files_drop_out() {
    let vfs = testing::vfs();
    let (r, w) = pipe(&vfs);
    let e = ep(&vfs);
    ctl(&e, EpollOp::Add, &r, IN).unwrap();
    put(&w, b"x");
    drop(r);
    assert_eq!(wait_now(&e), []);
    // The same descriptor number for another file.
    let (r, w) = pipe(&vfs);
    ctl(&e, EpollOp::Add, &r, IN).unwrap();
    put(&w, b"x");
    assert_eq!(wait_now(&e), [IN]);
    assert!(
        e.ops
            .fdinfo(&e)
            .starts_with("tfd:        3 events:       19 data:                7  pos:0 ino:")
    );
}

#[test]
fn maxevents_goes_round() {
    let vfs = testing::vfs();
    let e = ep(&vfs);
    let pipes: Vec<_> = (0..4).map(|_| pipe(&vfs)).collect();
    for (i, (r, w)) in pipes.iter().enumerate() {
        let ev = EpollEvent { events: IN, data: i as u64 };
        of(&e).ctl(EpollOp::Add, i as i32, r, ev).unwrap();
        put(w, b"x");
    }
    let mut seen = Vec::new();
    for _ in 0..4 {
        of(&e)
            .wait(1, Some(Instant(0)), &mut |ev| {
                seen.push(ev.data);
                Ok(())
            })
            .unwrap();
    }
    assert_eq!(seen, [0, 1, 2, 3], "level-triggered files take turns");
}

#[test]
fn a_failed_copy_loses_nothing() {
    let vfs = testing::vfs();
    let (r, w) = pipe(&vfs);
    let e = ep(&vfs);
    ctl(&e, EpollOp::Add, &r, IN | EPOLLET).unwrap();
    put(&w, b"x");
    let r = of(&e).wait(1, Some(Instant(0)), &mut |_| base::err(Errno::EFAULT));
    assert_eq!(r.unwrap_err().errno(), Errno::EFAULT);
    assert_eq!(wait_now(&e), [IN]);
}

#[test]
fn many_writers_one_epoll() {
    let vfs = testing::vfs();
    let e = ep(&vfs);
    let pipes: Vec<_> = (0..4).map(|_| pipe(&vfs)).collect();
    for (i, (r, _)) in pipes.iter().enumerate() {
        let ev = EpollEvent { events: IN | EPOLLET, data: i as u64 };
        of(&e).ctl(EpollOp::Add, i as i32, r, ev).unwrap();
    }
    const EACH: usize = 2000;
    let writers: Vec<_> = pipes
        .iter()
        .map(|(_, w)| {
            let w = w.clone();
            thread::spawn(move || {
                for _ in 0..EACH {
                    put(&w, b"x");
                }
            })
        })
        .collect();
    let mut total = 0;
    while total < 4 * EACH {
        let mut ready = Vec::new();
        let n = of(&e)
            .wait(4, soon(5000), &mut |ev| {
                ready.push(ev.data as usize);
                Ok(())
            })
            .unwrap();
        assert_ne!(n, 0, "an edge was lost at {total}");
        for i in ready {
            while let Ok(d) = get(&pipes[i].0, 4096) {
                total += d.len();
            }
        }
    }
    for w in writers {
        w.join().unwrap();
    }
}

/// Not a test of speed, but it prints one: `cargo test -p umbra-fs --release cycle -- --nocapture`.
#[test]
fn pipe_epoll_cycle() {
    let vfs = testing::vfs();
    let (r, w) = pipe(&vfs);
    let e = ep(&vfs);
    ctl(&e, EpollOp::Add, &r, IN).unwrap();
    let n = 100_000;
    let start = std::time::Instant::now();
    for _ in 0..n {
        put(&w, b"x");
        let got = of(&e).wait(1, None, &mut |_| Ok(())).unwrap();
        assert_eq!(got, 1);
        let mut b = [0];
        r.ops.read(&r, 0, &mut base::iobuf::SliceSink::new(&mut b)).unwrap();
    }
    println!("pipe write + epoll_wait + read: {} ns", start.elapsed().as_nanos() / n);
}

#[test]
fn poll_and_select() {
    let vfs = testing::vfs();
    let (r, w) = pipe(&vfs);
    let mut fds = [
        PollFd::new(r.clone(), PollEvents::IN),
        PollFd::new(w.clone(), PollEvents::OUT),
        PollFd::bad(),
        PollFd::ignored(),
    ];
    assert_eq!(poll_files(&mut fds, Some(Instant(0))).unwrap(), 2);
    assert_eq!(fds[0].revents, PollEvents::empty());
    assert_eq!(fds[1].revents, PollEvents::OUT);
    assert_eq!(fds[2].revents, PollEvents::NVAL);
    let mut fds = [PollFd::new(r.clone(), PollEvents::IN)];
    assert_eq!(poll_files(&mut fds, soon(20)).unwrap(), 0, "time is up");
    let w2 = w.clone();
    let t = thread::spawn(move || {
        thread::sleep(Duration::from_millis(20));
        put(&w2, b"x");
    });
    assert_eq!(poll_files(&mut fds, None).unwrap(), 1);
    t.join().unwrap();

    let files = [r, w];
    let lookup = |fd: usize| files.get(fd).cloned();
    let mut rd = FdSet::empty(3);
    rd.insert(0);
    let mut wr = FdSet::empty(3);
    wr.insert(1);
    let n = select_files(3, [Some(&mut rd), Some(&mut wr), None], &lookup, None).unwrap();
    assert_eq!(n, 2);
    assert!(rd.has(0) && wr.has(1) && !wr.has(0));
    rd.insert(2);
    let e = select_files(3, [Some(&mut rd), None, None], &lookup, None).unwrap_err();
    assert_eq!(e.errno(), Errno::EBADF);
    assert_eq!(FdSet::from_bytes(&rd.to_bytes()), rd);
}

#[test]
fn eventfd_counts() {
    let vfs = testing::vfs();
    let f = open(&vfs, EventFd::new(0, false), OpenFlags::NONBLOCK);
    assert_eq!(get(&f, 8).unwrap_err().errno(), Errno::EAGAIN);
    put(&f, &3u64.to_ne_bytes());
    put(&f, &4u64.to_ne_bytes());
    assert_eq!(get(&f, 4).unwrap_err().errno(), Errno::EINVAL);
    assert_eq!(get(&f, 8).unwrap(), 7u64.to_ne_bytes());
    put(&f, &(u64::MAX - 1).to_ne_bytes());
    let full = f.ops.write(&f, 0, &mut SliceSource(&1u64.to_ne_bytes()));
    assert_eq!(full.unwrap_err().errno(), Errno::EAGAIN);
    let bad = f.ops.write(&f, 0, &mut SliceSource(&[0xff; 8]));
    assert_eq!(bad.unwrap_err().errno(), Errno::EINVAL);
    assert!(f.ops.fdinfo(&f).starts_with("eventfd-count: fffffffffffffffe\n"));
    let s = open(&vfs, EventFd::new(2, true), OpenFlags::NONBLOCK);
    for _ in 0..2 {
        assert_eq!(get(&s, 8).unwrap(), 1u64.to_ne_bytes());
    }
    assert!(get(&s, 8).is_err());
    let e = ep(&vfs);
    ctl(&e, EpollOp::Add, &s, IN | OUT).unwrap();
    assert_eq!(wait_now(&e), [OUT]);
}

mod timers {
    use super::*;
    use crate::timerfd::ClockWatch as _;
    use crate::timerfd::{
        Fire, TFD_TIMER_ABSTIME, TFD_TIMER_CANCEL_ON_SET, TimerClock, TimerFd, TimerHandle,
        TimerService, TimerSpec,
    };

    #[derive(Default)]
    struct FakeTimers {
        now: AtomicU64,
        wall: AtomicU64,
        armed: Mutex<Vec<(u64, u64, Weak<dyn Fire>)>>,
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
        let vfs = testing::vfs();
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
        let vfs = testing::vfs();
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
        let vfs = testing::vfs();
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
        let vfs = testing::vfs();
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
        let vfs = testing::vfs();
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
        let vfs = testing::vfs();
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
        let vfs = testing::vfs();
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
