//! Futexes. `man 2 futex`.
//!
//! A waiter hangs in a bucket chosen by its key. It enters the bucket before it looks at the word a last
//! time, so that no wake-up between the look and the sleep can be lost.

use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use base::lock::{Rank, SpinLock};
use base::time::Instant;
use base::wait::{Sleep, Wake, Woken};
use base::{Errno, PollEvents, Result, UserAddr, UserMemory, err};
use mm::{AddressSpace, FutexKey};

use crate::Kernel;
use crate::syscall::args::{read_u32, read_u64};
use crate::syscall::time::{RestartBlock, read_timespec};
use crate::syscall::{Ctx, SysResult};
use crate::task::Task;

const BUCKETS: usize = 256;

const WAIT: u32 = 0;
const WAKE: u32 = 1;
const REQUEUE: u32 = 3;
const CMP_REQUEUE: u32 = 4;
const WAKE_OP: u32 = 5;
const LOCK_PI: u32 = 6;
const UNLOCK_PI: u32 = 7;
const TRYLOCK_PI: u32 = 8;
const WAIT_BITSET: u32 = 9;
const WAKE_BITSET: u32 = 10;
const PRIVATE: u32 = 128;
const CLOCK_REALTIME: u32 = 256;

/// Bits of a robust or PI futex word.
const WAITERS: u32 = 0x8000_0000;
const OWNER_DIED: u32 = 0x4000_0000;
const TID_MASK: u32 = 0x3fff_ffff;

struct Waiter {
    task: Arc<dyn Wake>,
    woken: AtomicBool,
    bitset: u32,
    bucket: AtomicUsize,
}

type Bucket = SpinLock<VecDeque<(FutexKey, Arc<Waiter>)>>;

/// All futexes that somebody waits for.
pub struct Futexes {
    buckets: Vec<Bucket>,
    hasher: hashbrown::DefaultHashBuilder,
}

impl std::fmt::Debug for Futexes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Futexes")
    }
}

impl Default for Futexes {
    fn default() -> Self {
        let buckets = (0..BUCKETS).map(|_| SpinLock::new(Rank::Futex, VecDeque::new())).collect();
        Futexes { buckets, hasher: Default::default() }
    }
}

impl Futexes {
    fn index(&self, key: &FutexKey) -> usize {
        // The hasher is quick, but not all of its bits are equally good: in two boots of a hundred
        // neighbouring words met in a few buckets.
        const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
        let hash = self.hasher.hash_one(key);
        ((hash ^ hash >> 32).wrapping_mul(GOLDEN) >> (64 - BUCKETS.trailing_zeros())) as usize
    }

    /// Wakes up to `n` waiters of `key` whose bitset meets `bitset`.
    pub fn wake(&self, key: &FutexKey, n: u32, bitset: u32) -> u32 {
        let mut done = 0;
        let mut q = self.buckets[self.index(key)].lock();
        let mut i = 0;
        while i < q.len() && done < n {
            if q[i].0 == *key && q[i].1.bitset & bitset != 0 {
                if let Some((_, w)) = q.remove(i) {
                    w.woken.store(true, Ordering::SeqCst);
                    w.task.wake(PollEvents::empty());
                    done += 1;
                }
            } else {
                i += 1;
            }
        }
        done
    }

    /// Wakes by address, whether private or shared: for the kernel's own wake-ups at exit.
    pub fn wake_addr(&self, mm: &AddressSpace, at: UserAddr, n: u32) {
        for shared in [false, true] {
            if let Ok(key) = mm.futex_key(at, shared) {
                self.wake(&key, n, u32::MAX);
            }
        }
    }

    fn wait(
        &self,
        cx: &Ctx<'_>,
        at: UserAddr,
        shared: bool,
        value: u32,
        bitset: u32,
        deadline: Option<Instant>,
    ) -> Result<()> {
        use base::wait::Sleeper;
        if bitset == 0 {
            return err(Errno::EINVAL);
        }
        let key = cx.mm.futex_key(at, shared)?;
        let index = self.index(&key);
        let me = &cx.task;
        let waiter = Arc::new(Waiter {
            task: me.waker(),
            woken: AtomicBool::new(false),
            bitset,
            bucket: AtomicUsize::new(index),
        });
        // First into the queue, then the look at the word: a waker changes the word first and then looks
        // into the queue, so one of the two sees the other.
        self.buckets[index].lock().push_back((key, waiter.clone()));
        match cx.mm.load_u32(at) {
            Ok(now) if now == value => {}
            other => {
                if !self.withdraw(&waiter) {
                    return Ok(()); // a wake-up was spent on us
                }
                other?;
                return err(Errno::EAGAIN);
            }
        }
        loop {
            let woken = me.park(Sleep::Interruptible, deadline);
            if waiter.woken.load(Ordering::SeqCst) {
                return Ok(());
            }
            let why = match woken {
                Woken::Woken => continue,
                Woken::TimedOut => Errno::ETIMEDOUT,
                Woken::Interrupted => Errno::ERESTARTSYS,
            };
            return if self.withdraw(&waiter) { err(why) } else { Ok(()) };
        }
    }

