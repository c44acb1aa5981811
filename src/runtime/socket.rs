//! One socket of any kind: its loop, and the claims of its directions.
//!
//! # Bound by its first operation, registered by its first wait
//!
//! A socket is plain data: a descriptor and a few atomics, so it is `Send + Sync` without any
//! `unsafe impl`, and can be made before any runtime runs.
//!
//! ```text
//!   owner 0 ──first operation: one CAS──> owner = serial of this runtime ──first wait──> slot set
//!      ^                                     │            │
//!      └── the owner has ended: CAS again <──┘            └─ operation on another live runtime:
//!                                                            Error::OtherLoop
//! ```
//!
//! Once bound it is used by the owner's thread: loads and stores, no read-modify-write. Other
//! threads may only abort it, drop it, and drop an operation in progress (which releases its
//! direction). Wakers and readiness are in the owner's source slot, not here.
//!
//! One word is all that an operation usually looks at, `open`:
//!
//! ```text
//!   0 ──first wait: CAS──> serial of its runtime, where it has a slot ──abort──> CLOSED
//!   └─────────────────────────────────abort, on any thread───────────────────────^
//! ```
//!
//! # Dropping
//!
//! On the owner's thread: the slot is freed, the descriptor closed; events in flight have a
//! generation that no source has any more. If the descriptor was lent out ([`Socket::lend`]) it may
//! have been duplicated, and a duplicate keeps it in the epoll set: then it is removed first. On
//! other threads: it is removed through the owner's shared part, closed, and its key posted.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};

use super::context::{self, Core};
use super::silence::{CloseLimits, SharedLimits};
use crate::error::{Error, Result};
use crate::executor::{remote::Post, wake_list, waker};
use crate::reactor::Direction;
use crate::reactor::SourceKey;
pub(crate) use crate::reactor::Trigger;
use crate::sys;

/// The state of a socket that `abort` has ended. No runtime has this serial.
const CLOSED: u64 = u64::MAX;

/// A descriptor and its place in a loop.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
    trigger: Trigger,
    /// Serial of the runtime it is bound to; 0 for none.
    owner: AtomicU64,
    /// Its source there; 0 before the first wait.
    slot: AtomicU64,
    /// The runtime in which it has its slot; 0 for none, [`CLOSED`] after the end.
    open: AtomicU64,
    /// An operation of this direction is in progress.
    busy: [AtomicBool; 2],
    /// The descriptor was given to the user, who may have duplicated it.
    lent: AtomicBool,
    /// The limits of a close; for a listener, those of the streams that it accepts.
    pub(crate) close_limits: SharedLimits,
}

impl Socket {
    pub(crate) fn new(fd: OwnedFd, trigger: Trigger) -> Self {
        Self {
            fd,
            trigger,
            owner: AtomicU64::new(0),
            slot: AtomicU64::new(0),
            open: AtomicU64::new(0),
            busy: [AtomicBool::new(false), AtomicBool::new(false)],
            lent: AtomicBool::new(false),
            close_limits: SharedLimits::new(CloseLimits::default()),
        }
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Returns the descriptor, for the user.
    pub(crate) fn lend(&self) -> BorrowedFd<'_> {
        self.lent.store(true, Relaxed);
        self.fd.as_fd()
    }

    /// Returns true if the descriptor was given to the user.
    pub(crate) fn is_lent(&self) -> bool {
        self.lent.load(Relaxed)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.open.load(Acquire) == CLOSED
    }

    /// Returns true if it has a slot in this runtime, and is not closed.
    #[inline(always)]
    pub(super) fn is_open(&self, core: &Core) -> bool {
        self.open.load(Acquire) == core.serial()
    }

    pub(super) fn is_listener(&self) -> bool {
        self.trigger == Trigger::Level
    }

    /// Returns the runtime that it is bound to; 0 for none.
    pub(super) fn owner(&self) -> u64 {
        self.owner.load(Relaxed)
    }

