//! Wakers with a clone, wake and drop that misbehave, at every place where the runtime touches a
//! waker that is not its own (failure mode E4). Long because all tests share one waker.

#![allow(
    unsafe_code,
    reason = "a waker with a clone of its own is made by hand"
)]

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use soloio::{CancelScope, Result, Runtime, TaskHandle, block_on, sleep, task_group};

use crate::support::{
    Counter, Gate, OnDrop, deadline, forever, give_way, own_waker, poll_once, quiet_panic,
};

/// The function of the waker that was called.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Call {
    Clone,
    Wake,
    Drop,
}

type Mischief = Box<dyn FnMut(Call)>;

thread_local! {
    /// The action of this thread's hostile wakers. It is taken out during a call, so it does not
    /// nest.
    static MISCHIEF: RefCell<Option<Mischief>> = const { RefCell::new(None) };
    static CALLS: Cell<usize> = const { Cell::new(0) };
}

fn called(call: Call) {
    CALLS.set(CALLS.get() + 1);
    let mischief = MISCHIEF.take();
    if let Some(mut mischief) = mischief {
        let panic = catch_unwind(AssertUnwindSafe(|| mischief(call)));
        MISCHIEF.set(Some(mischief));
        if let Err(payload) = panic {
            std::panic::resume_unwind(payload);
        }
    }
}

static VTABLE: RawWakerVTable = RawWakerVTable::new(
    |data| {
        called(Call::Clone);
        RawWaker::new(data, &VTABLE)
    },
    |_| {
        // `wake` takes the waker by value: it is dropped afterwards.
        called(Call::Wake);
        called(Call::Drop);
    },
    |_| called(Call::Wake),
    |_| called(Call::Drop),
);

/// Returns a waker that runs this thread's action; on other threads it does nothing.
fn hostile() -> Waker {
    // SAFETY: the functions ignore the data, and touch only locals of the calling thread.
    unsafe { Waker::new(std::ptr::null(), &VTABLE) }
}

/// Sets the action until the guard is dropped; resets the count of calls.
fn mischief(what: impl FnMut(Call) + 'static) -> impl Drop {
    MISCHIEF.set(Some(Box::new(what)));
    CALLS.set(0);
    OnDrop(|| MISCHIEF.set(None))
}

type Boxed<'a> = Pin<Box<dyn Future<Output = Result<()>> + 'a>>;

/// One future for each way to wait, to be polled with a hostile waker.
fn waits<'a>(gate: &'a Gate) -> Vec<Boxed<'a>> {
    let group = || {
        task_group(async |group| {
            group.spawn(gate.wait());
            group.spawn(sleep(Duration::from_micros(100)));
            group.spawn(async {
                give_way().await;
                task_group(async |inner| inner.spawn(gate.wait()).await).await
            });
        })
    };
    vec![
        Box::pin(sleep(Duration::from_micros(100))),
        Box::pin(sleep(Duration::from_secs(3600))),
        Box::pin(soloio::yield_now()),
        Box::pin(group()),
        Box::pin(soloio::fail_after(Duration::from_secs(3600), group())),
        Box::pin(soloio::fail_after(Duration::from_micros(50), group())),
    ]
}

fn poll(future: &mut Boxed<'_>, waker: &Waker) -> bool {
    future
        .as_mut()
        .poll(&mut Context::from_waker(waker))
        .is_ready()
}

/// Polls each with hostile and good wakers in turn, wakes some, and drops the rest.
async fn provoke(group: &soloio::TaskGroup<'_, '_>) -> Result<()> {
    let gate = Rc::new(Gate::default());
    let good = own_waker().await;
    for round in 0..4 {
        let mut all = waits(&gate);
        for waker in [hostile(), good.clone(), hostile(), hostile()] {
            all.retain_mut(|future| !poll(future, &waker));
            sleep(Duration::from_micros(60)).await?;
        }
        if round % 2 == 1 {
            gate.open();
            give_way().await;
        }
        let waker = hostile();
        all.retain_mut(|future| !poll(future, &waker));
        sleep(Duration::from_micros(60)).await?;
        drop(all);
    }
    let _group = group;
    Ok(())
}

