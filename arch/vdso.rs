//! The vDSO of guests: a small shared object that every guest process finds mapped, so that
//! reading a clock is a function call and not a trap into the kernel.
//!
//! It is not the host's: a guest has its own clocks, and must not see the host's pages. The code is
//! vdso.s; this file wraps it into an ELF image of one page, with what C libraries and language
//! run-times look for: symbols `__vdso_*` of version `LINUX_2.6`, to be found through DT_HASH or
//! DT_GNU_HASH (vdso(7); glibc sysdeps/unix/sysv/linux/dl-vdso.h, musl src/internal/vdso.c, Go
//! runtime/vdso_linux.go), and an unwind table (a thread may be cancelled in here). The page in front of
//! it is the vvar page, the numbers that the code computes with: [`crate::vvar`].
//!
//! exec maps, in this order and read-only: the vvar frame ([`VVAR_PAGES`]), then [`image`] (executable);
//! AT_SYSINFO_EHDR is the address of the image.

use std::sync::OnceLock;

use base::PAGE_SIZE;

std::arch::global_asm!(include_str!("vdso.s"));

unsafe extern "C" {
    static umbra_vdso_start: u8;
    static umbra_vdso_end: u8;
    static umbra_vdso_clock_gettime: u8;
    static umbra_vdso_gettimeofday: u8;
    static umbra_vdso_time: u8;
    static umbra_vdso_clock_getres: u8;
    static umbra_vdso_getcpu: u8;
}

/// Pages right before the image that hold the vvar frame.
pub const VVAR_PAGES: u32 = 1;

/// What clock_getres(2) says of the coarse clocks, in nanoseconds; the system call must say it too.
pub const COARSE_RESOLUTION_NS: u32 = 4_000_000;

/// Where the code lies in the image; vdso.s computes the vvar page from it.
const CODE: usize = 0x800;

const SONAME: &str = "linux-vdso.so.1";
const VERSION: &str = "LINUX_2.6";

/// The image, one page. The same bytes for every process.
pub fn image() -> &'static [u8] {
    static IMAGE: OnceLock<Vec<u8>> = OnceLock::new();
    IMAGE.get_or_init(build)
}

/// The code and where each exported function starts in it.
fn code() -> (&'static [u8], [(&'static str, usize); 5]) {
    let start = &raw const umbra_vdso_start;
    // SAFETY: the two symbols bound one array of read-only bytes in our own image.
    let bytes = unsafe {
        let len = (&raw const umbra_vdso_end).offset_from(start) as usize;
        std::slice::from_raw_parts(start, len)
    };
    let at = |p: *const u8| p.addr() - start.addr();
    let functions = [
        ("__vdso_clock_gettime", at(&raw const umbra_vdso_clock_gettime)),
        ("__vdso_gettimeofday", at(&raw const umbra_vdso_gettimeofday)),
        ("__vdso_time", at(&raw const umbra_vdso_time)),
        ("__vdso_clock_getres", at(&raw const umbra_vdso_clock_getres)),
        ("__vdso_getcpu", at(&raw const umbra_vdso_getcpu)),
    ];
    (bytes, functions)
}

/// The System V hash of a symbol name (gABI, "Hash Table").
fn sysv_hash(name: &str) -> u32 {
    name.bytes().fold(0u32, |h, c| {
        let h = (h << 4).wrapping_add(u32::from(c));
        let g = h & 0xf000_0000;
        (h ^ (g >> 24)) & !g
    })
}

/// The GNU hash of a symbol name.
fn gnu_hash(name: &str) -> u32 {
    name.bytes().fold(5381u32, |h, c| h.wrapping_mul(33).wrapping_add(u32::from(c)))
}

/// A page that is filled from the front; offsets in it are addresses of the image.
struct Page(Vec<u8>);

impl Page {
    fn align(&mut self, to: usize) -> usize {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
        self.0.len()
    }
    fn bytes(&mut self, b: &[u8]) {
        self.0.extend_from_slice(b);
    }
    fn u16s(&mut self, v: &[u16]) {
        v.iter().for_each(|x| self.bytes(&x.to_le_bytes()));
    }
    fn u32s(&mut self, v: &[u32]) {
        v.iter().for_each(|x| self.bytes(&x.to_le_bytes()));
    }
    fn u64s(&mut self, v: &[u64]) {
        v.iter().for_each(|x| self.bytes(&x.to_le_bytes()));
    }
    /// A finished section from `at` to here.
    fn section(&self, at: usize) -> Section {
        Section { at, len: self.0.len() - at }
    }
}

#[derive(Clone, Copy)]
struct Section {
    at: usize,
    len: usize,
}

