//! Sockets, and the functions that make them.
//!
//! | file | content |
//! |---|---|
//! | `stream_socket.rs` | the part that TCP and UNIX streams share, and their ends |
//! | `stream_close.rs` | closing and resetting them: sent data arrives first |
//! | `listen_socket.rs` | the part that their listeners share |
//! | `tcp.rs`, `unix.rs`, `udp.rs` | the types |
//! | `connect.rs` | `connect_tcp`, `connect_unix` |
//! | `connect_socket.rs` | `connect_socket` |
//! | `connect_tls.rs` | the options of `connect_tcp` that turn TLS on |
//! | `udp_core.rs` | the core of both UDP types: one datagram per call |
//! | `udp_messages.rs` | the data beside a datagram: more datagrams, destinations |
//! | `udp_options.rs`, `udp_fault.rs` | their options; the subject of their errors |
//! | `udp_many.rs` | many datagrams at a time |
//! | `datagrams.rs` | the buffer for whole batches |
//! | `datagram_face.rs` | the methods of all datagram sockets |
//! | `datagram.rs` | `create_udp_socket`, `create_connected_udp_socket` |
//! | `adopt.rs`, `adopt/` | adopting sockets that were made elsewhere, and giving sockets away |
//! | `inherited.rs` | sockets from the process that started this one |
//! | `happy_eyeballs.rs` | the order of a host's addresses, and the race of several |
//! | `resolve.rs` | hosts to addresses |
//! | `resolver.rs` | the resolver of names, on other threads |
//! | `hosts.rs` | names that need no server |
//! | `foreign.rs` | waits for foreign descriptors |
//! | `watched.rs` | a foreign descriptor that stays watched |
//! | `options.rs` | socket options, on each type that has them |
//! | `sockets.rs` | the sockets of a type, for setting options and for changing the loop |
//! | `hand_over.rs` | `unbind`: moves a socket to another loop |
//! | `listen.rs`, `listen_unix.rs` | `create_tcp_listener`, `create_unix_listener` |
//! | `unix_datagram.rs`, `create_unix_datagram.rs` | datagrams by name: the types, the functions |
//! | `unix_seqpacket.rs` | messages over a UNIX connection |
//! | `unix_fds.rs` | descriptors sent beside bytes |
//! | `unix_bind.rs` | decides between several that bind one path |
//! | `local.rs` | the local address of a socket, and a step of the caller's before the bind |
//! | `plain.rs` | streams as plain sockets, for relays and `send_file` |

/// Makes a builder awaitable. The future is boxed: a builder is awaited once, and is large.
macro_rules! awaited {
    (IntoFuture for $builder:ty, $make:ident -> $made:ty) => {
        impl std::future::IntoFuture for $builder {
            type Output = Result<$made>;
            type IntoFuture =
                std::pin::Pin<Box<dyn std::future::Future<Output = Self::Output> + Send>>;

            #[inline]
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
#[cfg(all(feature = "unix-ext", any(target_os = "linux", target_os = "android")))]
mod unix_seqpacket;
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
#[cfg(all(feature = "unix-ext", any(target_os = "linux", target_os = "android")))]
pub use unix_seqpacket::{
    UnixSeqpacket, UnixSeqpacketListener, connect_unix_seqpacket, unix_seqpacket_pair,
};
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
