//! AF_UNIX with fakes: no kernel, no guest; host threads where somebody must wait.

use std::sync::Arc;

use arch::fake::FakeMachine;
use base::iobuf::{SliceSource, VecSink};
use base::{Cred, Errno, PollEvents, Result};
use drivers::tty::{NoSignals, PtyRegistry};
use drivers::{BlockRegistry, CharRegistry};
use fs::tmpfs::TmpFs;
use fs::{Devices, File, FsContext, MountFlags, MountNamespace, Vfs};
use mm::Memory;
use proptest::prelude::*;

use super::Unix;
use crate::family::{Family, Net};
use crate::options::{Sysctl, so};
use crate::socket::{
    Caller, Callers, Incoming, MsgFlags, Outgoing, Rights, Socket, SocketFile, SocketType, Ucred,
    Who,
};

const STREAM: SocketType = SocketType::STREAM;
const DGRAM: SocketType = SocketType::DGRAM;

struct Me;

impl Callers for Me {
    fn current(&self) -> Who {
        who()
    }
}

fn who() -> Who {
    Who { pid: 7, cred: Arc::new(Cred::root()) }
}

/// A network, and files for its names.
struct Fixture {
    net: Net,
    unix: Arc<Unix>,
    ctx: Arc<FsContext>,
}

impl Fixture {
    fn new() -> Fixture {
        let memory = Memory::new(FakeMachine::new(1024));
        let devices = Devices {
            chars: Arc::new(CharRegistry::new()),
            blocks: Arc::new(BlockRegistry::new()),
            ptys: PtyRegistry::new(Arc::new(NoSignals)),
        };
        let vfs = Vfs::new(memory.clone(), devices);
        let root = TmpFs::new(&memory, b"mode=755").unwrap();
        let mount = vfs.mount_fs(root, MountFlags::RELATIME, b"root");
        let ctx = FsContext::new(MountNamespace::new(vfs.clone(), mount));
        let net = Net::new(vfs, Arc::new(Me));
        Fixture { net, unix: Unix::new(Arc::new(Sysctl::default()), Arc::new(Me)), ctx }
    }
    fn caller(&self) -> Caller<'_> {
        Caller { who: who(), fs: &self.ctx }
    }
    fn socket(&self, kind: SocketType) -> Arc<dyn Socket> {
        self.unix.create(kind, 0).unwrap()
    }
    fn pair(&self, kind: SocketType) -> (Arc<dyn Socket>, Arc<dyn Socket>) {
        self.unix.pair(kind, 0, &who()).unwrap()
    }
    fn file(&self, s: Arc<dyn Socket>) -> Arc<File> {
        self.net.open(s, true, &who().cred)
    }
    fn file_pair(&self, kind: SocketType) -> (Arc<File>, Arc<File>) {
        let (a, b) = self.pair(kind);
        (self.file(a), self.file(b))
    }
    fn listener(&self, name: &[u8], backlog: u32) -> Arc<dyn Socket> {
        let s = self.socket(STREAM);
        s.bind(&un(name), &self.caller(), 0o777).unwrap();
        s.listen(backlog, &who()).unwrap();
        s
    }
    fn in_flight(&self) -> usize {
        self.unix.flight.total()
    }
    fn sockets(&self) -> usize {
        self.unix.sockets.lock().len()
    }
}

fn un(path: &[u8]) -> Vec<u8> {
    [&1u16.to_le_bytes()[..], path].concat()
}

fn send(s: &dyn Socket, data: &[u8], rights: Vec<Arc<File>>) -> Result<usize> {
    let rights =
        (!rights.is_empty()).then_some(Rights { files: rights, uid: 0, limit: Some(1000) });
    let msg = Outgoing { flags: MsgFlags::DONTWAIT, rights, ..Outgoing::default() };
    s.send(&mut SliceSource(data), msg)
}

fn of(f: &File) -> &dyn Socket {
    &**SocketFile::of(f).unwrap()
}

fn recv(s: &dyn Socket, n: usize, flags: MsgFlags) -> Result<(Vec<u8>, Incoming)> {
    let mut sink = VecSink::new(n);
    let mut msg = Incoming { flags: flags | MsgFlags::DONTWAIT, ..Incoming::default() };
    let got = s.recv(&mut sink, &mut msg)?;
    assert!(got >= sink.data.len());
    Ok((sink.data, msg))
}

