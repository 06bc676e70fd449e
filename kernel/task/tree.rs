//! How processes hang together: ids, parents and children, groups, sessions.

use std::sync::{Arc, Weak};

use base::limits::{MAX_TASKS, PID_MAX};
use base::{Errno, Result, err};
use hashbrown::HashMap;

use super::{Process, Task};

/// A process's place.
#[derive(Debug)]
pub struct Node {
    /// The process; a zombie stays until it is waited for.
    pub process: Arc<Process>,
    /// Parent's pid; 0 for init.
    pub parent: u32,
    /// Children, zombies included.
    pub children: Vec<u32>,
    /// Process group.
    pub pgrp: u32,
    /// Session.
    pub session: u32,
}

/// All processes and threads.
#[derive(Debug, Default)]
pub struct Tree {
    nodes: HashMap<u32, Node>,
    tasks: HashMap<u32, Weak<Task>>,
    last: u32,
    /// Processes and threads ever made.
    pub forks: u64,
}

impl Tree {
    fn taken(&self, id: u32) -> bool {
        self.nodes.contains_key(&id)
            || self.tasks.contains_key(&id)
            || self.nodes.values().any(|n| n.pgrp == id || n.session == id)
    }

    /// A fresh id for a process or thread.
    ///
    /// # Errors
    /// EAGAIN if there are too many tasks.
    pub fn alloc_id(&mut self) -> Result<u32> {
        if self.tasks.len() >= MAX_TASKS {
            return err(Errno::EAGAIN);
        }
        // Group and session ids may outlive their leader, but only while members live: looking at
        // the two maps first makes the long search rare.
        for _ in 0..PID_MAX {
            self.last = if self.last + 1 >= PID_MAX { 300 } else { self.last + 1 };
            let id = self.last;
            if self.nodes.contains_key(&id) || self.tasks.contains_key(&id) {
                continue;
            }
            if self.forks >= u64::from(PID_MAX) && self.taken(id) {
                continue;
            }
            self.forks += 1;
            return Ok(id);
        }
        err(Errno::EAGAIN)
    }

    /// Enters a process.
    pub fn add_process(&mut self, process: &Arc<Process>, parent: u32, pgrp: u32, session: u32) {
        let node = Node { process: process.clone(), parent, children: Vec::new(), pgrp, session };
        self.nodes.insert(process.pid, node);
        if let Some(p) = self.nodes.get_mut(&parent) {
            p.children.push(process.pid);
        }
    }

    /// Enters a thread.
    pub fn add_task(&mut self, task: &Arc<Task>) {
        self.tasks.insert(task.tid(), Arc::downgrade(task));
    }

    /// A thread has exited.
    pub fn remove_task(&mut self, tid: u32) {
        self.tasks.remove(&tid);
    }

    /// A zombie has been waited for.
    pub fn remove_process(&mut self, pid: u32) -> Option<Arc<Process>> {
        let node = self.nodes.remove(&pid)?;
        if let Some(p) = self.nodes.get_mut(&node.parent) {
            p.children.retain(|c| *c != pid);
        }
        Some(node.process)
    }

    /// The process `pid`, zombie or not.
    pub fn process(&self, pid: u32) -> Option<&Arc<Process>> {
        self.nodes.get(&pid).map(|n| &n.process)
    }
    /// Its place.
    pub fn node(&self, pid: u32) -> Option<&Node> {
        self.nodes.get(&pid)
    }
    /// Its place, to change.
    pub fn node_mut(&mut self, pid: u32) -> Option<&mut Node> {
        self.nodes.get_mut(&pid)
    }
    /// The thread `tid`.
    pub fn task(&self, tid: u32) -> Option<Arc<Task>> {
        self.tasks.get(&tid).and_then(Weak::upgrade)
    }
    /// All processes.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }
    /// How many threads there are.
    pub fn task_count(&self) -> usize {
        self.tasks.len()
    }
    /// The id given last (`/proc/loadavg`).
    pub fn last_id(&self) -> u32 {
        self.last
    }

    /// The processes of a group.
    pub fn group(&self, pgrp: u32) -> Vec<Arc<Process>> {
        self.nodes.values().filter(|n| n.pgrp == pgrp).map(|n| n.process.clone()).collect()
    }

    /// Whether `pgrp` exists in `session`.
    pub fn group_in_session(&self, pgrp: u32, session: u32) -> bool {
        self.nodes.values().any(|n| n.pgrp == pgrp && n.session == session)
    }

    /// Whether no member of `pgrp` has a parent in another group of the same session
    /// (setpgid(2): an orphaned group). `without` is a process that is about to exit.
    pub fn is_orphaned(&self, pgrp: u32, without: Option<u32>) -> bool {
        !self.nodes.values().any(|n| {
            n.pgrp == pgrp
                && Some(n.process.pid) != without
                && n.process.lock().zombie.is_none()
                && self
                    .nodes
                    .get(&n.parent)
                    .is_some_and(|p| p.session == n.session && p.pgrp != pgrp)
        })
    }

    /// Whether a member of `pgrp` is stopped.
    pub fn has_stopped(&self, pgrp: u32) -> bool {
        self.nodes.values().any(|n| n.pgrp == pgrp && n.process.lock().stopped.is_some())
    }

    /// Hands the children of `pid` to the nearest living subreaper among its ancestors, else to init.
    /// Returns them with their new parent.
    pub fn reparent_children(&mut self, pid: u32) -> (Vec<u32>, u32) {
        let children = match self.nodes.get_mut(&pid) {
            Some(n) => std::mem::take(&mut n.children),
            None => return (Vec::new(), 1),
        };
        let mut heir = 1;
        let mut at = self.nodes.get(&pid).map_or(0, |n| n.parent);
        while at > 1 {
            let Some(n) = self.nodes.get(&at) else { break };
            if n.process.subreaper.load(std::sync::atomic::Ordering::Relaxed)
                && n.process.lock().exiting.is_none()
            {
                heir = at;
                break;
            }
            at = n.parent;
        }
        for c in &children {
            if let Some(n) = self.nodes.get_mut(c) {
                n.parent = heir;
            }
        }
        if let Some(h) = self.nodes.get_mut(&heir) {
            h.children.extend(&children);
        }
        (children, heir)
    }
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
