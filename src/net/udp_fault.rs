//! The subject of a UDP socket's error: one peer, one datagram, or the socket.

use std::io;
use std::io::ErrorKind::{AddrNotAvailable, InvalidInput};

use crate::error::Error;
use crate::sys::errno;

/// The subject of a datagram socket's error. Every error is reported once, and the socket stays
/// usable as far as the system allows.
///
/// # Examples
///
/// ```
/// use soloio::{UdpFault, create_udp_socket};
///
/// soloio::block_on(async {
///     let udp = create_udp_socket().local_host("127.0.0.1").await?;
///     let too_long = udp.send_to(&[0; 70_000], udp.local_addr()).await.unwrap_err();
///     assert_eq!(UdpFault::of(&too_long), UdpFault::Datagram);
///     Ok::<_, soloio::Error>(())
/// })?;
/// # Ok::<_, soloio::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum UdpFault {
    /// One peer does not exist or cannot be reached: refused (ICMP), no route, forbidden by a
    /// firewall or a route. Or its address cannot be a destination here: it is of a family that the
    /// socket or this host does not have, has port 0, or is link-local without a scope. Other peers
    /// are not affected.
    Peer,
    /// One datagram: too large for the socket or the path (`EMSGSIZE`), or no buffer was free for
    /// it (`ENOBUFS`). Other datagrams may be sent.
    Datagram,
    /// The socket or its use: closed, busy, no runtime, and every error that is not known to be
    /// smaller.
    Socket,
}

impl UdpFault {
    /// Returns the subject of this error.
    #[must_use]
    pub fn of(error: &Error) -> Self {
        let Error::Io(error) = error else {
            // A name that cannot be resolved concerns one peer, too.
            return match error {
                Error::Resolve(_) => Self::Peer,
                _ => Self::Socket,
            };
        };
        // Of a send these are about the destination: its family or scope, port 0, a black hole.
        let is_unfit = matches!(error.operation(), "send to" | "send on")
            && matches!(error.kind(), InvalidInput | AddrNotAvailable);
        let error: &io::Error = error;
        if is_unfit || errno::is_about_a_peer(error) {
            Self::Peer
        } else if errno::is_about_a_datagram(error) {
            Self::Datagram
        } else {
            Self::Socket
        }
    }
}
