//! The sockets of a type: what options are set on, what can change its loop.

#[cfg(feature = "options")]
use super::listen_socket::ListenSocket;
#[cfg(any(feature = "adopt", feature = "options"))]
use crate::runtime::socket::Socket;

/// A type that is one socket, or several.
#[cfg(any(feature = "adopt", feature = "options"))]
pub(super) trait Sockets {
    /// The socket; the first of several.
    #[cfg(feature = "options")]
    fn socket(&self) -> &Socket;

    /// The rest, if there are several.
    #[cfg(feature = "options")]
    fn others(&self) -> &[ListenSocket] {
        &[]
    }

    /// All of them; nothing else uses them.
    #[cfg(feature = "adopt")]
    fn each_socket(&mut self, change: fn(&mut Socket));

    /// What an error calls it.
    #[cfg(feature = "options")]
    fn called(&self) -> String;
}

macro_rules! close_options {
    ($type:ty, $($socket:tt)+) => {
        impl $type {
            /// How long `close` waits for the peer; of a listener, of the streams that it accepts.
            #[must_use]
            pub fn close_limits(&self) -> crate::runtime::silence::CloseLimits {
                self.$($socket)+.socket().close_limits.get()
            }

            /// Sets how long `close` waits for the peer: 30 s in all and 5 s of silence unless
            /// told otherwise. A listener passes it on to the streams that it accepts from now on,
            /// a stream to what wraps it.
            pub fn set_close_limits(&self, limits: crate::runtime::silence::CloseLimits) {
                self.$($socket)+.socket().close_limits.set(limits);
            }
        }
    };
}

pub(super) use close_options;
