//! The XSAVE area: its layout on this CPU, and its way into and out of signal frames.
//!
//! The host hands out extended state ([`XState`]) in the standard format: 512 bytes of FXSAVE, a 64-byte header,
//! then the components, each at the offset that CPUID leaf 13 gives. A signal frame carries the same with the
//! software's bytes of FXSAVE (464..512) telling what is there, and a second magic number behind it
//! (Linux arch/x86/include/uapi/asm/sigcontext.h, `struct _fpx_sw_bytes`). What comes back in a frame is
//! the guest's word: [`from_frame`] makes of it a state that the host accepts, or EINVAL.
//!
//! AMX tile data (component 18) is not in frames: Linux gives it only to processes that asked
//! (ARCH_REQ_XCOMP_PERM), and without it the area is 2.8 kB in place of 11 kB.

use std::arch::x86_64::CpuidResult;
use std::sync::OnceLock;

use base::{Errno, Result, err};

use crate::regs::XState;

/// First magic number, in the software's bytes of the FXSAVE part.
pub const FP_XSTATE_MAGIC1: u32 = 0x4650_5853;
/// Second magic number, right behind the area.
pub const FP_XSTATE_MAGIC2: u32 = 0x4650_5845;
/// AT_PLATFORM.
pub const PLATFORM: &str = "x86_64";

const FXSAVE: usize = 512;
const HEADER: usize = 64;
const SW_BYTES: usize = 464;
const MXCSR: usize = 24;
const MXCSR_MASK: usize = 28;
/// x87 and SSE: the FXSAVE part.
const FP_SSE: u64 = 3;
const PKRU: u32 = 9;
/// Components that a process must ask for.
const ON_DEMAND: u64 = 1 << 18;

/// The XSAVE area on this CPU.
#[derive(Debug, Clone)]
pub struct Layout {
    /// Bytes of the area with every component that the host has enabled: what ptrace moves.
    pub host_size: usize,
    /// Bytes of the area in a signal frame, without the magic number behind it.
    pub frame_size: usize,
    /// The components in a signal frame, as bits (XCR0 less those on demand).
    pub features: u64,
    /// Bits that MXCSR may have.
    pub mxcsr_mask: u32,
    /// Offset and size of each component; zeros where there is none.
    components: [(usize, usize); 63],
}

/// The layout on this CPU.
pub fn layout() -> &'static Layout {
    static LAYOUT: OnceLock<Layout> = OnceLock::new();
    LAYOUT.get_or_init(Layout::of_host)
}

/// CPUID, leaf and subleaf.
/// One CPUID leaf as eax, ebx, ecx, edx: what /proc/cpuinfo is made of.
pub fn cpuid_words(leaf: u32, sub: u32) -> [u32; 4] {
    let r = cpuid(leaf, sub);
    [r.eax, r.ebx, r.ecx, r.edx]
}

pub(crate) fn cpuid(leaf: u32, sub: u32) -> CpuidResult {
    #[allow(unused_unsafe)] // safe in newer toolchains
    // SAFETY: every x86-64 CPU has CPUID.
    unsafe {
        std::arch::x86_64::__cpuid_count(leaf, sub)
    }
}

impl Layout {
    fn of_host() -> Layout {
        let xsave = cpuid(1, 0).ecx & 1 << 27 != 0; // OSXSAVE
        let mut l = Layout {
            host_size: FXSAVE + HEADER,
            frame_size: FXSAVE + HEADER,
            features: FP_SSE,
            mxcsr_mask: mxcsr_mask(),
            components: [(0, 0); 63],
        };
        if !xsave {
            return l;
        }
        // SAFETY: OSXSAVE says that XGETBV works.
        let xcr0 = unsafe { xgetbv() };
        l.features = xcr0 & !ON_DEMAND;
        l.host_size = cpuid(13, 0).ebx as usize;
        for i in (2..63).filter(|i| xcr0 & 1 << i != 0) {
            let c = cpuid(13, i);
            l.components[i as usize] = (c.ebx as usize, c.eax as usize);
            if l.features & 1 << i != 0 {
                l.frame_size = l.frame_size.max((c.ebx + c.eax) as usize);
            }
        }
        l
    }

    /// Where component `i` (2..63) lies: offset and size.
    pub fn component(&self, i: u32) -> Option<(usize, usize)> {
        self.components.get(i as usize).copied().filter(|c| c.1 != 0)
    }
}

/// Bytes that a signal frame needs for the area, with the second magic number. It must be aligned to
/// 64 bytes.
pub fn frame_len() -> usize {
    layout().frame_size + 4
}

