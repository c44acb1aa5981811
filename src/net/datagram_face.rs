//! The methods of all four kinds of datagram sockets, written once over their `core`.

/// Declares the methods for a type with a field `core`: its own address, the result of a receive
/// and its conversion from that of the core, the type of a datagram in a caller's buffer, and the
/// errors.
macro_rules! datagram_face {
    (
        $type:ty,
        $local:ident -> $name:ty,
        $received:ty,
        $pick:expr,
        $datagram:ident,
        $(#[$errors:meta])*
    ) => {
        crate::net::sockets::one_socket!($type, core.socket, $local);

        impl $type {
            /// The address or name that it is bound to.
            #[doc(alias = "local_address")]
            #[must_use]
            pub fn $local(&self) -> $name {
                self.core.local()
            }

            /// Receives one datagram, of any size; an unconnected socket returns the sender, too.
            ///
            /// # Errors
            ///
            $(#[$errors])*
            /// [`Error::Busy`] while another task receives, [`Error::Closed`] after
            /// [`abort`](Self::abort).
            ///
            /// # Cancel safety
            ///
            /// A dropped future has received nothing: the next receive gets the datagram.
            pub async fn receive(&self) -> Result<$received> {
                self.core.receive().await.map($pick)
            }

            /// Receives one datagram into `buf`; allocates nothing for its bytes.
            ///
            /// # Errors
            ///
            /// As [`receive`](Self::receive).
            ///
            /// # Cancel safety
            ///
            /// As [`receive`](Self::receive).
            pub fn receive_into<'b>(
                &self,
                buf: &'b mut [u8],
            ) -> impl Future<Output = Result<$datagram<'b>>> {
                self.core.receive_into(buf)
            }

            /// The same as [`receive`](Self::receive), for loops. A datagram socket has no end: it
            /// never returns `None`.
            ///
            /// # Errors
            ///
            /// As [`receive`](Self::receive).
            ///
            /// # Cancel safety
            ///
            /// As [`receive`](Self::receive).
            pub async fn next(&self) -> Result<Option<$received>> {
                self.receive().await.map(Some)
            }

            /// Ends the socket at once, although other references to it exist: its address or name
            /// is free, and operations in progress get [`Error::Closed`] (a send that pauses, at
            /// the end of its pause).
            pub fn abort(&self) {
                self.core.abort();
            }
        }

    };
}

pub(super) use datagram_face;
