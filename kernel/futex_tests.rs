//! The queues of waiters, with tasks that only remember that they were woken.

use super::*;

#[derive(Default)]
struct Sleeping(AtomicUsize);

impl Wake for Sleeping {
    fn wake(&self, _events: PollEvents) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

struct Fixture {
    futexes: Futexes,
    waiters: Vec<(Arc<Sleeping>, Arc<Waiter>)>,
}

fn key(addr: u64) -> FutexKey {
    FutexKey::Private { space: 1, addr }
}

impl Fixture {
    /// `n` waiters of `key`; the bitset of number i is bit i.
    fn new(n: usize, k: &FutexKey) -> Fixture {
        let futexes = Futexes::default();
        let bucket = futexes.index(k);
        let waiters: Vec<_> = (0..n)
            .map(|i| {
                let task = Arc::new(Sleeping::default());
                let w = Arc::new(Waiter {
                    task: task.clone(),
                    woken: AtomicBool::new(false),
                    bitset: 1 << i,
                    bucket: AtomicUsize::new(bucket),
                });
                futexes.buckets[bucket].lock().push_back((*k, w.clone()));
                (task, w)
            })
            .collect();
        Fixture { futexes, waiters }
    }
    fn woken(&self) -> Vec<usize> {
        let is = |i: &usize| {
            let (task, w) = &self.waiters[*i];
            let n = task.0.load(Ordering::SeqCst);
            assert_eq!(n == 1, w.woken.load(Ordering::SeqCst));
            n == 1
        };
        (0..self.waiters.len()).filter(is).collect()
    }
}

#[test]
fn equal_keys_share_a_bucket_and_keys_spread() {
    let f = Futexes::default();
    assert_eq!(f.index(&key(64)), f.index(&key(64)));
    // The seed is another one in each process.
    let used: std::collections::BTreeSet<usize> = (0..1000).map(|i| f.index(&key(i * 4))).collect();
    assert!(used.len() > BUCKETS / 2, "only {} buckets for 1000 words", used.len());
    assert!(used.iter().all(|i| *i < BUCKETS));
}

#[test]
fn waiters_are_woken_in_order_and_by_bitset() {
    let f = Fixture::new(5, &key(8));
    assert_eq!(f.futexes.wake(&key(12), 9, u32::MAX), 0, "another word");
    assert_eq!(f.futexes.wake(&key(8), 2, u32::MAX), 2);
    assert_eq!(f.woken(), [0, 1]);
    assert_eq!(f.futexes.wake(&key(8), 9, 1 << 3), 1);
    assert_eq!(f.woken(), [0, 1, 3]);
    assert_eq!(f.futexes.wake(&key(8), 9, u32::MAX), 2);
    assert_eq!(f.futexes.wake(&key(8), 9, u32::MAX), 0);
}

#[test]
fn a_requeue_wakes_some_and_moves_some() {
    // All pairs of buckets: below, above, the same.
    for to in (0..64).map(|i| key((1 << 20) | (i * 4))).chain([key(8)]) {
        let f = Fixture::new(6, &key(8));
        assert_eq!(f.futexes.requeue(&key(8), &to, 1, 3), (1, 3));
        assert_eq!(f.woken(), [0]);
        if to == key(8) {
            continue;
        }
        assert_eq!(f.futexes.wake(&to, 9, u32::MAX), 3);
        assert_eq!(f.woken(), [0, 1, 2, 3]);
        assert_eq!(f.futexes.wake(&key(8), 9, u32::MAX), 2);
    }
}

#[test]
fn a_waiter_that_gives_up_is_found_where_it_was_moved_to() {
    let f = Fixture::new(3, &key(8));
    f.futexes.requeue(&key(8), &key(4096), 1, 1);
    assert!(!f.futexes.withdraw(&f.waiters[0].1), "a wake-up was spent on it");
    assert!(f.futexes.withdraw(&f.waiters[1].1));
    assert_eq!(f.futexes.wake(&key(4096), 9, u32::MAX), 0);
    assert!(f.futexes.withdraw(&f.waiters[2].1));
    assert_eq!(f.futexes.wake(&key(8), 9, u32::MAX), 0);
}
