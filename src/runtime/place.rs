//! The state of an operation between two polls: the gate, the claim, the place in a scope.
//!
//! A future stores it for its operation; poll functions get one from their caller.
//!
//! ```text
//!   idle ──Pending, it has to wait──> claimed ──Ready──> idle   (claimed: another one is `Busy`)
//!    ^                                   └──leave──────────^
//!    └──Pending, it yields: nothing is claimed, unless the place keeps its direction
//! ```
//!
//! | field | set | cleared |
//! |---|---|---|
//! | `claimed` | when it first has to wait; at once if it keeps | at the end, by `leave` |
//! | `behind` | when it waits for another one, without a claim | by a claim, `leave` |
//! | `enlisted` | when it waits with a waker that is not a task's | at the end, by `leave` |
//! | `pass` | at the gate | at the end |
//! | `parked` | when its waker is stored with a source | by a call that succeeds, `leave` |
//! | `keeps` | by an operation that continues after a success | by `leave` |

use std::cell::Cell;
use std::task::{Context, Poll, ready};

use super::context::Core;
use super::wait::{Enlisted, Pass};
use crate::error::{Error, Result};
use crate::executor::TaskId;

/// The state of one direction of a stream between two polls; see [`Io`](crate::Io), which has two
/// of them. A stream that wraps another passes the place to the same call of that stream. A stream
/// that wraps none passes it to its [`Half`](crate::Half).
///
/// A place is used with one stream and in one direction until it is left
/// ([`leave_receive`](crate::ByteReceiveStream::leave_receive),
/// [`leave_send`](crate::ByteSendStream::leave_send)). If it is dropped without that, its direction
/// stays [`Busy`](Error::Busy).
#[derive(Debug, Default)]
pub struct Place {
    /// The runtime in which its direction is claimed; 0 for none.
    pub(super) claimed: u64,
    /// The direction is not claimed by this one, which waits for the one that has claimed it.
    pub(crate) behind: bool,
    pub(super) enlisted: Enlisted,
    pub(super) pass: Pass,
    /// The source may have a waker of this operation.
    pub(super) parked: bool,
    /// It claims its direction before anything else, and retains it until it is left.
    pub(super) keeps: bool,
}

/// Whether one direction is in use, for streams that are not sockets.
#[derive(Debug, Default)]
pub(crate) struct Claim(Cell<bool>);

impl Claim {
    pub(crate) fn is_held(&self) -> bool {
        self.0.get()
    }

    /// Claims the direction for an async block.
    pub(crate) fn hold(&self) -> Result<Held<'_>> {
        match self.0.replace(true) {
            true => Err(Error::Busy),
            false => Ok(Held(self)),
        }
    }
}

/// A direction claimed by an async block; released on drop.
pub(crate) struct Held<'a>(&'a Claim);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.0.set(false);
    }
}

impl Place {
    /// Returns true if no operation is in progress: there is nothing to leave.
    #[must_use]
    #[inline]
    pub fn is_idle(&self) -> bool {
        self.claimed == 0
    }

    /// Called when a part is done and the rest is to follow: the next poll, which comes before
    /// another task runs, claims the direction, and it stays claimed until the place is left.
    #[inline]
    pub(crate) fn keep(&mut self) {
        self.keeps = true;
    }

    #[inline]
    pub(crate) fn keeps(&self) -> bool {
        self.keeps
    }

    /// The gate. Called first in each poll: if it is `Pending` the task is already woken; an error
    /// ends the operation.
    #[inline]
    pub(crate) fn admit(&mut self, core: &Core, cx: &Context<'_>) -> Poll<Result<()>> {
        self.pass.admit(core, cx)
    }

    /// The gate of an operation that claims a direction. An operation that continues claims it
    /// first, because another one may run while it yields. `may` is checked before a claim.
    pub(crate) fn begin(
        &mut self,
        core: &Core,
        cx: &Context<'_>,
        claim: &Claim,
        may: impl Fn() -> Result<()>,
    ) -> Poll<Result<()>> {
        if self.keeps {
            may()?;
            self.claim(core, claim)?;
        }
        ready!(self.admit(core, cx))?;
        may()?;
        Poll::Ready(self.claim(core, claim))
    }

    /// Claims a direction, if it is free or its own.
    pub(crate) fn claim(&mut self, core: &Core, claim: &Claim) -> Result<()> {
        if (self.claimed == 0 || self.behind) && claim.0.replace(true) {
            return Err(Error::Busy);
        }
        if self.claimed != core.serial() {
            self.delist();
        }
        (self.claimed, self.behind) = (core.serial(), false);
        Ok(())
    }

    /// The operation, which has claimed its direction, waits for `what`: called after its waker was
    /// stored.
    pub(crate) fn pend<T>(
        &mut self,
        core: &Core,
        cx: &Context<'_>,
        what: &'static &'static str,
    ) -> Poll<Result<T>> {
        if core.has_cancels() {
            if let Some(outcome) = self.pass.end_or_yield(core, cx, Some(what)) {
                return outcome;
            }
        }
        self.enlisted.enlist(core, cx);
        core.executor.note(what, TaskId::NONE);
        Poll::Pending
    }

    /// Lets it wait for the operation that has claimed its direction; [`pend`](Self::pend) follows.
    #[cfg(feature = "tls")]
    pub(crate) fn stay_behind(&mut self, core: &Core) {
        if self.claimed != core.serial() {
            self.delist();
            (self.claimed, self.behind) = (core.serial(), true);
        }
    }

    /// Releases its claim of a direction.
    pub(crate) fn leave(&mut self, claim: &Claim) {
        if self.claimed != 0 {
            self.delist();
            if !self.behind {
                claim.0.set(false);
            }
        }
        *self = Self::default();
    }

    #[inline]
    pub(super) fn delist(&mut self) {
        if self.enlisted.is_there() {
            self.enlisted.delist(self.claimed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An idle connection is mostly the receive that it waits in.
    #[test]
    #[cfg(target_pointer_width = "64")]
    fn a_place_takes_24_bytes() {
        assert_eq!(size_of::<Place>(), 24);
    }
}
