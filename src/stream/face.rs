//! The inherent methods of the crate's own byte streams: the contracts' names and signatures, so
//! that programs need to import no trait.

/// Declares the inherent methods of the contracts for a stream. After the type: its parameters,
/// with their bounds for receiving, for sending, for both; and whether the futures are `Send`.
macro_rules! byte_stream_face {
    (
        $type:ty,
        [$($receiving:tt)*],
        [$($sending:tt)*],
        [$($both:tt)*]
        $(, $send:ident)?
    ) => {
        impl<$($receiving)*> $type {
            /// Receives 1 to 65,536 bytes, exactly sized; no buffer is kept during the wait.
            ///
            /// # Errors
            ///
            /// [`Error::EndOfStream`](crate::Error::EndOfStream) if the peer has finished,
            /// [`Error::Broken`](crate::Error::Broken) if the stream is broken; both are permanent.
            /// [`Error::Busy`](crate::Error::Busy) while another task receives.
            ///
            /// # Cancel safety
            ///
            /// A dropped future has received nothing: every byte is still there.
            #[inline]
            pub fn receive(&self) -> impl Future<Output = Result<Vec<u8>>> $(+ $send)? {
                crate::stream::ByteReceiveStream::receive(self)
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
            #[inline]
            pub fn receive_max(
                &self,
                max: usize,
            ) -> impl Future<Output = Result<Vec<u8>>> $(+ $send)? {
                crate::stream::ByteReceiveStream::receive_max(self, max)
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
            #[inline]
            pub fn receive_into<'b>(
                &self,
                buf: &'b mut [u8],
            ) -> impl Future<Output = Result<&'b mut [u8]>> $(+ $send)? {
                crate::stream::ByteReceiveStream::receive_into(self, buf)
            }

            /// The same as [`receive`](Self::receive), with the end as `None`.
            ///
            /// # Errors
            ///
            /// As [`receive`](Self::receive), except for the end.
            ///
            /// # Cancel safety
            ///
            /// As [`receive`](Self::receive).
            #[inline]
            pub fn next(&self) -> impl Future<Output = Result<Option<Vec<u8>>>> $(+ $send)? {
                crate::stream::ByteReceiveStream::next(self)
            }
        }

        impl<$($sending)*> $type {
            /// Sends all of `data`; returns when it was handed over. With no data it still checks
            /// the state.
            ///
            /// # Errors
            ///
            /// [`Error::Broken`](crate::Error::Broken) if the peer is gone,
            /// [`Error::Closed`](crate::Error::Closed) after `send_eof`,
            /// [`Error::Busy`](crate::Error::Busy) while another task sends.
            ///
            /// # Cancel safety
            ///
            /// Some prefix of `data` was handed over; [`send_from`](Self::send_from) reports how
            /// much. The stream stays usable.
            #[inline]
            pub fn send(&self, data: &[u8]) -> impl Future<Output = Result<()>> $(+ $send)? {
                crate::stream::ByteSendStream::send(self, data)
            }

            /// Sends all of `rest`, and advances it past the bytes that were handed over.
            ///
            /// # Errors
            ///
            /// As [`send`](Self::send).
            ///
            /// # Cancel safety
            ///
            /// Exactly the bytes no longer in `rest` were handed over; the stream stays usable.
            #[inline]
            pub fn send_from(
                &self,
                rest: &mut &[u8],
            ) -> impl Future<Output = Result<()>> $(+ $send)? {
                crate::stream::ByteSendStream::send_from(self, rest)
            }

            /// Sends all `parts` as if they were one piece, and advances them like
            /// [`IoSlice::advance_slices`](std::io::IoSlice::advance_slices).
            ///
            /// # Errors
            ///
            /// As [`send`](Self::send).
            ///
            /// # Cancel safety
            ///
            /// Exactly the bytes no longer in `parts` were handed over; the stream stays usable.
            #[inline]
            pub fn send_vectored(
                &self,
                parts: &mut &mut [std::io::IoSlice<'_>],
            ) -> impl Future<Output = Result<()>> $(+ $send)? {
                crate::stream::ByteSendStream::send_vectored(self, parts)
            }

            /// Sends `length` bytes of `file` from `offset` on; see
            /// [`send_file`](crate::ByteSendStream::send_file) of the contract.
            ///
            /// # Errors
            ///
            /// As [`send`](Self::send). [`Error::Io`](crate::Error::Io) with `UnexpectedEof` if the
            /// file ends before that, or was truncated meanwhile; the error of reading it.
            ///
            /// # Cancel safety
            ///
            /// Some of the bytes were handed over, from the first on;
            /// [`send_file_from`](Self::send_file_from) reports how many. The stream stays usable.
            #[doc(alias = "sendfile")]
            #[inline]
            #[cfg(feature = "relay")]
            pub fn send_file(
                &self,
                file: &std::fs::File,
                offset: u64,
                length: u64,
            ) -> impl Future<Output = Result<()>> $(+ $send)? {
                crate::stream::ByteSendStream::send_file(self, file, offset, length)
            }

            /// Sends the bytes `rest` of `file`, and moves the start of `rest` past the bytes
            /// handed over.
            ///
            /// # Errors
            ///
            /// As [`send_file`](Self::send_file).
            ///
            /// # Cancel safety
            ///
            /// Exactly the bytes no longer in `rest` were handed over; the stream stays usable.
            #[inline]
            #[cfg(feature = "relay")]
            pub fn send_file_from(
                &self,
                file: &std::fs::File,
                rest: &mut std::ops::Range<u64>,
            ) -> impl Future<Output = Result<()>> $(+ $send)? {
                crate::stream::ByteSendStream::send_file_from(self, file, rest)
            }
        }

        impl<$($both)*> $type {
            /// Ends our direction: the peer sees the end once it has received everything. Receiving
            /// continues. It may be called again; sockets never suspend here.
            ///
            /// # Errors
            ///
            /// [`Error::Closed`](crate::Error::Closed) after an abort;
            /// [`Error::Io`](crate::Error::Io).
            ///
            /// # Cancel safety
            ///
            /// Our direction has ended. If the end was not handed over yet (TLS), another call
            /// hands it over, and so does a receive.
            #[doc(alias = "shutdown")]
            #[inline]
            pub fn send_eof(&self) -> impl Future<Output = Result<()>> $(+ $send)? {
                crate::stream::ByteStream::send_eof(self)
            }

            /// Ends our direction, waits until the peer has received the sent data and has finished
            /// too, and frees the stream. Data that the peer still sends is discarded.
            ///
            /// A socket waits 30 s at most, and 5 s without progress; see
            /// [`CloseLimits`](crate::CloseLimits).
            ///
            /// # Errors
            ///
            /// [`Error::Broken`](crate::Error::Broken) with the number of bytes that the peer has
            /// not acknowledged, by the rule of [`ByteStream::close`](crate::ByteStream::close); an
            /// error of ending our direction. In any case the stream is freed.
            ///
            /// # Cancel safety
            ///
            /// Dropping the future frees the stream; sent data and the end may not arrive.
            #[doc(alias = "aclose")]
            pub async fn close(self) -> Result<()> {
                crate::stream::ByteStream::close(self).await
            }

            /// Ends the stream at once, although other references to it exist: operations in
            /// progress, in any task or thread, get [`Error::Closed`](crate::Error::Closed).
            #[doc(alias = "aclose_forcefully")]
            pub fn abort(&self) {
                crate::stream::ByteStream::abort(self);
            }
        }
    };
}

pub(crate) use byte_stream_face;

/// Implements the contracts for a type with a field `socket`, a `StreamSocket` in a box; `$local`
/// returns its own address.
macro_rules! socket_stream {
    ($type:ty, $local:ident) => {
        impl crate::stream::ByteReceiveStream for $type {
            fn poll_receive(
                &self,
                place: &mut Place,
                cx: &mut Context<'_>,
                room: &mut Room<'_>,
            ) -> Poll<Result<()>> {
                if room.remaining() == 0 {
                    return Poll::Ready(Err(crate::stream::no_room()));
                }
                let received = self.socket.poll_receive(place, cx, |core, fd, is_unix| {
                    room.receive(fd, is_unix, || core.scratch())
                });
                received.map_ok(drop)
            }

            #[inline]
            fn leave_receive(&self, place: &mut Place) {
                place.leave_socket(&self.socket.socket, Direction::Read);
            }

            #[inline]
            fn receive_into<'b>(
                &self,
                buf: &'b mut [u8],
            ) -> impl Future<Output = Result<&'b mut [u8]>> {
                crate::stream::receive_by(self, buf, |stream, place, cx, buf| {
                    stream.socket.poll_receive_into(place, cx, buf)
                })
            }

            #[cfg(any(feature = "relay", feature = "tls"))]
            fn plain_receiver(&self) -> Option<crate::stream::Plain<'_>> {
                Some(crate::stream::Plain(&*self.socket))
            }
        }

        impl crate::stream::ByteSendStream for $type {
            fn poll_send(
                &self,
                place: &mut Place,
                cx: &mut Context<'_>,
                parts: &[IoSlice<'_>],
            ) -> Poll<Result<usize>> {
                let socket = &self.socket;
                socket.poll_send(place, cx, |_, fd| crate::sys::socket::send_parts(fd, parts))
            }

            #[inline]
            fn send(&self, data: &[u8]) -> impl Future<Output = Result<()>> {
                crate::stream::send_by(self, data, |stream, place, cx, rest| {
                    stream.socket.poll_send_all(place, cx, rest)
                })
            }

            #[inline]
            fn poll_flush(&self, _: &mut Place, _: &mut Context<'_>) -> Poll<Result<()>> {
                Poll::Ready(Ok(()))
            }

            #[inline]
            fn leave_send(&self, place: &mut Place) {
                place.leave_socket(&self.socket.socket, Direction::Write);
            }

            #[cfg(any(feature = "relay", feature = "tls"))]
            fn plain_sender(&self) -> Option<crate::stream::Plain<'_>> {
                Some(crate::stream::Plain(&*self.socket))
            }
        }

        impl crate::stream::ByteStream for $type {
            fn poll_send_eof(&self, _: &mut Place, _: &mut Context<'_>) -> Poll<Result<()>> {
                Poll::Ready(self.socket.send_eof())
            }

            async fn close(self) -> Result<()> {
                self.socket.close().await
            }

            fn abort(&self) {
                // After an abort the kernel no longer knows it.
                let _known_afterwards = self.$local();
                self.socket.socket.abort();
            }

            async fn reset(&self) -> Result<()> {
                let _known_afterwards = self.$local();
                self.socket.reset().await
            }
        }
    };
}

pub(crate) use socket_stream;
