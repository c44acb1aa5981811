//! Jobs on other threads: their bound, their panics, cancelled jobs, and the threads.
//!
//! Tests that count threads run in their own process. Long because each way to end has its test.

use std::cell::Cell;
use std::future::IntoFuture;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use futures_util::future::{join, join_all};
use soloio::{
    CancelScope, CapacityLimiter, Error, block_on, fail_after, run_in_thread, sleep, task_group,
    thread_statistics,
};

use crate::cancel_everywhere::everywhere_alone;
use crate::kernel;
use crate::net_support::turns;
use crate::support::{
    CountedDrop, OnDrop, alone, deadline, fds, message, poll_once, poll_with, rounds, threads,
};

/// Waits, without a runtime, until other threads have made the condition true.
fn until(mut is_so: impl FnMut() -> bool) {
    while !is_so() {
        thread::yield_now();
    }
}

/// Returns a job that runs until the sender is dropped.
fn held() -> (Sender<()>, impl FnOnce() + Send) {
    let (sender, receiver): (_, Receiver<()>) = channel();
    (sender, move || {
        assert!(receiver.recv().is_err(), "nothing is sent")
    })
}

#[test]
fn a_job_runs_on_another_thread_and_the_loop_goes_on() {
    let _guard = deadline();
    let here = thread::current().id();
    block_on(async {
        let (release, hold) = held();
        let ticks = Cell::new(0);
        let job = async {
            run_in_thread(move || {
                hold();
                thread::current().id()
            })
            .await
        };
        let ticking = async {
            for _ in 0..10 {
                sleep(Duration::from_millis(1)).await.expect("slept");
                ticks.set(ticks.get() + 1);
            }
            drop(release);
        };
        let (there, ()) = join(job, ticking).await;
        assert_ne!(there.expect("no panic"), here);
        assert_eq!(ticks.get(), 10);
    });
}

#[test]
fn a_thousand_jobs_run_forty_at_a_time() {
    alone("jobs::a_thousand_jobs_run_forty_at_a_time", || {
        let _guard = deadline();
        let before = threads();
        let order = Mutex::new(Vec::new());
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let shared = Arc::new((now, most, order));
        let all = (0..1000).map(|n| {
            let shared = Arc::clone(&shared);
            run_in_thread(move || {
                let (now, most, order) = &*shared;
                order.lock().expect("no panic").push(n);
                most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
                thread::sleep(Duration::from_micros(100));
                now.fetch_sub(1, SeqCst);
                n
            })
            .into_future()
        });
        let done = block_on(join_all(all));
        let done: Vec<i32> = done.into_iter().map(|n| n.expect("no panic")).collect();
        assert!(done.into_iter().eq(0..1000));
        let most = shared.1.load(SeqCst);
        assert!((2..=40).contains(&most), "{most} at a time");
        assert!(thread_statistics().threads <= 40);
        // A thread that has left the pool may take a moment to leave the process.
        until(|| threads() - before <= 40);
        // First come, first served: no job starts more than the bound ahead of its turn.
        let order: Vec<i32> = shared.2.lock().expect("no panic").clone();
        let ahead = order.iter().zip(0..).map(|(n, at)| n - at).max();
        assert!(ahead.expect("a thousand") <= 40, "{ahead:?}");
        until(|| thread_statistics().idle == thread_statistics().threads);
        let statistics = thread_statistics();
        assert_eq!((statistics.running, statistics.waiting), (0, 0));
        assert_eq!(statistics.abandoned, 0);
    });
}

