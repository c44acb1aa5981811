//! Drives a connection of a server: until it ends, was idle for long, or its server stops.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use soloio::{Result, Sleep, sleep, stopping};

use crate::answers::Answers;

/// Why a connection is no longer driven.
pub(crate) enum Driven {
    Ended(hyper::Result<()>),
    /// It is idle, as [`Idle`] tells.
    Idle,
}

/// Drives a connection, and tells it by `end` when its server stops.
pub(crate) async fn drive<C>(
    mut connection: Pin<&mut C>,
    idle: &mut Idle,
    end: impl Fn(Pin<&mut C>, &mut Idle),
) -> Result<Driven>
where
    C: Future<Output = hyper::Result<()>>,
{
    let mut stop = pin!(stopping());
    let mut told = false;
    poll_fn(|cx| {
        // First: what has come already is answered.
        if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
            return Poll::Ready(Ok(Driven::Ended(ended)));
        }
        if !told && stop.as_mut().poll(cx).is_ready() {
            told = true;
            end(connection.as_mut(), idle);
            if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                return Poll::Ready(Ok(Driven::Ended(ended)));
            }
        }
        idle.poll(cx).map(|idle| idle.map(|()| Driven::Idle))
    })
    .await
}

/// The idle time of a connection, and one timer for all idle times: it is not moved for each
/// request, but when it has fired and the present idle time ends later.
pub(crate) struct Idle {
    answers: Arc<Answers>,
    /// Each idle time is told of after `soon`, and at its end.
    soon: Duration,
    limit: Duration,
    since: Option<Since>,
    /// The peer was told to end, and the time is over once it says anything.
    is_last: bool,
    timer: Sleep,
    /// When the timer fires, and the waker that it has.
    set: Option<(Instant, Waker)>,
}

/// The present idle time.
struct Since {
    /// The number of answers before it.
    answers: u32,
    began: Instant,
    is_told: bool,
}

impl Idle {
    pub(crate) fn new(answers: &Arc<Answers>, soon: Duration, limit: Duration) -> Self {
        Self {
            answers: Arc::clone(answers),
            soon: soon.min(limit),
            limit,
            since: None,
            is_last: false,
            timer: sleep(Duration::MAX),
            set: None,
        }
    }

    /// Begins the last idle time, of a peer that was told to end: one that says anything is there,
    /// and ends by itself.
    pub(crate) fn end_within(&mut self, limit: Duration) {
        self.answers.set_heard(false);
        (self.soon, self.limit, self.is_last) = (limit, limit, true);
        // The timer is set anew, for it may be sooner.
        (self.since, self.set) = (None, None);
    }

    pub(crate) fn is_last(&self) -> bool {
        self.is_last
    }

    /// Returns what is left of the present idle time.
    pub(crate) fn left(&self) -> Duration {
        let passed = self.since.as_ref().map(|since| since.began.elapsed());
        self.limit.saturating_sub(passed.unwrap_or_default())
    }

    /// Is ready when the connection has been idle for `soon`, and for the limit.
    #[inline]
    fn poll(&mut self, cx: &Context<'_>) -> Poll<Result<()>> {
        let is_there = self.is_last && self.answers.heard();
        let Some(answers) = self.answers.all_ended().filter(|_| !is_there) else {
            self.since = None;
            return Poll::Pending;
        };
        if self
            .since
            .as_ref()
            .is_none_or(|since| since.answers != answers)
        {
            let began = Instant::now();
            self.since = Some(Since {
                answers,
                began,
                is_told: false,
            });
            let in_time = |set: &(Instant, Waker)| began < set.0 && set.1.will_wake(cx.waker());
            if self.set.as_ref().is_some_and(in_time) {
                return Poll::Pending;
            }
        }
        self.poll_timer(cx)
    }

    fn poll_timer(&mut self, cx: &Context<'_>) -> Poll<Result<()>> {
        let Some(since) = &mut self.since else {
            return Poll::Pending;
        };
        let time = if since.is_told { self.limit } else { self.soon };
        let Some(end) = since.began.checked_add(time) else {
            return Poll::Pending;
        };
        loop {
            let at = self.set.take().map(|(at, _)| at).filter(|at| *at <= end);
            if at.is_none() {
                self.timer.reset(end);
            }
            self.set = Some((at.unwrap_or(end), cx.waker().clone()));
            ready!(Pin::new(&mut self.timer).poll(&mut Context::from_waker(cx.waker())))?;
            self.set = None;
            if Instant::now() >= end {
                since.is_told = true;
                return Poll::Ready(Ok(()));
            }
        }
    }
}
