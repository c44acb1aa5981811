//! The executor: order, budget, stale wakers, shutdown (failure modes E1 to E14).
//!
//! Long because each failure mode has its test here.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::panic::catch_unwind;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

use futures_util::future::{join_all, select};
use soloio::{
    Error, Runtime, TaskGroup, TaskHandle, block_on, connect_tcp, create_tcp_listener, fail_after,
    move_on_after, sleep, task_group, try_block_on, yield_now,
};
use static_assertions::{assert_impl_all, assert_not_impl_any};

use crate::support::{
    Counter, Gate, OnDrop, alone, counted, deadline, fds, forever, give_way, message, own_waker,
    resident, rounds, sanitized, threads,
};

// E5: a value that drops a task in its drop can't leave its thread.
assert_not_impl_any!(TaskHandle<'static, ()>: Send, Sync);
assert_not_impl_any!(TaskGroup<'static, 'static>: Send, Sync);
assert_not_impl_any!(Runtime: Send, Sync);
assert_impl_all!(Error: Send, Sync);

/// E1, smol-rs/async-executor#163: a waker fires elsewhere while the executor is dropped.
#[test]
fn e1_wakers_fire_on_another_thread_while_the_runtime_ends() {
    let _deadline = deadline();
    let (to_firing, wakers) = channel::<Waker>();
    let firing = thread::spawn(move || {
        for waker in wakers {
            for _ in 0..8 {
                waker.wake_by_ref();
            }
            drop(waker);
        }
    });
    for round in 0..rounds(50_000) {
        block_on(async {
            to_firing.send(own_waker().await).expect("the thread lives");
            if round % 2 == 0 {
                yield_now().await?;
            }
            Ok::<_, Error>(())
        })
        .expect("no operation fails");
    }
    drop(to_firing);
    firing.join().expect("no wake panics");
}

/// E2, udoprog/unicycle#27: an old waker woke the wrong task. Here the number has a generation.
#[test]
fn e2_wakers_of_ended_tasks_poll_nobody() {
    let _deadline = deadline();
    let stale = RefCell::new(Vec::new());
    let (polls, ended) = (Counter::new(), Gate::default());
    let (mut before, mut after) = (0, 0);
    block_on(task_group(async |group| {
        for _ in 0..100_000 {
            group.spawn(async {
                let waker = own_waker().await;
                stale.borrow_mut().push(waker);
            });
        }
        // The tasks run in order: when the last handle is ready, all have run.
        group.spawn(async {}).await?;
        assert_eq!(stale.borrow().len(), 100_000);
        for _ in 0..1_000 {
            group.spawn(counted(polls.clone(), ended.wait()));
        }
        group.spawn(async {}).await?;
        before = polls.get();
        stale.borrow().iter().for_each(Waker::wake_by_ref);
        let others = stale.take();
        let elsewhere = thread::spawn(move || others.into_iter().for_each(Waker::wake));
        elsewhere.join().expect("no wake panics");
        for _ in 0..3 {
            sleep(Duration::ZERO).await?;
        }
        after = polls.get();
        ended.open();
        Ok(())
    }))
    .expect("no child fails");
    assert_eq!(
        (before, after),
        (1_000, 1_000),
        "polls of tasks that nobody woke"
    );
}

/// E2: a waker of an ended runtime does no harm to the next runtime in its place.
#[test]
fn e2_wakers_of_ended_runtimes_harm_nobody() {
    let stale: Vec<Waker> = (0..1_000).map(|_| block_on(own_waker())).collect();
    let mut runtime = Runtime::new().expect("a runtime");
    let polls = Counter::new();
    let done = runtime.block_on(counted(polls.clone(), async {
        stale.iter().for_each(Waker::wake_by_ref);
        thread::scope(|scope| {
            scope.spawn(|| stale.iter().for_each(Waker::wake_by_ref));
        });
        sleep(Duration::from_millis(1)).await
    }));
    done.expect("a sleep");
    assert_eq!(
        polls.get(),
        2,
        "the first, and that at the end of the sleep"
    );
}

/// E3, nginx/ngx-rust#294: a wake only lists the task; it never polls on the waker's stack.
#[test]
fn e3_a_wake_polls_nobody_on_the_spot() {
    let cell = RefCell::new(0);
    let (waker, waits) = (RefCell::new(None::<Waker>), Gate::default());
    block_on(task_group(async |group| {
        group.spawn(async {
            *waker.borrow_mut() = Some(own_waker().await);
            waits.wait().await;
            *cell.borrow_mut() += 1;
        });
        give_way().await;
        // The guard's drop wakes the other task while the cell is borrowed.
        let guard = OnDrop(|| {
            let held = cell.borrow_mut();
            waits.open();
            waker.borrow().iter().for_each(Waker::wake_by_ref);
            drop(held);
        });
        group.spawn(async move { drop(guard) });
    }))
    .expect("no child fails");
    assert_eq!(cell.into_inner(), 1);
}

/// E5, RUSTSEC-2021-0072 (tokio#3929): a task that is cancelled while other threads wake it is
/// dropped on its own thread.
#[test]
fn e5_a_cancelled_task_is_dropped_on_its_own_thread() {
    let _deadline = deadline();
    for _ in 0..rounds(500) {
        let home = thread::current().id();
        let here = Cell::new(false);
        let (to_firing, waker) = channel();
        block_on(task_group(async |group| {
            let child = group.spawn(async {
                let _guard = OnDrop(|| here.set(thread::current().id() == home));
                to_firing.send(own_waker().await).expect("somebody listens");
                forever().await;
            });
            give_way().await;
            let waker: Waker = waker.recv().expect("the child has run");
            let stop = AtomicBool::new(false);
            thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        while !stop.load(Ordering::Relaxed) {
                            waker.wake_by_ref();
                        }
                    });
                }
                child.cancel();
                stop.store(true, Ordering::Relaxed);
            });
            assert!(matches!(child.await, Err(Error::Cancelled)));
        }))
        .expect("a cancelled child is no error");
        assert!(here.get());
    }
}

