//! Says what an error number means to the layers above, so that they need not name any.

use std::io;

/// What a failed accept asks of the loop around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AcceptFailure {
    /// Only the one connection is gone: accept the next at once.
    Connection,
    /// Descriptors ran out: wait until some are freed; one kept in reserve lets one client know.
    Descriptors,
    /// The kernel has no memory for another connection: wait until some is freed.
    Memory,
    /// The listener itself is unusable.
    Listener,
}

/// Sorts the errors of accept4 (accept(2), "Error handling" and "ERRORS").
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
/// Those of the fifth row are pending on the new socket, and Linux passes them on. An error that
/// never ends is not told from one about each connection: the caller pauses after many in a row.
pub(crate) fn accept_failure(error: &io::Error) -> AcceptFailure {
    match error.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE) => AcceptFailure::Descriptors,
        Some(libc::ENOBUFS | libc::ENOMEM) => AcceptFailure::Memory,
        Some(libc::EBADF | libc::EFAULT | libc::EINVAL | libc::ENOTSOCK) => AcceptFailure::Listener,
        Some(_) => AcceptFailure::Connection,
        // Of a listener that is not ours.
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

/// True if the peer ended the connection in order before we sent: sending is over, while what it
/// sent before is still to be received.
pub(crate) fn is_broken_pipe(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EPIPE)
}

/// The number of an error that ends a connection for good; `None` for every other one, such as that
/// of a poller without room, which leaves the connection as it was.
pub(crate) fn connection_end(error: &io::Error) -> Option<i32> {
    let ends = [
        libc::ECONNRESET,
        libc::ECONNABORTED,
        libc::ECONNREFUSED,
        libc::EPIPE,
        libc::ENOTCONN,
        libc::ESHUTDOWN,
        libc::ETIMEDOUT,
        // Of the way to the peer, by ICMP or from a device that went down.
        libc::EHOSTUNREACH,
        libc::EHOSTDOWN,
        libc::ENETUNREACH,
        libc::ENETDOWN,
        libc::ENETRESET,
        libc::ENOPROTOOPT,
        libc::EPROTO,
    ];
    error.raw_os_error().filter(|number| ends.contains(number))
}

/// A datagram found no room at its receiver. Linux says EAGAIN, and ENOBUFS of its own memory; the
/// BSDs say ENOBUFS.
#[cfg(feature = "unix-ext")]
pub(crate) fn is_receiver_full(error: &io::Error) -> bool {
    let linux = cfg!(any(target_os = "linux", target_os = "android"));
    match error.raw_os_error() {
        Some(libc::EAGAIN) => true,
        Some(libc::ENOBUFS) => !linux,
        _ => false,
    }
}

/// The kernel does not do this between these two descriptors, or at all: bytes have to be copied.
#[cfg(all(feature = "relay", any(target_os = "linux", target_os = "android")))]
pub(crate) fn is_refused_shortcut(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::EINVAL
                | libc::ENOSYS
                | libc::EPERM
                | libc::EOPNOTSUPP
                // Of a file: unreadable, not open for reading, too large, none with places.
                | libc::EIO
                | libc::EBADF
                | libc::EISDIR
                | libc::EOVERFLOW
                | libc::ESPIPE
                | libc::EACCES
                | libc::ESTALE
        )
    )
}

/// "Not connected" on a socket that never was, or whose peer is gone already.
pub(crate) fn is_not_connected(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ENOTCONN)
}

/// The descriptor is that of something else.
#[cfg(feature = "adopt")]
pub(crate) fn is_no_socket(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ENOTSOCK)
}

/// The connect goes on in the background.
pub(crate) fn is_in_progress(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EINPROGRESS)
}

/// The system has no such family, or does not let its sockets do what was asked.
pub(crate) fn is_unsupported(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::EAFNOSUPPORT
                | libc::EPROTONOSUPPORT
                | libc::EADDRNOTAVAIL
                | libc::ENOPROTOOPT
                | libc::EINVAL
        )
    )
}

/// The connection was gone before it was accepted.
pub(crate) fn aborted() -> io::Error {
    io::Error::from_raw_os_error(libc::ECONNABORTED)
}

