//! Signals: sending, queueing, delivery, and the frames that handlers run on.

pub mod deliver;
pub mod frame;
pub mod queue;
pub mod send;
pub mod set;
