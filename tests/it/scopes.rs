//! Cancel scopes and time limits: which operations end, which may continue, which futures are
//! dropped. Long because each promise has its test.

use std::cell::Cell;
use std::future::{Future, pending, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::{join, join_all};
use futures_util::stream::{FuturesUnordered, StreamExt};
use soloio::{
    CancelScope, Error, Result, Runtime, block_on, create_memory_byte_stream,
    current_effective_deadline, fail_after, fail_at, interval, move_on_after, move_on_at, shield,
    sleep, task_group, yield_now,
};

use crate::net_support::{run, tcp_listener, tcp_pair};
use crate::support::{Counter, deadline, forever, give_way, poll_once, poll_with, sanitized};

pub(crate) const HOUR: Duration = Duration::from_secs(3600);
pub(crate) const SOON: Duration = Duration::from_millis(1);

/// Waits for an hour, as an operation of soloio.
pub(crate) async fn long() -> Result<()> {
    sleep(HOUR).await
}

/// Awaits a future, and returns a `Result`.
async fn result_of(future: impl Future<Output = ()>) -> Result<()> {
    future.await;
    Ok(())
}

pub(crate) fn is_cancelled<T>(result: &Result<T>) -> bool {
    matches!(result, Err(Error::Cancelled))
}

#[test]
fn a_cancelled_scope_tells_every_operation_each_time() {
    run(async {
        let (a, _b) = tcp_pair().await;
        let listener = tcp_listener().await;
        let scope = CancelScope::new();
        let ended = scope.run(async {
            scope.cancel("enough");
            assert!(is_cancelled(&yield_now().await));
            assert!(is_cancelled(&sleep(Duration::ZERO).await));
            assert!(is_cancelled(&a.send(b"x").await), "nothing is sent");
            assert!(is_cancelled(&a.receive().await));
            assert!(is_cancelled(&listener.accept().await));
            assert!(is_cancelled(&interval(SOON).tick().await));
            7
        });
        assert_eq!(ended.await, Some(7), "its value is handed on");
        assert!(scope.cancel_called() && scope.cancelled_caught());
        assert_eq!(scope.reason().as_deref(), Some("enough"));
        a.send(b"y").await.expect("it is over");
        assert_eq!(_b.receive().await.expect("bytes"), b"y", "x was not sent");
    });
}

#[test]
fn what_is_ready_wins_over_the_cancel() {
    run(async {
        let (a, b) = create_memory_byte_stream(8);
        let scope = CancelScope::new();
        let receive = scope.run(a.receive());
        let cancel = async {
            b.send(b"in time").await.expect("sent");
            scope.cancel("at the same time");
        };
        let (received, ()) = join(receive, cancel).await;
        assert_eq!(received.expect("not dropped").expect("bytes"), b"in time");
        assert!(scope.cancel_called() && !scope.cancelled_caught());
    });
}

#[test]
fn what_is_not_ours_is_dropped_and_what_ignores_the_errors_too() {
    let _deadline = deadline();
    block_on(async {
        let live = Counter::new();
        let foreign = async {
            let _held = live.hold();
            forever().await;
        };
        let ended = fail_after(SOON, async {
            foreign.await;
            Ok::<_, Error>(())
        });
        assert!(matches!(ended.await, Err(Error::TimedOut(_))));
        assert_eq!(live.get(), 0);

        let told = Cell::new(0_u64);
        let deaf = async {
            loop {
                let ended = sleep(HOUR).await;
                told.set(told.get() + u64::from(is_cancelled(&ended)));
            }
        };
        assert!(matches!(
            fail_after(SOON, result_of(deaf)).await,
            Err(Error::TimedOut(_))
        ));
        assert!(told.get() > 0);

        let after_each = async {
            loop {
                drop(sleep(HOUR).await);
                give_way().await;
            }
        };
        let scope = CancelScope::with_deadline(Instant::now() + SOON);
        assert!(scope.run(after_each).await.is_none());
        assert!(scope.cancelled_caught());

        let begun = Cell::new(0);
        let shields = async {
            loop {
                begun.set(begun.get() + 1);
                drop(shield(SOON / 10, sleep(HOUR)).await);
            }
        };
        assert!(move_on_after(SOON, result_of(shields)).await?.is_none());
        // A few shields last; the ones after them end at once, for at most sixteen turns.
        assert!(begun.get() < 10_000, "{} shields", begun.get());

        let groups = async {
            loop {
                drop(task_group(async |_| long().await).await);
            }
        };
        assert!(move_on_after(SOON, result_of(groups)).await?.is_none());
        Ok::<_, Error>(())
    })
    .expect("all end");
}

/// A cancel reaches operations inside a combinator, which polls only the futures that its own
/// wakers name.
#[test]
fn leaves_inside_combinators_are_told() {
    run(async {
        for by_deadline in [true, false] {
            let (streams, _ends): (Vec<_>, Vec<_>) =
                (0..5).map(|_| create_memory_byte_stream(4)).unzip();
            let (tcp, _tcp_end) = tcp_pair().await;
            let scope = CancelScope::new();
            if by_deadline {
                scope.set_deadline(Some(Instant::now() + SOON));
            }
            let all = scope.run(async {
                let mut all = FuturesUnordered::new();
                for stream in &streams {
                    all.push(async { stream.receive().await.map(drop) }.boxed_local());
                }
                all.push(async { tcp.receive().await.map(drop) }.boxed_local());
                all.push(long().boxed_local());
                all.push(fail_after(HOUR, long()).boxed_local());
                all.push(task_group(async |_| long().await).boxed_local());
                all.push(task_group(async |group| group.spawn(long()).await).boxed_local());
                let mut told = 0;
                while let Some(ended) = all.next().await {
                    told += usize::from(is_cancelled(&ended));
                }
                told
            });
            let cancel = async {
                if !by_deadline {
                    sleep(SOON).await.expect("slept");
                    scope.cancel("enough");
                }
            };
            let (told, ()) = join(all, cancel).await;
            assert_eq!(told, Some(10));
        }
    });
}

/// The same for a cancel by a task's handle, and by the first error of a group.
#[test]
fn leaves_inside_combinators_of_children_are_told() {
    run(async {
        let told = Cell::new(0);
        let waits = async || {
            let both: FuturesUnordered<_> = (0..3).map(|_| long().boxed_local()).collect();
            both.for_each(async |ended| told.set(told.get() + i32::from(is_cancelled(&ended))))
                .await;
            Ok(())
        };
        task_group(async |group| {
            let child = group.spawn(waits());
            let other = group.spawn(waits());
            sleep(SOON).await?;
            child.cancel();
            assert!(matches!(child.await, Ok(())), "its value is handed on");
            assert_eq!(told.get(), 3, "the other one goes on");
            assert!(!other.is_finished());
            other.cancel();
            other.await
        })
        .await
        .expect("no error");
        assert_eq!(told.take(), 6);

        let ended: Result<()> = task_group(async |group| {
            group.spawn(waits());
            group.spawn(async {
                sleep(SOON).await?;
                Err::<(), _>(Error::other("no luck"))
            });
            Ok(())
        })
        .await;
        assert_eq!(ended.expect_err("an error").to_string(), "no luck");
        assert_eq!(told.get(), 3);
    });
}

#[test]
fn who_caught_it_in_nested_scopes() {
    run(async {
        let (outer, inner) = (CancelScope::new(), CancelScope::new());
        let ended = outer.run(inner.run(async {
            inner.cancel("first");
            outer.cancel("second");
            long().await
        }));
        assert!(is_cancelled(&ended.await.flatten().expect("handed on")));
        assert!(outer.cancelled_caught(), "the outermost is charged");
        assert!(inner.cancel_called() && !inner.cancelled_caught());

        let (outer, inner) = (CancelScope::new(), CancelScope::new());
        let ended = outer.run(async {
            let ended = inner.run(async {
                inner.cancel("only this");
                long().await
            });
            assert!(is_cancelled(&ended.await.expect("handed on")));
            yield_now().await.expect("the outer one goes on");
        });
        ended.await.expect("not dropped");
        assert!(inner.cancelled_caught() && !outer.cancel_called());

        // An inner limit that has ended does not replace the outer one.
        let ended = fail_after(HOUR, async {
            let inner: Result<Option<()>> = move_on_after(SOON, long()).await;
            assert!(inner?.is_none());
            Ok::<_, Error>(1)
        });
        assert_eq!(ended.await.expect("in time"), 1);
    });
}

#[test]
fn errors_and_values_of_a_limited_body() {
    run(async {
        let own = fail_after(SOON, async {
            sleep(Duration::ZERO).await?;
            Err::<(), _>(Error::other("my own"))
        });
        assert_eq!(own.await.expect_err("an error").to_string(), "my own");
        let value = fail_after(SOON, async {
            let told = long().await;
            assert!(is_cancelled(&told));
            Ok::<_, Error>("rescued")
        });
        assert_eq!(value.await.expect("a value is handed on"), "rescued");
        let value = move_on_after(SOON, async {
            drop(long().await);
            Ok::<_, Error>("rescued")
        });
        assert_eq!(value.await.expect("a value is handed on"), Some("rescued"));
        let own = move_on_after(HOUR, async { Err::<(), _>(Error::other("my own")) });
        assert_eq!(own.await.expect_err("an error").to_string(), "my own");
        // An error that holds the cancel's error counts as the cancel's; one that only quotes it
        // does not.
        let held = fail_after(SOON, async {
            let told = long().await;
            told.map_err(|error| Error::other(std::io::Error::from(error)))
        });
        assert!(matches!(held.await, Err(Error::TimedOut(_))));
        let quoted = fail_after(SOON, async {
            let told = long().await;
            told.map_err(|error| Error::other(format!("it said: {error}")))
        });
        let quoted = quoted.await.expect_err("an error").to_string();
        assert_eq!(quoted, "it said: the operation was cancelled");
    });
}

#[test]
fn deadlines_past_moved_and_without_end() {
    run(async {
        let past = Instant::now();
        assert!(fail_at(past, async { Ok::<_, Error>(()) }).await.is_ok());
        assert!(matches!(
            fail_at(past, long()).await,
            Err(Error::TimedOut(_))
        ));
        assert!(move_on_at(past, long()).await.expect("no error").is_none());
        assert!(matches!(
            fail_after(Duration::ZERO, long()).await,
            Err(Error::TimedOut(_))
        ));
        assert!(fail_after(Duration::MAX, sleep(SOON)).await.is_ok());

        let scope = CancelScope::with_deadline(past);
        assert!(is_cancelled(&scope.run(long()).await.expect("handed on")));
        assert!(scope.cancel_called() && scope.reason().is_none());

        // The deadline is moved during the run, from inside and from another task.
        let scope = CancelScope::with_deadline(Instant::now() + 5 * SOON);
        let ended = scope.run(async {
            scope.set_deadline(None);
            sleep(10 * SOON).await
        });
        assert!(ended.await.expect("not dropped").is_ok());
        let scope = CancelScope::new();
        let move_it = async {
            sleep(SOON).await.expect("slept");
            scope.set_deadline(Some(Instant::now() + SOON));
            assert!(scope.deadline().is_some());
        };
        let (ended, ()) = join(scope.run(long()), move_it).await;
        assert!(is_cancelled(&ended.expect("handed on")));
        let move_it = async {
            sleep(SOON).await.expect("slept");
            scope.set_deadline(Some(past));
        };
        let scope = CancelScope::with_deadline(Instant::now() + HOUR);
        let (ended, ()) = join(scope.run(long()), async {
            sleep(SOON).await.expect("slept");
            scope.set_deadline(Some(past));
        })
        .await;
        assert!(is_cancelled(&ended.expect("handed on")));
        drop(move_it);
    });
}

#[test]
fn the_effective_deadline_is_the_earliest_up_to_a_shield() {
    run(async {
        assert!(current_effective_deadline().is_none());
        let near = Instant::now() + 60 * Duration::from_secs(1);
        let close = |at: Option<Instant>| {
            let at = at.expect("a deadline");
            at.max(near) - at.min(near) < Duration::from_secs(30)
        };
        let nested = fail_at(near, async {
            assert!(close(current_effective_deadline()));
            fail_after(HOUR, async {
                assert!(close(current_effective_deadline()));
                shield(HOUR, async {
                    assert!(current_effective_deadline().is_none())
                })
                .await;
                Ok::<_, Error>(())
            })
            .await
        });
        nested.await.expect("in time");
        let scope = CancelScope::new();
        scope.cancel("before");
        let inside = scope.run(async { current_effective_deadline() }).await;
        assert!(inside.flatten().expect("a deadline") <= Instant::now());
    });
    assert!(current_effective_deadline().is_none(), "outside a runtime");
}

#[test]
fn a_scope_may_be_cancelled_before_and_run_again_and_twice_at_once() {
    run(async {
        let scope = CancelScope::new();
        scope.cancel("early");
        scope.cancel("late");
        assert_eq!(scope.reason().as_deref(), Some("early"));
        assert_eq!(scope.run(async { 3 }).await, Some(3), "what does not wait");
        assert!(!scope.cancelled_caught());
        for _ in 0..2 {
            assert!(is_cancelled(&scope.run(long()).await.expect("handed on")));
        }
        let scope = CancelScope::new();
        let cancel = async {
            sleep(SOON).await.expect("slept");
            scope.cancel("both");
        };
        let ((one, two), ()) = join(join(scope.run(long()), scope.run(long())), cancel).await;
        assert!(is_cancelled(&one.expect("handed on")) && is_cancelled(&two.expect("handed on")));
        // A run that has ended is not cancelled again.
        scope.cancel("again");
        yield_now().await.expect("outside the scope");
    });
}

#[test]
fn a_scope_outside_a_runtime_and_between_runtimes() {
    let scope = CancelScope::new();
    let mut ended = pin!(scope.run(async { 5 }));
    assert_eq!(
        poll_with(ended.as_mut(), Waker::noop()),
        Poll::Ready(Some(5))
    );
    let mut waits = pin!(scope.run(pending::<()>()));
    assert_eq!(poll_with(waits.as_mut(), Waker::noop()), Poll::Ready(None));
    let mut limited = Box::pin(fail_after(HOUR, long()));
    assert!(matches!(
        poll_with(limited.as_mut(), Waker::noop()),
        Poll::Ready(Err(Error::NoRuntime))
    ));

    // The run begins under one runtime, is cancelled outside, and ends under another.
    let scope = Rc::new(CancelScope::new());
    let held = Rc::clone(&scope);
    let mut wandering: Pin<Box<dyn Future<Output = Option<Result<()>>>>> =
        Box::pin(async move { held.run(long()).await });
    for _ in 0..2 {
        let mut runtime = Runtime::new().expect("a runtime");
        assert!(runtime.block_on(poll_once(wandering.as_mut())).is_pending());
    }
    scope.cancel("outside");
    let ended = block_on(wandering);
    assert!(is_cancelled(&ended.expect("handed on")));

    // The run is dropped outside: its runtime releases the scope and the timer.
    let mut runtime = Runtime::new().expect("a runtime");
    let scope = CancelScope::new();
    let mut limited = Box::pin(scope.run(fail_after(HOUR, long())));
    assert!(runtime.block_on(poll_once(limited.as_mut())).is_pending());
    assert!(runtime.next_timeout().is_some());
    assert!(format!("{runtime:?}").contains("scopes: 1"));
    drop(limited);
    runtime.turn(Some(Duration::ZERO)).expect("a turn");
    assert!(format!("{runtime:?}").contains("scopes: 0"));
    assert_eq!(runtime.next_timeout(), None);
}

/// A cancel between the turns of a guest wakes a waiting run.
#[test]
fn a_guest_is_woken_by_a_cancel_between_its_turns() {
    let mut runtime = Runtime::new().expect("a runtime");
    let scope = Rc::new(CancelScope::new());
    let inside = Rc::clone(&scope);
    let task = runtime.spawn(async move { inside.run(long()).await });
    runtime.turn(Some(Duration::ZERO)).expect("a turn");
    scope.cancel("between");
    while !task.is_finished() {
        runtime.turn(None).expect("a turn");
    }
    let ended = runtime.block_on(task).expect("a value");
    assert!(is_cancelled(&ended.expect("handed on")));
}

/// Nests `depth` limits, without other futures in between: those take stack, too.
fn nested<'a>(depth: usize, polls: &'a Counter) -> Pin<Box<dyn Future<Output = Result<()>> + 'a>> {
    polls.add();
    if depth == 0 {
        return Box::pin(long());
    }
    Box::pin(fail_after(HOUR, nested(depth - 1, polls)))
}

