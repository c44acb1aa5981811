//! The sending end of a memory object stream.

use std::cell::Cell;
use std::rc::Rc;
use std::task::{Poll, ready};

use super::error::{TrySendError, no_receivers};
use super::shared::{End, Offered, Senders, Shared};
use super::{ObjectStreamStatistics, object_end};
use crate::error::{Error, Result};
use crate::runtime::context;
use crate::runtime::wait::Wait;
use crate::sync::line::{InLine, Turn};

/// The sending end of a memory object stream; see
/// [`create_memory_object_stream`](crate::create_memory_object_stream).
///
/// When all clones are closed or dropped, receivers get the remaining items and then the end.
#[doc(alias = "MemoryObjectSendStream")]
#[doc(alias = "Sender")]
pub struct ObjectSender<T> {
    stream: Rc<Shared<T>>,
    closed: Cell<bool>,
}

object_end!(
    ObjectSender,
    open_senders,
    sender_gone,
    withdraw_sends,
    /// Closes this clone, as dropping it does; sends that wait on it end with [`Error::Closed`].
);

impl<T> ObjectSender<T> {
    /// Sends an item: waits until a receiver takes it or there is room. Sends are served in the
    /// order of their calls.
    ///
    /// # Errors
    ///
    /// [`Error::Broken`] if all receivers are gone, also during the wait; [`Error::Closed`] after
    /// [`close`](Self::close); [`Error::Cancelled`], [`Error::NoRuntime`]. Then the item is
    /// dropped; [`send_from`](Self::send_from) returns it.
    ///
    /// # Cancel safety
    ///
    /// The item is either sent or dropped with the future; [`send_from`](Self::send_from) keeps an
    /// item that was not sent.
    pub async fn send(&self, item: T) -> Result<()> {
        self.send_from(&mut Some(item)).await
    }

    /// Sends the item that is in `item`, and takes it out when it is sent: after an error, a drop
    /// or a cancel, an item that is still there was not sent. With `None` it still checks the
    /// state.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send); the item stays in `item`.
    ///
    /// # Cancel safety
    ///
    /// The item was sent if and only if it is no longer in `item`.
    pub async fn send_from(&self, item: &mut Option<T>) -> Result<()> {
        let stream = &*self.stream;
        let place = InLine::new(&stream.senders);
        let mut offer = Offer { place, item };
        let end = self.end();
        let mut wait = Wait::new(&"room in a memory object stream");
        context::in_runtime(|core, cx| {
            ready!(wait.admit(core, cx))?;
            let turn = offer.place.turn();
            if turn == Turn::Called && offer.has_gone() {
                core.finished();
                return Poll::Ready(Ok(()));
            }
            self.check()?;
            if turn == Turn::Arrived && offer.put(stream) {
                core.finished();
                return Poll::Ready(Ok(()));
            }
            let Offer { place, item } = &mut offer;
            place.stand(cx, || Offered {
                end,
                item: item.take(),
            });
            wait.pend(core, cx)
        })
        .await
    }

    /// Sends an item if that is possible without a wait.
    ///
    /// # Errors
    ///
    /// [`TrySendError`], which has the item; `?` turns it into an [`Error`].
    pub fn send_nowait(&self, item: T) -> Result<(), TrySendError<T>> {
        match self.check() {
            Ok(()) => {}
            Err(Error::Closed) => return Err(TrySendError::Closed(item)),
            Err(_) => return Err(TrySendError::Broken(item)),
        }
        self.stream.put(item).map_err(TrySendError::WouldBlock)
    }

    fn check(&self) -> Result<()> {
        if self.closed.get() {
            return Err(Error::Closed);
        }
        if self.stream.open_receivers.get() == 0 {
            return Err(no_receivers());
        }
        Ok(())
    }
}

/// An item in the line of senders, which returns to its owner if it was not taken.
struct Offer<'a, T> {
    place: InLine<'a, Senders<T>>,
    item: &'a mut Option<T>,
}

impl<T> Offer<'_, T> {
    /// Leaves the place; returns true if the item was taken. Otherwise the send was withdrawn.
    fn has_gone(&mut self) -> bool {
        let left = self.place.leave();
        *self.item = left.and_then(|offered| offered.item);
        self.item.is_none()
    }

    /// Sends the item if possible; returns true if it was sent.
    fn put(&mut self, stream: &Shared<T>) -> bool {
        *self.item = self.item.take().and_then(|item| stream.put(item).err());
        self.item.is_none()
    }
}

impl<T> Drop for Offer<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if let Some(Offered {
            item: Some(item), ..
        }) = self.place.give_up()
        {
            *self.item = Some(item);
        }
    }
}
