//! Connections of a server: [`Http`].

use std::error::Error as StdError;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::{http1 as h1, http2 as h2};
use hyper::service::Service;
use hyper::{Request, Response};
use soloio::{ByteStream, Error, Result, fail_after, sleep, stopping, task_group, yield_now};

use crate::body::RequestBody;
use crate::executor::GroupExecutor;
use crate::io::HyperIo;
use crate::timer::SoloTimer;

type Boxed = Box<dyn StdError + Send + Sync>;

/// What an HTTP/2 connection begins with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How much is received before hyper has its own buffer.
const FIRST: usize = 8192;

/// How long a connection that has sent nothing yet is waited for when the server stops.
const GRACE: Duration = Duration::from_millis(50);

/// How often an HTTP/2 client is asked whether it is still there.
const PING_EVERY: Duration = Duration::from_secs(30);

/// hyper's builder of HTTP/1 connections, with the timer that its limit for headers needs: 30 s,
/// also between two requests. Without a timer hyper has no limit, and does not say so.
#[must_use]
pub fn http1() -> h1::Builder {
    let mut builder = h1::Builder::new();
    builder.timer(SoloTimer);
    builder
}

/// hyper's builder of HTTP/2 connections, with the timer that its limits need, and pings every
/// 30 s, so that a client that is gone is noticed.
#[must_use]
pub fn http2<E: Clone>(executor: E) -> h2::Builder<E> {
    let mut builder = h2::Builder::new(executor);
    builder.timer(SoloTimer).keep_alive_interval(PING_EVERY);
    builder
}

/// Serves connections by HTTP/1 and HTTP/2, as a handler of [`soloio::Serve`].
///
/// * The version is told by the first bytes, over any byte stream: so HTTP/2 works by ALPN in TLS
///   (give `soloio::tls::server_config()` its `.alpn(["h2", "http/1.1"])`), and by prior knowledge
///   without.
/// * A client has [`header_timeout`](Self::header_timeout) for the head of a request, and so long
///   may a connection be idle; and [`stall_timeout`](Self::stall_timeout) for each wait for more of
///   a request's body, or for more room for the answer.
/// * When the server is told to stop ([`soloio::Serve::shutdown`]), idle connections end at once,
///   and the others after the answers to the requests that they have.
/// * The tasks of HTTP/2 are in a group of the connection: services may borrow, and need not be
///   `Send`.
/// * Upgrades (WebSocket) work as hyper's do: `hyper::upgrade::on(request)`.
///
/// How many connections there may be is an option of `Serve`, as is where errors are told.
#[derive(Debug, Clone)]
pub struct Http {
    header_timeout: Duration,
    stall_timeout: Duration,
}

impl Default for Http {
    fn default() -> Self {
        Self::new()
    }
}

