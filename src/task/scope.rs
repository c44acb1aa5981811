//! Cancel scopes: `CancelScope`, `shield`, `current_effective_deadline`.

use std::borrow::Cow;
use std::cell::RefCell;
use std::future::{Future, IntoFuture};
use std::marker::PhantomData;
use std::time::{Duration, Instant};

use crate::runtime::context;
use crate::runtime::scoped::{Control, Ended, Owned, Shield, scoped};
use crate::runtime::scopes::Limit;
use crate::shown::shown;
use crate::sys::clock::{self, NEVER};

/// A part of a program that can be cancelled as a whole, or by a deadline.
///
/// The future of [`run`](Self::run) is cancelled by [`cancel`](Self::cancel), called from inside or
/// from any other task of the same thread, or at the deadline. Then
///
/// 1. every operation inside ends with [`Error::Cancelled`](crate::Error::Cancelled): the waiting
///    one, and each later one at its beginning, so that code unwinds through `?` and may clean up
///    inside a [`shield`]. An operation that is ready in the same turn wins.
/// 2. A future that is still pending after that is dropped: because it waits for a future of
///    another crate, or continues in spite of the errors.
///
/// Scopes nest; a task group is one, too. A scope may be run several times, also at the same time:
/// a cancel ends every run, and later runs begin cancelled. It may be cancelled before it is run.
/// Not `Send`.
///
/// # Examples
///
/// ```
/// use soloio::{CancelScope, Error, sleep, task_group};
/// use std::time::Duration;
///
/// soloio::block_on(async {
///     let scope = CancelScope::new();
///     task_group(async |group| {
///         group.spawn(async {
///             let ended = scope.run(sleep(Duration::from_secs(60))).await;
///             assert!(matches!(ended, Some(Err(Error::Cancelled))));
///             Ok(())
///         });
///         group.spawn(async {
///             scope.cancel("there is no need any more");
///             Ok(())
///         });
///         Ok(())
///     })
///     .await?;
///     assert!(scope.cancelled_caught());
///     Ok::<_, Error>(())
/// })?;
/// # Ok::<_, Error>(())
/// ```
#[derive(Default)]
pub struct CancelScope {
    control: Control,
    reason: RefCell<Option<Cow<'static, str>>>,
    thread: PhantomData<*const ()>,
}

impl CancelScope {
    /// Makes a scope without a deadline.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a scope that is cancelled at `deadline`. If that has already passed, ready operations
    /// still end with their value, and waiting ones are cancelled.
    #[must_use]
    pub fn with_deadline(deadline: Instant) -> Self {
        let scope = Self::new();
        scope.set_deadline(Some(deadline));
        scope
    }

    /// Runs `future` in this scope, and returns its output, also an error that a cancel has caused.
    /// Returns `None` if the future was dropped: because of a cancel, or because it had to wait
    /// outside a runtime.
    ///
    /// # Cancel safety
    ///
    /// That of `future`, which is dropped with it.
    pub fn run<F: IntoFuture>(&self, future: F) -> impl Future<Output = Option<F::Output>> {
        scoped(
            Limit::at(NEVER),
            Owned::by(&self.control),
            future.into_future(),
            |ended| match ended {
                Ended::Done { output, .. } => Some(output),
                Ended::Dropped { .. } | Ended::NoRuntime => None,
            },
        )
    }

    /// Cancels everything in the scope. The reason is for people ([`reason`](Self::reason)); the
    /// first one is kept. Another cancel has no effect, nor has a cancel on a run that has ended.
    pub fn cancel(&self, reason: impl Into<Cow<'static, str>>) {
        if !self.control.is_cancelled() {
            self.reason.replace(Some(reason.into()));
        }
        self.control.cancel();
    }

