//! One operation on a socket: the gate, the claim, the call, the wait.

use std::io;
use std::os::fd::BorrowedFd;
use std::task::{Context, Poll, ready};

use super::context::{self, Core};
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

/// One operation under way: claims its direction at the first poll, or ([`briefly`](Self::briefly))
/// when it first has to wait, and gives it back at its end.
#[derive(Debug)]
pub(crate) struct Operation<'a> {
    socket: &'a Socket,
    /// The runtime it claimed the direction under; 0 for none.
    claimed: u64,
    /// Its place in a scope there.
    enlisted: Enlisted,
    pass: Pass,
    direction: Direction,
    /// A waker of this operation may be with the source.
    parked: bool,
    brief: bool,
}

impl<'a> Operation<'a> {
    pub(crate) fn new(socket: &'a Socket, direction: Direction) -> Self {
        Self {
            socket,
            claimed: 0,
            enlisted: Enlisted::default(),
            pass: Pass::default(),
            direction,
            parked: false,
            brief: false,
        }
    }

    /// It holds its direction only while it waits: for one whose future ends with the first
    /// success, or says [`hold_on`](Self::hold_on) after it. Nobody else runs meanwhile, so nobody
    /// can tell the difference.
    pub(crate) fn briefly(mut self) -> Self {
        self.brief = true;
        self
    }

    /// A part is done, and the rest is to follow: from here on it holds its direction, also while
    /// it gives way to other tasks.
    #[inline]
    pub(crate) fn hold_on(&mut self) {
        if self.claimed == 0 {
            self.socket.hold(self.direction);
            self.claimed = self.socket.owner();
        }
    }

    /// The next poll begins another operation, in the direction that this one goes on to hold: a
    /// scope that is cancelled by then ends it before it has done anything.
    pub(crate) fn again(&mut self) {
        self.delist();
        self.pass = Pass::default();
    }

