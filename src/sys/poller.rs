//! Waits for the kernel: mio's `Poll`, additions for Linux, and the bell that ends a wait.
//!
//! Streams and datagram sockets are registered edge-triggered through mio. Two things bypass it,
//! both only on Linux:
//!
//! * **Listeners are level-triggered**, added to mio's epoll descriptor directly. With an edge, two
//!   pending connections and one accept cause no second event, so each event would need accepts
//!   until `EAGAIN`, and an `accept4` that fails costs more than a `recv` that fails (it allocates
//!   a socket first). A level-triggered listener without a waiting accept would be reported again
//!   and again, hence [`Poller::disarm`]. On kqueue a listener is registered again instead, which
//!   reports it anew. Shared listeners are also **exclusive**: a client wakes only one of the
//!   sleeping loops that share it. That one is the first in the kernel's queue; since each accept
//!   adds the entry again, at the queue's end, the loops take turns. An exclusive entry cannot be
//!   modified. A loop that is woken and does not accept has to wake the others
//!   ([`super::socket::tell_pollers`]).
//! * **A timerfd** ends waits shorter than a millisecond: `epoll_wait` counts in milliseconds, and
//!   mio rounds up. Longer waits sleep the whole milliseconds first and then the rest, so that a
//!   far deadline that moves all the time (a 30 s limit around each receive) costs nothing.
//!
//! A forked process shares the epoll set with its parent, so it neither changes it nor waits on it:
//! there each function here returns an error, or does nothing.

use std::cell::{Ref, RefCell};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use super::clock::{self, Nanos};
use super::fork::Process;

/// The state of a source in an event, as bits.
pub(crate) mod ready {
    /// Receiving may succeed.
    pub(crate) const READ: u8 = 1;
    /// Sending may succeed.
    pub(crate) const WRITE: u8 = 2;
    /// The peer will send no more, or both directions have ended, or an error is pending.
    pub(crate) const ENDED: u8 = 4;
    /// Urgent data is (or was) there: a receive stops at its mark.
    pub(crate) const URGENT: u8 = 8;
}

/// Tokens of the poller itself; sources never reach them.
const BELL: Token = Token(usize::MAX);
const TIMER: Token = Token(usize::MAX - 1);

/// The nanoseconds in a unit of `epoll_wait`.
#[cfg(any(target_os = "linux", target_os = "android"))]
const MILLISECOND: Nanos = 1_000_000;

/// The largest number of events of one wait; further ones come with the next.
const BATCH: usize = 1024;

/// The kernel's readiness queue.
#[derive(Debug)]
pub(crate) struct Poller {
    /// The descriptor of `waiting.poll`, valid as long as this lives.
    fd: RawFd,
    process: Process,
    waiting: RefCell<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    poll: Poll,
    /// Made at the first wait.
    events: Option<Events>,
    #[cfg(any(target_os = "linux", target_os = "android"))]
    timer: Option<super::timerfd::TimerFd>,
}

impl Poller {
    /// Makes a poller, which other threads reach through `bell`.
    pub(crate) fn new(bell: &Bell) -> io::Result<Self> {
        bell.process.check()?;
        let poll = Poll::new()?;
        let fd = poll.as_raw_fd();
        bell.poller.store(fd, Ordering::Relaxed);
        let waiting = RefCell::new(Waiting {
            poll,
            events: None,
            #[cfg(any(target_os = "linux", target_os = "android"))]
            timer: None,
        });
        Ok(Self {
            fd,
            process: bell.process,
            waiting,
        })
    }

