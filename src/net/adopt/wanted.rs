//! What a descriptor must be, so that it can be adopted.

use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;

use crate::error::{Error, Result};
use crate::sys;
use crate::sys::addr::UnixName;
use crate::sys::adopt::{Carries, Domain, Facts};

/// The properties that a descriptor must have.
#[derive(Debug, Clone, Copy)]
pub(in crate::net) struct Wanted {
    pub(super) operation: &'static str,
    pub(super) domain: Domain,
    pub(super) carries: Carries,
    pub(super) listens: bool,
}

pub(in crate::net) const TCP_STREAM: Wanted = Wanted {
    operation: "adopt a TCP stream",
    domain: Domain::Internet,
    carries: Carries::Stream,
    listens: false,
};
pub(super) const TCP_LISTENER: Wanted = Wanted {
    operation: "adopt a TCP listener",
    listens: true,
    ..TCP_STREAM
};
pub(super) const UNIX_STREAM: Wanted = Wanted {
    operation: "adopt a UNIX stream",
    domain: Domain::Unix,
    ..TCP_STREAM
};
pub(super) const UNIX_LISTENER: Wanted = Wanted {
    operation: "adopt a UNIX listener",
    listens: true,
    ..UNIX_STREAM
};
pub(super) const UDP_SOCKET: Wanted = Wanted {
    operation: "adopt a UDP socket",
    carries: Carries::Datagrams,
    ..TCP_STREAM
};
pub(super) const CONNECTED_UDP: Wanted = Wanted {
    operation: "adopt a connected UDP socket",
    ..UDP_SOCKET
};

impl Wanted {
    pub(super) fn failed(self, cause: io::Error) -> Error {
        Error::io(self.operation, "from a descriptor", cause)
    }

    /// Checks the descriptor, and sets the flags that the crate's own sockets have.
    pub(in crate::net) fn check(self, fd: BorrowedFd<'_>) -> Result<Facts> {
        let facts = read_facts(fd).map_err(|cause| self.failed(cause))?;
        // Before any error, since that closes it.
        sys::sockopt::linger_no_longer(fd).map_err(|cause| self.failed(cause))?;
        if let Some(message) = self.mismatch(&facts) {
            return Err(Error::invalid(self.operation, message));
        }
        sys::adopt::make_ours(fd).map_err(|cause| self.failed(cause))?;
        Ok(facts)
    }

    pub(super) fn mismatch(self, found: &Facts) -> Option<String> {
        let domain = |domain| match domain {
            Domain::Internet => "internet (IPv4 or IPv6)",
            Domain::Unix => "UNIX",
            Domain::Other => "unknown",
        };
        let carries = |carries| match carries {
            Carries::Stream => "bytes",
            Carries::Datagrams => "datagrams",
            Carries::Other => "something else",
        };
        if found.domain != self.domain {
            let (found, wanted) = (domain(found.domain), domain(self.domain));
            return Some(format!("the socket's family is {found}, not {wanted}"));
        }
        if found.carries != self.carries {
            let (found, wanted) = (carries(found.carries), carries(self.carries));
            return Some(format!("the socket carries {found}, not {wanted}"));
        }
        if found.listens == Some(!self.listens) {
            let not = if self.listens {
                "does not listen"
            } else {
                "listens"
            };
            return Some(format!("the socket {not}"));
        }
        None
    }

    pub(super) fn peer(self, fd: BorrowedFd<'_>) -> Result<SocketAddr> {
        sys::socket::peer_addr(fd).map_err(|cause| self.no_peer(cause))
    }

    pub(super) fn refuse_peer<A>(self, peer: io::Result<A>) -> Result<()> {
        match peer {
            Ok(_) => {
                let message = "the socket is connected: adopt it as a connected one";
                Err(Error::invalid(self.operation, message))
            }
            Err(_) => Ok(()),
        }
    }

    pub(super) fn peer_name(self, fd: BorrowedFd<'_>) -> Result<UnixName> {
        sys::socket::peer_name(fd).map_err(|cause| self.no_peer(cause))
    }

    pub(super) fn local_name(self, fd: BorrowedFd<'_>) -> Result<UnixName> {
        sys::socket::local_name(fd).map_err(|cause| self.failed(cause))
    }

    fn no_peer(self, cause: io::Error) -> Error {
        if sys::errno::is_not_connected(&cause) {
            return Error::invalid(self.operation, "the socket is not connected");
        }
        self.failed(cause)
    }

    /// Returns the address of a bound socket; an error if it has no port.
    pub(super) fn local(self, fd: BorrowedFd<'_>) -> Result<SocketAddr> {
        let local = sys::socket::local_addr(fd).map_err(|cause| self.failed(cause))?;
        if local.port() == 0 {
            return Err(Error::invalid(
                self.operation,
                "the socket is not bound to a port",
            ));
        }
        Ok(local)
    }
}

pub(super) fn read_facts(fd: BorrowedFd<'_>) -> io::Result<Facts> {
    sys::adopt::read_facts(fd).map_err(|error| match sys::errno::is_no_socket(&error) {
        true => sys::errno::invalid("the descriptor is no socket"),
        false => error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where the system does not report it, every stream and listener was refused.
    #[test]
    fn what_may_listen_is_taken_for_either() {
        for (listens, is_stream, is_listener) in [
            (Some(true), false, true),
            (Some(false), true, false),
            (None, true, true),
        ] {
            let facts = Facts {
                domain: Domain::Internet,
                carries: Carries::Stream,
                listens,
                is_tcp: true,
            };
            assert_eq!(TCP_STREAM.mismatch(&facts).is_none(), is_stream);
            assert_eq!(TCP_LISTENER.mismatch(&facts).is_none(), is_listener);
        }
    }
}
