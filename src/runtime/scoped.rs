//! One body in a scope: a time limit, a shield, or a run of a scope that somebody owns.
//!
//! A body that is ready at once costs an entry in a slab; the clock is read, and a timer set, when
//! it first has to wait.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::context::{self, Core};
pub(crate) use super::control::{Control, End, Ended, Nobody, Owned, Owner, Shield};
use super::pending_scopes::Inside;
use super::scopes::{Kind, Limit, ScopeKey};
use super::sleep::{self, When};
use crate::executor::remote::Post;
use crate::executor::waker;
use crate::reactor::TimerKey;
use crate::sys::beside::Beside;
use crate::sys::clock::{self, NEVER};

/// Polls `body` in a scope of its own until it ends or is dropped, and makes what `end` makes of
/// that. One that is ready at once sets no timer and reads no clock.
///
/// The body is cancelled at `when`, or protected until then if `owner` is a [`Shield`].
#[inline]
pub(crate) fn scoped<F, O, E>(when: When, owner: O, body: F, end: E) -> Scoped<F, O, E>
where
    F: Future,
    O: Owner,
    E: End<F::Output>,
{
    Beside::new(Some(body), (Scope::new(when.limit(), owner), end))
}

/// See [`scoped`]. Polled by hand: an async fn would copy the body when it is polled first, which
/// is half of what a time limit around something that is ready costs.
pub(crate) type Scoped<F, O, E> = Beside<Option<F>, (Scope<O>, E)>;

impl<F, O, E> Future for Scoped<F, O, E>
where
    F: Future,
    O: Owner,
    E: End<F::Output>,
{
    type Output = E::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<E::Output> {
        let (mut body, (scope, end)) = self.parts();
        // Not in a closure, and with one poll of the body for all cases: scopes may be nested as
        // deep as the stack allows.
        let Some(core) = context::current() else {
            return poll_outside::<_, O, _>(cx, body, end);
        };
        let mut inside = scope.enter_lightly(&core, cx);
        loop {
            let told = core.told();
            let polled = poll_body(&mut body, cx);
            if let Some(key) = inside.end() {
                (scope.key, scope.serial) = (key, core.serial());
            }
            if let Poll::Ready(output) = polled {
                let charged = scope.leave_in(&core);
                return Poll::Ready(end.done(output, charged));
            }
            if scope.wait(&core, cx) {
                inside = core.inside(scope.key);
                continue;
            }
            if core.is_cancelled(scope.key) && core.is_over(scope.key, told, cx) {
                scope.drop_body(&core, body);
                return Poll::Ready(end.dropped());
            }
            return Poll::Pending;
        }
    }
}

/// What has become of a run's timer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The body has not had to wait yet.
    Unset,
    /// There was no time left, but neither had the turn any: what is ready is let through in the
    /// next.
    GaveWay,
    /// There is one.
    Set,
    /// There is nothing to wait for.
    Never,
    /// The time is over.
    Over,
}

/// One run of a body in a scope.
pub(crate) struct Scope<O: Owner> {
    owner: O,
    limit: Limit,
    /// The runtime and the scope in it, once polled.
    serial: u64,
    key: ScopeKey,
    /// Only where it is [`Stage::Set`]. Not inside of that: where nothing is known, the compiler
    /// copies what is there already, and the processor waits for that.
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

    /// A poll begins. The scope gets an entry only when something needs one: as long as it is not
    /// cancelled, nothing but what the body does can make it known to anybody.
    #[inline(always)]
    fn enter_lightly<'c>(&mut self, core: &'c Core, cx: &Context<'_>) -> Inside<'c> {
        let light = !O::SHIELDS && self.owner.control().is_none();
        if light && self.key == 0 && !core.is_alarmed() {
            match self.stage {
                Stage::Set if !self.is_waiting(core) => {}
                Stage::Over => {}
                _ => return core.enter_lightly(self.limit),
            }
        }
        self.enter_with_entry(core, cx)
    }

    #[cold]
    fn enter_with_entry<'c>(&mut self, core: &'c Core, cx: &Context<'_>) -> Inside<'c> {
        self.enter(core, cx);
        core.inside(self.key)
    }

    /// True if the timer is one of this runtime, and has not fired.
    #[inline(always)]
    fn is_waiting(&self, core: &Core) -> bool {
        self.serial == core.serial() && !core.reactor().timers.is_fired(self.timer)
    }

    #[cold]
    fn drop_body<F: Future>(&mut self, core: &Core, mut body: Pin<&mut Option<F>>) {
        // With the scope still there: it is not the drop that ends it.
        let inside = core.inside(self.key);
        body.set(None);
        inside.end();
        self.leave_in(core);
        if let Some(control) = self.owner.control() {
            control.catch();
        }
    }

    /// Takes notice of where it is polled, and of what has happened meanwhile.
    #[inline]
    fn enter(&mut self, core: &Core, cx: &Context<'_>) {
        if self.serial == core.serial() {
            self.make_entry(core);
            let task = core.executor.task();
            let around = core.scope();
            core.scopes().moved(self.key, around, task);
            self.apply_deadline(core);
            if self.stage == Stage::Set && core.reactor().timers.is_fired(self.timer) {
                self.time_is_over(core);
            }
        } else {
            self.enter_anew(core);
        }
        self.owner.wait(self.serial, self.key, cx.waker());
        if let Some(control) = self.owner.control() {
            if control.is_cancelled() && !core.is_cancelled(self.key) {
                core.cancel_scope(self.key);
            }
        }
    }

