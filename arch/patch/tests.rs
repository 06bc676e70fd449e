//! Each reason to refuse, each shape of a window, and a verifier that is not satisfied by everything.
#![allow(clippy::unwrap_used)]

use iced_x86::Code;
use proptest::prelude::*;

use super::code::decoder;
use super::testelf::{DATA, TEXT, TestElf};
use super::{Analysis, Fault, Patch, Reason, verify};

const ENTRY: u64 = 0x7fff_0000_0b00;
const AREA: u64 = 0x2_0000;

/// `mov $39,%eax; syscall; ret`
const GETPID: &[u8] = b"\xb8\x27\0\0\0\x0f\x05\xc3";
/// `xor %eax,%eax; syscall; cmp $-4096,%rax; ja .+3; ret; ud2`
const READ: &[u8] = b"\x31\xc0\x0f\x05\x48\x3d\0\xf0\xff\xff\x77\x01\xc3\x0f\x0b";

fn reasons(elf: &TestElf) -> Vec<Reason> {
    let file = elf.build();
    let a = Analysis::of(&file).unwrap();
    let (patch, far) = a.patch(&file, AREA, ENTRY).unwrap();
    assert_eq!(verify(&file, &patch, ENTRY).map(|v| v.sites), Ok(patch.sites.len()));
    a.refused().iter().chain(&far).map(|r| r.reason).collect()
}

fn refused(code: &[u8]) -> Vec<Reason> {
    reasons(&TestElf::function(code))
}

/// The patch, and the window's place in the text.
fn patched(elf: &TestElf) -> (Patch, Vec<(u64, u64)>) {
    let file = elf.build();
    let (patch, far) = Analysis::of(&file).unwrap().patch(&file, AREA, ENTRY).unwrap();
    assert!(far.is_empty());
    verify(&file, &patch, ENTRY).unwrap();
    let windows = patch.sites.iter().map(|s| patch.window(s));
    let windows = windows.map(|w| (w.start - TEXT, w.end - w.start)).collect();
    (patch, windows)
}

fn window(code: &[u8]) -> (u64, u64) {
    let (_, windows) = patched(&TestElf::function(code));
    assert_eq!(windows.len(), 1, "{code:02x?}");
    windows[0]
}

#[test]
fn windows_of_every_shape() {
    assert_eq!(window(GETPID), (0, 7), "number and call");
    assert_eq!(window(READ), (2, 8), "call and comparison");
    // mov $1,%eax; mov %r8,%rdx; syscall: the number is not right in front, but all can move.
    assert_eq!(window(b"\xb8\x01\0\0\0\x4c\x89\xc2\x0f\x05\xc3"), (5, 5));
    // mov $1,%eax; mov %edx,%esi; syscall: two bytes in front are too few.
    assert_eq!(window(b"\xb8\x01\0\0\0\x89\xd6\x0f\x05\xc3"), (0, 9));
    // mov %edi,%eax; syscall; ret: both sides, and a return that moves.
    assert_eq!(window(b"\x89\xf8\x0f\x05\xc3"), (0, 5));
    // syscall; test %eax,%eax; js .+1: a condition grows.
    assert_eq!(window(b"\x0f\x05\x85\xc0\x78\x01\xc3\xc3"), (0, 6));
    // syscall; jmp with 4 bytes.
    assert_eq!(window(b"\x0f\x05\xe9\x01\0\0\0\x90\xc3"), (0, 7));
    // lea 0x1000(%rip),%rsi; syscall.
    assert_eq!(window(b"\x48\x8d\x35\0\x10\0\0\x0f\x05\xc3"), (0, 9));
    // A loop to the window's own first byte.
    assert_eq!(window(b"\x0f\x05\x83\xf8\xfc\x74\xf9\xc3"), (0, 5));
}

#[test]
fn what_needs_all_registers_is_left_alone() {
    // mov $58,%eax; syscall; ret: vfork.
    assert_eq!(reasons(&TestElf::function(b"\xb8\x3a\0\0\0\x0f\x05\xc3")), [Reason::NeedsAll]);
}

