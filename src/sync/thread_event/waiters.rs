//! The waiters of a `ThreadEvent`, and whether it has happened.
//!
//! A wait looks twice whether it has: without the lock, and under it. What happens in between
//! leaves no waker behind, and loses none. `tests/loom.rs` includes this file too.

use std::mem;
use std::ops::DerefMut;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::task::Waker;

use super::sync::{AtomicBool, Mutex};
use crate::room::Slab;

#[derive(Debug, Default)]
pub(crate) struct Waiters {
    /// Set under the lock, so that no wait begins after all were woken; read without it.
    set: AtomicBool,
    list: Mutex<Slab<Waker>>,
}

impl Waiters {
    fn list(&self) -> impl DerefMut<Target = Slab<Waker>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Marks the event as happened; returns the wakers of those that wait.
    pub(crate) fn set(&self) -> Slab<Waker> {
        let mut list = self.list();
        self.set.store(true, Ordering::Release);
        mem::take(&mut *list)
    }

    pub(crate) fn is_set(&self) -> bool {
        self.set.load(Ordering::Acquire)
    }

    /// Stores the waker, at the place with this key or a new one, unless the event has happened.
    pub(crate) fn is_set_or_take(&self, key: &mut Option<usize>, waker: &Waker) -> bool {
        if self.is_set() {
            return true;
        }
        // Cloned and dropped without the lock: both may run the user's code.
        let mut waker = Some(waker.clone());
        let mut list = self.list();
        let is_set = self.is_set();
        match *key {
            _ if is_set => {}
            Some(key) => waker = waker.map(|waker| mem::replace(&mut list[key], waker)),
            None => *key = waker.take().map(|waker| list.insert(waker)),
        }
        drop(list);
        drop(waker);
        is_set
    }

    /// Gives up a place.
    pub(crate) fn leave(&self, key: Option<usize>) {
        let Some(key) = key else {
            return;
        };
        // After `set` the list stays empty.
        let waker = self.list().try_remove(key);
        drop(waker);
    }
}
