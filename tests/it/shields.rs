//! Shields and cancelled groups: protected clean-up, its time limit, and the cost of a scope.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::future::join;
use futures_util::stream::{FuturesUnordered, StreamExt};
use soloio::{
    CancelScope, Error, Event, Result, Runtime, block_on, create_memory_byte_stream, fail_after,
    move_on_after, shield, sleep, task_group, task_group_with, yield_now,
};

use crate::allocations::made;
use crate::net_support::run;
use crate::scopes::{HOUR, SOON, is_cancelled, long};
use crate::support::{deadline, forever, poll_once};

#[test]
fn a_shield_lets_clean_up_run_and_ends_by_its_limit() {
    run(async {
        let (a, b) = create_memory_byte_stream(64);
        let ended = fail_after(SOON, async {
            let ended = a.receive().await;
            shield(HOUR, async {
                sleep(SOON).await?;
                a.send(b"goodbye").await
            })
            .await?;
            ended
        });
        assert!(matches!(ended.await, Err(Error::TimedOut(_))));
        assert_eq!(b.receive().await.expect("bytes"), b"goodbye");

        // At its limit the shield cancels its body, and in the end drops it.
        let told = Cell::new(false);
        let ended = move_on_after(SOON, async {
            let clean_up = async {
                told.set(is_cancelled(&long().await));
                forever().await;
            };
            shield(SOON, clean_up).await;
            Ok::<_, Error>(())
        });
        assert!(ended.await.expect("no error").is_none());
        assert!(told.get());

        // Without a cancel around it the shield's limit has no effect.
        let slow = shield(Duration::ZERO, sleep(SOON)).await;
        assert!(slow.is_ok());

        // Scopes inside work as usual.
        let inner = shield(HOUR, fail_after(SOON, long())).await;
        assert!(matches!(inner, Err(Error::TimedOut(_))));
    });
}

#[test]
fn a_forgotten_or_parked_shield_ends_by_its_limit() {
    let _deadline = deadline();
    block_on(async {
        let leaks = async {
            let mut shielded = Box::pin(shield(10 * SOON, long()));
            assert!(poll_once(shielded.as_mut()).await.is_pending());
            std::mem::forget(shielded);
            long().await
        };
        assert!(matches!(
            fail_after(SOON, leaks).await,
            Err(Error::TimedOut(_))
        ));
        // A parked one in a group whose sibling fails, and in a child that its handle cancels.
        let parks = async || {
            let mut shielded = Box::pin(shield(10 * SOON, long()));
            assert!(poll_once(shielded.as_mut()).await.is_pending());
            forever().await;
            shielded.await
        };
        let ended: Result<()> = task_group(async |group| {
            let child = group.spawn(parks());
            sleep(SOON).await?;
            child.cancel();
            assert!(is_cancelled(&child.await));
            group.spawn(parks());
            sleep(SOON).await?;
            Err(Error::other("no luck"))
        })
        .await;
        assert_eq!(ended.expect_err("an error").to_string(), "no luck");
    });
}

/// A group that is not polled any more holds no task up.
#[test]
fn a_parked_group_holds_nothing() {
    let _deadline = deadline();
    block_on(async {
        let parks = async {
            let mut group = Box::pin(task_group(async |group| {
                group.spawn(long());
                long().await
            }));
            assert!(poll_once(group.as_mut()).await.is_pending());
            forever().await;
            group.await
        };
        assert!(matches!(
            fail_after(SOON, parks).await,
            Err(Error::TimedOut(_))
        ));
    });
}

#[test]
fn the_first_error_lets_the_others_clean_up() {
    run(async {
        let cleaned = Cell::new(0);
        let others = RefCell::new(Vec::new());
        let ended: Result<()> = task_group(async |group| {
            group.keep_errors_in(&others);
            for n in 0..3 {
                let cleaned = &cleaned;
                group.spawn(async move {
                    let ended = long().await;
                    shield(HOUR, sleep(SOON)).await?;
                    cleaned.set(cleaned.get() + 1);
                    match n {
                        0 => ended,
                        1 => Err(Error::other("while cleaning up")),
                        _ => Ok(()),
                    }
                });
            }
            group.spawn(async {
                sleep(SOON).await?;
                Err::<(), _>(Error::other("first"))
            });
            let told = long().await;
            assert!(is_cancelled(&told), "the body, too");
            told
        })
        .await;
        assert_eq!(ended.expect_err("an error").to_string(), "first");
        assert_eq!(cleaned.get(), 3);
        let others: Vec<String> = others.borrow().iter().map(Error::to_string).collect();
        assert_eq!(others, ["while cleaning up"], "a cancel's are no news");
    });
}

