//! How many handshakes may be under way at a time, and who has to leave when they are too many.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use crate::error::{Result, TlsError};
use crate::runtime::context;
use crate::runtime::sleep::{Sleep, When};
use crate::runtime::wait::Wait;
use crate::sys::clock::{self, Nanos};

/// How long a client that has said nothing keeps a place that is wanted. Its first message comes
/// right behind the connection.
const SILENT: Nanos = 100_000_000;

/// How long any handshake keeps a place that is wanted: several round trips around the world.
const SLOW: Nanos = 1_000_000_000;

/// The handshakes that are under way, if their number is limited. One waits for a place at a time:
/// who accepts.
#[derive(Debug)]
pub(super) struct Places {
    max: usize,
    taken: RefCell<Taken>,
    waiting: RefCell<Option<Waker>>,
}

/// By the order in which they began.
#[derive(Debug, Default)]
struct Taken {
    next: u64,
    /// Those that have not been polled: nobody can be called slow who was not looked at.
    fresh: usize,
    silent: BTreeMap<u64, Handshake>,
    spoken: BTreeMap<u64, Handshake>,
}

#[derive(Debug)]
struct Handshake {
    /// When it first had to wait for its client.
    began: Nanos,
    /// Whom to tell that it has to leave.
    waker: Waker,
}

/// How far the client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Fresh,
    Silent,
    /// Its first message is complete.
    Spoken,
}

impl Places {
    pub(super) fn new(max: usize) -> Self {
        Self {
            max,
            taken: RefCell::default(),
            waiting: RefCell::default(),
        }
    }

    /// Waits until a place is free, and makes those leave that are too slow.
    pub(super) async fn one_free(&self) -> Result<()> {
        let mut wait = Wait::new(&"the end of a TLS handshake");
        let mut patience = Sleep::new(When::After(Duration::MAX));
        poll_fn(|cx| {
            loop {
                let mut end = None;
                let polled = context::poll_with(|core| {
                    ready!(wait.admit(core, cx))?;
                    end = self.make_room(clock::now());
                    if end.is_none() {
                        wait.done(core);
                        return Poll::Ready(Ok(()));
                    }
                    let old = self.waiting.replace(Some(cx.waker().clone()));
                    drop(old);
                    wait.pend(core, cx)
                });
                let (Poll::Pending, Some(end)) = (&polled, end) else {
                    return polled;
                };
                patience.reset(When::Deadline(end));
                ready!(Pin::new(&mut patience).poll(cx))?;
            }
        })
        .await
    }

    /// `None` if a place is free, perhaps because some had to leave; or when the next has to.
    fn make_room(&self, now: Nanos) -> Option<Nanos> {
        loop {
            let mut taken = self.taken.borrow_mut();
            if taken.len() < self.max {
                return None;
            }
            let Some((end, stage)) = taken.first_to_leave() else {
                return Some(now + SILENT);
            };
            if now < end {
                return Some(end);
            }
            let left = taken.of(stage).pop_first();
            drop(taken);
            if let Some((_, handshake)) = left {
                handshake.waker.wake();
            }
        }
    }

    /// A handshake begins.
    pub(super) fn take(&self) -> Place<'_> {
        let mut taken = self.taken.borrow_mut();
        taken.fresh += 1;
        taken.next += 1;
        Place {
            places: self,
            number: taken.next,
            stage: Cell::new(Stage::Fresh),
        }
    }
}

impl Taken {
    fn len(&self) -> usize {
        self.fresh + self.silent.len() + self.spoken.len()
    }

    fn of(&mut self, stage: Stage) -> &mut BTreeMap<u64, Handshake> {
        match stage {
            Stage::Fresh | Stage::Silent => &mut self.silent,
            Stage::Spoken => &mut self.spoken,
        }
    }

