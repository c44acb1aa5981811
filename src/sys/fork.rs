//! Detects a forked process. A fork shares the kernel's objects of a loop with its parent: its
//! changes there, and the events that it takes, are missing in the parent.

use std::io;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// The number of forks between the first process and this one. (`getpid` is a system call.)
static FORKS: AtomicU32 = AtomicU32::new(0);

/// The process that made an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process(u32);

impl Process {
    /// Returns the current process.
    pub(crate) fn current() -> Self {
        static COUNTED: Once = Once::new();
        COUNTED.call_once(count_forks);
        Self(FORKS.load(Relaxed))
    }

    #[inline]
    pub(crate) fn is_current(self) -> bool {
        self.0 == FORKS.load(Relaxed)
    }

    /// Returns an error if this is a forked process.
    #[inline]
    pub(crate) fn check(self) -> io::Result<()> {
        match self.is_current() {
            true => Ok(()),
            false => Err(forked()),
        }
    }
}

#[cold]
fn forked() -> io::Error {
    io::Error::other(
        "this process is a fork of the one that made the runtime, which it must not use: \
         make a new one",
    )
}

fn count_forks() {
    extern "C" fn count() {
        FORKS.fetch_add(1, Relaxed);
    }
    if cfg!(miri) {
        return; // It cannot fork.
    }
    // SAFETY: the handler runs in the child of a fork, where only code that is safe in a signal
    // handler may run: it adds to an atomic. It is a function of this program, which is never
    // unloaded while the child runs in it.
    let refused = unsafe { libc::pthread_atfork(None, None, Some(count)) };
    assert_eq!(refused, 0, "soloio: no memory to notice forks with");
}
