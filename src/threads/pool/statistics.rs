//! How the threads are doing.

use super::{POOL, Pool};

/// How the threads of this process that run blocking jobs and look names up are doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ThreadStatistics {
    /// The threads there are.
    pub threads: usize,
    /// Of these, those that wait for a job, which they do for 10 seconds.
    pub idle: usize,
    /// Jobs and lookups that have started and not yet ended.
    pub running: usize,
    /// Jobs and lookups that have not started.
    pub waiting: usize,
    /// Of those that run, those that no task waits for any more.
    pub abandoned: usize,
}

/// Says how the threads of [`run_in_thread`](crate::run_in_thread) are doing, which also look host
/// names up.
///
/// # Examples
///
/// ```
/// use soloio::{block_on, run_in_thread, thread_statistics};
///
/// block_on(run_in_thread(|| assert!(thread_statistics().running >= 1)))?;
/// # Ok::<_, soloio::Error>(())
/// ```
#[must_use]
pub fn thread_statistics() -> ThreadStatistics {
    POOL.statistics()
}

impl Pool {
    pub(super) fn statistics(&self) -> ThreadStatistics {
        let state = self.lock();
        let waiting = state.lines.values().map(|line| line.waiting.len());
        ThreadStatistics {
            threads: state.threads,
            idle: state.idle.len(),
            running: state.wanted.len() + state.abandoned,
            waiting: waiting.sum::<usize>() + state.ready.len(),
            abandoned: state.abandoned,
        }
    }
}
