//! The size of a future that holds others: their sum, at any depth.
//!
//! An async fn that awaits its argument reserves its size twice, and each level around it doubles
//! that (futures-rs#1473, rust#62958): three nested races of two took 64 times the size.

use std::future::{Future, IntoFuture};
use std::hint::black_box;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::thread;
use std::time::{Duration, Instant};

use soloio::{
    CancelScope, Error, Ready, Result, Runtime, Winner, block_on, fail_after, fail_at, join,
    move_on_after, move_on_at, race, shield, task_group, task_group_with, try_join,
};

use crate::allocations::held;
#[cfg(feature = "relay")]
use crate::net_support::tcp_pair;
use crate::net_support::{run, tcp_listener};

const SIZE: usize = 4096;

/// A future of `N` bytes.
struct Big<const N: usize>([u8; N]);

impl<const N: usize> Future for Big<N> {
    type Output = Result<()>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(match black_box(self.0[N - 1]) {
            0 => Ok(()),
            _ => Err(Error::Closed),
        })
    }
}

fn big() -> Big<SIZE> {
    Big([0; SIZE])
}

/// Bounds a size by that of the futures inside, plus a tenth, plus a few words.
#[track_caller]
fn slim(futures: usize, size: usize) {
    let limit = futures * SIZE * 11 / 10 + 256;
    assert!(size <= limit, "{size} bytes, and {limit} are right");
}

#[track_caller]
fn is_slim<F>(futures: usize, future: &F) {
    slim(futures, size_of_val(future));
}

#[test]
fn what_limits_or_protects_a_future_is_a_few_words_more() {
    let (second, moment) = (Duration::from_secs(1), Instant::now());
    let scope = CancelScope::new();
    is_slim(1, &fail_after(second, big()));
    is_slim(1, &fail_at(moment, big()));
    is_slim(1, &move_on_after(second, big()));
    is_slim(1, &move_on_at(moment, big()));
    is_slim(1, &shield(second, big()));
    is_slim(1, &scope.run(big()));
    is_slim(
        1,
        &fail_after(second, fail_at(moment, fail_after(second, big()))),
    );
    let limited = move_on_after(second, move_on_at(moment, big()));
    is_slim(1, &move_on_after(second, limited));
    is_slim(1, &shield(second, shield(second, shield(second, big()))));
    is_slim(1, &scope.run(scope.run(scope.run(big()))));
}

#[test]
fn a_race_or_a_join_is_the_sum_of_its_futures() {
    is_slim(2, &race((big(), big())));
    is_slim(2, &join((big(), big())));
    is_slim(2, &try_join((big(), big())));
    is_slim(4, &race((race((race((big(), big())), big())), big())));
    is_slim(4, &join((join((join((big(), big())), big())), big())));
    is_slim(
        4,
        &try_join((try_join((try_join((big(), big())), big())), big())),
    );
    let all = || (big(), big(), big(), big(), big(), big(), big(), big());
    is_slim(8, &race(all()));
    is_slim(8, &join(all()));
    is_slim(8, &try_join(all()));
    // The futures of an array or a `Vec` are on the heap.
    is_slim(0, &race([big(), big()]));
    is_slim(0, &join([big(), big()]));
    is_slim(0, &try_join([big(), big()]));
    is_slim(0, &race(vec![big(), big()]));
    is_slim(0, &join(vec![big(), big()]));
    is_slim(0, &try_join(vec![big(), big()]));
}

#[test]
fn a_group_is_its_body() {
    is_slim(1, &task_group(async |_| big().await));
    is_slim(1, &task_group_with::<Error, _, _>(async |_| big().await));
    is_slim(
        1,
        &task_group(async |_| task_group(async |_| big().await).await),
    );
}

/// The same for the memory of a task's future, on the heap.
#[test]
fn a_task_takes_what_its_future_does() {
    let runtime = Runtime::new().expect("a runtime");
    let (first, second) = (runtime.spawn(async {}), runtime.spawn(async {}));
    let before = held();
    let own = runtime.spawn(big());
    slim(1, held() - before);
    drop((first, second, own));
    block_on(task_group(async |group| {
        let (first, second) = (group.spawn(async {}), group.spawn(async {}));
        let before = held();
        let own = group.spawn(big());
        slim(1, held() - before);
        drop((first, second, own));
    }))
    .expect("all are well");
}

/// The wait of a start holds nothing of the child, which takes what its future does.
#[test]
fn a_start_takes_what_its_child_does() {
    block_on(task_group(async |group| {
        let body = async |ready: Ready<()>| {
            ready.ready(());
            Ok(())
        };
        group.start(body).await?;
        let before = held();
        let start = group.start(async |ready: Ready<()>| {
            ready.ready(());
            big().await
        });
        is_slim(0, &start);
        slim(1, held() - before);
        start.await
    }))
    .expect("all are well");
}

/// The signal of a server is on the heap, once.
#[test]
fn a_server_takes_what_its_signal_does() {
    run(async {
        let listener = tcp_listener().await;
        let before = held();
        let serve = listener.serve(async |_| ()).shutdown(big());
        is_slim(0, &serve);
        slim(1, held() - before);
        let future = serve.into_future();
        is_slim(0, &future);
        // Its own part is less than the signal.
        slim(2, held() - before);
    });
}

/// The job that waits to be given to a thread is on the heap; a token is waited for in one more
/// future.
#[cfg(feature = "threads")]
#[test]
fn a_job_takes_what_its_closure_does() {
    let job = || {
        let large = [0_u8; SIZE];
        soloio::run_in_thread(move || black_box(large)[0])
    };
    is_slim(1, &job());
    let before = held();
    let future = job().into_future();
    is_slim(0, &future);
    slim(1, held().wrapping_sub(before));
    let limiter = soloio::CapacityLimiter::new(1);
    let before = held();
    let future = job().limiter(&limiter).into_future();
    is_slim(0, &future);
    slim(2, held().wrapping_sub(before));
}

#[cfg(feature = "relay")]
#[test]
fn a_relay_has_no_buffer_while_it_waits() {
    run(async {
        let (a, b) = (tcp_pair().await, tcp_pair().await);
        let mut relay = soloio::relay(&a.1, &b.0);
        let run = size_of_val(&relay.run());
        assert!(run <= 1024, "{run}");
        drop(relay);
        let before = held();
        let future = soloio::relay(a.1, b.0).into_future();
        let held = held() - before;
        assert!(held <= 2048, "{held}");
        is_slim(0, &future);
    });
}

/// In a debug build each function of the call chain has the future on its stack.
#[test]
fn a_race_of_large_futures_runs_on_a_small_stack() {
    const LARGE: usize = if cfg!(debug_assertions) { 32 } else { 128 } << 10;
    let run = || {
        let large = || Big([0; LARGE]);
        let won = block_on(race((large(), large())));
        assert!(matches!(
            won,
            Winner::First(Ok(())) | Winner::Second(Ok(()))
        ));
        block_on(try_join((large(), large()))).expect("both are well");
    };
    let thread = thread::Builder::new().stack_size(2 << 20).spawn(run);
    thread.expect("a thread").join().expect("it fits");
}
