//! Sockets, and the verbs that make them.
//!
//! | file | what it holds |
//! |---|---|
//! | `stream_socket.rs` | what TCP and UNIX streams share, and how they end |
//! | `stream_close.rs` | how they are closed and reset: what was sent arrives first |
//! | `listen_socket.rs` | what their listeners share |
//! | `tcp.rs`, `unix.rs`, `udp.rs` | the types |
//! | `connect.rs` | `connect_tcp`, `connect_unix` |
//! | `connect_socket.rs` | `connect_socket` |
//! | `connect_tls.rs` | the options of `connect_tcp` that turn TLS on |
//! | `udp_core.rs` | what both UDP types are made of: one datagram per call |
//! | `udp_messages.rs` | what messages bring beside a datagram: more of them, where they came to |
//! | `udp_options.rs`, `udp_fault.rs` | what they can be told; what their errors are about |
//! | `udp_many.rs` | many datagrams at a time |
//! | `datagrams.rs` | the buffer for whole batches |
//! | `datagram_face.rs` | what all datagram sockets have |
//! | `datagram.rs` | `create_udp_socket`, `create_connected_udp_socket` |
//! | `adopt.rs`, `adopt/` | sockets that were made elsewhere, and ours given away |
//! | `inherited.rs` | sockets from whoever started this process |
//! | `happy_eyeballs.rs` | which address of a name first, and several at a time |
//! | `resolve.rs` | hosts to addresses |
//! | `resolver.rs` | who looks names up, off the loop |
//! | `hosts.rs` | names that no server is asked for |
//! | `foreign.rs` | waits for descriptors that are not ours |
//! | `watched.rs` | one of them that stays watched |
//! | `options.rs` | socket options, each given to the types that have it |
//! | `sockets.rs` | the sockets of a type: what options are set on, what changes its loop |
//! | `hand_over.rs` | a socket's way to another loop |
//! | `listen.rs`, `listen_unix.rs` | `create_tcp_listener`, `create_unix_listener` |
//! | `unix_datagram.rs`, `create_unix_datagram.rs` | datagrams by name: the types, the verbs |
//! | `unix_fds.rs` | descriptors that travel with bytes |
//! | `unix_bind.rs` | who gets a path that several want |
//! | `local.rs` | where sockets are bound, and a step of the caller's before that |
//! | `plain.rs` | streams as plain sockets, for relays and `send_file` |

/// Makes a builder awaitable. The future is boxed: a builder is awaited once, and is large.
macro_rules! awaited {
    (IntoFuture for $builder:ty, $make:ident -> $made:ty) => {
        impl std::future::IntoFuture for $builder {
            type Output = Result<$made>;
            type IntoFuture =
                std::pin::Pin<Box<dyn std::future::Future<Output = Self::Output> + Send>>;

            fn into_future(self) -> Self::IntoFuture {
                Box::pin(self.$make())
            }
        }
    };
}

#[cfg(feature = "adopt")]
mod adopt;
mod connect;
#[cfg(feature = "adopt")]
mod connect_socket;
#[cfg(feature = "tls")]
mod connect_tls;
#[cfg(feature = "unix-ext")]
mod create_unix_datagram;
mod datagram;
mod datagram_face;
#[cfg(feature = "udp-batch")]
mod datagrams;
#[cfg(feature = "adopt")]
mod foreign;
#[cfg(feature = "adopt")]
mod hand_over;
mod happy_eyeballs;
mod hosts;
#[cfg(feature = "adopt")]
mod inherited;
mod listen;
mod listen_socket;
mod listen_unix;
mod local;
#[cfg(feature = "options")]
mod options;
#[cfg(any(feature = "relay", feature = "tls"))]
mod plain;
mod resolve;
mod resolver;
mod sockets;
mod stream_close;
mod stream_socket;
mod tcp;
mod udp;
mod udp_core;
mod udp_fault;
#[cfg(feature = "udp-batch")]
mod udp_many;
#[cfg(feature = "udp-batch")]
mod udp_messages;
#[cfg(feature = "options")]
mod udp_options;
mod unix;
mod unix_bind;
#[cfg(feature = "unix-ext")]
mod unix_datagram;
#[cfg(feature = "unix-ext")]
mod unix_fds;
#[cfg(feature = "adopt")]
mod watched;

pub use crate::sys::addr::UnixName;
#[cfg(feature = "unix-ext")]
pub use crate::sys::unix::PeerCredentials;
#[cfg(feature = "adopt")]
pub use adopt::adopt_listeners;
pub use connect::{ConnectTcp, connect_tcp, connect_unix};
#[cfg(feature = "adopt")]
pub use connect_socket::connect_socket;
#[cfg(feature = "tls")]
pub use connect_tls::ConnectTls;
#[cfg(feature = "unix-ext")]
pub use create_unix_datagram::{
    CreateConnectedUnixDatagramSocket, CreateUnixDatagramSocket,
    create_connected_unix_datagram_socket, create_unix_datagram_socket, unix_datagram_socket_pair,
};
pub use datagram::{
    CreateConnectedUdpSocket, CreateUdpSocket, create_connected_udp_socket, create_udp_socket,
};
#[cfg(feature = "udp-batch")]
pub use datagrams::{DatagramBuffer, Datagrams};
#[cfg(all(feature = "adopt", any(target_os = "linux", target_os = "android")))]
pub use foreign::wait_priority;
#[cfg(feature = "adopt")]
pub use foreign::{notify_closing, wait_readable, wait_writable};
#[cfg(feature = "adopt")]
pub use inherited::{InheritedSocket, inherited_sockets};
pub use listen::{CreateTcpListener, create_tcp_listener};
pub use listen_unix::{CreateUnixListener, create_unix_listener};
#[cfg(feature = "options")]
pub use options::Keepalive;
pub use resolve::Host;
pub use resolver::{Resolver, Resolving, SystemResolver};
pub use tcp::{TcpListener, TcpStream};
pub use udp::{ConnectedUdpSocket, Datagram, UdpSocket};
pub use udp_fault::UdpFault;
#[cfg(feature = "udp-batch")]
pub use udp_many::Parcel;
#[cfg(feature = "options")]
pub use udp_options::Interface;
pub use unix::{UnixListener, UnixStream, unix_socket_pair};
#[cfg(feature = "unix-ext")]
pub use unix_datagram::{ConnectedUnixDatagramSocket, UnixDatagram, UnixDatagramSocket};
#[cfg(feature = "adopt")]
pub use watched::Watched;

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
