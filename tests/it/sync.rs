//! Events, locks and conditions: order, hand-over, and properties of every operation that waits in
//! a line.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::{Pin, pin};
use std::process::{Command, Stdio};
use std::task::Poll;
use std::time::Duration;

use futures_util::future::join;
use futures_util::stream::{FuturesUnordered, StreamExt};
use soloio::{
    Condition, Error, Event, Lock, Result, Runtime, Semaphore, create_memory_object_stream,
    move_on_after, race, sleep, task_group, yield_now,
};

use crate::allocations;
use crate::net_support::{refused, run, turns};
use crate::support::{Wakes, poll_once, poll_with, quiet_panic};

#[test]
fn an_event_wakes_everybody_and_stays() {
    run(async {
        let (event, woken) = (Event::new(), Cell::new(0));
        task_group(async |group| {
            for _ in 0..5 {
                group.spawn(async {
                    event.wait().await?;
                    woken.set(woken.get() + 1);
                    Ok(())
                });
            }
            turns(1).await;
            assert_eq!((event.statistics().tasks_waiting, woken.get()), (5, 0));
            event.set();
            event.set();
            Ok(())
        })
        .await
        .expect("no error");
        assert_eq!((woken.get(), event.is_set()), (5, true));
        event.wait().await.expect("set for good");
    });
}

#[test]
fn a_lock_is_handed_over_in_order() {
    run(async {
        let (lock, order) = (Lock::new(()), RefCell::new(Vec::new()));
        task_group(async |group| {
            let guard = lock.acquire().await?;
            for name in 0..5 {
                let (lock, order) = (&lock, &order);
                group.spawn(async move {
                    let _guard = lock.acquire().await?;
                    order.borrow_mut().push(name);
                    yield_now().await
                });
            }
            turns(1).await;
            assert_eq!(lock.statistics().tasks_waiting, 5);
            drop(guard);
            // The lock belongs to the first in line already: `acquire_nowait` does not overtake.
            refused!(lock.acquire_nowait(), Error::WouldBlock);
            let last = lock.acquire().await?;
            assert_eq!(*order.borrow(), [0, 1, 2, 3, 4]);
            drop(last);
            lock.acquire_nowait().map(drop)
        })
        .await
        .expect("no error");
    });
}

#[test]
fn a_guard_is_a_value_and_only_its_drop_releases() {
    run(async {
        let lock = Lock::new(vec![1]);
        task_group(async |group| {
            let guard = lock.acquire().await?;
            let child = group.spawn(async move {
                // The task that the guard was moved to holds the lock.
                let mut guard = guard;
                guard.push(2);
                turns(2).await;
                Ok(guard.len())
            });
            assert!(lock.is_locked() && format!("{lock:?}").contains("<locked>"));
            assert_eq!(*lock.acquire().await?, [1, 2]);
            assert_eq!(child.await?, 2);
            Ok(())
        })
        .await
        .expect("no error");
    });
}

#[test]
fn acquiring_again_waits_for_oneself() {
    run(async {
        let lock = Lock::new(());
        let guard = lock.acquire().await.expect("free");
        let again = move_on_after(Duration::from_millis(5), lock.acquire()).await;
        assert!(again.expect("no error").is_none());
        drop(guard);
        drop(lock.acquire().await.expect("free"));
        // This is no error, because another future of the same task may hold the lock.
        let short = async {
            let _guard = lock.acquire().await.expect("free");
            turns(2).await;
        };
        let other = async { drop(lock.acquire().await.expect("handed over")) };
        join(short, other).await;
        // A task that the guard was moved to may hold it, too.
        task_group(async |group| {
            let guard = lock.acquire().await?;
            group.spawn(async move {
                turns(3).await;
                drop(guard);
                Ok(())
            });
            lock.acquire().await.map(drop)
        })
        .await
        .expect("no error");
    });
}

