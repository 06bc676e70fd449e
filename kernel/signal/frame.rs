//! Signal frames: the stack a handler runs on, and the way back. x86-64 `struct rt_sigframe`:
//!
//! ```text
//!   +0    return address (sa_restorer)
//!   +8    ucontext: flags, link, stack (24), sigcontext (256), mask (8)   304 bytes
//!   +312  siginfo                                                         128 bytes
//!   +440  ... padding to 64 ...
//!         XSAVE area with its magic words, as large as the host's
//! ```

use arch::Regs;
use base::{Errno, Result, UserAddr, UserMemory, err};

use super::queue::{Action, SigInfo, sa};
use super::set::{SigSet, nr};
use crate::syscall::Ctx;

const UC: u64 = 8;
const MCONTEXT: usize = 40;
const UC_SIZE: usize = 304;
const FRAME: usize = 8 + UC_SIZE + 128;
const SS_ONSTACK: u32 = 1;
const SS_DISABLE: u32 = 2;
const SS_AUTODISARM: u32 = 1 << 31;

fn put(buf: &mut [u8], at: usize, v: u64) {
    buf[at..at + 8].copy_from_slice(&v.to_le_bytes());
}
fn get(buf: &[u8], at: usize) -> u64 {
    let mut w = [0u8; 8];
    w.copy_from_slice(&buf[at..at + 8]);
    u64::from_le_bytes(w)
}

/// Whether `sp` lies on the alternate stack.
pub fn on_alt_stack(sp: u64, base: u64, size: u64) -> bool {
    sp > base && sp - base <= size
}

/// Order of the general registers in `struct sigcontext_64`.
fn gregs(r: &Regs) -> [u64; 18] {
    [
        r.r8, r.r9, r.r10, r.r11, r.r12, r.r13, r.r14, r.r15, r.rdi, r.rsi, r.rbp, r.rbx, r.rdx,
        r.rax, r.rcx, r.rsp, r.rip, r.eflags,
    ]
}

/// Builds a frame for `info` and points the thread at the handler.
///
/// # Errors
/// EFAULT if the stack cannot hold it.
pub fn push(cx: &mut Ctx, info: &SigInfo, action: &Action) -> Result<()> {
    if action.flags & sa::RESTORER == 0 {
        return err(Errno::EFAULT); // x86-64 has no other way back
    }
    let xstate = cx.thread.xstate()?;
    let fp = arch::xsave::to_frame(&xstate);
    let mut regs = *cx.thread.regs();
    regs.rip = cx.mm.original_ip(regs.rip);
    let (mask, alt, mut alt_flags) = {
        let s = cx.task.signals.lock();
        (s.saved.unwrap_or(s.blocked), (s.alt_base, s.alt_size), s.alt_flags)
    };
    let on_alt = alt_flags & SS_AUTODISARM == 0 && on_alt_stack(regs.rsp, alt.0, alt.1);
    let mut sp = regs.rsp.wrapping_sub(128);
    let mut entering = false;
    if action.flags & sa::ONSTACK != 0 && alt.1 != 0 && !on_alt {
        sp = alt.0.wrapping_add(alt.1);
        entering = true;
    }
    let fp_at = sp.wrapping_sub(fp.len() as u64) & !63;
    let at = (fp_at.wrapping_sub(FRAME as u64) & !15).wrapping_sub(8);
    // An overflow of the alternate stack must not run into what lies below it.
    if (entering || on_alt) && !on_alt_stack(at, alt.0, alt.1) {
        return err(Errno::EFAULT);
    }
    if alt.1 == 0 {
        alt_flags |= SS_DISABLE;
    } else if on_alt {
        alt_flags |= SS_ONSTACK;
    }

    let mut f = [0u8; FRAME];
    put(&mut f, 0, action.restorer);
    let uc = UC as usize;
    put(&mut f, uc, 1 | 2 | 4); // UC_FP_XSTATE, UC_SIGCONTEXT_SS, UC_STRICT_RESTORE_SS
    put(&mut f, uc + 16, alt.0);
    put(&mut f, uc + 24, u64::from(alt_flags));
    put(&mut f, uc + 32, alt.1);
    let mc = uc + MCONTEXT;
    for (i, v) in gregs(&regs).into_iter().enumerate() {
        put(&mut f, mc + i * 8, v);
    }
    put(&mut f, mc + 144, regs.cs & 0xffff | (regs.ss & 0xffff) << 48);
    let (trapno, fault_err, cr2) = cx.last_fault;
    put(&mut f, mc + 152, fault_err);
    put(&mut f, mc + 160, trapno);
    put(&mut f, mc + 168, mask.0);
    put(&mut f, mc + 176, cr2);
    put(&mut f, mc + 184, fp_at);
    put(&mut f, uc + 296, mask.0);
    f[8 + UC_SIZE..].copy_from_slice(&info.to_bytes());

    cx.mm.write(UserAddr(fp_at), &fp)?;
    cx.mm.write(UserAddr(at), &f)?;
    if let Some(fresh) = arch::xsave::for_handler(&xstate) {
        cx.thread.set_xstate(&fresh)?;
    }
    if alt_flags & SS_AUTODISARM != 0 {
        let mut s = cx.task.signals.lock();
        (s.alt_base, s.alt_size, s.alt_flags) = (0, 0, 0);
    }
    let r = cx.thread.regs_mut();
    r.rdi = u64::from(info.signo);
    r.rsi = at + 8 + UC_SIZE as u64;
    r.rdx = at + UC;
    r.rax = 0;
    r.rip = action.handler;
    r.rsp = at;
    r.cs = 0x33;
    r.ss = 0x2b;
    r.eflags &= !(1 << 8 | 1 << 10 | 1 << 16); // TF, DF, RF
    Ok(())
}

