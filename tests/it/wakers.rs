//! Wakes, from this thread and from others (failure modes W1 to W8).

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use futures_util::future::{join_all, select};
use futures_util::stream::{FuturesUnordered, StreamExt};
use soloio::{Error, Runtime, block_on, sleep, task_group};

use crate::foreign_loop::readable;
use crate::support::{
    Counter, Gate, Wakes, counted, deadline, forever, give_way, own_waker, poll_once, poll_with,
    rounds, until_woken,
};

/// W1, smol#122, tokio#525 and #8222: a wake between "nothing to do" and the wait is not lost. The
/// thread wakes the loop once per round and waits for its answer, so that a lost wake hangs. Fewer
/// rounds where other programs have the processors: each is two changes of the thread then.
#[test]
fn w1_a_million_wakes_of_a_sleeping_loop_and_none_is_lost() {
    let _deadline = deadline();
    let (asked, answered) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (to_firing, waker) = channel::<Waker>();
    let (question, answer) = (Arc::clone(&asked), Arc::clone(&answered));
    let total = rounds(1_000_000);
    let firing = thread::spawn(move || {
        let waker = waker.recv().expect("a waker");
        let begun = Instant::now();
        let enough = |round| round == total || begun.elapsed() > Duration::from_secs(20);
        for round in 1.. {
            let last = if enough(round) { LAST } else { 0 };
            question.store(round | last, Ordering::Release);
            waker.wake_by_ref();
            let mut spins = 0;
            while answer.load(Ordering::Acquire) != round | last {
                std::hint::spin_loop();
                spins += 1;
                if round % 64 == 0 || spins > 10_000 {
                    thread::yield_now();
                }
            }
            if last == LAST {
                break;
            }
        }
    });
    block_on(async {
        to_firing.send(own_waker().await).expect("the thread lives");
        poll_fn(|_| {
            let round = asked.load(Ordering::Acquire);
            answered.store(round, Ordering::Release);
            match round & LAST {
                0 => Poll::Pending,
                _ => Poll::Ready(()),
            }
        })
        .await;
    });
    firing.join().expect("no wake panics");
}

/// In the number of a round: there is no other one.
const LAST: usize = 1 << (usize::BITS - 1);

/// W1 with children of a group, several threads, and wakes that come while the loop is busy.
#[test]
fn w1_wakes_of_many_tasks_by_many_threads_all_arrive() {
    let _deadline = deadline();
    const TASKS: usize = 8;
    let total = rounds(100_000);
    let given: Vec<_> = (0..TASKS).map(|_| Arc::new(AtomicUsize::new(0))).collect();
    let seen = Counter::new();
    block_on(task_group(async |group| {
        for given in &given {
            group.spawn(async {
                let waker = own_waker().await;
                let theirs = Arc::clone(given);
                thread::spawn(move || {
                    for _ in 0..total {
                        theirs.fetch_add(1, Ordering::Release);
                        waker.wake_by_ref();
                    }
                });
                poll_fn(|_| match given.load(Ordering::Acquire) == total {
                    true => Poll::Ready(()),
                    false => Poll::Pending,
                })
                .await;
                seen.add();
            });
        }
    }))
    .expect("no child fails");
    assert_eq!(seen.get(), TASKS);
}

/// W2, smol#122, tokio#7834: one ring ends one wait, and does not repeat.
#[test]
fn w2_a_ring_is_heard_once() {
    let _deadline = deadline();
    let mut runtime = Runtime::new().expect("a runtime");
    let polls = Counter::new();
    let (to_firing, waker) = channel::<Waker>();
    let task = runtime.spawn(counted(polls.clone(), async move {
        to_firing.send(own_waker().await).expect("somebody listens");
        forever().await;
    }));
    runtime.turn(Some(Duration::ZERO)).expect("a turn");
    let waker = waker.recv().expect("a waker");
    for round in 0..1_000 {
        let waker = waker.clone();
        thread::scope(|scope| {
            scope.spawn(move || (0..5).for_each(|_| waker.wake_by_ref()));
        });
        assert!(readable(&runtime, Duration::ZERO), "round {round}");
        runtime.turn(None).expect("a turn");
        assert!(
            !readable(&runtime, Duration::ZERO),
            "round {round}: it rings on"
        );
        assert_eq!(runtime.next_timeout(), None);
        assert_eq!(polls.get(), round + 2, "five wakes are one poll");
    }
    task.cancel();
}

/// W3, mio's waker contract, tokio#6148: a wake of a loop that has ended does nothing.
#[test]
fn w3_wakes_after_the_loop_is_gone_do_nothing() {
    let mut runtime = Runtime::new().expect("a runtime");
    let own = runtime.block_on(own_waker());
    let child = runtime.block_on(task_group(async |group| {
        group.spawn(async { Ok(own_waker().await) }).await
    }));
    let wakers = [own, child.expect("a waker")];
    drop(runtime);
    thread::scope(|scope| {
        for _ in 0..100 {
            scope.spawn(|| wakers.iter().for_each(|waker| waker.wake_by_ref()));
        }
    });
    wakers.into_iter().for_each(Waker::wake);
}

