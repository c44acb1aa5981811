//! Task groups: children that borrow what lives outside the call, and cannot outlive it.
//!
//! # Why this is sound
//!
//! The future that [`task_group`] returns owns its children and polls them itself, together with
//! the body. So a child lives inside what it borrows from: leaking the group's future leaks its
//! children and polls them never again; dropping it drops them before anything they borrow.
//!
//! Three things make it hold, and each has a test that fails to compile (or to run) without it:
//!
//! * `'s` of [`TaskGroup`] is *invariant* and chosen by the group's own frame (the body is
//!   `for<'s>`). What a child borrows must outlive `'s`, so it stands outside the call, in `'env`;
//!   a local of the body does not.
//! * A child is stored with its lifetime erased, because a group that is borrowed for `'s` cannot
//!   have a drop of its own that mentions `'s`. [`Run`] makes up for that: its drop closes the
//!   group and drops body and children *in place*, before the group's cells and before `'env`.
//! * A child's cell is shared with its handle, so it may outlive the group. What is left in it
//!   then is the result, never the future.
//!
//! ```text
//!   task_group(body) ─ frame: [ set of children | body's future ]      <- one future, polled
//!                                  │                                       as a whole
//!                                  └ cell: { future in place | result, joiner, cancel flag }
//! ```
//!
//! The file is long because all that the `unsafe` in it relies on is to be read together.

#![allow(
    unsafe_code,
    reason = "the one lifetime erasure, and pinning in a shared cell"
)]

use std::cell::{Cell, RefCell, RefMut};
use std::fmt;
use std::future::{Future, IntoFuture};
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::thread;

use super::ending::Ending;
use super::handle::{Join, Joinable, TaskHandle};
use super::keeper::Keeper;
use super::outcome::Outcome;
use crate::error::{Error, Failure, Result};
use crate::executor::{Child, Payload, Place, SetKey, Step, TaskId, TaskSet};
use crate::runtime::context::{self, Core};
use crate::runtime::scopes::ScopeKey;

/// A child: its future, and beside it what the handle sees.
pub(super) struct TaskCell<F, T, E, K> {
    /// Pinned: never moved out, dropped in place. Borrowed only by its set, while it polls or
    /// drops the future.
    future: RefCell<Option<F>>,
    join: Join<T>,
    keeper: K,
    error: PhantomData<fn() -> E>,
}

impl<F, E, K> Child<E> for TaskCell<F, <F::Output as Outcome<E>>::Value, E, K>
where
    F: Future<Output: Outcome<E>>,
    E: Failure,
    K: Keeper,
{
    fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<(), E>> {
        if self.join.is_cancelled() {
            return self.poll_cancelled(cx);
        }
        let mut place = self.future.borrow_mut();
        let polled = match K::KEEPS {
            true => self.keeper.keep(|| Self::pinned(&mut place).poll(cx)),
            false => Some(Self::pinned(&mut place).poll(cx)),
        };
        match polled {
            Some(Poll::Pending) => Poll::Pending,
            Some(Poll::Ready(outcome)) => self.finish(place, outcome),
            None => {
                drop(place);
                self.cancel(true);
                Poll::Ready(Ok(()))
            }
        }
    }

    fn cancel(&self, panicked: bool) {
        if K::KEEPS {
            // If the drop panics, the keeper hears of it.
            self.keeper.keep(|| self.drop_future(panicked));
        } else {
            self.drop_future(panicked);
        }
    }

    fn set_id(&self, id: TaskId) {
        self.join.set_id(id);
    }

    fn id(&self) -> TaskId {
        self.join.id()
    }

    fn strand(&self) {
        self.join.strand();
    }
}