#[test]
fn a_limiter_of_ones_own_takes_the_place_of_the_bound() {
    let name = "jobs::a_limiter_of_ones_own_takes_the_place_of_the_bound";
    alone(name, || {
        let _guard = deadline();
        let (two, fifty) = (CapacityLimiter::new(2), CapacityLimiter::new(50));
        block_on(task_group(async |group| {
            // More than the process's bound run at a time.
            let (releases, holds): (Vec<_>, Vec<_>) = (0..50).map(|_| held()).unzip();
            for hold in holds {
                let job = run_in_thread(hold).limiter(&fifty).into_future();
                group.spawn(async { job.await.expect("no panic") });
            }
            turns(2).await;
            until(|| thread_statistics().running == 50);
            run_in_thread(|| ())
                .await
                .expect("the bound is not touched");
            assert_eq!(fifty.borrowed_tokens(), 50);
            drop(releases);

            // Two run at a time; an abandoned job gives its token back.
            let (release, hold) = held();
            let mut hung = Box::pin(run_in_thread(hold).limiter(&two).into_future());
            assert!(poll_once(hung.as_mut()).await.is_pending());
            assert_eq!(two.borrowed_tokens(), 1);
            drop(hung);
            assert_eq!(two.borrowed_tokens(), 0);
            drop(release);
            let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
            let all = (0..100).map(|_| {
                let (now, most) = (Arc::clone(&now), Arc::clone(&most));
                let job = run_in_thread(move || {
                    most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
                    thread::yield_now();
                    now.fetch_sub(1, SeqCst);
                });
                job.limiter(&two).abandon_on_cancel().into_future()
            });
            join_all(all)
                .await
                .into_iter()
                .for_each(|done| done.expect("no panic"));
            assert!((1..=2).contains(&most.load(SeqCst)));
            assert_eq!(two.borrowed_tokens(), 0);
        }))
        .expect("no error");
    });
}

#[test]
fn one_after_the_other_needs_one_thread() {
    alone("jobs::one_after_the_other_needs_one_thread", || {
        let _guard = deadline();
        block_on(async {
            for n in 0..rounds(10_000) {
                assert_eq!(run_in_thread(move || n).await.expect("no panic"), n);
            }
        });
        assert_eq!(thread_statistics().threads, 1);
    });
}

#[test]
fn a_panic_is_an_error_and_its_thread_goes_on() {
    alone("jobs::a_panic_is_an_error_and_its_thread_goes_on", || {
        let _guard = deadline();
        block_on(async {
            for n in 0..rounds(1000) {
                let payload: Box<dyn std::any::Any + Send> = match n % 3 {
                    0 => Box::new("text"),
                    1 => Box::new(String::from("text")),
                    _ => Box::new(n),
                };
                let job = run_in_thread(move || std::panic::resume_unwind(payload));
                let panicked = match job.await {
                    Err(Error::Panicked(panicked)) => panicked,
                    Err(other) => panic!("{other}"),
                    Ok(()) => panic!("it returned"),
                };
                if n % 3 == 2 {
                    assert_eq!(panicked.message(), None);
                    assert_eq!(panicked.to_string(), "it panicked: (no text)");
                    assert_eq!(panicked.into_payload().downcast_ref(), Some(&n));
                } else {
                    assert_eq!(panicked.message(), Some("text"));
                    assert_eq!(Error::Panicked(panicked).to_string(), "it panicked: text");
                }
            }
        });
        assert_eq!(thread_statistics().threads, 1, "a panic cost a thread");
    });
}

#[test]
fn an_abandoned_job_runs_to_its_end_and_is_counted() {
    alone(
        "jobs::an_abandoned_job_runs_to_its_end_and_is_counted",
        || {
            let _guard = deadline();
            let (release, hold) = held();
            let dropped_by = Arc::new(Mutex::new(None));
            let result = OnDrop({
                let dropped_by = Arc::clone(&dropped_by);
                move || {
                    *dropped_by.lock().expect("no panic") = Some(thread::current().id());
                    // No task receives this panic: its payload is forgotten, since its drop might
                    // panic again. This payload has no size, so no memory is lost.
                    std::panic::resume_unwind(Box::new(()));
                }
            });
            let start = Instant::now();
            block_on(async {
                let mut job = pin!(
                    run_in_thread(move || {
                        hold();
                        result
                    })
                    .into_future()
                );
                assert!(poll_once(job.as_mut()).await.is_pending());
                until(|| thread_statistics().running == 1);
            });
            // The loop has ended without waiting for the job.
            assert!(start.elapsed() < Duration::from_secs(30));
            assert_eq!(thread_statistics().abandoned, 1);
            assert_eq!(*dropped_by.lock().expect("no panic"), None);
            drop(release);
            until(|| thread_statistics().abandoned == 0);
            let there = dropped_by.lock().expect("no panic").expect("dropped");
            assert_ne!(there, thread::current().id());
            until(|| thread_statistics().running == 0);
            block_on(run_in_thread(|| ())).expect("the thread goes on");
            assert_eq!(thread_statistics().threads, 1);
        },
    );
}

