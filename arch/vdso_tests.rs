use super::*;
use crate::physmem::PhysMem;
use crate::vvar::Vvar;
use base::Pfn;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A guest's view: vvar page and image, mapped as exec maps them.
struct Loaded {
    base: *mut u8,
    phys: Arc<PhysMem>,
    vvar: Arc<Vvar>,
}
// SAFETY: the pages are only executed and read.
unsafe impl Send for Loaded {}
// SAFETY: as above.
unsafe impl Sync for Loaded {}

type ClockFn = extern "C" fn(i32, *mut libc::timespec) -> i32;

impl Loaded {
    fn new() -> Loaded {
        let phys = Arc::new(PhysMem::new(1 << 20).expect("memory"));
        let vvar = Arc::new(Vvar::new(&phys, Pfn(3), 1));
        // SAFETY: new mappings at an address of the host's choice.
        unsafe {
            let rw = libc::PROT_READ | libc::PROT_WRITE;
            let anon = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            let base = libc::mmap(std::ptr::null_mut(), 2 * PAGE_SIZE, rw, anon, -1, 0);
            assert_ne!(base, libc::MAP_FAILED);
            let fixed = libc::MAP_SHARED | libc::MAP_FIXED;
            let (fd, at) = (phys.fd().as_raw_fd(), i64::from(vvar.pfn().0) * 4096);
            let v = libc::mmap(base, PAGE_SIZE, libc::PROT_READ, fixed, fd, at);
            assert_eq!(v, base);
            let text = base.cast::<u8>().add(PAGE_SIZE);
            std::ptr::copy_nonoverlapping(image().as_ptr(), text, PAGE_SIZE);
            let rx = libc::PROT_READ | libc::PROT_EXEC;
            assert_eq!(libc::mprotect(text.cast(), PAGE_SIZE, rx), 0);
            Loaded { base: base.cast(), phys, vvar }
        }
    }
    fn update(&self) -> Duration {
        self.vvar.update(&self.phys)
    }
    fn function(&self, name: &str) -> *const u8 {
        let at = lookup(image(), name).expect("exported");
        self.base.wrapping_add(PAGE_SIZE + at)
    }
    fn clock(&self) -> impl Fn(i32) -> u64 + use<> {
        // SAFETY: the signature of clock_gettime.
        let f: ClockFn = unsafe { std::mem::transmute(self.function("__vdso_clock_gettime")) };
        move |id| {
            let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
            assert_eq!(f(id, &mut t), 0);
            assert!((0..1_000_000_000).contains(&t.tv_nsec));
            t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
        }
    }
}

fn host(id: i32) -> u64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes the timespec.
    unsafe { libc::clock_gettime(id, &mut t) };
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

fn u32_at(b: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(b[at..at + 4].try_into().expect("four bytes"))
}
fn u64_at(b: &[u8], at: usize) -> usize {
    u64::from_le_bytes(b[at..at + 8].try_into().expect("eight bytes")) as usize
}

/// A dynamic entry, found as a loader does: program headers, PT_DYNAMIC.
fn dynamic(b: &[u8], tag: usize) -> Option<usize> {
    let phoff = u64_at(b, 32);
    let dynamic = (0..3).map(|i| phoff + i * 56).find(|p| u32_at(b, *p) == 2)?;
    let at = u64_at(b, dynamic + 16);
    (0..)
        .map(|i| at + i * 16)
        .take_while(|a| u64_at(b, *a) != 0)
        .find_map(|a| (u64_at(b, a) == tag).then(|| u64_at(b, a + 8)))
}

fn name_at(b: &[u8], offset: u32) -> &str {
    let at = dynamic(b, 5).expect("DT_STRTAB") + offset as usize;
    let end = b[at..].iter().position(|c| *c == 0).expect("terminated");
    std::str::from_utf8(&b[at..at + end]).expect("text")
}

/// Symbol `i` if it is `name` with version LINUX_2.6.
fn check(b: &[u8], i: u32, name: &str) -> Option<usize> {
    let sym = dynamic(b, 6)? + i as usize * 24;
    if name_at(b, u32_at(b, sym)) != name {
        return None;
    }
    let versym = dynamic(b, 0x6fff_fff0)? + i as usize * 2;
    let version = u16::from_le_bytes([b[versym], b[versym + 1]]) & 0x7fff;
    let mut def = dynamic(b, 0x6fff_fffc)?;
    loop {
        let (flags, index) = (b[def + 2], u16::from_le_bytes([b[def + 4], b[def + 5]]));
        if flags & 1 == 0 && index == version {
            let aux = def + u32_at(b, def + 12) as usize;
            assert_eq!(u32_at(b, def + 8), 0x3ae_75f6, "the hash of LINUX_2.6, as Go has it");
            assert_eq!(name_at(b, u32_at(b, aux)), "LINUX_2.6");
            return Some(u64_at(b, sym + 8));
        }
        match u32_at(b, def + 16) {
            0 => return None,
            next => def += next as usize,
        }
    }
}

