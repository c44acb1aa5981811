//! The memory of a busy moment is released when it is over, by every container.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use futures_util::future::join_all;
use soloio::{
    Buffered, CancelScope, CapacityLimiter, Event, Lock, ThreadEvent, create_memory_byte_stream,
    create_memory_object_stream, fail_after, move_on_after, sleep, task_group,
};

use crate::allocations::held;
use crate::net_support::{run, turns};
use crate::support::{Random, poll_once};

const MANY: usize = 20_000;

/// The most that may remain after a spike of half a megabyte or more: a few KB for each container.
const LEFT: usize = 64 << 10;

/// Runs a busy moment, and checks the memory left. A small one before it makes the lasting parts.
async fn is_given_back(what: &str, spike: impl AsyncFn(usize)) {
    spike(10).await;
    turns(2).await;
    let before = held();
    spike(MANY).await;
    turns(2).await;
    let left = held().saturating_sub(before);
    assert!(left <= LEFT, "{what}: {left} bytes are left");
}

type Waiting<'a> = Vec<Pin<Box<dyn Future<Output = ()> + 'a>>>;

/// Returns this many futures that were polled, and wait.
async fn waiting<'a, F>(count: usize, one: impl Fn(usize) -> F) -> Waiting<'a>
where
    F: Future<Output = ()> + 'a,
{
    let mut all: Waiting<'a> = Vec::new();
    for n in 0..count {
        let mut future = Box::pin(one(n));
        assert!(poll_once(future.as_mut()).await.is_pending());
        all.push(future);
        if n % 100 == 0 {
            // Turns the loop, so that the budget lasts until each of them waits.
            turns(1).await;
        }
    }
    all
}

/// Drops them in another order than they came in.
fn drop_mixed(mut all: Waiting<'_>) {
    let mut random = Random::new(7);
    while !all.is_empty() {
        drop(all.swap_remove(random.below(all.len())));
    }
}

#[test]
fn object_streams() {
    run(async {
        let (sender, receiver) = create_memory_object_stream(usize::MAX);
        is_given_back("items", async |count| {
            (0..count).for_each(|n| sender.send_nowait([n; 4]).expect("room"));
            for n in 0..count {
                assert_eq!(receiver.receive().await.expect("an item"), [n; 4]);
            }
        })
        .await;
        is_given_back("receives that wait", async |count| {
            let receive = async |_| drop(receiver.receive().await);
            drop_mixed(waiting(count, receive).await);
        })
        .await;
        let (sender, receiver) = create_memory_object_stream(0);
        is_given_back("sends that wait", async |count| {
            let sends = waiting(count, async |n| sender.send([n; 4]).await.expect("sent")).await;
            for n in 0..count / 2 {
                assert_eq!(receiver.receive_nowait().expect("an item"), [n; 4]);
            }
            drop_mixed(sends);
        })
        .await;
    });
}

#[test]
fn byte_streams() {
    run(async {
        let (ours, theirs) = create_memory_byte_stream(usize::MAX);
        is_given_back("a memory byte stream", async |count| {
            ours.send(&vec![0; 100 * count]).await.expect("room");
            let mut left = 100 * count;
            while left > 0 {
                left -= theirs.receive().await.expect("bytes").len();
            }
        })
        .await;
        let mut buffered = Buffered::new(theirs);
        let before = held();
        buffered.feed_data(&vec![7; 4 << 20]);
        for most in [(4 << 20) - 1_000, 998] {
            let got = buffered.receive_exactly(most).await.expect("bytes");
            assert_eq!(got.len(), most);
        }
        let left = held() - before;
        assert!(left <= LEFT, "for two bytes: {left}");
        assert_eq!(buffered.buffer(), [7; 2]);
    });
}

#[test]
fn tasks_with_names_and_scopes() {
    run(async {
        task_group(async |group| {
            is_given_back("tasks", async |count| {
                let all: Vec<_> = (0..count)
                    .map(|n| {
                        let task = group.spawn(async {
                            let held = fail_after(Duration::MAX, sleep(Duration::MAX)).await;
                            assert!(held.is_err());
                            Ok(())
                        });
                        task.named(if n % 2 == 0 { "even" } else { "odd" })
                    })
                    .collect();
                turns(3).await;
                all.iter().for_each(|task| task.cancel());
                for task in all {
                    drop(task.await);
                }
            })
            .await;
            is_given_back("groups", async |count| {
                let groups = waiting(count, async |_| {
                    let ended = task_group(async |_| sleep(Duration::MAX).await).await;
                    ended.expect("never");
                });
                drop_mixed(groups.await);
            })
            .await;
        })
        .await
        .expect("all are well");
    });
}

#[test]
fn timers_and_scopes() {
    run(async {
        is_given_back("timers", async |count| {
            // Timers of a few lengths, and timers in no order.
            let limit = |n| match n % 3 {
                0 => 1_000,
                1 => 2_000,
                _ => 100_000 - 7 * n as u64 % 10_007,
            };
            let sleeps = waiting(count, async |n| {
                let slept = sleep(Duration::from_secs(limit(n))).await;
                slept.expect("never");
            });
            drop_mixed(sleeps.await);
        })
        .await;
        is_given_back("runs of a scope", async |count| {
            let scope = CancelScope::new();
            let runs = waiting(count, async |_| {
                let around = async { sleep(Duration::MAX).await };
                let ended = scope
                    .run(move_on_after(Duration::from_secs(1_000), around))
                    .await;
                assert!(ended.is_some());
            });
            let runs = runs.await;
            scope.cancel("enough");
            join_all(runs).await;
        })
        .await;
    });
}

#[test]
fn lines_of_waiters() {
    run(async {
        let (event, lock, limiter) = (Event::new(), Lock::new(()), CapacityLimiter::new(0));
        let foreign = ThreadEvent::new();
        is_given_back("an event", async |count| {
            drop_mixed(waiting(count, async |_| event.wait().await.expect("never")).await);
        })
        .await;
        is_given_back("an event of threads", async |count| {
            drop_mixed(waiting(count, async |_| foreign.wait().await.expect("never")).await);
        })
        .await;
        is_given_back("a limiter", async |count| {
            drop_mixed(waiting(count, async |_| drop(limiter.acquire().await)).await);
        })
        .await;
        is_given_back("a lock that is handed on", async |count| {
            let held = lock.acquire().await.expect("free");
            let all = waiting(count, async |_| {
                drop(lock.acquire().await.expect("in turn"))
            })
            .await;
            drop(held);
            for one in all {
                one.await;
            }
        })
        .await;
    });
}

/// The futures of a combinator have wakers of their own, which are collected in each turn.
#[test]
fn wakes_of_combinators() {
    run(async {
        is_given_back("timers that fire", async |count| {
            let all = (0..count).map(|_| sleep(Duration::from_millis(1)));
            for slept in join_all(all).await {
                slept.expect("in a runtime");
            }
        })
        .await;
    });
}