    /// Returns its source there; 0 for none.
    #[inline]
    pub(crate) fn slot(&self) -> SourceKey {
        self.slot.load(Relaxed)
    }

    /// Returns true if no operation has claimed this direction.
    #[inline(always)]
    pub(super) fn is_free(&self, direction: Direction) -> bool {
        !self.busy[direction as usize].load(Acquire)
    }

    /// Checks whether an operation of this direction may begin in this runtime.
    pub(super) fn admit(&self, core: &Core, direction: Direction) -> Result<()> {
        if self.is_closed() {
            return Err(Error::Closed);
        }
        self.bind(core)?;
        match self.is_free(direction) {
            true => Ok(()),
            false => Err(Error::Busy),
        }
    }

    /// Claims a direction for an operation that was admitted.
    #[inline]
    pub(super) fn hold(&self, direction: Direction) {
        self.busy[direction as usize].store(true, Relaxed);
    }

    /// Releases a direction.
    #[inline]
    pub(super) fn release(&self, direction: Direction) {
        self.busy[direction as usize].store(false, Release);
    }

    /// Binds the socket to this runtime, unless it is bound to another live one.
    fn bind(&self, core: &Core) -> Result<()> {
        let owner = self.owner.load(Acquire);
        if owner == core.serial() {
            return Ok(());
        }
        if owner != 0 && waker::by_serial(owner).is_some() {
            return Err(Error::OtherLoop);
        }
        let bound = self
            .owner
            .compare_exchange(owner, core.serial(), AcqRel, Relaxed);
        bound.map_err(|_| Error::OtherLoop)?;
        // The previous owner has ended, with its slot and its waiters.
        self.slot.store(0, Relaxed);
        self.busy.iter().for_each(|busy| busy.store(false, Relaxed));
        Ok(())
    }

    /// Checks that do not wait: returns the error that an operation would return now.
    pub(crate) fn check(&self) -> Result<()> {
        let core = context::current().ok_or(Error::NoRuntime)?;
        if self.is_closed() {
            return Err(Error::Closed);
        }
        let owner = self.owner.load(Acquire);
        if owner != 0 && owner != core.serial() && waker::by_serial(owner).is_some() {
            return Err(Error::OtherLoop);
        }
        Ok(())
    }

    /// Registers the socket with the loop it is bound to.
    #[cold]
    pub(super) fn register(&self, core: &Core) -> io::Result<SourceKey> {
        let key = core
            .reactor()
            .register(self.fd(), self.trigger, core.bell())?;
        self.slot.store(key, Relaxed);
        // Either `abort` sees the slot, or this sees the end. An earlier runtime has ended.
        let before = self.open.load(Relaxed);
        let open = |before| (self.open).compare_exchange(before, core.serial(), AcqRel, Relaxed);
        if before == CLOSED || open(before).is_err() {
            self.slot.store(0, Relaxed);
            let waiters = core.reactor().deregister(key, Some(self.fd()));
            drop(waiters);
            return Err(io::ErrorKind::NotConnected.into());
        }
        Ok(key)
    }

    /// Removes it from its loop, and from the poller if the descriptor stays open.
    #[inline]
    fn deregister(&mut self, stays_open: bool) {
        let (owner, slot) = (*self.owner.get_mut(), *self.slot.get_mut());
        if slot == 0 {
            return;
        }
        let fd = stays_open.then(|| self.fd.as_fd());
        match context::with_serial(owner, |core| core.reactor().deregister(slot, fd)) {
            Some(waiters) => drop(waiters),
            // Of a drop: it is closed afterwards; the generation distinguishes later sources.
            None => self.leave(owner, |_| ()),
        }
    }

