//! Time limits and the shields that hold them up, in the exact time of a world.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use soloio::{
    CancelScope, Error, Event, Result, fail_after, shield, sleep, sleep_until, task_group,
    unix_socket_pair, yield_now,
};
use soloio_sim::run;

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

const HOUR: Duration = Duration::from_secs(3_600);

/// A loop of short shields ends when the last one that began before the limit does.
#[test]
fn a_loop_of_short_shields_ends_in_time() {
    run(async {
        let start = Instant::now();
        let shields = async {
            loop {
                drop(shield(ms(25), sleep(ms(4))).await);
            }
        };
        let ended: Result<()> = fail_after(ms(50), shields).await;
        assert!(matches!(ended, Err(Error::TimedOut(_))));
        assert_eq!(start.elapsed(), ms(75));
    });
}

/// The shields of a scope share the longest of their times, counted from the cancel.
#[test]
fn fifty_children_that_spawn_shielded_siblings_end_in_time() {
    run(async {
        let start = Instant::now();
        let ended = fail_after(ms(50), async {
            task_group(async |group| {
                for _ in 0..50 {
                    group.spawn(async {
                        let ended = sleep(HOUR).await;
                        for _ in 0..100 {
                            let late = group.spawn(shield(ms(300), sleep(ms(250))));
                            drop(shield(ms(300), late).await);
                        }
                        ended
                    });
                }
                Ok(())
            })
            .await
        });
        assert!(matches!(ended.await, Err(Error::TimedOut(_))));
        assert_eq!(start.elapsed(), ms(350));
    });
}

/// A shield that its owner does not poll any more holds a limit up to its own end.
#[test]
fn a_parked_shield_ends_by_its_limit() {
    run(async {
        let start = Instant::now();
        let parks = async {
            let mut parked = Box::pin(shield(ms(40), sleep(HOUR)));
            poll_fn(|cx| {
                assert!(parked.as_mut().poll(cx).is_pending());
                Poll::Ready(())
            })
            .await;
            std::future::pending::<()>().await;
            parked.await
        };
        let ended = fail_after(ms(10), parks).await;
        assert!(matches!(ended, Err(Error::TimedOut(_))));
        assert_eq!(start.elapsed(), ms(40));
    });
}

/// Random numbers: xorshift64.
struct Random(Cell<u64>);

impl Random {
    fn below(&self, end: u64) -> u64 {
        let mut next = self.0.get();
        next ^= next << 13;
        next ^= next >> 7;
        next ^= next << 17;
        self.0.set(next);
        (next >> 16) % end
    }
}

/// The latest time to which the shields that were asked for may hold the limit up.
struct Asked {
    limit: Instant,
    latest: Cell<Instant>,
}

impl Asked {
    async fn shield<T>(&self, length: Duration, body: impl Future<Output = T>) -> T {
        let until = Instant::now().min(self.limit) + length;
        self.latest.set(self.latest.get().max(until));
        shield(length, body).await
    }
}

/// Takes one shield after the other, of random times, and notices no cancel.
async fn greedy(random: &Random, asked: &Asked) {
    loop {
        let length = || ms(random.below(40));
        let (first, second) = (length(), length());
        match random.below(4) {
            0 => drop(
                asked
                    .shield(first, asked.shield(second, sleep(length())))
                    .await,
            ),
            1 => drop(asked.shield(first, sleep(HOUR)).await),
            2 => drop(
                asked
                    .shield(first, CancelScope::new().run(sleep(length())))
                    .await,
            ),
            _ => drop(
                asked
                    .shield(first, fail_after(second, sleep(length())))
                    .await,
            ),
        }
        if random.below(3) == 0 {
            drop(yield_now().await);
        }
    }
}

