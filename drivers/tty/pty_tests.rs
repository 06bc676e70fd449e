//! Pairs: hang-ups, packet mode, blocking, job control. Blocking calls run on host threads.

use std::time::{Duration, Instant};

use super::super::TtyContext as _;
use super::super::testing::{Memory, Process, Signals, clock, ioctl, read, write};
use super::*;

struct Pair {
    signals: Arc<Signals>,
    registry: Arc<PtyRegistry>,
    master: Arc<dyn CharFile>,
    leader: Arc<Process>,
}

const BOTH: OpenInfo = OpenInfo { read: true, write: true, noctty: false, nonblock: false };

fn pair() -> Pair {
    clock();
    let signals = Arc::new(Signals::default());
    let registry = PtyRegistry::new(signals.clone());
    let leader = Process::leader(100);
    let master = registry.open_master(BOTH, &*leader).unwrap();
    ioctl(&*master, n::TIOCSPTLCK, 0, &*leader).unwrap();
    Pair { signals, registry, master, leader }
}

impl Pair {
    fn slave(&self) -> Arc<dyn CharFile> {
        self.registry.open_slave(0, BOTH, &*self.leader).unwrap()
    }
    fn change(&self, change: impl Fn(&mut Termios)) {
        set(&*self.master, &Process::leader(900), change);
    }
}

fn set(f: &dyn CharFile, who: &Process, change: impl Fn(&mut Termios)) {
    let m = Memory::new();
    f.ioctl(n::TCGETS2, UserAddr(0), &m, who).unwrap();
    let mut t = Termios::decode(&m.0.lock().unwrap()[..44]);
    change(&mut t);
    m.0.lock().unwrap()[..44].copy_from_slice(&t.encode2());
    f.ioctl(n::TCSETS2, UserAddr(0), &m, who).unwrap();
}

fn in_thread<T: Send + 'static>(
    f: impl FnOnce() -> T + Send + 'static,
) -> std::thread::JoinHandle<T> {
    let t = std::thread::spawn(f);
    std::thread::sleep(Duration::from_millis(20));
    t
}

