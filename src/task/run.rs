//! Polls a group: its body and its children, until all have ended; then, or when it is dropped,
//! drops the rest of them.
//!
//! Nothing here depends on the types of body, value and error, so a program contains it once, for
//! any number of groups.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::thread;

use super::ending::{Ending, Errors, Keep, KeepErrors};
use super::keeper::Keeper;
use super::outcome::Outcome;
use crate::error::{Failure, Result};
use crate::executor::{Failed, Payload, SetKey, Step, TaskId, TaskSet};
use crate::runtime::context::{self, Core};
use crate::runtime::scopes::ScopeKey;
use crate::sys::beside::Beside;

/// The group's future, except for the values that it owns: polls body and children, and tears them
/// down.
pub(super) struct Run<'a> {
    set: &'a TaskSet,
    ending: &'a Ending,
    errors: &'a (dyn KeepErrors + 'a),
    /// `Some` from its start to its end.
    body: Option<Pin<&'a mut (dyn Body + 'a)>>,
    result: GroupResult,
}

/// The result of the group so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum GroupResult {
    None,
    /// The body's value.
    Value,
    /// The error of a cancel, which any other error replaces.
    Cancelled,
    Failed,
}

/// A group's body, in its place.
trait Body {
    /// Polls it. When it is ready, its value or its error is in its place.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Failed>>;

    /// Drops it in place.
    fn clear(self: Pin<&mut Self>);
}

/// The place of the body's value, and access to that of its error.
pub(super) struct Value<'a, 'env, V, E> {
    value: Option<V>,
    errors: &'a Errors<'env, E>,
}

impl<'a, 'env, V, E> Value<'a, 'env, V, E> {
    pub(super) fn new(errors: &'a Errors<'env, E>) -> Self {
        Self {
            value: None,
            errors,
        }
    }

    /// Returns the group's result, when it has ended.
    pub(super) fn result(&mut self) -> Result<V, E> {
        match self.errors.end() {
            Some(error) => Err(error),
            None => Ok(self
                .value
                .take()
                .expect("a body without an error has a value")),
        }
    }
}

impl<B, V, E> Body for Beside<Option<B>, Value<'_, '_, V, E>>
where
    B: Future<Output: Outcome<E, Value = V>>,
    E: Failure,
{
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        let (mut body, end) = self.parts();
        let body = body.as_mut().as_pin_mut();
        let outcome = ready!(body.expect("it is polled until it ends").poll(cx));
        Poll::Ready(match outcome.into_result() {
            Ok(value) => {
                end.value = Some(value);
                Ok(())
            }
            Err(error) => Err((&end.errors.latest).fail(error)),
        })
    }

    fn clear(self: Pin<&mut Self>) {
        self.parts().0.set(None);
    }
}

/// The next action in a poll of a group.
enum GroupAction {
    /// Another step.
    Step,
    /// No task is woken.
    Wait,
    /// The budget is spent.
    GiveWay,
    /// The group has ended.
    End,
}

impl Future for Run<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some((core, set)) = self.register(cx) else {
            self.errors.keep(Keep::NoRuntime);
            return Poll::Ready(());
        };
        let (_, scope) = self.ending.home.get();
        core.begin(scope);
        loop {
            let step = self.set.step(&core.executor, set);
            match self.stepped(step, &core) {
                GroupAction::Step => {}
                GroupAction::End => {
                    self.end();
                    return Poll::Ready(());
                }
                next => return self.pause(next, &core, cx),
            }
        }
    }
}

impl<'a> Run<'a> {
    pub(super) fn new<E: Failure>(
        set: &'a TaskSet,
        ending: &'a Ending,
        errors: &'a Errors<'_, E>,
    ) -> Self {
        Self {
            set,
            ending,
            errors,
            body: None,
            result: GroupResult::None,
        }
    }

    /// Sets the body.
    pub(super) fn set_body<B, V, E>(
        &mut self,
        body: Pin<&'a mut Beside<Option<B>, Value<'_, '_, V, E>>>,
    ) where
        B: Future<Output: Outcome<E, Value = V>>,
        E: Failure,
    {
        self.body = Some(body);
    }

    /// Records the waker and the runtime of a poll, unless they are those of the last one.
    #[inline]
    fn register(&self, cx: &Context<'_>) -> Option<(Rc<Core>, SetKey)> {
        let core = context::current()?;
        let same = self.set.register_again(&core.executor, cx.waker());
        let set = same.unwrap_or_else(|| self.register_anew(&core, cx));
        Some((core, set))
    }

