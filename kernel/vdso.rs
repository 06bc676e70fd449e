//! The vDSO of every process: two shared pages, made once.
//!
//! `arch::vdso` is the code and `arch::vvar` the clock data. Here they become a memory object that exec maps:
//! the data page first, the code behind it.

use std::sync::Arc;

use arch::vvar::Vvar;
use arch::{PhysMem, Prot};
use base::{Errno, PAGE_SIZE, Result, UserAddr};
use mm::{AddressSpace, MapFlags, MapRequest, Mappable, Memory, Named, ObjectName};

/// The vDSO of a kernel.
pub struct Vdso {
    vvar: Vvar,
    phys: Arc<PhysMem>,
    data: Arc<dyn Mappable>,
    code: Arc<dyn Mappable>,
    code_bytes: u64,
}

impl std::fmt::Debug for Vdso {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vdso").field("vvar", &self.vvar).finish_non_exhaustive()
    }
}

const DATA_BYTES: u64 = arch::vdso::VVAR_PAGES as u64 * PAGE_SIZE as u64;

impl Vdso {
    /// Makes the pages. `cpus`: how many virtual CPUs there are.
    ///
    /// # Errors
    /// ENOMEM.
    pub fn new(memory: &Arc<Memory>, cpus: u32) -> Result<Vdso> {
        let image = arch::vdso::image();
        let code_bytes = image.len().next_multiple_of(PAGE_SIZE) as u64;
        let pages = mm::anonymous_shared(memory, DATA_BYTES + code_bytes);
        let phys = memory.machine().phys().clone();
        let vvar = Vvar::new(&phys, pages.frame(0, true)?.pfn(), cpus);
        for (i, piece) in image.chunks(PAGE_SIZE).enumerate() {
            let index = u64::from(arch::vdso::VVAR_PAGES) + i as u64;
            phys.write(pages.frame(index, true)?.addr(), piece);
        }
        let named = |path: &[u8]| {
            Named::new(pages.clone(), ObjectName { path: path.to_vec(), dev: 0, ino: 0 })
        };
        Ok(Vdso { vvar, data: named(b"[vvar]"), code: named(b"[vdso]"), phys, code_bytes })
    }

    /// Maps both into an address space; returns where the ELF header is (AT_SYSINFO_EHDR).
    ///
    /// # Errors
    /// ENOMEM.
    pub fn map(&self, mm: &Arc<AddressSpace>) -> Result<UserAddr> {
        let request = |addr, len, prot, object: &Arc<dyn Mappable>, offset, flags| MapRequest {
            addr,
            len,
            prot,
            max_prot: prot,
            flags: MapFlags::SHARED | flags,
            object: Some((object.clone(), offset)),
            name: None,
        };
        // One request finds the room for both; the second replaces its end.
        let all = DATA_BYTES + self.code_bytes;
        let none = MapFlags::empty();
        let at = mm.map(request(UserAddr::NULL, all, Prot::READ, &self.data, 0, none))?;
        let code_at = at.add(DATA_BYTES).map_err(|_| Errno::ENOMEM)?;
        let rx = Prot::READ | Prot::EXEC;
        // A dynamic linker looks at it first of all.
        let flags = MapFlags::FIXED | MapFlags::POPULATE;
        mm.map(request(code_at, self.code_bytes, rx, &self.code, DATA_BYTES, flags))?;
        Ok(code_at)
    }

    /// Keeps the guest's clocks running: on each way into user mode. Cheap when nothing is due.
    #[inline]
    pub fn refresh(&self) {
        self.vvar.refresh(&self.phys);
    }
}
