//! The contracts of object streams, for generic code over frames, queues, datagrams and channels.

use std::io;
use std::rc::Rc;
use std::sync::Arc;

use soloio::{ConnectedUdpSocket, Error, ObjectReceiver, ObjectSender, Result};

/// The receiving half of a stream of values.
///
/// It is implemented by soloio's memory object streams and connected UDP sockets, by its
/// `UnixSeqpacket` (feature `unix-ext`), and by every object stream of this crate.
///
/// # Examples
///
/// ```
/// use soloio::{Error, Result, create_memory_byte_stream, create_memory_object_stream};
/// use soloio_streams::{Lines, ObjectReceiveStream};
///
/// async fn count(stream: impl ObjectReceiveStream<Item = String>) -> Result<usize> {
///     let mut count = 0;
///     while stream.next().await?.is_some() {
///         count += 1;
///     }
///     Ok(count)
/// }
///
/// soloio::block_on(async {
///     let (sender, receiver) = create_memory_object_stream(2);
///     sender.send("one".to_owned()).await?;
///     drop(sender);
///     assert_eq!(count(receiver).await?, 1);
///
///     let (ours, theirs) = create_memory_byte_stream(64);
///     theirs.send(b"one\ntwo\n").await?;
///     theirs.send_eof().await?;
///     assert_eq!(count(Lines::new(ours, 100)).await?, 2);
///     Ok::<_, Error>(())
/// })?;
/// # Ok::<_, Error>(())
/// ```
#[allow(
    async_fn_in_trait,
    reason = "one thread: no caller needs the future to be Send"
)]
pub trait ObjectReceiveStream {
    /// The type of the received values.
    type Item;

    /// Receives the next value.
    ///
    /// # Errors
    ///
    /// [`Error::EndOfStream`] at the end; those of the stream.
    ///
    /// # Cancel safety
    ///
    /// A dropped future has received nothing: every value is still there for the next receive.
    async fn receive(&self) -> Result<Self::Item>;

    /// [`receive`](Self::receive), with the end as `None`.
    ///
    /// # Errors
    ///
    /// As [`receive`](Self::receive), except for the end.
    ///
    /// # Cancel safety
    ///
    /// As [`receive`](Self::receive).
    async fn next(&self) -> Result<Option<Self::Item>> {
        or_end(self.receive().await)
    }
}

/// The sending half of a stream of values; see [`ObjectReceiveStream`].
#[allow(
    async_fn_in_trait,
    reason = "one thread: no caller needs the future to be Send"
)]
pub trait ObjectSendStream {
    /// The type of the sent values.
    type Item;

    /// Sends the value that is in `item`, and takes it out when it is sent.
    ///
    /// # Errors
    ///
    /// [`Error::Broken`] if nothing receives any more; those of the stream. A value that was not
    /// sent stays in `item`.
    ///
    /// # Cancel safety
    ///
    /// A value that is still in `item` was not sent. One that is no longer there was, or its rest
    /// is in the stream and goes before whatever is sent next.
    async fn send_from(&self, item: &mut Option<Self::Item>) -> Result<()>;

    /// Sends a value.
    ///
    /// # Errors
    ///
    /// As [`send_from`](Self::send_from).
    ///
    /// # Cancel safety
    ///
    /// The value is sent as a whole or dropped with the future; [`send_from`](Self::send_from)
    /// keeps a value that was not sent.
    async fn send(&self, item: Self::Item) -> Result<()> {
        self.send_from(&mut Some(item)).await
    }

    /// Ends our direction: the peer receives what was sent, and then the end. It may be called
    /// again.
    ///
    /// # Errors
    ///
    /// As [`send_from`](Self::send_from). Datagrams have no end: `Unsupported`.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost: another call continues.
    async fn send_eof(&self) -> Result<()>;
}

/// A stream of values in both directions.
pub trait ObjectStream: ObjectReceiveStream + ObjectSendStream {}

