//! Brings the executor and the reactor together: `block_on`, and a loop that can be a guest.
//!
//! ```text
//!    ┌─> run the tasks that are woken, within one budget       (executor)
//!    │   main future done? ──> return
//!    │   how long may we sleep?  not at all / until the next deadline / for ever
//!    │   wait for the kernel; mark, collect                    (reactor)
//!    │   take in what other threads left                       (remote)
//!    └── wake: who waited for the kernel, who waited for a deadline
//! ```
//!
//! | file | what it holds |
//! |---|---|
//! | `mod.rs` | `block_on`, `Runtime`: the loop |
//! | `context.rs` | which runtime runs on this thread; the gate that operations pass |
//! | `socket.rs` | one descriptor's place in a loop; the poll of one operation on it |
//! | `sleep.rs` | one timer; the race of a future against it |
//!
//! This is the only place that knows both sides.

pub(crate) mod context;
pub(crate) mod sleep;
pub(crate) mod socket;

use std::convert::Infallible;
use std::fmt;
use std::future::IntoFuture;
use std::io;
use std::mem;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::executor::remote::Post;
use crate::executor::{Executor, Payload, SetKey, Step, TaskId, TaskSet, waker};
use crate::sys::clock::{self, Nanos};
use context::Core;

/// How many timers one turn fires at most; the rest is due in the next.
const TIMERS_PER_TURN: usize = 1024;

/// Runs `future` to its end on this thread, and everything it waits for meanwhile.
///
/// When it returns, no descriptor, thread or memory of the runtime is left. A runtime that never
/// waits makes no system call.
///
/// # Panics
///
/// * Inside a task of a runtime: `.await` the future there, or spawn it in a task group.
/// * If the kernel refuses to let the loop wait (out of descriptors, say) and `future` does not
///   end although every operation in it got that error.
///
/// # Examples
///
/// ```
/// use soloio::{block_on, sleep};
/// use std::time::Duration;
///
/// let answer = block_on(async {
///     sleep(Duration::from_millis(1)).await?;
///     Ok::<_, soloio::Error>(42)
/// });
/// assert_eq!(answer.unwrap(), 42);
/// ```
#[doc(alias = "run")]
#[doc(alias = "main")]
pub fn block_on<F: IntoFuture>(future: F) -> F::Output {
    refuse_nesting();
    match Runtime::without_poller() {
        Ok(mut runtime) => runtime.block_on(future),
        Err(error) => panic!("soloio: {error}"),
    }
}

fn refuse_nesting() {
    assert!(
        !context::is_entered(),
        "soloio: block_on was called inside a task, which would stop all other tasks: \
         `.await` the future instead, or spawn it in a task group"
    );
}

/// A runtime of one's own: to call [`block_on`](Self::block_on) several times, or to drive from
/// another loop with [`turn`](Self::turn).
///
/// # Examples
///
/// A foreign loop waits on the runtime's descriptor with [`next_timeout`](Self::next_timeout), and
/// calls `turn` when either is due:
///
/// ```
/// use soloio::{Runtime, sleep};
/// use std::time::Duration;
///
/// let mut runtime = Runtime::new()?;
/// let task = runtime.spawn(async { sleep(Duration::from_millis(1)).await.is_ok() });
/// while !task.is_finished() {
///     runtime.turn(runtime.next_timeout())?;
/// }
/// assert!(runtime.block_on(task)?);
/// # Ok::<_, soloio::Error>(())
/// ```
pub struct Runtime {
    root: Rc<TaskSet<Infallible>>,
    root_key: SetKey,
    core: Rc<Core>,
    inbox: Inbox,
    /// A second descriptor of the poller, for a foreign loop to watch.
    watch: Option<OwnedFd>,
}

/// Lists that are filled and emptied in each turn; kept for their capacity.
#[derive(Debug, Default)]
struct Inbox {
    woken: Vec<Waker>,
    wakes: Vec<usize>,
    posts: Vec<Post>,
}

impl Runtime {
    /// Makes a runtime with its poller.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the kernel gives no descriptor, or if as many runtimes as can be numbered
    /// are alive (65,535; 64 where pointers have 32 bits).
    pub fn new() -> Result<Self> {
        let mut runtime = Self::without_poller()?;
        let watch = runtime.make_watch();
        runtime.watch = Some(watch.map_err(|cause| Error::io("make", "a runtime", cause))?);
        let panic = runtime.fall_asleep();
        debug_assert!(panic.is_none(), "nobody has given it a waker yet");
        Ok(runtime)
    }

    fn make_watch(&self) -> io::Result<OwnedFd> {
        self.install_bell()?;
        let reactor = self.core.reactor_ref();
        reactor
            .fd()
            .expect("made with the bell")
            .try_clone_to_owned()
    }

