//! /proc/kmsg: the log as a stream that is read once, `man 5 proc_kmsg`. All readers share one position,
//! as in Linux, where it is that of syslog(2) action 2.

use std::any::Any;
use std::sync::Arc;

use base::{Errno, Mutex, PollEvents, PollTable, Result, Sink, Sleep, err};
use drivers::KernelLog;
use fs::{File, FileOps};

/// The record to read next and the bytes of it that have been read.
#[derive(Debug, Default)]
pub(super) struct Position {
    seq: u64,
    partial: usize,
}

/// An open /proc/kmsg.
#[derive(Debug)]
pub(super) struct Kmsg {
    log: Arc<KernelLog>,
    at: Arc<Mutex<Position>>,
}

impl Kmsg {
    pub(super) fn new(log: Arc<KernelLog>, at: Arc<Mutex<Position>>) -> Kmsg {
        Kmsg { log, at }
    }

    fn ready(&self) -> bool {
        let seq = self.at.lock().seq;
        self.log.get(seq).is_some()
    }

    /// What is there, up to `room` bytes; the position moves behind it.
    fn take(&self, room: usize) -> Vec<u8> {
        let mut at = self.at.lock();
        let mut out = Vec::new();
        while out.len() < room {
            let Some(record) = self.log.get(at.seq) else { break };
            if record.seq != at.seq {
                *at = Position { seq: record.seq, partial: 0 }; // overtaken
            }
            let line = record.syslog_line().into_bytes();
            let rest = &line[at.partial.min(line.len())..];
            let n = rest.len().min(room - out.len());
            if n < rest.len() && !out.is_empty() {
                break; // whole lines, unless even one does not fit
            }
            out.extend_from_slice(&rest[..n]);
            if n < rest.len() {
                at.partial += n;
            } else {
                *at = Position { seq: at.seq + 1, partial: 0 };
            }
        }
        out
    }
}

impl FileOps for Kmsg {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, file: &File, _offset: u64, sink: &mut dyn Sink) -> Result<usize> {
        let room = sink.remaining();
        if room == 0 {
            return Ok(0);
        }
        loop {
            let text = self.take(room);
            if !text.is_empty() {
                return sink.write(&text);
            }
            if file.nonblock() {
                return err(Errno::EAGAIN);
            }
            let ready = || self.ready().then_some(());
            self.log.readers().wait_until(Sleep::Interruptible, None, ready)?;
        }
    }

    fn poll(&self, _file: &File, table: Option<&mut PollTable>) -> PollEvents {
        if let Some(t) = table {
            t.register(self.log.readers());
        }
        if self.ready() { PollEvents::IN | PollEvents::RDNORM } else { PollEvents::empty() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_read_once_by_whoever_comes() {
        let log = KernelLog::new(4096);
        log.append(6, "one");
        log.append(3, "two");
        let at = Arc::new(Mutex::new(Position::default()));
        let (a, b) = (Kmsg::new(log.clone(), at.clone()), Kmsg::new(log.clone(), at));
        let first = log.get(0).unwrap().syslog_line().into_bytes();
        let second = log.get(1).unwrap().syslog_line().into_bytes();
        // A buffer that is too small for a line gets it in pieces, one with room for more whole lines.
        assert_eq!(a.take(3), first[..3]);
        assert_eq!(b.take(first.len()), first[3..]);
        assert!(a.ready());
        assert_eq!(a.take(100), second);
        assert!(!b.ready() && b.take(100).is_empty());
    }
}
