//! TCP and UNIX streams as plain sockets, for relays and `send_file`.

use std::fmt::Display;
#[cfg(feature = "relay")]
use std::task::{Context, Poll};

use super::stream_socket::StreamSocket;
#[cfg(feature = "relay")]
use crate::error::Result;
#[cfg(feature = "relay")]
use crate::runtime::operation::{Direction, Operation};
#[cfg(feature = "tls")]
use crate::runtime::silence::SharedLimits;
use crate::stream::PlainSocket;
#[cfg(feature = "relay")]
use crate::stream::{ReceiveCall, SendCall};

impl<A: Display + Send + Sync> PlainSocket for StreamSocket<A> {
    #[cfg(feature = "relay")]
    fn operation(&self, direction: Direction) -> Operation<'_> {
        self.operation(direction)
    }

    #[cfg(feature = "relay")]
    fn poll_receive_by(
        &self,
        operation: &mut Operation<'_>,
        cx: &Context<'_>,
        call: &mut ReceiveCall<'_>,
    ) -> Poll<Result<usize>> {
        self.poll_receive(operation.place(), cx, call)
    }

    #[cfg(feature = "relay")]
    fn poll_send_by(
        &self,
        operation: &mut Operation<'_>,
        cx: &Context<'_>,
        call: &mut SendCall<'_>,
    ) -> Poll<Result<usize>> {
        self.poll_send(operation.place(), cx, call)
    }

    #[cfg(feature = "relay")]
    fn end(&self) -> Result<()> {
        self.send_eof()
    }

    #[cfg(feature = "tls")]
    fn close_limits(&self) -> &SharedLimits {
        &self.socket.close_limits
    }

    fn unacknowledged(&self) -> usize {
        self.unacknowledged()
    }
}
