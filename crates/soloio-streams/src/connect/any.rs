//! A connectable of any kind: [`AnyConnectable`], [`as_connectable`].

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use soloio::{AnyByteStream, Host, Result};

use super::{Connectable, TcpConnectable, UnixConnectable};

type Connecting<'a> = Pin<Box<dyn Future<Output = Result<AnyByteStream<'static>>> + 'a>>;

/// A [`Connectable`] of any kind, with streams of any kind: the types are erased.
#[derive(Clone)]
pub struct AnyConnectable(Rc<dyn Kind>);

trait Kind {
    fn connect_any(&self) -> Connecting<'_>;
}

impl<C: Connectable<Stream: 'static>> Kind for C {
    fn connect_any(&self) -> Connecting<'_> {
        Box::pin(async { Ok(AnyByteStream::new(self.connect().await?)) })
    }
}

impl AnyConnectable {
    /// Erases the type.
    #[must_use]
    pub fn new(connectable: impl Connectable<Stream: 'static> + 'static) -> Self {
        Self(Rc::new(connectable))
    }
}

impl Connectable for AnyConnectable {
    type Stream = AnyByteStream<'static>;

    async fn connect(&self) -> Result<AnyByteStream<'static>> {
        self.0.connect_any().await
    }
}

impl fmt::Debug for AnyConnectable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnyConnectable").finish_non_exhaustive()
    }
}

/// Makes a connectable of text as it stands in a configuration: `host:port` with a name or an
/// address (an IPv6 address in brackets), or a path that begins with `/` or `.`, also behind
/// `unix:`.
///
/// # Errors
///
/// [`Error::Resolve`](soloio::Error::Resolve) if it is none of these; the text says what is wrong.
/// A URL is none.
///
/// # Examples
///
/// ```
/// use soloio::{Error, create_unix_listener};
/// use soloio_streams::{Connectable, as_connectable};
///
/// assert!(as_connectable("[::1]:80").is_ok());
/// assert!(as_connectable("http://localhost/").is_err());
/// assert!(as_connectable("localhost").is_err());
///
/// # let path = std::env::temp_dir().join(format!("soloio-connectable-{}", std::process::id()));
/// # let path = path.to_str().expect("UTF-8");
/// soloio::block_on(async {
///     let listener = create_unix_listener(path).unlink_on_close(true).await?;
///     let client = as_connectable(path)?.connect().await?;
///     client.send(b"hello").await?;
///     assert_eq!(listener.accept().await?.receive().await?, b"hello");
///     Ok::<_, Error>(())
/// })?;
/// # Ok::<_, Error>(())
/// ```
pub fn as_connectable(text: &str) -> Result<AnyConnectable> {
    let path = text.strip_prefix("unix:");
    let path = path.or_else(|| Some(text).filter(|text| text.starts_with(['/', '.', '\0'])));
    if let Some(path) = path {
        return Ok(AnyConnectable::new(UnixConnectable::new(path)));
    }
    let (host, port) = Host::with_port(text)?;
    Ok(AnyConnectable::new(TcpConnectable::new(host, port)))
}
