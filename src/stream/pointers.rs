//! References, `Rc` and `Arc` to a stream receive and send as the stream does; macros for this,
//! also for the layers that pass calls on.

use std::io::IoSlice;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::{ByteReceiveStream, ByteSendStream, ByteStream};
use crate::error::Result;
use crate::runtime::place::Place;
use crate::sys::room::Room;

/// Passes receives on: the parameters, the type, and the expression for the inner stream.
macro_rules! receives_by {
    ([$($parameters:tt)*] $type:ty, $this:ident => $way:expr) => {
        impl<$($parameters)*> ByteReceiveStream for $type {
            #[inline]
            fn poll_receive(
                &self,
                place: &mut Place,
                cx: &mut Context<'_>,
                room: &mut Room<'_>,
            ) -> Poll<Result<()>> {
                let $this = self;
                $way.poll_receive(place, cx, room)
            }

            fn leave_receive(&self, place: &mut Place) {
                let $this = self;
                $way.leave_receive(place);
            }

            #[cfg(any(feature = "relay", feature = "tls"))]
            fn plain_receiver(&self) -> Option<crate::stream::Plain<'_>> {
                let $this = self;
                $way.plain_receiver()
            }
        }
    };
}

/// Passes sends on: the parameters, the type, and the expression for the inner stream.
macro_rules! sends_by {
    ([$($parameters:tt)*] $type:ty, $this:ident => $way:expr) => {
        impl<$($parameters)*> ByteSendStream for $type {
            #[inline]
            fn poll_send(
                &self,
                place: &mut Place,
                cx: &mut Context<'_>,
                parts: &[IoSlice<'_>],
            ) -> Poll<Result<usize>> {
                let $this = self;
                $way.poll_send(place, cx, parts)
            }

            fn poll_flush(&self, place: &mut Place, cx: &mut Context<'_>) -> Poll<Result<()>> {
                let $this = self;
                $way.poll_flush(place, cx)
            }

            fn leave_send(&self, place: &mut Place) {
                let $this = self;
                $way.leave_send(place);
            }

            #[cfg(any(feature = "relay", feature = "tls"))]
            fn plain_sender(&self) -> Option<crate::stream::Plain<'_>> {
                let $this = self;
                $way.plain_sender()
            }

            #[cfg(feature = "relay")]
            fn unacknowledged(&self) -> u64 {
                let $this = self;
                $way.unacknowledged()
            }
        }
    };
}

#[cfg(any(feature = "adopt", feature = "extras"))]
pub(crate) use receives_by;
pub(crate) use sends_by;

receives_by!([S: ByteReceiveStream + ?Sized] &S, this => (**this));
receives_by!([S: ByteReceiveStream + ?Sized] Rc<S>, this => (**this));
receives_by!([S: ByteReceiveStream + ?Sized] Arc<S>, this => (**this));
sends_by!([S: ByteSendStream + ?Sized] &S, this => (**this));
sends_by!([S: ByteSendStream + ?Sized] Rc<S>, this => (**this));
sends_by!([S: ByteSendStream + ?Sized] Arc<S>, this => (**this));

/// `$close` closes a stream that may have other owners.
macro_rules! streams_by_way_of {
    ($($pointer:ty, $this:ident => $close:expr;)*) => {$(
        impl<S: ByteStream> ByteStream for $pointer {
            fn poll_send_eof(&self, place: &mut Place, cx: &mut Context<'_>) -> Poll<Result<()>> {
                (**self).poll_send_eof(place, cx)
            }

            async fn close(self) -> Result<()> {
                let $this = self;
                $close.await
            }

            fn abort(&self) {
                (**self).abort();
            }

            async fn reset(&self) -> Result<()> {
                (**self).reset().await
            }
        }
    )*};
}

streams_by_way_of! {
    &S, this => this.send_eof();
    Rc<S>, this => close(Self::try_unwrap(this));
    Arc<S>, this => close(Self::try_unwrap(this));
}

/// The last owner closes the stream; another one only ends our direction.
async fn close<S: ByteStream>(last: Result<S, impl Deref<Target = S>>) -> Result<()> {
    match last {
        Ok(stream) => stream.close().await,
        Err(shared) => shared.send_eof().await,
    }
}
