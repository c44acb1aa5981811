//! Task groups in ordinary use: results, errors, cancelling, nesting, and moves between runtimes.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use soloio::{Error, Result, Runtime, block_on, sleep, task_group, task_group_with, yield_now};

use crate::support::{
    Counter, Gate, Wakes, counted, deadline, forever, give_way, own_waker, poll_once, poll_with,
    quiet_panic,
};

type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

#[test]
fn children_borrow_what_is_outside_and_their_values_come_back() {
    let words = ["tasks", "may", "borrow"];
    let total = Cell::new(0);
    let lengths = block_on(task_group(async |group| {
        let handles = words.each_ref().map(|word| {
            group.spawn(async {
                yield_now().await?;
                total.set(total.get() + word.len());
                Ok(word.len())
            })
        });
        let mut lengths = Vec::new();
        for handle in handles {
            lengths.push(handle.await?);
        }
        Ok(lengths)
    }));
    assert_eq!(lengths.expect("no child fails"), [5, 3, 6]);
    assert_eq!(total.get(), 14);
}

/// S-2: the group ends when all its children have ended, however deep they were spawned.
#[test]
fn the_end_waits_for_children_of_children() {
    let ended = Counter::new();
    block_on(task_group(async |group| {
        group.spawn(async {
            sleep(Duration::from_micros(200)).await?;
            for _ in 0..10 {
                group.spawn(async {
                    sleep(Duration::from_micros(200)).await?;
                    group.spawn(async { ended.add() });
                    Ok(())
                });
            }
            Ok(())
        });
    }))
    .expect("no child fails");
    assert_eq!(ended.get(), 10);
}

/// S-8: the first error ends all other tasks of the group, and is its result.
#[test]
fn the_first_error_cancels_the_others_and_is_the_result() {
    let live = Counter::new();
    let ended: Result<(), Error> = block_on(task_group(async |group| {
        let held = live.hold();
        group.spawn(async move {
            let _held = held;
            forever().await;
        });
        group.spawn(async {
            yield_now().await?;
            Err::<(), _>(Error::other("the second"))
        });
        let first = group.spawn(async { Err::<(), _>(Error::other("the first")) });
        assert!(matches!(
            first.named("one").await,
            Err(Error::TaskFailed(_))
        ));
        // The body is cancelled as well, and cannot wait any more.
        assert!(matches!(
            sleep(Duration::from_secs(3600)).await,
            Err(Error::Cancelled)
        ));
        forever().await;
        quiet_panic("the body went on after the group had ended");
    }));
    assert_eq!(ended.expect_err("an error").to_string(), "the first");
    assert_eq!(live.get(), 0);

    let ended: Result<()> = block_on(task_group(async |group| {
        let held = live.hold();
        group.spawn(async move {
            let _held = held;
            forever().await;
        });
        give_way().await;
        Err(Error::other("the body's"))
    }));
    assert_eq!(ended.expect_err("an error").to_string(), "the body's");
    assert_eq!(live.get(), 0);
}

#[test]
fn an_error_type_of_ones_own_needs_only_to_hold_ours() {
    #[derive(Debug)]
    enum Mine {
        Ours(Error),
        Other(u8),
    }
    impl From<Error> for Mine {
        fn from(error: Error) -> Self {
            Self::Ours(error)
        }
    }
    impl soloio::Failure for Mine {
        fn is_cancelled(&self) -> bool {
            matches!(self, Self::Ours(error) if error.is_cancelled())
        }
    }
    let group = |fails: bool| {
        task_group_with::<Mine, _, _>(async move |group| {
            group.spawn(async move { if fails { Err(Mine::Other(3)) } else { Ok(()) } });
            sleep(Duration::from_micros(10)).await?;
            Ok(4)
        })
    };
    assert!(matches!(block_on(group(true)), Err(Mine::Other(3))));
    assert!(matches!(block_on(group(false)), Ok(4)));
    let nowhere = poll_with(Box::pin(group(false)).as_mut(), Waker::noop());
    assert!(matches!(
        nowhere,
        Poll::Ready(Err(Mine::Ours(Error::NoRuntime)))
    ));
}

