//! Descriptor limit: 10,000 connections need more than the usual soft limit of 1,024.

use std::io;

use super::check;

/// Raises the soft limit on open files to `wanted`, or says that the hard limit is lower.
pub fn raise_open_files(wanted: u64) -> io::Result<()> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is writable.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    if limit.rlim_cur >= wanted {
        return Ok(());
    }
    if limit.rlim_max < wanted {
        let hard = limit.rlim_max;
        return Err(io::Error::other(format!(
            "{wanted} open files wanted, hard limit is {hard}"
        )));
    }
    limit.rlim_cur = wanted;
    // SAFETY: `limit` is readable.
    check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) })?;
    Ok(())
}
