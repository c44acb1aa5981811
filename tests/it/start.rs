//! Starting a child and waiting until it is ready.

use std::cell::Cell;
use std::time::Duration;

use soloio::{
    Error, Ready, Result, TaskHandle, block_on, fail_after, sleep, task_group, yield_now,
};

use crate::net_support::{run, turns};
use crate::support::{Counter, forever, give_way, poll_once};

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn a_child_that_is_ready_hands_a_value_over_and_goes_on() {
    run(async {
        let went_on = Cell::new(false);
        let ended = task_group(async |group| {
            let value = group.start(async |ready: Ready<i32>| {
                yield_now().await?;
                ready.ready(5);
                yield_now().await?;
                went_on.set(true);
                Ok(())
            });
            let value = value.await?;
            assert!(!went_on.get());
            Ok(value)
        });
        assert_eq!(ended.await.expect("no error"), 5);
        assert!(went_on.get());
    });
}

#[test]
fn an_error_before_is_the_starters_and_one_after_the_groups() {
    run(async {
        let ended = task_group(async |group| {
            let early = group.start(async |_ready: Ready<()>| {
                yield_now().await?;
                Err::<(), _>(Error::other("early"))
            });
            assert_eq!(early.await.expect_err("an error").to_string(), "early");
            Ok(())
        });
        ended.await.expect("it was the starter's");
        let ended: Result<()> = task_group(async |group| {
            let ready = group.start(async |ready| {
                ready.ready(());
                Err::<(), _>(Error::other("late"))
            });
            ready.await
        })
        .await;
        assert_eq!(ended.expect_err("an error").to_string(), "late");
    });
}

#[test]
fn an_error_that_its_starter_never_heard_is_the_groups() {
    run(async {
        let fails = async |_ready: Ready<()>| {
            yield_now().await?;
            Err::<(), _>(Error::other("unheard"))
        };
        let ended = task_group(async |group| {
            let mut start = Box::pin(group.start(fails));
            assert!(poll_once(start.as_mut()).await.is_pending());
            turns(3).await;
            drop(start);
            Ok(())
        });
        let error = ended.await.expect_err("it is not lost");
        assert_eq!(error.to_string(), "unheard");
        // An error that is received late still goes to the starter.
        let ended = task_group(async |group| {
            let mut start = Box::pin(group.start(fails));
            assert!(poll_once(start.as_mut()).await.is_pending());
            turns(3).await;
            assert_eq!(start.await.expect_err("told").to_string(), "unheard");
            turns(3).await;
            Ok(())
        });
        ended.await.expect("it was the starter's");
    });
}

#[test]
fn a_child_that_never_says_so_ends_the_wait() {
    run(async {
        let held = Counter::new();
        task_group(async |group| {
            let silent = group.start(async |_ready: Ready<()>| yield_now().await);
            let error = silent.await.expect_err("it never said so");
            assert!(matches!(error, Error::TaskFailed(_)), "{error:?}");
            let text = error.to_string();
            assert!(
                text.starts_with("the task spawned at tests/it/start.rs:"),
                "{text}"
            );
            assert!(text.ends_with(" has not said that it was ready"), "{text}");
            let drops = group.start(async |ready: Ready<()>| {
                let _held = held.hold();
                drop(ready);
                forever().await;
            });
            assert!(matches!(drops.await, Err(Error::TaskFailed(_))));
            give_way().await;
            give_way().await;
            assert_eq!(held.get(), 0, "it is cancelled");
            // A starter that is dropped cancels its child.
            let slow = group.start(async |ready: Ready<()>| {
                let _held = held.hold();
                sleep(HOUR).await?;
                ready.ready(());
                Ok(())
            });
            let limited = fail_after(Duration::from_millis(1), slow).await;
            assert!(matches!(limited, Err(Error::TimedOut(_))));
            let mut slow = Box::pin(group.start(async |ready: Ready<()>| {
                let _held = held.hold();
                sleep(HOUR).await?;
                ready.ready(());
                Ok(())
            }));
            assert!(poll_once(slow.as_mut()).await.is_pending());
            give_way().await;
            assert_eq!(held.get(), 1);
            drop(slow);
            Ok(())
        })
        .await
        .expect("no error");
        assert_eq!(held.get(), 0);
    });
}

/// The starter waited forever: only a `Ready` that was dropped ended its wait.
#[test]
fn a_child_that_ends_with_its_ready_elsewhere_ends_the_wait() {
    run(async {
        let elsewhere = Cell::new(None);
        task_group(async |group| {
            let gives_away = async |ready: Ready<i32>| elsewhere.set(Some(ready));
            let ended = fail_after(HOUR, group.start(gives_away)).await;
            assert!(matches!(ended, Err(Error::TaskFailed(_))), "{ended:?}");
            // No starter waits any more.
            elsewhere.take().expect("it was given away").ready(1);

            // Another task may report in its place, as long as the child lives.
            let start = group.start(async |ready: Ready<i32>| {
                elsewhere.set(Some(ready));
                turns(3).await;
            });
            drop(group.spawn(async {
                turns(1).await;
                elsewhere.take().expect("it was given away").ready(2);
            }));
            assert_eq!(start.await?, 2);

            let fails = group.start(async |ready: Ready<i32>| {
                elsewhere.set(Some(ready));
                Err::<(), _>(Error::other("failed"))
            });
            assert_eq!(fails.await.expect_err("told").to_string(), "failed");
            Ok(())
        })
        .await
        .expect("no error");
    });
}

#[test]
fn a_handle_can_be_waited_for_and_then_awaited_and_awaited_twice() {
    block_on(task_group(async |group| {
        let mut child: TaskHandle<'_, i32> = group.spawn(async {
            yield_now().await?;
            Ok(3)
        });
        child.wait().await?;
        child.wait().await?;
        assert!(child.is_finished());
        assert_eq!((&mut child).await?, 3);
        for _ in 0..2 {
            let taken = (&mut child).await.expect_err("there is none any more");
            let text = taken.to_string();
            assert!(text.ends_with(" has given its value already"), "{text}");
        }
        assert_eq!(child.spawned_at().file(), "tests/it/start.rs");
        Ok(())
    }))
    .expect("no error");
}
