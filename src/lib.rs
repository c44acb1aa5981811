//! AnyIO's networking for Rust, on a small runtime of its own.

mod error;
mod executor;
pub mod net;
mod reactor;
mod runtime;
mod stream;
mod sys;
mod task;
mod time;

pub use error::{ConnectAttempt, ConnectFailed, Error, OsError, ResolveError, Result};
pub use net::{
    ConnectedUdpSocket, Datagram, Family, Host, TcpListener, TcpStream, UdpSocket, UnixListener,
    UnixName, UnixStream, connect_tcp, connect_unix, create_connected_udp_socket,
    create_tcp_listener, create_udp_socket, create_unix_listener,
};
pub use runtime::{Runtime, block_on};
pub use stream::{
    ByteReceiveStream, ByteSendStream, ByteStream, Listener, MemoryStream, Serve,
    create_memory_byte_stream,
};
pub use task::{
    Outcome, TaskGroup, TaskHandle, fail_after, move_on_after, task_group, task_group_with,
    yield_now,
};
pub use time::{Interval, interval, sleep, sleep_until};
