//! The lanes that jobs wait in, each with its own bounds.

use std::cell::Cell;

/// The depth to which jobs may start jobs within each other: each level has 40 threads of its own.
const DEPTH: u8 = 64;

thread_local! {
    /// The number of jobs that the code on this thread runs within.
    static WITHIN: Cell<u8> = const { Cell::new(0) };
}

/// A line of jobs that share bounds.
///
/// A job may wait for jobs that it started itself, so these are in a lane of their own: they wait
/// for each other, and for the jobs that they start, but never for a job that waits for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lane {
    /// Jobs, by the number of jobs that they were started within.
    #[cfg(feature = "threads")]
    Job(u8),
    /// The same with a limiter of the caller's.
    #[cfg(feature = "threads")]
    Limited(u8),
    /// Names that are looked up in files.
    Files,
    /// Names that are looked up on servers.
    Names,
}

/// The number of jobs of a lane that run and wait.
pub(super) struct Bounds {
    /// The jobs that run at a time and that a task waits for; with abandoned ones `running`.
    pub(super) wanted: usize,
    pub(super) running: usize,
    pub(super) waiting: usize,
}

impl Lane {
    /// Returns the lane of a job that is started on this thread.
    #[cfg(feature = "threads")]
    pub(super) fn here(limited: bool) -> Self {
        match limited {
            true => Self::Limited(WITHIN.get()),
            false => Self::Job(WITHIN.get()),
        }
    }

    /// AnyIO has 40 jobs, too. An abandoned job counts, because it may be costly; an abandoned
    /// lookup sleeps until the resolver gives up on a server that does not answer.
    pub(super) fn bounds(self) -> Bounds {
        let (wanted, running, waiting) = match self {
            #[cfg(feature = "threads")]
            Self::Job(_) => (40, 40, usize::MAX),
            #[cfg(feature = "threads")]
            Self::Limited(_) => (usize::MAX, usize::MAX, usize::MAX),
            Self::Files | Self::Names => (8, 64, 1024),
        };
        Bounds {
            wanted,
            running,
            waiting,
        }
    }

    /// Marks this thread as running a job of the lane.
    pub(super) fn enter(self) {
        WITHIN.set(self.depth() + 1);
    }

    /// Returns true if another job, which occupies a thread, may wait for jobs of this lane.
    pub(super) fn is_within_a_job(self) -> bool {
        self.depth() > 0
    }

    pub(super) fn is_too_deep(self) -> bool {
        self.depth() >= DEPTH
    }

    fn depth(self) -> u8 {
        match self {
            #[cfg(feature = "threads")]
            Self::Job(depth) | Self::Limited(depth) => depth,
            Self::Files | Self::Names => 0,
        }
    }
}