/// E6, tokio#7589: a poll sees the stores made before its wake.
#[test]
fn e6_a_poll_sees_what_was_written_before_its_wake() {
    let _deadline = deadline();
    for _ in 0..rounds(5_000) {
        let flags = Arc::new([AtomicBool::new(false), AtomicBool::new(false)]);
        block_on(async {
            let waker = own_waker().await;
            for at in 0..2 {
                let (flags, waker) = (Arc::clone(&flags), waker.clone());
                thread::spawn(move || {
                    flags[at].store(true, Ordering::Relaxed);
                    waker.wake();
                });
            }
            // Hangs if a wake is lost, or if the store before it is not seen.
            poll_fn(
                |_| match flags.iter().all(|flag| flag.load(Ordering::Relaxed)) {
                    true => Poll::Ready(()),
                    false => Poll::Pending,
                },
            )
            .await;
        });
    }
}

/// E8, tokio#2160 #5686 #6237, monoio-rs/monoio#3: tasks that are always ready starve neither
/// timers nor wakes from other threads.
#[test]
fn e8_busy_tasks_starve_neither_timers_nor_other_threads() {
    let _deadline = deadline();
    let stop = Cell::new(false);
    block_on(task_group(async |group| {
        for _ in 0..3 {
            group.spawn(async {
                while !stop.get() {
                    yield_now().await?;
                }
                Ok(())
            });
        }
        sleep(Duration::from_millis(5)).await?;
        let waker = own_waker().await;
        let rung = Arc::new(AtomicBool::new(false));
        let ring = Arc::clone(&rung);
        thread::spawn(move || {
            ring.store(true, Ordering::SeqCst);
            waker.wake();
        });
        poll_fn(|_| match rung.load(Ordering::SeqCst) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        })
        .await;
        stop.set(true);
        Ok(())
    }))
    .expect("no child fails");
}

