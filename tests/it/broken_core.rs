//! Programs that once broke the core: scopes that starved, numbers that had been reused for another
//! task, waits that nothing could end.

use std::cell::Cell;
use std::future::{Future, IntoFuture, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use futures_util::stream::{FuturesUnordered, StreamExt};
use soloio::{
    ByteStream, CancelScope, Error, Event, Ready, Result, Runtime, TaskHandle, block_on,
    create_memory_object_stream, current_effective_deadline, fail_after, join, loop_handle,
    move_on_after, run_in_thread, shield, task_group, yield_now,
};

use crate::kernel_signals::forked;
use crate::net_support::{numbered, polled, receive_numbered, run, tcp_pair, unix_pair};
use crate::scopes::{HOUR, SOON, long};
use crate::support::{OnDrop, alone, deadline, poll_once};

/// Returns an event that is set: a wait for it is always ready.
fn happened() -> Event {
    let event = Event::new();
    event.set();
    event
}

/// Polls `first`, then `second`, always in this order, until `second` is done.
async fn in_order<B: Future>(first: impl Future, second: B) -> B::Output {
    let (mut first, mut second) = (pin!(first), pin!(second));
    poll_fn(|cx| {
        assert!(first.as_mut().poll(cx).is_pending(), "it never ends");
        second.as_mut().poll(cx)
    })
    .await
}

#[test]
fn what_stands_behind_a_busy_neighbour_is_told_all_the_same() {
    let _deadline = deadline();
    let (told, cleaned) = (Cell::new(0), Cell::new(0));
    let happened = happened();
    let busy = async {
        loop {
            happened.wait().await.expect("nobody cancels it");
        }
    };
    let limited = || {
        move_on_after(SOON, async {
            let ended = long().await;
            told.set(told.get() + usize::from(ended.is_err()));
            // The next wait fails too, and the body is not yet dropped.
            assert!(long().await.is_err());
            shield(HOUR, async {
                yield_now().await?;
                cleaned.set(cleaned.get() + 1);
                Ok::<_, Error>(())
            })
            .await?;
            ended
        })
    };
    let all = join((0..20).map(|_| limited()).collect::<Vec<_>>());
    let ended = block_on(in_order(busy, all));
    assert!(ended.iter().all(|ended| matches!(ended, Ok(None))));
    assert_eq!((told.get(), cleaned.get()), (20, 20));
}

#[test]
fn a_limit_of_zero_takes_what_is_there_however_much_that_is() {
    let _deadline = deadline();
    block_on(async {
        let (send, receive) = create_memory_object_stream(5000);
        for item in 0..2000 {
            send.send_nowait(item)?;
        }
        for item in 0..2000 {
            let received = move_on_after(Duration::ZERO, receive.receive()).await?;
            assert_eq!(received, Some(item));
        }
        assert!(
            move_on_after(Duration::ZERO, receive.receive())
                .await?
                .is_none()
        );
        Ok::<_, Error>(())
    })
    .expect("all were there");
}

/// A body that never ends, though it is cancelled again and again.
type Endless<'a> = Pin<Box<dyn Future<Output = Result<()>> + 'a>>;

#[test]
fn limits_of_zero_in_a_loop_leave_room_for_others() {
    let _deadline = deadline();
    let happened = &happened();
    // Each begins a new wait in the poll in which the one before ended.
    let bodies: [Endless<'_>; 4] = [
        Box::pin(async {
            loop {
                drop(shield(Duration::ZERO, happened.wait()).await);
            }
        }),
        Box::pin(async {
            loop {
                drop(fail_after(Duration::ZERO, happened.wait()).await);
            }
        }),
        Box::pin(async {
            loop {
                drop(fail_after(Duration::ZERO, long()).await);
            }
        }),
        Box::pin(async {
            loop {
                drop(shield(Duration::ZERO, long()).await);
            }
        }),
    ];
    for body in bodies {
        let ended = block_on(fail_after(SOON, body));
        assert!(matches!(ended, Err(Error::TimedOut(_))));
    }
}

/// Notes the deadline that is in effect at each poll.
async fn note(deadline: Rc<Cell<Option<Instant>>>) -> Result<()> {
    loop {
        deadline.set(current_effective_deadline());
        yield_now().await?;
    }
}

#[test]
fn a_time_limit_goes_on_under_another_runtime() {
    let _deadline = deadline();
    let noted = Rc::new(Cell::new(None));
    let mut limited = Box::pin(fail_after(HOUR, note(Rc::clone(&noted))));
    block_on(async { assert!(poll_once(limited.as_mut()).await.is_pending()) });
    let before = noted.take().expect("it has begun");
    // Some time has to pass, to tell a limit that goes on from one that begins anew.
    thread::sleep(SOON * 10);
    block_on(async { assert!(poll_once(limited.as_mut()).await.is_pending()) });
    let after = noted.take().expect("it goes on");
    assert!(after < before + SOON, "{:?} later", after - before);
}

#[test]
fn a_task_with_a_node_of_its_own_is_found_by_what_it_begins_later() {
    let _deadline = deadline();
    let told = Cell::new(0);
    let ended = block_on(task_group(async |group| {
        let work = |limited: bool| {
            let told = &told;
            async move {
                // The shield gives the task its node, inside a scope that ends before the rest.
                let inner = async {
                    shield(HOUR, async {}).await;
                    Ok::<_, Error>(())
                };
                fail_after(HOUR, inner).await?;
                let wait = async {
                    let ended = long().await;
                    told.set(told.get() + usize::from(ended.is_err()));
                    ended
                };
                // `FuturesUnordered` has its own wakers, so that only the scopes' lists lead to the
                // wait.
                let mut all: FuturesUnordered<_> = [wait].into_iter().collect();
                let rest = async { all.next().await.expect("one") };
                match limited {
                    true => fail_after(HOUR, rest).await,
                    false => rest.await,
                }
            }
        };
        let tasks = [group.spawn(work(false)), group.spawn(work(true))];
        yield_now().await?;
        yield_now().await?;
        for task in &tasks {
            task.cancel();
        }
        Ok(())
    }));
    assert_eq!((ended.is_ok(), told.get()), (true, 2));
}

#[test]
fn a_group_dropped_under_another_runtime_cancels_nobody_there() {
    let _deadline = deadline();
    let mut group = Box::pin(task_group(async |group| {
        let tasks: Vec<_> = (0..6).map(|_| group.spawn(long())).collect();
        let _cancels = OnDrop(|| tasks.iter().for_each(TaskHandle::cancel));
        long().await
    }));
    block_on(async {
        for _ in 0..2 {
            assert!(poll_once(group.as_mut()).await.is_pending());
        }
    });
    // The next runtime has the same number, and its task numbers begin at the same one.
    let told = Cell::new(0);
    let ended = block_on(task_group(async |others| {
        for _ in 0..8 {
            others.spawn(async {
                for _ in 0..3 {
                    told.set(told.get() + usize::from(yield_now().await.is_err()));
                }
            });
        }
        yield_now().await?;
        drop(group);
        Ok(())
    }));
    assert_eq!((ended.is_ok(), told.get()), (true, 0));
}

#[test]
fn a_child_whose_start_nobody_awaits_is_cancelled() {
    let _deadline = deadline();
    let told = Cell::new(0);
    let ended = block_on(task_group(async |group| {
        let started = group.start(async |_ready: Ready<()>| {
            let ended = long().await;
            told.set(told.get() + u32::from(matches!(ended, Err(Error::Cancelled))));
            ended
        });
        drop(started);
        Ok(())
    }));
    assert_eq!((ended.is_ok(), told.get()), (true, 1));
}

#[test]
fn a_loops_own_thread_is_not_let_into_a_call() {
    let _deadline = deadline();
    let mut runtime = Runtime::new().expect("descriptors");
    let on_loop = runtime.block_on(async { loop_handle() }).expect("a loop");
    let refused = on_loop.call(|| ()).map_err(io::Error::from);
    assert_eq!(
        refused.map_err(|error| error.kind()),
        Err(io::ErrorKind::InvalidInput)
    );
    drop(runtime);
    assert!(matches!(on_loop.call(|| ()), Err(Error::Closed)));
}

#[test]
fn a_job_that_left_its_scope_before_it_was_told_goes_on() {
    let _deadline = deadline();
    alone(
        "broken_core::a_job_that_left_its_scope_before_it_was_told_goes_on",
        || {
            block_on(async {
                let (open, gate) = channel::<()>();
                let gate = Arc::new(Mutex::new(gate));
                let job = || {
                    let gate = Arc::clone(&gate);
                    run_in_thread(move || drop(gate.lock().map(|gate| gate.recv()))).into_future()
                };
                let mut jobs: Vec<_> = (0..40).map(|_| job()).collect();
                for job in &mut jobs {
                    assert!(poll_once(job.as_mut()).await.is_pending());
                }
                let mut waiting = job();
                let (scope, happened) = (CancelScope::new(), happened());
                let mut run = Box::pin(scope.run(&mut waiting));
                assert!(poll_once(run.as_mut()).await.is_pending());
                scope.cancel("the test says so");
                // With the turn's budget spent, the poll does not deliver the cancel yet.
                let polled = poll_fn(|cx| {
                    while pin!(happened.wait()).poll(cx).is_ready() {}
                    Poll::Ready(run.as_mut().poll(cx).is_pending())
                });
                assert!(polled.await, "it gives way");
                drop(run);
                drop(open);
                waiting.await.expect("it runs");
                for job in jobs {
                    job.await.expect("it runs");
                }
            });
        },
    );
}

#[test]
fn jobs_run_in_a_forked_process_too() {
    let _deadline = deadline();
    const NAME: &str = "broken_core::jobs_run_in_a_forked_process_too";
    alone(NAME, || {
        assert!(matches!(block_on(run_in_thread(|| 1)), Ok(1)));
        let ended = forked(|| {
            // The child process has none of the parent's threads.
            let job = async { run_in_thread(|| 2).abandon_on_cancel().await };
            let ended = block_on(fail_after(Duration::from_secs(10), job));
            assert!(matches!(ended, Ok(2)), "{ended:?}");
        });
        assert_eq!(ended, Ok(0));
    });
}

#[test]
fn a_scope_may_be_run_for_each_of_many_connections() {
    let _deadline = deadline();
    const RUNS: usize = 10_000;
    let scope = CancelScope::new();
    let (told, begun) = (Cell::new(0), Cell::new(0));
    block_on(task_group(async |group| {
        for _ in 0..RUNS {
            group.spawn(async {
                let run = scope.run(async {
                    // Each of these polls once searched all runs: seconds in all.
                    yield_now().await?;
                    begun.set(begun.get() + 1);
                    if begun.get() == RUNS {
                        scope.cancel("all are there");
                    }
                    long().await
                });
                let ended = run.await;
                told.set(told.get() + usize::from(matches!(ended, Some(Err(_)))));
                Ok(())
            });
        }
        Ok(())
    }))
    .expect("no errors");
    assert_eq!(told.get(), RUNS);
    assert!(scope.cancelled_caught());
}

/// Uses up the turn's budget before a send, or right after a part of it went: no other send may
/// come in between.
async fn sender_gives_way_midway(a: impl ByteStream, b: impl ByteStream) {
    let data = numbered(0, 400_000);
    let mut begun = 0;
    for used in 253..258 {
        yield_now().await.expect("a turn");
        for _ in 0..used {
            a.send(b"").await.expect("a finished operation");
        }
        let mut rest = &data[..];
        let mut first = Box::pin(a.send_from(&mut rest));
        assert!(poll_once(first.as_mut()).await.is_pending());
        match polled(4, a.send(b"z")).await.expect("at once") {
            Err(Error::Busy) => {
                begun += 1;
                let receive = receive_numbered(&b, 0, data.len());
                join((first, receive)).await.0.expect("sent");
            }
            second => {
                second.expect("sent");
                drop(first);
                assert_eq!(rest.len(), data.len(), "the first one had not begun");
                assert_eq!(b.receive().await.expect("sent"), b"z");
            }
        }
    }
    assert!(begun > 0);
}

#[test]
fn a_sender_that_gives_way_midway_keeps_its_turn() {
    run(async {
        let (a, b) = tcp_pair().await;
        a.set_send_buffer_size(10_000).expect("set");
        // Otherwise the kernel lets it grow.
        b.set_receive_buffer_size(10_000).expect("set");
        sender_gives_way_midway(a, b).await;
        let (a, b) = unix_pair().await;
        sender_gives_way_midway(a, b).await;
    });
}
