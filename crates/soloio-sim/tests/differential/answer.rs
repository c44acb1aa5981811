//! The result of a step of a script.

use std::fmt;

/// The result of a step, without descriptor numbers and ports.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Not negative, or minus the errno.
    pub(crate) result: i64,
    pub(crate) bytes: Vec<u8>,
    /// epoll's, as (slot, bits), sorted.
    pub(crate) events: Vec<(u64, u32)>,
}

impl Answer {
    /// The port is taken by a socket outside of the script: an earlier script's that has not waited
    /// long enough, or another program's.
    pub(crate) fn met_another_socket(&self, expected: &Self) -> bool {
        let taken = [libc::EADDRINUSE, libc::EADDRNOTAVAIL].map(|errno| -i64::from(errno));
        taken.contains(&self.result) && !taken.contains(&expected.result)
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            result,
            bytes,
            events,
        } = self;
        let few = &bytes[..bytes.len().min(9)];
        write!(f, "{result} {few:?} {events:?}")
    }
}

pub(crate) fn errno() -> i64 {
    let error = std::io::Error::last_os_error();
    -i64::from(error.raw_os_error().expect("an errno"))
}

pub(crate) fn checked(result: impl Into<i64>) -> i64 {
    match result.into() {
        result @ 0.. => result,
        _ => errno(),
    }
}

pub(crate) fn answer(result: i64) -> Answer {
    Answer {
        result,
        bytes: Vec::new(),
        events: Vec::new(),
    }
}

pub(crate) fn received(count: isize, mut bytes: Vec<u8>) -> Answer {
    bytes.truncate(usize::try_from(count).unwrap_or(0));
    Answer {
        bytes,
        ..answer(checked(count as i64))
    }
}
