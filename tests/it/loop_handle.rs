//! Closures and events from other threads to a loop, while it runs and when it ends.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use futures_util::future::{join, join_all};
use soloio::{
    Error, LoopHandle, Runtime, ThreadEvent, block_on, loop_handle, run_in_thread, sleep,
    task_group,
};
use static_assertions::assert_impl_all;

use crate::cancel_everywhere::everywhere_alone;
use crate::net_support::turns;
use crate::support::{
    CountedDrop, OnDrop, Wakes, alone, deadline, fds, message, poll_once, poll_with, rounds,
};

assert_impl_all!(LoopHandle: Send, Sync, Clone);
assert_impl_all!(ThreadEvent: Send, Sync, Clone);

fn handle() -> LoopHandle {
    loop_handle().expect("within a runtime")
}

thread_local! {
    /// Numbers seen on the loop's thread.
    static SEEN: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

fn see(n: usize) {
    SEEN.with_borrow_mut(|seen| seen.push(n));
}

#[test]
fn a_hundred_thousand_posts_from_four_threads_are_all_run_in_order() {
    const THREADS: usize = 4;
    let _guard = deadline();
    let each = rounds(25_000);
    let (done, left) = (ThreadEvent::new(), Arc::new(AtomicUsize::new(THREADS)));
    let all: Vec<_> = block_on(async {
        let handle = handle();
        let all = (0..THREADS).map(|thread| {
            let (handle, done, left) = (handle.clone(), done.clone(), Arc::clone(&left));
            thread::spawn(move || {
                for n in 0..each {
                    let n = thread * each + n;
                    handle.post(move || see(n)).expect("posted");
                }
                if left.fetch_sub(1, SeqCst) == 1 {
                    done.set();
                }
            })
        });
        let all = all.collect();
        done.wait().await.expect("set");
        // Closures that were posted earlier run earlier.
        let last = ThreadEvent::new();
        let setter = last.clone();
        handle.post(move || setter.set()).expect("posted");
        last.wait().await.expect("set");
        SEEN.with_borrow(|seen| {
            assert_eq!(seen.len(), THREADS * each);
            for thread in 0..THREADS {
                let its = seen.iter().filter(|n| **n / each == thread);
                assert!(its.copied().eq(thread * each..(thread + 1) * each));
            }
        });
        all
    });
    all.into_iter().for_each(|t| t.join().expect("no panic"));
}

#[test]
fn a_call_gives_its_answer_and_wakes_a_loop_that_sleeps() {
    let _guard = deadline();
    let here = thread::current().id();
    let rounds = rounds(10_000);
    block_on(async {
        let on_loop = handle();
        let job = run_in_thread(move || {
            for n in 0..rounds {
                let (there, seen) = on_loop.call(move || {
                    see(n);
                    (thread::current().id(), SEEN.with_borrow(Vec::len))
                })?;
                assert_eq!((there, seen), (here, n + 1));
            }
            // The closure runs within the runtime: it may wake tasks and take another handle.
            on_loop.call(|| loop_handle().is_ok())
        });
        // Only the calls end the loop's sleep.
        assert!(job.await.expect("no panic").expect("the loop is there"));
    });
}

#[test]
fn posts_leave_the_tasks_their_turns() {
    let _guard = deadline();
    block_on(async {
        let (on_loop, over) = (handle(), Arc::new(AtomicUsize::new(0)));
        // Each closure posts the next, so that there is always one.
        fn again(on_loop: LoopHandle, over: Arc<AtomicUsize>) {
            if over.load(SeqCst) == 0 {
                let next = on_loop.clone();
                on_loop.post(move || again(next, over)).expect("posted");
            }
        }
        for _ in 0..200 {
            again(on_loop.clone(), Arc::clone(&over));
        }
        for _ in 0..20 {
            sleep(Duration::from_micros(100)).await.expect("slept");
        }
        over.store(1, SeqCst);
    });
}

#[test]
fn a_thread_is_released_when_the_loop_ends() {
    alone(
        "loop_handle::a_thread_is_released_when_the_loop_ends",
        || {
            let _guard = deadline();
            let before = fds();
            for round in 0..rounds(2000) {
                let gone = Arc::new(AtomicUsize::new(0));
                let (sender, receiver) = std::sync::mpsc::channel();
                let thread = thread::spawn({
                    let gone = Arc::clone(&gone);
                    move || {
                        let on_loop: LoopHandle = receiver.recv().expect("a handle");
                        let mut posted = 0;
                        loop {
                            let gone = Arc::clone(&gone);
                            let gone = CountedDrop(gone);
                            posted += 1;
                            // The loop ends during one of these, in either way.
                            let result = match posted % 2 {
                                0 => on_loop.post(move || drop(gone)),
                                _ => on_loop.call(move || drop(gone)),
                            };
                            match result {
                                Ok(()) => {}
                                Err(Error::Closed) => break,
                                Err(other) => panic!("{other}"),
                            }
                        }
                        assert!(on_loop.is_closed());
                        assert!(matches!(on_loop.call(|| ()), Err(Error::Closed)));
                        posted
                    }
                });
                block_on(async {
                    sender.send(handle()).expect("it waits");
                    turns(round % 8).await;
                });
                let posted = thread.join().expect("no panic");
                assert_eq!(gone.load(SeqCst), posted, "dropped once each");
            }
            assert_eq!(fds(), before);
        },
    );
}

/// The thread is released before the tasks are dropped, since a drop may wait for the thread.
#[test]
fn a_task_that_waits_for_the_thread_in_its_drop_does_not_hang() {
    let _guard = deadline();
    let mut runtime = Runtime::new().expect("a runtime");
    let on_loop = runtime.block_on(async { handle() });
    let (sender, started) = std::sync::mpsc::channel();
    let thread = thread::spawn(move || {
        sender.send(()).expect("it waits");
        on_loop.call(|| ())
    });
    started.recv().expect("started");
    let mut thread = Some(thread);
    let joined = OnDrop(move || {
        let result = thread.take().expect("dropped once").join();
        assert!(matches!(result, Ok(Err(Error::Closed))));
    });
    let task = runtime.spawn(async move {
        let _joined = joined;
        crate::support::forever().await;
    });
    drop(task);
    drop(runtime);
}

#[test]
fn a_runtime_that_is_kept_runs_it_when_it_is_driven_next() {
    let _guard = deadline();
    let mut runtime = Runtime::new().expect("a runtime");
    let on_loop = runtime.block_on(async { handle() });
    for n in 0..200 {
        on_loop.post(move || see(n)).expect("posted");
    }
    assert_eq!(runtime.next_timeout(), Some(Duration::ZERO));
    while runtime.next_timeout().is_some() {
        runtime.turn(runtime.next_timeout()).expect("a turn");
    }
    SEEN.with_borrow(|seen| assert!(seen.iter().copied().eq(0..200)));
    // The descriptor shows a foreign loop that a closure was posted while it slept.
    let thread = thread::spawn(move || on_loop.call(|| SEEN.with_borrow(Vec::len)));
    while !thread.is_finished() {
        runtime.turn(None).expect("a turn");
        if SEEN.with_borrow(Vec::len) == 200 {
            break;
        }
    }
    assert_eq!(thread.join().expect("no panic").expect("called"), 200);
}

#[test]
fn a_panic_goes_to_who_waits_or_else_to_who_drives_the_loop() {
    let _guard = deadline();
    let mut runtime = Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let on_loop = handle();
        let job =
            run_in_thread(move || on_loop.call(|| crate::support::quiet_panic("to the thread")));
        match job.await.expect("the job itself does not") {
            Err(Error::Panicked(panicked)) => assert_eq!(panicked.message(), Some("to the thread")),
            other => panic!("{other:?}"),
        }
    });
    let on_loop = runtime.block_on(async { handle() });
    on_loop.post(|| see(1)).expect("posted");
    on_loop
        .post(|| crate::support::quiet_panic("to the loop"))
        .expect("posted");
    on_loop.post(|| see(2)).expect("posted");
    let turn = catch_unwind(AssertUnwindSafe(|| runtime.turn(Some(Duration::ZERO))));
    assert_eq!(message(&*turn.expect_err("it panicked")), "to the loop");
    SEEN.with_borrow(|seen| assert_eq!(*seen, [1, 2], "the others go on"));
    on_loop.post(|| see(3)).expect("it is still good");
    runtime.turn(Some(Duration::ZERO)).expect("a turn");
    SEEN.with_borrow(|seen| assert_eq!(*seen, [1, 2, 3]));
}