#[test]
fn the_stack_is_kept() {
    // pop %rdi; mov $35,%eax; syscall; push %rdi; ret: stack operations stay where they are.
    let (patch, windows) = patched(&TestElf::function(b"\x5f\xb8\x23\0\0\0\x0f\x05\x57\xc3"));
    assert_eq!(windows, [(1, 7)]);
    // Nothing of ours uses the stack or memory.
    let s = patch.sites[0];
    for i in decoder(&patch.code[..s.code_len.into()], 0) {
        let own = [
            Code::Mov_r32_imm32,
            Code::Lea_r64_m,
            Code::Mov_r64_imm64,
            Code::Jmp_rm64,
            Code::Syscall,
            Code::Jmp_rel32_64,
        ];
        assert!(own.contains(&i.code()));
    }
}

#[test]
fn a_call_where_the_unwind_information_ends() {
    // mov $60,%eax | syscall; test %rax,%rax; ret | xor %ebp,%ebp; ret
    let mut elf = TestElf::function(b"\xb8\x3c\0\0\0\x0f\x05\x48\x85\xc0\xc3\x31\xed\xc3");
    elf.symbols.clear();
    elf.frames = vec![(TEXT, 5, 0, false), (TEXT + 11, 3, 0, false)];
    assert_eq!(patched(&elf).1, [(0, 7)]);
    // A gap behind a return is not part of the function in front.
    elf.text[..5].copy_from_slice(b"\x90\x90\x90\x90\xc3");
    assert_eq!(reasons(&elf), [Reason::NotReached]);
}

#[test]
fn no_function() {
    let mut elf = TestElf::function(GETPID);
    elf.symbols.clear();
    assert_eq!(reasons(&elf), [Reason::NoFunction]);
    // A label says where something begins, not where it ends.
    elf.symbols.push((TEXT, 8, 0));
    assert_eq!(reasons(&elf), [Reason::NoFunction]);
    // Unwind information is as good as a symbol.
    elf.frames.push((TEXT, 8, 0, false));
    assert_eq!(reasons(&elf), []);
}

#[test]
fn bounds() {
    let mut elf = TestElf::function(GETPID);
    elf.symbols.push((TEXT + 7, 8, 2));
    assert_eq!(reasons(&elf), [Reason::Bounds]);
    elf.symbols.clear();
    elf.frames = vec![(TEXT, 8, 0, false), (TEXT + 7, 1, 0, false)];
    assert_eq!(reasons(&elf), [Reason::Bounds]);
}

#[test]
fn undecodable() {
    assert_eq!(refused(&[GETPID, b"\x06"].concat()), [Reason::Undecodable], "invalid");
    assert_eq!(refused(&[GETPID, b"\xb8\0"].concat()), [Reason::Undecodable], "cut off");
    // jmp into the middle of the mov in front of it.
    assert_eq!(refused(&[GETPID, b"\xeb\xf8"].concat()), [Reason::Undecodable], "overlapping");
    // The jump over a lock prefix is no contradiction: je .+1; lock cmpxchg %ecx,(%rdx)
    let lock = b"\x74\x01\xf0\x0f\xb1\x0a";
    assert_eq!(refused(&[lock, GETPID].concat()), []);
    // An operand's bytes are no call: mov $0x050f,%eax; ret
    let file = TestElf::function(b"\xb8\x0f\x05\0\0\xc3").build();
    let a = Analysis::of(&file).unwrap();
    assert_eq!((a.coincidences(), a.sites().len(), a.refused().len()), (1, 0, 0));
}

#[test]
fn indirect_jump() {
    // lea own_label(%rip),%rax; add %rdx,%rax; jmp *%rax; own_label: mov; syscall; ret
    let jump = b"\x48\x8d\x05\x05\0\0\0\x48\x01\xd0\xff\xe0";
    assert_eq!(refused(&[jump, GETPID].concat()), [Reason::IndirectJump]);
}

#[test]
fn not_reached() {
    assert_eq!(refused(&[b"\xc3", GETPID].concat()), [Reason::NotReached], "behind a return");
    assert_eq!(refused(&[b"\xeb\x08", GETPID, b"\xc3"].concat()), [Reason::NotReached]);
    assert_eq!(refused(&[b"\x74\x08", GETPID, b"\xc3"].concat()), [], "behind a condition");
}

