//! Starting a child and waiting until it says that it is ready.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::{Future, poll_fn};
use std::mem;
use std::rc::Rc;
use std::task::{Poll, Waker, ready};

use super::group::TaskGroup;
use super::handle::TaskHandle;
use super::outcome::Outcome;
use crate::error::{Error, Failure, Result};
use crate::runtime::context;
use crate::runtime::wait::Wait;

/// What a child and the one who started it share until the child is ready.
struct Start<T, E> {
    state: RefCell<State<T, E>>,
    /// The child has let go of its [`Ready`].
    dropped: Cell<bool>,
    waker: Cell<Option<Waker>>,
    /// Of a child that has failed.
    child: Cell<Option<Waker>>,
}

enum State<T, E> {
    /// The child has said nothing yet.
    Waiting,
    /// It is ready; the value waits to be fetched.
    Ready(T),
    /// It failed before it was ready, which is the starter's to handle; the child waits until it
    /// does.
    Failed(E),
    /// It failed, and the starter left without having heard of it.
    Unheard(E),
    /// The starter has fetched the value or the error, or nobody waits any more.
    Over,
}

impl<T, E> Start<T, E> {
    fn set(&self, state: State<T, E>) {
        let old = self.state.replace(state);
        drop(old);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn is_waiting(&self) -> bool {
        matches!(*self.state.borrow(), State::Waiting)
    }

    /// Lets a child that has failed go on.
    fn wake_child(&self) {
        if let Some(waker) = self.child.take() {
            waker.wake();
        }
    }

    /// Hands `error` to the starter. An error is never lost: it is given back if the starter has
    /// left by its next poll.
    async fn hand_over(&self, error: E) -> Result<(), E> {
        self.set(State::Failed(error));
        poll_fn(|cx| {
            let old = self.child.replace(Some(cx.waker().clone()));
            drop(old);
            let mut state = self.state.borrow_mut();
            match mem::replace(&mut *state, State::Over) {
                State::Unheard(error) => Poll::Ready(Err(error)),
                failed @ State::Failed(_) => {
                    *state = failed;
                    Poll::Pending
                }
                State::Waiting | State::Ready(_) | State::Over => Poll::Ready(Ok(())),
            }
        })
        .await
    }
}

/// Lets a child say that it is ready; see [`TaskGroup::start`].
///
/// Dropping it without having said so ends the starter's wait with an error.
pub struct Ready<T, E = Error> {
    start: Rc<Start<T, E>>,
}

impl<T, E> Ready<T, E> {
    /// The child is ready: the one who started it goes on with `value`.
    pub fn ready(self, value: T) {
        if self.start.is_waiting() {
            self.start.set(State::Ready(value));
        }
    }
}

impl<T, E> Drop for Ready<T, E> {
    fn drop(&mut self) {
        // If the child ends in this poll with an error, that is there when the starter looks.
        self.start.dropped.set(true);
        if let Some(waker) = self.start.waker.take() {
            waker.wake();
        }
    }
}

impl<T, E> fmt::Debug for Ready<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ready").finish_non_exhaustive()
    }
}

/// Who waits. When nobody does any more, or nobody ever began to, the child goes on only if it was
/// ready.
struct Starter<'s, T, E> {
    start: Rc<Start<T, E>>,
    child: TaskHandle<'s, ()>,
}

impl<T, E> Drop for Starter<'_, T, E> {
    fn drop(&mut self) {
        match self.start.state.replace(State::Over) {
            State::Waiting => self.child.cancel(),
            State::Failed(error) => {
                self.start.state.replace(State::Unheard(error));
                self.start.wake_child();
            }
            State::Ready(_) | State::Unheard(_) | State::Over => {}
        }
    }
}

impl<'s, E> TaskGroup<'s, '_, E> {
    /// Starts a child and waits until it says that it is ready, with a value: an address it listens
    /// on, say. The child goes on after that, as one that was spawned.
    ///
    /// # Errors
    ///
    /// The error that the child ends with before it is ready, which is then none of the group's.
    /// [`Error::TaskFailed`] as `E` if it has not said so when it ends,
    /// or drops its [`Ready`]; [`Error::Cancelled`] if it was cancelled;
    /// what the wait itself may end with.
    ///
    /// # Cancel safety
    ///
    /// A child that is not ready yet is cancelled. If it has failed by then, that is the group's
    /// error.
    ///
    /// # Examples
    ///
    /// ```
    /// use soloio::{Error, connect_tcp, create_tcp_listener, task_group};
    ///
    /// soloio::block_on(task_group(async |group| {
    ///     let port = group.start(async |ready| {
    ///         let listener = create_tcp_listener().local_host("127.0.0.1").await?;
    ///         ready.ready(listener.local_addr().port());
    ///         let client = listener.accept().await?;
    ///         client.send(b"hello").await
    ///     });
    ///     let port = port.await?;
    ///     let stream = connect_tcp("127.0.0.1", port).await?;
    ///     assert_eq!(stream.receive().await?, b"hello");
    ///     Ok(())
    /// }))?;
    /// # Ok::<_, Error>(())
    /// ```
    #[track_caller]
    pub fn start<T, B, O>(&'s self, body: B) -> impl Future<Output = Result<T, E>>
    where
        B: AsyncFnOnce(Ready<T, E>) -> O + 's,
        O: Outcome<E, Value = ()> + 's,
        T: 's,
        E: Failure + 's,
    {
        let start = Rc::new(Start {
            state: RefCell::new(State::Waiting),
            dropped: Cell::new(false),
            waker: Cell::new(None),
            child: Cell::new(None),
        });
        let ready = Ready {
            start: Rc::clone(&start),
        };
        let shared = Rc::clone(&start);
        let child = self.spawn(async move {
            let ended = body(ready).await.into_result();
            match ended {
                Err(error) if shared.is_waiting() => shared.hand_over(error).await,
                ended => ended,
            }
        });
        wait(Starter { start, child })
    }
}

async fn wait<T, E: Failure>(starter: Starter<'_, T, E>) -> Result<T, E> {
    let mut op = Wait::new(&"a child that is not ready yet");
    let start = &starter.start;
    let ended = poll_fn(|cx| {
        context::poll_with(|core| {
            ready!(op.admit_wait(core, cx))?;
            let old = start.waker.replace(Some(cx.waker().clone()));
            drop(old);
            let state = start.state.replace(State::Waiting);
            match state {
                State::Ready(value) => Poll::Ready(Ok(Ok(value))),
                State::Failed(error) | State::Unheard(error) => Poll::Ready(Ok(Err(error))),
                State::Waiting if !start.dropped.get() => op.pend(core, cx),
                State::Over | State::Waiting => Poll::Ready(Err(starter.child.not_ready())),
            }
        })
    })
    .await;
    start.waker.set(None);
    if let Ok(Ok(_)) = ended {
        start.state.replace(State::Over);
        start.wake_child();
    }
    drop(starter);
    ended?
}
