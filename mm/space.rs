//! Address spaces (signatures; bodies follow).
use std::sync::Arc;

use arch::{FaultInfo, Prot, Space};
use base::{Result, Sink, Source, UserAddr, UserMemory};

use crate::memory::Memory;
use crate::types::*;

/// The memory of one process.
#[derive(Debug)]
pub struct AddressSpace {
    space: Arc<dyn Space>,
}

#[allow(missing_docs, clippy::missing_errors_doc)]
impl AddressSpace {
    pub fn new(_m: &Arc<Memory>) -> Result<Arc<AddressSpace>> {
        todo!()
    }
    pub fn id(&self) -> u64 {
        todo!()
    }
    pub fn memory(&self) -> &Arc<Memory> {
        todo!()
    }
    pub fn space(&self) -> &Arc<dyn Space> {
        &self.space
    }
    pub fn map(&self, _r: MapRequest) -> Result<UserAddr> {
        todo!()
    }
    pub fn unmap(&self, _addr: UserAddr, _len: u64) -> Result<()> {
        todo!()
    }
    pub fn protect(&self, _addr: UserAddr, _len: u64, _prot: Prot) -> Result<()> {
        todo!()
    }
    pub fn remap(
        &self,
        _old: UserAddr,
        _old_len: u64,
        _new_len: u64,
        _flags: RemapFlags,
        _new_addr: UserAddr,
    ) -> Result<UserAddr> {
        todo!()
    }
    pub fn advise(&self, _addr: UserAddr, _len: u64, _advice: i32) -> Result<()> {
        todo!()
    }
    /// One byte a page, bit 0 = resident.
    pub fn mincore(&self, _addr: UserAddr, _len: u64) -> Result<Vec<u8>> {
        todo!()
    }
    pub fn sync(&self, _addr: UserAddr, _len: u64, _flags: SyncFlags) -> Result<()> {
        todo!()
    }
    pub fn lock(&self, _addr: UserAddr, _len: u64, _on_fault: bool) -> Result<()> {
        todo!()
    }
    pub fn unlock(&self, _addr: UserAddr, _len: u64) -> Result<()> {
        todo!()
    }
    pub fn lock_all(&self, _current: bool, _future: bool, _on_fault: bool) -> Result<()> {
        todo!()
    }
    pub fn unlock_all(&self) {
        todo!()
    }
    pub fn init_brk(&self, _start: UserAddr) {
        todo!()
    }
    pub fn set_brk(&self, _new: UserAddr) -> UserAddr {
        todo!()
    }
    pub fn fault(&self, _info: &FaultInfo, _sp: u64) -> FaultResult {
        todo!()
    }
    pub fn before_user(&self) -> Result<()> {
        todo!()
    }
    pub fn fork(&self) -> Result<Arc<AddressSpace>> {
        todo!()
    }
    pub fn clear(&self) {
        todo!()
    }
    pub fn set_limits(&self, _l: MmLimits) {
        todo!()
    }
    pub fn limits(&self) -> MmLimits {
        todo!()
    }
    pub fn set_layout(&self, _l: Layout) {
        todo!()
    }
    pub fn layout(&self) -> Layout {
        todo!()
    }
    pub fn vmas(&self) -> Vec<VmaInfo> {
        todo!()
    }
    pub fn vmas_detailed(&self) -> Vec<VmaInfo> {
        todo!()
    }
    pub fn usage(&self) -> Usage {
        todo!()
    }
    /// personality(2) ADDR_NO_RANDOMIZE; takes effect at the next `clear`.
    pub fn set_randomize(&self, _on: bool) {
        todo!()
    }
    /// Where exec puts the top of the stack.
    pub fn pick_stack_top(&self) -> UserAddr {
        todo!()
    }
    /// Where exec puts a position independent program without interpreter hints.
    pub fn pick_pie_base(&self) -> UserAddr {
        todo!()
    }
    /// Where the heap starts if the program's data ends at `end`.
    pub fn pick_brk(&self, _end: UserAddr) -> UserAddr {
        todo!()
    }
    pub fn read_cstr(&self, _addr: UserAddr, _max: usize) -> Result<Vec<u8>> {
        todo!()
    }
    pub fn sink(&self, _iov: impl Into<IoVecs>) -> UserSink<'_> {
        todo!()
    }
    pub fn source(&self, _iov: impl Into<IoVecs>) -> UserSource<'_> {
        todo!()
    }
    pub fn futex_key(&self, _addr: UserAddr, _shared: bool) -> Result<FutexKey> {
        todo!()
    }
    pub fn load_u32(&self, _addr: UserAddr) -> Result<u32> {
        todo!()
    }
    /// The value found: equal to `old` if `new` was stored.
    pub fn cas_u32(&self, _addr: UserAddr, _old: u32, _new: u32) -> Result<u32> {
        todo!()
    }
    /// For ptrace and /proc/PID/mem: as `read`, but PROT_NONE and such do not stop it.
    pub fn read_forced(&self, _from: UserAddr, _buf: &mut [u8]) -> Result<usize> {
        todo!()
    }
    /// For ptrace and /proc/PID/mem: breaks copy-on-write of read-only private pages.
    pub fn write_forced(&self, _to: UserAddr, _data: &[u8]) -> Result<usize> {
        todo!()
    }
}

impl UserMemory for AddressSpace {
    fn read(&self, _from: UserAddr, _buf: &mut [u8]) -> Result<()> {
        todo!()
    }
    fn write(&self, _to: UserAddr, _data: &[u8]) -> Result<()> {
        todo!()
    }
}

/// Stores into user ranges.
#[derive(Debug)]
pub struct UserSink<'a> {
    _space: &'a AddressSpace,
}
/// Fetches from user ranges.
#[derive(Debug)]
pub struct UserSource<'a> {
    _space: &'a AddressSpace,
}
impl Sink for UserSink<'_> {
    fn remaining(&self) -> usize {
        todo!()
    }
    fn write(&mut self, _d: &[u8]) -> Result<usize> {
        todo!()
    }
}
impl Source for UserSource<'_> {
    fn remaining(&self) -> usize {
        todo!()
    }
    fn read(&mut self, _b: &mut [u8]) -> Result<usize> {
        todo!()
    }
}
