//! race, join and try_join: fairness, the time of each drop, the results.

use std::cell::RefCell;
use std::future::{Future, pending, poll_fn, ready};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use soloio::{
    Error, Result, Winner, create_memory_object_stream, join, move_on_after, race, sleep, try_join,
};

use crate::net_support::{refused, run, turns};
use crate::support::{Counter, OnDrop, rounds};

/// E13: a race that always begins with the same arm starves the others (tokio's `join!`, #4624).
#[test]
fn arms_that_are_always_ready_win_equally_often() {
    run(async {
        let (mut three, mut two, mut listed) = ([0_usize; 3], [0_usize; 2], [0_usize; 5]);
        let all = rounds(30_000);
        for _ in 0..all {
            match race((ready(()), ready(()), ready(()))).await {
                Winner::First(()) => three[0] += 1,
                Winner::Second(()) => three[1] += 1,
                Winner::Third(()) => three[2] += 1,
            }
            // Races that alternate in a loop do not get in step with each other.
            match race((ready(()), ready(()))).await {
                Winner::First(()) => two[0] += 1,
                Winner::Second(()) => two[1] += 1,
            }
            listed[race([(); 5].map(ready)).await.0] += 1;
        }
        let fair = |wins: &[usize]| {
            let share = all / wins.len();
            assert!(
                wins.iter().all(|won| won.abs_diff(share) <= share / 20),
                "{wins:?}"
            );
        };
        fair(&three);
        fair(&two);
        fair(&listed);
    });
}

/// The same with two streams that always have items: each receives half of the turns.
#[test]
fn both_of_two_busy_streams_are_received_from() {
    run(async {
        let streams = [(); 2].map(|()| create_memory_object_stream(rounds(10_000)));
        let [(fill_a, a), (fill_b, b)] = &streams;
        for number in 0..rounds(10_000) {
            fill_a.send_nowait(number).expect("room");
            fill_b.send_nowait(number).expect("room");
        }
        let mut got = [0; 2];
        for _ in 0..rounds(10_000) {
            let (place, number) = match race((a.receive(), b.receive())).await {
                Winner::First(number) => (0, number),
                Winner::Second(number) => (1, number),
            };
            assert_eq!(
                number.expect("an item"),
                got[place],
                "a loser has taken nothing"
            );
            got[place] += 1;
        }
        assert!(got[0].abs_diff(got[1]) <= rounds(10_000) / 20, "{got:?}");
    });
}

#[test]
fn losers_are_dropped_before_it_returns() {
    run(async {
        let alive = Counter::new();
        let held = async |result: Option<usize>| {
            let _held = alive.hold();
            turns(1).await;
            match result {
                Some(value) => value,
                None => pending().await,
            }
        };
        let winner = race((held(None), held(Some(2)), held(None))).await;
        assert_eq!(alive.get(), 0);
        assert!(matches!(winner, Winner::Second(2)));
        let winner = race(vec![held(None), held(Some(3))]).await;
        assert_eq!((alive.get(), winner), (0, (1, 3)));
        let winner = race([held(Some(4))]).await;
        assert_eq!((alive.get(), winner), (0, (0, 4)));
        let never = race(Vec::<std::future::Pending<()>>::new());
        let ended = move_on_after(Duration::from_millis(1), async {
            Ok::<_, Error>(never.await)
        });
        assert!(
            ended.await.expect("no error").is_none(),
            "a race of none never ends"
        );
    });
}

#[test]
fn up_to_eight_that_differ() {
    run(async {
        let never = pending::<u8>;
        let nested = race((never(), async { race((never(), ready('x'))).await }));
        assert!(matches!(nested.await, Winner::Second(Winner::Second('x'))));
        let last = (
            never(),
            pending::<()>(),
            never(),
            sleep(Duration::MAX),
            never(),
            never(),
            never(),
            ready("last"),
        );
        match race(last).await {
            Winner::Eighth(last) => assert_eq!(last, "last"),
            other => panic!("{other:?}"),
        }
        let all = join((
            ready(1),
            ready("2"),
            ready('3'),
            ready(()),
            ready(5.0),
            ready(Some(6)),
            ready([7]),
            ready(true),
        ));
        assert_eq!(all.await, (1, "2", '3', (), 5.0, Some(6), [7], true));
    });
}

#[test]
fn join_gives_all_outputs_in_order() {
    run(async {
        let late = async |after: usize| {
            turns(after).await;
            after
        };
        assert_eq!(join((late(3), late(0))).await, (3, 0));
        assert_eq!(join([late(2), late(0), late(1)]).await, [2, 0, 1]);
        let none: Vec<std::future::Ready<()>> = Vec::new();
        assert!(join(none).await.is_empty());
        let tried: Result<_> = try_join(vec![ready(Ok(1)), ready(Ok(2))]).await;
        assert_eq!(tried.expect("no error"), [1, 2]);
        let tried: Result<_> = try_join((ready(Ok(1)), async { Ok("2") })).await;
        assert_eq!(tried.expect("no error"), (1, "2"));
    });
}

#[test]
fn the_first_error_drops_the_others() {
    run(async {
        let log = Rc::new(RefCell::new(Vec::new()));
        let part = async |name: usize, after: usize, result: Result<usize>| {
            let log = Rc::clone(&log);
            let _guard = OnDrop(move || log.borrow_mut().push(name));
            turns(after).await;
            result
        };
        let tried = try_join((
            part(0, 1, Ok(0)),
            part(1, 2, Err(Error::Busy)),
            part(2, 9, Err(Error::Closed)),
        ));
        refused!(tried.await, Error::Busy);
        assert_eq!(log.borrow_mut().len(), 3, "all are dropped when it returns");
        log.borrow_mut().clear();
        let tried = try_join([part(0, 9, Ok(0)), part(1, 1, Err(Error::Closed))]);
        refused!(tried.await, Error::Closed);
        assert_eq!(log.borrow_mut().len(), 2);
        // An error decides a race, too.
        let raced = race((part(0, 9, Ok(0)), part(1, 1, Err(Error::Closed)))).await;
        assert!(matches!(raced, Winner::Second(Err(Error::Closed))));
    });
}

/// A future is dropped when it is done: its resources are free for the others.
#[test]
fn a_future_that_is_done_does_not_outlive_its_end() {
    run(async {
        let alive = Counter::new();
        let held = || {
            let held = Some(alive.hold());
            poll_fn(move |_| Poll::Ready(Ok::<_, Error>(usize::from(held.is_some()))))
        };
        let later = async || {
            turns(2).await;
            Ok::<_, Error>(alive.get())
        };
        let (one, left) = join((held(), later())).await;
        assert_eq!((one.ok(), left.ok()), (Some(1), Some(0)));
        assert_eq!(try_join((held(), later())).await.ok(), Some((1, 0)));
        type Either<'a> = Pin<Box<dyn Future<Output = Result<usize>> + 'a>>;
        let both: [Either<'_>; 2] = [Box::pin(held()), Box::pin(later())];
        assert_eq!(try_join(both).await.ok(), Some([1, 0]));
    });
}
