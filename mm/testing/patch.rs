//! Patched text: what a process sees of it, and when it does not.

use std::sync::Arc;

use arch::Prot;
use base::iobuf::SliceSource;
use base::{Errno, UserAddr, UserMemory};

use super::testelf::{TEXT, TestElf};
use super::{FakeFile, PAGE, Process, RW, World};
use crate::cache_sync::Evict;
use crate::{MapFlags, MapRequest, Mappable, ObjectName, PageCache, RemapFlags};

const A: u64 = 0x20_0000_0000;
const RX: Prot = Prot::READ.union(Prot::EXEC);
/// Pages of the image: 1 to 9 of the file.
const IMAGE: u64 = 9;
/// mov $39,%eax; syscall; ret.
const GETPID: [u8; 8] = [0xb8, 39, 0, 0, 0, 0x0f, 5, 0xc3];

struct Program(Arc<PageCache>);

impl Mappable for Program {
    fn name(&self) -> ObjectName {
        ObjectName { path: b"/lib/x.so".to_vec(), dev: 1, ino: 2 }
    }
    fn cache(&self) -> &Arc<PageCache> {
        &self.0
    }
    fn is_program(&self) -> bool {
        true
    }
}

/// A library with one site at the start of its text, which has five pages.
fn library(w: &World) -> (Arc<FakeFile>, Arc<PageCache>) {
    let mut elf = TestElf::function(&GETPID);
    elf.text.resize(5 * PAGE as usize, 0xcc);
    let image = elf.build();
    let (f, cache) = FakeFile::new(w, 0);
    f.set_size(image.len() as u64);
    f.data.lock().unwrap().copy_from_slice(&image);
    (f, cache)
}

fn world() -> World {
    let w = World::new(8192);
    w.memory.set_patch_entry(Some(0x7fff_0000_0b00));
    w
}

fn map(p: &Process, cache: &Arc<PageCache>, at: u64, pages: u64, prot: Prot, index: u64) -> u64 {
    let flags = if at == 0 { MapFlags::empty() } else { MapFlags::FIXED };
    let object: Arc<dyn Mappable> = Arc::new(Program(cache.clone()));
    let request = MapRequest {
        addr: UserAddr(at),
        flags,
        object: Some((object, index * PAGE)),
        ..MapRequest::anonymous(pages * PAGE, prot)
    };
    p.space.map(request).unwrap().0
}

/// As a program's loader does it: the text where the file wants it, with this load bias.
fn load(p: &Process, cache: &Arc<PageCache>, bias: u64) -> u64 {
    map(p, cache, bias + TEXT, 5, RX, 1)
}

/// What is mapped as trampolines: (start, end).
fn trampolines(p: &Process) -> Vec<(u64, u64)> {
    let ours = |v: &crate::VmaInfo| v.name.path == b"[patch]";
    p.space.vmas().iter().filter(|v| ours(v)).map(|v| (v.start.0, v.end.0)).collect()
}

fn is_patched(p: &Process, text: u64) -> bool {
    p.exec(text).unwrap();
    let first = p.load(text).unwrap();
    assert!(first == 0xe9 || first == GETPID[0], "{first:#x}");
    first == 0xe9
}

#[test]
fn text_shows_the_patch_and_the_rest_the_file() {
    let w = world();
    let (_f, cache) = library(&w);
    let p = w.process();
    let text = load(&p, &cache, A);
    assert!(is_patched(&p, text));
    let [(start, end)] = trampolines(&p)[..] else { panic!("one range of trampolines") };
    assert_eq!((start, end), (A + 10 * PAGE, A + 11 * PAGE), "behind the image");
    // The jump leads there.
    let by: Vec<u8> = (1..5).map(|i| p.load(text + i).unwrap()).collect();
    let by = u32::from_le_bytes(by.try_into().unwrap());
    assert_eq!((text + 5).wrapping_add(u64::from(by)), start);
    assert_eq!(p.load(start), Ok(0xb8));
    p.exec(start).unwrap();
    assert!(p.store(start, 0).is_err());
    // The page behind it is the very page of the file, the text that of nobody else.
    let frame = |at: u64| p.host.lookup(UserAddr(at)).unwrap().0;
    p.exec(text + PAGE).unwrap();
    assert_eq!(frame(text + PAGE), pfn(&cache, 2));
    assert_ne!(frame(text), pfn(&cache, 1));
    // The text looks like the file in every list.
    let v = p.space.vmas_detailed();
    let v = v.iter().find(|v| v.start.0 == text).unwrap();
    assert_eq!((&v.name.path[..], v.prot, v.rss, v.anon), (&b"/lib/x.so"[..], RX, 5, 0));
    assert_eq!(p.space.mincore(UserAddr(text), 5 * PAGE).unwrap(), [1; 5]);
    p.check();
}

