//! Tests of soloio-hyper, in one binary: over sockets of this machine, against curl and Python,
//! against raw bytes, and against itself.
//!
//! Where curl or Python is not installed the tests against them say so and pass.

#[cfg(all(feature = "client", feature = "tls"))]
mod client;
mod examples;
mod parts;
mod running;
mod server;
mod shutdown;
mod support;
