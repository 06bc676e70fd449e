//! All of memory (signatures; bodies follow).
use std::sync::Arc;

use arch::Machine;
use base::Result;

use crate::frame::Frame;
use crate::types::MemStats;

/// All of memory.
#[derive(Debug)]
pub struct Memory {
    machine: Arc<dyn Machine>,
}

impl Memory {
    /// All of `machine`'s memory, free.
    pub fn new(machine: Arc<dyn Machine>) -> Arc<Memory> {
        Arc::new(Memory { machine })
    }
    /// As `new`, with a source of random bytes for address space layout.
    pub fn with_random(
        machine: Arc<dyn Machine>,
        _random: Box<dyn Fn(&mut [u8]) + Send + Sync>,
    ) -> Arc<Memory> {
        Arc::new(Memory { machine })
    }
    /// The machine.
    pub fn machine(&self) -> &Arc<dyn Machine> {
        &self.machine
    }
    /// Numbers for /proc/meminfo.
    pub fn stats(&self) -> MemStats {
        todo!()
    }
    /// What to do when nothing is left.
    pub fn set_oom(&self, _f: Box<dyn Fn() + Send + Sync>) {
        todo!()
    }
    /// Source of random bytes.
    pub fn set_random(&self, _f: Box<dyn Fn(&mut [u8]) + Send + Sync>) {
        todo!()
    }
    /// `kernel.randomize_va_space`.
    pub fn set_randomize(&self, _level: u32) {
        todo!()
    }
    /// `vm.overcommit_memory`: 0, 1 or 2.
    pub fn overcommit(&self) -> u32 {
        todo!()
    }
    /// Sets `vm.overcommit_memory`.
    ///
    /// # Errors
    /// EINVAL for more than 2.
    pub fn set_overcommit(&self, _mode: u32) -> Result<()> {
        todo!()
    }
    /// `vm.overcommit_ratio`, percent.
    pub fn set_overcommit_ratio(&self, _percent: u32) {
        todo!()
    }
    /// Several virtual CPUs run guests: fork write-protects at once.
    pub fn set_smp(&self, _on: bool) {
        todo!()
    }
    /// One zeroed frame for the kernel's own use.
    ///
    /// # Errors
    /// ENOMEM.
    pub fn alloc(self: &Arc<Self>) -> Result<Frame> {
        todo!()
    }
    /// Writes dirty pages of all files: up to `max` of them; returns how many were written.
    /// For the flusher and sync(2); the caller holds no lock.
    pub fn write_back(&self, _max: u64) -> u64 {
        todo!()
    }
    /// Gives up clean pages (`/proc/sys/vm/drop_caches`); returns how many.
    pub fn drop_caches(&self) -> u64 {
        todo!()
    }
}
