//! A guest thread's registers where the stub finds them: in a `ucontext` of its S region, either the one
//! that the host has pushed for a signal or one that the kernel makes up.
//!
//! All of it can be written by the guest at any time. Each word is read once; addresses are used only
//! after they were found to lie inside the region.

use std::sync::atomic::Ordering;

use base::{Errno, Result, err};

use super::control::Region;
use super::layout::{S_SIZE, s, saved, uc};
use crate::regs::{Regs, XState};
use crate::xsave;

/// Flags that user code may have: CF PF AF ZF SF TF DF OF RF AC ID, and the two that are always set.
const FLAGS: u64 = 0x0025_0dd5 | 0x202;
/// First address that no segment base may have.
const TASK_SIZE: u64 = 0x7fff_ffff_f000;
/// Trap flag: SIGTRAP after each instruction.
pub(super) const TF: u64 = 0x100;

/// Where a thread's registers are: offsets in its S region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Context {
    pub(super) at: usize,
    pub(super) fpstate: usize,
}

/// Where registers are in a context, in the order of its words.
const REGS: usize = 18;

fn words(r: &mut Regs) -> [&mut u64; REGS] {
    [
        &mut r.r8,
        &mut r.r9,
        &mut r.r10,
        &mut r.r11,
        &mut r.r12,
        &mut r.r13,
        &mut r.r14,
        &mut r.r15,
        &mut r.rdi,
        &mut r.rsi,
        &mut r.rbp,
        &mut r.rbx,
        &mut r.rdx,
        &mut r.rax,
        &mut r.rcx,
        &mut r.rsp,
        &mut r.rip,
        &mut r.eflags,
    ]
}

/// Word number of rax.
pub(super) const RAX: usize = 13;
/// Word number of rsp.
pub(super) const RSP: usize = 15;
/// Word number of rip.
pub(super) const RIP: usize = 16;
/// Word number of the flags.
pub(super) const EFLAGS: usize = 17;

impl Context {
    /// The one that the kernel makes up.
    pub(super) const MADE: Context = Context { at: s::MADE_CONTEXT, fpstate: s::MADE_FPSTATE };

    /// The one that the stub says the host has pushed. None if that cannot be.
    #[inline]
    pub(super) fn reported(r: &Region) -> Option<Context> {
        let inside = |address: u64, align: u64, len: usize| {
            let at = address.wrapping_sub(r.s_address());
            let fits =
                at >= s::STACK as u64 && at <= (S_SIZE - len) as u64 && at.is_multiple_of(align);
            fits.then_some(at as usize)
        };
        let at = inside(r.s64(s::CONTEXT).load(Ordering::Relaxed), 8, uc::LEN)?;
        let fp = r.s64(at + uc::FPSTATE).load(Ordering::Relaxed);
        let fpstate = inside(fp, 64, xsave::layout().frame_size)?;
        Some(Context { at, fpstate })
    }

    /// A word of the registers.
    #[inline]
    pub(super) fn load(self, r: &Region, word: usize) -> u64 {
        r.s64(self.at + uc::REGS + word * 8).load(Ordering::Relaxed)
    }
    /// Changes a word of the registers.
    #[inline]
    pub(super) fn store(self, r: &Region, word: usize, value: u64) {
        r.s64(self.at + uc::REGS + word * 8).store(value, Ordering::Relaxed);
    }
    /// Another word of the context, by byte offset.
    #[inline]
    pub(super) fn word(self, r: &Region, offset: usize) -> u64 {
        r.s64(self.at + offset).load(Ordering::Relaxed)
    }

    /// All registers but segment bases.
    pub(super) fn registers(self, r: &Region) -> Regs {
        let mut regs = Regs::initial(0, 0);
        for (i, w) in words(&mut regs).into_iter().enumerate() {
            *w = self.load(r, i);
        }
        regs
    }

    /// Sets all registers but segment bases, as far as user code may have them so.
    pub(super) fn set_registers(self, r: &Region, regs: &Regs) {
        let mut regs = *regs;
        regs.eflags = regs.eflags & FLAGS | 0x202;
        for (i, w) in words(&mut regs).into_iter().enumerate() {
            self.store(r, i, *w);
        }
    }

    /// The extended state, in a form that any thread may load.
    pub(super) fn xstate(self, r: &Region) -> XState {
        let mut b = vec![0; xsave::layout().frame_size];
        r.s_read(self.fpstate, &mut b);
        xsave::sanitize(&mut b);
        XState(b.into())
    }
}

/// The registers of a patched call, but for segment bases: rcx and r11 as a system call leaves them.
pub(super) fn of_patched_call(r: &Region) -> Regs {
    let word = |w: usize| r.s64(s::REGS + w * 8).load(Ordering::Relaxed);
    let [rdi, rsi, rdx, r10, r8, r9] = saved::ARGS.map(word);
    let [rbx, rbp, r12, r13, r14, r15] = saved::KEPT.map(word);
    let (rip, rsp, eflags) = (word(saved::RCX), word(saved::RSP), word(saved::FLAGS));
    let (rax, rcx, r11) = (word(saved::RAX), rip, eflags);
    let initial = Regs::initial(rip, rsp);
    Regs {
        rax,
        rbx,
        rcx,
        rdx,
        rsi,
        rdi,
        rbp,
        r8,
        r9,
        r10,
        r11,
        r12,
        r13,
        r14,
        r15,
        eflags,
        ..initial
    }
}

/// Writes extended state where [`Context::MADE`] has it.
///
/// # Errors
/// EINVAL if it is shorter than a frame's, or XRSTOR would fault on it.
pub(super) fn make_xstate(r: &Region, state: &XState) -> Result<()> {
    let n = xsave::layout().frame_size;
    let Some(bytes) = state.0.get(..n).filter(|b| xsave::is_valid(b)) else {
        return err(Errno::EINVAL);
    };
    r.s_write(s::MADE_FPSTATE, bytes);
    Ok(())
}

/// A segment base as the CPU takes it.
pub(super) fn segment_base(base: u64) -> u64 {
    if base < TASK_SIZE { base } else { 0 }
}
