//! One operation on a socket: the gate, the claim, the call, the wait.

use std::io;
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use super::context::{self, Core};
use super::place::Place;
use super::socket::Socket;
use super::wait::{Enlisted, Pass};
use crate::error::{Error, Result};
use crate::executor::TaskId;
pub(crate) use crate::reactor::{After, Direction};
use crate::reactor::{Check, Waiter};

/// Whether to make the call before the first wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum First {
    /// It will probably succeed: sending, connecting.
    Try,
    /// It will probably not succeed: receiving after an accept, accepting.
    Wait,
    /// The result is already there: the socket need not be ready.
    AtHand,
}

/// One operation in progress on a socket: claims its direction at the first poll, or
/// ([`briefly`](Self::briefly)) when it first has to wait, and releases it on drop.
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

    pub(crate) fn socket(&self) -> &'a Socket {
        self.socket
    }

    /// Claims its direction only while it waits: for a future that ends with the first success.
    pub(crate) fn briefly(mut self) -> Self {
        self.place.keeps = false;
        self
    }

    /// Makes the next poll another operation, in the direction that is still claimed: a scope that
    /// is cancelled by then ends it before it has done anything.
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
        error: impl Fn(io::Error) -> Error,
    ) -> Poll<Result<T>> {
        let on = (self.socket, self.direction);
        self.place.operate(on, cx, first, call, error)
    }

    /// Returns the place, for calls that need one.
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

/// The next action: the call, or (`Some`) it has failed; a wait; or its end by a cancel.
type Next = Poll<Result<Option<io::Error>>>;

/// The result of checking for the usual case.
enum Usual {
    /// The call has to be made.
    Call,
    /// The task waits.
    Wait,
    /// It is not the usual case.
    Not,
}

