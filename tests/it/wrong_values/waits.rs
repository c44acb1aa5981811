//! Times, limits, and the numbers of locks, limiters, tasks and threads.

use std::time::{Duration, Instant};

use soloio::{
    CancelScope, CapacityLimiter, Error, RateLimiter, Result, Semaphore, fail_after, fail_at,
    interval, move_on_after, open_signal_receiver, per_core, run_in_thread, shield, sleep,
    sleep_until, task_group, yield_now,
};

use super::{LONG, SHORT, SIZES, TIMES, ended, message, texts};
use crate::net_support::{refused, run, tcp_pair};

/// Returns whether it is done within a moment.
async fn is_soon<T>(future: impl IntoFuture<Output = Result<T>>) -> bool {
    let waited = move_on_after(Duration::from_millis(20), future).await;
    waited.expect("no other error").is_some()
}

/// A time of the far future.
fn far() -> Instant {
    let mut far = Instant::now();
    for step in [1 << 62, 1 << 50, 1 << 40, 1 << 33] {
        far = far.checked_add(Duration::from_secs(step)).unwrap_or(far);
    }
    far
}

#[test]
fn times() {
    run(async {
        for (n, time) in TIMES.into_iter().enumerate() {
            let is_short = n < SHORT;
            // The shortest ones may take longer than a moment, under load.
            if is_short {
                ended(sleep(time)).await.expect("a sleep");
                ended(interval(time).tick()).await.expect("a tick");
                refused!(fail_after(time, sleep(LONG)).await, Error::TimedOut(_));
                assert!(matches!(move_on_after(time, sleep(LONG)).await, Ok(None)));
            } else {
                assert!(!is_soon(sleep(time)).await);
                assert!(!is_soon(interval(time).tick()).await);
                assert!(!is_soon(fail_after(time, sleep(LONG))).await);
            }
            assert_eq!(
                fail_after(time, async { Ok::<_, Error>(5) }).await.ok(),
                Some(5)
            );
            assert_eq!(shield(time, async { 5 }).await, 5);
            let scope = CancelScope::new();
            scope.cancel("");
            let ended = scope.run(shield(time, yield_now())).await;
            assert!(
                matches!(ended, Some(Ok(()) | Err(Error::Cancelled))),
                "{ended:?}"
            );
        }
        for time in [Instant::now(), far()] {
            assert!(fail_at(time, async { Ok::<_, Error>(()) }).await.is_ok());
            let scope = CancelScope::with_deadline(time);
            assert!(scope.run(async { 5 }).await.is_some());
        }
        assert!(!is_soon(sleep_until(far())).await);
        let mut moved = sleep(LONG);
        moved.reset(far());
        assert!(!is_soon(&mut moved).await);
        moved.reset(Instant::now());
        moved.await.expect("over");
    });
}

/// What docs/anyio.md gives for a receive that does not wait: one turn of the loop is included.
#[test]
fn the_shortest_limit_returns_what_is_there() {
    run(async {
        for sent in 0..100_u8 {
            let (a, b) = tcp_pair().await;
            assert!(matches!(
                move_on_after(Duration::ZERO, a.receive()).await,
                Ok(None)
            ));
            let (c, d) = tcp_pair().await;
            b.send(&[sent]).await.expect("sent");
            d.send(&[sent]).await.expect("sent");
            for received in [a.receive(), c.receive()] {
                let got = move_on_after(Duration::from_nanos(1), received).await;
                assert_eq!(got.expect("no error"), Some(vec![sent]));
            }
        }
    });
}

#[test]
fn numbers_of_locks() {
    run(async {
        for number in SIZES {
            let semaphore = Semaphore::new(number);
            assert_eq!(is_soon(semaphore.acquire()).await, number > 0);
            for more in SIZES {
                match number.checked_add(more) {
                    Some(sum) => {
                        semaphore.add(more).expect("it has room");
                        assert_eq!(semaphore.value(), sum);
                        break;
                    }
                    None => {
                        let refused = message(semaphore.add(more));
                        assert!(refused.contains(&more.to_string()), "{refused}");
                    }
                }
            }
            for most in SIZES {
                let made = Semaphore::with_max_value(number, most);
                if number <= most {
                    assert_eq!(made.expect("it has room").max_value(), most);
                } else {
                    let refused = message(made);
                    assert!(refused.contains(&number.to_string()), "{refused}");
                    assert!(refused.contains(&most.to_string()), "{refused}");
                }
            }
            let limiter = CapacityLimiter::new(number);
            assert_eq!(is_soon(limiter.acquire()).await, number > 0);
            for total in SIZES {
                limiter.set_total_tokens(total);
                assert_eq!(limiter.available_tokens(), total);
                let borrowed = limiter.acquire_on_behalf_of_nowait(u64::MAX);
                assert_eq!(borrowed.is_ok(), total > 0);
            }
        }
    });
}

#[test]
fn numbers_of_a_rate() {
    run(async {
        let numbers = [0, 1, u64::MAX];
        for tokens in numbers {
            for interval in TIMES {
                for burst in numbers {
                    for initial in numbers {
                        let limiter = RateLimiter::new(tokens, interval).burst(burst);
                        let limiter = limiter.initial_tokens(initial);
                        let available = limiter.statistics().available_tokens;
                        let soon = move_on_after(Duration::ZERO, limiter.acquire()).await;
                        let soon = soon.expect("no other error").is_some();
                        assert!(
                            soon || available == 0,
                            "{tokens} {interval:?} {burst} {initial}"
                        );
                    }
                }
            }
        }
    });
}

#[test]
fn jobs_loops_signals_and_names() {
    run(async {
        for patience in TIMES {
            let job = run_in_thread(|| 6 * 7).abandon_after(patience);
            assert_eq!(ended(job).await.expect("done"), 42);
        }
        for tokens in SIZES {
            let limiter = CapacityLimiter::new(tokens);
            let job = run_in_thread(|| ()).limiter(&limiter);
            match tokens {
                0 => assert!(!is_soon(job).await),
                _ => ended(job).await.expect("done"),
            }
        }
        message(open_signal_receiver(&[]));
        task_group(async |group| {
            for text in texts() {
                drop(group.spawn(yield_now()).named(&*text));
                assert!(!soloio::dump()?.to_string().is_empty());
            }
            Ok(())
        })
        .await
        .expect("all have ended");
    });
    assert!(message(per_core(0, async |_| Ok(()))).contains("one"));
}