fn pfn(cache: &Arc<PageCache>, index: u64) -> base::Pfn {
    cache.pin_run(index, 1).unwrap().start()
}

#[test]
fn all_processes_share_it() {
    let w = world();
    let (_f, cache) = library(&w);
    let (p, q) = (w.process(), w.process());
    let (a, b) = (load(&p, &cache, A), load(&q, &cache, 2 * A));
    assert!(is_patched(&p, a) && is_patched(&q, b));
    let child = w.fork(&p);
    assert!(is_patched(&child, a));
    let frame = |p: &Process, at| p.host.lookup(UserAddr(at)).unwrap().0;
    assert_eq!(frame(&p, a), frame(&q, b));
    assert_eq!(frame(&p, a), frame(&child, a));
    assert_eq!(trampolines(&child), trampolines(&p));
    assert_eq!(child.space.original_ip(A + 10 * PAGE), a);
    for p in [&p, &q, &child] {
        p.check();
    }
    let free = w.free();
    drop((p, q, child));
    assert!(w.free() >= free);
}

#[test]
fn only_private_text_of_programs() {
    let w = world();
    let (_f, cache) = library(&w);
    let p = w.process();
    map(&p, &cache, A + TEXT, 5, Prot::READ, 1);
    map(&p, &cache, 2 * A + TEXT, 5, Prot::all(), 1);
    // A page cache without a file, as a block device has it.
    p.map(3 * A + TEXT, 5 * PAGE, RX, MapFlags::FIXED, Some((&cache, PAGE))).unwrap();
    for bias in [A, 2 * A, 3 * A] {
        assert_eq!(p.load(bias + TEXT), Ok(GETPID[0]));
    }
    assert!(trampolines(&p).is_empty() && !p.space.has_patches());
    // Nor on a machine without an entry.
    w.memory.set_patch_entry(None);
    assert!(!is_patched(&p, load(&p, &cache, 4 * A)));
}

#[test]
fn without_room_the_file_stays_as_it_is() {
    let w = world();
    let (_f, cache) = library(&w);
    let p = w.process();
    p.anon(A + 10 * PAGE, PAGE);
    assert!(!is_patched(&p, load(&p, &cache, A)));
    assert!(trampolines(&p).is_empty());
}

/// As ld.so does it: the whole image anywhere, then its parts in place.
#[test]
fn a_hole_is_chosen_that_has_room_behind() {
    let w = world();
    let (_f, cache) = library(&w);
    let p = w.process();
    let mut last = 0;
    for _ in 0..3 {
        let at = map(&p, &cache, 0, IMAGE, Prot::READ, 0);
        let text = load(&p, &cache, at - TEXT);
        assert!(is_patched(&p, text));
        assert_ne!(at, last);
        last = at;
    }
    assert_eq!(trampolines(&p).len(), 3);
    // Files that are none do not waste a page.
    let (_f, plain) = FakeFile::new(&w, 3 * PAGE as usize);
    let a = map(&p, &plain, 0, 3, Prot::READ, 0);
    let b = map(&p, &plain, 0, 3, Prot::READ, 0);
    assert_eq!(a, b + 3 * PAGE);
}