/// A handle cancels its task in each of the task's states.
#[test]
fn a_task_can_be_cancelled_in_every_state() {
    let (ran, live) = (Counter::new(), Counter::new());
    block_on(task_group(async |group| {
        let begun = Counter::new();
        let (count, held) = (begun.clone(), live.hold());
        let unstarted = group.spawn(async move {
            let _held = held;
            count.add();
            yield_now().await?;
            count.add();
            Ok(())
        });
        unstarted.cancel();
        unstarted.cancel();
        assert!(
            !unstarted.is_finished() && live.get() == 1,
            "it is not dropped inside cancel"
        );
        assert!(matches!(unstarted.await, Err(Error::Cancelled)));
        assert_eq!((begun.get(), live.get()), (1, 0), "to its first operation");

        let held = live.hold();
        let waiting = group.spawn(async move {
            let _held = held;
            sleep(Duration::from_secs(3600)).await
        });
        give_way().await;
        waiting.cancel();
        assert!(matches!(waiting.await, Err(Error::Cancelled)));

        let woken = group.spawn(counted(ran.clone(), async {
            give_way().await;
            give_way().await;
        }));
        give_way().await;
        woken.cancel();
        assert!(matches!(woken.await, Err(Error::Cancelled)));
        assert_eq!(ran.get(), 2, "polled once more, to be told");

        // The task cancels itself while it runs.
        let place = Rc::new(RefCell::new(None::<soloio::TaskHandle<'_, ()>>));
        let own = Rc::clone(&place);
        let running = group.spawn(counted(ran.clone(), async move {
            own.borrow().as_ref().expect("put there below").cancel();
            assert!(matches!(yield_now().await, Err(Error::Cancelled)));
            forever().await;
            quiet_panic("it went on after its cancel");
        }));
        place.replace(Some(running));
        give_way().await;
        give_way().await;
        assert!(
            place
                .borrow()
                .as_ref()
                .is_some_and(|handle| handle.is_finished())
        );

        let finished = group.spawn(async { Ok(9) });
        give_way().await;
        finished.cancel();
        assert_eq!(
            finished.await?,
            9,
            "a cancel that comes too late changes nothing"
        );
        drop(group.spawn(counted(ran.clone(), give_way())));
        Ok(())
    }))
    .expect("a cancelled child is no error");
    assert_eq!(
        (ran.get(), live.get()),
        (6, 0),
        "a dropped handle cancels nothing"
    );
}

/// Protocol 3: a child may poll its own handle, and may own it.
#[test]
fn a_child_may_poll_and_own_its_own_handle() {
    let live = Counter::new();
    for own_it in [false, true] {
        block_on(task_group(async |group| {
            let place = Rc::new(RefCell::new(None::<soloio::TaskHandle<'_, ()>>));
            let (own, held) = (Rc::clone(&place), live.hold());
            let child = group.spawn(async move {
                let _held = held;
                give_way().await;
                let mut handle = own.borrow_mut().take().expect("put there by the body");
                assert!(poll_once(Pin::new(&mut handle)).await.is_pending());
                if own_it {
                    give_way().await;
                    drop(handle);
                    return;
                }
                own.replace(Some(handle));
            });
            place.replace(Some(child));
            sleep(Duration::from_micros(100)).await?;
            assert_eq!(
                place.borrow().as_ref().map(|h| h.is_finished()),
                (!own_it).then_some(true)
            );
            Ok(())
        }))
        .expect("no child fails");
        assert_eq!(live.get(), 0);
    }
}

/// Protocol 2: a child wakes itself and ends; its late wake reaches no other task.
#[test]
fn a_child_that_wakes_itself_and_ends_wakes_nobody_else() {
    let polls = Counter::new();
    block_on(task_group(async |group| {
        for _ in 0..100 {
            group.spawn(async {
                let waker = own_waker().await;
                waker.wake_by_ref();
                own_waker().await.wake();
            });
            // The next child takes the slot of the one that has ended.
            give_way().await;
            let next = group.spawn(counted(polls.clone(), forever()));
            give_way().await;
            next.cancel();
            give_way().await;
        }
    }))
    .expect("no child fails");
    assert_eq!(polls.get(), 200, "each is polled once, and once to be told");
}

/// Protocol 1: a group may be moved after its first poll, and polled by another task.
#[test]
fn a_group_may_move_to_another_task_after_its_first_poll() {
    let _deadline = deadline();
    let gate = Gate::default();
    let value = block_on(task_group(async |outer| {
        let mut groups: Vec<Boxed<'_, Result<u32>>> = Vec::new();
        for n in 0..10 {
            let gate = &gate;
            let mut group: Boxed<'_, Result<u32>> = Box::pin(task_group(async move |group| {
                let child = group.spawn(async move {
                    gate.wait().await;
                    sleep(Duration::from_micros(50)).await?;
                    Ok(n)
                });
                child.await
            }));
            assert!(poll_once(group.as_mut()).await.is_pending());
            groups.push(group);
        }
        let moved: Vec<_> = groups.into_iter().map(|group| outer.spawn(group)).collect();
        give_way().await;
        gate.open();
        let mut sum = 0;
        for handle in moved {
            sum += handle.await?;
        }
        Ok(sum)
    }));
    assert_eq!(value.expect("no child fails"), 45);
}

/// Protocol 3: polled under another runtime a group continues there; without a runtime it ends.
#[test]
fn a_group_may_move_to_another_runtime_and_ends_without_one() {
    let _deadline = deadline();
    let live = Counter::new();
    let make = |wait: Duration| -> Boxed<'static, Result<u32>> {
        let live = live.clone();
        Box::pin(task_group(async move |group| {
            let held = live.hold();
            let inner = task_group(async move |inner| {
                let child = inner.spawn(async move {
                    let _held = held;
                    sleep(wait).await?;
                    Ok(6)
                });
                child.await
            });
            let child = group.spawn(inner);
            yield_now().await?;
            child.await
        }))
    };
    let mut group = make(Duration::from_millis(1));
    let mut first = Runtime::new().expect("a runtime");
    for _ in 0..3 {
        assert!(first.block_on(poll_once(group.as_mut())).is_pending());
    }
    let mut second = Runtime::new().expect("a runtime");
    assert!(second.block_on(poll_once(group.as_mut())).is_pending());
    drop(first);
    assert_eq!(second.block_on(group).expect("it goes on"), 6);
    assert_eq!(live.get(), 0);

    let mut group = make(Duration::from_secs(3600));
    assert!(second.block_on(poll_once(group.as_mut())).is_pending());
    let wakes = Wakes::new();
    let ended = poll_with(group.as_mut(), &Waker::from(wakes));
    assert!(matches!(ended, Poll::Ready(Err(Error::NoRuntime))));
    assert_eq!(live.get(), 0, "its children are gone");

    let mut group = make(Duration::from_secs(3600));
    assert!(second.block_on(poll_once(group.as_mut())).is_pending());
    drop(second);
    drop(group);
    assert_eq!(live.get(), 0, "its drop needs no runtime");
}

