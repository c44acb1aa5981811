//! Ciphertext that is lent to a send of the stream below, and comes back when that is dropped.

use std::cell::Cell;

use super::buffer::Buffer;
use super::session::Session;

/// Ciphertext on its way into the stream below. What was not handed over goes back when dropped.
pub(super) struct Lent<'a, S> {
    session: &'a Session<S>,
    bytes: Buffer,
    /// How much of it is left.
    left: Cell<usize>,
    /// A receiver that waits is told if something is left: it is theirs to write then.
    tells: bool,
}

impl<'a, S> Lent<'a, S> {
    pub(super) fn new(session: &'a Session<S>, tells: bool) -> Self {
        let bytes = {
            let mut state = session.state.borrow_mut();
            state.held_back = false;
            std::mem::take(&mut state.out)
        };
        let left = Cell::new(bytes.len());
        Self {
            session,
            bytes,
            left,
            tells,
        }
    }

    pub(super) fn rest(&self) -> Remaining<'_> {
        Remaining {
            bytes: self.bytes.filled(),
            left: &self.left,
        }
    }
}

impl<S> Drop for Lent<'_, S> {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.discard(bytes.len() - self.left.get());
        let more = {
            let mut state = self.session.state.borrow_mut();
            if bytes.is_empty() {
                bytes.release();
                state.out.settle();
            } else {
                // What was put there meanwhile comes after it.
                bytes.append(state.out.filled());
                bytes.settle();
                state.out = bytes;
            }
            !state.out.is_empty()
        };
        if more && self.tells {
            self.session.wake_receiver();
        }
    }
}

/// What a send has not handed over yet: it may be dropped at any time.
pub(super) struct Remaining<'a> {
    pub(super) bytes: &'a [u8],
    left: &'a Cell<usize>,
}

impl Drop for Remaining<'_> {
    fn drop(&mut self) {
        self.left.set(self.bytes.len());
    }
}
