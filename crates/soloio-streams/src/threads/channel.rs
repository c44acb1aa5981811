//! A bounded channel between threads and loops, over crossbeam-channel.
//!
//! crossbeam-channel stores the values, and blocks and wakes threads. Here are the tasks: one that
//! has to wait is in the list of its end, and is woken when the other end has done something.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;

use crossbeam_channel as crossbeam;
use soloio::{Error, Result, TrySendError, loop_handle};

use super::waiters::{Waiters, Waiting};
use crate::ObjectReceiveStream;
use crate::object::or_end;

/// Makes a channel for values between threads: each end is used on a loop (`send`, `receive`), or
/// on a thread without one (`send_blocking`, `receive_blocking`), and can be cloned and sent to
/// another thread.
///
/// It has room for `capacity` values, at least 1, and allocates it at once; a send waits for room.
/// Each value is received once, in the order of the sends. When all clones of an end are dropped,
/// the other end is told: a receive gets what is left and then the end, a send an error with its
/// value. A loop that waits is woken once for as many values as come until it runs.
///
/// # Examples
///
/// ```
/// use soloio_streams::channel;
///
/// let (to_loop, values) = channel(16);
/// let (to_thread, numbers) = channel(16);
/// let thread = std::thread::spawn(move || {
///     while let Ok(number) = numbers.receive_blocking() {
///         to_loop.send_blocking(number * 2).map_err(soloio::Error::from)?;
///     }
///     Ok::<_, soloio::Error>(())
/// });
/// soloio::block_on(async {
///     to_thread.send(20).await?;
///     to_thread.send(1).await?;
///     drop(to_thread); // the thread sees the end
///     let mut sum = 0;
///     while let Some(value) = values.next().await? {
///         sum += value;
///     }
///     assert_eq!(sum, 42);
///     Ok::<_, soloio::Error>(())
/// })?;
/// thread.join().expect("it does not panic")?;
/// # Ok::<_, soloio::Error>(())
/// ```
#[must_use]
pub fn channel<T>(capacity: usize) -> (ThreadSender<T>, ThreadReceiver<T>) {
    let (sender, receiver) = crossbeam::bounded(capacity.max(1));
    let shared = Arc::new(Shared::default());
    let sender = ThreadSender {
        channel: sender,
        bell: ReceiversBell(Arc::clone(&shared)),
    };
    let receiver = ThreadReceiver {
        channel: receiver,
        bell: SendersBell(shared),
    };
    (sender, receiver)
}

/// The tasks that wait at each end.
#[derive(Default)]
struct Shared {
    senders: Waiters,
    receivers: Waiters,
}

/// Wakes the receiving tasks when a sender is gone. It is dropped after the sender itself.
#[derive(Clone)]
struct ReceiversBell(Arc<Shared>);

impl Drop for ReceiversBell {
    fn drop(&mut self) {
        self.0.receivers.wake();
    }
}

/// Wakes the sending tasks when a receiver is gone. It is dropped after the receiver itself.
#[derive(Clone)]
struct SendersBell(Arc<Shared>);

impl Drop for SendersBell {
    fn drop(&mut self) {
        self.0.senders.wake();
    }
}

/// The sending end of a [`channel`]; its clones send to the same one.
#[doc(alias("Sender", "from_thread"))]
#[derive(Clone)]
pub struct ThreadSender<T> {
    channel: crossbeam::Sender<T>,
    bell: ReceiversBell,
}

/// The receiving end of a [`channel`]; each value goes to one of its clones.
#[doc(alias = "Receiver")]
#[derive(Clone)]
pub struct ThreadReceiver<T> {
    channel: crossbeam::Receiver<T>,
    bell: SendersBell,
}

impl<T> ThreadSender<T> {
    /// Sends a value from a loop: waits until there is room.
    ///
    /// # Errors
    ///
    /// [`Error::Broken`] if all receivers are gone, also during the wait; [`Error::Cancelled`],
    /// [`Error::NoRuntime`]. Then the value is dropped; [`send_from`](Self::send_from) returns it.
    ///
    /// # Cancel safety
    ///
    /// The value is either sent or dropped with the future; [`send_from`](Self::send_from) keeps a
    /// value that was not sent.
    pub async fn send(&self, item: T) -> Result<()> {
        self.send_from(&mut Some(item)).await
    }