/// Through DT_HASH and through DT_GNU_HASH, which must agree.
fn lookup(b: &[u8], name: &str) -> Option<usize> {
    let h = dynamic(b, 4).expect("DT_HASH");
    let (buckets, chains) = (u32_at(b, h), u32_at(b, h + 4));
    let mut i = u32_at(b, h + 8 + (sysv_hash(name) % buckets) as usize * 4);
    let mut by_sysv = None;
    while i != 0 && by_sysv.is_none() {
        assert!(i < chains);
        by_sysv = check(b, i, name);
        i = u32_at(b, h + 8 + (buckets + i) as usize * 4);
    }
    let g = dynamic(b, 0x6fff_fef5).expect("DT_GNU_HASH");
    let (buckets, first, words, shift) =
        (u32_at(b, g), u32_at(b, g + 4), u32_at(b, g + 8), u32_at(b, g + 12));
    let hash = gnu_hash(name);
    let bloom = u64_at(b, g + 16 + (hash / 64 % words) as usize * 8);
    let mut by_gnu = None;
    if bloom >> (hash % 64) & bloom >> ((hash >> shift) % 64) & 1 == 1 {
        let table = g + 16 + words as usize * 8;
        let mut i = u32_at(b, table + (hash % buckets) as usize * 4);
        loop {
            let h = u32_at(b, table + (buckets + i - first) as usize * 4);
            if h | 1 == hash | 1 {
                by_gnu = by_gnu.or(check(b, i, name));
            }
            if h & 1 == 1 {
                break;
            }
            i += 1;
        }
    }
    assert_eq!(by_sysv, by_gnu, "{name}");
    by_sysv
}

#[test]
fn the_image_is_what_loaders_expect() {
    let b = image();
    assert_eq!(b.len(), PAGE_SIZE);
    assert_eq!(sysv_hash(VERSION), 0x3ae_75f6);
    for (name, offset) in code().1 {
        assert_eq!(lookup(b, name), Some(CODE + offset), "{name}");
    }
    assert_eq!(lookup(b, "__vdso_clock_gettime64"), None);
    assert_eq!(dynamic(b, 14).map(|o| name_at(b, o as u32)), Some("linux-vdso.so.1"));
    // No absolute address that would need a relocation; and a second opinion.
    assert_eq!(dynamic(b, 7), None);
    let elf = goblin::elf::Elf::parse(b).expect("an ELF file");
    assert_eq!(elf.soname, Some(SONAME));
    assert_eq!(elf.dynsyms.len(), 7);
    assert_eq!(elf.section_headers.len(), 12);
    let text = &elf.section_headers[TEXT_INDEX as usize];
    assert_eq!(elf.shdr_strtab.get_at(text.sh_name), Some(".text"));
    assert_eq!(text.sh_addr, CODE as u64);
    let versions = elf.verdef.expect("version definitions");
    let names: Vec<_> = versions
        .iter()
        .flat_map(|d| d.iter().map(|a| elf.dynstrtab.get_at(a.vda_name)).collect::<Vec<_>>())
        .collect();
    assert_eq!(names, [Some(SONAME), Some(VERSION)]);
    let load = &elf.program_headers[0];
    assert_eq!((load.p_vaddr, load.p_memsz, load.p_flags), (0, 4096, 5));
}

/// The host's own dynamic linker accepts it and finds the versions.
#[test]
fn the_dynamic_linker_loads_it() {
    let flags = nix::sys::memfd::MFdFlags::empty();
    let fd = nix::sys::memfd::memfd_create("vdso", flags).expect("memfd");
    nix::unistd::write(&fd, image()).expect("written");
    let path = std::ffi::CString::new(format!("/proc/self/fd/{}", fd.as_raw_fd())).expect("no NUL");
    // SAFETY: the object has no constructors and no relocations; nothing in it is called.
    unsafe {
        let object = libc::dlopen(path.as_ptr(), libc::RTLD_NOW);
        assert!(!object.is_null(), "{:?}", std::ffi::CStr::from_ptr(libc::dlerror()));
        for name in [c"__vdso_clock_gettime", c"__vdso_getcpu"] {
            assert!(!libc::dlvsym(object, name.as_ptr(), c"LINUX_2.6".as_ptr()).is_null());
            assert!(libc::dlvsym(object, name.as_ptr(), c"LINUX_2.5".as_ptr()).is_null());
        }
        libc::dlclose(object);
    }
}

