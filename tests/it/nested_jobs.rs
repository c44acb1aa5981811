//! Jobs that wait for jobs, and jobs that outlast a time limit.

use std::future::IntoFuture;
use std::io::ErrorKind;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier, mpsc};
use std::thread;
use std::time::Duration;

use futures_util::future::{join, join_all};
use soloio::{
    CancelScope, Error, Result, block_on, fail_after, move_on_after, run_in_thread, shield, sleep,
    thread_statistics,
};

use crate::support::{alone, deadline, poll_once};

#[test]
fn forty_jobs_that_wait_for_jobs_end() {
    alone("nested_jobs::forty_jobs_that_wait_for_jobs_end", || {
        let _guard = deadline();
        // As many jobs as the bound allows run before the first one starts another.
        let all_run = Arc::new(Barrier::new(40));
        let jobs = (0..40).map(|n| {
            let all_run = Arc::clone(&all_run);
            async move {
                run_in_thread(move || {
                    all_run.wait();
                    block_on(async { run_in_thread(move || n).await })
                })
                .await
            }
        });
        let done: Vec<i32> = block_on(join_all(jobs))
            .into_iter()
            .map(|n| n.expect("no panic").expect("no panic"))
            .collect();
        assert!(done.into_iter().eq(0..40));
    });
}

/// Runs a job in a job in a job, `depth` of them.
fn nested(depth: u32) -> Result<u32, Error> {
    match depth {
        0 => Ok(0),
        _ => block_on(async { run_in_thread(move || nested(depth - 1)).await })?.map(|n| n + 1),
    }
}

#[test]
fn jobs_in_jobs_have_a_bound_of_depth_that_is_an_error() {
    let name = "nested_jobs::jobs_in_jobs_have_a_bound_of_depth_that_is_an_error";
    alone(name, || {
        let _guard = deadline();
        assert_eq!(nested(40).expect("deep enough"), 40);
        assert_eq!(nested(64).expect("deep enough"), 64);
        match nested(65) {
            Err(Error::Io(error)) => {
                assert_eq!(error.kind(), ErrorKind::ResourceBusy);
                assert!(error.to_string().contains("64"), "{error}");
            }
            other => panic!("{other:?}"),
        }
    });
}

/// One job starts more jobs than the bound: they wait for each other, and all end.
#[test]
fn a_job_may_begin_more_jobs_than_the_bound() {
    let name = "nested_jobs::a_job_may_begin_more_jobs_than_the_bound";
    alone(name, || {
        let _guard = deadline();
        let most = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
        let counted = Arc::clone(&most);
        let sum = run_in_thread(move || {
            let jobs = (0..200).map(|n| {
                let counted = Arc::clone(&counted);
                async move {
                    run_in_thread(move || {
                        let now = counted.0.fetch_add(1, SeqCst) + 1;
                        counted.1.fetch_max(now, SeqCst);
                        thread::yield_now();
                        counted.0.fetch_sub(1, SeqCst);
                        n
                    })
                    .await
                }
            });
            let done = block_on(join_all(jobs)).into_iter();
            done.map(|n| n.expect("no panic")).sum::<u32>()
        });
        let sum = block_on(async { sum.await });
        assert_eq!(sum.expect("no panic"), 199 * 200 / 2);
        assert!(most.1.load(SeqCst) <= 40);
        assert!(thread_statistics().threads <= 41);
    });
}

/// A job that runs until the loop, after a limit of [`LIMIT`], lets it end. The loop stands still
/// until it runs, because a job that has not begun is not waited for.
fn outlasting<T: Send + 'static>(
    end: impl FnOnce() -> T + Send + 'static,
) -> (impl Future<Output = Result<T>>, impl Future<Output = ()>) {
    let (let_it, told) = mpsc::channel();
    let (runs, begun) = mpsc::channel();
    let job = run_in_thread(move || {
        runs.send(()).expect("the loop stands still");
        told.recv().expect("it is let");
        end()
    });
    let job = async move {
        let mut job = pin!(job.into_future());
        assert!(poll_once(job.as_mut()).await.is_pending());
        begun.recv().expect("it runs");
        job.await
    };
    let after = async move {
        sleep(4 * LIMIT).await.expect("no cancel");
        let_it.send(()).expect("it is there");
    };
    (job, after)
}

const LIMIT: Duration = Duration::from_millis(5);

/// The limit waits for the job, as AnyIO's `to_thread.run_sync` does in a scope; but the error is
/// the limit's.
#[test]
fn a_limit_that_a_job_outlasts_says_so() {
    let _guard = deadline();
    block_on(async {
        let ended = Arc::new(AtomicUsize::new(0));
        let count = || {
            let ended = Arc::clone(&ended);
            move || ended.fetch_add(1, SeqCst)
        };
        let (job, after) = outlasting(count());
        let (late, ()) = join(fail_after(LIMIT, job), after).await;
        assert!(matches!(late, Err(Error::TimedOut(_))), "{late:?}");
        assert_eq!(ended.load(SeqCst), 1, "it was waited for");
        let (job, after) = outlasting(count());
        let (late, ()) = join(move_on_after(LIMIT, job), after).await;
        assert!(matches!(late, Ok(None)), "{late:?}");
        assert_eq!(ended.load(SeqCst), 2, "it was waited for");
        // A shield keeps a result that is worth more than the limit.
        let (job, after) = outlasting(|| "done");
        let shielded = shield(Duration::from_secs(60), job);
        let (kept, ()) = join(fail_after(LIMIT, shielded), after).await;
        assert_eq!(kept.expect("in time for the shield"), "done");
        // A scope that was cancelled by hand gives `Cancelled`; a panic is passed on, though it
        // came late.
        for panics in [false, true] {
            let scope = CancelScope::new();
            let (job, after) = outlasting(move || {
                if panics {
                    crate::support::quiet_panic("late");
                }
            });
            let cancel = async {
                sleep(LIMIT).await.expect("slept");
                scope.cancel("for the test");
                after.await;
            };
            let (ended, ()) = join(scope.run(job), cancel).await;
            assert!(scope.cancelled_caught());
            match ended.expect("it is not dropped") {
                Err(Error::Panicked(panicked)) if panics => {
                    assert_eq!(panicked.message(), Some("late"));
                }
                Err(Error::Cancelled) if !panics => {}
                other => panic!("{other:?}"),
            }
        }
    });
}
