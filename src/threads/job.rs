//! `run_in_thread`: one blocking job on another thread, and the effect of a cancel on it.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::time::Duration;

use super::given::Given;
use super::lane::Lane;
use crate::error::{Error, Result};
use crate::runtime::context;
use crate::shown::shown;
use crate::sync::CapacityLimiter;
use crate::task::shield;

/// Runs `job`, which may block, on another thread, and waits for its result.
///
/// It is for calls that block or take long, such as files, databases, passwords: on the loop's own
/// thread all other tasks would have to wait for them. At most 40 jobs of the process run at a
/// time; more wait, first come, first served; [`limiter`](RunInThread::limiter) sets another limit.
/// Threads are started when they are needed, and end after 10 seconds without a job. The end of the
/// program, or of the loop, doesn't wait for them.
///
/// A job that has started cannot be stopped. So a cancelled scope, also that of a time limit, waits
/// until the job has ended, and only then returns [`Cancelled`](Error::Cancelled), or
/// [`TimedOut`](Error::TimedOut); the job's result is dropped. To limit that wait, set
/// [`abandon_after`](RunInThread::abandon_after) or
/// [`abandon_on_cancel`](RunInThread::abandon_on_cancel). To get the result however late it is,
/// await the job in a [`shield`]. A job that has not started never runs. When the *future* is
/// dropped nothing can wait: the job is abandoned in any case.
///
/// A job may start jobs and wait for them, in a [`block_on`](crate::block_on) of its own. They do
/// not wait behind the jobs in which they were started. Each depth has 40 places of its own: for
/// jobs that a loop has started, for jobs started within these, and so on, up to a depth of 64. But
/// 40 jobs that wait for a job that was started elsewhere, for example by another loop, prevent its
/// start forever.
///
/// # Errors
///
/// [`Error::Panicked`] if the job panicked. [`Error::Io`] if no thread can be started and no
/// running thread will become free, or (of kind `ResourceBusy`) if 64 jobs already run within each
/// other.
///
/// # Cancel safety
///
/// A job that has not started never runs; one that has runs to its end on its thread, and its
/// result is dropped. [`thread_statistics`](crate::thread_statistics) counts the jobs that no task
/// waits for. They still count among the 40.
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
    /// The time that a cancelled scope waits for it; `Duration::MAX` means until it ends.
    patience: Duration,
    /// The limiter of the job; `()` for the bound of the process.
    limiter: L,
}

impl<F> RunInThread<F> {
    /// Limits the job by a limiter of the caller's instead of the 40 of the process, among which it
    /// then does not count. Its token is returned when the job is done or abandoned.
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
    /// Lets a cancelled scope continue at once, instead of waiting for a job that has started. The
    /// job continues, and its result is dropped.
    pub fn abandon_on_cancel(self) -> Self {
        self.abandon_after(Duration::ZERO)
    }

    /// Lets a cancelled scope continue after it has waited this long, counted from the cancel. The
    /// job continues, and its result is dropped.
    pub fn abandon_after(mut self, limit: Duration) -> Self {
        self.patience = limit;
        self
    }
}

shown!([F, L] RunInThread<F, L>, "RunInThread", this => abandon_after: this.patience, ..);

impl<F, T> IntoFuture for RunInThread<F>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    type Output = Result<T>;
    type IntoFuture = Pin<Box<dyn Future<Output = Result<T>> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(run(self.job, self.patience, false))
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
            let output = run(self.job, self.patience, true).await;
            drop(token);
            output
        })
    }
}

/// Gives the job to the pool at the first poll, and waits for it. (A block, because an async fn
/// would have the job twice: as it is captured, and in its place.)
fn run<F, T>(job: F, patience: Duration, limited: bool) -> impl Future<Output = Result<T>>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    const WHAT: &&str = &"a job on a thread";
    async move {
        context::checkpoint().await?;
        let given = Given::new(Lane::here(limited), job);
        let take = || given.ended().take().expect("taken once, when it is over");
        let Err(error) = given.wait(WHAT).await else {
            return take();
        };
        let waits = matches!(error, Error::Cancelled) && patience > Duration::ZERO;
        if waits && given.has_started() {
            shield(patience, given.wait(WHAT)).await?;
            // The job's own error is returned in any case.
            take()?;
        }
        Err(error)
    }
}
