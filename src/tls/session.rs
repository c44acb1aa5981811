//! A TLS connection over a byte stream: who reads, who writes, and how it ends.
//!
//! ```text
//!   receiver ──> inner.receive ──> incoming ──> machine ──> plaintext
//!                                                  │ alerts, tickets, key updates
//!                                                  v
//!   sender ────> plaintext ──> machine ──────────> out ──> inner.send   (one at a time: a turn)
//! ```
//!
//! Always true:
//!
//! * Everything is in `State` at each await. What is lent to a send of the stream below comes back
//!   when that send is dropped, without what was handed over.
//! * Plaintext leaves the state in the poll that returns it.
//! * A receiver never waits for the turn, nor keeps it: what receiving produced is written if that
//!   is possible at once. So a receive that nobody polls holds up no sender. What is left is tried
//!   again after a while, which matters only when a sender was cancelled in between.
//! * While nothing comes, no memory is held for what may come.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Poll, Waker, ready};

use super::lent::Lent;
use super::machine::Machine;
use super::state::{State, truncated};
use super::turn::{Taken, Turn};
use crate::error::{Error, Result, TlsError};
use crate::runtime::context;
use crate::runtime::silence::{CloseLimits, Silence};
use crate::runtime::wait::Wait;
use crate::stream::{ByteStream, Data, Plain, RECEIVE_MAX};

pub(super) struct Session<S> {
    pub(super) inner: S,
    pub(super) state: RefCell<State>,
    /// Whether the end has to be announced, by us and by the peer.
    pub(super) compatible: bool,
    pub(super) receiving: Cell<bool>,
    pub(super) sending: Cell<bool>,
    /// More is probably there: the last receive of the stream below got all that it asked for.
    pub(super) more: Cell<bool>,
    pub(super) aborted: Cell<bool>,
    /// The stream below may hold what it took from us in a send that was cut: only a send of ours
    /// makes it go on.
    pub(super) left_below: Cell<bool>,
    pub(super) turn: Turn,
    /// Who waits to receive, while what is in `out` may become theirs to write.
    pub(super) receiver: RefCell<Option<Waker>>,
}

impl<S> fmt::Debug for Session<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("compatible", &self.compatible)
            .field("aborted", &self.aborted)
            .finish_non_exhaustive()
    }
}

impl<S: ByteStream> Session<S> {
    /// In a box, so that a stream is one pointer: it is moved through futures.
    pub(super) fn new(inner: S, machine: Machine, compatible: bool) -> Box<Self> {
        Box::new(Self {
            inner,
            state: RefCell::new(State::new(machine)),
            compatible,
            receiving: Cell::new(false),
            sending: Cell::new(false),
            more: Cell::new(false),
            aborted: Cell::new(false),
            left_below: Cell::new(false),
            turn: Turn::default(),
            receiver: RefCell::new(None),
        })
    }

    /// Hands over everything that is to be sent.
    pub(super) async fn flush(&self) -> Result<()> {
        let taken = self.turn.take().await?;
        self.flush_in(&taken).await
    }

    async fn flush_in(&self, turn: &Taken<'_>) -> Result<()> {
        let mut flush = pin!(self.hand_over(turn));
        poll_fn(|cx| {
            let flushed = flush.as_mut().poll(cx);
            if flushed.is_pending() && !self.receiving.get() {
                // A peer that does not read makes this wait as long as it likes.
                self.state.borrow_mut().settle_received();
            }
            flushed
        })
        .await
    }

    async fn hand_over(&self, _turn: &Taken<'_>) -> Result<()> {
        if let Some(Plain(socket)) = self.inner.plain_sender() {
            return self.flush_direct(socket).await;
        }
        loop {
            if self.state.borrow().out.is_empty() && !self.left_below.get() {
                return Ok(());
            }
            self.lend(true).await?;
        }
    }

    /// Hands over what is to be sent; nothing is handed over too, to make the stream below go on.
    pub(super) async fn lend(&self, tells: bool) -> Result<()> {
        self.left_below.set(true);
        let lent = Lent::new(self, tells);
        let mut rest = lent.rest();
        let sent = self.inner.send_from(&mut rest.bytes).await;
        self.left_below.set(sent.is_err());
        sent
    }

    /// Does `step` while everything that is to be sent is handed over: a peer that does the same
    /// may not read until it has sent.
    pub(super) async fn while_flushing<T>(
        &self,
        step: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let mut step = pin!(step);
        let mut flush = pin!(self.flush());
        let mut flushed = false;
        poll_fn(|cx| {
            let mut failed = None;
            if !flushed {
                match flush.as_mut().poll(cx) {
                    Poll::Pending => {}
                    Poll::Ready(Ok(())) => flushed = true,
                    Poll::Ready(Err(error)) => failed = Some(error),
                }
            }
            match (step.as_mut().poll(cx), failed) {
                // What the peer has said before it left says why it did.
                (Poll::Pending, Some(error)) => Poll::Ready(Err(error)),
                (polled, _) => polled,
            }
        })
        .await
    }

    pub(super) async fn send(&self, mut data: impl Data) -> Result<()> {
        let mut wait = Wait::new(&"room in a TLS stream");
        let mut claim = Claim::new(&self.sending);
        poll_fn(|cx| {
            context::poll_with(|core| {
                ready!(wait.admit(core, cx))?;
                self.may_send()?;
                Poll::Ready(claim.take())
            })
        })
        .await?;
        loop {
            let taken = match self.turn.try_take() {
                Some(taken) => taken,
                None => self.turn.take().await?,
            };
            // First what an earlier send may have left.
            let left_behind = {
                let state = self.state.borrow();
                let ours = !state.out.is_empty() && (!state.held_back || data.is_empty());
                ours || self.left_below.get()
            };
            if left_behind {
                self.flush_in(&taken).await?;
            }
            self.may_send()?;
            if !data.is_empty() {
                self.state.borrow_mut().encrypt(&mut data)?;
                self.flush_in(&taken).await?;
            }
            if data.is_empty() {
                return Ok(());
            }
        }
    }

