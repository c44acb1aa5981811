//! A server's handler, and the task of one of its connections.

use std::convert::Infallible;
use std::error::Error as StdError;
use std::future::Future;
use std::marker::PhantomData;
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::accepting::{Accept, Accepting};
use super::leaving::Leaving;
use super::listener::Listener;
use super::report::Peer;
use super::serving::Serving;
use crate::error::{Error, Failure, Result};
use crate::executor::{Failed, Payload};
use crate::records::record;
use crate::sys::beside::Beside;
use crate::task::{Keeper, Outcome, TaskGroup};

/// A running server.
pub(super) struct Served<'a, L, H, E> {
    pub(super) listener: &'a L,
    pub(super) handler: H,
    pub(super) serving: Rc<Serving<'a>>,
    pub(super) error: PhantomData<fn() -> E>,
}

/// [`Served`] with erased types: all but its connections is compiled once. `G` is the error type of
/// the group that the connections are in.
pub(super) trait Serves<'a, G> {
    /// Accepts into `group`.
    fn accept<'s>(self: Rc<Self>, group: &'s TaskGroup<'s, '_, G>) -> Pin<Box<dyn Accept + 's>>
    where
        'a: 's;
}

impl<'a, G, L, H, O, E> Serves<'a, G> for Served<'a, L, H, E>
where
    L: Listener,
    H: AsyncFn(L::Stream) -> O + 'a,
    O: Outcome<E, Value = ()> + 'a,
    E: Failure + Into<Box<dyn StdError + Send + Sync>> + 'a,
{
    fn accept<'s>(self: Rc<Self>, group: &'s TaskGroup<'s, '_, G>) -> Pin<Box<dyn Accept + 's>>
    where
        'a: 's,
    {
        let listener = self.listener;
        let one = move || accept_one(group, Rc::clone(&self));
        Box::pin(Beside::new(None, Accepting { listener, one }))
    }
}

/// Accepts one connection and starts its task.
async fn accept_one<'s, 'a: 's, G, L, H, O, E>(
    group: &'s TaskGroup<'s, '_, G>,
    served: Rc<Served<'a, L, H, E>>,
) -> Result<()>
where
    L: Listener,
    H: AsyncFn(L::Stream) -> O + 'a,
    O: Outcome<E, Value = ()> + 'a,
    E: Failure + Into<Box<dyn StdError + Send + Sync>> + 'a,
{
    let listener = served.listener;
    let (begun, peer) = listener.accept_from().await?;
    if served.serving.sheds.get() {
        return Ok(());
    }
    let late = served.serving.begin();
    record!(Debug, "soloio::serve", "accepted {peer}");
    let serving = Rc::clone(&served.serving);
    let connection = connection(begun, served, peer);
    if serving.is_apart || late {
        start_apart(group, Box::pin(connection), serving, late);
    } else {
        group.spawn_kept(connection, serving, Location::caller());
    }
    Ok(())
}

/// Starts a connection that is in a group of the caller's, so that it enters the server's scope by
/// itself; or that is `late`, so that it has to wait for its place.
fn start_apart<'s, 'a: 's, G>(
    group: &'s TaskGroup<'s, '_, G>,
    connection: Pin<Box<dyn Future<Output = ()> + 's>>,
    keeper: Rc<Serving<'a>>,
    late: bool,
) {
    let serving = Rc::clone(&keeper);
    let apart = async move {
        let placed = async {
            // After a cancel it is closed without a handler.
            if !late || serving.place().await.is_ok() {
                connection.await;
            }
        };
        match serving.is_apart {
            true => drop(serving.scope.run(placed).await),
            false => placed.await,
        }
    };
    group.spawn_kept(apart, keeper, Location::caller());
}

/// The task of a connection. Its values stay in it until its end, and are most of the memory of an
/// idle connection: an async fn would have them twice.
fn connection<S, L, H, O, E>(
    begun: impl Future<Output = Result<S>>,
    served: Rc<Served<'_, L, H, E>>,
    peer: Peer,
) -> impl Future<Output = ()>
where
    H: AsyncFn(S) -> O,
    O: Outcome<E, Value = ()>,
    E: Failure + Into<Box<dyn StdError + Send + Sync>>,
{
    let serving = Rc::clone(&served.serving);
    let active = ActiveConnection { serving, peer };
    let handled = async move {
        // `?` would stay in the future until its end.
        let stream = match begun.await {
            Ok(stream) => stream,
            Err(error) => return Err(error),
        };
        (served.handler)(stream).await.into_result().map_err(ours)
    };
    Beside::new(handled, (Leaving::default(), active))
}

impl<F> Future for Beside<F, (Leaving, ActiveConnection<'_>)>
where
    F: Future<Output = Result<()>>,
{
    type Output = ();

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let (handled, (leaving, active)) = self.parts();
        leaving.poll(handled, cx, &active.serving, &active.peer)
    }
}

/// Converts the error of a handler to the crate's type.
fn ours<E: Failure + Into<Box<dyn StdError + Send + Sync>>>(error: E) -> Error {
    match error.is_cancelled() {
        true => Error::Cancelled,
        false => error.into_own(),
    }
}

/// Counts a connection as active until it is dropped.
struct ActiveConnection<'a> {
    serving: Rc<Serving<'a>>,
    peer: Peer,
}

impl Drop for ActiveConnection<'_> {
    fn drop(&mut self) {
        self.serving.end(&mut self.peer);
    }
}

/// A panic of a connection is only its own error.
impl Keeper for Rc<Serving<'_>> {
    type Error = Infallible;
    const CATCHES: bool = true;

    fn fail(&self, never: Infallible) -> Failed {
        match never {}
    }

    fn panicked(&self, payload: Payload) -> Option<Payload> {
        Serving::panicked(self, payload);
        None
    }
}
