//! Timers: never early, never lost, cheap to drop (failure modes T1 to T10). No test checks
//! lateness.
//!
//! Long because each failure mode has its test here.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use proptest::prelude::*;
use soloio::{
    CancelScope, Error, Result, Runtime, Sleep, block_on, fail_after, interval, join,
    move_on_after, sleep, sleep_until, task_group, yield_now,
};

use crate::allocations;
use crate::support::{
    Counter, Random, Wakes, deadline, forever, give_way, own_waker, poll_once, poll_with, rounds,
    until_woken,
};

const HOUR: Duration = Duration::from_secs(3600);

fn extreme() -> impl Strategy<Value = Duration> {
    let edges = [
        Duration::ZERO,
        Duration::from_nanos(1),
        Duration::from_nanos(u64::MAX),
        Duration::from_nanos(u64::MAX - 1),
        Duration::from_nanos(1 << 63),
        Duration::from_millis(1 << 31),
        Duration::from_millis(1 << 32),
        Duration::from_secs(u64::MAX),
        Duration::MAX - Duration::from_nanos(1),
        Duration::MAX,
    ];
    prop_oneof![
        prop::sample::select(edges.to_vec()),
        (any::<u64>(), 0..1_000_000_000_u32).prop_map(|(secs, nanos)| Duration::new(secs, nanos)),
        any::<u64>().prop_map(Duration::from_nanos),
        (0..200_000_u64).prop_map(Duration::from_nanos),
    ]
}

proptest! {
    /// T1, tokio#3551 #4495 #6612, async-io#87, polling#71, mio#1657: extremes neither overflow,
    /// nor panic, nor end before their time.
    #[test]
    fn t1_no_duration_is_too_long_or_too_short(wait in extreme()) {
        let _deadline = deadline();
        let start = Instant::now();
        let short = wait < Duration::from_millis(1);
        let (slept, until, limited, ticked) = block_on(async {
            let limit = if short { HOUR } else { Duration::ZERO };
            let limited = move_on_after(limit, move_on_after(wait, forever_failing())).await;
            let slept = move_on_after(limit, sleep(wait)).await;
            let until = match start.checked_add(wait) {
                Some(instant) => move_on_after(limit, sleep_until(instant)).await,
                None => slept_never(),
            };
            let mut ticks = interval(wait);
            (slept, until, limited, move_on_after(limit, ticks.tick()).await)
        });
        prop_assert_eq!(slept.expect("no error").is_some(), short);
        prop_assert_eq!(ticked.expect("no error").is_some(), short);
        prop_assert!(until.expect("no error").is_some() || !short);
        prop_assert_eq!(limited.expect("no error"), short.then_some(None));
        prop_assert!(start.elapsed() >= wait || !short);
    }
}

fn slept_never() -> Result<Option<()>> {
    Ok(None)
}

/// Wakes itself once, and is never done.
async fn forever_failing() -> Result<()> {
    give_way().await;
    forever().await;
    Ok(())
}

/// T2, mio#1615: waits below a millisecond neither end early nor busy-loop.
#[test]
fn t2_short_sleeps_take_few_turns() {
    let _deadline = deadline();
    let mut runtime = Runtime::new().expect("a runtime");
    let (wait, count) = (Duration::from_micros(200), 200);
    let task = runtime.spawn(async move {
        for _ in 0..count {
            let start = Instant::now();
            sleep(wait).await.expect("a sleep");
            assert!(start.elapsed() >= wait);
        }
    });
    let mut turns = 0;
    while !task.is_finished() {
        runtime.turn(None).expect("a turn");
        turns += 1;
    }
    assert!(turns <= 3 * count, "{turns} turns for {count} sleeps");
}

/// T3, tokio#3069, polling "would trigger too early": no timer is early.
#[test]
fn t3_no_timer_is_early() {
    let _deadline = deadline();
    let mut random = Random::new(0x7431);
    let waits: Vec<_> = (0..rounds(100_000))
        .map(|_| Duration::from_nanos(random.next() % 5_000_000))
        .collect();
    block_on(async {
        task_group(async |group| {
            for (n, &wait) in waits.iter().enumerate() {
                group.spawn(async move {
                    let start = Instant::now();
                    match n % 2 {
                        0 => sleep(wait).await?,
                        _ => sleep_until(start + wait).await?,
                    }
                    assert!(start.elapsed() >= wait);
                    Ok(())
                });
            }
        })
        .await?;
        let start = Instant::now();
        let mut ticks = interval(Duration::from_micros(300));
        for n in 1..50 {
            ticks.tick().await?;
            assert!(start.elapsed() >= n * Duration::from_micros(300));
        }
        Ok::<_, Error>(())
    })
    .expect("no operation fails");
}

