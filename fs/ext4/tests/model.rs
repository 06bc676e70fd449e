//! A file against a vector of bytes, a directory against a map.

use std::collections::BTreeMap;

use proptest::prelude::{ProptestConfig, Strategy, any, prop, prop_oneof};
use proptest::{prop_assert, prop_assert_eq, proptest};

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Write(u64, usize),
    Truncate(u64),
    Punch(u64, u64),
    Allocate(u64, u64, bool),
    Sync,
    Reopen,
    Remount,
}

const MAX: u64 = 600_000;

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let at = || 0..MAX;
    let step = prop_oneof![
        5 => (at(), 1..90_000usize).prop_map(|(a, n)| Step::Write(a, n)),
        2 => at().prop_map(Step::Truncate),
        2 => (at(), 1..200_000u64).prop_map(|(a, n)| Step::Punch(a, n)),
        2 => (at(), 1..200_000u64, any::<bool>()).prop_map(|(a, n, k)| Step::Allocate(a, n, k)),
        2 => proptest::prelude::Just(Step::Sync),
        1 => proptest::prelude::Just(Step::Reopen),
        1 => proptest::prelude::Just(Step::Remount),
    ];
    prop::collection::vec(step, 1..40)
}

fn run_file(kind: &str, steps: &[Step]) -> Result<(), proptest::test_runner::TestCaseError> {
    let Some(image) = mke2fs(kind, 8, None) else { return Ok(()) };
    let mut w = World::new(image);
    {
        // Free space full of ones: a stale block that shows through is seen.
        let junk = file(&w.root(), "junk");
        let mut at = 0;
        while write(&junk, at, &[0xff; 65536]).is_ok() {
            at += 65536;
        }
        junk.ops.sync(false).unwrap();
        unlink(&w.root(), "junk").unwrap();
    }
    let mut model: Vec<u8> = Vec::new();
    let mut f = Some(file(&w.root(), "f"));
    for (i, step) in steps.iter().enumerate() {
        let g = f.as_ref().unwrap();
        match *step {
            Step::Write(at, n) => {
                let data = pattern(n, i as u64 + 1);
                write(g, at, &data).unwrap();
                let end = at as usize + n;
                if model.len() < end {
                    model.resize(end, 0);
                }
                model[at as usize..end].copy_from_slice(&data);
            }
            Step::Truncate(n) => {
                truncate(g, n).unwrap();
                model.resize(n as usize, 0);
            }
            Step::Punch(at, n) => {
                g.ops.fallocate(3, at, n).unwrap();
                let (a, b) = ((at as usize).min(model.len()), ((at + n) as usize).min(model.len()));
                model[a..b].fill(0);
            }
            Step::Allocate(at, n, keep) => match g.ops.fallocate(u32::from(keep), at, n) {
                Ok(()) if !keep && model.len() < (at + n) as usize => {
                    model.resize((at + n) as usize, 0)
                }
                Ok(()) => {}
                Err(e) => prop_assert_eq!(e, base::Errno::EOPNOTSUPP),
            },
            Step::Sync => g.ops.sync(false).unwrap(),
            Step::Reopen => {
                drop(f.take());
                f = Some(lookup(&w.root(), "f").unwrap());
            }
            Step::Remount => {
                drop(f.take());
                w.remount();
                f = Some(lookup(&w.root(), "f").unwrap());
            }
        }
        let now = read(f.as_ref().unwrap());
        prop_assert_eq!(now.len(), model.len());
        if now != model {
            let at = now.iter().zip(&model).position(|(a, b)| a != b).unwrap();
            prop_assert!(false, "{kind}: byte {at} after step {i} {step:?}");
        }
    }
    drop(f);
    w.unmount();
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn file_is_a_vector_of_bytes(steps in steps(), kind in 0..4usize) {
        let kinds = ["-t ext4 -b 1024", "-t ext4 -b 4096", "-t ext2 -b 1024", "-t ext3 -b 4096"];
        run_file(kinds[kind], &steps)?;
    }
}

#[test]
fn directories_are_maps() {
    for (seed, kind) in [
        "-t ext4 -b 1024 -N 6000",
        "-t ext4 -b 4096 -N 6000",
        "-t ext2 -b 1024 -N 6000 -O ^dir_index",
    ]
    .iter()
    .enumerate()
    {
        let Some(image) = mke2fs(kind, 16, None) else { return };
        let mut w = World::new(image);
        let mut rng = Rng(seed as u64 + 77);
        let mut model: [BTreeMap<String, u64>; 2] = Default::default();
        for round in 0..3 {
            {
                let dirs = if round == 0 {
                    [mkdir(&w.root(), "a"), mkdir(&w.root(), "b")]
                } else {
                    [lookup(&w.root(), "a").unwrap(), lookup(&w.root(), "b").unwrap()]
                };
                for _ in 0..3000 {
                    let name = |r: &mut Rng| {
                        let n = r.below(1500);
                        format!("{n}{}", "-".repeat((n * 7 % 180) as usize))
                    };
                    let (i, j) = (rng.below(2) as usize, rng.below(2) as usize);
                    let (a, b) = (name(&mut rng), name(&mut rng));
                    match rng.below(6) {
                        0..3 => {
                            if !model[i].contains_key(&a) {
                                model[i].insert(a.clone(), file(&dirs[i], &a).ino);
                            }
                        }
                        3 => {
                            assert_eq!(unlink(&dirs[i], &a).is_ok(), model[i].remove(&a).is_some());
                        }
                        4 => {
                            if let Some(ino) = model[i].get(&a).copied()
                                && (i, &a) != (j, &b)
                            {
                                rename(&dirs[i], &a, &dirs[j], &b, RenameFlags::empty()).unwrap();
                                model[i].remove(&a);
                                model[j].insert(b, ino);
                            }
                        }
                        _ => {
                            let got = lookup(&dirs[i], &a).ok().map(|x| x.ino);
                            assert_eq!(got, model[i].get(&a).copied());
                        }
                    }
                }
                for i in 0..2 {
                    let mut names = list(&dirs[i], 50);
                    names.retain(|n| n != "." && n != "..");
                    names.sort();
                    assert!(names.iter().eq(model[i].keys()), "{kind}");
                }
            }
            w.remount();
        }
        w.unmount();
    }
}