/// `UMBRA_VDSO_OUT=f cargo test -p umbra-arch write_image` for `readelf -a f`.
#[test]
fn write_image() {
    if let Some(path) = std::env::var_os("UMBRA_VDSO_OUT") {
        std::fs::write(path, image()).expect("written");
    }
}

/// The clocks that the vDSO answers, with the host's clock that each must agree with (the host's
/// coarse clocks lag behind).
const PAIRS: [(i32, i32); 6] = [
    (libc::CLOCK_REALTIME, libc::CLOCK_REALTIME),
    (libc::CLOCK_MONOTONIC, libc::CLOCK_MONOTONIC),
    (libc::CLOCK_MONOTONIC_RAW, libc::CLOCK_MONOTONIC_RAW),
    (libc::CLOCK_REALTIME_COARSE, libc::CLOCK_REALTIME),
    (libc::CLOCK_MONOTONIC_COARSE, libc::CLOCK_MONOTONIC),
    (libc::CLOCK_BOOTTIME, libc::CLOCK_BOOTTIME),
];

/// How far `ours` lies outside of two readings of the host around it, in ns.
fn outside(clock: &impl Fn(i32) -> u64, ours: i32, theirs: i32) -> i64 {
    let before = host(theirs);
    let at = clock(ours);
    let after = host(theirs);
    if at < before {
        at as i64 - before as i64
    } else if at > after {
        at as i64 - after as i64
    } else {
        0
    }
}

#[test]
fn agrees_with_the_host() {
    let l = Loaded::new();
    let clock = l.clock();
    for (ours, theirs) in PAIRS {
        assert!(outside(&clock, ours, theirs).abs() < 20_000_000, "before the first update");
    }
    l.update();
    if !l.vvar.uses_counter() {
        println!("skipped: this host does not keep time by an invariant TSC");
        return;
    }
    let mut worst = [(0i64, 0i64); 6];
    let start = Instant::now();
    let mut last = [0; 6];
    let mut readings = 0u64;
    while start.elapsed() < Duration::from_secs(3) {
        l.vvar.refresh(&l.phys);
        for (i, (ours, theirs)) in PAIRS.into_iter().enumerate() {
            let e = outside(&clock, ours, theirs);
            worst[i] = (worst[i].0.min(e), worst[i].1.max(e));
            let now = clock(ours);
            assert!(now >= last[i], "clock {ours} went back by {}", last[i] - now);
            last[i] = now;
        }
        readings += 1;
        if readings.is_multiple_of(1000) {
            std::thread::sleep(Duration::from_micros(readings % 7000));
        }
    }
    println!("{readings} readings; worst behind and ahead of the host, ns: {worst:?}");
    for (w, (ours, _)) in worst.iter().zip(PAIRS) {
        assert!(w.0 > -1000 && w.1 < 1000, "clock {ours}: {w:?} ns outside of the host's");
    }
}

#[test]
fn never_goes_back_across_threads_and_updates() {
    let l = Arc::new(Loaded::new());
    l.update();
    let stop = Arc::new(AtomicBool::new(false));
    let newest = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let (l, stop, newest) = (l.clone(), stop.clone(), newest.clone());
            std::thread::spawn(move || {
                let clock = l.clock();
                let mut n = 0u64;
                while !stop.load(Ordering::Relaxed) {
                    let seen = newest.load(Ordering::SeqCst);
                    let now = clock(libc::CLOCK_MONOTONIC);
                    assert!(now >= seen, "went back by {} ns", seen - now);
                    newest.fetch_max(now, Ordering::SeqCst);
                    n += 1;
                }
                n
            })
        })
        .collect();
    for _ in 0..400 {
        l.update();
        std::thread::sleep(Duration::from_millis(1));
    }
    stop.store(true, Ordering::Relaxed);
    let n: u64 = readers.into_iter().map(|r| r.join().expect("reader")).sum();
    assert!(n > 1000);
}

#[test]
fn a_stale_page_is_not_used() {
    let l = Loaded::new();
    l.update();
    let clock = l.clock();
    std::thread::sleep(Duration::from_millis(30));
    // The first period is 2 ms: by now it is the system call that answers, exactly.
    for (ours, theirs) in [PAIRS[0], PAIRS[1], PAIRS[5]] {
        assert_eq!(outside(&clock, ours, theirs), 0);
    }
    let before = clock(libc::CLOCK_MONOTONIC);
    l.update();
    assert!(clock(libc::CLOCK_MONOTONIC) >= before);
}

