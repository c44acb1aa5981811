//! The sending side of a layer with pieces that must not be torn: [`Outgoing`].
//!
//! A send that is cut in the middle of a frame has handed over its first bytes, so the others have
//! to follow before anything else. They wait here, in the object, and the next send begins with
//! them.

use std::cell::{Cell, RefCell};

use soloio::{ByteSendStream, ByteStream, Error, Result};

/// The bytes of a piece that was begun and not handed over to its end, and the claim of a send.
#[derive(Default)]
pub(crate) struct Outgoing {
    unsent: RefCell<Vec<u8>>,
    busy: Cell<bool>,
}

/// The claim of a send; released on drop.
struct Held<'a>(&'a Cell<bool>);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

/// Data on its way. On drop its unsent part, up to where the piece ends, goes into `unsent`.
struct Part<'a, 'd, F: FnMut(usize) -> usize> {
    unsent: &'a RefCell<Vec<u8>>,
    data: &'d [u8],
    rest: &'d [u8],
    /// Gets the number of bytes that were handed over, and returns the end of the piece.
    taken: F,
}

impl<F: FnMut(usize) -> usize> Drop for Part<'_, '_, F> {
    fn drop(&mut self) {
        let gone = self.data.len() - self.rest.len();
        let end = (self.taken)(gone);
        (self.unsent.borrow_mut()).extend_from_slice(&self.data[gone..end]);
    }
}

impl Outgoing {
    fn hold(&self) -> Result<Held<'_>> {
        match self.busy.replace(true) {
            true => Err(Error::Busy),
            false => Ok(Held(&self.busy)),
        }
    }

    /// The number of bytes that an earlier send has begun with.
    pub(crate) fn unsent(&self) -> usize {
        self.unsent.borrow().len()
    }

    /// Sends `data`, after the rest of an earlier piece. At the end, also that of a cut send,
    /// `taken` is called with the number of bytes of `data` that were handed over, and returns the
    /// number up to which they belong together: the stream keeps those.
    pub(crate) async fn send<S: ByteSendStream>(
        &self,
        stream: &S,
        data: &[u8],
        taken: impl FnMut(usize) -> usize,
    ) -> Result<()> {
        let _held = self.hold()?;
        if self.unsent() > 0 {
            self.rest(stream).await?;
        }
        let unsent = &self.unsent;
        let rest = data;
        let mut part = Part {
            unsent,
            data,
            rest,
            taken,
        };
        stream.send_from(&mut part.rest).await
    }

    /// Sends `data`, the bytes of `item`, which belong together; takes the item out if the first
    /// of them was handed over.
    pub(crate) async fn send_whole<S: ByteSendStream, T>(
        &self,
        stream: &S,
        data: &[u8],
        item: &mut Option<T>,
    ) -> Result<()> {
        let begun = |gone| match gone {
            0 => 0,
            _ => {
                drop(item.take());
                data.len()
            }
        };
        self.send(stream, data, begun).await
    }

    /// Hands over the rest of a piece that was begun; all of it is one.
    async fn rest<S: ByteSendStream>(&self, stream: &S) -> Result<()> {
        let bytes = self.unsent.take();
        let mut part = Part {
            unsent: &self.unsent,
            data: &bytes,
            rest: &bytes,
            taken: |_| bytes.len(),
        };
        stream.send_from(&mut part.rest).await
    }

    /// Hands over the rest of a piece, and ends the direction.
    pub(crate) async fn send_eof<S: ByteStream>(&self, stream: &S) -> Result<()> {
        let _held = self.hold()?;
        if self.unsent() > 0 {
            self.rest(stream).await?;
        }
        stream.send_eof().await
    }

    /// Hands over the rest of a piece, and closes the stream in any case.
    pub(crate) async fn close<S: ByteStream>(self, stream: S) -> Result<()> {
        let rest = match self.unsent() {
            0 => Ok(()),
            _ => self.rest(&stream).await,
        };
        let closed = stream.close().await;
        rest.and(closed)
    }
}
