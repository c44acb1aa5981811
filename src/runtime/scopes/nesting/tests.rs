//! The nesting of scopes against a twin, which states each rule of the machine once more.

use super::super::*;
use proptest::prelude::*;

/// An action on the machine and its twin.
#[derive(Clone, Copy, Debug)]
enum Action {
    /// Inside the scope with that number, if it is alive.
    Enter(usize, bool),
    Leave(usize),
    Attach(usize),
    Move(usize, usize),
    Cancel(usize),
    Enlist(usize),
    Delist(usize),
}

/// A scope of the twin: only the parent's name, no links.
struct Twin {
    key: ScopeKey,
    parent: Option<usize>,
    shield: bool,
    cancelled: bool,
    alive: bool,
    linked: bool,
}

struct Both {
    machine: Scopes,
    twins: Vec<Twin>,
    /// The scopes that it waits in.
    waiters: Vec<(ScopeKey, Option<usize>)>,
}

impl Both {
    fn alive(&self, name: usize) -> Option<usize> {
        let name = name % self.twins.len().max(1);
        self.twins.get(name)?.alive.then_some(name)
    }

    fn is_below(&self, name: usize, above: usize) -> bool {
        let mut at = Some(name);
        while let Some(name) = at.filter(|name| self.twins[*name].alive) {
            if name == above {
                return true;
            }
            at = self.twins[name].parent;
        }
        false
    }

    fn is_found(&self, name: usize) -> bool {
        let twin = &self.twins[name];
        let mut below = self.twins.iter();
        twin.linked
            || twin.shield
            || self.waiters.iter().any(|(_, at)| *at == Some(name))
            || below.any(|twin| twin.alive && twin.linked && twin.parent == Some(name))
    }

    fn shields_below(&self, name: usize) -> usize {
        let below = (0..self.twins.len()).filter(|at| *at != name && self.twins[*at].shield);
        let below = below.filter(|at| self.twins[*at].alive && self.is_below(*at, name));
        below.count()
    }

    fn link(&mut self, name: usize) {
        let mut at = Some(name);
        while let Some(name) = at {
            let parent = self.twins[name].parent;
            let rooted = parent.is_none_or(|parent| !self.twins[parent].alive);
            if replace(&mut self.twins[name].linked, !rooted) || rooted {
                return;
            }
            at = parent;
        }
    }

    /// Returns true if a chain of linked scopes leads down to it, without a live shield.
    fn is_reached(&self, name: usize, from: usize) -> bool {
        let mut at = name;
        loop {
            if at == from {
                return true;
            }
            let twin = &self.twins[at];
            let parent = twin.parent.filter(|parent| self.twins[*parent].alive);
            match parent {
                Some(parent) if twin.linked && !twin.shield => at = parent,
                _ => return false,
            }
        }
    }

