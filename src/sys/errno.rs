//! The meaning of an error number to the layers above, so that they need not name any.

use std::io;

use libc::{
    EACCES, EADDRNOTAVAIL, EAFNOSUPPORT, ECONNABORTED, ECONNREFUSED, ECONNRESET, EHOSTDOWN,
    EHOSTUNREACH, EINVAL, EMSGSIZE, ENETDOWN, ENETRESET, ENETUNREACH, ENOBUFS, ENOMEM, ENOPROTOOPT,
    ENOTCONN, EPERM, EPIPE, EPROTO, EPROTONOSUPPORT, ESHUTDOWN, ETIMEDOUT,
};

/// The system's number of an error; 0, which is none, if the error is not the system's.
fn number(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(0)
}

/// The reaction to a failed accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AcceptFailure {
    /// Only this connection has ended: accept the next at once.
    Connection,
    /// No descriptor is free: wait until some are; with a spare one a client can be closed.
    Descriptors,
    /// The kernel has no memory for another connection: wait until some is freed.
    Memory,
    /// The listener itself is unusable.
    Listener,
}

/// Classifies the errors of accept4 (accept(2), "Error handling" and "ERRORS").
///
/// | numbers | class |
/// |---|---|
/// | EMFILE, ENFILE | descriptors |
/// | ENOBUFS, ENOMEM | memory |
/// | EBADF, EFAULT, EINVAL, ENOTSOCK | the listener |
/// | ECONNABORTED, ECONNRESET, EPROTO, ETIMEDOUT, EPERM and EACCES (a firewall) | one connection |
/// | ENETDOWN, ENETUNREACH, EHOSTDOWN, EHOSTUNREACH, ENONET, ENOPROTOOPT, EOPNOTSUPP | the same |
/// | any other | the same |
///
/// Those of the fifth row are pending on the new socket, and Linux passes them on. A permanent
/// error cannot be distinguished from one about each connection: the caller pauses after many in a
/// row.
pub(crate) fn accept_failure(error: &io::Error) -> AcceptFailure {
    match error.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE) => AcceptFailure::Descriptors,
        Some(ENOBUFS | ENOMEM) => AcceptFailure::Memory,
        Some(libc::EBADF | libc::EFAULT | EINVAL | libc::ENOTSOCK) => AcceptFailure::Listener,
        Some(_) => AcceptFailure::Connection,
        // The error of a listener of another crate.
        None => match error.kind() {
            io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
            | io::ErrorKind::TimedOut => AcceptFailure::Connection,
            io::ErrorKind::OutOfMemory => AcceptFailure::Memory,
            _ => AcceptFailure::Listener,
        },
    }
}

/// True if the peer has ended the connection regularly before this send: sending is over, but its
/// earlier data can still be received.
pub(crate) fn is_broken_pipe(error: &io::Error) -> bool {
    number(error) == EPIPE
}

/// The number of an error that ends a connection for good; `None` for every other error, such as
/// that of a full poller, which leaves the connection unchanged.
pub(crate) fn connection_end(error: &io::Error) -> Option<i32> {
    error.raw_os_error().filter(|number| match *number {
        ECONNRESET | ECONNABORTED | ECONNREFUSED | EPIPE | ENOTCONN | ESHUTDOWN | ETIMEDOUT
        | ENETRESET => true,
        number => is_of_the_path(number),
    })
}

/// True for errors of the path to a peer, by ICMP or from a device that went down.
fn is_of_the_path(number: i32) -> bool {
    matches!(
        number,
        EHOSTUNREACH | EHOSTDOWN | ENETUNREACH | ENETDOWN | ENOPROTOOPT | EPROTO
    )
}

/// True if a datagram found no room at its receiver. On Linux it is EAGAIN, or ENOBUFS for the
/// kernel's own memory; on the BSDs it is ENOBUFS.
#[cfg(feature = "unix-ext")]
pub(crate) fn is_receiver_full(error: &io::Error) -> bool {
    let linux = cfg!(any(target_os = "linux", target_os = "android"));
    match error.raw_os_error() {
        Some(libc::EAGAIN) => true,
        Some(ENOBUFS) => !linux,
        _ => false,
    }
}

/// True if the kernel does not support it between these two descriptors, or at all: copy the bytes.
#[cfg(all(feature = "relay", any(target_os = "linux", target_os = "android")))]
pub(crate) fn is_refused_shortcut(error: &io::Error) -> bool {
    use libc::{EBADF, EIO, EISDIR, ENOSYS, EOPNOTSUPP, EOVERFLOW, ESPIPE, ESTALE};

    let number = number(error);
    // Unreadable, not open for reading, too large, not seekable.
    let of_the_file = matches!(
        number,
        EIO | EBADF | EISDIR | EOVERFLOW | ESPIPE | EACCES | ESTALE
    );
    of_the_file || matches!(number, EINVAL | ENOSYS | EPERM | EOPNOTSUPP)
}