fn bytes(s: &dyn Socket, n: usize) -> Result<Vec<u8>> {
    recv(s, n, MsgFlags::empty()).map(|r| r.0)
}

#[test]
fn a_stream_both_ways_and_its_end() {
    let f = Fixture::new();
    let (a, b) = f.pair(STREAM);
    assert_eq!(send(&*a, b"hello", vec![]).unwrap(), 5);
    assert_eq!(b.unread().unwrap(), 5);
    assert_eq!(bytes(&*b, 3).unwrap(), b"hel");
    assert_eq!(bytes(&*b, 9).unwrap(), b"lo");
    assert_eq!(bytes(&*b, 9).unwrap_err(), Errno::EAGAIN);
    assert_eq!(send(&*b, b"x", vec![]).unwrap(), 1);
    a.close(); // with a byte unread
    assert_eq!(send(&*b, b"x", vec![]).unwrap_err(), Errno::EPIPE);
    assert!(b.poll(None).contains(PollEvents::ERR | PollEvents::HUP | PollEvents::RDHUP));
    assert_eq!(bytes(&*b, 9).unwrap_err(), Errno::ECONNRESET);
    assert_eq!(bytes(&*b, 9).unwrap(), b"");
}

#[test]
fn the_send_buffer_bounds_a_stream_and_wakes_late() {
    let f = Fixture::new();
    let (a, b) = f.pair(STREAM);
    let size = a.options().sndbuf();
    assert_eq!(send(&*a, &vec![1; size + 999], vec![]).unwrap(), size);
    assert_eq!(send(&*a, b"x", vec![]).unwrap_err(), Errno::EAGAIN);
    assert!(!a.poll(None).contains(PollEvents::OUT));
    assert_eq!(bytes(&*b, size / 2).unwrap().len(), size / 2);
    assert!(!a.poll(None).contains(PollEvents::OUT), "half full is not writable");
    assert_eq!(send(&*a, b"x", vec![]).unwrap(), 1, "but there is room");
    assert_eq!(bytes(&*b, size / 2).unwrap().len(), size / 2);
    assert!(a.poll(None).contains(PollEvents::OUT));
}

#[test]
fn blocked_writers_and_readers_find_each_other() {
    let f = Fixture::new();
    let (a, b) = f.pair(STREAM);
    const TOTAL: usize = 3_000_000;
    std::thread::scope(|s| {
        s.spawn(|| {
            let data: Vec<u8> = (0..TOTAL).map(|i| (i % 251) as u8).collect();
            assert_eq!(a.send(&mut SliceSource(&data), Outgoing::default()).unwrap(), TOTAL);
            a.close();
        });
        let mut n = 0;
        loop {
            let mut sink = VecSink::new(7777);
            if b.recv(&mut sink, &mut Incoming::default()).unwrap() == 0 {
                break;
            }
            assert!(sink.data.iter().enumerate().all(|(i, x)| *x == ((n + i) % 251) as u8));
            n += sink.data.len();
        }
        assert_eq!(n, TOTAL);
    });
}

#[test]
fn connecting_queueing_accepting() {
    let f = Fixture::new();
    let l = f.listener(b"/s", 1);
    let c: Vec<_> = (0..3).map(|_| f.socket(STREAM)).collect();
    let connect = |s: &Arc<dyn Socket>, name: &[u8]| s.connect(&un(name), &f.caller(), true);
    connect(&c[0], b"/s").unwrap();
    connect(&c[1], b"/s").unwrap();
    assert_eq!(connect(&c[2], b"/s").unwrap_err(), Errno::EAGAIN);
    assert_eq!(connect(&c[0], b"/s").unwrap_err(), Errno::EAGAIN, "the backlog is looked at first");
    send(&*c[0], b"early", vec![]).unwrap();
    let s = l.accept(true).unwrap();
    assert_eq!(bytes(&*s, 9).unwrap(), b"early");
    assert_eq!(connect(&c[0], b"/s").unwrap_err(), Errno::EISCONN);
    assert_eq!(s.local_name().unwrap(), un(b"/s\0"));
    assert_eq!(c[0].peer_name().unwrap(), un(b"/s\0"));
    assert_eq!(c[1].peer().unwrap().pid, 7);
    l.close();
    assert_eq!(bytes(&*c[1], 9).unwrap_err(), Errno::ECONNRESET);
    assert_eq!(connect(&c[2], b"/s").unwrap_err(), Errno::ECONNREFUSED);
    assert_eq!(connect(&c[2], b"/none").unwrap_err(), Errno::ENOENT);
    let again = f.socket(STREAM);
    assert_eq!(again.bind(&un(b"/s"), &f.caller(), 0o777).unwrap_err(), Errno::EADDRINUSE);
}

