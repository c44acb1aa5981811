//! Bytes in flight in a TLS connection, in memory that idle connections give back.
//!
//! Large buffers come from a small store of the thread and return to it when they are empty, so
//! that ten thousand idle connections share two of them, and one for the rest of a record.

use std::cell::Cell;
use std::mem::{replace, take};

use crate::shown::shown;

/// The size of a large buffer: two full records with the overhead of encryption.
const LARGE: usize = 2 * (16_384 + 256) + 1024;

/// The size of a buffer for the rest of a record.
const REST: usize = 16_384;

thread_local! {
    /// Free large buffers, the one that was given back last first; empty ones come last. Then one
    /// for a rest.
    static FREE: [Cell<Box<[u8]>>; 3] = Default::default();
}

/// A queue of bytes in one piece: filled at the end, discarded from the front.
///
/// ```text
///   [ discarded | filled | room ]
///               ^ start  ^ end
/// ```
#[derive(Default)]
pub(super) struct Buffer {
    /// Empty while nothing is stored.
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

// Shows no content: it may be plaintext.
shown!([] Buffer, "Buffer", this => len: this.len());

impl Buffer {
    pub(super) fn len(&self) -> usize {
        self.end - self.start
    }

    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    #[inline]
    pub(super) fn filled(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    pub(super) fn filled_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.end]
    }

    /// Removes `count` bytes from the front; with the last of them it gives the memory back, since
    /// the next ones may come much later.
    #[inline]
    pub(super) fn discard(&mut self, count: usize) {
        self.start += count.min(self.len());
        if self.is_empty() {
            self.release();
        }
    }

    /// Returns room behind the filled bytes, at least `min` bytes; [`commit`](Self::commit) fills
    /// it.
    #[inline]
    pub(super) fn room(&mut self, min: usize) -> &mut [u8] {
        if self.bytes.is_empty() {
            self.bytes = stored(LARGE);
        }
        if self.bytes.len() - self.end < min {
            self.make_room(min);
        }
        &mut self.bytes[self.end..]
    }

    #[cold]
    fn make_room(&mut self, min: usize) {
        let len = self.len();
        if len + min > self.bytes.len() {
            let more = match (len + min).next_multiple_of(LARGE) {
                LARGE => stored(LARGE),
                larger => vec![0; larger].into(),
            };
            let old = replace(&mut self.bytes, more);
            self.bytes[..len].copy_from_slice(&old[self.start..self.end]);
            give_back(old);
        } else {
            self.bytes.copy_within(self.start..self.end, 0);
        }
        (self.start, self.end) = (0, len);
    }

    /// Marks the first `count` bytes of the room as filled.
    pub(super) fn commit(&mut self, count: usize) {
        self.end += count;
        debug_assert!(self.end <= self.bytes.len());
    }

    /// Appends `data`; if it has no memory yet and `data` is little, it takes exactly as much.
    #[inline]
    pub(super) fn append(&mut self, data: &[u8]) {
        if !data.is_empty() {
            self.append_some(data);
        }
    }

    fn append_some(&mut self, data: &[u8]) {
        if self.bytes.is_empty() && data.len() < REST / 2 {
            self.adopt(data.into());
        } else {
            if self.bytes.is_empty() && data.len() <= REST {
                self.bytes = stored(REST);
            }
            self.room(data.len())[..data.len()].copy_from_slice(data);
            self.commit(data.len());
        }
    }

    /// Replaces memory and contents by those of `data`.
    fn adopt(&mut self, data: Box<[u8]>) {
        self.release();
        self.end = data.len();
        self.bytes = data;
    }

    /// Gives the memory back if nothing is stored, and most of it if little is. Called before a
    /// wait.
    #[inline]
    pub(super) fn settle(&mut self) {
        if self.is_empty() {
            self.release();
        } else {
            self.shrink();
        }
    }

    #[cold]
    fn shrink(&mut self) {
        if self.bytes.len() >= REST.max(2 * self.len()) {
            self.adopt(self.filled().into());
        }
    }

