//! Tests of poll, select, epoll and eventfd, on host threads. Those of the other descriptors are in `fd_tests`.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use base::iobuf::{SliceSource, VecSink};
use base::{Cred, Errno, Instant, PollEvents, Result};

use crate::epoll::{EPOLLET, EPOLLEXCLUSIVE, EPOLLONESHOT, Epoll, EpollEvent, EpollOp};
use crate::eventfd::EventFd;
use crate::file::{File, FileOps, OpenFlags};
use crate::inode::FileType;
use crate::poll::{FdSet, PollFd, poll_files, select_files};
use crate::vfs::Vfs;

const IN: u32 = 1;
const OUT: u32 = 4;
const RDHUP: u32 = 0x2000;
const HUP: u32 = 0x10;

/// A VFS of its own for each test.
pub(crate) fn test_vfs() -> Arc<Vfs> {
    crate::testing::Fixture::new().vfs
}

pub(crate) fn cred() -> Arc<Cred> {
    Arc::new(Cred::root())
}

pub(crate) fn open(vfs: &Vfs, ops: Arc<dyn FileOps>, flags: OpenFlags) -> Arc<File> {
    vfs.anon().file(ops, OpenFlags::RDWR | flags, cred(), FileType::Regular, 0o600)
}

pub(crate) fn pipe(vfs: &Vfs) -> (Arc<File>, Arc<File>) {
    crate::pipe::pipe(vfs, &cred(), OpenFlags::NONBLOCK).unwrap()
}

pub(crate) fn put(f: &File, data: &[u8]) {
    assert_eq!(f.ops.write(f, 0, &mut SliceSource(data)).unwrap(), data.len());
}

pub(crate) fn get(f: &File, len: usize) -> Result<Vec<u8>> {
    let mut sink = VecSink::new(len);
    f.ops.read(f, 0, &mut sink)?;
    Ok(sink.data)
}

pub(crate) fn ep(vfs: &Vfs) -> Arc<File> {
    open(vfs, Epoll::new(), OpenFlags::empty())
}

pub(crate) fn of(f: &Arc<File>) -> &Epoll {
    f.ops_as::<Epoll>().unwrap()
}

pub(crate) fn ctl(e: &Arc<File>, op: EpollOp, f: &Arc<File>, events: u32) -> Result<()> {
    of(e).ctl(op, 3, f, EpollEvent { events, data: 7 })
}

pub(crate) fn wait_now(e: &Arc<File>) -> Vec<u32> {
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

pub(crate) fn soon(ms: u64) -> Option<Instant> {
    base::wait::set_host_clock(arch::clock::monotonic);
    Some(arch::clock::monotonic() + Duration::from_millis(ms))
}

#[test]
fn level_edge_oneshot() {
    let vfs = test_vfs();
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
    let vfs = test_vfs();
    let (r, w) = pipe(&vfs);
    let e = ep(&vfs);
    ctl(&e, EpollOp::Add, &r, RDHUP).unwrap();
    assert_eq!(wait_now(&e), []);
    drop(w);
    assert_eq!(wait_now(&e)[0] & HUP, HUP);
}

#[test]
fn ctl_errors() {
    let vfs = test_vfs();
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
    let vfs = test_vfs();
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
    let vfs = test_vfs();
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
    let vfs = test_vfs();
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
    let vfs = test_vfs();
    let (r, w) = pipe(&vfs);
    let e = ep(&vfs);
    ctl(&e, EpollOp::Add, &r, IN | EPOLLET).unwrap();
    put(&w, b"x");
    let r = of(&e).wait(1, Some(Instant(0)), &mut |_| base::err(Errno::EFAULT));
    assert_eq!(r.unwrap_err().errno(), Errno::EFAULT);
    assert_eq!(wait_now(&e), [IN]);
}

/// Who is woken, with which events.
#[derive(Default)]
struct Woken(std::sync::Mutex<Vec<PollEvents>>);

impl base::Wake for Woken {
    fn wake(&self, events: PollEvents) {
        self.0.lock().unwrap().push(events);
    }
}

/// Who reads a pipe need not take the CPU from its writer: the hint comes through epoll, too.
#[test]
fn a_pipe_says_that_its_writer_goes_on() {
    let vfs = test_vfs();
    let (r, w) = pipe(&vfs);
    let e = ep(&vfs);
    ctl(&e, EpollOp::Add, &r, IN).unwrap();
    let (direct, by_epoll) = (Arc::new(Woken::default()), Arc::new(Woken::default()));
    let mut tables = [&direct, &by_epoll].map(|w| base::PollTable::new(w.clone()));
    r.ops.poll(&r, Some(&mut tables[0]));
    e.ops.poll(&e, Some(&mut tables[1]));
    put(&w, b"x");
    for woken in [direct, by_epoll] {
        let events = woken.0.lock().unwrap().clone();
        assert!(events.iter().any(|e| e.contains(PollEvents::IN | PollEvents::SYNC)), "{events:?}");
    }
    drop(w);
}

#[test]
fn many_writers_one_epoll() {
    let vfs = test_vfs();
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
    let vfs = test_vfs();
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
    let vfs = test_vfs();
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
    let vfs = test_vfs();
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
