//! Patched code is run, here, natively: random instructions around a call, once as they are and once
//! through a trampoline, must leave the same registers, flags, stack and memory behind.
//!
//! The stub's entry is replaced by a few instructions that make the call and jump to rcx.

use std::ffi::c_void;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};

use arch::patch::{Analysis, Patch};
use proptest::prelude::*;

#[path = "../patch/testelf.rs"]
mod testelf;
use testelf::{DATA, TEXT, TestElf};

/// Where the trampolines are, from the start of the mapping.
const AREA: u64 = 0x1_0000;
/// Where the entry is.
const STUB: u64 = 0x1_8000;
const LEN: usize = 0x2_0000;

/// An executable copy of a file's image.
struct Mapping(*mut u8);

impl Mapping {
    fn new() -> Mapping {
        // SAFETY: an anonymous mapping at an address of the host's choice touches nothing of ours.
        let p = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                LEN,
                libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        assert_ne!(p, libc::MAP_FAILED);
        Mapping(p.cast())
    }

    fn addr(&self) -> u64 {
        self.0 as u64
    }

    fn put(&self, at: u64, bytes: &[u8]) {
        assert!(at as usize + bytes.len() <= LEN);
        // SAFETY: inside the mapping, which no reference points into.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.0.add(at as usize), bytes.len());
        }
    }

    /// Calls the function at the start of the text with `state`.
    fn call(&self, state: &mut State) {
        // SAFETY: the text there is a function of this signature, made by `function` below.
        let f: extern "C" fn(*mut State) =
            unsafe { std::mem::transmute(self.0.add(TEXT as usize).cast::<c_void>()) };
        f(state);
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped in `new`, and nothing of it is in use any more.
        unsafe { libc::munmap(self.0.cast(), LEN) };
    }
}

/// Registers in and out: rax rdx rsi rdi r8 r9 r10, flags, and the word below the stack pointer.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct State([u64; 9]);

/// push %rbx; mov %rdi,%rbx; then load everything from the state.
const PROLOGUE: &[u8] = b"\x53\x48\x89\xfb\
    \xff\x73\x38\x9d\
    \x48\x8b\x03\x48\x8b\x53\x08\x48\x8b\x73\x10\x48\x8b\x7b\x18\
    \x4c\x8b\x43\x20\x4c\x8b\x4b\x28\x4c\x8b\x53\x30";
/// The red zone's word into rcx (free after the call); then store everything, flags last.
const EPILOGUE: &[u8] = b"\x48\x8b\x4c\x24\xf8\
    \x48\x89\x03\x48\x89\x53\x08\x48\x89\x73\x10\x48\x89\x7b\x18\
    \x4c\x89\x43\x20\x4c\x89\x4b\x28\x4c\x89\x53\x30\x48\x89\x4b\x40\
    \x9c\x8f\x43\x38\x5b\xc3";

/// What may stand around the call. None of it makes another number of rax: the number comes last.
const AROUND: &[&[u8]] = &[
    b"\x90",
    b"\x48\x01\xd6",                             // add %rdx,%rsi
    b"\x4d\x29\xc1",                             // sub %r8,%r9
    b"\x4d\x31\xd0",                             // xor %r10,%r8
    b"\x49\xff\xc2",                             // inc %r10
    b"\x48\x39\xfe",                             // cmp %rdi,%rsi
    b"\x48\x89\x54\x24\xf8",                     // mov %rdx,-8(%rsp): the red zone
    b"\x4c\x03\x44\x24\xf8",                     // add -8(%rsp),%r8
    b"\x4c\x0f\x42\xc2",                         // cmovb %rdx,%r8
    b"\x49\x11\xf1",                             // adc %rsi,%r9
    b"\x49\xb8\x88\x77\x66\x55\x44\x33\x22\x11", // movabs $...,%r8
    b"\x57\x41\x5a",                             // push %rdi; pop %r10
];