impl<F, E, K> TaskCell<F, <F::Output as Outcome<E>>::Value, E, K>
where
    F: Future<Output: Outcome<E>>,
    E: Failure,
    K: Keeper,
{
    #[inline]
    pub(super) fn new(future: F, keeper: K) -> Rc<Self> {
        Rc::new(Self {
            future: RefCell::new(Some(future)),
            join: Join::new(),
            keeper,
            error: PhantomData,
        })
    }

    /// Drops the future where it is, and ends the joiner's wait.
    fn drop_future(&self, panicked: bool) {
        let dropped = catch_unwind(AssertUnwindSafe(|| {
            // A future that cancels itself from inside its own poll is dropped when that is over.
            drop(self.future.try_borrow_mut().map(|mut place| *place = None));
        }));
        // The joiner's wait ends, whatever the future's drop did; its waker may panic in turn.
        let woken = catch_unwind(AssertUnwindSafe(|| {
            self.join.give_up(panicked);
        }));
        if let Err(payload) = dropped.and(woken) {
            resume_unwind(payload);
        }
    }

    #[inline]
    fn pinned<'p>(place: &'p mut RefMut<'_, Option<F>>) -> Pin<&'p mut F> {
        let future = place.as_mut();
        let future = future.expect("a task that has ended has left its set");
        // SAFETY: the place is that of a cell, which lives in an `Rc` that is never unwrapped, so
        // the future does not move; it leaves its place only by being overwritten, which drops it
        // where it is.
        unsafe { Pin::new_unchecked(future) }
    }

    /// The future is done: drops it where it is, then hands its outcome over.
    fn finish(&self, mut place: RefMut<'_, Option<F>>, outcome: F::Output) -> Poll<Result<(), E>> {
        *place = None;
        drop(place);
        Poll::Ready(self.join.take(outcome))
    }

    /// Its handle asked for its end: its operations end with `Cancelled`; then it is dropped.
    #[cold]
    fn poll_cancelled(&self, cx: &mut Context<'_>) -> Poll<Result<(), E>> {
        let Some(core) = context::current() else {
            self.cancel(false);
            return Poll::Ready(Ok(()));
        };
        let scope = core.cancel_task(core.executor.task());
        let cancelled = core.begin(scope);
        let mut place = self.future.borrow_mut();
        let polled = match K::KEEPS {
            true => self.keeper.keep(|| Self::pinned(&mut place).poll(cx)),
            false => Some(Self::pinned(&mut place).poll(cx)),
        };
        if let Some(Poll::Ready(outcome)) = polled {
            return self.finish(place, outcome);
        }
        drop(place);
        if polled.is_some() && !core.is_over(scope, cancelled, cx) {
            return Poll::Pending;
        }
        self.cancel(polled.is_none());
        Poll::Ready(Ok(()))
    }
}

impl<F, T, E, K> Joinable<T> for TaskCell<F, T, E, K> {
    fn join(&self) -> &Join<T> {
        &self.join
    }
}

/// Spawns children; see [`task_group`].
///
/// `'env` is what children may borrow, `'s` the group's own time. Not `Send`: a group stays with
/// its thread.
pub struct TaskGroup<'s, 'env: 's, E = Error> {
    pub(super) set: TaskSet<E>,
    pub(super) ending: Ending<'env, E>,
    scope: PhantomData<Cell<&'s ()>>,
    env: PhantomData<Cell<&'env ()>>,
}

impl<'s, 'env, E> TaskGroup<'s, 'env, E> {
    fn new() -> Self {
        Self {
            set: TaskSet::new(),
            ending: Ending::new(),
            scope: PhantomData,
            env: PhantomData,
        }
    }

