//! Consoles over a port that the test plays.

use std::collections::VecDeque;
use std::sync::Mutex as HostMutex;

use super::super::TtyContext as _;
use super::super::testing::{Process, Signals, read, write};
use super::*;

#[derive(Debug, Default)]
struct Host {
    typed: VecDeque<u8>,
    shown: Vec<u8>,
    /// Bytes that it still takes.
    room: usize,
    ended: bool,
    /// Its end is that of a file.
    file: bool,
    wants: (bool, bool),
}

#[derive(Debug, Clone, Default)]
struct TestPort(Arc<HostMutex<Host>>);

impl ConsolePort for TestPort {
    fn read(&self, buf: &mut [u8]) -> Result<usize> {
        let mut h = self.0.lock().unwrap();
        if h.typed.is_empty() {
            return if h.ended { Ok(0) } else { err(Errno::EAGAIN) };
        }
        let n = buf.len().min(h.typed.len());
        for (to, from) in buf.iter_mut().zip(h.typed.drain(..n)) {
            *to = from;
        }
        Ok(n)
    }
    fn write(&self, data: &[u8]) -> Result<usize> {
        let mut h = self.0.lock().unwrap();
        let n = data.len().min(h.room);
        if n == 0 {
            return err(Errno::EAGAIN);
        }
        h.room -= n;
        h.shown.extend_from_slice(&data[..n]);
        Ok(n)
    }
    fn size(&self) -> Option<WinSize> {
        Some(WinSize { rows: 25, cols: 80, ..WinSize::default() })
    }
    fn end_is_hangup(&self) -> bool {
        !self.0.lock().unwrap().file
    }
    fn want_input(&self, _console: &Arc<Console>) {
        self.0.lock().unwrap().wants.0 = true;
    }
    fn want_output(&self, _console: &Arc<Console>) {
        self.0.lock().unwrap().wants.1 = true;
    }
}

impl TestPort {
    fn type_in(&self, console: &Arc<Console>, keys: &[u8]) {
        self.0.lock().unwrap().typed.extend(keys);
        if std::mem::take(&mut self.0.lock().unwrap().wants.0) {
            console.input_ready();
        }
    }
    fn shown(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().unwrap().shown)
    }
}

const BOTH: OpenInfo = OpenInfo { read: true, write: true, noctty: false, nonblock: false };

fn console(room: usize) -> (Arc<Console>, TestPort, Arc<Signals>, CharRegistry) {
    let port = TestPort::default();
    port.0.lock().unwrap().room = room;
    let signals = Arc::new(Signals::default());
    let console = Console::new(0, Box::new(port.clone()), signals.clone());
    let devices = CharRegistry::new();
    console.register(&devices).unwrap();
    console.register_as_system_console(&devices).unwrap();
    register_dev_tty(&devices).unwrap();
    (console, port, signals, devices)
}

#[test]
fn from_the_keyboard_to_read_and_back() {
    let (c, port, signals, devices) = console(usize::MAX);
    let init = Process::leader(1);
    let f = devices.open(DEV_CONSOLE, BOTH, &*init).unwrap();
    assert!(init.ctty().is_none(), "/dev/console never becomes a controlling terminal");
    assert_eq!(devices.open(DEV_TTY, BOTH, &*init).err().unwrap(), Errno::ENXIO);
    c.tty().set_controlling(&*init);
    let tty = devices.open(DEV_TTY, BOTH, &*init).unwrap();
    port.type_in(&c, b"ls\r");
    assert_eq!(port.shown(), b"ls\r\n");
    assert_eq!(read(&*tty, 100, true).unwrap(), b"ls\n");
    write(&*f, b"a b\n").unwrap();
    assert_eq!(port.shown(), b"a b\r\n");
    port.type_in(&c, b"\x03");
    assert_eq!(signals.take(), [(1, 2)]);
    c.print("panic\n");
    assert_eq!(port.shown(), b"^Cpanic\r\n");
    assert_eq!(c.tty().window_size().cols, 80);
}

#[test]
fn a_slow_host_keeps_the_order_and_blocks_the_writer() {
    let (c, port, _, devices) = console(10);
    let f = devices.open(DEV_CONSOLE, BOTH, &*Process::leader(1)).unwrap();
    let data: Vec<u8> = (0..60_000u32).map(|i| b'a' + (i % 26) as u8).collect();
    let writer = std::thread::spawn({
        let data = data.clone();
        move || write(&*f, &data)
    });
    let mut got = Vec::new();
    while got.len() < data.len() {
        if std::mem::take(&mut port.0.lock().unwrap().wants.1) {
            port.0.lock().unwrap().room = 1000;
            c.output_ready();
        }
        got.extend(port.shown());
        std::thread::yield_now();
    }
    assert_eq!(writer.join().unwrap().unwrap(), data.len());
    assert!(got == data);
}

