//! What relays keep bytes in on their way: buffers and pipes, lent while there are bytes.
//!
//! A relay that waits holds neither, so ten thousand idle ones cost nothing here; few are kept
//! ready, for those that move. They end with their runtime.

use std::cell::RefCell;

#[cfg(any(target_os = "linux", target_os = "android"))]
use crate::sys::splice::Pipe;

/// Size of a buffer, in bytes.
pub(crate) const BUFFER: usize = 65_536;

/// How many of each are kept ready.
const KEPT: usize = 8;

/// Buffers and pipes that nobody uses right now.
#[derive(Debug, Default)]
pub(crate) struct Stores {
    buffers: RefCell<Vec<Box<[u8]>>>,
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pipes: RefCell<Vec<Pipe>>,
}

impl Stores {
    /// A buffer of [`BUFFER`] bytes with whatever in it.
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

    /// An empty pipe.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(crate) fn take_pipe(&self) -> std::io::Result<Pipe> {
        let kept = self.pipes.borrow_mut().pop();
        kept.map_or_else(Pipe::new, Ok)
    }

    /// Takes a pipe that is empty again.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(crate) fn give_pipe(&self, pipe: Pipe) {
        let mut kept = self.pipes.borrow_mut();
        if kept.len() < KEPT {
            kept.push(pipe);
        }
    }
}