    /// Starts a child; it runs when the group is polled next, and may spawn further ones.
    ///
    /// Its error, if it ends with one, ends the group. In a group that is cancelled already each of
    /// its operations ends at once, with [`Error::Cancelled`]; in one that is being dropped so is
    /// the future, and the handle is that of a cancelled task.
    ///
    /// # Examples
    ///
    /// ```
    /// use soloio::task_group;
    ///
    /// soloio::block_on(async {
    ///     let words = ["tasks", "may", "borrow"];
    ///     let count = task_group(async |group| {
    ///         let lengths = words.each_ref().map(|word| group.spawn(async { Ok(word.len()) }));
    ///         let mut sum = 0;
    ///         for length in lengths {
    ///             sum += length.await?;
    ///         }
    ///         Ok(sum)
    ///     });
    ///     assert_eq!(count.await?, 14);
    ///     Ok::<_, soloio::Error>(())
    /// })?;
    /// # Ok::<_, soloio::Error>(())
    /// ```
    #[doc(alias = "start_soon")]
    #[doc(alias = "create_task")]
    #[track_caller]
    pub fn spawn<F>(&'s self, future: F) -> TaskHandle<'s, <F::Output as Outcome<E>>::Value>
    where
        F: IntoFuture<Output: Outcome<E>>,
        F::IntoFuture: 's,
        <F::Output as Outcome<E>>::Value: 's,
        E: Failure + 's,
    {
        self.spawn_kept(future.into_future(), (), Location::caller())
    }

    /// The same for a task that `keeper` polls; spawned at `place`.
    #[inline]
    pub(crate) fn spawn_kept<F, K>(
        &'s self,
        future: F,
        keeper: K,
        place: Place,
    ) -> TaskHandle<'s, <F::Output as Outcome<E>>::Value>
    where
        F: Future<Output: Outcome<E>> + 's,
        <F::Output as Outcome<E>>::Value: 's,
        K: Keeper + 's,
        E: Failure + 's,
    {
        let cell = TaskCell::new(future, keeper);
        let child: Rc<dyn Child<E> + 's> = Rc::<TaskCell<_, _, E, _>>::clone(&cell);
        // SAFETY: only the lifetime changes. The set is private to this group, which is private to
        // `task_group_with`: there `Run` drops every child's future in place before `'s` ends, on
        // each way out; a frame that is leaked polls nothing any more. What may live longer is the
        // cell with a result and a keeper in it, and only inside a handle, which has `'s` in it.
        let child: Rc<dyn Child<E> + 'static> = unsafe { std::mem::transmute(child) };
        self.set.insert(child, place);
        TaskHandle::new(cell, place)
    }
}

impl<E> fmt::Debug for TaskGroup<'_, '_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TaskGroup({:?})", self.set)
    }
}

/// Runs `body` and the children it spawns; returns when all have ended.
///
/// Children borrow what lives *outside* this call, such as locals of the async fn around it: no
/// `Arc`, no `'static`, no `Send`. They cannot borrow locals of the body, so connect, bind and
/// allocate before the group, or give a child its own with `async move`.
///
/// The first error, of the body or of a child, cancels everything else in the group and is
/// the result; none that is a cancel's ([`Failure`]) if there is another. A panic in one does the
/// same and goes on in the caller. Dropping the returned future drops all children before the drop
/// is over.
///
/// The children are polled inside this future, about 0.8 KB of stack a level in release builds:
/// a thousand groups may be nested in 2 MB.
///
/// # Errors
///
/// The first error of the body or of a child. [`Error::NoRuntime`] outside a runtime.
///
/// # Panics
///
/// With the panic of the body or of a child.
///
/// # Cancel safety
///
/// Dropping the future drops the body and every child; what each loses by that is its own.
///
/// # Examples
///
/// ```
/// use soloio::{sleep, task_group};
/// use std::{cell::Cell, time::Duration};
///
/// soloio::block_on(async {
///     let done = Cell::new(0); // borrowed by all children
///     task_group(async |group| {
///         for _ in 0..10 {
///             group.spawn(async {
///                 sleep(Duration::from_millis(1)).await?;
///                 done.set(done.get() + 1);
///                 Ok(())
///             });
///         }
///     })
///     .await?;
///     assert_eq!(done.get(), 10);
///     Ok::<_, soloio::Error>(())
/// })?;
/// # Ok::<_, soloio::Error>(())
/// ```
#[doc(alias = "create_task_group")]
#[doc(alias = "nursery")]
#[doc(alias = "scope")]
pub fn task_group<'env, B, O>(body: B) -> impl Future<Output = Result<O::Value>>
where
    B: for<'s> AsyncFnOnce(&'s TaskGroup<'s, 'env>) -> O,
    O: Outcome<Error>,
{
    // No async fn around the other one: its frame would be on the stack, too, at each level.
    task_group_with::<Error, _, _>(body)
}

