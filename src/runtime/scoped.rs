//! One body in a scope: a time limit, a shield, or a run of a scope that somebody owns.
//!
//! A body that is ready at once costs an entry in a slab; the clock is read, and a timer set, when
//! it first has to wait.

use std::future::{Future, IntoFuture, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Instant;

use super::context::{self, Core};
pub(crate) use super::control::{Control, Nobody, Owned, Owner};
use super::pending_scopes::Inside;
use super::scopes::{Kind, Limit, ScopeKey};
use super::sleep::{self, When};
use crate::executor::remote::Post;
use crate::executor::waker;
use crate::reactor::TimerKey;
use crate::sys::clock::{self, NEVER};

/// How a body in a scope came to its end.
pub(crate) enum Ended<T> {
    /// By itself; `charged` if something in it was told to end because of this scope.
    Done { output: T, charged: bool },
    /// It was dropped.
    Dropped,
    /// It had to wait outside a runtime, and was dropped.
    NoRuntime,
}

/// Polls `future` in a scope of its own until it ends or is dropped, and makes what `end` makes of
/// that. One that is ready at once sets no timer and reads no clock.
///
/// One async fn for all: each more of them around the body would take stack at each level.
pub(crate) async fn scoped<F: IntoFuture, R>(
    bounds: Bounds,
    owner: impl Owner,
    future: F,
    end: impl FnOnce(Ended<F::Output>) -> R,
) -> R {
    let mut body = pin!(Some(future.into_future()));
    let mut scope = Scope::new(bounds, owner);
    end(poll_fn(|cx| scope.poll(cx, body.as_mut())).await)
}

/// What a run is for, and when that is over.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bounds {
    /// The body is cancelled then.
    Scope(When),
    /// The body is protected until then.
    Shield(When),
}

/// A run's timer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Timer {
    /// The body has not had to wait yet.
    Unset,
    Set(TimerKey),
    /// There is nothing to wait for.
    Never,
    /// The time is over.
    Over,
}

/// One run of a body in a scope.
struct Scope<O: Owner> {
    bounds: Bounds,
    owner: O,
    /// The runtime and the scope in it, once polled.
    serial: u64,
    key: ScopeKey,
    timer: Timer,
    /// It had no time left, but neither had the turn: what is ready is let through in the next.
    gave_way: bool,
    /// The deadline of the control that is in force.
    applied: Option<Instant>,
}

impl<O: Owner> Scope<O> {
    fn new(bounds: Bounds, owner: O) -> Self {
        Self {
            bounds,
            owner,
            serial: 0,
            key: 0,
            timer: Timer::Unset,
            gave_way: false,
            applied: None,
        }
    }

    fn poll<F: Future>(
        &mut self,
        cx: &mut Context<'_>,
        mut body: Pin<&mut Option<F>>,
    ) -> Poll<Ended<F::Output>> {
        // Not in a closure, and with one poll of the body for all cases: scopes may be nested as
        // deep as the stack allows.
        let Some(core) = context::current() else {
            return self.poll_outside(cx, body);
        };
        let mut inside = self.enter_lightly(&core, cx);
        loop {
            let told = core.told();
            let polled = poll_body(&mut body, cx);
            if let Some(key) = inside.end() {
                (self.key, self.serial) = (key, core.serial());
            }
            if let Poll::Ready(output) = polled {
                let charged = self.leave_in(&core);
                return Poll::Ready(Ended::Done { output, charged });
            }
            if self.wait(&core, cx) {
                inside = core.inside(self.key);
                continue;
            }
            if core.is_cancelled(self.key) && core.is_over(self.key, told, cx) {
                return self.drop_body(&core, body);
            }
            return Poll::Pending;
        }
    }