/// E9, tokio#5712: a task woken during its own poll goes to the end of the queue.
#[test]
fn e9_tasks_that_wake_themselves_take_turns() {
    let counts = [const { Cell::new(0_u32) }; 3];
    block_on(task_group(async |group| {
        for count in &counts {
            group.spawn(async {
                for _ in 0..10_000 {
                    count.set(count.get() + 1);
                    let all = counts.each_ref().map(Cell::get);
                    let (most, least) = (all.iter().max(), all.iter().min());
                    assert!(
                        most.zip(least)
                            .is_some_and(|(most, least)| most - least <= 1)
                    );
                    give_way().await;
                }
            });
        }
    }))
    .expect("no child fails");
}

/// E10, tokio#5772: a nested `block_on` panics and names the fix, and the outer one goes on.
#[test]
fn e10_a_nested_block_on_names_the_fix_and_the_outer_goes_on() {
    let nested = [
        || block_on(async {}),
        || Runtime::new().expect("a runtime").block_on(async {}),
    ];
    for nest in nested {
        let outer = block_on(async {
            let payload = catch_unwind(nest).expect_err("it has to panic");
            assert!(
                message(&*payload).contains("block_on"),
                "{}",
                message(&*payload)
            );
            assert!(
                message(&*payload).contains(".await"),
                "{}",
                message(&*payload)
            );
            sleep(Duration::from_millis(1)).await?;
            task_group(async |group| group.spawn(async { Ok(7) }).await).await
        });
        assert_eq!(outer.expect("the outer loop goes on"), 7);
    }
    block_on(async {});
}

/// The same for a library that may be called anywhere: an error, and the future is not polled.
#[test]
fn a_nested_try_block_on_is_an_error() {
    let polled = Cell::new(false);
    let enter = || try_block_on(async { polled.set(true) });
    let error = block_on(async { enter() }).expect_err("it is nested");
    assert!(matches!(error, Error::Other(_)), "{error:?}");
    assert!(error.to_string().contains(".await"), "{error}");
    assert!(!polled.get());
    enter().expect("not nested any more");
    assert!(polled.get());
}

/// E11, tokio#3564, anyio#1203: runtimes leave no descriptor, thread or memory behind.
#[test]
fn e11_ten_thousand_runtimes_leave_nothing_behind() {
    alone(
        "executor::e11_ten_thousand_runtimes_leave_nothing_behind",
        || {
            let _deadline = deadline();
            let round = |n: usize| {
                if n % 3 == 0 {
                    let mut runtime = Runtime::new().expect("a runtime");
                    drop(runtime.spawn(sleep(Duration::from_secs(3600))));
                    runtime.turn(Some(Duration::ZERO)).expect("a turn");
                }
                block_on(async {
                    let long = sleep(Duration::from_secs(3600));
                    let ended =
                        fail_after(Duration::from_nanos((n % 2 * 50_000) as u64), long).await;
                    assert!(matches!(ended, Err(Error::TimedOut(_))));
                });
            };
            (0..100).for_each(round);
            let before = (fds(), threads(), resident());
            (0..10_000).for_each(round);
            let after = (fds(), threads(), resident());
            assert_eq!((after.0, after.1), (before.0, before.1));
            assert!(
                sanitized() || after.2 < before.2 + 4_000_000,
                "{} bytes before, {} after",
                before.2,
                after.2
            );
        },
    );
}

/// E12, tokio#6148 #4976: tasks that own timers and live at the end are dropped while the runtime
/// is still entered.
#[test]
fn e12_tasks_alive_at_the_end_are_dropped_with_the_runtime_entered() {
    let dropped = Counter::new();
    let mut runtime = Runtime::new().expect("a runtime");
    for _ in 0..10 {
        let dropped = dropped.clone();
        drop(runtime.spawn(async move {
            let waker = own_waker().await;
            let mut inner = Box::pin(sleep(Duration::from_secs(3600)));
            // The guard's drop wakes the task and makes a timer, which needs the runtime.
            let _guard = OnDrop(move || {
                waker.wake_by_ref();
                inner.set(sleep(Duration::from_secs(1)));
                dropped.add();
            });
            sleep(Duration::from_secs(3600)).await
        }));
    }
    runtime.turn(Some(Duration::ZERO)).expect("a turn");
    assert_eq!(dropped.get(), 0);
    drop(runtime);
    assert_eq!(dropped.get(), 10);
}

