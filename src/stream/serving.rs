//! The state that the accept loop of a server and its connections share: places, counters, reports.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Poll, Waker, ready};

use super::report::{Hook, Peer, Reports};
use crate::error::{Error, Panicked, Result};
use crate::executor::{Payload, wake_one};
use crate::records::record;
use crate::runtime::context;
use crate::runtime::wait::Wait;
use crate::sync::{Semaphore, ThreadEvent};
use crate::sys::clock::{self, Nanos};
use crate::task::CancelScope;

/// The interval between two reports of accept errors of the same kind.
const REPORT_EVERY: Nanos = 1_000_000_000;

/// The counters of a server; made by
/// [`Serve::counters`](super::Serve::counters).
///
/// A handle: clones show the same server, on any thread, while it runs and afterwards.
///
/// # Examples
///
/// ```
/// use soloio::{connect_tcp, create_tcp_listener, task_group};
///
/// soloio::block_on(async {
///     let listener = create_tcp_listener().local_host("127.0.0.1").await?;
///     let port = listener.local_addr().port();
///     let serve = listener.serve(async |client| client.send(b"hello").await);
///     let counters = serve.counters();
///     task_group(async |group| {
///         let server = group.spawn(serve);
///         let client = connect_tcp("127.0.0.1", port).await?;
///         assert_eq!(client.receive().await?, b"hello");
///         assert_eq!(counters.accepted(), 1);
///         server.cancel();
///         Ok(())
///     })
///     .await
/// })?;
/// # Ok::<_, soloio::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct ServeCounters(Arc<Counts>);

/// Written only by the server's thread.
#[derive(Debug, Default)]
struct Counts {
    accepted: AtomicU64,
    active: AtomicU64,
    shed: AtomicU64,
    failed: AtomicU64,
    accept_errors: AtomicU64,
}

impl ServeCounters {
    /// Returns the number of connections that got a task of their own.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.0.accepted.load(Relaxed)
    }

    /// Returns the number of connections with a running task.
    #[must_use]
    pub fn active(&self) -> u64 {
        self.0.active.load(Relaxed)
    }

    /// Returns the number of connections that were closed immediately because no descriptor was
    /// free.
    #[must_use]
    pub fn shed(&self) -> u64 {
        self.0.shed.load(Relaxed)
    }

    /// Returns the number of connections that ended with an error or a panic, of the handler or the
    /// second step of the accept.
    #[must_use]
    #[inline]
    pub fn failed(&self) -> u64 {
        self.0.failed.load(Relaxed)
    }

    /// Returns the number of accepts that failed without ending the server. It includes those not
    /// reported.
    #[must_use]
    pub fn accept_errors(&self) -> u64 {
        self.0.accept_errors.load(Relaxed)
    }
}

/// Adds to a counter. Only one thread writes it, so a load and a store are enough.
fn add(counter: &AtomicU64, what: i64) {
    counter.store(counter.load(Relaxed).wrapping_add_signed(what), Relaxed);
}

/// The kinds of accept errors. Each has a limit of its own, so that one kind cannot hide the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Connection,
    Exhausted,
}

/// A running server, without its listener and its handler.
pub(super) struct Serving<'a> {
    counters: ServeCounters,
    max: u64,
    reports: Reports<'a>,
    /// The time of the last report of an accept error of each kind.
    reported: [Cell<Option<Nanos>>; 2],
    /// The peer of the connection that has ended last.
    last: Cell<Peer>,
    /// The number of connections that have ended.
    ended: Cell<u64>,
    /// The number of connections that were accepted without a free place, and wait for one.
    late: Cell<u64>,
    /// Has a permit for each of them that has got its place.
    places: Semaphore,
    /// The waker of the loop, while it waits for the end of a connection.
    waiting: RefCell<Option<Waker>>,
    /// The scope of its connections if they are [apart](Self::is_apart), so that those left after
    /// the limit can be cancelled.
    pub(super) scope: CancelScope,
    /// Set when the server is stopped; handlers wait for it.
    pub(super) stop: ThreadEvent,
    /// Accepted connections are closed immediately.
    pub(super) sheds: Cell<bool>,
    /// Its connections are in a group of the caller's, so each enters the scope by itself.
    pub(super) is_apart: bool,
}

