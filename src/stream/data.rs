//! The data of a send: a slice, a slice that advances, or several pieces.

use std::io::IoSlice;

/// Data to be sent, and the part of it that is left.
pub(crate) trait Data {
    /// Returns all that is left.
    fn rest(&self) -> Rest<'_>;

    /// Removes the first `sent` bytes.
    fn advance(&mut self, sent: usize);

    fn is_empty(&self) -> bool {
        match self.rest() {
            Rest::One(part) => part.is_empty(),
            Rest::Many(parts) => parts.iter().all(|part| part.is_empty()),
        }
    }
}

/// The rest of some data.
#[derive(Debug)]
pub(crate) enum Rest<'a> {
    One(&'a [u8]),
    /// To be sent as if they were one piece.
    Many(&'a [IoSlice<'a>]),
}

impl Data for &[u8] {
    fn rest(&self) -> Rest<'_> {
        Rest::One(self)
    }

    fn advance(&mut self, sent: usize) {
        *self = &self[sent..];
    }
}

impl Data for &mut &[u8] {
    fn rest(&self) -> Rest<'_> {
        Rest::One(self)
    }

    fn advance(&mut self, sent: usize) {
        **self = &self[sent..];
    }
}

/// The rest of a partial send moves to the front; the memory is used again, except for what a spike
/// has left.
impl Data for &mut Vec<u8> {
    fn rest(&self) -> Rest<'_> {
        Rest::One(self)
    }

    fn advance(&mut self, sent: usize) {
        self.drain(..sent);
        crate::room::shrink(*self);
    }
}

impl Data for &mut &mut [IoSlice<'_>] {
    fn rest(&self) -> Rest<'_> {
        Rest::Many(self)
    }

    fn advance(&mut self, sent: usize) {
        IoSlice::advance_slices(self, sent);
    }
}
