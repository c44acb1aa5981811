//! One body in a scope: a time limit, a shield, or a run of a scope that has an owner.
//!
//! The clock is read, and a timer set, only when a body first has to wait.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::context::{self, Core};
pub(crate) use super::control::{Control, Ended, Owned, Owner, Shield, Unowned};
use super::scopes::{Kind, Limit, ScopeKey, UNENTERED};
use super::sleep;
use crate::executor::remote::Post;
use crate::executor::{TaskId, waker};
use crate::reactor::{Seen, TimerKey};
use crate::sys::beside::Beside;
use crate::sys::clock::{self, NEVER};

/// Polls `body` in a scope of its own until it ends or is dropped, and returns the result of `end`.
/// A body that is ready at once sets no timer and reads no clock.
///
/// The body is cancelled at `when`, or protected until then if `owner` is a [`Shield`].
#[inline]
pub(crate) fn scoped<F, O, E, R>(limit: Limit, owner: O, body: F, end: E) -> Scoped<F, O, E>
where
    F: Future,
    O: Owner,
    E: FnMut(Ended<F::Output>) -> R,
{
    Beside::new(Some(body), (Scope::new(limit, owner), end))
}

/// See [`scoped`]. Written by hand: an async fn would copy the body at its first poll, which is a
/// large part of the cost of a time limit around a ready future.
pub(crate) type Scoped<F, O, E> = Beside<Option<F>, (Scope<O>, E)>;

impl<F, O, E, R> Future for Scoped<F, O, E>
where
    F: Future,
    O: Owner,
    E: FnMut(Ended<F::Output>) -> R,
{
    type Output = R;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<R> {
        let (mut body, (scope, end)) = self.parts();
        // Not in a closure, and with one poll of the body for all cases, to save stack: scopes may
        // be nested as deep as the stack allows.
        let Some(core) = context::current() else {
            return poll_outside::<_, O, _, _>(cx, body, end);
        };
        scope.enter(&core, cx);
        loop {
            core.begin(scope.key);
            let running = scope.run(&core);
            let polled = poll_body(&mut body, cx);
            drop(running);
            if let Poll::Ready(output) = polled {
                let caught = scope.leave_in(&core);
                return Poll::Ready(end(Ended::Done { output, caught }));
            }
            if scope.wait(&core, cx) {
                continue;
            }
            if core.is_over(scope.key, cx) {
                let caught = scope.drop_body(&core, body);
                return Poll::Ready(end(Ended::Dropped { caught }));
            }
            return Poll::Pending;
        }
    }
}

/// One poll of a body in its scope; on drop, also after a panic, the scope around continues.
struct Within<'a> {
    core: &'a Core,
    around: ScopeKey,
    key: &'a mut ScopeKey,
}

impl Drop for Within<'_> {
    #[inline]
    fn drop(&mut self) {
        let executor = &self.core.executor;
        if *self.key == 0 && executor.scope() != UNENTERED {
            // Something in it has looked for it.
            *self.key = executor.scope();
        }
        executor.go_on_in(self.around);
    }
}

/// The state of a run's timer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The body has not had to wait yet.
    Unset,
    /// The time had passed at the first wait, but the turn's budget was spent, too: ready
    /// operations get their chance in the next turn.
    GaveWay,
    /// The timer is set.
    Set,
    /// There is no deadline.
    Never,
    /// The deadline has passed.
    Over,
}

/// One run of a body in a scope.
pub(crate) struct Scope<O: Owner> {
    owner: O,
    limit: Limit,
    /// The runtime, once polled.
    serial: u64,
    /// The scope in it; 0 for a time limit that has no node yet.
    key: ScopeKey,
    /// Valid only in [`Stage::Set`]. Not a field of that variant: the compiler would copy its
    /// uninitialised bytes, and the processor would stall on that.
    timer: TimerKey,
    stage: Stage,
}

impl<O: Owner> Scope<O> {
    #[inline]
    fn new(limit: Limit, owner: O) -> Self {
        Self {
            owner,
            limit,
            serial: 0,
            key: 0,
            timer: 0,
            stage: Stage::Unset,
        }
    }