#[test]
fn abstract_names_end_with_their_socket_and_not_with_its_connections() {
    let f = Fixture::new();
    let l = f.listener(b"\0n", 5);
    let c = f.socket(STREAM);
    c.connect(&un(b"\0n"), &f.caller(), true).unwrap();
    let s = l.accept(true).unwrap();
    drop(s); // it had the same name
    let d = f.socket(STREAM);
    assert_eq!(d.bind(&un(b"\0n"), &f.caller(), 0).unwrap_err(), Errno::EADDRINUSE);
    f.socket(DGRAM).bind(&un(b"\0n"), &f.caller(), 0).unwrap();
    drop(l);
    d.bind(&un(b"\0n"), &f.caller(), 0).unwrap();
    assert!(f.unix.list().contains(" @n\n"));
}

#[test]
fn nothing_is_left_behind() {
    let f = Fixture::new();
    {
        let l = f.listener(b"\0n", 5);
        let c = f.socket(STREAM);
        c.connect(&un(b"\0n"), &f.caller(), true).unwrap();
        let (a, b) = f.file_pair(DGRAM);
        send(of(&a), b"x", vec![b.clone(), a.clone()]).unwrap();
        assert_eq!((f.sockets(), f.in_flight()), (5, 2));
        drop((l, c));
    }
    assert_eq!((f.sockets(), f.in_flight()), (2, 2), "a cycle is left until somebody looks");
    drop(f.socket(STREAM));
    assert_eq!((f.sockets(), f.in_flight()), (0, 0));
    assert!(f.unix.names.lock().is_empty());
}

#[test]
fn descriptors_travel_with_the_first_byte() {
    let f = Fixture::new();
    let (a, b) = f.pair(STREAM);
    let (x, _y) = f.file_pair(STREAM);
    send(&*a, b"ab", vec![]).unwrap();
    send(&*a, b"cd", vec![x.clone()]).unwrap();
    send(&*a, b"ef", vec![]).unwrap();
    let (data, msg) = recv(&*b, 99, MsgFlags::PEEK).unwrap();
    assert_eq!((&data[..], msg.files.len()), (&b"abcd"[..], 1));
    drop(msg);
    assert_eq!(f.in_flight(), 1);
    let (data, msg) = recv(&*b, 3, MsgFlags::empty()).unwrap();
    assert_eq!((&data[..], msg.files.len()), (&b"abc"[..], 1));
    assert!(Arc::ptr_eq(&msg.files[0], &x));
    assert_eq!(f.in_flight(), 0);
    let (data, msg) = recv(&*b, 99, MsgFlags::empty()).unwrap();
    assert_eq!((&data[..], msg.files.len()), (&b"def"[..], 0));
}

#[test]
fn garbage_is_only_what_nobody_can_reach() {
    let f = Fixture::new();
    let (a, b) = f.file_pair(STREAM);
    let (c, d) = f.file_pair(STREAM);
    // b lies in its own queue and in d's.
    send(of(&a), b"x", vec![b.clone(), a.clone()]).unwrap();
    send(of(&c), b"x", vec![b.clone()]).unwrap();
    drop((a, b, c));
    f.unix.flight.collect();
    assert_eq!(f.in_flight(), 3, "d can receive b, and through b the rest");
    drop(d);
    f.unix.flight.collect();
    assert_eq!((f.in_flight(), f.sockets()), (0, 0));
}

#[test]
fn a_connection_in_the_backlog_is_reached_through_its_listener() {
    let f = Fixture::new();
    let l = f.file(f.listener(b"\0n", 5));
    let c = f.file(f.socket(STREAM));
    of(&c).connect(&un(b"\0n"), &f.caller(), true).unwrap();
    send(of(&c), b"x", vec![l.clone()]).unwrap();
    drop(c);
    f.unix.flight.collect();
    assert_eq!(f.in_flight(), 1, "the listener is open");
    drop(l);
    f.unix.flight.collect();
    assert_eq!((f.in_flight(), f.sockets()), (0, 0));
}

