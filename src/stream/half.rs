//! One half of a stream that is made of nothing in this crate: [`Half`].

use std::cell::Cell;
use std::task::{Context, Poll, Waker, ready};

use crate::error::Result;
use crate::executor::wake_one;
use crate::runtime::context;
use crate::runtime::place::{Claim, Place};
use crate::shown::shown;

/// One direction of a stream of your own: its claim, and the waker of the operation that waits.
///
/// A stream that wraps another passes the [`Place`] on to it. One that wraps none has a `Half` for
/// each direction: [`poll`](Self::poll) passes the gate (so that the operation can be cancelled and
/// yields), claims the direction, tries, and waits; whoever changes the state calls
/// [`wake`](Self::wake). [`Error::Busy`](crate::Error::Busy) and cancel safety come with it.
///
/// # Examples
///
/// ```
/// use std::cell::Cell;
/// use std::task::{Context, Poll};
///
/// use soloio::{ByteReceiveStream, Error, Half, Place, Result, Room, join};
///
/// /// Receives what was pressed.
/// #[derive(Default)]
/// struct Button {
///     pressed: Cell<Option<u8>>,
///     receiving: Half,
/// }
///
/// impl Button {
///     fn press(&self, key: u8) {
///         self.pressed.set(Some(key));
///         self.receiving.wake();
///     }
/// }
///
/// impl ByteReceiveStream for Button {
///     fn poll_receive(
///         &self,
///         place: &mut Place,
///         cx: &mut Context<'_>,
///         room: &mut Room<'_>,
///     ) -> Poll<Result<()>> {
///         self.receiving.poll(place, cx, || Ok(()), || {
///             room.put(&[self.pressed.take()?]);
///             Some(Ok(()))
///         })
///     }
///
///     fn leave_receive(&self, place: &mut Place) {
///         self.receiving.leave(place);
///     }
/// }
///
/// soloio::block_on(async {
///     let button = Button::default();
///     let press = async {
///         soloio::yield_now().await?;
///         button.press(b'x');
///         Ok::<_, Error>(())
///     };
///     let (got, pressed) = join((button.receive(), press)).await;
///     pressed?;
///     assert_eq!(got?, b"x");
///     Ok::<_, Error>(())
/// })?;
/// # Ok::<_, Error>(())
/// ```
#[derive(Default)]
pub struct Half {
    pub(crate) claim: Claim,
    /// The waker of the operation that waits.
    pub(crate) waiter: Cell<Option<Waker>>,
}

impl Half {
    /// Polls an operation: `may` returns an error if it cannot even begin, as on a closed stream;
    /// `attempt` returns `None` if it has to wait until [`wake`](Self::wake).
    ///
    /// # Errors
    ///
    /// [`Error::Busy`](crate::Error::Busy) while another operation uses this half;
    /// [`Error::Cancelled`](crate::Error::Cancelled) and
    /// [`Error::NoRuntime`](crate::Error::NoRuntime); those of `may` and `attempt`.
    pub fn poll<T>(
        &self,
        place: &mut Place,
        cx: &Context<'_>,
        may: impl Fn() -> Result<()>,
        attempt: impl FnOnce() -> Option<Result<T>>,
    ) -> Poll<Result<T>> {
        let polled = context::poll_with(|core| {
            ready!(place.begin(core, cx, &self.claim, may))?;
            if let Some(outcome) = attempt() {
                core.finished();
                return Poll::Ready(outcome);
            }
            self.waiter.set(Some(cx.waker().clone()));
            place.pend(core, cx, &"the other end of a stream in memory")
        });
        if polled.is_ready() && !place.keeps() {
            self.leave(place);
        }
        polled
    }

    /// Gives up an operation that is pending.
    pub fn leave(&self, place: &mut Place) {
        if !place.is_idle() {
            place.leave(&self.claim);
            self.waiter.set(None);
        }
    }

    /// Wakes the operation that waits: its `attempt` may now succeed.
    pub fn wake(&self) {
        wake_one(self.waiter.take());
    }
}

shown!([] Half, "Half", this => in_use: this.claim.is_held());
