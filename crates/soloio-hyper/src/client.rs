//! A pooled client over hyper-util: [`client_builder`], [`Connector`].

use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::Builder;
use hyper_util::client::legacy::connect::{Connected, Connection};
use soloio::{Error, Result, TcpStream, ThreadEvent, connect_tcp, fail_after};
use tower_service::Service;

use crate::executor::Spawner;
use crate::io::HyperIo;
use crate::timer::SoloTimer;

/// How long a connection of the pool may be idle: less than servers wait.
const IDLE: Duration = Duration::from_secs(20);

/// How many idle connections to one host are kept.
const IDLE_PER_HOST: usize = 32;

/// hyper-util's builder of a pooled client, with timers, and limits for what is kept idle: 20 s, 32
/// connections a host. HTTP/2 is used where TLS agrees on it.
///
/// A request has no limit by itself: put [`soloio::fail_after`] around it.
///
/// ```no_run
/// use http_body_util::{BodyExt, Empty};
/// use hyper::body::Bytes;
/// use soloio::task_group_with;
/// use soloio_hyper::{Connector, Spawner, client_builder};
///
/// type AnyError = Box<dyn std::error::Error + Send + Sync>;
///
/// soloio::block_on(task_group_with(async |group| {
///     let spawner = Spawner::new();
///     let run = spawner.clone().run();
///     let running = group.spawn(async move { Ok(run.await?) });
///     let connector = Connector::new(&spawner);
///     let client = client_builder(&spawner).build::<_, Empty<Bytes>>(connector);
///     let uri = "http://localhost:8080/".parse()?;
///     let answer = client.get(uri).await?;
///     let body = answer.into_body().collect().await?;
///     println!("{} bytes", body.to_bytes().len());
///     running.cancel();
///     Ok::<_, AnyError>(())
/// }))?;
/// # Ok::<_, AnyError>(())
/// ```
#[must_use]
pub fn client_builder(spawner: &Spawner) -> Builder {
    let mut builder = Builder::new(spawner.clone());
    builder
        .timer(SoloTimer)
        .pool_timer(SoloTimer)
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(IDLE_PER_HOST);
    builder
}

/// Connects for hyper-util's client: `http`, and `https` with the feature `tls`. If
/// [`Spawner::run`] does not run, connects end with an error after the limit of
/// [`connect_timeout`](Self::connect_timeout).
#[derive(Clone)]
pub struct Connector {
    spawner: Spawner,
    timeout: Duration,
    #[cfg(feature = "tls")]
    tls: tls::Config,
}

impl Connector {
    /// Connects where `spawner` runs, within 10 s, with the roots that the system trusts.
    #[must_use]
    pub fn new(spawner: &Spawner) -> Self {
        Self {
            spawner: spawner.clone(),
            timeout: Duration::from_secs(10),
            #[cfg(feature = "tls")]
            tls: tls::Config::default(),
        }
    }

    /// How long a connect may take, with the lookup of the host and the handshake of TLS.
    #[must_use]
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.timeout = limit;
        self
    }

    /// The configuration for `https`, with the protocols that it offers by ALPN.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls_config(mut self, config: Arc<soloio::tls::rustls::ClientConfig>) -> Self {
        self.tls = tls::Config::given(config);
        self
    }

    async fn connect(self, uri: Uri) -> Result<ClientIo> {
        let host = uri.host().unwrap_or_default();
        let host = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let is_https = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        let connect = async {
            if !is_https {
                let stream = connect_tcp(host, port).await?;
                return Ok(ClientIo(Stream::Tcp(HyperIo::new(stream))));
            }
            #[cfg(feature = "tls")]
            return self.tls.connect(host, port).await;
            #[cfg(not(feature = "tls"))]
            return Err(Error::other(
                "https needs the feature `tls` of soloio-hyper",
            ));
        };
        fail_after(self.timeout, connect).await
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector")
            .field("connect_timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl Service<Uri> for Connector {
    type Response = ClientIo;
    type Error = Box<dyn StdError + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = std::result::Result<ClientIo, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::result::Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        // Where the spawner runs: there the connection lives.
        let (answer, connector) = (Answer::default(), self.clone());
        let (answering, timeout) = (Answering(answer.clone()), self.timeout);
        let spawner = self.spawner.clone();
        self.spawner.make(|| async move {
            let connected = connector.connect(uri).await;
            answering.tell(connected);
        });
        Box::pin(async move {
            match fail_after(timeout, answer.wait()).await {
                Err(Error::TimedOut(_)) if !spawner.has_begun() => {
                    Err("no connection is made: `Spawner::run` does not run".into())
                }
                connected => Ok(connected?),
            }
        })
    }
}

