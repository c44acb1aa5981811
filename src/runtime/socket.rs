//! One socket of any kind: which loop it belongs to, who uses it, and the poll of one operation.
//!
//! # Bound by its first operation, registered by its first wait
//!
//! A socket is plain data: a descriptor and a few atomics, so it is `Send + Sync` without any
//! `unsafe impl`, and can be made before any runtime runs.
//!
//! ```text
//!   owner 0 ──first operation: one CAS──> owner = serial of this runtime ──first wait──> slot set
//!      ^                                     │            │
//!      └── the owner died: CAS again <───────┘            └─ operation on another live runtime:
//!                                                            Error::OtherLoop
//! ```
//!
//! Once bound, all but `closed` is used by one thread only: loads and stores, no
//! read-modify-write. Wakers and readiness live in the owner's source slot, not here.
//!
//! # Dropping
//!
//! At home: the slot is freed, the descriptor closed; events that are still on their way carry a
//! generation that nobody has any more. If the descriptor was lent out ([`Socket::lend`]) it may
//! have been duplicated, and a duplicate keeps it in the epoll set: then it is taken out first.
//! Elsewhere: it is taken out through the owner's shared half, closed, and its key posted.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU64, fence};
use std::task::{Context, Poll};

use super::context::{self, Core, Gate};
use crate::error::{Error, Result};
use crate::executor::{remote::Post, waker};
use crate::reactor::SourceKey;
pub(crate) use crate::reactor::{After, Direction, Trigger};
use crate::sys;

/// A descriptor and its place in a loop.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
    trigger: Trigger,
    /// Serial of the runtime it is bound to; 0 for none.
    owner: AtomicU64,
    /// Its source there; 0 before the first wait.
    slot: AtomicU64,
    /// An operation of this direction is under way.
    busy: [AtomicBool; 2],
    /// Ended by `abort`. The one flag that any thread may set.
    closed: AtomicBool,
    /// The descriptor was shown to the user, who may have duplicated it.
    lent: AtomicBool,
}

impl Socket {
    pub(crate) fn new(fd: OwnedFd, trigger: Trigger) -> Self {
        Self {
            fd,
            trigger,
            owner: AtomicU64::new(0),
            slot: AtomicU64::new(0),
            busy: [AtomicBool::new(false), AtomicBool::new(false)],
            closed: AtomicBool::new(false),
            // A listener is often passed on to other processes.
            lent: AtomicBool::new(trigger == Trigger::Level),
        }
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The descriptor, for the user.
    pub(crate) fn lend(&self) -> BorrowedFd<'_> {
        self.lent.store(true, Relaxed);
        self.fd.as_fd()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Acquire)
    }

    fn busy(&self, direction: Direction) -> &AtomicBool {
        &self.busy[direction as usize]
    }

    /// Makes the socket this runtime's, if it is nobody else's.
    #[inline]
    fn bind(&self, core: &Core) -> std::result::Result<(), Refusal> {
        let owner = self.owner.load(Acquire);
        if owner == core.serial() {
            Ok(())
        } else {
            self.bind_anew(core, owner)
        }
    }

    #[cold]
    fn bind_anew(&self, core: &Core, owner: u64) -> std::result::Result<(), Refusal> {
        if owner != 0 && waker::by_serial(owner).is_some() {
            return Err(Refusal::OtherLoop);
        }
        let bound = self
            .owner
            .compare_exchange(owner, core.serial(), AcqRel, Relaxed);
        bound.map_err(|_| Refusal::OtherLoop)?;
        // What the dead owner left: its slot went with it, and so did who waited.
        self.slot.store(0, Relaxed);
        self.busy.iter().for_each(|busy| busy.store(false, Relaxed));
        Ok(())
    }

    /// Registers the socket with the loop it is bound to.
    #[cold]
    fn register(&self, core: &Core) -> io::Result<SourceKey> {
        let key = core
            .reactor()
            .register(self.fd(), self.trigger, core.bell())?;
        self.slot.store(key, Relaxed);
        // With the fence of `abort`: either that sees the slot, or this sees the end.
        fence(SeqCst);
        if self.is_closed() {
            return Err(io::ErrorKind::NotConnected.into());
        }
        Ok(key)
    }

    /// Ends the socket although others still hold it: its address and peer are released now,
    /// whoever waits gets [`Error::Closed`], the descriptor's number goes with the last owner.
    pub(crate) fn abort(&self) {
        if self.closed.swap(true, AcqRel) {
            return;
        }
        fence(SeqCst);
        let owner = self.owner.load(Acquire);
        let at_home = context::with_serial(owner, |core| {
            let slot = self.slot.swap(0, Relaxed);
            let source = core.reactor().deregister(slot, Some(self.fd()));
            sys::socket::kill(self.fd());
            source
        });
        match at_home {
            Some(source) => {
                let waiters = source.into_iter().flat_map(|source| source.into_waiters());
                waiters.flatten().for_each(std::task::Waker::wake);
            }
            None => self.leave(owner, || sys::socket::kill(self.fd())),
        }
    }

    /// Wakes who waits in this direction, to look again.
    pub(crate) fn rouse(&self, direction: Direction) {
        let waker = context::with_serial(self.owner.load(Relaxed), |core| {
            let slot = self.slot.load(Relaxed);
            core.reactor().unpark(slot, direction)
        });
        if let Some(waker) = waker.flatten() {
            waker.wake();
        }
    }

    /// Leaves the owner from elsewhere: taken out of the poller, `end`ed, and the key posted.
    fn leave(&self, owner: u64, end: impl FnOnce()) {
        let slot = self.slot.load(Acquire);
        let remote = if slot == 0 {
            None
        } else {
            waker::by_serial(owner)
        };
        if let Some(remote) = &remote {
            // `None` if the owner ends just now, and its poller with it.
            let _closed_meanwhile = remote.while_open(|bell| bell.detach(self.fd()));
        }
        end();
        if let Some(remote) = remote {
            remote.post(Post::Source(slot));
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let (owner, slot) = (*self.owner.get_mut(), *self.slot.get_mut());
        if slot == 0 {
            return;
        }
        let lent = (*self.lent.get_mut()).then(|| self.fd.as_fd());
        let at_home = context::with_serial(owner, |core| core.reactor().deregister(slot, lent));
        match at_home {
            Some(source) => drop(source),
            // Closed right after, by the field's own drop: the generation keeps them apart.
            None => self.leave(owner, || ()),
        }
    }
}