/// T4, tokio#8252 #3229 #8169: timers are made, moved, dropped and polled anew in any order; the
/// remaining ones all end, once, and not before their time.
#[test]
fn t4_timers_made_and_dropped_at_random_end_as_they_should() {
    let _deadline = deadline();
    let mut random = Random::new(0x7434);
    let mut timers: Vec<(Instant, Sleep)> = Vec::new();
    block_on(async {
        for _ in 0..rounds(200_000) {
            match random.below(8) {
                0..=3 => {
                    let due = Instant::now() + Duration::from_nanos(random.next() % 500_000);
                    timers.push((due, sleep_until(due)));
                }
                4 if !timers.is_empty() => drop(timers.swap_remove(random.below(timers.len()))),
                5 if random.below(50) == 0 => yield_now().await?,
                6 if !timers.is_empty() => {
                    let due = Instant::now() + Duration::from_nanos(random.next() % 500_000);
                    let at = random.below(timers.len());
                    timers[at].0 = due;
                    timers[at].1.reset(due);
                }
                _ if !timers.is_empty() => {
                    let at = random.below(timers.len());
                    if let Poll::Ready(slept) = poll_once(Pin::new(&mut timers[at].1)).await {
                        slept?;
                        assert!(Instant::now() >= timers.swap_remove(at).0);
                    }
                }
                _ => {}
            }
        }
        for (due, slept) in join_all(timers.into_iter().map(async |(due, t)| (due, t.await))).await
        {
            slept?;
            assert!(Instant::now() >= due);
        }
        Ok::<_, Error>(())
    })
    .expect("no operation fails");
}

#[test]
fn a_sleep_that_is_moved_ends_at_its_new_moment() {
    let _deadline = deadline();
    let mut pause = sleep(HOUR);
    let in_a_moment = || Instant::now() + Duration::from_millis(2);
    block_on(async {
        // The deadline is set before the first poll, while it waits, and after it has ended.
        for _ in 0..3 {
            let due = in_a_moment();
            pause.reset(due);
            (&mut pause).await?;
            assert!(Instant::now() >= due);
            (&mut pause).await?;
            pause.reset(Instant::now() + HOUR);
            assert!(poll_once(Pin::new(&mut pause)).await.is_pending());
        }
        // A wait continues when another task moves its deadline, to either side.
        let pause = RefCell::new(&mut pause);
        let wait = poll_fn(|cx| Pin::new(&mut **pause.borrow_mut()).poll(cx));
        let due = Instant::now() + Duration::from_millis(4);
        let mover = async {
            for moment in [due + 2 * HOUR, due + HOUR, due + 3 * HOUR, due] {
                pause.borrow_mut().reset(moment);
                sleep(Duration::from_micros(500)).await?;
            }
            Ok(())
        };
        let (waited, moved) = join((wait, mover)).await;
        assert!(Instant::now() >= due);
        waited.and(moved)?;
        // After `reset` it counts as new, so it ends immediately in a cancelled scope.
        let scope = CancelScope::new();
        scope.cancel("for the test");
        pause.borrow_mut().reset(in_a_moment());
        let wait = poll_fn(|cx| Pin::new(&mut **pause.borrow_mut()).poll(cx));
        assert!(matches!(scope.run(wait).await, Some(Err(Error::Cancelled))));
        Ok::<_, Error>(())
    })
    .expect("no operation fails");
    // The sleep was set in a runtime that has ended.
    let due = in_a_moment();
    pause.reset(due);
    block_on(&mut pause).expect("a sleep");
    assert!(Instant::now() >= due);
}

