//! What a stream is given to send: a slice, a slice that advances, or several pieces.

use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;

use crate::sys;

/// What is to be sent, and how much of it is left.
pub(super) trait Data {
    fn is_empty(&self) -> bool;
    fn send(&self, fd: BorrowedFd<'_>) -> io::Result<usize>;
    fn advance(&mut self, sent: usize);
}

impl Data for &[u8] {
    fn is_empty(&self) -> bool {
        (**self).is_empty()
    }

    fn send(&self, fd: BorrowedFd<'_>) -> io::Result<usize> {
        sys::socket::send(fd, self)
    }

    fn advance(&mut self, sent: usize) {
        *self = &self[sent..];
    }
}

impl Data for &mut &[u8] {
    fn is_empty(&self) -> bool {
        (***self).is_empty()
    }

    fn send(&self, fd: BorrowedFd<'_>) -> io::Result<usize> {
        sys::socket::send(fd, self)
    }

    fn advance(&mut self, sent: usize) {
        **self = &self[sent..];
    }
}

/// Pieces that are sent as if they stood in one: those that are done are left out.
impl<'a> Data for &mut &mut [IoSlice<'a>] {
    fn is_empty(&self) -> bool {
        self.iter().all(|part| part.is_empty())
    }

    fn send(&self, fd: BorrowedFd<'_>) -> io::Result<usize> {
        sys::socket::send_vectored(fd, self)
    }

    fn advance(&mut self, sent: usize) {
        IoSlice::advance_slices(self, sent);
    }
}