/// # Safety
/// CPUID must say OSXSAVE.
#[target_feature(enable = "xsave")]
unsafe fn xgetbv() -> u64 {
    // SAFETY: register 0 exists wherever XSAVE is enabled.
    unsafe { std::arch::x86_64::_xgetbv(0) }
}

/// The bits of MXCSR that this CPU knows (Intel SDM 1, 11.6.6).
fn mxcsr_mask() -> u32 {
    #[repr(C, align(16))]
    struct Fx([u8; FXSAVE]);
    let mut area = Fx([0; FXSAVE]);
    // SAFETY: every x86-64 CPU has FXSAVE; it writes 512 bytes, aligned to 16.
    unsafe { std::arch::x86_64::_fxsave64(area.0.as_mut_ptr()) };
    match u32_at(&area.0, MXCSR_MASK) {
        0 => 0xffbf,
        mask => mask,
    }
}

fn u32_at(b: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(b[at..at + 4].try_into().expect("four bytes"))
}
fn u64_at(b: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(b[at..at + 8].try_into().expect("eight bytes"))
}
fn put32(b: &mut [u8], at: usize, v: u32) {
    b[at..at + 4].copy_from_slice(&v.to_le_bytes());
}
fn put64(b: &mut [u8], at: usize, v: u64) {
    b[at..at + 8].copy_from_slice(&v.to_le_bytes());
}

/// x87 control word of a new program: all exceptions masked, extended precision.
const X87_CONTROL: u16 = 0x37f;
/// MXCSR of a new program: all exceptions masked, no flag raised.
const MXCSR_INITIAL: u32 = 0x1f80;
/// PKRU of a new program and of a handler: access to key 0 only.
const PKRU_INITIAL: u32 = 0x5555_5554;

/// What a program starts with: all components initial.
pub fn initial() -> XState {
    let l = layout();
    let mut b = vec![0; l.host_size];
    b[0..2].copy_from_slice(&X87_CONTROL.to_le_bytes());
    put32(&mut b, MXCSR, MXCSR_INITIAL);
    put32(&mut b, MXCSR_MASK, l.mxcsr_mask);
    put64(&mut b, FXSAVE, FP_SSE);
    let mut state = XState(b.into());
    // A header bit that is clear would mean access to all.
    set_pkru(&mut state, PKRU_INITIAL);
    state
}

/// What a signal handler starts on when `state` is interrupted, if that will not do. Linux gives it the [`initial`] state; here
/// x87, SSE and the protection keys are initial, and the rest of the vector registers, which nobody relies on, stay.
pub fn for_handler(state: &XState) -> Option<XState> {
    let b = &state.0;
    let x87 = u64_at(b, FXSAVE) & 1 == 0 || u32_at(b, 0) == u32::from(X87_CONTROL) && b[4] == 0;
    let keys = pkru(state).is_none_or(|v| v == PKRU_INITIAL);
    if x87 && keys && u32_at(b, MXCSR) == MXCSR_INITIAL {
        return None;
    }
    let mut new = state.clone();
    new.0[..FXSAVE].copy_from_slice(&initial().0[..FXSAVE]);
    put64(&mut new.0, FXSAVE, u64_at(b, FXSAVE) | FP_SSE);
    set_pkru(&mut new, PKRU_INITIAL);
    Some(new)
}

/// In what two states of the same size differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Difference {
    /// In nothing that user code can tell.
    Nothing,
    /// In x87 and SSE: the FXSAVE part.
    Legacy,
    /// In more than that.
    More,
}

/// In what `a` and `b` differ: the software's bytes do not count, nor does which of x87 and SSE are marked as present.
pub(crate) fn difference(a: &[u8], b: &[u8]) -> Difference {
    if a.len() != b.len() || a.len() < FXSAVE + HEADER {
        return Difference::More;
    }
    let (ours, theirs) = (u64_at(a, FXSAVE), u64_at(b, FXSAVE));
    let same =
        |i: u32| layout().component(i).is_some_and(|(at, len)| a[at..at + len] == b[at..at + len]);
    let reserved = FXSAVE + 8..FXSAVE + HEADER;
    if (ours ^ theirs) & !FP_SSE != 0
        || a[reserved.clone()] != b[reserved]
        || !(2..63).filter(|i| ours & 1 << i != 0).all(same)
    {
        return Difference::More;
    }
    match a[..SW_BYTES] == b[..SW_BYTES] {
        true => Difference::Nothing,
        false => Difference::Legacy,
    }
}

