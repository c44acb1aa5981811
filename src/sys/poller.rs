//! Waits for the kernel: mio's `Poll`, what Linux has beyond it, and the bell that ends a wait.
//!
//! Streams and datagram sockets are registered edge-triggered through mio. Two things go past it,
//! both on Linux only:
//!
//! * **Listeners are level-triggered**, added to mio's epoll descriptor by hand. With an edge, two
//!   pending connections and one accept give no second event, so one would have to accept until
//!   `EAGAIN`, and an `accept4` that fails costs ten times a failing `recv` (it allocates a socket
//!   first). A level-triggered listener that no accept waits for would report for ever, hence
//!   [`Poller::disarm`]. On kqueue a listener is registered again instead, which reports anew.
//!   Those that are shared are also **exclusive**: of the loops that do so a client wakes one that
//!   sleeps. That one is the first in the kernel's queue; since each accept adds the entry anew, at
//!   the queue's end, the loops take turns. An exclusive entry cannot be modified. A loop that is
//!   woken and does not accept has to tell the others ([`super::socket::tell_pollers`]).
//! * **A timerfd** ends waits shorter than a millisecond: `epoll_wait` counts in milliseconds, and
//!   mio rounds up. Longer waits sleep the whole milliseconds first and come back for the rest, so
//!   that a far deadline that moves all the time (a 30 s limit around each receive) costs nothing.
//!
//! A process that was forked off shares the epoll set with its parent, so it neither changes it nor
//! waits on it: each function here is an error there, or does nothing.

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

/// What an event said about a source, as bits.
pub(crate) mod ready {
    /// Receiving may succeed.
    pub(crate) const READ: u8 = 1;
    /// Sending may succeed.
    pub(crate) const WRITE: u8 = 2;
    /// The peer will send no more, or both directions ended, or an error is pending.
    pub(crate) const ENDED: u8 = 4;
    /// Urgent data is (or was) there: a receive stops short at its mark.
    pub(crate) const URGENT: u8 = 8;
}

/// Tokens of our own; sources never reach them.
const BELL: Token = Token(usize::MAX);
const TIMER: Token = Token(usize::MAX - 1);

/// Nanoseconds in what `epoll_wait` counts in.
#[cfg(any(target_os = "linux", target_os = "android"))]
const MILLISECOND: Nanos = 1_000_000;

/// How many events one wait can bring; what is beyond comes with the next.
const BATCH: usize = 1024;

/// The kernel's readiness queue.
#[derive(Debug)]
pub(crate) struct Poller {
    /// That of `waiting.poll`, as long as this lives.
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
    /// Makes a poller, which other threads know through `bell`.
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

