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
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use super::listener::Listener;
use super::serving::{Kind, Serving};
use crate::error::{Error, Result};
use crate::sys::beside::Beside;
use crate::sys::clock::{self, Nanos};
use crate::sys::errno::{AcceptFailure, accept_failure};
use crate::sys::spare::Spare;
use crate::task::{move_on_after, yield_now};
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

/// A listener whose connections get tasks, with the types of both forgotten: the loop is compiled
/// once, however many servers a program has.
pub(super) trait Accept {
    /// Accepts a connection and starts its task, or closes it if the server sheds.
    fn poll_one(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>>;

    /// Nothing is being accepted any more.
    fn leave(self: Pin<&mut Self>);

    /// Aborts the listener.
    fn abort(self: Pin<&mut Self>);
}

/// The listener, and what makes the future that accepts one.
pub(super) struct Accepting<'a, L, M> {
    listener: &'a L,
    one: M,
}

impl<'a, L, M> Accepting<'a, L, M> {
    pub(super) fn new(listener: &'a L, one: M) -> Self {
        Self { listener, one }
    }
}

impl<L, M, F> Accept for Beside<Option<F>, Accepting<'_, L, M>>
where
    L: Listener,
    M: Fn() -> F,
    F: Future<Output = Result<()>>,
{
    fn poll_one(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let (mut place, accepting) = self.parts();
        if place.is_none() {
            place.set(Some((accepting.one)()));
        }
        let one = place.as_mut().as_pin_mut();
        let polled = one.map_or(Poll::Pending, |one| one.poll(cx));
        if polled.is_ready() {
            place.set(None);
        }
        polled
    }

    fn leave(self: Pin<&mut Self>) {
        self.parts().0.set(None);
    }

    fn abort(self: Pin<&mut Self>) {
        self.parts().1.listener.abort();
    }
}

/// Accepts until an error of the listener.
pub(super) async fn accept_all(
    mut accept: Pin<&mut (dyn Accept + '_)>,
    serving: &Serving<'_>,
) -> Result<Infallible> {
    let mut trouble = Trouble::new();
    let mut accepted = 0;
    loop {
        serving.one_free().await?;
        let one = poll_fn(|cx| accept.as_mut().poll_one(cx)).await;
        if let Err(error) = one {
            trouble.pass_over(error, accept.as_mut(), serving).await?;
            continue;
        }
        trouble.gone = 0;
        trouble.shed = None;
        accepted += 1;
        if accepted % BATCH == 0 {
            yield_now().await?;
        }
    }
}

/// Accepts what waits already, to which a connection is a promise, until one round of the loop
/// brings no other, or as many run as may.
pub(super) async fn accept_waiting(mut accept: Pin<&mut (dyn Accept + '_)>, serving: &Serving<'_>) {
    for _ in 0..LAST {
        if !serving.has_free() {
            break;
        }
        let mut round = pin!(sleep(Duration::ZERO));
        let accepted = poll_fn(|cx| match accept.as_mut().poll_one(cx) {
            Poll::Ready(accepted) => Poll::Ready(accepted.is_ok()),
            Poll::Pending => round.as_mut().poll(cx).map(|_| false),
        });
        if !accepted.await {
            break;
        }
    }
    accept.leave();
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
    async fn pass_over(
        &mut self,
        error: Error,
        accept: Pin<&mut (dyn Accept + '_)>,
        serving: &Serving<'_>,
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
                if self.gone < GONE_IN_A_ROW {
                    return Ok(());
                }
                self.gone = 0;
            }
            AcceptFailure::Descriptors | AcceptFailure::Memory => {
                serving.accept_failed(Kind::Exhausted, &error);
                if failure == AcceptFailure::Descriptors && self.shed(accept, serving).await {
                    serving.shed_one();
                }
            }
        }
        let before = serving.ended();
        let goes_on = || failure != AcceptFailure::Connection && serving.ended() != before;
        // Over or not, the next accept tells.
        move_on_after(BACK_OFF, serving.until(&goes_on)).await?;
        Ok(())
    }

    /// Lets one client in on the descriptor in reserve, and closes it; true if there was one.
    async fn shed(
        &mut self,
        mut accept: Pin<&mut (dyn Accept + '_)>,
        serving: &Serving<'_>,
    ) -> bool {
        let now = clock::now();
        let early = now - *self.shed.get_or_insert(now) < SHED_EVERY;
        // What took the reserve when it was lent out may have given it back.
        if early || !self.spare.refill() {
            return false;
        }
        self.shed = Some(now);
        self.spare.release();
        // One poll, whatever it says: the reserve is not left open while others run.
        let shed = poll_fn(|cx| {
            serving.sheds.set(true);
            let polled = accept.as_mut().poll_one(cx);
            accept.as_mut().leave();
            serving.sheds.set(false);
            Poll::Ready(matches!(polled, Poll::Ready(Ok(()))))
        });
        let shed = shed.await;
        self.spare.refill();
        shed
    }
}