/// Makes extended state that a guest may have written (of a frame's size) such that XRSTOR takes it:
/// components that the CPU has, no reserved bits.
pub(crate) fn sanitize(b: &mut [u8]) {
    let l = layout();
    b[SW_BYTES..FXSAVE].fill(0);
    let mxcsr = u32_at(b, MXCSR) & l.mxcsr_mask;
    put32(b, MXCSR, mxcsr);
    let present = u64_at(b, FXSAVE) & l.features;
    b[FXSAVE + 8..FXSAVE + HEADER].fill(0);
    put64(b, FXSAVE, present);
}

/// Whether XRSTOR takes extended state (of a frame's size) as it is.
pub(crate) fn is_valid(b: &[u8]) -> bool {
    let l = layout();
    u32_at(b, MXCSR) & !l.mxcsr_mask == 0
        && u64_at(b, FXSAVE) & !l.features == 0
        && b[FXSAVE + 8..FXSAVE + HEADER].iter().all(|b| *b == 0)
}

/// What a signal frame holds for `state`: [`frame_len`] bytes.
pub fn to_frame(state: &XState) -> Vec<u8> {
    let l = layout();
    let mut b = vec![0; frame_len()];
    let n = l.frame_size.min(state.0.len());
    b[..n].copy_from_slice(&state.0[..n]);
    b[SW_BYTES..FXSAVE].fill(0);
    put32(&mut b, SW_BYTES, FP_XSTATE_MAGIC1);
    put32(&mut b, SW_BYTES + 4, frame_len() as u32);
    put64(&mut b, SW_BYTES + 8, l.features);
    put32(&mut b, SW_BYTES + 16, l.frame_size as u32);
    let present = u64_at(&b, FXSAVE) & l.features | FP_SSE;
    b[FXSAVE + 8..FXSAVE + HEADER].fill(0);
    put64(&mut b, FXSAVE, present);
    put32(&mut b, l.frame_size, FP_XSTATE_MAGIC2);
    b
}

/// How many bytes of a frame [`from_frame`] wants, told from its first 512: the whole area with the
/// second magic number if the frame claims to have one that we can read, else only those 512.
pub fn frame_extent(fxsave: &[u8; FXSAVE]) -> usize {
    let l = layout();
    let (extended, size) =
        (u32_at(fxsave, SW_BYTES + 4) as usize, u32_at(fxsave, SW_BYTES + 16) as usize);
    let plausible = u32_at(fxsave, SW_BYTES) == FP_XSTATE_MAGIC1
        && (FXSAVE + HEADER..=l.frame_size).contains(&size)
        && size <= extended;
    if plausible { size + 4 } else { FXSAVE }
}

/// The state that a guest's frame asks for, in a form that the host takes. `frame` is what could be read of it: at
/// least 512 bytes, at most [`frame_len`]; [`frame_extent`] tells how much counts. As in Linux, a frame without valid magic numbers restores x87 and SSE only,
/// and what a frame leaves out becomes initial.
///
/// # Errors
/// EINVAL (the guest gets SIGSEGV): reserved bits in MXCSR, unknown components, the compacted format,
/// reserved bytes of the header.
pub fn from_frame(frame: &[u8]) -> Result<XState> {
    let l = layout();
    let Some(fxsave) = frame.first_chunk::<FXSAVE>() else { return err(Errno::EINVAL) };
    if u32_at(fxsave, MXCSR) & !l.mxcsr_mask != 0 {
        return err(Errno::EINVAL);
    }
    let mut state = initial();
    let out = &mut state.0;
    out[..SW_BYTES].copy_from_slice(&fxsave[..SW_BYTES]);
    put32(out, MXCSR_MASK, l.mxcsr_mask);
    let extent = frame_extent(fxsave);
    let size = extent - 4;
    let extended =
        extent > FXSAVE && frame.len() >= extent && u32_at(frame, size) == FP_XSTATE_MAGIC2;
    if !extended {
        put64(out, FXSAVE, u64_at(out, FXSAVE) | FP_SSE);
        return Ok(state);
    }
    let header = &frame[FXSAVE..FXSAVE + HEADER];
    let present = u64_at(header, 0);
    if present & !l.features != 0 || header[8..].iter().any(|b| *b != 0) {
        return err(Errno::EINVAL);
    }
    let wanted = u64_at(fxsave, SW_BYTES + 8) & l.features;
    let mut have = wanted & present;
    for i in (2..63).filter(|i| wanted & present & 1 << i != 0) {
        match l.component(i) {
            Some((at, len)) if at + len <= size => {
                out[at..at + len].copy_from_slice(&frame[at..at + len]);
            }
            _ => have &= !(1 << i),
        }
    }
    put64(out, FXSAVE, have);
    Ok(state)
}

