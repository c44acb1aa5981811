//! A TLS connection over a byte stream, in polls: its state, and receiving.
//!
//! ```text
//!   receiver ──> inner.receive ──> incoming ──> machine ──> plaintext
//!                                                  │ alerts, tickets, key updates
//!                                                  v
//!   sender ────> plaintext ──> machine ──────────> out ──> inner.send   (what waits)
//! ```
//!
//! Invariants:
//!
//! * Everything is in `State` between two polls, and the places in the stream below are the
//!   session's: all ciphertext is in `out`, in order, no matter which operation hands it over.
//! * Plaintext leaves the state in the poll that returns it.
//! * A waiting sender hands over the data in `out`; when it leaves, a waiting receiver takes over.
//!   So a receive that is not polled delays no sender, and messages that result from receiving (an
//!   alert, a key update) wait for no sender.
//! * While no data comes, no memory is used for it.

use std::cell::{Cell, RefCell};
use std::mem::take;
use std::task::{Context, Poll, Waker, ready};

use super::machine::Machine;
use super::state::State;
use crate::error::{Error, Result};
use crate::executor::wake_each;
use crate::runtime::context;
use crate::runtime::place::{Claim, Place};
use crate::shown::shown;
use crate::stream::{ByteStream, Half, lawful, no_room};
use crate::sys::room::Room;

/// The smallest size of a receive from the stream below: a record and some more. The bytes after
/// that record are received without a copy.
const RECEIVE_MIN: usize = 16_384 + 512;

/// The largest size: two records.
const RECEIVE_MOST: usize = 32_768 + 512;

pub(super) struct Session<S> {
    pub(super) inner: S,
    pub(super) state: RefCell<State>,
    /// Whether `close_notify` is required, from both sides.
    pub(super) compatible: bool,
    pub(super) aborted: Cell<bool>,
    pub(super) receiving: Half,
    pub(super) sending: Claim,
    /// The places in the stream below.
    pub(super) receive_below: Cell<Place>,
    pub(super) send_below: Cell<Place>,
    /// The stream below has accepted data that it may not have handed over.
    pub(super) left_below: Cell<bool>,
    /// The wakers of tasks that end our direction while another task sends, and wait until it has
    /// handed over.
    pub(super) enders: RefCell<Vec<Waker>>,
}

shown!([S] Session<S>, "Session", this => compatible: this.compatible, ..);

impl<S: ByteStream> Session<S> {
    /// In a box, so that a stream is one pointer: it is moved through futures.
    pub(super) fn new(inner: S, machine: Machine, compatible: bool) -> Box<Self> {
        Box::new(Self {
            inner,
            state: RefCell::new(State::new(machine)),
            compatible,
            aborted: Cell::new(false),
            receiving: Half::default(),
            sending: Claim::default(),
            receive_below: Cell::default(),
            send_below: Cell::default(),
            left_below: Cell::new(false),
            enders: RefCell::default(),
        })
    }

    pub(super) fn poll_receive(
        &self,
        place: &mut Place,
        cx: &mut Context<'_>,
        room: &mut Room<'_>,
    ) -> Poll<Result<()>> {
        if room.remaining() == 0 {
            return Poll::Ready(Err(no_room()));
        }
        if place.is_idle() && !place.keeps() && self.gives_at_once(room) {
            return Poll::Ready(Ok(()));
        }
        let polled = self.poll_plaintext(place, cx, room);
        if polled.is_ready() {
            self.receiving.leave(place);
        }
        polled
    }

    /// The usual receive into a small room, in a few steps: fills it with the rest of a record.
    #[inline]
    fn gives_at_once(&self, room: &mut Room<'_>) -> bool {
        let mut state = self.state.borrow_mut();
        let gives = state.plain.len() >= room.remaining()
            && !self.receiving.claim.is_held()
            && !self.aborted.get()
            && context::pass_if_calm();
        if gives {
            let took = room.put(state.plain.filled());
            state.plain.discard(took);
        }
        gives
    }

    fn poll_plaintext(
        &self,
        place: &mut Place,
        cx: &mut Context<'_>,
        room: &mut Room<'_>,
    ) -> Poll<Result<()>> {
        ready!(context::poll_with(|core| {
            place.begin(core, cx, &self.receiving.claim, || self.open())
        }))?;
        let mut waited = false;
        loop {
            if self.drain(cx, room)? {
                if !waited {
                    // The operation of the stream below has already counted.
                    context::finished();
                }
                return Poll::Ready(Ok(()));
            }
            waited = true;
            ready!(self.poll_below(cx))?;
        }
    }

    /// Moves plaintext into the room; returns false if there is none yet.
    fn drain(&self, cx: &mut Context<'_>, room: &mut Room<'_>) -> Result<bool> {
        let ended = {
            let mut state = self.state.borrow_mut();
            state.drain(room);
            if !room.is_empty() {
                return Ok(true);
            }
            state.end(self.compatible)
        };
        if ended.is_err() {
            // Bytes behind the end may stay for long.
            self.state.borrow_mut().settle_received();
            // An alert may have the reason.
            self.hand_over_beside(cx);
        }
        ended.map(|()| false)
    }

    /// Receives more ciphertext, or records the end of the stream below; hands over the rest of
    /// `out` while it waits.
    pub(super) fn poll_below(&self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.open()?;
        // Taken out: foreign code may run, which must not find the state borrowed.
        let mut incoming = take(&mut self.state.borrow_mut().incoming);
        let memory = incoming.room(RECEIVE_MIN);
        let size = memory.len().min(RECEIVE_MOST);
        let mut room = Room::new(&mut memory[..size]);
        let mut below = self.receive_below.take();
        let polled = self.inner.poll_receive(&mut below, cx, &mut room);
        self.receive_below.set(below);
        let got = room.len();
        // More is in a room that the stream has put in its place.
        incoming.commit(if got <= size { got } else { 0 });
        if got == 0 {
            incoming.settle();
        }
        self.state.borrow_mut().incoming = incoming;
        match polled {
            Poll::Pending => {
                self.receiving.waiter.set(Some(cx.waker().clone()));
                self.hand_over_beside(cx);
                Poll::Pending
            }
            // No error yet: `close_notify` may have come before it.
            Poll::Ready(Err(Error::EndOfStream)) => {
                self.state.borrow_mut().truncated = true;
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Ok(())) => Poll::Ready(lawful(got, size, "receive from").map(drop)),
            failed => failed,
        }
    }

    pub(super) fn open(&self) -> Result<()> {
        match self.aborted.get() {
            true => Err(Error::Closed),
            false => Ok(()),
        }
    }

    pub(super) fn leave_receive(&self, place: &mut Place) {
        if !place.is_idle() {
            let mut below = self.receive_below.take();
            if !below.is_idle() {
                self.inner.leave_receive(&mut below);
            }
            self.receiving.leave(place);
        }
    }

    pub(super) fn abort(&self) {
        self.aborted.set(true);
        self.inner.abort();
        let enders = self.enders.take();
        let receiver = self.receiving.waiter.take();
        wake_each(enders.into_iter().chain(receiver));
    }
}