#[test]
fn a_thousand_nested_scopes_fit_on_two_megabytes() {
    let _deadline = deadline();
    let size = if sanitized() { 16 } else { 2 } * 1024 * 1024;
    let run = || {
        let polls = Counter::new();
        let ended = block_on(fail_after(10 * SOON, nested(1_000, &polls)));
        assert!(matches!(ended, Err(Error::TimedOut(_))));
        // The error passed through a thousand limits, none of which was over.
        assert_eq!(polls.get(), 1_001);
    };
    let thread = thread::Builder::new().stack_size(size).spawn(run);
    thread.expect("a thread").join().expect("no overflow");
}

#[test]
fn a_hundred_thousand_scopes_in_sequence_and_side_by_side() {
    let _deadline = deadline();
    block_on(async {
        for _ in 0..100_000 {
            fail_after(HOUR, async { Ok::<_, Error>(()) }).await?;
        }
        let scope = CancelScope::new();
        let many = async {
            let many = (0..100_000).map(|_| fail_after(HOUR, long()));
            let ended: Vec<Result<()>> = join_all(many).await;
            ended.iter().filter(|ended| is_cancelled(ended)).count()
        };
        let cancel = async {
            yield_now().await.expect("outside the scope");
            scope.cancel("all");
        };
        let (told, ()) = join(scope.run(many), cancel).await;
        assert_eq!(told, Some(100_000));
        Ok::<_, Error>(())
    })
    .expect("all end");
}