/// E4, tokio-core#190, tokio#5429: a waker's clone, wake and drop may spawn, cancel, sleep, enter
/// another runtime and drop one: nothing is borrowed at that moment.
#[test]
fn e4_wakers_may_come_back_in_from_clone_wake_and_drop() {
    let _deadline = deadline();
    let mut runtime = Runtime::new().expect("a runtime");
    let other = Rc::new(RefCell::new(Runtime::new().expect("a runtime")));
    let handles: Rc<RefCell<Vec<TaskHandle<'static, ()>>>> = Rc::default();
    let sleeps: Rc<RefCell<Vec<Boxed<'static>>>> = Rc::default();
    let live = Counter::new();
    let spawner = Rc::new(Runtime::new().expect("a runtime"));
    let victims: Vec<_> = (0..200).map(|_| runtime.spawn(forever())).collect();
    handles.borrow_mut().extend(victims);
    let mut count = 0;
    let (theirs, timers, held) = (Rc::clone(&handles), Rc::clone(&sleeps), live.clone());
    let _mischief = mischief(move |_| {
        count += 1;
        match count % 6 {
            // Cancels, and thereby wakes, tasks of the runtime that is running.
            0 => drop(theirs.borrow_mut().pop().inspect(TaskHandle::cancel)),
            1 => {
                let mut long: Boxed<'static> = Box::pin(sleep(Duration::from_secs(3600)));
                poll(&mut long, Waker::noop());
                timers.borrow_mut().push(long);
            }
            2 => drop(timers.borrow_mut().pop()),
            3 => {
                let held = held.hold();
                drop(spawner.spawn(async move { drop(held) }));
            }
            4 => {
                let mut other = other.borrow_mut();
                let child = task_group(async |group| group.spawn(async { Ok(1) }).await);
                drop(other.spawn(child));
                other.turn(Some(Duration::ZERO)).expect("a turn");
            }
            _ => {
                let short = Runtime::new().expect("a runtime");
                drop(short.spawn(sleep(Duration::from_secs(3600))));
            }
        }
    });
    runtime
        .block_on(task_group(async |group| provoke(group).await))
        .expect("no error");
    assert!(CALLS.get() > 50, "{} calls", CALLS.get());
    sleeps.take();
    drop(runtime);
}

/// E7: a waker that panics leaves the runtime in order.
#[test]
fn e7_wakers_that_panic_leave_the_runtime_in_order() {
    let _deadline = deadline();
    for bad in [Call::Clone, Call::Wake, Call::Drop] {
        let mut runtime = Runtime::new().expect("a runtime");
        let guard = panic_at(bad);
        for _ in 0..20 {
            let turn =
                AssertUnwindSafe(|| runtime.block_on(task_group(async |g| provoke(g).await)));
            if let Err(payload) = catch_unwind(turn) {
                assert_eq!(crate::support::message(&*payload), "in a waker");
            }
        }
        drop(guard);
        let value = runtime.block_on(async {
            sleep(Duration::from_micros(10)).await?;
            task_group(async |group| group.spawn(async { Ok(4) }).await).await
        });
        assert_eq!(value.expect("all is well again"), 4);
    }
}

/// A second panic during the first would abort the process, wherever the waker is dropped.
fn panic_at(bad: Call) -> impl Drop {
    mischief(move |call| {
        if call == bad && !std::thread::panicking() {
            quiet_panic("in a waker");
        }
    })
}

/// E7: a waker that panics loses no other wake of the same turn: tasks wait for timers, for bytes
/// and for an event, and before and after each of them waits a future with a hostile waker.
#[test]
fn e7_wakers_that_panic_lose_no_other_wake() {
    const SHORT: Duration = Duration::from_millis(2);
    let _deadline = deadline();
    for bad in [Call::Wake, Call::Drop] {
        let mut runtime = Runtime::new().expect("a runtime");
        let (woken, event) = (Counter::new(), Rc::new(soloio::Event::new()));
        let mut hostiles: Vec<Boxed<'static>> = Vec::new();
        let mut tasks = Vec::new();
        for kind in 0..12 {
            let (done, happens) = (woken.clone(), Rc::clone(&event));
            let (ours, theirs) = soloio::create_memory_byte_stream(1);
            tasks.push(runtime.spawn(async move {
                match kind % 3 {
                    0 => sleep(SHORT).await.expect("inside a runtime"),
                    1 => happens.wait().await.expect("inside a runtime"),
                    _ => drop(ours.receive().await.expect("a byte")),
                }
                done.add();
            }));
            let happens = Rc::clone(&event);
            let mut wait: Boxed<'static> = match kind % 2 {
                0 => Box::pin(sleep(SHORT)),
                _ => Box::pin(async move { happens.wait().await }),
            };
            runtime.block_on(async {
                give_way().await;
                assert!(!poll(&mut wait, &hostile()));
            });
            hostiles.push(wait);
            let happens = Rc::clone(&event);
            drop(runtime.spawn(async move {
                happens.wait().await.expect("inside a runtime");
                theirs.send(b"!").await.expect("sent");
            }));
        }
        let guard = panic_at(bad);
        let mut panics = 0;
        panics += usize::from(catch_unwind(AssertUnwindSafe(|| event.set())).is_err());
        // Every timer above is due before this one.
        let mut last = runtime.spawn(sleep(SHORT));
        while !last.is_finished() {
            let turn = catch_unwind(AssertUnwindSafe(|| runtime.turn(None)));
            panics += usize::from(turn.is_err());
        }
        assert!(panics >= 1, "{bad:?}");
        drop(guard);
        let slept = runtime.block_on(&mut last).expect("it was not cancelled");
        slept.expect("inside a runtime");
        runtime.turn(Some(Duration::ZERO)).expect("a turn");
        assert_eq!(woken.get(), 12, "{bad:?}");
        drop(hostiles);
    }
}

