//! Feature `log`: what a logger is told of tasks and servers.

use std::cell::RefCell;
use std::sync::Once;
use std::time::Duration;

use log::{Level, LevelFilter, Log, Metadata, Record};
use soloio::{
    Error, Result, ThreadEvent, block_on, connect_tcp, create_tcp_listener, stopping, task_group,
};

use crate::net_support::run;

thread_local! {
    /// The records of this thread: others run tests, too.
    static OWN: RefCell<Option<Vec<(Level, String, String)>>> = const { RefCell::new(None) };
}

struct Recorder;

impl Log for Recorder {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    /// Without an allocation where nothing is recorded: other tests count theirs.
    fn log(&self, record: &Record<'_>) {
        let keep = |own: &RefCell<Option<Vec<_>>>| {
            if let Some(own) = &mut *own.borrow_mut() {
                let (target, text) = (record.target().to_owned(), record.args().to_string());
                own.push((record.level(), target, text));
            }
        };
        // A runtime that ends with its thread logs when this list may be gone.
        OWN.try_with(keep).unwrap_or(());
    }

    fn flush(&self) {}
}

/// Runs it, and returns the records with this target.
fn recorded(target: &str, what: impl FnOnce()) -> Vec<(Level, String)> {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&Recorder).expect("there is no other");
        log::set_max_level(LevelFilter::Trace);
    });
    OWN.set(Some(Vec::new()));
    what();
    let records = OWN.take().expect("they were set");
    let of_target = records.into_iter().filter(|(_, its, _)| its == target);
    of_target.map(|(level, _, text)| (level, text)).collect()
}

/// The number of the task of a record, and the rest.
fn parts(record: &(Level, String)) -> (&str, &str) {
    let rest = record.1.strip_prefix("task ").expect("it is of a task");
    rest.split_once(' ').expect("there is more")
}

#[test]
fn a_task_begins_is_named_and_ends() {
    let records = recorded("soloio::task", || {
        let ended: Result<()> = block_on(task_group(async |group| {
            let named = group.spawn(async { Ok(1) }).named("worker");
            assert_eq!(named.await?, 1);
            let cancelled = group.spawn(soloio::sleep(Duration::MAX));
            cancelled.cancel();
            group.spawn(async { Err::<(), _>(Error::Closed) });
            Ok(())
        }));
        assert!(matches!(ended, Err(Error::Closed)));
    });
    assert!(records.iter().all(|(level, _)| *level == Level::Trace));
    let (number, begun) = parts(&records[0]);
    assert!(begun.starts_with("begins, spawned at ") && begun.contains("records.rs:"));
    assert_eq!(parts(&records[1]), (number, "has the name \"worker\""));
    assert_eq!(parts(&records[2]), (number, "has ended: Done"));
    let ends: Vec<_> = records[3..].iter().map(|record| parts(record).1).collect();
    for end in ["has ended: Cancelled", "has ended: Failed"] {
        assert!(ends.contains(&end), "{ends:?}");
    }
    assert_eq!(records.len(), 7, "{records:?}");
}

#[test]
fn a_panic_is_the_end_of_its_task() {
    let records = recorded("soloio::task", || {
        let panicked = std::panic::catch_unwind(|| {
            block_on(task_group(async |group| {
                group.spawn(async { panic!("in a task") as Result<()> });
                Ok::<_, Error>(())
            }))
        });
        panicked.expect_err("it panicked");
    });
    let ends = |record: &&(Level, String)| parts(record).1.starts_with("has ended");
    assert_eq!(records.iter().filter(ends).count(), 1, "{records:?}");
}

#[test]
fn a_server_tells_what_it_accepts_what_fails_and_that_it_drains() {
    let records = recorded("soloio::serve", || {
        run(async {
            let listener = create_tcp_listener().local_host("127.0.0.1").await;
            let listener = listener.expect("it listens");
            let port = listener.local_addr().port();
            let stop = ThreadEvent::new();
            let serve = listener
                .serve(async |client| match client.receive().await?.first() {
                    Some(b'!') => Err(Error::other("it is no request")),
                    _ => stopping().await,
                })
                .on_error(|_, _| {});
            let served = task_group(async |group| {
                group.spawn(serve.shutdown(stop.wait()));
                for text in [b"!", b"?"] {
                    let client = connect_tcp("127.0.0.1", port).await?;
                    client.send(text).await?;
                    if text == b"!" {
                        // It is closed.
                        drop(client.receive().await);
                        continue;
                    }
                    stop.set();
                    drop(client.receive().await);
                }
                Ok(())
            });
            served.await.expect("it ended well");
        });
    });
    assert!(records.iter().all(|(level, _)| *level == Level::Debug));
    let said = |start: &str| {
        let starts = |record: &&(Level, String)| record.1.starts_with(start);
        records.iter().filter(starts).count()
    };
    assert_eq!(said("accepted 127.0.0.1:"), 2, "{records:?}");
    assert_eq!(said("failed 127.0.0.1:"), 1, "{records:?}");
    assert_eq!((said("stops"), said("drained")), (1, 1), "{records:?}");
    assert!(
        records
            .iter()
            .any(|record| record.1.ends_with("it is no request"))
    );
}