#[test]
fn both_ways_and_the_registry() {
    let p = pair();
    assert_eq!(ioctl(&*p.master, n::TIOCGPTN, -1, &*p.leader).unwrap(), 0);
    let slave = p.slave();
    assert_eq!(slave.as_tty().unwrap().name(), "pts/0");
    write(&*p.master, b"hi\r").unwrap();
    assert_eq!(read(&*slave, 100, true).unwrap(), b"hi\n");
    write(&*slave, b"ok\n").unwrap();
    assert_eq!(read(&*p.master, 100, true).unwrap(), b"hi\r\nok\r\n");
    assert_eq!(read(&*p.master, 100, true).unwrap_err(), Errno::EAGAIN);
    let second = p.registry.open_master(BOTH, &*p.leader).unwrap();
    assert_eq!(p.registry.list().iter().map(|s| s.index).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(p.registry.open_slave(1, BOTH, &*p.leader).err().unwrap(), Errno::EIO, "locked");
    assert_eq!(p.registry.open_slave(2, BOTH, &*p.leader).err().unwrap(), Errno::ENXIO);
    let old = p.registry.get(1).unwrap();
    p.registry.set(PtySlot { mode: 0o600, ..old }).unwrap();
    assert_eq!(p.registry.get(1).unwrap().mode, 0o600);
    drop(second);
    let third = p.registry.open_master(BOTH, &*p.leader).unwrap();
    assert_ne!(p.registry.get(1).unwrap().id, old.id);
    assert_eq!(p.registry.set(old).unwrap_err(), Errno::ENOENT);
    let (dev, peer) = p.master.open_peer(BOTH, &*p.leader).unwrap();
    assert_eq!((dev, peer.as_tty().is_some()), (DevNum::new(136, 0), true));
    drop(third);
}

#[test]
fn closing_the_master_hangs_up() {
    let p = pair();
    let slave = p.slave();
    assert_eq!(slave.as_tty().unwrap().session(), Some(100));
    let reader = in_thread({
        let slave = slave.clone();
        move || read(&*slave, 10, false)
    });
    drop(p.master);
    assert_eq!(reader.join().unwrap().unwrap(), b"");
    assert_eq!(p.signals.take(), [(100, -1)]);
    assert_eq!(read(&*slave, 10, false).unwrap(), b"");
    assert_eq!(write(&*slave, b"x").unwrap_err(), Errno::EIO);
    assert!(slave.poll(None).contains(PollEvents::HUP | PollEvents::ERR | PollEvents::IN));
    assert_eq!(ioctl(&*slave, n::TIOCGPGRP, 0, &*p.leader).unwrap_err(), Errno::EIO);
    assert_eq!(ioctl(&*slave, n::TIOCSPGRP, 0, &*p.leader).unwrap_err(), Errno::ENOTTY);
    assert!(p.registry.list().is_empty());
    assert_eq!(slave.as_tty().unwrap().session(), None);
}

#[test]
fn closing_the_slave_ends_the_master_until_it_is_opened_again() {
    let p = pair();
    let waits = in_thread({
        let m = p.master.clone();
        move || read(&*m, 10, false)
    });
    let slave = p.slave();
    write(&*slave, b"bye").unwrap();
    assert_eq!(waits.join().unwrap().unwrap(), b"bye");
    write(&*slave, b"!").unwrap();
    let waits = in_thread({
        let m = p.master.clone();
        move || (read(&*m, 10, false), read(&*m, 10, false))
    });
    drop(slave);
    let (last, end) = waits.join().unwrap();
    assert_eq!((last.unwrap(), end.unwrap_err().errno()), (b"!".to_vec(), Errno::EIO));
    assert!(p.master.poll(None).contains(PollEvents::HUP));
    let slave = p.slave();
    assert!(!p.master.poll(None).contains(PollEvents::HUP));
    assert_eq!(read(&*p.master, 10, true).unwrap_err(), Errno::EAGAIN);
    drop(slave);
}

#[test]
fn packet_mode() {
    let p = pair();
    let slave = p.slave();
    ioctl(&*p.master, n::TIOCPKT, 1, &*p.leader).unwrap();
    assert_eq!(ioctl(&*p.master, n::TIOCGPKT, 0, &*p.leader).unwrap(), 1);
    write(&*slave, b"data").unwrap();
    assert_eq!(read(&*p.master, 100, true).unwrap(), b"\0data");
    assert_eq!(read(&*p.master, 100, true).unwrap_err(), Errno::EAGAIN);
    let status = |p: &Pair| {
        assert!(p.master.poll(None).contains(PollEvents::PRI | PollEvents::IN));
        u32::from(read(&*p.master, 100, true).unwrap()[0])
    };
    p.change(|t| t.iflag &= !u::IXON);
    assert_eq!(status(&p), u::TIOCPKT_NOSTOP);
    p.change(|t| t.iflag |= u::IXON);
    assert_eq!(status(&p), u::TIOCPKT_DOSTOP);
    write(&*p.master, b"\x13").unwrap();
    assert_eq!(status(&p), u::TIOCPKT_STOP);
    write(&*p.master, b"\x11").unwrap();
    assert_eq!(status(&p), u::TIOCPKT_START);
    let m = Memory::new();
    slave.ioctl(n::TCFLSH, UserAddr(2), &m, &*p.leader).unwrap();
    assert_eq!(status(&p), u::TIOCPKT_FLUSHREAD | u::TIOCPKT_FLUSHWRITE);
    assert!(!p.master.poll(None).contains(PollEvents::PRI));
    assert_eq!(ioctl(&*slave, n::TIOCPKT, 1, &*p.leader).unwrap_err(), Errno::ENOTTY);
}

#[test]
fn a_full_slave_blocks_its_writer_until_the_master_reads() {
    let p = pair();
    let slave = p.slave();
    p.change(|t| t.oflag = 0);
    let data: Vec<u8> = (0..100_000u32).map(|i| (i % 253) as u8).collect();
    let writer = in_thread({
        let (slave, data) = (slave.clone(), data.clone());
        move || write(&*slave, &data)
    });
    assert!(!slave.poll(None).contains(PollEvents::OUT));
    let mut got = Vec::new();
    while got.len() < data.len() {
        got.extend(read(&*p.master, 5000, false).unwrap());
    }
    assert_eq!(writer.join().unwrap().unwrap(), data.len());
    assert!(got == data);

    // The other way: bytes that nobody reads block the master.
    p.change(|t| (t.lflag, t.iflag) = (0, 0));
    let writer = in_thread({
        let (m, data) = (p.master.clone(), data.clone());
        move || write(&*m, &data)
    });
    assert!(!p.master.poll(None).contains(PollEvents::OUT));
    let mut got = Vec::new();
    while got.len() < data.len() {
        got.extend(read(&*slave, 5000, false).unwrap());
    }
    assert_eq!(writer.join().unwrap().unwrap(), data.len());
    assert!(got == data);
}

#[test]
fn the_four_ways_of_vmin_and_vtime() {
    let p = pair();
    let slave = p.slave();
    let mode = |min: u8, time: u8| {
        p.change(|t| {
            t.lflag = 0;
            t.cc[u::VMIN as usize] = min;
            t.cc[u::VTIME as usize] = time;
        });
    };
    let timed = |max| {
        let start = Instant::now();
        (read(&*slave, max, false).unwrap(), start.elapsed().as_millis())
    };
    // MIN = 0, TIME = 0: what is there, at once. Not even EAGAIN without it.
    mode(0, 0);
    assert_eq!(timed(10).0, b"");
    assert_eq!(read(&*slave, 10, true).unwrap(), b"");
    write(&*p.master, b"ab").unwrap();
    assert_eq!(timed(10).0, b"ab");
    // MIN = 0, TIME > 0: waits that long for the first byte.
    mode(0, 2);
    let (got, ms) = timed(10);
    assert!(got.is_empty() && (150..2000).contains(&ms), "{ms}");
    let late = in_thread({
        let slave = slave.clone();
        move || read(&*slave, 10, false)
    });
    write(&*p.master, b"c").unwrap();
    assert_eq!(late.join().unwrap().unwrap(), b"c");
    // MIN > 0, TIME = 0: that many, or a full buffer.
    mode(3, 0);
    let waits = in_thread({
        let slave = slave.clone();
        move || read(&*slave, 10, false)
    });
    write(&*p.master, b"d").unwrap();
    std::thread::sleep(Duration::from_millis(20));
    assert!(!waits.is_finished());
    write(&*p.master, b"ef").unwrap();
    assert_eq!(waits.join().unwrap().unwrap(), b"def");
    write(&*p.master, b"gh").unwrap();
    assert_eq!(timed(2).0, b"gh");
    // MIN > 0, TIME > 0: the time runs between bytes, from the first one on.
    mode(5, 2);
    write(&*p.master, b"i").unwrap();
    let (got, ms) = timed(10);
    assert!(got == b"i" && ms >= 150, "{ms}");
    let waits = in_thread({
        let slave = slave.clone();
        move || read(&*slave, 10, false)
    });
    std::thread::sleep(Duration::from_millis(300));
    assert!(!waits.is_finished(), "no time limit before the first byte");
    write(&*p.master, b"jklmn").unwrap();
    assert_eq!(waits.join().unwrap().unwrap(), b"jklmn");
}

#[test]
fn sessions_and_the_foreground() {
    let p = pair();
    let slave = p.slave();
    let who = &*p.leader;
    assert_eq!(ioctl(&*slave, n::TIOCGSID, 0, who).unwrap(), 100);
    assert_eq!(ioctl(&*slave, n::TIOCGPGRP, 0, who).unwrap(), 100);
    assert_eq!(ioctl(&*slave, n::TIOCSPGRP, -5, who).unwrap_err(), Errno::EINVAL);
    assert_eq!(ioctl(&*slave, n::TIOCSPGRP, 5000, who).unwrap_err(), Errno::ESRCH);
    assert_eq!(ioctl(&*slave, n::TIOCSPGRP, 250, who).unwrap_err(), Errno::EPERM);
    ioctl(&*slave, n::TIOCSPGRP, 110, who).unwrap();
    write(&*p.master, b"\x03").unwrap();
    assert_eq!(p.signals.take(), [(110, 2)]);
    // The shell is in the background now: reading stops it, writing only with TOSTOP.
    let job = Process::job(who, 120);
    job.run();
    assert_eq!(read(&*slave, 10, false).unwrap_err(), Errno::ERESTARTSYS);
    assert_eq!(p.signals.take(), [(120, u::SIGTTIN as i32)]);
    write(&*slave, b"x").unwrap();
    p.change(|t| t.lflag |= u::TOSTOP);
    assert_eq!(write(&*slave, b"x").unwrap_err(), Errno::ERESTARTSYS);
    assert_eq!(p.signals.take(), [(120, u::SIGTTOU as i32)]);
    assert_eq!(ioctl(&*slave, n::TCSBRK, 0, &*job).unwrap_err(), Errno::ERESTARTSYS);
    assert_eq!(ioctl(&*slave, n::TIOCSPGRP, 120, &*job).unwrap_err(), Errno::ERESTARTSYS);
    p.signals.take();
    job.ignores.lock().unwrap().extend([u::SIGTTIN, u::SIGTTOU]);
    assert_eq!(read(&*slave, 10, false).unwrap_err(), Errno::EIO);
    write(&*slave, b"x").unwrap();
    ioctl(&*slave, n::TIOCSPGRP, 120, &*job).unwrap();
    assert!(p.signals.take().is_empty());
    let mut orphan = Process::new(130, 130, 100);
    orphan.orphaned = true;
    orphan.set_ctty(who.ctty());
    Arc::new(orphan).run();
    assert_eq!(read(&*slave, 10, false).unwrap_err(), Errno::EIO);
    // Somebody of another session is not controlled at all.
    Process::leader(200).run();
    write(&*p.master, b"y\n").unwrap();
    assert_eq!(read(&*slave, 10, false).unwrap(), b"y\n");
    assert_eq!(ioctl(&*slave, n::TIOCGPGRP, 0, &*Process::leader(200)).unwrap_err(), Errno::ENOTTY);
    assert_eq!(ioctl(&*p.master, n::TIOCGPGRP, 0, &*Process::leader(200)).unwrap(), 120);

    let m = Memory::new();
    m.0.lock().unwrap()[..4].copy_from_slice(&[24, 0, 80, 0]);
    p.master.ioctl(n::TIOCSWINSZ, UserAddr(0), &m, who).unwrap();
    p.master.ioctl(n::TIOCSWINSZ, UserAddr(0), &m, who).unwrap();
    assert_eq!(p.signals.take(), [(120, u::SIGWINCH as i32)]);
    let size = slave.as_tty().unwrap().window_size();
    assert_eq!((size.rows, size.cols), (24, 80));

    slave.as_tty().unwrap().disassociate(100);
    assert_eq!(p.signals.take(), [(120, 1)]);
    assert_eq!(slave.as_tty().unwrap().session(), None);
}

#[test]
fn controlling_terminal_rules() {
    let p = pair();
    let noctty = OpenInfo { noctty: true, ..BOTH };
    let slave = p.registry.open_slave(0, noctty, &*p.leader).unwrap();
    assert!(p.leader.ctty().is_none());
    let m = Memory::new();
    let sctty =
        |f: &dyn CharFile, who: &Process, arg| f.ioctl(n::TIOCSCTTY, UserAddr(arg), &m, who);
    let child = Process::new(101, 100, 100);
    assert_eq!(sctty(&*slave, &child, 0).unwrap_err(), Errno::EPERM);
    sctty(&*slave, &p.leader, 0).unwrap();
    sctty(&*slave, &p.leader, 0).unwrap();
    assert_eq!(slave.as_tty().unwrap().foreground(), Some(100));
    // Taken: others cannot have it, unless root steals it.
    let other = Process::leader(200);
    let again = p.registry.open_slave(0, BOTH, &*other).unwrap();
    assert!(other.ctty().is_none());
    assert_eq!(sctty(&*again, &other, 0).unwrap_err(), Errno::EPERM);
    sctty(&*again, &other, 1).unwrap();
    assert_eq!(slave.as_tty().unwrap().session(), Some(200));
    assert_eq!(ioctl(&*again, n::TIOCNOTTY, 0, &*Process::leader(300)).unwrap_err(), Errno::ENOTTY);
    ioctl(&*again, n::TIOCNOTTY, 0, &*other).unwrap();
    assert_eq!(p.signals.take(), [(200, 1), (200, 18)]);
    assert!(other.ctty().is_none());
    ioctl(&*slave, n::TIOCEXCL, 0, &*other).unwrap();
    let mut user = Process::new(400, 400, 400);
    user.cred.effective = base::cred::CapSet::EMPTY;
    assert_eq!(p.registry.open_slave(0, BOTH, &user).err().unwrap(), Errno::EBUSY);
    assert_eq!(ioctl(&*slave, n::TIOCSTI, 0, &user).unwrap_err(), Errno::EIO);
    assert_eq!(ioctl(&*slave, 0x4B3B, 0, &user).unwrap_err(), Errno::ENOTTY, "KDGETMODE");
}

#[test]
fn flush_directions_and_counts() {
    let p = pair();
    let slave = p.slave();
    let m = Memory::new();
    let flush = |f: &dyn CharFile, what| f.ioctl(n::TCFLSH, UserAddr(what), &m, &*p.leader);
    p.change(|t| (t.lflag, t.oflag) = (u::ICANON, 0));
    write(&*p.master, b"typed\n").unwrap();
    write(&*slave, b"shown").unwrap();
    assert_eq!(ioctl(&*slave, n::FIONREAD, 0, &*p.leader).unwrap(), 6);
    assert_eq!(ioctl(&*p.master, n::FIONREAD, 0, &*p.leader).unwrap(), 5);
    flush(&*slave, 1).unwrap();
    assert_eq!(ioctl(&*p.master, n::FIONREAD, 0, &*p.leader).unwrap(), 0);
    assert_eq!(ioctl(&*slave, n::FIONREAD, 0, &*p.leader).unwrap(), 6);
    flush(&*slave, 0).unwrap();
    assert_eq!(ioctl(&*slave, n::FIONREAD, 0, &*p.leader).unwrap(), 0);
    write(&*p.master, b"typed\n").unwrap();
    write(&*slave, b"shown").unwrap();
    flush(&*p.master, 0).unwrap();
    assert_eq!(ioctl(&*p.master, n::FIONREAD, 0, &*p.leader).unwrap(), 0);
    flush(&*p.master, 1).unwrap();
    assert_eq!(ioctl(&*slave, n::FIONREAD, 0, &*p.leader).unwrap(), 0);
    assert_eq!(flush(&*slave, 3).unwrap_err(), Errno::EINVAL);
    let bad = slave.ioctl(n::TCGETS, UserAddr(1000), &m, &*p.leader);
    assert_eq!(bad.unwrap_err(), Errno::EFAULT);
}
