//! Locks, and the order in which they may be taken.
//!
//! [`Rank`] names every class of lock from outermost to innermost: that list is the
//! documentation. Debug builds keep the ranks that the host thread holds and panic when a spin
//! lock is taken out of order or a task sleeps with one held. Release builds carry no trace of it.
//!
//! * [`SpinLock`]: short sections that never sleep, do no I/O and touch no user memory.
//! * [`Mutex`]: may be held while sleeping; built on a [`WaitQueue`].
//!
//! A sleeping mutex is always outside every spin lock.

use core::fmt;
use core::ops::{Deref, DerefMut};

use crate::wait::{PollEvents, Sleep, WaitQueue};

/// Every class of spin lock, outermost first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Rank {
    /// Kernel-wide tables: mounts, processes, sessions.
    Registry,
    /// The process tree: parents, children, groups.
    ProcessTree,
    /// One process or task: its state, its ids.
    Task,
    /// A descriptor table.
    FdTable,
    /// Names: dentries and mounts.
    Dentry,
    /// An inode's attributes.
    Inode,
    /// One open file, pipe, socket or tty.
    File,
    /// An address space's VMAs and page table.
    AddressSpace,
    /// A page cache's tree.
    PageCache,
    /// A futex bucket.
    Futex,
    /// Signal queues and actions.
    Signal,
    /// Timers.
    Timer,
    /// The list of a wait queue.
    WaitQueue,
    /// Ready lists of epoll: filled under a wait queue's lock.
    EpollReady,
    /// A run queue: filled under a wait queue's lock.
    RunQueue,
    /// The frame allocator.
    Frames,
    /// Block device state.
    Block,
    /// A stub's queue of mapping requests.
    Machine,
    /// Anything that takes no other lock.
    Leaf,
}

#[cfg(debug_assertions)]
mod held {
    use super::Rank;
    use std::cell::RefCell;

    // Spin locks are never held across a stack switch, so the host thread is the right owner.
    std::thread_local! {
        static HELD: RefCell<Vec<Rank>> = const { RefCell::new(Vec::new()) };
    }

    #[inline(never)]
    pub(super) fn push(rank: Rank, ordered: bool) {
        HELD.with(|h| {
            let mut h = h.borrow_mut();
            if ordered
                && let Some(&top) = h.iter().max()
                && rank <= top
            {
                let list = h.clone();
                drop(h);
                panic!("lock order: {rank:?} taken while holding {list:?}");
            }
            h.push(rank);
        });
    }

    #[inline(never)]
    pub(super) fn pop(rank: Rank) {
        HELD.with(|h| {
            let mut h = h.borrow_mut();
            if let Some(i) = h.iter().rposition(|&r| r == rank) {
                h.remove(i);
            }
        });
    }

    #[inline(never)]
    pub(super) fn assert_none() {
        HELD.with(|h| {
            assert!(h.borrow().is_empty(), "sleeping or doing I/O under {:?}", h.borrow())
        });
    }
}

/// Panics in debug builds if the caller holds a spin lock. Call it before anything that may sleep.
#[inline]
pub fn assert_may_sleep() {
    #[cfg(debug_assertions)]
    held::assert_none();
}

/// A lock for short sections. Waiting spins and yields.
pub struct SpinLock<T: ?Sized> {
    #[cfg(debug_assertions)]
    rank: Rank,
    inner: spin::mutex::SpinMutex<T, spin::relax::Yield>,
}

/// Holds a [`SpinLock`].
pub struct SpinGuard<'a, T: ?Sized> {
    #[cfg(debug_assertions)]
    rank: Rank,
    inner: spin::mutex::SpinMutexGuard<'a, T, spin::relax::Yield>,
}

impl<T> SpinLock<T> {
    /// A lock of this rank around `value`.
    pub const fn new(rank: Rank, value: T) -> SpinLock<T> {
        #[cfg(not(debug_assertions))]
        let _ = rank;
        SpinLock {
            #[cfg(debug_assertions)]
            rank,
            inner: spin::mutex::SpinMutex::new(value),
        }
    }

    /// The value, when nobody else can have the lock.
    pub fn into_inner(self) -> T {
        self.inner.into_inner()
    }
}