impl Place {
    /// Polls an operation on a socket: passes the gate, then makes `call` until it succeeds, fails,
    /// or would block; then waits for the socket. `call` returns what its success means for
    /// readiness.
    ///
    /// The usual case is a small part of each caller; everything else is in functions that exist
    /// once.
    #[inline(always)]
    pub(crate) fn operate<T>(
        &mut self,
        on: On<'_>,
        cx: &Context<'_>,
        first: First,
        mut call: impl FnMut(&Core, BorrowedFd<'_>) -> io::Result<(T, After)>,
        error: impl Fn(io::Error) -> Error,
    ) -> Poll<Result<T>> {
        context::poll_with(|core| {
            let mut failed = match self.usual(core, cx, on, first) {
                Usual::Call => None,
                Usual::Wait => return Poll::Pending,
                Usual::Not => ready!(self.carefully(core, cx, on, first))?,
            };
            loop {
                if let Some(cause) = failed {
                    return Poll::Ready(Err(described(core, error(cause))));
                }
                match call(core, on.0.fd()) {
                    Ok((value, after)) => {
                        self.succeeded(core, on, after);
                        return Poll::Ready(Ok(value));
                    }
                    Err(cause) => failed = ready!(self.unsuccessful(core, cx, on, cause))?,
                }
            }
        })
    }

    /// Checks for the usual case: the socket is registered, all is calm, the direction is free or
    /// its own. If so, it has passed the gate, and waits if the socket is not ready.
    #[inline(always)]
    fn usual(&mut self, core: &Core, cx: &Context<'_>, on: On<'_>, first: First) -> Usual {
        let (socket, direction) = on;
        if !socket.is_open(core) || !core.is_calm() {
            return Usual::Not;
        }
        let may = match self.claimed {
            0 => socket.is_free(direction),
            claimed => claimed == core.serial(),
        };
        if !may {
            return Usual::Not;
        }
        if self.keeps {
            self.hold(core, on);
        }
        if first != First::AtHand {
            let task = || core.executor.task_of(cx.waker()).map(TaskId::number);
            match core.reactor().try_or_park(socket.slot(), direction, task) {
                Check::Ready => {}
                Check::NotReady => return Usual::Not,
                Check::Parked => {
                    self.pass.begin();
                    self.hold(core, on);
                    self.parked = true;
                    // A task's own waker, which needs no place in a scope.
                    return Usual::Wait;
                }
            }
            // A source that is ready has no waiter.
            self.parked = false;
        }
        self.pass.begin();
        Usual::Call
    }

    #[inline(always)]
    fn succeeded(&mut self, core: &Core, on: On<'_>, after: After) {
        let (socket, direction) = on;
        core.finished();
        if after != After::Ready {
            core.reactor().drained(socket.slot(), direction, after);
        }
        if self.claimed != 0 {
            if self.parked {
                self.unpark(core, on);
            }
            if self.keeps {
                return;
            }
            socket.release(direction);
            if self.enlisted.is_there() {
                self.delist();
            }
            self.claimed = 0;
        }
        self.pass = Pass::default();
    }

    #[cold]
    fn unpark(&mut self, core: &Core, (socket, direction): On<'_>) {
        self.parked = false;
        let waiter = core.reactor().unpark(socket.slot(), direction);
        drop(waiter);
    }

    /// Everything before a call: the gate, the claim, the check of readiness.
    #[cold]
    #[inline(never)]
    fn carefully(&mut self, core: &Core, cx: &Context<'_>, on: On<'_>, first: First) -> Next {
        let (socket, direction) = on;
        let polled = match self.enter(core, cx, on) {
            Poll::Ready(Ok(())) => {
                let slot = socket.slot();
                let ready = match slot != 0 && first != First::AtHand {
                    true => core.reactor().is_ready(slot, direction),
                    false => first != First::Wait,
                };
                if ready {
                    return Poll::Ready(Ok(None));
                }
                self.wait(core, cx, on)
            }
            entered => entered.map_ok(|()| None),
        };
        self.ended(on, polled)
    }

    /// Handles a call that has not succeeded: it waits, makes the call again, or has failed.
    #[cold]
    #[inline(never)]
    fn unsuccessful(
        &mut self,
        core: &Core,
        cx: &Context<'_>,
        on: On<'_>,
        cause: io::Error,
    ) -> Next {
        let (socket, direction) = on;
        let polled = match cause.kind() {
            io::ErrorKind::Interrupted => return Poll::Ready(Ok(None)),
            io::ErrorKind::WouldBlock => {
                core.reactor().clear(socket.slot(), direction);
                self.wait(core, cx, on)
            }
            _ => Poll::Ready(failed(core, socket, cause)),
        };
        self.ended(on, polled)
    }

    /// Releases the direction if the poll is the end.
    fn ended(&mut self, (socket, direction): On<'_>, polled: Next) -> Next {
        if polled.is_ready() && !self.keeps {
            if self.claimed != 0 {
                self.leave_socket(socket, direction);
            }
            self.pass = Pass::default();
        }
        polled
    }

    /// Passes the gate, and checks that the direction is free. An operation that retains its
    /// direction claims it first.
    fn enter(&mut self, core: &Core, cx: &Context<'_>, on: On<'_>) -> Poll<Result<()>> {
        if self.keeps && self.claimed != core.serial() {
            self.admit_to(core, on)?;
        }
        ready!(self.pass.admit(core, cx))?;
        if self.claimed != core.serial() || on.0.is_closed() {
            self.admit_to(core, on)?;
        }
        Poll::Ready(Ok(()))
    }

    fn admit_to(&mut self, core: &Core, on: On<'_>) -> Result<()> {
        on.0.admit(core, on.1)?;
        // An earlier claim was made in a runtime that has ended, with its wakers.
        self.claimed = 0;
        self.parked = false;
        self.enlisted = Enlisted::default();
        if self.keeps {
            self.hold(core, on);
        }
        Ok(())
    }

    /// Claims the direction, which is free or its own.
    #[inline]
    fn hold(&mut self, core: &Core, (socket, direction): On<'_>) {
        socket.hold(direction);
        self.claimed = core.serial();
    }

    /// Waits for the socket, with its direction claimed.
    fn wait(&mut self, core: &Core, cx: &Context<'_>, on: On<'_>) -> Next {
        self.hold(core, on);
        if let Err(cause) = self.park(core, cx, on) {
            return Poll::Ready(failed(core, on.0, cause));
        }
        if core.has_cancels() {
            match self.pass.end_or_yield(core, cx, Some("a socket")) {
                // The error that its caller makes says more.
                Some(Poll::Ready(Err(error))) if core.scopes().doing().is_some() => {
                    return Poll::Ready(Ok(Some(error.into())));
                }
                Some(outcome) => return outcome,
                None => {}
            }
        }
        self.enlisted.enlist(core, cx);
        Poll::Pending
    }

    /// Stores the waker with the source, which is registered and armed.
    fn park(&mut self, core: &Core, cx: &Context<'_>, on: On<'_>) -> io::Result<()> {
        let (socket, direction) = on;
        let key = match socket.slot() {
            0 => socket.register(core)?,
            slot => slot,
        };
        if socket.is_listener() {
            core.reactor().arm(key, socket.is_lent())?;
            // An abort by another thread may have been too early to disarm it.
            if socket.is_closed() {
                core.reactor().disarm(key);
                return Err(io::ErrorKind::NotConnected.into());
            }
        }
        // Cloned before the reactor is borrowed, and the old one is dropped after that.
        let waiter = match core.executor.task_of(cx.waker()) {
            Some(task) => Waiter::Task(task.number()),
            None => Waiter::Foreign(cx.waker().clone()),
        };
        let old = core.reactor().park(key, direction, waiter);
        self.parked = true;
        drop(old);
        Ok(())
    }

    /// Releases its claim of a socket's direction.
    pub(crate) fn leave_socket(&mut self, socket: &Socket, direction: Direction) {
        self.delist();
        let Self {
            claimed, parked, ..
        } = std::mem::take(self);
        // If the socket was bound again, the direction is claimed by another operation.
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
        // Last, because it may be the user's code, and panic.
        drop(waiter);
    }
}

/// Returns the error of an operation. That of one that a time limit has ended describes it.
#[cold]
fn described(core: &Core, error: Error) -> Error {
    match &error {
        Error::Io(of) | Error::Broken(of) if error.is_cancelled() => core.describe(&mut |_| {
            let (operation, address) = (of.operation(), of.address().unwrap_or("it"));
            format!("waiting to {operation} {address}")
        }),
        _ => return error,
    }
    Error::Cancelled
}

/// A failed call counts, too: a call that fails again and again must not block the loop.
fn failed(core: &Core, socket: &Socket, cause: io::Error) -> Result<Option<io::Error>> {
    core.finished();
    match socket.is_closed() {
        // Another thread's abort, between the check and the call.
        true => Err(Error::Closed),
        false => Ok(Some(cause)),
    }
}

#[cfg(all(test, target_pointer_width = "64"))]
mod tests {
    use super::*;

    #[test]
    fn an_operation_takes_40_bytes() {
        assert_eq!(size_of::<Operation<'_>>(), 40);
    }
}
