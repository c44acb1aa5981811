//! The end of a group: drops that spawn, wake and cancel; and groups that are forgotten.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Mutex;
use std::task::Waker;
use std::thread;
use std::time::Duration;

use futures_util::FutureExt;
use soloio::{CancelScope, Error, Result, Runtime, TaskHandle, block_on, sleep, task_group};

use crate::support::{
    Counter, Gate, OnDrop, counted, forever, give_way, own_waker, poll_once, quiet_panic,
};

/// What is left of a group that was cut off ends with its scope, not before: the code after it does
/// not run, whether a child passes the cancel on or not.
#[test]
fn a_group_that_is_cut_off_leaves_the_rest_to_its_scope() {
    let after = Cell::new(false);
    for told in [true, false] {
        let scope = CancelScope::new();
        let ended = block_on(scope.run(async {
            let group = task_group(async |group| {
                group.spawn(async move {
                    if told {
                        sleep(Duration::from_secs(60)).await?;
                    }
                    Err::<(), _>(Error::Cancelled)
                });
                group.spawn(forever().map(Ok::<_, Error>));
                Ok(())
            });
            scope.cancel("by the body");
            let ended = group.await;
            after.set(true);
            ended
        }));
        assert!(ended.is_none() && !after.get(), "{ended:?}");
    }
}

/// The error of a cancel that a child ends with is its group's, unless the child was cancelled.
#[test]
fn the_error_of_a_cancel_fails_a_group_that_has_none() {
    for cancel in [true, false] {
        let (gate, told) = (Gate::default(), Cell::new(false));
        let ended = block_on(task_group(async |group| {
            let child = group.spawn(async {
                gate.wait().await;
                Err::<(), _>(Error::Cancelled)
            });
            group.spawn(async {
                told.set(sleep(Duration::from_millis(5)).await.is_err());
                Ok(())
            });
            give_way().await;
            if cancel {
                child.cancel();
            }
            gate.open();
            Ok(())
        }));
        assert_eq!((told.get(), ended.is_err()), (!cancel, !cancel));
    }
}

/// S-2: dropping a group drops body and children before the drop is over.
#[test]
fn dropping_a_group_drops_its_children_at_once() {
    let live = &Counter::new();
    let group = || {
        Box::pin(task_group(async move |group| {
            for _ in 0..10 {
                let held = live.hold();
                group.spawn(async move {
                    let _held = held;
                    task_group(async move |inner| {
                        let held = live.hold();
                        inner.spawn(async move {
                            let _held = held;
                            forever().await;
                        });
                    })
                    .await
                });
            }
            let _held = live.hold();
            forever().await;
        }))
    };
    drop(group());
    block_on(async {
        let mut polled = group();
        assert!(poll_once(polled.as_mut()).await.is_pending());
        assert_eq!(live.get(), 21);
        drop(polled);
        assert_eq!(live.get(), 0);
    });
}

/// Protocol 3: children are dropped before the values they borrow, one at a time. A drop may spawn,
/// wake and cancel siblings; the group is already closed.
#[test]
fn a_drop_may_spawn_wake_and_cancel() {
    let (dropped, refused) = (Counter::new(), Counter::new());
    let borrowed = RefCell::new(Vec::new());
    let ended: Result<()> = block_on(task_group(async |group| {
        let handles: Rc<RefCell<Vec<TaskHandle<'_, ()>>>> = Rc::default();
        let wakers: Rc<RefCell<Vec<Waker>>> = Rc::default();
        for n in 0..5 {
            let (handles, wakers) = (Rc::clone(&handles), Rc::clone(&wakers));
            let (theirs, mine) = (Rc::clone(&handles), Rc::clone(&wakers));
            let (dropped, refused, borrowed) = (&dropped, &refused, &borrowed);
            let child = group.spawn(async move {
                let _guard = OnDrop(|| {
                    dropped.add();
                    borrowed.borrow_mut().push(n);
                    mine.borrow().iter().for_each(Waker::wake_by_ref);
                    theirs.borrow().iter().for_each(TaskHandle::cancel);
                    let late = group.spawn({
                        let gone = OnDrop(|| refused.add());
                        async move {
                            let _gone = gone;
                            quiet_panic("polled in a group that has ended");
                        }
                    });
                    let late: &TaskHandle<'_, ()> = &late;
                    assert!(late.is_finished(), "it is refused");
                });
                let waker = own_waker().await;
                wakers.borrow_mut().push(waker);
                forever().await;
            });
            handles.borrow_mut().push(child);
        }
        give_way().await;
        Err(Error::other("the end"))
    }));
    assert_eq!(ended.expect_err("an error").to_string(), "the end");
    assert_eq!((dropped.get(), refused.get()), (5, 5));
    assert_eq!(*borrowed.borrow(), [0, 1, 2, 3, 4]);
}

