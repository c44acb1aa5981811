//! One loop per core: the ways they end, together and in order, and the values they may borrow.

use std::cell::Cell;
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Barrier, Mutex};
use std::thread;
use std::time::Duration;

use soloio::{
    Error, Result, StopHandle, TcpListener, block_on, connect_tcp, create_tcp_listener,
    move_on_after, per_core, per_core_with, shield, sleep, yield_now,
};

use crate::clean_up::{AnyError, Kind, OwnError, fails_in_clean_up};
use crate::cut::everywhere_alone;
use crate::net_support::{polled, refused, run, turns};
use crate::support::{OnDrop, alone, deadline, fds, forever, message, quiet_panic, threads};

const LONG: Duration = Duration::from_secs(3600);

#[test]
fn every_core_has_a_thread_and_its_value_a_place() {
    let _guard = deadline();
    let seen = Mutex::new(HashSet::new());
    let barrier = Barrier::new(4);
    let values = per_core(4, async |core| -> Result<usize> {
        // The barrier opens only if all of them run at once.
        barrier.wait();
        seen.lock().expect("whole").insert(thread::current().id());
        assert_eq!(core.count(), 4);
        sleep(Duration::from_micros(10)).await?;
        Ok(core.index() * 10)
    });
    assert_eq!(values.expect("no error"), [0, 10, 20, 30]);
    let seen = seen.into_inner().expect("whole");
    assert_eq!(seen.len(), 4);
    assert!(
        seen.contains(&thread::current().id()),
        "one is the caller's"
    );
}

#[test]
fn futures_on_a_core_need_not_be_send() {
    let _guard = deadline();
    let values = per_core(2, async |core| -> Result<usize> {
        let local = std::rc::Rc::new(Cell::new(core.index()));
        yield_now().await?;
        local.set(local.get() + 1);
        Ok(local.get())
    });
    assert_eq!(values.expect("no error"), [1, 2]);
}

#[test]
fn an_error_of_one_ends_all_and_is_the_result() {
    let _guard = deadline();
    for failing in 0..3 {
        let (begun, dropped) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let ended = per_core(3, async |core| -> Result<()> {
            let _dropped = OnDrop(|| {
                dropped.fetch_add(1, Ordering::SeqCst);
            });
            begun.fetch_add(1, Ordering::SeqCst);
            if core.index() == failing {
                while begun.load(Ordering::SeqCst) < 3 {
                    turns(1).await;
                }
                return Err(Error::other(format!("no luck on {failing}")));
            }
            sleep(LONG).await
        });
        let error = ended.expect_err("one failed").to_string();
        assert_eq!(error, format!("no luck on {failing}"));
        assert_eq!(dropped.into_inner(), 3, "all have ended when it returns");
    }
}

#[test]
fn a_panic_of_one_ends_all_and_goes_on_in_the_caller() {
    let _guard = deadline();
    for failing in 0..2 {
        let (begun, dropped) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let ended = catch_unwind(AssertUnwindSafe(|| {
            per_core(2, async |core| {
                let _dropped = OnDrop(|| {
                    dropped.fetch_add(1, Ordering::SeqCst);
                });
                begun.fetch_add(1, Ordering::SeqCst);
                if core.index() == failing {
                    while begun.load(Ordering::SeqCst) < 2 {
                        turns(1).await;
                    }
                    quiet_panic("a panic on a core");
                }
                forever().await;
            })
        }));
        let payload = ended.expect_err("it panics");
        assert_eq!(message(&*payload), "a panic on a core");
        assert_eq!(dropped.into_inner(), 2);
    }
}

#[test]
fn the_first_failure_counts() {
    let _guard = deadline();
    let ended = per_core(2, async |core| -> Result<()> {
        if core.index() == 1 {
            turns(3).await;
            return Err(Error::other("first"));
        }
        // A panic while the other core is being ended does not hide the first error.
        let _second = OnDrop(|| quiet_panic("second"));
        sleep(LONG).await
    });
    assert_eq!(ended.expect_err("one failed").to_string(), "first");
}

#[test]
fn those_that_are_ended_may_clean_up() {
    let _guard = deadline();
    let cleaned = AtomicUsize::new(0);
    let ended = per_core(3, async |core| -> Result<()> {
        if core.index() == 1 {
            turns(3).await;
            return Err(Error::other("failed"));
        }
        let waited = sleep(LONG).await;
        refused!(waited, Error::Cancelled);
        shield(LONG, turns(3)).await;
        cleaned.fetch_add(1, Ordering::SeqCst);
        waited
    });
    assert_eq!(ended.expect_err("one failed").to_string(), "failed");
    assert_eq!(cleaned.into_inner(), 2);
}

#[test]
fn none_and_nested_are_refused() {
    refused!(per_core(0, async |_| ()), Error::Io(_));
    let nested = catch_unwind(AssertUnwindSafe(|| {
        run(async { per_core(2, async |_| forever().await) })
    }));
    let payload = nested.expect_err("it panics");
    assert!(message(&*payload).contains("inside a task"));
}

#[test]
fn stop_is_heard_on_all_cores() {
    let _guard = deadline();
    let stopped = AtomicUsize::new(0);
    per_core(3, async |core| -> Result<()> {
        assert!(polled(2, core.stopped()).await.is_none() || core.index() != 2);
        if core.index() == 2 {
            turns(5).await;
            core.stop();
        }
        core.stopped().await?;
        // Once stopped, it stays stopped.
        core.stopped().await?;
        assert!(core.stop_handle().is_stopped());
        stopped.fetch_add(1, Ordering::SeqCst);
        Ok(())
    })
    .expect("no error");
    assert_eq!(stopped.into_inner(), 3);
}