    /// Returns the poll for changes, which a forked process must not make.
    fn poll(&self) -> io::Result<Ref<'_, Poll>> {
        self.process.check()?;
        Ok(Ref::map(self.waiting.borrow(), |waiting| &waiting.poll))
    }

    /// Lets `bell` end the waits from now on. It is called before the first sleep, not earlier: a
    /// loop that never sleeps does not need it, and it costs three system calls.
    pub(crate) fn hang(&self, bell: &Bell) -> io::Result<()> {
        if bell.waker.get().is_none() {
            let waker = mio::Waker::new(self.poll()?.registry(), BELL)?;
            // Only the loop's own thread does this, so it is not set yet.
            drop(bell.waker.set(waker));
        }
        Ok(())
    }

    /// Reports `fd` under `token`, edge-triggered, both directions.
    pub(crate) fn add(&self, fd: BorrowedFd<'_>, token: usize) -> io::Result<()> {
        let interest = Interest::READABLE.add(Interest::WRITABLE);
        // Without it a receive that stopped at the urgent mark seems to have drained the socket.
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let interest = interest.add(Interest::PRIORITY);
        let (fd, poll) = (fd.as_raw_fd(), self.poll()?);
        let registry = poll.registry();
        registry.register(&mut SourceFd(&fd), Token(token), interest)
    }

    /// Removes `fd`; it may already be gone.
    pub(crate) fn remove(&self, fd: BorrowedFd<'_>) {
        let Ok(poll) = self.poll() else { return };
        // Fails only if the descriptor was never added or was closed by other code: in both cases
        // no event of it can come, which is the goal.
        let fd = fd.as_raw_fd();
        drop(poll.registry().deregister(&mut SourceFd(&fd)));
    }

    /// Reports a listener under `token` as long as a connection waits there, until
    /// [`Poller::disarm`].
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(crate) fn arm(&self, fd: RawFd, token: usize, shared: bool) -> io::Result<()> {
        let events = libc::EPOLLIN | if shared { libc::EPOLLEXCLUSIVE } else { 0 };
        self.epoll_ctl(libc::EPOLL_CTL_ADD, fd, events, token)
    }

    /// Stops reports of a listener until [`Poller::arm`].
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(crate) fn disarm(&self, fd: RawFd) -> io::Result<()> {
        self.epoll_ctl(libc::EPOLL_CTL_DEL, fd, 0, 0)
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn epoll_ctl(&self, op: i32, fd: RawFd, events: i32, token: usize) -> io::Result<()> {
        self.process.check()?;
        epoll_ctl(self.fd, op, fd, events, token)
    }

    /// Registers the listener, perhaps again, which reports connections that already wait.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    pub(crate) fn arm(&self, fd: RawFd, token: usize, _shared: bool) -> io::Result<()> {
        let poll = self.poll()?;
        let registry = poll.registry();
        // kqueue accepts a descriptor that is already registered.
        registry.register(&mut SourceFd(&fd), Token(token), Interest::READABLE)
    }

    /// Nothing to do: an edge is not reported again by itself.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    pub(crate) fn disarm(&self, _fd: RawFd) -> io::Result<()> {
        Ok(())
    }

    /// Waits for events until `deadline` (`None`: forever; a past one: not at all). It may return
    /// early, without events: the caller checks the clock and waits again.
    pub(crate) fn wait(&self, deadline: Option<Nanos>) -> io::Result<()> {
        let waiting = &mut *self.waiting.borrow_mut();
        if let Err(forked) = self.process.check() {
            // The events of the last wait were the parent's.
            waiting.events = None;
            return Err(forked);
        }
        let timeout = match deadline {
            None => None,
            Some(0) => Some(Duration::ZERO),
            Some(deadline) => match deadline.saturating_sub(clock::now()) {
                0 => Some(Duration::ZERO),
                left => waiting.timeout(deadline, left),
            },
        };
        let events = &mut waiting.events;
        let events = events.get_or_insert_with(|| Events::with_capacity(BATCH));
        waiting.poll.poll(events, timeout)
    }

    /// Calls `visit` with token and `ready` bits of each event of the last wait.
    #[inline]
    pub(crate) fn each_event(&self, mut visit: impl FnMut(usize, u8)) {
        let waiting = self.waiting.borrow();
        let Some(events) = &waiting.events else {
            return;
        };
        for event in events {
            if !matches!(event.token(), BELL | TIMER) {
                visit(event.token().0, ready_bits(event));
            }
        }
    }
}

