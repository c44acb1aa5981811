//! The progress of a relay: [`Relayed`].

use std::cell::Cell;

use super::{Failed, is_about_the_stream};
use crate::error::Error;

/// One of the two streams of a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RelaySide {
    /// The first one given.
    A,
    /// The second one given.
    B,
}

/// The progress of a relay.
///
/// Bytes are counted when the stream has accepted them, as
/// [`send_from`](crate::ByteSendStream::send_from) does: of TLS, the data and not its records, with
/// up to 32,768 bytes that its session may not have sent yet. That the peer has them is known only
/// after [`close`](crate::ByteStream::close).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Relayed {
    /// Bytes that were received from the first stream and handed to the second.
    pub a_to_b: u64,
    /// Bytes that were received from the second stream and handed to the first.
    pub b_to_a: u64,
    /// The stream that was the first to end, regularly or not; `None` while both continue.
    pub ended_first: Option<RelaySide>,
}

/// The progress of both ways, shared with the relay.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) moved: [Cell<u64>; 2],
    pub(super) ended_first: Cell<Option<RelaySide>>,
    /// The streams that have broken.
    pub(super) broken: [Cell<bool>; 2],
}

impl Counts {
    /// Records that a stream has ended with `error`, unless the error is of the task, not the
    /// stream.
    pub(super) fn failed(&self, side: RelaySide, error: Error) -> Failed {
        let side = is_about_the_stream(&error).then_some(side);
        if let Some(side) = side {
            self.ended_first.set(self.ended_first.get().or(Some(side)));
            self.broken[side as usize].set(!matches!(error, Error::EndOfStream));
        }
        Failed { side, error }
    }

    pub(super) fn total(&self) -> u64 {
        self.moved.iter().map(Cell::get).sum()
    }
}
