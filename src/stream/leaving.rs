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
#[derive(Default)]
struct Left {
    closing: Vec<Closing>,
    /// The handler has ended.
    is_handled: bool,
}

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

    /// Ends the poll; `leaving` gets the streams that were dropped in it.
    #[inline]
    fn end(self, leaving: &mut Leaving) {
        if POLLED.replace(self.around) == Polled::Dropping {
            self.gather(leaving);
        }
        forget(self);
    }

    #[cold]
    fn gather(&self, leaving: &mut Leaving) {
        let dropped = DROPPED.with_borrow_mut(|dropped| dropped.split_off(self.others));
        leaving.0.get_or_insert_default().closing.extend(dropped);
    }
}

/// After a panic of the handler the streams that it has dropped are closed by a drop.
impl Drop for Within {
    #[inline]
    fn drop(&mut self) {
        if POLLED.replace(self.around) == Polled::Dropping {
            self.gather(&mut Leaving::default());
        }
    }
}

/// What is left of a connection beside its handler: the streams that the handler has dropped. Most
/// connections have none.
#[derive(Default)]
pub(super) struct Leaving(Option<Box<Left>>);

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
        if self.0.is_none() || !self.is_handled() {
            let within = Within::enter();
            let polled = with_event(&serving.stop, || handler.poll(cx));
            within.end(self);
            if let Poll::Ready(ended) = polled {
                handled = Some(ended);
            } else if self.0.is_none() {
                return Poll::Pending;
            }
        }
        self.close(handled, cx, serving, peer)
    }

    #[cold]
    fn is_handled(&self) -> bool {
        self.0.as_ref().is_some_and(|left| left.is_handled)
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
        let is_handled = handled.is_some();
        let failed = |error| serving.failed(&error, peer);
        if let Some(Err(error)) = handled {
            failed(error);
        }
        let Some(left) = &mut self.0 else {
            return Poll::Ready(());
        };
        left.is_handled |= is_handled;
        let closing = &mut left.closing;
        closing.retain_mut(|close| match close.as_mut().poll(cx) {
            Poll::Pending => true,
            Poll::Ready(closed) => {
                closed.unwrap_or_else(failed);
                false
            }
        });
        match self.0.take_if(|left| left.closing.is_empty()) {
            Some(left) if left.is_handled => Poll::Ready(()),
            _ => Poll::Pending,
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

    /// Each connection has one.
    #[test]
    fn it_is_one_pointer() {
        assert_eq!(size_of::<Leaving>(), size_of::<usize>());
    }

    fn count(leaving: &Leaving) -> usize {
        leaving.0.as_ref().map_or(0, |left| left.closing.len())
    }

    #[test]
    fn each_handler_has_what_it_has_dropped_itself() {
        let (mut outer, mut inner) = <(Leaving, Leaving)>::default();
        let around = Within::enter();
        leave(close());
        let within = Within::enter();
        leave(close());
        within.end(&mut inner);
        leave(close());
        around.end(&mut outer);
        assert_eq!((count(&inner), count(&outer), is_handler()), (1, 2, false));
    }

    #[test]
    fn a_handler_in_a_handler_without_drops_takes_none_of_those_around_both() {
        let (mut outermost, mut innermost) = <(Leaving, Leaving)>::default();
        let around = Within::enter();
        leave(close());
        let between = Within::enter();
        let within = Within::enter();
        leave(close());
        within.end(&mut innermost);
        drop(between);
        around.end(&mut outermost);
        assert_eq!((count(&innermost), count(&outermost)), (1, 1));
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
        let mut left = Leaving::default();
        around.end(&mut left);
        assert_eq!((count(&left), is_handler()), (1, false));
    }
}