    /// For changes, which a fork must not make.
    fn poll(&self) -> io::Result<Ref<'_, Poll>> {
        self.process.check()?;
        Ok(Ref::map(self.waiting.borrow(), |waiting| &waiting.poll))
    }

    /// Lets `bell` end the waits from now on. To be done before the first sleep, not earlier: a
    /// loop that never sleeps has no use for it, and it costs three system calls.
    pub(crate) fn hang(&self, bell: &Bell) -> io::Result<()> {
        if bell.waker.get().is_none() {
            let waker = mio::Waker::new(self.poll()?.registry(), BELL)?;
            // Only the loop's own thread does this: nobody came first.
            drop(bell.waker.set(waker));
        }
        Ok(())
    }

    /// Reports `fd` under `token`, edge-triggered, both directions.
    pub(crate) fn add(&self, fd: BorrowedFd<'_>, token: usize) -> io::Result<()> {
        let interest = Interest::READABLE.add(Interest::WRITABLE);
        // Without it a receive that stopped at the urgent mark looks drained.
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let interest = interest.add(Interest::PRIORITY);
        let (fd, poll) = (fd.as_raw_fd(), self.poll()?);
        let registry = poll.registry();
        registry.register(&mut SourceFd(&fd), Token(token), interest)
    }

    /// Takes `fd` out; one that is gone already is as good.
    pub(crate) fn remove(&self, fd: BorrowedFd<'_>) {
        let Ok(poll) = self.poll() else { return };
        // Fails only if the descriptor was never added or was closed behind our back: both mean
        // that no event of it can come, which is all that is asked for.
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

    /// Keeps a listener quiet until [`Poller::arm`].
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(crate) fn disarm(&self, fd: RawFd) -> io::Result<()> {
        self.epoll_ctl(libc::EPOLL_CTL_DEL, fd, 0, 0)
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn epoll_ctl(&self, op: i32, fd: RawFd, events: i32, token: usize) -> io::Result<()> {
        self.process.check()?;
        epoll_ctl(self.fd, op, fd, events, token)
    }

    /// Registers the listener, perhaps again, which reports what waits already.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    pub(crate) fn arm(&self, fd: RawFd, token: usize, _shared: bool) -> io::Result<()> {
        let poll = self.poll()?;
        let registry = poll.registry();
        // kqueue takes one that is there already for the same one.
        registry.register(&mut SourceFd(&fd), Token(token), Interest::READABLE)
    }

    /// Nothing to do: an edge that found no waiter does not come again by itself.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    pub(crate) fn disarm(&self, _fd: RawFd) -> io::Result<()> {
        Ok(())
    }

    /// Waits for events until `deadline` (`None`: for ever; a past one: not at all). May come back
    /// early, without events: the caller looks at the clock and waits again.
    pub(crate) fn wait(&self, deadline: Option<Nanos>) -> io::Result<()> {
        let waiting = &mut *self.waiting.borrow_mut();
        if let Err(forked) = self.process.check() {
            // What the last wait brought was the parent's.
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

    /// Calls `visit` with what the last wait brought: token and `ready` bits.
    #[inline]
    pub(crate) fn each_event(&self, mut visit: impl FnMut(usize, u8)) {
        let waiting = self.waiting.borrow();
        for event in waiting.events.iter().flatten() {
            if !matches!(event.token(), BELL | TIMER) {
                visit(event.token().0, ready_bits(event));
            }
        }
    }
}

impl Waiting {
    /// The timeout to hand to the kernel for a wait of `left` nanoseconds.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn timeout(&mut self, deadline: Nanos, left: Nanos) -> Option<Duration> {
        if left >= MILLISECOND {
            return Some(Duration::from_millis(left / MILLISECOND));
        }
        match self.set_timer(deadline) {
            Ok(()) => None,
            // Out of descriptors, say: then a little late, as without a timerfd.
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

    /// kqueue takes nanoseconds as they are.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    fn timeout(&mut self, _deadline: Nanos, left: Nanos) -> Option<Duration> {
        // Some systems refuse very long waits; coming back once a day costs nothing.
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

/// What an event says, as [`ready`] bits.
#[inline]
fn ready_bits(event: &mio::event::Event) -> u8 {
    let mut bits = 0;
    if event.is_error() || event.is_read_closed() || event.is_write_closed() {
        // Whoever waits, in either direction, has to look.
        bits |= ready::READ | ready::WRITE | ready::ENDED;
    }
    if event.is_readable() {
        bits |= ready::READ;
    }
    if event.is_writable() {
        bits |= ready::WRITE;
    }
    if event.is_priority() {
        // A task that waits for just this has to look, too.
        bits |= ready::READ | ready::URGENT;
    }
    bits
}

impl AsFd for Poller {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor is that of the poll in `waiting`, which is never replaced, and so
        // is open as long as `self` lives.
        unsafe { BorrowedFd::borrow_raw(self.fd) }
    }
}

/// The part of a poller that other threads may touch.
#[derive(Debug)]
pub(crate) struct Bell {
    /// The runtime's.
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

    /// True in the process that made the runtime, false in one that was forked off.
    pub(crate) fn is_at_home(&self) -> bool {
        self.process.is_current()
    }

    /// Ends the wait, now or the next one.
    pub(crate) fn ring(&self) {
        // The parent's loop is no business of a fork's.
        if let Some(waker) = self.waker.get().filter(|_| self.is_at_home()) {
            // mio resets a full counter itself, and the eventfd lives as long as `self`: there is
            // no failure left that a caller of `wake` could do anything about.
            drop(waker.wake());
        }
    }

    /// Takes `fd` out of the poller; called under the lock that keeps the poller open.
    pub(crate) fn detach(&self, fd: BorrowedFd<'_>) {
        let poller = self.poller.load(Ordering::Relaxed);
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if poller >= 0 && self.is_at_home() {
            // A failure means that the descriptor was not there: as good.
            drop(epoll_ctl(poller, libc::EPOLL_CTL_DEL, fd.as_raw_fd(), 0, 0));
        }
        // kqueue forgets a descriptor when it is closed.
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        let _unused = (poller, fd);
    }
}