/// T5, tokio#6683: a deadline before the one that the loop waits for shortens the wait.
#[test]
fn t5_a_new_earliest_deadline_shortens_the_wait() {
    let _deadline = deadline();
    block_on(task_group(async |group| {
        let long = group.spawn(sleep(HOUR));
        for _ in 0..20 {
            let waker = own_waker().await;
            let thread = thread::spawn(move || {
                thread::sleep(Duration::from_micros(200));
                waker.wake();
            });
            until_woken().await;
            sleep(Duration::from_micros(500)).await?;
            thread.join().expect("no wake panics");
        }
        long.cancel();
        Ok(())
    }))
    .expect("no operation fails");
}

/// T6, anyio#1306 #1317, and T10: a deadline that has passed, or is now, takes one turn.
#[test]
fn t6_a_deadline_that_has_passed_lets_the_loop_come_round_once() {
    let mut runtime = Runtime::new().expect("a runtime");
    let past = Instant::now();
    for n in 0..100 {
        let task = runtime.spawn(async move {
            match n % 3 {
                0 => sleep_until(past).await,
                1 => sleep_until(Instant::now()).await,
                _ => sleep(Duration::ZERO).await,
            }
        });
        runtime.turn(Some(Duration::ZERO)).expect("a turn");
        assert!(!task.is_finished(), "everybody else comes first");
        runtime.turn(Some(Duration::ZERO)).expect("a turn");
        runtime.turn(Some(Duration::ZERO)).expect("a turn");
        assert!(task.is_finished());
    }
    let limited = block_on(fail_after(Duration::ZERO, forever_failing()));
    assert!(matches!(limited, Err(Error::TimedOut(_))));
}

/// T7, async-io#73: timers fire in each turn, however busy the other tasks are.
#[test]
fn t7_timers_end_beside_tasks_that_are_always_busy() {
    let _deadline = deadline();
    let done = Cell::new(false);
    block_on(task_group(async |group| {
        for _ in 0..300 {
            group.spawn(async {
                while !done.get() {
                    yield_now().await?;
                }
                Ok(())
            });
        }
        let mut ticks = interval(Duration::from_micros(500));
        for _ in 0..20 {
            ticks.tick().await?;
        }
        done.set(true);
        Ok(())
    }))
    .expect("no operation fails");
}

/// T8, tokio#8093: many timers at one instant are spread over turns, each of which polls the
/// kernel.
#[test]
fn t8_timers_of_one_instant_do_not_make_one_long_turn() {
    let _deadline = deadline();
    let mut runtime = Runtime::new().expect("a runtime");
    let (total, due, fired) = (rounds(1_000_000), Instant::now(), Counter::new());
    for n in 0..total {
        let fired = fired.clone();
        let one = async move {
            sleep_until(due).await.expect("a sleep");
            fired.add();
        };
        match n % 2 {
            0 => drop(runtime.spawn(one)),
            _ => drop(runtime.spawn(task_group(async |group| group.spawn(one).await))),
        }
    }
    while fired.get() < total {
        let before = fired.get();
        runtime.turn(Some(Duration::ZERO)).expect("a turn");
        assert!(
            fired.get() - before <= 1024,
            "{} in one turn",
            fired.get() - before
        );
    }
}

/// T9: a time limit that is not reached leaves nothing behind, and allocates nothing.
#[test]
fn t9_dropped_timers_leave_nothing() {
    block_on(async {
        fail_after(HOUR, yield_now()).await?;
        // In its first turn the loop allocates room for the timers it wakes.
        sleep(Duration::ZERO).await?;
        let before = allocations::made();
        for _ in 0..rounds(1_000_000) {
            fail_after(HOUR, yield_now()).await?;
        }
        assert_eq!(allocations::made() - before, 0);
        Ok::<_, Error>(())
    })
    .expect("no operation fails");
}

