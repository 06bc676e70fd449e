//! The options of level SOL_SOCKET, which every family has. `man 7 socket`.

use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering::Relaxed};

use base::{Cap, Cred, Errno, Result, err};

use crate::socket::{Socket, Ucred};

/// Numbers of SOL_SOCKET's options (asm-generic/socket.h).
#[allow(missing_docs)]
pub mod so {
    pub const DEBUG: u32 = 1;
    pub const REUSEADDR: u32 = 2;
    pub const TYPE: u32 = 3;
    pub const ERROR: u32 = 4;
    pub const DONTROUTE: u32 = 5;
    pub const BROADCAST: u32 = 6;
    pub const SNDBUF: u32 = 7;
    pub const RCVBUF: u32 = 8;
    pub const KEEPALIVE: u32 = 9;
    pub const OOBINLINE: u32 = 10;
    pub const NO_CHECK: u32 = 11;
    pub const PRIORITY: u32 = 12;
    pub const LINGER: u32 = 13;
    pub const BSDCOMPAT: u32 = 14;
    pub const PASSCRED: u32 = 16;
    pub const PEERCRED: u32 = 17;
    pub const RCVLOWAT: u32 = 18;
    pub const SNDLOWAT: u32 = 19;
    pub const RCVTIMEO: u32 = 20;
    pub const SNDTIMEO: u32 = 21;
    pub const TIMESTAMP: u32 = 29;
    pub const ACCEPTCONN: u32 = 30;
    pub const SNDBUFFORCE: u32 = 32;
    pub const RCVBUFFORCE: u32 = 33;
    pub const PASSSEC: u32 = 34;
    pub const TIMESTAMPNS: u32 = 35;
    pub const MARK: u32 = 36;
    pub const PROTOCOL: u32 = 38;
    pub const DOMAIN: u32 = 39;
    pub const PEEK_OFF: u32 = 42;
    pub const COOKIE: u32 = 57;
    pub const PEERGROUPS: u32 = 59;
    pub const RCVTIMEO_NEW: u32 = 66;
    pub const SNDTIMEO_NEW: u32 = 67;
}

/// Smallest send buffer, doubled (SOCK_MIN_SNDBUF).
const MIN_SNDBUF: u32 = 4608;
/// Smallest receive buffer, doubled (SOCK_MIN_RCVBUF).
const MIN_RCVBUF: u32 = 2304;

/// Variables of the network in /proc/sys/net.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct Sysctl {
    pub wmem_default: AtomicU32,
    pub wmem_max: AtomicU32,
    pub rmem_default: AtomicU32,
    pub rmem_max: AtomicU32,
    pub somaxconn: AtomicU32,
    pub max_dgram_qlen: AtomicU32,
}

impl Default for Sysctl {
    fn default() -> Self {
        Sysctl {
            wmem_default: AtomicU32::new(212_992),
            wmem_max: AtomicU32::new(4_194_304),
            rmem_default: AtomicU32::new(212_992),
            rmem_max: AtomicU32::new(4_194_304),
            somaxconn: AtomicU32::new(4096),
            max_dgram_qlen: AtomicU32::new(10),
        }
    }
}

impl Sysctl {
    /// The variable with this path below /proc/sys, if it is the network's.
    pub fn find(&self, name: &str) -> Option<&AtomicU32> {
        Some(match name {
            "net/core/wmem_default" => &self.wmem_default,
            "net/core/wmem_max" => &self.wmem_max,
            "net/core/rmem_default" => &self.rmem_default,
            "net/core/rmem_max" => &self.rmem_max,
            "net/core/somaxconn" => &self.somaxconn,
            "net/unix/max_dgram_qlen" => &self.max_dgram_qlen,
            _ => return None,
        })
    }
}

/// Options of one socket.
#[derive(Debug)]
pub struct Options {
    /// Those that are on or off, a bit for each number.
    bits: AtomicU64,
    sndbuf: AtomicU32,
    rcvbuf: AtomicU32,
    rcvlowat: AtomicU32,
    /// Nanoseconds, 0: for ever.
    rcvtimeo: AtomicU64,
    sndtimeo: AtomicU64,
    priority: AtomicI32,
    mark: AtomicU32,
    /// On in bit 32, seconds below.
    linger: AtomicU64,
    /// A pending error number, reported once.
    error: AtomicI32,
}

impl Options {
    /// The defaults.
    pub fn new(sysctl: &Sysctl) -> Options {
        Options {
            bits: AtomicU64::new(0),
            sndbuf: AtomicU32::new(sysctl.wmem_default.load(Relaxed)),
            rcvbuf: AtomicU32::new(sysctl.rmem_default.load(Relaxed)),
            rcvlowat: AtomicU32::new(1),
            rcvtimeo: AtomicU64::new(0),
            sndtimeo: AtomicU64::new(0),
            priority: AtomicI32::new(0),
            mark: AtomicU32::new(0),
            linger: AtomicU64::new(0),
            error: AtomicI32::new(0),
        }
    }

