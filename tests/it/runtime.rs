//! The runtime: turns under a foreign loop, several runtimes, signals, and system calls that fail.

use std::cell::Cell;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use soloio::{Error, Runtime, TaskHandle, block_on, fail_after, sleep, task_group};

use crate::foreign_loop::readable;
use crate::kernel::{Thread, interrupt_by, limit_descriptors};
use crate::support::{
    Counter, alone, counted, deadline, fds, forever, give_way, own_waker, poll_with, threads,
    until_woken,
};

/// Waits as a foreign loop does, then turns the runtime; true if the descriptor was readable.
fn foreign_turn(runtime: &mut Runtime, at_most: Duration) -> bool {
    let wait = runtime
        .next_timeout()
        .map_or(at_most, |wait| wait.min(at_most));
    let rung = readable(&*runtime, wait);
    runtime.turn(Some(Duration::ZERO)).expect("a turn");
    rung
}

/// Turns until the task has ended.
fn drive<T>(runtime: &mut Runtime, task: &TaskHandle<'_, T>) {
    while !task.is_finished() {
        foreign_turn(runtime, Duration::from_secs(50));
    }
}

#[test]
fn a_foreign_loop_drives_timers_groups_and_wakes_of_other_threads() {
    let _deadline = deadline();
    let mut runtime = Runtime::new().expect("a runtime");
    assert_eq!(runtime.next_timeout(), None);
    let start = Instant::now();
    let task = runtime.spawn(async {
        let (to_firing, waker) = channel::<Waker>();
        let firing = thread::spawn(move || waker.recv().expect("a waker").wake());
        let value = task_group(async |group| {
            let child = group.spawn(async {
                sleep(Duration::from_millis(2)).await?;
                Ok(1)
            });
            sleep(Duration::from_micros(300)).await?;
            child.await
        })
        .await?;
        to_firing.send(own_waker().await).expect("the thread lives");
        until_woken().await;
        firing.join().expect("no wake panics");
        Ok::<_, Error>(value + 1)
    });
    assert_eq!(runtime.next_timeout(), Some(Duration::ZERO), "it is woken");
    drive(&mut runtime, &task);
    assert!(start.elapsed() >= Duration::from_millis(2));
    assert_eq!(
        runtime
            .block_on(task)
            .expect("not cancelled")
            .expect("no error"),
        2
    );
}

/// W1 for a guest: a wake between turns rings its bell, whatever kind of turn came before.
#[test]
fn w1_a_guest_is_rung_between_turns() {
    let _deadline = deadline();
    let mut runtime = Runtime::new().expect("a runtime");
    let (to_firing, wakers) = channel::<Waker>();
    let polls = Counter::new();
    let task = runtime.spawn(counted(polls.clone(), async move {
        to_firing.send(own_waker().await).expect("somebody listens");
        forever().await;
    }));
    runtime.turn(Some(Duration::ZERO)).expect("a turn");
    let waker = wakers.recv().expect("a waker");
    let ends: [fn(&mut Runtime); 4] = [
        |runtime| runtime.turn(Some(Duration::ZERO)).expect("a turn"),
        |runtime| runtime.block_on(give_way()),
        |runtime| {
            runtime
                .block_on(sleep(Duration::from_micros(50)))
                .expect("a sleep");
        },
        |runtime| {
            drop(runtime.spawn(async { crate::support::quiet_panic("in a task") }));
            let turn = std::panic::AssertUnwindSafe(|| runtime.turn(None));
            std::panic::catch_unwind(turn).expect_err("the task's panic");
        },
    ];
    for (which, end) in ends.into_iter().enumerate() {
        for from_thread in [false, true] {
            end(&mut runtime);
            let before = polls.get();
            assert_eq!(runtime.next_timeout(), None, "after end {which}");
            match from_thread {
                true => thread::scope(|scope| drop(scope.spawn(|| waker.wake_by_ref()))),
                false => waker.wake_by_ref(),
            }
            assert!(
                foreign_turn(&mut runtime, Duration::from_secs(50)),
                "after end {which}"
            );
            assert_eq!(polls.get(), before + 1, "after end {which}");
        }
    }
    // The handle cancels a task of the guest between turns.
    task.cancel();
    drive(&mut runtime, &task);
}

