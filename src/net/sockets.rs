//! The sockets of a type, for setting options and for changing the loop.

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

    /// Calls `change` for each of the sockets; no operation uses them.
    #[cfg(feature = "adopt")]
    fn each_socket(&mut self, change: fn(&mut Socket));

    /// The name of the object in errors.
    #[cfg(feature = "options")]
    fn called(&self) -> String;
}

macro_rules! close_options {
    ($type:ty, $($socket:tt)+) => {
        impl $type {
            /// Returns the limits of a close; for a listener, those of the streams that it accepts.
            #[must_use]
            pub fn close_limits(&self) -> crate::runtime::silence::CloseLimits {
                self.$($socket)+.socket().close_limits.get()
            }

            /// Sets the limits of a close: by default 30 s in all and 5 s without progress. A
            /// listener passes them on to the streams that it accepts from now on, a stream to a
            /// layer around it.
            pub fn set_close_limits(&self, limits: crate::runtime::silence::CloseLimits) {
                self.$($socket)+.socket().close_limits.set(limits);
            }
        }
    };
}

pub(super) use close_options;