#[test]
fn typing_ahead_waits_for_a_reader() {
    let (c, port, _, devices) = console(usize::MAX);
    let f = devices.open(DEV_CONSOLE, BOTH, &*Process::leader(1)).unwrap();
    let mut line = vec![b'x'; 99];
    line.push(b'\n');
    let all = line.repeat(500);
    port.type_in(&c, &all);
    assert!(!port.0.lock().unwrap().typed.is_empty(), "the host keeps what we cannot");
    let mut got = Vec::new();
    while got.len() < all.len() {
        got.extend(read(&*f, 4096, true).unwrap());
    }
    assert!(got == all);
    assert!(port.0.lock().unwrap().wants.0, "watched again");
}

#[test]
fn the_end_of_the_host_terminal_is_a_hangup() {
    let (c, port, signals, devices) = console(usize::MAX);
    let init = Process::leader(1);
    let f = devices.open(c.tty().dev(), BOTH, &*init).unwrap();
    assert!(init.ctty().is_some());
    port.0.lock().unwrap().ended = true;
    port.type_in(&c, b"");
    assert_eq!(signals.take(), [(1, -1)]);
    assert_eq!(read(&*f, 10, false).unwrap(), b"");
    assert_eq!(write(&*f, b"x").unwrap_err(), Errno::EIO);
    // Opened again it writes, into the void if need be.
    let f = devices.open(c.tty().dev(), BOTH, &*Process::leader(2)).unwrap();
    write(&*f, b"x").unwrap();
}

#[test]
fn the_end_of_a_file_comes_after_its_last_byte() {
    let (c, port, signals, devices) = console(usize::MAX);
    let init = Process::leader(1);
    let f = devices.open(c.tty().dev(), BOTH, &*init).unwrap();
    {
        let mut h = port.0.lock().unwrap();
        (h.file, h.ended) = (true, true);
    }
    port.type_in(&c, b"one\ntwo");
    assert_eq!(signals.take(), []);
    assert_eq!(read(&*f, 10, false).unwrap(), b"one\n");
    assert_eq!(read(&*f, 10, false).unwrap(), b"two");
    for _ in 0..2 {
        assert!(f.poll(None).contains(PollEvents::IN));
        assert_eq!(read(&*f, 10, false).unwrap(), b"", "for ever");
    }
    write(&*f, b"x").unwrap();
}

#[test]
fn a_leaders_exit_hangs_a_console_up() {
    let (c, _, signals, devices) = console(usize::MAX);
    let init = Process::leader(1);
    let f = devices.open(c.tty().dev(), BOTH, &*init).unwrap();
    c.tty().disassociate(1);
    assert_eq!(signals.take(), [(1, -1)]);
    assert_eq!(write(&*f, b"x").unwrap_err(), Errno::EIO);
}

#[test]
fn draining_waits_for_the_host_and_for_flow_control() {
    use super::super::testing::ioctl;
    use base::uapi::ioctl as n;
    let (c, port, _, devices) = console(2);
    let init = Process::leader(1);
    let f = devices.open(c.tty().dev(), BOTH, &*init).unwrap();
    let drain = |f: &Arc<dyn CharFile>| {
        let (f, init) = (f.clone(), init.clone());
        let t = std::thread::spawn(move || ioctl(&*f, n::TCSBRK, 0, &*init));
        std::thread::sleep(std::time::Duration::from_millis(20));
        t
    };
    write(&*f, b"four").unwrap();
    assert_eq!(ioctl(&*f, n::TIOCOUTQ, 0, &*init).unwrap(), 0, "all of it is on its way");
    let t = drain(&f);
    assert!(!t.is_finished());
    port.0.lock().unwrap().room = 100;
    c.output_ready();
    t.join().unwrap().unwrap();
    port.type_in(&c, b"\x13x");
    let t = drain(&f);
    assert!(!t.is_finished());
    port.type_in(&c, b"\x11");
    t.join().unwrap().unwrap();
    assert_eq!(port.shown(), b"fourx");
}

#[test]
fn port_names() {
    use super::super::open_port;
    assert!(open_port("null").is_ok());
    assert!(open_port("pts").unwrap().note.unwrap().starts_with("/dev/pts/"));
    for bad in ["", "fd", "fd:x", "fd:0;fd:1", "screen", "fd:9999"] {
        let line = open_port(bad).unwrap_err();
        assert!(line.contains(&format!("`{bad}`")) && !line.contains('\n'), "{line}");
    }
}
