//! Mapping operations that wait for the next flush.
//!
//! Order is kept: a later operation on the same pages wins. An operation is merged with the one
//! before it where both together are one host call, and forgotten where a later one undoes all of
//! it.

use base::Pfn;

use crate::machine::Prot;

/// Unmapping at least so many pages looks through the whole queue for what it makes pointless.
const LARGE: u64 = 512;

/// One operation; `vpn` and `pages` in pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Op {
    pub(crate) vpn: u64,
    pub(crate) pages: u64,
    pub(crate) kind: Kind,
}

/// What an operation does to its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Shows these frames.
    Map { pfn: Pfn, prot: Prot, populate: bool },
    /// Shows nothing.
    Unmap,
    /// Changes the rights of what is there.
    Protect { prot: Prot },
}

impl Op {
    fn end(&self) -> u64 {
        self.vpn + self.pages
    }
    fn covers(&self, other: &Op) -> bool {
        self.vpn <= other.vpn && other.end() <= self.end()
    }
    fn touches(&self, other: &Op) -> bool {
        self.vpn <= other.end() && other.vpn <= self.end()
    }

    /// How many host mappings it may add at most.
    pub(crate) fn adds(&self) -> usize {
        match self.kind {
            Kind::Map { .. } | Kind::Protect { .. } => 2,
            Kind::Unmap => 1,
        }
    }
}

/// PROT_READ, PROT_WRITE and PROT_EXEC have the bits of [`Prot`].
pub(crate) fn host_prot(prot: Prot) -> u64 {
    const {
        assert!(Prot::READ.bits() as i32 == libc::PROT_READ);
        assert!(Prot::WRITE.bits() as i32 == libc::PROT_WRITE);
        assert!(Prot::EXEC.bits() as i32 == libc::PROT_EXEC);
    }
    u64::from(prot.bits())
}

/// The queue of one space.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    ops: Vec<Op>,
}

impl Queue {
    pub(crate) fn ops(&self) -> &[Op] {
        &self.ops
    }
    pub(crate) fn clear(&mut self) {
        self.ops.clear();
    }

    /// Adds an operation.
    pub(crate) fn push(&mut self, mut new: Op) {
        if new.pages == 0 {
            return;
        }
        if new.kind == Kind::Unmap && new.pages >= LARGE {
            // A protect that reaches out of the range needs what was mapped below it.
            let straddles = |o: &Op| matches!(o.kind, Kind::Protect { .. }) && !new.covers(o);
            if !self.ops.iter().any(straddles) {
                self.ops.retain(|o| !new.covers(o));
            }
        }
        while let Some(last) = self.ops.last_mut() {
            let before = *last;
            match (&mut last.kind, new.kind) {
                (
                    Kind::Map { pfn, prot, populate },
                    Kind::Map { pfn: new_pfn, prot: new_prot, populate: new_populate },
                ) if *prot == new_prot && *populate == new_populate => {
                    if last.vpn + last.pages == new.vpn && frames_meet(*pfn, last.pages, new_pfn) {
                        last.pages += new.pages;
                        return;
                    }
                    if new.vpn + new.pages == last.vpn && frames_meet(new_pfn, new.pages, *pfn) {
                        (last.vpn, *pfn) = (new.vpn, new_pfn);
                        last.pages += new.pages;
                        return;
                    }
                }
                (Kind::Unmap, Kind::Unmap) if before.touches(&new) => {
                    let end = before.end().max(new.end());
                    new.vpn = new.vpn.min(before.vpn);
                    new.pages = end - new.vpn;
                    self.ops.pop();
                    continue;
                }
                (Kind::Protect { prot }, Kind::Protect { prot: new_prot })
                    if *prot == new_prot && before.touches(&new) =>
                {
                    let end = before.end().max(new.end());
                    last.vpn = new.vpn.min(before.vpn);
                    last.pages = end - last.vpn;
                    return;
                }
                (Kind::Map { prot, .. }, Kind::Protect { prot: new_prot })
                    if last.vpn == new.vpn && last.pages == new.pages =>
                {
                    *prot = new_prot;
                    return;
                }
                _ => {}
            }
            let undone = match new.kind {
                Kind::Map { .. } | Kind::Unmap => new.covers(&before),
                Kind::Protect { .. } => {
                    new.covers(&before) && matches!(before.kind, Kind::Protect { .. })
                }
            };
            if !undone {
                break;
            }
            self.ops.pop();
        }
        self.ops.push(new);
    }
}

