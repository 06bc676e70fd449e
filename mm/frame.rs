//! Frames (signatures; bodies follow).
use base::{Pfn, PhysAddr};

/// A counted reference to one frame.
#[derive(Clone, Debug)]
pub struct Frame {
    pfn: Pfn,
}
impl Frame {
    /// Which one.
    pub fn pfn(&self) -> Pfn {
        self.pfn
    }
    /// Its first byte.
    pub fn addr(&self) -> PhysAddr {
        self.pfn.addr()
    }
}