/// "Not connected": the socket never was, or its peer has already gone.
pub(crate) fn is_not_connected(error: &io::Error) -> bool {
    number(error) == ENOTCONN
}

/// True if the descriptor is not a socket.
#[cfg(feature = "adopt")]
pub(crate) fn is_no_socket(error: &io::Error) -> bool {
    number(error) == libc::ENOTSOCK
}

/// True if the connect continues in the background.
pub(crate) fn is_in_progress(error: &io::Error) -> bool {
    number(error) == libc::EINPROGRESS
}

/// True if the system lacks the family, or its sockets do not support the option.
pub(crate) fn is_unsupported(error: &io::Error) -> bool {
    matches!(
        number(error),
        EAFNOSUPPORT | EPROTONOSUPPORT | EADDRNOTAVAIL | ENOPROTOOPT | EINVAL
    )
}

/// Makes the error of a refused argument.
#[cold]
pub(crate) fn invalid(message: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message.into())
}

/// The error of a connection that ended before it was accepted.
pub(crate) fn aborted() -> io::Error {
    io::Error::from_raw_os_error(ECONNABORTED)
}

/// The error of a datagram that had no room.
#[cfg(feature = "udp-batch")]
pub(crate) fn no_room() -> io::Error {
    io::Error::from_raw_os_error(ENOBUFS)
}

/// True if the system forbids it: EACCES of a broadcast without the option, or of a route.
pub(crate) fn is_forbidden(error: &io::Error) -> bool {
    matches!(number(error), EACCES | EPERM)
}

/// True if the address is not local, or its family or network is not available: another address may
/// work.
pub(crate) fn is_out_of_reach(error: &io::Error) -> bool {
    matches!(
        number(error),
        EADDRNOTAVAIL | EAFNOSUPPORT | ENETUNREACH | EHOSTUNREACH
    )
}

/// The error for a connect of a socket to itself: there is no other listener.
pub(crate) fn refused() -> io::Error {
    io::Error::from_raw_os_error(ECONNREFUSED)
}

/// True for errors of a datagram socket that concern one peer: it does not exist (ICMP), which the
/// next call of any kind returns, or a firewall or a route forbids it.
pub(crate) fn is_about_a_peer(error: &io::Error) -> bool {
    let number = number(error);
    matches!(number, ECONNREFUSED | ECONNRESET) || is_of_the_path(number) || is_forbidden(error)
}

/// True for errors of a datagram socket that concern one datagram: it is too large for the socket
/// or the path (`EMSGSIZE`), or no memory was free for it.
pub(crate) fn is_about_a_datagram(error: &io::Error) -> bool {
    matches!(number(error), EMSGSIZE | ENOBUFS | ENOMEM)
}

/// True if segmentation may be the reason why a message was refused: the device cannot compute the
/// checksums (`EIO`), or the segments are larger than its packets.
#[cfg(all(feature = "udp-batch", any(target_os = "linux", target_os = "android")))]
pub(crate) fn is_about_segments(error: &io::Error) -> bool {
    matches!(number(error), libc::EIO | EINVAL | EMSGSIZE)
}

/// True if the system lacks the call, or a sandbox forbids it.
#[cfg(feature = "udp-batch")]
pub(crate) fn is_missing_call(error: &io::Error) -> bool {
    number(error) == libc::ENOSYS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_errors_fall_in_four_classes() {
        let class = |number| accept_failure(&io::Error::from_raw_os_error(number));
        assert_eq!(class(libc::EMFILE), AcceptFailure::Descriptors);
        assert_eq!(class(ENOMEM), AcceptFailure::Memory);
        assert_eq!(class(libc::EOPNOTSUPP), AcceptFailure::Connection);
        assert_eq!(class(ECONNABORTED), AcceptFailure::Connection);
        assert_eq!(class(EHOSTUNREACH), AcceptFailure::Connection);
        assert_eq!(class(libc::EBADF), AcceptFailure::Listener);
        // The error of another crate has no number.
        let class = |kind| accept_failure(&io::Error::new(kind, "of a listener"));
        assert_eq!(class(io::ErrorKind::TimedOut), AcceptFailure::Connection);
        assert_eq!(class(io::ErrorKind::OutOfMemory), AcceptFailure::Memory);
        assert_eq!(class(io::ErrorKind::Other), AcceptFailure::Listener);
    }

    #[test]
    fn a_firewall_and_a_route_speak_of_one_peer() {
        for number in [EPERM, EACCES, ECONNREFUSED] {
            assert!(is_about_a_peer(&io::Error::from_raw_os_error(number)));
        }
        assert!(!is_about_a_peer(&io::Error::from_raw_os_error(libc::EBADF)));
    }

    #[test]
    fn a_full_buffer_or_poller_does_not_end_a_connection() {
        let end = |number| connection_end(&io::Error::from_raw_os_error(number));
        assert_eq!(end(ECONNRESET), Some(ECONNRESET));
        for number in [ENOBUFS, libc::EEXIST, libc::ENOSPC, ENOMEM] {
            assert_eq!(end(number), None);
        }
    }
}
