//! A waker that panics loses no other waiter, in each type that wakes several at once (the numbers
//! P12 and E7 of the list of failures).

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, Wake, Waker};

use soloio::{
    CapacityLimiter, Condition, Event, Lock, Result, Semaphore, ThreadEvent, block_on,
    create_memory_byte_stream,
};

use crate::support::{Wakes, deadline, message, poll_with, quiet_panic};

/// Panics when it wakes.
struct Bad;

impl Wake for Bad {
    fn wake(self: Arc<Self>) {
        quiet_panic("in a waker");
    }
}

fn bad() -> Waker {
    Arc::new(Bad).into()
}

type Boxed<'a> = Pin<Box<dyn Future<Output = Result<()>> + 'a>>;

fn boxed<'a, T>(wait: impl Future<Output = Result<T>> + 'a) -> Boxed<'a> {
    Box::pin(async { wait.await.map(drop) })
}

/// Polls waits of `make` with a bad waker and a good one in turn, calls `wake`, and checks that the
/// panic goes on and that each good one was woken.
fn check<'a>(what: &str, mut make: impl FnMut() -> Boxed<'a>, wake: impl FnOnce()) {
    let woken: Vec<Arc<Wakes>> = (0..6).map(|_| Wakes::new()).collect();
    let mut waits = Vec::new();
    for (at, good) in woken.iter().enumerate() {
        let good = Arc::clone(good).into();
        let mut wait: Boxed<'a> = make();
        let waker = if at % 2 == 0 { bad() } else { good };
        assert!(poll_with(wait.as_mut(), &waker).is_pending(), "{what}");
        waits.push(wait);
    }
    let ended = catch_unwind(AssertUnwindSafe(wake));
    let payload = ended.expect_err("the waker's panic goes on");
    assert_eq!(message(&*payload), "in a waker", "{what}");
    let counts: Vec<usize> = woken.iter().map(|woken| woken.count()).collect();
    if counts != [0, 1, 0, 1, 0, 1] {
        // Their drop would wake the next one, perhaps with another panic.
        std::mem::forget(waits);
        panic!("{what}: woken {counts:?}");
    }
    for mut wait in waits {
        let polled = poll_with(wait.as_mut(), Waker::noop());
        assert!(!matches!(polled, Poll::Ready(Err(_))), "{what}");
    }
}

#[test]
fn of_a_lines_waiters_none_is_lost() {
    let _deadline = deadline();
    block_on(async {
        let event = Event::new();
        check("event", || boxed(event.wait()), || event.set());

        let event = ThreadEvent::new();
        check("thread event", || boxed(event.wait()), || event.set());

        let semaphore = Semaphore::new(0);
        let add = || semaphore.add(6).expect("there is no maximum");
        check("semaphore", || boxed(semaphore.acquire()), add);

        let limiter = CapacityLimiter::new(0);
        let mut borrower = 0;
        let borrow = || {
            borrower += 1;
            boxed(limiter.acquire_on_behalf_of(borrower))
        };
        check("limiter", borrow, || limiter.set_total_tokens(6));

        let (lock, condition) = (Lock::new(()), Condition::new());
        let wait = || {
            let guard = lock.acquire_nowait().expect("no other task holds it");
            boxed(condition.wait(guard))
        };
        check("condition", wait, || condition.notify_all());
    });
}

/// Both ends of a memory stream wait in both directions when one of them goes.
#[test]
fn of_a_memory_streams_waiters_none_is_lost() {
    let _deadline = deadline();
    block_on(async {
        for bad_one in 0..3 {
            let (ours, theirs) = create_memory_byte_stream(1);
            let data = [0; 10];
            let mut waits: [Boxed<'_>; 3] = [
                boxed(ours.receive()),
                boxed(theirs.send(&data)),
                boxed(ours.send(&data)),
            ];
            let woken = [Wakes::new(), Wakes::new(), Wakes::new()];
            for (at, wait) in waits.iter_mut().enumerate().skip(1) {
                let good = Arc::clone(&woken[at]).into();
                let waker = if at == bad_one { bad() } else { good };
                assert!(poll_with(wait.as_mut(), &waker).is_pending());
            }
            let ended = catch_unwind(AssertUnwindSafe(|| ours.abort()));
            assert_eq!(ended.is_err(), bad_one > 0);
            for (at, woken) in woken.iter().enumerate().skip(1) {
                assert_eq!(woken.count() > 0, at != bad_one, "{bad_one}, {at}");
            }
        }
    });
}

