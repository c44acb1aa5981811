//! The contract of a place to connect to: [`Connectable`].

use std::rc::Rc;
use std::sync::Arc;

use soloio::{ByteStream, Result};

/// A place to connect to, for code that leaves it to its caller whether that is a TCP port, a path,
/// TLS, or what lies behind a proxy.
///
/// # Examples
///
/// ```
/// use soloio::{Buffered, Error, Result, create_tcp_listener};
/// use soloio_streams::{Connectable, TcpConnectable};
///
/// async fn greeting(server: &impl Connectable) -> Result<Vec<u8>> {
///     let stream = Buffered::new(server.connect().await?);
///     stream.receive_until(b"\n", 100).await
/// }
///
/// soloio::block_on(async {
///     let listener = create_tcp_listener().local_host("127.0.0.1").await?;
///     let server = TcpConnectable::new("127.0.0.1", listener.local_addr().port());
///     let serve = async { listener.accept().await?.send(b"hello\n").await };
///     let (greeted, served) = soloio::join((greeting(&server), serve)).await;
///     served?;
///     assert_eq!(greeted?, b"hello");
///     Ok::<_, Error>(())
/// })?;
/// # Ok::<_, Error>(())
/// ```
#[doc(alias("ByteStreamConnectable", "Connector", "Dialer"))]
#[allow(
    async_fn_in_trait,
    reason = "one thread: no caller needs the future to be Send"
)]
pub trait Connectable {
    /// The type of its streams.
    type Stream: ByteStream;

    /// Makes a connection.
    ///
    /// # Errors
    ///
    /// Those of connecting, which name the place; those of what has to be agreed on then.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes what was being connected.
    async fn connect(&self) -> Result<Self::Stream>;
}

macro_rules! pointers {
    ($($pointer:ty),*) => {$(
        impl<C: Connectable + ?Sized> Connectable for $pointer {
            type Stream = C::Stream;

            async fn connect(&self) -> Result<C::Stream> {
                (**self).connect().await
            }
        }
    )*};
}

pointers!(&C, Box<C>, Rc<C>, Arc<C>);
