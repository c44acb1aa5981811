//! Scopes that are polled, and have no entry among the others yet.
//!
//! Most time limits are around one operation, and nothing looks at them. So a poll of a scope only
//! puts what is known of it here, and the scope has a timer if it waits. The entry is made when
//! something has to know it: a group, a shield or a wait in a combinator inside, a cancel around
//! it, its own deadline.
//!
//! A *provisional* key is a place in here, counted from 1. It is valid while that poll lasts.

use super::context::Core;
use super::scopes::{Kind, Limit, ScopeKey, Scopes};
use crate::sys::clock::Nanos;

/// What is known of a scope that has no entry.
#[derive(Debug)]
struct Pending {
    /// The scope around it, perhaps provisional.
    around: ScopeKey,
    /// Its [`Limit`]: the number, and whether it counts from the first wait. Apart, since to copy
    /// both in one go, right after they were written one by one, stalls the processor.
    nanos: Nanos,
    after: bool,
    /// Its entry, once there is one; else 0.
    key: ScopeKey,
}

impl Pending {
    fn limit(&self) -> Limit {
        match self.after {
            true => Limit::After(self.nanos),
            false => Limit::At(self.nanos),
        }
    }
}

/// The scopes without an entry that are being polled, the innermost last.
#[derive(Debug, Default)]
pub(super) struct PendingScopes {
    stack: Vec<Pending>,
}

/// True for the key of a scope that may have no entry: real ones have a generation.
#[inline]
pub(super) fn is_provisional(key: ScopeKey) -> bool {
    key != 0 && key >> 32 == 0
}

impl PendingScopes {
    /// A scope is polled.
    #[inline]
    pub(super) fn begin(&mut self, around: ScopeKey, limit: Limit) -> ScopeKey {
        let (nanos, after) = match limit {
            Limit::At(nanos) => (nanos, false),
            Limit::After(nanos) => (nanos, true),
        };
        self.stack.push(Pending {
            around,
            nanos,
            after,
            key: 0,
        });
        self.stack.len() as ScopeKey
    }

    /// The innermost poll is over; gives the key of the entry, or 0 if nobody needed one.
    #[inline]
    pub(super) fn end(&mut self) -> ScopeKey {
        self.stack.pop().map_or(0, |pending| pending.key)
    }

    /// The key of the entry of a scope in here; made now, with those around it, if there was none.
    #[cold]
    pub(super) fn resolve(&mut self, provisional: ScopeKey, scopes: &mut Scopes) -> ScopeKey {
        let mut resolved = 0;
        for at in 0..usize::try_from(provisional)
            .unwrap_or(0)
            .min(self.stack.len())
        {
            let pending = &self.stack[at];
            let (around, limit) = (pending.around, pending.limit());
            resolved = pending.key;
            if resolved == 0 {
                let parent = match is_provisional(around) {
                    true => self.known(around),
                    false => around,
                };
                resolved = scopes.enter(parent, Kind::Scope, limit);
                self.stack[at].key = resolved;
            }
        }
        resolved
    }

    /// The entry of a scope further out, which was made just now.
    fn known(&self, provisional: ScopeKey) -> ScopeKey {
        let at = usize::try_from(provisional).unwrap_or(0).wrapping_sub(1);
        self.stack.get(at).map_or(0, |pending| pending.key)
    }
}

/// The body of a scope is being polled.
pub(super) struct Inside<'a> {
    core: &'a Core,
    /// What goes on after it.
    around: ScopeKey,
    /// It had no entry at the beginning: at the end, also by a panic, it leaves the stack of those.
    light: bool,
}

impl Inside<'_> {
    /// The poll is over. Of one that had no entry, gives the key if it has one now, else 0.
    #[inline]
    pub(super) fn end(self) -> Option<ScopeKey> {
        let key = self.leave();
        std::mem::forget(self);
        key
    }

    #[inline]
    fn leave(&self) -> Option<ScopeKey> {
        self.core.executor.go_on_in(self.around);
        let light = self.light;
        light.then(|| self.core.pending_scopes.borrow_mut().end())
    }
}

impl Drop for Inside<'_> {
    #[cold]
    fn drop(&mut self) {
        if let Some(key) = self.leave() {
            self.core.leave_scope(key);
        }
    }
}

impl Core {
    /// The scope that what runs now is in; 0 for none.
    #[inline]
    pub(crate) fn scope(&self) -> ScopeKey {
        let key = self.executor.scope();
        match is_provisional(key) {
            true => self.resolve_scope(key),
            false => key,
        }
    }

    #[cold]
    fn resolve_scope(&self, key: ScopeKey) -> ScopeKey {
        let mut pending = self.pending_scopes.borrow_mut();
        pending.resolve(key, &mut self.scopes())
    }

    /// A scope without an entry is polled; it gets one if something has to know it.
    #[inline]
    pub(super) fn enter_lightly(&self, limit: Limit) -> Inside<'_> {
        let around = self.executor.scope();
        let key = self.pending_scopes.borrow_mut().begin(around, limit);
        self.executor.go_on_in(key);
        Inside {
            core: self,
            around,
            light: true,
        }
    }

    /// A scope with an entry is polled.
    #[inline]
    pub(super) fn inside(&self, key: ScopeKey) -> Inside<'_> {
        if self.is_alarmed() {
            self.scopes().begin(key);
        }
        let around = self.executor.scope();
        self.executor.go_on_in(key);
        Inside {
            core: self,
            around,
            light: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::clock::NEVER;

    const LIMIT: Limit = Limit::At(7);

    #[test]
    fn what_nobody_looks_at_leaves_nothing() {
        let (mut pending, scopes) = (PendingScopes::default(), Scopes::default());
        let key = pending.begin(0, LIMIT);
        assert!(is_provisional(key) && !is_provisional(0));
        assert_eq!(pending.end(), 0);
        assert_eq!(scopes.len(), 0);
    }

    #[test]
    fn an_entry_lies_in_those_around_it_and_is_made_once() {
        let (mut pending, mut scopes) = (PendingScopes::default(), Scopes::default());
        let root = scopes.enter(0, Kind::Task, Limit::At(NEVER));
        let outer = pending.begin(root, LIMIT);
        let inner = pending.begin(outer, LIMIT);
        let innermost = pending.begin(inner, LIMIT);
        let entry = pending.resolve(inner, &mut scopes);
        assert!(!is_provisional(entry) && !is_provisional(root));
        assert_eq!(pending.resolve(inner, &mut scopes), entry);
        // The innermost has none, since nobody asked for it.
        assert_eq!(scopes.len(), 3);
        assert_eq!(pending.end(), 0);
        let around = scopes.parent(entry);
        assert_eq!(scopes.parent(around), root);
        assert_eq!(pending.resolve(outer, &mut scopes), around);
        // Of what is over nothing is made.
        assert_eq!(pending.resolve(innermost, &mut scopes), entry);
        assert_eq!((pending.end(), pending.end()), (entry, around));
        assert_eq!(scopes.len(), 3);
    }
}
