//! A loop in a thread: calls at once, its state, panics, its end.

use std::cell::Cell;
use std::io::ErrorKind;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use soloio::{Error, Event, Result, block_on, shield, sleep, yield_now};
use soloio_streams::LoopThread;

const LONG: Duration = Duration::from_secs(1_000);

/// The state of a loop: it is not `Send`.
struct State {
    event: Event,
    calls: Rc<Cell<u32>>,
}

async fn state() -> Result<State> {
    sleep(Duration::ZERO).await?;
    Ok(State {
        event: Event::new(),
        calls: Rc::default(),
    })
}

#[test]
fn calls_run_at_once_and_share_the_state() {
    let on_loop = LoopThread::start(state).expect("a thread");
    thread::scope(|scope| {
        let waits: Vec<_> = (0..20)
            .map(|number| {
                let on_loop = &on_loop;
                scope.spawn(move || {
                    on_loop.call_async(async move |state: &State| {
                        state.calls.set(state.calls.get() + 1);
                        state.event.wait().await?;
                        Ok::<_, Error>(number)
                    })
                })
            })
            .collect();
        // Only if all of them are under way at once this ends.
        let set = on_loop.call_async(async |state: &State| {
            while state.calls.get() < 20 {
                yield_now().await?;
            }
            state.event.set();
            Ok::<_, Error>(())
        });
        set.expect("no panic").expect("no error");
        for (number, wait) in waits.into_iter().enumerate() {
            let got = wait.join().expect("no panic").expect("no panic");
            assert_eq!(got.expect("no error"), number);
        }
    });
    assert_eq!(on_loop.handle().call(|| 6 * 7).expect("it runs"), 42);
    on_loop.stop().expect("it ends in order");
}

#[test]
fn a_panic_is_an_error_for_its_caller_only() {
    let on_loop = LoopThread::start(async || Ok(())).expect("a thread");
    let early = on_loop.call_async(|(): &()| -> std::future::Ready<()> { panic!("early") });
    assert!(matches!(early, Err(Error::Panicked(text)) if text.message() == Some("early")));
    let late = on_loop.call_async(async |(): &()| {
        sleep(Duration::ZERO).await.expect("no cancel");
        panic!("late")
    });
    let late: Result<()> = late;
    assert!(matches!(late, Err(Error::Panicked(text)) if text.message() == Some("late")));
    assert_eq!(
        on_loop.call_async(async |(): &()| 1).expect("it goes on"),
        1
    );
}

#[test]
fn a_start_that_fails_is_an_error() {
    let failed = LoopThread::<()>::start(async || Err(Error::other("no luck")));
    assert_eq!(failed.expect_err("it fails").to_string(), "no luck");
    let failed = LoopThread::<()>::start(async || panic!("bad luck"));
    assert!(matches!(failed, Err(Error::Panicked(_))));
}

/// Sets a flag when it is dropped.
struct Flag(Arc<AtomicBool>);

impl Drop for Flag {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn a_stop_cancels_the_calls_and_drops_the_state() {
    let (gone, flag) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicBool::new(false)),
    );
    let (state, cleaned) = (Flag(Arc::clone(&gone)), Flag(Arc::clone(&flag)));
    let on_loop = LoopThread::start(async move || Ok(state)).expect("a thread");
    let (begun, has_begun) = mpsc::channel();
    thread::scope(|scope| {
        let call = scope.spawn(|| {
            on_loop.call_async(async move |_: &Flag| {
                begun.send(()).expect("the test waits");
                let slept = sleep(LONG).await;
                // Clean-up that waits is waited for.
                shield(LONG, sleep(Duration::from_millis(1))).await?;
                drop(cleaned);
                slept
            })
        });
        has_begun.recv().expect("it begins");
        assert!(!gone.load(Ordering::SeqCst));
        on_loop.stop().expect("it ends in order");
        assert!(gone.load(Ordering::SeqCst) && flag.load(Ordering::SeqCst));
        let ended = call.join().expect("no panic").expect("it has ended");
        assert!(matches!(ended, Err(Error::Cancelled)));
    });
    assert!(matches!(
        on_loop.call_async(async |_: &Flag| ()),
        Err(Error::Closed)
    ));
    on_loop.stop().expect("again");
}

#[test]
fn a_call_that_ignores_the_stop_is_dropped() {
    let on_loop = LoopThread::start(async || Ok(())).expect("a thread");
    let (begun, has_begun) = mpsc::channel();
    thread::scope(|scope| {
        let call = scope.spawn(|| {
            on_loop.call_async(async move |(): &()| {
                begun.send(()).expect("the test waits");
                std::future::pending::<()>().await;
            })
        });
        has_begun.recv().expect("it begins");
        on_loop.stop().expect("it ends in order");
        assert!(matches!(call.join().expect("no panic"), Err(Error::Closed)));
    });
}

/// In the last call, the loop's own thread drops the last reference.
#[test]
fn it_can_be_dropped_on_its_own_thread() {
    let on_loop = Arc::new(LoopThread::start(async || Ok(())).expect("a thread"));
    let (ended, has_ended) = mpsc::channel();
    let (handle, inside) = (on_loop.handle().clone(), Arc::clone(&on_loop));
    drop(on_loop);
    handle
        .post(move || {
            drop(inside);
            ended.send(()).expect("the test waits");
        })
        .expect("it runs");
    has_ended.recv().expect("it does not wait for itself");
}

#[test]
fn the_end_reaches_every_call() {
    let gone = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&gone);
    let on_loop = LoopThread::start(async move || Ok(Flag(flag))).expect("a thread");
    let handle = on_loop.handle().clone();
    assert!(!gone.load(Ordering::SeqCst));
    drop(on_loop);
    assert!(gone.load(Ordering::SeqCst) && handle.is_closed());
    assert!(matches!(handle.call(|| ()), Err(Error::Closed)));
}

#[test]
fn a_thread_with_a_loop_is_refused() {
    let on_loop = LoopThread::start(async || Ok(())).expect("a thread");
    block_on(async {
        let is_refused = |error: &Error| match error {
            Error::Io(error) => error.kind() == ErrorKind::InvalidInput,
            _ => false,
        };
        let refused = on_loop
            .call_async(async |(): &()| ())
            .expect_err("it would block");
        assert!(is_refused(&refused));
        let refused = LoopThread::start(async || Ok(())).expect_err("it would block");
        assert!(is_refused(&refused));
    });
}

#[test]
fn it_is_shared_between_threads() {
    fn is_shared<T: Send + Sync>() {}
    is_shared::<LoopThread<State>>();
}