#[test]
fn a_job_that_waits_never_runs_once_cancelled() {
    alone("jobs::a_job_that_waits_never_runs_once_cancelled", || {
        let _guard = deadline();
        // All threads are in use. One of the jobs is abandoned: it still counts.
        let (releases, holds): (Vec<_>, Vec<_>) = (0..40).map(|_| held()).unzip();
        block_on(task_group(async |group| {
            let holding: Vec<_> = holds
                .into_iter()
                .map(|hold| group.spawn(run_in_thread(hold).abandon_on_cancel().into_future()))
                .collect();
            turns(2).await;
            until(|| thread_statistics().running == 40);
            holding[0].cancel();
            turns(2).await;
            assert_eq!(thread_statistics().abandoned, 1);

            let (ran, gone) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
            for _ in 0..rounds(100_000) {
                let (ran, gone) = (Arc::clone(&ran), Arc::clone(&gone));
                let gone = CountedDrop(gone);
                let mut job = pin!(
                    run_in_thread(move || {
                        ran.fetch_add(1, SeqCst);
                        drop(gone);
                    })
                    .into_future()
                );
                assert!(poll_once(job.as_mut()).await.is_pending());
            }
            assert_eq!(thread_statistics().waiting, 0);
            assert_eq!(gone.load(SeqCst), rounds(100_000), "what it held is kept");
            let last = group.spawn(run_in_thread(|| "ran").into_future());
            turns(2).await;
            assert_eq!(thread_statistics().waiting, 1);
            drop(releases);
            assert_eq!(last.await.expect("its turn came"), "ran");
            assert_eq!(ran.load(SeqCst), 0);
        }))
        .expect("no error");
    });
}

/// Covers: RunInThread::limiter.
#[test]
fn waiting_for_a_token_cancelled_everywhere() {
    let test = "jobs::waiting_for_a_token_cancelled_everywhere";
    everywhere_alone(test, async |cut| {
        let (one, ran) = (CapacityLimiter::new(1), AtomicUsize::new(0));
        let ran = Arc::new(ran);
        let taken = one.acquire().await.expect("free");
        let job = run_in_thread({
            let ran = Arc::clone(&ran);
            move || ran.fetch_add(1, SeqCst)
        });
        let release = async {
            turns(2).await;
            drop(taken);
        };
        let (done, ()) = join(cut.apply(job.limiter(&one)), release).await;
        until(|| thread_statistics().running == 0);
        assert!(done.is_none() || ran.load(SeqCst) == 1);
        drop(one.acquire().await.expect("nobody has it any more"));
        done.is_some()
    });
}

/// Covers: run_in_thread.
#[test]
fn cancelled_everywhere() {
    everywhere_alone("jobs::cancelled_everywhere", async |cut| {
        let ran = Arc::new(AtomicUsize::new(0));
        let gone = Arc::new(AtomicUsize::new(0));
        let job = run_in_thread({
            let ran = Arc::clone(&ran);
            let gone = Arc::clone(&gone);
            let held = CountedDrop(gone);
            move || {
                ran.fetch_add(1, SeqCst);
                held
            }
        });
        let done = cut.apply(job).await;
        let is_done = done.is_some();
        drop(done);
        // The job ran or not: either way its captured value is dropped exactly once, here or there.
        until(|| gone.load(SeqCst) == 1);
        assert!(ran.load(SeqCst) <= 1 && (!is_done || ran.load(SeqCst) == 1));
        until(|| thread_statistics().running == 0);
        assert!(thread_statistics().threads <= 1);
        assert_eq!(thread_statistics().abandoned, 0);
        is_done
    });
}