/// [`task_group`] with an error type of one's own.
///
/// # Errors
///
/// The first error of the body or of a child. [`Error::NoRuntime`] as `E` outside a runtime.
///
/// # Panics
///
/// With the panic of the body or of a child.
///
/// # Cancel safety
///
/// As [`task_group`].
///
/// # Examples
///
/// ```
/// type AnyError = Box<dyn std::error::Error + Send + Sync>;
///
/// let ended: Result<(), AnyError> = soloio::block_on(async {
///     soloio::task_group_with(async |group| -> Result<(), AnyError> {
///         group.spawn(async { Err::<(), AnyError>("no luck".into()) });
///         Ok(())
///     })
///     .await
/// });
/// assert_eq!(ended.unwrap_err().to_string(), "no luck");
/// ```
pub async fn task_group_with<'env, E, B, O>(body: B) -> Result<O::Value, E>
where
    E: Failure + 'env,
    B: for<'s> AsyncFnOnce(&'s TaskGroup<'s, 'env, E>) -> O,
    O: Outcome<E>,
{
    let group = TaskGroup::new();
    let place = pin!(None);
    // Made before the body, which may spawn and panic before there is a future of it: whatever
    // happens from here on, `Run` tears the children down.
    let mut run = Run::new(&group, place);
    run.start(|| body(&group));
    // By reference: moved into the await it would be on the stack once more.
    (&mut run).await
}

/// The group's future, but for what it owns: polls body and children, and tears them down.
struct Run<'a, 'env, B, V, E> {
    set: &'a TaskSet<E>,
    ending: &'a Ending<'env, E>,
    body: Pin<&'a mut Option<B>>,
    /// What the body ended with, or what ended the group.
    result: Option<Result<V, E>>,
    /// The error of a child that ended because something around the group is cancelled.
    told: Option<E>,
}

/// How a poll of a group goes on.
enum Next {
    /// With another step.
    Step,
    /// Nothing is woken.
    Wait,
    /// The budget is used.
    GiveWay,
    /// The group has ended.
    End,
}

// The body is behind its own pin; what it ended with is never pinned.
impl<B, V, E> Unpin for Run<'_, '_, B, V, E> {}

impl<B, V, E> Future for Run<'_, '_, B, V, E>
where
    E: Failure,
    B: Future<Output: Outcome<E, Value = V>>,
{
    type Output = Result<V, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<V, E>> {
        let Some((core, set)) = self.look(cx) else {
            return Poll::Ready(Err(Error::NoRuntime.into()));
        };
        let (_, scope) = self.ending.home.get();
        let cancelled = core.begin(scope);
        loop {
            let step = self.set.step(&core.executor, set);
            match self.stepped(step, &core) {
                Next::Step => {}
                Next::End => return self.end(),
                next => return self.pause(next, &core, cancelled, cx),
            }
        }
    }
}

impl<'a, 'env, B, V, E> Run<'a, 'env, B, V, E> {
    fn new(group: &'a TaskGroup<'_, 'env, E>, body: Pin<&'a mut Option<B>>) -> Self {
        Self {
            set: &group.set,
            ending: &group.ending,
            body,
            result: None,
            told: None,
        }
    }

    /// Makes the body's future. Not written out where it is called: copies of it take stack.
    fn start(&mut self, body: impl FnOnce() -> B) {
        self.body.set(Some(body()));
    }

    /// Takes notice of who polls, and where.
    fn look(&self, cx: &Context<'_>) -> Option<(Rc<Core>, SetKey)> {
        let core = context::current()?;
        let set = self.set.look(&core.executor, cx.waker());
        self.ending.enter(&core, set);
        Some((core, set))
    }

