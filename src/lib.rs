//! AnyIO's networking for Rust, on a small runtime of its own.
//!
//! One thread, one loop: TCP, UNIX and UDP sockets, tasks that borrow, and cancellation that loses
//! no byte. There is no runtime to configure and no other async runtime below.
//!
//! ```text
//!   your program     block_on(async { .. })
//!                       │ connect_*, create_*, task_group, sleep, fail_after
//!                       v
//!   tasks            task groups own their children and poll those that were woken
//!                       │ receive, send, accept            ^ wake (a number)
//!                       v                                  │
//!   sockets, timers  try the system call; if it would block, leave a waker
//!                       │                                  ^ readiness, deadlines
//!                       v                                  │
//!   the loop         polls tasks, then waits in epoll or kqueue
//! ```
//!
//! # A client
//!
//! ```no_run
//! use soloio::{Result, block_on, connect_tcp};
//!
//! fn main() -> Result<()> {
//!     block_on(async {
//!         let client = connect_tcp("localhost", 1234).await?;
//!         client.send(b"Client\n").await?;
//!         let response = client.receive().await?;
//!         println!("{}", String::from_utf8_lossy(&response));
//!         Ok(())
//!     })
//! }
//! ```
//!
//! # A server
//!
//! ```no_run
//! use soloio::{Result, block_on, create_tcp_listener};
//!
//! fn main() -> Result<()> {
//!     block_on(async {
//!         let greeting = String::from("Hello, "); // all handlers borrow it
//!         let listener = create_tcp_listener().local_port(1234).await?;
//!         let server = listener.serve(async |client| {
//!             let name = client.receive_max(1024).await?;
//!             client.send(&[greeting.as_bytes(), &name].concat()).await?;
//!             client.close().await
//!         });
//!         server.await
//!     })
//! }
//! ```
//!
//! If a handler fails or panics, only its own connection ends, and a line with the error and the
//! peer is written to standard error. A hook for [`Serve::on_error`] gets both instead. For an
//! error type of your own see
//! [`Listener::serve_with`], [`task_group_with`], [`per_core_with`] and [`Failure`].
//!
//! # The functions
//!
//! * Enter a runtime: [`block_on`], [`try_block_on`]; [`Runtime`] to keep one, or to drive it from
//!   another loop.
//! * Connect: [`connect_tcp`], [`connect_unix`], [`create_connected_udp_socket`].
//! * TLS: `connect_tcp(..).tls()`; for servers and open streams the module `tls`.
//! * Listen: [`create_tcp_listener`], [`create_unix_listener`], [`create_udp_socket`].
//! * Without the network: [`unix_socket_pair`], [`create_unix_datagram_socket`],
//!   [`create_connected_unix_datagram_socket`], [`unix_datagram_socket_pair`].
//! * Accept: [`Listener::serve`], with a task for each connection, or [`Listener::accept`].
//!   Several listeners as one: [`MultiListener`]; any kind of stream: [`AnyByteStream`].
//! * Names: resolved outside the loop, or by your own [`net::Resolver`].
//!   Sockets made elsewhere: `TcpStream::try_from(fd)` and its like, [`net::inherited_sockets`].
//! * Move bytes: [`ByteReceiveStream`], [`ByteSendStream`], [`ByteStream`]. Each stream type has
//!   the same methods itself, so none of these traits has to be imported.
//!   Lines, headers, messages of known length: [`Buffered`]; many small sends: [`SendBuffer`].
//! * Run tasks side by side: [`task_group`], [`TaskGroup::spawn`], [`TaskHandle`]; in one task:
//!   [`join`](fn@join), [`race`](fn@race); [`yield_now`].
//! * Wait, or limit a wait: [`sleep`], [`sleep_until`], [`interval`], [`fail_after`],
//!   [`move_on_after`].
//! * Cancel, and clean up: [`CancelScope`], [`shield`].
//! * Communicate between tasks: [`create_memory_object_stream`], and the module [`sync`].
//! * Threads, signals, cores: [`run_in_thread`], [`loop_handle`], [`open_signal_receiver`],
//!   [`per_core`].
//! * Show the wait of every task: [`dump`](fn@dump).
//! * Test without a kernel: [`create_memory_byte_stream`].
//!
//! A function with options returns a builder that is awaited:
//! `create_udp_socket().local_host("::1").await?`. Nothing happens before the await. The types of
//! the builders are in [`net`].
//!
//! # Features
//!
//! The default features are `full` and `ring`: everything here, and TLS. With `default-features =
//! false` the core is left. Each of these adds the part that it names: `adopt`, `cores`, `dump`,
//! `extras`, `guest`, `options`, `relay`, `signal`, `threads`, `udp-batch`, `unix-ext`. `full` is
//! all of them, and `tls12`; docs/cost.md has a table.
//!
//! These are off by default:
//!
//! * `futures-io`: the traits of that crate for [`Io`].
//! * `futures-core`: a `Stream` of accepted connections or received values.
//! * `log`: records of tasks and servers, by the crate of that name.
//! * `idna`: host names that are not ASCII.
//! * `anyhow`: `anyhow::Error` as the error of tasks, time limits and handlers.
//! * `aws-lc-rs`, `tls`: TLS with other cryptography (docs/tls.md).
//! * `native-certs`: on macOS, the certificates that the keychain trusts.
//!
//! # Guarantees
//!
//! * A cancel is an error first: operations in a cancelled scope end with [`Error::Cancelled`]. A
//!   task that continues after that is dropped. Dropping a future cancels it, too. Each operation
//!   describes the effect of both under *Cancel safety*.
//! * Operations take `&self`: one task may receive from a stream while another sends. A second
//!   receiver, or sender, gets [`Error::Busy`]. Only `close` takes the stream itself.
//! * The end of a stream is [`Error::EndOfStream`], never an empty read; `next()` turns it into
//!   `Ok(None)`.
//! * An operation outside a runtime ends with [`Error::NoRuntime`]; a future can be made anywhere.
//! * A peer, the network or a caller's data can cause an [`Error`], never a panic.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod error;
mod executor;
pub mod net;
mod reactor;
mod records;
mod room;
mod runtime;
mod shown;
#[cfg(feature = "signal")]
mod signal;
mod stream;
pub mod sync;
mod sys;
mod task;
mod threads;
mod time;
#[cfg(feature = "tls")]
pub mod tls;