/// The scope around the poll counts, also after a panic passed through another one.
#[test]
fn a_panic_leaves_no_scope_behind() {
    run(async {
        let scope = CancelScope::new();
        let panics = scope.run(async {
            scope.cancel("and then");
            crate::support::quiet_panic("out of the scope");
        });
        let caught = std::panic::AssertUnwindSafe(panics).catch_unwind().await;
        assert!(caught.is_err());
        yield_now().await.expect("outside the scope");
        let caught = std::panic::AssertUnwindSafe(task_group(async |group| {
            group.spawn(async { crate::support::quiet_panic("out of a child") });
            Ok(())
        }));
        assert!(caught.catch_unwind().await.is_err());
        yield_now().await.expect("outside the group");
    });
}

/// A future that is polled inside a scope once, and outside later, belongs to the later place.
#[test]
fn the_scope_that_counts_is_the_one_around_the_poll() {
    run(async {
        let scope = CancelScope::new();
        let mut wanders = Box::pin(sleep(SOON));
        let begun = scope.run(poll_once(wanders.as_mut())).await;
        assert!(begun.expect("not dropped").is_pending());
        scope.cancel("it is not in there any more");
        wanders.await.expect("it is not cancelled");
        let mut stays = Box::pin(fail_after(HOUR, long()));
        assert!(poll_once(stays.as_mut()).await.is_pending());
        let ended = scope.run(stays).await;
        assert!(is_cancelled(&ended.expect("handed on")));
    });
}