    /// Does what a step asks for. Apart from `poll` for the sake of the stack: children that are
    /// groups are polled from there.
    fn stepped(&mut self, step: Step<E>, core: &Core) -> Next
    where
        E: Failure,
        B: Future<Output: Outcome<E, Value = V>>,
    {
        match step {
            Step::Polled => return Next::Step,
            Step::Spent => return Next::GiveWay,
            Step::Body(id, scope) => {
                let before = core.executor.left();
                let polled = self.poll_body(id, scope, core);
                core.executor.settle(before);
                if let Err(error) = polled {
                    self.failed(error, core.executor.scope_of(id), core, true);
                }
                return Next::Step;
            }
            Step::Failed(error, scope) => {
                self.failed(error, scope, core, false);
                return Next::Step;
            }
            Step::Panicked(payload) => {
                // What the others' drops add to it is dropped with them.
                drop(self.tear_down());
                resume_unwind(payload);
            }
            Step::Idle if !self.has_ended() => return Next::Wait,
            Step::Idle => {}
        }
        Next::End
    }

    fn has_ended(&self) -> bool {
        self.result.is_some() && self.body.is_none() && self.set.is_empty()
    }

    fn poll_body(&mut self, id: TaskId, scope: ScopeKey, core: &Core) -> Result<(), E>
    where
        B: Future<Output: Outcome<E, Value = V>>,
    {
        let Some(body) = self.body.as_mut().as_pin_mut() else {
            return Ok(());
        };
        let waker = id.waker();
        let running = core.executor.run(id, scope);
        let polled = body.poll(&mut Context::from_waker(&waker));
        drop(running);
        if let Poll::Ready(outcome) = polled {
            self.body.set(None);
            let value = outcome.into_result()?;
            if self.result.is_none() {
                self.result = Some(Ok(value));
            }
        }
        Ok(())
    }

    /// The body or a child ended with an error; `scope` is its own, if it had one.
    #[cold]
    fn failed(&mut self, error: E, scope: ScopeKey, core: &Core, is_body: bool)
    where
        E: Failure,
    {
        let (_, group) = self.ending.home.get();
        let is_cancelled = self.ending.cancelled.get();
        if error.is_cancelled() {
            let notified = !is_body && core.was_notified(scope);
            let by_handle = notified && core.is_cancelled(scope);
            if by_handle || is_cancelled && (!is_body || self.result.is_some()) {
                return;
            }
            if notified && core.is_cancelled_around(group) {
                self.told.get_or_insert(error);
                return;
            }
        }
        // The first one counts, but none of a cancel if there is another.
        match &self.result {
            Some(Err(first)) if !first.is_cancelled() => self.ending.keep(error),
            _ => self.result = Some(Err(error)),
        }
        if !self.ending.cancelled.replace(true) {
            core.cancel_scope(group);
        }
    }

    /// Nothing more is to be done in this poll; drops what a cancel has left pending.
    fn pause(&mut self, next: Next, core: &Core, was: bool, cx: &Context<'_>) -> Poll<Result<V, E>>
    where
        E: Failure,
    {
        let (_, scope) = self.ending.home.get();
        core.group_was_polled(scope);
        if self.ending.cancelled.get() && core.is_over(scope, was, cx) {
            self.result
                .get_or_insert_with(|| Err(Error::Cancelled.into()));
            return self.end();
        }
        if let Next::GiveWay = next {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    fn end(&mut self) -> Poll<Result<V, E>> {
        if let Some(payload) = self.tear_down() {
            resume_unwind(payload);
        }
        // What a child could not finish, the whole could not, even if the body could.
        let result = match (self.result.take(), self.told.take()) {
            (Some(Ok(_)), Some(told)) => Some(Err(told)),
            (result, _) => result,
        };
        result.map_or(Poll::Pending, Poll::Ready)
    }

    /// Drops the body, then every child, going on after a panic; gives back the first.
    fn tear_down(&mut self) -> Option<Payload> {
        self.set.close();
        let body = catch_unwind(AssertUnwindSafe(|| self.body.set(None))).err();
        let children = self.set.teardown();
        self.ending.leave();
        body.or(children)
    }
}

impl<B, V, E> Drop for Run<'_, '_, B, V, E> {
    fn drop(&mut self) {
        if let Some(payload) = self.tear_down() {
            // Unless one is on its way already.
            if !thread::panicking() {
                resume_unwind(payload);
            }
        }
    }
}
