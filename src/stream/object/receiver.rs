//! The receiving end of a memory object stream.

use std::cell::Cell;
use std::fmt;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, ready};

use super::ObjectStreamStatistics;
use super::shared::Shared;
use crate::error::{Error, Result};
use crate::runtime::context;
use crate::runtime::wait::Wait;
use crate::stream::or_end;
use crate::sync::line::{InLine, Turn};

/// The receiving end of a memory object stream; see
/// [`create_memory_object_stream`](crate::create_memory_object_stream).
///
/// When all clones are closed or dropped, what is left is dropped and senders get
/// [`Error::Broken`].
#[doc(alias = "MemoryObjectReceiveStream")]
#[doc(alias = "Receiver")]
pub struct ObjectReceiver<T> {
    stream: Rc<Shared<T>>,
    closed: Cell<bool>,
}

impl<T> ObjectReceiver<T> {
    pub(super) fn new(stream: Rc<Shared<T>>) -> Self {
        Self {
            stream,
            closed: Cell::new(false),
        }
    }

    /// Receives the next item. Receivers have their turn in the order in which they came, and each
    /// item goes to one of them.
    ///
    /// # Errors
    ///
    /// [`Error::EndOfStream`] when all senders are gone and nothing is left;
    /// [`Error::Closed`] after [`close`](Self::close); [`Error::Cancelled`],
    /// [`Error::NoRuntime`].
    ///
    /// # Cancel safety
    ///
    /// Nothing was received: every item is still there for the next receive, in order.
    pub async fn receive(&self) -> Result<T> {
        let stream = &*self.stream;
        let mut own = InLine::new(&stream.receivers);
        let mut wait = Wait::new(&"an item in a memory object stream");
        poll_fn(|cx| {
            context::poll_with(|core| {
                ready!(wait.admit(core, cx))?;
                match self.attempt(own.turn())? {
                    Some(item) => {
                        own.leave();
                        wait.done(core);
                        Poll::Ready(Ok(item))
                    }
                    None => {
                        own.stand(cx, || ());
                        wait.pend(core, cx)
                    }
                }
            })
        })
        .await
    }

    /// [`receive`](Self::receive), with the end as `None`.
    ///
    /// # Errors
    ///
    /// As [`receive`](Self::receive), but for the end.
    ///
    /// # Cancel safety
    ///
    /// As [`receive`](Self::receive).
    pub async fn next(&self) -> Result<Option<T>> {
        or_end(self.receive().await)
    }

    /// Receives an item if one is there, or if somebody waits to send one.
    ///
    /// # Errors
    ///
    /// [`Error::WouldBlock`] if there is none; else as [`receive`](Self::receive).
    pub fn receive_nowait(&self) -> Result<T> {
        self.attempt(Turn::Arrived)?.ok_or(Error::WouldBlock)
    }

    fn attempt(&self, turn: Turn) -> Result<Option<T>> {
        if self.closed.get() {
            return Err(Error::Closed);
        }
        let item = match turn {
            Turn::Waiting => None,
            turn => self.stream.receive(turn == Turn::Called),
        };
        if item.is_none() && self.stream.is_over() {
            return Err(Error::EndOfStream);
        }
        Ok(item)
    }

    /// Closes this clone, as dropping it does; receives that wait on it end with
    /// [`Error::Closed`].
    #[doc(alias = "aclose")]
    pub fn close(&self) {
        if !self.closed.replace(true) {
            self.stream.receiver_gone();
            self.stream.wake_receivers();
        }
    }

    /// What is in the stream, and who waits.
    #[must_use]
    pub fn statistics(&self) -> ObjectStreamStatistics {
        self.stream.statistics()
    }
}

impl<T> Clone for ObjectReceiver<T> {
    /// A further receiver; that of a closed one is closed.
    fn clone(&self) -> Self {
        let open = usize::from(!self.closed.get());
        let count = &self.stream.open_receivers;
        count.set(count.get() + open);
        Self {
            stream: Rc::clone(&self.stream),
            closed: self.closed.clone(),
        }
    }
}

impl<T> Drop for ObjectReceiver<T> {
    fn drop(&mut self) {
        if !self.closed.get() {
            self.stream.receiver_gone();
        }
    }
}

impl<T> fmt::Debug for ObjectReceiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let statistics = self.statistics();
        f.debug_tuple("ObjectReceiver").field(&statistics).finish()
    }
}