/// W4, async-io "Always use the last waker", Phala#1282: a future that was polled with two wakers
/// wakes the second.
#[test]
fn w4_the_last_waker_is_the_one_that_is_woken() {
    let _deadline = deadline();
    block_on(task_group(async |group| {
        let gate = std::rc::Rc::new(Gate::default());
        let child = std::rc::Rc::clone(&gate);
        let handle = group.spawn(async move { child.wait().await });
        let inner = std::rc::Rc::clone(&gate);
        let inner = task_group(async move |group| {
            group.spawn(async move { inner.wait().await });
        });
        let (mut sleep, mut handle) = (pin!(sleep(Duration::from_millis(1))), pin!(handle));
        let mut inner = pin!(inner);
        let (first, last) = (Wakes::new(), Wakes::around(&own_waker().await));
        for wakes in [&first, &last] {
            let waker = Waker::from(Arc::clone(wakes));
            assert!(poll_with(sleep.as_mut(), &waker).is_pending());
            assert!(poll_with(handle.as_mut(), &waker).is_pending());
            assert!(poll_with(inner.as_mut(), &waker).is_pending());
        }
        gate.open();
        assert_eq!(
            last.count(),
            1,
            "the group's child was woken, and the group with it"
        );
        give_way().await;
        assert_eq!(last.count(), 2, "the child of the handle is done");
        while last.count() < 3 {
            // The timer wakes this task through the last waker.
            until_woken().await;
        }
        assert_eq!(first.count(), 0);
        inner.await?;
        handle.await?;
        sleep.await
    }))
    .expect("no child fails");
}

/// W7, tokio#8260 #3652, anyio#1170: a join that is dropped after its wake loses no result.
#[test]
fn w7_a_join_that_is_dropped_after_its_wake_leaves_the_result() {
    block_on(task_group(async |group| {
        let mut handle = pin!(group.spawn(async { Ok(11) }));
        {
            let wait = pin!(poll_fn(|cx| handle.as_mut().poll(cx)));
            assert!(poll_once(wait).await.is_pending());
            give_way().await;
        }
        assert!(handle.is_finished());
        assert_eq!(handle.await?, 11);
        Ok(())
    }))
    .expect("no child fails");
}

/// W8, staticgc/taskwait#1: two wakes at once do not cancel out.
#[test]
fn w8_children_that_end_together_are_all_counted() {
    block_on(async {
        for children in 1..100 {
            let ended = Counter::new();
            let gate = Gate::default();
            task_group(async |group| {
                for _ in 0..children {
                    group.spawn(async {
                        gate.wait().await;
                        ended.add();
                    });
                }
                give_way().await;
                gate.open();
            })
            .await?;
            assert_eq!(ended.get(), children);
        }
        Ok::<_, Error>(())
    })
    .expect("no child fails");
}

/// Protocol 1: a group inside a combinator that polls only the futures its own wakers name.
#[test]
fn groups_inside_combinators_are_woken_through_them() {
    let _deadline = deadline();
    let group = |n: u64| {
        task_group(async move |group| {
            let inner = group.spawn(async move {
                sleep(Duration::from_micros(n * 50)).await?;
                task_group(async |inner| inner.spawn(async move { Ok(n) }).await).await
            });
            sleep(Duration::from_micros(300 - n * 50)).await?;
            inner.await
        })
    };
    block_on(async {
        let mut each: FuturesUnordered<_> = (0..6).map(group).collect();
        let mut sum = 0;
        while let Some(n) = each.next().await {
            sum += n?;
        }
        assert_eq!(sum, 15);
        let all: Result<Vec<_>, _> = join_all((0..6).map(group)).await.into_iter().collect();
        assert_eq!(all?.len(), 6);
        let many: Result<Vec<_>, _> = join_all((0..100).map(|n| group(n % 6)))
            .await
            .into_iter()
            .collect();
        assert_eq!(many?.len(), 100);
        let (first, second) = (pin!(group(1)), pin!(group(5)));
        let (first, rest) = select(first, second).await.factor_first();
        assert!(matches!((first?, rest.await?), (1, 5) | (5, 1)));
        Ok::<_, Error>(())
    })
    .expect("no operation fails");
}

/// Protocol 1: a foreign waker around the group is called once per wake, with nothing borrowed.
#[test]
fn a_foreign_parent_is_woken_when_a_child_is() {
    let gate = Gate::default();
    let polls = RefCell::new(Counter::new());
    block_on(async {
        let mut group = pin!(task_group(async |group| {
            for _ in 0..3 {
                group.spawn(counted(polls.borrow().clone(), gate.wait()));
            }
        }));
        let wakes = Wakes::new();
        let waker = Waker::from(Arc::clone(&wakes));
        assert!(poll_with(group.as_mut(), &waker).is_pending());
        assert!(poll_with(group.as_mut(), &waker).is_pending());
        assert_eq!((wakes.count(), polls.borrow().get()), (0, 3));
        gate.open();
        assert_eq!(wakes.count(), 1, "three children, one wake");
        assert!(poll_with(group.as_mut(), &waker).is_ready());
        assert_eq!((wakes.count(), polls.borrow().get()), (1, 6));
    });
}
