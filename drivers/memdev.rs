//! The memory devices of major 1: null, zero, full, random, urandom and kmsg (`man 4 null`,
//! `man 4 full`, `man 4 random`).

use std::sync::Arc;

use base::{
    Cap, Errno, Mutex, PollEvents, PollTable, Result, Sink, Sleep, Source, UserAddr, UserMemory,
    err,
};

use crate::chardev::{CharDriver, CharFile, DevNum, OpenInfo, Opener};
use crate::kmsg::KernelLog;
use crate::registry::{CharDev, CharRegistry};

/// Fills a buffer with random bytes: arch's door to the host's randomness.
pub type FillRandom = fn(&mut [u8]) -> Result<()>;

/// Major number of the memory devices.
pub const MEM_MAJOR: u32 = 1;

/// Registers null, zero, full, random, urandom and kmsg.
///
/// # Errors
/// EBUSY if one is there already.
pub fn register(devices: &CharRegistry, log: Arc<KernelLog>, random: FillRandom) -> Result<()> {
    let driver: Arc<dyn CharDriver> = Arc::new(MemDriver { log, random });
    for (minor, name, mode) in [
        (3, "null", 0o666),
        (5, "zero", 0o666),
        (7, "full", 0o666),
        (8, "random", 0o666),
        (9, "urandom", 0o666),
        (11, "kmsg", 0o644),
    ] {
        devices.register(CharDev {
            dev: DevNum::new(MEM_MAJOR, minor),
            name: name.to_owned(),
            class: "mem",
            mode,
            driver: driver.clone(),
        })?;
    }
    Ok(())
}

struct MemDriver {
    log: Arc<KernelLog>,
    random: FillRandom,
}

impl CharDriver for MemDriver {
    fn open(&self, dev: DevNum, _info: OpenInfo, _who: &dyn Opener) -> Result<Arc<dyn CharFile>> {
        Ok(match dev.minor {
            3 => Arc::new(Null),
            5 => Arc::new(Zero),
            7 => Arc::new(Full),
            8 | 9 => Arc::new(Random(self.random)),
            11 => Arc::new(KmsgFile::new(self.log.clone())),
            _ => return err(Errno::ENXIO),
        })
    }
}

/// Takes the rest of a source without looking at it.
fn swallow(source: &mut dyn Source) -> usize {
    // Linux never touches the buffer of a write to /dev/null: bad addresses are fine.
    source.remaining()
}

#[derive(Debug)]
struct Null;

impl CharFile for Null {
    fn read(&self, _offset: u64, _sink: &mut dyn Sink, _nonblock: bool) -> Result<usize> {
        Ok(0)
    }
    fn write(&self, _offset: u64, source: &mut dyn Source, _nonblock: bool) -> Result<usize> {
        Ok(swallow(source))
    }
    fn seekable(&self) -> bool {
        true
    }
}

#[derive(Debug)]
struct Zero;

impl CharFile for Zero {
    fn read(&self, _offset: u64, sink: &mut dyn Sink, _nonblock: bool) -> Result<usize> {
        let n = sink.remaining();
        sink.write_zeros(n)
    }
    fn write(&self, _offset: u64, source: &mut dyn Source, _nonblock: bool) -> Result<usize> {
        Ok(swallow(source))
    }
    fn seekable(&self) -> bool {
        true
    }
    fn maps_zero(&self) -> bool {
        true
    }
}

#[derive(Debug)]
struct Full;

impl CharFile for Full {
    fn read(&self, _offset: u64, sink: &mut dyn Sink, _nonblock: bool) -> Result<usize> {
        let n = sink.remaining();
        sink.write_zeros(n)
    }
    fn write(&self, _offset: u64, source: &mut dyn Source, _nonblock: bool) -> Result<usize> {
        if source.remaining() == 0 { Ok(0) } else { err(Errno::ENOSPC) }
    }
    fn seekable(&self) -> bool {
        true
    }
}

#[derive(Debug)]
struct Random(FillRandom);