    /// Lets the running task continue in this scope.
    #[inline(always)]
    fn run<'a>(&'a mut self, core: &'a Core) -> Within<'a> {
        let (around, key) = (core.scope(), &mut self.key);
        core.executor.go_on_in(match *key {
            0 => {
                core.unentered.set((self.limit, around));
                UNENTERED
            }
            key => key,
        });
        Within { core, around, key }
    }

    /// Drops the body with the scope still there, so that its drop ends nothing else. Returns true
    /// if it was dropped because of this scope.
    #[cold]
    fn drop_body<F: Future>(&mut self, core: &Core, mut body: Pin<&mut Option<F>>) -> bool {
        let running = self.run(core);
        body.set(None);
        drop(running);
        self.leave_in(core)
    }

    /// Records the runtime and scope of the poll, and applies a moved deadline.
    #[inline(always)]
    fn enter(&mut self, core: &Core, cx: &Context<'_>) {
        let is_known = self.serial == core.serial();
        if let Some((control, applied)) = self.owner.control() {
            let by = (core.executor.running(cx.waker()), core.scope());
            // What has not changed since the last poll is not registered again.
            if !(is_known && applied.is_current(control, by)) {
                self.enter_owned(core, cx, by, is_known);
            }
        } else if !is_known {
            self.enter_anew(core);
        } else if self.key != 0 {
            core.move_scope(self.key);
        }
        if self.stage == Stage::Set && core.reactor().timers.is_fired(self.timer) {
            self.time_is_over(core);
        }
    }

    /// The same for a run that a control may cancel.
    #[cold]
    fn enter_owned(
        &mut self,
        core: &Core,
        cx: &Context<'_>,
        by: (TaskId, ScopeKey),
        is_known: bool,
    ) {
        if is_known {
            core.move_scope(self.key);
            self.apply_deadline(core);
        } else {
            self.enter_anew(core);
        }
        if let Some((control, applied)) = self.owner.control() {
            control.wait(applied, by, (self.serial, self.key), cx.waker());
            if control.is_cancelled() {
                core.cancel_scope(self.key);
            }
        }
    }

    #[inline]
    fn enter_anew(&mut self, core: &Core) {
        if self.is_there() {
            self.leave();
        }
        self.serial = core.serial();
        self.stage = Stage::Unset;
        if let Some((control, applied)) = self.owner.control() {
            self.limit = Limit::at(applied.begin(control));
            self.key = core.enter_scope(Kind::Scope(self.limit));
        } else if O::SHIELDS {
            self.enter_shield(core);
        }
    }

    #[cold]
    fn enter_shield(&mut self, core: &Core) {
        let now = clock::now();
        let (key, until) = core.enter_shield(self.limit.deadline(|| now), now);
        (self.key, self.limit) = (key, Limit::at(until));
        if until == 0 {
            self.stage = Stage::Over;
        }
    }

    /// Applies the deadline if its owner has moved it, which has woken this run.
    fn apply_deadline(&mut self, core: &Core) {
        let control = self.owner.control();
        let Some(at) = control.and_then(|(control, applied)| applied.moved(control)) else {
            return;
        };
        core.scopes().set_limit(self.key, Limit::at(at));
        match self.stage {
            Stage::Set => {
                core.reactor().timers.rearm(self.timer, at);
            }
            Stage::Never => self.stage = Stage::Unset,
            Stage::Unset | Stage::GaveWay | Stage::Over => {}
        }
    }

    /// Called when the body has to wait: sets a timer that wakes it in time. Returns true if its
    /// time has already passed, of which it was not notified yet.
    #[inline]
    fn wait(&mut self, core: &Core, cx: &Context<'_>) -> bool {
        match self.stage {
            Stage::Unset | Stage::GaveWay => self.set_timer(core, cx),
            Stage::Set => {
                self.renew_waker(core, cx);
                false
            }
            Stage::Never | Stage::Over => false,
        }
    }