impl<S: ObjectReceiveStream + ObjectSendStream> ObjectStream for S {}

/// Turns the end of a stream into `None`.
pub(crate) fn or_end<T>(received: Result<T>) -> Result<Option<T>> {
    match received {
        Ok(value) => Ok(Some(value)),
        Err(Error::EndOfStream) => Ok(None),
        Err(error) => Err(error),
    }
}

impl<T> ObjectReceiveStream for ObjectReceiver<T> {
    type Item = T;

    async fn receive(&self) -> Result<T> {
        self.receive().await
    }
}

impl<T> ObjectSendStream for ObjectSender<T> {
    type Item = T;

    async fn send_from(&self, item: &mut Option<T>) -> Result<()> {
        self.send_from(item).await
    }

    /// Closes this clone of the sender.
    async fn send_eof(&self) -> Result<()> {
        self.close();
        Ok(())
    }
}

impl ObjectReceiveStream for ConnectedUdpSocket {
    type Item = Vec<u8>;

    async fn receive(&self) -> Result<Vec<u8>> {
        self.receive().await
    }
}

impl ObjectSendStream for ConnectedUdpSocket {
    type Item = Vec<u8>;

    async fn send_from(&self, item: &mut Option<Vec<u8>>) -> Result<()> {
        if let Some(data) = item {
            self.send(data).await?;
            *item = None;
        }
        Ok(())
    }

    async fn send_eof(&self) -> Result<()> {
        let cause = io::Error::new(io::ErrorKind::Unsupported, "datagrams have no end");
        Err(cause.into())
    }
}

#[cfg(all(feature = "unix-ext", any(target_os = "linux", target_os = "android")))]
impl ObjectReceiveStream for soloio::net::UnixSeqpacket {
    type Item = Vec<u8>;

    async fn receive(&self) -> Result<Vec<u8>> {
        self.receive().await
    }
}

#[cfg(all(feature = "unix-ext", any(target_os = "linux", target_os = "android")))]
impl ObjectSendStream for soloio::net::UnixSeqpacket {
    type Item = Vec<u8>;

    async fn send_from(&self, item: &mut Option<Vec<u8>>) -> Result<()> {
        if let Some(data) = item {
            self.send(data).await?;
            *item = None;
        }
        Ok(())
    }

    async fn send_eof(&self) -> Result<()> {
        self.send_eof()
    }
}

/// References and pointers to a stream receive and send as the stream does.
macro_rules! pointers {
    ($($pointer:ty),*) => {$(
        impl<S: ObjectReceiveStream + ?Sized> ObjectReceiveStream for $pointer {
            type Item = S::Item;

            async fn receive(&self) -> Result<S::Item> {
                (**self).receive().await
            }
        }

        impl<S: ObjectSendStream + ?Sized> ObjectSendStream for $pointer {
            type Item = S::Item;

            async fn send_from(&self, item: &mut Option<S::Item>) -> Result<()> {
                (**self).send_from(item).await
            }

            async fn send_eof(&self) -> Result<()> {
                (**self).send_eof().await
            }
        }
    )*};
}

pointers!(&S, Rc<S>, Arc<S>);

/// Gives an object stream over a byte stream `S` the contracts, by its own methods: its further
/// parameters, its type, what it receives, and what it sends.
macro_rules! object_stream {
    ([$($parameters:tt)*] $type:ty, $received:ty, $sent:ty) => {
        impl<S: soloio::ByteReceiveStream, $($parameters)*> $crate::ObjectReceiveStream for $type {
            type Item = $received;

            async fn receive(&self) -> Result<$received> {
                self.receive().await
            }
        }

        impl<S: soloio::ByteStream, $($parameters)*> $crate::ObjectSendStream for $type {
            type Item = $sent;

            async fn send_from(&self, item: &mut Option<$sent>) -> Result<()> {
                self.send_item(item).await
            }

            async fn send_eof(&self) -> Result<()> {
                self.send_eof().await
            }
        }
    };
}

pub(crate) use object_stream;