#[test]
fn what_would_block_a_loop_is_refused() {
    let _guard = deadline();
    assert!(matches!(loop_handle(), Err(Error::NoRuntime)));
    let refused = |result: soloio::Result<()>| match result {
        Err(Error::Io(error)) => {
            assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
            assert!(error.to_string().contains("use `post`"), "{error}");
        }
        other => panic!("{other:?}"),
    };
    block_on(async {
        let on_loop = handle();
        refused(on_loop.call(|| ()));
        let other = run_in_thread(move || block_on(async { on_loop.call(|| ()) }));
        refused(other.await.expect("no panic"));
        // A post on one's own loop needs no wake-up: it runs in the next turn.
        let seen = std::rc::Rc::new(Cell::new(false));
        handle().post(|| see(7)).expect("posted");
        assert!(SEEN.with_borrow(Vec::is_empty), "not now");
        sleep(Duration::from_millis(1)).await.expect("slept");
        SEEN.with_borrow(|all| assert_eq!(*all, [7]));
        seen.set(true);
    });
    // The drop of a closure that never ran may ask for the handle of the ending loop.
    block_on(async {
        let on_drop = OnDrop(|| {
            let late = handle();
            assert!(late.is_closed());
            assert!(matches!(late.post(|| ()), Err(Error::Closed)));
        });
        handle().post(move || drop(on_drop)).expect("posted");
    });
}

