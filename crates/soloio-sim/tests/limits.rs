//! Time limits and the shields that hold them up, in the exact time of a world.

use std::cell::Cell;
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
            std::future::poll_fn(|cx| {
                assert!(parked.as_mut().poll(cx).is_pending());
                std::task::Poll::Ready(())
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
