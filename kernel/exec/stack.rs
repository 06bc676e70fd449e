//! The first stack of a program: strings, auxiliary vector, pointers. System V ABI for x86-64, 3.4.1.

use std::sync::Arc;

use arch::Prot;
use base::{Cred, Errno, PAGE_SIZE, Result, UserAddr, UserMemory, err};
use mm::{AddressSpace, Layout, MapFlags, MapRequest};

use super::{Program, Strings, elf};
use crate::Kernel;

/// Auxiliary vector types, linux/auxvec.h.
mod at {
    pub(super) const NULL: u64 = 0;
    pub(super) const PHDR: u64 = 3;
    pub(super) const PHENT: u64 = 4;
    pub(super) const PHNUM: u64 = 5;
    pub(super) const PAGESZ: u64 = 6;
    pub(super) const BASE: u64 = 7;
    pub(super) const FLAGS: u64 = 8;
    pub(super) const ENTRY: u64 = 9;
    pub(super) const UID: u64 = 11;
    pub(super) const EUID: u64 = 12;
    pub(super) const GID: u64 = 13;
    pub(super) const EGID: u64 = 14;
    pub(super) const PLATFORM: u64 = 15;
    pub(super) const HWCAP: u64 = 16;
    pub(super) const CLKTCK: u64 = 17;
    pub(super) const SECURE: u64 = 23;
    pub(super) const RANDOM: u64 = 25;
    pub(super) const HWCAP2: u64 = 26;
    pub(super) const EXECFN: u64 = 31;
    pub(super) const SYSINFO_EHDR: u64 = 33;
    pub(super) const MINSIGSTKSZ: u64 = 51;
}

/// Bytes of stack mapped below the strings at the start; it grows from there.
const FIRST_STACK: u64 = 132 << 10;

/// Where a new program starts.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// First instruction: the interpreter's, if there is one.
    pub entry: UserAddr,
    /// Stack pointer.
    pub sp: UserAddr,
}

