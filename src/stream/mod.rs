//! The contracts of byte streams and listeners, and what needs nothing but them.
//!
//! | file | what it holds |
//! |---|---|
//! | `data.rs` | what a stream is given to send |
//! | `face.rs` | the inherent methods of our own streams, which mirror the contracts |
//! | `listener.rs` | the contract of a listener |
//! | `any.rs` | a byte stream of whatever kind |
//! | `buffered.rs` | exactly so many bytes, or up to a delimiter |
//! | `multi.rs` | several listeners, of whatever kinds, as one |
//! | `report.rs` | reports of a server: to its hook, or to standard error |
//! | `serve.rs` | the server: its options, its group, its end |
//! | `accepting.rs` | the accept loop, written once |
//! | `leaving.rs` | closes what a handler drops while bytes are on their way |
//! | `serving.rs` | what the loop and its connections share: places, counters |
//! | `memory.rs` | a connected pair of streams without a kernel |
//! | `relay/` | two streams made one, both ways |
//! | `send_file.rs` | part of a file, by the kernel where it can |
//! | `plain.rs` | what a socket that is nothing else lets the kernel do |
//! | `object/` | memory object streams: a bounded queue of values between tasks |
//!
//! The laws that every byte stream keeps stand at [`ByteStream`].

mod accepting;
mod any;
mod buffered;
mod data;
mod face;
pub(crate) mod leaving;
mod listener;
mod memory;
mod multi;
mod object;
#[cfg_attr(not(feature = "relay"), allow(dead_code, reason = "TLS needs less"))]
mod plain;
#[cfg(feature = "relay")]
mod relay;
mod report;
#[cfg(feature = "relay")]
mod send_file;
mod serve;
mod serving;

use std::io::IoSlice;
use std::rc::Rc;

pub use any::AnyByteStream;
pub use buffered::Buffered;
pub(crate) use data::{Data, Rest};
pub(crate) use face::byte_stream_face;
pub use listener::Listener;
pub(crate) use listener::{AtOnce, serve_face};
pub use memory::{MemoryStream, create_memory_byte_stream};
pub use multi::MultiListener;
pub use object::{
    ObjectReceiver, ObjectSender, ObjectStreamStatistics, TrySendError, create_memory_object_stream,
};
pub(crate) use plain::{Plain, PlainSocket, ReceiveCall, SendCall};
#[cfg(feature = "relay")]
pub use relay::{Relay, RelaySide, Relayed, relay};
pub use report::Peer;
pub use serve::Serve;
pub use serving::ServeCounters;

use crate::error::{Error, Result};

/// What a receive without a size of its own takes at most, in bytes.
pub(crate) const RECEIVE_MAX: usize = crate::runtime::context::SCRATCH;

/// The receiving half of a byte stream; its laws stand at [`ByteStream`].
#[allow(
    async_fn_in_trait,
    reason = "one thread: no caller needs the future to be Send"
)]
pub trait ByteReceiveStream {
    /// Receives into `buf` and returns its filled part, never empty.
    ///
    /// # Errors
    ///
    /// [`Error::EndOfStream`], [`Error::Broken`], [`Error::Busy`], [`Error::Closed`]; an empty
    /// buffer is `InvalidInput`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has received nothing: every byte is still there for the next receive.
    async fn receive_into<'b>(&self, buf: &'b mut [u8]) -> Result<&'b mut [u8]>;

    /// Receives 1 to `max` bytes (no more than 65,536 at a time), exactly sized.
    ///
    /// # Errors
    ///
    /// As [`receive_into`](Self::receive_into); a `max` of 0 is `InvalidInput`.
    ///
    /// # Cancel safety
    ///
    /// As [`receive_into`](Self::receive_into).
    async fn receive_max(&self, max: usize) -> Result<Vec<u8>> {
        let mut buf = vec![0; max.min(RECEIVE_MAX)];
        let got = self.receive_into(&mut buf).await?.len();
        buf.truncate(got);
        buf.shrink_to_fit();
        Ok(buf)
    }

    /// Receives 1 to 65,536 bytes, exactly sized.
    ///
    /// # Errors
    ///
    /// As [`receive_into`](Self::receive_into).
    ///
    /// # Cancel safety
    ///
    /// As [`receive_into`](Self::receive_into).
    async fn receive(&self) -> Result<Vec<u8>> {
        self.receive_max(RECEIVE_MAX).await
    }

    /// [`receive`](Self::receive), with the end as `None`.
    ///
    /// # Errors
    ///
    /// As [`receive_into`](Self::receive_into), but for the end.
    ///
    /// # Cancel safety
    ///
    /// As [`receive_into`](Self::receive_into).
    async fn next(&self) -> Result<Option<Vec<u8>>> {
        or_end(self.receive().await)
    }

    /// The socket that this is, if it is nothing else: for this crate's own streams.
    #[doc(hidden)]
    fn plain_receiver(&self) -> Option<Plain<'_>> {
        None
    }
}

