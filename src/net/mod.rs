//! Sockets, and the verbs that make them.
//!
//! | file | what it holds |
//! |---|---|
//! | `stream_socket.rs` | what TCP and UNIX streams share, and how they end |
//! | `listen_socket.rs` | what their listeners share |
//! | `tcp.rs`, `unix.rs`, `udp.rs` | the types |
//! | `connect.rs` | `connect_tcp`, `connect_unix` |
//! | `listen.rs` | `create_tcp_listener`, `create_unix_listener` |
//! | `datagram.rs` | `create_udp_socket`, `create_connected_udp_socket` |
//! | `foreign.rs` | waits for descriptors that are not ours |
//! | `options.rs` | socket options, each given to the types that have it |
//! | `hand_over.rs` | a socket's way to another loop |
//! | `resolve.rs` | host names, off the loop |

mod connect;
mod datagram;
mod foreign;
mod hand_over;
mod listen;
mod listen_socket;
mod options;
mod resolve;
mod stream_socket;
mod tcp;
mod udp;
mod unix;

pub use crate::sys::addr::UnixName;
pub use connect::{ConnectTcp, connect_tcp, connect_unix};
pub use datagram::{
    CreateConnectedUdpSocket, CreateUdpSocket, create_connected_udp_socket, create_udp_socket,
};
pub use foreign::{notify_closing, wait_readable, wait_writable};
pub use listen::{
    CreateTcpListener, CreateUnixListener, create_tcp_listener, create_unix_listener,
};
pub use options::Keepalive;
pub use resolve::Host;
pub use tcp::{TcpListener, TcpStream};
pub use udp::{ConnectedUdpSocket, Datagram, UdpSocket};
pub use unix::{UnixListener, UnixStream};

/// The family of internet addresses to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    fn has(self, address: &std::net::SocketAddr) -> bool {
        address.is_ipv4() == (self == Self::V4)
    }
}