/// E7: a waker panics while wakes from another thread are queued behind its own.
#[test]
fn e7_a_panicking_waker_does_not_lose_the_wakes_behind_it() {
    let _deadline = deadline();
    let mut runtime = Runtime::new().expect("a runtime");
    let wakers: Rc<RefCell<Vec<Waker>>> = Rc::default();
    let woken = Counter::new();
    // The first task waits inside a group whose waker panics, the others are plain tasks.
    let own = Rc::clone(&wakers);
    let mut group: Boxed<'static> = Box::pin(task_group(async move |group| {
        group.spawn(async move {
            let waker = own_waker().await;
            own.borrow_mut().push(waker);
            forever().await;
        });
        give_way().await;
        forever().await;
    }));
    runtime.block_on(async {
        assert!(!poll(&mut group, &hostile()));
        assert!(!poll(&mut group, &hostile()));
    });
    for _ in 0..10 {
        let (own, woken) = (Rc::clone(&wakers), woken.clone());
        drop(runtime.spawn(async move {
            let waker = own_waker().await;
            own.borrow_mut().push(waker);
            crate::support::until_woken().await;
            woken.add();
        }));
    }
    runtime.turn(Some(Duration::ZERO)).expect("a turn");
    let all = wakers.take();
    std::thread::spawn(move || all.iter().for_each(Waker::wake_by_ref))
        .join()
        .expect("no panic");
    let guard = mischief(|call| {
        if call == Call::Wake {
            quiet_panic("in a waker");
        }
    });
    let turn = catch_unwind(AssertUnwindSafe(|| runtime.turn(Some(Duration::ZERO))));
    assert!(turn.is_err(), "the waker's panic goes on");
    drop(guard);
    for _ in 0..3 {
        runtime.turn(Some(Duration::ZERO)).expect("a turn");
    }
    assert_eq!(woken.get(), 10);
    drop(group);
}

/// A joiner's waker panics while the cancelled task's drop panics: the process is not aborted.
#[test]
fn e7_a_panicking_joiner_and_a_panicking_drop_do_not_abort() {
    let mut runtime = Runtime::new().expect("a runtime");
    let _mischief = mischief(|call| {
        if call == Call::Wake {
            quiet_panic("in a waker");
        }
    });
    let mut task = runtime.spawn(async {
        let _guard = OnDrop(|| quiet_panic("in drop"));
        forever().await;
    });
    runtime.block_on(async {
        give_way().await;
        let polled = Pin::new(&mut task).poll(&mut Context::from_waker(&hostile()));
        assert!(matches!(polled, Poll::Pending));
    });
    task.cancel();
    let turned = catch_unwind(AssertUnwindSafe(|| runtime.turn(Some(Duration::ZERO))));
    assert_eq!(
        crate::support::message(&*turned.expect_err("a panic")),
        "in drop"
    );
    assert!(task.is_finished());
}

