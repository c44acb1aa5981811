//! Memory for the bytes of relays: buffers and pipes, lent while there are bytes.
//!
//! A relay that waits has neither, so ten thousand idle ones cost nothing here; a few are stored
//! for active ones. They end with their runtime.

use std::cell::RefCell;

#[cfg(any(target_os = "linux", target_os = "android"))]
use crate::sys::splice::Pipe;

/// The size of a buffer, in bytes.
pub(crate) const BUFFER: usize = 65_536;

/// The number of stored ones of each kind.
const KEPT: usize = 8;

/// Buffers and pipes that are not in use.
#[derive(Debug, Default)]
pub(crate) struct Stores {
    buffers: RefCell<Vec<Box<[u8]>>>,
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pipes: RefCell<Vec<Pipe>>,
}

impl Stores {
    /// Returns a buffer of [`BUFFER`] bytes with any contents.
    pub(crate) fn take_buffer(&self) -> Box<[u8]> {
        let kept = self.buffers.borrow_mut().pop();
        kept.unwrap_or_else(|| vec![0; BUFFER].into())
    }

    pub(crate) fn give_buffer(&self, buffer: Box<[u8]>) {
        let mut kept = self.buffers.borrow_mut();
        if kept.len() < KEPT {
            kept.push(buffer);
        }
    }

    /// Returns an empty pipe.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(crate) fn take_pipe(&self) -> std::io::Result<Pipe> {
        let kept = self.pipes.borrow_mut().pop();
        kept.map_or_else(Pipe::new, Ok)
    }

    /// Takes back a pipe that is empty.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(crate) fn give_pipe(&self, pipe: Pipe) {
        let mut kept = self.pipes.borrow_mut();
        if kept.len() < KEPT {
            kept.push(pipe);
        }
    }
}
