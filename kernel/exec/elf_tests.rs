//! ELF headers, right ones and 2,000 wrong ones.

use std::sync::Arc;

use base::{Errno, UserAddr};
use fs::vfs_inode::Executing;
use goblin::elf::program_header::PT_PHDR;
use mm::AddressSpace;

use super::*;
use crate::testing::{Files, Random};
use testelf::{TEXT, TestElf};

/// A small ELF file with a system call.
#[path = "../../arch/patch/testelf.rs"]
mod testelf;

const INTERP: &[u8] = b"/lib64/ld-linux-x86-64.so.2\0";
const HEADERS: usize = 5;
const INTERP_AT: usize = 64 + HEADERS * 56;

/// A position independent program of two segments, as a linker lays it out.
fn sample() -> Vec<u8> {
    let mut f = vec![0x90u8; 0x2800];
    let mut put = |at: usize, bytes: &[u8]| f[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    put(16, &ET_DYN.to_le_bytes());
    put(18, &EM_X86_64.to_le_bytes());
    put(20, &1u32.to_le_bytes());
    for (at, v) in [(24, 0x1000u64), (32, 64), (40, 0)] {
        put(at, &v.to_le_bytes());
    }
    put(48, &0u32.to_le_bytes());
    for (at, v) in [(52, 64u16), (54, 56), (56, HEADERS as u16), (58, 64), (60, 0), (62, 0)] {
        put(at, &v.to_le_bytes());
    }
    let n = INTERP.len() as u64;
    let table = HEADERS as u64 * 56;
    let headers: [(u32, u32, [u64; 6]); HEADERS] = [
        // type, flags, offset, vaddr, paddr, filesz, memsz, align
        (PT_PHDR, PF_R, [64, 64, 64, table, table, 8]),
        (PT_INTERP, PF_R, [INTERP_AT as u64, INTERP_AT as u64, INTERP_AT as u64, n, n, 1]),
        (PT_LOAD, PF_R | PF_X, [0, 0, 0, 0x1800, 0x1800, 0x1000]),
        (PT_LOAD, PF_R | PF_W, [0x1800, 0x2800, 0x2800, 0x1000, 0x3000, 0x1000]),
        (PT_GNU_STACK, PF_R | PF_W, [0, 0, 0, 0, 0, 16]),
    ];
    for (i, (kind, flags, words)) in headers.into_iter().enumerate() {
        let at = 64 + i * 56;
        put(at, &kind.to_le_bytes());
        put(at + 4, &flags.to_le_bytes());
        for (j, w) in words.into_iter().enumerate() {
            put(at + 8 + j * 8, &w.to_le_bytes());
        }
    }
    put(INTERP_AT, INTERP);
    f
}

fn program(files: &Files, bytes: &[u8]) -> Program {
    let (file, path) = files.put("/program", bytes);
    let head = bytes[..bytes.len().min(crate::exec::HEAD)].to_vec();
    Program { file, head, image: Arc::new(Executing::new(path).unwrap()) }
}

fn errno(r: Result<Image>) -> Errno {
    r.unwrap_err().errno()
}

#[test]
fn a_good_image_is_read_and_mapped() {
    let files = Files::new();
    let p = program(&files, &sample());
    let image = Image::parse(&p).unwrap();
    assert_eq!(image.interp.as_deref(), Some(&INTERP[..INTERP.len() - 1]));
    assert_eq!((image.entry, image.phdr, image.phnum), (0x1000, 64, HEADERS as u16));
    assert!(image.position_independent && !image.exec_stack);
    assert_eq!(image.span(), 0x6000);

    let mm = AddressSpace::new(&files.memory).unwrap();
    let placed = image.map(&mm, &p.file, UserAddr(0x5555_5555_4000)).unwrap();
    assert_eq!(placed.bias, 0x5555_5555_4000);
    assert_eq!(placed.code, (placed.bias, placed.bias + 0x1800));
    assert_eq!(placed.data, (placed.bias + 0x2800, placed.bias + 0x3800));
    assert_eq!(placed.end, placed.bias + 0x5800);
    let mut byte = [0u8; 2];
    mm.read(UserAddr(placed.data.1 - 1), &mut byte).unwrap();
    assert_eq!(byte, [0x90, 0], "the file's last byte, then the first of the zeros");
}

/// The heap begins behind the trampolines, wherever the image lies.
#[test]
fn trampolines_lie_behind_the_image() {
    let files = Files::new();
    files.memory.set_patch_entry(Some(0x7fff_0000_0b00));
    let elf = TestElf::function(b"\xb8\x27\0\0\0\x0f\x05\xc3");
    for base in [0x5555_5555_4000, 0] {
        let p = program(&files, &elf.build());
        let image = Image::parse(&p).unwrap();
        let mm = AddressSpace::new(&files.memory).unwrap();
        // What the hole that is chosen must not be cut short by.
        for at in [0x7000_0000_0000, 0x7fff_f000_0000] {
            let page = MapRequest::anonymous(PAGE, Prot::READ);
            mm.map(MapRequest { addr: UserAddr(at), ..page }).unwrap();
        }
        let placed = image.map(&mm, &p.file, UserAddr(base)).unwrap();
        let vmas = mm.vmas();
        let t = vmas.iter().find(|v| v.name.path == b"[patch]").expect("trampolines");
        assert_eq!(t.start.0, (placed.bias + image.highest()).next_multiple_of(PAGE));
        assert_eq!(t.end.0, placed.end);
        let mut first = [0];
        mm.read(UserAddr(placed.bias + TEXT), &mut first).unwrap();
        assert_eq!(first, [0xe9], "a jump");
    }
}

#[test]
fn headers_that_make_no_sense_are_refused() {
    let files = Files::new();
    let with = |at: usize, bytes: &[u8]| {
        let mut f = sample();
        f[at..at + bytes.len()].copy_from_slice(bytes);
        errno(Image::parse(&program(&files, &f)))
    };
    let load = 64 + 2 * 56;
    for (what, at, bytes) in [
        ("magic", 0, &b"\x7fELG"[..]),
        ("32 bit", 4, &[1]),
        ("big endian", 5, &[2]),
        ("relocatable", 16, &1u16.to_le_bytes()),
        ("another machine", 18, &183u16.to_le_bytes()),
        ("size of a header", 54, &32u16.to_le_bytes()),
        ("no headers", 56, &0u16.to_le_bytes()),
        ("too many headers", 56, &u16::MAX.to_le_bytes()),
        ("headers past the end", 32, &0x10_0000u64.to_le_bytes()),
        ("headers at the end of numbers", 32, &u64::MAX.to_le_bytes()),
        ("more file than memory", load + 40, &0x10u64.to_le_bytes()),
        ("address beyond user space", load + 16, &(USER_TOP).to_le_bytes()),
        ("size that wraps", load + 40, &u64::MAX.to_le_bytes()),
        ("offset and address of different pages", load + 8, &0x10u64.to_le_bytes()),
        ("interpreter without end", INTERP_AT + INTERP.len() - 1, b"x"),
        ("segments out of order", load + 56 + 16, &0x800u64.to_le_bytes()),
    ] {
        assert_eq!(with(at, bytes), Errno::ENOEXEC, "{what}");
    }
    for len in [0, 1, 4, 63] {
        assert_eq!(errno(Image::parse(&program(&files, &sample()[..len]))), Errno::ENOEXEC);
    }
}

/// Whatever the headers say: an image or an error, and mapping it gives a place or an error.
#[test]
fn two_thousand_mutations() {
    let files = Files::new();
    let good = sample();
    let mut r = Random(0x5eed);
    let (mut accepted, mut mapped) = (0, 0);
    for _ in 0..2000 {
        let mut f = good.clone();
        for _ in 0..=r.below(4) {
            let edge = [0, 1, 0xfff, 0x1000, u64::MAX, u64::MAX >> 1, USER_TOP, USER_TOP - 1];
            let value = if r.below(2) == 0 { edge[r.below(edge.len())] } else { r.next() };
            let size = [1, 2, 4, 8][r.below(4)];
            let at = r.below(INTERP_AT / size) * size;
            f[at..at + size].copy_from_slice(&value.to_le_bytes()[..size]);
        }
        if r.below(8) == 0 {
            f.truncate(r.below(f.len()));
        }
        let p = program(&files, &f);
        let Ok(image) = Image::parse(&p) else { continue };
        accepted += 1;
        let mm = AddressSpace::new(&files.memory).unwrap();
        if let Ok(placed) = image.map(&mm, &p.file, UserAddr::NULL) {
            assert!(placed.end <= USER_TOP, "{placed:x?}");
            mapped += 1;
        }
    }
    assert!(accepted > 100 && mapped > 50, "{accepted} accepted, {mapped} mapped");
}