/// E14 for timers: a sleep that is dropped or done holds no waker.
#[test]
fn a_timer_that_is_gone_holds_no_waker() {
    let wakes = Wakes::new();
    let waker = Waker::from(Arc::clone(&wakes));
    let mut runtime = Runtime::new().expect("a runtime");
    let own = Arc::strong_count(&wakes);
    let mut place = Box::pin(sleep(HOUR));
    runtime.block_on(async { assert!(poll_with(place.as_mut(), &waker).is_pending()) });
    assert_eq!(Arc::strong_count(&wakes), own + 1);
    // Dropped between turns, here and on another thread: the runtime releases it when its bell
    // rings.
    drop(place);
    runtime.turn(None).expect("it was rung");
    assert_eq!(Arc::strong_count(&wakes), own);
    let mut place = Box::pin(sleep(HOUR));
    runtime.block_on(async { assert!(poll_with(place.as_mut(), &waker).is_pending()) });
    thread::spawn(move || drop(place)).join().expect("no panic");
    runtime.turn(None).expect("it was rung");
    assert_eq!(Arc::strong_count(&wakes), own);
    assert_eq!(runtime.next_timeout(), None);
    // The same for a sleep that outlives its runtime.
    let mut place = Box::pin(sleep(HOUR));
    runtime.block_on(async { assert!(poll_with(place.as_mut(), &waker).is_pending()) });
    drop(runtime);
    assert_eq!(Arc::strong_count(&wakes), own);
    drop(place);
    assert_eq!(wakes.count(), 0);
}

/// A sleep that moves to another runtime, on another thread, keeps its deadline.
#[test]
fn a_sleep_keeps_its_deadline_when_it_moves() {
    let _deadline = deadline();
    let total = Duration::from_secs(1000);
    let mut place = Box::pin(sleep(total));
    let waited = Duration::from_millis(5);
    block_on(async { assert!(poll_once(place.as_mut()).await.is_pending()) });
    thread::sleep(waited);
    let left = thread::spawn(move || {
        let mut runtime = Runtime::new().expect("a runtime");
        runtime.block_on(async { assert!(poll_once(place.as_mut()).await.is_pending()) });
        runtime.next_timeout()
    });
    let left = left.join().expect("no panic").expect("a deadline");
    assert!(left <= total - waited, "{left:?}");

    // Here the sleep ends in the other runtime.
    let (start, wait) = (Instant::now(), Duration::from_millis(3));
    let mut place = Box::pin(sleep(wait));
    block_on(async { assert!(poll_once(place.as_mut()).await.is_pending()) });
    let ended = thread::spawn(move || block_on(place))
        .join()
        .expect("no panic");
    ended.expect("a sleep");
    assert!(start.elapsed() >= wait);
}

/// Ticks keep to the multiples of their period, skip missed ones, and survive a drop.
#[test]
fn ticks_keep_to_their_grid() {
    let _deadline = deadline();
    let period = Duration::from_millis(1);
    block_on(async {
        let start = Instant::now();
        let mut ticks = interval(period);
        assert!(move_on_after(Duration::ZERO, ticks.tick()).await?.is_none());
        ticks.tick().await?;
        thread::sleep(4 * period);
        let late = start.elapsed();
        ticks.tick().await?;
        ticks.tick().await?;
        // The missed tick came immediately, the next one lies in the future again.
        assert!(start.elapsed() >= late.max(5 * period));
        let mut zero = interval(Duration::ZERO);
        for _ in 0..100 {
            zero.tick().await?;
        }
        Ok::<_, Error>(())
    })
    .expect("no operation fails");
}

/// The deadline of a limit counts from the future's first wait. A future that is ready immediately
/// needs no timer; one that ends wins over a limit that is over too.
#[test]
fn a_limit_yields_to_a_future_that_is_done() {
    let dropped = Counter::new();
    block_on(async {
        assert_eq!(
            fail_after(Duration::ZERO, async { Ok::<_, Error>(1) }).await?,
            1
        );
        let (told, news) = channel();
        let late = async {
            give_way().await;
            thread::sleep(Duration::from_millis(1));
            told.send(()).expect("somebody listens");
            Ok::<_, Error>(2)
        };
        let ended = move_on_after(Duration::from_micros(1), late).await?;
        assert_eq!(ended.is_some(), news.try_recv().is_ok());
        let held = dropped.hold();
        let never = async move {
            let _held = held;
            forever_failing().await
        };
        assert!(
            move_on_after(Duration::from_micros(1), never)
                .await?
                .is_none()
        );
        assert_eq!(
            dropped.get(),
            0,
            "it is dropped before the limit is reported"
        );
        Ok::<_, Error>(())
    })
    .expect("no operation fails");
}