#[test]
fn munmap_takes_the_trampolines_with_the_last_text() {
    let w = world();
    let (_f, cache) = library(&w);
    let p = w.process();
    for _ in 0..200 {
        let text = load(&p, &cache, A);
        assert!(is_patched(&p, text));
        p.space.unmap(UserAddr(text + PAGE), PAGE).unwrap();
        assert_eq!(trampolines(&p).len(), 1);
        assert!(is_patched(&p, text));
        p.space.unmap(UserAddr(A), 9 * PAGE).unwrap();
        assert!(p.space.vmas().is_empty());
    }
    assert_eq!(p.space.inner.lock().patches.len(), 0);
}

#[test]
fn trampolines_are_not_the_guests_to_change() {
    let w = world();
    let (_f, cache) = library(&w);
    let p = w.process();
    let text = load(&p, &cache, A);
    let [(start, end)] = trampolines(&p)[..] else { panic!() };
    p.space.unmap(UserAddr(start), end - start).unwrap();
    p.space.protect(UserAddr(start), end - start, RW).unwrap();
    p.space.protect(UserAddr(start), end - start, Prot::empty()).unwrap();
    let moved = p.space.remap(UserAddr(start), PAGE, 2 * PAGE, RemapFlags::MAYMOVE, UserAddr(0));
    assert!(moved.is_err_and(|e| e == Errno::EFAULT));
    p.space.advise(UserAddr(start), PAGE, 10).unwrap(); // MADV_DONTFORK
    assert!(is_patched(&p, text));
    p.exec(start).unwrap();
    let child = w.fork(&p);
    assert!(is_patched(&child, text));
    child.exec(start).unwrap();
    p.check();
}

#[test]
fn text_that_is_written_is_the_plain_file_first() {
    let w = world();
    let (_f, cache) = library(&w);
    let p = w.process();
    let text = load(&p, &cache, A);
    assert!(is_patched(&p, text));
    let child = w.fork(&p);
    p.space.protect(UserAddr(text), PAGE, Prot::all()).unwrap();
    assert!(!is_patched(&p, text));
    p.store(text + 1, 40).unwrap();
    assert_eq!(p.load(text + 1), Ok(40));
    assert_eq!(trampolines(&p).len(), 1, "somebody may be inside");
    assert_eq!(p.space.original_ip(A + 10 * PAGE), text);
    assert_eq!(p.space.trampoline_ip(text + 5), None);
    p.space.protect(UserAddr(text), PAGE, RX).unwrap();
    assert!(!is_patched(&p, text));
    assert!(is_patched(&child, text));
    p.check();
    // Not in a debugger's way either.
    assert_eq!(child.space.write_forced(UserAddr(text + 1), &[41]).unwrap(), 1);
    assert!(!is_patched(&child, text));
    assert_eq!(child.load(text + 1), Ok(41));
    child.check();
}

#[test]
fn moved_text_is_the_plain_file() {
    let w = world();
    let (_f, cache) = library(&w);
    let p = w.process();
    let text = load(&p, &cache, A);
    assert!(is_patched(&p, text));
    let flags = RemapFlags::MAYMOVE | RemapFlags::FIXED;
    let to = UserAddr(2 * A);
    p.space.remap(UserAddr(text), 5 * PAGE, 5 * PAGE, flags, to).unwrap();
    assert!(!is_patched(&p, 2 * A));
    p.check();
}

