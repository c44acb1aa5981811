//! A lock with a value. `free`: without contention, nanoseconds per acquire and release. `wanted`:
//! two tasks that yield while they hold it, nanoseconds per acquire and wait.

use std::io;
use std::sync::Arc;

use soloio::{Lock, block_on, task_group, yield_now};
use tokio::sync::Mutex;

use super::nanos_each;
use crate::flavour::{CurrentThread, Flavour, Local};
use crate::side::Side;
use crate::sys::cpu_clock::Stopwatch;

pub fn free(side: Side, count: u64) -> io::Result<f64> {
    match side {
        Side::Soloio => soloio_free(count),
        Side::TokioCurrent => tokio_free::<CurrentThread>(count),
        Side::TokioLocal => tokio_free::<Local>(count),
    }
}

pub fn wanted(side: Side, count: u64) -> io::Result<f64> {
    match side {
        Side::Soloio => soloio_wanted(count),
        Side::TokioCurrent => tokio_wanted::<CurrentThread>(count),
        Side::TokioLocal => tokio_wanted::<Local>(count),
    }
}

fn soloio_free(count: u64) -> io::Result<f64> {
    let lock = Lock::new(0);
    let elapsed = block_on(task_group(async |group| {
        let task = group.spawn(async {
            let watch = Stopwatch::start();
            for _ in 0..count {
                *lock.acquire().await? += 1;
            }
            Ok(watch.read())
        });
        task.await
    }))?;
    assert_eq!(lock.into_inner(), count);
    Ok(nanos_each(elapsed, count))
}

fn tokio_free<F: Flavour>(count: u64) -> io::Result<f64> {
    let elapsed = F::run(async move {
        let lock = Mutex::new(0);
        let watch = Stopwatch::start();
        for _ in 0..count {
            *lock.lock().await += 1;
        }
        let elapsed = watch.read();
        assert_eq!(lock.into_inner(), count);
        elapsed
    });
    Ok(nanos_each(elapsed, count))
}

fn soloio_wanted(count: u64) -> io::Result<f64> {
    let lock = Lock::new(0);
    let elapsed = block_on(async {
        let watch = Stopwatch::start();
        let work = async || {
            for _ in 0..count / 2 {
                let mut guard = lock.acquire().await?;
                *guard += 1;
                yield_now().await?;
            }
            Ok(())
        };
        let both = task_group(async |group| {
            group.spawn(work());
            group.spawn(work());
            Ok(())
        });
        both.await.map(|()| watch.read())
    })?;
    assert_eq!(lock.into_inner(), count / 2 * 2);
    Ok(nanos_each(elapsed, count))
}

fn tokio_wanted<F: Flavour>(count: u64) -> io::Result<f64> {
    let elapsed = F::run(async move {
        let lock = Arc::new(Mutex::new(0));
        let watch = Stopwatch::start();
        let tasks = [(); 2].map(|()| {
            let lock = Arc::clone(&lock);
            F::spawn(async move {
                for _ in 0..count / 2 {
                    let mut guard = lock.lock().await;
                    *guard += 1;
                    tokio::task::yield_now().await;
                }
            })
        });
        for task in tasks {
            task.await.expect("the task ended well");
        }
        let elapsed = watch.read();
        assert_eq!(*lock.lock().await, count / 2 * 2);
        elapsed
    });
    Ok(nanos_each(elapsed, count))
}
