//! Random programs against models.

use std::collections::BTreeMap;

use arch::Prot;
use base::{UserAddr, UserMemory};
use proptest::prelude::*;

use super::{PAGE, Process, RW, World};
use crate::RemapFlags;
use crate::vma::{Vma, VmaFlags, VmaSet};

#[derive(Clone, Debug)]
enum Op {
    Map(u64, u64),
    Unmap(u64, u64),
    /// Mapped, used and unmapped a few times.
    Buffer(u64, u64),
    Protect(u64, u64, u8),
    Store(u64, u8),
    Load(u64),
    KernelStore(u64, u8),
    KernelLoad(u64),
    DontNeed(u64, u64),
    Move(u64, u64, u64),
    Fork,
    Exit,
    Exec,
}

const SPAN: u64 = 96;
const BASE: u64 = 0x10_0000_0000;

fn op() -> impl Strategy<Value = Op> {
    let page = 0..SPAN;
    prop_oneof![
        3 => (page.clone(), 1..40u64).prop_map(|(p, n)| Op::Map(p, n)),
        1 => (page.clone(), 1..30u64).prop_map(|(p, n)| Op::Unmap(p, n)),
        1 => (page.clone(), 1..17u64).prop_map(|(p, n)| Op::Buffer(p, n)),
        2 => (page.clone(), 1..30u64, 0..4u8).prop_map(|(p, n, r)| Op::Protect(p, n, r)),
        10 => (page.clone(), any::<u8>()).prop_map(|(p, v)| Op::Store(p, v)),
        6 => page.clone().prop_map(Op::Load),
        4 => (page.clone(), any::<u8>()).prop_map(|(p, v)| Op::KernelStore(p, v)),
        3 => page.clone().prop_map(Op::KernelLoad),
        1 => (page.clone(), 1..30u64).prop_map(|(p, n)| Op::DontNeed(p, n)),
        1 => (page.clone(), page, 1..20u64).prop_map(|(a, b, n)| Op::Move(a, b, n)),
        3 => Just(Op::Fork),
        2 => Just(Op::Exit),
        1 => Just(Op::Exec),
    ]
}

/// What a process should see: page -> (value of its first byte, rights).
type Model = BTreeMap<u64, (u8, Prot)>;

fn at(page: u64) -> u64 {
    BASE + page * PAGE
}

fn rights(r: u8) -> Prot {
    match r {
        0 => Prot::empty(),
        1 => Prot::READ,
        2 => RW,
        _ => Prot::READ | Prot::EXEC,
    }
}

