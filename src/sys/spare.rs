//! A spare descriptor, so that a process without free descriptors can still accept one connection
//! and close it.

use std::os::fd::OwnedFd;

use super::socket::{self, Kind};

/// The spare; empty while it is lent, or if other code has taken it meanwhile.
#[derive(Debug)]
pub(crate) struct Spare(Option<OwnedFd>);

impl Spare {
    /// Opens the spare, if a descriptor is free.
    pub(crate) fn new() -> Self {
        let mut spare = Self(None);
        spare.refill();
        spare
    }

    /// Opens the spare again; returns false if no descriptor is free.
    pub(crate) fn refill(&mut self) -> bool {
        if self.0.is_none() {
            // A socket, since it needs no path: /dev may not be accessible.
            self.0 = socket::unix(Kind::Datagram).ok();
        }
        self.0.is_some()
    }

    /// Closes it, so that the next call finds one descriptor; returns false if there was none.
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
