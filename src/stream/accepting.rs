//! The accept loop, written once: accept, hand over, continue after errors.
//!
//! Typical servers fail in the accept loop. An error of one connection must not end it; without
//! descriptors it must neither end nor be busy. So errors are classified ([`accept_failure`]):
//!
//! ```text
//!   one connection has ended ──> accept the next; a pause after GONE_IN_A_ROW of them
//!   no descriptors, memory ────> a pause, until a connection ends or BACK_OFF has passed;
//!                                if that did not help for SHED_EVERY, each time one client is
//!                                accepted on the spare descriptor and closed, so that it need
//!                                not wait
//!   the listener is broken ────> the end
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

/// The pause of the loop without descriptors or memory, or after many errors.
const BACK_OFF: Duration = Duration::from_millis(100);

/// The time without descriptors until one client is accepted to be closed, and then the next.
const SHED_EVERY: Nanos = 100_000_000;

/// The largest number of connections accepted at the end: the default size of a backlog.
const LAST: u32 = 4096;

/// The number of connections in a row that have ended before they were accepted, until the loop
/// pauses: a permanent error, such as a filter's, must not keep a core busy.
const GONE_IN_A_ROW: u32 = 100;

/// The number of accepts before other tasks have their turn. (A socket's accept yields by itself; a
/// listener of the user's need not.)
const BATCH: u32 = 64;

/// A listener and the tasks of its connections, with erased types: the loop is compiled once for
/// all servers of a program.
pub(super) trait Accept {
    /// Accepts a connection and starts its task, or closes it if `sheds` of the server is set.
    fn poll_one(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>>;

    /// Called when no accept is in progress any more.
    fn leave(self: Pin<&mut Self>);

    /// Aborts the listener.
    fn abort(self: Pin<&mut Self>);
}

/// The listener, and the function that makes the future of one accept.
pub(super) struct Accepting<'a, L, M> {
    pub(super) listener: &'a L,
    pub(super) one: M,
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

/// Accepts until the listener fails.
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

/// Accepts the connections that already wait, since their clients count as connected, until one
/// turn of the loop brings no other. Those beyond the limit of connections wait for a place.
pub(super) async fn accept_waiting(mut accept: Pin<&mut (dyn Accept + '_)>) {
    for _ in 0..LAST {
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

/// The state of the loop's errors.
struct Trouble {
    /// The number of errors of single connections since the last success.
    gone: u32,
    spare: Spare,
    /// The time when descriptors ran out, or a client was last accepted to be closed.
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

    /// Continues after an error of an accept, or returns it.
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
        // The next accept finds out whether it helped.
        move_on_after(BACK_OFF, serving.until(&goes_on)).await?;
        Ok(())
    }

    /// Accepts one client on the spare descriptor, and closes it; returns true if there was one.
    async fn shed(
        &mut self,
        mut accept: Pin<&mut (dyn Accept + '_)>,
        serving: &Serving<'_>,
    ) -> bool {
        let now = clock::now();
        let early = now - *self.shed.get_or_insert(now) < SHED_EVERY;
        // The code that took the spare descriptor may have released it.
        if early || !self.spare.refill() {
            return false;
        }
        self.shed = Some(now);
        self.spare.release();
        // One poll only: the spare descriptor must not stay free while other tasks run.
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
