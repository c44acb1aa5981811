//! Says whose affair a task's end is: where its error goes, and whether its panic goes on.

use std::cell::Cell;
use std::convert::Infallible;

use crate::error::Failure;
use crate::executor::{Failed, Payload};

/// Stands beside a task, in its cell.
pub(crate) trait Keeper {
    /// The error that the task may end with.
    type Error;

    /// Whether panics are caught for it. Where not, nothing of that is on the stack: groups may be
    /// nested a thousand deep.
    const CATCHES: bool;

    /// Takes the task's error.
    fn fail(&self, error: Self::Error) -> Failed;

    /// Takes the panic of the task's poll or drop, or gives it back: then it goes on.
    fn panicked(&self, payload: Payload) -> Option<Payload>;
}

/// A task of the runtime itself, which ends with a value. Its panic goes on.
impl Keeper for () {
    type Error = Infallible;
    const CATCHES: bool = false;

    fn fail(&self, never: Infallible) -> Failed {
        match never {}
    }

    fn panicked(&self, payload: Payload) -> Option<Payload> {
        Some(payload)
    }
}

/// A task of a group: here is the place for its error. Its panic goes on, and ends the group.
impl<E: Failure> Keeper for &Cell<Option<E>> {
    type Error = E;
    const CATCHES: bool = false;

    fn fail(&self, error: E) -> Failed {
        let by_cancel = error.is_cancelled();
        self.set(Some(error));
        Failed { by_cancel }
    }

    fn panicked(&self, payload: Payload) -> Option<Payload> {
        Some(payload)
    }
}
