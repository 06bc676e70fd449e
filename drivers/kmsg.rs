//! The kernel's log: a bounded ring of records behind /dev/kmsg, syslog(2) and dmesg.
//!
//! Records are numbered from zero for ever; when the ring is full the oldest go. A reader of
//! /dev/kmsg holds the number of the record that it reads next, and learns with EPIPE that it
//! was overtaken (Documentation/ABI/testing/dev-kmsg).

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base::{PollEvents, Rank, SpinLock, WaitQueue};

/// Longest text of one record.
pub const MAX_RECORD: usize = 1024 - 48;

/// One message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// Number since boot.
    pub seq: u64,
    /// Syslog priority: facility * 8 + level.
    pub priority: u32,
    /// Microseconds on the monotonic clock since the kernel started.
    pub usec: u64,
    /// The text, without a newline at the end.
    pub text: String,
}

impl Record {
    /// Level 0 (emergency) to 7 (debug).
    pub fn level(&self) -> u32 {
        self.priority & 7
    }

    /// As /dev/kmsg gives it: `prio,seq,usec,-;text\n`, control characters as `\xHH`.
    pub fn kmsg_line(&self) -> String {
        let mut s = format!("{},{},{},-;", self.priority, self.seq, self.usec);
        for c in self.text.chars() {
            if (c.is_ascii_control() && c != '\t') || c == '\\' {
                s.push_str(&format!("\\x{:02x}", c as u32));
            } else {
                s.push(c);
            }
        }
        s.push('\n');
        s
    }

    /// As syslog(2) gives it: `<prio>[    1.234567] text\n`.
    pub fn syslog_line(&self) -> String {
        format!("<{}>{}", self.priority, self.console_line())
    }

    /// As a console shows it: `[    1.234567] text\n`.
    pub fn console_line(&self) -> String {
        format!("[{:5}.{:06}] {}\n", self.usec / 1_000_000, self.usec % 1_000_000, self.text)
    }
}

#[derive(Debug)]
struct Ring {
    records: VecDeque<Record>,
    bytes: usize,
    next_seq: u64,
    /// First record that SYSLOG_ACTION_CLEAR has not hidden.
    clear_seq: u64,
}

/// The log.
#[derive(Debug)]
pub struct KernelLog {
    ring: SpinLock<Ring>,
    capacity: usize,
    start_ns: u64,
    clock: fn() -> base::Instant,
    readers: Arc<WaitQueue>,
    unannounced: AtomicBool,
}

impl KernelLog {
    /// A log of about `capacity` bytes of text; times count from now.
    pub fn new(capacity: usize) -> Arc<KernelLog> {
        KernelLog::with_clock(capacity, arch::clock::monotonic)
    }

    /// As [`KernelLog::new`] with another clock.
    pub fn with_clock(capacity: usize, clock: fn() -> base::Instant) -> Arc<KernelLog> {
        let ring = Ring { records: VecDeque::new(), bytes: 0, next_seq: 0, clear_seq: 0 };
        Arc::new(KernelLog {
            ring: SpinLock::new(Rank::Leaf, ring),
            capacity: capacity.max(2 * MAX_RECORD),
            start_ns: clock().0,
            clock,
            readers: Arc::new(WaitQueue::new()),
            unannounced: AtomicBool::new(false),
        })
    }

    /// Adds a record (its text cut at [`MAX_RECORD`] bytes) and wakes the readers. The caller may
    /// hold no lock of rank `WaitQueue` or inner; where it might, [`KernelLog::append`].
    pub fn log(&self, priority: u32, text: &str) -> u64 {
        let seq = self.append(priority, text);
        self.wake_readers();
        seq
    }

    /// Wakes readers if something was appended since the last time. The kernel calls it at a
    /// safe point (with no lock held) now and then.
    pub fn wake_readers(&self) {
        if self.unannounced.swap(false, Ordering::AcqRel) {
            self.readers.wake_all(PollEvents::IN | PollEvents::RDNORM);
        }
    }

