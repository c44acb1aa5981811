//! Tells why a task has nothing to give to the code that waits for it.

use std::error::Error as StdError;
use std::fmt;
use std::panic::Location;

/// A task that has ended without what was waited for, and was not cancelled.
///
/// # Examples
///
/// ```
/// use soloio::{Error, block_on, task_group};
///
/// let ended = block_on(task_group(async |group| {
///     let task = group.spawn(async { Err::<(), _>(Error::other("no luck")) }).named("the worker");
///     let Err(Error::TaskFailed(failed)) = task.await else {
///         panic!("it fails");
///     };
///     assert_eq!(failed.name.as_deref(), Some("the worker"));
///     Ok(())
/// }));
/// assert_eq!(ended.unwrap_err().to_string(), "no luck"); // the error itself is the group's
/// ```
#[non_exhaustive]
pub struct TaskFailed {
    /// The name that the task was given with the handle.
    pub name: Option<String>,
    /// Where it was spawned.
    pub spawned_at: &'static Location<'static>,
    /// What it did instead, as the end of a sentence about it.
    pub reason: &'static str,
}

impl fmt::Display for TaskFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the task ")?;
        if let Some(name) = &self.name {
            write!(f, "{name:?} ")?;
        }
        write!(f, "spawned at {} {}", self.spawned_at, self.reason)
    }
}

/// Reads like the message: it is what a `main` that returns the error prints.
impl fmt::Debug for TaskFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl StdError for TaskFailed {}
