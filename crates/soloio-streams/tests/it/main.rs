//! Tests of soloio-streams, in one binary.

mod frames;
#[cfg(feature = "json")]
mod json;
mod lines;
mod stapled;
mod support;
mod text;
