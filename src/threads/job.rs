//! `run_in_thread`: one blocking job on another thread, and the task that waits for it.

use std::fmt;
use std::future::{Future, IntoFuture, poll_fn};
use std::io;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

use super::pool::{POOL, Ticket, Work};
use crate::error::{Error, Panicked, Result};
use crate::runtime::context;
use crate::runtime::wait::Wait;
use crate::sync::CapacityLimiter;
use crate::task::shield;

/// Runs `job`, which may block, on another thread, and waits for what it returns.
///
/// For calls that block or take long, such as files, databases, passwords: on the loop's own thread
/// all other tasks would have to wait for them. At most 40 jobs of the process run at a time; more
/// wait, first come, first served; [`limiter`](RunInThread::limiter) sets a limit of one's own.
/// The threads are made when they are needed, and end after 10 seconds without a job. The end of
/// the program, or of the loop, doesn't wait for them.
///
/// A job that has started cannot be stopped. A cancelled scope, a time limit too, therefore waits
/// for it, and then goes on with its result; that it does for as long as it takes, unless
/// [`abandon_after`](RunInThread::abandon_after) or
/// [`abandon_on_cancel`](RunInThread::abandon_on_cancel) says otherwise. A job that has not started
/// never runs. When the *future* is dropped nothing can wait: the job is abandoned in any case.
///
/// # Errors
///
/// [`Error::Panicked`] if the job panicked. [`Error::Io`] if no thread can be made and there is
/// none that will be free.
///
/// # Cancel safety
///
/// A job that has not started never runs; one that has runs to its end on its thread, where what
/// it returns or panics with is dropped. [`thread_statistics`](crate::thread_statistics) counts
/// these. They go on to count among the 40.
///
/// # Examples
///
/// ```
/// use soloio::{block_on, run_in_thread};
///
/// let lines = block_on(async {
///     let text = run_in_thread(|| std::fs::read_to_string("Cargo.toml")).await??;
///     Ok::<_, soloio::Error>(text.lines().count())
/// })?;
/// assert!(lines > 0);
/// # Ok::<_, soloio::Error>(())
/// ```
#[doc(alias = "to_thread")]
#[doc(alias = "run_sync")]
#[doc(alias = "spawn_blocking")]
pub fn run_in_thread<F, T>(job: F) -> RunInThread<F>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    RunInThread {
        job,
        patience: Duration::MAX,
        limiter: (),
    }
}

/// A job to be run on another thread; made by [`run_in_thread`], started by awaiting it.
#[must_use = "nothing happens before it is awaited"]
pub struct RunInThread<F, L = ()> {
    job: F,
    /// How long a cancelled scope waits for it; `Duration::MAX` for ever.
    patience: Duration,
    /// What limits it; `()` for the bound of the process.
    limiter: L,
}

impl<F> RunInThread<F> {
    /// Limits the job by a limiter of the caller's instead of the 40 of the process, which it does
    /// not count among then. Its token is given back when the job is done or abandoned.
    ///
    /// # Cancel safety
    ///
    /// That of [`run_in_thread`]; a job that waits for its token has not started.
    ///
    /// # Examples
    ///
    /// ```
    /// use soloio::{CapacityLimiter, block_on, run_in_thread};
    ///
    /// let one_at_a_time = CapacityLimiter::new(1);
    /// let answer = block_on(run_in_thread(|| 6 * 7).limiter(&one_at_a_time))?;
    /// assert_eq!(answer, 42);
    /// # Ok::<_, soloio::Error>(())
    /// ```
    pub fn limiter(self, limiter: &CapacityLimiter) -> RunInThread<F, &CapacityLimiter> {
        RunInThread {
            job: self.job,
            patience: self.patience,
            limiter,
        }
    }
}

impl<F, L> RunInThread<F, L> {
    /// Lets a cancelled scope go on at once, instead of waiting for the job if it has started. It
    /// runs on, and what it returns is dropped.
    pub fn abandon_on_cancel(self) -> Self {
        self.abandon_after(Duration::ZERO)
    }

    /// Lets a cancelled scope go on after it has waited this long, counted from the cancel. The job
    /// runs on, and what it returns is dropped.
    pub fn abandon_after(mut self, limit: Duration) -> Self {
        self.patience = limit;
        self
    }
}

impl<F, L> fmt::Debug for RunInThread<F, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunInThread")
            .field("abandon_after", &self.patience)
            .finish_non_exhaustive()
    }
}

impl<F, T> IntoFuture for RunInThread<F>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    type Output = Result<T>;
    type IntoFuture = Pin<Box<dyn Future<Output = Result<T>> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(run(self.job, self.patience, true))
    }
}

impl<'a, F, T> IntoFuture for RunInThread<F, &'a CapacityLimiter>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    type Output = Result<T>;
    type IntoFuture = Pin<Box<dyn Future<Output = Result<T>> + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let token = self.limiter.acquire().await?;
            let output = run(self.job, self.patience, false).await;
            drop(token);
            output
        })
    }
}

/// Gives the job to the pool at the first poll, and waits for it.
async fn run<F, T>(job: F, patience: Duration, bounded: bool) -> Result<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    context::checkpoint().await?;
    let given = Given::new(job, bounded);
    if let Some(output) = given.output(patience > Duration::ZERO).await? {
        return Ok(output);
    }
    let output = shield(patience, given.output(false)).await?;
    Ok(output.expect("it does not stay a second time"))
}

