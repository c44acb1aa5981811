//! Hands a socket over to another loop: `unbind`, written once and given to the types that have it.

use crate::runtime::socket::Socket;

/// A type whose socket can change its loop.
pub(super) trait Movable {
    /// Its sockets; nobody else uses them.
    fn each_socket(&mut self, change: fn(&mut Socket));
}

/// Gives `$type` the method.
macro_rules! hand_over {
    ($type:ty) => {
        impl $type {
            /// Leaves its runtime, so that its next operation binds it to the one it runs on then:
            /// what was made or accepted here can be served on another thread.
            ///
            /// Without it a socket stays with the runtime of its first operation as long as that
            /// lives, and operations elsewhere are [`Error::OtherLoop`]. Nothing that came in
            /// is lost. A socket that was never used need not be unbound.
            ///
            /// May be called on any thread.
            #[must_use = "dropping the socket closes it"]
            pub fn unbind(mut self) -> Self {
                crate::net::hand_over::Movable::each_socket(
                    &mut self,
                    crate::runtime::socket::Socket::unbind,
                );
                self
            }
        }
    };
}

pub(super) use hand_over;
