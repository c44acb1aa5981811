//! The order against its twin; races against scripts.

use super::*;
use std::cell::RefCell;
use std::collections::HashSet;
use std::future::ready;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::rc::Rc;
use std::task::Waker;

use proptest::prelude::*;

use crate::error::Error;
use crate::runtime::block_on;

const HOUR: Duration = Duration::from_secs(3600);

fn v4(n: u8) -> SocketAddr {
    (Ipv4Addr::new(127, 0, 0, n), 1).into()
}

fn v6(n: u8) -> SocketAddr {
    (Ipv6Addr::from([n; 16]), 1).into()
}

/// The table of docs/anyio.md.
#[test]
fn the_families_take_turns_from_the_resolvers_first() {
    for (found, tried) in [
        (
            vec![v4(1), v6(1), v4(2), v6(2)],
            vec![v4(1), v6(1), v4(2), v6(2)],
        ),
        (
            vec![v6(1), v6(2), v4(1), v4(2)],
            vec![v6(1), v4(1), v6(2), v4(2)],
        ),
        (vec![v4(2), v4(1), v4(3)], vec![v4(2), v4(1), v4(3)]),
        (
            vec![v4(1), v4(2), v4(3), v6(1)],
            vec![v4(1), v6(1), v4(2), v4(3)],
        ),
        (vec![v4(1), v4(1), v6(1), v4(1)], vec![v4(1), v6(1)]),
        (vec![], vec![]),
    ] {
        assert_eq!(order(found.clone()), tried, "of {found:?}");
    }
}

proptest! {
    /// The same rule in other words: of the remaining addresses the first of the family that
    /// has its turn, or else the first.
    #[test]
    fn the_order_agrees_with_its_twin(
        found in prop::collection::vec((any::<bool>(), 0..9u8), 0..20),
    ) {
        let address = |(six, n): &(bool, u8)| if *six { v6(*n) } else { v4(*n) };
        let found: Vec<_> = found.iter().map(address).collect();
        let mut seen = HashSet::new();
        let once = |address: &SocketAddr| seen.insert(*address);
        let unique: Vec<_> = found.iter().copied().filter(once).collect();
        let mut left = unique.clone();
        let mut turn = found.first().is_some_and(SocketAddr::is_ipv4);
        let mut expected = Vec::new();
        while !left.is_empty() {
            let at = left.iter().position(|address| address.is_ipv4() == turn);
            expected.push(left.remove(at.unwrap_or(0)));
            turn = !turn;
        }
        prop_assert_eq!(order(unique), expected.clone());
        prop_assert_eq!(order(found), expected);
    }
}

fn refused(address: SocketAddr) -> io::Error {
    io::Error::other(format!("no {address}"))
}

/// Attempts that a test ends at will; records the attempts that began and those that were
/// dropped.
#[derive(Default, Clone)]
struct Attempts(Rc<RefCell<Vec<Attempt>>>);

struct Attempt {
    address: SocketAddr,
    result: Option<Result<Attempted<u16>>>,
    waker: Option<Waker>,
    dropped: bool,
}

struct Dropped(Attempts, usize);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.0.borrow_mut()[self.1].dropped = true;
    }
}

impl Attempts {
    fn begin(&self, address: SocketAddr) -> impl Future<Output = Result<Attempted<u16>>> + use<> {
        let mut all = self.0.borrow_mut();
        all.push(Attempt {
            address,
            result: None,
            waker: None,
            dropped: false,
        });
        let guard = Dropped(self.clone(), all.len() - 1);
        poll_fn(move |cx| {
            let attempt = &mut guard.0.0.borrow_mut()[guard.1];
            attempt.waker = Some(cx.waker().clone());
            attempt.result.take().map_or(Poll::Pending, Poll::Ready)
        })
    }

    fn end(&self, n: usize, result: Result<Attempted<u16>>) {
        let waker = {
            let attempt = &mut self.0.borrow_mut()[n];
            attempt.result = Some(result);
            attempt.waker.take()
        };
        waker.expect("it was polled").wake();
    }

    fn fail(&self, n: usize) {
        let address = self.0.borrow()[n].address;
        self.end(n, Ok(Err(refused(address))));
    }

