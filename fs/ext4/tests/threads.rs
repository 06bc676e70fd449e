//! Several threads at once: no deadlock, and e2fsck is content.

use super::*;

#[test]
fn threads_share_a_file_system() {
    let Some(image) = mke2fs("-t ext4 -b 1024 -N 4000", 32, None) else { return };
    let mut w = World::new(image);
    {
        let root = w.root();
        let shared = mkdir(&root, "shared");
        std::thread::scope(|s| {
            for t in 0..4u64 {
                let (root, shared, fs) = (&root, &shared, w.fs());
                s.spawn(move || {
                    let mut rng = Rng(t + 5);
                    let own = {
                        let _g = root.lock.lock();
                        mkdir(root, &format!("own{t}"))
                    };
                    for i in 0..400 {
                        let name = format!("{}", rng.below(50));
                        match rng.below(6) {
                            0 | 1 => {
                                let f = {
                                    let _g = shared.lock.lock();
                                    lookup(shared, &name)
                                        .ok()
                                        .unwrap_or_else(|| file(shared, &name))
                                };
                                let _g = f.lock.lock();
                                write(&f, rng.below(50_000), &[t as u8 + 1; 5000]).unwrap();
                            }
                            2 => {
                                let _g = shared.lock.lock();
                                let _ = unlink(shared, &name);
                            }
                            3 => {
                                if let Ok(f) = lookup(shared, &name) {
                                    let _ = f.ops.attr();
                                    let _ = f.ops.page_cache().unwrap().sync_range(0, u64::MAX);
                                }
                            }
                            4 => assert!(list(shared, 10).len() >= 2),
                            _ if i % 20 == 0 => fs.sync().unwrap(),
                            _ => {
                                let _g = own.lock.lock();
                                write(&file(&own, &format!("{i}")), 0, &[9; 3000]).unwrap();
                            }
                        }
                    }
                });
            }
        });
    }
    w.remount();
    w.unmount();
}