    /// What a connection inherits from the socket that listened: who wants to know about senders.
    pub(crate) fn inherit(&self, from: &Options) {
        let kept = 1 << so::PASSCRED | 1 << so::PASSSEC;
        self.bits.fetch_or(from.bits.load(Relaxed) & kept, Relaxed);
    }

    /// Whether an option of the on-and-off kind is on.
    #[inline]
    pub fn is_on(&self, option: u32) -> bool {
        self.bits.load(Relaxed) & (1 << option) != 0
    }
    fn set_on(&self, option: u32, on: bool) {
        if on {
            self.bits.fetch_or(1 << option, Relaxed);
        } else {
            self.bits.fetch_and(!(1 << option), Relaxed);
        }
    }
    /// Bytes that may be on their way.
    #[inline]
    pub fn sndbuf(&self) -> usize {
        self.sndbuf.load(Relaxed) as usize
    }
    /// Bytes that may wait to be read.
    pub fn rcvbuf(&self) -> usize {
        self.rcvbuf.load(Relaxed) as usize
    }
    /// Bytes that a blocking read waits for.
    #[inline]
    pub fn rcvlowat(&self) -> usize {
        self.rcvlowat.load(Relaxed) as usize
    }
    /// SO_RCVTIMEO in nanoseconds, 0: for ever.
    #[inline]
    pub fn rcvtimeo(&self) -> u64 {
        self.rcvtimeo.load(Relaxed)
    }
    /// SO_SNDTIMEO in nanoseconds, 0: for ever.
    #[inline]
    pub fn sndtimeo(&self) -> u64 {
        self.sndtimeo.load(Relaxed)
    }
    /// Leaves an error for the next call.
    pub fn set_error(&self, e: Errno) {
        self.error.store(e.code(), Relaxed);
    }
    /// Whether an error is pending.
    pub fn has_error(&self) -> bool {
        self.error.load(Relaxed) != 0
    }
    /// Takes the pending error: `Err` with it, or `Ok`.
    ///
    /// # Errors
    /// The pending one.
    pub fn check_error(&self) -> Result<()> {
        if !self.has_error() {
            return Ok(());
        }
        match self.error.swap(0, Relaxed) {
            0 => Ok(()),
            e => err(Errno::from_code(e)),
        }
    }
}

fn int(value: &[u8]) -> Result<i32> {
    match value.first_chunk::<4>() {
        Some(b) => Ok(i32::from_le_bytes(*b)),
        None => err(Errno::EINVAL),
    }
}

/// `struct timeval` of a time-out to nanoseconds.
fn timeout(value: &[u8]) -> Result<u64> {
    let (Some(sec), Some(usec)) =
        (value.first_chunk::<8>(), value.get(8..16).and_then(|b| b.first_chunk::<8>()))
    else {
        return err(Errno::EINVAL);
    };
    let (sec, usec) = (i64::from_le_bytes(*sec), i64::from_le_bytes(*usec));
    if !(0..1_000_000).contains(&usec) {
        return err(Errno::EDOM);
    }
    // A time in the past is no time at all, the shortest there is.
    let Ok(sec) = u64::try_from(sec) else { return Ok(1) };
    // What does not fit is as good as for ever.
    let ns = sec.checked_mul(1_000_000_000).and_then(|n| n.checked_add(usec as u64 * 1000));
    Ok(ns.filter(|n| *n < u64::MAX / 4).unwrap_or(0))
}

fn from_timeout(ns: u64) -> Vec<u8> {
    let (sec, usec) = (ns / 1_000_000_000, ns % 1_000_000_000 / 1000);
    [sec.to_le_bytes(), usec.to_le_bytes()].concat()
}

/// What is on or off and of no consequence for a socket that never leaves the machine, or is read elsewhere.
const SWITCHES: [u32; 11] = [
    so::DEBUG,
    so::REUSEADDR,
    so::DONTROUTE,
    so::BROADCAST,
    so::KEEPALIVE,
    so::OOBINLINE,
    so::NO_CHECK,
    so::PASSCRED,
    so::PASSSEC,
    so::TIMESTAMP,
    so::TIMESTAMPNS,
];

