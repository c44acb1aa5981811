//! Where hyper's own tasks run: [`GroupExecutor`], [`Spawner`].

use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::marker::PhantomData;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use hyper::rt::Executor;
use pin_project_lite::pin_project;
use soloio::{Failure, Result, TaskGroup, task_group};

/// Spawns hyper's tasks into a task group: they may borrow what lives around it, need not be
/// `Send`, and end with it. A panic in one is the group's.
///
/// HTTP/2 has a task for each request: give each connection a group of its own, as
/// [`Http`](crate::Http) does.
pub struct GroupExecutor<'s, 'env, E = soloio::Error>(&'s TaskGroup<'s, 'env, E>);

impl<'s, 'env, E> GroupExecutor<'s, 'env, E> {
    /// Spawns into `group`.
    pub fn new(group: &'s TaskGroup<'s, 'env, E>) -> Self {
        Self(group)
    }
}

impl<E> Clone for GroupExecutor<'_, '_, E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<E> Copy for GroupExecutor<'_, '_, E> {}

impl<E> fmt::Debug for GroupExecutor<'_, '_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupExecutor").finish_non_exhaustive()
    }
}

impl<'s, F, E> Executor<F> for GroupExecutor<'s, '_, E>
where
    F: Future + 's,
    E: Failure + 's,
{
    fn execute(&self, future: F) {
        let error = PhantomData::<fn() -> E>;
        drop(self.0.spawn(Unfailing { future, error }));
    }
}

pin_project! {
    /// A future without an error as a task. (An async block would have it in it twice: as what it
    /// has captured, and as what it awaits.)
    struct Unfailing<F, E> {
        #[pin]
        future: F,
        error: PhantomData<fn() -> E>,
    }
}

impl<F: Future, E> Future for Unfailing<F, E> {
    type Output = std::result::Result<(), E>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().future.poll(cx).map(|_| Ok(()))
    }
}

type Job = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()>>> + Send>;

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    waker: Option<Waker>,
    /// They are run, or were.
    begun: bool,
    /// Nothing runs them any more.
    over: bool,
}

/// Spawns hyper's tasks from anywhere: they run where [`run`](Self::run) runs.
///
/// For what wants an executor that is `Send + Sync + 'static`: hyper-util's client, upgrades.
/// Clones are the same. What is spawned waits until `run` is polled; after `run` has ended it is
/// dropped at once.
///
/// ```
/// use hyper::rt::Executor;
/// use soloio::{ThreadEvent, task_group};
/// use soloio_hyper::Spawner;
///
/// soloio::block_on(task_group(async |group| {
///     let (spawner, done) = (Spawner::new(), ThreadEvent::new());
///     let running = group.spawn(spawner.clone().run());
///     let its = done.clone();
///     spawner.execute(async move { its.set() });
///     done.wait().await?;
///     running.cancel();
///     Ok(())
/// }))?;
/// # Ok::<_, soloio::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct Spawner(Arc<Mutex<Queue>>);

impl Spawner {
    /// One without tasks.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs what is spawned, until it is cancelled or dropped; all of it ends then.
    ///
    /// # Errors
    ///
    /// [`soloio::Error::Cancelled`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the tasks.
    pub async fn run(self) -> Result<()> {
        self.queue().begun = true;
        let running = Running(self);
        task_group(async |group| -> Result<()> {
            loop {
                for job in running.0.next().await {
                    drop(group.spawn(async move {
                        job().await;
                        Ok(())
                    }));
                }
            }
        })
        .await
    }

    /// Waits until there are jobs.
    async fn next(&self) -> VecDeque<Job> {
        poll_fn(|cx| {
            // Cloned before, and dropped after, the lock is held.
            let waker = cx.waker().clone();
            let mut queue = self.queue();
            if queue.jobs.is_empty() {
                let old = queue.waker.replace(waker);
                drop(queue);
                drop(old);
                return Poll::Pending;
            }
            Poll::Ready(mem::take(&mut queue.jobs))
        })
        .await
    }

    /// Returns true if its tasks are run, or were.
    #[cfg(feature = "client")]
    pub(crate) fn has_begun(&self) -> bool {
        self.queue().begun
    }

    /// Has a future made and run there, which need not be `Send` itself.
    pub(crate) fn make<F: Future<Output = ()> + 'static>(
        &self,
        make: impl FnOnce() -> F + Send + 'static,
    ) {
        let job: Job = Box::new(|| Box::pin(make()));
        let mut queue = self.queue();
        if queue.over {
            drop(queue);
            return drop(job);
        }
        queue.jobs.push_back(job);
        let waker = queue.waker.take();
        drop(queue);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<F> Executor<F> for Spawner
where
    F: Future + Send + 'static,
{
    fn execute(&self, future: F) {
        self.make(|| async {
            future.await;
        });
    }
}

impl fmt::Debug for Spawner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = self.queue().jobs.len();
        f.debug_struct("Spawner")
            .field("waiting", &waiting)
            .finish_non_exhaustive()
    }
}

/// One that runs; what is spawned after its end has no place.
struct Running(Spawner);

impl Drop for Running {
    fn drop(&mut self) {
        let mut queue = self.0.queue();
        queue.over = true;
        let (jobs, waker) = (mem::take(&mut queue.jobs), queue.waker.take());
        drop(queue);
        drop((jobs, waker));
    }
}
