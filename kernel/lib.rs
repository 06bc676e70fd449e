//! Umbra: a Linux-compatible kernel that runs as one ordinary host process. This crate is the kernel
//! proper: tasks, signals, exec, scheduler, system calls, boot. See `README.md` in this folder.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod boot;
pub mod cli;
pub mod config;
pub mod exec;
pub mod futex;
pub mod housekeeping;
pub mod kernel;
pub mod load;
pub mod logging;
pub mod oom;
pub mod procsource;
pub mod sched;
pub mod services;
pub mod shutdown;
pub mod signal;
pub mod suggest;
pub mod syscall;
pub mod task;
#[cfg(test)]
mod testing;
pub mod time;
pub mod tracing;
pub mod tty;
pub mod vdso;

pub use kernel::Kernel;

/// The release that uname(2) tells.
pub const RELEASE: &str = "6.12.0-umbra";
/// The version that uname(2) tells.
pub const VERSION: &str = concat!("#1 SMP PREEMPT_DYNAMIC Umbra ", env!("CARGO_PKG_VERSION"));
