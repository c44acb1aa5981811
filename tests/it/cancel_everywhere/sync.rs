//! Cancels operations that wait in a line, and race and join: a cancelled turn goes to the next.

use std::cell::Cell;
use std::time::Duration;

use futures_util::future::{join, join3};
use soloio::{
    CapacityLimiter, Condition, Error, Event, Lock, RateLimiter, Result, Semaphore, Winner,
    create_memory_object_stream, race, sleep, try_join,
};

use super::{Cut, everywhere};
use crate::net_support::turns;
use crate::support::Counter;

/// Covers: Event::wait.
#[test]
fn event() {
    everywhere("cancel_everywhere::sync::event", async |cut| {
        let event = Event::new();
        let partner = async {
            turns(2).await;
            event.set();
        };
        let (waited, other, ()) = join3(cut.apply(event.wait()), event.wait(), partner).await;
        other.expect("set");
        assert_eq!(event.statistics().tasks_waiting, 0);
        event.wait().await.expect("set for good");
        waited.map(|waited| waited.expect("set")).is_some()
    });
}

/// Covers: Lock::acquire.
#[test]
fn lock() {
    everywhere("cancel_everywhere::sync::lock", async |cut| {
        let lock = Lock::new(0);
        let held = lock.acquire().await.expect("free");
        let holder = async {
            turns(2).await;
            drop(held);
        };
        let first = async {
            let got = cut.apply(lock.acquire()).await;
            let done = got.is_some();
            if let Some(guard) = got {
                let mut guard = guard.expect("handed over");
                *guard += 1;
                turns(2).await;
            }
            done
        };
        let second = async { *lock.acquire().await.expect("handed over") += 10 };
        let (done, (), ()) = join3(first, second, holder).await;
        assert_eq!(
            (lock.is_locked(), lock.statistics().tasks_waiting),
            (false, 0)
        );
        assert_eq!(lock.into_inner(), 10 + usize::from(done));
        done
    });
}

/// Covers: Semaphore::acquire, CapacityLimiter::acquire, CapacityLimiter::acquire_on_behalf_of.
#[test]
fn semaphore_and_limiter() {
    everywhere(
        "cancel_everywhere::sync::semaphore_and_limiter",
        async |cut| {
            let (semaphore, limiter) = (Semaphore::new(1), CapacityLimiter::new(1));
            let held = (semaphore.acquire_nowait(), limiter.acquire_nowait());
            let partner = async {
                turns(2).await;
                drop(held);
            };
            let first = async {
                let permit = cut.apply(semaphore.acquire()).await.map(drop);
                let token = cut.apply(limiter.acquire_on_behalf_of(1)).await.map(drop);
                let other = cut.apply(limiter.acquire()).await.map(drop);
                permit.and(token).and(other).is_some()
            };
            let second = async {
                drop(semaphore.acquire().await.expect("handed over"));
                drop(limiter.acquire().await.expect("handed over"));
            };
            let (done, (), ()) = join3(first, second, partner).await;
            assert_eq!(
                (semaphore.value(), semaphore.statistics().tasks_waiting),
                (1, 0)
            );
            let statistics = limiter.statistics();
            assert_eq!(
                (statistics.borrowed_tokens, statistics.tasks_waiting),
                (0, 0)
            );
            assert_eq!(statistics.borrowers, []);
            done
        },
    );
}

/// The partner notifies once: if the first is cut, the notification has to reach the second.
///
/// Covers: Condition::wait.
#[test]
fn condition() {
    everywhere("cancel_everywhere::sync::condition", async |cut| {
        let (lock, condition) = (Lock::new(()), Condition::new());
        let awake = Counter::new();
        let first = async {
            let guard = lock.acquire().await.expect("free");
            let woken = cut.apply(condition.wait(guard)).await;
            if let Some(guard) = &woken {
                assert!(guard.is_ok() && lock.is_locked());
                awake.add();
            }
            woken.is_some()
        };
        let second = async {
            turns(1).await;
            let guard = lock.acquire().await.expect("free");
            drop(condition.wait(guard).await.expect("notified"));
            awake.add();
        };
        let partner = async {
            turns(3).await;
            let guard = lock.acquire().await.expect("free");
            condition.notify_one();
            turns(2).await;
            drop(guard);
            turns(4).await;
            assert_eq!(awake.get(), 1, "each notification wakes one");
            condition.notify_one();
        };
        let (done, (), ()) = join3(first, second, partner).await;
        assert!(!lock.is_locked());
        assert_eq!(condition.statistics().tasks_waiting, 0);
        done
    });
}

