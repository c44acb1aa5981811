//! Closes the streams that a server's handler drops while bytes are on their way.
//!
//! A drop closes at once, which loses bytes if the peer goes on sending. Only a task can wait for
//! the peer, and a drop has none, except in a handler: its connection's task goes on until the
//! stream is closed.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use super::report::Peer;
use super::serving::Serving;
use super::stopping::told;
use crate::error::Result;

/// A close under way.
type Closing = Pin<Box<dyn Future<Output = Result<()>>>>;

thread_local! {
    /// What the handler that is being polled has dropped; `None` outside of a handler.
    static DROPPED: RefCell<Option<Vec<Closing>>> = const { RefCell::new(None) };
}

/// True while a server's handler is polled on this thread.
pub(crate) fn is_handler() -> bool {
    DROPPED.try_with(|dropped| dropped.borrow().is_some()) == Ok(true)
}

/// Leaves a close to the task of the handler that is being polled.
pub(crate) fn leave(closing: impl Future<Output = Result<()>> + 'static) {
    // Outside of a handler it is dropped, which closes too.
    DROPPED.with_borrow_mut(|dropped| {
        if let Some(dropped) = dropped {
            dropped.push(Box::pin(closing));
        }
    });
}

/// The handler around the one that is polled has its own list back, also after a panic.
struct Around(Option<Vec<Closing>>);

impl Drop for Around {
    fn drop(&mut self) {
        let dropped = DROPPED.replace(self.0.take());
        drop(dropped);
    }
}

/// Runs a connection's handler, and closes what it drops; the server is told of each error.
pub(super) async fn closing_after(
    mut handler: Pin<&mut (dyn Future<Output = Result<()>> + '_)>,
    serving: &Serving<'_>,
    peer: &Peer,
) {
    let failed = |error| serving.failed(&error, peer);
    let (mut done, mut closing) = (false, Vec::new());
    poll_fn(|cx| {
        if !done {
            let around = Around(DROPPED.replace(Some(std::mem::take(&mut closing))));
            let polled = told(&serving.stop, || handler.as_mut().poll(cx));
            closing = DROPPED.take().unwrap_or_default();
            drop(around);
            done = polled.is_ready();
            if let Poll::Ready(Err(error)) = polled {
                failed(error);
            }
        }
        closing.retain_mut(|close| match close.as_mut().poll(cx) {
            Poll::Pending => true,
            Poll::Ready(closed) => {
                closed.unwrap_or_else(failed);
                false
            }
        });
        match done && closing.is_empty() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
}