#[test]
fn a_deep_chain_is_dropped_without_recursion() {
    let f = Fixture::new();
    let (_, mut last) = f.file_pair(DGRAM);
    for _ in 0..20_000 {
        let (a, b) = f.file_pair(DGRAM);
        let msg = Rights { files: vec![last], uid: 0, limit: None };
        let out = Outgoing { rights: Some(msg), ..Outgoing::default() };
        of(&a).send(&mut SliceSource(b"x"), out).unwrap();
        last = b;
    }
    drop(last);
    assert_eq!((f.in_flight(), f.sockets()), (0, 0));
}

#[test]
fn too_many_in_flight_by_user() {
    let f = Fixture::new();
    let (a, b) = f.pair(STREAM);
    let (x, _y) = f.file_pair(STREAM);
    let try_send = |uid, limit| {
        let rights = Some(Rights { files: vec![x.clone(); 3], uid, limit: Some(limit) });
        let msg = Outgoing { rights, flags: MsgFlags::DONTWAIT, ..Outgoing::default() };
        a.send(&mut SliceSource(b"x"), msg)
    };
    try_send(1, 2).unwrap();
    assert_eq!(try_send(1, 2).unwrap_err(), Errno::ETOOMANYREFS);
    try_send(2, 2).unwrap();
    bytes(&*b, 1).unwrap();
    try_send(1, 2).unwrap();
}

#[test]
fn datagrams_of_strangers_queue_up_to_a_bound() {
    let f = Fixture::new();
    let s = f.socket(DGRAM);
    s.bind(&un(b"\0d"), &f.caller(), 0).unwrap();
    let c = f.socket(DGRAM);
    c.connect(&un(b"\0d"), &f.caller(), true).unwrap();
    for i in 0..11 {
        send(&*c, &[i], vec![]).unwrap();
    }
    assert_eq!(send(&*c, b"x", vec![]).unwrap_err(), Errno::EAGAIN);
    assert!(!c.poll(None).contains(PollEvents::OUT));
    std::thread::scope(|t| {
        let waiter = t.spawn(|| c.send(&mut SliceSource(b"y"), Outgoing::default()));
        assert_eq!(bytes(&*s, 9).unwrap(), [0]);
        assert_eq!(waiter.join().unwrap().unwrap(), 1);
    });
    assert_eq!(bytes(&*s, 9).unwrap(), [1]);
    assert!(c.poll(None).contains(PollEvents::OUT));
    // Connected with each other, only the send buffer counts.
    let (a, _b) = f.pair(DGRAM);
    for _ in 0..100 {
        send(&*a, b"z", vec![]).unwrap();
    }
}

#[test]
fn a_room_that_poll_waited_for_is_told() {
    use std::sync::atomic::{AtomicU32, Ordering};
    #[derive(Default)]
    struct Count(AtomicU32);
    impl base::Wake for Count {
        fn wake(&self, _: PollEvents) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let f = Fixture::new();
    let s = f.socket(DGRAM);
    s.bind(&un(b"\0d"), &f.caller(), 0).unwrap();
    let c = f.socket(DGRAM);
    let count = Arc::new(Count::default());
    let mut table = base::PollTable::new(count.clone());
    c.poll(Some(&mut table)); // before it has a peer
    c.connect(&un(b"\0d"), &f.caller(), true).unwrap();
    while send(&*c, b"x", vec![]).is_ok() {}
    assert!(!c.poll(None).contains(PollEvents::OUT));
    let before = count.0.load(Ordering::SeqCst);
    bytes(&*s, 9).unwrap();
    assert!(count.0.load(Ordering::SeqCst) > before);
}

/// Who sends or makes room goes on: the woken one need not take the CPU from it.
#[test]
fn who_hands_on_says_so() {
    #[derive(Default)]
    struct Woken(std::sync::Mutex<Vec<PollEvents>>);
    impl base::Wake for Woken {
        fn wake(&self, events: PollEvents) {
            self.0.lock().unwrap().push(events);
        }
    }
    let told = |w: &Woken, what| {
        let events = std::mem::take(&mut *w.0.lock().unwrap());
        assert!(events.iter().any(|e| e.contains(what | PollEvents::SYNC)), "{events:?}");
    };
    for kind in [STREAM, SocketType::SEQPACKET] {
        let f = Fixture::new();
        let (a, b) = f.pair(kind);
        let (reader, writer) = (Arc::new(Woken::default()), Arc::new(Woken::default()));
        let mut tables = [&reader, &writer].map(|w| base::PollTable::new(w.clone()));
        b.poll(Some(&mut tables[0]));
        a.poll(Some(&mut tables[1]));
        send(&*a, b"x", vec![]).unwrap();
        told(&reader, PollEvents::IN);
        if kind == STREAM {
            while send(&*a, &[1; 4096], vec![]).is_ok() {}
            while bytes(&*b, 4096).is_ok() {}
            told(&writer, PollEvents::OUT);
        }
    }
}

/// What a model remembers of one send: its bytes, who sent them, how many descriptors they brought.
#[derive(Clone, Debug)]
struct Piece {
    data: Vec<u8>,
    creds: Option<Ucred>,
    files: usize,
}

#[derive(Clone, Debug)]
enum Step {
    Send(usize, u32, usize),
    Recv(usize, bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1usize..50, 0u32..3, 0usize..4).prop_map(|(n, who, f)| Step::Send(n, who, f)),
        (1usize..120, any::<bool>()).prop_map(|(n, peek)| Step::Recv(n, peek)),
    ]
}

