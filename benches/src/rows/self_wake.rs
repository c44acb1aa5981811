//! A task that wakes itself and is polled again. Nanoseconds per wake and poll.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use soloio::{block_on, task_group};

use super::nanos_each;
use crate::flavour::{CurrentThread, Flavour, Local};
use crate::side::Side;
use crate::sys::cpu_clock::Stopwatch;

pub fn measure(side: Side, count: u64) -> io::Result<f64> {
    match side {
        Side::Soloio => soloio(count),
        Side::TokioCurrent => tokio::<CurrentThread>(count),
        Side::TokioLocal => tokio::<Local>(count),
    }
}

/// Wakes itself `left` times; its result is the number of polls.
struct WakesItself {
    left: u64,
    polls: u64,
}

impl WakesItself {
    fn new(times: u64) -> Self {
        Self {
            left: times,
            polls: 0,
        }
    }
}

impl Future for WakesItself {
    type Output = u64;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<u64> {
        self.polls += 1;
        if self.left == 0 {
            return Poll::Ready(self.polls);
        }
        self.left -= 1;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

fn soloio(count: u64) -> io::Result<f64> {
    let elapsed = block_on(task_group(async |group| {
        let polls = group
            .spawn(async { Ok(WakesItself::new(100).await) })
            .await?;
        assert_eq!(polls, 101);
        let watch = Stopwatch::start();
        group
            .spawn(async move { Ok(WakesItself::new(count).await) })
            .await?;
        Ok(watch.read())
    }))?;
    Ok(nanos_each(elapsed, count))
}

fn tokio<F: Flavour>(count: u64) -> io::Result<f64> {
    let elapsed = F::run(async move {
        assert_eq!(F::spawn(async { WakesItself::new(100).await }).await?, 101);
        let watch = Stopwatch::start();
        F::spawn(async move { WakesItself::new(count).await }).await?;
        io::Result::Ok(watch.read())
    })?;
    Ok(nanos_each(elapsed, count))
}