/// A guest with work left has a timeout of zero.
#[test]
fn a_guest_with_work_left_says_so() {
    let mut runtime = Runtime::new().expect("a runtime");
    let stop = Rc::new(Cell::new(false));
    let stopped = Rc::clone(&stop);
    let task = runtime.spawn(async move {
        while !stopped.get() {
            give_way().await;
        }
    });
    for _ in 0..10 {
        assert_eq!(runtime.next_timeout(), Some(Duration::ZERO));
        runtime
            .turn(None)
            .expect("a turn, though no deadline is set");
    }
    stop.set(true);
    drive(&mut runtime, &task);
    assert_eq!(runtime.next_timeout(), None);
}

/// A turn waits for its limit, or until something happens.
#[test]
fn a_turn_waits_for_its_limit_or_for_a_deadline() {
    let _deadline = deadline();
    let mut runtime = Runtime::new().expect("a runtime");
    let (start, wait) = (Instant::now(), Duration::from_millis(3));
    while start.elapsed() < wait {
        runtime
            .turn(Some(wait.saturating_sub(start.elapsed())))
            .expect("a turn");
    }
    let task = runtime.spawn(sleep(wait));
    let start = Instant::now();
    while !task.is_finished() {
        runtime.turn(None).expect("a turn");
    }
    assert!(start.elapsed() >= wait);
}

#[test]
fn a_runtime_may_be_turned_inside_a_task_of_another() {
    let mut inner = Runtime::new().expect("a runtime");
    let polls = Counter::new();
    let task = inner.spawn(counted(polls.clone(), async {
        for _ in 0..3 {
            sleep(Duration::from_micros(200)).await?;
        }
        Ok::<_, Error>(5)
    }));
    let value = block_on(task_group(async |group| {
        let ticks = group.spawn(async {
            for _ in 0..5 {
                sleep(Duration::from_micros(100)).await?;
            }
            Ok(())
        });
        while !task.is_finished() {
            inner.turn(Some(Duration::ZERO))?;
            sleep(Duration::from_micros(50)).await?;
        }
        ticks.await?;
        // Awaits a handle of the inner runtime in the outer one.
        task.await?
    }));
    assert_eq!(value.expect("no error"), 5);
    assert!(polls.get() >= 4);
}

#[test]
fn a_handle_may_be_awaited_in_another_runtime() {
    let _deadline = deadline();
    let mut inner = Runtime::new().expect("a runtime");
    let task = inner.spawn(async {
        sleep(Duration::from_micros(100)).await.expect("a sleep");
        8
    });
    let value = block_on(task_group(async |group| {
        let child = group.spawn(task);
        give_way().await;
        // The child waits; the inner runtime wakes it from inside its own turn.
        for _ in 0..100 {
            inner.turn(Some(Duration::from_micros(200)))?;
        }
        child.await
    }));
    assert_eq!(value.expect("not cancelled"), 8);
}

#[test]
fn runtimes_on_two_threads_are_independent() {
    let _deadline = deadline();
    let run = |n: u64| {
        let mut runtime = Runtime::new().expect("a runtime");
        for round in 0..50 {
            let task = runtime.spawn(async move { n * round });
            let value = runtime.block_on(async {
                sleep(Duration::from_micros(n * 20)).await?;
                task_group(async |group| group.spawn(task).await).await
            });
            assert_eq!(value.expect("no error"), n * round);
        }
    };
    thread::scope(|scope| {
        for n in 0..4 {
            scope.spawn(move || run(n));
        }
    });
}

#[test]
fn block_on_may_be_called_again_and_tasks_go_on() {
    let mut runtime = Runtime::new().expect("a runtime");
    let task = runtime.spawn(async {
        sleep(Duration::from_millis(1)).await?;
        Ok::<_, Error>(3)
    });
    for n in 0..10 {
        assert_eq!(runtime.block_on(async { n }), n);
    }
    assert_eq!(
        runtime
            .block_on(task)
            .expect("not cancelled")
            .expect("a sleep"),
        3
    );
}

