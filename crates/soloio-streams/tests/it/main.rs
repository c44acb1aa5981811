//! Tests of soloio-streams, in one binary.

#[cfg(feature = "threads")]
mod channel;
mod connect;
#[cfg(feature = "threads")]
mod files;
mod frames;
#[cfg(feature = "json")]
mod json;
mod lines;
#[cfg(feature = "threads")]
mod loop_thread;
#[cfg(all(feature = "unix-ext", target_os = "linux"))]
mod messages;
mod object_bytes;
mod proxies;
mod stapled;
mod support;
mod text;