#[test]
fn encoding() {
    assert_eq!(refused(b"\xb8\x27\0\0\0\xf3\x0f\x05\xc3"), [Reason::Encoding]);
}

#[test]
fn signal_return() {
    assert_eq!(refused(b"\x48\xc7\xc0\x0f\0\0\0\x0f\x05\x0f\x0b"), [Reason::SignalReturn]);
    assert_eq!(refused(b"\xb8\x0f\0\0\0\x0f\x05\x0f\x0b"), [Reason::SignalReturn]);
    let mut elf = TestElf::function(GETPID);
    elf.frames.push((TEXT, 8, 0, true));
    assert_eq!(reasons(&elf), [Reason::SignalReturn]);
}

#[test]
fn immovable() {
    let call = b"\xe8\x03\0\0\0";
    assert_eq!(refused(&[&call[..], b"\x0f\x05\xc3\xc3"].concat()), [Reason::Immovable]);
    // endbr64 is where an indirect jump arrives, also without being named.
    assert_eq!(refused(b"\xf3\x0f\x1e\xfa\x0f\x05\xc3"), [Reason::Immovable]);
    assert_eq!(refused(b"\x0f\x05\xe2\xfc\xc3"), [Reason::Immovable], "loop");
    assert_eq!(refused(b"\x0f\x05\xff\xe0"), [Reason::Immovable], "jmp *%rax");
    assert_eq!(refused(b"\x0f\x05\xcc\xcc\xcc\xcc"), [Reason::Immovable], "int3");
    assert_eq!(refused(b"\x0f\x05\x67\x8b\x05\0\0\0\0\xc3"), [Reason::Immovable], "eip-relative");
}

#[test]
fn branch_target() {
    // jmp to the syscall, in the function.
    assert_eq!(refused(&[GETPID, b"\xeb\xfb"].concat()), [Reason::BranchTarget]);
    // je over the number; then the comparison serves.
    let code = b"\x74\x05\xb8\x27\0\0\0\x0f\x05\x48\x3d\0\xf0\xff\xff\xc3";
    assert_eq!(window(code), (7, 8));
}

/// Branches from another function to the `syscall` of the first, in all forms.
#[test]
fn branch_from_elsewhere() {
    for form in [
        &b"\xe8"[..],
        b"\xe9",
        b"\x0f\x84",
        b"\x90\xe9",
        b"\x90\x90\x90\x0f\x8f",
        b"\xeb",
        b"\x75",
        b"\x31\xc0\x7c",
        b"\xe3",
    ] {
        for known in [true, false] {
            let mut elf = TestElf::function(GETPID);
            let at = TEXT + 16;
            let short = matches!(form[form.len() - 1], 0xeb | 0x75 | 0x7c | 0xe3);
            let len = form.len() as u64 + if short { 1 } else { 4 };
            let by = (TEXT + 5).wrapping_sub(at + len);
            let by = &by.to_le_bytes()[..if short { 1 } else { 4 }];
            assert_eq!(elf.add(&[form, by, b"\xc3"].concat()), at);
            elf.symbols.truncate(if known { 2 } else { 1 });
            assert_eq!(reasons(&elf), [Reason::BranchTarget], "{form:02x?}");
        }
    }
    // The same bytes within another instruction are no branch: mov $...e8,%rax
    let mut elf = TestElf::function(GETPID);
    let by = (TEXT + 5).wrapping_sub(TEXT + 16 + 7) as u32;
    elf.add(&[&b"\x48\xb8\xe8"[..], &by.to_le_bytes(), &[0, 0, 0, 0xc3]].concat());
    assert_eq!(reasons(&elf), []);
}

#[test]
fn entry_point() {
    let mut elf = TestElf::function(GETPID);
    elf.symbols.push((TEXT + 5, 0, 0));
    assert_eq!(reasons(&elf), [Reason::EntryPoint], "a label");
    // A table of landing pads: base omitted, types omitted, 1-byte forms, one call with pad at 5.
    let mut elf = TestElf::function(GETPID);
    elf.data = vec![0xff, 0xff, 0x01, 4, 0, 2, 5, 0];
    elf.frames.push((TEXT, 8, DATA, false));
    assert_eq!(reasons(&elf), [Reason::EntryPoint]);
    elf.data[6] = 0;
    assert_eq!(reasons(&elf), [], "no pad");
    elf.data[2] = 0x05;
    assert_eq!(reasons(&elf), [Reason::Bounds], "a form unknown");
}

