//! Whose affair a task's panic is.

/// Stands beside a task that is somebody's own affair, such as a server's connection.
pub(crate) trait Keeper {
    /// Whether it is to be asked at all. Where not, nothing of it is on the stack: groups may be
    /// nested a thousand deep.
    const KEEPS: bool;

    /// Calls `f`, which polls or drops the task; `None` if that panicked and its group is not to
    /// hear of it.
    fn keep<R>(&self, f: impl FnOnce() -> R) -> Option<R>;
}

/// Nobody: a panic is the group's.
impl Keeper for () {
    const KEEPS: bool = false;

    fn keep<R>(&self, f: impl FnOnce() -> R) -> Option<R> {
        Some(f())
    }
}