impl CharFile for Random {
    fn read(&self, _offset: u64, sink: &mut dyn Sink, _nonblock: bool) -> Result<usize> {
        let mut buf = [0u8; 4096];
        let mut done = 0;
        // One call never gives more than 32 MiB - 1 (random(4)).
        let want = sink.remaining().min((32 << 20) - 1);
        while done < want {
            let n = buf.len().min(want - done);
            (self.0)(&mut buf[..n])?;
            match sink.write(&buf[..n]) {
                Ok(0) => break,
                Ok(k) => done += k,
                Err(e) if done == 0 => return Err(e),
                Err(_) => break,
            }
        }
        Ok(done)
    }
    fn write(&self, _offset: u64, source: &mut dyn Source, _nonblock: bool) -> Result<usize> {
        // The host's pool needs no seeding from a guest.
        Ok(swallow(source))
    }
    fn seekable(&self) -> bool {
        true
    }
    fn ioctl(
        &self,
        cmd: u32,
        arg: UserAddr,
        mem: &dyn UserMemory,
        who: &dyn Opener,
    ) -> Result<i64> {
        const RNDGETENTCNT: u32 = 0x8004_5200;
        const RNDADDTOENTCNT: u32 = 0x4004_5201;
        const RNDADDENTROPY: u32 = 0x4008_5203;
        const RNDZAPENTCNT: u32 = 0x5204;
        const RNDCLEARPOOL: u32 = 0x5206;
        const RNDRESEEDCRNG: u32 = 0x5207;
        match cmd {
            RNDGETENTCNT => mem.write(arg, &256i32.to_ne_bytes()).map(|()| 0),
            RNDADDTOENTCNT | RNDADDENTROPY | RNDZAPENTCNT | RNDCLEARPOOL | RNDRESEEDCRNG => {
                if who.cred().capable(Cap::SysAdmin) { Ok(0) } else { err(Errno::EPERM) }
            }
            // Linux's random driver answers EINVAL here, not ENOTTY.
            _ => err(Errno::EINVAL),
        }
    }
}

/// An open /dev/kmsg: one record a read, one record a write.
struct KmsgFile {
    log: Arc<KernelLog>,
    /// The number of the record to read next. A mutex: two readers of one open file take turns.
    next: Mutex<u64>,
}

impl KmsgFile {
    fn new(log: Arc<KernelLog>) -> KmsgFile {
        let first = log.range().0;
        KmsgFile { log, next: Mutex::new(first) }
    }
}

impl CharFile for KmsgFile {
    fn read(&self, _offset: u64, sink: &mut dyn Sink, nonblock: bool) -> Result<usize> {
        let mut next = self.next.lock();
        let first = self.log.range().0;
        if *next < first {
            // Overtaken: said once, then reading goes on with the oldest record.
            *next = first;
            return err(Errno::EPIPE);
        }
        let record = match self.log.get(*next) {
            Some(r) => r,
            None if nonblock => return err(Errno::EAGAIN),
            None => {
                self.log.readers().wait_until(Sleep::Interruptible, None, || self.log.get(*next))?
            }
        };
        let line = record.kmsg_line();
        if line.len() > sink.remaining() {
            return err(Errno::EINVAL);
        }
        *next = record.seq + 1;
        sink.write(line.as_bytes())
    }

    fn write(&self, _offset: u64, source: &mut dyn Source, _nonblock: bool) -> Result<usize> {
        let total = source.remaining();
        if total > crate::kmsg::MAX_RECORD {
            return err(Errno::EINVAL);
        }
        let mut buf = vec![0u8; total];
        let mut n = 0;
        while n < total {
            match source.read(&mut buf[n..])? {
                0 => break,
                k => n += k,
            }
        }
        let text = String::from_utf8_lossy(&buf[..n]);
        let (priority, text) = parse_priority(&text);
        // User space may not speak as the kernel: facility 0 becomes "user" (1).
        let priority = if priority >> 3 == 0 { priority | 8 } else { priority };
        self.log.log(priority, text);
        Ok(n)
    }

    fn poll(&self, table: Option<&mut PollTable>) -> PollEvents {
        if let Some(t) = table {
            t.register(self.log.readers());
        }
        let mut ev = PollEvents::OUT | PollEvents::WRNORM;
        let next = *self.next.lock();
        let (first, end) = self.log.range();
        if next < first {
            ev |= PollEvents::ERR | PollEvents::PRI | PollEvents::IN | PollEvents::RDNORM;
        } else if next < end {
            ev |= PollEvents::IN | PollEvents::RDNORM;
        }
        ev
    }

    /// lseek(2) knows three places (SEEK_SET, SEEK_END, SEEK_DATA with offset 0): the file layer
    /// calls [`CharFile::seek_special`] for them.
    fn seek_special(&self, whence: u32, offset: i64) -> Option<Result<u64>> {
        const SEEK_SET: u32 = 0;
        const SEEK_END: u32 = 2;
        const SEEK_DATA: u32 = 3;
        if offset != 0 {
            return Some(err(Errno::ESPIPE));
        }
        let to = match whence {
            SEEK_SET => self.log.range().0,
            SEEK_END => self.log.range().1,
            SEEK_DATA => self.log.clear_seq(),
            _ => return Some(err(Errno::EINVAL)),
        };
        *self.next.lock() = to;
        Some(Ok(0))
    }
}