impl<'a> Serving<'a> {
    pub(super) fn new(max: usize, hook: Option<Hook<'a>>, counters: ServeCounters) -> Self {
        Self {
            counters,
            max: u64::try_from(max).unwrap_or(u64::MAX),
            reports: Reports::new(hook),
            reported: [Cell::new(None), Cell::new(None)],
            last: Cell::new(Peer::Unknown),
            ended: Cell::new(0),
            late: Cell::new(0),
            places: Semaphore::new(0),
            waiting: RefCell::new(None),
            scope: CancelScope::new(),
            stop: ThreadEvent::new(),
            sheds: Cell::new(false),
            is_apart: false,
        }
    }

    /// Waits until fewer connections run than the limit.
    pub(super) async fn one_free(&self) -> Result<()> {
        if self.has_free() {
            return Ok(());
        }
        self.until(&|| self.has_free()).await
    }

    /// Returns true if fewer connections run than the limit.
    pub(super) fn has_free(&self) -> bool {
        self.counters.active() < self.max
    }

    /// The number of connections that have ended.
    pub(super) fn ended(&self) -> u64 {
        self.ended.get()
    }

    /// True if no connection is left.
    pub(super) fn is_idle(&self) -> bool {
        self.counters.active() == 0
    }

    /// Returns the number of connections, for a record.
    #[cfg(feature = "log")]
    pub(super) fn active(&self) -> u64 {
        self.counters.active()
    }

    /// Waits for what the end of a connection brings about; one waits at a time.
    pub(super) async fn until(&self, done: &dyn Fn() -> bool) -> Result<()> {
        let mut wait = Wait::new(&"the end of a connection");
        context::in_runtime(|core, cx| {
            ready!(wait.admit_wait(core, cx))?;
            if done() {
                core.finished();
                return Poll::Ready(Ok(()));
            }
            // Cloned before the borrow, and the old one is dropped after it.
            let waker = cx.waker().clone();
            let old = self.waiting.replace(Some(waker));
            drop(old);
            wait.pend(core, cx)
        })
        .await
    }

    /// Counts a connection that begins. Returns true if it must wait for its
    /// [`place`](Self::place).
    pub(super) fn begin(&self) -> bool {
        let late = !self.has_free();
        self.late.set(self.late.get() + u64::from(late));
        add(&self.counters.0.accepted, 1);
        add(&self.counters.0.active, 1);
        late
    }

    /// Waits for the place of a connection that began when none was free.
    pub(super) async fn place(&self) -> Result<()> {
        let wait = Wait::new(&"a place among the connections");
        self.places.acquire_as(wait).await?.forget();
        // One that was cancelled meanwhile does not begin.
        context::checkpoint().await
    }

    /// Counts and reports a connection that ended with an error or a panic.
    #[inline]
    pub(super) fn failed(&self, error: &Error, peer: &Peer) {
        if error.is_cancelled() {
            // The server has ended, or the code that runs it.
            return;
        }
        add(&self.counters.0.failed, 1);
        record!(Debug, "soloio::serve", "failed {peer}: {error}");
        self.reports.report(error, peer);
    }

    /// Counts an accept error that does not end the server, and reports it within the limit.
    #[inline]
    pub(super) fn accept_failed(&self, kind: Kind, error: &Error) {
        add(&self.counters.0.accept_errors, 1);
        record!(Debug, "soloio::serve", "an accept failed: {error}");
        let reported = &self.reported[kind as usize];
        let now = clock::now();
        if reported.get().is_none_or(|then| now - then >= REPORT_EVERY) {
            reported.set(Some(now));
            self.reports.report(error, &Peer::None);
        }
    }

    pub(super) fn shed_one(&self) {
        add(&self.counters.0.shed, 1);
        record!(
            Debug,
            "soloio::serve",
            "shed a client: no descriptor is free"
        );
    }

    /// Reports the panic of the connection that has ended last as its error. Another one may
    /// follow, of the drop of what it has captured.
    #[cold]
    #[inline]
    pub(super) fn panicked(&self, payload: Payload) {
        let error = Error::from(Panicked::new(payload));
        let last = self.last.replace(Peer::Unknown);
        self.failed(&error, &last);
        self.last.set(last);
    }

    /// Counts the end of the connection with this peer. If it ends by a panic, `panicked` comes
    /// next.
    #[inline]
    pub(super) fn end(&self, peer: &mut Peer) {
        self.last.replace(std::mem::replace(peer, Peer::Unknown));
        add(&self.counters.0.active, -1);
        if let Some(late) = self.late.get().checked_sub(1) {
            self.late.set(late);
            self.places.add(1).expect("fewer than connections");
        }
        self.ended.set(self.ended.get().wrapping_add(1));
        wake_one(self.waiting.take());
    }
}
