//! The registers of an x86-64 guest thread.

/// General registers, in the order of the host's `user_regs_struct`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
#[allow(missing_docs)]
pub struct Regs {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub rbp: u64,
    pub rbx: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rax: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
    /// The system call number while inside one, else all ones.
    pub orig_rax: u64,
    pub rip: u64,
    pub cs: u64,
    pub eflags: u64,
    pub rsp: u64,
    pub ss: u64,
    pub fs_base: u64,
    pub gs_base: u64,
    pub ds: u64,
    pub es: u64,
    pub fs: u64,
    pub gs: u64,
}

impl Regs {
    /// Flags that user code may be given: CF PF AF ZF SF TF DF OF RF AC.
    pub const USER_FLAGS: u64 = 0x50dd5;

    /// These registers with the general ones, rip and the user's flags of `other`: the segments, their bases and the
    /// rest of the flags stay.
    pub fn with_general(&self, other: &Regs) -> Regs {
        Regs {
            eflags: self.eflags & !Self::USER_FLAGS | other.eflags & Self::USER_FLAGS,
            cs: self.cs,
            ss: self.ss,
            fs_base: self.fs_base,
            gs_base: self.gs_base,
            ds: self.ds,
            es: self.es,
            fs: self.fs,
            gs: self.gs,
            ..*other
        }
    }

    /// What a program starts with: 64-bit user segments, interrupts on, all else zero.
    pub fn initial(ip: u64, sp: u64) -> Regs {
        Regs {
            rip: ip,
            rsp: sp,
            cs: 0x33,
            ss: 0x2b,
            eflags: 0x202,
            orig_rax: u64::MAX,
            ..Regs::default()
        }
    }
}

/// Extended state in the standard (not compacted) XSAVE format. Its size is the host's
/// (CPUID leaf 13): 832 bytes with AVX, 11,008 with AMX.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct XState(pub Box<[u8]>);
