//! The machine: everything that Umbra has of its host. Host processes are the address spaces,
//! a memfd is physical memory, host signals are interrupts, host files are disks. The only crate
//! with unsafe code and the only one that calls the host.
#![warn(missing_docs)]

pub mod clock;
pub mod cpu;
pub mod fake;
mod fault;
pub(crate) mod hosterr;
pub mod hostfile;
pub mod hoststream;
pub mod hosttty;
pub mod intr;
pub mod lockdown;
pub mod machine;
pub mod panic;
pub mod patch;
pub mod physmem;
mod pool;
pub mod ptrace;
mod queue;
pub mod random;
pub mod regs;
pub mod shm;
mod space;
mod stub;
pub mod switch;
mod sys;
pub mod timer;
pub mod vdso;
pub mod vvar;
pub mod xsave;

pub use machine::{Answers, Event, FaultInfo, Machine, Prot, Space, Thread};
pub use physmem::{HUGE_PAGES, PhysMem};
pub use regs::{Regs, XState};