/// No program holds a limit up for longer than the longest shield that it has asked for, counted
/// from the cancel, or from the shield's beginning before it; a greedy one does for as long.
#[test]
fn shields_hold_a_limit_up_for_the_longest_of_them_and_no_longer() {
    run(async {
        for seed in 1..=100_u64 {
            let random = Random(Cell::new(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15)));
            let limit = Instant::now() + ms(random.below(100));
            let asked = Asked {
                limit,
                latest: Cell::new(limit),
            };
            let ended: Result<()> = soloio::fail_at(limit, async {
                task_group(async |group| {
                    for _ in 0..random.below(4) {
                        group.spawn(async {
                            sleep_until(limit - ms(random.below(50))).await.ok();
                            greedy(&random, &asked).await;
                            Ok(())
                        });
                    }
                    greedy(&random, &asked).await;
                    Ok(())
                })
                .await
            })
            .await;
            assert!(
                matches!(ended, Err(Error::TimedOut(_))),
                "seed {seed}: {ended:?}"
            );
            assert_eq!(Instant::now(), asked.latest.get(), "seed {seed}");
        }
    });
}

/// A limit tells its length, and the first operation that it has ended.
#[test]
fn a_limit_says_how_long_it_was_and_what_has_waited() {
    run(async {
        let (ours, _theirs) = unix_socket_pair().expect("a pair");
        let inner = fail_after(ms(30), ours.receive());
        match fail_after(HOUR, inner).await {
            Err(Error::TimedOut(late)) => {
                assert_eq!(late.limit(), Some(ms(30)));
                let doing = late.doing().expect("an operation");
                assert!(doing.starts_with("waiting to receive"), "{doing}");
            }
            other => panic!("{other:?}"),
        }
        match fail_after(ms(20), Event::new().wait()).await {
            Err(Error::TimedOut(late)) => assert_eq!(late.doing(), Some("waiting for an event")),
            other => panic!("{other:?}"),
        }
        match fail_after(ms(20), fail_after(HOUR, ours.receive())).await {
            Err(Error::TimedOut(late)) => assert_eq!(late.limit(), Some(ms(20))),
            other => panic!("{other:?}"),
        }
    });
}

/// A part of a random program: it waits, runs the next part in its own way, and waits again.
#[derive(Debug)]
struct Layer {
    way: Way,
    before: u64,
    after: u64,
}

/// Times are in milliseconds.
#[derive(Debug)]
enum Way {
    Limit(u64),
    Shield,
    Group,
    /// In a task of its own after the first poll, which is in another place.
    Moved(u64),
    /// With a waker that is no task's.
    Foreign,
}

/// The end of a part: the error is the limit that has ended it, by its place, and true while that
/// is still to be caught.
type End = Result<(), (usize, bool)>;

/// What the program does by arithmetic; `None` where two times are too close to tell.
struct Twin<'l> {
    layers: &'l [Layer],
    now: u64,
    /// The ends of the limits around, up to a shield, with their places.
    around: Vec<(u64, usize)>,
}

impl Twin<'_> {
    fn wait(&mut self, length: u64) -> Option<End> {
        let until = self.now + length;
        let close = |at: u64, to: u64| at.abs_diff(to) < 2;
        let ends = self.around.iter();
        if ends
            .clone()
            .any(|(at, _)| close(*at, until) || close(*at, self.now))
        {
            return None;
        }
        // The outermost of those that have passed, or else the first that does.
        let passed = ends.clone().find(|(at, _)| *at < self.now);
        let next = ends.filter(|(at, _)| *at < until).min();
        let Some((at, by)) = passed.or(next) else {
            self.now = until;
            return Some(Ok(()));
        };
        self.now = self.now.max(*at);
        Some(Err((*by, true)))
    }

    fn run(&mut self, at: usize) -> Option<End> {
        let Some(layer) = self.layers.get(at) else {
            return Some(Ok(()));
        };
        let around = self.around.clone();
        match layer.way {
            Way::Limit(length) => self.around.push((self.now + length, at)),
            Way::Shield => self.around.clear(),
            Way::Group | Way::Moved(_) | Way::Foreign => {}
        }
        let mut end = self.wait(layer.before)?;
        if end.is_ok() {
            end = self.run(at + 1)?;
        }
        if end.is_ok() {
            end = self.wait(layer.after)?;
        }
        self.around = around;
        Some(end.map_err(|(by, open)| (by, open && by != at)))
    }
}