    fn may_send(&self) -> Result<()> {
        let state = self.state.borrow();
        if self.aborted.get() || state.eof {
            return Err(Error::Closed);
        }
        state.failure()
    }

    /// Says that we have finished, and hands that over.
    pub(super) async fn send_eof(&self) -> Result<()> {
        let mut wait = Wait::new(&"room in a TLS stream");
        poll_fn(|cx| context::poll_with(|core| wait.admit(core, cx))).await?;
        let announced = self.announce_end(self.compatible);
        if !self.aborted.get() {
            // Also after a failure: what is left is the alert that tells of it.
            self.flush().await?;
        }
        announced?;
        if !self.compatible {
            // Nothing else tells the peer.
            self.inner.send_eof().await?;
        }
        Ok(())
    }

    /// Ends our direction; says so if `aloud`.
    fn announce_end(&self, aloud: bool) -> Result<()> {
        if self.aborted.get() {
            return Err(Error::Closed);
        }
        let mut state = self.state.borrow_mut();
        if !state.eof {
            state.eof = true;
            if aloud {
                state.finish()?;
            }
        }
        Ok(())
    }

    pub(super) async fn close(self: Box<Self>) -> Result<()> {
        let said = self.in_time(pin!(self.send_eof())).await;
        let (peer_closed, truncated) = {
            let state = self.state.borrow();
            (state.peer_closed, state.truncated)
        };
        let inner = self.inner;
        drop(self.state);
        let closed = match inner.close().await {
            // It left when it had finished: our close_notify is what it did not wait for.
            Err(Error::Broken(cause))
                if peer_closed && cause.kind() == io::ErrorKind::ConnectionReset =>
            {
                Ok(())
            }
            closed => closed,
        };
        match said {
            // It had finished before, and does not listen any more.
            Err(Error::Broken(_)) if peer_closed || truncated => closed,
            said => said.and(closed),
        }
    }

    /// Does the last `step` within the limits of closing, and discards what comes meanwhile: a peer
    /// may not read until it has sent.
    async fn in_time(&self, mut step: Pin<&mut impl Future<Output = Result<()>>>) -> Result<()> {
        let below = self.inner.plain_sender().map(|Plain(socket)| socket);
        let limits = below.map_or_else(CloseLimits::default, |socket| socket.close_limits());
        let mut silence = Silence::new(limits);
        let discarded = Cell::new(0);
        let mut discard = pin!(async {
            while let Ok(data) = self.receive_max(RECEIVE_MAX).await {
                discarded.set(discarded.get() + data.len());
            }
            std::future::pending::<()>().await;
        });
        poll_fn(|cx| {
            if let Poll::Ready(done) = step.as_mut().poll(cx) {
                return Poll::Ready(done);
            }
            let _never: Poll<()> = discard.as_mut().poll(cx);
            let queued = || below.map_or(0, |socket| socket.unacknowledged());
            ready!(silence.poll(|| discarded.get().wrapping_sub(queued()) as u64, cx))?;
            let left = queued() + self.state.borrow().out.filled().len();
            let cause = io::Error::from(io::ErrorKind::TimedOut);
            Poll::Ready(Err(Error::not_acknowledged(left, &cause, "the TLS peer")))
        })
        .await
    }

    /// Hands over what is left, and breaks the stream below off without an end of TLS.
    pub(super) async fn reset(&self) -> Result<()> {
        let flushed = self.in_time(pin!(self.flush())).await;
        let reset = self.inner.reset().await;
        self.abort();
        flushed.and(reset)
    }

    /// Ends the TLS connection in order, and gives back the stream below and what came behind it.
    pub(super) async fn end_tls(self: Box<Self>) -> Result<(S, Vec<u8>)> {
        self.announce_end(true)?;
        let mut nothing = [0; 1];
        let received = self.while_flushing(self.receive_into(&mut nothing)).await;
        match received {
            Err(Error::EndOfStream) if self.state.borrow().peer_closed => {
                self.flush().await?;
                let rest = self.state.borrow().incoming.filled().to_vec();
                Ok((self.inner, rest))
            }
            Err(Error::EndOfStream) => Err(truncated()),
            Err(error) => Err(error),
            Ok(_) => Err(TlsError::new(
                "unwrap: the peer sent data that was not received before its end",
            )
            .into()),
        }
    }

    pub(super) fn abort(&self) {
        self.aborted.set(true);
        self.inner.abort();
        self.turn.close();
        self.wake_receiver();
    }
}

impl<S> Session<S> {
    pub(super) fn wake_receiver(&self) {
        // Taken, not cloned: a foreign waker may do anything meanwhile. A receiver that was woken
        // leaves another one if it goes on waiting.
        let receiver = self.receiver.take();
        if let Some(receiver) = receiver {
            receiver.wake();
        }
    }
}

/// One of the two directions is in use; free again when dropped.
pub(super) struct Claim<'a> {
    busy: &'a Cell<bool>,
    held: bool,
}

impl<'a> Claim<'a> {
    pub(super) fn new(busy: &'a Cell<bool>) -> Self {
        Self { busy, held: false }
    }

    pub(super) fn take(&mut self) -> Result<()> {
        if !self.held && self.busy.replace(true) {
            return Err(Error::Busy);
        }
        self.held = true;
        Ok(())
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if self.held {
            self.busy.set(false);
        }
    }
}