    /// A poll begins. The scope gets an entry only when something needs one: as long as it is not
    /// cancelled, nothing but what the body does can make it known to anybody.
    #[inline(always)]
    fn enter_lightly<'c>(&mut self, core: &'c Core, cx: &Context<'_>) -> Inside<'c> {
        if self.key == 0 && !core.is_alarmed() && self.owner.control().is_none() {
            if let Bounds::Scope(when) = self.bounds {
                match self.timer {
                    Timer::Set(timer) if !self.is_waiting(timer, core) => {}
                    Timer::Over => {}
                    _ => return core.enter_lightly(when),
                }
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
    fn is_waiting(&self, timer: TimerKey, core: &Core) -> bool {
        self.serial == core.serial() && !core.reactor().timers.is_fired(timer)
    }

    /// Outside a runtime there is no time, so nothing that waits can be limited.
    #[cold]
    fn poll_outside<F: Future>(
        &self,
        cx: &mut Context<'_>,
        mut body: Pin<&mut Option<F>>,
    ) -> Poll<Ended<F::Output>> {
        match (poll_body(&mut body, cx), self.bounds) {
            (Poll::Ready(output), _) => Poll::Ready(Ended::Done {
                output,
                charged: false,
            }),
            (Poll::Pending, Bounds::Shield(_)) => Poll::Pending,
            (Poll::Pending, Bounds::Scope(_)) => {
                body.set(None);
                Poll::Ready(Ended::NoRuntime)
            }
        }
    }

    #[cold]
    fn drop_body<F: Future>(
        &mut self,
        core: &Core,
        mut body: Pin<&mut Option<F>>,
    ) -> Poll<Ended<F::Output>> {
        // With the scope still there: it is not the drop that ends it.
        let inside = core.inside(self.key);
        body.set(None);
        inside.end();
        self.leave_in(core);
        if let Some(control) = self.owner.control() {
            control.catch();
        }
        Poll::Ready(Ended::Dropped)
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
            if let Timer::Set(timer) = self.timer {
                if core.reactor().timers.is_fired(timer) {
                    self.time_is_over(core);
                }
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
        if let (0, Bounds::Scope(when)) = (self.key, self.bounds) {
            self.key = core.enter_scope(Kind::Scope, when.limit());
        }
    }

    #[inline]
    fn enter_anew(&mut self, core: &Core) {
        if self.is_known() {
            self.leave();
        }
        if let Some(control) = self.owner.control() {
            self.applied = control.deadline();
            let when = self.applied.map_or(When::Deadline(NEVER), When::At);
            self.bounds = Bounds::Scope(when);
        }
        self.serial = core.serial();
        self.timer = Timer::Unset;
        self.key = match self.bounds {
            Bounds::Scope(when) => core.enter_scope(Kind::Scope, when.limit()),
            Bounds::Shield(when) => {
                let until = when.deadline();
                self.bounds = Bounds::Shield(When::Deadline(until));
                core.enter_shield(until)
            }
        };
    }

    /// The deadline may have been moved.
    fn apply_deadline(&mut self, core: &Core) {
        let Some(control) = self.owner.control() else {
            return;
        };
        let wanted = control.deadline();
        if wanted == self.applied {
            return;
        }
        self.applied = wanted;
        let at = wanted.map_or(NEVER, clock::at);
        core.scopes().set_limit(self.key, Limit::At(at));
        match self.timer {
            Timer::Set(timer) => {
                core.reactor().timers.rearm(timer, at);
            }
            Timer::Never => self.timer = Timer::Unset,
            Timer::Unset | Timer::Over => {}
        }
    }

    /// The body has to wait: sees to it that somebody wakes it in time. True if its time is over
    /// already, which it has not noticed yet.
    fn wait(&mut self, core: &Core, cx: &Context<'_>) -> bool {
        // Moved from inside the body.
        self.apply_deadline(core);
        match self.timer {
            Timer::Unset => self.set_timer(core, cx),
            Timer::Set(timer) => {
                let same = core.reactor().timers.would_wake(timer, cx.waker());
                if !same {
                    let waker = cx.waker().clone();
                    let old = core.reactor().timers.set_waker(timer, waker);
                    drop(old);
                }
                false
            }
            Timer::Never | Timer::Over => false,
        }
    }

    fn set_timer(&mut self, core: &Core, cx: &Context<'_>) -> bool {
        let now = clock::now();
        let deadline = match (self.bounds, self.key) {
            (Bounds::Scope(when), 0) => match when.limit() {
                Limit::At(deadline) => deadline,
                Limit::After(nanos) => now.saturating_add(nanos),
            },
            (Bounds::Scope(_), key) => core.scopes().deadline(key, || now),
            (Bounds::Shield(until), _) => until.deadline(),
        };
        if let Bounds::Scope(when) = &mut self.bounds {
            // Under another runtime it goes on, instead of starting anew.
            *when = When::Deadline(deadline);
        }
        match deadline {
            NEVER => self.timer = Timer::Never,
            past if past <= now => {
                if core.is_spent() && !std::mem::replace(&mut self.gave_way, true) {
                    cx.waker().wake_by_ref();
                    return false;
                }
                self.time_is_over(core);
                return true;
            }
            deadline => {
                let waker = cx.waker().clone();
                let timer = core.reactor().timers.insert(deadline, waker);
                self.timer = Timer::Set(timer);
            }
        }
        false
    }

    fn time_is_over(&mut self, core: &Core) {
        self.make_entry(core);
        self.drop_timer();
        self.timer = Timer::Over;
        if let Bounds::Shield(_) = self.bounds {
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
        if let Timer::Set(timer) = std::mem::replace(&mut self.timer, Timer::Over) {
            sleep::cancel(self.serial, timer);
        }
    }

    /// The run is over; true if something in it was told to end because of it.
    #[inline]
    fn leave_in(&mut self, core: &Core) -> bool {
        if let Timer::Set(timer) = std::mem::replace(&mut self.timer, Timer::Over) {
            let waker = core.reactor().timers.cancel(timer);
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
        self.key != 0 || matches!(self.timer, Timer::Set(_))
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

fn poll_body<F: Future>(body: &mut Pin<&mut Option<F>>, cx: &mut Context<'_>) -> Poll<F::Output> {
    let body = body.as_mut().as_pin_mut();
    body.expect("it ends the run when it is dropped").poll(cx)
}