/// rt_sigreturn(2): restores what [`push`] saved, as far as the guest may choose it. `sp`: its `ucontext`, since the handler
/// has returned.
///
/// # Errors
/// EFAULT or EINVAL for a frame that cannot be: the caller forces SIGSEGV.
pub fn pop(cx: &mut Ctx, sp: u64) -> Result<()> {
    let mut uc = [0u8; UC_SIZE];
    cx.mm.read(UserAddr(sp), &mut uc)?;
    let mc = MCONTEXT;
    let fp_at = get(&uc, mc + 184);
    if fp_at != 0 {
        let mut fp = vec![0u8; arch::xsave::frame_len()];
        // A frame made by hand may be only the legacy 512 bytes long.
        if cx.mm.read(UserAddr(fp_at), &mut fp).is_err() {
            fp.truncate(512);
            cx.mm.read(UserAddr(fp_at), &mut fp)?;
        }
        let state = arch::xsave::from_frame(&fp)?;
        cx.thread.set_xstate(&state)?;
    } else {
        let init = arch::xsave::initial();
        cx.thread.set_xstate(&init)?;
    }
    let g = |i: usize| get(&uc, mc + i * 8);
    let mut r = Regs::initial(g(16), g(15));
    (r.r8, r.r9, r.r10, r.r11) = (g(0), g(1), g(2), g(3));
    (r.r12, r.r13, r.r14, r.r15) = (g(4), g(5), g(6), g(7));
    (r.rdi, r.rsi, r.rbp, r.rbx) = (g(8), g(9), g(10), g(11));
    (r.rdx, r.rax, r.rcx, r.eflags) = (g(12), g(13), g(14), g(17));
    if let Some(ip) = cx.mm.trampoline_ip(r.rip) {
        r.rip = ip;
    }
    cx.thread.set_general(&r);
    let mut mask = SigSet(get(&uc, 296));
    mask.remove(nr::KILL);
    mask.remove(nr::STOP);
    cx.task.set_blocked(mask);
    let (base, flags, size) = (get(&uc, 16), get(&uc, 24) as u32, get(&uc, 32));
    let mut s = cx.task.signals.lock();
    let now_on = on_alt_stack(sp, s.alt_base, s.alt_size);
    if !now_on || flags & SS_AUTODISARM != 0 {
        (s.alt_base, s.alt_size, s.alt_flags) =
            if flags & SS_DISABLE != 0 { (0, 0, 0) } else { (base, size, flags & SS_AUTODISARM) };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `struct rt_sigframe` of x86-64: return address, ucontext, siginfo.
    #[test]
    fn layout_is_the_abi() {
        let stack_t = 8 + 8 + 8;
        assert_eq!(MCONTEXT, 8 + 8 + stack_t, "flags, link, stack");
        assert_eq!(UC_SIZE, MCONTEXT + 256 + 8, "sigcontext, mask");
        assert_eq!(FRAME, 440);
        assert_eq!(size_of::<linux_raw_sys::general::siginfo_t>(), 128);
        assert_eq!(SigInfo::kernel(1).to_bytes().len(), 128);
    }

    #[test]
    fn registers_in_the_order_of_sigcontext() {
        let r = Regs { r8: 1, rdi: 9, rsp: 16, rip: 17, eflags: 18, ..Regs::default() };
        let g = gregs(&r);
        assert_eq!((g[0], g[8], g[15], g[16], g[17]), (1, 9, 16, 17, 18));
    }

    #[test]
    fn the_ends_of_an_alternate_stack() {
        assert!(!on_alt_stack(0x1000, 0x1000, 0x2000), "the lowest address is below it");
        assert!(on_alt_stack(0x1001, 0x1000, 0x2000));
        assert!(on_alt_stack(0x3000, 0x1000, 0x2000), "empty: the stack pointer is at its top");
        assert!(!on_alt_stack(0x3001, 0x1000, 0x2000));
        assert!(!on_alt_stack(0x10, 0, 0));
    }

    /// A handler may not give itself I/O rights or switch interrupts off.
    #[test]
    fn flags_that_a_frame_may_change() {
        let (interrupts, io_level, nested, virtual_8086) = (1 << 9, 3 << 12, 1 << 14, 1 << 17);
        assert_eq!(Regs::USER_FLAGS & (interrupts | io_level | nested | virtual_8086), 0);
        assert_ne!(Regs::USER_FLAGS & (1 << 8 | 1 << 10), 0, "TF and DF");
    }
}
