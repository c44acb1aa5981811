//! The nesting of scopes: entering, moving and leaving; the lists of children, and the walk down.
//!
//! The nodes and their state are in the parent.

use std::mem::{replace, take};
use std::task::Waker;

use super::{EndedScope, Kind, NIL, Node, ScopeKey, Scopes, Shield};
use crate::executor::TaskId;
use crate::sys::clock::{NEVER, Nanos};

impl Scopes {
    /// Adds a node inside `parent`, polled by `task`.
    #[inline]
    pub(crate) fn enter(&mut self, task: TaskId, parent: ScopeKey, kind: Kind) -> ScopeKey {
        // Never 0, so that no key is 0.
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        let is_found = kind.is_found();
        let index = self.nodes.insert(Node {
            generation: self.generation,
            kind,
            parent,
            first_child: NIL,
            previous: NIL,
            next: NIL,
            linked: false,
            task,
            cancel: None,
        });
        let key = u64::from(self.generation) << 32 | index as u64;
        if is_found {
            self.link(key);
        }
        key
    }

    /// Adds a shield inside `parent`, which protects until a time, or until the first cancelled
    /// scope above has used up its allowance. Returns its key and that time.
    pub(crate) fn enter_shield(
        &mut self,
        task: TaskId,
        parent: ScopeKey,
        until: Nanos,
        now: Nanos,
    ) -> (ScopeKey, Nanos) {
        let length = match until {
            NEVER => NEVER,
            until => until.saturating_sub(now),
        };
        let until = until.min(self.allow(parent, &[Shield { until, length }]));
        // A shield that begins without any time left has ended.
        let until = if until > now { until } else { 0 };
        self.count_shields(parent, isize::from(until != 0));
        let key = self.enter(task, parent, Kind::Shield(Shield { until, length }));
        (key, until)
    }

    /// Adds the waker of an operation inside `parent` that a task's wake would not reach.
    pub(crate) fn enlist(&mut self, parent: ScopeKey, waker: Waker) -> ScopeKey {
        match self.get(parent) {
            Some(_) => self.enter(TaskId::NONE, parent, Kind::Waiter(waker)),
            None => 0,
        }
    }

    /// Removes a waiter.
    #[must_use = "a foreign waker is dropped outside the borrow"]
    pub(crate) fn delist(&mut self, key: ScopeKey) -> Option<Waker> {
        self.get(key)?;
        self.unlink(key);
        match self.nodes.remove(place(key)).kind {
            Kind::Waiter(waker) => Some(waker),
            _ => None,
        }
    }

    /// Returns true if the waiter is still there, with an equivalent waker.
    pub(crate) fn is_enlisted(&self, key: ScopeKey, parent: ScopeKey, waker: &Waker) -> bool {
        self.get(key).is_some_and(|node| match &node.kind {
            Kind::Waiter(present) => node.parent == parent && present.will_wake(waker),
            _ => false,
        })
    }

    /// Records that the scope is polled inside `parent` by `task`; returns true if its parent has
    /// changed.
    #[inline]
    pub(crate) fn moved(&mut self, key: ScopeKey, parent: ScopeKey, task: TaskId) -> bool {
        let Some(node) = self.get_mut(key) else {
            return false;
        };
        node.task = task;
        let moved = node.parent != parent;
        if moved {
            self.move_to(key, parent);
        }
        moved
    }

    /// Moves a node, with those below.
    #[cold]
    fn move_to(&mut self, key: ScopeKey, parent: ScopeKey) {
        let node = &self.nodes[place(key)];
        let (old, is_found) = (
            node.parent,
            // Without a parent it was in no list, even with nodes below.
            node.linked || node.kind.is_found() || node.first_child != NIL,
        );
        // Only scopes above count them; of nested ones that are dropped the outermost leaves first.
        let above = self.get(old).or_else(|| self.get(parent));
        let shields = above.map(|_| self.shields_in(key)).unwrap_or_default();
        let count = isize::try_from(shields.len()).expect("they are in memory");
        // The new parents first, so that the count of common ones never drops to 0 in between.
        self.count_shields(parent, count);
        self.count_shields(old, -count);
        self.allow(parent, &shields);
        self.unlink(key);
        self.spliced = (0, 0);
        self.nodes[place(key)].parent = parent;
        if is_found {
            self.link(key);
        }
    }

    /// Inserts the scope of a task between the scopes that were entered in it and its group's:
    /// `from` is the innermost of those, `above` the group's. No effect if it is already there.
    pub(crate) fn splice(&mut self, from: ScopeKey, above: ScopeKey, task: ScopeKey) {
        let mut key = from;
        // What was entered in the last one of these is not walked again.
        while key != task && (key, task) != self.spliced {
            let Some(node) = self.get(key) else { return };
            if node.parent == above {
                self.move_to(key, task);
                break;
            }
            key = node.parent;
        }
        self.spliced = (from, task);
    }

