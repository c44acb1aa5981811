//! What an operation takes among ever more connections, timers and tasks: flat, or not.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use soloio::task_group;

use crate::flavour::{Flavour, Local};
use crate::load::Echo;
use crate::rounds::Spread;
use crate::rows::timer_among;
use crate::server::{Child, OPEN_FILES};
use crate::side::Side;
use crate::sys::cpu_clock::Stopwatch;
use crate::sys::{affinity, limits};
use crate::work::Kind;

const SIDES: [Side; 2] = [Side::Soloio, Side::TokioLocal];

type Measure = fn(Side, u64, u64) -> io::Result<f64>;

/// Prints a line for each number of things that there are, with the nanoseconds of an operation.
pub fn run(rounds: usize, quick: bool) -> io::Result<()> {
    let growing: [(&str, Measure, u64, &[u64]); 3] = [
        ("echo, connections", echo, 80_000, &[10, 100, 1_000, 10_000]),
        ("timer, timers", timer, 300_000, &[100, 10_000, 1_000_000]),
        ("wake, tasks", wake, 1_000_000, &[100, 10_000, 1_000_000]),
    ];
    println!(
        "{:<20} {:>10} {:>10} {:>10}  ns",
        "", "there are", "soloio", "tokio"
    );
    for (title, measure, full, sizes) in growing {
        for &size in sizes {
            let (size, count) = if quick {
                (size / 10, full / 100)
            } else {
                (size, full)
            };
            let mut values = [const { Vec::new() }; 2];
            for round in 0..rounds {
                for place in 0..SIDES.len() {
                    let at = (round + place) % SIDES.len();
                    values[at].push(measure(SIDES[at], size, count)?);
                }
            }
            let [soloio, tokio] = values.map(|values| Spread::of(values).median);
            println!("{title:<20} {size:>10} {soloio:>10.1} {tokio:>10.1}");
        }
    }
    Ok(())
}

/// CPU of the server for an echo, with a message on the way on each connection.
fn echo(side: Side, connections: u64, count: u64) -> io::Result<f64> {
    affinity::free()?;
    limits::raise_open_files(OPEN_FILES)?;
    let server = Child::start(side, Kind::TcpEcho, None)?;
    affinity::pin(affinity::helper_core())?;
    let connections = usize::try_from(connections).map_err(io::Error::other)?;
    let mut load = Echo::tcp(server.address(), connections)?;
    load.run(count / 10)?;
    let before = server.cpu()?;
    load.run(count)?;
    let used = server.cpu()? - before;
    server.finish()?;
    Ok(each(used, count))
}

/// A timer made and dropped.
fn timer(side: Side, live: u64, count: u64) -> io::Result<f64> {
    affinity::pin(affinity::measured_core())?;
    timer_among(side, live, count)
}

/// A task of many is woken, and polled.
fn wake(side: Side, tasks: u64, count: u64) -> io::Result<f64> {
    affinity::pin(affinity::measured_core())?;
    let rounds = count.div_ceil(tasks);
    let elapsed = match side {
        Side::Soloio => soloio::block_on(async {
            let (sleepers, spent) = (Sleepers::default(), Cell::default());
            let woken = task_group(async |group| -> soloio::Result<()> {
                for _ in 0..tasks {
                    group.spawn(async {
                        sleepers.sleep(rounds).await;
                        Ok(())
                    });
                }
                spent.set(sleepers.wake_all(rounds, tasks).await);
                Ok(())
            });
            woken.await.map(|()| spent.get())
        })
        .map_err(io::Error::from)?,
        _ => Local::run(async move {
            let sleepers = Rc::new(Sleepers::default());
            for _ in 0..tasks {
                let sleepers = Rc::clone(&sleepers);
                tokio::task::spawn_local(async move { sleepers.sleep(rounds).await });
            }
            sleepers.wake_all(rounds, tasks).await
        }),
    };
    Ok(each(elapsed, rounds * tasks))
}

/// The wakers of tasks that wait to be woken, the same number of times each.
#[derive(Default)]
struct Sleepers {
    wakers: Cell<Vec<Waker>>,
    /// That of the task that wakes them, when the last one has been polled.
    waiting: Cell<Option<Waker>>,
    missing: Cell<u64>,
}

impl Sleepers {
    async fn sleep(&self, rounds: u64) {
        let mut left = rounds;
        poll_fn(|cx| {
            self.missing.set(self.missing.get().wrapping_sub(1));
            if self.missing.get() == 0 {
                self.waiting.take().inspect(Waker::wake_by_ref);
            }
            if left == 0 {
                return Poll::Ready(());
            }
            left -= 1;
            let mut wakers = self.wakers.take();
            wakers.push(cx.waker().clone());
            self.wakers.set(wakers);
            Poll::Pending
        })
        .await;
    }

    /// Wakes all of them, as often as they wait, and returns the time until all were polled.
    async fn wake_all(&self, rounds: u64, tasks: u64) -> Duration {
        self.all_polled(tasks).await;
        let watch = Stopwatch::start();
        for _ in 0..rounds {
            let mut wakers = self.wakers.take();
            let again = Vec::with_capacity(wakers.len());
            self.wakers.set(again);
            wakers.drain(..).for_each(Waker::wake);
            self.all_polled(tasks).await;
        }
        watch.read()
    }

    async fn all_polled(&self, tasks: u64) {
        self.missing.set(tasks);
        poll_fn(|cx| {
            if self.missing.get() == 0 {
                return Poll::Ready(());
            }
            self.waiting.set(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
    }
}

fn each(total: Duration, count: u64) -> f64 {
    total.as_nanos() as f64 / count as f64
}
