//! A reverse proxy: `reverse_proxy LISTEN UPSTREAM`, both an address and a port.
//!
//! HTTP/1 and HTTP/2 in front; behind it a pool of connections that are kept. A body of a request
//! may have 10 MiB, and the head of an answer may take 30 s. Each request is a line on standard
//! output; what went wrong with one is a line on standard error. ctrl-c and SIGTERM end it:
//! requests that run have 10 s.

use std::error::Error as _;
use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use http_body_util::{Either, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::uri::{Authority, PathAndQuery, Scheme};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, Uri, Version};
use hyper_util::client::legacy::Client;
use soloio::{
    Error, Failure, Signal, block_on, create_tcp_listener, fail_after, open_signal_receiver,
    task_group,
};
use soloio_hyper::{Connector, Http, RequestBody, Spawner, client_builder};

type AnyError = Box<dyn std::error::Error + Send + Sync>;
type Result<T, E = AnyError> = std::result::Result<T, E>;

const LARGEST_BODY: usize = 10 << 20;
const ANSWER: Duration = Duration::from_secs(30);

/// Headers of one connection, which are not passed on.
const HOP: [HeaderName; 6] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

type Body = Either<Incoming, String>;

struct Proxy {
    upstream: Authority,
    client: Client<Connector, Limited<RequestBody>>,
}

impl Proxy {
    async fn answer(&self, peer: IpAddr, asked: Request<RequestBody>) -> Result<Response<Body>> {
        let started = Instant::now();
        let line = format!("{} {}", asked.method(), asked.uri());
        let answer = match asked.body().size_hint().lower() > LARGEST_BODY as u64 {
            true => refusal(
                StatusCode::PAYLOAD_TOO_LARGE,
                &line,
                &"the body is too large",
            ),
            false => match fail_after(ANSWER, self.ask(peer, asked)).await {
                Ok(answer) => answer.map(Either::Left),
                Err(error) if error.is_cancelled() => return Err(error),
                Err(error) => {
                    let error = Error::from(error);
                    refusal(status(&error), &line, &error)
                }
            },
        };
        let (status, took) = (answer.status().as_u16(), started.elapsed().as_millis());
        println!("{peer} {line} {status} {took} ms");
        Ok(answer)
    }

    async fn ask(&self, peer: IpAddr, asked: Request<RequestBody>) -> Result<Response<Incoming>> {
        let mut asked = asked.map(|body| Limited::new(body, LARGEST_BODY));
        let host = asked.uri().authority().map(ToString::to_string);
        *asked.uri_mut() = self.upstream_uri(asked.uri().path_and_query())?;
        *asked.version_mut() = Version::HTTP_11;
        let headers = asked.headers_mut();
        without_hops(headers);
        // HTTP/2 has it in its URI.
        if let Some(host) = host {
            headers.insert(header::HOST, host.parse()?);
        }
        let forwarded: HeaderValue = peer.to_string().parse()?;
        headers.append("x-forwarded-for", forwarded);
        let mut answer = self.client.request(asked).await?;
        without_hops(answer.headers_mut());
        Ok(answer)
    }

    fn upstream_uri(&self, path: Option<&PathAndQuery>) -> Result<Uri> {
        let path = path.cloned().unwrap_or(PathAndQuery::from_static("/"));
        let uri = Uri::builder().scheme(Scheme::HTTP);
        let uri = uri.authority(self.upstream.clone()).path_and_query(path);
        Ok(uri.build()?)
    }
}

fn without_hops(headers: &mut HeaderMap) {
    let named = headers.get_all(header::CONNECTION).into_iter();
    let named = named.filter_map(|value| value.to_str().ok());
    let named = named.flat_map(|value| value.split(','));
    let named: Vec<HeaderName> = named.filter_map(|name| name.trim().parse().ok()).collect();
    for name in HOP.iter().chain(&named) {
        headers.remove(name);
    }
}

/// What the client is told of an error; hyper has it among the sources of its own.
fn status(error: &Error) -> StatusCode {
    if matches!(error, Error::TimedOut(_)) {
        return StatusCode::GATEWAY_TIMEOUT;
    }
    let mut cause = error.source();
    while let Some(its) = cause {
        if its.is::<LengthLimitError>() {
            return StatusCode::PAYLOAD_TOO_LARGE;
        }
        cause = its.source();
    }
    StatusCode::BAD_GATEWAY
}

fn refusal(status: StatusCode, line: &str, why: &dyn Display) -> Response<Body> {
    eprintln!("{line}: {why}");
    let mut answer = Response::new(Either::Right(format!("{why}\n")));
    *answer.status_mut() = status;
    answer
}

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let (Some(address), Some(upstream)) = (args.next(), args.next()) else {
        eprintln!("usage: reverse_proxy LISTEN UPSTREAM");
        std::process::exit(2);
    };
    let address: SocketAddr = address.parse()?;
    let upstream: Authority = upstream.parse()?;
    let signals = open_signal_receiver(&[Signal::Interrupt, Signal::Terminate])?;
    block_on(async {
        Ok(task_group(async |group| {
            let spawner = Spawner::new();
            let running = group.spawn(spawner.clone().run());
            let client = client_builder(&spawner).build(Connector::new(&spawner));
            let (http, proxy) = (Http::new(), Proxy { upstream, client });
            let listener = create_tcp_listener()
                .local_host(address.ip())
                .local_port(address.port())
                .await?;
            println!("http {}", listener.local_addr());
            listener
                .serve(async |stream| {
                    let peer = stream.peer_addr().ip();
                    let answer = service_fn(|asked| proxy.answer(peer, asked));
                    http.serve_connection(stream, answer).await
                })
                .max_connections(1_000)
                .shutdown(signals.receive())
                .drain(Duration::from_secs(10))
                .await?;
            // The connections of the pool end here.
            running.cancel();
            Ok(())
        })
        .await?)
    })
}
