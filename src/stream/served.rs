//! A server's handler, and the task of one of its connections.

use std::convert::Infallible;
use std::error::Error as StdError;
use std::future::Future;
use std::marker::PhantomData;
use std::panic::Location;
use std::pin::{Pin, pin};
use std::rc::Rc;

use super::accepting::{Accept, Accepting};
use super::leaving::closing_after;
use super::listener::Listener;
use super::report::Peer;
use super::serving::Serving;
use crate::error::{Error, Failure, Result};
use crate::executor::{Failed, Payload};
use crate::records::record;
use crate::sys::beside::Beside;
use crate::task::{Keeper, Outcome, TaskGroup};

/// A running server. If `APART`, its connections are in a group of the caller's, so each of them
/// enters the server's scope by itself.
pub(super) struct Served<'a, L, H, E, const APART: bool> {
    pub(super) listener: &'a L,
    pub(super) handler: H,
    pub(super) serving: Serving<'a>,
    pub(super) error: PhantomData<fn() -> E>,
}

/// [`Served`] with erased types: all but its connections is compiled once. `G` is the error type of
/// the group that the connections are in.
pub(super) trait Serves<'a, G> {
    fn serving(&self) -> &Serving<'a>;

    /// Accepts into `group`.
    fn accept<'s>(self: Rc<Self>, group: &'s TaskGroup<'s, '_, G>) -> Pin<Box<dyn Accept + 's>>
    where
        'a: 's;
}

impl<'a, G, L, H, O, E, const APART: bool> Serves<'a, G> for Served<'a, L, H, E, APART>
where
    L: Listener,
    H: AsyncFn(L::Stream) -> O + 'a,
    O: Outcome<E, Value = ()> + 'a,
    E: Failure + Into<Box<dyn StdError + Send + Sync>> + 'a,
{
    fn serving(&self) -> &Serving<'a> {
        &self.serving
    }

    fn accept<'s>(self: Rc<Self>, group: &'s TaskGroup<'s, '_, G>) -> Pin<Box<dyn Accept + 's>>
    where
        'a: 's,
    {
        let listener = self.listener;
        let one = move || accept_one(group, Rc::clone(&self));
        Box::pin(Beside::new(None, Accepting::new(listener, one)))
    }
}

/// Accepts one connection and starts its task.
async fn accept_one<'s, 'a: 's, G, L, H, O, E, const APART: bool>(
    group: &'s TaskGroup<'s, '_, G>,
    served: Rc<Served<'a, L, H, E, APART>>,
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
    served.serving.begin();
    record!(Debug, "soloio::serve", "accepted {peer}");
    let keeper = Rc::clone(&served);
    let connection = connection(begun, Place { served, peer });
    if APART {
        let limited = apart(Rc::clone(&keeper), Box::pin(connection));
        group.spawn_kept(limited, keeper, Location::caller());
    } else {
        group.spawn_kept(connection, keeper, Location::caller());
    }
    Ok(())
}

/// Runs a connection in the server's scope.
async fn apart<'s, L, H, E, const APART: bool>(
    served: Rc<Served<'_, L, H, E, APART>>,
    connection: Pin<Box<dyn Future<Output = ()> + 's>>,
) {
    served.serving.scope.run(connection).await;
}

/// The task of a connection. Captured values stay in it until its end, and are most of the memory
/// of an idle connection.
async fn connection<S, L, H, O, E, const APART: bool>(
    begun: impl Future<Output = Result<S>>,
    place: Place<'_, L, H, E, APART>,
) where
    H: AsyncFn(S) -> O,
    O: Outcome<E, Value = ()>,
    E: Failure + Into<Box<dyn StdError + Send + Sync>>,
{
    let handled = pin!(async {
        let ended = (place.served.handler)(begun.await?).await;
        ended.into_result().map_err(ours)
    });
    closing_after(handled, &place.served.serving, &place.peer).await;
}

/// Converts the error of a handler to the crate's type.
fn ours<E: Failure + Into<Box<dyn StdError + Send + Sync>>>(error: E) -> Error {
    match error.is_cancelled() {
        true => Error::Cancelled,
        false => error.into_own(),
    }
}

/// A connection's place, given back when the connection ends.
struct Place<'a, L, H, E, const APART: bool> {
    served: Rc<Served<'a, L, H, E, APART>>,
    peer: Peer,
}

impl<L, H, E, const APART: bool> Drop for Place<'_, L, H, E, APART> {
    fn drop(&mut self) {
        self.served.serving.end(&mut self.peer);
    }
}

/// A panic of a connection is only its own error.
impl<L, H, E, const APART: bool> Keeper for Rc<Served<'_, L, H, E, APART>> {
    type Error = Infallible;
    const CATCHES: bool = true;

    fn fail(&self, never: Infallible) -> Failed {
        match never {}
    }

    fn panicked(&self, payload: Payload) -> Option<Payload> {
        self.serving.panicked(payload);
        None
    }
}