#[test]
fn code_pointer() {
    let inside = TEXT + 5;
    let mut elf = TestElf::function(GETPID);
    elf.data = [0u64.to_le_bytes(), inside.to_le_bytes()].concat();
    assert_eq!(reasons(&elf), [Reason::CodePointer], "absolute");
    elf.data = [7, (inside as i64 - (DATA + 4) as i64) as u32].map(u32::to_le_bytes).concat();
    assert_eq!(reasons(&elf), [Reason::CodePointer], "relative to itself");
    // A switch table, named by a lea in another function: the second case is the syscall.
    let mut elf = TestElf::function(GETPID);
    elf.data =
        [TEXT, inside].map(|t| (t as i64 - DATA as i64) as i32).map(i32::to_le_bytes).concat();
    assert_eq!(reasons(&elf), [], "nobody names it");
    let at = elf.add(b"\x48\x8d\x05\0\0\0\0\xc3");
    let field = elf.text.len() - 5;
    elf.text[field..field + 4].copy_from_slice(&((DATA - (at + 7)) as u32).to_le_bytes());
    assert_eq!(reasons(&elf), [Reason::CodePointer], "a switch");
    // An immediate, in a program at a fixed address: mov $label,%edi
    let mut elf = TestElf::function(GETPID);
    elf.add(&[&b"\xbf"[..], &(inside as u32).to_le_bytes(), b"\xc3"].concat());
    assert_eq!(reasons(&elf), []);
    elf.fixed = true;
    assert_eq!(reasons(&elf), [Reason::CodePointer.min(Reason::BranchTarget)]);
}

#[test]
fn overlap() {
    // xor; syscall; mov %rax,%rdi; syscall; ret
    let code = b"\x31\xc0\x0f\x05\x48\x89\xc7\x0f\x05\xc3";
    let elf = TestElf::function(code);
    assert_eq!(reasons(&elf), [Reason::Overlap]);
    assert_eq!(patched(&elf).1, [(2, 5)]);
    // Neighbours that only touch are both patched.
    let twice = TestElf::function(&[&GETPID[..7], GETPID].concat());
    assert_eq!(patched(&twice).1, [(0, 7), (7, 7)]);
}

#[test]
fn page_boundary() {
    for (before, expected) in
        [(4096 - 7, None), (4096 - 6, Some(Reason::PageBoundary)), (4096, None)]
    {
        let mut elf = TestElf::function(&vec![0x90; before - 5]);
        elf.symbols.clear();
        elf.text.extend([&[0xc3; 5], GETPID].concat());
        elf.symbols.push((TEXT + before as u64, GETPID.len() as u64, 2));
        assert_eq!(reasons(&elf), Vec::from_iter(expected));
    }
}

#[test]
fn out_of_reach() {
    let file = TestElf::function(GETPID).build();
    let a = Analysis::of(&file).unwrap();
    for (area, near) in [(0x7fff_0000, true), (0x8000_2000, false), (1 << 40, false)] {
        let (patch, far) = a.patch(&file, area, ENTRY).unwrap();
        assert_eq!((patch.sites.len(), far.len()), if near { (1, 0) } else { (0, 1) });
        assert!(far.iter().all(|r| r.reason == Reason::OutOfReach && r.addr == TEXT + 5));
        verify(&file, &patch, ENTRY).unwrap();
    }
}