    #[cold]
    fn register_anew(&self, core: &Rc<Core>, cx: &Context<'_>) -> SetKey {
        let set = self.set.register(&core.executor, cx.waker());
        self.ending.enter(core, set);
        let around = core.executor.scope();
        core.executor.slots().set_around(set, around);
        set
    }

    /// Handles the result of a step. Separate from `poll` to save stack: children that are groups
    /// are polled from there.
    fn stepped(&mut self, step: Step, core: &Core) -> GroupAction {
        match step {
            Step::Polled => return GroupAction::Step,
            Step::Spent => return GroupAction::GiveWay,
            Step::Body(id, scope) => {
                let before = core.executor.left();
                let polled = self.poll_body(id, scope, core);
                core.executor.settle(before);
                if let Err(failed) = polled {
                    self.failed(failed, core.executor.scope_of(id), core, true);
                }
                return GroupAction::Step;
            }
            Step::Failed(failed, scope) => {
                self.failed(failed, scope, core, false);
                return GroupAction::Step;
            }
            Step::Panicked(payload) => {
                // Further panics, of the others' drops, are dropped.
                drop(self.tear_down());
                resume_unwind(payload);
            }
            Step::Idle if !self.has_ended() => return GroupAction::Wait,
            Step::Idle => {}
        }
        GroupAction::End
    }

    fn has_ended(&self) -> bool {
        self.result != GroupResult::None && self.body.is_none() && self.set.is_empty()
    }

    fn poll_body(&mut self, id: TaskId, scope: ScopeKey, core: &Core) -> Result<(), Failed> {
        let Some(body) = &mut self.body else {
            return Ok(());
        };
        let waker = id.waker();
        let running = core.executor.run(id, scope);
        let polled = body.as_mut().poll(&mut Context::from_waker(&waker));
        drop(running);
        if let Poll::Ready(ended) = polled {
            self.clear_body();
            ended?;
            if self.result == GroupResult::None {
                self.result = GroupResult::Value;
            }
        }
        Ok(())
    }

    fn clear_body(&mut self) {
        if let Some(body) = self.body.take() {
            body.clear();
        }
    }

    /// Handles an error of the body or a child; `scope` is its own, if it had one.
    #[cold]
    fn failed(&mut self, failed: Failed, scope: ScopeKey, core: &Core, is_body: bool) {
        let (_, group) = self.ending.home.get();
        let is_cancelled = self.ending.cancelled.get();
        if failed.by_cancel {
            let by_handle = !is_body && core.is_cancelled(scope);
            let has_result = self.result != GroupResult::None;
            if by_handle || is_cancelled && (!is_body || has_result) {
                return self.errors.keep(Keep::Nowhere);
            }
            if !is_body && core.is_cancelled_around(group) {
                return self.errors.keep(Keep::CutOff);
            }
        }
        // The first error is the result, but another error replaces that of a cancel.
        if self.result == GroupResult::Failed {
            self.errors.keep(Keep::Other);
        } else {
            self.errors.keep(Keep::First);
            self.result = match failed.by_cancel {
                true => GroupResult::Cancelled,
                false => GroupResult::Failed,
            };
        }
        if !self.ending.cancelled.replace(true) {
            core.cancel_scope(group);
        }
    }

    /// Ends this poll; drops the futures that a cancel has left pending.
    fn pause(&mut self, next: GroupAction, core: &Core, cx: &Context<'_>) -> Poll<()> {
        let (_, scope) = self.ending.home.get();
        if core.is_over(scope, cx) {
            if self.result == GroupResult::None {
                self.errors.keep(Keep::Cancelled);
            }
            self.end();
            return Poll::Ready(());
        }
        if let GroupAction::GiveWay = next {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    fn end(&mut self) {
        if let Some(payload) = self.tear_down() {
            resume_unwind(payload);
        }
    }

    /// Drops the body, then every child, continuing after a panic; returns the first panic.
    fn tear_down(&mut self) -> Option<Payload> {
        self.set.close();
        let body = catch_unwind(AssertUnwindSafe(|| self.clear_body())).err();
        let children = self.set.teardown();
        self.ending.leave();
        body.or(children)
    }
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        if let Some(payload) = self.tear_down() {
            // Unless the thread is already panicking.
            if !thread::panicking() {
                resume_unwind(payload);
            }
        }
    }
}