    /// Sends the value that is in `item` from a loop, and takes it out when it is sent. With `None`
    /// nothing is sent.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send); the value stays in `item`.
    ///
    /// # Cancel safety
    ///
    /// The value was sent if and only if it is no longer in `item`.
    pub async fn send_from(&self, item: &mut Option<T>) -> Result<()> {
        let mut waiting = Waiting::at(&self.bell.0.senders);
        poll_fn(|cx| {
            waiting.poll(cx, || {
                let Some(value) = item.take() else {
                    return Some(Ok(()));
                };
                let error = match self.send_nowait(value) {
                    Ok(()) => return Some(Ok(())),
                    Err(error) => error,
                };
                let waits = matches!(error, TrySendError::WouldBlock(_));
                *item = Some(error.into_inner());
                (!waits).then(|| Err(TrySendError::Broken(()).into()))
            })
        })
        .await
    }

    /// Sends a value if there is room, on any thread.
    ///
    /// # Errors
    ///
    /// [`TrySendError`], which has the value: there is no room, or all receivers are gone.
    #[doc(alias = "try_send")]
    pub fn send_nowait(&self, item: T) -> Result<(), TrySendError<T>> {
        self.channel.try_send(item).map_err(|error| match error {
            crossbeam::TrySendError::Full(item) => TrySendError::WouldBlock(item),
            crossbeam::TrySendError::Disconnected(item) => TrySendError::Broken(item),
        })?;
        self.bell.0.receivers.wake();
        Ok(())
    }

    /// Sends a value from a thread that runs no loop: blocks until there is room. On a thread that
    /// runs one, which must not block, it is [`send_nowait`](Self::send_nowait).
    ///
    /// # Errors
    ///
    /// [`TrySendError`], which has the value: all receivers are gone, also during the wait.
    #[doc(alias = "blocking_send")]
    pub fn send_blocking(&self, item: T) -> Result<(), TrySendError<T>> {
        if loop_handle().is_ok() {
            return self.send_nowait(item);
        }
        let sent = self.channel.send(item);
        sent.map_err(|crossbeam::SendError(item)| TrySendError::Broken(item))?;
        self.bell.0.receivers.wake();
        Ok(())
    }
}

impl<T> ThreadReceiver<T> {
    /// Receives the next value on a loop.
    ///
    /// # Errors
    ///
    /// [`Error::EndOfStream`] if all senders are gone and no value is left; [`Error::Cancelled`],
    /// [`Error::NoRuntime`].
    ///
    /// # Cancel safety
    ///
    /// Nothing was received: every value is still there for the next receive, in order.
    pub async fn receive(&self) -> Result<T> {
        let mut waiting = Waiting::at(&self.bell.0.receivers);
        poll_fn(|cx| {
            waiting.poll(cx, || match self.receive_nowait() {
                Err(Error::WouldBlock) => None,
                received => Some(received),
            })
        })
        .await
    }

    /// [`receive`](Self::receive), with the end as `None`.
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

    /// Receives a value if one is there, on any thread.
    ///
    /// # Errors
    ///
    /// [`Error::WouldBlock`] if there is none; else as [`receive`](Self::receive).
    #[doc(alias = "try_recv")]
    pub fn receive_nowait(&self) -> Result<T> {
        let item = self.channel.try_recv().map_err(|error| match error {
            crossbeam::TryRecvError::Empty => Error::WouldBlock,
            crossbeam::TryRecvError::Disconnected => Error::EndOfStream,
        })?;
        self.bell.0.senders.wake();
        Ok(item)
    }

    /// Receives the next value on a thread that runs no loop: blocks until one is there. On a
    /// thread that runs one, which must not block, it is [`receive_nowait`](Self::receive_nowait).
    ///
    /// # Errors
    ///
    /// [`Error::EndOfStream`] if all senders are gone and no value is left.
    #[doc(alias = "blocking_recv")]
    pub fn receive_blocking(&self) -> Result<T> {
        if loop_handle().is_ok() {
            return self.receive_nowait();
        }
        let item = self.channel.recv().map_err(|_| Error::EndOfStream)?;
        self.bell.0.senders.wake();
        Ok(item)
    }
}

impl<T> ObjectReceiveStream for ThreadReceiver<T> {
    type Item = T;

    async fn receive(&self) -> Result<T> {
        self.receive().await
    }
}

impl<T> fmt::Debug for ThreadSender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("ThreadSender");
        shown.field("items", &self.channel.len());
        shown.finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for ThreadReceiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("ThreadReceiver");
        shown.field("items", &self.channel.len());
        shown.finish_non_exhaustive()
    }
}