#[cfg(feature = "tls")]
pub use error::TlsError;
pub use error::{
    ConnectAttempt, ConnectFailed, Content, Error, Failure, OsError, Panicked, ResolveError,
    Result, TaskFailed, TimedOut,
};
#[cfg(all(feature = "adopt", any(target_os = "linux", target_os = "android")))]
pub use net::wait_priority;
pub use net::{
    ConnectedUdpSocket, Datagram, Family, Host, TcpListener, TcpStream, UdpFault, UdpSocket,
    UnixListener, UnixName, UnixStream, connect_tcp, connect_unix, create_connected_udp_socket,
    create_tcp_listener, create_udp_socket, create_unix_listener, unix_socket_pair,
};
#[cfg(feature = "unix-ext")]
pub use net::{
    ConnectedUnixDatagramSocket, PeerCredentials, UnixDatagram, UnixDatagramSocket,
    create_connected_unix_datagram_socket, create_unix_datagram_socket, unix_datagram_socket_pair,
};
#[cfg(feature = "udp-batch")]
pub use net::{DatagramBuffer, Datagrams};
#[cfg(feature = "options")]
pub use net::{Interface, Keepalive};
#[cfg(feature = "adopt")]
pub use net::{notify_closing, wait_readable, wait_writable};
pub use runtime::place::Place;
pub use runtime::silence::CloseLimits;
pub use runtime::sleep::Sleep;
#[cfg(feature = "dump")]
pub use runtime::{Dump, TaskState, dump};
pub use runtime::{Runtime, block_on, try_block_on};
#[cfg(feature = "signal")]
pub use signal::{Signal, SignalReceiver, ctrl_c, open_signal_receiver};
#[cfg(any(feature = "adopt", feature = "extras"))]
pub use stream::{AnyByteStream, MultiListener};
pub use stream::{
    Buffered, ByteReceiveStream, ByteSendStream, ByteStream, Half, Io, Listener, MemoryStream,
    ObjectReceiver, ObjectSender, ObjectStreamStatistics, Peer, SendBuffer, Serve, ServeCounters,
    TrySendError, create_memory_byte_stream, create_memory_object_stream, stopping,
};
#[cfg(feature = "futures-core")]
pub use stream::{Items, items};
#[cfg(feature = "relay")]
pub use stream::{Relay, RelaySide, Relayed, relay};
#[cfg(feature = "extras")]
pub use sync::RateLimiter;
pub use sync::{CapacityLimiter, Condition, Event, Lock, LockGuard, Semaphore, ThreadEvent};
pub use sys::room::Room;
pub use task::{
    CancelScope, Outcome, Ready, TaskGroup, TaskHandle, current_effective_deadline, fail_after,
    fail_at, move_on_after, move_on_at, shield, task_group, task_group_with, yield_now,
};
#[cfg(feature = "cores")]
pub use task::{Core, StopHandle, per_core, per_core_with};
#[cfg(feature = "extras")]
pub use task::{Join, Race, TryJoin, Winner, join, race, try_join};
#[cfg(feature = "threads")]
pub use threads::{
    LoopHandle, RunInThread, ThreadStatistics, loop_handle, run_in_thread, thread_statistics,
};
pub use time::{Interval, interval, sleep, sleep_until};

/// Documentation tests compile the programs of the documents, and run those that can run.
#[cfg(doctest)]
mod documents {
    #[doc = include_str!("../README.md")]
    struct Readme;
    #[cfg(all(feature = "full", feature = "tls"))]
    #[doc = include_str!("../docs/guide.md")]
    struct Guide;
    #[doc = include_str!("../docs/anyio.md")]
    struct FromAnyio;
    #[doc = include_str!("../docs/tokio.md")]
    struct FromTokio;
    #[cfg(feature = "tls")]
    #[doc = include_str!("../docs/tls.md")]
    struct Tls;
    #[doc = include_str!("../docs/cancellation.md")]
    struct Cancellation;
}
