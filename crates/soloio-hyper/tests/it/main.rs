//! Tests of soloio-hyper, in one binary: over sockets of this machine, against curl and Python,
//! against raw bytes, and against itself.
//!
//! Where curl, Python, h2load or wrk is not installed the tests against it say so and pass.

#[cfg(all(feature = "client", feature = "tls"))]
mod client;
mod examples;
mod http2;
mod idle;
mod parts;
mod running;
mod server;
mod shutdown;
mod support;
