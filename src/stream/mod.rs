//! The contracts of byte streams and listeners, and the parts that need nothing else.
//!
//! | file | content |
//! |---|---|
//! | `byte_stream.rs` | the contract of a byte stream: a few polls, and futures over them |
//! | `halves.rs` | the same for each direction |
//! | `half.rs` | the claim and the waiter of a direction, for streams that wrap none |
//! | `futures.rs` | these futures |
//! | `io.rs` | a stream with places for crates that poll: `Io` |
//! | `futures_io.rs` | `Io` with the I/O traits of futures-io |
//! | `items.rs` | a `Stream` of futures-core of the results of a repeated call |
//! | `pointers.rs` | references and pointers to a stream; macros for layers that pass calls on |
//! | `face.rs` | the inherent methods of the crate's own streams, which mirror the contracts |
//! | `listener.rs` | the contract of a listener |
//! | `any.rs` | a byte stream of any kind |
//! | `buffered/` | receives an exact number of bytes, up to a delimiter, or what a parser finds |
//! | `send_buffer.rs` | collects bytes to be sent |
//! | `multi.rs` | several listeners, of any kinds, as one |
//! | `report.rs` | reports of a server: to its hook, or to standard error |
//! | `serve.rs` | the server: its options, its group, its end |
//! | `accepting.rs` | the accept loop, written once |
//! | `leaving.rs` | closes a stream that a handler drops while bytes are on their way |
//! | `served.rs` | a server's handler, and the task of a connection |
//! | `serving.rs` | the state that the loop and its connections share: places, counters |
//! | `stopping.rs` | notifies the handlers of a server that it stops |
//! | `memory.rs` | a connected pair of streams without a kernel |
//! | `relay/` | two streams joined, both ways |
//! | `send_file.rs` | part of a file, by the kernel where it can |
//! | `plain.rs` | the kernel's operations on a stream that is only a socket |
//! | `object/` | memory object streams: a bounded queue of values between tasks |
//!
//! The laws of byte streams are at [`ByteStream`].

mod accepting;
#[cfg(any(feature = "adopt", feature = "extras"))]
mod any;
mod buffered;
mod byte_stream;
mod face;
mod futures;
#[cfg(feature = "futures-io")]
mod futures_io;
mod half;
mod halves;
mod io;
#[cfg(feature = "futures-core")]
mod items;
pub(crate) mod leaving;
mod listener;
mod memory;
#[cfg(any(feature = "adopt", feature = "extras"))]
mod multi;
mod object;
#[cfg(any(feature = "relay", feature = "tls"))]
mod plain;
mod pointers;
#[cfg(feature = "relay")]
mod relay;
mod report;
mod send_buffer;
#[cfg(feature = "relay")]
mod send_file;
mod serve;
mod served;
mod serving;
mod stopping;

#[cfg(any(feature = "adopt", feature = "extras"))]
pub use any::AnyByteStream;
pub use buffered::Buffered;
pub use byte_stream::ByteStream;
pub(crate) use face::{byte_stream_face, socket_stream};
#[cfg(feature = "tls")]
pub(crate) use futures::lawful_send;
pub(crate) use futures::{lawful, receive_by, send_by};
pub use half::Half;
pub use halves::{ByteReceiveStream, ByteSendStream};
pub use io::Io;
#[cfg(feature = "futures-core")]
pub use items::{Items, items};
pub use listener::Listener;
pub(crate) use listener::{at_once, serve_face};
pub use memory::{MemoryStream, create_memory_byte_stream};
#[cfg(any(feature = "adopt", feature = "extras"))]
pub use multi::MultiListener;
pub use object::{
    ObjectReceiver, ObjectSender, ObjectStreamStatistics, TrySendError, create_memory_object_stream,
};
#[cfg(any(feature = "relay", feature = "tls"))]
pub(crate) use plain::{Plain, PlainSocket};
#[cfg(feature = "relay")]
pub(crate) use plain::{ReceiveCall, SendCall};
#[cfg(feature = "relay")]
pub use relay::{Relay, RelaySide, Relayed, relay};
pub use report::Peer;
pub use send_buffer::SendBuffer;
pub use serve::Serve;
pub use serving::ServeCounters;
pub use stopping::stopping;

use std::pin::pin;
use std::task::{Context, Waker};

use crate::error::{Error, Result};

/// The largest number of bytes of a receive without an explicit size.
pub(crate) const RECEIVE_MAX: usize = crate::runtime::context::SCRATCH;

/// Turns the end of a stream into `None`.
pub(crate) fn or_end<T>(received: Result<T>) -> Result<Option<T>> {
    match received {
        Ok(value) => Ok(Some(value)),
        Err(Error::EndOfStream) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Resets a stream without a wait: one poll begins it, and the drop of its future ends it at once.
pub(crate) fn reset_now(stream: &impl ByteStream) {
    let reset = pin!(stream.reset());
    drop(reset.poll(&mut Context::from_waker(Waker::noop())));
}

#[cold]
pub(crate) fn no_room() -> Error {
    let never = "a receive of at most 0 bytes, or one that is polled after its end, gives none";
    Error::invalid("receive", never)
}