/// Splits `<N>text` into the priority (default: user, warning) and the text.
fn parse_priority(text: &str) -> (u32, &str) {
    const DEFAULT: u32 = 8 | 4;
    if let Some(rest) = text.strip_prefix('<')
        && let Some((number, body)) = rest.split_once('>')
        && !number.is_empty()
        && number.len() <= 5
        && let Ok(n) = number.parse()
    {
        return (n, body);
    }
    (DEFAULT, text)
}

#[cfg(test)]
mod tests {
    use base::Cred;
    use base::iobuf::{SliceSource, VecSink};

    use super::*;

    struct Root(Cred);
    impl Opener for Root {
        fn cred(&self) -> &Cred {
            &self.0
        }
    }

    fn devices() -> (CharRegistry, Arc<KernelLog>) {
        let log = KernelLog::new(4096);
        let devices = CharRegistry::new();
        register(&devices, log.clone(), |b| {
            b.fill(42);
            Ok(())
        })
        .unwrap();
        (devices, log)
    }

    fn open(d: &CharRegistry, name: &str) -> Arc<dyn CharFile> {
        let info = OpenInfo { read: true, write: true, ..OpenInfo::default() };
        d.open(d.by_name(name).unwrap().dev, info, &Root(Cred::root())).unwrap()
    }

    fn read(f: &dyn CharFile, n: usize) -> Result<Vec<u8>> {
        let mut s = VecSink::new(n);
        let got = f.read(0, &mut s, true)?;
        assert_eq!(got, s.data.len());
        Ok(s.data)
    }

    #[test]
    fn what_they_give_and_take() {
        let (d, _) = devices();
        for (name, gives) in
            [("zero", Some(0)), ("full", Some(0)), ("urandom", Some(42)), ("null", None)]
        {
            let f = open(&d, name);
            let want = gives.map_or(Vec::new(), |b| vec![b; 10_000]);
            assert!(read(&*f, 10_000).unwrap() == want, "{name}");
            let w = f.write(0, &mut SliceSource(b"abc"), false);
            if name == "full" {
                assert_eq!(w.unwrap_err(), Errno::ENOSPC);
            } else {
                assert_eq!(w.unwrap(), 3);
            }
        }
        assert!(open(&d, "zero").maps_zero());
        let bad = d.open(DevNum::new(1, 99), OpenInfo::default(), &Root(Cred::root()));
        assert_eq!(bad.err().unwrap(), Errno::ENXIO);
    }

    #[test]
    fn kmsg_reads_one_record_at_a_time() {
        let (d, log) = devices();
        log.log(6, "boot");
        let f = open(&d, "kmsg");
        assert_eq!(f.write(0, &mut SliceSource(b"<3>from user"), false).unwrap(), 12);
        assert_eq!(f.write(0, &mut SliceSource(b"<x>plain"), false).unwrap(), 8);
        assert_eq!(read(&*f, 3).unwrap_err(), Errno::EINVAL);
        assert!(read(&*f, 8192).unwrap().starts_with(b"6,0,"));
        assert!(read(&*f, 8192).unwrap().starts_with(b"11,1,"));
        let third = String::from_utf8(read(&*f, 8192).unwrap()).unwrap();
        assert!(third.starts_with("12,2,") && third.ends_with(";<x>plain\n"), "{third}");
        assert!(!f.poll(None).contains(PollEvents::IN));
        assert_eq!(read(&*f, 8192).unwrap_err(), Errno::EAGAIN);
        let waits = std::thread::spawn(move || {
            let mut s = VecSink::new(8192);
            f.read(0, &mut s, false).map(|_| (s.data, f))
        });
        std::thread::sleep(std::time::Duration::from_millis(20));
        log.log(5, "later");
        let (data, f) = waits.join().unwrap().unwrap();
        assert!(data.starts_with(b"5,3,"));
        for _ in 0..500 {
            log.append(6, &"x".repeat(100));
        }
        assert!(f.poll(None).contains(PollEvents::ERR));
        assert_eq!(read(&*f, 8192).unwrap_err(), Errno::EPIPE);
        assert!(read(&*f, 8192).is_ok());
        f.seek_special(2, 0).unwrap().unwrap();
        assert_eq!(read(&*f, 8192).unwrap_err(), Errno::EAGAIN);
    }
}