/// The bodies of cores wait for a stop; one of them beside a waker that panics.
#[cfg(feature = "cores")]
#[test]
fn of_the_cores_that_wait_for_a_stop_none_is_lost() {
    use std::sync::atomic::{AtomicUsize, Ordering};

    let _deadline = deadline();
    let waiting = AtomicUsize::new(0);
    let ended = soloio::per_core(3, async |core| {
        let mut own = std::pin::pin!(core.stopped());
        // The first core is the first in the list, and the last one stops.
        while waiting.load(Ordering::SeqCst) < core.index() {
            soloio::yield_now().await?;
        }
        assert!(poll_with(own.as_mut(), &bad()).is_pending());
        let mut stopped = std::pin::pin!(core.stopped());
        assert!(
            crate::support::poll_once(stopped.as_mut())
                .await
                .is_pending()
        );
        waiting.fetch_add(1, Ordering::SeqCst);
        if core.index() == 2 {
            let stop = catch_unwind(AssertUnwindSafe(|| core.stop()));
            assert_eq!(
                message(&*stop.expect_err("the panic goes on")),
                "in a waker"
            );
        }
        stopped.await
    });
    assert_eq!(ended.expect("all stop").len(), 3);
}

#[cfg(all(feature = "full", any(feature = "ring", feature = "aws-lc-rs")))]
mod tls {
    use soloio::tls::TlsStream;
    use soloio::{CancelScope, MemoryStream};

    use super::*;
    use crate::net_support::turns;
    use crate::tls_support::tls;

    /// A sender waits, and a receiver; `end` gets the stream and the sender.
    async fn behind_a_sender(end: impl FnOnce(&TlsStream<MemoryStream>, Boxed<'_>)) {
        let (stream, _peer) = tls(async { create_memory_byte_stream(1) }).await;
        // A handshake in pieces of one byte may spend the turn's budget: a first poll then wakes
        // its waker at once, which is not what is tested.
        turns(2).await;
        let data = vec![0; 1000];
        let mut sending = boxed(stream.send(&data));
        assert!(poll_with(sending.as_mut(), Waker::noop()).is_pending());
        let mut receiving = boxed(stream.receive());
        let received = Wakes::new();
        let good = Arc::clone(&received).into();
        assert!(poll_with(receiving.as_mut(), &good).is_pending());
        end(&stream, sending);
        assert!(received.count() > 0, "the receiver is woken");
    }

    /// The scope around has no entry left of an end that was given up.
    #[test]
    fn an_end_that_is_given_up_behind_a_sender_leaves_no_waker() {
        let _deadline = deadline();
        let woken = Wakes::new();
        let scope = CancelScope::new();
        block_on(scope.run(behind_a_sender(|stream, sending| {
            let waker = Arc::clone(&woken).into();
            for _ in 0..3 {
                let mut end = boxed(stream.send_eof());
                assert!(poll_with(end.as_mut(), &waker).is_pending());
            }
            drop((waker, sending));
            assert_eq!(Arc::strong_count(&woken), 1);
        })));
    }

    #[test]
    fn behind_a_sender_that_leaves_none_is_lost() {
        let _deadline = deadline();
        block_on(behind_a_sender(|stream, sending| {
            check("tls", || boxed(stream.send_eof()), || drop(sending));
        }));
    }

    #[test]
    fn at_an_abort_none_is_lost() {
        let _deadline = deadline();
        block_on(behind_a_sender(|stream, _sending| {
            let mut ends = [boxed(stream.send_eof()), boxed(stream.send_eof())];
            let last = Wakes::new();
            for (end, waker) in ends.iter_mut().zip([bad(), Arc::clone(&last).into()]) {
                assert!(poll_with(end.as_mut(), &waker).is_pending());
            }
            let ended = catch_unwind(AssertUnwindSafe(|| stream.abort()));
            assert_eq!(message(&*ended.expect_err("it goes on")), "in a waker");
            assert!(last.count() > 0);
        }));
    }
}
