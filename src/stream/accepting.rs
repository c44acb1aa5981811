//! The accept loop, written once: accept, hand over, survive.
//!
//! Servers die in the accept loop. An error of one connection must not end it; running out of
//! descriptors must neither end it nor let it spin. So errors are sorted ([`accept_failure`]):
//!
//! ```text
//!   one connection is gone ──> accept the next; a pause after GONE_IN_A_ROW of them
//!   no descriptors, memory ──> a pause, until a connection of ours ends or BACK_OFF is over;
//!                              if that did not help for BACK_OFF, then each time it is over, one
//!                              client is let in on the descriptor in reserve and closed: it
//!                              knows, instead of waiting
//!   the listener is broken ──> the end
//! ```
//!
//! All are counted; each kind is reported at most once a second.

use std::convert::Infallible;
use std::error::Error as StdError;
use std::future::{Future, poll_fn};
use std::panic::Location;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use super::leaving::closing_after;
use super::listener::Listener;
use super::report::Peer;
use super::serving::{Kind, Place, Serving};
use crate::error::{Error, Failure, Result};
use crate::sys::clock::{self, Nanos};
use crate::sys::errno::{AcceptFailure, accept_failure};
use crate::sys::spare::Spare;
use crate::task::{Outcome, TaskGroup, move_on_after, yield_now};
use crate::time::sleep;

/// How long accepting pauses: when descriptors or memory ran out, or nothing else comes.
const BACK_OFF: Duration = Duration::from_millis(100);

/// How long descriptors have to be short before one client is let in to be closed, and the next.
const SHED_EVERY: Nanos = 100_000_000;

/// How many connections are accepted at the end at most: as many as a backlog holds by default.
const LAST: u32 = 4096;

/// How many connections in a row may be gone before they are accepted until accepting pauses: an
/// error that never ends, such as a filter's, must not keep a core busy.
const GONE_IN_A_ROW: u32 = 100;

/// How many connections are accepted before others have their turn. (A socket's accept gives way
/// by itself; a listener of the user's need not.)
const BATCH: u32 = 64;

/// Accepts, and starts a task in `group` for each connection, until an error of the listener.
pub(super) async fn accept_all<'s, G, L, H, O, E>(
    group: &'s TaskGroup<'s, '_, G>,
    listener: &'s L,
    serving: Rc<Serving<'s, H>>,
) -> Result<Infallible>
where
    G: Failure + 's,
    L: Listener,
    H: AsyncFn(L::Stream) -> O + 's,
    O: Outcome<E, Value = ()> + 's,
    E: Failure + Into<Box<dyn StdError + Send + Sync>> + 's,
{
    let mut trouble = Trouble::new();
    let mut accepted = 0;
    loop {
        serving.one_free().await?;
        let (begun, peer) = match listener.accept_from().await {
            Ok(begun) => begun,
            Err(error) => {
                trouble.pass_over(error, listener, &serving).await?;
                continue;
            }
        };
        trouble.gone = 0;
        trouble.shed = None;
        start(group, &serving, begun, peer);
        accepted += 1;
        if accepted % BATCH == 0 {
            yield_now().await?;
        }
    }
}

/// Accepts what waits already, to whom a connection is a promise, until one round of the loop
/// brings no other, or as many run as may.
pub(super) async fn accept_waiting<'s, G, L, H, O, E>(
    group: &'s TaskGroup<'s, '_, G>,
    listener: &'s L,
    serving: &Rc<Serving<'s, H>>,
) where
    G: Failure + 's,
    L: Listener,
    H: AsyncFn(L::Stream) -> O + 's,
    O: Outcome<E, Value = ()> + 's,
    E: Failure + Into<Box<dyn StdError + Send + Sync>> + 's,
{
    for _ in 0..LAST {
        if !serving.has_free() {
            return;
        }
        let (mut accept, mut round) = (pin!(listener.accept_from()), pin!(sleep(Duration::ZERO)));
        let accepted = poll_fn(|cx| match accept.as_mut().poll(cx) {
            Poll::Ready(accepted) => Poll::Ready(accepted.ok()),
            Poll::Pending => round.as_mut().poll(cx).map(|_| None),
        });
        let Some((begun, peer)) = accepted.await else {
            return;
        };
        start(group, serving, begun, peer);
    }
}

