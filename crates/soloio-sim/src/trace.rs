//! The events of a world, in order: kept as numbers, formatted only when they are shown.

use std::fmt;

use crate::faults::Fault;
use crate::world::Nanos;

/// The machine of events that are the driver's own: it has no name.
pub(crate) const NO_MACHINE: usize = usize::MAX;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) at: Nanos,
    pub(crate) machine: usize,
    pub(crate) what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    /// A system call: its name, its first argument, and what it returned (or minus the errno).
    Call(&'static str, i64, i64),
    /// A fault was injected.
    Fault(Fault),
    /// An event of the network, or of the driver.
    Note(String),
}

/// The records of one run.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    pub(crate) records: Vec<Record>,
    hash: u64,
}

impl Trace {
    pub(crate) fn push(&mut self, at: Nanos, machine: usize, what: What) {
        self.mix(at);
        self.mix(machine as u64);
        match &what {
            What::Call(name, first, result) => {
                self.mix_text(name);
                // The same bits as an unsigned number.
                self.mix(u64::from_ne_bytes(first.to_ne_bytes()));
                self.mix(u64::from_ne_bytes(result.to_ne_bytes()));
            }
            What::Fault(fault) => self.mix(*fault as u64),
            What::Note(text) => self.mix_text(text),
        }
        self.records.push(Record { at, machine, what });
    }

    fn mix(&mut self, number: u64) {
        self.hash = (self.hash ^ number)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(23);
    }

    fn mix_text(&mut self, text: &str) {
        for part in text.as_bytes().chunks(8) {
            let mut word = [0; 8];
            word[..part.len()].copy_from_slice(part);
            self.mix(u64::from_le_bytes(word));
        }
    }

    /// Returns a number that most likely differs if any record does.
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }
}

/// Formats a record, with the names of the machines.
pub(crate) struct Line<'a>(pub(crate) &'a Record, pub(crate) &'a [String]);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Record { at, machine, what } = self.0;
        let name = self.1.get(*machine).map_or("", String::as_str);
        let micros = at / 1000;
        write!(
            f,
            "{:>7}.{:06} {name:<8} ",
            micros / 1_000_000,
            micros % 1_000_000
        )?;
        match what {
            What::Call(call, first, result) if *result < 0 => {
                let errno = i32::try_from(-result).unwrap_or(0);
                write!(f, "{call}({first}) = {}", Errno(errno))
            }
            What::Call(call, first, result) => write!(f, "{call}({first}) = {result}"),
            What::Fault(fault) => write!(f, "FAULT {}", fault.name()),
            What::Note(text) => f.write_str(text),
        }
    }
}

/// Returns the name of an error number.
struct Errno(i32);

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.0 {
            libc::EAGAIN => "EAGAIN",
            libc::EINTR => "EINTR",
            libc::EINPROGRESS => "EINPROGRESS",
            libc::ECONNRESET => "ECONNRESET",
            libc::ECONNREFUSED => "ECONNREFUSED",
            libc::ECONNABORTED => "ECONNABORTED",
            libc::EPIPE => "EPIPE",
            libc::EMFILE => "EMFILE",
            libc::ENFILE => "ENFILE",
            libc::ENOBUFS => "ENOBUFS",
            libc::ENOMEM => "ENOMEM",
            libc::ENOTCONN => "ENOTCONN",
            libc::ETIMEDOUT => "ETIMEDOUT",
            libc::EADDRINUSE => "EADDRINUSE",
            libc::EBADF => "EBADF",
            libc::EINVAL => "EINVAL",
            libc::ENOPROTOOPT => "ENOPROTOOPT",
            libc::EDEADLK => "EDEADLK",
            other => return write!(f, "errno {other}"),
        };
        f.write_str(name)
    }
}
