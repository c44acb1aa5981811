//! The rest of AnyIO's streams for [soloio](https://docs.rs/soloio): text, frames, lines, stapled
//! streams, files, connectables, channels between threads, a loop in a thread.
//!
//! ```
//! use soloio::{Error, create_memory_byte_stream};
//! use soloio_streams::Lines;
//!
//! soloio::block_on(async {
//!     let (ours, theirs) = create_memory_byte_stream(64);
//!     let lines = Lines::new(ours, 1_000);
//!     lines.send("hello").await?;
//!     assert_eq!(theirs.receive().await?, b"hello\n");
//!     Ok::<_, Error>(())
//! })?;
//! # Ok::<_, Error>(())
//! ```
//!
//! * Objects over a byte stream: [`TextStream`], [`LengthPrefixed`], [`Lines`], `JsonLines`
//!   (feature `json`); the contracts [`ObjectReceiveStream`] and [`ObjectSendStream`].
//! * Two streams as one: [`StapledByteStream`], [`StapledObjectStream`]; messages of bytes
//!   as a byte stream, for TLS and buffers over them: [`ObjectByteStream`].
//! * Places to connect to: [`Connectable`], [`as_connectable`], [`Retry`].
//! * Feature `threads`, on by default: files and standard input and output as byte streams, a
//!   [`channel`] between threads, a loop in a thread ([`LoopThread`]).
//!
//! A cut receive loses nothing, because bytes that have come are in the object. A cut send tears
//! nothing: the rest of what was begun is in the object, and the next send begins with it.

mod connect;
#[cfg(feature = "threads")]
mod files;
mod frames;
mod layer;
mod object;
mod object_bytes;
mod outgoing;
mod stapled;
mod text;
#[cfg(feature = "threads")]
mod threads;

#[cfg(feature = "tls")]
pub use connect::TlsConnectable;
pub use connect::{
    AnyConnectable, Connectable, Retry, TcpConnectable, UnixConnectable, as_connectable,
};
#[cfg(feature = "threads")]
pub use files::{FileReadStream, FileWriteStream, stdin, stdout};
#[cfg(feature = "json")]
pub use frames::JsonLines;
pub use frames::{FrameTooLong, LengthPrefixed, LineError, Lines, Prefix};
pub use object::{ObjectReceiveStream, ObjectSendStream, ObjectStream};
pub use object_bytes::{ObjectByteStream, ObjectBytes};
pub use stapled::{StapledByteStream, StapledObjectStream};
pub use text::{NotUtf8, TextStream};
#[cfg(feature = "threads")]
pub use threads::{LoopThread, ThreadReceiver, ThreadSender, channel};

/// The programs of the document are compiled and run.
#[cfg(all(doctest, feature = "json", feature = "threads"))]
#[doc = include_str!("../README.md")]
struct Readme;