impl Http {
    /// Both versions, with 30 s for each of the limits.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            header_timeout: Duration::from_secs(30),
            stall_timeout: Duration::from_secs(30),
        }
    }

    /// How long the head of an HTTP/1 request may take to come, counted from the end of the answer
    /// before: so long may such a connection be idle, too. It ends without a word then. The first
    /// bytes of an HTTP/2 connection have the same limit; after that it is asked by pings.
    #[must_use]
    pub const fn header_timeout(mut self, limit: Duration) -> Self {
        self.header_timeout = limit;
        self
    }

    /// How long a wait for more of a request's body, or for room for more of an answer, may be. The
    /// first is an error of the body, [`Error::TimedOut`]; the second ends the connection. How
    /// long a service takes to answer has no limit here.
    #[must_use]
    pub const fn stall_timeout(mut self, limit: Duration) -> Self {
        self.stall_timeout = limit;
        self
    }

    /// Serves one connection to its end.
    ///
    /// # Errors
    ///
    /// What the peer did wrong, or the connection met; an answer was sent where HTTP has one.
    /// [`Error::Cancelled`]. It is no error that a client stays silent for too long.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the connection and the requests that run.
    pub async fn serve_connection<T, S, B>(&self, stream: T, service: S) -> Result<()>
    where
        T: ByteStream + Send + 'static,
        S: Service<Request<RequestBody>, Response = Response<B>, Error: Into<Boxed>>,
        B: Body<Error: Into<Boxed>> + 'static,
    {
        let Some(ahead) = self.first_bytes(&stream).await? else {
            return Ok(());
        };
        let is_http2 = ahead.starts_with(PREFACE);
        let io = HyperIo::with(stream, ahead, self.stall_timeout);
        let limit = self.stall_timeout;
        let service = Limited { service, limit };
        let ended = match is_http2 {
            true => serve_http2(io, service).await?,
            false => {
                let mut builder = http1();
                builder.header_read_timeout(self.header_timeout);
                let connection = builder.serve_connection(io, service).with_upgrades();
                until_stopped(connection, |connection| connection.graceful_shutdown()).await
            }
        };
        match ended {
            Err(error) if !error.is_timeout() => {
                // hyper does not always show what its error was: a cancel is told here once more.
                yield_now().await?;
                Err(Error::other(error))
            }
            _ => Ok(()),
        }
    }

    /// Receives until it is clear which version the client speaks; `None` if it does not come
    /// to that.
    async fn first_bytes(&self, stream: &impl ByteStream) -> Result<Option<Vec<u8>>> {
        let mut look = pin!(fail_after(self.header_timeout, look_ahead(stream)));
        let mut stop = pin!(async {
            stopping().await?;
            sleep(GRACE).await
        });
        let looked = poll_fn(|cx| match look.as_mut().poll(cx) {
            Poll::Ready(looked) => Poll::Ready(looked),
            Poll::Pending => stop.as_mut().poll(cx).map(|_| Ok(None)),
        });
        match looked.await {
            Err(Error::TimedOut) => Ok(None),
            looked => looked,
        }
    }
}

async fn look_ahead(stream: &impl ByteStream) -> Result<Option<Vec<u8>>> {
    let mut ahead = Vec::new();
    loop {
        match stream.receive_max(FIRST).await {
            Ok(more) if ahead.is_empty() => ahead = more,
            Ok(more) => ahead.extend(more),
            Err(Error::EndOfStream) if ahead.is_empty() => return Ok(None),
            // hyper meets the end again, and knows what to say.
            Err(Error::EndOfStream) => return Ok(Some(ahead)),
            Err(error) => return Err(error),
        }
        let compared = ahead.len().min(PREFACE.len());
        if compared == PREFACE.len() || ahead[..compared] != PREFACE[..compared] {
            return Ok(Some(ahead));
        }
    }
}

async fn serve_http2<T, S, B>(io: HyperIo<T>, service: S) -> Result<hyper::Result<()>>
where
    T: ByteStream,
    S: Service<Request<Incoming>, Response = Response<B>, Error: Into<Boxed>>,
    B: Body<Error: Into<Boxed>> + 'static,
{
    task_group(async |group| {
        let connection = http2(GroupExecutor::new(group)).serve_connection(io, service);
        Ok(until_stopped(connection, |connection| connection.graceful_shutdown()).await)
    })
    .await
}

/// Drives a connection, and has it end when its server stops.
async fn until_stopped<C>(connection: C, end: impl Fn(Pin<&mut C>)) -> hyper::Result<()>
where
    C: Future<Output = hyper::Result<()>>,
{
    let (mut connection, mut stop) = (pin!(connection), pin!(stopping()));
    let mut told = false;
    poll_fn(|cx| {
        // First: what has come already is answered.
        if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
            return Poll::Ready(ended);
        }
        if !told && stop.as_mut().poll(cx).is_ready() {
            told = true;
            end(connection.as_mut());
            return connection.as_mut().poll(cx);
        }
        Poll::Pending
    })
    .await
}

/// A service whose requests have a limit on their bodies.
struct Limited<S> {
    service: S,
    limit: Duration,
}

impl<S: Service<Request<RequestBody>>> Service<Request<Incoming>> for Limited<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn call(&self, request: Request<Incoming>) -> S::Future {
        let limit = self.limit;
        self.service
            .call(request.map(|body| RequestBody::new(body, limit)))
    }
}