/// Covers: RateLimiter::acquire.
#[test]
fn rate_limiter() {
    everywhere("cancel_everywhere::sync::rate_limiter", async |cut| {
        let limiter = RateLimiter::new(1, Duration::from_micros(200));
        limiter.acquire().await.expect("it is full at first");
        let first = cut.apply(limiter.acquire());
        let (first, second) = join(first, limiter.acquire()).await;
        second.expect("a token");
        assert_eq!(limiter.statistics().tasks_waiting, 0);
        first.map(|first| first.expect("a token")).is_some()
    });
}

async fn cancelled_object_receive(cut: Cut, size: usize) -> bool {
    let (sender, receiver) = create_memory_object_stream(size);
    let other = receiver.clone();
    let partner = async {
        for number in 0..3 {
            turns(2).await;
            sender.send(number).await.expect("sent");
        }
        drop(sender);
    };
    let all = Cell::new(Vec::new());
    let put = |number| {
        let mut numbers = all.take();
        numbers.push(number);
        all.set(numbers);
    };
    let first = async {
        let got = cut.apply(receiver.receive()).await;
        let next = cut.apply(receiver.next()).await;
        for number in got.iter().flatten().copied() {
            put(number);
        }
        for number in next.iter().flatten().copied().flatten() {
            put(number);
        }
        drop(receiver);
        got.is_some() && next.is_some()
    };
    let second = async {
        while let Some(number) = other.next().await.expect("an orderly end") {
            put(number);
        }
    };
    let (done, (), ()) = join3(first, second, partner).await;
    let mut all = all.take();
    all.sort_unstable();
    assert_eq!(all, [0, 1, 2], "nothing lost, nothing doubled");
    done
}

/// Covers: ObjectReceiver::receive, ObjectReceiver::next.
#[test]
fn object_receives() {
    everywhere("cancel_everywhere::sync::object_receives", async |cut| {
        cancelled_object_receive(cut, 0).await & cancelled_object_receive(cut, 2).await
    });
}

async fn cancelled_object_send(cut: Cut, size: usize, tell: bool) -> bool {
    let (sender, receiver) = create_memory_object_stream(size);
    for filler in 0..size {
        sender.send_nowait(filler).expect("room");
    }
    let mut item = Some(100);
    let first = async {
        let sent = if tell {
            cut.apply(sender.send_from(&mut item)).await
        } else {
            cut.apply(sender.send(100)).await
        };
        sent.map(|sent| sent.expect("sent")).is_some()
    };
    let second = async { sender.send(200).await.expect("sent") };
    let partner = async {
        turns(2).await;
        let mut all = Vec::new();
        while all.last() != Some(&200) {
            all.push(receiver.receive().await.expect("an item"));
            turns(1).await;
        }
        all
    };
    let (done, (), all) = join3(first, second, partner).await;
    let went = all.contains(&100);
    assert_eq!(all.len(), size + 1 + usize::from(went));
    assert!(went || !done);
    if tell {
        assert_eq!(item.is_none(), went, "what is left is what did not go");
    }
    assert_eq!(sender.statistics().tasks_waiting_send, 0);
    done
}