/// Maps program, interpreter, vDSO and stack into an empty address space.
///
/// # Errors
/// ENOMEM, E2BIG and what mapping says.
#[allow(clippy::too_many_arguments)]
pub fn load(
    kernel: &Kernel,
    mm: &Arc<AddressSpace>,
    program: &Program,
    main: &elf::Image,
    interp: Option<&(Program, elf::Image)>,
    argv: &Strings,
    envp: &Strings,
    name: &[u8],
    cred: &Cred,
) -> Result<Start> {
    let top = mm.pick_stack_top();
    // An executable with an interpreter lies low, as Linux puts it; the interpreter itself, or a static
    // PIE, where mmap puts things.
    let at = if main.position_independent && interp.is_some() {
        mm.pick_pie_base()
    } else {
        UserAddr::NULL
    };
    let placed = main.map(mm, &program.file, at)?;
    let (entry, interp_base) = match interp {
        Some((p, image)) => {
            let i = image.map(mm, &p.file, UserAddr::NULL)?;
            (i.bias.wrapping_add(image.entry), i.bias)
        }
        None => (placed.bias.wrapping_add(main.entry), 0),
    };
    let brk = mm.pick_brk(UserAddr(placed.end));
    mm.init_brk(brk);
    let vdso = kernel.vdso.map(mm)?;

    let mut strings = Builder::new(top);
    let execfn = strings.string(name)?;
    let env_at = strings.strings(envp)?;
    let arg_at = strings.strings(argv)?;
    let (env_end, arg_end) = (env_at.1, arg_at.1);
    let platform = strings.string(b"x86_64")?;
    let mut random = [0u8; 16];
    kernel.random(&mut random);
    strings.align(16);
    let random_at = strings.bytes(&random)?;

    let secure = cred.uid != cred.euid || cred.gid != cred.egid;
    let cpu = arch::xsave::hwcap();
    // The stub's entry finds its thread by the GS base: programs shall ask the kernel to change it.
    const FSGSBASE: u64 = 2;
    let patching = kernel.memory.patch_entry().is_some();
    let hwcap2 = if patching { cpu.hwcap2 & !FSGSBASE } else { cpu.hwcap2 };
    let aux = [
        (at::SYSINFO_EHDR, vdso.0),
        (at::HWCAP, cpu.hwcap),
        (at::PAGESZ, PAGE_SIZE as u64),
        (at::CLKTCK, 100),
        (at::PHDR, placed.bias.wrapping_add(main.phdr)),
        (at::PHENT, 56),
        (at::PHNUM, u64::from(main.phnum)),
        (at::BASE, interp_base),
        (at::FLAGS, 0),
        (at::ENTRY, placed.bias.wrapping_add(main.entry)),
        (at::UID, u64::from(cred.uid)),
        (at::EUID, u64::from(cred.euid)),
        (at::GID, u64::from(cred.gid)),
        (at::EGID, u64::from(cred.egid)),
        (at::SECURE, u64::from(secure)),
        (at::RANDOM, random_at),
        (at::HWCAP2, hwcap2),
        (at::EXECFN, execfn),
        (at::PLATFORM, platform),
        (at::MINSIGSTKSZ, arch::xsave::min_sigstack()),
        (at::NULL, 0),
    ];
    let mut words = vec![argv.len() as u64];
    words.extend(&arg_at.0);
    words.push(0);
    words.extend(&env_at.0);
    words.push(0);
    let aux_index = words.len();
    words.extend(aux.iter().flat_map(|(k, v)| [*k, *v]));
    let sp = strings.words(&words)?;
    let auxv = words[aux_index..].iter().flat_map(|w| w.to_le_bytes()).collect();
    let first = (top.0 - sp).next_multiple_of(PAGE_SIZE as u64) + FIRST_STACK;
    let mut prot = Prot::READ | Prot::WRITE;
    prot.set(Prot::EXEC, main.exec_stack);
    mm.map(MapRequest {
        addr: UserAddr(top.0 - first),
        flags: MapFlags::FIXED | MapFlags::STACK | MapFlags::GROWSDOWN,
        max_prot: Prot::all(),
        name: Some("[stack]"),
        ..MapRequest::anonymous(first, prot)
    })?;

    strings.store(mm)?;
    mm.foresee_start();

    mm.set_layout(Layout {
        start_code: UserAddr(placed.code.0),
        end_code: UserAddr(placed.code.1),
        start_data: UserAddr(placed.data.0),
        end_data: UserAddr(placed.data.1),
        start_brk: brk,
        brk,
        start_stack: UserAddr(sp),
        arg_start: UserAddr(arg_at.0.first().copied().unwrap_or(arg_end)),
        arg_end: UserAddr(arg_end),
        env_start: UserAddr(env_at.0.first().copied().unwrap_or(env_end)),
        env_end: UserAddr(env_end),
        auxv,
        exe: Some(program.image.clone()),
    });
    Ok(Start { entry: UserAddr(entry), sp: UserAddr(sp) })
}

/// Builds the stack from its top downwards in kernel memory, to be copied at once.
struct Builder {
    top: u64,
    /// Bytes in reverse order of addresses: the first is at `top - 1`.
    reversed: Vec<u8>,
}

impl Builder {
    fn new(top: UserAddr) -> Builder {
        Builder { top: top.0, reversed: vec![0; 8] }
    }
    fn at(&self) -> u64 {
        self.top - self.reversed.len() as u64
    }
    fn bytes(&mut self, b: &[u8]) -> Result<u64> {
        if self.reversed.len() + b.len() > 16 << 20 {
            return err(Errno::E2BIG);
        }
        self.reversed.extend(b.iter().rev());
        Ok(self.at())
    }
    fn string(&mut self, s: &[u8]) -> Result<u64> {
        self.bytes(&[0])?;
        self.bytes(s)
    }
    /// Addresses in order, and the end of the last.
    fn strings(&mut self, list: &Strings) -> Result<(Vec<u64>, u64)> {
        let end = self.at();
        let mut at = Vec::with_capacity(list.len());
        for s in list.iter().rev() {
            at.push(self.string(s)?);
        }
        at.reverse();
        Ok((at, end))
    }
    fn align(&mut self, to: usize) {
        while !(self.at() as usize).is_multiple_of(to) {
            self.reversed.push(0);
        }
    }
    /// The pointer block: its start is the stack pointer, 16-byte aligned.
    fn words(&mut self, words: &[u64]) -> Result<u64> {
        self.align(16);
        if words.len() % 2 == 1 {
            self.bytes(&[0; 8])?;
        }
        let raw: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
        self.bytes(&raw)
    }
    fn store(mut self, mm: &AddressSpace) -> Result<()> {
        let at = self.at();
        self.reversed.reverse();
        mm.write(UserAddr(at), &self.reversed)
    }
}
