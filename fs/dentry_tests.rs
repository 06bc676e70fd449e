//! The dentry cache: its bound, and how fast it is.

use std::sync::Arc;
use std::time::Instant;

use crate::OpenFlags as O;
use crate::dentry::DentryCache;
use crate::ops;
use crate::testing::Fixture;

#[test]
fn unused_dentries_go_and_come_back() {
    let k = Fixture::new();
    k.mkdir("/d").unwrap();
    for i in 0..100 {
        k.write(&format!("/d/{i}"), "x").unwrap();
        assert!(k.find(&format!("/d/none{i}")).is_err());
    }
    let open = k.open("/d/5", O::empty()).unwrap();
    let cache: &Arc<DentryCache> = k.vfs.dcache();
    assert!(cache.len() >= 200);
    cache.shrink_all();
    assert!(cache.len() <= 3, "{}", cache.len());
    assert_eq!(k.read("/d/7").unwrap(), "x");
    assert!(Arc::ptr_eq(&k.find("/d/5").unwrap().dentry, &open.path.dentry), "one dentry a name");
}

#[test]
fn deep_trees_end_without_deep_stacks() {
    let k = Fixture::new();
    k.mkdir("/t").unwrap();
    k.mount_with("t", "/t", "tmpfs", 0, "nr_inodes=0").unwrap();
    let top = k.find("/t").unwrap();
    ops::chdir(&k.ctx, &k.cred, top).unwrap();
    for _ in 0..30_000 {
        k.mkdir("d").unwrap();
        let d = k.find("d").unwrap();
        ops::chdir(&k.ctx, &k.cred, d).unwrap();
    }
    let root = k.ctx.root();
    k.umount("/t", 2).unwrap();
    // The working directory keeps the detached mount; moving it away ends all of it.
    std::thread::Builder::new()
        .stack_size(128 << 10)
        .spawn(move || ops::chdir(&k.ctx, &k.cred, root).unwrap())
        .unwrap()
        .join()
        .unwrap();
}

#[test]
fn the_cache_is_bounded() {
    let k = Fixture::new();
    for i in 0..20_000 {
        assert!(k.find(&format!("/none{i}")).is_err());
    }
    assert!(k.vfs.dcache().len() <= base::limits::MAX_UNUSED_DENTRIES + 1);
}

/// `cargo test --release -- --ignored --nocapture speed` prints nanoseconds.
#[test]
#[ignore = "a measurement"]
fn speed() {
    let k = Fixture::new();
    k.mkdir("/usr").unwrap();
    k.mkdir("/usr/lib").unwrap();
    k.write("/usr/lib/f", "x").unwrap();
    const N: u32 = 1_000_000;
    let measure = |what: &str, f: &mut dyn FnMut()| {
        let t = Instant::now();
        for _ in 0..N {
            f();
        }
        println!("{what}: {} ns", t.elapsed().as_nanos() / u128::from(N));
    };
    measure("stat /usr/lib/f", &mut || {
        let p = k.find("/usr/lib/f").unwrap();
        std::hint::black_box(ops::stat(&p).unwrap());
    });
    measure("open+close", &mut || {
        std::hint::black_box(k.open("/usr/lib/f", O::empty()).unwrap());
    });
    let t = crate::FdTable::new();
    t.install(k.open("/usr/lib/f", O::RDWR).unwrap(), false, 100).unwrap();
    measure("fd get", &mut || {
        std::hint::black_box(t.get(0).unwrap());
    });
    let f = t.get(0).unwrap();
    let mut buf = [0; 1];
    measure("pread 1", &mut || {
        f.read_at(0, &mut base::iobuf::SliceSink::new(&mut buf)).unwrap();
    });
    measure("create+unlink", &mut || {
        k.open("/usr/lib/new", O::CREAT | O::WRONLY).unwrap();
        k.unlink("/usr/lib/new").unwrap();
    });
    let (r, w) = crate::pipe::pipe(&k.vfs, &k.cred, O::empty()).unwrap();
    measure("pipe write+read 1", &mut || {
        w.write(&mut base::iobuf::SliceSource(b"x"), u64::MAX).unwrap();
        r.read(&mut base::iobuf::SliceSink::new(&mut buf)).unwrap();
    });
}
