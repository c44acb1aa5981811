//! Receiving from a TLS connection: plaintext that is there, ciphertext that is there, waiting.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use super::session::{Claim, Session};
use super::sink::{Exact, Into};
use super::state::Sink;
use crate::error::{Error, Result};
use crate::runtime::context;
use crate::runtime::sleep::{Sleep, When};
use crate::runtime::wait::Wait;
use crate::stream::{ByteStream, Plain, RECEIVE_MAX};

/// What a receive that has to wait takes from the stream below at once: a record and some more.
/// What lies behind it is received without a copy.
pub(super) const WAIT_MAX: usize = 16_384 + 512;

/// Room for what is there already: two records.
pub(super) const AT_ONCE: usize = 32_768 + 512;

/// When to try again to write what receiving left behind.
const RETRY_FIRST: Duration = Duration::from_millis(1);
const RETRY_LAST: Duration = Duration::from_millis(64);

impl<S: ByteStream> Session<S> {
    pub(super) async fn receive_into<'b>(&self, buf: &'b mut [u8]) -> Result<&'b mut [u8]> {
        let mut sink = Into::new(buf);
        self.receive(&mut sink).await?;
        Ok(sink.filled())
    }

    pub(super) async fn receive_max(&self, max: usize) -> Result<Vec<u8>> {
        let mut sink = Exact::new(max.min(RECEIVE_MAX));
        self.receive(&mut sink).await?;
        Ok(sink.into_bytes())
    }

    async fn receive(&self, sink: &mut impl Sink) -> Result<()> {
        if sink.room() == 0 {
            let message = "a receive of at most 0 bytes can never give any";
            return Err(Error::invalid("receive", message));
        }
        let mut wait = Wait::new(&"data on a TLS stream");
        let mut claim = Claim::new(&self.receiving);
        let mut fresh = true;
        loop {
            let drained = poll_fn(|cx| {
                context::poll_with(|core| {
                    ready!(wait.admit(core, cx))?;
                    claim.take()?;
                    let drained = self.drain(sink, cx);
                    if fresh && matches!(drained, Ok(true)) {
                        // What the stream below did has counted already.
                        wait.done(core);
                    }
                    Poll::Ready(drained)
                })
            });
            if drained.await? {
                return Ok(());
            }
            fresh = false;
            self.receive_below().await?;
        }
    }

    /// Moves plaintext into the sink; false if there is none yet.
    fn drain(&self, sink: &mut impl Sink, cx: &mut Context<'_>) -> Result<bool> {
        if self.aborted.get() {
            return Err(Error::Closed);
        }
        let ended = {
            let mut state = self.state.borrow_mut();
            state.drain(sink);
            if !sink.is_empty() {
                return Ok(true);
            }
            state.end(self.compatible)
        };
        if ended.is_err() {
            // An alert says why.
            self.write_at_once(cx);
        }
        ended.map(|()| false)
    }

    /// Gets more ciphertext, or notes the end of the stream below.
    pub(super) async fn receive_below(&self) -> Result<()> {
        if let Some(Plain(socket)) = self.inner.plain_receiver() {
            return self.note(self.receive_direct(socket).await);
        }
        let received = if self.more.get() && self.receive_at_once().await? {
            return Ok(());
        } else {
            self.receive_later().await
        };
        self.note(received.map(|bytes| {
            self.more.set(bytes.len() >= WAIT_MAX);
            self.state.borrow_mut().incoming.adopt(bytes);
        }))
    }

    /// The end of the stream below is no error yet: what came before it may say so.
    fn note(&self, received: Result<()>) -> Result<()> {
        if matches!(received, Err(Error::EndOfStream)) {
            self.state.borrow_mut().truncated = true;
            return Ok(());
        }
        received
    }

    /// Takes what is there without waiting, straight into the buffer in which it is decrypted.
    async fn receive_at_once(&self) -> Result<bool> {
        poll_fn(|cx| {
            let mut incoming = std::mem::take(&mut self.state.borrow_mut().incoming);
            let room = incoming.room(WAIT_MAX);
            let size = room.len().min(AT_ONCE);
            let polled = pin!(self.inner.receive_into(&mut room[..size])).poll(cx);
            let received = polled.map_ok(|bytes| bytes.len());
            if let Poll::Ready(Ok(got)) = received {
                incoming.commit(got);
            }
            self.state.borrow_mut().incoming = incoming;
            self.more
                .set(matches!(received, Poll::Ready(Ok(got)) if got >= WAIT_MAX));
            Poll::Ready(match received {
                Poll::Ready(Ok(_)) => Ok(true),
                // The end is found again by who waits.
                Poll::Pending | Poll::Ready(Err(Error::EndOfStream)) => Ok(false),
                Poll::Ready(Err(error)) => Err(error),
            })
        })
        .await
    }

    /// Waits for ciphertext, holding no buffer, and writes what was left behind.
    async fn receive_later(&self) -> Result<Vec<u8>> {
        self.state.borrow_mut().incoming.settle();
        let mut receive = pin!(self.inner.receive_max(WAIT_MAX));
        let mut retry = None;
        let here = Here(self);
        let received = poll_fn(|cx| {
            let polled = receive.as_mut().poll(cx);
            if polled.is_pending() {
                here.wait(cx.waker());
                if let Err(error) = self.write_left_behind(&mut retry, cx) {
                    return Poll::Ready(Err(error));
                }
            }
            polled
        })
        .await;
        drop(here);
        received
    }

    /// Writes what nobody else writes, now or a little later.
    pub(super) fn write_left_behind(
        &self,
        retry: &mut Option<Retry>,
        cx: &mut Context<'_>,
    ) -> Result<()> {
        loop {
            if !self.write_at_once(cx) {
                *retry = None;
                return Ok(());
            }
            let retry = retry.get_or_insert_with(Retry::new);
            match Pin::new(&mut retry.sleep).poll(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(slept) => slept?,
            }
            retry.again();
        }
    }

    /// Writes what the stream below takes at once, if it is nobody's turn. True if something is
    /// left that nobody is writing.
    fn write_at_once(&self, cx: &mut Context<'_>) -> bool {
        let idle = {
            let state = self.state.borrow();
            state.out.is_empty() || state.held_back
        };
        if idle {
            return false;
        }
        let Some(taken) = self.turn.try_take() else {
            return false;
        };
        let sent = pin!(self.lend(false)).poll(cx).map(drop);
        drop(taken);
        // An error is the sender's to see, or the receiver's own.
        sent.is_pending()
    }
}

/// A later attempt to write.
pub(super) struct Retry {
    after: Duration,
    sleep: Sleep,
}

impl Retry {
    fn new() -> Self {
        Self {
            after: RETRY_FIRST,
            sleep: Sleep::new(When::After(RETRY_FIRST)),
        }
    }

    fn again(&mut self) {
        self.after = (self.after * 2).min(RETRY_LAST);
        self.sleep = Sleep::new(When::After(self.after));
    }
}

/// A receiver that waits is known while it does.
pub(super) struct Here<'a, S>(pub(super) &'a Session<S>);

impl<S> Here<'_, S> {
    pub(super) fn wait(&self, waker: &Waker) {
        let old = self.0.receiver.replace(Some(waker.clone()));
        drop(old);
    }
}

impl<S> Drop for Here<'_, S> {
    fn drop(&mut self) {
        let old = self.0.receiver.take();
        drop(old);
    }
}
