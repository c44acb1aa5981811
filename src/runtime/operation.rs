//! One operation on a socket: the gate, the claim, the call, the wait.

use std::io;
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use super::context::{self, Core};
use super::place::Place;
use super::socket::{Refusal, Socket};
use super::wait::{Enlisted, Pass};
use crate::error::{Error, Result};
use crate::executor::TaskId;
pub(crate) use crate::reactor::{After, Direction};
use crate::reactor::{Look, SourceKey, Waiter};

/// Whether to make the call before the first wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum First {
    /// It will most likely succeed: sending, connecting.
    Try,
    /// It will most likely not: receiving after an accept, accepting.
    Wait,
    /// What the call will give is at hand: the socket need not be ready.
    AtHand,
}

/// One operation under way on a socket: claims its direction at the first poll, or
/// ([`briefly`](Self::briefly)) when it first has to wait, and gives it back when it is dropped.
#[derive(Debug)]
pub(crate) struct Operation<'a> {
    socket: &'a Socket,
    place: Place,
    direction: Direction,
}

impl<'a> Operation<'a> {
    pub(crate) fn new(socket: &'a Socket, direction: Direction) -> Self {
        let mut place = Place::default();
        place.keep();
        Self {
            socket,
            place,
            direction,
        }
    }

    /// It holds its direction only while it waits: for a future that ends with the first success.
    pub(crate) fn briefly(mut self) -> Self {
        self.place.keeps = false;
        self
    }

    /// The next poll begins another operation, in the direction that this one goes on to hold: a
    /// scope that is cancelled by then ends it before it has done anything.
    pub(crate) fn again(&mut self) {
        self.place.delist();
        self.place.pass = Pass::default();
    }

    /// As [`Place::operate`].
    #[inline]
    pub(crate) fn poll<T>(
        &mut self,
        cx: &Context<'_>,
        first: First,
        call: impl FnMut(&Core, BorrowedFd<'_>) -> io::Result<(T, After)>,
        error: impl FnOnce(io::Error) -> Error,
    ) -> Poll<Result<T>> {
        let on = (self.socket, self.direction);
        self.place.operate(on, cx, first, call, error)
    }

    /// The place, for calls that want one.
    pub(crate) fn place(&mut self) -> &mut Place {
        &mut self.place
    }
}

impl Drop for Operation<'_> {
    #[inline]
    fn drop(&mut self) {
        if !self.place.is_idle() {
            self.place.leave_socket(self.socket, self.direction);
        }
    }
}

/// A direction of a socket.
type On<'a> = (&'a Socket, Direction);