/// Errors that do not come from the cancel are kept.
#[test]
fn the_errors_after_the_first_are_kept_where_asked() {
    let others = RefCell::new(Vec::new());
    let ended: Result<(), Error> = block_on(task_group_with(async |group| {
        group.keep_errors_in(&others);
        for name in ["first", "second", "third"] {
            group.spawn(async move { Err::<(), _>(Error::other(name)) });
        }
        Ok::<_, Error>(())
    }));
    assert_eq!(ended.expect_err("an error").to_string(), "first");
    let others: Vec<_> = others.borrow().iter().map(ToString::to_string).collect();
    assert_eq!(others, ["second", "third"]);
}

#[test]
fn a_shield_without_end_is_waited_for() {
    run(async {
        let (scope, event) = (CancelScope::new(), Event::new());
        let body = scope.run(async {
            let told = long().await;
            let waited = shield(Duration::MAX, event.wait()).await;
            waited.expect("protected");
            told
        });
        let cancel = async {
            scope.cancel("the end");
            sleep(10 * SOON).await.expect("slept");
            event.set();
        };
        let (ended, ()) = join(body, cancel).await;
        assert!(is_cancelled(&ended.expect("not dropped")));
        assert!(scope.cancelled_caught());
    });
}

/// The ways in which a shield leaves a cancelled scope that waits for it.
#[derive(Clone, Copy)]
enum Leaves {
    DroppedInATask,
    DroppedOutside,
    ToATask,
    ToAnotherRuntime,
}

fn leave(runtime: &mut Runtime, shielded: Pin<Box<dyn Future<Output = ()>>>, how: Leaves) {
    match how {
        Leaves::DroppedInATask => drop(runtime.spawn(async { drop(shielded) })),
        Leaves::DroppedOutside => drop(shielded),
        Leaves::ToATask => drop(runtime.spawn(shielded)),
        Leaves::ToAnotherRuntime => {
            let mut other = Runtime::new().expect("a runtime");
            other.spawn(shielded);
            other.turn(Some(Duration::ZERO)).expect("a turn");
        }
    }
}

#[test]
fn a_shield_that_leaves_a_cancelled_scope_holds_it_up_no_more() {
    let _deadline = deadline();
    let ways = [
        Leaves::DroppedInATask,
        Leaves::DroppedOutside,
        Leaves::ToATask,
        Leaves::ToAnotherRuntime,
    ];
    for (limit, how) in [HOUR, Duration::MAX]
        .into_iter()
        .flat_map(|limit| ways.map(|how| (limit, how)))
    {
        let mut runtime = Runtime::new().expect("a runtime");
        let turns = |runtime: &mut Runtime| {
            (0..40).for_each(|_| runtime.turn(Some(Duration::ZERO)).expect("a turn"));
        };
        let scope = Rc::new(CancelScope::new());
        let kept = Rc::new(RefCell::new(None::<Pin<Box<dyn Future<Output = ()>>>>));
        let (inner, keeps) = (Rc::clone(&scope), Rc::clone(&kept));
        let task = runtime.spawn(async move {
            // The group and the scope have to be woken, the latter by a waker that is not a task's.
            let waits = inner.run(task_group(async |group| -> Result<()> {
                group.cancel();
                let mut shielded: Pin<Box<dyn Future<Output = ()>>> =
                    Box::pin(shield(limit, forever()));
                assert!(poll_once(shielded.as_mut()).await.is_pending());
                keeps.replace(Some(shielded));
                forever().await;
                Ok(())
            }));
            let mut all: FuturesUnordered<_> = std::iter::once(waits).collect();
            let ended = all.next().await.expect("one");
            assert!(ended.is_none_or(|ended| is_cancelled(&ended)));
        });
        turns(&mut runtime);
        scope.cancel("the end");
        turns(&mut runtime);
        assert!(!task.is_finished(), "the shield holds it up");
        leave(&mut runtime, kept.take().expect("it was polled"), how);
        turns(&mut runtime);
        assert!(task.is_finished(), "nothing holds it up");
    }
}

