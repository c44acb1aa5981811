//! The rest of AnyIO's streams for [soloio](https://docs.rs/soloio).

mod connect;
#[cfg(feature = "threads")]
mod files;
mod frames;
mod layer;
mod object;
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
pub use stapled::{StapledByteStream, StapledObjectStream};
pub use text::{NotUtf8, TextStream};
#[cfg(feature = "threads")]
pub use threads::{LoopThread, ThreadReceiver, ThreadSender, channel};
