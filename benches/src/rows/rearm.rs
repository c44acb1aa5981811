//! One timer that gets a new deadline again and again. Nanoseconds per change.
//!
//! Both have `reset` for it, and the timer is polled after each, as a `select!` would do.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use soloio::block_on;

use super::timer::{LIVE, others};
use super::{nanos_each, scatter};
use crate::flavour::{CurrentThread, Flavour, Local};
use crate::side::Side;
use crate::sys::cpu_clock::Stopwatch;

/// Deadlines before and after the present one, in no order, without other timers.
pub fn alone(side: Side, count: u64) -> io::Result<f64> {
    measure(side, count, 0, |number| scatter(number) % 40_000)
}

/// The same among 25,000 other timers that the loop has seen.
pub fn among(side: Side, count: u64) -> io::Result<f64> {
    measure(side, count, LIVE, |number| scatter(number) % 40_000)
}

/// Later and later deadlines, as after each message with an idle timeout.
pub fn later(side: Side, count: u64) -> io::Result<f64> {
    measure(side, count, LIVE, |number| number)
}

fn measure(side: Side, count: u64, live: u64, millis: fn(u64) -> u64) -> io::Result<f64> {
    let base = Instant::now() + Duration::from_secs(30);
    // Computed beforehand, so that no clock is read in between.
    let deadlines: Vec<_> = (0..count)
        .map(|number| base + Duration::from_millis(millis(number)))
        .collect();
    let elapsed = match side {
        Side::Soloio => block_on(soloio(live, &deadlines)),
        Side::TokioCurrent => CurrentThread::run(tokio(live, deadlines)),
        Side::TokioLocal => Local::run(tokio(live, deadlines)),
    };
    Ok(nanos_each(elapsed, count))
}

async fn soloio(live: u64, deadlines: &[Instant]) -> Duration {
    let others = others(soloio::sleep, live).await;
    let mut timer = pin!(soloio::sleep_until(deadlines[0]));
    let elapsed = poll_fn(|cx| {
        assert!(timer.as_mut().poll(cx).is_pending());
        let watch = Stopwatch::start();
        for &deadline in deadlines {
            timer.reset(deadline);
            assert!(timer.as_mut().poll(cx).is_pending());
        }
        Poll::Ready(watch.read())
    })
    .await;
    drop(others);
    elapsed
}

async fn tokio(live: u64, deadlines: Vec<Instant>) -> Duration {
    let others = others(tokio::time::sleep, live).await;
    let mut timer = pin!(tokio::time::sleep_until(deadlines[0].into()));
    let elapsed = poll_fn(|cx| {
        assert!(timer.as_mut().poll(cx).is_pending());
        let watch = Stopwatch::start();
        for &deadline in &deadlines {
            timer.as_mut().reset(deadline.into());
            assert!(timer.as_mut().poll(cx).is_pending());
        }
        Poll::Ready(watch.read())
    })
    .await;
    drop(others);
    elapsed
}