    fn begun(&self) -> usize {
        self.0.borrow().len()
    }

    fn all_dropped(&self) -> bool {
        self.0.borrow().iter().all(|attempt| attempt.dropped)
    }
}

type Raced = Result<std::result::Result<u16, Vec<ConnectAttempt>>>;

/// Runs a race against a script.
fn raced(count: u8, delay: Duration, script: impl AsyncFn(&Attempts)) -> Raced {
    let attempts = Attempts::default();
    let addresses = (0..count).map(v4).collect();
    let result = block_on(futures_util::future::join(
        race(addresses, delay, |address| attempts.begin(address)),
        script(&attempts),
    ));
    assert!(attempts.all_dropped());
    result.0
}

async fn a_turn() {
    sleep(Duration::ZERO).await.expect("inside a runtime");
}

#[test]
fn the_first_success_wins_and_the_rest_is_dropped() {
    let result = raced(3, Duration::ZERO, async |attempts| {
        a_turn().await;
        assert_eq!(attempts.begun(), 3, "all at once without a delay");
        attempts.end(1, Ok(Ok(1)));
        attempts.end(2, Ok(Ok(2)));
    });
    assert!(
        matches!(result, Ok(Ok(1))),
        "of two at once the earlier one"
    );
}

#[test]
fn any_failure_begins_the_next_attempt_at_once() {
    let result = raced(5, HOUR, async |attempts| {
        a_turn().await;
        assert_eq!(attempts.begun(), 1, "an hour is not over");
        for n in 0..3 {
            attempts.fail(n);
            a_turn().await;
            assert_eq!(attempts.begun(), n + 2);
        }
        attempts.end(3, Ok(Ok(3)));
    });
    assert!(matches!(result, Ok(Ok(3))));
}

#[test]
fn an_older_attempt_that_fails_counts_too() {
    let result = raced(3, Duration::from_millis(20), async |attempts| {
        while attempts.begun() < 2 {
            a_turn().await;
        }
        attempts.fail(0);
        a_turn().await;
        assert_eq!(attempts.begun(), 3, "although the second has time left");
        attempts.end(1, Ok(Ok(1)));
    });
    assert!(matches!(result, Ok(Ok(1))));
}

#[test]
fn all_causes_come_in_the_order_of_their_beginning() {
    let result = raced(3, Duration::ZERO, async |attempts| {
        a_turn().await;
        for n in [2, 0, 1] {
            attempts.fail(n);
            a_turn().await;
        }
    });
    let causes = result.expect("no other error").expect_err("none");
    let reported: Vec<_> = causes.iter().map(|attempt| attempt.address).collect();
    assert_eq!(reported, [v4(0), v4(1), v4(2)]);
    assert_eq!(causes[2].cause.to_string(), format!("no {}", v4(2)));
}

#[test]
fn what_is_not_about_an_attempt_ends_them_all() {
    let result = raced(3, Duration::ZERO, async |attempts| {
        a_turn().await;
        attempts.end(1, Err(Error::Cancelled));
        attempts.fail(2);
    });
    assert!(matches!(result, Err(Error::Cancelled)));
    let result = raced(3, Duration::ZERO, async |attempts| {
        a_turn().await;
        attempts.end(0, Err(Error::io("wait", "", io::ErrorKind::Other.into())));
    });
    assert!(matches!(result, Err(Error::Io(_))), "the loop's, say");
    let result = raced(3, Duration::ZERO, async |attempts| {
        a_turn().await;
        attempts.end(0, Err(Error::Cancelled));
        attempts.end(2, Ok(Ok(2)));
    });
    assert!(
        matches!(result, Ok(Ok(2))),
        "what is there is not thrown away"
    );
}

#[test]
fn the_delay_goes_by() {
    let begun = std::time::Instant::now();
    let delay = Duration::from_millis(5);
    let addresses = (0..4).map(v4).collect();
    let result: Raced = block_on(race(addresses, delay, |address| async move {
        if address == v4(3) {
            return ready(Ok(Ok(3))).await;
        }
        std::future::pending().await
    }));
    assert!(matches!(result, Ok(Ok(3))));
    assert!(begun.elapsed() >= delay * 3);
}