/// Strings, NUL-terminated, with their offsets.
struct Strings(Vec<u8>);

impl Strings {
    fn add(&mut self, s: &str) -> u32 {
        let at = self.0.len() as u32;
        self.0.extend_from_slice(s.as_bytes());
        self.0.push(0);
        at
    }
}

fn build() -> Vec<u8> {
    const EHDR: usize = 64;
    const PHDRS: usize = 3;
    let (text, functions) = code();
    let mut p = Page(vec![0; EHDR + PHDRS * 56]);

    // Symbols: null, the functions, the name of the version.
    let mut names = Strings(vec![0]);
    let at = p.align(8);
    p.u64s(&[0, 0, 0]);
    let mut symbols = Vec::new();
    for (i, (name, offset)) in functions.iter().enumerate() {
        let end = functions.get(i + 1).map_or(text.len(), |f| f.1);
        p.u32s(&[names.add(name)]);
        p.bytes(&[1 << 4 | 2, 0]); // STB_GLOBAL, STT_FUNC; default visibility
        p.u16s(&[TEXT_INDEX]);
        p.u64s(&[(CODE + offset) as u64, (end - offset) as u64]);
        symbols.push(*name);
    }
    p.u32s(&[names.add(VERSION)]);
    p.bytes(&[1 << 4 | 1, 0]); // STB_GLOBAL, STT_OBJECT
    p.u16s(&[0xfff1]); // SHN_ABS
    p.u64s(&[0, 0]);
    symbols.push(VERSION);
    let dynsym = p.section(at);
    let soname = names.add(SONAME);
    let count = symbols.len() as u32 + 1;

    // DT_HASH with one bucket: the chain 1, 2, ... n.
    let at = p.align(8);
    p.u32s(&[1, count, 1, 0]);
    p.u32s(&(2..count).chain([0]).collect::<Vec<_>>());
    let hash = p.section(at);

    // DT_GNU_HASH with one bucket, the symbols from 1 on, one Bloom word and shift 6.
    let at = p.align(8);
    let hashes: Vec<u32> = symbols.iter().map(|s| gnu_hash(s)).collect();
    let bloom = hashes.iter().fold(0u64, |b, h| b | 1 << (h % 64) | 1 << ((h >> 6) % 64));
    p.u32s(&[1, 1, 1, 6]);
    p.u64s(&[bloom]);
    p.u32s(&[1]);
    for (i, h) in hashes.iter().enumerate() {
        p.u32s(&[h & !1 | u32::from(i + 1 == hashes.len())]);
    }
    let gnu_hash_table = p.section(at);

    let at = p.0.len();
    p.bytes(&names.0);
    let dynstr = p.section(at);

    // Versions: 1 is the object's own name, 2 is LINUX_2.6; every symbol has 2.
    let at = p.align(2);
    p.u16s(&[0]);
    symbols.iter().for_each(|_| p.u16s(&[2]));
    let versym = p.section(at);
    let at = p.align(8);
    let version_name = dynsym_name(&p.0, dynsym, count - 1);
    for (flags, index, name, text, next) in
        [(1u16, 1u16, soname, SONAME, 28u32), (0, 2, version_name, VERSION, 0)]
    {
        p.u16s(&[1, flags, index, 1]);
        p.u32s(&[sysv_hash(text), 20, next, name, 0]);
    }
    let verdef = p.section(at);

    let at = p.align(8);
    let value = |s: Section| s.at as u64;
    p.u64s(&[14, u64::from(soname)]); // DT_SONAME
    p.u64s(&[4, value(hash), 0x6fff_fef5, value(gnu_hash_table)]);
    p.u64s(&[5, value(dynstr), 6, value(dynsym), 10, dynstr.len as u64, 11, 24]);
    p.u64s(&[0x6fff_fff0, value(versym), 0x6fff_fffc, value(verdef), 0x6fff_fffd, 2]);
    p.u64s(&[0, 0]);
    let dynamic = p.section(at);

    let (eh_frame_hdr, eh_frame) = unwind(&mut p, text.len());

    assert!(p.0.len() <= CODE, "the tables of the vDSO have grown into its code");
    p.0.resize(CODE, 0);
    p.bytes(text);
    let text = p.section(CODE);

    // Section headers are for debuggers; loaders use the program headers.
    let mut shnames = Strings(vec![0]);
    let sections = [
        (".hash", 5, 2, hash, 3, 0, 4),
        (".gnu.hash", 0x6fff_fff6, 2, gnu_hash_table, 3, 0, 0),
        (".dynsym", 11, 2, dynsym, 4, 1, 24),
        (".dynstr", 3, 2, dynstr, 0, 0, 0),
        (".gnu.version", 0x6fff_ffff, 2, versym, 3, 0, 2),
        (".gnu.version_d", 0x6fff_fffd, 2, verdef, 4, 2, 0),
        (".dynamic", 6, 3, dynamic, 4, 0, 16),
        (".eh_frame_hdr", 1, 2, eh_frame_hdr, 0, 0, 0),
        (".eh_frame", 1, 2, eh_frame, 0, 0, 0),
        (".text", 1, 6, text, 0, 0, 0),
    ];
    let mut headers = Page(vec![0; 64]);
    let mut header =
        |name: u32, kind: u32, flags: u64, addr: u64, s: Section, link, info, entry| {
            headers.u32s(&[name, kind]);
            headers.u64s(&[flags, addr, s.at as u64, s.len as u64]);
            headers.u32s(&[link, info]);
            headers.u64s(&[8, entry]);
        };
    for (name, kind, flags, s, link, info, entry) in sections {
        header(shnames.add(name), kind, flags, s.at as u64, s, link, info, entry);
    }
    let name = shnames.add(".shstrtab");
    let at = p.0.len();
    p.bytes(&shnames.0);
    header(name, 3, 0, 0, p.section(at), 0, 0, 0);
    let shoff = p.align(8);
    p.bytes(&headers.0);
    assert!(p.0.len() <= PAGE_SIZE, "the vDSO has grown over its page");
    p.0.resize(PAGE_SIZE, 0);

    let mut h = Page(Vec::new());
    h.bytes(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    h.u16s(&[3, 62]); // ET_DYN, EM_X86_64
    h.u32s(&[1]);
    h.u64s(&[0, EHDR as u64, shoff as u64]);
    h.u32s(&[0]);
    h.u16s(&[
        EHDR as u16,
        56,
        PHDRS as u16,
        64,
        sections.len() as u16 + 2,
        sections.len() as u16 + 1,
    ]);
    let whole = Section { at: 0, len: PAGE_SIZE };
    for (kind, flags, s, align) in [
        (1u32, 5u32, whole, PAGE_SIZE as u64), // PT_LOAD, R+X
        (2, 4, dynamic, 8),                    // PT_DYNAMIC
        (0x6474_e550, 4, eh_frame_hdr, 4),     // PT_GNU_EH_FRAME
    ] {
        h.u32s(&[kind, flags]);
        let (at, len) = (s.at as u64, s.len as u64);
        h.u64s(&[at, at, at, len, len, align]);
    }
    p.0[..h.0.len()].copy_from_slice(&h.0);
    p.0
}

/// Index of .text among the section headers of `build`.
const TEXT_INDEX: u16 = 10;

/// The string offset of symbol `i`.
fn dynsym_name(page: &[u8], dynsym: Section, i: u32) -> u32 {
    let at = dynsym.at + i as usize * 24;
    u32::from_le_bytes(page[at..at + 4].try_into().expect("four bytes"))
}

/// .eh_frame_hdr and .eh_frame: over all of the code, the CFA is rsp + 8 and the return address
/// lies right below it (DWARF 4, 6.4; LSB "Exception Frames").
fn unwind(p: &mut Page, text_len: usize) -> (Section, Section) {
    const HDR_LEN: usize = 20;
    let hdr = p.align(8);
    let frame = (hdr + HDR_LEN).next_multiple_of(8);
    let cie_len = 20u32;
    let fde = frame + 4 + cie_len as usize;
    let relative = |to: usize, from: usize| (to as u32).wrapping_sub(from as u32);
    // Version 1; frame pointer pcrel sdata4, count udata4, table datarel sdata4.
    p.bytes(&[1, 0x1b, 0x03, 0x3b]);
    p.u32s(&[relative(frame, hdr + 4), 1, relative(CODE, hdr), relative(fde, hdr)]);
    let eh_frame_hdr = p.section(hdr);
    p.align(8);
    p.u32s(&[cie_len, 0]);
    p.bytes(b"\x01zR\0\x01\x78\x10\x01\x1b"); // code align 1, data align -8, RA is column 16
    p.bytes(&[0x0c, 7, 8, 0x80 | 16, 1, 0, 0]); // def_cfa rsp+8; RA at cfa-8; nops
    p.u32s(&[20, relative(fde + 4, frame), relative(CODE, fde + 8), text_len as u32]);
    p.bytes(&[0; 8]); // no augmentation data, no instructions
    p.u32s(&[0]);
    (eh_frame_hdr, p.section(frame))
}

#[cfg(test)]
#[path = "vdso_tests.rs"]
mod tests;