    /// Drops the stored bytes and gives the memory back.
    #[inline]
    pub(super) fn release(&mut self) {
        if !self.bytes.is_empty() {
            give_back(take(&mut self.bytes));
        }
        self.start = 0;
        self.end = 0;
    }
}

impl Drop for Buffer {
    #[inline]
    fn drop(&mut self) {
        self.release();
    }
}

/// Returns a large buffer, or one for a rest. Not inlined: the store of a thread takes much code.
#[inline(never)]
fn stored(size: usize) -> Box<[u8]> {
    // At the end of the thread the store no longer exists.
    let free = FREE.try_with(|[first, second, rest]| match size {
        LARGE => first.replace(second.take()),
        _ => rest.take(),
    });
    match free {
        Ok(free) if !free.is_empty() => free,
        _ => vec![0; size].into(),
    }
}

/// Stores such memory. Not inlined, as above.
#[inline(never)]
fn give_back(bytes: Box<[u8]>) {
    // Those beyond the store are freed, and all at the end of the thread.
    let keep = |[first, second, rest]: &[Cell<_>; 3]| match bytes.len() {
        LARGE => second.set(first.replace(bytes)),
        REST => rest.set(bytes),
        _ => {}
    };
    FREE.try_with(keep).unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    /// Random operations against a plain queue.
    #[test]
    fn behaves_like_a_queue() {
        let mut seed = 0x5EED_u64;
        let mut random = |end: usize| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            (seed % end as u64) as usize
        };
        let mut buffer = Buffer::default();
        let mut twin = VecDeque::<u8>::new();
        for step in 0..2_000 {
            let size = [0, 1, 40, 5_000, 20_000, LARGE][random(6)];
            match random(6) {
                0 if buffer.len() < 300_000 => {
                    let data = vec![step as u8; size];
                    buffer.append(&data);
                    twin.extend(data);
                }
                1 => {
                    buffer.adopt(vec![step as u8; size].into());
                    twin = vec![step as u8; size].into();
                }
                2 if buffer.len() < 300_000 => {
                    let room = buffer.room(size);
                    assert!(room.len() >= size);
                    room[..size].fill(step as u8);
                    buffer.commit(size);
                    twin.extend(vec![step as u8; size]);
                }
                3 => buffer.settle(),
                _ => {
                    buffer.discard(size);
                    twin.drain(..size.min(twin.len()));
                }
            }
            assert_eq!(buffer.len(), twin.len());
            assert_eq!(buffer.is_empty(), twin.is_empty());
            assert!(buffer.filled() == twin.make_contiguous());
        }
    }

    #[test]
    fn idle_buffers_share_the_memory() {
        let mut buffers: Vec<Buffer> = (0..50).map(|_| Buffer::default()).collect();
        for buffer in &mut buffers {
            buffer.room(20_000);
            buffer.commit(20_000);
            buffer.discard(20_000);
            assert_eq!(buffer.bytes.len(), 0);
        }
        let kept = FREE.with(|free| free.each_ref().map(Cell::take));
        assert!(!kept[0].is_empty());
        buffers[0].room(20_000);
        buffers[0].commit(20_000);
        buffers[0].discard(19_000);
        buffers[0].settle();
        assert_eq!(buffers[0].bytes.len(), 1000, "a little is kept in a little");
        buffers[0].append(&[1; 9_000]);
        assert_eq!(buffers[0].bytes.len(), LARGE, "more is in a shared one");
        buffers[0].settle();
        assert_eq!(buffers[0].bytes.len(), 10_000, "until a wait");
        buffers[1].append(&[1; 64]);
        assert_eq!(buffers[1].bytes.len(), 64, "and taken in a little");
        buffers[2].append(&[1; 16_000]);
        assert_eq!(buffers[2].bytes.len(), REST, "the rest of a record");
        buffers[2].discard(16_000);
        assert_eq!(buffers[2].bytes.len(), 0, "is shared, too");
        assert_eq!(FREE.with(|[.., rest]| rest.take()).len(), REST);
        buffers[3].append(&[1; 3 * LARGE]);
        buffers[3].discard(3 * LARGE - 1);
        buffers[3].settle();
        assert_eq!(buffers[3].bytes.len(), 1, "nor does a little keep much");
    }
}