/// Starts the task of a connection.
fn start<'s, G, S, H, O, E>(
    group: &'s TaskGroup<'s, '_, G>,
    serving: &Rc<Serving<'s, H>>,
    begun: impl Future<Output = Result<S>> + 's,
    peer: Peer,
) where
    G: Failure + 's,
    S: 's,
    H: AsyncFn(S) -> O + 's,
    O: Outcome<E, Value = ()> + 's,
    E: Failure + Into<Box<dyn StdError + Send + Sync>> + 's,
{
    let connection = connection(begun, serving.begin(peer));
    let (keeper, spawned_at) = (Rc::clone(serving), Location::caller());
    if serving.apart {
        let serving = Rc::clone(serving);
        // In a box, so that nothing else knows that it is in a scope.
        let limited = async move {
            Box::pin(serving.scope.run(connection)).await;
        };
        group.spawn_kept(limited, keeper, spawned_at);
    } else {
        group.spawn_kept(connection, keeper, spawned_at);
    }
}

/// A connection's task. What is captured stays in it for good: an idle connection is mostly this.
async fn connection<S, H, O, E>(begun: impl Future<Output = Result<S>>, place: Place<'_, H>)
where
    H: AsyncFn(S) -> O,
    O: Outcome<E, Value = ()>,
    E: Failure + Into<Box<dyn StdError + Send + Sync>>,
{
    let handled = async {
        let ended = match begun.await {
            Ok(stream) => (place.serving.handler)(stream)
                .await
                .into_result()
                .map_err(ours),
            Err(error) => Err(error),
        };
        if let Err(error) = ended {
            place.serving.failed(&error, &place.peer);
        }
    };
    closing_after(handled, |error| place.serving.failed(&error, &place.peer)).await;
}

/// The error of a handler as one of ours.
fn ours<E: Failure + Into<Box<dyn StdError + Send + Sync>>>(error: E) -> Error {
    match error.is_cancelled() {
        true => Error::Cancelled,
        false => Error::from(error.into()),
    }
}

/// What the loop remembers of the errors it has met.
struct Trouble {
    /// Errors about single connections since the last one that was accepted.
    gone: u32,
    spare: Spare,
    /// When descriptors ran short, or one was last let in to be closed.
    shed: Option<Nanos>,
}

impl Trouble {
    fn new() -> Self {
        Self {
            gone: 0,
            spare: Spare::new(),
            shed: None,
        }
    }

    /// Goes on after an error of accepting, or ends with it.
    async fn pass_over<L: Listener, H>(
        &mut self,
        error: Error,
        listener: &L,
        serving: &Serving<'_, H>,
    ) -> Result<()> {
        let Error::Io(cause) = &error else {
            return Err(error);
        };
        let failure = accept_failure(cause);
        match failure {
            AcceptFailure::Listener => return Err(error),
            AcceptFailure::Connection => {
                serving.accept_failed(Kind::Connection, &error);
                self.gone += 1;
                if self.gone == GONE_IN_A_ROW {
                    self.gone = 0;
                    sleep(BACK_OFF).await?;
                }
            }
            AcceptFailure::Descriptors | AcceptFailure::Memory => {
                serving.accept_failed(Kind::Exhausted, &error);
                if failure == AcceptFailure::Descriptors && self.shed(listener).await {
                    serving.shed_one();
                }
                // Over or not, the next accept tells.
                move_on_after(BACK_OFF, serving.one_ended()).await?;
            }
        }
        Ok(())
    }

    /// Lets one client in on the descriptor in reserve, and closes it; true if there was one.
    async fn shed<L: Listener>(&mut self, listener: &L) -> bool {
        let now = clock::now();
        let early = now - *self.shed.get_or_insert(now) < SHED_EVERY;
        // Whoever took the reserve when it was lent out may have given it back.
        if early || !self.spare.refill() {
            return false;
        }
        self.shed = Some(now);
        self.spare.release();
        let shed = {
            let mut accept = pin!(listener.accept_begin());
            // One poll, whatever it says: the reserve is not left open while others run.
            poll_fn(|cx| {
                let polled = accept.as_mut().poll(cx);
                Poll::Ready(matches!(polled, Poll::Ready(Ok(_))))
            })
            .await
        };
        self.spare.refill();
        shed
    }
}