#[test]
fn maps_and_bytes() {
    let (p, _) = patched(&TestElf::function(READ));
    let (w, t) = (p.window(&p.sites[0]), p.trampoline(&p.sites[0]));
    assert_eq!((w.start, t.start), (TEXT + 2, AREA));
    assert_eq!(p.address_of(TEXT + 5), Some(TEXT + 5), "offsets are addresses in this file");
    assert_eq!((p.address_of(TEXT - 1), p.address_of(DATA)), (None, None));
    assert_eq!(p.to_original(t.start), Some(w.start), "before the call");
    assert_eq!(p.to_original(t.start + 20), Some(w.start), "at the real syscall");
    assert_eq!(p.to_original(t.start + 22), Some(w.start + 2), "behind it");
    assert_eq!(p.to_original(t.start + 28), Some(w.end), "at the jump back");
    assert_eq!(p.to_original(t.end), None);
    assert_eq!(p.to_original(AREA - 1), None);
    assert_eq!(p.to_trampoline(w.start), Some(t.start + 20), "restart: the real syscall");
    assert_eq!(p.to_trampoline(w.start + 2), Some(t.start + 22), "return");
    assert_eq!(p.to_trampoline(w.start + 3), None, "within an instruction");
    assert_eq!(p.to_trampoline(w.end), None);
    assert!(
        p.touches(TEXT..TEXT + 3) && !p.touches(TEXT..TEXT + 2) && !p.touches(w.end..w.end + 99)
    );
    // Bytewise or at once: the same text.
    let mut whole = READ.to_vec();
    p.apply(TEXT, &mut whole);
    let single = READ.iter().enumerate().map(|(i, &b)| {
        let mut one = [b];
        p.apply(TEXT + i as u64, &mut one);
        one[0]
    });
    assert!(single.eq(whole.iter().copied()));
    assert_eq!(whole[2..10], [0xe9, 0xf9, 0xef, 0x01, 0, 0xcc, 0xcc, 0xcc]);
    assert_eq!((&whole[..2], &whole[10..]), (&READ[..2], &READ[10..]));
}

/// The verifier's negative controls: each kind of wrong patch is found.
#[test]
fn verify_finds_what_is_wrong() {
    let file = TestElf::function(READ).build();
    let (good, _) = Analysis::of(&file).unwrap().patch(&file, AREA, ENTRY).unwrap();
    let check = |change: &dyn Fn(&mut Patch)| {
        let mut p = good.clone();
        change(&mut p);
        verify(&file, &p, ENTRY).unwrap_err()
    };
    assert!(matches!(check(&|p| p.sites[0].start += 1), Fault::BoundaryMoved(_)));
    assert!(matches!(check(&|p| p.sites[0].len += 1), Fault::Window(_)));
    assert!(matches!(check(&|p| p.sites[0].len -= 1), Fault::Window(_)));
    assert!(matches!(check(&|p| p.sites[0].starts |= 2), Fault::Map(_)));
    assert!(matches!(check(&|p| p.sites[0].syscall = 2), Fault::Map(_)));
    assert!(matches!(check(&|p| p.sites[0].back = 0), Fault::Map(_)));
    assert!(matches!(check(&|p| p.sites[0].code_len -= 1), Fault::Table));
    assert!(matches!(check(&|p| p.code.truncate(1)), Fault::Table));
    assert!(matches!(check(&|p| p.sites.push(p.sites[0])), Fault::Table));
    assert!(matches!(check(&|p| p.area += 4096), Fault::Trampoline(_)));
    // Every single byte of the trampoline matters.
    for i in 0..usize::from(good.sites[0].code_len) {
        check(&|p| p.code[i] = !p.code[i]);
    }
    assert!(matches!(verify(&file, &good, ENTRY + 1), Err(Fault::Trampoline(_))));
    // Somebody comes in by a branch, a symbol, an operand that the patch did not know of.
    let mut other = TestElf::function(READ);
    other.symbols.push((TEXT + 4, 0, 0));
    assert!(matches!(verify(&other.build(), &good, ENTRY), Err(Fault::Entry { .. })));
    for code in [&b"\xeb\xf2"[..], b"\xe8\xef\xff\xff\xff\xc3", b"\x48\x8d\x05\xed\xff\xff\xff\xc3"]
    {
        let mut other = TestElf::function(READ);
        other.add(code);
        assert_eq!(
            verify(&other.build(), &good, ENTRY),
            Err(Fault::Entry { from: TEXT + 16, to: TEXT + 4 })
        );
    }
}

