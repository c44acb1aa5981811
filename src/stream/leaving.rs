//! Closes the streams that a server's handler drops while bytes are on their way.
//!
//! A drop closes at once, and loses bytes if the peer continues to send. Only a task can wait for
//! the peer, and a drop has none, except in a handler: the connection's task continues until the
//! stream is closed.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::mem::forget;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::report::Peer;
use super::serving::Serving;
use super::stopping::with_event;
use crate::error::Result;

/// A close in progress.
type Closing = Pin<Box<dyn Future<Output = Result<()>>>>;

/// The closes of a connection that are in progress.
#[allow(
    clippy::box_collection,
    reason = "most connections have none, and an empty list is larger"
)]
type Closings = Option<Box<Vec<Closing>>>;

/// The kind of code that is polled on a thread.
#[derive(Clone, Copy, PartialEq)]
enum Polled {
    NoHandler,
    Handler,
    /// A handler that has dropped streams, which are in [`DROPPED`].
    Dropping,
}

thread_local! {
    /// Read in each poll of a handler; the list only if a stream was dropped.
    static POLLED: Cell<Polled> = const { Cell::new(Polled::NoHandler) };
    /// The streams dropped by the handlers that are being polled, those of the innermost last.
    static DROPPED: RefCell<Vec<Closing>> = const { RefCell::new(Vec::new()) };
}

/// Returns true while a server's handler is polled on this thread.
pub(crate) fn is_handler() -> bool {
    POLLED.get() != Polled::NoHandler
}

/// Gives a close to the task of the handler that is being polled.
pub(crate) fn leave(closing: impl Future<Output = Result<()>> + 'static) {
    // Outside of a handler it is dropped, which also closes the stream.
    if is_handler() {
        DROPPED.with_borrow_mut(|dropped| dropped.push(Box::pin(closing)));
        POLLED.set(Polled::Dropping);
    }
}

/// One poll of a handler. Afterwards, also after a panic, the handler around it, if any, is the
/// polled one.
struct Within {
    around: Polled,
    /// The number of closes in [`DROPPED`] of the handlers around.
    others: usize,
}

impl Within {
    #[inline]
    fn enter() -> Self {
        let around = POLLED.replace(Polled::Handler);
        let others = match around {
            Polled::NoHandler => 0,
            Polled::Handler | Polled::Dropping => Self::dropped(),
        };
        Self { around, others }
    }

    #[cold]
    fn dropped() -> usize {
        DROPPED.with_borrow(Vec::len)
    }

    /// Ends the poll; `closing` gets the streams that were dropped in it.
    #[inline]
    fn end(self, closing: &mut Closings) {
        if POLLED.replace(self.around) == Polled::Dropping {
            self.gather(closing);
        }
        forget(self);
    }

    #[cold]
    fn gather(&self, closing: &mut Closings) {
        let dropped = DROPPED.with_borrow_mut(|dropped| dropped.split_off(self.others));
        closing.get_or_insert_default().extend(dropped);
    }
}

/// After a panic of the handler the streams that it has dropped are closed by a drop.
impl Drop for Within {
    #[inline]
    fn drop(&mut self) {
        if POLLED.replace(self.around) == Polled::Dropping {
            self.gather(&mut None);
        }
    }
}

/// What is left of a connection beside its handler: the streams that the handler has dropped.
#[derive(Default)]
pub(super) struct Leaving {
    is_handled: bool,
    closing: Closings,
}

impl Leaving {
    /// Polls a connection's handler, then the closes of the streams that it has dropped; reports
    /// each error to the server. It is ready when all of them have ended.
    #[inline(always)]
    pub(super) fn poll(
        &mut self,
        handler: Pin<&mut impl Future<Output = Result<()>>>,
        cx: &mut Context<'_>,
        serving: &Serving<'_>,
        peer: &Peer,
    ) -> Poll<()> {
        let mut handled = None;
        if !self.is_handled {
            let within = Within::enter();
            let polled = with_event(&serving.stop, || handler.poll(cx));
            within.end(&mut self.closing);
            if let Poll::Ready(ended) = polled {
                handled = Some(ended);
            } else if self.closing.is_none() {
                return Poll::Pending;
            }
        }
        self.close(handled, cx, serving, peer)
    }

    /// The rest of a poll when the handler has ended, or has dropped streams.
    #[cold]
    #[inline(never)]
    fn close(
        &mut self,
        handled: Option<Result<()>>,
        cx: &mut Context<'_>,
        serving: &Serving<'_>,
        peer: &Peer,
    ) -> Poll<()> {
        self.is_handled |= handled.is_some();
        let failed = |error| serving.failed(&error, peer);
        if let Some(Err(error)) = handled {
            failed(error);
        }
        if let Some(closing) = &mut self.closing {
            closing.retain_mut(|close| match close.as_mut().poll(cx) {
                Poll::Pending => true,
                Poll::Ready(closed) => {
                    closed.unwrap_or_else(failed);
                    false
                }
            });
            if closing.is_empty() {
                self.closing = None;
            }
        }
        match self.is_handled && self.closing.is_none() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use super::*;

    async fn close() -> Result<()> {
        Ok(())
    }

    fn count(closing: Closings) -> usize {
        closing.map_or(0, |closing| closing.len())
    }

    #[test]
    fn each_handler_has_what_it_has_dropped_itself() {
        let (mut outer, mut inner) = (None, None);
        let around = Within::enter();
        leave(close());
        let within = Within::enter();
        leave(close());
        within.end(&mut inner);
        leave(close());
        around.end(&mut outer);
        assert_eq!((count(inner), count(outer), is_handler()), (1, 2, false));
    }

    #[test]
    fn a_handler_in_a_handler_without_drops_takes_none_of_those_around_both() {
        let (mut outermost, mut innermost) = (None, None);
        let around = Within::enter();
        leave(close());
        let between = Within::enter();
        let within = Within::enter();
        leave(close());
        within.end(&mut innermost);
        drop(between);
        around.end(&mut outermost);
        assert_eq!((count(innermost), count(outermost)), (1, 1));
    }

    #[test]
    fn a_panic_leaves_the_handler_around_what_it_has_dropped() {
        let around = Within::enter();
        leave(close());
        let panicked = catch_unwind(|| {
            let _within = Within::enter();
            leave(close());
            panic!("by the test");
        });
        assert!(panicked.is_err() && is_handler());
        let mut left = None;
        around.end(&mut left);
        assert_eq!((count(left), is_handler()), (1, false));
    }
}
