//! A byte stream of any kind: [`AnyByteStream`].

use std::future::Future;
use std::io::IoSlice;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::pointers::{receives_by, sends_by};
use super::{ByteReceiveStream, ByteSendStream, ByteStream, byte_stream_face};
use crate::error::Result;
use crate::runtime::place::Place;
use crate::shown::shown;
use crate::sys::room::Room;

/// A byte stream of a kind that is known only at run time: it would be a `Box<dyn ByteStream>`, if
/// the contract's async functions allowed that.
///
/// Receiving and sending cost the same as on the stream itself, plus the calls of a `dyn`. `'a` is
/// the lifetime of the values that the stream borrows: `'static` if it owns everything.
///
/// # Examples
///
/// ```
/// use soloio::{AnyByteStream, Host, connect_tcp, connect_unix};
///
/// type AnyError = Box<dyn std::error::Error + Send + Sync>;
///
/// /// Connects to a path or to a host and port.
/// async fn connect(to: &str) -> Result<AnyByteStream<'static>, AnyError> {
///     if to.contains('/') {
///         return Ok(AnyByteStream::new(connect_unix(to).await?));
///     }
///     let (host, port) = Host::with_port(to)?;
///     Ok(AnyByteStream::new(connect_tcp(host, port).await?))
/// }
/// # let listener = soloio::block_on(soloio::create_tcp_listener().local_host("127.0.0.1"))?;
/// # let address = listener.local_addr().to_string();
/// # soloio::block_on(async { Ok::<_, AnyError>(connect(&address).await?.send(b"x").await?) })?;
/// # Ok::<_, AnyError>(())
/// ```
pub struct AnyByteStream<'a>(Box<dyn AnyKind + 'a>);

impl<'a> AnyByteStream<'a> {
    /// Erases the type of the stream.
    pub fn new(stream: impl ByteStream + 'a) -> Self {
        Self(Box::new(stream))
    }
}

byte_stream_face!(AnyByteStream<'a>, ['a], ['a], ['a]);

shown!([] AnyByteStream<'_>, "AnyByteStream", _ => ..);

receives_by!(['a] AnyByteStream<'a>, this => this.0);
sends_by!(['a] AnyByteStream<'a>, this => this.0);

impl ByteStream for AnyByteStream<'_> {
    fn poll_send_eof(&self, place: &mut Place, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.0.poll_send_eof(place, cx)
    }

    async fn close(self) -> Result<()> {
        self.0.close_boxed().await
    }

    fn abort(&self) {
        self.0.abort();
    }

    async fn reset(&self) -> Result<()> {
        self.0.reset_boxed().await
    }
}

/// A future in a box.
pub(super) type Boxed<'f, T> = Pin<Box<dyn Future<Output = Result<T>> + 'f>>;

/// A byte stream behind a `dyn`: the async functions of its contract are boxed.
trait AnyKind: ByteStream {
    fn close_boxed<'f>(self: Box<Self>) -> Boxed<'f, ()>
    where
        Self: 'f;
    fn reset_boxed(&self) -> Boxed<'_, ()>;
}

impl<S: ByteStream> AnyKind for S {
    fn close_boxed<'f>(self: Box<Self>) -> Boxed<'f, ()>
    where
        Self: 'f,
    {
        Box::pin(self.close())
    }

    fn reset_boxed(&self) -> Boxed<'_, ()> {
        Box::pin(self.reset())
    }
}
