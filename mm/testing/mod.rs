//! Tests of the crate as a whole, on the fake machine.

mod bench;
mod cache;
mod model;
mod patch;
mod space;
/// A small ELF file.
#[path = "../../arch/patch/testelf.rs"]
mod testelf;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use arch::fake::{FakeMachine, FakeSpace};
use arch::{FaultInfo, Machine, PhysMem, Prot, Space};
use base::{Errno, PAGE_SIZE, PhysAddr, Result, UserAddr, err};

use crate::{AddressSpace, Backing, FaultResult, MapFlags, MapRequest, Memory, PageCache};

pub(crate) const PAGE: u64 = PAGE_SIZE as u64;
pub(crate) const RW: Prot = Prot::READ.union(Prot::WRITE);

/// A fake machine that remembers its spaces.
#[derive(Debug)]
pub(crate) struct TestMachine {
    fake: Arc<FakeMachine>,
    last: Mutex<Option<Arc<FakeSpace>>>,
}

impl Machine for TestMachine {
    fn name(&self) -> &'static str {
        "test"
    }
    fn phys(&self) -> &Arc<PhysMem> {
        self.fake.phys()
    }
    fn new_space(&self) -> Result<Arc<dyn Space>> {
        let s = self.fake.fake_space();
        *self.last.lock().unwrap() = Some(s.clone());
        Ok(s)
    }
}

/// A memory of some pages.
pub(crate) struct World {
    pub(crate) machine: Arc<TestMachine>,
    pub(crate) memory: Arc<Memory>,
}

/// A process: an address space and what its guest code would see.
pub(crate) struct Process {
    pub(crate) space: Arc<AddressSpace>,
    pub(crate) host: Arc<FakeSpace>,
    phys: Arc<PhysMem>,
    pub(crate) faults: AtomicU64,
}

impl World {
    pub(crate) fn new(pages: u32) -> World {
        let fake = FakeMachine::new(pages);
        let machine = Arc::new(TestMachine { fake, last: Mutex::new(None) });
        let memory = Memory::new(machine.clone());
        World { machine, memory }
    }
    pub(crate) fn process(&self) -> Process {
        let space = AddressSpace::new(&self.memory).unwrap();
        self.wrap(space)
    }
    pub(crate) fn fork(&self, p: &Process) -> Process {
        let space = p.space.fork().unwrap();
        self.wrap(space)
    }
    fn wrap(&self, space: Arc<AddressSpace>) -> Process {
        let host = self.machine.last.lock().unwrap().take().unwrap();
        Process { space, host, phys: self.machine.phys().clone(), faults: AtomicU64::new(0) }
    }
    pub(crate) fn free(&self) -> u64 {
        self.memory.stats().free
    }
}

impl Process {
    /// Maps private anonymous memory at a fixed address.
    pub(crate) fn anon(&self, at: u64, len: u64) {
        self.map(at, len, RW, MapFlags::FIXED, None).unwrap();
    }
    pub(crate) fn map(
        &self,
        at: u64,
        len: u64,
        prot: Prot,
        flags: MapFlags,
        object: Option<(&Arc<PageCache>, u64)>,
    ) -> Result<UserAddr> {
        self.space.map(MapRequest {
            addr: UserAddr(at),
            flags,
            object: object.map(|(c, o)| (Arc::new(c.clone()) as Arc<dyn crate::Mappable>, o)),
            ..MapRequest::anonymous(len, prot)
        })
    }
    /// The frame address that guest code reaches, faulting as hardware would.
    fn reach(&self, at: u64, need: Prot) -> Result<PhysAddr, FaultResult> {
        for _ in 0..4 {
            self.space.before_user().unwrap();
            let found = self.host.lookup(UserAddr(at));
            if let Some((pfn, prot)) = found
                && prot.contains(need)
            {
                return Ok(pfn.addr().add(UserAddr(at).page_offset()));
            }
            self.faults.fetch_add(1, Ordering::Relaxed);
            let info = FaultInfo {
                addr: UserAddr(at),
                present: found.is_some(),
                write: if at & 8 == 0 { Some(need == Prot::WRITE) } else { None },
                exec: need == Prot::EXEC,
            };
            match self.space.fault(&info, 0) {
                FaultResult::Resolved => {}
                other => return Err(other),
            }
        }
        panic!("no progress at {at:#x} for {need:?}");
    }
    pub(crate) fn store(&self, at: u64, value: u8) -> Result<(), FaultResult> {
        self.reach(at, Prot::WRITE).map(|p| self.phys.write(p, &[value]))
    }
    pub(crate) fn load(&self, at: u64) -> Result<u8, FaultResult> {
        let mut b = [0];
        self.reach(at, Prot::READ).map(|p| {
            self.phys.read(p, &mut b);
            b[0]
        })
    }
    pub(crate) fn exec(&self, at: u64) -> Result<(), FaultResult> {
        self.reach(at, Prot::EXEC).map(|_| ())
    }
    pub(crate) fn fault_count(&self) -> u64 {
        self.faults.load(Ordering::Relaxed)
    }
    /// Everything that the host maps must be allowed by the page table and the VMAs.
    pub(crate) fn check(&self) {
        self.space.before_user().unwrap();
        let g = self.space.inner.lock();
        for (vpn, (pfn, prot)) in self.host.all() {
            if prot.is_empty() {
                continue; // parked: nobody's
            }
            let v = g.vmas.find(vpn).expect("mapped only inside a VMA");
            let (pte, exclusive) = g.pt.get_exclusive(vpn);
            assert!(pte.present() && pte.pfn() == pfn, "page {vpn:#x} shows another frame");
            let writable = if v.shared() { pte.writable() } else { exclusive };
            assert!(crate::mapping::prot_closure(v.prot).contains(prot), "{vpn:#x}: {prot:?}");
            assert!(!prot.contains(Prot::WRITE) || writable, "page {vpn:#x} can be written");
            assert_eq!(g.host.get(vpn).map(|r| r.2), Some(prot), "host map of {vpn:#x}");
        }
    }
}