/// A waker that a cancel calls may use the scope: nothing is borrowed at that moment.
#[test]
fn foreign_wakers_are_called_with_nothing_borrowed() {
    run(async {
        let scope = Rc::new(CancelScope::new());
        let again = Rc::clone(&scope);
        let waker = futures_util::task::waker(std::sync::Arc::new(Cancels));
        WOKEN.set(Some(again));
        let ended = {
            let mut inner = pin!(long());
            let mut run = pin!(scope.run(poll_fn(|_| {
                inner
                    .as_mut()
                    .poll(&mut std::task::Context::from_waker(&waker))
            })));
            assert!(poll_once(run.as_mut()).await.is_pending());
            scope.cancel("once");
            run.await
        };
        assert!(is_cancelled(&ended.expect("handed on")));
        assert!(WOKEN.take().is_none(), "it was called");
    });
}

thread_local! {
    static WOKEN: Cell<Option<Rc<CancelScope>>> = const { Cell::new(None) };
}

struct Cancels;

impl futures_util::task::ArcWake for Cancels {
    fn wake_by_ref(_: &std::sync::Arc<Self>) {
        if let Some(scope) = WOKEN.take() {
            scope.cancel("from a waker");
            scope.set_deadline(Some(Instant::now()));
        }
    }
}
