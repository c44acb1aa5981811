//! The lanes that jobs wait in, each with bounds of its own.

use std::cell::Cell;

/// How deep jobs may begin jobs within each other: each level has 40 threads of its own.
const DEPTH: u8 = 64;

thread_local! {
    /// How many jobs the code on this thread runs within.
    static WITHIN: Cell<u8> = const { Cell::new(0) };
}

/// A line of jobs that share bounds.
///
/// A job may wait for jobs that it began itself, so these are in a lane of their own: they wait
/// for each other, and for what they begin in their turn, but for nothing that waits for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lane {
    /// Jobs, by how many others they were begun within.
    #[cfg(feature = "threads")]
    Job(u8),
    /// The same with a limiter of the caller's.
    #[cfg(feature = "threads")]
    Limited(u8),
    /// Names that are looked for in files.
    Files,
    /// Names that servers are asked for.
    Names,
}

/// How many jobs of a lane run and wait.
pub(super) struct Bounds {
    /// Jobs at a time that a task waits for; and abandoned ones with them.
    pub(super) wanted: usize,
    pub(super) running: usize,
    pub(super) waiting: usize,
}

impl Lane {
    /// The lane of a job that is begun on this thread.
    #[cfg(feature = "threads")]
    pub(super) fn here(limited: bool) -> Self {
        match limited {
            true => Self::Limited(WITHIN.get()),
            false => Self::Job(WITHIN.get()),
        }
    }

    /// 40 jobs is AnyIO's number. An abandoned job counts, since what it does may be costly; an
    /// abandoned lookup sleeps until the resolver lets go of a server that does not answer.
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

    /// From here on this thread runs a job of the lane.
    pub(super) fn enter(self) {
        WITHIN.set(self.depth() + 1);
    }

    /// True if another job, which holds a thread, may wait for those of this lane.
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