type Boxed<'a> = Pin<Box<dyn Future<Output = Result<()>> + 'a>>;

/// Wakes another waker.
struct Around(Waker);

impl Wake for Around {
    fn wake(self: Arc<Self>) {
        self.0.wake_by_ref();
    }
}

fn program(layers: &[Layer]) -> Boxed<'_> {
    let Some((layer, inner)) = layers.split_first() else {
        return Box::pin(async { Ok(()) });
    };
    let mut body: Boxed<'_> = Box::pin(async {
        sleep(ms(layer.before)).await?;
        match layer.way {
            Way::Moved(place) => moved(program(inner), place).await?,
            _ => program(inner).await?,
        }
        sleep(ms(layer.after)).await
    });
    match layer.way {
        Way::Limit(length) => Box::pin(fail_after(ms(length), body)),
        Way::Shield => Box::pin(shield(HOUR, body)),
        Way::Group => Box::pin(task_group(async |group| {
            group.spawn(body);
            Ok(())
        })),
        Way::Moved(_) => body,
        Way::Foreign => Box::pin(poll_fn(move |cx| {
            let waker = Waker::from(Arc::new(Around(cx.waker().clone())));
            body.as_mut().poll(&mut Context::from_waker(&waker))
        })),
    }
}

/// Polls `inner` once in a place that ends then, and to its end in a task. That task's end is not
/// awaited: that wait would be cancelled, too.
async fn moved(mut inner: Boxed<'_>, place: u64) -> Result<()> {
    let first = poll_fn(|cx| Poll::Ready(inner.as_mut().poll(cx)));
    let polled = match place {
        0 => fail_after(HOUR, async { Ok::<_, Error>(first.await) }).await?,
        1 => CancelScope::new().run(first).await.expect("not cancelled"),
        _ => shield(HOUR, first).await,
    };
    if let Poll::Ready(ended) = polled {
        return ended;
    }
    let in_a_task = task_group(async |group| {
        group.spawn(inner);
        Ok(())
    });
    in_a_task.await
}

/// Limits, shields and moves in each other, at random: the limit that ends the program, and when.
#[test]
fn limits_in_each_other_end_by_arithmetic() {
    let random = Random(Cell::new(0x9E37_79B9_7F4A_7C15));
    let mut late = 0;
    for round in 0..1_000 {
        let way = || match random.below(8) {
            0..3 => Way::Limit(random.below(200_000)),
            3 => Way::Shield,
            4 => Way::Group,
            5 | 6 => Way::Moved(random.below(3)),
            _ => Way::Foreign,
        };
        let wait = || random.below(2) * random.below(100_000);
        let layers = (0..2 + random.below(7)).map(|_| Layer {
            way: way(),
            before: wait(),
            after: wait(),
        });
        let layers: Vec<Layer> = layers.collect();
        let (now, around) = (0, Vec::new());
        let mut twin = Twin {
            layers: &layers,
            now,
            around,
        };
        let Some(expected) = twin.run(0) else {
            continue;
        };
        let (ended, elapsed) = run(async {
            let start = Instant::now();
            let ended = program(&layers).await;
            (ended, start.elapsed())
        });
        let by = match ended {
            Ok(()) => Ok(()),
            Err(Error::TimedOut(error)) => Err(error.limit()),
            Err(error) => panic!("round {round}: {error:?}"),
        };
        let limit = |(by, _): (usize, bool)| match layers[by].way {
            Way::Limit(length) => Some(ms(length)),
            _ => None,
        };
        late += u32::from(by.is_err());
        assert_eq!(by, expected.map_err(limit), "round {round}: {layers:#?}");
        // Timers that are near each other are met together.
        let near = elapsed.abs_diff(ms(twin.now)) < ms(10);
        assert!(
            near,
            "round {round}: {elapsed:?}, {} ms of {layers:#?}",
            twin.now
        );
    }
    assert!(late > 100, "{late}");
}