/// A file in a vector.
#[derive(Debug)]
pub(crate) struct FakeFile {
    pub(crate) phys: Arc<PhysMem>,
    pub(crate) data: Mutex<Vec<u8>>,
    pub(crate) size: AtomicU64,
    pub(crate) reads: AtomicU64,
    pub(crate) writes: AtomicU64,
    pub(crate) broken: AtomicU64,
}

impl FakeFile {
    /// A file of `len` bytes whose byte i is i / 4096 + i, and its cache.
    pub(crate) fn new(w: &World, len: usize) -> (Arc<FakeFile>, Arc<PageCache>) {
        let data = (0..len).map(FakeFile::byte).collect();
        let f = Arc::new(FakeFile {
            phys: w.machine.phys().clone(),
            data: Mutex::new(data),
            size: AtomicU64::new(len as u64),
            reads: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            broken: AtomicU64::new(0),
        });
        let weak: Weak<FakeFile> = Arc::downgrade(&f);
        let cache = PageCache::new(&w.memory, weak);
        (f, cache)
    }
    pub(crate) fn byte(i: usize) -> u8 {
        (i / 4096 + i) as u8
    }
    pub(crate) fn set_size(&self, size: u64) {
        self.data.lock().unwrap().resize(size as usize, 0);
        self.size.store(size, Ordering::SeqCst);
    }
}

impl Backing for FakeFile {
    fn read_pages(&self, first: u64, frames: &[PhysAddr]) -> Result<()> {
        if self.broken.load(Ordering::SeqCst) & 1 != 0 {
            return err(Errno::EIO);
        }
        self.reads.fetch_add(1, Ordering::SeqCst);
        let data = self.data.lock().unwrap();
        for (i, f) in frames.iter().enumerate() {
            let at = (first as usize + i) * PAGE_SIZE;
            let n = data.len().saturating_sub(at).min(PAGE_SIZE);
            self.phys.zero_bytes(*f, PAGE_SIZE);
            self.phys.write(*f, &data[at.min(data.len())..at.min(data.len()) + n]);
        }
        Ok(())
    }
    fn write_pages(&self, first: u64, frames: &[PhysAddr]) -> Result<()> {
        if self.broken.load(Ordering::SeqCst) & 2 != 0 {
            return err(Errno::EIO);
        }
        self.writes.fetch_add(frames.len() as u64, Ordering::SeqCst);
        let mut data = self.data.lock().unwrap();
        for (i, f) in frames.iter().enumerate() {
            let at = (first as usize + i) * PAGE_SIZE;
            let n = data.len().saturating_sub(at).min(PAGE_SIZE);
            if n > 0 {
                self.phys.read(*f, &mut data[at..at + n]);
            }
        }
        Ok(())
    }
    fn size(&self) -> u64 {
        self.size.load(Ordering::SeqCst)
    }
}
