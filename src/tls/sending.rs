//! Sending in a TLS connection, and ending our direction: plaintext to records, records to the
//! stream below.

use std::io::IoSlice;
use std::mem::take;
use std::task::{Context, Poll, ready};

use super::buffer::Buffer;
use super::session::Session;
use crate::error::{Error, Result};
use crate::executor::wake_each;
use crate::runtime::context;
use crate::runtime::place::Place;
use crate::stream::{ByteStream, lawful_send};

impl<S: ByteStream> Session<S> {
    /// Hands over data that no sender hands over, without waiting for it.
    pub(super) fn hand_over_beside(&self, cx: &mut Context<'_>) {
        if !self.sending.is_held() && self.has_left() && !self.state.borrow().held_back {
            // The next sender gets an error of sending; the caller gets only its own errors.
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
            if !self.receiving.claim.is_held() {
                // A peer that does not read may make this wait forever.
                state.settle_received();
            }
        }
        polled
    }

    fn poll_out(&self, below: &mut Place, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.state.borrow_mut().held_back = false;
        while !self.state.borrow().out.is_empty() {
            let mut out = take(&mut self.state.borrow_mut().out);
            let parts = [IoSlice::new(out.filled())];
            let polled = lawful_send(self.inner.poll_send(below, cx, &parts), &parts);
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

    /// Puts data back that was taken out; data that was added to `out` meanwhile comes after it.
    fn put_back(&self, mut out: Buffer) {
        let mut state = self.state.borrow_mut();
        out.append(state.out.filled());
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
        // First the rest of an earlier send, except data that waits for this one.
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

    /// Ends an operation that sends: releases its claim and wakes the waiting ones.
    fn end_send<T>(&self, place: &mut Place, polled: Poll<Result<T>>) -> Poll<Result<T>> {
        if polled.is_ready() && !place.is_idle() && !place.keeps() {
            place.leave(&self.sending);
            // After a success the sender itself still hands over the rest in `out`.
            self.hand_on(matches!(polled, Poll::Ready(Err(_))));
        }
        polled
    }

    /// Wakes the tasks that end our direction, and a waiting receiver if data is `left` that it has
    /// to hand over.
    #[inline]
    fn hand_on(&self, left: bool) {
        let left = left && self.has_left();
        if left || !self.enders.borrow().is_empty() {
            self.wake(left);
        }
    }

    #[cold]
    fn wake(&self, left: bool) {
        let enders = self.enders.take();
        let receiver = left.then(|| self.receiving.waiter.take()).flatten();
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

    /// Ends our direction with `close_notify`, and hands that over.
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
            // The sender hands it over, and wakes this task when it leaves.
            let mut enders = self.enders.borrow_mut();
            if !enders.iter().any(|ender| ender.will_wake(cx.waker())) {
                enders.push(cx.waker().clone());
            }
            drop(enders);
            let what = &"another task's data to be sent through a TLS stream";
            return context::poll_with(|core| {
                place.stay_behind(core);
                place.pend(core, cx, what)
            });
        }
        // Also after a failure: the alert that reports it may be left.
        let polled = self.poll_end(cx);
        self.end_send(place, polled)
    }

    fn poll_end(&self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        ready!(self.poll_hand_over(cx))?;
        self.state.borrow().is_announced()?;
        if self.compatible {
            return Poll::Ready(Ok(()));
        }
        // Otherwise the peer would not see the end.
        let mut below = self.send_below.take();
        let polled = self.inner.poll_send_eof(&mut below, cx);
        self.send_below.set(below);
        polled
    }

    /// Ends our direction; with `close_notify` if `aloud`.
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

    /// Runs `step` while everything that is to be sent is handed over: a peer that does the same
    /// may not read until it has sent.
    pub(super) fn poll_while_handing_over<T>(
        &self,
        cx: &mut Context<'_>,
        step: impl FnOnce(&mut Context<'_>) -> Poll<Result<T>>,
    ) -> Poll<Result<T>> {
        let sent = self.poll_hand_over(cx);
        match (step(cx), sent) {
            // The peer's last message may have the reason; so receiving decides.
            (Poll::Pending, Poll::Ready(Err(error))) => Poll::Ready(Err(error)),
            (polled, _) => polled,
        }
    }

    pub(super) fn leave_send(&self, place: &mut Place) {
        if place.behind {
            place.leave(&self.sending);
        } else if !place.is_idle() {
            let mut below = self.send_below.take();
            if !below.is_idle() {
                self.inner.leave_send(&mut below);
            }
            place.leave(&self.sending);
            self.hand_on(true);
        }
    }
}