impl Waiting {
    /// Returns the timeout of the kernel call for a wait of `left` nanoseconds.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn timeout(&mut self, deadline: Nanos, left: Nanos) -> Option<Duration> {
        if left >= MILLISECOND {
            return Some(Duration::from_millis(left / MILLISECOND));
        }
        match self.set_timer(deadline) {
            Ok(()) => None,
            // For example out of descriptors: then the wait ends late, as without a timerfd.
            Err(_) => Some(Duration::from_millis(1)),
        }
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn set_timer(&mut self, deadline: Nanos) -> io::Result<()> {
        if let Some(timer) = &mut self.timer {
            return timer.set(deadline);
        }
        let mut timer = super::timerfd::TimerFd::new()?;
        let fd = timer.as_raw_fd();
        self.poll
            .registry()
            .register(&mut SourceFd(&fd), TIMER, Interest::READABLE)?;
        timer.set(deadline)?;
        self.timer = Some(timer);
        Ok(())
    }

    /// kqueue takes nanoseconds.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    fn timeout(&mut self, _deadline: Nanos, left: Nanos) -> Option<Duration> {
        // Some systems refuse very long waits; a return once a day costs nothing.
        Some(Duration::from_nanos(left).min(Duration::from_secs(86_400)))
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn epoll_ctl(poller: RawFd, op: i32, fd: RawFd, events: i32, token: usize) -> io::Result<()> {
    #[allow(clippy::cast_sign_loss, reason = "the constant is a set of bits")]
    let mut event = libc::epoll_event {
        events: events as u32,
        u64: token as u64,
    };
    // SAFETY: `event` is a valid epoll_event for the length of the call.
    super::check(unsafe { libc::epoll_ctl(poller, op, fd, &raw mut event) }).map(drop)
}

/// Returns the [`ready`] bits of an event.
#[inline]
fn ready_bits(event: &mio::event::Event) -> u8 {
    let (read, write) = (event.is_readable(), event.is_writable());
    let mut bits = (u8::from(read) * ready::READ) | (u8::from(write) * ready::WRITE);
    if event.is_error() || event.is_read_closed() || event.is_write_closed() {
        // Waiting operations of both directions have to try.
        bits = rarely(bits, ready::READ | ready::WRITE | ready::ENDED);
    }
    if event.is_priority() {
        // An operation that waits for urgent data has to try, too.
        bits = rarely(bits, ready::READ | ready::URGENT);
    }
    bits
}

/// Separate, so that the usual event passes these by with a branch each.
#[cold]
#[inline(never)]
fn rarely(bits: u8, more: u8) -> u8 {
    bits | more
}

impl AsFd for Poller {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor is that of the poll in `waiting`, which is never replaced, and so
        // is open as long as `self` lives.
        unsafe { BorrowedFd::borrow_raw(self.fd) }
    }
}

/// The part of a poller that other threads may use.
#[derive(Debug)]
pub(crate) struct Bell {
    /// The process of the runtime.
    process: Process,
    waker: OnceLock<mio::Waker>,
    /// -1 until there is a poller. Used only under the lock that also closes the runtime.
    poller: AtomicI32,
}

impl Bell {
    pub(crate) fn new() -> Self {
        Self {
            process: Process::current(),
            waker: OnceLock::new(),
            poller: AtomicI32::new(-1),
        }
    }

    /// Returns true in the process that made the runtime, false in a forked one.
    pub(crate) fn is_at_home(&self) -> bool {
        self.process.is_current()
    }

    /// Ends the wait, now or the next one.
    pub(crate) fn ring(&self) {
        // A forked process must not wake its parent's loop.
        if let Some(waker) = self.waker.get().filter(|_| self.is_at_home()) {
            // mio resets a full counter itself, and the eventfd lives as long as `self`: no failure
            // is left that a caller of `wake` could handle.
            drop(waker.wake());
        }
    }

    /// Removes `fd` from the poller; called under the lock that keeps the poller open.
    pub(crate) fn detach(&self, fd: BorrowedFd<'_>) {
        let poller = self.poller.load(Ordering::Relaxed);
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if poller >= 0 && self.is_at_home() {
            // A failure means that the descriptor was not there.
            drop(epoll_ctl(poller, libc::EPOLL_CTL_DEL, fd.as_raw_fd(), 0, 0));
        }
        // kqueue forgets a descriptor when it is closed.
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        let _unused = (poller, fd);
    }
}