/// R6, mio#494, notify#281: signals end no wait early, and are no error.
#[test]
fn r6_a_storm_of_signals_neither_ends_nor_shortens_a_wait() {
    let _deadline = deadline();
    interrupt_by(libc::SIGUSR1);
    let (stop, sleeper) = (AtomicBool::new(false), Thread::current());
    let sent = AtomicUsize::new(0);
    thread::scope(|scope| {
        let storm = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                sleeper.signal(libc::SIGUSR1);
                sent.fetch_add(1, Ordering::Relaxed);
                thread::sleep(Duration::from_micros(20));
            }
        });
        block_on(async {
            // Signals come slowly on a busy machine: six waits, and then until there were enough
            // signals.
            let waits = [20_000, 3_000, 1_500, 400, 90, 30].into_iter().cycle();
            for (number, wait) in waits.enumerate() {
                if number >= 6 && sent.load(Ordering::Relaxed) > 100 {
                    break;
                }
                let (start, wait) = (Instant::now(), Duration::from_micros(wait));
                sleep(wait).await.expect("a signal is no error");
                assert!(start.elapsed() >= wait);
                let long = fail_after(wait, sleep(Duration::from_secs(3600))).await;
                assert!(matches!(long, Err(Error::TimedOut(_))));
            }
        });
        stop.store(true, Ordering::Relaxed);
        storm.join().expect("no panic");
    });
}

/// R6, R15: a failure to make the poller is an error of the operation, with its context.
#[test]
fn r6_without_descriptors_operations_fail_and_nothing_hangs() {
    alone(
        "runtime::r6_without_descriptors_operations_fail_and_nothing_hangs",
        || {
            let _deadline = deadline();
            let (open, running) = (fds(), threads());
            limit_descriptors(0);
            // A future that never waits needs no poller.
            assert_eq!(block_on(async { 4 }), 4);
            assert!(matches!(Runtime::new(), Err(Error::Io(_))));
            let (slept, child) = block_on(async {
                let slept = sleep(Duration::from_millis(1)).await;
                let child =
                    task_group(async |group| group.spawn(sleep(Duration::from_secs(3600))).await);
                (slept, child.await)
            });
            let error = slept.expect_err("there is no poller");
            assert!(error.to_string().contains("wait for events"), "{error}");
            assert!(matches!(error, Error::Io(_)) && child.is_err());
            let stuck = std::panic::catch_unwind(|| block_on(forever()));
            assert!(stuck.is_err(), "nobody could ever wake it");
            limit_descriptors(1024);
            block_on(sleep(Duration::from_micros(1))).expect("all is well again");
            assert_eq!((fds(), threads()), (open, running));
        },
    );
}

/// Every operation that is polled outside a runtime returns `NoRuntime`.
#[test]
fn operations_outside_a_runtime_say_so() {
    fn alone(future: impl Future<Output = Result<(), Error>>) -> bool {
        let polled = poll_with(pin!(future), Waker::noop());
        matches!(polled, Poll::Ready(Err(Error::NoRuntime)))
    }
    assert!(alone(sleep(Duration::ZERO)));
    assert!(alone(soloio::yield_now()));
    assert!(alone(task_group(async |_| {})));
    assert!(alone(fail_after(
        Duration::from_secs(1),
        std::future::pending::<Result<(), Error>>()
    )));
    let runtime = Runtime::new().expect("a runtime");
    let mut task = runtime.spawn(async {});
    assert!(alone(&mut task));
    drop(runtime);
    let ended = poll_with(pin!(task), Waker::noop());
    assert!(matches!(ended, Poll::Ready(Err(Error::Cancelled))));
    // A future that is ready needs no runtime.
    let done = pin!(fail_after(Duration::from_secs(1), async {
        Ok::<_, Error>(1)
    }));
    assert!(matches!(poll_with(done, Waker::noop()), Poll::Ready(Ok(1))));
}
