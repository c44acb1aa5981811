//! The memory of a busy moment is released when it is over, by every container. Long because each
//! of them has its test.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use futures_util::future::join_all;
use soloio::{
    Buffered, CancelScope, CapacityLimiter, Condition, Event, Lock, Runtime, Semaphore,
    ThreadEvent, create_memory_byte_stream, create_memory_object_stream, fail_after, move_on_after,
    sleep, task_group,
};

use crate::allocations::held;
#[cfg(feature = "threads")]
use crate::allocations::held_by_all;
#[cfg(all(feature = "full", any(feature = "ring", feature = "aws-lc-rs")))]
use crate::net_support::polled;
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

#[test]
fn semaphores_and_conditions() {
    run(async {
        let semaphore = Semaphore::new(0);
        is_given_back("a semaphore", async |count| {
            drop_mixed(waiting(count, async |_| drop(semaphore.acquire().await)).await);
        })
        .await;
        is_given_back("a semaphore that is handed on", async |count| {
            let one = async |_| semaphore.acquire().await.expect("in turn").forget();
            let all = waiting(count, one).await;
            semaphore.add(count).expect("few");
            join_all(all).await;
        })
        .await;
        let (lock, condition) = (Lock::new(()), Condition::new());
        let one = async |_| {
            let guard = lock.acquire().await.expect("free");
            drop(condition.wait(guard).await.expect("notified"));
        };
        is_given_back("a condition", async |count| {
            drop_mixed(waiting(count, one).await);
        })
        .await;
        is_given_back("a condition that was notified", async |count| {
            let all = waiting(count, one).await;
            condition.notify_all();
            join_all(all).await;
        })
        .await;
    });
}

#[cfg(feature = "extras")]
#[test]
fn rate_limiters() {
    run(async {
        let limiter = soloio::RateLimiter::new(1, Duration::from_secs(3600)).initial_tokens(0);
        is_given_back("a rate limiter", async |count| {
            drop_mixed(waiting(count, async |_| limiter.acquire().await.expect("never")).await);
        })
        .await;
    });
}

#[test]
fn tasks_of_a_runtime() {
    let mut runtime = Runtime::new().expect("a runtime");
    let mut busy = |count| {
        let all: Vec<_> = (0..count)
            .map(|_| runtime.spawn(async { sleep(Duration::from_millis(1)).await }))
            .collect();
        for slept in runtime.block_on(join_all(all)) {
            slept.expect("ended").expect("slept");
        }
    };
    busy(10);
    let before = held();
    busy(MANY);
    let left = held().saturating_sub(before);
    assert!(left <= LEFT, "{left} bytes are left");
}

#[cfg(feature = "threads")]
#[test]
fn posts_to_a_loop() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    run(async {
        let handle = soloio::loop_handle().expect("in a runtime");
        is_given_back("posts", async |count| {
            let done = Arc::new(AtomicUsize::new(0));
            for _ in 0..count {
                let done = Arc::clone(&done);
                let post = move || {
                    done.fetch_add(1, Relaxed);
                };
                handle.post(post).expect("it is open");
            }
            while done.load(Relaxed) < count {
                turns(1).await;
            }
        })
        .await;
    });
}

/// The jobs that wait for a thread of the pool.
#[cfg(feature = "threads")]
#[test]
fn jobs_in_line() {
    use std::sync::{Arc, Mutex, mpsc};

    let test = "spikes::jobs_in_line";
    crate::support::alone(test, || {
        run(async {
            let spike = async |count| {
                let (open, door) = mpsc::channel::<()>();
                let door = Arc::new(Mutex::new(door));
                let one = async |_| {
                    let door = Arc::clone(&door);
                    let job = move || door.lock().expect("no panic").recv().is_err();
                    assert!(soloio::run_in_thread(job).await.expect("it ran"));
                };
                let all = waiting(count, one).await;
                drop(open);
                join_all(all).await;
            };
            // All threads of the pool have been there.
            spike(100).await;
            let before = held_by_all();
            spike(MANY).await;
            turns(2).await;
            let left = held_by_all().saturating_sub(before);
            assert!(left <= LEFT, "{left} bytes are left");
        });
    });
}

/// Each socket has received one of several datagrams that the kernel has merged, and holds the
/// others.
#[cfg(all(feature = "full", target_os = "linux"))]
#[test]
fn datagrams_in_store() {
    use soloio::{UdpSocket, create_udp_socket};

    const SOCKETS: usize = 50;
    run(async {
        let sockets: Vec<UdpSocket> = (0..SOCKETS)
            .map(|_| {
                let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
                let merges = crate::kernel::set_option(&socket, libc::SOL_UDP, libc::UDP_GRO, 1);
                merges.expect("an option");
                UdpSocket::try_from(socket).expect("adopted")
            })
            .collect();
        let sender = create_udp_socket().local_host("127.0.0.1").await;
        let sender = sender.expect("a socket");
        let most = std::cell::Cell::new(0);
        is_given_back("datagrams", async |count| {
            let sockets = &sockets[..SOCKETS.min(count)];
            let before = held();
            for socket in sockets {
                let mut rest = &[7; 10_000][..];
                let sent = sender.send_segments(&mut rest, 1_000, socket.local_addr());
                sent.await.expect("sent");
                assert_eq!(socket.receive().await.expect("sent").0, [7; 1_000]);
            }
            most.set(held() - before);
            for socket in sockets {
                for _ in 1..10 {
                    assert_eq!(socket.receive().await.expect("sent").0, [7; 1_000]);
                }
            }
        })
        .await;
        assert!(most.get() > 8 * LEFT, "the sockets held {most:?}");
    });
}

#[cfg(all(feature = "full", any(feature = "ring", feature = "aws-lc-rs")))]
#[test]
fn tls_that_waits_for_its_peer() {
    run(async {
        let pair = create_memory_byte_stream(usize::MAX);
        let (client, server) = crate::tls_support::tls_over(pair, true).await;
        is_given_back("TLS", async |count| {
            client.send(&vec![7; 25 * count]).await.expect("room");
            let mut left = 25 * count;
            while left > 0 {
                left -= server.receive().await.expect("bytes").len();
            }
        })
        .await;
        let (client, server) =
            crate::tls_support::tls_over(create_memory_byte_stream(1_000), true).await;
        is_given_back("TLS that has no room", async |count| {
            // Cancelled: what it was given stays until the peer takes it.
            let data = vec![7; 25 * count];
            let mut rest = &data[..];
            let sent = polled(20, client.send_from(&mut rest)).await;
            assert_eq!(sent.is_none(), count == MANY);
            let send = async { client.send(rest).await.expect("sent") };
            let receive = async {
                let mut left = data.len();
                while left > 0 {
                    left -= server.receive().await.expect("bytes").len();
                }
            };
            futures_util::future::join(send, receive).await;
        })
        .await;
    });
}
