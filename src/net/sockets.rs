//! The sockets of a type: what options are set on, what can change its loop.

use super::listen_socket::ListenSocket;
use crate::runtime::socket::Socket;

/// A type that is one socket, or several.
#[cfg_attr(
    not(all(feature = "options", feature = "adopt")),
    allow(dead_code, reason = "each of the two needs a part of it")
)]
pub(super) trait Sockets {
    /// The socket; the first of several.
    fn socket(&self) -> &Socket;

    /// The rest, if there are several.
    fn others(&self) -> &[ListenSocket] {
        &[]
    }

    /// All of them; nothing else uses them.
    fn each_socket(&mut self, change: fn(&mut Socket));

    /// What an error calls it.
    fn called(&self) -> String;
}

macro_rules! close_options {
    ($type:ty) => {
        impl $type {
            /// How long `close` waits for the peer; of a listener, of the streams that it accepts.
            #[must_use]
            pub fn close_limits(&self) -> crate::runtime::silence::CloseLimits {
                crate::net::sockets::Sockets::socket(self)
                    .close_limits
                    .get()
            }

            /// Sets how long `close` waits for the peer: 30 s in all and 5 s of silence unless
            /// told otherwise. A listener passes it on to the streams that it accepts from now on,
            /// a stream to what wraps it.
            pub fn set_close_limits(&self, limits: crate::runtime::silence::CloseLimits) {
                crate::net::sockets::Sockets::socket(self)
                    .close_limits
                    .set(limits);
            }
        }
    };
}

pub(super) use close_options;