    /// Returns the reason of the cancel; `None` if it was not cancelled, or by its deadline.
    #[must_use]
    pub fn reason(&self) -> Option<Cow<'static, str>> {
        self.reason.borrow().clone()
    }

    /// Returns the time at which the scope is cancelled by itself.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.control.deadline()
    }

    /// Moves the deadline, also while the scope runs; `None` removes it. A deadline that has
    /// already passed cancels waiting operations. Moving it does not undo a cancel.
    pub fn set_deadline(&self, deadline: Option<Instant>) {
        self.control.set_deadline(deadline);
    }

    /// Returns true if [`cancel`](Self::cancel) was called or the deadline has ended something.
    #[must_use]
    pub fn cancel_called(&self) -> bool {
        self.control.is_cancelled()
    }

    /// Returns true if something ended because of this scope: an operation with
    /// [`Error::Cancelled`](crate::Error::Cancelled), or a future that was dropped. If a scope
    /// around it is cancelled as well, that one has caught it. False if everything was done before
    /// the cancel could stop it, and as long as the run is in progress.
    #[must_use]
    pub fn cancelled_caught(&self) -> bool {
        self.control.has_caught()
    }
}

shown!(
    [] CancelScope, "CancelScope", this =>
    cancel_called: this.cancel_called(),
    cancelled_caught: this.cancelled_caught(),
    reason: this.reason(),
    ..
);

/// Protects `future` from the scopes around it for `limit`, counted from the first poll: for
/// clean-up that has to run, such as a last message to a peer.
///
/// After the limit the protection ends: if a scope around it is cancelled by then, the operations
/// inside end with [`Error::Cancelled`](crate::Error::Cancelled) as everywhere. Scopes inside
/// `future` work as usual. A shield that is leaked or not polled any more ends at its limit, too.
/// After a cancel all shields of a scope share one allowance of time: the longest of their limits,
/// counted from the cancel. A shield of `Duration::MAX` makes a cancelled scope wait for as long as
/// `future` takes. Only this can make a time limit wait for ever, so set a limit wherever you can.
///
/// # Cancel safety
///
/// Before the limit only a drop of the returned future cuts `future` short.
///
/// # Examples
///
/// ```
/// use soloio::{Error, fail_after, shield, sleep};
/// use std::time::Duration;
///
/// soloio::block_on(async {
///     let mut said_goodbye = false;
///     let ended = fail_after(Duration::from_millis(1), async {
///         let ended = sleep(Duration::from_secs(60)).await;
///         shield(Duration::from_secs(1), async {
///             sleep(Duration::from_millis(1)).await?; // waits, although all is cancelled
///             said_goodbye = true;
///             Ok::<_, Error>(())
///         })
///         .await?;
///         ended
///     })
///     .await;
///     assert!(matches!(ended, Err(Error::TimedOut(_))));
///     assert!(said_goodbye);
/// });
/// ```
pub fn shield<F: IntoFuture>(limit: Duration, future: F) -> impl Future<Output = F::Output> {
    let limit = Limit::after(limit);
    scoped(limit, Shield, future.into_future(), |ended| match ended {
        Ended::Done { output, .. } => output,
        Ended::Dropped { .. } | Ended::NoRuntime => unreachable!("no shield is cancelled itself"),
    })
}

