//! The reason why a task has no value for the code that waits for it.

use std::error::Error as StdError;
use std::fmt;
use std::panic::Location;

use super::shown_by_message;

/// A task ended without the awaited value, and was not cancelled.
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
    /// The name of the task, if its handle has set one.
    pub name: Option<String>,
    /// The place where it was spawned.
    pub spawned_at: &'static Location<'static>,
    /// The reason, as the end of a sentence with the task as its subject.
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

shown_by_message!(TaskFailed);

impl StdError for TaskFailed {}