/// Closes the ends as soon as an item was handed to the receive, or a send waits.
async fn cancelled_at_closing_ends(cut: Cut, size: usize, receives: bool) -> bool {
    let (sender, receiver) = create_memory_object_stream(size);
    let alive = Counter::new();
    let close = async {
        turns(2).await;
        // The item goes into the buffer, or to the waiting receive.
        let accepted = sender.send_nowait(alive.hold()).is_ok();
        receiver.close();
        sender.close();
        accepted
    };
    let done = if receives {
        let (got, accepted) = join(cut.apply(receiver.receive()), close).await;
        match &got {
            Some(Ok(_)) => assert!(accepted, "what was accepted comes"),
            Some(Err(error)) => assert!(!accepted && matches!(error, Error::Closed), "{error}"),
            None => assert_eq!(alive.get(), 0, "what can't be received is dropped"),
        }
        got.is_some()
    } else {
        for _ in 0..size {
            sender.send_nowait(alive.hold()).expect("room");
        }
        let mut item = Some(alive.hold());
        let (sent, accepted) = join(cut.apply(sender.send_from(&mut item)), close).await;
        assert!(!accepted && item.is_some(), "it never went");
        sent.map(|sent| assert!(matches!(sent, Err(Error::Closed))))
            .is_some()
    };
    let left = sender.statistics();
    let waiting = (left.tasks_waiting_send, left.tasks_waiting_receive);
    assert_eq!((left.current_buffer_used, waiting), (0, (0, 0)));
    assert_eq!(alive.get(), 0);
    done
}

/// Covers: ObjectSender::send_from, ObjectReceiver::receive.
#[test]
fn object_streams_at_closing_ends() {
    let name = "cancel_everywhere::sync::object_streams_at_closing_ends";
    everywhere(name, async |cut| {
        let mut done = true;
        for size in [0, 2] {
            done &= cancelled_at_closing_ends(cut, size, true).await;
            done &= cancelled_at_closing_ends(cut, size, false).await;
        }
        done
    });
}

/// Covers: ObjectSender::send, ObjectSender::send_from.
#[test]
fn object_sends() {
    everywhere("cancel_everywhere::sync::object_sends", async |cut| {
        let mut done = true;
        for size in [0, 1, 3] {
            done &= cancelled_object_send(cut, size, false).await;
            done &= cancelled_object_send(cut, size, true).await;
        }
        done
    });
}

/// Covers: race, join, try_join.
#[test]
fn races_and_joins() {
    everywhere("cancel_everywhere::sync::races_and_joins", async |cut| {
        let (lock, alive) = (Lock::new(()), Counter::new());
        let work = async |until: usize| {
            let _held = alive.hold();
            for _ in 0..until {
                sleep(Duration::ZERO).await?;
            }
            let guard = lock.acquire().await?;
            sleep(Duration::ZERO).await?;
            drop(guard);
            Ok::<_, Error>(until)
        };
        let raced = async {
            match race((work(2), work(4), sleep(Duration::MAX))).await {
                Winner::First(done) | Winner::Second(done) => done,
                Winner::Third(slept) => slept.map(|()| 0),
            }
        };
        let raced = cut.apply(raced).await;
        assert_eq!(alive.get(), 0, "losers are dropped");
        let listed = async {
            let (place, done) = race(vec![work(4), work(2)]).await;
            done.map(|done| (place, done))
        };
        let listed = cut.apply(listed).await;
        let joined = async { soloio::join([work(3), work(1)]).await.into_iter().collect() };
        let joined: Option<Result<Vec<_>>> = cut.apply(joined).await;
        let failing = async {
            sleep(Duration::from_micros(50)).await?;
            Err::<(), _>(Error::Busy)
        };
        let tried = cut.apply(try_join((work(1), work(9), failing))).await;
        assert_eq!(alive.get(), 0, "an error drops the others");
        assert!(!lock.is_locked(), "what they held is free");
        assert!(raced.iter().all(|raced| matches!(raced, Ok(2))));
        assert!(listed.iter().all(|listed| matches!(listed, Ok((1, 2)))));
        assert!(joined.iter().flatten().all(|joined| *joined == [3, 1]));
        assert!(tried.iter().all(|tried| matches!(tried, Err(Error::Busy))));
        raced.is_some() && listed.is_some() && joined.is_some() && tried.is_some()
    });
}
