//! HTTP/1 and HTTP/2 on [soloio](https://docs.rs/soloio), by [hyper].
//!
//! A server is a handler of [`soloio::Serve`], with limits that are right for the open internet,
//! and ends as that does: idle connections at once, requests that run with their answers.
//!
//! ```
//! use std::convert::Infallible;
//!
//! use hyper::service::service_fn;
//! use hyper::{Request, Response};
//! use soloio::{create_tcp_listener, sleep};
//! use soloio_hyper::{Http, RequestBody};
//!
//! async fn hello(_: Request<RequestBody>) -> Result<Response<String>, Infallible> {
//!     Ok(Response::new("Hello, world!\n".into()))
//! }
//!
//! soloio::block_on(async {
//!     let listener = create_tcp_listener().local_host("127.0.0.1").await?;
//!     let http = Http::new();
//!     let shutdown = sleep(std::time::Duration::from_millis(1)); // ctrl_c(), in a program
//!     listener
//!         .serve(async |stream| http.serve_connection(stream, service_fn(hello)).await)
//!         .shutdown(shutdown)
//!         .await
//! })?;
//! # Ok::<_, soloio::Error>(())
//! ```
//!
//! | name | what it is |
//! |---|---|
//! | [`Http`] | connections of a server, HTTP/1 or HTTP/2 by their first bytes |
//! | `client_builder`, `Connector` | a pooled client over hyper-util, with TLS |
//! | [`HyperIo`] | a byte stream with hyper's I/O traits |
//! | [`SoloTimer`] | soloio's timers for hyper |
//! | [`GroupExecutor`] | spawns into a task group what may borrow and need not be `Send` |
//! | [`Spawner`] | spawns from anywhere into where [`Spawner::run`] runs |
//! | [`http1`], [`http2`] | hyper's own builders, with the timer that their limits need |
//!
//! Features: `server` (on by default), `client`, and `tls` for the client.

#[cfg(feature = "server")]
mod answers;
#[cfg(feature = "server")]
mod body;
#[cfg(feature = "client")]
mod client;
#[cfg(feature = "server")]
mod driving;
mod executor;
mod io;
#[cfg(feature = "server")]
mod server;
mod timer;

#[cfg(feature = "server")]
pub use body::RequestBody;
#[cfg(feature = "client")]
pub use client::{ClientIo, Connector, client_builder};
pub use executor::{GroupExecutor, Spawner};
pub use io::HyperIo;
#[cfg(feature = "server")]
pub use server::{Http, http1, http2};
pub use timer::SoloTimer;

/// The programs of the document are compiled, and run where they can.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
