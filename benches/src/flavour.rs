//! The two single-threaded runtimes of tokio behind one trait, chosen at compile time.
#![allow(
    unsafe_code,
    reason = "lets `tokio::spawn` take what stays on its one thread anyway"
)]

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::runtime::{Builder, LocalOptions, LocalRuntime, Runtime};
use tokio::task::JoinHandle;

/// A single-threaded runtime of tokio with I/O and time.
pub trait Flavour {
    type Runtime;

    fn runtime() -> io::Result<Self::Runtime>;

    fn block_on<F: Future>(runtime: &Self::Runtime, future: F) -> F::Output;

    /// Starts a task; from inside `block_on` only.
    fn spawn<F>(future: F) -> JoinHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: Send + 'static;

    /// Runs `body` in a task of a new runtime. Not in `block_on` itself: there each wake of the
    /// main future sends tokio's loop through its driver, which would count against every row.
    fn run<F>(body: F) -> F::Output
    where
        F: Future + 'static,
        F::Output: Send + 'static,
    {
        let runtime = Self::runtime().expect("a runtime can be made");
        Self::block_on(&runtime, async {
            Self::spawn(body).await.expect("the task ended well")
        })
    }
}

/// The `current_thread` scheduler.
pub struct CurrentThread;

impl Flavour for CurrentThread {
    type Runtime = Runtime;

    fn runtime() -> io::Result<Runtime> {
        Builder::new_current_thread().enable_all().build()
    }

    fn block_on<F: Future>(runtime: &Runtime, future: F) -> F::Output {
        runtime.block_on(future)
    }

    fn spawn<F>(future: F) -> JoinHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: Send + 'static,
    {
        tokio::spawn(StaysHere(future))
    }
}

/// `LocalRuntime`.
pub struct Local;

impl Flavour for Local {
    type Runtime = LocalRuntime;

    fn runtime() -> io::Result<LocalRuntime> {
        Builder::new_current_thread()
            .enable_all()
            .build_local(LocalOptions::default())
    }

    fn block_on<F: Future>(runtime: &LocalRuntime, future: F) -> F::Output {
        runtime.block_on(future)
    }

    fn spawn<F>(future: F) -> JoinHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: Send + 'static,
    {
        tokio::task::spawn_local(future)
    }
}

/// A future that is made, polled and dropped on one thread, even if its type is `Send`.
struct StaysHere<F>(F);

// SAFETY: a `current_thread` runtime polls and drops its tasks on the thread that runs `block_on`
// and drops the runtime; here that is the thread the future was made on.
unsafe impl<F> Send for StaysHere<F> {}

impl<F: Future> Future for StaysHere<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        // SAFETY: structural pinning of the only field; nothing moves it, there is no Drop.
        unsafe { self.map_unchecked_mut(|this| &mut this.0) }.poll(cx)
    }
}