#[test]
fn a_thread_that_cannot_be_made_is_an_error() {
    alone("jobs::a_thread_that_cannot_be_made_is_an_error", || {
        let _guard = deadline();
        block_on(async {
            // One thread exists: it takes the jobs that no other thread can be started for.
            let (release, hold) = held();
            let mut holding = pin!(run_in_thread(hold).into_future());
            assert!(poll_once(holding.as_mut()).await.is_pending());
            until(|| thread_statistics().running == 1);
            let filtered = kernel::fail_call(libc::SYS_clone3, 1, 0, libc::EAGAIN)
                && kernel::fail_call(libc::SYS_clone, 1, 0, libc::EAGAIN);
            if !filtered {
                return;
            }
            let mut queued = pin!(run_in_thread(|| "in the end").into_future());
            assert!(poll_once(queued.as_mut()).await.is_pending());
            assert_eq!(thread_statistics().waiting, 1);
            drop(release);
            holding.await.expect("it ran");
            assert_eq!(queued.await.expect("it ran too"), "in the end");
            until(|| thread_statistics().idle == 1);
            // The first wait opens the loop's own descriptors; it has to come before the count.
            sleep(Duration::from_millis(1)).await.expect("a clock");
            let before = fds();

            // The only thread is held by an abandoned job, which may never end.
            let (release, hold) = held();
            let mut hung = Box::pin(run_in_thread(hold).into_future());
            assert!(poll_once(hung.as_mut()).await.is_pending());
            until(|| thread_statistics().running == 1);
            drop(hung);
            assert_eq!(thread_statistics().abandoned, 1);
            for _ in 0..3 {
                let error = run_in_thread(|| ())
                    .await
                    .expect_err("no thread")
                    .to_string();
                assert!(error.starts_with("start a thread: "), "{error}");
            }
            drop(release);
            until(|| thread_statistics().idle == 1);
            run_in_thread(|| ()).await.expect("there is a thread again");
            let statistics = thread_statistics();
            assert_eq!((statistics.threads, statistics.waiting), (1, 0));
            assert_eq!(fds(), before);
        });
    });
}

/// The hung job is abandoned while another one already waits for its thread.
#[test]
fn who_waits_for_a_hung_thread_is_told_when_no_other_can_be_made() {
    let name = "jobs::who_waits_for_a_hung_thread_is_told_when_no_other_can_be_made";
    alone(name, || {
        let _guard = deadline();
        block_on(async {
            let (_release, hold) = held();
            let mut hung = Box::pin(run_in_thread(hold).into_future());
            assert!(poll_once(hung.as_mut()).await.is_pending());
            until(|| thread_statistics().running == 1);
            let filtered = kernel::fail_call(libc::SYS_clone3, 1, 0, libc::EAGAIN)
                && kernel::fail_call(libc::SYS_clone, 1, 0, libc::EAGAIN);
            if !filtered {
                return;
            }
            let mut behind = pin!(run_in_thread(|| ()).into_future());
            assert!(poll_once(behind.as_mut()).await.is_pending());
            drop(hung);
            let error = behind.await.expect_err("told").to_string();
            assert!(error.starts_with("start a thread: "), "{error}");
        });
    });
}

#[test]
fn a_job_needs_a_runtime_to_be_waited_for_only() {
    let _guard = deadline();
    let ran = Arc::new(AtomicUsize::new(0));
    let job = run_in_thread({
        let ran = Arc::clone(&ran);
        move || ran.fetch_add(1, SeqCst)
    });
    let outside = poll_with(pin!(job.into_future()), std::task::Waker::noop());
    assert!(matches!(outside, Poll::Ready(Err(Error::NoRuntime))));
    assert_eq!(ran.load(SeqCst), 0);
    // A job may run a loop of its own.
    let nested = block_on(run_in_thread(|| block_on(run_in_thread(|| 5))));
    assert_eq!(nested.expect("no panic").expect("no panic"), 5);
}

#[test]
fn a_panic_goes_on_here_if_it_is_resumed() {
    let _guard = deadline();
    let panicked = match block_on(run_in_thread(|| crate::support::quiet_panic("there"))) {
        Err(Error::Panicked(panicked)) => panicked,
        other => panic!("{other:?}"),
    };
    let here = std::panic::catch_unwind(|| std::panic::resume_unwind(panicked.into_payload()));
    assert_eq!(message(&*here.expect_err("it panicked")), "there");
}

