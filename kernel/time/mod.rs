//! Time: the timer queue, interval timers and POSIX timers.

pub mod posix;
pub mod timer;