    /// Removes a scope. Nodes that are still in its list, because their future was leaked, have no
    /// parent from now on. The wakers have to be dropped when nothing is borrowed.
    pub(crate) fn leave(&mut self, key: ScopeKey, wakers: &mut Vec<Waker>) -> EndedScope {
        if self.get(key).is_none() {
            return EndedScope::default();
        }
        self.move_to(key, 0);
        let node = self.nodes.remove(place(key));
        let mut child = node.first_child;
        while child != NIL {
            let below = &mut self.nodes[child as usize];
            below.linked = false;
            let next = below.next;
            if matches!(below.kind, Kind::Waiter(_)) {
                let key = key_of(child, below);
                wakers.extend(self.delist(key));
            }
            child = next;
        }
        node.cancel.map_or_else(EndedScope::default, |cancel| {
            self.cancelled -= 1;
            self.report = cancel.report;
            EndedScope {
                cancelled: true,
                caught: cancel.caught,
                timer: cancel.timer,
            }
        })
    }

    /// Removes a scope if it is in no list, has none, and was not cancelled; returns true if so.
    #[inline]
    pub(crate) fn leave_alone(&mut self, key: ScopeKey) -> bool {
        let alone = self
            .get(key)
            .is_some_and(|node| !node.linked && node.first_child == NIL && node.cancel.is_none());
        if alone {
            self.nodes.remove(place(key));
        }
        alone
    }

    /// Puts a node into its parent's list, and so on upwards, so that a cancel finds it.
    pub(super) fn link(&mut self, key: ScopeKey) {
        let mut key = key;
        while let Some(node) = self.get(key) {
            let parent = node.parent;
            if node.linked || self.get(parent).is_none() {
                return;
            }
            let next = replace(&mut self.nodes[place(parent)].first_child, index(key));
            let node = &mut self.nodes[place(key)];
            (node.linked, node.previous, node.next) = (true, NIL, next);
            if next != NIL {
                self.nodes[next as usize].previous = index(key);
            }
            key = parent;
        }
    }

    fn unlink(&mut self, key: ScopeKey) {
        let node = &mut self.nodes[place(key)];
        if !take(&mut node.linked) {
            return;
        }
        let (previous, next, parent) = (node.previous, node.next, node.parent);
        if next != NIL {
            self.nodes[next as usize].previous = previous;
        }
        match previous {
            // The parent of a linked node is there.
            NIL => self.nodes[place(parent)].first_child = next,
            previous => self.nodes[previous as usize].next = next,
        }
    }

    pub(super) fn get(&self, key: ScopeKey) -> Option<&Node> {
        #[cfg(test)]
        self.visited.set(self.visited.get() + 1);
        let node = self.nodes.get(place(key))?;
        (u64::from(node.generation) == key >> 32).then_some(node)
    }

    pub(super) fn get_mut(&mut self, key: ScopeKey) -> Option<&mut Node> {
        #[cfg(test)]
        self.visited.set(self.visited.get() + 1);
        let node = self.nodes.get_mut(place(key))?;
        (u64::from(node.generation) == key >> 32).then_some(node)
    }

    /// Calls `visit` for a node and those listed below it, further down only where it returns true.
    pub(super) fn each_below(&self, key: ScopeKey, mut visit: impl FnMut(u32, &Node) -> bool) {
        let root = index(key);
        let mut at = match self.get(key) {
            Some(_) => root,
            None => return,
        };
        loop {
            #[cfg(test)]
            self.visited.set(self.visited.get() + 1);
            let mut node = &self.nodes[at as usize];
            if visit(at, node) && node.first_child != NIL {
                at = node.first_child;
                continue;
            }
            while at != root && node.next == NIL {
                at = index(node.parent);
                node = &self.nodes[at as usize];
            }
            if at == root {
                return;
            }
            at = node.next;
        }
    }

    /// Returns the scope around `key`, if there is one.
    pub(crate) fn parent(&self, key: ScopeKey) -> ScopeKey {
        self.get(key).map_or(0, |node| node.parent)
    }

    /// The number of nodes.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }
}

pub(super) fn place(key: ScopeKey) -> usize {
    index(key) as usize
}

#[allow(clippy::cast_possible_truncation, reason = "the lower half")]
pub(super) fn index(key: ScopeKey) -> u32 {
    key as u32
}

fn key_of(index: u32, node: &Node) -> ScopeKey {
    u64::from(node.generation) << 32 | u64::from(index)
}

#[cfg(test)]
mod tests;