impl<T: ?Sized> SpinLock<T> {
    /// Takes the lock.
    #[inline]
    #[track_caller]
    pub fn lock(&self) -> SpinGuard<'_, T> {
        #[cfg(debug_assertions)]
        held::push(self.rank, true);
        SpinGuard {
            #[cfg(debug_assertions)]
            rank: self.rank,
            inner: self.inner.lock(),
        }
    }

    /// Takes a second lock of a rank already held. The caller states why that cannot deadlock
    /// (for instance: always by ascending address).
    #[inline]
    pub fn lock_nested(&self) -> SpinGuard<'_, T> {
        #[cfg(debug_assertions)]
        held::push(self.rank, false);
        SpinGuard {
            #[cfg(debug_assertions)]
            rank: self.rank,
            inner: self.inner.lock(),
        }
    }

    /// Takes the lock if it is free.
    #[inline]
    pub fn try_lock(&self) -> Option<SpinGuard<'_, T>> {
        let inner = self.inner.try_lock()?;
        #[cfg(debug_assertions)]
        held::push(self.rank, false);
        Some(SpinGuard {
            #[cfg(debug_assertions)]
            rank: self.rank,
            inner,
        })
    }

    /// Access through an exclusive reference: no locking.
    pub fn get_mut(&mut self) -> &mut T {
        self.inner.get_mut()
    }
}

impl<T: ?Sized> Deref for SpinGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.inner
    }
}
impl<T: ?Sized> DerefMut for SpinGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}
#[cfg(debug_assertions)]
impl<T: ?Sized> Drop for SpinGuard<'_, T> {
    fn drop(&mut self) {
        held::pop(self.rank);
    }
}
impl<T: ?Sized + fmt::Debug> fmt::Debug for SpinLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.inner.try_lock() {
            Some(g) => f.debug_tuple("SpinLock").field(&&*g).finish(),
            None => f.write_str("SpinLock(<locked>)"),
        }
    }
}
impl<T: ?Sized + fmt::Debug> fmt::Debug for SpinGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// A lock whose waiters sleep. Its holder may sleep and do I/O. Waiting for it cannot be
/// interrupted: holders always come back.
pub struct Mutex<T: ?Sized> {
    waiters: WaitQueue,
    inner: spin::mutex::SpinMutex<T, spin::relax::Yield>,
}

/// Holds a [`Mutex`].
pub struct MutexGuard<'a, T: ?Sized> {
    waiters: &'a WaitQueue,
    inner: Option<spin::mutex::SpinMutexGuard<'a, T, spin::relax::Yield>>,
}

impl<T> Mutex<T> {
    /// A free mutex around `value`.
    pub const fn new(value: T) -> Mutex<T> {
        Mutex { waiters: WaitQueue::new(), inner: spin::mutex::SpinMutex::new(value) }
    }
    /// The value, when nobody else can have the lock.
    pub fn into_inner(self) -> T {
        self.inner.into_inner()
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Takes the lock; sleeps while somebody has it.
    #[inline]
    #[track_caller]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        assert_may_sleep();
        if let Some(g) = self.inner.try_lock() {
            return MutexGuard { waiters: &self.waiters, inner: Some(g) };
        }
        let got =
            self.waiters.wait_exclusive(Sleep::Uninterruptible, None, || self.inner.try_lock());
        let g = got.expect("an uninterruptible sleep without deadline ends only when it is ready");
        MutexGuard { waiters: &self.waiters, inner: Some(g) }
    }

    /// Takes the lock if it is free.
    #[inline]
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        let g = self.inner.try_lock()?;
        Some(MutexGuard { waiters: &self.waiters, inner: Some(g) })
    }

    /// Access through an exclusive reference: no locking.
    pub fn get_mut(&mut self) -> &mut T {
        self.inner.get_mut()
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        self.inner.as_ref().expect("held until drop")
    }
}
impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        self.inner.as_mut().expect("held until drop")
    }
}
impl<T: ?Sized> Drop for MutexGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.inner = None; // unlock first, then wake: the woken one must find it free
        self.waiters.wake_one(PollEvents::empty());
    }
}
impl<T: ?Sized> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.inner.is_locked() { "Mutex(locked)" } else { "Mutex(free)" })
    }
}
impl<T: ?Sized> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MutexGuard")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inward_is_allowed() {
        let outer = SpinLock::new(Rank::ProcessTree, 1);
        let inner = SpinLock::new(Rank::Leaf, 2);
        let (a, b) = (outer.lock(), inner.lock());
        assert_eq!(*a + *b, 3);
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "lock order: ProcessTree taken while holding")]
    fn outward_panics() {
        let outer = SpinLock::new(Rank::ProcessTree, ());
        let inner = SpinLock::new(Rank::Leaf, ());
        let _inner = inner.lock();
        drop(outer.lock());
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "sleeping or doing I/O under")]
    fn sleeping_with_a_spin_lock_held_panics() {
        let lock = SpinLock::new(Rank::Leaf, ());
        let _held = lock.lock();
        assert_may_sleep();
    }
}
