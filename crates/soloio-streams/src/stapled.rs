//! Two streams of one direction each, as one of both: [`StapledByteStream`],
//! [`StapledObjectStream`].

use std::io::IoSlice;
use std::task::{Context, Poll};

use soloio::{ByteReceiveStream, ByteSendStream, ByteStream, Place, Result, Room};

use crate::{ObjectReceiveStream, ObjectSendStream};

/// A byte stream that sends to one stream and receives from another.
///
/// If one of them is only a half of a stream, so is this in that direction: it is a [`ByteStream`],
/// which can be ended, closed and aborted, if both are.
///
/// # Examples
///
/// ```
/// use soloio::{ByteReceiveStream, ByteSendStream, Error, create_memory_byte_stream};
/// use soloio_streams::StapledByteStream;
///
/// soloio::block_on(async {
///     let (to, there) = create_memory_byte_stream(64);
///     let (from, back) = create_memory_byte_stream(64);
///     let both = StapledByteStream::new(to, from);
///     both.send(b"ping").await?;
///     assert_eq!(there.receive().await?, b"ping");
///     back.send(b"pong").await?;
///     assert_eq!(both.receive().await?, b"pong");
///     Ok::<_, Error>(())
/// })?;
/// # Ok::<_, Error>(())
/// ```
#[derive(Debug)]
pub struct StapledByteStream<W, R> {
    send: W,
    receive: R,
}

/// An object stream that sends to one stream and receives from another.
///
/// Its [`send_eof`](ObjectSendStream::send_eof) is that of the sending one.
///
/// # Examples
///
/// ```
/// use soloio::{Error, create_memory_object_stream};
/// use soloio_streams::{ObjectReceiveStream, ObjectSendStream, StapledObjectStream};
///
/// soloio::block_on(async {
///     let (requests, to) = create_memory_object_stream(1);
///     let (from, answers) = create_memory_object_stream(1);
///     let client = StapledObjectStream::new(requests, answers);
///     client.send(20).await?;
///     from.send(to.receive().await? + 1).await?;
///     assert_eq!(client.receive().await?, 21);
///     client.send_eof().await?;
///     assert!(to.next().await?.is_none());
///     Ok::<_, Error>(())
/// })?;
/// # Ok::<_, Error>(())
/// ```
#[derive(Debug)]
pub struct StapledObjectStream<W, R> {
    send: W,
    receive: R,
}

macro_rules! stapled {
    ($type:ident) => {
        impl<W, R> $type<W, R> {
            /// Sends to `send` and receives from `receive`.
            #[must_use]
            pub fn new(send: W, receive: R) -> Self {
                Self { send, receive }
            }

            /// The stream that sends.
            pub fn sending(&self) -> &W {
                &self.send
            }

            /// The stream that receives.
            pub fn receiving(&self) -> &R {
                &self.receive
            }

            /// The two streams: the one that sends, and the one that receives.
            #[must_use]
            pub fn into_parts(self) -> (W, R) {
                (self.send, self.receive)
            }
        }
    };
}

stapled!(StapledByteStream);
stapled!(StapledObjectStream);

impl<W, R: ByteReceiveStream> ByteReceiveStream for StapledByteStream<W, R> {
    fn poll_receive(
        &self,
        place: &mut Place,
        cx: &mut Context<'_>,
        room: &mut Room<'_>,
    ) -> Poll<Result<()>> {
        self.receive.poll_receive(place, cx, room)
    }

    fn leave_receive(&self, place: &mut Place) {
        self.receive.leave_receive(place);
    }
}

impl<W: ByteSendStream, R> ByteSendStream for StapledByteStream<W, R> {
    fn poll_send(
        &self,
        place: &mut Place,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        self.send.poll_send(place, cx, parts)
    }

    fn poll_flush(&self, place: &mut Place, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.send.poll_flush(place, cx)
    }

    fn leave_send(&self, place: &mut Place) {
        self.send.leave_send(place);
    }
}

impl<W: ByteStream, R: ByteStream> ByteStream for StapledByteStream<W, R> {
    fn poll_send_eof(&self, place: &mut Place, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.send.poll_send_eof(place, cx)
    }

    /// Closes both, also if the first one fails.
    async fn close(self) -> Result<()> {
        let sent = self.send.close().await;
        let received = self.receive.close().await;
        sent.and(received)
    }

    fn abort(&self) {
        self.send.abort();
        self.receive.abort();
    }

    /// Resets the one that sends, and ends the other.
    async fn reset(&self) -> Result<()> {
        self.receive.abort();
        self.send.reset().await
    }
}

impl<W, R: ObjectReceiveStream> ObjectReceiveStream for StapledObjectStream<W, R> {
    type Item = R::Item;

    async fn receive(&self) -> Result<R::Item> {
        self.receive.receive().await
    }
}

impl<W: ObjectSendStream, R> ObjectSendStream for StapledObjectStream<W, R> {
    type Item = W::Item;

    async fn send_from(&self, item: &mut Option<W::Item>) -> Result<()> {
        self.send.send_from(item).await
    }

    async fn send_eof(&self) -> Result<()> {
        self.send.send_eof().await
    }
}