/// Runs a job in a scope, and cancels the scope once the job runs.
async fn cancelled_while_it_runs(
    job: impl IntoFuture<Output = soloio::Result<&'static str>>,
    release: Sender<()>,
    hold_on: bool,
) -> Option<soloio::Result<&'static str>> {
    let scope = CancelScope::new();
    let mut release = Some(release);
    let partner = async {
        turns(2).await;
        until(|| thread_statistics().running == 1);
        scope.cancel("for the test");
        for _ in 0..100 {
            turns(1).await;
        }
        if hold_on {
            assert_eq!(thread_statistics().abandoned, 0, "it is waited for");
            release.take();
        }
    };
    let (ended, ()) = join(scope.run(job), partner).await;
    assert!(scope.cancel_called());
    assert!(scope.cancelled_caught());
    drop(release);
    until(|| thread_statistics().running == 0);
    assert_eq!(thread_statistics().abandoned, 0);
    ended
}

#[test]
fn a_cancelled_scope_waits_or_not_as_the_caller_says() {
    let name = "jobs::a_cancelled_scope_waits_or_not_as_the_caller_says";
    alone(name, || {
        let _guard = deadline();
        let job = || {
            let (release, hold) = held();
            let work = move || {
                hold();
                "done"
            };
            (run_in_thread(work), release)
        };
        block_on(async {
            // The run waits for the job, then ends as cancelled.
            let (waits, release) = job();
            let ended = cancelled_while_it_runs(waits, release, true).await;
            assert!(matches!(ended, Some(Err(Error::Cancelled))), "{ended:?}");
            let (waits, release) = job();
            let waits = waits.abandon_after(Duration::from_secs(3600));
            let ended = cancelled_while_it_runs(waits, release, true).await;
            assert!(matches!(ended, Some(Err(Error::Cancelled))), "{ended:?}");
            // The run ends before the job, at once or after a while.
            let (abandoned, release) = job();
            let abandoned = abandoned.abandon_on_cancel();
            let ended = cancelled_while_it_runs(abandoned, release, false).await;
            assert!(matches!(ended, Some(Err(Error::Cancelled))), "{ended:?}");
            let (abandoned, release) = job();
            let abandoned = abandoned.abandon_after(Duration::from_millis(2));
            let ended = cancelled_while_it_runs(abandoned, release, false).await;
            assert!(matches!(ended, Some(Err(Error::Cancelled))), "{ended:?}");
        });
    });
}

#[test]
fn a_time_limit_around_a_job_is_told_in_the_end() {
    alone("jobs::a_time_limit_around_a_job_is_told_in_the_end", || {
        let _guard = deadline();
        block_on(async {
            let (release, hold) = held();
            let job = run_in_thread(hold).abandon_on_cancel();
            let limited = fail_after(Duration::from_millis(1), job).await;
            assert!(matches!(limited, Err(Error::TimedOut(_))), "{limited:?}");
            drop(release);
            until(|| thread_statistics().running == 0);
        });
    });
}

/// A job in a scope that is cancelled before the job's turn never runs, and is not counted, whether
/// or not the scope would have waited for it.
#[test]
fn a_job_that_has_not_started_ends_with_its_scope() {
    let name = "jobs::a_job_that_has_not_started_ends_with_its_scope";
    alone(name, || {
        let _guard = deadline();
        let ran = Arc::new(AtomicUsize::new(0));
        let job = || {
            let ran = Arc::clone(&ran);
            run_in_thread(move || ran.fetch_add(1, SeqCst))
        };
        let (releases, holds): (Vec<_>, Vec<_>) = (0..40).map(|_| held()).unzip();
        block_on(task_group(async |group| {
            let cancelled = CancelScope::new();
            cancelled.cancel("before it began");
            let ended = cancelled.run(job()).await;
            assert!(matches!(ended, Some(Err(Error::Cancelled))), "{ended:?}");
            assert_eq!(thread_statistics().threads, 0, "it was not even given");

            for hold in holds {
                group.spawn(async { run_in_thread(hold).await.expect("no panic") });
            }
            turns(2).await;
            until(|| thread_statistics().running == 40);
            for patience in [Duration::ZERO, Duration::from_secs(1), Duration::MAX] {
                let job = job().abandon_after(patience);
                let limited = fail_after(Duration::from_millis(1), job).await;
                assert!(matches!(limited, Err(Error::TimedOut(_))), "{limited:?}");
                let statistics = thread_statistics();
                assert_eq!((statistics.waiting, statistics.abandoned), (0, 0));
            }
            drop(releases);
        }))
        .expect("no error");
        assert_eq!(ran.load(SeqCst), 0);
    });
}