#[test]
fn a_child_of_a_group_that_is_closing_is_told_at_once() {
    run(async {
        let ran = Cell::new(0);
        let ended: Result<()> = task_group(async |group| {
            group.spawn(async {
                let told = long().await;
                let late = group.spawn(async {
                    ran.set(ran.get() + 1);
                    yield_now().await?;
                    ran.set(ran.get() + 10);
                    Ok(())
                });
                let ended = shield(HOUR, late).await;
                assert!(is_cancelled(&ended), "its handle says so");
                told
            });
            Err(Error::other("the first"))
        })
        .await;
        assert_eq!(ended.expect_err("an error").to_string(), "the first");
        assert_eq!(ran.get(), 1, "as far as its first operation");
    });
}

#[test]
fn a_group_can_be_cancelled_and_its_body_says_how_it_ends() {
    run(async {
        let value = task_group(async |group| {
            group.spawn(long());
            group.spawn(async {
                forever().await;
                Ok(())
            });
            sleep(SOON).await?;
            group.cancel();
            let late = group.spawn(async { yield_now().await });
            assert!(is_cancelled(&late.await));
            Ok(4)
        });
        assert_eq!(value.await.expect("the body's value"), 4);
        let cut: Result<()> = task_group(async |group| {
            group.spawn(async { group.cancel() });
            long().await
        })
        .await;
        assert!(is_cancelled(&cut));
        let early: Result<()> = task_group(async |group| {
            group.cancel();
            long().await
        })
        .await;
        assert!(is_cancelled(&early));
    });
}

/// A group that is cancelled from outside ends as cancelled: without a first error, and no success.
#[test]
fn a_group_that_was_cut_short_from_outside_does_not_succeed() {
    run(async {
        let ended = move_on_after(SOON, async {
            task_group(async |group| {
                group.spawn(long());
                Ok("the body is done")
            })
            .await
        });
        assert!(ended.await.expect("no error").is_none());
        let scope = CancelScope::new();
        let cleaned = Cell::new(false);
        let ended = scope.run(task_group(async |group| {
            group.spawn(async {
                let ended = long().await;
                shield(HOUR, sleep(SOON)).await?;
                cleaned.set(true);
                ended
            });
            group.spawn(async {
                scope.cancel("from inside");
                long().await
            });
            Ok(())
        }));
        assert!(is_cancelled(&ended.await.expect("handed on")));
        assert!(
            cleaned.get(),
            "the other's end does not cut its shield short"
        );
    });
}

#[test]
fn ten_thousand_children_are_each_told_once() {
    run(async {
        let told = Cell::new(0);
        let ended = fail_after(SOON, async {
            task_group(async |group| {
                for _ in 0..10_000 {
                    group.spawn(async {
                        let ended = long().await;
                        told.set(told.get() + i32::from(is_cancelled(&ended)));
                        ended
                    });
                }
                Ok(())
            })
            .await
        });
        assert!(matches!(ended.await, Err(Error::TimedOut(_))));
        assert_eq!(told.get(), 10_000);
    });
}

#[test]
fn what_is_ready_allocates_nothing_in_a_scope() {
    run(async {
        let (a, b) = create_memory_byte_stream(64);
        let scope = CancelScope::with_deadline(Instant::now() + HOUR);
        let ended = scope.run(async {
            let (mut room, mut before) = ([0; 8], 0);
            for round in 0..100 {
                a.send(b"x").await?;
                assert_eq!(b.receive_into(&mut room).await?, b"x");
                // The first rounds may allocate room.
                before = if round < 10 { made() } else { before };
            }
            Ok::<_, Error>(made() - before)
        });
        assert_eq!(ended.await.expect("not dropped").expect("received"), 0);
    });
}
