//! Sleeps that expire: tasks that sleep 1 to 10 ms, again and again. Nanoseconds of CPU time of the
//! thread per sleep, the loop's waits included.

use std::io;
use std::time::{Duration, Instant};

use soloio::{block_on, task_group};

use super::{nanos_each, scatter};
use crate::flavour::{CurrentThread, Flavour, Local};
use crate::side::Side;
use crate::sys::cpu_clock::Stopwatch;

/// Sleeps of one task.
const EACH: u64 = 20;

/// Runs `count` tasks of 20 sleeps.
pub fn measure(side: Side, count: u64) -> io::Result<f64> {
    let used = match side {
        Side::Soloio => soloio(count)?,
        Side::TokioCurrent => tokio::<CurrentThread>(count)?,
        Side::TokioLocal => tokio::<Local>(count)?,
    };
    Ok(nanos_each(used, count * EACH))
}

fn soloio(count: u64) -> io::Result<Duration> {
    let used = block_on(async {
        let started = Instant::now();
        soloio::sleep(duration(0)).await?;
        assert!(started.elapsed() >= duration(0));
        let watch = Stopwatch::start();
        task_group(async |group| {
            for task in 0..count {
                group.spawn(async move {
                    for turn in 0..EACH {
                        soloio::sleep(duration(task * EACH + turn)).await?;
                    }
                    soloio::Result::Ok(())
                });
            }
        })
        .await?;
        soloio::Result::<_>::Ok(watch.read())
    })?;
    Ok(used)
}

fn tokio<F: Flavour>(count: u64) -> io::Result<Duration> {
    F::run(async move {
        let started = Instant::now();
        tokio::time::sleep(duration(0)).await;
        assert!(started.elapsed() >= duration(0));
        let watch = Stopwatch::start();
        let tasks: Vec<_> = (0..count)
            .map(|task| {
                F::spawn(async move {
                    for turn in 0..EACH {
                        tokio::time::sleep(duration(task * EACH + turn)).await;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await?;
        }
        Ok(watch.read())
    })
}

/// Returns 1 to 10 ms, in no order.
fn duration(number: u64) -> Duration {
    Duration::from_micros(1_000 + scatter(number) % 9_000)
}