#[test]
fn the_other_functions() {
    let l = Loaded::new();
    for updated in [false, true] {
        if updated {
            l.update();
        }
        // SAFETY: the signatures of the functions looked up, and valid arguments.
        unsafe {
            let f: extern "C" fn(*mut i64) -> i64 = std::mem::transmute(l.function("__vdso_time"));
            let mut t = 0;
            let (before, now) = (host(0) / 1_000_000_000, f(&mut t));
            assert_eq!(t, now);
            assert!((before..=before + 1).contains(&(now as u64)));
            assert!(f(std::ptr::null_mut()) >= now);

            type Gtod = extern "C" fn(*mut libc::timeval, *mut [i32; 2]) -> i32;
            let f: Gtod = std::mem::transmute(l.function("__vdso_gettimeofday"));
            let mut tv = libc::timeval { tv_sec: 0, tv_usec: -1 };
            let mut tz = [5, 6];
            let before = host(0) / 1000;
            assert_eq!(f(&mut tv, &mut tz), 0);
            let us = tv.tv_sec as u64 * 1_000_000 + tv.tv_usec as u64;
            assert!(us + 1 >= before && us < before + 1_000_000);
            assert_eq!(tz[1], 0);
            assert_eq!(f(std::ptr::null_mut(), std::ptr::null_mut()), 0);

            type GetCpu = extern "C" fn(*mut u32, *mut u32, *mut u8) -> i32;
            let f: GetCpu = std::mem::transmute(l.function("__vdso_getcpu"));
            let (mut cpu, mut node) = (9, 9);
            assert_eq!(f(&mut cpu, &mut node, std::ptr::null_mut()), 0);
            assert_eq!((cpu, node), (0, 0));

            let f: ClockFn = std::mem::transmute(l.function("__vdso_clock_getres"));
            for (id, res) in [(0, 1), (1, 1), (4, 1), (7, 1), (5, 4_000_000), (6, 4_000_000)] {
                let mut t = libc::timespec { tv_sec: 9, tv_nsec: 9 };
                assert_eq!(f(id, &mut t), 0);
                assert_eq!((t.tv_sec, t.tv_nsec), (0, res), "clock {id}");
                assert_eq!(f(id, std::ptr::null_mut()), 0);
            }
            let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
            assert_eq!(f(77, &mut t), -libc::EINVAL);
            let f: ClockFn = std::mem::transmute(l.function("__vdso_clock_gettime"));
            assert_eq!(f(libc::CLOCK_PROCESS_CPUTIME_ID, &mut t), 0);
            assert_eq!(f(libc::CLOCK_TAI, &mut t), 0);
            assert_eq!(f(-1, &mut t), -libc::EINVAL);
        }
    }
}

/// `cargo test -p umbra-arch --release -- --ignored --nocapture vdso_cost`
#[test]
#[ignore = "a measurement"]
fn vdso_cost() {
    let l = Loaded::new();
    while l.update() < Duration::from_millis(200) {
        std::thread::sleep(Duration::from_millis(2));
    }
    // SAFETY: the signature of clock_gettime.
    let ours: ClockFn = unsafe { std::mem::transmute(l.function("__vdso_clock_gettime")) };
    extern "C" fn native(id: i32, t: *mut libc::timespec) -> i32 {
        // SAFETY: the caller's timespec.
        unsafe { libc::clock_gettime(id, t) }
    }
    let time = |f: ClockFn, id: i32| {
        let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        (0..7)
            .map(|_| {
                l.vvar.refresh(&l.phys);
                let start = Instant::now();
                for _ in 0..200_000 {
                    f(id, &mut t);
                }
                start.elapsed().as_nanos() as f64 / 200_000.0
            })
            .fold(f64::MAX, f64::min)
    };
    for (name, id) in [("MONOTONIC", 1), ("REALTIME", 0), ("RAW", 4), ("COARSE", 6)] {
        let (o, n) = (time(ours, id), time(native, id));
        println!("{name}: ours {o:.1} ns, native {n:.1} ns, ratio {:.2}", o / n);
    }
    let start = Instant::now();
    (0..1000).for_each(|_| {
        l.update();
    });
    println!("update: {:.2} us", start.elapsed().as_nanos() as f64 / 1e6);
    let start = Instant::now();
    (0..100_000).for_each(|_| l.vvar.refresh(&l.phys));
    println!("refresh when not due: {:.1} ns", start.elapsed().as_nanos() as f64 / 1e5);
}