/// Calls without arguments and with a result that does not change.
const CALLS: &[u32] =
    &[libc::SYS_getpid as u32, libc::SYS_getppid as u32, libc::SYS_getuid as u32, 0xfff];

/// `lea data(%rip),%r10` or `add data(%rip),%r9`, at `at`.
fn operand(at: u64, which: usize) -> [u8; 7] {
    let opcode = [*b"\x4c\x8d\x15", *b"\x4c\x03\x0d"][which % 2];
    let by = (DATA as u32).wrapping_sub(at as u32 + 7).to_le_bytes();
    [opcode[0], opcode[1], opcode[2], by[0], by[1], by[2], by[3]]
}

fn function(before: &[usize], call: usize, number_first: bool, after: &[usize]) -> Vec<u8> {
    let mut code = PROLOGUE.to_vec();
    let add = |code: &mut Vec<u8>, picks: &[usize]| {
        for &p in picks {
            match AROUND.get(p) {
                Some(bytes) => code.extend(*bytes),
                None => code.extend(operand(TEXT + code.len() as u64, p)),
            }
        }
    };
    let number = [&b"\xb8"[..], &CALLS[call].to_le_bytes()].concat();
    if number_first {
        code.extend(&number);
    }
    add(&mut code, before);
    if !number_first {
        code.extend(&number);
    }
    code.extend(b"\x0f\x05");
    add(&mut code, after);
    code.extend(EPILOGUE);
    code
}

/// A stand-in for the stub: what a `syscall` does, but for rcx. `slow` goes back to the real one.
fn stub(at: u64, slow: bool) -> Vec<u8> {
    if slow {
        return b"\x48\x8d\x49\xfe\xff\xe1".to_vec(); // lea -2(%rcx),%rcx; jmp *%rcx
    }
    let saved = (at + 0x100) as u32;
    let store = saved.wrapping_sub(at as u32 + 7).to_le_bytes();
    let load = saved.wrapping_sub(at as u32 + 16).to_le_bytes();
    [&b"\x48\x89\x0d"[..], &store, b"\x0f\x05\x48\x8b\x0d", &load, b"\xff\xe1"].concat()
}

fn build(mapping: &Mapping, code: &[u8]) -> (Vec<u8>, Patch) {
    let mut elf = TestElf::function(code);
    elf.data = 0x0123_4567_89ab_cdef_u64.to_le_bytes().to_vec();
    let file = elf.build();
    let analysis = Analysis::of(&file).expect("an ELF file");
    let (patch, far) = analysis.patch(&file, AREA, mapping.addr() + STUB).expect("good headers");
    assert!(far.is_empty());
    (file, patch)
}

fn runs_alike(code: &[u8], start: State) {
    let mapping = Mapping::new();
    let (mut file, patch) = build(&mapping, code);
    assert_eq!(patch.sites.len(), 1);
    mapping.put(0, &file);
    let mut plain = start;
    mapping.call(&mut plain);
    patch.apply(0, &mut file);
    mapping.put(0, &file);
    mapping.put(AREA, &patch.code);
    for slow in [false, true] {
        mapping.put(STUB, &stub(STUB, slow));
        let mut patched = start;
        mapping.call(&mut patched);
        assert_eq!(plain, patched, "slow: {slow}");
    }
    // The text is really patched: without an entry it does not work. (A negative control that
    // stays alive: the entry returns from the function at once, rcx being on nobody's stack.)
    mapping.put(STUB, b"\x5b\xc3"); // pop %rbx; ret
    let mut none = State([7; 9]);
    none.0[7] = 0x202;
    let before = none;
    mapping.call(&mut none);
    assert_eq!(none, before);
}