#[test]
fn an_event_wakes_all_who_wait_on_all_loops() {
    let _guard = deadline();
    for _ in 0..rounds(500) {
        let (event, ready) = (ThreadEvent::new(), Arc::new(Barrier::new(4)));
        let loops: Vec<_> = (0..3)
            .map(|_| {
                let (event, ready) = (event.clone(), Arc::clone(&ready));
                thread::spawn(move || {
                    ready.wait();
                    block_on(join_all((0..10).map(|_| event.wait())))
                })
            })
            .collect();
        ready.wait();
        event.set();
        event.set();
        assert!(event.is_set());
        for thread in loops {
            let all = thread.join().expect("no panic");
            all.into_iter().for_each(|waited| waited.expect("no error"));
        }
        block_on(event.wait()).expect("at once");
    }
}

#[test]
fn an_event_forgets_who_no_longer_waits() {
    let _guard = deadline();
    let event = ThreadEvent::new();
    block_on(task_group(async |group| {
        for _ in 0..100 {
            let mut waiting = pin!(event.wait());
            for _ in 0..2 {
                assert!(poll_once(waiting.as_mut()).await.is_pending());
            }
        }
        let text = format!("{event:?}");
        assert!(!text.contains("Waker"), "{text}");
        // Only the waker of the last poll is called.
        let (old, new) = (Wakes::new(), Wakes::new());
        let mut waiting = pin!(event.wait());
        for waker in [&old, &new] {
            let polled = poll_with(waiting.as_mut(), &Arc::clone(waker).into());
            assert!(polled.is_pending());
        }
        let child = group.spawn(event.wait());
        turns(2).await;
        event.set();
        assert_eq!((old.count(), new.count()), (0, 1));
        child.await.expect("set");
    }))
    .expect("no error");
    let outside = poll_with(pin!(event.wait()), std::task::Waker::noop());
    assert!(matches!(outside, Poll::Ready(Err(Error::NoRuntime))));
}

/// Covers: ThreadEvent::wait.
#[test]
fn waiting_for_an_event_cancelled_everywhere() {
    let name = "loop_handle::waiting_for_an_event_cancelled_everywhere";
    everywhere_alone(name, async |cut| {
        let event = ThreadEvent::new();
        let setter = event.clone();
        let partner = async {
            turns(2).await;
            setter.set();
        };
        let (done, ()) = join(cut.apply(event.wait()), partner).await;
        assert!(!format!("{event:?}").contains("Waker"), "it waits still");
        event.wait().await.expect("set");
        done.is_some()
    });
}
