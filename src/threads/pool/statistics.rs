//! The numbers of threads and jobs.

use super::{POOL, Pool};

/// The state of the threads of this process that run blocking jobs and look names up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ThreadStatistics {
    /// The number of threads.
    pub threads: usize,
    /// Of these, the idle ones, which wait 10 seconds for a job.
    pub idle: usize,
    /// Jobs and lookups that have started and not yet ended.
    pub running: usize,
    /// Jobs and lookups that have not started.
    pub waiting: usize,
    /// Of the running ones, those that no task waits for any more.
    pub abandoned: usize,
}

/// Returns the state of the threads of [`run_in_thread`](crate::run_in_thread), which also look
/// host names up.
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