    fn renew_waker(&self, core: &Core, cx: &Context<'_>) {
        if core.reactor().timers.see(self.timer, cx.waker()) != Seen::Set {
            let waker = cx.waker().clone();
            let old = core.reactor().timers.set_waker(self.timer, waker);
            waker::discard(old);
        }
    }

    fn set_timer(&mut self, core: &Core, cx: &Context<'_>) -> bool {
        let now = clock::now();
        let deadline = match O::SHIELDS || self.key == 0 {
            true => self.limit.deadline(|| now),
            false => core.scopes().deadline(self.key, || now),
        };
        // Under another runtime it continues, instead of starting again.
        self.limit.at = deadline;
        if deadline == NEVER {
            self.stage = Stage::Never;
        } else if deadline > now {
            let waker = cx.waker().clone();
            self.timer = core.reactor().timers.insert(deadline, waker);
            self.stage = Stage::Set;
        } else if core.executor.is_spent() && self.stage == Stage::Unset {
            self.stage = Stage::GaveWay;
            cx.waker().wake_by_ref();
        } else {
            self.time_is_over(core);
            return true;
        }
        false
    }

    #[cold]
    fn time_is_over(&mut self, core: &Core) {
        self.drop_timer();
        if O::SHIELDS {
            return core.end_shield(self.key);
        }
        if let Some((control, _)) = self.owner.control() {
            control.time_is_over();
        }
        if self.key == 0 {
            self.key = core.enter_scope(Kind::Scope(self.limit));
        }
        core.cancel(self.key, true);
        core.scopes().ask(self.key, self.limit);
    }

    fn drop_timer(&mut self) {
        if std::mem::replace(&mut self.stage, Stage::Over) == Stage::Set {
            sleep::cancel(self.serial, self.timer);
        }
    }

    /// Ends the run; returns true if something in it ended because of it.
    #[inline]
    fn leave_in(&mut self, core: &Core) -> bool {
        if std::mem::replace(&mut self.stage, Stage::Over) == Stage::Set {
            let waker = core.reactor().timers.cancel(self.timer);
            waker::discard(waker);
        }
        let key = std::mem::take(&mut self.key);
        let caught = key != 0 && core.leave_scope(key);
        if let Some((control, applied)) = self.owner.control() {
            control.leave(applied, caught);
        }
        caught
    }

    /// It has something to leave.
    #[inline]
    fn is_there(&self) -> bool {
        self.key != 0 || self.stage == Stage::Set
    }

    /// The same on any thread.
    #[cold]
    fn leave(&mut self) {
        let here = context::current().filter(|core| core.serial() == self.serial);
        if let Some(core) = here {
            self.leave_in(&core);
            return;
        }
        self.drop_timer();
        let key = std::mem::take(&mut self.key);
        if let Some((control, applied)) = self.owner.control() {
            control.leave(applied, false);
        }
        if let Some(remote) = waker::by_serial(self.serial) {
            remote.post(Post::Scope(key));
        }
    }
}

impl<O: Owner> Drop for Scope<O> {
    #[inline]
    fn drop(&mut self) {
        if self.is_there() {
            self.leave();
        }
    }
}

/// Polls outside a runtime: without a clock, a body that waits cannot be limited.
#[cold]
fn poll_outside<F, O, E, R>(
    cx: &mut Context<'_>,
    mut body: Pin<&mut Option<F>>,
    end: &mut E,
) -> Poll<R>
where
    F: Future,
    O: Owner,
    E: FnMut(Ended<F::Output>) -> R,
{
    match poll_body(&mut body, cx) {
        Poll::Ready(output) => Poll::Ready(end(Ended::Done {
            output,
            caught: false,
        })),
        Poll::Pending if O::SHIELDS => Poll::Pending,
        Poll::Pending => {
            body.set(None);
            Poll::Ready(end(Ended::NoRuntime))
        }
    }
}

#[inline(always)]
fn poll_body<F: Future>(body: &mut Pin<&mut Option<F>>, cx: &mut Context<'_>) -> Poll<F::Output> {
    let body = body.as_mut().as_pin_mut();
    body.expect("it ends the run when it is dropped").poll(cx)
}
