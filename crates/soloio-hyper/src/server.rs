//! Connections of a server: [`Http`].

use std::error::Error as StdError;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http_body::Body;
use hyper::server::conn::{http1 as h1, http2 as h2};
use hyper::service::Service;
use hyper::{Request, Response};
use soloio::{ByteStream, Error, Result, fail_after, sleep, stopping, task_group, yield_now};

use crate::answers::{Answers, Counted};
use crate::body::RequestBody;
use crate::driving::{Driven, Idle, drive};
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

/// How long an HTTP/2 client that was told to end may be silent.
const GOODBYE: Duration = Duration::from_secs(5);

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
///   may a connection be idle, of either version; and [`stall_timeout`](Self::stall_timeout) for
///   each wait for more of a request's body, or for more room for the answer.
/// * When the server is told to stop ([`soloio::Serve::shutdown`]), idle connections end at once,
///   and the others after the answers to the requests that they have. A client of HTTP/2 has to say
///   that it knows, within [`goodbye_timeout`](Self::goodbye_timeout).
/// * The tasks of HTTP/2 are in a group of the connection: services may borrow, and need not be
///   `Send`.
/// * An HTTP/1 connection that is idle for [`buffer_timeout`](Self::buffer_timeout) gives up
///   hyper's buffers, and has little more than its stream until the next request.
/// * Upgrades (WebSocket) work as hyper's do: `hyper::upgrade::on(request)`.
///
/// How many connections there may be is an option of `Serve`, as is where errors are told.
#[derive(Debug, Clone)]
pub struct Http {
    header_timeout: Duration,
    stall_timeout: Duration,
    buffer_timeout: Duration,
    goodbye_timeout: Duration,
}

impl Default for Http {
    fn default() -> Self {
        Self::new()
    }
}

