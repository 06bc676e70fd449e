//! Costs, on a RAM disk: `cargo test --release -p umbra-fs ext4::tests::bench -- --ignored --nocapture`.

use std::time::Instant;

use super::*;

fn each(what: &str, n: u32, f: impl FnOnce()) {
    let t = Instant::now();
    f();
    println!("{what}: {:.2} us each ({n})", t.elapsed().as_secs_f64() * 1e6 / f64::from(n));
}

#[test]
#[ignore = "a benchmark"]
fn costs() {
    let Some(image) = mke2fs("-t ext4", 512, None) else { return };
    let mut w = World::new(image);
    {
        let d = mkdir(&w.root(), "d");
        each("create + unlink", 100_000, || {
            for _ in 0..100_000 {
                file(&d, "name");
                unlink(&d, "name").unwrap();
            }
        });
        each("create", 20_000, || (0..20_000).for_each(|i| drop(file(&d, &format!("file{i}")))));
        each("lookup, inode not in memory", 20_000, || {
            (0..20_000).for_each(|i| drop(lookup(&d, &format!("file{i}")).unwrap()));
        });
        let held: Vec<_> = (0..20_000).map(|i| lookup(&d, &format!("file{i}")).unwrap()).collect();
        each("lookup, inode in memory", 20_000, || {
            (0..20_000).for_each(|i| drop(lookup(&d, &format!("file{i}")).unwrap()));
        });
        drop(held);
        each("read_dir of 20,000", 20_000, || assert_eq!(list(&d, 1000).len(), 20_002));
        each("unlink", 20_000, || {
            (0..20_000).for_each(|i| unlink(&d, &format!("file{i}")).unwrap())
        });
        let f = file(&d, "big");
        let chunk = vec![5; 65536];
        // 48 MiB: what the fake machine's memory holds.
        let t = Instant::now();
        (0..768).for_each(|i| write(&f, i * 65536, &chunk).unwrap());
        println!("write 48 MiB into the cache: {:.0} MiB/s", 48.0 / t.elapsed().as_secs_f64());
        let t = Instant::now();
        f.ops.sync(false).unwrap();
        println!("fsync: {:.0} MiB/s", 48.0 / t.elapsed().as_secs_f64());
        let t = Instant::now();
        (0..768).for_each(|i| write(&f, i * 65536, &chunk).unwrap());
        println!("rewrite in the cache: {:.0} MiB/s", 48.0 / t.elapsed().as_secs_f64());
        let t = Instant::now();
        (0..768).for_each(|i| f.ops.prepare_write(i * 65536, 65536).unwrap());
        println!("prepare_write when allocated: {:.2} us", t.elapsed().as_secs_f64() * 1e6 / 768.0);
    }
    w.unmount();
}