/// The protection-key register in a state, if the CPU has one. Initial: 0, everything allowed.
pub fn pkru(state: &XState) -> Option<u32> {
    let (at, _) = layout().component(PKRU)?;
    if u64_at(&state.0, FXSAVE) & 1 << PKRU == 0 {
        return Some(0);
    }
    Some(u32_at(&state.0, at))
}

/// Sets the protection-key register, where there is one.
pub fn set_pkru(state: &mut XState, value: u32) {
    if let Some((at, _)) = layout().component(PKRU) {
        put32(&mut state.0, at, value);
        let present = u64_at(&state.0, FXSAVE) | 1 << PKRU;
        put64(&mut state.0, FXSAVE, present);
    }
}

/// AT_MINSIGSTKSZ: the largest signal frame, with its alignments and the red zone.
pub fn min_sigstack() -> u64 {
    // siginfo, ucontext and return address (440), red zone (128), alignment; 928 as in Linux, which
    // counts the largest of its frame formats.
    (928 + frame_len() as u64).next_multiple_of(16)
}

/// A value of the host's auxiliary vector, as the host gave it: getauxval(3) will not do, because
/// glibc replaces AT_HWCAP by bits of its own.
fn host_auxv(wanted: u64) -> Option<u64> {
    static AUXV: OnceLock<Vec<u8>> = OnceLock::new();
    let auxv = AUXV.get_or_init(|| std::fs::read("/proc/self/auxv").unwrap_or_default());
    auxv.chunks_exact(16).find(|e| u64_at(e, 0) == wanted).map(|e| u64_at(e, 8))
}

/// What programs are told of the CPU in the auxiliary vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HwCap {
    /// AT_HWCAP: CPUID leaf 1, edx, as the host's kernel sees it (it hides bits that it does not use).
    pub hwcap: u64,
    /// AT_HWCAP2: bit 1 if user code may use RDFSBASE and its kin, which the host must have enabled.
    pub hwcap2: u64,
}

