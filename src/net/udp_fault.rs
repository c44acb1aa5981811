//! What an error of a UDP socket is about: one peer, one datagram, or the socket.

use std::io;

use crate::error::Error;
use crate::sys::errno;

/// What an error of a datagram socket is about. Whatever it is, it was told once, and the socket
/// goes on working as far as the system lets it.
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
    /// One peer is not there, or not to be reached: refused (ICMP), no route, no such family,
    /// forbidden by a firewall or a route. Others are not concerned.
    Peer,
    /// One datagram: too large for the socket or the way (`EMSGSIZE`), or no buffer was free for it
    /// (`ENOBUFS`). Others may go.
    Datagram,
    /// The socket or its use: closed, busy, no runtime, and all that is not known to be less.
    Socket,
}

impl UdpFault {
    /// What this error is about.
    #[must_use]
    pub fn of(error: &Error) -> Self {
        let Error::Io(error) = error else {
            // A name that could not be looked up is one peer's too.
            return match error {
                Error::Resolve(_) => Self::Peer,
                _ => Self::Socket,
            };
        };
        let error: &io::Error = error;
        if errno::is_about_a_peer(error) {
            Self::Peer
        } else if errno::is_about_a_datagram(error) {
            Self::Datagram
        } else {
            Self::Socket
        }
    }
}