/// Instructions that can be moved, some of them with a rip-relative operand.
const MOVABLE: &[&[u8]] = &[
    b"\x90",
    b"\x31\xc0",
    b"\x89\xf8",
    b"\x48\x89\xc7",
    b"\xb8\x27\0\0\0",
    b"\x48\x3d\0\xf0\xff\xff",
    b"\x4c\x8b\x05\x10\x20\0\0",
    b"\x48\x8d\x35\x40\x10\0\0",
    b"\x48\x8b\x3d\xf9\xff\x0f\0",
    b"\x83\x3d\0\x30\0\0\x05",
    b"\x66\x0f\x6f\x05\0\x11\0\0",
    b"\xc5\xf9\x6f\x05\0\x12\0\0",
    b"\x48\xc7\x44\x24\xf8\x01\0\0\0",
    b"\x64\x8b\x04\x25\x28\0\0\0",
    b"\xf0\x48\x0f\xb1\x0a",
    b"\x57",
    b"\x5f",
    b"\x48\xb8\x88\x77\x66\x55\x44\x33\x22\x11",
    b"\x0f\x95\xc0",
];

/// A file of 100 kB must not take a minute.
#[test]
fn tables_made_to_take_for_ever_are_refused() {
    // Dozens of descriptions share one table that goes on through all of the data.
    let mut elf = TestElf::function(&[GETPID, &[0x90; 100]].concat());
    elf.data = [&[0xff, 0xff, 0x01, 0x80, 0x18][..], &[0; 3000]].concat();
    elf.frames = (0..40).map(|i| (TEXT + i, 1, DATA, false)).collect();
    elf.frames[0].1 = 8;
    elf.frames.drain(1..8);
    let file = elf.build();
    assert!(Analysis::of(&file).is_ok());
    elf.frames.extend((0..5000).map(|i| (TEXT + 200 + i, 1, DATA, false)));
    elf.text.resize(6000, 0x90);
    let file = elf.build();
    assert_eq!(Analysis::of(&file).err(), Some(super::NotPatchable::Headers));
    // Two segments so far apart that nothing of one reaches the other.
    let mut file = TestElf::function(GETPID).build();
    file[64 + 56 + 16 + 5] = 1;
    assert_eq!(Analysis::of(&file).err(), Some(super::NotPatchable::Headers));
}

proptest! {
    /// Whatever stands around a call: it is patched, or refused for want of room, and verified.
    #[test]
    fn movable_instructions_keep_their_meaning(
        before in prop::collection::vec(0..MOVABLE.len(), 0..6),
        after in prop::collection::vec(0..MOVABLE.len(), 0..6),
        area in 0x2_0000u64..0x4000_0000,
        entry in any::<u64>(),
    ) {
        let pick = |n: &[usize]| n.iter().flat_map(|&i| MOVABLE[i].iter().copied()).collect::<Vec<u8>>();
        let (a, b) = (pick(&before), pick(&after));
        let code = [&a[..], b"\x0f\x05", &b, b"\xc3"].concat();
        let file = TestElf::function(&code).build();
        let (patch, far) = Analysis::of(&file).unwrap().patch(&file, area & !0xfff, entry).unwrap();
        prop_assert!(far.is_empty());
        prop_assert_eq!(patch.sites.len(), usize::from(code.len() >= 5));
        prop_assert!(verify(&file, &patch, entry).is_ok());
    }

    /// No file, however broken, does harm to the analysis.
    #[test]
    fn broken_files_are_refused_or_analysed(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut elf = TestElf::function(READ);
        elf.data = vec![0xff, 0xff, 0x01, 4, 0, 2, 5, 0];
        elf.frames.push((TEXT, READ.len() as u32, DATA, false));
        let mut file = elf.build();
        // Most of the file is padding: change what means something.
        let places: Vec<usize> = (0..176)
            .chain(TEXT as usize..TEXT as usize + 16)
            .chain(DATA as usize..DATA as usize + 8)
            .chain(DATA as usize + 0x1000..file.len())
            .collect();
        for (at, value) in changes {
            file[places[at.index(places.len())]] = value;
        }
        file.truncate(cut.index(file.len() * 2).max(64));
        if let Ok(a) = Analysis::of(&file)
            && let Ok((patch, _)) = a.patch(&file, AREA, ENTRY)
        {
            let _verdict = verify(&file, &patch, ENTRY);
        }
    }
}
