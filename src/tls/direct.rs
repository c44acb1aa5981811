//! Ciphertext to and from a stream below that is a socket and nothing else: the session makes the
//! calls itself, straight from and into its own buffers. It keeps the laws of the other way, by the
//! stream's futures, which would bring a vector for each receive.

use std::future::poll_fn;
use std::io;
use std::os::fd::BorrowedFd;
use std::task::Poll;

use super::receive::{AT_ONCE, Here, WAIT_MAX};
use super::session::Session;
use crate::error::Result;
use crate::runtime::operation::Direction;
use crate::stream::{ByteStream, PlainSocket};
use crate::sys;

impl<S: ByteStream> Session<S> {
    /// Waits for ciphertext, holding no buffer, and writes what was left behind.
    pub(super) async fn receive_direct(&self, socket: &dyn PlainSocket) -> Result<()> {
        let mut operation = socket.operation(Direction::Read);
        let mut retry = None;
        let here = Here(self);
        poll_fn(|cx| {
            let polled = socket.poll_receive_by(&mut operation, cx, &mut |_, fd| self.fill(fd));
            if !matches!(polled, Poll::Ready(Ok(_))) {
                self.state.borrow_mut().incoming.settle();
            }
            if polled.is_pending() {
                here.wait(cx.waker());
                if let Err(error) = self.write_left_behind(&mut retry, cx) {
                    return Poll::Ready(Err(error));
                }
            }
            polled.map_ok(drop)
        })
        .await
    }

    /// One receive, behind what is there already.
    fn fill(&self, fd: BorrowedFd<'_>) -> io::Result<(usize, bool)> {
        let incoming = &mut self.state.borrow_mut().incoming;
        let room = incoming.room(WAIT_MAX);
        let size = room.len().min(AT_ONCE);
        let got = sys::socket::recv(fd, &mut room[..size])?;
        incoming.commit(got);
        Ok((got, got == size))
    }

    /// Hands over everything that is to be sent. It is the caller's turn.
    pub(super) async fn flush_direct(&self, socket: &dyn PlainSocket) -> Result<()> {
        self.state.borrow_mut().held_back = false;
        let mut operation = socket.operation(Direction::Write);
        let left = Left(self);
        let flushed = poll_fn(|cx| {
            loop {
                if self.state.borrow().out.is_empty() {
                    return Poll::Ready(Ok(()));
                }
                let sent = socket.poll_send_by(&mut operation, cx, &mut |_, fd| self.drain_out(fd));
                match sent {
                    Poll::Ready(Ok(_)) => {}
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await;
        drop(left);
        flushed
    }

    /// One send; what the kernel took is gone before anything else can happen.
    fn drain_out(&self, fd: BorrowedFd<'_>) -> io::Result<usize> {
        let out = &mut self.state.borrow_mut().out;
        let sent = sys::socket::send(fd, out.filled())?;
        out.discard(sent);
        Ok(sent)
    }
}

/// A flush that ends, in whatever way: what it leaves behind is for a receiver that waits.
struct Left<'a, S>(&'a Session<S>);

impl<S> Drop for Left<'_, S> {
    fn drop(&mut self) {
        let more = {
            let out = &mut self.0.state.borrow_mut().out;
            out.settle();
            !out.is_empty()
        };
        if more {
            self.0.wake_receiver();
        }
    }
}
