//! Timers made, polled once and dropped: the cost of a timeout that does not expire. Nanoseconds
//! per timer, with no other timer alive, among 25,000, and 25,000 at a time.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use soloio::block_on;

use super::{nanos_each, scatter};
use crate::flavour::{CurrentThread, Flavour, Local};
use crate::side::Side;
use crate::sys::cpu_clock::Stopwatch;

/// Timers that live meanwhile, or that are made before the first of them is dropped.
pub const LIVE: u64 = 25_000;

/// One at a time, without other timers.
pub fn alone(side: Side, count: u64) -> io::Result<f64> {
    let elapsed = match side {
        Side::Soloio => block_on(one_by_one(soloio::sleep, 0, count)),
        Side::TokioCurrent => {
            CurrentThread::run(async move { one_by_one(tokio::time::sleep, 0, count).await })
        }
        Side::TokioLocal => {
            Local::run(async move { one_by_one(tokio::time::sleep, 0, count).await })
        }
    };
    Ok(nanos_each(elapsed, count))
}

/// One at a time, among 25,000 others that the loop has seen.
pub fn among(side: Side, count: u64) -> io::Result<f64> {
    among_live(side, LIVE, count)
}

/// One at a time, among `live` others that the loop has seen.
pub fn among_live(side: Side, live: u64, count: u64) -> io::Result<f64> {
    let elapsed = match side {
        Side::Soloio => block_on(one_by_one(soloio::sleep, live, count)),
        Side::TokioCurrent => {
            CurrentThread::run(async move { one_by_one(tokio::time::sleep, live, count).await })
        }
        Side::TokioLocal => {
            Local::run(async move { one_by_one(tokio::time::sleep, live, count).await })
        }
    };
    Ok(nanos_each(elapsed, count))
}

/// `count` batches of 25,000, each made as a whole and then dropped as a whole.
pub fn batches(side: Side, count: u64) -> io::Result<f64> {
    let elapsed = match side {
        Side::Soloio => block_on(by_batch(soloio::sleep, count)),
        Side::TokioCurrent => {
            CurrentThread::run(async move { by_batch(tokio::time::sleep, count).await })
        }
        Side::TokioLocal => Local::run(async move { by_batch(tokio::time::sleep, count).await }),
    };
    Ok(nanos_each(elapsed, count * LIVE))
}

async fn one_by_one<S: Future>(sleep: impl Fn(Duration) -> S, live: u64, count: u64) -> Duration {
    let others = others(&sleep, live).await;
    let elapsed = poll_fn(|cx| {
        let watch = Stopwatch::start();
        for _ in 0..count {
            let timer = pin!(sleep(Duration::from_secs(30)));
            start(timer, cx);
        }
        Poll::Ready(watch.read())
    })
    .await;
    drop(others);
    elapsed
}

async fn by_batch<S: Future>(sleep: impl Fn(Duration) -> S, count: u64) -> Duration {
    // The memory of the timers is allocated beforehand and reused: it belongs to the benchmark.
    let mut timers: Vec<_> = (0..LIVE).map(|_| Box::pin(None)).collect();
    let mut elapsed = Duration::ZERO;
    // The first batch lets the runtime grow, and is not counted.
    for batch in 0..=count {
        let took = poll_fn(|cx| Poll::Ready(one_batch(&sleep, &mut timers, cx))).await;
        elapsed += if batch == 0 { Duration::ZERO } else { took };
        check(&sleep).await;
    }
    elapsed
}

fn one_batch<S: Future>(
    sleep: impl Fn(Duration) -> S,
    timers: &mut [Pin<Box<Option<S>>>],
    cx: &mut Context<'_>,
) -> Duration {
    let watch = Stopwatch::start();
    for (number, place) in (0..).zip(&mut *timers) {
        place.set(Some(sleep(spread(number))));
        start(place.as_mut().as_pin_mut().expect("set above"), cx);
    }
    for place in timers {
        place.set(None);
    }
    watch.read()
}

/// Returns timers that were armed, and that the loop has seen while it waited.
pub async fn others<S: Future>(sleep: impl Fn(Duration) -> S, live: u64) -> Vec<Pin<Box<S>>> {
    let mut timers: Vec<_> = (0..live)
        .map(|number| Box::pin(sleep(spread(number))))
        .collect();
    poll_fn(|cx| {
        for timer in &mut timers {
            start(timer.as_mut(), cx);
        }
        Poll::Ready(())
    })
    .await;
    check(sleep).await;
    timers
}

/// Checks that a sleep expires, and not early.
async fn check<S: Future>(sleep: impl Fn(Duration) -> S) {
    let started = Instant::now();
    sleep(Duration::from_millis(2)).await;
    assert!(started.elapsed() >= Duration::from_millis(2));
}

/// Arms a timer by its first poll.
fn start<S: Future>(timer: Pin<&mut S>, cx: &mut Context<'_>) {
    assert!(timer.poll(cx).is_pending(), "a long sleep is over at once");
}

/// Returns 20 to 60 s, in no order.
fn spread(number: u64) -> Duration {
    Duration::from_micros(20_000_000 + scatter(number) % 40_000_000)
}