/// A panicking drop does not lose the other values that were dropped outside the loop.
#[test]
fn e7_a_panicking_drop_does_not_lose_what_was_dropped_elsewhere() {
    const HOUR: Duration = Duration::from_secs(3600);
    let mut runtime = Runtime::new().expect("a runtime");
    let scope = CancelScope::new();
    let mut inner: Boxed<'static> = Box::pin(sleep(HOUR));
    let mut other: Boxed<'static> = Box::pin(sleep(HOUR));
    let mut run = Box::pin(scope.run(poll_fn(|_| match poll(&mut inner, &hostile()) {
        true => Poll::Ready(()),
        false => Poll::Pending,
    })));
    runtime.block_on(async {
        assert!(poll_once(run.as_mut()).await.is_pending());
        assert!(poll_once(other.as_mut()).await.is_pending());
    });
    drop(run);
    drop(other);
    let guard = mischief(|call| {
        if call == Call::Drop && !std::thread::panicking() {
            quiet_panic("in a drop");
        }
    });
    let turn = catch_unwind(AssertUnwindSafe(|| runtime.turn(Some(Duration::ZERO))));
    assert!(turn.is_err(), "the drop's panic goes on");
    drop(guard);
    drop(inner);
    runtime.turn(Some(Duration::ZERO)).expect("a turn");
    assert_eq!(runtime.next_timeout(), None, "the timer is gone");
    assert!(format!("{runtime:?}").contains("scopes: 0"), "{runtime:?}");
}

/// Cancelling a scope, or moving its deadline, calls no waker while the scope's runs are borrowed.
#[test]
fn e4_the_wakers_of_a_scope_may_come_back_in_to_it() {
    for bad in [Call::Clone, Call::Wake, Call::Drop] {
        let scope = Rc::new(CancelScope::new());
        let run = || -> Boxed<'static> {
            let scope = Rc::clone(&scope);
            Box::pin(async move { scope.run(forever()).await.map_or(Ok(()), Ok) })
        };
        block_on(async {
            let (mut first, mut second) = (run(), run());
            assert!(!poll(&mut first, &hostile()) && !poll(&mut second, &hostile()));
            let (mut victim, again) = (Some(second), Rc::clone(&scope));
            let _mischief = mischief(move |call| {
                if call == bad {
                    drop(victim.take());
                    again.set_deadline(None);
                }
            });
            scope.set_deadline(Some(Instant::now() + Duration::from_secs(3600)));
            assert!(!poll(&mut first, &hostile()));
            scope.cancel("the end");
            assert!(poll(&mut first, &hostile()), "dropped");
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 64 } else { 512 }))]

    /// E4 with these actions in random order.
    #[test]
    fn e4_mischief_in_any_order(what in prop::collection::vec(0..5_u8, 1..20)) {
        let _deadline = deadline();
        let other = Rc::new(RefCell::new(Runtime::new().expect("a runtime")));
        let timers: Rc<RefCell<Vec<Boxed<'static>>>> = Rc::default();
        let (mine, mut at) = (Rc::clone(&timers), 0);
        let _mischief = mischief(move |_| {
            at += 1;
            match what[at % what.len()] {
                0 => {
                    let mut long: Boxed<'static> = Box::pin(sleep(Duration::from_micros(30)));
                    poll(&mut long, Waker::noop());
                    mine.borrow_mut().push(long);
                }
                1 => drop(mine.borrow_mut().pop()),
                2 => other.borrow_mut().turn(Some(Duration::ZERO)).expect("a turn"),
                3 => drop(other.borrow().spawn(sleep(Duration::from_micros(20)))),
                _ if std::thread::panicking() => {}
                _ => quiet_panic("in a waker"),
            }
        });
        for _ in 0..4 {
            let run = AssertUnwindSafe(|| block_on(task_group(async |group| provoke(group).await)));
            if let Ok(ended) = catch_unwind(run) {
                prop_assert!(ended.is_ok());
            }
        }
        timers.take();
        let again = block_on(sleep(Duration::ZERO));
        prop_assert!(again.is_ok());
    }
}

/// A TLS stream wakes its receiver while nothing is borrowed: clone, wake and drop of the waker may
/// drop the receive.
#[cfg(all(feature = "full", any(feature = "ring", feature = "aws-lc-rs")))]
#[test]
fn a_tls_receive_may_be_dropped_by_its_own_waker() {
    let _deadline = deadline();
    for wanted in [Call::Clone, Call::Wake, Call::Drop] {
        block_on(async {
            let pair = soloio::create_memory_byte_stream(100_000);
            let (ours, _theirs) = crate::tls_support::tls_over(pair, true).await;
            let ours = Rc::new(ours);
            let receiver = Rc::clone(&ours);
            let mut receive: Boxed<'static> =
                Box::pin(async move { receiver.receive().await.map(drop) });
            let shelf = Rc::new(RefCell::new(None));
            let held = Rc::clone(&shelf);
            let _mischief = mischief(move |call| {
                if call == wanted {
                    let gone: Option<Boxed<'static>> = held.take();
                    drop(gone);
                }
            });
            assert!(!poll(&mut receive, &hostile()), "nothing came");
            shelf.replace(Some(receive));
            ours.abort();
            drop(shelf.take());
        });
    }
}