proptest! {
    /// Linux keeps a list of buffers, one for each send. Ours is a ring with marks: nobody can tell.
    #[test]
    fn marks_are_as_good_as_a_list_of_buffers(asks in any::<bool>(), steps in prop::collection::vec(step(), 1..80)) {
        let f = Fixture::new();
        let (a, b) = f.pair(STREAM);
        let (x, _y) = f.file_pair(STREAM);
        if asks {
            crate::options::set(&*b, so::PASSCRED, &1u32.to_le_bytes(), &Cred::root(), &Sysctl::default()).unwrap();
        }
        let mut model: Vec<Piece> = Vec::new();
        let mut next = 0u8;
        for s in steps {
            match s {
                Step::Send(n, who, files) => {
                    let data: Vec<u8> = (0..n).map(|_| { next = next.wrapping_add(1); next }).collect();
                    // Descriptors are rare, so that plain bytes come together.
                    let files = if files == 3 { 2 } else { 0 };
                    let creds = (who > 0).then_some(Ucred { pid: who, uid: 0, gid: 0 });
                    let rights = (files > 0).then(|| Rights { files: vec![x.clone(); files], uid: 0, limit: None });
                    let msg = Outgoing { rights, creds, ..Outgoing::default() };
                    prop_assert_eq!(a.send(&mut SliceSource(&data), msg).unwrap(), n);
                    let creds = if asks { creds.or(Some(Ucred { pid: 7, uid: 0, gid: 0 })) } else { creds };
                    model.push(Piece { data, creds, files });
                }
                Step::Recv(n, peek) => {
                    let mut want = (Vec::new(), 0, None);
                    let mut used = 0;
                    let mut rest = n;
                    for p in &mut model {
                        if rest == 0 || asks && want.2.is_some_and(|c| c != p.creds) {
                            break;
                        }
                        want.2 = Some(p.creds);
                        let got = rest.min(p.data.len());
                        want.0.extend_from_slice(&p.data[..got]);
                        want.1 = p.files;
                        rest -= got;
                        let stop = p.files > 0;
                        if !peek {
                            p.data.drain(..got);
                            p.files = 0;
                            used += usize::from(p.data.is_empty());
                        }
                        if stop {
                            break;
                        }
                    }
                    model.drain(..used);
                    let flags = if peek { MsgFlags::PEEK } else { MsgFlags::empty() };
                    match recv(&*b, n, flags) {
                        Ok((data, msg)) => {
                            prop_assert_eq!((&data, msg.files.len()), (&want.0, want.1));
                            let creds = want.2.map(|c| c.unwrap_or(Ucred::NOBODY)).filter(|_| asks);
                            prop_assert_eq!(msg.creds, creds);
                        }
                        Err(e) => prop_assert!(e == Errno::EAGAIN && want.0.is_empty()),
                    }
                }
            }
            prop_assert_eq!(b.unread().unwrap(), model.iter().map(|p| p.data.len()).sum::<usize>());
        }
    }
}