    /// Takes a waiter out of its queue. False if it has been woken already.
    fn withdraw(&self, waiter: &Arc<Waiter>) -> bool {
        loop {
            // A requeue may move it while we look.
            let b = waiter.bucket.load(Ordering::SeqCst);
            let mut q = self.buckets[b].lock();
            if waiter.woken.load(Ordering::SeqCst) {
                return false;
            }
            if let Some(i) = q.iter().position(|(_, w)| Arc::ptr_eq(w, waiter)) {
                q.remove(i);
                return true;
            }
            if b == waiter.bucket.load(Ordering::SeqCst) {
                return true;
            }
        }
    }

    /// Wakes `wake` waiters of `from` and moves up to `move_` others to `to`.
    fn requeue(&self, from: &FutexKey, to: &FutexKey, wake: u32, move_: u32) -> (u32, u32) {
        let (a, b) = (self.index(from), self.index(to));
        let (mut done, mut moved) = (0, 0);
        // Two buckets are locked in order of their number.
        let (mut first, mut second) = if a == b {
            (self.buckets[a].lock(), None)
        } else {
            let lo = self.buckets[a.min(b)].lock();
            (lo, Some(self.buckets[a.max(b)].lock_nested()))
        };
        let mut taken = Vec::new();
        {
            let source = if a <= b { &mut first } else { second.as_mut().unwrap_or(&mut first) };
            let mut i = 0;
            while i < source.len() && (done < wake || moved < move_) {
                if source[i].0 != *from {
                    i += 1;
                } else if let Some((_, w)) = source.remove(i) {
                    if done < wake {
                        w.woken.store(true, Ordering::SeqCst);
                        w.task.wake(PollEvents::empty());
                        done += 1;
                    } else {
                        w.bucket.store(b, Ordering::SeqCst);
                        taken.push((*to, w));
                        moved += 1;
                    }
                }
            }
        }
        let target = if b <= a { &mut first } else { second.as_mut().unwrap_or(&mut first) };
        target.extend(taken);
        (done, moved)
    }
}

/// futex(2).
///
/// # Errors
/// EAGAIN, ETIMEDOUT, EINTR, EINVAL, EFAULT, ENOSYS as the man page says; PI operations: ENOSYS.
pub fn sys_futex(
    cx: &mut Ctx<'_>,
    at: UserAddr,
    op: u32,
    val: u32,
    timeout: UserAddr,
    at2: UserAddr,
    val3: u32,
) -> SysResult {
    let shared = op & PRIVATE == 0;
    let cmd = op & !(PRIVATE | CLOCK_REALTIME);
    if op & CLOCK_REALTIME != 0 && !matches!(cmd, WAIT | WAIT_BITSET) {
        return err(Errno::ENOSYS);
    }
    let count2 = timeout.0 as u32;
    let f = &cx.kernel.futexes;
    match cmd {
        WAIT | WAIT_BITSET => {
            let bitset = if cmd == WAIT { u32::MAX } else { val3 };
            let deadline = if timeout.is_null() {
                None
            } else {
                let t = read_timespec(cx, timeout)?;
                Some(match (cmd, op & CLOCK_REALTIME != 0) {
                    (WAIT, _) => arch::clock::monotonic() + t,
                    (_, false) => Instant(u64::try_from(t.as_nanos()).unwrap_or(u64::MAX)),
                    (_, true) => crate::syscall::time::realtime_to_monotonic(t),
                })
            };
            let r = f.wait(cx, at, shared, val, bitset, deadline);
            if let (Err(e), Some(deadline)) = (&r, deadline)
                && *e == Errno::ERESTARTSYS
            {
                // A relative timeout must not start anew after a handler.
                let again = RestartBlock::Futex { at, shared, val, bitset, deadline };
                cx.restart_block = Some(again);
                return err(Errno::ERESTART_RESTARTBLOCK);
            }
            r.map(|()| 0)
        }
        WAKE | WAKE_BITSET => {
            let bitset = if cmd == WAKE { u32::MAX } else { val3 };
            if bitset == 0 {
                return err(Errno::EINVAL);
            }
            let key = cx.mm.futex_key(at, shared)?;
            Ok(f.wake(&key, val, bitset).into())
        }
        REQUEUE | CMP_REQUEUE => {
            if (val as i32) < 0 || (count2 as i32) < 0 {
                return err(Errno::EINVAL);
            }
            let (from, to) = (cx.mm.futex_key(at, shared)?, cx.mm.futex_key(at2, shared)?);
            if cmd == CMP_REQUEUE && cx.mm.load_u32(at)? != val3 {
                return err(Errno::EAGAIN);
            }
            let (woken, moved) = f.requeue(&from, &to, val, count2);
            Ok(i64::from(woken + moved))
        }
        WAKE_OP => wake_op(cx, (at, at2), shared, val, count2, val3),
        LOCK_PI | UNLOCK_PI | TRYLOCK_PI => err(Errno::ENOSYS),
        _ => err(Errno::ENOSYS),
    }
}

