//! /proc/cpuinfo from CPUID (Intel SDM volume 2A, AMD APM volume 3 appendix E), in Linux's words.

use fs::procfs::CpuModel;

/// CPUID: leaf and subleaf to eax, ebx, ecx, edx.
pub type CpuId = fn(u32, u32) -> [u32; 4];

const EAX: usize = 0;
const EBX: usize = 1;
const ECX: usize = 2;
const EDX: usize = 3;

/// A register full of flags: leaf, subleaf, register, the names by bit (`-`: not shown).
type Word = (u32, u32, usize, &'static str);

/// In the order in which Linux shows them (arch/x86/include/asm/cpufeatures.h).
const WORDS: [Word; 7] = [
    (
        1,
        0,
        EDX,
        "fpu vme de pse tsc msr pae mce cx8 apic - sep mtrr pge mca cmov pat pse36 pn clflush - \
         dts acpi mmx fxsr sse sse2 ss ht tm ia64 pbe",
    ),
    (
        0x8000_0001,
        0,
        EDX,
        "- - - - - - - - - - - syscall - - - - - - - mp nx - mmxext - - fxsr_opt pdpe1gb rdtscp - lm \
         3dnowext 3dnow",
    ),
    (
        1,
        0,
        ECX,
        "pni pclmulqdq dtes64 monitor ds_cpl vmx smx est tm2 ssse3 cid sdbg fma cx16 xtpr pdcm - \
         pcid dca sse4_1 sse4_2 x2apic movbe popcnt tsc_deadline_timer aes xsave - avx f16c rdrand \
         hypervisor",
    ),
    (
        0x8000_0001,
        0,
        ECX,
        "lahf_lm cmp_legacy svm extapic cr8_legacy abm sse4a misalignsse 3dnowprefetch osvw ibs xop \
         skinit wdt - lwp fma4 tce - nodeid_msr - tbm topoext perfctr_core perfctr_nb - bpext ptsc \
         perfctr_llc mwaitx",
    ),
    (
        7,
        0,
        EBX,
        "fsgsbase tsc_adjust sgx bmi1 hle avx2 - smep bmi2 erms invpcid rtm cqm - mpx rdt_a \
         avx512f avx512dq rdseed adx smap avx512ifma - clflushopt clwb intel_pt avx512pf avx512er \
         avx512cd sha_ni avx512bw avx512vl",
    ),
    (0xd, 1, EAX, "xsaveopt xsavec xgetbv1 xsaves"),
    (
        7,
        0,
        ECX,
        "- avx512vbmi umip pku ospke waitpkg avx512_vbmi2 - gfni vaes vpclmulqdq avx512_vnni \
         avx512_bitalg - avx512_vpopcntdq - la57 - - - - - rdpid - - cldemote - movdiri movdir64b",
    ),
];

/// The words of `flags`.
fn flags(cpuid: &impl Fn(u32, u32) -> [u32; 4]) -> Vec<String> {
    let (basic, extended) = (cpuid(0, 0)[EAX], cpuid(0x8000_0000, 0)[EAX]);
    let mut out = Vec::new();
    for (leaf, sub, reg, names) in WORDS {
        let last = if leaf < 0x8000_0000 { basic } else { extended };
        if leaf > last {
            continue;
        }
        let bits = cpuid(leaf, sub)[reg];
        let set = names.split_whitespace().enumerate().filter(|(i, _)| bits >> i & 1 != 0);
        out.extend(set.map(|(_, n)| n).filter(|n| *n != "-").map(str::to_owned));
    }
    out
}

/// The bytes of registers as text.
fn text(words: &[u32]) -> String {
    let bytes: Vec<u8> =
        words.iter().flat_map(|w| w.to_le_bytes()).take_while(|b| *b != 0).collect();
    String::from_utf8_lossy(&bytes).trim().to_owned()
}

/// The frequency that Intel's brand string ends with (`@ 2.40GHz`), in MHz.
fn mhz_of(brand: &str) -> Option<f64> {
    let speed = brand.rsplit_once('@')?.1.trim();
    let ghz: f64 = speed.strip_suffix("GHz")?.parse().ok()?;
    Some(ghz * 1000.0)
}

/// What CPUID says.
pub(super) fn decode(cpuid: &impl Fn(u32, u32) -> [u32; 4]) -> CpuModel {
    let [max, b, c, d] = cpuid(0, 0);
    let extended = cpuid(0x8000_0000, 0)[EAX];
    let [sig, misc, _, _] = cpuid(1, 0);
    let base_family = sig >> 8 & 0xf;
    let family = if base_family == 0xf { base_family + (sig >> 20 & 0xff) } else { base_family };
    let high_model = if family >= 6 { sig >> 12 & 0xf0 } else { 0 };
    let name = if extended >= 0x8000_0004 {
        let words: Vec<u32> = (2..5).flat_map(|i| cpuid(0x8000_0000 + i, 0)).collect();
        text(&words)
    } else {
        "unknown".to_owned()
    };
    let base_mhz = if max >= 0x16 { f64::from(cpuid(0x16, 0)[EAX] & 0xffff) } else { 0.0 };
    let mhz = if base_mhz > 0.0 { base_mhz } else { mhz_of(&name).unwrap_or(0.0) };
    let cache_kb = if extended >= 0x8000_0006 { cpuid(0x8000_0006, 0)[ECX] >> 16 } else { 0 };
    let sizes = if extended >= 0x8000_0008 { cpuid(0x8000_0008, 0)[EAX] } else { 0 };
    let or = |n: u32, usual: u32| if n == 0 { usual } else { n };
    CpuModel {
        vendor: text(&[b, d, c]),
        family,
        model: sig >> 4 & 0xf | high_model,
        name,
        stepping: sig & 0xf,
        microcode: 0, // only ring 0 can ask
        mhz,
        cache_kb,
        cpuid_level: max,
        flags: flags(cpuid),
        bugs: Vec::new(),
        clflush: or((misc >> 8 & 0xff) * 8, 64),
        phys_bits: or(sizes & 0xff, 36),
        virt_bits: or(sizes >> 8 & 0xff, 48),
    }
}

/// What is known without CPUID: the flags of leaf 1, from the auxiliary vector.
pub(super) fn without() -> CpuModel {
    let edx = arch::xsave::hwcap().hwcap as u32;
    decode(&|leaf, _| match leaf {
        0 => [1, 0, 0, 0],
        1 => [0, 0, 0, edx],
        _ => [0; 4],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(leaf: u32, sub: u32) -> [u32; 4] {
        let ascii = |s: &[u8; 16]| {
            let word = |i: usize| u32::from_le_bytes([s[i], s[i + 1], s[i + 2], s[i + 3]]);
            [word(0), word(4), word(8), word(12)]
        };
        match (leaf, sub) {
            (0, _) => [0xd, 0x756e_6547, 0x6c65_746e, 0x4965_6e69],
            (1, _) => [0x0005_0657, 0x0800, 1 | 1 << 31, 1 | 1 << 4 | 1 << 10],
            (7, 0) => [0, 1 << 5 | 1 << 31, 1 << 3, 0],
            (0xd, 1) => [0b11, 0, 0, 0],
            (0x8000_0000, _) => [0x8000_0008, 0, 0, 0],
            (0x8000_0001, _) => [0, 0, 1, 1 << 11 | 1 << 29],
            (0x8000_0002, _) => ascii(b"Intel(R) Xeon(R)"),
            (0x8000_0003, _) => ascii(b" Test CPU @ 2.50"),
            (0x8000_0004, _) => ascii(b"GHz\0\0\0\0\0\0\0\0\0\0\0\0\0"),
            (0x8000_0006, _) => [0, 0, 1024 << 16, 0],
            (0x8000_0008, _) => [46 | 48 << 8, 0, 0, 0],
            _ => [0; 4],
        }
    }

    #[test]
    fn a_processor() {
        let m = decode(&sample);
        assert_eq!(m.vendor, "GenuineIntel");
        assert_eq!((m.family, m.model, m.stepping), (6, 85, 7));
        assert_eq!(m.name, "Intel(R) Xeon(R) Test CPU @ 2.50GHz");
        assert_eq!((m.mhz, m.cache_kb, m.clflush), (2500.0, 1024, 64));
        assert_eq!((m.phys_bits, m.virt_bits, m.cpuid_level), (46, 48, 13));
        assert_eq!(
            m.flags.join(" "),
            "fpu tsc syscall lm pni hypervisor lahf_lm avx2 avx512vl xsaveopt xsavec pku"
        );
    }

    #[test]
    fn no_register_has_more_than_32_flags() {
        for (leaf, _, _, names) in WORDS {
            assert!(names.split_whitespace().count() <= 32, "{leaf:#x}");
        }
        assert!(without().flags.contains(&"sse2".to_owned()));
    }
}
