//! Received bytes that were not requested yet: [`Ahead`].

use std::fmt;

/// Received bytes that were not requested yet; it is used up from the front.
#[derive(Default)]
pub(super) struct Ahead {
    bytes: Vec<u8>,
    /// The number of bytes at the front that were already taken.
    gone: usize,
}

impl Ahead {
    #[inline]
    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes[self.gone..]
    }

    pub(super) fn push(&mut self, data: Vec<u8>) {
        match self.bytes.is_empty() {
            true => self.bytes = data,
            false => self.bytes.extend_from_slice(&data),
        }
    }

    /// Takes the first `count` bytes, which must be there.
    pub(super) fn take(&mut self, count: usize) -> Vec<u8> {
        if self.gone == 0 && count == self.bytes.len() {
            let mut taken = std::mem::take(&mut self.bytes);
            // Appended pieces have left spare capacity.
            taken.shrink_to_fit();
            return taken;
        }
        let taken = self.as_slice()[..count].to_vec();
        self.skip(count);
        taken
    }

    /// Removes the first `count` bytes. Without a rest it uses no memory.
    #[inline]
    pub(super) fn skip(&mut self, count: usize) {
        self.gone += count;
        if self.gone == self.bytes.len() || self.gone >= 4096 {
            self.give_back();
        }
    }

    /// Not inlined, because the usual line needs none of this code.
    #[inline(never)]
    fn give_back(&mut self) {
        if self.gone == self.bytes.len() {
            *self = Self::default();
        } else if self.gone >= self.bytes.len() / 2 {
            // Many bytes were taken, and more than have to be moved.
            self.bytes.drain(..self.gone);
            self.gone = 0;
            crate::room::shrink(&mut self.bytes);
        }
    }
}

/// Shows no content.
impl fmt::Debug for Ahead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.as_slice().len())
    }
}