    fn without_poller() -> Result<Self> {
        let core = Core::new().map_err(|cause| Error::io("make", "a runtime", cause))?;
        let (root, root_key) = TaskSet::root(&core.executor);
        Ok(Self {
            root: Rc::new(root),
            root_key,
            core: Rc::new(core),
            inbox: Inbox::default(),
            watch: None,
        })
    }

    pub(crate) fn root(&self) -> &TaskSet<Infallible> {
        &self.root
    }

    /// Runs `future` to its end, and the spawned tasks as long as that takes.
    ///
    /// # Panics
    ///
    /// As [`block_on`](fn@block_on); and with the panic of a spawned task.
    pub fn block_on<F: IntoFuture>(&mut self, future: F) -> F::Output {
        refuse_nesting();
        let _entered = context::enter(&self.core);
        let awake = Awake(self);
        let this = &mut *awake.0;
        let mut main = pin!(future.into_future());
        let root = Rc::clone(&this.root);
        let _body = Body::new(&root);
        loop {
            if let Poll::Ready(output) = this.run(|cx| main.as_mut().poll(cx)) {
                return output;
            }
            if this.core.has_failed() && !this.has_ready() {
                panic!("soloio: {}", this.core.failure());
            }
            this.wait(None);
        }
    }

    /// Waits at most `max_wait` for something to happen (`None`: as long as it takes), then runs
    /// the tasks that are woken, once. Returns early whenever there was something to do.
    ///
    /// For a foreign loop: call it with a wait of zero when the runtime's descriptor
    /// ([`AsFd`]) is readable or [`next_timeout`](Self::next_timeout) is over.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the kernel refused to let the loop wait; all operations end with the same.
    ///
    /// # Panics
    ///
    /// With the panic of a spawned task.
    pub fn turn(&mut self, max_wait: Option<Duration>) -> Result<()> {
        let _entered = context::enter(&self.core);
        let awake = Awake(self);
        awake.0.wait(max_wait.map(clock::after));
        let done = awake.0.run(|_| Poll::<Infallible>::Pending);
        debug_assert!(done.is_pending(), "there is no main future in a turn");
        drop(awake);
        if self.core.has_failed() {
            Err(self.core.failure())
        } else {
            Ok(())
        }
    }

    /// How long a foreign loop may wait on the descriptor before it calls
    /// [`turn`](Self::turn): zero if a task is woken, `None` if no deadline is set.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Duration> {
        if self.has_ready() || self.core.remote().has_queued() {
            return Some(Duration::ZERO);
        }
        let earliest = self.core.reactor_ref().timers.earliest()?;
        Some(Duration::from_nanos(earliest.saturating_sub(clock::now())))
    }

    fn has_ready(&self) -> bool {
        self.core.executor.has_ready(self.root_key)
    }

    /// Polls woken tasks until none is left, the budget is used, or `main` is done.
    fn run<T>(&self, mut main: impl FnMut(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
        self.core.executor.refill();
        loop {
            match self.root.step(&self.core.executor, self.root_key) {
                Step::Polled => {}
                Step::Idle | Step::Spent => return Poll::Pending,
                Step::Body(id) => {
                    if let Poll::Ready(output) = main(&mut Context::from_waker(&id.waker())) {
                        return Poll::Ready(output);
                    }
                }
                Step::Failed(never) => match never {},
                Step::Panicked(payload) => resume_unwind(payload),
            }
        }
    }

    /// One look at the kernel, the clock and the other threads.
    fn wait(&mut self, limit: Option<Nanos>) {
        let deadline = self.sleep_until(limit);
        let waited = {
            let mut reactor = self.core.reactor();
            let waited = reactor.wait(deadline, self.core.bell());
            reactor.collect(&mut self.inbox.woken);
            waited
        };
        if let Err(cause) = waited {
            self.inbox.woken.extend(self.core.fail(cause));
        }
        self.core
            .remote()
            .drain(&mut self.inbox.wakes, &mut self.inbox.posts);
        let mut woken = mem::take(&mut self.inbox.woken);
        let taken_in = self.take_in();
        let executor = &self.core.executor;
        let panics = [
            wake_each(executor, woken.drain(..)),
            taken_in,
            wake_each(
                executor,
                Due {
                    core: &self.core,
                    left: TIMERS_PER_TURN,
                    now: None,
                },
            ),
        ];
        self.inbox.woken = woken;
        if let Some(payload) = panics.into_iter().flatten().next() {
            resume_unwind(payload);
        }
    }

    /// When the wait has to end: 0 for at once, `None` for never. Other threads ring from here on
    /// if it is not at once.
    fn sleep_until(&mut self, limit: Option<Nanos>) -> Option<Nanos> {
        if self.has_ready() || self.core.has_failed() {
            return Some(0);
        }
        if let Err(cause) = self.install_bell() {
            self.inbox.woken.extend(self.core.fail(cause));
            return Some(0);
        }
        if !self
            .core
            .remote()
            .try_sleep(&mut self.inbox.wakes, &mut self.inbox.posts)
        {
            if let Some(payload) = self.take_in() {
                resume_unwind(payload);
            }
            return Some(0);
        }
        let earliest = self.core.reactor_ref().timers.earliest();
        match (earliest, limit) {
            (Some(earliest), Some(limit)) => Some(earliest.min(limit)),
            (earliest, limit) => earliest.or(limit),
        }
    }

    /// A sleep that nobody can end would be one too long.
    fn install_bell(&self) -> io::Result<()> {
        let mut reactor = self.core.reactor();
        let bell = self.core.bell();
        reactor.poller(bell)?.install(bell)
    }

    /// Between turns the runtime counts as asleep: whoever wakes a task rings. If one is woken
    /// already there is no need to: [`next_timeout`](Self::next_timeout) says so.
    fn fall_asleep(&mut self) -> Option<Payload> {
        let mut first = None;
        while !self
            .core
            .remote()
            .try_sleep(&mut self.inbox.wakes, &mut self.inbox.posts)
        {
            if let Some(payload) = self.take_in() {
                first.get_or_insert(payload);
            }
            if self.has_ready() {
                break;
            }
        }
        first
    }

    /// Does what other threads asked for; gives back a panic of a waker.
    fn take_in(&mut self) -> Option<Payload> {
        let mut woken = mem::take(&mut self.inbox.woken);
        let mut unused = Vec::new();
        for post in self.inbox.posts.drain(..) {
            match post {
                Post::Source(key) => {
                    let source = self.core.reactor().deregister(key, None);
                    woken.extend(source.into_iter().flat_map(|s| s.into_waiters()).flatten());
                }
                Post::Timer(key) => unused.extend(self.core.reactor().timers.cancel(key)),
            }
        }
        let executor = &self.core.executor;
        // Listed first: what a foreign waker does must not lose the wakes that come after it.
        for number in self.inbox.wakes.drain(..) {
            woken.extend(executor.list(TaskId::from_number(number)));
        }
        let dropped = catch_unwind(AssertUnwindSafe(|| drop(unused)));
        let panic = wake_each(executor, woken.drain(..));
        self.inbox.woken = woken;
        dropped.err().or(panic)
    }
}