proptest! {
    #[test]
    fn registers_flags_and_stack_are_the_same(
        before in prop::collection::vec(0..AROUND.len() + 2, 0..5),
        after in prop::collection::vec(0..AROUND.len() + 2, 0..5),
        call in 0..CALLS.len(),
        number_first: bool,
        registers: [u64; 7],
        flags in 0u64..0x1000,
    ) {
        let mut state = State::default();
        state.0[..7].copy_from_slice(&registers);
        // CF PF AF ZF SF OF, whatever the rest: no TF, DF or NT.
        state.0[7] = flags & 0x8d5 | (flags & 2) << 10 | 0x202;
        runs_alike(&function(&before, call, number_first, &after), state);
    }
}

/// What the single-step handler below works with.
static STEP: AtomicUsize = AtomicUsize::new(0);
static MOVE_AT: AtomicUsize = AtomicUsize::new(usize::MAX);
static MOVED: AtomicUsize = AtomicUsize::new(0);
static BASE: AtomicU64 = AtomicU64::new(0);
static PATCH: AtomicPtr<Patch> = AtomicPtr::new(std::ptr::null_mut());

/// Before each instruction of the mapping; before one of them, the thread is taken to where the kernel would
/// have it go on after a signal: its instruction pointer translated to the original and back.
extern "C" fn stepped(_signal: i32, _info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the host passes the context that it will restore.
    let gregs = unsafe { &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs };
    let base = BASE.load(Ordering::Relaxed);
    let ip = (gregs[libc::REG_RIP as usize] as u64).wrapping_sub(base);
    if ip >= LEN as u64 {
        gregs[libc::REG_EFL as usize] &= !0x100;
        return;
    }
    // SAFETY: set to a patch that outlives all stepping.
    let patch = unsafe { &*PATCH.load(Ordering::Relaxed) };
    if STEP.fetch_add(1, Ordering::Relaxed) == MOVE_AT.load(Ordering::Relaxed)
        && let Some(original) = patch.to_original(ip)
    {
        let to = patch.to_trampoline(original).unwrap_or(original);
        gregs[libc::REG_RIP as usize] = (base + to) as i64;
        MOVED.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_signal_before_any_instruction_goes_unnoticed() {
    // SAFETY: the handler is async-signal-safe; nothing else here uses SIGTRAP.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = stepped as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO;
        assert_eq!(libc::sigaction(libc::SIGTRAP, &action, std::ptr::null_mut()), 0);
    }
    // Windows of all shapes: number and call; an operand and call; call and what follows.
    let shapes = [
        function(&[4], 0, false, &[1, 2]),
        function(&[12, 1], 1, true, &[]),
        function(&[0], 0, true, &[5, 13]),
    ];
    for code in shapes {
        let mapping = Mapping::new();
        let (mut file, patch) = build(&mapping, &code);
        let len = patch.sites[0].code_len;
        mapping.put(STUB, &stub(STUB, false));
        mapping.put(AREA, &patch.code);
        mapping.put(0, &file);
        BASE.store(mapping.addr(), Ordering::Relaxed);
        PATCH.store((&raw const patch).cast_mut(), Ordering::Relaxed);
        // Trap flag on, from the prologue's popf.
        let start = State([1, 2, 3, 4, 5, 6, 7, 0x302, 0]);
        let run = |at: usize| {
            MOVE_AT.store(at, Ordering::Relaxed);
            STEP.store(0, Ordering::Relaxed);
            let mut state = start;
            mapping.call(&mut state);
            (state, STEP.load(Ordering::Relaxed))
        };
        let (plain, _) = run(usize::MAX);
        patch.apply(0, &mut file);
        mapping.put(0, &file);
        let (_, steps) = run(usize::MAX);
        MOVED.store(0, Ordering::Relaxed);
        for at in 0..steps {
            assert_eq!(run(at).0, plain, "step {at} of {steps}");
        }
        // lea, movabs, jmp and ret's instruction at least, of all that the trampoline has.
        let moved = MOVED.load(Ordering::Relaxed);
        assert!(moved >= 5 && moved < len.into(), "{moved} of {len} bytes");
    }
}