/// There was no room for what came.
#[cfg(feature = "udp-batch")]
pub(crate) fn no_room() -> io::Error {
    io::Error::from_raw_os_error(libc::ENOBUFS)
}

/// The system forbids it: EACCES of a broadcast that was not asked for, or of a route.
pub(crate) fn is_forbidden(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EACCES | libc::EPERM))
}

/// No address of this host, or a family or a network that it has no part in: another address may
/// do.
pub(crate) fn is_out_of_reach(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EADDRNOTAVAIL | libc::EAFNOSUPPORT | libc::ENETUNREACH)
    )
}

/// What a connect to oneself is turned into: nobody else listens there.
pub(crate) fn refused() -> io::Error {
    io::Error::from_raw_os_error(libc::ECONNREFUSED)
}

/// The errors of a datagram socket that are about one peer: it is not there (ICMP), which the
/// kernel reports on whatever call comes next, or a firewall or a route forbids it.
pub(crate) fn is_about_a_peer(error: &io::Error) -> bool {
    let about = matches!(
        error.raw_os_error(),
        Some(
            libc::ECONNREFUSED
                | libc::ECONNRESET
                | libc::EHOSTUNREACH
                | libc::EHOSTDOWN
                | libc::ENETUNREACH
                | libc::ENETDOWN
                | libc::ENOPROTOOPT
                | libc::EPROTO
        )
    );
    about || is_forbidden(error)
}

/// The errors of a datagram socket that are about one datagram: it is too large for the socket or
/// the way (`EMSGSIZE`), or there was no room for it just then.
pub(crate) fn is_about_a_datagram(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMSGSIZE | libc::ENOBUFS | libc::ENOMEM)
    )
}

/// A message that was to be cut into datagrams was refused, perhaps because of that: the device
/// cannot compute their checksums (`EIO`), or they are larger than its packets.
#[cfg(all(feature = "udp-batch", any(target_os = "linux", target_os = "android")))]
pub(crate) fn is_about_segments(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EIO | libc::EINVAL | libc::EMSGSIZE)
    )
}

/// The system has no such call, or a sandbox forbids it.
#[cfg(feature = "udp-batch")]
pub(crate) fn is_missing_call(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSYS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_errors_fall_in_four_classes() {
        let class = |number| accept_failure(&io::Error::from_raw_os_error(number));
        assert_eq!(class(libc::EMFILE), AcceptFailure::Descriptors);
        assert_eq!(class(libc::ENOMEM), AcceptFailure::Memory);
        assert_eq!(class(libc::EOPNOTSUPP), AcceptFailure::Connection);
        assert_eq!(class(libc::ECONNABORTED), AcceptFailure::Connection);
        assert_eq!(class(libc::EHOSTUNREACH), AcceptFailure::Connection);
        assert_eq!(class(libc::EBADF), AcceptFailure::Listener);
        // One that is not ours says no number.
        let class = |kind| accept_failure(&io::Error::new(kind, "of a listener"));
        assert_eq!(class(io::ErrorKind::TimedOut), AcceptFailure::Connection);
        assert_eq!(class(io::ErrorKind::OutOfMemory), AcceptFailure::Memory);
        assert_eq!(class(io::ErrorKind::Other), AcceptFailure::Listener);
    }

    #[test]
    fn a_firewall_and_a_route_speak_of_one_peer() {
        for number in [libc::EPERM, libc::EACCES, libc::ECONNREFUSED] {
            assert!(is_about_a_peer(&io::Error::from_raw_os_error(number)));
        }
        assert!(!is_about_a_peer(&io::Error::from_raw_os_error(libc::EBADF)));
    }

    #[test]
    fn a_full_buffer_or_poller_does_not_end_a_connection() {
        let end = |number| connection_end(&io::Error::from_raw_os_error(number));
        assert_eq!(end(libc::ECONNRESET), Some(libc::ECONNRESET));
        for number in [libc::ENOBUFS, libc::EEXIST, libc::ENOSPC, libc::ENOMEM] {
            assert_eq!(end(number), None);
        }
    }
}
