//! The inherent methods of our own byte streams: the contracts' names and signatures, so that
//! programs need to import no trait.

/// Gives `$type` the inherent methods and the contracts, by way of its field `$inner`; their
/// futures are `$send`.
macro_rules! byte_stream_face {
    ($type:ty, $inner:ident $(, $send:ident)?) => {
        impl $type {
            /// Receives 1 to 65,536 bytes, exactly sized; waits without holding a buffer.
            ///
            /// # Errors
            ///
            /// [`Error::EndOfStream`](crate::Error::EndOfStream) when the peer has finished,
            /// [`Error::Broken`](crate::Error::Broken) after a reset, both for good.
            /// [`Error::Busy`](crate::Error::Busy) while another task receives.
            ///
            /// # Cancel safety
            ///
            /// Dropping the future has received nothing: every byte is still there.
            pub fn receive(&self) -> impl Future<Output = Result<Vec<u8>>> $(+ $send)? {
                self.$inner.receive_max(crate::stream::RECEIVE_MAX)
            }

            /// Receives 1 to `max` bytes (no more than 65,536 at a time), exactly sized.
            ///
            /// # Errors
            ///
            /// As [`receive`](Self::receive); a `max` of 0 is `InvalidInput`.
            ///
            /// # Cancel safety
            ///
            /// As [`receive`](Self::receive).
            pub fn receive_max(
                &self,
                max: usize,
            ) -> impl Future<Output = Result<Vec<u8>>> $(+ $send)? {
                self.$inner.receive_max(max)
            }

            /// Receives into `buf` and returns its filled part, never empty; allocates nothing.
            ///
            /// # Errors
            ///
            /// As [`receive`](Self::receive); an empty buffer is `InvalidInput`.
            ///
            /// # Cancel safety
            ///
            /// As [`receive`](Self::receive).
            pub fn receive_into<'a, 'b>(
                &'a self,
                buf: &'b mut [u8],
            ) -> impl Future<Output = Result<&'b mut [u8]>> $(+ $send)? + use<'a, 'b> {
                self.$inner.receive_into(buf)
            }

            /// [`receive`](Self::receive), with the end as `None`.
            ///
            /// # Errors
            ///
            /// As [`receive`](Self::receive), but for the end.
            ///
            /// # Cancel safety
            ///
            /// As [`receive`](Self::receive).
            pub async fn next(&self) -> Result<Option<Vec<u8>>> {
                crate::stream::or_end(self.receive().await)
            }

            /// Sends all of `data`; returns when it was handed over. Sending nothing still
            /// checks the state.
            ///
            /// # Errors
            ///
            /// [`Error::Broken`](crate::Error::Broken) if the peer is gone,
            /// [`Error::Closed`](crate::Error::Closed) after [`send_eof`](Self::send_eof),
            /// [`Error::Busy`](crate::Error::Busy) while another task sends.
            ///
            /// # Cancel safety
            ///
            /// Some prefix of `data` was handed over; [`send_from`](Self::send_from) tells how
            /// much. The stream goes on.
            pub fn send(&self, data: &[u8]) -> impl Future<Output = Result<()>> $(+ $send)? {
                self.$inner.send(data)
            }

            /// Sends all of `rest`, and takes off its front what was handed over.
            ///
            /// # Errors
            ///
            /// As [`send`](Self::send).
            ///
            /// # Cancel safety
            ///
            /// Exactly the bytes no longer in `rest` were handed over; the stream goes on.
            pub fn send_from(
                &self,
                rest: &mut &[u8],
            ) -> impl Future<Output = Result<()>> $(+ $send)? {
                self.$inner.send(rest)
            }

            /// Sends all `parts` as if they stood in one piece, advancing them as
            /// [`IoSlice::advance_slices`](std::io::IoSlice::advance_slices) does.
            ///
            /// # Errors
            ///
            /// As [`send`](Self::send).
            ///
            /// # Cancel safety
            ///
            /// Exactly the bytes no longer in `parts` were handed over; the stream goes on.
            pub fn send_vectored(
                &self,
                parts: &mut &mut [std::io::IoSlice<'_>],
            ) -> impl Future<Output = Result<()>> $(+ $send)? {
                self.$inner.send(parts)
            }

            /// Sends `length` bytes of `file` from `offset` on; see
            /// [`send_file`](crate::ByteSendStream::send_file) of the contract.
            ///
            /// # Errors
            ///
            /// As [`send`](Self::send). [`Error::Io`](crate::Error::Io) with `UnexpectedEof` if the
            /// file ends before, or was truncated meanwhile; what reading it says.
            ///
            /// # Cancel safety
            ///
            /// Some of the bytes were handed over, from the first on;
            /// [`send_file_from`](Self::send_file_from) tells how many. The stream goes on.
            #[doc(alias = "sendfile")]
            #[cfg(feature = "relay")]
            pub async fn send_file(
                &self,
                file: &std::fs::File,
                offset: u64,
                length: u64,
            ) -> Result<()> {
                crate::stream::ByteSendStream::send_file(self, file, offset, length).await
            }

            /// Sends the bytes `rest` of `file`, and moves its start past what was handed over.
            ///
            /// # Errors
            ///
            /// As [`send_file`](Self::send_file).
            ///
            /// # Cancel safety
            ///
            /// Exactly the bytes no longer in `rest` were handed over; the stream goes on.
            #[cfg(feature = "relay")]
            pub async fn send_file_from(
                &self,
                file: &std::fs::File,
                rest: &mut std::ops::Range<u64>,
            ) -> Result<()> {
                crate::stream::ByteSendStream::send_file_from(self, file, rest).await
            }

            /// Ends our direction: the peer sees the end once it has received everything.
            /// Receiving goes on. May be called again; never suspends.
            ///
            /// # Errors
            ///
            /// [`Error::Closed`](crate::Error::Closed) after an abort;
            /// [`Error::Io`](crate::Error::Io).
            ///
            /// # Cancel safety
            ///
            /// Done at the first poll.
            #[doc(alias = "shutdown")]
            pub async fn send_eof(&self) -> Result<()> {
                self.$inner.send_eof()
            }

            /// Ends our direction, waits until the peer has received what was sent and has
            /// finished too, and frees the stream. What the peer still sends is discarded.
            ///
            /// A socket waits 30 s at most, and 5 s while nothing moves; see
            /// [`CloseLimits`](crate::CloseLimits).
            ///
            /// # Errors
            ///
            /// [`Error::Broken`](crate::Error::Broken) with the number of bytes that the peer has
            /// not acknowledged, if the connection broke or a limit was reached before it had.
            /// What ending our direction ran into. The stream is freed all the same.
            ///
            /// # Cancel safety
            ///
            /// Dropping the future frees the stream; the goodbye may be cut short.
            #[doc(alias = "aclose")]
            pub async fn close(self) -> Result<()> {
                self.$inner.close().await
            }

            /// Ends the stream at once although others still hold it: operations that are under
            /// way, in whatever task or thread, get [`Error::Closed`](crate::Error::Closed).
            #[doc(alias = "aclose_forcefully")]
            pub fn abort(&self) {
                self.before_abort();
                self.$inner.abort();
            }
        }

        // Futures of their own, with nothing around them: TLS polls these for each message.
        impl crate::stream::ByteReceiveStream for $type {
            fn receive_into<'b>(
                &self,
                buf: &'b mut [u8],
            ) -> impl Future<Output = Result<&'b mut [u8]>> {
                self.$inner.receive_into(buf)
            }

            fn receive_max(&self, max: usize) -> impl Future<Output = Result<Vec<u8>>> {
                self.$inner.receive_max(max)
            }

            fn plain_receiver(&self) -> Option<crate::stream::Plain<'_>> {
                self.$inner.plain()
            }
        }

        impl crate::stream::ByteSendStream for $type {
            fn send_from(&self, rest: &mut &[u8]) -> impl Future<Output = Result<()>> {
                self.$inner.send(rest)
            }

            fn send_vectored(
                &self,
                parts: &mut &mut [std::io::IoSlice<'_>],
            ) -> impl Future<Output = Result<()>> {
                self.$inner.send(parts)
            }

            fn plain_sender(&self) -> Option<crate::stream::Plain<'_>> {
                self.$inner.plain()
            }
        }

        impl crate::stream::ByteStream for $type {
            async fn send_eof(&self) -> Result<()> {
                self.$inner.send_eof()
            }

            async fn close(self) -> Result<()> {
                self.$inner.close().await
            }

            fn abort(&self) {
                self.abort();
            }

            async fn reset(&self) -> Result<()> {
                self.before_abort();
                self.$inner.reset().await
            }
        }
    };
}

pub(crate) use byte_stream_face;