/// Whether to make the call before the first wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum First {
    /// It will most likely succeed: sending, connecting.
    Try,
    /// It will most likely not: receiving after an accept, accepting.
    Wait,
}

/// Why an operation may not begin; small, so that asking costs nothing.
#[derive(Debug, Clone, Copy)]
enum Refusal {
    NoRuntime,
    OtherLoop,
    Closed,
    Busy,
}

#[cold]
fn refused<T>(refusal: Refusal) -> Poll<Result<T>> {
    Poll::Ready(Err(match refusal {
        Refusal::NoRuntime => Error::NoRuntime,
        Refusal::OtherLoop => Error::OtherLoop,
        Refusal::Closed => Error::Closed,
        Refusal::Busy => Error::Busy,
    }))
}

/// One operation under way: claims its direction at the first poll, gives it back at its end.
#[derive(Debug)]
pub(crate) struct Operation<'a> {
    socket: &'a Socket,
    direction: Direction,
    /// The runtime it claimed the direction under; 0 for none.
    claimed: u64,
    /// A waker of this operation may be with the source.
    parked: bool,
}

impl<'a> Operation<'a> {
    pub(crate) fn new(socket: &'a Socket, direction: Direction) -> Self {
        Self {
            socket,
            direction,
            claimed: 0,
            parked: false,
        }
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
        let Some(core) = context::current() else {
            return refused(Refusal::NoRuntime);
        };
        match core.gate() {
            Gate::Open => {}
            Gate::Yield => {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Gate::Failed => return Poll::Ready(Err(core.failure())),
        }
        if self.claimed != core.serial() || self.socket.is_closed() {
            if let Err(refusal) = self.claim(&core) {
                return refused(refusal);
            }
        }
        match self.attempt(&core, cx, first, call) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(value)) => {
                core.finished();
                Poll::Ready(Ok(value))
            }
            Poll::Ready(Err(cause)) => {
                // It counts too: a call that goes on failing must not keep the loop to itself.
                core.finished();
                if self.socket.is_closed() {
                    // Another thread's abort, between the look and the call.
                    return refused(Refusal::Closed);
                }
                Poll::Ready(Err(error(cause)))
            }
        }
    }

    #[inline]
    fn claim(&mut self, core: &Core) -> std::result::Result<(), Refusal> {
        if self.socket.is_closed() {
            return Err(Refusal::Closed);
        }
        self.socket.bind(core)?;
        let busy = self.socket.busy(self.direction);
        if busy.load(Acquire) {
            return Err(Refusal::Busy);
        }
        busy.store(true, Relaxed);
        self.claimed = core.serial();
        // If it was claimed before, then under a runtime that is dead, and its wakers with it.
        self.parked = false;
        Ok(())
    }

    /// Makes the call while the socket may be ready, else waits for it.
    #[inline]
    fn attempt<T>(
        &mut self,
        core: &Core,
        cx: &Context<'_>,
        first: First,
        mut call: impl FnMut(&Core, BorrowedFd<'_>) -> io::Result<(T, After)>,
    ) -> Poll<io::Result<T>> {
        let slot = self.socket.slot.load(Relaxed);
        let ready = match slot {
            0 => first == First::Try,
            _ => core.reactor().is_ready(slot, self.direction),
        };
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

    /// The call succeeded: notes what that says, and waits no more.
    #[inline]
    fn done(&mut self, core: &Core, slot: SourceKey, after: After) {
        let waker = core.reactor().done(slot, self.direction, after);
        self.parked = false;
        drop(waker);
    }

    fn wait<T>(&mut self, core: &Core, cx: &Context<'_>, slot: SourceKey) -> Poll<io::Result<T>> {
        let key = if slot == 0 {
            self.socket.register(core)?
        } else {
            slot
        };
        // Cloned before, and the old one dropped after, the reactor is borrowed.
        let waker = cx.waker().clone();
        let old = core.reactor().park(key, self.direction, waker)?;
        self.parked = true;
        drop(old);
        Poll::Pending
    }
}

impl Drop for Operation<'_> {
    fn drop(&mut self) {
        // If the socket is bound anew, what is busy there is another operation.
        if self.claimed == 0 || self.socket.owner.load(Relaxed) != self.claimed {
            return;
        }
        if self.parked {
            let waker = context::with_serial(self.claimed, |core| {
                let slot = self.socket.slot.load(Relaxed);
                core.reactor().unpark(slot, self.direction)
            });
            drop(waker);
        }
        self.socket.busy(self.direction).store(false, Release);
    }
}
