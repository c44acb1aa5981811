//! Spawn and join: an empty task is started and awaited, one at a time. Nanoseconds per task.

use std::io;

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

fn soloio(count: u64) -> io::Result<f64> {
    let elapsed = block_on(task_group(async |group| {
        for number in 0..100_u64 {
            assert_eq!(group.spawn(async move { Ok(number) }).await?, number);
        }
        let watch = Stopwatch::start();
        for _ in 0..count {
            group.spawn(async {}).await?;
        }
        Ok(watch.read())
    }))?;
    Ok(nanos_each(elapsed, count))
}

fn tokio<F: Flavour>(count: u64) -> io::Result<f64> {
    let elapsed = F::run(async move {
        for number in 0..100_u64 {
            assert_eq!(F::spawn(async move { number }).await?, number);
        }
        let watch = Stopwatch::start();
        for _ in 0..count {
            F::spawn(async {}).await?;
        }
        io::Result::Ok(watch.read())
    })?;
    Ok(nanos_each(elapsed, count))
}