/// A job that the pool has, seen by who waits for it. Dropped, it is withdrawn or abandoned.
struct Given<T> {
    ticket: Ticket,
    shared: Arc<Shared<T>>,
}

impl<T: Send + 'static> Given<T> {
    fn new<F: FnOnce() -> T + Send + 'static>(job: F, bounded: bool) -> Self {
        let shared = Arc::new(Shared(Mutex::new(Progress::Going(None))));
        let work = Box::new(Begun {
            job: Some(job),
            output: None,
            shared: Arc::clone(&shared),
        });
        let ticket = POOL.submit(work, bounded);
        Self { ticket, shared }
    }

    /// Waits for what comes of the job. If that is to be waited for in spite of a cancel (`stays`),
    /// a job that has started makes it `None`.
    async fn output(&self, stays: bool) -> Result<Option<T>> {
        let (mut wait, mut withdrawn) = (Wait::new(&"a job on a thread"), false);
        poll_fn(|cx| {
            context::poll_with(|core| {
                if withdrawn {
                    // That is its end, also where nothing is cancelled: it may have been moved.
                    return match wait.pend(core, cx) {
                        Poll::Pending if !Wait::would_end(core) => {
                            Poll::Ready(Err(Error::Cancelled))
                        }
                        told => told,
                    };
                }
                // The gate was passed before there was a job.
                if let Some(done) = self.look(cx.waker().clone()) {
                    wait.done(core);
                    return Poll::Ready(done.map(Some));
                }
                if stays && Wait::would_end(core) {
                    withdrawn = self.withdraw();
                    if !withdrawn {
                        return Poll::Ready(Ok(None));
                    }
                }
                wait.pend(core, cx)
            })
        })
        .await
    }

    /// Takes the result if it is there, or else leaves the waker to be called.
    fn look(&self, waker: Waker) -> Option<Result<T>> {
        let mut progress = self.shared.lock();
        if let Progress::Going(place) = &mut *progress {
            let old = place.replace(waker);
            drop(progress);
            // Both may be the user's code.
            drop(old);
            return None;
        }
        let before = mem::replace(&mut *progress, Progress::Over);
        drop(progress);
        match before {
            Progress::Done(output) => Some(output),
            _ => unreachable!("whoever has the result looks no more"),
        }
    }

    /// Sees to it that the job never runs; false if it has started.
    fn withdraw(&self) -> bool {
        let withdrawn = POOL.withdraw(self.ticket);
        if withdrawn.is_some() {
            let before = mem::replace(&mut *self.shared.lock(), Progress::Over);
            drop(before);
        }
        withdrawn.is_some()
    }
}

impl<T> Drop for Given<T> {
    fn drop(&mut self) {
        if matches!(*self.shared.lock(), Progress::Over) {
            return;
        }
        let withdrawn = POOL.withdraw(self.ticket);
        let mut progress = self.shared.lock();
        let runs = withdrawn.is_none() && matches!(*progress, Progress::Going(_));
        let left = mem::replace(&mut *progress, Progress::Over);
        if runs {
            POOL.count_abandoned();
        }
        drop(progress);
        if runs {
            POOL.relieve();
        }
        // Last: both may be the user's code.
        drop((withdrawn, left));
    }
}

/// How far a job is, for both sides.
struct Shared<T>(Mutex<Progress<T>>);

enum Progress<T> {
    /// It waits or runs; and who is to be woken.
    Going(Option<Waker>),
    Done(Result<T>),
    /// Whoever waited has it, or waits no more.
    Over,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, Progress<T>> {
        // No code of the user's runs under it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts the result in place and wakes; gives it back if nobody waits.
    fn put(&self, output: Result<T>) -> std::result::Result<(), Result<T>> {
        let mut progress = self.lock();
        if !matches!(*progress, Progress::Going(_)) {
            return Err(output);
        }
        let before = mem::replace(&mut *progress, Progress::Done(output));
        drop(progress);
        if let Progress::Going(Some(waker)) = before {
            waker.wake();
        }
        Ok(())
    }
}

/// A job, seen by the thread that runs it.
struct Begun<F, T> {
    job: Option<F>,
    output: Option<thread::Result<T>>,
    shared: Arc<Shared<T>>,
}

impl<F, T> Work for Begun<F, T>
where
    F: FnOnce() -> T + Send,
    T: Send,
{
    fn run(&mut self) {
        let job = self.job.take().expect("run once");
        self.output = Some(catch_unwind(AssertUnwindSafe(job)));
    }

    fn deliver(&mut self) -> bool {
        let Some(output) = self.output.take() else {
            return true;
        };
        let output = output.map_err(|payload| Error::Panicked(Panicked::new(payload)));
        match self.shared.put(output) {
            Ok(()) => true,
            Err(unwanted) => {
                self.output = Some(unwanted.map_err(|error| Box::new(error) as _));
                false
            }
        }
    }

    fn refuse(self: Box<Self>, cause: io::Error) -> bool {
        let refused = Error::io("start", "a thread", cause);
        self.shared.put(Err(refused)).is_ok()
    }
}
