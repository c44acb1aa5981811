//! Semaphores, capacity limiters and rate limiters: their counts, and the calls they refuse.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use soloio::{
    CapacityLimiter, Error, RateLimiter, Result, Semaphore, move_on_after, sleep, task_group,
    yield_now,
};

use crate::net_support::{refused, run};

#[test]
fn a_semaphore_counts_what_is_added_and_used_up() {
    run(async {
        let semaphore = Semaphore::with_max_value(1, 3).expect("no more than three");
        assert_eq!((semaphore.value(), semaphore.max_value()), (1, 3));
        let first = semaphore.acquire().await.expect("one is free");
        refused!(semaphore.acquire_nowait(), Error::WouldBlock);
        semaphore.add(2).expect("three in all");
        let statistics = semaphore.statistics();
        assert_eq!((statistics.value, statistics.tasks_waiting), (2, 0));
        let too_many = semaphore.add(1).expect_err("one is held, two are free");
        assert!(too_many.to_string().contains("max_value"), "{too_many}");
        assert_eq!(semaphore.value(), 2, "none was made");
        first.forget();
        semaphore.add(1).expect("one was used up");
        let all: Vec<_> = (0..3).map(|_| semaphore.acquire_nowait()).collect();
        assert!(all.iter().all(Result::is_ok) && semaphore.value() == 0);
        drop(all);
        assert_eq!(semaphore.value(), 3);
        assert!(format!("{semaphore:?}").starts_with("Semaphore"));
        refused!(Semaphore::with_max_value(4, 3), Error::Io(_));
        let endless = Semaphore::new(usize::MAX);
        refused!(endless.add(1), Error::Io(_));
        assert_eq!(endless.max_value(), usize::MAX);
    });
}

/// Permits that another task adds go to the waiting tasks, one for each permit.
#[test]
fn permits_that_are_added_go_to_those_that_wait_in_order() {
    run(async {
        let (none, order) = (Semaphore::new(0), RefCell::new(Vec::new()));
        task_group(async |group| {
            for n in 0..4 {
                let (none, order) = (&none, &order);
                group.spawn(async move {
                    none.acquire().await?.forget();
                    order.borrow_mut().push(n);
                    Ok(())
                });
            }
            yield_now().await?;
            assert_eq!(none.statistics().tasks_waiting, 4);
            none.add(3)?;
            refused!(none.acquire_nowait(), Error::WouldBlock);
            while order.borrow().len() < 3 {
                yield_now().await?;
            }
            assert_eq!((none.value(), none.statistics().tasks_waiting), (0, 1));
            none.add(1)
        })
        .await
        .expect("all had their turn");
        assert_eq!((none.value(), order.into_inner()), (0, vec![0, 1, 2, 3]));
    });
}

#[test]
fn a_limiter_knows_its_borrowers_and_refuses_a_second_token() {
    run(async {
        let limiter = CapacityLimiter::new(2);
        let token = limiter.acquire_on_behalf_of(7).await.expect("free");
        assert_eq!((token.borrower(), limiter.total_tokens()), (Some(7), 2));
        // Refused immediately, although a token is free: AnyIO raises here, too.
        refused!(limiter.acquire_on_behalf_of(7).await, Error::Io(_));
        refused!(limiter.acquire_on_behalf_of_nowait(7), Error::Io(_));
        let other = limiter.acquire_on_behalf_of_nowait(8).expect("free");
        refused!(limiter.acquire_nowait(), Error::WouldBlock);
        refused!(limiter.acquire_on_behalf_of_nowait(9), Error::WouldBlock);
        let statistics = limiter.statistics();
        assert_eq!(
            (statistics.borrowed_tokens, statistics.total_tokens),
            (2, 2)
        );
        assert_eq!(
            (statistics.borrowers, statistics.tasks_waiting),
            (vec![7, 8], 0)
        );
        assert!(format!("{token:?} {limiter:?}").contains("LimiterToken"));
        // Fewer tokens than are lent: a token has to come back first.
        limiter.set_total_tokens(1);
        drop(token);
        refused!(limiter.acquire_nowait(), Error::WouldBlock);
        drop(other);
        assert_eq!(
            (limiter.borrowed_tokens(), limiter.available_tokens()),
            (0, 1)
        );
        let unnamed = limiter.acquire().await.expect("free");
        assert_eq!(unnamed.borrower(), None);
    });
}

/// A list of them made each return cost as much as there are borrowers: minutes for these.
#[test]
fn a_borrower_costs_no_more_among_many() {
    run(async {
        let limiter = CapacityLimiter::new(usize::MAX);
        let take = |borrower| limiter.acquire_on_behalf_of_nowait(borrower);
        for backwards in [false, true] {
            let mut tokens: Vec<_> = (0..200_000).map(|n| take(n).expect("free")).collect();
            if backwards {
                tokens.reverse();
            }
            drop(tokens);
            assert_eq!(limiter.borrowed_tokens(), 0);
        }
    });
}

#[test]
fn a_rate_limiter_lets_the_burst_through_and_then_one_at_a_time() {
    run(async {
        let hour = Duration::from_secs(3_600);
        let limiter = RateLimiter::new(1, hour).burst(3).initial_tokens(2);
        assert_eq!(limiter.statistics().available_tokens, 2);
        for _ in 0..2 {
            limiter.acquire_nowait().expect("of the burst");
        }
        refused!(limiter.acquire_nowait(), Error::WouldBlock);
        let mut waits = Box::pin(move_on_after(Duration::from_millis(5), limiter.acquire()));
        task_group(async |group| {
            drop(group.spawn(async {
                assert!(waits.as_mut().await?.is_none());
                Ok(())
            }));
            yield_now().await?;
            assert_eq!(limiter.statistics().tasks_waiting, 1);
            // `acquire_nowait` does not overtake the waiting task.
            refused!(limiter.acquire_nowait(), Error::WouldBlock);
            Ok(())
        })
        .await
        .expect("no error");
        let statistics = limiter.statistics();
        assert_eq!(
            (statistics.tasks_waiting, statistics.available_tokens),
            (0, 0)
        );

        let fast = RateLimiter::new(1_000, Duration::from_secs(1)).initial_tokens(0);
        let start = Instant::now();
        for _ in 0..3 {
            fast.acquire().await.expect("in its time");
        }
        assert!(start.elapsed() >= Duration::from_millis(3));
        let endless = RateLimiter::new(1, Duration::MAX).burst(0);
        assert_eq!(
            endless.statistics().available_tokens,
            1,
            "a burst of one at least"
        );
        // However many tokens there are in it.
        let endless = RateLimiter::new(u64::MAX, Duration::MAX).burst(1);
        endless.acquire_nowait().expect("of the burst");
        sleep(Duration::from_millis(1)).await.expect("waited");
        refused!(endless.acquire_nowait(), Error::WouldBlock);
        let free = RateLimiter::new(5, Duration::ZERO);
        (0..100).for_each(|_| free.acquire_nowait().expect("no interval is no limit"));
        assert_eq!(free.statistics().available_tokens, 5);
    });
}