    /// When the next one has to leave, and at which stage it is.
    fn first_to_leave(&self) -> Option<(Nanos, Stage)> {
        let silent = self.silent.first_key_value();
        let silent = silent.map(|(_, first)| (first.began + SILENT, Stage::Silent));
        let spoken = self.spoken.first_key_value();
        let spoken = spoken.map(|(_, first)| (first.began + SLOW, Stage::Spoken));
        match (silent, spoken) {
            (Some(silent), Some(spoken)) if spoken.0 < silent.0 => Some(spoken),
            (None, spoken) => spoken,
            (silent, _) => silent,
        }
    }
}

/// A handshake's place, given back when it ends.
#[derive(Debug)]
pub(super) struct Place<'a> {
    places: &'a Places,
    number: u64,
    stage: Cell<Stage>,
}

impl Place<'_> {
    /// Runs a step of the handshake, for as long as the place is its own.
    pub(super) async fn keep_for<T>(
        &self,
        step: impl Future<Output = Result<T>>,
        has_spoken: impl Fn() -> bool,
    ) -> Result<T> {
        let mut step = pin!(step);
        poll_fn(|cx| {
            let polled = step.as_mut().poll(cx);
            if polled.is_ready() || self.is_kept(cx, has_spoken()) {
                return polled;
            }
            let message = "the handshake was ended for the sake of others: it was the slowest \
                           of as many as max_handshakes allows";
            Poll::Ready(Err(TlsError::new(message).into()))
        })
        .await
    }

    /// It waits for its client: false if it has to leave.
    fn is_kept(&self, cx: &Context<'_>, has_spoken: bool) -> bool {
        if self.places.max == usize::MAX {
            return true;
        }
        let stage = if has_spoken {
            Stage::Spoken
        } else {
            Stage::Silent
        };
        let before = self.stage.replace(stage);
        let waker = cx.waker().clone();
        let mut taken = self.places.taken.borrow_mut();
        let old = taken.of(before).remove(&self.number);
        let began = match &old {
            Some(old) => old.began,
            None if before == Stage::Fresh => {
                taken.fresh -= 1;
                clock::now()
            }
            // What it said had come in time, but the loop was busy: it goes on without a place
            // having been free for it.
            None if before != stage => clock::now(),
            None => return false,
        };
        taken
            .of(stage)
            .insert(self.number, Handshake { began, waker });
        drop(taken);
        drop(old);
        true
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let left = {
            let mut taken = self.places.taken.borrow_mut();
            let stage = self.stage.get();
            if stage == Stage::Fresh {
                taken.fresh -= 1;
            }
            taken.of(stage).remove(&self.number)
        };
        drop(left);
        let waiting = self.places.waiting.take();
        if let Some(waiting) = waiting {
            waiting.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_silent_leaves_first_and_nobody_before_the_time() {
        let places = Places::new(3);
        let kept: Vec<_> = (0..3).map(|_| places.take()).collect();
        let context = &Context::from_waker(Waker::noop());
        let far = clock::now() + 100 * SLOW;
        assert!(places.make_room(far).is_some(), "none was looked at");
        assert!(kept[0].is_kept(context, true));
        assert!(kept[1].is_kept(context, false));
        let began = places.taken.borrow().silent[&kept[1].number].began;
        assert!(kept[2].is_kept(context, false));

        let soon = began + SILENT - 1;
        assert_eq!(places.make_room(soon), Some(began + SILENT));
        assert!(kept[1].is_kept(context, false));

        assert_eq!(places.make_room(began + SILENT), None);
        assert!(!kept[1].is_kept(context, false), "the older one");
        assert!(kept[0].is_kept(context, true) && kept[2].is_kept(context, true));
        assert_eq!(places.make_room(far), None, "a place is free");
        let late = places.take();
        assert!(late.is_kept(context, false));
        assert_eq!(places.make_room(far), None);
        assert!(late.is_kept(context, true), "was heard meanwhile");
        assert_eq!(places.make_room(far), None);
        assert!(!kept[0].is_kept(context, true), "the oldest");
        assert!(kept[2].is_kept(context, true));

        drop((kept, late));
        assert_eq!(places.taken.borrow().len(), 0);
    }
}
