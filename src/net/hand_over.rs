//! Moves a socket to another loop: the macro that declares `unbind` for a type.

#[allow(unused_imports, reason = "for the documentation")]
use crate::error::Error;

/// Declares the method for `$type`.
macro_rules! hand_over {
    ($type:ty) => {
        impl $type {
            /// Leaves its runtime, so that its next operation binds it to the runtime of that
            /// operation. So a socket that was made or accepted here can be served on another
            /// thread.
            ///
            /// Otherwise a socket stays with the runtime of its first operation as long as that
            /// runtime lives, and operations elsewhere are [`Error::OtherLoop`]. No received byte
            /// is lost. A socket that was never used need not be unbound.
            ///
            /// It may be called on any thread.
            #[must_use = "dropping the socket closes it"]
            pub fn unbind(mut self) -> Self {
                let sockets = crate::net::sockets::Sockets::sockets_mut(&mut self);
                sockets
                    .iter_mut()
                    .for_each(crate::runtime::socket::Socket::unbind);
                self
            }
        }
    };
}

hand_over!(super::TcpStream);
hand_over!(super::TcpListener);
hand_over!(super::UnixStream);
hand_over!(super::UnixListener);
hand_over!(super::UdpSocket);
hand_over!(super::ConnectedUdpSocket);
#[cfg(feature = "unix-ext")]
hand_over!(super::UnixDatagramSocket);
#[cfg(feature = "unix-ext")]
hand_over!(super::ConnectedUnixDatagramSocket);