/// The end of a stream as `None`.
pub(crate) fn or_end<T>(received: Result<T>) -> Result<Option<T>> {
    match received {
        Ok(value) => Ok(Some(value)),
        Err(Error::EndOfStream) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The sending half of a byte stream; its laws stand at [`ByteStream`].
#[allow(
    async_fn_in_trait,
    reason = "one thread: no caller needs the future to be Send"
)]
pub trait ByteSendStream {
    /// Sends all of `rest`, and takes off its front what was handed over: after an error, a drop
    /// or a cancel, what is left in it did not go.
    ///
    /// # Errors
    ///
    /// [`Error::Broken`], [`Error::Busy`]; [`Error::Closed`] after `send_eof`.
    ///
    /// # Cancel safety
    ///
    /// Exactly the bytes no longer in `rest` were handed over; the stream goes on.
    async fn send_from(&self, rest: &mut &[u8]) -> Result<()>;

    /// Sends all of `data`. Sending nothing still checks the state.
    ///
    /// # Errors
    ///
    /// As [`send_from`](Self::send_from).
    ///
    /// # Cancel safety
    ///
    /// Some prefix of `data` was handed over; [`send_from`](Self::send_from) tells how much.
    async fn send(&self, data: &[u8]) -> Result<()> {
        let mut rest = data;
        self.send_from(&mut rest).await
    }

    /// Sends all `parts` as if they stood in one piece, advancing them as
    /// [`IoSlice::advance_slices`] does.
    ///
    /// # Errors
    ///
    /// As [`send_from`](Self::send_from).
    ///
    /// # Cancel safety
    ///
    /// The bytes no longer in `parts` were handed over, and no others by our own streams. This
    /// provided form sends piece by piece, and takes a piece off when it is done: dropped midway,
    /// a prefix of the first piece that is left may have gone too.
    async fn send_vectored(&self, parts: &mut &mut [IoSlice<'_>]) -> Result<()> {
        while let Some(part) = parts.first() {
            let whole = part.len();
            let mut rest = &part[..];
            let sent = self.send_from(&mut rest).await;
            let done = whole - rest.len();
            IoSlice::advance_slices(parts, done);
            sent?;
        }
        Ok(())
    }

    /// Sends `length` bytes of `file` from `offset` on. Its own position neither counts nor moves.
    /// TCP and UNIX streams let the kernel do it on Linux (sendfile(2)).
    ///
    /// Reading the file waits for the disk and not for the loop: parts that are not in memory
    /// already hold up other tasks.
    ///
    /// # Errors
    ///
    /// As [`send_from`](Self::send_from). [`Error::Io`] with `UnexpectedEof` if the file ends
    /// before, or was truncated meanwhile; what reading says; `InvalidInput` for a part that no
    /// file has.
    ///
    /// # Cancel safety
    ///
    /// Some of the bytes were handed over, from the first on;
    /// [`send_file_from`](Self::send_file_from) tells how many. The stream goes on.
    #[cfg(feature = "relay")]
    #[doc(alias = "sendfile")]
    async fn send_file(&self, file: &std::fs::File, offset: u64, length: u64) -> Result<()> {
        let mut rest = send_file::part(offset, length)?;
        self.send_file_from(file, &mut rest).await
    }

    /// Sends the bytes `rest` of `file`, and moves its start past what was handed over.
    ///
    /// # Errors
    ///
    /// As [`send_file`](Self::send_file).
    ///
    /// # Cancel safety
    ///
    /// Exactly the bytes no longer in `rest` were handed over; the stream goes on.
    #[cfg(feature = "relay")]
    async fn send_file_from(
        &self,
        file: &std::fs::File,
        rest: &mut std::ops::Range<u64>,
    ) -> Result<()> {
        send_file::send_file(self, file, rest).await
    }

    /// The socket that this is, if it is nothing else: for this crate's own streams.
    #[doc(hidden)]
    fn plain_sender(&self) -> Option<Plain<'_>> {
        None
    }
}

