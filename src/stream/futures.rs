//! The futures of byte streams: small ones over the polls of the contract.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::mem;
use std::task::{Context, Poll, ready};

use super::{ByteReceiveStream, ByteSendStream, ByteStream, RECEIVE_MAX};
use crate::error::{Error, Result};
use crate::runtime::place::Place;
use crate::sys::room::Room;

/// Checks the number of bytes that a stream has moved, of so many that it could: a loop over one
/// that breaks law 1 would have no end, or take that for an end.
#[inline]
pub(crate) fn lawful(moved: usize, most: usize, operation: &'static str) -> Result<usize> {
    match moved <= most && (moved > 0 || most == 0) {
        true => Ok(moved),
        false => Err(lawless(operation)),
    }
}

#[cold]
fn lawless(operation: &'static str) -> Error {
    let cause = io::Error::other("it moved no byte, or too many, against law 1 of `ByteStream`");
    Error::io(operation, "a byte stream", cause)
}

/// Checks the result of a send of `parts`.
#[inline]
pub(crate) fn lawful_send(it: Poll<Result<usize>>, parts: &[IoSlice<'_>]) -> Poll<Result<usize>> {
    let most = parts.iter().map(|part| part.len()).sum();
    it.map(|sent| lawful(sent?, most, "send to"))
}

/// A stream and the place of one receive, which is given up on drop.
pub(super) struct Receiving<'a, S: ByteReceiveStream> {
    stream: &'a S,
    pub(super) place: Place,
}

impl<'a, S: ByteReceiveStream> Receiving<'a, S> {
    #[inline]
    pub(super) fn new(stream: &'a S) -> Self {
        let place = Place::default();
        Self { stream, place }
    }

    /// Receives into its own memory, of exactly the size of the received bytes.
    #[inline]
    pub(super) fn poll_max(&mut self, cx: &mut Context<'_>, max: usize) -> Poll<Result<Vec<u8>>> {
        let (mut received, max) = (Vec::new(), max.min(RECEIVE_MAX));
        let mut room = Room::exact(&mut received, max);
        ready!(self.stream.poll_receive(&mut self.place, cx, &mut room))?;
        lawful(received.len(), max, "receive from")?;
        received.shrink_to_fit();
        Poll::Ready(Ok(received))
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
#[inline]
pub(super) fn receive_into<'b, S: ByteReceiveStream>(
    stream: &S,
    buf: &'b mut [u8],
) -> impl Future<Output = Result<&'b mut [u8]>> {
    receive_by(stream, buf, |stream, place, cx, buf| {
        let mut room = Room::new(buf);
        ready!(stream.poll_receive(place, cx, &mut room))?;
        let got = room.len();
        Poll::Ready(lawful(got, buf.len(), "receive from"))
    })
}

/// The same by a poll of the stream's own, which returns the number of received bytes.
#[inline]
pub(crate) fn receive_by<'b, S: ByteReceiveStream>(
    stream: &S,
    mut buf: &'b mut [u8],
    mut poll: impl FnMut(&S, &mut Place, &mut Context<'_>, &mut [u8]) -> Poll<Result<usize>>,
) -> impl Future<Output = Result<&'b mut [u8]>> {
    let mut receiving = Receiving::new(stream);
    poll_fn(move |cx| {
        let got = ready!(poll(receiving.stream, &mut receiving.place, cx, buf))?;
        Poll::Ready(Ok(&mut mem::take(&mut buf)[..got]))
    })
}

/// The same into its own memory.
#[inline]
pub(super) fn receive_max<S: ByteReceiveStream>(
    stream: &S,
    max: usize,
) -> impl Future<Output = Result<Vec<u8>>> {
    let mut receiving = Receiving::new(stream);
    poll_fn(move |cx| receiving.poll_max(cx, max))
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
#[inline]
pub(super) fn send_all<S: ByteSendStream>(
    stream: &S,
    data: impl Data,
) -> impl Future<Output = Result<()>> {
    // Whether everything was accepted, and is to be handed over.
    let mut taken = false;
    send_by(stream, data, move |stream, place, cx, data| {
        while !taken {
            // An empty send checks the state of this side.
            let sent = ready!(stream.poll_send(place, cx, data.parts().as_ref()))?;
            let advanced = data.advance(sent);
            taken = data.parts().as_ref().iter().all(|part| part.is_empty());
            if advanced.is_none() || (sent == 0 && !taken) {
                return Poll::Ready(Err(lawless("send to")));
            }
            // The rest is sent with the same claim: no other send can come between.
            place.keep();
        }
        stream.poll_flush(place, cx)
    })
}

/// The same by a poll of the stream's own.
#[inline]
pub(crate) fn send_by<S: ByteSendStream, D>(
    stream: &S,
    mut data: D,
    mut poll: impl FnMut(&S, &mut Place, &mut Context<'_>, &mut D) -> Poll<Result<()>>,
) -> impl Future<Output = Result<()>> {
    let mut sending = Sending::new(stream);
    poll_fn(move |cx| {
        let polled = poll(sending.stream, &mut sending.place, cx, &mut data);
        if polled.is_ready() {
            // Now, because the future may be dropped long after its end.
            sending.leave();
        }
        polled
    })
}

/// Data to be sent: a slice, one that advances, or several pieces.
pub(super) trait Data {
    /// Returns all that is left, to be sent as if it were one piece.
    fn parts(&self) -> impl AsRef<[IoSlice<'_>]>;

    /// Removes the first `sent` bytes; `None` if there are fewer.
    fn advance(&mut self, sent: usize) -> Option<()>;
}

impl Data for &[u8] {
    fn parts(&self) -> impl AsRef<[IoSlice<'_>]> {
        [IoSlice::new(self)]
    }

    fn advance(&mut self, sent: usize) -> Option<()> {
        *self = self.get(sent..)?;
        Some(())
    }
}

impl Data for &mut &[u8] {
    fn parts(&self) -> impl AsRef<[IoSlice<'_>]> {
        [IoSlice::new(self)]
    }

    fn advance(&mut self, sent: usize) -> Option<()> {
        **self = self.get(sent..)?;
        Some(())
    }
}

/// The rest of a partial send stays where it is: the peer determines the number of sends. The
/// memory is used again, except for what a spike has left.
impl Data for &mut VecDeque<u8> {
    fn parts(&self) -> impl AsRef<[IoSlice<'_>]> {
        // The other slice is the first one afterwards.
        [IoSlice::new(self.as_slices().0)]
    }

    fn advance(&mut self, sent: usize) -> Option<()> {
        (sent <= self.len()).then(|| self.drain(..sent))?;
        crate::room::shrink(*self);
        Some(())
    }
}

impl Data for &mut &mut [IoSlice<'_>] {
    fn parts(&self) -> impl AsRef<[IoSlice<'_>]> {
        &***self
    }

    fn advance(&mut self, sent: usize) -> Option<()> {
        let most = self.iter().map(|part| part.len()).sum();
        (sent <= most).then(|| IoSlice::advance_slices(self, sent))
    }
}

/// Ends the sending direction.
pub(super) fn send_eof<S: ByteStream>(stream: &S) -> impl Future<Output = Result<()>> {
    let mut sending = Sending::new(stream);
    poll_fn(move |cx| stream.poll_send_eof(&mut sending.place, cx))
}
