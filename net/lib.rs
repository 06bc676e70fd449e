//! The network: sockets, and the families behind them. See `README.md` in this folder.
#![forbid(unsafe_code)]
#![warn(missing_docs)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod family;
pub mod options;
pub mod socket;
pub mod unix;

pub use family::{Family, Net};
pub use socket::{
    Caller, Callers, Incoming, MsgFlags, Outgoing, Rights, Socket, SocketFile, SocketType, Ucred,
    Who,
};