#[test]
fn a_change_of_the_file_is_seen_at_once() {
    let w = world();
    let (f, cache) = library(&w);
    let p = w.process();
    let text = load(&p, &cache, A);
    assert!(is_patched(&p, text));
    // mov $40,%eax
    cache.write(TEXT + 1, &mut SliceSource(&[40]), 1).unwrap();
    assert!(!is_patched(&p, text));
    assert_eq!(p.load(text + 1), Ok(40));
    assert_eq!(p.space.trampoline_ip(text + 5), None);
    // The next mapping has the patch of the new contents.
    let q = w.process();
    let other = load(&q, &cache, A);
    assert!(is_patched(&q, other));
    assert_eq!(q.load(A + 10 * PAGE + 1), Ok(40));
    // While somebody may write it through memory there is none.
    let writer = w.process();
    let flags = MapFlags::FIXED | MapFlags::SHARED;
    writer.map(A, PAGE, RW, flags, Some((&cache, PAGE))).unwrap();
    assert!(!is_patched(&q, other));
    writer.store(A + 1, 41).unwrap();
    assert_eq!(q.load(other + 1), Ok(41));
    assert!(!is_patched(&p, load(&p, &cache, 2 * A)));
    drop(writer);
    assert!(is_patched(&p, load(&p, &cache, 3 * A)));
    // Cut off in the middle of the text.
    f.set_size(2 * PAGE);
    cache.truncate(2 * PAGE);
    assert!(p.load(3 * A + TEXT + 2 * PAGE).is_err());
    assert!(!is_patched(&p, 3 * A + TEXT));
    for p in [&p, &q] {
        p.check();
    }
}

#[test]
fn pages_that_were_given_up_are_made_again() {
    let w = world();
    let (_f, cache) = library(&w);
    let p = w.process();
    let text = load(&p, &cache, A);
    assert!(is_patched(&p, text));
    let pages = w.memory.stats().cached;
    let file = cache.patched(true).unwrap();
    assert_eq!(file.text.evict(u64::MAX, Evict::Any), 1);
    let _ = file.code.cache().evict(u64::MAX, Evict::Any);
    assert!(w.memory.stats().cached < pages);
    assert!(p.host.lookup(UserAddr(text)).is_none());
    assert!(is_patched(&p, text));
    assert_eq!(p.load(A + 10 * PAGE), Ok(0xb8));
    p.check();
}

#[test]
fn lazily_the_second_process_is_the_first() {
    let w = world();
    w.memory.set_patch_lazily(true);
    let (_f, cache) = library(&w);
    let p = w.process();
    assert!(!is_patched(&p, load(&p, &cache, A)));
    let q = w.process();
    assert!(is_patched(&q, load(&q, &cache, A)));
}

#[test]
fn what_was_left_alone_can_be_patched_later() {
    let w = world();
    w.memory.set_patch_lazily(true);
    let (_f, cache) = library(&w);
    let (p, q) = (w.process(), w.process());
    // Room is left behind a file that nobody has looked at.
    let at = map(&p, &cache, 0, IMAGE, Prot::READ, 0);
    let text = load(&p, &cache, at - TEXT);
    let (_f, other) = library(&w);
    assert!(map(&p, &other, 0, IMAGE, Prot::READ, 0) + 2 * IMAGE * PAGE < at);
    assert!(!is_patched(&p, text));
    p.space.patch_late(true);
    assert!(!is_patched(&p, text), "its call sites are not known");
    p.space.patch_late(false);
    assert!(is_patched(&p, text));
    let [(start, _)] = trampolines(&p)[..] else { panic!("one range of trampolines") };
    assert_eq!(start, at - TEXT + 10 * PAGE, "behind the image");
    // A thread that is about to call goes on in the trampoline.
    let inside = p.space.trampoline_ip(text + 5).unwrap();
    assert_eq!(p.space.original_ip(inside), text + 5);
    let child = w.fork(&p);
    assert!(is_patched(&child, text));
    p.space.patch_late(false);
    assert_eq!(trampolines(&p).len(), 1);
    // Known from now on.
    let fork = w.fork(&q);
    assert!(is_patched(&fork, load(&fork, &cache, A)));
    for p in [&p, &q, &child] {
        p.check();
    }
}