/// Whether the frames behind `pages` ones from `first` are `next`.
fn frames_meet(first: Pfn, pages: u64, next: Pfn) -> bool {
    u64::from(first.0) + pages == u64::from(next.0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::{Strategy, any, proptest};

    use super::*;

    type Pages = BTreeMap<u64, (u64, Prot)>;

    fn apply(pages: &mut Pages, op: &Op) {
        for i in 0..op.pages {
            let v = op.vpn + i;
            match op.kind {
                Kind::Map { pfn, prot, .. } => {
                    pages.insert(v, (u64::from(pfn.0) + i, prot));
                }
                Kind::Unmap => {
                    pages.remove(&v);
                }
                Kind::Protect { prot } => {
                    if let Some(p) = pages.get_mut(&v) {
                        p.1 = prot;
                    }
                }
            }
        }
    }

    fn op() -> impl Strategy<Value = Op> {
        let prots = [Prot::READ, Prot::READ | Prot::WRITE, Prot::READ | Prot::EXEC];
        (0u8..3, 0u64..24, 1u64..9, 0u32..3, 0usize..3, any::<bool>()).prop_map(
            move |(k, vpn, pages, shift, p, large)| {
                let kind = match k {
                    0 => Kind::Map { pfn: Pfn(vpn as u32 + shift), prot: prots[p], populate: true },
                    1 => Kind::Unmap,
                    _ => Kind::Protect { prot: prots[p] },
                };
                Op { vpn, pages: if large && k == 1 { pages + LARGE } else { pages }, kind }
            },
        )
    }

    proptest! {
        #[test]
        fn merging_changes_nothing(ops in proptest::collection::vec(op(), 0..40)) {
            let (mut plain, mut merged) = (Pages::new(), Pages::new());
            let mut q = Queue::default();
            for o in &ops {
                // Protect is only asked for what is mapped.
                let mapped = (o.vpn..o.vpn + o.pages).all(|v| plain.contains_key(&v));
                if matches!(o.kind, Kind::Protect { .. }) && !mapped {
                    continue;
                }
                apply(&mut plain, o);
                q.push(*o);
            }
            for o in q.ops() {
                if matches!(o.kind, Kind::Protect { .. }) {
                    assert!((o.vpn..o.vpn + o.pages).all(|v| merged.contains_key(&v)));
                }
                apply(&mut merged, o);
            }
            assert_eq!(plain, merged);
        }
    }

    #[test]
    fn neighbours_become_one_call() {
        let mut q = Queue::default();
        let prot = Prot::READ;
        let map = |vpn, pfn| Op {
            vpn,
            pages: 16,
            kind: Kind::Map { pfn: Pfn(pfn), prot, populate: true },
        };
        q.push(map(16, 116));
        q.push(map(32, 132));
        q.push(map(0, 100));
        assert_eq!(q.ops(), [Op { pages: 48, ..map(0, 100) }]);
        q.push(map(48, 999));
        assert_eq!(q.ops().len(), 2);
        q.push(Op { vpn: 0, pages: 1 << 30, kind: Kind::Unmap });
        assert_eq!(q.ops().len(), 1);
        q.push(Op { vpn: 5, pages: 1, kind: Kind::Unmap });
        assert_eq!(q.ops().len(), 1);
    }
}
