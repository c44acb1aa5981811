//! Costs that may grow, and with what: polls and allocations are counted, since times depend on the
//! machine.

use std::future::Future;
use std::pin::Pin;
use std::thread;
use std::time::Duration;

use soloio::{Error, Result, block_on, sleep, task_group, yield_now};

use crate::allocations;
use crate::support::{
    Counter, Gate, counted, deadline, forever, give_way, poll_once, sanitized, until_woken,
};

/// Waking one of 10,000 children polls that child and its group, and no other.
#[test]
fn one_woken_child_of_ten_thousand_is_one_poll() {
    let (children, outer, body) = (Counter::new(), Counter::new(), Counter::new());
    let gates: Vec<_> = (0..10_000).map(|_| Gate::default()).collect();
    block_on(task_group(async |group| {
        // A second group around it, so that the polls of the group can be counted too.
        let inner = task_group(async |inner| {
            for gate in &gates {
                inner.spawn(counted(children.clone(), gate.wait()));
            }
            counted(body.clone(), until_woken()).await;
        });
        let inner = group.spawn(counted(outer.clone(), inner));
        while children.get() < gates.len() {
            give_way().await;
        }
        sleep(Duration::from_micros(100)).await?;
        let before = (children.get(), outer.get(), body.get());
        for (n, gate) in gates.iter().enumerate().take(1_000) {
            gate.open();
            while children.get() == before.0 + n {
                give_way().await;
            }
            assert_eq!(children.get(), before.0 + n + 1);
        }
        // One poll for each, and a few more where a turn ended in between.
        assert!(
            outer.get() - before.1 <= 1_100,
            "{}",
            outer.get() - before.1
        );
        assert_eq!(body.get(), before.2, "the body is a task like the others");
        inner.cancel();
        Ok(())
    }))
    .expect("no child fails");
}

type Boxed<'a> = Pin<Box<dyn Future<Output = Result<usize>> + 'a>>;

/// Nests `depth` groups, without other futures in between: those take stack, too.
fn nested<'a>(depth: usize, innermost: &'a Gate, live: &'a Counter) -> Boxed<'a> {
    if depth == 0 {
        return Box::pin(async {
            let _held = live.hold();
            innermost.wait().await;
            Ok(0)
        });
    }
    Box::pin(task_group(async move |group| {
        let _held = live.hold();
        let child = group.spawn(nested(depth - 1, innermost, live));
        Ok(child.await? + 1)
    }))
}

/// S-9, trio#1235: 1,000 nested groups run, are woken and dropped on a stack of 2 MB. A turn has
/// fewer polls than that; the innermost task is polled all the same.
#[test]
fn a_thousand_nested_groups_fit_on_two_megabytes() {
    let _deadline = deadline();
    let run = || {
        let live = Counter::new();
        block_on(async {
            for end in [true, false] {
                let gate = Gate::default();
                let mut group = nested(1_000, &gate, &live);
                while live.get() <= 1_000 {
                    assert!(poll_once(group.as_mut()).await.is_pending());
                    yield_now().await?;
                }
                if end {
                    gate.open();
                    assert_eq!(group.as_mut().await?, 1_000);
                }
                drop(group);
                assert_eq!(live.get(), 0);
            }
            Ok::<_, Error>(())
        })
    };
    // A sanitizer's stack frames are several times as large.
    let size = if sanitized() { 16 } else { 2 } * 1024 * 1024;
    let thread = thread::Builder::new().stack_size(size).spawn(run);
    thread
        .expect("a thread")
        .join()
        .expect("no overflow")
        .expect("no child fails");
}

/// Returns the costs of some groups: polls of their children, and allocations.
fn cost_of(groups: usize, side_by_side: bool) -> (usize, usize) {
    let polls = Counter::new();
    let one = || {
        task_group(async |group| {
            group.spawn(counted(polls.clone(), give_way()));
            group.spawn(counted(polls.clone(), give_way()));
        })
    };
    let before = allocations::made();
    block_on(async {
        if !side_by_side {
            for _ in 0..groups {
                one().await?;
            }
            return Ok(());
        }
        task_group(async |group| {
            for _ in 0..groups {
                group.spawn(one());
            }
        })
        .await
    })
    .expect("no child fails");
    (polls.get(), allocations::made() - before)
}

#[test]
fn a_hundred_thousand_groups_side_by_side_and_in_sequence_cost_what_each_costs() {
    let _deadline = deadline();
    for side_by_side in [true, false] {
        let (few, many) = (
            cost_of(10_000, side_by_side),
            cost_of(100_000, side_by_side),
        );
        assert_eq!((few.0, many.0), (40_000, 400_000), "polls");
        assert!(
            many.1 <= few.1 * 10 + 100,
            "{} and {} allocations",
            few.1,
            many.1
        );
    }
}

/// A group in a group in a group: a wake of the innermost child costs one poll a level.
#[test]
fn a_wake_through_many_levels_polls_each_once() {
    let polls = Counter::new();
    fn level<'a>(depth: usize, polls: &'a Counter, gate: &'a Gate) -> Boxed<'a> {
        Box::pin(counted(polls.clone(), async move {
            if depth == 0 {
                gate.wait().await;
                forever().await;
            }
            task_group(async |group| {
                // Siblings that the wake must not poll.
                for _ in 0..10 {
                    group.spawn(counted(polls.clone(), forever()));
                }
                group.spawn(level(depth - 1, polls, gate)).await
            })
            .await
        }))
    }
    block_on(task_group(async |group| {
        let gate = Gate::default();
        let gate = std::rc::Rc::new(gate);
        let (inner, count) = (std::rc::Rc::clone(&gate), &polls);
        let task = group.spawn(async move { level(50, count, &inner).await });
        sleep(Duration::from_millis(1)).await?;
        while polls.get() < 50 * 11 + 1 {
            give_way().await;
        }
        sleep(Duration::from_millis(1)).await?;
        let before = polls.get();
        gate.open();
        give_way().await;
        assert_eq!(polls.get() - before, 51);
        task.cancel();
        Ok(())
    }))
    .expect("no child fails");
}
