//! Families: ids, groups, orphaned groups, what becomes of children.

use std::sync::atomic::Ordering;

use super::*;
use crate::testing::process;

/// init (1) > shell (2, session 2) > job (3, group 3) > helper (4, group 3).
fn family() -> Tree {
    let mut t = Tree::default();
    for (pid, parent, pgrp, session) in [(1, 0, 1, 1), (2, 1, 2, 2), (3, 2, 3, 2), (4, 3, 3, 2)] {
        t.add_process(&process(pid), parent, pgrp, session);
    }
    t
}

#[test]
fn ids_are_fresh_and_start_at_one() {
    let mut t = Tree::default();
    assert_eq!((1..=3).map(|_| t.alloc_id().unwrap()).collect::<Vec<_>>(), [1, 2, 3]);
    t.add_process(&process(4), 1, 1, 1);
    assert_eq!(t.alloc_id().unwrap(), 5, "4 lives");
    assert_eq!(t.last_id(), 5);
    assert_eq!(t.forks, 4);
}

#[test]
fn ids_wrap_around_and_avoid_what_lives() {
    let mut t = family();
    t.last = PID_MAX - 2;
    t.forks = u64::from(PID_MAX);
    // 301 is a group without its leader: the id must not come back.
    t.add_process(&process(400), 1, 301, 301);
    assert_eq!(t.alloc_id().unwrap(), PID_MAX - 1);
    assert_eq!(t.alloc_id().unwrap(), 300, "the first ids are not used again");
    assert_eq!(t.alloc_id().unwrap(), 302);
}

#[test]
fn groups_and_sessions() {
    let t = family();
    let mut pids: Vec<u32> = t.group(3).iter().map(|p| p.pid).collect();
    pids.sort_unstable();
    assert_eq!(pids, [3, 4]);
    assert!(t.group_in_session(3, 2) && !t.group_in_session(3, 1));
    assert!(t.group(99).is_empty());
    assert_eq!(t.node(2).unwrap().children, [3]);
}

#[test]
fn a_group_is_orphaned_when_its_last_link_to_the_session_goes() {
    let mut t = family();
    assert!(t.is_orphaned(2, None), "the shell's parent is in another session");
    assert!(!t.is_orphaned(3, None), "the job's parent is the shell");
    assert!(t.is_orphaned(3, Some(3)), "its helper alone has no parent outside of the group");
    t.node(3).unwrap().process.lock().zombie = Some(0);
    assert!(t.is_orphaned(3, None), "a zombie is no link");
    t.remove_process(2);
    t.node(3).unwrap().process.lock().zombie = None;
    assert!(t.is_orphaned(3, None), "nor is a parent that is gone");
    t.node(4).unwrap().process.lock().stopped = Some(20);
    assert!(t.has_stopped(3) && !t.has_stopped(1));
}

#[test]
fn children_go_to_init_or_the_nearest_subreaper() {
    let mut t = family();
    assert_eq!(t.reparent_children(3), (vec![4], 1));
    assert_eq!(t.node(4).unwrap().parent, 1);
    assert!(t.node(3).unwrap().children.is_empty());
    assert_eq!(t.node(1).unwrap().children, [2, 4]);

    let mut t = family();
    t.node(2).unwrap().process.subreaper.store(true, Ordering::Relaxed);
    assert_eq!(t.reparent_children(3), (vec![4], 2));
    assert_eq!(t.node(2).unwrap().children, [3, 4]);

    let mut t = family();
    t.node(2).unwrap().process.subreaper.store(true, Ordering::Relaxed);
    t.node(2).unwrap().process.lock().exiting = Some(0);
    assert_eq!(t.reparent_children(3), (vec![4], 1), "one that exits itself does not count");
    assert_eq!(t.reparent_children(77), (vec![], 1));
}

#[test]
fn a_waited_for_zombie_leaves_its_parent() {
    let mut t = family();
    assert_eq!(t.remove_process(3).map(|p| p.pid), Some(3));
    assert!(t.node(2).unwrap().children.is_empty());
    assert!(t.process(3).is_none() && t.remove_process(3).is_none());
}
