//! The sockets of a type, for setting options and for changing the loop.

#[cfg(any(feature = "adopt", feature = "options"))]
use crate::runtime::socket::Socket;

/// A type that is one socket, or several.
#[cfg(any(feature = "adopt", feature = "options"))]
pub(super) trait Sockets {
    /// All of them, at least one.
    #[cfg(feature = "options")]
    fn sockets(&self) -> &[Socket];

    /// The same; no operation uses them.
    #[cfg(feature = "adopt")]
    fn sockets_mut(&mut self) -> &mut [Socket];

    /// The name of the object in errors.
    #[cfg(feature = "options")]
    fn called(&self) -> String;
}

/// For a type that is one socket: the field, and the method with the name that errors give it.
macro_rules! one_socket {
    ($type:ty, $($socket:ident).+, $called:ident) => {
        #[cfg(any(feature = "adopt", feature = "options"))]
        impl crate::net::sockets::Sockets for $type {
            #[cfg(feature = "options")]
            fn sockets(&self) -> &[crate::runtime::socket::Socket] {
                std::slice::from_ref(&self.$($socket).+)
            }

            #[cfg(feature = "adopt")]
            fn sockets_mut(&mut self) -> &mut [crate::runtime::socket::Socket] {
                std::slice::from_mut(&mut self.$($socket).+)
            }

            #[cfg(feature = "options")]
            fn called(&self) -> String {
                self.$called().to_string()
            }
        }

        impl std::os::fd::AsFd for $type {
            fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
                self.$($socket).+.lend()
            }
        }
    };
}

macro_rules! close_options {
    ($type:ty, $($socket:tt)+) => {
        impl $type {
            /// Returns the limits of a close; for a listener, those of the streams that it accepts.
            #[must_use]
            pub fn close_limits(&self) -> crate::runtime::silence::CloseLimits {
                self.$($socket)+.close_limits.get()
            }

            /// Sets the limits of a close: by default 30 s in all and 5 s without progress. A
            /// listener passes them on to the streams that it accepts from now on, a stream to a
            /// layer around it.
            pub fn set_close_limits(&self, limits: crate::runtime::silence::CloseLimits) {
                self.$($socket)+.close_limits.set(limits);
            }
        }
    };
}

pub(super) use {close_options, one_socket};
