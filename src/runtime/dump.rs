//! The tree of groups and tasks, and the wait of each.
//!
//! Nothing is stored only for this, except in slots: a wait is found in the sources and timers of
//! the reactor, or in the note that an operation left in its task's slot. An operation inside a
//! combinator with its own wakers cannot be attributed to its task: it is counted at the end.

use std::collections::HashMap;
use std::fmt;
use std::os::fd::RawFd;
use std::panic::Location;
use std::time::Duration;

use super::Runtime;
use super::context::{self, Core};
use crate::error::{Error, Result};
use crate::executor::remote::Post;
use crate::executor::{CallSite, Survey, TaskId};
use crate::reactor::{Awaited, Direction, SourceKey};
use crate::sys::{clock, socket};

/// A snapshot of all tasks of a runtime; made by [`dump`](fn@dump) and [`Runtime::dump`].
///
/// Its text is a tree, with each task below the one that runs its group:
///
/// ```text
/// main, 12 polls, runs
///   body of a group, 3 polls, waits 0.41 s: accepts (fd 5, 127.0.0.1:7000)
///   "worker" (src/main.rs:20:15), 7 polls, waits 0.40 s: an item in a memory object stream
///   task (src/main.rs:31:9), 2 polls, waits 0.12 s: readable (fd 8, 127.0.0.1:40112), 29.88 s left
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Dump {
    /// The tasks, each after the one that runs its group.
    pub tasks: Vec<TaskState>,
    /// The number of operations inside combinators with their own wakers, which cannot be
    /// attributed to a task.
    pub unattributed: usize,
}

/// One task in a [`Dump`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TaskState {
    /// The name set by [`TaskHandle::named`](crate::TaskHandle::named).
    pub name: Option<String>,
    /// The place where it was spawned; `None` for the body of a group and for the future of
    /// `block_on`.
    pub spawned_at: Option<&'static Location<'static>>,
    /// The number of groups that it is inside of.
    pub depth: usize,
    /// The number of its polls.
    pub polls: u32,
    /// The time since its last poll, accurate to a few milliseconds; it wraps around after 49 days.
    pub idle: Duration,
    /// It will be polled in this turn or the next.
    pub woken: bool,
    /// It makes the dump, or runs the task that does.
    pub running: bool,
    /// Descriptions of its waits.
    pub waits_for: Vec<String>,
}

/// Returns the waits of the tasks of the runtime on this thread.
///
/// Most of its time is used to read from the kernel the peers of the sockets.
///
/// # Errors
///
/// [`Error::NoRuntime`] outside a runtime; use [`Runtime::dump`] between turns.
///
/// # Examples
///
/// ```
/// use soloio::{Error, sleep, task_group};
/// use std::time::Duration;
///
/// soloio::block_on(task_group(async |group| {
///     let worker = group.spawn(sleep(Duration::from_secs(60))).named("worker");
///     soloio::yield_now().await?;
///     let dump = soloio::dump()?.to_string();
///     assert!(dump.contains("\"worker\""), "{dump}");
///     worker.cancel();
///     Ok(())
/// }))?;
/// # Ok::<_, Error>(())
/// ```
pub fn dump() -> Result<Dump> {
    let core = context::current().ok_or(Error::NoRuntime)?;
    Ok(take(&core))
}

impl Runtime {
    /// Returns the waits of the tasks of this runtime; see [`dump`](fn@dump).
    #[must_use]
    pub fn dump(&self) -> Dump {
        take(&self.core)
    }
}