/// A byte stream of both directions. Every kind of it keeps these laws:
///
/// 1. A receive gives at least one byte, or an error. Asking for none is an error.
/// 2. The end is [`Error::EndOfStream`], a reset [`Error::Broken`]; both for good, and neither is
///    ever taken for the other. What came before is delivered first.
/// 3. `send` returns when all was handed over. `send_from` tells what was not, whatever happens.
/// 4. `send_eof` ends our direction and may be called again; receiving goes on.
/// 5. `close` says goodbye and frees what the stream holds, also when it is dropped midway.
/// 6. One receiver and one sender at a time; a second one gets [`Error::Busy`] before anything
///    else happens.
/// 7. A receive that is dropped has lost nothing, and nothing is read without a receiver.
#[allow(
    async_fn_in_trait,
    reason = "one thread: no caller needs the future to be Send"
)]
pub trait ByteStream: ByteReceiveStream + ByteSendStream {
    /// Ends our direction; the peer sees the end once it has received everything. May be called
    /// again.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] after an abort; [`Error::Io`].
    ///
    /// # Cancel safety
    ///
    /// Sockets and memory streams never suspend here.
    #[doc(alias = "shutdown")]
    async fn send_eof(&self) -> Result<()>;

    /// Says goodbye and frees what the stream holds. Bytes that `send` accepted arrive, or an error
    /// says that they did not: sockets wait for that, see [`CloseLimits`](crate::CloseLimits).
    ///
    /// Through a reference or an [`Rc`] that has other owners this says goodbye only: the stream
    /// is freed with its last owner.
    ///
    /// # Errors
    ///
    /// What the goodbye ran into; it is freed all the same.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future frees the stream; the goodbye may be cut short.
    #[doc(alias = "aclose")]
    async fn close(self) -> Result<()>
    where
        Self: Sized;

    /// Ends the stream at once although others still hold it: the peer sees a reset or an end,
    /// operations that are under way get [`Error::Closed`].
    fn abort(&self);

    /// Breaks the stream off although others still hold it: the peer receives what was sent, and
    /// then [`Error::Broken`] instead of an end. This is how [`relay`](crate::relay) passes on that
    /// a stream is broken.
    ///
    /// TCP streams are reset once the peer has acknowledged everything, within their
    /// [`CloseLimits`](crate::CloseLimits); until then they discard what comes. UNIX streams have
    /// no reset: their peer sees an end. TLS ends without its `close_notify`.
    ///
    /// The provided form is [`abort`](Self::abort). A stream of yours that wraps one of ours passes
    /// the call on.
    ///
    /// # Errors
    ///
    /// [`Error::Broken`] if something that was sent has not arrived. The stream is broken off all
    /// the same.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future breaks the stream off at once.
    async fn reset(&self) -> Result<()> {
        self.abort();
        Ok(())
    }
}

/// What leads to a stream receives and sends as that does.
macro_rules! by_way_of {
    ($($pointer:ty),*) => {$(
        impl<S: ByteReceiveStream + ?Sized> ByteReceiveStream for $pointer {
            async fn receive_into<'b>(&self, buf: &'b mut [u8]) -> Result<&'b mut [u8]> {
                (**self).receive_into(buf).await
            }

            async fn receive_max(&self, max: usize) -> Result<Vec<u8>> {
                (**self).receive_max(max).await
            }

            fn plain_receiver(&self) -> Option<Plain<'_>> {
                (**self).plain_receiver()
            }
        }

        impl<S: ByteSendStream + ?Sized> ByteSendStream for $pointer {
            async fn send_from(&self, rest: &mut &[u8]) -> Result<()> {
                (**self).send_from(rest).await
            }

            async fn send_vectored(&self, parts: &mut &mut [IoSlice<'_>]) -> Result<()> {
                (**self).send_vectored(parts).await
            }

            fn plain_sender(&self) -> Option<Plain<'_>> {
                (**self).plain_sender()
            }
        }
    )*};
}

by_way_of!(&S, Rc<S>);

impl<S: ByteStream + ?Sized> ByteStream for &S {
    async fn send_eof(&self) -> Result<()> {
        (**self).send_eof().await
    }

    async fn close(self) -> Result<()> {
        (*self).send_eof().await
    }

    fn abort(&self) {
        (**self).abort();
    }

    async fn reset(&self) -> Result<()> {
        (**self).reset().await
    }
}

impl<S: ByteStream> ByteStream for Rc<S> {
    async fn send_eof(&self) -> Result<()> {
        (**self).send_eof().await
    }

    async fn close(self) -> Result<()> {
        match Self::try_unwrap(self) {
            Ok(stream) => stream.close().await,
            Err(shared) => (*shared).send_eof().await,
        }
    }

    fn abort(&self) {
        (**self).abort();
    }

    async fn reset(&self) -> Result<()> {
        (**self).reset().await
    }
}