    /// Adds a record and takes no lock but a leaf: callable from anywhere, as a logger must be.
    /// Sleeping readers hear of it from the next [`KernelLog::wake_readers`].
    pub fn append(&self, priority: u32, text: &str) -> u64 {
        let usec = (self.clock)().0.saturating_sub(self.start_ns) / 1000;
        let mut end = text.len().min(MAX_RECORD);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let text = text[..end].trim_end_matches('\n').to_owned();
        let seq = {
            let mut r = self.ring.lock();
            let seq = r.next_seq;
            r.next_seq += 1;
            r.bytes += text.len() + 48;
            r.records.push_back(Record { seq, priority, usec, text });
            while r.bytes > self.capacity {
                let Some(old) = r.records.pop_front() else { break };
                r.bytes -= old.text.len() + 48;
            }
            seq
        };
        self.unannounced.store(true, Ordering::Release);
        seq
    }

    /// The record `seq`, or the next one there still is. None: nothing that new yet.
    pub fn get(&self, seq: u64) -> Option<Record> {
        let r = self.ring.lock();
        let first = r.records.front()?.seq;
        r.records.get(usize::try_from(seq.max(first) - first).ok()?).cloned()
    }

    /// Numbers of the oldest record kept and of the next one to come.
    pub fn range(&self) -> (u64, u64) {
        let r = self.ring.lock();
        (r.next_seq - r.records.len() as u64, r.next_seq)
    }

    /// First record after the last [`KernelLog::clear`].
    pub fn clear_seq(&self) -> u64 {
        self.ring.lock().clear_seq
    }

    /// SYSLOG_ACTION_CLEAR: `read_all` starts here from now on.
    pub fn clear(&self) {
        let mut r = self.ring.lock();
        r.clear_seq = r.next_seq;
    }

    /// SYSLOG_ACTION_READ_ALL: the newest lines since the last clear, whole lines only, at most
    /// `limit` bytes.
    pub fn read_all(&self, limit: usize) -> Vec<u8> {
        let r = self.ring.lock();
        let mut size = 0;
        let mut lines: Vec<String> = Vec::new();
        for rec in r.records.iter().rev().take_while(|rec| rec.seq >= r.clear_seq) {
            let line = rec.syslog_line();
            size += line.len();
            if size > limit {
                break;
            }
            lines.push(line);
        }
        lines.iter().rev().flat_map(|l| l.bytes()).collect()
    }

    /// SYSLOG_ACTION_SIZE_UNREAD and SIZE_BUFFER: the capacity in bytes.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Woken when a record is added.
    pub fn readers(&self) -> &Arc<WaitQueue> {
        &self.readers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_1234567_us() -> base::Instant {
        use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
        static CALLS: AtomicU64 = AtomicU64::new(0);
        // The first call is the start of the log.
        base::Instant(if CALLS.fetch_add(1, Relaxed) == 0 { 0 } else { 1_234_567_890 })
    }

    #[test]
    fn the_three_formats() {
        let log = KernelLog::with_clock(10_000, at_1234567_us);
        log.log(6, "hello\n");
        log.log(14, "a\\b\x07");
        assert_eq!(log.get(0).unwrap().kmsg_line(), "6,0,1234567,-;hello\n");
        assert_eq!(log.get(1).unwrap().kmsg_line(), "14,1,1234567,-;a\\x5cb\\x07\n");
        let all = String::from_utf8(log.read_all(1000)).unwrap();
        assert!(all.starts_with("<6>[    1.234567] hello\n<14>["), "{all}");
        assert_eq!(log.read_all(35), log.get(1).unwrap().syslog_line().as_bytes());
        log.clear();
        assert!(log.read_all(1000).is_empty());
        log.log(3, "after");
        assert!(log.read_all(1000).ends_with(b"after\n"));
        assert_eq!((log.get(3), log.range(), log.get(2).unwrap().level()), (None, (0, 3), 3));
    }

    #[test]
    fn the_ring_is_bounded_and_cuts_whole_characters() {
        let log = KernelLog::new(0);
        for i in 0..1000 {
            log.append(6, &format!("{i} {}", "é".repeat(i)));
        }
        let (first, end) = log.range();
        assert!(end == 1000 && end - first <= 3);
        assert_eq!(log.get(0).unwrap().seq, first);
        assert!(log.get(999).unwrap().text.len() <= MAX_RECORD);
        assert!(log.read_all(usize::MAX).len() < 4096);
    }
}