impl Http {
    /// Both versions, with 30 s for each of the limits, 5 s for a goodbye, and buffers for a
    /// second.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            header_timeout: Duration::from_secs(30),
            stall_timeout: Duration::from_secs(30),
            buffer_timeout: Duration::from_secs(1),
            goodbye_timeout: GOODBYE,
        }
    }

    /// How long the head of an HTTP/1 request may take to come, counted from the end of the answer
    /// before: so long may such a connection be idle, too. It ends without a word then. The first
    /// bytes of an HTTP/2 connection have the same limit. After that it is asked by pings, and is
    /// told to end (`GOAWAY`) if it has no request for so long.
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

    /// How long an HTTP/1 connection may be idle until it gives up hyper's buffers, 16 KiB and some
    /// more. The next request makes them anew, which costs about as much as an accept.
    #[must_use]
    pub const fn buffer_timeout(mut self, limit: Duration) -> Self {
        self.buffer_timeout = limit;
        self
    }

    /// How long an HTTP/2 client may be silent that was told to end (`GOAWAY`, with a ping),
    /// because the server stops or the connection was idle: 5 s by default. One that says nothing
    /// at all in this time is gone, and its connection ends once its requests have their answers.
    /// One that answers the ping ends by itself, after its last request and its tunnels.
    #[must_use]
    pub const fn goodbye_timeout(mut self, limit: Duration) -> Self {
        self.goodbye_timeout = limit;
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
        let answers = Arc::<Answers>::default();
        let service = Counted::new(service, self.stall_timeout, &answers);
        let looked = look_ahead(&stream, PREFACE);
        let Some(ahead) = self.first_bytes(looked, self.header_timeout, GRACE).await? else {
            return Ok(());
        };
        let ended = match ahead.starts_with(PREFACE) {
            true => self.serve_http2(stream, ahead, service, &answers).await?,
            false => self.serve_http1(stream, ahead, service, &answers).await?,
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

    /// Serves by HTTP/1. hyper has two buffers of 8 KiB or more for a connection: one that is idle
    /// is taken apart, and waits with its stream alone.
    async fn serve_http1<T, S, B>(
        &self,
        mut stream: T,
        mut ahead: Vec<u8>,
        mut service: Counted<S>,
        answers: &Arc<Answers>,
    ) -> Result<hyper::Result<()>>
    where
        T: ByteStream + Send + 'static,
        S: Service<Request<RequestBody>, Response = Response<B>, Error: Into<Boxed>>,
        B: Body<Error: Into<Boxed>> + 'static,
    {
        let mut idle = Idle::new(answers, self.buffer_timeout, self.header_timeout);
        loop {
            let io = HyperIo::with(stream, ahead, self.stall_timeout).telling(answers);
            // Its own limit would cost a timer for each request.
            let mut builder = h1::Builder::new();
            let connection = builder
                .header_read_timeout(None)
                .serve_connection(io, service);
            let mut connection = Box::new(connection.with_upgrades());
            let end = |connection: Pin<&mut h1::UpgradeableConnection<_, _>>, _: &mut Idle| {
                connection.graceful_shutdown();
            };
            match drive(Pin::new(&mut *connection), &mut idle, end).await? {
                Driven::Ended(ended) => return Ok(ended),
                Driven::Idle if idle.left().is_zero() => return Ok(Ok(())),
                Driven::Idle => {}
            }
            let Some(parts) = connection.into_parts() else {
                return Ok(Ok(()));
            };
            let rest;
            (stream, rest) = parts.io.into_inner();
            ahead = [&parts.read_buf[..], &rest].concat();
            service = parts.service;
            drop(parts.read_buf);
            if ahead.is_empty() {
                let looked = look_ahead(&stream, b"");
                match self
                    .first_bytes(looked, idle.left(), Duration::ZERO)
                    .await?
                {
                    Some(more) => ahead = more,
                    None => return self.end(&stream).await,
                }
            }
        }
    }

    async fn serve_http2<T, S, B>(
        &self,
        stream: T,
        ahead: Vec<u8>,
        service: Counted<S>,
        answers: &Arc<Answers>,
    ) -> Result<hyper::Result<()>>
    where
        T: ByteStream,
        S: Service<Request<RequestBody>, Response = Response<B>, Error: Into<Boxed>>,
        B: Body<Error: Into<Boxed>> + 'static,
    {
        let io = HyperIo::with(stream, ahead, self.stall_timeout).telling_all(answers);
        let mut idle = Idle::new(answers, Duration::MAX, self.header_timeout);
        task_group(async |group| {
            let connection = http2(GroupExecutor::new(group)).serve_connection(io, service);
            let mut connection = pin!(connection);
            let end = |connection: Pin<&mut h2::Connection<_, _, _>>, idle: &mut Idle| {
                connection.graceful_shutdown();
                idle.end_within(self.goodbye_timeout);
            };
            loop {
                match drive(connection.as_mut(), &mut idle, end).await? {
                    Driven::Ended(ended) => return Ok(ended),
                    Driven::Idle if idle.is_last() => return Ok(Ok(())),
                    // The tunnels of a client that answers may go on; pings end the others.
                    Driven::Idle => end(connection.as_mut(), &mut idle),
                }
            }
        })
        .await
    }

    /// Ends an idle connection. It is no error if that takes too long.
    async fn end(&self, stream: &impl ByteStream) -> Result<hyper::Result<()>> {
        match fail_after(self.stall_timeout, stream.send_eof()).await {
            Err(Error::TimedOut(_)) | Ok(()) => Ok(Ok(())),
            Err(error) => Err(error),
        }
    }

    /// Receives what a connection says first, within `limit`; `None` if that passes, at the end,
    /// or if the server stops and that takes longer than `grace`.
    async fn first_bytes(
        &self,
        looked: impl Future<Output = Result<Option<Vec<u8>>>>,
        limit: Duration,
        grace: Duration,
    ) -> Result<Option<Vec<u8>>> {
        let mut looked = pin!(fail_after(limit, looked));
        let mut stop = pin!(async {
            stopping().await?;
            sleep(grace).await
        });
        let first = poll_fn(|cx| match looked.as_mut().poll(cx) {
            Poll::Ready(looked) => Poll::Ready(looked),
            Poll::Pending => stop.as_mut().poll(cx).map(|_| Ok(None)),
        });
        match first.await {
            Err(Error::TimedOut(_)) => Ok(None),
            first => first,
        }
    }
}

/// Receives until it is clear whether the bytes begin with `preface`; `None` at the end.
async fn look_ahead(stream: &impl ByteStream, preface: &[u8]) -> Result<Option<Vec<u8>>> {
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
        let compared = ahead.len().min(preface.len());
        if compared == preface.len() || ahead[..compared] != preface[..compared] {
            return Ok(Some(ahead));
        }
    }
}
