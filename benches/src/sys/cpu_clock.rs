//! CPU time: of the calling thread, and of another process, both in nanoseconds.
//!
//! The kernel's CPU clocks count the same time as `getrusage` (user and system), but without its
//! rounding, and another process can be read from outside: a server needs no code for it.

use std::io;
use std::time::Duration;

use super::check;

/// CPU time of the calling thread since the start. Not wall-clock time, so that other load of the
/// machine is not counted.
pub struct Stopwatch(Duration);

impl Stopwatch {
    pub fn start() -> Self {
        Self(thread().expect("a thread may read its own clock"))
    }

    pub fn read(&self) -> Duration {
        thread().expect("a thread may read its own clock") - self.0
    }
}

/// Returns the CPU time of the calling thread.
fn thread() -> io::Result<Duration> {
    read(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// Returns the CPU time of process `pid`, all its threads together.
pub fn process(pid: u32) -> io::Result<Duration> {
    let pid = libc::pid_t::try_from(pid).map_err(io::Error::other)?;
    let mut clock = 0;
    // SAFETY: `clock` is writable. The call returns the error instead of setting errno.
    let error = unsafe { libc::clock_getcpuclockid(pid, &raw mut clock) };
    if error == 0 {
        read(clock)
    } else {
        Err(io::Error::from_raw_os_error(error))
    }
}

fn read(clock: libc::clockid_t) -> io::Result<Duration> {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is writable.
    check(unsafe { libc::clock_gettime(clock, &raw mut time) })?;
    let seconds = u64::try_from(time.tv_sec).map_err(io::Error::other)?;
    let nanos = u32::try_from(time.tv_nsec).map_err(io::Error::other)?;
    Ok(Duration::new(seconds, nanos))
}
