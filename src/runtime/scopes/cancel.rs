//! The effects of a cancel on scopes: its reach, the time that shields delay it, its end.
//!
//! The state, and the table of events that set each flag, is in the parent.

use super::{Kind, Limit, NIL, News, Next, POLLS, Reached, ScopeKey, Scopes, index, place};
use crate::sys::clock::{NEVER, Nanos};

impl Scopes {
    /// Adds a shield inside `parent`, which protects until a time, or until all cancelled scopes
    /// above have used up their allowance. Returns its key and that time.
    pub(crate) fn enter_shield(
        &mut self,
        parent: ScopeKey,
        until: Nanos,
        now: Nanos,
    ) -> (ScopeKey, Nanos) {
        let length = match until {
            NEVER => NEVER,
            until => until.saturating_sub(now),
        };
        let key = self.enter(parent, Kind::Shield(until), Limit::After(length));
        self.link(key);
        let until = until.min(self.allow(key));
        // A shield that begins without any time left has ended.
        let until = if until > now { until } else { 0 };
        self.nodes[place(key)].kind = Kind::Shield(until);
        self.count_shields(parent, i32::from(until != 0));
        (key, until)
    }

    /// Lets the shields in `key` delay each cancelled scope above, for as long as their limits,
    /// counted from the cancel at the earliest. Returns the time when the first of those scopes is
    /// past its allowance.
    pub(super) fn allow(&mut self, key: ScopeKey) -> Nanos {
        let mut shields = Vec::new();
        self.each_below(key, |_, node| {
            if let (Kind::Shield(until), Limit::After(length)) = (node.kind, node.limit) {
                shields.push((until, length));
            }
            node.count() > 0
        });
        let (mut at, mut earliest) = (key, NEVER);
        while let Some(node) = self.get_mut(at) {
            if node.is_cancelled() {
                for (until, length) in &shields {
                    let end = node.cancelled_at.saturating_add(*length).min(*until);
                    node.allowance = node.allowance.max(end);
                }
                earliest = earliest.min(node.allowance);
            }
            at = node.parent;
        }
        earliest
    }

    /// Adds `more` to the number of shields below `key`.
    pub(super) fn count_shields(&mut self, key: ScopeKey, more: i32) {
        let mut at = if more == 0 { 0 } else { key };
        while let Some(node) = self.get_mut(at) {
            node.shields += more;
            debug_assert!(node.shields >= 0, "no more shields end than have begun");
            at = node.parent;
            if node.shields == 0 && node.timer != 0 {
                let timer = std::mem::take(&mut node.timer);
                self.unheld.push(timer);
            }
        }
    }

    /// Ends the protection of a shield.
    pub(crate) fn end_shield(&mut self, key: ScopeKey) {
        let Some(node) = self.get_mut(key) else {
            return;
        };
        if node.kind != Kind::Shield(0) {
            node.kind = Kind::Shield(0);
            let parent = node.parent;
            self.count_shields(parent, -1);
        }
    }

    /// Cancels a scope; returns false if it was already cancelled, or is gone.
    pub(crate) fn cancel(&mut self, key: ScopeKey, now: Nanos) -> bool {
        let Some(node) = self.get_mut(key).filter(|node| !node.is_cancelled()) else {
            return false;
        };
        node.cancelled_at = now;
        let (shields, at) = (node.shields, node.parent);
        if shields > 0 {
            self.allow(key);
        }
        self.tell_above(at);
        true
    }

    /// Marks the scopes around `key`: something in it has to be notified of the cancel, and they
    /// allow the time for it.
    pub(crate) fn tell_above(&mut self, key: ScopeKey) {
        let mut at = key;
        while let Some(node) = self.get_mut(at) {
            node.news = node.news.max(News::Late);
            at = node.parent;
        }
    }

    /// Records that an operation at `from` ends because of `by`, which is above it or the same;
    /// `waited` if it was waiting when the cancel came.
    pub(crate) fn notify(&mut self, from: ScopeKey, by: ScopeKey, waited: bool) {
        let news = if waited { News::InOrder } else { News::Late };
        let mut key = from;
        while let Some(node) = self.get_mut(key) {
            node.notified = true;
            node.news = node.news.max(news);
            if key == by {
                node.caught = true;
                break;
            }
            key = node.parent;
        }
    }

    /// Records that the body of a scope is dropped because of `by`.
    pub(crate) fn blame(&mut self, by: ScopeKey) {
        if let Some(node) = self.get_mut(by) {
            node.caught = true;
        }
    }

    /// Returns true if an operation in the scope was notified, because of this scope or one above.
    pub(crate) fn was_notified(&self, key: ScopeKey) -> bool {
        self.get(key).is_some_and(|node| node.notified)
    }

    /// Returns all that has to be notified that `key` is cancelled: everything linked below it,
    /// except below a live shield. Wakers are taken out: an operation that is polled and still
    /// waits stores another.
    pub(crate) fn reach(&mut self, key: ScopeKey, now: Nanos) -> Reached {
        let mut reached = Reached::default();
        let mut waited_in = Vec::new();
        self.each_below(key, |at, node| {
            if at != key && node.protects(|| now) {
                return false;
            }
            reached.tasks.push(node.task);
            if let Kind::Group(set) = node.kind {
                reached.sets.push(set);
            }
            if node.first_waiter != NIL {
                waited_in.push(index(at));
            }
            true
        });
        for at in waited_in {
            let first = std::mem::replace(&mut self.nodes[at as usize].first_waiter, NIL);
            self.take_waiters(first, &mut reached.wakers);
        }
        reached
    }

    /// Sets the number of tasks below the cancelled `key` that have to be polled once.
    pub(crate) fn expect(&mut self, key: ScopeKey, tasks: u32) {
        if let Some(node) = self.get_mut(key) {
            node.first_polls = tasks;
        }
    }

    /// Records that `tasks` tasks of the group `key` were polled for the first time since a cancel.
    pub(crate) fn polled_first(&mut self, key: ScopeKey, tasks: u32) {
        let mut key = if tasks == 0 { 0 } else { key };
        while let Some(node) = self.get_mut(key) {
            // No more than its own cancel has found, so that this ends.
            if node.first_polls > 0 {
                node.first_polls = node.first_polls.saturating_sub(tasks);
                node.was_first = true;
            }
            key = node.parent;
        }
    }

    /// Called before the body of a scope is polled; returns true if the scope is cancelled.
    pub(crate) fn begin(&mut self, key: ScopeKey) -> bool {
        self.get_mut(key).is_some_and(|node| {
            (node.news, node.was_first) = (News::None, false);
            node.is_cancelled()
        })
    }

    /// Called after the body of a cancelled scope was polled and is pending; `spent` if the turn's
    /// budget is.
    pub(crate) fn after_poll(&mut self, key: ScopeKey, now: Nanos, spent: bool) -> Next {
        let Some(node) = self.get_mut(key) else {
            return Next::Over;
        };
        if node.shields > 0 && node.allowance > now {
            return Next::Wait(node.allowance);
        }
        let in_order = node.was_first || node.news == News::InOrder;
        node.polls += u8::from(!in_order);
        match node.polls >= POLLS || node.news == News::None && !spent {
            true => Next::Over,
            false => Next::Again,
        }
    }
}