impl Place {
    /// Polls an operation on a socket: passes the gate, then makes `call` until it succeeds, fails,
    /// or would block; then waits for the socket. `call` says what its success means for the next.
    #[inline]
    pub(crate) fn operate<T>(
        &mut self,
        on: On<'_>,
        cx: &Context<'_>,
        first: First,
        call: impl FnMut(&Core, BorrowedFd<'_>) -> io::Result<(T, After)>,
        error: impl FnOnce(io::Error) -> Error,
    ) -> Poll<Result<T>> {
        let polled = context::poll_with(|core| {
            let socket = on.0;
            if self.keeps && self.claimed != core.serial() {
                self.admit_to(core, on).map_err(Error::from)?;
            }
            ready!(self.pass.admit(core, cx))?;
            if self.claimed != core.serial() || socket.is_closed() {
                self.admit_to(core, on).map_err(Error::from)?;
            }
            let slot = socket.slot();
            let mut ready = first != First::Wait;
            if slot != 0 && first != First::AtHand {
                match look(core, cx, on, slot) {
                    Look::Parked(old) => {
                        self.hold(core, on);
                        self.parked = true;
                        drop(old);
                        if core.has_cancels() {
                            return self.wait_there(core, cx);
                        }
                        // A task's own waker, which has no place in a scope.
                        return Poll::Pending;
                    }
                    look => ready = matches!(look, Look::Ready),
                }
            }
            match self.attempt(core, cx, ready, on, call) {
                Poll::Pending => self.wait_there(core, cx),
                Poll::Ready(Ok(value)) => {
                    core.finished();
                    Poll::Ready(Ok(value))
                }
                Poll::Ready(Err(cause)) => {
                    // It counts too: a call that goes on failing must not keep the loop to itself.
                    core.finished();
                    if socket.is_closed() {
                        // Another thread's abort, between the look and the call.
                        return Poll::Ready(Err(Error::Closed));
                    }
                    Poll::Ready(Err(error(cause)))
                }
            }
        });
        if polled.is_ready() && !self.keeps {
            if self.claimed != 0 {
                self.leave_socket(on.0, on.1);
            }
            self.pass = Pass::default();
        }
        polled
    }

    #[inline]
    fn admit_to(&mut self, core: &Core, on: On<'_>) -> std::result::Result<(), Refusal> {
        on.0.admit(core, on.1)?;
        // If it was claimed before, then under a runtime that is dead, and its wakers with it.
        self.claimed = 0;
        self.parked = false;
        self.enlisted = Enlisted::default();
        if self.keeps {
            self.hold(core, on);
        }
        Ok(())
    }

    /// It has to wait, and holds its direction; the waker is with the source.
    #[inline]
    fn wait_there<T>(&mut self, core: &Core, cx: &Context<'_>) -> Poll<Result<T>> {
        if core.has_cancels() {
            if let Some(told) = self.pass.tell(core, cx, true) {
                return told;
            }
        }
        self.enlisted.enlist(core, cx);
        Poll::Pending
    }

    /// Holds the direction, which is free or its own.
    #[inline]
    fn hold(&mut self, core: &Core, (socket, direction): On<'_>) {
        socket.hold(direction);
        self.claimed = core.serial();
    }

    /// Makes the call while the socket may be `ready`, else waits for it.
    #[inline]
    fn attempt<T>(
        &mut self,
        core: &Core,
        cx: &Context<'_>,
        ready: bool,
        on: On<'_>,
        mut call: impl FnMut(&Core, BorrowedFd<'_>) -> io::Result<(T, After)>,
    ) -> Poll<io::Result<T>> {
        let (socket, direction) = on;
        let slot = socket.slot();
        if !ready {
            return self.wait(core, cx, on);
        }
        loop {
            match call(core, socket.fd()) {
                Ok((value, after)) => {
                    if slot != 0 && (self.parked || after != After::Ready) {
                        let waiter = core.reactor().done(slot, direction, after);
                        self.parked = false;
                        drop(waiter);
                    }
                    return Poll::Ready(Ok(value));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    core.reactor().clear(slot, direction);
                    return self.wait(core, cx, on);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    fn wait<T>(&mut self, core: &Core, cx: &Context<'_>, on: On<'_>) -> Poll<io::Result<T>> {
        let (socket, direction) = on;
        self.hold(core, on);
        let key = match socket.slot() {
            0 => socket.register(core)?,
            slot => slot,
        };
        if socket.is_listener() {
            core.reactor().arm(key, socket.is_lent())?;
        }
        // Cloned before, and the old one dropped after, the reactor is borrowed.
        let waiter = match core.executor.task_of(cx.waker()) {
            Some(task) => Waiter::Task(task.number()),
            None => Waiter::Foreign(cx.waker().clone()),
        };
        let old = core.reactor().park(key, direction, waiter);
        self.parked = true;
        drop(old);
        Poll::Pending
    }

    /// Gives up what it holds of a socket's direction.
    pub(crate) fn leave_socket(&mut self, socket: &Socket, direction: Direction) {
        self.delist();
        let Self {
            claimed, parked, ..
        } = std::mem::take(self);
        // If the socket is bound anew, the operation that is busy there is another one.
        if claimed == 0 || socket.owner() != claimed {
            return;
        }
        if socket.is_listener() && socket.is_lent() {
            socket.silence(claimed);
        }
        let unpark = |core: &Rc<Core>| core.reactor().unpark(socket.slot(), direction);
        let waiter = match parked {
            true => context::with_serial(claimed, unpark).flatten(),
            false => None,
        };
        socket.release(direction);
        // Last: it may be the user's code, and panic.
        drop(waiter);
    }
}

/// Looks whether the call may succeed.
#[inline(always)]
fn look(core: &Core, cx: &Context<'_>, (socket, direction): On<'_>, slot: SourceKey) -> Look {
    // A listener has to be armed, too.
    let task = || match socket.is_listener() {
        true => None,
        false => core.executor.task_of(cx.waker()).map(TaskId::number),
    };
    core.reactor().try_or_park(slot, direction, task)
}

#[cfg(all(test, target_pointer_width = "64"))]
mod tests {
    use super::*;

    #[test]
    fn an_operation_takes_40_bytes() {
        assert_eq!(size_of::<Operation<'_>>(), 40);
    }
}