#[test]
fn a_handle_stops_them_from_any_thread() {
    let _guard = deadline();
    let (give, take) = channel::<StopHandle>();
    let stopper = thread::spawn(move || {
        let stop = take.recv().expect("a handle");
        assert!(!stop.is_stopped());
        stop.stop();
        stop.stop();
        stop
    });
    let give = Mutex::new(give);
    per_core(2, async |core| -> Result<()> {
        if core.index() == 0 {
            let sent = give.lock().expect("whole").send(core.stop_handle());
            sent.expect("the thread is there");
        }
        core.stopped().await
    })
    .expect("no error");
    let stop = stopper.join().expect("it ended");
    // The loops are gone: a stop does nothing.
    stop.stop();
    assert!(stop.is_stopped());
}

async fn listeners(count: usize) -> Result<Vec<TcpListener>> {
    let mut all: Vec<TcpListener> = Vec::new();
    for _ in 0..count {
        let port = all.first().map_or(0, |first| first.local_addr().port());
        let make = create_tcp_listener()
            .local_host("127.0.0.1")
            .local_port(port);
        all.push(make.reuse_port(true).await?);
    }
    Ok(all)
}

#[test]
fn a_shared_port_is_served_by_all_and_stops_in_order() {
    let test = "cores::a_shared_port_is_served_by_all_and_stops_in_order";
    alone(test, || {
        let _guard = deadline();
        let (before, alive) = (fds(), threads());
        let listeners = block_on(listeners(2)).expect("they listen");
        let port = listeners[0].local_addr().port();
        let (give, take) = channel::<StopHandle>();
        let give = Mutex::new(give);
        let clients = thread::spawn(move || {
            let stop = take.recv().expect("a handle");
            let answers = block_on(async {
                let mut answers = Vec::new();
                for _ in 0..64 {
                    let client = connect_tcp("127.0.0.1", port).await.expect("connects");
                    client.send(b"which").await.expect("sent");
                    answers.push(client.receive().await.expect("an answer")[0]);
                }
                answers
            });
            stop.stop();
            answers
        });
        let served = per_core(2, async |core| -> Result<u64> {
            if core.index() == 0 {
                let sent = give.lock().expect("whole").send(core.stop_handle());
                sent.expect("the clients are there");
            }
            let serve = listeners[core.index()].serve(async |client| {
                client.receive().await?;
                client.send(&[b'0' + core.index() as u8]).await
            });
            let counters = serve.counters();
            serve.shutdown(core.stopped()).drain(LONG).await?;
            Ok(counters.accepted())
        });
        let served = served.expect("no error");
        let answers = clients.join().expect("all answered");
        for (core, served) in served.iter().enumerate() {
            let by_it = answers
                .iter()
                .filter(|core_of| **core_of == b'0' + core as u8);
            assert_eq!(by_it.count() as u64, *served);
            assert!(*served > 0, "the kernel spreads them: {served}");
        }
        assert_eq!(served.iter().sum::<u64>(), 64);
        drop(listeners);
        assert_eq!((fds(), threads() <= alive), (before, true));
    });
}

/// Covers: Core::stopped.
#[test]
fn waits_for_a_stop_are_cancelled_everywhere() {
    let test = "cores::waits_for_a_stop_are_cancelled_everywhere";
    everywhere_alone(test, async |cut| {
        // The driver has a runtime: the cores need a thread of their own.
        let round = || {
            let done = per_core(1, async |core| -> Result<bool> {
                let stop = async {
                    turns(3).await;
                    core.stop();
                };
                let (stopped, ()) =
                    futures_util::future::join(cut.apply(core.stopped()), stop).await;
                let again = move_on_after(LONG, core.stopped()).await?;
                assert!(again.is_some());
                Ok(stopped.is_some())
            });
            done.expect("no error")[0]
        };
        thread::scope(|scope| scope.spawn(round).join().expect("it ended"))
    });
}

/// The first error is the result; but a failed clean-up precedes a cancel's error, whatever the
/// type.
fn clean_up_fails_on_another_core<E: Kind>() {
    let _guard = deadline();
    for (first, expected) in [
        (Error::Closed, Error::Closed.to_string()),
        (Error::Cancelled, "disk full".to_owned()),
    ] {
        let (first, started) = (Mutex::new(Some(first)), Barrier::new(2));
        let ended = per_core_with(2, async |core| -> Result<(), E> {
            started.wait();
            if core.index() == 1 {
                return fails_in_clean_up().await;
            }
            let first = first.lock().expect("whole").take();
            Err(first.expect("it runs once").into())
        });
        assert_eq!(ended.expect_err("an error").text(), expected);
    }
    let none = per_core_with(0, async |_| -> Result<(), E> { Ok(()) });
    assert!(none.is_err());
}

#[test]
fn clean_up_that_fails_is_no_cancel_on_cores_either() {
    clean_up_fails_on_another_core::<Error>();
    clean_up_fails_on_another_core::<AnyError>();
    clean_up_fails_on_another_core::<OwnError>();
    clean_up_fails_on_another_core::<std::io::Error>();
}
