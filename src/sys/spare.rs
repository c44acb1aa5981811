//! A descriptor kept in reserve, so that a process that has no other left can still take one
//! connection out of a backlog, to close it.

use std::io;
use std::os::fd::OwnedFd;

use super::socket::{self, Kind};

/// The reserve; empty while what it held is lent out, or was taken by somebody else meanwhile.
#[derive(Debug)]
pub(crate) struct Spare(Option<OwnedFd>);

impl Spare {
    /// Puts one aside, if there is one.
    pub(crate) fn new() -> Self {
        let mut spare = Self(None);
        spare.refill();
        spare
    }

    /// Puts one aside again; false if there is none to be had.
    pub(crate) fn refill(&mut self) -> bool {
        if self.0.is_none() {
            // A socket, since it needs no path: /dev may be out of reach.
            let made: io::Result<OwnedFd> = socket::unix(Kind::Datagram);
            self.0 = made.ok();
        }
        self.0.is_some()
    }

    /// Closes it, so that the next call finds one descriptor; false if there was none.
    pub(crate) fn release(&mut self) -> bool {
        self.0.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_released_can_be_put_aside_again() {
        let mut spare = Spare::new();
        assert!(spare.release());
        assert!(!spare.release(), "there is one only");
        assert!(spare.refill() && spare.refill());
        assert!(spare.release());
    }
}
