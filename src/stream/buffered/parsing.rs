//! The receive of an item, between two polls: [`Parsing`].

use std::task::{Context, Poll, ready};

use super::Buffered;
use crate::error::{Error, Result};
use crate::runtime::context;
use crate::runtime::place::Held;
use crate::stream::ByteReceiveStream;
use crate::stream::futures::Receiving;

/// A receive of an item. Not an async block: that would move all of this once more.
pub(super) struct Parsing<'a, S: ByteReceiveStream> {
    of: &'a Buffered<S>,
    /// The parser gets no more bytes than this.
    limit: usize,
    receiving: Receiving<'a, S>,
    /// The direction, once it is claimed; released after `receiving`.
    held: Option<Held<'a>>,
    stage: Stage,
}

enum Stage {
    /// It has not passed the gate.
    New,
    /// The buffer may have bytes that the parser has not seen.
    Parses,
    /// So many bytes did not suffice.
    Waits(usize),
}

impl<'a, S: ByteReceiveStream> Parsing<'a, S> {
    #[inline]
    pub(super) fn new(of: &'a Buffered<S>, limit: usize) -> Self {
        Self {
            of,
            limit,
            receiving: Receiving::new(&of.stream),
            held: None,
            stage: Stage::New,
        }
    }

    /// Receives until `parse` has found its item at the front of the received bytes, of which it
    /// gets no more than the limit. It returns the number of bytes to remove, and the item.
    #[inline]
    pub(super) fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        parse: impl FnMut(&[u8]) -> Result<Option<(usize, T)>>,
    ) -> Poll<Result<T>> {
        let item = ready!(self.poll_item(cx, parse));
        // Now, because the future may be dropped long after its end.
        (self.held, self.stage) = (None, Stage::New);
        Poll::Ready(item)
    }

    #[inline]
    fn poll_item<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut parse: impl FnMut(&[u8]) -> Result<Option<(usize, T)>>,
    ) -> Poll<Result<T>> {
        let of = self.of;
        if let Stage::New = self.stage {
            ready!(self.poll_begin(cx))?;
        }
        loop {
            let seen = if let Stage::Waits(seen) = self.stage {
                seen
            } else {
                let ahead = of.ahead.borrow();
                let seen = ahead.as_slice().len().min(self.limit);
                // A parser may panic, and its receive stay: it would claim the direction.
                let held = self.held.take();
                self.stage = Stage::New;
                let found = parse(&ahead.as_slice()[..seen]);
                self.held = held;
                drop(ahead);
                if of.aborted.get() {
                    // By the parser, which has borrowed the bytes.
                    of.end();
                    return Poll::Ready(Err(Error::Closed));
                }
                match found? {
                    Some((count, item)) => {
                        of.ahead.borrow_mut().skip(count);
                        return Poll::Ready(Ok(item));
                    }
                    None if seen == self.limit => {
                        return Poll::Ready(Err(Error::DelimiterNotFound(seen)));
                    }
                    None => self.stage = Stage::Waits(seen),
                }
                seen
            };
            let came = ready!(self.receiving.poll_max(cx, self.limit - seen));
            self.receiving = Receiving::new(&of.stream);
            of.open()?;
            match came {
                Ok(data) => of.ahead.borrow_mut().push(data),
                Err(Error::EndOfStream) if seen > 0 => Err(Error::IncompleteRead(seen))?,
                Err(error) => Err(error)?,
            }
            self.stage = Stage::Parses;
        }
    }

    /// Claims the direction, and passes the gate: bytes in the buffer do that, too.
    #[inline]
    fn poll_begin(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let of = self.of;
        if self.held.is_none() {
            of.open()?;
            self.held = Some(of.receiving.hold()?);
        }
        if !context::pass_if_calm() {
            ready!(self.poll_gate(cx))?;
        }
        self.stage = Stage::Parses;
        Poll::Ready(Ok(()))
    }

    #[cold]
    fn poll_gate(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        ready!(context::poll_with(|core| {
            ready!(self.receiving.place.admit(core, cx))?;
            core.finished();
            Poll::Ready(Ok(()))
        }))?;
        self.receiving = Receiving::new(&self.of.stream);
        Poll::Ready(self.of.open())
    }
}