    fn outermost(&self, from: usize) -> Option<ScopeKey> {
        let (mut at, mut found) = (Some(from), None);
        while let Some(name) = at.filter(|name| self.twins[*name].alive) {
            let twin = &self.twins[name];
            found = if twin.cancelled {
                Some(twin.key)
            } else {
                found
            };
            at = if twin.shield { None } else { twin.parent };
        }
        found
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Enter(inside, shield) => self.enter(inside, shield),
            Action::Leave(name) => {
                let Some(name) = self.alive(name) else { return };
                let mut wakers = Vec::new();
                let left = self.machine.leave(self.twins[name].key, &mut wakers);
                assert_eq!(left.cancelled, self.twins[name].cancelled);
                self.twins[name].alive = false;
                for twin in 0..self.twins.len() {
                    let orphan = self.twins[twin].parent == Some(name);
                    self.twins[twin].linked &= !orphan;
                }
                let waited = self.waiters.iter().filter(|(_, at)| *at == Some(name));
                assert_eq!(wakers.len(), waited.count());
                self.waiters.retain(|(_, at)| *at != Some(name));
            }
            Action::Attach(name) => {
                let Some(name) = self.alive(name) else { return };
                self.machine.link(self.twins[name].key);
                self.link(name);
            }
            Action::Move(name, to) => self.moved(name, to),
            Action::Cancel(name) => self.cancel(name),
            Action::Enlist(name) => {
                let Some(name) = self.alive(name) else { return };
                let waker = Waker::noop().clone();
                let key = self.machine.enlist(self.twins[name].key, waker);
                self.link(name);
                self.waiters.push((key, Some(name)));
            }
            Action::Delist(which) => {
                if self.waiters.is_empty() {
                    return;
                }
                let at = which % self.waiters.len();
                let (key, waits) = self.waiters.swap_remove(at);
                assert_eq!(self.machine.delist(key).is_some(), waits.is_some());
            }
        }
    }

    fn enter(&mut self, inside: usize, shield: bool) {
        let parent = self.alive(inside);
        let above = parent.map_or(0, |parent| self.twins[parent].key);
        let key = match shield {
            true => self.machine.enter_shield(TaskId::NONE, above, NEVER, 1).0,
            false => self
                .machine
                .enter(TaskId::NONE, above, Kind::Scope(Limit::at(NEVER))),
        };
        self.twins.push(Twin {
            key,
            parent,
            shield,
            cancelled: false,
            alive: true,
            linked: false,
        });
        if shield {
            self.link(self.twins.len() - 1);
        }
    }

    fn moved(&mut self, name: usize, to: usize) {
        let (Some(name), Some(to)) = (self.alive(name), self.alive(to)) else {
            return;
        };
        if self.is_below(to, name) {
            return;
        }
        let (key, above) = (self.twins[name].key, self.twins[to].key);
        let moved = self.machine.moved(key, above, TaskId::NONE);
        assert_eq!(moved, self.twins[name].parent != Some(to));
        let is_found = self.is_found(name);
        self.twins[name].parent = Some(to);
        if moved {
            self.twins[name].linked = false;
            if is_found {
                self.link(name);
            }
        }
    }

    fn cancel(&mut self, name: usize) {
        // A shield is never cancelled itself.
        let name = self.alive(name).filter(|name| !self.twins[*name].shield);
        let Some(name) = name else { return };
        let key = self.twins[name].key;
        let first = !replace(&mut self.twins[name].cancelled, true);
        assert_eq!(self.machine.cancel(key, 1, false), first);
        let below = (0..self.twins.len())
            .filter(|twin| self.twins[*twin].alive && self.is_reached(*twin, name));
        let below: Vec<usize> = below.collect();
        let waits = |at: &Option<usize>| at.is_some_and(|at| below.contains(&at));
        let waiting = self.waiters.iter().filter(|(_, at)| waits(at)).count();
        let reached = self.machine.reach(key, 0);
        assert_eq!(reached.tasks.len(), below.len());
        assert_eq!(reached.wakers.len(), waiting);
    }
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let name = 0..40_usize;
    prop::collection::vec(
        prop_oneof![
            4 => (name.clone(), prop::bool::weighted(0.2))
                .prop_map(|(at, shield)| Action::Enter(at, shield)),
            1 => name.clone().prop_map(Action::Leave),
            2 => name.clone().prop_map(Action::Attach),
            1 => (name.clone(), name.clone()).prop_map(|(at, to)| Action::Move(at, to)),
            1 => name.clone().prop_map(Action::Cancel),
            2 => name.clone().prop_map(Action::Enlist),
            1 => name.prop_map(Action::Delist),
        ],
        0..80,
    )
}

proptest! {
    /// The machine against a twin that has names and no links.
    #[test]
    fn scopes_do_what_a_list_of_parents_does(actions in actions()) {
        let mut both = Both {
            machine: Scopes::default(),
            twins: Vec::new(),
            waiters: Vec::new(),
        };
        for action in actions {
            both.act(action);
            for (name, twin) in both.twins.iter().enumerate() {
                // Shields are counted only in cancelled scopes.
                if let Some(cancel) = both.machine.cancel_of(twin.key) {
                    let count = usize::try_from(cancel.shields);
                    assert_eq!(count, Ok(both.shields_below(name)));
                }
                let expected = if twin.alive { both.outermost(name) } else { None };
                assert_eq!(both.machine.outermost(twin.key, || 0), expected);
            }
            let alive = both.twins.iter().filter(|twin| twin.alive).count();
            let waiting = both.waiters.iter().filter(|(_, at)| at.is_some()).count();
            assert_eq!(both.machine.len(), alive + waiting);
        }
    }
}