/// A hang without a message is hard to find: a debug build prints the likely cause.
#[test]
#[cfg_attr(
    not(all(debug_assertions, feature = "dump")),
    ignore = "only a debug build with `dump` prints it"
)]
fn a_task_that_waits_long_for_its_own_lock_says_so() {
    const MARK: &str = "SOLOIO_TEST_WAITS_FOR";
    const NAME: &str = "sync::a_task_that_waits_long_for_its_own_lock_says_so";
    let waits = async |own: bool| {
        let (lock, taken) = (Lock::new(()), Event::new());
        task_group(async |group| {
            let holds = async {
                let _guard = lock.acquire().await?;
                taken.set();
                match own {
                    true => lock.acquire().await.map(drop),
                    false => sleep(Duration::from_secs(60)).await,
                }
            };
            drop(group.spawn(holds));
            taken.wait().await?;
            let waited = move_on_after(Duration::from_millis(1_200), lock.acquire()).await?;
            assert!(waited.is_none(), "it is held");
            group.cancel();
            Ok(())
        })
        .await
        .expect("it was cancelled");
    };
    if let Some(own) = std::env::var_os(MARK) {
        return run(waits(own == "itself"));
    }
    let own = std::env::current_exe().expect("the path of the test binary");
    let started = ["itself", "another"].map(|mark| {
        let mut command = Command::new(&own);
        command
            .args(["--exact", NAME, "--nocapture"])
            .env(MARK, mark);
        let piped = command.stdout(Stdio::null()).stderr(Stdio::piped());
        piped.spawn().expect("the test binary starts")
    });
    let [itself, another] = started.map(|child| {
        let output = child.wait_with_output().expect("it ends");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stderr)
            .matches("that it took itself")
            .count()
    });
    assert_eq!((itself, another), (1, 0));
}

#[test]
fn a_panic_gives_the_lock_back() {
    let mut runtime = Runtime::new().expect("a runtime");
    let lock = Lock::new(3);
    let locked = std::panic::AssertUnwindSafe(&lock);
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        runtime.block_on(async {
            let locked = locked;
            let mut guard = locked.acquire().await.expect("free");
            *guard = 4;
            quiet_panic("while it is held");
        });
    }));
    assert!(panicked.is_err());
    assert_eq!(*lock.acquire_nowait().expect("free"), 4);
}

#[test]
fn a_condition_wakes_as_many_as_it_is_told() {
    run(async {
        let (lock, condition) = (Lock::new(0), Condition::new());
        task_group(async |group| {
            for _ in 0..5 {
                group.spawn(async {
                    let guard = lock.acquire().await?;
                    *condition.wait(guard).await? += 1;
                    Ok(())
                });
            }
            turns(1).await;
            for (count, woken) in [(0, 0), (1, 1), (2, 3)] {
                condition.notify(count);
                turns(3).await;
                assert_eq!(*lock.acquire().await?, woken);
                assert_eq!(condition.statistics().tasks_waiting, 5 - woken);
            }
            condition.notify_all();
            condition.notify_one();
            Ok(())
        })
        .await
        .expect("no error");
        assert_eq!(
            lock.into_inner(),
            5,
            "a notification that finds nobody is gone"
        );
    });
}

#[test]
fn a_condition_gives_the_lock_away_in_between() {
    run(async {
        let (lock, condition) = (Lock::new(Vec::new()), Condition::new());
        let consumer = async {
            let guard = lock.acquire().await?;
            let mut guard = condition.wait_for(guard, |list| list.len() >= 3).await?;
            Ok::<_, Error>(std::mem::take(&mut *guard))
        };
        let producer = async {
            for number in 0..3 {
                lock.acquire().await?.push(number);
                condition.notify_one();
                turns(1).await;
            }
            Ok::<_, Error>(())
        };
        let (got, produced) = join(consumer, producer).await;
        produced.expect("no error");
        assert_eq!(got.expect("no error"), [0, 1, 2]);
    });
}