/// setsockopt(2) at SOL_SOCKET.
///
/// # Errors
/// ENOPROTOOPT for what is not there or cannot be set; EINVAL, EDOM for bad values; EACCES, EPERM without
/// CAP_NET_ADMIN where that is needed.
pub fn set(
    socket: &dyn Socket,
    name: u32,
    value: &[u8],
    cred: &Cred,
    sysctl: &Sysctl,
) -> Result<()> {
    let o = socket.options();
    let number = int(value)?;
    let admin = cred.capable(Cap::NetAdmin);
    match name {
        so::DEBUG if number != 0 && !admin => return err(Errno::EACCES),
        so::TYPE | so::PROTOCOL | so::DOMAIN | so::ERROR => return err(Errno::ENOPROTOOPT),
        so::SNDBUF => {
            set_buffer(&o.sndbuf, (number as u32).min(sysctl.wmem_max.load(Relaxed)), MIN_SNDBUF)
        }
        so::RCVBUF => {
            set_buffer(&o.rcvbuf, (number as u32).min(sysctl.rmem_max.load(Relaxed)), MIN_RCVBUF)
        }
        so::SNDBUFFORCE | so::RCVBUFFORCE => {
            if !admin {
                return err(Errno::EPERM);
            }
            // The administrator may exceed what others may have, not what the kernel has.
            let most = base::limits::SOCKET_BUFFER_MAX as u32;
            let size = (number.max(0) as u32).min(most);
            if name == so::SNDBUFFORCE {
                set_buffer(&o.sndbuf, size, MIN_SNDBUF);
            } else {
                set_buffer(&o.rcvbuf, size, MIN_RCVBUF);
            }
        }
        so::PRIORITY => {
            if !(0..=6).contains(&number) && !admin && !cred.capable(Cap::NetRaw) {
                return err(Errno::EPERM);
            }
            o.priority.store(number, Relaxed);
        }
        so::LINGER => {
            let Some(secs) = value.get(4..8) else { return err(Errno::EINVAL) };
            let secs = int(secs)? as u32;
            o.linger.store(u64::from(number != 0) << 32 | u64::from(secs), Relaxed);
        }
        so::BSDCOMPAT => {}
        so::RCVLOWAT => {
            let n = if number < 0 { i32::MAX as u32 } else { number as u32 };
            o.rcvlowat.store(n.max(1), Relaxed);
        }
        so::RCVTIMEO | so::RCVTIMEO_NEW => o.rcvtimeo.store(timeout(value)?, Relaxed),
        so::SNDTIMEO | so::SNDTIMEO_NEW => o.sndtimeo.store(timeout(value)?, Relaxed),
        so::MARK => {
            if !admin && !cred.capable(Cap::NetRaw) {
                return err(Errno::EPERM);
            }
            o.mark.store(number as u32, Relaxed);
        }
        so::PEEK_OFF => return err(Errno::EOPNOTSUPP),
        n if SWITCHES.contains(&n) => {
            o.set_on(n, number != 0);
            // Of the two stamps the one that was asked for last is given.
            if number != 0 && n == so::TIMESTAMP {
                o.set_on(so::TIMESTAMPNS, false);
            } else if number != 0 && n == so::TIMESTAMPNS {
                o.set_on(so::TIMESTAMP, false);
            }
        }
        _ => return err(Errno::ENOPROTOOPT),
    }
    socket.options_changed();
    Ok(())
}

/// The buffer is twice what was asked for: Linux counts its bookkeeping in.
fn set_buffer(to: &AtomicU32, asked: u32, least: u32) {
    to.store(asked.min(i32::MAX as u32 / 2).saturating_mul(2).max(least), Relaxed);
}

/// What getsockopt(2) stores.
#[derive(Debug, PartialEq, Eq)]
pub enum Value {
    /// As much of it as the caller has room for.
    Bytes(Vec<u8>),
    /// All of it, else ERANGE and its length.
    Whole(Vec<u8>),
}

/// getsockopt(2) at SOL_SOCKET.
///
/// # Errors
/// ENOPROTOOPT for what is not there; ENODATA for the groups of a peer that there is not.
pub fn get(socket: &dyn Socket, name: u32) -> Result<Value> {
    let o = socket.options();
    let number = |n: u32| Ok(Value::Bytes(n.to_le_bytes().to_vec()));
    match name {
        so::TYPE => number(socket.kind().0),
        so::PROTOCOL => number(socket.protocol()),
        so::DOMAIN => number(socket.domain()),
        so::ERROR => number(o.error.swap(0, Relaxed) as u32),
        so::ACCEPTCONN => number(socket.listening().into()),
        so::SNDBUF => number(o.sndbuf() as u32),
        so::RCVBUF => number(o.rcvbuf() as u32),
        so::RCVLOWAT => number(o.rcvlowat() as u32),
        so::SNDLOWAT => number(1),
        so::PRIORITY => number(o.priority.load(Relaxed) as u32),
        so::MARK => number(o.mark.load(Relaxed)),
        so::BSDCOMPAT => number(0),
        so::LINGER => {
            let l = o.linger.load(Relaxed);
            let both = [((l >> 32) as u32).to_le_bytes(), (l as u32).to_le_bytes()];
            Ok(Value::Bytes(both.concat()))
        }
        so::RCVTIMEO | so::RCVTIMEO_NEW => Ok(Value::Bytes(from_timeout(o.rcvtimeo()))),
        so::SNDTIMEO | so::SNDTIMEO_NEW => Ok(Value::Bytes(from_timeout(o.sndtimeo()))),
        so::PEERCRED => {
            let none = Ucred { pid: 0, uid: u32::MAX, gid: u32::MAX };
            let peer = socket.peer().map_or(none, |p| p.effective());
            Ok(Value::Bytes(peer.to_bytes().to_vec()))
        }
        so::PEERGROUPS => match socket.peer() {
            None => err(Errno::ENODATA),
            Some(p) => {
                Ok(Value::Whole(p.cred.groups.iter().flat_map(|g| g.to_le_bytes()).collect()))
            }
        },
        so::PEEK_OFF => err(Errno::EOPNOTSUPP),
        n if SWITCHES.contains(&n) => number(o.is_on(n).into()),
        _ => err(Errno::ENOPROTOOPT),
    }
}