fn take(core: &Core) -> Dump {
    let (mut waits, unattributed) = waits(core);
    let survey = core.executor.slots().survey();
    let numbers: HashMap<u32, usize> = (survey.iter().enumerate())
        .map(|(at, task)| (task.id.index(), at))
        .collect();
    let find = |id: TaskId| {
        let at = numbers.get(&id.index()).copied()?;
        (survey[at].id == id).then_some(at)
    };
    let mut children = vec![Vec::new(); survey.len()];
    let mut roots = Vec::new();
    for (at, task) in survey.iter().enumerate().rev() {
        match find(task.owner) {
            Some(owner) => children[owner].push(at),
            None => roots.push(at),
        }
    }
    let running = ancestors(core, &survey, find);
    let mut left: Vec<(usize, usize)> = roots.into_iter().map(|at| (at, 0)).collect();
    let mut tasks = Vec::with_capacity(survey.len());
    while let Some((at, depth)) = left.pop() {
        left.extend(children[at].drain(..).map(|child| (child, depth + 1)));
        let task = &survey[at];
        let mut waits_for = waits.remove(&task.id.index()).unwrap_or_default();
        if let Some((what, holder)) = task.note {
            let holder = find(holder).map(|holder| {
                let Survey { name, site, .. } = &survey[holder];
                match holder == at {
                    true => ", held by itself".into(),
                    false => format!(", held by {}", label(name.as_deref(), *site, 1)),
                }
            });
            waits_for.push(format!("{what}{}", holder.unwrap_or_default()));
        }
        tasks.push(TaskState {
            name: task.name.as_deref().map(str::to_owned),
            spawned_at: task.site,
            depth,
            polls: task.polls,
            idle: Duration::from_millis(task.idle.into()),
            woken: task.woken,
            running: running.contains(&at),
            waits_for,
        });
    }
    Dump {
        tasks,
        unattributed,
    }
}

/// The running task and those that poll it.
fn ancestors(core: &Core, survey: &[Survey], find: impl Fn(TaskId) -> Option<usize>) -> Vec<usize> {
    let mut running = Vec::new();
    let mut at = find(core.executor.task());
    while let Some(task) = at.filter(|task| !running.contains(task)) {
        running.push(task);
        at = find(survey[task].owner);
    }
    running
}

/// Returns the waits of each task in the reactor, by its slot, and the number of waits without a
/// task.
fn waits(core: &Core) -> (HashMap<u32, Vec<String>>, usize) {
    let mut by_task: HashMap<u32, Vec<String>> = HashMap::new();
    let mut unattributed = 0;
    let now = clock::now();
    let mut note = |task: Option<TaskId>, awaited| match task {
        Some(task) => {
            let waits = by_task.entry(task.index()).or_default();
            waits.push(words(core, awaited, now));
        }
        None => unattributed += 1,
    };
    let reactor = core.reactor_ref();
    reactor.each_waiter(|task, awaited| note(task.map(TaskId::from_number), awaited));
    reactor.each_timer(|waker, awaited| note(core.executor.task_of(waker), awaited));
    (by_task, unattributed)
}

fn words(core: &Core, awaited: Awaited, now: clock::Nanos) -> String {
    match awaited {
        Awaited::Socket(key, fd, direction, listens) => {
            let what = match direction {
                _ if listens => "accepts",
                Direction::Read => "readable",
                Direction::Write => "writable",
            };
            format!("{what} ({})", name_of(core, key, fd))
        }
        Awaited::Moment(deadline) => {
            let left = Duration::from_nanos(deadline.saturating_sub(now));
            format!("{:.2} s left", left.as_secs_f64())
        }
    }
}

/// Returns the descriptor and its address. Another thread may close it at any time, but posts that
/// before; in a forked process nothing is posted.
fn name_of(core: &Core, key: SourceKey, fd: RawFd) -> String {
    let ask = || {
        core.remote()
            .unless_posted(Post::Source(key), || socket::describe(fd))
    };
    let known = core.bell().is_at_home().then(ask).flatten();
    known.unwrap_or_else(|| format!("fd {fd}"))
}

fn label(name: Option<&str>, site: Option<CallSite>, depth: usize) -> String {
    match (name, site) {
        (Some(name), Some(site)) => format!("{name:?} ({site})"),
        (Some(name), None) => format!("{name:?}"),
        (None, Some(site)) => format!("task ({site})"),
        (None, None) if depth == 0 => "main".into(),
        (None, None) => "body of a group".into(),
    }
}

impl fmt::Display for Dump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for task in &self.tasks {
            writeln!(f, "{task}")?;
        }
        match self.unattributed {
            0 => Ok(()),
            count => writeln!(
                f,
                "{count} more inside combinators with wakers of their own"
            ),
        }
    }
}

impl fmt::Display for TaskState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:indent$}", "", indent = 2 * self.depth)?;
        let label = label(self.name.as_deref(), self.spawned_at, self.depth);
        write!(f, "{label}, {} polls, ", self.polls)?;
        if self.running {
            return write!(f, "runs");
        }
        if self.woken {
            return write!(f, "woken");
        }
        write!(f, "waits {:.2} s: ", self.idle.as_secs_f64())?;
        if self.waits_for.is_empty() {
            return write!(f, "for its group, or something that is not known here");
        }
        write!(f, "{}", self.waits_for.join(", "))
    }
}