/// A group that two runtimes poll in turn, one of them inside a task of the other.
#[test]
fn a_group_may_go_to_and_fro_between_runtimes() {
    let _deadline = deadline();
    let (done, polls) = (Counter::new(), Counter::new());
    let (ended, started) = (done.clone(), polls.clone());
    let group: Boxed<'static, Result<()>> = Box::pin(task_group(async move |group| {
        for _ in 0..3 {
            let (ended, started) = (ended.clone(), started.clone());
            group.spawn(async move {
                counted(started.clone(), sleep(Duration::from_millis(3))).await?;
                ended.add();
                Ok(())
            });
        }
    }));
    let place = Rc::new(RefCell::new(group));
    let lent = Rc::clone(&place);
    let mut inner = Runtime::new().expect("a runtime");
    let watcher = inner.spawn(poll_fn(move |cx| {
        if lent.borrow_mut().as_mut().poll(cx).is_pending() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    }));
    let last = block_on(async {
        for _ in 0..50 {
            let polled = poll_fn(|cx| Poll::Ready(place.borrow_mut().as_mut().poll(cx))).await;
            assert!(polled.is_pending());
            inner.turn(Some(Duration::ZERO))?;
        }
        poll_fn(|cx| place.borrow_mut().as_mut().poll(cx)).await
    });
    last.expect("no child fails");
    assert_eq!(done.get(), 3);
    assert!(polls.get() >= 300, "each move wakes all: {}", polls.get());
    watcher.cancel();
}
