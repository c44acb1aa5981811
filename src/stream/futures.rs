//! The futures of byte streams: small ones over the polls of the contract.

use std::future::Future;
use std::io::IoSlice;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use super::{ByteReceiveStream, ByteSendStream, ByteStream, Data, RECEIVE_MAX, Rest};
use crate::error::{Error, Result};
use crate::runtime::place::Place;
use crate::sys::room::Room;

/// A stream and the place of one receive, which is given up on drop.
struct Receiving<'a, S: ByteReceiveStream> {
    stream: &'a S,
    place: Place,
}

impl<'a, S: ByteReceiveStream> Receiving<'a, S> {
    #[inline]
    fn new(stream: &'a S) -> Self {
        let place = Place::default();
        Self { stream, place }
    }
}

impl<S: ByteReceiveStream> Drop for Receiving<'_, S> {
    #[inline]
    fn drop(&mut self) {
        if !self.place.is_idle() {
            self.stream.leave_receive(&mut self.place);
        }
    }
}

/// Receives into a buffer of the caller's.
pub(super) struct ReceiveInto<'a, 'b, S: ByteReceiveStream> {
    receiving: Receiving<'a, S>,
    buf: Option<&'b mut [u8]>,
}

impl<'a, 'b, S: ByteReceiveStream> ReceiveInto<'a, 'b, S> {
    #[inline]
    pub(super) fn new(stream: &'a S, buf: &'b mut [u8]) -> Self {
        Self {
            receiving: Receiving::new(stream),
            buf: Some(buf),
        }
    }
}

impl<'b, S: ByteReceiveStream> Future for ReceiveInto<'_, 'b, S> {
    type Output = Result<&'b mut [u8]>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let Some(buf) = &mut this.buf else {
            return Poll::Ready(Err(Error::Closed));
        };
        let Receiving { stream, place } = &mut this.receiving;
        let mut room = Room::new(buf);
        ready!(stream.poll_receive(place, cx, &mut room))?;
        let got = room.len();
        let buf = this.buf.take().expect("it was there above");
        Poll::Ready(Ok(&mut buf[..got]))
    }
}

/// Receives into its own memory, of exactly the size of the received bytes.
pub(super) struct ReceiveMax<'a, S: ByteReceiveStream> {
    receiving: Receiving<'a, S>,
    max: usize,
}

impl<'a, S: ByteReceiveStream> ReceiveMax<'a, S> {
    #[inline]
    pub(super) fn new(stream: &'a S, max: usize) -> Self {
        Self {
            receiving: Receiving::new(stream),
            max: max.min(RECEIVE_MAX),
        }
    }
}

impl<S: ByteReceiveStream> Future for ReceiveMax<'_, S> {
    type Output = Result<Vec<u8>>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let Receiving { stream, place } = &mut this.receiving;
        let mut received = Vec::new();
        let mut room = Room::exact(&mut received, this.max);
        ready!(stream.poll_receive(place, cx, &mut room))?;
        received.shrink_to_fit();
        Poll::Ready(Ok(received))
    }
}

/// A stream and the place of one send, which is given up on drop.
struct Sending<'a, S: ByteSendStream> {
    stream: &'a S,
    place: Place,
}

impl<'a, S: ByteSendStream> Sending<'a, S> {
    #[inline]
    fn new(stream: &'a S) -> Self {
        let place = Place::default();
        Self { stream, place }
    }
}

impl<S: ByteSendStream> Sending<'_, S> {
    #[inline]
    fn leave(&mut self) {
        if !self.place.is_idle() {
            self.stream.leave_send(&mut self.place);
        }
    }
}

impl<S: ByteSendStream> Drop for Sending<'_, S> {
    #[inline]
    fn drop(&mut self) {
        self.leave();
    }
}

/// Sends all of `data`; bytes that the stream has accepted are removed from it.
pub(super) struct SendAll<'a, S: ByteSendStream, D> {
    sending: Sending<'a, S>,
    data: D,
    /// Everything was accepted, and is to be handed over.
    taken: bool,
}

impl<'a, S: ByteSendStream, D> SendAll<'a, S, D> {
    #[inline]
    pub(super) fn new(stream: &'a S, data: D) -> Self {
        Self {
            sending: Sending::new(stream),
            data,
            taken: false,
        }
    }
}

impl<S: ByteSendStream, D: Data + Unpin> Future for SendAll<'_, S, D> {
    type Output = Result<()>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let this = self.get_mut();
        let polled = this.poll_all(cx);
        if polled.is_ready() {
            // Now, because the future may be dropped long after its end.
            this.sending.leave();
        }
        polled
    }
}

impl<S: ByteSendStream, D: Data> SendAll<'_, S, D> {
    #[inline]
    fn poll_all(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let Sending { stream, place } = &mut self.sending;
        while !self.taken {
            // An empty send checks the state of this side.
            let polled = match self.data.rest() {
                Rest::One(part) => stream.poll_send(place, cx, &[IoSlice::new(part)]),
                Rest::Many(parts) => stream.poll_send(place, cx, parts),
            };
            self.data.advance(ready!(polled)?);
            self.taken = self.data.is_empty();
            // The rest is sent with the same claim: no other send can come between.
            place.keep();
        }
        stream.poll_flush(place, cx)
    }
}

/// Ends the sending direction.
pub(super) struct SendEof<'a, S: ByteStream> {
    sending: Sending<'a, S>,
}

impl<'a, S: ByteStream> SendEof<'a, S> {
    pub(super) fn new(stream: &'a S) -> Self {
        Self {
            sending: Sending::new(stream),
        }
    }
}

impl<S: ByteStream> Future for SendEof<'_, S> {
    type Output = Result<()>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let Sending { stream, place } = &mut self.get_mut().sending;
        stream.poll_send_eof(place, cx)
    }
}
