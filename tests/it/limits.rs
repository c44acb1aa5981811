//! Semaphores, capacity limiters, rate limiters: how many, in which order, and at the limits.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use futures_util::future::join;
use soloio::{CapacityLimiter, Error, RateLimiter, Semaphore, move_on_after, task_group};

use crate::net_support::{refused, run, turns};

#[test]
fn a_semaphore_has_a_limit() {
    run(async {
        refused!(Semaphore::with_max_value(3, 2), Error::Io(_));
        let few = Semaphore::with_max_value(1, 2).expect("a semaphore");
        let permit = few.acquire().await.expect("free");
        refused!(few.acquire_nowait(), Error::WouldBlock);
        few.add(1)
            .expect("2 are allowed, those that are out included");
        refused!(few.add(1), Error::Io(_));
        assert_eq!((few.value(), few.max_value()), (1, 2));
        drop(permit);
        assert_eq!(few.value(), 2);
        few.acquire().await.expect("free").forget();
        assert_eq!(few.value(), 1);
        few.add(1).expect("one was used up");

        let most = Semaphore::new(usize::MAX);
        refused!(most.add(1), Error::Io(_));
        let permits = [most.acquire().await, most.acquire().await];
        assert_eq!(most.value(), usize::MAX - 2);
        drop(permits);
        assert_eq!(most.value(), usize::MAX);
    });
}

#[test]
fn permits_that_are_added_wake_as_many() {
    run(async {
        let (semaphore, order) = (Semaphore::new(0), RefCell::new(Vec::new()));
        task_group(async |group| {
            for name in 0..4 {
                let (semaphore, order) = (&semaphore, &order);
                group.spawn(async move {
                    semaphore.acquire().await?.forget();
                    order.borrow_mut().push(name);
                    Ok(())
                });
            }
            turns(1).await;
            semaphore.add(3)?;
            turns(1).await;
            assert_eq!(*order.borrow(), [0, 1, 2]);
            assert_eq!(semaphore.statistics().tasks_waiting, 1);
            semaphore.add(1)
        })
        .await
        .expect("no error");
        assert_eq!(semaphore.value(), 0);
    });
}

#[test]
fn a_limiter_changes_its_size() {
    run(async {
        let limiter = CapacityLimiter::new(0);
        refused!(limiter.acquire_nowait(), Error::WouldBlock);
        let (first, ()) = join(limiter.acquire(), async {
            turns(1).await;
            assert_eq!(limiter.statistics().tasks_waiting, 1);
            limiter.set_total_tokens(3);
        })
        .await;
        let others = [limiter.acquire_nowait(), limiter.acquire_nowait()];
        limiter.set_total_tokens(1);
        assert_eq!(
            (limiter.borrowed_tokens(), limiter.available_tokens()),
            (3, 0)
        );
        drop(others);
        refused!(limiter.acquire_nowait(), Error::WouldBlock);
        drop(first);
        assert_eq!(
            (limiter.borrowed_tokens(), limiter.available_tokens()),
            (0, 1)
        );
        limiter.set_total_tokens(usize::MAX);
        assert_eq!(limiter.available_tokens(), limiter.total_tokens());
    });
}

#[test]
fn a_borrower_has_one_token() {
    run(async {
        let limiter = CapacityLimiter::new(2);
        let token = limiter.acquire_on_behalf_of(5).await.expect("free");
        assert_eq!(token.borrower(), Some(5));
        refused!(limiter.acquire_on_behalf_of(5).await, Error::Io(_));
        refused!(limiter.acquire_on_behalf_of_nowait(5), Error::Io(_));
        let other = limiter.acquire_on_behalf_of_nowait(3).expect("free");
        assert_eq!(limiter.statistics().borrowers, [3, 5]);
        // Both wait under one name: the second is refused when it is its turn, and its token goes
        // on to the next.
        let held = RefCell::new(None);
        let waiting = async {
            let token = limiter.acquire_on_behalf_of(9).await;
            held.replace(Some(token.expect("the first")));
        };
        let again = async { refused!(limiter.acquire_on_behalf_of(9).await, Error::Io(_)) };
        let third = async { drop(limiter.acquire().await.expect("the next")) };
        let partner = async {
            turns(1).await;
            drop((token, other));
        };
        join(join(waiting, again), join(third, partner)).await;
        drop(held);
        assert_eq!(limiter.borrowed_tokens(), 0);
    });
}

#[test]
fn a_rate_limiter_lets_a_burst_and_then_its_rate_through() {
    run(async {
        let limiter = RateLimiter::new(1, Duration::from_millis(2)).burst(3);
        assert_eq!(limiter.statistics().available_tokens, 3);
        let (start, order) = (Instant::now(), RefCell::new(Vec::new()));
        task_group(async |group| {
            for name in 0..6 {
                let (limiter, order) = (&limiter, &order);
                group.spawn(async move {
                    limiter.acquire().await?;
                    order.borrow_mut().push(name);
                    Ok(())
                });
            }
            turns(1).await;
            assert!(order.borrow().len() >= 3);
            refused!(limiter.acquire_nowait(), Error::WouldBlock);
            Ok(())
        })
        .await
        .expect("no error");
        assert!(start.elapsed() >= Duration::from_millis(6), "never early");
        assert_eq!(order.into_inner(), [0, 1, 2, 3, 4, 5]);
        assert_eq!(limiter.statistics().tasks_waiting, 0);
    });
}

#[test]
fn a_rate_limiter_at_its_limits() {
    run(async {
        let free = RateLimiter::new(1, Duration::ZERO);
        for _ in 0..1000 {
            free.acquire().await.expect("no limit");
        }
        let once = RateLimiter::new(0, Duration::from_secs(1)).burst(1);
        once.acquire().await.expect("the burst");
        let soon = Duration::from_millis(2);
        let more = move_on_after(soon, once.acquire()).await;
        assert!(more.expect("no error").is_none());
        let empty = RateLimiter::new(1, Duration::MAX).initial_tokens(0);
        refused!(empty.acquire_nowait(), Error::WouldBlock);
        let full = RateLimiter::new(4, Duration::MAX)
            .initial_tokens(9)
            .burst(2);
        assert_eq!(full.statistics().available_tokens, 2);
    });
}