#[test]
fn outside_a_runtime_there_is_no_waiting() {
    let polled = |future: Pin<&mut dyn Future<Output = Result<()>>>| {
        let Poll::Ready(result) = poll_with(future, std::task::Waker::noop()) else {
            panic!("it waits");
        };
        refused!(result, Error::NoRuntime);
    };
    let (lock, event) = (Lock::new(()), Event::new());
    let (sender, receiver) = create_memory_object_stream(1);
    polled(pin!(async { lock.acquire().await.map(drop) }));
    polled(pin!(event.wait()));
    polled(pin!(sender.send(1)));
    polled(pin!(async { receiver.receive().await.map(drop) }));
    // Operations that do not wait work everywhere.
    event.set();
    sender.send_nowait(2).expect("room");
    assert_eq!(receiver.receive_nowait().expect("an item"), 2);
    drop(lock.acquire_nowait().expect("free"));
}

/// W2: a future that moves to another task wakes that task.
#[test]
fn the_last_waker_counts() {
    run(async {
        let lock = Lock::new(());
        let guard = lock.acquire().await.expect("free");
        let mut waiting = pin!(lock.acquire());
        let wakers = [Wakes::new(), Wakes::new()];
        for wakes in &wakers {
            let waker = std::sync::Arc::clone(wakes).into();
            assert!(poll_with(waiting.as_mut(), &waker).is_pending());
        }
        drop(guard);
        assert_eq!(wakers.map(|wakes| wakes.count()), [0, 1]);
        drop(waiting.await.expect("handed over"));
    });
}

#[test]
fn inside_foreign_combinators() {
    run(async {
        let (lock, semaphore) = (Lock::new(0), Semaphore::new(2));
        let work = async || {
            let _permit = semaphore.acquire().await?;
            let mut guard = lock.acquire().await?;
            yield_now().await?;
            *guard += 1;
            Ok::<_, Error>(())
        };
        let mut all: FuturesUnordered<_> = (0..20).map(|_| work()).collect();
        while let Some(done) = all.next().await {
            done.expect("no error");
        }
        drop(all);
        assert_eq!(lock.into_inner(), 20);
    });
}

/// Futurelock (Oxide's RFD 609): a future that exists, but is not polled, keeps the lock it was
/// handed.
#[test]
fn a_race_leaves_no_lock_with_a_future_that_is_not_polled() {
    run(async {
        let lock = Lock::new(());
        let guard = lock.acquire().await.expect("free");
        let mut kept = Box::pin(lock.acquire());
        assert!(poll_once(kept.as_mut()).await.is_pending());
        drop(guard);
        let soon = Duration::from_millis(2);
        let locked = move_on_after(soon, lock.acquire()).await;
        assert!(
            locked.expect("no error").is_none(),
            "the trap, as documented"
        );
        drop(kept);

        let guard = lock.acquire().await.expect("the turn was passed on");
        let tick = async {
            turns(1).await;
            drop(guard);
        };
        race((async { drop(lock.acquire().await) }, tick)).await;
        drop(lock.acquire().await.expect("nobody keeps it"));
    });
}

#[test]
fn waiting_allocates_nothing_in_steady_state() {
    run(async {
        let lock = Lock::new(());
        let (ping, pinged) = create_memory_object_stream(1);
        let (pong, ponged) = create_memory_object_stream(0);
        let counted = task_group(async |group| {
            let partner = group.spawn(async {
                while let Some(number) = pinged.next().await? {
                    let guard = lock.acquire().await?;
                    yield_now().await?;
                    drop(guard);
                    pong.send(number).await?;
                }
                Ok(())
            });
            let mut made = Vec::with_capacity(2);
            for rounds in [100, 1000] {
                let before = allocations::made();
                for number in 0..rounds {
                    ping.send(number).await?;
                    yield_now().await?;
                    drop(lock.acquire().await?);
                    assert_eq!(ponged.receive().await?, number);
                }
                made.push(allocations::made() - before);
            }
            ping.close();
            partner.await?;
            Ok(made)
        });
        let made = counted.await.expect("no error");
        assert_eq!(made[1], 0, "after {} to begin with", made[0]);
    });
}