    /// Polls the operation: passes the gate, then makes `call` until it succeeds, fails, or would
    /// block; then waits for the socket. `call` says what its success means for the next one.
    #[inline]
    pub(crate) fn poll<T>(
        &mut self,
        cx: &Context<'_>,
        first: First,
        call: impl FnMut(&Core, BorrowedFd<'_>) -> io::Result<(T, After)>,
        error: impl FnOnce(io::Error) -> Error,
    ) -> Poll<Result<T>> {
        context::poll_with(|core| {
            ready!(self.pass.admit(core, cx))?;
            if self.claimed != core.serial() || self.socket.is_closed() {
                if let Err(refusal) = self.begin(core) {
                    return Poll::Ready(Err(refusal.into()));
                }
            }
            let slot = self.socket.slot();
            let mut ready = first != First::Wait;
            if slot != 0 && first != First::AtHand {
                match self.look(core, cx, slot) {
                    Look::Parked(old) => {
                        self.hold(core);
                        self.parked = true;
                        drop(old);
                        if core.has_cancels() {
                            return self.pend(core, cx);
                        }
                        // A task's own waker, which has no place in a scope.
                        return Poll::Pending;
                    }
                    look => ready = matches!(look, Look::Ready),
                }
            }
            match self.attempt(core, cx, ready, slot, call) {
                Poll::Pending => self.pend(core, cx),
                Poll::Ready(Ok(value)) => {
                    core.finished();
                    Poll::Ready(Ok(value))
                }
                Poll::Ready(Err(cause)) => {
                    // It counts too: a call that goes on failing must not keep the loop to itself.
                    core.finished();
                    if self.socket.is_closed() {
                        // Another thread's abort, between the look and the call.
                        return Poll::Ready(Err(Error::Closed));
                    }
                    Poll::Ready(Err(error(cause)))
                }
            }
        })
    }

    #[inline]
    fn begin(&mut self, core: &Core) -> std::result::Result<(), Refusal> {
        self.socket.admit(core, self.direction)?;
        // If it was claimed before, then under a runtime that is dead, and its wakers with it.
        self.claimed = 0;
        self.parked = false;
        self.enlisted = Enlisted::default();
        if !self.brief {
            self.hold(core);
        }
        Ok(())
    }

    /// It has to wait, and holds its direction; the waker is with the source.
    #[inline]
    fn pend<T>(&mut self, core: &Core, cx: &Context<'_>) -> Poll<Result<T>> {
        if core.has_cancels() {
            if let Some(told) = self.pass.tell(core, cx, true) {
                return told;
            }
        }
        self.enlisted.enlist(core, cx);
        Poll::Pending
    }

    #[inline]
    fn delist(&mut self) {
        if self.enlisted.is_there() {
            self.enlisted.delist(self.claimed);
        }
    }

    /// Holds the direction, which is free or its own.
    #[inline]
    fn hold(&mut self, core: &Core) {
        self.socket.hold(self.direction);
        self.claimed = core.serial();
    }

    /// Makes the call while the socket may be `ready`, else waits for it.
    #[inline]
    fn attempt<T>(
        &mut self,
        core: &Core,
        cx: &Context<'_>,
        ready: bool,
        slot: SourceKey,
        mut call: impl FnMut(&Core, BorrowedFd<'_>) -> io::Result<(T, After)>,
    ) -> Poll<io::Result<T>> {
        if !ready {
            return self.wait(core, cx, slot);
        }
        loop {
            match call(core, self.socket.fd()) {
                Ok((value, after)) => {
                    if slot != 0 && (self.parked || after != After::Ready) {
                        self.done(core, slot, after);
                    }
                    return Poll::Ready(Ok(value));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    core.reactor().clear(slot, self.direction);
                    return self.wait(core, cx, slot);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Looks whether the call may succeed.
    #[inline(always)]
    fn look(&self, core: &Core, cx: &Context<'_>, slot: SourceKey) -> Look {
        // A listener has to be armed, too.
        let task = || match self.socket.is_listener() {
            true => None,
            false => core.executor.task_of(cx.waker()).map(TaskId::number),
        };
        core.reactor().try_or_park(slot, self.direction, task)
    }

    /// The call succeeded: notes what that says, and waits no more.
    #[inline(always)]
    fn done(&mut self, core: &Core, slot: SourceKey, after: After) {
        let waiter = core.reactor().done(slot, self.direction, after);
        self.parked = false;
        drop(waiter);
    }

    fn wait<T>(&mut self, core: &Core, cx: &Context<'_>, slot: SourceKey) -> Poll<io::Result<T>> {
        self.hold(core);
        let key = if slot == 0 {
            self.socket.register(core)?
        } else {
            slot
        };
        if self.socket.is_listener() {
            core.reactor().arm(key)?;
        }
        // Cloned before, and the old one dropped after, the reactor is borrowed.
        let waiter = match core.executor.task_of(cx.waker()) {
            Some(task) => Waiter::Task(task.number()),
            None => Waiter::Foreign(cx.waker().clone()),
        };
        let old = core.reactor().park(key, self.direction, waiter);
        self.parked = true;
        drop(old);
        Poll::Pending
    }

    /// Its waker may be with the source; gives back what is to be dropped last.
    #[cold]
    fn unpark(&mut self, claimed: u64) -> Option<Waiter> {
        self.parked = false;
        let unpark = |core: &std::rc::Rc<Core>| {
            let slot = self.socket.slot();
            core.reactor().unpark(slot, self.direction)
        };
        context::with_serial(claimed, unpark).flatten()
    }
}

impl Operation<'_> {
    /// Passes on what the future that this belongs to says. If that is the last of it, nobody is
    /// held up any more: a future that is done may be kept for a while.
    #[inline]
    pub(crate) fn conclude<T>(&mut self, polled: Poll<T>) -> Poll<T> {
        if polled.is_ready() && self.claimed != 0 {
            self.end();
        }
        polled
    }

    #[cold]
    fn end_unfinished(&mut self) {
        self.end();
    }

    #[inline]
    fn end(&mut self) {
        self.delist();
        let claimed = std::mem::take(&mut self.claimed);
        // If the socket is bound anew, what is busy there is another operation.
        if self.socket.owner() != claimed {
            return;
        }
        if self.socket.is_listener() {
            self.socket.silence(claimed);
        }
        if self.parked {
            let waiter = self.unpark(claimed);
            self.socket.release(self.direction);
            // Last: it may be the user's code, and panic.
            drop(waiter);
        } else {
            self.socket.release(self.direction);
        }
    }
}

impl Drop for Operation<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.claimed != 0 {
            self.end_unfinished();
        }
    }
}

#[cfg(all(test, target_pointer_width = "64"))]
mod tests {
    use super::*;

    /// An idle connection is mostly the receive that it waits in.
    #[test]
    fn an_operation_takes_32_bytes() {
        assert_eq!(size_of::<Operation<'_>>(), 32);
    }
}