fn apply(p: &Process, m: &mut Model, op: &Op) -> Result<(), TestCaseError> {
    match *op {
        Op::Map(a, n) => {
            p.anon(at(a), n * PAGE);
            m.extend((a..a + n).map(|i| (i, (0, RW))));
        }
        Op::Unmap(a, n) => {
            p.space.unmap(UserAddr(at(a)), n * PAGE).unwrap();
            m.retain(|k, _| *k < a || *k >= a + n);
        }
        Op::Buffer(a, n) => {
            for _ in 0..3 {
                p.anon(at(a), n * PAGE);
                for i in a..a + n {
                    prop_assert_eq!(p.load(at(i)), Ok(0));
                    p.store(at(i), 1).unwrap();
                }
                p.check();
                p.space.unmap(UserAddr(at(a)), n * PAGE).unwrap();
                prop_assert!(p.load(at(a)).is_err());
            }
            m.retain(|k, _| *k < a || *k >= a + n);
        }
        Op::Protect(a, n, r) => {
            let whole = (a..a + n).all(|i| m.contains_key(&i));
            let done = p.space.protect(UserAddr(at(a)), n * PAGE, rights(r));
            prop_assert_eq!(done.is_ok(), whole);
            if whole {
                m.range_mut(a..a + n).for_each(|e| e.1.1 = rights(r));
            }
        }
        Op::Store(a, v) => {
            let fine = m.get(&a).is_some_and(|e| e.1.contains(Prot::WRITE));
            prop_assert_eq!(p.store(at(a), v).is_ok(), fine);
            if fine {
                m.entry(a).and_modify(|e| e.0 = v);
            }
        }
        Op::Load(a) => {
            let want = m.get(&a).filter(|e| !e.1.is_empty()).map(|e| e.0);
            prop_assert_eq!(p.load(at(a)).ok(), want);
        }
        Op::KernelStore(a, v) => {
            let fine = m.get(&a).is_some_and(|e| e.1.contains(Prot::WRITE));
            prop_assert_eq!(p.space.write(UserAddr(at(a)), &[v]).is_ok(), fine);
            if fine {
                m.entry(a).and_modify(|e| e.0 = v);
            }
        }
        Op::KernelLoad(a) => {
            let want = m.get(&a).filter(|e| !e.1.is_empty()).map(|e| e.0);
            let mut b = [0];
            prop_assert_eq!(p.space.read(UserAddr(at(a)), &mut b).ok().map(|()| b[0]), want);
        }
        Op::DontNeed(a, n) => {
            let _ = p.space.advise(UserAddr(at(a)), n * PAGE, 4);
            m.range_mut(a..a + n).for_each(|e| e.1.0 = 0);
        }
        Op::Move(a, b, n) => {
            let overlap = a < b + n && b < a + n;
            let flags = RemapFlags::MAYMOVE | RemapFlags::FIXED;
            let len = n * PAGE;
            if overlap {
                return Ok(());
            }
            if p.space.remap(UserAddr(at(a)), len, len, flags, UserAddr(at(b))).is_ok() {
                for i in 0..n {
                    let e = m.remove(&(a + i)).expect("only what is mapped moves");
                    m.insert(b + i, e);
                }
            }
        }
        Op::Fork | Op::Exit | Op::Exec => {}
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn forks_keep_to_themselves(ops in prop::collection::vec((0..3usize, op()), 1..120)) {
        let w = World::new(4096);
        let mut all: Vec<(Process, Model)> = vec![(w.process(), Model::new())];
        for (who, op) in &ops {
            let i = who % all.len();
            match op {
                Op::Fork if all.len() < 3 => {
                    let child = w.fork(&all[i].0);
                    let model = all[i].1.clone();
                    all.push((child, model));
                }
                Op::Exit if all.len() > 1 => {
                    all.swap_remove(i);
                }
                Op::Exec => {
                    all[i].0.space.clear();
                    all[i].1.clear();
                }
                op => {
                    let (p, m) = &mut all[i];
                    apply(p, m, op)?;
                }
            }
            for (p, _) in &all {
                p.check();
            }
        }
        for (p, m) in &all {
            for (page, (value, prot)) in m {
                let want = (!prot.is_empty()).then_some(*value);
                prop_assert_eq!(p.load(at(*page)).ok(), want, "page {}", page);
            }
            prop_assert_eq!(p.space.usage().vsize, m.len() as u64);
        }
        drop(all);
        let s = w.memory.stats();
        prop_assert_eq!((s.free, s.committed, s.page_tables, s.mapped), (s.total, 0, 0, 0));
    }

    #[test]
    fn vmas_are_a_map_of_pages(ops in prop::collection::vec((0..200u64, 1..60u64, 0..4u8), 1..80)) {
        let mut set = VmaSet::default();
        let mut model: BTreeMap<u64, Prot> = BTreeMap::new();
        for (a, n, r) in ops {
            set.remove(a, a + n);
            model.retain(|k, _| *k < a || *k >= a + n);
            if r < 3 {
                set.insert(Vma {
                    start: a,
                    end: a + n,
                    prot: rights(r),
                    max_prot: Prot::all(),
                    flags: VmaFlags::empty(),
                    mapping: None,
                    pgoff: 0,
                    name: None,
                    next: 0,
                    run: 0,
                });
                model.extend((a..a + n).map(|i| (i, rights(r))));
            } else {
                set.change(a, a + n + 5, |v| v.prot = Prot::READ);
                model.range_mut(a..a + n + 5).for_each(|e| *e.1 = Prot::READ);
            }
            for p in 0..300 {
                prop_assert_eq!(set.find(p).map(|v| v.prot), model.get(&p).copied());
            }
            prop_assert_eq!(set.pages() as usize, model.len());
            let v: Vec<_> = set.iter().collect();
            for two in v.windows(2) {
                prop_assert!(two[0].end < two[1].start || two[0].prot != two[1].prot);
            }
            for want in [1, 7, 40] {
                let hole = (0..=300 - want)
                    .rev()
                    .find(|s| (*s..s + want).all(|p| !model.contains_key(&p)));
                set.remove(1000, 1001); // forgets where the last gap was found
                prop_assert_eq!(set.find_gap(want, 0, 300), hole);
            }
            // With the hint: a gap, if there is one, at the second attempt at the latest.
            let again = set.find_gap(3, 0, 300).or_else(|| set.find_gap(3, 0, 300));
            let free = |s: u64| (s..s + 3).all(|p| p < 300 && !model.contains_key(&p));
            prop_assert_eq!(again.is_some(), (0..298).any(free));
            prop_assert!(again.is_none_or(free));
        }
    }
}
