//! Starts a child and waits until it reports that it is ready.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::mem;
use std::rc::Rc;
use std::task::{Poll, Waker, ready};

use super::group::TaskGroup;
use super::handle::TaskHandle;
use super::outcome::Outcome;
use crate::error::{Error, Failure, Result};
use crate::executor::wake_one;
use crate::runtime::context;
use crate::runtime::wait::Wait;
use crate::shown::shown;

/// The state that a child and its starter share until the child is ready.
struct Start<T, E> {
    state: RefCell<State<T, E>>,
    /// The child has dropped its [`Ready`], or has ended.
    over: Cell<bool>,
    waker: Cell<Option<Waker>>,
    /// The waker of a child that has failed.
    child: Cell<Option<Waker>>,
}

enum State<T, E> {
    /// The child has reported nothing yet.
    Waiting,
    /// It is ready; the value is there to be taken.
    Ready(T),
    /// It failed before it was ready, and the starter has to handle it; the child waits until then.
    Failed(E),
    /// It failed, and the starter left without taking the error.
    Unheard(E),
    /// The starter has taken the value or the error, or no starter waits any more.
    Over,
}

impl<T, E> Start<T, E> {
    fn set(&self, state: State<T, E>) {
        let old = self.state.replace(state);
        drop(old);
        self.wake();
    }

    /// Wakes the starter.
    fn wake(&self) {
        wake_one(self.waker.take());
    }

    /// The child will not report any more: ends the starter's wait. If the child ends in this poll
    /// with an error, the starter finds that error.
    fn give_up(&self) {
        self.over.set(true);
        self.wake();
    }

    fn is_waiting(&self) -> bool {
        matches!(*self.state.borrow(), State::Waiting)
    }

    /// Wakes a child that has failed.
    fn wake_child(&self) {
        wake_one(self.child.take());
    }

    /// Hands `error` to the starter. An error is never lost: it is returned if the starter has left
    /// by its next poll.
    async fn hand_over(&self, error: E) -> Result<(), E> {
        self.set(State::Failed(error));
        poll_fn(|cx| {
            self.child.set(Some(cx.waker().clone()));
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

/// Lets a child report that it is ready; see [`TaskGroup::start`].
///
/// Dropping it without that ends the starter's wait with an error.
pub struct Ready<T, E = Error> {
    start: Rc<Start<T, E>>,
}

impl<T, E> Ready<T, E> {
    /// Reports that the child is ready: the starter continues with `value`.
    pub fn ready(self, value: T) {
        if self.start.is_waiting() {
            self.start.set(State::Ready(value));
        }
    }
}

impl<T, E> Drop for Ready<T, E> {
    fn drop(&mut self) {
        self.start.give_up();
    }
}

shown!([T, E] Ready<T, E>, "Ready", _ => ..);

/// The waiting starter. If it was dropped, or never polled, the child continues only if it was
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
    /// Starts a child and waits until it reports that it is ready, with a value: for example the
    /// address it listens on. After that the child continues, like one that was spawned.
    ///
    /// # Errors
    ///
    /// The error that the child ends with before it is ready, which is then not the group's.
    /// [`Error::TaskFailed`] as `E` if it ends, or drops its [`Ready`], before it is ready;
    /// [`Error::Cancelled`] if it was cancelled; the errors of the wait itself.
    ///
    /// # Cancel safety
    ///
    /// A child that is not ready yet is cancelled. If it has failed by then, its error is the
    /// group's.
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
            over: Cell::new(false),
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
                ended => {
                    // Its `Ready` may be elsewhere.
                    shared.give_up();
                    ended
                }
            }
        });
        wait(Starter { start, child })
    }
}

async fn wait<T, E: Failure>(starter: Starter<'_, T, E>) -> Result<T, E> {
    let mut op = Wait::new(&"a child that is not ready yet");
    let start = &starter.start;
    let ended = context::in_runtime(|core, cx| {
        ready!(op.admit_wait(core, cx))?;
        start.waker.set(Some(cx.waker().clone()));
        let state = start.state.replace(State::Waiting);
        match state {
            State::Ready(value) => Poll::Ready(Ok(Ok(value))),
            State::Failed(error) | State::Unheard(error) => Poll::Ready(Ok(Err(error))),
            State::Waiting if !start.over.get() => op.pend(core, cx),
            State::Over | State::Waiting => Poll::Ready(Err(starter.child.not_ready())),
        }
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