/// A child's drop may spawn into a group that still runs, whether the child ends or is cancelled.
#[test]
fn a_drop_may_spawn_into_a_group_that_goes_on() {
    let ran = Counter::new();
    block_on(task_group(async |group| {
        for cancelled in [false, true] {
            let child = group.spawn(async {
                let _guard = OnDrop(|| {
                    group.spawn(async { ran.add() });
                });
                sleep(Duration::from_micros(50)).await
            });
            give_way().await;
            if cancelled {
                child.cancel();
            }
            assert_eq!(child.await.is_err(), cancelled);
        }
        Ok(())
    }))
    .expect("no child fails");
    assert_eq!(ran.get(), 2);
}

/// Protocol 3: children that own their own handles and those of others are dropped with the group.
#[test]
fn a_child_that_owns_its_handle_is_dropped_with_the_group() {
    let live = Counter::new();
    block_on(async {
        let mut group = Box::pin(task_group(async |group| {
            let places: Rc<RefCell<Vec<TaskHandle<'_, ()>>>> = Rc::default();
            for _ in 0..3 {
                let (own, held) = (Rc::clone(&places), live.hold());
                let child = group.spawn(async move {
                    let _held = held;
                    let _own = own;
                    forever().await;
                });
                places.borrow_mut().push(child);
            }
            forever().await;
        }));
        assert!(poll_once(group.as_mut()).await.is_pending());
        assert_eq!(live.get(), 3);
        drop(group);
        assert_eq!(live.get(), 0);
    });
}

/// Results that no task took are dropped with the group; their drop may spawn.
#[test]
fn results_that_nobody_takes_are_dropped() {
    let live = Counter::new();
    block_on(task_group(async |group| {
        let mut kept = Vec::new();
        for keep in [false, true, false] {
            let held = live.hold();
            let handle = group.spawn(async move {
                Ok(OnDrop(move || {
                    let _held = &held;
                    group.spawn(async {});
                }))
            });
            kept.extend(keep.then_some(handle));
        }
        give_way().await;
        assert_eq!(live.get(), 1, "those without a handle are gone");
        assert!(kept.iter().all(TaskHandle::is_finished));
        Ok(())
    }))
    .expect("no child fails");
    assert_eq!(live.get(), 0);
}

/// Keeps the address of a forgotten future, so that a leak checker doesn't report it.
fn forget<F: Future + ?Sized>(future: Pin<Box<F>>) {
    static KEPT: Mutex<Vec<usize>> = Mutex::new(Vec::new());
    let address = (&raw const *future).addr();
    KEPT.lock().expect("not poisoned").push(address);
    mem::forget(future);
}

/// S-1, glommio#335, tokio#3162: a forgotten group is never polled again, and the wakers of its
/// children wake no other task.
#[test]
fn a_forgotten_group_is_harmless() {
    let polls = Counter::new();
    let (wakers, gate) = (Rc::new(RefCell::new(Vec::new())), Rc::new(Gate::default()));
    let ended = block_on(async {
        for _ in 0..10 {
            let (wakers, gate, polls) = (&wakers, &gate, &polls);
            let mut group = Box::pin(task_group(async move |group| {
                for _ in 0..3 {
                    group.spawn(async move {
                        let waker = own_waker().await;
                        wakers.borrow_mut().push(waker);
                        counted(polls.clone(), gate.wait()).await;
                    });
                }
                forever().await;
            }));
            assert!(poll_once(group.as_mut()).await.is_pending());
            forget(group);
        }
        assert_eq!(polls.get(), 30);
        gate.open();
        let others = wakers.take();
        others.iter().for_each(Waker::wake_by_ref);
        thread::spawn(move || others.into_iter().for_each(Waker::wake))
            .join()
            .expect("no panic");
        // The queue and the timers of the forgotten tasks serve the next tasks.
        task_group(async |group| {
            for _ in 0..100 {
                group.spawn(sleep(Duration::from_micros(100)));
            }
        })
        .await
    });
    ended.expect("the loop goes on");
    assert_eq!(polls.get(), 30, "nobody polls what was forgotten");
}

/// A forgotten group in a runtime that ends, and a forgotten runtime's tasks.
#[test]
fn a_forgotten_group_outlives_its_runtime_as_memory_only() {
    let live = Counter::new();
    let mut runtime = Runtime::new().expect("a runtime");
    let mut group = Box::pin(task_group(async |group| {
        let held = live.hold();
        group.spawn(async move {
            let _held = held;
            sleep(Duration::from_micros(1)).await
        });
    }));
    let waker = runtime.block_on(async {
        assert!(poll_once(group.as_mut()).await.is_pending());
        own_waker().await
    });
    forget(group);
    runtime
        .turn(Some(Duration::from_millis(1)))
        .expect("a turn");
    drop(runtime);
    waker.wake();
    assert_eq!(live.get(), 1);
}