    /// Unbinds it from its loop, so that its next operation binds it again. No operation uses it
    /// now.
    #[cfg(feature = "adopt")]
    pub(crate) fn unbind(&mut self) {
        // Removed from the poller, since the descriptor is not closed.
        self.deregister(true);
        *self.owner.get_mut() = 0;
        *self.slot.get_mut() = 0;
        if !self.is_closed() {
            *self.open.get_mut() = 0;
        }
        // An operation that was forgotten would have left its direction busy.
        self.busy = [AtomicBool::new(false), AtomicBool::new(false)];
    }

    /// Ends the socket, although other references to it exist: its address and peer are released
    /// now, waiting operations get [`Error::Closed`], and the descriptor is closed with the last
    /// reference.
    pub(crate) fn abort(&self) {
        self.end(Self::kill);
    }

    /// The same, but the peer sees a reset if the kernel has one.
    pub(crate) fn reset(&self) {
        self.end(|socket| sys::socket::reset(socket.fd()));
    }

    /// Ends all waits on it with [`Error::Closed`], without an effect on the file behind it.
    #[cfg(feature = "adopt")]
    pub(crate) fn retire(&self) {
        self.end(|_| ());
    }

    fn end(&self, kill: fn(&Self)) {
        if self.open.swap(CLOSED, AcqRel) == CLOSED {
            return;
        }
        let owner = self.owner.load(Acquire);
        let at_home = context::with_serial(owner, |core| {
            let slot = self.slot.swap(0, Relaxed);
            let waiters = core.reactor().deregister(slot, Some(self.fd()));
            kill(self);
            core.list_waiters(waiters)
        });
        match at_home {
            Some(foreign) => wake_list(foreign),
            None => self.leave(owner, kill),
        }
    }

    /// Ends the socket: a duplicate of a listener's descriptor still listens, but one of a stream's
    /// ends.
    fn kill(&self) {
        if self.is_listener() {
            sys::socket::tell_pollers(self.fd());
        }
        sys::socket::kill(self.fd(), !self.is_listener());
    }

    /// Disarms a listener without a waiting accept. If this loop was woken for a connection that it
    /// has not accepted, the other loops that share the listener are woken.
    pub(super) fn silence(&self, claimed: u64) {
        let disarm = |core: &std::rc::Rc<Core>| core.reactor().disarm(self.slot());
        match context::with_serial(claimed, disarm) {
            Some(false) => {}
            Some(true) => sys::socket::tell_pollers(self.fd()),
            None => {
                self.leave(claimed, |socket| sys::socket::tell_pollers(socket.fd()));
                // Its next wait registers it anew.
                self.slot.store(0, Relaxed);
            }
        }
    }

    /// Wakes the waiter of this direction, to try again.
    pub(crate) fn rouse(&self, direction: Direction) {
        let foreign = context::with_serial(self.owner.load(Relaxed), |core| {
            let slot = self.slot.load(Relaxed);
            let waiter = core.reactor().unpark(slot, direction);
            core.list_waiters([waiter, None])
        });
        wake_list(foreign.unwrap_or_default());
    }

    /// Records that a call of the user's would have blocked. On another thread that is left out:
    /// the next operation finds it by itself.
    #[cfg(feature = "adopt")]
    pub(crate) fn clear(&self, direction: Direction) {
        let clear = |core: &std::rc::Rc<Core>| core.reactor().clear(self.slot(), direction);
        context::with_serial(self.owner(), clear);
    }

    /// Leaves the owner from another thread: removed from the poller, `end`ed, and the key posted.
    fn leave(&self, owner: u64, end: fn(&Self)) {
        let slot = self.slot.load(Acquire);
        let remote = (slot != 0).then(|| waker::by_serial(owner)).flatten();
        if let Some(remote) = &remote {
            // `None` if the owner is ending, with its poller.
            let _closed_meanwhile = remote.while_open(|bell| bell.detach(self.fd()));
        }
        end(self);
        if let Some(remote) = remote {
            remote.post(Post::Source(slot));
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // A listener is often passed to other processes.
        let lent = *self.lent.get_mut() || self.is_listener();
        self.deregister(lent);
    }
}
