//! Sending through a TLS connection, and ending our direction: plaintext into records, records into
//! the stream below.

use std::future::poll_fn;
use std::io::IoSlice;
use std::mem::take;
use std::task::{Context, Poll, ready};

use super::buffer::Buffer;
use super::session::Session;
use crate::error::{Error, Result};
use crate::executor::wake_each;
use crate::runtime::context;
use crate::runtime::place::Place;
use crate::stream::ByteStream;

impl<S: ByteStream> Session<S> {
    /// Hands over what no sender does, without waiting for it.
    pub(super) fn hand_over_beside(&self, cx: &mut Context<'_>) {
        if !self.sending.is_held() && self.has_left() && !self.state.borrow().held_back {
            // An error of sending is told to the next sender, and one of receiving to this one.
            drop(self.poll_hand_over(cx));
        }
    }

    fn has_left(&self) -> bool {
        self.left_below.get() || !self.state.borrow().out.is_empty()
    }

    /// Hands over everything that is to be sent.
    pub(super) fn poll_hand_over(&self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let mut below = self.send_below.take();
        let polled = self.poll_out(&mut below, cx);
        self.send_below.set(below);
        if polled.is_pending() {
            let mut state = self.state.borrow_mut();
            state.out.settle();
            if !self.receiving.is_held() {
                // A peer that does not read makes this wait as long as it likes.
                state.settle_received();
            }
        }
        polled
    }

    fn poll_out(&self, below: &mut Place, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.state.borrow_mut().held_back = false;
        loop {
            let mut out = take(&mut self.state.borrow_mut().out);
            if out.is_empty() {
                break;
            }
            let parts = [IoSlice::new(out.filled())];
            let polled = self.inner.poll_send(below, cx, &parts);
            if let Poll::Ready(Ok(sent)) = polled {
                self.left_below.set(true);
                out.discard(sent);
            }
            self.put_back(out);
            ready!(polled)?;
        }
        if self.left_below.get() {
            ready!(self.inner.poll_flush(below, cx))?;
            self.left_below.set(false);
        }
        Poll::Ready(Ok(()))
    }

    /// What was put into `out` while this was taken out of it comes after it.
    fn put_back(&self, mut out: Buffer) {
        let mut state = self.state.borrow_mut();
        out.append(state.out.filled());
        if out.is_empty() {
            out.release();
        }
        state.out = out;
    }

    pub(super) fn poll_send(
        &self,
        place: &mut Place,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let polled = self.poll_encrypt(place, cx, parts);
        self.end_send(place, polled)
    }

    fn poll_encrypt(
        &self,
        place: &mut Place,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        ready!(self.begin_send(place, cx, Self::may_send))?;
        let wanted = parts.iter().map(|part| part.len()).sum::<usize>();
        // First what an earlier send has left, but for what waits for this one.
        let waits_for_data = wanted > 0 && self.state.borrow().held_back;
        if self.has_left() && !waits_for_data {
            ready!(self.poll_hand_over(cx))?;
            self.may_send()?;
        }
        match wanted {
            0 => Poll::Ready(Ok(0)),
            _ => Poll::Ready(self.state.borrow_mut().encrypt(parts)),
        }
    }

    /// The gate of an operation that sends, and its claim.
    fn begin_send(
        &self,
        place: &mut Place,
        cx: &mut Context<'_>,
        may: impl Fn(&Self) -> Result<()>,
    ) -> Poll<Result<()>> {
        context::poll_with(|core| place.begin(core, cx, &self.sending, || may(self)))
    }

    /// Passes on what an operation that sends says, at the end of which others go on.
    fn end_send<T>(&self, place: &mut Place, polled: Poll<Result<T>>) -> Poll<Result<T>> {
        if polled.is_ready() && !place.is_idle() && !place.keeps() {
            place.leave(&self.sending);
            // What a success has left in `out` is still the sender's to hand over.
            self.hand_on(matches!(polled, Poll::Ready(Err(_))));
        }
        polled
    }

    /// Wakes those that end our direction, and a receiver that may have something `left` to hand
    /// over.
    fn hand_on(&self, left: bool) {
        let enders = self.enders.take();
        let receiver = match left && self.has_left() {
            true => self.receiver.take(),
            false => None,
        };
        wake_each(enders.into_iter().chain(receiver));
    }

    pub(super) fn poll_flush(&self, place: &mut Place, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if !self.has_left() && place.is_idle() {
            return Poll::Ready(self.open());
        }
        let polled = match self.begin_send(place, cx, Self::open) {
            Poll::Ready(Ok(())) => self.poll_hand_over(cx),
            polled => polled,
        };
        self.end_send(place, polled)
    }

    /// Says that we have finished, and hands that over.
    pub(super) fn poll_send_eof(
        &self,
        place: &mut Place,
        cx: &mut Context<'_>,
    ) -> Poll<Result<()>> {
        ready!(context::poll_with(|core| place.admit(core, cx)))?;
        self.open()?;
        self.announce_end(self.compatible);
        let claimed = context::poll_with(|core| Poll::Ready(place.claim(core, &self.sending)));
        if matches!(claimed, Poll::Ready(Err(Error::Busy))) && self.has_left() {
            // The sender hands it over, and wakes this one when it leaves.
            let mut enders = self.enders.borrow_mut();
            if !enders.iter().any(|ender| ender.will_wake(cx.waker())) {
                enders.push(cx.waker().clone());
            }
            drop(enders);
            let what = &"another task's data to be sent through a TLS stream";
            return context::poll_with(|core| place.pend(core, cx, what));
        }
        // Also after a failure: what is left is the alert that tells of it.
        let polled = self.poll_end(cx);
        self.end_send(place, polled)
    }

    fn poll_end(&self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        ready!(self.poll_hand_over(cx))?;
        self.state.borrow().is_announced()?;
        if self.compatible {
            return Poll::Ready(Ok(()));
        }
        // Nothing else tells the peer.
        let mut below = self.send_below.take();
        let polled = self.inner.poll_send_eof(&mut below, cx);
        self.send_below.set(below);
        polled
    }

    /// Ends our direction; says so if `aloud`.
    pub(super) fn announce_end(&self, aloud: bool) {
        let mut state = self.state.borrow_mut();
        if !state.eof {
            state.eof = true;
            if aloud {
                state.finish();
            }
        }
    }

    fn may_send(&self) -> Result<()> {
        self.open()?;
        let state = self.state.borrow();
        match state.eof {
            true => Err(Error::Closed),
            false => state.failure(),
        }
    }

    /// Does `step` while everything that is to be sent is handed over: a peer that does the same
    /// may not read until it has sent.
    pub(super) async fn while_handing_over<T>(
        &self,
        mut step: impl FnMut(&mut Context<'_>) -> Poll<Result<T>>,
    ) -> Result<T> {
        poll_fn(|cx| {
            let sent = self.poll_hand_over(cx);
            match (step(cx), sent) {
                // What the peer has said before it left says why it did.
                (Poll::Pending, Poll::Ready(Err(error))) => Poll::Ready(Err(error)),
                (polled, _) => polled,
            }
        })
        .await
    }

    pub(super) fn leave_send(&self, place: &mut Place) {
        if !place.is_idle() {
            let mut below = self.send_below.take();
            self.inner.leave_send(&mut below);
            place.leave(&self.sending);
            self.hand_on(true);
        }
    }
}
