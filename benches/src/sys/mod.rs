//! The system calls of the benchmarks: everything libc, and nothing of soloio or tokio.
#![allow(unsafe_code, reason = "libc has no safe face for these calls")]

pub mod affinity;
pub mod cpu_clock;
pub mod epoll;
pub mod limits;
pub mod signals;
pub mod socket_option;

use std::io;

/// Turns the -1 of a system call into the error behind it.
fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}
