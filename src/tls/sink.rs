//! Where received plaintext goes: a buffer of the caller's, or memory of exactly its size.

use super::state::Sink;

/// A buffer of the caller's.
pub(super) struct Into<'b> {
    buf: &'b mut [u8],
    used: usize,
}

impl<'b> Into<'b> {
    pub(super) fn new(buf: &'b mut [u8]) -> Self {
        Self { buf, used: 0 }
    }

    pub(super) fn filled(self) -> &'b mut [u8] {
        &mut self.buf[..self.used]
    }
}

impl Sink for Into<'_> {
    fn room(&self) -> usize {
        self.buf.len() - self.used
    }

    fn put(&mut self, data: &[u8], _more: usize) -> usize {
        let took = data.len().min(self.room());
        self.buf[self.used..self.used + took].copy_from_slice(&data[..took]);
        self.used += took;
        took
    }

    fn is_empty(&self) -> bool {
        self.used == 0
    }
}

/// Memory of its own.
pub(super) struct Exact {
    bytes: Vec<u8>,
    max: usize,
}

impl Exact {
    pub(super) fn new(max: usize) -> Self {
        Self {
            bytes: Vec::new(),
            max,
        }
    }

    pub(super) fn into_bytes(mut self) -> Vec<u8> {
        self.bytes.shrink_to_fit();
        self.bytes
    }
}

impl Sink for Exact {
    fn room(&self) -> usize {
        self.max - self.bytes.len()
    }

    fn put(&mut self, data: &[u8], more: usize) -> usize {
        let took = data.len().min(self.room());
        if self.bytes.capacity() - self.bytes.len() < took {
            self.bytes
                .reserve_exact(took + more.min(self.room() - took));
        }
        self.bytes.extend_from_slice(&data[..took]);
        took
    }

    fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}
