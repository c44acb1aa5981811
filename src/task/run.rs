//! Polls a group: its body and its children, until all have ended; then, or when it is dropped,
//! drops what is left of them.
//!
//! Nothing here depends on the types of body, value and error, so there is one such machine in a
//! program, however many groups it has.

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

/// The group's future, but for what it owns: polls body and children, and tears them down.
pub(super) struct Run<'a> {
    set: &'a TaskSet,
    ending: &'a Ending,
    errors: &'a (dyn KeepErrors + 'a),
    /// There from its start to its end.
    body: Option<Pin<&'a mut (dyn Body + 'a)>>,
    result: GroupResult,
}

/// What the group has come to so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum GroupResult {
    None,
    /// The body's value.
    Value,
    /// The error of a cancel, which gives way to any other one.
    Cancelled,
    Failed,
}

/// A group's body, in its place.
trait Body {
    /// Polls it. Its value or its error has gone to its place when it is ready.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Failed>>;

    /// Drops it where it is.
    fn clear(self: Pin<&mut Self>);
}

/// The place of the body's value, and the way to that of its error.
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

    /// The group's result, when it has ended.
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

impl Future for Run<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some((core, set)) = self.look(cx) else {
            self.errors.keep(Keep::NoRuntime);
            return Poll::Ready(());
        };
        let (_, scope) = self.ending.home.get();
        let cancelled = core.begin(scope);
        loop {
            let step = self.set.step(&core.executor, set);
            match self.stepped(step, &core) {
                Next::Step => {}
                Next::End => {
                    self.end();
                    return Poll::Ready(());
                }
                next => return self.pause(next, &core, cancelled, cx),
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

    /// The body is there.
    pub(super) fn set_body<B, V, E>(
        &mut self,
        body: Pin<&'a mut Beside<Option<B>, Value<'_, '_, V, E>>>,
    ) where
        B: Future<Output: Outcome<E, Value = V>>,
        E: Failure,
    {
        self.body = Some(body);
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
    fn stepped(&mut self, step: Step, core: &Core) -> Next {
        match step {
            Step::Polled => return Next::Step,
            Step::Spent => return Next::GiveWay,
            Step::Body(id, scope) => {
                let before = core.executor.left();
                let polled = self.poll_body(id, scope, core);
                core.executor.settle(before);
                if let Err(failed) = polled {
                    self.failed(failed, core.executor.scope_of(id), core, true);
                }
                return Next::Step;
            }
            Step::Failed(failed, scope) => {
                self.failed(failed, scope, core, false);
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

    /// The body or a child ended with an error; `scope` is its own, if it had one.
    #[cold]
    fn failed(&mut self, failed: Failed, scope: ScopeKey, core: &Core, is_body: bool) {
        let (_, group) = self.ending.home.get();
        let is_cancelled = self.ending.cancelled.get();
        if failed.by_cancel {
            let notified = !is_body && core.was_notified(scope);
            let by_handle = notified && core.is_cancelled(scope);
            let has_result = self.result != GroupResult::None;
            if by_handle || is_cancelled && (!is_body || has_result) {
                return self.errors.keep(Keep::Nowhere);
            }
            if notified && core.is_cancelled_around(group) {
                return self.errors.keep(Keep::Told);
            }
        }
        // The first one counts, but none of a cancel if there is another.
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

    /// Nothing more is to be done in this poll; drops what a cancel has left pending.
    fn pause(&mut self, next: Next, core: &Core, was: bool, cx: &Context<'_>) -> Poll<()> {
        let (_, scope) = self.ending.home.get();
        core.group_was_polled(scope);
        if self.ending.cancelled.get() && core.is_over(scope, was, cx) {
            if self.result == GroupResult::None {
                self.errors.keep(Keep::Cancelled);
            }
            self.end();
            return Poll::Ready(());
        }
        if let Next::GiveWay = next {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    fn end(&mut self) {
        if let Some(payload) = self.tear_down() {
            resume_unwind(payload);
        }
    }

    /// Drops the body, then every child, going on after a panic; gives back the first.
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
            // Unless one is on its way already.
            if !thread::panicking() {
                resume_unwind(payload);
            }
        }
    }
}
