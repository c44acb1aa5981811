//! Tests of soloio-streams, in one binary.

mod connect;
mod frames;
#[cfg(feature = "json")]
mod json;
mod lines;
mod proxies;
mod stapled;
mod support;
mod text;
