//! Methods that every layer of objects over a byte stream has.

/// The methods of an object stream over a byte stream that are the same for each kind: it has a
/// `stream: Buffered<S>` and an `outgoing: Outgoing`.
macro_rules! over_a_byte_stream {
    ([$($parameters:ident),*] $type:ty) => {
        impl<S, $($parameters),*> $type {
            /// The byte stream below, with the bytes that were received and not requested yet.
            pub fn inner(&self) -> &soloio::Buffered<S> {
                &self.stream
            }

            /// The byte stream below, with the bytes that were received and not requested yet. If
            /// a send was cut in the middle, its rest is dropped: see [`unsent`](Self::unsent).
            #[must_use = "otherwise the bytes in the buffer are lost"]
            pub fn into_inner(self) -> soloio::Buffered<S> {
                self.stream
            }

            /// The number of bytes of an object that a cut send has begun; the next send, or
            /// [`send_eof`](Self::send_eof), begins with them.
            #[must_use]
            pub fn unsent(&self) -> usize {
                self.outgoing.unsent()
            }
        }

        impl<S: soloio::ByteStream, $($parameters),*> $type {
            /// Hands over what a cut send has left, and ends our direction; receiving continues.
            /// It may be called again.
            ///
            /// # Errors
            ///
            /// As [`ByteStream::send_eof`](soloio::ByteStream::send_eof).
            ///
            /// # Cancel safety
            ///
            /// Nothing is lost: another call continues.
            pub async fn send_eof(&self) -> Result<()> {
                self.outgoing.send_eof(&self.stream).await
            }

            /// Hands over what a cut send has left, and closes the stream as
            /// [`ByteStream::close`](soloio::ByteStream::close) does.
            ///
            /// # Errors
            ///
            /// As [`ByteStream::close`](soloio::ByteStream::close).
            ///
            /// # Cancel safety
            ///
            /// Dropping the future frees the stream; sent objects and the end may not arrive.
            #[doc(alias = "aclose")]
            pub async fn close(self) -> Result<()> {
                self.outgoing.close(self.stream).await
            }

            /// Ends the stream at once, as [`ByteStream::abort`](soloio::ByteStream::abort) does.
            #[doc(alias = "aclose_forcefully")]
            pub fn abort(&self) {
                soloio::ByteStream::abort(&self.stream);
            }
        }
    };
}

pub(crate) use over_a_byte_stream;