#[test]
fn only_plain_text_without_copies_is_patched_later() {
    let w = world();
    w.memory.set_patch_lazily(true);
    let (_f, cache) = library(&w);
    let p = w.process();
    let (a, b, c) = (load(&p, &cache, A), 2 * A, 3 * A);
    w.memory.set_patch_entry(None);
    let (b, c) = (load(&p, &cache, b), load(&p, &cache, c));
    w.memory.set_patch_entry(Some(0x7fff_0000_0b00));
    // A page of the process's own, as relocations leave it.
    p.space.protect(UserAddr(b), PAGE, RW).unwrap();
    p.store(b + 100, 1).unwrap();
    p.space.protect(UserAddr(b), PAGE, RX).unwrap();
    // Something stands where the trampolines would.
    p.anon(3 * A + 10 * PAGE, PAGE);
    p.space.patch_late(false);
    assert!(is_patched(&p, a));
    assert!(!is_patched(&p, b) && !is_patched(&p, c));
    assert_eq!(p.load(b + 100), Ok(1));
    assert!(trampolines(&p).iter().all(|t| t.0 < c));
    // A process that cannot use trampolines never gets them.
    let q = w.process();
    q.space.drop_patches();
    let text = load(&q, &cache, A);
    q.space.patch_late(false);
    assert!(!is_patched(&q, text));
    p.check();
}

#[test]
fn patches_can_be_dropped_for_good() {
    let w = world();
    let (_f, cache) = library(&w);
    let p = w.process();
    let text = load(&p, &cache, A);
    assert!(is_patched(&p, text));
    p.space.drop_patches();
    assert!(!is_patched(&p, text));
    assert!(!is_patched(&p, load(&p, &cache, 2 * A)));
    let child = w.fork(&p);
    assert!(!is_patched(&child, load(&child, &cache, 3 * A)));
    p.check();
    // Until exec.
    p.space.clear();
    assert!(is_patched(&p, load(&p, &cache, A)));
}

#[test]
fn instruction_pointers() {
    let w = world();
    let (_f, cache) = library(&w);
    let p = w.process();
    assert_eq!(p.space.original_ip(A + 10 * PAGE), A + 10 * PAGE);
    let text = load(&p, &cache, A);
    let start = A + 10 * PAGE;
    let ret = start + 5 + 7 + 10 + 3 + 2;
    for (ip, original) in [
        (start, text),
        (start + 5, text + 5),
        (ret - 2, text + 5),
        (ret, text + 7),
        (text + 7, text + 7),
        (A, A),
    ] {
        assert_eq!(p.space.original_ip(ip), original, "{:#x}", ip - A);
    }
    assert_eq!(p.space.trampoline_ip(text), Some(start));
    assert_eq!(p.space.trampoline_ip(text + 5), Some(ret - 2));
    assert_eq!(p.space.trampoline_ip(text + 6), None, "inside of an instruction");
    assert_eq!(p.space.trampoline_ip(text + 100), None);

    // Text that was copied and put in the place of the original still goes through the trampolines.
    let mut copy = vec![0; PAGE as usize];
    p.space.read(UserAddr(text), &mut copy).unwrap();
    p.anon(text, PAGE);
    p.space.write(UserAddr(text), &copy).unwrap();
    assert_eq!(trampolines(&p).len(), 1);
    assert_eq!(p.space.trampoline_ip(text + 5), Some(ret - 2));
    p.store(text + 1, 0).unwrap();
    assert_eq!(p.space.trampoline_ip(text + 5), None, "code of the process's own");

    // Something else in the trampolines' place: who was inside can be told where to go on.
    let text = load(&p, &cache, A);
    assert!(is_patched(&p, text));
    assert_eq!(p.space.lost_ip(ret), None);
    p.anon(start, PAGE);
    assert_eq!(p.space.lost_ip(ret), Some(text + 7));
    assert_eq!(p.space.original_ip(ret), ret);
    assert!(!is_patched(&p, text));
    p.check();
}

#[test]
fn patches_that_nobody_maps_do_not_pile_up() {
    let w = world();
    let p = w.process();
    let mut files = Vec::new();
    for _ in 0..300 {
        let (f, cache) = library(&w);
        assert!(is_patched(&p, load(&p, &cache, A)));
        p.space.unmap(UserAddr(A), 9 * PAGE).unwrap();
        files.push((f, cache));
    }
    assert!(w.memory.patched.lock().len() <= 256);
}