/// Calls wakers, which may be the user's code: goes on after a panic and gives back the first.
fn wake_each(executor: &Executor, wakers: impl Iterator<Item = Waker>) -> Option<Payload> {
    let mut first = None;
    for waker in wakers.filter_map(|waker| executor.wake_own(waker)) {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| waker.wake())) {
            first.get_or_insert(payload);
        }
    }
    first
}

/// A runtime that is being driven; when that is over, however, it counts as asleep again.
struct Awake<'a>(&'a mut Runtime);

impl Drop for Awake<'_> {
    fn drop(&mut self) {
        // Nobody could notice the bell of a runtime that was not given out.
        let guest = self.0.watch.is_some();
        if let Some(payload) = guest.then(|| self.0.fall_asleep()).flatten() {
            if !std::thread::panicking() {
                resume_unwind(payload);
            }
        }
    }
}

/// The timers that are due; reads the clock once, and not at all if there is no timer.
struct Due<'a> {
    core: &'a Core,
    left: usize,
    now: Option<Nanos>,
}

impl Iterator for Due<'_> {
    type Item = Waker;

    fn next(&mut self) -> Option<Waker> {
        self.left = self.left.checked_sub(1)?;
        let mut reactor = self.core.reactor();
        reactor.timers.earliest()?;
        let now = *self.now.get_or_insert_with(clock::now);
        reactor.timers.pop_due(now)
    }
}

/// The main future's slot in the root set, freed however `block_on` ends.
struct Body<'a>(&'a TaskSet<Infallible>);

impl<'a> Body<'a> {
    fn new(root: &'a TaskSet<Infallible>) -> Self {
        root.add_body();
        Self(root)
    }
}

impl Drop for Body<'_> {
    fn drop(&mut self) {
        self.0.remove_body();
    }
}

impl AsFd for Runtime {
    /// The poller's descriptor: readable when a turn has something to do. Watch it, nothing else.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.watch
            .as_ref()
            .expect("`new` makes it, and nobody else gives out a runtime")
            .as_fd()
    }
}

impl Drop for Runtime {
    /// Drops the spawned tasks with the runtime still entered, then ends it for all other threads.
    fn drop(&mut self) {
        let panic = {
            let _entered = context::enter(&self.core);
            self.root.teardown()
        };
        waker::close(self.core.executor.number());
        if let Some(payload) = panic {
            if !std::thread::panicking() {
                resume_unwind(payload);
            }
        }
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime")
            .field("serial", &self.core.serial())
            .field("tasks", &self.root)
            .field("sources", &self.core.reactor_ref().source_count())
            .finish()
    }
}
