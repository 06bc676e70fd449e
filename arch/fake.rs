//! A machine without a host process, for the unit tests of the crates above: it records what is
//! mapped where, so that a test can compare it with the software page table.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;

use base::{Errno, Pfn, Result, UserAddr, err};

use crate::machine::{Machine, Prot, Space, Thread};
use crate::physmem::PhysMem;
use crate::regs::{Regs, XState};

/// The fake machine.
#[derive(Debug)]
pub struct FakeMachine {
    phys: Arc<PhysMem>,
}

impl FakeMachine {
    /// A machine with `pages` frames.
    ///
    /// # Panics
    /// If the host cannot give the memory.
    pub fn new(pages: u32) -> Arc<FakeMachine> {
        let phys = PhysMem::new(u64::from(pages) * 4096).expect("test memory");
        Arc::new(FakeMachine { phys: Arc::new(phys) })
    }
    /// A space whose mappings can be looked at.
    pub fn fake_space(&self) -> Arc<FakeSpace> {
        Arc::new(FakeSpace::default())
    }
}

impl Machine for FakeMachine {
    fn name(&self) -> &'static str {
        "fake"
    }
    fn phys(&self) -> &Arc<PhysMem> {
        &self.phys
    }
    fn new_space(&self) -> Result<Arc<dyn Space>> {
        Ok(Arc::new(FakeSpace::default()))
    }
}

/// What a stub's host mappings would be.
#[derive(Debug, Default)]
pub struct FakeSpace {
    pages: Mutex<BTreeMap<u64, (Pfn, Prot)>>,
}

impl FakeSpace {
    /// What guest code would find at the page of `at`.
    ///
    /// # Panics
    /// Never in practice.
    pub fn lookup(&self, at: UserAddr) -> Option<(Pfn, Prot)> {
        self.pages.lock().expect("no test panics with it").get(&at.vpn()).copied()
    }
    /// All mapped pages.
    ///
    /// # Panics
    /// Never in practice.
    pub fn all(&self) -> BTreeMap<u64, (Pfn, Prot)> {
        self.pages.lock().expect("no test panics with it").clone()
    }
}

impl Space for FakeSpace {
    fn map(&self, at: UserAddr, pfn: Pfn, pages: u32, prot: Prot, _populate: bool) {
        let mut p = self.pages.lock().expect("no test panics with it");
        for i in 0..pages {
            p.insert(at.vpn() + u64::from(i), (pfn.add(i), prot));
        }
    }
    fn add(&self, at: UserAddr, pfn: Pfn, pages: u32, prot: Prot, populate: bool) {
        self.map(at, pfn, pages, prot, populate);
    }
    fn unmap(&self, at: UserAddr, pages: u64) {
        let mut p = self.pages.lock().expect("no test panics with it");
        let gone: Vec<u64> = p.range(at.vpn()..at.vpn() + pages).map(|(k, _)| *k).collect();
        for k in gone {
            p.remove(&k);
        }
    }
    fn protect(&self, at: UserAddr, pages: u64, prot: Prot) {
        let mut p = self.pages.lock().expect("no test panics with it");
        for k in at.vpn()..at.vpn() + pages {
            p.get_mut(&k).expect("protect only what is mapped").1 = prot;
        }
    }
    fn has_queued(&self) -> bool {
        false
    }
    fn demand(&self) {}
    fn flush(&self) -> Result<()> {
        Ok(())
    }
    fn generation(&self) -> u64 {
        0
    }
    fn new_thread(self: Arc<Self>, _: &Regs, _: Option<&XState>) -> Result<Box<dyn Thread>> {
        err(Errno::ENOSYS)
    }
}