/// E12: a runtime in a thread-local ends with the thread, when other thread-locals may be gone.
#[test]
fn e12_a_runtime_in_a_thread_local_ends_with_its_thread() {
    thread_local! {
        static OWN: RefCell<Option<Runtime>> = const { RefCell::new(None) };
    }
    let (ended, told) = channel();
    let thread = thread::spawn(move || {
        OWN.with_borrow_mut(|own| {
            let runtime = own.insert(Runtime::new().expect("a runtime"));
            drop(runtime.spawn(async move {
                let _guard = OnDrop(|| ended.send(()).expect("somebody listens"));
                sleep(Duration::from_secs(3600)).await
            }));
            runtime.turn(Some(Duration::ZERO)).expect("a turn");
        });
    });
    thread.join().expect("the thread ends well");
    told.recv().expect("its task was dropped");
}

/// E13, futures-rs#2053: a time limit is kept even if its future uses up every turn's budget.
#[test]
fn e13_a_time_limit_ends_what_is_always_busy() {
    let _deadline = deadline();
    let busy = || {
        task_group(async |group| {
            for _ in 0..2 {
                group.spawn(async {
                    loop {
                        yield_now().await?;
                    }
                    #[expect(unreachable_code, reason = "names the type")]
                    Ok(())
                });
            }
        })
    };
    block_on(async {
        let limit = Duration::from_millis(5);
        assert!(move_on_after(limit, busy()).await?.is_none());
        // A sleep that is polled after it in the same task ends as well.
        select(pin!(busy()), pin!(sleep(limit))).await;
        // An operation there has its turn as well.
        let listener = create_tcp_listener().local_host("127.0.0.1").await?;
        let client = connect_tcp("127.0.0.1", listener.local_addr().port()).await?;
        select(pin!(busy()), pin!(listener.accept())).await;
        client.send_eof().await?;
        Ok::<_, Error>(())
    })
    .expect("no operation fails");
}

/// E13: arms that are always ready get the same share.
#[test]
fn e13_ready_children_get_the_same_share() {
    let counts = [const { Cell::new(0_usize) }; 3];
    let total = || counts.iter().map(Cell::get).sum::<usize>();
    let arm = async |count: &Cell<usize>| {
        while total() < 30_000 {
            count.set(count.get() + 1);
            yield_now().await?;
        }
        Ok::<_, Error>(())
    };
    block_on(async {
        task_group(async |group| {
            for count in &counts {
                group.spawn(arm(count));
            }
        })
        .await?;
        assert!(
            counts
                .iter()
                .all(|count| count.take().abs_diff(10_000) < 500)
        );
        for ended in join_all(counts.iter().map(arm)).await {
            ended?;
        }
        assert!(
            counts
                .iter()
                .all(|count| count.take().abs_diff(10_000) < 500)
        );
        Ok::<_, Error>(())
    })
    .expect("no operation fails");
}

/// E14, glommio#229, anyio#806: nothing keeps an ended task alive.
#[test]
fn e14_no_task_outlives_its_end() {
    let live = Counter::new();
    let mut runtime = Runtime::new().expect("a runtime");
    for _ in 0..100 {
        let (own, held) = (Rc::new(RefCell::new(None)), live.hold());
        let place = Rc::clone(&own);
        let task = runtime.spawn(async move {
            let _held = held;
            // Task, waker and handle refer to each other.
            let _waker = own_waker().await;
            sleep(Duration::from_micros(10)).await.expect("a sleep");
            place.borrow_mut().take();
        });
        own.replace(Some(task));
    }
    runtime
        .block_on(async {
            while live.get() > 0 {
                sleep(Duration::from_micros(100)).await?;
            }
            Ok::<_, Error>(())
        })
        .expect("no operation fails");
    for _ in 0..100 {
        let held = live.hold();
        drop(runtime.spawn(async move {
            let _held = held;
            forever().await;
        }));
    }
    drop(runtime);
    assert_eq!(live.get(), 0);
}