    /// Makes the entry of one that has done without.
    #[inline]
    fn make_entry(&mut self, core: &Core) {
        if self.key == 0 && !O::SHIELDS {
            self.key = core.enter_scope(Kind::Scope, self.limit);
        }
    }

    #[inline]
    fn enter_anew(&mut self, core: &Core) {
        if self.is_known() {
            self.leave();
        }
        if let Some(deadline) = self.owner.deadline() {
            self.limit = Limit::At(deadline);
        }
        self.serial = core.serial();
        self.stage = Stage::Unset;
        self.key = if O::SHIELDS {
            let until = self.limit.deadline(clock::now);
            self.limit = Limit::At(until);
            core.enter_shield(until)
        } else {
            core.enter_scope(Kind::Scope, self.limit)
        };
    }

    /// The deadline may have been moved.
    fn apply_deadline(&mut self, core: &Core) {
        let Some(at) = self.owner.moved_deadline() else {
            return;
        };
        core.scopes().set_limit(self.key, Limit::At(at));
        match self.stage {
            Stage::Set => {
                core.reactor().timers.rearm(self.timer, at);
            }
            Stage::Never => self.stage = Stage::Unset,
            Stage::Unset | Stage::GaveWay | Stage::Over => {}
        }
    }

    /// The body has to wait: sees to it that somebody wakes it in time. True if its time is over
    /// already, which it has not noticed yet.
    fn wait(&mut self, core: &Core, cx: &Context<'_>) -> bool {
        // Moved from inside the body.
        self.apply_deadline(core);
        match self.stage {
            Stage::Unset | Stage::GaveWay => self.set_timer(core, cx),
            Stage::Set => {
                let same = core.reactor().timers.would_wake(self.timer, cx.waker());
                if !same {
                    let waker = cx.waker().clone();
                    let old = core.reactor().timers.set_waker(self.timer, waker);
                    waker::discard(old);
                }
                false
            }
            Stage::Never | Stage::Over => false,
        }
    }

    fn set_timer(&mut self, core: &Core, cx: &Context<'_>) -> bool {
        let now = clock::now();
        let deadline = match self.key {
            key if key != 0 && !O::SHIELDS => core.scopes().deadline(key, || now),
            _ => self.limit.deadline(|| now),
        };
        // Under another runtime it goes on, instead of starting anew.
        self.limit = Limit::At(deadline);
        match deadline {
            NEVER => self.stage = Stage::Never,
            past if past <= now => {
                if core.is_spent() && self.stage == Stage::Unset {
                    self.stage = Stage::GaveWay;
                    cx.waker().wake_by_ref();
                    return false;
                }
                self.time_is_over(core);
                return true;
            }
            deadline => {
                let waker = cx.waker().clone();
                self.timer = core.reactor().timers.insert(deadline, waker);
                self.stage = Stage::Set;
            }
        }
        false
    }

    fn time_is_over(&mut self, core: &Core) {
        self.make_entry(core);
        self.drop_timer();
        if O::SHIELDS {
            core.scopes().expose(self.key);
            if core.outermost(self.key).is_some() {
                core.wake_below(self.key);
            }
            return;
        }
        if let Some(control) = self.owner.control() {
            control.time_is_over();
        }
        core.cancel_scope(self.key);
    }

    fn drop_timer(&mut self) {
        if std::mem::replace(&mut self.stage, Stage::Over) == Stage::Set {
            sleep::cancel(self.serial, self.timer);
        }
    }

    /// The run is over; true if something in it was told to end because of it.
    #[inline]
    fn leave_in(&mut self, core: &Core) -> bool {
        if std::mem::replace(&mut self.stage, Stage::Over) == Stage::Set {
            let waker = core.reactor().timers.cancel(self.timer);
            waker::discard(waker);
        }
        if self.key == 0 {
            return false;
        }
        let key = std::mem::take(&mut self.key);
        let charged = core.leave_run(key);
        self.owner.leave();
        if charged {
            if let Some(control) = self.owner.control() {
                control.catch();
            }
        }
        charged
    }

    /// The same from wherever it is dropped.
    #[cold]
    fn leave(&mut self) {
        let here = context::current().filter(|core| core.serial() == self.serial);
        if let Some(core) = here {
            self.leave_in(&core);
            return;
        }
        self.drop_timer();
        let key = std::mem::take(&mut self.key);
        self.owner.leave();
        if let Some(remote) = waker::by_serial(self.serial).filter(|_| key != 0) {
            remote.post(Post::Scope(key));
        }
    }

    /// True if it has an entry or a timer somewhere.
    #[inline]
    fn is_known(&self) -> bool {
        self.key != 0 || self.stage == Stage::Set
    }
}

impl<O: Owner> Drop for Scope<O> {
    #[inline]
    fn drop(&mut self) {
        if self.is_known() {
            self.leave();
        }
    }
}

/// Outside a runtime there is no time, so nothing that waits can be limited.
#[cold]
fn poll_outside<F: Future, O: Owner, E: End<F::Output>>(
    cx: &mut Context<'_>,
    mut body: Pin<&mut Option<F>>,
    end: &mut E,
) -> Poll<E::Output> {
    match poll_body(&mut body, cx) {
        Poll::Ready(output) => Poll::Ready(end.done(output, false)),
        Poll::Pending if O::SHIELDS => Poll::Pending,
        Poll::Pending => {
            body.set(None);
            Poll::Ready(end.no_runtime())
        }
    }
}

#[inline]
fn poll_body<F: Future>(body: &mut Pin<&mut Option<F>>, cx: &mut Context<'_>) -> Poll<F::Output> {
    let body = body.as_mut().as_pin_mut();
    body.expect("it ends the run when it is dropped").poll(cx)
}
