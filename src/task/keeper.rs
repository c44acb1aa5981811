//! Decides where a task's error goes, and whether its panic is resumed.

use std::cell::Cell;
use std::convert::Infallible;

use crate::error::Failure;
use crate::executor::{Failed, Payload};

/// The receiver of a task's end, stored in its cell.
pub(crate) trait Keeper {
    /// The error that the task may end with.
    type Error;

    /// Whether panics are caught for it. Otherwise no catch frame is on the stack, because groups
    /// may be nested a thousand deep.
    const CATCHES: bool;

    /// Takes the task's error.
    fn fail(&self, error: Self::Error) -> Failed;

    /// Takes the panic of the task's poll or drop, or returns it to be resumed.
    fn panicked(&self, payload: Payload) -> Option<Payload>;
}

/// For a task of the runtime itself, which ends with a value. Its panic is resumed.
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

/// For a task of a group: the place for its error. Its panic is resumed, and ends the group.
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