/// The CPU's capabilities.
pub fn hwcap() -> HwCap {
    HwCap {
        hwcap: host_auxv(libc::AT_HWCAP).unwrap_or_else(|| u64::from(cpuid(1, 0).edx)),
        hwcap2: host_auxv(libc::AT_HWCAP2).unwrap_or(0) & 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_the_hosts() {
        let l = layout();
        assert!(l.frame_size <= l.host_size && l.frame_size >= FXSAVE + HEADER);
        assert_eq!(l.features & FP_SSE, FP_SSE);
        assert_eq!(l.mxcsr_mask & 0xffbf, 0xffbf);
        let host = host_auxv(libc::AT_MINSIGSTKSZ).unwrap_or(0);
        let sse2 = 1 << 26;
        assert_eq!(hwcap().hwcap & sse2, sse2);
        if host != 0 {
            assert!(min_sigstack().abs_diff(host) <= 16, "{} {host}", min_sigstack());
        }
        println!("{l:?} min {}, host {host}", min_sigstack());
    }

    #[test]
    fn there_and_back() {
        let l = layout();
        let mut s = initial();
        s.0[32..48].copy_from_slice(&[7; 16]); // st0
        s.0[160..176].copy_from_slice(&[8; 16]); // xmm0
        let mut present = FP_SSE;
        for i in 2..63u32 {
            if let Some((at, len)) = l.component(i).filter(|_| l.features & 1 << i != 0) {
                s.0[at..at + len].fill(i as u8);
                present |= 1 << i;
            }
        }
        put64(&mut s.0, FXSAVE, present);
        let frame = to_frame(&s);
        assert_eq!(frame.len(), frame_len());
        let fx = frame.first_chunk().expect("512 bytes");
        assert_eq!(frame_extent(fx), frame.len());
        assert_eq!(u64_at(fx, SW_BYTES + 8), l.features);
        assert_eq!(from_frame(&frame), Ok(s.clone()));
        assert_eq!(pkru(&s).is_some(), l.component(PKRU).is_some());

        // Without the second magic number: x87 and SSE only, the rest initial.
        let mut cut = frame.clone();
        cut[l.frame_size] ^= 1;
        let got = from_frame(&cut).expect("accepted");
        assert_eq!(got.0[..SW_BYTES], s.0[..SW_BYTES]);
        let rest = FXSAVE + HEADER..;
        assert_eq!(got.0[rest.clone()], initial().0[rest]);
        assert_eq!(from_frame(&frame[..FXSAVE]), Ok(got));
        // A component that the frame leaves out is initial.
        let mut none = frame.clone();
        put64(&mut none, SW_BYTES + 8, FP_SSE);
        let got = from_frame(&none).expect("accepted");
        assert_eq!(u64_at(&got.0, FXSAVE), FP_SSE);
    }

    #[test]
    fn what_a_handler_starts_on() {
        let good = initial();
        assert_eq!(for_handler(&good), None);
        let with = |at: usize, v: u32| {
            let mut s = good.clone();
            put32(&mut s.0, at, v);
            for_handler(&s)
        };
        assert_eq!(with(MXCSR, 0x1fa0), Some(good.clone()), "a flag is raised");
        assert_eq!(with(0, 0x27f), Some(good.clone()), "precision");
        assert_eq!(with(0, 0x37f | 1 << 16), Some(good.clone()), "a flag of the x87");
        assert_eq!(with(4, 0x80), Some(good.clone()), "something on the stack");
        assert_eq!(with(160, 7), None, "xmm0");
        let mut absent = good.clone();
        put64(&mut absent.0, FXSAVE, u64_at(&good.0, FXSAVE) & !1);
        put32(&mut absent.0, 0, 0);
        assert_eq!(for_handler(&absent), None, "what is not present is initial");
    }

    #[test]
    fn how_states_differ() {
        let mut a = initial();
        let mut b = a.clone();
        let present = u64_at(&b.0, FXSAVE);
        put64(&mut b.0, FXSAVE, present & !FP_SSE);
        put32(&mut b.0, SW_BYTES, 1);
        assert_eq!(difference(&a.0, &b.0), Difference::Nothing, "not marked, but equal");
        b.0[160] = 1;
        assert_eq!(difference(&a.0, &b.0), Difference::Legacy, "xmm0");
        for i in 2..63u32 {
            let Some((at, _)) = layout().component(i).filter(|_| layout().features & 1 << i != 0)
            else {
                continue;
            };
            let present = u64_at(&b.0, FXSAVE);
            put64(&mut a.0, FXSAVE, present | 1 << i);
            put64(&mut b.0, FXSAVE, present & !(1 << i));
            assert_eq!(difference(&a.0, &b.0), Difference::More, "component {i} is in one only");
            put64(&mut b.0, FXSAVE, present | 1 << i);
            assert_eq!(difference(&a.0, &b.0), Difference::Legacy);
            a.0[at] ^= 1;
            assert_eq!(difference(&a.0, &b.0), Difference::More, "component {i}");
            a.0[at] ^= 1;
        }
        assert_eq!(difference(&a.0[..FXSAVE], &b.0), Difference::More, "another size");
        b.0[FXSAVE + 15] |= 0x80;
        assert_eq!(difference(&a.0, &b.0), Difference::More, "compacted: for the host to refuse");
    }

    #[test]
    fn what_the_host_would_refuse() {
        let l = layout();
        let good = to_frame(&initial());
        let with = |at: usize, v: u64| {
            let mut f = good.clone();
            put64(&mut f, at, v);
            from_frame(&f).map(drop).map_err(|e| e.errno())
        };
        let bad = Err(Errno::EINVAL);
        assert_eq!(with(MXCSR, 0x1f80 | 1 << 31), bad);
        assert_eq!(with(FXSAVE, l.features | 1 << 62), bad);
        assert_eq!(with(FXSAVE, ON_DEMAND), bad);
        assert_eq!(with(FXSAVE + 8, 1 << 63), bad, "compacted");
        assert_eq!(with(FXSAVE + 24, 1), bad, "reserved");
        assert_eq!(with(FXSAVE, 0), Ok(()));
        assert!(from_frame(&[0; 100]).is_err());
        // Claims about sizes only decide what is read.
        for (extended, size) in [(0, u32::MAX), (u32::MAX, u32::MAX), (0, 0), (600, 700), (8, 500)]
        {
            let mut f = good.clone();
            put32(&mut f, SW_BYTES + 4, extended);
            put32(&mut f, SW_BYTES + 16, size);
            let fx = f.first_chunk().expect("512 bytes");
            assert!(frame_extent(fx) <= frame_len());
            assert!(from_frame(&f).is_ok());
        }
    }
}