/// What a connect ended with, for what waits for it.
#[derive(Clone, Default)]
struct Answer(Arc<(Mutex<Option<Result<ClientIo>>>, ThreadEvent)>);

impl Answer {
    async fn wait(&self) -> Result<ClientIo> {
        let (answer, told) = &*self.0;
        told.wait().await?;
        let answer = answer.lock().unwrap_or_else(PoisonError::into_inner).take();
        answer.unwrap_or(Err(Error::Closed))
    }
}

/// Tells that there will be no answer if it is dropped without one.
struct Answering(Answer);

impl Answering {
    fn tell(self, connected: Result<ClientIo>) {
        let mut answer = self.0.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        *answer = Some(connected);
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.0.1.set();
    }
}

/// A connection of the client.
#[derive(Debug)]
pub struct ClientIo(Stream);

#[derive(Debug)]
enum Stream {
    Tcp(HyperIo<TcpStream>),
    #[cfg(feature = "tls")]
    Tls(Box<HyperIo<soloio::tls::TlsStream<TcpStream>>>),
}

/// Calls a method of whichever it is.
macro_rules! each {
    ($this:expr, $io:ident => $call:expr) => {
        match &mut $this.get_mut().0 {
            Stream::Tcp($io) => {
                let $io = Pin::new($io);
                $call
            }
            #[cfg(feature = "tls")]
            Stream::Tls($io) => {
                let $io = Pin::new(&mut **$io);
                $call
            }
        }
    };
}

impl Read for ClientIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        each!(self, io => io.poll_read(cx, buf))
    }
}

impl Write for ClientIo {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        each!(self, io => io.poll_write(cx, buf))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self, io => io.poll_write_vectored(cx, bufs))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, io => io.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, io => io.poll_shutdown(cx))
    }
}

impl Connection for ClientIo {
    fn connected(&self) -> Connected {
        match &self.0 {
            Stream::Tcp(_) => Connected::new(),
            #[cfg(feature = "tls")]
            Stream::Tls(io) => match io.get_ref().alpn_protocol().as_deref() {
                Some(b"h2") => Connected::new().negotiated_h2(),
                _ => Connected::new(),
            },
        }
    }
}

#[cfg(feature = "tls")]
mod tls {
    use std::sync::{Arc, OnceLock};

    use soloio::tls::{client_config, rustls::ClientConfig};
    use soloio::{Result, connect_tcp};

    use super::{ClientIo, HyperIo, Stream};

    /// A configuration, made at the first need if none was given.
    #[derive(Clone, Default)]
    pub(super) struct Config(Arc<OnceLock<Arc<ClientConfig>>>);

    impl Config {
        pub(super) fn given(config: Arc<ClientConfig>) -> Self {
            Self(Arc::new(OnceLock::from(config)))
        }

        fn get(&self) -> Result<Arc<ClientConfig>> {
            if let Some(config) = self.0.get() {
                return Ok(Arc::clone(config));
            }
            let config = client_config().alpn(["h2", "http/1.1"]).build()?;
            Ok(Arc::clone(self.0.get_or_init(|| config)))
        }

        pub(super) async fn connect(&self, host: String, port: u16) -> Result<ClientIo> {
            let connect = connect_tcp(host, port).tls_config(self.get()?);
            let io = HyperIo::new(connect.await?);
            Ok(ClientIo(Stream::Tls(Box::new(io))))
        }
    }
}