/// Goes on with an interrupted wait.
///
/// # Errors
/// As futex(2).
pub fn resume_wait(
    cx: &mut Ctx<'_>,
    at: UserAddr,
    shared: bool,
    val: u32,
    bitset: u32,
    deadline: Instant,
) -> SysResult {
    let r = cx.kernel.futexes.wait(cx, at, shared, val, bitset, Some(deadline));
    if r.as_ref().is_err_and(|e| *e == Errno::ERESTARTSYS) {
        cx.restart_block = Some(RestartBlock::Futex { at, shared, val, bitset, deadline });
        return err(Errno::ERESTART_RESTARTBLOCK);
    }
    r.map(|()| 0)
}

fn wake_op(
    cx: &Ctx<'_>,
    (at, at2): (UserAddr, UserAddr),
    shared: bool,
    n: u32,
    n2: u32,
    code: u32,
) -> SysResult {
    let (op, cmp) = (code >> 28 & 15, code >> 24 & 15);
    let sign12 = |v: u32| ((v << 20) as i32) >> 20;
    let (mut oparg, cmparg) = (sign12(code >> 12 & 0xfff), sign12(code & 0xfff));
    if op & 8 != 0 {
        oparg = 1i32.wrapping_shl(oparg as u32 & 31);
    }
    let (key, key2) = (cx.mm.futex_key(at, shared)?, cx.mm.futex_key(at2, shared)?);
    let old = loop {
        let old = cx.mm.load_u32(at2)?;
        let new = match op & 7 {
            0 => oparg as u32,
            1 => old.wrapping_add(oparg as u32),
            2 => old | oparg as u32,
            3 => old & !(oparg as u32),
            4 => old ^ oparg as u32,
            _ => return err(Errno::ENOSYS),
        };
        if cx.mm.cas_u32(at2, old, new)? == old {
            break old as i32;
        }
    };
    let hit = match cmp {
        0 => old == cmparg,
        1 => old != cmparg,
        2 => old < cmparg,
        3 => old <= cmparg,
        4 => old > cmparg,
        5 => old >= cmparg,
        _ => return err(Errno::ENOSYS),
    };
    let f = &cx.kernel.futexes;
    let mut woken = f.wake(&key, n, u32::MAX);
    if hit {
        woken += f.wake(&key2, n2, u32::MAX);
    }
    Ok(woken.into())
}

/// Walks a dying thread's list of robust futexes: `man 2 set_robust_list`.
pub fn exit_robust_list(kernel: &Kernel, task: &Task, mm: &AddressSpace, head: u64) {
    let word = |a: u64| read_u64(mm, UserAddr(a)).ok();
    let (Some(mut entry), Some(offset), Some(pending)) =
        (word(head), word(head.wrapping_add(8)), word(head.wrapping_add(16)))
    else {
        return;
    };
    // A guest can make the list a ring: the walk is bounded, as Linux bounds it.
    for _ in 0..2048 {
        if entry & !1 == head {
            break;
        }
        let Some(next) = word(entry & !1) else { return };
        if entry != pending {
            owner_died(kernel, task, mm, (entry & !1).wrapping_add(offset));
        }
        entry = next;
    }
    if pending & !1 != 0 {
        owner_died(kernel, task, mm, (pending & !1).wrapping_add(offset));
    }
}

fn owner_died(kernel: &Kernel, task: &Task, mm: &AddressSpace, at: u64) {
    let at = UserAddr(at);
    if !at.0.is_multiple_of(4) {
        return;
    }
    while let Ok(v) = read_u32(mm, at) {
        if v & TID_MASK != task.tid() {
            return;
        }
        let new = v & WAITERS | OWNER_DIED;
        match mm.cas_u32(at, v, new) {
            Ok(old) if old == v => {
                if v & WAITERS != 0 {
                    kernel.futexes.wake_addr(mm, at, 1);
                }
                return;
            }
            Ok(_) => {}
            Err(_) => return,
        }
    }
}

/// execve: the old image's robust list is done with, and a waiting join is told.
pub fn leave_image(cx: &Ctx<'_>) {
    let head = cx.task.robust_list.swap(0, Ordering::Relaxed);
    if head != 0 {
        exit_robust_list(cx.kernel, &cx.task, &cx.mm, head);
    }
    let clear = cx.task.clear_child_tid.swap(0, Ordering::Relaxed);
    if clear != 0 && Arc::strong_count(&cx.mm) > 2 {
        let at = UserAddr(clear);
        if cx.mm.write(at, &0u32.to_le_bytes()).is_ok() {
            cx.kernel.futexes.wake_addr(&cx.mm, at, 1);
        }
    }
}

#[cfg(test)]
#[path = "futex_tests.rs"]
mod tests;
