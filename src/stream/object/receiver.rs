//! The receiving end of a memory object stream.

use std::cell::Cell;
use std::rc::Rc;
use std::task::{Poll, ready};

use super::shared::{End, Receivers, Seat, Shared};
use super::{ObjectStreamStatistics, object_end};
use crate::error::{Error, Result};
use crate::runtime::context;
use crate::runtime::wait::Wait;
use crate::stream::or_end;
use crate::sync::line::{InLine, Turn};

/// The receiving end of a memory object stream; see
/// [`create_memory_object_stream`](crate::create_memory_object_stream).
///
/// When all clones are closed or dropped, the remaining items are dropped and senders get
/// [`Error::Broken`].
#[doc(alias = "MemoryObjectReceiveStream")]
#[doc(alias = "Receiver")]
pub struct ObjectReceiver<T> {
    stream: Rc<Shared<T>>,
    closed: Cell<bool>,
}

object_end!(
    ObjectReceiver,
    open_receivers,
    receiver_gone,
    withdraw_receives,
    /// Closes this clone, as a drop does. Receives that wait on it end with [`Error::Closed`],
    /// unless an item is already reserved for them, which they return.
);

impl<T> ObjectReceiver<T> {
    /// Receives the next item. Receives are served in the order of their calls, and each item goes
    /// to one of them.
    ///
    /// # Errors
    ///
    /// [`Error::EndOfStream`] if all senders are gone and no item is left; [`Error::Closed`] after
    /// [`close`](Self::close), unless an item was already reserved for this receive;
    /// [`Error::Cancelled`], [`Error::NoRuntime`].
    ///
    /// # Cancel safety
    ///
    /// Nothing was received: every item is still there for the next receive, in order.
    pub async fn receive(&self) -> Result<T> {
        let mut receiving = Receiving::new(&self.stream);
        let mut wait = Wait::new(&"an item in a memory object stream");
        context::in_runtime(|core, cx| {
            ready!(wait.admit(core, cx))?;
            let item = match receiving.own.turn() {
                Turn::Waiting => None,
                Turn::Arrived => self.attempt(false)?,
                // The place is left first, so that the state is consistent if a waker panics.
                Turn::Called => self.attempt(receiving.has_item())?,
            };
            if let Some(item) = item {
                core.finished();
                return Poll::Ready(Ok(item));
            }
            let (end, reserved) = (self.end(), false);
            receiving.own.stand(cx, || Seat { end, reserved });
            wait.pend(core, cx)
        })
        .await
    }

    /// The same as [`receive`](Self::receive), with the end as `None`.
    ///
    /// # Errors
    ///
    /// As [`receive`](Self::receive), except for the end.
    ///
    /// # Cancel safety
    ///
    /// As [`receive`](Self::receive).
    pub async fn next(&self) -> Result<Option<T>> {
        or_end(self.receive().await)
    }

    /// Receives an item if one is there, or if a send waits.
    ///
    /// # Errors
    ///
    /// [`Error::WouldBlock`] if there is none; else as [`receive`](Self::receive).
    pub fn receive_nowait(&self) -> Result<T> {
        self.attempt(false)?.ok_or(Error::WouldBlock)
    }

    fn attempt(&self, reserved: bool) -> Result<Option<T>> {
        if self.closed.get() && !reserved {
            return Err(Error::Closed);
        }
        let item = self.stream.receive(reserved);
        if item.is_none() && self.stream.is_over() {
            return Err(Error::EndOfStream);
        }
        Ok(item)
    }
}

/// A receive in progress.
struct Receiving<'a, T> {
    own: InLine<'a, Receivers<T>>,
    stream: &'a Shared<T>,
}

impl<'a, T> Receiving<'a, T> {
    fn new(stream: &'a Shared<T>) -> Self {
        let own = InLine::new(&stream.receivers);
        Self { own, stream }
    }

    /// Leaves the place; returns true if an item is reserved for it.
    fn has_item(&mut self) -> bool {
        self.own.leave().is_some_and(|seat| seat.reserved)
    }
}

impl<T> Drop for Receiving<'_, T> {
    fn drop(&mut self) {
        self.own.give_up();
        self.stream.drop_unreachable();
    }
}
