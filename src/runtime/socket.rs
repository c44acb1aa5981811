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
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::task::{Context, Poll};

use super::context::{self, Core};
use crate::error::{Error, Result};
use crate::executor::{remote::Post, waker};
use crate::reactor::SourceKey;
pub(crate) use crate::reactor::{Direction, Trigger};
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
    fn bind(&self, core: &Core) -> Result<()> {
        let owner = self.owner.load(Acquire);
        if owner == core.serial() {
            Ok(())
        } else {
            self.bind_anew(core, owner)
        }
    }

    #[cold]
    fn bind_anew(&self, core: &Core, owner: u64) -> Result<()> {
        if owner != 0 && waker::by_serial(owner).is_some() {
            return Err(Error::OtherLoop);
        }
        let serial = core.serial();
        self.owner
            .compare_exchange(owner, serial, AcqRel, Relaxed)
            .map_err(|_| Error::OtherLoop)?;
        // What the dead owner left: its slot went with it, and so did who waited.
        self.slot.store(0, Relaxed);
        self.busy.iter().for_each(|busy| busy.store(false, Relaxed));
        Ok(())
    }

    /// Registers the socket if it is not.
    fn registered(&self, core: &Core) -> io::Result<SourceKey> {
        match self.slot.load(Relaxed) {
            0 => {
                let key = core
                    .reactor()
                    .register(self.fd(), self.trigger, core.bell())?;
                self.slot.store(key, Relaxed);
                Ok(key)
            }
            key => Ok(key),
        }
    }

    /// Ends the socket although others still hold it: its address and peer are released now,
    /// whoever waits gets [`Error::Closed`], the descriptor's number goes with the last owner.
    pub(crate) fn abort(&self) {
        if self.closed.swap(true, AcqRel) {
            return;
        }
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

/// What a successful call says about the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    /// Nothing.
    Ready,
    /// It gave less than was asked for.
    Short,
    /// It took what the event was about (a listener's).
    Taken,
}

/// One operation under way: claims its direction at the first poll, gives it back when dropped.
#[derive(Debug)]
pub(crate) struct Operation<'a> {
    socket: &'a Socket,
    direction: Direction,
    claimed: bool,
}

impl<'a> Operation<'a> {
    pub(crate) fn new(socket: &'a Socket, direction: Direction) -> Self {
        Self {
            socket,
            direction,
            claimed: false,
        }
    }

    /// Polls the operation: passes the gate, then makes `call` until it succeeds, fails, or would
    /// block; then waits for the socket. `call` says what its success means for the next one.
    #[inline]
    pub(crate) fn poll<T>(
        &mut self,
        cx: &Context<'_>,
        first: First,
        mut call: impl FnMut(&Core, BorrowedFd<'_>) -> io::Result<(T, After)>,
        error: impl FnOnce(io::Error) -> Error,
    ) -> Poll<Result<T>> {
        context::poll_with(|core| {
            if core.admit(cx)?.is_pending() {
                return Poll::Pending;
            }
            self.claim(core)?;
            match self.attempt(core, first, &mut call) {
                Ok(Some(value)) => {
                    core.finished();
                    Poll::Ready(Ok(value))
                }
                Ok(None) => self.wait(core, cx).map_err(error),
                Err(cause) => Poll::Ready(Err(error(cause))),
            }
        })
    }

    #[inline]
    fn claim(&mut self, core: &Core) -> Result<()> {
        if self.socket.is_closed() {
            return Err(Error::Closed);
        }
        self.socket.bind(core)?;
        if !self.claimed {
            let busy = self.socket.busy(self.direction);
            if busy.load(Acquire) {
                return Err(Error::Busy);
            }
            busy.store(true, Relaxed);
            self.claimed = true;
        }
        Ok(())
    }

    /// Makes the call while the socket may be ready; `None` if it has to wait.
    #[inline]
    fn attempt<T>(
        &mut self,
        core: &Core,
        first: First,
        call: &mut impl FnMut(&Core, BorrowedFd<'_>) -> io::Result<(T, After)>,
    ) -> io::Result<Option<T>> {
        let slot = self.socket.slot.load(Relaxed);
        if slot == 0 && first == First::Wait {
            return Ok(None);
        }
        while slot == 0 || core.reactor().is_ready(slot, self.direction) {
            match call(core, self.socket.fd()) {
                Ok((value, after)) => {
                    match after {
                        After::Ready => {}
                        After::Short => core.reactor().short_receive(slot),
                        After::Taken => core.reactor().clear(slot, self.direction),
                    }
                    return Ok(Some(value));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    core.reactor().clear(slot, self.direction);
                    return Ok(None);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    fn wait<T>(&mut self, core: &Core, cx: &Context<'_>) -> Poll<io::Result<T>> {
        let key = self.socket.registered(core)?;
        // Cloned before, and the old one dropped after, the reactor is borrowed.
        let waker = cx.waker().clone();
        let old = core.reactor().park(key, self.direction, waker)?;
        drop(old);
        Poll::Pending
    }
}

impl Drop for Operation<'_> {
    fn drop(&mut self) {
        if !self.claimed {
            return;
        }
        let owner = self.socket.owner.load(Relaxed);
        let waker = context::with_serial(owner, |core| {
            core.reactor()
                .unpark(self.socket.slot.load(Relaxed), self.direction)
        });
        drop(waker);
        self.socket.busy(self.direction).store(false, Release);
    }
}