/// Returns the earliest deadline that applies here, up to the next [`shield`]; a time that is not
/// in the future if a scope is already cancelled; `None` if there is no deadline.
///
/// # Examples
///
/// ```
/// use soloio::{CancelScope, current_effective_deadline};
/// use std::time::{Duration, Instant};
///
/// soloio::block_on(async {
///     assert!(current_effective_deadline().is_none());
///     let deadline = Instant::now() + Duration::from_secs(60);
///     let scope = CancelScope::with_deadline(deadline);
///     let inside = scope.run(async { current_effective_deadline() }).await;
///     let left = inside.flatten().unwrap().duration_since(Instant::now());
///     assert!(left > Duration::from_secs(50) && left <= Duration::from_secs(60));
/// });
/// ```
#[must_use]
pub fn current_effective_deadline() -> Option<Instant> {
    let core = context::current()?;
    match core.effective_deadline() {
        NEVER => None,
        deadline => Some(clock::instant(deadline)),
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::Pin;
    use std::task::Poll;

    use super::*;
    use crate::error::Result;
    use crate::runtime::block_on;
    use crate::task::group::task_group;
    use crate::task::timeout::{fail_after, fail_at};
    use crate::time::sleep;

    /// The number of nodes that are visited to cancel `children` children that are groups.
    fn visited(children: usize) -> usize {
        block_on(async {
            let ended = fail_after(Duration::from_millis(1), async {
                task_group(async |group| {
                    for _ in 0..children {
                        group.spawn(task_group(async |group| {
                            group.spawn(sleep(Duration::from_secs(60)));
                            Ok(())
                        }));
                    }
                    Ok(())
                })
                .await
            });
            let ended: Result<()> = ended.await;
            assert!(ended.is_err());
            context::current().expect("inside").visited()
        })
    }

    /// Runs it where deeply nested futures have room.
    fn on_a_large_stack(run: impl FnOnce() -> usize + Send + 'static) -> usize {
        let thread = std::thread::Builder::new().stack_size(64 << 20);
        let ended = thread.spawn(run).expect("a thread").join();
        ended.expect("no panic")
    }

    /// The number of nodes that are visited when nested time limits end at once.
    fn visited_by_limits(depth: usize) -> usize {
        on_a_large_stack(move || {
            block_on(async {
                let deadline = Instant::now() + Duration::from_millis(200);
                let mut nested: Nested = Box::pin(sleep(Duration::from_secs(60)));
                for _ in 0..depth {
                    nested = Box::pin(fail_at(deadline, nested));
                }
                assert!(nested.await.is_err());
                context::current().expect("inside").visited()
            })
        })
    }

    #[test]
    fn nested_limits_that_end_at_once_are_linear() {
        let (few, many) = (visited_by_limits(100), visited_by_limits(1_000));
        assert!(many <= 10 * few + 100, "{few} and {many} visits");
    }

    type Nested = Pin<Box<dyn Future<Output = Result<()>>>>;

    /// Pending for three polls, each of which wakes its task.
    fn three_polls() -> Nested {
        let mut polls = 0;
        Box::pin(poll_fn(move |cx| {
            polls += 1;
            cx.waker().wake_by_ref();
            if polls > 3 {
                Poll::Ready(Ok(()))
            } else {
                Poll::Pending
            }
        }))
    }

    /// The number of nodes that are visited when nested scopes are polled, and end or are dropped.
    fn visited_by(depth: usize, wrap: fn(Nested) -> Nested, drops: bool) -> usize {
        on_a_large_stack(move || {
            block_on(async {
                let mut nested = (0..depth).fold(three_polls(), |nested, _| wrap(nested));
                if drops {
                    poll_fn(|cx| Poll::Ready(nested.as_mut().poll(cx).is_pending())).await;
                    drop(nested);
                } else {
                    nested.await.expect("no error");
                }
                context::current().expect("inside").visited()
            })
        })
    }

    #[test]
    fn nested_shields_and_groups_are_linear() {
        const MINUTE: Duration = Duration::from_secs(60);
        let shields: fn(Nested) -> Nested = |nested| Box::pin(shield(MINUTE, nested));
        let groups: fn(Nested) -> Nested = |nested| Box::pin(task_group(async |_| nested.await));
        let mixed: fn(Nested) -> Nested = |nested| {
            let nested = fail_after(MINUTE, shield(MINUTE, nested));
            let nested = async { CancelScope::new().run(nested).await.expect("no cancel") };
            Box::pin(task_group(async |_| nested.await))
        };
        for (name, wrap) in [("shields", shields), ("groups", groups), ("mixed", mixed)] {
            for drops in [false, true] {
                let (few, many) = (visited_by(100, wrap, drops), visited_by(800, wrap, drops));
                assert!(
                    many <= 8 * few + 100,
                    "{name}, {drops}: {few} and {many} visits"
                );
            }
        }
    }

    #[test]
    fn cancelling_groups_is_linear() {
        let (few, many) = (visited(1_000), visited(8_000));
        assert!(many <= 8 * few + 100, "{few} and {many} visits");
    }
}
